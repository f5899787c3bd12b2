//! What is compared: Envoys that do the same sticky split by different means.
//!
//! All are made from `envoy/envoy.yaml`, the bootstrap this repository ships; the files beside this one replace
//! parts of it.

use serde_json::{Value, json};

use super::harness::{Config, Setup, read_yaml};
use super::upstream::Upstream;

/// One of the compared Envoys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Variant {
    /// (a) Weighted clusters.
    Native,
    /// (b) The same, and a filter that does nothing.
    Idle,
    /// (c) A split in Lua.
    Lua,
    /// (d) Changeover with affinity and metrics.
    Changeover,
    /// (e) The same with 1,000 rollouts.
    Thousand,
    /// (f) As (d), and users are judged.
    Judged,
    /// (g) As (d), with what is decided in Envoy's filter state (`log: true`).
    Logged,
    /// (h) As (d), with the rollout shared through a store.
    Fleet,
    /// (i) As (d), by another build of the module.
    Baseline(String),
    /// (j) As (d), and a client reads the API all the time.
    Polled,
    /// (k) As (e), likewise.
    ThousandPolled,
}

impl Variant {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Native => "(a) native weighted clusters",
            Self::Idle => "(b) idle filter",
            Self::Lua => "(c) Lua",
            Self::Changeover => "(d) Changeover",
            Self::Thousand => "(e) Changeover, 1,000 rollouts",
            Self::Judged => "(f) Changeover, users judged",
            Self::Logged => "(g) Changeover, log: true",
            Self::Fleet => "(h) Changeover in a fleet",
            Self::Baseline(_) => "(i) Changeover, the baseline",
            Self::Polled => "(j) Changeover, its API is read",
            Self::ThousandPolled => "(k) the same, 1,000 rollouts",
        }
    }

    /// Whether its filter counts requests.
    pub(crate) fn counts(&self) -> bool {
        !matches!(self, Self::Native | Self::Idle | Self::Lua)
    }

    /// Whether it needs a store.
    pub(crate) fn is_fleet(&self) -> bool {
        *self == Self::Fleet
    }

    /// Whether a client reads its API.
    pub(crate) fn is_polled(&self) -> bool {
        matches!(self, Self::Polled | Self::ThousandPolled)
    }

    /// The Envoy to start; one of a fleet without its store.
    pub(crate) fn setup(&self, upstreams: &[Upstream]) -> Setup {
        let setup = match self {
            Self::Native | Self::Idle | Self::Lua => Setup::plain(),
            Self::Changeover => Setup::shipped(one_rollout()),
            Self::Polled => Setup::shipped(one_rollout()).control(),
            Self::Thousand => Setup::shipped(thousand_rollouts("2026-11-24.1")),
            Self::ThousandPolled => Setup::shipped(thousand_rollouts("2026-11-24.1")).control(),
            Self::Judged => Setup::shipped(judged_rollout()),
            Self::Logged => Setup::shipped(logged_rollout()),
            Self::Fleet => Setup::shipped(shared_rollout()),
            Self::Baseline(module) => Setup::shipped(one_rollout()).module(module),
        };
        let setup = common(setup, upstreams);
        match self {
            Self::Native => replaced(setup, "benches/envoy/native.yaml"),
            Self::Idle => replaced(replaced(setup, "benches/envoy/native.yaml"), "benches/envoy/idle.yaml"),
            Self::Lua => replaced(setup, "benches/envoy/lua.yaml"),
            Self::Changeover
            | Self::Thousand
            | Self::Judged
            | Self::Logged
            | Self::Fleet
            | Self::Baseline(_)
            | Self::Polled
            | Self::ThousandPolled => setup,
        }
    }
}

/// What all Envoys here have in common: the clusters, and Envoy's own flush interval, not the tests'.
pub(crate) fn common(setup: Setup, upstreams: &[Upstream]) -> Setup {
    let clusters: Vec<_> = upstreams.iter().map(|upstream| (upstream.name, upstream.address)).collect();
    setup.clusters(&clusters).edit(|bootstrap| bootstrap["stats_flush_interval"] = json!("5s"))
}

/// Replaces fields of the HTTP connection manager by those of a file.
pub(crate) fn replaced(setup: Setup, file: &str) -> Setup {
    let Value::Object(fields) = read_yaml(file) else { panic!("{file} has no fields") };
    setup.edit_hcm(|hcm| fields.into_iter().for_each(|(name, value)| hcm[name] = value))
}

/// Changeover's configuration as it stands in its file.
pub(crate) fn one_rollout() -> Config {
    Config::Struct(read_yaml("benches/envoy/changeover.yaml").to_string())
}

/// The same at the same weight by a step, with the candidate judged by all that is judged unless configured.
fn judged_rollout() -> Config {
    let mut config = read_yaml("benches/envoy/changeover.yaml");
    let rollout = &mut config["rollouts"][0];
    let weight = rollout["weights"]["green"].take();
    rollout["steps"] = json!([{"set_weight": weight}, {"pause": {}}]);
    rollout["analysis"] = json!({});
    rollout.as_object_mut().expect("a rollout").remove("weights");
    Config::Struct(config.to_string())
}

/// The same with its decisions in the filter state. No access log reads them: that is Envoy's own.
fn logged_rollout() -> Config {
    let mut config = read_yaml("benches/envoy/changeover.yaml");
    config["rollouts"][0]["log"] = json!(true);
    Config::Struct(config.to_string())
}

/// The same, shared through a store.
fn shared_rollout() -> Config {
    let mut config = read_yaml("benches/envoy/changeover.yaml");
    config["store"] = json!({"etcd": {"cluster": "etcd1"}, "fleet": "bench"});
    Config::Struct(config.to_string())
}

/// A thousand rollouts, among them the one of the file at its place. Half of the others are told apart by
/// their paths, half by their hosts as well: so the filter has to read both.
pub(crate) fn thousand_rollouts(release: &str) -> Config {
    let one = read_yaml("benches/envoy/changeover.yaml")["rollouts"][0].clone();
    let rollout = |number: usize| {
        let mut rollout = one.clone();
        let name = format!("m{number:04}");
        rollout["match"] = json!({"prefix": format!("/v2/models/{name}/")});
        if number % 2 == 1 {
            rollout["match"]["authority"] = json!([format!("{name}.example.com")]);
        }
        rollout["name"] = json!(name);
        rollout["release"] = json!(release);
        rollout
    };
    let rollouts: Vec<Value> = (0..1_000).map(rollout).collect();
    Config::Struct(json!({"rollouts": rollouts}).to_string())
}

/// So many rollouts, half of whose requests go to a candidate that is judged, until it is promoted.
pub(crate) fn judged_rollouts(count: usize, release: &str) -> Config {
    let rollout = |name: String| {
        json!({
            "match": {"prefix": format!("/v2/models/{name}/")}, "name": name, "release": release,
            "versions": {"blue": {"cluster": "blue"}, "green": {"cluster": "green"}}, "stable": "blue", "candidate": "green",
            "steps": [{"set_weight": 50}, {"pause": {}}], "analysis": {},
        })
    };
    let rollouts: Vec<Value> = names_of_judged(count).into_iter().map(rollout).collect();
    Config::Struct(json!({"rollouts": rollouts}).to_string())
}

/// Their names, in the order of the API.
pub(crate) fn names_of_judged(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("m{number:04}")).collect()
}
