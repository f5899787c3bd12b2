//! Alarms: thresholds on what versions do over windows of time. Pure: ticks in, what is raised and what is over out.
//!
//! * [`rule`]: an alarm, compiled from the configuration;
//! * [`ring`]: what was seen in a window, in coarse parts;
//! * [`state`]: which alarms are raised.

#![forbid(unsafe_code)]

pub mod ring;
pub mod rule;
pub mod state;
