//! How a release moves by itself: its steps, and the analysis that decides between forward and back.

use std::collections::BTreeMap;
use std::fmt;

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::de::fields;
use super::units::{Count, Duration, Percent};
use crate::model::Degree;
use crate::signal::catalog::{self, Signal};

/// One step of a canary: exactly one of its fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct Step {
    /// The candidate's share in percent, or shares by version; versions that are not named keep theirs, and
    /// stable gets the rest.
    pub set_weight: Option<SetWeight>,
    /// The mirror's share, from here on.
    pub set_mirror: Option<SetMirror>,
    /// Wait: for a time, for requests, or (`{}`) until a person promotes.
    pub pause: Option<Pause>,
    /// The degree of automation, from here on.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub set_degree: Option<Degree>,
    /// Wait until the candidate is ready, asked by HTTP.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub ready: Option<Ready>,
}

fields!(Step: set_weight, set_mirror, pause, set_degree, ready);

/// A step's weights.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum SetWeight {
    /// The candidate's.
    Candidate(Percent),
    /// Those of the versions named.
    Versions(BTreeMap<String, Percent>),
}

impl<'de> Deserialize<'de> for SetWeight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Weights;
        impl<'de> Visitor<'de> for Weights {
            type Value = SetWeight;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a share in percent, or a map of versions to shares")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<SetWeight, E> {
                share(de::value::I64Deserializer::new(number))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<SetWeight, E> {
                share(de::value::F64Deserializer::new(number))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<SetWeight, E> {
                match text.parse::<f64>() {
                    Ok(number) if number.is_finite() => self.visit_f64(number),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SetWeight, A::Error> {
                BTreeMap::deserialize(de::value::MapAccessDeserializer::new(map)).map(SetWeight::Versions)
            }
        }
        fn share<'de, D: Deserializer<'de>>(number: D) -> Result<SetWeight, D::Error> {
            Percent::deserialize(number).map(SetWeight::Candidate)
        }
        deserializer.deserialize_any(Weights)
    }
}

/// The mirror's share from a step on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["percent"])))]
pub struct SetMirror {
    /// In place of `mirror.percent`.
    pub percent: Option<Percent>,
}

fields!(SetMirror: percent);

/// What a step waits for. All given conditions must hold; without any, until a person promotes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct Pause {
    /// How long to wait.
    pub duration: Option<Duration>,
    /// How many of the candidate's requests (with session affinity: users) must be judged in this step.
    pub min_requests: Option<Count>,
    /// How many of the shadow's answers must be compared with stable's in this step.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub min_compared: Option<Count>,
    /// The agreement that must be proven, from 0 to 1: the lower end of its confidence interval counts. With `automation`:
    /// of the tasks that people have decided in this step without seeing the model's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_agreement: Option<f64>,
    /// With `automation`: how many tasks people must decide in this step without seeing the model's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_decisions: Option<Count>,
    /// With `automation`: the part of the tasks that the proven threshold must leave to the model, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_coverage: Option<f64>,
}

fields!(Pause: duration, min_requests, min_compared, min_agreement, min_decisions, min_coverage);

/// When the candidate is ready. Envoy itself asks its cluster, once a second, with `GET`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["path"])))]
pub struct Ready {
    /// The path that is asked, such as `/v2/health/ready`.
    pub path: String,
    /// The host name that is asked for. Absent: the name of the candidate's cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// The status of a candidate that is ready.
    pub expect: Count,
    /// So many answers in a row must have it.
    pub successes: Count,
    /// A candidate that is not ready by then pauses the release.
    pub timeout: Duration,
}

fields!(Ready: path, authority, expect, successes, timeout);

impl Default for Ready {
    fn default() -> Self {
        Self {
            path: String::new(),
            authority: None,
            expect: 200.into(),
            successes: 3.into(),
            timeout: Duration::from_millis(15 * 60_000),
        }
    }
}

/// Compares the candidate with stable, and takes the release back when it is worse.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct Analysis {
    /// The chance to take a healthy candidate back, over a whole attempt; all metrics share it.
    pub false_alarm: f64,
    /// No answer by then is an error.
    pub deadline: Duration,
    /// Which answers are errors. Resets, timeouts and missing endpoints always are.
    pub error_when: ErrorWhen,
    /// What is compared.
    pub metrics: Vec<Metric>,
    /// What happens when the candidate is worse.
    pub on_failure: OnFailure,
    /// Record what would have happened, and change nothing.
    pub dry_run: bool,
    /// What a step must show before it ends. Absent: only that the candidate was not found worse.
    pub promote_when: Option<PromoteWhen>,
    /// Requests of a candidate that begins, or comes back after five minutes without any, that are counted and not
    /// judged. Absent: the first 50 are not judged by latency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<WarmUp>,
    /// Whether a step may end before the candidate has answered a request in it and every metric could be judged.
    pub no_data: NoData,
    /// A step that cannot end by then pauses the release. Steps that wait for a person have none.
    pub progress_deadline: Option<Duration>,
    /// Acts between two requests on a candidate that fails altogether. Absent: the judge alone acts.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub circuit_breaker: Option<CircuitBreaker>,
}

fields!(
    Analysis: false_alarm, deadline, error_when, metrics, on_failure, dry_run, promote_when, warm_up, no_data,
    progress_deadline, circuit_breaker
);

/// Acts between two requests on a candidate that fails altogether.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["consecutive_errors"])))]
pub struct CircuitBreaker {
    /// So many of the candidate's answers on one worker, one after the other, were errors, and stable is well.
    pub consecutive_errors: Option<Count>,
}

fields!(CircuitBreaker: consecutive_errors);

impl Default for Analysis {
    fn default() -> Self {
        let metric = |signal: &&Signal| Metric { name: signal.name.into(), ..Metric::default() };
        Self {
            false_alarm: 0.01,
            deadline: Duration::from_millis(5_000),
            error_when: ErrorWhen::default(),
            metrics: catalog::DEFAULT.iter().map(metric).collect(),
            on_failure: OnFailure::default(),
            dry_run: false,
            promote_when: None,
            warm_up: None,
            no_data: NoData::default(),
            progress_deadline: None,
            circuit_breaker: None,
        }
    }
}

/// Which answers of a version are its errors.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct ErrorWhen {
    /// Statuses, such as `503`, or classes of them, such as `5xx`.
    pub status: Vec<String>,
    /// Statuses of gRPC, by number.
    pub grpc_status: Vec<Count>,
}

fields!(ErrorWhen: status, grpc_status);

impl Default for ErrorWhen {
    fn default() -> Self {
        Self { status: vec!["5xx".into()], grpc_status: [2, 4, 13, 14, 15].map(Count::from).into() }
    }
}

/// Something that is compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["name"])))]
pub struct Metric {
    /// What is compared, such as `error_rate`, `unanswered` or `client_error_rate`.
    #[cfg_attr(not(target_arch = "wasm32"), schemars(extend("enum" = catalog::names())))]
    pub name: String,
    /// How many times stable's value is tolerated: 1 unless given, for latency 1.19.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerate: Option<f64>,
    /// In addition, a fixed limit for the candidate's rate, from 0 to 1. Not for latency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// For latency: milliseconds by which the candidate may be slower, where that is more than `tolerate` allows. Default:
    /// 25.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub or_milliseconds: Option<f64>,
    /// For latency: the quantiles that are compared, 0.5, 0.9 and 0.99 unless given; with session affinity 0.9,
    /// 0.99 and 0.999.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantiles: Option<Vec<f64>>,
    /// Which difference from stable counts against the candidate, where more is not always worse. Absent: both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
}

fields!(Metric: name, tolerate, max, or_milliseconds, quantiles, direction);

/// Which difference from stable counts against the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum Direction {
    /// More.
    Up,
    /// Less.
    Down,
    /// Both.
    Both,
}

/// What happens when the candidate is worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum OnFailure {
    /// The candidate's share goes back to stable.
    #[default]
    Abort,
    /// The release is paused at its step until a person decides.
    Pause,
    /// An event says so.
    Alarm,
}

/// How long a candidate is not judged: until all that is given has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct WarmUp {
    /// So many of its requests.
    pub requests: Option<Count>,
    /// So long after the first of them.
    pub duration: Option<Duration>,
}

fields!(WarmUp: requests, duration);

/// What follows for a step from having nothing to judge by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum NoData {
    /// It waits.
    #[default]
    Hold,
    /// It ends all the same.
    Proceed,
}

/// What a step must show before it ends.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct PromoteWhen {
    /// The candidate is within this margin of stable.
    pub no_worse_than: NoWorseThan,
    /// With this certainty.
    pub confidence: f64,
}

fields!(PromoteWhen: no_worse_than, confidence);

impl Default for PromoteWhen {
    fn default() -> Self {
        Self { no_worse_than: NoWorseThan::default(), confidence: 0.95 }
    }
}

/// A margin: whichever of the two allows more.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct NoWorseThan {
    /// So many times stable's rate.
    pub times: f64,
    /// So many percentage points above it.
    pub or_points: f64,
}

fields!(NoWorseThan: times, or_points);

impl Default for NoWorseThan {
    fn default() -> Self {
        Self { times: 2.0, or_points: 1.0 }
    }
}
