//! The words that all other folders use. Depends on nothing else in this crate.
//!
//! * [`Side`], [`Pair`]: candidate and stable, the two versions that are compared;
//! * [`Arm`]: how often a yes/no event happened on one side;
//! * [`Share`], [`Shares`]: parts of the traffic;
//! * [`Assignment`], [`UserHash`], [`Draw`]: which version a request was given, under what, and to which user;
//! * [`Unit`]: what counts once;
//! * [`Action`]: what can happen to a rollout;
//! * [`Degree`]: how much a model does of people's work;
//! * [`SortedMap`]: a map that costs little code;
//! * [`authority`]: hosts and ports;
//! * [`wire`]: messages of Protocol Buffers.

#![forbid(unsafe_code)]

mod action;
pub mod authority;
mod degree;
mod draw;
pub mod header;
mod share;
mod side;
mod sorted;
mod unit;
pub mod wire;

pub use action::Action;
pub use degree::Degree;
pub use draw::{Assignment, Draw, UserHash};
pub use share::{Share, Shares, shares};
pub use side::{Arm, Pair, Side};
pub use sorted::{SortedMap, sorted};
pub use unit::Unit;

/// A count as a real number: exact up to 2^53.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub const fn real(count: u64) -> f64 {
    count as f64
}
