//! Tasks of a rollout with people: `blue` is their queue, `green` the model.

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};

use super::{Behaviour, Config, Envoy, Made, Make, request};

pub(crate) const SUGGESTION: &str = "x-changeover-suggestion";
pub(crate) const RECEIPT: &str = "x-changeover-receipt";
/// Where people's decisions come by.
pub(crate) const DECISIONS: &str =
    "decision: {match: {path: /v1/decisions, methods: [POST]}, receipt: /task/receipt, label: /label}";

/// A rollout with people, with these fields of `automation` and these of the rollout. Unless they name it, the model's time is
/// long enough for a busy machine.
pub(crate) fn people(automation: &str, fields: &str) -> Config {
    let ask = if automation.contains("ask:") { "" } else { "ask: {timeout: 20s}, " };
    Config::rollout(&format!(
        "match: {{prefix: /tasks}}, automation: {{answer: {{label: /label, confidence: /confidence}}, {ask}{automation}}}{}{fields}",
        if fields.is_empty() { "" } else { ", " }
    ))
}

/// The model: its label is the task's number modulo 3 but for every 10th task, its confidence two decimals of the number.
pub(crate) fn model() -> Behaviour {
    Make::by(|_, seen| {
        let number = number_of(&seen.body);
        Made::json(json!({"label": model_label(number), "confidence": confidence(number)}).to_string())
    })
}

pub(crate) fn number_of(body: &[u8]) -> u64 {
    serde_json::from_slice::<Value>(body).expect("a task")["n"].as_u64().expect("a number")
}

pub(crate) fn right_label(number: u64) -> String {
    format!("class-{}", number % 3)
}

pub(crate) fn model_label(number: u64) -> String {
    right_label(if number.is_multiple_of(10) { number + 1 } else { number })
}

pub(crate) fn confidence(number: u64) -> f64 {
    (number % 100) as f64 / 100.0
}

pub(crate) fn task(number: u64) -> Request<Full<Bytes>> {
    request("POST", "/tasks", &[], json!({"n": number}).to_string())
}

pub(crate) fn decision(receipt: &str, label: &str) -> Request<Full<Bytes>> {
    request("POST", "/v1/decisions", &[], json!({"task": {"receipt": receipt}, "label": label}).to_string())
}

/// A counter by a label's value.
pub(crate) async fn counts(envoy: &Envoy, metric: &str, labels: &[&str]) -> BTreeMap<String, u64> {
    let metrics = envoy.metrics().await;
    let mut counts = BTreeMap::new();
    for series in metrics.series(metric) {
        let name: Vec<&str> = labels.iter().map(|label| series.labels[*label].as_str()).collect();
        *counts.entry(name.join(" ")).or_default() += series.value as u64;
    }
    counts
}

pub(crate) async fn tasks(envoy: &Envoy) -> BTreeMap<String, u64> {
    counts(envoy, "changeover_tasks_total", &["route", "reason"]).await
}
