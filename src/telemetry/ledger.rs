//! What one worker counts for the judge, by the tick in which a request *arrived*.
//!
//! Counting by arrival matters: a version whose answers come later than the other's would otherwise be
//! compared with what happened at another time. A request that outlives its tick's closing is counted by
//! the metrics, and is no evidence any more.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::breaker::Breaker;
use crate::analysis::latency;
use crate::analysis::sample::is_in;
use crate::analysis::tick::Counts;
use crate::analysis::users::{Watch, first};

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
    /// Whether users are left out of it.
    fn is_halved(&self, watched: u8) -> bool {
        [&self.candidate, &self.stable]
            .into_iter()
            .flat_map(|counts| &counts.users)
            .any(|users| users.seen.level() > watched || users.failed.level().max(users.slow.level()) > 0)
    }

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
    request: Counted,
    /// Where the ledger has it too, when it is a user's.
    place: usize,
}

/// What is known of a request.
#[derive(Clone, Copy, Debug)]
struct Counted {
    tick: u64,
    epoch: u64,
    side: Side,
    answered: bool,
    timed: bool,
    user: Option<u64>,
    /// It is the first one of its user in the tick.
    is_first: bool,
}

impl Ticket {
    /// The assignment under which the request was drawn, whose it is, and the hash of its user.
    #[must_use]
    pub fn drawn(&self) -> (u64, Side, Option<u64>) {
        (self.request.epoch, self.request.side, self.request.user)
    }
}

/// The ticks of one rollout, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: VecDeque<Entry>,
    /// Requests of users that have not ended, and places that are free.
    open: Vec<Option<Counted>>,
    free: Vec<usize>,
    watch: Watch,
    dropped: u64,
    halved: u64,
    /// Watches the same requests, and does not wait for the tick.
    pub breaker: Breaker,
}

impl Ledger {
    /// Counts a request that arrives; `user`: the hash of its user's key, where users are judged.
    pub fn arrive(&mut self, tick: u64, epoch: u64, side: Side, user: Option<u64>) -> Ticket {
        let newest = self.entries.back().is_some_and(|entry| (entry.tick, entry.epoch) == (tick, epoch));
        if !newest && self.find(tick, epoch).is_none() {
            if self.entries.len() >= MOST_ENTRIES {
                self.entries.pop_front();
                self.dropped = self.dropped.saturating_add(1);
            }
            self.entries.push_back(Entry { tick, epoch, ..Entry::default() });
        }
        let level = self.watch.level;
        let mut request = Counted { tick, epoch, side, answered: false, timed: false, user, is_first: false };
        let arrived = request;
        self.with(&arrived, |counts| {
            counts.requests = counts.requests.saturating_add(1);
            counts.open = counts.open.saturating_add(1);
            counts.unanswered = counts.unanswered.saturating_add(1);
            if let Some(user) = user {
                let users = counts.users.get_or_insert_default();
                request.is_first = is_in(user, level) && users.seen.join(user, first::UNANSWERED);
            }
        });
        let place = if user.is_some() { self.keep(request) } else { 0 };
        Ticket { request, place }
    }

    /// Response headers have come. `streams`: the answer goes on for as long as it likes, and its time is told
    /// by its beginning.
    pub fn answer(&mut self, ticket: &mut Ticket, nanoseconds: u64, streams: bool) {
        if !std::mem::replace(&mut ticket.request.answered, true) {
            self.with(&ticket.request, |counts| {
                counts.unanswered = counts.unanswered.saturating_sub(1);
                ticket.request.comes_to(first::ANSWERED, counts);
            });
        }
        if streams {
            self.time(&mut ticket.request, nanoseconds);
        }
        if ticket.request.user.is_some()
            && let Some(kept) = self.open.get_mut(ticket.place)
        {
            *kept = Some(ticket.request);
        }
    }

    /// The request has ended, after so long, and has failed or not.
    pub fn end(&mut self, ticket: Ticket, nanoseconds: u64, failed: bool) {
        let Ticket { mut request, place } = ticket;
        self.time(&mut request, nanoseconds);
        self.with(&request, |counts| {
            counts.open = counts.open.saturating_sub(1);
            if !request.answered {
                counts.unanswered = counts.unanswered.saturating_sub(1);
            }
            if failed {
                counts.errors = counts.errors.saturating_add(1);
                if let (Some(user), Some(users)) = (request.user, &mut counts.users) {
                    users.failed.note(user, 0);
                }
            }
            request.comes_to(if failed { first::FAILED } else { first::WELL }, counts);
        });
        if request.user.is_some() && self.open.get_mut(place).and_then(Option::take).is_some() {
            self.free.push(place);
        }
    }

    /// Forgets the ticks up to this one, which have been judged.
    pub fn forget_through(&mut self, tick: u64) {
        let watched = self.watch.level;
        let halved = self.entries.iter().filter(|entry| entry.tick <= tick && entry.is_halved(watched));
        self.halved = self.halved.saturating_add(halved.count() as u64);
        self.entries.retain(|entry| entry.tick > tick);
    }

    /// What has to be told of users from now on.
    pub fn watch(&mut self, watch: Watch) {
        self.watch = watch;
    }

    /// What is known of all ticks that have not been judged, in the tick `under_way`.
    #[must_use]
    pub fn entries(&self, under_way: u64) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.entries.iter().cloned().collect();
        for request in self.open.iter().flatten().filter(|request| request.tick < under_way) {
            let is_its = |entry: &&mut Entry| (entry.tick, entry.epoch) == (request.tick, request.epoch);
            let state = if request.answered { first::ANSWERED } else { first::UNANSWERED };
            if let (Some(user), false) = (request.user, request.timed)
                && let Some(entry) = entries.iter_mut().rev().find(is_its)
                && let Some(users) = &mut entry.side(request.side).users
            {
                users.waiting.note(user, state);
            }
        }
        entries
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

    /// Of how many ticks, since the last call, there were more users than are told of.
    pub fn take_halved(&mut self) -> u64 {
        std::mem::take(&mut self.halved)
    }

    fn time(&mut self, request: &mut Counted, nanoseconds: u64) {
        if std::mem::replace(&mut request.timed, true) {
            return;
        }
        let bucket = latency::bucket(nanoseconds);
        let slow = self.watch.slow.unwrap_or(latency::BUCKETS);
        self.with(request, |counts| {
            counts.durations.add(bucket, 1);
            if let (Some(user), Some(users)) = (request.user, &mut counts.users)
                && bucket > slow
            {
                users.slow.note(user, u8::try_from(bucket).unwrap_or(u8::MAX));
            }
        });
    }

    /// Keeps a user's request where it can be found without its ticket, and says where.
    fn keep(&mut self, request: Counted) -> usize {
        if let Some(place) = self.free.pop()
            && let Some(kept) = self.open.get_mut(place)
        {
            *kept = Some(request);
            return place;
        }
        self.open.push(Some(request));
        self.open.len().saturating_sub(1)
    }

    /// Looks at what a request counts in, unless that has been judged and forgotten.
    fn with(&mut self, request: &Counted, change: impl FnOnce(&mut Counts)) {
        if let Some(entry) = self.find(request.tick, request.epoch) {
            change(entry.side(request.side));
        }
    }

    fn find(&mut self, tick: u64, epoch: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().rev().find(|entry| (entry.tick, entry.epoch) == (tick, epoch))
    }
}

impl Counted {
    /// Notes what has come of it, if it is the first of its user.
    fn comes_to(&self, outcome: u8, counts: &mut Counts) {
        if let (Some(user), true, Some(users)) = (self.user, self.is_first, &mut counts.users) {
            users.seen.change(user, outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn whoever_comes_again_keeps_the_outcome_of_his_first_request() {
        let mut ledger = Ledger::default();
        for failed in [false, true, false] {
            let ticket = ledger.arrive(1, 1, Side::Candidate, Some(7));
            ledger.end(ticket, MS, failed);
        }
        let entries = ledger.entries(2);
        let users = entries[0].candidate.users.as_ref().unwrap();
        assert_eq!(users.seen.after(0).collect::<Vec<_>>(), [(7, first::WELL)]);
        assert_eq!(users.failed.after(0).count(), 1);
    }

    #[test]
    fn a_request_counts_in_the_tick_of_its_arrival() {
        let mut ledger = Ledger::default();
        let mut first = ledger.arrive(7, 1, Side::Candidate, None);
        let second = ledger.arrive(7, 1, Side::Stable, None);
        let third = ledger.arrive(8, 1, Side::Stable, None);
        ledger.answer(&mut first, 100 * MS, false);
        ledger.end(second, 3 * MS, true);
        let entries = ledger.entries(u64::MAX);
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
        let entries = ledger.entries(u64::MAX);
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].stable.open, entries[0].candidate.requests), (0, 0));
    }

    #[test]
    fn an_answer_that_streams_is_timed_once_by_its_beginning() {
        let mut ledger = Ledger::default();
        let mut ticket = ledger.arrive(1, 1, Side::Candidate, None);
        ledger.answer(&mut ticket, 5 * MS, true);
        ledger.end(ticket, 60_000 * MS, false);
        let durations = &ledger.entries(u64::MAX)[0].candidate.durations;
        assert_eq!((durations.total(), durations.beyond(latency::bucket(5 * MS))), (1, 0));
    }

    #[test]
    fn two_assignments_within_a_tick_are_counted_apart() {
        let mut ledger = Ledger::default();
        for epoch in [1, 2, 1] {
            ledger.arrive(1, epoch, Side::Stable, None);
        }
        let requests: Vec<_> = ledger.entries(u64::MAX).iter().map(|entry| entry.stable.requests).collect();
        assert_eq!(requests, [2, 1]);
    }

    #[test]
    fn of_too_many_users_a_part_is_told_and_that_is_counted() {
        let mut ledger = Ledger::default();
        let user = |number: u64| Some(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for number in 0..5_000 {
            let ticket = ledger.arrive(1, 1, Side::Stable, user(number));
            ledger.end(ticket, MS, number % 100 == 0);
        }
        let entries = ledger.entries(2);
        let users = entries[0].stable.users.as_ref().unwrap();
        assert_eq!((users.seen.level(), users.failed.level(), entries[0].stable.requests), (2, 0, 5_000));
        assert!((1_000..1_500).contains(&users.seen.after(0).count()));
        assert_eq!(users.failed.after(0).count(), 50);
        ledger.forget_through(1);
        assert_eq!((ledger.take_halved(), ledger.take_halved()), (1, 0));
        assert_eq!(ledger.free.len(), 1, "one place is enough for one request after the other");
    }

    #[test]
    fn slow_answers_are_told_of_beyond_the_edge_that_is_watched() {
        let mut ledger = Ledger::default();
        let slow = |ledger: &mut Ledger, user: u64, milliseconds: u64| {
            let ticket = ledger.arrive(1, 1, Side::Candidate, Some(user));
            ledger.end(ticket, milliseconds * MS, false);
        };
        slow(&mut ledger, 10, 60_000);
        ledger.watch(Watch { level: 0, slow: Some(latency::bucket(100 * MS)) });
        (11..14).zip([100, 101 + 19, 800]).for_each(|(user, ms)| slow(&mut ledger, user, ms));
        slow(&mut ledger, 13, 200);
        let entries = ledger.entries(2);
        let users = entries[0].candidate.users.as_ref().unwrap();
        let expected = [(12, latency::bucket(120 * MS) as u8), (13, latency::bucket(800 * MS) as u8)];
        assert_eq!(users.slow.after(0).collect::<Vec<_>>(), expected);
        assert_eq!(users.seen.after(0).count(), 4);
    }

    #[test]
    fn who_waits_is_told_of_when_the_tick_is_over() {
        let mut ledger = Ledger::default();
        let mut answered = ledger.arrive(1, 1, Side::Candidate, Some(10));
        ledger.answer(&mut answered, MS, false);
        let waiting = ledger.arrive(1, 1, Side::Candidate, Some(11));
        let mut streaming = ledger.arrive(1, 1, Side::Candidate, Some(12));
        ledger.answer(&mut streaming, MS, true);
        let told = |ledger: &Ledger, under_way: u64| -> Vec<(u64, u8)> {
            ledger.entries(under_way)[0].candidate.users.as_ref().unwrap().waiting.after(0).collect()
        };
        assert_eq!(told(&ledger, 1), []);
        assert_eq!(told(&ledger, 2), [(10, first::ANSWERED), (11, first::UNANSWERED)]);
        ledger.end(waiting, 9 * MS, true);
        assert_eq!(told(&ledger, 2), [(10, first::ANSWERED)]);
    }

    #[test]
    fn what_is_never_judged_is_bounded() {
        let mut ledger = Ledger::default();
        for tick in 0..1_000 {
            ledger.arrive(tick, 1, Side::Stable, None);
        }
        assert_eq!((ledger.entries(u64::MAX).len(), ledger.take_dropped()), (MOST_ENTRIES, 744));
    }
}
