//! Whether units are divided between the versions as they should be.

use crate::model::real;

/// "Of `all`, each of which is the candidate's with the known probability `share`, more are", at `ratio` r of
/// its odds, of which `margin` m is tolerated (both above 1, or both below: "fewer are"). A martingale exactly at
/// the margin: `E[L] = 1`, whatever `all` counts, as long as each is drawn independently of the others.
#[must_use]
pub fn split(candidate: u64, all: u64, share: f64, ratio: f64, margin: f64) -> f64 {
    real(candidate) * (ratio / margin).ln()
        - real(all) * ((share * (ratio - 1.0)).ln_1p() - (share * (margin - 1.0)).ln_1p())
}
