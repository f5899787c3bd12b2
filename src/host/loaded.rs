//! A configuration in use, with what this VM counts of its rollouts.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::metrics::Series;
use crate::config::schema::Config;
use crate::model::Share;
use crate::routing::plan::Plan;
use crate::telemetry::reader::Reader;
use crate::telemetry::tracked::Tracked;

/// A configuration in use.
pub(super) struct Loaded {
    pub(super) plan: Plan,
    pub(super) hash: u64,
    /// When it was loaded, by the clock that all VMs share.
    pub(super) loaded_at: u64,
    /// By rollout: what is counted for the judge, where there is one.
    pub(super) tracked: Vec<Option<Rc<Tracked>>>,
    /// By rollout and version.
    pub(super) series: Vec<Vec<Rc<Series>>>,
    /// By rollout: whether a request has come, and its weights are shown.
    pub(super) seen: Vec<Cell<bool>>,
    /// What its warnings are made of, until they are logged.
    pub(super) unlogged: RefCell<Option<Config>>,
}

impl Loaded {
    /// The series of a version.
    pub(super) fn series(&self, rollout: usize, version: usize) -> Option<&Series> {
        self.series.get(rollout)?.get(version).map(Rc::as_ref)
    }

    /// How bodies of a rollout are read, if they are.
    pub(super) fn reader(&self, rollout: usize) -> Option<&Reader> {
        self.plan.rollouts().get(rollout)?.reader()
    }

    /// What is counted of a rollout that is judged.
    pub(super) fn tracked(&self, rollout: usize) -> Option<&Tracked> {
        self.tracked.get(rollout)?.as_deref()
    }

    /// Shows a rollout's weights from its first request on.
    pub(super) fn show_weights(&self, rollout: usize) {
        if self.seen.get(rollout).is_none_or(|seen| seen.replace(true)) {
            return;
        }
        if let (Some(series), Some(rollout)) = (self.series.get(rollout), self.plan.rollouts().get(rollout)) {
            series.iter().zip(rollout.weights()).for_each(|(series, weight)| series.show_weight(weight));
        }
    }

    /// The series of the rollouts that are shown, with their weights in force.
    pub(super) fn weights(&self) -> impl Iterator<Item = (&Rc<Series>, Share)> {
        let rollouts = self.plan.rollouts().iter().zip(&self.series).zip(&self.seen);
        let shown = rollouts.filter(|(_, seen)| seen.get());
        shown.flat_map(|((rollout, series), _)| series.iter().zip(rollout.weights()))
    }
}

/// Where a plugin's configuration stands. Shared by all its roots in this VM, old and new.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) loaded: RefCell<Option<Rc<Loaded>>>,
    /// The fleet of its newest configuration, once there is one.
    pub(super) fleet: RefCell<Option<Option<String>>>,
}

impl Slot {
    /// The newest configuration that was accepted.
    pub(super) fn loaded(&self) -> Option<Rc<Loaded>> {
        self.loaded.borrow().clone()
    }
}
