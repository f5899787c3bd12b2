//! What all VMs of this Envoy share: data and a clock.

use super::calls;
use crate::fleet::member::TICK;
use crate::fleet::shared::{NotWritten, Shared, Version};
use crate::rollout::record::Clock;

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
    Clock { length: TICK, uptime: calls::uptime(), time: calls::now() / 1_000_000 }
}
