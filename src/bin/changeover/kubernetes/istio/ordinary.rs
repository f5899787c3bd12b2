//! The ordinary route in Istio: one of a `VirtualService`, which a patch finds by its name.

use changeover::config::schema::{Config, Match, Rollout};
use serde_json::{Value, json};

use super::super::clusters::Outbound;
use super::super::{Made, of_kind};
use crate::envoy::routes::hosts::without_port;
use crate::envoy::routes::taken::Requests;
use crate::envoy::routes::walk::{Walk, cluster_of, parts};
use crate::envoy::{Findings, Node};

/// Checks the routes that patches find by their names, where these files have any.
pub(super) fn check<'n, 'a: 'n>(
    patches: impl Iterator<Item = &'n Node<'a>>,
    config: &Config,
    set: &[Node<'_>],
    findings: &mut Findings,
) {
    let services: Vec<Node<'_>> =
        of_kind(set, "VirtualService").filter_map(|service| service.field("spec")).collect();
    if services.iter().all(|service| service.list("http").is_empty()) {
        return; // elsewhere
    }
    let mut patched: Vec<&Node<'_>> = Vec::new();
    for patch in patches {
        let place = patch.at(&["match", "routeConfiguration", "vhost", "route"]);
        let Some(name) = place.and_then(|route| route.text("name")) else { continue };
        let named = |service: &&Node<'_>| service.list("http").iter().any(|route| is_named(route, name));
        let before = patched.len();
        patched.extend(services.iter().filter(named));
        if patched.len() == before {
            findings.warning(
                patch,
                format_args!("no VirtualService of these files has a route {name:?}: Istio skips a patch that matches nothing"),
            );
        }
    }
    for rollout in &config.rollouts {
        let taking: Vec<&&Node<'_>> = patched.iter().filter(|service| takes(service, rollout)).collect();
        if let (true, Some(service)) = (taking.is_empty(), patched.first()) {
            findings.warning(
                *service,
                format_args!(
                    "the patches are for the hosts of this VirtualService, and rollout {:?} has others: nothing would obey the filter \
                     for {:?}",
                    rollout.name, rollout.matches.authority
                ),
            );
        }
        for service in taking {
            parts(&rollout.matches)
                .iter()
                .for_each(|part| follow(service, (rollout, config), part, findings));
        }
    }
}

/// Whether Istio gives a route this name. A named `match` adds its own behind a dot.
fn is_named(route: &Node<'_>, name: &str) -> bool {
    let own = route.text("name").unwrap_or_default();
    own == name || (!own.is_empty() && name.strip_prefix(own).is_some_and(|rest| rest.starts_with('.')))
}

/// Whether requests of a rollout come to a `VirtualService`.
fn takes(service: &Node<'_>, rollout: &Rollout) -> bool {
    let hosts = service.value.get("hosts").and_then(Value::as_array).into_iter().flatten();
    let mut hosts = hosts.filter_map(Value::as_str).map(str::to_ascii_lowercase);
    let authorities = &rollout.matches.authority;
    authorities.is_empty()
        || hosts.any(|host| {
            authorities.iter().any(|authority| {
                let authority = authority.to_ascii_lowercase();
                let name = without_port(&authority);
                host.strip_prefix('*')
                    .map_or_else(|| is_same_service(&host, name), |suffix| name.ends_with(suffix))
            })
        })
}

/// Follows requests without the filter's header through the routes.
fn follow(
    service: &Node<'_>,
    (rollout, config): (&Rollout, &Config),
    matches: &Match,
    findings: &mut Findings,
) {
    let made: Vec<Made<'_>> = service.list("http").iter().flat_map(made).collect();
    let walk = Walk::through(made.iter().map(Made::node), &Requests { matches, cluster: None, shadow: None });
    let stable = cluster_of(rollout, &rollout.stable);
    let candidate = rollout.candidate.as_ref().map(|candidate| cluster_of(rollout, candidate));
    let is_led = |destination: &Node<'_>, cluster: &str| leads(destination, cluster);
    let elsewhere = |route: &Node<'_>| {
        let destinations =
            made.iter().find(|made| made.is(route)).map(|made| destinations(&made.from)).unwrap_or_default();
        destinations.into_iter().filter(|destination| !is_led(destination, stable)).collect::<Vec<_>>()
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
                service,
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
        if candidate.is_some_and(|candidate| is_led(&destination, candidate)) {
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
        } else {
            findings.error(
                &destination,
                format_args!("the ordinary route leads to {there}, not to a stable version: that is where requests go when the filter fails"),
            );
        }
    }
}

/// The destinations of a route that get requests.
fn destinations<'a>(route: &Node<'a>) -> Vec<Node<'a>> {
    let targets = route.list("route");
    let is_used = |target: &&Node<'_>| targets.len() == 1 || target.value.get("weight") != Some(&0.into());
    targets.iter().filter(is_used).filter_map(|target| target.field("destination")).collect()
}

/// Whether a destination is a version's cluster, as far as it says. (What a cluster of a patch is, only the patch says.)
fn leads(destination: &Node<'_>, cluster: &str) -> bool {
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
fn is_same_service(one: &str, other: &str) -> bool {
    let is_short = |short: &str, full: &str| {
        is_host(short, full)
            || (full.contains(".svc.") && full.strip_prefix(short).is_some_and(|rest| rest.starts_with('.')))
    };
    is_short(one, other) || is_short(other, one)
}

/// What Istio makes of a route: one of Envoy's for each `match`.
fn made<'a>(route: &Node<'a>) -> Vec<Made<'a>> {
    let matches = route.list("match");
    let all = json!({});
    let matches = if matches.is_empty() { vec![&all] } else { matches.iter().map(|one| one.value).collect() };
    matches.into_iter().map(|one| Made::new(route.clone(), as_envoy(one))).collect()
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
