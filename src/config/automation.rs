//! A rollout whose stable version is people: how a model takes over their work.

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::Serialize;

use super::condition::Match;
use super::de::fields;
use super::receipt::ReceiptPlace;
use super::units::{Count, Duration, Percent, Size};
use crate::model::{Degree, Share};

/// Hands work from people, who are the stable version, to a model, the candidate, degree by degree.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["answer"])))]
pub struct Automation {
    /// Where a release begins.
    pub degree: Degree,
    /// How the model is asked about a task before people get it.
    pub ask: Ask,
    /// Where the model's answer has its label and its confidence.
    pub answer: Answer,
    /// Where people read what the model suggests.
    pub suggest: Suggest,
    /// Where a task carries the model's answer, sealed.
    pub receipt: Receipt,
    /// The later request by which a decision comes. Absent: people's version answers in the same request.
    pub decision: Option<Decision>,
    /// Percent of the tasks with a suggestion that people decide without seeing it.
    // In place of the default as the configuration's hash sees it, in hundredths.
    #[cfg_attr(not(target_arch = "wasm32"), schemars(extend("default" = 20)))]
    pub blind: Percent,
    /// What the model must show before it answers alone.
    pub partial: Option<Partial>,
    /// Percent of the tasks that people decide as well, without seeing it, where the model answers alone.
    #[cfg_attr(not(target_arch = "wasm32"), schemars(extend("default" = 5)))]
    pub audit: Percent,
    /// Percent of the tasks that two people decide, of those whose suggestion stays sealed.
    #[cfg_attr(not(target_arch = "wasm32"), schemars(extend("default" = 0)))]
    pub double: Percent,
    /// Whether the degree goes down by one when audited tasks show that the model disagrees too often.
    pub step_down: bool,
}

fields!(
    Automation: degree, ask, answer, suggest, receipt, decision, blind, partial, audit, double, step_down
);

impl Default for Automation {
    fn default() -> Self {
        Self {
            degree: Degree::Human,
            ask: Ask::default(),
            answer: Answer::default(),
            suggest: Suggest::default(),
            receipt: Receipt::default(),
            decision: None,
            blind: Percent(Share::new(2_000)),
            partial: None,
            audit: Percent(Share::new(500)),
            double: Percent(Share::NONE),
            step_down: true,
        }
    }
}

/// What there is to prove and to watch, as far as that decides which degrees there may be.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // independent of each other
pub struct Guards {
    /// `partial`.
    pub has_partial: bool,
    /// `partial.max_disagreement`.
    pub has_target: bool,
    /// `audit` above 0.
    pub is_audited: bool,
    /// `step_down`.
    pub steps_down: bool,
}

impl Guards {
    /// What is missing for a degree: the field, and why.
    pub fn missing_for(self, degree: Degree) -> impl Iterator<Item = (&'static str, &'static str)> {
        let partial = (
            "partial",
            "missing; where the model answers alone, expected `max_disagreement`, or a fixed `threshold`, which is not proven",
        );
        let step_down = (
            "step_down",
            "nothing can be stepped down without `audit` and `partial.max_disagreement`; expected both, or `step_down: false`",
        );
        let is_blind = self.steps_down && !(self.is_audited && self.has_target);
        let missing = [(!self.has_partial).then_some(partial), is_blind.then_some(step_down)];
        missing.into_iter().flatten().filter(move |_| degree.answers_alone())
    }
}

impl Automation {
    /// What there is to prove and to watch.
    #[must_use]
    pub fn guards(&self) -> Guards {
        Guards {
            has_partial: self.partial.is_some(),
            has_target: self.partial.as_ref().is_some_and(|partial| partial.max_disagreement.is_some()),
            is_audited: !self.audit.0.is_none(),
            steps_down: self.step_down,
        }
    }
}

/// How the model is asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct Ask {
    /// People get the task without the model's answer when there is none by then.
    pub timeout: Duration,
    /// Larger tasks go to people without asking, and larger answers are not used. Below the listener's
    /// `per_connection_buffer_limit_bytes`.
    pub max_body: Size,
    /// Tasks about which each worker may ask at once; people get those beyond it without asking. Of tasks that are still coming
    /// each worker holds as many times `max_body`.
    pub max_in_flight: Count,
}

fields!(Ask: timeout, max_body, max_in_flight);

impl Default for Ask {
    fn default() -> Self {
        Self { timeout: Duration::from_millis(2_000), max_body: Size::kib(256), max_in_flight: 64.into() }
    }
}

/// Where the model's answer, which is JSON, has what.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["label"])))]
pub struct Answer {
    /// A JSON pointer to the label: a text, a number, a boolean, or a list of which the first counts.
    pub label: String,
    /// A JSON pointer to the confidence: a number from 0 to 1, or a list of which the largest counts.
    pub confidence: Option<String>,
}

fields!(Answer: label, confidence);

/// Where people read what the model suggests.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct Suggest {
    /// A header of the task.
    pub header: String,
}

fields!(Suggest: header);

impl Default for Suggest {
    fn default() -> Self {
        Self { header: "x-changeover-suggestion".to_owned() }
    }
}

/// Where a task carries the model's answer, sealed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct Receipt {
    /// A header of the task.
    pub header: String,
    /// A decision that takes longer counts as late. At most 90 days.
    pub ttl: Duration,
}

fields!(Receipt: header, ttl);

impl Default for Receipt {
    fn default() -> Self {
        Self { header: "x-changeover-receipt".to_owned(), ttl: Duration::from_millis(30 * 24 * 3_600_000) }
    }
}

/// The request by which a decision comes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["match", "receipt", "label"])))]
pub struct Decision {
    /// Which requests are decisions. They go where they would go without it, unchanged.
    #[serde(rename = "match")]
    pub matches: Match,
    /// Where a decision has the task's receipt.
    pub receipt: Option<ReceiptPlace>,
    /// A JSON pointer to the label that was decided.
    pub label: String,
}

fields!(Decision: matches as "match", receipt, label);

/// What the model must show before it answers alone: `max_disagreement`, from which the threshold follows, or a `threshold`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct Partial {
    /// The part of what the model answers alone in which people may decide otherwise, between 0 and 1. The model answers alone
    /// from the lowest confidence for which this is proven.
    pub max_disagreement: Option<f64>,
    /// The certainty of that proof, over all thresholds and moments together.
    pub confidence: f64,
    /// A threshold that leaves less than this part of the tasks to the model is not used, from 0 to 1.
    pub min_coverage: f64,
    /// The model answers alone from this confidence on, whatever was proven, from 0 to 1.
    pub threshold: Option<f64>,
}

fields!(Partial: max_disagreement, confidence, min_coverage, threshold);

impl Default for Partial {
    fn default() -> Self {
        Self { max_disagreement: None, confidence: 0.95, min_coverage: 0.0, threshold: None }
    }
}
