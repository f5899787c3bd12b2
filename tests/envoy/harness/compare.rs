//! A shadow that compares: two classifiers, what asks them, and what became of the copies.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Behaviour, Envoy, Made, Make, request, wait_for};

pub(crate) const COMPARES: &str = "mirror: {to: green, mode: compare, methods: [POST], timeout: 2s, \
     compare: {label: /outputs/0/data/0, ignore: [/model]}}";

/// Requests that were drawn for the shadow, by what became of them.
pub(crate) async fn results(envoy: &Envoy) -> BTreeMap<String, u64> {
    let metrics = envoy.metrics().await;
    let series = metrics.series("changeover_mirror_requests_total");
    series.map(|series| (series.labels["result"].clone(), series.value as u64)).collect()
}

/// Waits until nothing is under way, and checks that what was sent adds up.
pub(crate) async fn settled(envoy: &Envoy, drawn: u64) -> BTreeMap<String, u64> {
    let ends = ["matched", "differed", "failed", "cancelled"];
    wait_for("every copy to end", async || {
        let results = results(envoy).await;
        let of = |result: &str| results.get(result).copied().unwrap_or(0);
        let skipped: u64 =
            results.iter().filter(|(name, _)| name.starts_with("skipped")).map(|(_, n)| n).sum();
        let ended: u64 = ends.iter().map(|result| of(result)).sum();
        (of("sent") + skipped == drawn && of("sent") == ended).then_some(results)
    })
    .await
}

/// What a classifier of ten classes makes of the nth image.
pub(crate) fn digit(number: u64, model: u64) -> u64 {
    if number.is_multiple_of(7) && model == 1 { (number + 5) % 10 } else { number % 10 }
}

pub(crate) fn classifier(model: u64) -> Behaviour {
    Make::by(move |_, seen| {
        let asked: Value = serde_json::from_slice(&seen.body).unwrap();
        let label = digit(asked["n"].as_u64().unwrap(), model);
        Made::json(json!({"model": model, "outputs": [{"data": [label]}]}).to_string())
    })
}

pub(crate) fn ask(number: u64) -> hyper::Request<http_body_util::Full<Bytes>> {
    request("POST", "/v2/models/digits/infer?a=1", &[], json!({"n": number}).to_string())
}
