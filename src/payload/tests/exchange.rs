use super::{Message, preset, read_message};
use crate::payload::encoding::Inflaters;
use crate::payload::exchange::{Exchange, Places, Source};
use crate::payload::head::{Encoding, Framing, Head};
use crate::payload::preset::Spec;
use crate::payload::protocol::{Direction, Protocol};
use crate::payload::reading::Reading;
use crate::payload::summary::Summary;
use crate::signal::observed::Observed;

const JSON: Head =
    Head { encoding: Encoding::Identity, framing: Framing::Json, json_length: None, infers: false };
const OTHER: Head = Head { framing: Framing::Other, ..JSON };
const GRPC: Head = Head { framing: Framing::Grpc, ..JSON };

fn spec(direction: Direction) -> Spec {
    Spec::new(Protocol::TfServing, direction)
}

fn answer(head: Head, body: &[u8]) -> Summary {
    read_message(&spec(Direction::Output), &Message { head, body: body.to_vec() })
}

fn asked(head: Head) -> Summary {
    read_message(&spec(Direction::Input), &Message { head, body: b"{}".to_vec() })
}

fn observe(source: &Source, asked: Summary, answer: Summary, is_due: bool) -> Option<Observed> {
    let exchange =
        Exchange { input: Some(asked), output: Some(answer), is_due, first_token: None, generated: 0 };
    exchange.observe(source, &Places::default())
}

/// Whether an answer to a JSON request is unreadable.
fn unreadable(answer: Summary) -> Option<bool> {
    match observe(&Source::Unreadable, asked(JSON), answer, true) {
        Some(Observed::Event(is_unreadable)) => Some(is_unreadable),
        None => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_that_are_empty_or_broken_or_of_another_type_are_unreadable() {
    assert_eq!(unreadable(answer(JSON, br#"{"predictions":[1]}"#)), Some(false));
    assert_eq!(
        unreadable(answer(JSON, br#"{"predictions":[null]}"#)),
        Some(false),
        "that is `output.null`'s"
    );
    for broken in [&b""[..], br#"{"predictions":[1"#, b"<html>busy</html>"] {
        assert_eq!(unreadable(answer(JSON, broken)), Some(true), "{broken:?}");
    }
    assert_eq!(unreadable(answer(OTHER, b"<html>busy</html>")), Some(true));
    assert_eq!(unreadable(answer(Head { framing: Framing::Events, ..JSON }, b"data: {\n\n")), Some(true));
    assert_eq!(unreadable(answer(GRPC, &[0, 0, 0, 0, 9, 1])), None, "a method that is not read");
}

#[test]
fn what_is_not_read_here_is_not_the_answers_fault() {
    let encoded = Head { encoding: Encoding::Other, ..JSON };
    assert_eq!(unreadable(answer(encoded, b"...")), None);
    let large = Spec { max_body: 3, ..spec(Direction::Output) };
    assert_eq!(unreadable(read_message(&large, &Message { head: JSON, body: b"[1, 2]".to_vec() })), None);
    let deep = [b"{\"predictions\":".to_vec(), vec![b'['; 100], vec![b']'; 100], b"}".to_vec()].concat();
    assert_eq!(unreadable(answer(JSON, &deep)), None);
    let mut reading = Reading::new(
        &preset(&spec(Direction::Output)),
        &Head { encoding: Encoding::Gzip, ..JSON },
        &Inflaters::new(0),
    );
    reading.read(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(unreadable(reading.finish()), None);
}

#[test]
fn what_the_client_asked_for_is_not_the_answers_fault() {
    for answer in [answer(JSON, b""), answer(OTHER, b"<html>"), answer(JSON, b"{")] {
        assert_eq!(observe(&Source::Unreadable, asked(JSON), answer, false), None, "not due");
    }
    let other = observe(&Source::Unreadable, asked(OTHER), answer(OTHER, b"RIFF"), true);
    assert_eq!(other, None, "nor was the request JSON");
    assert_eq!(unreadable(answer(GRPC, b"")), None, "a refusal");
}

#[test]
fn an_answer_that_breaks_off_is_not_seen_to_be_without_error() {
    let observed = |head, body: &[u8]| observe(&Source::ErrorObject, asked(JSON), answer(head, body), true);
    assert_eq!(observed(JSON, br#"{"predictions":[1]}"#), Some(Observed::Event(false)));
    assert_eq!(observed(JSON, br#"{"error":"no memory"}"#), Some(Observed::Event(true)));
    assert_eq!(observed(JSON, br#"{"error":"no memory","x":"#), Some(Observed::Event(true)));
    assert_eq!(observed(JSON, br#"{"predictions":[1"#), None);
    assert_eq!(observed(JSON, b""), None);
}
