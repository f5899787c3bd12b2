//! Resources for Envoy Gateway.

use super::*;

const ORDINARY: &str = "  - matches:\n    - path: {type: PathPrefix, value: /v2/models/recommender}\n    filters:\n    - type: ResponseHeaderModifier\n      responseHeaderModifier: {remove: [x-changeover-cluster, x-changeover-mirror, x-changeover-shadow]}\n    backendRefs: [{name: recommender-blue, port: 8080}]\n";
/// What each rule does with answers.
const ANSWERS: &str = "filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [x-changeover-cluster, x-changeover-mirror, x-changeover-shadow]}}]";
const LISTENER: &str = "  - {name: http, protocol: HTTP, port: 80}\n";

/// Each row: what is replaced in the shipped file, by what, what all findings have in them (none: nothing is found), and
/// whether it fails.
#[test]
fn rules_are_followed_in_the_order_that_envoy_gateway_gives_them() {
    const VERSION: &str = "value: /v2/models/recommender}\n      headers";
    const STABLE: &str = "backendRefs: [{name: recommender-blue, port: 8080}]";
    let rule = |path: &str, name: &str| {
        format!(
            "  - matches: [{{path: {path}}}]\n    {ANSWERS}\n    backendRefs: [{{name: {name}, port: 8080}}]\n{ORDINARY}"
        )
    };
    let ready = "{type: Exact, value: /v2/models/recommender/ready}";
    let rows = [
        (
            VERSION,
            "value: /}\n      headers",
            "end here, and not at the rule with `x-changeover-cluster: ",
            true,
        ),
        (
            ORDINARY,
            &rule("{type: PathPrefix, value: /v2/models/recommender/infer}", "recommender-blue"),
            "warning: it takes some of the requests of rollout \"recommender\" before the rules for its versions",
            false,
        ),
        (ORDINARY, &rule(ready, "health"), "warning: ", false),
        (
            VERSION,
            "value: /v2/models/recommender}\n      method: GET\n      headers",
            "takes only a part of them",
            false,
        ),
        (ORDINARY, &ORDINARY.replace("PathPrefix", "Exact"), "warning: ", false),
        (
            ORDINARY,
            &ORDINARY.replace("8080}", "8080, weight: 1, kind: Service, namespace: models}"),
            "",
            false,
        ),
        (ORDINARY, &ORDINARY.replace("8080}", "8080}, {name: none, port: 1, weight: 0}"), "", false),
        (
            ORDINARY,
            &ORDINARY.replace("8080}", "8080}, {name: some, port: 1}"),
            "has other `backendRefs`",
            true,
        ),
        (ORDINARY, &format!("  - matches: []\n    {STABLE}\n    {ANSWERS}\n"), "", false),
        (ORDINARY, &format!("  - {STABLE}\n    {ANSWERS}\n"), "", false),
        ("  hostnames: [models.", "  hostnames: [other.", "", true),
        ("  hostnames: [models.example.com]\n", "", "", false),
        ("  hostnames: [models.", "  hostnames: [\"*.\", models.", "", false),
        ("  hostnames: [models.example.com]", "  hostnames: [\"*.example.com\"]", "", false),
        (LISTENER, "  - {name: http, protocol: HTTP, port: 80, hostname: \"*.other.com\"}\n", "", true),
        (LISTENER, "  - {name: http, protocol: HTTP, port: 80, hostname: \"*.example.com\"}\n", "", false),
        (
            LISTENER,
            "  - {name: http, protocol: HTTP, port: 80}\n  - {name: b, port: 80, hostname: models.example.com, allowedRoutes: {namespaces: {from: Same}}}\n",
            "",
            false,
        ),
        ("  - name: models\n  hostnames", "  - {name: models, sectionName: other}\n  hostnames", "", true),
        ("  - name: models\n  hostnames", "  - {name: elsewhere}\n  hostnames", "is not removed", true),
    ];
    for (from, to, expected, fails) in rows {
        let (lines, bad) = changed(GATEWAY, from, to);
        assert_eq!(bad, fails, "{to}: {lines:#?}");
        assert!(lines.iter().all(|line| line.contains(expected)), "{to}: {lines:#?}");
        assert_eq!(lines.is_empty(), expected.is_empty() && !fails, "{to}: {lines:#?}");
    }
    let (lines, _) = changed(GATEWAY, "  hostnames: [models.", "  hostnames: [other.");
    assert!(
        lines.last().is_some_and(|line| line.contains("are only for the hosts [\"other.example.com\"]")),
        "{lines:#?}"
    );
    let (lines, _) =
        changed(GATEWAY, "  - name: models\n  hostnames", "  - {name: models, sectionName: b}\n  hostnames");
    assert!(
        lines.iter().any(|line| line.starts_with("f0: HTTPRoute/models: it is attached to no listener")),
        "{lines:#?}"
    );
    // Without sorting, the rules stand as they are written.
    let kept = GATEWAY.replace("spec:\n  bootstrap:", "spec:\n  preserveRouteOrder: true\n  bootstrap:");
    assert_eq!(complaints(&[&kept]), [""; 0]);
    assert_eq!(complaints(&[&kept.replace(VERSION, "value: /}\n      headers")]), [""; 0]);
    let first = kept.replace("  rules:\n", &format!("  rules:\n{ORDINARY}"));
    assert!(findings(&[&first]).1, "the ordinary rule stands first");
}

/// What a server says in the filter's headers.
#[test]
fn rules_that_leave_the_filters_headers_on_answers_are_told() {
    const BLUE: usize = 0;
    let with_rule = |number: usize, edit: &dyn Fn(&str) -> String| {
        let mut parts: Vec<String> = GATEWAY.split("  - matches:\n").map(str::to_owned).collect();
        parts[number + 1] = edit(&parts[number + 1]);
        complaints(&[&parts.join("  - matches:\n")])
    };
    let told = |number: usize, headers: &str| {
        format!(
            "f0: HTTPRoute/models: spec.rules[{number}]: warning: an upstream's own {headers} would reach clients; expected \
             `responseHeaderModifier.remove: [{headers}]`"
        )
    };
    let all = "x-changeover-cluster, x-changeover-mirror, x-changeover-shadow";
    let of_answers = format!("{{remove: [{all}]}}");
    for number in BLUE..3 {
        assert_eq!(
            with_rule(number, &|rule| rule
                .replace(&of_answers, "{remove: [x-changeover-cluster, X-Changeover-Shadow]}")),
            [told(number, "x-changeover-mirror")]
        );
        assert_eq!(
            with_rule(number, &|rule| rule.replace("responseHeaderModifier:", "another:")),
            [told(number, all)]
        );
    }
}

#[test]
fn policies_are_for_what_they_target() {
    const ROUTE: &str = "  - {group: gateway.networking.k8s.io, kind: HTTPRoute, name: models}\n";
    const CLIENTS: &str = "  - {group: gateway.networking.k8s.io, kind: Gateway, name: models}\n";
    const REMOVE: &str = "remove: [x-changeover-cluster, x-changeover-mirror, x-changeover-shadow]\n---\n# 4";
    let not_run = "the filter does not run on the ordinary rule";
    let kept = "is not removed; expected it in `headers.earlyRequestHeaders.remove` of a ClientTrafficPolicy in these files that targets the Gateway";
    let section = |target: &str, name: &str| {
        target.replace("name: models", &format!("name: models, sectionName: {name}"))
    };
    let rows = [
        (ROUTE, &*ROUTE.replace("name: models", "name: somethingelse"), not_run, true),
        (ROUTE, &section(ROUTE, "another"), not_run, true),
        (ROUTE, CLIENTS, "", false),
        (ROUTE, &section(CLIENTS, "http"), "", false),
        (ROUTE, &section(CLIENTS, "other"), not_run, true),
        (CLIENTS, &CLIENTS.replace("name: models", "name: somethingelse"), kept, true),
        (CLIENTS, &section(CLIENTS, "http"), "", false),
        (CLIENTS, &section(CLIENTS, "other"), kept, true),
        (
            REMOVE,
            &REMOVE.replace(
                "remove: [x-changeover-cluster, x-changeover-mirror, x-changeover-shadow]",
                "removeOnMatch: [{type: Prefix, value: X-Changeover-}]",
            ),
            "",
            false,
        ),
        (
            REMOVE,
            &REMOVE.replace(
                "remove: [x-changeover-cluster, x-changeover-mirror, x-changeover-shadow]",
                "removeOnMatch: [{value: x-changeover-}]",
            ),
            kept,
            true,
        ),
        (
            REMOVE,
            &REMOVE.replace(
                "remove: [x-changeover-cluster, x-changeover-mirror, x-changeover-shadow]",
                "removeOnMatch: [{type: RegularExpression, value: x-changeover-.*}]",
            ),
            "could not tell which headers",
            false,
        ),
    ];
    for (from, to, expected, fails) in rows {
        let (lines, bad) = changed(GATEWAY, from, to);
        assert_eq!(bad, fails, "{to}: {lines:#?}");
        assert!(lines.iter().all(|line| line.contains(expected)), "{to}: {lines:#?}");
        assert_eq!(lines.is_empty(), expected.is_empty(), "{to}: {lines:#?}");
    }
    let targets = format!("  targetRefs:\n{ROUTE}");
    let selectors =
        "  targetSelectors:\n  - {group: gateway.networking.k8s.io, kind: HTTPRoute, matchLabels: {a: b}}\n";
    let (lines, bad) = changed(GATEWAY, &targets, selectors);
    assert!(bad && lines[0].contains(not_run), "{lines:#?}");
    let labelled =
        GATEWAY.replace("kind: HTTPRoute\nmetadata:\n", "kind: HTTPRoute\nmetadata:\n  labels: {a: b}\n");
    assert_eq!(changed(&labelled, &targets, selectors), (Vec::new(), false));
}

#[test]
fn a_route_of_grpc_has_rules_as_well() {
    const METHOD: &str = "{service: inference.GRPCInferenceService, method: ModelInfer}";
    let grpc = GATEWAY
        .replace("kind: HTTPRoute", "kind: GRPCRoute")
        .replace("path: {type: PathPrefix, value: /v2/models/recommender}", &format!("method: {METHOD}"))
        .replace("prefix: /v2/models/recommender", "path: /inference.GRPCInferenceService/ModelInfer");
    assert_eq!(complaints(&[&grpc]), [""; 0]);
    let service = grpc.replace(", method: ModelInfer}", "}");
    assert_eq!(complaints(&[&service]), [""; 0]);
    let (lines, bad) = changed(&grpc, "value: green}", "value: red}");
    assert!(bad && lines[0].contains("matches `x-changeover-cluster: green`"), "{lines:#?}");
    let shorter = format!("method: {METHOD}\n      headers");
    let (lines, bad) = changed(&grpc, &shorter, &shorter.replace(", method: ModelInfer", ""));
    assert!(bad && lines[0].contains("end here, and not at the rule with"), "{lines:#?}");
}

#[test]
fn rollouts_on_two_hosts_may_have_the_same_paths() {
    let document = |kind: &str| {
        GATEWAY.split("\n---\n").find(|text| text.contains(&format!("\nkind: {kind}\n"))).expect("a document")
    };
    let route = document("HTTPRoute");
    let second = route
        .replace("  name: models\n  namespace", "  name: second\n  namespace")
        .replace("models.example.com", "second.example.com")
        .replace("value: blue}", "value: second-blue}")
        .replace("value: green}", "value: second-green}")
        .replace("name: recommender-", "name: second-");
    let rollout = "      - {name: second, match: {authority: [second.example.com], prefix: /v2/models/recommender}, stable: blue, \
                   versions: {blue: {cluster: second-blue}, green: {cluster: second-green}}}\n";
    let both = GATEWAY.replace("kind: HTTPRoute, name: models}", "kind: Gateway, name: models}");
    let both = both.replace("      rollouts:\n", &format!("      rollouts:\n{rollout}"));
    assert_eq!(complaints(&[&both, &second]), [""; 0]);
    assert_eq!(complaints(&[&second, &both]), [""; 0]);
    // Two routes of one host whose rules ask for as much: which comes first depends on more than the files.
    let twin = second.replace("second.example.com", "models.example.com");
    let (found, bad) = findings(&[GATEWAY, &twin]);
    assert!(!bad && found.iter().any(|line| line.contains("both ask for as much")), "{found:#?}");
}

#[test]
fn rollouts_for_all_hosts_may_have_their_rules_on_one() {
    let second = GATEWAY
        .split("\n---\n")
        .find(|text| text.contains("\nkind: HTTPRoute\n"))
        .expect("a document")
        .replace("  name: models\n  namespace", "  name: second\n  namespace")
        .replace("models.example.com", "second.example.com")
        .replace("/v2/models/recommender", "/v2/models/second")
        .replace("value: blue}", "value: second-blue}")
        .replace("value: green}", "value: second-green}");
    let rollout = "      - {name: second, match: {prefix: /v2/models/second}, stable: blue, \
                   versions: {blue: {cluster: second-blue}, green: {cluster: second-green}}}\n";
    let both = GATEWAY
        .replace("kind: HTTPRoute, name: models}", "kind: Gateway, name: models}")
        .replace("authority: [models.example.com], ", "")
        .replace("      rollouts:\n", &format!("      rollouts:\n{rollout}"));
    assert_eq!(complaints(&[&both, &second]), [""; 0]);
    let catching = second.replace("  rules:\n", "  rules:\n  - backendRefs: [{name: others, port: 8080}]\n");
    let (found, bad) = findings(&[&both, &catching]);
    let expected = "warning: it takes requests of rollout \"recommender\", which is for all hosts, and \"second.example.com\" has no rule for a version of it";
    assert!(!bad && found.iter().any(|line| line.contains(expected)), "{found:#?}");
    let (found, bad) = findings(&[&both, &second.replace("value: second-green}", "value: second-red}")]);
    assert!(
        bad && found.iter().any(|line| line.contains("`x-changeover-cluster: second-green`")),
        "{found:#?}"
    );
}

#[test]
fn filters_of_two_namespaces_do_not_meet() {
    let one = GATEWAY.replace("authority: [models.example.com], ", "");
    let other = one
        .replace("namespace: models", "namespace: staging")
        .replace("models.example.com", "staging.example.com");
    assert_eq!(complaints(&[&one, &other]), [""; 0]);
    let broken = other.replace("value: green}", "value: red}");
    let (found, bad) = findings(&[&one, &broken]);
    assert!(bad && found.iter().any(|line| line.contains("`x-changeover-cluster: green`")), "{found:#?}");
}

#[test]
fn clusters_of_receivers_and_of_the_store_are_looked_at() {
    let posting = GATEWAY.replace(
        "      rollouts:\n",
        "      notify: [{name: ops, cluster: hook, path: /}]\n      rollouts:\n",
    );
    let said = complaints(&[&posting]);
    assert!(
        said.len() == 1 && said[0].contains("warning: `cluster` of notify \"ops\" is \"hook\""),
        "{said:#?}"
    );
    let patch = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyPatchPolicy\nmetadata: {name: hook}\nspec: {jsonPatches: [{type: \
                 type.googleapis.com/envoy.config.cluster.v3.Cluster, name: hook, operation: {op: add, path: \"\", value: {name: hook}}}]}\n";
    assert_eq!(complaints(&[&posting, patch]), [""; 0]);
    let bootstrap = "    value: |\n";
    let clusters = "      static_resources: {clusters: [{name: hook}]}\n";
    assert_eq!(complaints(&[&posting.replace(bootstrap, &format!("{bootstrap}{clusters}"))]), [""; 0]);
}

#[test]
fn a_versions_rule_has_to_forward_and_to_do_what_the_ordinary_one_does() {
    let green = "    backendRefs: [{name: recommender-green, port: 8080}]\n";
    let (lines, bad) = changed(GATEWAY, green, "");
    assert!(bad && lines.iter().any(|line| line.contains("for version \"green\" itself")), "{lines:#?}");
    let at = GATEWAY.rfind("value: /v2/models/recommender}\n    filters:\n").expect("the ordinary rule");
    for (setting, name) in
        [("    timeouts: {request: 5s}\n", "timeouts"), ("    retry: {attempts: 2}\n", "retry")]
    {
        let line = "value: /v2/models/recommender}\n";
        let (before, behind) = GATEWAY.split_at(at + line.len());
        let with = format!("{before}{setting}{behind}");
        let (found, bad) = findings(&[&with]);
        let told = found
            .iter()
            .filter(|line| line.contains(&format!("warning: the ordinary rule has `{name}`")))
            .count();
        assert!(!bad && told == 2, "{found:#?}");
    }
    let filters = "value: /v2/models/recommender}\n    filters:\n";
    for filter in [
        "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}",
        "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}]}}",
        "{type: ExtensionRef, extensionRef: {group: a, kind: HTTPRouteFilter, name: a}}",
    ] {
        let (before, behind) = GATEWAY.split_at(at + filters.len());
        let with = format!("{before}    - {filter}\n{behind}");
        let (found, bad) = findings(&[&with]);
        assert!(
            !bad && found.iter().any(|line| line.contains("warning: the ordinary rule has")),
            "{filter}: {found:#?}"
        );
    }
}

#[test]
fn two_filters_in_a_policy_or_for_one_target_are_an_error() {
    let documents: Vec<&str> = GATEWAY.split("\n---\n").collect();
    let policy =
        documents.iter().find(|text| text.contains("kind: EnvoyExtensionPolicy\n")).expect("the policy");
    let second = policy.replace("  name: changeover\n", "  name: second\n");
    let (found, bad) = findings(&[GATEWAY, &second]);
    assert!(bad && found.iter().any(|line| line.contains("takes the older of the two")), "{found:#?}");
    let mut both = yaml::read(policy).expect("YAML").remove(0);
    let entry = both["spec"]["wasm"][0].clone();
    both["spec"]["wasm"].as_array_mut().expect("a list").push(entry);
    let (found, bad) = findings(&[&GATEWAY.replace(policy, &both.to_string())]);
    assert!(bad && found.iter().any(|line| line.contains("a second filter beside")), "{found:#?}");
}
