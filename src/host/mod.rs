//! The shell: the only folder that talks to Envoy.
//!
//! [`root`] takes configurations, [`stream`] follows requests, [`vm`] holds what they share within one
//! worker's VM, [`metrics`] and [`presence`] what goes out of it. [`calls`] has every host call.

mod calls;
mod control;
mod journal;
mod leader;
mod log;
mod metrics;
mod notices;
mod presence;
mod progress;
mod rollouts;
mod root;
mod shared;
mod shelf;
mod stream;
mod vm;
