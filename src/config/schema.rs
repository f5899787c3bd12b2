//! The configuration as a user writes it. Nothing here is checked beyond its type: see [`super::validate`].
//!
//! The JSON Schema (`changeover schema`) is made from these types; their comments are its descriptions.
//! Every field has a default, so that reading goes on behind an error; what is required is said to
//! `schemars` and checked by the validation.

use std::collections::BTreeMap;

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

pub use super::affinity::{Cookie, Override, SameSite, SessionAffinity, WhenMissing};
use super::alarm::Alarm;
use super::automation::Automation;
pub use super::blue_green::{Bake, BlueGreen};
pub use super::condition::Match;
pub use super::control::{Control, Rights, Token};
use super::de;
use super::de::fields;
use super::drift::Drift;
use super::feedback::Feedback;
pub use super::mirror::{Mirror, MirrorMode};
use super::notify::Notify;
use super::payload::Payload;
use super::receipt::AnswerReceipt;
use super::release::{Analysis, Step};
use super::report::{Path, Problems, Shown};
pub use super::store::{Etcd, Store};
use super::units::{Duration, Percent};

/// For how long what goes on with a version that was taken back may, unless another time is given.
pub const DRAIN: Duration = Duration::from_millis(30_000);

/// The configuration of one filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(title = "Changeover", deny_unknown_fields))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("anyOf" = [
    {"required": ["rollouts"], "not": {"required": ["control"]}},
    {"required": ["control"], "properties": {"rollouts": {"maxItems": 0}}},
])))]
pub struct Config {
    /// The rollouts, in the order they are matched: the first that fits a request takes it.
    #[cfg_attr(not(target_arch = "wasm32"), schemars(default))]
    pub rollouts: Vec<Rollout>,
    /// The HTTP API. It stands alone, in the filter of the control listener, which has no rollouts of its own.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    #[cfg_attr(not(target_arch = "wasm32"), schemars(with = "Control", default))]
    pub control: Option<Control>,
    /// Where Envoys that share their rollouts meet. Absent: this Envoy decides alone.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    #[cfg_attr(not(target_arch = "wasm32"), schemars(with = "Store", default))]
    pub store: Option<Store>,
    /// Receivers of notifications about the rollouts. At most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")] // other configurations keep their hash
    #[cfg_attr(not(target_arch = "wasm32"), schemars(default))]
    pub notify: Vec<Notify>,
}

impl Config {
    /// Reads a document. Errors are added to `problems`, and their fields keep the default.
    ///
    /// Each rollout is read on its own, so that one full of mistakes costs no second reading of the others.
    #[must_use]
    pub fn read(document: &Value, problems: &mut Problems) -> Self {
        let root = Path::Root;
        let Value::Object(fields) = document else {
            problems.add(&root, "the configuration is not a map; expected at least `rollouts: []`");
            return Self::default();
        };
        let is_known = |field: &String| matches!(field.as_str(), "rollouts" | "control" | "store" | "notify");
        for field in fields.keys().filter(|field| !is_known(field)) {
            problems.add(&root.field(field), "unknown field; known here: rollouts, control, store, notify");
        }
        let control =
            fields.get("control").map(|control| de::read(control, &root.field("control"), problems));
        let store = fields.get("store").map(|store| de::read(store, &root.field("store"), problems));
        let path = root.field("notify");
        let notify = match fields.get("notify") {
            Some(Value::Array(receivers)) => receivers.as_slice(),
            Some(_) => {
                problems.add(&path, "expected a list of receivers");
                &[]
            }
            None => &[],
        };
        let notify = notify
            .iter()
            .enumerate()
            .map(|(index, receiver)| de::read(receiver, &path.index(index), problems));
        let notify = notify.collect();
        let path = root.field("rollouts");
        let rollouts = match fields.get("rollouts") {
            Some(Value::Array(rollouts)) => rollouts.as_slice(),
            Some(_) => {
                problems.add(&path, "expected a list of rollouts");
                &[]
            }
            None if control.is_some() => &[],
            None => {
                problems.add(&path, "missing; expected a list of rollouts (it may be empty)");
                &[]
            }
        };
        let read = |(index, rollout)| Rollout::read(rollout, &path.index(index), problems);
        Self { rollouts: rollouts.iter().enumerate().map(read).collect(), control, store, notify }
    }
}

/// One release of one service: which requests it is about, its versions, and how they share the traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["name", "versions", "stable"])))]
pub struct Rollout {
    /// Unique name: the label of its metrics. Lower-case letters, digits and `-`, at most 63.
    pub name: String,
    /// One run of the rollout, and the salt of its cohort: another release draws other users. Absent: the name.
    pub release: Option<String>,
    /// Which requests the rollout is about. Absent: every request.
    #[serde(rename = "match")]
    pub matches: Match,
    /// The versions by name. A name is an identity, not a role: it stays when the roles change.
    pub versions: BTreeMap<String, Version>,
    /// The version that is known to be good. It gets whatever the others do not.
    pub stable: String,
    /// The version that is being released.
    pub candidate: Option<String>,
    /// All traffic to this version, whatever else is configured: rollback (or promotion) by configuration.
    pub pin: Option<String>,
    /// What keeps a user on one version. Absent: every request is drawn on its own.
    pub session_affinity: Option<SessionAffinity>,
    /// Lets a client choose a version. Absent: nothing a client sends does.
    #[serde(rename = "override")]
    pub overrides: Option<Override>,
    /// Shares of the versions in percent. What is left goes to stable.
    pub weights: Option<BTreeMap<String, Percent>>,
    /// A canary that moves by itself, step by step.
    pub steps: Option<Vec<Step>>,
    /// Beside `steps`: how long the candidate is watched after the last step. All traffic goes back to stable if the
    /// candidate fails clearly more often than stable did.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub auto_rollback_window: Option<Duration>,
    /// When a version was taken back: what still goes on with it, such as a WebSocket or a stream of events, is closed after
    /// this duration. At most `24h`; `0s`: never. `30s` unless given.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub drain: Option<Duration>,
    /// All traffic to one of two versions, flipped at once.
    pub blue_green: Option<BlueGreen>,
    /// Compares the candidate with stable, and takes the release back when it is worse.
    pub analysis: Option<Analysis>,
    /// Thresholds on what versions do, and what happens when they are passed. At most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")] // other configurations keep their hash
    pub alarms: Vec<Alarm>,
    /// Shows how fast stable's metrics move.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub drift: Option<Drift>,
    /// Copies requests that stable answers to a version whose answers are discarded: shadow mode.
    pub mirror: Option<Mirror>,
    /// Reads the bodies of requests and answers while they pass.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub payload: Option<Payload>,
    /// Hands work from people, who are the stable version, to a model, the candidate, degree by degree.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub automation: Option<Automation>,
    /// What users do after they have been answered, for metrics and `analysis`. At most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")] // other configurations keep their hash
    pub feedback: Vec<Feedback>,
    /// Each answer carries a receipt, by which `feedback` with `join: receipt` finds its version.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub receipt: Option<AnswerReceipt>,
    /// Asks model servers to report their load (ORCA), and shows it as `changeover_server_load`.
    #[serde(skip_serializing_if = "std::ops::Not::not")] // other configurations keep their hash
    pub server_load: bool,
    /// Requests with `x-changeover-shadow` are another Envoy's copies: they get a version, and are neither counted nor
    /// judged nor mirrored. Only where no client can send the header.
    #[serde(skip_serializing_if = "std::ops::Not::not")] // other configurations keep their hash
    pub trust_shadow_header: bool,
    /// Where `x-changeover-version` is set to the version that serves a request.
    pub version_header: VersionHeader,
    /// Whether each request's rollout, release, attempt and version, and what decided it, are in Envoy's filter state
    /// `wasm.changeover`, for access logs and spans.
    #[serde(skip_serializing_if = "std::ops::Not::not")] // other configurations keep their hash
    pub log: bool,
    /// Further labels of the rollout's metrics. Each name needs a rule in the bootstrap's `stats_tags`.
    pub labels: BTreeMap<String, String>,
}

fields!(
    Rollout: name, release, matches as "match", versions, stable, candidate, pin, session_affinity,
    overrides as "override", weights, steps, auto_rollback_window, drain, blue_green, analysis, alarms, drift,
    mirror, payload, automation, feedback, receipt, server_load, trust_shadow_header, version_header, log,
    labels
);

impl Rollout {
    /// Reads a rollout that stands at `path`. Errors are added to `problems`, and their fields keep the default.
    #[inline(never)] // one copy in the module
    pub(super) fn read(value: &Value, path: &Path<'_>, problems: &mut Problems) -> Self {
        de::read(value, path, problems)
    }

    /// The field that needs the key of receipts, if one does.
    #[must_use]
    pub fn needs_receipt_key(&self) -> Option<&'static str> {
        let decides_later = self.automation.as_ref().is_some_and(|automation| automation.decision.is_some());
        let automation = decides_later.then_some("automation");
        automation.or_else(|| self.receipt.as_ref().map(|_| "receipt"))
    }
}

/// One version of the service.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["cluster"])))]
pub struct Version {
    /// The Envoy cluster that serves it.
    pub cluster: String,
}

fields!(Version: cluster);

/// Where `x-changeover-version` is set to the version that serves a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct VersionHeader {
    /// On the request to the version.
    pub request: bool,
    /// On the response to the client.
    pub response: bool,
}

fields!(VersionHeader: request, response);

/// Quotes the names in a list, for a message.
pub(super) fn known<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| Shown(name).to_string()).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
