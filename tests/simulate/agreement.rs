//! The interval of a shadow's agreement holds over a whole run, however often one looks.

use changeover::analysis::kernel::agreement::Agreement;

use crate::Effort;
use crate::parallel;
use crate::table::{mark, quantile};

const RUNS: u64 = 1_000;
/// Pairs of a run; the interval is looked at after each of the first thousand, then after every tenth.
const PAIRS: u64 = 10_000;
/// The chance that it misses which the interval states.
const STATED: f64 = 0.05;
/// Standard deviations by which 1,000 runs may be off.
const CAUTION: f64 = 4.0;

pub(crate) fn simulate(_: &Effort) -> bool {
    println!(
        "\n{RUNS} shadows, {PAIRS} pairs each: runs in which the interval ever misses the true agreement"
    );
    println!("agreement  ever missed  passed wrongly  median width at the end");
    let limit = STATED + CAUTION * (STATED * (1.0 - STATED) / RUNS as f64).sqrt();
    let mut kept = true;
    for (seed, share) in (1_600..).zip([0.5, 0.9, 0.98, 0.999]) {
        let ends = parallel::runs(RUNS, seed, |mut rng| {
            let (mut matched, mut missed, mut passed) = (0, false, false);
            let mut last = Agreement::default();
            for pair in 1..=PAIRS {
                matched += u64::from(rng.f64() < share);
                if pair <= 1_000 || pair.is_multiple_of(10) {
                    last = Agreement::of(matched, pair);
                    missed |= !(last.low..=last.high).contains(&share);
                    // A step with this `min_agreement` would end.
                    passed |= last.low > share;
                }
            }
            (missed, passed, last.high - last.low)
        });
        let part = |of: fn(&(bool, bool, f64)) -> bool| {
            ends.iter().filter(|end| of(end)).count() as f64 / ends.len() as f64
        };
        let (missed, passed) = (part(|end| end.0), part(|end| end.1));
        let widths: Vec<f64> = ends.iter().map(|end| end.2).collect();
        let holds = missed <= limit;
        kept &= holds;
        println!(
            "{:>8.1} %  {:>9.1} %  {:>13.1} %  {:>16.2} points  {}",
            share * 100.0,
            missed * 100.0,
            passed * 100.0,
            quantile(&widths, 0.5) * 100.0,
            mark(holds)
        );
    }
    kept
}
