//! Alarms, and how far metrics have moved.

use serde::{Deserialize, Serialize};

use super::evidence::shown;
use crate::alarm::rule::Rule;
use crate::config::alarm::{self, Of};
use crate::control::time::rfc3339;
use crate::drift::rule::{self, WINDOWS};
use crate::drift::state::Moved;
use crate::rollout::record::Record;
use crate::rollout::run::alarm::sentence;
use crate::rollout::run::drift;

/// An alarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Alarm {
    /// Its name.
    pub name: String,
    /// Whether it is raised.
    pub raised: bool,
    /// Since when, as RFC 3339 writes it; `null` while it is not raised.
    pub since: Option<String>,
    /// The signal that it looks at.
    pub signal: String,
    /// Whose.
    pub of: Of,
    /// What happens when it is raised.
    pub action: alarm::Action,
    /// What it has last seen in its window: a rate, milliseconds, or a mean; `null` before there were enough observations.
    pub value: Option<f64>,
    /// The same in its slow window, where it has one in which the threshold must be passed as well.
    pub slow_value: Option<f64>,
    /// The threshold.
    pub threshold: Option<f64>,
    /// Observations in the window.
    pub observations: u64,
    /// All of this in one sentence.
    pub sentence: String,
}

/// How far a metric of stable's has moved from its reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Drift {
    /// The metric.
    pub metric: String,
    /// When its reference was frozen, as RFC 3339 writes it; `null` while there is none.
    pub frozen: Option<String>,
    /// Observations of the reference.
    pub observations: u64,
    /// The last 5 minutes, hour and day.
    pub windows: Vec<DriftWindow>,
    /// All of this in one sentence.
    pub sentence: String,
}

/// How far a metric has moved in a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct DriftWindow {
    /// `5m`, `1h` or `1d`.
    pub window: String,
    /// How far, in units of its noise: above 1 chance alone moves it once in a hundred times. `null` of too few observations.
    pub times_noise: Option<f64>,
    /// How much that is: the population stability index, less what chance adds.
    pub size: Option<f64>,
    /// Observations in the window; 0 of too few.
    pub observations: u64,
}

pub(super) fn alarms(record: &Record) -> Vec<Alarm> {
    let Record { program, run, .. } = record;
    let state = |at: usize| run.alarms.alarms().get(at);
    let alarm = |(at, rule): (usize, &Rule)| {
        let reading = state(at).and_then(|state| state.latest);
        let raised = state(at).and_then(|state| state.raised);
        let sentence = match &reading {
            Some(reading) => sentence(program, rule, reading),
            None => "not enough has been observed yet".to_owned(),
        };
        Alarm {
            name: rule.name.clone(),
            raised: raised.is_some(),
            since: raised.map(rfc3339),
            signal: rule.signal.1.clone(),
            of: rule.of,
            action: rule.action,
            value: reading.map(|reading| reading.value),
            slow_value: reading.and_then(|reading| reading.slow),
            threshold: reading.map(|reading| reading.threshold),
            observations: reading.map_or(0, |reading| rule.observations(&reading.samples)),
            sentence,
        }
    };
    program.alarms.iter().enumerate().map(alarm).collect()
}

pub(super) fn drifts(record: &Record) -> Vec<Drift> {
    let Record { program, run, .. } = record;
    let shown_of = |(at, rule): (usize, &rule::Metric)| {
        let metric = run.drift.metrics().get(at);
        let reference = metric.and_then(|metric| metric.reference.as_ref());
        let moved = metric.map_or([None; WINDOWS.len()], |metric| metric.windows_moved);
        let window = |((window, _), moved): ((&str, u64), Option<Moved>)| DriftWindow {
            window: window.to_owned(),
            times_noise: moved.and_then(|moved| shown(moved.movement.times)),
            size: moved.and_then(|moved| shown(moved.movement.size)),
            observations: moved.map_or(0, |moved| moved.observations),
        };
        Drift {
            metric: rule.name.clone(),
            frozen: reference.map(|reference| rfc3339(reference.frozen)),
            observations: reference.map_or(0, |reference| reference.observations),
            windows: WINDOWS.into_iter().zip(moved).map(window).collect(),
            sentence: drift::sentence(&rule.name, metric),
        }
    };
    program.drift.iter().flat_map(|rules| &rules.metrics).enumerate().map(shown_of).collect()
}
