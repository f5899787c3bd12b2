//! Who acts for all at a tick.

use serde::{Deserialize, Serialize};

/// Ticks after which somebody else leads.
const PATIENCE: u64 = 2;

/// Who led last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// The VM.
    pub vm: u64,
    /// The tick in which it led.
    pub tick: u64,
    /// Whether requests pass through that VM.
    pub serves: bool,
}

impl Lead {
    /// Whether `next` may lead when this one led last: at most once a tick, and in place of another VM only
    /// when that has not led for long, or serves requests and `next` does not.
    #[must_use]
    pub fn gives_way_to(&self, next: &Self) -> bool {
        let is_over = self.tick.saturating_add(PATIENCE) < next.tick;
        // A clock that went back must not silence everybody.
        let is_ahead = self.tick > next.tick.saturating_add(PATIENCE);
        let goes_on = self.vm == next.vm && self.tick < next.tick;
        let is_relieved = self.serves && !next.serves && self.tick < next.tick;
        goes_on || is_relieved || is_over || is_ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(vm: u64, tick: u64, serves: bool) -> Lead {
        Lead { vm, tick, serves }
    }

    #[test]
    fn one_vm_leads_each_tick_and_stays() {
        let last = lead(1, 10, false);
        assert!(last.gives_way_to(&lead(1, 11, false)));
        assert!(!last.gives_way_to(&lead(1, 10, false)), "once a tick");
        assert!(!last.gives_way_to(&lead(2, 11, false)));
    }

    #[test]
    fn another_leads_when_one_is_gone() {
        let last = lead(1, 10, false);
        assert!(!last.gives_way_to(&lead(2, 12, true)));
        assert!(last.gives_way_to(&lead(2, 13, true)));
        assert!(Lead::default().gives_way_to(&lead(2, 100, true)), "nobody has led yet");
    }

    #[test]
    fn who_serves_no_requests_relieves_who_does() {
        assert!(lead(1, 10, true).gives_way_to(&lead(2, 11, false)));
        assert!(!lead(1, 10, true).gives_way_to(&lead(2, 11, true)));
        assert!(!lead(1, 10, true).gives_way_to(&lead(2, 10, false)), "not twice in a tick");
    }

    #[test]
    fn a_clock_that_goes_back_silences_nobody() {
        assert!(lead(1, 1_000_000, false).gives_way_to(&lead(2, 5, true)));
    }
}
