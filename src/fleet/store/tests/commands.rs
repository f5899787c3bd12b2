//! Commands at members of a fleet.

use super::super::known::Made;
use super::*;
use crate::analysis::kernel::ratio::Table;
use crate::rollout::event::Action;
use crate::telemetry::breaker::Trip;

#[test]
fn a_command_at_one_member_is_obeyed_by_all_within_half_a_second() {
    let mut world = waiting_fleet(20);
    let other = (world.leaders()[0] + 1) % 20;
    world.command(other, Command::Abort).unwrap();
    assert_eq!(world.share(other), Share::NONE, "at once here");
    world.pass(500 * MS);
    assert_eq!(world.shares(), [0; 20]);
    assert_eq!(world.phase(), Phase::Aborted);
}

/// A fleet whose members have circuit breakers.
fn breaking_fleet() -> World {
    let mut breaking = waiting();
    breaking["analysis"]["circuit_breaker"] = json!({"consecutive_errors": 5});
    let mut world = World::new(1, 3, &program(&breaking));
    world.pass(3 * SECOND);
    world
}

/// What the circuit breaker of a member says when it has counted five errors, and stable none.
fn trip(world: &World, nth: usize) -> Command {
    let record = world.envoys[nth].member.record("r").unwrap();
    let assignment = record.run.assignment(&record.program);
    Command::Trip(Trip { assignment, seen: Table::of((5, 5), (0, 5)) })
}

#[test]
fn a_circuit_breaker_that_trips_at_one_member_takes_the_candidate_back_at_all() {
    let mut world = breaking_fleet();
    let other = (world.leaders()[0] + 1) % 3;
    let trip = trip(&world, other);
    world.command(other, trip).unwrap();
    assert_eq!(world.share(other), Share::NONE, "at once here");
    world.pass(500 * MS);
    assert_eq!((world.phase(), world.shares()), (Phase::Failed, vec![0; 3]));
    world.pass(3 * SECOND);
    for envoy in &world.envoys {
        let rollbacks = envoy.events.iter().filter(|event| event.action == Action::Rollback).count();
        assert_eq!(rollbacks, 1, "each hears of it once");
    }
}

#[test]
fn a_circuit_breaker_that_trips_while_the_store_is_away_works_here_at_once_and_everywhere_later() {
    let mut world = breaking_fleet();
    world.away = world.now + 20 * SECOND;
    world.pass(10 * SECOND);
    let trip = trip(&world, 1);
    world.command(1, trip).unwrap();
    world.pass(5 * SECOND);
    assert_eq!((world.phase(), world.shares()), (Phase::Paused, vec![5_000, 0, 5_000]));
    world.pass(8 * SECOND);
    assert_eq!((world.phase(), world.shares()), (Phase::Failed, vec![0; 3]));
}

#[test]
fn commands_at_two_members_at_once_are_both_obeyed() {
    let mut world = waiting_fleet(3);
    // The later one is made again in the record that has the earlier one.
    world.command(0, Command::Promote { full: true }).unwrap();
    world.command(1, Command::Abort).unwrap();
    world.pass(2 * SECOND);
    assert_eq!(world.phase(), Phase::Aborted);
    assert_eq!(world.shares(), [0; 3]);
}

#[test]
fn an_abort_is_obeyed_although_another_member_goes_on_past_a_finding_at_the_same_time() {
    for (resumes, full) in (0..2).flat_map(|nth| [(nth, None), (nth, Some(false)), (nth, Some(true))]) {
        let mut pausing = waiting();
        pausing["steps"] =
            json!([{"set_weight": 50}, {"pause": {"duration": "1h"}}, {"set_weight": 60}, {"pause": {}}]);
        pausing["analysis"]["on_failure"] = json!("pause");
        let mut world = World::new(1, 2, &program(&pausing));
        world.pass(3 * SECOND);
        while world.phase() != Phase::Paused {
            (0..2).for_each(|nth| world.pair(nth, true));
            world.pass(SECOND);
        }
        world.pass(SECOND);
        let goes_on = full.map_or(Command::Resume, |full| Command::Promote { full });
        world.command(resumes, goes_on).unwrap();
        world.command(1 - resumes, Command::Abort).unwrap();
        world.pass(3 * SECOND);
        assert_eq!(world.phase(), Phase::Aborted, "{resumes} {full:?}");
        assert_eq!(world.shares(), [0; 2]);
    }
}

#[test]
fn an_abort_of_a_member_that_was_cut_off_does_not_count_after_a_retry() {
    let mut world = World::new(1, 3, &program(&promoted_by_hand()));
    world.pass(3 * SECOND);
    world.cut[1] = world.now + 10 * SECOND;
    world.command(1, Command::Abort).unwrap();
    world.command(0, Command::Abort).unwrap();
    world.pass(SECOND);
    world.command(0, Command::Retry).unwrap();
    world.pass(20 * SECOND);
    assert_eq!(world.shares(), [1_000; 3]);
}

/// Each was decided about the first step.
#[test]
fn of_two_members_that_promote_the_same_step_one_is_obeyed_and_the_other_named() {
    for first in [0, 1] {
        let mut world = World::new(1, 3, &program(&promoted_by_hand()));
        world.pass(3 * SECOND);
        world.command(first, Command::Promote { full: false }).unwrap();
        world.command(1 - first, Command::Promote { full: false }).unwrap();
        world.pass(2 * SECOND);
        assert_eq!(world.shares(), [2_000; 3]);
        let refused = world.envoys.iter_mut().flat_map(|envoy| envoy.member.poll_refused());
        assert_eq!(refused.collect::<Vec<_>>(), ["r"]);
    }
}

#[test]
fn a_promotion_of_a_member_that_was_cut_off_does_not_count_for_another_attempt_or_release() {
    let mut world = World::new(1, 3, &program(&promoted_by_hand()));
    world.pass(3 * SECOND);
    world.cut[1] = world.now + 10 * SECOND;
    world.command(1, Command::Promote { full: true }).unwrap();
    world.command(0, Command::Abort).unwrap();
    world.pass(SECOND);
    world.command(0, Command::Retry).unwrap();
    world.pass(20 * SECOND);
    assert_eq!(world.shares(), [1_000; 3]);
    // Another release while its change waits.
    let made = Made::new(99, world.envoys[1].member.record("r").unwrap(), Change::new("r", Command::Abort));
    let next = program(&json!({"release": "2", "steps": [{"set_weight": 20}, {"pause": {}}]}));
    for nth in 0..3 {
        world.envoys[nth].member.configure([("r", &next)].into_iter(), |_| None, Clock::default());
    }
    let clock = world.envoys[1].clock(world.now);
    assert!(world.envoys[1].member.make(&made, clock).is_err());
    world.pass(3 * SECOND);
    assert_eq!(world.shares(), [2_000; 3]);
}

#[test]
fn a_command_whose_answer_is_lost_is_not_obeyed_twice() {
    for lost in 0..12 {
        let mut world = World::new(lost, 3, &program(&promoted_by_hand()));
        world.pass(3 * SECOND + lost * 50 * MS);
        world.command(1, Command::Promote { full: false }).unwrap();
        world.loses = Some(2);
        world.pass(SECOND);
        world.loses = None;
        world.pass(3 * SECOND);
        let promoted =
            world.stored().unwrap().events.iter().filter(|(_, event)| event.message.contains("20 %")).count();
        assert!(promoted <= 1, "{promoted} promotions");
        assert!(world.stored().unwrap().record.run.position <= 3);
    }
}

#[test]
fn a_command_whose_answer_is_lost_is_not_made_again_in_what_was_built_upon_it() {
    let mut world = World::new(1, 3, &program(&promoted_by_hand()));
    world.pass(3 * SECOND);
    world.command(1, Command::Promote { full: false }).unwrap();
    // It is carried out, and the member falls asleep before the answer.
    world.pass(50 * MS);
    world.ways.get_mut(&1).expect("it writes").lost = Some(false);
    world.asleep[1] = world.now + 2 * SECOND;
    world.pass(SECOND);
    world.command(0, Command::Promote { full: false }).unwrap();
    world.pass(5 * SECOND);
    assert_eq!(world.shares(), [3_000; 3]);
}

#[test]
fn a_command_at_the_moment_of_a_restore_does_not_bring_a_lesser_record_back() {
    let mut world = World::new(1, 1, &program(&promoted_by_hand()));
    world.pass(3 * SECOND);
    let backup = world.store.clone();
    world.command(0, Command::Promote { full: false }).unwrap();
    world.pass(2 * SECOND);
    world.store = backup;
    world.command(0, Command::Promote { full: false }).unwrap();
    world.pass(3 * SECOND);
    assert_eq!((world.shares(), world.stored().unwrap().record.run.position), (vec![3_000], 5));
}
