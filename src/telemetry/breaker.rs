//! A candidate that fails altogether, noticed between two requests instead of after the tick.
//!
//! Each worker counts for itself how many of the candidate's answers in a row were errors. That alone would accuse the
//! candidate in every outage that both versions share, so stable has to be seen well meanwhile: by a good answer to a
//! request that came when half of these errors were known. Half, since the first may have been a chance before an
//! outage. Whoever answers nothing is not known to be well.

use super::ledger::Side;
use crate::analysis::judge::Seen;

/// Users that errors must come from, where they have any: one may fail whatever the version.
const USERS: usize = 3;

/// A request that has ended with an answer: the version's own, or none that it should have given.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// The assignment under which it was drawn.
    pub assignment: u64,
    /// Whose it was.
    pub side: Side,
    /// Whether it failed.
    pub failed: bool,
    /// When it came, and when it ended: nanoseconds of a clock that does not go back.
    pub begun: u64,
    /// See `begun`.
    pub ended: u64,
    /// The hash of the user's key, where users are known.
    pub user: Option<u64>,
}

/// What is in force when a request ends.
#[derive(Clone, Copy, Debug)]
pub struct InForce {
    /// The assignment.
    pub assignment: u64,
    /// Whether stable gets requests: otherwise nobody learns whether it is well.
    pub stable_serves: bool,
}

/// Why a breaker trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trip {
    /// The assignment under which all of it happened.
    pub assignment: u64,
    /// The candidate's errors in a row, and what stable answered since the first of them was known.
    pub seen: Seen,
}

/// What stable has shown since the candidate's first error in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stable {
    /// Nothing.
    #[default]
    Silent,
    /// A good answer.
    Well,
    /// Errors alone, or as many in a row as accuse a candidate.
    Failing,
}

/// The breaker of one rollout on one worker.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    /// The candidate's errors in a row.
    errors: u64,
    /// The assignment under which they happened.
    assignment: u64,
    /// When the first of them was known, and when half of those that are enough.
    first: u64,
    half: u64,
    /// What came before this has failed together with stable's, and counts for nothing.
    not_before: u64,
    /// Different users among them.
    users: [u64; USERS],
    distinct: usize,
    stable: Stable,
    /// When the newest request came that stable has answered well.
    good: u64,
    /// Stable's errors in a row; all of its errors and answers since the candidate's first error.
    stable_row: u64,
    stable_errors: u64,
    stable_requests: u64,
}

impl Breaker {
    /// A request has ended. Returns why the candidate should get no more, when it is enough: `limit` errors in a
    /// row, and stable is well.
    pub fn end(&mut self, limit: u64, request: &Ended, in_force: impl FnOnce() -> InForce) -> Option<Trip> {
        match request.side {
            Side::Candidate if !request.failed => self.errors = 0,
            Side::Candidate => return self.candidate_failed(limit, request, in_force()),
            Side::Stable if self.errors == 0 => {
                self.stable_row = if request.failed { self.stable_row.saturating_add(1) } else { 0 };
            }
            Side::Stable if request.assignment == self.assignment => {
                return self.stable_answered(limit, request, in_force);
            }
            Side::Stable => {}
        }
        None
    }

    /// What was counted has been acted on: the next errors count from the first.
    pub fn rest(&mut self) {
        self.errors = 0;
    }

    fn candidate_failed(&mut self, limit: u64, request: &Ended, in_force: InForce) -> Option<Trip> {
        if request.assignment != in_force.assignment {
            return None; // drawn for what is over
        }
        if self.assignment != in_force.assignment {
            *self = Self { assignment: in_force.assignment, ..Self::default() };
        }
        if request.begun < self.not_before {
            return None;
        }
        if self.errors == 0 {
            self.first = request.ended;
            self.distinct = 0;
            self.stable = Stable::Silent;
            (self.stable_errors, self.stable_requests) = (0, 0);
        }
        self.errors = self.errors.saturating_add(1);
        if self.errors == limit.div_ceil(2) {
            self.half = request.ended;
        }
        if let Some(user) = request.user
            && !self.users.iter().take(self.distinct).any(|known| *known == user)
            && let Some(free) = self.users.get_mut(self.distinct)
        {
            *free = user;
            self.distinct = self.distinct.saturating_add(1);
        }
        self.decide(limit, in_force)
    }

    /// Stable has answered while the candidate fails.
    fn stable_answered(
        &mut self,
        limit: u64,
        request: &Ended,
        in_force: impl FnOnce() -> InForce,
    ) -> Option<Trip> {
        self.stable_requests = self.stable_requests.saturating_add(1);
        if request.failed {
            self.stable_errors = self.stable_errors.saturating_add(1);
            self.stable_row = self.stable_row.saturating_add(1);
            if self.stable == Stable::Silent || self.stable_row >= limit {
                self.stable = Stable::Failing;
            }
            return None;
        }
        if request.begun < self.first {
            return None; // from before it began: whether stable would answer by now is open
        }
        self.stable_row = 0;
        if self.stable == Stable::Failing {
            // Both failed, and stable is back first. The candidate may be about to, too.
            (self.errors, self.not_before) = (0, request.ended);
            return None;
        }
        self.stable = Stable::Well;
        self.good = self.good.max(request.begun);
        if self.errors < limit { None } else { self.decide(limit, in_force()) }
    }

    fn decide(&self, limit: u64, in_force: InForce) -> Option<Trip> {
        // Its newest answer as well: an outage may have begun after the good one.
        let stable_is_well = self.stable == Stable::Well && self.good >= self.half && self.stable_row == 0;
        let accused = self.errors >= limit
            && matches!(self.distinct, 0 | USERS)
            && self.assignment == in_force.assignment
            && (stable_is_well || !in_force.stable_serves);
        accused.then_some(Trip {
            assignment: self.assignment,
            seen: Seen {
                candidate_events: self.errors,
                candidate_requests: self.errors,
                stable_events: self.stable_errors,
                stable_requests: self.stable_requests,
            },
        })
    }
}

#[cfg(test)]
mod tests;
