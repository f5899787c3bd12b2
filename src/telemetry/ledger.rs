//! What one worker counts for the judge, by the tick in which a request *arrived*.
//!
//! Counting by arrival matters: a version whose answers come later than the other's would otherwise be
//! compared with what happened at another time. A request that outlives its tick's closing is counted by
//! the metrics, but is not evidence.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use slab::Slab;

use super::outcome::{Outcome, Shown};
use crate::model::{Assignment, Draw, Pair, Side, UserHash};
use crate::signal::catalog::{CLIENT_ERROR_RATE, ERROR_RATE, LATENCY, SignalId, UNANSWERED};
use crate::signal::histogram;
use crate::signal::observed::Observed;
use crate::signal::sample::{Watch, is_in};
use crate::signal::tally::{Counts, First};

/// Ticks that are remembered; more than any deadline needs, and a bound where ticks are never closed.
pub const MOST_ENTRIES: usize = 256;

/// Users that all ticks remember together: 4 MiB.
pub const MOST_USERS: usize = 262_144;

/// What is known of one tick under one assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The tick.
    pub tick: u64,
    /// The assignment.
    pub assignment: Assignment,
    /// The requests of each side.
    pub counts: Pair<Counts>,
}

impl Entry {
    /// Puts what one worker has counted to what others have, in the order of ticks.
    pub fn merge(into: &mut Vec<Self>, entries: impl IntoIterator<Item = Self>) {
        for entry in entries {
            let at = into.partition_point(|known| known.tick <= entry.tick);
            into.insert(at, entry);
        }
    }

    /// How many entries its samples of users have.
    fn users(&self) -> usize {
        self.counts.iter().filter_map(|(_, counts)| counts.users.as_ref()).map(|users| users.entries()).sum()
    }

    fn halve(&mut self) {
        for side in Side::BOTH {
            self.counts[side].users.iter_mut().for_each(|users| users.halve());
        }
    }

    fn is(&self, tick: u64, assignment: Assignment) -> bool {
        (self.tick, self.assignment) == (tick, assignment)
    }

    /// Whether users are left out, beyond those that `watched` leaves out.
    fn is_halved(&self, watched: u8) -> bool {
        let users = self.counts.iter().filter_map(|(_, counts)| counts.users.as_ref());
        let mut halved = users.map(|users| {
            let mut samples = users.signals.iter().chain(&users.firsts);
            users.seen.level() > watched || samples.any(|(_, sample)| sample.level() > 0)
        });
        halved.any(|is_halved| is_halved)
    }
}

/// A request that is counted, until it ends.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(usize);

/// What is known of a request that has not ended.
#[derive(Clone, Copy, Debug)]
struct Open {
    tick: u64,
    draw: Draw,
    is_answered: bool,
    /// Its latency is known.
    is_timed: bool,
    /// Its answer is a stream of any length, and has begun.
    is_streamed: bool,
    /// It is the first one of its user in the tick.
    is_first: bool,
}

/// The ticks of one rollout, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// What is counted from now on.
    signals: Vec<SignalId>,
    /// How many ticks are counted together from now on; 0 and 1: none.
    together: u64,
    entries: VecDeque<Entry>,
    /// By ticket.
    open: Slab<Open>,
    watch: Watch,
    dropped: u64,
    halved: u64,
}

impl Ledger {
    /// Observations of these signals count from now on; of a tick under way they do not.
    pub fn count_signals(&mut self, signals: Vec<SignalId>) {
        self.signals = signals;
    }

    /// So many ticks are counted together from now on, under the number of the last one of them.
    pub fn count_together(&mut self, ticks: u64) {
        self.together = ticks;
    }

    /// Counts a request that arrives.
    pub fn arrive(&mut self, tick: u64, draw: Draw) -> Ticket {
        let tick = self.number(tick);
        let Draw { assignment, user, .. } = draw;
        self.begin(tick, assignment);
        let mut open =
            Open { tick, draw, is_answered: false, is_timed: false, is_streamed: false, is_first: false };
        let level = self.watch.level;
        if let Some(counts) = counts_of(&mut self.entries, &open) {
            counts.requests = counts.requests.saturating_add(1);
            counts.open = counts.open.saturating_add(1);
            counts.unanswered = counts.unanswered.saturating_add(1);
            if let Some(user) = user {
                let users = counts.users.get_or_insert_default();
                open.is_first = is_in(user, level) && users.seen.join(user, First::Unanswered as u8);
            }
        }
        Ticket(self.open.insert(open))
    }

    /// The number under which a tick is counted.
    fn number(&self, tick: u64) -> u64 {
        let into = tick.checked_rem(self.together).unwrap_or(0);
        tick.saturating_sub(into).saturating_add(self.together.saturating_sub(1))
    }

    /// Begins an entry, unless it is there.
    fn begin(&mut self, tick: u64, assignment: Assignment) {
        let newest = self.entries.back().is_some_and(|entry| entry.is(tick, assignment));
        if newest || self.entries.iter().any(|entry| entry.is(tick, assignment)) {
            return;
        }
        if self.entries.len() >= MOST_ENTRIES {
            self.entries.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
        self.bound_users();
        let counts = Pair::new(Counts::of(&self.signals), Counts::of(&self.signals));
        self.entries.push_back(Entry { tick, assignment, counts });
    }

    /// Halves the users of the ticks that have the most of them, until all ticks together have no more than they may.
    fn bound_users(&mut self) {
        let mut users: usize = self.entries.iter().map(Entry::users).sum();
        while users > MOST_USERS
            && let Some(largest) = self.entries.iter_mut().max_by_key(|entry| entry.users())
        {
            let before = largest.users();
            largest.halve();
            users = users.saturating_sub(before.saturating_sub(largest.users()).max(1));
        }
    }

    /// Counts a pair of answers to the request of a draw: in the tick in which they were compared, for a shadow that takes
    /// long must not be left out, and no version is compared with it at the same time.
    pub fn compare(&mut self, tick: u64, draw: Draw, signal: SignalId, differs: bool) {
        self.happen(tick, Draw { side: Side::Candidate, ..draw }, signal, Observed::Event(differs));
    }

    /// Counts what happens apart from requests, in the tick in which it does.
    pub fn happen(&mut self, tick: u64, draw: Draw, signal: SignalId, observed: Observed) {
        let tick = self.number(tick);
        self.begin(tick, draw.assignment);
        let entry = self.entries.iter_mut().rev().find(|entry| entry.is(tick, draw.assignment));
        let Some(counts) = entry.map(|entry| &mut entry.counts[draw.side]) else { return };
        if draw.user.is_some() {
            counts.users.get_or_insert_default();
        }
        add(counts, &self.watch, draw.user, signal, observed);
    }

    /// An answer has begun.
    pub fn answer(&mut self, ticket: &Ticket) {
        let Some(open) = self.open.get_mut(ticket.0) else { return };
        if !std::mem::replace(&mut open.is_answered, true)
            && let Some(counts) = counts_of(&mut self.entries, open)
        {
            counts.unanswered = counts.unanswered.saturating_sub(1);
            open.becomes(First::Answered, counts);
        }
    }

    /// It is the version's turn in a stream of which only headers have come: they are no answer any more. Not in a later
    /// tick than the request's: the version would have less time than others. Returns whether it is so.
    pub fn await_stream(&mut self, ticket: &Ticket, tick: u64) -> bool {
        let tick = self.number(tick);
        let Some(open) = self.open.get_mut(ticket.0).filter(|open| open.tick == tick) else { return false };
        open.is_streamed = false;
        if std::mem::take(&mut open.is_answered)
            && let Some(counts) = counts_of(&mut self.entries, open)
        {
            counts.unanswered = counts.unanswered.saturating_add(1);
            open.becomes(First::Unanswered, counts);
        }
        true
    }

    /// The first byte of a stream has come: its latency is the time until then.
    pub fn begin_stream(&mut self, ticket: &Ticket, nanoseconds: u64) {
        self.answer(ticket);
        if let Some(open) = self.open.get_mut(ticket.0) {
            open.is_streamed = true;
        }
        self.observe(ticket, LATENCY.id, Observed::Duration(nanoseconds));
    }

    /// The answer has passed as a whole.
    pub fn pass_answer(&mut self, ticket: &Ticket, nanoseconds: u64) {
        self.answer(ticket);
        self.observe(ticket, LATENCY.id, Observed::Duration(nanoseconds));
    }

    /// Counts an observation of a request. One of a signal that is not counted is ignored, and so is a second latency:
    /// it is known when the answer has passed as a whole, before its client has received it.
    pub fn observe(&mut self, ticket: &Ticket, signal: SignalId, observed: Observed) {
        let Some(open) = self.open.get_mut(ticket.0) else { return };
        if signal == LATENCY.id && std::mem::replace(&mut open.is_timed, true) {
            return;
        }
        if let Some(counts) = counts_of(&mut self.entries, open) {
            add(counts, &self.watch, open.draw.user, signal, observed);
        }
    }

    /// It is known which cluster has served a request: its version's, or another.
    pub fn find_served(&mut self, ticket: &Ticket, elsewhere: bool) {
        let Some(open) = self.open.get(ticket.0) else { return };
        if let Some(counts) = counts_of(&mut self.entries, open) {
            counts.elsewhere.count(elsewhere);
        }
    }

    /// The request has ended after so many nanoseconds. What else is to be observed of it has been.
    pub fn end(&mut self, ticket: Ticket, nanoseconds: u64, shown: impl Into<Shown>) {
        let Shown { outcome, client_error, broken_off } = shown.into();
        let streams = self.open.get(ticket.0).is_some_and(|open| open.is_streamed);
        // Leaving is how a client may end a stream.
        let outcome = if streams && outcome == Outcome::Aborted { Outcome::Ok } else { outcome };
        self.observe(&ticket, LATENCY.id, Observed::Duration(nanoseconds));
        self.observe(&ticket, ERROR_RATE.id, Observed::Event(outcome == Outcome::Error));
        if matches!(outcome, Outcome::Ok | Outcome::Error) {
            self.observe(&ticket, CLIENT_ERROR_RATE.id, Observed::Event(client_error));
        }
        self.observe(&ticket, UNANSWERED.id, Observed::Event(outcome == Outcome::Unanswered));
        let Some(open) = self.open.try_remove(ticket.0) else { return };
        if let Some(counts) = counts_of(&mut self.entries, &open) {
            counts.open = counts.open.saturating_sub(1);
            if !open.is_answered {
                counts.unanswered = counts.unanswered.saturating_sub(1);
            }
            let first = match outcome {
                Outcome::Ok => First::Well,
                Outcome::Error => First::Failed,
                Outcome::Unanswered => First::GivenUp,
                Outcome::Aborted | Outcome::Elsewhere => First::Void,
            };
            counts.silent = counts.silent.saturating_add(u64::from(first >= First::GivenUp));
            counts.left = counts.left.saturating_add(u64::from(broken_off));
            open.becomes(first, counts);
        }
    }

    /// Forgets the ticks up to this one, which have been judged.
    pub fn forget_through(&mut self, tick: u64) {
        let watched = self.watch.level;
        let halved = self.entries.iter().filter(|entry| entry.tick <= tick && entry.is_halved(watched));
        self.halved = self.halved.saturating_add(halved.count() as u64);
        self.entries.retain(|entry| entry.tick > tick);
    }

    /// What has to be reported of users from now on.
    pub fn watch(&mut self, watch: &Watch) {
        if self.watch != *watch {
            self.watch.clone_from(watch);
        }
    }

    /// What is known of all ticks that have not been judged, in the tick `under_way`.
    #[must_use]
    pub fn entries(&self, under_way: u64) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.entries.iter().cloned().collect();
        let waiting = self.open.iter().map(|(_, open)| open).filter(|open| open.tick < under_way);
        for open in waiting {
            let Some(user) = open.draw.user else { continue };
            let state = match (open.is_answered, open.is_timed) {
                (true, true) => continue,
                (true, false) => First::Answered,
                (false, false) => First::Unanswered,
                // A call whose turn it is again.
                (false, true) => First::Failed,
            };
            let entry = entries.iter_mut().rev().find(|entry| entry.is(open.tick, open.draw.assignment));
            if let Some(users) = entry.and_then(|entry| entry.counts[open.draw.side].users.as_mut()) {
                users.waiting.note(user, state as u8);
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

    /// How many ticks, since the last call, had more users than are reported.
    pub fn take_halved(&mut self) -> u64 {
        std::mem::take(&mut self.halved)
    }
}

/// Adds an observation, of a user where users are judged.
fn add(counts: &mut Counts, watch: &Watch, user: Option<UserHash>, signal: SignalId, observed: Observed) {
    let Some(tally) = counts.tally_mut(signal) else { return };
    tally.add(observed);
    let (Some(user), Some(users)) = (user, &mut counts.users) else { return };
    if watch.firsts.contains(&signal)
        && let (Some(number), Some(sample)) = (observed.number(), users.firsts_mut(signal))
    {
        sample.join(user, number);
    }
    let number = match observed {
        Observed::Event(true) => Some(0),
        Observed::Duration(nanoseconds) => {
            let bucket = histogram::bucket(nanoseconds);
            let slow = watch.slow(signal).unwrap_or(histogram::BUCKETS);
            (bucket > slow).then(|| u8::try_from(bucket).unwrap_or(u8::MAX))
        }
        Observed::Event(false) | Observed::Mean(_) | Observed::Bucket(_) => None,
    };
    if let (Some(number), Some(sample)) = (number, users.sample_mut(signal)) {
        sample.note(user, number);
    }
}

/// What a request counts in, unless that has been judged and forgotten.
fn counts_of<'a>(entries: &'a mut VecDeque<Entry>, open: &Open) -> Option<&'a mut Counts> {
    let entry = entries.iter_mut().rev().find(|entry| entry.is(open.tick, open.draw.assignment))?;
    Some(&mut entry.counts[open.draw.side])
}

impl Open {
    /// Notes what became of it, if it is the first of its user.
    fn becomes(&self, first: First, counts: &mut Counts) {
        if let (Some(user), true, Some(users)) = (self.draw.user, self.is_first, &mut counts.users) {
            users.seen.change(user, first as u8);
        }
    }
}

#[cfg(test)]
mod tests;
