//! The beginning of a candidate: counted, and not judged.
//!
//! A process that has just started answers its first requests slowly, and so does one that had nothing to do for long.
//! Whether a tick is judged depends on earlier ones alone, so that nothing it counts can choose it.

use serde::{Deserialize, Serialize};

use super::test::Test;
use super::tick::Tick;
use crate::config::release;
use crate::config::units::{Count, Duration};

/// The candidate's first requests that are not judged by latency, unless the configuration says how many.
const REQUESTS: u64 = 50;
/// Ticks without a request after which a candidate is cold again.
const IDLE: u64 = 300;

/// How long a candidate is not judged, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmUp {
    /// Its requests.
    pub requests: u64,
    /// Ticks from the first of them on.
    pub ticks: u64,
    /// Whether nothing is judged, and not durations alone.
    pub is_of_all: bool,
}

impl WarmUp {
    /// Compiles a valid configuration.
    #[must_use]
    pub fn new(config: Option<&release::WarmUp>) -> Self {
        let Some(config) = config else { return Self { requests: REQUESTS, ticks: 0, is_of_all: false } };
        let milliseconds = config.duration.map_or(0, Duration::as_millis);
        Self {
            requests: config.requests.map_or(0, Count::get),
            ticks: milliseconds.div_ceil(1_000),
            is_of_all: true,
        }
    }

    /// Whether a test does not judge a cold candidate.
    #[must_use]
    pub fn spares(&self, test: &Test) -> bool {
        (self.is_of_all || test.quantile().is_some()) && !test.is_of_pairs()
    }
}

/// How warm the candidate is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Warmth {
    /// The tick of its first request, and of its newest.
    first: u64,
    newest: u64,
    /// Its requests since the first.
    requests: u64,
}

impl Warmth {
    /// Takes over the next tick. Returns whether the candidate was cold in it.
    pub fn meet(&mut self, tick: &Tick, warm_up: &WarmUp) -> bool {
        let requests = tick.counts.candidate.requests;
        if requests > 0 {
            if self.requests == 0 || tick.number.saturating_sub(self.newest) > IDLE {
                *self = Self { first: tick.number, newest: tick.number, requests: 0 };
            }
            self.newest = tick.number;
        }
        let is_cold = self.is_cold(warm_up, tick.number);
        self.requests = self.requests.saturating_add(requests);
        is_cold
    }

    /// Of the requests that are not judged, those that have come and all, while the candidate is cold.
    #[must_use]
    pub fn lacks(&self, warm_up: &WarmUp) -> Option<(u64, u64)> {
        let requests = self.requests.min(warm_up.requests);
        self.is_cold(warm_up, self.newest).then_some((requests, warm_up.requests))
    }

    fn is_cold(&self, warm_up: &WarmUp, tick: u64) -> bool {
        self.requests < warm_up.requests || tick < self.first.saturating_add(warm_up.ticks)
    }

    /// The next tick has a smaller number than those so far.
    pub fn renumber(&mut self, next_tick: u64) {
        let back = self.newest.saturating_sub(next_tick);
        self.first = self.first.saturating_sub(back);
        self.newest = self.newest.saturating_sub(back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pair;
    use crate::signal::tally::Counts;

    fn tick(number: u64, requests: u64) -> Tick {
        let counts = Pair::new(Counts { requests, ..Counts::default() }, Counts::default());
        Tick { number, counts, ..Tick::default() }
    }

    fn cold(warm_up: &WarmUp, ticks: &[(u64, u64)]) -> Vec<bool> {
        let mut warmth = Warmth::default();
        ticks.iter().map(|(number, requests)| warmth.meet(&tick(*number, *requests), warm_up)).collect()
    }

    #[test]
    fn a_candidate_is_cold_until_its_requests_and_its_time_have_passed() {
        let requests = WarmUp { requests: 20, ticks: 0, is_of_all: true };
        let ticks = [(1, 0), (2, 10), (3, 10), (4, 10), (5, 0), (6, 1)];
        assert_eq!(cold(&requests, &ticks), [true, true, true, false, false, false]);
        let both = WarmUp { requests: 20, ticks: 5, is_of_all: true };
        assert_eq!(cold(&both, &[(2, 30), (6, 5), (7, 5)]), [true, true, false]);
        let off = WarmUp { requests: 0, ticks: 0, is_of_all: true };
        assert_eq!(cold(&off, &[(0, 1), (1, 1)]), [false, false]);
    }

    #[test]
    fn after_five_idle_minutes_it_is_cold_again() {
        let warm_up = WarmUp { requests: 20, ticks: 0, is_of_all: false };
        assert_eq!(cold(&warm_up, &[(1, 20), (301, 1), (602, 1)]), [true, false, true]);
    }
}
