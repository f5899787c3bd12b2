//! What time passes, and what it counts as.

use super::*;

/// A rollout at 50 % that waits for 20 s, with these fields besides.
fn for_twenty_seconds(fields: &Value) -> Config {
    let mut rollout = json!({"steps": [{"set_weight": 50}, {"pause": {"duration": "20s"}}, {"set_weight": 60}, {"pause": {}}]});
    for (field, value) in fields.as_object().unwrap() {
        rollout[field] = value.clone();
    }
    configuration(&[("r", rollout)])
}

fn waited(fleet: &Fleet) -> u64 {
    fleet.record("r").run.waited(fleet.clock().now())
}

#[test]
fn time_of_a_step_stands_still_while_it_is_paused_and_only_then() {
    for fields in
        [json!({}), json!({"analysis": {"metrics": [{"name": "error_rate"}], "no_data": "proceed"}})]
    {
        let mut fleet = Fleet::new(2, &for_twenty_seconds(&fields));
        (0..3).for_each(|_| drop(fleet.second()));
        let before = waited(&fleet);
        assert!(before >= 2_000, "{before}");
        fleet.command(1, Command::Pause).unwrap();
        assert_eq!(waited(&fleet), before);
        (0..30).for_each(|_| drop(fleet.second()));
        assert_eq!(waited(&fleet), before);
        fleet.command(1, Command::Resume).unwrap();
        assert_eq!(waited(&fleet), before);
        (0..3).for_each(|_| drop(fleet.second()));
        assert_eq!(waited(&fleet), before + 3_000);
    }
}

#[test]
fn time_under_a_pin_does_not_count() {
    let mut fleet = Fleet::new(2, &for_twenty_seconds(&json!({})));
    let pinned = for_twenty_seconds(&json!({"pin": "blue"}));
    (0..2).for_each(|vm| fleet.load(vm, &pinned));
    (0..30).for_each(|_| drop(fleet.second()));
    (0..2).for_each(|vm| fleet.load(vm, &for_twenty_seconds(&json!({}))));
    fleet.second();
    let waited = waited(&fleet);
    assert!(waited <= 1_000, "{waited}");
}

/// Clients that read slowly keep requests open whose answers were quick.
#[test]
fn slow_readers_do_not_make_a_candidate_slow() {
    let analysis = json!({"deadline": "15s", "warm_up": {"requests": 0}, "metrics": [{"name": "latency"}]});
    let rollout = json!({"steps": [{"set_weight": 50}, {"pause": {}}], "analysis": analysis});
    let mut fleet = Fleet::new(2, &configuration(&[("r", rollout)]));
    for _ in 0..60 {
        for _ in 0..50 {
            fleet.request(1, Side::Candidate, false);
            fleet.request(1, Side::Stable, false);
        }
        fleet.second();
    }
    let clock = fleet.clock();
    let mut open = Vec::new();
    for _ in 0..20 {
        (0..2).for_each(|_| fleet.request(1, Side::Stable, false));
        fleet.request(1, Side::Candidate, false);
        let request = fleet.vms[1].arrive(0, Side::Candidate, None, clock).unwrap();
        request.pass_answer(1_000_000);
        open.push(request);
    }
    (0..20).for_each(|_| drop(fleet.second()));
    assert_ne!(fleet.phase(), Phase::Failed, "{}", fleet.record("r").run.reason.sentence());
    open.into_iter().for_each(|request| request.end(30_000_000_000, Outcome::Ok));
    (0..3).for_each(|_| drop(fleet.second()));
    assert_ne!(fleet.phase(), Phase::Failed, "{}", fleet.record("r").run.reason.sentence());
}
