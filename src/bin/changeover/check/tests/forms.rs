//! The forms that Envoy's documents have.

use super::*;

/// A shipped file of Envoy's as a value, in which a test replaces what stands at a pointer.
fn bootstrap() -> Value {
    yaml::read(BOOTSTRAP).expect("YAML").remove(0)
}

/// What is found in a document.
fn found(document: &Value) -> (Vec<String>, bool) {
    let found = check(&[("f.json".into(), document.to_string())]);
    (found.lines, found.bad)
}

/// The type of a message of Envoy's.
fn kind(kind: &str) -> String {
    format!("type.googleapis.com/envoy.{kind}")
}

/// Takes the routes out of a listener, which finds them by their name then.
fn discover_routes(listener: &mut Value) -> Value {
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    manager["rds"] = serde_json::json!({"route_config_name": "models"});
    let mut routes =
        manager.as_object_mut().and_then(|manager| manager.remove("route_config")).expect("routes");
    routes["name"] = "models".into();
    routes
}

/// Routes that are in no order in which all obey.
fn reversed(routes: &Value) -> Value {
    let mut routes = routes.clone();
    routes["virtual_hosts"][0]["routes"].as_array_mut().expect("routes").reverse();
    routes
}

#[test]
fn a_merge_key_is_refused_wherever_envoy_reads_it() {
    for (from, to, place) in [
        ("timeout: 15s\n", "<<: {timeout: 15s}\n", format!("{ROUTES}.routes[0].route.<<")),
        ("- match: {prefix: /}", "- match: {<<: {prefix: /}}", format!("{ROUTES}.routes[2].match.<<")),
        ("- name: digits-svm\n", "- <<: {name: digits-svm}\n", "static_resources.clusters[1].<<".into()),
        (
            "- name: models\n    add",
            "- <<: {name: models}\n    add",
            "static_resources.listeners[0].<<".into(),
        ),
        (
            "runtime: envoy.wasm.runtime.v8",
            "<<: {runtime: envoy.wasm.runtime.v8}",
            format!("{PLUGIN}.vm_config.<<"),
        ),
    ] {
        assert!(BOOTSTRAP.contains(from), "nothing to change: {from}");
        let (found, bad) = findings(&[&BOOTSTRAP.replace(from, to)]);
        let expected =
            format!("f0: {place}: Envoy does not merge (`<<` is an unknown field); write the fields out");
        assert!(bad && found.contains(&expected), "{found:#?}");
    }
    let free = BOOTSTRAP.replace("time: \"%START_TIME%\"", "<<: {time: \"%START_TIME%\"}");
    assert_eq!(complaints(&[&free]), [""; 0], "a log may have such a key");
    let istio = include_str!("../../../../../envoy/istio.yaml");
    let merged = istio.replace("failStrategy: FAIL_OPEN", "<<: {failStrategy: FAIL_OPEN}");
    assert!(merged.contains("<<"));
    assert_eq!(complaints(&[&merged]), [""; 0], "kubectl merges");
}

#[test]
fn a_key_that_is_no_field_is_refused_at_the_top_of_a_bootstrap() {
    let (found, bad) = findings(&[&format!("x-base: &base {{timeout: 15s}}\n{BOOTSTRAP}")]);
    assert!(bad && found[0].starts_with("f0: x-base: an unknown field"), "{found:?}");
    // As it is to an anchor that stands there under any other name.
    for name in ["defaults", "x_defaults", "_base"] {
        let (found, bad) = findings(&[&format!("{name}: &base {{timeout: 15s}}\n{BOOTSTRAP}")]);
        assert!(bad && found[0].starts_with(&format!("f0: {name}: an unknown field")), "{found:?}");
    }
    for known in ["headerPrefix: x-a", "stats_flush_interval: 5s", "watchdogs: {}"] {
        assert_eq!(complaints(&[&format!("{known}\n{BOOTSTRAP}")]), [""; 0], "{known}");
    }
}

#[test]
fn a_key_that_is_no_field_is_ignored_in_files_that_envoy_discovers() {
    for top in ["x-base: &base {timeout: 15s}\n", "x-base: {<<: {timeout: 15s}}\n"] {
        assert_eq!(complaints(&[&format!("{top}{ECDS}")]), [""; 0], "{top}");
    }
    assert!(findings(&[&format!("<<: {{version_info: \"1\"}}\n{ECDS}")]).1);
}

#[test]
fn files_of_other_programs_are_passed_over() {
    const HELM: &str =
        "redis-ha: {enabled: true}\nresources: {limits: {cpu: 1}}\nnodeSelector: {a: b}\nnode_selector: {}\n";
    const CONCOURSE: &str =
        "x-git: &git {type: git}\nresources:\n- {<<: *git, name: a}\njobs: [{name: b, plan: [{get: a}]}]\n";
    for (file, text) in [
        ("values.yaml", HELM),
        ("values.yaml.gotmpl", HELM),
        ("/tmp/tmp.XyZ", HELM),
        ("pipeline.yml", CONCOURSE),
    ] {
        let found = check(&[(file.to_owned(), text.to_owned())]);
        assert_eq!(exit_status(&found), NOTHING_OF_OURS, "{found:?}");
        let found = check(&[(file.to_owned(), text.to_owned()), ("envoy.yaml".into(), BOOTSTRAP.into())]);
        assert!(found.ours && !found.bad, "{found:?}");
    }
}

/// The same with JSON's names of fields.
fn camel(value: &Value) -> Value {
    const KEPT: [&str; 4] = ["configuration", "json_format", "key_values", "pluginConfig"];
    let name = |name: &String| {
        let mut parts = name.split('_');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |name, part| name + &part[..1].to_ascii_uppercase() + &part[1..])
    };
    match value {
        Value::Object(fields) => {
            let of = |(key, value): (&String, &Value)| match key.as_str() {
                kept if KEPT.contains(&kept) || value.get("rollouts").is_some() => (name(key), value.clone()),
                _ => (name(key), camel(value)),
            };
            Value::Object(fields.iter().map(of).collect())
        }
        Value::Array(list) => list.iter().map(camel).collect(),
        _ => value.clone(),
    }
}

/// All of a text's documents, in JSON's spelling.
fn spelled_otherwise(text: &str) -> String {
    let documents = yaml::read(text).expect("YAML");
    documents.iter().map(|document| format!("---\n{}\n", camel(document))).collect()
}

#[test]
fn both_spellings_of_fields_are_read() {
    for shipped in [
        BOOTSTRAP,
        BY_ECDS,
        ECDS,
        CONTROL,
        include_str!("../../../../../envoy/istio.yaml"),
        include_str!("../../../../../envoy/envoy-gateway.yaml"),
        include_str!("../../../../../envoy/routes.yaml"),
        include_str!("../../../../../envoy/stats-tags.yaml"),
    ] {
        let other = spelled_otherwise(shipped);
        assert_eq!(findings(&[&other]), findings(&[shipped]));
    }
    let broken = BOOTSTRAP.replace("cluster: digits-logreg\n", "cluster: other\n");
    assert_eq!(findings(&[&spelled_otherwise(&broken)]), findings(&[&broken]));
    assert!(findings(&[&broken]).1);
    // One of them alone.
    let mixed = BOOTSTRAP.replace("static_resources:", "staticResources:");
    assert_eq!(complaints(&[&mixed]), [""; 0]);
    let mixed = mixed.replace("cluster: digits-logreg\n", "cluster: other\n");
    assert_eq!(findings(&[&mixed]), findings(&[&broken]));
    let both = BOOTSTRAP.replace("merge_slashes: true", "merge_slashes: true\n          mergeSlashes: true");
    let (found, bad) = findings(&[&both]);
    let expected = format!(
        "f0: {MANAGER}.merge_slashes: it is there as `mergeSlashes` as well: Envoy takes a field once; expected one of them"
    );
    assert!(bad && found[0] == expected, "{found:?}");
    // The configuration is the plugin's own.
    let own = BOOTSTRAP.replace("session_affinity:", "sessionAffinity:");
    assert!(findings(&[&own]).1);
}

#[test]
fn keys_of_maps_are_no_fields() {
    let disabled = "domains: [\"*\"]\n              typedPerFilterConfig: {envoy.filters.http.wasm: {\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}";
    let (found, bad) = findings(&[&without_control(BOOTSTRAP).replace("domains: [\"*\"]", disabled)]);
    assert!(bad && found[1].contains("is disabled here"), "{found:?}");
    let jwt = "          - name: jwt\n            typed_config: {providers: {aB: {from_headers: []}, a_b: {}}, requirement_map: {aB: {}, a_b: {}}}\n          - name: envoy.filters.http.router\n";
    let named = BOOTSTRAP.replacen("          - name: envoy.filters.http.router\n", jwt, 1);
    assert!(named.contains("providers"));
    assert_eq!(complaints(&[&named]), [""; 0]);
}

/// An extension as `TypedStruct`, with fields in JSON's spelling.
#[test]
fn a_typed_struct_is_read_as_the_message_that_it_stands_for() {
    let at = format!("/{}", PLUGIN.trim_end_matches(".config").replace(['.', '['], "/").replace(']', ""));
    for kind in ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"] {
        let mut document = bootstrap();
        let filter = document.pointer_mut(&at).expect("the filter");
        let url = filter.as_object_mut().and_then(|fields| fields.remove("@type")).expect("a type");
        let typed = |url: &Value, value: &Value| serde_json::json!({"@type": format!("type.googleapis.com/{kind}"), "type_url": url, "value": value});
        let value = camel(filter);
        *filter = typed(&url, &value);
        assert_eq!(found(&document), found(&bootstrap()));
        document.pointer_mut(&format!("{at}/value/config/configuration/value")).expect("a configuration")["rollouts"]
            [0]["nonsense"] = 5.into();
        let (lines, bad) = found(&document);
        assert!(bad && lines[0].contains("nonsense"), "{lines:?}");
        for (url, expected) in [
            (Value::Null, "the TypedStruct has no `type_url`"),
            (format!("type.googleapis.com/{kind}").into(), "a TypedStruct inside a TypedStruct"),
        ] {
            *document.pointer_mut(&at).expect("the filter") = typed(&url, &value);
            let (lines, bad) = found(&document);
            let place = format!("f.json: {}: {expected}", PLUGIN.trim_end_matches(".config"));
            assert!(bad && lines[0].starts_with(&place), "{lines:?}");
        }
    }
}

/// A plugin's own configuration may be one without a type, with whatever names of fields.
#[test]
fn a_typed_struct_inside_an_extension_is_its_own() {
    let own = "{\"@type\": type.googleapis.com/xds.type.v3.TypedStruct, value: {aB: 1, a_b: 2, <<: 3}}";
    let go = format!(
        "          - name: go\n            typed_config:\n              \"@type\": type.googleapis.com/envoy.extensions.filters.http.golang.v3alpha.Config\n              plugin_config: {own}\n          - name: envoy.filters.http.router\n"
    );
    let beside = BOOTSTRAP.replacen("          - name: envoy.filters.http.router\n", &go, 1);
    assert!(beside.contains("plugin_config"));
    assert_eq!(complaints(&[&beside]), [""; 0]);
    let own = own.replace(", <<: 3", "");
    let foreign = format!(
        "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: go}}\nspec:\n  configPatches:\n  - applyTo: HTTP_FILTER\n    patch:\n      operation: INSERT_BEFORE\n      value:\n        name: go\n        typed_config: {{plugin_config: {own}}}\n"
    );
    let found = check(&[("go.yaml".into(), foreign)]);
    assert_eq!(exit_status(&found), NOTHING_OF_OURS, "{found:?}");
}

/// What the shipped files for Envoy Gateway and Istio become in an Envoy.
#[test]
fn dumps_of_gateways_are_valid() {
    const CLUSTER: &str = "x-changeover-cluster";
    let mut listener = bootstrap()["static_resources"]["listeners"][0].clone();
    drop(discover_routes(&mut listener));
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    manager["rds"]["config_source"] = serde_json::json!({"ads": {}});
    let filter = &mut manager["http_filters"][0];
    filter["name"] = "wasm/0".into();
    filter["disabled"] = true.into();
    let plugin = filter["typed_config"]["config"].as_object_mut().expect("a plugin");
    plugin.remove("failure_policy");
    plugin.insert("fail_open".into(), true.into());
    plugin["configuration"] = serde_json::json!({
        "@type": "type.googleapis.com/google.protobuf.StringValue",
        "value": serde_json::json!({"rollouts": [{
            "name": "recommender", "match": {"prefix": "/v2/models/recommender"}, "stable": "blue", "candidate": "green",
            "versions": {"blue": {"cluster": "blue"}, "green": {"cluster": "green"}},
        }]}).to_string(),
    });
    let rule = |number: usize, headers: Value| {
        serde_json::json!({
            "match": {"path_separated_prefix": "/v2/models/recommender", "headers": headers},
            "route": {"cluster": format!("httproute/models/models/rule/{number}")},
            "response_headers_to_remove": [CLUSTER, "x-changeover-mirror", "x-changeover-shadow"],
            "typed_per_filter_config": {"wasm/0": {"@type": kind("config.route.v3.FilterConfig"), "config": {}}},
        })
    };
    let of = |version: &str| serde_json::json!([{"name": CLUSTER, "string_match": {"exact": version}}]);
    let rules = [rule(0, of("blue")), rule(1, of("green")), rule(2, serde_json::json!([]))];
    let routes = serde_json::json!({
        "@type": kind("config.route.v3.RouteConfiguration"), "name": "models",
        "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": rules}],
    });
    let stats = bootstrap()["stats_config"].clone();
    let dump = |listener: &Value, beside: Value| {
        let parts = [
            serde_json::json!({"@type": kind("admin.v3.BootstrapConfigDump"), "bootstrap": {"stats_config": stats}}),
            serde_json::json!({"@type": kind("admin.v3.ListenersConfigDump"), "dynamic_listeners": [{"active_state": {"listener": listener}}]}),
            beside,
        ];
        serde_json::json!({"configs": parts})
    };
    let discovered = serde_json::json!({
        "@type": kind("admin.v3.RoutesConfigDump"), "dynamic_route_configs": [{"route_config": routes}],
    });
    let (lines, bad) = found(&dump(&listener, discovered));
    assert!(!bad && lines.len() == 1, "{lines:#?}");

    let mut listener = bootstrap()["static_resources"]["listeners"][0].clone();
    let filters = &mut listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"];
    let mut config = filters[0]["typed_config"].clone();
    config["config"]["vm_config"].as_object_mut().and_then(|vm| vm.remove("vm_id")).expect("a vm_id");
    let name = "extensions.istio.io/wasmplugin/istio-system.changeover";
    let discovery = serde_json::json!({"config_source": {"ads": {}}, "type_urls": [config["@type"]]});
    filters[0] = serde_json::json!({"name": name, "config_discovery": discovery});
    let dumped = |name: &str| {
        serde_json::json!({
            "@type": kind("admin.v3.EcdsConfigDump"),
            "ecds_filters": [{"ecds_filter": {"@type": kind("config.core.v3.TypedExtensionConfig"), "name": name, "typed_config": config}}],
        })
    };
    let document = dump(&listener, dumped(name));
    let said = |document: &Value| -> Vec<String> {
        let told = |line: &String| line.contains("vm_id") || line.contains("default_config");
        found(document).0.into_iter().filter(told).collect()
    };
    let lines = said(&document);
    assert!(lines.len() == 2 && lines.iter().all(|line| line.contains(": warning: ")), "{lines:#?}");
    let other = document.to_string().replace(name, "changeover");
    let lines = said(&serde_json::from_str(&other).expect("JSON"));
    assert!(lines.len() == 2 && lines.iter().all(|line| !line.contains(": warning: ")), "{lines:#?}");
}

#[test]
fn parts_of_a_dump_and_lists_of_istioctl_are_read() {
    let document = bootstrap();
    let listeners = &document["static_resources"]["listeners"];
    let typed = |kind: &str, mut value: Value| {
        value["@type"] = format!("type.googleapis.com/envoy.{kind}").into();
        value
    };
    let dumped = |kind: &str, value: Value| typed(&format!("admin.v3.{kind}"), value);
    let valid = |document: &Value| {
        let found = check(&[("f.json".into(), document.to_string())]);
        found.lines.iter().filter(|line| line.contains(": valid: ")).count()
    };
    for state in ["active_state", "warming_state"] {
        let of = |listener: &Value| {
            dumped(
                "ListenersConfigDump.DynamicListener",
                serde_json::json!({"name": "l", state: {"listener": typed("config.listener.v3.Listener", listener.clone())}}),
            )
        };
        let parts = serde_json::json!({"configs": [of(&listeners[0]), of(&listeners[1])]});
        assert_eq!(valid(&parts), 2, "{state}");
        let whole = dumped(
            "ListenersConfigDump",
            serde_json::json!({"dynamic_listeners": [{state: {"listener": listeners[0]}}]}),
        );
        assert_eq!(valid(&serde_json::json!({"configs": [whole]})), 1, "{state}");
    }
    let fixed = dumped("ListenersConfigDump.StaticListener", serde_json::json!({"listener": listeners[0]}));
    assert_eq!(valid(&serde_json::json!({"configs": [fixed]})), 1);
    let resource = yaml::read(ECDS).expect("YAML").remove(0)["resources"][0].clone();
    let filter = dumped("EcdsConfigDump.EcdsFilterConfig", serde_json::json!({"ecds_filter": resource}));
    assert_eq!(valid(&serde_json::json!({"configs": [filter]})), 1);
    // What istioctl prints.
    assert_eq!(valid(&camel(listeners)), 2);
    let broken = BOOTSTRAP.replace("cluster: digits-logreg\n", "cluster: other\n");
    let broken = yaml::read(&broken).expect("YAML").remove(0);
    let (lines, bad) = found(&camel(&broken["static_resources"]["listeners"]));
    assert!(bad && lines.iter().any(|line| line.contains("leads to \"other\"")), "{lines:?}");
    let mut by_rds = broken["static_resources"]["listeners"][0].clone();
    let routes = discover_routes(&mut by_rds);
    let texts = [camel(&serde_json::json!([by_rds])), camel(&serde_json::json!([routes]))];
    let files: Vec<_> = texts.iter().map(|text| ("f.json".to_owned(), text.to_string())).collect();
    let found = check(&files);
    assert!(found.bad && found.lines.iter().any(|line| line.contains("leads to \"other\"")), "{found:?}");
}

/// A dump is complete: its routes are its own, however many dumps are checked together.
#[test]
fn each_of_several_dumps_is_checked_with_its_own_routes() {
    let mut listener = bootstrap()["static_resources"]["listeners"][0].clone();
    let mut routes = discover_routes(&mut listener);
    routes["@type"] = kind("config.route.v3.RouteConfiguration").into();
    let shipped = bootstrap();
    let clusters = shipped["static_resources"]["clusters"].as_array().expect("clusters");
    let clusters: Vec<Value> =
        clusters.iter().map(|cluster| serde_json::json!({"cluster": cluster})).collect();
    let dump = |routes: &Value| {
        serde_json::json!({"configs": [
            {"@type": kind("admin.v3.ClustersConfigDump"), "static_clusters": clusters},
            {"@type": kind("admin.v3.BootstrapConfigDump"), "bootstrap": {"stats_config": bootstrap()["stats_config"]}},
            {"@type": kind("admin.v3.ListenersConfigDump"), "dynamic_listeners": [{"active_state": {"listener": listener}}]},
            {"@type": kind("admin.v3.RoutesConfigDump"), "dynamic_route_configs": [{"route_config": routes}]},
        ]})
    };
    let (good, bad) = (dump(&routes), dump(&reversed(&routes)));
    let (lines, fails) = found(&serde_json::json!({"models": {"pod-1": good, "pod-2": bad}}));
    let of = |pod: &str| {
        let place = format!("f.json: models.{pod}: ");
        lines.iter().filter(|line| line.starts_with(&place) && line.contains("end here")).count()
    };
    assert!(fails && of("pod-1") == 0 && of("pod-2") == 1, "{lines:#?}");
    let (lines, fails) = found(&serde_json::json!([good, bad]));
    assert!(fails && lines.iter().any(|line| line.starts_with("f.json: [1]: ")), "{lines:#?}");
    let (lines, fails) = found(&serde_json::json!([good, good]));
    assert!(!fails, "{lines:#?}");
    let files = [("a.json", &good), ("b.json", &bad)].map(|(name, dump)| (name.to_owned(), dump.to_string()));
    let found = check(&files);
    let ends: Vec<&String> = found.lines.iter().filter(|line| line.contains("end here")).collect();
    assert!(found.bad && ends.len() == 1 && ends[0].starts_with("b.json: "), "{found:#?}");
}

/// Whatever their files are called, and of which kind they are.
#[test]
fn each_of_several_config_maps_is_checked_with_its_own_routes() {
    let mut bootstrap = bootstrap();
    let mut routes = discover_routes(&mut bootstrap["static_resources"]["listeners"][0]);
    routes["@type"] = kind("config.route.v3.RouteConfiguration").into();
    for (kind, field, ending) in
        [("ConfigMap", "data", ".yaml"), ("ConfigMap", "data", ""), ("Secret", "stringData", ".yaml")]
    {
        let map = |name: &str, routes: &Value| {
            let mut map = serde_json::json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
            map[field][format!("envoy{ending}")] = bootstrap.to_string().into();
            map[field][format!("routes{ending}")] = routes.to_string().into();
            map.to_string()
        };
        let maps = format!("{}\n---\n{}\n", map("good", &routes), map("bad", &reversed(&routes)));
        let found = check(&[("f.yaml".to_owned(), maps)]);
        let ends: Vec<&String> = found.lines.iter().filter(|line| line.contains("end here")).collect();
        let place = format!("f.yaml: {kind}/bad: ");
        assert!(
            found.bad && ends.len() == 1 && ends[0].starts_with(&place),
            "{kind}, {ending:?}: {found:#?}"
        );
    }
}
