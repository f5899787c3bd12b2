//! The watch after the last step.

use super::*;

fn watched(window: &str) -> Program {
    program(&json!({
        "steps": [{"set_weight": 50}, {"pause": {"duration": "10s"}}], "auto_rollback_window": window,
        "analysis": {"metrics": [{"name": "error_rate"}]},
    }))
}

/// A second of 400 requests, shared by the weights, of which so many in a hundred fail on each side.
fn second(run: &mut Run, program: &Program, now: u64, (blue, green): (u64, u64)) -> Vec<Event> {
    let share = run.candidate_share(program);
    let requests = 4 * u64::from(super::green(run)) / 100;
    let counts = |failing: u64, requests: u64| ended((requests * failing / 100, requests));
    let counts = Pair::new(counts(green, requests), counts(blue, 400 - requests));
    run.close(program, &Tick { number: now - 1, share, counts, ..Tick::default() }, at(now));
    run.tick(program, &[], at(now))
}

/// A run whose last step ends, and the events of that moment.
fn done(program: &Program) -> (Run, Vec<Event>, u64) {
    let (mut run, _) = Run::begin(program, at(0));
    for now in 1..=100 {
        let events = second(&mut run, program, now, (0, 0));
        if !events.is_empty() {
            return (run, events, now);
        }
    }
    panic!("{run:?}");
}

fn actions(events: &[Event]) -> Vec<Action> {
    events.iter().map(|event| event.action).collect()
}

#[test]
fn a_candidate_that_stays_good_succeeds_when_the_watch_is_over() {
    let program = watched("30s");
    let (mut run, events, now) = done(&program);
    assert_eq!(actions(&events), [Action::Step]);
    assert_eq!(events[0].message, "green has taken over all of blue's traffic");
    assert_eq!(
        (run.phase, green(&run), run.window_lasts(&program)),
        (Phase::Progressing, 10_000, Some(30_000))
    );
    let reason = "green is watched for 30 s: it is rolled back to blue if clearly more than 1.23 % of its requests fail";
    assert_eq!(run.reason.sentence(), reason);
    for now in now + 1..now + 30 {
        assert_eq!(second(&mut run, &program, now, (0, 1)), []);
    }
    let events = second(&mut run, &program, now + 30, (0, 1));
    assert_eq!((actions(&events), run.phase), (vec![Action::Succeed], Phase::Succeeded));
    let known = events[0].evidence.as_ref().unwrap();
    assert_eq!((known.rule.as_str(), known.samples.units().candidate), ("error_rate.window", 29 * 400));
    assert_eq!(run.reason.sentence(), "");
}

#[test]
fn a_candidate_whose_only_request_failed_does_not_succeed_when_the_watch_is_over() {
    let program = watched("30s");
    let (mut run, _, mut now) = done(&program);
    let mut one = |run: &mut Run, seconds: u64, counts: (u64, u64)| {
        for later in 0..seconds {
            now += 1;
            let counts = Pair::new(ended(if later == 0 { counts } else { (0, 0) }), ended((0, 0)));
            run.close(
                &program,
                &Tick { number: now - 1, share: Some(1.0), counts, ..Tick::default() },
                at(now),
            );
            run.tick(&program, &[], at(now));
        }
    };
    one(&mut run, 1, (0, 0)); // in which all traffic moved
    one(&mut run, 60, (1, 1));
    let reason = "green is watched until it answers a request well: it has not since the last step";
    assert_eq!((run.phase, run.reason.sentence().as_ref()), (Phase::Progressing, reason));
    one(&mut run, 1, (0, 1));
    assert_eq!(run.phase, Phase::Succeeded);
}

#[test]
fn a_candidate_that_breaks_after_the_last_step_is_rolled_back() {
    let program = watched("30s");
    let (mut run, _, now) = done(&program);
    let events: Vec<Event> =
        (1..=5).flat_map(|later| second(&mut run, &program, now + later, (0, 50))).collect();
    assert_eq!(actions(&events), [Action::Rollback]);
    assert_eq!((run.phase, green(&run)), (Phase::Failed, 0));
    let message = &events[0].message;
    assert!(
        message.starts_with("green is rolled back, all traffic goes to blue: since the last step, "),
        "{message}"
    );
    assert_eq!(events[0].evidence.as_ref().unwrap().rule, "error_rate.window");
    assert!(run.window().is_some(), "what was seen stays");
    run.command(&program, Command::Retry, at(now + 6)).unwrap();
    assert_eq!((run.phase, green(&run), run.window()), (Phase::Progressing, 5_000, None));
}

#[test]
fn without_the_window_nobody_is_watched() {
    let program = Program { window: None, ..watched("30s") };
    let (mut run, events, now) = done(&program);
    assert_eq!((actions(&events), run.phase), (vec![Action::Succeed], Phase::Succeeded));
    for now in now + 1..now + 60 {
        assert_eq!(second(&mut run, &program, now, (0, 100)), []);
    }
    assert_eq!((run.phase, green(&run)), (Phase::Succeeded, 10_000));
}

#[test]
fn a_stable_version_that_was_hardly_judged_gives_nothing_to_compare_with() {
    let program = watched("30s");
    let (mut run, _) = Run::begin(&program, at(0));
    let events = run.command(&program, Command::Promote { full: true }, at(1)).unwrap();
    assert_eq!(actions(&events), [Action::Step, Action::Alarm, Action::Succeed]);
    assert_eq!(run.phase, Phase::Succeeded);
    assert_eq!(
        run.reason.sentence(),
        "green is not watched after the last step, so there is no automatic rollback: only 0 of blue's requests were \
         judged before the last step, and 1000 are needed"
    );
}

#[test]
fn commands_and_pushes_end_or_keep_the_watch() {
    let program = watched("30s");
    let ended = |command: Command| {
        let (mut run, _, now) = done(&program);
        run.command(&program, command, at(now + 1)).unwrap();
        (run.phase, green(&run), run.window_lasts(&program).is_some())
    };
    assert_eq!(ended(Command::Promote { full: false }), (Phase::Succeeded, 10_000, false));
    assert_eq!(ended(Command::Abort), (Phase::Aborted, 0, false));
    assert_eq!(ended(Command::Pause), (Phase::Paused, 10_000, true));
    assert_eq!(ended(Command::Weight(of([("green", 5_000)]))), (Phase::Paused, 5_000, false));

    let (mut run, _, now) = done(&program);
    run.command(&program, Command::Pause, at(now)).unwrap();
    run.command(&program, Command::Resume, at(now)).unwrap();
    assert_eq!((run.phase, run.window_lasts(&program)), (Phase::Progressing, Some(30_000)));
    // Other steps are not walked any more; the watch goes on, as long as is configured now.
    let other = super::program(&json!({
        "steps": [{"set_weight": 5}, {"pause": {}}, {"set_weight": 10}, {"pause": {}}], "auto_rollback_window": "1m",
        "analysis": {"metrics": [{"name": "error_rate"}]},
    }));
    run.push(&program, &other, at(now));
    assert_eq!(
        (run.phase, green(&run), run.window_lasts(&other)),
        (Phase::Progressing, 10_000, Some(60_000))
    );
    let without = Program { window: None, ..other.clone() };
    run.push(&other, &without, at(now));
    let events = second(&mut run, &without, now + 1, (0, 0));
    assert_eq!((actions(&events), run.phase), (vec![Action::Succeed], Phase::Succeeded));
}
