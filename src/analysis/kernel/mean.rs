//! Whether the mean of values between 0 and 1 is higher, or lower, on the candidate.
//!
//! By Fan, Grama and Liu (2015, inequality 4.11) exp(λz − ψ(λ)z²) ≤ 1 + λz for z ≥ −1, 0 ≤ λ < 1 and
//! ψ(λ) = −ln(1 − λ) − λ. With z = x − μ for both sides, and a factor for stable's λ that makes the means cancel, the
//! product over a tick's values has an expectation of at most 1 when both means are equal, whatever they are.

use crate::model::{Pair, real};
use crate::signal::sums::Sums;

/// Suspected strengths, from a small difference of many values to a large one of few. All weigh the same.
pub const LAMBDAS: [f64; 8] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.55, 0.8];

/// Which difference is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Direction {
    /// The candidate's mean is higher.
    Up,
    /// It is lower.
    Down,
}

/// The number of values, their sum and the sum of their squares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// Values.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub squares: f64,
}

impl From<Sums> for Moments {
    fn from(sums: Sums) -> Self {
        Self { count: real(sums.count), sum: sums.sum(), squares: sums.squares() }
    }
}

impl Moments {
    /// Σ(x − `mean`)².
    fn spread(&self, mean: f64) -> f64 {
        (self.squares - 2.0 * mean * self.sum + self.count * mean * mean).max(0.0)
    }

    /// The mean of these values and one more of 0.5: what is expected of the next tick.
    #[must_use]
    pub fn expected(&self) -> f64 {
        (self.sum + 0.5) / (self.count + 1.0)
    }
}

/// How far the candidate's mean may be from stable's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerated {
    /// So many times stable's, or stable's divided by it: at least 1.
    Times(f64),
    /// So much more or less: at least 0.
    Difference(f64),
}

/// "The candidate's mean is higher than stable's by more than is tolerated", or lower, at the strength `lambda`.
/// `expected`: the means that earlier ticks lead to expect; any will do, near ones find more.
#[must_use]
pub fn differs(
    tick: Pair<Moments>,
    expected: Pair<f64>,
    lambda: f64,
    tolerated: Tolerated,
    direction: Direction,
) -> f64 {
    let Pair { candidate, stable } = tick;
    if candidate.count == 0.0 || stable.count == 0.0 {
        return 0.0;
    }
    let (times, difference) = match tolerated {
        Tolerated::Times(times) => (times, 0.0),
        Tolerated::Difference(difference) => (1.0, difference),
    };
    let (sign, times) = match direction {
        Direction::Up => (1.0, times),
        Direction::Down => (-1.0, times.recip()),
    };
    // With this factor the means cancel at the boundary of what is tolerated.
    let factor = candidate.count / stable.count * times;
    let ours = lambda / factor.max(1.0);
    let theirs = ours * factor;
    sign * (ours * candidate.sum - theirs * stable.sum)
        - ours * candidate.count * difference
        - psi(ours) * candidate.spread(expected.candidate)
        - psi(theirs) * stable.spread(expected.stable)
}

fn psi(lambda: f64) -> f64 {
    -(-lambda).ln_1p() - lambda
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAME: Tolerated = Tolerated::Times(1.0);

    fn moments(values: &[f64]) -> Moments {
        Moments {
            count: values.len() as f64,
            sum: values.iter().sum(),
            squares: values.iter().map(|value| value * value).sum(),
        }
    }

    #[test]
    fn equal_ticks_show_little_and_different_ones_much() {
        let (low, high) = (moments(&[0.2; 50]), moments(&[0.8; 50]));
        let expected = Pair::new(0.5, 0.2);
        let up = |tick| differs(tick, expected, 0.35, SAME, Direction::Up);
        assert!(up(Pair::new(low, low)) < 0.0);
        assert!(up(Pair::new(high, low)) > 3.0);
        assert!(differs(Pair::new(high, low), expected, 0.35, SAME, Direction::Down) < -10.0);
        assert!(differs(Pair::new(low, high), Pair::new(0.2, 0.8), 0.35, SAME, Direction::Down) > 3.0);
        assert!(differs(Pair::new(high, low), expected, 0.35, Tolerated::Times(4.0), Direction::Up) <= 0.0);
        let sixty = Tolerated::Difference(0.6);
        assert!(differs(Pair::new(high, low), expected, 0.35, sixty, Direction::Up) <= 0.0);
        assert!(differs(Pair::new(low, high), expected, 0.35, sixty, Direction::Down) <= 0.0);
        assert!(up(Pair::new(Moments::default(), low)).abs() < 1e-12);
    }

    proptest! {
        /// The property that everything rests on, exactly: two-point values on both sides with means at the boundary.
        #[test]
        fn a_candidate_at_the_boundary_gains_nothing(
            nc in 1..4_u32,
            ns in 1..4_u32,
            mean in 0.05..0.9_f64,
            tolerate in 1.0..3.0_f64,
            expected in (0.0..1.0_f64, 0.0..1.0_f64),
            lambda in prop::sample::select(&LAMBDAS[..]),
            is_up: bool,
            by_times: bool,
        ) {
            let direction = if is_up { Direction::Up } else { Direction::Down };
            let difference = (tolerate - 1.0) / 3.0;
            let (tolerated, boundary) = match (by_times, is_up) {
                (true, true) => (Tolerated::Times(tolerate), mean * tolerate),
                (true, false) => (Tolerated::Times(tolerate), mean / tolerate),
                (false, true) => (Tolerated::Difference(difference), mean + difference),
                (false, false) => (Tolerated::Difference(difference), mean - difference),
            };
            let candidates_mean = boundary.clamp(0.0, 1.0);
            // At an end nothing is left to exceed; the boundary is then not reached, which only lowers the expectation.
            let mut expectation = 0.0;
            for outcome in 0..1_u32 << (nc + ns) {
                let ones = |from: u32, count: u32| (from..from + count).filter(|bit| outcome >> bit & 1 == 1).count();
                let (xc, xs) = (ones(0, nc), ones(nc, ns));
                let probability = |n: u32, ones: usize, mean: f64| {
                    mean.powi(ones as i32) * (1.0 - mean).powi(n as i32 - ones as i32)
                };
                let values = |n: u32, ones: usize| {
                    let mut values = vec![1.0; ones];
                    values.resize(n as usize, 0.0);
                    moments(&values)
                };
                let tick = Pair::new(values(nc, xc), values(ns, xs));
                let ln = differs(tick, Pair::new(expected.0, expected.1), lambda, tolerated, direction);
                expectation += probability(nc, xc, candidates_mean) * probability(ns, xs, mean) * ln.exp();
            }
            prop_assert!(expectation <= 1.0 + 1e-9, "{expectation}");
        }
    }
}
