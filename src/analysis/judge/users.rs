//! The judge of users: each event of each user counts once in a run.

use super::Judge;
use super::metric::{TestState, is_spared};
use super::step::Step;
use crate::analysis::at_risk::Crowd;
use crate::analysis::evidence::{self, Evidence};
use crate::analysis::excess::is_clearly_more;
use crate::analysis::look::Look;
use crate::analysis::look::users::{first_of, pending_on_stable};
use crate::analysis::rules::Rules;
use crate::analysis::tick::{Tick, View};
use crate::analysis::user_set::{MOST_EXACT, Shelf, UserSet};
use crate::analysis::users::{First, Firsts, Losses};
use crate::analysis::warm_up::WarmUp;
use crate::model::Pair;
use crate::signal::sample::{Watch, is_in};
use crate::signal::tally::{self, Counts};

impl Judge {
    /// Notes everything that has happened to users in a closed tick, also in one that shows nothing: it does not happen
    /// for the first time later. Returns what of it was for the first time.
    pub(super) fn meet(&mut self, tick: &Tick) -> Firsts {
        tick.compared_at().into_iter().for_each(|share| self.newcomers.all.move_to(share));
        let mut firsts = self.newcomers.meet(tick, self.is_in_step(tick), View::Closed);
        for state in self.tests_mut() {
            firsts.events.push((state.test, state.meet(tick, View::Closed)));
        }
        firsts
    }

    /// The same where a recording has what was for the first time.
    pub(super) fn meet_recorded(&mut self, tick: &Tick, firsts: &Firsts) {
        tick.compared_at().into_iter().for_each(|share| self.newcomers.all.move_to(share));
        self.newcomers.all.add_sampled(firsts.all_newcomers(), firsts.scale);
    }

    /// Takes over a closed tick of users.
    pub(super) fn close_users(
        &mut self,
        tick: &Tick,
        firsts: &Firsts,
        rules: &Rules,
        spared: Option<WarmUp>,
    ) {
        if !tick.shows_something() {
            return self.tests_mut().for_each(|state| state.spent.add(firsts.of(&state.test).spent));
        }
        self.count_tick(tick);
        let is_in_step = self.is_in_step(tick);
        let (ticks, users, known) = (self.ticks, self.newcomers.all, self.newcomers.known());
        let (_, since) = self.since;
        for state in self.tests_mut() {
            let first = firsts.of(&state.test);
            if is_in_step {
                state.spent_before.get_or_insert(state.spent);
            }
            if let (Some(share), Some(before)) = (tick.compared_at(), &mut state.spent_before) {
                before.move_to(share);
            }
            if !state.knows_firsts(known) {
                state.pass_over(ticks);
                state.spent.add(first.spent);
                continue;
            }
            tick.compared_at().into_iter().for_each(|share| state.spent.move_to(share));
            if !tick.shows(&state.test) || is_spared(rules, &state.test, (tick, since), spared) {
                state.pass_over(ticks);
            } else {
                let odds = users.odds(state.test.has_more(), &state.spent, 0);
                state.add_look(ticks, tick, &Look::of_users(tick, &state.test, &first, firsts, odds));
            }
            state.spent.add(first.spent);
        }
        let (Some(share), newcomers) = (tick.compared_at(), firsts.newcomers) else { return };
        if !self.newcomers.with_strangers && known.of_run {
            self.split.add(ticks, evidence::mismatch(newcomers.candidate, newcomers.total(), share));
        }
        if is_in_step && spared.is_none_or(|warm_up| !warm_up.is_of_all) {
            self.step.count_users(firsts, rules);
        }
    }

    /// Users move to stable from a third version, where they were not recorded: from here on the split test on new
    /// users is meaningless.
    pub fn expect_strangers(&mut self) {
        self.newcomers.with_strangers = true;
    }

    /// Whether the first requests of the step are among the tick's. A tick that counts nowhere uses none of them up.
    fn is_in_step(&self, tick: &Tick) -> bool {
        tick.number >= self.step.from && !tick.void
    }

    /// What open ticks show of users that come for the first time in the step, by tick: who waits has not failed.
    #[must_use]
    pub fn first_requests(&self, open: &[(Tick, usize)]) -> Vec<Firsts> {
        let mut newcomers = self.newcomers.clone();
        let of = |(tick, age): &(Tick, usize)| {
            newcomers.meet(tick, self.is_in_step(tick), View::Open { age: *age })
        };
        open.iter().map(of).collect()
    }

    /// [`Judge::at_least`] for users: the bound of `docs/analysis.md`, "Users", "Open ticks". An open tick may still take
    /// a first event from a later one, so all open ticks count as one block:
    ///
    /// ln L(r) = x_c ln r − (x_c + x_s + pending) ln(1 + w (r − 1)),
    ///
    /// with `pending` those of stable's users that may still have the event. And a user whose request fails on stable
    /// may have moved to the candidate meanwhile, so the block ends where the assignment changes.
    pub(super) fn at_least_of_users(&self, open: &[(Tick, usize)], rules: &Rules) -> Self {
        let mut most = self.clone();
        let Some((first, _)) = open.first() else { return most };
        let is_of_block = |(tick, _): &&(Tick, usize)| {
            // Of a sample of users nothing is certain.
            let is_whole = tick.counts.iter().all(|(_, counts)| counts.has_all_users());
            tick.share.is_some() && tick.assignment == first.assignment && is_whole
        };
        let firsts = self.first_requests(open);
        let crowd = self.worst_crowd(first.share, &firsts);
        let known = self.newcomers.known();
        let begins = self.ticks.saturating_add(1);
        let mut ahead = self.clone();
        let mut blocks: Vec<Block> = self.tests().map(|_| Block::default()).collect();
        // A user who has the event while the candidate is cold cannot have it for the first time later.
        let mut spared = None;
        for ((tick, age), firsts) in open.iter().take_while(is_of_block).zip(&firsts) {
            spared = spared.or(ahead.spared(tick, rules));
            let (Some(share), view) = (tick.compared_at(), View::Open { age: *age }) else { continue };
            let (_, since) = self.since(tick);
            ahead.count_tick(tick);
            let ticks = ahead.ticks;
            for ((state, closed), block) in ahead.tests_mut().zip(self.tests()).zip(&mut blocks) {
                if is_spared(rules, &state.test, (tick, since), spared) || !state.knows_firsts(known) {
                    state.pass_over(ticks);
                    continue;
                }
                if state.test.is_of_first_observations() || state.test.is_of_less() {
                    // What is certain then is only what is left for regressions to come.
                    state.evidence = Evidence::default();
                    continue;
                }
                let first = state.meet(tick, view);
                let look = Look::of_users(tick, &state.test, &first, firsts, 0.0);
                if state.test.is_bound() {
                    // Which requests came first is known; only how they end is not.
                    state.add_look(ticks, tick, &look);
                    continue;
                }
                state.seen = state.seen.plus(look.seen);
                block.add(first.events, pending_on_stable(&state.test, tick));
                state.evidence = closed.evidence;
                state.spent = closed.spent;
                state.spent.move_to(share);
                let worst = block.worst();
                let odds = crowd.odds(state.test.has_more(), &state.spent, worst.stable);
                let worst = First { events: worst, ..first };
                let look = Look::of_users(tick, &state.test, &worst, firsts, odds);
                state.evidence.add(begins, look.ln_likelihoods(&state.test, state.past));
            }
            if ahead.reading().all > most.reading().all {
                most.clone_from(&ahead);
            }
        }
        most
    }

    /// The most users of the candidate and the fewest of stable that there are in any of the open ticks, of which
    /// `firsts` are the newcomers: odds among them are at least what they will have been in each tick. `share`: of the
    /// first tick.
    fn worst_crowd(&self, share: Option<f64>, firsts: &[Firsts]) -> Crowd {
        let mut all = self.newcomers.all;
        share.into_iter().for_each(|share| all.move_to(share));
        for (nth, firsts) in firsts.iter().enumerate() {
            let newcomers = firsts.all_newcomers();
            let newcomers = if nth == 0 { newcomers } else { Pair { stable: 0, ..newcomers } };
            all.add_sampled(newcomers, firsts.scale);
        }
        all
    }

    /// What first requests of a step have shown is shown anew by the same users in the next one: it does not add up.
    pub(super) fn forget_first_requests(&mut self) {
        for state in self.tests_mut().filter(|state| state.test.is_bound()) {
            (state.evidence, state.users) = (Evidence::default(), UserSet::default());
        }
    }

    /// What workers have to report of users.
    #[must_use]
    pub fn watch(&self) -> Watch {
        let mut watch = Watch { level: self.newcomers.level, ..Watch::default() };
        for state in self.tests() {
            if state.test.is_of_first_observations() && !watch.firsts.contains(&state.test.signal) {
                watch.firsts.push(state.test.signal);
            }
            let Some(lowest) = state.edges_in_use().map(|edges| edges.stable).min() else { continue };
            let lowest = u8::try_from(lowest).unwrap_or(u8::MAX);
            match watch.slow.iter_mut().find(|(signal, _)| *signal == state.test.signal) {
                Some((_, edge)) => *edge = lowest.min(*edge),
                None => watch.slow.push((state.test.signal, lowest)),
            }
        }
        watch
    }

    /// What its memory's bounds have cost.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let inexact = self.user_sets().filter(|set| set.len().is_none());
        Losses { halvings: self.newcomers.level.into(), inexact: inexact.count() as u64 }
    }

    /// Whether it is not known any more of what users have done in this run, so that nothing they do is for the first time.
    #[must_use]
    pub fn lacks_users(&self) -> bool {
        let known = self.newcomers.known();
        self.tests().any(|state| !state.knows_firsts(known))
    }

    /// All sets of users.
    pub fn user_sets(&self) -> impl Iterator<Item = &UserSet> {
        self.tests().map(|test| &test.users).chain([&self.newcomers.of_run, &self.newcomers.of_step])
    }

    /// Gets what is missing of the sets from the shelf.
    pub fn fetch_users(&mut self, shelf: &dyn Shelf) {
        self.user_sets_mut().for_each(|set| set.fetch(shelf));
    }

    /// Puts what has changed of the sets on the shelf.
    pub fn put_users(&mut self, shelf: &mut dyn Shelf) {
        self.user_sets_mut().for_each(|set| set.put(shelf));
    }

    /// Forgets who has come and what they did.
    #[cfg(test)]
    pub fn forget_users(&mut self) {
        self.user_sets_mut().for_each(|set| *set = UserSet::default());
    }

    fn user_sets_mut(&mut self) -> impl Iterator<Item = &mut UserSet> {
        let tests = self.metrics.iter_mut().flat_map(|metric| &mut metric.tests);
        let newcomers = [&mut self.newcomers.of_run, &mut self.newcomers.of_step];
        tests.map(|test| &mut test.users).chain(newcomers)
    }
}

/// What the open ticks so far show of one test.
#[derive(Clone, Copy, Default)]
struct Block {
    events: Pair<u64>,
    /// Stable's requests that may still have the event.
    pending: u64,
}

impl Block {
    fn add(&mut self, events: Pair<u64>, pending: u64) {
        self.events = self.events.plus(events);
        self.pending = self.pending.saturating_add(pending);
    }

    /// All that is pending on stable has the event.
    fn worst(self) -> Pair<u64> {
        Pair { stable: self.events.stable.saturating_add(self.pending), ..self.events }
    }
}

impl TestState {
    /// Whether it is known who is new to it: what cannot be read again must not count a second time.
    fn knows_firsts(&self, newcomers: Known) -> bool {
        if self.test.is_of_first_observations() {
            return !self.users.is_unknown();
        }
        // A bound is on the first requests of a step; the others compare with the users that have not had the event yet.
        if self.test.is_bound() { newcomers.of_step } else { newcomers.of_run && !self.users.is_unknown() }
    }

    /// Notes the users that have had the test's event in a tick. Returns those of them that had it for the first time.
    fn meet(&mut self, tick: &Tick, view: View) -> First {
        let edges = self.edges_of(tick.number);
        first_of(tick, &self.test, edges, view, |user| self.users.insert(user))
    }
}

/// Users that have come already, or a sample of them.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Newcomers {
    /// How often all users have been halved to get the sample.
    level: u8,
    /// All users that have come in the run: those of the sample stand for the others.
    all: Crowd,
    /// Whether some may have come long ago, to a version where they were not recorded.
    with_strangers: bool,
    of_run: UserSet,
    of_step: UserSet,
}

impl Default for Newcomers {
    fn default() -> Self {
        let (of_run, of_step) = (UserSet::exact(), UserSet::exact());
        Self { level: 0, all: Crowd::default(), with_strangers: false, of_run, of_step }
    }
}

/// Whether it is known who has come already.
#[derive(Clone, Copy)]
struct Known {
    of_run: bool,
    of_step: bool,
}

impl Newcomers {
    fn known(&self) -> Known {
        Known { of_run: !self.of_run.is_unknown(), of_step: !self.of_step.is_unknown() }
    }

    /// Whether of the candidate's users no larger part than of stable's has come to be among `spent`, of those who were not
    /// `before`. When half of stable's have, as after an outage of both, no part would be clearly larger: that shows nothing,
    /// and neither does a version without such users.
    pub(super) fn are_alike(&self, spent: &Crowd, before: &Crowd) -> Option<bool> {
        let Pair { candidate, stable } = self.all.parts(spent, before)?;
        (stable < 0.5).then(|| !is_clearly_more(candidate, stable))
    }

    /// Begins a step.
    pub(super) fn begin_step(&mut self) {
        self.of_step = UserSet::exact();
    }

    /// Notes the users of a tick. Returns those of them that come for the first time.
    fn meet(&mut self, tick: &Tick, in_step: bool, view: View) -> Firsts {
        let seen = |counts: &Counts| counts.users.as_ref().map_or(0, |users| users.seen.level());
        let level = self.level.max(seen(&tick.counts.candidate)).max(seen(&tick.counts.stable));
        self.halve(level);
        let mut firsts =
            Firsts { scale: 1_u64.checked_shl(level.into()).unwrap_or(u64::MAX), ..Firsts::default() };
        for (side, counts) in tick.counts.iter() {
            let Some(users) = &counts.users else { continue };
            for (user, first) in users.seen.after(level) {
                if self.of_run.insert(user) {
                    firsts.newcomers.count(side);
                }
                let first = tally::First::of(first);
                // A request that never got to the version leaves the user new.
                if !in_step || first == tally::First::Void || !self.of_step.insert(user) {
                    continue;
                }
                match first {
                    tally::First::GivenUp => firsts.given_up.count(side),
                    tally::First::Unanswered => firsts.requests[side].count(view == View::Closed),
                    first => firsts.requests[side].count(first == tally::First::Failed),
                }
            }
        }
        // Who has an event without a request in this run is a user as well.
        for (side, counts) in tick.counts.iter() {
            for (user, _) in
                counts.users.iter().flat_map(|users| users.with_events()).flat_map(|of| of.after(level))
            {
                if self.of_run.insert(user) {
                    firsts.newcomers.count(side);
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
        let answered = firsts.all_requests().map(|arm| arm.units);
        self.units = self.units.plus(answered).plus(firsts.given_up.times(firsts.scale));
        self.answered = self.answered.saturating_add(answered.candidate);
        if let Some(promotion) = rules.promotion {
            self.errors.add(&firsts.requests, promotion.margin);
        }
    }
}

#[cfg(test)]
mod tests;
