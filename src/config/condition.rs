//! Which requests something is about.

use std::collections::BTreeMap;

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::Serialize;

use super::de::fields;

/// Conditions on a request. All that are given hold; of a list one suffices.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct Match {
    /// Host names, without regard to case. Without a port they match every port.
    pub authority: Vec<String>,
    /// The path, without its query, starts with this.
    pub prefix: Option<String>,
    /// The path, without its query, is this, or starts with this and a `/`.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub path_separated_prefix: Option<String>,
    /// The path, without its query, is this.
    pub path: Option<String>,
    /// Request methods.
    pub methods: Vec<String>,
    /// Conditions on headers.
    pub headers: Vec<ValueRule>,
    /// Conditions on parameters of the query.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<ValueRule>,
    /// Of an event (`feedback`) alone: what its body, which is JSON, has at these JSON pointers. Texts, or numbers and booleans
    /// as text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub body: BTreeMap<String, String>,
}

fields!(Match: authority, prefix, path_separated_prefix, path, methods, headers, query, body);

/// A condition on the first value of a header, or of a parameter, decoded: exactly one of `exact`, `prefix`, `present`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(rename = "HeaderRule", extend("required" = ["name"])))]
pub struct ValueRule {
    /// The name of the header or parameter.
    pub name: String,
    /// The value is this.
    pub exact: Option<String>,
    /// The value starts with this.
    pub prefix: Option<String>,
    /// It is there (`true`), or is not (`false`).
    pub present: Option<bool>,
}

fields!(ValueRule: name, exact, prefix, present);
