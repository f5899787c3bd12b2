//! A circuit breaker that trips, and goes on counting errors.

use super::*;
use crate::analysis::kernel::ratio::Table;
use crate::telemetry::breaker::Trip;

#[test]
fn a_refused_trip_writes_nothing() {
    let analysis = json!({
        "on_failure": "pause",
        "circuit_breaker": {"consecutive_errors": 5},
        "metrics": [{"name": "error_rate"}],
    });
    let rollout = json!({"steps": [{"set_weight": 50}, {"pause": {}}], "analysis": analysis});
    let mut fleet = Fleet::new(2, &configuration(&[("r", rollout)]));
    let trip = |fleet: &Fleet| {
        let assignment = fleet.vms[1].rollouts()[0].assignment();
        Command::Trip(Trip { assignment, seen: Table::of((5, 5), (0, 5)) })
    };
    let first = trip(&fleet);
    fleet.command(1, first).expect("the first one is acted on");
    let values = |fleet: &Fleet| -> Vec<(String, Vec<u8>)> {
        fleet.shared.values().map(|(key, value)| (key.to_owned(), value.to_vec())).collect()
    };
    let before = values(&fleet);
    for _ in 0..3 {
        let again = trip(&fleet);
        assert!(matches!(fleet.command(1, again), Err(NotChanged::Refused(_))));
    }
    assert_eq!(values(&fleet), before);
    let noted = commands::since(&fleet.shared, fleet.now).expect("few commands");
    assert_eq!(noted, ["r"], "the one that was acted on");
}
