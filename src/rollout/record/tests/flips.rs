//! Blue/green, from the workers' reports: which side was judged before a flip, and which events follow.

use super::*;
use crate::rollout::ready::{Answer, Said};

fn baking(on_failure: &str) -> serde_json::Value {
    json!({
        "blue_green": {"bake": {"weight": 10, "duration": "1h"}, "auto_rollback_window": "30s"},
        "analysis": {"metrics": [{"name": "error_rate"}], "on_failure": on_failure},
    })
}

fn watching() -> serde_json::Value {
    json!({"blue_green": {"auto_rollback_window": "30s"}, "analysis": {"metrics": [{"name": "error_rate"}]}})
}

fn switch(record: &mut Record, active: &str, second: u64) -> Vec<Event> {
    record.command(Command::Switch { active: active.into() }, at(second * SECOND)).unwrap()
}

/// So many users of a side in one tick, which closes.
fn users(
    record: &mut Record,
    tick: u64,
    side: Side,
    users: std::ops::Range<u64>,
    fails: impl Fn(u64) -> bool,
) {
    let assignment = record.head("r").assignment;
    let mut worker = Worker::default();
    users.for_each(|user| worker.visit(tick, assignment, side, hash(user), fails(user)));
    advance(record, &[&worker], tick + 1, at((tick + 1) * SECOND));
}

#[test]
fn a_flip_past_a_finding_is_watched() {
    let (mut record, assignment) = begun_with_users(&baking("pause"));
    let mut worker = Worker::default();
    (0..3_000).for_each(|user| worker.visit(100, assignment, Side::Stable, hash(user), user % 100 == 0));
    (0..30).for_each(|user| worker.visit(101, assignment, Side::Candidate, hash(10_000 + user), true));
    advance(&mut record, &[&worker], 102, at(102 * SECOND));
    assert_eq!(record.run.phase, Phase::Paused);
    record.command(Command::Promote { full: false }, at(102 * SECOND)).unwrap();
    assert!(
        record.run.window().is_some(),
        "3,000 users of blue were judged before: {}",
        record.run.reason.sentence()
    );
}

#[test]
fn a_retry_that_flips_is_watched_and_does_not_speak_of_a_bake() {
    let (mut record, _) = begun_with_users(&json!({
        "blue_green": {"active": "green", "auto_rollback_window": "30s"},
        "analysis": {"metrics": [{"name": "error_rate"}]},
    }));
    record.command(Command::Abort, at(100 * SECOND)).unwrap();
    users(&mut record, 101, Side::Stable, 0..3_000, |user| user % 100 == 0);
    record.command(Command::Retry, at(102 * SECOND)).unwrap();
    assert!(
        record.run.window().is_some(),
        "3,000 users of blue were judged before: {}",
        record.run.reason.sentence()
    );

    let (mut record, _) = begun_with_users(&baking("abort"));
    switch(&mut record, "green", 101);
    users(&mut record, 102, Side::Candidate, 0..2_000, |_| false);
    switch(&mut record, "blue", 103);
    users(&mut record, 104, Side::Stable, 0..2_000, |_| true);
    assert_eq!(record.run.phase, Phase::Failed);
    let events = record.command(Command::Retry, at(105 * SECOND)).unwrap();
    assert_eq!(events[0].message, "release 1, attempt 2: all traffic to blue, green on standby");
}

#[test]
fn users_are_not_counted_twice_before_a_flip() {
    let (mut record, _) = begun_with_users(&baking("abort"));
    users(&mut record, 100, Side::Stable, 0..600, |_| false);
    switch(&mut record, "blue", 101);
    users(&mut record, 102, Side::Stable, 0..600, |_| false);
    switch(&mut record, "green", 103);
    let expected = "green is not watched after the flip, so there is no automatic rollback: only 600 of blue's users were judged \
                    before the flip, and 1000 are needed";
    assert_eq!((record.run.reason.sentence().as_ref(), record.run.phase), (expected, Phase::Succeeded));
}

#[test]
fn the_reason_names_the_window_that_is_configured() {
    let with = |window: &str| {
        let mut fields = watching();
        fields["blue_green"]["auto_rollback_window"] = window.into();
        compiled(with_users(&fields))
    };
    let (mut record, _) = begun_with_users(&watching());
    users(&mut record, 101, Side::Stable, 0..3_000, |_| false);
    switch(&mut record, "green", 102);
    record.push(&with("1h"), at(103 * SECOND));
    assert!(
        record.run.reason.sentence().starts_with("green is watched for 60 min: "),
        "{}",
        record.run.reason.sentence()
    );
}

#[test]
fn a_watch_without_an_answer_does_not_end() {
    let (mut record, _) = begun_with_users(&watching());
    users(&mut record, 101, Side::Stable, 0..3_000, |_| false);
    switch(&mut record, "green", 102);
    for second in 103..200 {
        advance(&mut record, &[], second, at(second * SECOND));
    }
    assert_eq!(record.run.phase, Phase::Progressing);
    assert_eq!(
        record.run.reason.sentence(),
        "green is watched until it answers a request well: it has not since the flip"
    );
    users(&mut record, 200, Side::Candidate, 10_000..10_100, |_| false);
    for second in 202..206 {
        advance(&mut record, &[], second, at(second * SECOND));
    }
    assert_eq!(record.run.phase, Phase::Succeeded);
}

#[test]
fn a_flip_under_a_pin_says_that_it_waits() {
    let with = |active: &str| {
        let mut fields = watching();
        (fields["blue_green"]["active"], fields["pin"]) = (active.into(), "blue".into());
        compiled(with_users(&fields))
    };
    let (mut record, _) = Record::begin(with("blue"), at(100 * SECOND));
    let events = record.push(&with("green"), at(102 * SECOND));
    assert_eq!(events[0].message, "once the pin is removed: all traffic moved from blue to green");
    assert_eq!(events[0].from, events[0].to);
}

/// A person has flipped back already when the last seconds of green close.
#[test]
fn ticks_that_close_after_a_flip_back_end_no_watch() {
    let mut fields = watching();
    fields["analysis"]["metrics"][0]["max"] = 0.05.into();
    fields.as_object_mut().unwrap().insert("session_affinity".into(), serde_json::Value::Null);
    let (mut record, assignment) = begun_with_users(&fields);
    let mut worker = Worker::default();
    worker.tick(101, assignment, (0, 0), (0, 2_000));
    advance(&mut record, &[&worker], 102, at(102 * SECOND));
    switch(&mut record, "green", 102);
    let green = record.head("r").assignment;
    worker.tick(103, green, (0, 1_500), (0, 0));
    advance(&mut record, &[&worker], 104, at(104 * SECOND));
    let slow: Vec<_> = (0..300).map(|_| worker.arrive(104, green, Side::Candidate)).collect();
    switch(&mut record, "blue", 105);
    slow.into_iter().for_each(|ticket| worker.end(ticket, 2 * SECOND, true));
    let events = advance(&mut record, &[&worker], 106, at(106 * SECOND));
    let begin = "green no longer has traffic; before that, green exceeds its limit (error_rate.max: over 5.00 %): 300 of";
    assert!(events[0].message.starts_with(begin), "{}", events[0].message);
    assert_eq!(record.run.phase, Phase::Progressing);
    assert!(record.run.window_lasts(&record.program).is_some(), "blue is watched");
}

/// The candidate is found bad after a flip back, and gets all traffic once more when it is ready.
#[test]
fn a_flip_that_begins_another_attempt_has_the_candidates_alarms_act_once_more() {
    let (mut record, _) = begun_with_users(&json!({
        "session_affinity": null,
        "blue_green": {"ready": {"path": "/ready", "successes": 1, "timeout": "30s"}},
        "analysis": {"metrics": [{"name": "error_rate", "max": 0.05}]},
        "alarms": [{"name": "green", "signal": "error_rate", "of": "candidate", "max": 0.1, "window": "30s"}],
    }));
    let flip = |record: &mut Record, second: u64| {
        switch(record, "green", second);
        let (_, asked) = record.ask(at(second * SECOND)).unwrap();
        record.hear(Answer { asked, said: Said::Status(200) });
        advance(record, &[], second + 1, at((second + 1) * SECOND));
        record.head("r").assignment
    };
    let green = flip(&mut record, 101);
    let mut worker = Worker::default();
    worker.tick(102, green, (1_000, 1_000), (0, 0));
    switch(&mut record, "blue", 103);
    let events = advance(&mut record, &[&worker], 103, at(103 * SECOND));
    assert_eq!(events.iter().filter(|event| event.action == Action::Alarm).count(), 2, "{events:?}");
    assert!(record.run.alarms.is_raised(0));
    flip(&mut record, 104);
    assert_eq!((record.run.attempt, record.run.alarms.is_raised(0)), (2, false));
}
