//! A configuration push: what differs from the one before changes, and nothing else.

use super::flip::Active;
use super::turn::Turn;
use super::{HeldBy, Now, Phase, Run, say};
use crate::analysis::judge::Redefined;
use crate::analysis::window::NotJudged;
use crate::model::{Arm, Degree, Share, Shares, Unit};
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
        event.revision = event.revision.saturating_add(ended.revision);
        event.from.clone_from(&shares);
        if index < last {
            event.to.clone_from(&shares);
        }
    }
    events
}

impl Turn<'_> {
    /// What is judged, and how, comes before the course: a course that begins anew begins under the new rules. Versions that
    /// are gone come last, since the course may have replaced their shares already.
    fn push(&mut self, before: &Program) {
        self.push_pin(before);
        self.push_metrics();
        self.push_automation(before);
        self.push_policy(before);
        self.push_errors(before);
        self.push_users(before);
        self.push_conditions(before);
        let course = |program: &Program| (program.steps.clone(), program.weights.clone(), program.blue_green);
        if course(before) != course(self.program) {
            self.push_course(before);
        }
        self.leave_gone_versions();
    }

    fn push_pin(&mut self, before: &Program) {
        if before.pin == self.program.pin {
            return;
        }
        self.run.pin_beaten = false;
        if !self.run.phase.is_rolled_back() {
            self.begin_step();
        }
        self.run.readiness = Readiness::default();
        self.change(match &self.program.pin {
            Some(pin) => format!("all traffic is pinned to {pin}"),
            None => "the pin is removed; the step starts over".into(),
        });
    }

    fn push_metrics(&mut self) {
        let Some(rules) = self.program.rules() else { return };
        for redefined in self.run.judge.redefine(rules) {
            self.change(match redefined {
                Redefined::Restarted(metric) => format!("{metric} is redefined and starts without evidence"),
                Redefined::Removed(metric) => format!("{metric} is no longer judged"),
            });
        }
    }

    /// A new model is another attempt, at whose beginning the degree of a rollout without steps holds.
    fn push_automation(&mut self, before: &Program) {
        let program = self.program;
        let target = |program: &Program| program.automation.as_ref().map(|of| (of.target, of.threshold));
        if target(before) != target(program) {
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
    }

    /// What is known already is acted on as it is configured now.
    fn push_policy(&mut self, before: &Program) {
        let policy = |program: &Program| program.analysis.as_ref().map(|analysis| analysis.policy);
        if policy(before) != policy(self.program) {
            (self.run.crossed, self.run.active.crossed, self.run.tripped) = (false, false, false);
        }
    }

    fn push_errors(&mut self, before: &Program) {
        let program = self.program;
        let errors = |program: &Program| program.rules().map(|rules| rules.errors);
        if errors(before) == errors(program) {
            return;
        }
        self.redefine_errors();
        let is_judged = errors(before).is_some() && errors(program).is_some();
        if is_judged && before.unit() == program.unit() && !self.run.phase.is_rolled_back() {
            self.begin_step();
            if !program.steps.is_empty() {
                self.change("how requests are judged has changed; the step starts over".into());
            }
        }
    }

    /// Whether users are judged, and which versions they get.
    fn push_users(&mut self, before: &Program) {
        let program = self.program;
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
    }

    /// What a step waits for, and how long a release is watched.
    fn push_conditions(&mut self, before: &Program) {
        if before.ready != self.program.ready {
            self.run.readiness = Readiness::default();
        }
        if before.window != self.program.window && self.run.phase == Phase::Progressing {
            self.go_on_watching();
        }
    }

    fn change(&mut self, message: String) {
        self.happen(Actor::Config, Action::Change, message);
    }

    /// Versions that are no longer configured leave their shares to stable, or to a candidate that has everything.
    fn leave_gone_versions(&mut self) {
        let program = self.program;
        let has_everything = self.run.active.is_candidate;
        let (kept, gone): (Shares, Shares) = std::mem::take(&mut self.run.weights)
            .into_iter()
            .partition(|(name, _)| program.versions.contains(name));
        self.run.weights = kept;
        for (version, share) in gone.iter().filter(|(_, share)| !share.is_none()) {
            let message = say::gone(program, version, *share, has_everything);
            self.change(say::once_unpinned(message, self.is_pinned()));
        }
        if has_everything {
            self.take_rest();
        }
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
        let Active { is_candidate, awaits_ready, .. } = self.run.active;
        self.run.active.redefine(self.now);
        if was_watched {
            let message =
                format!("errors are redefined; the watch after {} has ended", say::since(self.program));
            self.happen(Actor::Config, Action::Alarm, message);
            if !awaits_ready {
                self.flip(is_candidate, Actor::Config);
            }
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
        if program.automation.is_some() {
            return self.walk_new_degrees();
        }
        if self.run.phase == Phase::Succeeded || self.run.active.window.is_some() {
            return self.stand_at_end(); // there is nothing left to walk
        }
        let weight = self.run.candidate_weight(program);
        self.stand_at(weight);
        if self.run.held == Some(HeldBy::Weights) {
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
        if active.has_flipped || active.is_candidate {
            self.run.position = self.program.steps.len(); // no bake begins any more
            return true;
        }
        active.awaits_ready || before.steps == self.program.steps
    }

    /// Blue/green where there was another course.
    fn enter_sides(&mut self) {
        let before = self.program.shares(&self.run.in_force);
        self.change("the rollout is now blue/green".into());
        self.run.active = Active::default();
        self.release();
        self.run.reason = Reason::Phase;
        let has_everything = self.run.candidate_weight(self.program) == Share::ALL;
        if self.program.is_candidate_active() && self.program.ready.is_some() && !has_everything {
            // Until then it keeps its weight.
            (self.run.position, self.run.mirror) = (0, None);
            return self.flip_when_ready(true, Actor::Config);
        }
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
        self.release();
        self.run.phase = Phase::Steady;
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
        let program = self.program;
        let degree = self.run.ladder.degree();
        self.run.position = program.position_at(degree);
        let has_ended = self.run.phase == Phase::Succeeded;
        let sets_degree = |step: &Step| matches!(step, Step::Degree(_));
        if has_ended && !self.ahead().any(sets_degree) {
            self.run.position = program.steps.len(); // there is nothing left to climb
            return;
        }
        // What has ended at human was given back to people.
        let begins = degree == Degree::Human && !has_ended && self.run.held != Some(HeldBy::Steps);
        let at = format!("degree {}", degree.label());
        let rises = self.ahead().find(|step| step.waits() || sets_degree(step)).is_some_and(sets_degree);
        let stop = (rises && !begins).then(|| never_waits(&at));
        self.walk_on(&at, stop);
    }

    /// Goes on in other steps, where the candidate had `weight`.
    fn walk_new_steps(&mut self, weight: Share) {
        // The step that set the weight is behind; a weight in between two steps goes down to the lower one.
        self.run.weights = self.program.weights_before(self.run.position);
        let reached = self.run.candidate_weight(self.program).to_string();
        let begins = weight.is_none() && self.run.held != Some(HeldBy::Steps);
        let begins_above = self.run.position == 0;
        // What was taken from a candidate does not come back when it is ready, only by a command.
        let waits = |step: &Step| if begins_above { matches!(step, Step::Pause(_)) } else { step.waits() };
        let next = self.ahead().find(|step| waits(step) || matches!(step, Step::Weights(_)));
        let stop = (!begins && !next.is_some_and(waits)).then(|| match begins_above {
            true => format!("the new steps begin above the current {weight}"),
            false => never_waits(&reached),
        });
        self.walk_on(&reached, stop);
    }

    /// The steps from the present position on.
    fn ahead(&self) -> impl Iterator<Item = &Step> {
        self.program.steps.iter().skip(self.run.position)
    }

    /// Goes on from the present position in other steps, where the candidate is `at` some weight or degree; stops there if
    /// nothing else would, with the reason `stop`.
    fn walk_on(&mut self, at: &str, stop: Option<String>) {
        let count = self.program.steps.len();
        let place = self.run.position.saturating_add(1).min(count);
        // What other steps have stopped goes on by these.
        let is_held = self.run.held.is_some_and(|by| by != HeldBy::Steps);
        self.change(match &stop {
            _ if is_held => {
                format!("the steps have changed; still paused at {at}, in step {place} of {count}")
            }
            Some(_) => format!("the steps have changed; paused at {at}"),
            None => format!("the steps have changed; continuing at {at} from step {place} of {count}"),
        });
        match stop {
            _ if is_held => {}
            Some(reason) => {
                self.begin_step();
                self.hold(HeldBy::Steps, reason.clone());
                self.happen(Actor::Config, Action::Pause, reason);
            }
            None => {
                self.run.held = None;
                self.advance(Actor::Config);
            }
        }
    }
}

/// Why a run stops at a weight or a degree in new steps.
fn never_waits(at: &str) -> String {
    format!("no step of the new ones waits at {at}; resume goes on")
}
