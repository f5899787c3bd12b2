//! What counts once.

use serde::{Deserialize, Serialize};

/// What counts once for the judge: a user with session affinity, otherwise a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Unit {
    /// Requests.
    #[default]
    Requests,
    /// Users.
    Users,
}

impl Unit {
    /// The word for several of them.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Users => "users",
        }
    }
}
