//! Several metrics over many ticks: is the candidate worse, is it no worse?

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::answers::Answers;
use super::evidence::{self, Evidence, SPLITS};
use super::promotion::NoWorse;
use super::rules::Rules;
use super::tick::{Tick, View};
use super::totals::Totals;
use super::users::Firsts;
use super::warm_up::{WarmUp, Warmth};
use crate::model::{Arm, Unit};
use crate::signal::catalog::SignalId;
use crate::signal::histogram::Histogram;
use crate::signal::tally::Tally;

mod metric;
mod shown;
mod step;
mod users;

pub use shown::{Reading, Strongest, Tested, Unheard};

use metric::{MetricState, Retired, TestState, is_spared};
use step::Step;

/// While evidence against the candidate is above this, no step ends.
const SUSPICIOUS: f64 = 10.0;

/// What an attempt of a release has shown so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    /// Ticks of the attempt that counted.
    ticks: u64,
    metrics: Vec<MetricState>,
    /// Metrics that were removed during the attempt: they stay in the average, with nothing found.
    retired: Retired,
    /// How long stable took, over the whole run, by signal.
    stable_durations: Vec<(SignalId, Histogram)>,
    split: Evidence<SPLITS>,
    /// How warm the candidate is.
    warmth: Warmth,
    /// The candidate's share in the newest tick, by its bits, and the first tick that had it.
    since: (u64, u64),
    /// Users that have come, where users are judged.
    newcomers: users::Newcomers,
    /// What the step has shown.
    step: Step,
}

/// What happened to a metric when the rules changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redefined {
    /// It is new, or its definition changed: it starts without evidence.
    Restarted(String),
    /// It is gone, and stays in the average with what is left for late regressions.
    Removed(String),
}

impl Judge {
    /// Goes on under these rules. Evidence stays where the definition stays.
    pub fn redefine(&mut self, rules: &Rules) -> Vec<Redefined> {
        let first = self.metrics.is_empty();
        let mut old = std::mem::take(&mut self.metrics);
        let mut changes = Vec::new();
        for rule in &rules.metrics {
            let known = old.iter().position(|state| state.name == rule.name).map(|at| old.swap_remove(at));
            let state = match known {
                Some(state) if state.definition == rule.definition => state,
                _ => {
                    if !first {
                        changes.push(Redefined::Restarted(rule.name.clone()));
                    }
                    MetricState::new(rule)
                }
            };
            self.metrics.push(state);
        }
        // A proof of something else proves nothing.
        let basis = rules.promotion.map_or(0, |promotion| promotion.basis);
        if basis != self.step.basis {
            (self.step.basis, self.step.errors) = (basis, NoWorse::default());
        }
        if rules.comparison != self.step.comparison {
            (self.step.comparison, self.step.pairs) = (rules.comparison, Arm::default());
        }
        for gone in old {
            if gone.is_of_inputs {
                changes.push(Redefined::Removed(gone.name));
                continue;
            }
            let retired = self.retired.of(gone.weight);
            *retired = retired.saturating_add(1);
            changes.push(Redefined::Removed(gone.name));
        }
        changes
    }

    /// Begins a step: what it must show it has to show itself, and the edges of quantiles are placed anew.
    pub fn begin_step(&mut self, rules: &Rules, next_tick: u64) {
        let basis = rules.promotion.map_or(0, |promotion| promotion.basis);
        // What comes in the tick under way was assigned by the step before; before the first one there was none.
        let comparison = rules.comparison;
        let is_first =
            self.step == Step { basis: self.step.basis, comparison: self.step.comparison, ..Step::default() };
        let from = if is_first { next_tick.saturating_sub(1) } else { next_tick };
        self.forget_step();
        (self.step.from, self.step.basis, self.step.comparison) = (from, basis, comparison);
        if rules.unit == Unit::Users {
            self.forget_first_requests();
        }
        self.place_edges(rules, next_tick, true);
    }

    /// Begins a step while nothing is judged: what was seen before says nothing about it.
    pub fn begin_unjudged_step(&mut self, next_tick: u64) {
        self.forget_step();
        self.step.from = next_tick;
    }

    fn forget_step(&mut self) {
        self.step = Step::default();
        self.newcomers.begin_step();
        self.tests_mut().for_each(|test| test.spent_before = None);
    }

    /// A tick counts: with the first one of its step that shows something of a test, what the test saw in the step before
    /// is forgotten. Pairs come also while the versions' requests are not compared.
    fn count_tick(&mut self, tick: &Tick) {
        self.ticks = self.ticks.saturating_add(1);
        if tick.number < self.step.from {
            return;
        }
        let is_first = |shows: bool, known: &mut bool| shows && !std::mem::replace(known, true);
        let requests = is_first(tick.compared_at().is_some(), &mut self.step.has_requests);
        if let Some(share) = tick.compared_at() {
            let (least, most) = self.step.shares.unwrap_or((share, share));
            self.step.shares = Some((least.min(share), most.max(share)));
        }
        let pairs = is_first(tick.pairs().units > 0, &mut self.step.has_pairs);
        if requests || pairs {
            let shows = |test: &TestState| if test.test.is_of_pairs() { pairs } else { requests };
            self.tests_mut().filter(|test| shows(test)).for_each(|test| test.seen = Totals::default());
        }
    }

    /// Takes over the next tick, whose requests have all ended or passed their deadline. Ticks come in order.
    /// `next_tick` has not begun yet: what is learned applies from there on.
    /// Returns what the tick shows of users, where they are judged.
    pub fn close(&mut self, tick: &Tick, rules: &Rules, next_tick: u64) -> Option<Firsts> {
        let firsts = (rules.unit == Unit::Users).then(|| self.meet(tick));
        self.close_with(tick, firsts.as_ref(), rules, next_tick);
        firsts
    }

    /// [`Judge::close`] where it is known already what the tick shows of users (`firsts`), as in a recording.
    pub fn close_with(&mut self, tick: &Tick, firsts: Option<&Firsts>, rules: &Rules, next_tick: u64) {
        let spared = self.spared(tick, rules);
        self.close_sparing(spared, tick, firsts, rules, next_tick);
    }

    /// [`Judge::close_with`] as a filter has recorded it: whether the candidate was `cold` is known, and so are users that
    /// came for the first time.
    pub fn close_recorded(
        &mut self,
        (tick, cold): (&Tick, bool),
        firsts: Option<&Firsts>,
        rules: &Rules,
        next_tick: u64,
    ) {
        firsts.into_iter().for_each(|firsts| self.meet_recorded(tick, firsts));
        self.close_sparing(cold.then_some(rules.warm_up), tick, firsts, rules, next_tick);
    }

    /// Whether the candidate is warming up in the tick that is to be closed next.
    #[must_use]
    pub fn is_cold(&self, tick: &Tick, rules: &Rules) -> bool {
        self.warmth.clone().meet(tick, &rules.warm_up)
    }

    fn close_sparing(
        &mut self,
        spared: Option<WarmUp>,
        tick: &Tick,
        firsts: Option<&Firsts>,
        rules: &Rules,
        next_tick: u64,
    ) {
        self.note_stable_durations(tick);
        if !rules.comes_within.is_empty() {
            self.since = self.since(tick);
        }
        let is_judged = spared.is_none_or(|warm_up| !warm_up.is_of_all);
        let is_of_step = tick.number >= self.step.from && is_judged;
        let heard_from = self.since.1.saturating_add(rules.last_comes_within());
        self.step.hears_feedback |= is_of_step && tick.compared_at().is_some() && tick.number >= heard_from;
        if tick.number >= self.step.from {
            self.step.pairs = self.step.pairs.plus(tick.pairs());
            self.step.note_durations(tick);
        }
        if tick.compared_at().is_some() && is_of_step {
            let answers = tick.counts.as_ref().map(|counts| Answers::of(counts, View::Closed));
            self.step.answers = self.step.answers.zip_with(answers, Answers::plus);
        }
        if let Some(firsts) = firsts {
            self.close_users(tick, firsts, rules, spared);
        } else if tick.shows_something() {
            self.add(tick, View::Closed, rules, spared);
            if is_of_step && tick.compared_at().is_some() {
                self.count_step(tick, rules);
            }
        }
        self.place_edges(rules, next_tick, false);
    }

    /// A lower bound on the evidence, including ticks with pending requests. `open`: those ticks in order, each with
    /// the latency bucket that every pending request has reached at least. Returns the judge after the tick with the
    /// most evidence. Use for rollback only.
    #[must_use]
    pub fn at_least(&self, open: &[(Tick, usize)], rules: &Rules) -> Cow<'_, Self> {
        if open.iter().all(|(tick, _)| !tick.shows_something()) {
            return Cow::Borrowed(self);
        }
        Cow::Owned(match rules.unit {
            Unit::Requests => self.at_least_of_requests(open, rules),
            Unit::Users => self.at_least_of_users(open, rules),
        })
    }

    /// L rises with x_c and falls with x_s. So an open tick gives at least the evidence that it gives if all pending
    /// requests of stable have the event and none of the candidate's: E after any later outcome is no smaller.
    fn at_least_of_requests(&self, open: &[(Tick, usize)], rules: &Rules) -> Self {
        let mut ahead = self.clone();
        let mut most = self.clone();
        for (tick, age) in open.iter().filter(|(tick, _)| tick.shows_something()) {
            let spared = ahead.spared(tick, rules);
            ahead.add(tick, View::Open { age: *age }, rules, spared);
            if ahead.reading().all > most.reading().all {
                most.clone_from(&ahead);
            }
        }
        most
    }

    /// The next tick has a smaller number than those so far: what begins later begins with it.
    pub fn renumber(&mut self, next_tick: u64) {
        self.step.from = self.step.from.min(next_tick);
        self.since.1 = self.since.1.min(next_tick);
        self.warmth.renumber(next_tick);
        let edges = self.tests_mut().flat_map(|test| &mut test.edges);
        edges.for_each(|(from, _)| *from = (*from).min(next_tick));
    }

    /// Begins another attempt: nothing is held against the candidate any more. What is known of stable stays.
    pub fn retry(&mut self, rules: &Rules, next_tick: u64) {
        self.forget();
        self.redefine(rules);
        self.place_edges(rules, next_tick, true);
    }

    /// Begins an attempt in which nothing is judged yet.
    pub fn forget(&mut self) {
        *self = Self { stable_durations: std::mem::take(&mut self.stable_durations), ..Self::default() };
    }

    /// The candidate's share in the next tick, and the first tick that had it. A tick that shows nothing does not say that
    /// it has changed.
    fn since(&self, tick: &Tick) -> (u64, u64) {
        let share = tick.share.map_or(0, f64::to_bits);
        if tick.void || share == self.since.0 { self.since } else { (share, tick.number) }
    }

    /// What spares the candidate in the next tick, if it is cold.
    fn spared(&mut self, tick: &Tick, rules: &Rules) -> Option<WarmUp> {
        self.warmth.meet(tick, &rules.warm_up).then_some(rules.warm_up)
    }

    /// Adds a tick to the evidence.
    fn add(&mut self, tick: &Tick, view: View, rules: &Rules, spared: Option<WarmUp>) {
        self.count_tick(tick);
        let (ticks, (_, since)) = (self.ticks, self.since(tick));
        for state in self.tests_mut() {
            if !tick.shows(&state.test) || is_spared(rules, &state.test, (tick, since), spared) {
                state.pass_over(ticks);
            } else {
                state.add(ticks, tick, view);
            }
        }
        if let (View::Closed, Some(share)) = (view, tick.share) {
            let requests = tick.counts.as_ref().map(|counts| counts.requests);
            self.split.add(self.ticks, evidence::mismatch(requests.candidate, requests.total(), share));
        }
    }

    fn note_stable_durations(&mut self, tick: &Tick) {
        for (signal, tally) in &tick.counts.stable.tallies {
            let Tally::Duration(durations) = tally else { continue };
            match self.stable_durations.iter_mut().find(|(known, _)| known == signal) {
                Some((_, known)) => known.merge(durations),
                None if durations.total() == 0 => {}
                None => self.stable_durations.push((*signal, (**durations).clone())),
            }
        }
    }

    /// Places the edges of quantiles that have none yet (`anew`: of all) and for which there are enough of
    /// stable's durations.
    fn place_edges(&mut self, rules: &Rules, next_tick: u64, anew: bool) {
        let durations = &self.stable_durations;
        for state in self.metrics.iter_mut().flat_map(|metric| &mut metric.tests) {
            let durations = durations.iter().find(|(signal, _)| *signal == state.test.signal);
            if let Some((_, durations)) = durations
                && (anew || state.edges.is_empty())
                && let Some(quantile) = state.test.quantile()
                && durations.can_place(quantile)
                && let Some(edges) = state.test.edges_at(quantile, durations, rules.deadline)
            {
                state.place(next_tick, edges);
            }
        }
    }

    fn tests(&self) -> impl Iterator<Item = &TestState> {
        self.metrics.iter().flat_map(|metric| &metric.tests)
    }

    fn tests_mut(&mut self) -> impl Iterator<Item = &mut TestState> {
        self.metrics.iter_mut().flat_map(|metric| &mut metric.tests)
    }
}

#[cfg(test)]
mod tests;
