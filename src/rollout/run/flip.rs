//! Blue/green: one of two sides has all the traffic, and the side changes at once. After a flip the new side is watched
//! for a while, the *window*; so is the candidate after the last step, when it has got all traffic.

use serde::{Deserialize, Serialize};

use super::turn::Turn;
use super::{Now, Phase, Run, say};
use crate::analysis::answers::Answers;
use crate::analysis::tick::{Tick, View};
use crate::analysis::users::Firsts;
use crate::analysis::window::{self, NotJudged, Window};
use crate::model::{Arm, Share, Shares, Side, Unit, shares};
use crate::rollout::command::Refused;
use crate::rollout::event::{Action, Actor};
use crate::rollout::policy::Act;
use crate::rollout::program::{Program, Step};
use crate::rollout::ready::Readiness;
use crate::rollout::reason::Reason;
use crate::rollout::waits::Waits;
use crate::signal::catalog::Role;

/// The side that answers, and what it has done since when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Active {
    /// Whether it is the candidate.
    pub(super) is_candidate: bool,
    /// Whether this attempt has seen a flip: no bake begins by itself any more.
    pub(super) has_flipped: bool,
    /// Whether all traffic goes to the candidate as soon as it is ready.
    pub(super) awaits_ready: bool,
    /// Ticks before this one belong to the time before the flip, also when they close later.
    pub(super) from: u64,
    /// What it has answered since it is active.
    pub(super) answered: Arm,
    /// What became of its requests since then, also where users are judged, and of the other side's before.
    answers: Answers,
    answers_before: Answers,
    /// Whether users that have been counted in it are new again: with the next ones it starts anew.
    starts_anew: bool,
    /// Open while the side is watched.
    pub(super) window: Option<Window>,
    /// Its e-value when it was closed, until something else begins.
    closed_at: Option<f64>,
    /// Whether the present crossing of the threshold has been acted on.
    pub(super) crossed: bool,
}

impl Active {
    /// The side that answers, if a tick shows something of it.
    fn shown_by(&self, tick: &Tick) -> Option<Side> {
        let is_candidates = tick.share.is_some_and(|share| share >= 1.0);
        let is_known = tick.number >= self.from && !tick.void && is_candidates == self.is_candidate;
        is_known.then_some(if self.is_candidate { Side::Candidate } else { Side::Stable })
    }

    /// Takes over a tick that is closed, and where users are judged what it shows of them.
    pub(super) fn close(&mut self, tick: &Tick, firsts: Option<&Firsts>) {
        let Some(side) = self.shown_by(tick) else { return };
        let counted = window::counted(tick, firsts, side, View::Closed);
        if counted.units > 0 && std::mem::take(&mut self.starts_anew) {
            self.answered = Arm::default();
        }
        self.answered = self.answered.plus(counted);
        self.answers = self.answers.plus(Answers::of(&tick.counts[side], View::Closed));
        if let Some(window) = &mut self.window {
            window.add(counted);
        }
    }

    /// The window after the open tick with the most evidence.
    fn at_least(&self, window: &Window, open: &[(Tick, usize)], firsts: &[Firsts]) -> Window {
        let (mut ahead, mut most) = (window.clone(), window.clone());
        for (nth, (tick, age)) in open.iter().enumerate() {
            if let Some(side) = self.shown_by(tick) {
                ahead.add(window::counted(tick, firsts.get(nth), side, View::Open { age: *age }));
                if ahead.value() > most.value() {
                    most.clone_from(&ahead);
                }
            }
        }
        most
    }

    /// Nothing is held against the side any more.
    pub(super) fn retry(&mut self, unit: Unit) {
        (self.crossed, self.closed_at) = (false, None);
        self.expect_known_users(unit);
        if let Some(window) = &mut self.window {
            *window = window.anew();
            self.answers = Answers::default();
        }
    }

    /// Another step or attempt takes all users for new, where they are judged: they would count twice.
    pub(super) fn expect_known_users(&mut self, unit: Unit) {
        self.starts_anew |= unit == Unit::Users;
    }

    /// Another side answers from now on, or the same one.
    pub(super) fn turn_to(&mut self, to_candidate: bool) {
        if self.is_candidate != to_candidate {
            self.answered = Arm::default();
            self.answers_before = std::mem::take(&mut self.answers);
        }
        self.is_candidate = to_candidate;
        (self.crossed, self.awaits_ready) = (false, false);
        self.end();
    }

    /// The phase of a run whose side is not watched.
    fn at_rest(&self) -> Phase {
        if self.is_candidate { Phase::Succeeded } else { Phase::Steady }
    }

    /// Ends the watch. Returns whether there was one.
    fn end(&mut self) -> bool {
        let window = self.window.take();
        self.closed_at = window.as_ref().map(Window::value).or(self.closed_at);
        window.is_some()
    }

    /// What was counted was counted by another definition of an error.
    pub(super) fn redefine(&mut self, now: Now) {
        let Self { is_candidate, has_flipped, awaits_ready, .. } = *self;
        let from = now.tick.saturating_add(1);
        *self = Self { is_candidate, has_flipped, awaits_ready, from, ..Self::default() };
    }
}

impl Run {
    /// The e-value of the side that answers failing too often, after a flip: while it is watched, and what
    /// it was at the end until another flip, attempt or run.
    #[must_use]
    pub fn window(&self) -> Option<f64> {
        self.active.window.as_ref().map(Window::value).or(self.active.closed_at)
    }

    /// How many milliseconds the side that answers is watched; `None`: it is not, or until the other one is ready. It waits as
    /// a step does.
    #[must_use]
    pub fn window_lasts(&self, program: &Program) -> Option<u64> {
        self.active.window.as_ref().filter(|_| !self.active.awaits_ready)?;
        Some(program.window.unwrap_or(0))
    }
}

impl Turn<'_> {
    /// Puts the run at its beginning, with the side that is configured or with the bake.
    pub(super) fn begin_with_side(&mut self, actor: Actor, action: Action) {
        let to_candidate = self.program.is_candidate_active();
        // The other side answers than is configured: that is a flip like any other, and watched.
        let flips = action == Action::Retry && self.run.active.is_candidate != to_candidate;
        let bakes = !flips && !to_candidate && !self.program.steps.is_empty();
        let waits = flips && to_candidate && self.program.ready.is_some();
        self.run.phase = Phase::Steady;
        let begun = say::begun_with_side(self.program, self.run.attempt, (to_candidate && !waits, bakes));
        self.happen(actor, action, begun);
        if flips {
            // Until then the side that answers keeps the traffic.
            self.turn_to(self.run.active.is_candidate);
            return self.flip_when_ready(to_candidate, actor);
        }
        self.begin_sides(actor);
    }

    /// With the side that is configured, or with the bake.
    pub(super) fn begin_sides(&mut self, actor: Actor) {
        let to_candidate = self.program.is_candidate_active();
        self.turn_to(to_candidate);
        self.run.active.closed_at = None;
        self.run.active.has_flipped = false;
        (self.run.position, self.run.mirror) = (0, None);
        if !to_candidate && !self.program.steps.is_empty() {
            return self.advance(actor);
        }
        self.run.position = self.program.steps.len(); // the candidate does not bake
        self.run.phase = self.run.active.at_rest();
        self.begin_step();
    }

    /// Sends all traffic to a side; to the candidate once it is ready, where that is configured.
    pub(super) fn flip_when_ready(&mut self, to_candidate: bool, actor: Actor) {
        self.release();
        let waits = to_candidate && !self.run.active.is_candidate && self.program.ready.is_some();
        if !waits {
            return self.flip(to_candidate, actor);
        }
        if self.run.active.awaits_ready && self.run.phase == Phase::Progressing {
            return;
        }
        self.run.active.awaits_ready = true;
        self.wait_for_ready();
        self.begin_step();
        let message = say::once_unpinned(say::flips_when_ready(self.program), self.is_pinned());
        self.happen_with_evidence(actor, Action::Step, message);
    }

    /// The flip waits, as a step does.
    pub(super) fn wait_for_ready(&mut self) {
        self.run.phase = Phase::Progressing;
        self.run.reason = Reason::Phase;
        self.run.readiness = Readiness::default();
    }

    /// Sends all traffic to a side, and watches it where that is configured.
    pub(super) fn flip(&mut self, to_candidate: bool, actor: Actor) {
        if self.run.active.is_candidate == to_candidate {
            return self.end_window(actor);
        }
        let before = self.run.active.answered;
        // Not where a bake ends by itself.
        let is_wanted = actor != Actor::Auto || self.run.active.awaits_ready || self.run.active.has_flipped;
        self.turn_to(to_candidate);
        if to_candidate && self.run.crossed && is_wanted {
            self.next_attempt(); // what was found is known, and the candidate wanted all the same
        }
        self.run.active.closed_at = None;
        self.run.active.has_flipped = true;
        self.run.active.from = self.now.tick.saturating_add(1);
        self.run.position = self.program.steps.len();
        self.run.held = None;
        self.run.phase = self.run.active.at_rest();
        self.begin_step();
        let message = say::once_unpinned(say::flipped(self.program, to_candidate), self.is_pinned());
        self.happen_with_evidence(actor, Action::Flip, message);
        self.settle(); // this event shows from where to where, not one that follows
        self.watch(before, actor);
    }

    /// Watches the side that has got all traffic, where that is configured. `before`: what the other one has done.
    pub(super) fn watch(&mut self, before: Arm, actor: Actor) {
        if self.program.window.is_none() {
            return self.end_window(actor);
        }
        self.run.active.closed_at = None;
        match Window::open(before) {
            Ok(window) => {
                self.run.active.window = Some(window);
                self.go_on_watching();
            }
            Err(why) => {
                let message = self.not_watched(why, before, actor);
                self.end_window(actor);
                self.run.reason = Reason::Happened(message);
            }
        }
    }

    /// Reports that the side that answers is not watched. Returns the sentence.
    pub(super) fn not_watched(&mut self, why: NotJudged, before: Arm, actor: Actor) -> String {
        let message = say::not_watched(self.program, self.run.active.is_candidate, why, before);
        self.happen(actor, Action::Alarm, message.clone());
        message
    }

    /// Has a side answer, whatever there was before.
    pub(super) fn turn_to(&mut self, to_candidate: bool) {
        let candidate = self.program.candidate.clone().filter(|_| to_candidate);
        self.run.weights = candidate.map_or(Shares::new(), |name| shares([(name, Share::ALL)]));
        self.run.active.turn_to(to_candidate);
    }

    /// The side that answers is not watched any more, or was not to be.
    pub(super) fn end_window(&mut self, actor: Actor) {
        let known = self.known(); // before the window closes
        let was_watched = self.run.active.end();
        self.run.active.awaits_ready = false;
        let is_candidate = self.run.active.is_candidate;
        self.run.held = None;
        self.run.reason = Reason::Phase;
        self.run.phase = self.run.active.at_rest();
        if was_watched || is_candidate {
            let message = say::once_unpinned(say::stays(self.program, is_candidate), self.is_pinned());
            self.happen_knowing(known, actor, Action::Succeed, message);
        }
    }

    /// Goes back to the old side when the evidence says so, in whatever phase.
    pub(super) fn judge_active_side(&mut self, open: &[(Tick, usize)]) {
        let (Some(window), Some(analysis)) = (&self.run.active.window, &self.program.analysis) else {
            return;
        };
        let by_user = analysis.rules.unit == Unit::Users;
        let firsts = if by_user { self.run.judge.first_requests(open) } else { Vec::new() };
        let window = self.run.active.at_least(window, open, &firsts);
        let crossed = window.value() >= analysis.rules.threshold;
        if !crossed || std::mem::replace(&mut self.run.active.crossed, true) {
            self.run.active.crossed = crossed;
            return;
        }
        let is_candidate = self.run.active.is_candidate;
        let finding = say::watched(self.program, &window, is_candidate, analysis.rules.threshold);
        // The other side may not be ready for its traffic.
        let is_safe = is_candidate || !self.run.active.awaits_ready;
        let act = if is_safe { analysis.policy.act(self.run.phase) } else { Act::Alarm };
        let sentence = say::since_the_flip(self.program, &window, is_candidate, (&finding, act));
        let (action, message) = self.short_of_going_back(act, &sentence).unwrap_or_else(|| {
            let reason = if is_candidate {
                sentence.clone()
            } else {
                format!("{sentence}; {}", say::what_abort_would_do(self.program))
            };
            let message = format!("{}: {reason}", say::went_back(self.program, is_candidate));
            self.take_back(Phase::Failed, reason);
            if !is_candidate {
                self.turn_to(true); // the candidate is the side that was good
            }
            self.run.active.closed_at = Some(window.value());
            (Action::Rollback, message)
        });
        self.find(action, message, finding);
    }

    /// Time goes on in the window. Returns whether there is one.
    pub(super) fn wait_for_window(&mut self) -> bool {
        let Some(duration) = self.run.window_lasts(self.program) else { return false };
        if self.run.waited < duration {
            return true;
        }
        match self.awaits_in_window() {
            Some((reason, is_against_candidate)) => {
                self.run.reason = reason;
                self.alarm_when_held_back(is_against_candidate);
            }
            None => self.end_window(Actor::Auto),
        }
        true
    }

    /// What the window waits for once its time has passed, and whether that speaks against the side; `None`: nothing.
    fn awaits_in_window(&self) -> Option<(Reason, bool)> {
        let analysis = self.program.analysis.as_ref().filter(|_| self.program.window.is_some())?;
        let active = &self.run.active;
        let before = self.run.judge.judges(Role::Refused).then_some(&active.answers_before);
        if analysis.policy.waits_for_data() {
            if self.run.is_elsewhere(self.program).is_some() {
                return Some((Reason::Waits(Waits::Routes), false));
            }
            // What has not been seen is not good.
            if !active.answers.has_a_good_one(before) {
                let unseen = say::unseen(self.program, active.is_candidate);
                return Some((Reason::Happened(unseen), active.answers.are_any()));
            }
        }
        // What came at another time differs by itself.
        let refuses_more = before.is_some_and(|before| {
            active.answers.are_mostly_refused() && active.answers.are_refused_more_than(before)
        });
        let is_held = analysis.policy.holds_steps() && refuses_more;
        is_held.then(|| (Reason::Happened(say::refuses_more(self.program, active.is_candidate)), true))
    }

    /// The window begins, goes on after a pause, or lasts another time. Returns whether there is one.
    pub(super) fn go_on_watching(&mut self) -> bool {
        let (Some(window), Some(duration)) = (&self.run.active.window, self.run.window_lasts(self.program))
        else {
            return false;
        };
        let watching = say::watching(self.program, self.run.active.is_candidate, window.bound, duration);
        self.run.reason = Reason::Happened(watching);
        self.run.phase = Phase::Progressing;
        true
    }

    /// Obeys a person who wants another side.
    pub(super) fn switch(&mut self, active: &str) -> Result<(), Refused> {
        if !self.program.blue_green {
            return Err(Refused("the rollout has no blue_green, so there is nothing to switch".into()));
        }
        if let Some(flaw) = flaw_of_side(self.program, active) {
            return Err(Refused(flaw));
        }
        let to_candidate = active != self.program.stable;
        if self.run.active.is_candidate == to_candidate && !self.is_pinned() {
            self.stay_with_stable(Actor::User);
            return Ok(());
        }
        self.flip_by_hand(to_candidate, false)
    }

    /// The side that answers already is wanted: neither a bake nor a flip that waits goes to the other one.
    pub(super) fn stay_with_stable(&mut self, actor: Actor) {
        let active = &self.run.active;
        let awaited = active.awaits_ready;
        let bakes = !active.is_candidate && self.run.position < self.program.steps.len();
        if (awaited || bakes) && matches!(self.run.phase, Phase::Progressing | Phase::Paused) {
            self.release();
            let window = self.run.active.window.take();
            self.turn_to(false);
            self.run.active.window = window;
            self.run.active.has_flipped = true;
            self.run.position = self.program.steps.len();
            self.begin_step();
            self.run.phase = Phase::Steady;
            self.run.reason = Reason::Phase;
            self.happen(actor, Action::Change, say::stays_with_stable(self.program, awaited));
            self.go_on_watching();
        }
    }

    /// Obeys a person who wants the candidate to have everything, or the window to be over.
    pub(super) fn promote_side(&mut self) -> Result<(), Refused> {
        if self.program.candidate.is_none() {
            return Err(Refused("the rollout has no candidate to promote".into()));
        }
        if self.run.active.is_candidate && self.run.phase != Phase::Paused {
            let label = self.run.phase.label();
            return Err(Refused(format!("the rollout is {label}; the candidate already has all traffic")));
        }
        // What waits for the candidate to be ready already is not made to wait again.
        let step = self.program.steps.get(self.run.position);
        let skips = self.run.active.awaits_ready || matches!(step, Some(Step::Ready(_)));
        self.flip_by_hand(true, skips)
    }

    /// `at_once`: whether the candidate is ready or not.
    fn flip_by_hand(&mut self, to_candidate: bool, at_once: bool) -> Result<(), Refused> {
        self.unless_pinned()?;
        if to_candidate {
            self.unless_taken_back()?;
        }
        self.release();
        if at_once {
            self.flip(to_candidate, Actor::User);
        } else {
            self.flip_when_ready(to_candidate, Actor::User);
        }
        Ok(())
    }
}

/// What is wrong with the name of a side.
pub(super) fn flaw_of_side(program: &Program, active: &str) -> Option<String> {
    let is_side = active == program.stable || Some(active) == program.candidate.as_deref();
    (!is_side).then(|| say::no_side(program, active))
}

#[cfg(test)]
mod tests;
