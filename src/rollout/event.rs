//! What happened to a rollout.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::phase::Phase;
use crate::analysis::totals::Totals;
pub use crate::model::Action;
use crate::model::{Arm, Shares, Unit};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since the epoch.
    pub time: u64,
    /// The run's release.
    pub release: String,
    /// The run's attempt, from 1.
    pub attempt: u32,
    /// The run's revision that it has led to.
    pub revision: u64,
    /// The phase that it has led to.
    pub phase: Phase,
    /// What caused it.
    pub actor: Actor,
    /// Who gave the command that caused it, and why; empty for other causes.
    pub origin: Origin,
    /// What was done.
    pub action: Action,
    /// What the judge saw, where it was the reason; what it knew, where a step went on by itself.
    pub evidence: Option<Finding>,
    /// Shares before, stable's included.
    pub from: Shares,
    /// Shares after, stable's included.
    pub to: Shares,
    /// The event in one sentence.
    pub message: String,
}

/// Who gave a command, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The name of the token that came with it, if that has one.
    pub token: Option<String>,
    /// The reason that came with it: at most [`LONGEST_REASON`] characters, no control characters.
    pub reason: Option<String>,
}

/// The characters that a reason may have: each event keeps it, and all workers share the events.
pub const LONGEST_REASON: usize = 256;

/// What caused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Actor {
    /// The rollout itself.
    Auto,
    /// A command.
    User,
    /// A configuration push.
    Config,
}

impl Actor {
    /// The value of the label `actor`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::User => "user",
            Self::Config => "config",
        }
    }
}

/// What the judge, or a circuit breaker, saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The metric with the most evidence.
    pub rule: String,
    /// Whether it is about a fixed bound, and not about stable.
    pub is_absolute: bool,
    /// The decimal logarithm of the e-value that decided, of all metrics together; a circuit breaker's: errors.
    pub value: f64,
    /// The decimal logarithm of its threshold; a circuit breaker's: the errors that are enough.
    pub threshold: f64,
    /// What was counted of that metric in the step, or in the one before while nothing of it is known; a circuit
    /// breaker's: since its first error.
    pub samples: Totals,
    /// What was counted.
    pub unit: Unit,
}

/// `9 of 12 requests (75 %)`.
pub(super) struct Of(pub(super) Arm, pub(super) Unit);

impl fmt::Display for Of {
    #[allow(clippy::cast_precision_loss)] // shown with one decimal
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Arm { events, units }, unit) = self;
        let percent = *events as f64 / (*units).max(1) as f64 * 100.0;
        write!(f, "{events} of {units} {} ({percent:.1} %)", unit.label())
    }
}
