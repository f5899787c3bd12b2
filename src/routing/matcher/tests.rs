use super::*;
use crate::config::check;
use crate::routing::fixture::Sample;
use crate::routing::paths::READ;
use proptest::prelude::*;
use serde_json::{Value, json};

fn config(matches: &[Value]) -> Config {
    let rollout = |(n, matches): (usize, &Value)| json!({"name": format!("r{n}"), "versions": {"v": {"cluster": "c"}}, "stable": "v", "match": matches});
    let rollouts: Vec<Value> = matches.iter().enumerate().map(rollout).collect();
    check(&json!({"rollouts": rollouts})).expect("a valid configuration")
}

fn find(matches: &[Value], request: &Sample) -> Option<usize> {
    Matcher::new(&config(matches)).find(&Facts::new(request))
}

#[test]
fn the_first_that_fits_wins() {
    let matches = [
        json!({"path": "/a/b"}),
        json!({"prefix": "/a", "methods": ["POST"]}),
        json!({"prefix": "/a/b"}),
        json!({"authority": ["h"]}),
        json!({}),
    ];
    let rows = [
        ("GET", "x", "/a/b", 0),
        ("GET", "x", "/a/b?q=1", 0),
        ("POST", "x", "/a/bc", 1),
        ("GET", "x", "/a/bc", 2),
        ("GET", "h", "/a", 3),
        ("GET", "x", "/a", 4),
        ("GET", "x", "*", 4),
    ];
    for (method, authority, path, expected) in rows {
        assert_eq!(
            find(&matches, &Sample::new(method, authority, path)),
            Some(expected),
            "{method} {authority}{path}"
        );
    }
    assert_eq!(find(&matches[..3], &Sample::new("GET", "x", "/")), None);
}

#[test]
fn a_prefix_is_envoys_prefix() {
    let matches = [json!({"prefix": "/v2/models/a"})];
    for (path, fits) in [
        ("/v2/models/a", true),
        ("/v2/models/ab", true),
        ("/v2/models/a/infer?x", true),
        ("/v2/models/", false),
    ] {
        assert_eq!(find(&matches, &Sample::new("GET", "h", path)).is_some(), fits, "{path}");
    }
    let separated = [json!({"path_separated_prefix": "/v2/models/a"})];
    for (path, fits) in [
        ("/v2/models/a", true),
        ("/v2/models/a?x", true),
        ("/v2/models/a/", true),
        ("/v2/models/a/infer", true),
        ("/v2/models/ab", false),
        ("/v2/models/a%2F", false),
        ("/v2/models/", false),
    ] {
        assert_eq!(find(&separated, &Sample::new("GET", "h", path)).is_some(), fits, "{path}");
    }
    // What stands in the query is no path.
    assert_eq!(find(&matches, &Sample::new("GET", "h", "/?/v2/models/a")), None);
}

#[test]
fn authorities_know_no_case_and_fit_any_port_unless_they_name_one() {
    let matches =
        [json!({"authority": ["Models.Example.com"]}), json!({"authority": ["other:8080", "[::1]"]})];
    let rows = [
        ("models.example.COM", Some(0)),
        ("models.example.com:443", Some(0)),
        ("other:8080", Some(1)),
        ("other:9090", None),
        ("other", None),
        ("[::1]:80", Some(1)),
        ("[::1]", Some(1)),
        ("models.example.com:", None),
        ("", None),
    ];
    for (authority, expected) in rows {
        assert_eq!(find(&matches, &Sample::new("GET", authority, "/")), expected, "{authority}");
    }
}

#[test]
fn headers_are_compared_by_their_first_value() {
    let matches = [
        json!({"headers": [{"name": "X-Tenant", "exact": "acme"}, {"name": "x-beta", "present": true}]}),
        json!({"headers": [{"name": "x-tenant", "prefix": "ac"}]}),
        json!({"headers": [{"name": "x-tenant", "present": false}]}),
    ];
    let with = |headers: &[(&str, &str)]| find(&matches, &Sample::new("GET", "h", "/").with(headers));
    assert_eq!(with(&[("x-tenant", "acme"), ("x-beta", "")]), Some(0));
    assert_eq!(with(&[("x-tenant", "acme")]), Some(1));
    assert_eq!(with(&[("x-tenant", "b"), ("x-tenant", "acme")]), None);
    assert_eq!(with(&[]), Some(2));
}

#[test]
fn only_headers_in_rules_are_read() {
    let request = Sample::new("GET", "h", "/");
    assert_eq!(find(&[json!({})], &request), Some(0));
    assert_eq!(request.reads(), [""; 0]);
    assert_eq!(find(&[json!({"prefix": "/a"}), json!({"path": "/"})], &request), Some(1));
    assert_eq!(request.reads(), [":path"], "once, for two rules");
}

/// What the look-ups must agree with: one rollout after the other.
fn by_scanning(matches: &[Value], method: &str, authority: &str, path: &str) -> Option<usize> {
    matches.iter().position(|rule| {
        let list = |field: &str, value: &str| {
            rule.get(field)
                .and_then(Value::as_array)
                .is_none_or(|list| list.iter().any(|entry| entry == value))
        };
        list("methods", method)
            && list("authority", authority)
            && rule.get("prefix").and_then(Value::as_str).is_none_or(|prefix| path.starts_with(prefix))
            && rule.get("path").and_then(Value::as_str).is_none_or(|exact| path == exact)
            && rule
                .get("path_separated_prefix")
                .and_then(Value::as_str)
                .is_none_or(|prefix| path == prefix || path.starts_with(&format!("{prefix}/")))
    })
}

fn any_match() -> impl Strategy<Value = Value> {
    let path = "(/[ab]?){1,4}";
    let place = prop_oneof![
        Just(json!({})),
        path.prop_map(|path| json!({"path": path})),
        path.prop_map(|prefix| json!({"prefix": prefix})),
        path.prop_filter_map("no / at the end", |prefix| {
            (!prefix.ends_with('/')).then(|| json!({"path_separated_prefix": prefix}))
        }),
    ];
    let authority = prop::option::of(prop::collection::vec("[gh]", 1..3));
    let methods = prop::option::of(prop::collection::vec(prop_oneof![Just("GET"), Just("POST")], 1..2));
    (place, authority, methods).prop_map(|(mut rule, authority, methods)| {
        authority.into_iter().for_each(|authority| rule["authority"] = json!(authority));
        methods.into_iter().for_each(|methods| rule["methods"] = json!(methods));
        rule
    })
}

#[test]
fn parameters_are_decoded_and_compared() {
    let matches = [
        json!({"query": [{"name": "model", "exact": "a b"}, {"name": "v", "prefix": "2"}, {"name": "debug", "present": false}]}),
    ];
    let rows = [
        ("/?model=a+b&v=2.1", true),
        ("/?v=2&mod%65l=a%20b", true),
        ("/?model=a+b&model=x&v=2", true),
        ("/?model=x&model=a+b&v=2", false),
        ("/?model=a+b&v=1", false),
        ("/?model=a+b&v=2&debug", false),
        ("/?model=a+b", false),
        ("/", false),
        ("/#?model=a+b&v=2", false),
    ];
    for (path, fits) in rows {
        assert_eq!(find(&matches, &Sample::new("GET", "h", path)).is_some(), fits, "{path}");
    }
}

proptest! {
    #[test]
    fn looking_up_finds_what_scanning_finds(
        matches in prop::collection::vec(any_match(), 0..20),
        method in prop_oneof![Just("GET"), Just("POST")],
        authority in "[ghi]",
        path in "(/[ab]{0,2}){1,4}",
    ) {
        let found = find(&matches, &Sample::new(method, &authority, &path));
        prop_assert_eq!(found, by_scanning(&matches, method, &authority, &path));
    }

    #[test]
    fn hostile_requests_never_panic(path in prop::collection::vec(any::<u8>(), 0..60), authority in prop::collection::vec(any::<u8>(), 0..20)) {
        let matches = [json!({"prefix": "/a", "authority": ["h", "[::1]:8"]}), json!({"path": "/"}), json!({"headers": [{"name": "x", "exact": "é"}]})];
        let mut request = Sample::default();
        request.set(":path", &path);
        request.set(":authority", &authority);
        request.set("x", &path);
        let _ = find(&matches, &request);
    }
}

/// A thousand rollouts by path and authority: the look-up takes steps that grow with their logarithm.
#[test]
fn a_thousand_rollouts_are_searched_in_a_dozen_steps_more_than_one() {
    let many: Vec<Value> = (0..1_000).map(|n| json!({"prefix": format!("/v2/models/m{n:04}")})).collect();
    let of = |matches: &[Value]| Matcher::new(&config(matches));
    let (one, thousand) = (of(&many[999..]), of(&many));
    let request = Sample::new("GET", "h", "/v2/models/m0999/infer");
    let read = |matcher: &Matcher| {
        let before = READ.get();
        assert!(matcher.find(&Facts::new(&request)).is_some());
        READ.get() - before
    };
    let (one, thousand) = (read(&one), read(&thousand));
    // A scan would read all of them.
    assert!(thousand <= one + 12, "one {one}, thousand {thousand}");
}
