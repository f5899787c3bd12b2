//! Which headers of a request its copies have.

use crate::model::header;

/// Whether a copy of a request has its header with this name, in lower case, and value: not what is between two hops, what Envoy
/// sets itself or obeys, what the filter uses, or what an answer's encoding depends on. Servers of gRPC insist on `te: trailers`.
#[must_use]
pub fn is_passed_on(name: &[u8], value: &[u8]) -> bool {
    const HOPS: [&[u8]; 10] = [
        b"accept-encoding",
        b"connection",
        b"content-length",
        b"expect",
        b"grpc-accept-encoding",
        b"keep-alive",
        b"proxy-connection",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ];
    let is_own = name.starts_with(b"x-envoy-") || header::ALL.iter().any(|own| own.as_bytes() == name);
    let is_of_hop = HOPS.contains(&name) || (name == b"te" && value != b"trailers");
    !(is_own || is_of_hop)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_ask_for_a_compressed_answer() {
        for name in ["accept-encoding", "grpc-accept-encoding"] {
            assert!(!is_passed_on(name.as_bytes(), b"gzip"), "{name}");
        }
        assert!(is_passed_on(b"grpc-encoding", b"gzip"), "the request itself may be compressed");
        assert!(is_passed_on(b"te", b"trailers"));
    }
}
