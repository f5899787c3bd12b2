//! What one tick says about one suspected regression: ln L(r), the logarithm of how much likelier its counts
//! are when the candidate has the event r times as often as stable, compared with the worst case in which
//! the candidate is not to blame.
//!
//! Each has E[L] ≤ 1 whenever the candidate is not to blame, whatever the rate of events is and however it
//! moves from tick to tick. That is all that [`super::evidence`] needs.

use serde::{Deserialize, Serialize};

/// How often something happened among requests of one version that arrived in one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// Requests with the event; at most `requests`.
    pub events: u64,
    /// Requests that arrived, whether they have the event or not.
    pub requests: u64,
}

impl Arm {
    /// Counts one more request.
    pub fn count(&mut self, has_event: bool) {
        self.events = self.events.saturating_add(has_event.into());
        self.requests = self.requests.saturating_add(1);
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            events: self.events.saturating_add(other.events),
            requests: self.requests.saturating_add(other.requests),
        }
    }
}

/// One tick: the candidate beside stable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The version that is being released.
    pub candidate: Arm,
    /// The version it is compared with.
    pub stable: Arm,
}

/// Counts of requests as real numbers: exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
pub(super) fn real(count: u64) -> f64 {
    count as f64
}

impl Table {
    /// A tick in which `candidate` and `stable` are (events, requests).
    #[must_use]
    pub fn new(candidate: (u64, u64), stable: (u64, u64)) -> Self {
        let arm = |(events, requests)| Arm { events, requests };
        Self { candidate: arm(candidate), stable: arm(stable) }
    }

    /// Whether nothing arrived at all: such a tick does not count as one.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.candidate.requests == 0 && self.stable.requests == 0
    }

    /// Whether there is nothing to compare: one version had no requests, or nobody had the event.
    fn says_nothing(&self) -> bool {
        self.candidate.requests == 0
            || self.stable.requests == 0
            || (self.candidate.events == 0 && self.stable.events == 0)
    }

    /// The candidate's share of the tick's requests.
    fn share(&self) -> f64 {
        let candidate = real(self.candidate.requests);
        candidate / (candidate + real(self.stable.requests))
    }

    fn events(&self) -> f64 {
        real(self.candidate.events) + real(self.stable.events)
    }
}

/// "The candidate has the event more often than stable", at `ratio` r > 1.
///
/// Given how many requests each version had and how many events there were in all, the candidate's number
/// of events is hypergeometric unless the versions differ. By Hoeffding (1963, theorem 4) its moment
/// generating function is at most that of a binomial that draws events, non-events, or either version's
/// requests independently; the fewest draws give the tightest of the four bounds.
#[must_use]
pub fn more_often(table: &Table, ratio: f64) -> f64 {
    if table.says_nothing() {
        return 0.0;
    }
    let events = table.events();
    let (candidate, stable) = (real(table.candidate.requests), real(table.stable.requests));
    let others = candidate + stable - events;
    let share = table.share();
    let rate = events / (candidate + stable);
    let fewest = events.min(candidate).min(stable).min(others);
    let bound = if fewest == events {
        events * (share * (ratio - 1.0)).ln_1p()
    } else if fewest == candidate {
        candidate * (rate * (ratio - 1.0)).ln_1p()
    } else if fewest == others {
        candidate * ratio.ln() + others * (share * (ratio.recip() - 1.0)).ln_1p()
    } else {
        events * ratio.ln() + stable * (rate * (ratio.recip() - 1.0)).ln_1p()
    };
    real(table.candidate.events) * ratio.ln() - bound
}

/// "The candidate has the event more than `margin` times as often as stable", at `ratio` r > `margin`; with
/// r < `margin` "… less than `margin` times as often".
///
/// With A = (h m + 1 − h)/(h r + 1 − h), h the candidate's share and p its rate at the margin's boundary,
/// 1 + z ≤ e^z gives E[L] ≤ exp(N p [h (r A − m) + (1 − h)(A − 1)]) = 1. Requests of one tick must be
/// independent of each other.
#[must_use]
pub fn beyond_margin(table: &Table, ratio: f64, margin: f64) -> f64 {
    if table.says_nothing() {
        return 0.0;
    }
    let share = table.share();
    real(table.candidate.events) * (ratio / margin).ln()
        + table.events() * ((share * (margin - 1.0)).ln_1p() - (share * (ratio - 1.0)).ln_1p())
}

/// "The event's rate is beyond `bound`", at the `suspected` rate: the likelihood ratio of the two, of one
/// version alone. Both rates lie strictly between 0 and 1.
#[must_use]
pub fn beyond_bound(arm: &Arm, suspected: f64, bound: f64) -> f64 {
    let events = real(arm.events);
    let others = real(arm.requests.saturating_sub(arm.events));
    let mut ln = 0.0;
    if events > 0.0 {
        ln += events * (suspected / bound).ln();
    }
    if others > 0.0 {
        ln += others * ((-suspected).ln_1p() - (-bound).ln_1p());
    }
    ln
}

/// "Of `all`, each of which is the candidate's with the known probability `share`, more are", at `ratio` r of
/// its odds, of which `margin` m is tolerated (both above 1, or both below: "fewer are"). A martingale exactly at
/// the margin: E[L] = 1, whatever `all` counts, as long as each is drawn independently of the others.
#[must_use]
pub fn split(candidate: u64, all: u64, share: f64, ratio: f64, margin: f64) -> f64 {
    real(candidate) * (ratio / margin).ln()
        - real(all) * ((share * (ratio - 1.0)).ln_1p() - (share * (margin - 1.0)).ln_1p())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::evidence::RATIOS;
    use proptest::prelude::*;

    fn table() -> impl Strategy<Value = Table> {
        let arm = || (0..200_u64).prop_flat_map(|requests| (0..=requests, Just(requests)));
        (arm(), arm()).prop_map(|(candidate, stable)| Table::new(candidate, stable))
    }

    /// The probability of each number of events of the candidate, given the margins.
    fn hypergeometric(table: &Table) -> Vec<(u64, f64)> {
        let ln_choose = |n: u64, k: u64| (1..=k).map(|i| (real(n - k + i) / real(i)).ln()).sum::<f64>();
        let (nc, ns) = (table.candidate.requests, table.stable.requests);
        let x = table.candidate.events + table.stable.events;
        let all = ln_choose(nc + ns, x);
        (x.saturating_sub(ns)..=x.min(nc))
            .map(|xc| (xc, (ln_choose(nc, xc) + ln_choose(ns, x - xc) - all).exp()))
            .collect()
    }

    proptest! {
        /// The property that everything rests on: on average nothing is won against a healthy candidate.
        #[test]
        fn a_healthy_candidate_gains_nothing(table in table(), ratio in prop::sample::select(&RATIOS[..])) {
            let x = table.candidate.events + table.stable.events;
            let expectation: f64 = hypergeometric(&table)
                .into_iter()
                .map(|(xc, p)| {
                    let (nc, ns) = (table.candidate.requests, table.stable.requests);
                    p * more_often(&Table::new((xc, nc), (x - xc, ns)), ratio).exp()
                })
                .sum();
            prop_assert!(expectation <= 1.0 + 1e-9, "{expectation}");
        }

        /// What judging open ticks in their worst case relies on.
        #[test]
        fn it_rises_with_the_candidates_events_and_falls_with_stables(table in table(), ratio in prop::sample::select(&RATIOS[..])) {
            let here = more_often(&table, ratio);
            let mut more = table;
            more.candidate.events += 1;
            if more.candidate.events <= more.candidate.requests {
                prop_assert!(more_often(&more, ratio) >= here - 1e-9);
            }
            let mut more = table;
            more.stable.events += 1;
            if more.stable.events <= more.stable.requests {
                prop_assert!(more_often(&more, ratio) <= here + 1e-9);
            }
        }

        #[test]
        fn no_counts_give_anything_but_a_number(candidate: (u64, u64), stable: (u64, u64), ratio in 1.01..1e4_f64) {
            let table = Table::new(candidate, stable);
            prop_assert!(!beyond_margin(&table, ratio, 1.5).is_nan());
            prop_assert!(!split(candidate.0, stable.1, 0.05, ratio, 1.02).is_nan());
        }
    }
}
