//! YAML (and so JSON) into documents, typed as their reader types it: Kubernetes resources as kubectl, all else as Envoy.

mod envoy;
mod json;
mod kubectl;
mod tree;

use std::path::Path;

use serde_json::Value;

use tree::{Kind, Tree};

use crate::kubernetes;

/// Reads all documents of a file. Envoy goes by its name: what does not end in `.yaml` or `.yml` is JSON. A name without an
/// ending, as standard input has, says nothing here.
///
/// # Errors
///
/// What [`read`] refuses, or is not JSON.
pub(crate) fn read_file(file: &str, text: &str) -> Result<Vec<Value>, String> {
    if is_json(file, text) {
        return read_json(text).map(|document| vec![document]);
    }
    read(text).map_err(|error| format!("not valid YAML: {error}"))
}

/// Reads JSON: Envoy's own as Envoy does, all else by the standard.
fn read_json(text: &str) -> Result<Value, String> {
    let by_standard = serde_json::from_str::<Value>(text);
    let is_anothers =
        |document: &Value| !crate::envoy::is_envoys(document) || kubernetes::is_resource(document);
    let as_envoy = match &by_standard {
        Ok(document) if is_anothers(document) || crate::envoy::dump::documents(document).is_some() => None,
        _ => Some(json::read(text)),
    };
    match (by_standard, as_envoy) {
        (_, Some(Ok(document))) if !is_anothers(&document) => Ok(document),
        (Ok(document), None) => Ok(document),
        (Ok(_), Some(Err(error))) => Err(format!("Envoy does not read it: {error}")),
        (Ok(document), Some(Ok(_))) => Ok(document),
        (Err(error), _) => Err(format!("not valid JSON: {error}")),
    }
}

/// Whether a file is JSON to Envoy, and to this program.
pub(crate) fn is_json(file: &str, text: &str) -> bool {
    let is_it = || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    has_extension(file, &["json"]) || (!is_yaml_to_envoy(file) && is_it())
}

/// Whether Envoy takes a file for YAML.
pub(crate) fn is_yaml_to_envoy(file: &str) -> bool {
    Path::new(file).extension().is_none() || has_extension(file, &["yaml", "yml"])
}

fn has_extension(file: &str, extensions: &[&str]) -> bool {
    let extension = Path::new(file).extension();
    extension.is_some_and(|extension| extensions.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// Reads all documents of a YAML text.
///
/// # Errors
///
/// What is not YAML, or what the reader of such a document refuses.
pub(crate) fn read(text: &str) -> Result<Vec<Value>, String> {
    tree::read(text)?.iter().map(|tree| Ok(Reader::of(tree)?.1)).collect()
}

/// Describes the plain values whose type may surprise, and the duplicate keys.
pub(crate) fn ambiguous(file: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if is_json(file, text) {
        return found;
    }
    for tree in tree::read(text).unwrap_or_default() {
        if let Ok((reader, _)) = Reader::of(&tree) {
            reader.look_at(&tree, "", &mut found);
        }
    }
    found
}

#[derive(Clone, Copy)]
enum Reader {
    Envoy,
    Kubectl,
}

impl Reader {
    /// Who reads a document, and what it is to that reader.
    fn of(tree: &Tree) -> Result<(Self, Value), String> {
        let value = envoy::value(tree)?;
        if kubernetes::is_resource(&value) {
            Ok((Self::Kubectl, kubectl::value(tree)?))
        } else {
            Ok((Self::Envoy, value))
        }
    }

    fn look_at(self, tree: &Tree, place: &str, found: &mut Vec<String>) {
        match &tree.kind {
            Kind::Scalar(text, true) => {
                found.extend(self.surprise(tree, text).map(|what| format!("{place}: {what}")))
            }
            Kind::Scalar(_, false) => {}
            Kind::List(list) => {
                for (index, tree) in list.iter().enumerate() {
                    self.look_at(tree, &format!("{place}[{index}]"), found);
                }
            }
            Kind::Map(fields) => {
                let mut seen = std::collections::HashSet::new();
                for (key, tree) in fields {
                    let Kind::Scalar(name, _) = &key.kind else { continue };
                    let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                    if !seen.insert(name) {
                        found.push(format!("{place}: duplicate key; the last one counts"));
                    }
                    self.look_at(tree, &place, found);
                }
            }
        }
    }

    fn surprise(self, tree: &Tree, text: &str) -> Option<String> {
        let (reader, value) = match self {
            Self::Envoy => ("Envoy", envoy::value(tree)),
            Self::Kubectl => ("kubectl", kubectl::value(tree)),
        };
        let what = match value.ok()? {
            Value::Bool(bit) if !matches!(text, "true" | "false") => format!("the boolean {bit}"),
            Value::Number(number) if is_octal(text) => format!("the octal number {number}"),
            Value::Number(number) if !is_ordinary(text) => format!("the number {number}"),
            _ => return None,
        };
        Some(format!("{reader} reads {text} as {what}; put it in quotes if it is a string"))
    }
}

fn is_octal(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// A number in digits, perhaps with a point.
fn is_ordinary(text: &str) -> bool {
    text.trim_start_matches(['+', '-']).bytes().all(|digit| digit.is_ascii_digit() || digit == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_document_is_read_as_its_reader_does() {
        let text =
            "{a: 0.5, b: 010}\n---\n{apiVersion: v1, kind: Other, a: 0.5, b: &b {c: 0b11}, d: {<<: *b}}\n";
        let expected = [
            json!({"a": "0.5", "b": 8}),
            json!({"apiVersion": "v1", "kind": "Other", "a": 0.5, "b": {"c": 3}, "d": {"c": 3}}),
        ];
        assert_eq!(read(text), Ok(expected.into()));
    }

    #[test]
    fn surprising_types_are_found() {
        let text =
            "{a: {b: [x, no]}, c: 0123, d: \"no\", e: \"0123\", f: true, g: 10, h: 0x1f, a: 5, i: 72225e2}";
        assert_eq!(
            ambiguous("f", text),
            [
                "a.b[1]: Envoy reads no as the boolean false; put it in quotes if it is a string",
                "c: Envoy reads 0123 as the octal number 83; put it in quotes if it is a string",
                "h: Envoy reads 0x1f as the number 31; put it in quotes if it is a string",
                "a: duplicate key; the last one counts",
            ]
        );
        let text = "{apiVersion: v1, kind: A, a: 1.0, b: 72225e2, c: 1_000, d: 5, e: on}";
        assert_eq!(
            ambiguous("f", text),
            [
                "b: kubectl reads 72225e2 as the number 7222500; put it in quotes if it is a string",
                "c: kubectl reads 1_000 as the number 1000; put it in quotes if it is a string",
                "e: kubectl reads on as the boolean true; put it in quotes if it is a string",
            ]
        );
    }

    #[test]
    fn a_file_may_hold_several_documents() {
        assert_eq!(read("a: 1\n---\nb: 2\n").map(|documents| documents.len()), Ok(2));
        assert!(read("a: [").is_err());
        assert_eq!(read("\u{feff}a: 1\n"), Ok(vec![json!({"a": 1})]), "a byte order mark");
    }

    #[test]
    fn large_files_are_read_and_bombs_refused() {
        let text: String = (0..40_000).map(|n| format!("- {{name: r{n}, cluster: c}}\n")).collect();
        assert_eq!(read(&text).map(|documents| documents[0].as_array().map(Vec::len)), Ok(Some(40_000)));
        let bomb: String =
            (1..12).map(|n| format!("a{n}: &a{n} [{}]\n", format!("*a{},", n - 1).repeat(10))).collect();
        let refused = read(&format!("a0: &a0 x\n{bomb}")).unwrap_err();
        assert!(refused.contains("aliases repeat more than 1000000 values"), "{refused}");
        for deep in ["[".repeat(200_000), format!("a: {}1{}", "[".repeat(600), "]".repeat(600))] {
            assert!(read(&deep).is_err());
        }
        let chained: String = (1..20)
            .map(|n| format!("a{n}: &a{n} {}*a{}{}\n", "[".repeat(90), n - 1, "]".repeat(90)))
            .collect();
        assert!(read(&format!("a0: &a0 x\n{chained}")).unwrap_err().contains("nested more than 500 deep"));
        assert!(read("a: &a [*a]\n").is_err(), "an alias of itself");
    }
}
