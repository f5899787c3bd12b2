use super::*;

#[test]
fn mistakes_in_alarms_are_reported_with_their_places() {
    let alarm = |fields: &Value| {
        let mut alarm = json!({"name": "a", "signal": "error_rate", "max": 0.05});
        for (field, value) in fields.as_object().unwrap() {
            alarm = set(alarm, &format!("/{field}"), value.clone());
        }
        alarm
    };
    let with = |alarms: Value| {
        let rollout = set(set(good(), "/analysis", json!({})), "/alarms", alarms);
        problems_of(&[rollout]).join("\n")
    };
    let good_ones = [
        json!({}),
        json!({"max": null, "min": 0.5}),
        json!({"max": null, "relative": {"times": 3}}),
        json!({"max": null, "relative": {"times": 0.5, "to": "past"}, "slow_window": "1h", "of": "stable"}),
        json!({"signal": "latency", "max": 250, "quantile": 0.9, "window": "30s", "slow_window": "24h", "of": "rollout"}),
        json!({"min_samples": 500, "action": "rollback"}),
    ];
    for fields in good_ones {
        assert_eq!(with(json!([alarm(&fields)])), "", "{fields}");
    }
    let rows = [
        (json!({"name": "A"}), "name: \"A\" is not a valid name"),
        (json!({"signal": "errors"}), "signal: unknown signal \"errors\"; known here: "),
        (json!({"signal": "output.null"}), "signal: output.null needs `payload`"),
        (json!({"signal": "mirror.disagreement"}), "signal: no answers are compared"),
        (json!({"max": null}), ": expected exactly one of max, min, relative"),
        (json!({"min": 0.5}), ": expected exactly one of max, min, relative"),
        (json!({"max": 1.5}), "max: 1.5 is out of range"),
        (json!({"quantile": 0.9}), "quantile: of durations; error_rate is none"),
        (json!({"window": "10s"}), "window: 10s is not whole seconds from 30s to 1h"),
        (json!({"window": "1m", "slow_window": "2m"}), "slow_window: 2m is too short"),
        (json!({"slow_window": "48h"}), "slow_window: 48h is not whole seconds up to 24h"),
        (
            json!({"max": null, "relative": {"times": 1}}),
            "relative.times: 1 is neither 1.05 to 100 nor 0.01 to 0.95",
        ),
        (
            json!({"max": null, "relative": {"times": 2}, "of": "stable"}),
            "of: only the candidate is compared with stable",
        ),
        (json!({"max": null, "relative": {"times": 2, "to": "past"}}), "slow_window: missing"),
        (json!({"min_samples": 5}), "min_samples: expected 10 to 100000000"),
        (json!({"action": "page"}), "action: found \"page\", expected one of: notify, pause, rollback"),
    ];
    for (fields, expected) in rows {
        let found = with(json!([alarm(&fields)]));
        assert!(
            found.contains(&format!(
                "rollouts[0].alarms[0]{}{expected}",
                if expected.starts_with(':') { "" } else { "." }
            )),
            "{fields}: {found}"
        );
    }
    assert!(with(json!([alarm(&json!({})), alarm(&json!({}))])).contains("is already the name of alarms[0]"));
    let unjudged = set(good(), "/alarms", json!([alarm(&json!({}))]));
    let problems = problems_of(&[unjudged]);
    assert!(
        problems.iter().any(|line| line.contains("alarms: nothing is counted for alarms without `analysis`"))
    );
}
