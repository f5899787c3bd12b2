//! One member of a fleet, as its leading VM has it.

mod reading;
mod round;
mod writing;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use fastrand::Rng;

use super::call::{Answer, Call, Failure};
use super::known::{Known, Made};
use super::pool::{BEAT_EVERY, GONE, Heard, blocks};
use super::values::{self, Configured, KEPT_EVENTS, Lead, Life, Standing, Stored, Told};
use super::view::View;
use crate::fleet::effect::Question;
use crate::model::SortedMap;
use crate::rollout::change::NotChanged;
use crate::rollout::event::Event;
use crate::rollout::program::Program;
use crate::rollout::ready;
use crate::rollout::record::{Clock, Record};
use crate::telemetry::ledger::Entry;

/// Nanoseconds between two readings of what others have written.
const READ_EVERY: u64 = 250_000_000;
/// Nanoseconds between what members have told and the leader's reading of it.
const ROUND_AFTER: u64 = 150_000_000;
/// Nanoseconds between two rounds of the leader at most, however long a period is: a run counts 10 s at most each time it is
/// written, which happens with every second round at the latest.
const ROUND_EVERY: u64 = 4_000_000_000;
/// Nanoseconds after which an answer is not waited for any more: a push may have lost it.
const LOST: u64 = 8_000_000_000;
/// Nanoseconds after which everything is read again, and not only what is newer.
const READ_ALL_EVERY: u64 = 10_000_000_000;
/// Periods without a sign of the leader after which another member takes the lead.
const PATIENCE: u64 = 3;
/// Nanoseconds that a new leader, and one that was cut off, waits until all have told what was missed.
const GRACE: u64 = 2_000_000_000;
/// Ticks by which two clocks differ that do not count from the same time.
const OTHER_CLOCK: u64 = 30 * 24 * 3_600;
/// Bytes of a report. etcd takes 1.5 MiB in one call.
const MOST_TOLD_BYTES: usize = 512 << 10;

/// Notifications that the lead names as done.
pub const MOST_DONE: usize = 256;

/// How a fleet is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The fleet's name.
    pub fleet: String,
    /// Nanoseconds between two reports.
    pub period: u64,
    /// Nanoseconds without an answer of the store after which stable serves.
    pub stale_after: Option<u64>,
}

/// What has become of a rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// The rollout.
    pub rollout: String,
    /// What counts from now on.
    pub counts: Counts,
    /// What happened, oldest first.
    pub events: Vec<Event>,
    /// Whether it happened before this member knew the rollout.
    pub is_history: bool,
}

/// How a rollout is routed and counted.
#[derive(Clone, Debug, PartialEq)]
pub enum Counts {
    /// By this record.
    Record(Box<Record>),
    /// By what another version of this software has written.
    Standing(Standing),
}

/// A member.
pub struct Member {
    life: Life,
    settings: Settings,
    rng: Rng,
    known: BTreeMap<String, Known>,
    /// Sets of users by name, of the records that this member judges.
    shelf: HashMap<u64, Vec<u8>>,
    /// Those that the store does not have.
    absent: Vec<u64>,
    /// Those that the store has although no record there names them yet.
    early: Vec<u64>,
    /// Those that no record names any more.
    unshelved: Vec<u64>,
    /// Keys of records of releases long ago, each with the sets of users that it names.
    outdated: Vec<(String, Vec<u64>)>,
    flight: Option<Flight>,
    /// The revision up to which everything was read, since it was last read in full.
    seen: u64,
    /// When everything was last read; `None`: it has to be.
    read_all: Option<u64>,
    next_read: u64,
    /// When the store last answered, and milliseconds since the epoch then.
    heard: Option<(u64, u64)>,
    /// When it was first asked.
    began: u64,
    failure: Option<Failure>,
    /// When the last call failed, if it did.
    failed_at: Option<u64>,
    configured: Configured,
    is_configured_told: bool,
    /// What is to be told, and whether that is due.
    told: Told,
    is_told_due: bool,
    /// Entries that were left out of reports since this was last asked.
    cut: u64,
    /// It failed, and is told again once the store has answered: what others have written is read all the same.
    is_untold: bool,
    /// The revision up to which it was last told that this member follows.
    followed_told: u64,
    /// When something was last told, and whether it was nothing.
    told_at: u64,
    was_idle: bool,
    lead: Lead,
    /// The revision of the lead; 0: there is none. `None`: the store has not said.
    lead_revision: Option<u64>,
    lead_is_foreign: bool,
    /// Since when it has been seen unchanged.
    lead_since: Option<u64>,
    /// Nanoseconds of patience beyond the others', lest all take the lead at once.
    jitter: u64,
    leads: bool,
    /// Until then nothing is closed.
    hold_until: u64,
    /// Since when the fleet's clock is behind what was judged.
    back_since: Option<u64>,
    members: SortedMap<Life, Heard>,
    /// What members have, by life, whether they were heard of or not.
    configurations: SortedMap<Life, Configured>,
    /// The revision up to which they were read.
    configurations_seen: u64,
    /// Until then others may take the lead, which can judge more.
    yields_until: u64,
    /// Rollouts of which counted members have a release that this one has not, and since when.
    unjudged: SortedMap<String, u64>,
    next_round: u64,
    round: Option<Round>,
    /// What is done of notifications, as this Envoy has it.
    done: Vec<u64>,
    /// What candidates have answered whether they are ready, and what is to be asked once it is written.
    heard_ready: HashMap<String, ready::Answer>,
    asked: Vec<Question>,
}

/// What was decided by a leader, and not written yet.
#[derive(Debug, Default)]
struct Round {
    at: u64,
    /// What the round has made of rollouts, and of which generation.
    records: HashMap<String, (u64, Stored)>,
    lead: Lead,
}

/// A call that is under way.
#[derive(Debug)]
struct Flight {
    since: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// What was read: whether everything, whether for a round, and which sets of users; and whether the configuration was
    /// told.
    Read { all: bool, round: bool, told: bool, configured: bool, users: Vec<u64> },
    /// Sets of users that were written before the record that names them.
    Shelve(Vec<u64>),
    /// What was written.
    Write { records: Vec<(String, Stored, usize)>, lead: Option<Lead> },
}

impl Member {
    /// A member. `life` and `seed`: random.
    #[must_use]
    pub fn new(life: Life, settings: Settings, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let jitter = rng.u64(..=settings.period.max(1));
        Self {
            life,
            settings,
            rng,
            known: BTreeMap::new(),
            shelf: HashMap::new(),
            absent: Vec::new(),
            early: Vec::new(),
            unshelved: Vec::new(),
            outdated: Vec::new(),
            flight: None,
            seen: 0,
            read_all: None,
            next_read: 0,
            heard: None,
            began: u64::MAX,
            failure: None,
            failed_at: None,
            configured: Configured::default(),
            is_configured_told: false,
            told: Told::default(),
            is_told_due: false,
            cut: 0,
            is_untold: false,
            followed_told: 0,
            told_at: 0,
            was_idle: true,
            lead: Lead::default(),
            lead_revision: None,
            lead_is_foreign: false,
            lead_since: None,
            jitter,
            leads: false,
            hold_until: 0,
            back_since: None,
            members: SortedMap::default(),
            configurations: SortedMap::default(),
            configurations_seen: 0,
            yields_until: 0,
            unjudged: SortedMap::default(),
            next_round: 0,
            round: None,
            done: Vec::new(),
            heard_ready: HashMap::new(),
            asked: Vec::new(),
        }
    }

    /// The store has answered this member before, at this time in milliseconds since the epoch.
    pub fn heard_before(&mut self, time: u64, clock: Clock) {
        let elapsed = clock.time.saturating_sub(time).saturating_mul(1_000_000);
        self.heard = Some((clock.uptime.saturating_sub(elapsed), time));
    }

    /// How the fleet is set up.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// This member.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life
    }

    /// Whether it leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leads
    }

    /// Takes over which rollouts this member is configured with. `before`: what was known of a rollout before there was a
    /// store.
    pub fn configure<'p>(
        &mut self,
        programs: impl Iterator<Item = (&'p str, &'p Program)>,
        before: impl Fn(&str) -> Option<Record>,
        clock: Clock,
    ) {
        let mut old = std::mem::take(&mut self.known);
        self.configured = Configured { version: crate::VERSION.to_owned(), programs: Vec::new() };
        for (name, program) in programs {
            let mut new = Known::new(Rc::new(program.clone()));
            self.configured.programs.push((name.to_owned(), new.run, new.fingerprint));
            new = match old.remove(name) {
                Some(mut known) if known.run == new.run => {
                    (known.program, known.fingerprint, known.shown) = (new.program, new.fingerprint, None);
                    known
                }
                _ => {
                    self.read_all = None;
                    let record = before(name).filter(|record| values::run_of(&record.program) == new.run);
                    match record {
                        // Another VM of this Envoy has led it, and may not have come to write what it knew.
                        Some(record) if record.closed_through.abs_diff(clock.tick()) < OTHER_CLOCK => {
                            if record.is_taken_back() {
                                new.announced = Some(record.run.revision);
                                new.current = Some(Stored { record, ..Stored::default() });
                                // Until the store has said that it has it.
                                new.is_unstored = true;
                            }
                        }
                        record => new.before = record,
                    }
                    new
                }
            };
            self.known.insert(name.to_owned(), new);
        }
        (self.is_configured_told, self.round, self.yields_until) = (false, None, 0);
    }

    /// What counts of a rollout.
    #[must_use]
    pub fn record(&self, rollout: &str) -> Option<&Record> {
        self.known.get(rollout)?.current.as_ref().map(|stored| &stored.record)
    }

    /// Makes a change here, and has it written. One that was made here already is not made again. Returns whether it
    /// was made now.
    ///
    /// # Errors
    /// It was not made.
    pub fn make(&mut self, made: &Made, clock: Clock) -> Result<bool, NotChanged> {
        let known = self.known.get_mut(&made.change.rollout).ok_or(NotChanged::Unknown)?;
        let is_made = known.current.as_ref().is_some_and(|mine| mine.made.contains(&made.id));
        if is_made || known.changes.contains(made) {
            return Ok(false);
        }
        known.make(made, self.lead.clock_of(self.life, clock))?;
        Ok(true)
    }

    /// The rollouts with changes that were refused after all, since this was last asked.
    pub fn poll_refused(&mut self) -> Vec<String> {
        let refused = self
            .known
            .iter_mut()
            .filter_map(|(name, known)| std::mem::take(&mut known.has_refused).then(|| name.clone()));
        refused.collect()
    }

    /// Whether this member is configured with the run that a change is about.
    #[must_use]
    pub fn has_run(&self, made: &Made) -> bool {
        self.known.get(&made.change.rollout).is_some_and(|known| known.run == made.run)
    }

    /// Whether a change waits for the store.
    #[must_use]
    pub fn waits(&self, made: &Made) -> bool {
        self.known.get(&made.change.rollout).is_some_and(|known| known.changes.contains(made))
    }

    /// The marks of notifications that are done, as the leader has last written them.
    #[must_use]
    pub fn done(&self) -> &[u64] {
        &self.lead.done
    }

    /// Writes which notifications are done: soon, for any member may be the next to post.
    pub fn write_done(&mut self, done: Vec<u64>, clock: Clock) {
        if self.done != done {
            (self.done, self.next_round) = (done, clock.uptime);
        }
    }

    /// What was reported here at this tick. Returns what this member finds on its own, where the store is away.
    pub fn tell(&mut self, known_before: u64, rollouts: Vec<(String, Vec<Entry>)>, clock: Clock) {
        // The time, and what is followed, are those at which it is written.
        let mut told = Told { known_before, ..Told::default() };
        for (rollout, entries) in rollouts {
            let judged = self.record(&rollout).map_or(0, |record| record.closed_through);
            let mut entries: Vec<Entry> = blocks(&entries);
            entries.retain(|entry| entry.tick > judged);
            if !entries.is_empty() {
                told.rollouts.push((rollout, entries));
            }
        }
        self.told = told;
        let elapsed = clock.uptime.saturating_sub(self.told_at);
        // A little less than a period: ticks come when they come.
        let is_time = elapsed.saturating_add(clock.length / 4) >= self.settings.period;
        let is_idle = self.told.rollouts.is_empty();
        let is_due = if is_idle && self.was_idle { elapsed >= BEAT_EVERY } else { is_time };
        self.is_told_due |= is_due && !self.is_untold;
        if self.is_told_due && self.leads {
            self.next_round = clock.uptime.saturating_add(ROUND_AFTER);
        }
        if self.is_away(clock) { self.judge_alone(clock) } else { self.end_alone() }
    }

    /// How many ticks were left out of reports, which were too long, since this was last asked.
    pub fn take_cut(&mut self) -> u64 {
        std::mem::take(&mut self.cut)
    }

    /// Whether the store has not answered for so long that this member acts on its own.
    #[must_use]
    pub fn is_away(&self, clock: Clock) -> bool {
        let patience = self.settings.period.saturating_mul(PATIENCE).saturating_add(GRACE);
        self.heard.is_none_or(|(at, _)| clock.uptime.saturating_sub(at) > patience)
    }

    /// What was wrong with the last call.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// Whether the store has not answered for so long that stable is to serve.
    #[must_use]
    pub fn is_stale(&self, clock: Clock) -> bool {
        self.settings.stale_after.is_some_and(|stale_after| self.age(clock) > stale_after)
    }

    fn judge_alone(&mut self, clock: Clock) {
        let members = self.lead.members.iter().filter(|member| member.left_out.is_none()).count();
        let told = &self.told;
        for (rollout, entries) in &told.rollouts {
            let Some(known) = self.known.get_mut(rollout) else { continue };
            let Some(mine) = &known.current else { continue };
            // Where users are judged, who leads has those that have failed already.
            if mine.record.shelved().any(|name| !self.shelf.contains_key(&name)) || known.foreign.is_some() {
                continue;
            }
            let entries: Vec<&Entry> = entries.iter().collect();
            let found = known.alone.judge(&mine.record, members, (&entries, told.known_before), clock);
            if let Some((record, event)) = found {
                known.take_back(record, event);
            }
        }
    }

    fn end_alone(&mut self) {
        self.known.values_mut().for_each(|known| known.alone.end());
    }

    /// What has changed since the last call.
    pub fn poll_news(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        for (rollout, known) in &mut self.known {
            if let Some(standing) = known.foreign.as_ref().filter(|standing| !known.has_taken_back(standing))
            {
                if known.shown.as_ref() != Some(standing) {
                    known.shown = Some(standing.clone());
                    let counts = Counts::Standing(standing.clone());
                    news.push(News {
                        rollout: rollout.clone(),
                        counts,
                        events: Vec::new(),
                        is_history: false,
                    });
                }
                continue;
            }
            let Some(stored) = &known.current else { continue };
            let standing = stored.standing();
            if known.shown.as_ref() == Some(&standing) {
                continue;
            }
            let from = known.announced;
            let is_new = |(revision, _): &&(u64, Event)| from.is_none_or(|from| *revision > from);
            let events = stored.events.iter().filter(is_new).map(|(_, event)| event.clone()).collect();
            known.announced = Some(standing.revision);
            known.shown = Some(standing);
            let counts = Counts::Record(Box::new(stored.record.clone()));
            news.push(News { rollout: rollout.clone(), counts, events, is_history: from.is_none() });
        }
        news
    }

    /// A candidate has answered whether it is ready, or has not.
    pub fn hear(&mut self, rollout: &str, answer: ready::Answer) {
        self.heard_ready.insert(rollout.to_owned(), answer);
    }

    /// What candidates are to be asked.
    pub fn poll_questions(&mut self) -> Vec<Question> {
        if self.round.is_some() || self.flight.is_some() {
            Vec::new()
        } else {
            std::mem::take(&mut self.asked)
        }
    }

    /// Hands out everything once more.
    pub fn show_all(&mut self) {
        self.known.values_mut().for_each(|known| known.shown = None);
    }

    /// Nanoseconds since the store last answered; since it was first asked if it never did.
    #[must_use]
    pub fn age(&self, clock: Clock) -> u64 {
        clock.uptime.saturating_sub(self.heard.map_or(self.began, |(at, _)| at))
    }

    /// Events up to this revision are known here already.
    pub fn announced(&mut self, rollout: &str) {
        if let Some(known) = self.known.get_mut(rollout) {
            let revision = known.current.as_ref().map(|stored| stored.record.run.revision);
            known.announced = known.announced.max(revision);
        }
    }

    /// The call that is due, if none is under way. What comes of it goes to [`Member::answer`].
    pub fn poll_call(&mut self, clock: Clock) -> Option<Call> {
        self.began = self.began.min(clock.uptime);
        if let Some(flight) = &self.flight {
            if clock.uptime.saturating_sub(flight.since) < LOST && flight.since <= clock.uptime {
                return None;
            }
            self.answer(Answer::Failed(Failure::Timeout), clock);
        }
        let (call, kind) = self.writing(clock).or_else(|| self.reading(clock))?;
        self.flight = Some(Flight { since: clock.uptime, kind });
        Some(call)
    }

    /// Nanoseconds until a call may be due.
    #[must_use]
    pub fn next_call(&self, clock: Clock) -> u64 {
        if self.flight.is_some() {
            READ_EVERY
        } else {
            self.next_read.saturating_sub(clock.uptime).min(READ_EVERY)
        }
    }

    /// What became of the call that was under way.
    pub fn answer(&mut self, answer: Answer, clock: Clock) {
        let Some(flight) = self.flight.take() else { return };
        match answer {
            Answer::Failed(failure) => {
                self.failure = Some(failure);
                self.stop_leading_until_read();
                // While the store does not answer, the leader cannot renew the lead either. Between two calls that fail it
                // may not be known; a call that succeeds in between shows whether it has.
                let since = self.failed_at.unwrap_or(flight.since);
                let silent = clock.uptime.saturating_sub(since);
                self.lead_since = self.lead_since.map(|since| since.saturating_add(silent));
                self.failed_at = Some(clock.uptime);
                // At once would be a storm, later would be late.
                self.next_read = clock.uptime.saturating_add(READ_EVERY);
                let writes = |kind| matches!(kind, Kind::Read { told, configured, .. } if told || configured);
                self.is_untold |= writes(flight.kind);
            }
            Answer::Refused => {
                self.failed_at = None;
                self.note_heard(clock);
                self.stop_leading_until_read();
                self.next_read = clock.uptime;
            }
            Answer::Done { revision, items } => {
                self.failed_at = None;
                // A reading says nothing of a report that was refused.
                if !self.is_untold || !matches!(flight.kind, Kind::Read { .. }) {
                    self.failure = None;
                }
                match flight.kind {
                    Kind::Read { all, round, told, configured, users } => {
                        if told {
                            (self.told_at, self.was_idle) = (clock.uptime, self.told.rollouts.is_empty());
                        }
                        self.is_configured_told |= configured;
                        self.has_read((revision, items), (all, round, users), clock);
                    }
                    Kind::Shelve(names) => {
                        self.note_heard(clock);
                        self.early.extend(names);
                    }
                    Kind::Write { records, lead } => self.has_written(revision, records, lead, clock),
                }
            }
        }
    }

    #[inline(never)] // in the module once
    fn note_heard(&mut self, clock: Clock) {
        if self.is_away(clock) && self.heard.is_some() {
            self.hold(clock);
            // Others may have taken this member for gone.
            self.is_configured_told = false;
        }
        self.heard = Some((clock.uptime, clock.time));
    }

    /// What was decided may no longer hold: everything is read before anything is decided.
    #[inline(never)] // in the module once
    fn stop_leading_until_read(&mut self) {
        (self.read_all, self.round) = (None, None);
        // Of users, what only a round had that is not written.
        let named = self.named_users();
        self.shelf.retain(|name, _| named.contains(name));
        self.unshelved.extend(self.early.extract_if(.., |name| !named.contains(name)));
    }

    /// The sets of users that records name.
    #[inline(never)] // in the module once
    fn named_users(&self) -> Vec<u64> {
        let stored = self.known.values().filter_map(|known| known.current.as_ref());
        stored.flat_map(|stored| stored.record.shelved()).collect()
    }

    /// Has sets of users be as long as they can be.
    #[cfg(test)]
    pub fn pad_users(&mut self) {
        self.shelf.values_mut().for_each(|bulk| bulk.resize(1 << 19, 0));
    }

    fn hold(&mut self, clock: Clock) {
        let grace = GRACE.saturating_add(self.settings.period);
        self.hold_until = clock.uptime.saturating_add(grace);
    }

    fn key(&self, rest: &str) -> String {
        format!("/changeover/{}/{rest}", self.settings.fleet)
    }

    #[inline(never)] // in the module once
    fn users_key(&self, name: u64) -> String {
        self.key(&format!("u/{name:016x}"))
    }

    fn record_key(&self, rollout: &str, run: u64) -> String {
        self.key(&format!("r/{rollout}/{run:016x}"))
    }

    /// What people see of it.
    #[must_use]
    pub fn view(&self, clock: Clock) -> View {
        let names = |is: fn(&Known) -> bool| {
            self.known
                .iter()
                .filter(|(_, known)| is(known))
                .map(|(name, _)| name.clone())
                .take(KEPT_EVENTS)
                .collect()
        };
        let is_for_long = |since: u64| self.leads && clock.uptime.saturating_sub(since) >= GONE;
        let unjudged = self.unjudged.iter().filter(|(_, since)| is_for_long(**since));
        View {
            life: self.life,
            fleet: self.settings.fleet.clone(),
            heard: self.heard.map_or(0, |(_, time)| time),
            is_away: self.is_away(clock),
            is_stale: self.is_stale(clock),
            failure: self.failure,
            unreadable: names(|known| known.is_unreadable),
            foreign: names(|known| known.foreign.is_some()),
            unjudged: unjudged.map(|(name, _)| name.clone()).take(KEPT_EVENTS).collect(),
            unstored: names(|known| known.is_unstored),
            followed: self.known.values().map(|known| known.moved).max().unwrap_or(0),
            leader: self.lead_revision.filter(|revision| *revision > 0).map(|_| self.lead.life),
            members: self.lead.members.clone(),
        }
    }
}
