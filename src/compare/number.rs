//! Which numbers are the same, and how far apart others are.

use serde::{Deserialize, Serialize};
use serde_json::Number;

/// The part of the larger one by which numbers may differ, unless another is given.
const RELATIVE: f64 = 1e-3;

/// 2^63: whole numbers from here on may be read as doubles, and doubles from here on are whole.
const WHOLE: f64 = 9_223_372_036_854_775_808.0;

/// Two numbers are the same iff |a − b| ≤ max(relative · max(|a|, |b|), absolute).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// A fraction of the larger one. `None`: 0.001; of two that are written as whole numbers, such as identifiers, or may be,
    /// none.
    pub relative: Option<f64>,
    /// In the numbers' own unit.
    pub absolute: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { relative: None, absolute: 1e-6 }
    }
}

impl Tolerance {
    /// Whether two numbers are the same. What is not a number is the same as itself only; so is infinity.
    #[must_use]
    pub fn allows(&self, a: f64, b: f64) -> bool {
        if !a.is_finite() || !b.is_finite() {
            return a == b || (a.is_nan() && b.is_nan());
        }
        self.allows_distance((a - b).abs(), a.abs().max(b.abs()), RELATIVE)
    }

    fn allows_distance(&self, distance: f64, larger: f64, relative: f64) -> bool {
        distance <= (self.relative.unwrap_or(relative) * larger).max(self.absolute)
    }

    /// Whether two numbers of a document are the same, and |a − b| / max(|a|, |b|, absolute). Whole numbers are subtracted
    /// exactly: a double does not tell apart those above 2^53.
    pub(super) fn compare(&self, a: &Number, b: &Number) -> (bool, f64) {
        let real = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
        let larger = real(a).abs().max(real(b).abs());
        let (distance, default) = match (whole(a), whole(b)) {
            #[allow(clippy::cast_precision_loss)] // as a distance
            (Some(a), Some(b)) => (a.abs_diff(b) as f64, 0.0),
            _ => {
                let may_be_whole = real(a).abs().min(real(b).abs()) >= WHOLE;
                ((real(a) - real(b)).abs(), if may_be_whole { 0.0 } else { RELATIVE })
            }
        };
        let relative = if distance == 0.0 { 0.0 } else { distance / larger.max(self.absolute) };
        (self.allows_distance(distance, larger, default), relative)
    }
}

/// A number that is written as a whole one.
pub(super) fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// Pairs of numbers, by how far apart they were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apart {
    /// Pairs beyond the tolerance.
    pub beyond: u64,
    /// Pairs by their relative difference: none; below 1e-8; then by decades below 1e-7, 1e-6, … 1; 1 or more.
    pub by_decade: [u64; 11],
}

impl Apart {
    /// What the differences in each place of [`Apart::by_decade`] are below; the last one has no bound.
    pub const BELOW: [f64; 10] = [f64::MIN_POSITIVE, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];

    /// Counts a pair.
    pub(super) fn count(&mut self, is_same: bool, relative: f64) {
        self.beyond = self.beyond.saturating_add(u64::from(!is_same));
        let place = Self::BELOW.iter().position(|bound| relative < *bound).unwrap_or(Self::BELOW.len());
        if let Some(pairs) = self.by_decade.get_mut(place) {
            *pairs = pairs.saturating_add(1);
        }
    }

    /// All pairs.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.by_decade.iter().fold(0, |all, pairs| all.saturating_add(*pairs))
    }

    /// Adds other pairs.
    pub fn add(&mut self, other: &Self) {
        self.beyond = self.beyond.saturating_add(other.beyond);
        for (own, other) in self.by_decade.iter_mut().zip(other.by_decade) {
            *own = own.saturating_add(other);
        }
    }
}
