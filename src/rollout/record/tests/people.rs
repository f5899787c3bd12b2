//! Users as they are: they come again, to several workers, and from other versions.

use super::*;
use crate::routing::plan::Plan;

/// Users who come so many times each within a second, without a failure.
fn come(worker: &mut Worker, tick: u64, assignment: Assignment, times: u64) {
    for user in (0..100).flat_map(|user| std::iter::repeat_n(user, times as usize)) {
        let side = if user < 50 { Side::Candidate } else { Side::Stable };
        worker.visit(tick, assignment, side, hash(user), false);
    }
}

#[test]
fn a_user_that_returns_has_not_failed() {
    let (mut record, assignment) = begun_with_users(&json!({
        "steps": [{"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate", "max": 0.02}]},
    }));
    let mut worker = Worker::default();
    come(&mut worker, 101, assignment, 2);
    advance(&mut record, &[&worker], 102, at(102 * SECOND));
    assert_eq!(record.run.phase, Phase::Paused, "{}", record.run.reason.sentence());
}

#[test]
fn a_user_that_returns_is_not_proof() {
    let (mut record, assignment) = begun_with_users(&json!({
        "steps": [{"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}], "promote_when": {}, "on_failure": "alarm"},
    }));
    for tick in 101..121 {
        let mut worker = Worker::default();
        // The candidate fails for one in ten; three in ten of all come twice.
        for nth in (0..100_u64).chain(0..30) {
            let side = if nth.is_multiple_of(2) { Side::Candidate } else { Side::Stable };
            worker.visit(tick, assignment, side, hash(tick * 1_000 + nth), nth.is_multiple_of(20));
        }
        advance(&mut record, &[&worker], tick + 1, at((tick + 1) * SECOND));
    }
    let proof = record.run.judge.no_worse();
    assert!(proof < 1.0, "{proof} for a candidate that is ten points worse");
}

/// A page that loads four things at once: one answer of each user counts, not the worst.
#[test]
fn one_of_several_workers_reports_a_user() {
    let mut taken_back = 0;
    for seed in 0..10 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut record, assignment) = begun_with_users(&json!({
            "steps": [{"set_weight": 50}, {"pause": {}}],
            "analysis": {"metrics": [{"name": "error_rate", "max": 0.03}]},
        }));
        for tick in 100..140 {
            let mut workers = [(); 4].map(|()| Worker::default());
            for user in 0..100_u64 {
                let side = if user < 50 { Side::Candidate } else { Side::Stable };
                for worker in &mut workers {
                    worker.visit(tick, assignment, side, hash(tick * 1_000 + user), rng.f64() < 0.015);
                }
            }
            let workers: Vec<&Worker> = workers.iter().collect();
            advance(&mut record, &workers, tick + 1, at((tick + 1) * SECOND));
        }
        taken_back += u32::from(record.run.phase == Phase::Failed);
    }
    assert!(taken_back <= 1, "{taken_back} of 10, at half of what is allowed");
}

/// Users of a third version, who are not recorded there, come to stable for the first time.
#[test]
fn a_third_version_that_shrinks_is_no_mismatch() {
    let rollout = with_users(&json!({
        "steps": [{"set_weight": {"green": 5, "red": 20}}, {"pause": {"duration": "5s"}},
                  {"set_weight": {"green": 5, "red": 0}}, {"pause": {"duration": "5s"}},
                  {"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}]},
    }));
    let plan = Plan::new(&fixture::config(&[rollout]));
    let routes = &plan.rollouts()[0];
    let (mut record, _) = Record::begin(routes.program.clone(), at(100 * SECOND));
    for tick in 100..120 {
        assert!(routes.follow(&record.head("r")));
        let assignment = record.head("r").assignment;
        let mut worker = Worker::default();
        for user in 0..2_000_u64 {
            let side = match routes.version_of(routes.bucket(&user.to_le_bytes())) {
                0 => Side::Stable,
                1 => Side::Candidate,
                _ => continue,
            };
            worker.visit(tick, assignment, side, hash(user), false);
        }
        advance(&mut record, &[&worker], tick + 1, at((tick + 1) * SECOND));
    }
    assert_eq!(
        (record.run.position, record.run.phase),
        (5, Phase::Paused),
        "{}",
        record.run.reason.sentence()
    );
}

#[test]
fn a_tick_that_says_nothing_uses_up_nobodys_first_request() {
    let (mut record, before) = begun_with_users(&json!({
        "steps": [{"set_weight": 1}, {"pause": {}}, {"set_weight": 5}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}]},
    }));
    record.command(Command::Promote { full: false }, at(101 * SECOND)).unwrap();
    let after = record.head("r").assignment;
    let mut worker = Worker::default();
    worker.visit(102, before, Side::Stable, hash(99), false); // a worker that is a moment late
    (0..5).for_each(|user| worker.visit(102, after, Side::Candidate, hash(user), false));
    advance(&mut record, &[&worker], 103, at(103 * SECOND));
    (0..5).for_each(|user| worker.visit(103, after, Side::Candidate, hash(user), true));
    advance(&mut record, &[&worker], 104, at(104 * SECOND));
    assert!(
        record.run.reason.sentence().contains(": 5 of 5 users (100.0 %) against"),
        "{}",
        record.run.reason.sentence()
    );
}

#[test]
fn weights_that_go_to_and_fro_do_not_make_the_judge_deaf() {
    let rollout =
        with_users(&json!({"weights": {"green": 5}, "analysis": {"metrics": [{"name": "error_rate"}]}}));
    let plan = Plan::new(&fixture::config(&[rollout]));
    let routes = &plan.rollouts()[0];
    let (mut record, _) = Record::begin(routes.program.clone(), at(100 * SECOND));
    for tick in (101..260).step_by(2) {
        let weight = if tick % 4 == 1 { 5_000 } else { 500 };
        let weights = [("green".to_owned(), Share::new(weight))].into_iter().collect();
        record.command(Command::Weight(weights), at(tick * SECOND)).unwrap();
        routes.follow(&record.head("r"));
        let assignment = record.head("r").assignment;
        let mut worker = Worker::default();
        for user in 0..400_u64 {
            let is_candidate = routes.version_of(routes.bucket(&user.to_le_bytes())) == 1;
            let side = if is_candidate { Side::Candidate } else { Side::Stable };
            worker.visit(tick + 1, assignment, side, hash(user), is_candidate && tick > 255);
        }
        advance(&mut record, &[&worker], tick + 2, at((tick + 2) * SECOND));
        if record.run.phase == Phase::Failed {
            assert!(tick > 255, "it was well before");
            break;
        }
    }
    assert_eq!(record.run.phase, Phase::Failed, "it fails for everybody in the end");
}

#[test]
fn affinity_that_comes_by_a_push_begins_the_step_anew() {
    let with = |affinity: bool| {
        let mut fields = json!({
            "steps": [{"set_weight": 5}, {"pause": {"duration": "10s", "min_requests": 100}}, {"set_weight": 50}, {"pause": {}}],
            "analysis": {"metrics": [{"name": "error_rate"}]},
        });
        if !affinity {
            fields["session_affinity"] = Value::Null;
        }
        compiled(with_users(&fields))
    };
    let (mut record, _) = Record::begin(with(false), at(100 * SECOND));
    let mut worker = Worker::default();
    worker.tick(101, record.head("r").assignment, (0, 500), (0, 9_500));
    advance(&mut record, &[&worker], 102, at(102 * SECOND));
    let events = record.push(&with(true), at(103 * SECOND));
    assert_eq!(events.last().unwrap().message, "users are judged from now on; the step starts over");
    assert_eq!(record.run.judge.step_requests(), 0, "its 500 requests were no users");
}
