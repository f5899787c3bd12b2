//! The configurations in a file, whichever of its forms it has: bare, inside Envoy's YAML, in a Kubernetes resource.

use changeover::config::{self, schema::Config};
use serde_json::Value;

use crate::envoy::filters;
use crate::envoy::{self, Findings, Node};
use crate::{kubernetes, yaml};

/// All configurations of a file; only errors in them are added to `findings`.
pub(crate) fn configurations(file: &str, text: &str, findings: &mut Findings) -> Vec<Config> {
    let documents = match yaml::read_file(file, text) {
        Ok(documents) => documents,
        Err(error) => {
            findings.error(&file, error);
            return Vec::new();
        }
    };
    let is_envoys = documents.iter().any(envoy::is_envoys);
    let mut found = Vec::new();
    for document in documents.iter().filter(|document| !document.is_null()) {
        let node = Node::document(file, document);
        if kubernetes::is_resource(document) {
            // What stands around a configuration is for `check` to complain about.
            for configuration in kubernetes::configurations(&node, &mut Findings::default()) {
                found.extend(valid(&configuration, configuration.value, findings));
            }
        } else if is_envoys {
            let mut plugins = Vec::new();
            node.walk(&mut |node| plugins.extend(filters::plugin(node)));
            for plugin in plugins {
                match filters::configuration(&plugin) {
                    Ok(configuration) => found.extend(valid(&plugin, &configuration, findings)),
                    Err(error) => findings.error(&plugin, error),
                }
            }
        } else {
            found.extend(valid(&node, document, findings));
        }
    }
    found
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
        for text in [
            format!("rollouts: [{rollout}]"),
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
