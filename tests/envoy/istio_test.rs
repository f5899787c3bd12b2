//! `envoy/istio.yaml` in a real Envoy, put together as Istio does it: the plugin by ECDS and as JSON text, the patches
//! applied to what Istio makes of a virtual service, the bootstrap merged.

use serde_json::{Value, json};

use crate::harness::*;

const FILE: &str = "envoy/istio.yaml";
const BLUE: &str = "outbound|8080||recommender-blue.models.svc.cluster.local";
const GREEN: &str = "outbound|8080||recommender-green.models.svc.cluster.local";
const PATH: &str = "/v2/models/recommender/infer";

fn plugin_config() -> Value {
    resource(FILE, "WasmPlugin")["spec"]["pluginConfig"].take()
}

/// An Istio gateway with the shipped file, but this plugin configuration.
fn gateway(blue: &Upstream, green: &Upstream, plugin_config: &Value) -> Setup {
    let plugin = resource(FILE, "WasmPlugin");
    let namespaced = "istio-system.changeover";
    let filter = format!("extensions.istio.io/wasmplugin/{namespaced}");
    Setup::shipped_ecds(Config::Json(plugin_config.to_string()))
        .edit_ecds(|ecds| {
            ecds["resources"][0]["name"] = json!(filter);
            let config = &mut ecds["resources"][0]["typed_config"]["config"];
            config["name"] = json!(namespaced);
            config["root_id"] = plugin["spec"]["pluginName"].clone();
            config["failure_policy"] = plugin["spec"]["failStrategy"].clone();
            config["vm_config"].as_object_mut().expect("a message").remove("vm_id");
        })
        .edit_hcm(|manager| {
            let discovery = &mut manager["http_filters"][0]["config_discovery"];
            discovery.as_object_mut().expect("a message").remove("default_config");
            discovery["type_urls"] = json!([
                "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            ]);
            manager["http_filters"][0]["name"] = json!(filter);
            manager.as_object_mut().expect("a message").remove("early_header_mutation_extensions");
            manager["route_config"]["virtual_hosts"] = json!([virtual_host()]);
            patch(manager);
        })
        .edit(|bootstrap| {
            // Of Istio's own bootstrap, what decides about statistics.
            bootstrap["stats_config"] = json!({
                "use_all_default_tags": false,
                "stats_tags": [{"tag_name": "cluster_name", "regex": "^cluster(\\.(.+);)"}],
                "stats_matcher": {"inclusion_list": {"patterns": [{"prefix": "wasm"}, {"prefix": "istio"}]}},
            });
            merge(bootstrap, &yaml_in(&resource(FILE, "ConfigMap")["data"]["custom_bootstrap.json"]));
        })
        .clusters(&[(BLUE, blue.address()), (GREEN, green.address())])
}

/// What Istio makes of the virtual service.
fn virtual_host() -> Value {
    let spec = &resource(FILE, "VirtualService")["spec"];
    let host = spec["hosts"][0].as_str().expect("a host");
    let routes = spec["http"].as_array().expect("routes").iter().map(|route| {
        let to = &route["route"][0]["destination"];
        let cluster =
            format!("outbound|{}||{}", to["port"]["number"], to["host"].as_str().expect("a service"));
        json!({"name": route["name"], "match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}})
    });
    json!({"name": format!("{host}:80"), "domains": [host, format!("{host}:*")], "routes": routes.collect::<Vec<_>>()})
}

/// Applies the patches of the `EnvoyFilter`: merges first, then insertions, as Istio does.
fn patch(manager: &mut Value) {
    let filter = resource(FILE, "EnvoyFilter");
    let patches = filter["spec"]["configPatches"].as_array().expect("patches");
    let mut applied = 0;
    for operation in ["MERGE", "INSERT_FIRST"] {
        for patch in patches.iter().filter(|patch| patch["patch"]["operation"] == operation) {
            let value = &patch["patch"]["value"];
            match patch["applyTo"].as_str().expect("a kind of object") {
                "NETWORK_FILTER" => merge(manager, &value["typed_config"]),
                "HTTP_ROUTE" => {
                    let named = &patch["match"]["routeConfiguration"]["vhost"]["route"]["name"];
                    let routes = &mut manager["route_config"]["virtual_hosts"][0]["routes"];
                    let routes = routes.as_array_mut().expect("routes");
                    let at =
                        routes.iter().position(|route| route["name"] == *named).expect("the named route");
                    match operation {
                        "MERGE" => merge(&mut routes[at], value),
                        _ => routes.insert(0, value.clone()),
                    }
                }
                other => panic!("no such patch is known here: {other}"),
            }
            applied += 1;
        }
    }
    assert_eq!(applied, patches.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_follow_the_filter() {
    let (blue, green) = blue_and_green().await;
    let envoy = gateway(&blue, &green, &plugin_config()).start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    for (path, asked, upstream, version) in [
        (PATH, "always", "green", Some("green")),
        (PATH, "never", "blue", Some("blue")),
        ("/elsewhere", "always", "blue", None),
    ] {
        let asked = [("x-changeover", asked.as_bytes())];
        let answer = connection.send(request("GET", path, &asked, "")).await.expect("an answer");
        assert_eq!((answer.upstream(), answer.header("x-changeover-version")), (upstream, version));
    }
    for seen in blue.take_seen().iter().chain(&green.take_seen()) {
        assert_eq!(seen.headers.get("x-changeover-cluster"), None);
    }
    let labels = [("rollout", "recommender"), ("version", "green"), ("class", "2xx"), ("outcome", "ok")];
    assert_eq!(envoy.metrics().await.sum("changeover_requests_total", &labels), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mirror_copies_marked_and_without_credentials() {
    let (blue, green) = blue_and_green().await;
    let mut config = plugin_config();
    config["rollouts"][0]["mirror"] = json!({"to": "green", "methods": ["POST"]});
    let envoy = gateway(&blue, &green, &config).start().await;
    let headers: [(&str, &[u8]); 3] =
        [("x-changeover", b"never"), ("cookie", b"uid=1"), ("authorization", b"Bearer secret")];
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let answer = connection.send(request("POST", PATH, &headers, "body")).await.expect("an answer");
    assert_eq!(answer.upstream(), "blue");
    let copy = green.wait_for_seen(1).await.remove(0);
    assert_eq!(copy.headers["x-changeover-shadow"], GREEN);
    assert_eq!(copy.headers["host"], "models.example.com");
    for header in ["cookie", "authorization", "x-changeover-mirror", "x-changeover-cluster"] {
        assert_eq!(copy.headers.get(header), None, "{header}");
    }
}

/// The agent of Istio's proxy puts a filter that allows everything in the place of one that it cannot fetch.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_cannot_be_fetched_means_stable() {
    let (blue, green) = blue_and_green().await;
    let allow = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules_stat_prefix": "wasm-default-allow",
    });
    let setup = gateway(&blue, &green, &plugin_config());
    let envoy = setup.edit_ecds(|ecds| ecds["resources"][0]["typed_config"] = allow).start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    for header in [("x-changeover", &b"always"[..]), ("x-changeover-cluster", GREEN.as_bytes())] {
        let answer = connection.send(request("GET", PATH, &[header], "")).await.expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.upstream()), (200, "blue"), "{header:?}");
    }
}

/// The trap that the file's comments name: Istio sets no `default_config`.
#[tokio::test(flavor = "multi_thread")]
async fn until_there_is_a_good_configuration_the_gateway_answers_500() {
    let (blue, green) = blue_and_green().await;
    let mut config = plugin_config();
    config["rollouts"][0]["weights"] = json!({"green": 120});
    let envoy = gateway(&blue, &green, &config).start().await;
    assert_eq!(get(envoy.address(), PATH).await.expect("an answer").status, 500);
    assert!(envoy.log().contains("configuration refused: rollouts[0].weights.green: 120 is over 100"));
}
