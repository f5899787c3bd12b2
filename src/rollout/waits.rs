//! What a step waits for.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ready::Missing;
use super::words::{Milliseconds, percent};
use crate::analysis::judge::Unheard;
use crate::analysis::kernel::agreement::Agreement;
use crate::model::Unit;

/// What the present step still waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Waits {
    /// A person who promotes.
    Promotion,
    /// The candidate is ready: what is missing.
    Ready(Missing),
    /// Envoy's routes send requests to the versions that they were drawn for.
    Routes,
    /// Its time.
    Time,
    /// More of the candidate's requests, or users.
    Units(Unit),
    /// More pairs of answers.
    Pairs {
        /// So many were compared.
        compared: u64,
        /// So many are needed.
        of: u64,
    },
    /// The shadow agrees with stable as often as it must.
    Agreement {
        /// So many pairs were compared.
        compared: u64,
        /// How many of them agree.
        agreement: Agreement,
        /// What its lower end must reach.
        of: f64,
    },
    /// More decisions of people.
    Decisions {
        /// So many tasks were decided.
        decided: u64,
        /// So many are needed.
        of: u64,
    },
    /// The model agrees with people as often as it must.
    People {
        /// So many tasks were decided.
        decided: u64,
        /// How many of them agree.
        agreement: Agreement,
        /// What its lower end must reach.
        of: f64,
    },
    /// Proof that the model may answer enough alone.
    Coverage {
        /// The part of tasks for which that is proven.
        proven: f64,
        /// What it must be.
        of: f64,
    },
    /// The candidate gets the share that its weight is.
    Split,
    /// The versions get the same requests; they were found not to.
    Inputs,
    /// Nothing looks like a regression.
    Suspicion,
    /// The candidate's requests fail no more often than stable's, whatever that is worth.
    Failures,
    /// The candidate refuses no more of its requests than stable, where that is judged.
    Refusals,
    /// Proof that the candidate is within the margin.
    Proof,
    /// An answer of the candidate, or an error.
    Answer,
    /// A good answer of the candidate: so far there are only errors, and refusals where those are judged.
    GoodAnswer,
    /// What users do within so many milliseconds.
    Feedback(u64),
    /// A metric that could not be judged yet: what it lacks.
    Metric(Unheard),
    /// The candidate has warmed up: before, it is not judged.
    WarmUp {
        /// Its requests so far.
        requests: u64,
        /// The requests that are not judged.
        of: u64,
    },
    /// What users have done in this attempt can be read again.
    Users,
    /// The candidate's answers take no longer than stable's, as far as that is judged, whatever it is worth.
    Slowness,
}

impl Waits {
    /// Whether something speaks against the candidate, or nothing could.
    #[must_use]
    pub fn is_against_candidate(&self) -> bool {
        matches!(
            self,
            Self::Suspicion
                | Self::Failures
                | Self::Refusals
                | Self::Slowness
                | Self::GoodAnswer
                | Self::Users
        )
    }
}

/// The sentence that people read.
impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Promotion => "the step waits for a promotion",
            Self::Ready(missing) => {
                return write!(f, "waiting until the candidate is ready: {missing}");
            }
            Self::Routes => {
                "the step waits: another cluster serves a version's requests, or a route answers them; Envoy's routes ignore the filter's choice"
            }
            Self::Time => "the step waits for its duration to pass",
            Self::Units(Unit::Requests) => "the step waits for more of the candidate's requests",
            Self::Units(Unit::Users) => "the step waits for more of the candidate's users",
            Self::Pairs { compared, of } => {
                return write!(f, "the step waits for compared answers of the shadow: {compared} of {of}");
            }
            Self::Agreement { compared, agreement, of } => {
                let of = percent(*of);
                return write!(
                    f,
                    "the step waits for proof that the shadow agrees in {of} % of requests: {agreement} of {compared}",
                );
            }
            Self::Decisions { decided, of } => {
                return write!(f, "the step waits for decisions of people: {decided} of {of}");
            }
            Self::People { decided, agreement, of } => {
                let of = percent(*of);
                return write!(
                    f,
                    "the step waits for proof that the model agrees with people in {of} % of tasks: {agreement} of {decided}",
                );
            }
            Self::Coverage { proven, of } => {
                let (proven, of) = (proven * 100.0, percent(*of));
                return write!(
                    f,
                    "the step waits until the model may answer {of} % of the tasks alone: {proven:.1} % so far",
                );
            }
            Self::Split => "the step waits: the candidate is getting a different share than its weight",
            Self::Inputs => {
                "the step waits: the versions receive different requests and cannot be compared"
            }
            Self::Suspicion => "the step waits: there is evidence against the candidate",
            Self::Failures => "the step waits: more of the candidate's requests fail than of stable's",
            Self::Refusals => {
                "the step waits: more of the candidate's requests are refused or redirected than of stable's"
            }
            Self::Slowness => "the step waits: more of the candidate's answers are slow than of stable's",
            Self::Proof => "the step waits for proof that the candidate is no worse than allowed",
            Self::Answer => "the step waits for an answer of the candidate",
            Self::GoodAnswer => "the step waits for a good answer of the candidate: all its requests failed or were refused",
            Self::Feedback(within) => {
                return write!(f, "the step waits {} for users' feedback", Milliseconds(*within));
            }
            Self::WarmUp { requests, of } if requests < of => {
                return write!(f, "the step waits until the candidate has warmed up: {requests} of {of} requests");
            }
            Self::WarmUp { .. } => "the step waits until the candidate has warmed up",
            Self::Metric(unheard) => {
                return write!(f, "the step waits until every metric can be judged: {unheard}");
            }
            Self::Users => {
                "the step waits: the users of this attempt cannot be read any more and are not judged; abort and retry"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_said_in_words() {
        let unheard = Unheard { metric: "latency".into(), durations: Some((3, 200)) };
        let agreement = Agreement { value: 0.5, low: 0.4, high: 0.6 };
        for (waits, sentence) in [
            (Waits::Promotion, "the step waits for a promotion"),
            (Waits::Time, "the step waits for its duration to pass"),
            (Waits::Units(Unit::Requests), "the step waits for more of the candidate's requests"),
            (Waits::Units(Unit::Users), "the step waits for more of the candidate's users"),
            (
                Waits::Pairs { compared: 3, of: 9 },
                "the step waits for compared answers of the shadow: 3 of 9",
            ),
            (
                Waits::Agreement { compared: 30, agreement, of: 0.57 },
                "the step waits for proof that the shadow agrees in 57 % of requests: 50.0 % [40.0, 60.0] of 30",
            ),
            (Waits::Split, "the step waits: the candidate is getting a different share than its weight"),
            (Waits::Inputs, "the step waits: the versions receive different requests and cannot be compared"),
            (Waits::Suspicion, "the step waits: there is evidence against the candidate"),
            (Waits::Failures, "the step waits: more of the candidate's requests fail than of stable's"),
            (
                Waits::Refusals,
                "the step waits: more of the candidate's requests are refused or redirected than of stable's",
            ),
            (Waits::Slowness, "the step waits: more of the candidate's answers are slow than of stable's"),
            (Waits::Proof, "the step waits for proof that the candidate is no worse than allowed"),
            (Waits::Answer, "the step waits for an answer of the candidate"),
            (
                Waits::GoodAnswer,
                "the step waits for a good answer of the candidate: all its requests failed or were refused",
            ),
            (
                Waits::WarmUp { requests: 3, of: 50 },
                "the step waits until the candidate has warmed up: 3 of 50 requests",
            ),
            (Waits::WarmUp { requests: 50, of: 50 }, "the step waits until the candidate has warmed up"),
            (Waits::Feedback(1_800_000), "the step waits 30 min for users' feedback"),
            (
                Waits::Users,
                "the step waits: the users of this attempt cannot be read any more and are not judged; abort and retry",
            ),
            (
                Waits::Metric(unheard),
                "the step waits until every metric can be judged: latency: 3 of 200 stable requests",
            ),
        ] {
            assert_eq!(waits.to_string(), sentence);
        }
    }
}
