//! What users do afterwards: reads events while they pass, and counts them.

use std::cell::Cell;
use std::rc::Rc;

use super::answer::Whole;
use super::calls::{self, Body, Headers, Metric};
use super::defined::Defined;
use super::loaded::Loaded;
use super::shared::tick_at;
use crate::automation::answer::document;
use crate::payload::encoding::Inflaters;
use crate::routing::feedback::Sender;
use crate::routing::request::Request;
use crate::signal::observed::Observed;
use crate::telemetry::feedback::{About, Heard};

/// Bytes of an event that are read.
const MOST_EVENT: usize = 256 << 10;
/// Bytes of events that are held at once.
const MOST_HELD: usize = 16 << 20;

/// What one VM has to do with events.
#[derive(Default)]
pub(super) struct Feedback {
    /// Bytes of events that are held.
    held: Rc<Cell<usize>>,
    metrics: Defined<About>,
}

/// A request that is an event, as far as its headers say.
pub(super) struct Event {
    loaded: Rc<Loaded>,
    /// The rollouts and rules, each with who sent it.
    found: Vec<(usize, usize, Option<Sender>)>,
    /// Its body, where a rule reads it.
    body: Option<Held>,
}

/// A body, and what it takes of what may be held.
struct Held {
    body: Whole,
    held: Rc<Cell<usize>>,
}

impl Held {
    fn read(&mut self, size: usize, anew: bool) {
        let before = self.body.len();
        let others = self.held.get().saturating_sub(before);
        self.body.read(Body::Request, (size, anew), MOST_EVENT.min(MOST_HELD.saturating_sub(others)));
        self.held.set(others.saturating_add(self.body.len()));
    }

    /// Its JSON; `None`: it has none.
    fn finish(mut self, inflaters: &Inflaters) -> Option<serde_json::Value> {
        let body = std::mem::take(&mut self.body);
        self.held.set(self.held.get().saturating_sub(body.len()));
        document(&body.finish(MOST_EVENT, inflaters)?)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.set(self.held.get().saturating_sub(self.body.len()));
    }
}

impl Feedback {
    /// Begins with the headers of a request. `None`: it is no event.
    pub(super) fn begin(&self, loaded: &Rc<Loaded>, request: &impl Request) -> Option<Box<Event>> {
        let found = loaded.plan.events(request);
        if found.is_empty() {
            return None;
        }
        let reads = |(rollout, rule, _): &(usize, usize, Option<Sender>)| {
            let rollout = loaded.plan.rollouts().get(*rollout);
            rollout.and_then(|rollout| rollout.feedback.get(*rule)).is_some_and(|rule| rule.reads_body())
        };
        let body = found
            .iter()
            .any(reads)
            .then(|| Held { body: Whole::begin(Headers::Request), held: Rc::clone(&self.held) });
        Some(Box::new(Event { loaded: Rc::clone(loaded), found, body }))
    }

    /// An event has come as a whole.
    pub(super) fn end(&self, event: Event, inflaters: &Inflaters) {
        let Event { loaded, found, body } = event;
        let body = body.and_then(|body| body.finish(inflaters));
        for (at, rule, sender) in found {
            let Some(rollout) = loaded.plan.rollouts().get(at) else { continue };
            let Some(rule) = rollout.feedback.get(rule) else { continue };
            let count = |version: Option<usize>, heard| {
                let version = version.and_then(|version| rollout.versions.get(version));
                let about =
                    About { name: rule.name.clone(), version: version.map(|of| of.name.clone()), heard };
                let id = self.metrics.id(rollout, Metric::Counter, about, About::name);
                id.into_iter().for_each(calls::increment);
            };
            match &body {
                None if rule.reads_body() => {
                    count(None, Heard::Unreadable);
                    continue;
                }
                Some(body) if !rule.is_met(body) => continue,
                _ => {}
            }
            let Some(Sender { version, evidence }) = sender else {
                count(None, Heard::NoUser);
                continue;
            };
            count(Some(version), Heard::Counted);
            if let (Some(draw), Some(tracked)) = (evidence, loaded.tracked(at)) {
                let (tick, happened) = (tick_at(calls::uptime()), Observed::Event(true));
                tracked.ledger.borrow_mut().happen(tick, draw, rule.signal, happened);
            }
        }
    }
}

impl Event {
    /// The next bytes of it; `anew`: they begin with its first one.
    pub(super) fn read(&mut self, size: usize, anew: bool) {
        self.body.iter_mut().for_each(|body| body.read(size, anew));
    }
}
