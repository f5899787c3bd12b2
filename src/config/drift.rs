//! How fast stable's metrics move.

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::Serialize;

use super::de::fields;
use super::units::Duration;

/// Milliseconds of the reference, unless the configuration names a time.
const REFERENCE: u64 = 86_400_000;

/// Shows how far stable's metrics move from a reference in 5 minutes, an hour and a day.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["metrics"])))]
pub struct Drift {
    /// What is watched, whether it is judged or not: at most 8.
    #[cfg_attr(not(target_arch = "wasm32"), schemars(extend("items" = names())))]
    pub metrics: Vec<String>,
    /// So much of stable's traffic, from the first request on, becomes the reference: from 10s to 168h.
    pub reference: Duration,
}

fields!(Drift: metrics, reference);

/// An element of `metrics`.
#[cfg(not(target_arch = "wasm32"))]
fn names() -> serde_json::Value {
    serde_json::json!({"type": "string", "enum": crate::signal::catalog::moving_names()})
}

impl Default for Drift {
    fn default() -> Self {
        Self { metrics: Vec::new(), reference: Duration::from_millis(REFERENCE) }
    }
}
