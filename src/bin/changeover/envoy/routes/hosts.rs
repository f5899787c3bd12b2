//! Which virtual hosts the requests of a rollout come to.

use std::collections::{BTreeMap, BTreeSet};

use changeover::config::schema::Rollout;

use super::Node;

/// Which ports Envoy takes away from a name before it looks for a virtual host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stripped {
    None,
    /// The listener's own.
    One(u64),
    All,
}

impl Stripped {
    /// Those that a connection manager, on a listener with this port, and its routes take away.
    pub(super) fn of(manager: &Node<'_>, port: Option<u64>, routes: &Node<'_>) -> Self {
        let is_set = |node: &Node<'_>, field: &str| node.value.get(field) == Some(&true.into());
        if is_set(routes, "ignore_port_in_host_matching") || is_set(manager, "strip_any_host_port") {
            Self::All
        } else if is_set(manager, "strip_matching_host_port") {
            port.map_or(Self::None, Self::One)
        } else {
            Self::None
        }
    }

    fn from(self, name: &str) -> &str {
        let bare = without_port(name);
        match self {
            Self::All => bare,
            Self::One(port) if name.strip_prefix(bare) == Some(format!(":{port}").as_str()) => bare,
            _ => name,
        }
    }
}

/// Virtual hosts that requests to one listener can come to.
pub(crate) struct Hosts<H> {
    pub(crate) all: Vec<H>,
    /// Which of them have these domains, in lower case.
    exact: BTreeMap<String, usize>,
    /// `*…`, without the star, and `…*`; the longest first.
    suffixes: Vec<(String, usize)>,
    prefixes: Vec<(String, usize)>,
    any: Option<usize>,
    stripped: Stripped,
    /// Ports that stand in suffixes and prefixes.
    ports: BTreeSet<String>,
}

/// A virtual host, and its routes in their order.
pub(super) struct Host<'a> {
    pub(super) node: Node<'a>,
    pub(super) routes: Vec<Node<'a>>,
}

impl<'a> Hosts<Host<'a>> {
    /// Those of a route configuration.
    pub(super) fn of(routes: &Node<'a>, stripped: Stripped) -> Self {
        let all = routes.list("virtual_hosts").into_iter();
        let all = all.map(|node| Host { routes: node.list("routes"), node }).collect();
        Self::new(all, |host: &Host<'a>| domains(&host.node).collect(), stripped)
    }
}

impl Host<'_> {
    /// Names of its own, and those of these authorities that come to it.
    pub(super) fn names<'n>(
        &self,
        hosts: &Hosts<Self>,
        authorities: impl Iterator<Item = &'n String>,
    ) -> Vec<String> {
        const OTHER: &str = "zz--other";
        let is_here = |name: &String| {
            let chosen = hosts.chosen(hosts.stripped.from(name)).and_then(|(index, _)| hosts.all.get(index));
            chosen.is_some_and(|host| std::ptr::eq(host, self))
        };
        let own = domains(&self.node).map(|domain| domain.to_ascii_lowercase().replace('*', OTHER));
        authorities.map(|name| name.to_ascii_lowercase()).chain(own).filter(is_here).collect()
    }
}

impl<H> Hosts<H> {
    pub(crate) fn new(all: Vec<H>, domains: impl Fn(&H) -> Vec<&str>, stripped: Stripped) -> Self {
        let (mut exact, mut any) = (BTreeMap::new(), None);
        let (mut suffixes, mut prefixes) = (Vec::new(), Vec::new());
        let mut ports = BTreeSet::new();
        for (index, host) in all.iter().enumerate() {
            for domain in domains(host).into_iter().map(str::to_ascii_lowercase) {
                if domain == "*" {
                    any = Some(index);
                } else if let Some(suffix) = domain.strip_prefix('*') {
                    ports.extend(suffix.strip_prefix(without_port(suffix)).and_then(port));
                    suffixes.push((suffix.to_owned(), index));
                } else if let Some(prefix) = domain.strip_suffix('*') {
                    ports.extend(
                        prefix.strip_prefix(without_port(prefix)).and_then(port).map(|port| port + "1"),
                    );
                    prefixes.push((prefix.to_owned(), index));
                } else {
                    exact.insert(domain, index);
                }
            }
        }
        for wild in [&mut suffixes, &mut prefixes] {
            wild.sort_by_key(|(part, _)| std::cmp::Reverse(part.len()));
        }
        Self { all, exact, suffixes, prefixes, any, stripped, ports }
    }

    /// Those that Envoy chooses for a rollout's names; all of them where it has none. A name without a port has all ports, and
    /// a domain with one is chosen for it.
    pub(crate) fn taking(&self, rollout: &Rollout) -> Vec<&H> {
        if rollout.matches.authority.is_empty() {
            return self.all.iter().collect();
        }
        self.named(rollout).into_iter().filter_map(|index| self.all.get(index)).collect()
    }

    fn named(&self, rollout: &Rollout) -> BTreeSet<usize> {
        let mut taking = BTreeSet::new();
        for authority in &rollout.matches.authority {
            let authority = authority.to_ascii_lowercase();
            taking.extend(self.chosen(self.stripped.from(&authority)).map(|(index, _)| index));
            if self.stripped == Stripped::All || without_port(&authority) != authority {
                continue;
            }
            let with_port = format!("{authority}:");
            let from = self.exact.range(with_port.clone()..);
            let ports = from.take_while(|(domain, _)| domain.starts_with(&with_port));
            let ports = ports.filter(|(domain, _)| self.stripped.from(domain) == domain.as_str());
            taking.extend(ports.map(|(_, index)| *index));
            for port in &self.ports {
                let name = format!("{with_port}{port}");
                let chosen = self.chosen(self.stripped.from(&name));
                taking.extend(chosen.filter(|(_, has_port)| *has_port).map(|(index, _)| index));
            }
        }
        taking
    }

    /// Those that Envoy chooses besides for the same names with whatever port.
    pub(super) fn by_other_ports(&self, rollout: &Rollout) -> Vec<&H> {
        if self.stripped == Stripped::All {
            return Vec::new();
        }
        let named = self.named(rollout);
        let names = rollout.matches.authority.iter().filter(|name| without_port(name) == name.as_str());
        let others = names.filter_map(|name| self.chosen(&format!("{}:65519", name.to_ascii_lowercase())));
        let others: BTreeSet<usize> = others.map(|(index, _)| index).collect();
        others.difference(&named).filter_map(|index| self.all.get(*index)).collect()
    }

    /// The one that Envoy chooses for a name: an exact domain, else the longest `*…`, else the longest `…*`, else `*`; and
    /// whether the domain has a port.
    fn chosen(&self, name: &str) -> Option<(usize, bool)> {
        let holds = |part: &str| part.len() < name.len(); // a star is at least one letter
        let suffix = || self.suffixes.iter().find(|(part, _)| holds(part) && name.ends_with(part.as_str()));
        let prefix = || self.prefixes.iter().find(|(part, _)| holds(part) && name.starts_with(part.as_str()));
        let wild = || suffix().or_else(prefix).map(|(part, index)| (*index, part.contains(':')));
        let exact = self.exact.get(name).map(|index| (*index, without_port(name) != name));
        exact.or_else(wild).or(self.any.map(|index| (index, false)))
    }
}

fn port(part: &str) -> Option<String> {
    part.strip_prefix(':').map(str::to_owned)
}

/// A name without its port. An address of version 6 has its colons in brackets.
pub(crate) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => authority,
    }
}

fn domains<'a>(host: &Node<'a>) -> impl Iterator<Item = &'a str> {
    let domains = host.value.get("domains").and_then(|domains| domains.as_array());
    domains.into_iter().flatten().filter_map(|domain| domain.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn domains_are_chosen_as_envoy_does() {
        let routes = json!({"virtual_hosts": [
            {"name": "any", "domains": ["*"]},
            {"name": "longer", "domains": ["*.b.example.com", "other.example.com"]},
            {"name": "suffix", "domains": ["*.example.com"]},
            {"name": "prefix", "domains": ["a.*", "a.example.*"]},
            {"name": "exact", "domains": ["A.b.example.com", "c.example.com:8080"]},
        ]});
        let routes = Node::document("f", &routes);
        let rows = [
            ("a.b.example.com", vec!["exact"]),
            ("x.b.example.com", vec!["longer"]),
            ("a.example.com", vec!["suffix"]),
            ("a.example.org", vec!["prefix"]),
            ("OTHER.example.com", vec!["longer"]),
            ("example.com", vec!["any"]),
            ("c.example.com", vec!["suffix", "exact"]),
        ];
        for (authority, expected) in rows {
            let mut rollout = Rollout::default();
            rollout.matches.authority = vec![authority.to_owned()];
            let names: Vec<_> = Hosts::of(&routes, Stripped::None)
                .taking(&rollout)
                .iter()
                .filter_map(|host| host.node.text("name"))
                .collect();
            assert_eq!(names, expected, "{authority}");
        }
        assert_eq!(Hosts::of(&routes, Stripped::None).taking(&Rollout::default()).len(), 5);
    }

    /// A search through all domains for each host of each rollout would take hours.
    #[test]
    fn each_of_many_rollouts_finds_its_host() {
        let names: Vec<String> = (0..2_000).map(|number| format!("m{number}.example.com")).collect();
        let hosts: Vec<_> = names.iter().map(|name| json!({"name": name, "domains": [name]})).collect();
        let routes = json!({"virtual_hosts": hosts});
        let routes = Node::document("f", &routes);
        let hosts = Hosts::of(&routes, Stripped::None);
        for name in &names {
            let mut rollout = Rollout::default();
            rollout.matches.authority = vec![name.clone()];
            let found: Vec<_> =
                hosts.taking(&rollout).iter().filter_map(|host| host.node.text("name")).collect();
            assert_eq!(found, [name]);
        }
    }

    #[test]
    fn a_listeners_own_port_is_taken_away() {
        let routes = json!({"virtual_hosts": [
            {"name": "plain", "domains": ["a.example.com"]},
            {"name": "port", "domains": ["a.example.com:8080"]},
        ]});
        let routes = Node::document("f", &routes);
        let manager = json!({"strip_matching_host_port": true});
        let manager = Node::document("f", &manager);
        for (port, expected) in [(8080, vec!["plain"]), (80, vec!["plain", "port"])] {
            let mut rollout = Rollout::default();
            rollout.matches.authority = vec!["a.example.com".to_owned()];
            let hosts = Hosts::of(&routes, Stripped::of(&manager, Some(port), &routes));
            let names: Vec<_> =
                hosts.taking(&rollout).iter().filter_map(|host| host.node.text("name")).collect();
            assert_eq!(names, expected);
        }
        let any = json!({"strip_any_host_port": true});
        assert_eq!(Stripped::of(&Node::document("f", &any), None, &routes), Stripped::All);
    }

    #[test]
    fn a_port_counts_unless_envoy_ignores_it() {
        let hosts = json!([
            {"name": "plain", "domains": ["a.example.com"]},
            {"name": "port", "domains": ["a.example.com:8080"]},
        ]);
        let rows = [
            ("a.example.com", false, vec!["plain", "port"]),
            ("a.example.com", true, vec!["plain"]),
            ("a.example.com:8080", false, vec!["port"]),
            ("a.example.com:8080", true, vec!["plain"]),
            ("a.example.com:9090", false, vec![]),
            ("a.example.com:9090", true, vec!["plain"]),
        ];
        for (authority, ignores, expected) in rows {
            let routes = json!({"virtual_hosts": hosts});
            let stripped = if ignores { Stripped::All } else { Stripped::None };
            let mut rollout = Rollout::default();
            rollout.matches.authority = vec![authority.to_owned()];
            let hosts = Hosts::of(&Node::document("f", &routes), stripped);
            let names: Vec<_> =
                hosts.taking(&rollout).iter().filter_map(|host| host.node.text("name")).collect();
            assert_eq!(names, expected, "{authority}");
        }
        assert_eq!(without_port("[::1]"), "[::1]");
    }
}
