//! How the shadow's answers are compared with stable's.

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::Serialize;

use crate::compare::number;
use crate::compare::pointer::Pointer;
use crate::compare::settings::Settings;
use crate::config::units::Count;

use super::de::fields;

/// How two answers are compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct Compare {
    /// JSON pointers to what is not compared, such as `/id`; `*` for every element of an array or field of an object.
    pub ignore: Vec<String>,
    /// JSON pointers to arrays whose order does not matter.
    pub unordered: Vec<String>,
    /// Which numbers are the same.
    pub tolerance: Tolerance,
    /// A JSON pointer to the label: a class, a ranked list of them, or a text. With it a pair agrees when its labels do.
    pub label: Option<String>,
    /// A second copy of each request goes to stable itself. How often stable differs from itself is what the shadow's
    /// differences are compared with.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub baseline: bool,
    /// So many of the newest pairs that differ are kept, with both values of a field: what users and models say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<Count>,
    /// JSON pointers to what samples never show.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redact: Vec<String>,
}

fields!(Compare: ignore, unordered, tolerance, label, baseline, samples, redact);

/// Which numbers are the same: those that either of the two allows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct Tolerance {
    /// Their difference, as a part of the larger one; without it 0.001, of whole numbers 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative: Option<f64>,
    /// Their difference.
    pub absolute: f64,
}

fields!(Tolerance: relative, absolute);

impl Default for Tolerance {
    fn default() -> Self {
        let number::Tolerance { relative, absolute } = number::Tolerance::default();
        Self { relative, absolute }
    }
}

impl Compare {
    /// How answers are compared; what is no pointer, and so no part of a valid configuration, is left out.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let pointers = |texts: &[String]| texts.iter().filter_map(|text| Pointer::new(text).ok()).collect();
        Settings {
            ignore: pointers(&self.ignore),
            unordered: pointers(&self.unordered),
            tolerance: number::Tolerance {
                relative: self.tolerance.relative,
                absolute: self.tolerance.absolute,
            },
            label: self.label.as_deref().and_then(|label| Pointer::new(label).ok()),
            samples: self.samples.map_or(0, |most| usize::try_from(most.get()).unwrap_or(usize::MAX)),
            redact: pointers(&self.redact),
        }
    }
}
