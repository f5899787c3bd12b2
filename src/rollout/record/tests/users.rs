//! The same where users keep their versions, and each counts once.

use super::*;
use crate::analysis::user_set::tests::Memory;

fn begun() -> (Record, Assignment) {
    begun_with_users(&json!({
        "steps": [{"set_weight": 1}, {"pause": {}}, {"set_weight": 5}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}]},
    }))
}

/// After these ticks have closed.
fn odds(record: &mut Record, worker: &Worker, tick: u64) -> f64 {
    advance(record, &[worker], tick, at(tick * SECOND));
    assert_eq!(record.closed_through, tick - 1);
    record.run.judge.reading().all
}

#[test]
fn a_user_who_always_fails_is_one_failure() {
    let (mut record, assignment) = begun();
    let mut worker = Worker::default();
    worker.visit(101, assignment, Side::Candidate, 1, true);
    let once = odds(&mut record, &worker, 102);
    assert!(once > 10.0, "one of a hundred users had that toss: {once}");
    for tick in 102..111 {
        (0..50).for_each(|_| worker.visit(tick, assignment, Side::Candidate, 1, true));
        (2..100).for_each(|user| worker.visit(tick, assignment, Side::Stable, user, false));
    }
    let often = odds(&mut record, &worker, 111);
    assert!(often <= once, "{often} after {once}");
    assert_eq!((record.run.judge.step_requests(), record.run.phase), (1, Phase::Paused));
    // The next one is another toss.
    worker.visit(111, assignment, Side::Candidate, 200, true);
    worker.visit(111, assignment, Side::Candidate, 201, true);
    odds(&mut record, &worker, 112);
    assert_eq!(record.run.phase, Phase::Failed);
    let reason = record.run.reason.sentence();
    assert!(reason.contains("3 of 3 users (100.0 %) against 0 of 98 users (0.0 %)"), "{reason}");
}

#[test]
fn a_stable_user_that_failed_does_not_count_again_on_the_candidate() {
    let (mut record, assignment) = begun();
    let mut worker = Worker::default();
    (0..50).for_each(|user| worker.visit(100, assignment, Side::Stable, user, true));
    odds(&mut record, &worker, 101);
    record.command(Command::Promote { full: false }, at(101 * SECOND)).unwrap();
    let assignment = record.head("r").assignment;
    let before = record.run.judge.reading().all;
    for tick in 102..110 {
        (0..5).for_each(|user| worker.visit(tick, assignment, Side::Candidate, user, true));
    }
    assert!(odds(&mut record, &worker, 110) <= before);
    assert_eq!(record.run.judge.step_requests(), 5, "but in this step they were there for the first time");
}

/// Both versions are down; stable says so late. Users who wait for stable move to the candidate, and seem to
/// fail there first.
#[test]
fn an_open_tick_of_other_weights_defers_findings() {
    let (mut record, assignment) = begun();
    let mut worker = Worker::default();
    let waiting: Vec<_> =
        (0..6).map(|user| worker.arrive_from(100, assignment, Side::Stable, user)).collect();
    record.command(Command::Promote { full: false }, at(100 * SECOND + SECOND / 2)).unwrap();
    let assignment = record.head("r").assignment;
    for user in 0..6 {
        worker.visit(101, assignment, Side::Candidate, user, true);
    }
    for second in 102..104 {
        advance(&mut record, &[&worker], second, at(second * SECOND));
        assert_eq!((record.closed_through, record.run.phase), (99, Phase::Paused));
    }
    waiting.into_iter().for_each(|ticket| worker.end(ticket, 3 * SECOND, true));
    let odds = odds(&mut record, &worker, 104);
    assert!(odds <= 1.0, "they have failed on stable before: {odds}");
}

#[test]
fn a_user_that_waits_at_the_deadline_has_failed() {
    let (mut record, assignment) = begun();
    let mut worker = Worker::default();
    let mut waiting: Vec<_> =
        (0..3).map(|user| worker.arrive_from(101, assignment, Side::Candidate, user)).collect();
    waiting.push(worker.arrive_from(101, assignment, Side::Stable, 9));
    let streaming = worker.arrive_from(101, assignment, Side::Candidate, 10);
    worker.ledger.answer(&streaming);
    worker.ledger.observe(&streaming, LATENCY.id, Observed::Duration(1_000_000));
    advance(&mut record, &[&worker], 106, at(106 * SECOND));
    assert_eq!((record.closed_through, record.run.phase), (99, Phase::Paused));
    advance(&mut record, &[&worker], 108, at(108 * SECOND));
    assert_eq!(record.run.phase, Phase::Failed);
    let reason = record.run.reason.sentence();
    assert!(reason.contains("3 of 4 users (75.0 %) against 1 of 1 users (100.0 %)"), "{reason}");
}

#[test]
fn a_retry_draws_and_counts_anew() {
    let (mut record, assignment) = begun();
    let mut worker = Worker::default();
    (0..5).for_each(|user| worker.visit(100, assignment, Side::Candidate, user, true));
    odds(&mut record, &worker, 101);
    assert_eq!(record.run.phase, Phase::Failed);
    record.command(Command::Retry, at(101 * SECOND)).unwrap();
    let assignment = record.head("r").assignment;
    let mut worker = Worker::default();
    (0..5).for_each(|user| worker.visit(102, assignment, Side::Candidate, user, true));
    odds(&mut record, &worker, 103);
    assert_eq!(record.run.phase, Phase::Failed, "with another cohort the same users are others");
}

/// A tick under two assignments says nothing; but what has happened in it does not happen for the first time later.
#[test]
fn events_in_a_void_tick_do_not_count_again() {
    let (mut record, before) = begun();
    let mut worker = Worker::default();
    record.command(Command::Promote { full: false }, at(101 * SECOND)).unwrap();
    let after = record.head("r").assignment;
    worker.visit(102, before, Side::Stable, 99, false);
    (0..5).for_each(|user| worker.visit(102, after, Side::Candidate, user, true));
    assert_eq!(odds(&mut record, &worker, 103), 1.0);
    (0..5).for_each(|user| worker.visit(103, after, Side::Candidate, user, true));
    (10..99).for_each(|user| worker.visit(103, after, Side::Stable, user, false));
    assert!(odds(&mut record, &worker, 104) <= 1.0);
    worker.visit(104, after, Side::Candidate, 5, true);
    assert!(odds(&mut record, &worker, 105) > 1.0);
}

/// More users than stand in the record itself; another VM goes on with it.
#[test]
fn the_next_leader_keeps_the_users_that_failed() {
    let mut shelf = Memory::default();
    let (mut record, assignment) = begun();
    let mut worker = Worker::default();
    let hash = |user: u64| user.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for user in 0..2_000_u64 {
        let side = if user % 100 == 0 { Side::Candidate } else { Side::Stable };
        worker.visit(101, assignment, side, hash(user), true);
    }
    let known = odds(&mut record, &worker, 102);
    record.put(&mut shelf);
    assert!(record.shelved().count() >= 3 && shelf.0.len() == record.shelved().count());
    let bytes = postcard::to_allocvec(&record).unwrap();
    assert!(bytes.len() < 20_000, "{} bytes", bytes.len());
    let mut record: Record = postcard::from_bytes(&bytes).unwrap();
    record.fetch(&shelf);
    for user in (0..2_000_u64).filter(|user| user % 50 == 0) {
        worker.visit(102, assignment, Side::Candidate, hash(user), true);
    }
    let now = odds(&mut record, &worker, 103);
    assert!((now - known).abs() < 1e-9 * known, "they have all failed before: {known}, then {now}");
    assert_eq!(record.run.judge.step_requests(), 20);
}

/// After a flip each user counts once, before it as well.
#[test]
fn the_window_counts_users() {
    let (mut record, at_blue) = begun_with_users(&json!({
        "blue_green": {"auto_rollback_window": "1h"}, "analysis": {"metrics": [{"name": "error_rate"}]},
    }));
    let mut worker = Worker::default();
    (0..1_200).for_each(|user| worker.visit(100, at_blue, Side::Stable, user, user % 200 == 0));
    (0..1_200).for_each(|user| worker.visit(101, at_blue, Side::Stable, user, true));
    odds(&mut record, &worker, 102);
    record.command(Command::Switch { active: "green".into() }, at(102 * SECOND)).unwrap();
    assert!(record.run.reason.sentence().contains("of its users fail"), "{}", record.run.reason.sentence());
    let at_green = record.head("r").assignment;
    for tick in 103..110 {
        (0..100).for_each(|_| worker.visit(tick, at_green, Side::Candidate, 7, true));
    }
    odds(&mut record, &worker, 110);
    assert_eq!(record.run.phase, Phase::Progressing, "{}", record.run.reason.sentence());
    let waiting = worker.arrive_from(110, at_green, Side::Candidate, 5_000);
    (10..40).for_each(|user| worker.visit(110, at_green, Side::Candidate, user, true));
    let events = advance(&mut record, &[&worker], 111, at(111 * SECOND));
    assert_eq!((record.run.phase, record.closed_through), (Phase::Failed, 109), "{events:?}");
    let reason = record.run.reason.sentence();
    assert!(
        reason.contains(
            "31 of 32 users (96.9 %) failed on green; before it, 6 of 1200 users (0.5 %) on blue; "
        ),
        "{reason}"
    );
    worker.end(waiting, SECOND, false);
}

/// Events come later than answers: a step is over when those of its users could have come, and some have.
#[test]
fn a_step_waits_for_what_its_users_do() {
    let (mut record, assignment) = begun_with_users(&json!({
        "steps": [{"set_weight": 50}, {"pause": {"duration": "1s"}}, {"set_weight": 60}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}, {"name": "feedback.click"}]},
        "feedback": [{"name": "click", "match": {"path": "/e"}, "join": "user", "better": "more", "within": "20s"}],
    }));
    let mut worker = Worker::default();
    worker.ledger.count_signals(record.program.rules().unwrap().signals());
    let mut live = |record: &mut Record, ticks: std::ops::Range<u64>, clicks: bool| {
        for tick in ticks {
            for (side, user) in [(Side::Candidate, 2 * tick), (Side::Stable, 2 * tick + 1)] {
                worker.visit(tick, assignment, side, user, false);
                if clicks {
                    let draw = Draw { assignment, side, user: Some(user.into()) };
                    worker.ledger.happen(tick, draw, catalog::event("click"), Observed::Event(true));
                }
            }
            odds(record, &worker, tick + 1);
        }
    };
    live(&mut record, 100..118, true);
    assert_eq!(record.run.reason.sentence(), "the step waits 20 s for users' feedback");
    live(&mut record, 118..125, false);
    let nothing = "the step waits until every metric can be judged: feedback.click: nothing yet";
    assert_eq!(record.run.reason.sentence(), nothing);
    live(&mut record, 125..126, true);
    assert_eq!(record.head("r").weights["green"], Share::new(6_000));
}

/// Nothing of the step was judged by what users do.
#[test]
fn a_step_whose_ticks_show_nothing_waits_for_what_its_users_do() {
    let (mut record, assignment) = begun_with_users(&json!({
        "steps": [{"set_weight": 50}, {"pause": {"duration": "1s"}}, {"set_weight": 60}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}, {"name": "feedback.click"}], "no_data": "hold"},
        "feedback": [{"name": "click", "match": {"path": "/e"}, "join": "user", "better": "more", "within": "20s"}],
    }));
    let live = |record: &mut Record, ticks: std::ops::Range<u64>, is_void: bool| {
        for tick in ticks {
            let mut worker = Worker::default();
            worker.ledger.count_signals(record.program.rules().unwrap().signals());
            if is_void {
                worker.visit(tick, unknown(assignment, 1), Side::Stable, 3, false);
            }
            for (side, user) in [(Side::Candidate, 2 * tick), (Side::Stable, 2 * tick + 1)] {
                worker.visit(tick, assignment, side, user, false);
                let draw = Draw { assignment, side, user: Some(user.into()) };
                worker.ledger.happen(tick, draw, catalog::event("click"), Observed::Event(true));
            }
            odds(record, &worker, tick + 1);
        }
    };
    live(&mut record, 100..118, false);
    live(&mut record, 118..150, true);
    assert_eq!(record.run.reason.sentence(), "the step waits 20 s for users' feedback");
    live(&mut record, 150..152, false);
    assert_eq!(record.head("r").weights["green"], Share::new(6_000));
}
