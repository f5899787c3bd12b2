//! Pairs that are judged against pairs: McNemar's test, at every moment, and diffy's rule.

use crate::model::real;

/// The ratios of odds that are looked for; evidence for each is averaged.
const RATIOS: [f64; 8] = [1.25, 1.6, 2.2, 3.5, 6.0, 15.0, 60.0, 1_000.0];

/// ln E of "of requests with one difference, more are between candidate and stable than between stable and itself":
/// `candidate` of them only there, `stable` only between stable and its copy. If the candidate were just another copy, each
/// would be either with a chance of one half, so E = mean over r of r^b / ((1 + r) / 2)^(b + c) is a martingale.
#[must_use]
pub fn mcnemar(candidate: u64, stable: u64) -> f64 {
    let all = real(candidate.saturating_add(stable));
    let terms = RATIOS.map(|ratio| real(candidate) * ratio.ln() - all * f64::midpoint(1.0, ratio).ln());
    let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = terms.iter().map(|term| (term - most).exp()).sum();
    most + (sum / real(RATIOS.len() as u64)).ln()
}

/// What diffy says of a shadow: its two numbers, and whether it reports the difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Diffy {
    /// |raw − noise| / (raw + noise), in percent.
    pub relative: f64,
    /// |raw − noise| / all, in percent.
    pub absolute: f64,
    /// Whether there is more than noise, and both numbers are above diffy's thresholds.
    pub is_reported: bool,
}

/// Diffy's rule, with its default thresholds (`threshold.relative`, `threshold.absolute` of opendiffy), for `raw` requests in
/// which the candidate differs from stable, `noise` in which stable's copy does, of `total`. It has no error bound.
#[must_use]
pub fn diffy(raw: u64, noise: u64, total: u64) -> Diffy {
    let percent = |of: u64| if of == 0 { 0.0 } else { real(raw.abs_diff(noise)) / real(of) * 100.0 };
    let (relative, absolute) = (percent(raw.saturating_add(noise)), percent(total));
    Diffy { relative, absolute, is_reported: raw > noise && relative > 20.0 && absolute > 0.03 }
}
