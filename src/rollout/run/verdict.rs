//! What follows from what the judge has found: back, or not yet on.

use super::{Held, Now, Phase, Run, WAITS_FOR_PROMOTION, flip, say};
use crate::analysis::evidence::SPLIT_THRESHOLD;
use crate::analysis::tick::Tick;
use crate::config::release::OnFailure;
use crate::model::Unit;
use crate::rollout::event::{Action, Actor, Event, Finding, Percent};
use crate::rollout::program::{Analysis, Pause, Program, Step};

impl Run {
    /// Acts on the evidence, in whatever phase: once for each time it crosses the threshold.
    pub(super) fn judge(
        &mut self,
        program: &Program,
        open: &[(Tick, usize)],
        now: Now,
        events: &mut Vec<Event>,
    ) {
        let Some(analysis) = &program.analysis else { return };
        if self.phase.is_taken_back() {
            return; // the candidate has been taken back already
        }
        let split_crossed = self.judge.split() >= SPLIT_THRESHOLD;
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
        let (finding, what) = say::finding(&judge, &analysis.rules, now.tick);
        let mut sentence = say::accusation(program, &finding, &what);
        if split_crossed {
            sentence.push_str("; the split is not what it should be");
        }
        if program.sides.is_some() && self.candidate_share(program).is_none() {
            // All has been flipped back before this was known: what is watched now is the other side.
            let message = say::gone_already(program, &sentence);
            self.happen(program, now, Actor::Auto, Action::Alarm, message, events);
            return flip::attach(events, finding);
        }
        let sentence = format!("at {} {sentence}", Percent(self.candidate_weight(program)));
        self.act_on(program, finding, sentence, now, events);
    }

    /// Does what is configured for a candidate that is found worse. `sentence` says why.
    pub(super) fn act_on(
        &mut self,
        program: &Program,
        finding: Finding,
        sentence: String,
        now: Now,
        events: &mut Vec<Event>,
    ) {
        let Some(analysis) = &program.analysis else { return };
        let (action, message) = self.short_of_going_back(analysis, &sentence).unwrap_or_else(|| {
            self.take_back(program, Phase::Failed, sentence.clone());
            (Action::Rollback, format!("{}: {sentence}", say::taken_back(program, "rolled back")))
        });
        self.happen(program, now, Actor::Auto, action, message, events);
        flip::attach(events, finding);
    }

    /// What an accusation leads to where the configuration wants no rollback.
    pub(super) fn short_of_going_back(
        &mut self,
        analysis: &Analysis,
        sentence: &str,
    ) -> Option<(Action, String)> {
        match (analysis.dry_run, analysis.on_failure) {
            (true, _) => Some((Action::Alarm, format!("would act, but for dry_run: {sentence}"))),
            (false, OnFailure::Pause) if matches!(self.phase, Phase::Progressing | Phase::Paused) => {
                self.hold(Held::Judge, sentence.to_owned());
                Some((Action::Pause, sentence.to_owned()))
            }
            (false, OnFailure::Alarm | OnFailure::Pause) => Some((Action::Alarm, sentence.to_owned())),
            (false, OnFailure::Abort) => None,
        }
    }

    /// What the present step still waits for, in words; `None`: nothing.
    pub(super) fn held_back_by(&self, program: &Program) -> Option<&'static str> {
        let Some(Step::Pause(pause)) = program.steps.get(self.position) else { return None };
        let Pause::Until { duration, requests } = pause else { return Some(WAITS_FOR_PROMOTION) };
        if self.waited < *duration {
            return Some("the step waits for its time");
        }
        if self.judge.step_requests() < *requests {
            return Some(match program.unit() {
                Unit::Requests => "the step waits for more of the candidate's requests",
                Unit::Users => "the step waits for more of the candidate's users",
            });
        }
        let analysis = program.analysis.as_ref().filter(|analysis| !analysis.dry_run)?;
        // Where stable has no traffic there is nothing to be no worse than.
        let compared = self.candidate_share(program).is_some_and(|share| share < 1.0);
        if self.judge.split() >= SPLIT_THRESHOLD {
            Some("the step waits: the candidate does not get the share that its weight says")
        } else if self.judge.is_suspicious() {
            Some("the step waits: there is evidence against the candidate")
        } else if compared && !self.judge.is_proven(&analysis.rules) {
            Some("the step waits for proof that the candidate is no worse than allowed")
        } else {
            None
        }
    }

    /// Stops a step that has not ended in time.
    pub(super) fn watch_deadline(&mut self, program: &Program, now: Now, events: &mut Vec<Event>) {
        let deadline = program.analysis.as_ref().and_then(|analysis| analysis.progress_deadline);
        if deadline.is_some_and(|deadline| self.waited.saturating_sub(self.resumed_at) >= deadline) {
            self.hold(Held::Deadline, say::overdue(program, self.position, self.waited, &self.judge));
            self.happen(program, now, Actor::Auto, Action::Pause, self.reason.clone(), events);
        }
    }
}
