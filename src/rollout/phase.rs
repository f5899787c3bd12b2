//! Where a run is in its life.

use serde::{Deserialize, Serialize};

/// The phase of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Phase {
    /// Nothing to do.
    #[default]
    Steady,
    /// It moves on automatically; this includes a step whose duration has not passed.
    Progressing,
    /// It waits for a command.
    Paused,
    /// The last step has ended.
    Succeeded,
    /// A command rolled the candidate back.
    Aborted,
    /// The judge rolled the candidate back.
    Failed,
}

impl Phase {
    /// All phases.
    pub const ALL: [Self; 6] =
        [Self::Steady, Self::Progressing, Self::Paused, Self::Succeeded, Self::Aborted, Self::Failed];

    /// Whether the candidate has been rolled back, by a person or by the judge.
    #[must_use]
    pub fn is_rolled_back(self) -> bool {
        matches!(self, Self::Aborted | Self::Failed)
    }

    /// The value of the label `phase`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Progressing => "progressing",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
        }
    }
}
