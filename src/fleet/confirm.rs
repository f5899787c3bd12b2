//! Whether all workers follow a change.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::presence::{self, VmId};
use super::shared::{self, Shared};

/// What a worker follows.
#[derive(Debug, Serialize, Deserialize)]
struct Followed {
    vm: VmId,
    /// The version of the heads.
    version: u64,
    /// The rollouts that do not follow their head, for the worker has another program of them.
    behind: BTreeSet<String>,
}

/// Writes which version of the heads a worker follows, except for the rollouts that are `behind`.
pub fn followed(shared: &mut impl Shared, worker: usize, vm: VmId, version: u64, behind: &BTreeSet<String>) {
    shared::write(shared, &key(worker), &Followed { vm, version, behind: behind.clone() });
}

/// The living workers that do not follow this version of a rollout's head yet.
pub fn lagging(shared: &impl Shared, rollout: &str, version: u64, now: u64) -> Vec<usize> {
    let follows = |worker: usize, vm: VmId| {
        let followed = shared::read::<Followed>(shared, &key(worker));
        followed.is_some_and(|known| {
            known.vm == vm && known.version >= version && !known.behind.contains(rollout)
        })
    };
    let alive = presence::alive(shared, now);
    alive.into_iter().filter(|(worker, vm)| !follows(*worker, *vm)).map(|(worker, _)| worker).collect()
}

fn key(worker: usize) -> String {
    shared::key(&format!("followed.{worker}"))
}
