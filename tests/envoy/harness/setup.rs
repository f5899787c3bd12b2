//! From the shipped YAML to a test's Envoy.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::envoy::Envoy;
use super::etcd::certificate;
use super::resources::merge;
use super::upstream::Upstream;

/// The top of the repository.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A plugin configuration, in the forms in which Envoy's users write it.
#[derive(Clone, Debug)]
pub(crate) enum Config {
    /// A `google.protobuf.Struct`, in YAML's flow style: Envoy's own loader gives the values their types.
    Struct(String),
    /// A `StringValue`: JSON text.
    Json(String),
    /// A `BytesValue`: JSON text.
    Bytes(String),
}

impl Config {
    /// A `Struct` with one rollout, the versions `blue` (stable) and `green` (candidate) and these fields more.
    pub(crate) fn rollout(fields: &str) -> Self {
        Self::Struct(format!("{{rollouts: [{}]}}", Self::blue_green("digits", fields)))
    }

    /// A rollout in flow style, the versions `blue` (stable) and `green` (candidate) and these fields more.
    pub(crate) fn blue_green(name: &str, fields: &str) -> String {
        let comma = if fields.is_empty() { "" } else { ", " };
        format!(
            "{{name: {name}, release: \"1\", versions: {{blue: {{cluster: blue}}, green: {{cluster: green}}}}, \
             stable: blue, candidate: green{comma}{fields}}}"
        )
    }

    /// `configuration` in YAML.
    fn yaml(&self) -> String {
        let any = |kind: &str, value: &str| {
            format!("{{\"@type\": type.googleapis.com/google.protobuf.{kind}, value: {value}}}")
        };
        match self {
            Config::Struct(yaml) => any("Struct", yaml),
            Config::Json(text) => any("StringValue", &Value::from(text.as_str()).to_string()),
            Config::Bytes(text) => {
                use base64::Engine as _;
                any("BytesValue", &format!("\"{}\"", base64::engine::general_purpose::STANDARD.encode(text)))
            }
        }
    }
}

/// The key of receipts of tests: 32 bytes.
pub(crate) const RECEIPT_KEY_NAME: &str = "CHANGEOVER_RECEIPT_KEY";
pub(crate) const RECEIPT_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Where Envoy's YAML is edited: what is written as text stands for itself until then.
const PLACEHOLDER: &str = "the configuration comes here";

/// An Envoy to be: the shipped YAML, edited.
pub(crate) struct Setup {
    bootstrap: Value,
    ecds: Option<Value>,
    config: Option<Config>,
    /// Configurations of further filters, by the text that stands for them.
    more_configs: Vec<(String, Config)>,
    workers: u32,
    cpus: Option<String>,
    hot_restart: Option<HotRestart>,
    ecds_file: bool,
    module: PathBuf,
    /// The shipped access log, of which most tests want nothing.
    access_log: Value,
}

/// Which of several processes an Envoy is that take over from each other.
#[derive(Clone, Debug)]
pub(crate) struct HotRestart {
    /// The port that they share; also their base id.
    pub(crate) port: u16,
    /// How many there were before.
    pub(crate) epoch: u32,
}

impl HotRestart {
    /// The command line of this process.
    pub(super) fn arguments(&self) -> Vec<String> {
        let of = |name: &str, value: u32| [name.to_owned(), value.to_string()];
        let all = [
            of("--base-id", self.port.into()),
            of("--restart-epoch", self.epoch),
            of("--drain-time-s", 1),
            of("--parent-shutdown-time-s", 10),
        ];
        all.concat()
    }
}

impl Setup {
    /// `envoy/envoy.yaml`: the configuration stands in the bootstrap.
    pub(crate) fn shipped(config: Config) -> Self {
        let mut setup = Self::read("envoy/envoy.yaml");
        setup.config = Some(config);
        configure(wasm(setup.filter()), PLACEHOLDER);
        setup
    }

    /// `envoy/envoy-ecds.yaml` and `envoy/ecds/changeover.yaml`: the configuration comes from a file.
    pub(crate) fn shipped_ecds(config: Config) -> Self {
        let mut setup = Self::read("envoy/envoy-ecds.yaml");
        let mut ecds = read_yaml("envoy/ecds/changeover.yaml");
        configure(wasm(ecds.pointer_mut("/resources/0/typed_config").expect("the filter")), PLACEHOLDER);
        setup.ecds = Some(ecds);
        setup.config = Some(config);
        setup
    }

    /// The shipped bootstrap without the filter: what plain Envoy does.
    pub(crate) fn plain() -> Self {
        let mut setup = Self::read("envoy/envoy.yaml");
        setup.hcm()["http_filters"].as_array_mut().expect("filters").remove(0);
        setup
    }

    fn read(file: &str) -> Self {
        let mut bootstrap = read_yaml(file);
        bootstrap["admin"]["address"]["socket_address"]["port_value"] = json!(0);
        let listeners = bootstrap["static_resources"]["listeners"].as_array_mut().expect("listeners");
        listeners.truncate(1); // a test that wants the control listener says so
        listeners[0]["address"]["socket_address"]["port_value"] = json!(0);
        let hcm = &mut listeners[0]["filter_chains"][0]["filters"][0]["typed_config"];
        let access_log = hcm.as_object_mut().and_then(|hcm| hcm.remove("access_log")).unwrap_or_default();
        bootstrap["stats_flush_interval"] = json!("0.2s"); // histograms show up with the flush
        let module = root().join("target/changeover.wasm");
        Self {
            bootstrap,
            ecds: None,
            config: None,
            more_configs: Vec::new(),
            workers: 1,
            cpus: None,
            hot_restart: None,
            ecds_file: true,
            module,
            access_log,
        }
    }

    /// The clusters; the first is the ordinary route's, the stable version's.
    pub(crate) fn clusters(mut self, clusters: &[(&str, SocketAddr)]) -> Self {
        let cluster = |(name, address): &(&str, SocketAddr)| {
            let address = json!({"address": address.ip().to_string(), "port_value": address.port()});
            json!({
                "name": name, "connect_timeout": "1s",
                "load_assignment": {"cluster_name": name, "endpoints": [
                    {"lb_endpoints": [{"endpoint": {"address": {"socket_address": address}}}]}
                ]},
            })
        };
        self.bootstrap["static_resources"]["clusters"] = clusters.iter().map(cluster).collect();
        let stable = clusters.first().expect("a cluster").0;
        self.edit_routes(|routes| {
            for route in routes {
                if let Some(cluster) = route["route"].get_mut("cluster") {
                    *cluster = json!(stable);
                }
            }
        })
    }

    /// With the shipped access log, written to this file.
    pub(crate) fn access_log(mut self, file: &Path) -> Self {
        let mut log = self.access_log.take();
        let logger = &mut log[0]["typed_config"];
        assert!(logger["log_format"].is_object(), "the shipped access log");
        logger["@type"] = json!("type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog");
        logger["path"] = json!(file);
        self.hcm()["access_log"] = log;
        self
    }

    /// All upstreams speak HTTP/2 (gRPC does).
    pub(crate) fn http2_upstreams(mut self) -> Self {
        const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        for cluster in self.bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters") {
            cluster["typed_extension_protocol_options"] = json!({OPTIONS: {
                "@type": format!("type.googleapis.com/{OPTIONS}"), "explicit_http_config": {"http2_protocol_options": {}},
            }});
        }
        self
    }

    /// A cluster for the store, which speaks HTTP/2. Its name is one that aborts Envoy where it is taken for a message.
    pub(crate) fn store(mut self, endpoints: &[SocketAddr]) -> Self {
        let endpoint = |address: &SocketAddr| {
            let address = json!({"address": address.ip().to_string(), "port_value": address.port()});
            json!({"endpoint": {"address": {"socket_address": address}}})
        };
        let endpoints: Vec<Value> = endpoints.iter().map(endpoint).collect();
        let shipped = read_yaml("envoy/store/cluster.yaml");
        let cluster = json!({
            "name": "etcd1", "connect_timeout": "0.5s",
            "typed_extension_protocol_options": shipped["typed_extension_protocol_options"],
            "outlier_detection": shipped["outlier_detection"],
            "load_assignment": {"cluster_name": "etcd1", "endpoints": [{"lb_endpoints": endpoints}]},
        });
        self.bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters").push(cluster);
        self
    }

    /// The shipped cluster for the store, whose client has this certificate. `sds`: a file that lives as long as Envoy.
    pub(crate) fn store_with_mtls(mut self, endpoint: SocketAddr, client: &str, sds: &Path) -> Self {
        let mut cluster = read_yaml("envoy/store/cluster.yaml");
        let address = json!({"address": endpoint.ip().to_string(), "port_value": endpoint.port()});
        cluster["load_assignment"]["endpoints"] =
            json!([{"lb_endpoints": [{"endpoint": {"address": {"socket_address": address}}}]}]);
        let context = &mut cluster["transport_socket"]["typed_config"]["common_tls_context"];
        context["validation_context"]["trusted_ca"] = json!({"filename": certificate("ca.pem")});
        let secret = &mut context["tls_certificate_sds_secret_configs"][0]["sds_config"];
        secret["path_config_source"]["path"] = json!(sds);
        let mut secrets = read_yaml("envoy/store/sds.yaml");
        let tls = &mut secrets["resources"][0]["tls_certificate"];
        tls["certificate_chain"] = json!({"filename": certificate(&format!("{client}.pem"))});
        tls["private_key"] = json!({"filename": certificate(&format!("{client}.key"))});
        std::fs::write(sds, secrets.to_string()).expect("a file");
        self.bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters").push(cluster);
        self
    }

    /// How many worker threads.
    pub(crate) fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// Which CPUs Envoy may use, as `taskset --cpu-list` takes them.
    pub(crate) fn on_cpus(mut self, cpus: &str) -> Self {
        self.cpus = Some(cpus.to_owned());
        self
    }

    /// One of several processes that take over from each other.
    pub(crate) fn hot_restart(mut self, restart: HotRestart) -> Self {
        let listener = &mut self.bootstrap["static_resources"]["listeners"][0];
        listener["address"]["socket_address"]["port_value"] = json!(restart.port);
        self.hot_restart = Some(restart);
        self
    }

    /// The file that ECDS reads is not there.
    pub(crate) fn without_ecds_file(mut self) -> Self {
        self.ecds_file = false;
        self
    }

    /// Another module than `target/changeover.wasm`.
    pub(crate) fn module(mut self, file: &str) -> Self {
        self.module = root().join(file);
        self
    }

    /// Has each route answer by itself, with a 200.
    pub(crate) fn with_direct_responses(self) -> Self {
        self.with_own_answers(&json!({"direct_response": {"status": 200, "body": {"inline_string": "x"}}}))
    }

    /// Has the routes do this and nothing else.
    pub(crate) fn with_own_answers(self, action: &Value) -> Self {
        self.edit_routes(|routes| {
            for route in routes {
                route.as_object_mut().expect("a map").remove("route");
                merge(route, action);
            }
        })
    }

    /// Has a filter behind this one refuse every request, with a 403.
    pub(crate) fn with_denials(self) -> Self {
        let rbac = json!({"name": "envoy.filters.http.rbac", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "ALLOW", "policies": {}},
        }});
        self.edit_hcm(|hcm| hcm["http_filters"].as_array_mut().expect("filters").insert(1, rbac))
    }

    /// Changes the routes of the shipped listener.
    pub(crate) fn edit_routes(mut self, edit: impl FnOnce(&mut Vec<Value>)) -> Self {
        edit(self.hcm()["route_config"]["virtual_hosts"][0]["routes"].as_array_mut().expect("routes"));
        self
    }

    /// Changes the HTTP connection manager.
    pub(crate) fn edit_hcm(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(self.hcm());
        self
    }

    /// Changes anything in the bootstrap.
    pub(crate) fn edit(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.bootstrap);
        self
    }

    /// Changes the file that ECDS reads.
    pub(crate) fn edit_ecds(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(self.ecds.as_mut().expect("an Envoy with ECDS"));
        self
    }

    /// Adds a listener `name` like the shipped one whose filter has its own root id and configuration.
    pub(crate) fn second_listener(mut self, name: &str, root_id: &str, config: Config) -> Self {
        let mut listener = self.bootstrap["static_resources"]["listeners"][0].clone();
        listener["name"] = json!(name);
        let filter = listener
            .pointer_mut("/filter_chains/0/filters/0/typed_config/http_filters/0")
            .expect("the filter");
        let plugin = wasm(filter);
        plugin["root_id"] = json!(root_id);
        let placeholder = format!("{PLACEHOLDER}: {name}");
        configure(plugin, &placeholder);
        self.more_configs.push((placeholder, config));
        self.bootstrap["static_resources"]["listeners"].as_array_mut().expect("listeners").push(listener);
        self
    }

    /// Text in the bootstrap that Envoy's YAML loader types and nothing else reads.
    pub(crate) fn text_in_metadata(mut self, text: &str) -> Self {
        let placeholder = format!("{PLACEHOLDER}: metadata");
        self.bootstrap["node"]["metadata"] = json!({"text": placeholder});
        self.more_configs.push((placeholder, Config::Struct(text.to_owned())));
        self
    }

    /// With what a rollout with people needs: requests can be held, and the VM has the key of receipts, from Envoy's environment.
    pub(crate) fn with_people(mut self) -> Self {
        let plugin = self.plugin();
        plugin["allow_on_headers_stop_iteration"] = json!(true);
        plugin["vm_config"]["environment_variables"] = json!({"host_env_keys": [RECEIPT_KEY_NAME]});
        self
    }

    /// The VM has another key of receipts, and this one as the old one.
    pub(crate) fn receipt_keys(mut self, current: Option<&str>, old: Option<&str>) -> Self {
        let names = [RECEIPT_KEY_NAME, "CHANGEOVER_RECEIPT_KEY_OLD"];
        let keys = names.into_iter().zip([current, old]);
        let keys: serde_json::Map<String, Value> =
            keys.filter_map(|(name, key)| Some((name.to_owned(), json!(key?)))).collect();
        self.plugin()["vm_config"]["environment_variables"] = json!({"key_values": keys});
        self
    }

    /// The shipped control listener, with the environment of the filter's VM: the plugin that Envoy loads first starts the VM for both.
    pub(crate) fn control(mut self) -> Self {
        let mut listener = read_yaml("envoy/control.yaml")["listeners"][0].take();
        let variables = self.plugin()["vm_config"]["environment_variables"].clone();
        if !variables.is_null() {
            let filter = listener.pointer_mut("/filter_chains/0/filters/0/typed_config/http_filters/0");
            wasm(filter.expect("the filter"))["vm_config"]["environment_variables"] = variables;
        }
        listener["address"]["socket_address"]["port_value"] = json!(0);
        self.bootstrap["static_resources"]["listeners"].as_array_mut().expect("listeners").push(listener);
        self
    }

    /// The same, for those who have the token of this digest.
    pub(crate) fn control_with_token(self, sha256: &str) -> Self {
        self.control_with(json!({"token_sha256": sha256}))
    }

    /// The same, with this configuration.
    pub(crate) fn control_with(self, control: Value) -> Self {
        self.control().edit(|bootstrap| {
            let plugin = "/static_resources/listeners/1/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config/config";
            let plugin = bootstrap.pointer_mut(plugin).expect("the filter");
            plugin["configuration"]["value"] = json!({"control": control});
        })
    }

    /// The same, bypassed.
    pub(crate) fn control_without_filter(self) -> Self {
        self.control().edit(|bootstrap| {
            let filters = "/static_resources/listeners/1/filter_chains/0/filters/0/typed_config/http_filters";
            bootstrap.pointer_mut(filters).and_then(Value::as_array_mut).expect("filters").remove(0);
        })
    }

    /// TLS on the listener, with the harness's own certificate.
    pub(crate) fn tls(mut self) -> Self {
        const CONTEXT: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
        let file = |name: &str| json!({"filename": root().join("tests/envoy/harness/tls").join(name)});
        let certificate = json!({"certificate_chain": file("cert.pem"), "private_key": file("key.pem")});
        self.bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": format!("type.googleapis.com/{CONTEXT}"),
                "common_tls_context": {"tls_certificates": [certificate]},
            },
        });
        self
    }

    /// Starts Envoy and waits until it serves.
    pub(crate) async fn start(self) -> Envoy {
        let mut envoy = self.spawn();
        envoy.wait_until_ready().await;
        envoy
    }

    /// Starts an Envoy that is expected to refuse, and returns its log once it has ended.
    pub(crate) async fn start_refused(self) -> String {
        let mut envoy = self.spawn();
        envoy.wait_until_ended().await
    }

    fn spawn(mut self) -> Envoy {
        let dir = tempfile::tempdir().expect("a directory");
        let module = self.module.clone();
        assert!(module.exists(), "{} is missing: run `make build`", module.display());
        let mut files = Files { dir: dir.path().to_owned(), ecds: self.ecds.clone() };
        if let Some(ecds) = &mut files.ecds {
            if let Some(plugin) = ecds.pointer_mut("/resources/0/typed_config/config") {
                set_module(plugin, &module);
            }
            let source = files.ecds_path();
            let discovery = &mut self.filter()["config_discovery"]["config_source"]["path_config_source"];
            discovery["path"] = json!(source);
        }
        for listener in self.bootstrap["static_resources"]["listeners"].as_array_mut().expect("listeners") {
            let filter = listener
                .pointer_mut("/filter_chains/0/filters/0/typed_config/http_filters/0")
                .expect("a filter");
            if filter["name"] == "envoy.filters.http.wasm" {
                set_module(wasm(filter), &module);
            }
        }
        let mut text = self.bootstrap.to_string();
        for (placeholder, config) in &self.more_configs {
            text = replace(&text, placeholder, config);
        }
        if let (Some(config), None) = (&self.config, &self.ecds) {
            text = replace(&text, PLACEHOLDER, config);
        }
        let bootstrap = dir.path().join("envoy.yaml");
        std::fs::write(&bootstrap, text).expect("the bootstrap is written");
        if let (Some(config), Some(_), true) = (&self.config, &files.ecds, self.ecds_file) {
            files.push(config);
        }
        let restart = self.hot_restart.as_ref();
        Envoy::spawn(dir, &bootstrap, files, self.workers, self.cpus.as_deref(), restart)
    }

    fn hcm(&mut self) -> &mut Value {
        self.bootstrap
            .pointer_mut("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config")
            .expect("an HTTP connection manager")
    }

    fn filter(&mut self) -> &mut Value {
        &mut self.hcm()["http_filters"][0]
    }

    fn plugin(&mut self) -> &mut Value {
        match &mut self.ecds {
            Some(ecds) => wasm(ecds.pointer_mut("/resources/0/typed_config").expect("the filter")),
            None => {
                let filter = self.bootstrap.pointer_mut(
                    "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0",
                );
                wasm(filter.expect("the filter"))
            }
        }
    }
}

/// The file that a running Envoy watches.
pub(super) struct Files {
    dir: PathBuf,
    ecds: Option<Value>,
}

impl Files {
    fn ecds_path(&self) -> PathBuf {
        self.dir.join("changeover.yaml")
    }

    /// Moves a new configuration into place.
    pub(super) fn push(&self, config: &Config) {
        let ecds = self.ecds.as_ref().expect("an Envoy with ECDS").to_string();
        self.push_text(&replace(&ecds, PLACEHOLDER, config));
    }

    /// Moves any text into place.
    pub(super) fn push_text(&self, text: &str) {
        let new = self.dir.join("changeover.yaml.new");
        std::fs::write(&new, text).expect("the file is written");
        std::fs::rename(&new, self.ecds_path()).expect("the file is moved");
    }
}

/// A YAML file of this repository.
pub(crate) fn read_yaml(file: &str) -> Value {
    let text = std::fs::read_to_string(root().join(file)).expect("a shipped file");
    serde_saphyr::from_str(&text).expect("YAML")
}

/// The plugin inside a filter, with or without the name around it.
fn wasm(filter: &mut Value) -> &mut Value {
    let config = if filter.get("typed_config").is_some() { &mut filter["typed_config"] } else { filter };
    &mut config["config"]
}

fn configure(plugin: &mut Value, placeholder: &str) {
    plugin["configuration"] = json!(placeholder);
}

/// The shipped files name the module relative to the repository's top.
fn set_module(plugin: &mut Value, module: &Path) {
    let filename = &mut plugin["vm_config"]["code"]["local"]["filename"];
    if *filename == "target/changeover.wasm" {
        *filename = json!(module);
    }
}

fn replace(text: &str, placeholder: &str, config: &Config) -> String {
    let mut quoted = String::new();
    write!(quoted, "{}", Value::from(placeholder)).expect("a String takes all");
    text.replace(&quoted, &config.yaml())
}

/// An Envoy between clients and the two upstreams, configured in its bootstrap.
pub(crate) fn between(blue: &Upstream, green: &Upstream, config: Config) -> Setup {
    Setup::shipped(config).clusters(&[("blue", blue.address()), ("green", green.address())])
}

/// An Envoy between clients and the two upstreams, configured by ECDS.
pub(crate) fn between_ecds(blue: &Upstream, green: &Upstream, config: Config) -> Setup {
    Setup::shipped_ecds(config).clusters(&[("blue", blue.address()), ("green", green.address())])
}
