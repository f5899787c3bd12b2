//! Drift: stable's inputs change, and its gauges say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::harness::control::{get, known, post};
use crate::harness::*;

const METRICS: [&str; 4] = ["input.length", "output.label", "output.null", "error_rate"];

/// Half of the traffic to green; ten seconds of blue's are the reference.
fn rollout() -> String {
    Config::blue_green(
        "digits",
        "steps: [{set_weight: 50}, {pause: {duration: 1h}}], payload: {protocol: tf_serving}, \
         analysis: {deadline: 10s, metrics: [{name: client_error_rate}]}, \
         drift: {metrics: [input.length, output.label, output.null, error_rate], reference: 10s}",
    )
}

/// Requests with 20 to 39 numbers each, or so many times as many.
struct Clients {
    tenths: Arc<AtomicU64>,
    load: Running,
}

impl Clients {
    fn of(envoy: &Envoy) -> Self {
        let tenths = Arc::new(AtomicU64::new(10));
        let times = Arc::clone(&tenths);
        let load = Load::to(envoy.address()).per_second(300.0).each(move |number| {
            let numbers = (20 + number % 20) * times.load(Ordering::Relaxed) / 10;
            let body = json!({"instances": [vec![1; numbers as usize]]}).to_string();
            request("POST", "/v1/models/digits:predict", &[("content-type", b"application/json")], body)
        });
        Self { tenths, load: load.start() }
    }
}

async fn upstreams() -> (Upstream, Upstream) {
    let (blue, green) = blue_and_green().await;
    for upstream in [&blue, &green] {
        upstream.set(Make::by(|_, _| Made {
            status: Some(200),
            ..Made::json("{\"predictions\": [\"cat\"]}".to_owned())
        }));
    }
    (blue, green)
}

async fn drift(envoy: &Envoy, metric: &str) -> Value {
    let rollout = get(envoy, "/v1/rollouts/digits").await.1;
    let drift = rollout["drift"].as_array().expect("a list");
    drift.iter().find(|drift| drift["metric"] == metric).expect("the metric").clone()
}

/// How far a metric has moved in 5 minutes, once that is known.
async fn moved(envoy: &Envoy, metric: &str) -> Option<f64> {
    drift(envoy, metric).await["windows"][0]["times_noise"].as_f64()
}

async fn wait_until_known(envoy: &Envoy) {
    wait_for("movements of all metrics", async || {
        for metric in METRICS {
            moved(envoy, metric).await?;
        }
        Some(())
    })
    .await;
}

async fn gauge(envoy: &Envoy, metric: &str, window: &str) -> f64 {
    let labels = [("rollout", "digits"), ("metric", metric), ("window", window)];
    envoy.metrics().await.sum("changeover_drift", &labels)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metric_that_changes_passes_its_noise_and_a_reference_that_is_taken_anew_ends_that() {
    let (blue, green) = upstreams().await;
    let config = Config::Struct(format!("{{rollouts: [{}]}}", rollout()));
    let envoy = between(&blue, &green, config).control().workers(2).start().await;
    known(&envoy).await;
    let (status, refused) = post(&envoy, "/v1/rollouts/digits/freeze").await;
    assert_eq!((status, gauge(&envoy, "error_rate", "5m").await), (409, 0.0), "{refused}");
    let clients = Clients::of(&envoy);
    wait_for("the reference", async || {
        drift(&envoy, "input.length").await["frozen"].is_string().then_some(())
    })
    .await;
    wait_until_known(&envoy).await;
    for metric in METRICS {
        assert!(moved(&envoy, metric).await < Some(2.0), "{}", drift(&envoy, metric).await);
    }
    clients.tenths.store(15, Ordering::Relaxed);
    for window in ["5m", "1h", "1d"] {
        wait_for("longer inputs", async || {
            (gauge(&envoy, "input.length", window).await > 2_000.0).then_some(())
        })
        .await;
    }
    for metric in &METRICS[1..] {
        for window in ["5m", "1h", "1d"] {
            assert_eq!(gauge(&envoy, metric, window).await, 1.0, "{metric} does not move at all");
        }
    }
    let size =
        envoy.metrics().await.sum("changeover_drift_size", &[("metric", "input.length"), ("window", "5m")]);
    assert!(size > 100.0, "{size}");
    let control = [envoy.address_of("changeover-control")];
    let (status, _, _) = cli::changeover(&["status", "digits"], &control);
    assert!(status.contains("input.length moves "), "{status}");
    // Five minutes have both lengths. The second reference has the longer ones alone.
    for nth in ["first", "second"] {
        let before = drift(&envoy, "input.length").await["frozen"].clone();
        let (_, said, code) = cli::changeover(&["freeze", "digits", "--of", "5m"], &control);
        assert_eq!(code, Some(0), "{nth}: {said}");
        let event = events(&envoy).pop().expect("an event");
        assert_eq!((&event["action"], &event["actor"]), (&json!("change"), &json!("user")), "{event}");
        assert_ne!(drift(&envoy, "input.length").await["frozen"], before, "{nth}");
        wait_until_known(&envoy).await;
    }
    wait_for("as many again", async || {
        let moved = drift(&envoy, "input.length").await;
        (moved["windows"][0]["observations"].as_u64()? > 600).then_some(())
    })
    .await;
    let calm = moved(&envoy, "input.length").await;
    assert!(calm < Some(2.0), "{calm:?}");
    clients.load.stop().await.assert_all_ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_outlives_envoy_in_the_store() {
    let (blue, green) = upstreams().await;
    let etcd = Etcd::start().await;
    let config = || {
        Config::Struct(format!(
            "{{store: {{fleet: shop, etcd: {{cluster: etcd1}}}}, rollouts: [{}]}}",
            rollout()
        ))
    };
    let start = async || {
        let envoy = between(&blue, &green, config()).store(&[etcd.address()]).control().start().await;
        known(&envoy).await;
        envoy
    };
    let envoy = start().await;
    let clients = Clients::of(&envoy);
    wait_until_known(&envoy).await;
    let before = drift(&envoy, "input.length").await;
    clients.load.stop().await;
    drop(envoy);
    let envoy = start().await;
    let clients = Clients::of(&envoy);
    clients.tenths.store(15, Ordering::Relaxed);
    wait_for("longer inputs", async || (gauge(&envoy, "input.length", "5m").await > 2_000.0).then_some(()))
        .await;
    let after = drift(&envoy, "input.length").await;
    assert_eq!((&after["frozen"], &after["observations"]), (&before["frozen"], &before["observations"]));
    clients.load.stop().await;
}
