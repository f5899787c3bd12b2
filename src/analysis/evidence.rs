//! Ticks added up: how sure one can be that the candidate is worse.
//!
//! It is unknown by how much a candidate is worse, and since when. So several suspected ratios are kept at
//! once, and each tick begins a new suspicion beside those of the ticks before, with a weight that falls as
//! ticks go by. The sum is an e-process: by Ville's inequality the chance that it *ever* reaches 1/α against
//! a healthy candidate is at most α. Source: `docs/analysis.md`, "Evidence".

use serde::{Deserialize, Serialize};

use super::kernel::ratio::{self, Table};
use super::kernel::split;
use crate::model::{Arm, real};

/// Suspected ratios, from a quarter more to a thousand times as many. All weigh the same.
pub const RATIOS: [f64; 8] = [1.25, 1.6, 2.2, 3.5, 6.0, 15.0, 60.0, 1000.0];

/// A tick cannot say more than this, nor a sum be larger: far beyond any threshold, and no infinity.
const MOST_LN: f64 = 600.0;
const MOST: f64 = 1e300;

/// What is left for regressions that begin after tick `t` (counted from 1; before the first all is left).
#[must_use]
pub fn rest(t: u64) -> f64 {
    match t {
        0 => 1.0,
        _ => 0.5 / (1.0 + real(t).ln()),
    }
}

/// The weight of a regression that begins in tick `t`: half of all in the first one, where a bad release
/// usually shows. All weights and the rest add up to 1.
#[must_use]
pub fn onset(t: u64) -> f64 {
    rest(t.saturating_sub(1)) - rest(t)
}

/// The evidence of one test: a sum for each of `N` suspicions, which all weigh the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct Evidence<const N: usize> {
    sums: [f64; N],
}

impl<const N: usize> Default for Evidence<N> {
    /// No evidence yet. Added to a run at any tick t it has the value [`rest`]`(t)`: never 1 again, or each
    /// change of a definition would be a new chance of a false alarm.
    fn default() -> Self {
        Self { sums: [0.0; N] }
    }
}

impl<const N: usize> Evidence<N> {
    /// Adds tick `t` of the run, counted from 1: `ln` is what it says about each suspicion, 0 when it says
    /// nothing. What is no number says nothing either.
    pub fn add(&mut self, t: u64, ln: [f64; N]) {
        let onset = onset(t);
        for (sum, ln) in self.sums.iter_mut().zip(ln) {
            let ln = if ln.is_nan() { 0.0 } else { ln.min(MOST_LN) };
            *sum = ((*sum + onset) * ln.exp()).min(MOST);
        }
    }

    /// The e-value after tick `t`: E = R(t) + mean of S(r). 1 is no evidence; at 1/α the candidate counts as worse. By
    /// Ville's inequality a healthy candidate ever gets there with a probability of at most α.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // N is small
    pub fn value(&self, t: u64) -> f64 {
        rest(t) + self.sums.iter().sum::<f64>() / N as f64
    }
}

impl<const N: usize> From<Evidence<N>> for Vec<f64> {
    fn from(evidence: Evidence<N>) -> Self {
        evidence.sums.into()
    }
}

impl<const N: usize> TryFrom<Vec<f64>> for Evidence<N> {
    type Error = &'static str;

    fn try_from(sums: Vec<f64>) -> Result<Self, Self::Error> {
        let sums: [f64; N] = sums.try_into().map_err(|_| "another number of suspicions")?;
        if sums.iter().all(|sum| (0.0..=MOST).contains(sum)) { Ok(Self { sums }) } else { Err("no evidence") }
    }
}

/// ln L(r) of a tick for each ratio r: the candidate has the event more than `tolerate` (≥ 1) times as often as stable.
/// `E[L] ≤ 1` if it does not (`docs/analysis.md`, "Evidence").
#[must_use]
pub fn comparison(table: &Table, tolerate: f64) -> [f64; RATIOS.len()] {
    RATIOS.map(|ratio| {
        if tolerate > 1.0 {
            ratio::beyond_margin(table, ratio * tolerate, tolerate)
        } else {
            ratio::more_often(table, ratio)
        }
    })
}

/// ln L(r) of a tick for users: `all` users have the event for the first time in the run, `candidate` of them on the
/// candidate, which each had with the probability w = `share`:
///
/// ln L(r) = x_c ln(r/m) − x [ln(1 + w (r − 1)) − ln(1 + w (m − 1))], m = `tolerate` (≥ 1), r = ratio · m.
#[must_use]
pub fn first_events(candidate: u64, all: u64, share: f64, tolerate: f64) -> [f64; RATIOS.len()] {
    RATIOS.map(|ratio| split::split(candidate, all, share, ratio * tolerate, tolerate))
}

/// The e-value at which a multiple is certain that is shown: it is ever too large in one run of twenty.
const CERTAIN: f64 = 20.0;
/// A multiple beyond this is shown as this.
const MOST_TIMES: f64 = 1e6;

/// "At least so many times as often": of `all` events, each of one of two versions, `events` are one version's, which gets
/// units with a probability of at most `share`. Every `tolerate` below the answer is rejected; `None`: not even 1 is.
///
/// For a ratio of at most m, the mean over r of L(r) with `tolerate` = m is a test martingale or less, and by Ville's
/// inequality ever reaches 20 with a chance of at most 1 in 20. L falls with m. So in 19 runs of 20 the answer is never above
/// the true ratio, however often one looks (`docs/analysis.md`, "At least so many times as often").
#[must_use]
pub fn at_least(events: u64, all: u64, share: f64) -> Option<f64> {
    if !is_more_often(events, all, share, 1.0) {
        return None;
    }
    let (mut within, mut beyond) = (1.0_f64, MOST_TIMES);
    for _ in 0..50 {
        let middle = (within * beyond).sqrt();
        if is_more_often(events, all, share, middle) { within = middle } else { beyond = middle }
    }
    Some(within)
}

/// Whether it is certain that a version has an event more than so many `times` as often as the other one, as [`at_least`]
/// takes it.
#[must_use]
#[allow(clippy::cast_precision_loss)] // eight ratios
pub fn is_more_often(events: u64, all: u64, share: f64, times: f64) -> bool {
    if share <= 0.0 || share >= 1.0 {
        return false;
    }
    let ln = first_events(events, all, share, times);
    let sum: f64 = ln.into_iter().map(|ln| ln.min(MOST_LN).exp()).sum();
    sum >= CERTAIN * RATIOS.len() as f64
}

/// ln L(r) of a tick for the candidate having an event more often than the fixed rate `max` (0 to 1, exclusive): the
/// likelihood ratio of the rate r · `max` to `max`. Impossible rates are replaced by 99.9 %, or half-way from `max` to 1.
#[must_use]
pub fn over_bound(candidate: &Arm, max: f64) -> [f64; RATIOS.len()] {
    let highest = f64::max(0.999, f64::midpoint(max, 1.0));
    RATIOS.map(|ratio| ratio::beyond_bound(candidate, (max * ratio).min(highest), max))
}

/// Suspected odds ratios of the split, each way.
const SPLIT_RATIOS: [f64; 7] = [1.06, 1.12, 1.25, 1.5, 2.0, 4.0, 20.0];
/// A tolerated odds ratio: without it the smallest skew alarms at scale.
const SPLIT_MARGIN: f64 = 1.02;
/// Suspicions about the split.
pub const SPLITS: usize = 14;
/// The e-value from which the split counts as wrong: one false alarm in a thousand runs.
pub const SPLIT_THRESHOLD: f64 = 1_000.0;

/// ln L(r) of a tick for a wrong split: `candidate` of N = `requests` requests came to the candidate, whose configured
/// share is ρ = `share`: n_c ln(r/m) − N [ln(1 + ρ (r − 1)) − ln(1 + ρ (m − 1))].
#[must_use]
pub fn mismatch(candidate: u64, requests: u64, share: f64) -> [f64; SPLITS] {
    let mut ln = [0.0; SPLITS];
    if share <= 0.0 || share >= 1.0 {
        return ln;
    }
    let both = SPLIT_RATIOS
        .into_iter()
        .flat_map(|ratio| [(ratio, SPLIT_MARGIN), (ratio.recip(), SPLIT_MARGIN.recip())]);
    for (ln, (ratio, margin)) in ln.iter_mut().zip(both) {
        *ln = split::split(candidate, requests, share, ratio, margin);
    }
    ln
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_weights_add_up_to_one() {
        let mut sum = 0.0;
        for t in 1..=10_000 {
            sum += onset(t);
            assert!((sum + rest(t) - 1.0).abs() < 1e-12, "{t}");
        }
    }

    #[test]
    fn ticks_that_say_nothing_leave_one() {
        let mut evidence = Evidence::<8>::default();
        for t in 1..=1_000 {
            evidence.add(t, comparison(&Table::of((0, 5), (0, 95)), 1.0));
            assert!((evidence.value(t) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn evidence_that_joins_late_starts_at_the_rest() {
        assert_eq!(Evidence::<8>::default().value(60), rest(60));
    }

    #[test]
    fn a_tolerated_ratio_is_tolerated() {
        let double = Table::of((20, 100), (190, 1_900));
        let after = |tolerate| {
            let mut evidence = Evidence::<8>::default();
            (1..=20).for_each(|t| evidence.add(t, comparison(&double, tolerate)));
            evidence.value(20)
        };
        assert!(after(1.0) > 1e6, "{}", after(1.0));
        assert!(after(2.0) < 1.0, "{}", after(2.0));
    }

    #[test]
    fn a_bound_near_one_is_still_a_bound() {
        for max in [1e-9, 0.5, 0.999, 0.9999] {
            let healthy = over_bound(&Arm { events: 0, units: 1_000 }, max);
            assert!(healthy.iter().all(|ln| *ln <= 0.0), "{max}: {healthy:?}");
            let broken = over_bound(&Arm { events: 1_000, units: 1_000 }, max);
            assert!(broken.iter().all(|ln| *ln > 0.0), "{max}: {broken:?}");
        }
    }

    #[test]
    fn at_least_is_the_largest_tolerate_that_is_rejected() {
        assert_eq!(at_least(0, 0, 0.05), None);
        assert_eq!(at_least(3, 60, 0.05), None, "as often");
        assert_eq!((at_least(9, 9, 0.0), at_least(9, 9, 1.0)), (None, None), "nothing is drawn");
        let bound = |events, all, share| at_least(events, all, share).unwrap();
        // Four times as often: 40 of 230 events at 5 %.
        let times = bound(40, 230, 0.05);
        assert!((2.0..4.0).contains(&times), "{times}");
        let mean = |times: f64| {
            first_events(40, 230, 0.05, times).into_iter().map(f64::exp).sum::<f64>() / RATIOS.len() as f64
        };
        assert!(mean(times * 0.999) >= CERTAIN && mean(times * 1.001) < CERTAIN);
        // More of the same says more, and never more than there is.
        let more = bound(4_000, 23_000, 0.05);
        assert!(times < more && more < 4.0, "{more}");
        assert!(bound(u64::MAX, u64::MAX, 0.5) >= MOST_TIMES * 0.99);
    }

    proptest! {
        /// The answer's end of an interval: all smaller multiples are rejected too.
        #[test]
        fn more_tolerance_rejects_less(
            events in 0..500_u64, others in 0..500_u64, share in 0.01..0.99_f64, times in 1.0..50.0_f64,
        ) {
            let all = events + others;
            for (less, more) in first_events(events, all, share, times).into_iter().zip(first_events(events, all, share, times * 1.1)) {
                prop_assert!(more <= less + 1e-9);
            }
            prop_assert!(at_least(events, all, share).is_none_or(|times| (1.0..=MOST_TIMES).contains(&times)));
        }

        #[test]
        fn evidence_is_a_number_whatever_the_ticks(ticks in prop::collection::vec(prop::array::uniform8(any::<f64>()), 0..20)) {
            let mut evidence = Evidence::<8>::default();
            for (ln, t) in ticks.into_iter().zip(1..) {
                evidence.add(t, ln);
                prop_assert!(evidence.value(t).is_finite());
                prop_assert_eq!(Evidence::try_from(Vec::from(evidence)), Ok(evidence));
            }
        }
    }
}
