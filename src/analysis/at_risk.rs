//! Who can still have an event for the first time.
//!
//! Between versions that make no difference a first event is the candidate's with the known probability w. But a
//! candidate that is *better* spares its users: stable's soon have all had the event, and whoever then has it for the
//! first time is the candidate's. So the odds of the toss are those among users who have not had it yet, where these
//! are worse for the candidate than w: the risk set of a log-rank test (Mantel, 1966), and never less than w.

use serde::{Deserialize, Serialize};

use super::kernel::real;
use super::users::Pair;

/// Standard deviations by which the number of users may be another than is known.
const CAUTION: f64 = 3.0;

/// Users, by the version they have by now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sides {
    candidate: f64,
    stable: f64,
    /// The candidate's share under which that is so.
    share: f64,
    /// How uncertain the two are: nobody counts who moves when the share changes.
    variance: f64,
    /// Of how many users each was one, at most: they were counted by a sample.
    scale: f64,
}

impl Sides {
    /// Another share is in force: each user of one version moves to the other with the same probability.
    pub fn move_to(&mut self, share: f64) {
        let (from, sign, part) = if share >= self.share {
            (self.stable, 1.0, (share - self.share) / (1.0 - self.share))
        } else {
            (self.candidate, -1.0, (self.share - share) / self.share)
        };
        self.share = share;
        if part.is_finite() {
            self.candidate += sign * from * part;
            self.stable -= sign * from * part;
            self.variance += from.max(0.0) * part * (1.0 - part);
            // However often it has changed: where a user is in the end is one toss.
            self.variance = self.variance.min((self.candidate + self.stable).max(0.0) / 4.0);
        }
    }

    /// Further users.
    pub fn add(&mut self, users: Pair) {
        self.candidate += real(users.candidate);
        self.stable += real(users.stable);
    }

    /// Further users, counted by a sample of one in `scale`.
    pub fn add_sampled(&mut self, users: Pair, scale: u64) {
        self.add(users);
        self.scale = self.scale.max(real(scale));
    }

    /// By how many the users of a version may be others than are known.
    fn error(&self, users: f64) -> f64 {
        // Each of n users is in the sample with the probability 1/scale, and stands for scale: the variance is n (scale - 1).
        let of_sample = users.max(0.0) * (self.scale - 1.0).max(0.0);
        CAUTION * (self.variance + of_sample).sqrt()
    }

    /// The probability that a first event is the candidate's when these are all users, and `spent` are those who have
    /// had the event: that of the share, corrected by the parts of both versions' users who are left, and never below
    /// the share. Of stable's `more` may have had it besides.
    #[must_use]
    pub fn odds(&self, spent: &Self, more: u64) -> f64 {
        let left = |all: f64, left: f64| if all > 0.0 { (left / all).clamp(0.0, 1.0) } else { 1.0 };
        let candidate =
            spent.share * left(self.candidate, self.candidate + self.error(self.candidate) - spent.candidate);
        let stable_left = self.stable - self.error(self.stable) - spent.stable - real(more);
        let stable = (1.0 - spent.share) * left(self.stable, stable_left);
        // When there is nobody left of stable's, nothing speaks against the candidate.
        if stable > 0.0 { (candidate / (candidate + stable)).max(spent.share) } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sides(candidate: u64, stable: u64, share: f64) -> Sides {
        let mut sides = Sides::default();
        sides.move_to(share);
        sides.add(Pair { candidate, stable });
        sides
    }

    #[test]
    fn the_odds_are_those_of_whoever_is_left() {
        let near =
            |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}, {expected}");
        // Somewhat more came to the candidate than its share: that is chance, and no matter.
        let all = sides(120, 900, 0.1);
        near(all.odds(&sides(0, 0, 0.1), 0), 0.1);
        near(all.odds(&sides(12, 90, 0.1), 0), 0.1);
        near(all.odds(&sides(0, 450, 0.1), 0), 100.0 / 550.0);
        near(all.odds(&sides(0, 400, 0.1), 50), 100.0 / 550.0);
        near(all.odds(&sides(90, 0, 0.1), 0), 0.1);
        near(all.odds(&sides(0, 900, 0.1), 0), 1.0);
        near(sides(0, 0, 0.1).odds(&sides(5, 5, 0.1), 0), 0.1);
    }

    #[test]
    fn whoever_has_had_it_takes_that_along() {
        let (mut all, mut spent) = (sides(100, 900, 0.1), sides(0, 900, 0.1));
        all.move_to(0.55);
        spent.move_to(0.55);
        assert!((spent.candidate - 450.0).abs() < 1e-9 && (all.candidate - 550.0).abs() < 1e-9);
        assert!((all.variance - 225.0).abs() < 1e-9, "half of 900 move, give or take 15");
        assert_eq!(all.odds(&spent, 0), 1.0, "those of stable who are left may be none");
        spent.move_to(0.0);
        assert!(spent.candidate.abs() < 1e-9 && (spent.stable - 900.0).abs() < 1e-9);
    }

    #[test]
    fn of_a_sample_the_last_few_are_not_known() {
        let mut all = sides(0, 0, 0.05);
        all.add_sampled(Pair { candidate: 1_000, stable: 19_200 }, 16);
        // In truth they were 19,000, and 100 of them are left.
        assert_eq!(all.odds(&sides(900, 18_900, 0.05), 0), 1.0);
        assert!(all.odds(&sides(500, 9_500, 0.05), 0) < 0.1);
    }

    #[test]
    fn a_share_that_goes_to_and_fro_does_not_add_up() {
        let (mut all, mut spent) = (sides(200, 200, 0.5), sides(0, 0, 0.5));
        for share in [0.05, 0.5].repeat(100) {
            all.move_to(share);
            spent.move_to(share);
        }
        assert!((0.5..0.7).contains(&all.odds(&spent, 0)), "{}", all.odds(&spent, 0));
    }

    proptest! {
        #[test]
        fn the_odds_are_a_probability_and_never_below_the_share(steps in prop::collection::vec((0.0..=1.0_f64, 0..1_000_u64, 0..1_000_u64), 1..10), users: (u64, u64), more: u64) {
            let (mut all, mut spent) = (Sides::default(), Sides::default());
            for (share, candidate, stable) in steps {
                spent.move_to(share);
                spent.add(Pair { candidate, stable });
                all.move_to(share);
                all.add(Pair { candidate: users.0, stable: users.1 });
                let odds = all.odds(&spent, more);
                prop_assert!((share..=1.0).contains(&odds), "{odds} at {share}");
                // The worst case of an open tick.
                prop_assert!(odds >= all.odds(&spent, 0));
            }
        }
    }
}
