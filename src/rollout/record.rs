//! What all workers of an Envoy share about one rollout, and how the counts of each flow into it.
//!
//! Workers publish reports; the leader takes them over here. Ticks are judged in order, each once.

use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use super::clock::{Clock, Now};
use super::command::{Command, Refused};
use super::event::Event;
use super::phase::Phase;
use super::program::Program;
use super::ready::{Answer, Ready};
use super::recording::{self, Closed, InRun};
use super::run::Run;
use crate::alarm::state::Alarms;
use crate::analysis::tick::Tick;
use crate::analysis::trail::{self, Trail};
use crate::analysis::user_set::{Shelf, UserSet};
use crate::automation::decisions::Decisions;
use crate::model::{Assignment, Degree, Share, Shares, Side, Unit};
use crate::signal::histogram;
use crate::signal::sample::Watch;
use crate::telemetry::ledger::Entry;

/// Assignments that are remembered: ticks under an older one are void.
const MOST_ASSIGNMENTS: usize = 8;
/// Ticks after its deadline that a tick waits for a worker that has not reported.
const GRACE: u64 = 2;

/// Everything about one rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What it is to do.
    pub program: Program,
    /// The program's fingerprint.
    pub fingerprint: u64,
    /// Where it stands.
    pub run: Run,
    /// Drawn when the rollout is first seen: from it each attempt has the key of the hash that names its users. 0 until then.
    pub secret: [u64; 2],
    /// When the program was loaded, by the clock that all workers share: an older one changes nothing any more.
    pub configured_at: u64,
    /// Ticks up to this one have been judged, or were before its time.
    pub closed_through: u64,
    /// The tick in which this attempt began: earlier ones are another's.
    since: u64,
    /// Assignments of this attempt, the candidate's share under each, and those of all versions besides stable; the present
    /// one last.
    assignments: Vec<(Assignment, Option<f64>, Shares)>,
    /// While it is recorded: the ticks that were closed, each with its line.
    #[serde(skip)]
    pub recorded: Option<Vec<(u64, String)>>,
    /// Who has come lately. The VM that leads keeps it: with another one it begins anew, for both versions alike.
    #[serde(skip)]
    pub trail: Trail,
}

/// What workers must know of a rollout to route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Its name.
    pub name: String,
    /// When the record's program was loaded.
    pub configured_at: u64,
    /// Of two heads of one configuration the one with the higher revision is the later.
    pub revision: u64,
    /// The program it follows from.
    pub program: u64,
    /// Which assignment is in force.
    pub assignment: Assignment,
    /// Shares of the versions besides stable.
    pub weights: Shares,
    /// The attempt, which draws the cohort.
    pub attempt: u32,
    /// The key of the hash that names users for the judge; 0: there is none yet. No client knows it, so none can choose the
    /// users that remain when they are sampled.
    pub user_key: [u64; 2],
    /// Whether the pin decides.
    pub pinned: bool,
    /// Whether a client that asks for the candidate gets it.
    pub candidate_on_request: bool,
    /// Whether the candidate was taken back.
    pub is_taken_back: bool,
    /// Whether requests are mirrored.
    pub mirrors: bool,
    /// The mirror's share, where a step has set it.
    pub mirror: Option<Share>,
    /// How much a model does of people's work.
    pub degree: Degree,
    /// The confidence from which on it answers alone, in hundredths of a percent; `None`: it does not.
    pub threshold: Option<u16>,
}

impl Head {
    /// Whether the record has come from the other head to this one.
    #[must_use]
    pub fn is_later_than(&self, other: &Self) -> bool {
        (self.configured_at, self.revision) > (other.configured_at, other.revision)
    }

    /// Whether some version besides stable gets more than by the other head. `program`: this one's.
    #[must_use]
    pub fn gives_more_than(&self, other: &Self, program: &Program) -> bool {
        let has = |version: &String| other.weights.get(version).copied().unwrap_or(Share::NONE);
        self.weights.iter().any(|(version, share)| *share > has(version))
            || (self.pinned && !other.pinned && !program.is_pinned_to_stable())
            || (self.mirrors && !other.mirrors)
            || (self.candidate_on_request && !other.candidate_on_request)
    }

    /// Whether both send requests the same way.
    #[must_use]
    pub fn routes_like(&self, other: &Self) -> bool {
        (self.assignment, self.user_key) == (other.assignment, other.user_key)
            && self.program == other.program
            && (self.pinned, self.candidate_on_request) == (other.pinned, other.candidate_on_request)
            && (self.mirrors, self.mirror) == (other.mirrors, other.mirror)
            && (self.degree, self.threshold) == (other.degree, other.threshold)
    }
}

impl Record {
    /// A rollout that is seen for the first time.
    #[must_use]
    pub fn begin(program: Program, clock: Clock) -> (Self, Vec<Event>) {
        let (run, mut events) = Run::begin(&program, clock.now());
        if matches!(run.phase, Phase::Steady | Phase::Succeeded) && program.analysis.is_none() {
            events.clear(); // thousands of rollouts that only split traffic begin with every start of Envoy
        }
        let closed_through = clock.tick().saturating_sub(1);
        let fingerprint = program.fingerprint();
        let mut record = Self {
            program,
            fingerprint,
            run,
            secret: [0; 2],
            configured_at: 0,
            closed_through,
            since: 0,
            assignments: Vec::new(),
            trail: Trail::default(),
            recorded: None,
        };
        record.note_assignment();
        (record, events)
    }

    /// Follows another configuration, if it is one.
    pub fn push(&mut self, program: &Program, clock: Clock) -> Vec<Event> {
        if self.program == *program {
            return Vec::new();
        }
        let (is_same_run, attempt) = (self.program.is_same_run(program), self.run.attempt);
        let events = self.run.push(&self.program, program, clock.now());
        self.program = program.clone();
        self.fingerprint = program.fingerprint();
        if !is_same_run {
            self.run.alarms = Alarms::default();
        }
        self.run.alarms.follow(&self.program.alarms);
        if !is_same_run || attempt != self.run.attempt {
            self.begin_attempt(clock);
        }
        self.run.drift.follow(self.program.drift.as_ref());
        self.note_assignment();
        events
    }

    /// Whether people have decided more than it has taken over.
    #[must_use]
    pub fn has_news(&self, decisions: &Decisions) -> bool {
        self.run.has_news(decisions)
    }

    /// Takes over what people have decided in this attempt.
    pub fn decide(&mut self, decisions: &Decisions, clock: Clock) -> Vec<Event> {
        let events = self.run.decide(&self.program, decisions, clock.now());
        self.note_assignment();
        events
    }

    /// Identifies the attempt, for receipts.
    #[must_use]
    pub fn attempt(&self) -> u64 {
        self.program.attempt(self.run.attempt)
    }

    /// Obeys a person.
    ///
    /// # Errors
    /// The command does not fit the phase.
    pub fn command(&mut self, command: Command, clock: Clock) -> Result<Vec<Event>, Refused> {
        let attempt = self.run.attempt;
        let events = self.run.command(&self.program, command, clock.now())?;
        if attempt != self.run.attempt {
            self.begin_attempt(clock);
        }
        self.note_assignment();
        Ok(events)
    }

    /// Goes on by another clock, whose ticks have other numbers: what was counted by the one before is forgotten.
    #[inline(never)] // one copy in the module
    pub fn change_clock(&mut self, clock: Clock) {
        let before = std::mem::replace(&mut self.closed_through, clock.tick().saturating_sub(1));
        self.run.drift.renumber(before, self.closed_through);
        self.forget_assignments(clock);
        self.note_assignment();
    }

    /// Goes on although the clock went back: otherwise nothing would be judged until it is as late again.
    pub fn follow_clock_back(&mut self, clock: Clock) -> Vec<Event> {
        let back = self.closed_through.saturating_sub(clock.tick()).saturating_mul(clock.length);
        self.change_clock(clock);
        self.trail = Trail::default();
        self.run.renumber(&self.program, back / 1_000_000_000, clock.now())
    }

    /// The present attempt's key of the hash that names users.
    fn user_key(&self) -> [u64; 2] {
        let [a, b] = self.secret;
        if self.secret == [0; 2] || self.program.unit() != Unit::Users {
            return [0; 2];
        }
        [0_u8, 1].map(|half| {
            let mut hasher = SipHasher24::new_with_keys(a, b);
            (&self.program.release, self.run.attempt, half).hash(&mut hasher);
            hasher.finish()
        })
    }

    /// Another attempt has begun, which earlier counts and alarms about the candidate are not about.
    fn begin_attempt(&mut self, clock: Clock) {
        self.run.alarms.begin_attempt(&self.program.alarms);
        self.forget_assignments(clock);
    }

    /// Forgets the assignments so far: their counts are not evidence any more.
    fn forget_assignments(&mut self, clock: Clock) {
        self.assignments.clear();
        self.since = clock.tick();
    }

    /// Judges the ticks that can be judged now. `entries` are those of all workers, in the order of their
    /// ticks; all arrivals of ticks before `known_before` are reported by every worker.
    pub fn advance(&mut self, entries: &[&Entry], known_before: u64, clock: Clock) -> Vec<Event> {
        self.advance_by((entries.len(), clock.length), entries, known_before, clock)
    }

    /// The same with entries of a whole fleet, one for each tick and assignment: each is evidence of its own, for an Envoy
    /// that follows late must not void what the others have counted. `period`: nanoseconds between two reports of an Envoy.
    pub fn advance_blocks(
        &mut self,
        entries: &[&Entry],
        known_before: u64,
        period: u64,
        clock: Clock,
    ) -> Vec<Event> {
        self.advance_by((1, period), entries, known_before, clock)
    }

    /// `size`: how many entries of a tick are judged as one.
    fn advance_by(
        &mut self,
        (size, period): (usize, u64),
        entries: &[&Entry],
        known_before: u64,
        clock: Clock,
    ) -> Vec<Event> {
        let open = self.close_ticks((size.max(1), period), entries, known_before, clock);
        let attempt = self.run.attempt;
        let events = self.run.tick(&self.program, &open, clock.now());
        if attempt != self.run.attempt {
            self.begin_attempt(clock);
        }
        self.note_assignment();
        events
    }

    /// Closes the ticks that can be, and returns those that have ended and are still open, with the bucket of
    /// the age that their open requests have at least.
    fn close_ticks(
        &mut self,
        (size, period): (usize, u64),
        entries: &[&Entry],
        known_before: u64,
        clock: Clock,
    ) -> Vec<(Tick, usize)> {
        let deadline = self.program.rules().map_or(0, |rules| rules.deadline);
        let grace = GRACE.saturating_mul(clock.length);
        // Reports may be older than a tick.
        let late = period.saturating_sub(clock.length);
        let patience = deadline.saturating_add(grace).saturating_add(late);
        let mut open = Vec::new();
        let judged = self.closed_through;
        let mut rest = entries.iter().skip_while(|entry| entry.tick <= judged).peekable();
        while let Some(number) = rest.peek().map(|entry| entry.tick).filter(|tick| *tick < clock.tick()) {
            let mut entries = Vec::new();
            while let Some(entry) = rest.next_if(|entry| entry.tick == number) {
                entries.push(*entry);
            }
            // Open requests are known as of the last report; they may have ended since.
            let age = clock.until(known_before, number);
            let known = number < known_before;
            let overdue = clock.since(number) >= patience;
            if !known && !overdue {
                break; // a worker may still report it
            }
            let mut ticks: Vec<Tick> =
                entries.chunks(size).map(|entries| self.merge(number, entries)).collect();
            let has_ended = |tick: &Tick| tick.counts.iter().all(|(_, counts)| counts.open == 0);
            let ended = ticks.iter().all(has_ended);
            if overdue && !ended && age < deadline {
                // The outcome of its open requests is unknown: it is no evidence.
                ticks.iter_mut().for_each(|tick| (tick.share, tick.void) = (None, true));
            }
            if open.is_empty() && (ended || age >= deadline || overdue) {
                for tick in &mut ticks {
                    self.trail.follow(tick, self.program.followed());
                    self.close(tick, clock.now());
                }
                self.closed_through = number;
            } else if known {
                ticks.iter_mut().for_each(|tick| trail::leave_own(tick, self.program.followed()));
                open.extend(ticks.into_iter().map(|tick| (tick, histogram::bucket(age))));
            } else {
                break;
            }
        }
        if open.is_empty() && rest.peek().is_none() {
            // Nothing came in what else has ended and is known.
            let idle = known_before.min(clock.tick()).saturating_sub(1);
            self.closed_through = self.closed_through.max(idle);
        }
        open
    }

    /// Has the run take a tick over, and records it if that is wanted.
    fn close(&mut self, tick: &Tick, now: Now) {
        let rules =
            self.program.rules().filter(|_| self.recorded.is_some() && !self.run.is_pinned(&self.program));
        let Some(rules) = rules else { return drop(self.run.close(&self.program, tick, now)) };
        let cold = self.run.judge.is_cold(tick, rules);
        let step = self.run.judge.step_from();
        let firsts = self.run.close(&self.program, tick, now);
        let none = Shares::new();
        let known = self.assignments.iter().find(|(known, ..)| *known == tick.assignment);
        let run = InRun {
            id: self.id(),
            attempt: self.run.attempt,
            step,
            closed_in: now.tick,
            void: tick.void,
            cold,
            sample: firsts.as_ref().map(|firsts| firsts.scale).filter(|scale| *scale != 1),
        };
        let weights = known.map_or(&none, |(_, _, weights)| weights);
        let closed = Closed { tick, firsts: firsts.as_ref(), run, weights };
        let line = recording::write(&closed, &self.program, rules);
        self.recorded.get_or_insert_default().push((tick.number, line));
    }

    /// Identifies the run for those who see nothing else of it: another one when the rollout or its release begins.
    fn id(&self) -> String {
        let [a, b] = self.secret;
        let mut hasher = SipHasher24::new_with_keys(a, b);
        (&self.program.release, &self.program.stable, &self.program.candidate).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    /// One tick of all workers.
    fn merge(&self, number: u64, entries: &[&Entry]) -> Tick {
        let mut tick = Tick { number, ..Tick::default() };
        let Some(first) = entries.first() else { return tick };
        tick.assignment = first.assignment;
        let known = |wanted: Assignment| self.assignments.iter().find(|(known, ..)| *known == wanted);
        // What came under an assignment of another attempt counts nowhere.
        for entry in entries.iter().filter(|entry| known(entry.assignment).is_some()) {
            for side in Side::BOTH {
                tick.counts[side].merge(&entry.counts[side]);
            }
        }
        // Under two assignments a tick shows nothing, nor does one of another attempt.
        let assignment = known(first.assignment).filter(|_| number >= self.since);
        let assignment =
            assignment.filter(|_| entries.iter().all(|entry| entry.assignment == first.assignment));
        // Nor does one whose requests were not all served by the versions that they were drawn for.
        let assignment =
            assignment.filter(|_| tick.counts.iter().all(|(_, counts)| counts.elsewhere.events == 0));
        tick.share = assignment.and_then(|(_, share, _)| *share);
        tick.void = assignment.is_none();
        tick
    }

    fn note_assignment(&mut self) {
        let assignment = self.run.assignment(&self.program);
        if self.assignments.last().is_none_or(|(last, ..)| *last != assignment) {
            self.assignments.retain(|(known, ..)| *known != assignment);
            let surplus = self.assignments.len().saturating_sub(MOST_ASSIGNMENTS - 1);
            self.assignments.drain(..surplus);
            let share = self.run.candidate_share(&self.program);
            self.assignments.push((assignment, share, self.run.in_force().clone()));
        }
    }

    /// As it is stored for other Envoys: without what only this one's clock can tell.
    #[must_use]
    pub fn at_rest(&self) -> Self {
        let mut record = Self { configured_at: 0, ..self.clone() };
        record.run.count_from(0);
        record
    }

    /// Goes on here, as of now.
    pub fn wake(&mut self, clock: Clock) {
        self.run.count_from(clock.now().uptime_ms);
    }

    /// Whether the candidate has been taken back.
    #[must_use]
    pub fn is_taken_back(&self) -> bool {
        self.run.phase.is_rolled_back()
    }

    /// What has to be reported of users.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.run.judge.watch()
    }

    /// Whether time alone moves it on: without requests, commands and pushes it may be left alone until then.
    #[must_use]
    pub fn is_due(&self, clock: Clock) -> bool {
        self.run.is_due(&self.program, clock.now())
    }

    /// Whether its candidate is to be asked whether it is ready.
    #[must_use]
    pub fn is_to_ask(&self, clock: Clock) -> bool {
        self.run.is_to_ask(&self.program, clock.now())
    }

    /// Asks the candidate of this rollout, if it is time.
    pub fn ask(&mut self, clock: Clock) -> Option<(Ready, u64)> {
        let (ready, asked) = self.run.ask(&self.program, clock.now())?;
        Some((ready.clone(), asked))
    }

    /// Takes over what the candidate has answered.
    pub fn hear(&mut self, answer: Answer) {
        self.run.hear(&self.program, answer);
    }

    /// The names of what it has on the shelf.
    pub fn shelved(&self) -> impl Iterator<Item = u64> {
        self.run.judge.user_sets().map(UserSet::name).filter(|name| *name != 0)
    }

    /// Gets from the shelf what [`Record::advance`] needs.
    pub fn fetch(&mut self, shelf: &dyn Shelf) {
        self.run.judge.fetch_users(shelf);
    }

    /// Puts on the shelf what [`Record::advance`] has changed.
    pub fn put(&mut self, shelf: &mut dyn Shelf) {
        self.run.judge.put_users(shelf);
    }

    /// What workers must know of it.
    #[must_use]
    pub fn head(&self, name: &str) -> Head {
        let run = &self.run;
        Head {
            name: name.to_owned(),
            configured_at: self.configured_at,
            revision: run.revision,
            program: self.fingerprint,
            assignment: run.assignment(&self.program),
            weights: run.in_force().clone(),
            attempt: run.attempt,
            user_key: self.user_key(),
            pinned: run.is_pinned(&self.program),
            candidate_on_request: !run.phase.is_rolled_back(),
            is_taken_back: self.is_taken_back(),
            mirrors: run.may_mirror(&self.program),
            mirror: run.mirror,
            degree: run.degree(&self.program),
            threshold: run.threshold(&self.program),
        }
    }
}

#[cfg(test)]
mod tests;
