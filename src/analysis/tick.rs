//! One tick: the requests that *arrived* in it, and what became of them so far.

use super::kernel::ratio::Table;
use super::test::Test;
use crate::model::{Arm, Assignment, Pair};
use crate::signal::tally::Counts;

/// One tick of one rollout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tick {
    /// Its number: the time it began, in ticks since the clock's zero.
    pub number: u64,
    /// The assignment under which its requests were drawn.
    pub assignment: Assignment,
    /// The candidate's share of both versions' weights, the same all along; `None` when it changed within the
    /// tick, which then shows nothing.
    pub share: Option<f64>,
    /// What each side did.
    pub counts: Pair<Counts>,
    /// Whether it shows nothing of either version alone: its requests came under several assignments, or under
    /// another attempt's.
    pub void: bool,
}

/// How a tick's pending requests count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The deadline is over, or nothing is pending: what has not been answered has failed.
    Closed,
    /// The worst case for a finding: all of stable's pending requests will have the event, none of the
    /// candidate's that does not have it already. Evidence so found can only grow until the tick closes.
    Open {
        /// The bucket of the age that every pending request has at least.
        age: usize,
    },
}

impl Tick {
    /// Whether nothing arrived and nothing happened.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.counts.iter().all(|(_, counts)| counts.requests == 0 && !counts.has_events())
    }

    /// Pairs of answers that were compared in it, and those of them that differ.
    #[must_use]
    pub fn pairs(&self) -> Arm {
        if self.void { Arm::default() } else { self.counts.candidate.pairs() }
    }

    /// Whether it is evidence for something.
    #[must_use]
    pub fn shows_something(&self) -> bool {
        self.compared_at().is_some() || self.pairs().units > 0
    }

    /// Whether it is evidence for what `test` is about.
    #[must_use]
    pub fn shows(&self, test: &Test) -> bool {
        self.compared_at().is_some() || test.is_of_pairs()
    }

    /// A table of the tick's requests without those that ended with neither an answer nor an error.
    #[must_use]
    pub fn answers_of(&self, requests: Table) -> Table {
        let Pair { candidate, stable } = &self.counts;
        Pair::new(candidate.without_silent(requests.candidate), stable.without_silent(requests.stable))
    }

    /// The candidate's share of a tick that compares the versions; `None`: it does not.
    #[must_use]
    pub fn compared_at(&self) -> Option<f64> {
        self.share.filter(|_| !self.is_idle())
    }
}
