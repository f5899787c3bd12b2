//! What many pairs add up to.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Compared;
use super::diff::{Kind, MOST_PLACES, Place};
use super::label::Confusion;
use super::number::Apart;

/// What the compared pairs of a rollout add up to. All of it can be added to what others have counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Pairs that were compared and prove something.
    pub compared: u64,
    /// Those that agree.
    pub matched: u64,
    /// Requests to which the shadow gave no answer of its own.
    pub failed: u64,
    /// Where pairs differ, at most [`MOST_PLACES`] places.
    pub places: Vec<PlaceTotal>,
    /// Differences of pairs at further places.
    pub overflow: u64,
    /// How far apart numbers are.
    pub apart: Apart,
    /// Labels.
    pub confusion: Confusion,
    /// Pairs of ranked lists, and the sum of the parts that they share.
    pub overlap: (u64, f64),
    /// Pairs of texts; those that are the same when normalised; the sum of their F1.
    pub texts: (u64, u64, f64),
    /// Bytes of stable's answers, and of the shadow's.
    pub bytes: (u64, u64),
    /// With a baseline: requests that stable's copy has answered as well.
    pub beside: Beside,
    /// The newest pairs that differ, oldest first, if any are kept.
    pub samples: VecDeque<Sample>,
    /// How many are kept.
    pub most_samples: usize,
}

/// Requests that the shadow and stable's copy have both answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// All of them.
    pub all: u64,
    /// Those in which only the shadow's answer differs from stable's first.
    pub only_shadow: u64,
    /// Those in which only that of stable's copy does.
    pub only_baseline: u64,
    /// Those in which both do.
    pub both: u64,
}

impl Beside {
    fn add(&mut self, other: Self) {
        self.all = self.all.saturating_add(other.all);
        self.only_shadow = self.only_shadow.saturating_add(other.only_shadow);
        self.only_baseline = self.only_baseline.saturating_add(other.only_baseline);
        self.both = self.both.saturating_add(other.both);
    }
}

/// A pair that differs: its labels if they decide, otherwise the first place where it does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When they were compared, in milliseconds since the epoch.
    pub time: u64,
    /// A JSON pointer with `*` for every element; empty for the whole answer.
    pub path: String,
    /// How they differ: the place of a [`Kind`] in [`Kind::ALL`].
    kind: u8,
    /// Stable's value and the shadow's, cut.
    pub values: (String, String),
}

impl Sample {
    /// How the values differ.
    #[must_use]
    pub fn kind(&self) -> Kind {
        kind_of(self.kind)
    }
}

fn kind_of(number: u8) -> Kind {
    Kind::ALL.get(usize::from(number)).copied().unwrap_or(Kind::Value)
}

/// How often pairs differ at a place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceTotal {
    /// A JSON pointer with `*` for every element; empty for the whole answer.
    pub path: String,
    /// How they differ: the place of a [`Kind`] in [`Kind::ALL`].
    kind: u8,
    /// Pairs that do.
    pub pairs: u64,
    /// Elements that do.
    pub elements: u64,
}

impl PlaceTotal {
    /// How pairs differ there.
    #[must_use]
    pub fn kind(&self) -> Kind {
        kind_of(self.kind)
    }
}

impl Totals {
    /// Counts a pair. `None`: the shadow gave no answer of its own.
    pub fn count(&mut self, pair: Option<&Compared>) {
        let Some(pair) = pair else {
            self.failed = self.failed.saturating_add(1);
            return;
        };
        self.compared = self.compared.saturating_add(1);
        self.matched = self.matched.saturating_add(u64::from(pair.agrees));
        for place in &pair.found.places {
            self.count_place(&place.path, place.kind as u8, (1, place.count));
        }
        self.overflow = self.overflow.saturating_add(pair.found.overflow);
        self.apart.add(&pair.found.apart);
        self.bytes.0 = self.bytes.0.saturating_add(pair.bytes.0);
        self.bytes.1 = self.bytes.1.saturating_add(pair.bytes.1);
        let Some(labels) = &pair.labels else { return };
        self.confusion.count(&labels.names.0, &labels.names.1, labels.agree, 1);
        if let Some(part) = labels.overlap {
            self.overlap = (self.overlap.0.saturating_add(1), self.overlap.1 + part);
        }
        if let Some(alike) = labels.likeness {
            let (all, same, sum) = self.texts;
            let same = same.saturating_add(u64::from(alike.normalised));
            self.texts = (all.saturating_add(1), same, sum + alike.f1);
        }
    }

    /// Keeps a pair that differs, as one of the newest `most`.
    pub fn sample(&mut self, pair: &Compared, time: u64, most: usize) {
        let with_values = |place: &Place| Some((place.path.clone(), place.kind, place.values.clone()?));
        let mut places = pair.decided.iter().chain(&pair.found.places);
        let first = places.find_map(with_values).filter(|_| !pair.agrees);
        if let Some((path, kind, values)) = first {
            self.most_samples = most;
            self.keep(Sample { time, path, kind: kind as u8, values });
        }
    }

    fn keep(&mut self, sample: Sample) {
        let at = self.samples.partition_point(|known| known.time <= sample.time);
        self.samples.insert(at, sample);
        while self.samples.len() > self.most_samples {
            self.samples.pop_front();
        }
    }

    /// Counts a request that stable's copy has answered as well.
    pub fn count_beside(&mut self, shadow_differs: bool, baseline_differs: bool) {
        self.beside.add(Beside {
            all: 1,
            only_shadow: u64::from(shadow_differs && !baseline_differs),
            only_baseline: u64::from(baseline_differs && !shadow_differs),
            both: u64::from(shadow_differs && baseline_differs),
        });
    }

    fn count_place(&mut self, path: &str, kind: u8, (pairs, elements): (u64, u64)) {
        let known = self.places.iter_mut().find(|place| place.kind == kind && place.path == path);
        if let Some(place) = known {
            place.pairs = place.pairs.saturating_add(pairs);
            place.elements = place.elements.saturating_add(elements);
        } else if self.places.len() < MOST_PLACES {
            self.places.push(PlaceTotal { path: path.to_owned(), kind, pairs, elements });
        } else {
            self.overflow = self.overflow.saturating_add(pairs);
        }
    }

    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Self) {
        self.compared = self.compared.saturating_add(other.compared);
        self.matched = self.matched.saturating_add(other.matched);
        self.failed = self.failed.saturating_add(other.failed);
        for place in &other.places {
            self.count_place(&place.path, place.kind, (place.pairs, place.elements));
        }
        self.overflow = self.overflow.saturating_add(other.overflow);
        self.apart.add(&other.apart);
        self.confusion.add(&other.confusion);
        self.overlap = (self.overlap.0.saturating_add(other.overlap.0), self.overlap.1 + other.overlap.1);
        let ((all, same, sum), (more, also, further)) = (self.texts, other.texts);
        self.texts = (all.saturating_add(more), same.saturating_add(also), sum + further);
        self.bytes.0 = self.bytes.0.saturating_add(other.bytes.0);
        self.bytes.1 = self.bytes.1.saturating_add(other.bytes.1);
        self.beside.add(other.beside);
        if other.most_samples > 0 {
            self.most_samples = other.most_samples;
        }
        other.samples.iter().for_each(|sample| self.keep(sample.clone()));
    }
}
