//! What one tick shows of one suspected regression, as the logarithm of a likelihood ratio L.
//!
//! Each has `E[L] ≤ 1` whenever the candidate makes no difference, whatever the rate of events (or the mean of values) is
//! and however it moves from tick to tick. That is all that [`super::evidence`] needs.
//!
//! * [`ratio`]: an event happens more often on the candidate;
//! * [`split`]: a part of the units is larger than it should be;
//! * [`mean`]: the mean of bounded values is higher on the candidate;
//! * [`paired`]: pairs differ more often than stable differs from itself.
//!
//! [`agreement`] is the interval of a share, at every moment; [`drift`] how far observations have moved from earlier ones.

pub mod agreement;
pub mod drift;
pub mod mean;
pub mod paired;
pub mod ratio;
pub mod split;
