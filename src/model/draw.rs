//! What was drawn for a request.

use serde::{Deserialize, Serialize};

use super::Side;

/// Identifies what decides which user gets which version: release, attempt, versions and weights. Requests are
/// counted by it, so that requests of another cohort or of other weights are not evidence. A hash: it does not rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, PartialOrd, Ord)]
pub struct Assignment(pub u64);

/// The keyed hash of a user's key, under which the judge counts users. It identifies a user within one run only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UserHash(pub u64);

/// What was drawn for a request that counts as evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The assignment in force.
    pub assignment: Assignment,
    /// The side that got the request.
    pub side: Side,
    /// The user, where users are judged.
    pub user: Option<UserHash>,
}

/// Users of tests.
#[cfg(test)]
impl From<u64> for UserHash {
    fn from(hash: u64) -> Self {
        Self(hash)
    }
}
