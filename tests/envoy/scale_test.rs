//! The limits, in a real Envoy.

use serde_json::Value;

use crate::harness::*;

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

/// All rollouts, as the API shows them.
async fn shown(envoy: &Envoy) -> Vec<Value> {
    let (mut all, mut path) = (Vec::new(), "/v1/rollouts".to_owned());
    loop {
        let mut page = wait_for("a page that the worker has time for", async || {
            let (status, page) = control::get(envoy, &path).await;
            assert!(matches!(status, 200 | 429), "{status}");
            (status == 200).then_some(page)
        })
        .await;
        all.append(page["rollouts"].as_array_mut().expect("a list"));
        let Some(next) = page["next"].as_str() else { return all };
        path = format!("/v1/rollouts?after={next}");
    }
}

/// The leader moves them on in pieces, while workers report what they have counted.
#[tokio::test(flavor = "multi_thread")]
async fn each_of_a_thousand_rollouts_is_judged() {
    let (blue, green) = blue_and_green().await;
    let rollout = |n: usize| {
        let fields = format!(
            "match: {{prefix: /m{n:04}/}}, steps: [{{set_weight: 50}}, {{pause: {{}}}}], analysis: {{}}"
        );
        Config::blue_green(&format!("r{n:04}"), &fields)
    };
    let config =
        Config::Struct(format!("{{rollouts: [{}]}}", (0..1_000).map(rollout).collect::<Vec<_>>().join(", ")));
    let envoy = between(&blue, &green, config).workers(2).control().start().await;
    let begun = async || {
        let all = shown(&envoy).await;
        (all.len() == 1_000 && all.iter().all(|rollout| rollout["phase"] == "paused")).then_some(())
    };
    wait_for("all rollouts at their step", begun).await;
    let load = Load::to(envoy.address())
        .connections(16)
        .each(|number| request("GET", &format!("/m{:04}/x", number % 1_000), &[], ""));
    let tally = load.send(10_000).await;
    tally.assert_all_ok();
    let judged = async || {
        let judged: Option<u64> =
            shown(&envoy).await.iter().map(|rollout| rollout["step"]["requests"].as_u64()).sum();
        (judged == Some(tally.from("green"))).then_some(())
    };
    wait_for("every request of the candidate to be judged", judged).await;
}
