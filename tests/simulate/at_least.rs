//! "At least so many times as often" is hardly ever too much, however often one looks in an hour.

use changeover::analysis::evidence::{at_least, is_more_often};

use crate::Effort;
use crate::draw::binomial;
use crate::parallel;
use crate::table::{mark, quantile};

/// Hours, with a tick each second; the bound is looked at after each.
const HOURS: u64 = 1_000;
const SECONDS: u64 = 3_600;
/// Requests of both versions in a second.
const REQUESTS: u64 = 20;
/// The chance that it is ever too large which it states.
const STATED: f64 = 0.05;
/// Standard deviations by which 1,000 hours may be off.
const CAUTION: f64 = 4.0;

pub(crate) fn simulate(_: &Effort) -> bool {
    println!(
        "\n{HOURS} hours with {REQUESTS} requests/s each: hours in which `at_least` is ever above the true ratio"
    );
    println!("stable fails at 0.5 to 4 %, up and down within minutes");
    println!("share  true ratio  ever above  median at the end");
    let limit = STATED + CAUTION * (STATED * (1.0 - STATED) / HOURS as f64).sqrt();
    let mut kept = true;
    let cells = [0.05, 0.5].into_iter().flat_map(|share| [1.0, 1.5, 4.0].map(|ratio| (share, ratio)));
    for (seed, (share, ratio)) in (1_900..).zip(cells) {
        let ends = parallel::runs(HOURS, seed, |mut rng| hour(share, ratio, &mut rng));
        let above = ends.iter().filter(|end| end.0).count() as f64 / ends.len() as f64;
        let last: Vec<f64> = ends.iter().map(|end| end.1).collect();
        let holds = above <= limit;
        kept &= holds;
        println!(
            "{:>3.0} %  {ratio:>10.1}  {:>8.1} %  {:>17.2}  {}",
            share * 100.0,
            above * 100.0,
            quantile(&last, 0.5),
            mark(holds)
        );
    }
    kept
}

/// Whether the bound was ever above the true ratio, and what it is at the end; 1 while there is none.
fn hour(share: f64, ratio: f64, rng: &mut fastrand::Rng) -> (bool, f64) {
    let (mut candidate, mut all, mut above) = (0, 0, false);
    for second in 0..SECONDS {
        // An outage that both versions share comes and goes.
        let rate = 0.005 + 0.0175 * (1.0 + (second as f64 / 97.0).sin());
        let requests = binomial(REQUESTS, share, rng);
        let failed = binomial(requests, rate * ratio, rng);
        candidate += failed;
        all += failed + binomial(REQUESTS - requests, rate, rng);
        // The bound is above what it says is too little.
        above |= is_more_often(candidate, all, share, ratio);
    }
    (above, at_least(candidate, all, share).unwrap_or(1.0))
}
