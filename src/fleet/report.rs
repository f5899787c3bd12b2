//! What each worker has counted and the leader has not judged.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::presence::VmId;
use super::shared::{self, Shared};
use crate::telemetry::ledger::Entry;

/// Ticks after which a worker that does not report is waited for only where it has said that requests have not ended.
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

/// The last reports of these workers.
pub fn read(shared: &impl Shared, workers: &[(usize, VmId)]) -> Vec<Report> {
    let report = |(worker, vm): &(usize, VmId)| {
        shared::read::<Report>(shared, &key(*worker)).filter(|report| report.vm == *vm)
    };
    workers.iter().filter_map(report).collect()
}

impl Report {
    /// Whether the ticks since are to wait for this worker's next one. If it is silent, what has become of open requests is not
    /// known, and to judge their ticks without them would spare a version that hangs.
    fn is_waited_for(&self, tick: u64) -> bool {
        let counts =
            || self.rollouts.iter().flat_map(|(_, entries)| entries).flat_map(|entry| entry.counts.iter());
        self.tick.saturating_add(SILENT) >= tick || counts().any(|(_, counts)| counts.open > 0)
    }
}

/// The reports of all workers, by rollout.
#[derive(Debug, Default)]
pub struct Merged {
    /// Of ticks before this one every worker that is waited for has reported all arrivals.
    pub known_before: u64,
    /// In the order of their ticks.
    by_rollout: HashMap<String, Vec<Entry>>,
}

impl Merged {
    /// Puts reports together, in this tick.
    #[must_use]
    pub fn of(reports: Vec<Report>, tick: u64) -> Self {
        let waited_for = reports.iter().filter(|report| report.is_waited_for(tick));
        let known_before = waited_for.map(|report| report.tick).min().unwrap_or(0);
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
