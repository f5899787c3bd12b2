//! Recordings of a rollout, and what a replay makes of them.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::harness::control::{get, known};
use crate::harness::*;

const JUDGED: &str = "steps: [{set_weight: 50}, {pause: {duration: 1h}}], analysis: {deadline: 1s}";

/// The decimal logarithm of the e-value that decides.
async fn evidence(envoy: &Envoy) -> f64 {
    let (_, rollout) = get(envoy, "/v1/rollouts/digits").await;
    let all = rollout["evidence"].as_array().and_then(|evidence| evidence.last().cloned()).expect("evidence");
    all["log10_e"].as_f64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_a_recording_reproduces_the_rollback() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::OneIn(3, Box::new(Behaviour::Status(500))));
    let envoy = between(&blue, &green, Config::rollout(JUDGED)).control().workers(2).start().await;
    known(&envoy).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name);
    let config = format!("{{rollouts: [{}]}}", Config::blue_green("digits", JUDGED));
    std::fs::write(file("config.yaml"), config).expect("a file");
    // From here on ticks are kept.
    assert_eq!(get(&envoy, "/v1/rollouts/digits/ticks").await.0, 204);
    let endpoint = envoy.address_of("changeover-control");
    let mut recorder = cli::command(&["record", "digits"], &[endpoint])
        .stdout(File::create(file("ticks.jsonl")).expect("a file"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let load = Load::to(envoy.address()).per_second(200.0).start();
    let rollback = wait_for_event(&envoy, "rollback").await;
    load.stop().await;
    assert_eq!(rollback["actor"], "auto");
    let replayed = || {
        let arguments = ["replay", "--config", "config.yaml", "ticks.jsonl"];
        let output = cli::command(&arguments, &[]).current_dir(directory.path()).output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("text");
        let last: Option<serde_json::Value> =
            text.lines().last().and_then(|line| serde_json::from_str(line).ok());
        (output.status.code(), last.and_then(|last| last["log10_e"].as_f64()))
    };
    wait_for("the same evidence from the recording", async || {
        let (status, found) = replayed();
        let known = evidence(&envoy).await;
        (status == Some(1) && found.is_some_and(|found| (found - known).abs() < 0.001)).then_some(())
    })
    .await;
    signal(recorder.id(), "-INT");
    assert!(recorder.wait().expect("it ends").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_goes_on_when_envoy_has_started_again() {
    let (blue, green) = blue_and_green().await;
    let setup = || between(&blue, &green, Config::rollout(JUDGED)).control();
    let envoy = setup().start().await;
    known(&envoy).await;
    // One address for both Envoys, one after the other.
    let relay = Relay::start(envoy.address_of("changeover-control")).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name);
    let read = |name: &str| std::fs::read_to_string(file(name)).unwrap_or_default();
    let mut recorder = cli::command(&["record", "digits"], &[relay.address()])
        .stdout(File::create(file("ticks.jsonl")).expect("a file"))
        .stderr(File::create(file("told")).expect("a file"))
        .spawn()
        .expect("it runs");
    let lines = || read("ticks.jsonl").lines().count();
    let load = Load::to(envoy.address()).per_second(50.0).start();
    wait_for("two ticks", async || (lines() >= 2).then_some(())).await;
    load.stop().await;
    drop(envoy);
    wait_for("a message", async || read("told").contains("goes on when it answers again").then_some(()))
        .await;
    let before = lines();
    let envoy = setup().start().await;
    known(&envoy).await;
    relay.point_to(envoy.address_of("changeover-control"));
    let load = Load::to(envoy.address()).per_second(50.0).start();
    wait_for("two ticks more", async || (lines() >= before + 2).then_some(())).await;
    load.stop().await;
    signal(recorder.id(), "-INT");
    assert!(recorder.wait().expect("it ends").success());
    let told = read("told");
    assert!(told.contains("it answers again") && told.contains("the judge has begun anew at tick"), "{told}");
    let ids: std::collections::BTreeSet<String> = read("ticks.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["run"]["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 2);
}

/// Hands connections on to an address that may change.
struct Relay {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
}

impl Relay {
    async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let relay = Self {
            address: listener.local_addr().expect("an address"),
            target: Arc::new(Mutex::new(target)),
        };
        let target = Arc::clone(&relay.target);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let target = *target.lock().expect("no panic");
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(target).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        relay
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn point_to(&self, target: SocketAddr) {
        *self.target.lock().expect("no panic") = target;
    }
}
