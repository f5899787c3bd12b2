//! Another version of this software writes the record.

use super::super::known::Made;
use super::super::values::Standing;
use super::*;
use crate::fleet::shared::FORM;

#[test]
fn another_version_is_obeyed_and_its_record_left_alone() {
    let mut world = waiting_fleet(2);
    let key = world.store.values.keys().find(|key| key.contains("/r/")).unwrap().clone();
    // The same head, another form behind it.
    let mut standing = world.stored().unwrap().standing();
    standing.revision += 1;
    standing.weights.values_mut().for_each(|share| *share = Share::new(700));
    let foreign = postcard::to_allocvec(&(1_u8, standing, FORM + 1, [1_u8, 2, 3])).unwrap();
    world.store.revision += 1;
    let revision = world.store.revision;
    world.store.values.insert(key.clone(), (foreign.clone(), revision));
    world.pass(20 * SECOND);
    assert_eq!(world.store.values[&key].0, foreign);
    assert_eq!(world.shares(), [700, 700]);
    let view = world.envoys[0].member.view(world.envoys[0].clock(world.now));
    assert_eq!(view.foreign, ["r"]);
    // What is taken back here stays so here, and is not written over the other version's.
    world.command(0, Command::Abort).unwrap();
    world.pass(20 * SECOND);
    assert_eq!(world.store.values[&key].0, foreign);
    assert_eq!(world.shares(), [0, 700]);
}

/// Another version writes the rollout's record, in which the candidate has this share.
fn write_as_another_version(world: &mut World, change: impl Fn(&mut Standing)) {
    let key = world.store.values.keys().find(|key| key.contains("/r/")).unwrap().clone();
    let mut standing = match Stored::decode(&world.store.values[&key].0) {
        Read::Whole(stored) => stored.standing(),
        Read::Foreign(standing) => standing,
        Read::Unreadable => panic!("no record"),
    };
    change(&mut standing);
    let written = postcard::to_allocvec(&(1_u8, standing, FORM + 1, [1_u8, 2, 3])).unwrap();
    world.store.revision += 1;
    world.store.values.insert(key, (written, world.store.revision));
    world.pass(SECOND);
}

#[test]
fn a_candidate_that_another_version_took_back_stays_so_in_a_lesser_record_of_that_version() {
    let mut world = waiting_fleet(2);
    let shares = world.stored().unwrap().standing().weights;
    // This one knows nothing but what the other version has written.
    write_as_another_version(&mut world, |standing| standing.revision += 1);
    world.restart(1);
    world.pass(SECOND);
    assert_eq!(world.shares(), [5_000; 2]);
    write_as_another_version(&mut world, |standing| {
        (standing.is_taken_back, standing.weights) = (true, crate::model::Shares::new());
    });
    assert_eq!(world.shares(), [0; 2]);
    write_as_another_version(&mut world, |standing| {
        (standing.is_taken_back, standing.weights) = (false, shares.clone());
    });
    assert_eq!(world.shares(), [0; 2]);
    write_as_another_version(&mut world, |standing| standing.attempt += 1);
    assert_eq!(world.shares(), [5_000; 2], "it was retried");
}

#[test]
fn a_command_that_comes_after_another_versions_record_is_not_made_when_that_version_has_gone() {
    let mut world = waiting_fleet(1);
    world.command(0, Command::Abort).unwrap();
    world.pass(SECOND);
    let key = world.store.values.keys().find(|key| key.contains("/r/")).unwrap().clone();
    let before = world.store.values[&key].0.clone();
    write_as_another_version(&mut world, |standing| standing.revision += 1);
    assert!(world.command(0, Command::Retry).is_err());
    world.store.revision += 1;
    world.store.values.insert(key, (before, world.store.revision));
    world.pass(3 * SECOND);
    assert_eq!((world.shares(), world.phase()), (vec![0], Phase::Aborted));
}

#[test]
fn a_command_that_is_not_stored_when_another_versions_record_comes_is_refused() {
    for (before, command) in [
        (Some(Command::Abort), Command::Retry),
        (None, Command::Promote { full: true }),
        (None, Command::Pause),
    ] {
        let mut world = waiting_fleet(1);
        if let Some(before) = before {
            world.command(0, before).unwrap();
            world.pass(SECOND);
        }
        let stood = (world.shares(), world.phase());
        let key = world.store.values.keys().find(|key| key.contains("/r/")).unwrap().clone();
        let own = world.store.values[&key].0.clone();
        world.command(0, command.clone()).unwrap();
        write_as_another_version(&mut world, |standing| standing.revision += 1);
        assert_eq!(world.envoys[0].member.poll_refused(), ["r"], "{command:?}");
        world.pass(20 * SECOND);
        assert_eq!(world.envoys[0].member.poll_refused(), [""; 0], "once");
        world.store.revision += 1;
        world.store.values.insert(key, (own, world.store.revision));
        world.pass(3 * SECOND);
        assert_eq!((world.shares(), world.phase()), stood, "{command:?}");
    }
}

#[test]
fn what_takes_back_is_kept_when_another_versions_record_comes() {
    for commands in [
        vec![Command::Abort],
        vec![Command::Abort, Command::Retry, Command::Abort],
        vec![Command::Promote { full: true }, Command::Abort],
    ] {
        let mut world = waiting_fleet(1);
        let key = world.store.values.keys().find(|key| key.contains("/r/")).unwrap().clone();
        let own = world.store.values[&key].0.clone();
        for command in &commands {
            world.command(0, command.clone()).unwrap();
        }
        write_as_another_version(&mut world, |standing| standing.revision += 1);
        assert_eq!(world.shares(), [0], "{commands:?}");
        world.store.revision += 1;
        world.store.values.insert(key, (own, world.store.revision));
        world.pass(3 * SECOND);
        assert_eq!((world.shares(), world.phase()), (vec![0], Phase::Aborted), "{commands:?}");
    }
}

#[test]
fn a_command_that_a_member_finds_before_it_has_its_own_versions_record_is_refused() {
    let mut world = waiting_fleet(1);
    let record = world.stored().unwrap().record;
    write_as_another_version(&mut world, |standing| standing.revision += 1);
    world.restart(0);
    world.pass(SECOND);
    assert!(world.envoys[0].member.record("r").is_none());
    for (id, command, is_kept) in
        [(1, Command::Promote { full: true }, false), (2, Command::Abort, true), (3, Command::Retry, false)]
    {
        let change = Change {
            rollout: "r".into(),
            command,
            if_match: None,
            origin: crate::rollout::event::Origin::default(),
        };
        let made = Made::new(id, &record, change);
        let clock = world.envoys[0].clock(world.now);
        let member = &mut world.envoys[0].member;
        assert_eq!(member.make(&made, clock).is_ok(), is_kept, "{made:?}");
        assert_eq!(member.waits(&made), is_kept);
        assert_eq!(member.poll_refused().len(), usize::from(!is_kept));
    }
}
