//! Several Envoys that share their rollouts through a real etcd.

use std::net::SocketAddr;

use serde_json::Value;

use crate::harness::control::{get, post};
use crate::harness::*;

/// A rollout of a fleet.
fn config(fields: &str) -> Config {
    let rollout = Config::blue_green("digits", fields);
    Config::Struct(format!("{{store: {{etcd: {{cluster: etcd1}}, fleet: shop}}, rollouts: [{rollout}]}}"))
}

/// A rollout that waits for a person at half of the requests.
const WAITING: &str = "steps: [{set_weight: 50}, {pause: {}}, {set_weight: 75}, {pause: {duration: 1h}}]";

async fn start(blue: &Upstream, green: &Upstream, endpoints: &[SocketAddr], config: Config) -> Envoy {
    between(blue, green, config).store(endpoints).control().workers(2).start().await
}

async fn fleet(members: usize, blue: &Upstream, green: &Upstream, etcd: &Etcd, fields: &str) -> Vec<Envoy> {
    let mut envoys = Vec::new();
    for _ in 0..members {
        envoys.push(start(blue, green, &[etcd.address()], config(fields)).await);
    }
    for envoy in &envoys {
        control::known(envoy).await;
    }
    envoys
}

async fn rollout(envoy: &Envoy) -> Value {
    get(envoy, "/v1/rollouts/digits").await.1
}

/// Waits until an Envoy gives the candidate this share.
async fn wait_for_share(envoy: &Envoy, percent: f64) {
    wait_for(&format!("{percent} % for the candidate"), async || {
        (rollout(envoy).await["weights"]["green"].as_f64()? == percent).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_one_for_all_envoys_and_outlives_each_of_them() {
    let (blue, green) = blue_and_green().await;
    let etcd = Etcd::start().await;
    let mut envoys = fleet(3, &blue, &green, &etcd, WAITING).await;
    let load = Load::to(envoys[0].address()).per_second(50.0).start();
    assert_eq!(etcd.keys("/changeover/shop/r/").len(), 1, "one record");
    // A command at one is obeyed by all.
    assert_eq!(post(&envoys[1], "/v1/rollouts/digits/promote").await.0, 200);
    for envoy in &envoys {
        wait_for_share(envoy, 75.0).await;
    }
    let revision = rollout(&envoys[0]).await["revision"].clone();
    // All are replaced in turn.
    for nth in [1, 2] {
        envoys[nth] = start(&blue, &green, &[etcd.address()], config(WAITING)).await;
        wait_for_share(&envoys[nth], 75.0).await;
    }
    assert_eq!(rollout(&envoys[2]).await["revision"], revision, "no step is repeated");
    assert_eq!(post(&envoys[2], "/v1/rollouts/digits/abort").await.0, 200);
    for envoy in &envoys {
        wait_for_share(envoy, 0.0).await;
    }
    load.stop().await.assert_all_ok();
}
