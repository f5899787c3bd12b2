//! The two versions that are compared.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

/// One of the two versions that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Side {
    /// The version that is being released.
    Candidate,
    /// The version it is compared with.
    Stable,
}

impl Side {
    /// Both sides, the candidate first.
    pub const BOTH: [Self; 2] = [Self::Candidate, Self::Stable];
}

/// One value for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair<T> {
    /// The candidate's.
    pub candidate: T,
    /// Stable's.
    pub stable: T,
}

impl<T> Pair<T> {
    /// A value for each side.
    pub const fn new(candidate: T, stable: T) -> Self {
        Self { candidate, stable }
    }

    /// Both sides with references to their values, the candidate first.
    pub fn iter(&self) -> impl Iterator<Item = (Side, &T)> {
        [(Side::Candidate, &self.candidate), (Side::Stable, &self.stable)].into_iter()
    }

    /// The pair of what `change` makes of each value.
    pub fn map<U>(self, mut change: impl FnMut(T) -> U) -> Pair<U> {
        Pair { candidate: change(self.candidate), stable: change(self.stable) }
    }

    /// The pair of what `join` makes of each value and the other pair's.
    pub fn zip_with(self, other: Self, mut join: impl FnMut(T, T) -> T) -> Self {
        Self { candidate: join(self.candidate, other.candidate), stable: join(self.stable, other.stable) }
    }

    /// References to both values.
    pub fn as_ref(&self) -> Pair<&T> {
        Pair { candidate: &self.candidate, stable: &self.stable }
    }
}

impl<T> Index<Side> for Pair<T> {
    type Output = T;

    fn index(&self, side: Side) -> &T {
        match side {
            Side::Candidate => &self.candidate,
            Side::Stable => &self.stable,
        }
    }
}

impl<T> IndexMut<Side> for Pair<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Candidate => &mut self.candidate,
            Side::Stable => &mut self.stable,
        }
    }
}

impl Pair<u64> {
    /// The sum of both values.
    #[must_use]
    pub fn total(self) -> u64 {
        self.candidate.saturating_add(self.stable)
    }

    /// Each value plus the other pair's.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.zip_with(other, u64::saturating_add)
    }

    /// Each value times `factor`.
    #[must_use]
    pub fn times(self, factor: u64) -> Self {
        self.map(|count| count.saturating_mul(factor))
    }

    /// Counts one more on a side.
    pub fn count(&mut self, side: Side) {
        self[side] = self[side].saturating_add(1);
    }
}

/// How often a yes/no event happened among the units (requests or users) of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// Units with the event; at most `units`.
    pub events: u64,
    /// Units that could have it, with the event or without.
    pub units: u64,
}

impl Arm {
    /// Counts one more unit.
    pub fn count(&mut self, has_event: bool) {
        self.events = self.events.saturating_add(has_event.into());
        self.units = self.units.saturating_add(1);
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            events: self.events.saturating_add(other.events),
            units: self.units.saturating_add(other.units),
        }
    }
}
