//! A candidate that fails altogether, noticed between two requests instead of after the tick.
//!
//! Each worker counts how many of the candidate's answers in a row were errors. That alone would trip on the
//! candidate in every outage that both versions share. So the breaker trips only if stable is healthy: it answered well
//! a request that arrived after half of the errors were known. (Half: the first error may have preceded a common
//! outage.) No answer is not health.
//!
//! ```text
//!          error of the candidate            limit reached, stable healthy
//!  quiet ────────────────────────► row ────────────────────────────────────► trip
//!    ▲                              │
//!    └──────────────────────────────┘
//!      good answer of the candidate, or stable recovers first from a common outage
//! ```

use serde::{Deserialize, Serialize};

use crate::analysis::kernel::ratio::Table;
use crate::model::{Arm, Assignment, Draw, Pair, Side, UserHash};

/// Users that errors must come from, where they are known: one may fail whatever the version.
const USERS: usize = 3;

/// A request that has ended with an answer: the version's own, or none that it should have given.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// What was drawn for it.
    pub draw: Draw,
    /// Whether it failed.
    pub failed: bool,
    /// When it came: nanoseconds of a clock that does not go back.
    pub begun: u64,
    /// When it ended, by the same clock.
    pub ended: u64,
}

/// What is in force when a request ends.
#[derive(Clone, Copy, Debug)]
pub struct InForce {
    /// The assignment.
    pub assignment: Assignment,
    /// Whether stable gets requests: otherwise its health is unknown.
    pub stable_serves: bool,
}

/// Why a breaker trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trip {
    /// The assignment under which all of it happened.
    pub assignment: Assignment,
    /// The candidate's errors in a row, and what stable answered since the first of them was known.
    pub seen: Table,
}

/// What stable has shown since the candidate's first error in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stable {
    /// Nothing.
    #[default]
    Silent,
    /// A good answer.
    Well,
    /// Only errors, or as many in a row as trip the breaker for a candidate.
    Failing,
}

/// The breaker of one rollout on one worker.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    /// The candidate's errors in a row; `None` after a good answer.
    row: Option<Row>,
    /// The assignment of the newest row.
    assignment: Assignment,
    /// It has tripped under this assignment, and that was acted on or refused.
    rests: bool,
    /// Requests begun before this fell into a common outage and are ignored.
    not_before: u64,
    /// Stable's errors in a row.
    stable_row: u64,
}

/// The candidate's errors in a row.
#[derive(Clone, Debug, Default)]
struct Row {
    errors: u64,
    /// When the first error was known.
    first: u64,
    /// When half of those that are enough were known.
    half: u64,
    /// Different users among them, up to as many as are needed.
    users: Vec<UserHash>,
    stable: Stable,
    /// When the newest request came that stable has answered well.
    good: u64,
    /// Stable's errors and answers since the first error.
    answers: Arm,
}

impl Breaker {
    /// A request has ended. Returns why the candidate should get no more, when it is enough: `limit` errors in a
    /// row, and stable is healthy.
    pub fn end(&mut self, limit: u64, request: &Ended, in_force: impl FnOnce() -> InForce) -> Option<Trip> {
        match request.draw.side {
            Side::Candidate if request.failed => self.candidate_failed(limit, request, in_force()),
            Side::Candidate => {
                self.row = None;
                None
            }
            Side::Stable => self.stable_answered(limit, request, in_force),
        }
    }

    /// A trip was acted on or refused, and this assignment is in force since. Another trip under the same one would be
    /// refused, so the breaker rests until another assignment or configuration.
    pub fn rest(&mut self, in_force: Assignment) {
        (self.row, self.rests) = (None, self.assignment == in_force);
    }

    /// Another configuration is in use: what was refused may be acted on now.
    pub fn wake(&mut self) {
        self.rests = false;
    }

    fn candidate_failed(&mut self, limit: u64, request: &Ended, in_force: InForce) -> Option<Trip> {
        if request.draw.assignment != in_force.assignment {
            return None; // drawn under an assignment that is over
        }
        if self.assignment != in_force.assignment {
            *self = Self { assignment: in_force.assignment, ..Self::default() };
        }
        if self.rests || request.begun < self.not_before {
            return None;
        }
        let row = self.row.get_or_insert_with(|| Row { first: request.ended, ..Row::default() });
        row.errors = row.errors.saturating_add(1);
        if row.errors == limit.div_ceil(2) {
            row.half = request.ended;
        }
        if let Some(user) = request.draw.user
            && row.users.len() < USERS
            && !row.users.contains(&user)
        {
            row.users.push(user);
        }
        self.decide(limit, in_force)
    }

    fn stable_answered(
        &mut self,
        limit: u64,
        request: &Ended,
        in_force: impl FnOnce() -> InForce,
    ) -> Option<Trip> {
        let Some(row) = &mut self.row else {
            self.stable_row = if request.failed { self.stable_row.saturating_add(1) } else { 0 };
            return None;
        };
        if request.draw.assignment != self.assignment {
            return None;
        }
        row.answers.count(request.failed);
        if request.failed {
            self.stable_row = self.stable_row.saturating_add(1);
            if row.stable == Stable::Silent || self.stable_row >= limit {
                row.stable = Stable::Failing;
            }
            return None;
        }
        if request.begun < row.first {
            return None; // from before the first error: stable's present health is unknown
        }
        self.stable_row = 0;
        if row.stable == Stable::Failing {
            // Both failed, and stable is back first. The candidate may be about to recover, too.
            (self.row, self.not_before) = (None, request.ended);
            return None;
        }
        row.stable = Stable::Well;
        row.good = row.good.max(request.begun);
        if row.errors < limit { None } else { self.decide(limit, in_force()) }
    }

    fn decide(&self, limit: u64, in_force: InForce) -> Option<Trip> {
        let row = self.row.as_ref()?;
        // Its newest answer as well: an outage may have begun after the good one.
        let stable_is_healthy = row.stable == Stable::Well && row.good >= row.half && self.stable_row == 0;
        let users_are_unknown_or_enough = row.users.is_empty() || row.users.len() >= USERS;
        let trips = row.errors >= limit
            && users_are_unknown_or_enough
            && self.assignment == in_force.assignment
            && (stable_is_healthy || !in_force.stable_serves);
        trips.then_some(Trip {
            assignment: self.assignment,
            seen: Pair::new(Arm { events: row.errors, units: row.errors }, row.answers),
        })
    }
}

#[cfg(test)]
mod tests;
