//! Pairs that are judged against pairs: McNemar's test, at every moment.

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
