//! Which routes and listeners Envoy Gateway's policies are for.

use changeover::config::schema::{Config, Rollout};
use serde_json::{Map, Value};

use super::super::{label, name, namespace, of_kind};
use super::attached::{Host, Listener, Port, is_same_namespace};
use super::rules::Rule;
use crate::envoy::routes::{self, INTERNAL, SHADOW};
use crate::envoy::{Findings, Node};

/// Something that a policy can be for: a resource, and one of its parts.
struct Target<'t, 'a> {
    kind: &'t str,
    name: &'t str,
    namespace: &'t str,
    section: Option<&'t str>,
    /// The resource, if it is in the files.
    resource: Option<&'t Node<'a>>,
}

/// How much of a target a policy is for. The smaller part has precedence.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Covered {
    No,
    Whole,
    Section,
}

fn covered(policy: &Node<'_>, target: &Target<'_, '_>) -> Covered {
    let Some(spec) = policy.field("spec") else { return Covered::No };
    let refs = spec.list("targetRefs").into_iter().chain(spec.field("targetRef"));
    let is_it = |one: &Node<'_>| {
        one.text("kind") == Some(target.kind)
            && one.text("name") == Some(target.name)
            && is_same_namespace(namespace(policy).unwrap_or_default(), target.namespace)
    };
    let by_ref = refs.filter(is_it).map(|one| match (one.text("sectionName"), target.section) {
        (None, _) => Covered::Whole,
        (Some(wanted), Some(section)) if wanted != section => Covered::No,
        (Some(_), None) if target.resource.is_some() => Covered::No,
        (Some(_), _) => Covered::Section,
    });
    let selectors = spec.list("targetSelectors").into_iter();
    let by_label = selectors.filter(|selector| selects(selector, target)).map(|_| Covered::Whole);
    by_ref.chain(by_label).max().unwrap_or(Covered::No)
}

fn selects(selector: &Node<'_>, target: &Target<'_, '_>) -> bool {
    let has = |(name, value): (&String, &Value)| {
        let Some(resource) = target.resource else { return true };
        resource.value.pointer("/metadata/labels").and_then(|labels| labels.get(name)) == Some(value)
    };
    let labels = selector.value.get("matchLabels").and_then(Value::as_object);
    selector.text("kind") == Some(target.kind) && labels.into_iter().flat_map(Map::iter).all(has)
}

fn gateway<'t, 'a>(listener: &'t Listener<'a>) -> Target<'t, 'a> {
    Target {
        kind: "Gateway",
        name: listener.gateway_name,
        namespace: listener.namespace,
        section: listener.name,
        resource: listener.gateway.as_ref(),
    }
}

/// Whether a filter of a policy runs on one of a host's rules, or one of a patch may.
pub(super) fn runs_at(policy: &Node<'_>, host: &Host<'_>) -> bool {
    host.rules.iter().any(|rule| covers(policy, rule, host))
}

fn covers(policy: &Node<'_>, rule: &Rule<'_>, host: &Host<'_>) -> bool {
    if policy.text("kind") != Some("EnvoyExtensionPolicy") {
        return true; // a patch
    }
    let route = Target {
        kind: rule.route.text("kind").unwrap_or_default(),
        name: name(&rule.route).unwrap_or_default(),
        namespace: namespace(&rule.route).unwrap_or_default(),
        section: rule.made.from.text("name"),
        resource: Some(&rule.route),
    };
    let covers = |target: &Target<'_, '_>| covered(policy, target) != Covered::No;
    covers(&route) || host.listeners.iter().map(gateway).any(|target| covers(&target))
}

/// Reports a filter that does not run on the ordinary rule: Envoy Gateway turns it on by the route that a request has before
/// it.
pub(super) fn runs_on(
    policy: &Node<'_>,
    rule: &Rule<'_>,
    host: &Host<'_>,
    rollout: &Rollout,
    findings: &mut Findings,
) {
    if !covers(policy, rule, host) {
        findings.error(
            policy,
            format_args!(
                "the filter does not run on the ordinary rule of rollout {:?} ({}), which requests have when they come to it: they stay \
                 there; expected {} or its Gateway in `targetRefs`",
                rollout.name,
                rule.made.from,
                label(rule.route.value),
            ),
        );
    }
}

/// A client's own headers are removed at every listener whose routes obey them.
pub(super) fn removals(
    filter: &Node<'_>,
    config: &Config,
    set: &[Node<'_>],
    ports: &[Port<'_>],
    findings: &mut Findings,
) {
    let policies: Vec<&Node<'_>> = of_kind(set, "ClientTrafficPolicy").collect();
    let hosts = ports.iter().flat_map(|port| &port.all);
    let obeying = hosts.filter(|host| host.rules.iter().any(Rule::has_choice));
    let listeners: Vec<&Listener<'_>> = obeying.flat_map(|host| &host.listeners).collect();
    if listeners.is_empty() {
        removed(filter, config, &policies, findings);
    }
    for listener in listeners {
        let target = gateway(listener);
        let strongest = policies.iter().map(|policy| covered(policy, &target)).max().unwrap_or(Covered::No);
        let is_in_force =
            |policy: &&&Node<'_>| strongest != Covered::No && covered(policy, &target) == strongest;
        let policies: Vec<&Node<'_>> = policies.iter().filter(is_in_force).copied().collect();
        removed(filter, config, &policies, findings);
    }
}

fn removed(filter: &Node<'_>, config: &Config, policies: &[&Node<'_>], findings: &mut Findings) {
    let early = |field: &str| {
        let at = format!("/spec/headers/earlyRequestHeaders/{field}");
        policies
            .iter()
            .filter_map(move |policy| policy.value.pointer(&at)?.as_array())
            .flatten()
            .collect::<Vec<_>>()
    };
    let mut removed: Vec<&str> = early("remove").into_iter().filter_map(Value::as_str).collect();
    for test in early("removeOnMatch") {
        let value = test.get("value").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
        let kind = test.get("type").and_then(Value::as_str).unwrap_or("Exact").to_ascii_lowercase();
        if routes::fits("", &kind, &value).is_none() {
            findings.note(
                filter,
                format_args!(
                    "could not tell which headers of clients the regular expression {value:?} removes"
                ),
            );
            let is_kept = |header: &&str| {
                *header == SHADOW && config.rollouts.iter().any(|one| one.trust_shadow_header)
            };
            removed.extend(INTERNAL.into_iter().filter(|header| !is_kept(header)));
            continue;
        }
        removed
            .extend(INTERNAL.into_iter().filter(|header| routes::fits(header, &kind, &value) == Some(true)));
    }
    let expected = |_: &str| {
        "expected it in `headers.earlyRequestHeaders.remove` of a ClientTrafficPolicy in these files that targets the Gateway"
            .to_owned()
    };
    routes::removed_headers(filter, &removed, Some(config), expected, findings);
}
