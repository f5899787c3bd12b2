//! The documents of a file, sorted by who reads them.

use serde_json::Value;

use crate::envoy::form::{self, Problem};
use crate::envoy::{self, Findings, Node, dump, filters};
use crate::{kubernetes, yaml};

/// What stands in a file.
pub(crate) struct Documents {
    /// Kubernetes resources. Envoy's own fields in them are in their normal form.
    pub(crate) resources: Vec<Value>,
    /// All others that are not empty; in their normal form if they are Envoy's.
    pub(crate) others: Vec<Value>,
    /// For each of the others, the place of the dump that it is a part of, in a file with several.
    pub(crate) dumps: Vec<Option<String>>,
    /// Whether one of the others is Envoy's, and so all of them.
    pub(crate) are_envoys: bool,
}

/// Reads a file; `None` if it cannot be read. What no reader takes is added to `findings`.
pub(crate) fn read(file: &str, text: &str, findings: &mut Findings) -> Option<Documents> {
    let documents = match yaml::read_file(file, text) {
        Ok(documents) => documents,
        Err(error) => {
            findings.error(&file, error);
            return None;
        }
    };
    let mut is_dump = false;
    let mut read = Vec::new();
    for document in documents {
        match dump::documents(&document) {
            Some(dumped) => {
                is_dump = true;
                for dump in dumped {
                    read.extend(
                        dump.documents.into_iter().map(|document| (Some(dump.name.clone()), document)),
                    );
                }
            }
            None => read.push((None, document)),
        }
    }
    let (mut resources, mut others, mut dumps) = (Vec::new(), Vec::new(), Vec::new());
    for (dump, document) in read.into_iter().filter(|(_, document)| !document.is_null()) {
        if kubernetes::is_resource(&document) {
            resources.push(document);
        } else {
            others.push(document);
            dumps.push(dump);
        }
    }
    for resource in &mut resources {
        let label = kubernetes::label(resource);
        report(&format!("{file}: {label}"), form::normalize_patches(resource), findings);
    }
    let are_envoys = others.iter().any(envoy::is_envoys);
    let problems: Vec<Problem> = others.iter_mut().filter(|_| are_envoys).flat_map(form::normalize).collect();
    // Files of other programs can have one of Envoy's fields at the top: `resources`, `node`.
    if others.iter().any(is_certainly_envoys) {
        if !is_dump && !yaml::is_yaml_to_envoy(file) && !yaml::is_json(file, text) {
            findings.warning(
                &file,
                "Envoy takes a file of this name for JSON, and it is YAML; expected a name that ends in .yaml",
            );
        }
        report(file, problems, findings);
    }
    Some(Documents { resources, others, dumps, are_envoys })
}

/// Whether a document in its normal form is a bootstrap, or has a message of Envoy's or a filter of ours in it.
fn is_certainly_envoys(document: &Value) -> bool {
    let mut found = envoy::is_bootstrap(document) || has_filter(document);
    Node::document("", document)
        .walk(&mut |node| found |= node.text("@type").is_some_and(|kind| kind.contains("/envoy.")));
    found
}

/// The files in `ConfigMap`s for an Envoy that has a filter of ours: their places and texts.
pub(crate) fn mounted(resources: &[(String, Value)]) -> Vec<(String, String)> {
    let set =
        resources.iter().flat_map(|(place, resource)| kubernetes::expand(Node::document(place, resource)));
    let maps = set.filter(|resource| resource.text("kind") == Some("ConfigMap"));
    let files = maps.map(|map| {
        let place = |name: &str| format!("{map}: data.{name}");
        kubernetes::files(&map).map(|(name, text)| (place(name), text.to_owned())).collect::<Vec<_>>()
    });
    let are_ours = |files: &Vec<(String, String)>| {
        let others = files.iter().filter_map(|(place, text)| read(place, text, &mut Findings::default()));
        others.flat_map(|documents| documents.others).any(|document| has_filter(&document))
    };
    files.filter(are_ours).flatten().collect()
}

fn has_filter(document: &Value) -> bool {
    let mut found = false;
    Node::document("", document)
        .walk(&mut |node| found |= filters::plugin(node).is_some() || filters::is_discovered(node, false));
    found
}

fn report(place: &str, problems: Vec<Problem>, findings: &mut Findings) {
    for Problem { path, message } in problems {
        if path.is_empty() {
            findings.error(&place, message);
        } else {
            findings.error(&format_args!("{place}: {path}"), message);
        }
    }
}
