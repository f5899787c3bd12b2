//! Which virtual hosts Envoy gets of the routes that are attached to Gateways.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::{namespace, of_kind};
use super::rules::{self, Rule};
use crate::envoy::Node;
use crate::envoy::routes::hosts::{Hosts, Stripped};

/// The hosts at a port of a Gateway. One that is not in the files has a single port.
pub(super) type Port<'a> = Hosts<Host<'a>>;

/// A virtual host: one for each hostname.
pub(super) struct Host<'a> {
    pub(super) domain: String,
    /// In the order in which Envoy tries them.
    pub(super) rules: Vec<Rule<'a>>,
    /// The listeners that it belongs to.
    pub(super) listeners: Vec<Listener<'a>>,
}

/// A listener of a Gateway, which may not be in the files.
#[derive(Clone)]
pub(super) struct Listener<'a> {
    pub(super) gateway: Option<Node<'a>>,
    pub(super) gateway_name: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: Option<&'a str>,
    hostname: Option<String>,
    port: Option<u64>,
}

/// The ports of all Gateways that routes are attached to.
pub(super) fn ports<'a>(set: &[Node<'a>]) -> Vec<Port<'a>> {
    let gateways: Vec<&Node<'a>> = of_kind(set, "Gateway").filter(|one| is_of_the_api(one)).collect();
    let keeps_order = of_kind(set, "EnvoyProxy")
        .any(|proxy| proxy.value.pointer("/spec/preserveRouteOrder") == Some(&true.into()));
    let mut ports: BTreeMap<_, BTreeMap<String, Host<'a>>> = BTreeMap::new();
    for route in of_kind(set, "HTTPRoute").chain(of_kind(set, "GRPCRoute")) {
        let Some(spec) = route.field("spec") else { continue };
        for listener in spec.list("parentRefs").iter().flat_map(|parent| listeners(parent, route, &gateways))
        {
            let port = ports.entry((listener.namespace, listener.gateway_name, listener.port)).or_default();
            for domain in domains(&spec, &listener) {
                let host = port.entry(domain.clone()).or_insert_with(|| Host {
                    domain,
                    rules: Vec::new(),
                    listeners: Vec::new(),
                });
                host.rules.extend(rules::of(route));
                host.listeners.push(listener.clone());
            }
        }
    }
    let sorted = |hosts: BTreeMap<String, Host<'a>>| {
        let mut hosts: Vec<Host<'a>> = hosts.into_values().collect();
        if !keeps_order {
            hosts.iter_mut().for_each(|host| rules::sort(&mut host.rules));
        }
        Hosts::new(hosts, |host| vec![host.domain.as_str()], Stripped::All)
    };
    ports.into_values().map(sorted).collect()
}

/// The routes that are attached nowhere, and have rules for versions.
pub(super) fn loose<'n, 'a>(
    set: &'n [Node<'a>],
    ports: &'n [Port<'a>],
) -> impl Iterator<Item = &'n Node<'a>> {
    let is_attached = |route: &Node<'_>| {
        let hosts = ports.iter().flat_map(|port| &port.all);
        hosts.flat_map(|host| &host.rules).any(|rule| std::ptr::eq(rule.route.value, route.value))
    };
    let routes = of_kind(set, "HTTPRoute").chain(of_kind(set, "GRPCRoute"));
    routes.filter(move |route| rules::of(route).iter().any(Rule::has_choice) && !is_attached(route))
}

fn is_of_the_api(gateway: &Node<'_>) -> bool {
    gateway.text("apiVersion").is_some_and(|version| version.starts_with("gateway.networking.k8s.io/"))
}

/// Whether two resources can be in one namespace. One that names none is put where kubectl is told to.
pub(super) fn is_same_namespace(one: &str, other: &str) -> bool {
    one == other || one.is_empty() || other.is_empty()
}

/// The listeners that a parent of a route stands for.
fn listeners<'a>(parent: &Node<'a>, route: &Node<'a>, gateways: &[&Node<'a>]) -> Vec<Listener<'a>> {
    let kind = parent.text("kind").unwrap_or("Gateway");
    if kind == "Service" {
        return Vec::new(); // a mesh
    }
    let own = namespace(route).unwrap_or_default();
    let listener = Listener {
        gateway: None,
        gateway_name: parent.text("name").unwrap_or_default(),
        namespace: parent.text("namespace").unwrap_or(own),
        name: parent.text("sectionName"),
        hostname: None,
        port: None,
    };
    let is_it = |gateway: &&&Node<'a>| {
        let name = gateway.field("metadata").and_then(|metadata| metadata.text("name"));
        kind == "Gateway"
            && name == Some(listener.gateway_name)
            && is_same_namespace(namespace(gateway).unwrap_or_default(), listener.namespace)
    };
    let Some(gateway) = gateways.iter().find(is_it) else { return vec![listener] };
    let all = gateway.field("spec").map(|spec| spec.list("listeners")).unwrap_or_default();
    let port = |node: &Node<'_>| node.value.get("port").and_then(Value::as_u64);
    let wanted = |one: &Node<'a>| {
        let from = one.value.pointer("/allowedRoutes/namespaces/from").and_then(Value::as_str);
        let is_allowed = !matches!(from, None | Some("Same"))
            || is_same_namespace(own, namespace(gateway).unwrap_or_default());
        is_allowed
            && listener.name.is_none_or(|name| one.text("name") == Some(name))
            && port(parent).is_none_or(|wanted| port(one) == Some(wanted))
    };
    let known = |one: Node<'a>| Listener {
        gateway: Some((**gateway).clone()),
        name: one.text("name"),
        hostname: one.text("hostname").filter(|name| !name.is_empty()).map(str::to_ascii_lowercase),
        port: port(&one),
        ..listener.clone()
    };
    all.into_iter().filter(|one| wanted(one)).map(known).collect()
}

/// The hostnames that a route has at a listener.
fn domains(spec: &Node<'_>, listener: &Listener<'_>) -> Vec<String> {
    let own = spec.value.get("hostnames").and_then(Value::as_array).into_iter().flatten();
    let own: Vec<String> = own.filter_map(Value::as_str).map(str::to_ascii_lowercase).collect();
    if own.is_empty() {
        return vec![listener.hostname.clone().unwrap_or_else(|| "*".into())];
    }
    let all = listener.gateway.as_ref().and_then(|gateway| gateway.field("spec"));
    let others = all.map(|spec| spec.list("listeners")).unwrap_or_default();
    let is_anothers = |domain: &String| {
        others.iter().any(|other| {
            other.text("name") != listener.name
                && other.value.get("port").and_then(Value::as_u64) == listener.port
                && other.text("hostname").is_some_and(|name| name.eq_ignore_ascii_case(domain))
        })
    };
    let both = |own: String| match &listener.hostname {
        None => Some(own),
        Some(name) => intersection(&own, name),
    };
    own.into_iter().filter_map(both).filter(|domain| !is_anothers(domain)).collect()
}

fn intersection(one: &str, other: &str) -> Option<String> {
    let covers = |wild: &str, name: &str| {
        let suffix = wild.strip_prefix('*');
        suffix
            .is_some_and(|suffix| name.trim_start_matches('*').ends_with(suffix) && name.len() > suffix.len())
    };
    if one == other || covers(other, one) {
        Some(one.to_owned())
    } else {
        covers(one, other).then(|| other.to_owned())
    }
}
