//! One rule at a time.

use super::super::known::Made;
use super::super::pool::{Heard, Pool};
use super::super::values::{Lead, LeftOut, Life, Seen, Told};
use super::*;
use crate::fleet::shared::FORM;
use crate::model::SortedMap;
use crate::telemetry::ledger::Entry;

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

/// A rollout whose requests have so long to be answered.
fn patient(deadline: &str) -> Program {
    program(&json!({
        "steps": [{"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}], "deadline": deadline},
    }))
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
fn the_lead_is_taken_by_one_member_however_many_want_it_at_once() {
    let mut world = waiting_fleet(40);
    let dead = world.leaders()[0];
    world.asleep[dead] = u64::MAX;
    let mut most = 0;
    for _ in 0..120 {
        world.pass(50 * MS);
        most = most.max(world.leaders().into_iter().filter(|nth| *nth != dead).count());
    }
    assert_eq!(most, 1);
}

#[test]
fn the_lead_is_taken_although_an_endpoint_of_the_store_hangs() {
    let mut world = waiting_fleet(3);
    let dead = world.leaders()[0];
    world.asleep[dead] = u64::MAX;
    world.hangs = Some(3);
    world.pass(60 * SECOND);
    assert!(world.leaders().into_iter().any(|nth| nth != dead));
}

#[test]
fn the_leader_stays_when_the_store_answers_again() {
    for seconds in [4, 10, 60] {
        let mut world = waiting_fleet(9);
        let before = world.leaders();
        world.away = world.now + seconds * SECOND;
        world.pass((seconds + 1) * SECOND);
        assert_eq!(world.leaders(), before, "{seconds}");
    }
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
fn a_leader_whose_clock_goes_back_alone_makes_the_fleet_forget_nothing() {
    use crate::rollout::event::Action;
    let mut world = waiting_fleet(3);
    let leader = world.leaders()[0];
    world.envoys[leader].ahead = -600 * i64::try_from(SECOND).unwrap();
    for _ in 0..40 {
        (0..3).for_each(|nth| world.pair(nth, false));
        world.pass(SECOND);
    }
    let actions = world.envoys.iter().flat_map(|envoy| envoy.events.iter().map(|event| event.action));
    assert!(!actions.collect::<Vec<_>>().contains(&Action::Alarm));
    assert!(world.stored().unwrap().record.run.judge.step_requests() > 60, "two are counted");
}

#[test]
fn a_member_that_has_the_release_of_most_members_takes_the_lead() {
    for old in 1..=2 {
        let mut world = waiting_fleet(5);
        let leader = world.leaders()[0];
        let steps =
            json!([{"set_weight": 20}, {"pause": {"duration": "10s"}}, {"set_weight": 40}, {"pause": {}}]);
        let next = program(&json!({"release": "2", "steps": steps}));
        let new: Vec<usize> = (1..=5 - old).map(|nth| (leader + nth) % 5).collect();
        for nth in &new {
            world.envoys[*nth].member.configure([("r", &next)].into_iter(), |_| None, Clock::default());
        }
        world.pass(50 * SECOND);
        assert_eq!(world.leaders(), [leader], "a push takes a while");
        world.pass(300 * SECOND);
        assert!(new.contains(&world.leaders()[0]) && world.leaders().len() == 1);
        assert_eq!(world.share(new[0]), Share::new(4_000));
        // It stays.
        let before = world.leaders();
        world.pass(200 * SECOND);
        assert_eq!(world.leaders(), before);
    }
}

/// One member has the older release of a rollout. Another rollout has a release of the same name at all of them.
#[test]
fn a_leader_that_judges_what_most_members_have_stays_whatever_releases_are_called() {
    let mut world = waiting_fleet(3);
    let leader = world.leaders()[0];
    let first = program(&waiting());
    let next = program(&json!({"release": "2", "steps": [{"set_weight": 20}, {"pause": {}}]}));
    for nth in 0..3 {
        let own = if nth == (leader + 1) % 3 { &first } else { &next };
        let programs = [("r", own), ("x", &first)];
        world.envoys[nth].member.configure(programs.into_iter(), |_| None, Clock::default());
    }
    for _ in 0..300 {
        world.pass(SECOND);
        assert_eq!(world.leaders(), [leader]);
    }
}

#[test]
fn a_release_that_the_leader_does_not_have_is_named() {
    let mut world = waiting_fleet(2);
    let leader = world.leaders()[0];
    let next = program(&json!({"release": "2", "steps": [{"set_weight": 20}, {"pause": {}}]}));
    world.envoys[1 - leader].member.configure([("r", &next)].into_iter(), |_| None, Clock::default());
    let problems = |world: &World| {
        let envoy = &world.envoys[leader];
        envoy.member.view(envoy.clock(world.now)).problems()
    };
    world.pass(30 * SECOND);
    assert_eq!(problems(&world), [""; 0], "a push takes a while");
    world.pass(40 * SECOND);
    assert!(problems(&world)[0].starts_with("a release of r that other Envoys have is not judged"));
    world.envoys[leader].member.configure([("r", &next)].into_iter(), |_| None, Clock::default());
    world.pass(5 * SECOND);
    assert_eq!(problems(&world), [""; 0]);
}

/// A rollout whose every step waits for a person.
fn promoted_by_hand() -> Value {
    json!({"steps": [
        {"set_weight": 10}, {"pause": {}}, {"set_weight": 20}, {"pause": {}}, {"set_weight": 30}, {"pause": {}},
        {"set_weight": 40}, {"pause": {}},
    ]})
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
            Heard { revision: 1, ahead: Some(0), told: Some(told.clone()), ..Heard::default() };
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
fn another_member_leads_within_five_seconds_and_judges_what_was_told() {
    let mut world = waiting_fleet(3);
    for _ in 0..5 {
        (0..3).for_each(|nth| world.pair(nth, false));
        world.pass(SECOND);
    }
    let dead = world.leaders()[0];
    world.asleep[dead] = u64::MAX;
    world.pass(5 * SECOND);
    let leaders: Vec<usize> = world.leaders().into_iter().filter(|nth| *nth != dead).collect();
    assert_eq!(leaders.len(), 1);
    world.pass(12 * SECOND);
    assert_eq!(world.stored().unwrap().record.run.judge.step_requests(), 15);
}

#[test]
fn a_leader_that_sleeps_between_read_and_write_overwrites_nothing() {
    for sleep in 1..20 {
        let mut world = waiting_fleet(3);
        world.pass(sleep * 50 * MS);
        let leader = world.leaders()[0];
        (0..3).for_each(|nth| world.pair(nth, false));
        world.asleep[leader] = world.now + 7 * SECOND;
        world.pass(6 * SECOND);
        world.command((leader + 1) % 3, Command::Abort).unwrap();
        world.pass(5 * SECOND);
        assert_eq!(world.phase(), Phase::Aborted);
        assert_eq!(world.shares(), [0; 3]);
        assert_eq!(world.leaders().len(), 1);
    }
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
fn a_member_alone_takes_a_failing_candidate_back_and_needs_more_evidence_than_the_fleet() {
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
    assert!(needed[1] > needed[0], "{needed:?}");
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

#[test]
fn a_configuration_that_most_members_have_counts() {
    let mut world = waiting_fleet(3);
    let before = world.stored().unwrap().record.fingerprint;
    let changed = program(&json!({
        "steps": [{"set_weight": 50}, {"pause": {}}], "analysis": {"metrics": [{"name": "error_rate"}, {"name": "latency"}]},
    }));
    let load = |world: &mut World, nth: usize| {
        let program = changed.clone();
        world.envoys[nth].member.configure([("r", &program)].into_iter(), |_| None, Clock::default());
    };
    load(&mut world, 0);
    world.pass(8 * SECOND);
    assert_eq!(world.stored().unwrap().record.fingerprint, before);
    load(&mut world, 1);
    world.pass(8 * SECOND);
    load(&mut world, 2);
    world.pass(8 * SECOND);
    assert_eq!(world.stored().unwrap().record.fingerprint, changed.fingerprint());
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
