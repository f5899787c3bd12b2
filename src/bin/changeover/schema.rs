//! `changeover schema`.

use std::io::{Write, stdout};
use std::process::ExitCode;

use changeover::config::schema::Config;
use serde_json::Value;

/// Prints the JSON Schema of the configuration.
pub(crate) fn run() -> ExitCode {
    // A reader that closes the pipe early has what it wanted.
    let _ = stdout().write_all(text().as_bytes());
    ExitCode::SUCCESS
}

fn text() -> String {
    let mut schema = schemars::schema_for!(Config).to_value();
    leave_out_empty_defaults(&mut schema);
    format!("{schema:#}\n")
}

/// Every field has a default so that reading goes on behind an error; an empty one tells an editor nothing.
fn leave_out_empty_defaults(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
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
            fields.values_mut().for_each(leave_out_empty_defaults);
        }
        Value::Array(list) => list.iter_mut().for_each(leave_out_empty_defaults),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    /// `make schema` writes the file.
    #[test]
    fn the_file_in_the_repository_is_this_schema() {
        assert!(
            super::text() == include_str!("../../../docs/schema.json"),
            "docs/schema.json is old: run `make schema`"
        );
    }
}
