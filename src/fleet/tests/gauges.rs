//! What gauges show.

use super::*;
use crate::fleet::gauges::{Existing, Gauges};

/// What is shown of a rollout: gauges that are not 0.
fn shown(fleet: &Fleet, rollout: &str) -> HashMap<Gauge, u64> {
    let own = fleet.gauges.iter().filter(|((name, _), value)| name == rollout && **value > 0);
    own.map(|((_, gauge), value)| (gauge.clone(), *value)).collect()
}

/// What a record is worth.
fn worth(record: &Record) -> HashMap<Gauge, u64> {
    Gauges::default().update(record).into_iter().filter(|(_, value)| *value > 0).collect()
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
    let first = [
        "EvidenceThreshold",
        "ObservedShare(\"blue\")",
        "ObservedShare(\"green\")",
        "Phase(\"paused\")",
        "Step",
    ];
    assert_eq!(names(&fleet), first);
    for _ in 0..3 {
        (0..5).for_each(|_| fleet.request(1, Side::Candidate, true));
        (0..5).for_each(|_| fleet.request(1, Side::Stable, false));
        fleet.second();
    }
    assert!(names(&fleet).contains(&"Evidence(\"all\")".to_owned()), "{:?}", names(&fleet));
    assert_eq!(shown(&fleet, "r"), worth(&fleet.record("r")));
    fleet.command(0, Command::Abort).unwrap();
    fleet.second();
    assert_eq!(fleet.gauges[&("r".to_owned(), Gauge::Phase("paused"))], 0);
    assert_eq!(shown(&fleet, "r"), worth(&fleet.record("r")));
}

#[test]
fn another_leader_goes_on_with_the_gauges_there_are() {
    let mut fleet = Fleet::new(3, &configuration(&[("r", waiting())]));
    fleet.vms.remove(0);
    fleet.command(0, Command::Promote { full: true }).unwrap();
    (0..5).for_each(|_| drop(fleet.second()));
    assert_eq!(shown(&fleet, "r"), worth(&fleet.record("r")));
    assert_eq!(fleet.gauges[&("r".to_owned(), Gauge::Phase("paused"))], 0);
}

#[test]
fn gauges_of_other_labels_and_metrics_go_to_0() {
    let mut fleet = Fleet::new(1, &configuration(&[("r", waiting())]));
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
    assert!(of(0).len() >= 5 && of(0).values().all(|value| *value == 0), "{effects:?}");
    assert_eq!(of(1), worth(&fleet.record("r")));
}

#[test]
fn existing_gauges_are_bits_by_position() {
    let fleet = Fleet::new(1, &configuration(&[("r", waiting())]));
    let mut gauges = Gauges::default();
    assert_eq!(gauges.existing(), Existing::default());
    gauges.update(&fleet.record("r"));
    let mut other = Gauges::taken_over(gauges.existing());
    assert_eq!(other.existing(), gauges.existing());
    let set: HashMap<Gauge, u64> = other.update(&fleet.record("r")).into_iter().collect();
    assert_eq!(set, worth(&fleet.record("r")), "what exists is set again, whatever it was");
}
