//! Which headers of a request its copies have.

use crate::model::header;

/// Whether a copy of a request has its header with this name, in lower case: not what is between two hops, what Envoy sets
/// itself or obeys, what the filter uses, or what an answer's encoding depends on.
#[must_use]
pub fn is_passed_on(name: &[u8]) -> bool {
    const HOPS: [&[u8]; 10] = [
        b"accept-encoding",
        b"connection",
        b"content-length",
        b"expect",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ];
    let is_own = name.starts_with(b"x-envoy-") || header::ALL.iter().any(|own| own.as_bytes() == name);
    !(is_own || HOPS.contains(&name))
}

/// Whether an answer that is handed on has the header with this name, in lower case: not what is between two hops, or what
/// Envoy sets itself.
#[must_use]
pub fn is_handed_back(name: &[u8]) -> bool {
    const OWN: [&[u8]; 7] = [
        b"connection",
        b"content-length",
        b"date",
        b"keep-alive",
        b"server",
        b"trailer",
        b"transfer-encoding",
    ];
    !(name.starts_with(b":") || name.starts_with(b"x-envoy-") || OWN.contains(&name))
}
