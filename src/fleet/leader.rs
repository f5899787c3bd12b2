//! The VM that acts for all at each tick: it judges what all have counted and moves the rollouts on.
//!
//! A *pass* takes all rollouts once. It may be done in pieces, so that no callback takes long; a rollout of which nothing
//! was reported, and that no time moves, costs next to nothing.

mod joined;

use std::collections::HashMap;
use std::rc::Rc;

use fastrand::Rng;

use super::callback::Callback;
use super::effect::{Effect, Question};
use super::gauges::{Existing, Gauges};
use super::heads::{self, Closed, Names};
use super::lead::{Fitness, Lead};
use super::presence::{self, VmId};
use super::report::{self, Merged};
use super::shared::{self, Cached, Shared};
use super::shelf::{self, Shelf};
use super::{InUse, commands, decisions, differences, journal, outbox, receipts, record_key, recordings};
use crate::analysis::trail::Trail;
use crate::config::notify::Notify;
use crate::model::Side;
use crate::rollout::event::Event;
use crate::rollout::program::Program;
use crate::rollout::ready::Answer;
use crate::rollout::record::{Clock, Head, Record};
use crate::routing::plan::Rollout;
use crate::telemetry::ledger::Entry;
use crate::telemetry::{feedback, series};

/// Rollouts that do not move between two looks at the clock.
const IDLE_BETWEEN_LOOKS: usize = 64;
/// Candidates that are asked in one pass whether they are ready.
const MOST_QUESTIONS: usize = 64;

/// What leading needs to remember from pass to pass.
#[derive(Default)]
pub(super) struct Leader {
    /// Each rollout that the configurations in use name, once.
    led: Vec<Led>,
    by_name: HashMap<String, usize>,
    /// Gauges of rollouts that are not named any more, or have other labels: they go to 0.
    gone: Vec<Effect>,
    /// When each configuration in use was loaded.
    configured: Vec<u64>,
    /// Whether the configurations in use were found to name all rollouts.
    knows_all: bool,
    /// Whether they were found to lack some.
    lacks: bool,
    leads: bool,
    pass: Option<Pass>,
    /// Rollouts whose heads this VM has written for the first time. Workers mostly have them, or route as at the
    /// beginning: it is enough to note them when the pass ends.
    unnoted: Vec<String>,
    /// When it was last looked for commands.
    looked: u64,
    /// When it was last written which rollouts are named.
    named: u64,
    /// The first rollout whose candidate may be asked in the next pass: those before had their turn.
    ask_from: usize,
}

/// One rollout.
#[derive(Default)]
struct Led {
    rollout: Rc<series::Rollout>,
    /// Where it stands in the configurations in use: the configuration, and the rollout in it.
    at: (usize, usize),
    record: Option<Cached<Record>>,
    /// The head that this VM last published; `None` if it has published none.
    told: Option<Head>,
    gauges: Gauges,
    /// The gauges that exist, as shared data has them; `None`: another VM may have written them.
    existing: Option<Existing>,
    /// What its candidate has answered since the last pass.
    heard: Option<Answer>,
    /// Who has come lately.
    trail: Trail,
}

/// All rollouts taken once.
struct Pass {
    reports: Merged,
    /// The rollout that comes next.
    next: usize,
    closed: Vec<Closed>,
    questions: Questions,
    /// The rollouts that are being recorded.
    recorded: Vec<String>,
}

/// Which candidates may be asked in a pass whether they are ready: so many, and in the next one those that follow.
struct Questions {
    /// The first rollout whose turn it is.
    from: usize,
    /// How many may still be asked.
    left: usize,
    /// The rollout behind the last one that was looked at while some could be asked.
    end: usize,
}

impl Questions {
    /// What the rollout before `next` may ask: to be lowered when it does.
    fn of(&mut self, next: usize) -> Option<&mut usize> {
        if self.left == 0 || next <= self.from {
            return None;
        }
        self.end = next;
        Some(&mut self.left)
    }

    /// Where the next pass begins to ask.
    fn next_from(&self) -> usize {
        if self.left == 0 { self.end } else { 0 }
    }
}

/// What a pass has for one rollout.
struct Input<'a> {
    entries: &'a [Entry],
    /// Of ticks before this one all VMs have reported.
    known_before: u64,
    /// Set if its candidate may be asked whether it is ready: how many questions are left.
    questions: Option<&'a mut usize>,
    /// Whether its closed ticks are kept.
    is_recorded: bool,
}

/// A rollout as a configuration in use has it.
#[derive(Clone, Copy)]
struct Configured<'a> {
    program: &'a Program,
    receivers: &'a [Notify],
    loaded_at: u64,
}

impl Leader {
    /// Whether this VM is to lead now; written down so that no other does.
    pub(super) fn takes_the_lead<S: Shared>(
        &mut self,
        callback: &mut Callback<'_, S>,
        vm: VmId,
        serves: bool,
    ) -> bool {
        let (plans, clock, shared) = (callback.plans, callback.clock, &mut *callback.shared);
        self.lacks = false;
        let mut next = Lead { vm, renewed: clock.uptime, fitness: self.fitness(serves) };
        let last = shared::read::<Lead>(shared, &lead_key()).unwrap_or_default();
        if !last.gives_way_to(&next) {
            (self.leads, self.pass) = (false, None);
            return false;
        }
        self.configure(shared, plans);
        if last.vm != vm || !self.knows_all {
            let names = Names::read(shared);
            self.knows_all = names.are_among(|name| self.by_name.contains_key(name), clock.uptime);
        }
        self.lacks = !self.knows_all;
        next.fitness = self.fitness(serves);
        let (mut leads, mut takes_over) = (false, false);
        let written = shared::update::<Lead>(shared, &lead_key(), |last| {
            // Of several that write the very first one, one stays, and leads from the next tick on.
            let Some(last) = last else { return Some(next) };
            leads = !plans.is_empty() && last.gives_way_to(&next);
            takes_over = last.vm != vm;
            leads.then_some(next)
        });
        let leads = leads && written;
        if leads && (takes_over || !self.leads) {
            self.take_over();
        }
        if !leads {
            self.pass = None;
        }
        self.leads = leads;
        leads
    }

    /// Writes that this VM still leads. Returns whether it does.
    pub(super) fn renew(&mut self, shared: &mut impl Shared, vm: VmId, clock: Clock) -> bool {
        let mut leads = false;
        let written = shared::update::<Lead>(shared, &lead_key(), |last| {
            let last = last.filter(|last| last.vm == vm);
            leads = last.is_some();
            last.map(|last| Lead { renewed: clock.uptime, ..last })
        });
        self.leads = leads && written;
        if !self.leads {
            self.pass = None;
        }
        self.leads
    }

    /// How well the VM is placed to lead, which `serves` requests or not.
    pub(super) fn fitness(&self, serves: bool) -> Fitness {
        match (self.lacks, serves) {
            (true, _) => Fitness::Lacking,
            (false, true) => Fitness::Serving,
            (false, false) => Fitness::Idle,
        }
    }

    /// Whether a pass is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.pass.is_some()
    }

    /// Begins a pass.
    pub(super) fn begin(&mut self, shared: &impl Shared, clock: Clock) {
        self.heed_commands(shared, clock);
        let workers = presence::not_gone(shared, clock.uptime);
        let reports = Merged::of(report::read(shared, &workers), clock.tick());
        let questions = Questions { from: self.ask_from, left: MOST_QUESTIONS, end: 0 };
        let recorded = recordings::wanted(shared, clock.uptime);
        self.pass = Some(Pass { reports, next: 0, closed: Vec::new(), questions, recorded });
    }

    /// Goes on with the pass while there is `time`. Returns the version of the heads when workers must route
    /// differently.
    pub(super) fn go_on<S: Shared>(&mut self, callback: &mut Callback<'_, S>, rng: &mut Rng) -> Option<u64> {
        let mut pass = self.pass.take()?;
        callback.effects.append(&mut self.gone);
        let mut changed = Vec::new();
        while let Some(led) = self.led.get_mut(pass.next) {
            pass.next = pass.next.saturating_add(1);
            let Some(configured) = configured(callback.plans, led.at) else { continue };
            let entries = pass.reports.take(&led.rollout.name);
            let input = Input {
                entries: &entries,
                known_before: pass.reports.known_before,
                questions: pass.questions.of(pass.next),
                is_recorded: pass.recorded.contains(&led.rollout.name),
            };
            let moved = led.step(callback, configured, input, rng);
            if !entries.is_empty()
                && let Some(record) = &led.record
            {
                let (name, through) = (led.rollout.name.clone(), record.value.closed_through);
                pass.closed.push(Closed { name, through, watch: record.value.watch() });
            }
            if moved && let (Some(record), Some(head)) = (&led.record, led.news()) {
                publish(callback.shared, &record.value, &head);
                let noted = if led.told.is_some() { &mut changed } else { &mut self.unnoted };
                noted.push(head.name.clone());
                led.told = Some(head);
            }
            // A look at the clock costs as much as some rollouts that do not move.
            if (moved || pass.next.is_multiple_of(IDLE_BETWEEN_LOOKS)) && !(callback.time)() {
                break;
            }
        }
        let is_over = pass.next >= self.led.len();
        if is_over {
            changed.append(&mut self.unnoted);
        }
        let told = if changed.is_empty() { None } else { Some(heads::note(callback.shared, &changed)) };
        if is_over {
            self.ask_from = pass.questions.next_from();
            heads::write_closed(callback.shared, &pass.closed);
            self.end_pass(callback.shared, callback.clock);
        } else {
            self.pass = Some(pass);
        }
        told
    }

    fn end_pass(&mut self, shared: &mut impl Shared, clock: Clock) {
        if Names::are_old(self.named, clock.uptime) {
            self.named = clock.uptime;
            for name in
                heads::renew(shared, self.led.iter().map(|led| led.rollout.name.as_str()), clock.uptime)
            {
                forget(shared, &name);
            }
        }
    }

    /// Takes over which rollouts the configurations in use name: several may have the same one, and the newest counts.
    fn configure(&mut self, shared: &mut impl Shared, plans: &[InUse<'_>]) {
        let configured: Vec<u64> = plans.iter().map(|plan| plan.loaded_at).collect();
        if configured == self.configured {
            return;
        }
        self.configured = configured;
        outbox::prepare(shared, plans);
        recordings::prepare(shared);
        (self.pass, self.named, self.knows_all) = (None, 0, false);
        let old = std::mem::take(&mut self.led).into_iter();
        let mut old: HashMap<String, Led> = old.map(|led| (led.rollout.name.clone(), led)).collect();
        self.by_name.clear();
        for (nth, in_use) in plans.iter().enumerate() {
            for (position, rollout) in in_use.plan.rollouts().iter().enumerate() {
                let at = (nth, position);
                let known = self.by_name.get(rollout.name.as_str()).copied();
                if let Some(led) = known.and_then(|known| self.led.get_mut(known)) {
                    let known = plans.get(led.at.0);
                    if known.is_some_and(|known| known.loaded_at < in_use.loaded_at) {
                        self.gone.extend(led.configure(rollout, at));
                    }
                    continue;
                }
                let mut led = old.remove(rollout.name.as_str()).unwrap_or_default();
                self.gone.extend(led.configure(rollout, at));
                self.by_name.insert(rollout.name.clone(), self.led.len());
                self.led.push(led);
            }
        }
        self.gone.extend(old.into_values().flat_map(|mut led| led.end()));
        for led in &self.led {
            let (Some(in_use), (_, position)) = (plans.get(led.at.0), led.at) else { continue };
            if let Some(rollout) = in_use.plan.rollouts().get(position) {
                let comparison = rollout.comparison().map(|comparison| comparison.definition);
                differences::configure(shared, &rollout.name, in_use.loaded_at, comparison);
            }
        }
    }

    /// Keeps what a candidate has answered until the next pass. One that is not led here any more is asked again.
    pub(super) fn hear(&mut self, rollout: &str, answer: Answer) {
        if let Some(led) = self.by_name.get(rollout).and_then(|at| self.led.get_mut(*at)) {
            led.heard = Some(answer);
        }
    }

    /// Whether this VM acts for all of its Envoy.
    pub(super) fn leads(&self) -> bool {
        self.leads
    }

    /// What is remembered is from another time: another VM has led meanwhile.
    fn take_over(&mut self) {
        for led in &mut self.led {
            (led.record, led.told, led.existing) = (None, None, None);
        }
        (self.named, self.pass) = (0, None);
        self.unnoted.clear();
    }

    /// Commands have changed records: those remembered are old.
    fn heed_commands(&mut self, shared: &impl Shared, clock: Clock) {
        match commands::since(shared, std::mem::replace(&mut self.looked, clock.uptime)) {
            Some(names) => {
                for name in names {
                    let led = self.by_name.get(name.as_str()).and_then(|at| self.led.get_mut(*at));
                    led.into_iter().for_each(|led| led.record = None);
                }
            }
            None => self.led.iter_mut().for_each(|led| led.record = None),
        }
    }
}

impl Led {
    /// Takes over where the rollout stands in the configurations in use. Returns what becomes of its gauges when they
    /// have changed their labels.
    fn configure(&mut self, rollout: &Rollout, at: (usize, usize)) -> Vec<Effect> {
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
    fn end(&mut self) -> Vec<Effect> {
        let rollout = &self.rollout;
        let gauges = std::mem::take(&mut self.gauges).end().into_iter();
        gauges.map(|gauge| Effect::Gauge { rollout: Rc::clone(rollout), gauge, value: 0 }).collect()
    }

    /// Moves the rollout on. Returns whether anything was done about it.
    fn step<S: Shared>(
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
                self.heard = None;
                let recorded = record.value.recorded.take().unwrap_or_default();
                recordings::add(shared, &self.rollout.name, &recorded);
                if let Some((left, (ready, asked))) = asked {
                    *left = left.saturating_sub(1);
                    let rollout = self.rollout.name.clone();
                    callback.effects.push(Effect::Ask(Question { rollout, ready, asked }));
                }
                let now = record.value.run.judge.losses();
                let dropped = [
                    ("users_of_run", now.0.saturating_sub(losses.0)),
                    ("users_with_event", now.1.saturating_sub(losses.1)),
                ];
                let dropped = dropped.into_iter().filter(|(_, count)| *count > 0);
                callback.effects.extend(dropped.map(|(what, count)| Effect::Dropped { what, count }));
                self.trail = std::mem::take(&mut record.value.trail);
                let forgotten = self.trail.take_forgotten();
                callback.effects.extend(
                    (forgotten > 0).then_some(Effect::Dropped { what: "users_followed", count: forgotten }),
                );
                let (program, rollout) = (&record.value.program, &self.rollout);
                callback.effects.extend(self.trail.take_counted().into_iter().map(|(name, side, count)| {
                    let version = match side {
                        Side::Stable => Some(program.stable.clone()),
                        Side::Candidate => program.candidate.clone(),
                    };
                    let about = feedback::About { name, version, heard: feedback::Heard::Counted };
                    Effect::Heard { rollout: Rc::clone(rollout), about, count }
                }));
                let told = (&self.rollout, configured.receivers);
                happened(shared, told, events, clock, &mut callback.effects);
            }
        } else if was_known {
            return false;
        }
        self.show(callback);
        true
    }

    /// Shows where the rollout stands.
    fn show<S: Shared>(&mut self, callback: &mut Callback<'_, S>) {
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
    fn news(&self) -> Option<Head> {
        let head = self.record.as_ref()?.value.head(&self.rollout.name);
        self.told.as_ref().is_none_or(|told| !told.routes_like(&head)).then_some(head)
    }
}

/// A rollout as the configuration in use at that place has it.
fn configured<'a>(plans: &[InUse<'a>], (plan, rollout): (usize, usize)) -> Option<Configured<'a>> {
    let in_use = plans.get(plan)?;
    let rollout = in_use.plan.rollouts().get(rollout)?;
    Some(Configured {
        program: &rollout.program,
        receivers: &in_use.plan.receivers,
        loaded_at: in_use.loaded_at,
    })
}

/// Has a record follow a configuration that is newer than its own.
pub(super) fn configure(record: &mut Record, program: &Program, loaded_at: u64, clock: Clock) -> Vec<Event> {
    if loaded_at <= record.configured_at {
        return Vec::new();
    }
    record.configured_at = loaded_at;
    record.push(program, clock)
}

/// Writes a record's head. Before workers learn of its attempt, decisions about tasks count for that one only.
pub(super) fn publish(shared: &mut impl Shared, record: &Record, head: &Head) {
    if record.program.automation.is_some() {
        decisions::begin(shared, &head.name, record.attempt());
    }
    heads::write(shared, head);
}

/// Keeps what happened for the API and for notifications, and has it logged and counted.
pub(super) fn happened(
    shared: &mut impl Shared,
    (rollout, receivers): (&Rc<series::Rollout>, &[Notify]),
    events: Vec<Event>,
    clock: Clock,
    effects: &mut Vec<Effect>,
) {
    if events.is_empty() {
        return;
    }
    let count = journal::add(shared, &rollout.name, &events);
    effects.extend((count > 0).then_some(Effect::Dropped { what: "events", count }));
    outbox::add(shared, receivers, (&rollout.name, &events), clock.uptime, effects);
    let happened = |event| Effect::Happened { rollout: Rc::clone(rollout), event: Box::new(event) };
    effects.extend(events.into_iter().map(happened));
}

/// Deletes everything about a rollout.
fn forget(shared: &mut impl Shared, rollout: &str) {
    let key = record_key(rollout);
    if let Some(record) = shared::read::<Record>(shared, &key) {
        shelf::sweep(shared, &shelf::named_by(&record), &Record::default());
    }
    shared::erase(shared, &key);
    shared::erase(shared, &gauges_key(rollout));
    heads::erase(shared, rollout);
    decisions::erase(shared, rollout);
    differences::erase(shared, rollout);
    receipts::erase(shared, rollout);
    journal::erase(shared, rollout);
    recordings::erase(shared, rollout);
}

fn lead_key() -> String {
    shared::key("lead")
}

fn gauges_key(rollout: &str) -> String {
    shared::key(&format!("gauges.{rollout}"))
}
