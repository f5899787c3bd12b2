//! One observation.

use super::sums::Fraction;

/// What was observed of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Whether it has the event.
    Event(bool),
    /// How many nanoseconds it took.
    Duration(u64),
    /// Its value.
    Mean(Fraction),
}
