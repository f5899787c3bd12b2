//! A candidate that is a shadow first: what its answers, compared with stable's, lead to.

use super::*;
use crate::rollout::phase::Phase;

fn shadow(more: &Value) -> Record {
    let fields = json!({
        "mirror": {"to": "green", "mode": "compare"},
        "steps": [
            {"set_mirror": {"percent": 50}}, {"pause": {"min_compared": 100, "min_agreement": 0.9}},
            {"set_weight": 5}, {"pause": {}},
        ],
        "analysis": {"metrics": [{"name": "error_rate"}, {"name": "mirror.disagreement", "max": 0.05}]},
    });
    let (mut record, _) = Record::begin(program(&fixture::with(fields, more)), at(0));
    record.secret = [1, 2];
    record
}

fn worker(record: &Record) -> Worker {
    let mut worker = Worker::default();
    worker.ledger.count_signals(record.program.rules().unwrap().signals());
    worker.ledger.watch(&record.watch());
    worker
}

impl Worker {
    /// Pairs that were compared in a tick, of which so many differ. `user`: the first of their users, one each.
    fn compare(&mut self, tick: u64, assignment: Assignment, (differ, pairs): (u64, u64), user: Option<u64>) {
        for pair in 0..pairs {
            let user = user.map(|user| hash(user + pair));
            let draw = Draw { assignment, side: Side::Stable, user };
            self.ledger.compare(tick, draw, catalog::MIRROR_DISAGREEMENT.id, pair < differ);
        }
    }
}

/// Ticks with 20 requests of stable and 20 pairs each. Returns the events.
fn run(record: &mut Record, ticks: std::ops::Range<u64>, differ: u64, user: Option<u64>) -> Vec<Event> {
    let mut events = Vec::new();
    for tick in ticks {
        let mut worker = worker(record);
        let assignment = record.run.assignment(&record.program);
        worker.tick(tick, assignment, (0, 0), (0, 20));
        worker.compare(tick, assignment, (differ, 20), user.map(|user| user + tick * 100));
        events.extend(advance(record, &[&worker], tick + 1, at((tick + 1) * SECOND)));
    }
    events
}

#[test]
fn a_shadow_that_answers_otherwise_is_taken_back_before_it_serves_a_request() {
    for (affinity, user) in [(json!({}), None), (json!({"session_affinity": {"header": "x-user"}}), Some(0))]
    {
        let mut record = shadow(&affinity);
        let events = run(&mut record, 1..10, 18, user);
        assert_eq!(record.run.phase, Phase::Failed);
        assert!(record.run.in_force().is_empty() && !record.run.may_mirror(&record.program));
        let back = events.iter().find(|event| event.action == Action::Rollback).unwrap();
        let finding = back.evidence.as_ref().unwrap();
        assert_eq!(finding.rule, "mirror.disagreement.max");
        let seen = table(finding.samples);
        assert_eq!((seen.candidate.events * 20, seen.stable.units), (seen.candidate.units * 18, 0));
        assert!(
            back.message.contains("green exceeds its limit (mirror.disagreement.max: over 5.00 %): 18 of 20"),
            "{}",
            back.message
        );
    }
}

#[test]
fn a_step_waits_for_pairs_and_then_for_their_agreement() {
    let mut record = shadow(&json!({}));
    let assignment = record.run.assignment(&record.program);
    run(&mut record, 1..5, 1, None);
    assert_eq!(record.run.reason.sentence(), "the step waits for compared answers of the shadow: 80 of 100");
    run(&mut record, 5..6, 1, None);
    assert_eq!(
        record.run.reason.sentence(),
        "the step waits for proof that the shadow agrees in 90 % of requests: 95.0 % [84.0, 99.3] of 100"
    );
    let mut tick = 6;
    while green(&record) == 0 {
        assert!(tick < 40, "{}", record.run.reason.sentence());
        run(&mut record, tick..tick + 1, 1, None);
        tick += 1;
    }
    assert_eq!(green(&record), 500);
    let pairs = record.run.judge.step_pairs();
    assert_eq!(pairs, crate::model::Arm::default(), "another step begins without pairs");
    assert_ne!(record.run.assignment(&record.program), assignment);
}

fn green(record: &Record) -> u16 {
    record.run.in_force().get("green").map_or(0, |share| share.basis_points())
}

#[test]
fn pairs_that_were_compared_otherwise_prove_nothing() {
    let compared =
        |compare: &Value| json!({"mirror": {"to": "green", "mode": "compare", "compare": compare}});
    let mut record = shadow(&compared(&json!({"tolerance": {"relative": 0.5}})));
    run(&mut record, 1..5, 1, None);
    assert_eq!(record.run.judge.step_pairs().units, 80);
    let program = |compare| shadow(&compared(&compare)).program;
    record.push(
        &program(json!({"tolerance": {"relative": 0.5}, "samples": 20, "redact": ["/user"]})),
        at(5 * SECOND),
    );
    assert_eq!(record.run.judge.step_pairs().units, 80, "what is kept of them does not matter");
    let events = record.push(&program(json!({"tolerance": {"relative": 0.001}})), at(5 * SECOND));
    assert_eq!(record.run.judge.step_pairs().units, 0);
    let messages: Vec<&str> = events.iter().map(|event| event.message.as_str()).collect();
    assert_eq!(messages, ["mirror.disagreement.max is redefined and starts without evidence"]);
}

#[test]
fn pairs_that_were_drawn_under_other_weights_prove_nothing() {
    let mut record = shadow(&json!({}));
    let assignment = unknown(record.run.assignment(&record.program), 1);
    for tick in 1..20 {
        let mut worker = worker(&record);
        worker.compare(tick, assignment, (20, 20), None);
        advance(&mut record, &[&worker], tick + 1, at((tick + 1) * SECOND));
    }
    assert_eq!(record.run.phase, Phase::Progressing);
    assert_eq!(record.run.judge.step_pairs().units, 0);
}

#[test]
fn one_user_who_always_gets_another_answer_is_one_piece_of_evidence() {
    let mut record = shadow(&json!({"session_affinity": {"header": "x-user"}}));
    for tick in 1..50 {
        let mut worker = worker(&record);
        let assignment = record.run.assignment(&record.program);
        worker.tick(tick, assignment, (0, 0), (0, 20));
        for _ in 0..20 {
            worker.compare(tick, assignment, (1, 1), Some(7));
        }
        advance(&mut record, &[&worker], tick + 1, at((tick + 1) * SECOND));
    }
    assert_eq!(record.run.phase, Phase::Progressing, "{}", record.run.reason.sentence());
    assert!(record.run.judge.reading().all < 20.0);
}

#[test]
fn the_canary_is_judged_by_its_errors_and_as_a_shadow() {
    let mut record = shadow(&json!({"steps": [{"set_weight": 20}, {"pause": {}}]}));
    for tick in 1..30 {
        let mut worker = worker(&record);
        let assignment = record.run.assignment(&record.program);
        worker.tick(tick, assignment, (0, 20), (0, 80));
        worker.compare(tick, assignment, (0, 20), None);
        advance(&mut record, &[&worker], tick + 1, at((tick + 1) * SECOND));
    }
    assert_eq!(record.run.judge.step_requests(), 29 * 20);
    let healthy = record.run.judge.reading();
    assert!(healthy.metrics.iter().all(|value| *value <= 1.0), "{healthy:?}");
    // Pairs alone, when no request comes.
    run(&mut record, 30..40, 20, None);
    assert_eq!(record.run.phase, Phase::Failed);
}
