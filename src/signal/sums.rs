//! Bounded values in fixed point, so that sums are the same in whatever order workers and Envoys are added up.

use serde::{Deserialize, Serialize};

/// A value from 0 to 1 in units of 1/65,536.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fraction(u32);

impl Fraction {
    /// Units of one.
    pub const ONE: u32 = 1 << 16;

    /// The nearest fraction; below 0 it is 0, above 1 it is 1. `None` for what is not a number.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped before
    pub fn new(value: f64) -> Option<Self> {
        let scaled = (value.clamp(0.0, 1.0) * f64::from(Self::ONE)).round();
        (!value.is_nan()).then_some(Self(scaled as u32))
    }

    /// The value.
    #[must_use]
    pub fn value(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ONE)
    }
}

/// Values added up: how many there are, their sum and the sum of their squares, in fixed point. Exact for more than
/// 10^9 values: squares are below 2^33.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Values.
    pub count: u64,
    sum: u64,
    squares: u64,
}

impl Sums {
    /// Sums that were recorded, in units of [`Fraction::ONE`] and of its square. `None` where no values add up to them.
    #[must_use]
    pub fn recorded(count: u64, sum: u64, squares: u64) -> Option<Self> {
        let product = |one: u64, other: u64| u128::from(one).wrapping_mul(u128::from(other));
        let one = u64::from(Fraction::ONE);
        let is_bounded = u128::from(sum) <= product(count, one) && u128::from(squares) <= product(sum, one);
        // The mean of squares is never below the square of the mean.
        let is_possible = product(sum, sum) <= product(count, squares);
        (is_bounded && is_possible).then_some(Self { count, sum, squares })
    }

    /// The sums as [`Sums::recorded`] takes them.
    #[must_use]
    pub fn as_recorded(self) -> (u64, u64, u64) {
        (self.count, self.sum, self.squares)
    }

    /// Adds a value.
    pub fn add(&mut self, value: Fraction) {
        let value = u64::from(value.0);
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(value);
        self.squares = self.squares.saturating_add(value.saturating_mul(value));
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            sum: self.sum.saturating_add(other.sum),
            squares: self.squares.saturating_add(other.squares),
        }
    }

    /// The sum of the values.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // exact up to 2^53
    pub fn sum(self) -> f64 {
        self.sum as f64 / f64::from(Fraction::ONE)
    }

    /// The sum of the values' squares.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a relative error of 2^-53
    pub fn squares(self) -> f64 {
        self.squares as f64 / (f64::from(Fraction::ONE) * f64::from(Fraction::ONE))
    }

    /// The mean; `None` without values.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum() / self.count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fraction_is_clamped_and_never_nan() {
        for (value, expected) in [(-1.0, 0.0), (0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (f64::INFINITY, 1.0)] {
            assert_eq!(Fraction::new(value).map(Fraction::value), Some(expected), "{value}");
        }
        assert_eq!(Fraction::new(f64::NAN), None);
    }

    #[test]
    fn sums_that_no_values_have_are_refused() {
        let mut sums = Sums::default();
        for value in [0.25, 1.0, 0.7] {
            sums.add(Fraction::new(value).unwrap());
        }
        assert_eq!(Sums::recorded(sums.count, sums.sum, sums.squares), Some(sums));
        let one = u64::from(Fraction::ONE);
        assert!(Sums::recorded(0, 0, 0).is_some() && Sums::recorded(2, one, one * one / 2).is_some());
        for (count, sum, squares) in
            [(0, 1, 1), (1, one + 1, one), (2, one, one * one / 2 - 1), (2, 1, one + 1)]
        {
            assert_eq!(Sums::recorded(count, sum, squares), None, "{count} {sum} {squares}");
        }
        assert_eq!(
            Sums::recorded(u64::MAX, u64::MAX, u64::MAX),
            Sums::recorded(u64::MAX, u64::MAX, u64::MAX)
        );
    }

    #[test]
    fn a_billion_ones_are_exact() {
        let mut sums = Sums::default();
        sums.add(Fraction::new(1.0).unwrap());
        let billion = (0..30).fold(sums, |sums, _| sums.plus(sums));
        assert_eq!(
            (billion.count, billion.sum(), billion.squares()),
            (1 << 30, 1_073_741_824.0, 1_073_741_824.0)
        );
        assert_eq!(billion.mean(), Some(1.0));
    }

    proptest! {
        #[test]
        fn sums_do_not_depend_on_the_order(values in prop::collection::vec(0.0..=1.0_f64, 0..50), split in 0..50_usize) {
            let add = |values: &[f64]| {
                let mut sums = Sums::default();
                values.iter().filter_map(|value| Fraction::new(*value)).for_each(|value| sums.add(value));
                sums
            };
            let split = split.min(values.len());
            let (head, tail) = values.split_at(split);
            prop_assert_eq!(add(tail).plus(add(head)), add(&values));
        }
    }
}
