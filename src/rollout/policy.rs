//! What is done about a candidate that is found worse.

use serde::{Deserialize, Serialize};

use super::phase::Phase;
use crate::config::release::{NoData, OnFailure};

/// What the configuration wants done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What happens when the candidate is worse.
    pub on_failure: OnFailure,
    /// Only an event reports what would happen.
    pub dry_run: bool,
    /// What follows for a step from having nothing to judge by.
    pub no_data: NoData,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// An event reports it.
    Alarm,
    /// An event reports what would have been done.
    WouldAct,
    /// The run stops where it is, until a person decides.
    Pause,
    /// The candidate's traffic goes back to stable.
    Rollback,
}

impl Policy {
    /// What is done in this phase. A run that does not move cannot be paused.
    #[must_use]
    pub fn act(self, phase: Phase) -> Act {
        match (self.dry_run, self.on_failure) {
            (true, _) => Act::WouldAct,
            (false, OnFailure::Abort) => Act::Rollback,
            (false, OnFailure::Pause) if matches!(phase, Phase::Progressing | Phase::Paused) => Act::Pause,
            (false, OnFailure::Pause | OnFailure::Alarm) => Act::Alarm,
        }
    }

    /// Whether a step waits for something to judge by.
    #[must_use]
    pub fn waits_for_data(self) -> bool {
        self.holds_steps() && self.no_data == NoData::Hold
    }

    /// Whether a step waits while something speaks against the candidate.
    #[must_use]
    pub fn holds_steps(self) -> bool {
        !self.dry_run
    }
}
