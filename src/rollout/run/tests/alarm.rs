use super::*;
use crate::model::Arm;

/// A run at 50 % with an alarm on the candidate's errors, and no metric that would find them.
fn alarmed(action: &str, fields: &Value) -> (Program, Run) {
    let mut rollout = json!({
        "steps": [{"set_weight": 50}, {"pause": {"duration": "1h"}}],
        "analysis": {"metrics": [{"name": "latency"}]},
        "alarms": [{"name": "errors", "signal": "error_rate", "max": 0.1, "window": "30s", "action": action}],
    });
    for (field, value) in fields.as_object().unwrap() {
        rollout[field] = value.clone();
    }
    let program = program(&rollout);
    let (run, _) = Run::begin(&program, at(0));
    (program, run)
}

/// A second in which so many of the candidate's 100 requests fail.
fn second(run: &mut Run, program: &Program, now: u64, failed: u64) -> Vec<Event> {
    let counts = Pair::new(ended((failed, 100)), ended((0, 100)));
    let tick = Tick { number: now - 1, share: Some(0.5), counts, ..Tick::default() };
    run.close(program, &tick, at(now));
    run.tick(program, &[], at(now))
}

#[test]
fn an_alarm_that_notifies_says_when_it_is_raised_and_when_it_is_over() {
    let (program, mut run) = alarmed("notify", &json!({}));
    let events: Vec<Event> =
        (1..200).flat_map(|now| second(&mut run, &program, now, if now < 20 { 50 } else { 1 })).collect();
    let actions: Vec<Action> = events.iter().map(|event| event.action).collect();
    assert_eq!(actions, [Action::Alarm, Action::Clear]);
    assert_eq!(
        events[0].message,
        "alarm errors: error_rate of green is 50.00 % in 30 s; it is raised above 10.00 %"
    );
    assert!(
        events[1].message.starts_with("alarm errors is over: error_rate of green is "),
        "{}",
        events[1].message
    );
    let finding = events[0].evidence.as_ref().unwrap();
    assert_eq!((finding.rule.as_str(), finding.value, finding.threshold), ("errors", 0.5, 0.1));
    assert_eq!(table(finding.samples).candidate, Arm { events: 50, units: 100 });
    assert_eq!((run.phase, green(&run)), (Phase::Progressing, 5_000));
}

#[test]
fn an_alarm_that_pauses_does_so_once_until_it_is_over_and_raised_again() {
    let (program, mut run) = alarmed("pause", &json!({}));
    let events = second(&mut run, &program, 1, 50);
    assert_eq!((events[0].action, run.phase), (Action::Pause, Phase::Paused));
    run.command(&program, Command::Resume, at(1)).unwrap();
    assert_eq!((run.phase, run.attempt), (Phase::Progressing, 1), "the same attempt goes on");
    assert!((2..60).all(|now| second(&mut run, &program, now, 50).is_empty()), "it is still raised");
    let events: Vec<Event> = (60..200).flat_map(|now| second(&mut run, &program, now, 0)).collect();
    assert_eq!(events[0].action, Action::Clear);
    let again: Vec<Event> = (200..220).flat_map(|now| second(&mut run, &program, now, 90)).collect();
    assert_eq!((again.len(), again[0].action, run.phase), (1, Action::Pause, Phase::Paused));
}

#[test]
fn an_alarm_that_rolls_back_takes_the_candidate_back_and_a_retry_begins_without_it() {
    let (program, mut run) = alarmed("rollback", &json!({}));
    let events = second(&mut run, &program, 1, 50);
    assert_eq!((events[0].action, run.phase, green(&run)), (Action::Rollback, Phase::Failed, 0));
    assert!(events[0].message.contains("is rolled back") && events[0].message.contains("alarm errors"));
    assert_eq!(events[0].to, of([("blue", 10_000)]));
    assert!(run.alarms.is_raised(0));
}

#[test]
fn an_impossible_action_is_only_reported() {
    let dry = json!({"analysis": {"metrics": [{"name": "latency"}], "dry_run": true}});
    let still = json!({"steps": null, "weights": {"green": 50}});
    for (action, fields) in [("rollback", &dry), ("pause", &dry), ("pause", &still)] {
        let mut all = fields.clone();
        if fields.get("steps").is_some() {
            all["steps"] = Value::Null;
        }
        let (program, mut run) = alarmed(action, &all);
        let before = (run.phase, green(&run));
        let events = second(&mut run, &program, 1, 50);
        assert_eq!(
            (events[0].action, (run.phase, green(&run))),
            (Action::Alarm, before),
            "{action} {fields}"
        );
    }
}
