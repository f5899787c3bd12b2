//! Which requests are copied to a shadow: a version that answers, and whose answers nobody waits for.

use super::request::{Facts, Request};
use crate::config::schema;

/// A rollout's mirror, compiled.
pub(super) struct Mirror {
    /// The shadow's position in the rollout's versions.
    to: usize,
    /// Hundredths of a percent of the requests that stable answers.
    share: u16,
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

/// What becomes of a request that was drawn for the shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorResult {
    /// Envoy is asked to copy it.
    Sent,
    /// Its method is not mirrored.
    SkippedMethod,
    /// It opens a tunnel, which has no copy.
    SkippedUpgrade,
}

impl MirrorResult {
    /// All results, in the order of their [`MirrorResult::index`].
    pub const ALL: [Self; 3] = [Self::Sent, Self::SkippedMethod, Self::SkippedUpgrade];

    /// The value of the label `result`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::SkippedMethod => "skipped_method",
            Self::SkippedUpgrade => "skipped_upgrade",
        }
    }

    /// The position in [`MirrorResult::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

impl Mirror {
    pub(super) fn new(config: &schema::Mirror, to: usize) -> Self {
        Self {
            to,
            share: config.percent.basis_points(),
            methods: config.methods.iter().map(|method| method.clone().into_bytes()).collect(),
        }
    }

    /// The share that is configured.
    pub(super) fn share(&self) -> u16 {
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
