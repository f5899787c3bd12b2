//! Receipts: what tasks and answers carry, sealed, so that a later request can bring it back.

use std::fmt;

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::de::fields;
use super::units::Duration;

/// The receipt that each answer of a rollout carries to its client, sealed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct AnswerReceipt {
    /// A header of the answer.
    pub response_header: String,
    /// An event that comes later counts as late. At most 90 days.
    pub ttl: Duration,
}

fields!(AnswerReceipt: response_header, ttl);

impl Default for AnswerReceipt {
    fn default() -> Self {
        Self {
            response_header: "x-changeover-receipt".to_owned(),
            ttl: Duration::from_millis(24 * 3_600_000),
        }
    }
}

/// Where a later request has a receipt: in a header, or at a JSON pointer in its body.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum ReceiptPlace {
    /// At this JSON pointer.
    Pointer(String),
    /// In a header.
    Header(ReceiptHeader),
}

impl<'de> Deserialize<'de> for ReceiptPlace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Place;
        impl<'de> Visitor<'de> for Place {
            type Value = ReceiptPlace;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON pointer, or {header: …}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ReceiptPlace, E> {
                Ok(ReceiptPlace::Pointer(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ReceiptPlace, A::Error> {
                ReceiptHeader::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(ReceiptPlace::Header)
            }
        }
        deserializer.deserialize_any(Place)
    }
}

/// The header of a request that has a receipt.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["header"])))]
pub struct ReceiptHeader {
    /// Its name.
    pub header: String,
}

fields!(ReceiptHeader: header);
