//! Hands tasks to people: what a task carries, and copies of tasks for people (for audits and second opinions).
//!
//! A root sends a copy once the caller has the answer, for the stream is gone by then.

use std::cell::RefCell;
use std::rc::Rc;

use super::callouts::{self, Callout};
use super::calls::{self, Headers};
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

/// Copies that are with people, at most: each is a callout of Envoy's, with its body.
const MOST_OPEN: usize = 1_024;

/// What one VM hands to people.
pub(super) struct People {
    keys: Rc<ReceiptKeys>,
    /// Copies to be handed to people, oldest first.
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

/// A copy of a task for people.
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
        drop_all(callouts::end_overdue(&self.open));
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
        let headers = pairs::write(&headers);
        let callout = Callout { cluster, headers: &headers, body: &body, timeout };
        let open = Open { place: place.clone(), handed };
        if callouts::send(&self.open, root, &callout, open).is_err() {
            drop_one();
        }
    }

    /// The answer to a callout has come, or none comes: the task that was handed over by it; `None`: it is about none.
    pub(super) fn close(&self, token: u32) -> Option<Open> {
        self.open.borrow_mut().end(token)
    }

    /// A root goes: Envoy drops its callouts.
    pub(super) fn leave(&self, root: u32) {
        drop_all(callouts::end_of_root(&self.open, root));
    }
}

fn drop_all(open: Vec<Open>) {
    for _ in open {
        drop_one();
    }
}

/// A copy of a task that people should have got, and do not.
pub(super) fn drop_one() {
    calls::count(&series::dropped("tasks_for_people"), 1);
}

/// Removes what only the filter may say of a task, from the request that Envoy is showing.
pub(super) fn strip(automation: &Automation) {
    for name in [&automation.receipt, &automation.suggestion] {
        if calls::header(Headers::Request, name).is_some() {
            calls::remove_header(Headers::Request, name);
        }
    }
}
