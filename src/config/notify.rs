//! Receivers of notifications about rollouts.

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::Serialize;

use super::de::fields;
use super::units::Duration;
use crate::model::Action;

/// Milliseconds that a receiver has to answer, unless another time is given.
const TIMEOUT: u64 = 5_000;

/// A receiver of notifications. What happens is posted to it as a CloudEvent in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["name", "cluster", "path"])))]
pub struct Notify {
    /// Unique name: the label of its metrics. Lower-case letters, digits and `-`, at most 63.
    pub name: String,
    /// The Envoy cluster of the receiver.
    pub cluster: String,
    /// The path to post to, with its query.
    pub path: String,
    /// The host name to post to. Absent: the cluster's name.
    pub authority: Option<String>,
    /// What is posted, whatever caused it; with `pause` also that a step waits for a promotion. Absent: everything that a rollout does by itself, and that it waits for a promotion.
    pub events: Option<Vec<Action>>,
    /// The time that the receiver has to answer, from 100ms to 60s.
    pub timeout: Duration,
}

fields!(Notify: name, cluster, path, authority, events, timeout);

impl Default for Notify {
    fn default() -> Self {
        Self {
            name: String::new(),
            cluster: String::new(),
            path: String::new(),
            authority: None,
            events: None,
            timeout: Duration::from_millis(TIMEOUT),
        }
    }
}

impl Notify {
    /// The host name to post to.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.as_deref().unwrap_or(&self.cluster)
    }
}
