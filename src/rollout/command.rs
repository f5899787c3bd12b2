//! What a person, or a circuit breaker, may ask for.

use serde::{Deserialize, Serialize};

use crate::model::{Degree, Shares};
use crate::telemetry::breaker::Trip;

/// A command to a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Continue after a pause.
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
    /// How much a model does of people's work.
    Degree(Degree),
    /// Take what was seen of stable as the reference of its drift.
    Freeze {
        /// The place of the window that has it, in the drift's `WINDOWS`.
        window: usize,
    },
    /// Not a person's: the circuit breaker of a worker has tripped.
    Trip(Trip),
}

/// Why a command is refused: it does not fit the phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

/// A command as people give it: the API, the command line, the tests' generators and the test of the API's document
/// read this table.
#[derive(Debug)]
pub struct Verb {
    /// The last part of its path, and its name on the command line.
    pub name: &'static str,
    /// What it does, in one sentence without its full stop.
    pub summary: &'static str,
    /// What it takes.
    pub takes: Takes,
}

/// The fields of a command.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// None.
    Nothing(fn() -> Command),
    /// `full`, true or false.
    Full,
    /// Shares of versions in percent.
    Shares,
    /// `active`: the version that is to answer.
    Active,
    /// `degree`: the degree of automation.
    Degree,
    /// `window`: 5m, 1h or 1d.
    Window,
}

/// End this step's waiting.
pub const PROMOTE: Verb = Verb {
    name: "promote",
    summary: "End the current step's wait; on blue/green, flip to the candidate at once, without the bake",
    takes: Takes::Full,
};
/// The candidate's share back to stable.
pub const ABORT: Verb = Verb {
    name: "abort",
    summary: "Roll the candidate back: its share goes to stable",
    takes: Takes::Nothing(|| Command::Abort),
};
/// Stop moving.
pub const PAUSE: Verb = Verb {
    name: "pause",
    summary: "Pause at the current step; automatic rollback stays armed",
    takes: Takes::Nothing(|| Command::Pause),
};
/// Continue after a pause.
pub const RESUME: Verb =
    Verb { name: "resume", summary: "Continue after a pause", takes: Takes::Nothing(|| Command::Resume) };
/// Begin anew after an abort or a failure.
pub const RETRY: Verb = Verb {
    name: "retry",
    summary: "Start another attempt after an abort or a failure",
    takes: Takes::Nothing(|| Command::Retry),
};
/// Set shares.
pub const WEIGHT: Verb = Verb {
    name: "weight",
    summary: "Set versions' shares of the traffic; stable gets the rest",
    takes: Takes::Shares,
};
/// Blue/green: all traffic to a side.
pub const SWITCH: Verb =
    Verb { name: "switch", summary: "Flip a blue/green rollout to a version, or back", takes: Takes::Active };

/// Set the degree of automation.
pub const DEGREE: Verb = Verb {
    name: "degree",
    summary: "Set how much a model does of people's work: human, shadow, assist, partial or full",
    takes: Takes::Degree,
};

/// Take the reference of drift.
pub const FREEZE: Verb = Verb {
    name: "freeze",
    summary: "Take what was seen of stable so far as the reference of its drift",
    takes: Takes::Window,
};

/// All of them.
pub const VERBS: [&Verb; 9] = [&PROMOTE, &ABORT, &PAUSE, &RESUME, &RETRY, &WEIGHT, &SWITCH, &DEGREE, &FREEZE];

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::drift::rule::WINDOWS;
    use crate::model::{Share, shares};

    /// A command of any kind, about the versions blue, green and red.
    pub(crate) fn any(rng: &mut fastrand::Rng) -> Command {
        match VERBS[rng.usize(..VERBS.len())].takes {
            Takes::Nothing(make) => make(),
            Takes::Full => Command::Promote { full: rng.bool() },
            Takes::Active => {
                Command::Switch { active: (*rng.choice(&["green", "blue", "red"]).unwrap()).into() }
            }
            Takes::Degree => Command::Degree(*rng.choice(&Degree::ALL).unwrap()),
            Takes::Window => Command::Freeze { window: rng.usize(..WINDOWS.len()) },
            Takes::Shares => {
                let (green, red) = (rng.u16(..100) * 100, rng.u16(..40) * 100);
                let both = [("green", green), ("red", red.min(10_000 - green))];
                let some = both.into_iter().filter(|_| rng.u8(..3) > 0);
                Command::Weight(shares(some.map(|(name, share)| (name.to_owned(), Share::new(share)))))
            }
        }
    }
}
