//! What is to be posted to receivers of notifications, until they have it.
//!
//! Each receiver has an outbox in what the VMs share, so that it outlives the VM that posts. Its events are posted one after
//! the other, those of a rollout in the order they happened: the next one leaves when the one before has arrived, or was given up. In a fleet
//! every Envoy keeps them; the one that leads posts them, and the store has which of them are done.

use serde::{Deserialize, Serialize};

use super::InUse;
use super::effect::{Effect, Post};
use super::joined;
use super::shared::{self, Shared};
use super::store::member::{self, News};
use crate::config::notify::Notify;
use crate::rollout::clock::Clock;
use crate::rollout::event::{Action, Actor, Event};
use crate::rollout::phase::Phase;
use crate::rollout::program;

/// Events that wait for one receiver.
const MOST: usize = 256;
/// Events that are remembered as done, of one receiver.
const MOST_DONE: usize = 128;
/// Nanoseconds for which an event is posted again and again.
const EXPIRES: u64 = 3_600_000_000_000;
/// The same where the receiver answers that it does not take the post.
const DENIED_EXPIRES: u64 = 600_000_000_000;
/// Nanoseconds for which something is new.
pub(super) const LATELY: u64 = 60_000_000_000;
/// Nanoseconds to the second attempt; doubled with every further one.
const BACKOFF: u64 = 1_000_000_000;
/// Nanoseconds between two attempts at most.
const LONGEST_BACKOFF: u64 = 30_000_000_000;
/// Nanoseconds behind the timeout after which an answer is not waited for any more: the VM that waited may be gone.
const GRACE: u64 = 2_000_000_000;
/// Nanoseconds that an event waits at most, whatever is written: a timeout and its grace.
const LONGEST_WAIT: u64 = 62_000_000_000;

/// What waits for one receiver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Outbox {
    /// Oldest first.
    waiting: Vec<Waiting>,
    /// How often the first one was posted in vain.
    failures: u32,
    /// It is not posted before this, by the clock that all VMs share: it is on its way, or has just failed.
    not_before: u64,
    is_on_its_way: bool,
    /// The marks of what has arrived or was given up, the newest last.
    done: Vec<u64>,
}

/// An event that waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Waiting {
    rollout: String,
    event: Event,
    /// Since when, by the clock that all VMs share.
    since: u64,
}

/// Identifies notifications: events for a receiver.
///
/// In a fleet by what its Envoys agree on. A command is made where it was given and in the record of the fleet, at two times.
/// Without a fleet a rollout that was forgotten counts from 1 again when it comes back: the time distinguishes its events
/// from those before.
struct Marks<'a> {
    receiver: &'a str,
    in_fleet: bool,
}

/// What is done in the fleet.
pub(super) struct Done<'a> {
    marks: &'a [u64],
    /// By receiver, nanoseconds since the oldest event that is known to be done. Marks go in the order in which they came, so
    /// of later events each that is done has its mark.
    known_for: Vec<(&'a str, u64)>,
}

/// What became of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The receiver has it.
    Arrived,
    /// The receiver does not want this one, now or later.
    Refused,
    /// The receiver does not take it, perhaps because of its own configuration: it is posted again, though not for long.
    Denied,
    /// It is posted again.
    Failed,
}

impl<'a> Done<'a> {
    /// By these marks, and what is new of all rollouts.
    pub(super) fn of(
        shared: &impl Shared,
        plans: &[InUse<'a>],
        (marks, news): (&'a [u64], &[News]),
        clock: Clock,
    ) -> Self {
        // Where no mark is gone, or there is nothing to look for, this is not asked for.
        let asked = if marks.len() < MOST_DONE || news.is_empty() { Vec::new() } else { receivers(plans) };
        let known_for = asked.into_iter().filter_map(|receiver| {
            let of_receiver = Marks::of(shared, &receiver.name);
            let events = news.iter().flat_map(|news| news.events.iter().map(|event| (&news.rollout, event)));
            let done =
                events.filter(|(rollout, event)| marks.contains(&of_receiver.identify(rollout, event)));
            Some((receiver.name.as_str(), done.map(|(_, event)| age(event, clock)).max()?))
        });
        Self { marks, known_for: known_for.collect() }
    }

    /// Nanoseconds for which an event of a receiver that has no mark is certainly not done.
    fn is_whole_for(&self, receiver: &str) -> u64 {
        let known = self.known_for.iter().find(|(name, _)| *name == receiver);
        known.map_or(LATELY, |(_, age)| age.saturating_sub(1).clamp(LATELY, EXPIRES))
    }
}

impl Delivery {
    /// What an answer with this status means; `None`: there was no answer.
    #[must_use]
    pub fn of(status: Option<u64>) -> Self {
        match status {
            Some(200..=299) => Self::Arrived,
            // What is wrong with the event stays wrong.
            Some(400 | 410 | 413 | 415 | 422) => Self::Refused,
            // A timeout, too early, too many.
            Some(408 | 425 | 429) => Self::Failed,
            // A wrong path, a token that has expired.
            Some(400..=499) => Self::Denied,
            _ => Self::Failed,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Arrived => "delivered",
            Self::Refused => "refused",
            Self::Denied | Self::Failed => "failed",
        }
    }
}

/// The receivers of all configurations in use: of several with one name, that of the newest.
pub(super) fn receivers<'a>(plans: &[InUse<'a>]) -> Vec<&'a Notify> {
    let mut newest: Vec<(u64, &Notify)> = Vec::new();
    for in_use in plans {
        for receiver in &in_use.plan.receivers {
            match newest.iter_mut().find(|(_, known)| known.name == receiver.name) {
                Some(known) if known.0 < in_use.loaded_at => *known = (in_use.loaded_at, receiver),
                Some(_) => {}
                None => newest.push((in_use.loaded_at, receiver)),
            }
        }
    }
    newest.into_iter().map(|(_, receiver)| receiver).collect()
}

/// Prepares what is shared.
pub(super) fn prepare(shared: &mut impl Shared, plans: &[InUse<'_>]) {
    receivers(plans).into_iter().for_each(|receiver| shared::prepare(shared, &key(&receiver.name)));
}

/// Queues a rollout's events for the receivers that want them.
pub(super) fn add(
    shared: &mut impl Shared,
    receivers: &[Notify],
    (rollout, events): (&str, &[Event]),
    now: u64,
    effects: &mut Vec<Effect>,
) {
    for receiver in receivers {
        let new = events.iter().filter(|event| wants(receiver, event));
        let dropped = put(shared, receiver, new.map(|event| waiting(rollout, event, now)).collect());
        gave_up(receiver, "dropped", dropped, effects);
    }
}

/// The same of what had happened before this Envoy has heard of it, and may not be posted yet: it has just started, or no VM of
/// it led.
pub(super) fn add_missed(
    shared: &mut impl Shared,
    receivers: &[Notify],
    (rollout, events): (&str, &[Event]),
    done: &Done<'_>,
    clock: Clock,
) {
    for receiver in receivers {
        let marks = Marks::of(shared, &receiver.name);
        let wanted: Vec<&Event> = events.iter().filter(|event| wants(receiver, event)).collect();
        // They are posted in order: with the last one that is done those before it are.
        let last = wanted.iter().rposition(|event| done.marks.contains(&marks.identify(rollout, event)));
        // Where so much is done that earlier marks are gone, only what is new is undone for certain, and what follows one that
        // is done.
        let is_whole = last.is_some() || done.marks.len() < MOST_DONE;
        let oldest = if is_whole { EXPIRES } else { done.is_whole_for(&receiver.name) };
        let rest = wanted.into_iter().skip(last.map_or(0, |last| last.saturating_add(1)));
        let aged = rest.map(|event| {
            let age = age(event, clock);
            (age, waiting(rollout, event, clock.uptime.saturating_sub(age)))
        });
        let new = aged.filter(|(age, _)| *age <= oldest).map(|(_, waiting)| waiting).collect();
        put(shared, receiver, new);
    }
}

/// Nanoseconds since an event happened.
pub(super) fn age(event: &Event, clock: Clock) -> u64 {
    clock.time.saturating_sub(event.time).saturating_mul(1_000_000)
}

#[inline(never)] // one copy in the module
fn waiting(rollout: &str, event: &Event, since: u64) -> Waiting {
    Waiting { rollout: rollout.to_owned(), event: event.clone(), since }
}

/// Queues events that are neither queued nor done. Returns how many old ones were dropped for them.
#[inline(never)] // one copy in the module
fn put(shared: &mut impl Shared, receiver: &Notify, new: Vec<Waiting>) -> u64 {
    if new.is_empty() {
        return 0;
    }
    let mut dropped = 0;
    let marks = Marks::of(shared, &receiver.name);
    change(shared, &receiver.name, &mut |outbox| {
        let mut outbox = outbox.unwrap_or_default();
        for waiting in &new {
            let mark = marks.mark(waiting);
            let is_known = |known: &Waiting| marks.mark(known) == mark;
            if !outbox.done.contains(&mark) && !outbox.waiting.iter().any(is_known) {
                outbox.waiting.push(waiting.clone());
            }
        }
        let first = usize::from(outbox.is_on_its_way);
        dropped = outbox.waiting.len().saturating_sub(MOST);
        outbox.waiting.drain(first..first.saturating_add(dropped));
        Some(outbox)
    });
    dropped as u64
}

/// Takes the event that is due for a receiver, as the VM that is to post it, of those that wait since then.
pub(super) fn take(
    shared: &mut impl Shared,
    receiver: &Notify,
    (now, since): (u64, u64),
    effects: &mut Vec<Effect>,
) -> Option<(String, Event)> {
    let is_due =
        |outbox: &Outbox| outbox.is_due(now) && outbox.waiting.iter().any(|waiting| waiting.since >= since);
    if !is_due(&read(shared, receiver)?) {
        return None;
    }
    let marks = Marks::of(shared, &receiver.name);
    let (mut expired, mut taken) = (0, None);
    let is_written = change(shared, &receiver.name, &mut |outbox| {
        let mut outbox = outbox?;
        (expired, taken) = (0, None);
        if !is_due(&outbox) {
            return None;
        }
        expired = outbox.expire(&marks, now);
        // With what the same rollouts did before: the events of each stay in order.
        let new = outbox.waiting.iter().filter(|waiting| waiting.since >= since);
        let new: Vec<String> = new.map(|waiting| waiting.rollout.clone()).collect();
        let waiting = std::mem::take(&mut outbox.waiting);
        let (first, later): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|waiting| new.contains(&waiting.rollout));
        outbox.waiting.extend(first.into_iter().chain(later));
        if let Some(Waiting { rollout, event, .. }) = outbox.waiting.first() {
            taken = Some((rollout.clone(), event.clone()));
            let timeout = receiver.timeout.as_nanos();
            outbox.is_on_its_way = true;
            outbox.not_before = now.saturating_add(timeout).saturating_add(GRACE);
        }
        Some(outbox)
    });
    if !is_written {
        return None;
    }
    gave_up(receiver, "expired", expired, effects);
    taken
}

/// Notes what became of a post. Nothing, if another VM has done so already.
pub(super) fn settle(
    shared: &mut impl Shared,
    post: &Post,
    outcome: Delivery,
    now: u64,
    effects: &mut Vec<Effect>,
) {
    let name = &post.receiver.name;
    let marks = Marks::of(shared, name);
    let mark = marks.identify(&post.rollout, &post.event);
    let mut result = outcome;
    change(shared, name, &mut |outbox| {
        let mut outbox = outbox?;
        let first = outbox.waiting.first().filter(|first| marks.mark(first) == mark)?;
        let is_old = now.saturating_sub(first.since) > DENIED_EXPIRES;
        result = if outcome == Delivery::Denied && is_old { Delivery::Refused } else { outcome };
        outbox.is_on_its_way = false;
        if matches!(result, Delivery::Denied | Delivery::Failed) {
            outbox.failures = outbox.failures.saturating_add(1);
            outbox.not_before = now.saturating_add(backoff(outbox.failures, mark));
        } else {
            outbox.finish(&marks, &[mark]);
        }
        Some(outbox)
    });
    effects.push(Effect::Notified { receiver: name.clone(), result: result.label(), count: 1 });
}

/// What is done of all receivers, for the fleet: of each the newest, as many as the store has room for.
pub(super) fn done(shared: &impl Shared, plans: &[InUse<'_>]) -> Vec<u64> {
    let receivers = receivers(plans);
    let most = most_done(receivers.len());
    let outboxes = receivers.into_iter().filter_map(|receiver| read(shared, receiver));
    outboxes.flat_map(|Outbox { done, .. }| done.into_iter().rev().take(most).rev()).collect()
}

/// How many marks of each of so many receivers the store has room for.
fn most_done(receivers: usize) -> usize {
    member::MOST_DONE.checked_div(receivers).unwrap_or(0)
}

/// Whether so much of what a receiver has is not in the store yet (`done`: what is) that some of it might never be, and would be
/// posted again by the next Envoy that leads. `receivers`: how many share the room.
pub(super) fn is_full(shared: &impl Shared, receiver: &Notify, receivers: usize, done: &[u64]) -> bool {
    let most = most_done(receivers);
    let Some(outbox) = read(shared, receiver) else { return false };
    let newest = outbox.done.iter().rev().take(most);
    newest.filter(|mark| !done.contains(mark)).count() >= most.div_ceil(2).max(1)
}

/// Leaves out what an Envoy that leads the fleet has done, and what is too old where another one leads, which counts it.
pub(super) fn follow(shared: &mut impl Shared, plans: &[InUse<'_>], done: &[u64], old: Option<u64>) {
    for receiver in receivers(plans) {
        let marks = Marks::of(shared, &receiver.name);
        let is_old = |waiting: &Waiting| old.is_some_and(|now| waiting.is_old(now));
        let is_over = |waiting: &Waiting| done.contains(&marks.mark(waiting)) || is_old(waiting);
        if !read(shared, receiver).is_some_and(|outbox| outbox.waiting.iter().any(is_over)) {
            continue;
        }
        change(shared, &receiver.name, &mut |outbox| {
            let mut outbox = outbox?;
            let over = outbox.waiting.iter().filter(|waiting| is_over(waiting));
            let over: Vec<u64> = over.map(|waiting| marks.mark(waiting)).collect();
            outbox.finish(&marks, &over);
            Some(outbox)
        });
    }
}

/// Changes an outbox until no other VM has changed it meanwhile. Returns whether it is as wanted.
#[inline(never)] // one copy in the module
fn change(
    shared: &mut impl Shared,
    receiver: &str,
    change: &mut dyn FnMut(Option<Outbox>) -> Option<Outbox>,
) -> bool {
    shared::update(shared, &key(receiver), change)
}

#[inline(never)] // one copy in the module
fn read(shared: &impl Shared, receiver: &Notify) -> Option<Outbox> {
    shared::read(shared, &key(&receiver.name))
}

fn gave_up(receiver: &Notify, result: &'static str, count: u64, effects: &mut Vec<Effect>) {
    if count > 0 {
        effects.push(Effect::Notified { receiver: receiver.name.clone(), result, count });
    }
}

impl Outbox {
    fn is_due(&self, now: u64) -> bool {
        let wait = self.not_before.saturating_sub(now);
        !self.waiting.is_empty() && (wait == 0 || wait > LONGEST_WAIT)
    }

    /// Leaves out what has waited for too long. Returns how many that were.
    fn expire(&mut self, marks: &Marks<'_>, now: u64) -> u64 {
        let old = self.waiting.iter().filter(|waiting| waiting.is_old(now));
        let old: Vec<u64> = old.map(|waiting| marks.mark(waiting)).collect();
        self.finish(marks, &old);
        old.len() as u64
    }

    /// These have arrived, or were given up.
    fn finish(&mut self, marks: &Marks<'_>, over: &[u64]) {
        let first = |outbox: &Self| outbox.waiting.first().map(|waiting| marks.mark(waiting));
        let before = first(self);
        self.waiting.retain(|waiting| !over.contains(&marks.mark(waiting)));
        if first(self) != before {
            (self.failures, self.not_before, self.is_on_its_way) = (0, 0, false);
        }
        self.done.extend(over);
        let surplus = self.done.len().saturating_sub(MOST_DONE);
        self.done.drain(..surplus);
    }
}

impl Waiting {
    fn is_old(&self, now: u64) -> bool {
        now.saturating_sub(self.since) > EXPIRES
    }
}

impl<'a> Marks<'a> {
    fn of(shared: &impl Shared, receiver: &'a str) -> Self {
        Self { receiver, in_fleet: joined::uses_shared_clock(shared) }
    }

    fn mark(&self, waiting: &Waiting) -> u64 {
        self.identify(&waiting.rollout, &waiting.event)
    }

    #[inline(never)] // one copy in the module
    fn identify(&self, rollout: &str, event: &Event) -> u64 {
        let last = if self.in_fleet { event.action as u64 } else { event.time };
        let id = (self.receiver, rollout, &event.release, event.attempt, event.revision, last);
        program::identify(&id)
    }
}

/// Nanoseconds to the next attempt after so many in vain; up to an eighth less, so that receivers which many Envoys share
/// are not called by all at once.
fn backoff(failures: u32, mark: u64) -> u64 {
    let doubled = BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_BACKOFF);
    let part = doubled / 8;
    doubled.saturating_sub(mark.wrapping_add(failures.into()).checked_rem(part).unwrap_or(0))
}

/// Whether an event is posted to a receiver.
#[inline(never)] // one copy in the module
fn wants(receiver: &Notify, event: &Event) -> bool {
    let waits = event.action == Action::Step && event.phase == Phase::Paused;
    match &receiver.events {
        None => event.actor == Actor::Auto || waits,
        Some(actions) => actions.contains(&event.action) || waits && actions.contains(&Action::Pause),
    }
}

fn key(receiver: &str) -> String {
    shared::key(&format!("outbox.{receiver}"))
}

/// An outbox as it is written, without sentences.
#[cfg(test)]
pub(super) fn without_sentences(value: &[u8]) -> Vec<u8> {
    let mut outbox: Outbox = postcard::from_bytes(value).unwrap();
    outbox.waiting.iter_mut().for_each(|waiting| waiting.event.message.clear());
    postcard::to_allocvec(&outbox).unwrap()
}
