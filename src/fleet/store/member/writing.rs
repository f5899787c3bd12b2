//! What a member writes into the store, and what has become of it.

use super::reading::of_record;
use super::{Kind, Member, PATIENCE, Round};
use crate::fleet::store::call::Call;
use crate::fleet::store::pool::{GONE, Sign};
use crate::fleet::store::rules::{self, Rule};
use crate::fleet::store::values::{self, Lead, Life, Stored};
use crate::rollout::clock::Clock;

/// Nanoseconds after which a decision that was not written is made again.
const STALE: u64 = 2_000_000_000;
/// Values in one call, records and sets of users, with the sets that they replace. A transaction of etcd has 128 operations at
/// most; what else is deleted and the lead come besides.
const MOST_VALUES: usize = 48;
/// Bytes in one call, of etcd's 1.5 MiB.
const MOST_BYTES: usize = 768 << 10;

impl Member {
    pub(super) fn writing(&mut self, clock: Clock) -> Option<(Call, Kind)> {
        if rules::is_out(Rule::BeginsWhenTold) {
            let unknown = self.known.values_mut().filter(|known| known.current.is_none());
            unknown.for_each(|known| known.current = Some(known.begin(clock, 0)));
        }
        // Before anything is written, everything is read.
        self.read_all?;
        let is_stale =
            |round: &Round| clock.uptime.saturating_sub(round.at) > STALE || round.at > clock.uptime;
        if self.round.as_ref().is_some_and(is_stale) {
            self.discard_round();
            return None;
        }
        let mut call = Call::default();
        let (mut records, mut bytes) = (Vec::new(), 0_usize);
        let (mut round, mut early) = (self.round.take(), None);
        for (name, known) in &self.known {
            let is_ours = known.foreign.is_none() || rules::is_out(Rule::ForeignStays);
            let Some(revision) = known.revision.filter(|_| is_ours) else { continue };
            let advanced = round.as_mut().and_then(|round| round.records.remove(name));
            let new = match (&known.current, advanced) {
                (Some(mine), _) if known.is_unstored => mine.clone(),
                (Some(mine), Some((generation, new))) if mine.generation == generation => new,
                (None, _) if revision == 0 => {
                    let mut new = known.begin(self.lead.clock_of(self.life, clock), self.seen);
                    new.record.secret = [self.rng.u64(1..), self.rng.u64(..)];
                    new
                }
                _ => continue,
            };
            let (key, value) = (self.record_key(name, known.run), new.encode());
            let stored = &known.stored_users;
            let is_stored =
                |name: &u64| (stored.contains(name) && !known.lacks_users) || self.early.contains(name);
            let users = new.record.shelved().filter(|name| !is_stored(name));
            let users: Vec<(u64, &Vec<u8>)> =
                users.filter_map(|name| Some((name, self.shelf.get(&name)?))).collect();
            let mut replaced = stored.clone();
            new.record.shelved().for_each(|named| replaced.retain(|name| *name != named));
            replaced.truncate(MOST_VALUES);
            let size = users.iter().fold(value.len(), |size, (_, bulk)| size.saturating_add(bulk.len()));
            let values = call.put.len().saturating_add(users.len());
            let values = values.saturating_add(call.delete.len()).saturating_add(replaced.len());
            bytes = bytes.saturating_add(size);
            let is_too_much = values >= MOST_VALUES || bytes > MOST_BYTES;
            if is_too_much && !(records.is_empty() && users.is_empty()) {
                if records.is_empty() {
                    // More than fits beside one record: what it names comes before it.
                    early = self.shelving(&users);
                }
                if let (Some(round), Some(mine), false) = (&mut round, &known.current, known.is_unstored) {
                    round.records.insert(name.clone(), (mine.generation, new));
                }
                break;
            }
            call.when.push((key.clone(), revision));
            call.put.push((key, value));
            for (name, bulk) in users {
                call.put.push((self.users_key(name), bulk.clone()));
            }
            call.delete.extend(replaced.into_iter().map(|name| self.users_key(name)));
            records.push(((name.clone(), known.run), new, known.changes.len()));
        }
        if early.is_some() {
            self.round = round;
            return early;
        }
        // What did not fit goes into the next call.
        let is_rest = round.as_ref().is_some_and(|round| !round.records.is_empty());
        let (mut lead, mut unshelved) = (None, Vec::new());
        if let (Some(revision), true) = (self.lead_revision, self.leads) {
            if let Some(round) = &round {
                call.when.push((self.key("lead"), revision));
                if !is_rest {
                    lead = Some(round.lead.clone());
                    let (keys, names) = self.leftovers(clock);
                    call.delete.extend(keys);
                    unshelved = names;
                }
            }
        } else if self.may_take_the_lead(clock) {
            call.when.push((self.key("lead"), self.lead_revision.unwrap_or(0)));
            let beat = self.lead.beat.saturating_add(1);
            lead = Some(Lead { life: self.life, beat, ..self.lead.clone() });
        }
        if let Some(lead) = &lead {
            call.put.push((self.key("lead"), values::encode(lead)));
        }
        self.round = round.filter(|_| is_rest);
        if call.put.is_empty() {
            return None;
        }
        Some((call, Kind::Write { records, lead, unshelved }))
    }

    /// Writes sets of users, as many as fit. The record that names them follows.
    fn shelving(&self, users: &[(u64, &Vec<u8>)]) -> Option<(Call, Kind)> {
        let (mut call, mut names, mut bytes) = (Call::default(), Vec::new(), 0_usize);
        for (name, bulk) in users.iter().take(MOST_VALUES) {
            bytes = bytes.saturating_add(bulk.len());
            if bytes > MOST_BYTES && !names.is_empty() {
                break;
            }
            call.put.push((self.users_key(*name), (*bulk).clone()));
            names.push(*name);
        }
        Some((call, Kind::Shelve(names)))
    }

    fn may_take_the_lead(&self, clock: Clock) -> bool {
        let Some(revision) = self.lead_revision.filter(|_| !self.known.is_empty()) else { return false };
        let patience = if self.lead_is_foreign {
            GONE
        } else {
            self.settings.period.saturating_mul(PATIENCE).saturating_add(self.jitter)
        };
        let silence = self.lead_since.map_or(0, |since| clock.uptime.saturating_sub(since));
        match self.yields(clock) {
            true => silence >= patience.saturating_mul(4), // no other member has taken it
            false => revision == 0 || silence >= patience,
        }
    }

    /// Whether another member is to take the lead.
    pub(super) fn yields(&self, clock: Clock) -> bool {
        clock.uptime < self.yields_until
    }

    /// Keys that are no longer needed: of members that are gone, of releases long ago, and of sets of users that no record
    /// names, with the names of these.
    fn leftovers(&mut self, clock: Clock) -> (Vec<String>, Vec<u64>) {
        const MOST: usize = 16;
        // None has told anything while the store was away.
        let has_held = clock.uptime.saturating_sub(self.hold_until);
        let is_gone = |sign: Sign| sign.silence(clock).min(has_held) > GONE;
        let counted = self.members.iter().map(|(life, heard)| (*life, heard.sign));
        let all = counted.chain(self.beyond.iter().map(|(life, sign)| (*life, *sign)));
        let gone = all.filter(|(life, sign)| is_gone(*sign) && *life != self.life).take(MOST);
        let gone: Vec<Life> = gone.map(|(life, _)| life).collect();
        let mut keys = Vec::new();
        for life in gone {
            keys.push(self.key(&format!("m/{}", life.name())));
            keys.push(self.key(&format!("c/{}", life.name())));
        }
        // A member may have taken one up again.
        let prefix = self.key("r/");
        let mut outdated = std::mem::take(&mut self.outdated);
        outdated.retain(|(key, _)| !of_record(key, &prefix).is_some_and(|run| self.is_configured(run)));
        self.outdated = outdated;
        let rest = self.outdated.len().saturating_sub(MOST);
        for (key, users) in self.outdated.split_off(rest) {
            keys.push(key);
            self.unshelved.extend(users);
        }
        // A record that names one may have been written although the answer was lost.
        let named = self.named_users();
        self.unshelved.retain(|name| !named.contains(name));
        let rest = self.unshelved.len().saturating_sub(MOST);
        let unshelved = self.unshelved.split_off(rest);
        keys.extend(unshelved.iter().map(|name| self.users_key(*name)));
        (keys, unshelved)
    }

    /// Whether a member has told that it has this run, by its key.
    fn is_configured(&self, (rollout, run): (&str, &str)) -> bool {
        let run = Life::of(run).map(|Life(run)| run);
        let mut programs = self.configurations.values().flat_map(|configured| &configured.programs);
        programs.any(|(name, known, _)| name == rollout && Some(*known) == run)
    }

    pub(super) fn has_written(
        &mut self,
        revision: u64,
        records: Vec<((String, u64), Stored, usize)>,
        lead: Option<Lead>,
        clock: Clock,
    ) {
        self.note_heard(clock);
        for ((name, run), stored, changes) in records {
            let users: Vec<u64> = stored.record.shelved().collect();
            self.early.retain(|name| !users.contains(name));
            // Another release may have been pushed meanwhile.
            let Some(known) = self.known.get_mut(&name).filter(|known| known.run == run) else { continue };
            self.losses = self.losses.plus(std::mem::take(&mut known.losses));
            known.stored_users = users;
            // What was changed while it was under way is changed in it as well.
            let later = known.changes.split_off(changes.min(known.changes.len()));
            known.changes.clear();
            (known.revision, known.written, known.is_unstored) = (Some(revision), clock.uptime, false);
            // Another member may have what this one has not.
            known.lacks_users &= !stored.record.shelved().all(|name| self.shelf.contains_key(&name));
            let taken_back = known.current.take().filter(|mine| {
                later.is_empty()
                    && mine.stays_taken_back()
                    && !stored.record.is_taken_back()
                    && mine.record.run.attempt == stored.record.run.attempt
            });
            known.note_moved(&stored.standing(), revision);
            known.base = known.base.max(stored.place());
            (known.current, known.before) = (Some(stored), None);
            if let Some(mine) = taken_back {
                (known.current, known.is_unstored) = (Some(mine), true);
            }
            for one in later {
                let _ = known.make(&one, clock); // it may not fit any more
            }
        }
        if let Some(lead) = lead {
            if !self.leads {
                self.begin_to_lead(&lead, clock);
            }
            self.lead = lead;
            self.lead_since = Some(clock.uptime);
            self.lead_is_foreign = false;
            self.lead_revision = Some(revision);
            self.leads &= !self.yields(clock);
        }
    }

    /// This member leads from now on: what it knows of the others is of an earlier time, if of any.
    pub(super) fn begin_to_lead(&mut self, lead: &Lead, clock: Clock) {
        // The first one of a fleet has no other to wait for.
        if lead.floor > 0 {
            self.hold(clock);
        }
        (self.leads, self.next_round) = (true, clock.uptime);
        self.members.clear();
        self.beyond.clear();
        // Until then it is not known which of them have ended.
        self.surplus = lead.surplus;
        self.surplus_from = clock.uptime.saturating_add(self.silent_after());
        self.absent.clear();
        self.configurations.clear();
        self.configurations_seen = 0;
        self.outdated.clear();
        self.unjudged.clear();
        self.differing.clear();
        (self.back_since, self.yields_until) = (None, 0);
    }
}
