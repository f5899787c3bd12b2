//! Alarms whatever becomes of the VM that leads.

use super::*;
use crate::rollout::event::Action;
use crate::telemetry::series::Alarm;

/// A rollout with an alarm on errors, and a metric that finds none.
fn alarmed() -> Value {
    json!({
        "steps": [{"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "latency"}]},
        "alarms": [{"name": "errors", "signal": "error_rate", "max": 0.2, "window": "30s", "min_samples": 20}],
    })
}

/// The gauge of an alarm that looks at a version.
fn gauge(fleet: &Fleet, version: &str) -> Option<u64> {
    let alarm = Alarm { name: "errors".into(), version: version.into() };
    fleet.gauges.get(&("r".to_owned(), Gauge::Alarm(alarm))).copied()
}

/// What alarms say in a second with so many requests of each version at each worker.
fn second(fleet: &mut Fleet, requests: u64, failed: bool) -> Vec<Action> {
    for worker in 1..fleet.vms.len() {
        for _ in 0..requests {
            fleet.request(worker, Side::Candidate, failed);
            fleet.request(worker, Side::Stable, false);
        }
    }
    let said = fleet.second().into_iter().filter_map(|effect| match effect {
        Effect::Happened { event, .. } => Some(event.action),
        _ => None,
    });
    said.collect()
}

#[test]
fn an_alarm_survives_the_vm_that_leads_and_is_told_once() {
    let mut fleet = Fleet::new(4, &configuration(&[("r", alarmed())]));
    let mut said = Vec::new();
    (0..6).for_each(|_| said.extend(second(&mut fleet, 5, true)));
    assert_eq!(said, [Action::Alarm], "from the requests of all workers together");
    assert_eq!(gauge(&fleet, "green"), Some(1));
    fleet.vms.remove(0);
    (0..10).for_each(|_| said.extend(second(&mut fleet, 5, true)));
    assert_eq!((said.as_slice(), fleet.record("r").run.alarms.is_raised(0)), (&[Action::Alarm][..], true));
    (0..60).for_each(|_| said.extend(second(&mut fleet, 5, false)));
    assert_eq!((said.as_slice(), gauge(&fleet, "green")), (&[Action::Alarm, Action::Clear][..], Some(0)));
}

#[test]
fn an_alarm_about_stable_is_raised_without_a_candidate() {
    let mut finished = alarmed();
    finished["candidate"] = "blue".into();
    finished.as_object_mut().unwrap().remove("steps");
    finished["alarms"][0]["of"] = "stable".into();
    let mut fleet = Fleet::new(2, &configuration(&[("r", finished)]));
    for _ in 0..5 {
        (0..20).for_each(|_| fleet.request(1, Side::Stable, true));
        fleet.second();
    }
    assert!(fleet.record("r").run.alarms.is_raised(0));
    assert_eq!(gauge(&fleet, "blue"), Some(1), "its gauge names stable");
}

#[test]
fn a_retry_begins_alarms_anew() {
    let mut fleet = Fleet::new(2, &configuration(&[("r", alarmed())]));
    (0..10).for_each(|_| drop(second(&mut fleet, 10, true)));
    assert!(fleet.record("r").run.alarms.is_raised(0));
    fleet.command(0, Command::Abort).unwrap();
    assert!(fleet.record("r").run.alarms.is_raised(0), "it gets no requests any more");
    fleet.command(0, Command::Retry).unwrap();
    assert!(!fleet.record("r").run.alarms.is_raised(0));
}

#[test]
fn an_alarm_that_is_removed_while_it_is_raised_leaves_no_gauge() {
    let mut fleet = Fleet::new(2, &configuration(&[("r", alarmed())]));
    (0..10).for_each(|_| drop(second(&mut fleet, 10, true)));
    let mut without = alarmed();
    without["alarms"] = json!([]);
    let config = configuration(&[("r", without)]);
    fleet.now += TICK;
    (0..2).for_each(|vm| fleet.load(vm, &config));
    (0..3).for_each(|_| drop(second(&mut fleet, 10, true)));
    assert_eq!(gauge(&fleet, "green"), Some(0));
}

/// Which alarm is which must not wait for the next request.
#[test]
fn alarms_in_another_order_keep_their_state() {
    let mut both = alarmed();
    both["alarms"].as_array_mut().unwrap().push(json!({"name": "other", "signal": "unanswered", "max": 0.2}));
    let mut fleet = Fleet::new(2, &configuration(&[("r", both.clone())]));
    (0..10).for_each(|_| drop(second(&mut fleet, 10, true)));
    let raised = |fleet: &Fleet| [0, 1].map(|at| fleet.record("r").run.alarms.is_raised(at));
    assert_eq!(raised(&fleet), [true, false]);
    both["alarms"].as_array_mut().unwrap().reverse();
    let config = configuration(&[("r", both)]);
    fleet.now += TICK;
    (0..2).for_each(|vm| fleet.load(vm, &config));
    fleet.second();
    assert_eq!(raised(&fleet), [false, true]);
}
