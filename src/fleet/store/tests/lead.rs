//! Who leads a fleet.

use super::*;

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
fn counts_with_a_long_period_are_judged_although_the_leader_restarts() {
    let mut world = World::reporting(60 * SECOND, 1, 3, &program(&waiting()));
    while world.stored().is_none_or(|stored| stored.record.run.phase != Phase::Paused) {
        world.pass(SECOND);
    }
    world.pass(80 * SECOND);
    let leader = world.leaders()[0];
    world.restart(leader);
    for _ in 0..330 {
        world.pair((leader + 1) % 3, false);
        world.pass(SECOND);
    }
    world.pass(300 * SECOND);
    assert_eq!(world.stored().unwrap().record.run.judge.step_requests(), 330);
}

#[test]
fn a_leader_that_gets_no_answer_to_its_lead_counts_from_then_on_what_it_cannot_judge() {
    let mut world = waiting_fleet(3);
    let old = world.leaders()[0];
    let next = program(&json!({"release": "2", "steps": [{"set_weight": 20}, {"pause": {}}]}));
    let others: Vec<usize> = (0..3).filter(|nth| *nth != old).collect();
    for nth in &others {
        world.envoys[*nth].member.configure([("r", &next)].into_iter(), |_| None, Clock::default());
    }
    world.pass(30 * SECOND);
    world.asleep[old] = world.now + 20 * SECOND;
    world.pass(80 * SECOND);
    assert!(!world.leaders().contains(&old), "another one has taken the lead");
    for nth in &others {
        world.asleep[*nth] = world.now + 15 * SECOND;
    }
    let is_lead = |way: &OnItsWay| way.call.put.iter().any(|(key, _)| key.ends_with("/lead"));
    let way = loop {
        world.pass(world.step);
        if let Some(way) = world.ways.get_mut(&old).filter(|way| is_lead(way)) {
            break way;
        }
    };
    way.lost = Some(false);
    world.pass(45 * SECOND);
    assert_eq!(world.leaders(), [old], "it may judge it soon");
    world.pass(60 * SECOND);
    assert!(!world.leaders().contains(&old), "it does not");
}
