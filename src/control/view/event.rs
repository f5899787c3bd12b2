//! What happened to a rollout.

use serde::{Deserialize, Serialize};

use super::evidence::{Samples, shown};
use super::percent::{Shares, shares};
use crate::control::time::rfc3339;
use crate::rollout::event::{self, Action, Actor};

/// What happened to a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Journal {
    /// Newest first.
    pub events: Vec<Event>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Event {
    /// When, as RFC 3339 writes it.
    pub time: String,
    /// The rollout.
    pub rollout: String,
    /// The release.
    pub release: String,
    /// From 1.
    pub attempt: u32,
    /// What caused it.
    pub actor: Actor,
    /// The name of the token that came with the command; `null` for a token without a name, and for other causes.
    #[serde(default)]
    pub token: Option<String>,
    /// The reason that came with the command.
    #[serde(default)]
    pub reason: Option<String>,
    /// What was done.
    pub action: Action,
    /// The metric with the most evidence against the candidate, if the judge caused the event or the rollout took a step by
    /// itself; `circuit_breaker`; or the name of an alarm.
    pub rule: Option<String>,
    /// The logarithm of the e-value, which decided or was reached by then; a circuit breaker's: errors in a row; an alarm's: what it saw.
    pub value: Option<f64>,
    /// The logarithm of its threshold; a circuit breaker's: the errors that are enough; an alarm's threshold.
    pub threshold: Option<f64>,
    /// The counts of that metric since the step began; after a flip, the old side's are those before it.
    pub samples: Option<Samples>,
    /// Shares before.
    pub from: Shares,
    /// Shares after.
    pub to: Shares,
    /// The event in one sentence.
    pub message: String,
}

impl Event {
    /// Shows an event of a rollout.
    #[must_use]
    pub fn new(rollout: &str, event: &event::Event) -> Self {
        let finding = event.evidence.as_ref();
        Self {
            time: rfc3339(event.time),
            rollout: rollout.to_owned(),
            release: event.release.clone(),
            attempt: event.attempt,
            actor: event.actor,
            token: event.origin.token.clone(),
            reason: event.origin.reason.clone(),
            action: event.action,
            rule: finding.map(|finding| finding.rule.clone()),
            value: finding.and_then(|finding| shown(finding.value)),
            threshold: finding.and_then(|finding| shown(finding.threshold)),
            samples: finding.map(|finding| Samples::new(finding.samples, finding.unit)),
            from: shares(&event.from),
            to: shares(&event.to),
            message: event.message.clone(),
        }
    }
}
