//! What the judge shows: how sure it is, by which tests, and what it has not heard of yet.

use serde::{Deserialize, Serialize};

use super::metric::TestState;
use super::{Judge, SUSPICIOUS};
use crate::analysis::edges::Edges;
use crate::analysis::evidence::{self, rest};
use crate::analysis::rules::Rules;
use crate::analysis::test::{Against, Test};
use crate::analysis::totals::Totals;
use crate::model::Pair;
use crate::signal::catalog::{self, Weight};
use crate::signal::histogram::least;

/// How sure one can be that the candidate is worse.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What decides: a weighted average, in which `error_rate` has half ([`Weight`]) and metrics that compare inputs have no
    /// part.
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
    /// The evidence that the candidate is worse: an e-value by metric, and their weighted average ([`Weight`]). An average of
    /// e-values is an e-value, however they depend on each other. A removed metric counts as what is left for later
    /// regressions ([`rest`]).
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
}
