//! What a push of many rollouts costs a worker, how long requests wait for it, and when the API shows all of them.
//!
//! A worker reads a push at once and compiles it in pieces, between which requests are served. Its cost is the CPU that
//! the worker's thread uses from the push until it shows the new configuration, less what its light load uses in the
//! same time anyway. How long requests wait is a client's slowest answer meanwhile: that includes whatever else delays
//! it. Of judged rollouts the leader also defines series and workers follow their first weights: those are pushed to two workers under
//! more load, and what counts is how much slower the slowest answer is than without a push.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::cpu::{Cpus, Times};
use super::harness::{Envoy, Load, Setup, control, request};
use super::load::{Client, USERS};
use super::upstream::Upstream;
use super::variants::{common, judged_rollouts, names_of_judged, thousand_rollouts};

const WORKER: &str = "wrk:worker_0";
const PUSHES: usize = 10;
/// Between two requests of the client.
const PAUSE: Duration = Duration::from_millis(1);
/// Of judged rollouts.
const MOST_PUSHES: usize = 3;
/// Requests a second beside the client's, while judged rollouts are pushed.
const LOAD: f64 = 500.0;
/// For how long the slowest answer is looked for, at least: some ticks.
const LOOK: Duration = Duration::from_secs(5);
/// Rollouts on a page of the API.
const PAGE: usize = 100;

/// What one push cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Push {
    /// CPU of the worker's thread, in milliseconds.
    pub(crate) cpu: f64,
    /// The client's slowest answer, in milliseconds.
    pub(crate) slowest_answer: f64,
}

/// What pushes of judged rollouts did, in the worst of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Judged {
    pub(crate) rollouts: usize,
    pub(crate) pushes: usize,
    /// The client's slowest answer while nothing is pushed, in milliseconds.
    pub(crate) slowest_before: f64,
    /// The same from a push on.
    pub(crate) slowest: f64,
    /// Seconds from a push until the API shows each rollout at its step.
    pub(crate) complete: f64,
}

/// Pushes 1,000 rollouts again and again, each time as another release.
pub(crate) async fn measure(cpus: &Cpus) -> Vec<Push> {
    let upstreams = [Upstream::start("blue").await, Upstream::start("green").await];
    // On all CPUs: what is measured is not how the main thread's work delays the worker on one.
    let setup = common(Setup::shipped_ecds(thousand_rollouts("0")), &upstreams);
    let envoy = setup.on_cpus(&cpus.all).start().await;
    let mut hash = envoy.wait_for_hash_other_than(None).await;
    let asking = Asking::start(&envoy).await;
    let usual = usual_load(&envoy).await;
    let mut pushes = Vec::with_capacity(PUSHES);
    for number in 1..=PUSHES {
        asking.take_slowest();
        let (begun, cpu) = (Instant::now(), worker(&envoy));
        envoy.push(&thousand_rollouts(&number.to_string())).await;
        hash = envoy.wait_for_hash_other_than(Some(hash)).await;
        let used = (worker(&envoy) - cpu).as_secs_f64();
        pushes.push(Push {
            cpu: (used - usual * begun.elapsed().as_secs_f64()) * 1e3,
            slowest_answer: asking.take_slowest(),
        });
    }
    asking.stop().await;
    pushes
}

/// Pushes so many judged rollouts, a few times, each time as another release.
pub(crate) async fn judged(rounds: usize, cpus: &Cpus, counts: &[usize]) -> Vec<Judged> {
    let mut all = Vec::with_capacity(counts.len());
    for &rollouts in counts {
        all.push(judged_one(rollouts, rounds.min(MOST_PUSHES), cpus).await);
    }
    all
}

async fn judged_one(rollouts: usize, pushes: usize, cpus: &Cpus) -> Judged {
    let upstreams = [Upstream::start("blue").await, Upstream::start("green").await];
    let setup = common(Setup::shipped_ecds(judged_rollouts(1, "0")), &upstreams).control().workers(2);
    let envoy = setup.on_cpus(&cpus.all).start().await;
    let names = names_of_judged(rollouts);
    complete(&envoy, &names[..1], "0").await;
    let path = move |number: u64| format!("/v2/models/m{:04}/infer", number % rollouts as u64);
    let load = Load::to(envoy.address()).connections(16).per_second(LOAD);
    let load = load.each(move |number| request("GET", &path(number), &[], "")).start();
    let asking = Asking::start(&envoy).await;
    sleep(LOOK / 5).await;
    asking.take_slowest();
    sleep(LOOK).await;
    let slowest_before = asking.take_slowest();
    let mut worst = Judged { rollouts, pushes, slowest_before, ..Judged::default() };
    for number in 1..=pushes {
        let release = number.to_string();
        asking.take_slowest();
        let begun = Instant::now();
        envoy.push(&judged_rollouts(rollouts, &release)).await;
        complete(&envoy, &names, &release).await;
        worst.complete = worst.complete.max(begun.elapsed().as_secs_f64());
        sleep(LOOK.saturating_sub(begun.elapsed())).await;
        worst.slowest = worst.slowest.max(asking.take_slowest());
    }
    asking.stop().await;
    load.stop().await.assert_all_ok();
    worst
}

/// Waits until the API shows these rollouts, all there are by name, at the step of this release.
async fn complete(envoy: &Envoy, names: &[String], release: &str) {
    let is_there = |rollout: &Value| rollout["release"] == release && rollout["phase"] == "paused";
    let mut after = String::new();
    for expected in names.chunks(PAGE) {
        loop {
            let (_, page) = control::get(envoy, &format!("/v1/rollouts{after}")).await;
            let shown = page["rollouts"].as_array().cloned().unwrap_or_default();
            let is_at = |(at, name): (usize, &String)| {
                shown.get(at).is_some_and(|rollout| rollout["name"] == **name && is_there(rollout))
            };
            let Some(missing) = expected.iter().enumerate().find(|entry| !is_at(*entry)) else { break };
            // One rollout is asked for more often than a page may be.
            while !is_there(&control::get(envoy, &format!("/v1/rollouts/{}", missing.1)).await.1) {
                sleep(10 * PAUSE).await;
            }
        }
        after = format!("?after={}", expected.last().expect("chunks are not empty"));
    }
}

/// A client that sends a request some time after each answer.
struct Asking {
    slowest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Asking {
    async fn start(envoy: &Envoy) -> Self {
        let (slowest, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let mut client = Client::connect(envoy.address()).await;
        let task = tokio::spawn({
            let (slowest, stop) = (Arc::clone(&slowest), Arc::clone(&stop));
            async move {
                for user in (0..USERS).cycle() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let begun = Instant::now();
                    client.ask(user).await;
                    let took = u64::try_from(begun.elapsed().as_nanos()).expect("not for centuries");
                    slowest.fetch_max(took, Ordering::Relaxed);
                    sleep(PAUSE).await;
                }
            }
        });
        Self { slowest, stop, task }
    }

    /// Milliseconds of the slowest answer since the last call.
    fn take_slowest(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let slowest = self.slowest.swap(0, Ordering::Relaxed) as f64;
        slowest / 1e6
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("good answers");
    }
}

/// How long the worker's thread has run.
fn worker(envoy: &Envoy) -> Duration {
    Times::of_thread(envoy.id(), WORKER).ran
}

/// Which share of a CPU the worker uses under the client's load alone.
async fn usual_load(envoy: &Envoy) -> f64 {
    let (begun, cpu) = (Instant::now(), worker(envoy));
    sleep(Duration::from_secs(1)).await;
    (worker(envoy) - cpu).as_secs_f64() / begun.elapsed().as_secs_f64()
}
