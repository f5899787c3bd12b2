//! What one worker counts for the judge, by the tick in which a request *arrived*.
//!
//! Counting by arrival matters: a version whose answers come later than the other's would otherwise be
//! compared with what happened at another time. A request that outlives its tick's closing is counted by
//! the metrics, and is no evidence any more.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::breaker::Breaker;
use crate::analysis::latency;
use crate::analysis::tick::Counts;

/// Ticks that are remembered; more than any deadline needs, and a bound where ticks are never closed.
pub const MOST_ENTRIES: usize = 256;

/// Which of the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The version that is being released.
    Candidate,
    /// The version it is compared with.
    Stable,
}

/// What is known of one tick under one assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The tick.
    pub tick: u64,
    /// Tells assignments apart: which versions, which weights, which cohort.
    pub epoch: u64,
    /// The candidate's requests.
    pub candidate: Counts,
    /// Stable's requests.
    pub stable: Counts,
}

impl Entry {
    fn side(&mut self, side: Side) -> &mut Counts {
        match side {
            Side::Candidate => &mut self.candidate,
            Side::Stable => &mut self.stable,
        }
    }
}

/// A request that is counted, until it ends.
#[derive(Debug)]
pub struct Ticket {
    tick: u64,
    epoch: u64,
    side: Side,
    answered: bool,
    timed: bool,
}

impl Ticket {
    /// The assignment under which the request was drawn, and whose it is.
    #[must_use]
    pub fn drawn(&self) -> (u64, Side) {
        (self.epoch, self.side)
    }
}

/// The ticks of one rollout, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: VecDeque<Entry>,
    dropped: u64,
    /// Watches the same requests, and does not wait for the tick.
    pub breaker: Breaker,
}

impl Ledger {
    /// Counts a request that arrives.
    pub fn arrive(&mut self, tick: u64, epoch: u64, side: Side) -> Ticket {
        let newest = self.entries.back().is_some_and(|entry| (entry.tick, entry.epoch) == (tick, epoch));
        if !newest && self.find(tick, epoch).is_none() {
            if self.entries.len() >= MOST_ENTRIES {
                self.entries.pop_front();
                self.dropped = self.dropped.saturating_add(1);
            }
            self.entries.push_back(Entry { tick, epoch, ..Entry::default() });
        }
        let ticket = Ticket { tick, epoch, side, answered: false, timed: false };
        self.with(&ticket, |counts| {
            counts.requests = counts.requests.saturating_add(1);
            counts.open = counts.open.saturating_add(1);
            counts.unanswered = counts.unanswered.saturating_add(1);
        });
        ticket
    }

    /// Response headers have come. `streams`: the answer goes on for as long as it likes, and its time is told
    /// by its beginning.
    pub fn answer(&mut self, ticket: &mut Ticket, nanoseconds: u64, streams: bool) {
        if !std::mem::replace(&mut ticket.answered, true) {
            self.with(ticket, |counts| counts.unanswered = counts.unanswered.saturating_sub(1));
        }
        if streams {
            self.time(ticket, nanoseconds);
        }
    }

    /// The request has ended, after so long, and has failed or not.
    pub fn end(&mut self, mut ticket: Ticket, nanoseconds: u64, failed: bool) {
        self.time(&mut ticket, nanoseconds);
        let was_unanswered = !ticket.answered;
        self.with(&ticket, |counts| {
            counts.open = counts.open.saturating_sub(1);
            if was_unanswered {
                counts.unanswered = counts.unanswered.saturating_sub(1);
            }
            if failed {
                counts.errors = counts.errors.saturating_add(1);
            }
        });
    }

    /// Forgets the ticks up to this one, which have been judged.
    pub fn forget_through(&mut self, tick: u64) {
        self.entries.retain(|entry| entry.tick > tick);
    }

    /// What is known of all ticks that have not been judged.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many ticks were dropped since the last call because there were too many.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn time(&mut self, ticket: &mut Ticket, nanoseconds: u64) {
        if !std::mem::replace(&mut ticket.timed, true) {
            self.with(ticket, |counts| counts.durations.add(latency::bucket(nanoseconds), 1));
        }
    }

    /// Looks at what a ticket counts in, unless that has been judged and forgotten.
    fn with(&mut self, ticket: &Ticket, change: impl FnOnce(&mut Counts)) {
        if let Some(entry) = self.find(ticket.tick, ticket.epoch) {
            change(entry.side(ticket.side));
        }
    }

    fn find(&mut self, tick: u64, epoch: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().rev().find(|entry| (entry.tick, entry.epoch) == (tick, epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_request_counts_in_the_tick_of_its_arrival() {
        let mut ledger = Ledger::default();
        let mut first = ledger.arrive(7, 1, Side::Candidate);
        let second = ledger.arrive(7, 1, Side::Stable);
        let third = ledger.arrive(8, 1, Side::Stable);
        ledger.answer(&mut first, 100 * MS, false);
        ledger.end(second, 3 * MS, true);
        let entries = ledger.entries();
        let candidate = &entries[0].candidate;
        assert_eq!((candidate.requests, candidate.open, candidate.unanswered), (1, 1, 0));
        let stable = &entries[0].stable;
        assert_eq!((stable.requests, stable.open, stable.unanswered, stable.errors), (1, 0, 0, 1));
        assert_eq!(stable.durations.total(), 1);
        assert_eq!(entries[1].stable.requests, 1);
        // What is judged is forgotten, and what ends afterwards is no evidence.
        ledger.forget_through(7);
        ledger.end(first, 9_000 * MS, true);
        ledger.end(third, MS, false);
        let entries = ledger.entries();
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].stable.open, entries[0].candidate.requests), (0, 0));
    }

    #[test]
    fn an_answer_that_streams_is_timed_once_by_its_beginning() {
        let mut ledger = Ledger::default();
        let mut ticket = ledger.arrive(1, 1, Side::Candidate);
        ledger.answer(&mut ticket, 5 * MS, true);
        ledger.end(ticket, 60_000 * MS, false);
        let durations = &ledger.entries()[0].candidate.durations;
        assert_eq!((durations.total(), durations.beyond(latency::bucket(5 * MS))), (1, 0));
    }

    #[test]
    fn two_assignments_within_a_tick_are_counted_apart() {
        let mut ledger = Ledger::default();
        for epoch in [1, 2, 1] {
            ledger.arrive(1, epoch, Side::Stable);
        }
        let requests: Vec<_> = ledger.entries().iter().map(|entry| entry.stable.requests).collect();
        assert_eq!(requests, [2, 1]);
    }

    #[test]
    fn what_is_never_judged_is_bounded() {
        let mut ledger = Ledger::default();
        for tick in 0..1_000 {
            ledger.arrive(tick, 1, Side::Stable);
        }
        assert_eq!((ledger.entries().len(), ledger.take_dropped()), (MOST_ENTRIES, 744));
    }
}
