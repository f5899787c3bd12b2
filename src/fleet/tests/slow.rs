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

/// Two workers under this deadline, of which the second has requests under way, five of them the candidate's, and then is
/// silent for so many seconds. Returns how many of the candidate's 10 requests by the first worker, and of those, have been judged.
fn judged_beside_a_silent_worker(silence: u64, deadline: &str) -> (Fleet, Vec<Request>) {
    let fields = json!({
        "steps": [{"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}], "deadline": deadline},
    });
    let (mut fleet, mut open) = (Fleet::new(3, &configuration(&[("r", fields)])), Vec::new());
    for second in 0..5 + silence {
        for side in [Side::Candidate, Side::Stable] {
            fleet.request(1, side, false);
            if second < 5 {
                let clock = fleet.clock();
                open.extend(fleet.vms[2].arrive(0, side, None, clock));
            }
        }
        fleet.second_without(if second < 5 { usize::MAX } else { 2 });
    }
    (fleet, open)
}

#[test]
fn a_worker_that_is_silent_for_seconds_loses_none_of_the_requests_that_it_has_reported() {
    for silence in [1, 3, 5, 10] {
        let (mut fleet, open) = judged_beside_a_silent_worker(silence, "30s");
        assert!(fleet.judged() <= silence, "their ticks wait");
        open.into_iter().for_each(|request| request.end(6 * TICK, Outcome::Ok));
        (0..4).for_each(|_| drop(fleet.second()));
        assert_eq!(fleet.judged(), 5 + silence + 5, "after {silence} s");
    }
}

#[test]
fn a_worker_that_is_silent_for_long_holds_no_evidence_up() {
    // Longer than the deadline, and the grace; or so long that it counts as gone.
    for (silence, deadline) in [(9, "2s"), (20, "30s")] {
        let (mut fleet, open) = judged_beside_a_silent_worker(silence, deadline);
        assert!(fleet.judged() > 0 && fleet.judged() <= 5 + silence, "{}", fleet.judged());
        let before = fleet.judged();
        open.into_iter().for_each(|request| request.end(6 * TICK, Outcome::Ok));
        (0..4).for_each(|_| drop(fleet.second()));
        assert!(fleet.judged() <= before + 4 + silence, "nothing counts twice");
    }
}
