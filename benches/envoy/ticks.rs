//! What the ticks of many judged rollouts cost the VM that leads and the workers.
//!
//! The filter logs at debug level how long each of its timer's callbacks took. What a thread's callbacks take together in a
//! second is its share of a CPU; the longest one is how long a request can wait for it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use super::cpu::Cpus;
use super::harness::{Load, Setup, request, wait_for};
use super::upstream::Upstream;
use super::variants::{common, judged_rollouts};

const WORKERS: u32 = 2;
/// Until all has been set up that is set up once.
const SETTLE: Duration = Duration::from_secs(15);
const MEASURE: Duration = Duration::from_secs(10);

/// What ticks cost one Envoy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks {
    pub(crate) rollouts: usize,
    /// How many of them have requests.
    pub(crate) moving: usize,
    /// Milliseconds of a second that the callbacks of the VM that leads take.
    pub(crate) leader: f64,
    /// The same of the other VMs, on average.
    pub(crate) worker: f64,
    /// The longest callback.
    pub(crate) longest: Longest,
    /// The longest from the start until all was set up.
    pub(crate) longest_at_start: Longest,
}

/// The longest callback, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Longest {
    /// Of the VM that leads, where no requests wait for it if it is the main thread's.
    pub(crate) leader: f64,
    /// Of the others.
    pub(crate) worker: f64,
}

/// Measures so many rollouts, without requests and with some for one in ten. `module`: another build.
pub(crate) async fn measure(cpus: &Cpus, module: Option<&str>, counts: &[usize]) -> Vec<Ticks> {
    let mut all = Vec::new();
    for &rollouts in counts {
        for moving in [0, rollouts / 10] {
            all.push(measure_one(cpus, module, rollouts, moving).await);
        }
    }
    all
}

async fn measure_one(cpus: &Cpus, module: Option<&str>, rollouts: usize, moving: usize) -> Ticks {
    let upstreams = [Upstream::start("blue").await, Upstream::start("green").await];
    let mut setup = common(Setup::shipped(judged_rollouts(rollouts, "1")), &upstreams)
        .workers(WORKERS)
        .on_cpus(&cpus.all);
    if let Some(module) = module {
        setup = setup.module(module);
    }
    let envoy = setup.start().await;
    envoy.admin_post("/logging?wasm=debug").await;
    let load = (moving > 0).then(|| {
        let path = move |number: u64| format!("/v2/models/m{:04}/x", number % moving as u64 * 10);
        let load = Load::to(envoy.address()).connections(4).per_second(2.0 * moving as f64);
        load.each(move |number| request("GET", &path(number), &[], "")).start()
    });
    sleep(SETTLE).await;
    wait_for("ticks", async || (!callbacks(&envoy.log()).is_empty()).then_some(())).await;
    let before = callbacks(&envoy.log());
    let seen: BTreeMap<String, usize> =
        before.iter().map(|(thread, all)| (thread.clone(), all.len())).collect();
    sleep(MEASURE).await;
    let mut after = callbacks(&envoy.log());
    if let Some(load) = load {
        load.stop().await.assert_all_ok();
    }
    for (thread, all) in &mut after {
        all.drain(..seen.get(thread).copied().unwrap_or(0));
    }
    let sum = |all: &Vec<u64>| all.iter().sum::<u64>() as f64 / 1e3 / MEASURE.as_secs_f64();
    let leads = after.iter().max_by(|a, b| sum(a.1).total_cmp(&sum(b.1))).map(|(thread, _)| thread.clone());
    let of = |callbacks: &BTreeMap<String, Vec<u64>>, leader: bool| {
        let threads = callbacks.iter().filter(|(thread, _)| (leads.as_ref() == Some(*thread)) == leader);
        threads.flat_map(|(_, all)| all).copied().max().unwrap_or(0) as f64 / 1e3
    };
    let longest = |callbacks| Longest { leader: of(callbacks, true), worker: of(callbacks, false) };
    let leader = leads.as_ref().map_or(0.0, |leads| sum(&after[leads]));
    let sums: Vec<f64> =
        after.iter().filter(|(thread, _)| leads.as_ref() != Some(*thread)).map(|(_, all)| sum(all)).collect();
    Ticks {
        rollouts,
        moving,
        leader,
        worker: sums.iter().sum::<f64>() / sums.len().max(1) as f64,
        longest: longest(&after),
        longest_at_start: longest(&before),
    }
}

/// By thread, how many microseconds each callback took.
fn callbacks(log: &str) -> BTreeMap<String, Vec<u64>> {
    let mut by_thread = BTreeMap::<String, Vec<u64>>::new();
    for line in log.lines() {
        let Some((_, took)) = line.split_once("changeover: tick ") else { continue };
        let thread = line.split(']').nth(1).unwrap_or_default();
        let microseconds: Option<u64> = took.split(' ').filter_map(|word| word.parse().ok()).nth(1);
        by_thread.entry(thread.to_owned()).or_default().extend(microseconds);
    }
    by_thread
}
