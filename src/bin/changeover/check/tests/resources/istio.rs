//! Resources for Istio.

use super::*;

/// Each row: what is replaced in the shipped file, by what, what the one kind of finding has in it, and whether it fails.
#[test]
fn resources_that_cannot_work_in_istio_are_complained_about() {
    const REMOVAL: &str = "  - applyTo: NETWORK_FILTER\n    match:\n      context: GATEWAY";
    const ROUTE: &str = "        match:\n          prefix: /\n          headers:\n          - {name: x-changeover-cluster, present_match: true}\n          - {name: x-changeover-mirror, present_match: false}";
    const NAMED: &str = "  - name: recommender\n    route:";
    const BLUE: &str = "outbound|8080||recommender-blue.models.svc.cluster.local";
    const FILTER: &str = "kind: EnvoyFilter\nmetadata:\n  name: changeover\n  namespace: istio-system\nspec:\n  workloadSelector:\n    labels: {istio: ingressgateway}";
    const DESTINATION: &str = "{host: recommender-blue.models.svc.cluster.local, port: {number: 8080}}";
    let before = |match_: &str, host: &str| {
        format!(
            "  - name: before\n    match: [{match_}]\n    route: [{{destination: {{host: {host}}}}}]\n{NAMED}"
        )
    };
    let kept = "a client's own x-changeover-cluster is not removed";
    let rows = [
        (BLUE, "recommender-blue", "Istio has no cluster of such a name", true),
        (BLUE, "outbound|8080|recommender-blue", "Istio has no cluster of such a name", true),
        (BLUE, "outbound|http||recommender-blue", "Istio has no cluster of such a name", true),
        (REMOVAL, &REMOVAL.replace("NETWORK_FILTER", "HTTP_FILTER"), kept, true),
        (REMOVAL, &REMOVAL.replace("GATEWAY", "SIDECAR_INBOUND"), kept, true),
        (REMOVAL, &REMOVAL.replace("GATEWAY", "SIDECAR_OUTBOUND"), kept, true),
        ("operation: MERGE", "operation: REMOVE", kept, true),
        ("filter: {name: envoy.filters.network.http_", "filter: {name: other_", kept, true),
        ("  type: HTTP\n", "  type: NETWORK\n", "type is NETWORK", true),
        (
            FILTER,
            &FILTER.replace("istio-system", "other"),
            "warning: it applies to namespace \"other\" alone",
            false,
        ),
        (
            FILTER,
            &FILTER.replace("ingressgateway", "another"),
            "warning: its workloadSelector asks for the label istio",
            false,
        ),
        (
            FILTER,
            &FILTER.replace(
                "workloadSelector:\n    labels: {istio: ingressgateway}",
                "targetRefs: [{kind: Gateway, name: models}]",
            ),
            "could not tell whether it applies to the proxies of the filter",
            false,
        ),
        (
            ROUTE,
            &ROUTE.replace("prefix: /", "prefix: /v2/models/recommender/a"),
            "warning: the route takes only some of the requests",
            false,
        ),
        (
            ROUTE,
            &format!("{ROUTE}\n          - {{name: \":method\", exact_match: GET}}"),
            "those with {\"headers\":[",
            false,
        ),
        (
            DESTINATION,
            &DESTINATION.replace("port: {number: 8080}", "subset: green"),
            "leads to \"recommender-blue.models.svc.cluster.local\", subset \"green\"",
            true,
        ),
        (DESTINATION, &DESTINATION.replace("8080", "9999"), "port 9999, not to a stable version", true),
        (NAMED, &before("{uri: {prefix: /v2}}", "other"), "the ordinary route leads to \"other\"", true),
        (
            NAMED,
            &before("{uri: {exact: /v2/models/recommender/ready}}", "other"),
            "warning: without the filter some of the requests",
            false,
        ),
        (NAMED, &before("{uri: {prefix: /v2}, sourceLabels: {a: b}}", "other"), "", false),
        (NAMED, &before("{uri: {prefix: /v3}}", "other"), "", false),
        (NAMED, &before("{uri: {prefix: /v2}}", "recommender-blue"), "", false),
        (
            "  hosts: [models.",
            "  hosts: [other.",
            "warning: the patches are for the hosts of this VirtualService",
            false,
        ),
        ("      release: \"2026", "      # \n      release: \"2026", "", false),
    ];
    for (from, to, expected, fails) in rows {
        let (lines, bad) = changed(ISTIO, from, to);
        let (told, others): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.contains(expected));
        assert!(expected.is_empty() || !told.is_empty(), "{to}: {lines:#?}");
        assert!(others.iter().all(|line| line.contains("is not removed")), "{to}: {others:#?}");
        assert_eq!(bad, fails, "{to}: {lines:#?}");
        assert!(!expected.is_empty() || lines.is_empty(), "{to}: {lines:#?}");
    }
}

/// In a client's sidecar.
#[test]
fn short_names_of_a_service_are_the_same() {
    const NAMES: [&str; 3] = ["models", "models.a", "models.a.svc.cluster.local"];
    for (host, authority) in
        NAMES.iter().flat_map(|host| NAMES.iter().map(move |authority| (host, authority)))
    {
        let named = ISTIO
            .replace("authority: [models.example.com]", &format!("authority: [{authority}]"))
            .replace("hosts: [models.example.com]", &format!("hosts: [{host}]"));
        assert_eq!(complaints(&[&named]), [""; 0], "{host}, {authority}");
    }
}

#[test]
fn subsets_are_compared_with_those_of_the_clusters() {
    let subsets =
        ISTIO.replace("||recommender-", "|").replace(".models.svc.cluster.local}\n      s", "}\n      s");
    let subsets = subsets
        .replace("outbound|8080|blue.models", "outbound|8080|blue|recommender.models")
        .replace("outbound|8080|green.models", "outbound|8080|green|recommender.models")
        .replace("outbound|8080|green}", "outbound|8080|green|recommender.models.svc.cluster.local}");
    let with = |fields: &str| {
        subsets.replace(
            "{host: recommender-blue.models.svc.cluster.local,",
            &format!("{{host: recommender.models.svc.cluster.local{fields},"),
        )
    };
    assert_eq!(complaints(&[&with(", subset: blue")]), [""; 0]);
    let said = complaints(&[&with(", subset: green")]);
    assert!(said.len() == 1 && said[0].contains("subset \"green\", port 8080, a candidate"), "{said:#?}");
    let said = complaints(&[&with("")]);
    assert!(said.len() == 1 && said[0].contains("not to a stable version"), "{said:#?}");
}

/// A cluster can come by a patch or by the bootstrap.
#[test]
fn clusters_that_resources_add_are_known() {
    let posting = ISTIO
        .replace("    rollouts:\n", "    notify: [{name: ops, cluster: hook, path: /}]\n    rollouts:\n");
    let said = complaints(&[&posting]);
    assert!(
        said.len() == 1 && said[0].contains("`cluster` of notify \"ops\" is \"hook\", and Istio has no"),
        "{said:#?}"
    );
    let cluster = serde_json::json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": {"name": "hook"},
        "spec": {"configPatches": [{"applyTo": "CLUSTER", "patch": {"operation": "ADD", "value": {"name": "hook"}}}]},
    });
    assert_eq!(complaints(&[&posting, &cluster.to_string()]), [""; 0]);
    let bootstrap =
        "custom_bootstrap.json: |                    # the key is fixed; the agent takes YAML, too\n";
    let clusters = "    static_resources: {clusters: [{name: hook}]}\n";
    assert!(posting.contains(bootstrap));
    assert_eq!(complaints(&[&posting.replace(bootstrap, &format!("{bootstrap}{clusters}"))]), [""; 0]);
}

#[test]
fn a_path_apart_from_those_below_it_may_have_no_route_that_obeys() {
    let separated =
        ISTIO.replace("prefix: /v2/models/recommender}", "path_separated_prefix: /v2/models/recommender}");
    let below = "          prefix: /v2/models/recommender/\n          headers:\n";
    let (lines, bad) = changed(&separated, "          prefix: /\n          headers:\n", below);
    let expected = "warning: no patch adds a route that obeys the filter for requests for exactly \"/v2/models/recommender\" of rollout";
    assert!(!bad && lines.len() == 1 && lines[0].contains(expected), "{lines:#?}");
    let elsewhere = below.replace("recommender", "other");
    assert!(changed(&separated, "          prefix: /\n          headers:\n", &elsewhere).1);
}

#[test]
fn rollouts_for_all_hosts_may_have_a_virtual_service_each() {
    let document = |kind: &str| {
        ISTIO.split("\n---\n").find(|text| text.contains(&format!("\nkind: {kind}\n"))).expect("a document")
    };
    let other = |kind: &str| {
        document(kind).replace("recommender", "second").replace("name: models\n", "name: second\n")
    };
    let service = other("VirtualService").replace("models.example.com", "second.example.com");
    let patches = other("EnvoyFilter").replace("name: changeover\n", "name: second\n");
    let rollout = "    - {name: second, match: {prefix: /v2/models/second}, stable: blue, versions: {blue: {cluster:                    outbound|8080||second-blue.models.svc.cluster.local}}}\n";
    let both = ISTIO
        .replace("authority: [models.example.com], ", "")
        .replace("    rollouts:\n", &format!("    rollouts:\n{rollout}"));
    assert_ne!(both, ISTIO);
    let (lines, bad) = findings(&[&both, &service, &patches]);
    assert!(!bad, "{lines:#?}");
    let expected = "warning: requests of rollout \"recommender\", which is for all hosts, go to stable of rollout \"second\" here";
    assert!(lines.iter().any(|line| line.contains(expected)), "{lines:#?}");
    let elsewhere = service.replace("second-blue.models", "else.models");
    assert!(findings(&[&both, &elsewhere, &patches]).1);
}

/// The routes of the two patches, which obey.
const PLACE: &str = "routeConfiguration: {vhost: {route: {name: recommender}}}";

/// Each row: what is replaced, by what, a part of what is said, and whether it fails.
#[test]
fn patches_are_put_where_istio_puts_them() {
    const NAMED: &str = "  - name: recommender\n    route:";
    let above = "  - name: other\n    match: [{uri: {prefix: /v2}}]\n    route: [{destination: {host: recommender-blue.models.svc.cluster.local, \
                 port: {number: 8080}}}]\n";
    let before = |operation: &str, from: &str| {
        ISTIO.replace("operation: INSERT_FIRST", &format!("operation: {operation}")).replace(NAMED, from)
    };
    let at = |place: &str| ISTIO.replace(PLACE, &format!("routeConfiguration: {{{place}}}"));
    let patch = |target: &str, operation: &str, value: &str| {
        let patch = format!(
            "  - {{applyTo: {target}, match: {{context: GATEWAY, {PLACE}}}, patch: {{operation: {operation}, value: {value}}}}}\n"
        );
        // Behind the last one.
        ISTIO.replace("---\n# 4. Labels", &format!("{patch}---\n# 4. Labels"))
    };
    let to_blue =
        "{match: {prefix: /}, route: {cluster: outbound|8080||recommender-blue.models.svc.cluster.local}}";
    let direct = "{match: {prefix: /}, direct_response: {status: 200}}";
    let gateway = |protocol: &str| {
        format!(
            "{}\n---\n{{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {{name: models, namespace: istio-system}}, spec: \
             {{servers: [{{port: {{number: 80, name: a, protocol: {protocol}}}, hosts: ['*']}}]}}}}\n",
            at("portNumber: 443, vhost: {route: {name: recommender}}")
        )
    };
    let skipped = "Istio skips a patch that matches nothing";
    let rows = [
        (before("INSERT_BEFORE", NAMED), "", false),
        (before("INSERT_BEFORE", &format!("{above}{NAMED}")), "below the ordinary one (INSERT_BEFORE)", true),
        (before("INSERT_FIRST", &format!("{above}{NAMED}")), "", false),
        (before("INSERT_AFTER", NAMED), "below the ordinary one (INSERT_AFTER)", true),
        (patch("HTTP_ROUTE", "INSERT_FIRST", to_blue), "above the route that obeys the filter", true),
        (patch("HTTP_ROUTE", "INSERT_FIRST", direct), "above the route that obeys the filter", true),
        (patch("HTTP_ROUTE", "INSERT_FIRST", &to_blue.replace("prefix: /", "prefix: /v3")), "", false),
        (patch("HTTP_ROUTE", "ADD", to_blue), "", false),
        (patch("HTTP_ROUTE", "MERGE", "{route: {cluster: a}}"), "could not tell whether the ordinary route", false),
        (at("vhost: {name: 'other.example.com:80'}"), skipped, false),
        (at("vhost: {name: models.example.com}"), skipped, false),
        (at("vhost: {name: 'models.example.com:80'}"), "", false),
        (at("vhost: {route: {action: REDIRECT}}"), skipped, false),
        (at("vhost: {route: {action: ROUTE}}"), "", false),
        (at("gateway: istio-system/other, vhost: {route: {name: recommender}}"), skipped, false),
        (at("gateway: istio-system/models, vhost: {route: {name: recommender}}"), "", false),
        (gateway("HTTPS"), skipped, false),
        (gateway("HTTPS").replace("number: 80,", "number: 443,"), "", false),
        // One route for each version, of patches or of the VirtualService itself.
        (
            ISTIO
                .replace("{name: x-changeover-cluster, present_match: true}", "{name: x-changeover-cluster, exact_match: outbound|8080||recommender-green.models.svc.cluster.local}")
                .replace("cluster_header: x-changeover-cluster", "cluster: outbound|8080||recommender-green.models.svc.cluster.local"),
            "",
            false,
        ),
    ];
    for (text, expected, fails) in rows {
        let (found, bad) = findings(&[&text]);
        let told: Vec<&String> = found.iter().filter(|line| !line.contains(": valid: ")).collect();
        assert_eq!(bad, fails, "{expected}: {told:#?}");
        assert_eq!(told.is_empty(), expected.is_empty(), "{told:#?}");
        assert!(
            told.iter().all(|line| line.contains(expected) || line.contains("answers itself")),
            "{expected}: {told:#?}"
        );
    }
}

/// Where the patches are for every virtual host, Envoy still chooses one by its name.
#[test]
fn other_virtual_services_do_not_meet_the_rollouts_requests() {
    let everywhere = ISTIO.replace(&format!("{PLACE}\n"), "proxy: {}\n");
    assert_ne!(everywhere, ISTIO);
    let service = |host: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: shop}}, spec: {{hosts: ['{host}'], http: \
             [{{route: [{{destination: {{host: shop}}}}]}}]}}}}"
        )
    };
    for host in ["*.example.com", "*", "shop.example.com"] {
        assert_eq!(complaints(&[&everywhere, &service(host)]), [""; 0], "{host}");
    }
    let for_all = everywhere.replace("authority: [models.example.com], ", "");
    let (found, bad) = findings(&[&for_all, &service("shop.example.com")]);
    assert!(
        !bad && found.iter().any(|line| line.contains("which is for all hosts, go to \"shop\"")),
        "{found:#?}"
    );
}

/// The order in two `EnvoyFilter`s is known by their priorities only.
#[test]
fn of_two_envoy_filters_the_priority_counts() {
    let other = |priority: &str| {
        format!(
            "{ISTIO}\n---\n{{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {{name: z, namespace: istio-system}}, \
             spec: {{{priority}configPatches: [{{applyTo: HTTP_ROUTE, match: {{context: GATEWAY}}, patch: {{operation: INSERT_FIRST, value: \
             {{match: {{prefix: /}}, direct_response: {{status: 200}}}}}}}}]}}}}\n"
        )
    };
    let (found, bad) = findings(&[&other("")]);
    assert!(found.iter().any(|line| line.contains("could not tell whether it stands above")), "{found:#?}");
    assert!(bad, "{found:#?}"); // without the filter it answers in any case
    let (found, _) = findings(&[&other("priority: 5, ")]);
    assert!(found.iter().any(|line| line.contains("above the route that obeys the filter")), "{found:#?}");
    let (found, _) = findings(&[&other("priority: -5, ")]);
    assert!(!found.iter().any(|line| line.contains("above")), "{found:#?}");
}

#[test]
fn an_ordinary_route_that_forwards_nothing_is_an_error() {
    const ROUTE: &str = "    route:\n    - destination: {host: recommender-blue.models.svc.cluster.local, port: {number: 8080}}\n";
    for action in ["redirect: {uri: /x}", "directResponse: {status: 404}"] {
        let (lines, bad) = changed(ISTIO, ROUTE, &format!("    {action}\n"));
        assert!(bad && lines.len() == 1 && lines[0].contains("answers itself"), "{lines:#?}");
    }
    let (lines, bad) = changed(ISTIO, ROUTE, "    delegate: {name: other}\n");
    assert!(!bad && lines.iter().all(|line| line.contains("could not tell")), "{lines:#?}");
    // In front, and for other requests.
    let before = format!(
        "    match: [{{uri: {{prefix: /v3}}}}]\n    redirect: {{uri: /x}}\n  - name: recommender\n{ROUTE}"
    );
    assert_eq!(changed(ISTIO, ROUTE, &before), (vec![], false));
}

/// Each row: what the VirtualService sets, and what the patches' routes need to do the same.
#[test]
fn settings_that_patched_routes_lack_are_named() {
    const NAMED: &str = "  - name: recommender\n";
    const OWN: &str = "          timeout: 0s ";
    for (setting, own) in [
        ("rewrite: {uri: /}", "          prefix_rewrite: /\n          timeout: 0s "),
        ("rewrite: {authority: a}", "          host_rewrite_literal: a\n          timeout: 0s "),
        ("timeout: 1m", "          timeout: 60s "),
        ("retries: {attempts: 2}", "          retry_policy: {}\n          timeout: 0s "),
        (
            "headers: {request: {set: {a: b}}}",
            "        request_headers_to_add: [{header: {key: A, value: b}}]\n        route_: {",
        ),
        ("fault: {abort: {httpStatus: 500, percentage: {value: 1}}}", ""),
        ("corsPolicy: {allowOrigins: [{exact: a}]}", ""),
    ] {
        let with = ISTIO.replace(NAMED, &format!("{NAMED}    {setting}\n"));
        let (found, bad) = findings(&[&with]);
        let name = setting.split(':').next().expect("a name");
        assert!(
            !bad && found
                .iter()
                .any(|line| line.contains(&format!("warning: the ordinary route has `{name}"))),
            "{setting}: {found:#?}"
        );
        if own.ends_with("0s ") {
            assert_eq!(complaints(&[&with.replace(OWN, own)]), [""; 0], "{setting}");
        }
    }
    for nothing in
        ["retries: {attempts: 0}", "timeout: 0s", "headers: {response: {remove: [x-changeover-cluster]}}"]
    {
        assert_eq!(
            complaints(&[&ISTIO.replace(NAMED, &format!("{NAMED}    {nothing}\n"))]),
            [""; 0],
            "{nothing}"
        );
    }
}

#[test]
fn two_filters_for_the_same_proxies_are_an_error() {
    let plugin = ISTIO.split("\n---\n").next().expect("the plugin");
    let second = plugin.replace("  name: changeover\n", "  name: second\n").replace("recommender", "other");
    let second = second.replace("other-blue", "recommender-blue").replace("other-green", "recommender-green");
    let (found, bad) = findings(&[ISTIO, &second]);
    assert!(
        bad && found.iter().any(|line| line.contains("a second filter beside f0: WasmPlugin/changeover")),
        "{found:#?}"
    );
    let elsewhere = second.replace("{istio: ingressgateway}", "{istio: another}");
    let (found, _) = findings(&[ISTIO, &elsewhere]);
    assert!(!found.iter().any(|line| line.contains("a second filter")), "{found:#?}");
    let nothing = "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: changeover2, namespace: istio-system}\n\
                   spec: {selector: {matchLabels: {istio: ingressgateway}}, failStrategy: FAIL_OPEN, pluginConfig: {rollouts: []}}\n";
    assert_eq!(complaints(&[ISTIO, nothing]), [""; 0]);
}
