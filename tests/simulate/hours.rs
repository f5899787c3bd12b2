//! Hours of a candidate, one after the other: how often it was taken back, and how soon.

use fastrand::Rng;

use crate::parallel;
use crate::table::{mark, quantile, whole};
use crate::traps::{ALPHA, most};

/// Lives an hour in a world. Returns how many had come when the candidate was taken back; `None`: it was not.
pub(crate) type Live<W> = fn(&W, Rng) -> Option<u64>;

/// Prints how often healthy candidates were taken back, by situation. Returns whether that is no more often than it may be. The
/// seeds of the first situation begin with `seed`.
pub(crate) fn healthy<W: Sync>(
    runs: u64,
    seed: u64,
    situations: impl IntoIterator<Item = (&'static str, W)>,
    live: Live<W>,
) -> bool {
    let most = most(runs, ALPHA, 3.0);
    println!("false_alarm is {ALPHA}; with chance allowed for, at most {most}");
    let mut all = true;
    for (seed, (name, world)) in (seed..).zip(situations) {
        let ends = parallel::runs(runs, seed, |rng| live(&world, rng).is_some());
        let rolled_back = ends.into_iter().filter(|end| *end).count() as f64;
        let kept = rolled_back <= most;
        println!(
            "  {name:<52} {:>4}  {:>6.2} %  {}",
            whole(rolled_back),
            100.0 * rolled_back / runs as f64,
            mark(kept)
        );
        all &= kept;
    }
    all
}

/// Prints how many had come when bad candidates were taken back, by cell. Returns whether each median is within its limit.
pub(crate) fn found<W: Sync>(
    runs: u64,
    seed: u64,
    cells: impl IntoIterator<Item = (&'static str, W, f64)>,
    live: Live<W>,
) -> bool {
    let mut all = true;
    for (seed, (name, world, limit)) in (seed..).zip(cells) {
        let ends = parallel::runs(runs, seed, |rng| live(&world, rng));
        let counts: Vec<f64> =
            ends.iter().map(|end| end.map_or(f64::INFINITY, |count| count as f64)).collect();
        let ever = ends.iter().flatten().count() as f64 / ends.len() as f64;
        let kept = quantile(&counts, 0.5) <= limit;
        println!(
            "  {name:<40} {:>8} / {:>8}   {:>5.1} % in the hour   {}",
            whole(quantile(&counts, 0.5)),
            whole(quantile(&counts, 0.95)),
            ever * 100.0,
            mark(kept)
        );
        all &= kept;
    }
    all
}
