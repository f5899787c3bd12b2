//! Decisions by the model's confidence.

use serde::{Deserialize, Serialize};

use crate::model::Share;

/// Bands of confidence: 2 % each.
pub const BANDS: usize = 50;
/// The band of a confidence, in hundredths of a percent.
#[must_use]
pub fn band(confidence: u16) -> usize {
    let width = usize::from(Share::ALL.basis_points()).checked_div(BANDS).unwrap_or(1);
    usize::from(confidence).checked_div(width).unwrap_or(0).min(BANDS.saturating_sub(1))
}

/// The lower end of a band: the threshold that it stands for, in hundredths of a percent.
#[must_use]
pub fn threshold(band: usize) -> u16 {
    u16::try_from(band.saturating_mul(200)).unwrap_or(u16::MAX)
}

/// Tasks that people have decided, and in how many of them the model had answered otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Band {
    /// Decided tasks.
    pub tasks: u64,
    /// Those of them in which the model's label is another one.
    pub disagreements: u64,
}

impl Band {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.tasks = self.tasks.saturating_add(other.tasks);
        self.disagreements = self.disagreements.saturating_add(other.disagreements);
    }

    /// What has come since an earlier time.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            tasks: self.tasks.saturating_sub(earlier.tasks),
            disagreements: self.disagreements.saturating_sub(earlier.disagreements),
        }
    }

    /// Tasks in which both agree.
    #[must_use]
    pub fn agreements(self) -> u64 {
        self.tasks.saturating_sub(self.disagreements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidences_have_bands() {
        assert_eq!([0, 199, 200, 9_799, 9_800, 10_000, u16::MAX].map(band), [0, 0, 1, 48, 49, 49, 49]);
        assert_eq!((threshold(0), threshold(49)), (0, 9_800));
    }
}
