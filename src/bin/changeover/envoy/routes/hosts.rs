//! Which virtual hosts the requests of a rollout come to.

use changeover::config::schema::Rollout;

use super::Node;

/// The virtual hosts that Envoy chooses for a rollout's names; all of them where it has none.
pub(super) fn of<'a>(routes: &Node<'a>, rollout: &Rollout) -> Vec<Node<'a>> {
    let hosts = routes.list("virtual_hosts");
    let authorities = &rollout.matches.authority;
    if authorities.is_empty() {
        return hosts;
    }
    let is_chosen = |host: &Node<'_>| {
        authorities.iter().any(|authority| {
            let authority = authority.to_ascii_lowercase();
            let with_port = format!("{authority}:");
            chosen(&hosts, &authority).is_some_and(|chosen| std::ptr::eq(chosen.value, host.value))
                || domains(host).any(|domain| domain.to_ascii_lowercase().starts_with(&with_port))
        })
    };
    hosts.iter().filter(|host| is_chosen(host)).cloned().collect()
}

/// The virtual host that Envoy chooses for a name: an exact domain, else the longest `*…`, else the longest `…*`, else
/// `*`.
fn chosen<'n, 'a>(hosts: &'n [Node<'a>], name: &str) -> Option<&'n Node<'a>> {
    let rank = |domain: &str| {
        let domain = domain.to_ascii_lowercase();
        let wild = |part: &str| (domain.len() <= name.len()).then_some(part.len());
        if domain == name {
            Some((3, 0))
        } else if domain == "*" {
            Some((0, 0))
        } else if let Some(suffix) = domain.strip_prefix('*').filter(|suffix| name.ends_with(suffix)) {
            Some((2, wild(suffix)?))
        } else if let Some(prefix) = domain.strip_suffix('*').filter(|prefix| name.starts_with(prefix)) {
            Some((1, wild(prefix)?))
        } else {
            None
        }
    };
    let best = |host: &Node<'_>| domains(host).filter_map(rank).max();
    hosts
        .iter()
        .filter_map(|host| Some((best(host)?, host)))
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, host)| host)
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
            let names: Vec<_> = of(&routes, &rollout).iter().filter_map(|host| host.text("name")).collect();
            assert_eq!(names, expected, "{authority}");
        }
        assert_eq!(of(&routes, &Rollout::default()).len(), 5);
    }
}
