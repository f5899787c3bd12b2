//! What a message's headers say about its body.

/// How a body is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    #[default]
    Identity,
    /// gzip.
    Gzip,
    /// zlib, or a raw deflate stream as some servers send it under the same name.
    Deflate,
    /// Brotli, zstd, several, or one that has no name here: not read.
    Other,
}

/// How a body is divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// One JSON document.
    #[default]
    Json,
    /// Server-sent events, each a JSON document.
    Events,
    /// gRPC messages.
    Grpc,
    /// Something else: not read.
    Other,
}

/// What a message's headers say about its body. The default is a JSON document as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// By `content-encoding`.
    pub encoding: Encoding,
    /// By `content-type`.
    pub framing: Framing,
    /// By `inference-header-content-length`: the length of the JSON that binary tensors follow.
    pub json_length: Option<u64>,
    /// By the request's `:path`: gRPC messages are those of Open Inference's `ModelInfer`.
    pub infers: bool,
}

impl Head {
    /// Reads the values of `content-type`, `content-encoding` and `inference-header-content-length`.
    #[must_use]
    pub fn new(content_type: Option<&[u8]>, encoding: Option<&[u8]>, json_length: Option<&[u8]>) -> Head {
        let json_length = json_length
            .and_then(|value| std::str::from_utf8(value).ok())
            .and_then(|value| value.trim().parse().ok());
        let framing = match framing(content_type.unwrap_or_default()) {
            // Triton labels JSON with binary tensors behind it `application/octet-stream`.
            Framing::Other if json_length.is_some() => Framing::Json,
            framing => framing,
        };
        Head { encoding: self::encoding(encoding.unwrap_or_default()), framing, json_length, infers: false }
    }
}

/// Whether a client that sends this `accept` prefers JSON, or leaves the type to the server.
#[must_use]
pub fn accepts_json(accept: Option<&[u8]>) -> bool {
    let first = accept.unwrap_or(b"*/*").split(|byte| matches!(byte, b',' | b';')).next().unwrap_or_default();
    let first = first.trim_ascii();
    matches!(first, b"" | b"*/*" | b"application/*") || framing(first) != Framing::Other
}

/// `application/grpc`, also with a format (`+proto`) or parameters; not grpc-web, whose status is in the body.
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Whether a request's `:path` calls the method of Open Inference that infers, in a service of any name.
#[must_use]
pub fn infers(path: &[u8]) -> bool {
    path.ends_with(b"/ModelInfer")
}

fn encoding(value: &[u8]) -> Encoding {
    let is = |name: &str| value.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
    match () {
        () if is("") || is("identity") => Encoding::Identity,
        () if is("gzip") || is("x-gzip") => Encoding::Gzip,
        () if is("deflate") => Encoding::Deflate,
        () => Encoding::Other,
    }
}

fn framing(value: &[u8]) -> Framing {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
    let ends = |end: &str| {
        let from = essence.len().checked_sub(end.len());
        from.and_then(|from| essence.get(from..))
            .is_some_and(|tail| tail.eq_ignore_ascii_case(end.as_bytes()))
    };
    match () {
        // Triton's client sends no content type; `curl --data` sends that of a form, which TensorFlow Serving ignores.
        () if is("")
            || is("application/json")
            || ends("+json")
            || is("application/x-www-form-urlencoded") =>
        {
            Framing::Json
        }
        () if is("text/event-stream") => Framing::Events,
        () if is("application/grpc") || is("application/grpc+proto") => Framing::Grpc,
        () => Framing::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_prefer_another_type_are_told_from_those_that_take_json() {
        for taken in ["*/*", "application/json", "application/json, text/plain", "text/event-stream", ""] {
            assert!(accepts_json(Some(taken.as_bytes())), "{taken}");
        }
        assert!(accepts_json(None));
        for other in ["text/html,application/xhtml+xml,*/*;q=0.8", "text/plain", "image/*", "audio/mpeg"] {
            assert!(!accepts_json(Some(other.as_bytes())), "{other}");
        }
    }

    #[test]
    fn types_and_encodings_are_recognised() {
        let of = |content_type: &str| Head::new(Some(content_type.as_bytes()), None, None).framing;
        assert_eq!(of("application/json"), Framing::Json);
        assert_eq!(of("Application/JSON; charset=utf-8"), Framing::Json);
        assert_eq!(of("application/problem+json"), Framing::Json);
        assert_eq!(of("text/event-stream; charset=utf-8"), Framing::Events);
        assert_eq!(of("application/grpc+proto"), Framing::Grpc);
        assert_eq!(of("application/grpc-web"), Framing::Other);
        assert_eq!(of("text/plain"), Framing::Other);
        assert_eq!(of("application/octet-stream"), Framing::Other);
        assert_eq!(Head::new(None, None, None), Head::default());
        let binary = Head::new(Some(b"application/octet-stream"), None, Some(b"315"));
        assert_eq!((binary.framing, binary.json_length), (Framing::Json, Some(315)));
        assert_eq!(Head::new(None, None, Some(b"-1")).json_length, None);
        let encoded = |encoding: &str| Head::new(None, Some(encoding.as_bytes()), None).encoding;
        assert_eq!(encoded("GZIP"), Encoding::Gzip);
        assert_eq!(encoded("x-gzip"), Encoding::Gzip);
        assert_eq!(encoded("deflate"), Encoding::Deflate);
        assert_eq!(encoded("identity"), Encoding::Identity);
        for other in ["br", "zstd", "gzip, gzip", "compress"] {
            assert_eq!(encoded(other), Encoding::Other, "{other}");
        }
    }
}
