//! What is counted of what users did, and the names of its metric.

use super::series::Rollout;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Heard {
    /// It counts for a version.
    Counted,
    /// It names no user.
    NoUser,
    /// Its body should be read and cannot be: no JSON, or too large.
    Unreadable,
}

impl Heard {
    /// The value of the label `result`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::NoUser => "no_user",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Events by rule, version and what became of them. A counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct About {
    /// The rule's name.
    pub name: String,
    /// The version that it counts for; `None`: none is known.
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
