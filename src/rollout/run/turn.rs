//! One input to a run, from its beginning to the weights and events that follow.

use super::{HeldBy, Now, Phase, Run, say};
use crate::analysis::tick::Tick;
use crate::model::{Degree, Pair, Share, Shares, shares};
use crate::rollout::event::{Action, Actor, Event, Finding, Origin};
use crate::rollout::program::{Pause, Program, Step};
use crate::rollout::ready::Readiness;
use crate::rollout::reason::Reason;
use crate::rollout::waits::Waits;

/// A run while it takes one input: a tick, a command, a push.
pub(super) struct Turn<'a> {
    pub(super) program: &'a Program,
    pub(super) run: &'a mut Run,
    pub(super) now: Now,
    events: Vec<Event>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(program: &'a Program, run: &'a mut Run, now: Now) -> Self {
        run.count_time(program, now);
        Self { program, run, now, events: Vec::new() }
    }

    /// Ends the input: puts the weights in force that follow from it. Returns what has happened.
    pub(super) fn finish(mut self) -> Vec<Event> {
        self.settle();
        self.events
    }

    /// Time goes on.
    pub(super) fn tick(&mut self, open: &[(Tick, usize)]) {
        if self.is_pinned() {
            return;
        }
        self.look_at_routes();
        self.look_at_alarms();
        self.judge(open);
        self.judge_active_side(open);
        if self.run.phase == Phase::Progressing && !self.wait_for_window() {
            match self.run.waits(self.program, self.run.waited) {
                Some(waits) => {
                    let is_against_candidate = waits.is_against_candidate();
                    self.run.reason = Reason::Waits(waits);
                    self.alarm_when_held_back(is_against_candidate);
                    self.stop_when_overdue();
                }
                None => {
                    self.run.reason = Reason::Phase;
                    if self.run.active.awaits_ready {
                        self.flip(true, Actor::Auto);
                    } else {
                        self.run.position = self.next();
                        self.advance(Actor::Auto);
                    }
                }
            }
        }
    }

    /// Puts the run at its beginning.
    pub(super) fn begin_attempt(&mut self, actor: Actor, action: Action) {
        self.run.position = 0;
        self.run.mirror = None;
        self.run.held = None;
        (self.run.elsewhere, self.run.elsewhere_told) = (Pair::default(), false);
        self.run.reason = Reason::Phase;
        self.run.weights.clone_from(&self.program.weights);
        if let Some(automation) = &self.program.automation {
            self.run.ladder.begin(automation.degree);
        }
        if let Some(rules) = self.program.rules() {
            self.run.judge.redefine(rules);
        }
        if self.program.blue_green {
            return self.begin_with_side(actor, action);
        }
        self.run.active.turn_to(false);
        let moves = !self.program.steps.is_empty() && self.program.candidate.is_some();
        self.run.phase = if moves { Phase::Progressing } else { Phase::Steady };
        self.happen(actor, action, say::begun(self.program, self.run.attempt));
        if moves {
            self.advance(actor);
        } else {
            self.begin_step();
        }
    }

    /// The position behind the step that waits. Other steps are taken when the run gets to them.
    pub(super) fn next(&self) -> usize {
        match self.program.steps.get(self.run.position) {
            Some(step) if step.waits() => self.run.position.saturating_add(1),
            _ => self.run.position,
        }
    }

    /// Takes steps from the present position on, to the next one that waits.
    pub(super) fn advance(&mut self, actor: Actor) {
        while let Some(step) = self.program.steps.get(self.run.position) {
            match step {
                Step::Weights(weights) => self.take_weights(weights),
                Step::Mirror(share) => self.run.mirror = Some(*share),
                Step::Degree(degree) => self.take_degree(*degree),
                Step::Pause(_) | Step::Ready(_) => {
                    self.wait();
                    self.begin_step();
                    let message = say::step(self.program, self.run);
                    self.happen_with_evidence(actor, Action::Step, message);
                    return;
                }
            }
            self.run.position = self.run.position.saturating_add(1);
        }
        self.succeed(actor);
    }

    fn succeed(&mut self, actor: Actor) {
        if self.program.automation.is_some() {
            self.rest();
            let message = say::degree_reached(self.program, self.run);
            return self.happen(actor, Action::Succeed, message);
        }
        if self.program.blue_green {
            return self.flip(true, actor);
        }
        if self.run.active.is_candidate {
            return self.end_window(actor);
        }
        self.stand_at_end();
        self.take_rest();
        self.run.held = None;
        let before = self.run.active.answered;
        self.run.active.turn_to(true);
        self.run.active.from = self.now.tick.saturating_add(1);
        self.run.phase = Phase::Succeeded;
        self.begin_step();
        if self.program.window.is_some() {
            self.happen_with_evidence(actor, Action::Step, say::succeeded(self.program));
            self.settle(); // this event shows from where to where, not one that follows
        }
        self.watch(before, actor);
    }

    pub(super) fn begin_step(&mut self) {
        (self.run.waited, self.run.resumed_at) = (0, 0);
        self.run.held_back_from = None;
        self.run.ladder.begin_step();
        let next_tick = self.now.tick.saturating_add(1);
        match self.program.rules() {
            Some(rules) => self.run.judge.begin_step(rules, next_tick),
            None => self.run.judge.begin_unjudged_step(next_tick),
        }
        self.run.active.expect_known_users(self.program.unit());
    }

    /// The candidate's share to stable; without a candidate everything.
    pub(super) fn take_back(&mut self, phase: Phase, reason: String) {
        if self.program.blue_green {
            self.turn_to(false);
        } else {
            self.run.active.turn_to(false);
        }
        match &self.program.candidate {
            Some(candidate) => drop(self.run.weights.insert(candidate.clone(), Share::NONE)),
            None => self.run.weights.clear(),
        }
        self.run.phase = phase;
        self.run.held = None;
        self.run.reason = Reason::Happened(reason);
        // Under stable's pin the candidate gets nothing anyway, and other versions are to get nothing either.
        self.run.pin_beaten |= !self.program.is_pinned_to_stable();
    }

    pub(super) fn next_attempt(&mut self) {
        self.run.attempt = self.run.attempt.saturating_add(1);
        (self.run.crossed, self.run.split_crossed, self.run.tripped) = (false, false, false);
        (self.run.inputs_differ, self.run.withheld) = (false, None);
        let degree = self.run.ladder.degree(); // a retry sets it anew
        self.run.ladder.begin(degree);
        self.run.active.retry(self.program.unit());
        match self.program.rules() {
            Some(rules) => self.run.judge.retry(rules, self.now.tick.saturating_add(1)),
            None => self.run.judge.forget(),
        }
    }

    /// Waits for what the present step waits for.
    pub(super) fn wait(&mut self) {
        let step = self.program.steps.get(self.run.position);
        if matches!(step, Some(Step::Pause(Pause::Person))) {
            self.run.phase = Phase::Paused;
            self.run.reason = Reason::Waits(Waits::Promotion);
        } else {
            self.run.phase = Phase::Progressing;
            self.run.reason = Reason::Phase;
            // What was answered before says nothing about now.
            self.run.readiness = Readiness::default();
        }
    }

    /// Stops moving until a person resumes or promotes.
    pub(super) fn hold(&mut self, by: HeldBy, reason: String) {
        self.run.held = Some(by);
        self.run.phase = Phase::Paused;
        self.run.reason = Reason::Happened(reason);
    }

    /// Ends a hold. After the judge's another attempt begins: a person has looked at the finding and decided against
    /// it, so it is not raised again.
    pub(super) fn release(&mut self) -> bool {
        let was_judge = self.run.held.take() == Some(HeldBy::Judge);
        if was_judge {
            self.next_attempt();
        }
        was_judge
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.run.is_pinned(self.program)
    }

    /// Notes an event. The weights after it are filled in by [`Turn::settle`].
    pub(super) fn happen(&mut self, actor: Actor, action: Action, message: String) {
        self.run.revision = self.run.revision.saturating_add(1);
        let before = self.program.shares(&self.run.in_force);
        self.events.push(Event {
            time: self.now.time,
            release: self.program.release.clone(),
            attempt: self.run.attempt,
            revision: self.run.revision,
            phase: self.run.phase,
            actor,
            origin: Origin::default(),
            action,
            evidence: None,
            from: before.clone(),
            to: before,
            message,
        });
    }

    /// The same, with what was seen.
    pub(super) fn find(&mut self, action: Action, message: String, finding: Finding) {
        self.happen(Actor::Auto, action, message);
        if let Some(event) = self.events.last_mut() {
            event.evidence = Some(finding);
        }
    }

    /// [`Self::happen`], with what the judge knows by now if the rollout does it by itself, even if that was not the reason.
    pub(super) fn happen_with_evidence(&mut self, actor: Actor, action: Action, message: String) {
        let known = self.known();
        self.happen_knowing(known, actor, action, message);
    }

    /// [`Self::happen_with_evidence`], with what the judge knew before the change.
    pub(super) fn happen_knowing(
        &mut self,
        known: Option<Finding>,
        actor: Actor,
        action: Action,
        message: String,
    ) {
        match known.filter(|_| actor == Actor::Auto) {
            Some(known) => self.find(action, message, known),
            None => self.happen(actor, action, message),
        }
    }

    /// What the judge knows of the step, or of the one before until something of it is judged; or of the side that is watched.
    pub(super) fn known(&self) -> Option<Finding> {
        let (rules, active) = (self.program.rules()?, &self.run.active);
        Some(match &active.window {
            Some(window) => say::watched(self.program, window, active.is_candidate, rules.threshold),
            None => say::finding(&self.run.judge, rules, self.now.tick).0,
        })
    }

    /// Puts the weights in force that follow. The last event so far has led to them.
    pub(super) fn settle(&mut self) {
        self.put_in_force();
        if let Some(last) = self.events.last_mut() {
            last.to = self.program.shares(&self.run.in_force);
            last.phase = self.run.phase;
        }
    }

    pub(super) fn put_in_force(&mut self) {
        let (program, run) = (self.program, &mut *self.run);
        let in_force = match &program.pin {
            Some(pin) if !run.pin_beaten && *pin == program.stable => Shares::new(),
            Some(pin) if !run.pin_beaten => shares([(pin.clone(), Share::ALL)]),
            _ if program.automation.is_some() => {
                let answers_all = run.degree(program) == Degree::Full;
                shares(
                    program.candidate.iter().filter(|_| answers_all).map(|name| (name.clone(), Share::ALL)),
                )
            }
            _ => {
                let known = |name: &String| program.versions.contains(name) && *name != program.stable;
                let weights = run.weights.iter().filter(|(name, share)| known(name) && !share.is_none());
                shares(weights.map(|(name, share)| (name.clone(), *share)))
            }
        };
        let falls = |(name, share): (&String, &Share)| {
            Some(name) != program.candidate.as_ref() && in_force.get(name).is_none_or(|now| now < share)
        };
        if run.in_force.iter().any(falls) {
            run.judge.expect_strangers();
        }
        run.in_force = in_force;
    }
}
