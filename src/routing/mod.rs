//! From a request to the version that answers it. Pure: the host's shell reads the request and obeys.

#![forbid(unsafe_code)]

pub mod affinity;
pub mod assign;
pub mod automation;
pub mod feedback;
#[cfg(test)]
pub(crate) mod fixture;
mod in_force;
pub mod log;
pub mod matcher;
pub mod mirror;
mod overrides;
pub mod passed_on;
mod paths;
pub mod plan;
pub mod receipt;
pub mod request;
pub mod rollout;
pub mod shadowing;
pub mod version;
