//! Whether all workers follow a change.

use super::presence::{self, VmId};
use super::shared::{self, Shared};

/// Writes which version of the heads a worker follows.
pub fn followed(shared: &mut impl Shared, worker: usize, vm: VmId, version: u64) {
    shared::write(shared, &key(worker), &(vm, version));
}

/// The living workers that do not follow this version of the heads yet.
pub fn lagging(shared: &impl Shared, version: u64, now: u64) -> Vec<usize> {
    let follows = |worker: usize, vm: VmId| {
        let followed = shared::read::<(VmId, u64)>(shared, &key(worker));
        followed.is_some_and(|(known, followed)| known == vm && followed >= version)
    };
    let alive = presence::alive(shared, now);
    alive.into_iter().filter(|(worker, vm)| !follows(*worker, *vm)).map(|(worker, _)| worker).collect()
}

fn key(worker: usize) -> String {
    shared::key(&format!("followed.{worker}"))
}
