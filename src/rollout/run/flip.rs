//! Blue/green: which side answers, how that changes, and the watch after it has changed.

use serde::{Deserialize, Serialize};

use super::{Held, Now, Phase, Refused, Run, say};
use crate::analysis::tick::{Tick, View};
use crate::analysis::users::Firsts;
use crate::analysis::window::{self, NotJudged, Window};
use crate::config::units::Share;
use crate::model::{Arm, Side, Unit};
use crate::rollout::event::{Action, Actor, Event, Finding};
use crate::rollout::program::{Program, Weights, weights};

/// Which of the two sides answers, and since when it has done what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sides {
    /// Whether it is the candidate.
    pub(super) is_candidate: bool,
    /// Whether this attempt has seen a flip: no bake begins by itself any more.
    pub(super) has_flipped: bool,
    /// Ticks before this one belong to the time before the flip, also when they close later.
    from: u64,
    /// What it has answered since it is active.
    answered: Arm,
    /// Whether users are new by now who have been counted in it: with the next ones it starts anew.
    starts_anew: bool,
    /// Open while the side is watched.
    pub(super) window: Option<Window>,
    /// Its e-value when it was closed, until something else begins.
    closed_at: Option<f64>,
    /// Whether the present crossing of the threshold has been acted on.
    pub(super) crossed: bool,
}

impl Sides {
    /// What a tick tells of the side that answers; `None`: nothing.
    fn counted(&self, tick: &Tick, firsts: Option<&Firsts>, view: View) -> Option<Arm> {
        let is_candidates = tick.share.is_some_and(|share| share >= 1.0);
        let is_known = tick.number >= self.from && !tick.void && is_candidates == self.is_candidate;
        let side = if self.is_candidate { Side::Candidate } else { Side::Stable };
        is_known.then(|| window::counted(tick, firsts, side, view))
    }

    /// Takes over a tick that is closed, and where users are judged what it tells of them.
    pub(super) fn close(&mut self, tick: &Tick, firsts: Option<&Firsts>) {
        let Some(counted) = self.counted(tick, firsts, View::Closed) else { return };
        if counted.units > 0 && std::mem::take(&mut self.starts_anew) {
            self.answered = Arm::default();
        }
        self.answered = self.answered.plus(counted);
        if let Some(window) = &mut self.window {
            window.add(counted);
        }
    }

    /// The window after the open tick that accuses most.
    fn at_least(&self, window: &Window, open: &[(Tick, usize)], firsts: &[Firsts]) -> Window {
        let (mut ahead, mut most) = (window.clone(), window.clone());
        for (nth, (tick, age)) in open.iter().enumerate() {
            if let Some(counted) = self.counted(tick, firsts.get(nth), View::Open { age: *age }) {
                ahead.add(counted);
                if ahead.value() > most.value() {
                    most.clone_from(&ahead);
                }
            }
        }
        most
    }

    /// Nothing is held against the side any more.
    pub(super) fn retry(&mut self, unit: Unit) {
        self.crossed = false;
        self.expect_known_users(unit);
        self.window = self.window.as_ref().map(Window::anew);
    }

    /// Another step or attempt takes everybody for new, where users are judged: they would count twice.
    pub(super) fn expect_known_users(&mut self, unit: Unit) {
        self.starts_anew |= unit == Unit::Users;
    }

    /// Ends the watch. Returns whether there was one.
    fn end(&mut self) -> bool {
        let window = self.window.take();
        self.closed_at = window.as_ref().map(Window::value).or(self.closed_at);
        window.is_some()
    }

    /// What was counted was counted by another definition of an error.
    pub(super) fn redefine(&mut self, now: Now) {
        let Self { is_candidate, has_flipped, .. } = *self;
        *self = Self { is_candidate, has_flipped, from: now.tick.saturating_add(1), ..Self::default() };
    }
}

impl Run {
    /// The e-value of the side that answers failing too often, after a flip: while it is watched, and what
    /// it was at the end until another flip, attempt or run.
    #[must_use]
    pub fn window(&self) -> Option<f64> {
        self.sides.window.as_ref().map(Window::value).or(self.sides.closed_at)
    }

    /// How many milliseconds the side that answers is watched; `None`: it is not. It waits as a step does.
    #[must_use]
    pub fn watch_lasts(&self, program: &Program) -> Option<u64> {
        self.sides.window.as_ref()?;
        Some(program.sides.and_then(|sides| sides.window).unwrap_or(0))
    }

    /// Puts the run at its beginning, with the side that is configured or with the bake.
    pub(super) fn first_side(
        &mut self,
        program: &Program,
        now: Now,
        actor: Actor,
        action: Action,
        events: &mut Vec<Event>,
    ) {
        let to_candidate = program.is_candidate_active();
        // The other side answers than is configured: that is a flip like any other, and watched.
        let flips = action == Action::Retry && self.sides.is_candidate != to_candidate;
        let bakes = !flips && !to_candidate && !program.steps.is_empty();
        self.happen(program, now, actor, action, say::begun(program, self.attempt, bakes), events);
        if flips {
            return self.flip(program, to_candidate, now, actor, events);
        }
        self.begin_sides(program, now, actor, events);
    }

    /// With the side that is configured, or with the bake.
    pub(super) fn begin_sides(&mut self, program: &Program, now: Now, actor: Actor, events: &mut Vec<Event>) {
        let to_candidate = program.is_candidate_active();
        self.turn(program, to_candidate);
        self.sides.closed_at = None;
        (self.sides.has_flipped, self.position, self.mirror) = (false, 0, None);
        if !to_candidate && !program.steps.is_empty() {
            return self.advance(program, now, actor, events);
        }
        self.phase = if to_candidate { Phase::Succeeded } else { Phase::Steady };
        self.begin_step(program, now);
    }

    /// Sends all traffic to a side, and watches it where that is configured.
    pub(super) fn flip(
        &mut self,
        program: &Program,
        to_candidate: bool,
        now: Now,
        actor: Actor,
        events: &mut Vec<Event>,
    ) {
        if self.sides.is_candidate == to_candidate {
            return self.end_watch(program, now, actor, events);
        }
        let before = self.sides.answered;
        self.turn(program, to_candidate);
        self.sides.closed_at = None;
        self.sides.has_flipped = true;
        self.sides.from = now.tick.saturating_add(1);
        self.position = program.steps.len();
        self.held = None;
        self.begin_step(program, now);
        let message = say::once_unpinned(say::flipped(program, to_candidate), self.is_pinned(program));
        self.happen(program, now, actor, Action::Flip, message, events);
        self.settle(program, events); // the event tells from where to where
        if program.sides.is_none_or(|sides| sides.window.is_none()) {
            return self.end_watch(program, now, actor, events);
        }
        match Window::open(before) {
            Ok(window) => {
                self.sides.window = Some(window);
                self.go_on_watching(program);
            }
            Err(why) => {
                let message = self.not_watched(program, why, before, now, actor, events);
                self.end_watch(program, now, actor, events);
                self.reason = message;
            }
        }
    }

    /// Says that nobody watches the side that answers. Returns how.
    pub(super) fn not_watched(
        &mut self,
        program: &Program,
        why: NotJudged,
        before: Arm,
        now: Now,
        actor: Actor,
        events: &mut Vec<Event>,
    ) -> String {
        let message = say::not_watched(program, self.sides.is_candidate, why, before);
        self.happen(program, now, actor, Action::Alarm, message.clone(), events);
        message
    }

    /// Has a side answer, whatever there was before.
    pub(super) fn turn(&mut self, program: &Program, to_candidate: bool) {
        let candidate = program.candidate.clone().filter(|_| to_candidate);
        self.weights = candidate.map_or(Weights::new(), |name| weights([(name, Share::ALL)]));
        if self.sides.is_candidate != to_candidate {
            self.sides.answered = Arm::default();
        }
        self.sides.is_candidate = to_candidate;
        self.sides.end();
        self.sides.crossed = false;
    }

    /// The side that answers is not watched any more, or was not to be.
    fn end_watch(&mut self, program: &Program, now: Now, actor: Actor, events: &mut Vec<Event>) {
        let was_watched = self.sides.end();
        self.held = None;
        self.reason.clear();
        self.phase = if self.sides.is_candidate { Phase::Succeeded } else { Phase::Steady };
        if was_watched || self.sides.is_candidate {
            let message = say::stays(program, self.sides.is_candidate);
            let message = say::once_unpinned(message, self.is_pinned(program));
            self.happen(program, now, actor, Action::Succeed, message, events);
        }
    }

    /// Goes back to the old side when the evidence says so, in whatever phase.
    pub(super) fn watch(
        &mut self,
        program: &Program,
        open: &[(Tick, usize)],
        now: Now,
        events: &mut Vec<Event>,
    ) {
        let (Some(window), Some(analysis)) = (&self.sides.window, &program.analysis) else { return };
        let by_user = analysis.rules.unit == Unit::Users;
        let firsts = if by_user { self.judge.first_requests(open) } else { Vec::new() };
        let window = self.sides.at_least(window, open, &firsts);
        let crossed = window.value() >= analysis.rules.threshold;
        if !crossed || std::mem::replace(&mut self.sides.crossed, true) {
            self.sides.crossed = crossed;
            return;
        }
        let is_candidate = self.sides.is_candidate;
        let finding = say::watched(program, &window, is_candidate, analysis.rules.threshold);
        let sentence = say::since_the_flip(program, &window, is_candidate, &finding);
        let (action, message) = self.short_of_going_back(analysis, &sentence).unwrap_or_else(|| {
            self.take_back(program, Phase::Failed, sentence.clone());
            if !is_candidate {
                self.turn(program, true); // the candidate is the side that was good
                self.reason = format!("{sentence}; {}", say::what_abort_would_do(program));
            }
            self.sides.closed_at = Some(window.value());
            (Action::Rollback, format!("{}: {}", say::went_back(program, is_candidate), self.reason))
        });
        self.happen(program, now, Actor::Auto, action, message, events);
        attach(events, finding);
    }

    /// Time goes on in the window. Returns whether there is one.
    pub(super) fn wait_for_window(&mut self, program: &Program, now: Now, events: &mut Vec<Event>) -> bool {
        let Some(duration) = self.watch_lasts(program) else { return false };
        if self.waited >= duration {
            self.end_watch(program, now, Actor::Auto, events);
        }
        true
    }

    /// The watch begins, goes on after a pause, or lasts another time. Returns whether there is one.
    pub(super) fn go_on_watching(&mut self, program: &Program) -> bool {
        let (Some(window), Some(duration)) = (&self.sides.window, self.watch_lasts(program)) else {
            return false;
        };
        self.reason = say::watching(program, self.sides.is_candidate, window.bound, duration);
        self.phase = Phase::Progressing;
        true
    }

    /// Obeys a person who wants another side.
    pub(super) fn switch(
        &mut self,
        program: &Program,
        active: &str,
        now: Now,
        events: &mut Vec<Event>,
    ) -> Result<(), Refused> {
        if program.sides.is_none() {
            return Err(Refused("the rollout has no blue_green, so there is nothing to switch".into()));
        }
        if let Some(flaw) = self.flaw_of_side(program, active) {
            return Err(Refused(flaw));
        }
        let to_candidate = active != program.stable;
        if self.sides.is_candidate == to_candidate && !self.is_pinned(program) {
            self.end_bake(program, now, events);
            return Ok(());
        }
        self.flip_by_hand(program, to_candidate, now, events)
    }

    /// Somebody has chosen the side that answers already: no bake flips to the other one.
    fn end_bake(&mut self, program: &Program, now: Now, events: &mut Vec<Event>) {
        let bakes = !self.sides.is_candidate && self.position < program.steps.len();
        if bakes && matches!(self.phase, Phase::Progressing | Phase::Paused) {
            self.turn(program, false);
            self.sides.has_flipped = true;
            self.position = program.steps.len();
            self.begin_step(program, now);
            (self.phase, self.held) = (Phase::Steady, None);
            self.reason.clear();
            self.happen(program, now, Actor::User, Action::Change, say::bake_ended(program), events);
        }
    }

    /// Obeys a person who wants the candidate to have everything, or the watch to be over.
    pub(super) fn promote_side(
        &mut self,
        program: &Program,
        now: Now,
        events: &mut Vec<Event>,
    ) -> Result<(), Refused> {
        if program.candidate.is_none() {
            return Err(Refused("the rollout has no candidate that could be promoted".into()));
        }
        if self.sides.is_candidate && self.phase != Phase::Paused {
            let label = self.phase.label();
            return Err(Refused(format!(
                "the rollout is {label}; the candidate has all the traffic already"
            )));
        }
        self.flip_by_hand(program, true, now, events)
    }

    fn flip_by_hand(
        &mut self,
        program: &Program,
        to_candidate: bool,
        now: Now,
        events: &mut Vec<Event>,
    ) -> Result<(), Refused> {
        self.unless_pinned(program)?;
        if to_candidate {
            self.unless_taken_back()?;
        }
        if self.release_hold() == Some(Held::Judge) {
            self.next_attempt(program, now);
        }
        self.flip(program, to_candidate, now, Actor::User, events);
        Ok(())
    }

    /// What is wrong with the name of a side.
    pub(super) fn flaw_of_side(&self, program: &Program, active: &str) -> Option<String> {
        let is_side = active == program.stable || Some(active) == program.candidate.as_deref();
        (!is_side).then(|| say::no_side(program, active))
    }
}

/// Adds to the last event what was seen.
pub(super) fn attach(events: &mut [Event], finding: Finding) {
    if let Some(event) = events.last_mut() {
        event.evidence = Some(finding);
    }
}

#[cfg(test)]
mod tests;
