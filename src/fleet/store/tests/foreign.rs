//! Rollouts that no member judges: another version of this software writes their records, or the leader lacks their release.

use super::super::values::{self, Lead, Standing, Told};
use super::*;
use crate::fleet::shared::FORM;

/// A fleet whose record another version has written.
fn foreign_fleet(members: usize) -> World {
    let mut world = waiting_fleet(members);
    let key = world.store.values.keys().find(|key| key.contains("/r/")).unwrap().clone();
    let mut standing = world.stored().unwrap().standing();
    standing.revision += 1;
    let foreign = postcard::to_allocvec(&(1_u8, standing, FORM + 1, [1_u8, 2, 3])).unwrap();
    world.store.revision += 1;
    world.store.values.insert(key, (foreign, world.store.revision));
    world.pass(SECOND);
    world
}

/// Requests come to a member for so many seconds, five in each.
fn requests(world: &mut World, nth: usize, seconds: u64) {
    for _ in 0..seconds * 5 {
        world.pair(nth, false);
        world.pass(SECOND / 5);
    }
}

/// What a member's report has.
fn report(world: &World, nth: usize) -> Vec<u8> {
    let key = format!("/changeover/f/m/{}", world.envoys[nth].member.life().name());
    world.store.values[&key].0.clone()
}

#[test]
fn ticks_of_a_rollout_that_another_version_judges_are_not_reported() {
    let mut world = foreign_fleet(2);
    for nth in 0..2 {
        requests(&mut world, nth, 300);
        assert!(report(&world, nth).len() < 1_000, "{}", report(&world, nth).len());
    }
}

#[test]
fn of_a_release_that_the_leader_does_not_have_only_the_newest_ticks_are_reported() {
    let mut world = waiting_fleet(2);
    let leader = world.leaders()[0];
    let mut next = waiting();
    next["release"] = json!("2");
    world.envoys[1 - leader].member.configure(
        [("r", &program(&next))].into_iter(),
        |_| None,
        Clock::default(),
    );
    // The leader cannot be surpassed: it has a release that another one has not.
    requests(&mut world, 1 - leader, 200);
    let told: Told = values::decode(&report(&world, 1 - leader)).unwrap();
    assert!((5..90).contains(&told.entries()), "{}", told.entries());
}

#[test]
fn a_leader_that_gives_way_writes_first_what_is_done_of_notifications() {
    let mut world = waiting_fleet(3);
    let leader = world.leaders()[0];
    let next = program(&json!({"release": "2", "steps": [{"set_weight": 20}, {"pause": {}}]}));
    for nth in (0..3).filter(|nth| *nth != leader) {
        world.envoys[nth].member.configure([("r", &next)].into_iter(), |_| None, Clock::default());
    }
    let mut marks = Vec::new();
    while world.envoys[leader].member.leads() {
        marks.push(marks.len() as u64 + 1);
        let clock = world.envoys[leader].clock(world.now);
        world.envoys[leader].member.write_done(marks.clone(), clock);
        world.pass(200 * MS);
        assert!(marks.len() < 1_000);
    }
    let lead: Lead = values::decode(&world.store.values["/changeover/f/lead"].0).unwrap();
    assert_eq!(lead.done.last(), marks.last());
}

#[test]
fn requests_during_an_outage_of_minutes_are_judged_after_it() {
    let mut world = waiting_fleet(2);
    let member = 1 - world.leaders()[0];
    let counted = |world: &World| world.stored().unwrap().record.run.judge.step_requests();
    let before = counted(&world);
    world.away = world.now + 150 * SECOND;
    requests(&mut world, member, 140);
    world.pass(40 * SECOND);
    assert_eq!(counted(&world) - before, 700);
}

#[test]
fn a_record_that_stands_otherwise_than_it_says_is_left_to_who_has_written_it() {
    let stored = waiting_fleet(1).stored().unwrap();
    let other = Standing { mirrors: !stored.standing().mirrors, ..stored.standing() };
    let length = postcard::to_allocvec(&(1_u8, stored.standing(), FORM)).unwrap().len();
    let mut bytes = postcard::to_allocvec(&(1_u8, other.clone(), FORM)).unwrap();
    bytes.extend(&stored.encode()[length..]);
    assert_eq!(Stored::decode(&bytes), Read::Foreign(other));
}
