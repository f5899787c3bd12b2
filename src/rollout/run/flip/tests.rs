use super::super::Command;
use super::super::tests::of;
use super::super::tests::{at, blue_green, green, program};
use super::*;
use crate::model::Pair;
use crate::rollout::event::Event;
use crate::rollout::program::Program;
use crate::signal::tally::tests::{ended, errors, open, refusing};
use serde_json::json;

/// A rollout and its time.
struct World {
    program: Program,
    run: Run,
    now: u64,
}

impl World {
    fn of(program: Program) -> Self {
        let (run, _) = Run::begin(&program, at(100));
        Self { program, run, now: 100 }
    }

    /// A second in which each side has 200 requests by its weight, of which so many in a hundred fail.
    fn second(&mut self, blue: u64, green: u64) -> Vec<Event> {
        let tick = self.tick(blue, green);
        self.now += 1;
        self.run.close(&self.program, &tick, at(self.now));
        self.run.tick(&self.program, &[], at(self.now))
    }

    fn tick(&self, blue: u64, green: u64) -> Tick {
        let share = self.run.candidate_share(&self.program);
        let requests = 2 * u64::from(self::green(&self.run)) / 100;
        let counts = |failing: u64, requests: u64| ended((requests * failing / 100, requests));
        let counts = Pair::new(counts(green, requests), counts(blue, 200 - requests));
        Tick { number: self.now, share, counts, ..Tick::default() }
    }

    fn seconds(&mut self, seconds: u64, blue: u64, green: u64) -> Vec<Event> {
        (0..seconds).flat_map(|_| self.second(blue, green)).collect()
    }

    /// Seconds in which so many in a hundred requests of each side are refused.
    fn refusing(&mut self, seconds: u64, blue: u64, green: u64) -> Vec<Event> {
        let second = |world: &mut Self| {
            let mut tick = world.tick(0, 0);
            for (side, refused) in [(Side::Stable, blue), (Side::Candidate, green)] {
                let requests = tick.counts[side].requests;
                tick.counts[side] = refusing((requests * refused / 100, requests));
            }
            world.now += 1;
            world.run.close(&world.program, &tick, at(world.now));
            world.run.tick(&world.program, &[], at(world.now))
        };
        (0..seconds).flat_map(|_| second(self)).collect()
    }

    fn command(&mut self, command: Command) -> Vec<Event> {
        self.run.command(&self.program, command, at(self.now)).unwrap()
    }

    fn switch(&mut self, active: &str) -> Vec<Event> {
        self.command(Command::Switch { active: active.into() })
    }

    fn refused(&mut self, command: Command) -> String {
        let before = self.run.clone();
        let Refused(why) = self.run.command(&self.program, command, at(self.now)).unwrap_err();
        assert_eq!(self.run, before);
        why
    }

    fn push(&mut self, program: Program) -> Vec<Event> {
        let before = std::mem::replace(&mut self.program, program);
        self.run.push(&before, &self.program, at(self.now))
    }
}

fn actions(events: &[Event]) -> Vec<Action> {
    events.iter().map(|event| event.action).collect()
}

fn baked() -> Program {
    blue_green(&json!({"bake": {"weight": 10, "duration": "10s"}, "auto_rollback_window": "30s"}))
}

fn watched() -> Program {
    blue_green(&json!({"auto_rollback_window": "30s"}))
}

#[test]
fn a_good_side_is_baked_and_flipped() {
    let mut world = World::of(baked());
    assert_eq!((world.run.phase, green(&world.run)), (Phase::Progressing, 1_000));
    let events = world.seconds(10, 0, 0);
    assert_eq!(actions(&events), [Action::Flip]);
    assert_eq!(events[0].message, "all traffic moved from blue to green");
    assert_eq!(events[0].from, of([("blue", 9_000), ("green", 1_000)]));
    assert_eq!(events[0].to, of([("green", 10_000)]));
    let known = events[0].evidence.as_ref().unwrap();
    assert_eq!((known.rule.as_str(), known.samples.units().candidate), ("error_rate", 200), "of the bake");
    assert_eq!((world.run.phase, green(&world.run)), (Phase::Progressing, 10_000));
    let reason = "green is watched for 30 s: it is rolled back to blue if clearly more than 1.26 % of its requests fail";
    assert_eq!(world.run.reason.sentence(), reason);
    assert_eq!((world.run.window_lasts(&world.program), world.run.waited(at(world.now))), (Some(30_000), 0));
    let events = world.seconds(30, 0, 0);
    assert_eq!((actions(&events), world.run.phase), (vec![Action::Succeed], Phase::Succeeded));
    assert!(
        world.run.window().is_some_and(|value| value < 10.0)
            && world.run.window_lasts(&world.program).is_none()
    );
    assert_eq!(events[0].message, "green has taken over all of blue's traffic");
    assert_eq!(world.seconds(60, 0, 100), [], "the watch is over");
}

#[test]
fn a_bad_side_is_stopped_in_the_bake() {
    let mut world = World::of(baked());
    let events = world.seconds(9, 0, 50);
    assert_eq!(actions(&events), [Action::Rollback]);
    assert_eq!((world.run.phase, green(&world.run)), (Phase::Failed, 0));
    assert!(
        world
            .refused(Command::Switch { active: "green".into() })
            .starts_with("the rollout is failed; the candidate gets no traffic")
    );
    assert!(world.refused(Command::Promote { full: true }).contains("retry"));
    // Another attempt bakes again.
    world.command(Command::Retry);
    assert_eq!((world.run.attempt, world.run.phase, green(&world.run)), (2, Phase::Progressing, 1_000));
}

#[test]
fn a_side_that_turns_bad_goes_back_by_itself() {
    for (to, back) in [("green", "blue"), ("blue", "green")] {
        let mut world = World::of(watched());
        if to == "blue" {
            world.switch("green");
            world.seconds(31, 0, 0);
        }
        world.seconds(10, 1, 1);
        assert_eq!(actions(&world.switch(to)), [Action::Flip]);
        assert_eq!(world.seconds(20, 1, 1), []);
        let events = world.seconds(2, 20, 20);
        assert_eq!(actions(&events), [Action::Rollback], "{to}");
        let all_back = of([(back, 10_000)]);
        assert_eq!((world.run.phase, &events[0].to), (Phase::Failed, &all_back));
        let start = format!("{to} is rolled back, all traffic goes to {back}: since the flip, ");
        assert!(events[0].message.starts_with(&start), "{}", events[0].message);
        let finding = events[0].evidence.as_ref().unwrap();
        assert_eq!(finding.rule, "error_rate.window");
        assert!(finding.value >= finding.threshold);
        // What was found stays to be seen, and what is to be known of the candidate that answers.
        let last = world.run.window().unwrap();
        assert!((last.log10() - finding.value).abs() < 1e-9, "{last}");
        world.seconds(5, 0, 0);
        assert_eq!((world.run.window(), world.run.window_lasts(&world.program)), (Some(last), None));
        let what_abort_does = "; green keeps all traffic; abort would send it to blue";
        assert_eq!(
            world.run.reason.sentence().ends_with(what_abort_does),
            back == "green",
            "{}",
            world.run.reason.sentence()
        );
        assert!(events[0].message.ends_with(&*world.run.reason.sentence()));
        let mut again = World { program: world.program.clone(), run: world.run.clone(), now: world.now };
        again.command(Command::Retry);
        assert!(again.run.window().is_none_or(|value| value == 1.0), "another attempt");
        assert_eq!(finding.threshold, 2.0, "alone it has the whole false_alarm");
        assert_eq!(world.seconds(60, 50, 50), [], "what was good is not watched again");
        assert_eq!(world.program.shares(world.run.in_force()), all_back);
    }
}

#[test]
fn bake_and_window_have_one_false_alarm_together() {
    let threshold = |program: &Program| program.rules().unwrap().threshold;
    assert_eq!(threshold(&baked()), 200.0);
    assert_eq!(threshold(&watched()), 100.0);
    let bake = json!({"bake": {"weight": 10, "duration": "10s"}});
    assert_eq!(threshold(&blue_green(&bake)), 100.0);
    // A fixed bound is judged on all the traffic too.
    let bounded = program(&json!({
        "blue_green": {"auto_rollback_window": "30s"},
        "analysis": {"metrics": [{"name": "error_rate", "max": 0.1}]},
    }));
    assert_eq!(threshold(&bounded), 200.0);
    // So is a shadow beside a copy of stable.
    let shadowed = program(&json!({
        "blue_green": {"auto_rollback_window": "30s"},
        "mirror": {"to": "green", "percent": 10, "mode": "compare", "compare": {"baseline": true}},
        "payload": {"protocol": "json", "output": {"value": "/label"}},
        "analysis": {"metrics": [{"name": "error_rate"}, {"name": "mirror.disagreement"}]},
    }));
    assert_eq!(threshold(&shadowed), 200.0);
}

#[test]
fn certain_evidence_of_open_ticks_rolls_back_at_once() {
    let mut world = World::of(watched());
    world.seconds(10, 0, 0);
    world.switch("green");
    world.second(0, 0);
    let mut tick = world.tick(0, 0);
    tick.counts.candidate = ended((40, 200));
    open(&mut tick.counts.candidate, 160, 160);
    world.now += 1;
    let mut healthy = world.run.clone();
    let events = world.run.tick(&world.program, &[(tick.clone(), 0)], at(world.now));
    assert_eq!(actions(&events), [Action::Rollback]);
    // A pending request is not a failure.
    errors(&mut tick.counts.candidate).events = 0;
    assert_eq!(healthy.tick(&world.program, &[(tick, 0)], at(world.now)), []);
}

#[test]
fn a_side_with_too_few_requests_is_not_judged() {
    let mut world = World::of(watched());
    world.seconds(4, 0, 0);
    let events = world.switch("green");
    assert_eq!(actions(&events), [Action::Flip, Action::Alarm, Action::Succeed]);
    assert_eq!(
        events[1].message,
        "green is not watched after the flip, so there is no automatic rollback: only 800 of blue's requests were \
         judged before the flip, and 1000 are needed"
    );
    assert_eq!(world.seconds(60, 0, 100), []);
    // Nor by a side that fails nearly always.
    let events = world.switch("blue");
    assert!(
        events[1].message.contains("11800 of 11800 requests (100.0 %) failed before the flip"),
        "{}",
        events[1].message
    );
    assert_eq!(world.run.phase, Phase::Steady);
}

/// Each side is measured by what it did since it is active, and never by what came under two assignments.
#[test]
fn the_sides_evidence_is_kept_apart() {
    let mut world = World::of(watched());
    world.seconds(10, 0, 0);
    world.switch("green");
    // Ticks from before the flip close later; others saw both sides, or another attempt.
    let late = Tick { number: world.now, ..world.tick(0, 100) };
    let mixed = Tick { number: world.now + 1, void: true, share: None, ..world.tick(100, 100) };
    let others = Tick { number: world.now + 1, share: None, ..world.tick(100, 100) };
    for tick in [late, mixed, others] {
        world.run.close(&world.program, &tick, at(world.now + 1));
    }
    assert_eq!((world.run.window(), world.run.active.answered), (Some(1.0), Arm::default()));
    world.now += 1;
    world.seconds(10, 0, 1);
    assert_eq!(world.run.active.answered, Arm { events: 20, units: 2_000 });
    let events = world.switch("blue");
    assert_eq!((actions(&events), world.run.active.answered), (vec![Action::Flip], Arm::default()));
    let window = world.run.active.window.as_ref().unwrap();
    assert_eq!(window.before, Arm { events: 20, units: 2_000 }, "blue is measured by green, not by itself");
    let mixed = Tick { number: world.now + 1, void: true, ..world.tick(100, 100) };
    world.run.close(&world.program, &mixed, at(world.now + 1));
    assert_eq!(world.run.window(), Some(1.0));
    world.now += 1;
    let events = world.seconds(30, 0, 0);
    assert_eq!(events[0].message, "blue keeps all traffic");
    assert_eq!(world.run.phase, Phase::Steady);
}

#[test]
fn a_person_flips_at_once_and_back_by_the_same_command() {
    // Blue is active already: switching to it ends the bake.
    let mut world = World::of(baked());
    world.second(0, 0);
    let events = world.switch("blue");
    assert_eq!((actions(&events), green(&world.run)), (vec![Action::Change], 0));
    assert_eq!(events[0].message, "the bake is over; blue keeps all traffic");
    assert_eq!((world.run.phase, world.switch("blue")), (Phase::Steady, vec![]));
    assert_eq!(world.seconds(60, 0, 0), []);
    let mut world = World::of(baked());
    world.second(0, 0);
    assert_eq!(
        actions(&world.command(Command::Promote { full: false })),
        [Action::Flip, Action::Alarm, Action::Succeed]
    );
    assert_eq!(green(&world.run), 10_000);
    let why = "the rollout is succeeded; the candidate already has all traffic";
    assert_eq!(world.refused(Command::Promote { full: false }), why);
    assert_eq!(world.switch("green"), []);
    let events = world.switch("blue");
    assert_eq!((actions(&events), green(&world.run)), (vec![Action::Flip, Action::Alarm], 0));
    assert_eq!(world.seconds(60, 0, 0), [], "no other bake begins");
    assert_eq!(
        world.refused(Command::Switch { active: "red".into() }),
        "active: \"red\" is neither stable (\"blue\") nor the candidate (\"green\")"
    );
    // A command flips a paused bake too, and an abort is final.
    let mut world = World::of(baked());
    world.command(Command::Pause);
    world.switch("green");
    assert_eq!(green(&world.run), 10_000);
    world.command(Command::Abort);
    assert_eq!((world.run.phase, green(&world.run)), (Phase::Aborted, 0));
    assert!(world.refused(Command::Switch { active: "green".into() }).contains("retry"));
    assert_eq!(world.switch("blue"), []);
}

#[test]
fn an_unchanged_active_undoes_no_command() {
    let at =
        |active: &str, window: &str| blue_green(&json!({"active": active, "auto_rollback_window": window}));
    let mut world = World::of(at("blue", "30s"));
    world.seconds(10, 0, 0);
    world.switch("green");
    assert_eq!(world.push(at("blue", "40s")), []);
    assert_eq!(world.seconds(39, 0, 0), []);
    assert_eq!(actions(&world.second(0, 0)), [Action::Succeed], "the window that is configured now");
    assert_eq!(world.push(at("green", "40s")), [], "it is there already");
    assert_eq!(actions(&world.push(at("blue", "40s"))), [Action::Flip]);
    assert_eq!((green(&world.run), world.run.phase), (0, Phase::Progressing));
    // A bake that is configured afterwards undoes none either, of whichever side.
    world.seconds(41, 0, 0);
    world.switch("green");
    world.push(baked());
    assert_eq!(green(&world.run), 10_000);
    world.switch("blue");
    world.push(at("blue", "40s"));
    world.seconds(41, 0, 0);
    world.push(baked());
    assert_eq!((green(&world.run), world.run.phase), (0, Phase::Steady));
    // Taken back, a push changes nothing.
    world.command(Command::Abort);
    assert_eq!(actions(&world.push(at("green", "30s"))), [Action::Alarm]);
    assert_eq!(green(&world.run), 0);
    // Retried, the side that is configured answers, and is watched.
    world.seconds(10, 0, 0);
    assert_eq!(actions(&world.command(Command::Retry)), [Action::Retry, Action::Flip]);
    assert_eq!((green(&world.run), world.run.phase), (10_000, Phase::Progressing));
}

#[test]
fn a_retry_to_the_candidate_is_a_flip_also_where_a_bake_is_configured() {
    let with = |active: &str| {
        program(&json!({
            "blue_green": {"active": active, "bake": {"weight": 10, "duration": "10s"}, "auto_rollback_window": "30s"},
            "analysis": {"metrics": [{"name": "error_rate"}]},
        }))
    };
    let mut world = World::of(with("blue"));
    world.seconds(11, 0, 0);
    world.push(with("green"));
    world.command(Command::Abort);
    world.seconds(20, 0, 0);
    assert_eq!(actions(&world.command(Command::Retry)), [Action::Retry, Action::Flip]);
    assert_eq!((green(&world.run), world.run.phase), (10_000, Phase::Progressing));
    assert!(world.run.window().is_some(), "it is watched");
}

#[test]
fn a_bake_needs_requests_and_not_only_time() {
    let mut world = World::of(baked());
    for _ in 0..600 {
        world.now += 1;
        assert_eq!(world.run.tick(&world.program, &[], at(world.now)), []);
    }
    assert_eq!((green(&world.run), world.run.phase), (1_000, Phase::Progressing));
    assert_eq!(world.run.reason.sentence(), "the step waits for more of the candidate's requests");
}

#[test]
fn a_bake_follows_the_configuration() {
    let with = |weight: u64| blue_green(&json!({"bake": {"weight": weight, "duration": "10s"}}));
    let mut world = World::of(with(10));
    world.push(with(5));
    assert_eq!((green(&world.run), world.run.phase), (500, Phase::Progressing));
    world.push(with(20));
    assert_eq!((green(&world.run), world.run.phase), (0, Phase::Paused), "only a person moves it up");
    world.command(Command::Resume);
    assert_eq!((green(&world.run), world.run.phase), (2_000, Phase::Progressing));
    let events = world.push(blue_green(&json!({})));
    assert_eq!(events[0].message, "the bake is removed");
    assert_eq!((green(&world.run), world.run.phase), (0, Phase::Steady));
}

#[test]
fn the_evidence_of_open_ticks_stays_shown() {
    let mut world = World::of(watched());
    world.seconds(10, 0, 0);
    world.switch("green");
    world.seconds(2, 0, 0);
    let open = Tick { number: world.now + 1, ..world.tick(0, 100) };
    let events = world.run.tick(&world.program, &[(open, 0)], at(world.now + 2));
    assert_eq!(actions(&events), [Action::Rollback]);
    let value = events[0].evidence.as_ref().unwrap().value;
    assert!((world.run.window().unwrap().log10() - value).abs() < 1e-9, "{:?}", world.run.window());
}

#[test]
fn on_failure_and_dry_run_hold_after_the_flip_too() {
    for (on_failure, dry_run, action, phase) in [
        ("pause", false, Action::Pause, Phase::Paused),
        ("alarm", false, Action::Alarm, Phase::Progressing),
        ("abort", true, Action::Alarm, Phase::Progressing),
    ] {
        let mut world = World::of(program(&json!({
            "blue_green": {"auto_rollback_window": "30s"},
            "analysis": {"metrics": [{"name": "error_rate"}], "on_failure": on_failure, "dry_run": dry_run},
        })));
        world.seconds(10, 0, 0);
        world.switch("green");
        let events = world.seconds(20, 0, 50);
        assert_eq!((actions(&events), world.run.phase), (vec![action], phase), "{on_failure}");
        assert_eq!(green(&world.run), 10_000);
        if phase == Phase::Paused {
            world.command(Command::Resume);
            assert_eq!((world.run.attempt, world.run.phase), (2, Phase::Progressing));
            assert_eq!(world.run.window(), Some(1.0), "a person has decided against the finding");
            world.seconds(5, 0, 50);
            assert_eq!(world.run.phase, Phase::Paused);
            assert_eq!(actions(&world.command(Command::Promote { full: false })), [Action::Succeed]);
        }
    }
}

#[test]
fn a_pin_stops_the_watch() {
    let mut world = World::of(watched());
    world.seconds(10, 0, 0);
    world.switch("green");
    world.push(Program { pin: Some("blue".into()), ..watched() });
    assert_eq!(world.seconds(60, 0, 100), []);
    assert!(world.refused(Command::Switch { active: "blue".into() }).contains("pinned"));
    world.push(watched());
    assert_eq!((green(&world.run), world.run.phase), (10_000, Phase::Progressing));
    assert_eq!(actions(&world.seconds(3, 0, 100)), [Action::Rollback]);
}

#[test]
fn another_definition_of_an_error_ends_the_watch_and_says_so() {
    let mut world = World::of(watched());
    world.seconds(10, 0, 0);
    world.switch("green");
    let events = world.push(program(&json!({
        "blue_green": {"auto_rollback_window": "30s"},
        "analysis": {"metrics": [{"name": "error_rate"}], "deadline": "1s"},
    })));
    let said = |message: &str| events.iter().any(|event| event.message == message);
    assert!(said("errors are redefined; the watch after the flip has ended"), "{events:?}");
    assert_eq!((world.run.phase, world.run.window()), (Phase::Succeeded, None));
}

#[test]
fn a_release_that_begins_with_its_candidate_is_not_watched() {
    let mut world = World::of(watched());
    world.seconds(20, 0, 0);
    let next = blue_green(&json!({"active": "green", "auto_rollback_window": "30s"}));
    let events = world.push(Program { release: "2".into(), ..next });
    assert_eq!(actions(&events), [Action::Start, Action::Alarm]);
    assert_eq!((green(&world.run), world.run.phase), (10_000, Phase::Succeeded));
}

#[test]
fn another_course_becomes_blue_green_and_back() {
    let canary = program(&json!({
        "steps": [{"set_weight": 5}, {"pause": {"duration": "1h"}}],
        "analysis": {"metrics": [{"name": "error_rate"}]},
    }));
    let mut world = World::of(canary.clone());
    world.push(baked());
    assert_eq!((green(&world.run), world.run.phase), (1_000, Phase::Progressing));
    world.switch("green");
    world.push(canary);
    assert_eq!((green(&world.run), world.run.phase, world.run.window()), (10_000, Phase::Succeeded, None));
}

#[test]
fn a_bake_that_is_configured_after_a_flip_back_is_not_over_when_stable_is_wanted() {
    let mut world = World::of(watched());
    world.seconds(10, 0, 0);
    world.switch("green");
    world.seconds(40, 0, 0);
    world.switch("blue");
    world.push(baked());
    assert_eq!(world.run.position, 2, "it is behind");
    assert_eq!(world.switch("blue"), []);
    assert_eq!(world.run.window_lasts(&world.program), Some(30_000));
}

#[test]
fn a_retry_as_a_canary_forgets_the_side_that_had_all_traffic() {
    let mut world = World::of(watched());
    world.switch("green");
    world.seconds(31, 0, 0);
    world.switch("blue");
    world.seconds(20, 50, 0);
    assert_eq!((world.run.phase, green(&world.run)), (Phase::Failed, 10_000));
    world.push(program(&json!({
        "steps": [{"set_weight": 5}, {"pause": {}}, {"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}]},
    })));
    world.command(Command::Retry);
    assert_eq!((world.run.phase, green(&world.run)), (Phase::Paused, 500));
    world.command(Command::Promote { full: false });
    assert_eq!(green(&world.run), 5_000);
    world.command(Command::Promote { full: false });
    assert_eq!((world.run.phase, green(&world.run)), (Phase::Succeeded, 10_000));
}

#[test]
fn a_watch_that_routes_hold_says_so() {
    let mut world = World::of(watched());
    world.seconds(10, 0, 0);
    world.switch("green");
    world.seconds(25, 0, 0);
    for _ in 0..10 {
        let mut tick = Tick { void: true, ..world.tick(0, 0) };
        tick.counts.candidate.elsewhere = Arm { events: 1, units: 1 };
        world.now += 1;
        world.run.close(&world.program, &tick, at(world.now));
        world.run.tick(&world.program, &[], at(world.now));
    }
    assert_eq!(world.run.phase, Phase::Progressing);
    let reason = world.run.reason.sentence().into_owned();
    assert!(reason.contains("Envoy's routes ignore the filter's choice"), "{reason}");
}

/// A bake that the judge has paused.
fn suspected() -> World {
    let mut world = World::of(program(&json!({
        "blue_green": {"bake": {"weight": 10, "duration": "1m"}},
        "analysis": {"metrics": [{"name": "error_rate", "max": 0.05}], "on_failure": "pause"},
    })));
    assert_eq!(actions(&world.seconds(30, 0, 50)), [Action::Pause]);
    assert_eq!(world.run.attempt, 1);
    world
}

#[test]
fn a_command_or_push_that_overrules_the_judge_makes_it_judge_anew() {
    let mut by_command = suspected();
    let events = by_command.switch("blue");
    assert_eq!(events[0].message, "the bake is over; blue keeps all traffic");
    assert_eq!((by_command.run.attempt, by_command.run.judge.reading().all), (2, 1.0));
    by_command.switch("green");

    let mut by_push = suspected();
    by_push.push(program(&json!({
        "blue_green": {"active": "green", "bake": {"weight": 10, "duration": "1m"}},
        "analysis": {"metrics": [{"name": "error_rate", "max": 0.05}], "on_failure": "pause"},
    })));
    assert_eq!(by_push.run.attempt, 2);

    let mut as_canary = World::of(program(&json!({
        "steps": [{"set_weight": 10}, {"pause": {"duration": "1m"}}],
        "analysis": {"metrics": [{"name": "error_rate", "max": 0.05}], "on_failure": "pause"},
    })));
    as_canary.seconds(30, 0, 50);
    as_canary.push(suspected().program);
    as_canary.switch("green");

    let mut unbaked = suspected();
    unbaked.push(program(&json!({
        "blue_green": {},
        "analysis": {"metrics": [{"name": "error_rate", "max": 0.05}], "on_failure": "pause"},
    })));
    assert_eq!(unbaked.run.attempt, 2);
    unbaked.switch("green");

    for mut world in [by_command, by_push, as_canary, unbaked] {
        assert_eq!(green(&world.run), 10_000);
        world.seconds(5, 0, 0);
        assert_eq!(actions(&world.seconds(60, 0, 50)), [Action::Alarm]);
    }
}

#[test]
fn events_of_a_flip_do_not_show_the_phase_before_it() {
    let mut world = World::of(baked());
    world.command(Command::Pause);
    let events = world.switch("green");
    assert_eq!(actions(&events), [Action::Flip, Action::Alarm, Action::Succeed], "too few to watch it");
    assert!(events.iter().all(|event| event.phase == Phase::Succeeded), "{events:?}");

    let bake = json!({"bake": {"weight": 10, "duration": "1m"}, "auto_rollback_window": "30s"});
    let mut world = World::of(blue_green(&bake));
    world.seconds(30, 0, 0);
    world.command(Command::Pause);
    let events = world.switch("green");
    assert_eq!((actions(&events), events[0].phase), (vec![Action::Flip], Phase::Progressing));

    // Nor does the end of steps.
    let mut world = World::of(program(&json!({
        "steps": [{"set_weight": 5}, {"pause": {}}], "auto_rollback_window": "30s",
        "analysis": {"metrics": [{"name": "error_rate"}]},
    })));
    let events = world.command(Command::Promote { full: false });
    assert_eq!(actions(&events), [Action::Step, Action::Alarm, Action::Succeed]);
    assert!(events.iter().all(|event| event.phase == Phase::Succeeded), "{events:?}");
}

#[test]
fn a_flip_at_the_end_of_a_bake_keeps_what_was_found_where_nothing_acts_on_it() {
    let mut world = World::of(program(&json!({
        "blue_green": {"bake": {"weight": 10, "duration": "10s"}},
        "analysis": {"metrics": [{"name": "error_rate", "max": 0.05}], "dry_run": true},
    })));
    let events = world.seconds(11, 0, 50);
    assert_eq!(actions(&events), [Action::Alarm, Action::Flip, Action::Succeed]);
    assert_eq!(world.run.attempt, 1);
    assert!(world.run.judge.reading().all > 100.0);
}

/// What was found late was about the time before the flip back.
#[test]
fn a_finding_after_a_flip_back_does_not_disarm_the_limit_after_the_next_flip() {
    let mut world = World::of(program(&json!({
        "blue_green": {}, "analysis": {"metrics": [{"name": "error_rate", "max": 0.05}]},
    })));
    world.switch("green");
    world.seconds(10, 0, 0);
    let late = world.tick(0, 100);
    world.switch("blue");
    world.now += 1;
    world.run.close(&world.program, &late, at(world.now));
    assert_eq!(actions(&world.run.tick(&world.program, &[], at(world.now))), [Action::Alarm]);
    world.switch("green");
    assert_eq!((green(&world.run), world.run.attempt), (10_000, 2));
    assert_eq!(actions(&world.seconds(10, 0, 100)), [Action::Rollback]);
}

#[test]
fn a_flip_that_a_person_wants_in_spite_of_a_finding_is_judged_anew() {
    let mut world = World::of(program(&json!({
        "blue_green": {"bake": {"weight": 10, "duration": "1m"}},
        "analysis": {"metrics": [{"name": "error_rate", "max": 0.05}], "on_failure": "alarm"},
    })));
    assert_eq!(actions(&world.seconds(30, 0, 50)), [Action::Alarm]);
    world.switch("green");
    assert_eq!((green(&world.run), world.run.attempt), (10_000, 2));
    assert!(actions(&world.seconds(60, 0, 50)).contains(&Action::Alarm));
}

/// A model that is not loaded answers 404 to everything.
#[test]
fn a_watch_does_not_end_while_the_new_side_refuses_clearly_more() {
    let refusals = |metrics: &[&str]| {
        let metrics: Vec<_> = metrics.iter().map(|name| json!({"name": name})).collect();
        program(&json!({"blue_green": {"auto_rollback_window": "30s"}, "analysis": {"metrics": metrics}}))
    };
    let judged = || refusals(&["error_rate", "client_error_rate"]);
    for (program, blue, green, is_held) in [
        (judged(), 0, 100, true),
        (judged(), 2, 60, true),
        (judged(), 1, 30, false),
        (judged(), 100, 100, false),
        (judged(), 10, 12, false),
        (refusals(&["error_rate"]), 0, 100, false),
    ] {
        let mut world = World::of(program);
        world.refusing(10, blue, 0);
        world.switch("green");
        let events = world.refusing(700, 0, green);
        assert_eq!(world.run.phase == Phase::Progressing, is_held, "{blue} {green}");
        if is_held {
            assert_eq!(actions(&events), [Action::Alarm], "it has waited for long");
            let sentence = if green == 100 {
                "green is watched until it answers a request well: it has not since the flip"
            } else {
                "green is watched until it refuses or redirects fewer than half of its requests, as blue did before the flip"
            };
            assert_eq!(world.run.reason.sentence(), sentence);
            if green < 100 {
                let events = world.refusing(20_000, 0, 0);
                assert_eq!(actions(&events), [Action::Succeed], "good answers outweigh them");
            }
        }
    }
}
