//! The configuration as Envoy hands it over, whatever its form, as one document.
//!
//! A `Struct` arrives as serialized protobuf, a `StringValue` or `BytesValue` as its text, which is JSON.
//! JSON is tried first: its text may start with the byte a `Struct` starts with (a newline).

use serde_json::Value;

use super::protobuf;

/// Reads a plugin configuration.
///
/// # Errors
/// A sentence about what the bytes are instead.
pub fn read(bytes: &[u8]) -> Result<Value, String> {
    if bytes.is_empty() {
        return Err("the configuration is empty; expected at least `rollouts: []`".into());
    }
    let json = match serde_json::from_slice(bytes) {
        Ok(document) => return Ok(document),
        Err(error) => error,
    };
    protobuf::decode_struct(bytes).map_err(|malformed| {
        // The error is that of the form that was meant.
        if bytes.trim_ascii_start().starts_with(b"{") {
            format!("the configuration is not valid JSON: {json}")
        } else {
            format!("the configuration is neither JSON nor a google.protobuf.Struct: {malformed}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::protobuf::tests::encode_struct;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn all_forms_give_the_same_document() {
        let document = json!({"rollouts": [{"name": "a", "weights": {"green": 5}}]});
        assert_eq!(read(&encode_struct(&document)), Ok(document.clone()));
        assert_eq!(read(document.to_string().as_bytes()), Ok(document.clone()));
        assert_eq!(read(format!("\n  {document:#}\n").as_bytes()), Ok(document));
    }

    #[test]
    fn a_struct_that_begins_like_json_is_still_a_struct() {
        // A first entry of 123 bytes: newline, brace.
        let document = json!({"a": "x".repeat(123 - 3 - 2 - 2)});
        let bytes = encode_struct(&document);
        assert_eq!(bytes.get(..2), Some(&b"\n{"[..]));
        assert_eq!(read(&bytes), Ok(document));
    }

    #[test]
    fn errors_say_what_was_expected() {
        assert!(read(b"").unwrap_err().contains("is empty"));
        let error = read(b"\n{\"rollouts\": [}").unwrap_err();
        assert!(error.contains("not valid JSON") && error.contains("line 2 column 15"), "{error}");
        let error = read(b"rollouts: []").unwrap_err();
        assert!(error.contains("neither JSON nor a google.protobuf.Struct"), "{error}");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            // Exact in decimal and in binary: serde_json may read others a digit off in the 17th place.
            any::<i32>()
                .prop_filter("a fraction", |n| n % 64 != 0)
                .prop_map(|n| Value::from(f64::from(n) / 64.0)),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn protobuf_and_json_agree_on_any_object(map in prop::collection::btree_map(".{0,6}", any_json(), 1..6)) {
            let document = Value::Object(map.into_iter().collect());
            prop_assert_eq!(read(&encode_struct(&document)).unwrap_or_default(), document.clone());
            prop_assert_eq!(read(document.to_string().as_bytes()).unwrap_or_default(), document);
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes);
        }

        #[test]
        fn a_damaged_struct_never_panics(at in 0..200_usize, byte: u8) {
            let mut bytes = encode_struct(&json!({"rollouts": [{"name": "a", "versions": {"b": {"cluster": "c"}}, "x": [1.5, true, null]}]}));
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            let _ = read(&bytes);
        }
    }
}
