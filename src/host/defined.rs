//! Metrics of rollouts whose labels are known when they are first used.

use std::cell::RefCell;

use super::calls::{self, Metric};
use crate::routing::plan::Rollout;
use crate::telemetry::{defined, series};

/// Their ids, by what they are about.
pub(super) struct Defined<A>(RefCell<defined::Defined<A>>);

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
        let define = |about: &A, of: &series::Rollout| calls::define_metric(kind, &name(about, of));
        self.0.borrow_mut().id((&rollout.name, &rollout.labels), about, define)
    }
}
