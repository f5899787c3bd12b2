//! A configuration push: what differs from the one before changes, and nothing else.

use super::flip::Active;
use super::turn::Turn;
use super::{Held, Now, Phase, Run, say};
use crate::analysis::judge::Redefined;
use crate::analysis::window::NotJudged;
use crate::model::{Arm, Share, Unit};
use crate::rollout::event::{Action, Actor, Event};
use crate::rollout::program::{Program, Step};
use crate::rollout::ready::Readiness;
use crate::rollout::reason::Reason;

/// Has a run go on under `program`; `before` is the one so far. Another release, stable or candidate begins another
/// run.
pub(super) fn push(run: &mut Run, before: &Program, program: &Program, now: Now) -> Vec<Event> {
    if !before.is_same_run(program) {
        return begin_another(run, before, program, now);
    }
    let mut turn = Turn::new(program, run, now);
    turn.push(before);
    turn.finish()
}

fn begin_another(run: &mut Run, before: &Program, program: &Program, now: Now) -> Vec<Event> {
    let (mut next, mut events) = Run::begin(program, now);
    if before.shares(&run.in_force) != program.shares(&next.in_force) {
        let mut turn = Turn::new(program, &mut next, now);
        turn.begin_at_candidate();
        events.extend(turn.finish());
    }
    // Where stable is the same, so is its past.
    next.drift = std::mem::take(&mut run.drift);
    let ended = std::mem::replace(run, next);
    run.revision = run.revision.saturating_add(ended.revision);
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

impl Turn<'_> {
    /// What is judged, and how, comes before the course: a course that begins anew begins under the new rules.
    fn push(&mut self, before: &Program) {
        let program = self.program;
        if before.pin != program.pin {
            self.run.pin_beaten = false;
            if !self.run.phase.is_rolled_back() {
                self.begin_step();
            }
            self.run.readiness = Readiness::default();
            self.change(match &program.pin {
                Some(pin) => format!("all traffic is pinned to {pin}"),
                None => "the pin is removed; the step starts over".into(),
            });
        }
        if let Some(rules) = program.rules() {
            for redefined in self.run.judge.redefine(rules) {
                self.change(match redefined {
                    Redefined::Restarted(metric) => {
                        format!("{metric} is redefined and starts without evidence")
                    }
                    Redefined::Removed(metric) => format!("{metric} is no longer judged"),
                });
            }
        }
        let partial = |program: &Program| program.automation.as_ref().map(|of| (of.target, of.threshold));
        if partial(before) != partial(program) {
            self.redefine_target();
            self.change("the model's target has changed; its proof begins again".into());
        }
        let meaning = |program: &Program| program.automation.as_ref().map(|of| of.meaning);
        if meaning(before) != meaning(program) && !self.run.phase.is_rolled_back() {
            self.next_attempt();
            self.begin_step();
            self.change(format!(
                "the model, or where labels and confidences are read, has changed; attempt {} begins, in which nothing is proven",
                self.run.attempt
            ));
        }
        let degree = |program: &Program| program.automation.as_ref().map(|of| of.degree);
        if degree(before) != degree(program) && program.steps.is_empty() && !self.run.phase.is_rolled_back() {
            self.configure_degree();
        }
        if !self.run.phase.is_rolled_back() {
            self.leave_unfit_degree();
        }
        let policy = |program: &Program| program.analysis.as_ref().map(|analysis| analysis.policy);
        if policy(before) != policy(program) {
            // What is known already is acted on as it is configured now.
            (self.run.crossed, self.run.active.crossed, self.run.tripped) = (false, false, false);
        }
        let errors = |program: &Program| program.rules().map(|rules| rules.errors);
        if errors(before) != errors(program) {
            self.redefine_errors();
            let is_judged = errors(before).is_some() && errors(program).is_some();
            if is_judged && before.unit() == program.unit() && !self.run.phase.is_rolled_back() {
                self.begin_step();
                if !program.steps.is_empty() {
                    self.change("how requests are judged has changed; the step starts over".into());
                }
            }
        }
        if before.unit() != program.unit() && !self.run.phase.is_rolled_back() {
            self.begin_step();
            self.change(format!("{} are judged from now on; the step starts over", program.unit().label()));
        }
        let splits = self.run.in_force.values().any(|share| !share.is_none() && *share != Share::ALL);
        if before.versions != program.versions && program.unit() == Unit::Users && splits {
            self.begin_step();
            self.change(
                "the versions have changed, and with them who gets which; the step starts over".into(),
            );
        }
        if before.ready != program.ready {
            self.run.readiness = Readiness::default();
        }
        if before.window != program.window && self.run.phase == Phase::Progressing {
            self.go_on_watching();
        }
        let course = |program: &Program| (program.steps.clone(), program.weights.clone(), program.blue_green);
        if course(before) != course(program) {
            self.push_course(before);
        }
    }

    fn change(&mut self, message: String) {
        self.happen(Actor::Config, Action::Change, message);
    }

    /// A release that begins with its candidate: what was there before has answered nothing in this run.
    fn begin_at_candidate(&mut self) {
        if self.program.window.is_some() && self.run.active.is_candidate {
            let reason = self.not_watched(NotJudged::TooFew, Arm::default(), Actor::Config);
            self.run.reason = Reason::Happened(reason);
        }
    }

    /// Other answers count as errors now: earlier counts are not evidence about them.
    fn redefine_errors(&mut self) {
        let was_watched = self.run.active.window.is_some();
        let is_candidate = self.run.active.is_candidate;
        self.run.active.redefine(self.now);
        if was_watched {
            let message =
                format!("errors are redefined; the watch after {} has ended", say::since(self.program));
            self.happen(Actor::Config, Action::Alarm, message);
            self.flip(is_candidate, Actor::Config);
        }
    }

    /// Other steps, or other weights from outside.
    fn push_course(&mut self, before: &Program) {
        let program = self.program;
        if self.run.phase.is_rolled_back() {
            let label = self.run.phase.label();
            let message = format!(
                "new steps or weights are configured but ignored: the run is {label} (retry, or push a new release)"
            );
            return self.happen(Actor::Config, Action::Alarm, message);
        }
        if before.blue_green && !program.blue_green {
            self.run.active = Active::default();
        } else if program.blue_green && self.push_side(before) {
            return;
        }
        if program.steps.is_empty() || program.candidate.is_none() {
            return self.leave_steps();
        }
        if self.run.phase == Phase::Succeeded || self.run.active.window.is_some() {
            return; // there is nothing left to walk
        }
        if program.automation.is_some() {
            return self.walk_new_degrees();
        }
        let weight = self.run.candidate_weight(program);
        self.run.position = program.position_of(weight);
        if self.run.held == Some(Held::Weights) {
            return self.change("the steps have changed; the weights set by command are kept".into());
        }
        self.walk_new_steps(weight);
    }

    /// Another side is configured. Returns whether that is all there is to do.
    fn push_side(&mut self, before: &Program) -> bool {
        let to_candidate = self.program.is_candidate_active();
        if !before.blue_green {
            self.enter_sides();
            return true;
        }
        if before.is_candidate_active() != to_candidate && self.run.active.is_candidate != to_candidate {
            self.flip_when_ready(to_candidate, Actor::Config);
        } else if before.is_candidate_active() && !to_candidate && self.run.active.awaits_ready {
            self.stay_with_stable(Actor::Config);
        }
        let active = &self.run.active;
        active.has_flipped || active.is_candidate || active.awaits_ready || before.steps == self.program.steps
    }

    /// Blue/green where there was another course.
    fn enter_sides(&mut self) {
        let before = self.program.shares(&self.run.in_force);
        self.change("the rollout is now blue/green".into());
        self.run.active = Active::default();
        self.run.held = None;
        self.run.reason = Reason::Phase;
        self.begin_sides(Actor::Config);
        self.put_in_force();
        if before != self.program.shares(&self.run.in_force) {
            self.begin_at_candidate();
        }
    }

    /// The weights come from outside again.
    fn leave_steps(&mut self) {
        if !self.program.blue_green {
            self.run.active = Active::default();
        }
        self.run.phase = Phase::Steady;
        self.run.held = None;
        self.run.reason = Reason::Phase;
        (self.run.position, self.run.mirror) = (0, None);
        self.run.weights.clone_from(&self.program.weights);
        self.begin_step();
        self.change(
            match self.program {
                Program { blue_green: true, .. } => "the bake is removed",
                Program { automation: Some(_), .. } => "the configured degree applies again",
                _ => "the configured weights apply again",
            }
            .into(),
        );
        self.configure_degree();
    }

    /// Goes on in other steps of a rollout with people.
    fn walk_new_degrees(&mut self) {
        let degree = self.run.degree(self.program);
        self.run.position = self.program.position_at(degree);
        let (degree, place) = (degree.label(), self.run.position.saturating_add(1));
        let count = self.program.steps.len();
        self.change(format!(
            "the steps have changed; continuing at degree {degree} from step {} of {count}",
            place.min(count)
        ));
        if self.run.held.is_none() {
            self.advance(Actor::Config);
        }
    }

    /// Goes on in other steps, where the candidate had `weight`.
    fn walk_new_steps(&mut self, weight: Share) {
        let program = self.program;
        // The step that set the weight is behind; a weight in between two steps goes down to the lower one.
        self.run.weights = program.weights_before(self.run.position);
        let place = self.run.position.saturating_add(1).min(program.steps.len());
        let reached = self.run.candidate_weight(program);
        self.change(format!(
            "the steps have changed; continuing at {reached} from step {place} of {}",
            program.steps.len()
        ));
        if self.run.held.is_some() {
            return;
        }
        let mut until_a_pause = program.steps.iter().take_while(|step| !matches!(step, Step::Pause(_)));
        let sets_a_weight = until_a_pause.any(|step| matches!(step, Step::Weights(_)));
        let begins_above = self.run.position == 0 && !weight.is_none() && sets_a_weight;
        if begins_above {
            self.begin_step();
            let reason = format!("the new steps begin above the current {weight}");
            self.hold(Held::Steps, reason.clone());
            self.happen(Actor::Config, Action::Pause, reason);
        } else {
            self.advance(Actor::Config);
        }
    }
}
