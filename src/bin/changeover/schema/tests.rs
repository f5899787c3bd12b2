use super::*;
use changeover::config;
use proptest::prelude::*;
use serde_json::json;

/// `make schema` writes the file.
#[test]
fn the_file_in_the_repository_is_this_schema() {
    assert!(
        text() == include_str!("../../../../docs/schema.json"),
        "docs/schema.json is old: run `make schema`"
    );
}

/// Whether a schema accepts a value. It supports the keywords that ours uses, but no formats of strings.
fn accepts(root: &Value, schema: &Value, value: &Value) -> bool {
    let schemas = |list: &Value| list.as_array().expect("a list").clone();
    let is = |name: &Value| match name.as_str().expect("a type's name") {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        other => panic!("unknown type {other}"),
    };
    let fields = |schema: &Value| schema.as_object().cloned().unwrap_or_default();
    schema.as_object().is_none_or(|keywords| {
        keywords.iter().all(|(keyword, wanted)| match keyword.as_str() {
            "$ref" => {
                let pointer =
                    wanted.as_str().and_then(|path| path.strip_prefix('#')).expect("a path in here");
                accepts(root, root.pointer(pointer).expect("a definition"), value)
            }
            "type" if wanted.is_array() => schemas(wanted).iter().any(is),
            "type" => is(wanted),
            "enum" => schemas(wanted).contains(value),
            "const" => wanted == value,
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().expect("a number")),
            "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().expect("a number")),
            "maxItems" => {
                value.as_array().is_none_or(|list| list.len() as u64 <= wanted.as_u64().expect("a count"))
            }
            "required" => value.as_object().is_none_or(|_| {
                schemas(wanted).iter().all(|name| value.get(name.as_str().expect("a name")).is_some())
            }),
            "items" => {
                value.as_array().is_none_or(|list| list.iter().all(|item| accepts(root, wanted, item)))
            }
            "properties" => fields(wanted)
                .iter()
                .all(|(name, schema)| value.get(name).is_none_or(|value| accepts(root, schema, value))),
            "additionalProperties" => {
                let known = schema.get("properties").map(fields).unwrap_or_default();
                let others = fields(value).into_iter().filter(|(name, _)| !known.contains_key(name));
                let is_open = wanted != &json!(false);
                others.into_iter().all(|(_, value)| is_open && accepts(root, wanted, &value))
            }
            "anyOf" => schemas(wanted).iter().any(|schema| accepts(root, schema, value)),
            "oneOf" => schemas(wanted).iter().filter(|schema| accepts(root, schema, value)).count() == 1,
            "not" => !accepts(root, wanted, value),
            "$defs" | "$schema" | "default" | "description" | "examples" | "format" | "pattern" | "title" => {
                true
            }
            other => panic!("unknown keyword {other}"),
        })
    })
}

/// Shows `visit` every schema in a schema that has a default.
fn defaults(schema: &Value, visit: &mut dyn FnMut(&Value, &Value)) {
    match schema {
        Value::Object(fields) => {
            if let Some(default) = fields.get("default") {
                visit(schema, default);
            }
            fields.values().for_each(|schema| defaults(schema, visit));
        }
        Value::Array(list) => list.iter().for_each(|schema| defaults(schema, visit)),
        _ => {}
    }
}

#[test]
fn its_defaults_are_as_it_wants_them() {
    let root = schema();
    let mut count = 0;
    defaults(&root, &mut |schema, default| {
        assert!(accepts(&root, schema, default), "{schema:#}");
        count += 1;
    });
    assert!(count > 10, "found no more than {count}");
    assert_eq!(root.pointer("/$defs/Mirror/properties/percent/default"), Some(&json!(100)));
}

/// A configuration with a field of its rollout, and whether program and schema take it.
fn taken(field: &str, value: &Value) -> (bool, bool) {
    let mut rollout = json!({
        "name": "r", "release": "1", "stable": "blue", "candidate": "green",
        "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
    });
    rollout[field] = value.clone();
    let document = json!({"rollouts": [rollout]});
    let schema = schema();
    (config::check(&document).is_ok(), accepts(&schema, &schema, &document))
}

#[test]
fn it_takes_what_the_program_takes() {
    let metric = |metric: Value| json!({"metrics": [metric]});
    let rows = [
        ("release", json!(20261124)),
        ("labels", json!({"stage": 5})),
        ("match", json!({"authority": [5], "headers": [{"name": "x-a", "exact": 5}]})),
        ("versions", json!({"blue": {"cluster": 1}, "green": {"cluster": "2"}})),
        ("weights", json!({"green": "0.25"})),
        ("steps", json!([{"set_weight": "5"}, {"pause": {"duration": "1h"}}])),
        ("mirror", json!({"to": "green", "percent": "12.5"})),
        ("analysis", json!({"error_when": {"status": [503, "5xx"], "grpc_status": ["2"]}})),
        ("analysis", json!({"false_alarm": "0.01", "circuit_breaker": {"consecutive_errors": "20"}})),
        ("analysis", json!({"promote_when": {"confidence": "0.9", "no_worse_than": {"times": "1.5"}}})),
        ("analysis", metric(json!({"name": "error_rate", "tolerate": "1.19", "max": "1e-2"}))),
        ("analysis", metric(json!({"name": "latency", "quantiles": ["0.5", 0.9]}))),
    ];
    for (field, value) in rows {
        assert_eq!(taken(field, &value), (true, true), "{field}: {value}");
    }
}

#[test]
fn it_refuses_what_the_program_refuses() {
    let rows = [
        ("release", json!(1.5)),
        ("release", json!(true)),
        ("labels", json!({"stage": false})),
        ("mirror", json!({"to": "green", "percent": 10_000})),
        ("mirror", json!({"to": "green", "mode": 5})),
        ("steps", json!([{"pause": {"duration": 5}}])),
        ("analysis", json!({"false_alarm": true})),
        ("analysis", json!({"metrics": [{"name": "error_rat"}]})),
        ("analysis", json!({"metrics": [{"name": 5}]})),
        ("analysis", json!({"on_failure": "retry"})),
        ("sticky", json!(true)),
    ];
    for (field, value) in rows {
        assert_eq!(taken(field, &value), (false, false), "{field}: {value}");
    }
}

#[test]
fn a_control_listener_has_no_rollouts() {
    let rollout = json!({"name": "r", "stable": "blue", "versions": {"blue": {"cluster": "b"}}});
    let rows = [
        (json!({"rollouts": []}), true),
        (json!({"control": {}}), true),
        (json!({"control": {}, "rollouts": []}), true),
        (json!({"rollouts": [rollout]}), true),
        (json!({"control": {}, "rollouts": [rollout]}), false),
        (json!({}), false),
    ];
    let schema = schema();
    for (document, expected) in rows {
        let taken = (config::check(&document).is_ok(), accepts(&schema, &schema, &document));
        assert_eq!(taken, (expected, expected), "{document}");
    }
}

proptest! {
    #[test]
    fn a_text_that_the_schema_calls_a_number_is_one(text in NUMBER.trim_start_matches('^').trim_end_matches('$').replace(r"\d", "[0-9]").as_str()) {
        prop_assert!(text.parse::<f64>().is_ok(), "{}", text);
    }
}
