//! What the API says of compared pairs.

use serde::{Deserialize, Serialize};

use super::time::rfc3339;
use crate::analysis::kernel::agreement::Agreement;
use crate::analysis::kernel::paired::{diffy, mcnemar};
use crate::compare::label::Confusion;
use crate::compare::totals::{self, Beside, Totals};
use crate::fleet::differences;
use crate::model::real;

/// How often a shadow agrees with stable, and where it does not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Differences {
    /// The release that is being compared.
    pub release: String,
    /// The version whose answers were compared with stable's; `null` before the first one.
    pub shadow: Option<String>,
    /// Pairs that were compared, those in which stable refuses or fails left out.
    pub compared: u64,
    /// Those that agree.
    pub matched: u64,
    /// Requests to which the shadow gave no answer of its own; they are no pairs.
    pub failed: u64,
    /// The share of pairs that agree; `null` without any.
    pub agreement: Option<Agreement>,
    /// Where pairs differ, in the order in which it was found.
    pub fields: Vec<Field>,
    /// Differences at fields that are not told apart.
    pub other_fields: u64,
    /// Labels; `null` without any.
    pub labels: Option<Labels>,
    /// How far apart numbers are.
    pub numbers: Numbers,
    /// The mean part that two ranked lists share; `null` without any.
    pub overlap: Option<f64>,
    /// The share of texts that are the same when normalised, and the mean F1 of their tokens; `null` without any.
    pub texts: Option<Texts>,
    /// Bytes of the shadow's answers, as a ratio of stable's; `null` without any.
    pub length_ratio: Option<f64>,
    /// The same requests answered by stable once more; `null` without `compare.baseline`.
    #[serde(default)]
    pub baseline: Option<Baseline>,
    /// The newest pairs that differ, newest first; empty without `compare.samples`.
    #[serde(default)]
    pub samples: Vec<DifferingPair>,
}

/// A pair that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct DifferingPair {
    /// When it was compared, as RFC 3339 writes it.
    pub time: String,
    /// The label if it decides, otherwise the first field that differs, with `*` for every element; empty for the whole answer.
    pub field: String,
    /// How it differs.
    pub kind: String,
    /// Stable's value, as JSON of at most 256 bytes.
    pub stable: String,
    /// The shadow's.
    pub shadow: String,
}

/// Stable's answers beside those of its own copy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Baseline {
    /// Pairs of stable's answers and its copy's that were compared.
    pub compared: u64,
    /// The share of them that agree.
    pub agreement: Agreement,
    /// Requests with all three answers.
    pub beside: u64,
    /// Those in which only the shadow differs from stable.
    pub only_shadow: u64,
    /// Those in which only stable's copy does.
    pub only_baseline: u64,
    /// Those in which both do.
    #[serde(default)]
    pub both: u64,
    /// The logarithm of the e-value that the shadow differs more often than a copy of stable would (McNemar).
    pub log10_e: f64,
    /// What diffy would say of the same requests. An older filter does not say it.
    #[serde(default)]
    pub diffy: Option<Diffy>,
    /// Where stable differs from its copy.
    pub fields: Vec<Field>,
}

/// Diffy's two numbers, with its own thresholds: of whole answers, or of their labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Diffy {
    /// |raw - noise| / (raw + noise) in percent, of the requests in which the shadow differs and those in which stable's copy does.
    pub relative: f64,
    /// |raw - noise| / all in percent.
    pub absolute: f64,
    /// Whether raw is above noise, and both numbers are above 20 and 0.03.
    pub reported: bool,
}

/// A field in which answers differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Field {
    /// A JSON pointer with `*` for every element; empty for the whole answer.
    pub field: String,
    /// How they differ.
    pub kind: String,
    /// In how many pairs.
    pub pairs: u64,
    /// In how many elements.
    pub elements: u64,
}

/// The labels of pairs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Labels {
    /// Cohen's kappa.
    pub kappa: f64,
    /// Its standard error.
    pub kappa_error: f64,
    /// The confusion matrix, in the order in which it was found.
    pub pairs: Vec<Cell>,
}

/// Pairs with these labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Cell {
    /// Stable's label.
    pub stable: String,
    /// The shadow's.
    pub shadow: String,
    /// How many pairs.
    pub pairs: u64,
}

/// Pairs of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Numbers {
    /// All of them.
    pub compared: u64,
    /// Those beyond the tolerance.
    pub beyond: u64,
    /// By their relative difference: none; below 1e-8; below 1e-7, 1e-6, … 1; 1 or more.
    pub by_decade: Vec<u64>,
}

/// Pairs of texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Texts {
    /// The share that is the same but for case and white space.
    pub normalised: f64,
    /// The mean F1 of their tokens.
    pub f1: f64,
}

impl Differences {
    /// What is said of a release; `None`: nothing was compared yet.
    #[must_use]
    pub fn new(release: &str, known: Option<differences::Differences>) -> Self {
        let release = release.to_owned();
        let Some(known) = known else { return Self { release, ..Self::default() } };
        let totals = &known.totals;
        let part = |count: u64, of: u64| real(count) / real(of);
        let agreement = (totals.compared > 0).then(|| Agreement::of(totals.matched, totals.compared));
        let (texts, same, f1) = totals.texts;
        let (lists, shared) = totals.overlap;
        let (stable, shadow) = totals.bytes;
        Self {
            release,
            shadow: Some(known.shadow.clone()),
            compared: totals.compared,
            matched: totals.matched,
            failed: totals.failed,
            agreement,
            fields: fields(totals),
            other_fields: totals.overflow,
            labels: labels(&totals.confusion),
            numbers: Numbers {
                compared: totals.apart.all(),
                beyond: totals.apart.beyond,
                by_decade: totals.apart.by_decade.to_vec(),
            },
            overlap: (lists > 0).then(|| shared / real(lists)),
            texts: (texts > 0).then(|| Texts { normalised: part(same, texts), f1: f1 / real(texts) }),
            length_ratio: (stable > 0).then(|| part(shadow, stable)),
            baseline: baseline(&known),
            samples: known.totals.samples.iter().rev().map(sample).collect(),
        }
    }

    /// How many fields, labels and pairs it lists.
    #[must_use]
    pub fn listed(&self) -> usize {
        let fields = self.baseline.as_ref().map_or(0, |baseline| baseline.fields.len());
        let labels = self.labels.as_ref().map_or(0, |labels| labels.pairs.len());
        [self.fields.len(), fields, labels, self.samples.len()].into_iter().fold(0, usize::saturating_add)
    }
}

fn sample(sample: &totals::Sample) -> DifferingPair {
    DifferingPair {
        time: rfc3339(sample.time),
        field: sample.path.clone(),
        kind: sample.kind().label().to_owned(),
        stable: sample.values.0.clone(),
        shadow: sample.values.1.clone(),
    }
}

fn baseline(known: &differences::Differences) -> Option<Baseline> {
    let differences::Differences { totals, baseline, .. } = known;
    let Beside { all: beside, only_shadow, only_baseline, both } = totals.beside;
    let diffy = diffy(only_shadow.saturating_add(both), only_baseline.saturating_add(both), beside);
    (baseline.compared > 0).then(|| Baseline {
        compared: baseline.compared,
        agreement: Agreement::of(baseline.matched, baseline.compared),
        beside,
        only_shadow,
        only_baseline,
        both,
        log10_e: mcnemar(only_shadow, only_baseline) / std::f64::consts::LN_10,
        diffy: Some(Diffy {
            relative: diffy.relative,
            absolute: diffy.absolute,
            reported: diffy.is_reported,
        }),
        fields: fields(baseline),
    })
}

fn fields(totals: &Totals) -> Vec<Field> {
    let field = |place: &crate::compare::totals::PlaceTotal| Field {
        field: place.path.clone(),
        kind: place.kind().label().to_owned(),
        pairs: place.pairs,
        elements: place.elements,
    };
    totals.places.iter().map(field).collect()
}

fn labels(confusion: &Confusion) -> Option<Labels> {
    let agreement = confusion.agreement()?;
    let cell = |(stable, shadow, pairs): (&str, &str, u64)| Cell {
        stable: stable.to_owned(),
        shadow: shadow.to_owned(),
        pairs,
    };
    let pairs = confusion.cells().map(cell).collect();
    Some(Labels { kappa: agreement.kappa, kappa_error: agreement.error, pairs })
}
