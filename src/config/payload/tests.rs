use serde_json::{Value, json};

use super::*;
use crate::config::{check, fixture};

/// A rollout whose bodies are read, with one field at a pointer set to something else.
fn with(pointer: &str, value: Value) -> Value {
    let mut rollout = json!({
        "name": "a", "release": "1", "versions": {"b": {"cluster": "c"}, "d": {"cluster": "e"}}, "stable": "b",
        "candidate": "d",
        "payload": {
            "protocol": "json", "sample": "12.5", "max_body": "64KiB",
            "input": {
                "fields": ["/user/age", "/items/*/price"], "length": "/text",
                "categories": {"/user/country": ["de", "fr"], "/user/age": ["7"]},
            },
            "output": {
                "value": "/predictions/0", "range": [-1, 1], "labels": "16", "confidence": "/confidence",
                "null_values": ["unknown"],
            },
        },
        "analysis": {"metrics": [
            {"name": "error_rate"}, {"name": "output.null", "max": 0.01}, {"name": "input.missing:/user/age"},
            {"name": "input.unseen:/user/country"}, {"name": "output.label:a:b", "direction": "up"},
            {"name": "output.confidence", "direction": "down", "tolerate": 1.1}, {"name": "output.length"},
        ]},
    });
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match rollout.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.insert(last.into(), value)),
        Some(Value::Array(list)) => list[last.parse::<usize>().unwrap()] = value,
        other => panic!("{other:?}"),
    }
    rollout
}

fn problems_of(rollout: Value) -> Vec<String> {
    check(&json!({"rollouts": [rollout]}))
        .err()
        .map(|problems| problems.lines().collect())
        .unwrap_or_default()
}

#[test]
fn mistakes_are_reported_with_their_places_and_remedies() {
    assert_eq!(problems_of(with("/name", json!("a"))), [""; 0]);
    let rows = [
        (
            "/payload/protocol",
            json!("grpc"),
            "payload.protocol: found \"grpc\", expected one of: open_inference, tf_serving, openai, sagemaker, json",
        ),
        (
            "/payload",
            json!({}),
            "payload.protocol: missing; expected open_inference, tf_serving, openai, sagemaker or json",
        ),
        ("/payload/sample", json!(101), "payload.sample: 101 is over 100"),
        ("/payload/max_body", json!("0B"), "payload.max_body: 0B is out of range; expected 1 to 64MiB"),
        ("/payload/max_body", json!("65MiB"), "payload.max_body: 65MiB is out of range; expected 1 to 64MiB"),
        (
            "/payload/input/fields/1",
            json!("/user/age"),
            "payload.input.fields[1]: \"/user/age\" is there twice",
        ),
        (
            "/payload/input/length",
            json!("text"),
            "payload.input: \"text\": not a JSON pointer, which is empty or begins with `/`; `~` is written `~0`",
        ),
        (
            "/payload/output/confidence",
            json!("/a~"),
            "payload.output: \"/a~\": not a JSON pointer, which is empty or begins with `/`; `~` is written `~0`",
        ),
        (
            "/payload/input/categories/~1user~1country",
            json!([]),
            "payload.input.categories[\"/user/country\"]: 0 categories; expected 1 to 64",
        ),
        ("/payload/output/labels", json!(33), "payload.output.labels: 33 is out of range; expected 1 to 32"),
        ("/payload/output/labels", json!([]), "payload.output.labels: 0 labels; expected 1 to 32"),
        ("/payload/output/labels", json!(["a", ""]), "payload.output.labels[1]: missing or empty"),
        (
            "/payload/output/labels",
            json!({}),
            "payload.output.labels: found a map, expected a number of labels, or a list of them",
        ),
        (
            "/payload/output/range",
            json!([1, 1]),
            "payload.output.range: expected two numbers, the lower one first",
        ),
        (
            "/payload/output/rnage",
            json!(1),
            "payload.output.rnage: unknown field; known here: value, range, labels, confidence, null_values",
        ),
        (
            "/analysis/metrics/2/name",
            json!("input.missing:/user/name"),
            "analysis.metrics[2].name: \"/user/name\" is not in payload.input.fields; known there: \"/user/age\", \"/items/*/price\"",
        ),
        (
            "/analysis/metrics/3/name",
            json!("input.unseen:/items/*/price"),
            "analysis.metrics[3].name: \"/items/*/price\" is not in payload.input.categories; known there: \"/user/age\", \"/user/country\"",
        ),
        (
            "/analysis/metrics/1/direction",
            json!("up"),
            "analysis.metrics[1].direction: more of output.null is always worse",
        ),
        (
            "/analysis/metrics/2/max",
            json!(0.1),
            "analysis.metrics[2].max: not allowed here: an input metric compares requests, which have no bound",
        ),
        (
            "/analysis/metrics/5/max",
            json!(0.1),
            "analysis.metrics[5].max: a bound of a rate; output.confidence is not a rate",
        ),
    ];
    for (pointer, value, expected) in rows {
        let mut problems = problems_of(match pointer {
            "/payload/input/categories/~1user~1country" => {
                let mut rollout = with("/name", json!("a"));
                rollout["payload"]["input"]["categories"]["/user/country"] = value;
                rollout
            }
            pointer => with(pointer, value),
        });
        // What goes by a setting that is gone is another matter.
        problems.retain(|problem| !problem.contains("analysis.metrics") || expected.starts_with("analysis"));
        assert_eq!(problems, [format!("rollouts[0].{expected}")], "{pointer}");
    }
}

#[test]
fn a_signal_of_bodies_needs_bodies_to_be_read() {
    let mut rollout = with("/name", json!("a"));
    rollout.as_object_mut().unwrap().remove("payload");
    rollout["analysis"] = json!({"metrics": [{"name": "output.null"}]});
    assert_eq!(
        problems_of(rollout),
        ["rollouts[0].analysis.metrics[0].name: output.null needs `payload` beside `analysis`"]
    );
    let mut rollout = with("/analysis/metrics/5/name", json!("output.confidence"));
    rollout["payload"]["output"].as_object_mut().unwrap().remove("confidence");
    assert_eq!(
        problems_of(rollout),
        ["rollouts[0].analysis.metrics[5].name: needs payload.output.confidence, a JSON pointer"]
    );
}

#[test]
fn a_signal_that_a_protocol_cannot_show_is_refused() {
    let problems = |payload: &Value, signal: &str| {
        let mut rollout = with("/payload", payload.clone());
        rollout["analysis"] = json!({"metrics": [{"name": signal}]});
        let mut found = problems_of(rollout);
        found.iter_mut().for_each(|problem| {
            *problem = problem.trim_start_matches("rollouts[0].analysis.metrics[0].name: ").to_owned();
        });
        found.join("; ")
    };
    let of = |protocol: &str| json!({"protocol": protocol});
    let valued = |protocol: &str| json!({"protocol": protocol, "output": {"value": "/value"}});
    let openai = "only answers of protocol openai show it";
    let value = "needs payload.output.value, a JSON pointer";
    for protocol in ["open_inference", "tf_serving", "sagemaker"] {
        for signal in [
            "output.null",
            "output.length",
            "output.value",
            "output.label:a",
            "input.length",
            "output.error_object",
        ] {
            assert_eq!(problems(&of(protocol), signal), "", "{protocol}, {signal}");
        }
    }
    for signal in
        ["output.truncated", "output.refused", "output.tokens", "latency.first_token", "latency.per_token"]
    {
        assert_eq!(problems(&of("openai"), signal), "", "{signal}");
        for protocol in ["open_inference", "tf_serving", "sagemaker", "json"] {
            assert_eq!(problems(&valued(protocol), signal), openai, "{protocol}, {signal}");
        }
    }
    for signal in ["output.null", "output.length", "output.value", "output.label:a"] {
        assert_eq!(problems(&of("json"), signal), value, "{signal}");
        assert_eq!(problems(&valued("json"), signal), "", "{signal}");
    }
    for signal in ["output.value", "output.label:a"] {
        assert_eq!(problems(&of("openai"), signal), value, "{signal}");
        assert_eq!(problems(&valued("openai"), signal), "", "{signal}");
    }
    for signal in ["output.null", "output.length", "output.error_object", "input.length"] {
        assert_eq!(problems(&of("openai"), signal), "", "{signal}");
    }
    let confident = json!({"protocol": "json", "output": {"confidence": "/score"}});
    assert_eq!(problems(&confident, "output.null"), "");
    assert_eq!(problems(&confident, "output.confidence"), "");
    assert_eq!(problems(&confident, "output.length"), value);
    assert_eq!(problems(&valued("json"), "input.length"), "needs payload.input.length, a JSON pointer");
    let long = json!({"protocol": "json", "input": {"length": "/text"}});
    assert_eq!(problems(&long, "input.length"), "");
    assert_eq!(problems(&long, "output.unreadable"), "");
    let mut drift = with("/payload", of("json"));
    drift["analysis"] = json!({});
    drift["drift"] = json!({"metrics": ["output.label"]});
    assert_eq!(problems_of(drift), [format!("rollouts[0].drift.metrics[0]: {value}")]);
}

#[test]
fn every_pointer_is_wanted_once_and_found_again() {
    let config = check(&json!({"rollouts": [with("/name", json!("a"))]})).unwrap();
    let payload = config.rollouts[0].payload.as_ref().unwrap();
    let requests = payload.of_requests(Protocol::Json);
    let pointers: Vec<&str> = requests.fields.iter().map(|field| field.pointer.as_str()).collect();
    assert_eq!(pointers, ["/user/age", "/items/*/price", "/text", "/user/country"]);
    assert_eq!((&requests.fields[0].categories[..], requests.max_body), (&["7".to_owned()][..], 65_536));
    let places = payload.places(Protocol::Json);
    assert_eq!((places.length, places.value, places.confidence), (Some(2), Some(0), Some(1)));
    assert_eq!(places.categories, [("/user/age".to_owned(), 0), ("/user/country".to_owned(), 3)]);
    assert_eq!(places.range, (-1.0, 1.0));
}

/// Each block of YAML in docs/payload.md stands for fields of a rollout.
#[test]
fn the_documented_configurations_are_accepted() {
    let blocks: Vec<&str> = include_str!("../../../docs/payload.md")
        .split("```yaml\n")
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .collect();
    let mut protocols = std::collections::BTreeSet::new();
    for block in blocks {
        let mut rollout: Value = serde_saphyr::from_str(block).unwrap();
        protocols.insert(rollout["payload"]["protocol"].as_str().unwrap().to_owned());
        rollout["steps"] = json!([{"set_weight": 5}, {"pause": {}}]);
        assert_eq!(problems_of(fixture::rollout(&rollout)), [""; 0], "{block}");
    }
    assert_eq!(protocols.len(), 5, "one for each protocol");
}
