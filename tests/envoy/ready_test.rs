//! Candidates that must be ready before they get traffic, and those that warm up.

use serde_json::Value;

use crate::harness::control::{get, known, obeyed, obeyed_with};
use crate::harness::*;

/// The rollout, once its reason contains this.
async fn wait_for_reason(envoy: &Envoy, reason: &str) -> Value {
    wait_for(reason, async || {
        let rollout = get(envoy, "/v1/rollouts/digits").await.1;
        rollout["reason"].as_str().is_some_and(|found| found.contains(reason)).then_some(rollout)
    })
    .await
}

async fn wait_for_weight(envoy: &Envoy, percent: u64) {
    wait_for("the candidate's weight", async || {
        (get(envoy, "/v1/rollouts/digits").await.1["weights"]["green"] == percent).then_some(())
    })
    .await;
}

/// Half of the requests, once the candidate is ready; judged by errors from its first request on.
fn waits(ready: &str) -> Config {
    Config::rollout(&format!(
        "steps: [{{ready: {ready}}}, {{set_weight: 50}}, {{pause: {{}}}}], analysis: {{metrics: [{{name: error_rate}}]}}"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_loads_costs_no_client_an_error_and_is_not_rolled_back() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::Status(503));
    let envoy = between(&blue, &green, waits("{path: /v2/health/ready}")).control().workers(2).start().await;
    let running = Load::to(envoy.address()).connections(8).per_second(100.0).start();
    let rollout = wait_for_reason(&envoy, "0 so far, the last answer was 503").await;
    assert_eq!(
        (&rollout["phase"], &rollout["step"]["index"]),
        (&"progressing".into(), &0.into()),
        "{rollout}"
    );
    assert_eq!(
        rollout["reason"],
        "waiting until the candidate is ready: /v2/health/ready must answer 200 3 times in a row; 0 so far, the last answer was 503"
    );
    wait_for("five questions", async || (green.count() >= 5).then_some(())).await;
    for seen in green.take_seen() {
        let host = seen.headers.get("host").map(|host| host.as_bytes().to_vec());
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/v2/health/ready"));
        assert_eq!(host.as_deref(), Some(&b"green"[..]), "the cluster's name");
        assert!(seen.headers.get("x-changeover-cluster").is_none());
    }
    green.set(Behaviour::Status(200));
    wait_for_weight(&envoy, 50).await;
    wait_for("requests to the candidate", async || (green.count() >= 200).then_some(())).await;
    running.stop().await.assert_all_ok();
    assert_eq!(actions(&envoy), ["start", "step", "step"]);
    let asked = green.take_seen().into_iter().filter(|seen| seen.target == "/v2/health/ready").count();
    assert!((3..=10).contains(&asked), "{asked} questions: it is asked no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_is_not_there_pauses_the_release() {
    let (blue, green) = blue_and_green().await;
    let dead = free_address();
    let ready = |cluster: &str| match waits("{path: /ready, timeout: 6s}") {
        Config::Struct(yaml) => {
            Config::Struct(yaml.replace("cluster: green", &format!("cluster: {cluster}")))
        }
        other => other,
    };
    for (cluster, last) in
        [("dead", "the last answer was 503"), ("unknown", "the last question was not answered")]
    {
        let envoy = Setup::shipped(ready(cluster))
            .clusters(&[("blue", blue.address()), ("green", green.address()), ("dead", dead)])
            .control()
            .start()
            .await;
        let event = wait_for_event(&envoy, "pause").await;
        let message = event["message"].as_str().expect("a sentence");
        assert!(
            message.starts_with("green did not become ready within 6 s: ") && message.contains(last),
            "{cluster}: {message}"
        );
        Load::to(envoy.address()).send(50).await.assert_all_ok();
        obeyed(&envoy, "/v1/rollouts/digits/promote").await;
        assert_eq!(get(&envoy, "/v1/rollouts/digits").await.1["weights"]["green"], 50);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_none_is_no_success() {
    let blue = Upstream::start("blue").await;
    for behaviour in [Raw::Garbage, Raw::CloseBeforeHeaders, Raw::CloseInBody] {
        let green = RawUpstream::start(behaviour).await;
        let envoy = Setup::shipped(waits("{path: /ready, successes: 1, timeout: 4s}"))
            .clusters(&[("blue", blue.address()), ("green", green.address())])
            .control()
            .start()
            .await;
        let event = wait_for_event(&envoy, "pause").await;
        assert!(event["message"].as_str().is_some_and(|text| text.contains("not become ready")), "{event}");
        assert_eq!(get(&envoy, "/v1/rollouts/digits").await.1["weights"]["green"], 0, "{behaviour:?}");
    }
}

/// The root that has asked is gone before the answer comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_while_a_question_is_open_loses_no_more_than_that() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::gate());
    let config = |label: &str| {
        Config::rollout(&format!(
            "steps: [{{ready: {{path: /ready, successes: 2}}}}, {{set_weight: 50}}, {{pause: {{}}}}], labels: {{team: {label}}}"
        ))
    };
    let envoy = between_ecds(&blue, &green, config("a")).control().workers(2).start().await;
    known(&envoy).await;
    wait_for("a question", async || (green.count() >= 1).then_some(())).await;
    for label in ["b", "c", "d"] {
        envoy.push(&config(label)).await;
    }
    assert_eq!(get(&envoy, "/v1/rollouts/digits").await.1["weights"]["green"], 0);
    green.set(Behaviour::Status(200));
    green.open_gate();
    wait_for_weight(&envoy, 50).await;
    Load::to(envoy.address()).send(100).await.assert_all_ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_and_an_abort_while_a_question_is_open_keep_the_candidate_out() {
    let (blue, green) = blue_and_green().await;
    for (command, back) in [("pause", "resume"), ("abort", "retry")] {
        green.set(Behaviour::gate());
        let asked = green.count();
        let envoy = between(&blue, &green, waits("{path: /ready, successes: 1}")).control().start().await;
        wait_for("a question", async || (green.count() > asked).then_some(())).await;
        obeyed(&envoy, &format!("/v1/rollouts/digits/{command}")).await;
        green.set(Behaviour::Status(200));
        green.open_gate();
        Load::to(envoy.address()).per_second(50.0).send(100).await.assert_all_ok();
        assert_eq!(get(&envoy, "/v1/rollouts/digits").await.1["weights"]["green"], 0, "{command}");
        obeyed(&envoy, &format!("/v1/rollouts/digits/{back}")).await;
        wait_for_weight(&envoy, 50).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_waits_for_a_side_that_is_not_ready() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::Status(503));
    let config = Config::rollout("blue_green: {ready: {path: /ready, successes: 1}}");
    let envoy = between(&blue, &green, config).control().workers(2).start().await;
    known(&envoy).await;
    let switch = async |side: &str| {
        let body = format!("{{\"active\": \"{side}\"}}");
        obeyed_with(&envoy, "/v1/rollouts/digits/switch", &body).await
    };
    switch("green").await;
    wait_for_reason(&envoy, "the last answer was 503").await;
    Load::to(envoy.address()).send(50).await.assert_all_ok();
    green.set(Behaviour::Status(200));
    wait_for_event(&envoy, "flip").await;
    wait_for_weight(&envoy, 100).await;
    green.set(Behaviour::Status(503));
    switch("blue").await;
    Load::to(envoy.address()).send(50).await.assert_all_ok();
}

/// The first answers of a candidate that has just started fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_warms_up_is_not_judged_and_is_judged_afterwards() {
    let (blue, green) = blue_and_green().await;
    let config = |warm_up: &str| {
        Config::rollout(&format!(
            "steps: [{{set_weight: 50}}, {{pause: {{}}}}], analysis: {{metrics: [{{name: error_rate}}]{warm_up}}}"
        ))
    };
    green.set(Behaviour::Status(503));
    let envoy = between(&blue, &green, config(", warm_up: {requests: 100}")).workers(2).start().await;
    let running = Load::to(envoy.address()).connections(8).per_second(60.0).start();
    wait_for("failures", async || (green.count() >= 30).then_some(())).await;
    green.set(Behaviour::Status(200));
    wait_for("the rest of the warm-up", async || (green.count() >= 200).then_some(())).await;
    assert_eq!(actions(&envoy).iter().filter(|action| *action == "rollback").count(), 0);
    let failed = envoy.metrics().await.sum("changeover_requests_total", &[("outcome", "error")]);
    assert!(failed >= 30.0, "they are counted: {failed}");
    green.set(Behaviour::Status(503));
    wait_for_event(&envoy, "rollback").await;
    running.stop().await;
    drop(envoy);

    green.reset_count();
    let envoy = between(&blue, &green, config("")).start().await;
    wait_for_event(&envoy, "step").await;
    Load::to(envoy.address()).connections(8).per_second(60.0).send(140).await;
    // Fewer failures than the warm-up above has requests.
    wait_for_event(&envoy, "rollback").await;
    assert!(green.count() < 100, "{}", green.count());
}
