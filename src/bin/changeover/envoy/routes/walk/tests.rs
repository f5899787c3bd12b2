use super::super::hosts::Stripped;
use super::*;
use crate::yaml;

const CHOSEN: &str = "{match: {prefix: /, headers: [{name: x-changeover-cluster, present_match: true}]}, route: {cluster_header: x-changeover-cluster}}";
const ORDINARY: &str = "{match: {prefix: /}, route: {cluster: b}}";

/// What is said of a rollout with this `match` in front of these routes, without places; and whether it fails.
fn said(own: &str, routes: &[&str]) -> (Vec<String>, bool) {
    let hosts = format!("[{{name: h, domains: ['*'], routes: [{}]}}]", routes.join(", "));
    said_of_hosts(own, &hosts)
}

fn said_of_hosts(own: &str, hosts: &str) -> (Vec<String>, bool) {
    let rollout = format!(
        "{{name: r, match: {own}, versions: {{blue: {{cluster: b}}, green: {{cluster: g}}}}, stable: blue, candidate: green}}"
    );
    let rollout = serde_json::from_value(yaml::read(&rollout).expect("YAML").remove(0)).expect("a rollout");
    let routes = yaml::read(&format!("virtual_hosts: {hosts}")).expect("YAML").remove(0);
    let mut findings = Findings::default();
    let entry = serde_json::json!({"name": "changeover"});
    let routes = Node::document("f", &routes);
    let hosts = Hosts::of(&routes, Stripped::None);
    check((&rollout, &[]), (&routes, &hosts), &Node::document("f", &entry), &mut findings);
    let lines = findings.lines.iter().map(|line| line.trim_start_matches("f: virtual_hosts").to_owned());
    (lines.collect(), findings.bad)
}

/// Each row: the rollout's `match`, the routes, and where and how each finding begins.
#[test]
fn routes_are_walked_in_their_order() {
    let header = |condition: &str, action: &str| {
        format!(
            "{{match: {{prefix: /, headers: [{{name: x-changeover-cluster, {condition}}}]}}, route: {{{action}}}}}"
        )
    };
    let chosen = |path: &str| CHOSEN.replace("prefix: /,", &format!("{path},"));
    let ordinary = |path: &str| ORDINARY.replace("prefix: /", path);
    let by_header = "cluster_header: x-changeover-cluster";
    let inverted = header("present_match: true, invert_match: true", by_header);
    let exact = header("exact_match: b", by_header);
    let to_blue = header("exact_match: b", "cluster: b");
    let to_green = header("string_match: {exact: g}", "cluster: g");
    let to_wrong = header("exact_match: g", "cluster: b");
    let renamed =
        |version: &str| header(&format!("exact_match: {version}"), &format!("cluster: rule/{version}"));
    let end = "requests of rollout \"r\" for version \"green\" end here";
    let parameter = "query_parameters: [{name: canary, string_match: {exact: '1'}}]";
    let by_method = |method: &str| {
        CHOSEN.replace(
            "headers: [",
            &format!("headers: [{{name: ':method', string_match: {{exact: {method}}}}}, "),
        )
    };
    let unclear = "could not tell whether this route";
    let rows: Vec<(&str, Vec<String>, Vec<String>)> = vec![
        ("{}", vec![CHOSEN.into(), ORDINARY.into()], vec![]),
        ("{}", vec![ORDINARY.into(), CHOSEN.into()], vec![format!("[0].routes[0]: {end}")]),
        ("{}", vec![chosen("prefix: /other"), ORDINARY.into()], vec![format!("[0].routes[1]: {end}")]),
        (
            "{prefix: /a}",
            vec![chosen("prefix: /other"), ORDINARY.into()],
            vec![format!("[0].routes[1]: {end}")],
        ),
        // By method.
        ("{methods: [POST, GET]}", vec![by_method("POST"), by_method("GET"), ORDINARY.into()], vec![]),
        (
            "{methods: [POST, GET]}",
            vec![by_method("GET"), ORDINARY.into()],
            vec![format!("[0].routes[1]: {end}")],
        ),
        // A path apart from those below it.
        (
            "{path_separated_prefix: /a}",
            vec![chosen("path: /a"), chosen("prefix: /a/"), ORDINARY.into()],
            vec![],
        ),
        (
            "{path_separated_prefix: /a}",
            vec![chosen("prefix: /a/"), ORDINARY.into()],
            vec![format!("[0].routes[1]: {end}")],
        ),
        (
            "{path_separated_prefix: /a}",
            vec![chosen("prefix: /a/"), ordinary("prefix: /a/")],
            vec![
                "[0]: warning: no route takes requests for exactly \"/a\" of rollout \"r\": they get 404"
                    .into(),
            ],
        ),
        (
            "{path_separated_prefix: /a}",
            vec![chosen("prefix: /a/"), ordinary("path_separated_prefix: /a")],
            vec![format!("[0].routes[1]: {end}")],
        ),
        (
            "{path_separated_prefix: /a}",
            vec![chosen("path: /b"), ordinary("path: /b")],
            vec![
                "[0]: no route obeys the filter for rollout \"r\", version \"blue\"".into(),
                "[0]: no route obeys the filter for rollout \"r\", version \"green\"".into(),
                "[0]: no ordinary route for rollout \"r\"".into(),
            ],
        ),
        (
            "{path_separated_prefix: /a, methods: [POST, GET]}",
            vec![
                by_method("POST"),
                by_method("POST")
                    .replace("cluster_header: x-changeover-cluster", "cluster: b")
                    .replace(", {name: x-changeover-cluster, present_match: true}", ""),
            ],
            vec![
                "[0]: warning: no route takes GET requests for exactly \"/a\" of rollout \"r\"".into(),
                "[0]: warning: no route takes GET requests for what begins with \"/a/\" of rollout \"r\""
                    .into(),
            ],
        ),
        // By a parameter, by a header's prefix, by gRPC.
        (
            "{query: [{name: canary, exact: '1'}]}",
            vec![chosen(&format!("prefix: /, {parameter}")), ORDINARY.into()],
            vec![],
        ),
        (
            "{query: [{name: canary, exact: '1'}]}",
            vec![ordinary(&format!("prefix: /, {parameter}")), CHOSEN.into(), ORDINARY.into()],
            vec![format!("[0].routes[0]: {end}")],
        ),
        (
            "{headers: [{name: x-team, prefix: ml-}]}",
            vec![
                CHOSEN.replace("headers: [", "headers: [{name: x-team, string_match: {prefix: ml-}}, "),
                ORDINARY.into(),
            ],
            vec![],
        ),
        (
            "{prefix: /inference.GRPCInferenceService}",
            vec![chosen("prefix: /inference.GRPCInferenceService, grpc: {}"), ORDINARY.into()],
            vec![format!("[0].routes[0]: {unclear}")],
        ),
        (
            "{}",
            vec![
                CHOSEN.replace(
                    by_header,
                    "weighted_clusters: {clusters: [{cluster_header: x-changeover-cluster, weight: 100}]}",
                ),
                ORDINARY.into(),
            ],
            vec![],
        ),
        ("{}", vec![exact, ORDINARY.into()], vec![format!("[0].routes[1]: {end}")]),
        (
            "{}",
            vec![inverted, ORDINARY.into()],
            vec![
                format!("[0].routes[1]: {end}"),
                "[0].routes[0].route: the ordinary route leads elsewhere".into(),
            ],
        ),
        ("{}", vec![to_blue.clone(), to_green, ORDINARY.into()], vec![]),
        ("{}", vec![to_blue, ORDINARY.into()], vec![format!("[0].routes[1]: {end}")]),
        ("{}", vec![to_wrong, ORDINARY.into()], vec![format!("[0].routes[0]: {end}")]),
        // Clusters that Envoy knows by other names.
        (
            "{}",
            vec![renamed("b"), renamed("g"), ordinary("prefix: /").replace("cluster: b", "cluster: rule/2")],
            vec![
                "[0].routes[0]: could not tell whether this route obeys".into(),
                "[0].routes[1]: could not tell whether this route obeys".into(),
                "[0].routes[2].route: could not tell whether this route leads to stable's cluster \"b\""
                    .into(),
            ],
        ),
        (
            "{prefix: /a}",
            ["b", "g"]
                .map(|version| renamed(version).replace("prefix: /", "path_separated_prefix: /a"))
                .into_iter()
                .chain([ordinary("path_separated_prefix: /a").replace("cluster: b", "cluster: rule/2")])
                .collect(),
            vec![],
        ),
        (
            "{prefix: /v2/models/}",
            vec![CHOSEN.into(), ordinary("safe_regex: {regex: /v2/models/.*}")],
            vec![],
        ),
        (
            "{prefix: /v2/models/}",
            vec![CHOSEN.into(), ordinary("safe_regex: {regex: '/v[0-9]/.*'}")],
            vec![format!("[0].routes[1]: {unclear}")],
        ),
        (
            "{methods: [POST]}",
            vec![CHOSEN.into(), ordinary("prefix: /, headers: [{name: ':method', exact_match: POST}]")],
            vec![],
        ),
        ("{path: /a}", vec![CHOSEN.into(), ordinary("path: /a")], vec![]),
        ("{prefix: /a}", vec![CHOSEN.into(), ordinary("path: /a"), ordinary("prefix: /a/")], vec![]),
        ("{prefix: /v2}", vec![CHOSEN.into(), ordinary("prefix: /V2, case_sensitive: false")], vec![]),
        ("{}", vec![CHOSEN.into()], vec!["[0]: no ordinary route for rollout \"r\"".into()]),
        (
            "{}",
            vec![CHOSEN.into(), ORDINARY.replace("cluster: b", "cluster: g")],
            vec!["[0].routes[1].route: warning: the ordinary route leads to \"g\"".into()],
        ),
        (
            "{}",
            vec![CHOSEN.into(), ORDINARY.replace("route: {cluster: b}", "redirect: {}")],
            vec!["[0].routes[1]: the ordinary route leads elsewhere".into()],
        ),
        (
            "{}",
            vec![
                CHOSEN.into(),
                ORDINARY.replace("cluster: b", "weighted_clusters: {clusters: [{name: b}, {name: g}]}"),
            ],
            vec!["[0].routes[1].route: warning: a share of the ordinary route leads to \"g\"".into()],
        ),
        (
            "{}",
            vec![CHOSEN.into(), ORDINARY.replace("cluster: b", "weighted_clusters: {clusters: [{name: b}]}")],
            vec![],
        ),
        (
            "{}",
            vec![ordinary("prefix: /, runtime_fraction: {}"), CHOSEN.into(), ORDINARY.into()],
            vec![format!("[0].routes[0]: {unclear}")],
        ),
        (
            "{}",
            vec![
                "{match: {prefix: /health}, direct_response: {status: 200}}".into(),
                CHOSEN.into(),
                ORDINARY.into(),
            ],
            vec!["[0].routes[0]: warning: it takes some of the requests".into()],
        ),
        (
            "{}",
            vec![CHOSEN.into(), "{match: {prefix: /a}, route: {cluster: c}}".into(), ORDINARY.into()],
            vec!["[0].routes[1].route: warning: without the filter some of the requests".into()],
        ),
    ];
    for (own, routes, expected) in rows {
        let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
        let (lines, bad) = said(own, &routes);
        assert_eq!(lines.len(), expected.len(), "{own} {routes:?}: {lines:#?}");
        for (line, expected) in lines.iter().zip(&expected) {
            assert!(line.starts_with(expected), "{own} {routes:?}: {line}");
        }
        let fails = expected.iter().any(|line| !line.contains("warning") && !line.contains("could not tell"));
        assert_eq!(bad, fails, "{lines:?}");
    }
}

/// Requests that are copied have a route of their own, in either order.
#[test]
fn copied_requests_are_walked_apart() {
    let with = |present: bool| {
        CHOSEN.replace("true}]", &format!("true}}, {{name: x-changeover-mirror, present_match: {present}}}]"))
    };
    let mirrored = "{}, mirror: {to: green}";
    assert_eq!(said(mirrored, &[&with(true), &with(false), ORDINARY]), (vec![], false));
    assert_eq!(said(mirrored, &[&with(false), &with(true), ORDINARY]), (vec![], false));
    let (lines, bad) = said(mirrored, &[&with(false), ORDINARY]);
    assert!(
        bad && lines[0].starts_with("[0].routes[1]: requests of rollout \"r\" for version \"green\""),
        "{lines:?}"
    );
    assert_eq!(said("{}", &[&with(false), ORDINARY]), (vec![], false));
}

#[test]
fn the_virtual_host_that_envoy_chooses_is_walked() {
    let ours = format!("{{name: ours, domains: ['*'], routes: [{CHOSEN}, {ORDINARY}]}}");
    let before = format!("{{name: before, domains: [m.example.com], routes: [{ORDINARY}]}}");
    let named = "{authority: [m.example.com]}";
    let (lines, bad) = said_of_hosts(named, &format!("[{before}, {ours}]"));
    assert!(
        bad && lines[0]
            .starts_with("[0].routes[0]: requests of rollout \"r\" for version \"green\" end here"),
        "{lines:?}"
    );
    let elsewhere = before.replace("m.example.com", "n.example.com");
    assert_eq!(said_of_hosts(named, &format!("[{elsewhere}, {ours}]")), (vec![], false));
    let (lines, bad) = said_of_hosts("{}", &format!("[{before}, {ours}]"));
    assert!(
        !bad && lines.len() == 1 && lines[0].starts_with("[0]: warning: none of its routes obeys"),
        "{lines:?}"
    );
    let (lines, bad) = said_of_hosts(named, &format!("[{elsewhere}]"));
    assert!(!bad && lines[0].contains("no virtual host takes requests"), "{lines:?}");
}

const METHOD: &str = "{name: ':method', string_match: {exact: GET}";
const OFF: &str = ", typed_per_filter_config: {changeover: {disabled: true}}}";

/// A route that obeys, or an ordinary one, for a path and under more conditions on headers.
fn chosen(path: &str, headers: &str) -> String {
    CHOSEN.replace("prefix: /,", &format!("{path},")).replace("headers: [", &format!("headers: [{headers}"))
}

fn ordinary(path: &str, headers: &str) -> String {
    ORDINARY.replace("prefix: /", &format!("{path}, headers: [{headers}]"))
}

/// Each row: the rollout's `match`, the routes, whether it fails, and what the first finding has (nothing: none).
#[test]
fn routes_that_take_a_part_each_are_added_up() {
    let off = |route: String| route.strip_suffix('}').expect("a route").to_owned() + OFF;
    let not = format!("{METHOD}, invert_match: true}}");
    let get = format!("{METHOD}}}");
    let present = |is_there: bool| format!("{{name: x-a, present_match: {is_there}}}, ");
    let content =
        |more: &str| format!("{{name: content-type, string_match: {{exact: application/json}}{more}}}, ");
    let others = content(", invert_match: true, treat_missing_header_as_empty: true");
    let weighted = |clusters: &str| format!("weighted_clusters: {{clusters: [{clusters}]}}");
    let by = |route: &str, clusters: &str| {
        let target = if route == CHOSEN { "cluster_header: x-changeover-cluster" } else { "cluster: b" };
        route.replace(target, &weighted(clusters))
    };
    let retried = |route: String| route.replace("route: {", "route: {retry_policy: {retry_on: 5xx}, ");
    let plain = || ORDINARY.to_owned();
    let exact = |version: &str| {
        CHOSEN.replace("present_match: true", &format!("exact_match: {version}")).replace(
            "cluster_header: x-changeover-cluster",
            &weighted(&format!("{{name: {version}, weight: 1}}")),
        )
    };
    let specified = ORDINARY.replace("cluster: b", "inline_cluster_specifier_plugin: {}");
    let missing =
        CHOSEN.replace("present_match: true", "present_match: true, treat_missing_header_as_empty: true");
    let rows: Vec<(&str, Vec<String>, bool, &str)> = vec![
        // All that is obeyed.
        (
            "{}",
            vec![chosen("prefix: /", &format!("{get}, ")), chosen("prefix: /", &format!("{not}, ")), plain()],
            false,
            "",
        ),
        (
            "{}",
            vec![chosen("prefix: /", &present(true)), chosen("prefix: /", &present(false)), plain()],
            false,
            "",
        ),
        ("{}", vec![chosen("prefix: /", &content("")), chosen("prefix: /", &others), plain()], false, ""),
        ("{prefix: /a}", vec![chosen("path: /a", ""), chosen("prefix: /a", ""), plain()], false, ""),
        ("{}", vec![chosen("prefix: /", &format!("{get}, ")), plain()], true, "end here"),
        ("{}", vec![chosen("prefix: /", &present(true)), plain()], true, "end here"),
        // Where the filter is off.
        (
            "{prefix: /a}",
            vec![CHOSEN.into(), off(ordinary("path: /a", "")), off(ordinary("prefix: /a/", ""))],
            true,
            "is disabled here",
        ),
        (
            "{}",
            vec![CHOSEN.into(), off(ordinary("prefix: /", &get)), off(ordinary("prefix: /", &not))],
            true,
            "is disabled here",
        ),
        (
            "{}",
            vec![CHOSEN.into(), off(ordinary("prefix: /v1", "")), plain()],
            false,
            "warning: the filter (changeover) is disabled here",
        ),
        (
            "{}",
            vec![
                CHOSEN.into(),
                by(ORDINARY, "{name: b, weight: 1, typed_per_filter_config: {changeover: {disabled: true}}}"),
            ],
            true,
            "is disabled here",
        ),
        // By weight.
        (
            "{}",
            vec![CHOSEN.into(), by(ORDINARY, "{name: g, weight: 50}, {name: b, weight: 50}")],
            false,
            "warning: a share of the ordinary route leads to \"g\"",
        ),
        (
            "{}",
            vec![CHOSEN.into(), by(ORDINARY, "{name: g, weight: 100}, {name: b, weight: 0}")],
            false,
            "warning: the ordinary route leads to \"g\"",
        ),
        ("{}", vec![CHOSEN.into(), by(ORDINARY, "{name: b, weight: 100}, {name: g, weight: 0}")], false, ""),
        (
            "{}",
            vec![CHOSEN.into(), by(ORDINARY, "{name: b, weight: 9}, {name: c, weight: 1}")],
            true,
            "a share of the ordinary route leads to \"c\"",
        ),
        (
            "{}",
            vec![
                by(CHOSEN, "{name: b, weight: 99}, {cluster_header: x-changeover-cluster, weight: 1}"),
                plain(),
            ],
            true,
            "some of the requests",
        ),
        ("{}", vec![exact("g"), exact("b"), plain()], false, ""),
        ("{}", vec![specified], false, "could not tell"),
        ("{}", vec![missing, plain()], true, "the ordinary route leads elsewhere"),
        // All that goes elsewhere without the filter.
        (
            "{prefix: /a}",
            vec![
                CHOSEN.into(),
                ordinary("path: /a", "").replace("cluster: b", "cluster: c"),
                ordinary("prefix: /a/", "").replace("cluster: b", "cluster: c"),
            ],
            true,
            "the ordinary route leads to \"c\"",
        ),
        // Settings.
        (
            "{}",
            vec![CHOSEN.into(), retried(ordinary("prefix: /", &get)), retried(ordinary("prefix: /", &not))],
            false,
            "has `retry_policy`",
        ),
        ("{}", vec![CHOSEN.into(), retried(ordinary("path: /a", "")), plain()], false, "has `retry_policy`"),
        (
            "{}",
            vec![
                exact("b").replace("route: {", "route: {retry_policy: {retry_on: 5xx}, "),
                exact("g"),
                retried(plain()),
            ],
            false,
            "has `retry_policy`",
        ),
        (
            "{}",
            vec![
                CHOSEN.into(),
                plain().replace("cluster: b", "cluster: b, request_mirror_policies: [{cluster: g}]"),
            ],
            false,
            "has `request_mirror_policies`",
        ),
        (
            "{}",
            vec![CHOSEN.into(), by(ORDINARY, "{name: b, weight: 1, host_rewrite_literal: z}")],
            false,
            "has `host_rewrite_literal`",
        ),
        (
            "{}",
            vec![
                CHOSEN.into(),
                plain().replace("cluster: b", "cluster: b, priority: DEFAULT, auto_host_rewrite: false"),
            ],
            false,
            "",
        ),
    ];
    for (own, routes, fails, told) in rows {
        let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
        let (lines, bad) = said(own, &routes);
        assert_eq!(bad, fails, "{own} {routes:#?}: {lines:#?}");
        if told.is_empty() {
            assert_eq!(lines, [""; 0], "{own} {routes:#?}");
        } else {
            assert!(lines.first().is_some_and(|line| line.contains(told)), "{own} {routes:#?}: {lines:#?}");
        }
    }
}

#[test]
fn virtual_hosts_are_chosen_for_names_with_a_port() {
    let obeying =
        |domain: &str| format!("{{name: o, domains: ['{domain}'], routes: [{CHOSEN}, {ORDINARY}]}}");
    let plain = |domain: &str| format!("{{name: p, domains: ['{domain}'], routes: [{ORDINARY}]}}");
    let named = "{authority: [m.example.com]}";
    for domain in ["m.example.com:*", "*.example.com:8080", "m.example.com:8080", "m.example.com:80*"] {
        let (lines, bad) = said_of_hosts(named, &format!("[{}, {}]", plain(domain), obeying("*")));
        assert!(bad, "{domain}: {lines:?}");
    }
    let (lines, bad) = said_of_hosts(named, &format!("[{}, {}]", obeying("m.example.com"), plain("*")));
    assert!(!bad && lines.len() == 1 && lines[0].contains("whose host has a port"), "{lines:?}");
    let hosts = format!("[{}, {}]", obeying("m.example.com"), obeying("*"));
    assert_eq!(said_of_hosts(named, &hosts), (vec![], false));
}
