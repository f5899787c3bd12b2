//! Rollouts that no request can reach, because an earlier one takes whatever they match.

use std::ops::ControlFlow;

use super::matcher::Matcher;
use crate::config::one_of::{HeaderTest, PathRule};
use crate::config::report::{Path, Problems, Shown};
use crate::config::schema::{Config, HeaderRule, Match, Rollout};
use crate::model::authority::without_port;

/// Warns of each rollout of a valid configuration that one earlier rollout shadows completely. (A rollout
/// that only several earlier ones shadow together is not found.)
#[must_use]
pub fn warnings(config: &Config) -> Problems {
    let matcher = Matcher::new(config);
    let mut problems = Problems::default();
    for (index, rollout) in config.rollouts.iter().enumerate() {
        if let Some((earlier, name)) = shadowed_by(&matcher, config, index, rollout) {
            let path = Path::Root.field("rollouts");
            let path = path.index(index);
            let message = format!(
                "unreachable: rollouts[{earlier}] ({}) takes every request that it matches",
                Shown(name)
            );
            problems.add(&path.field("match"), message);
        }
    }
    problems
}

fn shadowed_by<'a>(
    matcher: &Matcher,
    config: &'a Config,
    index: usize,
    rollout: &Rollout,
) -> Option<(usize, &'a str)> {
    // Whatever takes all of a rollout's requests takes one with its first authority and its path as it
    // stands, so the look-ups for that request lead to it: no need to compare all with all.
    let authority = rollout.matches.authority.first().map(|authority| authority.to_ascii_lowercase());
    let path = match rollout.matches.path_rule() {
        PathRule::Any => "",
        PathRule::Exact(path) | PathRule::Prefix(path) | PathRule::SeparatedPrefix(path) => path,
    };
    let mut first: Option<(usize, &str)> = None;
    let mut look_at = |earlier: &[u32]| {
        for &earlier in earlier {
            let Some(earlier) = usize::try_from(earlier).ok().filter(|&earlier| earlier < index) else {
                break;
            };
            if first.is_some_and(|(first, _)| first <= earlier) {
                break;
            }
            let Some(other) = config.rollouts.get(earlier) else { break };
            if contains(&other.matches, &rollout.matches) {
                first = Some((earlier, &other.name));
                break;
            }
        }
        ControlFlow::Continue(())
    };
    let _ = matcher.visit(
        || authority.as_deref().unwrap_or_default().as_bytes(),
        || path.as_bytes(),
        &mut look_at,
    );
    first
}

/// Whether `outer` matches every request that `inner` does.
fn contains(outer: &Match, inner: &Match) -> bool {
    // Every field by name: a new one does not compile until it is compared.
    let Match { authority, prefix: _, path_separated_prefix: _, path: _, methods, headers, query, body: _ } =
        outer;
    list_contains(authority, &inner.authority, covers_authority)
        && path_contains(outer.path_rule(), inner.path_rule())
        && list_contains(methods, &inner.methods, |outer, inner| outer == inner)
        && headers.iter().all(|rule| {
            let same = |narrower: &&HeaderRule| rule.name.eq_ignore_ascii_case(&narrower.name);
            inner.headers.iter().filter(same).any(|narrower| follows(rule, narrower))
        })
        && query.iter().all(|rule| {
            let same = |narrower: &&HeaderRule| rule.name == narrower.name;
            inner.query.iter().filter(same).any(|narrower| follows(rule, narrower))
        })
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
fn follows(rule: &HeaderRule, narrower: &HeaderRule) -> bool {
    use HeaderTest::{Exact, Prefix, Present};
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

#[cfg(test)]
mod tests;
