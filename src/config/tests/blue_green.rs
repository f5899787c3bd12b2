use super::*;

#[test]
fn the_active_version_is_stable_or_the_candidate_of_a_named_release() {
    let mut flip = with("/weights", Value::Null);
    flip["blue_green"] = json!({"active": "red"});
    assert_eq!(
        problems_of(&[flip.clone()]),
        ["rollouts[0].blue_green.active: \"red\" is neither stable (\"blue\") nor the candidate (\"green\")"]
    );
    flip["blue_green"] = json!({"active": "green"});
    take_away(&mut flip, "release");
    assert_eq!(problems_of(&[flip]), ["rollouts[0].release: missing; blue_green needs the release's name"]);
}

#[test]
fn mistakes_in_blue_green_are_reported_with_their_places() {
    let mut right = with("/weights", Value::Null);
    take_away(&mut right, "session_affinity");
    right["blue_green"] =
        json!({"bake": {"weight": "99.99", "duration": "1s"}, "auto_rollback_window": "1s"});
    right["analysis"] = json!({"progress_deadline": "5m"});
    assert_eq!(problems_of(std::slice::from_ref(&right)), [""; 0]);
    let mut finished = right.clone();
    take_away(&mut finished, "candidate");
    assert_eq!(problems_of(&[finished]), [""; 0], "a finished release may keep its bake");
    let rows = [
        ("bake", json!({"duration": "5s"}), "bake.weight: missing; expected a share in percent"),
        (
            "bake",
            json!({"weight": 0, "duration": "5s"}),
            "bake.weight: expected a share over 0 and under 100",
        ),
        (
            "bake",
            json!({"weight": 100, "duration": "5s"}),
            "bake.weight: expected a share over 0 and under 100",
        ),
        ("bake", json!({"weight": 5}), "bake.duration: missing; expected a duration, such as 5m"),
        ("bake", json!({"weight": 5, "duration": "999ms"}), "bake.duration: expected at least 1s"),
        (
            "bake",
            json!({"weight": 5, "duration": "5m"}),
            "bake.duration: 5m is not shorter than the progress_deadline of 5m: the step could never end",
        ),
        ("bake", json!({"wait": "5m"}), "bake.wait: unknown field; known here: weight, duration"),
        ("auto_rollback_window", json!("0s"), "auto_rollback_window: expected at least 1s"),
    ];
    for (field, value, expected) in rows {
        let mut wrong = right.clone();
        wrong["blue_green"][field] = value;
        assert_eq!(problems_of(&[wrong])[0], format!("rollouts[0].blue_green.{expected}"));
    }
    take_away(&mut right, "analysis");
    let unjudged = "nothing is judged without `analysis`; expected `analysis` beside it";
    assert_eq!(
        problems_of(&[right]),
        [
            format!("rollouts[0].blue_green.bake: {unjudged}"),
            format!("rollouts[0].blue_green.auto_rollback_window: {unjudged}"),
        ]
    );
}
