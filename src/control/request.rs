//! The data of a request. All of it comes from the client, so none of it is trusted.

/// Bytes of a body that are read. The largest that means something is a few dozen.
pub const MOST_BODY: usize = 4_096;

/// A request to the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `:method`.
    pub method: Vec<u8>,
    /// `:path`, with its query.
    pub path: Vec<u8>,
    /// `:authority`, or `host`.
    pub authority: Vec<u8>,
    /// `origin`: which page's script sent it, where a browser did.
    pub origin: Option<Vec<u8>>,
    /// `content-type`.
    pub content_type: Option<Vec<u8>>,
    /// `content-encoding`.
    pub content_encoding: Option<Vec<u8>>,
    /// `authorization`.
    pub authorization: Option<Vec<u8>>,
    /// `accept-encoding`.
    pub accept_encoding: Option<Vec<u8>>,
    /// `if-match`.
    pub if_match: Option<Vec<u8>>,
    /// The body. Of one longer than [`MOST_BODY`] anything longer than that will do.
    pub body: Vec<u8>,
}

impl Request {
    /// Whether the body is JSON by its content type, which no form of a foreign page can have.
    pub(super) fn is_json(&self) -> bool {
        let media_type =
            self.content_type.as_deref().and_then(|value| value.split(|byte| *byte == b';').next());
        media_type.is_some_and(|media_type| media_type.trim_ascii().eq_ignore_ascii_case(b"application/json"))
    }

    /// Whether the body is packed in some way, so that it is no JSON as it stands.
    pub(super) fn is_encoded(&self) -> bool {
        let encoding = self.content_encoding.as_deref();
        encoding.is_some_and(|encoding| !encoding.trim_ascii().eq_ignore_ascii_case(b"identity"))
    }

    /// Whether the client takes an answer in gzip's format.
    pub(super) fn takes_gzip(&self) -> bool {
        let accepted = self.accept_encoding.as_deref().and_then(|value| str::from_utf8(value).ok());
        accepted.unwrap_or_default().split(',').any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
            let is_named = name.trim().eq_ignore_ascii_case("gzip") || name.trim() == "*";
            is_named && weight.bytes().any(|digit| matches!(digit, b'1'..=b'9'))
        })
    }

    /// The path and the query; `None` if they are not UTF-8.
    pub(super) fn path_and_query(&self) -> Option<(&str, &str)> {
        let path = str::from_utf8(&self.path).ok()?;
        Some(path.split_once('?').unwrap_or((path, "")))
    }
}
