//! What stands in a command's body.

use serde_json::{Map, Value};

use super::response::Response;
use crate::config::report::Shown;
use crate::config::units::Percent;
use crate::drift::rule::{LONGEST, WINDOWS};
use crate::model::{Degree, Shares};
use crate::rollout::command::{Command, Takes};
use crate::rollout::event::LONGEST_REASON;

/// The command in a body, and the reason that is given with it.
pub(super) fn command(takes: Takes, body: &[u8]) -> Result<(Command, Option<String>), Response> {
    let mut fields = fields(body, takes.expected())?;
    // The share of a version of that name is a number.
    let is_share = matches!(takes, Takes::Shares(_)) && fields.get("reason").is_some_and(Value::is_number);
    let reason = if is_share { None } else { reason(fields.remove("reason"))? };
    Ok((takes.read(&fields)?, reason))
}

impl Takes {
    /// What a body is to have, for one that has not.
    fn expected(self) -> &'static str {
        match self {
            Self::Nothing(_) => "expected no body, or {}; `reason` may stand in it",
            Self::Full(_) => "expected no body, {} or {\"full\": true}; `reason` may stand beside it",
            Self::Shares(_) => {
                "expected shares of versions in percent, such as {\"green\": 10}; `reason` may stand beside them"
            }
            Self::Active(_) => {
                "expected {\"active\": \"…\"} with the name of the version to send all traffic to; `reason` may stand beside it"
            }
            Self::Degree(_) => {
                "expected {\"degree\": \"…\"} with human, shadow, assist, partial or full; `reason` may stand beside it"
            }
            Self::Window(_) => {
                "expected no body, {} or {\"window\": \"…\"} with 5m, 1h or 1d; `reason` may stand beside it"
            }
        }
    }

    /// The command of these fields.
    fn read(self, fields: &Map<String, Value>) -> Result<Command, Response> {
        let command = match self {
            Self::Nothing(make) => fields.is_empty().then(make),
            Self::Full(make) => {
                only("full", fields).and_then(|full| full.map_or(Some(false), Value::as_bool)).map(make)
            }
            Self::Shares(make) => Some(make(shares(fields)?)),
            Self::Active(make) => {
                let active = only("active", fields).flatten().and_then(Value::as_str);
                active.map(|active| make(active.to_owned()))
            }
            Self::Degree(make) => {
                let degree = only("degree", fields).flatten().and_then(Value::as_str);
                degree.and_then(Degree::named).map(make)
            }
            Self::Window(make) => {
                let place = |given: &Value| WINDOWS.iter().position(|(known, _)| given == *known);
                only("window", fields).and_then(|window| window.map_or(Some(LONGEST), place)).map(make)
            }
        };
        command.ok_or_else(|| Response::problem(422, self.expected()))
    }
}

/// Reads a reason; an empty one is none.
fn reason(value: Option<Value>) -> Result<Option<String>, Response> {
    let problem = |why: String| Err(Response::problem(422, format!("reason: {why}")));
    let text = match value {
        None => return Ok(None),
        Some(Value::String(text)) => text,
        Some(_) => return problem("expected a string".into()),
    };
    let length = text.chars().count();
    // The two separators end a line for some readers of the log.
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if length > LONGEST_REASON {
        return problem(format!("{length} characters are over the limit of {LONGEST_REASON}"));
    }
    if text.contains(breaks) {
        return problem(format!("{} holds a control character or a line separator", Shown(&text)));
    }
    Ok((!text.is_empty()).then_some(text))
}

/// The only field that there may be; `None` if there is another.
fn only<'a>(known: &str, fields: &'a Map<String, Value>) -> Option<Option<&'a Value>> {
    let found = fields.get(known);
    (fields.len() == usize::from(found.is_some())).then_some(found)
}

/// Shares of versions, in percent.
fn shares(fields: &Map<String, Value>) -> Result<Shares, Response> {
    let mut shares = Shares::new();
    for (version, value) in fields {
        let share = value.as_f64().ok_or_else(|| "expected a share in percent, such as 10".to_owned());
        let percent = share.and_then(Percent::new);
        let percent = percent.map_err(|why| Response::problem(422, format!("{}: {why}", Shown(version))))?;
        shares.insert(version.clone(), percent.0);
    }
    Ok(shares)
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
    use crate::rollout::command::verb;

    fn takes(name: &str) -> Takes {
        verb(name).unwrap().takes
    }

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
        assert!(command(takes("promote"), br#"{"full": {"a": 1}}"#).is_err() && nested.len() == 1);
    }

    #[test]
    fn every_command_takes_a_reason() {
        let reason = |takes, body: &str| command(takes, body.as_bytes()).map(|(_, reason)| reason);
        let nothing = takes("abort");
        let given = Ok(Some("p99 of „search“ doubled".to_owned()));
        assert_eq!(reason(nothing, r#"{"reason": "p99 of „search“ doubled"}"#), given);
        assert_eq!(reason(takes("promote"), r#"{"full": true, "reason": "p99 of „search“ doubled"}"#), given);
        assert_eq!(reason(takes("weight"), r#"{"green": 1, "reason": "p99 of „search“ doubled"}"#), given);
        assert_eq!(reason(takes("switch"), r#"{"active": "g", "reason": "p99 of „search“ doubled"}"#), given);
        for none in ["", "{}", r#"{"reason": ""}"#] {
            assert_eq!(reason(nothing, none), Ok(None), "{none}");
        }
        let (shares, none) = command(takes("weight"), br#"{"reason": 10}"#).expect("a share of that version");
        assert_eq!(
            (shares.clone(), none),
            (Command::Weight([("reason".into(), Percent::new(10.0).unwrap().0)].into()), None),
            "{shares:?}"
        );
    }

    #[test]
    fn a_reason_is_short_and_on_one_line() {
        let problem = |reason: Value| {
            let body = serde_json::json!({"reason": reason}).to_string();
            command(takes("abort"), body.as_bytes()).map_err(|problem| problem.body)
        };
        for wrong in ["a\nb", "a\u{1b}[2J", "\0", "a\u{85}", "a\u{2028}b", "\u{2029}", "\u{7f}"] {
            let body = problem(wrong.into()).expect_err(wrong);
            assert!(body.contains("reason: ") && body.contains("holds a control character"), "{body}");
        }
        assert!(problem("ä".repeat(256).into()).is_ok());
        let body = problem("ä".repeat(257).into()).expect_err("too long");
        assert!(body.contains("reason: 257 characters are over the limit of 256"), "{body}");
        for wrong in [Value::Null, 1.into(), true.into(), serde_json::json!(["a"])] {
            let body = problem(wrong).expect_err("no text");
            assert!(body.contains("reason: expected a string"), "{body}");
        }
    }
}
