//! What time it is, by the clocks that an Envoy has.
//!
//! Where ticks are counted, time is in nanoseconds, as Envoy gives it; where people wait, in milliseconds. A name that does not
//! say its unit is in the unit of its type: [`Clock`] and what takes one count nanoseconds.

/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;

/// How long a tick is and what time it is, by a clock that all workers share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds of a tick.
    pub length: u64,
    /// Nanoseconds; neither jumps nor goes back, and nothing breaks if it does.
    pub uptime: u64,
    /// Milliseconds since the epoch, for people.
    pub time: u64,
    /// Whether ticks are counted by `time`: Envoys that share a rollout have no other clock in common.
    pub is_shared: bool,
}

impl Clock {
    /// The tick that is under way.
    #[must_use]
    pub fn tick(&self) -> u64 {
        self.counted().checked_div(self.length).unwrap_or(0)
    }

    /// Nanoseconds since that tick began.
    #[must_use]
    pub fn into_tick(&self) -> u64 {
        self.counted().checked_rem(self.length).unwrap_or(0)
    }

    /// Nanoseconds of the clock by which ticks are counted.
    fn counted(&self) -> u64 {
        if self.is_shared { self.time.saturating_mul(MILLISECOND) } else { self.uptime }
    }

    /// Nanoseconds from the end of a tick to the present, or to the beginning of the tick `told` if that was before.
    pub(super) fn until(&self, told: u64, tick: u64) -> u64 {
        let end = tick.saturating_add(1).saturating_mul(self.length);
        self.counted().min(told.saturating_mul(self.length)).saturating_sub(end)
    }

    /// Nanoseconds since a tick ended.
    pub(super) fn since(&self, tick: u64) -> u64 {
        self.counted().saturating_sub(tick.saturating_add(1).saturating_mul(self.length))
    }

    /// The present as a run wants it.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { time: self.time, uptime_ms: self.uptime / MILLISECOND, tick: self.tick() }
    }
}

/// When something happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the epoch, for people.
    pub time: u64,
    /// Milliseconds of a clock that should neither jump nor go back; nothing breaks if it does.
    pub uptime_ms: u64,
    /// The number of the tick that is under way.
    pub tick: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_run_gets_the_uptime_in_milliseconds() {
        let clock = Clock { length: SECOND, uptime: 7_123_999_999, time: 60_500, is_shared: false };
        assert_eq!(clock.now(), Now { time: 60_500, uptime_ms: 7_123, tick: 7 });
        assert_eq!(clock.into_tick(), 123_999_999);
    }

    #[test]
    fn envoys_that_share_a_rollout_count_ticks_by_the_time() {
        let clock = Clock { length: SECOND, uptime: 7_123_999_999, time: 60_500, is_shared: true };
        assert_eq!(clock.now(), Now { time: 60_500, uptime_ms: 7_123, tick: 60 });
        assert_eq!(clock.into_tick(), 500_000_000);
    }

    #[test]
    fn a_clock_without_ticks_counts_none() {
        assert_eq!(Clock { uptime: SECOND, ..Clock::default() }.now().tick, 0);
    }
}
