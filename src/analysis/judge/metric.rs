//! The evidence of one metric, and of its tests.

use serde::{Deserialize, Serialize};

use crate::analysis::at_risk::Crowd;
use crate::analysis::edges::Edges;
use crate::analysis::evidence::{Evidence, RATIOS};
use crate::analysis::look::{Certainty, Look};
use crate::analysis::rules::{MetricRule, Rules};
use crate::analysis::test::Test;
use crate::analysis::tick::{Tick, View};
use crate::analysis::totals::Totals;
use crate::analysis::user_set::UserSet;
use crate::analysis::warm_up::WarmUp;
use crate::model::Pair;
use crate::signal::catalog::Weight;
use crate::signal::sums::Sums;

/// The evidence of one metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct MetricState {
    pub(super) name: String,
    pub(super) definition: u64,
    pub(super) tests: Vec<TestState>,
    /// Whether it compares the versions' requests.
    pub(super) is_of_inputs: bool,
    /// Its part in the average that decides.
    pub(super) weight: Weight,
}

/// How many metrics were removed, by their weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Retired {
    pub(super) half: u32,
    pub(super) others: u32,
}

impl Retired {
    pub(super) fn of(&mut self, weight: Weight) -> &mut u32 {
        match weight {
            Weight::Half => &mut self.half,
            Weight::Others => &mut self.others,
        }
    }
}

/// The evidence of one test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TestState {
    pub(super) test: Test,
    pub(super) evidence: Evidence<{ RATIOS.len() }>,
    /// Of a quantile: the edges, and the first tick that they apply to; the newest last.
    pub(super) edges: Vec<(u64, Edges)>,
    /// What was seen in the step; until something is known of it, in the one before.
    pub(super) seen: Totals,
    /// Of a mean: the values of all ticks so far, which lead to expect those of the next.
    pub(super) past: Pair<Sums>,
    /// Whether it could have been judged in this run: there was something to compare.
    pub(super) heard: bool,
    /// The users that have had the event in this run, where users are judged.
    pub(super) users: UserSet,
    /// How many they are, by version.
    pub(super) spent: Crowd,
    /// How many they were before the first tick of the step; `None`: it has not come.
    pub(super) spent_before: Option<Crowd>,
}

impl MetricState {
    /// The average of its tests' e-values after tick `t`.
    #[allow(clippy::cast_precision_loss)] // a handful
    pub(super) fn value(&self, t: u64) -> f64 {
        let tests: f64 = self.tests.iter().map(|test| test.evidence.value(t)).sum();
        tests / self.tests.len().max(1) as f64
    }

    pub(super) fn new(rule: &MetricRule) -> Self {
        let tests = rule.tests.iter().map(|test| TestState::new(*test)).collect();
        let MetricRule { definition, is_of_inputs, weight, .. } = *rule;
        Self { name: rule.name.clone(), definition, tests, is_of_inputs, weight }
    }
}

impl TestState {
    pub(super) fn new(test: Test) -> Self {
        Self {
            test,
            evidence: Evidence::default(),
            edges: Vec::new(),
            seen: Totals::default(),
            past: Pair::default(),
            heard: false,
            users: UserSet::default(),
            spent: Crowd::default(),
            spent_before: None,
        }
    }

    /// Adds tick `t`.
    pub(super) fn add(&mut self, t: u64, tick: &Tick, view: View) {
        match Look::of_requests(tick, &self.test, self.edges_of(tick.number), view) {
            Certainty::Certain(look) => self.add_look(t, tick, &look),
            // What is certain then is only what is left for regressions to come.
            Certainty::Open => self.evidence = Evidence::default(),
        }
    }

    /// Adds what is seen of tick `t`.
    pub(super) fn add_look(&mut self, t: u64, tick: &Tick, look: &Look) {
        self.evidence.add(t, look.ln_likelihoods(&self.test, self.past));
        self.seen = self.seen.plus(look.seen);
        let has_edges = || self.test.quantile().is_none() || self.edges_of(tick.number).is_some();
        self.heard |= look.is_comparable && has_edges();
        if let Totals::Means(sums) = look.seen {
            self.past = self.past.zip_with(sums, Sums::plus);
        }
    }

    /// Tick `t` shows nothing.
    pub(super) fn pass_over(&mut self, t: u64) {
        self.evidence.add(t, [0.0; RATIOS.len()]);
    }

    /// The newest edges that were known when the tick began.
    pub(super) fn edges_of(&self, tick: u64) -> Option<Edges> {
        self.edges.iter().rev().find(|(from, _)| *from <= tick).map(|(_, edges)| *edges)
    }

    /// The edges of ticks that may still be open.
    pub(super) fn edges_in_use(&self) -> impl Iterator<Item = Edges> {
        self.edges.iter().rev().take(2).map(|(_, edges)| *edges)
    }

    pub(super) fn place(&mut self, from: u64, edges: Edges) {
        // Ticks that are still open need the edges before these, never more.
        const KEPT: usize = 8;
        let surplus = self.edges.len().saturating_sub(KEPT - 1);
        self.edges.drain(..surplus);
        self.edges.push((from, edges));
    }
}

/// Whether a test judges nothing in a tick whose weights are in force since the tick `since`: the candidate is cold, or what
/// the test is about has not had time to happen, and so is not missing.
pub(super) fn is_spared(
    rules: &Rules,
    test: &Test,
    (tick, since): (&Tick, u64),
    spared: Option<WarmUp>,
) -> bool {
    tick.number < since.saturating_add(rules.comes_within(test))
        || spared.is_some_and(|warm_up| warm_up.spares(test))
}
