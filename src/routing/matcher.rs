//! Which rollout a request belongs to: the first in the configuration whose conditions hold.
//!
//! Compiled into look-ups by authority and path, so that a thousand rollouts cost about what one does.
//! Rollouts with the same authority and path are tried one after another, by method and headers.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::paths::{Paths, PathsBuilder};
use super::request::{Facts, Request};
use crate::config::one_of::ValueTest;
use crate::config::schema::{Config, Match};
use crate::model::authority::without_port;

/// The compiled conditions of all rollouts.
pub struct Matcher {
    any_authority: Paths,
    by_authority: HashMap<Box<[u8]>, Paths>,
    /// By rollout: what the look-ups leave open.
    rules: Vec<Rules>,
    /// The headers the rules ask for; a rule names one by its position.
    header_names: Vec<String>,
}

#[derive(Default)]
struct Rules {
    methods: Vec<Vec<u8>>,
    headers: Vec<HeaderRule>,
    query: Vec<(Vec<u8>, Test)>,
}

struct HeaderRule {
    name: usize,
    test: Test,
}

enum Test {
    Exact(Vec<u8>),
    Prefix(Vec<u8>),
    Present(bool),
}

impl Test {
    fn new(test: ValueTest<'_>) -> Self {
        match test {
            ValueTest::Exact(exact) => Self::Exact(exact.as_bytes().to_vec()),
            ValueTest::Prefix(prefix) => Self::Prefix(prefix.as_bytes().to_vec()),
            ValueTest::Present(present) => Self::Present(present),
        }
    }

    fn holds(&self, value: Option<&[u8]>) -> bool {
        match (self, value) {
            (Test::Present(wanted), value) => *wanted == value.is_some(),
            (Test::Exact(wanted), Some(value)) => wanted == value,
            (Test::Prefix(wanted), Some(value)) => value.starts_with(wanted),
            (Test::Exact(_) | Test::Prefix(_), None) => false,
        }
    }
}

impl Matcher {
    /// Compiles the conditions of a valid configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self::of(&config.rollouts.iter().map(|rollout| &rollout.matches).collect::<Vec<_>>())
    }

    /// Compiles conditions; each is named by its position.
    #[must_use]
    pub(super) fn of(conditions: &[&Match]) -> Self {
        let mut any_authority = PathsBuilder::default();
        let mut by_authority: HashMap<Box<[u8]>, PathsBuilder> = HashMap::new();
        let mut header_names: Vec<String> = Vec::new();
        let mut header_ids: HashMap<String, usize> = HashMap::new();
        let mut rules = Vec::with_capacity(conditions.len());

        for (matches, index) in conditions.iter().zip(0_u32..) {
            let path = matches.path_rule();
            if matches.authority.is_empty() {
                any_authority.add(path, index);
            }
            let authorities = &matches.authority;
            for (at, authority) in authorities.iter().enumerate() {
                let earlier = authorities.iter().take(at);
                if !earlier.into_iter().any(|earlier| earlier.eq_ignore_ascii_case(authority)) {
                    let authority = authority.to_ascii_lowercase().into_bytes().into();
                    by_authority.entry(authority).or_default().add(path, index);
                }
            }
            let mut id_of = |name: &str| {
                let name = name.to_ascii_lowercase();
                *header_ids.entry(name).or_insert_with_key(|name| {
                    header_names.push(name.clone());
                    header_names.len().saturating_sub(1)
                })
            };
            rules.push(rules_of(matches, &mut id_of));
        }
        let by_authority =
            by_authority.into_iter().map(|(authority, paths)| (authority, paths.build())).collect();
        Self { any_authority: any_authority.build(), by_authority, rules, header_names }
    }

    /// The headers that may be asked for.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        let reads_path = self.any_authority.ask()
            || self.by_authority.values().any(Paths::ask)
            || self.rules.iter().any(|rules| !rules.query.is_empty());
        let reads_method = self.rules.iter().any(|rules| !rules.methods.is_empty());
        let own = [
            (!self.by_authority.is_empty()).then_some(":authority"),
            reads_path.then_some(":path"),
            reads_method.then_some(":method"),
        ];
        own.into_iter().flatten().chain(self.header_names.iter().map(String::as_str))
    }

    /// The position of the first rollout whose conditions the request fulfils.
    #[must_use]
    pub fn find<R: Request>(&self, facts: &Facts<'_, R>) -> Option<usize> {
        let mut best: Option<u32> = None;
        let mut look_at = |rollouts: &[u32]| {
            for &rollout in rollouts {
                if best.is_some_and(|best| best <= rollout) {
                    break;
                }
                if self.rules_hold(rollout, facts) {
                    best = Some(rollout);
                    break;
                }
            }
            // Nothing comes before the very first.
            if best == Some(0) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let authority = || facts.authority();
        let _ = self.visit(authority, || facts.path(), &mut look_at);
        best.and_then(|best| usize::try_from(best).ok())
    }

    /// Calls with the position of everything whose conditions the request fulfils, each once.
    pub(super) fn each<R: Request>(&self, facts: &Facts<'_, R>, mut call: impl FnMut(usize)) {
        let mut found: Vec<u32> = Vec::new();
        let mut look_at = |all: &[u32]| {
            for one in all.iter().filter(|one| self.rules_hold(**one, facts)) {
                // At the end, mostly: each list is in ascending order.
                if let Err(at) = found.binary_search(one) {
                    found.insert(at, *one);
                }
            }
            ControlFlow::Continue(())
        };
        let _ = self.visit(|| facts.authority(), || facts.path(), &mut look_at);
        found.into_iter().filter_map(|one| usize::try_from(one).ok()).for_each(&mut call);
    }

    /// Shows `visit` each list of rollouts that authority and path allow, in ascending order within a list.
    pub(crate) fn visit<'p>(
        &self,
        authority: impl FnOnce() -> &'p [u8],
        path: impl Fn() -> &'p [u8],
        visit: &mut impl FnMut(&[u32]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.any_authority.visit(&path, visit)?;
        if self.by_authority.is_empty() {
            return ControlFlow::Continue(());
        }
        let authority = authority();
        if let Some(paths) = self.by_authority.get(authority) {
            paths.visit(&path, visit)?;
        }
        match without_port(authority).and_then(|host| self.by_authority.get(host)) {
            Some(paths) => paths.visit(&path, visit),
            None => ControlFlow::Continue(()),
        }
    }

    fn rules_hold<R: Request>(&self, rollout: u32, facts: &Facts<'_, R>) -> bool {
        let Some(rules) = usize::try_from(rollout).ok().and_then(|rollout| self.rules.get(rollout)) else {
            return false;
        };
        (rules.methods.is_empty() || rules.methods.iter().any(|method| *method == *facts.method()))
            && rules
                .headers
                .iter()
                .all(|rule| rule.test.holds(facts.ruled_header(rule.name, &self.header_names)))
            && rules.query.iter().all(|(name, test)| test.holds(facts.parameter(name).as_deref()))
    }
}

fn rules_of(matches: &Match, id_of: &mut impl FnMut(&str) -> usize) -> Rules {
    let methods = matches.methods.iter().map(|method| method.clone().into_bytes()).collect();
    let headers = matches.headers.iter().filter_map(|rule| {
        let test = Test::new(rule.test()?);
        Some(HeaderRule { name: id_of(&rule.name), test })
    });
    let query = matches.query.iter().filter_map(|rule| {
        let test = Test::new(rule.test()?);
        Some((rule.name.clone().into_bytes(), test))
    });
    Rules { methods, headers: headers.collect(), query: query.collect() }
}

#[cfg(test)]
mod tests;
