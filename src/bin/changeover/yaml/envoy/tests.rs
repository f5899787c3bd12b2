use super::*;
use crate::yaml::tree;

/// Spellings, and what Envoy 1.40 makes of them; `tests/envoy/yaml_test.rs` gives the same table to a real Envoy.
const SPELLINGS: &str = include_str!("../../../../../tests/fixtures/yaml-spellings.json");

#[test]
fn spellings_are_typed_as_envoy_types_them() {
    let rows: Vec<(String, Value)> = serde_json::from_str(SPELLINGS).expect("JSON");
    assert!(rows.len() >= 60);
    for (spelling, expected) in rows {
        let text = format!("five: &five 5\nk: {spelling}\n");
        let tree = tree::read(&text).expect("YAML").remove(0);
        let document = value(&tree).expect("text keys");
        assert_eq!(document.get("k"), Some(&expected), "{spelling}");
    }
}

#[test]
fn keys_are_texts_whatever_they_look_like() {
    let tree =
        tree::read("m: &m {q: 1}\nk: {no: 1, ~: 2, 010: 3, 1.0: 4, !ignore z: 5, <<: *m, d: 1, \"d\": 2}\n");
    let document = value(&tree.expect("YAML").remove(0)).expect("text keys");
    let expected = serde_json::json!({"no": 1, "null": 2, "010": 3, "1.0": 4, "<<": {"q": 1}, "d": 2});
    assert_eq!(document.get("k"), Some(&expected));
    assert!(value(&tree::read("{[a]: 1}").expect("YAML").remove(0)).is_err());
}
