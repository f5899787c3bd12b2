//! What a step of an attempt has shown.

use serde::{Deserialize, Serialize};

use super::Judge;
use super::metric::TestState;
use crate::analysis::answers::Answers;
use crate::analysis::evidence;
use crate::analysis::excess::{has_clearly_more, rate};
use crate::analysis::look::{Certainty, Look};
use crate::analysis::promotion::NoWorse;
use crate::analysis::rules::{FAILURES, Rules};
use crate::analysis::tick::{Tick, View};
use crate::model::{Arm, Pair, Side, Unit, real};
use crate::signal::catalog::{self, Role, SignalId};
use crate::signal::histogram::Histogram;
use crate::signal::tally::Tally;

/// What a step has shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Step {
    /// Ticks before this one belong to the step before, also when they close later.
    pub(super) from: u64,
    /// Identifies what its proof is about: a margin, and what counts as an error.
    pub(super) basis: u64,
    /// Identifies how its pairs of answers were compared.
    pub(super) comparison: u64,
    /// Whether a tick of it has compared requests.
    pub(super) has_requests: bool,
    /// Whether a tick of it has compared pairs of answers.
    pub(super) has_pairs: bool,
    /// What became of the requests.
    pub(super) answers: Pair<Answers>,
    /// Requests (or users) that came.
    pub(super) units: Pair<u64>,
    /// The candidate's that ended with an answer or an error.
    pub(super) answered: u64,
    /// Pairs of answers that were compared, and those of them that differ.
    pub(super) pairs: Arm,
    /// Whether a tick of it was judged by all that users do later.
    pub(super) hears_feedback: bool,
    pub(super) errors: NoWorse,
    /// The least and the largest share of both versions' weights that the candidate had in the ticks that are seen of it.
    pub(super) shares: Option<(f64, f64)>,
    /// How long both versions took, by signal: for people, the judge counts what is beyond its edges.
    pub(super) durations: Vec<(SignalId, Pair<Histogram>)>,
}

impl Step {
    pub(super) fn note_durations(&mut self, tick: &Tick) {
        for side in Side::BOTH {
            for (signal, tally) in &tick.counts[side].tallies {
                let Tally::Duration(durations) = tally else { continue };
                if durations.total() == 0 {
                    continue;
                }
                let known = self.durations.iter().position(|(known, _)| known == signal);
                let at = known.unwrap_or(self.durations.len());
                if known.is_none() {
                    self.durations.push((*signal, Pair::default()));
                }
                if let Some((_, both)) = self.durations.get_mut(at) {
                    both[side].merge(durations);
                }
            }
        }
    }
}

impl Judge {
    pub(super) fn count_step(&mut self, tick: &Tick, rules: &Rules) {
        let requests = tick.counts.as_ref().map(|counts| counts.requests);
        self.step.units = self.step.units.plus(requests);
        let silent = tick.counts.candidate.silent;
        self.step.answered = self.step.answered.saturating_add(requests.candidate.saturating_sub(silent));
        if let Some(promotion) = rules.promotion
            && let Certainty::Certain(look) = Look::of_requests(tick, &FAILURES, None, View::Closed)
            && let Some(table) = look.table()
        {
            self.step.errors.add(&tick.answers_of(table), promotion.margin);
        }
    }

    /// The first tick of the step; 0 before the first step.
    #[must_use]
    pub fn step_from(&self) -> u64 {
        self.step.from
    }

    /// The candidate's requests (or users) of this step that ended with an answer or an error.
    #[must_use]
    pub fn step_requests(&self) -> u64 {
        self.step.answered
    }

    /// The candidate's requests of this step that failed, were given up, or were refused where that is judged.
    #[must_use]
    pub fn step_failures(&self) -> u64 {
        let candidate = &self.step.answers.candidate;
        let refusals = if self.judges(Role::Refused) { candidate.refusals() } else { 0 };
        candidate.wrong().events.saturating_add(refusals)
    }

    /// Whether what users do within their time was judged in this step.
    #[must_use]
    pub fn hears_feedback(&self) -> bool {
        self.step.hears_feedback
    }

    /// Whether a request of the candidate's in this step was answered well. Where refusals are judged, one is no good answer
    /// unless stable refuses as many.
    #[must_use]
    pub fn has_answered_well(&self) -> bool {
        let Pair { candidate, stable } = &self.step.answers;
        candidate.has_a_good_one(self.judges(Role::Refused).then_some(stable))
    }

    /// Pairs of answers that were compared in this step, and those of them that differ.
    #[must_use]
    pub fn step_pairs(&self) -> Arm {
        self.step.pairs
    }

    /// The candidate's share of both versions' requests (or users) in this step; `None` before there are any.
    #[must_use]
    pub fn observed_share(&self) -> Option<f64> {
        let all = self.step.units.total();
        (all > 0).then(|| real(self.step.units.candidate) / real(all))
    }

    /// The e-value of the candidate being within the promotion's margin, from this step alone.
    #[must_use]
    pub fn no_worse(&self) -> f64 {
        self.step.errors.value()
    }

    /// Whether the step has shown what it must: the candidate is within the margin, nothing looks like a
    /// regression, and the split is right.
    #[must_use]
    pub fn may_promote(&self, rules: &Rules) -> bool {
        self.is_proven(rules) && self.split() < evidence::SPLIT_THRESHOLD && !self.is_suspicious()
    }

    /// Whether the step has shown that the candidate is within the margin, where there is one.
    #[must_use]
    pub fn is_proven(&self, rules: &Rules) -> bool {
        rules.promotion.is_none_or(|promotion| self.no_worse() >= promotion.threshold)
    }

    /// Whether clearly more of the candidate's requests of this step failed, were given up or were left in the middle than of
    /// stable's. Far less than it takes to roll back: it is enough for not going on, which is cheap.
    #[must_use]
    pub fn fails_more(&self, rules: &Rules) -> bool {
        let Pair { candidate, stable } = &self.step.answers;
        // Which users have left answers is not known: one of them may have left all.
        let is_of_some = || rules.unit == Unit::Users && !candidate.are_mostly_left();
        candidate.fail_more_than(stable)
            && !candidate
                .fail_more_by(stable)
                .all(|role| role.map_or_else(is_of_some, |role| self.are_users_alike(role, false)))
    }

    /// The same for refused requests, where those are judged.
    #[must_use]
    pub fn refuses_more(&self) -> bool {
        let Pair { candidate, stable } = &self.step.answers;
        self.judges(Role::Refused)
            && candidate.are_refused_more_than(stable)
            && !self.are_users_alike(Role::Refused, !candidate.are_mostly_refused())
    }

    /// Whether clearly more than one in five of the candidate's answers of this step took longer than nine in ten of stable's, and
    /// longer than is tolerated, where that is judged. A candidate with few requests may be as slow as that long before there is
    /// evidence.
    #[must_use]
    pub fn is_slower(&self, rules: &Rules) -> bool {
        const QUANTILE: f64 = 0.9;
        let mut judged = self.tests().filter(|state| state.test.quantile().is_some());
        judged.any(|state| {
            let of_signal = |(signal, _): &&(SignalId, _)| *signal == state.test.signal;
            let Some((_, both)) = self.step.durations.iter().find(of_signal) else { return false };
            let Some(edges) = state.test.edges_at(QUANTILE, &both.stable, rules.deadline) else {
                return false;
            };
            let slow = |side| Arm { events: both[side].beyond(edges[side]), units: both[side].total() };
            let (candidate, mut stable) = (slow(Side::Candidate), slow(Side::Stable));
            // All may be alike: one in ten of stable's is slow by what the edge is.
            stable.events = stable.events.max(stable.units / 10);
            // Most users of a healthy version may have met a slow answer: one who is busy does not hold the step.
            has_clearly_more(candidate, stable) && !self.are_alike(Some(state), rate(candidate) < 0.5)
        })
    }

    /// Whether users are judged by this, and it has happened in this step to as many of stable's as of the candidate's for the
    /// first time: a busy one may make the difference between requests. Where that cannot be said, `undecided`: most users of a
    /// healthy version may have met a refusal, such as a redirect to a login.
    fn are_users_alike(&self, role: Role, undecided: bool) -> bool {
        self.are_alike(self.compared(role), undecided)
    }

    fn are_alike(&self, state: Option<&TestState>, undecided: bool) -> bool {
        let known = state.and_then(|state| Some((state.spent, state.spent_before?)));
        let are_alike = |(spent, before)| self.newcomers.are_alike(&spent, &before).unwrap_or(undecided);
        !self.lacks_users() && known.is_some_and(are_alike)
    }

    /// Whether the versions are compared by this.
    #[must_use]
    pub fn judges(&self, role: Role) -> bool {
        self.compared(role).is_some()
    }

    /// The test that compares the versions by this.
    fn compared(&self, role: Role) -> Option<&TestState> {
        let signal = catalog::with_role(role).id;
        self.tests().find(|state| state.test.signal == signal && !state.test.is_bound())
    }
}
