//! One Envoy process.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::admin::Metrics;
use super::setup::{Config, Files, HotRestart, RECEIPT_KEY, RECEIPT_KEY_NAME, root};
use super::{Connection, get, request, wait_for};

/// A running Envoy. Dropped, it is killed; when the test fails, its log is shown first.
pub(crate) struct Envoy {
    process: Child,
    dir: Option<TempDir>,
    files: Files,
    admin: Option<SocketAddr>,
    listeners: BTreeMap<String, SocketAddr>,
}

/// The Envoy under test: `ENVOY_BIN`, or what `make` installed for `ENVOY_VERSION`.
pub(crate) fn binary() -> PathBuf {
    if let Some(binary) = std::env::var_os("ENVOY_BIN") {
        return binary.into();
    }
    let version = std::env::var("ENVOY_VERSION").unwrap_or_else(|_| "1.40.0".into());
    let binary = root().join("target/envoy").join(version).join("envoy/_bin/envoy");
    assert!(binary.exists(), "{} is missing: run `make test-envoy`, which installs it", binary.display());
    binary
}

impl Envoy {
    pub(super) fn spawn(
        dir: TempDir,
        bootstrap: &Path,
        files: Files,
        workers: u32,
        cpus: Option<&str>,
        restart: Option<&HotRestart>,
    ) -> Self {
        let log = File::create(dir.path().join("envoy.log")).expect("a log");
        let mut command = match cpus {
            None => Command::new(binary()),
            // It becomes Envoy: the process stays the same.
            Some(cpus) => {
                let mut taskset = Command::new("taskset");
                taskset.args(["--cpu-list", cpus]).arg(binary());
                taskset
            }
        };
        let process = command
            .arg("--config-path")
            .arg(bootstrap)
            .arg("--admin-address-path")
            .arg(dir.path().join("admin"))
            .args(["--concurrency", &workers.to_string(), "--log-level", "warning"])
            .args(restart.map_or_else(|| vec!["--disable-hot-restart".to_owned()], HotRestart::arguments))
            .args(["--component-log-level", "wasm:info,config:info", "--file-flush-interval-msec", "100"])
            // A VM sees it only where `host_env_keys` names it.
            .env(RECEIPT_KEY_NAME, RECEIPT_KEY)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("Envoy starts");
        Self { process, dir: Some(dir), files, admin: None, listeners: BTreeMap::new() }
    }

    pub(super) async fn wait_until_ready(&mut self) {
        wait_for("Envoy to serve", async || {
            if let Some(status) = self.process.try_wait().expect("its status") {
                panic!("Envoy ended with {status}");
            }
            if self.admin.is_none() {
                let text = std::fs::read_to_string(self.path().join("admin")).ok()?;
                self.admin = Some(text.trim().parse().ok()?);
            }
            let ready = get(self.admin?, "/ready").await.ok()?;
            if ready.text().trim() != "LIVE" {
                return None;
            }
            self.listeners = self.ask_for_listeners().await?;
            Some(())
        })
        .await;
    }

    /// Waits until it has ended by itself, with success.
    pub(crate) async fn wait_until_gone(&mut self) {
        wait_for("Envoy to end", async || {
            let status = self.process.try_wait().expect("its status")?;
            assert!(status.success(), "it ended with {status}");
            Some(())
        })
        .await;
    }

    pub(super) async fn wait_until_ended(&mut self) -> String {
        wait_for("Envoy to end", async || {
            let status = self.process.try_wait().expect("its status")?;
            assert!(!status.success(), "it ended, but well");
            Some(())
        })
        .await;
        self.log()
    }

    async fn ask_for_listeners(&self) -> Option<BTreeMap<String, SocketAddr>> {
        let answer: Value =
            serde_json::from_str(&get(self.admin?, "/listeners?format=json").await.ok()?.text()).ok()?;
        let listener = |status: &Value| {
            let address = &status["local_address"]["socket_address"];
            let address = format!("{}:{}", address["address"].as_str()?, address["port_value"]);
            Some((status["name"].as_str()?.to_owned(), address.parse().ok()?))
        };
        answer["listener_statuses"].as_array()?.iter().map(listener).collect()
    }

    /// Where the admin interface listens.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin.expect("a ready Envoy")
    }

    /// Where the shipped listener listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address_of("models")
    }

    /// Where a listener listens.
    pub(crate) fn address_of(&self, listener: &str) -> SocketAddr {
        self.listeners[listener]
    }

    /// What the admin interface answers.
    pub(crate) async fn admin(&self, path: &str) -> String {
        get(self.admin.expect("an admin interface"), path).await.expect("the admin interface answers").text()
    }

    /// Has the admin interface do something.
    pub(crate) async fn admin_post(&self, path: &str) {
        let admin = self.admin.expect("an admin interface");
        let mut connection = Connection::open(admin).await.expect("a connection");
        let answer = connection.send(request("POST", path, &[], "")).await.expect("an answer");
        assert_eq!(answer.status, 200, "{path}");
    }

    /// The statistic with exactly this name; 0 when there is none.
    pub(crate) async fn stat(&self, name: &str) -> u64 {
        let all = self.admin(&format!("/stats?filter=^{}$", name.replace('.', "\\."))).await;
        all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok()).unwrap_or(0)
    }

    /// What Prometheus would scrape.
    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin("/stats/prometheus").await)
    }

    /// Everything Envoy has logged.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path().join("envoy.log")).unwrap_or_default())
            .into_owned()
    }

    /// Pushes a configuration by ECDS and waits until Envoy has taken it.
    pub(crate) async fn push(&self, config: &Config) {
        let refused = self.stat(&ecds_stat("update_rejected")).await;
        let before = self.stat(&ecds_stat("config_reload")).await;
        self.files.push(config);
        wait_for("the push to be taken", async || {
            assert_eq!(self.stat(&ecds_stat("update_rejected")).await, refused, "the push was refused");
            (self.stat(&ecds_stat("config_reload")).await > before).then_some(())
        })
        .await;
    }

    /// Pushes a configuration that is refused, and returns what Envoy logged about it.
    pub(crate) async fn push_refused(&self, config: &Config) -> String {
        let known = self.log().len();
        let before = self.stat(&ecds_stat("update_rejected")).await;
        self.files.push(config);
        wait_for("the push to be refused", async || {
            (self.stat(&ecds_stat("update_rejected")).await > before).then_some(())
        })
        .await;
        self.log()[known..].to_owned()
    }

    /// Waits until every VM that has shown a configuration's hash shows the same one, other than `before`.
    pub(crate) async fn wait_for_hash_other_than(&self, before: Option<u64>) -> u64 {
        wait_for("all workers to use the same new configuration", async || {
            let hashes = self.config_hashes().await;
            let first = *hashes.first()?;
            (hashes.iter().all(|hash| *hash == first) && Some(first) != before).then_some(first)
        })
        .await
    }

    /// `changeover_config_hash` of every worker.
    pub(crate) async fn config_hashes(&self) -> Vec<u64> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 48 bits are exact in a double
        let exact = |value: f64| value as u64;
        self.metrics().await.series("changeover_config_hash").map(|series| exact(series.value)).collect()
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kilobytes of memory the process holds.
    pub(crate) fn resident_kilobytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// How many VMs run.
    pub(crate) async fn vms(&self) -> u64 {
        self.stat("wasm.envoy.wasm.runtime.v8.active").await
    }

    fn path(&self) -> &Path {
        self.dir.as_ref().expect("a directory").path()
    }
}

fn ecds_stat(name: &str) -> String {
    format!("extension_config_discovery.http_filter.changeover.{name}")
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(60)..];
            eprintln!("--- Envoy's log, its last lines ---\n{}\n---", tail.join("\n"));
        }
        if std::env::var_os("KEEP_ENVOY_DIR").is_some()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("kept {}", dir.keep().display());
        }
    }
}
