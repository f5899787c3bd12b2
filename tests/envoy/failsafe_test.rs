//! A filter that is missing, refused or failed means "stable", never an error.

use crate::harness::*;

/// What a client tries that wants to choose its cluster.
const FORGED: [(&str, &[u8]); 2] = [("x-changeover-cluster", b"green"), ("x-changeover-mirror", b"green")];

/// Sends requests, some of them with forged headers: all are answered by blue.
async fn assert_all_go_to_stable(envoy: &Envoy, green: &Upstream) {
    let before = green.count();
    let load = Load::to(envoy.address())
        .each(|number| request("GET", "/", if number % 2 == 0 { &FORGED } else { &[] }, ""));
    let tally = load.send(200).await;
    tally.assert_all_ok();
    assert_eq!((tally.from("blue"), green.count()), (200, before));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_filter() {
    let (blue, green) = blue_and_green().await;
    let clusters = [("blue", blue.address()), ("green", green.address())];
    let envoy = Setup::plain().clusters(&clusters).start().await;
    assert_all_go_to_stable(&envoy, &green).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_first_configuration_by_ecds_is_refused() {
    let (blue, green) = blue_and_green().await;
    let envoy = between_ecds(&blue, &green, Config::rollout("weights: {green: 120}")).start().await;
    assert_all_go_to_stable(&envoy, &green).await;
    assert!(envoy.log().contains("configuration refused: rollouts[0].weights.green: 120 is over 100"));
    // The first good one takes over.
    envoy.push(&Config::rollout("weights: {green: 100}")).await;
    wait_for("the filter to work", async || {
        (get(envoy.address(), "/").await.expect("an answer").upstream() == "green").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_later_push_is_refused() {
    let (blue, green) = blue_and_green().await;
    let envoy =
        between_ecds(&blue, &green, Config::rollout("weights: {green: 100}")).workers(4).start().await;
    let running = Load::to(envoy.address()).start();
    wait_for("some load", async || (running.sent() > 200).then_some(())).await;
    let log = envoy.push_refused(&Config::rollout("weights: {greeen: 120}, pin: purple, extra: 1")).await;
    for line in [
        "configuration refused: rollouts[0].extra: unknown field",
        "configuration refused: rollouts[0].weights.greeen: 120 is over 100",
        "configuration refused: rollouts[0].pin: unknown version \"purple\"; known here: \"blue\", \"green\"",
    ] {
        assert!(log.contains(line), "{line} is not in:\n{log}");
    }
    let sent = running.sent();
    wait_for("more load", async || (running.sent() > sent + 200).then_some(())).await;
    let tally = running.stop().await;
    tally.assert_all_ok();
    assert_eq!(tally.from("green"), tally.total(), "the old configuration stays in force");
    // Another bad one, then a good one.
    let before = envoy.config_hashes().await.first().copied();
    envoy.push_refused(&Config::Json("[1, 2]".into())).await;
    envoy.push(&Config::rollout("pin: blue")).await;
    envoy.wait_for_hash_other_than(before).await;
    assert_eq!(get(envoy.address(), "/").await.expect("an answer").upstream(), "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_configuration_that_is_refused_keeps_envoy_from_starting() {
    let (blue, green) = blue_and_green().await;
    let log = between(&blue, &green, Config::rollout("weights: {purple: 5}")).start_refused().await;
    assert!(log.contains("rollouts[0].weights.purple: unknown version \"purple\""), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_ecds_file_keeps_envoy_from_starting() {
    let (blue, green) = blue_and_green().await;
    let log = between_ecds(&blue, &green, Config::rollout("")).without_ecds_file().start_refused().await;
    assert!(log.contains("changeover.yaml"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_trap() {
    let (blue, green) = blue_and_green().await;
    let config = |n: u32| Config::rollout(&format!("pin: green, labels: {{stage: s{n}}}"));
    let envoy = between_ecds(&blue, &green, config(1)).module("target/changeover-test.wasm").start().await;
    assert_eq!(get(envoy.address(), "/").await.expect("an answer").upstream(), "green");

    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let trapped = connection.send(request("GET", "/", &[("x-test-trap", b"1")], "")).await;
    assert!(trapped.map_or(true, |answer| answer.status == 503), "the trapping request itself fails");
    assert_all_go_to_stable(&envoy, &green).await;

    // The next push that changes something revives the filter.
    envoy.push(&config(2)).await;
    wait_for("the filter to work again", async || {
        (get(envoy.address(), "/").await.expect("an answer").upstream() == "green").then_some(())
    })
    .await;
}

/// With the filter, the API comes back on the worker whose VM has failed.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_trap_and_a_push_the_api_answers_again() {
    let (blue, green) = blue_and_green().await;
    let config = |n: u32| Config::rollout(&format!("weights: {{green: 50}}, labels: {{stage: s{n}}}"));
    let setup = between_ecds(&blue, &green, config(1)).control().module("target/changeover-test.wasm");
    let envoy = setup.start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let _ = connection.send(request("GET", "/", &[("x-test-trap", b"1")], "")).await;
    assert_all_go_to_stable(&envoy, &green).await;
    envoy.push(&config(2)).await;
    wait_for("the API to answer", async || {
        (control::post(&envoy, "/v1/rollouts/digits/abort").await.0 == 200).then_some(())
    })
    .await;
    let count = green.count();
    Load::to(envoy.address()).send(100).await.assert_all_ok();
    assert_eq!(green.count(), count, "the abort is obeyed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_module_has_no_trap() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, Config::rollout("pin: green")).start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let answer = connection.send(request("GET", "/", &[("x-test-trap", b"1")], "")).await.expect("an answer");
    assert_eq!((answer.status.as_u16(), answer.upstream()), (200, "green"));
}
