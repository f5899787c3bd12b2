//! Alarms of a rollout.

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::de::fields;
use super::units::{Count, Duration};
use crate::signal::catalog::{Kind, Scale};

/// Milliseconds of a window, unless another is given.
const WINDOW: u64 = 300_000;

/// A threshold on what a version does, and what happens when it is passed: exactly one of `max`, `min`, `relative`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(rename = "AlarmRule", extend("required" = ["name", "signal"])))]
pub struct Alarm {
    /// Unique name: the label of `changeover_alarm`. Lower-case letters, digits and `-`, at most 63.
    pub name: String,
    /// What is looked at: a metric of the catalogue, judged or not.
    #[cfg_attr(not(target_arch = "wasm32"), schemars(extend("enum" = crate::signal::catalog::names())))]
    pub signal: String,
    /// Whose.
    pub of: Of,
    /// It is raised above this: a rate from 0 to 1, milliseconds of a duration, or a mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// It is raised below this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// It is raised at this multiple of stable's value, or of the past's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative: Option<Relative>,
    /// Of a duration: which quantile, 0.99 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
    /// The time that is looked at, from 30s to 1h.
    pub window: Duration,
    /// A longer time, up to 24h, in which the threshold must be passed as well. With `relative.to: past` it is the past.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_window: Option<Duration>,
    /// From fewer observations in the window nothing follows.
    pub min_samples: Count,
    /// What happens when it is raised.
    pub action: Action,
}

fields!(Alarm: name, signal, of, max, min, relative, quantile, window, slow_window, min_samples, action);

impl Default for Alarm {
    fn default() -> Self {
        Self {
            name: String::new(),
            signal: String::new(),
            of: Of::default(),
            max: None,
            min: None,
            relative: None,
            quantile: None,
            window: Duration::from_millis(WINDOW),
            slow_window: None,
            min_samples: 100.into(),
            action: Action::default(),
        }
    }
}

/// The least and the greatest threshold on a signal of this kind.
#[must_use]
pub fn bounds(kind: Kind) -> (f64, f64) {
    match kind {
        Kind::Event | Kind::Mean(Scale::Linear) => (1e-6, 0.999_999),
        // Milliseconds.
        Kind::Duration => (1.0, 3_600_000.0),
        Kind::Mean(Scale::Logarithmic) => (1e-3, 1e6),
    }
}

impl Alarm {
    /// The fields of which one is given.
    pub(super) const ONE_OF: &'static [&'static str] = &["max", "min", "relative"];
}

/// Whose requests an alarm looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema), schemars(rename = "AlarmOf"))]
pub enum Of {
    /// The candidate's.
    #[default]
    Candidate,
    /// Stable's.
    Stable,
    /// Both versions' together.
    Rollout,
}

/// A threshold that follows what is usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["times"])))]
pub struct Relative {
    /// So many times as much: over 1 the alarm is raised above that, under 1 below it.
    pub times: f64,
    /// As what.
    #[serde(skip_serializing_if = "To::is_stable")]
    pub to: To,
}

fields!(Relative: times, to);

/// What an alarm compares with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum To {
    /// Stable in the same time.
    #[default]
    Stable,
    /// The same version in `slow_window` before `window`.
    Past,
}

impl To {
    #[allow(clippy::trivially_copy_pass_by_ref)] // as Serde wants it
    fn is_stable(&self) -> bool {
        *self == Self::Stable
    }
}

/// What happens when an alarm is raised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema), schemars(rename = "AlarmAction"))]
pub enum Action {
    /// An event says so.
    #[default]
    Notify,
    /// The release is paused at its step until a person decides.
    Pause,
    /// The candidate's share goes back to stable.
    Rollback,
}
