//! Users instead of requests, where a user keeps their version.
//!
//! The version is then drawn once for all requests of a user, and a user whose requests always fail would be hundreds
//! of failures on one side. So of everything that can happen to a user only the first time in a run counts: which
//! version the user had at that moment is a random draw with a known probability, for every user and however often they
//! come. Source: `docs/analysis.md`, "Users".

use super::test::Test;
use super::totals::Totals;
use crate::model::{Arm, Pair};

/// Users for whom a test's event has happened, and cannot happen for the first time again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct First {
    /// Those for whom it counts.
    pub events: Pair<u64>,
    /// All of them: a candidate's answer that is tolerated uses its user up, too.
    pub spent: Pair<u64>,
    /// Of a test of first observations: those observations.
    pub observed: Totals,
}

/// What a tick shows of users, each event of each user only the first time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Firsts {
    /// By test.
    pub events: Vec<(Test, First)>,
    /// Users that come for the first time in the run.
    pub newcomers: Pair<u64>,
    /// Users that come for the first time in the step, and those of them whose first request failed.
    pub requests: Pair<Arm>,
    /// Users that come for the first time in the step and gave up.
    pub given_up: Pair<u64>,
    /// Each user in the last three stands for so many: a power of two.
    pub scale: u64,
}

/// What the bounds of a judge's memory of users have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// How often the sample of users was halved.
    pub halvings: u64,
    /// How many sets know their users only nearly.
    pub inexact: u64,
}

impl Losses {
    /// What has come since there were those `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            halvings: self.halvings.saturating_sub(before.halvings),
            inexact: self.inexact.saturating_sub(before.inexact),
        }
    }

    /// Those of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            halvings: self.halvings.saturating_add(other.halvings),
            inexact: self.inexact.saturating_add(other.inexact),
        }
    }
}

impl Firsts {
    /// The events of a test.
    #[must_use]
    pub fn of(&self, test: &Test) -> First {
        self.events.iter().find(|(known, _)| known == test).map(|(_, first)| *first).unwrap_or_default()
    }

    /// How many users have come for the first time in the run, those outside of the sample included.
    #[must_use]
    pub fn all_newcomers(&self) -> Pair<u64> {
        self.newcomers.times(self.scale)
    }

    /// The first requests of the step, those of users outside of the sample included.
    #[must_use]
    pub fn all_requests(&self) -> Pair<Arm> {
        self.requests.map(|arm| Arm {
            events: arm.events.saturating_mul(self.scale),
            units: arm.units.saturating_mul(self.scale),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::model::UserHash;

    /// A user's hash as keys have it.
    pub(crate) fn hash(user: u64) -> UserHash {
        UserHash(siphasher::sip::SipHasher24::new().hash(&user.to_le_bytes()))
    }
}
