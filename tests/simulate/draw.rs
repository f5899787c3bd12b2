//! Random numbers.

use fastrand::Rng;

const MS: f64 = 1e6;
/// Bits that choose one of the durations.
pub(crate) const DURATION_BITS: u32 = 12;

/// How many of `n` trials succeed, by inversion: exact, and fast for small `n p`.
pub(crate) fn binomial(n: u64, p: f64, rng: &mut Rng) -> u64 {
    if p > 0.5 {
        return n - binomial(n, 1.0 - p, rng);
    }
    let odds = p / (1.0 - p);
    let mut probability = (n as f64 * (-p).ln_1p()).exp();
    let mut left = rng.f64();
    for k in 0..n {
        if left < probability {
            return k;
        }
        left -= probability;
        probability *= odds * (n - k) as f64 / (k + 1) as f64;
    }
    n
}

/// Nanoseconds that answers take: log-normal with a median of 30 ms, as a sample to draw from.
pub(crate) fn durations() -> Vec<u64> {
    const MEDIAN: f64 = 30.0 * MS;
    const SIGMA: f64 = 0.6;
    let mut rng = Rng::with_seed(30);
    (0..1 << DURATION_BITS).map(|_| (MEDIAN * (SIGMA * normal(&mut rng)).exp()) as u64).collect()
}

/// A number from the standard normal distribution, Box and Muller's way.
pub(crate) fn normal(rng: &mut Rng) -> f64 {
    (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
}
