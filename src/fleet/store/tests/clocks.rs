//! Members whose clocks differ.

use super::*;

#[test]
fn of_two_clocks_the_slower_one_counts_and_a_command_by_the_other_is_made_in_the_fleets_time() {
    let mut world = waiting_fleet(2);
    world.envoys[1].ahead = 3_600 * i64::try_from(SECOND).unwrap();
    world.pass(10 * SECOND);
    world.command(1, Command::Abort).unwrap();
    world.pass(SECOND);
    world.command(1, Command::Retry).unwrap();
    world.pass(10 * SECOND);
    let record = world.stored().unwrap().record;
    assert_eq!((record.run.attempt, record.run.phase), (2, Phase::Paused));
    assert!(record.closed_through <= world.now / TICK, "what lies ahead is not judged");
    for _ in 0..5 {
        world.pair(0, false);
        world.pass(SECOND);
    }
    world.pass(5 * SECOND);
    assert!(world.stored().unwrap().record.run.judge.step_requests() > 0, "the judge sees what comes");
}

#[test]
fn an_envoy_whose_clock_is_slow_does_not_stop_the_judge_of_the_other() {
    let mut world = waiting_fleet(1);
    world.pass(5 * SECOND);
    let slow = world.start();
    world.envoys.push(slow);
    (world.asleep, world.cut, world.calls_of) = (vec![0; 2], vec![0; 2], vec![0; 2]);
    world.envoys[1].ahead = -3_600 * i64::try_from(SECOND).unwrap();
    for _ in 0..10 {
        (0..2).for_each(|nth| world.pair(nth, false));
        world.pass(SECOND);
    }
    world.pass(8 * SECOND);
    assert_eq!(world.stored().unwrap().record.run.judge.step_requests(), 10, "those of the first");
}

#[test]
fn the_judge_goes_on_when_the_clock_of_the_fleet_goes_back() {
    use crate::rollout::event::Action;
    let alarms = |envoy: &Envoy| envoy.events.iter().filter(|event| event.action == Action::Alarm).count();
    for members in [1, 3] {
        let mut world = waiting_fleet(members);
        let seconds = |world: &mut World, count: usize| {
            for _ in 0..count {
                (0..members).for_each(|nth| world.pair(nth, false));
                world.pass(SECOND);
            }
            world.stored().unwrap().record.run.judge.step_requests()
        };
        let before = seconds(&mut world, 10);
        world.envoys.iter_mut().for_each(|envoy| envoy.ahead = -600 * i64::try_from(SECOND).unwrap());
        let after = seconds(&mut world, 40);
        assert!(after >= before + 15 * members as u64, "{before} {after}");
        assert_eq!(world.envoys.iter().map(alarms).collect::<Vec<_>>(), vec![1; members]);
    }
}

#[test]
pub(super) fn a_leader_whose_clock_goes_back_alone_makes_the_fleet_forget_nothing() {
    use crate::rollout::event::Action;
    let mut world = waiting_fleet(3);
    let leader = world.leaders()[0];
    world.envoys[leader].ahead = -600 * i64::try_from(SECOND).unwrap();
    for _ in 0..40 {
        (0..3).for_each(|nth| world.pair(nth, false));
        world.pass(SECOND);
    }
    let actions = world.envoys.iter().flat_map(|envoy| envoy.events.iter().map(|event| event.action));
    assert!(!actions.collect::<Vec<_>>().contains(&Action::Alarm), "two clocks of three stand");
    assert!(world.stored().unwrap().record.run.judge.step_requests() > 60, "two are counted");
}

#[test]
fn a_member_whose_clock_is_off_is_named_and_left_out() {
    let mut world = waiting_fleet(4);
    world.envoys[2].ahead = 40_000_000_000;
    for _ in 0..10 {
        (0..4).for_each(|nth| world.pair(nth, false));
        world.pass(SECOND);
    }
    world.pass(8 * SECOND);
    assert_eq!(world.stored().unwrap().record.run.judge.step_requests(), 30);
    let view = world.envoys[0].member.view(world.envoys[0].clock(world.now));
    let problems = view.problems();
    assert!(problems.iter().any(|problem| problem.contains("ms ahead")), "{problems:?}");
    // A leader whose own clock is ahead closes nothing that the others still count.
    assert!(world.stored().unwrap().record.closed_through <= world.now / TICK);
}
