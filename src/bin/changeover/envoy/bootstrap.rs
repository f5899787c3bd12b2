//! What stands in the bootstrap: clusters, the statistics' labels, the admin interface.

use std::collections::{BTreeMap, BTreeSet};

use changeover::config::schema::{Config, MirrorMode};
use changeover::model::authority::is_loopback;

use super::{Findings, Node, protocol};

/// Checks a bootstrap whose filters have these configurations; `clusters` are those of all files together, and `choices` are values
/// of the filter's header for which a route names the cluster.
pub(crate) fn check(
    bootstrap: &Node<'_>,
    configs: &[&Config],
    (clusters, choices): (&BTreeMap<&str, Node<'_>>, &BTreeSet<&str>),
    findings: &mut Findings,
) {
    stores(configs, clusters, findings);
    // With CDS only Envoy has all clusters.
    if bootstrap.at(&["dynamic_resources", "cds_config"]).is_none() {
        known_clusters(bootstrap, configs, (&clusters.keys().copied().collect(), choices), findings);
    }
    labels(bootstrap, configs, findings);
    if let Some(address) = bootstrap.at(&["admin", "address", "socket_address"])
        && let Some(host) = address.text("address")
        && !is_loopback(host)
    {
        findings.warning(
            &address,
            format_args!(
                "the admin interface listens on {host}: any client that reaches it can stop Envoy; expected 127.0.0.1"
            ),
        );
    }
}

/// The store's API is gRPC.
fn stores(configs: &[&Config], clusters: &BTreeMap<&str, Node<'_>>, findings: &mut Findings) {
    let stores = configs.iter().filter_map(|config| config.store.as_ref());
    for (store, cluster) in
        stores.filter_map(|store| Some((store, clusters.get(store.etcd.cluster.as_str())?)))
    {
        if protocol::is_http1(cluster) {
            findings.error(
                cluster,
                format_args!(
                    "the store of fleet {:?} speaks gRPC, and Envoy HTTP/1.1 to this cluster; expected `explicit_http_config: \
                     {{http2_protocol_options: {{}}}}` in its {}, as in envoy/store/cluster.yaml",
                    store.fleet,
                    protocol::OPTIONS
                ),
            );
        }
    }
}

fn known_clusters(
    bootstrap: &Node<'_>,
    configs: &[&Config],
    (clusters, choices): (&BTreeSet<&str>, &BTreeSet<&str>),
    findings: &mut Findings,
) {
    let mut missing = BTreeSet::new();
    for rollout in configs.iter().flat_map(|config| &config.rollouts) {
        for (version, settings) in &rollout.versions {
            if ![clusters, choices].iter().any(|names| names.contains(settings.cluster.as_str())) {
                missing.insert((settings.cluster.as_str(), rollout.name.as_str(), version.as_str()));
            }
        }
    }
    let receivers = configs.iter().flat_map(|config| &config.notify);
    for receiver in receivers.filter(|receiver| !clusters.contains(receiver.cluster.as_str())) {
        findings.error(
            bootstrap,
            format_args!(
                "there is no cluster {:?}, to which notifications {:?} are posted; known here: {clusters:?}",
                receiver.cluster, receiver.name
            ),
        );
    }
    let stores = configs.iter().filter_map(|config| config.store.as_ref());
    for store in stores.filter(|store| !clusters.contains(store.etcd.cluster.as_str())) {
        findings.error(
            bootstrap,
            format_args!(
                "there is no cluster {:?}, which is the store of fleet {:?}; known here: {clusters:?}",
                store.etcd.cluster, store.fleet
            ),
        );
    }
    for (cluster, rollout, version) in missing {
        findings.error(
            bootstrap,
            format_args!("there is no cluster {cluster:?}, which serves version {version:?} of rollout {rollout:?}; known here: {clusters:?}"),
        );
    }
}

/// The labels that every configuration's metrics have.
const LABELS: [&str; 10] = [
    "action",
    "actor",
    "build_version",
    "class",
    "commit",
    "outcome",
    "rollout",
    "version",
    "what",
    "worker",
];

/// The labels of the metrics come from `stats_tags`, which can stand nowhere else.
fn labels(bootstrap: &Node<'_>, configs: &[&Config], findings: &mut Findings) {
    let mut wanted = BTreeSet::from(LABELS);
    for rollout in configs.iter().flat_map(|config| &config.rollouts) {
        wanted.extend(rollout.labels.keys().map(String::as_str));
        if let Some(mirror) = &rollout.mirror {
            wanted.insert("result");
            if mirror.mode == MirrorMode::Compare {
                wanted.extend(["field", "kind"]);
                if mirror.compare.as_ref().is_some_and(|compare| compare.label.is_some()) {
                    wanted.extend(["label", "shadow"]);
                }
            }
        }
        if let Some(payload) = &rollout.payload {
            wanted.extend(["kind", "result"]);
            if !payload.input.fields.is_empty() || !payload.input.categories.is_empty() {
                wanted.insert("field");
            }
            if payload.output.labels.is_some() {
                wanted.insert("label");
            }
        }
        if rollout.automation.is_some() {
            wanted.extend(["route", "reason", "result", "shown", "model", "human"]);
        }
        if rollout.analysis.is_some() {
            wanted.insert("metric");
        }
        if rollout.drift.is_some() {
            wanted.insert("window");
        }
        if !rollout.alarms.is_empty() {
            wanted.insert("name");
        }
        if !rollout.feedback.is_empty() {
            wanted.extend(["name", "result"]);
        }
        if rollout.analysis.is_some() || rollout.steps.is_some() || rollout.automation.is_some() {
            wanted.extend(["attempt", "candidate", "phase", "release", "stable"]);
        }
    }
    if configs.iter().any(|config| !config.notify.is_empty()) {
        wanted.extend(["name", "result"]);
    }
    if configs.iter().any(|config| config.store.is_some()) {
        wanted.insert("result");
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
                "stats_config.stats_tags lacks {}: those labels would stay part of the metrics' names; copy them from envoy/stats-tags.yaml",
                missing.join(", ")
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;
    use changeover::config;

    const TAGS: &str = include_str!("../../../../envoy/stats-tags.yaml");

    /// What is said when one rule of the snippet is missing, for a rollout with these fields besides.
    fn without(label: &str, fields: &str) -> Vec<String> {
        let rule = format!("{{tag_name: {label}, ");
        let tags: String =
            TAGS.lines().filter(|line| !line.contains(&rule)).map(|line| format!("{line}\n")).collect();
        assert!(tags.len() < TAGS.len(), "{label} has no rule in the snippet");
        let rollout =
            "name: a, release: '1', versions: {b: {cluster: b}, g: {cluster: g}}, stable: b, candidate: g";
        let (fields, beside) = fields.split_once(" beside ").unwrap_or((fields, ""));
        let text = format!("{{rollouts: [{{{rollout}, {fields}}}]{beside}}}");
        let config = yaml::read(&text).expect("YAML").remove(0);
        let config = config::check(&config).unwrap_or_else(|problems| {
            panic!("{fields}: {:?}", problems.lines().collect::<Vec<_>>());
        });
        let bootstrap = yaml::read(&tags).expect("YAML").remove(0);
        let mut findings = Findings::default();
        labels(&Node::document("f", &bootstrap), &[&config], &mut findings);
        findings.lines
    }

    #[test]
    fn every_label_that_a_rollout_uses_needs_its_rule() {
        let rows = [
            ("weights: {g: 5}", vec![]),
            ("mirror: {to: g}", vec!["result"]),
            ("mirror: {to: g, mode: compare, compare: {}}", vec!["field", "kind", "result"]),
            (
                "mirror: {to: g, mode: compare, compare: {label: /a}}",
                vec!["field", "kind", "label", "result", "shadow"],
            ),
            ("labels: {pipeline: shop, stage: ranking}", vec!["pipeline", "stage"]),
            ("steps: [{set_weight: 5}, {pause: {}}]", vec!["phase"]),
            ("blue_green: {bake: {weight: 5, duration: 1m}}, analysis: {}", vec!["metric", "phase"]),
            ("blue_green: {}", vec![]),
            ("payload: {protocol: openai}", vec!["kind", "result"]),
            (
                "payload: {protocol: json, input: {fields: [/a]}, output: {value: /b, labels: 4}}",
                vec!["field", "kind", "label", "result"],
            ),
            (
                "automation: {answer: {label: /a}}",
                vec!["human", "model", "phase", "reason", "result", "route", "shown"],
            ),
            ("analysis: {}, weights: {g: 5}", vec!["metric", "phase"]),
            ("analysis: {}, weights: {g: 5}, drift: {metrics: [latency]}", vec!["metric", "phase", "window"]),
            (
                "analysis: {}, weights: {g: 5}, alarms: [{name: slow, signal: error_rate, max: 0.1, window: 1m}]",
                vec!["metric", "name", "phase"],
            ),
            (
                "weights: {g: 5}, session_affinity: {header: x-user}, \
                 feedback: [{name: click, match: {path: /e}, join: user, better: more, within: 10m}]",
                vec!["name", "result"],
            ),
            ("weights: {g: 5} beside , store: {etcd: {cluster: etcd}, fleet: f}", vec!["result"]),
            ("weights: {g: 5} beside , notify: [{name: ops, cluster: ops, path: /}]", vec!["name", "result"]),
        ];
        // All other rules of the snippet are always needed.
        let others = [
            "attempt",
            "candidate",
            "field",
            "human",
            "kind",
            "label",
            "metric",
            "model",
            "name",
            "phase",
            "pipeline",
            "reason",
            "release",
            "result",
            "route",
            "shadow",
            "shown",
            "stable",
            "stage",
            "window",
        ];
        for (fields, own) in rows {
            let rules = TAGS.lines().filter_map(|line| line.split_once("{tag_name: ")?.1.split_once(','));
            for (label, _) in rules {
                let told = format!(
                    "f: stats_config.stats_tags lacks {label}: those labels would stay part of the metrics' names; copy \
                     them from envoy/stats-tags.yaml"
                );
                // What shows a phase shows its release as well.
                let is_release = ["attempt", "candidate", "release", "stable"].contains(&label);
                let is_wanted =
                    own.contains(&if is_release { "phase" } else { label }) || !others.contains(&label);
                let expected = if is_wanted { vec![told] } else { vec![] };
                assert_eq!(without(label, fields), expected, "{label}, {fields}");
            }
        }
    }
}
