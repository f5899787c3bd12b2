//! What a leader makes of the counts of all members.

use std::collections::HashMap;

use fastrand::Rng;
use siphasher::sip::SipHasher24;

use super::{MOST_DONE, Member, Round};
use crate::analysis::user_set;
use crate::fleet::effect::Question;
use crate::fleet::store::pool::{BEAT_EVERY, GONE, Pool};
use crate::fleet::store::rules::{self, Rule};
use crate::fleet::store::values::{Configured, Lead, Life, Stored};
use crate::model::SortedMap;
use crate::rollout::clock::Clock;
use crate::telemetry::ledger::Entry;

/// Ticks that may be judged before the fleet's clock has them.
const MOST_AHEAD_TICKS: u64 = 5;
/// Nanoseconds after which evidence is written although nothing has happened.
const WRITE_EVIDENCE_EVERY: u64 = 5_000_000_000;

/// Whether a tick is later than clocks that differ a little can have it.
fn is_later(tick: u64, clock: Clock) -> bool {
    tick > clock.tick().saturating_add(MOST_AHEAD_TICKS)
}

impl Member {
    /// The program of a rollout's run that most members have; of several the one in force, or the greatest.
    fn majority(&self, rollout: &str, run: u64, in_force: u64) -> u64 {
        let mut votes: SortedMap<u64, u64> = SortedMap::default();
        for member in &self.lead.members {
            let programs = self.configurations.get(&member.life).filter(|_| member.left_out.is_none());
            let program = programs.and_then(|configured| {
                configured.programs.iter().find(|(name, of, _)| name == rollout && *of == run)
            });
            if let Some((_, _, fingerprint)) = program {
                let votes = votes.get_or_insert_with(*fingerprint, u64::default);
                *votes = votes.saturating_add(1);
            }
        }
        let most = votes.into_iter().max_by_key(|(program, votes)| (*votes, *program == in_force, *program));
        most.map_or(in_force, |(program, _)| program)
    }

    /// Judges what all have counted.
    #[inline(never)] // one copy in the module
    pub(super) fn make_round(&mut self, clock: Clock) {
        let mut pool = Pool::of(&self.members, &self.lead, self.settings.period, clock);
        let is_back = self.is_clock_back(pool.clock, clock);
        if is_back {
            // What was looked at is what comes again.
            self.lead.floor = 0;
            self.lead.members.iter_mut().for_each(|member| member.from = 0);
            pool = Pool::of(&self.members, &self.lead, self.settings.period, clock);
        }
        let is_held = pool.is_blind || clock.uptime < self.hold_until;
        let mut lead = Lead {
            life: self.life,
            beat: self.lead.beat.saturating_add(1),
            floor: self.lead.floor,
            members: std::mem::take(&mut pool.members),
            done: self.all_done(),
            surplus: self.surplus,
        };
        if !is_held {
            lead.floor = lead.floor.max(pool.known_before);
        }
        self.note_differing(&mut lead.members, clock);
        self.lead.members.clone_from(&lead.members);
        self.note_unjudged(clock);
        if self.unjudged.values().any(|since| clock.uptime.saturating_sub(*since) >= GONE)
            && self.is_surpassed()
        {
            // For so long that each of several members like this one has had its turn.
            self.yields_until = clock.uptime.saturating_add(GONE.saturating_mul(10));
            // What is done of notifications is written once more.
            self.round = Some(Round { at: clock.uptime, records: HashMap::new(), lead });
            return;
        }
        let mut round = Round { at: clock.uptime, records: HashMap::new(), lead };
        let names: Vec<String> = if is_held { Vec::new() } else { self.known.keys().cloned().collect() };
        for name in names {
            let entries = pool.take(&name);
            if let Some(advanced) =
                self.advance(&name, (&entries, pool.known_before), is_back, (pool.clock, clock))
            {
                round.records.insert(name, advanced);
            }
        }
        self.round = Some(round);
    }

    /// Whether the fleet's clock went back, for so long that all members have reported by it since.
    fn is_clock_back(&mut self, fleet: Clock, clock: Clock) -> bool {
        let closed =
            self.known.values().filter_map(|known| Some(known.current.as_ref()?.record.closed_through));
        let looked_at = closed.max().unwrap_or(0).max(self.lead.floor);
        if !is_later(looked_at, fleet) {
            self.back_since = None;
            return false;
        }
        let since = *self.back_since.get_or_insert(clock.uptime);
        let patience = BEAT_EVERY.saturating_add(self.settings.period).saturating_mul(2);
        clock.uptime.saturating_sub(since) >= patience
    }

    /// Notes the releases of counted members that this one cannot judge.
    fn note_unjudged(&mut self, clock: Clock) {
        let before = std::mem::take(&mut self.unjudged);
        for member in self.lead.members.iter().filter(|member| member.left_out.is_none()) {
            let programs = self.configurations.get(&member.life).map_or(&[][..], |it| &it.programs);
            for (name, run, _) in programs {
                if self.known.get(name).is_none_or(|known| known.run != *run) {
                    let since = before.get(name).copied().unwrap_or(clock.uptime);
                    self.unjudged.insert(name.clone(), since);
                }
            }
        }
    }

    /// Whether a counted member can judge more of what counted members have.
    fn is_surpassed(&self) -> bool {
        let is_counted = |life: &Life| {
            self.lead.members.iter().any(|member| member.life == *life && member.left_out.is_none())
        };
        let counted = || self.configurations.iter().filter(|(life, _)| is_counted(life));
        // Releases of several rollouts may have the same name.
        let id = |(name, run, _): &(String, u64, u64)| SipHasher24::new().hash(name.as_bytes()) ^ run;
        let mut votes: SortedMap<u64, u64> = SortedMap::default();
        for program in counted().flat_map(|(_, configured)| &configured.programs) {
            let votes = votes.get_or_insert_with(id(program), u64::default);
            *votes = votes.saturating_add(1);
        }
        let judges = |configured: &Configured| {
            let votes = configured.programs.iter().filter_map(|program| votes.get(&id(program)));
            votes.fold(0_u64, |sum, votes| sum.saturating_add(*votes))
        };
        let own = judges(&self.configured);
        counted().any(|(_, configured)| judges(configured) > own)
    }

    /// What is done of notifications, also by those that have led before.
    fn all_done(&self) -> Vec<u64> {
        let before = self.lead.done.iter().copied().filter(|mark| !self.done.contains(mark));
        let mut done: Vec<u64> = before.chain(self.done.iter().copied()).collect();
        let surplus = done.len().saturating_sub(MOST_DONE);
        done.drain(..surplus);
        done
    }

    fn advance(
        &mut self,
        name: &str,
        (entries, known_before): (&[Entry], u64),
        is_back: bool,
        (fleet, clock): (Clock, Clock),
    ) -> Option<(u64, Stored)> {
        let known = self.known.get(name)?;
        let mine = known.current.as_ref().filter(|_| !known.is_unstored && known.foreign.is_none())?;
        if !mine.record.shelved().all(|name| self.has_asked_for(name)) {
            return None; // they come with the next call
        }
        let heard = self.heard_ready.remove(name);
        let is_pushed = mine.record.fingerprint != known.fingerprint
            && (rules::is_out(Rule::Majority)
                || self.majority(name, known.run, mine.record.fingerprint) == known.fingerprint);
        let asks = mine.record.is_to_ask(fleet);
        let is_back = is_back && is_later(mine.record.closed_through, fleet);
        if !is_pushed
            && !is_back
            && entries.is_empty()
            && heard.is_none()
            && !asks
            && !mine.record.is_due(fleet)
        {
            return None;
        }
        let mut new = mine.clone();
        heard.into_iter().for_each(|answer| new.record.hear(answer));
        let mut shelf = Shelf { bulks: &mut self.shelf, rng: &mut self.rng };
        new.record.fetch(&shelf);
        #[cfg(test)]
        if rules::is_out(Rule::UsersOnce) {
            new.record.run.judge.forget_users();
        }
        let losses = new.record.run.judge.losses();
        let mut events = if is_pushed { new.record.push(&known.program, fleet) } else { Vec::new() };
        if is_back {
            events.extend(new.record.follow_clock_back(fleet));
        }
        let entries: Vec<&Entry> = entries.iter().collect();
        events.extend(new.record.advance_blocks(&entries, known_before, self.settings.period, fleet));
        let question = new.record.ask(fleet);
        new.record.put(&mut shelf);
        let must_be_written = is_pushed || is_back || heard.is_some() || question.is_some();
        let is_time = clock.uptime.saturating_sub(known.written) >= WRITE_EVIDENCE_EVERY;
        let is_routed_alike = new.record.head(name).routes_like(&mine.record.head(name));
        if new.record == mine.record || (events.is_empty() && !is_time && is_routed_alike && !must_be_written)
        {
            // What was not written is judged again from the same counts, with the same result.
            let kept: Vec<u64> = mine.record.shelved().collect();
            let dropped = new.record.shelved().filter(|name| !kept.contains(name)).collect::<Vec<_>>();
            dropped.iter().for_each(|name| drop(self.shelf.remove(name)));
            return None;
        }
        let generation = mine.generation;
        if let Some(known) = self.known.get_mut(name) {
            known.losses = new.record.run.judge.losses().since(losses);
        }
        self.asked.extend(question.map(|(ready, asked)| Question { rollout: name.to_owned(), ready, asked }));
        new.generation = generation.saturating_add(1);
        new.add(events);
        Some((generation, new))
    }
}

/// The shelf of a member: what it has of the store's sets of users.
struct Shelf<'a> {
    bulks: &'a mut HashMap<u64, Vec<u8>>,
    rng: &'a mut Rng,
}

impl user_set::Shelf for Shelf<'_> {
    fn read(&self, name: u64) -> Option<Vec<u8>> {
        self.bulks.get(&name).cloned()
    }

    fn write(&mut self, bulk: &[u8]) -> Option<u64> {
        let name = self.rng.u64(1..);
        self.bulks.insert(name, bulk.to_vec());
        Some(name)
    }
}
