//! One rollout that this VM leads: its record moves on, and what has become of it is told.

use std::rc::Rc;

use fastrand::Rng;

use super::{configure, gauges_key, happened};
use crate::analysis::trail::Trail;
use crate::analysis::users::Losses;
use crate::config::notify::Notify;
use crate::fleet::callback::Callback;
use crate::fleet::effect::{Effect, Question};
use crate::fleet::gauges::{Existing, Gauges};
use crate::fleet::shared::{self, Cached, Shared};
use crate::fleet::shelf::{self, Shelf};
use crate::fleet::{InUse, decisions, record_key, recordings};
use crate::model::Side;
use crate::rollout::event::Event;
use crate::rollout::program::Program;
use crate::rollout::ready::{Answer, Ready};
use crate::rollout::record::{Head, Record};
use crate::routing::plan::Rollout;
use crate::telemetry::ledger::Entry;
use crate::telemetry::{feedback, series};

/// One rollout.
#[derive(Default)]
pub(super) struct Led {
    pub(super) rollout: Rc<series::Rollout>,
    /// Where it stands in the configurations in use: the configuration, and the rollout in it.
    pub(super) at: (usize, usize),
    pub(super) record: Option<Cached<Record>>,
    /// The head that this VM last published; `None` if it has published none.
    pub(super) told: Option<Head>,
    pub(super) gauges: Gauges,
    /// The gauges that exist, as shared data has them; `None`: another VM may have written them.
    pub(super) existing: Option<Existing>,
    /// What its candidate has answered since the last pass.
    pub(super) heard: Option<Answer>,
    /// Who has come lately.
    pub(super) trail: Trail,
}

/// What a pass has for one rollout.
pub(super) struct Input<'a> {
    pub(super) entries: &'a [Entry],
    /// Of ticks before this one all VMs have reported.
    pub(super) known_before: u64,
    /// Set if its candidate may be asked whether it is ready: how many questions are left.
    pub(super) questions: Option<&'a mut usize>,
    /// Whether its closed ticks are kept.
    pub(super) is_recorded: bool,
}

/// A rollout as a configuration in use has it.
#[derive(Clone, Copy)]
pub(super) struct Configured<'a> {
    pub(super) program: &'a Program,
    pub(super) receivers: &'a [Notify],
    pub(super) loaded_at: u64,
}

/// What moving a rollout on has brought.
struct Advanced {
    /// What its candidate is to be asked, and when that was decided.
    asked: Option<(Ready, u64)>,
    /// The losses of the judge before.
    losses: Losses,
    events: Vec<Event>,
}

impl Led {
    /// Takes over where the rollout stands in the configurations in use. Returns what becomes of its gauges when they
    /// have changed their labels.
    pub(super) fn configure(&mut self, rollout: &Rollout, at: (usize, usize)) -> Vec<Effect> {
        self.at = at;
        if self.rollout.name == rollout.name && self.rollout.labels == rollout.labels {
            return Vec::new();
        }
        let ended = self.end();
        let (name, labels) = (rollout.name.clone(), rollout.labels.clone());
        self.rollout = Rc::new(series::Rollout { name, labels });
        ended
    }

    /// Its gauges go to 0.
    pub(super) fn end(&mut self) -> Vec<Effect> {
        let rollout = &self.rollout;
        let gauges = std::mem::take(&mut self.gauges).end().into_iter();
        gauges.map(|gauge| Effect::Gauge { rollout: Rc::clone(rollout), gauge, value: 0 }).collect()
    }

    /// Moves the rollout on. Returns whether anything was done about it.
    pub(super) fn step<S: Shared>(
        &mut self,
        callback: &mut Callback<'_, S>,
        configured: Configured<'_>,
        input: Input<'_>,
        rng: &mut Rng,
    ) -> bool {
        let Input { entries, known_before, questions, is_recorded } = input;
        let was_known = self.record.is_some();
        if !was_known {
            self.record = self.open(callback, configured, rng);
        }
        let (clock, shared) = (callback.clock, &mut *callback.shared);
        let Some(record) = &mut self.record else { return false };
        let is_pushed = configured.loaded_at > record.value.configured_at;
        // Before a push: it is the answer to what was asked by then.
        if let Some(answer) = self.heard {
            record.value.hear(answer);
        }
        let questions = questions.filter(|_| record.value.is_to_ask(clock));
        let has_people = record.value.program.automation.is_some();
        let decided = has_people.then(|| decisions::of(shared, &self.rollout.name, record.value.attempt()));
        let decided = decided.filter(|decided| record.value.has_news(decided));
        let moves = decided.is_some()
            || is_pushed
            || !entries.is_empty()
            || self.heard.is_some()
            || record.value.is_due(clock);
        if moves || questions.is_some() {
            let key = record_key(&self.rollout.name);
            let shelved = shelf::named_by(&record.value);
            let mut shelf = Shelf::new(shared, rng);
            record.value.fetch(&shelf);
            let losses = record.value.run.judge.losses();
            let mut events = configure(&mut record.value, configured.program, configured.loaded_at, clock);
            // Before a push or with it: it is what was decided under the attempt that was there.
            if let Some(decided) = decided.filter(|_| !is_pushed) {
                events.extend(record.value.decide(&decided, clock));
            }
            let entries: Vec<&Entry> = entries.iter().collect();
            record.value.trail.clone_from(&self.trail);
            record.value.recorded = is_recorded.then(Vec::new);
            events.extend(record.value.advance(&entries, known_before, clock));
            let asked = questions.and_then(|left| Some((left, record.value.ask(clock)?)));
            record.value.put(&mut shelf);
            let written = shelf.written();
            let stored = record.store(shared, &key);
            // Lost to a command: the same ticks are judged again in the next pass.
            shelf::sweep(shared, if stored.is_ok() { &shelved } else { &written }, &record.value);
            if stored.is_ok() {
                let asked = asked.map(|(left, asked)| {
                    *left = left.saturating_sub(1);
                    asked
                });
                self.tell(callback, configured.receivers, Advanced { asked, losses, events });
            }
        } else if was_known {
            return false;
        }
        self.show(callback);
        true
    }

    /// Tells what has become of the rollout, once that is stored.
    fn tell<S: Shared>(&mut self, callback: &mut Callback<'_, S>, receivers: &[Notify], advanced: Advanced) {
        let Advanced { asked, losses, events } = advanced;
        let Some(record) = &mut self.record else { return };
        let (clock, shared) = (callback.clock, &mut *callback.shared);
        self.heard = None;
        let recorded = record.value.recorded.take().unwrap_or_default();
        recordings::add(shared, &self.rollout.name, &recorded);
        if let Some((ready, asked)) = asked {
            let rollout = self.rollout.name.clone();
            callback.effects.push(Effect::Ask(Question { rollout, ready, asked }));
        }
        callback.effects.extend(Effect::dropped_of_users(record.value.run.judge.losses().since(losses)));
        self.trail = std::mem::take(&mut record.value.trail);
        let forgotten = self.trail.take_forgotten();
        callback
            .effects
            .extend((forgotten > 0).then_some(Effect::Dropped { what: "users_followed", count: forgotten }));
        let (program, rollout) = (&record.value.program, &self.rollout);
        callback.effects.extend(self.trail.take_counted().into_iter().map(|(name, side, count)| {
            let version = match side {
                Side::Stable => Some(program.stable.clone()),
                Side::Candidate => program.candidate.clone(),
            };
            let about = feedback::About { name, version, heard: feedback::Heard::Counted };
            Effect::Heard { rollout: Rc::clone(rollout), about, count }
        }));
        let told = (&self.rollout, receivers);
        happened(shared, told, events, clock, &mut callback.effects);
    }

    /// Shows where the rollout stands.
    pub(super) fn show<S: Shared>(&mut self, callback: &mut Callback<'_, S>) {
        let shared = &mut *callback.shared;
        let Some(record) = &self.record else { return };
        let rollout = &self.rollout;
        if self.existing.is_none() {
            let existing: Existing = shared::read(shared, &gauges_key(&rollout.name)).unwrap_or_default();
            (self.existing, self.gauges) = (Some(existing.clone()), Gauges::taken_over(existing));
        }
        let gauges = self.gauges.update(&record.value).into_iter();
        callback.effects.extend(gauges.map(|(gauge, value)| Effect::Gauge {
            rollout: Rc::clone(rollout),
            gauge,
            value,
        }));
        let existing = self.gauges.existing();
        if self.existing.as_ref() != Some(existing)
            && shared::write(shared, &gauges_key(&rollout.name), existing)
        {
            self.existing = Some(existing.clone());
        }
    }

    /// The rollout's record, begun if there is none.
    fn open<S: Shared>(
        &self,
        callback: &mut Callback<'_, S>,
        configured: Configured<'_>,
        rng: &mut Rng,
    ) -> Option<Cached<Record>> {
        let (clock, shared) = (callback.clock, &mut *callback.shared);
        let key = record_key(&self.rollout.name);
        let version = match Cached::read(shared, &key) {
            Ok(record) => return Some(record),
            Err(version) => version,
        };
        let (mut record, events) = Record::begin(configured.program.clone(), clock);
        record.configured_at = configured.loaded_at;
        record.secret = [rng.u64(1..), rng.u64(..)];
        let record = Cached::create(shared, &key, record, version)?;
        let told = (&self.rollout, configured.receivers);
        happened(shared, told, events, clock, &mut callback.effects);
        Some(record)
    }

    /// Its head, if workers must route differently than by the last one.
    pub(super) fn news(&self) -> Option<Head> {
        let head = self.record.as_ref()?.value.head(&self.rollout.name);
        self.told.as_ref().is_none_or(|told| !told.routes_like(&head)).then_some(head)
    }
}

/// A rollout as the configuration in use has it; `None` if there another one stands in its place.
pub(super) fn configured<'a>(plans: &[InUse<'a>], led: &Led) -> Option<Configured<'a>> {
    let (plan, rollout) = led.at;
    let in_use = plans.get(plan)?;
    let rollout = in_use.plan.rollouts().get(rollout)?;
    if rollout.name != led.rollout.name {
        return None;
    }
    Some(Configured {
        program: &rollout.program,
        receivers: &in_use.plan.receivers,
        loaded_at: in_use.loaded_at,
    })
}
