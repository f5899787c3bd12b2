//! What is watched, compiled from the configuration.

use serde::{Deserialize, Serialize};

use crate::analysis::ring::Span;
use crate::analysis::rules::fingerprint;
use crate::config::drift::Drift;
use crate::config::units::Duration;
use crate::signal::catalog::{self, Moves, SignalId};
use crate::signal::histogram::BUCKETS;
use crate::signal::tally::Tally;

/// The windows: their names, and their milliseconds.
pub const WINDOWS: [(&str, u64); 3] = [("5m", 300_000), ("1h", 3_600_000), ("1d", 86_400_000)];
/// The place of the longest.
pub const LONGEST: usize = WINDOWS.len() - 1;
/// Parts of a window.
const PARTS: u64 = 6;
/// Bins at most: each costs observations.
const MOST_BINS: usize = 12;
/// A bin holds at least this part of the reference, unless it is one of two: chance moves small ones by more than its formula says.
const SMALLEST_BIN: u64 = 25;

/// The same of categories, which are never joined with a neighbour.
const RAREST_CATEGORY: u64 = 50;

/// What is watched of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Ticks of stable's traffic that become the reference.
    pub reference: u64,
    /// The metrics.
    pub metrics: Vec<Metric>,
    /// Identifies all of this, and what stable is: what was seen of another is no reference.
    pub definition: u64,
}

/// A metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// The number under which it is observed.
    pub signal: SignalId,
    /// What is compared.
    pub moves: Moves,
}

impl Rules {
    /// Compiles a valid configuration. `definition`: whatever else decides what is observed.
    #[must_use]
    pub fn new(config: &Drift, definition: u64) -> Self {
        let metric = |name: &String| {
            let moving = catalog::moving(name)?;
            Some(Metric { name: name.clone(), signal: moving.id, moves: moving.moves })
        };
        Self {
            reference: (config.reference.as_millis() / 1_000).max(1),
            metrics: config.metrics.iter().filter_map(metric).collect(),
            definition: fingerprint(&(config, definition)),
        }
    }
}

/// How long a window is.
#[must_use]
pub fn span(milliseconds: u64) -> Span {
    Span::new(Duration::from_millis(milliseconds), PARTS)
}

/// The bins in which a metric is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bins {
    /// Events and what is none.
    Rate,
    /// The last bucket of each bin but the last one.
    Values(Vec<u8>),
    /// The buckets of the most frequent categories; all others are together.
    Categories(Vec<u8>),
}

impl Bins {
    /// Those that suit a reference.
    #[must_use]
    pub fn of(moves: Moves, reference: &Tally) -> Self {
        let buckets: Vec<(u8, u64)> = match reference {
            Tally::Duration(histogram) => (**histogram).clone().into(),
            Tally::Event(_) | Tally::Mean(_) => Vec::new(),
        };
        match moves {
            Moves::Rate => Self::Rate,
            Moves::Values => Self::Values(edges(buckets)),
            Moves::Categories => Self::Categories(most_frequent(buckets)),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Rate => 2,
            Self::Values(edges) | Self::Categories(edges) => edges.len().saturating_add(1),
        }
    }

    /// Observations by bin.
    #[must_use]
    pub fn counts(&self, tally: &Tally) -> Vec<u64> {
        let mut counts = vec![0_u64; self.count()];
        match (self, tally) {
            (Self::Rate, Tally::Event(arm)) => {
                counts = vec![arm.events, arm.units.saturating_sub(arm.events)];
            }
            (Self::Values(known) | Self::Categories(known), Tally::Duration(histogram)) => {
                for (bucket, by) in histogram.counted() {
                    let bin = match self {
                        Self::Values(_) => known.iter().position(|edge| bucket <= usize::from(*edge)),
                        _ => known.iter().position(|category| bucket == usize::from(*category)),
                    };
                    if let Some(count) = counts.get_mut(bin.unwrap_or(known.len())) {
                        *count = count.saturating_add(by);
                    }
                }
            }
            _ => {}
        }
        counts
    }
}

/// The last buckets of bins with about as much in each, the last one's left out.
fn edges(mut bins: Vec<(u8, u64)>) -> Vec<u8> {
    let total = bins.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    if let [(only, _)] = *bins {
        // All in one bucket: what lies before and behind it has moved.
        let edges = [only.checked_sub(1), (usize::from(only) < BUCKETS - 1).then_some(only)];
        return edges.into_iter().flatten().collect();
    }
    loop {
        let smallest = bins.iter().enumerate().min_by_key(|(_, (_, count))| *count);
        let Some((at, &(_, count))) = smallest else { break };
        let is_small = count.saturating_mul(SMALLEST_BIN) < total;
        if bins.len() <= 2 || (bins.len() <= MOST_BINS && !is_small) {
            break;
        }
        let size = |at: Option<usize>| at.and_then(|at| bins.get(at)).map(|(_, count)| *count);
        let (before, after) = (size(at.checked_sub(1)), size(at.checked_add(1)));
        let joins_before = match (before, after) {
            (Some(before), Some(after)) => before <= after,
            (before, _) => before.is_some(),
        };
        // The bin that ends first goes into the one behind it.
        let first = if joins_before { at.saturating_sub(1) } else { at };
        let (_, count) = bins.remove(first);
        if let Some((_, behind)) = bins.get_mut(first) {
            *behind = behind.saturating_add(count);
        }
    }
    bins.pop();
    bins.into_iter().map(|(edge, _)| edge).collect()
}

/// The most frequent buckets.
fn most_frequent(mut buckets: Vec<(u8, u64)>) -> Vec<u8> {
    let total = buckets.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    let mut categories = Vec::new();
    while categories.len() < MOST_BINS - 1 {
        let most = buckets.iter().enumerate().max_by_key(|(_, (_, count))| *count);
        let Some((at, &(bucket, count))) = most else { break };
        if !categories.is_empty() && count.saturating_mul(RAREST_CATEGORY) < total {
            break;
        }
        buckets.remove(at);
        categories.push(bucket);
    }
    categories
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Arm;
    use crate::signal::histogram::Histogram;
    use proptest::prelude::*;

    fn spread(buckets: &[(u8, u64)]) -> Tally {
        Tally::Duration(Box::new(Histogram::from(buckets.to_vec())))
    }

    #[test]
    fn values_are_binned_so_that_each_bin_has_its_part() {
        let even: Vec<(u8, u64)> = (10..50).map(|bucket| (bucket, 100)).collect();
        let bins = Bins::of(Moves::Values, &spread(&even));
        assert!((8..=12).contains(&bins.count()), "{bins:?}");
        let counts = bins.counts(&spread(&even));
        assert!(counts.iter().all(|count| (200..=600).contains(count)), "{counts:?}");
        let tail = spread(&[(10, 5_000), (11, 4_000), (12, 900), (40, 60), (41, 40)]);
        assert_eq!(Bins::of(Moves::Values, &tail), Bins::Values(vec![10, 11]));
    }

    #[test]
    fn values_that_are_all_alike_have_bins_before_and_behind_them() {
        for (bucket, edges) in [(0, vec![0]), (20, vec![19, 20]), (81, vec![80])] {
            assert_eq!(Bins::of(Moves::Values, &spread(&[(bucket, 500)])), Bins::Values(edges));
        }
        let bins = Bins::of(Moves::Values, &spread(&[(20, 500)]));
        assert_eq!(bins.counts(&spread(&[(3, 1), (20, 2), (21, 4)])), [1, 2, 4]);
    }

    #[test]
    fn rare_categories_are_together() {
        let labels = spread(&[(70, 600), (3, 300), (5, 90), (8, 6), (9, 4)]);
        let bins = Bins::of(Moves::Categories, &labels);
        assert_eq!(bins, Bins::Categories(vec![70, 3, 5]));
        assert_eq!(bins.counts(&labels), [600, 300, 90, 10]);
        let many: Vec<(u8, u64)> = (0..30).map(|bucket| (bucket, 10)).collect();
        assert_eq!(Bins::of(Moves::Categories, &spread(&many)).count(), 12);
    }

    #[test]
    fn a_rate_has_two_bins() {
        let rate = Tally::Event(Arm { events: 3, units: 10 });
        assert_eq!(Bins::of(Moves::Rate, &rate).counts(&rate), [3, 7]);
    }

    proptest! {
        #[test]
        fn bins_hold_all_that_was_observed(
            reference in proptest::collection::vec((0..82_u8, 1..10_000_u64), 1..82),
            window in proptest::collection::vec((0..82_u8, 1..10_000_u64), 0..82),
        ) {
            for moves in [Moves::Values, Moves::Categories] {
                let bins = Bins::of(moves, &spread(&reference));
                prop_assert!((2..=12).contains(&bins.count()));
                for tally in [spread(&reference), spread(&window)] {
                    prop_assert_eq!(bins.counts(&tally).iter().sum::<u64>(), tally.settled());
                }
            }
        }
    }
}
