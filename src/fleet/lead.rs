//! Which VM acts for all of its Envoy.
//!
//! Preferably the main thread's, which serves no request. The lead is written down and renewed, several times a tick if
//! need be: a lead that is not renewed for some ticks has lost its VM. Two that lead at once do no harm: a record is
//! only replaced by a VM that has read its latest form.

use serde::{Deserialize, Serialize};

use super::presence::VmId;

/// Nanoseconds without renewal after which another VM leads. Every piece of work renews, and a piece is short.
const PATIENCE: u64 = 2_500_000_000;

/// Nanoseconds after its last renewal at which a VM that is worse placed gives way: in the next tick, so that two never
/// lead in one.
const RELIEVED_AFTER: u64 = 500_000_000;

/// How well a VM is placed to lead, the best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fitness {
    /// No request waits while it leads.
    #[default]
    Idle,
    /// Requests pass through it.
    Serving,
    /// It does not have all rollouts: its plugin is still being set up, or is gone already.
    Lacking,
}

/// The VM that leads, as it has last written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// The VM.
    pub vm: VmId,
    /// When it last said so, in nanoseconds of the clock that all VMs share.
    pub renewed: u64,
    /// How well that VM is placed.
    pub fitness: Fitness,
}

impl Lead {
    /// Whether `next` may lead now: the VM that leads goes on; another one leads in its place only when it has been
    /// silent for long, or is worse placed and has led in an earlier tick.
    #[must_use]
    pub fn gives_way_to(&self, next: &Self) -> bool {
        let silence = next.renewed.saturating_sub(self.renewed);
        let is_over = silence > PATIENCE;
        // A clock that went back must not silence all.
        let is_ahead = self.renewed.saturating_sub(next.renewed) > PATIENCE;
        let is_relieved = next.fitness < self.fitness && silence >= RELIEVED_AFTER;
        self.vm == next.vm || is_relieved || is_over || is_ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn lead(vm: u64, second: u64, serves: bool) -> Lead {
        let fitness = if serves { Fitness::Serving } else { Fitness::Idle };
        Lead { vm: VmId(vm), renewed: second * SECOND, fitness }
    }

    #[test]
    fn one_vm_leads_and_stays() {
        let last = lead(1, 10, false);
        assert!(last.gives_way_to(&lead(1, 11, false)));
        assert!(last.gives_way_to(&lead(1, 10, true)), "also within a second");
        assert!(!last.gives_way_to(&lead(2, 12, false)));
    }

    #[test]
    fn another_vm_leads_when_one_is_gone() {
        let last = lead(1, 10, false);
        assert!(!last.gives_way_to(&lead(2, 12, true)));
        assert!(last.gives_way_to(&lead(2, 13, true)));
        assert!(Lead::default().gives_way_to(&lead(2, 100, true)), "none has led yet");
    }

    #[test]
    fn a_vm_without_requests_relieves_one_that_serves() {
        assert!(lead(1, 10, true).gives_way_to(&lead(2, 11, false)));
        assert!(!lead(1, 10, true).gives_way_to(&lead(2, 10, false)), "not in the same tick");
        assert!(!lead(1, 10, true).gives_way_to(&lead(2, 11, true)));
    }

    #[test]
    fn a_vm_with_all_rollouts_relieves_one_that_lacks_some() {
        let lacking = Lead { fitness: Fitness::Lacking, ..lead(1, 10, false) };
        assert!(lacking.gives_way_to(&lead(2, 11, true)));
        assert!(!lead(2, 9, true).gives_way_to(&lacking));
    }

    #[test]
    fn a_clock_that_goes_back_silences_no_vm() {
        assert!(lead(1, 1_000_000, false).gives_way_to(&lead(2, 5, true)));
    }
}
