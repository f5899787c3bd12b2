//! How much a worker does for those who look: building answers takes time that requests wait for.

use std::cell::Cell;

/// Rollouts, events and other rows that a worker shows each second, about 1 % of its time.
const PER_SECOND: u64 = 500;
/// The same at once, after a quiet time: all rollouts that there may be.
const AT_ONCE: u64 = 5_000;
/// As many rows an answer counts for at least: a request costs a worker time however little is shown.
const LEAST: u64 = 10;

/// What a worker still shows. A leaky bucket in thousandths: each thing shown is 1,000, and as many leak out in a second as
/// it shows in one.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowance {
    level: Cell<u64>,
    /// Milliseconds of a clock that does not jump.
    leaked_at: Cell<u64>,
}

impl Allowance {
    /// Whether there is room for an answer, whatever its size.
    ///
    /// # Errors
    /// The seconds after which there is.
    pub(super) fn has_room(&self, uptime_ms: u64) -> Result<(), u64> {
        let elapsed = uptime_ms.saturating_sub(self.leaked_at.replace(uptime_ms));
        let level = self.level.get().saturating_sub(elapsed.saturating_mul(PER_SECOND));
        self.level.set(level);
        let surplus = level.saturating_sub(AT_ONCE.saturating_mul(1_000));
        if surplus == 0 { Ok(()) } else { Err(surplus.div_ceil(PER_SECOND.saturating_mul(1_000))) }
    }

    /// So many things were shown, and an answer was built.
    pub(super) fn take(&self, shown: usize) {
        let shown = u64::try_from(shown).unwrap_or(u64::MAX).saturating_add(1).max(LEAST);
        self.level.set(self.level.get().saturating_add(shown.saturating_mul(1_000)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_worker_shows_all_rollouts_at_once_and_one_that_is_asked_all_the_time_a_few_each_second() {
        let allowance = Allowance::default();
        let (mut shown, mut refused) = (0_u64, 0);
        for millisecond in 0..60_000 {
            match allowance.has_room(millisecond) {
                Ok(()) => {
                    allowance.take(99);
                    shown += 100;
                }
                Err(seconds) => {
                    assert_eq!(seconds, 1, "a page is shown within the second");
                    refused += 1;
                }
            }
            assert!(millisecond != 100 || shown >= AT_ONCE, "{shown} at once");
        }
        let most = AT_ONCE + 60 * PER_SECOND + 100;
        assert!(shown <= most && shown + 200 > most, "{shown}");
        assert!(refused > 50_000, "{refused}");
    }

    #[test]
    fn an_answer_without_rows_counts_as_ten() {
        let allowance = Allowance::default();
        let answered = (0..10_000).filter(|millisecond| {
            let has_room = allowance.has_room(*millisecond).is_ok();
            if has_room {
                allowance.take(0);
            }
            has_room
        });
        assert_eq!(answered.count() as u64, (AT_ONCE + 10 * PER_SECOND) / LEAST);
    }

    #[test]
    fn a_clock_that_jumps_refuses_nothing_for_long() {
        let allowance = Allowance::default();
        allowance.take(1_000_000);
        assert!(allowance.has_room(1_000).is_err());
        assert!(allowance.has_room(u64::MAX).is_ok(), "all has leaked out");
        allowance.take(10_000);
        assert_eq!(allowance.has_room(0), Err(11));
        assert!(allowance.has_room(10_010).is_ok());
    }
}
