//! What was seen in a window that moves with time: a few parts, each of some ticks, of which the oldest are dropped as a whole.

use serde::{Deserialize, Serialize};

use crate::config::units::Duration;
use crate::model::{Pair, Side};
use crate::signal::tally::Tally;

/// How long a window is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    ticks: u64,
    /// Ticks of a part.
    part: u64,
    /// Parts of a window.
    parts: u64,
}

impl Span {
    /// A window of so many parts, or a few less or more; what is in it is never older than it.
    #[must_use]
    pub fn new(window: Duration, parts: u64) -> Self {
        // A tick is a second.
        let ticks = (window.as_millis() / 1_000).max(1);
        let part = ticks.checked_div(parts).unwrap_or(0).max(1);
        Self { ticks, part, parts: ticks.checked_div(part).unwrap_or(0).max(1) }
    }

    /// Its length in milliseconds.
    #[must_use]
    pub fn milliseconds(&self) -> u64 {
        self.ticks.saturating_mul(1_000)
    }

    /// The first tick of the window that ends with a tick.
    #[must_use]
    pub fn begin(&self, tick: u64) -> u64 {
        self.first(tick).saturating_mul(self.part)
    }

    /// The first part of that window.
    fn first(&self, tick: u64) -> u64 {
        self.of(tick).saturating_sub(self.parts.saturating_sub(1))
    }

    /// The part that a tick is in.
    fn of(&self, tick: u64) -> u64 {
        tick.checked_div(self.part).unwrap_or(0)
    }
}

/// What was seen of both versions in a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ring {
    /// The parts in which something was seen, oldest first: at most as many as the window has.
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Part {
    number: u64,
    seen: Pair<Option<Tally>>,
}

impl Ring {
    /// Adds what was seen in a tick. Ticks come in order; after one with a lower number nothing is known of those before.
    pub fn add(&mut self, span: Span, tick: u64, seen: &Pair<Option<Tally>>) {
        let number = span.of(tick);
        if self.parts.last().is_some_and(|newest| newest.number > number) {
            self.parts.clear();
        }
        let first = span.first(tick);
        self.parts.retain(|part| part.number >= first);
        match self.parts.last_mut().filter(|newest| newest.number == number) {
            Some(newest) => plus(&mut newest.seen, seen),
            None => self.parts.push(Part { number, seen: seen.clone() }),
        }
    }

    /// What was seen in the whole window.
    #[must_use]
    pub fn sum(&self) -> Pair<Option<Tally>> {
        self.sum_of(|_| true)
    }

    /// What was seen in it before a tick: parts that end before it.
    #[must_use]
    pub fn sum_before(&self, span: Span, tick: u64) -> Pair<Option<Tally>> {
        self.sum_of(|part| part.number.saturating_add(1).saturating_mul(span.part) <= tick)
    }

    fn sum_of(&self, is_wanted: impl Fn(&Part) -> bool) -> Pair<Option<Tally>> {
        let mut sum = Pair::default();
        for part in self.parts.iter().filter(|part| is_wanted(part)) {
            plus(&mut sum, &part.seen);
        }
        sum
    }
}

fn plus(sum: &mut Pair<Option<Tally>>, seen: &Pair<Option<Tally>>) {
    for side in Side::BOTH {
        match (&mut sum[side], &seen[side]) {
            (Some(sum), Some(seen)) => sum.merge(seen),
            (sum @ None, Some(seen)) => *sum = Some(seen.clone()),
            (_, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_nothing_older_than_it_and_at_least_three_quarters_of_it() {
        for seconds in 30..=3_600 {
            for parts in [6, 12] {
                let span = Span::new(Duration::from_millis(seconds * 1_000), parts);
                let held = |tick: u64| tick + 1 - span.begin(tick);
                let ticks = 100_000..100_000 + seconds;
                let (least, most) = (ticks.clone().map(held).min().unwrap(), ticks.map(held).max().unwrap());
                assert!(most <= seconds && least * 4 >= seconds * 3, "{seconds} s: {least} to {most}");
            }
        }
    }
}
