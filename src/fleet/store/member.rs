//! One member of a fleet, as its leading VM has it.

mod differing;
mod reading;
mod round;
mod silence;
mod writing;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use fastrand::Rng;

use super::call::{Answer, Call, Failure};
use super::known::{Known, Made};
use super::pool::{BEAT_EVERY, GONE, Heard, Sign, blocks};
use super::values::{self, Configured, Lead, Life, Standing, Stored, Told};
use super::view::{MOST_NAMES, View};
use crate::analysis::users::Losses;
use crate::fleet::effect::Question;
use crate::model::{SortedMap, Unit};
use crate::rollout::change::NotChanged;
use crate::rollout::clock::Clock;
use crate::rollout::event::Event;
use crate::rollout::program::Program;
use crate::rollout::ready;
use crate::rollout::record::Record;
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
/// Nanoseconds, and periods in addition, within which counts are judged, also where another member has to take the lead first.
const JUDGED_WITHIN: u64 = 2 * GONE;
const JUDGED_WITHIN_PERIODS: u64 = 16;
/// Nanoseconds of counts, in addition to those of open requests, that are reported where no member judges them.
const KEPT_UNJUDGED: u64 = 30_000_000_000;
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
    /// Rollouts of which something was counted and not judged: up to which tick they were, and since when that stands.
    unheard: HashMap<String, (u64, u64)>,
    /// Entries (a tick under one assignment) that were left out of reports since this was last asked.
    cut: u64,
    /// What the judges of rollouts have lost of users since this was last asked.
    losses: Losses,
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
    /// When their reports were last read.
    reports_read: u64,
    /// What members have, by life, whether they were heard of or not.
    configurations: SortedMap<Life, Configured>,
    /// The revision up to which they were read.
    configurations_seen: u64,
    /// Until then others may take the lead, which can judge more.
    yields_until: u64,
    /// Rollouts of which counted members have a release that this one has not, and since when.
    unjudged: SortedMap<String, u64>,
    /// Members and rollouts whose configurations differ from the others', and since when.
    differing: SortedMap<u64, u64>,
    /// Those that are not counted, for there are too many.
    beyond: SortedMap<Life, Sign>,
    /// How many live members there are more than are counted, and from when on that is known.
    surplus: u32,
    surplus_from: u64,
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

/// What a reading asks for.
#[derive(Debug, Default)]
struct Asked {
    /// Whether everything, and not only what is newer.
    all: bool,
    /// The records that are asked for by their keys; none: those of all.
    keys: Vec<String>,
    /// Whether it is for a round.
    round: bool,
    /// Which sets of users.
    users: Vec<u64>,
}

/// A call that is under way.
#[derive(Debug)]
struct Flight {
    since: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// What was read; and whether a report and the configuration were told.
    Read { asked: Asked, told: bool, configured: bool },
    /// Sets of users that were written before the record that names them.
    Shelve(Vec<u64>),
    /// What was written of which run of a rollout, and which sets of users that no record names were deleted.
    Write { records: Vec<((String, u64), Stored, usize)>, lead: Option<Lead>, unshelved: Vec<u64> },
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
            unheard: HashMap::new(),
            cut: 0,
            losses: Losses::default(),
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
            reports_read: 0,
            configurations: SortedMap::default(),
            configurations_seen: 0,
            yields_until: 0,
            unjudged: SortedMap::default(),
            differing: SortedMap::default(),
            beyond: SortedMap::default(),
            surplus: 0,
            surplus_from: 0,
            next_round: 0,
            round: None,
            done: Vec::new(),
            heard_ready: HashMap::new(),
            asked: Vec::new(),
        }
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
    /// store, and the sets of users that it names.
    pub fn configure<'p>(
        &mut self,
        programs: impl Iterator<Item = (&'p str, &'p Program)>,
        before: impl Fn(&str) -> Option<(Record, Vec<(u64, Vec<u8>)>)>,
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
                    let before =
                        before(name).filter(|(record, _)| values::run_of(&record.program) == new.run);
                    if let Some((record, users)) = before {
                        if record.closed_through.abs_diff(clock.tick()) >= OTHER_CLOCK {
                            new.before = Some(record);
                            self.shelf.extend(users);
                        } else if record.is_taken_back() {
                            // Another VM of this Envoy has led it, and may not have come to write what it knew.
                            new.take_over(record);
                            // Until the store has said that it has it.
                            new.is_unstored = true;
                        } else if record.program.unit() == Unit::Requests {
                            // Where users are judged, only that VM knows who came or failed before.
                            new.followed = Some(record);
                        }
                    }
                    new
                }
            };
            self.known.insert(name.to_owned(), new);
        }
        (self.is_configured_told, self.round, self.yields_until) = (false, None, 0);
        self.forget_users();
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
        let (before, is_away) = (std::mem::take(&mut self.unheard), self.is_away(clock));
        for (rollout, entries) in rollouts {
            let judged = self.record(&rollout).map_or(0, |record| record.closed_through);
            let stands = before.get(&rollout).filter(|(before, _)| *before == judged && !is_away);
            let since = stands.map_or(clock.uptime, |(_, since)| *since);
            self.unheard.insert(rollout.clone(), (judged, since));
            let judged = self.closed_through(&rollout, clock);
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
        if is_away { self.judge_alone(clock) } else { self.end_alone() }
    }

    /// The tick through which a rollout's counts are not needed any more. That is later than what was judged where another
    /// version of this software judges, or where no member has judged for long although the store answers: otherwise all of
    /// them would be written into the store once a period.
    #[must_use]
    pub fn closed_through(&self, rollout: &str, clock: Clock) -> u64 {
        let Some(known) = self.known.get(rollout) else { return 0 };
        if known.foreign.is_some() {
            return clock.tick().saturating_sub(1);
        }
        let judged = known.current.as_ref().map_or(0, |stored| stored.record.closed_through);
        let within = self.settings.period.saturating_mul(JUDGED_WITHIN_PERIODS).saturating_add(JUDGED_WITHIN);
        let is_judged = |(_, since): &(u64, u64)| clock.uptime.saturating_sub(*since) < within;
        if self.unheard.get(rollout).is_none_or(is_judged) {
            return judged;
        }
        let deadline = known.program.rules().map_or(0, |rules| rules.deadline);
        let kept = deadline.saturating_add(self.settings.period).saturating_add(KEPT_UNJUDGED);
        let kept = kept.checked_div(clock.length).unwrap_or(0);
        judged.max(clock.tick().saturating_sub(kept))
    }

    /// Entries (a tick under one assignment) that were left out of reports since this was last asked: the reports were too long.
    pub fn take_cut(&mut self) -> u64 {
        std::mem::take(&mut self.cut)
    }

    /// What the judges of rollouts have lost of users, since this was last asked.
    pub fn take_losses(&mut self) -> Losses {
        std::mem::take(&mut self.losses)
    }

    /// What was wrong with the last call.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.failure
    }

    fn judge_alone(&mut self, clock: Clock) {
        let members = self.lead.members.iter().filter(|member| member.left_out.is_none()).count();
        let told = &self.told;
        for (rollout, entries) in &told.rollouts {
            let Some(known) = self.known.get_mut(rollout) else { continue };
            let mine = known.current.as_ref().map(|stored| &stored.record);
            let Some(mine) = mine.or(known.followed.as_ref()) else { continue };
            // Where users are judged, who leads has those that have failed already.
            if mine.shelved().any(|name| !self.shelf.contains_key(&name)) || known.foreign.is_some() {
                continue;
            }
            let entries: Vec<&Entry> = entries.iter().collect();
            let found = known.alone.judge(mine, members, (&entries, told.known_before), clock);
            if let Some((record, event)) = found {
                known.take_back(record, event);
            }
        }
    }

    /// A rollout as this member judges it on its own, in this outage.
    #[must_use]
    pub fn judged_alone(&self, rollout: &str) -> Option<&Record> {
        self.known.get(rollout)?.alone.fork()
    }

    /// Goes on judging from what the VM has found that led this Envoy before.
    pub fn go_on_alone(&mut self, rollout: &str, found: Record) {
        let known = self.known.get_mut(rollout).filter(|known| known.run == values::run_of(&found.program));
        known.into_iter().for_each(|known| known.alone.go_on_from(found.clone()));
    }

    fn end_alone(&mut self) {
        self.known.values_mut().for_each(|known| known.alone.end());
    }

    /// What has changed since the last call.
    pub fn poll_news(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        for (rollout, known) in &mut self.known {
            if let Some(standing) = known.follows() {
                if known.shown.as_ref() != Some(&standing) {
                    known.shown = Some(standing.clone());
                    let counts = Counts::Standing(standing);
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
                self.put_back(&flight.kind);
                self.discard_round();
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
                self.put_back(&flight.kind);
                self.discard_round();
                self.next_read = clock.uptime;
            }
            Answer::Done { revision, items } => {
                self.failed_at = None;
                // A reading says nothing of a report that was refused.
                if !self.is_untold || !matches!(flight.kind, Kind::Read { .. }) {
                    self.failure = None;
                }
                match flight.kind {
                    Kind::Read { asked, told, configured } => {
                        if told {
                            (self.told_at, self.was_idle) = (clock.uptime, self.told.rollouts.is_empty());
                        }
                        self.is_configured_told |= configured;
                        self.has_read((revision, items), asked, clock);
                    }
                    Kind::Shelve(names) => {
                        self.note_heard(clock);
                        self.early.extend(names);
                    }
                    Kind::Write { records, lead, .. } => self.has_written(revision, records, lead, clock),
                }
            }
        }
    }

    /// A call may not have been carried out, or may have been: sets of users that no record names are deleted later.
    fn put_back(&mut self, kind: &Kind) {
        if let Kind::Shelve(names) | Kind::Write { unshelved: names, .. } = kind {
            self.unshelved.extend(names);
        }
    }

    /// What was decided may no longer hold: everything is read before anything is decided.
    #[inline(never)] // one copy in the module
    fn discard_round(&mut self) {
        (self.read_all, self.round) = (None, None);
        self.forget_users();
        let named = self.named_users();
        self.unshelved.extend(self.early.extract_if(.., |name| !named.contains(name)));
    }

    /// Forgets sets of users that no record here names.
    #[inline(never)] // one copy in the module
    fn forget_users(&mut self) {
        let mut named = self.named_users();
        let of_round = self.round.iter().flat_map(|round| round.records.values());
        named.extend(of_round.flat_map(|(_, stored)| stored.record.shelved()));
        self.shelf.retain(|name, _| named.contains(name));
    }

    /// The sets of users that records name.
    #[inline(never)] // one copy in the module
    fn named_users(&self) -> Vec<u64> {
        let current = self.known.values().filter_map(|known| Some(&known.current.as_ref()?.record));
        let before = self.known.values().filter_map(|known| known.before.as_ref());
        current.chain(before).flat_map(Record::shelved).collect()
    }

    /// Has sets of users be as long as they can be.
    #[cfg(test)]
    pub fn pad_users(&mut self) {
        self.shelf.values_mut().for_each(|bulk| bulk.resize(1 << 19, 0));
    }

    /// The sets of users that are kept here.
    #[cfg(test)]
    pub fn shelved(&self) -> impl Iterator<Item = u64> {
        self.shelf.keys().copied()
    }

    fn key(&self, rest: &str) -> String {
        format!("/changeover/{}/{rest}", self.settings.fleet)
    }

    #[inline(never)] // one copy in the module
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
                .take(MOST_NAMES)
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
            surplus: self.lead.surplus,
            unreadable: names(|known| known.is_unreadable),
            foreign: names(|known| known.foreign.is_some()),
            unjudged: unjudged.map(|(name, _)| name.clone()).take(MOST_NAMES).collect(),
            unstored: names(|known| known.is_unstored),
            followed: self.known.values().map(|known| known.moved).max().unwrap_or(0),
            leader: self.lead_revision.filter(|revision| *revision > 0).map(|_| self.lead.life),
            members: self.lead.members.clone(),
        }
    }
}
