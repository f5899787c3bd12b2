//! One round: a new Envoy of each variant, loaded in turn, measured and checked.
//!
//! They stand idle beside each other and get the load in short slices, in an order that changes, so that
//! whatever else happens on the machine happens to all of them. What is left is the luck of each process, where
//! its memory lies for one: for that there are many rounds.

use std::time::{Duration, Instant};

use super::cpu::{Cpus, Times};
use super::harness::{Envoy, Etcd, assert_share};
use super::load::{Client, Load, USERS};
use super::poll::Poller;
use super::upstream::Upstream;
use super::variants::Variant;

/// Until connections, caches and the sandbox's code are what they stay.
const WARM_UP: Duration = Duration::from_millis(300);
const SLICE: Duration = Duration::from_millis(100);
const SLICES: usize = 16;

/// What one Envoy did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) requests_per_second: f64,
    /// Microseconds.
    pub(crate) cpu_per_request: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    /// Milliseconds.
    pub(crate) p99: f64,
    /// For which share of all slices it waited for its CPU.
    pub(crate) waited: f64,
}

/// An Envoy at work.
struct Running<'a> {
    variant: &'a Variant,
    upstreams: [Upstream; 2],
    envoy: Envoy,
    /// Of a fleet.
    _store: Option<Etcd>,
    /// Reads the API while there is load.
    poller: Option<Poller>,
    load: Load,
    /// All requests since the start.
    requests: usize,
    slices: Vec<Slice>,
}

/// What an Envoy did while it had the load.
pub(crate) struct Slice {
    pub(crate) latencies: Vec<Duration>,
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Times,
}

/// A sample of each variant, in their order.
pub(crate) async fn measure(variants: &[Variant], cpus: &Cpus, rng: &mut fastrand::Rng) -> Vec<Sample> {
    let mut running = Vec::with_capacity(variants.len());
    for variant in variants {
        running.push(Running::start(variant, cpus).await);
    }
    let mut order: Vec<usize> = (0..variants.len()).collect();
    for _ in 0..SLICES {
        rng.shuffle(&mut order);
        for at in &order {
            running[*at].slice().await;
        }
    }
    let mut samples = Vec::with_capacity(variants.len());
    for running in running {
        running.check().await;
        samples.push(sample(running.slices));
    }
    samples
}

impl<'a> Running<'a> {
    async fn start(variant: &'a Variant, cpus: &Cpus) -> Self {
        let upstreams = [Upstream::start("blue").await, Upstream::start("green").await];
        let store = if variant.is_fleet() { Some(Etcd::start().await) } else { None };
        let mut setup = variant.setup(&upstreams);
        if let Some(store) = &store {
            setup = setup.store(&[store.address()]);
        }
        let envoy = setup.on_cpus(&cpus.envoy).start().await;
        let mut asked = 0;
        if store.is_some() {
            // Until the store has answered, stable serves: users would change their version once.
            let mut client = Client::connect(envoy.address()).await;
            for user in (0..USERS).cycle() {
                asked += 1;
                if client.ask(user).await == b'g' {
                    break;
                }
            }
        }
        let poller = if variant.is_polled() { Some(Poller::start(&envoy).await) } else { None };
        let mut load = Load::connect(envoy.address()).await;
        let requests = asked + load.send_for(WARM_UP).await.len();
        let slices = Vec::with_capacity(SLICES);
        Self { variant, upstreams, envoy, _store: store, poller, load, requests, slices }
    }

    async fn slice(&mut self) {
        let (begun, cpu) = (Instant::now(), Times::of_process(self.envoy.id()));
        let (latencies, ()) = tokio::join!(self.load.send_for(SLICE), async {
            if let Some(poller) = &mut self.poller {
                poller.read_for(SLICE).await;
            }
        });
        let (cpu, elapsed) = (Times::of_process(self.envoy.id()) - cpu, begun.elapsed());
        self.requests += latencies.len();
        self.slices.push(Slice { latencies, elapsed, cpu });
    }

    /// The clients have seen that all answers were good and that users keep their version. Here: the split is the
    /// configured one, and clients, upstreams and filter counted the same.
    async fn check(&self) {
        let (blue, green) = (self.load.users_of(b'b') as u64, self.load.users_of(b'g') as u64);
        assert_share(green, blue + green, 0.2);
        let answered: usize = self.upstreams.iter().map(Upstream::answered).sum();
        assert_eq!(answered, self.requests, "what upstreams and clients counted");
        assert!(self.poller.as_ref().is_none_or(|poller| poller.pages() > 0), "the API was read");
        if self.variant.counts() {
            let metrics = self.envoy.metrics().await;
            for upstream in &self.upstreams {
                let labels = [("version", upstream.name), ("class", "2xx"), ("outcome", "ok")];
                let counted = metrics.sum("changeover_requests_total", &labels);
                assert_eq!(counted, float(upstream.answered()), "{} by the filter", upstream.name);
            }
        }
    }
}

/// Half of the slices count: those in which Envoy waited least for its CPU, when others had left the caches to it. Which
/// they are does not depend on what is measured.
pub(crate) fn sample(mut slices: Vec<Slice>) -> Sample {
    let elapsed = |slices: &[Slice]| slices.iter().map(|slice| slice.elapsed).sum::<Duration>().as_secs_f64();
    let waited: Duration = slices.iter().map(|slice| slice.cpu.waited).sum();
    let waited = waited.as_secs_f64() / elapsed(&slices);

    slices.sort_unstable_by_key(|slice| slice.cpu.waited);
    slices.truncate(slices.len() / 2);
    let mut latencies: Vec<Duration> = slices.iter().flat_map(|slice| &slice.latencies).copied().collect();
    latencies.sort_unstable();
    let requests = float(latencies.len());
    let cpu: Duration = slices.iter().map(|slice| slice.cpu.ran).sum();
    let quantile = |percent: usize| latencies[latencies.len() * percent / 100].as_secs_f64() * 1e3;
    Sample {
        requests_per_second: requests / elapsed(&slices),
        cpu_per_request: cpu.as_secs_f64() * 1e6 / requests,
        p50: quantile(50),
        p99: quantile(99),
        waited,
    }
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
pub(crate) fn float(count: usize) -> f64 {
    count as f64
}
