//! How a fleet begins rollouts and moves them on.

use super::*;

#[test]
fn a_fleet_begins_a_rollout_once_and_one_member_leads() {
    let world = waiting_fleet(5);
    assert_eq!(world.shares(), [5_000; 5]);
    assert_eq!(world.leaders().len(), 1);
    let begun = world.envoys.iter().filter(|envoy| !envoy.events.is_empty());
    assert_eq!(begun.count(), 5, "each hears of it");
    assert_eq!(world.stored().unwrap().events.len(), 2, "a start and a step");
}

#[test]
fn a_rollout_waits_at_stable_until_the_store_has_said_that_there_is_none() {
    let mut world = World::new(1, 2, &program(&waiting()));
    world.away = world.now + 20 * SECOND;
    world.pass(19 * SECOND);
    assert_eq!(world.shares(), [0, 0]);
    world.pass(3 * SECOND);
    assert_eq!(world.shares(), [5_000, 5_000]);
}

#[test]
fn the_counts_of_all_members_are_judged_once() {
    let mut world = waiting_fleet(4);
    for second in 0..20 {
        for nth in 0..4 {
            world.pair(nth, false);
        }
        if second == 10 {
            world.loses = Some(3);
        }
        world.pass(SECOND);
    }
    world.loses = None;
    world.pass(8 * SECOND);
    assert_eq!(world.stored().unwrap().record.run.judge.step_requests(), 80);
}

#[test]
fn a_candidate_that_fails_is_taken_back_everywhere_by_the_counts_of_all() {
    let mut world = waiting_fleet(3);
    let mut seconds = 0;
    while world.phase() != Phase::Failed {
        (0..3).for_each(|nth| world.pair(nth, true));
        world.pass(SECOND);
        seconds += 1;
        assert!(seconds < 12, "five failed answers of each are enough");
    }
    world.pass(SECOND);
    assert_eq!(world.shares(), [0; 3]);
    assert!(world.envoys.iter().all(|envoy| {
        envoy.events.iter().filter(|event| event.action == crate::rollout::event::Action::Rollback).count()
            == 1
    }));
}

#[test]
fn requests_that_hang_are_judged_however_long_they_have_and_however_rare_reports_are() {
    for (period, deadline) in [(1, "1m"), (30, "5s"), (60, "1m")] {
        let mut world = World::reporting(period * SECOND, 1, 2, &patient(deadline));
        world.step = 250 * MS;
        world.pass(3 * SECOND);
        let mut seconds = 0;
        // Every other second one request hangs and the rest is well.
        while world.phase() != Phase::Failed {
            for nth in 0..2 {
                (0..3).for_each(|_| world.pair(nth, false));
                if seconds % 2 == nth {
                    let now = world.now;
                    world.envoys[nth].hang("r", Side::Candidate, now);
                }
            }
            world.pass(SECOND);
            seconds += 1;
            assert!(seconds < 600, "a period of {period} s and a deadline of {deadline}");
        }
    }
}

#[test]
fn a_step_takes_its_time_however_rare_reports_are() {
    for period in [1, 15, 60] {
        let steps =
            json!([{"set_weight": 50}, {"pause": {"duration": "5m"}}, {"set_weight": 60}, {"pause": {}}]);
        let mut world = World::reporting(period * SECOND, 1, 2, &program(&json!({"steps": steps})));
        world.step = 250 * MS;
        let pass = |world: &mut World, seconds: u64| {
            for _ in 0..seconds {
                (0..2).for_each(|nth| world.pair(nth, false));
                world.pass(SECOND);
            }
        };
        pass(&mut world, 295);
        assert_eq!(world.shares(), [5_000; 2], "{period}");
        // The judge begins when members have reported twice.
        pass(&mut world, 10 + period);
        assert_eq!(world.shares(), [6_000; 2], "{period}");
    }
}
