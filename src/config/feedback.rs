//! What users do after they have been answered.

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Match;
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
    /// How an event finds the version that the user had.
    pub join: Option<Join>,
    /// Whether more or fewer users with the event speak for a version.
    pub better: Better,
    /// For so long after a user was answered events may come. The metric of `analysis` judges nothing for so long after the
    /// weights have changed, and no step ends before: what has not had time to happen is not missing. At most `24h`.
    pub within: Duration,
}

impl Default for Feedback {
    fn default() -> Self {
        let within = Duration::from_millis(60_000);
        Self { name: String::new(), matches: Match::default(), join: None, better: Better::Less, within }
    }
}

/// How an event finds the version that the user had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum Join {
    /// By the user's key, which the event carries where `session_affinity` says: it decides the version, now as then.
    User,
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
