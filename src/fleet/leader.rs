//! The VM that acts for all at each tick: it judges what all have counted and moves the rollouts on.
//!
//! A *pass* takes all rollouts once. It may be done in pieces, so that no callback takes long; a rollout of which nothing
//! was reported, and that no time moves, costs next to nothing.

mod joined;
mod led;

use std::collections::HashMap;
use std::rc::Rc;

use fastrand::Rng;

use super::callback::Callback;
use super::effect::Effect;
use super::heads::{self, Closed, Names};
use super::lead::{Fitness, Lead};
use super::presence::{self, VmId};
use super::report::{self, Merged};
use super::shared::{self, Shared};
use super::shelf;
use super::{InUse, commands, decisions, differences, journal, outbox, receipts, record_key, recordings};
use crate::config::notify::Notify;
use crate::rollout::clock::Clock;
use crate::rollout::event::Event;
use crate::rollout::program::Program;
use crate::rollout::ready::Answer;
use crate::rollout::record::{Head, Record};
use crate::telemetry::series;

use led::{Input, Led, configured};

/// Rollouts that do not move between two looks at the clock.
const IDLE_BETWEEN_LOOKS: usize = 64;
/// Nanoseconds between two notes of what has changed while a pass goes on: all VMs look at each.
const NOTE_AGAIN: u64 = 50_000_000;
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
    /// Rollouts that workers must route differently, and when others were last noted.
    changed: Vec<String>,
    noted: u64,
    /// When it was last looked for commands.
    looked: u64,
    /// When it was last written which rollouts are named.
    named: u64,
    /// The first rollout whose candidate may be asked in the next pass: those before had their turn.
    ask_from: usize,
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
        let known = shared::read::<Lead>(shared, &lead_key());
        let is_prepared = known.is_none() && shared.read(&lead_key()).is_some();
        let last = known.unwrap_or_default();
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
            // Of several that write the very first one, one stays. Which one is known at once where the key was prepared;
            // otherwise that one leads from the next tick on.
            let Some(last) = last else {
                leads = is_prepared && !plans.is_empty();
                return Some(next);
            };
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
        while let Some(led) = self.led.get_mut(pass.next) {
            pass.next = pass.next.saturating_add(1);
            // Where another configuration has come into use meanwhile, positions are those of the one before: its own pass comes.
            let Some(configured) = configured(callback.plans, led) else { continue };
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
                let noted = if led.told.is_some() { &mut self.changed } else { &mut self.unnoted };
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
            self.changed.append(&mut self.unnoted);
        }
        let now = callback.clock.uptime;
        let is_time = is_over || now.saturating_sub(self.noted) >= NOTE_AGAIN;
        let told = if self.changed.is_empty() || !is_time {
            None
        } else {
            self.noted = now;
            Some(heads::note(callback.shared, &std::mem::take(&mut self.changed)))
        };
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
        self.changed.clear();
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

/// Prepares the lead, so that the first VM that takes it leads at once: an Envoy of a fleet routes by nothing before the store
/// has answered it.
pub(super) fn prepare(shared: &mut impl Shared) {
    shared::prepare(shared, &lead_key());
}

/// Whether a VM has led, or leads.
pub(super) fn is_led(shared: &impl Shared) -> bool {
    shared::read::<Lead>(shared, &lead_key()).is_some()
}

/// Has a record follow a configuration that is newer than its own.
pub(super) fn configure(record: &mut Record, program: &Program, loaded_at: u64, clock: Clock) -> Vec<Event> {
    if loaded_at <= record.configured_at {
        return Vec::new();
    }
    record.configured_at = loaded_at;
    record.push(program, clock)
}

/// Writes a record's head. Before workers learn of its attempt, decisions about tasks and compared pairs count for that one only.
pub(super) fn publish(shared: &mut impl Shared, record: &Record, head: &Head) {
    if record.program.automation.is_some() {
        decisions::begin(shared, &head.name, record.attempt());
    }
    if record.program.mirror.is_some() {
        differences::begin(shared, &head.name, record.attempt());
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
    super::joined::forget_judged_alone(shared, rollout);
}

fn lead_key() -> String {
    shared::key("lead")
}

fn gauges_key(rollout: &str) -> String {
    shared::key(&format!("gauges.{rollout}"))
}
