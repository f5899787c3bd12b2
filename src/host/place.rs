//! The rollout of a task, as one configuration has it.

use std::rc::Rc;

use super::calls::{self, Metric};
use super::defined::Defined;
use super::loaded::Loaded;
use super::metrics::Series;
use crate::automation::task::InForce;
use crate::routing::automation::Automation;
use crate::routing::plan::{self, Rollout};
use crate::telemetry::tasks::About;

/// The rollout of a task, as one configuration has it.
#[derive(Clone)]
pub(super) struct Place {
    loaded: Rc<Loaded>,
    rollout: usize,
}

impl Place {
    pub(super) fn new(loaded: &Rc<Loaded>, rollout: usize) -> Self {
        Self { loaded: Rc::clone(loaded), rollout }
    }

    pub(super) fn rollout(&self) -> Option<&Rollout> {
        self.loaded.plan.rollouts().get(self.rollout)
    }

    pub(super) fn automation(&self) -> Option<&Automation> {
        self.rollout()?.automation()
    }

    /// What is in force for its tasks by the newest configuration of its plugin, and the attempt: commands reach no earlier one.
    /// `None`: it has none there.
    pub(super) fn in_force_by(&self, newest: &Rc<Loaded>) -> Option<(InForce, u64)> {
        let own = self.rollout()?;
        let is_newest = Rc::ptr_eq(&self.loaded, newest);
        let rollout = if is_newest { own } else { newest.plan.rollout(&own.name)? };
        rollout.automation()?;
        Some(rollout.tasks_in_force())
    }

    pub(super) fn cluster(&self, version: usize) -> Option<&str> {
        Some(&self.rollout()?.versions.get(version)?.cluster)
    }

    /// The series of people's version.
    pub(super) fn stable(&self) -> Option<&Series> {
        self.loaded.series(self.rollout, plan::STABLE)
    }

    /// The most that is held of a body.
    pub(super) fn max_body(&self) -> usize {
        self.automation().map_or(0, |automation| automation.max_body)
    }

    /// Whether people's answer to the same request is their decision.
    pub(super) fn decides_by_answer(&self) -> bool {
        self.automation().is_some_and(|automation| automation.decision.is_none())
    }

    /// Counts one in its metrics.
    pub(super) fn count(&self, metrics: &Defined<About>, about: About) {
        let counter = |rollout| metrics.id(rollout, Metric::Counter, about, About::name);
        if let Some(id) = self.rollout().and_then(counter) {
            calls::increment(id);
        }
    }
}
