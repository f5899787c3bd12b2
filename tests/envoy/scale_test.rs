//! The limits, in a real Envoy.

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
