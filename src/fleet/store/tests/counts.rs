//! Which counts and configurations of members count.

use super::super::pool::{Heard, Pool};
use super::super::values::{Lead, LeftOut, Life, Seen, Told};
use super::*;
use crate::model::{Assignment, SortedMap};
use crate::telemetry::ledger::Entry;

#[test]
fn members_are_not_behind_while_a_rollout_only_gathers_evidence() {
    let mut world = waiting_fleet(3);
    world.pass(3 * SECOND);
    let follow = |world: &World| {
        world.envoys.iter().all(|envoy| {
            let view = envoy.member.view(envoy.clock(world.now));
            view.members.len() == 3 && view.members.iter().all(|member| member.followed >= view.followed)
        })
    };
    let writes = |world: &World| world.stored().unwrap().generation;
    let before = writes(&world);
    for _ in 0..30 {
        (0..3).for_each(|nth| world.pair(nth, false));
        for _ in 0..10 {
            world.pass(100 * MS);
            assert!(follow(&world), "evidence moves nothing");
        }
    }
    assert!(writes(&world) >= before + 4, "evidence is written");
    world.command(0, Command::Abort).unwrap();
    world.pass(200 * MS);
    assert!(!follow(&world), "the others have not reported yet");
    world.pass(3 * SECOND);
    assert!(follow(&world));
}

#[test]
fn a_user_who_has_failed_at_one_member_does_not_count_again_at_another_whoever_leads() {
    let mut world = World::new(1, 3, &program(&judged_by_users()));
    world.pass(3 * SECOND);
    // Each user comes to all members, every other one with the candidate.
    let come = |world: &mut World, users: std::ops::Range<u64>, fails: fn(Side) -> bool| {
        for user in users.clone() {
            let side = if user % 2 == 0 { Side::Candidate } else { Side::Stable };
            let (hash, now) = (UserHash(fastrand::Rng::with_seed(user).u64(..)), world.now);
            world.envoys.iter_mut().for_each(|envoy| envoy.request("r", side, Some(hash), fails(side), now));
        }
        world.pass(SECOND);
    };
    (0..5).for_each(|nth| come(&mut world, 600 * nth..600 * (nth + 1), |_| true));
    world.pass(4 * SECOND);
    let is_shelved = world.store.values.keys().any(|key| key.contains("/u/"));
    assert!(is_shelved, "too many for a record");
    let leader = world.leaders()[0];
    world.restart(leader);
    world.pass(8 * SECOND);
    assert_eq!(world.leaders().len(), 1);
    (0..5).for_each(|nth| come(&mut world, 600 * nth..600 * (nth + 1), |side| side == Side::Candidate));
    world.pass(4 * SECOND);
    assert_eq!(world.phase(), Phase::Paused, "all of them have failed before");
    come(&mut world, 3_000..3_600, |side| side == Side::Candidate);
    world.pass(4 * SECOND);
    assert_eq!(world.phase(), Phase::Failed);
}

#[test]
fn a_tick_that_was_looked_at_without_a_member_does_not_get_its_counts() {
    let entry = |tick| Entry { tick, ..Entry::default() };
    let told = Told {
        known_before: 12,
        rollouts: vec![("r".to_owned(), (9..12).map(entry).collect())],
        ..Told::default()
    };
    let member = Life(7);
    let ticks = |lead: &Lead| {
        let mut heard = SortedMap::default();
        *heard.get_or_insert_with(member, Heard::default) =
            Heard { ahead: Some(0), told: Some(told.clone()), ..Heard::default() };
        let mut pool = Pool::of(&heard, lead, TICK, Clock { length: TICK, ..Clock::default() });
        pool.take("r").into_iter().map(|entry| entry.tick).collect::<Vec<_>>()
    };
    let mut lead = Lead { floor: 10, ..Lead::default() };
    assert_eq!(ticks(&lead), [10, 11], "it has come back");
    lead.members = vec![Seen { life: member, from: 9, ..Seen::default() }];
    assert_eq!(ticks(&lead), [9, 10, 11], "it was there");
    lead.members[0].left_out = Some(LeftOut::Silent);
    assert_eq!(ticks(&lead), [10, 11]);
}

#[test]
fn counts_of_members_are_added_up_by_the_tick_of_arrival_and_the_assignment() {
    let (before, after) = (Assignment(1), Assignment(2));
    // They report at other times, and the second one has followed the new weights earlier.
    let reported = [(12, [(10, before), (11, before)]), (14, [(10, before), (11, after)])];
    let mut heard = SortedMap::default();
    for (life, (known_before, counted)) in (1..).map(Life).zip(reported) {
        let entry = |(tick, assignment)| Entry { tick, assignment, ..Entry::default() };
        let rollouts = vec![("r".to_owned(), counted.map(entry).to_vec())];
        let told = Some(Told { known_before, rollouts, ..Told::default() });
        *heard.get_or_insert_with(life, Heard::default) = Heard { ahead: Some(0), told, ..Heard::default() };
    }
    let clock = Clock { length: TICK, ..Clock::default() };
    let mut pool = Pool::of(&heard, &Lead::default(), TICK, clock);
    assert_eq!(pool.known_before, 12);
    let blocks: Vec<_> = pool.take("r").into_iter().map(|entry| (entry.tick, entry.assignment)).collect();
    assert_eq!(blocks, [(10, before), (11, before), (11, after)]);
}

#[test]
pub(super) fn a_configuration_that_most_members_have_counts() {
    let mut world = waiting_fleet(3);
    let before = world.stored().unwrap().record.fingerprint;
    let changed = program(&json!({
        "steps": [{"set_weight": 50}, {"pause": {}}], "analysis": {"metrics": [{"name": "error_rate"}, {"name": "latency"}]},
    }));
    let load = |world: &mut World, nth: usize| {
        let program = changed.clone();
        world.envoys[nth].member.configure([("r", &program)].into_iter(), |_| None, Clock::default());
    };
    let leader = world.leaders()[0];
    load(&mut world, leader);
    world.pass(8 * SECOND);
    assert_eq!(world.stored().unwrap().record.fingerprint, before, "only the leader has it");
    for others in 1..3 {
        load(&mut world, (leader + others) % 3);
        world.pass(8 * SECOND);
    }
    assert_eq!(world.stored().unwrap().record.fingerprint, changed.fingerprint());
}

#[test]
fn a_release_that_is_pushed_while_the_one_before_is_written_begins_anew() {
    let mut world = World::new(1, 1, &program(&waiting()));
    let writes = |world: &World| {
        world.ways.get(&0).is_some_and(|way| way.call.put.iter().any(|(key, _)| key.contains("/r/")))
    };
    while !writes(&world) {
        world.pass(world.step);
    }
    let second = program(&json!({"release": "2", "steps": [{"set_weight": 20}, {"pause": {}}]}));
    world.envoys[0].member.configure([("r", &second)].into_iter(), |_| None, Clock::default());
    for _ in 0..60 {
        world.pass(world.step);
        let record = world.envoys[0].member.record("r");
        assert!(record.is_none_or(|record| record.program.release == "2"));
    }
    assert_eq!(world.shares(), [2_000]);
}

#[test]
fn a_release_that_comes_back_finds_its_verdict() {
    let mut world = waiting_fleet(2);
    world.command(0, Command::Abort).unwrap();
    world.pass(SECOND);
    let first = world.programs[0].1.clone();
    let second = program(&json!({"release": "2", "steps": [{"set_weight": 20}, {"pause": {}}]}));
    let load = |world: &mut World, program: &Program| {
        for nth in 0..2 {
            world.envoys[nth].member.configure([("r", program)].into_iter(), |_| None, Clock::default());
        }
        world.pass(2 * SECOND);
    };
    load(&mut world, &second);
    assert_eq!(world.shares(), [2_000; 2]);
    load(&mut world, &first);
    assert_eq!(world.shares(), [0; 2]);
}

#[test]
fn an_alarm_sees_the_counts_of_all_members_and_survives_the_one_that_leads() {
    use crate::rollout::event::Action;
    let mut world = World::new(
        1,
        3,
        &program(&json!({
            "steps": [{"set_weight": 50}, {"pause": {}}],
            "analysis": {"metrics": [{"name": "latency"}]},
            "alarms": [{"name": "errors", "signal": "error_rate", "max": 0.2, "window": "30s", "min_samples": 25}],
        })),
    );
    world.pass(3 * SECOND);
    let seconds = |world: &mut World, count: usize, failed: bool| {
        for _ in 0..count {
            (0..3).for_each(|nth| world.pair(nth, failed));
            world.pass(SECOND);
        }
    };
    let said = |world: &World| -> Vec<Vec<Action>> {
        let of_alarms = |action: &Action| matches!(action, Action::Alarm | Action::Clear);
        let actions =
            |envoy: &Envoy| envoy.events.iter().map(|event| event.action).filter(of_alarms).collect();
        world.envoys.iter().map(actions).collect()
    };
    seconds(&mut world, 14, true);
    assert_eq!(said(&world), vec![vec![Action::Alarm]; 3], "no member alone has 25 in 14 seconds");
    let dead = world.leaders()[0];
    world.asleep[dead] = u64::MAX;
    seconds(&mut world, 15, true);
    assert!(world.stored().unwrap().record.run.alarms.is_raised(0));
    seconds(&mut world, 60, false);
    let said = said(&world);
    for nth in (0..3).filter(|nth| *nth != dead) {
        assert_eq!(said[nth], [Action::Alarm, Action::Clear]);
    }
}
