//! The edges that make events of durations: "took longer than the edge".
//!
//! An edge is taken from what stable did *earlier* and then stays, so that nothing a tick counts can choose the edge
//! it is counted by. Source: `docs/analysis.md`, "Latency".

use crate::model::Pair;
use crate::signal::histogram::{EDGES, PER_OCTAVE, bucket, milliseconds, nearest_edge};

/// How many buckets a tolerated ratio of durations is: round(4 log2 `tolerate`).
#[must_use]
pub fn tolerated_buckets(tolerate: f64) -> usize {
    nearest_edge(tolerate * (0.5 / PER_OCTAVE).exp2())
}

/// How many buckets beyond an edge it takes to be so many milliseconds beyond it.
#[must_use]
pub fn buckets_of(edge: usize, more: f64) -> usize {
    let wanted = milliseconds(edge) + more - 1e-9;
    (edge..EDGES).take_while(|beyond| milliseconds(*beyond) < wanted).count()
}

/// The two edges that a quantile is compared at: stable's own, and the candidate's, the tolerated number of buckets
/// later. The events of a side are durations beyond its edge.
pub type Edges = Pair<usize>;

/// The edges for stable's `edge` with `tolerated` buckets. Neither lies beyond the deadline (in nanoseconds), at which
/// every request is judged.
#[must_use]
pub fn edges(edge: usize, tolerated: usize, deadline: u64) -> Edges {
    // The last edge that a request can be seen to be beyond by then.
    let last = bucket(deadline.saturating_add(1)).saturating_sub(1);
    let candidate = edge.saturating_add(tolerated).min(last);
    Pair::new(candidate, candidate.saturating_sub(tolerated))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_tolerated_ratio_is_a_whole_number_of_buckets() {
        let rows = [(1.0, 0), (1.05, 0), (1.19, 1), (1.41, 2), (1.5, 2), (2.0, 4), (4.0, 8)];
        for (tolerate, buckets) in rows {
            assert_eq!(tolerated_buckets(tolerate), buckets, "{tolerate}");
        }
    }

    #[test]
    fn a_tolerated_difference_is_as_many_buckets_as_it_takes() {
        // Edges at 4, 16, 32 and 1,024 ms.
        let rows =
            [(8, 0.0, 0), (8, 25.0, 12), (16, 25.0, 6), (20, 25.0, 4), (40, 25.0, 1), (EDGES, 25.0, 0)];
        for (edge, more, buckets) in rows {
            assert_eq!(buckets_of(edge, more), buckets, "{edge}");
        }
    }

    #[test]
    fn no_edge_lies_beyond_the_deadline() {
        let second = 1_000 * MS;
        // 2^(39/4) ms = 861 ms is the last edge within a second.
        assert_eq!(edges(10, 1, second), Pair::new(11, 10));
        assert_eq!(edges(60, 1, second), Pair::new(39, 38));
        assert_eq!(edges(39, 1, second), Pair::new(39, 38));
        assert_eq!(edges(0, 0, 0), Pair::new(0, 0));
    }
}
