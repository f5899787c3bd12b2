//! A worker's circuit breaker.

use super::*;
use crate::analysis::kernel::ratio::Table;
use crate::rollout::program::Until;
use crate::telemetry::breaker::Trip;

fn breaking(more: &Value) -> Program {
    let mut analysis = json!({"circuit_breaker": {"consecutive_errors": 20}});
    analysis.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stepping(analysis)
}

fn stepping(mut analysis: Value) -> Program {
    analysis["metrics"] = json!([{"name": "error_rate"}]);
    program(&json!({"steps": [{"set_weight": 5}, {"pause": {}}], "analysis": analysis}))
}

fn trip(run: &Run, program: &Program) -> Command {
    let seen = Table::of((20, 20), (1, 380));
    Command::Trip(Trip { assignment: run.assignment(program), seen })
}

#[test]
fn the_run_fails_and_says_what_was_seen() {
    let program = breaking(&json!({}));
    let (mut run, _) = Run::begin(&program, at(0));
    let command = trip(&run, &program);
    let events = run.command(&program, command.clone(), at(1)).unwrap();
    assert_eq!((run.phase, green(&run)), (Phase::Failed, 0));
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((event.action, event.actor), (Action::Rollback, Actor::Auto));
    assert_eq!(
        event.message,
        "green is rolled back, its traffic goes to blue: at 5 % the circuit breaker saw 20 consecutive errors \
         from green on one worker, while blue is healthy: 1 of 380 requests (0.3 %) failed"
    );
    let finding = event.evidence.as_ref().unwrap();
    assert_eq!((finding.rule.as_str(), finding.value, finding.threshold), ("circuit_breaker", 20.0, 20.0));
    assert_eq!(table(finding.samples).stable.units, 380);
    // It stays failed, also when others come with the same.
    assert!(run.command(&program, command, at(1)).is_err());
    for now in 2..100 {
        assert_eq!(second(&mut run, &program, now, 0, 0), []);
    }
    assert_eq!(run.phase, Phase::Failed);
}

#[test]
fn errors_of_an_old_assignment_do_not_trip() {
    let program = breaking(&json!({}));
    let (mut run, _) = Run::begin(&program, at(0));
    let before = trip(&run, &program);
    run.command(&program, Command::Abort, at(1)).unwrap();
    assert!(run.command(&program, before.clone(), at(1)).is_err(), "a person was first");
    assert_eq!(run.phase, Phase::Aborted);
    run.command(&program, Command::Retry, at(2)).unwrap();
    assert!(run.command(&program, before, at(2)).is_err(), "of another attempt");
    assert_eq!((run.phase, run.attempt, green(&run)), (Phase::Paused, 2, 500));
    let present = trip(&run, &program);
    run.command(&program, present, at(3)).unwrap();
    assert_eq!(run.phase, Phase::Failed);
}

#[test]
fn a_paused_run_is_rolled_back_and_a_pinned_one_is_not() {
    let program = breaking(&json!({}));
    let (mut run, _) = Run::begin(&program, at(0));
    assert_eq!(run.phase, Phase::Paused);
    let mut pinned = program.clone();
    pinned.pin = Some("green".into());
    run.push(&program, &pinned, at(1));
    let command = trip(&run, &pinned);
    assert!(run.command(&pinned, command, at(1)).is_err());
    run.push(&pinned, &program, at(2));
    let command = trip(&run, &program);
    run.command(&program, command, at(2)).unwrap();
    assert_eq!(run.phase, Phase::Failed);
}

#[test]
fn without_a_breaker_nothing_trips() {
    let program = stepping(json!({}));
    let (mut run, _) = Run::begin(&program, at(0));
    let command = trip(&run, &program);
    assert!(run.command(&program, command, at(1)).is_err());
    assert_eq!(run.phase, Phase::Paused);
}

#[test]
fn other_failure_actions_happen_once_an_attempt() {
    for (more, action, phase) in [
        (json!({"dry_run": true}), Action::Alarm, Phase::Progressing),
        (json!({"on_failure": "alarm"}), Action::Alarm, Phase::Progressing),
        (json!({"on_failure": "pause"}), Action::Pause, Phase::Paused),
    ] {
        let mut program = breaking(&more);
        program.steps = vec![Step::Weights(of([("green", 500)])), pause_of_an_hour()];
        let (mut run, _) = Run::begin(&program, at(0));
        let command = trip(&run, &program);
        let events = run.command(&program, command.clone(), at(1)).unwrap();
        assert_eq!(events.iter().map(|event| event.action).collect::<Vec<_>>(), [action], "{more}");
        assert_eq!((run.phase, green(&run)), (phase, 500), "{more}");
        assert!(run.command(&program, command, at(2)).is_err(), "{more}: said already");
        // Resuming acknowledges it: from here on it is another attempt, with a breaker of its own.
        if run.phase == Phase::Paused {
            run.command(&program, Command::Resume, at(3)).unwrap();
            let command = trip(&run, &program);
            assert_eq!(run.command(&program, command, at(4)).unwrap().len(), 1);
        }
        // What is to be done is configured anew: it is done.
        let acting = Program { analysis: breaking(&json!({})).analysis, ..program.clone() };
        run.push(&program, &acting, at(5));
        let command = trip(&run, &acting);
        run.command(&acting, command, at(6)).unwrap();
        assert_eq!((run.phase, green(&run)), (Phase::Failed, 0), "{more}");
    }
}

fn pause_of_an_hour() -> Step {
    Step::Pause(Pause::Until(Until { duration: 3_600_000, ..Until::default() }))
}
