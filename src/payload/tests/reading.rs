//! Limits and ends of a message.

use super::{Message, preset, read_chunks, read_json, read_message, recorded};
use crate::payload::encoding::Inflaters;
use crate::payload::head::{Encoding, Framing, Head};
use crate::payload::preset::Spec;
use crate::payload::protocol::{Direction, Protocol};
use crate::payload::reading::Reading;
use crate::payload::summary::Outcome;

fn spec() -> Spec {
    Spec::new(Protocol::OpenInference, Direction::Output)
}

fn of(head: Head, body: &[u8]) -> Outcome {
    read_message(&spec(), &Message { head, body: body.to_vec() }).outcome
}

#[test]
fn every_end_of_a_body_has_its_outcome() {
    let json = Head::default();
    assert_eq!(of(json, b"{}"), Outcome::Read);
    assert_eq!(of(json, b""), Outcome::Empty);
    assert_eq!(of(json, b" "), Outcome::Empty);
    assert_eq!(of(json, b"{"), Outcome::Truncated);
    assert_eq!(of(json, b"<html>"), Outcome::Malformed);
    assert_eq!(of(json, b"{} {}"), Outcome::Malformed);
    let deep = format!("{{\"outputs\":[{{\"data\":{}", "[".repeat(100));
    assert_eq!(of(json, deep.as_bytes()), Outcome::TooComplex);
    assert_eq!(of(Head { framing: Framing::Other, ..json }, b"a,b"), Outcome::SkippedType);
    assert_eq!(of(Head { encoding: Encoding::Other, ..json }, b"\x0b\x02"), Outcome::SkippedEncoding);
    assert_eq!(of(Head { encoding: Encoding::Gzip, ..json }, b"{}"), Outcome::Malformed);
    assert_eq!(of(Head { encoding: Encoding::Gzip, ..json }, &[0x1f, 0x8b]), Outcome::Truncated);
    let grpc = Head { framing: Framing::Grpc, infers: true, ..json };
    assert_eq!(of(grpc, &[0, 0, 0, 0, 0]), Outcome::Read);
    assert_eq!(of(grpc, &[0, 0, 0, 0, 1]), Outcome::Truncated);
    assert_eq!(of(grpc, &[0, 0, 0, 0, 1, 8]), Outcome::Malformed);
    assert_eq!(of(grpc, &[1, 0, 0, 0, 1, 8]), Outcome::SkippedEncoding);
    assert_eq!(of(grpc, b"{}"), Outcome::Malformed);
    assert_eq!(of(Head { infers: false, ..grpc }, &[0, 0, 0, 0, 1, 8]), Outcome::SkippedType);
    let names: std::collections::BTreeSet<&str> = Outcome::ALL.iter().map(|outcome| outcome.name()).collect();
    assert_eq!(names.len(), Outcome::ALL.len());
}

#[test]
fn the_raw_data_of_a_tensor_is_of_a_type_that_is_not_read() {
    let head = Head::new(Some(b"application/octet-stream"), None, Some(b"0"));
    assert_eq!(of(head, &[0, 0, 128, 63]), Outcome::SkippedType);
}

#[test]
fn an_empty_piece_changes_nothing() {
    for json_length in [None, Some(0), Some(2)] {
        for body in ["", "{}"] {
            let head = Head { json_length, ..Head::default() };
            let pieces = |pieces: &[&str]| {
                read_chunks(&preset(&spec()), &head, pieces.iter().map(|piece| piece.as_bytes()))
            };
            assert_eq!(pieces(&["", body, ""]), pieces(&[body]), "{json_length:?} {body}");
        }
    }
}

#[test]
fn only_max_body_is_read_and_what_stands_before_counts() {
    let body = r#"{"outputs":[{"name":"a","data":[1]}],"error":"x"}"#;
    let of = |max_body| read_json(&Spec { max_body, ..spec() }, body);
    assert_eq!(of(body.len() as u64).outcome, Outcome::Read);
    let summary = of(body.len() as u64 - 1);
    assert_eq!((summary.outcome, summary.bytes), (Outcome::TooLarge, body.len() as u64));
    assert_eq!(summary.bytes_read, body.len() as u64 - 1);
    assert_eq!(summary.seen.tensors.len(), 1);
}

#[test]
fn max_body_counts_what_comes_out_of_a_compressed_body() {
    let text = format!("{{\"x\":\"{}\"}}", "a".repeat(100_000_000));
    let body = miniz_oxide::deflate::compress_to_vec_zlib(text.as_bytes(), 1);
    let head = Head { encoding: Encoding::Deflate, ..Head::default() };
    let inflaters = Inflaters::new(1);
    let mut reading = Reading::new(&preset(&spec()), &head, &inflaters);
    body.chunks(1000).for_each(|chunk| reading.read(chunk));
    assert!(!reading.wants_bytes());
    // Its inflater is free for another stream as soon as it is not needed.
    let mut other = Reading::new(&preset(&spec()), &head, &inflaters);
    other.read(&body[..100]);
    assert!(other.wants_bytes());
    let summary = reading.finish();
    assert_eq!((summary.outcome, summary.bytes_read), (Outcome::TooLarge, 1 << 20));
    assert_eq!(summary.bytes, body.len() as u64);
}

#[test]
fn a_stream_is_read_to_its_end_if_each_event_is_within_max_body() {
    let message = recorded("vllm-chat-stream-usage.response");
    let spec = |max_body| Spec { max_body, ..Spec::new(Protocol::OpenAi, Direction::Output) };
    let summary = read_message(&spec(1000), &message);
    assert_eq!((summary.outcome, summary.is_error(), summary.is_cut()), (Outcome::Read, false, Some(true)));
    assert_eq!((summary.seen.usage.output, summary.bytes_read), (Some(12), message.body.len() as u64));
    // An error behind max_body is seen, and so is an answer without one.
    let event = |text: &str| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    };
    let head = Head { framing: Framing::Events, ..Head::default() };
    let read = |body: String| read_message(&spec(1000), &Message { head, body: body.into_bytes() });
    let error = read(format!("{}data: {{\"error\":\"no memory\"}}\n\n", event("a").repeat(100)));
    assert_eq!((error.outcome, error.is_error()), (Outcome::Read, true));
    let long = read(format!("{}{}", event("a").repeat(100), event(&"a".repeat(1000))));
    assert_eq!((long.outcome, long.is_error()), (Outcome::TooLarge, false));
    assert_eq!(long.seen.stream.map(|stream| stream.events), Some(100));
}

#[test]
fn a_request_in_events_is_read_up_to_max_body() {
    let head = Head { framing: Framing::Events, ..Head::default() };
    let spec = Spec { max_body: 1000, ..Spec::new(Protocol::Json, Direction::Input) };
    let summary = read_message(&spec, &Message { head, body: b"data: {}\n\n".repeat(200) });
    assert_eq!((summary.outcome, summary.bytes_read), (Outcome::TooLarge, 1000));
}

#[test]
fn of_a_compressed_stream_so_much_is_read_as_its_length_allows() {
    let stream = |events: usize| {
        let body = miniz_oxide::deflate::compress_to_vec_zlib(&b"data: {}\n\n".repeat(events), 6);
        let head = Head { framing: Framing::Events, encoding: Encoding::Deflate, ..Head::default() };
        let spec = Spec { max_body: 10_000, ..Spec::new(Protocol::Json, Direction::Output) };
        let length = body.len() as u64;
        (read_chunks(&preset(&spec), &head, std::iter::once(&body[..])), length)
    };
    assert_eq!(stream(1_000).0.outcome, Outcome::Read);
    let (bomb, length) = stream(100_000);
    assert_eq!((bomb.outcome, bomb.bytes_read), (Outcome::TooLarge, 10_000 + 32 * length));
}

#[test]
fn a_stream_of_a_protocol_without_a_sign_of_an_end_is_no_error() {
    let head = Head { framing: Framing::Events, ..Head::default() };
    let body = b"data: {\"token\":{\"text\":\"a\"}}\n\ndata: {\"generated_text\":\"ab\"}\n\n";
    for (protocol, is_error) in [
        (Protocol::Json, false),
        (Protocol::TfServing, false),
        (Protocol::OpenInference, false),
        (Protocol::OpenAi, true),
    ] {
        let spec = Spec::new(protocol, Direction::Output);
        let summary = read_message(&spec, &Message { head, body: body.to_vec() });
        assert_eq!((summary.outcome, summary.is_error()), (Outcome::Read, is_error), "{protocol:?}");
        assert_eq!(summary.is_null(), None, "{protocol:?}");
    }
    let body = b"data: {\"error\":\"no memory\"}\n\n".to_vec();
    assert!(read_message(&spec(), &Message { head, body }).is_error());
}

#[test]
fn compressed_bodies_beyond_the_cap_are_skipped() {
    let message = recorded("mlserver-proba-gzip.response");
    let mut reading = Reading::new(&preset(&spec()), &message.head, &Inflaters::new(0));
    reading.read(&message.body);
    assert!(!reading.wants_bytes());
    let summary = reading.finish();
    assert_eq!(
        (summary.outcome, summary.bytes, summary.bytes_read),
        (Outcome::SkippedMemory, message.body.len() as u64, 0)
    );
}

#[test]
fn a_body_whose_message_goes_on_leaves_its_inflater_to_another() {
    let message = recorded("mlserver-proba-gzip.response");
    let half = &message.body[..300];
    let inflaters = Inflaters::new(1);
    let begun = || {
        let mut reading = Reading::new(&preset(&spec()), &message.head, &inflaters);
        reading.read(half);
        reading
    };
    let (mut first, second) = (begun(), begun());
    first.end();
    let third = begun();
    let outcomes = [first, second, third].map(|reading| reading.finish().outcome);
    assert_eq!(outcomes, [Outcome::Truncated, Outcome::SkippedMemory, Outcome::Truncated]);
}

#[test]
fn a_compressed_document_without_its_checksum_is_read_and_half_of_one_is_truncated() {
    let mut message = recorded("mlserver-proba-gzip.response");
    message.body.truncate(message.body.len() - 8);
    assert_eq!(read_message(&spec(), &message).outcome, Outcome::Read);
    message.body.truncate(300);
    assert_eq!(read_message(&spec(), &message).outcome, Outcome::Truncated);
}

#[test]
fn messages_of_unknown_content_are_counted() {
    for (name, bytes) in [("mlserver-grpc-raw.response", 85), ("triton-grpc-raw.response", 193)] {
        let path = format!("{}/tests/fixtures/payload/{name}.pb", env!("CARGO_MANIFEST_DIR"));
        let message = std::fs::read(path).unwrap();
        let body = [&[0, 0, 0, 0, bytes][..], &message].concat();
        let head = Head { framing: Framing::Grpc, ..Head::default() };
        let summary = read_message(&spec(), &Message { head, body });
        let grpc = summary.seen.grpc.unwrap();
        assert_eq!(
            (summary.outcome, grpc.messages, grpc.bytes),
            (Outcome::SkippedType, 1, u64::from(bytes)),
            "{name}"
        );
    }
}

/// 10,000 messages, each a recorded one with some of its bytes changed.
#[test]
fn damaged_messages_of_every_protocol_read_the_same_however_they_are_split() {
    let folder = format!("{}/tests/fixtures/payload", env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".http").map(str::to_owned))
        .collect();
    names.sort();
    let messages: Vec<(bool, Message)> =
        names.iter().map(|name| (name.ends_with(".request"), recorded(name))).collect();
    let protocols = [Protocol::OpenInference, Protocol::TfServing, Protocol::OpenAi];
    let presets = protocols.map(|protocol| {
        [Direction::Output, Direction::Input].map(|direction| preset(&Spec::new(protocol, direction)))
    });
    let mut random = fastrand::Rng::with_seed(15);
    for round in 0..10_000 {
        let (is_request, message) = &messages[random.usize(..messages.len())];
        let preset = &presets[round % 3][usize::from(*is_request)];
        let mut body = message.body.clone();
        for _ in 0..random.usize(1..5) {
            if body.is_empty() {
                break;
            }
            let at = random.usize(..body.len());
            match random.u8(..4) {
                0 => body[at] = random.u8(..),
                1 => body[at] = b"\"\\[]{},:0-.eN\n "[random.usize(..15)],
                2 => body.truncate(at),
                _ => {
                    let end = random.usize(at..body.len());
                    body.drain(at..end);
                }
            }
        }
        let whole = read_chunks(preset, &message.head, std::iter::once(&body[..]));
        let step = random.usize(1..100);
        assert_eq!(read_chunks(preset, &message.head, body.chunks(step)), whole, "{round}");
    }
}
