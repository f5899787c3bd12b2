//! How far a model has taken over people's work, and what their decisions say about that.

use serde::{Deserialize, Serialize};

use super::trip::{OUT_OF_DATE, TRIPPED};
use super::turn::Turn;
use super::{HeldBy, Run, say};
use crate::analysis::kernel::agreement::Agreement;
use crate::analysis::totals::Totals;
use crate::automation::audit::Audit;
use crate::automation::band::Band;
use crate::automation::decisions::Decisions;
use crate::automation::proof::{Proven, Risk, Target};
use crate::automation::task::MOST_UNANSWERED;
use crate::model::{Arm, Degree, Pair, Unit, real};
use crate::rollout::command::Refused;
use crate::rollout::event::{Action, Actor, Finding};
use crate::rollout::phase::Phase;
use crate::rollout::program::{Automation, Program, Until};
use crate::rollout::waits::Waits;
use crate::telemetry::breaker::Trip;

/// What a finding of the audit is about.
pub const DISAGREEMENT: &str = "automation.disagreement";

/// A threshold that no confidence reaches.
const NEVER: u64 = 10_001;

/// How far a model has come, in one attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ladder {
    /// The degree, unless a pin or a rollback leaves everything to people.
    degree: Degree,
    /// What people have decided without seeing the model's answer, and what of that before this step.
    blind: Band,
    before_step: Band,
    proven: Proven,
    audit: Audit,
    /// The confidence from which on the model answers alone, in hundredths of a percent, and the part of tasks that this
    /// leaves to it.
    threshold: Option<u16>,
    coverage: f64,
    /// The part of tasks at or above the proven threshold, whether it is that one or a fixed one.
    proven_coverage: f64,
    /// Decisions that were taken over.
    taken: u64,
}

impl Ladder {
    /// Begins another attempt at a degree: what was decided before says nothing about it.
    pub(super) fn begin(&mut self, degree: Degree) {
        *self = Self { degree, ..Self::default() };
    }

    pub(super) fn begin_step(&mut self) {
        self.before_step = self.blind;
    }

    /// The degree that was set.
    pub(super) fn degree(&self) -> Degree {
        self.degree
    }

    /// Decisions in the present step.
    fn of_step(&self) -> Band {
        self.blind.since(self.before_step)
    }

    /// What a step still waits for.
    pub(super) fn waits(&self, until: &Until) -> Option<Waits> {
        let Band { tasks: decided, .. } = self.of_step();
        if decided < until.decisions {
            return Some(Waits::Decisions { decided, of: until.decisions });
        }
        if until.agreement > 0.0 {
            let agreement = Agreement::of(self.of_step().agreements(), decided);
            if agreement.low < until.agreement {
                return Some(Waits::People { decided, agreement, of: until.agreement });
            }
        }
        let proven = self.proven_coverage;
        (until.coverage > 0.0 && proven < until.coverage)
            .then_some(Waits::Coverage { proven, of: until.coverage })
    }

    /// The decisions of the present step, and how many of them agree with the model; `None` without any.
    #[must_use]
    pub fn agreement(&self) -> (u64, Option<Agreement>) {
        let Band { tasks, .. } = self.of_step();
        (tasks, (tasks > 0).then(|| Agreement::of(self.of_step().agreements(), tasks)))
    }

    /// What gauges show: the degree, the threshold, the coverage and the agreement.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // shares of 10,000
    pub fn figures(&self, degree: Degree, threshold: Option<u16>) -> [u64; 4] {
        let agreement =
            crate::model::real(self.blind.agreements()) / crate::model::real(self.blind.tasks.max(1));
        let coverage = match degree {
            Degree::Full => 1.0,
            _ if threshold.is_some() => self.coverage,
            _ => 0.0,
        };
        let [coverage, agreement] = [coverage, agreement].map(|share| (share * 1e4).round() as u64);
        [degree as u64, threshold.map_or(NEVER, u64::from), coverage, agreement]
    }

    /// The audit's e-value.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// What is known of each threshold.
    #[must_use]
    pub fn risks(&self, decisions: &Decisions, target: &Target) -> Vec<Risk> {
        self.proven.risks(&decisions.bands, target)
    }

    /// Takes over decisions. Returns whether the threshold has changed.
    fn learn(&mut self, automation: &Automation, decisions: &Decisions) -> bool {
        self.taken = taken(decisions);
        self.blind = decisions.blind;
        let before = self.threshold;
        if let Some(target) = &automation.target {
            self.proven.learn(&decisions.bands, target);
            let is_in_force = self.proven_coverage > 0.0;
            self.threshold = self.proven.lowest(&decisions.bands, target, is_in_force);
            self.proven_coverage = self.threshold.map_or(0.0, |threshold| decisions.coverage(threshold));
            self.audit.learn(decisions.audited, target.max_disagreement);
        }
        self.threshold = automation.threshold.or(self.threshold);
        self.coverage = self.threshold.map_or(0.0, |threshold| decisions.coverage(threshold));
        before != self.threshold
    }
}

/// How many decisions there are: it rises with each.
fn taken(decisions: &Decisions) -> u64 {
    let Decisions { blind, shown, people, .. } = decisions;
    blind.tasks.saturating_add(shown.tasks).saturating_add(people.tasks)
}

impl Run {
    /// The degree of automation in force: a pin and a rollback leave everything to people.
    #[must_use]
    pub fn degree(&self, program: &Program) -> Degree {
        if self.is_pinned(program) || self.phase.is_rolled_back() {
            Degree::Human
        } else {
            self.ladder.degree
        }
    }

    /// The confidence from which on the model answers alone, in hundredths of a percent; `None`: it does not.
    #[must_use]
    pub fn threshold(&self, program: &Program) -> Option<u16> {
        match self.degree(program) {
            Degree::Human | Degree::Shadow | Degree::Assist => None,
            Degree::Partial => {
                program.automation.as_ref().and_then(|of| of.threshold).or(self.ladder.threshold)
            }
            Degree::Full => Some(0),
        }
    }

    /// Whether people have decided more than this run has taken over.
    #[must_use]
    pub fn has_news(&self, decisions: &Decisions) -> bool {
        taken(decisions) != self.ladder.taken
    }
}

impl Turn<'_> {
    /// Takes over what people have decided.
    pub(super) fn decide(&mut self, decisions: &Decisions) {
        let Some(automation) = &self.program.automation else { return };
        let has_moved = self.run.ladder.learn(automation, decisions);
        if self.is_pinned() || self.run.phase.is_rolled_back() {
            return;
        }
        let degree = self.run.ladder.degree;
        if has_moved && degree == Degree::Partial {
            let message = say::threshold(self.program, self.run, decisions);
            self.happen(Actor::Auto, Action::Change, message);
        }
        let is_watched = automation.steps_down && degree.answers_alone();
        if is_watched && self.run.ladder.audit.alarms() {
            self.step_down(decisions);
        }
    }

    /// The model disagrees with people too often: one degree back, until a person decides.
    fn step_down(&mut self, decisions: &Decisions) {
        let Some((below, target)) =
            self.run.ladder.degree.below().zip(self.program.automation.as_ref().and_then(|of| of.target))
        else {
            return;
        };
        let Band { tasks: units, disagreements: events } = decisions.audited;
        let finding = Finding {
            rule: DISAGREEMENT.to_owned(),
            is_absolute: true,
            value: self.run.ladder.audit.value().log10(),
            threshold: Audit::threshold().log10(),
            samples: Totals::Events(Pair::new(Arm { events, units }, Arm::default())),
            unit: Unit::Requests,
        };
        let sentence = say::stepped_down(self.program, self.run.ladder.degree, below, decisions, &target);
        self.go_down(below, sentence, finding);
    }

    /// A worker has seen how the model, which answers everything, leaves tasks unanswered: one degree back, where people get
    /// those.
    pub(super) fn miss(&mut self, trip: &Trip) -> Result<(), Refused> {
        let steps_down = self.program.automation.as_ref().is_some_and(|automation| automation.steps_down);
        let applies = steps_down
            && self.run.degree(self.program) == Degree::Full
            && trip.assignment == self.run.assignment(self.program);
        if !applies {
            return Err(Refused(OUT_OF_DATE.into()));
        }
        let tasks = trip.seen.candidate.events;
        let finding = Finding {
            rule: TRIPPED.to_owned(),
            is_absolute: true,
            value: real(tasks),
            threshold: real(MOST_UNANSWERED),
            samples: Totals::Events(trip.seen),
            unit: Unit::Requests,
        };
        self.go_down(Degree::Partial, say::unanswered(self.program, tasks), finding);
        Ok(())
    }

    /// Goes down to a degree until a person decides.
    fn go_down(&mut self, below: Degree, sentence: String, finding: Finding) {
        self.run.ladder.degree = below;
        self.run.position = self.program.position_at(below);
        // It may answer as much alone as before: what it does from here on is watched as well.
        self.run.ladder.audit.begin_anew();
        self.begin_step();
        self.hold(HeldBy::Judge, sentence.clone());
        self.find(Action::Rollback, sentence, finding);
    }

    /// Sets the degree as a step has it.
    pub(super) fn take_degree(&mut self, degree: Degree) {
        self.run.ladder.degree = degree;
    }

    /// Sets the degree as the configuration has it, where no steps do.
    pub(super) fn configure_degree(&mut self) {
        let Some(automation) = &self.program.automation else { return };
        if self.run.ladder.degree != automation.degree {
            self.run.ladder.degree = automation.degree;
            let label = automation.degree.label();
            self.happen(Actor::Config, Action::Change, format!("the degree of automation is {label}"));
        }
    }

    /// A degree set by command may need what is not configured any more.
    pub(super) fn leave_unfit_degree(&mut self) {
        let flaw_of = |degree| self.program.automation.as_ref()?.flaw_of(degree);
        if let Some(flaw) = flaw_of(self.run.ladder.degree) {
            self.run.ladder.degree = Degree::Assist;
            let message = format!("the degree of automation is assist; there cannot be {flaw}");
            self.happen(Actor::Config, Action::Change, message);
        }
    }

    /// Another target: what is proven of it is to be seen.
    pub(super) fn redefine_target(&mut self) {
        let ladder = &mut self.run.ladder;
        ladder.proven = Proven::default();
        // What has stepped it down, perhaps some configurations ago, does not do so again.
        ladder.audit.begin_anew();
        (ladder.threshold, ladder.coverage, ladder.proven_coverage) = (None, 0.0, 0.0);
        ladder.taken = u64::MAX;
    }

    /// Sets the degree as a person wants it. After the audit's step down another attempt begins.
    pub(super) fn set_degree(&mut self, degree: Degree) -> Result<(), Refused> {
        let Some(automation) = &self.program.automation else {
            return Err(Refused("the rollout has no `automation`, whose degree could be set".to_owned()));
        };
        self.unless_pinned()?;
        if let Some(flaw) = automation.flaw_of(degree) {
            return Err(Refused(flaw));
        }
        self.unless_taken_back()?;
        let before = self.run.ladder.degree;
        let was_judge = self.run.held == Some(HeldBy::Judge);
        if before == degree && !was_judge {
            return Ok(());
        }
        if was_judge {
            self.release();
        }
        self.run.ladder.degree = degree;
        self.begin_step();
        let walks = was_judge || matches!(self.run.phase, Phase::Progressing | Phase::Paused);
        let is_moved = walks && degree < before;
        if is_moved {
            self.run.position = self.program.position_at(degree);
        }
        let (from, to) = (before.label(), degree.label());
        let mut message = format!("the degree of automation is {to} by command, it was {from}");
        if was_judge {
            message = format!("{message}; attempt {} begins", self.run.attempt);
        }
        if (is_moved || was_judge) && self.run.held.is_none() && !self.wait_here() {
            message = format!("{message}; the run is paused");
        }
        self.happen(Actor::User, Action::Change, message);
        Ok(())
    }

    /// Waits for what the present step waits for, or rests behind the last one. Returns whether that is possible: a step that
    /// does not wait would set another degree at once, so a person decides when.
    fn wait_here(&mut self) -> bool {
        match self.program.steps.get(self.run.position) {
            Some(step) if step.waits() => self.wait(),
            None => self.rest(),
            Some(_) => {
                self.hold(HeldBy::Person, "paused at a degree set by command".into());
                return false;
            }
        }
        true
    }

    /// All steps are done, or there are none.
    pub(super) fn rest(&mut self) {
        self.run.held = None;
        self.run.reason = crate::rollout::reason::Reason::Phase;
        let moves = !self.program.steps.is_empty();
        self.run.phase = if moves { Phase::Succeeded } else { Phase::Steady };
    }
}
