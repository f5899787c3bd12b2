//! Rollouts and events as the API shows them: shares in percent, stable's included; times as text; logarithms of
//! e-values to the base of 10. The command line reads the same types.

mod alarm;
mod event;
mod evidence;
mod fleet;
mod percent;
mod rollout;

use serde::Serialize;

pub use alarm::{Alarm, Drift, DriftWindow};
pub use event::{Event, Journal};
pub use evidence::{Against, Evidence, Milliseconds, Sample, Samples, Tested, WorseIf};
pub use fleet::{Fleet, Member};
pub use percent::{Percent, Shares};
pub use rollout::{Page, Planned, Rollout, Step, Watch};

/// The API is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Health {
    /// `ok`.
    pub status: &'static str,
}
