//! The configurations in a file, whichever of its forms it has: bare, inside Envoy's YAML, in a Kubernetes resource.

use changeover::config::{self, schema::Config};
use serde_json::Value;

use crate::envoy::filters;
use crate::envoy::{Findings, Node};
use crate::{documents, kubernetes};

/// All configurations of a file; only errors in them are added to `findings`.
pub(crate) fn configurations(file: &str, text: &str, findings: &mut Findings) -> Vec<Config> {
    let documents = match documents::read(file, text, findings) {
        Ok(documents) => documents,
        Err(error) => {
            findings.error(&file, error);
            return Vec::new();
        }
    };
    documents.refused.iter().for_each(|(place, message)| findings.error(place, message));
    let mut found = Vec::new();
    for resource in &documents.resources {
        let node = Node::document(file, resource);
        // What stands around a configuration is for `check` to complain about.
        for configuration in kubernetes::configurations(&node, &mut Findings::default()) {
            found.extend(valid(&configuration, configuration.value, findings));
        }
        let patched = kubernetes::expand(node);
        patched.iter().flat_map(kubernetes::patches).for_each(|patch| plugins(&patch, findings, &mut found));
    }
    for document in &documents.others {
        let node = Node::document(file, document);
        if documents.are_envoys {
            plugins(&node, findings, &mut found);
        } else {
            found.extend(valid(&node, document, findings));
        }
    }
    found
}

/// The configurations of the filters inside a part of Envoy's configuration.
fn plugins(part: &Node<'_>, findings: &mut Findings, found: &mut Vec<Config>) {
    let mut plugins = Vec::new();
    part.walk(&mut |node| plugins.extend(filters::plugin(node)));
    for plugin in plugins {
        match filters::configuration(&plugin) {
            Ok(configuration) => found.extend(valid(&plugin, &configuration, findings)),
            Err(error) => findings.error(&plugin, error),
        }
    }
}

fn valid(place: &Node<'_>, configuration: &Value, findings: &mut Findings) -> Option<Config> {
    let problems = match config::check(configuration) {
        Ok(config) => return Some(config),
        Err(problems) => problems,
    };
    problems.lines().for_each(|line| findings.error(place, line));
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn names(text: &str) -> (Vec<String>, Vec<String>) {
        let mut findings = Findings::default();
        let configs = configurations("f", text, &mut findings);
        let names = configs.iter().flat_map(|config| &config.rollouts).map(|rollout| rollout.name.clone());
        (names.collect(), findings.lines)
    }

    #[test]
    fn every_form_is_read() {
        let rollout = "{name: a, versions: {b: {cluster: c}}, stable: b}";
        let wasm_plugin = format!(
            "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: changeover}}\n\
             spec: {{pluginConfig: {{rollouts: [{rollout}]}}}}\n---\n"
        );
        let listener = yaml::read(include_str!("../../../envoy/envoy.yaml")).expect("YAML").remove(0)
            ["static_resources"]["listeners"][0]
            .clone();
        let dump = serde_json::json!({"configs": [{
            "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
            "dynamicListeners": [{"activeState": {"listener": listener}}],
        }]});
        let patch = serde_json::json!({
            "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
            "spec": {"configPatches": [{"applyTo": "LISTENER", "patch": {"operation": "ADD", "value": listener}}]},
        });
        for text in [
            format!("rollouts: [{rollout}]"),
            dump.to_string(),
            patch.to_string(),
            wasm_plugin,
            include_str!("../../../envoy/envoy.yaml").into(),
            include_str!("../../../envoy/ecds/changeover.yaml").into(),
        ] {
            let (names, problems) = names(&text);
            assert_eq!((names.len(), problems), (1, vec![]), "{names:?}");
        }
    }

    #[test]
    fn errors_name_their_place() {
        let (names, problems) = names("rollouts:\n- {name: a, versions: {b: {cluster: c}}, stable: d}\n");
        assert_eq!(names, [""; 0]);
        assert_eq!(problems, ["f: rollouts[0].stable: unknown version \"d\"; known here: \"b\""]);
        assert!(self::names("a: [").1[0].starts_with("f: not valid YAML: "));
    }
}
