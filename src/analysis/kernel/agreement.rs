//! How sure one can be about a share that is counted as it comes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::real;

/// A share, and the interval that it lies in: 95 % of all runs never leave it, however often one looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Agreement {
    /// What was counted.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

impl Agreement {
    /// Of so many pairs that agree among those that were compared. Of none nothing is known.
    #[must_use]
    pub fn of(matched: u64, compared: u64) -> Self {
        let (low, high) = interval(matched, compared, MISSES);
        Self { value: real(matched) / real(compared.max(1)), low, high }
    }
}

/// `98.7 % [97.4, 99.5]`.
impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [value, low, high] = [self.value, self.low, self.high].map(|share| share * 100.0);
        write!(f, "{value:.1} % [{low:.1}, {high:.1}]")
    }
}

/// The chance that an interval which is shown, or decides, ever misses.
const MISSES: f64 = 0.05;

/// The shares p of an event that `x` events in `n` observations leave possible, at every moment of a run: an interval that
/// is looked at as often as one likes misses the true share with a chance of at most `alpha` over the whole run.
///
/// Robbins' mixture for a Bernoulli mean with a uniform prior: p is possible while
/// B(x + 1, n − x + 1) / (p^x (1 − p)^(n − x)) < 1 / alpha. The left side is a martingale at the true p that begins at 1, so
/// by Ville's inequality it ever reaches 1 / alpha with a chance of at most alpha.
#[must_use]
pub fn interval(x: u64, n: u64, alpha: f64) -> (f64, f64) {
    let x = x.min(n);
    let (events, others) = (real(x), real(n.saturating_sub(x)));
    let most = ln_beta(events + 1.0, others + 1.0) + alpha.ln();
    // ln(p^x (1 − p)^(n − x)) rises to x / n and falls from there.
    let is_possible = |p: f64| term(events, p) + term(others, 1.0 - p) > most;
    let seen = if n == 0 { 0.5 } else { events / real(n) };
    let end = |far: f64| {
        if is_possible(far) {
            return far;
        }
        let (mut out, mut within) = (far, seen);
        for _ in 0..60 {
            let middle = f64::midpoint(out, within);
            if is_possible(middle) { within = middle } else { out = middle }
        }
        out
    };
    (end(0.0), end(1.0))
}

/// count · ln p; nothing of an event that was not seen.
fn term(count: f64, p: f64) -> f64 {
    if count == 0.0 { 0.0 } else { count * p.ln() }
}

/// ln B(a, b), for a, b ≥ 1.
fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// ln Γ(x) for x ≥ 1, to 13 digits: Stirling's series from 10 on, reached by Γ(x + 1) = x Γ(x).
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0);
    while x < 10.0 {
        product *= x;
        x += 1.0;
    }
    let square = x * x;
    let series =
        (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1_260.0 - 1.0 / (1_680.0 * square)) / square) / square) / x;
    (x - 0.5) * x.ln() - x + 0.918_938_533_204_672_7 + series - product.ln()
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    #[test]
    fn the_interval_ends_where_the_martingale_reaches_its_bound() {
        // The first column by hand: B(1, n + 1) = 1 / (n + 1), so p ends where (1 − p)^n = alpha / (n + 1).
        for n in [1_u64, 10, 1_000] {
            let (low, high) = interval(0, n, 0.05);
            let expected = 1.0 - (0.05 / (real(n) + 1.0)).powf(1.0 / real(n));
            assert_eq!(low, 0.0);
            assert!((high - expected).abs() < 1e-9, "{n}: {high} instead of {expected}");
            let (mirrored, one) = interval(n, n, 0.05);
            assert!((mirrored - (1.0 - expected)).abs() < 1e-9 && one == 1.0);
        }
        assert_eq!(interval(0, 0, 0.05), (0.0, 1.0));
        assert_eq!(interval(7, 3, 0.05), interval(3, 3, 0.05), "more events than observations");
    }

    #[test]
    fn it_covers_the_share_over_the_whole_run() {
        let mut rng = Rng::with_seed(16);
        for share in [0.5, 0.9, 0.99] {
            let mut missed = 0;
            for _ in 0..1_000 {
                let mut events = 0;
                let looked = (1..=1_000_u64).any(|n| {
                    events += u64::from(rng.f64() < share);
                    // Looking every tenth time only is no more than looking always.
                    n % 10 == 0 && {
                        let (low, high) = interval(events, n, 0.05);
                        !(low..=high).contains(&share)
                    }
                });
                missed += u32::from(looked);
            }
            // 50 at most in expectation; 5 standard deviations are 35.
            assert!(missed <= 85, "share {share}: {missed} of 1,000 runs missed");
            assert!(missed > 0, "share {share}: an interval that never misses is too wide");
        }
    }
}
