//! What a person, or a circuit breaker, may ask for.

use crate::model::Shares;
use crate::telemetry::breaker::Trip;

/// A command to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// End this step's waiting; `full`: give the candidate everything at once.
    Promote {
        /// All remaining steps.
        full: bool,
    },
    /// The candidate's share back to stable.
    Abort,
    /// Stop moving.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Begin anew after an abort or a failure.
    Retry,
    /// These shares; versions that are not named keep theirs, stable gets the rest.
    Weight(Shares),
    /// Blue/green: all traffic to this side.
    Switch {
        /// The version.
        active: String,
    },
    /// Not a person's: the circuit breaker of a worker has tripped.
    Trip(Trip),
}

/// Why a command is not obeyed: it does not fit the phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);
