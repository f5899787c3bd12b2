mod forms;
mod resources;

use super::*;
use changeover::routing::mirror::CREDENTIALS;

const BOOTSTRAP: &str = include_str!("../../../../envoy/envoy.yaml");
const BY_ECDS: &str = include_str!("../../../../envoy/envoy-ecds.yaml");
const ECDS: &str = include_str!("../../../../envoy/ecds/changeover.yaml");
const CONTROL: &str = include_str!("../../../../envoy/control.yaml");
const BARE: &str = "rollouts:\n- {name: a, versions: {b: {cluster: c}}, stable: b}\n";

/// Where the shipped bootstrap has its connection manager, and the plugin in it.
const MANAGER: &str = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config";
const PLUGIN: &str = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.config";
const ROUTES: &str =
    "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0]";

/// A shipped bootstrap without its control listener, which comes last and has lines like those of the first one.
fn without_control(bootstrap: &str) -> String {
    let from = bootstrap.find("\n  # Where releases are looked at").expect("the control listener");
    let to = bootstrap.find("\n  clusters:\n").expect("clusters");
    format!("{}{}", &bootstrap[..from], &bootstrap[to..])
}

fn findings(files: &[&str]) -> (Vec<String>, bool) {
    let files: Vec<_> =
        files.iter().enumerate().map(|(n, text)| (format!("f{n}"), (*text).to_owned())).collect();
    let findings = check(&files);
    (findings.lines, findings.bad)
}

/// The exit status, and what is found, by the names of files.
fn status(files: &[(&str, &str)]) -> (u8, Vec<String>) {
    let files: Vec<_> = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let findings = check(&files);
    (exit_status(&findings), findings.lines)
}

#[test]
fn files_of_other_programs_do_not_fail_a_whole_repository() {
    let foreign = [
        ("helm.yaml", "{{- if .Values.x }}\na: {{ .Values.y }}\n{{- end }}\n"),
        ("cloudformation.yaml", "foo: !Ref Bar\n? [a, b]\n: c\n"),
        ("tsconfig.json", "// c\n{\"a\": 1,}"),
        ("empty.json", ""),
        ("argo.yaml", "kind: Rollout\nspec: {{ toYaml .Values.rollouts }}\n"),
        ("envoy.yaml", "static_resources: {}\ndefaults: {a: 1}\n"),
        ("ci.yaml", "on: push\nk: yes\n"),
    ];
    for (name, text) in foreign {
        let (found, lines) = status(&[(name, text)]);
        assert_eq!(found, NOTHING_OF_OURS, "{name}: {lines:?}");
        assert!(lines.iter().all(|line| !line.contains("warning")), "{lines:?}");
    }
    let all: Vec<_> = foreign.into_iter().chain([("bare.yaml", BARE)]).collect();
    assert_eq!(status(&all).0, 0);
    for ours in ["rollouts: [", "{\"rollouts\": [}", "name: changeover\na: [", "{ rollouts: ["] {
        assert_eq!(status(&[("a.yaml", ours)]).0, 1, "{ours}");
    }
    assert_eq!(status(&[("a.json", "{\n  \"rollouts\": [}")]).0, 1);
}

#[test]
fn a_file_with_very_many_findings_is_no_slower_for_each() {
    let text: String = (0..20_000).map(|number| format!("k{number}: on\n")).collect();
    let (found, _) = findings(&[&format!("rollouts: []\n{text}")]);
    assert!(found.len() > 20_000);
}

/// Each row: what is replaced in a bootstrap in JSON, by what, and what is said.
#[test]
fn json_is_read_as_envoy_reads_it() {
    let mut document = yaml::read(BOOTSTRAP).expect("YAML").remove(0);
    let manager =
        &mut document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let plugin = &mut manager["http_filters"][0]["typed_config"]["config"]["configuration"];
    plugin["value"]["rollouts"][0].as_object_mut().expect("a rollout").remove("release");
    let text = document.to_string();
    let release =
        |value: &str| text.replacen("\"rollouts\":[{", &format!("\"rollouts\":[{{\"release\":{value},"), 1);
    let rows = [
        (text.clone(), 0),
        (release("1e3"), 0),
        (release("12345678901234567"), 1),
        (text.replacen("\"rollouts\":[{", "\"rollouts\":[{\"release\":1,\"release\":2,", 1), 1),
        (text.replacen("\"rollouts\"", "rollouts", 1), 0),
        (text.replacen("\"rollouts\"", "'rollouts'", 1), 0),
        (text.replacen("}]", "},]", 1), 0),
        (text.replacen("\"present_match\":true", "\"present_match\":true,\"present_match\":true", 1), 1),
        (text.replacen('{', "{\"defaults\":{},", 1), 1),
        (text.replacen('{', "{\"x_defaults\":{},", 1), 1),
        (format!("// a\n{text}"), 1),
    ];
    for (text, expected) in rows {
        let (found, lines) = status(&[("envoy.json", &text)]);
        assert_eq!(found, expected, "{lines:#?}");
    }
}

#[test]
fn documents_that_envoy_refuses_are_errors() {
    let second = format!("---\n---\n{BOOTSTRAP}");
    let (found, lines) = status(&[("envoy.yaml", &second)]);
    assert!(found == 1 && lines[0].contains("only the first document"), "{lines:#?}");
    let mut document = yaml::read(BOOTSTRAP).expect("YAML").remove(0);
    let filters = &mut document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        ["http_filters"];
    filters.as_array_mut().expect("filters").reverse();
    let (found, lines) = status(&[("envoy.json", &document.to_string())]);
    assert!(found == 1 && lines.iter().any(|line| line.contains("stands behind the router")), "{lines:#?}");
}

/// What is found besides that the configuration is valid.
fn complaints(files: &[&str]) -> Vec<String> {
    let is_news =
        |line: &String| !line.contains(": valid: ") && !line.contains("its configuration is discovered");
    findings(files).0.into_iter().filter(is_news).collect()
}

#[test]
fn a_bare_configuration_is_checked() {
    let (found, bad) = findings(&[BARE]);
    assert!(!bad && found[0].starts_with("f0: valid: 1 rollout, configuration "), "{found:?}");
    let wrong = "rollouts:\n- {name: a, versions: {b: {cluster: c}}, stable: 5, weights: {b: 120}}\n";
    assert_eq!(
        findings(&[wrong]),
        (
            vec![
                "f0: rollouts[0].weights.b: 120 is over 100".into(),
                "f0: rollouts[0].stable: unknown version \"5\"; known here: \"b\"".into()
            ],
            true
        )
    );
}

#[test]
fn warnings_do_not_fail() {
    let shadowed = format!("{BARE}- {{name: z, versions: {{b: {{cluster: c}}}}, stable: b}}\n");
    let (found, bad) = findings(&[&shadowed]);
    assert!(!bad);
    assert_eq!(
        found[0],
        "f0: warning: rollouts[1].match: unreachable: rollouts[0] (\"a\") takes every request that it matches"
    );
}

#[test]
fn malformed_yaml_is_reported() {
    let (found, bad) = findings(&["rollouts: ["]);
    assert!(bad && found.len() == 1, "{found:?}");
    assert!(found[0].starts_with("f0: not valid YAML: ") && found[0].contains("line 1"), "{found:?}");
    assert_eq!(
        findings(&["rollouts: []\n---\nb: 2"]),
        (vec!["f0: 2 documents; expected one configuration".into()], true)
    );
    assert!(findings(&[&format!("---\n---\n{BARE}---\n")]).0[0].starts_with("f0: valid: "));
}

#[test]
fn the_shipped_files_pass() {
    assert_eq!(complaints(&[BOOTSTRAP]), [""; 0]);
    let discovered = "its configuration is discovered: check the file it comes from together with this one";
    let place = format!("{MANAGER}.http_filters[0]");
    let (found, bad) = findings(&[BY_ECDS]);
    assert!(!bad && found.len() == 2, "{found:?}");
    assert_eq!(found[1], format!("f0: {place}: {discovered}"));
    assert_eq!(complaints(&[ECDS]), [""; 0]);
    assert_eq!(complaints(&[BY_ECDS, ECDS]), [""; 0]);
    assert_eq!(complaints(&[&without_control(BY_ECDS), ECDS, CONTROL]), [""; 0]);
    let place = "listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.config";
    let (found, bad) = findings(&[CONTROL]);
    assert!(
        !bad && found.len() == 1
            && found[0].starts_with(&format!("f0: {place}: valid: the control listener's, configuration ")),
        "{found:?}"
    );
    assert_eq!(findings(&["stats_config: {}\n"]).0, ["f0: nothing to check: it has no HTTP filters"]);
}

/// Each row breaks the shipped bootstrap in one way: what is replaced, by what, and what is said about it.
#[test]
fn a_bootstrap_that_lacks_something_around_the_filter_is_complained_about() {
    let error = |place: &str, message: &str| format!("f0: {place}: {message}");
    let mirror = |yaml: &str| yaml.replace("weights: {svm: 20}", "mirror: {to: svm}");
    let mirrored = mirror(BOOTSTRAP);
    assert_eq!(complaints(&[&mirrored]), [""; 0]);
    let by_name = BOOTSTRAP
        .replace("match: {prefix: /v2/models/digits}", "match: {authority: [\"a.example.com:8443\"]}");
    let policy = "                  request_mirror_policies:\n                  - cluster_header: x-changeover-mirror\n";
    let disabled = "the filter (envoy.filters.http.wasm) is disabled here, and so it is on the ordinary route, which requests have when they come to it: they stay there; expected it enabled";
    let nothing = "nothing would be mirrored from here; expected a route of its own for requests with x-changeover-mirror, and in it `request_mirror_policies` with `cluster_header: x-changeover-mirror`";
    let rows: Vec<(&str, &str, &str, Vec<String>)> = vec![
        (BOOTSTRAP, "                  vm_id: changeover\n", "", vec![error(PLUGIN, "vm_config.vm_id is missing: the filter would share its data with every plugin that has none; expected a name of its own")]),
        (BOOTSTRAP, "                failure_policy: FAIL_OPEN\n", "", vec![error(PLUGIN, "failure_policy is not FAIL_OPEN: a filter that fails would answer 503 to everything instead of leaving requests to stable")]),
        (BOOTSTRAP, "mutations:\n              - remove: x-changeover-cluster\n", "mutations:\n", vec![error(MANAGER, "a client's own x-changeover-cluster is not removed; expected `remove: x-changeover-cluster` in early_header_mutation_extensions")]),
        (BOOTSTRAP, "- remove: x-changeover-mirror\n              - remove: x-changeover-shadow\n", "- remove: x-changeover-shadow\n", vec![error(MANAGER, "a client's own x-changeover-mirror is not removed; expected `remove: x-changeover-mirror` in early_header_mutation_extensions")]),
        (BOOTSTRAP, "cluster_header: x-changeover-cluster", "cluster: digits-svm", vec![error(&format!("{ROUTES}.routes[0]"), "requests of rollout \"digits\" for version \"logreg\" end here, where nothing obeys the filter: the first route that takes them counts; expected above it one with the same conditions, `headers: [{name: x-changeover-cluster, present_match: true}]` and `cluster_header: x-changeover-cluster`")]),
        (BOOTSTRAP, "cluster_header: x-changeover-cluster", "ignored: digits-svm", vec![error(&format!("{MANAGER}.route_config"), "no route obeys the filter; expected one with `headers: [{name: x-changeover-cluster, present_match: true}]` and `cluster_header: x-changeover-cluster`")]),
        (BOOTSTRAP, "cluster: digits-logreg\n                  timeout", "cluster: digits-svm\n                  timeout", vec![error(&format!("{ROUTES}.routes[2].route"), "warning: the ordinary route leads to \"digits-svm\", the candidate of rollout \"digits\": correct only while its release is being finished")]),
        (BOOTSTRAP, "cluster: digits-logreg\n                  timeout", "cluster: other\n                  timeout", vec![error(&format!("{ROUTES}.routes[2].route"), "the ordinary route leads to \"other\", not to stable's cluster \"digits-logreg\" of rollout \"digits\": that is where requests go when the filter fails")]),
        (BOOTSTRAP, "- match: {prefix: /}", "- match: {prefix: /elsewhere}", vec![error(ROUTES, "no ordinary route for rollout \"digits\": without the filter its requests would get 404; expected one to stable's cluster below the route that obeys the filter")]),
        (BOOTSTRAP, "                    rollouts:\n", "                    notify: [{name: ops, cluster: hooks, path: /}]\n                    rollouts:\n", vec!["f0: there is no cluster \"hooks\", to which notifications \"ops\" are posted; known here: {\"digits-logreg\", \"digits-svm\"}".into()]),
        (BOOTSTRAP, "svm: {cluster: digits-svm}", "svm: {cluster: nowhere}", vec!["f0: there is no cluster \"nowhere\", which serves version \"svm\" of rollout \"digits\"; known here: {\"digits-logreg\", \"digits-svm\"}".into()]),
        (BOOTSTRAP, "  - {tag_name: worker, regex", "  - {tag_name: wrecker, regex", vec!["f0: stats_config.stats_tags lacks worker: those labels would stay part of the metrics' names; copy them from envoy/stats-tags.yaml".into()]),
        (BOOTSTRAP, "version_header: {response: true}", "labels: {team: a}", vec!["f0: stats_config.stats_tags lacks team: those labels would stay part of the metrics' names; copy them from envoy/stats-tags.yaml".into()]),
        (BOOTSTRAP, "address: {socket_address: {address: 127.0.0.1, port_value: 9901}}", "address: {socket_address: {address: 0.0.0.0, port_value: 9901}}", vec!["f0: admin.address.socket_address: warning: the admin interface listens on 0.0.0.0: any client that reaches it can stop Envoy; expected 127.0.0.1".into()]),
        (BOOTSTRAP, "release: \"2026-11-24.1\"", "release: 0123", vec![format!("f0: warning: {PLUGIN}.configuration.value.rollouts[0].release: Envoy reads 0123 as the octal number 83; put it in quotes if it is a string")]),
        (BOOTSTRAP, "name: changeover\n                # Config", "name: other\n                # Config", vec![]),
        (BOOTSTRAP, "release: \"2026-11-24.1\"", "release: no", vec![format!("f0: warning: {PLUGIN}.configuration.value.rollouts[0].release: Envoy reads no as the boolean false; put it in quotes if it is a string"), error(PLUGIN, "rollouts[0].release: found the boolean false, expected a string: put it in quotes (YAML reads yes, no, on, off, y, n as booleans)")]),
        (BOOTSTRAP, "                configuration:\n", "                ignored:\n", vec![error(PLUGIN, "it has no `configuration`; expected a google.protobuf.Struct with at least `rollouts: []`")]),
        (BOOTSTRAP, "google.protobuf.Struct", "google.protobuf.Duration", vec![error(PLUGIN, "`configuration` has an `@type` other than google.protobuf.Struct, StringValue or BytesValue")]),
        (BOOTSTRAP, "google.protobuf.Struct", "google.protobuf.StringValue", vec![error(PLUGIN, "the StringValue's `value` is not a string; expected JSON in quotes")]),
        (BOOTSTRAP, "google.protobuf.Struct", "google.protobuf.BytesValue", vec![error(PLUGIN, "the BytesValue's `value` is not in base64")]),
        (BOOTSTRAP, "x-changeover-cluster\n              - remove: x-changeover-mirror\n              - remove: x-changeover-shadow\n", "x-changeover-cluster\n              - remove: x-changeover-mirror\n", vec![error(MANAGER, "a client's own x-changeover-shadow is not removed; expected `remove: x-changeover-shadow` in early_header_mutation_extensions")]),
        (&mirrored, policy, "                  metadata_match:\n                  - cluster_header: x-changeover-mirror\n", [0, 1].map(|route| error(&format!("{ROUTES}.routes[{route}]"), nothing)).to_vec()),
        (&mirrored, "present_match: true}\n                route", "present_match: false}\n                route", [vec![error(&format!("{ROUTES}.routes[2]"), "requests of rollout \"digits\" for version \"svm\" end here, where nothing obeys the filter: the first route that takes them counts; expected above it one with the same conditions, `headers: [{name: x-changeover-cluster, present_match: true}]` and `cluster_header: x-changeover-cluster`")], [0, 1].map(|route| error(&format!("{ROUTES}.routes[{route}]"), nothing)).to_vec()].concat()),
        (&mirrored, "                  - {name: x-changeover-mirror, present_match: true}\n", "", vec![error(&format!("{ROUTES}.routes[1]"), "warning: its mirror policy costs every request, copied or not; expected a route of its own for requests with x-changeover-mirror")]),
        (&mirrored, "                  - {name: x-changeover-mirror, present_match: false}\n", "", vec![error(&format!("{ROUTES}.routes[0]"), nothing)]),
        (&mirrored, "request_headers_to_remove: [x-changeover-cluster]", "request_headers_to_remove: [x-changeover-cluster, x-changeover-mirror]", vec![error(&format!("{ROUTES}.routes[1]"), "request_headers_to_remove has x-changeover-mirror, which switches the mirror off; expected it without")]),
        (BOOTSTRAP, "response_headers_to_remove: [x-changeover-cluster, x-changeover-mirror, x-changeover-shadow]", "ignored: 1", vec![error(ROUTES, "warning: an upstream's own x-changeover-cluster, x-changeover-mirror, x-changeover-shadow would reach clients; expected `response_headers_to_remove: [x-changeover-cluster, x-changeover-mirror, x-changeover-shadow]`")]),
        (BOOTSTRAP, "response_headers_to_remove: [x-changeover-cluster, x-changeover-mirror,", "response_headers_to_remove: [X-Changeover-Cluster,", vec![error(ROUTES, "warning: an upstream's own x-changeover-mirror would reach clients; expected `response_headers_to_remove: [x-changeover-mirror]`")]),
        (&mirrored, "domains: [\"*\"]", "domains: [\"*\"]\n              request_headers_to_remove: [x-changeover-mirror]", vec![error(ROUTES, "request_headers_to_remove has x-changeover-mirror, which switches the mirror off; expected it without")]),
        (&mirrored, "          route_config:\n", "          route_config:\n            request_headers_to_remove: [x-changeover-mirror]\n", vec![error(&format!("{MANAGER}.route_config"), "request_headers_to_remove has x-changeover-mirror, which switches the mirror off; expected it without")]),
        (BOOTSTRAP, "version_header: {response: true}", "trust_shadow_header: true", vec![error(MANAGER, "x-changeover-shadow is removed, and rollout \"digits\" has `trust_shadow_header`: it would take copies for requests; expected the header to be kept")]),
        (BOOTSTRAP, "                    rollouts:\n", "                    store: {etcd: {cluster: etcd}, fleet: shop}\n                    rollouts:\n", vec!["f0: there is no cluster \"etcd\", which is the store of fleet \"shop\"; known here: {\"digits-logreg\", \"digits-svm\"}".into()]),
        (BOOTSTRAP, "          - name: envoy.filters.http.wasm\n            typed_config:", "          - name: envoy.filters.http.wasm\n            disabled: true\n            typed_config:", vec![error(&format!("{MANAGER}.http_filters[0]"), disabled)]),
        (BOOTSTRAP, "domains: [\"*\"]", "domains: [\"*\"]\n              typed_per_filter_config: {envoy.filters.http.wasm: {\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}", vec![error(ROUTES, disabled)]),
        (BY_ECDS, "              - type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n", "", vec![error(&format!("{MANAGER}.http_filters[0].config_discovery"), "type_urls lacks envoy.extensions.filters.http.wasm.v3.Wasm: Envoy would refuse every configuration of the filter; expected it there")]),
        (BY_ECDS, "              - type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation\n", "", vec![error(&format!("{MANAGER}.http_filters[0].config_discovery"), "type_urls lacks envoy.extensions.filters.http.header_mutation.v3.HeaderMutation, the type of default_config: Envoy would not start; expected it there")]),
        (BOOTSTRAP, "normalize_path: true", "normalize_path: false", vec![error(MANAGER, "warning: normalize_path is not true: a server may take `/v2/./models` and `/v2/%6dodels` for `/v2/models`, and rollout \"digits\" goes by the path as it was sent; expected `normalize_path: true`")]),
        (BOOTSTRAP, "          merge_slashes: true\n", "", vec![error(MANAGER, "warning: merge_slashes is not true: a server may take `//v2/models` for `/v2/models`, and rollout \"digits\" goes by the path as it was sent; expected `merge_slashes: true`")]),
        (BOOTSTRAP, "          normalize_path: true\n          merge_slashes: true\n", "          typed_header_validation_config: {}\n", vec![]),
        (BOOTSTRAP, "match: {prefix: /v2/models/digits}", "match: {prefix: /v2//models}", vec![error(MANAGER, "rollout \"digits\" never takes a request: Envoy merges slashes, and \"/v2//models\" has two in a row")]),
        (BOOTSTRAP, "match: {prefix: /v2/models/digits}", "match: {prefix: /v2/%6dodels}", vec![error(MANAGER, "rollout \"digits\" never takes a request: Envoy normalizes paths, and \"/v2/%6dodels\" is not as it leaves them")]),
        (BOOTSTRAP, "match: {prefix: /v2/models/digits}", "match: {path: /v2/..}", vec![error(MANAGER, "rollout \"digits\" never takes a request: Envoy normalizes paths, and \"/v2/..\" is not as it leaves them")]),
        (BOOTSTRAP, "match: {prefix: /v2/models/digits}", "match: {prefix: /v2/%2F..}", vec![]),
        (BOOTSTRAP, "match: {prefix: /v2/models/digits}", "match: {authority: [a.example.com]}", vec![]),
        (&by_name, "          strip_trailing_host_dot: true\n", "", vec![error(MANAGER, "warning: strip_trailing_host_dot is not true: requests for `models.example.com.` are for the same server as those for `models.example.com`, and rollout \"digits\" goes by the name as it was sent; expected `strip_trailing_host_dot: true`")]),
        (&by_name, "strip_trailing_host_dot: true", "strip_trailing_host_dot: true\n          strip_any_host_port: true", vec![error(MANAGER, "rollout \"digits\" is for [\"a.example.com:8443\"], and strip_any_host_port takes ports away: it never takes a request; expected the names without")]),
        (&by_name, "strip_trailing_host_dot: true", "strip_trailing_host_dot: true\n          strip_matching_host_port: true", vec![error(MANAGER, "warning: rollout \"digits\" is for [\"a.example.com:8443\"], and strip_matching_host_port takes ports away; expected the names without")]),
        (BOOTSTRAP, "              - remove: x-changeover-cluster\n              - remove: x-changeover-mirror\n              - remove: x-changeover-shadow\n", "              - remove_on_match: {key_matcher: {prefix: x-changeover-}}\n", vec![]),
        (BOOTSTRAP, "              - remove: x-changeover-cluster\n              - remove: x-changeover-mirror\n", "              - remove_on_match: {key_matcher: {suffix: -MIRROR, ignore_case: true}}\n", vec![error(MANAGER, "a client's own x-changeover-cluster is not removed; expected `remove: x-changeover-cluster` in early_header_mutation_extensions")]),
        (BOOTSTRAP, "failure_policy: FAIL_OPEN", "failure_policy: 3", vec![]),
        (&mirrored, "cluster_header: x-changeover-mirror", "cluster_header: X-Changeover-Mirror", vec![]),
        (BY_ECDS, "              default_config:\n", "              ignored:\n", vec![error(&format!("{MANAGER}.http_filters[0].config_discovery"), "default_config is missing: every request would get 500 until the first good configuration; expected an envoy.filters.http.header_mutation that changes nothing")]),
    ];
    for (yaml, from, to, expected) in rows {
        assert!(yaml.contains(from), "nothing to break: {from}");
        let yaml = without_control(yaml);
        let broken = yaml.replace(from, to);
        assert_eq!(complaints(&[&broken]), expected, "{to}");
        let fails = expected.iter().any(|line| !line.contains("warning: "));
        assert_eq!(findings(&[&broken]).1, fails, "{expected:?}");
    }
}

#[test]
fn bodies_that_envoys_buffers_do_not_hold_are_told() {
    const LISTENER: &str = "  listeners:\n  - name: models\n";
    const SHADOW: &str = "  - name: digits-svm\n";
    let told = |places: &[&str], bytes: u64, most: &str| -> Vec<String> {
        let held_up = |place: &&str| {
            format!(
                "f0: static_resources.{place}: warning: it buffers {bytes} bytes of a connection (per_connection_buffer_limit_bytes), and \
                 rollout \"digits\" copies bodies of up to {most} (mirror.max_body): a shadow that is slow to read would hold clients up; \
                 expected a max_body well below"
            )
        };
        places.iter().map(held_up).collect()
    };
    let yaml = without_control(BOOTSTRAP);
    let mirrored = yaml.replace("weights: {svm: 20}", "mirror: {to: svm}");
    let rows = [
        (&mirrored, LISTENER, "200000", told(&["listeners[0]"], 200_000, "256KiB")),
        (&mirrored, LISTENER, "\"200000\"", told(&["listeners[0]"], 200_000, "256KiB")),
        (&mirrored, LISTENER, "262144", vec![]),
        (&mirrored, SHADOW, "32768", told(&["clusters[1]"], 32_768, "256KiB")),
        (&mirrored, SHADOW, "0", vec![]), // without a limit
        (&yaml, LISTENER, "1024", vec![]),
    ];
    for (yaml, place, bytes, expected) in rows {
        assert_eq!(yaml.matches(place).count(), 1);
        let limited = format!("{place}    per_connection_buffer_limit_bytes: {bytes}\n");
        assert_eq!(complaints(&[&yaml.replace(place, &limited)]), expected, "{place}, {bytes}");
    }
    let large = mirrored.replace("{to: svm}", "{to: svm, max_body: 2MiB}");
    assert_eq!(complaints(&[&large]), told(&["listeners[0]", "clusters[1]"], 1 << 20, "2MiB"));
    let compared = large.replace("max_body", "mode: compare, max_body");
    assert!(!complaints(&[&compared]).iter().any(|line| line.contains("buffers")), "the filter copies");
}

#[test]
fn copies_that_share_a_connection_to_the_shadow_are_told() {
    const SHADOW: &str = "  - name: digits-svm\n";
    let yaml = without_control(BOOTSTRAP);
    let mirrored = yaml.replace("weights: {svm: 20}", "mirror: {to: svm}");
    let told = "f0: static_resources.clusters[1]: warning: copies of rollout \"digits\" share connections here, and one that the shadow does not \
                read holds up the clients of all: expected `max_concurrent_streams: 1` in its http2_protocol_options, or HTTP/1.1";
    let by = |kind: &str| {
        format!(
            "typed_extension_protocol_options: {{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{{kind}}}}}"
        )
    };
    let rows = [
        ("explicit_http_config: {http_protocol_options: {}}", false),
        ("explicit_http_config: {http2_protocol_options: {}}", true),
        ("explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 1}}", false),
        ("explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 2}}", true),
        ("explicit_http_config: {http3_protocol_options: {}}", true),
        ("auto_config: {}", true),
        ("auto_config: {http2_protocol_options: {max_concurrent_streams: 1}}", false),
        (
            "auto_config: {http2_protocol_options: {max_concurrent_streams: 1}, http3_protocol_options: {}}",
            true,
        ),
        ("auto_config: {}, common_http_protocol_options: {max_requests_per_connection: 1}", false),
        ("use_downstream_protocol_config: {}", false),
        ("use_downstream_protocol_config: {http2_protocol_options: {}}", true),
    ];
    let rows = rows.map(|(kind, is_told)| (by(kind), is_told));
    let old = ["http2_protocol_options: {}", "http2_protocol_options: {max_concurrent_streams: \"1\"}"];
    for (options, is_told) in rows.into_iter().chain([(old[0].to_owned(), true), (old[1].to_owned(), false)])
    {
        let shadow = mirrored.replace(SHADOW, &format!("{SHADOW}    {options}\n"));
        let expected = if is_told { vec![told.to_owned()] } else { vec![] };
        assert_eq!(complaints(&[&shadow]), expected, "{options}");
        let compared = shadow.replace("{to: svm}", "{to: svm, mode: compare}");
        assert!(!complaints(&[&compared]).iter().any(|line| line.contains("share")), "the filter copies");
    }
}

#[test]
fn headers_of_copies_are_checked() {
    let mirrored = BOOTSTRAP.replace("weights: {svm: 20}", "mirror: {to: svm}");
    let suffix =
        "the copy's Host would end in \"-shadow\"; expected `disable_shadow_host_suffix_append: true`";
    let mark = "the copy is not marked; expected a mutation that appends x-changeover-shadow";
    let rows = [
        ("disable_shadow_host_suffix_append: true".to_owned(), suffix.to_owned()),
        ("key: x-changeover-shadow".to_owned(), mark.to_owned()),
    ];
    let removed = ["cookie", "authorization", "x-changeover-mirror", "x-changeover-cluster"];
    // Deeper than the mutations that remove a client's own headers.
    let rows = rows.into_iter().chain(removed.map(|header| {
        let message = format!("the copy carries {header}; expected a mutation `remove: {header}`");
        (format!("                    - remove: {header}\n"), message)
    }));
    let keys = CREDENTIALS.iter().filter(|header| !removed.contains(header)).map(|header| {
        let message = format!(
            "warning: the copy carries {header} if a client sends it; expected a mutation `remove: {header}`"
        );
        (format!("                    - remove: {header}\n"), message)
    });
    for (from, message) in rows.chain(keys) {
        let broken = mirrored.replace(&from, if from.ends_with('\n') { "" } else { "ignored: x" });
        let expected = format!("f0: {ROUTES}.routes[1].route.request_mirror_policies[0]: {message}");
        assert_eq!(complaints(&[&broken]), [expected]);
    }
}

/// A policy of the virtual host or of all routes is in force where a route has none of its own.
#[test]
fn mirror_policies_around_the_routes_are_checked() {
    let mirrored = without_control(BOOTSTRAP).replace("weights: {svm: 20}", "mirror: {to: svm}");
    let at = |path: &str| format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
    for place in [ROUTES.to_owned(), format!("{MANAGER}.route_config")] {
        let mut document = yaml::read(&mirrored).expect("YAML").remove(0);
        let action = document.pointer_mut(&at(&format!("{ROUTES}.routes[1].route"))).expect("a route");
        let policies = action.as_object_mut().and_then(|action| action.remove("request_mirror_policies"));
        document.pointer_mut(&at(&place)).expect("a place")["request_mirror_policies"] =
            policies.expect("policies");
        assert_eq!(complaints(&[&document.to_string()]), [""; 0], "{place}");
        let policy =
            document.pointer_mut(&at(&format!("{place}.request_mirror_policies[0]"))).expect("a policy");
        policy["disable_shadow_host_suffix_append"] = false.into();
        let found = complaints(&[&document.to_string()]);
        let told = format!("f0: {place}.request_mirror_policies[0]: the copy's Host would end in");
        assert!(found.len() == 1 && found[0].starts_with(&told), "{found:?}");
    }
}

#[test]
fn a_regular_expression_that_removes_headers_is_left_to_envoy() {
    let matched = "              - remove_on_match: {key_matcher: {safe_regex: {regex: x-.*}}}\n";
    let removed = "              - remove: x-changeover-cluster\n";
    let (found, bad) = findings(&[&BOOTSTRAP.replacen(removed, matched, 1)]);
    let told = "could not tell whether a client's own x-changeover-cluster are removed: by `remove_on_match`";
    assert!(!bad && found.iter().any(|line| line.ends_with(told)), "{found:#?}");
}

#[test]
fn the_runtime_may_normalize_paths() {
    let plain = BOOTSTRAP.replace("          normalize_path: true\n", "");
    assert_eq!(complaints(&[&plain]).len(), 1);
    let layer = "layered_runtime: {layers: [{name: a, static_layer: {http_connection_manager.normalize_path: 100}}]}\n";
    assert_eq!(complaints(&[&format!("{plain}{layer}")]), [""; 0]);
}

/// Two listeners with a filter each.
#[test]
fn filters_on_two_listeners_must_agree() {
    let bootstrap = without_control(BOOTSTRAP);
    let listeners_at = bootstrap.find("  - name: models\n").expect("a listener");
    let clusters_at = bootstrap.find("\n  clusters:\n").expect("clusters");
    let listener = &bootstrap[listeners_at..clusters_at];
    let with = |second: &str| format!("{}{second}{}", &bootstrap[..clusters_at], &bootstrap[clusters_at..]);
    let second = PLUGIN.replace("listeners[0]", "listeners[1]");
    let first = format!("f0: {PLUGIN}");
    assert_eq!(complaints(&[&with(listener)]), [""; 0]);
    let rows = [
        (
            "vm_id: changeover",
            "vm_id: other",
            format!(
                "its vm_id differs from that of {first}: the two filters would not see each other; expected the same"
            ),
        ),
        (
            "filename: target/changeover.wasm",
            "filename: changeover2.wasm",
            format!(
                "its code differs from that of {first}: the two would run in different VMs; expected the same"
            ),
        ),
        (
            "weights: {svm: 20}",
            "weights: {svm: 30}",
            format!(
                "its configuration differs from the one at {first}, which has the same vm_id, name and root_id: the one that Envoy loads last would replace the other; expected a root_id of its own"
            ),
        ),
    ];
    for (from, to, message) in rows {
        assert_eq!(complaints(&[&with(&listener.replace(from, to))]), [format!("f0: {second}: {message}")]);
    }
    let apart = listener.replace("root_id: changeover", "root_id: second").replace("svm: 20", "svm: 30");
    assert_eq!(complaints(&[&with(&apart)]), [""; 0]);
    let rollouts = "rollouts:\n";
    let indent =
        apart.lines().find(|line| line.trim() == "rollouts:").expect("rollouts").find('r').expect("r");
    let stored = apart.replacen(
        rollouts,
        &format!("store: {{etcd: {{cluster: etcd}}, fleet: shop}}\n{}{rollouts}", " ".repeat(indent)),
        1,
    );
    let message = format!(
        "its `store` differs from that of {first}, with which it shares a VM: the filter that Envoy loads last would be refused; \
         expected the same, or a vm_id of its own"
    );
    let found = complaints(&[&with(&stored)]);
    assert!(found.contains(&format!("f0: {second}: {message}")), "{found:?}");
    let found = complaints(&[&with(&stored.replace("vm_id: changeover", "vm_id: fleet"))]);
    assert!(!found.iter().any(|line| line.contains("vm_id") || line.contains("`store`")), "{found:?}");
}

/// A shipped bootstrap with a release that moves by itself.
fn moving(bootstrap: &str) -> String {
    let affinity = "                      session_affinity:                 # a user keeps the version\n                        header: x-user-id\n                        when_missing: random            # no user id: each request is drawn on its own\n";
    assert!(bootstrap.contains(affinity));
    bootstrap
        .replace("weights: {svm: 20}", "steps: [{set_weight: 20}, {pause: {}}]")
        .replace(affinity, "                      analysis: {deadline: 15s}\n")
}

/// Each row changes the control listener in the bootstrap in one way.
#[test]
fn the_control_listener_is_checked() {
    let bootstrap = moving(BOOTSTRAP);
    assert_eq!(complaints(&[&bootstrap]), [""; 0]);
    const LISTENER: &str = "static_resources.listeners[1]";
    const HCM: &str = "static_resources.listeners[1].filter_chains[0].filters[0].typed_config";
    let looks_healthy = format!(
        "f0: {HCM}.route_config.virtual_hosts[0].routes[0]: a failed filter would look like a healthy control listener; \
         expected nothing but `direct_response: {{status: 503}}`"
    );
    let rows = [
        (
            "address: 127.0.0.1, port_value: 9911",
            "address: 0.0.0.0, port_value: 9911",
            vec![format!(
                "f0: {LISTENER}.address.socket_address: warning: the control listener is on 0.0.0.0: every client that \
                 reaches it can command the rollouts, over plain HTTP; expected 127.0.0.1"
            )],
        ),
        ("address: 127.0.0.1, port_value: 9911", "address: \"::1\", port_value: 9911", vec![]),
        (
            "{socket_address: {address: 127.0.0.1, port_value: 9911}}",
            "{pipe: {path: /run/changeover}}",
            vec![],
        ),
        ("direct_response: {status: 503}", "direct_response: {status: \"503\"}", vec![]),
        ("direct_response: {status: 503}", "direct_response: {status: 200}", vec![looks_healthy.clone()]),
        ("direct_response: {status: 503}", "route: {cluster: digits-svm}", vec![looks_healthy.clone()]),
        ("direct_response: {status: 503}", "redirect: {path_redirect: /}", vec![looks_healthy]),
        (
            "routes:\n              - match: {prefix: /}\n                direct_response",
            "ignored:\n              - match: {prefix: /}\n                direct_response",
            vec![format!(
                "f0: {HCM}.route_config: the control listener has no route; expected nothing but \
                 `direct_response: {{status: 503}}`"
            )],
        ),
        (
            "allow_on_headers_stop_iteration: true",
            "allow_on_headers_stop_iteration: false",
            vec![format!(
                "f0: {HCM}.http_filters[0].typed_config.config: allow_on_headers_stop_iteration is not true: no command \
                 would be answered, for its body would not reach the filter"
            )],
        ),
        (
            "root_id: changeover-control",
            "root_id: changeover",
            vec![format!(
                "f0: {HCM}.http_filters[0].typed_config.config: its configuration differs from the one at f0: {PLUGIN}, \
                 which has the same vm_id, name and root_id: the one that Envoy loads last would replace the other; \
                 expected a root_id of its own"
            )],
        ),
        (
            "control: {}",
            "control: {token: secret}",
            vec![format!(
                "f0: {HCM}.http_filters[0].typed_config.config: control.token: unknown field; known here: token_sha256, tokens, hosts"
            )],
        ),
    ];
    for (from, to, expected) in rows {
        assert!(bootstrap.contains(from), "nothing to change: {from}");
        let found = complaints(&[&bootstrap.replace(from, to)]);
        assert_eq!(found, expected, "{to}");
    }
}

#[test]
fn a_control_listener_with_a_default_filter_chain_alone_is_checked() {
    let mut document = yaml::read(BOOTSTRAP).expect("YAML").remove(0);
    let listener = document["static_resources"]["listeners"][1].as_object_mut().expect("a listener");
    let chains = listener.remove("filter_chains").expect("filter chains");
    listener.insert("default_filter_chain".into(), chains[0].clone());
    assert_eq!(complaints(&[&document.to_string()]), [""; 0]);
    document["static_resources"]["listeners"][1]["address"]["socket_address"]["address"] = "0.0.0.0".into();
    let (found, bad) = findings(&[&document.to_string()]);
    assert!(
        !bad && found.iter().any(|line| line.contains("the control listener is on 0.0.0.0")),
        "{found:#?}"
    );
}

#[test]
fn a_second_filter_in_one_list_is_refused() {
    let mut document = yaml::read(&without_control(BOOTSTRAP)).expect("YAML").remove(0);
    let at = format!("/{}/http_filters", MANAGER.replace(['.', '['], "/").replace(']', ""));
    let host = format!("/{}", ROUTES.replace(['.', '['], "/").replace(']', ""));
    let filters = document.pointer_mut(&at).and_then(Value::as_array_mut).expect("filters");
    filters.insert(0, filters[0].clone());
    filters[0]["name"] = "first".into();
    let told = format!(
        "f0: {MANAGER}.http_filters[1]: a second filter beside f0: {MANAGER}.http_filters[0]: it removes the headers in which the \
         first one has said what it has chosen; expected all rollouts in one filter"
    );
    assert_eq!(complaints(&[&document.to_string()]), [told.as_str()]);
    assert!(findings(&[&document.to_string()]).1);
    let mut switched = document.clone();
    switched.pointer_mut(&host).expect("a virtual host")["typed_per_filter_config"] =
        serde_json::json!({"first": {}});
    let found = complaints(&[&switched.to_string()]);
    assert_eq!(found, [told.replace(": a second", ": warning: a second")], "routes may choose one of them");
    document.pointer_mut(&at).expect("filters")[1]["disabled"] = true.into();
    let found = complaints(&[&document.to_string()]);
    assert!(!found.iter().any(|line| line.contains("a second filter")), "{found:#?}");
}

#[test]
fn the_stores_cluster_speaks_http2() {
    let mut document = yaml::read(BOOTSTRAP).expect("YAML").remove(0);
    let plugin = format!("/{}", PLUGIN.replace(['.', '['], "/").replace(']', ""));
    document.pointer_mut(&plugin).expect("the plugin")["configuration"]["value"]["store"] =
        serde_json::json!({"etcd": {"cluster": "etcd"}, "fleet": "shop"});
    let with = |options: Value| {
        let mut document = document.clone();
        let mut cluster = options;
        cluster["name"] = "etcd".into();
        document["static_resources"]["clusters"].as_array_mut().expect("clusters").push(cluster);
        complaints(&[&document.to_string()])
    };
    let options = |kind: Value| serde_json::json!({"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": kind}});
    for options in [
        options(serde_json::json!({"explicit_http_config": {"http2_protocol_options": {}}})),
        options(serde_json::json!({"auto_config": {}})),
        serde_json::json!({"http2_protocol_options": {}}),
    ] {
        assert_eq!(with(options), [""; 0]);
    }
    for options in [
        serde_json::json!({}),
        options(serde_json::json!({"explicit_http_config": {"http_protocol_options": {}}})),
    ] {
        let found = with(options);
        let expected =
            "f0: static_resources.clusters[2]: the store of fleet \"shop\" speaks gRPC, and Envoy HTTP/1.1";
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:#?}");
    }
    let shipped = yaml::read(include_str!("../../../../envoy/store/cluster.yaml")).expect("YAML").remove(0);
    assert_eq!(with(shipped), [""; 0]);
}

#[test]
fn a_step_that_waits_for_a_promotion_needs_a_control_listener() {
    let alone = moving(&without_control(BOOTSTRAP));
    let needed = "f0: warning: rollouts [\"digits\"] have a step that waits for a promotion (`pause: {}`), and there is no \
                  control listener: the rollouts could not be promoted; copy it from envoy/control.yaml";
    assert_eq!(findings(&[&alone]).0.last().map(String::as_str), Some(needed));
    assert!(!findings(&[&alone]).1, "it works until then");
    assert_eq!(complaints(&[&alone, CONTROL]), [""; 0], "it comes from another file");
    assert_eq!(complaints(&[&alone.replace("{pause: {}}", "{pause: {duration: 1h}}")]), [""; 0]);
    // Listeners and configurations that only the running Envoy has.
    assert_eq!(complaints(&[&format!("{alone}dynamic_resources: {{lds_config: {{ads: {{}}}}}}\n")]), [""; 0]);
    let blue_green = "blue_green: {active: logreg}";
    assert!(ECDS.contains(blue_green));
    let ecds = ECDS.replace(blue_green, "steps: [{set_weight: 20}, {pause: {}}]");
    let by_ecds = without_control(BY_ECDS);
    assert_eq!(complaints(&[&by_ecds, &ecds]), [needed]);
    let other = complaints(&[&by_ecds, &ecds.replace("  name: changeover\n", "  name: other\n")]);
    assert!(
        other.len() == 1 && other[0].contains("could not tell whether requests come to it"),
        "{other:#?}"
    );
}

#[test]
fn answers_later_than_the_judge_waits_are_told() {
    let warning = |route: usize, timeout: &str, deadline: &str| {
        format!(
            "f0: {ROUTES}.routes[{route}].route: warning: its timeout ({timeout}), which is for the whole answer, is longer \
             than the analysis.deadline of rollout \"digits\", which is for the answer's headers: those that come later than \
             {deadline} reach the client and count as failed"
        )
    };
    let differs = format!(
        "f0: {ROUTES}.routes[0]: warning: the ordinary route has `timeout` (f0: {ROUTES}.routes[2].route), and this one has it \
         otherwise: requests that the filter chooses go without; expected the same"
    );
    let text = moving(BOOTSTRAP);
    let rows = [
        ("deadline: 15s", "deadline: 2500ms", [0, 2].map(|route| warning(route, "15s", "2.5s")).to_vec()),
        (
            "cluster_header: x-changeover-cluster\n                  timeout: 15s",
            "cluster_header: x-changeover-cluster\n                  timeout: 15.001s",
            vec![warning(0, "15.001s", "15s"), differs.clone()],
        ),
        (
            "cluster: digits-logreg\n                  timeout: 15s",
            "cluster: digits-logreg\n                  timeout: 0s",
            vec![differs],
        ),
        ("timeout: 15s", "timeout: 0s", vec![]), // a stream on both routes
        ("                  timeout: 15s\n", "", vec![]),
        ("timeout: 15s", "timeout: soon", vec![]),
        ("analysis: {deadline: 15s}", "", vec![]),
    ];
    for (from, to, expected) in rows {
        assert!(text.contains(from), "nothing to change: {from}");
        assert_eq!(complaints(&[&text.replace(from, to)]), expected, "{to}");
    }
    let unsaid =
        text.replace("                  timeout: 15s\n", "").replace("deadline: 15s", "deadline: 10s");
    let unless_given = "15s unless given";
    assert_eq!(complaints(&[&unsaid]), [0, 2].map(|route| warning(route, unless_given, "10s")));
}

#[test]
fn routes_may_come_by_rds_from_another_file() {
    let start = BOOTSTRAP.find("          route_config:\n").expect("routes");
    let end = BOOTSTRAP.find("          http_filters:\n").expect("filters");
    let routes: String = BOOTSTRAP[start..end]
        .lines()
        .skip(1)
        .map(|line| format!("{}\n", line.strip_prefix("          ").unwrap_or(line)))
        .collect();
    let by_rds = format!(
        "{}          rds: {{route_config_name: models, config_source: {{ads: {{}}}}}}\n{}",
        &BOOTSTRAP[..start],
        &BOOTSTRAP[end..]
    );
    let told = "rds: its routes are discovered: check the file they come from together with this one";
    assert_eq!(complaints(&[&by_rds]), [format!("f0: {MANAGER}.{told}")]);
    let rds = |cluster: &str| {
        let resource = "resources:\n- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n  name: models\n";
        format!("{resource}{}", routes.replace("cluster: digits-logreg", &format!("cluster: {cluster}")))
    };
    assert_eq!(complaints(&[&by_rds, &rds("digits-logreg")]), [""; 0]);
    let found = complaints(&[&by_rds, &rds("other")]);
    assert!(
        found.len() == 1
            && found[0].starts_with(
                "f1: resources[0].virtual_hosts[0].routes[2].route: the ordinary route leads to \"other\""
            ),
        "{found:?}"
    );
}

#[test]
fn two_bootstraps_are_two_envoys() {
    let other = BOOTSTRAP.replace("weights: {svm: 20}", "weights: {svm: 30}");
    assert_eq!(complaints(&[BOOTSTRAP, &other, ECDS]), [""; 0]);
}

/// What is in the files besides a filter of ours: nothing, so that a pipeline can check a whole repository.
#[test]
fn files_without_a_filter_of_ours_are_no_error() {
    let check = |file: &str, text: &str| check(&[(file.to_owned(), text.to_owned())]);
    for text in [
        "stats_config: {}",
        "{apiVersion: v1, kind: Secret}",
        "{name: chart, version: 1.0}",
        "{listeners: []}",
        "",
        "# nothing but a comment",
        "- {hosts: all, tasks: []}",
        "a text",
        "a: 1\n---\nb: 2",
    ] {
        let found = check("f", text);
        assert!(!found.bad && !found.ours && found.lines.len() == 1, "{found:?}");
        assert_eq!(exit_status(&found), 3);
    }
    assert!(check("f", BARE).ours && check("f", BOOTSTRAP).ours && check("f", BY_ECDS).ours);
    assert!(check("f", include_str!("../../../../envoy/istio.yaml")).ours);
    let refused = check("f", "{rollouts: 5}");
    assert!(refused.bad && refused.ours);
    assert_eq!([check("f", BARE), refused].map(|found| exit_status(&found)), [0, 1]);
}

#[test]
fn json_is_read_by_the_name_of_its_file() {
    let text = "{\"rollouts\": [{\"name\": \"a\", \"release\": 1.10, \"versions\": {\"b\": {\"cluster\": \"c\"}}, \"stable\": \"b\"}]}";
    let check = |file: &str| check(&[(file.to_owned(), text.to_owned())]);
    assert!(check("f.json").bad, "a number is no text in JSON");
    assert!(!check("f.yaml").bad, "Envoy reads a text in YAML");
    assert!(check("f.JSON").bad && check("f.conf").bad, "they are JSON to Envoy");
    assert!(!check("f.YML").bad);
    assert!(super::check(&[("f.json".into(), "{rollouts: 1}".into())]).bad);
    let envoys = |file: &str, text: &str| super::check(&[(file.to_owned(), text.to_owned())]);
    for file in ["envoy.yaml", "envoy.Yml", "-", "bootstrap"] {
        assert!(!envoys(file, BOOTSTRAP).bad, "{file}");
    }
    let refused = envoys("envoy.conf", BOOTSTRAP);
    let told = "envoy.conf: warning: Envoy takes a file of this name for JSON, and it is YAML; expected a name that ends in .yaml";
    assert!(!refused.bad && refused.lines[0] == told, "{refused:?}");
    let dump = format!(
        "configs: [{{\"@type\": type.googleapis.com/envoy.admin.v3.BootstrapConfigDump, bootstrap: {}}}]",
        yaml::read(BOOTSTRAP).expect("YAML")[0]
    );
    let dumped = envoys("dump.txt", &dump);
    assert!(!dumped.bad && !dumped.lines.iter().any(|line| line.contains("file of this name")), "{dumped:?}");
    let json = yaml::read(BOOTSTRAP).expect("YAML").remove(0).to_string();
    assert!(!envoys("envoy.conf", &json).bad);
    assert!(!envoys("istio.conf", include_str!("../../../../envoy/istio.yaml")).bad, "kubectl reads it");
}

#[test]
fn a_filter_that_its_routes_enable_is_enabled() {
    let host = "domains: [\"*\"]";
    let enabled = format!(
        "{host}\n              typed_per_filter_config: {{envoy.filters.http.wasm: {{config: {{}}}}}}"
    );
    let entry = "          - name: envoy.filters.http.wasm\n";
    let disabled = format!("{entry}            disabled: true\n");
    let bootstrap = without_control(BOOTSTRAP).replace(entry, &disabled);
    assert_eq!(complaints(&[&bootstrap]).len(), 1);
    assert_eq!(complaints(&[&bootstrap.replace(host, &enabled)]), [""; 0]);
}

#[test]
fn an_envoy_without_the_filter_is_told() {
    let other = BOOTSTRAP.replace("changeover", "elsewhere").replace("x-elsewhere", "x-changeover");
    assert_eq!(
        complaints(&[&other]),
        [
            "f0: no changeover filter in it: none has `changeover` in its name, root_id, vm_id or code's file name"
        ]
    );
}

#[test]
fn a_rollout_with_people_needs_a_filter_that_holds_requests_and_one_with_receipts_their_key() {
    let with = |vm: &str, fields: &str| {
        let rollout = format!(
            "rollouts:\n                    - {{name: claims, release: \"1\", stable: people, candidate: model, versions: {{people: \
             {{cluster: digits-logreg}}, model: {{cluster: digits-svm}}}}, {fields}}}\n"
        );
        let text = without_control(BOOTSTRAP);
        let start = text.find("rollouts:").expect("rollouts");
        let indent = text[..start].rfind('\n').map_or(0, |line| start - line - 1);
        let rest = &text[start..];
        let end = rest
            .match_indices('\n')
            .find(|(at, _)| {
                let line = rest[at + 1..].lines().next().unwrap_or_default();
                !line.trim().is_empty() && line.len() - line.trim_start().len() < indent
            })
            .map_or(rest.len(), |(at, _)| at + 1);
        let text = format!("{}{rollout}{}", &text[..start], &rest[end..]);
        text.replacen("vm_config:\n", vm, 1)
    };
    let people = "automation: {answer: {label: /label}}";
    let decision = "automation: {answer: {label: /label}, decision: {match: {path: /d}, receipt: {header: x}, label: /l}}";
    let receipts = "receipt: {}";
    let large = "automation: {answer: {label: /label}, ask: {max_body: 1MiB}}";
    let too_large = "listeners[0]: warning: it buffers 1048576 bytes of a connection (per_connection_buffer_limit_bytes), and rollout \
                     \"claims\" holds tasks of up to 1MiB (automation.ask.max_body): over HTTP/1 Envoy would answer 413 to tasks";
    let over_http2 = "http2_protocol_options: warning: it buffers 262144 bytes of a request (initial_stream_window_size), and rollout \
                      \"claims\" holds tasks of up to 256KiB (automation.ask.max_body): over HTTP/2 Envoy would answer 413 to tasks that people could decide; \
                      expected a max_body well below";
    let holding = "allow_on_headers_stop_iteration: true\n                vm_config:\n";
    let keyed =
        |variables: &str| format!("{holding}                  environment_variables: {{{variables}}}\n");
    let from_host = keyed("host_env_keys: [CHANGEOVER_RECEIPT_KEY]");
    let shown = keyed("key_values: {CHANGEOVER_RECEIPT_KEY: AAAA}");
    let rows = [
        (
            "vm_config:\n",
            people,
            Some("allow_on_headers_stop_iteration is not true: with `automation` no task"),
        ),
        (holding, people, None),
        (holding, decision, Some("vm_config.environment_variables has no CHANGEOVER_RECEIPT_KEY")),
        (&from_host, decision, None),
        (&shown, decision, Some("the key of receipts is shown in /config_dump")),
        (
            "vm_config:\n",
            receipts,
            Some("no CHANGEOVER_RECEIPT_KEY: a rollout with `receipt` would be refused"),
        ),
        (&from_host, receipts, None),
        (holding, large, Some(too_large)),
        (holding, &large.replace("1MiB", "1023KiB"), None),
    ];
    for (vm, fields, expected) in rows {
        let found = complaints(&[&with(vm, fields)]);
        let about: Vec<&String> = found
            .iter()
            .filter(|line| {
                ["stop_iteration", "environment", "receipts", "holds tasks"]
                    .iter()
                    .any(|word| line.contains(word))
            })
            .collect();
        assert_eq!(about.len(), usize::from(expected.is_some()), "{found:#?}");
        assert!(expected.is_none_or(|expected| about[0].contains(expected)), "{found:#?}");
    }
    for (window, expected) in [(262_144, vec![format!("f0: {MANAGER}.{over_http2}")]), (262_145, vec![])] {
        let options = format!("http2_protocol_options: {{initial_stream_window_size: {window}}}");
        let text = with(holding, people).replacen(
            "normalize_path",
            &format!("{options}\n          normalize_path"),
            1,
        );
        assert_eq!(complaints(&[&text]), expected);
    }
}
