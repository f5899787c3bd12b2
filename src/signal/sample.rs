//! Users with an observation, in bounded memory.
//!
//! When there are too many, every second user is left out, again and again. The user's hash alone decides who stays,
//! and the hash has nothing to do with the version that the user gets. So a sample shows of both versions what all
//! users would have shown, with less certainty.

use serde::{Deserialize, Serialize};

use super::catalog::SignalId;
use crate::model::UserHash;

/// Users that one worker keeps, for each tick, version and question.
pub const MOST: usize = 2_048;

/// Whether a user belongs to the part of all users that is left after `level` halvings.
#[must_use]
pub fn is_in(user: UserHash, level: u8) -> bool {
    user.0.leading_zeros() >= level.into()
}

/// A user with a number.
type Entry = (UserHash, u8);

/// Users in ascending order, each with a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    level: u8,
    users: Vec<Entry>,
}

impl Sample {
    /// How often it has been halved.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The users that are left after `level` halvings, with their numbers.
    pub fn after(&self, level: u8) -> impl Iterator<Item = Entry> {
        self.users.iter().copied().filter(move |(user, _)| is_in(*user, level))
    }

    /// Adds a user with a number, unless the user is in it. Returns whether the user was added.
    pub fn join(&mut self, user: UserHash, number: u8) -> bool {
        if !is_in(user, self.level) {
            return false;
        }
        match self.place(user) {
            Ok(_) => return false,
            Err(at) if self.users.len() < MOST => self.users.insert(at, (user, number)),
            Err(_) => {
                self.halve();
                return self.join(user, number);
            }
        }
        true
    }

    /// Leaves every second user out.
    pub fn halve(&mut self) {
        self.level = self.level.saturating_add(1);
        let level = self.level;
        self.users.retain(|(user, _)| is_in(*user, level));
    }

    /// Gives back the memory of users that were left out.
    pub fn shrink(&mut self) {
        self.users.shrink_to_fit();
    }

    /// How many users are in it.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// Adds a user with a number; of several numbers the greatest stays.
    pub fn note(&mut self, user: UserHash, number: u8) {
        if !self.join(user, number)
            && let Ok(at) = self.place(user)
            && let Some((_, known)) = self.users.get_mut(at)
        {
            *known = number.max(*known);
        }
    }

    /// Changes the number of a user that is in it.
    pub fn change(&mut self, user: UserHash, number: u8) {
        if let Ok(at) = self.place(user)
            && let Some((_, known)) = self.users.get_mut(at)
        {
            *known = number;
        }
    }

    /// Adds another worker's users; of two numbers of one user the greater stays.
    pub fn merge(&mut self, other: &Self) {
        self.merge_by(other, Ord::max);
    }

    /// Adds another worker's users that are not in it.
    pub fn join_all(&mut self, other: &Self) {
        self.merge_by(other, |mine, _| mine);
    }

    /// `choose`: between the two numbers of one user.
    fn merge_by(&mut self, other: &Self, choose: fn(u8, u8) -> u8) {
        self.level = self.level.max(other.level);
        let mut merged = Vec::with_capacity(self.users.len().saturating_add(other.users.len()));
        let (mut mine, mut theirs) = (self.after(self.level).peekable(), other.after(self.level).peekable());
        while let (Some((one, my_number)), Some((two, their_number))) = (mine.peek(), theirs.peek()) {
            if one == two {
                merged.push((*one, choose(*my_number, *their_number)));
                mine.next();
                theirs.next();
            } else if one < two {
                merged.extend(mine.next());
            } else {
                merged.extend(theirs.next());
            }
        }
        merged.extend(mine.chain(theirs));
        self.users = merged;
    }

    fn place(&self, user: UserHash) -> Result<usize, usize> {
        self.users.binary_search_by(|(known, _)| known.cmp(&user))
    }
}

/// What workers have to report of users from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Of users that come: how often all users have been halved.
    pub level: u8,
    /// Of durations, by signal: those in a bucket beyond this edge, the lowest of stable's that are judged.
    pub slow: Vec<(SignalId, u8)>,
    /// Signals of which each user's first observation is reported.
    pub firsts: Vec<SignalId>,
}

impl Watch {
    /// The edge beyond which durations of a signal are reported; `None`: none are.
    #[must_use]
    pub fn slow(&self, signal: SignalId) -> Option<usize> {
        self.slow.iter().find(|(known, _)| *known == signal).map(|(_, edge)| usize::from(*edge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn of(pairs: &[(u64, u8)]) -> Sample {
        let mut sample = Sample::default();
        for (user, number) in pairs {
            sample.note(UserHash(*user), *number);
        }
        sample
    }

    fn users(sample: &Sample) -> Vec<(u64, u8)> {
        sample.after(0).map(|(user, number)| (user.0, number)).collect()
    }

    #[test]
    fn a_user_in_it_cannot_join_again() {
        let mut sample = of(&[(1, 2), (2, 2)]);
        assert!(!sample.join(UserHash(1), 3) && sample.join(UserHash(3), 3));
        sample.join_all(&of(&[(2, 3), (4, 1)]));
        assert_eq!(users(&sample), [(1, 2), (2, 2), (3, 3), (4, 1)]);
    }

    #[test]
    fn in_a_full_sample_the_hash_decides_who_stays() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut hashes: Vec<u64> = (0..20_000).map(|_| rng.u64(..)).collect();
        let sample = of(&hashes.iter().map(|user| (*user, 0)).collect::<Vec<_>>());
        assert_eq!(sample.level(), 4, "20,000 are over 2,048 × 8");
        hashes.sort_unstable();
        hashes.retain(|user| is_in(UserHash(*user), 4));
        assert_eq!(users(&sample).into_iter().map(|(user, _)| user).collect::<Vec<_>>(), hashes);
    }

    proptest! {
        #[test]
        fn it_is_a_map_that_keeps_the_greater_number(one in prop::collection::vec((0..50_u64, 0..4_u8), 0..60), two in prop::collection::vec((0..50_u64, 0..4_u8), 0..60)) {
            let mut expected = BTreeMap::<u64, u8>::new();
            for (user, number) in one.iter().chain(&two) {
                let known = expected.entry(*user).or_default();
                *known = number.max(known).to_owned();
            }
            let mut merged = of(&one);
            merged.merge(&of(&two));
            prop_assert_eq!(users(&merged), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
