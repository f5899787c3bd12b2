mod affinity;
mod alarms;
mod automation;
mod blue_green;
mod control;
mod document;
mod drift;
mod feedback;
mod hash;
mod hostile;
mod matches;
mod mirror;
mod notify;
mod pieces;
mod rollout;
mod steps;
mod store;

use super::*;
use serde_json::json;

/// A rollout with which nothing is wrong.
fn good() -> Value {
    json!({
        "name": "recommender",
        "release": "2026-11-24.1",
        "match": {
            "authority": ["models.example.com"], "prefix": "/v2/models/recommender", "methods": ["POST"],
            "headers": [{"name": "x-tenant", "exact": "acme"}, {"name": "x-debug", "present": false}],
        },
        "versions": {
            "blue": {"cluster": "outbound|80||blue.models.svc.cluster.local"}, "green": {"cluster": "green"},
            "red": {"cluster": "red"},
        },
        "stable": "blue",
        "candidate": "green",
        "pin": "blue",
        "session_affinity": {"cookie": {"name": "uid", "ttl": "24h"}, "when_missing": "random"},
        "override": {"header": "x-changeover"},
        "weights": {"green": 5, "red": "1.25"},
        "version_header": {"request": true, "response": false},
        "labels": {"pipeline": "shop", "stage": "ranking"},
    })
}

/// A rollout with one field set to something else; `null` takes it away.
fn set(mut rollout: Value, field: &str, value: Value) -> Value {
    let (parent, last) = field.rsplit_once('/').expect("a pointer");
    let parent = rollout.pointer_mut(parent).expect("a place in the rollout");
    match (parent, value) {
        (Value::Object(map), Value::Null) => drop(map.remove(last)),
        (Value::Object(map), value) => drop(map.insert(last.into(), value)),
        (Value::Array(list), value) => list[last.parse::<usize>().expect("an index")] = value,
        _ => panic!("no place for {field}"),
    }
    rollout
}

fn take_away(rollout: &mut Value, field: &str) {
    rollout.as_object_mut().expect("a rollout").remove(field);
}

/// The good rollout with one field set to something else.
fn with(field: &str, value: Value) -> Value {
    set(good(), field, value)
}

fn problems_of(rollouts: &[Value]) -> Vec<String> {
    problems_in(&json!({"rollouts": rollouts}))
}

/// What is wrong with a whole configuration.
fn problems_in(document: &Value) -> Vec<String> {
    check(document).err().map(|problems| problems.lines().collect()).unwrap_or_default()
}

/// One row per rule: the field, what is put there, the one message.
fn assert_rows(base: &Value, rows: &[(&str, Value, &str)]) {
    for (field, value, expected) in rows {
        let problems = problems_of(&[set(base.clone(), field, value.clone())]);
        assert_eq!(problems, [format!("rollouts[0].{expected}")], "{field}");
    }
}

/// Likewise, where one mistake can lead to several messages: one of them begins like this.
fn assert_rows_among(base: &Value, rows: &[(&str, Value, &str)]) {
    for (field, value, expected) in rows {
        let problems = problems_of(&[set(base.clone(), field, value.clone())]);
        let expected = format!("rollouts[0].{expected}");
        assert!(problems.iter().any(|problem| problem.starts_with(&expected)), "{field}: {problems:#?}");
    }
}

/// A release that moves by itself, with which nothing is wrong.
fn moving() -> Value {
    fixture::with_red(&json!({
        "name": "recommender",
        "mirror": {"to": "green"},
        "steps": [
            {"set_mirror": {"percent": 100}},
            {"pause": {"duration": "10m"}},
            {"set_weight": "5"},
            {"pause": {"duration": "10m", "min_requests": "2000"}},
            {"set_weight": {"green": 10, "red": 5.5}},
            {"pause": {}},
            {"set_weight": 94.5},
        ],
        "analysis": {
            "false_alarm": "0.01", "deadline": "5s", "error_when": {"status": ["5xx", 429], "grpc_status": [2, "4"]},
            "metrics": [
                {"name": "error_rate", "max": "0.02", "tolerate": 1.5},
                {"name": "latency", "tolerate": "1.19", "quantiles": [0.5, "0.9", 0.99]},
            ],
            "on_failure": "pause", "dry_run": true,
            "promote_when": {"no_worse_than": {"times": 2, "or_points": 1}, "confidence": "0.95"},
            "progress_deadline": "2h", "circuit_breaker": {"consecutive_errors": "20"},
        },
    }))
}

/// A rollout with people, with which nothing is wrong.
fn with_people() -> Value {
    json!({
        "name": "claims", "release": "1", "stable": "people", "candidate": "model",
        "versions": {"people": {"cluster": "queue"}, "model": {"cluster": "m"}},
        "automation": {
            "degree": "human", "ask": {"timeout": "2s", "max_body": "1MiB"},
            "answer": {"label": "/outputs/0/data/0", "confidence": "/outputs/1/data/0"},
            "suggest": {"header": "x-suggestion"}, "receipt": {"header": "x-receipt", "ttl": "720h"},
            "decision": {
                "match": {"path": "/v1/decisions", "methods": ["POST"]},
                "receipt": "/task/changeover", "label": "/annotation/label",
            },
            "blind": 20, "partial": {"max_disagreement": "0.02", "confidence": 0.95, "min_coverage": 0.2},
            "audit": 5, "double": 0.5, "step_down": true,
        },
        "steps": [
            {"set_degree": "shadow"}, {"pause": {"min_decisions": 500, "min_agreement": 0.9}},
            {"set_degree": "assist"}, {"pause": {"min_decisions": 500}},
            {"set_degree": "partial"}, {"pause": {"min_coverage": 0.5}},
            {"set_degree": "full"},
        ],
    })
}
