//! Two answers to one request → what is the same in them, and what is not.
//!
//! Both answers lie in memory as a whole; the caller bounds them. What is compared:
//!
//! * always: the class of the status or the status of gRPC, the content type, whether there is a body;
//! * gRPC messages by what they hold, once the caller has undone their compression ([`messages`]);
//! * JSON, streamed answers by what they add up to ([`stream`]), and binary tensors as what they would be in JSON
//!   ([`tensors`]): field by field ([`diff`]);
//! * what is neither, or has too many elements ([`tree`]): byte by byte;
//! * the label, if one is configured ([`label`]): then the pair agrees when its labels do.

pub mod diff;
pub mod label;
mod messages;
pub mod number;
mod order;
pub mod pointer;
pub mod settings;
pub mod stream;
mod tensors;
pub mod text;
pub mod totals;
mod tree;

use std::sync::LazyLock;

use serde_json::Value;

use crate::payload::encoding::Unreadable;
use crate::payload::head::{self, Encoding, Framing, Head};
use diff::{Diff, Found, Kind, Place};
use label::Labels;
use pointer::Pointer;
use settings::Settings;

/// Statuses by which Envoy, or a proxy behind it, says that a server did not answer.
const NO_ANSWER: std::ops::RangeInclusive<u64> = 502..=504;
/// The status of gRPC that says the same.
const UNAVAILABLE: u64 = 14;
/// The status of an answer of gRPC that has none.
const UNKNOWN: u64 = 2;

/// An answer, as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u64,
    /// Its status of gRPC, of answers of gRPC only.
    pub grpc_status: Option<u64>,
    /// Its content type; empty without one.
    pub content_type: Vec<u8>,
    /// The length of the JSON that binary tensors follow, by `inference-header-content-length`.
    pub json_length: Option<u64>,
    /// Its messages, in gRPC, are those of Open Inference's `ModelInfer`.
    pub infers: bool,
    /// How its messages are compressed, in gRPC: by `grpc-encoding`.
    pub message_encoding: Encoding,
    /// Its body, without any content encoding.
    pub body: Vec<u8>,
}

impl Answer {
    /// Adds the status of gRPC, if it is an answer of gRPC.
    pub fn set_grpc_status(&mut self, status: Option<u64>) {
        self.grpc_status = head::is_grpc(&self.content_type).then(|| status.unwrap_or(UNKNOWN));
    }

    /// Whether it says that a server did not answer.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        NO_ANSWER.contains(&self.status) || self.grpc_status == Some(UNAVAILABLE)
    }

    /// Whether its status is 2xx, over gRPC 0.
    fn is_good(&self) -> bool {
        (200..300).contains(&self.status) && self.grpc_status.is_none_or(|status| status == 0)
    }

    /// Whether comparing with this answer of stable shows something, whatever the shadow answers. What stable refuses reaches
    /// no model, nor does a probe: a GET or HEAD that is answered without a body.
    #[must_use]
    pub fn is_evidence(&self, method: &[u8]) -> bool {
        self.is_good() && !(self.body.is_empty() && [b"GET".as_slice(), b"HEAD"].contains(&method))
    }

    /// The class of its status; of gRPC the status itself.
    fn class(&self) -> (u64, Option<u64>) {
        (self.status / 100, self.grpc_status)
    }

    /// Its status, as samples show it.
    fn shown_status(&self) -> String {
        match self.grpc_status {
            Some(grpc) => format!("{}, grpc-status {grpc}", self.status),
            None => self.status.to_string(),
        }
    }

    /// The content type without its parameters.
    fn media_type(&self) -> Vec<u8> {
        let essence = self.content_type.split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().to_ascii_lowercase()
    }

    /// Undoes the compression of its messages, in gRPC. False, and it stays as it is: it would have more than `most` bytes.
    ///
    /// # Errors
    /// They cannot be read; it stays as it is.
    pub fn inflate(&mut self, most: usize) -> Result<bool, Unreadable> {
        if !head::is_grpc(&self.content_type) || self.message_encoding == Encoding::Identity {
            return Ok(true);
        }
        let plain = messages::inflated(&self.body, self.message_encoding, most)?;
        let fits = plain.is_some();
        if let Some(plain) = plain {
            (self.body, self.message_encoding) = (plain, Encoding::Identity);
        }
        Ok(fits)
    }

    /// Whether the other one is, byte by byte, the same document or none.
    fn is_read_as(&self, other: &Self) -> bool {
        let how = |answer: &Self| (answer.json_length, answer.infers);
        how(self) == how(other) && self.content_type == other.content_type && self.body == other.body
    }

    /// The body as a document; `None` for what is none, or too large for one.
    fn document(&self) -> Option<Value> {
        let head = Head::new(Some(&self.content_type), None, None);
        match head.framing {
            Framing::Other => tensors::behind_json(&self.body, self.json_length?),
            Framing::Grpc if self.infers => tensors::infer_response(&self.body),
            Framing::Grpc => None,
            Framing::Json => tree::read_alone(&self.body),
            Framing::Events => stream::assemble(&self.body),
        }
    }
}

/// What became of a pair of answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    /// Whether the two agree: in their label if there is one, otherwise in everything that is compared.
    pub agrees: bool,
    /// Where they differ.
    pub found: Found,
    /// Their labels, if one has any.
    pub labels: Option<Labels>,
    /// Where their labels stand, if these differ and values are kept.
    pub decided: Option<Place>,
    /// The lengths of stable's body and of the shadow's.
    pub bytes: (u64, u64),
}

/// What is said of an answer of the shadow that is too long to be held: that it is not stable's, which was held.
#[must_use]
pub fn too_large(settings: &Settings, stable: &Answer, length: usize) -> Compared {
    let mut found = Found::new(settings.samples > 0);
    let own = stable.body.len();
    found.add("", Kind::TooLarge, || (format!("{own} bytes"), format!("{length} bytes")));
    Compared { agrees: false, found, bytes: (own as u64, length as u64), ..Compared::default() }
}

/// Compares stable's answer with the shadow's, both [without compression](Answer::inflate).
#[must_use]
pub fn compare(settings: &Settings, stable: &Answer, shadow: &Answer) -> Compared {
    let mut found = Found::new(settings.samples > 0);
    let (mut labels, mut decided) = (None, None);
    let same_class = stable.class() == shadow.class();
    if !same_class {
        found.add("", Kind::Status, || (stable.shown_status(), shadow.shown_status()));
    }
    if stable.media_type() != shadow.media_type() {
        let text = |answer: &Answer| String::from_utf8_lossy(&answer.media_type()).into_owned();
        found.add("", Kind::ContentType, || (text(stable), text(shadow)));
    }
    let length = |answer: &Answer| format!("{} bytes", answer.body.len());
    if stable.body.is_empty() != shadow.body.is_empty() {
        found.add("", Kind::Empty, || (length(stable), length(shadow)));
    } else if same_class {
        // Most shadows answer most requests as stable does: then one document is both.
        let is_same = stable.is_read_as(shadow);
        let other = if is_same { None } else { shadow.document() };
        match (stable.document(), other) {
            (Some(mut one), mut other) if is_same || other.is_some() => {
                if let Some(label) = &settings.label {
                    let pair = (label.get(&one), label.get(other.as_ref().unwrap_or(&one)));
                    labels = Labels::new(pair.0, pair.1, &settings.tolerance);
                    let differ = labels.as_ref().is_some_and(|labels| !labels.agree);
                    decided = (differ && settings.samples > 0).then(|| label::place(settings, label, pair));
                }
                for document in [&mut one].into_iter().chain(&mut other) {
                    leave_out_drawn(document);
                    settings.prepare(document);
                }
                Diff::new(settings, &mut found).values(&one, other.as_ref().unwrap_or(&one));
            }
            (None, None) if stable.body == shadow.body => {}
            _ => found.add("", Kind::Body, || (length(stable), length(shadow))),
        }
    }
    let agrees = match &labels {
        Some(labels) => labels.agree,
        None => found.is_empty(),
    };
    let bytes = (stable.body.len() as u64, shadow.body.len() as u64);
    Compared { agrees, found, labels, decided, bytes }
}

/// What each answer of OpenAI's protocols draws anew, the time, and what it cost, which depends on caches.
static DRAWN: LazyLock<Vec<Pointer>> = LazyLock::new(|| {
    let texts = [
        "/id",
        "/created",
        "/created_at",
        "/completed_at",
        "/usage",
        "/choices/*/message/tool_calls/*/id",
        "/choices/*/message/audio/id",
        "/choices/*/message/audio/expires_at",
        "/output/*/id",
        "/output/*/call_id",
    ];
    texts.iter().filter_map(|text| Pointer::new(text).ok()).collect()
});

/// Takes these out of an answer, as of streamed ones.
fn leave_out_drawn(document: &mut Value) {
    let is_openai = document.get("choices").is_some_and(Value::is_array)
        || document.get("object").is_some_and(|object| object == "response" || object == "list");
    if is_openai {
        DRAWN.iter().for_each(|pointer| pointer.remove(document));
    }
}

#[cfg(test)]
mod tests;
