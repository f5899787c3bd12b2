//! What the ordinary route does to a request and the one that obeys the filter does not.

use serde_json::Value;

use super::{CLUSTER, Findings, Node};

/// Fields that say which requests a route is for and where they go: those differ.
const OWN: [&str; 3] = ["match", "name", "stat_prefix"];
const OWN_OF_ACTION: [&str; 6] = [
    "cluster",
    "cluster_header",
    "cluster_not_found_response_code",
    "metadata_match",
    "request_mirror_policies", // checked on their own
    "weighted_clusters",
];

/// Warns of each setting of the ordinary route that the obeying one lacks or has otherwise.
pub(super) fn compare(ordinary: &Node<'_>, obeying: &Node<'_>, findings: &mut Findings) {
    fields(ordinary, Some(obeying), obeying, &[&OWN[..], &["route"]].concat(), findings);
    if let Some(action) = ordinary.field("route") {
        fields(&action, obeying.field("route").as_ref(), obeying, &OWN_OF_ACTION, findings);
    }
}

fn fields(
    ordinary: &Node<'_>,
    other: Option<&Node<'_>>,
    place: &Node<'_>,
    own: &[&str],
    findings: &mut Findings,
) {
    for (name, value) in ordinary.value.as_object().into_iter().flatten() {
        if own.contains(&name.as_str()) || is_nothing(value) {
            continue;
        }
        let by_default = Value::from("15s"); // Envoy's
        let there = other.and_then(|other| other.value.get(name));
        let there = there.or_else(|| (name == "timeout").then_some(&by_default));
        if comparable(name, there) != comparable(name, Some(value)) {
            let what = if there.is_some() { "has it otherwise" } else { "lacks it" };
            findings.warning(
                place,
                format_args!(
                    "the ordinary route has `{name}` ({ordinary}), and this one {what}: requests that the filter chooses go \
                     without; expected the same"
                ),
            );
        }
    }
}

fn is_nothing(value: &Value) -> bool {
    let is_empty = value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(serde_json::Map::is_empty);
    is_empty || value.is_null()
}

/// A setting as it is compared: the obeying route removes one header more, and a duration has several spellings.
fn comparable(name: &str, value: Option<&Value>) -> Option<Value> {
    let seconds = || value?.as_str()?.strip_suffix('s')?.parse::<f64>().ok();
    if let Some(seconds) = seconds().filter(|_| name.contains("timeout")) {
        return Some(seconds.into());
    }
    let Some(Value::Array(list)) = value.filter(|_| name == "request_headers_to_remove") else {
        return value.cloned();
    };
    Some(list.iter().filter(|header| *header != CLUSTER).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compared(ordinary: Value, obeying: Value) -> Vec<String> {
        let mut findings = Findings::default();
        let ordinary =
            json!({"match": {}, "route": ordinary, "request_headers_to_remove": ["x"], "metadata": {}});
        let obeying =
            json!({"match": {"prefix": "/"}, "route": obeying, "request_headers_to_remove": ["x", CLUSTER]});
        compare(&Node::document("f", &ordinary), &Node::document("g", &obeying), &mut findings);
        assert!(!findings.bad);
        findings.lines
    }

    #[test]
    fn spellings_of_a_duration_are_no_difference() {
        let obeying = json!({"cluster_header": CLUSTER, "timeout": "15.0s", "idle_timeout": "0.50s"});
        let same = json!({"cluster": "c", "timeout": "15s", "idle_timeout": "0.5s"});
        assert_eq!(compared(same, obeying.clone()), [""; 0]);
        assert_eq!(compared(json!({"cluster": "c", "idle_timeout": "5s"}), obeying).len(), 1);
    }

    #[test]
    fn settings_that_the_obeying_route_lacks_are_named() {
        let same = json!({"cluster_header": CLUSTER, "prefix_rewrite": "/"});
        assert_eq!(
            compared(json!({"cluster": "c", "prefix_rewrite": "/", "timeout": "15s"}), same.clone()),
            [""; 0]
        );
        for setting in [
            "prefix_rewrite",
            "host_rewrite_literal",
            "retry_policy",
            "timeout",
            "rate_limits",
            "hash_policy",
        ] {
            let found = compared(json!({"cluster": "c", setting: "1s"}), same.clone());
            let what =
                if matches!(setting, "prefix_rewrite" | "timeout") { "has it otherwise" } else { "lacks it" };
            let expected = format!(
                "g: warning: the ordinary route has `{setting}` (f: route), and this one {what}: requests that the filter \
                 chooses go without; expected the same"
            );
            assert_eq!(found, [expected]);
        }
    }
}
