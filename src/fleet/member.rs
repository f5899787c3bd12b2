//! One VM's part.

mod command;
mod follow;
mod post;

pub use command::Changed;

use std::collections::BTreeSet;
use std::rc::Rc;

use fastrand::Rng;

use super::callback::Callback;
use super::commands;
use super::effect::Effect;
use super::heads;
use super::joined::{self, Joined};
use super::lead::Fitness;
use super::leader::{self, Leader};
use super::presence::{self, VmId};
use super::report::{self, Report};
use super::shared::Shared;
use super::store::call::{Answer as StoreAnswer, Call};
use super::store::member::Settings;
use crate::analysis::rules::Rules;
use crate::model::SortedMap;
use crate::rollout::clock::Clock;
use crate::rollout::ready::Answer;
use crate::telemetry::tracked::Tracked;

use command::Waiting;
use follow::CatchUp;

/// Nanoseconds of a tick.
pub const TICK: u64 = 1_000_000_000;
/// Nanoseconds after the beginning of a tick at which VMs report the one before. Timers fire late on a busy worker,
/// rarely early.
const REPORT_AT: u64 = 10_000_000;
/// Nanoseconds after the beginning of a tick at which one VM leads: by then all have reported.
const LEAD_AT: u64 = 60_000_000;
/// Nanoseconds by which a VM that is worse placed to lead comes later: a better one comes first, and it need not.
const LATER: u64 = 40_000_000;
/// Nanoseconds between two pieces of long work.
const BETWEEN_PIECES: u64 = 1_000_000;
/// The same where requests wait for the VM meanwhile.
const BETWEEN_PIECES_SERVING: u64 = 4_000_000;
/// Nanoseconds after which it is looked again whether a change can be answered, should a notice be lost.
const ANSWER_AGAIN: u64 = 50_000_000;
/// Ticks that may be open until the deadline: with a longer one several are counted together, so that memory and work
/// are the same for all deadlines.
const MOST_OPEN: u64 = 60;

/// One VM of an Envoy.
pub struct Member {
    id: VmId,
    rng: Rng,
    /// Its number among the VMs, once it has one.
    number: Option<usize>,
    /// Whether requests pass here: not on the main thread.
    serves: bool,
    /// By rollout. Those of several plugins that have the same name are one rollout.
    tracked: SortedMap<String, Rc<Tracked>>,
    /// The version of the heads up to which all changes have been looked at.
    looked: u64,
    /// The version of the heads that is followed.
    following: u64,
    /// The rollouts that do not follow their head: some plan has another program of them.
    behind: BTreeSet<String>,
    /// Any head may have changed, and not all have been looked at.
    catching_up: Option<CatchUp>,
    /// How often it has reported.
    reports: u64,
    /// The last tick that was reported, and the last in which it was tried to lead.
    reported: u64,
    led: u64,
    /// Configurations have come or gone since they were last reported.
    has_changed: bool,
    leader: Leader,
    waiting: Vec<Waiting>,
    /// How the fleet is set up that the Envoy belongs to, and this VM's part in it while it leads.
    fleet: Option<Settings>,
    joined: Option<Joined>,
}

impl Member {
    /// A VM that has just started. `seed`: random.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        Self {
            id: VmId(rng.u64(1..)),
            rng,
            number: None,
            serves: false,
            tracked: SortedMap::default(),
            looked: 0,
            following: 0,
            behind: BTreeSet::new(),
            catching_up: None,
            reports: 0,
            reported: 0,
            led: 0,
            has_changed: false,
            leader: Leader::default(),
            waiting: Vec::new(),
            fleet: None,
            joined: None,
        }
    }

    /// Joins a fleet, changes to another or leaves it.
    pub fn join(&mut self, shared: &mut impl Shared, fleet: Option<Settings>) {
        if self.fleet == fleet {
            return;
        }
        self.joined = None;
        if fleet.is_some() {
            leader::prepare(shared);
            joined::prepare(shared);
            joined::use_shared_clock(shared);
        } else {
            joined::forget(shared);
        }
        self.fleet = fleet;
    }

    /// Whether this VM acts for its Envoy in a fleet: only then there are calls to the store.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.joined.is_some()
    }

    /// The call to the store that is due.
    pub fn poll_call<S: Shared>(&mut self, callback: &mut Callback<'_, S>) -> Option<Call> {
        self.follow_fleet(callback);
        self.joined.as_mut().and_then(|joined| joined.member.poll_call(callback.clock))
    }

    /// What became of it.
    pub fn answered<S: Shared>(&mut self, callback: &mut Callback<'_, S>, answer: StoreAnswer) {
        let Some(joined) = &mut self.joined else { return };
        let clock = callback.clock;
        let failed = match answer {
            StoreAnswer::Failed(failure) => Some(Effect::StoreFailed(failure.label())),
            StoreAnswer::Done { .. } | StoreAnswer::Refused => None,
        };
        let before = (joined.member.is_away(clock), joined.member.failure());
        joined.member.answer(answer, clock);
        let has_changed = before != (joined.member.is_away(clock), joined.member.failure());
        self.follow_fleet(callback);
        if let (Some(joined), true) = (&mut self.joined, has_changed) {
            self.leader.show_fleet(callback, joined);
        }
        callback.effects.extend(failed);
    }

    #[inline(never)] // one copy in the module
    fn follow_fleet<S: Shared>(&mut self, callback: &mut Callback<'_, S>) {
        if let Some(joined) = &mut self.joined
            && self.leader.follow_fleet(callback, joined)
        {
            self.follow_and_confirm(callback);
            self.wake_others(callback, false);
        }
    }

    /// The VM's identity.
    #[must_use]
    pub fn id(&self) -> VmId {
        self.id
    }

    /// The VM's number among those of its Envoy, once it has one.
    #[must_use]
    pub fn number(&self) -> Option<usize> {
        self.number
    }

    /// How often the VM has reported.
    #[must_use]
    pub fn reports(&self) -> u64 {
        self.reports
    }

    /// The VM's own randomness.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Notes that requests pass here.
    pub fn serve(&mut self) {
        self.serves = true;
    }

    /// Notes that the configurations in use have changed. Heads may have as well while they were made ready.
    pub fn reconfigured(&mut self) {
        self.has_changed = true;
        self.catching_up = Some(CatchUp::default());
    }

    /// What is counted of a rollout, from now on as these rules want it.
    pub fn tracked(&mut self, rollout: &str, rules: &Rules) -> Rc<Tracked> {
        let tracked = match self.tracked.get(rollout) {
            Some(tracked) => Rc::clone(tracked),
            None => Rc::clone(self.tracked.get_or_insert_with(rollout.to_owned(), Rc::default)),
        };
        let mut ledger = tracked.ledger.borrow_mut();
        ledger.count_signals(rules.signals());
        ledger.count_together(rules.deadline.div_ceil(TICK.saturating_mul(MOST_OPEN)).max(1));
        drop(ledger);
        tracked.breaker.borrow_mut().wake();
        tracked
    }

    /// Time goes on: reports once a tick, leads when it is this VM's turn, answers changes that all follow. `time` says
    /// whether there is time for more in this call.
    pub fn tick<S: Shared>(&mut self, callback: &mut Callback<'_, S>) {
        let clock = callback.clock;
        let tick = clock.tick();
        if std::mem::take(&mut self.has_changed) || self.reported != tick {
            self.reported = tick;
            self.report(callback);
        } else if self.catching_up.is_some() {
            self.follow_and_confirm(callback);
        }
        // No VM has led this Envoy, so nothing was counted yet that others have to report, and stable serves until the store has
        // answered.
        let is_first = self.led == 0 && self.fleet.is_some() && !leader::is_led(callback.shared);
        let is_time = self.led != tick && (is_first || clock.into_tick() >= self.leads_at());
        if is_time || self.leader.is_busy() {
            self.lead(callback);
        }
        self.answer(callback);
    }

    /// Whether it leads and has not moved all rollouts on yet.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.leader.is_busy()
    }

    /// Whether changes wait for the workers to follow.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Says that this VM is there and what it has counted, once a tick.
    pub fn report<S: Shared>(&mut self, callback: &mut Callback<'_, S>) {
        let clock = callback.clock;
        if self.number.is_none() {
            heads::prepare(callback.shared);
            commands::prepare(callback.shared);
        }
        self.reports = self.reports.saturating_add(1);
        let Some(taken) = presence::beat(callback.shared, self.id, clock.uptime) else { return };
        callback.effects.extend(taken.gone.iter().map(|number| Effect::Gone(*number)));
        self.number = Some(taken.number);
        self.forget_judged(callback.shared);
        self.follow_and_confirm(callback);
        let mut dropped = [("ticks", 0_u64), ("users_of_tick", 0)];
        let mut rollouts = Vec::new();
        for (rollout, tracked) in self.tracked.iter() {
            let mut ledger = tracked.ledger.borrow_mut();
            dropped[0].1 = dropped[0].1.saturating_add(ledger.take_dropped());
            dropped[1].1 = dropped[1].1.saturating_add(ledger.take_halved());
            if !ledger.is_empty() {
                rollouts.push((rollout.clone(), ledger.entries(clock.tick())));
            }
        }
        let dropped = dropped.into_iter().filter(|(_, count)| *count > 0);
        callback.effects.extend(dropped.map(|(what, count)| Effect::Dropped { what, count }));
        let report = Report { vm: self.id, tick: clock.tick(), rollouts };
        report::write(callback.shared, taken.number, &report);
    }

    /// Judges what all have reported and moves the rollouts on, if no other VM does. A pass that is under way goes on.
    pub fn lead<S: Shared>(&mut self, callback: &mut Callback<'_, S>) {
        let clock = callback.clock;
        let leads = if self.leader.is_busy() {
            self.leader.renew(callback.shared, self.id, clock)
        } else {
            self.led = clock.tick();
            let leads = self.leader.takes_the_lead(callback, self.id, self.serves);
            if leads {
                self.leader.begin(callback.shared, clock);
            }
            leads
        };
        if !leads {
            self.joined = None;
            return;
        }
        let has_changed = match &self.fleet {
            None => self.leader.go_on(callback, &mut self.rng).is_some(),
            Some(settings) => {
                let seed = self.rng.u64(1..);
                let new = || Joined::new(callback.shared, settings, seed, clock);
                let joined = self.joined.get_or_insert_with(new);
                self.leader.pass_joined(callback, joined)
            }
        };
        if has_changed {
            self.follow_and_confirm(callback);
            self.wake_others(callback, false);
        }
        if !self.leader.is_busy() {
            self.post(callback);
        }
    }

    /// Nanoseconds until [`Member::tick`] is wanted again.
    #[must_use]
    pub fn next_tick(&self, clock: Clock) -> u64 {
        if self.leader.is_busy() || self.catching_up.is_some() {
            return self.between_pieces();
        }
        let now = clock.into_tick();
        let next =
            if self.led == clock.tick() { clock.length.saturating_add(REPORT_AT) } else { self.leads_at() };
        let wait = next.saturating_sub(now).max(BETWEEN_PIECES);
        let wait = self.joined.as_ref().map_or(wait, |joined| wait.min(joined.member.next_call(clock)));
        if self.waiting.is_empty() { wait } else { wait.min(ANSWER_AGAIN) }
    }

    /// Nanoseconds between two pieces of long work.
    #[must_use]
    pub fn between_pieces(&self) -> u64 {
        if self.serves { BETWEEN_PIECES_SERVING } else { BETWEEN_PIECES }
    }

    /// Another VM says that there is something new. `waiting`: those that want to be woken when this one has looked.
    pub fn look_again<S: Shared>(&mut self, callback: &mut Callback<'_, S>, waiting: &[VmId]) {
        self.follow_and_confirm(callback);
        callback.effects.extend(waiting.iter().map(|vm| Effect::Wake { vm: *vm, reply_to: None }));
        self.answer(callback);
    }

    /// A candidate has answered whether it is ready, or has not.
    pub fn hear(&mut self, rollout: &str, answer: Answer) {
        self.leader.hear(rollout, answer);
    }

    /// Nanoseconds after the beginning of a tick at which it leads, if it does.
    fn leads_at(&self) -> u64 {
        let worse_by = match self.leader.fitness(self.serves) {
            Fitness::Idle => 0,
            Fitness::Serving => LATER,
            Fitness::Lacking => LATER.saturating_mul(2),
        };
        LEAD_AT.saturating_add(worse_by)
    }

    /// Forgets what has been judged, and rollouts that no configuration has any more.
    fn forget_judged(&mut self, shared: &impl Shared) {
        if self.tracked.values().any(|tracked| !tracked.ledger.borrow().is_empty()) {
            for closed in heads::closed(shared) {
                if let Some(tracked) = self.tracked.get(&closed.name) {
                    let mut ledger = tracked.ledger.borrow_mut();
                    ledger.forget_through(closed.through);
                    ledger.watch(&closed.watch);
                }
            }
        }
        self.tracked.retain(|_, tracked| Rc::strong_count(tracked) > 1);
    }
}
