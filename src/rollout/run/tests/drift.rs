use super::*;

/// A run whose stable version's errors are watched: ten seconds are the reference.
fn watched(fields: &Value) -> Program {
    let mut rollout = json!({
        "steps": [{"set_weight": 50}, {"pause": {"duration": "1h"}}],
        "analysis": {"metrics": [{"name": "latency"}]},
        "drift": {"metrics": ["error_rate"], "reference": "10s"},
    });
    for (field, value) in fields.as_object().unwrap() {
        rollout[field] = value.clone();
    }
    program(&rollout)
}

/// Seconds in which so many of stable's 20 requests fail.
fn seconds(run: &mut Run, program: &Program, numbers: std::ops::Range<u64>, failed: u64) {
    for number in numbers {
        let counts = Pair::new(ended((0, 20)), ended((failed, 20)));
        run.close(program, &Tick { number, share: Some(0.5), counts, ..Tick::default() }, at(number + 1));
    }
}

fn sentence(run: &Run) -> String {
    super::super::drift::sentence("error_rate", run.drift.metrics().first())
}

#[test]
fn a_sentence_says_what_is_known() {
    let program = watched(&json!({}));
    let (mut run, _) = Run::begin(&program, at(0));
    assert_eq!(sentence(&run), "error_rate has no reference yet");
    seconds(&mut run, &program, 0..11, 2);
    assert_eq!(sentence(&run), "too few observations of error_rate since its reference was frozen");
    seconds(&mut run, &program, 11..400, 2);
    seconds(&mut run, &program, 400..1_000, 4);
    assert_eq!(
        sentence(&run),
        "error_rate moves 1.4 times its noise over 5m, 0.9 times its noise over 1h, 0.9 times its noise over 1d"
    );
}

#[test]
fn a_reference_outlives_a_retry_and_a_release_beside_the_same_stable_version() {
    let old = watched(&json!({}));
    let (mut run, _) = Run::begin(&old, at(0));
    seconds(&mut run, &old, 0..60, 2);
    let before = run.drift.clone();
    assert!(before.metrics()[0].reference.is_some());
    run.command(&old, Command::Abort, at(60)).unwrap();
    run.command(&old, Command::Retry, at(61)).unwrap();
    assert_eq!(run.drift, before);
    let next = watched(&json!({"release": "next"}));
    run.push(&old, &next, at(62));
    assert_eq!((run.attempt, &run.drift), (1, &before));
    seconds(&mut run, &next, 62..63, 2);
    assert_eq!(run.drift.metrics()[0].reference, before.metrics()[0].reference);
    let other = watched(&json!({"release": "other", "stable": "green", "candidate": "blue"}));
    run.push(&next, &other, at(63));
    seconds(&mut run, &other, 63..64, 2);
    assert!(run.drift.metrics()[0].reference.is_none(), "of another version");
}

#[test]
fn a_command_takes_the_reference_anew_and_is_refused_without_enough() {
    let program = watched(&json!({}));
    let (mut run, _) = Run::begin(&program, at(0));
    let freeze = Command::Freeze { window: 2 };
    assert!(run.command(&program, freeze.clone(), at(0)).unwrap_err().0.contains("too few observations"));
    seconds(&mut run, &program, 0..60, 2);
    let revision = run.revision;
    let events = run.command(&program, freeze.clone(), at(60)).unwrap();
    assert_eq!(events[0].message, "blue is the reference of drift from now on: error_rate");
    assert_eq!((events[0].action, events[0].actor), (Action::Change, Actor::User));
    assert_eq!((run.revision, run.phase), (revision + 1, Phase::Progressing));
    let without = watched(&json!({"drift": null}));
    let refused = run.command(&without, freeze, at(61)).unwrap_err();
    assert!(refused.0.contains("no `drift`"), "{}", refused.0);
}

/// Stable's requests count while all of them are its own, but not while a pin decides: then nothing is judged.
#[test]
fn a_pin_stops_the_windows() {
    let program = watched(&json!({"pin": "blue"}));
    let (mut run, _) = Run::begin(&program, at(0));
    seconds(&mut run, &program, 0..60, 2);
    assert!(run.drift.metrics().is_empty());
}
