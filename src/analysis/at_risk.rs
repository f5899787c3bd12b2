//! Users who can still have an event for the first time.
//!
//! Between versions that make no difference a first event is the candidate's with the known probability w. But a
//! candidate that is *better* spares its users: stable's soon have all had the event, and each further first event is
//! a candidate user's. So the odds of the toss are those among users who have not had the event yet, where these are
//! worse for the candidate than w: the risk set of a log-rank test (Mantel, 1966), and never less than w.

use serde::{Deserialize, Serialize};

use crate::model::{Pair, Side, real};

/// Standard deviations by which the number of users may differ from what is known.
const CAUTION: f64 = 3.0;

/// How many users there are, by the version they have at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Crowd {
    users: Pair<f64>,
    /// The candidate's share under which that is so.
    share: f64,
    /// How uncertain the two are: who moves when the share changes is not counted.
    variance: f64,
    /// Each user stood for so many, at most: they were counted by a sample.
    scale: f64,
}

impl Crowd {
    /// Another share is in force: each user of one version moves to the other with the same probability.
    pub fn move_to(&mut self, share: f64) {
        let Pair { candidate, stable } = self.users;
        let (from, sign, part) = if share >= self.share {
            (stable, 1.0, (share - self.share) / (1.0 - self.share))
        } else {
            (candidate, -1.0, (self.share - share) / self.share)
        };
        self.share = share;
        if part.is_finite() {
            self.users.candidate += sign * from * part;
            self.users.stable -= sign * from * part;
            self.variance += from.max(0.0) * part * (1.0 - part);
            // However often it has changed: where a user is in the end is one toss.
            let all = self.users.candidate + self.users.stable;
            self.variance = self.variance.min(all.max(0.0) / 4.0);
        }
    }

    /// Further users.
    pub fn add(&mut self, users: Pair<u64>) {
        self.users.candidate += real(users.candidate);
        self.users.stable += real(users.stable);
    }

    /// Further users, counted by a sample of one in `scale`.
    pub fn add_sampled(&mut self, users: Pair<u64>, scale: u64) {
        self.add(users);
        self.scale = self.scale.max(real(scale));
    }

    /// By how many the number of a version's users may differ from what is known.
    fn error(&self, users: f64) -> f64 {
        // Each of n users is in the sample with the probability 1/scale, and stands for scale: the variance is
        // n (scale - 1).
        let of_sample = users.max(0.0) * (self.scale - 1.0).max(0.0);
        CAUTION * (self.variance + of_sample).sqrt()
    }

    /// Of both versions' users who were not among `before`, the parts that are among `spent`; `None`: a version has no such
    /// user.
    #[must_use]
    pub fn parts(&self, spent: &Self, before: &Self) -> Option<Pair<f64>> {
        let part = |side: Side| {
            let left = self.users[side] - before.users[side];
            let spent = spent.users[side] - before.users[side];
            (left >= 1.0).then(|| (spent / left).clamp(0.0, 1.0))
        };
        Some(Pair::new(part(Side::Candidate)?, part(Side::Stable)?))
    }

    /// The probability that a first event is this version's when these are all users, and `spent` are those who have
    /// had the event: that of the share, corrected by the parts of both versions' users who are left, and never below
    /// the share. `more` of the other version's users may have had the event besides.
    #[must_use]
    pub fn odds(&self, of: Side, spent: &Self, more: u64) -> f64 {
        let left = |all: f64, left: f64| if all > 0.0 { (left / all).clamp(0.0, 1.0) } else { 1.0 };
        let (other, share) = match of {
            Side::Candidate => (Side::Stable, spent.share),
            Side::Stable => (Side::Candidate, 1.0 - spent.share),
        };
        let (mine, theirs) = (self.users[of], self.users[other]);
        let mine = share * left(mine, mine + self.error(mine) - spent.users[of]);
        let others_left = theirs - self.error(theirs) - spent.users[other] - real(more);
        let theirs = (1.0 - share) * left(theirs, others_left);
        // With none of the other version's users left, a first event is no evidence against this one.
        if theirs > 0.0 { (mine / (mine + theirs)).max(share) } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn crowd(candidate: u64, stable: u64, share: f64) -> Crowd {
        let mut crowd = Crowd::default();
        crowd.move_to(share);
        crowd.add(Pair { candidate, stable });
        crowd
    }

    #[test]
    fn the_odds_are_those_of_users_that_are_left() {
        let near =
            |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}, {expected}");
        // Somewhat more came to the candidate than its share: that is chance, and no matter.
        let all = crowd(120, 900, 0.1);
        near(all.odds(Side::Candidate, &crowd(0, 0, 0.1), 0), 0.1);
        near(all.odds(Side::Candidate, &crowd(12, 90, 0.1), 0), 0.1);
        near(all.odds(Side::Candidate, &crowd(0, 450, 0.1), 0), 100.0 / 550.0);
        near(all.odds(Side::Candidate, &crowd(0, 400, 0.1), 50), 100.0 / 550.0);
        near(all.odds(Side::Candidate, &crowd(90, 0, 0.1), 0), 0.1);
        near(all.odds(Side::Candidate, &crowd(0, 900, 0.1), 0), 1.0);
        near(crowd(0, 0, 0.1).odds(Side::Candidate, &crowd(5, 5, 0.1), 0), 0.1);
    }

    #[test]
    fn users_take_their_event_along_when_they_move() {
        let (mut all, mut spent) = (crowd(100, 900, 0.1), crowd(0, 900, 0.1));
        all.move_to(0.55);
        spent.move_to(0.55);
        assert!((spent.users.candidate - 450.0).abs() < 1e-9 && (all.users.candidate - 550.0).abs() < 1e-9);
        assert!((all.variance - 225.0).abs() < 1e-9, "half of 900 move, give or take 15");
        assert_eq!(all.odds(Side::Candidate, &spent, 0), 1.0, "those of stable who are left may be none");
        spent.move_to(0.0);
        assert!(spent.users.candidate.abs() < 1e-9 && (spent.users.stable - 900.0).abs() < 1e-9);
    }

    #[test]
    fn the_last_few_users_of_a_sample_are_unknown() {
        let mut all = crowd(0, 0, 0.05);
        all.add_sampled(Pair { candidate: 1_000, stable: 19_200 }, 16);
        // In truth they were 19,000, and 100 of them are left.
        assert_eq!(all.odds(Side::Candidate, &crowd(900, 18_900, 0.05), 0), 1.0);
        assert!(all.odds(Side::Candidate, &crowd(500, 9_500, 0.05), 0) < 0.1);
    }

    #[test]
    fn a_share_that_goes_to_and_fro_does_not_add_up() {
        let (mut all, mut spent) = (crowd(200, 200, 0.5), crowd(0, 0, 0.5));
        for share in [0.05, 0.5].repeat(100) {
            all.move_to(share);
            spent.move_to(share);
        }
        assert!(
            (0.5..0.7).contains(&all.odds(Side::Candidate, &spent, 0)),
            "{}",
            all.odds(Side::Candidate, &spent, 0)
        );
    }

    proptest! {
        #[test]
        fn the_odds_are_a_probability_and_never_below_the_share(steps in prop::collection::vec((0.0..=1.0_f64, 0..1_000_u64, 0..1_000_u64), 1..10), users: (u64, u64), more: u64) {
            let (mut all, mut spent) = (Crowd::default(), Crowd::default());
            for (share, candidate, stable) in steps {
                spent.move_to(share);
                spent.add(Pair { candidate, stable });
                all.move_to(share);
                all.add(Pair { candidate: users.0, stable: users.1 });
                let odds = all.odds(Side::Candidate, &spent, more);
                prop_assert!((share..=1.0).contains(&odds), "{odds} at {share}");
                // The worst case of an open tick.
                prop_assert!(odds >= all.odds(Side::Candidate, &spent, 0));
            }
        }
    }
}
