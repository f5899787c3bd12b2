//! The HTTP API by which people and pipelines look at rollouts and command them. `docs/api.md` describes it.
//!
//! Envoy serves it on a listener of its own, whose filter has nothing but `control` in its configuration. All of
//! it is pure: the shell passes a request and the known rollouts, and gets an answer, or a change to make.
//!
//! * [`request`]: what the shell has read of a request;
//! * `access`: who may ask;
//! * [`api`]: what is asked, and the answer;
//! * `body`: what stands in a command's body;
//! * [`differences`]: compared pairs as the API shows them;
//! * [`page`]: the live page, which asks the API from a browser;
//! * [`view`]: rollouts and events as the API shows them;
//! * [`notification`]: events as those who are told get them;
//! * [`response`]: answers and problems;
//! * [`time`]: when something happened, as text.

#![forbid(unsafe_code)]

mod access;
mod allowance;
pub mod api;
pub mod automation;
mod body;
pub mod differences;
pub mod notification;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod openapi;
pub mod page;
pub mod request;
pub mod response;
pub mod time;
pub mod view;
