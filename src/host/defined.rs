//! Metrics of rollouts whose labels are known when they are first used.

use std::cell::RefCell;

use super::calls::{self, Metric};
use crate::model::SortedMap;
use crate::routing::plan::Rollout;
use crate::telemetry::series;

/// The ids of metrics, by the rollout's name and what they are about.
pub(super) struct Defined<A>(RefCell<SortedMap<String, SortedMap<A, u32>>>);

impl<A> Default for Defined<A> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<A: Ord> Defined<A> {
    /// A metric's id; `name`: what it is called.
    pub(super) fn id(
        &self,
        rollout: &Rollout,
        kind: Metric,
        about: A,
        name: impl FnOnce(&A, &series::Rollout) -> String,
    ) -> Option<u32> {
        let mut all = self.0.borrow_mut();
        if all.get(&rollout.name).is_none() {
            all.insert(rollout.name.clone(), SortedMap::default());
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
