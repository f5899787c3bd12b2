//! Users instead of requests, where a user keeps his version.
//!
//! His version is then drawn once for all his requests, and a user who always fails would be hundreds of
//! failures on one side. So of everything that can happen to a user only the first time in a run counts: what
//! version he had at that moment is a coin toss whose odds are known, whoever he is and however often he
//! comes. Source: `docs/analysis.md`, "Users".

use serde::{Deserialize, Serialize};

use super::kernel::Arm;
use super::rules::Test;
use super::sample::Sample;
use crate::telemetry::ledger::Side;

/// What is known of a version's users in one tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    /// Who came, and what came of his first request in the tick: one of [`first`].
    pub seen: Sample,
    /// Whose request failed.
    pub failed: Sample,
    /// Whose answer took long, and the bucket of the longest.
    pub slow: Sample,
    /// Who still waits when the tick is over: for an answer ([`first::UNANSWERED`]) or for its end.
    pub waiting: Sample,
}

/// What came of a user's first request.
pub mod first {
    /// It was answered well.
    pub const WELL: u8 = 0;
    /// Its answer has begun.
    pub const ANSWERED: u8 = 1;
    /// There is no answer yet.
    pub const UNANSWERED: u8 = 2;
    /// It failed.
    pub const FAILED: u8 = 3;
}

impl Users {
    /// Adds what another worker tells.
    pub fn merge(&mut self, other: &Self) {
        // Of a user who came to both workers nobody knows which request was the first. Workers have an order, which has
        // nothing to do with what came of it.
        self.seen.join_all(&other.seen);
        self.failed.merge(&other.failed);
        self.slow.merge(&other.slow);
        self.waiting.merge(&other.waiting);
    }
}

/// A number for each of the two versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// The candidate's.
    pub candidate: u64,
    /// Stable's.
    pub stable: u64,
}

impl Pair {
    fn times(self, scale: u64) -> Self {
        Self { candidate: self.candidate.saturating_mul(scale), stable: self.stable.saturating_mul(scale) }
    }

    /// Counts one.
    pub fn add(&mut self, side: Side) {
        let count = match side {
            Side::Candidate => &mut self.candidate,
            Side::Stable => &mut self.stable,
        };
        *count = count.saturating_add(1);
    }
}

/// Users for whom a test's event has happened, and cannot happen for the first time any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct First {
    /// Those for whom it counts.
    pub events: Pair,
    /// All of them: a candidate's answer that is tolerated uses its user up, too.
    pub spent: Pair,
}

/// What a tick tells of users, each event of each user only the first time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Firsts {
    /// By test.
    pub events: Vec<(Test, First)>,
    /// Users who come for the first time in the run.
    pub newcomers: Pair,
    /// Users who come for the first time in the step, and those of them whose first request failed.
    pub candidate: Arm,
    /// The same of stable.
    pub stable: Arm,
    /// Of how many users each of those in the last three stands for one: a power of two.
    pub scale: u64,
}

impl Firsts {
    /// The events of a test.
    #[must_use]
    pub fn of(&self, test: Test) -> First {
        self.events.iter().find(|(known, _)| *known == test).map(|(_, first)| *first).unwrap_or_default()
    }

    /// How many users have come for the first time in the run, those included for whom others stand.
    #[must_use]
    pub fn all_newcomers(&self) -> Pair {
        self.newcomers.times(self.scale)
    }

    /// The same for the step.
    #[must_use]
    pub fn all_in_step(&self) -> Pair {
        Pair { candidate: self.candidate.requests, stable: self.stable.requests }.times(self.scale)
    }

    /// Whose first request in the step failed.
    #[must_use]
    pub fn failed_in_step(&self) -> Pair {
        Pair { candidate: self.candidate.events, stable: self.stable.events }.times(self.scale)
    }

    /// The first requests of a version's users in the step.
    pub fn arm(&mut self, side: Side) -> &mut Arm {
        match side {
            Side::Candidate => &mut self.candidate,
            Side::Stable => &mut self.stable,
        }
    }
}

/// What workers have to tell of users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Of those who come: how often all users have been halved.
    pub level: u8,
    /// Of durations: those beyond this edge, the lowest of stable's that are judged; whoever's they are.
    pub slow: Option<usize>,
}

#[cfg(test)]
pub(crate) mod tests {
    /// A user's hash as keys have it.
    pub(crate) fn hash(user: u64) -> u64 {
        siphasher::sip::SipHasher24::new().hash(&user.to_le_bytes())
    }
}
