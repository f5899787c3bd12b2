//! One member's own judge while the store is away.
//!
//! It goes on from the fleet's last evidence with its own counts, and needs as many times more evidence as the fleet has
//! members: the average of what all of them find on their own is an e-value, so the chance that *any* of them takes a
//! healthy candidate back stays within `false_alarm`. What it has found is kept over all outages of an attempt, whichever VM
//! leads the Envoy, for to begin anew would be another chance.

use super::rules::{self, Rule};
use crate::rollout::clock::Clock;
use crate::rollout::command::Command;
use crate::rollout::event::{Action, Event};
use crate::rollout::record::Record;
use crate::telemetry::ledger::Entry;

/// The judge of one rollout.
#[derive(Clone, Debug, Default)]
pub struct Alone {
    /// The fork of earlier outages, or of the VM that led this Envoy before.
    kept: Option<Record>,
    /// The rollout as it would be with this member's counts alone. It is paused: nothing moves up.
    fork: Option<Record>,
}

impl Alone {
    /// The store is there: the fleet judges again.
    pub fn end(&mut self) {
        if let Some(fork) = self.fork.take() {
            self.kept = Some(fork);
        }
    }

    /// What is judged in this outage, for the VM that may lead this Envoy next.
    #[must_use]
    pub fn fork(&self) -> Option<&Record> {
        self.fork.as_ref()
    }

    /// Goes on from what the VM has found that led this Envoy before.
    pub fn go_on_from(&mut self, fork: Record) {
        if self.fork.is_none() && self.kept.is_none() {
            self.kept = Some(fork);
        }
    }

    /// Judges what this member has counted. Returns the record and what happened when the candidate is taken back.
    pub fn judge(
        &mut self,
        record: &Record,
        members: usize,
        (entries, known_before): (&[&Entry], u64),
        clock: Clock,
    ) -> Option<(Record, Event)> {
        if self.fork.as_ref().is_some_and(|fork| fork.run.attempt != record.run.attempt) {
            self.fork = None;
        }
        let fork = match &mut self.fork {
            Some(fork) => fork,
            None => self.fork.insert(begin(record, members, self.kept.take(), clock)?),
        };
        let events = fork.advance_blocks(entries, known_before, clock.length, clock);
        if let Some(moved) = events.last().filter(|_| rules::is_out(Rule::NothingMovesUpAlone)) {
            return Some((fork.clone(), moved.clone()));
        }
        if !fork.is_taken_back() {
            return None;
        }
        let event = events.into_iter().find(|event| event.action == Action::Rollback)?;
        let fork = self.fork.take()?;
        let mut taken_back = record.clone();
        taken_back.run = fork.run;
        // The fleet has not judged what was judged here, and will.
        taken_back.run.judge.clone_from(&record.run.judge);
        Some((taken_back, event))
    }
}

/// The fork of a record that is judged; `None`: it is not.
fn begin(record: &Record, members: usize, kept: Option<Record>, clock: Clock) -> Option<Record> {
    let mut fork = record.clone();
    let analysis = fork.program.analysis.as_mut()?;
    #[allow(clippy::cast_precision_loss)] // hundreds
    let members = members.max(1) as f64;
    if !rules::is_out(Rule::TimesMembers) {
        analysis.rules.threshold *= members;
    }
    if fork.is_taken_back() {
        return None;
    }
    if !rules::is_out(Rule::NothingMovesUpAlone) {
        let _ = fork.command(Command::Pause, clock); // refused where nothing moves
    }
    if let Some(kept) = kept.filter(|kept| kept.run.attempt == record.run.attempt) {
        fork.run.judge = kept.run.judge;
        // The fleet may not have come to judge what was judged here: it is still reported.
        fork.closed_through = fork.closed_through.max(kept.closed_through);
    }
    Some(fork)
}
