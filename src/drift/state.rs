//! The reference, the windows, and how far they are apart.
//!
//! What was not seen is never taken for calm: of too few observations, and without a reference, nothing is said.

use serde::{Deserialize, Serialize};

use super::rule::{self, Bins, Rules, WINDOWS};
use crate::analysis::kernel::drift::{Movement, least, movement};
use crate::analysis::look::settled;
use crate::analysis::ring::Ring;
use crate::analysis::tick::Tick;
use crate::model::{Pair, Side};
use crate::signal::catalog::Moves;
use crate::signal::tally::Tally;

/// What is known of a rollout's drift.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// The rules' definition.
    definition: u64,
    /// The first tick of what becomes the reference.
    since: Option<u64>,
    /// In the rules' order.
    metrics: Vec<Metric>,
}

/// One metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// What becomes the reference, until there is one.
    gathered: Option<Tally>,
    /// What windows are compared with.
    pub reference: Option<Reference>,
    /// What has been seen since.
    windows: [Ring; WINDOWS.len()],
    /// How far each window is from the reference; `None`: not known.
    pub windows_moved: [Option<Moved>; WINDOWS.len()],
}

/// What windows are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    bins: Bins,
    counts: Vec<u64>,
    /// When it was frozen, in milliseconds since the epoch.
    pub frozen: u64,
    /// Observations.
    pub observations: u64,
}

/// How far a window is from the reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// How far.
    pub movement: Movement,
    /// Observations in the window.
    pub observations: u64,
}

impl Drift {
    /// Takes over a closed tick, at a time in milliseconds since the epoch.
    pub fn close(&mut self, rules: &Rules, tick: &Tick, time: u64) {
        self.follow(Some(rules));
        // What came under several assignments belongs to neither version alone.
        if tick.void {
            return;
        }
        let stable = &tick.counts[Side::Stable];
        let is_over = self.since.is_some_and(|since| tick.number >= since.saturating_add(rules.reference));
        for (rule, metric) in rules.metrics.iter().zip(&mut self.metrics) {
            let Some(seen) = settled(stable, rule.signal).filter(|seen| seen.settled() > 0) else { continue };
            self.since.get_or_insert(tick.number);
            if metric.reference.is_some() {
                metric.add(tick.number, seen);
                continue;
            }
            if is_over && metric.freeze_gathered(rule.moves, time) {
                metric.add(tick.number, seen);
                continue;
            }
            match &mut metric.gathered {
                Some(gathered) => gathered.merge(&seen),
                gathered @ None => *gathered = Some(seen),
            }
        }
    }

    /// Takes what was seen as the reference from now on: before there is one, all of it; later what the window at that place
    /// holds. Returns the names of the metrics of which there is enough.
    pub fn freeze<'a>(&mut self, rules: &'a Rules, window: usize, time: u64) -> Vec<&'a str> {
        self.follow(Some(rules));
        let metrics = rules.metrics.iter().zip(&mut self.metrics);
        let frozen = metrics.filter_map(|(rule, metric)| {
            let is_frozen = if metric.reference.is_none() {
                metric.freeze_gathered(rule.moves, time)
            } else {
                let seen = metric.windows.get(window).and_then(|ring| ring.sum().stable);
                seen.is_some_and(|seen| metric.freeze(rule.moves, &seen, time))
            };
            is_frozen.then_some(rule.name.as_str())
        });
        frozen.collect()
    }

    /// Goes on by these rules. Other ones begin anew, without a reference.
    pub fn follow(&mut self, rules: Option<&Rules>) {
        let (definition, count) = rules.map_or((0, 0), |rules| (rules.definition, rules.metrics.len()));
        if (self.definition, self.metrics.len()) != (definition, count) {
            let metrics = std::iter::repeat_with(Metric::default).take(count).collect();
            *self = Self { definition, since: None, metrics };
        }
    }

    /// The tick `before` is called `now` from now on: windows begin anew. A reference stays, and so does what becomes one.
    pub fn renumber(&mut self, before: u64, now: u64) {
        self.since = self.since.map(|since| now.saturating_sub(before.saturating_sub(since)));
        for metric in &mut self.metrics {
            let (gathered, reference) = (metric.gathered.take(), metric.reference.take());
            *metric = Metric { gathered, reference, ..Metric::default() };
        }
    }

    /// Each metric, in the rules' order; none before the first tick.
    #[must_use]
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }
}

impl Metric {
    /// Adds what was seen in a tick, and looks how far each window is from the reference.
    fn add(&mut self, tick: u64, seen: Tally) {
        let seen = Pair::new(None, Some(seen));
        let Some(reference) = &self.reference else { return };
        let moved = self.windows_moved.iter_mut();
        for ((ring, moved), (_, milliseconds)) in self.windows.iter_mut().zip(moved).zip(WINDOWS) {
            ring.add(rule::span(milliseconds), tick, &seen);
            *moved = ring.sum().stable.and_then(|tally| reference.compare(&tally));
        }
    }

    fn freeze_gathered(&mut self, moves: Moves, time: u64) -> bool {
        let Some(gathered) = self.gathered.take() else { return false };
        let is_frozen = self.freeze(moves, &gathered, time);
        if !is_frozen {
            self.gathered = Some(gathered);
        }
        is_frozen
    }

    /// Whether there is enough of it to be the reference; then it is, and the windows begin anew.
    fn freeze(&mut self, moves: Moves, seen: &Tally, time: u64) -> bool {
        let bins = Bins::of(moves, seen);
        let is_enough = seen.settled() >= least(bins.count());
        if is_enough {
            let counts = bins.counts(seen);
            let reference = Reference { bins, counts, frozen: time, observations: seen.settled() };
            *self = Self { reference: Some(reference), ..Self::default() };
        }
        is_enough
    }
}

impl Reference {
    fn compare(&self, window: &Tally) -> Option<Moved> {
        let moves = match self.bins {
            Bins::Rate => Moves::Rate,
            Bins::Values(_) => Moves::Values,
            Bins::Categories(_) => Moves::Categories,
        };
        let movement = movement(moves, &self.counts, &self.bins.counts(window))?;
        Some(Moved { movement, observations: window.settled() })
    }
}

#[cfg(test)]
mod tests;
