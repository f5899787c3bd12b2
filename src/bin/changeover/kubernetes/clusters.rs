//! The names of clusters that Istio and Envoy Gateway give, and those that resources add.

use std::collections::BTreeSet;

use changeover::config::schema::Config;
use serde_json::Value;

use super::{files, of_kind, patches};
use crate::envoy::{Findings, Node};
use crate::yaml;

/// One of Istio's names, `outbound|PORT|SUBSET|HOST`.
pub(super) struct Outbound<'a> {
    pub(super) port: u64,
    pub(super) subset: &'a str,
    pub(super) host: &'a str,
}

impl<'a> Outbound<'a> {
    pub(super) fn of(cluster: &'a str) -> Option<Self> {
        let mut parts = cluster.strip_prefix("outbound|")?.split('|');
        let (port, subset, host) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
        (!host.is_empty() && parts.next().is_none()).then_some(Self { port, subset, host })
    }
}

/// The clusters that the configuration names beside those of versions: what they are to it, and their names.
pub(super) fn called(config: &Config) -> Vec<(String, &str)> {
    let receivers = config
        .notify
        .iter()
        .map(|receiver| (format!("`cluster` of notify {:?}", receiver.name), receiver.cluster.as_str()));
    let store = config.store.as_ref();
    let store = store.map(|store| ("`store.etcd.cluster`".to_owned(), store.etcd.cluster.as_str()));
    receivers.chain(store).collect()
}

/// Refuses clusters that Istio does not have.
pub(super) fn known_to_istio(filter: &Node<'_>, config: &Config, set: &[Node<'_>], findings: &mut Findings) {
    let added = added(set);
    let versions = config.rollouts.iter().flat_map(|rollout| {
        rollout.versions.iter().map(move |(version, settings)| {
            (format!("`versions.{version}.cluster` of rollout {:?}", rollout.name), settings.cluster.as_str())
        })
    });
    for (what, cluster) in versions.chain(called(config)) {
        if Outbound::of(cluster).is_none() && !added.contains(cluster) {
            findings.error(
                filter,
                format_args!(
                    "{what} is {cluster:?}, and Istio has no cluster of such a name: requests to it would get 503; expected \
                     outbound|PORT|SUBSET|HOST, or a patch of these files that adds it (`applyTo: CLUSTER`)"
                ),
            );
        }
    }
}

/// The names of the clusters that resources add, by patches and bootstraps.
pub(super) fn added(set: &[Node<'_>]) -> BTreeSet<String> {
    let patched = set.iter().flat_map(patches).filter_map(|patch| {
        let (is_cluster, value) = match patch.text("applyTo") {
            Some(target) => (target == "CLUSTER", patch.at(&["patch", "value"])),
            None => (patch.text("type")?.ends_with(".Cluster"), patch.at(&["operation", "value"])),
        };
        Some(value.filter(|_| is_cluster)?.text("name")?.to_owned())
    });
    let maps = of_kind(set, "ConfigMap").flat_map(files).map(|(_, text)| text);
    let proxies = of_kind(set, "EnvoyProxy")
        .filter_map(|proxy| proxy.value.pointer("/spec/bootstrap/value").and_then(Value::as_str));
    let bootstraps = maps.chain(proxies).flat_map(|text| yaml::read(text).unwrap_or_default());
    let listed = |bootstrap: Value| {
        let clusters = bootstrap.pointer("/static_resources/clusters").and_then(Value::as_array).cloned();
        clusters.into_iter().flatten().filter_map(|cluster| Some(cluster.get("name")?.as_str()?.to_owned()))
    };
    patched.chain(bootstraps.flat_map(listed)).collect()
}
