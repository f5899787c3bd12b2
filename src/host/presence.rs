//! This VM's place among those of this Envoy, and what it shows there.

use std::cell::Cell;

use super::calls::{self, Metric};
use super::shared;
use crate::telemetry::presence::Table;
use crate::telemetry::series;

/// The table's key in shared data.
const KEY: &str = "presence";
/// How often a lost race is run again before the next tick gets its turn.
const TRIES: usize = 8;

/// Nanoseconds within which a VM that lives is heard of: some beats.
const RECENT: u64 = 3_500_000_000;

/// The VMs that live, by their numbers.
pub(super) fn alive() -> Vec<(usize, u64)> {
    let (bytes, _) = calls::shared(&shared::key(KEY)).unwrap_or_default();
    Table::decode(&bytes).heard_within(RECENT, calls::uptime()).collect()
}

/// This VM.
pub(super) struct Presence {
    vm: u64,
    /// Its number, and the metric that goes with it.
    gauge: Cell<Option<(usize, u32)>>,
}

impl Presence {
    /// `vm` tells VMs apart; 0 is nobody.
    pub(super) fn new(vm: u64) -> Self {
        Self { vm, gauge: Cell::new(None) }
    }

    /// Says that this VM is there and which configuration it uses. Returns its number.
    pub(super) fn beat(&self, config_hash: u64) -> Option<usize> {
        let (number, gone) = self.take_place()?;
        for gone in gone {
            log::warn!("worker {gone} no longer answers: its VM has failed, or Envoy is stopping it");
            if let Some(gauge) = calls::define_metric(Metric::Gauge, &series::config_hash(gone)) {
                calls::record(gauge, 0);
            }
        }
        if self.gauge.get().is_none_or(|(known, _)| known != number) {
            let gauge = calls::define_metric(Metric::Gauge, &series::config_hash(number));
            self.gauge.set(gauge.map(|gauge| (number, gauge)));
        }
        if let Some((_, gauge)) = self.gauge.get() {
            calls::record(gauge, config_hash);
        }
        Some(number)
    }

    /// This VM's number, once it has one.
    pub(super) fn number(&self) -> Option<usize> {
        self.gauge.get().map(|(number, _)| number)
    }

    fn take_place(&self) -> Option<(usize, Vec<usize>)> {
        let key = shared::key(KEY);
        for _ in 0..TRIES {
            let (bytes, cas) = calls::shared(&key).unwrap_or_default();
            let mut table = Table::decode(&bytes);
            let place = table.beat(self.vm, calls::uptime())?;
            // Two that write the very first table overwrite each other; the next beat mends it.
            if calls::set_shared(&key, &table.encode(), cas) {
                return Some(place);
            }
        }
        None
    }
}
