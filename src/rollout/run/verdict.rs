//! What follows from what the judge has found: back, or not yet on.

use super::turn::Turn;
use super::{HeldBy, Phase, Run, say};
use crate::analysis::evidence::SPLIT_THRESHOLD;
use crate::analysis::kernel::agreement::Agreement;
use crate::analysis::rules::Rules;
use crate::analysis::tick::Tick;
use crate::model::Arm;
use crate::rollout::event::{Action, Actor, Finding};
use crate::rollout::policy::Act;
use crate::rollout::program::{Analysis, Pause, Program, Step, Until};
use crate::rollout::waits::Waits;

/// Failures of the candidate that hold a step which waits for requests anyway. One may be chance.
const LEAST_FAILURES: u64 = 3;
/// Milliseconds that a step is held back by what speaks against the candidate before an alarm says so.
const HELD_BACK: u64 = 600_000;
/// Milliseconds that a finding waits for metrics that compare the versions' requests and have nothing to compare.
const UNHEARD: u64 = 60_000;
/// The same where the requests look different, and nothing is proven.
const UNLIKE: u64 = 600_000;

impl Run {
    /// What the present step still waits for when it has waited so many milliseconds; `None`: nothing.
    pub(super) fn waits(&self, program: &Program, waited: u64) -> Option<Waits> {
        if let Some(ready) = self.awaits_ready(program) {
            let missing = || Waits::Ready(self.readiness.missing(ready));
            return (!self.readiness.is_enough(ready)).then(missing);
        }
        let Some(Step::Pause(pause)) = program.steps.get(self.position) else { return None };
        let Pause::Until(until) = pause else { return Some(Waits::Promotion) };
        if self.is_elsewhere(program).is_some() {
            return Some(Waits::Routes);
        }
        if waited < until.duration {
            return Some(Waits::Time);
        }
        if program.automation.is_some() {
            return self.ladder.waits(until);
        }
        let analysis = program.analysis.as_ref().filter(|analysis| analysis.policy.holds_steps());
        // Where stable has no traffic there is nothing to be no worse than.
        let compared = self.candidate_share(program).is_some_and(|share| share < 1.0);
        // What is wrong comes before what is missing: it may be missing because of that.
        let is_enough = self.judge.step_requests() >= until.requests;
        let says_something = is_enough || self.judge.step_failures() >= LEAST_FAILURES;
        let wrong =
            analysis.and_then(|analysis| self.waits_for_better(&analysis.rules, compared && says_something));
        if wrong.is_some() {
            return wrong;
        }
        if analysis.is_some() && compared && self.judge.lacks_users() {
            return Some(Waits::Users);
        }
        if !is_enough {
            return Some(Waits::Units(program.unit()));
        }
        if let Some(missing) = self.waits_for_agreement(until) {
            return Some(missing);
        }
        let Analysis { rules, policy, .. } = analysis?;
        if compared && !self.judge.is_proven(rules) {
            return Some(Waits::Proof);
        }
        if !policy.waits_for_data() || !self.shows_something(program, rules) {
            return None;
        }
        let within = rules.last_comes_within().saturating_mul(1_000);
        if compared && within > 0 && (waited < within || !self.judge.hears_feedback()) {
            return Some(Waits::Feedback(within));
        }
        self.waits_for_data(rules, compared)
    }

    /// Whether something can come of the candidate: it has a share, or its answers as a shadow are compared.
    fn shows_something(&self, program: &Program, rules: &Rules) -> bool {
        let is_mirrored = || self.mirror_share(program).is_some_and(|share| !share.is_none());
        self.candidate_share(program).is_some() || (rules.pairs.is_some() && is_mirrored())
    }

    /// What is wrong with the step so far.
    fn waits_for_better(&self, rules: &Rules, compared: bool) -> Option<Waits> {
        if self.judge.split() >= SPLIT_THRESHOLD {
            Some(Waits::Split)
        } else if self.inputs_differ {
            Some(Waits::Inputs)
        } else if self.judge.is_suspicious() {
            Some(Waits::Suspicion)
        } else {
            let fails = || self.judge.fails_more(rules).then_some(Waits::Failures);
            let refuses = || self.judge.refuses_more().then_some(Waits::Refusals);
            let is_slower = || self.judge.is_slower(rules).then_some(Waits::Slowness);
            compared.then(|| fails().or_else(refuses).or_else(is_slower)).flatten()
        }
    }
}

impl Run {
    /// Whether what it waits for should have come when it has waited so many milliseconds.
    pub(super) fn is_overdue(&self, program: &Program, waited: u64) -> bool {
        let of_analysis = || program.analysis.as_ref()?.progress_deadline;
        let deadline = self.awaits_ready(program).map(|ready| ready.timeout).or_else(of_analysis);
        deadline.is_some_and(|deadline| waited.saturating_sub(self.resumed_at) >= deadline)
    }

    /// What is missing of the pairs that the step waits for, or of their agreement.
    fn waits_for_agreement(&self, until: &Until) -> Option<Waits> {
        let Arm { events: differ, units: compared } = self.judge.step_pairs();
        if compared < until.compared {
            return Some(Waits::Pairs { compared, of: until.compared });
        }
        if until.agreement <= 0.0 {
            return None;
        }
        let agreement = Agreement::of(compared.saturating_sub(differ), compared);
        (agreement.low < until.agreement).then_some(Waits::Agreement {
            compared,
            agreement,
            of: until.agreement,
        })
    }

    /// What has to be seen before nothing speaks against the candidate.
    fn waits_for_data(&self, rules: &Rules, compared: bool) -> Option<Waits> {
        let warming = self.judge.warming_up(rules).map(|(requests, of)| Waits::WarmUp { requests, of });
        match (self.judge.step_requests(), self.judge.step_pairs().units) {
            (0, 0) => return warming.filter(|_| rules.warm_up.is_of_all).or(Some(Waits::Answer)),
            (1.., _) if !self.judge.has_answered_well() => return Some(Waits::GoodAnswer),
            _ => {}
        }
        let unheard = self.judge.unheard().filter(|_| compared)?;
        let spared = warming.filter(|_| unheard.durations.is_none() && self.judge.is_spared(&unheard, rules));
        Some(spared.unwrap_or(Waits::Metric(unheard)))
    }
}

impl Turn<'_> {
    /// Reports that Envoy's routes ignore the filter's choice, once until they follow it again.
    pub(super) fn look_at_routes(&mut self) {
        let side = self.run.is_elsewhere(self.program);
        let was_told = std::mem::replace(&mut self.run.elsewhere_told, side.is_some());
        if let Some(side) = side.filter(|_| !was_told) {
            self.happen(Actor::Auto, Action::Alarm, say::elsewhere(self.program, side));
        }
    }

    /// Acts on the evidence, in whatever phase: once for each time it crosses the threshold.
    pub(super) fn judge(&mut self, open: &[(Tick, usize)]) {
        let Some(analysis) = &self.program.analysis else { return };
        if self.run.phase.is_rolled_back() {
            return; // the candidate has been rolled back already
        }
        let split_crossed = self.run.judge.split() >= SPLIT_THRESHOLD;
        if split_crossed && !self.run.split_crossed {
            self.happen(Actor::Auto, Action::Alarm, say::split(self.program));
        }
        self.run.split_crossed = split_crossed;
        self.look_at_inputs();

        // Whether requests differ is known of closed ticks only: with metrics that compare them, the others wait for that.
        let open = if self.run.judge.compares_inputs() { &[] } else { open };
        let judge = self.run.judge.at_least(open, &analysis.rules);
        if judge.reading().all < analysis.rules.threshold {
            self.run.crossed = false;
            self.run.withheld = self.run.withheld.map(|_| 0);
            return;
        }
        if self.run.crossed {
            return;
        }
        let (finding, what) = say::finding(&judge, &analysis.rules, self.now.tick);
        if !self.run.inputs_differ && !self.inputs_allow(&finding, &what) {
            return;
        }
        self.run.crossed = true;
        // All was flipped back before this was known: what is watched now is the other side.
        let is_void = self.run.inputs_differ;
        let is_gone = self.program.blue_green && self.run.candidate_share(self.program).is_none();
        let act = if is_gone || is_void { Act::Alarm } else { analysis.policy.act(self.run.phase) };
        let mut sentence = say::worse(self.program, &finding, &what, act);
        if split_crossed {
            sentence.push_str("; the traffic split does not match the weights");
        }
        if is_gone {
            return self.find(Action::Alarm, say::gone_already(self.program, &sentence), finding);
        }
        let weight = self.run.candidate_weight(self.program);
        if is_void {
            let message =
                format!("ignored, because the versions receive different requests: at {weight} {sentence}");
            return self.find(Action::Alarm, message, finding);
        }
        self.act_on(act, finding, format!("at {weight} {sentence}"));
    }

    /// Whether a finding is acted on, as far as metrics compare the versions' requests. Where they do not show that these are
    /// alike the finding waits, and is reported once.
    fn inputs_allow(&mut self, finding: &Finding, what: &str) -> bool {
        let judge = &self.run.judge;
        let (patience, because) = if !judge.inputs_look_alike() {
            (UNLIKE, "the versions may receive different requests".to_owned())
        } else if let Some(metric) = judge.unheard_input() {
            (UNHEARD, format!("{metric} has not compared any requests yet"))
        } else {
            return true;
        };
        let Some(withheld) = self.run.withheld else {
            self.run.withheld = Some(0);
            let worse = say::worse(self.program, finding, what, Act::Alarm);
            self.find(Action::Alarm, say::withheld(&worse, patience, &because), finding.clone());
            return false;
        };
        withheld >= patience
    }

    /// Reports once in an attempt that the versions get different requests.
    fn look_at_inputs(&mut self) {
        if self.run.inputs_differ || self.run.judge.inputs() < SPLIT_THRESHOLD {
            return;
        }
        self.run.inputs_differ = true;
        let message = say::inputs(self.program, &self.run.judge, self.now.tick);
        self.happen(Actor::Auto, Action::Alarm, message);
    }

    /// Does what is configured for a candidate that is found worse. `sentence` says why.
    pub(super) fn act_on(&mut self, act: Act, finding: Finding, sentence: String) {
        let (action, message) = self.short_of_going_back(act, &sentence).unwrap_or_else(|| {
            self.take_back(Phase::Failed, sentence.clone());
            (Action::Rollback, format!("{}: {sentence}", say::taken_back(self.program, "rolled back")))
        });
        self.find(action, message, finding);
    }

    /// What a finding leads to; `None`: a rollback, which is up to the caller.
    pub(super) fn short_of_going_back(&mut self, act: Act, sentence: &str) -> Option<(Action, String)> {
        match act {
            Act::WouldAct => Some((Action::Alarm, format!("not acted on (dry_run): {sentence}"))),
            Act::Alarm => Some((Action::Alarm, sentence.to_owned())),
            Act::Pause => {
                self.hold(HeldBy::Judge, sentence.to_owned());
                Some((Action::Pause, sentence.to_owned()))
            }
            Act::Rollback => None,
        }
    }

    /// Reports once that something has held the step back for long.
    pub(super) fn alarm_when_held_back(&mut self, is_against_candidate: bool) {
        if !is_against_candidate {
            self.run.held_back_from = None;
            return;
        }
        let (from, alarmed) = *self.run.held_back_from.get_or_insert((self.run.waited, false));
        if !alarmed && self.run.waited.saturating_sub(from) >= HELD_BACK {
            self.run.held_back_from = Some((from, true));
            self.happen_with_evidence(Actor::Auto, Action::Alarm, say::held_back(self.program, self.run));
        }
    }

    /// Stops a step that has not ended in time.
    pub(super) fn stop_when_overdue(&mut self) {
        if self.run.is_overdue(self.program, self.run.waited) {
            let reason = match self.run.awaits_ready(self.program) {
                Some(ready) => say::not_ready(self.program, self.run, ready),
                None => say::overdue(self.program, self.run),
            };
            self.hold(HeldBy::Deadline, reason.clone());
            self.happen_with_evidence(Actor::Auto, Action::Pause, reason);
        }
    }
}
