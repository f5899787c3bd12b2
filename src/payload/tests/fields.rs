//! Configured pointers.

use json_sieve::{PlanError, Scalar};

use super::{Message, read_json, read_message, recorded};
use crate::payload::fields::Wanted;
use crate::payload::head::{Framing, Head};
use crate::payload::preset::{Preset, Spec};
use crate::payload::protocol::{Direction, Protocol};
use crate::payload::summary::{Field, Outcome};

fn spec(protocol: Protocol, pointers: &[&str]) -> Spec {
    let wanted = |pointer: &&str| Wanted { pointer: (*pointer).to_owned(), categories: Vec::new() };
    Spec { fields: pointers.iter().map(wanted).collect(), ..Spec::new(protocol, Direction::Output) }
}

/// Places, and of them those that hold nothing.
fn missing(pointer: &str, document: &str) -> (u64, u64) {
    let summary = read_json(&spec(Protocol::Json, &[pointer]), document);
    assert_eq!(summary.outcome, Outcome::Read);
    let elements = &summary.seen.fields[0].elements;
    (elements.count, elements.missing)
}

#[test]
fn a_value_that_is_not_at_its_pointer_is_missing() {
    for (document, expected) in [
        (r#"{"user":{"age":3}}"#, (1, 0)),
        (r#"{"user":{"age":null}}"#, (1, 1)),
        (r#"{"user":{"age":""}}"#, (1, 1)),
        (r#"{"user":{"age":"NaN"}}"#, (1, 1)),
        (r#"{"user":{"age":NaN}}"#, (1, 1)),
        (r#"{"user":{"age":[]}}"#, (1, 1)),
        (r#"{"user":{"age":[0]}}"#, (1, 0)),
        (r#"{"user":{"age":false}}"#, (1, 0)),
        (r#"{"user":{}}"#, (1, 1)),
        (r#"{"user":3}"#, (1, 1)),
        ("[]", (1, 1)),
    ] {
        assert_eq!(missing("/user/age", document), expected, "{document}");
    }
}

#[test]
fn every_element_must_have_the_value() {
    for (document, expected) in [
        (r#"{"items":[{"p":1},{"q":1},{"p":null},3]}"#, (4, 3)),
        (r#"{"items":[{"p":1}]}"#, (1, 0)),
        (r#"{"items":[]}"#, (0, 0)),
        (r#"{"items":null}"#, (1, 1)),
        ("{}", (1, 1)),
    ] {
        assert_eq!(missing("/items/*/p", document), expected, "{document}");
    }
    assert_eq!(missing("/*", "[1,null,3]"), (3, 1));
    assert_eq!(missing("/a/*", r#"{"a":[null]}"#), (1, 1));
}

#[test]
fn values_have_statistics_and_the_first_is_kept() {
    let summary = read_json(&spec(Protocol::Json, &["/s/*", "/label"]), r#"{"s":[0.5,0.25],"label":"cät"}"#);
    let [scores, label] = &summary.seen.fields[..] else { panic!() };
    let numbers = scores.elements.numbers;
    assert_eq!((numbers.count, numbers.sum, numbers.min, numbers.max), (2, 0.75, 0.25, 0.5));
    assert_eq!(label.elements.first, Some(Scalar::Text("cät".as_bytes().into())));
    assert_eq!(label.elements.characters, 3);
}

#[test]
fn unseen_categories_are_counted() {
    let country = |document: &str| {
        let categories = vec!["de".to_owned(), "fr".to_owned(), "7".to_owned()];
        let wanted = Wanted { pointer: "/c".to_owned(), categories };
        let spec = Spec { fields: vec![wanted], ..Spec::new(Protocol::Json, Direction::Input) };
        read_json(&spec, document).seen.fields[0].unseen
    };
    assert_eq!(country(r#"{"c":"de"}"#), 0);
    assert_eq!(country(r#"{"c":7.0}"#), 0);
    assert_eq!(country(r#"{"c":"d"}"#), 1);
    assert_eq!(country(r#"{"c":8}"#), 1);
    assert_eq!(country(r#"{"c":{}}"#), 1);
    assert_eq!(country(r#"{"c":null}"#), 0);
    assert_eq!(country("{}"), 0);
}

#[test]
fn fields_stand_beside_a_protocol_and_decide_what_is_null() {
    let pointers = ["/outputs/0/data/0", "/outputs/1/data/*", "/model_version"];
    let message = recorded("mlserver-answer-nan-as-null.response");
    let summary = read_message(&spec(Protocol::OpenInference, &pointers), &message);
    let first: Vec<_> =
        summary.seen.fields.iter().map(|field| field.elements.first.clone().unwrap()).collect();
    let text = |text: &str| Scalar::Text(text.as_bytes().into());
    assert_eq!(first, [Scalar::Number(0.25), text("cat"), text("v2")]);
    assert_eq!(summary.seen.tensors.len(), 2);
    assert_eq!(summary.is_null(), Some(true));
    let summary = read_message(&spec(Protocol::OpenInference, &pointers[..1]), &message);
    assert_eq!(summary.is_null(), Some(false));
}

#[test]
fn a_pointer_into_a_tensor_finds_binary_data_too() {
    let pointers = ["/outputs/0/data/0", "/outputs/1/data/*", "/outputs/2/data/0"];
    let summary = read_message(
        &spec(Protocol::OpenInference, &pointers),
        &recorded("triton-default-binary-strings.response"),
    );
    let [label, proba, name] = &summary.seen.fields[..] else { panic!() };
    assert_eq!((label.elements.first.clone(), label.elements.count), (Some(Scalar::Number(3.0)), 1));
    assert_eq!((proba.elements.count, proba.elements.missing), (20, 0));
    assert_eq!(name.elements.first, Some(Scalar::Text(b"digit-3"[..].into())));
    assert_eq!(summary.is_null(), Some(false));
}

#[test]
fn a_pointer_finds_any_element_of_binary_data_that_is_read() {
    let json = |size: usize| {
        format!(
            r#"{{"outputs":[{{"name":"p","datatype":"FP32","shape":[{}],"parameters":{{"binary_data_size":{size}}}}}]}}"#,
            size / 4
        )
    };
    let read = |pointer: &str, data: &[f32]| {
        let data = data.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let json = json(data.len());
        let head = Head { json_length: Some(json.len() as u64), ..Head::default() };
        let mut spec = spec(Protocol::OpenInference, &[pointer]);
        spec.fields[0].categories = vec!["1".to_owned()];
        let body = [json.as_bytes(), &data].concat();
        let summary = read_message(&spec, &Message { head, body });
        let Field { elements, unseen, .. } = summary.seen.fields[0].clone();
        assert_eq!(summary.is_null(), (elements.count > 0).then_some(elements.missing > 0));
        (elements.count, elements.missing, elements.first, unseen)
    };
    let scores = [0.5, 1.0, f32::NAN];
    assert_eq!(read("/outputs/0/data/0", &scores), (1, 0, Some(Scalar::Number(0.5)), 1));
    assert_eq!(read("/outputs/0/data/1", &scores), (1, 0, Some(Scalar::Number(1.0)), 0));
    assert_eq!(read("/outputs/0/data/2", &scores), (1, 1, Some(Scalar::Null), 0));
    assert_eq!(read("/outputs/0/data/3", &scores).1, 1, "the tensor is shorter");
    assert_eq!(read("/outputs/0/data/0", &[]).1, 1, "it is empty");
    let long = [0.5; 2000];
    assert_eq!(read("/outputs/0/data/1023", &long), (1, 0, Some(Scalar::Number(0.5)), 1));
    assert_eq!(read("/outputs/0/data/1024", &long), (0, 0, None, 0), "not read, so not missing");
    for pointer in ["/outputs/0/data/0/1", "/outputs/*/data/0"] {
        assert_eq!(read(pointer, &scores), (0, 0, None, 0), "{pointer}");
    }
}

#[test]
fn an_element_of_binary_data_is_missing_by_the_configured_texts() {
    let text = "ü".repeat(200);
    let data = [&[7, 0, 0, 0][..], b"unknown", &[144, 1, 0, 0], text.as_bytes()].concat();
    let json = format!(
        r#"{{"outputs":[{{"datatype":"BYTES","shape":[2],"parameters":{{"binary_data_size":{}}}}}]}}"#,
        data.len()
    );
    let head = Head { json_length: Some(json.len() as u64), ..Head::default() };
    let spec = Spec {
        null_values: vec!["unknown".to_owned()],
        ..spec(Protocol::OpenInference, &["/outputs/0/data/0", "/outputs/0/data/1"])
    };
    let body = [json.as_bytes(), &data].concat();
    let fields = read_message(&spec, &Message { head, body }).seen.fields;
    assert_eq!((fields[0].elements.missing, fields[1].elements.missing), (1, 0));
    assert_eq!(fields[1].elements.characters, 200, "also of what is not held");
}

#[test]
fn a_pointer_finds_values_behind_the_elements_that_are_read_of_a_tensor() {
    let field = |pointer: &str, document: String| {
        let summary = read_json(&spec(Protocol::TfServing, &[pointer]), &document);
        assert_eq!(summary.outcome, Outcome::Read);
        (summary.seen.fields[0].elements.count, summary.is_null())
    };
    let rows = vec![r#"{"scores":[1,2,3,4],"label":"x"}"#; 1000].join(",");
    let rows = format!(r#"{{"predictions":[{rows}]}}"#);
    assert_eq!(field("/predictions/*", rows.clone()), (1000, Some(false)));
    assert_eq!(field("/predictions/*/label", rows), (1000, Some(false)));
    let embedding = vec!["0.5"; 1536].join(",");
    let document = format!(r#"{{"predictions":[{{"embedding":[{embedding}],"label":"x"}}]}}"#);
    assert_eq!(field("/predictions/0/label", document), (1, Some(false)));
}

#[test]
fn an_answer_without_an_element_of_a_configured_list_is_null() {
    let is_null = |protocol, pointer: &str, document: &str| {
        let summary = read_json(&spec(protocol, &[pointer]), document);
        assert_eq!(summary.outcome, Outcome::Read);
        summary.is_null()
    };
    let scores = |document: &str| is_null(Protocol::TfServing, "/predictions/*/score", document);
    assert_eq!(scores(r#"{"predictions":[{"score":1}]}"#), Some(false));
    assert_eq!(scores(r#"{"predictions":[]}"#), Some(true));
    assert_eq!(scores(r#"{"predictions":{"code":3}}"#), Some(true), "an object is no list");
    assert_eq!(is_null(Protocol::Json, "/items/*", r#"{"items":[]}"#), Some(true));
    assert_eq!(is_null(Protocol::Json, "/items/*", r#"{"items":{}}"#), Some(true));
}

#[test]
fn an_element_that_binary_data_does_not_have_is_missing_whatever_its_shape_says() {
    let is_null = |pointer: &str, datatype: &str, data: &[u8]| {
        let size = data.len();
        let json = format!(
            r#"{{"outputs":[{{"datatype":"{datatype}","shape":[1],"parameters":{{"binary_data_size":{size}}}}}]}}"#
        );
        let head = Head { json_length: Some(json.len() as u64), ..Head::default() };
        let body = [json.as_bytes(), data].concat();
        read_message(&spec(Protocol::OpenInference, &[pointer]), &Message { head, body }).is_null()
    };
    for pointer in ["/outputs/0/data/0", "/outputs/0/data/*", "/outputs/0/data"] {
        assert_eq!(is_null(pointer, "FP32", &1_f32.to_le_bytes()), Some(false), "{pointer}");
        assert_eq!(is_null(pointer, "FP32", &[]), Some(true), "{pointer}");
        assert_eq!(is_null(pointer, "FP4", &[1]), None, "{pointer}: its datatype is not read");
    }
}

#[test]
fn of_tensors_in_json_and_in_binary_those_in_json_are_looked_at() {
    let json = r#"{"outputs":[{"data":[1]},{"datatype":"UINT8","parameters":{"binary_data_size":1}}]}"#;
    let head = Head { json_length: Some(json.len() as u64), ..Head::default() };
    let message = Message { head, body: [json.as_bytes(), &[7]].concat() };
    let summary = read_message(&spec(Protocol::OpenInference, &["/outputs/*/data/0"]), &message);
    let elements = &summary.seen.fields[0].elements;
    assert_eq!((elements.count, elements.missing, summary.is_null()), (1, 0, None));
}

#[test]
fn a_tensor_beyond_those_that_are_kept_is_not_missing() {
    let tensor = r#"{"datatype":"UINT8","shape":[1],"parameters":{"binary_data_size":1}}"#;
    let json = format!(r#"{{"outputs":[{}]}}"#, [tensor; 20].join(","));
    let head = Head { json_length: Some(json.len() as u64), ..Head::default() };
    let message = Message { head, body: [json.as_bytes(), &[7; 20]].concat() };
    let pointers = ["/outputs/15/data/0", "/outputs/16/data/0", "/outputs/17/data/*", "/outputs/20/data/0"];
    let summary = read_message(&spec(Protocol::OpenInference, &pointers), &message);
    let missing: Vec<_> =
        summary.seen.fields.iter().map(|field| (field.elements.count, field.elements.missing)).collect();
    assert_eq!(missing, [(1, 0), (0, 0), (0, 0), (1, 1)]);
    let summary = read_message(&spec(Protocol::OpenInference, &pointers[1..2]), &message);
    assert_eq!(summary.is_null(), None);
    let in_json = format!(r#"{{"outputs":[{}{{}}]}}"#, r#"{"data":[7]},"#.repeat(18));
    let fields =
        read_json(&spec(Protocol::OpenInference, &["/outputs/17/data/0", "/outputs/18/data/0"]), &in_json);
    let missing: Vec<_> = fields.seen.fields.iter().map(|field| field.elements.missing).collect();
    assert_eq!(missing, [0, 1], "of JSON all are looked at");
}

#[test]
fn an_answer_of_json_without_a_configured_value_is_not_null() {
    assert_eq!(read_json(&spec(Protocol::Json, &[]), r#"{"x":1}"#).is_null(), None);
}

#[test]
fn a_streamed_answer_of_openai_is_null_by_its_choices() {
    let spec = spec(Protocol::OpenAi, &["/choices/0/message/content"]);
    let summary = read_message(&spec, &recorded("vllm-chat-stream.response"));
    assert_eq!((summary.outcome, summary.is_null()), (Outcome::Read, Some(false)));
    let head = Head { framing: Framing::Events, ..Head::default() };
    let body = br#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#.to_vec();
    assert_eq!(read_message(&spec, &Message { head, body }).is_null(), Some(true));
}

#[test]
fn of_a_body_that_was_not_read_nothing_is_missing() {
    let summary = read_json(&spec(Protocol::Json, &["/a"]), r#"{"b":"#);
    assert_eq!((summary.outcome, &summary.seen.fields[0]), (Outcome::Truncated, &Field::default()));
}

#[test]
fn a_wrong_pointer_is_named_by_its_place() {
    let error = Preset::new(&spec(Protocol::Json, &["/a", "b"])).unwrap_err();
    assert_eq!(error, (Some(1), PlanError::Pointer));
    let many: Vec<String> = (0..300).map(|at| format!("/{at}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(Preset::new(&spec(Protocol::Json, &many)).unwrap_err(), (None, PlanError::TooMany));
}
