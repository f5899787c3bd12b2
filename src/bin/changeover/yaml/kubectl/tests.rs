use super::*;
use crate::yaml::tree;
use serde_json::json;

fn read(text: &str) -> Result<Value, String> {
    value(&tree::read(text).expect("YAML").remove(0))
}

#[test]
fn spellings_are_typed_as_kubectl_types_them() {
    let rows = [
        ("1.10", json!(1.1)),
        ("72225e2", json!(7_222_500)),
        (".5", json!(0.5)),
        ("1.0", json!(1)),
        ("1_000", json!(1000)),
        ("010", json!(8)),
        ("08", json!(8)),
        ("0o17", json!(15)),
        ("0x1F", json!(31)),
        ("-0b11", json!(-3)),
        ("+5", json!(5)),
        ("4294967296", json!(4_294_967_296_u64)),
        ("18446744073709551615", json!(u64::MAX)),
        ("y", json!(true)),
        ("Off", json!(false)),
        ("yEs", json!("yEs")),
        ("~", json!(null)),
        ("\"5\"", json!("5")),
        ("!!str 5", json!("5")),
        ("2026-11-24", json!("2026-11-24")),
        ("1:30", json!("1:30")),
        ("0x", json!("0x")),
        ("1e", json!("1e")),
        (".", json!(".")),
        ("-", json!("-")),
    ];
    for (spelling, expected) in rows {
        let spelling = if spelling == "-" { "\"-\"" } else { spelling };
        assert_eq!(read(&format!("k: {spelling}")), Ok(json!({"k": expected})), "{spelling}");
    }
    assert!(read("k: .nan").is_err() && read("k: -.inf").is_err());
}

#[test]
fn merge_keys_are_merged() {
    let text = "[&a {u: 1, v: 1}, &b {v: 2, w: 2}, {<<: *a, u: 5}, {u: 5, <<: [*a, *b]}]";
    let document = read(text).expect("a list");
    assert_eq!(document[2], json!({"u": 5, "v": 1}));
    assert_eq!(document[3], json!({"u": 1, "v": 1, "w": 2}), "what is merged last overrides");
    assert_eq!(read("{stable: b, <<: {stable: zz}}"), Ok(json!({"stable": "zz"})));
    assert!(read("{<<: 5}").is_err());
    assert_eq!(read("{no: 1, 010: 2}"), Ok(json!({"false": 1, "8": 2})));
}
