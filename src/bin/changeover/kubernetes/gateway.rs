//! What Envoy Gateway needs beside the filter: a rule of an `HTTPRoute` for each version, an ordinary one, and the removal of
//! a client's own headers.

use changeover::config::schema::{Config, MirrorMode, Rollout};
use changeover::rollout::program::Program;
use serde_json::{Value, json};

use super::of_kind;
use crate::envoy::routes::taken::{Requests, Taken};
use crate::envoy::routes::{self, CLUSTER};
use crate::envoy::{Findings, Node};

/// Checks the resources around a filter.
pub(super) fn check(filter: &Node<'_>, config: &Config, set: &[Node<'_>], findings: &mut Findings) {
    removals(filter, config, set, findings);
    copies(filter, config, set, findings);
    let rules: Vec<Node<'_>> = of_kind(set, "HTTPRoute")
        .filter_map(|route| route.field("spec"))
        .flat_map(|spec| spec.list("rules"))
        .collect();
    for rollout in &config.rollouts {
        for (version, settings) in &rollout.versions {
            if rule_for(rollout, Some(&settings.cluster), &rules).is_none() {
                findings.error(
                    filter,
                    format_args!(
                        "no rule of an HTTPRoute in these files matches `{CLUSTER}: {}`, which stands for version {version:?} of \
                         rollout {:?}: its requests would go to stable; expected a rule for each version",
                        settings.cluster, rollout.name
                    ),
                );
            }
        }
        ordinary(filter, rollout, &rules, findings);
        callouts(filter, rollout, findings);
    }
}

/// What the filter itself asks of a version goes to Envoy's cluster of that name, and not by a rule.
fn callouts(filter: &Node<'_>, rollout: &Rollout, findings: &mut Findings) {
    let compares = rollout.mirror.as_ref().is_some_and(|mirror| mirror.mode == MirrorMode::Compare);
    let field = if compares { "mirror.mode: compare" } else { "ready" };
    let candidate = rollout.candidate.as_ref().and_then(|name| rollout.versions.get(name));
    let Some(version) = candidate.filter(|_| compares || Program::new(rollout).awaits_ready()) else {
        return;
    };
    if !version.cluster.contains('/') {
        findings.warning(
            filter,
            format_args!(
                "`{field}` of rollout {:?} asks Envoy's cluster {:?}, and Envoy Gateway names clusters otherwise; expected a name such \
                 as httproute/NAMESPACE/ROUTE/rule/1, here and in the rule that matches it",
                rollout.name, version.cluster
            ),
        );
    }
}

/// Envoy copies requests on a route with a policy for it, which only a patch can add.
fn copies(filter: &Node<'_>, config: &Config, set: &[Node<'_>], findings: &mut Findings) {
    let has_policy = |patch: &Node<'_>| patch.value.to_string().contains("request_mirror_policies");
    let mirrored = config.rollouts.iter().find(|rollout| routes::is_copied_by_envoy(rollout));
    if let Some(rollout) = mirrored.filter(|_| !of_kind(set, "EnvoyPatchPolicy").any(has_policy)) {
        findings.warning(
            filter,
            format_args!(
                "nothing of rollout {:?} would be mirrored unless an EnvoyPatchPolicy adds the mirror route of envoy/routes.yaml; \
                 none in these files does",
                rollout.name
            ),
        );
    }
}

fn removals(filter: &Node<'_>, config: &Config, set: &[Node<'_>], findings: &mut Findings) {
    let removed: Vec<&str> = of_kind(set, "ClientTrafficPolicy")
        .filter_map(|policy| policy.value.pointer("/spec/headers/earlyRequestHeaders/remove")?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let expected = |_: &str| {
        "expected it in `headers.earlyRequestHeaders.remove` of a ClientTrafficPolicy in these files"
            .to_owned()
    };
    routes::removed_headers(filter, &removed, Some(config), expected, findings);
}

fn ordinary(filter: &Node<'_>, rollout: &Rollout, rules: &[Node<'_>], findings: &mut Findings) {
    let backends = |rule: &Node<'_>| rule.value.get("backendRefs").cloned().unwrap_or_default();
    let backends_of = |version: &String| {
        let cluster = rollout.versions.get(version)?.cluster.as_str();
        rule_for(rollout, Some(cluster), rules).map(backends)
    };
    let Some(rule) = rule_for(rollout, None, rules) else {
        findings.error(
            filter,
            format_args!(
                "no ordinary rule for rollout {:?} in an HTTPRoute of these files: without the filter its requests would get 404; \
                 expected one without {CLUSTER} to stable's service",
                rollout.name
            ),
        );
        return;
    };
    let Some(stable) = backends_of(&rollout.stable) else { return };
    if backends(rule) == stable {
        return;
    }
    if rollout.candidate.as_ref().and_then(backends_of) == Some(backends(rule)) {
        findings.warning(
            rule,
            format_args!("the ordinary rule leads to the candidate of rollout {:?}: correct only while its release is being finished", rollout.name),
        );
    } else {
        findings.error(
            rule,
            format_args!("the ordinary rule has other `backendRefs` than the rule for stable of rollout {:?}: that is where requests go when the filter fails", rollout.name),
        );
    }
}

/// The rule that takes requests with this value of the filter's header, or without it. The order of rules means nothing: of
/// those that match, the one with more conditions wins, and that with the header has one more.
fn rule_for<'n, 'a>(rollout: &Rollout, cluster: Option<&str>, rules: &'n [Node<'a>]) -> Option<&'n Node<'a>> {
    let requests = Requests { matches: &rollout.matches, cluster, shadow: None };
    let takes = |rule: &&Node<'_>| {
        let all = [json!({})];
        let matches = rule.value.get("matches").and_then(Value::as_array).map_or(&all[..], Vec::as_slice);
        matches.iter().any(|one| {
            let asks =
                one.pointer("/headers").and_then(Value::as_array).into_iter().flatten().any(is_own_header);
            let route = json!({"match": as_envoy(one)});
            asks == cluster.is_some() && requests.taken_by(&Node::document("", &route)) != Taken::None
        })
    };
    rules.iter().find(takes)
}

fn is_own_header(header: &Value) -> bool {
    header.get("name").and_then(Value::as_str).is_some_and(|name| name.eq_ignore_ascii_case(CLUSTER))
}

/// What Envoy Gateway makes of a rule's match.
fn as_envoy(one: &Value) -> Value {
    let path = one.pointer("/path/value").and_then(Value::as_str).unwrap_or("/");
    let mut matches = match one.pointer("/path/type").and_then(Value::as_str) {
        Some("Exact") => json!({"path": path}),
        Some("RegularExpression") => json!({"safe_regex": {"regex": path}}),
        _ if path == "/" => json!({"prefix": "/"}),
        _ => json!({"path_separated_prefix": path.trim_end_matches('/')}),
    };
    let mut headers: Vec<Value> = Vec::new();
    for header in one.get("headers").and_then(Value::as_array).into_iter().flatten() {
        let value = header.get("value").cloned().unwrap_or_default();
        headers.push(match header.get("type").and_then(Value::as_str) {
            Some("RegularExpression") => {
                json!({"name": header.get("name"), "safe_regex_match": {"regex": value}})
            }
            _ => json!({"name": header.get("name"), "exact_match": value}),
        });
    }
    if let Some(method) = one.get("method") {
        headers.push(json!({"name": ":method", "exact_match": method}));
    }
    if let Some(fields) = matches.as_object_mut() {
        fields.insert("headers".into(), headers.into());
        if let Some(query) = one.get("queryParams") {
            fields.insert("query_parameters".into(), query.clone());
        }
    }
    matches
}
