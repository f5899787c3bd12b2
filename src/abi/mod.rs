//! Forms of the proxy-wasm ABI (<https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1>) that need no host:
//! callouts and contexts by number, headers as pairs.

#![forbid(unsafe_code)]

pub mod callouts;
pub mod contexts;
pub mod pairs;

/// Whether a request goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    /// It goes on.
    #[default]
    Continue = 0,
    /// It waits, until it is answered.
    Pause = 1,
}
