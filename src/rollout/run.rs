//! Where a rollout stands, and how it goes on.
//!
//! A *run* is a release from its first step to its end; a *retry* is another attempt of the same run. Whatever
//! happens, the weights of the versions besides stable add up to at most 100 %, an abort is final until a
//! retry or another release, and nothing moves forward while it is paused.

use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use super::event::{Action, Actor, Event};
use super::program::{Pause, Program, Step, Weights, weights};
use crate::analysis::judge::Judge;
use crate::analysis::tick::Tick;
use crate::config::units::Share;
use crate::model::Assignment;
use crate::telemetry::breaker::Trip;

mod flip;
mod push;
mod say;
mod trip;
mod verdict;
mod weigh;

/// Milliseconds that one tick may add to a pause: a clock that jumps ends no pause.
const MOST_ELAPSED: u64 = 10_000;

/// Where a run is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Phase {
    /// Nothing to do.
    #[default]
    Steady,
    /// It moves by itself; waiting for a time to pass is moving.
    Progressing,
    /// It waits for a person.
    Paused,
    /// The last step has ended.
    Succeeded,
    /// A person took the candidate back.
    Aborted,
    /// The judge took the candidate back.
    Failed,
}

impl Phase {
    /// All phases.
    pub const ALL: [Self; 6] =
        [Self::Steady, Self::Progressing, Self::Paused, Self::Succeeded, Self::Aborted, Self::Failed];

    /// Whether the candidate has been taken back, by a person or by the judge.
    #[must_use]
    pub fn is_taken_back(self) -> bool {
        matches!(self, Self::Aborted | Self::Failed)
    }

    /// The value of the label `phase`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Progressing => "progressing",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
        }
    }
}

/// Who has stopped a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Held {
    Person,
    Judge,
    Deadline,
    Steps,
    /// A person, by setting weights.
    Weights,
}

const WAITS_FOR_PROMOTION: &str = "the step waits for a promotion";

/// When something happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the epoch, for people.
    pub time: u64,
    /// Milliseconds of a clock that should neither jump nor go back; nothing breaks if it does.
    pub uptime: u64,
    /// The number of the tick that is under way.
    pub tick: u64,
}

/// What a person, or a circuit breaker, may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// End this step's waiting; `full`: give the candidate everything at once.
    Promote {
        /// All remaining steps.
        full: bool,
    },
    /// The candidate's share back to stable.
    Abort,
    /// Stop moving.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Begin anew after an abort or a failure.
    Retry,
    /// These shares, in hundredths of a percent; versions that are not named keep theirs, stable gets the rest.
    Weight(Weights),
    /// Blue/green: all traffic to this side.
    Switch {
        /// The version.
        active: String,
    },
    /// Not a person's: the circuit breaker of a worker has tripped.
    Trip(Trip),
}

/// Why a command is not obeyed: it does not fit the phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Rises with everything that happens.
    pub revision: u64,
    /// From 1; another attempt draws another cohort.
    pub attempt: u32,
    /// Where it is in its life.
    pub phase: Phase,
    /// Why, in words; empty where the phase says it all.
    pub reason: String,
    /// The position of the step that waits, counted from 0; the number of steps when all are done.
    pub position: usize,
    /// The mirror's share, where a step has set it.
    pub mirror: Option<u16>,
    /// What the judge has found.
    pub judge: Judge,
    weights: Weights,
    in_force: Weights,
    /// Who has stopped it; a step that waits for a promotion has not.
    held: Option<Held>,
    /// Blue/green: which side answers.
    sides: flip::Sides,
    /// An abort beats the pin until a push changes it.
    pin_beaten: bool,
    /// Milliseconds the step has waited, and had when it was last resumed.
    waited: u64,
    resumed_at: u64,
    last_uptime: u64,
    /// Whether the present crossing of the threshold has been acted on.
    crossed: bool,
    /// The same for the split.
    split_crossed: bool,
    /// Whether a circuit breaker has been acted on in this attempt.
    tripped: bool,
}

impl Run {
    /// The first attempt of a release.
    #[must_use]
    pub fn begin(program: &Program, now: Now) -> (Self, Vec<Event>) {
        let mut run = Self { attempt: 1, last_uptime: now.uptime, ..Self::default() };
        let mut events = Vec::new();
        run.first_step(program, now, Actor::Config, Action::Start, &mut events);
        (run, events)
    }

    /// Milliseconds that the present step has waited.
    #[must_use]
    pub fn waited(&self) -> u64 {
        self.waited
    }

    /// Shares of the versions besides stable by now, a pin included.
    #[must_use]
    pub fn in_force(&self) -> &Weights {
        &self.in_force
    }

    /// Tells assignments apart: who gets which version depends on nothing that is not in it. Requests are
    /// counted by it, so that those of another cohort or of other weights are nobody's evidence.
    #[must_use]
    pub fn assignment(&self, program: &Program) -> Assignment {
        let mut hasher = SipHasher24::new();
        (&program.release, self.attempt, &program.stable, &program.candidate, &self.in_force)
            .hash(&mut hasher);
        Assignment(hasher.finish())
    }

    /// Whether the pin decides where requests go.
    #[must_use]
    pub fn is_pinned(&self, program: &Program) -> bool {
        program.pin.is_some() && !self.pin_beaten
    }

    /// Whether requests are mirrored, as far as the run decides.
    #[must_use]
    pub fn may_mirror(&self, program: &Program) -> bool {
        !self.is_pinned(program) && !self.phase.is_taken_back()
    }

    /// The mirror's share by now, in hundredths of a percent; `None` without a mirror.
    #[must_use]
    pub fn mirror_share(&self, program: &Program) -> Option<u16> {
        let share = self.mirror.or(program.mirror);
        if self.may_mirror(program) { share } else { share.map(|_| 0) }
    }

    /// The candidate's part of its own and stable's requests; `None` when it gets none.
    #[must_use]
    pub fn candidate_share(&self, program: &Program) -> Option<f64> {
        let others: u32 = self.in_force.values().map(|share| u32::from(*share)).sum();
        let stable = u32::from(Share::ALL).saturating_sub(others);
        let candidate = u32::from(*self.in_force.get(program.candidate.as_ref()?)?);
        (candidate > 0).then(|| f64::from(candidate) / f64::from(candidate.saturating_add(stable)))
    }

    /// Obeys a person.
    ///
    /// # Errors
    /// The command does not fit the phase.
    pub fn command(&mut self, program: &Program, command: Command, now: Now) -> Result<Vec<Event>, Refused> {
        let mut events = Vec::new();
        let refused = |why: &str| Err(Refused(format!("the rollout is {}{why}", self.phase.label())));
        match command {
            Command::Abort => {
                if self.phase != Phase::Aborted || self.is_pinned(program) {
                    self.take_back(program, Phase::Aborted, "aborted by a person".into());
                    let message = say::taken_back(program, "aborted");
                    self.happen(program, now, Actor::User, Action::Abort, message, &mut events);
                }
            }
            Command::Promote { full } => {
                self.unless_pinned(program)?;
                if program.sides.is_some() {
                    self.promote_side(program, now, &mut events)?;
                    self.settle(program, &mut events);
                    return Ok(events);
                }
                if !matches!(self.phase, Phase::Progressing | Phase::Paused) {
                    return refused("; only a progressing or paused one can be promoted");
                }
                if self.release_hold() == Some(Held::Judge) {
                    self.next_attempt(program, now);
                }
                self.position = if full { program.steps.len() } else { self.next(program) };
                self.advance(program, now, Actor::User, &mut events);
            }
            Command::Pause => match self.phase {
                Phase::Progressing => {
                    self.hold(Held::Person, "paused by a person".into());
                    self.happen(program, now, Actor::User, Action::Pause, self.reason.clone(), &mut events);
                }
                Phase::Paused => {}
                _ => return refused("; only a progressing one can be paused"),
            },
            Command::Resume => {
                if self.phase != Phase::Paused {
                    return refused("; only a paused one can be resumed");
                }
                if self.held.is_none() {
                    return refused(" at a step that waits for a promotion; promote it");
                }
                if let Some(why) = self.flaw_of_resuming(program, now) {
                    return refused(&why);
                }
                self.resume(program, now, &mut events);
            }
            Command::Retry => {
                if !self.phase.is_taken_back() {
                    return refused("; only an aborted or failed one can be retried");
                }
                self.next_attempt(program, now);
                self.first_step(program, now, Actor::User, Action::Retry, &mut events);
            }
            Command::Weight(weights) => self.weigh(program, weights, now, &mut events)?,
            Command::Switch { active } => self.switch(program, &active, now, &mut events)?,
            Command::Trip(trip) => self.trip(program, &trip, now, &mut events)?,
        }
        self.settle(program, &mut events);
        Ok(events)
    }

    /// Refuses what a pin does not let happen.
    fn unless_pinned(&self, program: &Program) -> Result<(), Refused> {
        self.unless(self.is_pinned(program), " and pinned; a pin is removed by configuration")
    }

    /// Refuses traffic to a candidate that has been taken back.
    fn unless_taken_back(&self) -> Result<(), Refused> {
        self.unless(self.phase.is_taken_back(), "; retry it before the candidate gets traffic again")
    }

    fn unless(&self, applies: bool, why: &str) -> Result<(), Refused> {
        if applies { Err(Refused(format!("the rollout is {}{why}", self.phase.label()))) } else { Ok(()) }
    }

    fn resume(&mut self, program: &Program, now: Now, events: &mut Vec<Event>) {
        let mut message = "resumed by a person".to_owned();
        if self.release_hold() == Some(Held::Judge) {
            // Somebody has looked at the accusation and decided against it: it is not raised again.
            self.next_attempt(program, now);
            message = format!("{message}, as attempt {}", self.attempt);
        }
        self.resumed_at = self.waited;
        self.happen(program, now, Actor::User, Action::Resume, message, events);
        if self.go_on_watching(program) {
            return;
        }
        match program.steps.get(self.position) {
            Some(Step::Pause(_)) => self.wait(program),
            _ => self.advance(program, now, Actor::User, events),
        }
    }

    /// Takes over a tick whose requests have all ended or passed their deadline.
    pub fn close(&mut self, program: &Program, tick: &Tick, now: Now) {
        if let (Some(rules), false) = (program.rules(), self.is_pinned(program)) {
            let firsts = self.judge.close(tick, rules, now.tick.saturating_add(1));
            if program.sides.is_some() {
                self.sides.close(tick, firsts.as_ref());
            }
        }
    }

    /// Time goes on. `open` are the ticks that have ended and are not closed yet, as [`Judge::at_least`]
    /// wants them.
    pub fn tick(&mut self, program: &Program, open: &[(Tick, usize)], now: Now) -> Vec<Event> {
        let elapsed = now.uptime.saturating_sub(self.last_uptime).min(MOST_ELAPSED);
        self.last_uptime = now.uptime;
        let mut events = Vec::new();
        if self.is_pinned(program) {
            return events;
        }
        self.judge(program, open, now, &mut events);
        self.watch(program, open, now, &mut events);
        if self.phase == Phase::Progressing {
            self.waited = self.waited.saturating_add(elapsed);
        }
        if self.phase == Phase::Progressing && !self.wait_for_window(program, now, &mut events) {
            self.reason = self.held_back_by(program).unwrap_or_default().to_owned();
            if self.reason.is_empty() {
                self.position = self.next(program);
                self.advance(program, now, Actor::Auto, &mut events);
            } else {
                self.watch_deadline(program, now, &mut events);
            }
        }
        self.settle(program, &mut events);
        events
    }

    /// The position behind the step that waits. Other steps are taken when the run gets to them.
    fn next(&self, program: &Program) -> usize {
        match program.steps.get(self.position) {
            Some(Step::Pause(_)) => self.position.saturating_add(1),
            _ => self.position,
        }
    }

    /// Puts the run at its beginning.
    fn first_step(
        &mut self,
        program: &Program,
        now: Now,
        actor: Actor,
        action: Action,
        events: &mut Vec<Event>,
    ) {
        self.position = 0;
        self.mirror = None;
        self.held = None;
        self.reason.clear();
        self.weights.clone_from(&program.weights);
        if let Some(rules) = program.rules() {
            self.judge.redefine(rules);
        }
        if program.sides.is_some() {
            self.first_side(program, now, actor, action, events);
            return self.settle(program, events);
        }
        let moves = !program.steps.is_empty() && program.candidate.is_some();
        self.phase = if moves { Phase::Progressing } else { Phase::Steady };
        let message = say::begun(program, self.attempt, false);
        self.happen(program, now, actor, action, message, events);
        if moves {
            self.advance(program, now, actor, events);
        } else {
            self.begin_step(program, now);
        }
        self.settle(program, events);
    }

    /// Takes steps from the present position on, to the next one that waits.
    fn advance(&mut self, program: &Program, now: Now, actor: Actor, events: &mut Vec<Event>) {
        while let Some(step) = program.steps.get(self.position) {
            match step {
                Step::Weights(weights) => self.take_weights(weights),
                Step::Mirror(share) => self.mirror = Some(*share),
                Step::Pause(_) => {
                    self.wait(program);
                    self.begin_step(program, now);
                    let message = say::step(program, self.position, self.candidate_weight(program));
                    self.happen(program, now, actor, Action::Step, message, events);
                    return;
                }
            }
            self.position = self.position.saturating_add(1);
        }
        self.succeed(program, now, actor, events);
    }

    fn succeed(&mut self, program: &Program, now: Now, actor: Actor, events: &mut Vec<Event>) {
        if program.sides.is_some() {
            return self.flip(program, true, now, actor, events);
        }
        self.position = program.steps.len();
        if let Some(candidate) = &program.candidate {
            let others = self.weights.iter().filter(|(name, _)| *name != candidate);
            let others = others.fold(0_u16, |sum, (_, share)| sum.saturating_add(*share));
            self.weights.insert(candidate.clone(), Share::ALL.saturating_sub(others));
        }
        self.phase = Phase::Succeeded;
        self.held = None;
        self.reason.clear();
        self.begin_step(program, now);
        let message = say::succeeded(program);
        self.happen(program, now, actor, Action::Succeed, message, events);
    }

    fn begin_step(&mut self, program: &Program, now: Now) {
        (self.waited, self.resumed_at) = (0, 0);
        self.last_uptime = now.uptime;
        if let Some(rules) = program.rules() {
            self.judge.begin_step(rules, now.tick.saturating_add(1));
        }
        self.sides.expect_known_users(program.unit());
    }

    /// The candidate's share to stable; without a candidate everything.
    fn take_back(&mut self, program: &Program, phase: Phase, reason: String) {
        if program.sides.is_some() {
            self.turn(program, false);
        }
        match &program.candidate {
            Some(candidate) => drop(self.weights.insert(candidate.clone(), 0)),
            None => self.weights.clear(),
        }
        self.phase = phase;
        self.held = None;
        self.reason = reason;
        self.pin_beaten = true;
    }

    fn next_attempt(&mut self, program: &Program, now: Now) {
        self.attempt = self.attempt.saturating_add(1);
        (self.crossed, self.split_crossed, self.tripped) = (false, false, false);
        self.sides.retry(program.unit());
        if let Some(rules) = program.rules() {
            self.judge.retry(rules, now.tick.saturating_add(1));
        }
    }

    /// Waits for what the present step waits for.
    fn wait(&mut self, program: &Program) {
        let for_a_person = matches!(program.steps.get(self.position), Some(Step::Pause(Pause::Person)));
        self.phase = if for_a_person { Phase::Paused } else { Phase::Progressing };
        self.reason = if for_a_person { WAITS_FOR_PROMOTION.into() } else { String::new() };
    }

    /// Stops moving until somebody resumes or promotes.
    fn hold(&mut self, by: Held, reason: String) {
        self.held = Some(by);
        self.phase = Phase::Paused;
        self.reason = reason;
    }

    /// Lets go. Returns who had stopped it.
    fn release_hold(&mut self) -> Option<Held> {
        self.held.take()
    }

    fn candidate_weight(&self, program: &Program) -> u16 {
        let weight = program.candidate.as_ref().and_then(|candidate| self.weights.get(candidate));
        weight.copied().unwrap_or(0)
    }

    /// Notes an event. What it did to the weights is filled in by [`Run::settle`].
    fn happen(
        &mut self,
        program: &Program,
        now: Now,
        actor: Actor,
        action: Action,
        message: String,
        events: &mut Vec<Event>,
    ) {
        self.revision = self.revision.saturating_add(1);
        events.push(Event {
            time: now.time,
            release: program.release.clone(),
            attempt: self.attempt,
            actor,
            action,
            evidence: None,
            from: program.shares(&self.in_force),
            to: program.shares(&self.in_force),
            message,
        });
    }

    /// Ends an input: puts the weights in force that follow from it. Of its events the last one tells them.
    fn settle(&mut self, program: &Program, events: &mut [Event]) {
        self.put_in_force(program);
        if let Some(last) = events.last_mut() {
            last.to = program.shares(&self.in_force);
        }
    }

    fn put_in_force(&mut self, program: &Program) {
        let in_force = match &program.pin {
            Some(pin) if !self.pin_beaten && *pin == program.stable => Weights::new(),
            Some(pin) if !self.pin_beaten => weights([(pin.clone(), Share::ALL)]),
            _ => {
                let known = |name: &String| program.versions.contains(name) && *name != program.stable;
                let shares = self.weights.iter().filter(|(name, share)| known(name) && **share > 0);
                weights(shares.map(|(name, share)| (name.clone(), *share)))
            }
        };
        let falls = |(name, share): (&String, &u16)| {
            Some(name) != program.candidate.as_ref() && in_force.get(name).is_none_or(|now| now < share)
        };
        if self.in_force.iter().any(falls) {
            self.judge.expect_strangers();
        }
        self.in_force = in_force;
    }
}

#[cfg(test)]
mod tests;
