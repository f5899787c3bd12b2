//! What Istio needs beside the filter: the patches of an `EnvoyFilter`, and a route of a `VirtualService`.

mod hosts;
mod ordinary;
mod workloads;

use changeover::config::schema::{Config, Match, Rollout};

use super::{clusters, namespace, of_kind};
use crate::envoy::routes::taken::{Requests, Taken};
use crate::envoy::routes::walk::{self, Walk};
use crate::envoy::routes::{self, CLUSTER, MIRROR, SHADOW};
use crate::envoy::{Findings, Node};
use hosts::{Host, Leads, Route, Service};

/// Checks the resources around a filter, which stands in one of them.
pub(super) fn check(
    filter: &Node<'_>,
    resource: &Node<'_>,
    config: &Config,
    set: &[Node<'_>],
    findings: &mut Findings,
) {
    let mut patches: Vec<Patch<'_, '_>> = of_kind(set, "EnvoyFilter").flat_map(Patch::of).collect();
    patches.sort_by_key(Patch::rank);
    clusters::known_to_istio(filter, config, set, findings);
    if patches.is_empty() {
        findings.error(
            filter,
            "nothing obeys the filter: there is no EnvoyFilter in these files; expected the patches of envoy/istio.yaml, in a \
             file that is checked together with this one",
        );
        return;
    }
    // Routes are a matter of gateways and of clients.
    let patches: Vec<&Patch<'_, '_>> =
        patches.iter().filter(|patch| patch.context() != "SIDECAR_INBOUND").collect();
    let obeying: Vec<Obeying<'_, '_>> = patches
        .iter()
        .flat_map(|patch| patch.routes().into_iter().map(|route| Obeying { patch, route }))
        .filter(|obeying| obeys(&obeying.route))
        .collect();
    let services = Service::all(set);
    removals(filter, config, &patches, &obeying, findings);
    for context in contexts(&patches) {
        let patches: Vec<&Patch<'_, '_>> =
            patches.iter().filter(|patch| [context, ANY].contains(&patch.context())).copied().collect();
        placed(filter, config, &patches, &services, set, findings);
    }
    answers(filter, &patches, &obeying, findings);
    mirrors(filter, config, &obeying, findings);
    let managing = patches.iter().filter(|patch| !patch.managers().is_empty()).copied();
    let needed = obeying.iter().map(|obeying| obeying.patch).chain(managing);
    workloads::check(resource, needed.map(|patch| patch.resource), findings);
}

/// A patch, and the `EnvoyFilter` that has it.
struct Patch<'n, 'a> {
    resource: &'n Node<'a>,
    node: Node<'a>,
}

/// An added route that obeys the filter.
struct Obeying<'n, 'a> {
    patch: &'n Patch<'n, 'a>,
    route: Node<'a>,
}

impl<'n, 'a> Patch<'n, 'a> {
    fn of(resource: &'n Node<'a>) -> Vec<Self> {
        let patches = resource.field("spec").map(|spec| spec.list("configPatches")).unwrap_or_default();
        patches.into_iter().map(|node| Self { resource, node }).collect()
    }

    /// Istio applies those of a lower priority first, and then those of its own namespace.
    fn rank(&self) -> (i64, bool) {
        let priority = self.resource.value.pointer("/spec/priority").and_then(serde_json::Value::as_i64);
        (priority.unwrap_or_default(), namespace(self.resource) != Some(workloads::ROOT))
    }

    /// A part of the route configuration that it is for.
    fn place(&self, parts: &[&str]) -> Option<Node<'a>> {
        self.node.at(&["match", "routeConfiguration"])?.at(parts)
    }

    fn target(&self) -> &'a str {
        self.node.text("applyTo").unwrap_or_default()
    }

    fn operation(&self) -> &'a str {
        self.node.field("patch").and_then(|patch| patch.text("operation")).unwrap_or_default()
    }

    fn value(&self) -> Option<Node<'a>> {
        self.node.at(&["patch", "value"]).filter(|_| self.operation() != "REMOVE")
    }

    /// The kind of proxies' configuration that it applies to.
    fn context(&self) -> &'a str {
        self.node.field("match").and_then(|matches| matches.text("context")).unwrap_or(ANY)
    }

    fn meets(&self, other: &Self) -> bool {
        let (one, other) = (self.context(), other.context());
        one == other || one == ANY || other == ANY
    }

    /// The routes that it adds.
    fn routes(&self) -> Vec<Node<'a>> {
        match (self.target(), self.value()) {
            ("HTTP_ROUTE", Some(value)) => vec![value],
            ("VIRTUAL_HOST", Some(value)) => value.list("routes"),
            _ => Vec::new(),
        }
    }

    /// The connection managers that it adds, or changes in part.
    fn managers(&self) -> Vec<Node<'a>> {
        let Some(value) = self.value() else { return Vec::new() };
        let place = self.node.at(&["match", "listener", "filterChain", "filter"]);
        if place.and_then(|filter| filter.text("name")).is_some_and(|name| name != MANAGER) {
            return Vec::new();
        }
        match (self.target(), self.operation()) {
            ("NETWORK_FILTER", "MERGE") => value.field("typed_config").into_iter().collect(),
            (
                "NETWORK_FILTER" | "FILTER_CHAIN" | "LISTENER",
                "ADD" | "INSERT_FIRST" | "INSERT_BEFORE" | "INSERT_AFTER" | "REPLACE",
            ) => {
                let mut managers = Vec::new();
                value.walk(&mut |node| {
                    if node.is("HttpConnectionManager") {
                        managers.push(node.clone());
                    }
                });
                managers
            }
            _ => Vec::new(),
        }
    }
}

const ANY: &str = "ANY";
const MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// A client's own headers are removed in every context in which a route obeys them.
fn removals(
    filter: &Node<'_>,
    config: &Config,
    patches: &[&Patch<'_, '_>],
    obeying: &[Obeying<'_, '_>],
    findings: &mut Findings,
) {
    let managers = |meets: &dyn Fn(&Patch<'_, '_>) -> bool| {
        let meeting = patches.iter().filter(|patch| meets(patch));
        meeting.flat_map(|patch| patch.managers()).collect::<Vec<_>>()
    };
    if obeying.is_empty() {
        routes::clients_headers(filter, &managers(&|_| true), Some(config), findings);
    }
    for Obeying { patch, .. } in obeying {
        routes::clients_headers(filter, &managers(&|other| other.meets(patch)), Some(config), findings);
    }
}

/// The filter's headers on an upstream's answer: removed by the added routes, or by a patch of what is around them.
fn answers(
    filter: &Node<'_>,
    patches: &[&Patch<'_, '_>],
    obeying: &[Obeying<'_, '_>],
    findings: &mut Findings,
) {
    let around: Vec<&str> = patches
        .iter()
        .filter(|patch| patch.target() != "HTTP_ROUTE")
        .filter_map(|patch| patch.value())
        .flat_map(|value| routes::removed_from_answers(&value))
        .collect();
    let missing = |header: &&str| {
        let removes = |removed: &[&str]| removed.iter().any(|name| name.eq_ignore_ascii_case(header));
        !removes(&around) && obeying.iter().any(|one| !removes(&routes::removed_from_answers(&one.route)))
    };
    let missing = [CLUSTER, MIRROR, SHADOW].into_iter().filter(missing);
    routes::warn_of_answers(filter, missing, "response_headers_to_remove", findings);
}

/// Envoy copies requests only on a route with a policy for it.
fn mirrors(filter: &Node<'_>, config: &Config, obeying: &[Obeying<'_, '_>], findings: &mut Findings) {
    let mirrored = config.rollouts.iter().find(|rollout| routes::is_copied_by_envoy(rollout));
    if let Some(rollout) = mirrored.filter(|_| !obeying.iter().any(Obeying::copies)) {
        findings.error(
            filter,
            format_args!(
                "nothing of rollout {:?} would be mirrored: no patch adds a route with `request_mirror_policies` and \
                 `cluster_header: {MIRROR}` in it; expected the mirror route of envoy/istio.yaml",
                rollout.name
            ),
        );
    }
}

impl Obeying<'_, '_> {
    fn copies(&self) -> bool {
        routes::mirror_policy(&self.route).is_some()
    }
}

/// The contexts in which routes are added, of which each has lists of its own.
fn contexts(patches: &[&Patch<'_, '_>]) -> Vec<&'static str> {
    let adds = |context| patches.iter().any(|patch| patch.context() == context && !patch.routes().is_empty());
    let found: Vec<&str> =
        ["GATEWAY", "SIDECAR_OUTBOUND"].into_iter().filter(|context| adds(*context)).collect();
    if found.is_empty() { vec!["GATEWAY"] } else { found }
}

/// Where the added routes come to stand, and where requests end.
fn placed(
    filter: &Node<'_>,
    config: &Config,
    patches: &[&Patch<'_, '_>],
    services: &[Service<'_>],
    set: &[Node<'_>],
    findings: &mut Findings,
) {
    let hosts = Host::all(services, patches, set);
    let obeying: Vec<&Patch<'_, '_>> =
        patches.iter().filter(|patch| patch.routes().iter().any(obeys)).copied().collect();
    let unknown = Host::unknown(&obeying);
    for patch in &obeying {
        let is_inserted = matches!(
            patch.operation(),
            "ADD" | "INSERT_FIRST" | "INSERT_BEFORE" | "INSERT_AFTER" | "REPLACE"
        );
        let is_placed = hosts.iter().any(|host| host.has(patch));
        // In a virtual host of its own the routes stand as they are written.
        let is_first = match patch.target() {
            "VIRTUAL_HOST" => patch.operation() == "ADD",
            _ => matches!(patch.operation(), "INSERT_FIRST" | "INSERT_BEFORE"),
        };
        if !is_inserted || !(is_placed || is_first) {
            below(patch, "the ordinary one", findings);
        } else if !is_placed && !services.is_empty() {
            let route = patch.place(&["vhost", "route"]);
            let name = route.and_then(|route| route.text("name")).unwrap_or_default();
            let place = patch.place(&[]).map(|place| place.value.to_string()).unwrap_or_default();
            if services.iter().any(|service| service.has_route(name)) || name.is_empty() {
                findings.warning(
                    &patch.node,
                    format_args!("nothing in these files is what it is for ({place}): Istio skips a patch that matches nothing"),
                );
            } else {
                findings.warning(
                    &patch.node,
                    format_args!("no VirtualService of these files has a route {name:?}: Istio skips a patch that matches nothing"),
                );
            }
        }
    }
    let asking: Vec<&Host<'_, '_>> = hosts.iter().filter(|host| host.asks()).collect();
    for rollout in &config.rollouts {
        let taking: Vec<&&Host<'_, '_>> = asking.iter().filter(|host| host.takes(rollout, &hosts)).collect();
        if taking.is_empty() {
            if let Some(service) = asking.iter().find_map(|host| host.service) {
                findings.warning(
                    &service.spec,
                    format_args!(
                        "the patches are for the hosts of this VirtualService, and rollout {:?} has others: nothing would obey the \
                         filter for {:?}",
                        rollout.name, rollout.matches.authority
                    ),
                );
            }
            versions(filter, rollout, &unknown, findings);
        }
        let parts = walk::parts(&rollout.matches);
        // A rollout for all hosts may have its ordinary route on one of them.
        let has_own = rollout.matches.authority.is_empty()
            && taking.iter().any(|host| parts.iter().any(|part| ordinary::is_right(host, rollout, part)));
        for host in taking {
            versions(filter, rollout, host, findings);
            if let Some(service) = host.service {
                let around = ordinary::Around { service: &service.spec, config, has_own };
                parts.iter().for_each(|part| ordinary::follow(host, &around, rollout, part, findings));
            }
        }
    }
}

fn below(patch: &Patch<'_, '_>, what: &str, findings: &mut Findings) {
    findings.error(
        &patch.node,
        format_args!(
            "the route that obeys the filter would stand below {what} ({}): the first that matches counts; expected `applyTo: \
             HTTP_ROUTE` with `operation: INSERT_FIRST`",
            patch.operation()
        ),
    );
}

/// Requests for which the filter has chosen a version come to it.
fn versions(filter: &Node<'_>, rollout: &Rollout, host: &Host<'_, '_>, findings: &mut Findings) {
    let copies = |route: &Route<'_, '_>| routes::mirror_policy(&route.node()).is_some();
    let shadows: Vec<Option<&str>> =
        walk::shadows(rollout).filter(|shadow| shadow.is_none() || host.routes.iter().any(copies)).collect();
    let parts = walk::parts(&rollout.matches);
    let through = |matches: &Match, cluster: &str, shadow: Option<&str>| {
        Walk::through(
            host.routes.iter().map(Route::node),
            &Requests { matches, cluster: Some(cluster), shadow },
        )
    };
    let ordinary = |matches: &Match| {
        let requests = Requests { matches, cluster: None, shadow: None };
        host.route(Walk::through(host.routes.iter().map(Route::node), &requests).rest.as_ref()?)
    };
    let leads = |route: &Node<'_>, cluster: &str| {
        host.route(route).map_or(Leads::Elsewhere, |route| route.leads(cluster, true))
    };
    let obeys = |route: &Node<'_>, cluster: &str| {
        leads(route, cluster) == Leads::There && host.route(route).is_some_and(Route::asks)
    };
    let is_led = |matches: &Match| {
        rollout.versions.values().any(|version| {
            let walk = through(matches, &version.cluster, None);
            walk.some.iter().chain(&walk.rest).any(|route| obeys(route, &version.cluster))
        })
    };
    let is_one_led = parts.iter().any(is_led);
    for matches in &parts {
        for (version, settings) in &rollout.versions {
            for shadow in &shadows {
                let cluster = settings.cluster.as_str();
                let walk = through(matches, cluster, *shadow);
                let rest = walk.rest.as_ref();
                let led = rest.map(|route| leads(route, cluster));
                if led == Some(Leads::There) {
                    if let (Some(ordinary), Some(chosen)) =
                        (ordinary(matches), rest.and_then(|route| host.route(route)))
                    {
                        ordinary::settings(ordinary, chosen, findings);
                    }
                    for route in walk.some.iter().filter(|route| leads(route, cluster) == Leads::Elsewhere) {
                        findings.warning(
                            route,
                            format_args!(
                                "it takes some of the requests of rollout {:?} before the route that obeys the filter: they count for a \
                                 version that does not serve them",
                                rollout.name
                            ),
                        );
                    }
                } else if let (Some(Leads::Unclear), Some(route)) = (led, rest) {
                    findings.note(
                        route,
                        format_args!(
                            "could not tell whether this route obeys the filter for rollout {:?}",
                            rollout.name
                        ),
                    );
                } else if let Some(route) = walk.some.iter().find(|route| obeys(route, cluster)) {
                    let condition = route.field("match").map(|matches| matches.value.to_string());
                    findings.warning(
                        route,
                        format_args!(
                            "the route takes only some of the requests of rollout {:?}, those with {}: the others go to stable and \
                             count for the version that the filter has chosen",
                            rollout.name,
                            condition.unwrap_or_default(),
                        ),
                    );
                } else if walk.is_unclear("that the filter has chosen", rollout, findings) {
                } else if let Some(hidden) = host.routes.iter().find(|route| {
                    let requests = Requests { matches, cluster: Some(cluster), shadow: *shadow };
                    obeys(&route.node(), cluster) && requests.taken_by(&route.node()) <= Taken::Some
                }) {
                    ends_above(hidden, rest.and_then(|route| host.route(route)), rollout, version, findings);
                } else if host.service.is_none() && *version == rollout.stable && is_led(matches) {
                    // The ordinary route is for stable as well.
                } else if is_one_led && !is_led(matches) {
                    findings.warning(
                        filter,
                        format_args!(
                            "no patch adds a route that obeys the filter for {} of rollout {:?}: they go to stable and count for the \
                             version that the filter has chosen",
                            walk::described(matches),
                            rollout.name
                        ),
                    );
                } else {
                    findings.error(
                        filter,
                        format_args!(
                            "no patch adds a route that obeys the filter for version {version:?} of rollout {:?}; expected one \
                             with `headers: [{{name: {CLUSTER}, present_match: true}}]` and `cluster_header: {CLUSTER}`",
                            rollout.name
                        ),
                    );
                }
            }
        }
    }
}

/// Reports a route that would obey and stands below the one that takes its requests.
fn ends_above(
    hidden: &Route<'_, '_>,
    above: Option<&Route<'_, '_>>,
    rollout: &Rollout,
    version: &str,
    findings: &mut Findings,
) {
    let Some(above) = above else { return };
    match (hidden.patch(), above.patch()) {
        (Some(patch), None) => below(patch, "the ordinary one", findings),
        // Of two EnvoyFilters that are equal in this, the older one is applied first.
        (Some(patch), Some(other))
            if patch.rank() == other.rank() && !std::ptr::eq(patch.resource.value, other.resource.value) =>
        {
            findings.note(
                above.place(),
                format_args!(
                    "could not tell whether it stands above the route that obeys the filter ({}): both EnvoyFilters have the same \
                     priority",
                    hidden.place()
                ),
            );
        }
        _ => findings.error(
            above.place(),
            format_args!(
                "requests of rollout {:?} for version {version:?} end here, above the route that obeys the filter ({}): of several \
                 INSERT_FIRST the last stands first; expected that one behind this",
                rollout.name,
                hidden.place()
            ),
        ),
    }
}

/// Whether an added route sends requests to the version that the filter has chosen: to the one in its header, or to the one
/// that the route is for.
fn obeys(route: &Node<'_>) -> bool {
    let has_cluster = || route.field("route").is_some_and(|action| action.text("cluster").is_some());
    routes::follows_header(route) || (routes::choice(route).is_some() && has_cluster())
}
