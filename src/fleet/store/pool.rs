//! What the members of a fleet have counted, added up.

use std::collections::HashMap;

use super::rules::{self, Rule};
use super::values::{Configured, Lead, LeftOut, Life, Seen, Told};
use crate::model::{Assignment, Side, SortedMap, sorted};
use crate::rollout::clock::Clock;
use crate::telemetry::ledger::Entry;

/// Milliseconds by which a member's clock may be off, beyond what a report takes on its way.
pub const MOST_AHEAD: u64 = 2_000;
/// Periods of silence after which a member is not waited for.
const SILENT: u64 = 3;
/// Nanoseconds after which a member says that it lives although it has counted nothing.
pub const BEAT_EVERY: u64 = 5_000_000_000;
/// Nanoseconds of silence after which a member has left the fleet.
pub const GONE: u64 = 60_000_000_000;
/// Members that are counted.
pub const MOST_MEMBERS: usize = 512;

/// When something was last heard of a member.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sign {
    /// The revision of its report.
    pub revision: u64,
    /// When that was first seen, by the leader's clock that does not jump.
    pub at: u64,
    /// Nanoseconds since then for which it is not silent: the store has not answered.
    pub excused: u64,
}

impl Sign {
    /// Nanoseconds for which the member has been silent.
    #[must_use]
    pub fn silence(self, clock: Clock) -> u64 {
        clock.uptime.saturating_sub(self.at).saturating_sub(self.excused)
    }
}

/// A member, as it was last heard of.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// When that was.
    pub sign: Sign,
    /// Milliseconds by which its clock was ahead then; `None`: it may have been written at any time before.
    pub ahead: Option<i64>,
    /// Its report; `None`: it cannot be read.
    pub told: Option<Told>,
    /// What it has, where that is known.
    pub configured: Option<Configured>,
}

/// What the fleet has counted.
#[derive(Debug, Default)]
pub struct Pool {
    /// Of ticks before this one all counted members have told.
    pub known_before: u64,
    /// The time of the fleet: the median of its clocks.
    pub clock: Clock,
    /// Whether too few clocks are known to tell the time.
    pub is_blind: bool,
    /// As it is to be written.
    pub members: Vec<Seen>,
    blocks: HashMap<String, SortedMap<(u64, Assignment), Entry>>,
}

impl Pool {
    /// Adds up what was heard, as far as it is counted. `last`: the lead as it was last written.
    #[must_use]
    pub fn of(heard: &SortedMap<Life, Heard>, last: &Lead, period: u64, clock: Clock) -> Self {
        let patience = period.saturating_mul(SILENT).saturating_add(clock.length);
        let is_idle = |heard: &Heard| heard.told.as_ref().is_some_and(|told| told.rollouts.is_empty());
        let is_silent = |heard: &Heard| {
            let rarely = if is_idle(heard) { BEAT_EVERY } else { 0 };
            heard.sign.silence(clock) > patience.saturating_add(rarely)
        };
        let heard_lately = heard.values().filter(|one| !is_silent(one));
        let clocks = sorted(heard_lately.filter_map(|one| one.ahead));
        let live = heard.values().filter(|one| !is_silent(one)).count();
        let is_blind = clocks.len().saturating_mul(2) < live;
        // Of two in the middle the one that is nearer to the time so far, by the clock that has led; at first the slower one.
        let led = last.members.iter().find(|member| member.life == last.life).map(|member| member.ahead);
        let before = led.zip(heard.get(&last.life).and_then(|leader| leader.ahead));
        let middle = |at: usize| clocks.get(at).copied().unwrap_or(0);
        let (slower, faster) = (middle(clocks.len().saturating_sub(1) / 2), middle(clocks.len() / 2));
        let is_nearer = |(led, now): (i64, i64)| {
            let before = now.saturating_sub(led);
            faster.abs_diff(before) < slower.abs_diff(before)
        };
        let median = if before.is_some_and(is_nearer) { faster } else { slower };
        let median = if rules::is_out(Rule::Median) { 0 } else { median };
        let tolerated = MOST_AHEAD.saturating_add(period / 1_000_000);
        let ahead = |one: &Heard| one.ahead.map_or(0, |ahead| ahead.saturating_sub(median));
        let left_out = |one: &Heard| match &one.told {
            _ if is_silent(one) => Some(LeftOut::Silent),
            None => Some(LeftOut::Unreadable),
            Some(_) if ahead(one).unsigned_abs() > tolerated => Some(LeftOut::Clock),
            Some(_) => None,
        };
        // One that has counted nothing is not waited for.
        let waited_for = heard.values().filter(|one| left_out(one).is_none() && !is_idle(one));
        let known_before = waited_for.filter_map(|one| Some(one.told.as_ref()?.known_before)).min();
        let mut pool = Self {
            known_before: known_before.unwrap_or(0),
            clock: shifted(clock, median),
            is_blind,
            ..Self::default()
        };
        for (life, one) in heard.iter() {
            let known = last.members.iter().find(|known| known.life == *life && known.left_out.is_none());
            // Of ticks that were looked at without it, what it has counted is not used.
            let from = known.map_or(last.floor, |known| known.from);
            let from = if is_idle(one) && !is_blind { from.max(pool.known_before) } else { from };
            let left_out = left_out(one);
            let configured = one.configured.as_ref();
            let silent_for = clock.uptime.saturating_sub(one.sign.at) / 1_000_000;
            pool.members.push(Seen {
                life: *life,
                from,
                ahead: ahead(one),
                followed: one.told.as_ref().map_or(0, |told| told.followed),
                configuration: configured.map_or(0, Configured::hash),
                version: configured.map(|configured| configured.version.clone()).unwrap_or_default(),
                left_out,
                heard: pool.clock.time.saturating_sub(silent_for),
                // As it was found last; the leader looks again.
                differs: known.filter(|_| left_out.is_none()).and_then(|known| known.differs.clone()),
            });
            if let (Some(told), None) = (&one.told, left_out) {
                pool.add(told, from);
            }
        }
        pool
    }

    fn add(&mut self, told: &Told, from: u64) {
        for (rollout, entries) in &told.rollouts {
            let blocks = self.blocks.entry(rollout.clone()).or_default();
            for entry in entries.iter().filter(|entry| entry.tick >= from) {
                let (tick, assignment) = (entry.tick, entry.assignment);
                let empty = || Entry { tick, assignment, ..Entry::default() };
                let block = blocks.get_or_insert_with((tick, assignment), empty);
                Side::BOTH.iter().for_each(|side| block.counts[*side].merge(&entry.counts[*side]));
            }
        }
    }

    /// Takes out what was counted of a rollout: one entry for each tick and assignment, in the order of ticks.
    pub fn take(&mut self, rollout: &str) -> Vec<Entry> {
        let blocks = self.blocks.remove(rollout).unwrap_or_default();
        blocks.into_iter().map(|(_, entry)| entry).collect()
    }
}

/// One worker's or several workers' entries, one for each tick and assignment.
#[must_use]
pub fn blocks(entries: &[Entry]) -> Vec<Entry> {
    let mut pool = Pool::default();
    let told = Told { rollouts: vec![(String::new(), entries.to_vec())], ..Told::default() };
    pool.add(&told, 0);
    pool.take("")
}

impl Lead {
    /// The time of the fleet, by the clock of a member.
    #[must_use]
    pub fn clock_of(&self, life: Life, clock: Clock) -> Clock {
        let ahead = self.members.iter().find(|member| member.life == life).map_or(0, |member| member.ahead);
        shifted(clock, ahead.saturating_neg())
    }
}

/// A clock that is so many milliseconds ahead of another.
fn shifted(clock: Clock, ahead: i64) -> Clock {
    Clock { time: clock.time.saturating_add_signed(ahead), ..clock }
}
