use proptest::prelude::*;
use serde_json::{Value, json};

use super::diff::{Kind, MOST_PLACES, Place};
use super::label::Confusion;
use super::number::Tolerance;
use super::pointer::Pointer;
use super::settings::Settings;
use super::totals::{Beside, Totals};
use super::{Answer, Compared, compare};
use crate::payload::encoding::Unreadable;
use crate::payload::head::Encoding;

fn json_answer(body: impl ToString) -> Answer {
    let content_type = b"application/json".to_vec();
    Answer { status: 200, content_type, body: body.to_string().into_bytes(), ..Answer::default() }
}

fn pointer(text: &str) -> Pointer {
    Pointer::new(text).unwrap()
}

fn places(compared: &Compared) -> Vec<(&str, Kind, u64)> {
    compared.found.places.iter().map(|place| (place.path.as_str(), place.kind, place.count)).collect()
}

fn differences(one: &Value, other: &Value) -> Vec<(String, Kind, u64)> {
    let compared = compare(&Settings::default(), &json_answer(one), &json_answer(other));
    assert_eq!(compared.agrees, compared.found.is_empty());
    places(&compared).into_iter().map(|(path, kind, count)| (path.to_owned(), kind, count)).collect()
}

#[test]
fn documents_differ_where_and_how_they_do() {
    let cases = [
        (json!({"a": 1}), json!({"a": 1.0}), vec![]),
        (json!(1_000_000.0), json!(1_000_500.0), vec![]),
        (json!(1_000_000.0), json!(1_002_000.0), vec![("", Kind::Value, 1)]),
        (json!(999), json!(1_000), vec![("", Kind::Value, 1)]),
        (json!(999.5), json!(1_000), vec![]),
        (json!(0), json!(1e-7), vec![]),
        (
            json!({"a": "x", "b": true}),
            json!({"a": "y", "b": false}),
            vec![("/a", Kind::Value, 1), ("/b", Kind::Value, 1)],
        ),
        (json!([1, 2, 3]), json!([1, 5, 6]), vec![("/*", Kind::Value, 2)]),
        (json!([1, 2, 3]), json!([1, 2]), vec![("", Kind::Length, 1)]),
        (json!({"a": "1"}), json!({"a": 1}), vec![("/a", Kind::Type, 1)]),
        (json!({"a": null}), json!({}), vec![("/a", Kind::Null, 1)]),
        (json!({"a": null}), json!({"a": 0}), vec![("/a", Kind::Null, 1)]),
        (json!({"a": 1}), json!({"b": 1}), vec![("/a", Kind::Missing, 1), ("/b", Kind::Extra, 1)]),
        (json!({"a/b": [{"~": 1}]}), json!({"a/b": [{"~": 9}]}), vec![("/a~1b/*/~0", Kind::Value, 1)]),
    ];
    for (one, other, expected) in cases {
        let expected: Vec<_> =
            expected.into_iter().map(|(path, kind, count)| (path.to_owned(), kind, count)).collect();
        assert_eq!(differences(&one, &other), expected, "{one} against {other}");
    }
}

#[test]
fn whole_numbers_are_told_apart_where_doubles_are_not() {
    let exact =
        Settings { tolerance: Tolerance { relative: Some(0.0), absolute: 0.0 }, ..Settings::default() };
    let (one, other) = (json_answer("9007199254740993"), json_answer("9007199254740992"));
    assert!(!compare(&exact, &one, &other).agrees);
    assert!(compare(&exact, &one, &one).agrees);
    assert!(!compare(&Settings::default(), &one, &other).agrees);
}

#[test]
fn a_relative_tolerance_that_is_configured_holds_for_whole_numbers() {
    let tolerance = Tolerance { relative: Some(1e-3), ..Tolerance::default() };
    let settings = Settings { tolerance, ..Settings::default() };
    assert!(compare(&settings, &json_answer("1000123"), &json_answer("1000900")).agrees);
    let tolerance = Tolerance { absolute: 1.0, ..Tolerance::default() };
    let settings = Settings { tolerance, ..Settings::default() };
    assert!(compare(&settings, &json_answer("1000123"), &json_answer("1000124")).agrees);
}

#[test]
fn ignored_fields_and_unordered_elements_make_no_difference() {
    let settings = Settings {
        ignore: ["/id", "/items/*/at", "/pair/0"].map(pointer).to_vec(),
        unordered: ["/items", "/items/*/tags"].map(pointer).to_vec(),
        ..Settings::default()
    };
    let one =
        json!({"id": 1, "items": [{"at": 1, "tags": ["a", "b"]}, {"at": 2, "tags": []}], "pair": [1, 2]});
    let other = json!({"items": [{"at": 3, "tags": []}, {"at": 4, "tags": ["b", "a"]}], "pair": [5, 2]});
    let same = compare(&settings, &json_answer(&one), &json_answer(&other));
    assert!(same.agrees, "{same:?}");
    let other = json!({"items": [{"tags": []}, {"tags": ["b", "c"]}], "pair": [5, 3]});
    let differs = compare(&settings, &json_answer(&one), &json_answer(&other));
    assert_eq!(places(&differs), [("/items/*/tags/*", Kind::Value, 2), ("/pair/*", Kind::Value, 1)]);
}

#[test]
fn status_type_and_emptiness_are_always_compared() {
    let good = json_answer("{}");
    let kinds = |other: &Answer| -> Vec<Kind> {
        let compared = compare(&Settings::default(), &good, other);
        compared.found.places.iter().map(|place| place.kind).collect()
    };
    assert_eq!(kinds(&Answer { status: 204, ..good.clone() }), [], "of the same class");
    assert_eq!(kinds(&Answer { status: 400, ..good.clone() }), [Kind::Status]);
    let utf8 = b"Application/JSON; charset=utf-8".to_vec();
    assert_eq!(kinds(&Answer { content_type: utf8, ..good.clone() }), []);
    let html = Answer { content_type: b"text/html".to_vec(), ..good.clone() };
    assert_eq!(kinds(&html), [Kind::ContentType, Kind::Body]);
    assert_eq!(kinds(&Answer { body: Vec::new(), ..good.clone() }), [Kind::Empty]);
    assert_eq!(kinds(&json_answer("{")), [Kind::Body], "only one is JSON");
    assert!(compare(&Settings::default(), &html, &html).agrees);
}

#[test]
fn an_answer_is_good_by_both_of_its_statuses() {
    let is_good =
        |status, grpc_status| Answer { status, grpc_status, body: vec![0], ..Answer::default() }.is_good();
    assert!(is_good(200, None) && is_good(204, None) && is_good(200, Some(0)));
    assert!(!is_good(302, None) && !is_good(400, None) && !is_good(500, None));
    assert!(!is_good(200, Some(3)) && !is_good(503, Some(0)));
}

#[test]
fn the_status_of_grpc_is_compared() {
    let answer = |status| {
        let mut answer =
            Answer { status: 200, content_type: b"application/grpc".to_vec(), ..Answer::default() };
        answer.set_grpc_status(status);
        answer
    };
    let settings = Settings { samples: 1, ..Settings::default() };
    let pair = |stable, shadow| compare(&settings, &answer(stable), &answer(shadow));
    assert!(pair(Some(3), Some(3)).agrees);
    assert!(pair(Some(2), None).agrees, "an answer without a status is one of status 2");
    let differs = pair(Some(0), Some(13));
    assert_eq!(places(&differs), [("", Kind::Status, 1)]);
    let shown = ["200, grpc-status 0", "200, grpc-status 13"].map(str::to_owned);
    assert_eq!(differs.found.places[0].values, Some(shown.into()));
    assert!(answer(Some(14)).is_unavailable() && !answer(Some(13)).is_unavailable());
    let mut plain = json_answer("{}");
    plain.set_grpc_status(Some(0));
    assert_eq!(plain.grpc_status, None);
}

#[test]
fn with_a_label_the_pair_agrees_when_its_labels_do() {
    let settings = Settings { label: Some(pointer("/outputs/0/data/0")), ..Settings::default() };
    let answer = |label: Value, id: u32| json_answer(json!({"id": id, "outputs": [{"data": [label]}]}));
    let pair = |one, other| compare(&settings, &answer(one, 1), &answer(other, 2));
    let same = pair(json!(4), json!(4.0));
    assert!(same.agrees && !same.found.is_empty(), "the rest is counted, and does not decide");
    assert_eq!(same.labels.unwrap().names, ("4".to_owned(), "4".to_owned()));
    let differs = pair(json!(4), json!(9));
    assert!(!differs.agrees);
    let mut totals = Totals::default();
    totals.count(Some(&differs));
    assert_eq!(totals.confusion.cells().collect::<Vec<_>>(), [("4", "9", 1)]);
    assert!(!pair(json!("x"), json!(null)).agrees, "no label is no other's");
    let none = pair(json!(null), json!(null));
    assert!(none.labels.is_none() && !none.agrees, "without labels all of it decides");
    let error = compare(&settings, &answer(json!(4), 1), &Answer { status: 500, ..answer(json!(4), 1) });
    assert!(!error.agrees, "an error has no label");
}

#[test]
fn texts_and_ranked_lists_are_alike_in_part() {
    let settings = Settings { label: Some(pointer("/x")), ..Settings::default() };
    let labels = |one: Value, other: Value| {
        let answer = |x: Value| json_answer(json!({"x": x}));
        compare(&settings, &answer(one), &answer(other)).labels.unwrap()
    };
    let texts = labels(json!("Yes,  it is"), json!("yes, it is"));
    assert!(!texts.agree && texts.likeness.unwrap().normalised);
    assert_eq!(texts.likeness.unwrap().f1, 1.0);
    let lists = labels(json!([1, 2, 3]), json!([1, 9]));
    assert!(lists.agree);
    assert!((lists.overlap.unwrap() - 1.0 / 3.0).abs() < 1e-12);
}

#[test]
fn a_streamed_answer_is_compared_by_what_it_adds_up_to() {
    let settings = Settings { label: Some(pointer("/choices/0/message/content")), ..Settings::default() };
    let stream = |body: &str| Answer {
        status: 200,
        content_type: b"text/event-stream".to_vec(),
        body: body.as_bytes().to_vec(),
        ..Answer::default()
    };
    let event = |text: &str| {
        format!(r#"data: {{"id": 1, "choices": [{{"index": 0, "delta": {{"content": "{text}"}}}}]}}"#)
    };
    let stop = "data: {\"choices\": [{\"delta\": {}, \"finish_reason\": \"stop\"}]}\n\ndata: [DONE]\n\n";
    let one = stream(&format!("{}\n\n{}\n\n{stop}", event("Par"), event("is")));
    let other = stream(&format!("{}\r\n\r\n{stop}", event("Paris")));
    assert!(compare(&settings, &one, &other).agrees);
    let cut = compare(&settings, &one, &stream(&event("Paris")));
    assert_eq!(places(&cut), [("/choices/*/finish_reason", Kind::Null, 1)]);
    let foreign = stream("event: x\ndata: {\"a\": 1}\n\ndata: two\ndata: lines\n\n");
    assert_eq!(differences_of(&foreign, &foreign), []);
    let changed = stream("data: {\"a\": 2}\n\ndata: two\ndata: lines\n\n");
    assert_eq!(differences_of(&foreign, &changed), [("/events/*/a".to_owned(), Kind::Value, 1)]);
}

/// A streamed answer with these events.
fn streamed(events: &[Value]) -> Answer {
    let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let content_type = b"text/event-stream".to_vec();
    Answer { status: 200, content_type, body: body.into_bytes(), ..Answer::default() }
}

#[test]
fn streamed_calls_of_tools_are_compared_by_name_and_arguments() {
    let call = |id: &str, name: &str, arguments: [&str; 2]| {
        let delta = |call: Value| json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]});
        streamed(&[
            delta(json!({"index": 1, "id": id, "function": {"name": name, "arguments": ""}})),
            delta(json!({"index": 1, "function": {"arguments": arguments[0]}})),
            delta(json!({"index": 1, "function": {"arguments": arguments[1]}})),
            json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
        ])
    };
    let one = call("a", "weather", ["{\"city\": ", "\"Rome\"}"]);
    assert_eq!(differences_of(&one, &call("b", "weather", ["", "{\"city\": \"Rome\"}"])), []);
    let function = "/choices/*/message/tool_calls/*/function";
    let differ = |other: &Answer, place: &str, kind| {
        assert_eq!(differences_of(&one, other), [(place.to_owned(), kind, 1)]);
    };
    differ(&call("a", "time", ["{\"city\": ", "\"Rome\"}"]), &format!("{function}/name"), Kind::Value);
    differ(
        &call("a", "weather", ["{\"city\": ", "\"Oslo\"}"]),
        &format!("{function}/arguments"),
        Kind::Value,
    );
    let none = streamed(&[json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})]);
    differ(&none, "/choices/*/message", Kind::Missing);
    let old = |arguments: &str| {
        let call = json!({"name": "weather", "arguments": arguments});
        streamed(&[json!({"choices": [{"index": 0, "delta": {"function_call": call}}]})])
    };
    let place = "/choices/*/message/function_call/arguments".to_owned();
    assert_eq!(differences_of(&old("{}"), &old("[]")), [(place, Kind::Value, 1)]);
}

#[test]
fn a_streamed_refusal_differs_from_a_text() {
    let delta = |delta: Value| json!({"choices": [{"index": 0, "delta": delta}]});
    let text = streamed(&[delta(json!({"content": "I "})), delta(json!({"content": "can"}))]);
    let refusal =
        streamed(&[delta(json!({"content": null, "refusal": "I "})), delta(json!({"refusal": "can"}))]);
    let places = [
        ("/choices/*/message/content".to_owned(), Kind::Missing, 1),
        ("/choices/*/message/refusal".to_owned(), Kind::Extra, 1),
    ];
    assert_eq!(differences_of(&text, &refusal), places);
    assert_eq!(differences_of(&refusal, &refusal), []);
}

#[test]
fn streams_of_the_responses_api_are_compared_by_text_refusal_calls_and_status() {
    let stream = |text: &str, refusal: &str, name: &str, arguments: &str, status: &str| {
        let called = json!({"type": "function_call", "id": arguments, "name": name, "arguments": ""});
        streamed(&[
            json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "message"}}),
            json!({"type": "response.output_text.delta", "output_index": 0, "delta": text}),
            json!({"type": "response.refusal.delta", "output_index": 0, "delta": refusal}),
            json!({"type": "response.output_item.added", "output_index": 1, "item": called}),
            json!({"type": "response.function_call_arguments.delta", "output_index": 1, "delta": arguments}),
            json!({"type": format!("response.{status}"), "response": {"id": arguments, "status": status}}),
        ])
    };
    let one = stream("a", "b", "c", "d", "completed");
    assert_eq!(differences_of(&one, &one), []);
    for (other, place) in [
        (stream("x", "b", "c", "d", "completed"), "/output_text"),
        (stream("a", "x", "c", "d", "completed"), "/refusal"),
        (stream("a", "b", "x", "d", "completed"), "/tool_calls/*/function/name"),
        (stream("a", "b", "c", "x", "completed"), "/tool_calls/*/function/arguments"),
        (stream("a", "b", "c", "d", "incomplete"), "/status"),
    ] {
        assert_eq!(differences_of(&one, &other), [(place.to_owned(), Kind::Value, 1)]);
    }
}

#[test]
fn a_recorded_stream_of_a_call_agrees_with_itself_and_differs_where_its_arguments_do() {
    let recorded = crate::payload::tests::recorded("vllm-tool-stream.response");
    let answer = |body: Vec<u8>| Answer {
        status: 200,
        content_type: b"text/event-stream".to_vec(),
        body,
        ..Answer::default()
    };
    let text = String::from_utf8(recorded.body.clone()).unwrap();
    let (one, renamed) = (answer(recorded.body), text.replace("\"arguments\":\"9\"", "\"arguments\":\"8\""));
    let place = "/choices/*/message/tool_calls/*/function/arguments".to_owned();
    assert_eq!(differences_of(&one, &answer(renamed.into_bytes())), [(place, Kind::Value, 1)]);
    let other_ids = text.replace("chatcmpl", "other");
    assert_eq!(differences_of(&one, &answer(other_ids.into_bytes())), []);
}

#[test]
fn pieces_of_calls_and_choices_with_any_number_are_bounded() {
    let call = json!({"index": u64::MAX, "function": {"name": "x"}});
    let far = streamed(&[
        json!({"choices": [{"index": u64::MAX, "delta": {"content": "x"}}]}),
        json!({"choices": [{"index": -1, "delta": {"tool_calls": [call, 3, {"index": 16}]}}]}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 1e18, "delta": "x"}),
    ]);
    assert_eq!(differences_of(&far, &far), []);
}

fn differences_of(one: &Answer, other: &Answer) -> Vec<(String, Kind, u64)> {
    let compared = compare(&Settings::default(), one, other);
    places(&compared).into_iter().map(|(path, kind, count)| (path.to_owned(), kind, count)).collect()
}

#[test]
fn labels_that_are_whole_numbers_are_the_same_when_they_are_equal() {
    let settings = Settings { label: Some(pointer("/x")), ..Settings::default() };
    let agree = |one: Value, other: Value| {
        let answer = |value: Value| json_answer(json!({"x": value}));
        let compared = compare(&settings, &answer(one), &answer(other));
        (compared.agrees, compared.labels.unwrap().overlap)
    };
    assert!(!agree(json!(1_000), json!(1_001)).0);
    assert!(!agree(json!(104_523), json!(104_590)).0);
    assert!(agree(json!(4), json!(4.0)).0 && agree(json!(4e0), json!(4)).0);
    assert!(agree(json!(0.5), json!(0.500_1)).0, "within the tolerance");
    assert_eq!(agree(json!([104_523, 7]), json!([104_590, 7])), (false, Some(0.5)));
}

#[test]
fn places_and_labels_are_bounded() {
    let wide = |value: u32| -> Value {
        (0..200).map(|field| (format!("f{field:03}"), json!(value))).collect::<serde_json::Map<_, _>>().into()
    };
    let compared = compare(&Settings::default(), &json_answer(wide(1)), &json_answer(wide(2)));
    assert_eq!((compared.found.places.len(), compared.found.overflow), (MOST_PLACES, 136));
    let mut totals = Totals::default();
    totals.count(Some(&compared));
    let other = compare(&Settings::default(), &json_answer(json!({"g": 1})), &json_answer(json!({"g": 2})));
    totals.count(Some(&other));
    assert_eq!((totals.places.len(), totals.overflow), (MOST_PLACES, 137));
    let mut confusion = Confusion::default();
    (0..100).for_each(|label| confusion.count(&label.to_string(), &label.to_string(), true, 1));
    let others: Vec<_> = confusion.cells().filter(|(one, ..)| *one == Confusion::OTHER).collect();
    assert_eq!(others, [(Confusion::OTHER, Confusion::OTHER, 84)]);
    assert_eq!(confusion.agreement().unwrap().observed, 1.0);
    let long = json!({"x".repeat(10_000): {"y".repeat(10_000): 1}});
    let path =
        &compare(&Settings::default(), &json_answer(&long), &json_answer(json!({}))).found.places[0].path;
    assert!(path.len() <= 128);
}

#[test]
fn values_are_kept_where_asked_for_cut_and_redacted() {
    let settings = Settings {
        samples: 1,
        redact: ["/user", "/list/0/name"].map(pointer).to_vec(),
        ..Settings::default()
    };
    let one = json!({"user": {"mail": "a"}, "list": [{"name": "b", "n": 1}], "long": "é".repeat(500), "gone": {"secret": 1}});
    let other = json!({"user": {"mail": "c"}, "list": [{"name": "d", "n": 2}], "long": "x"});
    let compared = compare(&settings, &json_answer(&one), &json_answer(&other));
    let values = |path: &str| {
        let place: &Place = compared.found.places.iter().find(|place| place.path == path).unwrap();
        place.values.clone().unwrap()
    };
    let redacted = ("(redacted)".to_owned(), "(redacted)".to_owned());
    assert_eq!(values("/user/mail"), redacted);
    assert_eq!(values("/list/*/name"), redacted);
    assert_eq!(values("/list/*/n"), ("1".to_owned(), "2".to_owned()));
    assert_eq!(values("/gone"), ("{1 fields}".to_owned(), "(absent)".to_owned()), "not what is inside");
    assert!(values("/long").0.len() <= 256);
    let none = compare(&Settings::default(), &json_answer(&one), &json_answer(&other));
    assert!(none.found.places.iter().all(|place| place.values.is_none()));
}

#[test]
fn pointers_that_are_none_are_refused() {
    for wrong in ["a", "/a~", "/~2", &"/a".repeat(33)] {
        assert!(Pointer::new(wrong).is_err(), "{wrong}");
    }
    assert!(pointer("/a/*").is_pattern() && !pointer("/a/~1").is_pattern());
}

fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3_i32..3).prop_map(Value::from),
        (-2.0..2.0_f64).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|fields| fields.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let pointers = || {
        let pointer = prop::sample::select(vec!["", "/a", "/*", "/a/*", "/b/0", "/*/*", "/a/b/c"]);
        prop::collection::vec(pointer.prop_map(|text| Pointer::new(text).unwrap()), 0..3)
    };
    let label = prop::option::of(prop::sample::select(vec!["/a", "/0", ""]));
    (pointers(), pointers(), label, 0..2_usize).prop_map(|(ignore, unordered, label, samples)| Settings {
        ignore,
        unordered,
        label: label.map(|text| Pointer::new(text).unwrap()),
        samples,
        ..Settings::default()
    })
}

#[test]
fn equal_bytes_that_are_not_read_alike_differ() {
    let body = br#"{"outputs":[]}"#.to_vec();
    let json_length = Some(body.len() as u64);
    let content_type = b"application/octet-stream".to_vec();
    let stable = Answer { status: 200, content_type, json_length, body, ..Answer::default() };
    let shadow = Answer { json_length: None, ..stable.clone() };
    assert_eq!(places(&compare(&Settings::default(), &stable, &shadow)), [("", Kind::Body, 1)]);
    assert!(compare(&Settings::default(), &stable, &stable).agrees);
}

proptest! {
    #[test]
    fn every_document_equals_itself(document in documents(), settings in any_settings()) {
        let answer = json_answer(document);
        let compared = compare(&settings, &answer, &answer);
        prop_assert!(compared.agrees && compared.found.is_empty(), "{compared:?}");
        // Equal bytes are read once, others twice.
        let spaced = Answer { body: [answer.body.as_slice(), b" "].concat(), ..answer.clone() };
        let twice = compare(&settings, &answer, &spaced);
        prop_assert_eq!(Compared { bytes: twice.bytes, ..compared }, twice);
    }

    #[test]
    fn kinds_are_symmetric(one in documents(), other in documents(), settings in any_settings()) {
        let (one, other) = (json_answer(one), json_answer(other));
        let sorted = |compared: &Compared, reversed: bool| {
            let kind = |kind: Kind| match kind {
                Kind::Missing if reversed => Kind::Extra,
                Kind::Extra if reversed => Kind::Missing,
                same => same,
            };
            let places = compared.found.places.iter();
            let mut places: Vec<_> = places.map(|place| (place.path.clone(), kind(place.kind), place.count)).collect();
            places.sort();
            (places, compared.agrees, compared.found.apart.clone())
        };
        let (there, back) = (compare(&settings, &one, &other), compare(&settings, &other, &one));
        prop_assert_eq!(sorted(&there, false), sorted(&back, true));
    }

    #[test]
    fn totals_of_parts_are_the_totals_of_all(pairs in prop::collection::vec((documents(), documents()), 0..6), at in 0_usize..6) {
        let settings = Settings { label: Some(pointer("/a")), ..Settings::default() };
        let compared: Vec<Compared> =
            pairs.iter().map(|(one, other)| compare(&settings, &json_answer(one), &json_answer(other))).collect();
        let total = |pairs: &[Compared]| {
            let mut totals = Totals::default();
            pairs.iter().for_each(|pair| totals.count(Some(pair)));
            totals
        };
        let (first, second) = compared.split_at(at.min(compared.len()));
        let mut sum = total(first);
        sum.add(&total(second));
        let whole = total(&compared);
        prop_assert_eq!((sum.compared, sum.matched, &sum.places, &sum.apart), (whole.compared, whole.matched, &whole.places, &whole.apart));
        prop_assert_eq!(sum.confusion.agreement(), whole.confusion.agreement());
    }
}

#[test]
fn the_newest_samples_of_all_workers_are_kept() {
    let settings = Settings { samples: 3, ..Settings::default() };
    let mut workers = [Totals::default(), Totals::default()];
    for time in 0..8_u64 {
        let pair = compare(&settings, &json_answer(json!({"n": 1})), &json_answer(json!({"n": 100 + time})));
        workers[usize::from(time % 2 == 1)].sample(&pair, time, settings.samples);
    }
    let same = compare(&settings, &json_answer(json!({"n": 1})), &json_answer(json!({"n": 1})));
    workers[0].sample(&same, 9, settings.samples);
    let mut all = Totals::default();
    workers.iter().for_each(|worker| all.add(worker));
    let kept: Vec<(u64, &str, &str)> = all
        .samples
        .iter()
        .map(|sample| (sample.time, sample.path.as_str(), sample.values.1.as_str()))
        .collect();
    assert_eq!(kept, [(5, "/n", "105"), (6, "/n", "106"), (7, "/n", "107")]);
    let without = Settings::default();
    let pair = compare(&without, &json_answer(json!({"n": 1})), &json_answer(json!({"n": 2})));
    let mut none = Totals::default();
    none.sample(&pair, 1, 0);
    assert!(none.samples.is_empty());
}

#[test]
fn requests_with_three_answers_are_counted_by_which_of_them_differ() {
    let mut totals = Totals::default();
    for (shadow, baseline) in [(false, false), (true, false), (false, true), (true, true), (true, true)] {
        totals.count_beside(shadow, baseline);
    }
    totals.add(&totals.clone());
    assert_eq!(totals.beside, Beside { all: 10, only_shadow: 2, only_baseline: 2, both: 4 });
}

/// The newest sample of a pair with `label` at `at`, as it is shown.
fn sample_with_label(at: &str, one: Value, other: Value) -> Option<(String, Kind, String, String)> {
    let settings = Settings {
        samples: 1,
        label: Some(pointer(at)),
        ignore: vec![pointer("/ignored")],
        redact: vec![pointer("/person")],
        ..Settings::default()
    };
    let mut totals = Totals::default();
    totals.sample(&compare(&settings, &json_answer(one), &json_answer(other)), 1, 1);
    let sample = totals.samples.pop_front()?;
    let kind = sample.kind();
    Some((sample.path, kind, sample.values.0, sample.values.1))
}

#[test]
fn a_sample_shows_the_label_that_decided() {
    let shown = |at: &str, one: Value, other: Value| {
        let (path, kind, stable, shadow) = sample_with_label(at, one, other).unwrap();
        assert_eq!(path, at.replace("/ranked", "/ranked/0"), "{at}");
        (kind, stable, shadow)
    };
    let value = |stable: &str, shadow: &str| (Kind::Value, stable.to_owned(), shadow.to_owned());
    let answer = |confidence: f64, label: &str| json!({"confidence": confidence, "label": label});
    let cat_to_dog = value("\"cat\"", "\"dog\"");
    assert_eq!(shown("/label", answer(0.91, "cat"), answer(0.87, "dog")), cat_to_dog);
    assert_eq!(sample_with_label("/label", answer(0.91, "cat"), answer(0.87, "cat")), None);
    // Where nothing else is seen of them: ignored, within the tolerance, behind the places that are told apart.
    assert_eq!(
        shown("/ignored/label", json!({"ignored": {"label": "cat"}}), json!({"ignored": {"label": "dog"}})),
        cat_to_dog
    );
    let far = |label: &str| {
        let fields = (0..100).map(|at| (format!("f{at}"), json!(label)));
        json!({"fields": Value::Object(fields.collect()), "label": label})
    };
    assert_eq!(shown("/label", far("cat"), far("dog")), cat_to_dog);
    // The first place of a ranked list; the same by an element's position.
    let ranked = |labels: &[&str]| json!({"a": labels.len(), "ranked": labels});
    assert_eq!(shown("/ranked", ranked(&["cat", "dog"]), ranked(&["dog", "cat"])), cat_to_dog);
    assert_eq!(shown("/ranked", ranked(&["cat"]), ranked(&[])).0, Kind::Missing);
    assert_eq!(shown("/a/0", json!({"a": [4]}), json!({"a": [9]})), value("4", "9"));
    // One that is none, and one that is not to be shown.
    let null = (Kind::Null, "\"cat\"".to_owned(), "null".to_owned());
    assert_eq!(shown("/label", json!({"label": "cat"}), json!({"label": null})), null);
    let extra = (Kind::Extra, "(absent)".to_owned(), "7".to_owned());
    assert_eq!(shown("/label", json!({}), json!({"label": 7})), extra);
    let kind = shown("/label", json!({"label": "7"}), json!({"label": 7})).0;
    assert_eq!(kind, Kind::Type);
    let secret = |name: &str| json!({"person": {"name": name}});
    assert_eq!(shown("/person/name", secret("a"), secret("b")), value("(redacted)", "(redacted)"));
}

#[test]
fn ids_and_times_of_answers_of_openai_are_not_compared() {
    let settings = Settings::default();
    let chat = |id: &str, created: u64, text: &str| json!({"id": id, "created": created, "choices": [{"message": {"content": text}, "finish_reason": "stop"}]});
    let pair = |one: &Value, other: &Value| {
        let answer = |document: &Value| json_answer(document.to_string());
        compare(&settings, &answer(one), &answer(other)).agrees
    };
    assert!(pair(&chat("a", 1_764_000_000, "Hi"), &chat("b", 1_764_000_001, "Hi")));
    assert!(!pair(&chat("a", 1, "Hi"), &chat("a", 1, "Ho")));
    let response = |created: u64| json!({"object": "response", "id": created.to_string(), "created_at": created, "output": []});
    assert!(pair(&response(1), &response(2)));
    assert!(!pair(&json!({"created": 1}), &json!({"created": 2})), "of another protocol");
}

#[test]
fn ids_inside_of_answers_of_openai_and_their_usage_are_not_compared() {
    let recorded = crate::payload::tests::recorded("vllm-responses-api.response");
    let text = String::from_utf8(recorded.body).unwrap();
    let other = text.replace("msg_b0b4", "msg_0000").replace("\"cached_tokens\":0", "\"cached_tokens\":16");
    assert_ne!(text, other);
    assert_eq!(differences_of(&json_answer(&text), &json_answer(other)), []);
    let ended = text.replace("begins again", "ends here");
    let place = "/output/*/content/*/text".to_owned();
    assert_eq!(differences_of(&json_answer(&text), &json_answer(ended)), [(place, Kind::Value, 1)]);
    let response = |id: &str, name: &str| {
        let call = json!({"type": "function_call", "id": id, "call_id": id, "name": name, "arguments": "{}"});
        json!({"object": "response", "output": [call]})
    };
    assert_eq!(differences(&response("a", "weather"), &response("b", "weather")), []);
    let place = "/output/*/name".to_owned();
    assert_eq!(differences(&response("a", "weather"), &response("a", "time")), [(place, Kind::Value, 1)]);
    let chat = |id: &str, name: &str| {
        let call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}});
        let audio = json!({"id": id, "expires_at": id.len(), "transcript": "Hi"});
        let message = json!({"tool_calls": [call], "audio": audio});
        json!({"choices": [{"message": message}], "usage": {"total_tokens": id.len()}})
    };
    assert_eq!(differences(&chat("a", "weather"), &chat("bb", "weather")), []);
    let place = "/choices/*/message/tool_calls/*/function/name".to_owned();
    assert_eq!(differences(&chat("a", "weather"), &chat("a", "time")), [(place, Kind::Value, 1)]);
    let embedding = |id: &str, value: f64| json!({"object": "list", "id": id, "created": id.len(), "data": [{"embedding": [value]}]});
    assert_eq!(differences(&embedding("a", 0.5), &embedding("bb", 0.5)), []);
    assert!(!differences(&embedding("a", 0.5), &embedding("a", 0.25)).is_empty());
}

#[test]
fn numbers_beyond_64_bits_are_told_apart_as_doubles() {
    let (one, other) = (json_answer("18446744073709551616"), json_answer("18446744073709600000"));
    assert!(!compare(&Settings::default(), &one, &other).agrees);
    assert!(compare(&Settings::default(), &one, &json_answer("18446744073709551617")).agrees, "one double");
    let set = Tolerance { relative: Some(1e-3), ..Tolerance::default() };
    assert!(compare(&Settings { tolerance: set, ..Settings::default() }, &one, &other).agrees);
    assert!(compare(&Settings::default(), &json_answer("1e15"), &json_answer("1.0001e15")).agrees);
    let settings = Settings { label: Some(pointer("/x")), ..Settings::default() };
    let labels = |one: &str, other: &str| {
        let answer = |number: &str| json_answer(format!("{{\"x\":{number}}}"));
        compare(&settings, &answer(one), &answer(other)).labels.unwrap()
    };
    assert!(!labels("18446744073709551616", "18446744073709600000").agree);
    assert!(!labels("-1e300", "-1.0001e300").agree);
    let same = labels("1e17", "100000000000000000");
    assert!(same.agree);
    assert_eq!(same.names.0, same.names.1);
    assert_eq!(labels("1e300", "1e300").names.0, "1e+300");
}

#[test]
fn a_pair_is_no_evidence_where_stable_refuses_or_answers_a_probe() {
    let empty = Answer { status: 204, ..Answer::default() };
    for (answer, method, is_evidence) in [
        (empty.clone(), "HEAD", false),
        (empty.clone(), "GET", false),
        (empty, "POST", true),
        (json_answer("{}"), "GET", true),
        (json_answer("{}"), "POST", true),
        (Answer { status: 400, ..json_answer("{}") }, "POST", false),
    ] {
        assert_eq!(answer.is_evidence(method.as_bytes()), is_evidence, "{method} {answer:?}");
    }
}

/// gRPC messages as a server frames them: each whether it is compressed, and its bytes.
fn framed(messages: &[(bool, &[u8])]) -> Vec<u8> {
    let frame = |(is_compressed, message): &(bool, &[u8])| {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[u8::from(*is_compressed)][..], &length, message].concat()
    };
    messages.iter().flat_map(frame).collect()
}

#[test]
fn compressed_messages_of_grpc_are_compared_by_what_they_hold() {
    let path = format!("{}/tests/fixtures/payload/triton-grpc-raw.response.pb", env!("CARGO_MANIFEST_DIR"));
    let message = std::fs::read(path).unwrap();
    let deflated = |message: &[u8], level| miniz_oxide::deflate::compress_to_vec_zlib(message, level);
    let gzipped = |message: &[u8], level| {
        let data = miniz_oxide::deflate::compress_to_vec(message, level);
        [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255][..], &data, &[0; 8]].concat()
    };
    let answer = |infers, message_encoding, body: Vec<u8>| Answer {
        status: 200,
        content_type: b"application/grpc".to_vec(),
        infers,
        message_encoding,
        body,
        ..Answer::default()
    };
    let plain = framed(&[(false, &message)]);
    let mut changed = message.clone();
    *changed.last_mut().unwrap() = b'9';
    let inflated = |mut answer: Answer| {
        assert_eq!(answer.inflate(4_096), Ok(true));
        answer
    };
    for infers in [true, false] {
        let low = answer(infers, Encoding::Gzip, framed(&[(true, &gzipped(&message, 1))]));
        let high = answer(infers, Encoding::Gzip, framed(&[(true, &gzipped(&message, 9))]));
        let zlib = answer(infers, Encoding::Deflate, framed(&[(true, &deflated(&message, 9))]));
        let as_it_is = answer(infers, Encoding::Identity, plain.clone());
        for other in [low.clone(), high, zlib, as_it_is.clone()] {
            assert_eq!(inflated(other), as_it_is, "{infers}");
        }
        let changed = inflated(answer(infers, Encoding::Gzip, framed(&[(true, &gzipped(&changed, 1))])));
        let (place, kind) = if infers { ("/outputs/*/data/*", Kind::Value) } else { ("", Kind::Body) };
        assert_eq!(differences_of(&inflated(low), &changed), [(place.to_owned(), kind, 1)]);
        let mut cut = answer(infers, Encoding::Gzip, framed(&[(true, &gzipped(&message, 1)[..40])]));
        assert_eq!(cut.inflate(4_096), Err(Unreadable::Malformed));
        assert_eq!(differences_of(&as_it_is, &cut), [(String::new(), Kind::Body, 1)]);
    }
    let texts: [&[u8]; 4] = [b"a", b"b", b"", b"cc"];
    let (gzip, zlib) = (texts.map(|text| gzipped(text, 1)), texts.map(|text| deflated(text, 1)));
    let all = framed(&texts.map(|text| (false, text)));
    for (encoding, [_, b, c, d]) in [(Encoding::Gzip, &gzip), (Encoding::Deflate, &zlib)] {
        let stream = framed(&[(false, b"a"), (true, b), (true, c), (true, d)]);
        assert_eq!(inflated(answer(false, encoding, stream)).body, all);
    }
    let stream = answer(false, Encoding::Gzip, framed(&[(true, &gzip[1]), (true, b""), (false, b"cc")]));
    let expected = framed(&[(false, b"b"), (false, b""), (false, b"cc")]);
    assert_eq!(inflated(stream).body, expected);
}

#[test]
fn compressed_messages_of_grpc_are_inflated_up_to_a_bound() {
    let data = miniz_oxide::deflate::compress_to_vec_zlib(&[7; 5_000], 1);
    let body = framed(&[(true, &data), (true, &data), (false, b"ab")]);
    let plain = framed(&[(false, &[7; 5_000]), (false, &[7; 5_000]), (false, b"ab")]);
    let content_type = b"application/grpc".to_vec();
    let answer = Answer { content_type, message_encoding: Encoding::Deflate, body, ..Answer::default() };
    for (most, fits) in [(plain.len(), true), (plain.len() - 1, false), (5_005, false), (3, false)] {
        let mut answer = answer.clone();
        assert_eq!((answer.inflate(most), answer.body == plain), (Ok(fits), fits), "{most}");
    }
    let other = Answer { message_encoding: Encoding::Other, ..answer.clone() };
    let rest = Answer { content_type: Vec::new(), ..answer.clone() };
    assert_eq!(other.clone().inflate(1 << 20), Err(Unreadable::Malformed));
    assert_eq!(rest.clone().inflate(1), Ok(true), "of another protocol");
}
