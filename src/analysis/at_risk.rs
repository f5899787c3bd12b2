//! Who can still have an event for the first time.
//!
//! Between versions that make no difference a first event is the candidate's with the known probability w. But a
//! candidate that is *better* spares its users: stable's soon have all had the event, and whoever then has it for the
//! first time is the candidate's. So the odds of the toss are those among users who have not had it yet, where these
//! are worse for the candidate than w: the risk set of a log-rank test (Mantel, 1966), and never less than w.

use serde::{Deserialize, Serialize};

use super::kernel::real;
use super::users::Pair;

/// Users who have had an event, by the version they have by now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    candidate: f64,
    stable: f64,
    /// The candidate's share under which that is so.
    share: f64,
}

impl Spent {
    /// Another share is in force: users move from one version to the other, whether they have had the event or not.
    pub fn move_to(&mut self, share: f64) {
        let (from, to, part) = if share >= self.share {
            (self.stable, 1.0, (share - self.share) / (1.0 - self.share))
        } else {
            (self.candidate, -1.0, (self.share - share) / self.share)
        };
        let moved = if part.is_finite() { from * part * to } else { 0.0 };
        self.candidate += moved;
        self.stable -= moved;
        self.share = share;
    }

    /// Users have had the event.
    pub fn add(&mut self, users: Pair) {
        self.candidate += real(users.candidate);
        self.stable += real(users.stable);
    }

    /// The probability that a first event is the candidate's: at least its share. `users` have come so far (0: nobody
    /// knows), and of stable's `more` may have had the event besides.
    #[must_use]
    pub fn odds(&self, users: u64, more: u64) -> f64 {
        if users == 0 {
            return self.share;
        }
        let candidate = (self.share * real(users) - self.candidate).max(0.0);
        let stable = ((1.0 - self.share) * real(users) - self.stable - real(more)).max(0.0);
        // When there is nobody left of stable's, nothing speaks against the candidate.
        if stable > 0.0 { (candidate / (candidate + stable)).max(self.share) } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spent(candidate: u64, stable: u64, share: f64) -> Spent {
        let mut spent = Spent::default();
        spent.move_to(share);
        spent.add(Pair { candidate, stable });
        spent
    }

    #[test]
    fn the_odds_are_those_of_whoever_is_left() {
        let near =
            |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}, {expected}");
        near(spent(0, 0, 0.1).odds(1_000, 0), 0.1);
        near(spent(10, 90, 0.1).odds(1_000, 0), 0.1);
        near(spent(0, 450, 0.1).odds(1_000, 0), 100.0 / 550.0);
        near(spent(0, 400, 0.1).odds(1_000, 50), 100.0 / 550.0);
        near(spent(90, 0, 0.1).odds(1_000, 0), 0.1);
        near(spent(0, 900, 0.1).odds(1_000, 0), 1.0);
        near(spent(5, 5, 0.1).odds(0, 0), 0.1);
    }

    #[test]
    fn whoever_has_had_it_takes_that_along() {
        let mut moving = spent(0, 900, 0.1);
        moving.move_to(0.55);
        assert!((moving.candidate - 450.0).abs() < 1e-9 && (moving.stable - 450.0).abs() < 1e-9);
        moving.move_to(0.0);
        assert!(moving.candidate.abs() < 1e-9 && (moving.stable - 900.0).abs() < 1e-9);
        moving.move_to(1.0);
        assert!((moving.candidate - 900.0).abs() < 1e-9 && moving.odds(1_000, 0) == 1.0);
    }

    proptest! {
        #[test]
        fn the_odds_are_a_probability_and_never_below_the_share(steps in prop::collection::vec((0.0..=1.0_f64, 0..1_000_u64, 0..1_000_u64), 1..10), users: u64, more: u64) {
            let mut spent = Spent::default();
            for (share, candidate, stable) in steps {
                spent.move_to(share);
                spent.add(Pair { candidate, stable });
                let odds = spent.odds(users, more);
                prop_assert!((share..=1.0).contains(&odds), "{odds} at {share}");
                // The worst case of an open tick.
                prop_assert!(spent.odds(users, more) >= spent.odds(users, 0));
            }
        }
    }
}
