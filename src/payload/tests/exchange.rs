use super::{Message, preset, read_message};
use crate::payload::encoding::Inflaters;
use crate::payload::exchange::{Exchange, Places, Source, batch_size, input_length, output_length};
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
fn an_answer_that_the_filter_does_not_read_is_not_unreadable() {
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
fn an_answer_in_the_form_that_the_client_asked_for_is_not_unreadable() {
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

#[test]
fn a_message_has_no_more_elements_than_bytes_whatever_its_shapes_say() {
    let read = |direction, body: &str| {
        let message = Message { head: JSON, body: body.as_bytes().to_vec() };
        read_message(&Spec::new(Protocol::OpenInference, direction), &message)
    };
    let places = Places::default();
    let body = r#"{"inputs":[{"shape":[9007199254740992,2048],"data":[1]}]}"#;
    assert_eq!(input_length(&read(Direction::Input, body), &places), Some(body.len() as u64));
    let body = body.replace("inputs", "outputs");
    assert_eq!(output_length(&read(Direction::Output, &body), &places), Some(body.len() as u64));
    let body = r#"{"inputs":[{"shape":[2,3],"data":[1,2,3,4,5,6]}]}"#;
    assert_eq!(input_length(&read(Direction::Input, body), &places), Some(6));
}

#[test]
fn the_batch_size_of_a_request_is_that_of_its_first_tensor_as_far_as_it_is_known() {
    let size = |protocol, body: &str| {
        let message = Message { head: JSON, body: body.as_bytes().to_vec() };
        batch_size(&read_message(&Spec::new(protocol, Direction::Input), &message))
    };
    let of_v2 = |body: &str| size(Protocol::OpenInference, body);
    assert_eq!(
        of_v2(r#"{"inputs":[{"shape":[2,3],"data":[1,2,3,4,5,6]},{"shape":[7],"data":[1]}]}"#),
        Some(2)
    );
    let absurd = r#"{"inputs":[{"shape":[9007199254740992,1],"data":[1]}]}"#;
    assert_eq!(of_v2(absurd), Some(absurd.len() as u64), "no more than bytes");
    assert_eq!(of_v2(r#"{"inputs":[]}"#), None);
    let of_rows = |body: &str| size(Protocol::TfServing, body);
    assert_eq!(of_rows(r#"{"instances":[[1,2],[3,4],[5,6]]}"#), Some(3));
    assert_eq!(of_rows(r#"{"inputs":{"a":[1,2],"b":[3,4]}}"#), None, "columns by name");
    let many = format!(r#"{{"instances":[{}[1]]}}"#, "[1],".repeat(2_000));
    assert_eq!(of_rows(&many), None, "read in part");
}

#[test]
fn an_answer_in_which_the_model_refuses_is_refused_and_an_error_is_neither() {
    let refused = |body: &str| {
        let message = Message { head: JSON, body: body.as_bytes().to_vec() };
        let answer = read_message(&Spec::new(Protocol::OpenAi, Direction::Output), &message);
        observe(&Source::Refused, asked(JSON), answer, true)
    };
    let choice = |message: &str, finish: &str| {
        format!(r#"{{"choices":[{{"index":0,"message":{{{message}}},"finish_reason":"{finish}"}}]}}"#)
    };
    let event = |refused| Some(Observed::Event(refused));
    assert_eq!(refused(&choice(r#""content":"Yes.","refusal":null"#, "stop")), event(false));
    assert_eq!(refused(&choice(r#""content":null,"refusal":"I cannot.""#, "stop")), event(true));
    assert_eq!(refused(&choice(r#""content":"""#, "content_filter")), event(true));
    assert_eq!(refused(&choice(r#""content":null,"refusal":"I cannot.""#, "error")), None);
    assert_eq!(refused(r#"{"object":"list","data":[{"embedding":[0.5]}]}"#), None, "it has no choices");
}
