//! Several metrics over many ticks: is the candidate worse, is it no worse?

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::at_risk::Crowd;
use super::edges::{Edges, buckets_of, edges, tolerated_buckets};
use super::evidence::{self, Evidence, RATIOS, SPLITS, rest};
use super::kernel::ratio::Table;
use super::look::{Certainty, Look};
use super::promotion::NoWorse;
use super::rules::{FAILURES, MetricRule, Rules};
use super::test::{Against, Test};
use super::tick::{Tick, View};
use super::totals::Totals;
use super::user_set::UserSet;
use super::users::Firsts;
use super::warm_up::{WarmUp, Warmth};
use super::window;
use crate::model::{Arm, Pair, Side, Unit, real};
use crate::signal::catalog::{self, SignalId, Weight};
use crate::signal::histogram::{Histogram, least};
use crate::signal::sums::Sums;
use crate::signal::tally::Tally;

mod users;

/// ln 20: that more of the candidate's requests fail is chance in one case of twenty, or fewer.
const LN_CHANCE: f64 = 2.995_732_273_553_991;

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

/// The evidence of one metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct MetricState {
    name: String,
    definition: u64,
    tests: Vec<TestState>,
    /// Whether it compares the versions' requests.
    is_of_inputs: bool,
    /// Its part in the average that decides.
    weight: Weight,
}

/// How many metrics were removed, by their weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Retired {
    half: u32,
    others: u32,
}

impl Retired {
    fn of(&mut self, weight: Weight) -> &mut u32 {
        match weight {
            Weight::Half => &mut self.half,
            Weight::Others => &mut self.others,
        }
    }
}

/// The evidence of one test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TestState {
    test: Test,
    evidence: Evidence<{ RATIOS.len() }>,
    /// Of a quantile: the edges, and the first tick that they apply to; the newest last.
    edges: Vec<(u64, Edges)>,
    /// What was seen in the step; until something is known of it, in the one before.
    seen: Totals,
    /// Of a mean: the values of all ticks so far, which lead to expect those of the next.
    past: Pair<Sums>,
    /// Whether it could have been judged in this run: there was something to compare.
    heard: bool,
    /// The users that have had the event in this run, where users are judged.
    users: UserSet,
    /// How many they are, by version.
    spent: Crowd,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Step {
    /// Ticks before this one belong to the step before, also when they close later.
    from: u64,
    /// Identifies what its proof is about: a margin, and what counts as an error.
    basis: u64,
    /// Identifies how its pairs of answers were compared.
    comparison: u64,
    /// Whether a tick of it has compared requests.
    has_requests: bool,
    /// Whether a tick of it has compared pairs of answers.
    has_pairs: bool,
    /// Requests that ended with an answer or an error, or were given up, and those of them that went wrong.
    wrong: Table,
    /// Requests (or users) that came.
    units: Pair<u64>,
    /// The candidate's that ended with an answer or an error.
    answered: u64,
    /// Pairs of answers that were compared, and those of them that differ.
    pairs: Arm,
    /// Whether a tick of it was judged by all that users do later.
    hears_feedback: bool,
    errors: NoWorse,
    /// The least and the largest share of both versions' weights that the candidate had in the ticks that are seen of it.
    shares: Option<(f64, f64)>,
    /// The users whose requests had failed before it, where users are judged.
    failed_before: Option<Crowd>,
    /// How long both versions took, by signal: for people, the judge counts what is beyond its edges.
    durations: Vec<(SignalId, Pair<Histogram>)>,
}

/// What happened to a metric when the rules changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redefined {
    /// It is new, or its definition changed: it starts without evidence.
    Restarted(String),
    /// It is gone, and stays in the average with what is left for late regressions.
    Removed(String),
}

/// How sure one can be that the candidate is worse.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The average of all metrics' e-values, by [`Weight`]: what decides.
    pub all: f64,
    /// The e-value of each metric, in the rules' order.
    pub metrics: Vec<f64>,
}

/// A metric that could not be judged yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unheard {
    /// Its name.
    pub metric: String,
    /// Of a duration without an edge: how many of stable's there are, and how many are needed.
    pub durations: Option<(u64, u64)>,
}

impl std::fmt::Display for Unheard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.durations {
            Some((known, needed)) => write!(f, "{}: {known} of {needed} stable requests", self.metric),
            None if catalog::rule_of(&self.metric).is_some() => write!(f, "{}: nothing yet", self.metric),
            None => write!(f, "{}: no second yet with requests of both versions", self.metric),
        }
    }
}

/// The test with the most evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strongest<'a> {
    /// The metric's name.
    pub metric: &'a str,
    /// The test.
    pub test: Test,
    /// What was seen in the step, or in the one before while nothing is known of this one.
    pub seen: Totals,
    /// Of a quantile: the edges in use.
    pub edges: Option<Edges>,
}

/// A test of a metric, as it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tested {
    /// The test.
    pub test: Test,
    /// Its e-value.
    pub value: f64,
    /// What was seen in the step, or in the one before while nothing is known of this one.
    pub seen: Totals,
    /// Of a quantile: the newest edges.
    pub edges: Option<Edges>,
    /// How many times as often the suspected side has the event as the other one, at least; `None` as long as it is not
    /// certain that it does so more often, and where that is not known.
    pub at_least: Option<f64>,
    /// Of a quantile: where it is in the step, in milliseconds.
    pub measured: Pair<Option<f64>>,
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
        self.step = Step { from, basis, comparison, ..Step::default() };
        self.newcomers.begin_step();
        if rules.unit == Unit::Users {
            self.forget_first_requests();
        }
        self.place_edges(rules, next_tick, true);
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

    /// The first tick of the step; 0 before the first step.
    #[must_use]
    pub fn step_from(&self) -> u64 {
        self.step.from
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
            let wrong = |side| window::counted(tick, None, side, View::Closed);
            let wrong = Pair::new(wrong(Side::Candidate), wrong(Side::Stable));
            self.step.wrong = self.step.wrong.zip_with(wrong, Arm::plus);
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
        *self = Self { stable_durations: std::mem::take(&mut self.stable_durations), ..Self::default() };
        self.redefine(rules);
        self.place_edges(rules, next_tick, true);
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

    fn count_step(&mut self, tick: &Tick, rules: &Rules) {
        let requests = tick.counts.as_ref().map(|counts| counts.requests);
        self.step.units = self.step.units.plus(requests);
        let silent = tick.counts.candidate.silent;
        self.step.answered = self.step.answered.saturating_add(requests.candidate.saturating_sub(silent));
        if let Some(promotion) = rules.promotion
            && let Certainty::Certain(look) = Look::of_requests(tick, &FAILURES, None, View::Closed)
            && let Some(table) = look.table()
        {
            self.step.errors.add(&tick.answers_of(table), promotion.margin);
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
            let (Some(quantile), Against::Stable { tolerate, or_milliseconds, .. }) =
                (state.test.quantile(), state.test.against)
            else {
                continue;
            };
            let durations = durations.iter().find(|(signal, _)| *signal == state.test.signal);
            if let Some((_, durations)) = durations
                && (anew || state.edges.is_empty())
                && durations.can_place(quantile)
            {
                let edge = durations.edge(quantile);
                let tolerated = tolerated_buckets(tolerate).max(buckets_of(edge, or_milliseconds));
                let edges = edges(edge, tolerated, rules.deadline);
                state.place(next_tick, edges);
            }
        }
    }

    /// The evidence that the candidate is worse: an e-value by metric, and their average. An average of e-values is an
    /// e-value, however they depend on each other. A metric that was removed (`retired`) counts as R(t).
    #[must_use]
    pub fn reading(&self) -> Reading {
        let metrics: Vec<f64> = self.metrics.iter().map(|metric| metric.value(self.ticks)).collect();
        // Weights fall when a metric comes and stay when one goes: no change of metrics raises the average.
        let mean = |weight: Weight, retired: u32| {
            let judged = self.metrics.iter().zip(&metrics).filter(|(metric, _)| !metric.is_of_inputs);
            let values = judged.filter(|(metric, _)| metric.weight == weight);
            let (sum, count) = values.fold((0.0, 0.0), |(sum, count), (_, value)| (sum + value, count + 1.0));
            let (sum, count) = (sum + f64::from(retired) * rest(self.ticks), count + f64::from(retired));
            (count > 0.0).then_some(sum / count)
        };
        let means = (mean(Weight::Half, self.retired.half), mean(Weight::Others, self.retired.others));
        let all = match means {
            (Some(half), Some(others)) => f64::midpoint(half, others),
            (Some(all), None) | (None, Some(all)) => all,
            (None, None) => 1.0,
        };
        Reading { all, metrics }
    }

    /// Whether metrics compare the versions' requests.
    #[must_use]
    pub fn compares_inputs(&self) -> bool {
        self.metrics.iter().any(|metric| metric.is_of_inputs)
    }

    /// Whether nothing looks as if the versions got different requests.
    #[must_use]
    pub fn inputs_look_alike(&self) -> bool {
        self.inputs() <= SUSPICIOUS
    }

    /// The first metric that compares the versions' requests and could not be judged in this run.
    #[must_use]
    pub fn unheard_input(&self) -> Option<&str> {
        let mut inputs = self.metrics.iter().filter(|metric| metric.is_of_inputs);
        let unheard = inputs.find(|metric| !metric.tests.iter().any(|test| test.heard));
        unheard.map(|metric| metric.name.as_str())
    }

    /// The e-value of the versions getting different requests: the average of the metrics that compare those; 1 without
    /// any.
    #[must_use]
    pub fn inputs(&self) -> f64 {
        let metrics = self.metrics.iter().filter(|metric| metric.is_of_inputs);
        let (sum, count) =
            metrics.fold((0.0, 0.0), |(sum, count), metric| (sum + metric.value(self.ticks), count + 1.0));
        if count > 0.0 { sum / count } else { 1.0 }
    }

    /// The e-value of the split being another than it should.
    #[must_use]
    pub fn split(&self) -> f64 {
        self.split.value(self.ticks)
    }

    /// The candidate's requests (or users) of this step that ended with an answer or an error.
    #[must_use]
    pub fn step_requests(&self) -> u64 {
        self.step.answered
    }

    /// The candidate's requests (or users) of this step that failed, or were given up.
    #[must_use]
    pub fn step_failures(&self) -> u64 {
        self.step.wrong.candidate.events
    }

    /// Whether what users do within their time was judged in this step.
    #[must_use]
    pub fn hears_feedback(&self) -> bool {
        self.step.hears_feedback
    }

    /// Whether a request of the candidate's in this step ended well.
    #[must_use]
    pub fn has_answered_well(&self) -> bool {
        let Arm { events, units } = self.step.wrong.candidate;
        events < units
    }

    /// Pairs of answers that were compared in this step, and those of them that differ.
    #[must_use]
    pub fn step_pairs(&self) -> Arm {
        self.step.pairs
    }

    /// The candidate's share of both versions' requests (or users) in this step; `None` before there are any.
    #[must_use]
    pub fn observed_share(&self) -> Option<f64> {
        let all = self.step.units.total();
        (all > 0).then(|| real(self.step.units.candidate) / real(all))
    }

    /// The e-value of the candidate being within the promotion's margin, from this step alone.
    #[must_use]
    pub fn no_worse(&self) -> f64 {
        self.step.errors.value()
    }

    /// Whether the step has shown what it must: the candidate is within the margin, nothing looks like a
    /// regression, and the split is right.
    #[must_use]
    pub fn may_promote(&self, rules: &Rules) -> bool {
        self.is_proven(rules) && self.split() < evidence::SPLIT_THRESHOLD && !self.is_suspicious()
    }

    /// Whether the step has shown that the candidate is within the margin, where there is one.
    #[must_use]
    pub fn is_proven(&self, rules: &Rules) -> bool {
        rules.promotion.is_none_or(|promotion| self.no_worse() >= promotion.threshold)
    }

    /// Whether clearly more of the candidate's requests of this step went wrong than of stable's. Far less than it takes
    /// to roll back: it is enough for not going on, which is cheap.
    #[must_use]
    pub fn fails_more(&self) -> bool {
        let Pair { candidate, stable } = self.step.wrong;
        let rate = |arm: Arm| if arm.units > 0 { real(arm.events) / real(arm.units) } else { 0.0 };
        let (mine, theirs) = (rate(candidate), rate(stable));
        let wrong = candidate.events.saturating_add(stable.events);
        if !is_clearly_more(mine, theirs) {
            return false;
        }
        // The chance that as many of them are the candidate's, if versions make no difference (Chernoff).
        let part = real(candidate.events) / real(wrong);
        let expected = real(candidate.units) / real(candidate.units.saturating_add(stable.units));
        real(wrong) * window::divergence(part, expected) >= LN_CHANCE && !self.are_users_alike()
    }

    /// Whether as many of stable's users as of the candidate's have failed in this step for the first time: a busy one may
    /// make the difference between requests.
    fn are_users_alike(&self) -> bool {
        let known = self.failed_users().zip(self.step.failed_before);
        known.is_some_and(|(failed, before)| self.newcomers.are_alike(failed, &before))
    }

    /// Users whose requests have failed, where users are judged by that.
    fn failed_users(&self) -> Option<&Crowd> {
        let is_of_errors = |test: &Test| test.signal == FAILURES.signal && !test.is_bound();
        self.tests().find(|state| is_of_errors(&state.test)).map(|state| &state.spent)
    }

    /// The first metric that could not be judged in this run so far, and what it lacks.
    #[must_use]
    pub fn unheard(&self) -> Option<Unheard> {
        let metric = self.metrics.iter().find(|metric| !metric.tests.iter().any(|test| test.heard))?;
        // One quantile that can be compared is enough.
        let has_edges = metric.tests.iter().any(|test| !test.edges.is_empty());
        let quantiles = metric.tests.iter().filter_map(|test| test.test.quantile());
        let lowest = quantiles.filter(|_| !has_edges).min_by(f64::total_cmp);
        let signal = metric.tests.first().map(|test| test.test.signal);
        let durations = self.stable_durations.iter().find(|(known, _)| Some(*known) == signal);
        let durations = durations.map_or(0, |(_, durations)| durations.total());
        let durations = lowest.map(|quantile| (durations, least(quantile)));
        Some(Unheard { metric: metric.name.clone(), durations })
    }

    /// Of the requests with which the candidate warms up, those that have come and all, while it does.
    #[must_use]
    pub fn warming_up(&self, rules: &Rules) -> Option<(u64, u64)> {
        self.warmth.lacks(&rules.warm_up)
    }

    /// Whether a metric does not judge a candidate that warms up.
    #[must_use]
    pub fn is_spared(&self, unheard: &Unheard, rules: &Rules) -> bool {
        let mut named = self.metrics.iter().filter(|metric| metric.name == unheard.metric);
        named.any(|metric| metric.tests.iter().all(|test| rules.warm_up.spares(&test.test)))
    }

    /// Whether something looks like a regression: too much to go on, too little to take the candidate back.
    #[must_use]
    pub fn is_suspicious(&self) -> bool {
        let reading = self.reading();
        let mut judged = self.metrics.iter().zip(&reading.metrics).filter(|(metric, _)| !metric.is_of_inputs);
        reading.all > SUSPICIOUS || judged.any(|(_, value)| *value > SUSPICIOUS)
    }

    /// The metric with the most evidence among those that compare the versions' requests.
    #[must_use]
    pub fn strongest_of_inputs(&self, tick: u64) -> Option<Strongest<'_>> {
        self.strongest_among(tick, true)
    }

    /// The test with the most evidence; its edges are those for ticks from `tick` on. `None` without metrics.
    #[must_use]
    pub fn strongest(&self, tick: u64) -> Option<Strongest<'_>> {
        self.strongest_among(tick, false)
    }

    fn strongest_among(&self, tick: u64, of_inputs: bool) -> Option<Strongest<'_>> {
        let metrics = self.metrics.iter().filter(|metric| metric.is_of_inputs == of_inputs);
        let tests = metrics.flat_map(|metric| metric.tests.iter().map(move |test| (metric, test)));
        let value = |test: &TestState| test.evidence.value(self.ticks);
        let (metric, state) = tests.max_by(|one, other| value(one.1).total_cmp(&value(other.1)))?;
        Some(Strongest {
            metric: &metric.name,
            test: state.test,
            seen: state.seen,
            edges: state.edges_of(tick),
        })
    }

    /// The tests of each metric, in the rules' order.
    pub fn tested(&self) -> impl Iterator<Item = Vec<Tested>> {
        let tested = |state: &TestState| Tested {
            test: state.test,
            value: state.evidence.value(self.ticks),
            seen: state.seen,
            edges: state.edges.last().map(|(_, edges)| *edges),
            at_least: self.times(state),
            measured: self.measured(&state.test),
        };
        self.metrics.iter().map(move |metric| metric.tests.iter().map(tested).collect())
    }

    /// The lower end of the ratio of both versions' rates, from this step alone: a version's units are drawn with the share
    /// that it has there. It is of requests: users that had the event are not drawn again.
    fn times(&self, state: &TestState) -> Option<f64> {
        let (Totals::Events(seen), Against::Stable { .. }) = (state.seen, state.test.against) else {
            return None;
        };
        let (least, most) = self.step.shares?;
        let all = seen.candidate.events.saturating_add(seen.stable.events);
        if state.test.is_of_less() {
            evidence::at_least(seen.stable.events, all, 1.0 - least)
        } else {
            evidence::at_least(seen.candidate.events, all, most)
        }
    }

    /// Where the quantile of a test is in this step, of both versions.
    fn measured(&self, test: &Test) -> Pair<Option<f64>> {
        let known = self.step.durations.iter().find(|(signal, _)| *signal == test.signal);
        match (test.quantile(), known) {
            (Some(quantile), Some((_, durations))) => {
                Pair::new(durations.candidate.quantile(quantile), durations.stable.quantile(quantile))
            }
            _ => Pair::default(),
        }
    }

    fn tests(&self) -> impl Iterator<Item = &TestState> {
        self.metrics.iter().flat_map(|metric| &metric.tests)
    }

    fn tests_mut(&mut self) -> impl Iterator<Item = &mut TestState> {
        self.metrics.iter_mut().flat_map(|metric| &mut metric.tests)
    }
}

/// Whether a rate is clearly above another: more than twice as high, and more than a point.
fn is_clearly_more(rate: f64, than: f64) -> bool {
    rate > (2.0 * than).max(than + 0.01)
}

impl Step {
    fn note_durations(&mut self, tick: &Tick) {
        for side in Side::BOTH {
            for (signal, tally) in &tick.counts[side].tallies {
                let Tally::Duration(durations) = tally else { continue };
                if durations.total() == 0 {
                    continue;
                }
                let known = self.durations.iter().position(|(known, _)| known == signal);
                let at = known.unwrap_or(self.durations.len());
                if known.is_none() {
                    self.durations.push((*signal, Pair::default()));
                }
                if let Some((_, both)) = self.durations.get_mut(at) {
                    both[side].merge(durations);
                }
            }
        }
    }
}

impl MetricState {
    /// The average of its tests' e-values after tick `t`.
    #[allow(clippy::cast_precision_loss)] // a handful
    fn value(&self, t: u64) -> f64 {
        let tests: f64 = self.tests.iter().map(|test| test.evidence.value(t)).sum();
        tests / self.tests.len().max(1) as f64
    }

    fn new(rule: &MetricRule) -> Self {
        let tests = rule.tests.iter().map(|test| TestState::new(*test)).collect();
        let MetricRule { definition, is_of_inputs, weight, .. } = *rule;
        Self { name: rule.name.clone(), definition, tests, is_of_inputs, weight }
    }
}

/// Whether a test judges nothing in a tick whose weights are in force since the tick `since`: the candidate is cold, or what
/// the test is about has not had time to happen, and so is not missing.
fn is_spared(rules: &Rules, test: &Test, (tick, since): (&Tick, u64), spared: Option<WarmUp>) -> bool {
    tick.number < since.saturating_add(rules.comes_within(test))
        || spared.is_some_and(|warm_up| warm_up.spares(test))
}

impl TestState {
    fn new(test: Test) -> Self {
        Self {
            test,
            evidence: Evidence::default(),
            edges: Vec::new(),
            seen: Totals::default(),
            past: Pair::default(),
            heard: false,
            users: UserSet::default(),
            spent: Crowd::default(),
        }
    }

    /// Adds tick `t`.
    fn add(&mut self, t: u64, tick: &Tick, view: View) {
        match Look::of_requests(tick, &self.test, self.edges_of(tick.number), view) {
            Certainty::Certain(look) => self.add_look(t, tick, &look),
            // What is certain then is only what is left for regressions to come.
            Certainty::Open => self.evidence = Evidence::default(),
        }
    }

    /// Adds what is seen of tick `t`.
    fn add_look(&mut self, t: u64, tick: &Tick, look: &Look) {
        self.evidence.add(t, look.ln_likelihoods(&self.test, self.past));
        self.seen = self.seen.plus(look.seen);
        let has_edges = || self.test.quantile().is_none() || self.edges_of(tick.number).is_some();
        self.heard |= look.is_comparable && has_edges();
        if let Totals::Means(sums) = look.seen {
            self.past = self.past.zip_with(sums, Sums::plus);
        }
    }

    /// Tick `t` shows nothing.
    fn pass_over(&mut self, t: u64) {
        self.evidence.add(t, [0.0; RATIOS.len()]);
    }

    /// The newest edges that were known when the tick began.
    fn edges_of(&self, tick: u64) -> Option<Edges> {
        self.edges.iter().rev().find(|(from, _)| *from <= tick).map(|(_, edges)| *edges)
    }

    /// The edges of ticks that may still be open.
    fn edges_in_use(&self) -> impl Iterator<Item = Edges> {
        self.edges.iter().rev().take(2).map(|(_, edges)| *edges)
    }

    fn place(&mut self, from: u64, edges: Edges) {
        // Ticks that are still open need the edges before these, never more.
        const KEPT: usize = 8;
        let surplus = self.edges.len().saturating_sub(KEPT - 1);
        self.edges.drain(..surplus);
        self.edges.push((from, edges));
    }
}

#[cfg(test)]
mod tests;
