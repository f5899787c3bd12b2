//! The ordinary route in Istio: one of a `VirtualService`, which a patch finds by its name.

use changeover::config::schema::{Config, Match, Rollout};
use serde_json::{Value, json};

use super::super::Made;
use super::super::clusters::Outbound;
use super::hosts::{Host, Leads, Route};
use crate::envoy::routes::taken::Requests;
use crate::envoy::routes::walk::{Walk, cluster_of};
use crate::envoy::{Findings, Node};

/// What stands around a virtual host.
pub(super) struct Around<'f, 'a> {
    pub(super) service: &'f Node<'a>,
    pub(super) config: &'f Config,
    /// Whether a rollout for all hosts has its ordinary route on one of them.
    pub(super) has_own: bool,
}

/// Whether requests without the filter's header go to stable.
pub(super) fn is_right(host: &Host<'_, '_>, rollout: &Rollout, matches: &Match) -> bool {
    let requests = Requests { matches, cluster: None, shadow: None };
    let rest = Walk::through(host.routes.iter().map(Route::node), &requests).rest;
    let ordinary = rest.as_ref().and_then(|route| host.route(route));
    ordinary.is_some_and(|route| route.leads(cluster_of(rollout, &rollout.stable), false) == Leads::There)
}

/// Follows requests without the filter's header through the routes of a virtual host.
pub(super) fn follow(
    host: &Host<'_, '_>,
    Around { service, config, has_own }: &Around<'_, '_>,
    rollout: &Rollout,
    matches: &Match,
    findings: &mut Findings,
) {
    let walk = Walk::through(
        host.routes.iter().map(Route::node),
        &Requests { matches, cluster: None, shadow: None },
    );
    let stable = cluster_of(rollout, &rollout.stable);
    let candidate = rollout.candidate.as_ref().map(|candidate| cluster_of(rollout, candidate));
    let elsewhere = |route: &Node<'_>| {
        let destinations = match host.route(route) {
            Some(Route::Own { made, is_changed: false, .. }) => destinations(&made.from),
            _ => Vec::new(),
        };
        destinations.into_iter().filter(|destination| !leads(destination, stable)).collect::<Vec<_>>()
    };
    for route in &walk.some {
        for destination in elsewhere(route) {
            findings.warning(
                route,
                format_args!(
                    "without the filter some of the requests of rollout {:?} go to {}, not to stable",
                    rollout.name,
                    described(&destination)
                ),
            );
        }
    }
    let Some(route) = &walk.rest else {
        if walk.some.is_empty() && !walk.is_unclear("without the filter", rollout, findings) {
            findings.warning(
                *service,
                format_args!(
                    "none of its routes takes the requests of rollout {:?}: without the filter they would get 404",
                    rollout.name
                ),
            );
        }
        return;
    };
    let of_another = |destination: &Node<'_>| {
        let mut others = config.rollouts.iter().filter(|_| rollout.matches.authority.is_empty());
        others.find(|other| leads(destination, cluster_of(other, &other.stable)))
    };
    for destination in elsewhere(route) {
        let there = described(&destination);
        if candidate.is_some_and(|candidate| leads(&destination, candidate)) {
            findings.warning(
                &destination,
                format_args!("the ordinary route leads to {there}, a candidate: correct only while its release is being finished"),
            );
        } else if walk.is_unclear("without the filter", rollout, findings) {
        } else if let Some(other) = of_another(&destination) {
            findings.warning(
                &destination,
                format_args!(
                    "requests of rollout {:?}, which is for all hosts, go to stable of rollout {:?} here when the filter fails; expected \
                     `match.authority` in the rollout",
                    rollout.name, other.name
                ),
            );
        } else if *has_own {
            findings.warning(
                &destination,
                format_args!(
                    "requests of rollout {:?}, which is for all hosts, go to {there} here when the filter fails; expected \
                     `match.authority` in the rollout",
                    rollout.name
                ),
            );
        } else {
            findings.error(
                &destination,
                format_args!("the ordinary route leads to {there}, not to a stable version: that is where requests go when the filter fails"),
            );
        }
    }
    match host.route(route) {
        Some(ordinary @ Route::Own { made, .. }) if destinations(&made.from).is_empty() => {
            without_destination(ordinary, &walk, rollout, findings);
        }
        Some(ordinary) if ordinary.leads(stable, false) != Leads::There && ordinary.patch().is_some() => {
            without_destination(ordinary, &walk, rollout, findings);
        }
        Some(Route::Own { is_changed: true, made, .. }) => unclear(&made.from, rollout, findings),
        _ => {}
    }
}

/// Reports an ordinary route that forwards nothing, or that comes from a patch and does not lead to stable.
fn without_destination(
    ordinary: &Route<'_, '_>,
    walk: &Walk<'_>,
    rollout: &Rollout,
    findings: &mut Findings,
) {
    let place = ordinary.place();
    let stable = cluster_of(rollout, &rollout.stable);
    if ordinary.leads(stable, false) == Leads::Unclear {
        unclear(place, rollout, findings);
    } else if !walk.is_unclear("without the filter", rollout, findings) {
        let what = if ["redirect", "directResponse", "direct_response"]
            .iter()
            .any(|field| place.field(field).is_some())
        {
            "answers itself"
        } else {
            "leads elsewhere"
        };
        findings.error(
            place,
            format_args!(
                "the ordinary route of rollout {:?} {what}: that is what requests get when the filter fails; expected one to a stable version",
                rollout.name
            ),
        );
    }
}

fn unclear(place: &Node<'_>, rollout: &Rollout, findings: &mut Findings) {
    findings.note(
        place,
        format_args!(
            "could not tell whether the ordinary route of rollout {:?} leads to a stable version",
            rollout.name
        ),
    );
}

/// What a `VirtualService` sets for a route, and the fields of Envoy's of which an added route needs one to do the same.
const SETTINGS: [(&str, &[&str]); 9] = [
    (
        "/rewrite/uri",
        &[
            "/route/prefix_rewrite",
            "/route/regex_rewrite",
            "/route/path_rewrite_policy",
            "/route/path_rewrite",
        ],
    ),
    ("/rewrite/uriRegexRewrite", &["/route/regex_rewrite", "/route/prefix_rewrite"]),
    (
        "/rewrite/authority",
        &["/route/host_rewrite_literal", "/route/host_rewrite_header", "/route/auto_host_rewrite"],
    ),
    ("/timeout", &["/route/timeout"]),
    ("/retries", &["/route/retry_policy", "/route/retry_policy_typed_config"]),
    ("/headers/request", &["/request_headers_to_add", "/request_headers_to_remove"]),
    ("/headers/response", &["/response_headers_to_add", "/response_headers_to_remove"]),
    ("/fault", &["/typed_per_filter_config/envoy.filters.http.fault"]),
    ("/corsPolicy", &["/typed_per_filter_config/envoy.filters.http.cors", "/route/cors"]),
];

/// Warns of each setting of the ordinary route that the one for the filter's requests lacks: it inherits none.
pub(super) fn settings(ordinary: &Route<'_, '_>, chosen: &Route<'_, '_>, findings: &mut Findings) {
    let Route::Own { made, is_changed: false, .. } = ordinary else { return };
    let from = &made.from;
    for (field, counterparts) in SETTINGS {
        let Some(value) = from.value.pointer(field).filter(|value| !is_nothing(field, value)) else {
            continue;
        };
        let has_it = match chosen {
            Route::Own { made, .. } => made.from.value.pointer(field) == Some(value),
            Route::Added { node, .. } => match field {
                "/headers/request" | "/headers/response" => {
                    let kind = field.trim_start_matches("/headers/");
                    has_headers(value, node, kind)
                }
                "/timeout" => {
                    let own = node.value.pointer("/route/timeout").and_then(Value::as_str);
                    own.is_some_and(|own| value.as_str().is_some_and(|value| seconds(value) == seconds(own)))
                }
                _ => counterparts.iter().any(|place| node.value.pointer(place).is_some()),
            },
        };
        if !has_it {
            let expected = counterparts.first().map(|place| place.trim_start_matches('/').replace('/', "."));
            let name = field.trim_start_matches('/').replace('/', ".");
            findings.warning(
                chosen.place(),
                format_args!(
                    "the ordinary route has `{name}` ({from}), and this one does not do the same: requests that the filter chooses \
                     go without; expected {}",
                    match chosen {
                        Route::Own { .. } => format!("`{name}`"),
                        Route::Added { .. } => format!("`{}`", expected.unwrap_or_default()),
                    }
                ),
            );
        }
    }
}

/// Whether a setting changes nothing. (What Istio retries by default a route of a patch does not.)
fn is_nothing(field: &str, value: &Value) -> bool {
    value.is_null()
        || value.as_object().is_some_and(serde_json::Map::is_empty)
        || (field == "/retries" && value.get("attempts") == Some(&0.into()))
}

/// Whether an added route changes the headers that Istio's `set`, `add` and `remove` name.
fn has_headers(wanted: &Value, node: &Node<'_>, kind: &str) -> bool {
    let same = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
    let added = node.list(&format!("{kind}_headers_to_add"));
    let is_added = |name: &str| {
        added.iter().filter_map(|one| one.field("header")?.text("key")).any(|key| same(key, name))
    };
    let removed = node.value.get(format!("{kind}_headers_to_remove")).and_then(Value::as_array);
    let removed: Vec<&str> = removed.into_iter().flatten().filter_map(Value::as_str).collect();
    let names =
        ["set", "add"].iter().filter_map(|field| wanted.get(*field)?.as_object()).flat_map(|map| map.keys());
    let gone = wanted.get("remove").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    names.into_iter().all(|name| is_added(name))
        && gone.into_iter().all(|name| removed.iter().any(|other| same(other, name)))
}

/// A duration in Go's or protobuf's spelling, in seconds.
fn seconds(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, unit) = rest.split_at_checked(digits)?;
        let end = unit.find(|letter: char| letter.is_ascii_digit()).unwrap_or(unit.len());
        let (unit, behind) = unit.split_at_checked(end)?;
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * factor;
        rest = behind;
    }
    Some(sum)
}

/// The destinations of a route that get requests.
pub(super) fn destinations<'a>(route: &Node<'a>) -> Vec<Node<'a>> {
    let targets = route.list("route");
    let is_used = |target: &&Node<'_>| targets.len() == 1 || target.value.get("weight") != Some(&0.into());
    targets.iter().filter(is_used).filter_map(|target| target.field("destination")).collect()
}

/// Whether a destination is a version's cluster, as far as it says. (What a cluster of a patch is, only the patch says.)
pub(super) fn leads(destination: &Node<'_>, cluster: &str) -> bool {
    let Some(outbound) = Outbound::of(cluster) else { return true };
    is_host(destination.text("host").unwrap_or_default(), outbound.host)
        && destination.text("subset").unwrap_or_default() == outbound.subset
        && port(destination).is_none_or(|port| port == outbound.port)
}

fn port(destination: &Node<'_>) -> Option<u64> {
    destination.value.pointer("/port/number")?.as_u64()
}

fn described(destination: &Node<'_>) -> String {
    let host = destination.text("host").unwrap_or_default();
    let subset = destination.text("subset").map(|subset| format!(", subset {subset:?}"));
    let port = port(destination).map(|port| format!(", port {port}"));
    format!("{host:?}{}{}", subset.unwrap_or_default(), port.unwrap_or_default())
}

/// Whether a host in a resource, perhaps a short one, is this one.
fn is_host(host: &str, full: &str) -> bool {
    full.strip_prefix(host)
        .is_some_and(|rest| rest.is_empty() || (rest.starts_with('.') && !host.contains('.')))
}

/// Whether two names, of which one may be a short one, are of one service.
pub(super) fn is_same_service(one: &str, other: &str) -> bool {
    let is_short = |short: &str, full: &str| {
        is_host(short, full)
            || (full.contains(".svc.") && full.strip_prefix(short).is_some_and(|rest| rest.starts_with('.')))
    };
    is_short(one, other) || is_short(other, one)
}

/// What Istio makes of a route: one of Envoy's for each `match`, and their names. A named `match` adds its own behind a dot.
pub(super) fn made<'a>(route: &Node<'a>) -> Vec<(String, Made<'a>)> {
    let matches = route.list("match");
    let all = json!({});
    let matches = if matches.is_empty() { vec![&all] } else { matches.iter().map(|one| one.value).collect() };
    let name = |one: &Value| {
        let own = route.text("name").unwrap_or_default();
        match one.get("name").and_then(Value::as_str) {
            Some(name) if !name.is_empty() => format!("{own}.{name}"),
            _ => own.to_owned(),
        }
    };
    matches.into_iter().map(|one| (name(one), Made::new(route.clone(), as_envoy(one)))).collect()
}

fn as_envoy(one: &Value) -> Value {
    let (field, path) = match one.get("uri").and_then(string) {
        Some(("exact", path)) => ("path", json!(path)),
        Some(("prefix", path)) => ("prefix", json!(path)),
        Some((_, path)) => ("safe_regex", json!({"regex": path})),
        None => ("prefix", json!("/")),
    };
    let named = |field: &str| one.get(field).and_then(Value::as_object).into_iter().flatten();
    let mut headers: Vec<Value> = named("headers").map(|(name, test)| tested(name, test, false)).collect();
    for (field, name) in [("method", ":method"), ("authority", ":authority"), ("scheme", ":scheme")] {
        headers.extend(one.get(field).map(|test| tested(name, test, false)));
    }
    headers.extend(named("withoutHeaders").map(|(name, test)| tested(name, test, true)));
    let parameters: Vec<Value> = named("queryParams").map(|(name, test)| tested(name, test, false)).collect();
    let minds_case = one.get("ignoreUriCase") != Some(&true.into());
    // Whose requests they are does not show in them.
    let others = ["port", "sourceLabels", "sourceNamespace", "gateways"];
    let other = if others.iter().any(|field| one.get(field).is_some()) { "filter_state" } else { "cookies" };
    json!({
        field: path, "case_sensitive": minds_case, "headers": headers, "query_parameters": parameters, other: [],
    })
}

fn tested(name: &str, test: &Value, invert: bool) -> Value {
    match string(test) {
        Some((kind, value)) => {
            let (kind, value) =
                if kind == "regex" { ("safe_regex", json!({"regex": value})) } else { (kind, json!(value)) };
            json!({
                "name": name, "string_match": {kind: value}, "invert_match": invert, "treat_missing_header_as_empty": invert,
            })
        }
        None => json!({"name": name, "present_match": !invert}),
    }
}

/// One of Istio's conditions on texts: `exact`, `prefix` or `regex`.
fn string(test: &Value) -> Option<(&str, &str)> {
    test.as_object()?.iter().find_map(|(kind, value)| Some((kind.as_str(), value.as_str()?)))
}
