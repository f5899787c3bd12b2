//! Commands, pushes, late workers and users in any order.

use super::*;
use crate::rollout::command::tests::any;
use crate::rollout::event::Action;

fn programs() -> Vec<Program> {
    let fields = [
        json!({"blue_green": {"bake": {"weight": 10, "duration": "5s"}, "auto_rollback_window": "8s"}, "analysis": {"metrics": [{"name": "error_rate", "max": 0.2}, {"name": "latency"}], "on_failure": "pause", "promote_when": {}}}),
        json!({"blue_green": {"active": "green", "auto_rollback_window": "8s"}, "analysis": {"metrics": [{"name": "error_rate"}]}}),
        json!({"blue_green": {"auto_rollback_window": "20s"}, "pin": "green", "analysis": {"metrics": [{"name": "error_rate"}]}}),
        json!({"steps": [{"set_weight": 5}, {"pause": {"duration": "3s"}}, {"set_weight": {"green": 20, "red": 10}}, {"pause": {"duration": "3s", "min_requests": 20}}, {"set_weight": {"green": 60, "red": 0}}, {"pause": {}}], "analysis": {"metrics": [{"name": "error_rate", "max": 0.2}], "on_failure": "alarm"}}),
        json!({"weights": {"green": 30, "red": 5}, "analysis": {"metrics": [{"name": "latency", "tolerate": 1}], "dry_run": true}}),
        json!({"weights": {"green": 30}}),
    ];
    fields.iter().map(|fields| compiled(with_users(fields))).collect()
}

/// A second of a worker's users, some of whom wait.
fn second(
    rng: &mut fastrand::Rng,
    worker: &mut Worker,
    record: &Record,
    tick: u64,
    broken: bool,
) -> Vec<Ticket> {
    let share = record.run.candidate_share(&record.program);
    let mut open = Vec::new();
    for _ in 0..rng.u64(..120) {
        let user = rng.u64(..if broken { 100 } else { 3_000 });
        let is_candidate = share.is_some_and(|share| (hash(user).0 % 1_000) as f64 / 1_000.0 < share);
        let side = if is_candidate { Side::Candidate } else { Side::Stable };
        let assignment = unknown(record.head("r").assignment, u64::from(rng.u16(..3_000) == 0));
        let ticket = worker.arrive_from(tick, assignment, side, hash(user));
        if rng.u8(..5) == 0 {
            if rng.bool() {
                worker.ledger.answer(&ticket);
                if rng.bool() {
                    worker.ledger.observe(&ticket, LATENCY.id, Observed::Duration(1_000_000));
                }
            }
            open.push(ticket);
        } else {
            worker.end(ticket, rng.u64(1..2 * SECOND), (broken && is_candidate) || user.is_multiple_of(50));
        }
    }
    open
}

fn check(record: &Record, events: &[Event]) {
    for Event { action, message, evidence, .. } in events {
        if let Some(finding) = evidence {
            let seen = table(finding.samples);
            assert!(seen.iter().all(|(_, arm)| arm.events <= arm.units), "{message}");
            assert!(seen.candidate.events + seen.stable.events > 0, "{message}");
        }
        assert!(*action != Action::Rollback || !message.contains("at 0 %"), "{message}");
    }
    let run = &record.run;
    assert!(run.judge.reading().all.is_finite());
    assert!(run.phase != Phase::Paused || !run.reason.sentence().is_empty());
    let all_to_green = run.in_force().get("green") == Some(&Share::ALL);
    let is_flipped = run.phase == Phase::Succeeded && record.program.blue_green;
    assert!(!is_flipped || all_to_green || record.program.pin.is_some());
}

fn check_stored(record: &Record) {
    let bytes = postcard::to_allocvec(record).unwrap();
    let stored: Record = postcard::from_bytes(&bytes).unwrap();
    assert!(postcard::to_allocvec(&stored).unwrap() == bytes, "another record comes back");
}

#[test]
fn events_are_consistent_for_inputs_in_any_order() {
    let programs = programs();
    for seed in 0..30 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut record, _) = Record::begin(programs[rng.usize(..programs.len())].clone(), at(100 * SECOND));
        let mut workers = [Worker::default(), Worker::default()];
        let mut open: Vec<(usize, Ticket)> = Vec::new();
        for tick in 100..160 {
            let broken = rng.u8(..8) == 0;
            for (nth, worker) in workers.iter_mut().enumerate() {
                worker.ledger.forget_through(record.closed_through);
                worker.ledger.watch(&record.watch());
                let waits = second(&mut rng, worker, &record, tick, broken);
                open.extend(waits.into_iter().map(|ticket| (nth, ticket)));
            }
            let (ended, waits) = std::mem::take(&mut open).into_iter().partition(|_| rng.u8(..3) == 0);
            open = waits;
            let ended: Vec<(usize, Ticket)> = ended;
            ended.into_iter().for_each(|(nth, ticket)| {
                workers[nth].end(ticket, rng.u64(1..6 * SECOND), rng.bool());
            });
            let known = if rng.u8(..6) == 0 { tick - 1 } else { tick + 1 };
            let now = at((tick + 1) * SECOND);
            let mut events = advance(&mut record, &[&workers[0], &workers[1]], known, now);
            if rng.u8(..6) == 0 {
                events.extend(record.command(any(&mut rng), now).unwrap_or_default());
            }
            if rng.u8(..25) == 0 {
                events.extend(record.push(&programs[rng.usize(..programs.len())], now));
            }
            check(&record, &events);
            if tick % 10 == 0 {
                check_stored(&record);
            }
        }
    }
}
