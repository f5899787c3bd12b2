//! Answers that take minutes.

use std::collections::VecDeque;

use super::*;
use crate::fleet::report::Report;
use crate::fleet::simulated::Request;

/// An Envoy whose candidate has half of the requests, under this deadline.
fn slow(deadline: &str) -> Fleet {
    let fields = json!({
        "steps": [{"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}], "deadline": deadline},
    });
    Fleet::new(2, &configuration(&[("r", fields)]))
}

/// Requests that have not been answered yet: when each came, and from whom.
#[derive(Default)]
struct Open(VecDeque<(u64, Side, Request)>);

impl Open {
    /// A second in which each side gets two requests, and those that have waited for `answered` seconds are answered:
    /// the candidate's so.
    fn second(&mut self, fleet: &mut Fleet, answered: u64, candidate: Option<Outcome>) {
        let clock = fleet.clock();
        for side in [Side::Candidate, Side::Stable, Side::Candidate, Side::Stable] {
            self.0.extend(
                fleet.vms[1].arrive(0, side, None, clock).map(|request| (clock.uptime, side, request)),
            );
        }
        let is_old = |came: u64| clock.uptime - came >= answered * TICK;
        let (old, rest): (Vec<_>, Vec<_>) = self.0.drain(..).partition(|(came, ..)| is_old(*came));
        self.0.extend(rest);
        for (came, side, request) in old {
            match (side, candidate) {
                (Side::Stable, _) => request.end(clock.uptime - came, Outcome::Ok),
                (Side::Candidate, Some(outcome)) => request.end(clock.uptime - came, outcome),
                (Side::Candidate, None) => {}
            }
        }
        fleet.second();
    }
}

/// How many ticks the worker has reported.
fn reported(fleet: &Fleet) -> usize {
    let reports = (0..2).filter_map(|worker| {
        shared::read::<Report>(&fleet.shared, &shared::key(&format!("report.{worker}")))
    });
    reports.flat_map(|report| report.rollouts).map(|(_, entries)| entries.len()).max().unwrap_or(0)
}

#[test]
fn a_candidate_that_fails_after_minutes_is_rolled_back_and_a_good_one_is_not() {
    for (outcome, phase) in [(Outcome::Ok, Phase::Paused), (Outcome::Error, Phase::Failed)] {
        let (mut fleet, mut open, mut most) = (slow("20m"), Open::default(), 0);
        for _ in 0..500 {
            open.second(&mut fleet, 300, Some(outcome));
            most = most.max(reported(&fleet));
        }
        assert_eq!(fleet.phase(), phase);
        assert!((10..=25).contains(&most), "{most} ticks of 20 s are open");
        if outcome == Outcome::Ok {
            assert!(fleet.judged() >= 2 * 150, "{}", fleet.judged());
        }
    }
}

#[test]
fn a_candidate_that_hangs_is_rolled_back_after_the_deadline() {
    let (mut fleet, mut open) = (slow("10m"), Open::default());
    let mut seconds = 0;
    while fleet.phase() != Phase::Failed && seconds < 700 {
        open.second(&mut fleet, 100, None);
        seconds += 1;
        assert!(reported(&fleet) <= 70);
    }
    assert!((600..640).contains(&seconds), "{seconds}");
}
