//! The pure core on wasm32, as it runs inside Envoy but under Node: `make test-node`.
//!
//! The same checks run natively (`cargo test --test node`), so that a difference between the two platforms,
//! in the width of a `usize` or in a float, shows as a test that passes on one of them only.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)] // a test may fail

mod analysis;
mod assignment;
mod attempt;
mod compare;
mod configuration;
mod control;
mod routing;

/// Declares tests that run natively under Rust's test runner and on wasm32 under wasm-bindgen's.
macro_rules! everywhere {
    ($($name:ident)*) => {$(
        #[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
        #[cfg_attr(not(target_arch = "wasm32"), test)]
        fn $name() {
            run::$name();
        }
    )*};
}
use everywhere;
