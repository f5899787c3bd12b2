//! Durations in buckets that grow by the fourth root of two, 19 %: from 1 ms to 17 minutes in 81 edges.

use serde::{Deserialize, Serialize};

use crate::model::real;

/// Edges of buckets; one more bucket lies beyond the last.
pub const EDGES: usize = 81;
/// Buckets: the `i`th holds what took longer than edge `i - 1` and not longer than edge `i`.
pub const BUCKETS: usize = EDGES + 1;
/// Edges for each doubling.
pub(crate) const PER_OCTAVE: f64 = 4.0;

/// The `edge`th edge in milliseconds: 2^(edge / 4).
#[must_use]
#[allow(clippy::cast_precision_loss)] // below 81
pub fn milliseconds(edge: usize) -> f64 {
    (edge as f64 / PER_OCTAVE).exp2()
}

/// The bucket of a duration in nanoseconds.
#[must_use]
pub fn bucket(nanoseconds: u64) -> usize {
    // The logarithm lands within one bucket; comparing with the edges themselves decides.
    let milliseconds = real(nanoseconds) / 1e6;
    let near = nearest_edge(milliseconds).saturating_sub(1);
    (near..EDGES).find(|&edge| milliseconds <= self::milliseconds(edge)).unwrap_or(EDGES)
}

/// The last edge that is not beyond a duration, give or take one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates; NaN becomes 0
pub(crate) fn nearest_edge(milliseconds: f64) -> usize {
    (PER_OCTAVE * milliseconds.log2()).clamp(0.0, 1e3) as usize
}

/// How many durations fell into each bucket. Written as pairs of bucket and count, without the empty ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u8, u64)>", into = "Vec<(u8, u64)>")]
pub struct Histogram {
    counts: [u64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS] }
    }
}

impl From<Vec<(u8, u64)>> for Histogram {
    fn from(pairs: Vec<(u8, u64)>) -> Self {
        let mut histogram = Self::default();
        pairs.into_iter().for_each(|(bucket, count)| histogram.add(bucket.into(), count));
        histogram
    }
}

impl From<Histogram> for Vec<(u8, u64)> {
    fn from(histogram: Histogram) -> Self {
        (0..).zip(histogram.counts).filter(|(_, count)| *count > 0).collect()
    }
}

impl Histogram {
    /// Counts `by` durations of a bucket.
    pub fn add(&mut self, bucket: usize, by: u64) {
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(by);
        }
    }

    /// Adds another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (count, by) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(by);
        }
    }

    /// The buckets that are not empty, with their counts.
    pub fn counted(&self) -> impl Iterator<Item = (usize, u64)> {
        self.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    /// How many durations there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How many durations were longer than an edge.
    #[must_use]
    pub fn beyond(&self, edge: usize) -> u64 {
        self.counts.iter().skip(edge.saturating_add(1)).fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The bucket edge whose exceedance is closest to 1 − `quantile`. Ties go to the higher edge: when all durations
    /// lie in one bucket, being in it is not an event.
    #[must_use]
    pub fn edge(&self, quantile: f64) -> usize {
        let total = real(self.total());
        let distance = |beyond: u64| (real(beyond) / total - (1.0 - quantile)).abs();
        let order = |&(_, one): &(usize, u64), &(_, other): &(usize, u64)| {
            distance(one).total_cmp(&distance(other)).then(one.cmp(&other))
        };
        let edges = (0..EDGES).map(|edge| (edge, self.beyond(edge)));
        edges.min_by(order).map_or(0, |(edge, _)| edge)
    }

    /// A quantile in milliseconds, as well as buckets tell it: within one, durations are taken as spread evenly on its
    /// logarithmic scale. `None` without durations.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // below 81
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let wanted = real(self.total()) * quantile;
        let mut below = 0.0;
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = real(*count);
            if below + count >= wanted {
                let part = ((wanted - below) / count).clamp(0.0, 1.0);
                return Some(((bucket.min(EDGES) as f64 - 1.0 + part) / PER_OCTAVE).exp2());
            }
            below += count;
        }
        None
    }

    /// Whether there are enough durations to place the edge of a quantile.
    #[must_use]
    pub fn can_place(&self, quantile: f64) -> bool {
        self.total() >= least(quantile)
    }
}

/// How many durations it takes to place the edge of a quantile: a hundred are beyond it.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
pub fn least(quantile: f64) -> u64 {
    (100.0 / (1.0 - quantile) - 1e-6).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_bucket_ends_with_its_edge() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(MS), 0);
        assert_eq!(bucket(MS + 1), 1);
        assert_eq!((bucket(2 * MS), bucket(2 * MS + 1)), (4, 5));
        assert_eq!(bucket(1_048_576 * MS), 80);
        assert_eq!(bucket(1_048_576 * MS + 1), 81);
        assert_eq!(bucket(u64::MAX), 81);
    }

    #[test]
    fn edges_stand_where_the_quantiles_are() {
        let mut histogram = Histogram::default();
        (0..10).for_each(|bucket| histogram.add(bucket, 100));
        assert_eq!((histogram.total(), histogram.beyond(4), histogram.beyond(80)), (1_000, 500, 0));
        assert_eq!((histogram.edge(0.5), histogram.edge(0.9), histogram.edge(0.99)), (4, 8, 9));
        assert!(histogram.can_place(0.9) && !histogram.can_place(0.99));
    }

    #[test]
    fn a_quantile_is_told_to_within_a_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for millisecond in 1..=1_000 {
            histogram.add(bucket(millisecond * MS), 1);
        }
        for (quantile, expected) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let told = histogram.quantile(quantile).unwrap();
            assert!(told / expected < 1.19 && expected / told < 1.19, "{quantile}: {told}");
        }
        histogram.add(BUCKETS - 1, 1_000_000);
        assert!(histogram.quantile(0.5).unwrap() >= milliseconds(EDGES - 1));
    }

    proptest! {
        #[test]
        fn every_duration_lies_in_its_bucket(nanoseconds in 0..2_000_000_000_000_u64) {
            let bucket = bucket(nanoseconds);
            let ms = nanoseconds as f64 / 1e6;
            prop_assert!(bucket == EDGES || ms <= milliseconds(bucket));
            prop_assert!(bucket == 0 || ms > milliseconds(bucket - 1));
        }
    }
}
