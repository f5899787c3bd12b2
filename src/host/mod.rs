//! The shell: the only folder that talks to Envoy.
//!
//! This file holds the module's entry point. [`root`] takes configurations, [`stream`] follows requests, [`vm`] holds what they share within one
//! worker's VM, [`metrics`] and [`presence`] what goes out of it. [`calls`] has every host call.

// The macro exports the symbols that a host looks for.
#[allow(unsafe_code)]
mod entry {
    proxy_wasm::main! {{
        proxy_wasm::set_root_context(|id| Box::new(super::root::Root::new(id)));
    }}
}

mod calls;
mod control;
mod journal;
mod leader;
mod log;
mod metrics;
mod notices;
mod pending;
mod presence;
mod progress;
mod rollouts;
mod root;
mod shared;
mod shelf;
mod stream;
mod vm;
