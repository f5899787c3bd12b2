//! Durations in buckets, and the edges that make events of them: "took longer than the edge".
//!
//! Buckets grow by the fourth root of two, 19 %: from 1 ms to 17 minutes in 81 edges. An edge is taken from
//! what stable did *earlier* and then stays, so that nothing a tick counts can choose the edge it is counted by.

use serde::{Deserialize, Serialize};

/// Edges of buckets; one more bucket lies beyond the last.
pub const EDGES: usize = 81;
/// Buckets: the `i`th holds what took longer than edge `i - 1` and not longer than edge `i`.
pub const BUCKETS: usize = EDGES + 1;
/// Edges for each doubling.
const PER_OCTAVE: f64 = 4.0;

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
    let milliseconds = super::kernel::real(nanoseconds) / 1e6;
    let near = near_edge(milliseconds).saturating_sub(1);
    (near..EDGES).find(|&edge| milliseconds <= self::milliseconds(edge)).unwrap_or(EDGES)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates; NaN becomes 0
fn near_edge(milliseconds: f64) -> usize {
    (PER_OCTAVE * milliseconds.log2()).clamp(0.0, 1e3) as usize
}

/// How many buckets a tolerated ratio of durations is: round(4 log2 `tolerate`).
#[must_use]
pub fn tolerated_buckets(tolerate: f64) -> usize {
    near_edge(tolerate * (0.5 / PER_OCTAVE).exp2())
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

    /// The counts by bucket.
    #[must_use]
    pub fn counts(&self) -> &[u64; BUCKETS] {
        &self.counts
    }

    /// The edge that the part of durations nearest to 1 − `quantile` is beyond. Of two that are equally near
    /// the later one: when all durations lie in one bucket, being in it is nothing special.
    #[must_use]
    pub fn edge(&self, quantile: f64) -> usize {
        let total = super::kernel::real(self.total());
        let distance = |beyond: u64| (super::kernel::real(beyond) / total - (1.0 - quantile)).abs();
        let order = |&(_, one): &(usize, u64), &(_, other): &(usize, u64)| {
            distance(one).total_cmp(&distance(other)).then(one.cmp(&other))
        };
        let edges = (0..EDGES).map(|edge| (edge, self.beyond(edge)));
        edges.min_by(order).map_or(0, |(edge, _)| edge)
    }

    /// Whether there are enough durations to place the edge of a quantile: a hundred beyond it.
    #[must_use]
    pub fn can_place(&self, quantile: f64) -> bool {
        super::kernel::real(self.total()) >= 100.0 / (1.0 - quantile) - 1e-6
    }
}

/// The two edges a quantile is compared at: stable's own, and the tolerated number of buckets later, the
/// candidate's. Neither lies beyond the deadline, at which nobody waits any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edges {
    /// Stable's events are durations beyond this edge.
    pub stable: usize,
    /// The candidate's events are durations beyond this one.
    pub candidate: usize,
}

impl Edges {
    /// The edges for stable's `edge` with `tolerated` buckets, both clipped to a deadline in nanoseconds.
    #[must_use]
    pub fn new(edge: usize, tolerated: usize, deadline: u64) -> Self {
        // The last edge that a request can be seen to be beyond by then.
        let last = bucket(deadline.saturating_add(1)).saturating_sub(1);
        let candidate = edge.saturating_add(tolerated).min(last);
        Self { stable: candidate.saturating_sub(tolerated), candidate }
    }
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
    fn a_tolerated_ratio_is_a_whole_number_of_buckets() {
        let rows = [(1.0, 0), (1.05, 0), (1.19, 1), (1.41, 2), (1.5, 2), (2.0, 4), (4.0, 8)];
        for (tolerate, buckets) in rows {
            assert_eq!(tolerated_buckets(tolerate), buckets, "{tolerate}");
        }
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
    fn no_edge_lies_beyond_the_deadline() {
        let second = 1_000 * MS;
        // 2^(39/4) ms = 861 ms is the last edge within a second.
        assert_eq!(Edges::new(10, 1, second), Edges { stable: 10, candidate: 11 });
        assert_eq!(Edges::new(60, 1, second), Edges { stable: 38, candidate: 39 });
        assert_eq!(Edges::new(39, 1, second), Edges { stable: 38, candidate: 39 });
        assert_eq!(Edges::new(0, 0, 0), Edges { stable: 0, candidate: 0 });
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
