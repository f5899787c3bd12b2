//! Several metrics over many ticks: is the candidate worse, is it no worse?

use serde::{Deserialize, Serialize};

use super::at_risk::Sides;
use super::evidence::{self, Evidence, RATIOS, SPLITS, rest};
use super::kernel::Arm;
use super::latency::{Edges, Histogram};
use super::promotion::NoWorse;
use super::rules::{MetricRule, Rules, Test};
use super::tick::{Tick, View};
use super::user_set::UserSet;
use super::users::{Firsts, Pair};

mod users;

/// No rollback evidence may be above this when a step ends.
const SUSPICIOUS: f64 = 10.0;

/// What an attempt of a release has shown so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    /// Ticks of the attempt that counted.
    ticks: u64,
    metrics: Vec<MetricState>,
    /// Metrics that were removed during the attempt: they stay in the average, with nothing found.
    retired: u32,
    /// How long stable's answers took, over the whole run.
    stable_durations: Histogram,
    split: Evidence<SPLITS>,
    /// Who has come, where users are judged.
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
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct TestState {
    evidence: Evidence<{ RATIOS.len() }>,
    /// For latency: the edges, and the first tick that they apply to; the newest last.
    edges: Vec<(u64, Edges)>,
    /// How often the event came in the step, for people who ask why; until something of it is known, in the one before.
    seen: Seen,
    /// The users who have had the event in this run, where users are judged.
    users: UserSet,
    /// How many they are, by version.
    spent: Sides,
}

/// Events and requests of both versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The candidate's requests with the event.
    pub candidate_events: u64,
    /// The candidate's requests.
    pub candidate_requests: u64,
    /// Stable's requests with the event.
    pub stable_events: u64,
    /// Stable's requests.
    pub stable_requests: u64,
}

impl Seen {
    /// Adds a tick's users, and those of them whose first event it was.
    fn add(&mut self, test: Test, events: Pair, firsts: &Firsts) {
        let all = firsts.all_in_step();
        // A bound is on first requests.
        let events = if let Test::ErrorsBeyond { .. } = test { firsts.failed_in_step() } else { events };
        self.count(
            Arm { events: events.candidate, requests: all.candidate },
            Arm { events: events.stable, requests: all.stable },
        );
        // A sample may have missed those who came, but not what happened to them.
        self.candidate_requests = self.candidate_requests.max(self.candidate_events);
        self.stable_requests = self.stable_requests.max(self.stable_events);
    }

    fn count(&mut self, candidate: Arm, stable: Arm) {
        self.candidate_events = self.candidate_events.saturating_add(candidate.events);
        self.candidate_requests = self.candidate_requests.saturating_add(candidate.requests);
        self.stable_events = self.stable_events.saturating_add(stable.events);
        self.stable_requests = self.stable_requests.saturating_add(stable.requests);
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Step {
    /// Ticks before this one belong to the step before, also when they close later.
    from: u64,
    /// Tells what its proof is about: a margin, and what counts as an error.
    basis: u64,
    /// Whether a tick of it has counted.
    is_told_of: bool,
    /// The candidate's requests that were judged.
    requests: u64,
    /// Stable's beside them.
    stable_requests: u64,
    errors: NoWorse,
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
    /// The average of all metrics' e-values: what decides.
    pub all: f64,
    /// The e-value of each metric, in the rules' order.
    pub metrics: Vec<f64>,
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
        for gone in old {
            self.retired = self.retired.saturating_add(1);
            changes.push(Redefined::Removed(gone.name));
        }
        changes
    }

    /// Begins a step: what it must show it has to show itself, and the edges of latencies are placed anew.
    pub fn begin_step(&mut self, rules: &Rules, next_tick: u64) {
        let basis = rules.promotion.map_or(0, |promotion| promotion.basis);
        // What comes in the tick under way was assigned by the step before; before the first one there was none.
        let is_first = self.step == Step { basis: self.step.basis, ..Step::default() };
        let from = if is_first { next_tick.saturating_sub(1) } else { next_tick };
        self.step = Step { from, basis, ..Step::default() };
        self.newcomers.begin_step();
        if rules.by_user {
            self.forget_first_requests(rules);
        }
        self.place_edges(rules, next_tick, true);
    }

    /// A tick counts: if it is the first one of its step, what was seen in the step before is not told any more.
    fn tell_of_step(&mut self, tick: &Tick) {
        if tick.number >= self.step.from && !std::mem::replace(&mut self.step.is_told_of, true) {
            let tests = self.metrics.iter_mut().flat_map(|metric| &mut metric.tests);
            tests.for_each(|test| test.seen = Seen::default());
        }
    }

    /// Takes the next tick over, whose requests have all ended or passed their deadline. Ticks come in order.
    /// `next_tick` has not begun yet: what is learned applies from there on.
    /// Returns what it tells of users, where they are judged.
    pub fn close(&mut self, tick: &Tick, rules: &Rules, next_tick: u64) -> Option<Firsts> {
        self.stable_durations.merge(&tick.stable.durations);
        let firsts = rules.by_user.then(|| self.close_users(tick, rules));
        if firsts.is_none() && !tick.is_idle() && tick.share.is_some() {
            self.add(tick, rules, View::Closed);
            if tick.number >= self.step.from {
                self.count_step(tick, rules);
            }
        }
        self.place_edges(rules, next_tick, false);
        firsts
    }

    /// The most that is certain of ticks that have ended and are still open, in order, each with the bucket
    /// of the age that its open requests have at least: the judge as it would be after the tick that accuses
    /// most. For accusations only.
    #[must_use]
    pub fn at_least(&self, open: &[(Tick, usize)], rules: &Rules) -> Self {
        if rules.by_user {
            return self.at_least_of_users(open, rules);
        }
        let mut ahead = self.clone();
        let mut most = self.clone();
        for (tick, age) in open {
            if !tick.is_idle() && tick.share.is_some() {
                ahead.add(tick, rules, View::Open { age: *age });
                if ahead.reading().all > most.reading().all {
                    most.clone_from(&ahead);
                }
            }
        }
        most
    }

    /// Begins another attempt: nothing is held against the candidate any more. What is known of stable stays.
    pub fn retry(&mut self, rules: &Rules, next_tick: u64) {
        *self = Self { stable_durations: std::mem::take(&mut self.stable_durations), ..Self::default() };
        self.redefine(rules);
        self.place_edges(rules, next_tick, true);
    }

    /// Adds a tick to the evidence.
    fn add(&mut self, tick: &Tick, rules: &Rules, view: View) {
        self.ticks = self.ticks.saturating_add(1);
        self.tell_of_step(tick);
        for (state, rule) in self.metrics.iter_mut().zip(&rules.metrics) {
            for (state, test) in state.tests.iter_mut().zip(&rule.tests) {
                state.add(self.ticks, *test, tick, view);
            }
        }
        if let (View::Closed, Some(share)) = (view, tick.share) {
            let requests = tick.candidate.requests.saturating_add(tick.stable.requests);
            self.split.add(self.ticks, evidence::mismatch(tick.candidate.requests, requests, share));
        }
    }

    fn count_step(&mut self, tick: &Tick, rules: &Rules) {
        self.step.requests = self.step.requests.saturating_add(tick.candidate.requests);
        self.step.stable_requests = self.step.stable_requests.saturating_add(tick.stable.requests);
        if let Some(promotion) = rules.promotion {
            let table = tick.table(Test::Errors { tolerate: 1.0 }, None, View::Closed);
            self.step.errors.add(&table, promotion.margin);
        }
    }

    /// Places the edges of quantiles that have none yet (`anew`: of all) and for which there are enough of
    /// stable's durations.
    fn place_edges(&mut self, rules: &Rules, next_tick: u64, anew: bool) {
        for (state, rule) in self.metrics.iter_mut().zip(&rules.metrics) {
            for (state, test) in state.tests.iter_mut().zip(&rule.tests) {
                let Test::Slower { quantile, tolerated } = *test else { continue };
                if (anew || state.edges.is_empty()) && self.stable_durations.can_place(quantile) {
                    let edge = self.stable_durations.edge(quantile);
                    state.place(next_tick, Edges::new(edge, tolerated, rules.deadline));
                }
            }
        }
    }

    /// How sure one can be by now that the candidate is worse.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a handful
    pub fn reading(&self) -> Reading {
        let of = |metric: &MetricState| {
            let tests: f64 = metric.tests.iter().map(|test| test.evidence.value(self.ticks)).sum();
            tests / metric.tests.len().max(1) as f64
        };
        let metrics: Vec<f64> = self.metrics.iter().map(of).collect();
        let count = metrics.len() as f64 + f64::from(self.retired);
        let sum = metrics.iter().sum::<f64>() + f64::from(self.retired) * rest(self.ticks);
        Reading { all: if count > 0.0 { sum / count } else { 1.0 }, metrics }
    }

    /// The e-value of the split being another than it should.
    #[must_use]
    pub fn split(&self) -> f64 {
        self.split.value(self.ticks)
    }

    /// The candidate's requests that were judged in this step.
    #[must_use]
    pub fn step_requests(&self) -> u64 {
        self.step.requests
    }

    /// The candidate's share of both versions' requests in this step; `None` before there are any.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // shown with two decimals
    pub fn observed_share(&self) -> Option<f64> {
        let all = self.step.requests.saturating_add(self.step.stable_requests);
        (all > 0).then(|| self.step.requests as f64 / all as f64)
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

    /// Whether something looks like a regression: too much to go on, too little to take the candidate back.
    #[must_use]
    pub fn is_suspicious(&self) -> bool {
        let reading = self.reading();
        reading.all > SUSPICIOUS || reading.metrics.iter().any(|value| *value > SUSPICIOUS)
    }

    /// What accuses most: the position of the metric and of its test in the rules, and what was seen of it
    /// in the step, or in the one before where nothing is known of it yet.
    #[must_use]
    pub fn strongest(&self) -> Option<(usize, usize, Seen)> {
        let tests = self.metrics.iter().enumerate().flat_map(|(metric, state)| {
            state.tests.iter().enumerate().map(move |(test, state)| (metric, test, state))
        });
        let value = |test: &TestState| test.evidence.value(self.ticks);
        let (metric, test, state) = tests.max_by(|one, other| value(one.2).total_cmp(&value(other.2)))?;
        Some((metric, test, state.seen))
    }

    /// The edges that a test of latencies uses for ticks from `tick` on.
    #[must_use]
    pub fn edges(&self, metric: usize, test: usize, tick: u64) -> Option<Edges> {
        self.metrics.get(metric)?.tests.get(test)?.edges_of(tick)
    }
}

impl MetricState {
    fn new(rule: &MetricRule) -> Self {
        let tests = rule.tests.iter().map(|_| TestState::default()).collect();
        Self { name: rule.name.clone(), definition: rule.definition, tests }
    }
}

impl TestState {
    /// Adds tick `t`.
    fn add(&mut self, t: u64, test: Test, tick: &Tick, view: View) {
        let table = tick.table(test, self.edges_of(tick.number), view);
        let ln = match test {
            Test::Errors { tolerate } => evidence::comparison(&table, tolerate),
            Test::ErrorsBeyond { max } => evidence::over_bound(&table.candidate, max),
            Test::Slower { .. } => evidence::comparison(&table, 1.0),
        };
        self.evidence.add(t, ln);
        self.seen.count(table.candidate, table.stable);
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
