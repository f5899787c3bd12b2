//! The limits, in a real Envoy.

use std::collections::BTreeMap;

use crate::harness::*;
use crate::{between, blue_and_green};

fn rollouts(count: usize) -> Config {
    let rollout =
        |n: usize| Config::blue_green(&format!("r{n}"), &format!("match: {{prefix: /m{n:04}/}}, pin: green"));
    Config::Struct(format!("{{rollouts: [{}]}}", (0..count).map(rollout).collect::<Vec<_>>().join(", ")))
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_rollouts_as_there_may_be() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, rollouts(4_096)).start().await;
    assert_eq!(get(envoy.address(), "/m4095/x").await.expect("an answer").upstream(), "green");
    assert_eq!(get(envoy.address(), "/m9999/x").await.expect("an answer").upstream(), "blue");
    // Metrics are defined for what is used, not for all there is.
    let metrics = envoy.metrics().await;
    assert_eq!(metrics.series("changeover_weight").count(), 2);
    let log = between(&blue, &green, rollouts(4_097)).start_refused().await;
    assert!(log.contains("rollouts: 4097 rollouts are over the limit of 4096"), "{log}");
}

/// How long each tick took in microseconds, as the log tells at debug level: workers', and those of the VM that
/// leads, which takes longest. A tick has several parts.
fn ticks(log: &str) -> (Vec<u64>, Vec<u64>) {
    let mut by_thread = BTreeMap::<&str, BTreeMap<u64, u64>>::new();
    for line in log.lines() {
        let Some((_, told)) = line.split_once("changeover: tick ") else { continue };
        let thread = line.split(']').nth(1).unwrap_or_default();
        let numbers: Vec<u64> = told.split(' ').filter_map(|word| word.parse().ok()).collect();
        *by_thread.entry(thread).or_default().entry(numbers[0]).or_default() += numbers[1];
    }
    let all = |ticks: &BTreeMap<u64, u64>| ticks.values().copied().collect::<Vec<u64>>();
    let leader = by_thread.iter().max_by_key(|(_, ticks)| median(all(ticks))).map(|(thread, _)| *thread);
    let leaders = leader.and_then(|thread| by_thread.remove(thread)).unwrap_or_default();
    (by_thread.values().flat_map(all).collect(), all(&leaders))
}

fn median(mut of: Vec<u64>) -> u64 {
    of.sort_unstable();
    of.get(of.len() / 2).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_is_short_with_a_thousand_rollouts_that_are_judged() {
    let (blue, green) = blue_and_green().await;
    let rollout = |n: usize| {
        let fields = format!(
            "match: {{prefix: /m{n:04}/}}, steps: [{{set_weight: 50}}, {{pause: {{}}}}], analysis: {{}}"
        );
        Config::blue_green(&format!("r{n}"), &fields)
    };
    let config =
        Config::Struct(format!("{{rollouts: [{}]}}", (0..1_000).map(rollout).collect::<Vec<_>>().join(", ")));
    let envoy = between(&blue, &green, config).workers(2).start().await;
    envoy.admin_post("/logging?wasm=debug").await;
    let load = Load::to(envoy.address())
        .connections(16)
        .each(|number| request("GET", &format!("/m{:04}/x", number % 1_000), &[], ""));
    let running = load.start();
    wait_for("ticks under load", async || (ticks(&envoy.log()).1.len() >= 16).then_some(())).await;
    running.stop().await.assert_all_ok();
    let (workers, leaders) = ticks(&envoy.log());
    println!(
        "a tick takes a worker {} us, whoever leads {} us (medians)",
        median(workers.clone()),
        median(leaders)
    );
    // The aim is 5 ms; a busy machine that tests in parallel gets more.
    assert!(median(workers.clone()) < 25_000, "{workers:?}");
}
