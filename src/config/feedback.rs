//! What users do after they have been answered.

use std::fmt;

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::condition::Match;
use super::de::fields;
use super::receipt::ReceiptPlace;
use super::units::Duration;

/// What users do after they have been answered: a later request that says so (`match`), or one that shows it by coming
/// (`after`), an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["name"])))]
pub struct Feedback {
    /// Unique name within the rollout: the metric of `analysis` is `feedback.NAME`. Lower-case letters, digits and `-`, at most 63.
    pub name: String,
    /// A user who was answered sends another request, of the same rollout or of another one. Needs `session_affinity` and
    /// `analysis`. In place of `match` and `join`.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub after: Option<After>,
    /// With `after`: a request that comes earlier is no event. `2s` unless given, after another rollout's `1s`. At least `1s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Duration>,
    /// Which requests are events. They go where they would go without it, unchanged.
    #[serde(rename = "match")]
    pub matches: Match,
    /// How an event finds the version that it is about.
    pub join: Option<Join>,
    /// With `join: receipt`: where an event has the receipt of the answer. Absent: in the header that the answer had it in.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub receipt: Option<ReceiptPlace>,
    /// A JSON pointer to a number in an event's body. An event counts if it is below `bad_below`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The number that `value` is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad_below: Option<f64>,
    /// Whether more or fewer users with the event speak for a version.
    pub better: Better,
    /// How long after an answer its events may come. The metric of `analysis` judges nothing for this long after the
    /// weights have changed, and no step ends before: what has not had time to happen is not missing. At most `24h`.
    pub within: Duration,
}

fields!(
    Feedback: name, after, not_before, matches as "match", join, receipt, value, bad_below, better, within
);

impl Default for Feedback {
    fn default() -> Self {
        let within = Duration::from_millis(60_000);
        Self {
            name: String::new(),
            after: None,
            not_before: None,
            matches: Match::default(),
            join: None,
            receipt: None,
            value: None,
            bad_below: None,
            better: Better::Less,
            within,
        }
    }
}

impl Feedback {
    /// What comes earlier after a request is no event, of users who come again.
    #[must_use]
    pub fn not_before(&self) -> Duration {
        self.not_before.unwrap_or(match self.after {
            Some(After::Rollout(_)) => Duration::from_millis(1_000),
            Some(After::Word(_)) | None => Duration::from_millis(2_000),
        })
    }
}

/// Whose request it is that users send afterwards.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum After {
    /// One of the same rollout.
    Word(Same),
    /// One of another rollout.
    Rollout(AfterRollout),
}

/// The same rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum Same {
    /// The same rollout.
    Same,
}

/// Another rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["rollout"])))]
pub struct AfterRollout {
    /// Its name.
    pub rollout: String,
}

fields!(AfterRollout: rollout);

impl<'de> Deserialize<'de> for After {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whose;
        impl<'de> Visitor<'de> for Whose {
            type Value = After;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("same, or {rollout: …}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<After, E> {
                match text {
                    "same" => Ok(After::Word(Same::Same)),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<After, A::Error> {
                AfterRollout::deserialize(de::value::MapAccessDeserializer::new(map)).map(After::Rollout)
            }
        }
        deserializer.deserialize_any(Whose)
    }
}

/// How an event finds the version that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum Join {
    /// By the user's key, which the event carries where `session_affinity` says: it decides the version, now as then.
    User,
    /// By the receipt of the answer, which the event brings back: the version is the one that gave the answer.
    Receipt,
}

/// Whether more or fewer users with the event speak for a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum Better {
    /// Fewer: complaints.
    #[default]
    Less,
    /// More: clicks.
    More,
}
