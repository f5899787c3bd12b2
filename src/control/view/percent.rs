//! Shares in percent.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{self, Share};
use crate::rollout::program::Program;

/// A share in percent. Whole numbers are written as such: `5`, `0.25`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percent(pub f64);

/// Shares of versions by name.
pub type Shares = BTreeMap<String, Percent>;

impl Percent {
    pub(super) fn of(share: Share) -> Self {
        Self(share.percent())
    }
}

impl Serialize for Percent {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // cut to what a number can hold
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hundredths = (self.0 * 100.0).round() as u32;
        if hundredths.is_multiple_of(100) {
            serializer.serialize_u32(hundredths / 100)
        } else {
            serializer.serialize_f64(f64::from(hundredths) / 100.0)
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Self)
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl schemars::JsonSchema for Percent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let description = "A share in percent, with at most two decimals.";
        schemars::json_schema!({"type": "number", "minimum": 0, "maximum": 100, "description": description})
    }
}

/// The shares of all versions, those that have none too.
pub(super) fn weights(program: &Program, in_force: &model::Shares) -> Shares {
    let mut all = Shares::new();
    all.extend(program.versions.iter().map(|version| (version.clone(), Percent(0.0))));
    all.extend(shares(&program.shares(in_force)));
    all
}

pub(super) fn shares(weights: &model::Shares) -> Shares {
    // Collecting into a map sorts first, which costs the module kilobytes of code.
    let mut shares = Shares::new();
    shares.extend(weights.iter().map(|(version, share)| (version.clone(), Percent::of(*share))));
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_as_short_as_they_can_be() {
        for (share, text) in
            [(0.0, "0"), (5.0, "5"), (0.25, "0.25"), (33.333_333, "33.33"), (99.999, "100"), (100.0, "100")]
        {
            assert_eq!(serde_json::to_string(&Percent(share)).unwrap(), text);
        }
        assert_eq!(serde_json::to_string(&Percent(f64::NAN)).unwrap(), "0");
    }
}
