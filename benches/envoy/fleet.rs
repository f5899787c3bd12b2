//! What a fleet costs its Envoys, and how soon a command at one of them is obeyed by all.
//!
//! Two Envoys share a store, an etcd of its own, and a third one has the same rollouts without one. All three get the same
//! load at the same time: what a member uses more than the third one is what the fleet costs it.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use super::cpu::{Cpus, Times};
use super::harness::{Config, Envoy, Etcd, Load, Setup, control, request, wait_for};
use super::upstream::Upstream;
use super::variants::common;

/// Requests of each rollout in a second, to each Envoy.
const REQUESTS: u64 = 2;
/// Until the fleet has begun and the first evidence is there.
const SETTLE: Duration = Duration::from_secs(12);
const MEASURE: Duration = Duration::from_secs(20);
/// Rollouts that move, and the period.
const MOVING: [(u64, &str); 4] = [(1, "1s"), (20, "1s"), (200, "1s"), (200, "5s")];
/// Commands for each size of a fleet.
const COMMANDS: usize = 40;

/// What belonging to a fleet costs an Envoy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) moving: u64,
    pub(crate) period: &'static str,
    /// Whether it is the Envoy that leads.
    pub(crate) leads: bool,
    /// Milliseconds of CPU in a second, more than the Envoy without a store.
    pub(crate) cpu: f64,
    /// Calls to the store in a second.
    pub(crate) calls: f64,
    /// Bytes to the store in a second.
    pub(crate) sent: f64,
    /// Bytes from it.
    pub(crate) received: f64,
    /// Bytes of a report, on average.
    pub(crate) report: f64,
}

/// How soon all members obey a command.
#[derive(Clone, Debug)]
pub(crate) struct Obeyed {
    pub(crate) members: usize,
    /// Milliseconds until each of the other members does, in order.
    pub(crate) each: Vec<f64>,
    /// Until the last one does, in order.
    pub(crate) last: Vec<f64>,
}

/// A configuration whose Envoys share a store.
pub(crate) fn shared(rollouts: &str, period: &str) -> Config {
    Config::Struct(format!(
        "{{store: {{etcd: {{cluster: etcd1}}, fleet: bench, period: {period}}}, rollouts: [{rollouts}]}}"
    ))
}

fn judged(count: u64) -> String {
    let rollout = |number: u64| {
        let fields = format!(
            "match: {{prefix: /m{number:04}/}}, steps: [{{set_weight: 50}}, {{pause: {{}}}}], analysis: {{}}"
        );
        Config::blue_green(&format!("r{number}"), &fields)
    };
    (0..count).map(rollout).collect::<Vec<_>>().join(", ")
}

/// What members cost, by how many rollouts move.
pub(crate) async fn measure(cpus: &Cpus) -> Vec<Cost> {
    let mut all = Vec::new();
    for (moving, period) in MOVING {
        all.extend(measure_one(cpus, moving, period).await);
    }
    all
}

async fn measure_one(cpus: &Cpus, moving: u64, period: &'static str) -> [Cost; 2] {
    let upstreams = [Upstream::start("blue").await, Upstream::start("green").await];
    let etcd = Etcd::start().await;
    let rollouts = judged(moving);
    let start = async |config: Config| {
        let setup = common(Setup::shipped(config), &upstreams).store(&[etcd.address()]).control().workers(2);
        setup.on_cpus(&cpus.all).start().await
    };
    let mut envoys = Vec::new();
    for config in [
        shared(&rollouts, period),
        shared(&rollouts, period),
        Config::Struct(format!("{{rollouts: [{rollouts}]}}")),
    ] {
        envoys.push(start(config).await);
    }
    let path = move |number: u64| format!("/m{:04}/x", number % moving);
    let loads: Vec<_> = envoys
        .iter()
        .map(|envoy| {
            let load = Load::to(envoy.address()).connections(4).per_second((REQUESTS * moving) as f64);
            load.each(move |number| request("GET", &path(number), &[], "")).start()
        })
        .collect();
    sleep(SETTLE).await;
    let leader = wait_for("an Envoy that leads", async || {
        for (nth, envoy) in envoys.iter().take(2).enumerate() {
            let (_, fleet) = control::get(envoy, "/v1/fleet").await;
            let is_whole = fleet["members"].as_array().is_some_and(|members| members.len() == 2);
            if is_whole && fleet["leader"] == fleet["member"] {
                return Some(nth);
            }
        }
        None
    })
    .await;
    let mut before = Vec::new();
    for envoy in &envoys {
        before.push(Used::now(envoy).await);
    }
    let mut reports = Vec::new();
    let end = Instant::now() + MEASURE;
    while Instant::now() < end {
        sleep(Duration::from_millis(950)).await;
        reports.push(report(&etcd));
    }
    let mut used = Vec::new();
    for (envoy, before) in envoys.iter().zip(before) {
        used.push(Used::now(envoy).await.since(&before));
    }
    for load in loads {
        load.stop().await.assert_all_ok();
    }
    let report = reports.iter().sum::<f64>() / reports.len() as f64;
    [leader, 1 - leader].map(|nth| Cost {
        moving,
        period,
        leads: nth == leader,
        cpu: (used[nth].cpu - used[2].cpu) * 1e3,
        calls: used[nth].calls,
        sent: used[nth].sent,
        received: used[nth].received,
        report,
    })
}

/// What an Envoy has used, up to a moment or in a second.
struct Used {
    at: Instant,
    cpu: f64,
    calls: f64,
    sent: f64,
    received: f64,
}

impl Used {
    async fn now(envoy: &Envoy) -> Self {
        let stat = async |name: &str| envoy.stat(&format!("cluster.etcd1.{name}")).await as f64;
        Self {
            at: Instant::now(),
            cpu: Times::of_process(envoy.id()).ran.as_secs_f64(),
            calls: stat("upstream_rq_completed").await,
            sent: stat("upstream_cx_tx_bytes_total").await,
            received: stat("upstream_cx_rx_bytes_total").await,
        }
    }

    fn since(self, before: &Self) -> Self {
        let seconds = (self.at - before.at).as_secs_f64();
        let rate = |now: f64, then: f64| (now - then) / seconds;
        Self {
            at: self.at,
            cpu: rate(self.cpu, before.cpu),
            calls: rate(self.calls, before.calls),
            sent: rate(self.sent, before.sent),
            received: rate(self.received, before.received),
        }
    }
}

/// Bytes of the members' reports as they stand, on average.
fn report(etcd: &Etcd) -> f64 {
    let printed = etcd.ctl(&["get", "--prefix", "/changeover/bench/m/", "--write-out", "json"]);
    let answer: Value = serde_json::from_str(&printed).expect("JSON");
    let reports = answer["kvs"].as_array().map_or(&[][..], Vec::as_slice);
    let size = |report: &Value| report["value"].as_str().map_or(0, |value| value.len() / 4 * 3) as f64;
    reports.iter().map(size).sum::<f64>() / reports.len().max(1) as f64
}

/// How soon commands at one member are obeyed by the others, in fleets of these sizes.
pub(crate) async fn commands(cpus: &Cpus, sizes: &[usize]) -> Vec<Obeyed> {
    let mut all = Vec::new();
    for members in sizes {
        all.push(commands_to(cpus, *members).await);
    }
    all
}

async fn commands_to(cpus: &Cpus, members: usize) -> Obeyed {
    let upstreams = [Upstream::start("blue").await, Upstream::start("green").await];
    let etcd = Etcd::start().await;
    let rollout = Config::blue_green("digits", "steps: [{set_weight: 50}, {pause: {}}], analysis: {}");
    let mut envoys = Vec::new();
    for _ in 0..members {
        let setup =
            common(Setup::shipped(shared(&rollout, "1s")), &upstreams).store(&[etcd.address()]).control();
        let envoy = setup.on_cpus(&cpus.all).start().await;
        envoys.push(envoy);
    }
    for envoy in &envoys {
        wait_for("the first step", async || (share(envoy).await == Some(50.0)).then_some(())).await;
    }
    let mut rng = fastrand::Rng::with_seed(1);
    let (mut each, mut last) = (Vec::new(), Vec::new());
    for nth in 0..COMMANDS {
        // At any moment of the members' seconds.
        sleep(Duration::from_millis(300 + rng.u64(..1_000))).await;
        let (command, expected) = if nth % 2 == 0 { ("abort", 0.0) } else { ("retry", 50.0) };
        let told = rng.usize(..members);
        let begun = Instant::now();
        let (status, _) = control::post(&envoys[told], &format!("/v1/rollouts/digits/{command}")).await;
        assert_eq!(status, 200, "{command}");
        let mut waiting: Vec<usize> = (0..members).filter(|member| *member != told).collect();
        while !waiting.is_empty() {
            for member in std::mem::take(&mut waiting) {
                if share(&envoys[member]).await == Some(expected) {
                    each.push(begun.elapsed().as_secs_f64() * 1e3);
                } else {
                    waiting.push(member);
                }
            }
            sleep(Duration::from_millis(2)).await;
        }
        last.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    each.sort_unstable_by(f64::total_cmp);
    last.sort_unstable_by(f64::total_cmp);
    Obeyed { members, each, last }
}

async fn share(envoy: &Envoy) -> Option<f64> {
    control::get(envoy, "/v1/rollouts/digits").await.1["weights"]["green"].as_f64()
}
