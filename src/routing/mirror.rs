//! Which requests are copied to a shadow: a version that answers, and whose answers nobody waits for.

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
            MirrorResult::Sent
        } else {
            MirrorResult::SkippedMethod
        };
        Mirrored { to: self.to, result }
    }
}
