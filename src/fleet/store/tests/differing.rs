//! What is said of members that are configured otherwise, and of more members than are counted.

use super::super::pool::MOST_MEMBERS;
use super::super::values::{self, Configured, Life, Told};
use super::*;

fn problems(world: &World, nth: usize) -> Vec<String> {
    let envoy = &world.envoys[nth];
    envoy.member.view(envoy.clock(world.now)).problems()
}

fn name(world: &World, nth: usize) -> String {
    world.envoys[nth].member.life().name()
}

fn configure(world: &mut World, nth: usize, fields: &Value) {
    let (next, clock) = (program(fields), world.envoys[nth].clock(world.now));
    world.envoys[nth].member.configure([("r", &next)].into_iter(), |_| None, clock);
}

/// The sentences of every member after a member other than the leader was configured so, a minute on.
fn after(fields: &Value) -> (String, Vec<Vec<String>>, World) {
    let mut world = waiting_fleet(3);
    let other = (0..3).find(|nth| !world.leaders().contains(nth)).unwrap();
    configure(&mut world, other, fields);
    world.pass(55 * SECOND);
    assert_eq!(problems(&world, 0), [""; 0], "a push may take a minute");
    world.pass(15 * SECOND);
    let all = (0..3).map(|nth| problems(&world, nth)).collect();
    (name(&world, other), all, world)
}

#[test]
fn a_member_with_another_configuration_is_named_by_all_after_a_minute() {
    let mut slower = waiting();
    slower["analysis"]["deadline"] = json!("17s");
    let (other, all, mut world) = after(&slower);
    let sentence = format!(
        "member {other} has another configuration of r than most Envoys, or than the one in force: push the same configuration to all Envoys"
    );
    assert_eq!(all, vec![vec![sentence.clone()]; 3]);
    // Who leads next goes on from there.
    let leader = world.leaders()[0];
    world.asleep[leader] = world.now + 20 * SECOND;
    world.pass(15 * SECOND);
    let next = world.leaders().into_iter().find(|nth| *nth != leader).unwrap();
    assert!(problems(&world, next).contains(&sentence), "{:?}", problems(&world, next));
    world.pass(20 * SECOND);
    for nth in 0..3 {
        configure(&mut world, nth, &slower);
    }
    world.pass(10 * SECOND);
    assert_eq!(problems(&world, 0), [""; 0], "all have the same");
}

#[test]
fn a_member_with_another_release_is_named_by_all_after_a_minute() {
    let mut next = waiting();
    next["release"] = json!("2");
    let (other, all, _) = after(&next);
    let sentence = format!(
        "member {other} has another release of r than most Envoys, or than the one that leads: push the same configuration to all Envoys"
    );
    for problems in all {
        assert!(problems.contains(&sentence), "{problems:?}");
        assert_eq!(problems.iter().filter(|problem| problem.starts_with("member")).count(), 1);
    }
}

#[test]
fn a_leader_that_a_change_has_not_reached_is_the_only_one_that_is_named() {
    let mut world = waiting_fleet(3);
    let leader = world.leaders()[0];
    let mut slower = waiting();
    slower["analysis"]["deadline"] = json!("17s");
    for nth in (0..3).filter(|nth| *nth != leader) {
        configure(&mut world, nth, &slower);
    }
    world.pass(70 * SECOND);
    assert_eq!(world.leaders(), [leader], "it judges all releases");
    let sentence = format!(
        "member {} has another configuration of r than most Envoys, or than the one in force: push the same configuration to all Envoys",
        name(&world, leader)
    );
    for nth in 0..3 {
        assert_eq!(problems(&world, nth), std::slice::from_ref(&sentence));
    }
    configure(&mut world, leader, &slower);
    world.pass(10 * SECOND);
    assert_eq!(problems(&world, 0), [""; 0]);
}

#[test]
fn of_two_members_the_one_that_does_not_lead_is_named() {
    let (mut slower, mut next) = (waiting(), waiting());
    slower["analysis"]["deadline"] = json!("17s");
    next["release"] = json!("2");
    for (other, what) in [(slower, "configuration"), (next, "release")] {
        let mut world = waiting_fleet(2);
        let follower = 1 - world.leaders()[0];
        configure(&mut world, follower, &other);
        world.pass(70 * SECOND);
        let said = problems(&world, follower);
        let named: Vec<&String> = said.iter().filter(|problem| problem.starts_with("member")).collect();
        assert_eq!(named.len(), 1, "{said:?}");
        let start = format!(
            "member {} has another {what} of r than most Envoys, or than the one",
            name(&world, follower)
        );
        assert!(named[0].starts_with(&start), "{said:?}");
    }
}

/// The key of a report of one that comes after all others.
fn late(nth: u64) -> String {
    format!("/changeover/f/m/{}", Life(u64::MAX - nth).name())
}

/// So many others report. The configuration of each is written once, as members do.
fn report(world: &mut World, others: u64) {
    for nth in 0..others {
        let told = Told { time: world.now / MS, ..Told::default() };
        world.store.revision += 1;
        let revision = world.store.revision;
        world.store.values.insert(late(nth), (values::encode(&told), revision));
        let configured = || (values::encode(&Configured::default()), revision);
        world.store.values.entry(late(nth).replace("/m/", "/c/")).or_insert_with(configured);
    }
}

fn surplus(world: &World) -> Vec<String> {
    problems(world, 0).into_iter().filter(|problem| problem.contains("are not used")).collect()
}

fn keys_of_members(world: &World) -> usize {
    world.store.values.keys().filter(|key| key.contains("/m/") || key.contains("/c/")).count()
}

#[test]
fn more_members_than_are_counted_are_told_by_their_number() {
    let mut world = waiting_fleet(2);
    world.step = 250 * MS;
    for _ in 0..5 {
        report(&mut world, MOST_MEMBERS as u64 + 3);
        world.pass(2 * SECOND);
    }
    for nth in 0..2 {
        let said = problems(&world, nth);
        assert!(said.iter().any(|problem| problem.contains("the counts of 5 are not used")), "{said:?}");
        let envoy = &world.envoys[nth];
        assert_eq!(envoy.member.view(envoy.clock(world.now)).members.len(), MOST_MEMBERS);
    }
    // Who leads next says the same.
    let leader = world.leaders()[0];
    world.asleep[leader] = world.now + 60 * SECOND;
    for _ in 0..8 {
        report(&mut world, MOST_MEMBERS as u64 + 3);
        world.pass(2 * SECOND);
        let said = problems(&world, 1 - leader);
        assert!(said.iter().any(|problem| problem.contains("are not used")), "{said:?}");
    }
    assert!(world.envoys[1 - leader].member.leads());
}

#[test]
fn members_that_have_ended_take_no_place_and_are_deleted_also_behind_those_that_are_counted() {
    let mut world = waiting_fleet(2);
    world.step = 250 * MS;
    world.pass(10 * SECOND);
    report(&mut world, MOST_MEMBERS as u64 + 88);
    // The others have been replaced: of those that report now a part stands behind the first 512.
    let live = |world: &mut World| report(world, 100);
    for nth in 0..15 {
        live(&mut world);
        world.pass(2 * SECOND);
        if nth > 6 {
            assert_eq!(surplus(&world), [""; 0], "only 102 live");
            let view = world.envoys[0].member.view(world.envoys[0].clock(world.now));
            let counted: Vec<String> = view
                .members
                .iter()
                .filter(|member| member.left_out.is_none())
                .map(|member| member.life.name())
                .collect();
            assert_eq!(counted.len(), 102);
            let known =
                view.members.iter().filter(|member| member.left_out.is_none() && member.configuration != 0);
            assert_eq!(known.count(), 102, "what they are configured with is still known");
            assert!(
                view.members.iter().all(|member| member.ahead.abs() < 3_000),
                "an old report says nothing of a clock"
            );
        }
    }
    for _ in 0..45 {
        live(&mut world);
        world.pass(2 * SECOND);
    }
    assert_eq!(keys_of_members(&world), 2 * 102, "the rest is deleted");
}

#[test]
fn a_new_leader_does_not_take_members_that_have_ended_for_more_than_are_counted() {
    let mut world = waiting_fleet(2);
    world.step = 250 * MS;
    world.pass(10 * SECOND);
    report(&mut world, MOST_MEMBERS as u64 + 88);
    let pass = |world: &mut World| {
        report(world, 100);
        world.pass(2 * SECOND);
    };
    (0..6).for_each(|_| pass(&mut world));
    let leader = world.leaders()[0];
    let other = 1 - leader;
    world.asleep[leader] = world.now + 60 * SECOND;
    for _ in 0..12 {
        pass(&mut world);
        let said = problems(&world, other);
        assert!(!said.iter().any(|problem| problem.contains("are not used")), "{said:?}");
    }
    assert!(world.envoys[other].member.leads());
}
