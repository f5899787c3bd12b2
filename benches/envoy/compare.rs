//! What a shadow costs whose answers are compared, beside Envoy's own mirror, which throws them away.
//!
//! Five Envoys stand beside each other and get the same documents in turn, from clients that send the next request as
//! soon as they have the last answer: Envoy alone and with its own mirror, and Changeover without a mirror, with one that
//! compares and gets no request (`percent: 0`), and with one that compares all. Where the mirror gets any, all requests are mirrored.

use bytes::Bytes;
use fastrand::Rng;
use serde_json::{Value, json};

use super::bodies::digits;
use super::cpu::Cpus;
use super::harness::{Config, Envoy, Made, Make, Setup, Upstream, wait_for};
use super::round::{self, Sample};
use super::turns::{self, Running};
use super::variants::replaced;

/// Different documents of each size.
const DOCUMENTS: usize = 64;
pub(crate) const PATH: &str = "/v2/models/digits/infer";

/// For which a copy waits.
const TIMEOUT: &str = "2s";

/// The variants, in their order in samples.
pub(crate) const VARIANTS: [&str; 5] =
    ["Envoy", "Envoy, mirror", "Changeover", "Changeover, none drawn", "Changeover, compare"];

/// Bytes of the documents.
pub(crate) const SIZES: [usize; 2] = [1_000, 16_000];

/// What was measured with documents of a size: by round and variant.
pub(crate) struct Compared {
    pub(crate) size: usize,
    pub(crate) samples: Vec<Vec<Sample>>,
    /// Pairs that were compared, of all answers of the variant that compares.
    pub(crate) share: f64,
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
                let setup =
                    setup(variant).clusters(&upstreams.each_ref().map(|of| (of.name(), of.address())));
                running.push(Running::start(setup, cpus, (PATH, asked.clone())).await);
            }
            turns::take(&mut running, rng).await;
            compared += pairs(&running[VARIANTS.len() - 1].envoy).await;
            answered += round::float(running[VARIANTS.len() - 1].answers);
            samples.push(running.into_iter().map(Running::sample).collect());
            println!("comparing: {size} bytes, round {number} of {rounds}");
        }
        all.push(Compared { size, samples, share: compared / answered });
    }
    all
}

/// Waits until nothing is under way; pairs that were compared.
pub(crate) async fn pairs(envoy: &Envoy) -> f64 {
    wait_for("the last pairs", async || {
        let metrics = envoy.metrics().await;
        let of = |result: &str| metrics.sum("changeover_mirror_requests_total", &[("result", result)]);
        let ended = of("matched") + of("differed") + of("failed") + of("cancelled");
        (of("sent") == ended).then(|| of("matched") + of("differed"))
    })
    .await
}

/// Copies that were sent.
pub(crate) async fn sent(envoy: &Envoy) -> f64 {
    envoy.metrics().await.sum("changeover_mirror_requests_total", &[("result", "sent")])
}

/// A mirror that compares so many percent of all requests.
pub(crate) fn comparing(percent: u32, timeout: &str) -> Setup {
    Setup::shipped(Config::rollout(&format!(
        "mirror: {{to: green, mode: compare, percent: {percent}, methods: [POST], timeout: {timeout}, max_in_flight: 1024, \
         compare: {{label: /outputs/0/data/0}}}}"
    )))
}

fn setup(variant: usize) -> Setup {
    let native = |policies: Value| {
        replaced(Setup::plain(), "benches/envoy/native.yaml").edit_hcm(move |hcm| {
            hcm["route_config"] = json!({"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": "blue", "request_mirror_policies": policies}},
            ]}]});
        })
    };
    match variant {
        0 => native(json!([])),
        1 => native(json!([{"cluster": "green"}])),
        2 => Setup::shipped(Config::rollout("")),
        3 => comparing(0, TIMEOUT),
        _ => comparing(100, TIMEOUT),
    }
}
