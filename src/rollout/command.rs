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

/// What a run gives its candidate.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The version that serves without a candidate.
    pub stable: &'a str,
    /// The shares in force.
    pub in_force: &'a Shares,
    /// How much a model does of people's work.
    pub degree: Degree,
}

impl Command {
    /// Whether the candidate gets no more by it than it has: such a command is obeyed while a fleet's store is away.
    #[must_use]
    pub fn gives_no_more(&self, than: Given<'_>) -> bool {
        match self {
            Self::Abort | Self::Pause | Self::Freeze { .. } | Self::Trip(_) => true,
            Self::Switch { active } => active == than.stable,
            Self::Weight(shares) => {
                let has = |version: &String| than.in_force.get(version);
                shares.iter().all(|(version, share)| has(version).is_some_and(|has| share <= has))
            }
            Self::Degree(degree) => *degree <= than.degree,
            Self::Promote { .. } | Self::Resume | Self::Retry => false,
        }
    }
}

/// Why a command is refused: it does not fit the phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

/// A command as people give it: the API, the command line, the tests' generators and the tests of the documents
/// read this table.
#[derive(Clone, Copy, Debug)]
pub struct Verb {
    /// The last part of its path, and its name on the command line.
    pub name: &'static str,
    /// What it does, in one sentence without its full stop.
    pub summary: &'static str,
    /// What the command line's long help has besides.
    pub more: Option<&'static str>,
    /// What it takes.
    pub takes: Takes,
    /// Whether the command line can send it to all rollouts that are progressing or paused.
    pub for_all: bool,
}

/// The fields of a command, and the command that they make.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// None.
    Nothing(fn() -> Command),
    /// `full`, true or false.
    Full(fn(bool) -> Command),
    /// Shares of versions in percent.
    Shares(fn(Shares) -> Command),
    /// `active`: the version that is to answer.
    Active(fn(String) -> Command),
    /// `degree`: the degree of automation.
    Degree(fn(Degree) -> Command),
    /// `window`: 5m, 1h or 1d.
    Window(fn(usize) -> Command),
}

impl Verb {
    const fn new(name: &'static str, summary: &'static str, takes: Takes) -> Self {
        Self { name, summary, more: None, takes, for_all: false }
    }
}

/// All of them.
pub static VERBS: [Verb; 9] = [
    Verb::new(
        "promote",
        "End the current step's wait; on blue/green, flip to the candidate at once, without the bake",
        Takes::Full(|full| Command::Promote { full }),
    ),
    Verb {
        for_all: true,
        ..Verb::new(
            "abort",
            "Roll the candidate back: its share goes to stable",
            Takes::Nothing(|| Command::Abort),
        )
    },
    Verb::new(
        "pause",
        "Pause at the current step; automatic rollback stays armed",
        Takes::Nothing(|| Command::Pause),
    ),
    Verb::new("resume", "Continue after a pause", Takes::Nothing(|| Command::Resume)),
    Verb::new(
        "retry",
        "Start another attempt after an abort or a failure",
        Takes::Nothing(|| Command::Retry),
    ),
    Verb {
        more: Some(
            "A rollout with steps is paused; `resume` keeps the shares if a step waits there, \
             `promote` takes the next step",
        ),
        ..Verb::new(
            "weight",
            "Set versions' shares of the traffic; stable gets the rest",
            Takes::Shares(Command::Weight),
        )
    },
    Verb::new(
        "switch",
        "Flip a blue/green rollout to a version, or back",
        Takes::Active(|active| Command::Switch { active }),
    ),
    Verb::new(
        "degree",
        "Set how much a model does of people's work: human, shadow, assist, partial or full",
        Takes::Degree(Command::Degree),
    ),
    Verb::new(
        "freeze",
        "Take what was seen of stable so far as the reference of its drift",
        Takes::Window(|window| Command::Freeze { window }),
    ),
];

/// The command of that name.
#[must_use]
pub fn verb(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::drift::rule::WINDOWS;
    use crate::model::{Share, shares};

    /// A command of any kind, about the versions blue, green and red.
    pub(crate) fn any(rng: &mut fastrand::Rng) -> Command {
        match VERBS[rng.usize(..VERBS.len())].takes {
            Takes::Nothing(make) => make(),
            Takes::Full(make) => make(rng.bool()),
            Takes::Active(make) => make((*rng.choice(&["green", "blue", "red"]).unwrap()).into()),
            Takes::Degree(make) => make(*rng.choice(&Degree::ALL).unwrap()),
            Takes::Window(make) => make(rng.usize(..WINDOWS.len())),
            Takes::Shares(make) => {
                let (green, red) = (rng.u16(..100) * 100, rng.u16(..40) * 100);
                let both = [("green", green), ("red", red.min(10_000 - green))];
                let some = both.into_iter().filter(|_| rng.u8(..3) > 0);
                make(shares(some.map(|(name, share)| (name.to_owned(), Share::new(share)))))
            }
        }
    }

    #[test]
    fn a_command_that_gives_the_candidate_no_more_is_obeyed_without_the_store() {
        let of = |share: u16| shares([("green".to_owned(), Share::new(share))]);
        let in_force = of(1_000);
        let given = Given { stable: "blue", in_force: &in_force, degree: Degree::Assist };
        let switch = |active: &str| Command::Switch { active: active.into() };
        for command in [
            Command::Abort,
            Command::Pause,
            Command::Freeze { window: 0 },
            switch("blue"),
            Command::Weight(of(1_000)),
            Command::Weight(of(0)),
            Command::Degree(Degree::Assist),
            Command::Degree(Degree::Human),
        ] {
            assert!(command.gives_no_more(given), "{command:?}");
        }
        for command in [
            Command::Promote { full: false },
            Command::Resume,
            Command::Retry,
            switch("green"),
            Command::Weight(of(1_001)),
            Command::Weight(shares([("red".to_owned(), Share::new(1))])),
            Command::Degree(Degree::Partial),
        ] {
            assert!(!command.gives_no_more(given), "{command:?}");
        }
    }
}
