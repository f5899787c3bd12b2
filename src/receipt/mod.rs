//! Receipts: what the filter hands out, sealed, and takes back in a later request, at any worker of any Envoy. Nothing is
//! stored in between.
//!
//! * [`seal`]: how they are sealed and opened;
//! * [`seen`]: which of them have come back: each counts once;
//! * [`answer`]: what an answer carries.

#![forbid(unsafe_code)]

pub mod answer;
pub mod seal;
pub mod seen;

/// Milliseconds by which the clock of the Envoy that sealed a receipt may be ahead.
const AHEAD: u64 = 300_000;

/// Whether a receipt that was sealed at `time` is older than `ttl` at `now`, or much newer, all in milliseconds.
#[must_use]
pub fn is_late(time: u64, ttl: u64, now: u64) -> bool {
    now.saturating_sub(time) > ttl || time > now.saturating_add(AHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_late_after_its_time_and_when_it_comes_from_far_ahead() {
        assert!(!is_late(1_000, 500, 1_500) && is_late(1_000, 500, 1_501));
        assert!(!is_late(1_000 + AHEAD, 500, 1_000) && is_late(1_001 + AHEAD, 500, 1_000));
    }
}
