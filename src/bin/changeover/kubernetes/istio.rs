//! What Istio needs beside the filter: the patches of an `EnvoyFilter`, and a route of a `VirtualService`.

mod ordinary;
mod workloads;

use changeover::config::schema::{Config, Match};

use super::{clusters, of_kind};
use crate::envoy::routes::taken::Requests;
use crate::envoy::routes::walk::{self, Walk};
use crate::envoy::routes::{self, CLUSTER, MIRROR, SHADOW};
use crate::envoy::{Findings, Node};

/// Checks the resources around a filter, which stands in one of them.
pub(super) fn check(
    filter: &Node<'_>,
    resource: &Node<'_>,
    config: &Config,
    set: &[Node<'_>],
    findings: &mut Findings,
) {
    let patches: Vec<Patch<'_, '_>> = of_kind(set, "EnvoyFilter").flat_map(Patch::of).collect();
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
        .filter(|obeying| routes::follows_header(&obeying.route))
        .collect();
    removals(filter, config, &patches, &obeying, findings);
    for Obeying { patch, .. } in &obeying {
        // In a virtual host of its own the routes stand as they are written.
        let is_first = match patch.target() {
            "VIRTUAL_HOST" => patch.operation() == "ADD",
            _ => matches!(patch.operation(), "INSERT_FIRST" | "INSERT_BEFORE"),
        };
        if !is_first {
            findings.error(
                &patch.node,
                format_args!(
                    "the route that obeys the filter would stand below the ordinary one ({}): the first that matches \
                     counts; expected `applyTo: HTTP_ROUTE` with `operation: INSERT_FIRST`",
                    patch.operation()
                ),
            );
        }
    }
    ordinary::check(obeying.iter().map(|obeying| &obeying.patch.node), config, set, findings);
    answers(filter, &patches, &obeying, findings);
    mirrors(filter, config, &obeying, findings);
    versions(filter, config, &obeying, findings);
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

/// The added routes take all requests for which the filter chooses a version.
fn versions(filter: &Node<'_>, config: &Config, obeying: &[Obeying<'_, '_>], findings: &mut Findings) {
    for rollout in &config.rollouts {
        let shadows = walk::shadows(rollout)
            .filter(|shadow| shadow.is_none() || obeying.iter().any(Obeying::copies))
            .collect::<Vec<_>>();
        let parts = walk::parts(&rollout.matches);
        let routes = || obeying.iter().map(|one| one.route.clone());
        let is_led = |matches: &Match| {
            rollout.versions.values().any(|version| {
                let cluster = Some(version.cluster.as_str());
                let walk = Walk::through(routes(), &Requests { matches, cluster, shadow: None });
                walk.rest.is_some() || !walk.some.is_empty()
            })
        };
        let is_one_led = parts.iter().any(is_led);
        for matches in &parts {
            for (version, settings) in &rollout.versions {
                for shadow in &shadows {
                    let cluster = Some(settings.cluster.as_str());
                    let requests = Requests { matches, cluster, shadow: *shadow };
                    let walk = Walk::through(routes(), &requests);
                    if walk.rest.is_some() {
                        continue;
                    }
                    if let Some(route) = walk.some.first() {
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
}
