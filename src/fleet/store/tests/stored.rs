//! What stands in the store, and how long.

use std::rc::Rc;

use super::super::known::Known;
use super::super::values::{self, Read, Told};
use super::*;
use crate::telemetry::ledger::Entry;

#[test]
fn a_member_whose_reports_fail_follows_the_others_and_says_what_is_wrong() {
    let mut world = waiting_fleet(2);
    world.pair(1, false);
    world.command(0, Command::Abort).unwrap();
    let (mut reports, mut reads) = (0, 0);
    for _ in 0..200 {
        world.now += 50 * MS;
        world.act(0);
        let now = world.now;
        if let Some(call) = world.envoys[1].poll(now) {
            let is_report = call.put.iter().any(|(key, _)| key.contains("/m/"));
            let answer = if is_report { Answer::Failed(Failure::Other) } else { world.store.call(&call) };
            world.envoys[1].answer(answer, now);
            *(if is_report { &mut reports } else { &mut reads }) += 1;
        }
    }
    assert!(reports > 5 && reads > 5, "{reports} {reads}");
    assert_eq!(world.shares(), [0; 2]);
    let view = world.envoys[1].member.view(world.envoys[1].clock(world.now));
    assert_eq!((view.failure, view.is_away), (Some(Failure::Other), true));
}

#[test]
fn a_report_is_as_long_as_the_store_takes() {
    let entry = |tick| Entry { tick, ..Entry::default() };
    let rollout = |nth: usize| (format!("rollout-{nth}"), (0..60).map(entry).collect::<Vec<_>>());
    let told = Told { known_before: 60, rollouts: (0..40).map(rollout).collect(), ..Told::default() };
    let whole = values::encode(&told);
    assert_eq!(told.clone().encode(whole.len()), whole);
    for most in [whole.len() - 1, whole.len() / 3, 2_500, 100, 20] {
        let bytes = told.clone().encode(most);
        assert!(bytes.len() <= most, "{most}");
        let kept: Told = values::decode(&bytes).unwrap();
        assert_eq!(kept.known_before, 60);
        assert!(most < 500 || kept.rollouts.len() == 40, "{most}");
    }
}

#[test]
fn a_report_that_is_too_long_leaves_out_ticks_of_any_age_and_the_same_ones_each_time() {
    for together in [1, 10] {
        let entry = |nth| Entry { tick: nth * together + together - 1, ..Entry::default() };
        let kept = |last: u64| {
            let entries: Vec<Entry> = (last - 200..last).map(entry).collect();
            let mut told = Told { rollouts: vec![("r".to_owned(), entries)], ..Told::default() };
            let most = values::encode(&told).len() / 2 + 100;
            told.encode(most);
            told.rollouts[0].1.iter().map(|entry| entry.tick / together).collect::<Vec<_>>()
        };
        let (first, next) = (kept(1_000), kept(1_100));
        for part in [800..900, 900..1_000] {
            assert!(
                (20..=80).contains(&first.iter().filter(|tick| part.contains(*tick)).count()),
                "{first:?}"
            );
        }
        let of_both =
            |ticks: Vec<u64>| ticks.into_iter().filter(|tick: &u64| (900..1_000).contains(tick)).collect();
        let (first, next): (Vec<_>, Vec<_>) = (of_both(first), of_both(next));
        assert_eq!(first, next);
    }
}

#[test]
fn configurations_of_members_are_written_again_after_a_long_outage_of_the_store() {
    let mut world = waiting_fleet(3);
    let configured = |world: &World| world.store.values.keys().filter(|key| key.contains("/c/")).count();
    assert_eq!(configured(&world), 3);
    world.away = world.now + 90 * SECOND;
    world.pass(95 * SECOND);
    assert_eq!(configured(&world), 3, "none has gone");
    world.cut[1] = world.now + 90 * SECOND;
    world.pass(80 * SECOND);
    assert_eq!(configured(&world), 2, "one is gone");
    world.pass(20 * SECOND);
    assert_eq!(configured(&world), 3, "it is back");
}

#[test]
fn records_of_releases_long_ago_are_deleted_and_the_last_ones_kept() {
    let mut world = waiting_fleet(2);
    for release in 2..=30 {
        let steps = json!([{"set_weight": 20}, {"pause": {}}]);
        let next = program(&json!({"release": release.to_string(), "steps": steps}));
        for nth in 0..2 {
            world.envoys[nth].member.configure([("r", &next)].into_iter(), |_| None, Clock::default());
        }
        world.pass(2 * SECOND);
    }
    world.pass(30 * SECOND);
    let kept: Vec<_> = world.store.values.keys().filter(|key| key.contains("/r/")).collect();
    assert_eq!(kept.len(), 17, "the one in use, and 16");
    assert_eq!(world.shares(), [2_000; 2]);
}

/// Many users come, and fail.
pub(super) fn come(world: &mut World) {
    world.pass(3 * SECOND);
    for nth in 0..3_000_u64 {
        let (hash, now) = (UserHash(fastrand::Rng::with_seed(nth).u64(..)), world.now);
        let side = if nth % 2 == 0 { Side::Candidate } else { Side::Stable };
        world.envoys[0].request("r", side, Some(hash), true, now);
        if nth % 600 == 599 {
            world.pass(SECOND);
        }
    }
    world.pass(5 * SECOND);
}

#[test]
fn users_that_a_fleet_loses_are_counted_once() {
    let mut world = World::new(1, 2, &program(&judged_by_users()));
    world.pass(3 * SECOND);
    // More than are reported one by one.
    for nth in 0..10_000_u64 {
        let (hash, now) = (UserHash(fastrand::Rng::with_seed(nth).u64(..)), world.now);
        let side = if nth % 2 == 0 { Side::Candidate } else { Side::Stable };
        world.envoys[0].request("r", side, Some(hash), true, now);
    }
    world.pass(12 * SECOND);
    let lost = world.stored().unwrap().record.run.judge.losses().halvings;
    let told: Vec<u64> = world.envoys.iter_mut().map(|envoy| envoy.member.take_losses().halvings).collect();
    assert!(lost > 0 && told.iter().sum::<u64>() == lost, "{lost}: {told:?}");
}

#[test]
fn users_of_a_record_that_are_more_than_one_call_takes_are_written() {
    let mut rollout = judged_by_users();
    rollout["analysis"] = json!({"metrics": [{"name": "error_rate"}, {"name": "latency"}, {"name": "unanswered"}, {"name": "client_error_rate"}]});
    let mut world = World::new(1, 2, &program(&rollout));
    come(&mut world);
    let named: Vec<u64> = world.stored().unwrap().record.shelved().collect();
    assert!(named.len() > 2, "{}", named.len());
    world.envoys.iter_mut().for_each(|envoy| envoy.member.pad_users());
    (world.store.values, world.store.revision) = (BTreeMap::new(), 0);
    world.pass(20 * SECOND);
    let size = |name: &u64| Some(world.store.values.get(&format!("/changeover/f/u/{name:016x}"))?.0.len());
    assert_eq!(named.iter().map(size).collect::<Vec<_>>(), vec![Some(1 << 19); named.len()]);
    let written: Vec<u64> = world.stored().unwrap().record.shelved().collect();
    assert_eq!(written, named);
}

#[test]
fn a_store_that_has_lost_everything_gets_the_users_back_as_well() {
    let mut world = World::new(1, 2, &program(&judged_by_users()));
    come(&mut world);
    let shelved = |world: &World| world.store.values.keys().filter(|key| key.contains("/u/")).count();
    let before = shelved(&world);
    assert!(before > 0);
    (world.store.values, world.store.revision) = (BTreeMap::new(), 0);
    // The one that has led, and has the users, is the last to look.
    let leader = world.leaders()[0];
    world.asleep[leader] = world.now + 12 * SECOND;
    world.pass(40 * SECOND);
    let named: Vec<u64> = world.stored().unwrap().record.shelved().collect();
    let has = |name: &u64| world.store.values.contains_key(&format!("/changeover/f/u/{name:016x}"));
    assert!(!named.is_empty() && named.iter().all(has), "{} of {}", shelved(&world), named.len());
}

#[test]
fn users_that_the_store_does_not_have_are_asked_for_once() {
    let mut world = World::new(1, 1, &program(&judged_by_users()));
    come(&mut world);
    let named: Vec<u64> = world.stored().unwrap().record.shelved().collect();
    world.store.values.retain(|key, _| !key.contains("/u/"));
    world.restart(0);
    let mut asked = Vec::new();
    for _ in 0..400 {
        world.pass(50 * MS);
        let reads = world.ways.get(&0).map_or(&[][..], |way| &way.call.read);
        let of_users = reads.iter().filter(|range| range.key.contains("/u/"));
        asked.extend(of_users.map(|range| (range.key.clone(), range.is_prefix)));
    }
    let once = named.iter().map(|name| (format!("/changeover/f/u/{name:016x}"), false));
    assert!(!named.is_empty());
    assert_eq!(asked, once.collect::<Vec<_>>());
}

#[test]
fn users_of_releases_long_ago_are_deleted() {
    let mut world = World::new(1, 1, &program(&judged_by_users()));
    come(&mut world);
    let shelved = |world: &World| world.store.values.keys().filter(|key| key.contains("/u/")).count();
    assert!(shelved(&world) > 0);
    for release in 2..=20 {
        let next =
            program(&json!({"release": release.to_string(), "steps": [{"set_weight": 20}, {"pause": {}}]}));
        world.envoys[0].member.configure([("r", &next)].into_iter(), |_| None, Clock::default());
        world.pass(2 * SECOND);
    }
    world.pass(30 * SECOND);
    assert_eq!(shelved(&world), 0);
}

#[test]
fn members_that_are_gone_leave_no_keys() {
    let mut world = waiting_fleet(3);
    let keys = |world: &World| world.store.values.keys().filter(|key| key.contains("/m/")).count();
    world.restart(0);
    world.pass(10 * SECOND);
    assert_eq!(keys(&world), 4);
    world.pass(70 * SECOND);
    assert_eq!(keys(&world), 3);
}

#[test]
fn a_full_store_harms_nothing_and_is_named() {
    let mut world = waiting_fleet(2);
    world.store.is_full = true;
    world.pass(10 * SECOND);
    assert_eq!(world.shares(), [5_000; 2]);
    let view = world.envoys[0].member.view(world.envoys[0].clock(world.now));
    assert_eq!(view.failure, Some(Failure::Full));
    assert!(view.is_away);
    world.store.is_full = false;
    world.command(1, Command::Abort).unwrap();
    world.pass(3 * SECOND);
    assert_eq!(world.shares(), [0; 2]);
}

#[test]
fn a_vm_that_has_not_read_the_store_takes_back_and_keeps_what_happened_before() {
    let world = waiting_fleet(1);
    let (stored, clock) = (world.stored().unwrap(), world.envoys[0].clock(world.now));
    let mut known = Known::new(Rc::new(stored.record.program.clone()));
    known.followed = Some(stored.record.clone());
    let mut record = stored.record.clone();
    let abort = Change {
        rollout: "r".into(),
        command: Command::Abort,
        if_match: None,
        origin: crate::rollout::event::Origin::default(),
    };
    let mut events = abort.apply(&mut record, clock).unwrap();
    known.take_back(record, events.remove(0));
    known.read(Read::Whole(stored.clone()), 7, clock);
    let mine = known.current.unwrap();
    assert!(known.is_unstored && mine.record.is_taken_back());
    assert!(!stored.events.is_empty() && mine.events.starts_with(&stored.events), "{:?}", mine.events);
    assert_eq!(mine.events.len(), stored.events.len() + 1);
}
