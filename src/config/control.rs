//! `control`: who may use the HTTP API.

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::de::fields;
use super::units::Sha256;

/// Who may use the HTTP API.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct Control {
    /// The SHA-256 of a token without a name, which allows everything. Every call but `/healthz` must carry this token or
    /// one of `tokens`. With neither, every client that reaches the listener may use it.
    pub token_sha256: Option<Sha256>,
    /// Tokens with names, which events show, and with rights of their own. At most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")] // other configurations keep their hash
    pub tokens: Vec<Token>,
    /// Host names besides loopback's under which the listener may be called. Without a port they match every port.
    pub hosts: Vec<String>,
}

fields!(Control: token_sha256, tokens, hosts);

/// A token of the HTTP API.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["name", "sha256", "rights"])))]
pub struct Token {
    /// Unique name: events show it for each command that comes with the token. Lower-case letters, digits and `-`, at most 63.
    pub name: String,
    /// The token's SHA-256.
    pub sha256: Option<Sha256>,
    /// What it allows.
    pub rights: Option<Rights>,
}

fields!(Token: name, sha256, rights);

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum Rights {
    /// To look at rollouts and events.
    Read,
    /// To give commands as well.
    Write,
}
