//! What reading payloads costs: CPU per request by documents of several sizes, the time to the first byte of a stream,
//! and nanoseconds by the clock inside the sandbox.
//!
//! Four Envoys stand beside each other and get the same documents in turn: with an idle filter, with one that fetches
//! both bodies and drops them, and Changeover without and with `payload`. What reading adds is compared with what
//! fetching adds.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use serde_json::Value;

use super::client::Client;
use super::cpu::{Cpus, Times};
use super::harness::{Config, Envoy, Made, Make, Setup, Upstream, read_yaml, wait_for};
use super::round::{self, Sample, Slice};
use super::variants::replaced;

/// Different documents of each kind, so that no branch predictor learns them.
const DOCUMENTS: usize = 64;
/// Of one variant in one turn.
const SLICE: Duration = Duration::from_millis(120);
/// Of each variant with each kind of documents.
const TURNS: usize = 4;
const EVENTS: usize = 200;
/// What benches/clock measures.
const CLOCKED: usize = 7;

/// The variants, in their order in samples.
pub(crate) const VARIANTS: [&str; 4] =
    ["idle filter", "fetches and drops", "Changeover", "Changeover, payload"];

/// A kind of documents.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    protocol: &'static str,
    make: fn(&mut Rng) -> (String, Made),
}

pub(crate) const KINDS: [Kind; 7] = [
    Kind { name: "digits, 1 KB", protocol: "open_inference", make: |rng| digits(rng, 1_000) },
    Kind { name: "digits, 16 KB", protocol: "open_inference", make: |rng| digits(rng, 16_000) },
    Kind { name: "digits, 1 MB", protocol: "open_inference", make: |rng| digits(rng, 1_000_000) },
    Kind { name: "chat, 1 KB", protocol: "openai", make: |rng| chat(rng, 1_000) },
    Kind { name: "chat, 16 KB", protocol: "openai", make: |rng| chat(rng, 16_000) },
    Kind { name: "chat, 1 MB", protocol: "openai", make: |rng| chat(rng, 1_000_000) },
    Kind { name: "stream of 200 events", protocol: "openai", make: stream },
];

/// What was measured with documents of a kind: by round and variant. Of a sample `p50` is the time to the answer's first
/// byte.
pub(crate) struct Bodies {
    pub(crate) kind: &'static Kind,
    pub(crate) samples: Vec<Vec<Sample>>,
}

pub(crate) async fn measure(rounds: usize, cpus: &Cpus, rng: &mut Rng) -> Vec<Bodies> {
    let mut asked = Vec::new();
    let mut answered = Vec::new();
    for kind in &KINDS {
        let documents = (0..DOCUMENTS).map(|_| (kind.make)(rng));
        let (requests, answers): (Vec<String>, Vec<Made>) = documents.unzip();
        asked.push(requests.into_iter().map(Bytes::from).collect::<Vec<_>>());
        answered.push(answers);
    }
    let upstream = Upstream::start("blue").await;
    upstream.set(Make::by(move |number, seen| {
        let kind: usize = seen.target.rsplit('/').next().expect("a path").parse().expect("a kind");
        answered[kind][number as usize % DOCUMENTS].clone()
    }));
    let mut all: Vec<Bodies> = KINDS.iter().map(|kind| Bodies { kind, samples: Vec::new() }).collect();
    for number in 1..=rounds {
        let mut running = Vec::new();
        for variant in 0..VARIANTS.len() {
            let setup = setup(variant).clusters(&[("blue", upstream.address())]);
            let envoy = setup.on_cpus(&cpus.envoy).start().await;
            let client = Client::connect(&envoy, 0).await;
            running.push((envoy, client));
        }
        for (kind, bodies) in all.iter_mut().enumerate() {
            bodies.samples.push(turns(kind, &mut running, &asked[kind], rng).await);
        }
        println!("payloads: round {number} of {rounds}");
    }
    all
}

/// All variants in turn, in an order that changes, with documents of a kind.
async fn turns(kind: usize, running: &mut [(Envoy, Client)], asked: &[Bytes], rng: &mut Rng) -> Vec<Sample> {
    let path = format!("/{}/{kind}", KINDS[kind].protocol);
    let mut slices: Vec<Vec<Slice>> = running.iter().map(|_| Vec::new()).collect();
    let mut order: Vec<usize> = (0..running.len()).collect();
    for turn in 0..=TURNS {
        rng.shuffle(&mut order);
        for at in &order {
            let (envoy, client) = &mut running[*at];
            let (begun, cpu) = (Instant::now(), Times::of_process(envoy.id()));
            let took = client.send_for(SLICE, &path, asked).await;
            let first_bytes = took.into_iter().map(|took| took.first_byte).collect();
            let cpu = Times::of_process(envoy.id()) - cpu;
            // The first one warms up.
            if turn > 0 {
                slices[*at].push(Slice { latencies: first_bytes, elapsed: begun.elapsed(), cpu });
            }
        }
    }
    slices.into_iter().map(round::sample).collect()
}

fn setup(variant: usize) -> Setup {
    let filter = |module: &str| {
        let setup =
            replaced(replaced(Setup::plain(), "benches/envoy/native.yaml"), "benches/envoy/idle.yaml");
        setup.edit_hcm(|hcm| {
            let config = &mut hcm["http_filters"][0]["typed_config"]["config"];
            config["vm_config"]["code"]["local"]["filename"] = module.into();
            hcm["route_config"] = serde_json::json!({"virtual_hosts": [{
                "name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "blue"}}],
            }]});
        })
    };
    // Fields of the rollouts, by protocol.
    let rollouts = |fields: fn(&str) -> String| {
        let rollout = |protocol: &str| {
            format!(
                "{{name: {}, release: \"1\", match: {{prefix: /{protocol}/}}, stable: blue, candidate: green, \
                 versions: {{blue: {{cluster: blue}}, green: {{cluster: blue}}}}{}}}",
                protocol.replace('_', "-"),
                fields(protocol)
            )
        };
        let both = ["open_inference", "openai"].map(rollout).join(", ");
        Setup::shipped(Config::Struct(format!("{{rollouts: [{both}]}}")))
    };
    match variant {
        0 => filter("target/idle.wasm"),
        1 => filter("target/fetch.wasm"),
        2 => rollouts(|_| String::new()),
        _ => rollouts(|protocol| format!(", payload: {{protocol: {protocol}}}")),
    }
}

/// A batch of images, and a label for each.
pub(crate) fn digits(rng: &mut Rng, size: usize) -> (String, Made) {
    let mut data = String::new();
    let mut numbers = 0_usize;
    while data.len() < size.saturating_sub(90) || !numbers.is_multiple_of(64) {
        if numbers > 0 {
            data.push(',');
        }
        let number = f64::from(rng.u8(..17)) / 16.0;
        // As clients write them: 0.0, 0.4375.
        data.push_str(&format!("{number:?}"));
        numbers += 1;
    }
    let rows = numbers / 64;
    let labels: Vec<String> = (0..rows).map(|_| rng.u8(..10).to_string()).collect();
    let asked = format!(
        "{{\"inputs\":[{{\"name\":\"x\",\"shape\":[{rows},64],\"datatype\":\"FP32\",\"data\":[{data}]}}]}}"
    );
    let answer = format!(
        "{{\"model_name\":\"digits\",\"model_version\":\"1\",\"outputs\":[{{\"name\":\"predict\",\
         \"shape\":[{rows},1],\"datatype\":\"INT64\",\"data\":[{}]}}]}}",
        labels.join(",")
    );
    (asked, Made::json(answer))
}

/// A prompt of this size, and as long an answer.
fn chat(rng: &mut Rng, size: usize) -> (String, Made) {
    let asked = format!(
        "{{\"model\":\"llama\",\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}]}}",
        words(rng, size.saturating_sub(70))
    );
    let answer = format!(
        "{{\"id\":\"chatcmpl-{:016x}\",\"object\":\"chat.completion\",\"created\":1795838000,\"model\":\"llama\",\
         \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{}\",\"refusal\":null,\
         \"tool_calls\":[]}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":9,\"total_tokens\":99,\"completion_tokens\":90}}}}",
        rng.u64(..),
        words(rng, size.saturating_sub(330))
    );
    (asked, Made::json(answer))
}

/// A short prompt, and an answer in events as vLLM writes them, each in a chunk of its own.
fn stream(rng: &mut Rng) -> (String, Made) {
    let (asked, _) = chat(rng, 400);
    let asked = asked.replacen('{', "{\"stream\":true,", 1);
    let id = rng.u64(..);
    let event = |delta: String, finish: &str| {
        format!(
            "{{\"id\":\"chatcmpl-{id:016x}\",\"object\":\"chat.completion.chunk\",\"created\":1795838000,\
             \"model\":\"llama\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\
             \"finish_reason\":{finish},\"token_ids\":null}}]}}"
        )
    };
    let mut events: Vec<String> =
        (1..EVENTS).map(|_| event(format!("{{\"content\":\"{}\"}}", words(rng, 5)), "null")).collect();
    events.push(event("{}".into(), "\"stop\""));
    events.push("[DONE]".into());
    (asked, Made::events(events))
}

fn words(rng: &mut Rng, size: usize) -> String {
    let mut text = String::with_capacity(size + 10);
    while text.len() < size {
        (0..rng.usize(2..9)).for_each(|_| text.push(rng.lowercase()));
        text.push(' ');
    }
    text
}

/// Nanoseconds by the clock inside the sandbox: what, and how many.
pub(crate) async fn clock(cpus: &Cpus) -> Vec<(String, f64)> {
    let mut filters = read_yaml("benches/envoy/idle.yaml");
    let config = &mut filters["http_filters"][0]["typed_config"]["config"];
    config["name"] = "clock".into();
    config["vm_config"]["code"]["local"]["filename"] = "target/clock.wasm".into();
    let upstream = Upstream::start("blue").await;
    let setup = Setup::plain().clusters(&[("blue", upstream.address())]);
    let setup = setup.edit_hcm(|hcm| hcm["http_filters"] = filters["http_filters"].take());
    let envoy = setup.on_cpus(&cpus.envoy).start().await;
    wait_for("the clock's figures", async || {
        let log = envoy.log();
        let figures = log.lines().filter_map(|line| {
            let figure: Value = serde_json::from_str(line.get(line.find("{\"what\"")?..)?).ok()?;
            Some((figure["what"].as_str()?.to_owned(), figure["nanoseconds"].as_f64()?))
        });
        // In the order in which they were measured: each VM says so, and they say the same.
        let figures: Vec<(String, f64)> = figures.take(CLOCKED).collect();
        (figures.len() == CLOCKED).then_some(figures)
    })
    .await
}
