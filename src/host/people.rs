//! Hands tasks to people: what a task carries, and tasks that people get besides.
//!
//! What people get besides, once its caller has the answer, is sent by a root, for the stream is gone by then.

use std::cell::RefCell;
use std::rc::Rc;

use super::calls::{self, Headers, Metric};
use super::handoff::Handoff;
use super::keys::{ReceiptKeys, nonce};
use super::place::Place;
use crate::abi::callouts::Callouts;
use crate::abi::pairs;
use crate::automation::answer::Suggestion;
use crate::automation::receipt::{Kind, Receipt};
use crate::routing::automation::Automation;
use crate::routing::plan;
use crate::telemetry::series;

/// Milliseconds that people's side has to take a task that is decided later.
const TAKES: u32 = 30_000;
/// Milliseconds that people have to decide a task that is decided in the same request.
const DECIDES: u32 = 3_600_000;

/// Tasks that are with people besides, at most: each is a callout of Envoy's, with its body.
const MOST_OPEN: usize = 1_024;

/// What one VM hands to people.
pub(super) struct People {
    keys: Rc<ReceiptKeys>,
    /// To be handed to people besides, oldest first.
    waiting: Handoff<Copied>,
    /// Handed to people by callouts.
    open: RefCell<Callouts<Open>>,
}

/// What a task that goes to people carries.
#[derive(Clone)]
pub(super) struct Handed {
    pub(super) suggestion: Suggestion,
    pub(super) kind: Kind,
    /// Identifies the task.
    pub(super) task: u64,
    /// When it was handed over, in milliseconds since the epoch.
    pub(super) time: u64,
    /// Identifies the attempt.
    pub(super) run: u64,
}

impl Handed {
    pub(super) fn receipt(&self) -> Receipt {
        let Suggestion { label, confidence } = self.suggestion.clone();
        Receipt { task: self.task, run: self.run, time: self.time, confidence, kind: self.kind, label }
    }
}

/// A task that people get besides.
pub(super) struct Copied {
    pub(super) place: Place,
    /// The request's headers, written for the ABI.
    pub(super) headers: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) handed: Handed,
}

/// A task that was handed to people by a callout.
pub(super) struct Open {
    pub(super) place: Place,
    pub(super) handed: Handed,
}

impl People {
    pub(super) fn new(keys: Rc<ReceiptKeys>) -> Self {
        Self { keys, waiting: Handoff::new("tasks"), open: RefCell::default() }
    }

    /// Sets what a task carries to people.
    pub(super) fn write_headers(&self, place: &Place, handed: &Handed) {
        let Some(automation) = place.automation() else { return };
        if handed.kind.shown {
            let suggestion = handed.suggestion.header(automation.places.confidence.is_some());
            calls::set_header(Headers::Request, &automation.suggestion, &suggestion);
        }
        if let Some(receipt) = self.seal(place, handed) {
            calls::set_header(Headers::Request, &automation.receipt, &receipt);
        }
    }

    /// The receipt of a task, where decisions come later.
    fn seal(&self, place: &Place, handed: &Handed) -> Option<String> {
        place.automation()?.decision.as_ref()?;
        handed.receipt().seal(self.keys.get()?, &place.rollout()?.name, &nonce())
    }

    /// Leaves a task to a root, which hands it to people.
    pub(super) fn wait(&self, copied: Copied) {
        let most = copied.place.automation().map_or(0, |automation| automation.max_in_flight);
        if self.waiting.len() >= most || self.open.borrow().len() >= MOST_OPEN {
            return drop_one();
        }
        self.waiting.leave(copied);
    }

    /// Whether it is this queue that wakes a root; it is emptied.
    pub(super) fn is_woken_by(&self, queue: u32) -> bool {
        self.waiting.is_woken_by(queue)
    }

    /// Hands over what waits, from a callback of `root`, while there is `time`.
    pub(super) fn send(&self, root: u32, time: &dyn Fn() -> bool) {
        self.waiting.take_all(time, |copied| self.send_one(root, copied));
    }

    fn send_one(&self, root: u32, Copied { place, headers, body, handed }: Copied) {
        let Some((automation, cluster)) = place.automation().zip(place.cluster(plan::STABLE)) else { return };
        let receipt = self.seal(&place, &handed);
        let mut headers: Vec<(&[u8], &[u8])> = pairs::all(&headers).collect();
        if let Some(receipt) = &receipt {
            headers.push((automation.receipt.as_bytes(), receipt.as_bytes()));
        }
        let timeout = if automation.decision.is_some() { TAKES } else { DECIDES };
        let Some(token) = calls::http_call(cluster, &pairs::write(&headers), &body, timeout) else {
            return drop_one();
        };
        let until = calls::uptime().saturating_add(u64::from(timeout).saturating_mul(2_000_000));
        self.open.borrow_mut().begin(token, root, until, Open { place, handed });
    }

    /// The answer to a callout has come, or none comes: the task that was handed over by it; `None`: it is about none.
    pub(super) fn close(&self, token: u32) -> Option<Open> {
        self.open.borrow_mut().end(token)
    }

    /// A root goes: Envoy drops its callouts.
    pub(super) fn leave(&self, root: u32) {
        let mut open = self.open.borrow_mut();
        open.of_root(root).into_iter().filter_map(|token| open.end(token)).for_each(|_| drop_one());
    }
}

/// A task that people should have got besides, and do not.
pub(super) fn drop_one() {
    let metric = calls::metric(Metric::Counter, &series::dropped("tasks_for_people"));
    metric.into_iter().for_each(calls::increment);
}

/// Removes what only the filter may say of a task, from the request that Envoy is showing.
pub(super) fn strip(automation: &Automation) {
    for name in [&automation.receipt, &automation.suggestion] {
        if calls::header(Headers::Request, name).is_some() {
            calls::remove_header(Headers::Request, name);
        }
    }
}
