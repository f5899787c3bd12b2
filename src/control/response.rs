//! Answers, and what is said when there is none: problem details as RFC 9457 has them.

use serde::{Deserialize, Serialize};

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Headers; no name comes twice.
    pub headers: Vec<(&'static str, String)>,
    /// JSON, or lines of it.
    pub body: String,
}

/// What is wrong with a request. Its type is `about:blank`: the status says what kind of problem it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Problem {
    /// The kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What was found, and what was expected.
    pub detail: String,
}

impl Response {
    /// An answer of something as JSON.
    pub(super) fn json(status: u16, body: &impl Serialize) -> Self {
        Self::new(status, "application/json", body)
    }

    /// A problem. `detail` says what was found and what would be right.
    #[inline(never)] // said in many places; one copy in the module
    pub(super) fn problem(status: u16, detail: impl Into<String>) -> Self {
        let problem = Problem {
            kind: "about:blank".into(),
            title: title(status).into(),
            status,
            detail: detail.into(),
        };
        Self::new(status, "application/problem+json", &problem)
    }

    /// The answer with another header.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Lines of JSON; 204 without any.
    pub(super) fn lines(lines: &[String]) -> Self {
        if lines.is_empty() {
            return Self {
                status: 204,
                headers: vec![("cache-control", "no-store".into())],
                body: String::new(),
            };
        }
        let mut body = String::new();
        for line in lines {
            body.push_str(line);
            body.push('\n');
        }
        Self::of(200, "application/x-ndjson", body)
    }

    fn new(status: u16, content_type: &str, body: &impl Serialize) -> Self {
        // Structs and maps with text keys always serialize.
        Self::of(status, content_type, serde_json::to_string(body).unwrap_or_else(|_| "{}".into()))
    }

    fn of(status: u16, content_type: &str, body: String) -> Self {
        let headers = vec![("content-type", content_type.into()), ("cache-control", "no-store".into())];
        Self { status, headers, body }
    }
}

/// The statuses of problems as RFC 9110 calls them.
fn title(status: u16) -> &'static str {
    match status {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        _ => "Unprocessable Content",
    }
}
