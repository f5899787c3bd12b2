//! The virtual hosts that Envoy gets of `VirtualService`s and of the patches that Istio applies to them, in their order.

use serde_json::Value;

use super::super::{Made, namespace, of_kind};
use super::ordinary::{self, is_same_service};
use super::{ANY, Patch, obeys};
use crate::envoy::Node;
use crate::envoy::routes::hosts::without_port;
use crate::envoy::routes::{CLUSTER, follows_header};
use changeover::config::schema::Rollout;

/// A `VirtualService`, and the routes that Istio makes of it.
pub(super) struct Service<'a> {
    pub(super) spec: Node<'a>,
    namespace: Option<&'a str>,
    /// With their names.
    made: Vec<(String, Made<'a>)>,
}

impl<'a> Service<'a> {
    pub(super) fn all(set: &[Node<'a>]) -> Vec<Self> {
        let services = of_kind(set, "VirtualService").filter_map(|resource| {
            let spec = resource.field("spec")?;
            let made = spec.list("http").iter().flat_map(ordinary::made).collect();
            Some(Self { spec, namespace: namespace(resource), made })
        });
        services.filter(|service| !service.made.is_empty()).collect()
    }

    /// Whether it has a route of this name, or one that is the beginning of it.
    pub(super) fn has_route(&self, wanted: &str) -> bool {
        self.made.iter().any(|(name, _)| name == wanted)
    }

    fn texts(&self, field: &str) -> Vec<String> {
        let list = self.spec.value.get(field).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_ascii_lowercase).collect()
    }
}

/// A virtual host.
pub(super) struct Host<'m, 'a> {
    /// `None`: a patch adds it, or no `VirtualService` for the patches is in the files.
    pub(super) service: Option<&'m Service<'a>>,
    /// The names that it is for.
    domains: Vec<String>,
    /// In the order in which Envoy tries them.
    pub(super) routes: Vec<Route<'m, 'a>>,
}

/// A route of a virtual host.
#[derive(Clone)]
pub(super) enum Route<'m, 'a> {
    /// Of the `VirtualService`. `is_changed`: a patch is merged into it.
    Own { name: &'m str, made: &'m Made<'a>, is_changed: bool },
    /// Of a patch.
    Added { patch: &'m Patch<'m, 'a>, node: Node<'a> },
}

/// Whether a route's requests go to a cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leads {
    There,
    Elsewhere,
    Unclear,
}

impl<'m, 'a> Route<'m, 'a> {
    pub(super) fn node(&self) -> Node<'_> {
        match self {
            Self::Own { made, .. } => made.node(),
            Self::Added { node, .. } => node.clone(),
        }
    }

    pub(super) fn is(&self, route: &Node<'_>) -> bool {
        match self {
            Self::Own { made, .. } => made.is(route),
            Self::Added { node, .. } => std::ptr::eq(node.value, route.value),
        }
    }

    /// Where it stands in the files.
    pub(super) fn place(&self) -> &Node<'a> {
        match self {
            Self::Own { made, .. } => &made.from,
            Self::Added { node, .. } => node,
        }
    }

    pub(super) fn patch(&self) -> Option<&'m Patch<'m, 'a>> {
        match self {
            Self::Own { .. } => None,
            Self::Added { patch, .. } => Some(patch),
        }
    }

    /// Whether it is for requests for which the filter has chosen.
    pub(super) fn asks(&self) -> bool {
        match self {
            Self::Own { made, .. } => {
                let headers = made.envoy.pointer("/match/headers").and_then(Value::as_array);
                let is_own = |header: &Value| {
                    header
                        .get("name")
                        .and_then(Value::as_str)
                        .is_some_and(|name| name.eq_ignore_ascii_case(CLUSTER))
                };
                headers.into_iter().flatten().any(is_own)
            }
            Self::Added { node, .. } => obeys(node),
        }
    }

    /// Whether its requests go to a cluster; `is_chosen`: the filter has named it.
    pub(super) fn leads(&self, cluster: &str, is_chosen: bool) -> Leads {
        match self {
            Self::Own { is_changed: true, .. } => Leads::Unclear,
            Self::Own { made, .. } => {
                let destinations = ordinary::destinations(&made.from);
                let there = destinations.iter().filter(|one| ordinary::leads(one, cluster)).count();
                match there {
                    0 if destinations.is_empty() && made.from.field("delegate").is_some() => Leads::Unclear,
                    0 => Leads::Elsewhere,
                    all if all == destinations.len() => Leads::There,
                    _ => Leads::Unclear,
                }
            }
            Self::Added { node, .. } => {
                let Some(action) = node.field("route") else { return Leads::Elsewhere };
                let is = |is_there| if is_there { Leads::There } else { Leads::Elsewhere };
                if follows_header(node) {
                    return is(is_chosen);
                }
                action.text("cluster").map_or(Leads::Unclear, |name| is(name == cluster))
            }
        }
    }

    /// Whether a patch is for it.
    fn is_selected(&self, patch: &Patch<'_, '_>) -> bool {
        let Some(wanted) = patch.place(&["vhost", "route"]) else { return true };
        let name = match self {
            Self::Own { name, .. } => name,
            Self::Added { node, .. } => node.text("name").unwrap_or_default(),
        };
        let place = self.place();
        let has = |fields: &[&str]| fields.iter().any(|field| place.field(field).is_some());
        let action = if has(&["redirect"]) {
            "REDIRECT"
        } else if has(&["directResponse", "direct_response"]) {
            "DIRECT_RESPONSE"
        } else {
            "ROUTE"
        };
        wanted.text("name").is_none_or(|wanted| wanted.is_empty() || wanted == name)
            && wanted.text("action").is_none_or(|wanted| wanted == ANY || wanted == action)
    }
}

impl<'m, 'a> Host<'m, 'a> {
    /// The hosts of services and patches in a context; the patches are in Istio's order.
    pub(super) fn all(
        services: &'m [Service<'a>],
        patches: &[&'m Patch<'m, 'a>],
        set: &[Node<'a>],
    ) -> Vec<Self> {
        let mut hosts = Vec::new();
        for service in services {
            for domain in service.texts("hosts") {
                let applied: Vec<&'m Patch<'m, 'a>> =
                    patches.iter().filter(|patch| is_for(patch, service, &domain, set)).copied().collect();
                let own = service.made.iter();
                let own = own.map(|(name, made)| Route::Own { name, made, is_changed: false }).collect();
                hosts.push(Self {
                    service: Some(service),
                    domains: vec![domain],
                    routes: patched(own, &applied),
                });
            }
        }
        for patch in
            patches.iter().filter(|patch| patch.target() == "VIRTUAL_HOST" && patch.operation() == "ADD")
        {
            let domains = patch.value().and_then(|value| value.value.get("domains")?.as_array().cloned());
            let domains = domains.into_iter().flatten();
            let domains = domains.filter_map(|name| Some(name.as_str()?.to_ascii_lowercase())).collect();
            hosts.push(Self { service: None, domains, routes: added(patch) });
        }
        hosts
    }

    /// What the patches add, where nothing says to what.
    pub(super) fn unknown(patches: &[&'m Patch<'m, 'a>]) -> Self {
        let mut routes = Vec::new();
        for patch in patches {
            match patch.operation() {
                "INSERT_FIRST" => routes = [added(patch), routes].concat(),
                _ => routes.extend(added(patch)),
            }
        }
        Self { service: None, domains: Vec::new(), routes }
    }

    pub(super) fn has(&self, patch: &Patch<'_, '_>) -> bool {
        let is_it = |other: &Patch<'_, '_>| std::ptr::eq(other.node.value, patch.node.value);
        self.routes.iter().any(|route| route.patch().is_some_and(is_it))
    }

    pub(super) fn asks(&self) -> bool {
        self.routes.iter().any(Route::asks)
    }

    /// How closely a name of it fits an authority; `None`: not at all. Of all hosts the closest gets the requests.
    fn fits(&self, authority: &str) -> Option<usize> {
        let authority = authority.to_ascii_lowercase();
        let name = without_port(&authority);
        let fit = |domain: &String| match domain.strip_prefix('*') {
            Some(suffix) => name.ends_with(suffix).then_some(suffix.len()),
            None => is_same_service(without_port(domain), name).then_some(usize::MAX),
        };
        self.domains.iter().filter_map(fit).max()
    }

    /// Whether requests of a rollout come to it, and not to another of these hosts.
    pub(super) fn takes(&self, rollout: &Rollout, hosts: &[Self]) -> bool {
        let authorities = &rollout.matches.authority;
        let is_closest = |authority: &String| {
            let own = self.fits(authority);
            own.is_some() && own == hosts.iter().filter_map(|host| host.fits(authority)).max()
        };
        authorities.is_empty() || authorities.iter().any(is_closest)
    }

    pub(super) fn route(&self, node: &Node<'_>) -> Option<&Route<'m, 'a>> {
        self.routes.iter().find(|route| route.is(node))
    }
}

fn added<'m, 'a>(patch: &'m Patch<'m, 'a>) -> Vec<Route<'m, 'a>> {
    patch.routes().into_iter().map(|node| Route::Added { patch, node }).collect()
}

/// Applies patches to the routes of a virtual host: first those to what is there, then those that add.
fn patched<'m, 'a>(own: Vec<Route<'m, 'a>>, patches: &[&'m Patch<'m, 'a>]) -> Vec<Route<'m, 'a>> {
    let mut routes = own;
    for patch in patches {
        match (patch.target(), patch.operation()) {
            ("VIRTUAL_HOST", "MERGE") => routes.extend(added(patch)),
            ("VIRTUAL_HOST", "REPLACE") => routes = added(patch),
            _ => {}
        }
    }
    for patch in patches.iter().filter(|patch| patch.target() == "HTTP_ROUTE") {
        if patch.operation() == "REMOVE" {
            routes.retain(|route| !route.is_selected(patch));
        }
        let changes = |value: &Node<'_>| {
            ["match", "route", "redirect", "direct_response"].iter().any(|field| value.field(field).is_some())
        };
        if patch.operation() == "MERGE" && patch.value().is_some_and(|value| changes(&value)) {
            for route in routes.iter_mut().filter(|route| route.is_selected(patch)) {
                if let Route::Own { is_changed, .. } = route {
                    *is_changed = true;
                }
            }
        }
    }
    for patch in patches.iter().filter(|patch| patch.target() == "HTTP_ROUTE") {
        let is_placed = patch.place(&["vhost", "route"]).is_some();
        let found = routes.iter().position(|route| route.is_selected(patch)).filter(|_| is_placed);
        let at = match (patch.operation(), found) {
            ("ADD", _) => routes.len(),
            ("INSERT_AFTER", None) if !is_placed => routes.len(),
            ("INSERT_AFTER", Some(found)) => found.saturating_add(1),
            ("INSERT_BEFORE" | "INSERT_FIRST", None) if !is_placed => 0,
            ("INSERT_BEFORE", Some(found)) => found,
            ("INSERT_FIRST", Some(_)) => 0,
            _ => continue,
        };
        routes.splice(at..at, added(patch));
    }
    routes
}

/// Whether a patch is for the virtual hosts of a `VirtualService` with this name, as far as the files say.
fn is_for(patch: &Patch<'_, '_>, service: &Service<'_>, domain: &str, set: &[Node<'_>]) -> bool {
    let Some(wanted) = patch.place(&[]) else { return true };
    let own = service.texts("gateways");
    let gateway = wanted.text("gateway").filter(|name| !name.is_empty());
    let is_gateway = |own: &str, wanted: &str| match (own.split_once('/'), wanted.split_once('/')) {
        (Some(own), Some(wanted)) => own == wanted,
        (None, Some((space, name))) => own == name && service.namespace.is_none_or(|own| own == space),
        (_, None) => false, // Istio compares both
    };
    if gateway.is_some_and(|wanted| !own.iter().any(|own| is_gateway(own, wanted))) && !own.is_empty() {
        return false;
    }
    let ports = ports(&own, gateway, service, set);
    let is_port = |wanted: u64| ports.as_ref().is_none_or(|ports| ports.contains(&wanted));
    if !wanted.number("portNumber").is_none_or(|port| port == 0 || is_port(port)) {
        return false;
    }
    let Some(name) = wanted.field("vhost").and_then(|host| host.text("name")).filter(|name| !name.is_empty())
    else {
        return true;
    };
    // Istio adds a port to each name.
    let Some((name, Ok(port))) = name.rsplit_once(':').map(|(name, port)| (name, port.parse())) else {
        return false;
    };
    let name = name.to_ascii_lowercase();
    let is_below = |suffix: &str| name.ends_with(suffix);
    (is_same_service(domain, &name) || domain.strip_prefix('*').is_some_and(is_below)) && is_port(port)
}

/// The ports of the gateways of a `VirtualService`, if all are in the files.
fn ports(own: &[String], only: Option<&str>, service: &Service<'_>, set: &[Node<'_>]) -> Option<Vec<u64>> {
    let mut ports = Vec::new();
    let used = own.iter().filter(|own| only.is_none_or(|only| only == own.as_str() || !own.contains('/')));
    for wanted in used {
        let (space, name) = wanted
            .split_once('/')
            .map_or((service.namespace, wanted.as_str()), |(space, name)| (Some(space), name));
        let gateway = of_kind(set, "Gateway").find(|gateway| {
            gateway.text("apiVersion").is_some_and(|version| version.starts_with("networking.istio.io/"))
                && super::super::name(gateway) == Some(name)
                && (space.is_none() || namespace(gateway).is_none() || namespace(gateway) == space)
        })?;
        let servers = gateway.field("spec").map(|spec| spec.list("servers")).unwrap_or_default();
        ports.extend(servers.iter().filter_map(|server| server.field("port")?.number("number")));
    }
    (!ports.is_empty()).then_some(ports)
}
