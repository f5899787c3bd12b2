//! Why a run is in its phase.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::waits::Waits;

/// Why a run is in its phase. Its sentence is written where people read it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Reason {
    /// The phase is explanation enough.
    #[default]
    Phase,
    /// It waits.
    Waits(Waits),
    /// Something happened, in words.
    Happened(String),
}

impl Reason {
    /// The sentence that people read; empty where the phase is explanation enough.
    #[must_use]
    pub fn sentence(&self) -> Cow<'_, str> {
        match self {
            Self::Phase => Cow::Borrowed(""),
            Self::Waits(waits) => Cow::Owned(waits.to_string()),
            Self::Happened(sentence) => Cow::Borrowed(sentence),
        }
    }

    /// Whether it is waiting for that.
    #[must_use]
    pub fn is_waiting_for(&self, other: &Waits) -> bool {
        matches!(self, Self::Waits(waits) if waits == other)
    }
}
