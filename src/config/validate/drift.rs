//! What the watch over stable's metrics must obey beyond its types.

use crate::config::drift::Drift;
use crate::config::report::{Path, Problems, Shown};
use crate::config::schema::{Rollout, known};
use crate::signal::catalog::{self, Among};

/// Metrics: each has gauges, and a share of what is shared each second.
const MOST_METRICS: usize = 8;
/// Milliseconds of the reference.
const REFERENCES: std::ops::RangeInclusive<u64> = 10_000..=604_800_000;

/// Checks what is watched of a rollout's stable version.
pub(super) fn drift(drift: &Drift, rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    if rollout.analysis.is_none() {
        problems.add(path, "nothing is counted without `analysis`; expected `analysis` beside it");
    }
    let metrics = path.field("metrics");
    if drift.metrics.is_empty() {
        problems.add(&metrics, "empty; expected at least one metric");
    } else if drift.metrics.len() > MOST_METRICS {
        problems.add(&metrics, format_args!("{} of at most {MOST_METRICS}", drift.metrics.len()));
    }
    for (index, name) in drift.metrics.iter().enumerate().take(MOST_METRICS) {
        let path = metrics.index(index);
        let earlier = drift.metrics.get(..index).unwrap_or_default();
        if let Some(first) = earlier.iter().position(|other| other == name) {
            problems.add(&path, format_args!("the same as metrics[{first}]; expected another"));
        }
        let Some(moving) = catalog::moving(name) else {
            let among = catalog::named(name).map(|named| named.signal.among);
            let why = match among {
                Some(Among::Pairs) => {
                    "stable has no pairs of answers of its own; expected another metric".into()
                }
                Some(_) => {
                    "feedback counts only users who act, so it has no rate; expected another metric".into()
                }
                None => {
                    let names = catalog::moving_names();
                    let names = known(names.iter().map(String::as_str));
                    format!("unknown metric {}; known here: {names}", Shown(name))
                }
            };
            problems.add(&path, why);
            continue;
        };
        if moving.named.signal.among.reads_bodies() {
            super::payload::can_observe(&moving.named, rollout.payload.as_ref(), &path, problems);
        }
    }
    let reference = drift.reference;
    if !REFERENCES.contains(&reference.as_millis()) || !reference.as_millis().is_multiple_of(1_000) {
        problems
            .add(&path.field("reference"), format_args!("{reference} is not whole seconds from 10s to 168h"));
    }
}
