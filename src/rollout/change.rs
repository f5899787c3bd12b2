//! A command to one rollout, by a person or by a circuit breaker.

use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::command::{Command, Refused};
use super::event::{Actor, Event, Origin};
use super::record::Record;

/// A command to one rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The rollout; it was there a moment ago.
    pub rollout: String,
    /// The command.
    pub command: Command,
    /// Only if it is still at one of these revisions.
    pub if_match: Option<Vec<u64>>,
    /// Who gave it, and why.
    pub origin: Origin,
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotChanged {
    /// There is no such rollout any more.
    Unknown,
    /// It is not at the revision that was asked for, but at this one.
    OtherRevision(u64),
    /// The command does not fit the phase.
    Refused(Refused),
    /// Too many others change it at the same time.
    Busy,
}

impl Change {
    /// A command that applies at any revision, and says neither who gave it nor why.
    #[must_use]
    pub fn new(rollout: &str, command: Command) -> Self {
        Self { rollout: rollout.to_owned(), command, if_match: None, origin: Origin::default() }
    }

    /// Makes the change.
    ///
    /// # Errors
    /// It does not apply; the record is as it was.
    pub fn apply(&self, record: &mut Record, clock: Clock) -> Result<Vec<Event>, NotChanged> {
        let revision = record.run.revision;
        if self.if_match.as_ref().is_some_and(|wanted| !wanted.contains(&revision)) {
            return Err(NotChanged::OtherRevision(revision));
        }
        let mut events = record.command(self.command.clone(), clock).map_err(NotChanged::Refused)?;
        for event in events.iter_mut().filter(|event| event.actor == Actor::User) {
            event.origin.clone_from(&self.origin);
        }
        Ok(events)
    }
}
