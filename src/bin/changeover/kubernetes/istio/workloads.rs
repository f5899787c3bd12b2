//! Whether the patches are for the proxies that have the filter.

use serde_json::{Map, Value};

use super::super::namespace;
use crate::envoy::{Findings, Node};

/// Where Istio stands, and what is for all namespaces. (Another one can be set.)
pub(super) const ROOT: &str = "istio-system";

/// Compares where a filter's resource applies with where those do that it needs.
pub(super) fn check<'n, 'a: 'n>(
    filter: &Node<'_>,
    needed: impl Iterator<Item = &'n Node<'a>>,
    findings: &mut Findings,
) {
    for other in needed.filter(|other| !std::ptr::eq(other.value, filter.value)) {
        if let (Some(own), Some(others)) = (namespace(filter), namespace(other))
            && own != others
            && others != ROOT
        {
            findings.warning(
                other,
                format_args!(
                    "it applies to namespace {others:?} alone, and the filter ({filter}) stands in {own:?}; expected them in the \
                     same, which is the gateway's"
                ),
            );
        }
        labels(filter, other, findings);
    }
}

fn labels(filter: &Node<'_>, other: &Node<'_>, findings: &mut Findings) {
    let own = Workloads::of(filter);
    let known = match (Workloads::of(other), &own) {
        (Workloads::All, _) => return,
        (Workloads::Labels(wanted), Workloads::All) => {
            wanted.iter().next().map(|(name, value)| (name, value, None))
        }
        (Workloads::Labels(wanted), Workloads::Labels(own)) => {
            let differs = |(name, value): &(&String, &Value)| own.get(name.as_str()) != Some(value);
            wanted.iter().find(differs).map(|(name, value)| (name, value, own.get(name)))
        }
        (Workloads::Targets(one), Workloads::Targets(other)) if one == *other => return,
        _ => {
            findings.note(
                other,
                format_args!(
                    "could not tell whether it applies to the proxies of the filter ({filter}): one of the two names them by \
                     `targetRefs`"
                ),
            );
            return;
        }
    };
    if let Some((name, value, own)) = known {
        let own = own.map_or_else(|| "none".to_owned(), Value::to_string);
        findings.warning(
            other,
            format_args!(
                "its workloadSelector asks for the label {name}: {value}, and the selector of the filter ({filter}) for {own}: proxies \
                 with the filter would lack its patches; expected the same"
            ),
        );
    }
}

/// The proxies of a namespace that a resource applies to.
enum Workloads<'a> {
    All,
    Labels(&'a Map<String, Value>),
    Targets(&'a Value),
}

impl<'a> Workloads<'a> {
    fn of(resource: &Node<'a>) -> Self {
        let at = |path| resource.value.pointer(path);
        if let Some(targets) = at("/spec/targetRefs").or_else(|| at("/spec/targetRef")) {
            return Self::Targets(targets);
        }
        let labels = at("/spec/selector/matchLabels").or_else(|| at("/spec/workloadSelector/labels"));
        match labels.and_then(Value::as_object) {
            Some(labels) if !labels.is_empty() => Self::Labels(labels),
            _ => Self::All,
        }
    }
}
