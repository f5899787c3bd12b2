//! What one worker counts of one rollout.

use std::cell::{Cell, RefCell};

use super::breaker::Breaker;
use super::ledger::{Ledger, Ticket};
use super::outcome::Shown;
use crate::model::{Assignment, Draw};

/// What one worker counts of one rollout. Streams and the tick share it.
#[derive(Debug, Default)]
pub struct Tracked {
    /// Counts for the judge.
    pub ledger: RefCell<Ledger>,
    /// Watches the same requests, and does not wait for the tick.
    pub breaker: RefCell<Breaker>,
    /// The assignment under which the last request was drawn.
    drawn: Cell<Assignment>,
}

impl Tracked {
    /// A request was drawn, and comes from now on.
    pub fn draw(&self, draw: &Draw) {
        self.drawn.set(draw.assignment);
    }

    /// A request has come as a whole. One that was drawn under other weights than those in force is no evidence: clients
    /// decide how long a request takes to come, and a tick of two assignments would show nothing of any request.
    /// `in_force`: as far as the configuration knows under which it was drawn, which may be an earlier one.
    pub fn arrive(&self, tick: u64, draw: Draw, in_force: Assignment) -> Option<Ticket> {
        let is_in_force = [in_force, self.drawn.get()] == [draw.assignment; 2];
        is_in_force.then(|| self.ledger.borrow_mut().arrive(tick, draw))
    }

    /// A request has ended after so many nanoseconds.
    pub fn end(&self, ticket: Ticket, nanoseconds: u64, shown: impl Into<Shown>) {
        self.ledger.borrow_mut().end(ticket, nanoseconds, shown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Side;

    /// A client may begin many uploads before the weights change, and end one in each second afterwards.
    #[test]
    fn a_request_that_was_drawn_under_earlier_weights_spoils_no_tick() {
        let tracked = Tracked::default();
        let (earlier, now) = (Assignment(1), Assignment(2));
        let draw = |assignment| Draw { assignment, side: Side::Stable, user: None };
        [earlier, now].into_iter().for_each(|assignment| tracked.draw(&draw(assignment)));
        assert!(tracked.arrive(5, draw(now), now).is_some());
        assert!(tracked.arrive(5, draw(earlier), now).is_none());
        assert!(tracked.arrive(5, draw(earlier), earlier).is_none(), "drawn under an earlier configuration");
        let entries = tracked.ledger.borrow().entries(6);
        let known: Vec<_> = entries.iter().map(|entry| (entry.tick, entry.assignment)).collect();
        assert_eq!(known, [(5, now)]);
    }
}
