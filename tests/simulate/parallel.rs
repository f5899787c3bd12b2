//! Runs side by side, each with a seed of its own: on how many cores makes no difference to any result.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fastrand::Rng;

pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// The results of `runs` runs, in their order. `seed` identifies the experiment.
pub(crate) fn runs<T: Send>(runs: u64, seed: u64, run: impl Fn(Rng) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(0);
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs {
                        break;
                    }
                    let result = run(Rng::with_seed(seed * 1_000_003 + number));
                    results.lock().expect("no run panics").push((number, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no run panics");
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}
