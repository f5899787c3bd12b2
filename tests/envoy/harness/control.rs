//! The control listener's API, as a client calls it.

use std::time::Duration;

use serde_json::Value;

use super::{Config, Connection, Envoy, request, wait_for};

pub(crate) const JSON: (&str, &[u8]) = ("content-type", b"application/json");

/// The status and the body of an answer of the control listener; `Null` for a body that is not JSON.
pub(crate) async fn call(
    envoy: &Envoy,
    method: &str,
    path: &str,
    headers: &[(&str, &[u8])],
    body: &str,
) -> (u16, Value) {
    let mut connection =
        Connection::open(envoy.address_of("changeover-control")).await.expect("a connection");
    let headers = [&[(":authority", &b"localhost"[..])], headers].concat();
    let answer = connection.send(request(method, path, &headers, body.to_owned())).await.expect("an answer");
    let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    (answer.status.as_u16(), body)
}

pub(crate) async fn get(envoy: &Envoy, path: &str) -> (u16, Value) {
    call(envoy, "GET", path, &[], "").await
}

pub(crate) async fn post(envoy: &Envoy, path: &str) -> (u16, Value) {
    call(envoy, "POST", path, &[JSON], "").await
}

/// Makes a command, and returns the rollout when all workers follow.
pub(crate) async fn obeyed(envoy: &Envoy, path: &str) -> Value {
    obeyed_with(envoy, path, "").await
}

/// [`obeyed`], for a command with a body.
pub(crate) async fn obeyed_with(envoy: &Envoy, path: &str, body: &str) -> Value {
    let (status, rollout) = call(envoy, "POST", path, &[JSON], body).await;
    assert!(matches!(status, 200 | 202), "{path}: {status} {rollout}");
    if status == 202 {
        // A worker had no CPU for a second, as happens on a busy machine. It follows with its next tick.
        eprintln!("{path}: {} did not follow within a second", rollout["missing_workers"]);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    rollout
}

/// A rollout with half of the traffic on green, until it is promoted.
pub(crate) fn at_half() -> Config {
    Config::rollout("steps: [{set_weight: 50}, {pause: {}}, {set_weight: 75}, {pause: {duration: 1h}}]")
}

/// Waits until the rollout is known.
pub(crate) async fn known(envoy: &Envoy) -> Value {
    wait_for("the rollout", async || {
        let (status, rollout) = get(envoy, "/v1/rollouts/digits").await;
        (status == 200).then_some(rollout)
    })
    .await
}
