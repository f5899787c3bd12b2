//! This VM's place among those of this Envoy, and what it shows there.

use std::cell::Cell;

use super::calls::{self, Metric};
use crate::telemetry::presence::Table;
use crate::telemetry::series;

/// The table's key in shared data.
const KEY: &str = "changeover.presence";
/// How often a lost race is run again before the next tick gets its turn.
const TRIES: usize = 8;

/// This VM.
pub(super) struct Presence {
    vm: u64,
    /// Its number, and the metric that goes with it.
    gauge: Cell<Option<(usize, u32)>>,
}

impl Presence {
    /// `vm` tells VMs apart.
    pub(super) fn new(vm: u64) -> Self {
        Self { vm: vm.max(1), gauge: Cell::new(None) } // 0 is nobody
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

    fn take_place(&self) -> Option<(usize, Vec<usize>)> {
        for _ in 0..TRIES {
            let (bytes, cas) = calls::shared(KEY).unwrap_or_default();
            let mut table = Table::decode(&bytes);
            let place = table.beat(self.vm, calls::now())?;
            // Two that write the very first table overwrite each other; the next beat mends it.
            if calls::set_shared(KEY, &table.encode(), cas) {
                return Some(place);
            }
        }
        None
    }
}
