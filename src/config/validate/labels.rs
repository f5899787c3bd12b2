//! The rules of labels.

use super::LONGEST_NAME;
use super::words::at_most;
use crate::config::report::{Path, Problems, Shown};
use crate::config::schema::Rollout;

/// Labels the metrics have themselves, now or by their contract.
const RESERVED_LABELS: [&str; 29] = [
    "route",
    "reason",
    "shown",
    "model",
    "human",
    "rollout",
    "name",
    "release",
    "attempt",
    "stable",
    "candidate",
    "version",
    "class",
    "outcome",
    "worker",
    "build_version",
    "commit",
    "metric",
    "phase",
    "action",
    "actor",
    "result",
    "field",
    "kind",
    "label",
    "shadow",
    "what",
    "window",
    "le",
];

pub(super) fn labels(rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    at_most(rollout.labels.len(), path, problems);
    for (label, value) in &rollout.labels {
        let path = path.field(label);
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let starts_well = label.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if label.len() > LONGEST_NAME || !starts_well || !label.bytes().all(plain) {
            problems.add(
                &path,
                "not a label name; expected lower-case letters, digits and _, at most 63, no digit first",
            );
        } else if RESERVED_LABELS.contains(&label.as_str()) {
            problems.add(&path, "a label that the metrics already have; expected another name");
        } else if value.contains([';', '\0']) || value.is_empty() || value.chars().any(char::is_control) {
            // `;` separates the labels in Envoy's name of the metric.
            problems
                .add(&path, format_args!("{} is empty or holds `;` or a control character", Shown(value)));
        } else if value.len() > LONGEST_NAME {
            problems.add(&path, format_args!("{} bytes are over the limit of {LONGEST_NAME}", value.len()));
        }
    }
}
