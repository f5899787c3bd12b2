//! What users do afterwards: reads events while they pass, and counts them.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

use serde_json::Value;

use super::answer::HeldBody;
use super::calls::{self, Headers, Metric};
use super::defined::Defined;
use super::keys::{ReceiptKeys, nonce};
use super::loaded::Loaded;
use super::shared::{Kv, tick_at};
use crate::automation::answer::document;
use crate::fleet::receipts;
use crate::model::Draw;
use crate::payload::encoding::Inflaters;
use crate::receipt::answer::Receipt;
use crate::receipt::is_late;
use crate::receipt::seen::Taken;
use crate::routing::feedback::{Join, Origin, Rule};
use crate::routing::plan::Rollout;
use crate::routing::request::Request;
use crate::signal::catalog::SignalId;
use crate::signal::observed::Observed;
use crate::telemetry::feedback::{About, Heard};

/// Bytes of an event that are read.
const MOST_EVENT: usize = 256 << 10;

/// What one VM has to do with events.
pub(super) struct Feedback {
    keys: Rc<ReceiptKeys>,
    /// Bytes of events that are held.
    held: Rc<Cell<usize>>,
    metrics: Defined<About>,
}

/// A request that is an event, as far as its headers say.
pub(super) struct Event {
    loaded: Rc<Loaded>,
    found: Vec<Found>,
    /// Its body, where a rule reads it.
    body: Option<HeldBody>,
    /// Whether it has come as a whole.
    is_whole: bool,
}

/// A rule whose event a request may be.
struct Found {
    rollout: usize,
    rule: usize,
    /// The version that its user has, if it names one.
    user: Option<Origin>,
    /// The receipt of an answer, where a header has it.
    receipt: Option<Vec<u8>>,
}

impl Feedback {
    pub(super) fn new(keys: Rc<ReceiptKeys>) -> Self {
        Self { keys, held: Rc::default(), metrics: Defined::default() }
    }

    /// Sets the receipt of an answer as its header, or removes what an upstream has left there.
    pub(super) fn hand_out(&self, rollout: &Rollout, receipt: Option<&Receipt>) {
        let Some(receipts) = &rollout.receipts else { return };
        let sealed = receipt.and_then(|receipt| {
            let receipt = Receipt { time: calls::epoch_ms(), ..*receipt };
            receipt.seal(self.keys.get()?, &rollout.name, &nonce())
        });
        match sealed {
            Some(sealed) => calls::set_header(Headers::Response, &receipts.header, &sealed),
            None => calls::remove_header(Headers::Response, &receipts.header),
        }
    }

    /// Begins with the headers of a request. `None`: it is no event.
    pub(super) fn begin(&self, loaded: &Rc<Loaded>, request: &impl Request) -> Option<Box<Event>> {
        let events = loaded.plan.events(request);
        if events.is_empty() {
            return None;
        }
        let rule_at = |rollout: usize, rule: usize| loaded.plan.rollouts().get(rollout)?.feedback.get(rule);
        let with_receipt = |(rollout, rule, user)| {
            let header = match &rule_at(rollout, rule)?.join {
                Join::User => None,
                Join::Receipt { place, .. } => place.header(),
            };
            let receipt = header.and_then(|name| request.header(name)).map(Cow::into_owned);
            Some(Found { rollout, rule, user, receipt })
        };
        let found: Vec<Found> = events.into_iter().filter_map(with_receipt).collect();
        let reads = |found: &Found| rule_at(found.rollout, found.rule).is_some_and(Rule::reads_body);
        let body = found.iter().any(reads).then(|| HeldBody::begin(&self.held, MOST_EVENT));
        Some(Box::new(Event { loaded: Rc::clone(loaded), found, body, is_whole: false }))
    }

    /// Counts a request of this rollout for others, whose users may have switched.
    pub(super) fn switch(loaded: &Loaded, rollout: usize, request: &impl Request) {
        for (at, signal, draw) in loaded.plan.switches(rollout, request) {
            note(loaded, at, signal, draw);
        }
    }

    /// All is over of a request that is an event, if it came as a whole. One whose client did not wait for the answer counts:
    /// what users do as they leave a page is sent like that.
    pub(super) fn count(&self, event: Event, inflaters: &Inflaters) {
        let Event { loaded, found, body, is_whole } = event;
        if !is_whole {
            return;
        }
        let is_refused = calls::property_u64("response\0code").is_some_and(|status| status >= 400);
        let body = body.and_then(|body| document(&body.finish(inflaters)?));
        for found in &found {
            let Some(rollout) = loaded.plan.rollouts().get(found.rollout) else { continue };
            let Some(rule) = rollout.feedback.get(found.rule) else { continue };
            let Some((heard, origin)) = self.hear(rollout, rule, (found, is_refused), body.as_ref()) else {
                continue;
            };
            let version = origin.and_then(|origin| rollout.versions.get(origin.version));
            let about = About { name: rule.name.clone(), version: version.map(|of| of.name.clone()), heard };
            let id = self.metrics.id(rollout, Metric::Counter, about, About::name);
            if let Some(id) = id {
                calls::increment(id);
            }
            if let (Heard::Counted, Some(draw)) = (heard, origin.and_then(|origin| origin.evidence)) {
                note(&loaded, found.rollout, rule.signal, draw);
            }
        }
    }

    /// What an event counts as, and what it is about; `None`: it is no event.
    fn hear(
        &self,
        rollout: &Rollout,
        rule: &Rule,
        (found, is_refused): (&Found, bool),
        body: Option<&Value>,
    ) -> Option<(Heard, Option<Origin>)> {
        match body {
            None if rule.reads_body() => return Some((Heard::Unreadable, None)),
            Some(body) if !rule.is_met(body) => return None,
            // Its receipt may come again.
            _ if is_refused => return Some((Heard::Refused, None)),
            _ => {}
        }
        // A receipt whose event cannot be read may come again.
        let Some(is_bad) = rule.is_bad(body) else { return Some((Heard::Unreadable, None)) };
        let origin = match &rule.join {
            Join::User => found.user.ok_or(Heard::NoUser),
            Join::Receipt { place, salt } => {
                let receipt = place.find(found.receipt.as_deref(), body);
                receipt.ok_or(Heard::NoReceipt).and_then(|receipt| self.take(rollout, *salt, receipt))
            }
        };
        Some(match origin {
            Ok(origin) => (if is_bad { Heard::Counted } else { Heard::Good }, Some(origin)),
            Err(heard) => (heard, None),
        })
    }

    /// Takes the receipt of an answer back, for the rule with this `salt`.
    fn take(&self, rollout: &Rollout, salt: u64, receipt: &[u8]) -> Result<Origin, Heard> {
        let opened = self.keys.get().and_then(|keys| Receipt::open(keys, &rollout.name, receipt));
        let (receipt, id) = opened.ok_or(Heard::Forged)?;
        let ttl = rollout.receipts.as_ref().map_or(0, |receipts| receipts.ttl);
        if is_late(receipt.time, ttl, calls::epoch_ms()) {
            return Err(Heard::Late);
        }
        let origin = rollout.version_of_answer(&receipt).ok_or(Heard::Late)?;
        match receipts::take(&mut Kv, &rollout.name, id ^ salt, receipt.time) {
            Taken::New => Ok(origin),
            Taken::Repeated => Err(Heard::Repeated),
            Taken::Late => Err(Heard::Late),
        }
    }
}

/// Counts what has happened now as evidence.
fn note(loaded: &Loaded, rollout: usize, signal: SignalId, draw: Draw) {
    if let Some(tracked) = loaded.tracked(rollout) {
        tracked.happen(tick_at(calls::uptime()), draw, signal, Observed::Event(true));
    }
}

impl Event {
    /// The next bytes of it; `anew`: they begin with its first one.
    pub(super) fn read(&mut self, size: usize, anew: bool) {
        self.body.iter_mut().for_each(|body| body.read(size, anew));
    }

    /// It has come as a whole.
    pub(super) fn end(&mut self) {
        self.is_whole = true;
    }
}
