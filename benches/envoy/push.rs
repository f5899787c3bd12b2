//! What a push of 1,000 rollouts costs a worker, and how long requests wait for it.
//!
//! A worker reads a push at once and compiles it in pieces, between which requests are served. Its cost is the CPU that
//! the worker's thread uses from the push until it shows the new configuration, less what its light load uses in the
//! same time anyway. How long requests wait is a client's slowest answer meanwhile: that includes whatever else delays
//! it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::cpu::{Cpus, Times};
use super::harness::{Envoy, Setup};
use super::load::{Client, USERS};
use super::upstream::Upstream;
use super::variants::{common, thousand_rollouts};

const WORKER: &str = "wrk:worker_0";
const PUSHES: usize = 10;
/// Between two requests of the client.
const PAUSE: Duration = Duration::from_millis(1);

/// What one push cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Push {
    /// CPU of the worker's thread, in milliseconds.
    pub(crate) cpu: f64,
    /// The client's slowest answer, in milliseconds.
    pub(crate) slowest_answer: f64,
}

/// Pushes 1,000 rollouts again and again, each time as another release.
pub(crate) async fn measure(cpus: &Cpus) -> Vec<Push> {
    let upstreams = [Upstream::start("blue").await, Upstream::start("green").await];
    // On all CPUs: what is measured is not how the main thread's work delays the worker on one.
    let setup = common(Setup::shipped_ecds(thousand_rollouts("0")), &upstreams);
    let envoy = setup.on_cpus(&cpus.all).start().await;
    let mut hash = envoy.wait_for_hash_other_than(None).await;
    let (slowest, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let mut client = Client::connect(envoy.address()).await;
    let asking = tokio::spawn({
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

    let usual = usual_load(&envoy).await;
    let mut pushes = Vec::with_capacity(PUSHES);
    for number in 1..=PUSHES {
        slowest.store(0, Ordering::Relaxed);
        let (begun, cpu) = (Instant::now(), worker(&envoy));
        envoy.push(&thousand_rollouts(&number.to_string())).await;
        hash = envoy.wait_for_hash_other_than(Some(hash)).await;
        let used = (worker(&envoy) - cpu).as_secs_f64();
        pushes.push(Push {
            cpu: (used - usual * begun.elapsed().as_secs_f64()) * 1e3,
            #[allow(clippy::cast_precision_loss)] // far below 2^52
            slowest_answer: slowest.load(Ordering::Relaxed) as f64 / 1e6,
        });
    }
    stop.store(true, Ordering::Relaxed);
    asking.await.expect("good answers");
    pushes
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
