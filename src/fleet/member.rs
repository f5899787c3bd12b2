//! One VM's part.

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;

use fastrand::Rng;

use super::callback::Callback;
use super::effect::{self, Effect, Post};
use super::heads;
use super::joined::{self, Joined};
use super::lead::Fitness;
use super::leader::{self, Leader};
use super::outbox::{self, Delivery};
use super::presence::{self, VmId};
use super::report::{self, Report};
use super::shared::{Cached, Shared};
use super::shelf;
use super::store::call::{Answer as StoreAnswer, Call};
use super::store::known::Made;
use super::store::member::Settings;
use super::store::values::run_of;
use super::{InUse, commands, confirm, record_key};
use crate::analysis::rules::Rules;
use crate::config::notify::Notify;
use crate::model::SortedMap;
use crate::rollout::change::{Change, NotChanged};
use crate::rollout::command::Command;
use crate::rollout::ready::Answer;
use crate::rollout::record::{Clock, Record};
use crate::routing::plan::Rollout;
use crate::telemetry::breaker::Trip;
use crate::telemetry::series;
use crate::telemetry::tracked::Tracked;

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
/// Rollouts that are followed between two looks at the clock.
const FOLLOWED_BETWEEN_LOOKS: usize = 32;
/// Nanoseconds after which it is looked again whether a change can be answered, should a notice be lost.
const ANSWER_AGAIN: u64 = 50_000_000;
/// Nanoseconds after which a change is answered although a worker has not confirmed it.
const PATIENCE: u64 = 1_000_000_000;
/// Ticks that may be open until the deadline: with a longer one several are counted together, so that memory and work
/// are the same for all deadlines.
const MOST_OPEN: u64 = 60;
/// Rollouts that may be behind while the others are confirmed: with more, a configuration is about to come or go.
const MOST_BEHIND: usize = 32;
/// How often a command that another change overtakes is tried again.
const TRIES: usize = 16;

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

/// All heads looked at, in pieces.
#[derive(Default)]
struct CatchUp {
    /// Changes up to this version of the heads are looked at by the end.
    version: u64,
    /// The rollout that comes next, of all in use.
    next: usize,
    /// Those of them so far that do not follow their head.
    behind: BTreeSet<String>,
}

/// A change that has been made and waits for the workers to follow.
struct Waiting {
    stream: u32,
    /// The version of the heads that all must follow.
    version: u64,
    /// By the clock that all VMs share: then it is answered all the same.
    deadline: u64,
    rollout: String,
    record: Box<Record>,
}

/// What became of a rollout by a command.
#[derive(Debug)]
pub struct Changed {
    /// The rollout.
    pub record: Record,
    /// The version of the heads that all must follow.
    version: u64,
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
            joined::prepare(shared);
            joined::use_shared_clock(shared);
        } else {
            joined::forget(shared);
        }
        self.fleet = fleet;
    }

    /// The call to the store that is due.
    pub fn poll_call(
        &mut self,
        shared: &mut impl Shared,
        plans: &[InUse<'_>],
        clock: Clock,
        time: &dyn Fn() -> bool,
    ) -> (Option<Call>, Vec<Effect>) {
        let mut callback = Callback::new(shared, plans, clock, time);
        self.follow_fleet(&mut callback);
        (self.joined.as_mut().and_then(|joined| joined.member.poll_call(clock)), callback.effects)
    }

    /// What became of it.
    pub fn answered(
        &mut self,
        shared: &mut impl Shared,
        plans: &[InUse<'_>],
        answer: StoreAnswer,
        clock: Clock,
        time: &dyn Fn() -> bool,
    ) -> Vec<Effect> {
        let Some(joined) = &mut self.joined else { return Vec::new() };
        let failed = match answer {
            StoreAnswer::Failed(failure) => Some(Effect::StoreFailed(failure.label())),
            StoreAnswer::Done { .. } | StoreAnswer::Refused => None,
        };
        let before = (joined.member.is_away(clock), joined.member.failure());
        joined.member.answer(answer, clock);
        let has_changed = before != (joined.member.is_away(clock), joined.member.failure());
        let mut callback = Callback::new(shared, plans, clock, time);
        self.follow_fleet(&mut callback);
        if let (Some(joined), true) = (&mut self.joined, has_changed) {
            self.leader.show_fleet(&mut callback, joined);
        }
        callback.effects.extend(failed);
        callback.effects
    }

    #[inline(never)] // in the module once
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

    /// Puts a new rollout where it stands, before a request is routed by it.
    pub fn place(&self, shared: &impl Shared, rollout: &Rollout, loaded_at: u64, clock: Clock) {
        let Some(head) = heads::read(shared, &rollout.name) else { return };
        if rollout.follow(&head) {
            return;
        }
        // Another program: the leader will do the same with this configuration; until then every VM foresees it.
        if let Some(mut record) = super::record(shared, &rollout.name) {
            leader::configure(&mut record, &rollout.program, loaded_at, clock);
            rollout.follow(&record.head(&rollout.name));
        }
    }

    /// Time goes on: reports once a tick, leads when it is this VM's turn, answers changes that all follow. `time` says
    /// whether there is time for more in this call.
    pub fn tick(
        &mut self,
        shared: &mut impl Shared,
        plans: &[InUse<'_>],
        clock: Clock,
        time: &dyn Fn() -> bool,
    ) -> Vec<Effect> {
        let mut callback = Callback::new(shared, plans, clock, time);
        let tick = clock.tick();
        if std::mem::take(&mut self.has_changed) || self.reported != tick {
            self.reported = tick;
            self.report_in(&mut callback);
        } else if self.catching_up.is_some() {
            self.follow_and_confirm(&mut callback);
        }
        let is_time = self.led != tick && clock.into_tick() >= self.leads_at();
        if is_time || self.leader.is_busy() {
            self.lead_in(&mut callback);
        }
        self.answer(&mut callback);
        callback.effects
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
    pub fn report(
        &mut self,
        shared: &mut impl Shared,
        plans: &[InUse<'_>],
        clock: Clock,
        time: &dyn Fn() -> bool,
    ) -> Vec<Effect> {
        let mut callback = Callback::new(shared, plans, clock, time);
        self.report_in(&mut callback);
        callback.effects
    }

    fn report_in<S: Shared>(&mut self, callback: &mut Callback<'_, S>) {
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
    pub fn lead(
        &mut self,
        shared: &mut impl Shared,
        plans: &[InUse<'_>],
        clock: Clock,
        time: &dyn Fn() -> bool,
    ) -> Vec<Effect> {
        let mut callback = Callback::new(shared, plans, clock, time);
        self.lead_in(&mut callback);
        callback.effects
    }

    fn lead_in<S: Shared>(&mut self, callback: &mut Callback<'_, S>) {
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

    /// Has events be posted that are due, where this Envoy leads its fleet or has none.
    fn post<S: Shared>(&mut self, callback: &mut Callback<'_, S>) {
        let (plans, now) = (callback.plans, callback.clock.uptime);
        let receivers = outbox::receivers(plans);
        if receivers.is_empty() {
            return;
        }
        if let Some(joined) = &mut self.joined {
            let leads = joined.member.leads();
            outbox::follow(callback.shared, plans, joined.member.done(), (!leads).then_some(now));
            if !leads {
                return;
            }
            joined.member.write_done(outbox::done(callback.shared, plans), callback.clock);
        }
        for receiver in receivers {
            self.post_to(callback, receiver);
        }
    }

    fn post_to<S: Shared>(&self, callback: &mut Callback<'_, S>, receiver: &Notify) {
        let (now, effects) = (callback.clock.uptime, &mut callback.effects);
        if let Some((rollout, event)) = outbox::take(callback.shared, receiver, now, effects) {
            let fleet = self.fleet.as_ref().map(|settings| settings.fleet.clone());
            effects.push(Effect::Post(Box::new(Post { receiver: receiver.clone(), fleet, rollout, event })));
        }
    }

    /// What became of a post; the next one to the same receiver follows.
    pub fn posted(
        &mut self,
        shared: &mut impl Shared,
        plans: &[InUse<'_>],
        (post, outcome): (&Post, Delivery),
        clock: Clock,
        time: &dyn Fn() -> bool,
    ) -> Vec<Effect> {
        let mut callback = Callback::new(shared, plans, clock, time);
        outbox::settle(callback.shared, post, outcome, clock.uptime, &mut callback.effects);
        if let Some(joined) = &mut self.joined {
            joined.member.write_done(outbox::done(callback.shared, plans), clock);
        }
        let leads = self.leader.leads() && self.joined.as_ref().is_none_or(|joined| joined.member.leads());
        let receivers = outbox::receivers(plans);
        let receiver = receivers.into_iter().find(|receiver| leads && receiver.name == post.receiver.name);
        receiver.into_iter().for_each(|receiver| self.post_to(&mut callback, receiver));
        callback.effects
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
    pub fn look_again(
        &mut self,
        shared: &mut impl Shared,
        plans: &[InUse<'_>],
        clock: Clock,
        waiting: &[VmId],
        time: &dyn Fn() -> bool,
    ) -> Vec<Effect> {
        let mut callback = Callback::new(shared, plans, clock, time);
        self.follow_and_confirm(&mut callback);
        callback.effects.extend(waiting.iter().map(|vm| Effect::Wake { vm: *vm, reply_to: None }));
        self.answer(&mut callback);
        callback.effects
    }

    /// Makes a change at once, on whichever VM it has come to. A push that the leader has not taken over yet comes first:
    /// the command is about what workers do already.
    ///
    /// # Errors
    /// It was not made.
    pub fn command(
        &mut self,
        shared: &mut impl Shared,
        plans: &[InUse<'_>],
        change: &Change,
        clock: Clock,
        effects: &mut Vec<Effect>,
    ) -> Result<Changed, NotChanged> {
        let key = record_key(&change.rollout);
        let configured = newest(plans, &change.rollout);
        let labels = configured.and_then(|in_use| Some(in_use.plan.rollout(&change.rollout)?.labels.clone()));
        let (name, labels) = (change.rollout.clone(), labels.unwrap_or_default());
        let rollout = Rc::new(series::Rollout { name, labels });
        let mut cached = Cached::<Record>::read(shared, &key).map_err(|_| NotChanged::Unknown)?;
        if self.fleet.is_some() {
            joined::refuse_unstorable(shared, &cached.value, change, clock)?;
        }
        let mut is_noted = false;
        for _ in 0..TRIES {
            let shelved = shelf::named_by(&cached.value);
            let record = &mut cached.value;
            // As the store has it; the revision of the record says what is not asked for there any more.
            let change_there = Change { if_match: None, ..change.clone() };
            let made = Made::new(self.rng.u64(1..), record, change_there);
            let mut events =
                configured.map_or(Vec::new(), |in_use| match in_use.plan.rollout(&change.rollout) {
                    Some(rollout) => leader::configure(record, &rollout.program, in_use.loaded_at, clock),
                    None => Vec::new(),
                });
            let is_pushed = made.run != run_of(&record.program);
            let made = if is_pushed { Made::new(made.id, record, made.change) } else { made };
            events.extend(change.apply(record, clock)?);
            // Only what is stored: what is noted has the leader read the record again.
            if !std::mem::replace(&mut is_noted, true) {
                commands::note(shared, &change.rollout, clock.uptime);
            }
            if cached.store(shared, &key).is_ok() {
                let record = cached.value;
                if self.fleet.is_some() {
                    // Not before: the leading VM would make it in the record that this VM then makes it in once more.
                    joined::leave(shared, &made);
                }
                shelf::sweep(shared, &shelved, &record);
                let receivers = configured.map_or(&[][..], |in_use| &in_use.plan.receivers);
                leader::happened(shared, (&rollout, receivers), events, clock, effects);
                leader::publish(shared, &record, &record.head(&change.rollout));
                let version = heads::note(shared, std::slice::from_ref(&change.rollout));
                return Ok(Changed { record, version });
            }
        }
        Err(NotChanged::Busy)
    }

    /// A circuit breaker of this worker has tripped: nothing more goes to the candidate from here, and the others are
    /// woken. Returns whether that is settled; nothing waits for the others.
    pub fn trip(
        &mut self,
        shared: &mut impl Shared,
        plans: &[InUse<'_>],
        (rollout, trip): (&str, Trip),
        clock: Clock,
        time: &dyn Fn() -> bool,
    ) -> (bool, Vec<Effect>) {
        let change = Change::new(rollout, Command::Trip(trip));
        let mut callback = Callback::new(shared, plans, clock, time);
        let tripped = self.command(callback.shared, plans, &change, clock, &mut callback.effects);
        if tripped.is_ok() {
            self.wake_others(&mut callback, false);
        }
        // Also when it was refused: another worker may have been first, whose notice is on its way.
        self.follow_and_confirm(&mut callback);
        (matches!(tripped, Ok(_) | Err(NotChanged::Refused(_))), callback.effects)
    }

    /// Has all VMs follow a change, and answers the stream when they do.
    pub fn await_followers(
        &mut self,
        shared: &mut impl Shared,
        plans: &[InUse<'_>],
        (stream, rollout): (u32, &str),
        changed: Changed,
        clock: Clock,
        time: &dyn Fn() -> bool,
    ) -> Vec<Effect> {
        let mut callback = Callback::new(shared, plans, clock, time);
        self.follow_and_confirm(&mut callback);
        self.wake_others(&mut callback, true);
        self.waiting.push(Waiting {
            stream,
            version: changed.version,
            deadline: clock.uptime.saturating_add(PATIENCE),
            rollout: rollout.to_owned(),
            record: Box::new(changed.record),
        });
        self.answer(&mut callback);
        callback.effects
    }

    /// A candidate has answered whether it is ready, or has not.
    pub fn hear(&mut self, rollout: &str, answer: Answer) {
        self.leader.hear(rollout, answer);
    }

    /// A stream is gone.
    pub fn forget(&mut self, stream: u32) {
        self.waiting.retain(|waiting| waiting.stream != stream);
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

    /// Routes as the leader says: at once where few rollouts have changed, else while there is `time`.
    fn follow<S: Shared>(&mut self, callback: &mut Callback<'_, S>) {
        let (plans, time, shared) = (callback.plans, callback.time, &*callback.shared);
        if self.catching_up.is_none() && heads::version(shared) == self.following {
            return;
        }
        callback.effects.push(Effect::Routes);
        let log = heads::log(shared);
        let rollouts = || plans.iter().flat_map(|in_use| in_use.plan.rollouts());
        let tracked = &self.tracked;
        let follows = |rollout: &Rollout| {
            let Some(head) = heads::read(shared, &rollout.name) else { return true };
            let follows = rollout.follow(&head);
            if let Some(tracked) = tracked.get(&rollout.name).filter(|_| follows) {
                tracked.follow(head.assignment);
            }
            follows
        };
        let looked_at = self.catching_up.as_ref().map_or(self.following, |catching_up| catching_up.version);
        let changed = log.since(looked_at);
        if changed.is_none() {
            self.catching_up = Some(CatchUp::default());
        }
        let changed: HashSet<&str> = changed.into_iter().flatten().collect();
        let behind =
            self.catching_up.as_mut().map_or(&mut self.behind, |catching_up| &mut catching_up.behind);
        behind.retain(|rollout| !changed.contains(rollout.as_str()));
        for rollout in rollouts().filter(|rollout| changed.contains(rollout.name.as_str())) {
            if !follows(rollout) {
                behind.insert(rollout.name.clone());
            }
        }
        if let Some(catching_up) = &mut self.catching_up {
            catching_up.version = log.version;
            for rollout in rollouts().skip(catching_up.next) {
                if !follows(rollout) {
                    catching_up.behind.insert(rollout.name.clone());
                }
                catching_up.next = catching_up.next.saturating_add(1);
                if catching_up.next.is_multiple_of(FOLLOWED_BETWEEN_LOOKS) && !time() {
                    return;
                }
            }
        }
        if let Some(CatchUp { behind, .. }) = self.catching_up.take() {
            self.behind = behind;
        }
        // Otherwise the same changes are looked at again the next time.
        if self.behind.len() <= MOST_BEHIND {
            self.following = log.version;
        }
    }

    fn follow_and_confirm<S: Shared>(&mut self, callback: &mut Callback<'_, S>) {
        self.follow(callback);
        if let Some(number) = self.number {
            confirm::followed(callback.shared, number, self.id, self.following, &self.behind);
        }
    }

    fn wake_others<S: Shared>(&self, callback: &mut Callback<'_, S>, reply: bool) {
        let others = presence::alive(callback.shared, callback.clock.uptime)
            .into_iter()
            .filter(|(_, vm)| *vm != self.id);
        let reply_to = reply.then_some(self.id);
        callback.effects.extend(others.map(|(_, vm)| Effect::Wake { vm, reply_to }));
    }

    /// Answers the changes that all have taken, or that have waited long enough.
    fn answer<S: Shared>(&mut self, callback: &mut Callback<'_, S>) {
        let (clock, shared) = (callback.clock, &*callback.shared);
        let waiting = std::mem::take(&mut self.waiting);
        for change in waiting {
            let missing = confirm::lagging(shared, &change.rollout, change.version, clock.uptime);
            if !missing.is_empty() && clock.uptime < change.deadline {
                self.waiting.push(change);
                continue;
            }
            let Waiting { stream, rollout, record, .. } = change;
            callback.effects.push(Effect::Answer(effect::Answer { stream, rollout, record, missing }));
        }
    }
}

/// The newest of the configurations that name a rollout.
fn newest<'a>(plans: &[InUse<'a>], rollout: &str) -> Option<InUse<'a>> {
    let named = plans.iter().filter(|in_use| in_use.plan.rollout(rollout).is_some());
    named.max_by_key(|in_use| in_use.loaded_at).copied()
}
