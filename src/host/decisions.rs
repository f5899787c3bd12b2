//! Counts what people decide: by their answer to a task, or by a later request that brings its receipt back.

use std::cell::Cell;
use std::rc::Rc;

use serde_json::Value;

use super::answer::{HeldBody, add, decoded, encoding};
use super::calls::{self, Body, Headers, Metric};
use super::defined::Defined;
use super::keys::ReceiptKeys;
use super::loaded::Loaded;
use super::memory::Bytes;
use super::people::{Handed, Open};
use super::place::Place;
use super::shared::Kv;
use crate::automation::answer::{decided, document};
use crate::automation::receipt::{Kind, Opened, Receipt};
use crate::fleet::{decisions, receipts};
use crate::payload::encoding::Inflaters;
use crate::payload::head::Encoding;
use crate::receipt::is_late;
use crate::receipt::seal::Keys;
use crate::receipt::seen::Taken;
use crate::routing::automation::DecisionPlaces;
use crate::telemetry::tasks::{About, Verdict};

/// Bytes of a decision that are read.
const MOST_DECISION: usize = 1 << 20;

/// What one VM has to do with decisions.
pub(super) struct Decisions {
    keys: Rc<ReceiptKeys>,
    /// Bytes of decisions that are held.
    held: Rc<Cell<usize>>,
    metrics: Defined<About>,
}

/// A task whose decision is the answer to the same request.
pub(super) struct Deciding {
    place: Place,
    handed: Handed,
    encoding: Encoding,
    body: Vec<u8>,
    /// Whether the answer can be a decision, as far as it is known.
    is_good: bool,
}

/// A request that is a decision.
pub(super) struct Decision {
    /// Whose task it may be about: its receipt says which.
    about: Vec<Asked>,
    body: HeldBody,
}

/// A rollout one of whose tasks a request may decide.
struct Asked {
    place: Place,
    /// The receipt, where a header has it.
    receipt: Option<Vec<u8>>,
}

impl Decisions {
    pub(super) fn new(keys: Rc<ReceiptKeys>) -> Self {
        Self { keys, held: Rc::default(), metrics: Defined::default() }
    }

    /// People have answered a task in its own request: that is their decision.
    pub(super) fn answered(&self, deciding: Deciding, inflaters: &Inflaters) {
        let Deciding { place, handed, encoding, body, is_good } = deciding;
        let (Some(rollout), Some(automation)) = (place.rollout(), place.automation()) else { return };
        let shown = handed.kind.shown;
        if !is_good {
            return place.count(&self.metrics, About::Decision(Verdict::Unreadable, shown));
        }
        let body = decoded(body, encoding, automation.max_body, inflaters);
        let document = body.and_then(|body| document(&body));
        let Some(label) = document.and_then(|document| decided(&document, &automation.places.label)) else {
            return place.count(&self.metrics, About::Decision(Verdict::Unreadable, shown));
        };
        if handed.run != rollout.tasks_in_force().1 {
            return place.count(&self.metrics, About::Decision(Verdict::Late, shown));
        }
        let opened = Opened { receipt: handed.receipt(), id: handed.task };
        self.add(&place, &opened, &label);
    }

    /// Counts a decision, unless another attempt has begun meanwhile.
    fn add(&self, place: &Place, opened: &Opened, label: &str) {
        let Some(rollout) = place.rollout() else { return };
        let Kind { shown, second, .. } = opened.receipt.kind;
        let Some(counts) = decisions::add(&mut Kv, &rollout.name, opened, label) else {
            return place.count(&self.metrics, About::Decision(Verdict::Late, shown));
        };
        let verdict = match (second, counts.agrees) {
            (true, _) => Verdict::Second,
            (false, true) => Verdict::Agree,
            (false, false) => Verdict::Disagree,
        };
        place.count(&self.metrics, About::Decision(verdict, shown));
        if !shown && !second {
            let (human, model) = counts.labels;
            place.count(&self.metrics, About::Labels(model, human));
        }
        let seconds = calls::epoch_ms().saturating_sub(opened.receipt.time) / 1_000;
        let id = self.metrics.id(rollout, Metric::Histogram, About::Seconds, About::name);
        if let Some(id) = id {
            calls::record(id, seconds);
        }
    }

    /// Begins to read a decision while its headers are there, which may be about a task of each of these rollouts. `None`: it is
    /// none.
    pub(super) fn begin(&self, loaded: &Rc<Loaded>, rollouts: &[usize]) -> Option<Box<Decision>> {
        let asked = |rollout: &usize| {
            let place = Place::new(loaded, *rollout);
            let header = place.automation()?.decision.as_ref()?.receipt.header();
            let receipt = header.and_then(|name| calls::header(Headers::Request, name)).map(Bytes::into_vec);
            Some(Asked { place, receipt })
        };
        let about: Vec<Asked> = rollouts.iter().filter_map(asked).collect();
        let body = || HeldBody::begin(&self.held, MOST_DECISION);
        (!about.is_empty()).then(|| Box::new(Decision { about, body: body() }))
    }

    /// A decision has come as a whole.
    pub(super) fn decide(&self, decision: Decision, inflaters: &Inflaters) {
        let Decision { about, body } = decision;
        let document = body.finish(inflaters).and_then(|body| document(&body));
        let opened = document.as_ref().and_then(|document| {
            about.iter().find_map(|asked| Some((asked, asked.open(self.keys.get()?, document)?)))
        });
        let count = |Asked { place, .. }: &Asked, verdict, shown| {
            place.count(&self.metrics, About::Decision(verdict, shown));
        };
        let Some((asked, opened)) = opened else {
            let has_all = |asked: &&Asked| document.as_ref().is_some_and(|document| asked.has_all(document));
            return match about.iter().find(has_all) {
                Some(asked) => count(asked, Verdict::Forged, false),
                None => about.first().into_iter().for_each(|asked| count(asked, Verdict::Unreadable, false)),
            };
        };
        let Some((rollout, automation)) = asked.place.rollout().zip(asked.place.automation()) else { return };
        let Some(label) = document.and_then(|document| asked.label(&document)) else {
            return count(asked, Verdict::Unreadable, false);
        };
        let (shown, time) = (opened.receipt.kind.shown, opened.receipt.time);
        let (_, run) = rollout.tasks_in_force();
        if is_late(time, automation.ttl, calls::epoch_ms()) || opened.receipt.run != run {
            return count(asked, Verdict::Late, shown);
        }
        match receipts::take(&mut Kv, &rollout.name, opened.id, time) {
            Taken::New => self.add(&asked.place, &opened, &label),
            Taken::Repeated => count(asked, Verdict::Repeated, shown),
            Taken::Late => count(asked, Verdict::Late, shown),
        }
    }
}

impl Asked {
    fn places(&self) -> Option<&DecisionPlaces> {
        self.place.automation()?.decision.as_ref()
    }

    fn receipt<'a>(&'a self, document: &'a Value) -> Option<&'a [u8]> {
        self.places()?.receipt.find(self.receipt.as_deref(), Some(document))
    }

    fn label(&self, document: &Value) -> Option<String> {
        decided(document, &self.places()?.label)
    }

    /// Whether a decision has a receipt and a label, where this rollout's have them.
    fn has_all(&self, document: &Value) -> bool {
        self.receipt(document).is_some() && self.label(document).is_some()
    }

    /// The receipt of a decision, if it is one of this rollout.
    fn open(&self, keys: &Keys, document: &Value) -> Option<Opened> {
        Receipt::open(keys, &self.place.rollout()?.name, self.receipt(document)?)
    }
}

impl Deciding {
    pub(super) fn new(place: Place, handed: Handed) -> Self {
        Self { place, handed, encoding: Encoding::Identity, body: Vec::new(), is_good: true }
    }

    /// People have answered a task that was handed over by a callout, with a body of so many bytes.
    pub(super) fn of_callout(Open { place, handed, .. }: Open, size: usize) -> Self {
        let encoding = encoding(Headers::CalloutResponse);
        let body = calls::body(Body::Callout, 0, size.min(place.max_body())).map(Bytes::into_vec);
        Self { encoding, body: body.unwrap_or_default(), ..Self::new(place, handed) }
    }

    /// The headers of people's answer have come.
    pub(super) fn answer(&mut self) {
        self.encoding = encoding(Headers::Response);
        self.is_good = calls::status(Headers::Response).is_some_and(|status| (200..300).contains(&status));
    }

    /// The next bytes of people's answer.
    pub(super) fn read(&mut self, size: usize) {
        self.is_good &= add(&mut self.body, Body::Response, size, self.place.max_body());
    }

    /// The answer does not come as a whole.
    pub(super) fn fail(&mut self) {
        self.is_good = false;
    }
}

impl Decision {
    /// The next bytes of the decision; `anew`: they begin with its first one.
    pub(super) fn read(&mut self, size: usize, anew: bool) {
        self.body.read(size, anew);
    }
}
