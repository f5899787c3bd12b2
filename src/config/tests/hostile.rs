use super::*;
use proptest::prelude::*;

/// Values that fit nowhere in particular.
fn junk() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([1, "a", {"b": null}])),
        Just(json!({"name": {"x": []}, "a.b[0]": 1, "": 2})),
    ]
}

fn places(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| places(value, format!("{at}/{key}"), out)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, value)| places(value, format!("{at}/{n}"), out))
        }
        _ => {}
    }
    out.push(at);
}

proptest! {
    /// Whatever stands wherever: no panic, and a refusal names at least one field.
    #[test]
    fn junk_anywhere_is_refused_or_taken(which: prop::sample::Index, junk in junk()) {
        let mut document = json!({"rollouts": [good(), good()]});
        let mut all = Vec::new();
        places(&document, String::new(), &mut all);
        *document.pointer_mut(&all[which.index(all.len())]).expect("a place") = junk;
        if let Err(problems) = check(&document) {
            prop_assert!(problems.lines().count() > 0);
        }
    }
}
