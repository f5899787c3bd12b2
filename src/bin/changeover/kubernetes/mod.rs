//! Changeover's filters in Kubernetes resources: Istio's `WasmPlugin` and `TrafficExtension`, Envoy Gateway's
//! `EnvoyExtensionPolicy`.
//!
//! All turn into an Envoy filter whose configuration is the JSON text of what stands here as YAML. Resources of
//! other kinds are passed over.

mod clusters;
mod gateway;
mod istio;
pub(crate) mod twins;

use changeover::config::schema::{Config, Rollout};
use serde_json::{Value, json};

use crate::envoy::filters::NAME;
use crate::envoy::plugin::RECEIPT_KEY;
use crate::envoy::{Findings, Node};

/// Whether a document is a Kubernetes resource.
pub(crate) fn is_resource(document: &Value) -> bool {
    ["apiVersion", "kind"].iter().all(|field| document.get(field).is_some_and(Value::is_string))
}

/// A resource's kind and name, as kubectl writes them.
pub(crate) fn label(resource: &Value) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    format!("{}/{}", text(resource.get("kind")), text(resource.pointer("/metadata/name")))
}

/// The configurations of our filters in a resource; reports what is wrong around them.
pub(crate) fn configurations<'a>(resource: &Node<'a>, findings: &mut Findings) -> Vec<Node<'a>> {
    let group = resource.text("apiVersion").and_then(|version| version.split('/').next());
    match (group, resource.text("kind")) {
        (Some("extensions.istio.io"), Some("WasmPlugin")) => {
            wasm_plugin(resource, resource.field("spec"), findings)
        }
        (Some("extensions.istio.io"), Some("TrafficExtension")) => {
            wasm_plugin(resource, resource.at(&["spec", "wasm"]), findings)
        }
        (Some("gateway.envoyproxy.io"), Some("EnvoyExtensionPolicy")) => extension_policy(resource, findings),
        // What `kubectl get --output yaml` prints.
        (Some("v1"), Some("List")) => {
            resource.list("items").iter().flat_map(|item| configurations(item, findings)).collect()
        }
        _ => Vec::new(),
    }
}

/// Checks what stands around a resource's configuration, in the set of all resources that are given together.
pub(crate) fn around(resource: &Node<'_>, config: &Config, set: &[Node<'_>], findings: &mut Findings) {
    if config.control.is_some() {
        findings.error(
            resource,
            "it has `control`, which needs allow_on_headers_stop_iteration: this kind of resource has no such field, and no command \
             would be answered; expected the control listener's filter in an EnvoyFilter or EnvoyPatchPolicy",
        );
    }
    if config.rollouts.is_empty() {
        return;
    }
    has_receipt_key(resource, config, findings);
    for rollout in config.rollouts.iter().filter(|rollout| rollout.automation.is_some()) {
        findings.error(
            resource,
            format_args!(
                "rollout {:?} has `automation`, which needs allow_on_headers_stop_iteration: this kind of resource has no such field, \
                 and no task would be answered; expected the filter in an EnvoyFilter or EnvoyPatchPolicy",
                rollout.name
            ),
        );
    }
    match resource.text("kind") {
        Some("EnvoyExtensionPolicy") => gateway::check(resource, resource, config, set, findings),
        _ => istio::check(resource, resource, config, set, findings),
    }
}

/// The same for a filter that a patch of a resource adds.
pub(crate) fn around_patched(
    (resource, filter): (&Node<'_>, &Node<'_>),
    config: &Config,
    set: &[Node<'_>],
    findings: &mut Findings,
) {
    match resource.text("kind") {
        _ if config.rollouts.is_empty() => {}
        Some("EnvoyPatchPolicy") => gateway::check(filter, resource, config, set, findings),
        _ => istio::check(filter, resource, config, set, findings),
    }
}

/// A rollout that seals receipts needs their key in the environment of its VM.
fn has_receipt_key(resource: &Node<'_>, config: &Config, findings: &mut Findings) {
    let Some(field) = config.rollouts.iter().find_map(Rollout::needs_receipt_key) else { return };
    let (place, names): (_, &[&str]) = match resource.text("kind") {
        Some("EnvoyExtensionPolicy") => ("env.hostKeys", &["/spec/wasm"]),
        _ => ("vmConfig.env", &["/spec/vmConfig/env", "/spec/wasm/vmConfig/env"]),
    };
    let items = names.iter().filter_map(|at| resource.value.pointer(at)?.as_array()).flatten();
    let has_key = |item: &Value| {
        let keys = item.pointer("/env/hostKeys").and_then(Value::as_array).into_iter().flatten();
        item.get("name").into_iter().chain(keys).any(|name| name == RECEIPT_KEY)
    };
    if !items.into_iter().any(has_key) {
        findings.error(
            resource,
            format_args!(
                "{place} has no {RECEIPT_KEY}: a rollout with `{field}` would be refused; expected it there"
            ),
        );
    }
}

/// The resources of a kind.
fn of_kind<'n, 'a>(set: &'n [Node<'a>], kind: &'static str) -> impl Iterator<Item = &'n Node<'a>> {
    set.iter().filter(move |resource| resource.text("kind") == Some(kind))
}

fn of_kind_name<'a>(resource: &Node<'a>) -> &'a str {
    resource.text("kind").unwrap_or_default()
}

/// The namespace that a resource names.
fn namespace<'a>(resource: &Node<'a>) -> Option<&'a str> {
    resource.field("metadata")?.text("namespace")
}

/// A route of Envoy's that stands for a part of a resource.
struct Made<'a> {
    from: Node<'a>,
    place: String,
    envoy: Value,
}

impl<'a> Made<'a> {
    fn new(from: Node<'a>, matches: Value) -> Self {
        Self { place: from.to_string(), from, envoy: json!({"match": matches}) }
    }

    /// The route at the place of what it stands for.
    fn node(&self) -> Node<'_> {
        Node::document(&self.place, &self.envoy)
    }

    fn is(&self, route: &Node<'_>) -> bool {
        std::ptr::eq(&self.envoy, route.value)
    }
}

/// The files in a `ConfigMap`, or as text in a `Secret`, that are YAML or JSON by name, or have a name without an ending.
pub(crate) fn files<'a>(map: &Node<'a>) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
    let data = map.value.get(files_field(map)).and_then(Value::as_object);
    let is_read = |name: &str| {
        !name.contains('.') || [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending))
    };
    let files = data.into_iter().flatten().filter_map(|(name, text)| Some((name.as_str(), text.as_str()?)));
    files.filter(move |(name, _)| is_read(name))
}

/// The field in which a `ConfigMap` or a `Secret` has files as text.
pub(crate) fn files_field(map: &Node<'_>) -> &'static str {
    if map.text("kind") == Some("Secret") { "stringData" } else { "data" }
}

/// What a resource adds to Envoy's configuration as a whole, and not to something that is there.
pub(crate) fn patches<'a>(resource: &Node<'a>) -> Vec<Node<'a>> {
    let list = |name| resource.field("spec").map(|spec| spec.list(name)).unwrap_or_default();
    let is_part = |patch: &Node<'_>| {
        let operation = patch.field("patch").and_then(|patch| patch.text("operation"));
        matches!(operation, Some("MERGE" | "REMOVE"))
    };
    match resource.text("kind") {
        Some("EnvoyFilter") => list("configPatches").into_iter().filter(|patch| !is_part(patch)).collect(),
        Some("EnvoyPatchPolicy") => list("jsonPatches"),
        _ => Vec::new(),
    }
}

/// A resource, or those in the list that `kubectl get --output yaml` prints.
pub(crate) fn expand<'a>(resource: Node<'a>) -> Vec<Node<'a>> {
    let is_list = resource.text("apiVersion") == Some("v1") && resource.text("kind") == Some("List");
    if is_list { resource.list("items") } else { vec![resource] }
}

fn wasm_plugin<'a>(resource: &Node<'a>, spec: Option<Node<'a>>, findings: &mut Findings) -> Vec<Node<'a>> {
    let Some(spec) = spec else { return Vec::new() };
    if !is_ours(&[name(resource), spec.text("pluginName"), spec.text("url")]) {
        return Vec::new();
    }
    if spec.text("failStrategy") != Some("FAIL_OPEN") {
        findings.error(
            &spec,
            "failStrategy is not FAIL_OPEN: a filter that fails would answer 5xx to everything instead of leaving requests to stable",
        );
    }
    if spec.text("type") == Some("NETWORK") {
        findings.error(
            &spec,
            "type is NETWORK: the filter would be one of connections, and see no request; expected HTTP, the default",
        );
    }
    configuration(&spec, "pluginConfig", findings)
}

fn extension_policy<'a>(resource: &Node<'a>, findings: &mut Findings) -> Vec<Node<'a>> {
    let filters = resource.field("spec").map(|spec| spec.list("wasm")).unwrap_or_default();
    let mut found = Vec::new();
    for filter in filters {
        let url = |source| filter.at(&["code", source]).and_then(|source| source.text("url"));
        let names = [name(resource), filter.text("name"), filter.text("rootID"), url("http"), url("image")];
        if !is_ours(&names) {
            continue;
        }
        if filter.value.get("failOpen") != Some(&true.into()) {
            findings.error(
                &filter,
                "failOpen is not true: a filter that fails would answer 5xx to everything instead of leaving requests to stable",
            );
        }
        found.extend(configuration(&filter, "config", findings));
    }
    found
}

fn name<'a>(resource: &Node<'a>) -> Option<&'a str> {
    resource.field("metadata")?.text("name")
}

/// No field identifies a module; it is recognized by its names.
fn is_ours(names: &[Option<&str>]) -> bool {
    names.iter().flatten().any(|name| name.contains(NAME))
}

fn configuration<'a>(filter: &Node<'a>, field: &str, findings: &mut Findings) -> Vec<Node<'a>> {
    let found = filter.field(field);
    if found.is_none() {
        findings.error(
            filter,
            format_args!(
                "{field} is missing: the filter refuses to start without; expected at least `rollouts: []`"
            ),
        );
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    /// The places of the configurations found, and what is said.
    fn found(text: &str) -> (Vec<String>, Vec<String>) {
        let document = yaml::read(text).expect("YAML").remove(0);
        assert!(is_resource(&document));
        let mut findings = Findings::default();
        let configurations = configurations(&Node::document("f", &document), &mut findings);
        assert_eq!(findings.bad, !findings.lines.is_empty());
        (configurations.iter().map(ToString::to_string).collect(), findings.lines)
    }

    fn wasm_plugin(fields: &str) -> String {
        format!(
            "{{apiVersion: extensions.istio.io/v1alpha1, kind: WasmPlugin, metadata: {{name: a}}, spec: {{{fields}}}}}"
        )
    }

    fn policy(wasm: &str) -> String {
        format!(
            "{{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: EnvoyExtensionPolicy, spec: {{wasm: [{wasm}]}}}}"
        )
    }

    fn none() -> (Vec<String>, Vec<String>) {
        (Vec::new(), Vec::new())
    }

    #[test]
    fn configurations_are_found_where_they_stand() {
        let url = "url: oci://r/changeover:1, failStrategy: FAIL_OPEN, pluginConfig: {}";
        assert_eq!(found(&wasm_plugin(url)).0, ["f: spec.pluginConfig"]);
        let image = "{code: {type: Image, image: {url: r/changeover}}, failOpen: true, config: {}}";
        let other = "{name: other, config: {}}";
        assert_eq!(found(&policy(&format!("{other}, {image}"))).0, ["f: spec.wasm[1].config"]);
        let extension = format!(
            "{{apiVersion: extensions.istio.io/v1alpha1, kind: TrafficExtension, spec: {{phase: AUTHN, wasm: {{{url}}}}}}}"
        );
        assert_eq!(found(&extension).0, ["f: spec.wasm.pluginConfig"]);
        let list = format!("{{apiVersion: v1, kind: List, items: [{}]}}", wasm_plugin(url));
        assert_eq!(found(&list).0, ["f: items[0].spec.pluginConfig"]);
    }

    #[test]
    fn resources_are_named_as_kubectl_names_them() {
        let name = |text| label(&yaml::read(text).expect("YAML").remove(0));
        assert_eq!(name("{apiVersion: v1, kind: WasmPlugin, metadata: {name: a}}"), "WasmPlugin/a");
        assert_eq!(name("{apiVersion: v1, kind: List}"), "List/");
    }

    #[test]
    fn other_filters_are_passed_over() {
        assert_eq!(found(&wasm_plugin("url: oci://r/other, pluginConfig: {}")), none());
        assert_eq!(found(&policy("{name: other}")), none());
        for kind in ["{apiVersion: v1, kind: Secret}", "{apiVersion: v1, kind: WasmPlugin, spec: 5}"] {
            assert_eq!(found(kind), none());
        }
        assert_eq!(found("{apiVersion: extensions.istio.io/v1, kind: WasmPlugin}"), none());
    }

    #[test]
    fn errors_around_the_configuration_are_reported() {
        let rows = [
            (
                wasm_plugin("pluginName: changeover, pluginConfig: {}"),
                "f: spec: failStrategy is not FAIL_OPEN: a filter that fails would answer 5xx to everything instead of leaving requests to stable",
            ),
            (
                wasm_plugin("pluginName: changeover, failStrategy: FAIL_OPEN"),
                "f: spec: pluginConfig is missing: the filter refuses to start without; expected at least `rollouts: []`",
            ),
            (
                policy("{rootID: changeover, failOpen: false, config: {}}"),
                "f: spec.wasm[0]: failOpen is not true: a filter that fails would answer 5xx to everything instead of leaving requests to stable",
            ),
            (
                policy("{rootID: changeover, failOpen: true}"),
                "f: spec.wasm[0]: config is missing: the filter refuses to start without; expected at least `rollouts: []`",
            ),
        ];
        for (text, message) in rows {
            assert_eq!(found(&text).1, [message]);
        }
    }
}
