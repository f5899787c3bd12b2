//! Kubernetes resources.

mod gateway;
mod istio;

use super::*;

const ISTIO: &str = include_str!("../../../../../envoy/istio.yaml");
const GATEWAY: &str = include_str!("../../../../../envoy/envoy-gateway.yaml");

#[test]
fn configurations_in_kubernetes_resources_are_checked() {
    for (file, place) in [
        (ISTIO, "WasmPlugin/changeover: spec.pluginConfig"),
        (GATEWAY, "EnvoyExtensionPolicy/changeover: spec.wasm[0].config"),
    ] {
        let (found, bad) = findings(&[file]);
        assert!(!bad && found.len() == 1, "{found:?}");
        assert!(found[0].starts_with(&format!("f0: {place}: valid: 1 rollout, ")), "{found:?}");
        let (found, bad) = findings(&[&file.replace("green: 5}", "green: 120}")]);
        assert_eq!(
            (found, bad),
            (vec![format!("f0: {place}: rollouts[0].weights.green: 120 is over 100")], true)
        );
    }
    let (found, bad) =
        findings(&["{apiVersion: v1, kind: Secret}\n---\n{apiVersion: v2, kind: Other}\n---\n"]);
    assert_eq!(found, ["f0: nothing to check: no changeover filter in its Kubernetes resources"]);
    assert!(!bad);
}

#[test]
fn a_step_that_waits_for_a_promotion_is_reported_where_there_is_no_control_listener() {
    let steps = "steps: [{set_weight: 5}, {pause: {}}]";
    for (file, place) in [
        (ISTIO, "WasmPlugin/changeover: spec.pluginConfig"),
        (GATEWAY, "EnvoyExtensionPolicy/changeover: spec.wasm[0].config"),
    ] {
        assert_eq!(complaints(&[file]), [""; 0]);
        assert!(file.contains("weights: {green: 5}"));
        let waiting = file.replace("weights: {green: 5}", steps);
        let (found, bad) = findings(&[&waiting]);
        let told = found.last().expect("a warning");
        let expected = format!(
            "f0: {place}: warning: rollouts [\"recommender\"] have a step that waits for a promotion"
        );
        assert!(!bad && told.starts_with(&expected), "{found:?}");
        assert_eq!(complaints(&[&waiting.replace("{pause: {}}", "{pause: {duration: 1h}}")]), [""; 0]);
    }
    // Its listener comes by a patch, or it is a filter of its own.
    let waiting = ISTIO.replace("weights: {green: 5}", steps);
    let listener = yaml::read(CONTROL).expect("YAML").remove(0)["listeners"][0].clone();
    let patch = serde_json::json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "spec": {"configPatches": [{"applyTo": "LISTENER", "patch": {"operation": "ADD", "value": listener}}]},
    });
    assert_eq!(complaints(&[&format!("{waiting}\n---\n{patch}\n")]), [""; 0]);
    // Other kinds of resources lack a field that it needs.
    let plugin = serde_json::json!({
        "apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin", "metadata": {"name": "changeover-control"},
        "spec": {"failStrategy": "FAIL_OPEN", "pluginConfig": {"control": {}}},
    });
    let (found, bad) = findings(&[&format!("{waiting}\n---\n{plugin}\n")]);
    let told = |part: &str| found.iter().any(|line| line.contains(part));
    assert!(bad && told("it has `control`, which needs allow_on_headers_stop_iteration"), "{found:#?}");
    assert!(told("have a step that waits for a promotion"), "{found:#?}");
}

/// What is said when a shipped file has one thing changed, besides that its configuration is valid.
fn changed(file: &str, from: &str, to: &str) -> (Vec<String>, bool) {
    assert!(file.contains(from), "nothing to change: {from}");
    let (lines, bad) = findings(&[&file.replace(from, to)]);
    (lines.into_iter().filter(|line| !line.contains(": valid: ")).collect(), bad)
}

/// Each row: the file, what is replaced by what, how the finding goes on behind the filter's place, and whether it fails.
#[test]
fn the_filters_surroundings_are_checked_in_all_files_together() {
    let rows = [
        (
            ISTIO,
            "kind: EnvoyFilter",
            "kind: Other",
            "nothing obeys the filter: there is no EnvoyFilter in these files",
            true,
        ),
        (
            ISTIO,
            "cluster_header: x-changeover-cluster",
            "cluster: b",
            "no patch adds a route that obeys the filter for version \"blue\"",
            true,
        ),
        (
            ISTIO,
            "              - remove: x-changeover-cluster\n",
            "",
            "a client's own x-changeover-cluster is not removed",
            true,
        ),
        (
            ISTIO,
            "operation: INSERT_FIRST",
            "operation: ADD",
            "the route that obeys the filter would stand below the ordinary one (ADD)",
            true,
        ),
        (
            ISTIO,
            "  - name: recommender\n    route:",
            "  - name: other\n    route:",
            "warning: no VirtualService of these files has a route \"recommender\"",
            false,
        ),
        (
            ISTIO,
            "{host: recommender-blue.",
            "{host: recommender-green.",
            "warning: the ordinary route leads to \"recommender-green",
            false,
        ),
        (ISTIO, "{host: recommender-blue.", "{host: third.", "the ordinary route leads to \"third", true),
        (
            GATEWAY,
            "kind: ClientTrafficPolicy",
            "kind: Other",
            "a client's own x-changeover-cluster is not removed",
            true,
        ),
        (
            GATEWAY,
            "remove: [x-changeover-cluster, x-changeover-mirror, x",
            "remove: [x-changeover-mirror, x",
            "a client's own x-changeover-cluster is not removed",
            true,
        ),
        (
            GATEWAY,
            "name: x-changeover-cluster, value: green}",
            "name: x-changeover-cluster, value: red}",
            "no rule of an HTTPRoute in these files matches `x-changeover-cluster: green`",
            true,
        ),
        (
            GATEWAY,
            "kind: HTTPRoute\nmetadata",
            "kind: Other\nmetadata",
            "no rule of an HTTPRoute in these files matches `x-changeover-cluster: blue`",
            true,
        ),
    ];
    for (file, from, to, expected, fails) in rows {
        let (lines, bad) = changed(file, from, to);
        assert!(
            lines.first().is_some_and(|line| line.contains(&format!(": {expected}"))),
            "{to}: {lines:#?}"
        );
        assert_eq!(bad, fails, "{to}");
    }
    let ordinary = "value: /v2/models/recommender}\n    filters:\n    - type: ResponseHeaderModifier\n      responseHeaderModifier: {remove: \
                    [x-changeover-cluster, x-changeover-mirror, x-changeover-shadow]}\n    backendRefs: [{name: recommender-blue, port: 8080}]\n---";
    let (lines, bad) = changed(GATEWAY, ordinary, &ordinary.replace("blue", "green"));
    assert!(!bad && lines[0].contains("the ordinary rule leads to the candidate"), "{lines:?}");
    let (lines, bad) = changed(GATEWAY, ordinary, &ordinary.replace("blue", "red"));
    assert!(bad && lines[0].contains("has other `backendRefs`"), "{lines:?}");
    let (lines, bad) = changed(GATEWAY, ordinary, &ordinary.replace("recommender}", "other}"));
    assert!(bad && lines[0].contains("no ordinary rule for rollout \"recommender\""), "{lines:?}");
    // Any number of files.
    for file in [ISTIO, GATEWAY] {
        let parts: Vec<&str> = file.split("\n---\n").collect();
        assert!(parts.len() > 3);
        assert_eq!(complaints(&parts), [""; 0]);
    }
    let extension = ISTIO.replace("kind: WasmPlugin", "kind: TrafficExtension");
    let spec = extension.replace(
        "  failStrategy: FAIL_OPEN\n",
        "  wasm: {failStrategy: FAIL_OPEN, pluginName: changeover}\n",
    );
    assert!(findings(&[&spec]).0[0].contains("spec.wasm: pluginConfig is missing"));
}

#[test]
fn a_filter_in_a_patch_is_checked() {
    let listener = yaml::read(BOOTSTRAP).expect("YAML").remove(0)["static_resources"]["listeners"][0].clone();
    let entry = &listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][0];
    for kind in ["EnvoyFilter", "EnvoyPatchPolicy"] {
        let patch = |entry: &Value| {
            let patch = serde_json::json!({"applyTo": "HTTP_FILTER", "patch": {"operation": "INSERT_BEFORE", "value": entry}});
            serde_json::json!({
                "apiVersion": "networking.istio.io/v1alpha3", "kind": kind, "metadata": {"name": "changeover"},
                "spec": {"configPatches": [patch], "jsonPatches": [{"operation": {"op": "add", "value": entry}}]},
            })
        };
        // Nothing around it is right yet.
        let (found, bad) = findings(&[&patch(entry).to_string()]);
        assert!(bad && found[0].contains(": valid: 1 rollout, "), "{found:#?}");
        assert!(
            found.iter().any(|line| line.contains("a client's own x-changeover-cluster is not removed")),
            "{found:#?}"
        );
        let mut broken = entry.clone();
        broken["typed_config"]["config"]["configuration"]["value"] =
            serde_json::json!({"rollouts": [{"nonsense": 1}]});
        assert!(findings(&[&patch(&broken).to_string()]).1);
        let mut closed = entry.clone();
        closed["typed_config"]["config"].as_object_mut().expect("a plugin").remove("failure_policy");
        let is_told = |text: String| {
            complaints(&[&text]).iter().any(|line| line.contains("failure_policy is not FAIL_OPEN"))
        };
        assert!(is_told(patch(&closed).to_string()));
        let merged = patch(&closed).to_string().replace("INSERT_BEFORE", "MERGE");
        assert_eq!(is_told(merged), kind == "EnvoyPatchPolicy", "its other fields stand elsewhere");
    }
}

/// With what a `WasmPlugin` or an `EnvoyExtensionPolicy` needs around it, nothing is said.
#[test]
fn a_filter_in_a_patch_needs_the_same_around_it() {
    let mut entry =
        yaml::read(BOOTSTRAP).expect("YAML").remove(0)["static_resources"]["listeners"][0]["filter_chains"]
            [0]["filters"][0]["typed_config"]["http_filters"][0]
            .clone();
    for (file, kind, at) in [
        (ISTIO, "WasmPlugin", "/spec/pluginConfig"),
        (GATEWAY, "EnvoyExtensionPolicy", "/spec/wasm/0/config"),
    ] {
        let documents = yaml::read(file).expect("YAML");
        let (plugins, others): (Vec<_>, Vec<_>) =
            documents.into_iter().partition(|document| document["kind"] == kind);
        entry["typed_config"]["config"]["configuration"]["value"] =
            plugins[0].pointer(at).expect("a configuration").clone();
        let (kind, spec) = if kind == "WasmPlugin" {
            let patch = serde_json::json!({"applyTo": "HTTP_FILTER", "patch": {"operation": "INSERT_BEFORE", "value": entry}});
            (
                "EnvoyFilter",
                serde_json::json!({"workloadSelector": {"labels": {"istio": "ingressgateway"}}, "configPatches": [patch]}),
            )
        } else {
            (
                "EnvoyPatchPolicy",
                serde_json::json!({"jsonPatches": [{"operation": {"op": "add", "value": entry}}]}),
            )
        };
        let patch = serde_json::json!({
            "apiVersion": "v1", "kind": kind, "metadata": {"name": "filter", "namespace": "istio-system"}, "spec": spec,
        });
        let others: Vec<String> = others.iter().map(Value::to_string).collect();
        let others = others.join("\n---\n");
        assert_eq!(complaints(&[&patch.to_string(), &others]), [""; 0]);
        let (found, bad) =
            findings(&[&patch.to_string(), &others.replace("x-changeover-cluster", "x-other")]);
        assert!(bad, "{found:#?}");
    }
}

/// A file that is mounted into Envoy's pod.
#[test]
fn a_bootstrap_in_a_config_map_is_checked() {
    let map = |text: &str| {
        let data = serde_json::json!({"envoy.yaml": text, "notes.txt": text});
        serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "envoy"}, "data": data}).to_string()
    };
    let (found, bad) = findings(&[&map(BOOTSTRAP)]);
    assert!(!bad && found.iter().all(|line| line.contains(": valid: ")), "{found:#?}");
    let place = format!("f0: ConfigMap/envoy: data.envoy.yaml: {PLUGIN}: valid: ");
    assert!(found[0].starts_with(&place), "{found:#?}");
    let (found, bad) = findings(&[&map(&BOOTSTRAP.replace("weights: {svm: 20}", "weights: {svm: 120}"))]);
    assert!(bad && found[0].contains("weights.svm: 120 is over 100"), "{found:#?}");
    let other = map(BOOTSTRAP).replace("envoy.yaml", "bootstrap");
    let secret = map(BOOTSTRAP).replace("\"ConfigMap\"", "\"Secret\"").replace("\"data\"", "\"stringData\"");
    for text in [other, secret] {
        let (found, bad) = findings(&[&text]);
        assert!(
            !bad && found.len() == 2 && found.iter().all(|line| line.contains(": valid: ")),
            "{found:#?}"
        );
    }
    let (found, bad) = findings(&[&map("static_resources: {}\n")]);
    assert!(
        !bad && found == ["f0: nothing to check: no changeover filter in its Kubernetes resources"],
        "{found:#?}"
    );
}

#[test]
fn copies_and_their_mark_are_looked_at_in_kubernetes() {
    const WEIGHTS: &str = "weights: {green: 5}";
    let unpatched = ISTIO.replace("request_mirror_policies:", "hash_policy:");
    let compare = unpatched.replace(WEIGHTS, "mirror: {to: green, mode: compare, methods: [POST]}");
    assert_eq!(complaints(&[&compare]), [""; 0], "the filter copies");
    let copied = GATEWAY.replace(WEIGHTS, "mirror: {to: green}");
    let said = complaints(&[&copied]);
    assert!(said.len() == 1 && said[0].contains("warning: nothing of rollout"), "{said:#?}");
    let patch = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyPatchPolicy\nmetadata: {name: mirror}\n\
                 spec: {jsonPatches: [{operation: {value: {route: {request_mirror_policies: []}}}}]}\n";
    assert_eq!(complaints(&[&format!("{copied}\n---\n{patch}")]), [""; 0]);
    let trusting = GATEWAY.replace(WEIGHTS, "trust_shadow_header: true");
    let said = complaints(&[&trusting]);
    assert!(said.len() == 1 && said[0].contains("x-changeover-shadow is removed"), "{said:#?}");
    let kept = trusting.replace(", x-changeover-shadow]\n", "]\n");
    assert_eq!(complaints(&[&kept]), [""; 0]);
}

/// What these resources cannot have, and what they need besides.
#[test]
fn tasks_receipts_and_questions_to_versions_are_looked_at_in_kubernetes() {
    const WEIGHTS: &str = "weights: {green: 5}";
    // Fields of the rollout in place of its weights.
    let with = |file: &str, fields: &[&str]| {
        let before = &file[..file.find(WEIGHTS).expect("weights")];
        let line = &before[before.rfind('\n').expect("a line") + 1..];
        file.replace(WEIGHTS, &fields.join(&format!("\n{line}")))
    };
    let automation = [
        "automation: {answer: {label: /label}, decision: {match: {path: /d}, receipt: {header: x}, label: /l}}",
    ];
    let feedback = "feedback: [{name: click, match: {path: /c}, join: receipt}]";
    let receipt = [WEIGHTS, "analysis: {}", "receipt: {response_header: x-receipt}", feedback];
    let istio = "  failStrategy: FAIL_OPEN\n";
    let gateway = "    failOpen: true\n";
    for (file, field, key) in [
        (ISTIO, istio, "  vmConfig: {env: [{name: CHANGEOVER_RECEIPT_KEY, valueFrom: HOST}]}\n"),
        (GATEWAY, gateway, "    env: {hostKeys: [CHANGEOVER_RECEIPT_KEY]}\n"),
    ] {
        let keyed = file.replacen(field, &format!("{field}{key}"), 1);
        let said = complaints(&[&with(file, &receipt)]);
        assert!(said.len() == 1 && said[0].contains("has no CHANGEOVER_RECEIPT_KEY"), "{said:#?}");
        assert_eq!(complaints(&[&with(&keyed, &receipt)]), [""; 0]);
        let beside = |line: &&str| {
            ["override:", "session_affinity:", " header: x-user-id", "when_missing:"]
                .iter()
                .all(|field| !line.contains(field))
        };
        let people: Vec<&str> = keyed.lines().filter(beside).collect();
        let said = complaints(&[&with(&people.join("\n"), &automation)]);
        assert!(said.len() == 1 && said[0].contains("allow_on_headers_stop_iteration"), "{said:#?}");
    }
    let ready = with(GATEWAY, &["steps: [{ready: {path: /r}}, {set_weight: 5}, {pause: {duration: 1h}}]"]);
    let said = complaints(&[&ready]);
    let asks = "`ready` of rollout \"recommender\" asks Envoy's cluster \"green\"";
    assert!(said.len() == 1 && said[0].contains(asks), "{said:#?}");
    let name = "httproute/default/models/rule/1";
    let named = ready.replace("cluster: green", &format!("cluster: {name}"));
    let named = named.replace("value: green}", &format!("value: {name}}}"));
    assert_eq!(complaints(&[&named]), [""; 0]);
}

/// What is replaced in the shipped file for Istio, by what, and what is said about it.
#[test]
fn the_patches_for_istio_are_looked_at_closely() {
    let place = "f0: WasmPlugin/changeover";
    let removal = "        response_headers_to_remove: [x-changeover-cluster, x-changeover-mirror, x-changeover-shadow]   # a server's own\n";
    let warning = format!(
        "{place}: warning: an upstream's own x-changeover-cluster, x-changeover-mirror, x-changeover-shadow would reach clients; \
         expected `response_headers_to_remove: [x-changeover-cluster, x-changeover-mirror, x-changeover-shadow]`"
    );
    assert!(ISTIO.contains(removal));
    assert_eq!(complaints(&[&ISTIO.replace(removal, "")]), std::slice::from_ref(&warning));
    assert_eq!(complaints(&[&ISTIO.replacen(removal, "", 1)]), [warning], "one of the two routes");
    let around = "  configPatches:\n  - {applyTo: VIRTUAL_HOST, patch: {operation: MERGE, value: {response_headers_to_remove: [x-changeover-cluster, x-changeover-mirror, x-changeover-shadow]}}}\n";
    let by_host = ISTIO.replace(removal, "").replace("  configPatches:\n", around);
    assert_eq!(complaints(&[&by_host]), [""; 0]);

    let mirrored = ISTIO.replace("weights: {green: 5}", "mirror: {to: green}");
    assert_eq!(complaints(&[&mirrored]), [""; 0]);
    let nothing = format!(
        "{place}: nothing of rollout \"recommender\" would be mirrored: no patch adds a route with `request_mirror_policies` and \
         `cluster_header: x-changeover-mirror` in it; expected the mirror route of envoy/istio.yaml"
    );
    assert_eq!(complaints(&[&mirrored.replace("request_mirror_policies:", "hash_policy:")]), [nothing]);

    // A virtual host of its own brings its routes in their order.
    let host = serde_json::json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "spec": {"configPatches": [{"applyTo": "VIRTUAL_HOST", "patch": {"operation": "ADD", "value": {
            "name": "models", "domains": ["models.example.com"],
            "response_headers_to_remove": ["x-changeover-cluster", "x-changeover-mirror", "x-changeover-shadow"],
            "routes": [
                {"match": {"prefix": "/", "headers": [{"name": "x-changeover-cluster", "present_match": true}]},
                 "route": {"cluster_header": "x-changeover-cluster"}},
            ],
        }}}]},
    });
    let with_host = format!("{ISTIO}\n---\n{host}\n");
    assert_eq!(complaints(&[&with_host]), [""; 0]);
    let merged = complaints(&[&with_host.replace(r#""operation":"ADD""#, r#""operation":"MERGE""#)]);
    assert!(
        merged.len() == 1 && merged[0].contains("would stand below the ordinary one (MERGE)"),
        "{merged:?}"
    );
}
