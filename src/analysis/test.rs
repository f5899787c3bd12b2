//! One test: a signal, how it is looked at, and what it is compared with.

use serde::{Deserialize, Serialize};

use super::edges::{Edges, buckets_of, edges, tolerated_buckets};
pub use super::kernel::mean::Direction;
use crate::model::Side;
use crate::signal::catalog::{self, Among, BoundOn, SignalId};
use crate::signal::histogram::Histogram;

/// One test of one signal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// The signal.
    pub signal: SignalId,
    /// What is compared.
    pub measure: Measure,
    /// With what.
    pub against: Against,
}

/// How a signal is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Measure {
    /// How often an event happens.
    Rate,
    /// Durations at this quantile, between 0 and 1: a test asks how often they are beyond stable's.
    Quantile(f64),
    /// The mean of values, on a logarithmic scale if so.
    Mean {
        /// Whether the scale is logarithmic: the mean is then a geometric one, and what is tolerated a ratio of two.
        logarithmic: bool,
    },
}

/// What the candidate is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Against {
    /// Stable's value at the same time.
    Stable {
        /// How many times stable's value is tolerated: at least 1. Of durations it is a ratio of times.
        tolerate: f64,
        /// Of durations: so many milliseconds more than stable's are tolerated as well.
        or_milliseconds: f64,
        /// Which difference counts against the candidate.
        direction: Direction,
    },
    /// A fixed rate.
    Bound {
        /// Between 0 and 1.
        max: f64,
    },
    /// What a copy of stable does with the same requests. What is counted are requests with which only one of the two does
    /// it: the candidate is not among the copies if it is the candidate more often.
    Copy {
        /// How many times as often is tolerated: at least 1.
        tolerate: f64,
    },
}

impl Test {
    /// Whether it is about a fixed rate, so that stable's requests play no part.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        matches!(self.against, Against::Bound { .. } | Against::Copy { .. })
    }

    /// Whether it is about pairs of answers, which come when the candidate serves no request.
    #[must_use]
    pub fn is_of_pairs(&self) -> bool {
        catalog::by_id(self.signal).is_some_and(|signal| signal.among == Among::Pairs)
    }

    /// Whether less of the candidate's counts against it.
    #[must_use]
    pub fn is_of_less(&self) -> bool {
        matches!(self.against, Against::Stable { direction: Direction::Down, .. })
    }

    /// The version that has more of it if the candidate is worse.
    #[must_use]
    pub fn has_more(&self) -> Side {
        if self.is_of_less() { Side::Stable } else { Side::Candidate }
    }

    /// Whether it is about what happens apart from requests.
    #[must_use]
    pub fn is_of_events(&self) -> bool {
        catalog::is_of_events(self.signal)
    }

    /// Whether of each user the first observation of its signal counts, and not the first one with an event.
    #[must_use]
    pub fn is_of_first_observations(&self) -> bool {
        let is_mean = matches!(self.measure, Measure::Mean { .. });
        is_mean || self.is_bound() && self.bound_on() == BoundOn::Observations
    }

    /// What a bound on its signal limits a share of.
    #[must_use]
    pub fn bound_on(&self) -> BoundOn {
        catalog::by_id(self.signal).map_or(BoundOn::Observations, |signal| signal.bound)
    }

    /// The edges at this quantile of `stable`'s durations, as far apart as is tolerated; `deadline` in nanoseconds. `None`: it is not
    /// compared with stable.
    #[must_use]
    pub fn edges_at(&self, quantile: f64, stable: &Histogram, deadline: u64) -> Option<Edges> {
        let Against::Stable { tolerate, or_milliseconds, .. } = self.against else { return None };
        let edge = stable.edge(quantile);
        let tolerated = tolerated_buckets(tolerate).max(buckets_of(edge, or_milliseconds));
        Some(edges(edge, tolerated, deadline))
    }

    /// The quantile of stable's durations that it looks at.
    #[must_use]
    pub fn quantile(&self) -> Option<f64> {
        match self.measure {
            Measure::Quantile(quantile) => Some(quantile),
            Measure::Rate | Measure::Mean { .. } => None,
        }
    }
}
