//! How far observations have moved from earlier ones, beside what chance alone moves them.
//!
//! A statistic over a few categories, and its 99 % point when nothing has changed. Unlike the other kernels this one has no
//! promise over a whole run: it says where a metric stands now.

use serde::{Deserialize, Serialize};

use crate::model::{Arm, real};
use crate::signal::catalog::Moves;

/// Observations that each category needs on average before anything is said.
const LEAST_BY_CATEGORY: u64 = 20;

/// The 99 % points of the chi-squared distribution with 1 to 31 degrees of freedom.
#[rustfmt::skip]
const CHI_SQUARED: [f64; 31] = [
    6.634_896_601_021, 9.210_340_371_976, 11.344_866_730_144, 13.276_704_135_988, 15.086_272_469_389,
    16.811_893_829_771, 18.475_306_906_582, 20.090_235_029_663, 21.665_994_333_462, 23.209_251_158_954,
    24.724_970_311_318, 26.216_967_305_536, 27.688_249_610_456, 29.141_237_740_673, 30.577_914_166_893,
    31.999_926_908_815, 33.408_663_605_005, 34.805_305_734_704, 36.190_869_129_270, 37.566_234_786_624,
    38.932_172_683_516, 40.289_360_437_593, 41.638_398_118_860, 42.979_820_139_352, 44.314_104_896_219,
    45.641_682_666_282, 46.962_942_124_752, 48.278_235_770_314, 49.587_884_472_900, 50.892_181_311_517,
    52.191_394_833_191,
];

/// How far something has moved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Movement {
    /// In units of the noise: above 1 chance alone moves it once in a hundred times. A distance: twice as far is twice as
    /// much, where the statistics grow with its square.
    pub times: f64,
    /// How much that is, whatever the number of observations: the population stability index, less what chance adds.
    pub size: f64,
}

/// How far counts by category have moved from a reference; `None` from too few observations, of which nothing follows. Values in
/// buckets are compared by the population stability index, categories by the statistic G, rates by G with a correction for
/// continuity.
#[must_use]
pub fn movement(moves: Moves, reference: &[u64], window: &[u64]) -> Option<Movement> {
    let categories = reference.len();
    let critical = critical(categories)?;
    let (n, m) = (total(reference), total(window));
    let least = least(categories);
    if window.len() != categories || n < least || m < least {
        return None;
    }
    let by_chance = real(n).recip() + real(m).recip();
    let psi = psi(reference, window);
    let squared = match moves {
        Moves::Values => psi / (by_chance * critical),
        Moves::Categories => g(reference, window) / critical,
        Moves::Rate => corrected(pair(reference)?, pair(window)?) / critical,
    };
    let size = (psi - by_chance * degrees(categories)).max(0.0);
    Some(Movement { times: squared.max(0.0).sqrt(), size }).filter(|movement| movement.times.is_finite())
}

/// Observations below which nothing is said.
#[must_use]
pub fn least(categories: usize) -> u64 {
    LEAST_BY_CATEGORY.saturating_mul(categories as u64)
}

/// The 99 % point of chi-squared for so many categories; `None` for fewer than 2, or more than 32.
#[must_use]
pub fn critical(categories: usize) -> Option<f64> {
    CHI_SQUARED.get(categories.checked_sub(2)?).copied()
}

/// The population stability index, with half an observation added to each category. When nothing has changed it is about
/// (1/n + 1/m) times chi-squared (Yurdakul 2018).
#[must_use]
pub fn psi(reference: &[u64], window: &[u64]) -> f64 {
    let half = 0.5 * real(reference.len() as u64);
    let (n, m) = (real(total(reference)) + half, real(total(window)) + half);
    let term = |(reference, window): (&u64, &u64)| {
        let (p, q) = ((real(*reference) + 0.5) / n, (real(*window) + 0.5) / m);
        (p - q) * (p / q).ln()
    };
    reference.iter().zip(window).map(term).sum()
}

/// The statistic G of two rows of counts: twice the sum of O ln(O / E).
#[must_use]
pub fn g(reference: &[u64], window: &[u64]) -> f64 {
    let rows = (real(total(reference)), real(total(window)));
    let term = |(reference, window): (&u64, &u64)| {
        let (one, other) = (real(*reference), real(*window));
        let share = (one + other) / (rows.0 + rows.1);
        of_cell(one, rows.0 * share) + of_cell(other, rows.1 * share)
    };
    reference.iter().zip(window).map(term).sum()
}

/// G of two rates, each count half a one nearer to what is expected: of rare events G alone finds too much.
fn corrected(reference: Arm, window: Arm) -> f64 {
    let units = real(reference.units) + real(window.units);
    let rate = (real(reference.events) + real(window.events)) / units;
    let beyond = real(window.events) - real(window.units) * rate;
    let nearer = beyond.clamp(-0.5, 0.5);
    let row = |arm: Arm, nearer: f64| {
        let (units, events) = (real(arm.units), real(arm.events) - nearer);
        of_cell(events, units * rate) + of_cell(units - events, units * (1.0 - rate))
    };
    row(window, nearer) + row(reference, -nearer)
}

/// 2 O ln(O / E): 0 where nothing was observed.
fn of_cell(observed: f64, expected: f64) -> f64 {
    if observed > 0.0 && expected > 0.0 { 2.0 * observed * (observed / expected).ln() } else { 0.0 }
}

fn pair(counts: &[u64]) -> Option<Arm> {
    let [events, others] = *counts else { return None };
    Some(Arm { events, units: events.saturating_add(others) })
}

fn degrees(categories: usize) -> f64 {
    real(categories as u64) - 1.0
}

fn total(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPE: [u64; 4] = [100, 300, 500, 100];

    #[test]
    fn nothing_is_said_of_too_few_observations() {
        assert_eq!(least(4), 80);
        assert_eq!(movement(Moves::Values, &SHAPE, &[79, 0, 0, 0]), None);
        assert_eq!(movement(Moves::Values, &[79, 0, 0, 0], &SHAPE), None);
        assert!(movement(Moves::Values, &SHAPE, &[80, 0, 0, 0]).is_some_and(|moved| moved.times > 1.0));
        assert_eq!(movement(Moves::Values, &[1_000], &[1_000]), None, "one category");
        assert_eq!(movement(Moves::Values, &SHAPE, &[500, 500]), None, "others");
        assert_eq!(movement(Moves::Rate, &SHAPE, &SHAPE), None, "no rate");
    }

    #[test]
    fn a_distribution_that_stays_the_same_does_not_move() {
        for moves in [Moves::Values, Moves::Categories] {
            let moved = movement(moves, &SHAPE, &SHAPE).unwrap();
            assert!(moved.times < 1e-3 && moved.size == 0.0, "{moves:?} {moved:?}");
        }
        let moved = movement(Moves::Rate, &[0, 1_000], &[0, 100_000]).unwrap();
        assert!(moved.times == 0.0 && moved.size < 0.01, "{moved:?}");
    }

    /// Chance moves a rate by one event; five where one was expected are seldom.
    #[test]
    fn single_rare_events_are_noise() {
        let times =
            |events: u64| movement(Moves::Rate, &[100, 99_900], &[events, 1_000 - events]).unwrap().times;
        assert!(
            times(1) < 0.01 && times(0) < 0.5 && times(3) < 1.0,
            "{} {} {}",
            times(0),
            times(1),
            times(3)
        );
        assert!(times(6) > 1.0 && times(60) > 5.0);
    }

    #[test]
    fn twice_as_far_is_about_twice_as_much() {
        let times =
            |events: u64| movement(Moves::Rate, &[50_000, 50_000], &[events, 1_000 - events]).unwrap().times;
        assert!((times(600) / times(550) - 2.0).abs() < 0.1, "{} {}", times(550), times(600));
    }

    proptest! {
        #[test]
        fn a_movement_is_a_number(
            counts in proptest::collection::vec((any::<u64>(), any::<u64>()), 0..40),
        ) {
            let (reference, window): (Vec<u64>, Vec<u64>) = counts.into_iter().unzip();
            for moves in [Moves::Values, Moves::Categories, Moves::Rate] {
                if let Some(moved) = movement(moves, &reference, &window) {
                    prop_assert!(moved.times >= 0.0 && moved.times.is_finite());
                    prop_assert!(moved.size >= 0.0 && moved.size.is_finite());
                }
            }
        }
    }
}
