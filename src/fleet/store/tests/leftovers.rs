//! What is no longer needed is deleted from the store, and from the memory of its members.

use super::stored::come;
use super::*;

/// Two more steps, so that there is something to promote.
fn judged_by_users_in_steps() -> Program {
    let mut rollout = judged_by_users();
    rollout["steps"] = json!([{"set_weight": 50}, {"pause": {}}, {"set_weight": 60}, {"pause": {}}]);
    program(&rollout)
}

/// The sets of users that are stored are those that the record names, and no member has others.
fn assert_named_only(world: &mut World, what: &str) {
    world.pass(90 * SECOND);
    let named: Vec<u64> = world.stored().unwrap().record.shelved().collect();
    let mut keys: Vec<String> = named.iter().map(|name| format!("/changeover/f/u/{name:016x}")).collect();
    keys.sort_unstable();
    let stored: Vec<&String> = world.store.values.keys().filter(|key| key.contains("/u/")).collect();
    assert_eq!(stored, keys.iter().collect::<Vec<_>>(), "{what}");
    for envoy in &world.envoys {
        let others = envoy.member.shelved().filter(|name| !named.contains(name)).count();
        assert_eq!(others, 0, "{what}: kept by a member");
    }
}

#[test]
fn sets_of_users_that_a_command_ends_are_deleted() {
    for nth in 0..2 {
        let mut world = World::new(1, 2, &judged_by_users_in_steps());
        come(&mut world);
        assert!(world.stored().unwrap().record.shelved().count() > 1);
        world.command(nth, Command::Promote { full: false }).unwrap();
        assert_named_only(&mut world, "promoted");
        world.command(nth, Command::Abort).unwrap();
        world.pass(2 * SECOND);
        world.command(nth, Command::Retry).unwrap();
        assert_named_only(&mut world, "retried");
        assert_eq!(world.stored().unwrap().record.shelved().count(), 0);
    }
}

#[test]
fn sets_of_users_that_are_replaced_are_deleted_although_answers_are_lost() {
    for loses in 2..8 {
        let mut world = World::new(loses, 2, &judged_by_users_in_steps());
        world.pass(3 * SECOND);
        world.loses = Some(loses);
        come(&mut world);
        come(&mut world);
        world.loses = None;
        assert_named_only(&mut world, &format!("every answer number {loses} is lost"));
    }
}

#[test]
fn sets_of_users_that_are_replaced_are_deleted_although_leaders_die() {
    let mut world = World::new(1, 2, &judged_by_users_in_steps());
    for _ in 0..4 {
        come(&mut world);
        let leader = world.leaders()[0];
        world.restart(leader);
        world.pass(10 * SECOND);
    }
    assert_named_only(&mut world, "leaders died");
}

/// Two members, weeks after the epoch, and records of 400 rollouts that they do not have. `time`: of the events.
fn with_strays(count: u64, time: Option<u64>) -> World {
    let mut world = World::new(1, 2, &program(&waiting()));
    world.now += 40 * 24 * 3_600 * SECOND;
    world.pass(3 * SECOND);
    let mut stored = world.stored().unwrap();
    stored.events.iter_mut().for_each(|(_, event)| event.time = time.unwrap_or(event.time));
    let stored = stored.encode();
    for nth in 0..count {
        world.store.revision += 1;
        let key = format!("/changeover/f/r/pr-{nth}/{nth:016x}");
        world.store.values.insert(key, (stored.clone(), world.store.revision));
    }
    world.pass(100 * SECOND);
    assert_eq!(world.shares(), [5_000; 2]);
    world
}

#[test]
fn records_of_rollouts_that_nobody_configures_are_deleted_but_for_the_newest() {
    let world = with_strays(400, Some(0));
    let kept: Vec<&String> = world.store.values.keys().filter(|key| key.contains("/r/pr-")).collect();
    assert_eq!(kept.len(), 256);
    assert!(!world.store.values.contains_key("/changeover/f/r/pr-0/0000000000000000"));
    assert!(world.store.values.contains_key("/changeover/f/r/pr-399/000000000000018f"));
}

#[test]
fn records_of_rollouts_that_a_push_has_just_left_out_are_kept() {
    for (count, kept) in [(400, 400), (1_100, 1_024)] {
        let world = with_strays(count, None);
        assert_eq!(world.store.values.keys().filter(|key| key.contains("/r/pr-")).count(), kept);
    }
}
