//! What one worker counts of one rollout.

use std::cell::RefCell;

use super::breaker::Breaker;
use super::ledger::{Ledger, Ticket};
use super::outcome::Shown;

/// What one worker counts of one rollout. Streams and the tick share it.
#[derive(Debug, Default)]
pub struct Tracked {
    /// Counts for the judge.
    pub ledger: RefCell<Ledger>,
    /// Watches the same requests, and does not wait for the tick.
    pub breaker: RefCell<Breaker>,
}

impl Tracked {
    /// A request has ended after so many nanoseconds.
    pub fn end(&self, ticket: Ticket, nanoseconds: u64, shown: impl Into<Shown>) {
        self.ledger.borrow_mut().end(ticket, nanoseconds, shown);
    }
}
