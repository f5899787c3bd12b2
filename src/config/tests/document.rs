use super::*;

/// Such as a field whose own fields are commented out: it is neither the default nor absent.
#[test]
fn a_field_without_a_value_is_a_mistake_wherever_it_stands() {
    for field in
        ["analysis", "session_affinity", "weights", "mirror", "override", "payload", "drain", "labels"]
    {
        let mut rollout = good();
        rollout[field] = Value::Null;
        let problems = problems_of(&[rollout]);
        let place = format!("rollouts[0].{field}: found nothing (null), expected ");
        assert!(problems.iter().any(|problem| problem.starts_with(&place)), "{problems:?}");
    }
    let steps = json!([{"set_weight": 5}, {"pause": {"duration": null}}]);
    let problems = problems_of(&[set(with("/weights", Value::Null), "/steps", steps)]);
    assert_eq!(problems[0], "rollouts[0].steps[1].pause.duration: found nothing (null), expected a string");
}

#[test]
fn a_configuration_without_mistakes_is_taken() {
    assert_eq!(problems_of(&[good()]), [""; 0]);
    assert_eq!(problems_of(&[]), [""; 0]);
    let small = json!({"name": "a", "versions": {"b": {"cluster": "c"}}, "stable": "b"});
    assert_eq!(problems_of(&[small]), [""; 0]);
}

#[test]
fn mistakes_in_several_places_are_reported_together() {
    let mut broken = with("/weights/green", json!(120));
    broken["stabel"] = json!("blue");
    broken["match"]["headers"][0]["exakt"] = json!("acme");
    broken["version_header"] = json!([]);
    broken["session_affinity"] = json!({"header": true});
    let second = json!({"name": "recommender", "versions": {"b": {"cluster": ""}}, "stable": "c"});
    assert_eq!(
        problems_of(&[broken, second]),
        [
            "rollouts[0].match.headers[0].exakt: unknown field; known here: name, exact, prefix, present",
            "rollouts[0].session_affinity.header: found the boolean true, expected a string: put it in quotes (YAML reads yes, no, on, off, y, n as booleans)",
            "rollouts[0].stabel: unknown field; known here: name, release, match, versions, stable, candidate, pin, session_affinity, override, weights, steps, auto_rollback_window, drain, blue_green, analysis, alarms, drift, mirror, payload, automation, feedback, receipt, server_load, trust_shadow_header, version_header, log, labels",
            "rollouts[0].version_header: found a list, expected a map with the fields request, response",
            "rollouts[0].weights.green: 120 is over 100",
            "rollouts[1].versions.b.cluster: missing or empty",
            "rollouts[1].name: \"recommender\" is already the name of rollouts[0]; expected a unique name",
        ]
    );
}

#[test]
fn the_document_itself_may_be_wrong() {
    let first = |document: Value| problems_in(&document);
    assert_eq!(first(json!([])), ["the configuration is not a map; expected at least `rollouts: []`"; 1]);
    assert_eq!(first(json!({})), ["rollouts: missing; expected a list of rollouts (it may be empty)"]);
    assert_eq!(first(json!({"rollouts": {}})), ["rollouts: expected a list of rollouts"]);
    assert_eq!(
        first(json!({"rollouts": [], "tick": "1s"})),
        ["tick: unknown field; known here: rollouts, control, store, notify"]
    );
    let crowd: Vec<Value> = (0..4_097).map(|_| good()).collect();
    assert_eq!(problems_of(&crowd), ["rollouts: 4097 rollouts are over the limit of 4096"]);
}

#[test]
fn thousands_of_mistakes_are_cut_short() {
    let wrong: Vec<Value> =
        (0..4_000).map(|_| json!({"name": 1.5, "versions": [], "x": 1, "y": 2})).collect();
    let problems = problems_of(&wrong);
    assert_eq!(problems.len(), 101);
    assert_eq!(problems.last().map(String::as_str), Some("and more: only the first 100 are shown"));
}
