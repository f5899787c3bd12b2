use super::*;
use crate::yaml;
use Taken::{All, None, Some, Unclear};

fn taken(own: &str, matches: &str, cluster: Option<&str>) -> Taken {
    let own = yaml::read(own).expect("YAML").remove(0);
    let own: Match = serde_json::from_value(own).expect("a match");
    let route = yaml::read(&format!("match: {matches}")).expect("YAML").remove(0);
    Requests { matches: &own, cluster, shadow: Option::None }.taken_by(&Node::document("f", &route))
}

#[test]
fn paths_are_compared_as_sets() {
    let rows = [
        ("{}", "{prefix: /}", All),
        ("{}", "{prefix: /a}", Some),
        ("{prefix: /a}", "{prefix: /a}", All),
        ("{prefix: /ab}", "{prefix: /a}", All),
        ("{prefix: /a}", "{prefix: /ab}", Some),
        ("{prefix: /a}", "{prefix: /b}", None),
        ("{prefix: /a}", "{path: /a}", Some),
        ("{prefix: /a}", "{path: /b}", None),
        ("{path: /a}", "{path: /a}", All),
        ("{path: /a}", "{path: /ab}", None),
        ("{path: /a}", "{prefix: /ab}", None),
        ("{path: /a}", "{path_separated_prefix: /a}", All),
        ("{path: /a/b}", "{path_separated_prefix: /a}", All),
        ("{path: /ab}", "{path_separated_prefix: /a}", None),
        ("{prefix: /a}", "{path_separated_prefix: /a}", Some),
        ("{prefix: /a/}", "{path_separated_prefix: /a}", All),
        ("{prefix: /a/b}", "{path_separated_prefix: /a}", All),
        ("{prefix: /ab}", "{path_separated_prefix: /a}", None),
        ("{path_separated_prefix: /a}", "{path_separated_prefix: /a}", All),
        ("{path_separated_prefix: /a}", "{prefix: /a}", All),
        ("{path_separated_prefix: /a/b}", "{path_separated_prefix: /a}", All),
        ("{path_separated_prefix: /a}", "{prefix: /a/}", Some),
        ("{path_separated_prefix: /a}", "{path: /a}", Some),
        ("{path_separated_prefix: /a}", "{path_separated_prefix: /a/b}", Some),
        ("{path_separated_prefix: /a}", "{prefix: /ab}", None),
        ("{path_separated_prefix: /a}", "{safe_regex: {regex: \"/a/[0-9]+\"}}", Unclear),
        ("{prefix: /v2}", "{prefix: /V2}", None),
        ("{prefix: /v2}", "{prefix: /V2, case_sensitive: false}", All),
        ("{path: /A}", "{path: /a, case_sensitive: false}", All),
        ("{prefix: /a/}", "{safe_regex: {regex: /a/.*}}", All),
        ("{prefix: /a}", "{safe_regex: {regex: /a/b}}", Some),
        ("{prefix: /a}", "{safe_regex: {regex: /b.*}}", None),
        ("{prefix: /a}", "{safe_regex: {regex: \"/a/[0-9]+\"}}", Unclear),
        ("{prefix: /a}", "{path_match_policy: {}}", Unclear),
        ("{prefix: /V2/a}", "{safe_regex: {regex: /V2/.*}, case_sensitive: false}", All),
        ("{prefix: /a.b}", "{safe_regex: {regex: \"/a\\\\.b.*|/c\"}}", All),
        ("{}", "{connect_matcher: {}}", None),
        ("{methods: [CONNECT]}", "{connect_matcher: {}}", Unclear),
        ("{}", "{prefix: /, query_parameters: [{name: a}]}", Some),
        ("{}", "{prefix: /, query_parameters: []}", All),
        ("{}", "{prefix: /, grpc: {}}", Unclear),
        ("{}", "{prefix: /, cookies: [{name: a}]}", Some),
        ("{}", "{prefix: /, runtime_fraction: {}}", Unclear),
        ("{}", "{prefix: /, something_new: 5}", Unclear),
    ];
    for (own, matches, expected) in rows {
        assert_eq!(taken(own, matches, Option::None), expected, "{own} {matches}");
    }
}

#[test]
fn headers_are_compared_as_envoy_compares_them() {
    let name = "name: X-Changeover-Cluster";
    // The condition, then what it is with the header `blue` and without.
    let rows = [
        ("present_match: true", All, None),
        ("present_match: false", None, All),
        ("present_match: true, invert_match: true", None, All),
        ("{}", All, None),
        ("exact_match: blue", All, None),
        ("exact_match: green", None, None),
        ("exact_match: green, invert_match: true", All, None),
        ("exact_match: green, invert_match: true, treat_missing_header_as_empty: true", All, All),
        ("string_match: {exact: BLUE}", None, None),
        ("string_match: {exact: BLUE, ignore_case: true}", All, None),
        ("prefix_match: bl", All, None),
        ("string_match: {prefix: gr}", None, None),
        ("suffix_match: ue", All, None),
        ("contains_match: lu", All, None),
        ("safe_regex_match: {regex: blue}", All, None),
        ("string_match: {safe_regex: {regex: .*}}", All, None),
        ("string_match: {safe_regex: {regex: \"b+\"}}", Unclear, None),
        ("range_match: {start: 1, end: 5}", None, None),
        ("range_match: {start: 1, end: 5}, invert_match: true", All, None),
        // Envoy takes a missing header for an empty one, which is there.
        ("present_match: true, treat_missing_header_as_empty: true", All, All),
        ("present_match: false, treat_missing_header_as_empty: true", None, None),
        ("present_match: true, invert_match: true, treat_missing_header_as_empty: true", None, None),
        ("treat_missing_header_as_empty: true", All, All),
        ("safe_regex_match: {regex: blue|green}", All, None),
        ("safe_regex_match: {regex: (gr.*|black)}", None, None),
    ];
    for (condition, with, without) in rows {
        let condition = if condition == "{}" { "" } else { condition };
        let matches = format!("{{prefix: /, headers: [{{{name}, {condition}}}]}}");
        let found = [Option::Some("blue"), Option::None].map(|cluster| taken("{}", &matches, cluster));
        assert_eq!(found, [with, without], "{condition}");
    }
    let rows = [
        ("{}", "name: ':method', exact_match: GET", Some),
        ("{}", "name: ':method', present_match: true", All),
        ("{}", "name: ':method', safe_regex_match: {regex: .*}", All),
        ("{methods: [PUT]}", "name: ':method', safe_regex_match: {regex: POST|PUT}", All),
        ("{}", "name: x-forwarded-proto, present_match: true", All),
        ("{}", "name: x-forwarded-proto, exact_match: https", Unclear),
        ("{headers: [{name: x-a, present: true}, {name: x-a, exact: b}]}", "name: x-a, exact_match: b", All),
        (
            "{headers: [{name: x-a, present: false}]}",
            "name: x-a, present_match: true, treat_missing_header_as_empty: true",
            All,
        ),
        ("{methods: [POST]}", "name: ':method', exact_match: POST", All),
        ("{methods: [POST]}", "name: ':method', exact_match: GET", None),
        ("{methods: [POST, GET]}", "name: ':method', exact_match: GET", Some),
        ("{}", "name: x-a, exact_match: b", Some),
        ("{headers: [{name: x-a, exact: b}]}", "name: X-A, exact_match: b", All),
        ("{headers: [{name: x-a, exact: b}]}", "name: x-a, exact_match: c", None),
        ("{headers: [{name: x-a, present: false}]}", "name: x-a, present_match: true", None),
        ("{headers: [{name: x-a, prefix: b}]}", "name: x-a, present_match: true", All),
        ("{headers: [{name: x-a, prefix: b}]}", "name: x-a, exact_match: b", Some),
        ("{headers: [{name: x-a, prefix: b}]}", "name: x-a, exact_match: c", None),
        ("{headers: [{name: x-a, prefix: b}]}", "name: x-a, exact_match: c, invert_match: true", All),
        ("{headers: [{name: x-a, prefix: b-}]}", "name: x-a, string_match: {prefix: b-}", All),
        (
            "{headers: [{name: x-a, prefix: b-}]}",
            "name: x-a, string_match: {prefix: B, ignore_case: true}",
            All,
        ),
        ("{headers: [{name: x-a, prefix: b}]}", "name: x-a, string_match: {prefix: b-}", Some),
        ("{headers: [{name: x-a, prefix: b-}]}", "name: x-a, prefix_match: c", None),
        ("{headers: [{name: x-a, prefix: b-}]}", "name: x-a, prefix_match: b, invert_match: true", None),
        ("{headers: [{name: x-a, prefix: b-c}]}", "name: x-a, contains_match: '-'", All),
        ("{headers: [{name: x-a, prefix: b}]}", "name: x-a, suffix_match: b", Some),
        ("{}", "name: ':authority', exact_match: b", Unclear),
        ("{}", "name: x-changeover-shadow, present_match: true", None),
        ("{}", "name: x-changeover-mirror, present_match: true", None),
        ("{}", "name: x-changeover-mirror, present_match: false", All),
    ];
    for (own, condition, expected) in rows {
        let matches = format!("{{prefix: /, headers: [{{{condition}}}]}}");
        assert_eq!(taken(own, &matches, Option::None), expected, "{own} {condition}");
    }
}

#[test]
fn parameters_are_compared_like_headers() {
    let own = "{query: [{name: canary, exact: '1'}]}";
    let rows = [
        (own, "name: canary, string_match: {exact: '1'}", All),
        (own, "name: canary, present_match: true", All),
        (own, "name: canary", All),
        (own, "name: canary, string_match: {exact: '2'}", None),
        (own, "name: Canary, string_match: {exact: '1'}", Some),
        ("{query: [{name: canary, prefix: a}]}", "name: canary, string_match: {prefix: a}", All),
        ("{query: [{name: canary, present: false}]}", "name: canary, present_match: true", None),
        ("{query: [{name: canary, exact: a b}]}", "name: canary, string_match: {exact: a b}", Unclear),
        ("{}", "name: canary, string_match: {exact: '1'}", Some),
    ];
    for (own, condition, expected) in rows {
        let matches = format!("{{prefix: /, query_parameters: [{{{condition}}}]}}");
        assert_eq!(taken(own, &matches, Option::None), expected, "{own} {condition}");
    }
}
