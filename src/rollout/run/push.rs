//! A configuration push: what differs from the one before changes, and nothing else.

use super::{Held, Now, Phase, Run, Step};
use crate::analysis::judge::Redefined;
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
            (self.crossed, self.tripped) = (false, false); // what is known is acted on as it is configured now
        }
        if (&before.steps, &before.weights) != (&program.steps, &program.weights) {
            self.push_course(program, now, &mut events);
        }
        self.settle(program, &mut events);
        events
    }

    fn begin_another(&mut self, before: &Program, program: &Program, now: Now) -> Vec<Event> {
        let (next, mut events) = Self::begin(program, now);
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

    /// Other steps, or other weights from outside.
    fn push_course(&mut self, program: &Program, now: Now, events: &mut Vec<Event>) {
        let mut change = |run: &mut Self, action, message: String| {
            run.happen(program, now, Actor::Config, action, message, events);
        };
        if self.phase.is_taken_back() {
            let message = format!("another course is configured, but the run is {}", self.phase.label());
            return change(self, Action::Alarm, message);
        }
        if program.steps.is_empty() || program.candidate.is_none() {
            self.phase = Phase::Steady;
            self.held = None;
            self.reason.clear();
            (self.position, self.mirror) = (0, None);
            self.weights.clone_from(&program.weights);
            self.begin_step(program, now);
            return change(self, Action::Change, "weights are configured anew".into());
        }
        if self.phase == Phase::Succeeded {
            return; // there is nothing left to walk
        }
        let weight = self.candidate_weight(program);
        self.position = program.position_of(weight);
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
