//! JSON as Envoy reads it (protobuf's parser, in its lenient mode): trailing commas, names without quotes and single quotes
//! pass, and numbers in a `Struct` are doubles. A name may be given twice in a message, unless it is one of several of which a
//! message has one, and never in a `Struct` or another map.

use serde_json::{Map, Number, Value};

use crate::envoy::form::snake;

/// How deeply a document may be nested.
const MAX_DEPTH: usize = 100;

/// Fields that hold a `Struct` or another map.
const MAPS: [&str; 10] = [
    "value", // of an `Any` that is a Struct
    "metadata",
    "filter_metadata",
    "filterMetadata",
    "key_values",
    "keyValues",
    "typed_extension_protocol_options",
    "typedExtensionProtocolOptions",
    "typed_per_filter_config",
    "typedPerFilterConfig",
];
/// Fields of which a message has one (a `oneof`), as far as they matter here; in protobuf's own spelling.
const ONE_OF: [&str; 34] = [
    "ads",
    "cluster",
    "cluster_header",
    "cluster_specifier_plugin",
    "config_discovery",
    "connect_matcher",
    "contains",
    "contains_match",
    "direct_response",
    "exact",
    "exact_match",
    "filename",
    "host_rewrite_literal",
    "inline_bytes",
    "inline_string",
    "local",
    "path",
    "path_separated_prefix",
    "port_value",
    "prefix",
    "prefix_match",
    "present_match",
    "rds",
    "redirect",
    "remote",
    "remove",
    "route",
    "route_config",
    "safe_regex",
    "safe_regex_match",
    "string_match",
    "typed_config",
    "vm_config",
    "weighted_clusters",
];

/// Reads a document.
///
/// # Errors
///
/// What Envoy refuses.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0, false)?;
    reader.skip();
    if reader.rest().is_empty() { Ok(value) } else { Err(reader.error("more behind its end")) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn error(&self, what: &str) -> String {
        let line = self.text.get(..self.at).unwrap_or_default().matches('\n').count().saturating_add(1);
        format!("{what} at line {line}")
    }

    fn pass(&mut self, length: usize) {
        self.at = self.at.saturating_add(length);
    }

    fn skip(&mut self) {
        let rest = self.rest();
        self.pass(rest.len().saturating_sub(rest.trim_start_matches([' ', '\t', '\n', '\r']).len()));
    }

    /// Passes this letter, if it is the next one.
    fn is_next(&mut self, wanted: char) -> bool {
        self.skip();
        let is_it = self.rest().starts_with(wanted);
        if is_it {
            self.pass(wanted.len_utf8());
        }
        is_it
    }

    fn value(&mut self, depth: usize, is_map: bool) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        self.skip();
        match self.rest().chars().next() {
            Some('{') => self.map(depth.saturating_add(1), is_map),
            Some('[') => self.list(depth.saturating_add(1), is_map),
            Some('"' | '\'') => self.string().map(Value::String),
            Some(first) if first == '-' || first.is_ascii_digit() => self.number(),
            _ => match self.word() {
                "true" => Ok(true.into()),
                "false" => Ok(false.into()),
                "null" => Ok(Value::Null),
                _ => Err(self.error("a value expected")),
            },
        }
    }

    fn map(&mut self, depth: usize, is_map: bool) -> Result<Value, String> {
        let mut map = Map::new();
        self.pass(1);
        while !self.is_next('}') {
            let name = match self.rest().chars().next() {
                Some('"' | '\'') => self.string()?,
                _ => match self.word() {
                    "true" | "false" | "null" => return Err(self.error("a name expected")),
                    word if word.starts_with(|first: char| first.is_ascii_digit()) => {
                        return Err(self.error("a name expected"));
                    }
                    word => word.to_owned(),
                },
            };
            if name.is_empty() && !self.is_behind_quote() {
                return Err(self.error("a name expected"));
            }
            if !self.is_next(':') {
                return Err(self.error("`:` expected"));
            }
            let value = self.value(depth, is_map || MAPS.contains(&name.as_str()))?;
            if map.contains_key(&name) && (is_map || ONE_OF.contains(&snake(&name).as_str())) {
                return Err(self.error(&format!("{name:?} is given twice, which Envoy refuses,")));
            }
            add(&mut map, name, value);
            if !self.is_next(',') && !self.rest().starts_with('}') {
                return Err(self.error("`,` or `}` expected"));
            }
        }
        Ok(Value::Object(map))
    }

    fn is_behind_quote(&self) -> bool {
        self.text.get(..self.at).is_some_and(|before| before.ends_with(['"', '\'']))
    }

    fn list(&mut self, depth: usize, is_map: bool) -> Result<Value, String> {
        let mut list = Vec::new();
        self.pass(1);
        while !self.is_next(']') {
            list.push(self.value(depth, is_map)?);
            if !self.is_next(',') && !self.rest().starts_with(']') {
                return Err(self.error("`,` or `]` expected"));
            }
        }
        Ok(Value::Array(list))
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let is_end = |letter: char| !(letter.is_ascii_alphanumeric() || letter == '_');
        let word = rest.split(is_end).next().unwrap_or_default();
        self.pass(word.len());
        word
    }

    fn string(&mut self) -> Result<String, String> {
        let rest = self.rest();
        let Some(quote) = rest.chars().next() else { return Err(self.error("a text expected")) };
        let mut is_escaped = false;
        let end = rest.char_indices().skip(1).find(|(_, letter)| {
            let is_end = *letter == quote && !is_escaped;
            is_escaped = *letter == '\\' && !is_escaped;
            is_end
        });
        let inside = end.and_then(|(end, _)| rest.get(1..end));
        let Some(inside) = inside else { return Err(self.error("a text without an end")) };
        // The standard's form of it, which serde_json reads.
        let mut standard = String::from("\"");
        let mut is_escaped = false;
        for letter in inside.chars() {
            match letter {
                '\'' if is_escaped => {
                    standard.pop();
                    standard.push(letter);
                }
                '"' if !is_escaped => standard.push_str("\\\""),
                control if control < ' ' && !is_escaped => {
                    standard.push_str(&format!("\\u{:04x}", u32::from(control)));
                }
                other => standard.push(other),
            }
            is_escaped = letter == '\\' && !is_escaped;
        }
        standard.push('"');
        let text = serde_json::from_str(&standard);
        let text = text.map_err(|_| self.error("a text with a letter or an escape that JSON has not"))?;
        self.pass(inside.len().saturating_add(2));
        Ok(text)
    }

    fn number(&mut self) -> Result<Value, String> {
        let rest = self.rest();
        let is_end = |letter: char| !(letter.is_ascii_alphanumeric() || "+-.".contains(letter));
        let text = rest.split(is_end).next().unwrap_or_default();
        let number: Number = serde_json::from_str(text).map_err(|_| self.error("not a number"))?;
        self.pass(text.len());
        let double = number.as_f64().unwrap_or_default();
        // Longer ones Envoy hands to the filter with an exponent.
        if double.fract() == 0.0
            && double.abs() < 1e15
            && let Ok(whole) = format!("{double:.0}").parse::<i64>()
        {
            return Ok(whole.into());
        }
        Ok(Number::from_f64(double).map_or(Value::Number(number), Value::Number))
    }
}

/// Adds a field as protobuf does: messages are merged, lists grow, and of other values the last one counts.
fn add(map: &mut Map<String, Value>, name: String, value: Value) {
    match (map.get_mut(&name), value) {
        (Some(Value::Object(fields)), Value::Object(more)) => {
            more.into_iter().for_each(|(name, value)| add(fields, name, value));
        }
        (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
        (_, value) => {
            map.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_envoy_takes_is_read_and_what_it_refuses_is_not() {
        let rows = [
            (r#"{"a": 1e3}"#, json!({"a": 1000})),
            (
                r#"{"a": 1, "a": 2, "b": [1], "b": [2], "c": {"d": 1}, "c": {"e": 2}}"#,
                json!({"a": 2, "b": [1, 2], "c": {"d": 1, "e": 2}}),
            ),
            (r#"{"a": -0}"#, json!({"a": 0})),
            (r#"{"a": [1, 2,],}"#, json!({"a": [1, 2]})),
            (r#"{a: 'b"c', "d": "\u0041\n"}"#, json!({"a": "b\"c", "d": "A\n"})),
            (r#"{"a": "\'", 'b': 'c\'"'}"#, json!({"a": "'", "b": "c'\""})),
            ("{\"a\": \"b\tc\nd\"}", json!({"a": "b\tc\nd"})),
            (r#"{"a": 12345678901234567}"#, json!({"a": 12_345_678_901_234_568.0})),
            (
                r#"{"a": 0.5, "b": {}, "c": [], "": null, "e": true}"#,
                json!({"a": 0.5, "b": {}, "c": [], "": null, "e": true}),
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
        for text in [
            r#"{"prefix": "/", "prefix": "/"}"#,
            r#"{"metadata": {"a": {"b": 1, "b": 1}}}"#,
            "",
            "// c\n{}",
            "{} {}",
            r#"{"a" 1}"#,
            r#"{"a": 01}"#,
            r#"{"a": "b}"#,
            "[1 2]",
            "{,}",
            "[,]",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read(&"[".repeat(200_000)).is_err());
    }
}
