//! `changeover schema`.

use std::io::{Write, stdout};
use std::process::ExitCode;

use changeover::config::schema::Config;
use serde_json::{Map, Value};

/// Prints the JSON Schema of the configuration.
pub(crate) fn run() -> ExitCode {
    // A reader that closes the pipe early has what it wanted.
    let _ = stdout().write_all(text().as_bytes());
    ExitCode::SUCCESS
}

fn text() -> String {
    format!("{:#}\n", schema())
}

fn schema() -> Value {
    let mut schema = schemars::schema_for!(Config).to_value();
    adapt(&mut schema);
    schema
}

/// Makes a schema of Rust's types one of what is read, everywhere in it.
fn adapt(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            leave_out_empty_default(fields);
            leave_out_null(fields);
            allow_other_form(fields);
            fields.values_mut().for_each(adapt);
        }
        Value::Array(list) => list.iter_mut().for_each(adapt),
        _ => {}
    }
}

/// Every field has a default so that reading continues after an error; an empty one is useless to an editor.
fn leave_out_empty_default(fields: &mut Map<String, Value>) {
    let says_nothing = |default: &Value| match default {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => !map.values().any(Value::is_boolean),
        _ => false,
    };
    if fields.get("default").is_some_and(says_nothing) {
        fields.remove("default");
    }
}

/// A field is left out where it has no value.
fn leave_out_null(fields: &mut Map<String, Value>) {
    if let Some(Value::Array(names)) = fields.get_mut("type") {
        names.retain(|name| name != "null");
        if let [only] = names.as_slice() {
            let only = only.clone();
            fields.insert("type".into(), only);
        }
    }
    let Some(Value::Array(mut forms)) = fields.remove("anyOf") else { return };
    forms.retain(|form| form.get("type") != Some(&"null".into()));
    match forms.as_mut_slice() {
        [Value::Object(only)] => fields.append(only),
        _ => drop(fields.insert("anyOf".into(), forms.into())),
    }
}

/// Where a number is wanted a text that is one is read, too, and where a text is wanted a whole number: Envoy's YAML
/// loader makes the one, and people write the other (`release: 20261124`). Not where a text has a form of its own.
fn allow_other_form(fields: &mut Map<String, Value>) {
    let has_form = ["const", "enum", "pattern"].iter().any(|keyword| fields.contains_key(*keyword));
    let mut types = match fields.get("type") {
        Some(Value::String(name)) => vec![Value::from(name.as_str())],
        Some(Value::Array(names)) => names.clone(),
        _ => return,
    };
    if has_form {
        return;
    }
    if types.contains(&"string".into()) {
        types.push("integer".into());
    } else if types.contains(&"number".into()) {
        types.push("string".into());
        fields.insert("pattern".into(), NUMBER.into());
    } else {
        return;
    }
    fields.insert("type".into(), types.into());
}

/// A text that is a number.
const NUMBER: &str = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$";

#[cfg(test)]
mod tests;
