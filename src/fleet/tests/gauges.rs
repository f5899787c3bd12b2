//! What gauges show.

use super::*;
use crate::fleet::gauges::{Existing, Gauges};
use crate::telemetry::series::Release;

/// What is shown of a rollout: gauges that are not 0.
pub(super) fn shown(fleet: &Fleet, rollout: &str) -> HashMap<Gauge, u64> {
    let own = fleet.gauges.iter().filter(|((name, _), value)| name == rollout && **value > 0);
    own.map(|((_, gauge), value)| (gauge.clone(), *value)).collect()
}

/// What should be shown of a rollout. What the judge has found stays, once it is shown.
pub(super) fn expected(fleet: &Fleet, rollout: &str) -> HashMap<Gauge, u64> {
    let judge_is_shown = shown(fleet, rollout).contains_key(&Gauge::EvidenceThreshold);
    let record = fleet.record(rollout);
    let existing = if judge_is_shown { Existing::all(&record) } else { Existing::default() };
    let values = Gauges::taken_over(existing).update(&record);
    values.into_iter().filter(|(_, value)| *value > 0).collect()
}

#[test]
fn a_gauge_exists_from_when_it_is_first_not_0() {
    let mut fleet =
        Fleet::new(2, &configuration(&[("r", waiting()), ("still", json!({"weights": {"green": 5}}))]));
    let names = |fleet: &Fleet| {
        let mut names: Vec<String> =
            fleet.gauges.iter().map(|((_, gauge), _)| format!("{gauge:?}")).collect();
        names.sort();
        names
    };
    let release = |attempt: u32| {
        let (release, stable, candidate) = ("1".into(), "blue".into(), "green".into());
        Gauge::ReleaseInfo(Release { release, attempt, stable, candidate })
    };
    assert_eq!(
        names(&fleet),
        ["Phase(\"paused\")".to_owned(), format!("{:?}", release(1)), "Step".to_owned()]
    );
    for _ in 0..3 {
        (0..5).for_each(|_| fleet.request(1, Side::Candidate, true));
        (0..5).for_each(|_| fleet.request(1, Side::Stable, false));
        fleet.second();
    }
    let judged =
        ["Evidence(\"all\")", "EvidenceThreshold", "ObservedShare(\"blue\")", "ObservedShare(\"green\")"];
    assert!(judged.iter().all(|name| names(&fleet).contains(&(*name).to_owned())), "{:?}", names(&fleet));
    assert_eq!(shown(&fleet, "r"), expected(&fleet, "r"));
    fleet.command(0, Command::Abort).unwrap();
    fleet.second();
    assert_eq!(fleet.gauges[&("r".to_owned(), Gauge::Phase("paused"))], 0);
    assert_eq!(shown(&fleet, "r"), expected(&fleet, "r"));
    fleet.command(1, Command::Retry).unwrap();
    fleet.second();
    let attempts = [1, 2].map(|attempt| fleet.gauges[&("r".to_owned(), release(attempt))]);
    assert_eq!(attempts, [0, 1], "one release is shown, in its latest attempt");
    assert_eq!(shown(&fleet, "r"), expected(&fleet, "r"));
}

#[test]
fn another_leader_takes_back_the_release_that_the_one_before_has_shown() {
    let mut fleet = Fleet::new(3, &configuration(&[("r", waiting())]));
    fleet.vms.remove(0);
    fleet.command(0, Command::Abort).unwrap();
    fleet.command(0, Command::Retry).unwrap();
    (0..5).for_each(|_| drop(fleet.second()));
    let infos = fleet.gauges.iter().filter_map(|((_, gauge), value)| match gauge {
        Gauge::ReleaseInfo(release) => Some((release.attempt, *value)),
        _ => None,
    });
    let mut infos: Vec<(u32, u64)> = infos.collect();
    infos.sort_unstable();
    assert_eq!(infos, [(1, 0), (2, 1)]);
}

#[test]
fn another_leader_goes_on_with_the_gauges_there_are() {
    let mut fleet = Fleet::new(3, &configuration(&[("r", waiting())]));
    fleet.vms.remove(0);
    fleet.command(0, Command::Promote { full: true }).unwrap();
    (0..5).for_each(|_| drop(fleet.second()));
    assert_eq!(shown(&fleet, "r"), expected(&fleet, "r"));
    assert_eq!(fleet.gauges[&("r".to_owned(), Gauge::Phase("paused"))], 0);
}

#[test]
fn gauges_of_other_labels_and_metrics_go_to_0() {
    let mut fleet = Fleet::new(1, &configuration(&[("r", waiting())]));
    fleet.request(0, Side::Stable, false);
    (0..2).for_each(|_| drop(fleet.second()));
    let mut next = waiting();
    next["labels"] = json!({"team": "search"});
    next["analysis"]["metrics"] = json!([{"name": "latency"}]);
    let next = configuration(&[("r", next)]);
    fleet.load(0, &next);
    let effects = fleet.second();
    let of = |labels: usize| -> HashMap<Gauge, u64> {
        let own = effects.iter().filter_map(|effect| match effect {
            Effect::Gauge { rollout, gauge, value } if rollout.labels.len() == labels => {
                Some((gauge.clone(), *value))
            }
            _ => None,
        });
        own.collect()
    };
    assert!(of(0).len() == 5 && of(0).values().all(|value| *value == 0), "{effects:?}");
    let fresh = Gauges::default().update(&fleet.record("r")).into_iter();
    assert_eq!(of(1), fresh.filter(|(_, value)| *value > 0).collect());
}

#[test]
fn existing_gauges_are_bits_by_position() {
    let fleet = Fleet::new(1, &configuration(&[("r", waiting())]));
    let mut gauges = Gauges::default();
    assert_eq!(*gauges.existing(), Existing::default());
    gauges.update(&fleet.record("r"));
    let mut other = Gauges::taken_over(gauges.existing().clone());
    assert_eq!(other.existing(), gauges.existing());
    let set: HashMap<Gauge, u64> = other.update(&fleet.record("r")).into_iter().collect();
    assert_eq!(set, expected(&fleet, "r"), "what exists is set again, whatever it was");
}

#[test]
fn gauges_of_a_former_candidate_go_to_0_also_when_the_vms_are_replaced_together_with_a_push() {
    let mut rollout = waiting();
    rollout["versions"] =
        json!({"blue": {"cluster": "b"}, "green": {"cluster": "g"}, "red": {"cluster": "r"}});
    let mut next = rollout.clone();
    (next["candidate"], next["release"]) = ("red".into(), "2".into());
    let next = configuration(&[("r", next)]);
    for are_replaced in [false, true] {
        let mut fleet = Fleet::new(2, &configuration(&[("r", rollout.clone())]));
        for side in Side::BOTH {
            (0..100).for_each(|_| fleet.request(1, side, false));
        }
        (0..4).for_each(|_| drop(fleet.second()));
        let of = |fleet: &Fleet, version: &str| {
            fleet.gauges.get(&("r".to_owned(), Gauge::ObservedShare(version.into()))).copied()
        };
        assert_eq!(of(&fleet, "green"), Some(5_000));
        if are_replaced {
            fleet.vms = (70..72).map(Vm::new).collect();
        }
        (0..2).for_each(|vm| fleet.load(vm, &next));
        (0..30).for_each(|_| drop(fleet.second()));
        assert_eq!(fleet.record("r").program.candidate.as_deref(), Some("red"));
        assert_eq!(of(&fleet, "green"), Some(0), "VMs replaced: {are_replaced}");
    }
}

/// Beside all the alarms and metrics that a rollout can have: more gauges than 64.
#[test]
fn drift_is_shown_once_it_is_known_and_taken_over_by_another_leader() {
    let metrics = ["unanswered", "client_error_rate", "latency", "error_rate"];
    let bodies = ["output.null", "output.length", "output.truncated", "output.tokens"];
    let moving: Vec<&str> = bodies.into_iter().chain(metrics).collect();
    let alarms: Vec<Value> =
        (0..16).map(|at| json!({"name": format!("a{at}"), "signal": "error_rate", "max": 0.9})).collect();
    let rollout = json!({
        "steps": [{"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": metrics.map(|name| json!({"name": name}))},
        "drift": {"metrics": moving, "reference": "10s"},
        "payload": {"protocol": "openai"},
        "alarms": alarms,
    });
    let mut fleet = Fleet::new(1, &configuration(&[("r", rollout)]));
    let drift = |fleet: &Fleet, metric: &str, window| {
        fleet.gauges.get(&("r".to_owned(), Gauge::Drift(metric.to_owned(), window))).copied()
    };
    let seconds = |fleet: &mut Fleet, seconds: u32, fails: bool| {
        for _ in 0..seconds {
            (0..20).for_each(|at| fleet.request(0, Side::Stable, fails && at % 2 == 0));
            fleet.second();
        }
    };
    seconds(&mut fleet, 9, false);
    assert_eq!(drift(&fleet, "error_rate", "5m"), None, "there is no reference");
    seconds(&mut fleet, 30, false);
    assert_eq!(drift(&fleet, "error_rate", "5m"), Some(1), "it does not move, and is not unknown");
    seconds(&mut fleet, 20, true);
    assert!(drift(&fleet, "error_rate", "1d") > Some(2_000), "{:?}", drift(&fleet, "error_rate", "1d"));
    assert_eq!(drift(&fleet, "unanswered", "1d"), Some(1));
    assert_eq!(shown(&fleet, "r"), expected(&fleet, "r"));
    let record = fleet.record("r");
    let mut gauges = Gauges::default();
    gauges.update(&record);
    let next = Gauges::taken_over(gauges.existing().clone());
    let last = Gauge::DriftSize("error_rate".to_owned(), "1d");
    assert!(next.end().contains(&last), "it exists");
}
