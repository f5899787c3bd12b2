//! What can be observed of a request, and what is counted of it.
//!
//! A *signal* is one thing that can be observed: the request failed, its answer took so long. All that is particular
//! about a signal is its row in the [`catalog`] and the place that observes it. The ledger counts observations by
//! signal, the judge compares tallies, sentences and the API use a signal's name.
//!
//! * [`catalog`]: the signals there are;
//! * [`observed`]: one observation;
//! * [`tally`]: observations of one side in one tick, added up;
//! * [`histogram`]: durations in buckets;
//! * [`sums`]: bounded values in fixed point;
//! * [`sample`]: users with an observation, in bounded memory.

#![forbid(unsafe_code)]

pub mod catalog;
pub mod histogram;
pub mod observed;
pub mod sample;
pub mod sums;
pub mod tally;
