//! What the ordinary route does to a request and the one that obeys the filter does not.

use serde_json::Value;

use super::{CLUSTER, Findings, Node};

/// Fields that say which requests a route is for and where they go: those differ.
const OWN: [&str; 3] = ["match", "name", "stat_prefix"];
const OWN_OF_ACTION: [&str; 8] = [
    "cluster",
    "cluster_header",
    "cluster_not_found_response_code",
    "cluster_specifier_plugin",
    "inline_cluster_specifier_plugin",
    "metadata_match",
    "request_mirror_policies", // compared by themselves
    "weighted_clusters",
];
const OWN_OF_ENTRY: [&str; 4] = ["name", "cluster_header", "weight", "metadata_match"];

/// Fields of a route's action that it has from the virtual host where it has none of its own.
const INHERITED: [&str; 2] = ["retry_policy", "hedge_policy"];

/// Warns of each setting of the ordinary route that the obeying one lacks or has otherwise. `around`: the virtual host and the
/// route configuration that both stand in.
pub(super) fn compare(
    ordinary: &Node<'_>,
    obeying: &Node<'_>,
    around: [&Node<'_>; 2],
    findings: &mut Findings,
) {
    if std::ptr::eq(ordinary.value, obeying.value) {
        return;
    }
    fields(
        ordinary,
        &|name| obeying.value.get(name).cloned(),
        obeying,
        &[&OWN[..], &["route"]].concat(),
        findings,
    );
    let (action, own) = (ordinary.field("route"), obeying.field("route"));
    if let Some(action) = &action {
        let [host, _] = around;
        let inherited =
            |name: &str| INHERITED.contains(&name).then(|| host.value.get(name)).flatten().cloned();
        let own = own.clone();
        let entries = entries(obeying);
        let there = |name: &str| {
            let own = own.as_ref().and_then(|own| own.value.get(name)).cloned();
            let of_entry = || entries.first().and_then(|entry| entry.value.get(name)).cloned();
            own.or_else(of_entry).or_else(|| inherited(name))
        };
        fields(action, &there, obeying, &OWN_OF_ACTION, findings);
    }
    // A weighted cluster has settings of a route and of its action.
    for entry in entries(ordinary) {
        let mut places: Vec<&Value> = entries(obeying).into_iter().map(|entry| entry.value).collect();
        places.push(obeying.value);
        places.extend(own.as_ref().map(|own| own.value));
        let there = |name: &str| places.iter().find_map(|place| place.get(name)).cloned();
        fields(&entry, &there, obeying, &OWN_OF_ENTRY, findings);
    }
    let policies = |route: &Node<'_>| {
        let policies = super::policies(route, around).into_iter();
        policies
            .filter(|policy| !super::is_ours(policy))
            .map(|policy| normal(policy.value))
            .collect::<Vec<_>>()
    };
    let has = policies(obeying);
    if policies(ordinary).iter().any(|policy| !has.contains(policy)) {
        tell(
            &action.unwrap_or_else(|| ordinary.clone()),
            "request_mirror_policies",
            !has.is_empty(),
            obeying,
            findings,
        );
    }
}

/// The weighted clusters of a route that get requests.
fn entries<'a>(route: &Node<'a>) -> Vec<Node<'a>> {
    super::walk::used(route).into_iter().map(|(entry, _)| entry).collect()
}

fn fields(
    ordinary: &Node<'_>,
    other: &dyn Fn(&str) -> Option<Value>,
    place: &Node<'_>,
    own: &[&str],
    findings: &mut Findings,
) {
    for (name, value) in ordinary.value.as_object().into_iter().flatten() {
        if own.contains(&name.as_str()) || is_nothing(value) {
            continue;
        }
        let there = other(name).filter(|there| !is_nothing(there));
        let there = there.or_else(|| (name == "timeout").then(|| Value::from("15s"))); // Envoy's default
        if there.as_ref().map(|there| comparable(name, there)) != Some(comparable(name, value)) {
            tell(ordinary, name, there.is_some(), place, findings);
        }
    }
}

fn tell(ordinary: &Node<'_>, name: &str, is_there: bool, place: &Node<'_>, findings: &mut Findings) {
    let what = if is_there { "has it otherwise" } else { "lacks it" };
    findings.warning(
        place,
        format_args!(
            "the ordinary route has `{name}` ({ordinary}), and this one {what}: requests that the filter chooses go \
             without; expected the same"
        ),
    );
}

/// Whether a setting is as good as none: protobuf's and Envoy's defaults.
fn is_nothing(value: &Value) -> bool {
    let is_empty = value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(serde_json::Map::is_empty);
    is_empty || value.is_null() || *value == Value::Bool(false) || value == "DEFAULT"
}

/// A setting as it is compared: the obeying route removes one header more, and the order does not count.
fn comparable(name: &str, value: &Value) -> Value {
    let normal = normal(value);
    match normal {
        Value::Array(list) if name.ends_with("headers_to_remove") => {
            let mut list: Vec<Value> = list.into_iter().filter(|header| header != CLUSTER).collect();
            list.sort_by_key(ToString::to_string);
            Value::Array(list)
        }
        other => other,
    }
}

/// A value in one of its spellings: of durations and numbers there are several.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let is_default = |name: &str, value: &Value| *value == Value::Bool(false) && name != "enabled";
            let fields = fields.iter().filter(|(name, value)| !value.is_null() && !is_default(name, value));
            fields.map(|(name, value)| (name.clone(), normal(value))).collect()
        }
        Value::Array(list) => list.iter().map(normal).collect(),
        Value::Number(number) => number.as_f64().into(),
        Value::String(text) => {
            let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
            let seconds = text.strip_suffix('s').and_then(|seconds| seconds.parse::<f64>().ok());
            let seconds = seconds.filter(|seconds| seconds.is_finite());
            number
                .map(Value::from)
                .or_else(|| seconds.map(|seconds| format!("{seconds}s").into()))
                .unwrap_or_else(|| value.clone())
        }
        _ => value.clone(),
    }
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
        let host = json!({});
        let around = Node::document("h", &host);
        compare(
            &Node::document("f", &ordinary),
            &Node::document("g", &obeying),
            [&around, &around],
            &mut findings,
        );
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
