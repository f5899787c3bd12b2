//! Pushes of other steps, of other versions, and of a pin.

use super::*;

/// A rollout that walks these steps, with these fields besides.
fn walking(steps: &Value, more: &Value) -> Program {
    let mut fields = json!({"steps": steps, "mirror": {"to": "green", "percent": 0}});
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    program(&fields)
}

/// Steps of which the last one sets the mirror's share.
fn later_share(percent: u64) -> Program {
    let steps = json!([{"set_weight": 5}, {"pause": {}}, {"set_mirror": {"percent": percent}}]);
    walking(&steps, &json!({}))
}

fn messages(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.message.as_str()).collect()
}

fn set(run: &mut Run, program: &Program, version: &str, share: u16) -> Result<Vec<Event>, Refused> {
    run.command(program, Command::Weight(of([(version, share)])), at(1))
}

#[test]
fn an_abort_under_stables_pin_leaves_the_pin_in_force() {
    let free = program(&json!({"weights": {"green": 5, "red": 10}}));
    let pinned = Program { pin: Some("blue".into()), ..free.clone() };
    let (mut run, _) = Run::begin(&free, at(0));
    run.push(&free, &pinned, at(1));
    assert_eq!(run.command(&pinned, Command::Abort, at(2)).unwrap().len(), 1);
    assert_eq!((run.phase, run.in_force(), run.is_pinned(&pinned)), (Phase::Aborted, &Shares::new(), true));
    assert_eq!(run.command(&pinned, Command::Abort, at(3)), Ok(vec![]), "again: nothing");
    run.command(&pinned, Command::Retry, at(4)).unwrap();
    assert_eq!((run.in_force(), run.is_pinned(&pinned)), (&Shares::new(), true));
    run.push(&pinned, &free, at(5));
    assert_eq!(run.in_force(), &of([("green", 500), ("red", 1_000)]));
}

#[test]
fn a_version_that_goes_leaves_its_share_to_a_candidate_that_has_everything() {
    let before = steps();
    let after = fixture::program(&json!({"steps": [{"set_weight": 5}, {"pause": {}}]}));
    let (mut run, _) = Run::begin(&before, at(0));
    for _ in 0..3 {
        run.command(&before, Command::Promote { full: false }, at(1)).unwrap();
    }
    assert_eq!((run.phase, run.in_force()), (Phase::Succeeded, &of([("green", 9_000), ("red", 1_000)])));
    let events = run.push(&before, &after, at(2));
    assert_eq!(messages(&events), ["red is no longer a version; its share of 10 % goes to green"]);
    assert_eq!((run.phase, run.in_force()), (Phase::Succeeded, &of([("green", 10_000)])));
    assert_eq!((&events[0].from, &events[0].to), (&of([("green", 9_000), ("red", 1_000)]), run.in_force()));
}

#[test]
fn a_version_that_goes_leaves_its_share_to_stable_otherwise() {
    let walk = json!([{"set_weight": 5}, {"pause": {}}, {"set_weight": 25}, {"pause": {}}]);
    let before = program(&json!({"steps": walk}));
    let after = fixture::program(&json!({"steps": walk}));
    let (mut run, _) = Run::begin(&before, at(0));
    set(&mut run, &before, "red", 1_000).unwrap();
    run.command(&before, Command::Resume, at(1)).unwrap();
    let events = run.push(&before, &after, at(2));
    assert_eq!(messages(&events), ["red is no longer a version; its share of 10 % goes to blue"]);
    assert_eq!(run.in_force(), &of([("green", 500)]));
    let mut promoted = run.clone();
    promoted.command(&after, Command::Promote { full: true }, at(3)).unwrap();
    assert_eq!((promoted.phase, promoted.in_force()), (Phase::Succeeded, &of([("green", 10_000)])));
    set(&mut run, &after, "green", 9_500).unwrap();
    assert_eq!(green(&run), 9_500);

    // Weights that are configured without it say themselves what becomes of its share.
    let before = program(&json!({"weights": {"green": 5, "red": 10}}));
    let after = fixture::program(&json!({"weights": {"green": 15}}));
    let (mut run, _) = Run::begin(&before, at(0));
    let events = run.push(&before, &after, at(1));
    assert_eq!(messages(&events), ["the configured weights apply again"]);
}

#[test]
fn new_steps_of_which_none_waits_at_the_present_weight_move_nothing_up() {
    let before = walking(
        &json!([{"set_weight": 5}, {"pause": {"duration": "1h"}}, {"set_weight": 25}, {"pause": {}}]),
        &json!({}),
    );
    for (steps, at_weight, then) in [
        (json!([{"set_weight": 5}, {"set_weight": 25}, {"pause": {}}]), 500, 2_500),
        (json!([{"set_weight": 5}]), 500, 10_000),
        (
            json!([{"set_weight": 1}, {"pause": {}}, {"set_weight": 5}, {"set_mirror": {"percent": 9}}]),
            500,
            10_000,
        ),
        (json!([{"set_weight": 2}, {"set_weight": 50}, {"pause": {}}]), 200, 5_000),
    ] {
        let after = walking(&steps, &json!({}));
        let (mut run, _) = Run::begin(&before, at(0));
        let events = run.push(&before, &after, at(1));
        assert_eq!((run.phase, green(&run)), (Phase::Paused, at_weight), "{steps}");
        let why = format!("no step of the new ones waits at {}; resume goes on", Share::new(at_weight));
        assert_eq!((events[1].action, run.reason.sentence().as_ref()), (Action::Pause, why.as_str()));
        assert!(messages(&events)[0].starts_with("the steps have changed; paused at "), "{events:?}");
        (2..90).for_each(|now| assert_eq!(run.tick(&after, &[], at(now)), []));
        run.command(&after, Command::Resume, at(90)).unwrap();
        assert_eq!(green(&run), then, "{steps}");
    }
    // Waiting until it is ready is waiting.
    let (mut run, _) = Run::begin(&before, at(0));
    let asks = json!([{"set_weight": 5}, {"ready": {"path": "/ready"}}, {"set_weight": 25}, {"pause": {}}]);
    run.push(&before, &walking(&asks, &json!({})), at(1));
    assert_eq!((run.phase, green(&run), run.position), (Phase::Progressing, 500, 1));
}

#[test]
fn a_run_that_is_paused_stays_so_when_the_steps_change_and_says_so() {
    let walk = |pause: &str| {
        let steps =
            json!([{"set_weight": 5}, {"pause": {"duration": pause}}, {"set_weight": 25}, {"pause": {}}]);
        walking(&steps, &json!({}))
    };
    let (before, after) = (walk("1h"), walk("2h"));
    let (mut run, _) = Run::begin(&before, at(0));
    run.command(&before, Command::Pause, at(1)).unwrap();
    let events = run.push(&before, &after, at(2));
    assert_eq!(messages(&events), ["the steps have changed; still paused at 5 %, in step 2 of 4"]);
    assert_eq!((run.phase, run.reason.sentence().as_ref()), (Phase::Paused, "paused by command"));
}

#[test]
fn a_run_that_is_held_by_its_steps_goes_on_when_others_wait_at_its_weight() {
    let of_steps = |steps: Value| walking(&steps, &json!({}));
    let fits = of_steps(
        json!([{"set_weight": 5}, {"pause": {"duration": "1h"}}, {"set_weight": 25}, {"pause": {}}]),
    );
    let never_waits = of_steps(json!([{"set_weight": 5}, {"set_weight": 25}, {"pause": {}}]));
    let begins_above = of_steps(json!([{"set_weight": 10}, {"pause": {}}]));
    let (mut run, _) = Run::begin(&fits, at(0));
    run.push(&fits, &never_waits, at(1));
    assert_eq!(run.phase, Phase::Paused);
    let events = run.push(&never_waits, &fits, at(2));
    assert_eq!(messages(&events)[0], "the steps have changed; continuing at 5 % from step 2 of 4");
    assert_eq!((run.phase, green(&run), run.reason.sentence().as_ref()), (Phase::Progressing, 500, ""));
    // What a push has taken back another one does not give again.
    run.push(&fits, &begins_above, at(3));
    assert_eq!((run.phase, green(&run)), (Phase::Paused, 0));
    run.push(&begins_above, &fits, at(4));
    assert_eq!((run.phase, green(&run)), (Phase::Paused, 0));
    assert_eq!(run.reason.sentence(), "the new steps begin above the current 0 %");
    run.command(&fits, Command::Resume, at(5)).unwrap();
    assert_eq!((run.phase, green(&run)), (Phase::Progressing, 500));
}

#[test]
fn the_mirrors_share_is_that_of_the_steps_before_the_present_one() {
    let shadowed = walking(
        &json!([{"set_mirror": {"percent": 100}}, {"pause": {}}, {"set_weight": 5}, {"pause": {}}, {"set_weight": 25}, {"pause": {}}]),
        &json!({}),
    );
    let mirrored = |run: &Run, program: &Program| run.mirror_share(program).map(Share::basis_points);
    let (mut begun, _) = Run::begin(&shadowed, at(0));
    begun.command(&shadowed, Command::Promote { full: false }, at(1)).unwrap();
    assert_eq!((green(&begun), mirrored(&begun, &shadowed)), (500, Some(10_000)));
    for (steps, share) in [
        (json!([{"set_mirror": {"percent": 0}}, {"set_weight": 5}, {"pause": {}}, {"set_weight": 25}]), 0),
        (json!([{"set_weight": 5}, {"pause": {}}, {"set_weight": 25}]), 0),
        (
            json!([{"set_mirror": {"percent": 20}}, {"set_weight": 5}, {"pause": {}}, {"set_weight": 25}]),
            2_000,
        ),
        (
            json!([{"set_weight": 5}, {"set_mirror": {"percent": 30}}, {"pause": {}}, {"set_weight": 25}]),
            3_000,
        ),
    ] {
        let (mut run, after) = (begun.clone(), walking(&steps, &json!({})));
        run.push(&shadowed, &after, at(2));
        assert_eq!((green(&run), mirrored(&run, &after)), (500, Some(share)), "{steps}");
    }
    // A promotion past all steps does what they do, and steps that are pushed after the last one count too.
    let ends = json!([{"set_mirror": {"percent": 40}}, {"set_weight": 5}, {"pause": {}}, {"set_mirror": {"percent": 7}}]);
    let ends = walking(&ends, &json!({}));
    let (mut run, _) = Run::begin(&ends, at(0));
    run.command(&ends, Command::Promote { full: true }, at(1)).unwrap();
    assert_eq!((run.phase, mirrored(&run, &ends)), (Phase::Succeeded, Some(700)));
    run.push(&ends, &later_share(3), at(2));
    assert_eq!((run.phase, mirrored(&run, &later_share(3))), (Phase::Succeeded, Some(300)));
    // Nor does a weight by command leave that of a step that lies ahead again.
    let later = walking(
        &json!([{"set_weight": 5}, {"pause": {}}, {"set_mirror": {"percent": 50}}, {"set_weight": 25}, {"pause": {}}]),
        &json!({}),
    );
    let (mut run, _) = Run::begin(&later, at(0));
    run.command(&later, Command::Promote { full: false }, at(1)).unwrap();
    assert_eq!((green(&run), mirrored(&run, &later)), (2_500, Some(5_000)));
    set(&mut run, &later, "green", 700).unwrap();
    assert_eq!((green(&run), mirrored(&run, &later)), (700, Some(0)));
    // With the weight kept that was set by command, too.
    let other = walking(
        &json!([{"set_mirror": {"percent": 10}}, {"set_weight": 5}, {"pause": {}}, {"set_weight": 25}, {"pause": {}}]),
        &json!({}),
    );
    run.push(&later, &other, at(2));
    assert_eq!((green(&run), mirrored(&run, &other)), (700, Some(1_000)));
}

/// Of a mirror that has everything as long as no step says otherwise.
#[test]
fn steps_that_set_the_mirrors_share_right_where_the_run_stands_are_behind_it() {
    let walk = |steps: Value| program(&json!({"steps": steps, "mirror": {"to": "green"}}));
    let mirrored = |run: &Run, program: &Program| run.mirror_share(program).map(Share::basis_points);
    let promote = |run: &mut Run, program: &Program| {
        run.command(program, Command::Promote { full: false }, at(1)).unwrap();
    };
    let share = |percent: u64| json!({"set_mirror": {"percent": percent}});
    let (five, ten, more, pause) = (
        json!({"set_weight": 5}),
        json!({"set_weight": 10}),
        json!({"set_weight": 25}),
        json!({"pause": {}}),
    );

    let first = walk(json!([share(5), five, pause, more, pause]));
    let (mut run, _) = Run::begin(&first, at(0));
    promote(&mut run, &first);
    assert_eq!((green(&run), mirrored(&run, &first)), (2_500, Some(500)));
    set(&mut run, &first, "green", 200).unwrap();
    assert_eq!((green(&run), run.position, mirrored(&run, &first)), (200, 0, Some(500)));

    let shadow =
        |last: &Value| walk(json!([share(5), {"pause": {"duration": "1h"}}, five, pause, last, pause]));
    let (before, after) = (shadow(&ten), shadow(&more));
    let (mut run, _) = Run::begin(&before, at(0));
    run.command(&before, Command::Pause, at(1)).unwrap();
    run.push(&before, &after, at(2));
    assert_eq!((green(&run), run.phase, mirrored(&run, &after)), (0, Phase::Paused, Some(500)));

    let ends = walk(json!([share(100), pause, five, share(0), pause, more, pause]));
    let (mut run, _) = Run::begin(&ends, at(0));
    (0..2).for_each(|_| promote(&mut run, &ends));
    assert_eq!(green(&run), 2_500);
    set(&mut run, &ends, "green", 500).unwrap();
    assert_eq!((green(&run), mirrored(&run, &ends)), (500, Some(0)));

    let above = walk(json!([share(5), ten, pause]));
    let (mut run, _) = Run::begin(&first, at(0));
    run.push(&first, &above, at(1));
    assert_eq!((green(&run), run.phase, mirrored(&run, &above)), (0, Phase::Paused, Some(500)));
}

/// A run in a pause of the judge, by these fields besides.
fn suspected(fields: &Value) -> (Program, Run) {
    let mut fields = fields.clone();
    fields["analysis"] = json!({"metrics": [{"name": "error_rate"}], "on_failure": "pause"});
    let program = program(&fields);
    let (mut run, _) = Run::begin(&program, at(0));
    let events: Vec<Event> = (1..=30).flat_map(|now| second(&mut run, &program, now, 1, 1)).collect();
    assert_eq!((events[0].action, events.len(), run.phase), (Action::Pause, 1, Phase::Paused));
    (program, run)
}

#[test]
fn a_push_without_steps_overrules_the_judge_and_has_it_judge_anew() {
    let (before, mut run) = suspected(&json!({"steps": [{"set_weight": 5}, {"pause": {"duration": "1h"}}]}));
    let after = Program { steps: Vec::new(), weights: of([("green", 500)]), ..before.clone() };
    run.push(&before, &after, at(31));
    assert_eq!((run.attempt, run.judge.reading().all), (2, 1.0));
    let events: Vec<Event> = (32..=90).flat_map(|now| second(&mut run, &after, now, 1, 1)).collect();
    assert_eq!(events.iter().map(|event| event.action).collect::<Vec<_>>(), [Action::Alarm]);
}

#[test]
fn a_release_that_has_ended_has_all_its_steps_behind_it_also_when_there_are_more() {
    let before = walking(&json!([{"set_weight": 5}, {"pause": {}}]), &json!({}));
    let after =
        walking(&json!([{"set_weight": 5}, {"pause": {}}, {"set_weight": 25}, {"pause": {}}]), &json!({}));
    let (mut run, _) = Run::begin(&before, at(0));
    run.command(&before, Command::Promote { full: true }, at(1)).unwrap();
    assert_eq!(run.push(&before, &after, at(2)), []);
    assert_eq!((run.phase, run.position), (Phase::Succeeded, 4));
}

#[test]
fn the_events_of_another_release_go_on_counting_revisions() {
    let before = steps();
    let (mut run, _) = Run::begin(&before, at(0));
    (0..9).for_each(|now| drop(run.command(&before, Command::Pause, at(now))));
    run.command(&before, Command::Abort, at(9)).unwrap();
    let ended = run.revision;
    let events = run.push(&before, &Program { release: "2".into(), ..before.clone() }, at(10));
    let revisions: Vec<u64> = events.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, [ended + 1, ended + 2]);
    assert_eq!(run.revision, ended + 2);
}
