//! How two answers are compared, compiled.

use serde_json::Value;

use super::number::Tolerance;
use super::order::in_order;
use super::pointer::Pointer;

/// How two answers are compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Not compared.
    pub ignore: Vec<Pointer>,
    /// Arrays whose order does not matter.
    pub unordered: Vec<Pointer>,
    /// Which numbers are the same.
    pub tolerance: Tolerance,
    /// Where the label stands.
    pub label: Option<Pointer>,
    /// How many pairs that differ are kept, with both values of a field.
    pub samples: usize,
    /// Fields whose values are not kept.
    pub redact: Vec<Pointer>,
}

impl Settings {
    /// Takes out of a document what is not compared, and brings what has no order into one.
    pub(super) fn prepare(&self, document: &mut Value) {
        for pointer in &self.ignore {
            pointer.remove(document);
        }
        // What stands deeper comes first: the order of an array depends on what is in it.
        let deepest = self.unordered.iter().map(Pointer::depth).max().unwrap_or(0);
        let by_depth = (0..=deepest)
            .rev()
            .flat_map(|depth| self.unordered.iter().filter(move |pointer| pointer.depth() == depth));
        for pointer in by_depth {
            pointer.each(document, &mut |value| {
                if let Value::Array(elements) = value {
                    elements.sort_unstable_by(in_order);
                }
            });
        }
    }
}
