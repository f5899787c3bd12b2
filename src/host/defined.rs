//! Metrics of rollouts whose labels are known when they are first used.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;

use super::calls::{self, Metric};
use crate::routing::plan::Rollout;
use crate::telemetry::series;

/// The ids of metrics, by the rollout's name and what they are about.
pub(super) struct Defined<A>(RefCell<HashMap<String, HashMap<A, u32>>>);

impl<A> Default for Defined<A> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<A: Eq + Hash> Defined<A> {
    /// A metric's id; `name`: what it is called.
    pub(super) fn id(
        &self,
        rollout: &Rollout,
        kind: Metric,
        about: A,
        name: impl FnOnce(&A, &series::Rollout) -> String,
    ) -> Option<u32> {
        let mut all = self.0.borrow_mut();
        if !all.contains_key(&rollout.name) {
            all.insert(rollout.name.clone(), HashMap::new());
        }
        let known = all.get_mut(&rollout.name)?;
        if let Some(id) = known.get(&about) {
            return Some(*id);
        }
        let of = series::Rollout { name: rollout.name.clone(), labels: rollout.labels.clone() };
        let id = calls::define_metric(kind, &name(&about, &of))?;
        known.insert(about, id);
        Some(id)
    }
}
