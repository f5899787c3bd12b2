//! `blue_green`: all traffic to one of two versions.

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::Serialize;

use super::de::fields;
use super::release::Ready;
use super::units::{Duration, Percent};

/// Blue/green: one of two versions has all the traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct BlueGreen {
    /// The version that answers, stable or candidate. Absent: stable. Flip by changing it.
    pub active: Option<String>,
    /// Before the first flip the candidate gets a small share and is judged, and flips by itself when nothing
    /// speaks against it. Absent: nothing flips by itself.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub bake: Option<Bake>,
    /// How long the new side is watched after each flip. All traffic goes back to the old side if the new one fails clearly
    /// more often than the old one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_rollback_window: Option<Duration>,
    /// The candidate bakes, and gets all traffic, only when it is ready. Not the stable version, and not when Envoy starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
}

fields!(BlueGreen: active, bake, auto_rollback_window, ready);

/// The candidate's trial before the flip.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["weight", "duration"])))]
pub struct Bake {
    /// The candidate's share in percent, between 0 and 100.
    pub weight: Option<Percent>,
    /// The shortest time it bakes.
    pub duration: Option<Duration>,
}

fields!(Bake: weight, duration);
