//! Changeover's filters inside Envoy's YAML, and what they need around them.
//!
//! Fields that are unknown here are passed over without a message: most of Envoy's configuration has nothing to do with
//! Changeover.

pub(crate) mod bootstrap;
pub(crate) mod buffers;
pub(crate) mod control;
pub(crate) mod dump;
pub(crate) mod filters;
pub(crate) mod form;
pub(crate) mod plugin;
pub(crate) mod protocol;
pub(crate) mod routes;

use std::collections::HashSet;
use std::fmt;

use serde_json::Value;

/// A value in a file, and where it stands.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    pub(crate) value: &'a Value,
    file: &'a str,
    path: String,
}

impl<'a> Node<'a> {
    /// A whole document.
    pub(crate) fn document(file: &'a str, value: &'a Value) -> Self {
        Self { value, file, path: String::new() }
    }

    /// A field, if it is there.
    pub(crate) fn field(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name)?;
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Some(Self { value, file: self.file, path })
    }

    /// A field below a field, and so on.
    pub(crate) fn at(&self, names: &[&str]) -> Option<Self> {
        names.iter().try_fold(self.clone(), |node, name| node.field(name))
    }

    /// The elements of a list field; none when it is not there.
    pub(crate) fn list(&self, name: &str) -> Vec<Self> {
        self.field(name).map(|list| list.elements()).unwrap_or_default()
    }

    fn elements(&self) -> Vec<Self> {
        let elements = self.value.as_array().into_iter().flatten().enumerate();
        let element =
            |(index, value)| Self { value, file: self.file, path: format!("{}[{index}]", self.path) };
        elements.map(element).collect()
    }

    /// A text field.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.value.get(name)?.as_str()
    }

    /// A field that is a number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        match self.value.get(name)? {
            Value::String(text) => text.parse().ok(), // protobuf's other form of a number
            number => number.as_u64(),
        }
    }

    /// Whether its `@type` is this message, such as `…v3.HttpConnectionManager`.
    pub(crate) fn is(&self, message: &str) -> bool {
        let kind = self.text("@type").and_then(|url| url.rsplit('/').next());
        kind.is_some_and(|kind| {
            kind == message || kind.strip_suffix(message).is_some_and(|head| head.ends_with('.'))
        })
    }

    /// Whether another value stands inside it.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        let mut found = false;
        self.walk(&mut |node| found |= std::ptr::eq(node.value, other.value));
        found
    }

    /// Shows `visit` this value and everything inside it.
    pub(crate) fn walk(&self, visit: &mut dyn FnMut(&Self)) {
        visit(self);
        if let Value::Object(fields) = self.value {
            fields.keys().filter_map(|name| self.field(name)).for_each(|node| node.walk(visit));
        }
        self.elements().iter().for_each(|node| node.walk(visit));
    }
}

impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(self.file),
            path => write!(f, "{}: {path}", self.file),
        }
    }
}

/// Whether a document is Envoy's rather than a bare configuration.
pub(crate) fn is_envoys(document: &Value) -> bool {
    const FIELDS: [&str; 18] = [
        "@type",
        "admin",
        "clusters",
        "dynamicResources",
        "dynamic_resources",
        "filterChains",
        "filter_chains",
        "httpFilters",
        "http_filters",
        "listeners",
        "node",
        "resources",
        "routeConfig",
        "route_config",
        "staticResources",
        "static_resources",
        "statsConfig",
        "stats_config",
    ];
    let Value::Object(fields) = document else { return false };
    !fields.contains_key("rollouts") && FIELDS.iter().any(|field| fields.contains_key(*field))
}

/// Whether Envoy starts with a document, which is in its normal form.
pub(crate) fn is_bootstrap(document: &Value) -> bool {
    ["static_resources", "dynamic_resources"].iter().any(|name| document.get(name).is_some())
}

/// What `check` has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// One line each, in the order found.
    pub(crate) lines: Vec<String>,
    /// Whether one of them is an error.
    pub(crate) bad: bool,
    /// Whether one of them is about a filter of ours.
    pub(crate) ours: bool,
    said: HashSet<String>,
}

impl Findings {
    /// Something that does not work.
    pub(crate) fn error(&mut self, place: &dyn fmt::Display, message: impl fmt::Display) {
        self.bad = true;
        self.note(place, message);
    }

    /// Something that works and probably should not be so.
    pub(crate) fn warning(&mut self, place: &dyn fmt::Display, message: impl fmt::Display) {
        self.note(place, format_args!("warning: {message}"));
    }

    /// Anything else.
    pub(crate) fn note(&mut self, place: &dyn fmt::Display, message: impl fmt::Display) {
        let line = format!("{place}: {message}");
        // Of what several routes share, each has something to say.
        if self.said.insert(line.clone()) {
            self.lines.push(line);
        }
    }
}
