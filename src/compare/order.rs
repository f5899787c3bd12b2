//! An order of values, for arrays that have none of their own.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::number::whole;

/// An order of all values, in which the same values stand together: by type, then by content.
pub(super) fn in_order(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0_u8,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    };
    let real = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => {
            // 0 is 0, however it is written.
            let plain = |number| real(number) + 0.0;
            plain(a).total_cmp(&plain(b)).then_with(|| whole(a).cmp(&whole(b)))
        }
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => all_in_order(a.iter().zip(b), a.len(), b.len()),
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().cmp(b.keys());
            names.then_with(|| all_in_order(a.values().zip(b.values()), a.len(), b.len()))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

fn all_in_order<'a>(mut pairs: impl Iterator<Item = (&'a Value, &'a Value)>, a: usize, b: usize) -> Ordering {
    let first = pairs.find_map(|(a, b)| Some(in_order(a, b)).filter(|order| order.is_ne()));
    first.unwrap_or_else(|| a.cmp(&b))
}
