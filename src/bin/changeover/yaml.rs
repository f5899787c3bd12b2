//! YAML (and so JSON) into documents, as Envoy's loader would type it.

use serde_json::Value;

/// Reads all documents of a file.
///
/// Booleans are YAML 1.1's, as Envoy reads them: `no` is false. Fractions, which Envoy makes texts of, stay
/// numbers: the configuration takes both alike.
pub(crate) fn read(text: &str) -> Result<Vec<Value>, String> {
    let options = serde_saphyr::options! {
        // The user's own file: its size is his business.
        budget: None,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| error.to_string())
}

/// Plain values that YAML's versions read differently, by what each is.
///
/// Envoy's loader reads a plain `0755` as octal and a plain `no` as false. Read both ways, the two documents differ
/// exactly there.
pub(crate) fn ambiguous(text: &str) -> Vec<String> {
    let options = serde_saphyr::options! {
        budget: None,
        with_snippet: false,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
    };
    let as_text: Result<Vec<Value>, _> = serde_saphyr::from_multiple_with_options(text, options);
    let mut found = Vec::new();
    if let (Ok(as_envoy), Ok(as_text)) = (read(text), as_text) {
        compare(&as_envoy.into(), &as_text.into(), String::new(), &mut found);
    }
    found
}

fn compare(as_envoy: &Value, as_text: &Value, place: String, found: &mut Vec<String>) {
    match (as_envoy, as_text) {
        (Value::Object(one), Value::Object(other)) => {
            for ((key, one), other) in one.iter().zip(other.values()) {
                compare(
                    one,
                    other,
                    if place.is_empty() { key.clone() } else { format!("{place}.{key}") },
                    found,
                );
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                let at = if place.is_empty() { String::new() } else { format!("{place}[{index}]") };
                compare(one, other, at, found);
            }
        }
        (Value::Bool(bit), Value::String(text)) => {
            found.push(format!(
                "{place}: Envoy reads {text} as the boolean {bit}; put it in quotes if it is a string"
            ));
        }
        (Value::Number(_), Value::String(text)) => {
            found.push(format!(
                "{place}: Envoy reads {text} as an octal number; put it in quotes if it is a string"
            ));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_typed_as_envoy_types_them() {
        let text = "{a: 5, b: no, c: \"no\", d: on, e: text, f: ~, g: -1, h: 'x', i: 1.25}";
        let expected = json!({"a": 5, "b": false, "c": "no", "d": true, "e": "text", "f": null, "g": -1, "h": "x", "i": 1.25});
        assert_eq!(read(text), Ok(vec![expected]));
    }

    #[test]
    fn what_envoy_reads_differently_is_found() {
        let text = "{a: {b: [x, no]}, c: 0123, d: \"no\", e: \"0123\", f: true, g: 10}";
        assert_eq!(
            ambiguous(text),
            [
                "a.b[1]: Envoy reads no as the boolean false; put it in quotes if it is a string",
                "c: Envoy reads 0123 as an octal number; put it in quotes if it is a string",
            ]
        );
    }

    #[test]
    fn a_file_may_hold_several_documents() {
        assert_eq!(read("a: 1\n---\nb: 2\n").map(|documents| documents.len()), Ok(2));
        assert!(read("a: [").is_err());
        assert!(read("a: 1\na: 2\n").is_err(), "a key twice");
    }

    #[test]
    fn large_files_are_read() {
        let text: String = (0..40_000).map(|n| format!("- {{name: r{n}, cluster: c}}\n")).collect();
        assert_eq!(read(&text).map(|documents| documents[0].as_array().map(Vec::len)), Ok(Some(40_000)));
    }
}
