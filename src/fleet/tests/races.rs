//! What one VM does between two calls of another.

use super::*;
use crate::automation::receipt::{Opened, Receipt};

/// More writes than any pass of these tests has.
const MOST_WRITES: usize = 40;

#[test]
fn an_abort_at_any_moment_of_a_pass_is_not_lost() {
    let mut raced = 0;
    for nth in 0..MOST_WRITES {
        let mut fleet = Fleet::new(3, &configuration(&[("r", waiting()), ("s", waiting())]));
        (0..20).for_each(|_| fleet.request(2, Side::Candidate, false));
        fleet.now += TICK;
        (0..3).for_each(|vm| fleet.report(vm));
        let now = fleet.clock();
        let mut worker = std::mem::replace(&mut fleet.vms[1], Vm::new(9));
        let abort = |shared: &mut Memory| {
            let change = Change::new("r", Command::Abort);
            worker.command(shared, &change, now).expect("an abort is always accepted");
        };
        raced += usize::from(fleet.lead_against(0, nth, abort));
        fleet.vms[1] = worker;
        let is_aborted = fleet.phase() == Phase::Aborted;
        fleet.second();
        fleet.second();
        assert_eq!(is_aborted, fleet.phase() == Phase::Aborted, "before write {nth}");
        let expected = if is_aborted { Share::NONE } else { fleet.share(0) };
        assert!((0..3).all(|vm| fleet.share(vm) == expected), "before write {nth}");
        assert_eq!(is_aborted, raced == nth + 1, "before write {nth}");
    }
    assert!((5..MOST_WRITES).contains(&raced), "{raced}");
}

#[test]
fn two_leaders_at_once_judge_no_tick_twice() {
    for nth in 0..MOST_WRITES {
        let mut fleet = Fleet::new(3, &configuration(&[("r", waiting()), ("s", waiting())]));
        (0..20).for_each(|request| fleet.request(1 + request % 2, Side::Candidate, false));
        fleet.now += TICK;
        (0..3).for_each(|vm| fleet.report(vm));
        // The leader has been slow for seconds when another VM takes over and judges the same reports.
        let later = at(fleet.now + 2 * TICK + TICK * 3 / 4);
        let mut worker = std::mem::replace(&mut fleet.vms[2], Vm::new(9));
        let mut took_over = false;
        let rival = |shared: &mut Memory| {
            worker.report(shared, later);
            let effects = worker.lead(shared, later);
            took_over = !effects.is_empty();
        };
        let raced = fleet.lead_against(0, nth, rival);
        fleet.vms[2] = worker;
        assert!(raced || !took_over);
        fleet.now += 3 * TICK;
        (0..3).for_each(|_| drop(fleet.second()));
        assert_eq!(fleet.judged(), 20, "before write {nth}");
    }
}

#[test]
fn a_push_at_any_moment_of_a_pass_is_followed() {
    for nth in 0..MOST_WRITES {
        let mut fleet = Fleet::new(3, &configuration(&[("r", waiting())]));
        let mut next = waiting();
        next["release"] = "2".into();
        next["steps"][0]["set_weight"] = 10.into();
        let next = configuration(&[("r", next)]);
        fleet.now += TICK;
        (0..3).for_each(|vm| fleet.report(vm));
        let now = fleet.clock();
        let mut worker = std::mem::replace(&mut fleet.vms[1], Vm::new(9));
        fleet.lead_against(0, nth, |shared| worker.load(shared, &next, now));
        fleet.vms[1] = worker;
        fleet.now += TICK / 10;
        fleet.load(1, &next);
        fleet.load(2, &next);
        fleet.second();
        fleet.load(0, &next);
        (0..3).for_each(|_| drop(fleet.second()));
        assert_eq!(fleet.record("r").program.release, "2");
        assert!((0..3).all(|vm| fleet.share(vm).percent() == 10.0), "before write {nth}");
    }
}

#[test]
fn a_push_at_any_moment_of_an_abort_does_not_lose_it() {
    let mut raced = 0;
    for nth in 0..MOST_WRITES {
        let mut fleet = Fleet::new(3, &configuration(&[("r", waiting())]));
        let mut next = waiting();
        next["steps"][0]["set_weight"] = 40.into();
        let next = configuration(&[("r", next)]);
        fleet.now += TICK;
        (0..3).for_each(|vm| fleet.report(vm));
        // The leader and a worker have the push; the worker that obeys the command has not.
        fleet.load(0, &next);
        fleet.load(2, &next);
        let now = fleet.clock();
        let mut leader = std::mem::replace(&mut fleet.vms[0], Vm::new(9));
        let change = Change::new("r", Command::Abort);
        let mut racing = Racing {
            memory: &mut fleet.shared,
            left: nth,
            rival: Some(|shared: &mut Memory| {
                leader.report(shared, now);
                leader.lead(shared, now);
            }),
        };
        fleet.vms[1].command(&mut racing, &change, now).expect("an abort is always accepted");
        raced += u32::from(racing.rival.is_none());
        fleet.vms[0] = leader;
        fleet.now += TICK / 10;
        fleet.load(1, &next);
        (0..3).for_each(|_| drop(fleet.second()));
        assert_eq!(fleet.phase(), Phase::Aborted, "before write {nth}");
        assert!((0..3).all(|vm| fleet.share(vm) == Share::NONE), "before write {nth}");
    }
    assert!(raced > 3, "{raced}");
}

#[test]
fn two_commands_at_once_both_take_effect() {
    let mut fleet = Fleet::new(3, &configuration(&[("r", waiting())]));
    for nth in 0..8 {
        let now = fleet.clock();
        let mut other = std::mem::replace(&mut fleet.vms[2], Vm::new(9));
        let revision = fleet.record("r").run.revision;
        let command = |command| Change::new("r", command);
        let mut racing = Racing {
            memory: &mut fleet.shared,
            left: nth,
            rival: Some(|shared: &mut Memory| {
                other.command(shared, &command(Command::Abort), now).expect("it fits");
            }),
        };
        let promoted = fleet.vms[1].command(&mut racing, &command(Command::Promote { full: true }), now);
        let has_raced = racing.rival.is_none();
        fleet.vms[2] = other;
        // Aborted first, it cannot be promoted; aborted afterwards, it was.
        let run = fleet.record("r").run;
        assert_eq!(run.phase, if has_raced { Phase::Aborted } else { Phase::Succeeded });
        assert_eq!(run.revision > revision + 1, has_raced && promoted.is_ok());
        fleet.second();
        assert!((0..3).all(|vm| fleet.share(vm) == if has_raced { Share::NONE } else { Share::ALL }));
        if !has_raced {
            fleet.command(1, Command::Abort).expect("it fits");
        }
        fleet.command(1, Command::Retry).expect("it was aborted");
        fleet.second();
    }
}

#[test]
fn a_second_leader_in_the_first_pass_does_not_undo_a_command() {
    let config = configuration(&[("r", waiting()), ("s", waiting())]);
    let mut raced = 0;
    for nth in 0..MOST_WRITES {
        let mut fleet = Fleet::empty(3);
        (0..3).for_each(|vm| fleet.load(vm, &config));
        (0..3).for_each(|vm| fleet.report(vm));
        let now = fleet.clock();
        let mut other = std::mem::replace(&mut fleet.vms[1], Vm::new(9));
        let mut is_aborted = false;
        let rival = |shared: &mut Memory| {
            // It takes the lead from a VM that is slow, and leads; then a person aborts.
            let later = at(now.uptime + 10 * TICK);
            other.report(shared, later);
            other.lead(shared, later);
            other.lead(shared, at(later.uptime + TICK));
            is_aborted = other.command(shared, &Change::new("r", Command::Abort), later).is_ok();
        };
        fleet.lead(0);
        raced += usize::from(fleet.lead_against(0, nth, rival) && is_aborted);
        fleet.vms[1] = other;
        assert!(!is_aborted || fleet.phase() == Phase::Aborted, "before write {nth}");
    }
    assert!((1..MOST_WRITES).contains(&raced), "{raced}");
}

/// Two workers that count the first decision of a rollout, or take its first receipt.
#[test]
fn of_two_that_write_a_value_first_neither_is_lost() {
    let one_more = |known: Option<u64>| Some(known.unwrap_or_default() + 1);
    let mut memory = Memory::default();
    let rival = |memory: &mut Memory| assert!(shared::update(memory, "sum", one_more));
    let mut racing = Racing { memory: &mut memory, left: 0, rival: Some(rival) };
    assert!(shared::update(&mut racing, "sum", one_more));
    assert_eq!(shared::read::<u64>(&memory, "sum"), Some(2));
}

/// A worker learns a second late of another attempt, and gets a decision about a task of the one before.
#[test]
fn a_decision_of_the_attempt_before_takes_nothing_from_the_new_one() {
    let automation = json!({
        "answer": {"label": "/label", "confidence": "/confidence"}, "partial": {"max_disagreement": 0.02},
    });
    let steps = json!([{"set_degree": "shadow"}, {"pause": {}}]);
    let config = configuration(&[("r", json!({"automation": automation, "steps": steps}))]);
    let mut fleet = Fleet::new(3, &config);
    let decide = |fleet: &mut Fleet, run: u64| {
        let opened = Opened { receipt: Receipt { run, label: "cat".into(), ..Receipt::default() }, id: 1 };
        decisions::add(&mut fleet.shared, "r", &opened, "cat").is_some()
    };
    let counted = |fleet: &Fleet| {
        let attempt = fleet.record("r").attempt();
        decisions::of(&fleet.shared, "r", attempt).blind.tasks
    };
    let first = fleet.record("r").attempt();
    assert!(decide(&mut fleet, first));
    fleet.second();
    fleet.command(1, Command::Abort).expect("it runs");
    fleet.command(1, Command::Retry).expect("it was aborted");
    // At once: before the leader has seen the command.
    assert!(!decide(&mut fleet, first));
    assert_eq!(counted(&fleet), 0);
    let second = fleet.record("r").attempt();
    assert!(decide(&mut fleet, second));
    fleet.second();
    assert!(!decide(&mut fleet, first));
    assert_eq!(counted(&fleet), 1);
    // By a push, which the leader takes over.
    let next = configuration(&[("r", json!({"automation": automation, "steps": steps, "release": "2"}))]);
    (0..3).for_each(|vm| fleet.load(vm, &next));
    fleet.second();
    fleet.second();
    assert!(!decide(&mut fleet, second));
    let third = fleet.record("r").attempt();
    assert!(decide(&mut fleet, third));
    assert_eq!(counted(&fleet), 1);
}
