//! YAML as Envoy's loader types it (`ValueUtil::loadFromYaml`, on yaml-cpp): booleans, 32-bit integers, else text. `<<` is
//! an ordinary key, and of duplicate keys the last one counts.

use serde_json::Value;

use super::tree::{Kind, Tree};

/// A document as Envoy reads it.
///
/// # Errors
///
/// Keys that are no text, at which Envoy fails.
pub(super) fn value(tree: &Tree) -> Result<Value, String> {
    match &tree.kind {
        Kind::Scalar(text, plain) => Ok(scalar(text, *plain, tree.tag.as_deref())),
        Kind::List(list) => list.iter().map(|tree| value(tree)).collect(),
        Kind::Map(fields) => {
            let kept = fields.iter().filter(|(key, _)| key.tag.as_deref() != Some("!ignore"));
            kept.map(|(key, field)| Ok((name(key)?, value(field)?))).collect()
        }
    }
}

fn name(key: &Tree) -> Result<String, String> {
    match &key.kind {
        Kind::Scalar(text, plain) => {
            Ok(if is_null(text, *plain, key.tag.as_deref()) { "null".into() } else { text.clone() })
        }
        Kind::List(_) | Kind::Map(_) => Err("a key is a list or a map; expected a text".into()),
    }
}

fn scalar(text: &str, plain: bool, tag: Option<&str>) -> Value {
    if is_null(text, plain, tag) {
        return Value::Null;
    }
    // Quotes and blocks have this tag unless another is given: `!!str 5` is a number to Envoy.
    if tag == Some("!") || (tag.is_none() && !plain) {
        return text.into();
    }
    boolean(text).map(Value::from).or_else(|| integer(text)).unwrap_or_else(|| text.into())
}

pub(super) fn is_null(text: &str, plain: bool, tag: Option<&str>) -> bool {
    plain && tag.is_none() && matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn boolean(text: &str) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    let tail_is_lower = text.chars().skip(1).all(|letter| letter.is_ascii_lowercase());
    if !tail_is_lower && text != text.to_ascii_uppercase() {
        return None;
    }
    match lower.as_str() {
        "y" | "yes" | "true" | "on" => Some(true),
        "n" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// An integer as C's `strtoll` reads it: `0x` is hexadecimal, another leading zero octal. One of more than 32 bits
/// becomes a text in decimal digits.
fn integer(text: &str) -> Option<Value> {
    let text = text.trim_end_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = match hexadecimal {
        Some(digits) => (digits, 16),
        None if digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let number = i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()?;
    Some(i32::try_from(number).map_or_else(|_| number.to_string().into(), Value::from))
}

#[cfg(test)]
mod tests;
