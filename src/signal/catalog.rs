//! The signals there are, and all that is particular about each.
//!
//! Names of signals stand here and in the documentation, nowhere else. A new signal needs its row and something that
//! observes it.

use serde::{Deserialize, Serialize};

/// A signal's row.
#[derive(Debug, PartialEq, Eq)]
pub struct Signal {
    /// Its number in what VMs and Envoys share. Never used again for another signal.
    pub id: SignalId,
    /// Its name in configurations, events, metrics and the API.
    pub name: &'static str,
    /// What an observation is.
    pub kind: Kind,
    /// The requests that it is observed among.
    pub among: Among,
    /// When it is observed.
    pub settles: Settles,
    /// What a request counts as that has not settled at the deadline.
    pub overdue: Overdue,
    /// What a unit with the event did, in a sentence: "8 of 81 requests failed".
    pub phrase: &'static str,
}

/// A signal's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SignalId(pub u8);

/// What an observation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Yes or no.
    Event,
    /// A length of time. Compared as events: longer than a quantile of stable's.
    Duration,
    /// A value between 0 and 1. Compared by its mean.
    Mean,
}

/// The requests that a signal is observed among: its denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// Every request that was drawn.
    Every,
    /// Requests that the version has answered.
    Answered,
}

/// When a signal is observed: until then a request is pending, and anything may come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settles {
    /// When the response's headers come.
    AtHeaders,
    /// When the request ends. A duration may settle earlier, at the headers of a streamed answer.
    AtEnd,
}

/// What a request counts as that has not settled when its tick is closed, after the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// As one with the event.
    Event,
    /// As one with the event if no answer has begun, otherwise as one without.
    EventUnlessAnswered,
    /// As one without the event.
    NoEvent,
    /// It is left out.
    LeftOut,
}

/// The request failed.
pub const ERROR_RATE: Signal = Signal {
    id: SignalId(1),
    name: "error_rate",
    kind: Kind::Event,
    among: Among::Every,
    settles: Settles::AtEnd,
    overdue: Overdue::EventUnlessAnswered,
    phrase: "failed",
};

/// How long the answer took; of a streamed answer, until it began.
pub const LATENCY: Signal = Signal {
    id: SignalId(2),
    name: "latency",
    kind: Kind::Duration,
    among: Among::Every,
    settles: Settles::AtEnd,
    overdue: Overdue::Event,
    phrase: "took longer",
};

/// The client left before the answer began.
pub const UNANSWERED: Signal = Signal {
    id: SignalId(3),
    name: "unanswered",
    kind: Kind::Event,
    among: Among::Every,
    settles: Settles::AtEnd,
    overdue: Overdue::NoEvent, // it has failed by then
    phrase: "were given up",
};

/// The version answered that the client is wrong: 4xx, or a gRPC status that is no error.
pub const CLIENT_ERROR_RATE: Signal = Signal {
    id: SignalId(4),
    name: "client_error_rate",
    kind: Kind::Event,
    among: Among::Answered,
    settles: Settles::AtEnd,
    overdue: Overdue::LeftOut,
    phrase: "were answered with a client error",
};

/// A yes/no signal of test builds: the answer carries the header `x-test-event`.
#[cfg(any(test, feature = "test-build"))]
pub const TEST_EVENT: Signal = Signal {
    id: SignalId(255),
    name: "test.event",
    kind: Kind::Event,
    among: Among::Answered,
    settles: Settles::AtHeaders,
    overdue: Overdue::LeftOut,
    phrase: "carried x-test-event",
};

/// A bounded mean of test builds.
#[cfg(any(test, feature = "test-build"))]
pub const TEST_MEAN: Signal = Signal {
    id: SignalId(254),
    name: "test.mean",
    kind: Kind::Mean,
    among: Among::Answered,
    settles: Settles::AtEnd,
    overdue: Overdue::LeftOut,
    phrase: "had a value",
};

/// All signals that can be configured.
pub const ALL: &[&Signal] = &[&ERROR_RATE, &LATENCY, &UNANSWERED, &CLIENT_ERROR_RATE];

/// The metrics that are compared unless the configuration names some.
pub const DEFAULT: &[&Signal] = ALL;

/// Signals of test builds.
#[cfg(any(test, feature = "test-build"))]
const OF_TESTS: &[&Signal] = &[&TEST_EVENT, &TEST_MEAN];
#[cfg(not(any(test, feature = "test-build")))]
const OF_TESTS: &[&Signal] = &[];

/// The names of all signals that can be configured.
#[must_use]
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|signal| signal.name).collect()
}

/// The signal of that name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Signal> {
    ALL.iter().chain(OF_TESTS).find(|signal| signal.name == name).copied()
}

/// The signal with that number.
#[must_use]
pub fn by_id(id: SignalId) -> Option<&'static Signal> {
    ALL.iter().chain(OF_TESTS).find(|signal| signal.id == id).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_unique() {
        for signal in ALL.iter().chain(OF_TESTS) {
            assert_eq!(by_name(signal.name), Some(*signal));
            assert_eq!(by_id(signal.id), Some(*signal));
        }
    }
}
