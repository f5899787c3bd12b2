//! A filter that does nothing, made with the proxy-wasm SDK: what the sandbox itself costs.
//!
//! `make bench` measures Changeover against it. The SDK exports every callback, so Envoy enters it more often than
//! Changeover, which has entries of its own and exports those that it needs.

#![cfg(target_arch = "wasm32")]
#![allow(missing_docs)] // the entry point that the SDK's macro makes

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

struct Root;

impl Context for Root {}

impl RootContext for Root {
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream;

impl Context for Stream {}

impl HttpContext for Stream {}
