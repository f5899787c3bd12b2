//! Requests whose clients leave before an answer.

use super::*;
use crate::telemetry::outcome::Shown;

/// A rollout at 50 % with these pauses and this analysis.
fn begun(pause: &serde_json::Value, analysis: &serde_json::Value) -> (Record, Assignment) {
    let program = program(&json!({"steps": [{"set_weight": 50}, {"pause": pause}], "analysis": analysis}));
    let (record, _) = Record::begin(program, at(100 * SECOND));
    let assignment = record.head("r").assignment;
    (record, assignment)
}

/// Seconds of 40 requests, of which each side's clients give up a part.
fn live(record: &mut Record, assignment: Assignment, given_up: Pair<f64>, seconds: u64) {
    let mut rng = fastrand::Rng::with_seed(1);
    for tick in 100..100 + seconds {
        let mut worker = Worker::default();
        for nth in 0..40 {
            let side = if nth % 2 == 0 { Side::Candidate } else { Side::Stable };
            let ticket = worker.arrive(tick, assignment, side);
            let leaves = rng.f64() < given_up[side];
            let outcome = if leaves { Outcome::Unanswered } else { Outcome::Ok };
            worker.ledger.end(ticket, SECOND / 10, outcome);
        }
        advance(record, &[&worker], tick + 1, at((tick + 1) * SECOND));
    }
}

#[test]
fn a_candidate_whose_clients_give_up_is_rolled_back() {
    let pause = json!({"duration": "1h"});
    let (mut record, assignment) = begun(&pause, &json!({}));
    live(&mut record, assignment, Pair::new(1.0, 0.3), 30);
    assert_eq!(record.run.phase, Phase::Failed);
    assert!(record.run.reason.sentence().contains("(unanswered)"), "{}", record.run.reason.sentence());
}

/// Seconds of 40 requests, each answered at once by the headers of a stream. Of the sides that `speak` a byte follows, the
/// others never say anything. No client leaves.
fn stream(record: &mut Record, assignment: Assignment, speak: Pair<bool>) {
    let mut worker = Worker::default();
    let mut streams = Vec::new();
    for tick in 100..160 {
        for nth in 0..40 {
            let side = if nth % 2 == 0 { Side::Candidate } else { Side::Stable };
            let ticket = worker.arrive(tick, assignment, side);
            if speak[side] {
                worker.ledger.begin_stream(&ticket, 1_000_000);
            }
            streams.push(ticket);
        }
        advance(record, &[&worker], tick + 1, at((tick + 1) * SECOND));
        worker.ledger.forget_through(record.closed_through);
    }
}

#[test]
fn a_candidate_whose_streams_stay_empty_is_rolled_back_although_its_clients_wait() {
    let proof = json!({"metrics": [{"name": "error_rate"}], "promote_when": {}});
    for (speak, is_rolled_back) in
        [(Pair::new(false, true), true), (Pair::new(true, true), false), (Pair::new(false, false), false)]
    {
        let (mut record, assignment) = begun(&json!({"min_requests": 10}), &proof);
        stream(&mut record, assignment, speak);
        assert_eq!(record.run.phase == Phase::Failed, is_rolled_back, "{}", record.run.reason.sentence());
    }
}

#[test]
fn clients_that_give_up_on_both_versions_speak_against_neither() {
    let (mut record, assignment) = begun(&json!({"duration": "1h"}), &json!({}));
    live(&mut record, assignment, Pair::new(0.3, 0.3), 2_000);
    assert_eq!(record.run.phase, Phase::Progressing, "{}", record.run.reason.sentence());
}

/// Judged by errors alone.
#[test]
fn silence_is_neither_proof_nor_a_request_that_was_judged() {
    let errors = json!({"metrics": [{"name": "error_rate"}]});
    let proof = json!({"metrics": [{"name": "error_rate"}], "promote_when": {}});
    for (pause, analysis) in [(json!({"min_requests": 10}), errors), (json!({"duration": "1s"}), proof)] {
        let (mut record, assignment) = begun(&pause, &analysis);
        live(&mut record, assignment, Pair::new(1.0, 0.0), 600);
        assert_eq!(record.run.phase, Phase::Progressing, "{pause}: {}", record.run.reason.sentence());
        assert_eq!(record.run.judge.step_requests(), 0);
        let (mut record, assignment) = begun(&pause, &analysis);
        live(&mut record, assignment, Pair::new(0.3, 0.3), 600);
        assert_eq!(record.run.phase, Phase::Succeeded, "{pause}: {}", record.run.reason.sentence());
    }
}

#[test]
fn users_who_give_up_are_neither_proof_nor_judged() {
    let (mut record, assignment) = begun_with_users(&json!({
        "steps": [{"set_weight": 50}, {"pause": {"min_requests": 10}}],
        "analysis": {"metrics": [{"name": "error_rate"}], "promote_when": {}},
    }));
    for tick in 100..200_u64 {
        let mut worker = Worker::default();
        for user in 0..20 {
            let side = if user % 2 == 0 { Side::Candidate } else { Side::Stable };
            let ticket = worker.arrive_from(tick, assignment, side, hash(tick * 100 + user));
            let outcome = if side == Side::Candidate { Outcome::Unanswered } else { Outcome::Ok };
            worker.ledger.end(ticket, SECOND / 10, outcome);
        }
        advance(&mut record, &[&worker], tick + 1, at((tick + 1) * SECOND));
    }
    assert_eq!((record.run.phase, record.run.judge.step_requests()), (Phase::Progressing, 0));
    assert!(record.run.judge.no_worse() <= 1.0);
}

#[test]
fn a_candidate_that_answers_404_to_everything_is_rolled_back() {
    for (stables, rolled_back) in [(0.1, true), (1.0, false)] {
        let (mut record, assignment) = begun(&json!({"duration": "1h"}), &json!({"promote_when": {}}));
        let mut rng = fastrand::Rng::with_seed(1);
        for tick in 100..160 {
            let mut worker = Worker::default();
            for nth in 0..40 {
                let side = if nth % 2 == 0 { Side::Candidate } else { Side::Stable };
                let ticket = worker.arrive(tick, assignment, side);
                let client_error = side == Side::Candidate || rng.f64() < stables;
                worker.ledger.end(ticket, SECOND / 10, Shown { client_error, ..Outcome::Ok.into() });
            }
            advance(&mut record, &[&worker], tick + 1, at((tick + 1) * SECOND));
        }
        assert_eq!(record.run.phase == Phase::Failed, rolled_back, "{}", record.run.reason.sentence());
        assert_eq!(record.run.reason.sentence().contains("(client_error_rate)"), rolled_back);
    }
}
