use super::*;
use crate::signal::catalog;

#[test]
fn a_watch_after_the_last_step_needs_steps_and_analysis() {
    let watched = |without: &str| {
        let mut rollout = moving();
        rollout["auto_rollback_window"] = json!("10m");
        rollout.as_object_mut().unwrap().remove(without);
        problems_of(&[rollout])
    };
    assert_eq!(watched("nothing"), [""; 0]);
    assert_eq!(
        watched("steps"),
        [
            "rollouts[0].auto_rollback_window: without `steps` there is no last step to watch after; expected it beside `steps`, or in `blue_green`"
        ]
    );
    let unjudged = "rollouts[0].auto_rollback_window: nothing is judged without `analysis`; expected `analysis` beside it";
    assert!(watched("analysis").contains(&unjudged.to_owned()));
}

#[test]
fn mistakes_in_steps_and_analysis_are_reported_with_their_places() {
    assert_eq!(problems_of(&[moving()]), [""; 0]);
    let known: Vec<String> = catalog::names().iter().map(|name| format!("{name:?}")).collect();
    let unknown =
        format!("analysis.metrics[0].name: unknown metric \"errors\"; known here: {}", known.join(", "));
    assert_rows(
        &moving(),
        &[
            ("/steps", json!([]), "steps: empty; expected at least one step, such as `set_weight: 5`"),
            (
                "/steps",
                Value::from(vec![json!({"pause": {}}); 65]),
                "steps: 65 entries are over the limit of 64",
            ),
            (
                "/steps/1",
                json!({}),
                "steps[1]: expected exactly one of set_weight, set_mirror, set_degree, pause, ready",
            ),
            (
                "/steps/1",
                json!({"pause": {}, "set_weight": 1}),
                "steps[1]: expected exactly one of set_weight, set_mirror, set_degree, pause, ready",
            ),
            (
                "/steps/1",
                json!({"ready": {"path": "v2/ready"}}),
                "steps[1].ready.path: \"v2/ready\" is not a path; expected one such as \"/v2/health/ready\"",
            ),
            (
                "/steps/1",
                json!({"ready": {"path": "/a b"}}),
                "steps[1].ready.path: \"/a b\" is not a path; expected one such as \"/v2/health/ready\"",
            ),
            (
                "/steps/1",
                json!({"ready": {}}),
                "steps[1].ready.path: \"\" is not a path; expected one such as \"/v2/health/ready\"",
            ),
            (
                "/steps/1",
                json!({"ready": {"path": "/", "authority": "bücher.example"}}),
                "steps[1].ready.authority: \"bücher.example\" is not a host name in ASCII",
            ),
            (
                "/steps/1",
                json!({"ready": {"path": "/", "expect": 503}}),
                "steps[1].ready.expect: expected a status from 200 to 499: Envoy itself answers 503 for a version that is not there",
            ),
            (
                "/steps/1",
                json!({"ready": {"path": "/", "successes": 0}}),
                "steps[1].ready.successes: expected 1 to 100",
            ),
            (
                "/steps/1",
                json!({"ready": {"path": "/", "timeout": "2d"}}),
                "steps[1].ready.timeout: found the string \"2d\", expected a duration such as 500ms, 30s, 10m or 1h30m",
            ),
            (
                "/steps/1",
                json!({"ready": {"path": "/", "timeout": "25h"}}),
                "steps[1].ready.timeout: expected a duration from 1s to 24h",
            ),
            ("/auto_rollback_window", json!("10ms"), "auto_rollback_window: expected at least 1s"),
            ("/drain", json!("25h"), "drain: expected at most 24h; 0s for never"),
            ("/steps/2/set_weight", json!(120), "steps[2].set_weight: 120 is over 100"),
            (
                "/steps/2/set_weight",
                json!(true),
                "steps[2].set_weight: found the boolean true, expected a share in percent, or a map of versions to shares",
            ),
            (
                "/steps/2/set_weight",
                json!("much"),
                "steps[2].set_weight: found the string \"much\", expected a share in percent, or a map of versions to shares",
            ),
            ("/steps/4/set_weight/green", json!(-1), "steps[4].set_weight.green: -1 is below 0"),
            (
                "/steps/4/set_weight/purple",
                json!(1),
                "steps[4].set_weight.purple: unknown version \"purple\"; known here: \"blue\", \"green\", \"red\"",
            ),
            (
                "/steps/4/set_weight/blue",
                json!(1),
                "steps[4].set_weight.blue: stable gets the rest; expected other versions only",
            ),
            ("/steps/6/set_weight", json!(95), "steps[6].set_weight: the sum 100.5 is over 100"),
            (
                "/steps/6/set_weight",
                json!(9),
                "steps[6].set_weight: 9 is below the 10 of an earlier step; expected weights that never decrease",
            ),
            (
                "/steps/0/set_mirror",
                json!({}),
                "steps[0].set_mirror.percent: missing; expected a share in percent",
            ),
            (
                "/mirror",
                Value::Null,
                "steps[0].set_mirror: the rollout has no `mirror` whose share it could set",
            ),
            (
                "/steps/1/pause",
                json!({"duration": 10}),
                "steps[1].pause.duration: found the string \"10\", expected a duration such as 500ms, 30s, 10m or 1h30m",
            ),
            (
                "/steps/3/pause/duration",
                json!("2h"),
                "steps[3].pause.duration: 2h is not shorter than the progress_deadline of 2h: the step could never end",
            ),
            (
                "/steps/3/pause/min_requests",
                json!(1.5),
                "steps[3].pause.min_requests: 1.5 is not a whole number of at least 0",
            ),
            (
                "/analysis",
                Value::Null,
                "steps[3].pause.min_requests: without `analysis` no requests are judged; expected `analysis`, or no min_requests",
            ),
            (
                "/steps/1/pause/min_requests",
                json!(5),
                "steps[1].pause.min_requests: no step before it gives the candidate a weight: the step could never end",
            ),
            (
                "/steps/3/pause/min_compared",
                json!(10),
                "steps[3].pause.min_compared: the mirror compares nothing; expected `mode: compare`",
            ),
            (
                "/steps/3/pause/min_agreement",
                json!(0.9),
                "steps[3].pause.min_agreement: the mirror compares nothing; expected `mode: compare`",
            ),
            (
                "/analysis/metrics/0",
                json!({"name": "mirror.disagreement", "max": 0.1}),
                "analysis.metrics[0].name: the mirror compares nothing; expected `mode: compare`",
            ),
            ("/release", Value::Null, "release: missing; steps needs the release's name"),
            (
                "/analysis/false_alarm",
                json!(0),
                "analysis.false_alarm: 0 is out of range; expected 0.000000001 to 0.5",
            ),
            (
                "/analysis/false_alarm",
                json!(1),
                "analysis.false_alarm: 1 is out of range; expected 0.000000001 to 0.5",
            ),
            ("/analysis/deadline", json!("2h"), "analysis.deadline: expected a duration from 100ms to 1h"),
            (
                "/analysis/error_when/status/0",
                json!("axx"),
                "analysis.error_when.status[0]: \"axx\" is not a status; expected one such as 503, or a class such as 5xx",
            ),
            (
                "/analysis/error_when/grpc_status/0",
                json!(0),
                "analysis.error_when.grpc_status[0]: 0 is not a gRPC error; expected 1 to 16",
            ),
            (
                "/analysis/metrics",
                json!([]),
                "analysis.metrics: empty; expected at least one metric, such as `{name: error_rate}`",
            ),
            ("/analysis/metrics/0/name", json!("errors"), &unknown),
            (
                "/analysis/metrics/1",
                json!({"name": "error_rate"}),
                "analysis.metrics[1].name: \"error_rate\" is already the name of metrics[0]; expected a unique name",
            ),
            (
                "/analysis/metrics/0/tolerate",
                json!(0.5),
                "analysis.metrics[0].tolerate: 0.5 is out of range; expected 1 to 100",
            ),
            (
                "/analysis/metrics/0/max",
                json!(2),
                "analysis.metrics[0].max: 2 is out of range; expected 0.000001 to 0.999",
            ),
            (
                "/analysis/metrics/1/max",
                json!(0.5),
                "analysis.metrics[1].max: a bound of a rate; latency is not a rate",
            ),
            (
                "/analysis/metrics/0/quantiles",
                json!([0.5]),
                "analysis.metrics[0].quantiles: only durations have quantiles: latency, latency.first_token, latency.per_token",
            ),
            (
                "/analysis/metrics/1/quantiles",
                json!([0.9, 0.5]),
                "analysis.metrics[1].quantiles[1]: 0.5 is not above the previous one",
            ),
            (
                "/analysis/metrics/1/quantiles",
                json!([1.5]),
                "analysis.metrics[1].quantiles[0]: 1.5 is out of range; expected 0.01 to 0.9999",
            ),
            (
                "/analysis/on_failure",
                json!("rollback"),
                "analysis.on_failure: found \"rollback\", expected one of: abort, pause, alarm",
            ),
            (
                "/analysis/promote_when/confidence",
                json!(1),
                "analysis.promote_when.confidence: 1 is out of range; expected 0.5 to 0.999999",
            ),
            (
                "/analysis/promote_when/no_worse_than",
                json!({"times": 1, "or_points": 0}),
                "analysis.promote_when.no_worse_than: allows no difference, which no number of requests can prove; expected times over 1, or or_points over 0",
            ),
            (
                "/analysis/progress_deadline",
                json!("10ms"),
                "analysis.progress_deadline: expected at least 1s",
            ),
            (
                "/analysis/circuit_breaker",
                json!({}),
                "analysis.circuit_breaker.consecutive_errors: missing or out of range; expected 2 to 10000",
            ),
            (
                "/analysis/circuit_breaker",
                json!({"consecutive_errors": 1}),
                "analysis.circuit_breaker.consecutive_errors: missing or out of range; expected 2 to 10000",
            ),
            (
                "/analysis/circuit_breaker",
                json!({"consecutive_errors": 10_001}),
                "analysis.circuit_breaker.consecutive_errors: missing or out of range; expected 2 to 10000",
            ),
            (
                "/analysis/circuit_breaker",
                json!({"consecutive_errors": 20, "errors": 20}),
                "analysis.circuit_breaker.errors: unknown field; known here: consecutive_errors",
            ),
            (
                "/analysis/alpha",
                json!(0.01),
                "analysis.alpha: unknown field; known here: false_alarm, deadline, error_when, metrics, on_failure, dry_run, promote_when, warm_up, no_data, progress_deadline, circuit_breaker",
            ),
        ],
    );
}

#[test]
fn a_deadline_may_be_an_hour() {
    let mut slow = with("/weights", Value::Null);
    slow["blue_green"] = json!({"bake": {"weight": "1", "duration": "1s"}});
    slow["analysis"] = json!({"deadline": "1h"});
    assert_eq!(problems_of(&[slow]), [""; 0]);
}
