//! Tasks that people or a model decide, as requests: how the model is asked, and where a decision has what.

use super::matcher::Matcher;
use super::receipt::ReceiptPlace;
use super::request::{Facts, Request};
use crate::automation::answer::Places;
use crate::automation::task::Drawn;
use crate::compare::pointer::Pointer;
use crate::config::automation as config;
use crate::config::schema::{Config, Match};
use crate::model::Share;

/// How a rollout's tasks are handled, compiled.
#[derive(Debug)]
pub struct Automation {
    /// Milliseconds that the model is waited for.
    pub timeout: u32,
    /// Bytes of a task or an answer that is held, at most.
    pub max_body: usize,
    /// Tasks about which a worker may ask the model at once.
    pub max_in_flight: usize,
    /// Where the model's answer has its label and its confidence.
    pub places: Places,
    /// The header of suggestions, in lower case.
    pub suggestion: String,
    /// The header of receipts, in lower case.
    pub receipt: String,
    /// Milliseconds that a receipt is valid.
    pub ttl: u64,
    /// Where a later request has a decision; `None`: people's version answers in the same request.
    pub decision: Option<DecisionPlaces>,
    /// The model's position in the rollout's versions.
    pub model: usize,
    blind: Share,
    audit: Share,
    double: Share,
}

/// Where a decision has what.
#[derive(Debug)]
pub struct DecisionPlaces {
    /// The task's receipt.
    pub receipt: ReceiptPlace,
    /// The label that was decided.
    pub label: Pointer,
}

impl Automation {
    pub(super) fn new(config: &config::Automation, model: usize) -> Option<Self> {
        let pointer = |text: &str| Pointer::new(text).ok();
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let decision = match &config.decision {
            None => None,
            Some(decision) => Some(DecisionPlaces {
                receipt: ReceiptPlace::new(decision.receipt.as_ref()?)?,
                label: pointer(&decision.label)?,
            }),
        };
        let confidence = match &config.answer.confidence {
            None => None,
            Some(text) => Some(pointer(text)?),
        };
        Some(Self {
            timeout: u32::try_from(config.ask.timeout.as_millis()).unwrap_or(u32::MAX),
            max_body: size(config.ask.max_body.bytes()),
            max_in_flight: size(config.ask.max_in_flight.get()),
            places: Places { label: pointer(&config.answer.label)?, confidence },
            suggestion: config.suggest.header.to_ascii_lowercase(),
            receipt: config.receipt.header.to_ascii_lowercase(),
            ttl: config.receipt.ttl.as_millis(),
            decision,
            model,
            blind: config.blind.0,
            audit: config.audit.0,
            double: config.double.0,
        })
    }

    /// Draws for a task.
    pub(super) fn draw(&self, rng: &mut fastrand::Rng) -> Drawn {
        let mut hits =
            |share: Share| !share.is_none() && rng.u16(..Share::ALL.basis_points()) < share.basis_points();
        Drawn { audited: hits(self.audit), blind: hits(self.blind), double: hits(self.double) }
    }
}

/// Which requests are decisions, of all rollouts.
pub(super) struct Decisions {
    matcher: Matcher,
    /// The position of the rollout, by that of its conditions.
    rollouts: Vec<usize>,
}

impl Decisions {
    /// `None`: no rollout has any.
    pub(super) fn new(config: &Config) -> Option<Self> {
        let conditions =
            config.rollouts.iter().enumerate().filter_map(|(at, rollout)| {
                Some((at, &rollout.automation.as_ref()?.decision.as_ref()?.matches))
            });
        let (rollouts, matches): (Vec<usize>, Vec<&Match>) = conditions.unzip();
        (!rollouts.is_empty()).then(|| Self { matcher: Matcher::of(&matches), rollouts })
    }

    /// The headers that may be asked for.
    pub(super) fn headers(&self) -> impl Iterator<Item = &str> {
        self.matcher.headers()
    }

    /// The rollouts one of whose tasks the request may decide: its receipt says which.
    pub(super) fn find<R: Request>(&self, request: &R) -> Vec<usize> {
        let mut found = Vec::new();
        self.matcher.each(&Facts::new(request), |at| found.extend(self.rollouts.get(at).copied()));
        found
    }
}
