//! What `store` must obey beyond its type.

use super::feedback::shared;
use super::words::{cluster, name};
use crate::config::report::{Path, Problems};
use crate::config::schema::Config;

/// Milliseconds of a period.
const PERIODS: std::ops::RangeInclusive<u64> = 1_000..=60_000;

/// Rollouts beside it: each report has all that move. An Envoy with many reads their records, and those of earlier releases, in
/// one answer of etcd: with so many that is 11 MB at the most.
const MOST_ROLLOUTS: usize = 200;

/// Checks the store, and that what stands beside it works in a fleet.
pub(super) fn store(config: &Config, path: &Path<'_>, problems: &mut Problems) {
    let Some(store) = &config.store else { return };
    if config.control.is_some() {
        problems.add(path, "beside control, where it does nothing; expected it beside rollouts");
    }
    name(&store.fleet, &path.field("fleet"), problems);
    cluster(&store.etcd.cluster, &path.field("etcd").field("cluster"), problems);
    if !PERIODS.contains(&store.period.as_millis()) {
        problems.add(&path.field("period"), format_args!("{} is not from 1s to 60s", store.period));
    }
    // Before that a member that was cut off has not even noticed.
    let least = store.period.as_millis().saturating_mul(3).saturating_add(2_000);
    if let Some(stale_after) = store.stale_after.filter(|stale_after| stale_after.as_millis() <= least) {
        let path = path.field("stale_after");
        problems.add(
            &path,
            format_args!(
                "{stale_after} is too short; expected more than {least}ms, three periods and two seconds"
            ),
        );
    }
    let count = config.rollouts.len();
    if count > MOST_ROLLOUTS {
        let path = Path::Root.field("rollouts");
        problems.add(
            &path,
            format_args!("{count} rollouts beside `store` are over the limit of {MOST_ROLLOUTS}"),
        );
    }
    for (index, _) in config.rollouts.iter().enumerate().filter(|(_, of)| of.automation.is_some()) {
        let path = Path::Root.field("rollouts");
        problems.add(
            &path.index(index).field("automation"),
            "beside `store`: decisions are counted by one Envoy; expected a filter without `store`, with a `vm_id` of its own, for this rollout",
        );
    }
    shared(config, problems);
}
