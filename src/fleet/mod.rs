//! The VMs of one Envoy act as one: who leads, what was counted, who follows. Pure: shared data is a trait, time an
//! argument, and what is to be done outside comes back as values.
//!
//! Each VM is a [`member`]. Once a tick it says that it lives and what it has counted; one of them, the leader, judges
//! what all have counted and writes where each rollout stands; all follow. Shared data has no locks, only
//! compare-and-swap, and a VM may be slow or gone at any time:
//!
//! * a record is replaced only by a VM that has read its latest form, so two leaders do no harm;
//! * a tick is judged once, for the record stores both its counts and that they are in it;
//! * a notice may be lost, for each VM looks again at its next tick.
//!
//! * [`shared`], [`memory`]: what the VMs share, and the form in which it is written;
//! * [`presence`], [`lead`]: which VMs live, and which of them leads;
//! * [`report`]: what each has counted;
//! * [`heads`], [`confirm`]: how all route, and whether they do;
//! * [`commands`], [`journal`], [`shelf`]: what was commanded, what happened, and sets that are large;
//! * [`recordings`]: closed ticks of rollouts that are being recorded;
//! * [`outbox`]: notifications that are still to be posted;
//! * [`store`], [`joined`]: the Envoys that share their rollouts, and an Envoy's part in it;
//! * [`gauges`]: where rollouts stand, in Envoy's statistics;
//! * [`effect`]: what has to be done outside;
//! * [`simulated`]: a VM without a host.

#![forbid(unsafe_code)]

pub mod callback;
pub mod commands;
pub mod confirm;
pub mod decisions;
pub mod differences;
pub mod effect;
pub mod gauges;
pub mod heads;
pub mod joined;
pub mod journal;
pub mod lead;
mod leader;
pub mod member;
pub mod memory;
pub mod outbox;
pub mod presence;
pub mod receipts;
pub mod recordings;
pub mod report;
pub mod shared;
pub mod shelf;
pub mod simulated;
pub mod store;

use crate::rollout::record::Record;
use crate::routing::plan::Plan;
use shared::Shared;

/// A configuration that a VM uses.
#[derive(Clone, Copy)]
pub struct InUse<'a> {
    /// The configuration, compiled.
    pub plan: &'a Plan,
    /// When it was loaded, by the clock that all VMs share: of two configurations the later one counts.
    pub loaded_at: u64,
}

/// The names of all rollouts, in order.
pub fn names(shared: &impl Shared) -> Vec<String> {
    heads::Names::read(shared).iter().map(str::to_owned).collect()
}

/// A rollout's record as it stands.
pub fn record(shared: &impl Shared, rollout: &str) -> Option<Record> {
    shared::read(shared, &record_key(rollout))
}

fn record_key(rollout: &str) -> String {
    shared::key(&format!("record.{rollout}"))
}

#[cfg(test)]
mod tests;
