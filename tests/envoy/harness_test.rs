//! The harness itself, on an Envoy without the filter: what it counts and what it sees can be trusted.

use crate::harness::*;
use std::time::Duration;

async fn plain(upstream: &Upstream) -> Envoy {
    Setup::plain().clusters(&[("blue", upstream.address())]).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_upstreams_count_the_same() {
    let blue = Upstream::start("blue").await;
    let envoy = plain(&blue).await;
    let tally = Load::to(envoy.address()).send(2_000).await;
    tally.assert_all_ok();
    assert_eq!((tally.total(), tally.from("blue"), blue.count()), (2_000, 2_000, 2_000));
    assert_eq!(envoy.stat("cluster.blue.upstream_rq_total").await, 2_000);
    assert!(
        envoy.metrics().await.sum("envoy_cluster_upstream_rq_total", &[("envoy_cluster_name", "blue")])
            >= 2_000.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_misbehave_as_told() {
    for (behaviour, status) in [(Raw::CloseBeforeHeaders, 503), (Raw::Garbage, 502)] {
        let raw = RawUpstream::start(behaviour).await;
        let envoy = Setup::plain().clusters(&[("blue", raw.address())]).start().await;
        assert_eq!(get(envoy.address(), "/").await.expect("an answer").status, status, "{behaviour:?}");
    }
    let raw = RawUpstream::start(Raw::CloseInBody).await;
    let envoy = Setup::plain().clusters(&[("blue", raw.address())]).start().await;
    assert!(get(envoy.address(), "/").await.is_err(), "a cut answer is no answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_holds_answers_back() {
    let blue = Upstream::start_with("blue", Behaviour::gate()).await;
    let envoy = plain(&blue).await;
    let address = envoy.address();
    let waiting = tokio::spawn(async move { get(address, "/").await });
    wait_for("the request to arrive", async || (blue.count() == 1).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waiting.is_finished());
    blue.open_gate();
    assert_eq!(waiting.await.expect("no panic").expect("an answer").upstream(), "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_bootstrap_is_reported() {
    let blue = Upstream::start("blue").await;
    let setup = Setup::plain().clusters(&[("blue", blue.address())]);
    let log = setup.edit(|bootstrap| bootstrap["unheard_of"] = serde_json::json!(1)).start_refused().await;
    assert!(log.contains("unheard_of"), "{log}");
}
