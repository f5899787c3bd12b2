//! `envoy/envoy-gateway.yaml` in a real Envoy, put together as Envoy Gateway does it: the module fetched over HTTP, the
//! configuration as JSON text, the filter off in the listener and on in each route, the routes from the `HTTPRoute`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::*;

const FILE: &str = "envoy/envoy-gateway.yaml";
const PATH: &str = "/v2/models/recommender/infer";
/// Envoy Gateway's name for the filter, and behind the first slash for its VM.
const FILTER: &str = "envoy.filters.http.wasm/envoyextensionpolicy/models/changeover/wasm/0";

/// The only Wasm filter of the policy.
fn filter() -> Value {
    resource(FILE, "EnvoyExtensionPolicy")["spec"]["wasm"][0].take()
}

fn rules() -> Vec<Value> {
    resource(FILE, "HTTPRoute")["spec"]["rules"].as_array().expect("rules").clone()
}

/// What Envoy Gateway makes of the module it has fetched: an address of its own, from which Envoys get it.
struct Module {
    server: Upstream,
    sha256: String,
}

impl Module {
    async fn served() -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/changeover.wasm");
        let output = Command::new("sha256sum").arg(&file).output().expect("sha256sum runs");
        let sha256 =
            String::from_utf8(output.stdout).expect("text").split(' ').next().expect("a hash").to_owned();
        let module = std::fs::read(file).expect("the module");
        Self { server: Upstream::start_with("modules", Behaviour::Body(module.into(), vec![])).await, sha256 }
    }
}

/// An Envoy of Envoy Gateway's with the shipped file, but this plugin configuration and these rules.
fn gateway(blue: &Upstream, green: &Upstream, module: &Module, config: &Value, rules: &[Value]) -> Setup {
    let filter = filter();
    let clusters = [
        ("recommender-blue", blue.address()),
        ("recommender-green", green.address()),
        ("wasm_cluster", module.server.address()),
    ];
    Setup::shipped(Config::Json(config.to_string()))
        .clusters(&clusters)
        .edit_hcm(|manager| {
            let entry = &mut manager["http_filters"][0];
            entry["name"] = json!(FILTER);
            entry["disabled"] = json!(true);
            let plugin = &mut entry["typed_config"]["config"];
            plugin["name"] = filter["name"].clone();
            plugin["root_id"] = filter["rootID"].clone();
            plugin["fail_open"] = filter["failOpen"].clone();
            plugin.as_object_mut().expect("a message").remove("failure_policy");
            plugin["vm_config"]["vm_id"] = json!(FILTER.split_once('/').expect("a slash").1);
            plugin["vm_config"]["code"] = json!({"remote": {
                "http_uri": {"uri": "http://modules/changeover.wasm", "cluster": "wasm_cluster", "timeout": "10s"},
                "sha256": module.sha256,
            }});
            let removed = &resource(FILE, "ClientTrafficPolicy")["spec"]["headers"]["earlyRequestHeaders"]["remove"];
            let removed = removed.as_array().expect("headers").iter();
            manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"] =
                removed.map(|header| json!({"remove": header})).collect();
            manager["route_config"]["virtual_hosts"][0]["routes"] = routes(rules).into();
        })
        .edit(|bootstrap| {
            // Of Envoy Gateway's own bootstrap, what decides about statistics.
            bootstrap["stats_config"] = json!({
                "use_all_default_tags": true,
                "stats_tags": [{"tag_name": "from_zone", "regex": "\\.zone(\\.(([^\\.]+)\\.))"}],
            });
            merge(bootstrap, &yaml_in(&resource(FILE, "EnvoyProxy")["spec"]["bootstrap"]["value"]));
        })
}

/// Rules as Envoy's routes. The paths are all the same, so it is the number of headers that orders them.
fn routes(rules: &[Value]) -> Vec<Value> {
    let mut rules = rules.to_vec();
    rules.sort_by_key(|rule| std::cmp::Reverse(rule["matches"][0]["headers"].as_array().map_or(0, Vec::len)));
    rules.iter().map(route).collect()
}

fn route(rule: &Value) -> Value {
    let condition = &rule["matches"][0];
    assert_eq!(condition["path"]["type"], "PathPrefix");
    let headers = condition["headers"].as_array().into_iter().flatten();
    let headers =
        headers.map(|header| json!({"name": header["name"], "string_match": {"exact": header["value"]}}));
    let mut route = json!({
        "match": {"path_separated_prefix": condition["path"]["value"], "headers": headers.collect::<Vec<_>>()},
        "route": {"cluster": rule["backendRefs"][0]["name"]},
        "typed_per_filter_config": {FILTER: {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {},
        }},
    });
    for filter in rule["filters"].as_array().into_iter().flatten() {
        match filter["type"].as_str().expect("a type") {
            "RequestHeaderModifier" => {
                route["request_headers_to_remove"] = filter["requestHeaderModifier"]["remove"].clone();
            }
            "ResponseHeaderModifier" => {
                route["response_headers_to_remove"] = filter["responseHeaderModifier"]["remove"].clone();
            }
            "RequestMirror" => {
                let cluster = &filter["requestMirror"]["backendRef"]["name"];
                route["route"]["request_mirror_policies"] =
                    json!([{"cluster": cluster, "disable_shadow_host_suffix_append": true}]);
            }
            other => panic!("no such filter is known here: {other}"),
        }
    }
    route
}

const INTERNAL: [&str; 3] = ["x-changeover-cluster", "x-changeover-mirror", "x-changeover-shadow"];

/// A server that says something in the filter's own headers.
fn with_internal_headers() -> Behaviour {
    Behaviour::Body("x".into(), INTERNAL.map(|name| (name, "a")).to_vec())
}

fn has_no_internal_headers(answer: &Answer) {
    for name in INTERNAL {
        assert_eq!(answer.header(name), None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_follow_the_filter() {
    let (blue, green) = blue_and_green().await;
    let envoy = gateway(&blue, &green, &Module::served().await, &filter()["config"], &rules()).start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    for upstream in [&blue, &green] {
        upstream.set(with_internal_headers());
    }
    for (value, version) in [("always", "green"), ("never", "blue")] {
        let asked = [("x-changeover", value.as_bytes())];
        let answer = connection.send(request("GET", PATH, &asked, "")).await.expect("an answer");
        assert_eq!((answer.upstream(), answer.header("x-changeover-version")), (version, Some(version)));
        has_no_internal_headers(&answer);
    }
    for seen in blue.take_seen().iter().chain(&green.take_seen()) {
        assert_eq!(seen.headers.get("x-changeover-cluster"), None);
    }
    let labels = [("rollout", "recommender"), ("version", "green"), ("class", "2xx"), ("outcome", "ok")];
    assert_eq!(envoy.metrics().await.sum("changeover_requests_total", &labels), 1.0);
}

/// What a client sends to a gateway whose filter does not work, a forged header among it.
async fn all_goes_to_stable(envoy: &Envoy) {
    for header in [("x-changeover", &b"always"[..]), ("x-changeover-cluster", b"green")] {
        let mut connection = Connection::open(envoy.address()).await.expect("a connection");
        let answer = connection.send(request("GET", PATH, &[header], "")).await.expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.upstream()), (200, "blue"), "{header:?}");
        has_no_internal_headers(&answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_configuration_that_is_refused_means_stable() {
    let (blue, green) = blue_and_green().await;
    let mut config = filter()["config"].take();
    config["rollouts"][0]["weights"] = json!({"green": 120});
    let envoy = gateway(&blue, &green, &Module::served().await, &config, &rules()).start().await;
    all_goes_to_stable(&envoy).await;
    assert!(envoy.log().contains("configuration refused: rollouts[0].weights.green: 120 is over 100"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_cannot_be_fetched_means_stable() {
    let (blue, green) = blue_and_green().await;
    blue.set(with_internal_headers());
    let module = Module { sha256: "0".repeat(64), ..Module::served().await };
    let envoy = gateway(&blue, &green, &module, &filter()["config"], &rules()).start().await;
    all_goes_to_stable(&envoy).await;
}

/// Envoy Gateway sends listeners, so a change of the configuration is a change of the listener.
struct Listeners {
    dir: tempfile::TempDir,
    listener: Value,
}

impl Listeners {
    /// Takes the listener out of a bootstrap, which will read it from a file.
    fn taken_from(bootstrap: &mut Value) -> Self {
        const TYPE: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
        let mut listener =
            bootstrap["static_resources"]["listeners"].as_array_mut().expect("listeners").remove(0);
        listener["@type"] = json!(TYPE);
        let listeners = Self { dir: tempfile::tempdir().expect("a directory"), listener };
        let source = json!({"path_config_source": {"path": listeners.file()}, "resource_api_version": "V3"});
        bootstrap["dynamic_resources"] = json!({"lds_config": source});
        listeners
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("listeners.json")
    }

    fn push(&self, config: &Value) {
        let mut listener = self.listener.clone();
        let plugin = "/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config/config";
        listener.pointer_mut(plugin).expect("the plugin")["configuration"] =
            json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": config.to_string()});
        let new = self.dir.path().join("new");
        std::fs::write(&new, json!({"resources": [listener]}).to_string()).expect("written");
        std::fs::rename(new, self.file()).expect("moved");
    }
}

/// What the file's comments say about changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_reaches_new_connections_and_a_refused_one_changes_nothing() {
    let (blue, green) = blue_and_green().await;
    let config = |field: &str, value: Value| {
        let mut config = filter()["config"].take();
        config["rollouts"][0][field] = value;
        config
    };
    let module = Module::served().await;
    let mut listeners = None;
    let setup = gateway(&blue, &green, &module, &json!({}), &rules()).edit(|bootstrap| {
        let taken = Listeners::taken_from(bootstrap);
        taken.push(&config("pin", json!("blue")));
        listeners = Some(taken);
    });
    let (envoy, listeners) = (setup.start().await, listeners.expect("taken"));
    let mut open = Connection::open(envoy.address()).await.expect("a connection");
    assert_eq!(open.send(request("GET", PATH, &[], "")).await.expect("an answer").upstream(), "blue");

    listeners.push(&config("pin", json!("green")));
    wait_for("new connections to use it", async || {
        (get(envoy.address(), PATH).await.expect("an answer").upstream() == "green").then_some(())
    })
    .await;
    let kept = open.send(request("GET", PATH, &[], "")).await.expect("an answer");
    assert_eq!(kept.upstream(), "blue", "a connection that was open keeps what it had");

    listeners.push(&config("weights", json!({"green": 120})));
    wait_for("the refusal", async || {
        (envoy.stat("listener_manager.lds.update_rejected").await == 1).then_some(())
    })
    .await;
    assert_eq!(get(envoy.address(), PATH).await.expect("an answer").upstream(), "green");
}

/// Why the file has no mirror.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_by_the_gateway_api_copies_credentials_and_marks_nothing() {
    let (blue, green) = blue_and_green().await;
    let mut config = filter()["config"].take();
    config["rollouts"][0]["mirror"] = json!({"to": "green"});
    let mut rules = rules();
    let mut mirrored = rules[0].clone();
    mirrored["matches"][0]["headers"]
        .as_array_mut()
        .expect("headers")
        .push(json!({"type": "Exact", "name": "x-changeover-mirror", "value": "green"}));
    mirrored["filters"].as_array_mut().expect("filters").push(
        json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "recommender-green", "port": 8080}}}),
    );
    rules.push(mirrored);
    let envoy = gateway(&blue, &green, &Module::served().await, &config, &rules).start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let headers: [(&str, &[u8]); 2] = [("x-changeover", b"never"), ("authorization", b"Bearer secret")];
    let answer = connection.send(request("GET", PATH, &headers, "")).await.expect("an answer");
    assert_eq!(answer.upstream(), "blue");
    let copy = green.wait_for_seen(1).await.remove(0);
    assert_eq!(copy.headers["authorization"], "Bearer secret");
    assert_eq!(copy.headers.get("x-changeover-shadow"), None);
}
