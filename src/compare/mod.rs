//! Two answers to one request → what is the same in them, and what is not.
//!
//! Both answers lie in memory as a whole; the caller bounds them. What is compared:
//!
//! * always: the class of the status, the content type, whether there is a body;
//! * JSON, streamed answers by what they add up to ([`stream`]), and binary tensors as what they would be in JSON
//!   ([`tensors`]): field by field ([`diff`]);
//! * what is neither: byte by byte;
//! * the label, if one is configured ([`label`]): then the pair agrees when its labels do.

pub mod diff;
pub mod label;
pub mod number;
mod order;
pub mod pointer;
pub mod settings;
pub mod stream;
mod tensors;
pub mod text;
pub mod totals;

use serde_json::Value;

use crate::payload::head::{Framing, Head};
use diff::{Diff, Found, Kind};
use label::Labels;
use settings::Settings;

/// An answer, as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u64,
    /// Its content type; empty without one.
    pub content_type: Vec<u8>,
    /// The length of the JSON that binary tensors follow, by `inference-header-content-length`.
    pub json_length: Option<u64>,
    /// Its messages, in gRPC, are those of Open Inference's `ModelInfer`.
    pub infers: bool,
    /// Its body, without any content encoding.
    pub body: Vec<u8>,
}

impl Answer {
    /// The content type without its parameters.
    fn media_type(&self) -> Vec<u8> {
        let essence = self.content_type.split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().to_ascii_lowercase()
    }

    /// The body as a document; `None` for what is none.
    fn document(&self) -> Option<Value> {
        let head = Head::new(Some(&self.content_type), None, None);
        match head.framing {
            Framing::Other => tensors::behind_json(&self.body, self.json_length?),
            Framing::Grpc if self.infers => tensors::infer_response(&self.body),
            Framing::Grpc => None,
            Framing::Json => serde_json::from_slice(&self.body).ok(),
            Framing::Events => Some(stream::assemble(&self.body)),
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
    /// The lengths of stable's body and of the shadow's.
    pub bytes: (u64, u64),
}

/// What is said of an answer of the shadow that is too long to be held: that it is not stable's, which was held.
#[must_use]
pub fn too_large(settings: &Settings, stable: &Answer, length: usize) -> Compared {
    let mut found = Found::new(settings.samples > 0);
    let own = stable.body.len();
    found.add("", Kind::TooLarge, || (format!("{own} bytes"), format!("{length} bytes")));
    Compared { agrees: false, found, labels: None, bytes: (own as u64, length as u64) }
}

/// Compares stable's answer with the shadow's.
#[must_use]
pub fn compare(settings: &Settings, stable: &Answer, shadow: &Answer) -> Compared {
    let mut found = Found::new(settings.samples > 0);
    let mut labels = None;
    let same_class = stable.status / 100 == shadow.status / 100;
    if !same_class {
        let status = |answer: &Answer| answer.status.to_string();
        found.add("", Kind::Status, || (status(stable), status(shadow)));
    }
    if stable.media_type() != shadow.media_type() {
        let text = |answer: &Answer| String::from_utf8_lossy(&answer.media_type()).into_owned();
        found.add("", Kind::ContentType, || (text(stable), text(shadow)));
    }
    let length = |answer: &Answer| format!("{} bytes", answer.body.len());
    if stable.body.is_empty() != shadow.body.is_empty() {
        found.add("", Kind::Empty, || (length(stable), length(shadow)));
    } else if same_class {
        match (stable.document(), shadow.document()) {
            (Some(mut one), Some(mut other)) => {
                labels = settings
                    .label
                    .as_ref()
                    .and_then(|label| Labels::new(label.get(&one), label.get(&other), &settings.tolerance));
                settings.prepare(&mut one);
                settings.prepare(&mut other);
                Diff::new(settings, &mut found).values(&one, &other);
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
    Compared { agrees, found, labels, bytes }
}

#[cfg(test)]
mod tests;
