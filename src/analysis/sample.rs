//! Users of whom something is known, each by the hash of his key.
//!
//! When there are too many, every second one is left out, again and again: nothing but his hash decides who
//! stays, and that has nothing to do with the version he gets. So a sample says of both versions what all
//! users would have said, only less surely.

use serde::{Deserialize, Serialize};

/// Users that one worker tells of, for each tick, version and question.
pub const MOST: usize = 2_048;

/// Whether a user belongs to the part of all users that is left after `level` halvings.
#[must_use]
pub fn is_in(user: u64, level: u8) -> bool {
    user.leading_zeros() >= level.into()
}

/// A user, and a number.
type User = (u64, u8);

/// Users in ascending order, each with a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    level: u8,
    users: Vec<User>,
}

impl Sample {
    /// How often it has been halved.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The users that are left after `level` halvings, with their numbers.
    pub fn after(&self, level: u8) -> impl Iterator<Item = User> {
        self.users.iter().copied().filter(move |(user, _)| is_in(*user, level))
    }

    /// Notes a user with a number, unless he is in it already. Returns whether he has come in by that.
    pub fn join(&mut self, user: u64, number: u8) -> bool {
        if !is_in(user, self.level) {
            return false;
        }
        match self.place(user) {
            Ok(_) => return false,
            Err(at) if self.users.len() < MOST => self.users.insert(at, (user, number)),
            Err(_) => {
                self.level = self.level.saturating_add(1);
                let level = self.level;
                self.users.retain(|(user, _)| is_in(*user, level));
                return self.join(user, number);
            }
        }
        true
    }

    /// Notes a number of a user: of several the greatest.
    pub fn note(&mut self, user: u64, number: u8) {
        if !self.join(user, number)
            && let Ok(at) = self.place(user)
            && let Some((_, known)) = self.users.get_mut(at)
        {
            *known = number.max(*known);
        }
    }

    /// Changes the number of a user who is in it.
    pub fn change(&mut self, user: u64, number: u8) {
        if let Ok(at) = self.place(user)
            && let Some((_, known)) = self.users.get_mut(at)
        {
            *known = number;
        }
    }

    /// Adds what another worker tells: of two numbers of one user the greater counts.
    pub fn merge(&mut self, other: &Self) {
        self.merge_by(other, Ord::max);
    }

    /// Adds what another worker tells of users who are not in it.
    pub fn join_all(&mut self, other: &Self) {
        self.merge_by(other, Option::or);
    }

    /// `choose`: between the two of one user, or what there is of him.
    fn merge_by(&mut self, other: &Self, choose: fn(Option<User>, Option<User>) -> Option<User>) {
        self.level = self.level.max(other.level);
        let mut merged = Vec::with_capacity(self.users.len().saturating_add(other.users.len()));
        let (mut mine, mut theirs) = (self.after(self.level).peekable(), other.after(self.level).peekable());
        while let (Some((one, _)), Some((two, _))) = (mine.peek(), theirs.peek()) {
            let (takes_mine, takes_theirs) = (one <= two, two <= one);
            let one = if takes_mine { mine.next() } else { None };
            let two = if takes_theirs { theirs.next() } else { None };
            merged.extend(choose(one, two));
        }
        merged.extend(mine.chain(theirs));
        self.users = merged;
    }

    fn place(&self, user: u64) -> Result<usize, usize> {
        self.users.binary_search_by(|(known, _)| known.cmp(&user))
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
            sample.note(*user, *number);
        }
        sample
    }

    #[test]
    fn who_is_in_it_cannot_join_again() {
        let mut sample = of(&[(1, 2), (2, 2)]);
        assert!(!sample.join(1, 3) && sample.join(3, 3));
        sample.join_all(&of(&[(2, 3), (4, 1)]));
        assert_eq!(sample.after(0).collect::<Vec<_>>(), [(1, 2), (2, 2), (3, 3), (4, 1)]);
    }

    #[test]
    fn when_it_is_full_the_hash_decides_who_stays() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut users: Vec<u64> = (0..20_000).map(|_| rng.u64(..)).collect();
        let sample = of(&users.iter().map(|user| (*user, 0)).collect::<Vec<_>>());
        assert_eq!(sample.level(), 4, "20,000 are over 2,048 × 8");
        users.sort_unstable();
        users.retain(|user| is_in(*user, 4));
        assert_eq!(sample.after(0).map(|(user, _)| user).collect::<Vec<_>>(), users);
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
            prop_assert_eq!(merged.after(0).collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
