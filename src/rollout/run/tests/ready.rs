//! A candidate that must be ready before it gets traffic.

use super::*;
use crate::model::Arm;
use crate::rollout::ready::{Answer, Said};

/// A rollout, its time, and a candidate that answers with this status; 0: it does not.
struct World {
    program: Program,
    run: Run,
    now: u64,
    status: u64,
    asked: u64,
}

impl World {
    fn of(program: Program) -> Self {
        let (run, _) = Run::begin(&program, at(100));
        Self { program, run, now: 100, status: 503, asked: 0 }
    }

    /// A second in which the candidate is asked if it is time, and answers.
    fn second(&mut self) -> Vec<Event> {
        if let Some((_, asked)) = self.run.ask(&self.program, at(self.now)) {
            self.asked += 1;
            let said = if self.status == 0 { Said::NoAnswer } else { Said::Status(self.status) };
            self.run.hear(&self.program, Answer { asked, said });
        }
        self.now += 1;
        self.run.tick(&self.program, &[], at(self.now))
    }

    fn seconds(&mut self, seconds: u64) -> Vec<Event> {
        (0..seconds).flat_map(|_| self.second()).collect()
    }

    fn command(&mut self, command: Command) -> Vec<Event> {
        self.run.command(&self.program, command, at(self.now)).unwrap()
    }

    fn push(&mut self, program: Program) -> Vec<Event> {
        let before = std::mem::replace(&mut self.program, program);
        self.run.push(&before, &self.program, at(self.now))
    }

    fn stands(&self) -> (Phase, usize, u16) {
        (self.run.phase, self.run.position, green(&self.run))
    }
}

fn walk() -> Program {
    program(&json!({
        "steps": [
            {"ready": {"path": "/ready", "timeout": "30s"}}, {"set_weight": 5}, {"pause": {"duration": "10s"}},
        ],
    }))
}

fn sides(fields: &Value) -> Program {
    let mut sides = json!({"ready": {"path": "/ready", "successes": 2, "timeout": "30s"}});
    sides.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    blue_green(&sides)
}

/// The same where slower answers count as errors.
fn redefined(fields: &Value) -> Program {
    let mut program = sides(fields);
    let deadline = json!({
        "blue_green": {}, "analysis": {"metrics": [{"name": "error_rate"}], "deadline": "1s"},
    });
    program.analysis = self::program(&deadline).analysis;
    program
}

fn switch(active: &str) -> Command {
    Command::Switch { active: active.into() }
}

fn actions(events: &[Event]) -> Vec<Action> {
    events.iter().map(|event| event.action).collect()
}

#[test]
fn a_candidate_that_loads_gets_no_request_and_is_not_rolled_back() {
    let program = walk();
    let (run, events) = Run::begin(&program, at(100));
    assert_eq!(events[1].message, "step 1 of 3: green at 0 %, until it is ready (/ready answers 200)");
    assert_eq!(run.reason.sentence(), "");
    let mut world = World { run, ..World::of(program) };
    assert_eq!(world.seconds(20), []);
    assert_eq!((world.stands(), world.asked), ((Phase::Progressing, 0, 0), 20));
    assert_eq!(
        world.run.reason.sentence(),
        "waiting until the candidate is ready: /ready must answer 200 3 times in a row; 0 so far, the last answer was 503"
    );
    world.status = 200;
    assert_eq!(world.seconds(2), []);
    world.status = 0;
    assert_eq!(world.seconds(1), [], "three in a row are wanted");
    world.status = 200;
    assert_eq!(actions(&world.seconds(3)), [Action::Step]);
    assert_eq!(world.stands(), (Phase::Progressing, 2, 500));
    let asked = world.asked;
    world.seconds(5);
    assert_eq!(world.asked, asked, "a step that does not wait for it asks nothing");
}

#[test]
fn one_that_does_not_become_ready_pauses_the_run_until_a_person_decides() {
    let mut world = World::of(walk());
    let events = world.seconds(30);
    assert_eq!(actions(&events), [Action::Pause]);
    assert_eq!(
        events[0].message,
        "green did not become ready within 30 s: /ready must answer 200 3 times in a row; 0 so far, the last answer was \
         503; resume asks again, promote continues without waiting"
    );
    let asked = world.asked;
    assert_eq!(world.seconds(10), []);
    assert_eq!((world.run.phase, world.asked), (Phase::Paused, asked), "it is left alone");
    world.command(Command::Resume);
    world.status = 200;
    assert_eq!(actions(&world.seconds(3)), [Action::Step]);
    assert_eq!(green(&world.run), 500);

    let mut world = World::of(walk());
    world.seconds(30);
    assert_eq!(actions(&world.command(Command::Promote { full: false })), [Action::Step]);
    assert_eq!(world.stands(), (Phase::Progressing, 2, 500));
}

#[test]
fn a_pause_an_abort_and_a_pin_in_the_middle_end_the_questions() {
    for end in [Command::Pause, Command::Abort] {
        let mut world = World::of(walk());
        world.status = 200;
        world.seconds(2);
        let (_, asked) = world.run.ask(&world.program, at(world.now)).unwrap();
        world.command(end.clone());
        world.run.hear(&world.program, Answer { asked, said: Said::Status(200) });
        let asked = world.asked;
        assert_eq!(world.seconds(10), []);
        assert_eq!((green(&world.run), world.asked), (0, asked), "{end:?}");
        let again = if end == Command::Pause { Command::Resume } else { Command::Retry };
        world.command(again);
        assert_eq!(world.seconds(2), [], "what was answered before does not count");
        assert_eq!(actions(&world.seconds(1)), [Action::Step]);
    }
    let mut world = World::of(walk());
    world.status = 200;
    world.seconds(2);
    world.push(Program { pin: Some("blue".into()), ..walk() });
    assert_eq!((world.seconds(10), world.asked), (vec![], 2));
    world.push(walk());
    assert_eq!(world.seconds(2), []);
    assert_eq!(actions(&world.seconds(1)), [Action::Step]);
}

#[test]
fn a_push_in_the_middle_asks_anew_where_the_question_has_changed() {
    let mut world = World::of(walk());
    world.status = 200;
    world.seconds(2);
    world.push(Program { mirror: Some(Share::new(1)), ..walk() });
    assert_eq!(actions(&world.seconds(1)), [Action::Step], "it has not");

    let mut world = World::of(walk());
    world.status = 200;
    world.seconds(2);
    let (_, asked) = world.run.ask(&world.program, at(world.now)).unwrap();
    let other = program(&json!({
        "steps": [{"ready": {"path": "/other", "successes": 1}}, {"set_weight": 5}, {"pause": {}}],
    }));
    world.push(other);
    world.run.hear(&world.program, Answer { asked, said: Said::Status(200) });
    assert_eq!(world.stands(), (Phase::Progressing, 0, 0));
    world.now += 1;
    world.run.tick(&world.program, &[], at(world.now));
    assert_eq!(world.stands(), (Phase::Progressing, 0, 0), "the answer was about another path");
    assert_eq!(actions(&world.seconds(1)), [Action::Step]);

    // Another release: an answer to a question of the one before says nothing about it.
    let mut world = World::of(walk());
    world.status = 200;
    world.seconds(2);
    let (_, asked) = world.run.ask(&world.program, at(world.now)).unwrap();
    world.push(Program { release: "2".into(), ..walk() });
    world.run.hear(&world.program, Answer { asked, said: Said::Status(200) });
    assert_eq!(world.seconds(2), []);
    assert_eq!(actions(&world.seconds(1)), [Action::Step]);
}

#[test]
fn new_steps_that_ask_first_do_not_move_a_candidate_up() {
    let mut world = World::of(walk());
    world.status = 200;
    world.seconds(3);
    assert_eq!(green(&world.run), 500);
    world.push(program(&json!({
        "steps": [{"ready": {"path": "/ready"}}, {"set_weight": 10}, {"pause": {}}],
    })));
    assert_eq!((world.run.phase, green(&world.run)), (Phase::Paused, 0));
    assert_eq!(world.run.reason.sentence(), "the new steps begin above the current 5 %");
    world.command(Command::Resume);
    assert_eq!(actions(&world.seconds(3)), [Action::Step]);
    assert_eq!(green(&world.run), 1_000);
}

#[test]
fn a_protocol_that_says_how_it_is_asked_has_the_step_by_itself() {
    let of = |fields: Value| {
        let program = program(&fields);
        let first = program.steps.first().cloned();
        let asks = |step: Option<Step>| match step {
            Some(Step::Ready(ready)) => Some((ready.path, ready.successes)),
            _ => None,
        };
        (program.steps.len(), asks(first), program.ready.map(|ready| ready.path))
    };
    let steps = json!([{"set_weight": 5}, {"pause": {}}]);
    let open = json!({"protocol": "open_inference"});
    let path = "/v2/health/ready".to_owned();
    assert_eq!(of(json!({"steps": steps, "payload": open})), (3, Some((path.clone(), 3)), None));
    assert_eq!(of(json!({"steps": steps, "payload": {"protocol": "openai"}})), (2, None, None));
    assert_eq!(of(json!({"weights": {"green": 5}, "payload": open})), (0, None, None));
    let own = json!([{"set_weight": 5}, {"ready": {"path": "/own"}}, {"pause": {}}]);
    assert_eq!(of(json!({"steps": own, "payload": open})), (3, None, None), "one's own replaces it");
    assert_eq!(of(json!({"blue_green": {}, "payload": open})), (0, None, Some(path)));
    let own = json!({"blue_green": {"ready": {"path": "/own"}}, "payload": open});
    assert_eq!(of(own), (0, None, Some("/own".into())));
}

#[test]
fn a_bake_begins_when_the_candidate_is_ready() {
    let mut world = World::of(sides(&json!({"bake": {"weight": 10, "duration": "5s"}})));
    world.seconds(5);
    assert_eq!(world.stands(), (Phase::Progressing, 0, 0));
    world.status = 200;
    assert_eq!(actions(&world.seconds(2)), [Action::Step]);
    assert_eq!(green(&world.run), 1_000);
}

#[test]
fn a_flip_waits_for_a_candidate_that_is_not_ready_and_a_flip_back_does_not() {
    let mut world = World::of(sides(&json!({})));
    let events = world.command(switch("green"));
    assert_eq!(actions(&events), [Action::Step]);
    assert_eq!(events[0].message, "all traffic moves from blue to green once green is ready");
    assert_eq!(world.command(switch("green")), [], "again: nothing");
    world.seconds(5);
    assert_eq!((world.run.phase, green(&world.run)), (Phase::Progressing, 0));
    world.status = 200;
    assert_eq!(actions(&world.seconds(2)), [Action::Flip, Action::Succeed]);
    assert_eq!((world.run.phase, green(&world.run)), (Phase::Succeeded, 10_000));
    world.status = 503;
    assert_eq!(actions(&world.command(switch("blue"))), [Action::Flip]);
    assert_eq!((world.run.phase, green(&world.run)), (Phase::Steady, 0));
}

#[test]
fn a_flip_that_waits_is_called_off_held_and_forced() {
    let mut world = World::of(sides(&json!({})));
    world.command(switch("green"));
    let events = world.command(switch("blue"));
    assert_eq!(events[0].message, "the flip is called off; blue keeps all traffic");
    world.status = 200;
    assert_eq!((world.seconds(5), world.asked, world.run.phase), (vec![], 0, Phase::Steady));

    world.status = 503;
    world.command(switch("green"));
    assert_eq!(actions(&world.seconds(30)), [Action::Pause]);
    assert_eq!(actions(&world.command(switch("green"))), [Action::Step], "it is asked again");
    assert_eq!(actions(&world.seconds(30)), [Action::Pause]);
    world.command(Command::Resume);
    assert_eq!((world.seconds(5), world.run.phase), (vec![], Phase::Progressing));
    assert_eq!(
        actions(&world.command(Command::Promote { full: false })),
        [Action::Flip, Action::Succeed],
        "a person who insists is obeyed"
    );
    assert_eq!(green(&world.run), 10_000);

    let mut world = World::of(sides(&json!({})));
    world.command(switch("green"));
    world.command(Command::Abort);
    world.status = 200;
    assert_eq!((world.seconds(5), world.asked, green(&world.run)), (vec![], 0, 0));
}

#[test]
fn a_flip_by_configuration_waits_too_but_not_when_envoy_starts() {
    let active = sides(&json!({"active": "green"}));
    assert_eq!(green(&World::of(active.clone()).run), 10_000, "stable may be gone already");

    let mut world = World::of(sides(&json!({})));
    world.push(active.clone());
    assert_eq!((world.seconds(5), green(&world.run)), (vec![], 0));
    let events = world.push(sides(&json!({})));
    assert_eq!(events[0].message, "the flip is called off; blue keeps all traffic");
    world.push(active.clone());
    world.status = 200;
    assert_eq!(actions(&world.seconds(2)), [Action::Flip, Action::Succeed]);

    let mut world = World::of(sides(&json!({})));
    world.push(active);
    world.push(blue_green(&json!({"active": "green"})));
    assert_eq!(actions(&world.seconds(1)), [Action::Flip, Action::Succeed], "it is asked for no more");
}

#[test]
fn a_retry_of_a_side_waits_until_the_candidate_is_ready() {
    let mut world = World::of(sides(&json!({"active": "green"})));
    world.command(Command::Abort);
    assert_eq!(green(&world.run), 0);
    let events = world.command(Command::Retry);
    assert_eq!(actions(&events), [Action::Retry, Action::Step]);
    assert_eq!(events[0].message, "release 1, attempt 2: all traffic to blue, green on standby");
    assert_eq!(events[0].phase, Phase::Steady);
    assert_eq!((world.seconds(40).len(), world.stands()), (1, (Phase::Paused, 0, 0)), "it was never ready");
    world.command(Command::Resume);
    world.status = 200;
    assert_eq!(actions(&world.seconds(2)), [Action::Flip, Action::Succeed]);
    assert_eq!(green(&world.run), 10_000);
}

#[test]
fn a_push_without_the_bake_keeps_a_flip_that_waits() {
    let bake = json!({"weight": 5, "duration": "10s"});
    let mut world = World::of(sides(&json!({"bake": bake})));
    world.push(sides(&json!({"active": "green"})));
    assert_eq!((world.seconds(5), world.stands()), (vec![], (Phase::Progressing, 0, 0)));
    let mut by_command = World::of(sides(&json!({"bake": bake})));
    by_command.command(switch("green"));
    by_command.push(sides(&json!({})));
    assert_eq!((by_command.seconds(5), by_command.stands()), (vec![], (Phase::Progressing, 0, 0)));
    for world in [&mut world, &mut by_command] {
        world.status = 200;
        assert_eq!(actions(&world.seconds(2)), [Action::Flip, Action::Succeed]);
    }
}

#[test]
fn a_flip_that_waits_still_waits_when_errors_are_redefined() {
    let mut world = World::of(sides(&json!({})));
    world.command(switch("green"));
    world.push(redefined(&json!({})));
    assert_eq!((world.seconds(5), world.run.phase, green(&world.run)), (vec![], Phase::Progressing, 0));
    world.status = 200;
    assert_eq!(actions(&world.seconds(2)), [Action::Flip, Action::Succeed]);

    let mut world = World::of(sides(&json!({})));
    world.command(switch("green"));
    assert_eq!(actions(&world.seconds(30)), [Action::Pause]);
    world.push(redefined(&json!({})));
    world.command(Command::Resume);
    assert_eq!((world.seconds(5), world.run.phase, green(&world.run)), (vec![], Phase::Progressing, 0));

    // Of the side that answers until then only the watch ends.
    let watch = json!({"active": "green", "auto_rollback_window": "30s"});
    let mut world = World::of(sides(&watch));
    world.run.active.answered = Arm { events: 0, units: 1_000 };
    world.command(switch("blue"));
    world.command(switch("green"));
    let events = world.push(redefined(&watch));
    let messages: Vec<&str> = events.iter().map(|event| event.message.as_str()).collect();
    assert_eq!(
        messages.last(),
        Some(&"errors are redefined; the watch after the flip has ended"),
        "{events:?}"
    );
    assert_eq!((world.seconds(5), world.run.phase, green(&world.run)), (vec![], Phase::Progressing, 0));
    world.status = 200;
    assert_eq!(actions(&world.seconds(2))[0], Action::Flip);
}

#[test]
fn a_canary_that_becomes_blue_green_keeps_its_weight_until_it_is_ready() {
    let canary = program(&json!({
        "steps": [{"set_weight": 5}, {"pause": {"duration": "1h"}}],
        "analysis": {"metrics": [{"name": "error_rate"}]},
    }));
    let of_sides = sides(&json!({"active": "green"}));
    let mut world = World::of(canary.clone());
    let events = world.push(of_sides.clone());
    let messages: Vec<&str> = events.iter().map(|event| event.message.as_str()).collect();
    let waits = "all traffic moves from blue to green once green is ready";
    assert_eq!(messages, ["the rollout is now blue/green", waits]);
    assert_eq!((world.seconds(5), world.stands()), (vec![], (Phase::Progressing, 0, 500)));
    world.status = 200;
    assert_eq!(actions(&world.seconds(2))[0], Action::Flip);
    assert_eq!(green(&world.run), 10_000);

    // What has everything already is not asked.
    let mut world = World::of(canary);
    world.command(Command::Promote { full: true });
    world.push(of_sides);
    assert_eq!((world.run.phase, green(&world.run)), (Phase::Succeeded, 10_000));
}

#[test]
fn a_promotion_in_front_of_the_bake_does_not_wait_again() {
    let bake = sides(&json!({"bake": {"weight": 10, "duration": "5s"}}));
    for paused in [false, true] {
        let mut world = World::of(bake.clone());
        world.seconds(if paused { 30 } else { 5 });
        assert_eq!(world.run.phase == Phase::Paused, paused);
        assert_eq!(actions(&world.command(Command::Promote { full: false }))[0], Action::Flip, "{paused}");
        assert_eq!(green(&world.run), 10_000);
    }
    // In the bake itself it has been ready, and is asked before it gets the rest.
    let mut world = World::of(bake);
    world.status = 200;
    world.seconds(2);
    assert_eq!(green(&world.run), 1_000);
    assert_eq!(actions(&world.command(Command::Promote { full: false })), [Action::Step]);
}

/// The side that answers is watched, and the other one is wanted back.
#[test]
fn a_flip_that_waits_does_not_wait_for_the_other_sides_watch() {
    let mut world = World::of(sides(&json!({"active": "green", "auto_rollback_window": "30s"})));
    world.run.active.answered = Arm { events: 0, units: 1_000 };
    assert_eq!(actions(&world.command(switch("blue"))), [Action::Flip]);
    assert_eq!(world.run.window_lasts(&world.program), Some(30_000));
    assert_eq!(actions(&world.command(switch("green"))), [Action::Step]);
    assert_eq!((world.seconds(5), green(&world.run)), (vec![], 0));
    let events = world.command(switch("blue"));
    assert_eq!(events[0].message, "the flip is called off; blue keeps all traffic");
    assert_eq!((world.run.phase, world.run.window_lasts(&world.program)), (Phase::Progressing, Some(30_000)));
    world.command(switch("green"));
    world.status = 200;
    assert_eq!(actions(&world.seconds(2))[0], Action::Flip);
    assert_eq!(green(&world.run), 10_000);
}

proptest! {
    /// Whatever commands, pushes and answers come in whatever order: a candidate that is not ready gets no traffic but by a
    /// person who insists.
    #[test]
    fn no_order_of_inputs_gives_traffic_to_a_candidate_that_is_not_ready(seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let of_sides = rng.bool();
        let program = if of_sides { sides(&json!({"active": "green"})) } else { walk() };
        let mut world = World::of(program.clone());
        if of_sides {
            world.command(Command::Abort);
        }
        let mut other = program.clone();
        other.analysis = redefined(&json!({})).analysis;
        for _ in 0..40 {
            let command = any_command(&mut rng);
            match rng.u8(0..9) {
                0 | 1 if !matches!(command, Command::Promote { .. } | Command::Weight(_)) => {
                    drop(world.run.command(&world.program, command, at(world.now)));
                }
                2 => drop(world.push(Program { pin: Some("blue".into()), ..program.clone() })),
                3 => drop(world.push(program.clone())),
                // With the candidate as its side a release begins there.
                4 if !of_sides => {
                    drop(world.push(Program { release: world.now.to_string(), ..program.clone() }));
                }
                5 => world.status = [0, 404, 503][rng.usize(0..3)],
                6 => drop(world.push(other.clone())),
                7 if !of_sides && !world.run.phase.is_rolled_back() => {
                    let release = world.program.release.clone();
                    drop(world.push(Program { release, ..sides(&json!({"active": "green"})) }));
                    drop(world.seconds(rng.u64(0..40)));
                    prop_assert_eq!(green(&world.run), 0);
                    drop(world.push(program.clone()));
                }
                _ => drop(world.second()),
            }
            prop_assert_eq!(green(&world.run), 0);
        }
    }
}
