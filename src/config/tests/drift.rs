use super::*;

#[test]
fn mistakes_in_drift_are_reported_with_their_places() {
    let with = |drift: Value| {
        let rollout = set(set(good(), "/analysis", json!({})), "/drift", drift);
        problems_of(&[rollout]).join("\n")
    };
    assert_eq!(with(json!({"metrics": ["latency", "error_rate"], "reference": "168h"})), "");
    let many: Vec<String> = (0..9).map(|label| format!("output.label:{label}")).collect();
    let rows = [
        (json!({}), "drift.metrics: empty; expected at least one metric"),
        (json!({"metrics": many}), "drift.metrics: 9 of at most 8"),
        (json!({"metrics": ["latency", "latency"]}), "drift.metrics[1]: the same as metrics[0]"),
        (json!({"metrics": ["errors"]}), "drift.metrics[0]: unknown metric \"errors\"; known here: "),
        (json!({"metrics": ["output.label"]}), "drift.metrics[0]: output.label needs `payload`"),
        (json!({"metrics": ["mirror.disagreement"]}), "drift.metrics[0]: stable has no pairs"),
        (json!({"metrics": ["feedback.click"]}), "drift.metrics[0]: feedback counts only users who act"),
        (
            json!({"metrics": ["latency"], "reference": "9s"}),
            "drift.reference: 9s is not whole seconds from 10s to 168h",
        ),
        (json!({"metrics": ["latency"], "reference": "169h"}), "drift.reference: 169h is not"),
        (json!({"metrics": ["latency"], "reference": "10500ms"}), "drift.reference: 10500ms is not"),
        (json!({"metric": ["latency"]}), "drift.metric: unknown field"),
    ];
    for (drift, expected) in rows {
        let found = with(drift.clone());
        assert!(found.contains(&format!("rollouts[0].{expected}")), "{drift}: {found}");
    }
    let unjudged = set(good(), "/drift", json!({"metrics": ["latency"]}));
    assert!(
        problems_of(&[unjudged])
            .iter()
            .any(|line| line.contains("drift: nothing is counted without `analysis`"))
    );
}
