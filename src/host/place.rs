//! The rollout of a task, as one configuration has it.

use std::rc::Rc;

use super::calls::{self, Metric};
use super::defined::Defined;
use super::loaded::Loaded;
use crate::routing::automation::Automation;
use crate::routing::plan::Rollout;
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

    pub(super) fn cluster(&self, version: usize) -> Option<&str> {
        Some(&self.rollout()?.versions.get(version)?.cluster)
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
        self.rollout().and_then(counter).into_iter().for_each(calls::increment);
    }
}
