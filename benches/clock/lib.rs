//! What reading costs by the clock inside the sandbox: the module's own reader, on documents that are all different, so
//! that no branch predictor has learned them. A filter that does nothing else; it measures once, when it starts, and
//! logs a line of JSON for each kind of document.

#![cfg(target_arch = "wasm32")]
#![allow(missing_docs)] // the entry point that the SDK's macro makes
// A benchmark may fail, and counts with small numbers.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss
)]

use std::rc::Rc;

use changeover::payload::encoding::Inflaters;
use changeover::payload::head::{Framing, Head};
use changeover::payload::preset::{Preset, Spec};
use changeover::payload::protocol::{Direction, Protocol};
use changeover::payload::reading::Reading;
use changeover::payload::summary::{Outcome, Summary};
use fastrand::Rng;
use proxy_wasm::hostcalls::get_current_time;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};

/// Envoy's buffers have pieces of this size.
const PIECE: usize = 16 << 10;
/// Documents of each kind.
const DOCUMENTS: usize = 24;
/// The one with the least time counts: anything else the machine does adds to the others.
const REPETITIONS: usize = 9;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

/// Makes a document, and says how many of what is timed it has.
type Make = fn(&mut Rng) -> (String, f64);

struct Root;

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        let mut rng = Rng::with_seed(1);
        let json = Head::default();
        let events = Head { framing: Framing::Events, ..json };
        let kinds: [(&str, Protocol, Direction, Head, Make); 7] = [
            ("skipping, per byte", Protocol::OpenInference, Direction::Input, json, skipped),
            ("text, per byte", Protocol::OpenAi, Direction::Input, json, text),
            ("short numbers, each", Protocol::OpenInference, Direction::Input, json, short_numbers),
            ("long numbers, each", Protocol::OpenInference, Direction::Input, json, long_numbers),
            ("events of a stream, each", Protocol::OpenAi, Direction::Output, events, stream),
            ("tensors of 8 numbers, each", Protocol::OpenInference, Direction::Input, json, small_tensor),
            ("chats of a sentence, each", Protocol::OpenAi, Direction::Input, json, small_chat),
        ];
        for (name, protocol, direction, head, document) in kinds {
            // Nothing is left out by a limit: what is named is what is read.
            let spec = Spec { max_elements: u64::MAX, max_body: u64::MAX, ..Spec::new(protocol, direction) };
            let preset = Rc::new(Preset::new(&spec).expect("a protocol"));
            let best =
                (0..REPETITIONS).map(|_| once(&mut rng, &preset, &head, document)).min_by(f64::total_cmp);
            log::info!("{{\"what\": \"{name}\", \"nanoseconds\": {:.2}}}", best.unwrap_or_default());
        }
        true
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        None
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// Nanoseconds for each unit of new documents, each read once.
fn once(rng: &mut Rng, preset: &Rc<Preset>, head: &Head, document: fn(&mut Rng) -> (String, f64)) -> f64 {
    let documents: Vec<(String, f64)> = (0..DOCUMENTS).map(|_| document(rng)).collect();
    let inflaters = Inflaters::new(1);
    let begun = get_current_time().expect("a clock");
    let read: Vec<Summary> = documents.iter().map(|(text, _)| read(text, preset, head, &inflaters)).collect();
    let ended = get_current_time().expect("a clock");
    let nanoseconds = ended.duration_since(begun).expect("a clock that does not go back").as_nanos() as f64;
    assert!(read.iter().all(|summary| summary.outcome == Outcome::Read));
    nanoseconds / documents.iter().map(|(_, units)| units).sum::<f64>()
}

fn read(text: &str, preset: &Rc<Preset>, head: &Head, inflaters: &Inflaters) -> Summary {
    let mut reading = Reading::new(preset, head, inflaters);
    text.as_bytes().chunks(PIECE).for_each(|piece| reading.read(piece));
    reading.finish()
}

/// 64 KB of what the protocol does not want: nested objects with text and numbers.
fn skipped(rng: &mut Rng) -> (String, f64) {
    let mut text = String::from("{\"parameters\": [");
    while text.len() < 64 << 10 {
        text.push_str(&format!(
            "{{\"name\": \"{}\", \"at\": [{}, {}]}}, ",
            words(rng, 8),
            rng.u32(..),
            rng.f64()
        ));
    }
    text.push_str("{}]}");
    let bytes = text.len() as f64;
    (text, bytes)
}

/// 64 KB of a message.
fn text(rng: &mut Rng) -> (String, f64) {
    let text = format!("{{\"messages\": [{{\"role\": \"user\", \"content\": \"{}\"}}]}}", words(rng, 10_000));
    let bytes = text.len() as f64;
    (text, bytes)
}

fn short_numbers(rng: &mut Rng) -> (String, f64) {
    let numbers: Vec<String> = (0..8_192).map(|_| format!("{}", f64::from(rng.u8(..17)) / 16.0)).collect();
    (tensor(&numbers), 8_192.0)
}

fn long_numbers(rng: &mut Rng) -> (String, f64) {
    let numbers: Vec<String> = (0..8_192).map(|_| rng.f64().to_string()).collect();
    (tensor(&numbers), 8_192.0)
}

/// What a message costs beside its bytes.
fn small_tensor(rng: &mut Rng) -> (String, f64) {
    let numbers: Vec<String> = (0..8).map(|_| format!("{}", f64::from(rng.u8(..17)) / 16.0)).collect();
    (tensor(&numbers), 1.0)
}

fn small_chat(rng: &mut Rng) -> (String, f64) {
    (format!("{{\"messages\": [{{\"role\": \"user\", \"content\": \"{}\"}}]}}", words(rng, 8)), 1.0)
}

fn tensor(numbers: &[String]) -> String {
    let (count, data) = (numbers.len(), numbers.join(","));
    format!(
        "{{\"inputs\":[{{\"name\":\"x\",\"shape\":[1,{count}],\"datatype\":\"FP32\",\"data\":[{data}]}}]}}"
    )
}

/// Events as vLLM writes them.
fn stream(rng: &mut Rng) -> (String, f64) {
    let mut text = String::new();
    for _ in 0..500 {
        text.push_str(&format!(
            "data: {{\"id\":\"chatcmpl-{:016x}\",\"object\":\"chat.completion.chunk\",\"created\":1795838000,\
             \"model\":\"llama\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}},\"logprobs\":null,\
             \"finish_reason\":null,\"token_ids\":null}}]}}\n\n",
            rng.u64(..),
            words(rng, 1)
        ));
    }
    text.push_str("data: [DONE]\n\n");
    (text, 500.0)
}

fn words(rng: &mut Rng, count: usize) -> String {
    let mut text = String::new();
    for _ in 0..count {
        for _ in 0..rng.usize(2..9) {
            text.push(rng.lowercase());
        }
        text.push(' ');
    }
    text
}
