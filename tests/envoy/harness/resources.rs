//! The Kubernetes resources that ship, and protobuf's way to merge what becomes of them.

use serde_json::Value;

use super::setup::root;

/// The documents of a shipped file.
pub(crate) fn documents(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join(file)).expect("a shipped file");
    serde_saphyr::from_multiple(&text).expect("YAML")
}

/// The only resource of a kind in a shipped file.
pub(crate) fn resource(file: &str, kind: &str) -> Value {
    let mut found: Vec<Value> = documents(file);
    found.retain(|resource| resource["kind"] == kind);
    assert_eq!(found.len(), 1, "{kind} in {file}");
    found.remove(0)
}

/// YAML inside a text field.
pub(crate) fn yaml_in(text: &Value) -> Value {
    serde_saphyr::from_str(text.as_str().expect("a string")).expect("YAML")
}

/// Merges as protobuf does: messages field by field, lists by appending, anything else by replacing.
pub(crate) fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                match into.get_mut(name) {
                    Some(old) => merge(old, value),
                    None => drop(into.insert(name.clone(), value.clone())),
                }
            }
        }
        (Value::Array(into), Value::Array(from)) => into.extend(from.iter().cloned()),
        (into, from) => *into = from.clone(),
    }
}
