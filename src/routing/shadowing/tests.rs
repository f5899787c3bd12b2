use super::*;
use crate::config::check;
use crate::routing::fixture::Sample;
use crate::routing::request::Facts;
use proptest::prelude::*;
use serde_json::{Value, json};

fn config(matches: &[Value]) -> Config {
    let rollout = |(n, matches): (usize, &Value)| json!({"name": format!("r{n}"), "versions": {"v": {"cluster": "c"}}, "stable": "v", "match": matches});
    let rollouts: Vec<Value> = matches.iter().enumerate().map(rollout).collect();
    check(&json!({"rollouts": rollouts})).expect("a valid configuration")
}

fn shadowed(outer: Value, inner: Value) -> bool {
    !warnings(&config(&[outer, inner])).is_empty()
}

#[test]
fn the_warning_names_both() {
    let lines: Vec<String> =
        warnings(&config(&[json!({"path": "/x"}), json!({}), json!({"prefix": "/a"})])).lines().collect();
    assert_eq!(
        lines,
        ["rollouts[2].match: unreachable: rollouts[1] (\"r1\") takes every request that it matches"]
    );
}

#[test]
fn a_match_contains_another_that_is_narrower() {
    let rows = [
        (json!({"prefix": "/a"}), json!({"prefix": "/a/b"}), true),
        (json!({"prefix": "/a"}), json!({"path": "/a"}), true),
        (json!({"path": "/a"}), json!({"prefix": "/a"}), false),
        (json!({"prefix": "/a"}), json!({"path_separated_prefix": "/a"}), true),
        (json!({"path_separated_prefix": "/a"}), json!({"prefix": "/a"}), false),
        (json!({"path_separated_prefix": "/a"}), json!({"prefix": "/a/b"}), true),
        (json!({"path_separated_prefix": "/a"}), json!({"path_separated_prefix": "/ab"}), false),
        (json!({"path_separated_prefix": "/a"}), json!({"path": "/a"}), true),
        (
            json!({"query": [{"name": "q", "present": true}]}),
            json!({"query": [{"name": "q", "exact": ""}]}),
            true,
        ),
        (
            json!({"query": [{"name": "q", "present": true}]}),
            json!({"query": [{"name": "Q", "exact": ""}]}),
            false,
        ),
        (json!({}), json!({"query": [{"name": "q", "exact": ""}]}), true),
        (json!({"path": "/a"}), json!({}), false),
        (json!({"prefix": "/"}), json!({"prefix": "/", "methods": ["GET"]}), true),
        (json!({"methods": ["GET"]}), json!({"methods": ["GET", "POST"]}), false),
        (json!({"methods": ["GET", "POST"]}), json!({"methods": ["POST"]}), true),
        (json!({"authority": ["h"]}), json!({"authority": ["H:80"]}), true),
        (json!({"authority": ["h:80"]}), json!({"authority": ["h"]}), false),
        (json!({"authority": ["g", "h"]}), json!({"authority": ["h"], "prefix": "/a"}), true),
        (json!({"authority": ["g"]}), json!({}), false),
        (
            json!({"headers": [{"name": "x", "present": true}]}),
            json!({"headers": [{"name": "X", "exact": "a"}]}),
            true,
        ),
        (
            json!({"headers": [{"name": "x", "prefix": "a"}]}),
            json!({"headers": [{"name": "x", "exact": "ab"}]}),
            true,
        ),
        (
            json!({"headers": [{"name": "x", "exact": "a"}]}),
            json!({"headers": [{"name": "x", "prefix": "a"}]}),
            false,
        ),
        (
            json!({"headers": [{"name": "x", "present": false}]}),
            json!({"headers": [{"name": "x", "present": true}]}),
            false,
        ),
        (json!({"headers": [{"name": "x", "exact": "a"}]}), json!({}), false),
    ];
    for (outer, inner, expected) in rows {
        assert_eq!(shadowed(outer.clone(), inner.clone()), expected, "{outer} {inner}");
    }
}

fn any_match() -> impl Strategy<Value = Value> {
    let place = prop_oneof![
        Just(json!({})),
        "(/[ab]){1,2}".prop_map(|path| json!({"path": path})),
        "(/[ab]?){1,2}".prop_map(|prefix| json!({"prefix": prefix})),
        "(/[ab]){1,2}".prop_map(|prefix| json!({"path_separated_prefix": prefix})),
    ];
    let authority = prop::option::of(prop::collection::vec("[gh](:80)?", 1..3));
    (place, authority).prop_map(|(mut rule, authority)| {
        authority.into_iter().for_each(|authority| rule["authority"] = json!(authority));
        rule
    })
}

proptest! {
    /// A rollout that is called unreachable is.
    #[test]
    fn no_request_finds_a_shadowed_rollout(
        matches in prop::collection::vec(any_match(), 2..8), authority in "[gh](:80)?", path in "(/[ab]{0,2}){1,3}",
    ) {
        let config = config(&matches);
        let found = Matcher::new(&config).find(&Facts::new(&Sample::new("GET", &authority, &path)));
        if let Some(found) = found {
            let place = format!("rollouts[{found}].match: ");
            prop_assert!(!warnings(&config).lines().any(|line| line.starts_with(&place)));
        }
    }
}
