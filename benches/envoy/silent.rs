//! What clients wait for when a shadow never answers, beside a mirror that gets no request.
//!
//! Two Envoys get the same requests in turn, one after the other with pauses, so that neither is ever busy. Between turns all
//! copies end: what they cost their own Envoy late does not delay the other's requests.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;

use super::bodies::digits;
use super::compare::{self, PATH};
use super::cpu::{Cpus, Times};
use super::harness::{Behaviour, Connection, Envoy, Make, Upstream, request};
use super::round::{self, Sample, Slice};

/// The variants, in their order in samples: the percentage of requests that the shadow gets.
pub(crate) const VARIANTS: [u32; 2] = [0, 100];

/// Requests of a turn, and turns of a round after one that opens connections.
const REQUESTS: usize = 200;
const TURNS: usize = 8;
const PAUSE: Duration = Duration::from_millis(2);
const BYTES: usize = 1_000;
/// For which a copy waits: longer than a few requests take, so that many wait at once.
const TIMEOUT: &str = "500ms";

/// By round and variant.
pub(crate) async fn measure(rounds: usize, cpus: &Cpus, rng: &mut Rng) -> Vec<Vec<Sample>> {
    let (asked, answer) = digits(rng, BYTES);
    let asked = Bytes::from(asked);
    let upstreams = [Upstream::start("blue").await, Upstream::start("green").await];
    upstreams[0].set(Make::by(move |_, _| answer.clone()));
    upstreams[1].set(Behaviour::gate());
    let mut samples = Vec::new();
    for number in 1..=rounds {
        let mut envoys = Vec::new();
        for percent in VARIANTS {
            let clusters = upstreams.each_ref().map(|of| (of.name(), of.address()));
            let setup = compare::comparing(percent, TIMEOUT).clusters(&clusters);
            let envoy = setup.on_cpus(&cpus.envoy).start().await;
            envoys.push((Connection::open(envoy.address()).await.expect("a connection"), envoy));
        }
        let mut slices = VARIANTS.map(|_| Vec::new());
        let mut order = [0, 1];
        for turn in 0..=TURNS {
            rng.shuffle(&mut order);
            for at in order {
                let (connection, envoy) = &mut envoys[at];
                let slice = slice(connection, envoy, &asked).await;
                assert!(compare::pairs(envoy).await == 0.0, "the shadow never answers");
                if turn > 0 {
                    slices[at].push(slice);
                }
            }
        }
        let [none, all] = [0, 1].map(|at| &envoys[at].1);
        let (none, all) = (compare::sent(none).await, compare::sent(all).await);
        assert_eq!((none, all), (0.0, round::float((TURNS + 1) * REQUESTS)), "copies");
        samples.push(slices.map(round::sample).to_vec());
        println!("a shadow that never answers: round {number} of {rounds}");
    }
    samples
}

async fn slice(connection: &mut Connection, envoy: &Envoy, asked: &Bytes) -> Slice {
    let (begun, cpu) = (Instant::now(), Times::of_process(envoy.id()));
    let mut latencies = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        tokio::time::sleep(PAUSE).await;
        let request = request("POST", PATH, &[("content-type", b"application/json")], asked.clone());
        let sent = Instant::now();
        let answer = connection.send(request).await.expect("an answer");
        latencies.push(sent.elapsed());
        assert_eq!(answer.upstream(), "blue");
    }
    Slice { latencies, elapsed: begun.elapsed(), cpu: Times::of_process(envoy.id()) - cpu }
}
