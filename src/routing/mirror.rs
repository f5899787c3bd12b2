//! Which requests are copied to a shadow: a version that answers, and whose answers nobody waits for.

use super::assign::Salt;
use super::request::{Facts, Request};
use crate::config::schema;

/// A rollout's mirror, compiled.
pub(super) struct Mirror {
    /// The shadow's position in the rollout's versions.
    to: usize,
    /// Another salt than the rollout's own: which users are mirrored says nothing about their version.
    salt: Salt,
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
    pub(super) fn new(config: &schema::Mirror, to: usize, salt: &str) -> Self {
        Self {
            to,
            salt: Salt::new(&format!("{salt}\0mirror")),
            share: config.percent.basis_points(),
            methods: config.methods.iter().map(|method| method.clone().into_bytes()).collect(),
        }
    }

    /// The bucket of a user's key in the mirror's own cohort.
    pub(super) fn bucket(&self, key: &[u8]) -> u16 {
        self.salt.bucket(key)
    }

    /// What becomes of a request in this bucket; `None` when it was not drawn.
    pub(super) fn decide<R: Request>(&self, bucket: u16, facts: &Facts<'_, R>) -> Option<Mirrored> {
        if bucket >= self.share {
            return None;
        }
        let result = if facts.method() == b"CONNECT" || facts.request().header("upgrade").is_some() {
            MirrorResult::SkippedUpgrade
        } else if self.methods.iter().any(|method| method == facts.method()) {
            MirrorResult::Sent
        } else {
            MirrorResult::SkippedMethod
        };
        Some(Mirrored { to: self.to, result })
    }
}
