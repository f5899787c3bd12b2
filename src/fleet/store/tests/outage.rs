//! A store that is away, restored, or has something else in it than was written.

use super::*;

#[test]
fn a_restored_store_leaves_no_member_behind() {
    let mut world = waiting_fleet(2);
    let backup = world.store.clone();
    world.pass(30 * SECOND);
    world.command(0, Command::Abort).unwrap();
    world.pass(3 * SECOND);
    world.store = backup;
    world.pass(5 * SECOND);
    let view = world.envoys[1].member.view(world.envoys[1].clock(world.now));
    assert!(view.followed <= world.store.revision, "{} of {}", view.followed, world.store.revision);
    assert!(view.members.iter().all(|member| member.followed >= view.followed), "{view:?}");
}

#[test]
fn a_restart_of_all_members_goes_on_where_the_rollout_stood() {
    let mut world = waiting_fleet(3);
    world.command(0, Command::Promote { full: true }).unwrap();
    world.pass(2 * SECOND);
    for nth in 0..3 {
        world.restart(nth);
        world.pass(SECOND);
        assert_eq!(world.share(nth), Share::ALL);
    }
    let revision = world.stored().unwrap().record.run.revision;
    world.pass(10 * SECOND);
    assert_eq!((world.phase(), world.stored().unwrap().record.run.revision), (Phase::Succeeded, revision));
}

#[test]
fn a_store_that_is_away_leaves_weights_and_an_abort_is_written_later() {
    let mut world = waiting_fleet(3);
    world.away = world.now + 30 * SECOND;
    world.pass(10 * SECOND);
    assert_eq!(world.shares(), [5_000; 3]);
    world.command(1, Command::Abort).unwrap();
    world.pass(10 * SECOND);
    assert_eq!(world.shares(), [5_000, 0, 5_000]);
    world.pass(13 * SECOND);
    assert_eq!((world.phase(), world.shares()), (Phase::Aborted, vec![0; 3]));
}

#[test]
pub(super) fn an_outage_of_any_length_loses_no_counts() {
    for seconds in 1..=24 {
        let mut world = waiting_fleet(3);
        for second in 0..20 {
            if second == 6 {
                world.away = world.now + seconds * SECOND;
            }
            (0..3).for_each(|nth| world.pair(nth, false));
            world.pass(SECOND);
        }
        world.pass(30 * SECOND);
        assert_eq!(world.stored().unwrap().record.run.judge.step_requests(), 60, "after {seconds} s");
    }
}

#[test]
pub(super) fn a_member_alone_takes_a_failing_candidate_back_and_needs_more_evidence_than_the_fleet() {
    let mut needed = Vec::new();
    for members in [1, 30] {
        let mut world = waiting_fleet(members);
        world.pair(0, false);
        world.pass(3 * SECOND);
        world.away = u64::MAX;
        world.pass(6 * SECOND);
        let mut failed = 0;
        while world.share(0) != Share::NONE {
            world.pair(0, true);
            failed += 1;
            assert!(failed < 60, "it never takes it back");
            world.pass(SECOND);
        }
        needed.push(failed);
    }
    assert!(needed[1] > needed[0], "30 members need more evidence than one: {needed:?}");
}

#[test]
fn counts_of_one_member_in_an_outage_count_once_in_the_next() {
    // Who leads and another one sleep: the fleet judges nothing between the outages.
    let alone = || {
        let mut world = waiting_fleet(3);
        let one = (world.leaders()[0] + 1) % 3;
        (0..3).filter(|nth| *nth != one).for_each(|nth| world.asleep[nth] = u64::MAX);
        world.away = u64::MAX;
        world.pass(6 * SECOND);
        (world, one)
    };
    let failed_until_taken_back = |world: &mut World, one: usize, most: u64| {
        (1..=most).find(|_| {
            world.pair(one, true);
            world.pass(SECOND);
            world.share(one) == Share::NONE
        })
    };
    let (mut world, one) = alone();
    let all = failed_until_taken_back(&mut world, one, 60).unwrap();
    let (mut world, one) = alone();
    assert_eq!(failed_until_taken_back(&mut world, one, 3), None);
    world.pass(2 * SECOND);
    world.away = world.now;
    world.pass(SECOND);
    let member = &world.envoys[one].member;
    assert!(!member.is_away(world.envoys[one].clock(world.now)) && !member.leads());
    world.away = u64::MAX;
    world.pass(6 * SECOND);
    let more = failed_until_taken_back(&mut world, one, 60).unwrap();
    assert_eq!(3 + more, all);
}

#[test]
fn a_store_restored_from_a_backup_gets_the_abort_back() {
    let mut world = waiting_fleet(3);
    let backup = world.store.clone();
    world.pass(5 * SECOND);
    world.command(1, Command::Abort).unwrap();
    world.pass(2 * SECOND);
    world.store = backup;
    for _ in 0..60 {
        world.pass(100 * MS);
        assert_eq!(world.shares(), [0; 3], "no member follows a lesser record");
    }
    assert_eq!(world.phase(), Phase::Aborted);
}

#[test]
fn a_store_whose_revision_goes_back_is_read_in_full_at_once() {
    // Everything is read in full every ten seconds anyway: whenever that was last. The leader, which would notice as it
    // writes, sleeps.
    for seconds in 0..10 {
        let mut world = waiting_fleet(2);
        let backup = world.store.clone();
        world.pass(seconds * SECOND);
        let leader = world.leaders()[0];
        world.command(1 - leader, Command::Abort).unwrap();
        world.pass(2 * SECOND);
        world.asleep[leader] = u64::MAX;
        world.store = backup;
        world.pass(1_500 * MS);
        assert_eq!(world.phase(), Phase::Aborted);
    }
}

#[test]
fn a_store_that_has_lost_everything_gets_it_back() {
    let mut world = waiting_fleet(3);
    world.command(1, Command::Promote { full: true }).unwrap();
    world.pass(5 * SECOND);
    world.store = Memory::default();
    world.pass(5 * SECOND);
    assert_eq!((world.phase(), world.shares()), (Phase::Succeeded, vec![10_000; 3]));
}

#[test]
fn garbage_is_replaced_by_who_knows_and_else_stable_serves() {
    let mut world = waiting_fleet(2);
    let key = world.store.values.keys().find(|key| key.contains("/r/")).unwrap().clone();
    let garble = |world: &mut World| {
        world.store.revision += 1;
        let revision = world.store.revision;
        world.store.values.insert(key.clone(), (b"garbage".to_vec(), revision));
    };
    garble(&mut world);
    world.pass(2 * SECOND);
    assert_eq!(world.stored().unwrap().record.run.phase, Phase::Paused);
    garble(&mut world);
    (0..2).for_each(|nth| world.restart(nth));
    world.pass(5 * SECOND);
    assert_eq!(world.shares(), [0, 0], "not known: it does not begin anew by itself");
    let view = world.envoys[0].member.view(world.envoys[0].clock(world.now));
    assert_eq!(view.unreadable, ["r"]);
    assert!(view.problems()[0].contains("cannot be read"));
}

#[test]
fn a_report_is_as_old_as_it_is_also_after_an_outage() {
    let mut world = waiting_fleet(3);
    let leader = world.leaders()[0];
    let killed = (leader + 1) % 3;
    world.asleep[killed] = u64::MAX;
    world.away = world.now + 300 * SECOND;
    world.pass(310 * SECOND);
    let view = world.envoys[leader].member.view(world.envoys[leader].clock(world.now));
    assert_eq!(view.leader, Some(world.envoys[leader].member.life()));
    let life = world.envoys[killed].member.life();
    let heard = view.members.iter().find(|member| member.life == life).unwrap().heard;
    let age = (world.now / MS).saturating_sub(heard);
    assert!((309_000..320_000).contains(&age), "{age} ms");
}

#[test]
fn configurations_of_members_are_known_although_the_store_has_lost_everything() {
    let mut world = waiting_fleet(3);
    world.pass(20 * SECOND);
    world.store = Memory::default();
    world.pass(40 * SECOND);
    let view = world.envoys[0].member.view(world.envoys[0].clock(world.now));
    let known = view.members.iter().filter(|member| member.configuration != 0).count();
    assert_eq!((view.members.len(), known), (3, 3));
}
