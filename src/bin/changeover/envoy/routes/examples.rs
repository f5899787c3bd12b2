//! Single requests that stand for all that routes can tell apart: what no example shows does not happen.

use std::collections::BTreeSet;

use changeover::config::condition::ValueRule;
use changeover::config::one_of::{PathRule, ValueTest};
use changeover::config::schema::Match;

use super::taken::{HeaderMatcher, Test, alternatives};
use super::{CLUSTER, MIRROR, Node, SHADOW};

/// Examples of some requests.
pub(super) struct Examples {
    /// Conditions that exactly one request fulfils, as far as these routes can tell.
    pub(super) all: Vec<Match>,
    /// Whether each kind of request is among them. All of them happen.
    pub(super) are_complete: bool,
}

/// Looks at no more examples than this, times routes.
const MOST: usize = 50_000;

/// Nothing that anybody writes into a condition.
const OTHER: &str = "zz~other";

/// What people send. What a server could take besides these is left out.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"];

impl Examples {
    /// Those of `own` requests that come under one of `names` (if it matters), and that no `earlier` rollout takes, as far as
    /// these routes can tell requests apart.
    pub(super) fn of(own: &Match, names: &[String], earlier: &[&Match], routes: &[Node<'_>]) -> Self {
        let dimensions = dimensions(own, names, earlier, routes);
        let most = MOST.checked_div(routes.len().saturating_add(earlier.len())).unwrap_or(MOST).max(1);
        let product =
            dimensions.iter().try_fold(1_usize, |product, one| product.checked_mul(one.len().max(1)));
        let are_complete = product.is_some_and(|product| product <= most);
        let mut all = if are_complete {
            dimensions.iter().fold(vec![own.clone()], |bases, values| {
                let put = |value: &Value| bases.iter().map(|base| value.put_into(base)).collect::<Vec<_>>();
                values.iter().rev().flat_map(put).collect()
            })
        } else {
            // Each differs from the plain one in one place. The last value is the one that is least special.
            let last = dimensions.iter().filter_map(|values| values.last());
            let plain = last.fold(own.clone(), |example, value| value.put_into(&example));
            let others = dimensions.iter().flatten().map(|value| value.put_into(&plain));
            std::iter::once(plain.clone()).chain(others).take(most).collect()
        };
        all.retain(|example| !earlier.iter().any(|earlier| earlier.contains(example)));
        Self { all, are_complete }
    }
}

/// One way in which requests differ.
enum Value {
    Name(String),
    Path(String),
    Method(String),
    Header(ValueRule),
    Parameter(ValueRule),
}

impl Value {
    fn put_into(&self, example: &Match) -> Match {
        let mut example = example.clone();
        let put = |rules: &mut Vec<ValueRule>, rule: &ValueRule, same: &dyn Fn(&str) -> bool| {
            rules.retain(|other| !same(&other.name));
            rules.push(rule.clone());
        };
        match self {
            Self::Name(name) => example.authority = vec![name.clone()],
            Self::Path(path) => {
                (example.prefix, example.path_separated_prefix) = (None, None);
                example.path = Some(path.clone());
            }
            Self::Method(method) => example.methods = vec![method.clone()],
            Self::Header(rule) => {
                put(&mut example.headers, rule, &|name| name.eq_ignore_ascii_case(&rule.name));
            }
            Self::Parameter(rule) => put(&mut example.query, rule, &|name| name == rule.name),
        }
        example
    }
}

fn dimensions(own: &Match, names: &[String], earlier: &[&Match], routes: &[Node<'_>]) -> Vec<Vec<Value>> {
    let matches: Vec<Node<'_>> = routes.iter().filter_map(|route| route.field("match")).collect();
    let list = |field: &str| matches.iter().flat_map(|matches| matches.list(field)).collect::<Vec<_>>();
    let (headers, parameters) = (list("headers"), list("query_parameters"));
    let mut dimensions = vec![paths(own, earlier, &matches).into_iter().map(Value::Path).collect()];
    if earlier.iter().any(|earlier| !earlier.authority.is_empty()) {
        dimensions.push(names.iter().cloned().map(Value::Name).collect());
    }
    let is_method = |header: &&Node<'_>| header.text("name") == Some(":method");
    if headers.iter().any(|header| is_method(&header))
        || earlier.iter().any(|earlier| !earlier.methods.is_empty())
    {
        let mut methods: BTreeSet<String> = own.methods.iter().cloned().collect();
        if methods.is_empty() {
            methods.extend(METHODS.map(str::to_owned));
            methods.extend(
                headers.iter().filter(is_method).flat_map(|header| texts(&HeaderMatcher::of(header).test)),
            );
            methods.extend(earlier.iter().flat_map(|earlier| earlier.methods.iter().cloned()));
            methods.retain(|method| {
                !method.is_empty() && method.bytes().all(|letter| letter.is_ascii_uppercase())
            });
        }
        dimensions.push(methods.into_iter().map(Value::Method).collect());
    }
    let own_rules = own.headers.iter().chain(earlier.iter().flat_map(|earlier| &earlier.headers));
    let own_rules: Vec<&ValueRule> = own_rules.collect();
    let is_known = |name: &str| {
        let by_envoy = [CLUSTER, MIRROR, SHADOW, "host", "x-request-id", "x-forwarded-proto"];
        by_envoy.contains(&name) || name.starts_with(':')
    };
    for name in named(&headers, &own_rules, |name| name.to_ascii_lowercase()) {
        if !is_known(&name) {
            let of = |other: &str| other.eq_ignore_ascii_case(&name);
            dimensions
                .push(values(&name, of, &own.headers, &own_rules, &headers).map(Value::Header).collect());
        }
    }
    let own_rules: Vec<&ValueRule> =
        own.query.iter().chain(earlier.iter().flat_map(|earlier| &earlier.query)).collect();
    for name in named(&parameters, &own_rules, str::to_owned) {
        let of = |other: &str| other == name;
        dimensions
            .push(values(&name, of, &own.query, &own_rules, &parameters).map(Value::Parameter).collect());
    }
    dimensions.retain(|values: &Vec<Value>| !values.is_empty());
    dimensions
}

fn named(matchers: &[Node<'_>], rules: &[&ValueRule], spelled: impl Fn(&str) -> String) -> BTreeSet<String> {
    let of_routes = matchers.iter().filter_map(|matcher| matcher.text("name"));
    of_routes.chain(rules.iter().map(|rule| rule.name.as_str())).map(spelled).collect()
}

/// Paths of the rollout's own, on all sides of what is asked for.
fn paths(own: &Match, earlier: &[&Match], matches: &[Node<'_>]) -> Vec<String> {
    let text = |rule| match rule {
        PathRule::Any => "/".to_owned(),
        PathRule::Exact(path) | PathRule::Prefix(path) | PathRule::SeparatedPrefix(path) => path.to_owned(),
    };
    let own_text = text(own.path_rule());
    let mut wanted: BTreeSet<String> = BTreeSet::from([own_text.clone()]);
    wanted.extend(earlier.iter().map(|earlier| text(earlier.path_rule())));
    for matches in matches {
        let named =
            ["prefix", "path", "path_separated_prefix"].into_iter().filter_map(|kind| matches.text(kind));
        wanted.extend(named.map(str::to_owned));
        let regex = matches.field("safe_regex").and_then(|regex| regex.text("regex"));
        wanted.extend(regex.and_then(alternatives).into_iter().flatten().map(|one| one.text));
    }
    let is_own = |path: &String| {
        let of = |path: &str| Match { path: Some(path.to_owned()), ..Match::default() };
        let paths = Match {
            prefix: own.prefix.clone(),
            path_separated_prefix: own.path_separated_prefix.clone(),
            path: own.path.clone(),
            ..Match::default()
        };
        path.starts_with('/') && paths.contains(&of(path))
    };
    // Where case does not count, a route can have the rollout's path otherwise.
    let in_own_case = |text: &String| {
        let (head, tail) = text.split_at_checked(own_text.len())?;
        (head.eq_ignore_ascii_case(&own_text)).then(|| format!("{own_text}{tail}"))
    };
    let others: Vec<String> = wanted.iter().filter_map(in_own_case).collect();
    wanted.extend(others);
    let around = |text: &String| ["", "/", OTHER, "/zz~other"].map(|end| format!("{text}{end}"));
    let mut paths: BTreeSet<String> = wanted.iter().flat_map(around).filter(is_own).collect();
    let plain = [format!("{own_text}{OTHER}"), own_text].into_iter().find(is_own);
    plain.iter().for_each(|plain| _ = paths.remove(plain));
    paths.into_iter().chain(plain).collect()
}

/// What a header or parameter can be, in a request that has what the `own` rules ask for.
fn values(
    name: &str,
    is_it: impl Fn(&str) -> bool,
    own: &[ValueRule],
    rules: &[&ValueRule],
    matchers: &[Node<'_>],
) -> impl Iterator<Item = ValueRule> {
    let mut texts: BTreeSet<String> = BTreeSet::from([String::new()]);
    for rule in rules.iter().filter(|rule| is_it(&rule.name)) {
        if let Some(ValueTest::Exact(text) | ValueTest::Prefix(text)) = rule.test() {
            texts.extend([text.to_owned(), format!("{text}{OTHER}")]);
        }
    }
    for matcher in matchers.iter().filter(|matcher| matcher.text("name").is_some_and(&is_it)) {
        texts.extend(self::texts(&HeaderMatcher::of(matcher).test));
    }
    let of = |exact: Option<String>| ValueRule {
        name: name.to_owned(),
        present: exact.is_none().then_some(false),
        exact,
        prefix: None,
    };
    let conditions =
        Match { headers: own.iter().filter(|rule| is_it(&rule.name)).cloned().collect(), ..Match::default() };
    let each = texts.into_iter().map(Some).chain([Some(OTHER.to_owned()), None]);
    let each: Vec<ValueRule> = each.map(of).collect();
    each.into_iter().filter(move |rule| {
        // A parameter's name counts letter by letter; here all have the same one.
        conditions.contains(&Match { headers: vec![rule.clone()], ..Match::default() })
    })
}

/// Texts that pass a test, and some beside them.
fn texts(test: &Test<'_>) -> Vec<String> {
    let around = |text: &str| {
        vec![
            text.to_owned(),
            format!("{text}{OTHER}"),
            format!("{OTHER}{text}"),
            format!("{OTHER}{text}{OTHER}"),
        ]
    };
    match test {
        Test::Exact(text) | Test::Prefix(text) | Test::Suffix(text) | Test::Contains(text) => around(text),
        Test::OneOf(alternatives) => alternatives.iter().flat_map(|one| around(&one.text)).collect(),
        Test::Range(start, end) => [start.saturating_sub(1), *start, end.saturating_sub(1), *end]
            .map(|number| number.to_string())
            .into(),
        Test::Present(_) | Test::Unclear => Vec::new(),
    }
}
