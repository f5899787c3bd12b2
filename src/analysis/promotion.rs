//! Whether the candidate is no worse than a margin: what a release must show before it moves on.
//!
//! The null hypothesis is the bad news, a candidate at the margin or beyond it, and the evidence is against
//! that. Two tests are averaged: one for "at most so many times stable's rate", which needs events, and one
//! for "at most so many points above it", which also learns from their absence. Source: `docs/analysis.md`,
//! "Promotion".

use serde::{Deserialize, Serialize};

use super::kernel::ratio::{self, Table};
use crate::model::real;

/// Suspected ratios below the margin, and their weights: most on "no difference".
const SUSPICIONS: [(f64, f64); 4] =
    [(0.25, 1.0 / 6.0), (0.5, 1.0 / 6.0), (0.75, 1.0 / 6.0), (1.0, 1.0 / 2.0)];

/// What is allowed: the candidate may have an event `times` as often as stable, or `points` more often,
/// whichever allows more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Margin {
    /// At least 1.
    pub times: f64,
    /// A rate: 0.01 is one point of a hundred.
    pub points: f64,
}

/// The evidence that the candidate is within the margin, since the step began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NoWorse {
    /// Logarithms of the relative test, by suspicion.
    relative: [f64; SUSPICIONS.len()],
    /// Logarithm of the absolute test.
    absolute: f64,
    /// Events and requests of both versions so far.
    events: f64,
    requests: f64,
}

impl NoWorse {
    /// Adds a closed tick.
    pub fn add(&mut self, table: &Table, margin: Margin) {
        if table.candidate.units == 0 || table.stable.units == 0 {
            return;
        }
        for (ln, (ratio, _)) in self.relative.iter_mut().zip(SUSPICIONS) {
            *ln += ratio::beyond_margin(table, ratio, margin.times);
        }
        // What earlier ticks say the common rate is: this one must not choose what it is tested against.
        let rate = (self.events + 0.5) / (self.requests + 50.0);
        self.absolute += within_points(table, rate, rate, margin.points);
        self.events += real(table.candidate.events) + real(table.stable.events);
        self.requests += real(table.candidate.units) + real(table.stable.units);
    }

    /// The e-value: at 1/β the candidate is within the margin, with at most the chance β to be wrong.
    #[must_use]
    pub fn value(&self) -> f64 {
        let relative: f64 =
            self.relative.iter().zip(SUSPICIONS).map(|(ln, (_, weight))| weight * ln.min(600.0).exp()).sum();
        f64::midpoint(relative, self.absolute.min(600.0).exp())
    }
}

/// The logarithm of how much likelier the counts are at the rates `candidate` and `stable` than at the
/// nearest pair of rates of which the candidate's is `points` above stable's.
#[must_use]
pub fn within_points(table: &Table, candidate: f64, stable: f64, points: f64) -> f64 {
    let (null_candidate, null_stable) = nearest(table, candidate, stable, points);
    ratio::beyond_bound(&table.candidate, candidate, null_candidate)
        + ratio::beyond_bound(&table.stable, stable, null_stable)
}

/// The rates (a0, b0) with a0 = b0 + `points` that minimise nc KL(a, a0) + ns KL(b, b0): where the
/// derivative, which rises with b0, is zero (Miettinen and Nurminen, 1985).
#[must_use]
pub fn nearest(table: &Table, a: f64, b: f64, points: f64) -> (f64, f64) {
    let (nc, ns) = (real(table.candidate.units), real(table.stable.units));
    let slope = |b0: f64| {
        let a0 = b0 + points;
        nc * (a0 - a) / (a0 * (1.0 - a0)) + ns * (b0 - b) / (b0 * (1.0 - b0))
    };
    let (mut low, mut high) = (0.0, 1.0 - points);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    let b0 = f64::midpoint(low, high);
    (b0 + points, b0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MARGIN: Margin = Margin { times: 2.0, points: 0.01 };

    fn after(table: Table, ticks: u32) -> f64 {
        let mut evidence = NoWorse::default();
        (0..ticks).for_each(|_| evidence.add(&table, MARGIN));
        evidence.value()
    }

    #[test]
    fn an_equal_candidate_is_found_so_and_one_at_the_margin_is_not() {
        assert_eq!(after(Table::default(), 10), 1.0);
        // Without one failure it takes about ln(20) / points requests.
        assert!(after(Table::of((0, 5), (0, 95)), 60) < 20.0);
        assert!(after(Table::of((0, 5), (0, 95)), 150) > 20.0);
        assert!(after(Table::of((1, 100), (19, 1_900)), 30) > 20.0);
        assert!(after(Table::of((2, 100), (19, 1_900)), 30) < 2.0);
    }

    proptest! {
        #[test]
        fn evidence_for_promotion_is_a_number_whatever_the_ticks(ticks in prop::collection::vec(((0..50_u64, 50..5_000_u64), (0..50_u64, 50..5_000_u64)), 0..30), times in 1.0..10.0_f64, points in 0.0..0.9_f64) {
            let mut evidence = NoWorse::default();
            for (candidate, stable) in ticks {
                evidence.add(&Table::of(candidate, stable), Margin { times, points });
                prop_assert!(evidence.value().is_finite(), "{:?}", evidence);
            }
        }
    }
}
