//! What all VMs of this Envoy share: data and a clock.

use std::cell::Cell;

use super::calls;
use crate::fleet::joined;
use crate::fleet::member::TICK;
use crate::fleet::shared::{NotWritten, Shared, Version};
use crate::rollout::clock::Clock;

thread_local! {
    /// Whether ticks are counted by the clock that all Envoys share.
    static SHARES_CLOCK: Cell<bool> = const { Cell::new(false) };
}

/// Counts ticks as all VMs of this Envoy do.
pub(super) fn agree_on_clock() {
    if !SHARES_CLOCK.get() {
        SHARES_CLOCK.set(joined::uses_shared_clock(&Kv));
    }
}

/// The tick that is under way at a time of [`calls::uptime`], which has just been asked for.
pub(super) fn tick_at(uptime: u64) -> u64 {
    if SHARES_CLOCK.get() { clock().tick() } else { uptime / TICK }
}

/// Envoy's shared data, of all VMs with the same `vm_id`.
pub(super) struct Kv;

impl Shared for Kv {
    fn read(&self, key: &str) -> Option<(Vec<u8>, Version)> {
        let (value, cas) = calls::shared(key)?;
        Some((value.into_vec(), Version(cas)))
    }

    fn swap(&mut self, key: &str, value: &[u8], version: Version) -> Result<(), NotWritten> {
        calls::set_shared(key, value, version.0)
    }
}

/// The time.
pub(super) fn clock() -> Clock {
    let is_shared = SHARES_CLOCK.get();
    Clock { length: TICK, uptime: calls::uptime(), time: calls::epoch_ms(), is_shared }
}
