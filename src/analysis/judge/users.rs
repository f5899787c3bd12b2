//! The judge of users: what happens to each counts once in a run.

use super::{Judge, Step, TestState};
use crate::analysis::at_risk::Sides;
use crate::analysis::evidence::{self, Evidence};
use crate::analysis::kernel::{Arm, Table};
use crate::analysis::latency::Edges;
use crate::analysis::rules::{Rules, Test};
use crate::analysis::sample::is_in;
use crate::analysis::tick::{Counts, Tick, View};
use crate::analysis::user_set::{MOST_EXACT, Shelf, UserSet};
use crate::analysis::users::{First, Firsts, Pair, Users, Watch, first};
use crate::telemetry::ledger::Side;

impl Judge {
    /// Takes over a closed tick of users.
    pub(super) fn close_users(&mut self, tick: &Tick, rules: &Rules) -> Firsts {
        if let (Some(share), false) = (tick.share, tick.is_idle()) {
            self.newcomers.all.move_to(share);
        }
        // Also of a tick that says nothing: what has happened in it does not happen for the first time later.
        let firsts = tick.firsts.clone().unwrap_or_else(|| self.meet(tick, rules));
        let (Some(share), false) = (tick.share, tick.is_idle()) else {
            self.each_test(rules, |state, test| state.spent.add(firsts.of(test).spent));
            return firsts;
        };
        self.ticks = self.ticks.saturating_add(1);
        self.tell_of_step(tick);
        let (ticks, users) = (self.ticks, self.newcomers.all);
        self.each_test(rules, |state, test| {
            let First { events, spent } = firsts.of(test);
            state.spent.move_to(share);
            let odds = users.odds(&state.spent, 0);
            state.evidence.add(ticks, says(test, events, &firsts.candidate, odds));
            state.spent.add(spent);
            state.seen.add(test, events, &firsts);
        });
        let newcomers = firsts.newcomers;
        let all = newcomers.candidate.saturating_add(newcomers.stable);
        if !self.newcomers.with_strangers {
            self.split.add(self.ticks, evidence::mismatch(newcomers.candidate, all, share));
        }
        if self.is_in_step(tick) {
            self.step.count_users(&firsts, rules);
        }
        firsts
    }

    /// Users come to stable from another version than the candidate, where nobody has noted them: from here on the
    /// split of those who come for the first time says nothing.
    pub fn expect_strangers(&mut self) {
        self.newcomers.with_strangers = true;
    }

    /// Whether the first requests of the step are among the tick's. A tick that counts nowhere uses none of them up.
    fn is_in_step(&self, tick: &Tick) -> bool {
        tick.number >= self.step.from && !tick.void
    }

    /// What open ticks tell of users who come for the first time in the step, by tick: who waits has not failed.
    #[must_use]
    pub fn first_requests(&self, open: &[(Tick, usize)]) -> Vec<Firsts> {
        let mut newcomers = self.newcomers.clone();
        let of = |(tick, age): &(Tick, usize)| {
            newcomers.meet(tick, self.is_in_step(tick), View::Open { age: *age })
        };
        open.iter().map(of).collect()
    }

    /// [`Judge::at_least`] for users. An open tick may still take a first event from a later one, so all that are
    /// open count as one; and a user whose request fails on stable may have moved to the candidate meanwhile, so
    /// they must be of one assignment.
    pub(super) fn at_least_of_users(&self, open: &[(Tick, usize)], rules: &Rules) -> Self {
        let mut most = self.clone();
        let Some((first, _)) = open.first() else { return most };
        let mut ahead = self.clone();
        let begins = self.ticks.saturating_add(1);
        let is_of_one = |(tick, _): &&(Tick, usize)| {
            // Of a part of its users nothing is certain.
            let is_whole = tick.candidate.tells_of_all_users() && tick.stable.tells_of_all_users();
            tick.share.is_some() && tick.epoch == first.epoch && is_whole
        };
        let firsts = self.first_requests(open);
        // The fewest users of stable there are in any of these ticks, and of the candidate the most: so the odds are
        // at least what they will have been in each of them.
        let users = self.worst_crowd(first.share, &firsts);
        // By test: the block so far.
        let tests = self.metrics.iter().map(|metric| metric.tests.len()).sum();
        let mut block = vec![(Pair::default(), 0_u64); tests];
        let block_of_one = open.iter().take_while(is_of_one).zip(&firsts);
        for ((tick, age), firsts) in block_of_one.filter(|((tick, _), _)| !tick.is_idle()) {
            let (Some(share), view) = (tick.share, View::Open { age: *age }) else { break };
            ahead.ticks = ahead.ticks.saturating_add(1);
            ahead.tell_of_step(tick);
            let ticks = ahead.ticks;
            let mut block = block.iter_mut();
            let now = ahead.metrics.iter_mut().zip(&self.metrics).zip(&rules.metrics);
            for ((state, before), rule) in now {
                for ((state, before), test) in state.tests.iter_mut().zip(&before.tests).zip(&rule.tests) {
                    let Some((events, pending)) = block.next() else { break };
                    let more = state.meet(*test, tick, view).events;
                    events.candidate = events.candidate.saturating_add(more.candidate);
                    events.stable = events.stable.saturating_add(more.stable);
                    *pending = pending.saturating_add(pending_on_stable(*test, tick));
                    state.seen.add(*test, more, firsts);
                    let worst = Pair { stable: events.stable.saturating_add(*pending), ..*events };
                    if let Test::ErrorsBeyond { max } = *test {
                        // Who came first, and when, is known by now; only how it ends is not.
                        state.evidence.add(ticks, evidence::over_bound(&firsts.candidate, max));
                        continue;
                    }
                    state.evidence = before.evidence;
                    state.spent = before.spent;
                    state.spent.move_to(share);
                    let odds = users.odds(&state.spent, worst.stable);
                    state.evidence.add(begins, says(*test, worst, &Arm::default(), odds));
                }
            }
            if ahead.reading().all > most.reading().all {
                most.clone_from(&ahead);
            }
        }
        most
    }

    /// The users as they are at most of the candidate's, and at least of stable's, in any of the open ticks, of
    /// which `firsts` tell; `share`: in the first of them.
    fn worst_crowd(&self, share: Option<f64>, firsts: &[Firsts]) -> Sides {
        let mut all = self.newcomers.all;
        share.into_iter().for_each(|share| all.move_to(share));
        for (nth, firsts) in firsts.iter().enumerate() {
            let newcomers = firsts.all_newcomers();
            let newcomers = if nth == 0 { newcomers } else { Pair { stable: 0, ..newcomers } };
            all.add_sampled(newcomers, firsts.scale);
        }
        all
    }

    /// Notes everything that has happened to users in a closed tick, and says what of it was for the first time.
    fn meet(&mut self, tick: &Tick, rules: &Rules) -> Firsts {
        let mut firsts = self.newcomers.meet(tick, self.is_in_step(tick), View::Closed);
        self.each_test(rules, |state, test| firsts.events.push((test, state.meet(test, tick, View::Closed))));
        firsts
    }

    /// What first requests of a step have shown is shown anew by the same users in the next one: it does not add up.
    pub(super) fn forget_first_requests(&mut self, rules: &Rules) {
        self.each_test(rules, |state, test| {
            if let Test::ErrorsBeyond { .. } = test {
                state.evidence = Evidence::default();
            }
        });
    }

    /// What workers have to tell of users.
    #[must_use]
    pub fn watch(&self) -> Watch {
        let edges = self.metrics.iter().flat_map(|metric| &metric.tests).flat_map(TestState::edges_in_use);
        Watch { level: self.newcomers.level, slow: edges.map(|edges| edges.stable).min() }
    }

    /// What its memory's bounds have cost: how often the sample of users was halved, and how many sets know
    /// their users only nearly.
    #[must_use]
    pub fn losses(&self) -> (u64, u64) {
        let inexact = self.user_sets().filter(|set| set.len().is_none());
        (self.newcomers.level.into(), inexact.count() as u64)
    }

    /// All sets of users.
    pub fn user_sets(&self) -> impl Iterator<Item = &UserSet> {
        let tests = self.metrics.iter().flat_map(|metric| &metric.tests);
        tests.map(|test| &test.users).chain([&self.newcomers.of_run, &self.newcomers.of_step])
    }

    /// Gets what is missing of the sets from the shelf.
    pub fn fetch_users(&mut self, shelf: &dyn Shelf) {
        self.each_user_set(|set| set.fetch(shelf));
    }

    /// Puts what has changed of the sets on the shelf.
    pub fn put_users(&mut self, shelf: &mut dyn Shelf) {
        self.each_user_set(|set| set.put(shelf));
    }

    fn each_test(&mut self, rules: &Rules, mut visit: impl FnMut(&mut TestState, Test)) {
        for (state, rule) in self.metrics.iter_mut().zip(&rules.metrics) {
            state.tests.iter_mut().zip(&rule.tests).for_each(|(state, test)| visit(state, *test));
        }
    }

    fn each_user_set(&mut self, mut visit: impl FnMut(&mut UserSet)) {
        let tests = self.metrics.iter_mut().flat_map(|metric| &mut metric.tests);
        tests.for_each(|test| visit(&mut test.users));
        visit(&mut self.newcomers.of_run);
        visit(&mut self.newcomers.of_step);
    }
}

impl TestState {
    /// Notes the users who have had a test's event in a tick, and says who of them for the first time.
    fn meet(&mut self, test: Test, tick: &Tick, view: View) -> First {
        let mut first = First::default();
        let level = level(test, tick);
        let edges = self.edges_of(tick.number);
        for side in [Side::Candidate, Side::Stable] {
            let Some(users) = &tick.side(side).users else { continue };
            each_with_event(test, edges, users, (side, view, level), |user, counts| {
                if self.users.insert(user) {
                    first.spent.add(side);
                    if counts {
                        first.events.add(side);
                    }
                }
            });
        }
        first
    }
}

/// What a tick's first events say, each of which was the candidate's with the probability `odds`.
fn says(test: Test, events: Pair, first_requests: &Arm, odds: f64) -> [f64; evidence::RATIOS.len()] {
    let all = events.candidate.saturating_add(events.stable);
    match test {
        Test::Errors { tolerate } => evidence::first_events(events.candidate, all, odds, tolerate),
        Test::Slower { .. } => evidence::first_events(events.candidate, all, odds, 1.0),
        Test::ErrorsBeyond { max } => evidence::over_bound(first_requests, max),
    }
}

/// How often the users were halved that both versions' workers tell of.
fn level(test: Test, tick: &Tick) -> u8 {
    let level = |counts: &Counts| {
        let Some(users) = &counts.users else { return 0 };
        let listed = if let Test::Slower { .. } = test { &users.slow } else { &users.failed };
        listed.level().max(users.waiting.level())
    };
    level(&tick.candidate).max(level(&tick.stable))
}

/// Visits the users who have had a test's event, some of them twice; and says whether it counts.
///
/// Of the candidate less counts as slow, where that is tolerated. But whoever has been beyond stable's edge has had
/// the event, whichever version he has: otherwise stable's users would soon all have had it, and those who then have
/// it for the first time were the candidate's, though it is no slower.
fn each_with_event(
    test: Test,
    edges: Option<Edges>,
    users: &Users,
    (side, view, level): (Side, View, u8),
    mut visit: impl FnMut(u64, bool),
) {
    match (test, edges) {
        (Test::Errors { .. }, _) => {
            users.failed.after(level).for_each(|(user, _)| visit(user, true));
            if view == View::Closed {
                let unanswered = |(_, outcome): &(u64, u8)| *outcome == first::UNANSWERED;
                users.waiting.after(level).filter(unanswered).for_each(|(user, _)| visit(user, true));
            }
        }
        (Test::Slower { .. }, Some(edges)) => {
            let edge = if side == Side::Candidate { edges.candidate } else { edges.stable };
            let beyond = |edge: usize| {
                let slow = move |(_, bucket): &(u64, u8)| usize::from(*bucket) > edge;
                users.slow.after(level).filter(slow)
            };
            beyond(edge).for_each(|(user, _)| visit(user, true));
            // Whoever waits is beyond every edge below its age; no edge is beyond the deadline. Of the candidate's
            // users who wait nobody knows yet whether they will be beyond stable's edge alone.
            let late = match view {
                View::Closed => true,
                View::Open { age } => age > edge,
            };
            if view == View::Closed || side == Side::Candidate {
                users.waiting.after(level).for_each(|(user, _)| visit(user, late));
            }
            beyond(edges.stable).for_each(|(user, _)| visit(user, false));
        }
        (Test::ErrorsBeyond { .. } | Test::Slower { .. }, _) => {}
    }
}

/// Stable's requests that may still turn out to have a test's event.
fn pending_on_stable(test: Test, tick: &Tick) -> u64 {
    match test {
        Test::Errors { .. } => tick.stable.open,
        Test::Slower { .. } => tick.stable.untimed(),
        Test::ErrorsBeyond { .. } => 0,
    }
}

/// Users who have come already, or a sample of them.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Newcomers {
    /// How often all users have been halved to get the sample.
    level: u8,
    /// All who have come in the run: those of the sample stand for the others.
    all: Sides,
    /// Whether some may have come long ago, to a version where nobody has noted them.
    with_strangers: bool,
    of_run: UserSet,
    of_step: UserSet,
}

impl Default for Newcomers {
    fn default() -> Self {
        let (of_run, of_step) = (UserSet::exact(), UserSet::exact());
        Self { level: 0, all: Sides::default(), with_strangers: false, of_run, of_step }
    }
}

impl Newcomers {
    /// Begins a step.
    pub(super) fn begin_step(&mut self) {
        self.of_step = UserSet::exact();
    }

    /// Notes who has come in a tick, and says who of them for the first time.
    fn meet(&mut self, tick: &Tick, in_step: bool, view: View) -> Firsts {
        let seen = |counts: &Counts| counts.users.as_ref().map_or(0, |users| users.seen.level());
        let level = self.level.max(seen(&tick.candidate)).max(seen(&tick.stable));
        self.halve(level);
        let mut firsts =
            Firsts { scale: 1_u64.checked_shl(level.into()).unwrap_or(u64::MAX), ..Firsts::default() };
        let failed = if view == View::Closed { first::UNANSWERED } else { first::FAILED };
        for side in [Side::Candidate, Side::Stable] {
            let Some(users) = &tick.side(side).users else { continue };
            for (user, outcome) in users.seen.after(level) {
                if self.of_run.insert(user) {
                    firsts.newcomers.add(side);
                }
                if in_step && self.of_step.insert(user) {
                    firsts.arm(side).count(outcome >= failed);
                }
            }
        }
        self.all.add_sampled(firsts.all_newcomers(), firsts.scale);
        // Not within a tick: all its users stand for as many others.
        while self.of_run.len() >= Some(MOST_EXACT) {
            self.halve(self.level.saturating_add(1));
        }
        firsts
    }

    fn halve(&mut self, level: u8) {
        if level > self.level {
            self.level = level;
            self.of_run.retain(|user| is_in(user, level));
            self.of_step.retain(|user| is_in(user, level));
        }
    }
}

impl Step {
    fn count_users(&mut self, firsts: &Firsts, rules: &Rules) {
        let all = firsts.all_in_step();
        self.requests = self.requests.saturating_add(all.candidate);
        self.stable_requests = self.stable_requests.saturating_add(all.stable);
        if let Some(promotion) = rules.promotion {
            let table = Table { candidate: firsts.candidate, stable: firsts.stable };
            self.errors.add(&table, promotion.margin);
        }
    }
}

#[cfg(test)]
mod tests;
