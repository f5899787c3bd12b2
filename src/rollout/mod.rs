//! The rollout engine: from a program, what the judge says and what people say to weights. Pure: no clock, no
//! randomness, no host; the same inputs in the same order give the same run.
//!
//! * [`program`]: what the configuration wants, compiled;
//! * [`run`]: where a rollout stands, and how it goes on: with time, by command, by a configuration push;
//! * [`record`]: what the workers of an Envoy share about it, and how their counts flow in;
//! * [`recording`]: closed ticks as they are recorded and replayed;
//! * [`clock`]: what time it is;
//! * [`command`], [`change`]: what a person, or a circuit breaker, asks for;
//! * [`phase`]: where a run is in its life;
//! * [`policy`]: what is done about a candidate that is found worse;
//! * [`reason`]: why it is there; [`waits`]: what a step waits for;
//! * [`ready`]: whether the candidate is ready;
//! * [`event`]: what happened, for people and machines; `words`: its figures, as people read them.

#![forbid(unsafe_code)]

pub mod change;
pub mod clock;
pub mod command;
pub mod event;
#[cfg(test)]
mod fixture;
pub mod phase;
pub mod policy;
pub mod program;
pub mod ready;
pub mod reason;
pub mod record;
pub mod recording;
pub mod run;
pub mod waits;
mod words;
