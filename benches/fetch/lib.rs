//! A filter that fetches both bodies and drops them: what any filter pays that looks at bodies.
//!
//! `make bench` measures the reading of payloads against it.

#![cfg(target_arch = "wasm32")]
#![allow(missing_docs)] // the entry point that the SDK's macro makes

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

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

impl HttpContext for Stream {
    fn on_http_request_body(&mut self, size: usize, _: bool) -> Action {
        if size > 0 {
            drop(self.get_http_request_body(0, size));
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, _: bool) -> Action {
        if size > 0 {
            drop(self.get_http_response_body(0, size));
        }
        Action::Continue
    }
}
