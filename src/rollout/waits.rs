//! What a step waits for.

use crate::model::Unit;

/// What the present step still waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// A person who promotes.
    Promotion,
    /// Envoy's routes send requests to the versions that they were drawn for.
    Routes,
    /// Its time.
    Time,
    /// More of the candidate's requests, or users.
    Units(Unit),
    /// The candidate gets the share that its weight is.
    Split,
    /// Nothing looks like a regression.
    Suspicion,
    /// Proof that the candidate is within the margin.
    Proof,
}

impl Waits {
    /// The sentence that people read.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Promotion => "the step waits for a promotion",
            Self::Routes => {
                "the step waits: another cluster serves a version's requests; Envoy's routes do not obey"
            }
            Self::Time => "the step waits for its duration to pass",
            Self::Units(Unit::Requests) => "the step waits for more of the candidate's requests",
            Self::Units(Unit::Users) => "the step waits for more of the candidate's users",
            Self::Split => "the step waits: the candidate is getting a different share than its weight",
            Self::Suspicion => "the step waits: there is evidence against the candidate",
            Self::Proof => "the step waits for proof that the candidate is no worse than allowed",
        }
    }
}
