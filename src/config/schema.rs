//! The configuration as a user writes it. Nothing here is checked beyond its type: see [`super::validate`].
//!
//! The JSON Schema (`changeover schema`) is made from these types; their comments are its descriptions.
//! Every field has a default, so that reading goes on behind an error; what is required is said to
//! [`schemars`] and checked by the validation.

use std::collections::BTreeMap;

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::alarm::Alarm;
use super::automation::Automation;
use super::compare::Compare;
pub use super::condition::{HeaderRule, Match};
use super::de;
use super::drift::Drift;
use super::feedback::Feedback;
use super::notify::Notify;
use super::payload::Payload;
use super::receipt::AnswerReceipt;
use super::release::{Analysis, Ready, Step};
use super::report::{Path, Problems, Shown};
use super::units::{Count, Duration, Percent, Sha256, Size};
use crate::model::Share;

/// Milliseconds for which what goes on with a version that was taken back may, unless another time is given.
pub const DRAIN: u64 = 30_000;

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
        let read = |(index, rollout)| de::read(rollout, &path.index(index), problems);
        Self { rollouts: rollouts.iter().enumerate().map(read).collect(), control, store, notify }
    }
}

/// Who may use the HTTP API.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct Control {
    /// The SHA-256 of a token without a name, which allows everything. Every call but `/healthz` must carry this token or
    /// one of `tokens`. With neither, every client that reaches the listener may use it.
    pub token_sha256: Option<Sha256>,
    /// Tokens with names, which events show, and with rights of their own. At most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")] // other configurations keep their hash
    pub tokens: Vec<Token>,
    /// Host names besides loopback's under which the listener may be called. Without a port they match every port.
    pub hosts: Vec<String>,
}

/// Where Envoys that share their rollouts meet: one release is one release for all of them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
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
    /// When the store has not answered for so long, stable serves until it does. Absent: the weights stay.
    pub stale_after: Option<Duration>,
}

impl Default for Store {
    fn default() -> Self {
        let (etcd, fleet) = (Etcd::default(), String::new());
        Self { etcd, fleet, period: Duration::from_millis(1_000), stale_after: None }
    }
}

/// etcd, as this Envoy reaches it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["cluster"])))]
pub struct Etcd {
    /// The cluster, which speaks HTTP/2 and has etcd's client ports as endpoints.
    pub cluster: String,
}

/// A token of the HTTP API.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["name", "sha256", "rights"])))]
pub struct Token {
    /// Unique name: events show it for each command that comes with the token. Lower-case letters, digits and `-`, at most 63.
    pub name: String,
    /// The token's SHA-256.
    pub sha256: Option<Sha256>,
    /// What it allows.
    pub rights: Option<Rights>,
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum Rights {
    /// To look at rollouts and events.
    Read,
    /// To give commands as well.
    Write,
}

/// One release of one service: which requests it is about, its versions, and how they share the traffic.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
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
    /// Beside `steps`: for so long after the last one the candidate is watched, and all goes back to stable when it fails
    /// clearly more often than stable did.
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

impl Rollout {
    /// The field that needs the key of receipts, if one does.
    #[must_use]
    pub fn needs_receipt_key(&self) -> Option<&'static str> {
        let decides_later = self.automation.as_ref().is_some_and(|automation| automation.decision.is_some());
        let automation = decides_later.then_some("automation");
        automation.or_else(|| self.receipt.as_ref().map(|_| "receipt"))
    }
}

/// One version of the service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["cluster"])))]
pub struct Version {
    /// The Envoy cluster that serves it.
    pub cluster: String,
}

/// What identifies the user: exactly one of `header`, `cookie`, `query`, `source_ip`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct SessionAffinity {
    /// The value of this request header.
    pub header: Option<String>,
    /// The value of this cookie.
    pub cookie: Option<Cookie>,
    /// The value of this query parameter.
    pub query: Option<String>,
    /// The client's address as Envoy determines it, without the port (`true`).
    pub source_ip: Option<bool>,
    /// Where requests go that do not carry it.
    pub when_missing: WhenMissing,
}

/// A cookie that identifies the user.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["name"])))]
pub struct Cookie {
    /// The cookie's name.
    pub name: String,
    /// Issue the cookie, with a random id, to a client that has none; it lives this long (`0s`: until the
    /// browser closes). Absent: the cookie is set by another party, and only read.
    pub ttl: Option<Duration>,
    /// Which requests from other sites carry the issued cookie.
    #[serde(skip_serializing_if = "SameSite::is_lax")] // other configurations keep their hash
    pub same_site: SameSite,
    /// The host that the issued cookie is for, subdomains included. Absent: the host that was asked, without them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The path below which the issued cookie is sent. Absent: `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The issued cookie is kept apart for each site that embeds this one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partitioned: bool,
}

impl Cookie {
    /// Whether browsers take a cookie of this name only with `Secure` (RFC 6265bis, 4.1.3.1).
    #[must_use]
    pub fn is_secure_by_name(&self) -> bool {
        self.name.get(..9).is_some_and(|prefix| prefix.eq_ignore_ascii_case("__Secure-"))
    }

    /// Whether browsers take a cookie of this name only with `Secure`, `Path=/` and no domain (RFC 6265bis, 4.1.3.2).
    #[must_use]
    pub fn is_host_only_by_name(&self) -> bool {
        self.name.get(..7).is_some_and(|prefix| prefix.eq_ignore_ascii_case("__Host-"))
    }
}

/// Which requests from other sites carry a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum SameSite {
    /// Links from other sites.
    #[default]
    Lax,
    /// None.
    Strict,
    /// All; the cookie is `Secure`, as browsers want it.
    None,
}

impl SameSite {
    #[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference
    fn is_lax(&self) -> bool {
        *self == Self::Lax
    }
}

/// Where requests without the affinity key go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum WhenMissing {
    /// To the stable version.
    #[default]
    Stable,
    /// Each is drawn on its own.
    Random,
}

/// Lets a client choose a version: `always` is the candidate, `never` is stable, or a version's name. Any other value
/// counts as none. At least one field; the first that has such a value decides.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("minProperties" = 1)))]
pub struct Override {
    /// The value of this request header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The value of this query parameter.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub query: Option<String>,
    /// The value of this cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
}

/// Blue/green: one of two versions has all the traffic.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct BlueGreen {
    /// The version that answers, stable or candidate. Absent: stable. Flip by changing it.
    pub active: Option<String>,
    /// Before the first flip the candidate gets a small share and is judged, and flips by itself when nothing
    /// speaks against it. Absent: nothing flips by itself.
    #[serde(skip_serializing_if = "Option::is_none")] // other configurations keep their hash
    pub bake: Option<Bake>,
    /// For so long after each flip the new side is watched, and all goes back to the old one when it fails clearly
    /// more often than that did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_rollback_window: Option<Duration>,
    /// The candidate bakes, and gets all traffic, only when it is ready. Not the stable version, and not when Envoy starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
}

/// The candidate's trial before the flip.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["weight", "duration"])))]
pub struct Bake {
    /// The candidate's share in percent, between 0 and 100.
    pub weight: Option<Percent>,
    /// For so long at least.
    pub duration: Option<Duration>,
}

/// Shadow mode.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["to"])))]
pub struct Mirror {
    /// The version that gets the copies: the shadow.
    pub to: String,
    /// The share of the requests that stable answers, in percent. With session affinity: of its users.
    // In place of the default as the configuration's hash sees it, in hundredths.
    #[cfg_attr(not(target_arch = "wasm32"), schemars(extend("default" = 100)))]
    pub percent: Percent,
    /// The methods that are mirrored. By default those that change nothing; models are asked by POST.
    pub methods: Vec<String>,
    /// Requests with a longer body are not copied. In `fire_and_forget` those that do not say how long it is are not either;
    /// in `compare` answers with a longer body are not compared.
    #[serde(skip_serializing_if = "is_default_body")] // other configurations keep their hash
    pub max_body: Size,
    /// Who copies.
    pub mode: MirrorMode,
    /// In `compare`: requests that each worker may have sent to the shadow at once. 64 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<Count>,
    /// In `compare`: what each worker may hold of requests and answers. 16 MiB unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Size>,
    /// In `compare`: the shadow is waited for so long. 5 s unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// In `compare`: headers that the copy gets, in place of the request's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set_headers: BTreeMap<String, String>,
    /// In `compare`: headers that the copy does not get, beside credentials.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove_headers: Vec<String>,
    /// In `compare`: the copy keeps `cookie`, `authorization` and other credentials.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forward_credentials: bool,
    /// In `compare`: how the two answers are compared. Absent: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compare>,
}

impl Mirror {
    /// What each worker may hold of requests and answers.
    #[must_use]
    pub fn max_bytes(&self) -> Size {
        self.max_bytes.unwrap_or(Size::kib(16 * 1_024))
    }

    /// Whether stable gets a copy as well, and is compared with itself.
    #[must_use]
    pub fn has_baseline(&self) -> bool {
        self.compare.as_ref().is_some_and(|compare| compare.baseline)
    }
}

/// Bytes of a body that is copied: a quarter of what Envoy buffers of a connection.
const DEFAULT_BODY: Size = Size::kib(256);

fn is_default_body(size: &Size) -> bool {
    *size == DEFAULT_BODY
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            to: String::new(),
            percent: Percent(Share::ALL),
            methods: vec!["GET".into(), "HEAD".into()],
            max_body: DEFAULT_BODY,
            mode: MirrorMode::default(),
            max_in_flight: None,
            max_bytes: None,
            timeout: None,
            set_headers: BTreeMap::new(),
            remove_headers: Vec::new(),
            forward_credentials: false,
            compare: None,
        }
    }
}

/// Who copies a mirrored request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum MirrorMode {
    /// Envoy itself, by the route's `request_mirror_policies`; the answer is thrown away.
    #[default]
    FireAndForget,
    /// The filter, once stable has answered; it compares the two answers.
    Compare,
}

/// Where `x-changeover-version` is set to the version that serves a request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct VersionHeader {
    /// On the request to the version.
    pub request: bool,
    /// On the response to the client.
    pub response: bool,
}

/// Quotes the names in a list, for a message.
pub(super) fn known<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| Shown(name).to_string()).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
