//! The circuit breaker: a candidate that is gone is cut off within the tick, and neither version in an outage of both.
//!
//! The judge looks at latencies only, and connections that are refused are quick: only the breaker can act here.

use crate::harness::control::{get, known, obeyed, post};
use crate::harness::*;

const WORKERS: u32 = 4;
const LIMIT: u64 = 20;

fn config(weight: u32, more: &str) -> Config {
    Config::rollout(&format!(
        "steps: [{{set_weight: {weight}}}, {{pause: {{}}}}], analysis: {{metrics: [{{name: latency}}]{more}}}"
    ))
}

fn breaking(weight: u32, more: &str) -> Config {
    config(weight, &format!(", circuit_breaker: {{consecutive_errors: {LIMIT}}}{more}"))
}

/// Answers of no upstream: Envoy gave them, since the connection was refused.
fn refused(tally: &Tally) -> u64 {
    assert!(tally.errors.is_empty(), "{:?}", tally.errors);
    tally.failed()
}

fn load(envoy: &Envoy) -> Load {
    Load::to(envoy.address()).connections(16).per_second(500.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_refuses_connections_gets_no_more_than_its_limit_of_errors_on_each_worker() {
    for weight in [5, 50] {
        let blue = Upstream::start("blue").await;
        let setup = Setup::shipped(breaking(weight, ""))
            .clusters(&[("blue", blue.address()), ("green", free_address())]);
        let envoy = setup.workers(WORKERS).start().await;
        wait_for_event(&envoy, "step").await;
        let running = load(&envoy).start();
        let event = wait_for_event(&envoy, "rollback").await;
        for (field, expected) in [("rule", "circuit_breaker"), ("actor", "auto")] {
            assert_eq!(event[field], expected, "{event}");
        }
        assert_eq!(
            (event["value"].as_f64(), event["threshold"].as_f64()),
            (Some(20.0), Some(20.0)),
            "{event}"
        );
        assert_eq!(event["samples"]["candidate"]["events"], LIMIT, "{event}");
        // For long afterwards: it stays failed, and no client gets another refusal.
        let sent = running.sent();
        wait_for("more load", async || (running.sent() > sent + 1_500).then_some(())).await;
        let tally = running.stop().await;
        let most = LIMIT * u64::from(WORKERS);
        assert!((LIMIT..=most).contains(&refused(&tally)), "{weight} %: {} refused", refused(&tally));
        assert_eq!(tally.from("blue"), blue.count());
        assert_eq!(actions(&envoy), ["start", "step", "rollback"]);
        let metrics = envoy.metrics().await;
        assert_eq!(metrics.sum("changeover_phase", &[("phase", "failed")]), 1.0);
        assert_eq!(
            metrics.sum("changeover_actions_total", &[("action", "rollback"), ("actor", "auto")]),
            1.0
        );
        assert_eq!(metrics.sum("changeover_weight", &[("version", "green")]), 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_off_unless_configured() {
    let blue = Upstream::start("blue").await;
    let setup =
        Setup::shipped(config(50, "")).clusters(&[("blue", blue.address()), ("green", free_address())]);
    let envoy = setup.workers(WORKERS).start().await;
    wait_for_event(&envoy, "step").await;
    let tally = load(&envoy).send(1_000).await;
    assert!(refused(&tally) > 300, "{}", refused(&tally));
    assert_eq!(actions(&envoy), ["start", "step"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_version_is_cut_off_when_both_refuse() {
    for weight in [5, 50, 95] {
        let clusters = [("blue", free_address()), ("green", free_address())];
        let setup = Setup::shipped(breaking(weight, "")).clusters(&clusters);
        let envoy = setup.workers(WORKERS).start().await;
        wait_for_event(&envoy, "step").await;
        // Each worker sees a candidate's row of twice the limit at least.
        let tally = Load::to(envoy.address()).connections(16).send(4_000).await;
        assert_eq!(refused(&tally), 4_000);
        assert_eq!(actions(&envoy), ["start", "step"], "{weight} %");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_version_is_cut_off_in_an_outage_of_both() {
    for weight in [5, 50] {
        let (blue, green) = blue_and_green().await;
        let envoy = between(&blue, &green, breaking(weight, "")).workers(WORKERS).start().await;
        wait_for_event(&envoy, "step").await;
        let running = Load::to(envoy.address()).connections(16).start();
        for _ in 0..3 {
            let healthy = running.sent();
            wait_for("healthy traffic", async || (running.sent() > healthy + 500).then_some(())).await;
            [&green, &blue].iter().for_each(|upstream| upstream.set(Behaviour::Status(503)));
            let (sent, count) = (running.sent(), green.count());
            wait_for("an outage", async || {
                (running.sent() > sent + 2_000 && green.count() > count + 100).then_some(())
            })
            .await;
            // Stable is back first.
            [&blue, &green].iter().for_each(|upstream| upstream.set(Behaviour::Status(200)));
        }
        let tally = running.stop().await;
        assert!(tally.failed() > 5_000, "it was an outage: {}", tally.failed());
        assert_eq!(actions(&envoy), ["start", "step"], "{weight} %");
    }
}

/// Sends requests one by one until the candidate has had so many.
async fn until(envoy: &Envoy, green: &Upstream, count: u64) {
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    while green.count() < count {
        connection.send(request("GET", "/", &[], "")).await.expect("an answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_counts_from_its_first_error() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::Status(503));
    let envoy = between(&blue, &green, breaking(20, "")).control().start().await;
    known(&envoy).await;
    let phase = async || known(&envoy).await["phase"].clone();
    until(&envoy, &green, 15).await;
    assert_eq!(post(&envoy, "/v1/rollouts/digits/abort").await.1["phase"], "aborted");
    assert_eq!(post(&envoy, "/v1/rollouts/digits/retry").await.1["attempt"], 2);
    until(&envoy, &green, 15 + 19).await;
    assert_eq!(phase().await, "paused", "nineteen errors of this attempt");
    until(&envoy, &green, 15 + 20).await;
    assert_eq!(phase().await, "failed", "twenty, and the run was paused: a rollback is armed in every phase");
    assert_eq!(post(&envoy, "/v1/rollouts/digits/retry").await.1["attempt"], 3);
    until(&envoy, &green, 15 + 20 + 19).await;
    assert_eq!(phase().await, "paused", "nineteen errors of the third");
    until(&envoy, &green, 15 + 20 + 20).await;
    assert_eq!(phase().await, "failed");
    let rule = |event: &serde_json::Value| event["rule"].as_str().map(str::to_owned);
    assert_eq!(events(&envoy).iter().filter_map(rule).collect::<Vec<_>>(), ["circuit_breaker"; 2]);
}

/// One worker finds out, by errors on a connection of its own; the others need none to know.
#[tokio::test(flavor = "multi_thread")]
async fn the_other_workers_follow_at_once() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::Status(503));
    let envoy = between(&blue, &green, breaking(30, "")).control().workers(WORKERS).start().await;
    known(&envoy).await;
    let mut others = Vec::new();
    for _ in 0..12 {
        others.push(Connection::open(envoy.address()).await.expect("a connection"));
    }
    let mut afterwards = 0;
    for attempt in 1..=5 {
        until(&envoy, &green, attempt * LIMIT).await;
        wait_for("it to trip", async || {
            (events(&envoy).iter().filter(|event| event["action"] == "rollback").count() as u64 == attempt)
                .then_some(())
        })
        .await;
        // Long before the next tick, most of the time.
        for connection in &mut others {
            for _ in 0..3 {
                let answer = connection.send(request("GET", "/", &[], "")).await.expect("an answer");
                afterwards += u64::from(answer.status != 200);
            }
        }
        green.reset_to(attempt * LIMIT);
        obeyed(&envoy, "/v1/rollouts/digits/retry").await;
    }
    println!("{afterwards} of 180 afterwards");
    assert!(afterwards <= 5, "{afterwards} of 180 requests still went to the candidate");
}

/// Two users may be broken themselves, whatever the version; three are not taken for that.
#[tokio::test(flavor = "multi_thread")]
async fn where_users_stay_three_of_them_must_be_hit() {
    let (blue, green) = blue_and_green().await;
    let config = Config::rollout(&format!(
        "session_affinity: {{header: x-user-id}}, steps: [{{set_weight: 50}}, {{pause: {{}}}}], \
         analysis: {{metrics: [{{name: latency}}], circuit_breaker: {{consecutive_errors: {LIMIT}}}}}"
    ));
    let envoy = between(&blue, &green, config).control().start().await;
    known(&envoy).await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let mut ask = async |user: u64| {
        let user = user.to_string();
        let answer = connection.send(request("GET", "/", &[("x-user-id", user.as_bytes())], "")).await;
        answer.expect("an answer").upstream().to_owned()
    };
    let (mut greens, mut blues) = (Vec::new(), Vec::new());
    for user in 0..100 {
        if ask(user).await == "green" { greens.push(user) } else { blues.push(user) }
    }
    green.set(Behaviour::Status(503));
    for number in 0..3 * LIMIT {
        ask(if number.is_multiple_of(2) { greens[0] } else { greens[1] }).await;
        ask(blues[0]).await;
    }
    assert_eq!(known(&envoy).await["phase"], "paused", "two users");
    ask(greens[2]).await;
    assert_eq!(known(&envoy).await["phase"], "failed", "three");
}

/// An answer that its client leaves in the middle is neither an error nor a good one; one that never began is an error.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_counts_where_there_was_no_answer() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::Status(503));
    let envoy = between(&blue, &green, breaking(20, "")).control().start().await;
    known(&envoy).await;
    until(&envoy, &green, 19).await;
    for (behaviour, outcome, phase) in
        [(Behaviour::Stall, "aborted", "paused"), (Behaviour::gate(), "unanswered", "failed")]
    {
        green.set(behaviour);
        wait_for("a client to leave", async || {
            let before = green.count();
            let mut stream = open_raw(&envoy, "GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
            if outcome == "aborted" {
                // Until the body has begun, where it is green's.
                let answer = read_until(&mut stream, "\r\n\r\n").await;
                if answer.contains("x-upstream: green") && !answer.contains("the first bytes") {
                    read_until(&mut stream, "the first bytes").await;
                }
            } else {
                let arrives = wait_for("the request", async || (green.count() > before).then_some(()));
                tokio::select! { () = arrives => {}, read = stream.readable() => read.expect("an answer") }
            }
            drop(stream);
            let labels = [("version", "green"), ("outcome", outcome)];
            (envoy.metrics().await.sum("changeover_requests_total", &labels) >= 1.0).then_some(())
        })
        .await;
        assert_eq!(known(&envoy).await["phase"], phase);
    }
}

/// Commands and breakers at the same time: all workers obey, and an abort stays one.
#[tokio::test(flavor = "multi_thread")]
async fn commands_and_breakers_get_along() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::Status(503));
    let envoy = between(&blue, &green, breaking(50, "")).control().workers(WORKERS).start().await;
    known(&envoy).await;
    let running = load(&envoy).start();
    for round in 0..20_u64 {
        // Now this is first, now that.
        let count = green.count();
        wait_for("errors", async || {
            (green.count() >= count.saturating_add(round * 4))
                .then_some(())
                .or((known(&envoy).await["phase"] == "failed").then_some(()))
        })
        .await;
        let rollout = obeyed(&envoy, "/v1/rollouts/digits/abort").await;
        assert_eq!(rollout["phase"], "aborted", "round {round}: {rollout}");
        let sent = running.sent();
        wait_for("more load", async || (running.sent() > sent + 50).then_some(())).await;
        assert_eq!(get(&envoy, "/v1/rollouts/digits").await.1["phase"], "aborted", "round {round}");
        let rollout = obeyed(&envoy, "/v1/rollouts/digits/retry").await;
        assert_eq!(rollout["attempt"], round + 2, "{rollout}");
    }
    running.stop().await;
    assert!(actions(&envoy).iter().any(|action| action == "rollback"), "it never tripped");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_pauses_where_that_is_configured_and_says_once_what_it_would_do() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::Status(503));
    let pausing = breaking(50, ", on_failure: pause");
    let envoy = between(&blue, &green, pausing).control().workers(2).start().await;
    wait_for_event(&envoy, "step").await;
    let running = load(&envoy).start();
    wait_for_event(&envoy, "pause").await;
    let rollout = known(&envoy).await;
    assert_eq!(
        (&rollout["phase"], &rollout["weights"]["green"]),
        (&"paused".into(), &50.into()),
        "{rollout}"
    );
    assert_eq!(post(&envoy, "/v1/rollouts/digits/resume").await.1["attempt"], 2);
    wait_for("another pause, by another attempt", async || {
        (actions(&envoy) == ["start", "step", "pause", "resume", "pause"]).then_some(())
    })
    .await;
    running.stop().await;

    let dry = between(&blue, &green, breaking(50, ", dry_run: true")).workers(2).start().await;
    wait_for_event(&dry, "step").await;
    let tally = load(&dry).send(1_000).await;
    assert!(tally.failed() > 300, "the candidate keeps its traffic: {}", tally.failed());
    assert_eq!(actions(&dry), ["start", "step", "alarm"]);
    let event = wait_for_event(&dry, "alarm").await;
    let message = event["message"].as_str().expect("a sentence");
    // More than 20 where several requests end before the trip is obeyed.
    let seen = message.strip_prefix("not acted on (dry_run): at 50 % the circuit breaker saw ");
    let seen = seen.and_then(|rest| rest.split_once(" consecutive errors")?.0.parse::<u64>().ok());
    assert!(seen.is_some_and(|seen| seen >= 20), "{message}");
}
