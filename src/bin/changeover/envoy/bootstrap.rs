//! What stands in the bootstrap: clusters, the statistics' labels, the admin interface.

use std::collections::BTreeSet;

use changeover::config::schema::Config;

use super::{Findings, Node, is_loopback};

/// Checks a bootstrap whose filters have these configurations; `clusters` are those of all files together.
pub(crate) fn check(
    bootstrap: &Node<'_>,
    configs: &[&Config],
    clusters: &BTreeSet<&str>,
    findings: &mut Findings,
) {
    // With CDS nobody but Envoy knows all clusters.
    if bootstrap.at(&["dynamic_resources", "cds_config"]).is_none() {
        known_clusters(bootstrap, configs, clusters, findings);
    }
    labels(bootstrap, configs, findings);
    if let Some(address) = bootstrap.at(&["admin", "address", "socket_address"])
        && let Some(host) = address.text("address")
        && !is_loopback(host)
    {
        findings.warning(
            &address,
            format_args!(
                "the admin interface listens on {host}: whoever reaches it can stop Envoy; expected 127.0.0.1"
            ),
        );
    }
}

fn known_clusters(
    bootstrap: &Node<'_>,
    configs: &[&Config],
    clusters: &BTreeSet<&str>,
    findings: &mut Findings,
) {
    let mut missing = BTreeSet::new();
    for rollout in configs.iter().flat_map(|config| &config.rollouts) {
        for (version, settings) in &rollout.versions {
            if !clusters.contains(settings.cluster.as_str()) {
                missing.insert((settings.cluster.as_str(), rollout.name.as_str(), version.as_str()));
            }
        }
    }
    for (cluster, rollout, version) in missing {
        findings.error(
            bootstrap,
            format_args!("there is no cluster {cluster:?}, which serves version {version:?} of rollout {rollout:?}; known here: {clusters:?}"),
        );
    }
}

/// The labels of the metrics come from `stats_tags`, which can stand nowhere else.
fn labels(bootstrap: &Node<'_>, configs: &[&Config], findings: &mut Findings) {
    let mut wanted: BTreeSet<&str> =
        BTreeSet::from(["rollout", "version", "class", "outcome", "worker", "build_version", "commit"]);
    for rollout in configs.iter().flat_map(|config| &config.rollouts) {
        wanted.extend(rollout.labels.keys().map(String::as_str));
        if rollout.mirror.is_some() {
            wanted.insert("result");
        }
    }
    let tags = bootstrap.field("stats_config").map(|stats| stats.list("stats_tags")).unwrap_or_default();
    let has = |label: &&str| {
        let cuts = format!(";{label}=");
        tags.iter().any(|tag| {
            tag.text("tag_name") == Some(*label)
                && tag.text("regex").is_some_and(|regex| regex.contains(&cuts))
        })
    };
    let missing: Vec<&str> = wanted.into_iter().filter(|label| !has(label)).collect();
    if !missing.is_empty() {
        findings.error(
            bootstrap,
            format_args!(
                "stats_config.stats_tags lacks {}: those labels would stay glued to the metrics' names; copy them from envoy/stats-tags.yaml",
                missing.join(", ")
            ),
        );
    }
}
