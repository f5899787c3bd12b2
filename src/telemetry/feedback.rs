//! What is counted of what users did, and the names of its metric.

use super::series::Rollout;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Heard {
    /// It counts for a version.
    Counted,
    /// Its value is not bad: it is known of a version, and counts for none.
    Good,
    /// Its server has answered with an error.
    Refused,
    /// It names no user.
    NoUser,
    /// It has no receipt.
    NoReceipt,
    /// Its body should be read and cannot be: no JSON, too large, or without the value.
    Unreadable,
    /// Its receipt is none of the rollout's, or was changed.
    Forged,
    /// Its receipt is too old, or of another release or attempt.
    Late,
    /// Its receipt has counted before.
    Repeated,
}

impl Heard {
    /// The value of the label `result`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Good => "good",
            Self::Refused => "refused",
            Self::NoUser => "no_user",
            Self::NoReceipt => "no_receipt",
            Self::Unreadable => "unreadable",
            Self::Forged => "forged",
            Self::Late => "late",
            Self::Repeated => "repeated",
        }
    }
}

/// Events by rule, version and what became of them. A counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct About {
    /// The rule's name.
    pub name: String,
    /// The version that it is about; `None`: none is known.
    pub version: Option<String>,
    /// What became of it.
    pub heard: Heard,
}

impl About {
    /// The metric's name.
    #[must_use]
    pub fn name(&self, rollout: &Rollout) -> String {
        let Self { name, version, heard } = self;
        let version = version.as_ref().map(|version| format!(";version={version}")).unwrap_or_default();
        rollout.own("changeover_feedback_total", &format!("{version};name={name};result={}", heard.label()))
    }
}
