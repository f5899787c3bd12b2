//! The module against recorded messages of model servers and their clients.

mod exchange;
mod fields;
mod infer_message;
mod open_inference;
mod openai;
mod reading;
mod tf_serving;

use std::rc::Rc;

use super::encoding::Inflaters;
use super::head::Head;
use super::preset::{Preset, Spec};
use super::protocol::{Direction, Protocol};
use super::reading::Reading;
use super::summary::{Outcome, Summary};

/// A message.
pub(crate) struct Message {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// A recorded message: `NAME.request` or `NAME.response`.
pub(crate) fn recorded(name: &str) -> Message {
    let path = format!("{}/tests/fixtures/payload/{name}.http", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("headers");
    let headers = String::from_utf8(bytes[..end].to_vec()).expect("text");
    let header = |name: &str| {
        let lines = headers.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let head = Head::new(
        header("content-type").as_deref().map(str::as_bytes),
        header("content-encoding").as_deref().map(str::as_bytes),
        header("inference-header-content-length").as_deref().map(str::as_bytes),
    );
    let body = &bytes[end + 4..];
    let chunked = header("transfer-encoding").is_some_and(|value| value == "chunked");
    Message { head, body: if chunked { dechunked(body) } else { body.to_vec() } }
}

fn dechunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let size =
            usize::from_str_radix(std::str::from_utf8(&body[..end]).expect("text"), 16).expect("a size");
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
    whole
}

pub(crate) fn preset(spec: &Spec) -> Rc<Preset> {
    Rc::new(Preset::new(spec).expect("a preset"))
}

fn read_chunks<'a>(preset: &Rc<Preset>, head: &Head, chunks: impl Iterator<Item = &'a [u8]>) -> Summary {
    let mut reading = Reading::new(preset, head, &Inflaters::new(1));
    chunks.for_each(|chunk| reading.read(chunk));
    let mut summary = reading.finish();
    // The chunk counts as a whole in which it turned out.
    if matches!(summary.outcome, Outcome::Malformed | Outcome::TooComplex) {
        summary.bytes_read = 0;
    }
    summary
}

/// Reads a message whole, split in two at every byte, and byte by byte: each time with the same result.
pub(crate) fn read_message(spec: &Spec, message: &Message) -> Summary {
    let preset = preset(spec);
    let body = message.body.as_slice();
    let whole = read_chunks(&preset, &message.head, std::iter::once(body));
    // A long body at fewer places: one that is coprime to the lengths of words and lines.
    for at in (0..=body.len()).step_by(1 + body.len() / 1000) {
        let (first, second) = body.split_at(at);
        assert_eq!(read_chunks(&preset, &message.head, [first, second].into_iter()), whole, "split at {at}");
    }
    for step in [1, 2, 3, 7, 64] {
        assert_eq!(read_chunks(&preset, &message.head, body.chunks(step)), whole, "by {step}");
    }
    whole
}

/// Reads a recorded message by a protocol.
pub(crate) fn read(protocol: Protocol, name: &str) -> Summary {
    let direction = if name.ends_with(".request") { Direction::Input } else { Direction::Output };
    read_message(&Spec::new(protocol, direction), &recorded(name))
}

/// Reads a document by a protocol.
pub(crate) fn read_json(spec: &Spec, document: &str) -> Summary {
    read_message(spec, &Message { head: Head::default(), body: document.as_bytes().to_vec() })
}
