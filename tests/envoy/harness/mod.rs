//! A real Envoy, real upstreams and real clients, for one test.

#![allow(dead_code, unused_imports)] // not every test or benchmark uses every part

mod admin;
pub(crate) mod cli;
mod client;
pub(crate) mod compare;
pub(crate) mod control;
mod envoy;
mod etcd;
mod events;
mod load;
mod prometheus;
mod raw;
mod resources;
mod setup;
pub(crate) mod tasks;
mod upstream;

use std::time::{Duration, Instant};

pub(crate) use admin::Metrics;
pub(crate) use client::{Answer, Connection, get, gzip, https_get, request};
pub(crate) use envoy::{Envoy, binary};
pub(crate) use etcd::{Etcd, free_address, signal};
pub(crate) use events::{actions, events, wait_for_event};
pub(crate) use load::{Load, Running, Tally, assert_share};
pub(crate) use prometheus::Prometheus;
pub(crate) use raw::{Raw, RawUpstream, Tap, open_raw, raw_exchange, read_until};
pub(crate) use resources::{documents, merge, resource, yaml_in};
pub(crate) use setup::{
    Config, HotRestart, RECEIPT_KEY, RECEIPT_KEY_NAME, Setup, between, between_ecds, read_yaml,
};
pub(crate) use upstream::{Behaviour, Made, Make, Seen, Upstream, blue_and_green};

/// How long anything may take on a busy machine before it counts as never.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// Waits until `condition` gives a value, asking again every few milliseconds.
pub(crate) async fn wait_for<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    wait_within(DEADLINE, what, condition).await
}

/// [`wait_for`] with another deadline, for what takes longer than others.
pub(crate) async fn wait_within<T>(
    deadline: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(begun.elapsed() < deadline, "waited {deadline:?} in vain for: {what}");
        // Not more often than a worker's API answers all the time.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
