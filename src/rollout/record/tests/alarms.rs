//! Alarms and drift across attempts, and when the clock goes back.

use super::*;
use crate::rollout::command::Command;
use crate::signal::tally::tests::ended;

/// A record in its thousandth second, with an alarm on each version's errors; 20 seconds are the reference of drift.
fn watched() -> Record {
    let alarm = |name: &str, of: &str| json!({"name": name, "signal": "error_rate", "of": of, "max": 0.1, "window": "30s"});
    let program = program(&json!({
        "steps": [{"set_weight": 5}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "latency"}]},
        "alarms": [alarm("green", "candidate"), alarm("blue", "stable")],
        "drift": {"metrics": ["error_rate"], "reference": "20s"},
    }));
    Record::begin(program, at(1_000 * SECOND)).0
}

/// Seconds in which so many of 100 requests of each version fail. Returns what alarms did.
fn seconds(record: &mut Record, numbers: std::ops::Range<u64>, failed: u64) -> Vec<Action> {
    let mut actions = Vec::new();
    for number in numbers {
        let counts = Pair::new(ended((failed, 100)), ended((failed, 100)));
        let tick = Tick { number, share: Some(0.05), counts, ..Tick::default() };
        let (program, now) = (record.program.clone(), at((number + 1) * SECOND).now());
        record.run.close(&program, &tick, now);
        record.closed_through = number;
        let events = record.run.tick(&program, &[], now);
        let of_alarms = events.iter().filter(|event| event.message.starts_with("alarm "));
        actions.extend(of_alarms.map(|event| event.action));
    }
    actions
}

fn are_raised(record: &Record) -> [bool; 2] {
    [0, 1].map(|at| record.run.alarms.is_raised(at))
}

#[test]
fn alarms_stay_raised_when_the_clock_goes_back_until_they_are_over() {
    let mut record = watched();
    assert_eq!(seconds(&mut record, 1_000..1_005, 50), [Action::Alarm; 2]);
    record.follow_clock_back(at(500 * SECOND));
    assert_eq!(are_raised(&record), [true; 2]);
    assert_eq!(seconds(&mut record, 500..600, 0), [Action::Clear; 2]);
}

#[test]
fn counts_for_a_reference_are_kept_when_the_clock_goes_back() {
    let mut record = watched();
    seconds(&mut record, 1_000..1_015, 2);
    record.follow_clock_back(at(500 * SECOND));
    let reference = |record: &Record| record.run.drift.metrics()[0].reference.clone();
    seconds(&mut record, 500..505, 2);
    assert_eq!(reference(&record), None, "19 seconds have passed");
    seconds(&mut record, 505..506, 2);
    assert_eq!(reference(&record).unwrap().observations, 2_000);
}

/// They say nothing of the candidate.
#[test]
fn an_alarm_about_stable_outlives_the_attempt_and_not_the_release() {
    let mut record = watched();
    seconds(&mut record, 1_000..1_005, 50);
    assert_eq!(are_raised(&record), [true; 2]);
    record.command(Command::Abort, at(1_005 * SECOND)).unwrap();
    record.command(Command::Retry, at(1_005 * SECOND)).unwrap();
    assert_eq!(are_raised(&record), [false, true]);
    let next = Program { release: "2".into(), ..record.program.clone() };
    record.push(&next, at(1_006 * SECOND));
    assert_eq!(are_raised(&record), [false; 2]);
}
