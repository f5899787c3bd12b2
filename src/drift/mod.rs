//! How far stable's metrics move, beside what chance alone moves them. Pure: ticks in, movements out.
//!
//! * [`rule`]: what is watched, compiled from the configuration, and its bins;
//! * [`state`]: the reference, the windows, and how far they are apart.

#![forbid(unsafe_code)]

pub mod rule;
pub mod state;
