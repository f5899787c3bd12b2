//! A configuration push: what differs from the one before changes, and nothing else.

use super::flip::Sides;
use super::{Held, Now, Phase, Run, Step};
use crate::analysis::judge::Redefined;
use crate::analysis::window::NotJudged;
use crate::model::Arm;
use crate::rollout::event::{Action, Actor, Event, Percent};
use crate::rollout::program::Program;

impl Run {
    /// Goes on under another configuration; `before` is the one so far. Another release, stable or candidate
    /// begins another run.
    pub fn push(&mut self, before: &Program, program: &Program, now: Now) -> Vec<Event> {
        if !before.is_same_run(program) {
            return self.begin_another(before, program, now);
        }
        let mut events = Vec::new();
        let mut change = |run: &mut Self, message: String| {
            run.happen(program, now, Actor::Config, Action::Change, message, &mut events);
        };
        if before.pin != program.pin {
            self.pin_beaten = false;
            (self.waited, self.resumed_at) = (0, 0);
            change(
                self,
                match &program.pin {
                    Some(pin) => format!("all traffic is pinned to {pin}"),
                    None => "the pin is gone; the step starts anew".into(),
                },
            );
        }
        if let Some(rules) = program.rules() {
            for redefined in self.judge.redefine(rules) {
                change(
                    self,
                    match redefined {
                        Redefined::Restarted(metric) => {
                            format!("{metric} is defined anew and starts without evidence")
                        }
                        Redefined::Removed(metric) => format!("{metric} is judged no more"),
                    },
                );
            }
        }
        let acts = |program: &Program| {
            program.analysis.as_ref().map(|analysis| (analysis.on_failure, analysis.dry_run))
        };
        if acts(before) != acts(program) {
            // What is known by now is acted on as it is configured now.
            (self.crossed, self.sides.crossed, self.tripped) = (false, false, false);
        }
        let errors = |program: &Program| program.rules().map(|rules| rules.errors);
        if errors(before) != errors(program) {
            self.redefine_errors(program, now, &mut events);
        }
        if before.unit() != program.unit() && !self.phase.is_taken_back() {
            self.begin_step(program, now);
            let message = format!("{} are judged by now, and the step starts anew", program.unit().label());
            self.happen(program, now, Actor::Config, Action::Change, message, &mut events);
        }
        if before.sides != program.sides && self.phase == Phase::Progressing {
            self.go_on_watching(program);
        }
        let course = |program: &Program| program.sides.is_some();
        if (&before.steps, &before.weights, course(before))
            != (&program.steps, &program.weights, course(program))
        {
            self.push_course(before, program, now, &mut events);
        }
        self.settle(program, &mut events);
        events
    }

    fn begin_another(&mut self, before: &Program, program: &Program, now: Now) -> Vec<Event> {
        let (mut next, mut events) = Self::begin(program, now);
        if before.shares(&self.in_force) != program.shares(&next.in_force) {
            next.begin_at_candidate(program, now, &mut events);
        }
        let ended = std::mem::replace(self, next);
        self.revision = self.revision.saturating_add(ended.revision);
        let shares = before.shares(&ended.in_force);
        let last = events.len().saturating_sub(1);
        for (index, event) in events.iter_mut().enumerate() {
            event.from.clone_from(&shares);
            if index < last {
                event.to.clone_from(&shares);
            }
        }
        events
    }

    /// A release that begins with its candidate: what was there before has answered nothing in this run.
    fn begin_at_candidate(&mut self, program: &Program, now: Now, events: &mut Vec<Event>) {
        let is_watched = program.sides.is_some_and(|sides| sides.window.is_some());
        if is_watched && self.sides.is_candidate {
            self.reason =
                self.not_watched(program, NotJudged::TooFew, Arm::default(), now, Actor::Config, events);
        }
    }

    /// Another answer counts as an error: what was counted so far is no evidence of it.
    fn redefine_errors(&mut self, program: &Program, now: Now, events: &mut Vec<Event>) {
        let was_watched = self.sides.window.is_some();
        let is_candidate = self.sides.is_candidate;
        self.sides.redefine(now);
        if was_watched {
            let message = "errors are defined anew; the watch after the flip is over".to_owned();
            self.happen(program, now, Actor::Config, Action::Alarm, message, events);
            self.flip(program, is_candidate, now, Actor::Config, events);
        }
    }

    /// Blue/green where there was another course.
    fn enter_sides(&mut self, program: &Program, now: Now, events: &mut Vec<Event>) {
        let before = program.shares(&self.in_force);
        self.happen(program, now, Actor::Config, Action::Change, "it is blue/green by now".into(), events);
        self.held = None;
        self.reason.clear();
        self.begin_sides(program, now, Actor::Config, events);
        self.put_in_force(program);
        if before != program.shares(&self.in_force) {
            self.begin_at_candidate(program, now, events);
        }
    }

    /// Another side is configured. Returns whether that is all there is to do.
    fn push_side(&mut self, before: &Program, program: &Program, now: Now, events: &mut Vec<Event>) -> bool {
        let to_candidate = program.is_candidate_active();
        if before.sides.is_none() {
            self.enter_sides(program, now, events);
            return true;
        }
        if before.is_candidate_active() != to_candidate && self.sides.is_candidate != to_candidate {
            self.flip(program, to_candidate, now, Actor::Config, events);
        }
        self.sides.has_flipped || self.sides.is_candidate || before.steps == program.steps
    }

    /// Other steps, or other weights from outside.
    fn push_course(&mut self, before: &Program, program: &Program, now: Now, events: &mut Vec<Event>) {
        if self.phase.is_taken_back() {
            let message = format!("another course is configured, but the run is {}", self.phase.label());
            return self.happen(program, now, Actor::Config, Action::Alarm, message, events);
        }
        if program.sides.is_none() {
            self.sides = Sides::default();
        } else if self.push_side(before, program, now, events) {
            return;
        }
        let mut change = |run: &mut Self, action, message: String| {
            run.happen(program, now, Actor::Config, action, message, events);
        };
        if program.steps.is_empty() || program.candidate.is_none() {
            self.phase = Phase::Steady;
            self.held = None;
            self.reason.clear();
            (self.position, self.mirror) = (0, None);
            self.weights.clone_from(&program.weights);
            self.begin_step(program, now);
            let what =
                if program.sides.is_some() { "the bake is gone" } else { "weights are configured anew" };
            return change(self, Action::Change, what.into());
        }
        if self.phase == Phase::Succeeded {
            return; // there is nothing left to walk
        }
        let weight = self.candidate_weight(program);
        self.position = program.position_of(weight);
        if self.held == Some(Held::Weights) {
            return change(
                self,
                Action::Change,
                "the steps are others; the weights stay as a person has set them".into(),
            );
        }
        // What set the weight is behind it; a weight in between two steps goes down to the lower one.
        self.weights = program.weights_before(self.position);
        let place = self.position.saturating_add(1).min(program.steps.len());
        let reached = Percent(self.candidate_weight(program));
        let message = format!(
            "the steps are others; it goes on at {reached}, from step {place} of {}",
            program.steps.len()
        );
        change(self, Action::Change, message);
        if self.held.is_some() {
            return;
        }
        let begins_above = match program.steps.get(self.position) {
            Some(Step::Weights(_)) => self.position == 0 && weight > 0,
            _ => false,
        };
        if begins_above {
            self.begin_step(program, now);
            let reason = format!("the new steps begin above the {} it was at", Percent(weight));
            self.hold(Held::Steps, reason.clone());
            self.happen(program, now, Actor::Config, Action::Pause, reason, events);
        } else {
            self.advance(program, now, Actor::Config, events);
        }
    }
}
