//! Alarms: thresholds on what versions do over windows of time. Pure: ticks in, what is raised and what is over out.
//!
//! * [`rule`]: an alarm, compiled from the configuration;
//! * [`state`]: which alarms are raised.

#![forbid(unsafe_code)]

pub mod rule;
pub mod state;
