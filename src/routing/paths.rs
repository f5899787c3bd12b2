//! Rollouts by path: a look-up costs a binary search, however many rollouts there are.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use crate::config::one_of::PathRule;

/// Positions of rollouts in the configuration, in ascending order.
pub(super) type Rollouts = Vec<u32>;

/// Rollouts by path, as they are collected.
#[derive(Default)]
pub(super) struct PathsBuilder {
    any: Rollouts,
    exact: HashMap<Box<[u8]>, Rollouts>,
    prefixes: BTreeMap<Box<[u8]>, OfPrefix>,
}

/// What a prefix leads to.
#[derive(Default)]
struct OfPrefix {
    /// Whatever follows it.
    any: Rollouts,
    /// If nothing follows it, or a `/`.
    separated: Rollouts,
}

impl PathsBuilder {
    /// Adds a rollout; rollouts come in the order of the configuration.
    pub(super) fn add(&mut self, rule: PathRule<'_>, rollout: u32) {
        match rule {
            PathRule::Any => self.any.push(rollout),
            PathRule::Exact(path) => self.exact.entry(path.as_bytes().into()).or_default().push(rollout),
            PathRule::Prefix(path) => {
                self.prefixes.entry(path.as_bytes().into()).or_default().any.push(rollout);
            }
            PathRule::SeparatedPrefix(path) => {
                self.prefixes.entry(path.as_bytes().into()).or_default().separated.push(rollout);
            }
        }
    }

    pub(super) fn build(self) -> Paths {
        let mut prefixes: Vec<Prefix> = Vec::with_capacity(self.prefixes.len());
        for (text, rollouts) in self.prefixes {
            // In sorted order a text's longest proper prefix is its predecessor or one of that one's own.
            let mut parent = prefixes.len().checked_sub(1);
            while let Some(candidate) = parent.and_then(|at| prefixes.get(at)) {
                if text.starts_with(&candidate.text) {
                    break;
                }
                parent = candidate.parent;
            }
            prefixes.push(Prefix { text, parent, rollouts });
        }
        Paths { any: self.any, exact: self.exact, prefixes }
    }
}

/// Rollouts by path.
pub(super) struct Paths {
    any: Rollouts,
    exact: HashMap<Box<[u8]>, Rollouts>,
    /// In the order of their texts.
    prefixes: Vec<Prefix>,
}

struct Prefix {
    text: Box<[u8]>,
    /// The longest other prefix that this one starts with.
    parent: Option<usize>,
    rollouts: OfPrefix,
}

impl Prefix {
    fn is_at_most(&self, path: &[u8]) -> bool {
        *self.text <= *path
    }
}

#[cfg(not(test))]
fn counted(prefix: &Prefix) -> &Prefix {
    prefix
}

#[cfg(test)]
thread_local! {
    /// Prefixes that look-ups have read.
    pub(super) static READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
fn counted(prefix: &Prefix) -> &Prefix {
    READ.set(READ.get() + 1);
    prefix
}

impl Paths {
    /// Whether any rollout asks for the path at all.
    pub(super) fn ask(&self) -> bool {
        !(self.exact.is_empty() && self.prefixes.is_empty())
    }

    /// Shows `visit` each list of rollouts about `path`, which is read only if one asks for it.
    pub(super) fn visit<'p>(
        &self,
        path: impl FnOnce() -> &'p [u8],
        visit: &mut impl FnMut(&[u32]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        visit(&self.any)?;
        if !self.ask() {
            return ControlFlow::Continue(());
        }
        let path = path();
        if let Some(rollouts) = self.exact.get(path) {
            visit(rollouts)?;
        }
        // Every prefix of the path sorts before it, and whatever sorts between the two starts with that
        // prefix too: so all of them are on the way up from the last text that is not behind the path.
        let mut at = self.prefixes.partition_point(|prefix| counted(prefix).is_at_most(path)).checked_sub(1);
        while let Some(prefix) = at.and_then(|at| self.prefixes.get(at)).map(counted) {
            if let Some(rest) = path.strip_prefix(&*prefix.text) {
                visit(&prefix.rollouts.any)?;
                if matches!(rest.first(), None | Some(b'/')) {
                    visit(&prefix.rollouts.separated)?;
                }
            }
            at = prefix.parent;
        }
        ControlFlow::Continue(())
    }
}
