//! A filter that is missing, refused or failed means "stable", never an error.

use crate::harness::compare::{COMPARES, ask, classifier};
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
async fn requests_go_to_stable_without_the_filter() {
    let (blue, green) = blue_and_green().await;
    let clusters = [("blue", blue.address()), ("green", green.address())];
    let envoy = Setup::plain().clusters(&clusters).start().await;
    assert_all_go_to_stable(&envoy, &green).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_first_ecds_configuration_leaves_requests_at_stable() {
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
async fn a_refused_push_leaves_the_old_configuration_in_force() {
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
async fn a_trapped_filter_means_stable_until_the_next_push() {
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

/// What the sums of `sent` and of all ends then differ by is the number of copies that no VM waits for any more.
#[tokio::test(flavor = "multi_thread")]
async fn copies_in_flight_at_a_trap_are_sent_and_never_end() {
    const LOST: u64 = 20;
    let (blue, green) = blue_and_green().await;
    blue.set(classifier(0));
    green.set(classifier(0));
    let config = |timeout: &str| Config::rollout(&COMPARES.replace("timeout: 2s", timeout));
    let setup = between_ecds(&blue, &green, config("timeout: 60s")).module("target/changeover-test.wasm");
    let envoy = setup.workers(1).start().await;
    // Sent, and ended.
    let copies = async |sent: u64, ended: u64| {
        wait_for("copies", async || {
            let metrics = envoy.metrics().await;
            let of =
                |result: &str| metrics.sum("changeover_mirror_requests_total", &[("result", result)]) as u64;
            let found = (of("sent"), of("matched") + of("differed") + of("failed") + of("cancelled"));
            (found == (sent, ended)).then_some(())
        })
        .await;
    };
    Load::to(envoy.address()).each(ask).send(10).await.assert_all_ok();
    copies(10, 10).await;
    green.set(classifier(0).gated());
    Load::to(envoy.address()).each(ask).send(LOST).await.assert_all_ok();
    wait_for("the shadow to have them", async || (green.count() == 10 + LOST).then_some(())).await;
    copies(10 + LOST, 10).await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let _ = connection.send(request("GET", "/", &[("x-test-trap", b"1")], "")).await;
    green.open_gate();
    // Requests reach stable, and are not copied.
    let tally = Load::to(envoy.address()).each(ask).send(30).await;
    tally.assert_all_ok();
    assert_eq!((tally.from("blue"), green.count()), (30, 10 + LOST));
    envoy.push(&config("timeout: 59s")).await;
    wait_for("the filter to work again", async || {
        let mut connection = Connection::open(envoy.address()).await.ok()?;
        connection.send(ask(1)).await.ok()?;
        (green.count() > 10 + LOST).then_some(())
    })
    .await;
    Load::to(envoy.address()).each(ask).send(10).await.assert_all_ok();
    let sent = wait_for("all copies", async || {
        let metrics = envoy.metrics().await;
        let sent = metrics.sum("changeover_mirror_requests_total", &[("result", "sent")]) as u64;
        (sent == green.count() && sent > 20 + LOST).then_some(sent)
    })
    .await;
    copies(sent, sent - LOST).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_module_has_no_trap() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, Config::rollout("pin: green")).start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let answer = connection.send(request("GET", "/", &[("x-test-trap", b"1")], "")).await.expect("an answer");
    assert_eq!((answer.status.as_u16(), answer.upstream()), (200, "green"));
}
