//! YAML as kubectl reads it (sigs.k8s.io/yaml, on go-yaml 2): YAML 1.1 with merge keys, integers of 64 bits, fractions.

use std::rc::Rc;

use serde_json::{Map, Number, Value};

use super::envoy::is_null;
use super::tree::{Kind, Tree};

/// A document as kubectl reads it.
///
/// # Errors
///
/// What it refuses: keys that have no JSON form, infinities, and a merge of anything other than a map.
pub(super) fn value(tree: &Tree) -> Result<Value, String> {
    match &tree.kind {
        Kind::Scalar(text, plain) => scalar(text, *plain, tree.tag.as_deref()),
        Kind::List(list) => list.iter().map(|tree| value(tree)).collect(),
        Kind::Map(fields) => map(fields).map(Value::Object),
    }
}

/// What stands further below counts, be it merged or the map's own.
fn map(fields: &[(Rc<Tree>, Rc<Tree>)]) -> Result<Map<String, Value>, String> {
    let mut map = Map::new();
    for (key, field) in fields {
        if is_merge(key) {
            merge(field, &mut map)?;
        } else {
            map.insert(name(key)?, value(field)?);
        }
    }
    Ok(map)
}

fn is_merge(key: &Tree) -> bool {
    matches!(&key.kind, Kind::Scalar(text, true) if text == "<<") && key.tag.is_none()
}

/// Adds the fields of a map, or of a list of maps of which the first has precedence.
fn merge(tree: &Tree, into: &mut Map<String, Value>) -> Result<(), String> {
    match &tree.kind {
        Kind::Map(fields) => {
            into.extend(map(fields)?);
            Ok(())
        }
        Kind::List(list) => list.iter().rev().try_for_each(|tree| merge(tree, into)),
        Kind::Scalar(..) => Err("`<<` merges a value that is not a map; expected a map".into()),
    }
}

fn name(key: &Tree) -> Result<String, String> {
    match value(key)? {
        Value::String(text) => Ok(text),
        Value::Bool(bit) => Ok(bit.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err("a key is null, a list or a map; expected a text".into())
        }
    }
}

fn scalar(text: &str, plain: bool, tag: Option<&str>) -> Result<Value, String> {
    if !plain || tag.is_some_and(|tag| matches!(tag, "!" | "tag:yaml.org,2002:str")) {
        return Ok(text.into());
    }
    if is_null(text, plain, tag) {
        return Ok(Value::Null);
    }
    if let Some(bit) = boolean(text) {
        return Ok(bit.into());
    }
    number(text)
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Result<Value, String> {
    let special = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(special, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(format!(
            "kubectl refuses {text}, which JSON has no form for; put it in quotes if it is a string"
        ));
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return Ok(text.into());
    }
    let digits = text.replace('_', "");
    if let Some(integer) = integer(&digits) {
        return Ok(integer.into());
    }
    let fraction = is_fraction(&digits).then(|| digits.parse::<f64>().ok()).flatten();
    Ok(fraction.and_then(json_number).map_or_else(|| text.into(), Value::Number))
}

/// An integer in Go's spellings.
fn integer(text: &str) -> Option<Number> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let prefixed = |letter: char| {
        digits.strip_prefix('0').and_then(|rest| rest.strip_prefix([letter, letter.to_ascii_uppercase()]))
    };
    let (digits, radix) = if let Some(digits) = prefixed('x') {
        (digits, 16)
    } else if let Some(digits) = prefixed('o') {
        (digits, 8)
    } else if let Some(digits) = prefixed('b') {
        (digits, 2)
    } else {
        (digits, if digits.starts_with('0') { 8 } else { 10 })
    };
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let text = format!("{sign}{digits}");
    let signed = i64::from_str_radix(&text, radix).ok().map(Number::from);
    signed.or_else(|| u64::from_str_radix(&text, radix).ok().map(Number::from))
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_fraction(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) =
        text.split_once(['e', 'E']).map_or((text, None), |(one, other)| (one, Some(other)));
    let all_digits = |text: &str| text.chars().all(|digit| digit.is_ascii_digit());
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && all_digits(exponent)
    });
    all_digits(whole) && all_digits(part) && !(whole.is_empty() && part.is_empty()) && exponent_fits
}

/// As Go prints it: without a point where there is nothing behind it.
fn json_number(number: f64) -> Option<Number> {
    let whole = format!("{number:.0}").parse::<i64>().ok();
    match whole {
        Some(whole) if number.fract() == 0.0 && number.abs() < 1e18 => Some(whole.into()),
        _ => Number::from_f64(number),
    }
}

#[cfg(test)]
mod tests;
