//! Closed ticks as they are recorded and replayed: one JSON object a line, what each version did with the requests that
//! arrived in one tick.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use crate::config::units::Percent;
use crate::model::{Share, Shares};

mod read;
mod write;

pub use read::read;
pub use write::{Closed, write};

/// Users who came for the first time in the step, and whether their first request failed.
const FIRST_REQUESTS: &str = "first_requests";

/// A closed tick as it is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema), schemars(rename = "Tick"))]
pub struct Line {
    /// Its number; each is above the one before, unless another run has begun.
    pub tick: u64,
    /// Where it stood in its run. Absent from a recording that no filter has made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<InRun>,
    /// In percent; stable has what the others leave.
    #[serde(serialize_with = "in_percent")]
    #[cfg_attr(not(target_arch = "wasm32"), schemars(with = "BTreeMap<String, f64>"))]
    pub weights: BTreeMap<String, Percent>,
    /// By version, what it did.
    pub versions: BTreeMap<String, Version>,
}

/// Where a tick stood in its run, so that a replay begins, steps and judges when the filter did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct InRun {
    /// Another one when the judge has begun without memory: with another release, or with a restart of Envoy.
    pub id: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The first tick of its step.
    pub step: u64,
    /// The tick that was under way when it was closed.
    pub closed_in: u64,
    /// Whether it shows nothing: its requests came under several assignments.
    #[serde(default, skip_serializing_if = "is_default")]
    pub void: bool,
    /// Whether the candidate was still warming up.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cold: bool,
    /// With session affinity: each new user stands for so many; absent for 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<u64>,
}

/// What one version did in a tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema), schemars(rename = "TickOfVersion"))]
pub struct Version {
    /// Requests that arrived.
    pub requests: u64,
    /// Of those: not ended when the tick was closed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub open: u64,
    /// Of those that had not ended: without an answer that has begun.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unanswered: u64,
    /// Of those that had ended: with neither an answer nor an error of the version.
    #[serde(default, skip_serializing_if = "is_default")]
    pub silent: u64,
    /// Of those that had ended: left by their client in the middle of the answer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub left: u64,
    /// By metric: how many requests had the event, or `[events, units]`.
    #[serde(default)]
    pub events: BTreeMap<String, Events>,
    /// Buckets by their upper edges in milliseconds, and how many answers took so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Buckets>,
    /// The same of other durations, by metric.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub durations_ms: BTreeMap<String, Buckets>,
    /// Of means: how many values, their sum in 65,536ths, and the sum of their squares in 65,536ths of 65,536ths.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, (u64, u64, u64)>,
    /// With session affinity: what all requests did, for alarms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_requests: Option<Box<Version>>,
    /// With session affinity: users who came for the first time in the run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub newcomers: u64,
    /// With session affinity: users who came for the first time in the step, and gave up.
    #[serde(default, skip_serializing_if = "is_default")]
    pub given_up: u64,
    /// With session affinity: users who cannot have the event for the first time again, where they are more than those in
    /// `events`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub spent: BTreeMap<String, u64>,
}

/// Upper edges of buckets in milliseconds, `null` for infinity, and the count of each.
pub type Buckets = Vec<(Option<f64>, u64)>;

/// How often something happened: among the version's requests, or among so many units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a count, or [events, units]")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Events {
    /// Among the requests.
    OfRequests(u64),
    /// Among units.
    OfUnits(u64, u64),
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn in_percent<S: Serializer>(weights: &BTreeMap<String, Percent>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(weights.iter().map(|(name, percent)| (name, InPercent(percent.0))))
}

/// As a person writes it: `5`, `0.25`.
struct InPercent(Share);

impl Serialize for InPercent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.basis_points() {
            whole if whole.is_multiple_of(100) => serializer.serialize_u16(whole / 100),
            _ => serializer.serialize_f64(self.0.percent()),
        }
    }
}

/// Weights as a line has them.
fn weights(shares: &Shares) -> BTreeMap<String, Percent> {
    let mut weights = BTreeMap::new();
    weights.extend(shares.iter().map(|(name, share)| (name.clone(), Percent(*share))));
    weights
}
