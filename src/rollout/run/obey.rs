//! Commands: what a person, or a circuit breaker, asks for.

use super::turn::Turn;
use super::{HeldBy, Phase, say};
use crate::rollout::command::{Command, Refused};
use crate::rollout::event::{Action, Actor};

impl Turn<'_> {
    /// Obeys a command.
    pub(super) fn obey(&mut self, command: Command) -> Result<(), Refused> {
        match command {
            Command::Abort => self.abort(),
            Command::Promote { full } => return self.promote(full),
            Command::Pause => return self.pause(),
            Command::Resume => return self.resume(),
            Command::Retry => return self.retry(),
            Command::Weight(weights) => return self.weigh(weights),
            Command::Switch { active } => return self.switch(&active),
            Command::Degree(degree) => return self.set_degree(degree),
            Command::Freeze { window } => return self.freeze(window),
            Command::Trip(trip) => return self.trip(&trip),
        }
        Ok(())
    }

    fn abort(&mut self) {
        let is_pinned_elsewhere = self.is_pinned() && !self.program.is_pinned_to_stable();
        if self.run.phase != Phase::Aborted || is_pinned_elsewhere {
            self.take_back(Phase::Aborted, "aborted by command".into());
            self.happen(Actor::User, Action::Abort, say::taken_back(self.program, "aborted"));
        }
    }

    fn promote(&mut self, full: bool) -> Result<(), Refused> {
        if full && self.program.automation.is_some() {
            return Err(Refused(
                "a rollout with `automation` is not promoted in full; degree sets how much the model does"
                    .into(),
            ));
        }
        self.unless_pinned()?;
        if self.program.blue_green {
            return self.promote_side();
        }
        let moves = matches!(self.run.phase, Phase::Progressing | Phase::Paused);
        self.unless(!moves, "; only a progressing or paused rollout can be promoted")?;
        self.release();
        self.run.position = if full { self.program.steps.len() } else { self.next() };
        self.advance(Actor::User);
        Ok(())
    }

    fn pause(&mut self) -> Result<(), Refused> {
        match self.run.phase {
            Phase::Paused => Ok(()),
            phase => {
                self.unless(phase != Phase::Progressing, "; only a progressing rollout can be paused")?;
                let reason = "paused by command";
                self.hold(HeldBy::Person, reason.into());
                self.happen(Actor::User, Action::Pause, reason.into());
                Ok(())
            }
        }
    }

    fn resume(&mut self) -> Result<(), Refused> {
        self.unless(self.run.phase != Phase::Paused, "; only a paused rollout can be resumed")?;
        self.unless(self.run.held.is_none(), " at a step that waits for a promotion; promote it")?;
        if let Some(why) = self.flaw_of_resuming() {
            self.unless(true, &why)?;
        }
        let mut message = "resumed by command".to_owned();
        if self.release() {
            message = format!("{message}, as attempt {}", self.run.attempt);
            self.begin_step();
        }
        self.run.resumed_at = self.run.waited;
        self.happen(Actor::User, Action::Resume, message);
        if self.go_on_watching() {
            return Ok(());
        }
        match self.program.steps.get(self.run.position) {
            _ if self.run.active.awaits_ready => self.wait_for_ready(),
            Some(step) if step.waits() => self.wait(),
            _ => self.advance(Actor::User),
        }
        Ok(())
    }

    fn retry(&mut self) -> Result<(), Refused> {
        let is_rolled_back = self.run.phase.is_rolled_back();
        self.unless(!is_rolled_back, "; only an aborted or failed rollout can be retried")?;
        self.next_attempt();
        self.begin_attempt(Actor::User, Action::Retry);
        Ok(())
    }

    /// Refuses what a pin does not let happen.
    pub(super) fn unless_pinned(&self) -> Result<(), Refused> {
        self.unless(self.is_pinned(), " and pinned; remove the pin in the configuration")
    }

    /// Refuses traffic to a candidate that has been rolled back.
    pub(super) fn unless_taken_back(&self) -> Result<(), Refused> {
        let is_rolled_back = self.run.phase.is_rolled_back();
        self.unless(is_rolled_back, "; the candidate gets no traffic until a retry")
    }

    /// Refuses a command when `applies`, with the phase and `why`.
    fn unless(&self, applies: bool, why: &str) -> Result<(), Refused> {
        let label = self.run.phase.label();
        if applies { Err(Refused(format!("the rollout is {label}{why}"))) } else { Ok(()) }
    }
}
