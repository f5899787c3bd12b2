//! The rollout engine: from a program, what the judge says and what people say to weights. Pure: no clock, no
//! randomness, no host; the same inputs in the same order give the same run.
//!
//! * [`program`]: what the configuration wants, compiled;
//! * [`run`]: where a rollout stands, and how it goes on: with time, by command, by a configuration push;
//! * [`record`]: what the workers of an Envoy share about it, and how their counts flow in;
//! * [`change`]: a command to one of them;
//! * [`lead`]: which worker acts for all;
//! * [`event`]: what happened, for people and machines.

#![forbid(unsafe_code)]

pub mod change;
pub mod event;
pub mod lead;
pub mod program;
pub mod record;
pub mod run;
