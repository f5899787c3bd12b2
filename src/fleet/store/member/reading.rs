//! What a member reads of the store, and makes of it.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::{Asked, Kind, LOST, MOST_TOLD_BYTES, Member, READ_ALL_EVERY, READ_EVERY, ROUND_EVERY};
use crate::fleet::store::call::{Call, Item, Range};
use crate::fleet::store::known::Known;
use crate::fleet::store::pool::{Heard, MOST_MEMBERS, Sign};
use crate::fleet::store::values::{self, Lead, Life, Read, Stored, Told};
use crate::model::sorted;
use crate::rollout::clock::Clock;

/// Records of releases that are kept beside the one that a rollout is configured with: a release that comes back finds its
/// verdict.
const KEPT_RELEASES: usize = 16;
/// Records that are kept of rollouts that no member is configured with.
const KEPT_STRAYS: usize = 256;
/// Records of such rollouts that are kept at the most. The leader reads all of them, and so does each member that has more
/// than [`MOST_KEYS`] rollouts.
const MOST_STRAYS: usize = 1_024;
/// Milliseconds since its last event for which such a record is kept anyway: a push may have left out its rollout by mistake.
const STRAY_FOR: u64 = 30 * 24 * 3_600_000;
/// Rollouts whose records are asked for by their keys, if there are no more. A transaction of etcd has 128 operations at most.
const MOST_KEYS: usize = 64;
/// Sets of users that are read in one call. A transaction of etcd has 128 operations at most.
const MOST_USER_SETS: usize = 64;

/// All but the releases whose records moved last: the key of each, and the sets of users that it names. `records`: of one
/// rollout.
fn outdated(records: &[Item]) -> impl Iterator<Item = (String, Vec<u64>)> {
    let later = |revision: u64| records.iter().filter(|record| record.revision > revision).count();
    records
        .iter()
        .filter(move |record| later(record.revision) >= KEPT_RELEASES)
        .filter_map(|record| leftover(record, u64::MAX))
}

/// The key of a record, and the sets of users that it names. `None`: something has happened to it since then, in milliseconds
/// since the epoch.
fn leftover(record: &Item, since: u64) -> Option<(String, Vec<u64>)> {
    let users = match Stored::decode(&record.value) {
        Read::Whole(stored) if stored.events.last().is_some_and(|(_, event)| event.time > since) => {
            return None;
        }
        Read::Whole(stored) => stored.record.shelved().collect(),
        Read::Foreign(_) | Read::Unreadable => Vec::new(),
    };
    Some((record.key.clone(), users))
}

/// The rollout and the run of a record's key, behind the prefix of all.
pub(super) fn of_record<'k>(key: &'k str, prefix: &str) -> Option<(&'k str, &'k str)> {
    key.strip_prefix(prefix)?.split_once('/')
}

impl Member {
    pub(super) fn reading(&mut self, clock: Clock) -> Option<(Call, Kind)> {
        let round = self.leads && clock.uptime >= self.next_round;
        let is_due = clock.uptime >= self.next_read
            || self.next_read.saturating_sub(clock.uptime) > LOST
            || (self.failure.is_none() && (self.is_told_due || round));
        if !is_due {
            return None;
        }
        let is_old = |at: u64| clock.uptime.saturating_sub(at) >= READ_ALL_EVERY || at > clock.uptime;
        let all = self.read_all.is_none_or(is_old);
        let newer_than = if all { 0 } else { self.seen };
        let mut call = Call::default();
        let told = std::mem::take(&mut self.is_told_due) && !self.known.is_empty();
        if told {
            (self.told.time, self.told.followed) = (clock.time, self.seen);
            self.followed_told = self.seen;
            let before = self.told.entries();
            let bytes = self.told.encode(MOST_TOLD_BYTES);
            self.cut = self.cut.saturating_add(before.saturating_sub(self.told.entries()) as u64);
            call.put.push((self.key(&format!("m/{}", self.life.name())), bytes));
        }
        let configured = !self.is_configured_told && !self.is_untold && !self.known.is_empty();
        if configured {
            let key = self.key(&format!("c/{}", self.life.name()));
            call.put.push((key, values::encode(&self.configured)));
        }
        let prefix = |rest: &str, newer_than| Range { key: self.key(rest), is_prefix: true, newer_than };
        let mut keys = Vec::new();
        // What is written in the meantime, of other releases as well, is little; all that there are is much. Only the leader
        // deletes what is no longer needed.
        if all && !self.leads && self.known.len() <= MOST_KEYS {
            keys.extend(self.known.iter().map(|(name, known)| self.record_key(name, known.run)));
        }
        if keys.is_empty() {
            call.read.push(prefix("r/", newer_than));
        }
        call.read.extend(keys.iter().map(|key| Range { key: key.clone(), is_prefix: false, newer_than }));
        call.read.push(Range { key: self.key("lead"), is_prefix: false, newer_than });
        let mut users = Vec::new();
        if round {
            call.read.push(prefix("m/", 0));
            call.read.push(prefix("c/", self.configurations_seen));
            users = self.unread_users();
            call.read.extend(users.iter().map(|name| {
                let key = self.users_key(*name);
                Range { key, is_prefix: false, newer_than: 0 }
            }));
            self.next_round = clock.uptime.saturating_add(self.settings.period.min(ROUND_EVERY));
        }
        self.next_read = clock.uptime.saturating_add(READ_EVERY);
        Some((call, Kind::Read { asked: Asked { all, keys, round, users }, told, configured }))
    }

    /// Sets of users that records name, as many as one call reads of those that have not been asked for.
    #[inline(never)] // one copy in the module
    fn unread_users(&self) -> Vec<u64> {
        let named = self.known.values().filter_map(|known| known.current.as_ref());
        let named = named.flat_map(|stored| stored.record.shelved());
        named.filter(|name| !self.has_asked_for(*name)).take(MOST_USER_SETS).collect()
    }

    /// Whether a set of users is here, or the store does not have it either.
    pub(super) fn has_asked_for(&self, name: u64) -> bool {
        self.shelf.contains_key(&name) || self.absent.contains(&name)
    }

    pub(super) fn has_read(&mut self, (revision, items): (u64, Vec<Vec<Item>>), asked: Asked, clock: Clock) {
        if revision < self.seen {
            // The store was restored: what is newer than this says nothing.
            (self.seen, self.configurations_seen, self.followed_told) = (0, 0, 0);
            self.next_read = clock.uptime;
            self.discard_round();
            self.early.clear();
            self.known.values_mut().for_each(Known::forget_revision);
            (self.lead_revision, self.is_configured_told) = (None, false);
            return;
        }
        // A store that takes no report is away, although what others write is followed.
        if !self.is_untold {
            self.note_heard(clock);
        }
        let mut items = items.into_iter();
        let records = items.by_ref().take(asked.keys.len().max(1)).flatten().collect();
        // One that was configured since it was asked may have a record all the same.
        let is_asked =
            |(name, known): (&String, &Known)| asked.keys.contains(&self.record_key(name, known.run));
        let all = asked.all && (asked.keys.is_empty() || self.known.iter().all(is_asked));
        self.read_records(records, all, clock);
        self.read_lead(items.next().unwrap_or_default(), all, clock);
        self.seen = revision;
        // A member that reports nothing else soon says that it follows, also what it has written itself.
        let has_moved = self.known.values().any(|known| known.moved > self.followed_told);
        let is_untold = std::mem::take(&mut self.is_untold);
        self.is_told_due |= is_untold || (self.was_idle && has_moved);
        if all {
            self.read_all = Some(clock.uptime);
            self.forget_users();
        }
        if asked.round && is_untold {
            // The reports that are there are from before the outage, and their members are not silent for that.
            self.next_round = clock.uptime;
        } else if asked.round {
            let reports = items.next().unwrap_or_default();
            self.read_members(reports, items.next().unwrap_or_default(), clock);
            self.configurations_seen = revision;
            for name in asked.users {
                match items.next().unwrap_or_default().into_iter().next() {
                    Some(item) => drop(self.shelf.insert(name, item.value)),
                    None => self.absent.push(name),
                }
            }
            if self.leads {
                self.make_round(clock);
                if !self.unread_users().is_empty() {
                    self.next_round = clock.uptime;
                }
            }
        }
    }

    fn read_records(&mut self, items: Vec<Item>, all: bool, clock: Clock) {
        let prefix = self.key("r/");
        let mut found: HashMap<String, Item> = HashMap::new();
        // Records of other releases, by key.
        let mut others: Vec<Item> = Vec::new();
        for item in items {
            let Some((rollout, run)) = of_record(&item.key, &prefix) else { continue };
            let Some(Life(run)) = Life::of(run) else { continue };
            if self.known.get(rollout).is_some_and(|known| known.run == run) {
                found.insert(rollout.to_owned(), item);
            } else if all {
                others.push(item);
            }
        }
        if all {
            let is_same = |one: &Item, other: &Item| {
                let rollout = |item| of_record(item, &prefix).map(|(rollout, _)| rollout);
                rollout(&one.key) == rollout(&other.key)
            };
            self.outdated = others.chunk_by(is_same).flat_map(outdated).collect();
            self.outdated.extend(self.strays(&others, clock));
        }
        for (rollout, known) in &mut self.known {
            match found.remove(rollout) {
                Some(item) if all || known.revision != Some(item.revision) || known.is_unstored => {
                    if known.revision != Some(item.revision) {
                        self.absent.clear(); // another member may have written them
                    }
                    known.read(Stored::decode(&item.value), item.revision, clock);
                }
                Some(_) => {}
                None if all => known.miss(),
                None => {}
            }
            if known.lacks_users && known.foreign.is_none() {
                // Which member writes a record back first is chance: one that has its users writes it once more.
                let mut named = known.current.iter().flat_map(|mine| mine.record.shelved()).peekable();
                known.is_unstored |=
                    named.peek().is_some() && named.all(|name| self.shelf.contains_key(&name));
            }
        }
    }

    /// The records of rollouts that no member is configured with, but for those that moved last or lately; none where that is
    /// not known of all members.
    fn strays(&self, records: &[Item], clock: Clock) -> Vec<(String, Vec<u64>)> {
        let prefix = self.key("r/");
        let is_told = |life: &Life| self.configurations.get(life).is_some();
        if self.configurations_seen == 0 || !self.members.iter().all(|(life, _)| is_told(life)) {
            return Vec::new();
        }
        let programs = self.configurations.values().flat_map(|configured| &configured.programs);
        let configured: HashSet<&str> =
            programs.map(|(name, ..)| name.as_str()).chain(self.known.keys().map(String::as_str)).collect();
        let is_stray = |record: &Item| {
            of_record(&record.key, &prefix).is_some_and(|(rollout, _)| !configured.contains(rollout))
        };
        let strays = records.iter().enumerate().filter(|(_, record)| is_stray(record));
        let strays = sorted(strays.map(|(at, record)| (Reverse(record.revision), at))).into_iter();
        let strays = strays.filter_map(|(_, at)| records.get(at));
        let lately = clock.time.saturating_sub(STRAY_FOR);
        let kept_since = |nth| if nth < MOST_STRAYS { lately } else { u64::MAX };
        let surplus = strays.enumerate().skip(KEPT_STRAYS);
        let surplus = surplus.filter_map(|(nth, record)| leftover(record, kept_since(nth)));
        surplus.filter(|stray| !self.outdated.contains(stray)).collect()
    }

    fn read_lead(&mut self, items: Vec<Item>, all: bool, clock: Clock) {
        match items.into_iter().next() {
            Some(item) => {
                let lead: Option<Lead> = values::decode(&item.value);
                if self.lead_revision != Some(item.revision) {
                    (self.lead_revision, self.lead_since) = (Some(item.revision), Some(clock.uptime));
                }
                self.lead_is_foreign = values::is_foreign(&item.value);
                let lead = lead.unwrap_or_default();
                let is_mine = lead.life == self.life && !self.yields(clock);
                // It was written here, and the answer was lost.
                if is_mine && !self.leads {
                    self.begin_to_lead(&lead, clock);
                }
                (self.leads, self.lead) = (is_mine, lead);
            }
            None if all => {
                (self.lead_revision, self.leads, self.lead_is_foreign) = (Some(0), false, false);
                self.lead_since = None;
            }
            None => {}
        }
        self.lead_since.get_or_insert(clock.uptime);
    }

    fn read_members(&mut self, reports: Vec<Item>, configurations: Vec<Item>, clock: Clock) {
        let life_of = |item: &Item| item.key.rsplit('/').next().and_then(Life::of);
        // What is read after an outage may have been written long before.
        let every = self.settings.period.min(ROUND_EVERY).saturating_mul(2);
        let since = clock.uptime.saturating_sub(self.reports_read).saturating_sub(every) / 1_000_000;
        self.reports_read = clock.uptime;
        let is_crowded = reports.len() > MOST_MEMBERS;
        let before = std::mem::take(&mut self.beyond);
        let (mut present, mut live) = (Vec::new(), 0_usize);
        for item in reports {
            let Some(life) = life_of(&item) else { continue };
            let known = self.members.get(&life).map(|heard| heard.sign);
            let known = known.or_else(|| before.get(&life).copied());
            let known = known.filter(|sign| sign.revision == item.revision);
            let sign = known.unwrap_or(Sign { revision: item.revision, at: clock.uptime, excused: 0 });
            let is_live = sign.silence(clock) <= self.silent_after();
            live = live.saturating_add(is_live.into());
            // Where there are too many, those that have ended leave their places to the others.
            if present.len() >= MOST_MEMBERS || (is_crowded && !is_live) {
                self.beyond.insert(life, sign);
                continue;
            }
            present.push(life);
            let heard = self.members.get_or_insert_with(life, Heard::default);
            if heard.sign.revision != item.revision {
                let told: Option<Told> = values::decode(&item.value);
                let time = told.as_ref().map(|told| i64::try_from(told.time).unwrap_or(0));
                // Of one that was there before it is not known when it was written.
                let time = time.filter(|_| heard.sign.revision != 0 || self.configurations_seen != 0);
                let time = time.filter(|_| known.is_none());
                let ahead = time.map(|time| time.saturating_sub_unsigned(clock.time)).map(|least| {
                    let most = least.saturating_add_unsigned(since);
                    heard.ahead.map_or(least, |before| before.clamp(least, most))
                });
                *heard = Heard { sign, ahead, told, configured: None };
            }
        }
        if clock.uptime >= self.surplus_from {
            self.surplus = u32::try_from(live.saturating_sub(MOST_MEMBERS)).unwrap_or(u32::MAX);
        }
        // A configuration is written once, and may be read before the first report of its member.
        let is_here = |life: &Life| present.contains(life) || self.beyond.get(life).is_some();
        let was_here = |life: &Life| self.members.get(life).is_some() || before.get(life).is_some();
        self.configurations.retain(|life, _| is_here(life) || !was_here(life));
        for item in configurations {
            if let (Some(life), Some(configured)) = (life_of(&item), values::decode(&item.value)) {
                self.configurations.insert(life, configured);
            }
        }
        self.members.retain(|life, _| present.contains(life));
        for (life, heard) in self.members.iter_mut() {
            heard.configured = self.configurations.get(life).cloned();
        }
    }
}
