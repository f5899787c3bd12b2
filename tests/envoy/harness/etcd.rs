//! One etcd process, Debian's.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::setup::root;
use super::{get, wait_for};

/// A running etcd. Dropped, it is killed.
pub(crate) struct Etcd {
    process: Option<Child>,
    dir: TempDir,
    client: SocketAddr,
    peer: SocketAddr,
    data: String,
    arguments: Vec<String>,
    /// Where it answers health checks without TLS; `None`: clients need none.
    metrics: Option<SocketAddr>,
}

/// The certificates of the tests, made by openssl for a hundred years: one authority, `etcd`, the users `root` and
/// `changeover-envoy`, and the latter by another authority.
pub(crate) fn certificate(name: &str) -> PathBuf {
    root().join("tests/envoy/harness/tls/store").join(name)
}

/// A program of etcd: in the folder `ETCD_DIR`, or what `make` fetched from Debian.
fn program(name: &str) -> PathBuf {
    let folder =
        std::env::var_os("ETCD_DIR").map_or_else(|| root().join("target/etcd/usr/bin"), PathBuf::from);
    let program = folder.join(name);
    assert!(program.exists(), "{} is missing: run `make test-envoy`, which fetches it", program.display());
    program
}

/// An address without a listener, below the ports that the system hands out by itself: no other test gets it.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let nth = std::process::id().wrapping_mul(97).wrapping_add(nth) % 12_000;
        let port = u16::try_from(20_000 + nth).expect("a port");
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().expect("an address");
        }
    }
}

impl Etcd {
    /// Starts one that is empty.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with further arguments.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let mut etcd = Self::new(arguments);
        etcd.run().await;
        etcd
    }

    /// Starts one that wants certificates of its clients, and gives the user `changeover-envoy` the right to read and
    /// write the keys that begin so.
    pub(crate) async fn start_with_mtls(prefix: &str) -> Self {
        let mut etcd = Self::new(&["--client-cert-auth"]);
        for (argument, name) in
            [("--cert-file", "server.pem"), ("--key-file", "server.key"), ("--trusted-ca-file", "ca.pem")]
        {
            etcd.arguments.extend([argument.to_owned(), certificate(name).display().to_string()]);
        }
        etcd.metrics = Some(free_address());
        etcd.run().await;
        etcd.ctl(&["role", "add", "changeover"]);
        etcd.ctl(&["role", "grant-permission", "changeover", "--prefix=true", "readwrite", prefix]);
        for user in ["root", "changeover-envoy"] {
            etcd.ctl(&["user", "add", user, "--no-password"]);
        }
        etcd.ctl(&["user", "grant-role", "changeover-envoy", "changeover"]);
        etcd.ctl(&["user", "grant-role", "root", "root"]);
        etcd.ctl(&["auth", "enable"]);
        etcd
    }

    fn new(arguments: &[&str]) -> Self {
        Self {
            process: None,
            dir: tempfile::tempdir().expect("a directory"),
            client: free_address(),
            peer: free_address(),
            data: "data".into(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            metrics: None,
        }
    }

    fn url(&self) -> String {
        let scheme = if self.metrics.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.client)
    }

    /// Starts it again on what it has stored.
    pub(crate) async fn run(&mut self) {
        let (client, peer) = (self.url(), format!("http://{}", self.peer));
        let metrics = self.metrics.map(|address| format!("--listen-metrics-urls=http://{address}"));
        let process = Command::new(program("etcd"))
            .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH.replace("aarch64", "arm64"))
            .arg("--data-dir")
            .arg(self.dir.path().join(&self.data))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
            // A process that is killed loses nothing that it has written, and a busy disk holds no test up.
            .arg("--unsafe-no-fsync")
            .args(&self.arguments)
            .args(metrics)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd starts");
        self.process = Some(process);
        wait_for("etcd to serve", async || {
            let health = get(self.metrics.unwrap_or(self.client), "/health").await.ok()?;
            health.text().contains("true").then_some(())
        })
        .await;
    }

    /// Where clients reach it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.client
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Runs `etcdctl`, and returns what it prints.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        let output = Command::new(program("etcdctl"))
            .env("ETCDCTL_API", "3")
            .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH.replace("aarch64", "arm64"))
            .args(["--endpoints", &self.url()])
            .args(self.metrics.into_iter().flat_map(|_| {
                [("--cacert", "ca.pem"), ("--cert", "root.pem"), ("--key", "root.key")]
                    .map(|(argument, name)| format!("{argument}={}", certificate(name).display()))
            }))
            .args(arguments)
            .current_dir(self.dir.path())
            .output()
            .expect("etcdctl runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "etcdctl {arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Writes until it takes no more.
    pub(crate) fn fill(&self) {
        let value = "x".repeat(100_000);
        let takes_more = |_: &u32| {
            let mut put = Command::new(program("etcdctl"));
            let put =
                put.env("ETCDCTL_API", "3").args(["--endpoints", &self.client.to_string(), "put", "junk"]);
            put.arg(&value).output().expect("etcdctl runs").status.success()
        };
        assert!((0..100).take_while(takes_more).count() < 100, "it is never full");
    }

    /// Keeps what is stored now under a name.
    pub(crate) fn save(&self, name: &str) {
        self.ctl(&["snapshot", "save", name]);
    }

    /// Starts it anew with what was kept under a name.
    pub(crate) async fn restore(&mut self, name: &str) {
        self.kill();
        self.data = format!("data-of-{name}");
        let peer = format!("http://{}", self.peer);
        let cluster = format!("default={peer}");
        self.ctl(&[
            "snapshot",
            "restore",
            name,
            "--data-dir",
            &self.data,
            "--name",
            "default",
            "--initial-cluster",
            &cluster,
            "--initial-advertise-peer-urls",
            &peer,
        ]);
        self.run().await;
    }

    /// The keys of a fleet that begin so.
    pub(crate) fn keys(&self, beginning: &str) -> Vec<String> {
        let keys = self.ctl(&["get", "--prefix", "--keys-only", beginning]);
        keys.lines().filter(|key| !key.is_empty()).map(str::to_owned).collect()
    }
}

/// Stops a process, or has it go on.
pub(crate) fn signal(process: u32, signal: &str) {
    let status = Command::new("kill").args([signal, &process.to_string()]).status().expect("kill runs");
    assert!(status.success(), "kill {signal} {process}");
}

impl Etcd {
    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().expect("a process").id()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}
