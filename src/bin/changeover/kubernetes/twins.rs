//! Two filters that choose versions at one place: the second would remove the headers in which the first has said what it has
//! chosen.

use serde_json::Value;

use super::{namespace, of_kind_name};
use crate::envoy::{Findings, Node};

/// A filter that chooses versions.
pub(crate) struct Filter<'a> {
    pub(crate) resource: &'a Node<'a>,
    /// Where its configuration stands in the resource.
    pub(crate) configuration: Node<'a>,
}

/// Reports filters of which two run on the same requests.
pub(crate) fn check(filters: &[Filter<'_>], findings: &mut Findings) {
    for (index, filter) in filters.iter().enumerate() {
        let earlier = filters.get(..index).unwrap_or_default();
        let Some(first) = earlier.iter().find(|first| meets(first, filter)) else { continue };
        let is_gateways = of_kind_name(filter.resource) == "EnvoyExtensionPolicy";
        let is_one = std::ptr::eq(first.resource.value, filter.resource.value);
        if is_gateways && !is_one {
            findings.error(
                &filter.configuration,
                format_args!(
                    "its policy is for the same as that of {}: Envoy Gateway takes the older of the two and refuses the other; expected \
                     all rollouts in one filter",
                    first.configuration
                ),
            );
        } else {
            let of_vm = if is_gateways || root(first.resource) != root(filter.resource) {
                ""
            } else {
                "; with the same pluginName one configuration would replace the other, too"
            };
            findings.error(
                &filter.configuration,
                format_args!(
                    "a second filter beside {}: it removes the headers in which the first one has said what it has chosen{of_vm}; expected \
                     all rollouts in one filter",
                    first.configuration
                ),
            );
        }
    }
}

fn root<'a>(resource: &Node<'a>) -> Option<&'a str> {
    let spec = resource.field("spec")?;
    spec.text("pluginName").or_else(|| spec.field("wasm")?.text("pluginName"))
}

/// Whether two resources are for the same proxies or routes, and both are for all of their requests.
fn meets(one: &Filter<'_>, other: &Filter<'_>) -> bool {
    let (one, other) = (one.resource, other.resource);
    if std::ptr::eq(one.value, other.value) {
        return true;
    }
    let is_gateways = |resource: &Node<'_>| of_kind_name(resource) == "EnvoyExtensionPolicy";
    let place = |resource: &Node<'_>| {
        let at = |path: &str| resource.value.pointer(path).cloned();
        let labels = at("/spec/selector").and_then(|selector| selector.get("matchLabels").cloned());
        let targets = match (at("/spec/targetRefs"), at("/spec/targetRef")) {
            (Some(Value::Array(list)), _) => list,
            (_, Some(one)) => vec![one],
            _ => Vec::new(),
        };
        (labels, targets, at("/spec/match"), at("/spec/targetSelectors"))
    };
    let (
        (labels, targets, ports, selectors),
        (others_labels, others_targets, others_ports, others_selectors),
    ) = (place(one), place(other));
    let is_same_space = match (namespace(one), namespace(other)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    let share_target = targets.iter().any(|target| others_targets.contains(target));
    let have_no_target = targets.is_empty() && others_targets.is_empty() && selectors == others_selectors;
    is_gateways(one) == is_gateways(other)
        && is_same_space
        && labels == others_labels
        && ports == others_ports
        && (share_target || have_no_target)
}
