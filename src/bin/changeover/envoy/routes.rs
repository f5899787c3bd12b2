//! The HTTP connection manager around a filter: headers a client must not send, routes, the mirror.

use changeover::config::schema::{Config, Rollout};

use super::{Findings, Node};

const CLUSTER: &str = "x-changeover-cluster";
const MIRROR: &str = "x-changeover-mirror";
const SHADOW: &str = "x-changeover-shadow";

/// Checks a connection manager whose filter has this configuration (`None`: it comes from elsewhere), with the
/// route configurations that its RDS may name.
pub(crate) fn check(
    manager: &Node<'_>,
    config: Option<&Config>,
    routes: &[Node<'_>],
    findings: &mut Findings,
) {
    clients_headers(manager, findings);
    let Some(routes) = of(manager, routes, findings) else { return };
    let hosts: Vec<Node<'_>> = routes.list("virtual_hosts").into_iter().filter(has_chosen_route).collect();
    if hosts.is_empty() {
        findings.error(
            &routes,
            format_args!("no route obeys the filter; expected one with `headers: [{{name: {CLUSTER}, present_match: true}}]` and `cluster_header: {CLUSTER}`"),
        );
    }
    for host in &hosts {
        for rollout in config.into_iter().flat_map(|config| &config.rollouts) {
            if is_about(rollout, host) {
                ordinary_route(rollout, host, findings);
                timeouts(rollout, host, findings);
            }
        }
        if config.is_some_and(|config| config.rollouts.iter().any(|rollout| rollout.mirror.is_some())) {
            mirror(host, &routes, findings);
        }
    }
}

/// The routes of a connection manager, its own or those of its RDS; `None` when they are not in the files.
pub(super) fn of<'a>(
    manager: &Node<'a>,
    discovered: &[Node<'a>],
    findings: &mut Findings,
) -> Option<Node<'a>> {
    if let Some(inline) = manager.field("route_config") {
        return Some(inline);
    }
    let rds = manager.field("rds")?;
    let named = |node: &&Node<'_>| node.text("name") == rds.text("route_config_name");
    let found = discovered.iter().find(named).cloned();
    if found.is_none() {
        findings
            .note(&rds, "its routes are discovered: check the file they come from together with this one");
    }
    found
}

/// A client's own copies of the internal headers must be gone before anything looks at them.
fn clients_headers(manager: &Node<'_>, findings: &mut Findings) {
    let mutations = manager.list("early_header_mutation_extensions").into_iter();
    let removed: Vec<&str> = mutations
        .filter_map(|extension| extension.field("typed_config"))
        .flat_map(|config| config.list("mutations"))
        .filter_map(|mutation| mutation.text("remove"))
        .collect();
    for header in [CLUSTER, MIRROR, SHADOW] {
        if !removed.iter().any(|name| name.eq_ignore_ascii_case(header)) {
            findings.error(
                manager,
                format_args!("a client's own {header} is not removed; expected `remove: {header}` in early_header_mutation_extensions"),
            );
        }
    }
}

/// A route that goes where the filter says.
fn is_chosen(route: &Node<'_>) -> bool {
    let by_header = route.field("route").is_some_and(|action| action.text("cluster_header") == Some(CLUSTER));
    by_header && asks_for_header(route)
}

fn asks_for_header(route: &Node<'_>) -> bool {
    let matches = route.field("match").map(|matches| matches.list("headers")).unwrap_or_default();
    matches.iter().any(|header| header.text("name").is_some_and(|name| name.eq_ignore_ascii_case(CLUSTER)))
}

fn has_chosen_route(host: &Node<'_>) -> bool {
    host.list("routes").iter().any(is_chosen)
}

/// Whether a rollout's requests may come to a virtual host.
fn is_about(rollout: &Rollout, host: &Node<'_>) -> bool {
    let domains: Vec<&str> = host
        .value
        .get("domains")
        .and_then(|list| list.as_array())
        .into_iter()
        .flatten()
        .filter_map(|domain| domain.as_str())
        .collect();
    let authorities = &rollout.matches.authority;
    authorities.is_empty()
        || domains.contains(&"*")
        || authorities
            .iter()
            .any(|authority| domains.iter().any(|domain| domain.eq_ignore_ascii_case(authority)))
}

/// The route that a rollout's requests take without the filter leads to its stable version.
fn ordinary_route(rollout: &Rollout, host: &Node<'_>, findings: &mut Findings) {
    let routes = host.list("routes");
    let Some(route) = routes.iter().find(|route| !asks_for_header(route) && may_take(route, rollout)) else {
        findings.error(
            host,
            format_args!("no ordinary route for rollout {:?}: without the filter its requests would get 404; expected one to stable's cluster below the route that obeys the filter", rollout.name),
        );
        return;
    };
    let Some(action) = route.field("route") else { return };
    let Some(cluster) = action.text("cluster") else { return };
    let of = |version: &String| rollout.versions.get(version).map(|version| version.cluster.as_str());
    if of(&rollout.stable) == Some(cluster) {
        return;
    }
    if rollout.candidate.as_ref().and_then(of) == Some(cluster) {
        findings.warning(
            &action,
            format_args!("the ordinary route leads to {cluster:?}, the candidate of rollout {:?}: correct only while its release is being finished", rollout.name),
        );
    } else {
        let stable = of(&rollout.stable).unwrap_or_default();
        findings.error(
            &action,
            format_args!("the ordinary route leads to {cluster:?}, not to stable's cluster {stable:?} of rollout {:?}: that is where requests go when the filter fails", rollout.name),
        );
    }
}

/// Whether a route takes the requests of a rollout, as far as their path tells. Routes with other conditions are
/// passed over.
fn may_take(route: &Node<'_>, rollout: &Rollout) -> bool {
    let Some(matches) = route.field("match") else { return false };
    if !matches.list("headers").is_empty() || !matches.list("query_parameters").is_empty() {
        return false;
    }
    takes_path(&matches, rollout)
}

fn takes_path(matches: &Node<'_>, rollout: &Rollout) -> bool {
    let wanted = rollout.matches.prefix.as_ref().or(rollout.matches.path.as_ref());
    let wanted = wanted.map_or("/", String::as_str);
    match (matches.text("prefix"), matches.text("path"), matches.text("path_separated_prefix")) {
        (Some(prefix), _, _) | (_, _, Some(prefix)) => wanted.starts_with(prefix),
        (_, Some(path), _) => rollout.matches.path.as_deref() == Some(path),
        _ => false,
    }
}

/// Who waits longer than the judge does waits for requests that count as failed already.
fn timeouts(rollout: &Rollout, host: &Node<'_>, findings: &mut Findings) {
    let Some(analysis) = &rollout.analysis else { return };
    let deadline = std::time::Duration::from_millis(analysis.deadline.as_millis());
    let routes = host.list("routes");
    let ordinary = routes.iter().find(|route| !asks_for_header(route) && may_take(route, rollout));
    let chosen = routes.iter().filter(|route| {
        is_chosen(route) && route.field("match").is_some_and(|matches| takes_path(&matches, rollout))
    });
    for action in chosen.chain(ordinary).filter_map(|route| route.field("route")) {
        let timeout = action.text("timeout");
        // 15 s is Envoy's default, and 0 s is none at all.
        let Some(seconds) = seconds(timeout.unwrap_or("15s")) else { continue };
        if seconds == 0.0 || seconds > deadline.as_secs_f64() {
            findings.warning(
                &action,
                format_args!(
                    "its timeout ({}) is longer than the analysis.deadline of rollout {:?}: a request that Envoy still \
                     waits for counts as failed already; expected at most {deadline:?}",
                    timeout.unwrap_or("15s unless given"),
                    rollout.name,
                ),
            );
        }
    }
}

/// A duration as protobuf's JSON form writes it.
fn seconds(text: &str) -> Option<f64> {
    text.strip_suffix('s')?.parse().ok()
}

/// Envoy's mirror policy on the routes of a virtual host: on the one that requests take when the filter names a shadow.
fn mirror(host: &Node<'_>, config: &Node<'_>, findings: &mut Findings) {
    let routes = host.list("routes");
    let chosen = || routes.iter().filter(|route| is_chosen(route));
    for route in chosen() {
        let own = asks_for_mirror(route);
        let Some(policy) = mirror_policy(route).filter(|_| own != Some(false)) else {
            // Where both kinds of requests come, the routes above are the ones that take some away.
            let others = chosen().take_while(|other| own == Some(false) || !std::ptr::eq(*other, route));
            let another = others
                .filter(|other| asks_for_mirror(other) != Some(false) && takes_paths_of(other, route))
                .any(|other| mirror_policy(other).is_some());
            if own == Some(true) || !another {
                findings.error(
                    route,
                    format_args!("nothing would be mirrored from here; expected a route of its own for requests with {MIRROR}, and in it `request_mirror_policies` with `cluster_header: {MIRROR}`"),
                );
            }
            continue;
        };
        if own.is_none() {
            findings.warning(
                route,
                format_args!("its mirror policy costs every request, copied or not; expected a route of its own for requests with {MIRROR}"),
            );
        }
        mutations(&policy, findings);
        for place in [route, host, config] {
            let removed = place.value.get("request_headers_to_remove").and_then(|list| list.as_array());
            if removed.into_iter().flatten().any(|header| header == MIRROR) {
                findings.error(
                    place,
                    format_args!("request_headers_to_remove has {MIRROR}, which switches the mirror off; expected it without"),
                );
            }
        }
    }
}

fn mirror_policy<'a>(route: &Node<'a>) -> Option<Node<'a>> {
    let policies = route.field("route")?.list("request_mirror_policies");
    policies.into_iter().find(|policy| policy.text("cluster_header") == Some(MIRROR))
}

/// Whether a route takes only requests with the mirror's header, or only those without; `None`: both.
fn asks_for_mirror(route: &Node<'_>) -> Option<bool> {
    let matches = route.field("match")?;
    let header = matches.list("headers").into_iter().find(|header| header.text("name") == Some(MIRROR))?;
    let is_set = |name: &str| header.value.get(name) == Some(&true.into());
    Some(header.value.get("present_match") != Some(&false.into()) && !is_set("invert_match"))
}

/// Whether a route takes the paths that another one takes.
fn takes_paths_of(route: &Node<'_>, other: &Node<'_>) -> bool {
    let prefix = route.field("match").and_then(|matches| matches.text("prefix"));
    let paths = other.field("match").and_then(|matches| {
        ["prefix", "path_separated_prefix", "path"].into_iter().find_map(|name| matches.text(name))
    });
    prefix.is_some_and(|prefix| paths.is_some_and(|paths| paths.starts_with(prefix)))
}

fn mutations(policy: &Node<'_>, findings: &mut Findings) {
    if policy.value.get("disable_shadow_host_suffix_append") != Some(&true.into()) {
        findings.error(
            policy,
            "the copy's Host would end in \"-shadow\"; expected `disable_shadow_host_suffix_append: true`",
        );
    }
    let mutations = policy.list("request_headers_mutations");
    let marks = mutations.iter().filter_map(|mutation| mutation.at(&["append", "header"]));
    if !marks.into_iter().any(|header| header.text("key") == Some(SHADOW)) {
        findings
            .error(policy, format_args!("the copy is not marked; expected a mutation that appends {SHADOW}"));
    }
    for header in ["cookie", "authorization", MIRROR, CLUSTER] {
        if !mutations.iter().any(|mutation| mutation.text("remove") == Some(header)) {
            findings.error(
                policy,
                format_args!("the copy carries {header}; expected a mutation `remove: {header}`"),
            );
        }
    }
}
