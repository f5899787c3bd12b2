//! Which virtual hosts the requests of a rollout come to.

use std::collections::{BTreeMap, BTreeSet};

use changeover::config::schema::Rollout;

use super::Node;

/// Virtual hosts that requests to one listener can come to.
pub(crate) struct Hosts<H> {
    pub(crate) all: Vec<H>,
    /// Which of them have these domains, in lower case.
    exact: BTreeMap<String, usize>,
    /// `*…`, without the star, and `…*`; the longest first.
    suffixes: Vec<(String, usize)>,
    prefixes: Vec<(String, usize)>,
    any: Option<usize>,
    /// Whether Envoy looks at a name without its port.
    ignores_port: bool,
}

impl<'a> Hosts<Node<'a>> {
    /// Those of a route configuration.
    pub(crate) fn of(routes: &Node<'a>) -> Self {
        let ignores_port = routes.value.get("ignore_port_in_host_matching") == Some(&true.into());
        Self::new(routes.list("virtual_hosts"), |host| domains(host).collect(), ignores_port)
    }
}

impl<H> Hosts<H> {
    pub(crate) fn new(all: Vec<H>, domains: impl Fn(&H) -> Vec<&str>, ignores_port: bool) -> Self {
        let (mut exact, mut any) = (BTreeMap::new(), None);
        let (mut suffixes, mut prefixes) = (Vec::new(), Vec::new());
        for (index, host) in all.iter().enumerate() {
            for domain in domains(host).into_iter().map(str::to_ascii_lowercase) {
                if domain == "*" {
                    any = Some(index);
                } else if let Some(suffix) = domain.strip_prefix('*') {
                    suffixes.push((suffix.to_owned(), index));
                } else if let Some(prefix) = domain.strip_suffix('*') {
                    prefixes.push((prefix.to_owned(), index));
                } else {
                    exact.insert(domain, index);
                }
            }
        }
        for wild in [&mut suffixes, &mut prefixes] {
            wild.sort_by_key(|(part, _)| std::cmp::Reverse(part.len()));
        }
        Self { all, exact, suffixes, prefixes, any, ignores_port }
    }

    /// Those that Envoy chooses for a rollout's names; all of them where it has none.
    pub(crate) fn taking(&self, rollout: &Rollout) -> Vec<&H> {
        let authorities = &rollout.matches.authority;
        if authorities.is_empty() {
            return self.all.iter().collect();
        }
        let mut taking = BTreeSet::new();
        for authority in authorities {
            let authority = authority.to_ascii_lowercase();
            let name = if self.ignores_port { without_port(&authority) } else { &authority };
            taking.extend(self.chosen(name));
            if !self.ignores_port {
                let with_port = format!("{authority}:");
                let from = self.exact.range(with_port.clone()..);
                let ports = from.take_while(|(domain, _)| domain.starts_with(&with_port));
                taking.extend(ports.map(|(_, index)| *index));
            }
        }
        taking.into_iter().filter_map(|index| self.all.get(index)).collect()
    }

    /// The one that Envoy chooses for a name: an exact domain, else the longest `*…`, else the longest `…*`, else `*`.
    fn chosen(&self, name: &str) -> Option<usize> {
        let holds = |part: &str| part.len() < name.len(); // a star is at least one letter
        let suffix = || self.suffixes.iter().find(|(part, _)| holds(part) && name.ends_with(part.as_str()));
        let prefix = || self.prefixes.iter().find(|(part, _)| holds(part) && name.starts_with(part.as_str()));
        let wild = || suffix().or_else(prefix).map(|(_, index)| *index);
        self.exact.get(name).copied().or_else(wild).or(self.any)
    }
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
            let names: Vec<_> =
                Hosts::of(&routes).taking(&rollout).iter().filter_map(|host| host.text("name")).collect();
            assert_eq!(names, expected, "{authority}");
        }
        assert_eq!(Hosts::of(&routes).taking(&Rollout::default()).len(), 5);
    }

    /// A search through all domains for each host of each rollout would take hours.
    #[test]
    fn each_of_many_rollouts_finds_its_host() {
        let names: Vec<String> = (0..2_000).map(|number| format!("m{number}.example.com")).collect();
        let hosts: Vec<_> = names.iter().map(|name| json!({"name": name, "domains": [name]})).collect();
        let routes = json!({"virtual_hosts": hosts});
        let routes = Node::document("f", &routes);
        let hosts = Hosts::of(&routes);
        for name in &names {
            let mut rollout = Rollout::default();
            rollout.matches.authority = vec![name.clone()];
            let found: Vec<_> = hosts.taking(&rollout).iter().filter_map(|host| host.text("name")).collect();
            assert_eq!(found, [name]);
        }
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
            let routes = json!({"virtual_hosts": hosts, "ignore_port_in_host_matching": ignores});
            let mut rollout = Rollout::default();
            rollout.matches.authority = vec![authority.to_owned()];
            let hosts = Hosts::of(&Node::document("f", &routes));
            let names: Vec<_> = hosts.taking(&rollout).iter().filter_map(|host| host.text("name")).collect();
            assert_eq!(names, expected, "{authority}");
        }
        assert_eq!(without_port("[::1]"), "[::1]");
    }
}
