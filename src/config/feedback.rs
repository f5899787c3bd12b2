//! What users do after they have been answered.

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Match;
use super::receipt::ReceiptPlace;
use super::units::Duration;

/// A later request that says what a user did: an event.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["name", "match", "join"])))]
pub struct Feedback {
    /// Unique name within the rollout: the metric of `analysis` is `feedback.NAME`. Lower-case letters, digits and `-`, at most 63.
    pub name: String,
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
    /// For so long after a user was answered events may come. The metric of `analysis` judges nothing for so long after the
    /// weights have changed, and no step ends before: what has not had time to happen is not missing. At most `24h`.
    pub within: Duration,
}

impl Default for Feedback {
    fn default() -> Self {
        let within = Duration::from_millis(60_000);
        Self {
            name: String::new(),
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
