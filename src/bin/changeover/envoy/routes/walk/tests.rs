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
    check(&rollout, (&routes, &Hosts::of(&routes)), &Node::document("f", &entry), &mut findings);
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
            vec!["[0].routes[0]: could not tell whether this route obeys".into()],
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
            vec!["[0].routes[1].route: could not tell whether".into()],
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
