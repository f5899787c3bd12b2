//! After a flip: does the new side fail clearly more often than the old one did before?
//!
//! The old side gets no requests any more, so there is nothing to compare with at the same time, only with the
//! past. That cannot distinguish an outage of both sides from a bad release; see `docs/analysis.md`.

use serde::{Deserialize, Serialize};

use super::answers::Answers;
use super::evidence::{self, Evidence, RATIOS};
use super::excess::divergence;
use super::tick::{Tick, View};
use super::users::Firsts;
use crate::model::{Arm, Side, real};
use crate::signal::catalog::{self, Role};

/// Requests that the old side must have answered: from fewer nothing useful follows.
const LEAST_REQUESTS: u64 = 1_000;
/// ln 100: its rate is below its upper bound with 99 %.
const LN_CERTAINTY: f64 = 4.605_170_185_988_092;
/// A bound from here on is none: nearly everything may fail.
const HIGHEST_BOUND: f64 = 0.99;

/// What the new side may do, and what it has done since the flip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// The old side's requests and failures before the flip.
    pub before: Arm,
    /// The rate of failures that is allowed.
    pub bound: f64,
    /// The new side's requests and failures since.
    pub since: Arm,
    /// Ticks that counted.
    ticks: u64,
    evidence: Evidence<{ RATIOS.len() }>,
}

/// Why the new side cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotJudged {
    /// The old side had fewer requests than it takes to know its rate.
    TooFew,
    /// So many of them failed that no worse rate could be detected.
    TooMany,
}

/// The name of its metric in evidence and events.
#[must_use]
pub fn metric() -> String {
    format!("{}.window", catalog::with_role(Role::Failed).name)
}

/// What a tick counts of one side alone: its requests, or where users are judged (`firsts`) each user's first one.
/// One that its client gave up counts as failed; on both sides of a flip, so that impatience alone speaks against neither side.
/// Pending requests of an open tick have not failed: the worst case for a finding.
#[must_use]
pub fn counted(tick: &Tick, firsts: Option<&Firsts>, side: Side, view: View) -> Arm {
    let Some(firsts) = firsts else { return Answers::of(&tick.counts[side], view).wrong() };
    let given_up = firsts.given_up[side];
    firsts.requests[side].plus(Arm { events: given_up, units: given_up })
}

impl Window {
    /// Opens when a side that has done this gives way to another one: that one may fail twice as often as the
    /// old one's upper bound, or one point more, whichever is more.
    ///
    /// # Errors
    /// The old side's requests say too little.
    pub fn open(before: Arm) -> Result<Self, NotJudged> {
        if before.units < LEAST_REQUESTS {
            return Err(NotJudged::TooFew);
        }
        let upper = upper_bound(before);
        let bound = (2.0 * upper).max(upper + 0.01);
        if bound >= HIGHEST_BOUND {
            Err(NotJudged::TooMany)
        } else {
            Ok(Self { before, bound, ..Self::default() })
        }
    }

    /// The same with nothing held against the new side.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self { before: self.before, bound: self.bound, ..Self::default() }
    }

    /// Adds what the new side did in one tick.
    pub fn add(&mut self, tick: Arm) {
        if tick.units == 0 {
            return;
        }
        self.ticks = self.ticks.saturating_add(1);
        self.evidence.add(self.ticks, evidence::over_bound(&tick, self.bound));
        self.since = self.since.plus(tick);
    }

    /// The e-value of the new side failing more often than is allowed.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.evidence.value(self.ticks)
    }
}

/// The rate that the true one is below with 99 %: the least u with n KL(x/n, u) = ln 100, from the side that is
/// safe. Chernoff's bound for binomials: Hoeffding (1963), theorem 1.
fn upper_bound(of: Arm) -> f64 {
    let rate = real(of.events) / real(of.units);
    let (mut low, mut high) = (rate, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if real(of.units) * divergence(rate, middle) < LN_CERTAINTY {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pair;
    use crate::signal::tally::Tally;
    use crate::signal::tally::tests::{ended, open};
    use fastrand::Rng;
    use proptest::prelude::*;

    fn arm(events: u64, requests: u64) -> Arm {
        Arm { events, units: requests }
    }

    /// How many of 20 requests fail at `rate`, drawn with one random number instead of 20.
    fn failures_of_20(rate: f64, rng: &mut Rng) -> u64 {
        let rate = rate.min(1.0 - 1e-9);
        let (mut failures, mut left) = (0, rng.f64());
        let mut chance = (1.0 - rate).powi(20);
        while left >= chance && failures < 20 {
            left -= chance;
            failures += 1;
            chance *= (21 - failures) as f64 / failures as f64 * rate / (1.0 - rate);
        }
        failures
    }

    /// Ticks of 20 requests that fail at `rate`, until the evidence reaches `threshold`: how many failed by then.
    fn failures_until(threshold: f64, window: &Window, rate: f64, rng: &mut Rng) -> Option<u64> {
        let mut window = window.anew();
        (0..600).find_map(|_| {
            window.add(arm(failures_of_20(rate, rng), 20));
            (window.value() >= threshold).then_some(window.since.events)
        })
    }

    #[test]
    fn the_bound_is_hoeffdings() {
        // Nothing of 1,000: 1 − 100^(−1/1000).
        assert!((upper_bound(arm(0, 1_000)) - 0.004_594_582_648).abs() < 1e-11);
        assert_eq!(upper_bound(arm(1_000, 1_000)), 1.0);
        let tenth = upper_bound(arm(1_000, 10_000));
        assert!((10_000.0 * divergence(0.1, tenth) - LN_CERTAINTY).abs() < 1e-9, "{tenth}");
    }

    #[test]
    fn twice_as_much_or_one_point_more_is_allowed() {
        let allowed = |events, requests| Window::open(arm(events, requests)).map(|window| window.bound);
        assert!((allowed(0, 1_000).unwrap() - 0.014_594_582_648).abs() < 1e-11);
        assert!(
            (allowed(100_000, 1_000_000).unwrap() - 2.0 * upper_bound(arm(100_000, 1_000_000))).abs() < 1e-12
        );
        assert_eq!(allowed(0, 999), Err(NotJudged::TooFew));
        assert_eq!(allowed(600, 1_000), Err(NotJudged::TooMany));
        assert_eq!(allowed(u64::MAX, u64::MAX), Err(NotJudged::TooMany));
    }

    /// The rate that is known too low would be a false alarm by itself.
    #[test]
    fn the_old_sides_rate_is_below_its_bound() {
        let mut rng = Rng::with_seed(7);
        let missed = (0..4_000).filter(|_| {
            let failed = (0..1_000).filter(|_| rng.f64() < 0.01).count() as u64;
            upper_bound(arm(failed, 1_000)) < 0.01
        });
        let missed = missed.count();
        assert!(missed <= 40, "{missed} of 4,000 bounds were too low");
    }

    /// Half of 1 %, at the very bound; a side that is as good as the old one is far below.
    #[test]
    fn a_side_at_its_bound_is_rarely_rolled_back() {
        let mut rng = Rng::with_seed(1);
        let window = Window::open(arm(30, 3_000)).unwrap();
        let found =
            (0..1_000).filter(|_| failures_until(200.0, &window, window.bound, &mut rng).is_some()).count();
        assert!((1..=5).contains(&found), "{found} of 1,000, of which at most 5 are promised");
        let healthy = (0..200).filter(|_| failures_until(200.0, &window, 0.01, &mut rng).is_some()).count();
        assert_eq!(healthy, 0);
    }

    #[test]
    fn a_bad_side_is_found_after_a_few_failures() {
        let mut rng = Rng::with_seed(2);
        let window = Window::open(arm(30, 3_000)).unwrap();
        for (rate, most) in [(1.0, 20), (0.5, 20), (0.2, 25), (0.1, 60)] {
            let mut failures: Vec<u64> =
                (0..200).map(|_| failures_until(200.0, &window, rate, &mut rng).unwrap()).collect();
            failures.sort_unstable();
            assert!(failures[100] <= most, "{rate}: {} failures", failures[100]);
        }
    }

    #[test]
    fn a_pending_request_is_not_a_failure_until_the_tick_is_closed() {
        let mut counts = ended((2, 10));
        open(&mut counts, 4, 3);
        let tick = Tick { counts: Pair::new(counts, ended((0, 0))), ..Tick::default() };
        assert_eq!(counted(&tick, None, Side::Candidate, View::Open { age: 3 }), arm(2, 10));
        assert_eq!(counted(&tick, None, Side::Candidate, View::Closed), arm(5, 10));
        assert_eq!(counted(&tick, None, Side::Stable, View::Closed), arm(0, 0));
        let mut window = Window::open(arm(0, 1_000)).unwrap();
        window.add(arm(0, 0));
        assert_eq!(window, window.anew(), "nothing came");
    }

    #[test]
    fn a_request_whose_client_gave_it_up_counts_as_failed() {
        let mut counts = ended((1, 10));
        counts.silent = 3;
        *counts.tally_mut(catalog::UNANSWERED.id).unwrap() = Tally::Event(arm(3, 10));
        let tick = Tick { counts: Pair::new(counts, ended((0, 0))), ..Tick::default() };
        for view in [View::Closed, View::Open { age: 3 }] {
            assert_eq!(counted(&tick, None, Side::Candidate, view), arm(4, 10));
        }
    }

    proptest! {
        #[test]
        fn any_counts_give_a_rate(events: u64, requests: u64) {
            let before = arm(events.min(requests), requests);
            if let Ok(mut window) = Window::open(before) {
                prop_assert!((0.01..HIGHEST_BOUND).contains(&window.bound), "{}", window.bound);
                window.add(before);
                prop_assert!(window.value().is_finite());
            }
        }
    }
}
