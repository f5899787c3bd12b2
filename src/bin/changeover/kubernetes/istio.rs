//! What Istio needs beside the filter: the patches of an `EnvoyFilter`, and a route of a `VirtualService`.

use changeover::config::schema::{Config, Rollout};

use super::of_kind;
use crate::envoy::routes::taken::{Requests, Taken};
use crate::envoy::routes::{self, CLUSTER, MIRROR, SHADOW};
use crate::envoy::{Findings, Node};

/// Checks the resources around a filter.
pub(super) fn check(filter: &Node<'_>, config: &Config, set: &[Node<'_>], findings: &mut Findings) {
    let patches: Vec<Node<'_>> = of_kind(set, "EnvoyFilter")
        .filter_map(|resource| resource.field("spec"))
        .flat_map(|spec| spec.list("configPatches"))
        .collect();
    if patches.is_empty() {
        findings.error(
            filter,
            "nothing obeys the filter: there is no EnvoyFilter in these files; expected the patches of envoy/istio.yaml, in a \
             file that is checked together with this one",
        );
        return;
    }
    let managers: Vec<Node<'_>> =
        patches.iter().filter_map(|patch| patch.at(&["patch", "value", "typed_config"])).collect();
    routes::clients_headers(filter, &managers, Some(config), findings);
    let obeying: Vec<(&Node<'_>, Node<'_>)> = patches
        .iter()
        .flat_map(|patch| added(patch).into_iter().map(move |route| (patch, route)))
        .filter(|(_, route)| routes::follows_header(route))
        .collect();
    for (patch, _) in &obeying {
        let operation = patch.field("patch").and_then(|patch| patch.text("operation")).unwrap_or_default();
        // In a virtual host of its own the routes stand as they are written.
        let is_first = match patch.text("applyTo") {
            Some("VIRTUAL_HOST") => operation == "ADD",
            _ => matches!(operation, "INSERT_FIRST" | "INSERT_BEFORE"),
        };
        if !is_first {
            findings.error(
                *patch,
                format_args!(
                    "the route that obeys the filter would stand below the ordinary one ({operation}): the first that matches \
                     counts; expected `applyTo: HTTP_ROUTE` with `operation: INSERT_FIRST`"
                ),
            );
        }
        ordinary(patch, config, set, findings);
    }
    answers(filter, &patches, &obeying, findings);
    mirrors(filter, config, &obeying, findings);
    for rollout in &config.rollouts {
        for (version, settings) in &rollout.versions {
            let requests =
                Requests { matches: &rollout.matches, cluster: Some(&settings.cluster), shadow: None };
            if obeying.iter().all(|(_, route)| requests.taken_by(route) == Taken::None) {
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

/// The filter's headers on an upstream's answer: removed by the added routes, or by a patch of what is around them.
fn answers(
    filter: &Node<'_>,
    patches: &[Node<'_>],
    obeying: &[(&Node<'_>, Node<'_>)],
    findings: &mut Findings,
) {
    let around = patches.iter().filter(|patch| patch.text("applyTo") != Some("HTTP_ROUTE"));
    let around: Vec<&str> = around
        .filter_map(|patch| patch.at(&["patch", "value"]))
        .flat_map(|value| routes::removed_from_answers(&value))
        .collect();
    let missing = |header: &&str| {
        let removes = |removed: &[&str]| removed.iter().any(|name| name.eq_ignore_ascii_case(header));
        !removes(&around) && obeying.iter().any(|(_, route)| !removes(&routes::removed_from_answers(route)))
    };
    routes::warn_of_answers(filter, [CLUSTER, MIRROR, SHADOW].into_iter().filter(missing), findings);
}

/// Envoy copies requests only on a route with a policy for it.
fn mirrors(filter: &Node<'_>, config: &Config, obeying: &[(&Node<'_>, Node<'_>)], findings: &mut Findings) {
    let mirrored = config.rollouts.iter().find(|rollout| routes::is_copied_by_envoy(rollout));
    let has_policy = |(_, route): &(&Node<'_>, Node<'_>)| routes::mirror_policy(route).is_some();
    if let Some(rollout) = mirrored.filter(|_| !obeying.iter().any(has_policy)) {
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

/// The routes that a patch adds.
fn added<'a>(patch: &Node<'a>) -> Vec<Node<'a>> {
    let Some(value) = patch.at(&["patch", "value"]) else { return Vec::new() };
    match patch.text("applyTo") {
        Some("HTTP_ROUTE") => vec![value],
        Some("VIRTUAL_HOST") => value.list("routes"),
        _ => Vec::new(),
    }
}

/// Checks the `VirtualService` route that a patch finds by its name, where these files have any.
fn ordinary(patch: &Node<'_>, config: &Config, set: &[Node<'_>], findings: &mut Findings) {
    let place = patch.at(&["match", "routeConfiguration", "vhost", "route"]);
    let Some(name) = place.and_then(|route| route.text("name")) else { return };
    let routes: Vec<Node<'_>> = of_kind(set, "VirtualService")
        .filter_map(|service| service.field("spec"))
        .flat_map(|spec| spec.list("http"))
        .collect();
    if routes.is_empty() {
        return; // elsewhere
    }
    // A named `match` adds its name behind a dot.
    let is_named = |route: &&Node<'_>| {
        let own = route.text("name").unwrap_or_default();
        own == name || (!own.is_empty() && name.strip_prefix(own).is_some_and(|rest| rest.starts_with('.')))
    };
    let named: Vec<&Node<'_>> = routes.iter().filter(is_named).collect();
    if named.is_empty() {
        findings.warning(
            patch,
            format_args!("no VirtualService of these files has a route {name:?}: Istio skips a patch that matches nothing"),
        );
    }
    for target in named.iter().flat_map(|route| route.list("route")) {
        let Some(destination) = target.field("destination") else { continue };
        let host = destination.text("host").unwrap_or_default();
        let leads = |rollout: &Rollout, version: Option<&String>| {
            let cluster = version.and_then(|version| rollout.versions.get(version));
            cluster.is_some_and(|version| host_of(&version.cluster).is_none_or(|of| is_host(host, of)))
        };
        if config.rollouts.iter().any(|rollout| leads(rollout, Some(&rollout.stable))) {
            continue;
        }
        if config.rollouts.iter().any(|rollout| leads(rollout, rollout.candidate.as_ref())) {
            findings.warning(
                &destination,
                format_args!("the ordinary route leads to {host:?}, a candidate: correct only while its release is being finished"),
            );
        } else {
            findings.error(
                &destination,
                format_args!("the ordinary route leads to {host:?}, not to a stable version: that is where requests go when the filter fails"),
            );
        }
    }
}

/// The host in one of Istio's names for clusters, `outbound|PORT|SUBSET|HOST`.
fn host_of(cluster: &str) -> Option<&str> {
    cluster.strip_prefix("outbound|")?.splitn(3, '|').nth(2)
}

/// Whether a host in a resource, perhaps a short one, is this one.
fn is_host(host: &str, full: &str) -> bool {
    full.strip_prefix(host)
        .is_some_and(|rest| rest.is_empty() || (rest.starts_with('.') && !host.contains('.')))
}
