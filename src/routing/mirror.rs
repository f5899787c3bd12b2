//! Which requests are copied to a shadow: a version whose answers are discarded.

use super::request::{Facts, Request};
use crate::config::schema;
use crate::model::Share;
use crate::telemetry::outcome::MirrorResult;

/// A rollout's mirror, compiled.
pub(super) struct Mirror {
    /// The shadow's position in the rollout's versions.
    to: usize,
    /// Of the requests that stable answers.
    share: Share,
    methods: Vec<Vec<u8>>,
    /// Bytes of a body that is copied, at most.
    max_body: u64,
}

/// A request that was drawn for the shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// The shadow's position in the rollout's versions.
    pub to: usize,
    /// Whether it gets the request.
    pub result: MirrorResult,
}

impl Mirror {
    /// The headers that are asked for.
    pub(super) const HEADERS: [&str; 2] = [":method", "upgrade"];

    pub(super) fn new(config: &schema::Mirror, to: usize) -> Self {
        Self {
            to,
            share: config.percent.0,
            max_body: config.max_body.bytes(),
            methods: config.methods.iter().map(|method| method.clone().into_bytes()).collect(),
        }
    }

    /// The share that is configured.
    pub(super) fn share(&self) -> Share {
        self.share
    }

    /// What becomes of a request that was drawn.
    pub(super) fn decide<R: Request>(&self, facts: &Facts<'_, R>) -> Mirrored {
        let result = if facts.method() == b"CONNECT" || facts.request().header("upgrade").is_some() {
            MirrorResult::SkippedUpgrade
        } else if self.methods.iter().any(|method| method == facts.method()) {
            self.decide_by_length(facts)
        } else {
            MirrorResult::SkippedMethod
        };
        Mirrored { to: self.to, result }
    }

    /// Envoy reads a request from its client only as fast as the shadow takes the copy, so a body is copied only if it
    /// finds room in Envoy's buffers as a whole.
    fn decide_by_length<R: Request>(&self, facts: &Facts<'_, R>) -> MirrorResult {
        if !facts.request().has_body() {
            return MirrorResult::Sent;
        }
        let length = facts.request().header("content-length");
        let length = length.and_then(|length| std::str::from_utf8(&length).ok()?.parse::<u64>().ok());
        match length {
            None => MirrorResult::SkippedUnknownLength,
            Some(length) if length > self.max_body => MirrorResult::SkippedTooLarge,
            Some(_) => MirrorResult::Sent,
        }
    }
}
