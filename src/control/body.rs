//! What stands in a command's body.

use serde_json::{Map, Value};

use super::response::Response;
use crate::config::report::Shown;
use crate::config::units::Percent;
use crate::model::Shares;

/// The only field that a body may have, if it has one.
fn only<'a>(
    known: &str,
    fields: &'a Map<String, Value>,
    expected: &str,
) -> Result<Option<&'a Value>, Response> {
    match fields.get(known) {
        found if fields.len() == usize::from(found.is_some()) => Ok(found),
        _ => Err(Response::problem(422, expected)),
    }
}

/// `{"full": true}`, or not.
pub(super) fn full(body: &[u8]) -> Result<bool, Response> {
    let expected = "expected no body, {} or {\"full\": true}";
    let fields = fields(body, expected)?;
    let full = only("full", &fields, expected)?.map_or(Some(false), Value::as_bool);
    full.ok_or_else(|| Response::problem(422, expected))
}

/// Shares of versions, in percent.
pub(super) fn shares(body: &[u8]) -> Result<Shares, Response> {
    let mut shares = Shares::new();
    for (version, value) in &fields(body, "expected shares of versions in percent, such as {\"green\": 10}")?
    {
        let share = value.as_f64().ok_or_else(|| "expected a share in percent, such as 10".to_owned());
        let percent = share.and_then(Percent::new);
        let percent = percent.map_err(|why| Response::problem(422, format!("{}: {why}", Shown(version))))?;
        shares.insert(version.clone(), percent.0);
    }
    Ok(shares)
}

/// The name of the side in `{"active": "green"}`.
pub(super) fn active(body: &[u8]) -> Result<String, Response> {
    let expected = "expected {\"active\": \"…\"} with the name of the version to send all traffic to";
    let fields = fields(body, expected)?;
    let active = only("active", &fields, expected)?.and_then(Value::as_str);
    active.map(str::to_owned).ok_or_else(|| Response::problem(422, expected))
}

/// Refuses a body with anything in it.
pub(super) fn empty(body: &[u8]) -> Result<(), Response> {
    let expected = "expected no body, or {}";
    if fields(body, expected)?.is_empty() { Ok(()) } else { Err(Response::problem(422, expected)) }
}

/// The fields of a body; an empty one has none. `expected` is said when it is anything else.
fn fields(body: &[u8], expected: &str) -> Result<Map<String, Value>, Response> {
    if body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        // serde_json takes the last of two that have one name, another reader the first.
        Ok(Value::Object(fields)) if colons(body) > fields.len() && !fields.values().any(is_nested) => {
            Err(Response::problem(422, "duplicate field"))
        }
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err(Response::problem(422, expected)),
    }
}

fn is_nested(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

/// The colons between names and values in valid JSON. A reader of its own that sees both fields costs the module 5 KB.
fn colons(json: &[u8]) -> usize {
    let (mut count, mut in_text, mut is_escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => in_text = !in_text,
            b':' if !in_text => count = count.saturating_add(1),
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_may_not_stand_there_twice() {
        for body in [
            r#"{"green": 10, "green": 30}"#,
            r#"{"green": 10, "red": 5, "gr\u0065en": 10}"#,
            r#"{"green": {"a": 1}, "green": 10}"#,
            r#"{"a:\"b\\": 10, "a:\"b\\": 10}"#,
        ] {
            let problem = fields(body.as_bytes(), "").expect_err(body);
            assert_eq!(problem.status, 422);
            assert!(problem.body.contains("duplicate field"), "{}", problem.body);
        }
        for body in ["{}", r#"{"a:\"b\\": 10, "b": ":\\\":"}"#, r#"{ "b" : "\\", "c" : ":" }"#] {
            assert!(fields(body.as_bytes(), "").is_ok(), "{body}");
        }
        let nested = fields(br#"{"full": {"a": 1}}"#, "").expect("for the field's reader to refuse");
        assert!(full(br#"{"full": {"a": 1}}"#).is_err() && nested.len() == 1);
    }
}
