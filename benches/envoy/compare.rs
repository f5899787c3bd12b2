//! What a shadow costs whose answers are compared, beside Envoy's own mirror, which throws them away.
//!
//! Four Envoys stand beside each other and get the same documents in turn, from clients that send the next request as
//! soon as they have the last answer: Envoy alone and with its own mirror, and Changeover without a mirror and with one that
//! compares. All requests are mirrored.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use serde_json::{Value, json};

use super::bodies::digits;
use super::client::{Client, Took};
use super::cpu::{Cpus, Times};
use super::harness::{Config, Envoy, Made, Make, Setup, Upstream, wait_for};
use super::round::Sample;
use super::variants::replaced;

/// Different documents of each size.
const DOCUMENTS: usize = 64;
const CONNECTIONS: usize = 16;
/// Of one variant in one turn.
const SLICE: Duration = Duration::from_millis(150);
/// Of each variant with each size, after one that warms up.
const TURNS: usize = 8;

/// The variants, in their order in samples.
pub(crate) const VARIANTS: [&str; 4] = ["Envoy", "Envoy, mirror", "Changeover", "Changeover, compare"];

/// Bytes of the documents.
pub(crate) const SIZES: [usize; 2] = [1_000, 16_000];

/// What was measured with documents of a size: by round and variant.
pub(crate) struct Compared {
    pub(crate) size: usize,
    pub(crate) samples: Vec<Vec<Sample>>,
    /// Pairs that were compared, of all answers of the variant that compares.
    pub(crate) share: f64,
}

/// An Envoy at work, with its upstreams.
struct Running {
    envoy: Envoy,
    clients: Vec<Client>,
    slices: Vec<Slice>,
    answers: u64,
}

/// What an Envoy did while it had the load.
struct Slice {
    took: Vec<Took>,
    elapsed: Duration,
    cpu: Times,
}

pub(crate) async fn measure(rounds: usize, cpus: &Cpus, rng: &mut Rng) -> Vec<Compared> {
    let mut all = Vec::new();
    for size in SIZES {
        let (asked, answers): (Vec<String>, Vec<Made>) = (0..DOCUMENTS).map(|_| digits(rng, size)).unzip();
        let asked: Vec<Bytes> = asked.into_iter().map(Bytes::from).collect();
        // Both models give the same answer.
        let upstreams = [Upstream::start("blue").await, Upstream::start("green").await];
        for upstream in &upstreams {
            let answer = answers[0].clone();
            upstream.set(Make::by(move |_, _| answer.clone()));
        }
        let (mut samples, mut compared, mut answered) = (Vec::new(), 0.0, 0.0);
        for number in 1..=rounds {
            let mut running = Vec::new();
            for variant in 0..VARIANTS.len() {
                running.push(Running::start(variant, &upstreams, cpus).await);
            }
            let mut order: Vec<usize> = (0..running.len()).collect();
            for turn in 0..=TURNS {
                rng.shuffle(&mut order);
                for at in &order {
                    running[*at].slice(&asked).await;
                    if turn == 0 {
                        running[*at].slices.clear();
                    }
                }
            }
            compared += pairs(&running[VARIANTS.len() - 1].envoy).await;
            answered += float(running[VARIANTS.len() - 1].answers);
            samples.push(running.into_iter().map(|running| sample(running.slices)).collect());
            println!("comparing: {size} bytes, round {number} of {rounds}");
        }
        all.push(Compared { size, samples, share: compared / answered });
    }
    all
}

/// Waits until nothing is under way; pairs that were compared.
async fn pairs(envoy: &Envoy) -> f64 {
    wait_for("the last pairs", async || {
        let metrics = envoy.metrics().await;
        let of = |result: &str| metrics.sum("changeover_mirror_requests_total", &[("result", result)]);
        let ended = of("matched") + of("differed") + of("failed") + of("cancelled");
        (of("sent") == ended).then(|| of("matched") + of("differed"))
    })
    .await
}

impl Running {
    async fn start(variant: usize, upstreams: &[Upstream; 2], cpus: &Cpus) -> Self {
        let [blue, green] = upstreams;
        let setup = setup(variant).clusters(&[("blue", blue.address()), ("green", green.address())]);
        let envoy = setup.on_cpus(&cpus.envoy).start().await;
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(Client::connect(&envoy).await);
        }
        Self { envoy, clients, slices: Vec::new(), answers: 0 }
    }

    async fn slice(&mut self, asked: &[Bytes]) {
        let (begun, cpu) = (Instant::now(), Times::of_process(self.envoy.id()));
        let sending = self.clients.drain(..).map(|mut client| {
            let asked = asked.to_vec();
            tokio::spawn(async move {
                let took = client.send_for(SLICE, "/v2/models/digits/infer", &asked).await;
                (client, took)
            })
        });
        let sending: Vec<_> = sending.collect();
        let (mut clients, mut took) = (Vec::new(), Vec::new());
        for client in sending {
            let (client, its) = client.await.expect("good answers");
            clients.push(client);
            took.extend(its);
        }
        self.clients = clients;
        let (cpu, elapsed) = (Times::of_process(self.envoy.id()) - cpu, begun.elapsed());
        self.answers += took.len() as u64;
        self.slices.push(Slice { took, elapsed, cpu });
    }
}

/// What the half of the slices says in which Envoy waited least for its CPU.
fn sample(mut slices: Vec<Slice>) -> Sample {
    slices.sort_unstable_by_key(|slice| slice.cpu.waited);
    slices.truncate(TURNS / 2);
    let elapsed = slices.iter().map(|slice| slice.elapsed).sum::<Duration>().as_secs_f64();
    let ran: Duration = slices.iter().map(|slice| slice.cpu.ran).sum();
    let waited: Duration = slices.iter().map(|slice| slice.cpu.waited).sum();
    let mut took: Vec<Duration> =
        slices.iter().flat_map(|slice| &slice.took).map(|took| took.whole).collect();
    took.sort_unstable();
    let quantile = |percent: usize| took[took.len() * percent / 100].as_secs_f64() * 1e3;
    let requests = float(took.len() as u64);
    Sample {
        requests_per_second: requests / elapsed,
        cpu_per_request: ran.as_secs_f64() * 1e6 / requests,
        p50: quantile(50),
        p99: quantile(99),
        waited: waited.as_secs_f64() / elapsed,
    }
}

fn setup(variant: usize) -> Setup {
    let native = |policies: Value| {
        replaced(Setup::plain(), "benches/envoy/native.yaml").edit_hcm(move |hcm| {
            hcm["route_config"] = json!({"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": "blue", "request_mirror_policies": policies}},
            ]}]});
        })
    };
    let compare = "mirror: {to: green, mode: compare, methods: [POST], timeout: 2s, max_in_flight: 1024, \
                   compare: {label: /outputs/0/data/0}}";
    match variant {
        0 => native(json!([])),
        1 => native(json!([{"cluster": "green"}])),
        2 => Setup::shipped(Config::rollout("")),
        _ => Setup::shipped(Config::rollout(compare)),
    }
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn float(count: u64) -> f64 {
    count as f64
}
