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
    /// What Envoy would refuse in them: places and messages.
    pub(crate) refused: Vec<(String, String)>,
}

impl Documents {
    /// Whether a filter of ours, or a configuration, can be in them or in what is checked together with them.
    pub(crate) fn concern_us(&self) -> bool {
        let is_bare = |document: &Value| !self.are_envoys && document.get("rollouts").is_some();
        self.others.iter().any(|document| is_bare(document) || is_certainly_envoys(document))
            || self.resources.iter().any(mentions_us)
    }
}

fn mentions_us(resource: &Value) -> bool {
    resource.to_string().contains(filters::NAME)
}

/// Reads a file, or says why it cannot be read: that is wrong only where the file seems to be meant for this program.
pub(crate) fn read_or_say(file: &str, text: &str, findings: &mut Findings) -> Option<Documents> {
    match read(file, text, findings) {
        Ok(documents) => return Some(documents),
        Err(error) if is_meant_for_us(text) => findings.error(&file, error),
        Err(error) => {
            findings.note(&file, format_args!("passed over, for nothing in it is Changeover's: {error}"))
        }
    }
    None
}

/// Whether a text that cannot be read seems to be meant for this program: it names the filter, or has the field with which a
/// bare configuration begins.
fn is_meant_for_us(text: &str) -> bool {
    let begins = |line: &str| {
        let name = line.trim_start_matches(['{', ' ']).trim_start_matches(['"', '\'']);
        let is_outer = !line.starts_with(' ') || line.trim_start().starts_with(['{', '"']);
        let is_field = |rest: &str| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(':');
        is_outer && name.strip_prefix("rollouts").is_some_and(is_field)
    };
    text.contains(filters::NAME) || text.lines().any(begins)
}

/// Reads a file. What is wrong with patches in it is added to `findings`.
///
/// # Errors
///
/// What no reader takes.
pub(crate) fn read(file: &str, text: &str, findings: &mut Findings) -> Result<Documents, String> {
    let documents = yaml::read_file(file, text)?;
    let has_bootstrap = |document: &Value| envoy::is_bootstrap(&form::snake_case(document));
    let is_hidden =
        documents.first().is_some_and(|first| !has_bootstrap(first) && !kubernetes::is_resource(first))
            && documents.iter().skip(1).any(has_bootstrap);
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
    let mut refused = Vec::new();
    for resource in &mut resources {
        let place = format!("{file}: {}", kubernetes::label(resource));
        let problems = form::normalize_patches(resource);
        if mentions_us(resource) {
            report(&place, problems, |place, message| findings.error(&place, message));
        } else {
            report(&place, problems, |place, message| findings.note(&place, message));
        }
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
        // What a running Envoy prints it has taken.
        if !is_dump {
            report(file, problems, |place, message| refused.push((place, message)));
        }
        if is_hidden {
            let message = "Envoy reads only the first document of a file, and the bootstrap is another; expected it first";
            refused.push((file.to_owned(), message.to_owned()));
        }
    }
    Ok(Documents { resources, others, dumps, are_envoys, refused })
}

/// Whether a document in its normal form is a bootstrap, or has a message of Envoy's or a filter of ours in it.
fn is_certainly_envoys(document: &Value) -> bool {
    let mut found = envoy::is_bootstrap(document) || has_filter(document);
    Node::document("", document)
        .walk(&mut |node| found |= node.text("@type").is_some_and(|kind| kind.contains("/envoy.")));
    found
}

/// A file in a `ConfigMap` or a `Secret`.
pub(crate) struct Mounted {
    /// The place of the resource.
    pub(crate) map: String,
    pub(crate) place: String,
    pub(crate) text: String,
}

/// The files in `ConfigMap`s and `Secret`s for an Envoy that has a filter of ours.
pub(crate) fn mounted(resources: &[(String, Value)]) -> Vec<Mounted> {
    let set =
        resources.iter().flat_map(|(place, resource)| kubernetes::expand(Node::document(place, resource)));
    let maps = set.filter(|resource| matches!(resource.text("kind"), Some("ConfigMap" | "Secret")));
    let files = maps.map(|map| {
        let field = kubernetes::files_field(&map);
        let place = |name: &str| {
            // Behind a point it would be an ending.
            let separator = if name.contains('.') { "." } else { ": " };
            format!("{map}: {field}{separator}{name}")
        };
        let file = |(name, text): (&str, &str)| Mounted {
            map: map.to_string(),
            place: place(name),
            text: text.to_owned(),
        };
        kubernetes::files(&map).map(file).collect::<Vec<_>>()
    });
    let are_ours = |files: &Vec<Mounted>| {
        let others =
            files.iter().filter_map(|file| read(&file.place, &file.text, &mut Findings::default()).ok());
        others.flat_map(|documents| documents.others).any(|document| has_filter(&document))
    };
    files.filter(are_ours).flatten().collect()
}

pub(crate) fn has_filter(document: &Value) -> bool {
    let mut found = false;
    Node::document("", document)
        .walk(&mut |node| found |= filters::plugin(node).is_some() || filters::is_discovered(node, false));
    found
}

fn report(place: &str, problems: Vec<Problem>, mut say: impl FnMut(String, String)) {
    for Problem { path, message } in problems {
        let place = if path.is_empty() { place.to_owned() } else { format!("{place}: {path}") };
        say(place, message);
    }
}
