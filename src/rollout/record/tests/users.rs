//! The same where users keep their versions, and each counts once.

use super::*;

fn program() -> Program {
    let config = config::check(&json!({"rollouts": [{
        "name": "r", "release": "1", "stable": "blue", "candidate": "green",
        "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
        "session_affinity": {"header": "x-user-id"},
        "steps": [{"set_weight": 1}, {"pause": {}}, {"set_weight": 5}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}]},
    }]}));
    Program::new(&config.unwrap().rollouts[0])
}

fn begun() -> (Record, u64) {
    let (record, _) = Record::begin(program(), at(100 * SECOND));
    let epoch = record.head("r").assignment;
    (record, epoch)
}

impl Worker {
    /// A user's request that is answered at once.
    fn visit(&mut self, tick: u64, epoch: u64, side: Side, user: u64, fails: bool) {
        let ticket = self.ledger.arrive(tick, epoch, side, Some(user));
        self.ledger.end(ticket, 1_000_000, fails);
    }
}

/// After these ticks have closed.
fn odds(record: &mut Record, worker: &Worker, tick: u64) -> f64 {
    advance(record, &[worker], tick, at(tick * SECOND));
    assert_eq!(record.closed_through, tick - 1);
    record.run.judge.reading().all
}

#[test]
fn a_user_who_always_fails_is_one_failure() {
    let (mut record, epoch) = begun();
    let mut worker = Worker::default();
    worker.visit(101, epoch, Side::Candidate, 1, true);
    let once = odds(&mut record, &worker, 102);
    assert!(once > 10.0, "one of a hundred users had that toss: {once}");
    for tick in 102..111 {
        (0..50).for_each(|_| worker.visit(tick, epoch, Side::Candidate, 1, true));
        (2..100).for_each(|user| worker.visit(tick, epoch, Side::Stable, user, false));
    }
    let often = odds(&mut record, &worker, 111);
    assert!(often <= once, "{often} after {once}");
    assert_eq!((record.run.judge.step_requests(), record.run.phase), (1, Phase::Paused));
    // The next one is another toss.
    worker.visit(111, epoch, Side::Candidate, 200, true);
    worker.visit(111, epoch, Side::Candidate, 201, true);
    odds(&mut record, &worker, 112);
    assert_eq!(record.run.phase, Phase::Failed);
    let reason = &record.run.reason;
    assert!(reason.contains("3 of 3 users (100.0 %) against 0 of 98 users (0.0 %)"), "{reason}");
}

#[test]
fn whoever_has_failed_on_stable_fails_on_the_candidate_for_the_second_time() {
    let (mut record, epoch) = begun();
    let mut worker = Worker::default();
    (0..50).for_each(|user| worker.visit(100, epoch, Side::Stable, user, true));
    odds(&mut record, &worker, 101);
    record.command(Command::Promote { full: false }, at(101 * SECOND)).unwrap();
    let epoch = record.head("r").assignment;
    let before = record.run.judge.reading().all;
    for tick in 102..110 {
        (0..5).for_each(|user| worker.visit(tick, epoch, Side::Candidate, user, true));
    }
    assert!(odds(&mut record, &worker, 110) <= before);
    assert_eq!(record.run.judge.step_requests(), 5, "but in this step they were there for the first time");
}

/// Both versions are down; stable says so late. Users who wait for stable move to the candidate, and seem to
/// fail there first.
#[test]
fn while_a_tick_of_other_weights_is_open_nobody_is_accused() {
    let (mut record, epoch) = begun();
    let mut worker = Worker::default();
    let waiting: Vec<_> =
        (0..6).map(|user| worker.ledger.arrive(100, epoch, Side::Stable, Some(user))).collect();
    record.command(Command::Promote { full: false }, at(100 * SECOND + SECOND / 2)).unwrap();
    let epoch = record.head("r").assignment;
    for user in 0..6 {
        worker.visit(101, epoch, Side::Candidate, user, true);
    }
    for second in 102..104 {
        advance(&mut record, &[&worker], second, at(second * SECOND));
        assert_eq!((record.closed_through, record.run.phase), (99, Phase::Paused));
    }
    waiting.into_iter().for_each(|ticket| worker.ledger.end(ticket, 3 * SECOND, true));
    let odds = odds(&mut record, &worker, 104);
    assert!(odds <= 1.0, "they have failed on stable before: {odds}");
}

#[test]
fn whoever_waits_at_the_deadline_has_failed() {
    let (mut record, epoch) = begun();
    let mut worker = Worker::default();
    let mut waiting: Vec<_> =
        (0..3).map(|user| worker.ledger.arrive(101, epoch, Side::Candidate, Some(user))).collect();
    waiting.push(worker.ledger.arrive(101, epoch, Side::Stable, Some(9)));
    let mut streaming = worker.ledger.arrive(101, epoch, Side::Candidate, Some(10));
    worker.ledger.answer(&mut streaming, 1_000_000, true);
    advance(&mut record, &[&worker], 106, at(106 * SECOND));
    assert_eq!((record.closed_through, record.run.phase), (99, Phase::Paused));
    advance(&mut record, &[&worker], 108, at(108 * SECOND));
    assert_eq!(record.run.phase, Phase::Failed);
    let reason = &record.run.reason;
    assert!(reason.contains("3 of 4 users (75.0 %) against 1 of 1 users (100.0 %)"), "{reason}");
}

#[test]
fn a_retry_draws_and_counts_anew() {
    let (mut record, epoch) = begun();
    let mut worker = Worker::default();
    (0..5).for_each(|user| worker.visit(100, epoch, Side::Candidate, user, true));
    odds(&mut record, &worker, 101);
    assert_eq!(record.run.phase, Phase::Failed);
    record.command(Command::Retry, at(101 * SECOND)).unwrap();
    let epoch = record.head("r").assignment;
    let mut worker = Worker::default();
    (0..5).for_each(|user| worker.visit(102, epoch, Side::Candidate, user, true));
    odds(&mut record, &worker, 103);
    assert_eq!(record.run.phase, Phase::Failed, "with another cohort the same users are others");
}
