//! What each worker has counted and the leader has not judged.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::presence::VmId;
use super::shared::{self, Shared};
use crate::telemetry::ledger::Entry;

/// Ticks after which a worker that does not report is not waited for.
const SILENT: u64 = 3;

/// What one worker has counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The worker's VM.
    pub vm: VmId,
    /// The tick that was under way: of earlier ones all arrivals are in the report.
    pub tick: u64,
    /// By rollout, what has not been judged yet.
    pub rollouts: Vec<(String, Vec<Entry>)>,
}

/// Writes the report of the worker with that number.
pub fn write(shared: &mut impl Shared, worker: usize, report: &Report) -> bool {
    shared::write(shared, &key(worker), report)
}

/// The reports of workers that are alive and report.
pub fn lately(shared: &impl Shared, alive: &[(usize, VmId)], tick: u64) -> Vec<Report> {
    let report = |(worker, vm): &(usize, VmId)| {
        let report = shared::read::<Report>(shared, &key(*worker))?;
        (report.vm == *vm && report.tick.saturating_add(SILENT) >= tick).then_some(report)
    };
    alive.iter().filter_map(report).collect()
}

/// The reports of all workers, by rollout.
#[derive(Debug, Default)]
pub struct Merged {
    /// Of ticks before this one every worker has reported all arrivals.
    pub known_before: u64,
    /// In the order of their ticks.
    by_rollout: HashMap<String, Vec<Entry>>,
}

impl Merged {
    /// Puts reports together.
    #[must_use]
    pub fn of(reports: Vec<Report>) -> Self {
        let known_before = reports.iter().map(|report| report.tick).min().unwrap_or(0);
        let mut by_rollout: HashMap<String, Vec<Entry>> = HashMap::new();
        for (rollout, entries) in reports.into_iter().flat_map(|report| report.rollouts) {
            Entry::merge(by_rollout.entry(rollout).or_default(), entries);
        }
        Self { known_before, by_rollout }
    }

    /// Takes out what was counted of a rollout.
    pub fn take(&mut self, rollout: &str) -> Vec<Entry> {
        self.by_rollout.remove(rollout).unwrap_or_default()
    }
}

fn key(worker: usize) -> String {
    shared::key(&format!("report.{worker}"))
}
