//! **Changeover**: a proxy-wasm filter that releases models safely behind Envoy.
//!
//! One folder per stage of the loop, from the bottom to the top; each uses only those before it (a test holds that):
//!
//! * [`model`]: the words that all use;
//! * [`signal`]: what can be observed of a request, and what is counted of it;
//! * [`payload`]: bodies, read while they pass → what was seen of a message;
//! * [`compare`]: two answers to one request → where they differ;
//! * [`config`]: Envoy's forms of a configuration → typed fields → a valid configuration;
//! * [`analysis`]: what was counted → how sure one can be that the candidate is worse;
//! * [`alarm`]: what was counted in windows of time → which thresholds are passed;
//! * [`drift`]: the same of stable → how far it has moved from what it was;
//! * [`receipt`]: what is handed out sealed, and taken back by a later request;
//! * [`automation`]: tasks of people that a model takes over, degree by degree;
//! * [`telemetry`]: how a request's end is judged, and the ledger that counts it;
//! * [`rollout`]: what is configured, judged and commanded → where a release stands;
//! * [`routing`]: a request → its rollout → the version that answers it;
//! * [`fleet`]: how the VMs of one Envoy act as one: who leads, what was counted, who follows;
//! * [`control`]: the HTTP API by which people look at rollouts and command them;
//! * [`abi`]: forms of the ABI between Envoy and module;
//! * `host`: the only folder that talks to Envoy (feature `envoy`, target wasm32). Its `exports.rs` holds what Envoy
//!   calls.
//!
//! Everything but `host` is pure: no host call, no clock, no unsafe code; tested natively and on wasm32.

// Tests compute with small numbers of their own.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod abi;
pub mod alarm;
pub mod analysis;
pub mod automation;
pub mod compare;
pub mod config;
pub mod control;
pub mod drift;
pub mod fleet;
#[cfg(all(feature = "envoy", target_arch = "wasm32"))]
mod host;
pub mod model;
pub mod payload;
pub mod receipt;
pub mod rollout;
pub mod routing;
pub mod signal;
pub mod telemetry;

/// This build's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from, as `make build` says.
pub const COMMIT: &str = match option_env!("CHANGEOVER_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
