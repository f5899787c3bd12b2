//! Where a rollout stands, and how it goes on.
//!
//! A *run* is a release from its first step to its end; a *retry* is another attempt of the same run. Whatever
//! happens, the shares of the versions besides stable add up to at most 100 %, an abort is final until a
//! retry or another release, and nothing moves forward while it is paused.

use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use super::clock::Now;
use super::command::{Command, Given, Refused};
use super::event::{Action, Actor, Event};
use super::phase::Phase;
use super::program::{Program, Step};
use super::ready::{Answer, Readiness, Ready};
use super::reason::Reason;
use crate::alarm::state::Alarms;
use crate::analysis::judge::Judge;
use crate::analysis::tick::Tick;
use crate::analysis::users::Firsts;
use crate::automation::decisions::Decisions;
use crate::drift::state::Drift;
use crate::model::{Assignment, Pair, Share, Shares, Side};
use turn::Turn;

pub mod alarm;
pub mod drift;
mod flip;
pub mod ladder;
mod obey;
mod push;
mod say;
mod trip;
mod turn;
mod verdict;
mod weigh;

/// Milliseconds that one input may add to a wait: a clock that jumps ends none.
const MOST_ELAPSED: u64 = 10_000;
/// Milliseconds after which the time that a run waits is counted, although nothing else has happened.
const COUNTED: u64 = 5_000;

/// Looks at a version's requests that must find no other cluster, one after the other, before routes are taken to obey again.
const LOOKS: u32 = 100;

/// Who has stopped a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum HeldBy {
    Person,
    Judge,
    Deadline,
    Alarm,
    Steps,
    /// A person, by setting weights.
    Weights,
}

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Rises with everything that happens.
    pub revision: u64,
    /// From 1; another attempt draws another cohort.
    pub attempt: u32,
    /// Where it is in its life.
    pub phase: Phase,
    /// Why.
    pub reason: Reason,
    /// The position of the step that waits, counted from 0; the number of steps when all are done.
    pub position: usize,
    /// The mirror's share, where a step has set it.
    pub mirror: Option<Share>,
    /// What the judge has found.
    pub judge: Judge,
    /// Which alarms are raised.
    pub alarms: Alarms,
    /// How far stable's metrics have moved.
    pub drift: Drift,
    /// How far a model has taken over people's work.
    pub ladder: ladder::Ladder,
    /// What the candidate has answered to the question whether it is ready.
    readiness: Readiness,
    /// Shares of the versions besides stable as steps, pushes and people have set them.
    weights: Shares,
    /// The shares that follow, with a pin and without versions that are gone.
    in_force: Shares,
    /// Who has stopped it; a step that waits for a promotion has not.
    held: Option<HeldBy>,
    /// Blue/green: the side that answers.
    active: flip::Active,
    /// An abort beats a pin to another version than stable until a push changes it.
    pin_beaten: bool,
    /// Milliseconds the step has waited, and had when it was last resumed.
    waited: u64,
    resumed_at: u64,
    last_uptime_ms: u64,
    /// Whether the present crossing of the threshold has been acted on.
    crossed: bool,
    /// The same for the split.
    split_crossed: bool,
    /// The versions were found to get different requests: nothing that is found in this attempt is acted on.
    inputs_differ: bool,
    /// Milliseconds for which a finding has not been acted on, because it is not known whether they do. `None`: there was none
    /// in this attempt.
    withheld: Option<u64>,
    /// What it had waited when something began to speak against the candidate, and whether that was reported.
    held_back_from: Option<(u64, bool)>,
    /// Of versions whose requests another cluster has served, how many looks must find none until that is over; and whether
    /// it has been told.
    elsewhere: Pair<u32>,
    elsewhere_told: bool,
    /// Whether a circuit breaker has been acted on in this attempt.
    tripped: bool,
}

impl Run {
    /// The first attempt of a release.
    #[must_use]
    pub fn begin(program: &Program, now: Now) -> (Self, Vec<Event>) {
        let mut run = Self { attempt: 1, last_uptime_ms: now.uptime_ms, ..Self::default() };
        let mut turn = Turn::new(program, &mut run, now);
        turn.begin_attempt(Actor::Config, Action::Start);
        let events = turn.finish();
        (run, events)
    }

    /// Goes on under another configuration; `before` is the one so far. Another release, stable or candidate
    /// begins another run.
    pub fn push(&mut self, before: &Program, program: &Program, now: Now) -> Vec<Event> {
        push::push(self, before, program, now)
    }

    /// The clock went back by so many seconds: ticks have smaller numbers.
    pub fn renumber(&mut self, program: &Program, seconds: u64, now: Now) -> Vec<Event> {
        let next_tick = now.tick.saturating_add(1);
        self.judge.renumber(next_tick);
        self.active.from = self.active.from.min(next_tick);
        if !matches!(self.phase, Phase::Progressing | Phase::Paused) {
            return Vec::new();
        }
        let mut turn = Turn::new(program, self, now);
        turn.happen(Actor::Auto, Action::Alarm, say::clock_went_back(seconds));
        turn.finish()
    }

    /// Obeys a command.
    ///
    /// # Errors
    /// The command does not fit the phase.
    pub fn command(&mut self, program: &Program, command: Command, now: Now) -> Result<Vec<Event>, Refused> {
        let mut turn = Turn::new(program, self, now);
        turn.obey(command)?;
        Ok(turn.finish())
    }

    /// What is wrong with a command in any phase, with the name of the field.
    #[must_use]
    pub fn flaw(&self, program: &Program, command: &Command) -> Option<String> {
        match command {
            Command::Weight(weights) if !program.blue_green => self.flaw_of_weights(program, weights),
            Command::Switch { active } if program.blue_green => flip::flaw_of_side(program, active),
            Command::Degree(degree) => program.automation.as_ref().and_then(|of| of.flaw_of(*degree)),
            _ => None,
        }
    }

    /// Takes over a tick whose requests have all ended or passed their deadline. Returns what it shows of users, where they
    /// are judged.
    pub fn close(&mut self, program: &Program, tick: &Tick, now: Now) -> Option<Firsts> {
        if let (Some(rules), false) = (program.rules(), self.is_pinned(program)) {
            for (side, counts) in tick.counts.iter().filter(|(_, counts)| counts.elsewhere.units > 0) {
                let looks = u32::try_from(counts.elsewhere.units).unwrap_or(u32::MAX);
                self.elsewhere[side] = match counts.elsewhere.events {
                    0 => self.elsewhere[side].saturating_sub(looks),
                    _ => LOOKS,
                };
            }
            let firsts = self.judge.close(tick, rules, now.tick.saturating_add(1));
            if program.blue_green || program.window.is_some() {
                self.active.close(tick, firsts.as_ref());
            }
            self.alarms.close(&program.alarms, tick, now.time);
            if let Some(rules) = &program.drift {
                self.drift.close(rules, tick, now.time);
            }
            return firsts;
        }
        None
    }

    /// Time goes on. `open` are the ticks that have ended and are not closed yet, as [`Judge::at_least`]
    /// wants them.
    pub fn tick(&mut self, program: &Program, open: &[(Tick, usize)], now: Now) -> Vec<Event> {
        let mut turn = Turn::new(program, self, now);
        turn.tick(open);
        turn.finish()
    }

    /// Takes over what people have decided in this attempt.
    pub fn decide(&mut self, program: &Program, decisions: &Decisions, now: Now) -> Vec<Event> {
        let mut turn = Turn::new(program, self, now);
        turn.decide(decisions);
        turn.finish()
    }

    /// Milliseconds that the present step has waited by `now`.
    #[must_use]
    pub fn waited(&self, now: Now) -> u64 {
        let elapsed = if self.phase == Phase::Progressing { self.elapsed(now) } else { 0 };
        self.waited.saturating_add(elapsed)
    }

    /// Counts time from here on, by the clock that does not jump.
    pub(super) fn count_from(&mut self, uptime_ms: u64) {
        self.last_uptime_ms = uptime_ms;
    }

    /// Counts the time that has passed: towards the step, if the run waits under this program.
    fn count_time(&mut self, program: &Program, now: Now) {
        let elapsed = self.elapsed(now);
        if self.phase == Phase::Progressing && !self.is_pinned(program) {
            self.waited = self.waited.saturating_add(elapsed);
        }
        if !self.is_pinned(program) {
            self.withheld = self.withheld.map(|withheld| withheld.saturating_add(elapsed));
        }
        self.last_uptime_ms = now.uptime_ms;
    }

    /// Milliseconds since time was last counted.
    fn elapsed(&self, now: Now) -> u64 {
        now.uptime_ms.saturating_sub(self.last_uptime_ms).min(MOST_ELAPSED)
    }

    /// Whether time alone moves it on by `now`: what it waits for is over, or elapsed time has to be saved.
    #[must_use]
    pub fn is_due(&self, program: &Program, now: Now) -> bool {
        if self.phase != Phase::Progressing || self.is_pinned(program) {
            return false;
        }
        let waited = self.waited(now);
        if let Some(window) = self.window_lasts(program) {
            return waited >= window || self.elapsed(now) >= COUNTED;
        }
        let is_overdue = self.is_overdue(program, waited);
        // What has been waited for so far is over; then it goes on, or waits for something else.
        let waits = self.waits(program, waited);
        let waits_for_another = waits.is_none_or(|waits| !self.reason.is_waiting_for(&waits));
        waits_for_another || is_overdue || self.elapsed(now) >= COUNTED
    }

    /// What the candidate must answer for the run to go on, while it waits for that.
    fn awaits_ready<'a>(&self, program: &'a Program) -> Option<&'a Ready> {
        if self.phase != Phase::Progressing || self.is_pinned(program) {
            return None;
        }
        match program.steps.get(self.position) {
            _ if self.active.awaits_ready => program.ready.as_ref(),
            Some(Step::Ready(ready)) => Some(ready),
            _ => None,
        }
    }

    /// Whether the candidate is to be asked by `now` whether it is ready.
    #[must_use]
    pub fn is_to_ask(&self, program: &Program, now: Now) -> bool {
        self.awaits_ready(program).is_some() && self.readiness.is_to_ask(now.uptime_ms)
    }

    /// Asks the candidate whether it is ready, if it is time. Returns what is asked, and the time that goes with the
    /// answer.
    pub fn ask<'a>(&mut self, program: &'a Program, now: Now) -> Option<(&'a Ready, u64)> {
        let ready = self.awaits_ready(program).filter(|_| self.readiness.is_to_ask(now.uptime_ms))?;
        Some((ready, self.readiness.ask(now.uptime_ms)))
    }

    /// Takes over what the candidate has answered.
    pub fn hear(&mut self, program: &Program, answer: Answer) {
        if let Some(ready) = self.awaits_ready(program) {
            self.readiness.hear(ready, answer);
        }
    }

    /// Shares of the versions besides stable at present, a pin included.
    #[must_use]
    pub fn in_force(&self) -> &Shares {
        &self.in_force
    }

    /// What the candidate has.
    #[must_use]
    pub fn given<'a>(&'a self, program: &'a Program) -> Given<'a> {
        Given { stable: &program.stable, in_force: &self.in_force, degree: self.degree(program) }
    }

    /// Identifies what decides which user gets which version.
    #[must_use]
    pub fn assignment(&self, program: &Program) -> Assignment {
        let mut hasher = SipHasher24::new();
        (&program.release, self.attempt, &program.stable, &program.candidate, &self.in_force)
            .hash(&mut hasher);
        // Where a version's users are depends on the names of all, if there are others besides stable.
        if program.versions.len() > 2 {
            program.versions.hash(&mut hasher);
        }
        Assignment(hasher.finish())
    }

    /// Whether the pin decides where requests go.
    #[must_use]
    pub fn is_pinned(&self, program: &Program) -> bool {
        program.pin.is_some() && !self.pin_beaten
    }

    /// The pin of the program does not count until a push changes it.
    pub fn beat_pin(&mut self) {
        self.pin_beaten = true;
    }

    /// Whether requests are mirrored, as far as the run decides.
    #[must_use]
    pub fn may_mirror(&self, program: &Program) -> bool {
        !self.is_pinned(program) && !self.phase.is_rolled_back()
    }

    /// The mirror's share at present; `None` without a mirror.
    #[must_use]
    pub fn mirror_share(&self, program: &Program) -> Option<Share> {
        let share = self.mirror.or(program.mirror);
        if self.may_mirror(program) { share } else { share.map(|_| Share::NONE) }
    }

    /// The candidate's part of its own and stable's requests; `None` when it gets none.
    #[must_use]
    pub fn candidate_share(&self, program: &Program) -> Option<f64> {
        let others: u32 = self.in_force.values().map(|share| u32::from(share.basis_points())).sum();
        let stable = u32::from(Share::ALL.basis_points()).saturating_sub(others);
        let candidate = u32::from(self.in_force.get(program.candidate.as_ref()?)?.basis_points());
        (candidate > 0).then(|| f64::from(candidate) / f64::from(candidate.saturating_add(stable)))
    }

    /// The side whose requests another cluster serves, while that is looked at.
    fn is_elsewhere(&self, program: &Program) -> Option<Side> {
        program.analysis.as_ref()?;
        let given = self.in_force().values().map(|share| u32::from(share.basis_points())).sum::<u32>();
        let serves = |side| match side {
            Side::Stable => given < u32::from(Share::ALL.basis_points()),
            Side::Candidate => given > 0,
        };
        // A side that gets no requests any more is not looked at any more.
        self.elsewhere.iter().find(|(side, looks)| **looks > 0 && serves(*side)).map(|(side, _)| side)
    }

    fn candidate_weight(&self, program: &Program) -> Share {
        let weight = program.candidate.as_ref().and_then(|candidate| self.weights.get(candidate));
        weight.copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
