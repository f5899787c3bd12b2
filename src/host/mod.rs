//! The shell: the only folder that talks to Envoy.
//!
//! [`exports`] has what Envoy calls, [`calls`] what Envoy is asked, [`memory`] where it writes answers: the only files with
//! unsafe code. [`root`] takes configurations, [`stream`] follows requests, [`control`] answers the API, [`vm`] holds what
//! they share within one VM. [`effects`] executes what the protocol of [`crate::fleet`] wants done, over [`shared`] and
//! [`notices`]. [`callouts`] asks candidates; [`shadow`] and [`tasks`] ask models on behalf of requests, whose answers [`answer`] reads; [`handoff`] holds what they
//! leave to a root. [`metrics`] has a request's own series, [`defined`] those whose labels come later; [`feedback`] reads what users do afterwards.

mod answer;
mod bodies;
mod callouts;
mod calls;
mod control;
mod defined;
mod drain;
mod effects;
mod exports;
mod feedback;
mod handoff;
mod keys;
mod loaded;
mod log;
mod memory;
mod metrics;
mod notices;
mod notify;
mod root;
mod shadow;
mod shared;
mod store;
mod stream;
mod tasks;
mod vm;
