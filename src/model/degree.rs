//! How much of the work a model does, and how much people do.

use serde::{Deserialize, Serialize};

/// A degree of automation, from people alone to the model alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Degree {
    /// People decide; the model is not asked.
    #[default]
    Human,
    /// People decide; the model is asked, and its answer stays sealed.
    Shadow,
    /// People decide, and see what the model suggests.
    Assist,
    /// The model decides where it is confident enough, people decide the rest.
    Partial,
    /// The model decides.
    Full,
}

impl Degree {
    /// All degrees, from the lowest to the highest.
    pub const ALL: [Self; 5] = [Self::Human, Self::Shadow, Self::Assist, Self::Partial, Self::Full];

    /// Its name in configurations, the API and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Shadow => "shadow",
            Self::Assist => "assist",
            Self::Partial => "partial",
            Self::Full => "full",
        }
    }

    /// The degree with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|degree| degree.label() == name)
    }

    /// The next lower degree; the lowest has none.
    #[must_use]
    pub fn below(self) -> Option<Self> {
        Self::ALL.into_iter().rfind(|degree| *degree < self)
    }

    /// Whether the model answers some tasks alone.
    #[must_use]
    pub fn answers_alone(self) -> bool {
        self >= Self::Partial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_have_names_and_an_order() {
        for (at, degree) in Degree::ALL.into_iter().enumerate() {
            assert_eq!(Degree::named(degree.label()), Some(degree));
            assert_eq!(degree.below(), at.checked_sub(1).map(|below| Degree::ALL[below]));
            assert_eq!(serde_json::to_value(degree).unwrap(), degree.label());
        }
        assert_eq!(Degree::named("manual"), None);
    }
}
