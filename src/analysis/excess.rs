//! Whether an event is clearly more frequent here than there: enough to wait, too little to act on.

use crate::model::{Arm, real};

/// ln 20: the difference is chance in one case of twenty, or fewer.
const LN_CHANCE: f64 = 2.995_732_273_553_991;

/// Whether units of one kind have an event clearly more often than those of another, and beyond chance.
#[must_use]
pub fn has_clearly_more(one: Arm, other: Arm) -> bool {
    if !is_clearly_more(rate(one), rate(other)) {
        return false;
    }
    // The chance that as many of the events are the first one's, if there is no difference (Chernoff).
    let events = real(one.events.saturating_add(other.events));
    let part = real(one.events) / events;
    let expected = real(one.units) / real(one.units.saturating_add(other.units));
    events * divergence(part, expected) >= LN_CHANCE
}

/// The part of units that have the event; 0 without any.
#[must_use]
pub fn rate(of: Arm) -> f64 {
    if of.units > 0 { real(of.events) / real(of.units) } else { 0.0 }
}

/// Whether a rate is clearly above another: more than twice as high, and more than a point.
#[must_use]
pub fn is_clearly_more(rate: f64, than: f64) -> bool {
    rate > (2.0 * than).max(than + 0.01)
}

/// The Kullback-Leibler divergence of the rate `other` from the rate `rate`, both between 0 and 1.
#[must_use]
pub fn divergence(rate: f64, other: f64) -> f64 {
    let events = if rate > 0.0 { rate * (rate / other).ln() } else { 0.0 };
    let others = if rate < 1.0 { (1.0 - rate) * ((-rate).ln_1p() - (-other).ln_1p()) } else { 0.0 };
    events + others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_events_may_be_chance_and_many_are_not() {
        let arm = |events, units| Arm { events, units };
        assert!(!has_clearly_more(arm(1, 1), arm(0, 1)));
        assert!(!has_clearly_more(arm(2, 100), arm(1, 100)));
        assert!(!has_clearly_more(arm(40, 1_000), arm(30, 1_000)), "not twice as often");
        assert!(has_clearly_more(arm(5, 5), arm(0, 5)));
        assert!(has_clearly_more(arm(40, 1_000), arm(10, 1_000)));
        assert!(!has_clearly_more(arm(5, 5), arm(0, 0)) && !has_clearly_more(arm(0, 0), arm(0, 5)));
    }
}
