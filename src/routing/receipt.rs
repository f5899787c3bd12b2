//! Where requests and answers have receipts.

use serde_json::Value;

use crate::compare::pointer::Pointer;
use crate::config::receipt as config;

/// Where a later request has a receipt.
#[derive(Debug)]
pub enum ReceiptPlace {
    /// In this header.
    Header(String),
    /// At this place of its body.
    Body(Pointer),
}

impl ReceiptPlace {
    pub(super) fn new(config: &config::ReceiptPlace) -> Option<Self> {
        Some(match config {
            config::ReceiptPlace::Pointer(text) => Self::Body(Pointer::new(text).ok()?),
            config::ReceiptPlace::Header(place) => Self::Header(place.header.to_ascii_lowercase()),
        })
    }

    /// The header that has it, if one does.
    #[must_use]
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Header(name) => Some(name),
            Self::Body(_) => None,
        }
    }

    /// The receipt, where `header` is what the header has.
    #[must_use]
    pub fn find<'a>(&self, header: Option<&'a [u8]>, body: Option<&'a Value>) -> Option<&'a [u8]> {
        match self {
            Self::Header(_) => header,
            Self::Body(place) => Some(place.get(body?)?.as_str()?.as_bytes()),
        }
    }
}

/// The receipts of a rollout's answers.
#[derive(Debug)]
pub struct AnswerReceipts {
    /// The header of answers that has them, in lower case.
    pub header: String,
    /// Milliseconds for which they are valid.
    pub ttl: u64,
}

impl AnswerReceipts {
    pub(super) fn new(config: &config::AnswerReceipt) -> Self {
        Self { header: config.response_header.to_ascii_lowercase(), ttl: config.ttl.as_millis() }
    }
}
