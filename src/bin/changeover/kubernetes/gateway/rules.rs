//! The rules of a route: what Envoy gets of them, and in which order.

use serde_json::{Value, json};

use super::super::{Made, namespace};
use crate::envoy::Node;
use crate::envoy::routes::{CLUSTER, INTERNAL};

/// One match of a rule.
pub(super) struct Rule<'a> {
    pub(super) made: Made<'a>,
    /// The `HTTPRoute` or `GRPCRoute`.
    pub(super) route: Node<'a>,
    /// Where it leads, in one form for all.
    pub(super) backends: Vec<[String; 6]>,
    rank: Rank,
}

/// What makes a rule stand before another: the kind of path, its length, headers, exact ones, cookies, exact ones,
/// parameters, exact ones.
type Rank = [usize; 8];

impl<'a> Rule<'a> {
    pub(super) fn node(&self) -> Node<'_> {
        self.made.node()
    }

    pub(super) fn is(&self, route: &Node<'_>) -> bool {
        self.made.is(route)
    }

    /// The value of the filter's header that it asks for.
    pub(super) fn choice(&self) -> Option<&str> {
        self.choices().find_map(|header| header.get("exact_match")?.as_str())
    }

    pub(super) fn has_choice(&self) -> bool {
        self.choices().next().is_some()
    }

    /// The headers that it removes from answers.
    pub(super) fn removed_from_answers(&self) -> Vec<&'a str> {
        let filters = self.made.from.list("filters").into_iter();
        let lists =
            filters.filter_map(|filter| filter.value.pointer("/responseHeaderModifier/remove")?.as_array());
        lists.flatten().filter_map(Value::as_str).collect()
    }

    /// Whether it forwards requests, rather than to answer them itself.
    pub(super) fn forwards(&self) -> bool {
        !self.backends.is_empty()
            && !self.made.from.list("filters").iter().any(|one| one.text("type") == Some("RequestRedirect"))
    }

    /// What it does to requests, by the name of the field or filter, without what is for the filter's own headers.
    pub(super) fn settings(&self) -> Vec<(String, Value)> {
        let from = &self.made.from;
        let fields = ["timeouts", "retry", "sessionPersistence"].into_iter();
        let fields = fields.filter_map(|name| Some((name.to_owned(), from.value.get(name)?.clone())));
        let filters = from.list("filters").into_iter().filter_map(|filter| {
            let mut value = filter.value.clone();
            let field = match filter.text("type") {
                Some("RequestHeaderModifier") => Some("requestHeaderModifier"),
                Some("ResponseHeaderModifier") => Some("responseHeaderModifier"),
                _ => None,
            };
            if let Some(field) = field {
                let modifier = value.get_mut(field)?.as_object_mut()?;
                if let Some(Value::Array(removed)) = modifier.get_mut("remove") {
                    let is_own = |name: &str| INTERNAL.iter().any(|own| own.eq_ignore_ascii_case(name));
                    removed.retain(|name| !name.as_str().is_some_and(is_own));
                    if removed.is_empty() {
                        modifier.remove("remove");
                    }
                }
                if modifier.is_empty() {
                    return None;
                }
            }
            let kind = filter.text("type").unwrap_or_default();
            (kind != "RequestMirror").then(|| (kind.to_owned(), value))
        });
        fields.chain(filters).collect()
    }

    fn choices(&self) -> impl Iterator<Item = &Value> {
        let headers = self.made.envoy.pointer("/match/headers").and_then(Value::as_array);
        let is_own = |header: &&Value| {
            header.get("name").and_then(Value::as_str).is_some_and(|name| name.eq_ignore_ascii_case(CLUSTER))
        };
        headers.into_iter().flatten().filter(is_own)
    }

    /// Whether it is a rule of another route, and either may stand first.
    pub(super) fn ties_with(&self, other: &Self) -> bool {
        self.rank == other.rank && !std::ptr::eq(self.route.value, other.route.value)
    }
}

/// The rules of a route, one for each match.
pub(super) fn of<'a>(route: &Node<'a>) -> Vec<Rule<'a>> {
    let is_grpc = route.text("kind") == Some("GRPCRoute");
    let rules = route.field("spec").map(|spec| spec.list("rules")).unwrap_or_default();
    let mut found = Vec::new();
    for rule in rules {
        let matches = rule.list("matches");
        let all = json!({});
        let matches =
            if matches.is_empty() { vec![&all] } else { matches.iter().map(|one| one.value).collect() };
        for one in matches {
            let path = if is_grpc { Path::of_grpc(one) } else { Path::of_http(one) };
            found.push(Rule {
                rank: rank(one, &path),
                made: Made::new(rule.clone(), as_envoy(one, &path)),
                route: route.clone(),
                backends: backends(&rule, route),
            });
        }
    }
    found
}

/// Puts rules in the order in which Envoy Gateway hands them to Envoy.
pub(super) fn sort(rules: &mut [Rule<'_>]) {
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.rank));
}

/// A condition on the path.
enum Path {
    Exact(String),
    Regex(String),
    Prefix(String),
    /// A method of any service of gRPC.
    Suffix(String),
    Any,
}

impl Path {
    fn of_http(one: &Value) -> Self {
        let value = one.pointer("/path/value").and_then(Value::as_str).unwrap_or("/").to_owned();
        match one.pointer("/path/type").and_then(Value::as_str) {
            Some("Exact") => Self::Exact(value),
            Some("RegularExpression") => Self::Regex(value),
            _ => Self::Prefix(value),
        }
    }

    fn of_grpc(one: &Value) -> Self {
        let text = |at| one.pointer(at).and_then(Value::as_str);
        let is_regex = text("/method/type") == Some("RegularExpression");
        match (text("/method/service"), text("/method/method")) {
            (None, None) => Self::Any,
            (service, method) if is_regex => {
                let any = "[^/]+";
                Self::Regex(format!("/{}/{}", service.unwrap_or(any), method.unwrap_or(any)))
            }
            (Some(service), Some(method)) => Self::Exact(format!("/{service}/{method}")),
            (Some(service), None) => Self::Prefix(format!("/{service}")),
            (None, Some(method)) => Self::Suffix(format!("/{method}")),
        }
    }
}

fn list<'v>(one: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    one.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn is_exact(condition: &&Value) -> bool {
    condition.get("type").and_then(Value::as_str) != Some("RegularExpression")
}

fn rank(one: &Value, path: &Path) -> Rank {
    let (kind, length) = match path {
        Path::Exact(value) => (3, value.len()),
        Path::Regex(value) => (2, value.len()),
        Path::Prefix(value) if value == "/" => (1, 0),
        Path::Prefix(value) => (1, value.len()),
        Path::Suffix(_) | Path::Any => (1, 0),
    };
    let count = |field| list(one, field).count();
    let exact = |field| list(one, field).filter(is_exact).count();
    let method = usize::from(one.get("method").is_some_and(Value::is_string));
    let suffix = usize::from(matches!(path, Path::Suffix(_)));
    [
        kind,
        length,
        count("headers").saturating_add(method).saturating_add(suffix),
        exact("headers").saturating_add(method),
        count("cookies"),
        exact("cookies"),
        count("queryParams"),
        exact("queryParams"),
    ]
}

fn as_envoy(one: &Value, path: &Path) -> Value {
    let mut headers: Vec<Value> = list(one, "headers").map(tested).collect();
    if let Some(method) = one.get("method").filter(|method| method.is_string()) {
        headers.push(json!({"name": ":method", "exact_match": method}));
    }
    let parameters: Vec<Value> = list(one, "queryParams").map(tested).collect();
    let cookies: Vec<&Value> = list(one, "cookies").collect();
    let (field, path) = match path {
        Path::Exact(path) => ("path", json!(path)),
        Path::Regex(regex) => ("safe_regex", json!({"regex": regex})),
        Path::Prefix(path) if path != "/" => ("path_separated_prefix", json!(path.trim_end_matches('/'))),
        Path::Prefix(_) | Path::Any => ("prefix", json!("/")),
        Path::Suffix(path) => {
            headers.push(json!({"name": ":path", "string_match": {"suffix": path}}));
            ("prefix", json!("/"))
        }
    };
    json!({field: path, "headers": headers, "query_parameters": parameters, "cookies": cookies})
}

fn tested(condition: &Value) -> Value {
    let (name, value) = (condition.get("name"), condition.get("value").cloned().unwrap_or_default());
    if is_exact(&condition) {
        json!({"name": name, "exact_match": value})
    } else {
        json!({"name": name, "safe_regex_match": {"regex": value}})
    }
}

/// Where a rule leads, with what stands for what is not written, and without what gets nothing.
fn backends(rule: &Node<'_>, route: &Node<'_>) -> Vec<[String; 6]> {
    let own = namespace(route).unwrap_or_default();
    let weight = |backend: &Node<'_>| backend.value.get("weight").and_then(Value::as_u64).unwrap_or(1);
    let used: Vec<Node<'_>> =
        rule.list("backendRefs").into_iter().filter(|backend| weight(backend) > 0).collect();
    let is_one = used.len() == 1;
    let form = |backend: &Node<'_>| {
        let text = |field, default| backend.text(field).unwrap_or(default).to_owned();
        [
            text("group", ""),
            text("kind", "Service"),
            text("namespace", own),
            text("name", ""),
            backend.value.get("port").map(Value::to_string).unwrap_or_default(),
            if is_one { String::new() } else { weight(backend).to_string() },
        ]
    };
    let mut backends: Vec<[String; 6]> = used.iter().map(form).collect();
    backends.sort();
    backends
}
