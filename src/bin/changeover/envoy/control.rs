//! The control listener: where it is, what is behind its filter, and whether one is needed.

use std::fmt;

use changeover::config::release::Pause;
use changeover::config::schema::{Config, Rollout};
use changeover::model::authority::is_loopback;

use super::filters::{self, Filter};
use super::{Findings, Node, routes};

/// Checks the filter itself: it holds requests back at their headers, where Envoy by default stops the body, too.
pub(crate) fn plugin(filter: &Filter<'_>, findings: &mut Findings) {
    if filter.plugin.value.get("allow_on_headers_stop_iteration") != Some(&true.into()) {
        findings.error(
            &filter.plugin,
            "allow_on_headers_stop_iteration is not true: no command would be answered, for its body would not reach the \
             filter",
        );
    }
}

/// Checks where a listener is that has the filter.
pub(crate) fn address(listener: &Node<'_>, findings: &mut Findings) {
    let more = listener.list("additional_addresses");
    for place in std::iter::once(listener).chain(&more) {
        if let Some(address) = place.at(&["address", "socket_address"])
            && let Some(host) = address.text("address")
            && !is_loopback(host)
        {
            findings.warning(
                &address,
                format_args!(
                    "the control listener is on {host}: every client that reaches it can command the rollouts, over plain HTTP; \
                     expected 127.0.0.1"
                ),
            );
        }
    }
}

/// Checks the routes behind the filter: what they answer is answered when the filter is gone, and must not look
/// like it.
pub(crate) fn behind(manager: &Node<'_>, discovered: &[Node<'_>], findings: &mut Findings) {
    let Some(config) = routes::of(manager, discovered, findings) else { return };
    let routes: Vec<Node<'_>> =
        config.list("virtual_hosts").iter().flat_map(|host| host.list("routes")).collect();
    if routes.is_empty() {
        findings.error(&config, format_args!("the control listener has no route; {EXPECTED}"));
    }
    for route in &routes {
        let answer = route.field("direct_response");
        // Protobuf's JSON takes numbers as texts, too.
        let status = answer.as_ref().and_then(|answer| answer.value.get("status"));
        if !status.is_some_and(|status| *status == 503 || *status == "503") {
            findings.error(
                route,
                format_args!("a failed filter would look like a healthy control listener; {EXPECTED}"),
            );
        }
    }
}

const EXPECTED: &str = "expected nothing but `direct_response: {status: 503}`";

/// Whether a filter for a control listener stands somewhere in a document.
pub(crate) fn is_in(document: &Node<'_>) -> bool {
    let mut found = false;
    document.walk(&mut |node| {
        let configuration = filters::plugin(node).and_then(|plugin| filters::configuration(&plugin).ok());
        found |= configuration.is_some_and(|configuration| configuration.get("control").is_some());
    });
    found
}

/// Warns of steps that wait for a promotion if there is no control listener to promote by.
pub(crate) fn is_missing<'a>(
    place: &dyn fmt::Display,
    configs: impl IntoIterator<Item = &'a Config>,
    findings: &mut Findings,
) {
    let rollouts = configs.into_iter().flat_map(|config| &config.rollouts);
    let waiting: Vec<&str> =
        rollouts.filter(|rollout| waits(rollout)).map(|rollout| rollout.name.as_str()).collect();
    if !waiting.is_empty() {
        findings.warning(
            place,
            format_args!(
                "rollouts {waiting:?} have a step that waits for a promotion (`pause: {{}}`), and there is no control \
                 listener: the rollouts could not be promoted; copy it from envoy/control.yaml"
            ),
        );
    }
}

fn waits(rollout: &Rollout) -> bool {
    let for_a_person = Pause::default();
    rollout.steps.iter().flatten().any(|step| step.pause.as_ref() == Some(&for_a_person))
}
