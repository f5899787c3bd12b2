//! What one worker counts of one rollout.

use std::cell::{Cell, RefCell};

use super::breaker::Breaker;
use super::ledger::{Ledger, Ticket};
use super::outcome::Shown;
use crate::model::{Assignment, Draw};
use crate::signal::catalog::SignalId;
use crate::signal::observed::Observed;

/// What one worker counts of one rollout. Streams and the tick share it.
#[derive(Debug, Default)]
pub struct Tracked {
    /// Counts for the judge.
    pub ledger: RefCell<Ledger>,
    /// Watches the same requests, and does not wait for the tick.
    pub breaker: RefCell<Breaker>,
    /// The assignment in force, as far as this worker has been told. Configurations that have been replaced, under which
    /// requests may still be under way, are not told.
    in_force: Cell<Assignment>,
}

/// What was drawn under other weights than those in force is no evidence: clients decide how long a request takes to come, and
/// a tick of two assignments would show nothing of any request.
impl Tracked {
    /// An assignment is in force from now on.
    pub fn follow(&self, assignment: Assignment) {
        self.in_force.set(assignment);
    }

    /// A request has come as a whole.
    pub fn arrive(&self, tick: u64, draw: Draw) -> Option<Ticket> {
        self.is_in_force(&draw).then(|| self.ledger.borrow_mut().arrive(tick, draw))
    }

    /// Something has happened apart from requests.
    pub fn happen(&self, tick: u64, draw: Draw, signal: SignalId, observed: Observed) {
        if self.is_in_force(&draw) {
            self.ledger.borrow_mut().happen(tick, draw, signal, observed);
        }
    }

    /// A pair of answers to the request of a draw was compared.
    pub fn compare(&self, tick: u64, draw: Draw, signal: SignalId, differs: bool) {
        if self.is_in_force(&draw) {
            self.ledger.borrow_mut().compare(tick, draw, signal, differs);
        }
    }

    /// Whether the draw was made under the weights in force.
    pub fn is_in_force(&self, draw: &Draw) -> bool {
        draw.assignment == self.in_force.get()
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
    use crate::signal::catalog;

    /// A client may begin many uploads before the weights change, and end one in each second afterwards.
    #[test]
    fn a_request_drawn_under_earlier_weights_spoils_no_tick() {
        let tracked = Tracked::default();
        let (earlier, now) = (Assignment(1), Assignment(2));
        let draw = |assignment| Draw { assignment, side: Side::Stable, user: None };
        [earlier, now].into_iter().for_each(|assignment| tracked.follow(assignment));
        assert!(tracked.arrive(5, draw(now)).is_some());
        assert!(tracked.arrive(5, draw(earlier)).is_none());
        for assignment in [earlier, now] {
            tracked.happen(6, draw(assignment), catalog::event("click"), Observed::Event(true));
            tracked.compare(7, draw(assignment), catalog::MIRROR_DISAGREEMENT.id, true);
        }
        let entries = tracked.ledger.borrow().entries(8);
        let known: Vec<_> = entries.iter().map(|entry| (entry.tick, entry.assignment)).collect();
        assert_eq!(known, [(5, now), (6, now), (7, now)]);
    }
}
