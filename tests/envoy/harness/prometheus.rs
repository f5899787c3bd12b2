//! Debian's Prometheus, that scrapes Envoys with the shipped rules.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::etcd::free_address;
use super::setup::root;
use super::{get, wait_for};

/// A Prometheus that scrapes and evaluates every second.
pub(crate) struct Prometheus {
    process: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Prometheus {
    /// Starts one for the admin interfaces of Envoys.
    pub(crate) async fn start(targets: &[SocketAddr]) -> Self {
        let program = root().join("target/prometheus/usr/bin/prometheus");
        assert!(
            program.exists(),
            "{} is missing: run `make test-envoy`, which fetches it",
            program.display()
        );
        let dir = tempfile::tempdir().expect("a directory");
        let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
        let config = serde_json::json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [root().join("envoy/prometheus/rules.yaml")],
            "scrape_configs": [
                {"job_name": "envoy", "metrics_path": "/stats/prometheus", "static_configs": [{"targets": targets}]},
            ],
        });
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, config.to_string()).expect("its configuration");
        let address = free_address();
        let process = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Prometheus starts");
        let prometheus = Self { process, address, _dir: dir };
        wait_for("Prometheus to serve", async || {
            (get(address, "/-/ready").await.ok()?.status == 200).then_some(())
        })
        .await;
        prometheus
    }

    /// What its API answers.
    pub(crate) async fn ask(&self, path: &str) -> Value {
        let answer = get(self.address, path).await.expect("an answer");
        serde_json::from_str(&answer.text()).expect("JSON")
    }

    /// The series that an expression gives now.
    pub(crate) async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.ask(&format!("/api/v1/query?query={encoded}")).await;
        match answer["data"]["result"].as_array() {
            Some(result) => Ok(result.clone()),
            None => Err(answer["error"].to_string()),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
