//! The shell: the only folder that talks to Envoy.
//!
//! This file holds the module's entry point. [`root`] takes configurations, [`stream`] follows requests, [`control`] answers
//! the API, [`vm`] holds what they share within one VM. [`effects`] executes what the protocol of [`crate::fleet`] wants
//! done, over [`shared`] and [`notices`]. [`metrics`] has a request's own series, [`calls`] every host call.

// The macro exports the symbols that a host looks for.
#[allow(unsafe_code)]
mod entry {
    proxy_wasm::main! {{
        proxy_wasm::set_root_context(|id| Box::new(super::root::Root::new(id)));
    }}
}

mod calls;
mod control;
mod effects;
mod log;
mod metrics;
mod notices;
mod root;
mod shared;
mod stream;
mod vm;
