//! What is counted of tasks and decisions, and the names of its metrics.

use super::series::Rollout;
use crate::automation::task::{Reason, Route};

/// What became of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// People decided as the model had.
    Agree,
    /// They decided otherwise.
    Disagree,
    /// It is the second one of a task that two people decide.
    Second,
    /// It came too late, or belongs to another attempt.
    Late,
    /// It has no receipt, or no label, where they should be.
    Unreadable,
    /// Its receipt is none of this rollout's.
    Forged,
    /// Its receipt has come before.
    Repeated,
}

impl Verdict {
    /// The value of the label `result`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::Disagree => "disagree",
            Self::Second => "second",
            Self::Late => "late",
            Self::Unreadable => "unreadable",
            Self::Forged => "forged",
            Self::Repeated => "repeated",
        }
    }
}

/// What a metric is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// Tasks by where they went, and why. A counter.
    Task(Route, Reason),
    /// Decisions by what became of them, and whether the suggestion could be seen. A counter.
    Decision(Verdict, bool),
    /// Blind decisions by the model's label and the people's. A counter.
    Labels(String, String),
    /// Seconds from a task to its decision. A histogram.
    Seconds,
}

impl About {
    /// The metric's name.
    #[must_use]
    pub fn name(&self, rollout: &Rollout) -> String {
        let (metric, own) = match self {
            Self::Task(route, reason) => {
                ("changeover_tasks_total", format!(";route={};reason={}", route.label(), reason.label()))
            }
            Self::Decision(verdict, shown) => {
                ("changeover_decisions_total", format!(";result={};shown={shown}", verdict.label()))
            }
            Self::Labels(model, human) => {
                ("changeover_decisions_by_label_total", format!(";model={model};human={human}"))
            }
            Self::Seconds => ("changeover_decision_seconds", String::new()),
        };
        rollout.own(metric, &own)
    }
}
