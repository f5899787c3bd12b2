//! `changeover check`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use changeover::config::{self, schema::Config};
use changeover::routing::shadowing;
use serde_json::Value;

use crate::documents::{self, Documents, Mounted};
use crate::envoy::filters::{self, Filter};
use crate::envoy::{self, Findings, Node};
use crate::{kubernetes, yaml};

/// Checks files and prints what is wrong with them.
pub(crate) fn run(files: &[PathBuf]) -> ExitCode {
    let mut texts = Vec::new();
    let mut unreadable = false;
    for file in files {
        match read(file) {
            Ok(text) => texts.push((file.display().to_string(), text)),
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                unreadable = true;
            }
        }
    }
    let findings = check(&texts);
    let lines: String = findings.lines.iter().map(|line| format!("{line}\n")).collect();
    // A reader that closes the pipe early has seen what it wanted.
    let _ = io::stdout().write_all(lines.as_bytes());
    ExitCode::from(if unreadable { 2 } else { exit_status(&findings) })
}

fn exit_status(findings: &Findings) -> u8 {
    match findings {
        Findings { bad: true, .. } => 1,
        Findings { ours: false, .. } => NOTHING_OF_OURS,
        _ => 0,
    }
}

/// The exit status where no file has a filter of ours, so that a pipeline can check a whole repository.
const NOTHING_OF_OURS: u8 = 3;

fn read(file: &Path) -> io::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file)
}

/// Checks the texts of files by name: bare configurations and Kubernetes resources each on its own, Envoy's files
/// together, unless there are several bootstraps among them.
fn check(files: &[(String, String)]) -> Findings {
    let mut findings = Findings::default();
    let mut envoys: Vec<Piece> = Vec::new();
    let mut all_resources: Vec<(String, Value)> = Vec::new();
    let mut refused: Vec<(String, String)> = Vec::new();
    for (file, text) in files {
        let Some(documents) = documents::read_or_say(file, text, &mut findings) else { continue };
        if documents.concern_us() {
            yaml::ambiguous(file, text).into_iter().for_each(|ambiguous| findings.warning(file, ambiguous));
        }
        let Documents { resources, others, dumps, are_envoys, refused: problems } = documents;
        refused.extend(problems);
        let has_resources = !resources.is_empty();
        // A file often has several: its name alone says too little.
        let place = |resource: &Value| format!("{file}: {}", kubernetes::label(resource));
        all_resources.extend(resources.into_iter().map(|resource| (place(&resource), resource)));
        if are_envoys {
            envoys.extend(Piece::all(file, others, dumps));
        } else if others.iter().any(is_ours) {
            match others.as_slice() {
                [configuration] => {
                    check_configuration(file, configuration, &mut findings);
                }
                several => findings
                    .error(file, format_args!("{} documents; expected one configuration", several.len())),
            }
        } else if !has_resources {
            let fields = others.iter().filter_map(Value::as_object).flatten().map(|(name, _)| name);
            let known: Vec<&String> = fields.take(3).collect();
            let but = if known.is_empty() { String::new() } else { format!(", but {known:?}") };
            findings
                .note(file, format_args!("nothing to check: neither `rollouts` nor `control` is in it{but}"));
        }
    }
    let mounted = documents::mounted(&all_resources);
    for Mounted { map, place, text } in &mounted {
        let Some(documents) = documents::read_or_say(place, text, &mut findings) else { continue };
        for ambiguous in yaml::ambiguous(place, text) {
            findings.warning(place, ambiguous);
        }
        refused.extend(documents.refused);
        if documents.are_envoys {
            for mut piece in Piece::all(place, documents.others, documents.dumps) {
                piece.whole = piece.whole.or_else(|| Some(map.clone()));
                envoys.push(piece);
            }
        }
    }
    // An Envoy without a filter of ours is not our concern.
    let are_ours = envoys.iter().any(|piece| documents::has_filter(&piece.document));
    for (place, message) in &refused {
        if are_ours {
            findings.error(place, message);
        } else {
            findings.note(place, message);
        }
    }
    check_resources(&all_resources, !mounted.is_empty(), &mut findings);
    let documents: Vec<Node<'_>> =
        envoys.iter().map(|piece| Node::document(&piece.place, &piece.document)).collect();
    if bootstraps(&documents) > 1 {
        // Several Envoys: a file may belong to any of them, but for what one dump or ConfigMap holds together.
        let mut wholes: Vec<(Option<&str>, Vec<Node<'_>>)> = Vec::new();
        for (piece, document) in envoys.iter().zip(documents) {
            let whole = piece.whole.as_deref();
            match wholes.iter_mut().find(|(other, _)| whole.is_some() && *other == whole) {
                Some((_, documents)) => documents.push(document),
                None => wholes.push((whole, vec![document])),
            }
        }
        for (_, documents) in &wholes {
            if bootstraps(documents) > 1 {
                documents
                    .iter()
                    .for_each(|document| check_envoy(std::slice::from_ref(document), &mut findings));
            } else {
                check_envoy(documents, &mut findings);
            }
        }
    } else if !documents.is_empty() {
        check_envoy(&documents, &mut findings);
    }
    findings
}

/// A document of Envoy's.
struct Piece {
    /// What has it together with others of the same Envoy.
    whole: Option<String>,
    place: String,
    document: Value,
}

impl Piece {
    /// Those of a file. `dumps`: the dump that each is a part of.
    fn all(file: &str, documents: Vec<Value>, dumps: Vec<Option<String>>) -> Vec<Self> {
        let first = dumps.iter().flatten().next().cloned();
        let are_several = dumps.iter().flatten().any(|dump| Some(dump) != first.as_ref());
        let pieces = documents.into_iter().zip(dumps).map(|(document, dump)| {
            let named = dump.as_ref().filter(|_| are_several).map(|dump| format!("{file}: {dump}"));
            let place = named.unwrap_or_else(|| file.to_owned());
            Self { whole: dump.map(|_| place.clone()), place, document }
        });
        pieces.collect()
    }
}

fn bootstraps(documents: &[Node<'_>]) -> usize {
    documents.iter().filter(|document| envoy::is_bootstrap(document.value)).count()
}

/// Whether a document is a bare configuration.
fn is_ours(document: &Value) -> bool {
    ["rollouts", "control"].iter().any(|field| document.get(field).is_some())
}

/// Checks a bare configuration; returns it if it is valid.
fn check_configuration(
    place: &dyn std::fmt::Display,
    configuration: &Value,
    findings: &mut Findings,
) -> Option<Config> {
    findings.ours = true;
    let config = match config::check(configuration) {
        Ok(config) => config,
        Err(problems) => {
            problems.lines().for_each(|line| findings.error(place, line));
            return None;
        }
    };
    shadowing::warnings(&config).lines().for_each(|line| findings.warning(place, line));
    let what = match (&config.control, config.rollouts.len()) {
        (Some(_), _) => "the control listener's".into(),
        (None, 1) => "1 rollout".into(),
        (None, count) => format!("{count} rollouts"),
    };
    findings.note(place, format_args!("valid: {what}, configuration {}", config::hash(&config)));
    Some(config)
}

/// Checks the configurations in Kubernetes resources, and the resources around them, all together. `hold_envoys`: whether
/// some have files of Envoy's, which are checked apart.
fn check_resources(resources: &[(String, Value)], hold_envoys: bool, findings: &mut Findings) {
    let before = findings.lines.len();
    let set: Vec<Node<'_>> = resources
        .iter()
        .flat_map(|(place, resource)| kubernetes::expand(Node::document(place, resource)))
        .collect();
    let mut configs: Vec<(String, Config)> = Vec::new();
    let mut choosing: Vec<kubernetes::twins::Filter<'_>> = Vec::new();
    for resource in &set {
        for configuration in kubernetes::configurations(resource, findings) {
            if let Some(config) = check_configuration(&configuration, configuration.value, findings) {
                kubernetes::around(resource, &config, &set, findings);
                if !config.rollouts.is_empty() {
                    choosing
                        .push(kubernetes::twins::Filter { resource, configuration: configuration.clone() });
                }
                configs.push((configuration.to_string(), config));
            }
        }
    }
    // Patches can hold Envoy's own form of a filter. Where it is inserted only the patched Envoy shows.
    for resource in &set {
        for patch in kubernetes::patches(resource) {
            for filter in check_plugins(&Parts::of(&[patch]), findings) {
                let Some(config) = filter.config else { continue };
                kubernetes::around_patched((resource, &filter.plugin), &config, &set, findings);
                configs.push((filter.plugin.to_string(), config));
            }
        }
    }
    kubernetes::twins::check(&choosing, findings);
    // No other kind of resource can hold one.
    if !set.iter().any(envoy::control::is_in) {
        configs.iter().for_each(|(place, config)| envoy::control::is_missing(place, [config], findings));
    }
    if findings.lines.len() == before && !hold_envoys {
        for (place, _) in resources {
            let file = place.split(": ").next().unwrap_or_default();
            findings.note(&file, "nothing to check: no changeover filter in its Kubernetes resources");
        }
    }
}

/// What of Envoy's files the checks are about.
#[derive(Default)]
struct Parts<'a> {
    listeners: Vec<Node<'a>>,
    managers: Vec<Node<'a>>,
    routes: Vec<Node<'a>>,
    clusters: BTreeMap<&'a str, Node<'a>>,
    /// Values of the filter's header that have a route of their own, which says where they lead.
    choices: BTreeSet<&'a str>,
    plugins: Vec<Node<'a>>,
    /// Those of them that filters discover, by the name under which they do.
    resources: BTreeMap<&'a str, Node<'a>>,
}

impl<'a> Parts<'a> {
    fn of(documents: &[Node<'a>]) -> Self {
        let mut parts = Self::default();
        for document in documents {
            document.walk(&mut |node| parts.add(node));
            let listed = document
                .field("static_resources")
                .map(|resources| resources.list("clusters"))
                .unwrap_or_default();
            let named = listed.into_iter().filter_map(|cluster| Some((cluster.text("name")?, cluster)));
            parts.clusters.extend(named);
        }
        parts
    }

    fn add(&mut self, node: &Node<'a>) {
        self.plugins.extend(filters::plugin(node));
        self.choices.extend(envoy::routes::choice(node).filter(|_| node.field("route").is_some()));
        if node.is("HttpConnectionManager") {
            self.managers.push(node.clone());
        } else if node.is("RouteConfiguration") {
            self.routes.push(node.clone());
        } else if node.is("envoy.config.cluster.v3.Cluster") {
            self.clusters.extend(node.text("name").map(|name| (name, node.clone())));
        } else if node.is("TypedExtensionConfig") {
            let plugin = node.field("typed_config").and_then(|config| filters::plugin(&config));
            self.resources.extend(node.text("name").zip(plugin));
        } else if ["filter_chains", "default_filter_chain"].iter().any(|name| node.field(name).is_some()) {
            self.listeners.push(node.clone());
        }
    }
}

/// Checks the configurations of filters, and how they stand beside each other.
fn check_plugins<'a>(parts: &Parts<'a>, findings: &mut Findings) -> Vec<Filter<'a>> {
    let mut checked = Vec::new();
    for plugin in &parts.plugins {
        let is_it = |other: &Node<'_>| std::ptr::eq(other.value, plugin.value);
        let mut names = parts.resources.iter().filter(|(_, plugin)| is_it(plugin)).map(|(name, _)| name);
        let is_istios = names.any(|name| filters::is_istios(name));
        let mut filter = Filter { plugin: plugin.clone(), config: None, is_control: false, is_istios };
        match filters::configuration(plugin) {
            Ok(configuration) => {
                filter.is_control = configuration.get("control").is_some();
                filter.config = check_configuration(plugin, &configuration, findings);
            }
            Err(error) => findings.error(plugin, error),
        }
        checked.push(filter);
    }
    envoy::plugin::check(&checked, findings);
    checked
}

/// Checks Envoy's files together: filters, and what is around them.
fn check_envoy(documents: &[Node<'_>], findings: &mut Findings) {
    let parts = Parts::of(documents);
    let checked = check_plugins(&parts, findings);
    let of =
        |plugin: &Node<'_>| checked.iter().find(|filter| std::ptr::eq(filter.plugin.value, plugin.value));

    let by_runtime =
        documents.iter().filter_map(|document| document.field("layered_runtime")).any(|layers| {
            layers.value.to_string().contains("normalize_path") // of the whole manager or of its parts
        });
    let mut found = !checked.is_empty();
    let mut all_known = true;
    let mut reached: Vec<*const Value> = Vec::new();
    for manager in &parts.managers {
        let mut choosing: Vec<Node<'_>> = Vec::new();
        let mut has_ours = false;
        for entry in manager.list("http_filters") {
            let is_known = entry.text("name").is_some_and(|name| parts.resources.contains_key(name));
            let filter = if filters::is_discovered(&entry, is_known) {
                filters::discovery(&entry, findings);
                let named = entry.text("name").and_then(|name| parts.resources.get(name));
                all_known &= named.is_some();
                named.and_then(of)
            } else {
                let inside = entry.field("typed_config").and_then(|config| filters::plugin(&config));
                let Some(inside) = inside else { continue };
                of(&inside)
            };
            found = true;
            has_ours = true;
            findings.ours = true;
            reached.extend(filter.map(|filter| std::ptr::from_ref(filter.plugin.value)));
            if let Some(filter) = filter.filter(|filter| filter.is_control) {
                envoy::control::plugin(filter, findings);
                envoy::control::behind(manager, &parts.routes, findings);
                let around = |listener: &&Node<'_>| listener.contains(manager);
                parts
                    .listeners
                    .iter()
                    .filter(around)
                    .for_each(|listener| envoy::control::address(listener, findings));
            } else {
                let config = filter.and_then(|filter| filter.config.as_ref());
                let around: Vec<&Node<'_>> =
                    parts.listeners.iter().filter(|listener| listener.contains(manager)).collect();
                let address = around.first().and_then(|listener| listener.at(&["address", "socket_address"]));
                let port = address.and_then(|address| address.number("port_value"));
                envoy::routes::check((manager, &entry, port), config, &parts.routes, findings);
                if let Some(config) = config {
                    envoy::routes::spelling::check(manager, config, by_runtime, findings);
                    envoy::buffers::check(config, manager, &around, &parts.clusters, findings);
                }
                choosing.push(entry);
            }
        }
        filters::only_one(&choosing, manager, &parts.routes, findings);
        if has_ours {
            filters::router_is_last(manager, findings);
        }
    }
    let is_reached = |filter: &&Filter<'_>| reached.contains(&std::ptr::from_ref(filter.plugin.value));
    for filter in checked.iter().filter(|filter| !parts.managers.is_empty() && !is_reached(filter)) {
        let what = "could not tell whether requests come to it, and by which routes: no entry of `http_filters` is or names it";
        findings.note(&filter.plugin, what);
    }
    let configs: Vec<&Config> = checked.iter().filter_map(|filter| filter.config.as_ref()).collect();
    for bootstrap in documents.iter().filter(|document| found && envoy::is_bootstrap(document.value)) {
        envoy::bootstrap::check(bootstrap, &configs, (&parts.clusters, &parts.choices), findings);
        // With LDS only the running Envoy has all listeners.
        let no_control = all_known
            && bootstrap.at(&["dynamic_resources", "lds_config"]).is_none()
            && !checked.iter().any(|filter| filter.is_control);
        if no_control {
            envoy::control::is_missing(bootstrap, configs.iter().copied(), findings);
        }
    }
    if !found {
        let place = documents.first().map(ToString::to_string).unwrap_or_default();
        if parts.managers.is_empty() {
            findings.note(&place, "nothing to check: it has no HTTP filters"); // a fragment: routes, clusters, tags
        } else {
            findings.note(
                &place,
                "no changeover filter in it: none has `changeover` in its name, root_id, vm_id or code's file name",
            );
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
