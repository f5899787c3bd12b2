//! `session_affinity` and `override`: what keeps a user on one version, and what lets a client choose one.

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::de::fields;
use super::units::Duration;

/// What identifies the user: exactly one of `header`, `cookie`, `query`, `source_ip`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct SessionAffinity {
    /// The value of this request header.
    pub header: Option<String>,
    /// The value of this cookie.
    pub cookie: Option<Cookie>,
    /// The value of this query parameter.
    pub query: Option<String>,
    /// The client's address as Envoy determines it, without the port (`true`).
    pub source_ip: Option<bool>,
    /// Where requests go that do not carry it.
    pub when_missing: WhenMissing,
}

fields!(SessionAffinity: header, cookie, query, source_ip, when_missing);

/// A cookie that identifies the user.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["name"])))]
pub struct Cookie {
    /// The cookie's name.
    pub name: String,
    /// Issue the cookie, with a random id, to a client that has none; it lives this long (`0s`: until the
    /// browser closes). Absent: the cookie is set by another party, and only read.
    pub ttl: Option<Duration>,
    /// Which requests from other sites carry the issued cookie.
    #[serde(skip_serializing_if = "SameSite::is_lax")] // other configurations keep their hash
    pub same_site: SameSite,
    /// The host that the issued cookie is for, subdomains included. Absent: the host that was asked, without them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The path below which the issued cookie is sent. Absent: `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The issued cookie is kept apart for each site that embeds this one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partitioned: bool,
}

fields!(Cookie: name, ttl, same_site, domain, path, partitioned);

impl Cookie {
    /// Whether browsers take a cookie of this name only with `Secure` (RFC 6265bis, 4.1.3.1).
    #[must_use]
    pub fn is_secure_by_name(&self) -> bool {
        self.name.get(..9).is_some_and(|prefix| prefix.eq_ignore_ascii_case("__Secure-"))
    }

    /// Whether browsers take a cookie of this name only with `Secure`, `Path=/` and no domain (RFC 6265bis, 4.1.3.2).
    #[must_use]
    pub fn is_host_only_by_name(&self) -> bool {
        self.name.get(..7).is_some_and(|prefix| prefix.eq_ignore_ascii_case("__Host-"))
    }
}

/// Which requests from other sites carry a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum SameSite {
    /// Links from other sites.
    #[default]
    Lax,
    /// None.
    Strict,
    /// All; the cookie is `Secure`, as browsers want it.
    None,
}

impl SameSite {
    #[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference
    fn is_lax(&self) -> bool {
        *self == Self::Lax
    }
}

/// Where requests without the affinity key go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum WhenMissing {
    /// To the stable version.
    #[default]
    Stable,
    /// Each is drawn on its own.
    Random,
}

/// Lets a client choose a version: `always` is the candidate, `never` is stable, or a version's name. Any other value
/// counts as none. At least one field; the first that has such a value decides.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("minProperties" = 1)))]
pub struct Override {
    /// The value of this request header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The value of this query parameter.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub query: Option<String>,
    /// The value of this cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
}

fields!(Override: header, query, cookie);
