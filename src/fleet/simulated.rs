//! VMs without a host: for tests, simulations and tools.

use std::rc::Rc;

use super::InUse;
use super::callback::Callback;
use super::effect::{Effect, Post};
use super::member::{Changed, Member, TICK};
use super::memory::Memory;
use super::outbox::Delivery;
use super::shared::Shared;
use super::store::call::{Answer, Call};
use super::store::member::Settings;
use crate::config::schema::Config;
use crate::model::{Draw, Side, UserHash};
use crate::rollout::change::{Change, NotChanged};
use crate::rollout::clock::Clock;
use crate::routing::plan::{Plan, Rollout};
use crate::telemetry::ledger::Ticket;
use crate::telemetry::outcome::Outcome;
use crate::telemetry::tracked::Tracked;

/// One VM with at most one configuration.
pub struct Vm {
    /// Its part in the protocol.
    pub member: Member,
    plan: Option<Plan>,
    loaded_at: u64,
    /// By rollout: what is counted for the judge, where there is one.
    tracked: Vec<Option<Rc<Tracked>>>,
}

/// A request that has not ended.
pub struct Request {
    tracked: Rc<Tracked>,
    ticket: Ticket,
}

impl Vm {
    /// A VM that has just started.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { member: Member::new(seed), plan: None, loaded_at: 0, tracked: Vec::new() }
    }

    /// Puts a configuration into use.
    pub fn load(&mut self, shared: &impl Shared, config: &Config, clock: Clock) {
        let plan = Plan::new(config);
        plan.rollouts().iter().for_each(|rollout| self.member.place(shared, rollout, clock.uptime, clock));
        let mut judged = |rollout: &Rollout| {
            let rules = rollout.program.rules()?;
            Some(self.member.tracked(&rollout.name, rules))
        };
        self.tracked = plan.rollouts().iter().map(&mut judged).collect();
        (self.plan, self.loaded_at) = (Some(plan), clock.uptime);
        self.member.reconfigured();
    }

    /// The rollouts of its configuration.
    #[must_use]
    pub fn rollouts(&self) -> &[Rollout] {
        self.plan.as_ref().map(Plan::rollouts).unwrap_or_default()
    }

    /// A request of a rollout that is judged arrives. `None`: it is not, or there is none.
    pub fn arrive(
        &mut self,
        rollout: usize,
        side: Side,
        user: Option<UserHash>,
        clock: Clock,
    ) -> Option<Request> {
        self.member.serve();
        let assignment = self.rollouts().get(rollout)?.assignment();
        let tracked = self.tracked.get(rollout)?.clone()?;
        let ticket = tracked.ledger.borrow_mut().arrive(clock.tick(), Draw { assignment, side, user });
        Some(Request { tracked, ticket })
    }

    /// Has the member act in a callback of Envoy. Returns what it wants done as well.
    fn with<S: Shared, T>(
        &mut self,
        shared: &mut S,
        clock: Clock,
        time: &dyn Fn() -> bool,
        act: impl FnOnce(&mut Member, &mut Callback<'_, S>) -> T,
    ) -> (T, Vec<Effect>) {
        let in_use = in_use(self.plan.as_ref(), self.loaded_at);
        let mut callback = Callback::new(shared, in_use.as_slice(), clock, time);
        let acted = act(&mut self.member, &mut callback);
        (acted, callback.effects)
    }

    /// Time goes on.
    pub fn tick(&mut self, shared: &mut impl Shared, clock: Clock) -> Vec<Effect> {
        self.tick_for(shared, clock, &|| true)
    }

    /// Time goes on, and there is only some of it.
    pub fn tick_for(
        &mut self,
        shared: &mut impl Shared,
        clock: Clock,
        time: &dyn Fn() -> bool,
    ) -> Vec<Effect> {
        self.with(shared, clock, time, Member::tick).1
    }

    /// Reports, at whatever time.
    pub fn report(&mut self, shared: &mut impl Shared, clock: Clock) -> Vec<Effect> {
        self.with(shared, clock, &|| true, Member::report).1
    }

    /// Leads if it is this VM's turn, at whatever time.
    pub fn lead(&mut self, shared: &mut impl Shared, clock: Clock) -> Vec<Effect> {
        self.lead_for(shared, clock, &|| true)
    }

    /// The same, and there is only some time.
    pub fn lead_for(
        &mut self,
        shared: &mut impl Shared,
        clock: Clock,
        time: &dyn Fn() -> bool,
    ) -> Vec<Effect> {
        self.with(shared, clock, time, Member::lead).1
    }

    /// Makes a change.
    ///
    /// # Errors
    /// It was not made.
    pub fn command(
        &mut self,
        shared: &mut impl Shared,
        change: &Change,
        clock: Clock,
    ) -> Result<(Changed, Vec<Effect>), NotChanged> {
        let (changed, effects) =
            self.with(shared, clock, &|| true, |member, callback| member.command(callback, change));
        Ok((changed?, effects))
    }

    /// Has all VMs follow a change, and answers the stream when they do.
    pub fn await_followers(
        &mut self,
        shared: &mut impl Shared,
        change: (u32, &str),
        changed: Changed,
        clock: Clock,
    ) -> Vec<Effect> {
        let act = |member: &mut Member, callback: &mut Callback<'_, _>| {
            member.await_followers(callback, change, changed);
        };
        self.with(shared, clock, &|| true, act).1
    }

    /// What became of a notification.
    pub fn posted(
        &mut self,
        shared: &mut impl Shared,
        post: &Post,
        outcome: Delivery,
        clock: Clock,
    ) -> Vec<Effect> {
        self.with(shared, clock, &|| true, |member, callback| member.posted(callback, post, outcome)).1
    }

    /// Joins a fleet.
    pub fn join(&mut self, shared: &mut impl Shared, fleet: Settings) {
        self.member.join(shared, Some(fleet));
    }

    /// The call to the store that is due.
    pub fn poll_call(&mut self, shared: &mut impl Shared, clock: Clock) -> (Option<Call>, Vec<Effect>) {
        self.with(shared, clock, &|| true, Member::poll_call)
    }

    /// What became of it.
    pub fn answered(&mut self, shared: &mut impl Shared, answer: Answer, clock: Clock) -> Vec<Effect> {
        self.with(shared, clock, &|| true, |member, callback| member.answered(callback, answer)).1
    }

    /// Another VM says that there is something new.
    pub fn look_again(&mut self, shared: &mut impl Shared, clock: Clock) -> Vec<Effect> {
        self.look_again_for(shared, clock, &|| true)
    }

    /// The same, and there is only some time.
    pub fn look_again_for(
        &mut self,
        shared: &mut impl Shared,
        clock: Clock,
        time: &dyn Fn() -> bool,
    ) -> Vec<Effect> {
        self.with(shared, clock, time, |member, callback| member.look_again(callback, &[])).1
    }
}

impl Request {
    /// Its answer has passed as a whole after so many nanoseconds; the client is still reading.
    pub fn pass_answer(&self, nanoseconds: u64) {
        self.tracked.ledger.borrow_mut().pass_answer(&self.ticket, nanoseconds);
    }

    /// It has ended after so many nanoseconds.
    pub fn end(self, nanoseconds: u64, outcome: Outcome) {
        self.tracked.end(self.ticket, nanoseconds, outcome);
    }
}

/// An Envoy of one VM.
pub struct Envoy {
    /// What is shared.
    pub shared: Memory,
    /// The VM.
    pub vm: Vm,
    /// The time.
    pub now: Clock,
}

impl Envoy {
    /// Loads a configuration: its rollouts begin at once.
    #[must_use]
    pub fn begin(config: &Config, now: Clock) -> Self {
        let mut envoy = Self { shared: Memory::default(), vm: Vm::new(1), now };
        envoy.vm.load(&envoy.shared, config, now);
        envoy.vm.report(&mut envoy.shared, now);
        // It takes the lead, and leads.
        envoy.vm.lead(&mut envoy.shared, now);
        envoy.vm.lead(&mut envoy.shared, now);
        envoy
    }

    /// Requests of a rollout come, of which the first ones fail, and are answered after a millisecond.
    pub fn requests(&mut self, rollout: usize, side: Side, failed: u64, all: u64) {
        for nth in 0..all {
            if let Some(request) = self.vm.arrive(rollout, side, None, self.now) {
                request.end(1_000_000, Outcome::answered(nth < failed));
            }
        }
    }

    /// A tick later.
    pub fn tick(&mut self) -> Vec<Effect> {
        self.now.uptime = self.now.uptime.saturating_add(TICK);
        self.now.time = self.now.time.saturating_add(TICK / 1_000_000);
        let mut effects = self.vm.report(&mut self.shared, self.now);
        effects.append(&mut self.vm.lead(&mut self.shared, self.now));
        effects
    }

    /// Makes a change.
    ///
    /// # Errors
    /// It was not made.
    pub fn command(&mut self, change: &Change) -> Result<Changed, NotChanged> {
        self.vm.command(&mut self.shared, change, self.now).map(|(changed, _)| changed)
    }
}

fn in_use(plan: Option<&Plan>, loaded_at: u64) -> Option<InUse<'_>> {
    plan.map(|plan| InUse { plan, loaded_at })
}
