//! What one worker counts of one rollout.

use std::cell::RefCell;

use super::breaker::Breaker;
use super::ledger::{Ledger, Ticket};
use crate::signal::catalog;
use crate::signal::observed::Observed;

/// What one worker counts of one rollout. Streams and the tick share it.
#[derive(Debug, Default)]
pub struct Tracked {
    /// Counts for the judge.
    pub ledger: RefCell<Ledger>,
    /// Watches the same requests, and does not wait for the tick.
    pub breaker: RefCell<Breaker>,
}

impl Tracked {
    /// A request has ended after so many nanoseconds, and has failed or not.
    pub fn end(&self, ticket: Ticket, nanoseconds: u64, failed: bool) {
        let mut ledger = self.ledger.borrow_mut();
        ledger.observe(&ticket, &catalog::LATENCY, Observed::Duration(nanoseconds));
        ledger.observe(&ticket, &catalog::ERROR_RATE, Observed::Event(failed));
        ledger.end(ticket);
    }
}
