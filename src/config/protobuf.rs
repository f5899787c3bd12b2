//! `google.protobuf.Struct` from its wire format: the form in which Envoy hands YAML to a module.
//!
//! Unknown fields are skipped, of a repeated single field the last one counts, both as the wire format demands.
//! Source: `google/protobuf/struct.proto`.

use serde_json::{Map, Number, Value};

use crate::model::wire::{self, Payload, each_field};

/// How deep structures may nest: far more than a configuration needs, far less than the stack holds.
const DEEPEST: u8 = 64;

/// Why bytes are not a `google.protobuf.Struct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end inside a field.
    Truncated,
    /// A tag or a varint that the wire format does not know.
    Wire,
    /// Text that is not UTF-8.
    Text,
    /// Not a number, or an infinite one.
    Number,
    /// Nested deeper than any configuration.
    Depth,
}

impl From<wire::Malformed> for Malformed {
    fn from(malformed: wire::Malformed) -> Self {
        match malformed {
            wire::Malformed::Truncated => Self::Truncated,
            wire::Malformed::Wire => Self::Wire,
        }
    }
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Malformed::Truncated => "it ends inside a field",
            Malformed::Wire => "it is not in protobuf's wire format",
            Malformed::Text => "it holds text that is not UTF-8",
            Malformed::Number => "it holds a number that is not finite",
            Malformed::Depth => "it nests more than 64 levels deep",
        })
    }
}

/// Decodes a serialized `google.protobuf.Struct` into a JSON object.
///
/// # Errors
/// Anything that is not the wire format of that message.
pub fn decode_struct(bytes: &[u8]) -> Result<Value, Malformed> {
    structure(bytes, DEEPEST).map(Value::Object)
}

/// Splits a serialized `google.protobuf.Struct`: its fields but for the list of this name, and the values in that list, which
/// are not decoded yet. Without such a list there are none.
///
/// # Errors
/// As [`decode_struct`], as far as it is decoded; or the field of that name is not a list.
pub fn split_struct<'b>(bytes: &'b [u8], list: &str) -> Result<(Value, Vec<&'b [u8]>), Malformed> {
    let (mut map, mut values) = (Map::new(), Vec::new());
    entries(bytes, &mut |key, message| {
        if key != list {
            map.insert(key, value(message, DEEPEST)?);
            return Ok(());
        }
        let mut found = None;
        each_field(message, |number, payload| {
            found = if let (6, Payload::Bytes(list)) = (number, payload) { Some(list) } else { None };
            Ok::<_, Malformed>(())
        })?;
        values.clear();
        each_element(found.ok_or(Malformed::Wire)?, &mut |element| {
            values.push(element);
            Ok(())
        })
    })?;
    Ok((Value::Object(map), values))
}

/// Decodes a serialized `google.protobuf.Value`.
///
/// # Errors
/// Anything that is not the wire format of that message.
pub fn decode_value(bytes: &[u8]) -> Result<Value, Malformed> {
    value(bytes, DEEPEST)
}

fn structure(bytes: &[u8], depth: u8) -> Result<Map<String, Value>, Malformed> {
    let mut map = Map::new();
    entries(bytes, &mut |key, message| {
        map.insert(key, value(message, depth)?);
        Ok(())
    })?;
    Ok(map)
}

/// Visits the entries of a `Struct`: each key, and its value's message.
fn entries<'b>(
    bytes: &'b [u8],
    visit: &mut dyn FnMut(String, &'b [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    each_field(bytes, |number, payload| {
        if let (1, Payload::Bytes(entry)) = (number, payload) {
            let (mut key, mut value) = (String::new(), &[][..]);
            each_field(entry, |number, payload| {
                match (number, payload) {
                    (1, Payload::Bytes(text)) => key = utf8(text)?,
                    (2, Payload::Bytes(message)) => value = message,
                    _ => {}
                }
                Ok::<_, Malformed>(())
            })?;
            visit(key, value)?;
        }
        Ok(())
    })
}

fn value(bytes: &[u8], depth: u8) -> Result<Value, Malformed> {
    let below = || depth.checked_sub(1).ok_or(Malformed::Depth);
    let mut value = Value::Null;
    each_field(bytes, |number, payload| {
        match (number, payload) {
            (1, Payload::Varint(_)) => value = Value::Null,
            (2, Payload::Fixed64(bits)) => value = self::number(f64::from_le_bytes(bits))?,
            (3, Payload::Bytes(text)) => value = Value::String(utf8(text)?),
            (4, Payload::Varint(bit)) => value = Value::Bool(bit != 0),
            (5, Payload::Bytes(message)) => value = Value::Object(structure(message, below()?)?),
            (6, Payload::Bytes(message)) => value = Value::Array(list(message, below()?)?),
            _ => {}
        }
        Ok::<_, Malformed>(())
    })?;
    Ok(value)
}

fn list(bytes: &[u8], depth: u8) -> Result<Vec<Value>, Malformed> {
    let mut values = Vec::new();
    each_element(bytes, &mut |message| {
        values.push(value(message, depth)?);
        Ok(())
    })?;
    Ok(values)
}

/// Visits the values of a list, each as its message.
fn each_element<'b>(
    bytes: &'b [u8],
    visit: &mut dyn FnMut(&'b [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    each_field(bytes, |number, payload| match (number, payload) {
        (1, Payload::Bytes(message)) => visit(message),
        _ => Ok(()),
    })
}

/// A `Struct` has only doubles; whole ones become integers again, as they were written.
#[allow(clippy::cast_possible_truncation)] // the range is checked before
fn number(double: f64) -> Result<Value, Malformed> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: from here on doubles skip integers
    if double.fract() == 0.0 && double.abs() < EXACT {
        return Ok(Value::Number((double as i64).into()));
    }
    Number::from_f64(double).map(Value::Number).ok_or(Malformed::Number)
}

fn utf8(bytes: &[u8]) -> Result<String, Malformed> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Malformed::Text)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// The wire format of a JSON object, as protobuf's own serializer writes it.
    pub(crate) fn encode_struct(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        for (key, value) in value.as_object().expect("an object") {
            let mut entry = Vec::new();
            bytes_field(&mut entry, 1, key.as_bytes());
            bytes_field(&mut entry, 2, &encode_value(value));
            bytes_field(&mut out, 1, &entry);
        }
        out
    }

    fn encode_value(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        match value {
            Value::Null => out.extend([0x08, 0]),
            Value::Number(number) => {
                out.push(0x11);
                out.extend(number.as_f64().expect("a double").to_le_bytes());
            }
            Value::String(text) => bytes_field(&mut out, 3, text.as_bytes()),
            Value::Bool(bit) => out.extend([0x20, u8::from(*bit)]),
            Value::Object(_) => bytes_field(&mut out, 5, &encode_struct(value)),
            Value::Array(values) => {
                let mut list = Vec::new();
                for value in values {
                    bytes_field(&mut list, 1, &encode_value(value));
                }
                bytes_field(&mut out, 6, &list);
            }
        }
        out
    }

    fn bytes_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
        out.push((number << 3) | 2);
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend(bytes);
    }

    #[test]
    fn every_kind_of_value_comes_back() {
        let document = json!({
            "null": null, "yes": true, "no": false, "whole": 5, "negative": -3, "fraction": 1.19,
            "text": "größe", "empty": "", "list": [1, [2, {}], "x"], "map": {"a": {"b": []}},
        });
        assert_eq!(decode_struct(&encode_struct(&document)), Ok(document));
    }

    #[test]
    fn unknown_fields_are_skipped_and_the_last_of_several_counts() {
        let mut bytes = vec![0x78, 1, 0x7d, 0, 0, 0, 0, 0x79, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(encode_struct(&json!({"a": 1})));
        bytes.extend(encode_struct(&json!({"a": 2})));
        assert_eq!(decode_struct(&bytes), Ok(json!({"a": 2})));
    }

    #[test]
    fn malformed_bytes_are_named() {
        assert_eq!(decode_struct(&[0x0a]), Err(Malformed::Truncated));
        assert_eq!(decode_struct(&[0x0a, 5, 0]), Err(Malformed::Truncated));
        assert_eq!(decode_struct(&[0x0b]), Err(Malformed::Wire));
        assert_eq!(decode_struct(&[0x02, 0]), Err(Malformed::Wire));
        assert_eq!(decode_struct(&[0xff; 12]), Err(Malformed::Wire));
        assert_eq!(decode_struct(&[0x0a, 3, 0x0a, 1, 0xff]), Err(Malformed::Text));
        let nan = [&[0x0a, 14, 0x0a, 1, b'a', 0x12, 9, 0x11][..], &f64::NAN.to_le_bytes()].concat();
        assert_eq!(decode_struct(&nan), Err(Malformed::Number));
        let deep = (0..70).fold(json!({}), |inner, _| json!({"a": inner}));
        assert_eq!(decode_struct(&encode_struct(&deep)), Err(Malformed::Depth));
    }
}
