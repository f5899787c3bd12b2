use super::*;
use crate::analysis::totals::tests::table;
use crate::model::{Arm, Pair};
use crate::rollout::command::tests::any as any_command;
use crate::rollout::fixture;
pub(super) use crate::rollout::fixture::with_red as program;
use crate::rollout::program::{Pause, Step};
use crate::signal::tally::tests::ended;
use proptest::prelude::*;
use serde_json::{Value, json};

mod alarm;
mod drift;
mod due;
mod holds;
mod ladder;
mod pushes;
mod ready;
mod trip;
mod watch;

pub(super) fn steps() -> Program {
    program(&json!({
        "mirror": {"to": "red"},
        "steps": [
            {"set_mirror": {"percent": 50}}, {"set_weight": 5}, {"pause": {"duration": "10s", "min_requests": 20}},
            {"set_weight": 25}, {"pause": {}}, {"set_weight": {"green": 50, "red": 10}}, {"pause": {"duration": "1m"}},
        ],
        "analysis": {"metrics": [{"name": "error_rate"}], "progress_deadline": "1h"},
    }))
}

/// Blue/green with these fields, judged by errors.
pub(super) fn blue_green(fields: &Value) -> Program {
    program(&json!({"blue_green": fields, "analysis": {"metrics": [{"name": "error_rate"}]}}))
}

pub(super) fn green(run: &Run) -> u16 {
    run.in_force().get("green").map_or(0, |share| share.basis_points())
}

/// Shares in hundredths of a percent.
pub(super) fn of<const N: usize>(shares: [(&str, u16); N]) -> Shares {
    shares.into_iter().map(|(name, share)| (name.to_owned(), Share::new(share))).collect()
}

/// What a run waits for, and who has stopped it.
pub(super) fn turn<'a>(program: &'a Program, run: &'a mut Run) -> Turn<'a> {
    Turn::new(program, run, at(0))
}

/// Seconds since the beginning.
pub(super) fn at(second: u64) -> Now {
    Now { time: second * 1_000, uptime_ms: second * 1_000, tick: second }
}

/// A tick at 5 % in which the candidate has (errors, requests), and stable one error in every tenth tick.
fn tick(number: u64, errors: u64, requests: u64) -> Tick {
    let stable = ended((u64::from(number.is_multiple_of(10)).min(requests), 19 * requests));
    let counts = Pair::new(ended((errors, requests)), stable);
    Tick { number, share: Some(0.05), counts, ..Tick::default() }
}

fn arm(events: u64, units: u64) -> Arm {
    Arm { events, units }
}

/// A second goes by in which the candidate has (errors, requests).
fn second(run: &mut Run, program: &Program, now: u64, errors: u64, requests: u64) -> Vec<Event> {
    run.close(program, &tick(now - 1, errors, requests), at(now));
    run.tick(program, &[], at(now))
}

#[test]
fn a_healthy_candidate_takes_its_steps() {
    let program = steps();
    let (mut run, events) = Run::begin(&program, at(0));
    assert_eq!(events.iter().map(|event| event.action).collect::<Vec<_>>(), [Action::Start, Action::Step]);
    assert_eq!(events[1].message, "step 3 of 7: green at 5 % for 10 s and 20 requests");
    assert_eq!(
        (run.phase, run.position, run.mirror, green(&run)),
        (Phase::Progressing, 2, Some(Share::new(5_000)), 500)
    );
    assert_eq!(run.candidate_share(&program), Some(0.05));
    assert_eq!(run.mirror_share(&program), Some(Share::new(5_000)));
    // Ten seconds are not enough without twenty requests, nor the other way round.
    for now in 1..=12 {
        assert_eq!(second(&mut run, &program, now, 0, 1), [], "{now}");
    }
    let events = second(&mut run, &program, 13, 0, 10);
    assert_eq!(events[0].message, "step 5 of 7: green at 25 %, until it is promoted");
    assert_eq!(events[0].from, of([("blue", 9_500), ("green", 500)]));
    assert_eq!(events[0].to, of([("blue", 7_500), ("green", 2_500)]));
    assert_eq!((run.phase, green(&run)), (Phase::Paused, 2_500));
    let known = events[0].evidence.as_ref().unwrap();
    assert_eq!(
        (known.rule.as_str(), known.threshold),
        ("error_rate", 2.0),
        "what is known when it waits for a person"
    );
    assert_eq!(table(known.samples), Pair::new(arm(0, 22), arm(2, 418)), "of the step that has ended");
    for now in 14..=100 {
        assert_eq!(second(&mut run, &program, now, 0, 5), [], "it waits for a person");
    }
    assert_eq!(
        run.command(&program, Command::Resume, at(100)),
        Err(Refused("the rollout is paused at a step that waits for a promotion; promote it".into()))
    );
    let events = run.command(&program, Command::Promote { full: false }, at(100)).unwrap();
    assert_eq!((events[0].actor, &events[0].evidence), (Actor::User, &None));
    assert_eq!(run.in_force(), &of([("green", 5_000), ("red", 1_000)]));
    for now in 101..=159 {
        assert_eq!(second(&mut run, &program, now, 0, 5), []);
    }
    let events = second(&mut run, &program, 160, 0, 5);
    assert_eq!(events[0].message, "green has taken over all of blue's traffic");
    let known = events[0].evidence.as_ref().unwrap();
    assert_eq!(known.samples.units().candidate, 59 * 5, "of the last step");
    assert_eq!(run.phase, Phase::Succeeded);
    assert_eq!(run.in_force(), &of([("green", 9_000), ("red", 1_000)]));
}

#[test]
fn a_failing_candidate_is_rolled_back_and_the_event_says_why() {
    let program = steps();
    let (mut run, _) = Run::begin(&program, at(0));
    let mut now = 0;
    let events = loop {
        now += 1;
        let events = second(&mut run, &program, now, 1, 1);
        if !events.is_empty() {
            break events;
        }
    };
    assert!(now <= 9, "{now} requests");
    assert_eq!((run.phase, green(&run)), (Phase::Failed, 0));
    assert!(!run.may_mirror(&program));
    assert_eq!(run.mirror_share(&program), Some(Share::NONE));
    let event = &events[0];
    assert_eq!((event.action, event.actor), (Action::Rollback, Actor::Auto));
    let evidence = event.evidence.as_ref().unwrap();
    assert!(evidence.value >= 2.0 && evidence.threshold == 2.0);
    // What arrived while the first step began is its own: there was none before.
    let seen = now;
    assert_eq!(table(evidence.samples).candidate.events, seen);
    let start = format!(
        "green is rolled back, its traffic goes to blue: at 5 % green is worse than blue (error_rate): {seen} of {seen} requests \
         (100.0 %) against 1 of {} requests ({:.1} %); evidence against green: ",
        19 * seen,
        100.0 / (19 * seen) as f64
    );
    assert!(event.message.starts_with(&start), "{}", event.message);
    assert!(event.message.ends_with(" to 1 (it is rolled back at 100 to 1)"), "{}", event.message);
    // It stays so until a retry.
    assert!(run.command(&program, Command::Promote { full: false }, at(now)).is_err());
    assert!(run.command(&program, Command::Resume, at(now)).is_err());
    let events = run.command(&program, Command::Retry, at(now)).unwrap();
    assert_eq!(
        (events[0].action, run.attempt, run.phase, green(&run)),
        (Action::Retry, 2, Phase::Progressing, 500)
    );
    assert_eq!(run.judge.reading().all, 1.0, "no evidence is left");
}

#[test]
fn a_release_that_must_not_be_rolled_back_pauses_or_alarms_once() {
    for (on_failure, dry_run, phase, action) in [
        ("pause", false, Phase::Paused, Action::Pause),
        ("alarm", false, Phase::Progressing, Action::Alarm),
        ("abort", true, Phase::Progressing, Action::Alarm),
    ] {
        let program = program(&json!({
            "steps": [{"set_weight": 5}, {"pause": {"duration": "1h"}}],
            "analysis": {"metrics": [{"name": "error_rate"}], "on_failure": on_failure, "dry_run": dry_run},
        }));
        let (mut run, _) = Run::begin(&program, at(0));
        let events: Vec<Event> = (1..=60).flat_map(|now| second(&mut run, &program, now, 1, 1)).collect();
        assert_eq!(events.len(), 1, "{on_failure}: {events:?}");
        assert_eq!((events[0].action, run.phase, green(&run)), (action, phase, 500));
        if phase == Phase::Paused {
            // Going on after that is another attempt, at the same step.
            run.command(&program, Command::Resume, at(60)).unwrap();
            assert_eq!((run.attempt, run.phase, run.position), (2, Phase::Progressing, 1));
            assert_eq!(run.judge.reading().all, 1.0);
        }
    }
}

#[test]
fn a_step_that_cannot_end_pauses() {
    let program = steps();
    let (mut run, _) = Run::begin(&program, at(0));
    let events: Vec<Event> = (1..=3_600).flat_map(|now| run.tick(&program, &[], at(now))).collect();
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0].message,
        "step 3 of 7 did not finish within 60 min: 0 of green's requests were judged"
    );
    assert_eq!(events[0].evidence.as_ref().unwrap().samples.units(), Pair::default());
    assert_eq!(run.phase, Phase::Paused);
    run.command(&program, Command::Resume, at(3_600)).unwrap();
    assert_eq!(run.phase, Phase::Progressing);
}

#[test]
fn a_pin_stops_everything_and_an_abort_beats_it() {
    let free = steps();
    let pinned = Program { pin: Some("red".into()), ..free.clone() };
    let (mut run, _) = Run::begin(&free, at(0));
    let events = run.push(&free, &pinned, at(5));
    assert_eq!(events[0].message, "all traffic is pinned to red");
    assert_eq!(run.in_force(), &of([("red", 10_000)]));
    assert_eq!(run.phase, Phase::Progressing, "the phase stands beside the pin");
    for now in 6..100 {
        assert_eq!(second(&mut run, &pinned, now, 1, 5), [], "steps and judge are stopped");
    }
    assert!(run.command(&pinned, Command::Promote { full: true }, at(100)).is_err());
    let timed = program(&json!({"steps": [{"set_weight": 5}, {"pause": {"duration": "1s"}}], "pin": "blue"}));
    let (mut waiting, _) = Run::begin(&timed, at(0));
    let events: Vec<Event> = (1..60).flat_map(|now| waiting.tick(&timed, &[], at(now))).collect();
    assert_eq!(events, [], "time does not count either");
    // Unpinned, the same step starts anew.
    run.push(&pinned, &free, at(100));
    assert_eq!((green(&run), run.position), (500, 2));
    assert_eq!(second(&mut run, &free, 101, 0, 30), []);
    // An abort beats the pin, until a push changes it.
    run.push(&free, &pinned, at(102));
    run.command(&pinned, Command::Abort, at(103)).unwrap();
    assert_eq!((run.phase, run.in_force()), (Phase::Aborted, &Shares::new()));
    run.push(&pinned, &Program { weights: Shares::new(), ..pinned.clone() }, at(104));
    assert_eq!(run.in_force(), &Shares::new(), "the pin did not change");
    run.push(&pinned, &Program { pin: Some("green".into()), ..pinned.clone() }, at(105));
    assert_eq!(green(&run), 10_000);
}

/// A version's users depend on the names of all versions.
#[test]
fn another_version_begins_the_step_over_where_users_are_judged() {
    let fields = json!({
        "steps": [{"set_weight": 20}, {"pause": {"duration": "10s"}}, {"set_weight": 100}],
        "session_affinity": {"header": "x-user-id"}, "analysis": {"metrics": [{"name": "error_rate"}]},
    });
    let before = program(&fields);
    let mut after = before.clone();
    after.versions.insert(0, "amber".into());
    let (mut run, _) = Run::begin(&before, at(0));
    (1..=9).for_each(|now| drop(run.tick(&before, &[], at(now))));
    let assignment = run.assignment(&before);
    let events = run.push(&before, &after, at(9));
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].message.starts_with("the versions have changed"), "{events:?}");
    assert_eq!(run.waited(at(9)), 0);
    assert_ne!(run.assignment(&after), assignment);
}

#[test]
fn pushes_change_what_differs_and_nothing_else() {
    let before = steps();
    let (mut run, _) = Run::begin(&before, at(0));
    (1..=9).for_each(|now| drop(second(&mut run, &before, now, 0, 1)));
    let judged = run.judge.reading();
    assert_eq!(run.push(&before, &before, at(9)), []);
    assert_eq!(run.judge.reading(), judged);

    // Another list of steps: on at the same weight or the next lower one.
    let other = |list: Value| Program { steps: program(&json!({"steps": list})).steps, ..before.clone() };
    let same =
        other(json!([{"set_weight": 1}, {"pause": {}}, {"set_weight": 5}, {"pause": {"duration": "20s"}}]));
    let mut moved = run.clone();
    let events = moved.push(&before, &same, at(10));
    assert_eq!(events[0].message, "the steps have changed; continuing at 5 % from step 4 of 4");
    assert_eq!((green(&moved), moved.position, moved.phase), (500, 3, Phase::Progressing));
    assert_eq!(moved.judge.reading(), judged, "the evidence stays");
    let lower =
        other(json!([{"set_weight": 2}, {"pause": {"duration": "1s"}}, {"set_weight": 50}, {"pause": {}}]));
    moved.push(&same, &lower, at(10));
    assert_eq!((green(&moved), moved.position), (200, 1));
    let none = other(json!([{"set_weight": 50}, {"pause": {}}]));
    // All steps are above it: only a command moves it up, also where another step comes first.
    let mut mirrored = none.clone();
    mirrored.steps.insert(0, Step::Mirror(Share::NONE));
    let mut held = moved.clone();
    held.push(&lower, &mirrored, at(10));
    assert_eq!((green(&held), held.position, held.phase), (0, 0, Phase::Paused));
    let events = moved.push(&lower, &none, at(10));
    assert_eq!(events[1].message, "the new steps begin above the current 2 %");
    assert_eq!((green(&moved), moved.position, moved.phase), (0, 0, Phase::Paused));
    moved.command(&none, Command::Promote { full: false }, at(10)).unwrap();
    assert_eq!((green(&moved), moved.position), (5_000, 1));

    // Another release is another run.
    let next = Program { release: "2".into(), ..before.clone() };
    let events = run.push(&before, &next, at(10));
    assert_eq!((events[0].action, run.attempt, run.judge.reading().all), (Action::Start, 1, 1.0));
}

#[test]
fn steps_that_go_leave_what_is_configured_instead() {
    let before = steps();
    let (mut run, _) = Run::begin(&before, at(0));
    let weights = Program { steps: Vec::new(), weights: of([("green", 1_000)]), ..before.clone() };
    let mut other = run.clone();
    other.push(&before, &weights, at(1));
    assert_eq!((green(&other), other.phase), (1_000, Phase::Steady));
    let nothing = Program { steps: Vec::new(), ..before.clone() };
    run.push(&before, &nothing, at(1));
    assert_eq!((green(&run), run.phase), (0, Phase::Steady), "all to stable");
    // And steps that come begin where it is.
    other.push(&weights, &before, at(2));
    assert_eq!((green(&other), other.phase, other.position), (500, Phase::Progressing, 2));
}

#[test]
fn a_finding_is_acted_on_by_the_current_configuration() {
    let with = |on_failure: &str| {
        program(&json!({
            "steps": [{"set_weight": 5}, {"pause": {"duration": "1h"}}],
            "analysis": {"metrics": [{"name": "error_rate"}], "on_failure": on_failure},
        }))
    };
    let (alarm, abort) = (with("alarm"), with("abort"));
    let (mut run, _) = Run::begin(&alarm, at(0));
    let events: Vec<Event> = (1..=30).flat_map(|now| second(&mut run, &alarm, now, 1, 1)).collect();
    assert_eq!(events.len(), 1);
    run.push(&alarm, &abort, at(30));
    second(&mut run, &abort, 31, 0, 1);
    assert_eq!(run.phase, Phase::Failed);
    // Taken back by a person, it stays that.
    let (mut run, _) = Run::begin(&abort, at(0));
    run.command(&abort, Command::Abort, at(1)).unwrap();
    let events: Vec<Event> = (2..=30).flat_map(|now| second(&mut run, &abort, now, 1, 1)).collect();
    assert_eq!((events.len(), run.phase), (0, Phase::Aborted));
}

/// What one attempt has shown is no evidence about the next.
#[test]
fn an_attempt_that_begins_without_analysis_takes_no_evidence_along() {
    let judged = steps();
    let unjudged = Program { analysis: None, ..judged.clone() };
    let (mut run, _) = Run::begin(&judged, at(0));
    (1..=20).for_each(|now| drop(second(&mut run, &judged, now, 1, 1)));
    assert_eq!(run.phase, Phase::Failed);
    run.push(&judged, &unjudged, at(21));
    run.command(&unjudged, Command::Retry, at(22)).unwrap();
    run.push(&unjudged, &judged, at(23));
    second(&mut run, &judged, 24, 0, 1);
    assert_eq!((run.phase, run.attempt), (Phase::Progressing, 2), "{}", run.reason.sentence());
    assert!(run.judge.reading().all <= 1.0);
}

#[test]
fn promoting_past_a_finding_begins_another_attempt() {
    let program = program(&json!({
        "steps": [{"set_weight": 5}, {"pause": {"duration": "1h"}}, {"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}], "on_failure": "pause"},
    }));
    let (mut run, _) = Run::begin(&program, at(0));
    (1..=30).for_each(|now| drop(second(&mut run, &program, now, 1, 1)));
    assert_eq!(run.phase, Phase::Paused);
    run.command(&program, Command::Promote { full: false }, at(31)).unwrap();
    assert_eq!((green(&run), run.attempt, run.judge.reading().all), (5_000, 2, 1.0));
    // A pause by command is not a finding.
    let (mut run, _) = Run::begin(&program, at(0));
    run.command(&program, Command::Pause, at(1)).unwrap();
    run.command(&program, Command::Resume, at(2)).unwrap();
    assert_eq!(run.attempt, 1);
}

#[test]
fn the_duration_of_a_pause_is_told_whole() {
    for (duration, told) in [("2m30s", "2 min 30 s"), ("150s", "2 min 30 s"), ("2h30m", "2 h 30 min")] {
        let steps = json!([{"set_weight": 5}, {"pause": {"duration": duration}}, {"set_weight": 50}]);
        let program = program(&json!({"steps": steps}));
        let (_, events) = Run::begin(&program, at(0));
        assert_eq!(events.last().unwrap().message, format!("step 2 of 3: green at 5 % for {told}"));
    }
}

#[test]
fn a_deadline_that_has_passed_is_told_in_whole_seconds() {
    let program = program(&json!({
        "steps": [{"set_weight": 5}, {"pause": {"min_requests": 20}}, {"set_weight": 50}],
        "analysis": {"metrics": [{"name": "error_rate"}], "progress_deadline": "2m30s"},
    }));
    let (mut run, _) = Run::begin(&program, at(0));
    let late = |second: u64| Now { uptime_ms: at(second).uptime_ms + 43, ..at(second) };
    let events: Vec<Event> = (1..=150).flat_map(|now| run.tick(&program, &[], late(now))).collect();
    assert_eq!(
        events.last().unwrap().message,
        "step 2 of 3 did not finish within 2 min 30 s: 0 of green's requests were judged"
    );
}

#[test]
fn a_deadline_counts_from_when_it_was_resumed() {
    let program = steps();
    let (mut run, _) = Run::begin(&program, at(0));
    (1..=3_600).for_each(|now| drop(run.tick(&program, &[], at(now))));
    assert_eq!(run.phase, Phase::Paused);
    run.command(&program, Command::Resume, at(3_601)).unwrap();
    let events: Vec<Event> = (3_602..=7_000).flat_map(|now| run.tick(&program, &[], at(now))).collect();
    assert_eq!((events, run.phase), (vec![], Phase::Progressing));
    assert_eq!(run.reason.sentence(), "the step waits for more of the candidate's requests");
}

#[test]
fn a_step_at_100_percent_ends_without_stable() {
    let program = program(&json!({
        "steps": [{"set_weight": 100}, {"pause": {"min_requests": 10}}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate", "max": 0.05}], "promote_when": {}},
    }));
    let (mut run, _) = Run::begin(&program, at(0));
    let alone = |number, errors, requests| {
        let counts = Pair::new(ended((errors, requests)), ended((0, 0)));
        Tick { number, share: Some(1.0), counts, ..Tick::default() }
    };
    for now in 1..=4 {
        run.close(&program, &alone(now, 0, 5), at(now + 1));
        run.tick(&program, &[], at(now + 1));
    }
    assert_eq!(run.position, 2);
    // And the bound is watched there.
    for now in 5..=20 {
        run.close(&program, &alone(now, 3, 5), at(now + 1));
        run.tick(&program, &[], at(now + 1));
    }
    assert_eq!(run.phase, Phase::Failed);
    assert!(
        run.reason.sentence().contains("green exceeds its limit (error_rate.max: over 5.00 %)"),
        "{}",
        run.reason.sentence()
    );
}

#[test]
fn finishing_a_release_leaves_everything_where_it_is() {
    let program = program(&json!({"steps": [{"set_weight": 50}, {"pause": {}}]}));
    let (mut run, _) = Run::begin(&program, at(0));
    run.command(&program, Command::Promote { full: true }, at(1)).unwrap();
    assert_eq!((run.phase, green(&run)), (Phase::Succeeded, 10_000));
    let finished = self::program(
        &json!({"release": "2", "stable": "green", "candidate": null, "steps": [{"set_weight": 50}]}),
    );
    let events = run.push(&program, &finished, at(2));
    let all_green = of([("green", 10_000)]);
    assert_eq!((&events[0].from, &events[0].to), (&all_green, &all_green), "stable has changed");
    assert_eq!(
        (run.phase, run.in_force()),
        (Phase::Steady, &Shares::new()),
        "all to green, which is stable now"
    );
}

#[test]
fn weights_from_outside_are_followed_and_an_abort_is_final() {
    let at_weight = |weight: u64| program(&json!({"weights": {"green": weight}}));
    let five = at_weight(5);
    let (mut run, _) = Run::begin(&five, at(0));
    assert_eq!((run.phase, green(&run)), (Phase::Steady, 500));
    run.push(&five, &at_weight(10), at(1));
    assert_eq!(green(&run), 1_000);
    run.command(&at_weight(10), Command::Abort, at(2)).unwrap();
    assert_eq!(run.command(&at_weight(10), Command::Abort, at(2)), Ok(vec![]), "again: nothing");
    let events = run.push(&at_weight(10), &at_weight(20), at(3));
    assert_eq!(
        events[0].message,
        "new steps or weights are configured but ignored: the run is aborted (retry, or push a new release)"
    );
    assert_eq!(green(&run), 0);
    run.command(&at_weight(20), Command::Retry, at(4)).unwrap();
    assert_eq!((green(&run), run.attempt), (2_000, 2));
}

#[test]
fn a_clock_that_jumps_ends_no_pause() {
    let program = program(&json!({"steps": [{"set_weight": 5}, {"pause": {"duration": "1m"}}]}));
    let (mut run, _) = Run::begin(&program, at(1_000));
    for now in [1_001, 1_002, 900_000, 900_001, 5, 6, 7, 7, 7] {
        assert_eq!(run.tick(&program, &[], at(now)), []);
    }
    assert_eq!(run.phase, Phase::Progressing);
}

/// Anything that may come at a run.
#[derive(Clone, Debug)]
enum Input {
    Command(Command),
    Push(usize),
    Second { errors: u64, requests: u64, jump: i64 },
}

fn input() -> impl Strategy<Value = Input> {
    let command = any::<u64>().prop_map(|seed| any_command(&mut fastrand::Rng::with_seed(seed)));
    prop_oneof![
        2 => command.prop_map(Input::Command),
        1 => (0..programs().len()).prop_map(Input::Push),
        6 => (0..3_u64, 0..30_u64, prop_oneof![9 => Just(1_i64), 1 => -100_000..100_000_i64])
            .prop_map(|(errors, more, jump)| Input::Second { errors, requests: errors + more, jump }),
    ]
}

fn programs() -> Vec<Program> {
    let first = steps();
    vec![
        Program { pin: Some("green".into()), ..first.clone() },
        Program { steps: program(&json!({"steps": [{"set_weight": 10}, {"pause": {"duration": "3s"}}, {"set_weight": {"green": 60, "red": 40}}, {"pause": {}}]})).steps, ..first.clone() },
        Program { release: "2".into(), ..first.clone() },
        program(&json!({"weights": {"green": 70, "red": 30}})),
        program(&json!({"candidate": null, "weights": {"red": 30}})),
        first,
        blue_green(&json!({"bake": {"weight": 10, "duration": "3s"}, "auto_rollback_window": "5s"})),
        blue_green(&json!({"active": "green", "bake": {"weight": 20, "duration": "3s"}, "auto_rollback_window": "9s"})),
        program(&json!({"blue_green": {}})),
        program(&json!({
            "automation": {"answer": {"label": "/label"}},
            "steps": [{"set_degree": "shadow"}, {"pause": {"duration": "3s"}}, {"set_degree": "assist"}, {"pause": {}}],
        })),
        // A version less, and steps after which none waits.
        fixture::program(&json!({
            "steps": [{"set_weight": 5}, {"set_weight": 25}, {"pause": {"duration": "3s"}}, {"set_weight": 60}],
            "analysis": {"metrics": [{"name": "error_rate"}], "on_failure": "pause"},
        })),
        program(&json!({"steps": [{"set_weight": 5}], "auto_rollback_window": "5s", "analysis": {"metrics": [{"name": "error_rate"}]}})),
        // Another definition of an error; and a candidate that is never ready.
        blue_green(&json!({"active": "green", "ready": {"path": "/ready"}})),
        program(&json!({
            "blue_green": {"ready": {"path": "/ready"}, "bake": {"weight": 10, "duration": "3s"}, "auto_rollback_window": "5s"},
            "analysis": {"metrics": [{"name": "error_rate"}], "deadline": "1s"},
        })),
        program(&json!({
            "automation": {"answer": {"label": "/label"}},
            "steps": [{"set_degree": "assist"}],
        })),
    ]
}

proptest! {
    #[test]
    fn the_rules_hold_for_any_inputs(inputs in prop::collection::vec(input(), 1..80)) {
        let programs = programs();
        let mut program = &programs[5];
        let (mut run, _) = Run::begin(program, at(10));
        let mut now = 10_i64;
        for input in inputs {
            let (before, program_before) = (run.clone(), program);
            let second = u64::try_from(now).unwrap_or(0);
            let events = match input {
                Input::Command(command) => {
                    let answer = run.command(program, command.clone(), at(second));
                    if command == Command::Abort {
                        prop_assert!(answer.is_ok(), "an abort is always accepted");
                        prop_assert_eq!(run.phase, Phase::Aborted);
                        let candidate = program.candidate.as_ref().and_then(|name| run.in_force().get(name));
                        prop_assert_eq!(candidate, None);
                    }
                    if command.gives_no_more(before.given(program)) {
                        let share = |run: &Run| program.candidate.as_ref().and_then(|name| run.in_force().get(name)).copied();
                        prop_assert!(share(&run) <= share(&before), "{:?}: {:?}", command, run.in_force());
                        prop_assert!(run.degree(program) <= before.degree(program), "{:?}", command);
                    }
                    if answer.is_err() {
                        prop_assert_eq!(&run, &before, "a refused command changes nothing");
                    }
                    answer.unwrap_or_default()
                }
                Input::Push(which) => {
                    let events = run.push(program, &programs[which], at(second));
                    let same = program.is_same_run(&programs[which]);
                    let weight = |run: &Run, program: &Program| {
                        program.candidate.as_ref().and_then(|name| run.in_force().get(name)).copied().unwrap_or_default()
                    };
                    let walks = !programs[which].blue_green && !programs[which].steps.is_empty();
                    if same && walks && programs[which].pin.is_none() && program.pin.is_none() {
                        let (was, is) = (weight(&before, program), weight(&run, &programs[which]));
                        // But what another version leaves goes to a candidate that has everything.
                        let may_rise = was.is_none() || before.active.is_candidate;
                        prop_assert!(is <= was || may_rise, "a push of steps raises no weight: {} → {}", was, is);
                    }
                    if same && matches!(before.phase, Phase::Aborted | Phase::Failed) {
                        prop_assert_eq!(run.phase, before.phase, "final until a retry or another release");
                    }
                    program = &programs[which];
                    events
                }
                Input::Second { errors, requests, jump } => {
                    now = (now + jump).max(0);
                    let second = u64::try_from(now).unwrap_or(0);
                    let share = run.candidate_share(program);
                    run.close(program, &Tick { share, ..tick(second, errors, requests * 50) }, at(second));
                    let events = run.tick(program, &[], at(second));
                    if before.phase == Phase::Paused && run.phase != Phase::Failed {
                        prop_assert!(green(&run) <= green(&before), "nothing moves forward while it is paused");
                    }
                    events
                }
            };
            let sum: u32 = run.in_force().values().map(|share| u32::from(share.basis_points())).sum();
            prop_assert!(sum <= 10_000, "{:?}", run.in_force());
            prop_assert!(!run.in_force().contains_key(&program.stable));
            prop_assert!(run.revision >= before.revision + events.len() as u64);
            let same = run.assignment(program) == before.assignment(program_before);
            let named = |program: &Program| (program.versions.len() > 2).then(|| program.versions.clone());
            let is_same_run = program_before.release == program.release
                && program_before.candidate == program.candidate
                && named(program_before) == named(program);
            prop_assert_eq!(same, is_same_run && run.attempt == before.attempt && run.in_force() == before.in_force());
            prop_assert!(run.position <= program.steps.len().max(before.position));
            prop_assert!(run.weights.keys().all(|name| program.versions.contains(name)), "{:?}", run.weights);
            let is_pinned = run.is_pinned(program) || before.is_pinned(program_before);
            if run.phase == Phase::Succeeded && !is_pinned && program.automation.is_none() {
                let shares = program.shares(run.in_force());
                prop_assert!(!shares.contains_key(&program.stable), "the candidate has taken over all: {:?}", shares);
                prop_assert_eq!(run.position, program.steps.len());
            }
            if let (Some(first), Some(last)) = (events.first(), events.last()) {
                prop_assert!(first.revision > before.revision);
                prop_assert_eq!(last.revision, run.revision);
                prop_assert_eq!(&first.from, &program_before.shares(before.in_force()));
                prop_assert_eq!(&last.to, &program.shares(run.in_force()));
            }
            // An event reports each change of the weights.
            prop_assert!(!events.is_empty() || run.in_force() == before.in_force());
        }
    }
}
