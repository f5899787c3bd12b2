//! What the judge has found.

use serde::{Deserialize, Serialize};

use crate::analysis::rules::ALL_METRICS;
use crate::analysis::totals::Totals;
use crate::analysis::{judge, test, window};
use crate::model::{Side, Unit};
use crate::rollout::record::Record;
use crate::signal::catalog::{self, Kind};
use crate::signal::histogram;

/// The evidence that the candidate is worse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Evidence {
    /// The metric. `all` decides: a weighted average, in which `error_rate` has half and metrics that compare inputs have no
    /// part.
    pub metric: String,
    /// The logarithm of its e-value.
    pub log10_e: Option<f64>,
    /// The logarithm of the e-value at which the candidate is worse; `null` for all but the average.
    pub threshold: Option<f64>,
    /// Of what users do afterwards: for so long after a request it may come, so the evidence is as old; left out of other metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_ms: Option<u64>,
    /// What the metric is compared by; left out where there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<Tested>,
}

/// One comparison of a metric: of a duration there is one for each quantile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Tested {
    /// The logarithm of its e-value; the metric's e-value is the average of its tests'.
    pub log10_e: Option<f64>,
    /// What the candidate is compared with.
    pub against: Against,
    /// Whether more or less of the candidate's counts against it.
    pub worse_if: WorseIf,
    /// Of durations: the quantile of stable's at which they are compared; otherwise `null`.
    pub quantile: Option<f64>,
    /// Of durations: what takes longer than this is counted. Stable's is its quantile in an earlier time, the candidate's is
    /// what is tolerated; `null` until enough of stable's durations are known.
    pub slower_than_ms: Option<Milliseconds>,
    /// The candidate has the event at least so many times as often as stable, with `worse_if: less` stable as the candidate: the
    /// lower end of a confidence sequence over the step, above the true ratio in at most one step of twenty, however often one
    /// looks. `null` while it is not certain to be more often at all, and always against a limit or a copy, of means, and where
    /// users are judged (`unit`): it is known of requests only.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// Of durations: where the quantile is since the step began, in milliseconds, of all answers of both versions; `null`
    /// before the first ones.
    #[serde(default)]
    pub measured_ms: Option<Milliseconds>,
    /// The limit, a rate; `null` unless the candidate is compared with one.
    pub max: Option<f64>,
    /// What was counted since the step began; while nothing is known of it, in the one before.
    pub samples: Samples,
}

/// What the candidate is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Against {
    /// With stable at the same time.
    Stable,
    /// With a configured limit.
    Limit,
    /// With a copy of stable that gets the same requests.
    Copy,
}

/// Which difference counts against the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum WorseIf {
    /// More than the other.
    More,
    /// Less than the other.
    Less,
}

/// Milliseconds of both versions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Milliseconds {
    /// Of the candidate.
    pub candidate: f64,
    /// Of stable.
    pub stable: f64,
}

/// The counts of both versions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Samples {
    /// What was counted.
    pub unit: Unit,
    /// The version being released.
    pub candidate: Sample,
    /// The version it is compared with.
    pub stable: Sample,
}

/// The counts of one version.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Sample {
    /// Requests, or users, with the metric's event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// The mean of their values, if the metric is a mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// All judged requests, or users.
    pub units: u64,
}

impl Sample {
    fn new(samples: Totals, side: Side) -> Self {
        match samples {
            Totals::Events(table) => {
                Self { events: Some(table[side].events), mean: None, units: table[side].units }
            }
            Totals::Means(sums) => Self { events: None, mean: sums[side].mean(), units: sums[side].count },
        }
    }
}

impl Tested {
    fn new(tested: &judge::Tested, unit: Unit) -> Self {
        let judge::Tested { test, seen, edges, value, at_least, measured } = tested;
        let (against, max) = match test.against {
            test::Against::Stable { .. } => (Against::Stable, None),
            test::Against::Bound { max } => (Against::Limit, Some(max)),
            test::Against::Copy { .. } => (Against::Copy, None),
        };
        let tenths = |milliseconds: f64| (milliseconds * 10.0).round() / 10.0;
        let milliseconds = |edge: usize| tenths(histogram::milliseconds(edge));
        Self {
            log10_e: shown(value.log10()),
            against,
            worse_if: if test.is_of_less() { WorseIf::Less } else { WorseIf::More },
            quantile: test.quantile(),
            slower_than_ms: edges.map(|edges| Milliseconds {
                candidate: milliseconds(edges.candidate),
                stable: milliseconds(edges.stable),
            }),
            at_least: at_least.filter(|_| unit == Unit::Requests).map(down),
            measured_ms: match (measured.candidate, measured.stable) {
                (Some(candidate), Some(stable)) => {
                    Some(Milliseconds { candidate: tenths(candidate), stable: tenths(stable) })
                }
                _ => None,
            },
            max,
            samples: Samples::new(*seen, unit).on_scale(test),
        }
    }
}

impl Samples {
    pub(super) fn new(samples: Totals, unit: Unit) -> Self {
        let [candidate, stable] = [Side::Candidate, Side::Stable].map(|side| Sample::new(samples, side));
        Self { unit, candidate, stable }
    }

    /// Means as values: on a logarithmic scale, geometric means.
    fn on_scale(mut self, test: &test::Test) -> Self {
        if let Some(Kind::Mean(scale)) = catalog::by_id(test.signal).map(|signal| signal.kind) {
            for sample in [&mut self.candidate, &mut self.stable] {
                sample.mean = sample.mean.map(|mean| scale.value(mean));
            }
        }
        self
    }
}

pub(super) fn evidence(record: &Record) -> Vec<Evidence> {
    let Some(rules) = record.program.rules() else { return Vec::new() };
    let reading = record.run.judge.reading();
    let mut evidence: Vec<Evidence> = Vec::new();
    let judged = reading.metrics.into_iter().zip(record.run.judge.tested());
    for (rule, (value, tested)) in rules.metrics.iter().zip(judged) {
        evidence.push(Evidence {
            metric: rule.name.clone(),
            log10_e: shown(value.log10()),
            threshold: None,
            within_ms: rule
                .tests
                .first()
                .filter(|test| test.is_of_events())
                .map(|test| rules.comes_within(test).saturating_mul(1_000)),
            tests: tested.iter().map(|tested| Tested::new(tested, rules.unit)).collect(),
        });
    }
    let window = record.run.window();
    evidence.extend(window.map(|value| Evidence {
        metric: window::metric(),
        log10_e: shown(value.log10()),
        threshold: None,
        within_ms: None,
        tests: Vec::new(),
    }));
    let threshold = shown(rules.threshold.log10());
    let all = reading.all.max(window.unwrap_or(0.0));
    evidence.push(Evidence {
        metric: ALL_METRICS.into(),
        log10_e: shown(all.log10()),
        threshold,
        within_ms: None,
        tests: Vec::new(),
    });
    evidence
}

/// A lower end to two decimals, never above it.
fn down(times: f64) -> f64 {
    (times * 100.0).floor() / 100.0
}

/// A number, such as a logarithm, to three decimals, which suffices for reading. JSON has no infinite numbers.
pub(super) fn shown(logarithm: f64) -> Option<f64> {
    logarithm.is_finite().then(|| (logarithm * 1_000.0).round() / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_numbers_or_nothing() {
        assert_eq!(shown(1.234_56), Some(1.235));
        assert_eq!(shown(0.0_f64.log10()), None);
    }
}
