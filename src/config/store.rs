//! `store`: where Envoys that share their rollouts meet.

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::Serialize;

use super::de::fields;
use super::units::Duration;

/// Where Envoys that share their rollouts meet: one release is one release for all of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["etcd", "fleet"])))]
pub struct Store {
    /// etcd, 3.4 or newer.
    pub etcd: Etcd,
    /// The fleet's name: Envoys of one name share their rollouts. Lower-case letters, digits and `-`, at most 63.
    pub fleet: String,
    /// Time between two reports of an Envoy, from 1s to 60s. `5s` where many rollouts move at once.
    pub period: Duration,
    /// How long the store may be silent before stable serves, until it answers again. Absent: the weights stay.
    pub stale_after: Option<Duration>,
}

fields!(Store: etcd, fleet, period, stale_after);

impl Default for Store {
    fn default() -> Self {
        let (etcd, fleet) = (Etcd::default(), String::new());
        Self { etcd, fleet, period: Duration::from_millis(1_000), stale_after: None }
    }
}

/// etcd, as this Envoy reaches it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["cluster"])))]
pub struct Etcd {
    /// The cluster, which speaks HTTP/2 and has etcd's client ports as endpoints.
    pub cluster: String,
}

fields!(Etcd: cluster);
