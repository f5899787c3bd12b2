//! What is judged, compiled from the configuration.

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use super::latency;
use super::promotion::Margin;
use crate::config::release::{Analysis, ERROR_RATE, LATENCY, Metric};

/// Quantiles of the latency that are compared unless the configuration says which.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
/// The same for users: what happens to everybody sooner or later soon happens to nobody for the first time.
const QUANTILES_OF_USERS: [f64; 3] = [0.9, 0.99, 0.999];
/// The tolerated ratio of latencies unless the configuration says which: one bucket.
const LATENCY_TOLERATED: f64 = 1.19;

/// How a release is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// The e-value at which the candidate counts as worse: 1/α.
    pub threshold: f64,
    /// Nanoseconds after which a request without an answer has failed.
    pub deadline: u64,
    /// Users are judged and not requests, for each keeps his version.
    pub by_user: bool,
    /// What is compared; their e-values are averaged.
    pub metrics: Vec<MetricRule>,
    /// What a step must show before it ends.
    pub promotion: Option<Promotion>,
    /// Tells apart what counts as an error.
    pub errors: u64,
}

/// What a step must show before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promotion {
    /// The candidate is within this margin.
    pub margin: Margin,
    /// The e-value at which it counts as such: 1/β.
    pub threshold: f64,
    /// Tells what is proven: the margin, and what counts as an error.
    pub basis: u64,
}

/// One metric: its e-value is the average of its tests'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricRule {
    /// Its name in evidence and events.
    pub name: String,
    /// Tells definitions apart: evidence of another definition is not this one's.
    pub definition: u64,
    /// What is tested.
    pub tests: Vec<Test>,
}

/// One test of one yes/no event.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Test {
    /// Errors, more than so many times as often as stable's.
    Errors {
        /// At least 1.
        tolerate: f64,
    },
    /// Errors, more often than a fixed rate.
    ErrorsBeyond {
        /// Between 0 and 1.
        max: f64,
    },
    /// Answers slower than stable's quantile.
    Slower {
        /// Between 0 and 1.
        quantile: f64,
        /// By more than so many buckets.
        tolerated: usize,
    },
}

impl Rules {
    /// Compiles a valid configuration; `by_user`: with session affinity.
    #[must_use]
    pub fn new(analysis: &Analysis, by_user: bool) -> Self {
        let errors = format!("{by_user} {:?} {:?}", analysis.deadline, analysis.error_when);
        Self {
            by_user,
            errors: fingerprint(&errors),
            threshold: analysis.false_alarm.recip(),
            deadline: analysis.deadline.as_millis().saturating_mul(1_000_000),
            metrics: analysis
                .metrics
                .iter()
                .flat_map(|metric| metric_rules(metric, analysis, by_user))
                .collect(),
            promotion: analysis.promote_when.as_ref().map(|promote| Promotion {
                margin: Margin {
                    times: promote.no_worse_than.times,
                    points: promote.no_worse_than.or_points / 100.0,
                },
                threshold: (1.0 - promote.confidence).recip(),
                basis: fingerprint(&format!("{:?} {errors}", promote.no_worse_than)),
            }),
        }
    }
}

fn fingerprint(definition: &str) -> u64 {
    SipHasher24::new().hash(definition.as_bytes())
}

/// A metric's rules: those against stable, and with `max` one against the bound, which counts as another metric.
fn metric_rules(metric: &Metric, analysis: &Analysis, by_user: bool) -> Vec<MetricRule> {
    let rule = |name: String, tests: Vec<Test>| {
        // Everything that decides what an event is. `Debug` of plain numbers does not change between builds of
        // one version, and a new version of this software is a new process.
        let definition = format!("{by_user} {tests:?} {:?} {:?}", analysis.deadline, analysis.error_when);
        MetricRule { name, definition: fingerprint(&definition), tests }
    };
    match metric.name.as_str() {
        LATENCY => {
            let tolerated = latency::tolerated_buckets(metric.tolerate.unwrap_or(LATENCY_TOLERATED));
            let usual = if by_user { &QUANTILES_OF_USERS } else { &QUANTILES };
            let quantiles = metric.quantiles.as_deref().unwrap_or(usual);
            let tests = quantiles.iter().map(|&quantile| Test::Slower { quantile, tolerated }).collect();
            vec![rule(metric.name.clone(), tests)]
        }
        ERROR_RATE => {
            let compared = vec![Test::Errors { tolerate: metric.tolerate.unwrap_or(1.0) }];
            let bounded =
                metric.max.map(|max| rule(format!("{}.max", metric.name), vec![Test::ErrorsBeyond { max }]));
            [rule(metric.name.clone(), compared)].into_iter().chain(bounded).collect()
        }
        _ => Vec::new(), // refused by the validation
    }
}
