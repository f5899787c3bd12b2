//! Whether some conditions hold wherever others do.

use super::condition::{Match, ValueRule};
use super::one_of::{PathRule, ValueTest};
use crate::model::authority::without_port;

impl Match {
    /// Whether they hold for every request for which those of `inner` do.
    #[must_use]
    pub fn contains(&self, inner: &Self) -> bool {
        // Every field by name: a new one does not compile until it is compared.
        let Self {
            authority,
            prefix: _,
            path_separated_prefix: _,
            path: _,
            methods,
            headers,
            query,
            body: _,
        } = self;
        list_contains(authority, &inner.authority, covers_authority)
            && path_contains(self.path_rule(), inner.path_rule())
            && list_contains(methods, &inner.methods, |outer, inner| outer == inner)
            && headers.iter().all(|rule| {
                let same = |narrower: &&ValueRule| rule.name.eq_ignore_ascii_case(&narrower.name);
                inner.headers.iter().filter(same).any(|narrower| follows(rule, narrower))
            })
            && query.iter().all(|rule| {
                let same = |narrower: &&ValueRule| rule.name == narrower.name;
                inner.query.iter().filter(same).any(|narrower| follows(rule, narrower))
            })
    }
}

/// An empty list allows everything; otherwise each of `inner` must be covered by one of `outer`.
fn list_contains(outer: &[String], inner: &[String], covers: impl Fn(&str, &str) -> bool) -> bool {
    outer.is_empty()
        || (!inner.is_empty() && inner.iter().all(|inner| outer.iter().any(|outer| covers(outer, inner))))
}

/// A host without a port covers the host with one.
fn covers_authority(outer: &str, inner: &str) -> bool {
    let host = without_port(inner.as_bytes());
    outer.eq_ignore_ascii_case(inner) || host.is_some_and(|host| outer.as_bytes().eq_ignore_ascii_case(host))
}

fn path_contains(outer: PathRule<'_>, inner: PathRule<'_>) -> bool {
    use PathRule::{Any, Exact, Prefix, SeparatedPrefix};
    match (outer, inner) {
        (Any, _) => true,
        (_, Any) | (Exact(_), Prefix(_) | SeparatedPrefix(_)) => false,
        (Exact(outer), Exact(inner)) => outer == inner,
        (Prefix(outer), Exact(inner) | Prefix(inner) | SeparatedPrefix(inner)) => inner.starts_with(outer),
        (SeparatedPrefix(outer), Exact(inner) | SeparatedPrefix(inner)) => {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        (SeparatedPrefix(outer), Prefix(inner)) => {
            inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
        }
    }
}

/// Whether `rule` holds wherever `narrower`, of the same name, does.
fn follows(rule: &ValueRule, narrower: &ValueRule) -> bool {
    use ValueTest::{Exact, Prefix, Present};
    let (Some(test), Some(narrower_test)) = (rule.test(), narrower.test()) else { return false };
    match (test, narrower_test) {
        (Exact(value), Exact(narrower)) => value == narrower,
        (Prefix(prefix), Exact(value) | Prefix(value)) => value.starts_with(prefix),
        (Present(true), Exact(_) | Prefix(_)) => true,
        (Present(present), Present(narrower)) => present == narrower,
        (Exact(_), Prefix(_) | Present(_))
        | (Prefix(_), Present(_))
        | (Present(false), Exact(_) | Prefix(_)) => false,
    }
}
