//! The shell: the only folder that talks to Envoy.
//!
//! [`exports`] has what Envoy calls, [`calls`] what Envoy is asked, [`memory`] where it writes answers: the only files with
//! unsafe code. [`root`] takes configurations, [`stream`] follows requests, [`control`] answers the API, [`vm`] holds what
//! they share within one VM. [`effects`] executes what the protocol of [`crate::fleet`] wants done, over [`shared`] and
//! [`notices`]. [`questions`] asks candidates; [`shadow`] and [`asking`] ask models on behalf of requests, whose answers
//! [`answer`] reads. [`tasks`] says who decides a task of a [`place`], [`people`] hands it to people, [`decisions`] counts what
//! they decide. [`callouts`] sends what is asked, [`handoff`] holds what is left to a root. [`metrics`] has a request's own series, [`defined`] those whose labels
//! come later; [`feedback`] reads what users do afterwards.

mod answer;
mod asking;
mod bodies;
mod callouts;
mod calls;
mod control;
mod decisions;
mod defined;
mod drain;
mod effects;
mod exports;
mod feedback;
mod handoff;
mod keys;
mod loaded;
mod loading;
mod log;
mod memory;
mod metrics;
mod notices;
mod notify;
mod people;
mod place;
mod questions;
mod quota;
mod root;
mod shadow;
mod shared;
mod store;
mod stream;
mod tasks;
mod vm;
