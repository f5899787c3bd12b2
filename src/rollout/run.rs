//! Where a rollout stands, and how it goes on.
//!
//! A *run* is a release from its first step to its end; a *retry* is another attempt of the same run. Whatever
//! happens, the weights of the versions besides stable add up to at most 100 %, an abort is final until a
//! retry or another release, and nothing moves forward while it is paused.

use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use super::event::{Action, Actor, Event, Percent};
use super::program::{Pause, Program, Step, Weights, weights};
use crate::analysis::judge::{Judge, Redefined};
use crate::analysis::tick::Tick;
use crate::config::release::OnFailure;
use crate::config::units::Share;

mod say;

/// Milliseconds that one tick may add to a pause: a clock that jumps ends no pause.
const MOST_ELAPSED: u64 = 10_000;

/// Where a run is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// What a person may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Whether a person, the judge or a deadline has stopped it; a step that waits for a promotion has not.
    held: bool,
    /// An abort beats the pin until a push changes it.
    pin_beaten: bool,
    /// Milliseconds the step has waited.
    waited: u64,
    last_uptime: u64,
    /// Whether the present crossing of the threshold has been acted on.
    crossed: bool,
    /// The same for the split.
    split_crossed: bool,
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

    /// Shares of the versions besides stable by now, a pin included.
    #[must_use]
    pub fn in_force(&self) -> &Weights {
        &self.in_force
    }

    /// Tells assignments apart: who gets which version depends on nothing that is not in it. Requests are
    /// counted by it, so that those of another cohort or of other weights are nobody's evidence.
    #[must_use]
    pub fn assignment(&self, program: &Program) -> u64 {
        let mut hasher = SipHasher24::new();
        (&program.release, self.attempt, &program.stable, &program.candidate, &self.in_force)
            .hash(&mut hasher);
        hasher.finish()
    }

    /// Whether the pin decides where requests go.
    #[must_use]
    pub fn is_pinned(&self, program: &Program) -> bool {
        program.pin.is_some() && !self.pin_beaten
    }

    /// Whether requests are mirrored, as far as the run decides.
    #[must_use]
    pub fn may_mirror(&self, program: &Program) -> bool {
        !self.is_pinned(program) && !matches!(self.phase, Phase::Aborted | Phase::Failed)
    }

    /// The mirror's share by now, in hundredths of a percent; `None` without a mirror.
    #[must_use]
    pub fn mirror_share(&self, program: &Program) -> Option<u16> {
        let share = self.mirror.or(program.mirror);
        if self.may_mirror(program) { share } else { share.map(|_| 0) }
    }

    /// The candidate's part of its own and stable's requests; `None` when one of them gets none.
    #[must_use]
    pub fn candidate_share(&self, program: &Program) -> Option<f64> {
        let others: u32 = self.in_force.values().map(|share| u32::from(*share)).sum();
        let stable = u32::from(Share::ALL).saturating_sub(others);
        let candidate = u32::from(*self.in_force.get(program.candidate.as_ref()?)?);
        (candidate > 0 && stable > 0)
            .then(|| f64::from(candidate) / f64::from(candidate.saturating_add(stable)))
    }

    /// Goes on under another configuration of the same run; `before` is the one so far.
    pub fn push(&mut self, before: &Program, program: &Program, now: Now) -> Vec<Event> {
        let mut events = Vec::new();
        let is_same_run = before.release == program.release
            && before.stable == program.stable
            && before.candidate == program.candidate;
        if !is_same_run {
            let (next, mut begun) = Self::begin(program, now);
            let ended = std::mem::replace(self, next);
            self.revision = self.revision.saturating_add(ended.revision);
            let shares = before.shares(&ended.in_force);
            let last = begun.len().saturating_sub(1);
            for (index, event) in begun.iter_mut().enumerate() {
                event.from.clone_from(&shares);
                if index < last {
                    event.to.clone_from(&shares);
                }
            }
            return begun;
        }
        if before.pin != program.pin {
            self.pin_beaten = false;
            self.waited = 0;
            let message = match &program.pin {
                Some(pin) => format!("all traffic is pinned to {pin}"),
                None => "the pin is gone; the step starts anew".into(),
            };
            self.happen(program, now, Actor::Config, Action::Change, message, &mut events);
        }
        if before.weights != program.weights {
            self.push_weights(program, now, &mut events);
        }
        if before.steps != program.steps && matches!(self.phase, Phase::Progressing | Phase::Paused) {
            self.push_steps(program, now, &mut events);
        }
        if let Some(rules) = program.rules() {
            for change in self.judge.redefine(rules) {
                let message = match change {
                    Redefined::Restarted(metric) => {
                        format!("{metric} is defined anew and starts without evidence")
                    }
                    Redefined::Removed(metric) => format!("{metric} is judged no more"),
                };
                self.happen(program, now, Actor::Config, Action::Change, message, &mut events);
            }
        }
        self.settle(program, &mut events);
        events
    }

    fn push_weights(&mut self, program: &Program, now: Now, events: &mut Vec<Event>) {
        if matches!(self.phase, Phase::Aborted | Phase::Failed) {
            let message = format!("other weights are configured, but the run is {}", self.phase.label());
            self.happen(program, now, Actor::Config, Action::Alarm, message, events);
            return;
        }
        self.weights.clone_from(&program.weights);
        self.begin_step(program, now);
        self.happen(
            program,
            now,
            Actor::Config,
            Action::Change,
            "weights are configured anew".into(),
            events,
        );
    }

    fn push_steps(&mut self, program: &Program, now: Now, events: &mut Vec<Event>) {
        let weight = self.candidate_weight(program);
        self.position = program.position_of(weight);
        let message = format!(
            "the steps are others; it goes on at {}, from step {} of {}",
            Percent(weight),
            self.position.saturating_add(1).min(program.steps.len()),
            program.steps.len()
        );
        // What set the weight is behind it; a weight in between two steps goes down to the lower one.
        self.weights = program.weights_before(self.position);
        self.happen(program, now, Actor::Config, Action::Change, message, events);
        if !self.held {
            self.advance(program, now, Actor::Config, events);
        }
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
                if self.is_pinned(program) {
                    return refused(" and pinned; a pin is removed by configuration");
                }
                if !matches!(self.phase, Phase::Progressing | Phase::Paused) {
                    return refused("; only a progressing or paused one can be promoted");
                }
                self.held = false;
                self.position = if full { program.steps.len() } else { self.position.saturating_add(1) };
                self.advance(program, now, Actor::User, &mut events);
            }
            Command::Pause => match self.phase {
                Phase::Progressing => {
                    self.hold("paused by a person".into());
                    self.happen(program, now, Actor::User, Action::Pause, self.reason.clone(), &mut events);
                }
                Phase::Paused => {}
                _ => return refused("; only a progressing one can be paused"),
            },
            Command::Resume => {
                if self.phase != Phase::Paused {
                    return refused("; only a paused one can be resumed");
                }
                if !self.held {
                    return refused(" at a step that waits for a promotion; promote it");
                }
                self.resume(program, now, &mut events);
            }
            Command::Retry => {
                if !matches!(self.phase, Phase::Aborted | Phase::Failed) {
                    return refused("; only an aborted or failed one can be retried");
                }
                self.next_attempt(program, now);
                self.first_step(program, now, Actor::User, Action::Retry, &mut events);
            }
        }
        self.settle(program, &mut events);
        Ok(events)
    }

    fn resume(&mut self, program: &Program, now: Now, events: &mut Vec<Event>) {
        self.held = false;
        self.wait(program);
        let mut message = "resumed by a person".to_owned();
        if self.crossed {
            // Somebody has looked at the accusation and decided against it: it is not raised again.
            self.next_attempt(program, now);
            message = format!("{message}, as attempt {}", self.attempt);
        }
        self.happen(program, now, Actor::User, Action::Resume, message, events);
    }

    /// Takes over a tick whose requests have all ended or passed their deadline.
    pub fn close(&mut self, program: &Program, tick: &Tick, now: Now) {
        if let (Some(rules), false) = (program.rules(), self.is_pinned(program)) {
            self.judge.close(tick, rules, now.tick.saturating_add(1));
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
        if self.phase == Phase::Progressing {
            self.waited = self.waited.saturating_add(elapsed);
            if self.may_go_on(program) {
                self.position = self.position.saturating_add(1);
                self.advance(program, now, Actor::Auto, &mut events);
            } else {
                self.watch_deadline(program, now, &mut events);
            }
        }
        self.settle(program, &mut events);
        events
    }

    /// Acts on the evidence, in whatever phase: once for each time it crosses the threshold.
    fn judge(&mut self, program: &Program, open: &[(Tick, usize)], now: Now, events: &mut Vec<Event>) {
        let Some(analysis) = &program.analysis else { return };
        let split_crossed = self.judge.split() >= crate::analysis::evidence::SPLIT_THRESHOLD;
        if split_crossed && !self.split_crossed {
            let message = say::split(program);
            self.happen(program, now, Actor::Auto, Action::Alarm, message, events);
        }
        self.split_crossed = split_crossed;

        let judge = self.judge.at_least(open, &analysis.rules);
        let reading = judge.reading();
        let crossed = reading.all >= analysis.rules.threshold;
        let before = std::mem::replace(&mut self.crossed, crossed);
        if !crossed || before {
            return;
        }
        let finding = say::finding(&judge, &analysis.rules, now.tick);
        let mut sentence = say::accusation(program, &finding, self.candidate_weight(program));
        if split_crossed {
            sentence.push_str("; the split is not what it should be");
        }
        let (action, message) = match (analysis.dry_run, analysis.on_failure) {
            (true, _) => (Action::Alarm, format!("would act, but for dry_run: {sentence}")),
            (false, OnFailure::Alarm) => (Action::Alarm, sentence),
            (false, OnFailure::Pause) if matches!(self.phase, Phase::Progressing | Phase::Paused) => {
                self.hold(sentence.clone());
                (Action::Pause, sentence)
            }
            (false, OnFailure::Pause) => (Action::Alarm, sentence),
            (false, OnFailure::Abort) => {
                self.take_back(program, Phase::Failed, sentence.clone());
                (Action::Rollback, format!("{}: {sentence}", say::taken_back(program, "rolled back")))
            }
        };
        self.happen(program, now, Actor::Auto, action, message, events);
        if let Some(event) = events.last_mut() {
            event.evidence = Some(finding);
        }
    }

    fn may_go_on(&self, program: &Program) -> bool {
        let Some(Step::Pause(pause)) = program.steps.get(self.position) else { return true };
        match pause {
            Pause::Person => false,
            Pause::Until { duration, requests } => {
                self.waited >= *duration
                    && self.judge.step_requests() >= *requests
                    && program.rules().is_none_or(|rules| self.judge.may_promote(rules))
            }
        }
    }

    fn watch_deadline(&mut self, program: &Program, now: Now, events: &mut Vec<Event>) {
        let deadline = program.analysis.as_ref().and_then(|analysis| analysis.progress_deadline);
        if deadline.is_some_and(|deadline| self.waited >= deadline) {
            self.hold(say::overdue(program, self.position, self.waited, &self.judge));
            self.happen(program, now, Actor::Auto, Action::Pause, self.reason.clone(), events);
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
        self.held = false;
        self.reason.clear();
        self.weights.clone_from(&program.weights);
        if let Some(rules) = program.rules() {
            self.judge.redefine(rules);
        }
        let moves = !program.steps.is_empty() && program.candidate.is_some();
        self.phase = if moves { Phase::Progressing } else { Phase::Steady };
        let message = say::begun(program, self.attempt);
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
                Step::Weights(weights) => self.weights.extend(weights.clone()),
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
        self.position = program.steps.len();
        if let Some(candidate) = &program.candidate {
            let others = self.weights.iter().filter(|(name, _)| *name != candidate);
            let others = others.fold(0_u16, |sum, (_, share)| sum.saturating_add(*share));
            self.weights.insert(candidate.clone(), Share::ALL.saturating_sub(others));
        }
        self.phase = Phase::Succeeded;
        self.held = false;
        self.reason.clear();
        self.begin_step(program, now);
        let message = say::succeeded(program);
        self.happen(program, now, actor, Action::Succeed, message, events);
    }

    fn begin_step(&mut self, program: &Program, now: Now) {
        self.waited = 0;
        if let Some(rules) = program.rules() {
            self.judge.begin_step(rules, now.tick.saturating_add(1));
        }
    }

    /// The candidate's share to stable; without a candidate everything.
    fn take_back(&mut self, program: &Program, phase: Phase, reason: String) {
        match &program.candidate {
            Some(candidate) => drop(self.weights.insert(candidate.clone(), 0)),
            None => self.weights.clear(),
        }
        self.phase = phase;
        self.held = false;
        self.reason = reason;
        self.pin_beaten = true;
    }

    fn next_attempt(&mut self, program: &Program, now: Now) {
        self.attempt = self.attempt.saturating_add(1);
        (self.crossed, self.split_crossed) = (false, false);
        if let Some(rules) = program.rules() {
            self.judge.retry(rules, now.tick.saturating_add(1));
        }
    }

    /// Waits for what the present step waits for.
    fn wait(&mut self, program: &Program) {
        let for_a_person = matches!(program.steps.get(self.position), Some(Step::Pause(Pause::Person)));
        self.phase = if for_a_person { Phase::Paused } else { Phase::Progressing };
        self.reason = if for_a_person { "the step waits for a promotion".into() } else { String::new() };
    }

    /// Stops moving until somebody resumes or promotes.
    fn hold(&mut self, reason: String) {
        self.held = true;
        self.phase = Phase::Paused;
        self.reason = reason;
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
        self.in_force = in_force;
    }
}

#[cfg(test)]
mod tests;
