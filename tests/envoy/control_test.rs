//! The control listener: rollouts are shown and commanded, and a command is answered once every worker follows it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::Stdio;

use crate::harness::cli::{changeover, command};
use crate::harness::control::{JSON, at_half, call, get, known, obeyed, post};
use crate::harness::*;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_and_events_are_shown() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, at_half()).control().workers(2).start().await;
    let rollout = known(&envoy).await;
    for (field, expected) in [
        ("name", json!("digits")),
        ("release", json!("1")),
        ("attempt", json!(1)),
        ("phase", json!("paused")),
        ("weights", json!({"blue": 50, "green": 50})),
        ("pinned", json!(false)),
        ("candidate", json!("green")),
        (
            "steps",
            json!([
                {"set_weight": {"green": 50}}, {"pause": {}}, {"set_weight": {"green": 75}}, {"pause": {"duration_ms": 3_600_000}},
            ]),
        ),
    ] {
        assert_eq!(rollout[field], expected, "{field} of {rollout}");
    }
    assert_eq!((&rollout["step"]["index"], &rollout["step"]["count"]), (&json!(1), &json!(4)), "{rollout}");
    let (status, events) = get(&envoy, "/v1/rollouts/digits/events").await;
    assert_eq!(status, 200);
    let actions: Vec<_> =
        events["events"].as_array().expect("events").iter().map(|event| event["action"].clone()).collect();
    assert_eq!(actions, ["step", "start"], "newest first");
    // The list follows within the same tick.
    wait_for("the list", async || {
        (get(&envoy, "/v1/rollouts").await.1["rollouts"][0]["name"] == "digits").then_some(())
    })
    .await;
    assert_eq!(get(&envoy, "/healthz").await.0, 200);
    for (status, method, path, headers) in [
        (404, "GET", "/v1/rollouts/other", &[][..]),
        (404, "GET", "/etc/passwd", &[]),
        (405, "POST", "/v1/rollouts/digits", &[JSON]),
        (405, "GET", "/v1/rollouts/digits/abort", &[]),
        (403, "GET", "/v1/rollouts", &[(":authority", b"evil.example.com")]),
        (403, "POST", "/v1/rollouts/digits/abort", &[JSON, ("origin", b"http://evil.example.com")]),
        (415, "POST", "/v1/rollouts/digits/abort", &[("content-type", b"text/plain")]),
        (412, "POST", "/v1/rollouts/digits/abort", &[JSON, ("if-match", b"\"999\"")]),
        (409, "POST", "/v1/rollouts/digits/retry", &[JSON]),
    ] {
        let (found, problem) = call(&envoy, method, path, headers, "").await;
        assert_eq!((found, &problem["status"]), (status, &json!(status)), "{method} {path}: {problem}");
    }
    let large = format!("{{\"full\": true{}}}", " ".repeat(100_000));
    assert_eq!(call(&envoy, "POST", "/v1/rollouts/digits/promote", &[JSON], &large).await.0, 413);
    assert_eq!(call(&envoy, "POST", "/v1/rollouts/digits/promote", &[JSON], "{\"ful\": true}").await.0, 422);
    assert_eq!(known(&envoy).await["revision"], rollout["revision"], "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_promoted_paused_and_resumed() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, at_half()).control().workers(2).start().await;
    known(&envoy).await;
    let (status, rollout) = post(&envoy, "/v1/rollouts/digits/promote").await;
    assert_eq!(
        (status, &rollout["phase"], &rollout["weights"]["green"]),
        (200, &json!("progressing"), &json!(75))
    );
    let (_, rollout) = post(&envoy, "/v1/rollouts/digits/pause").await;
    assert_eq!((&rollout["phase"], &rollout["reason"]), (&json!("paused"), &json!("paused by command")));
    let (_, rollout) = post(&envoy, "/v1/rollouts/digits/resume").await;
    assert_eq!(rollout["phase"], "progressing");
    let (status, rollout) =
        call(&envoy, "POST", "/v1/rollouts/digits/promote", &[JSON], "{\"full\": true}").await;
    assert_eq!((status, &rollout["phase"]), (200, &json!("succeeded")));
    let tally = Load::to(envoy.address()).send(100).await;
    assert_eq!(tally.from("green"), 100);
}

/// What is configured a moment before a command is obeyed by that, not by what was configured before.
#[tokio::test(flavor = "multi_thread")]
async fn an_abort_right_after_a_push_is_obeyed() {
    let (blue, green) = blue_and_green().await;
    let at = |pause: u32| {
        Config::rollout(&format!("steps: [{{set_weight: 50}}, {{pause: {{duration: {pause}h}}}}]"))
    };
    let envoy = between_ecds(&blue, &green, at(1)).control().workers(4).start().await;
    known(&envoy).await;
    let running = Load::to(envoy.address()).per_second(200.0).start();
    for round in 2..8 {
        let hash = envoy.config_hashes().await.first().copied();
        envoy.push(&at(round)).await;
        envoy.wait_for_hash_other_than(hash).await;
        let rollout = obeyed(&envoy, "/v1/rollouts/digits/abort").await;
        assert_eq!(rollout["phase"], "aborted", "{rollout}");
        let count = green.count();
        let sent = running.sent();
        // Also after the leader has taken the push over.
        wait_for("more load", async || (running.sent() > sent + 300).then_some(())).await;
        assert!(green.count() <= count + 8, "round {round}: the candidate still gets requests");
        obeyed(&envoy, "/v1/rollouts/digits/retry").await;
    }
    running.stop().await.assert_all_ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_follow_is_named() {
    let (blue, green) = blue_and_green().await;
    // It counts as alive for some seconds more, which a busy machine may miss.
    let mut named = None;
    for _ in 0..5 {
        let envoy = between(&blue, &green, at_half())
            .control()
            .workers(2)
            .module("target/changeover-test.wasm")
            .start()
            .await;
        known(&envoy).await;
        let mut connection = Connection::open(envoy.address()).await.expect("a connection");
        let _ = connection.send(request("GET", "/", &[("x-test-trap", b"1")], "")).await;
        // A control listener on the other worker answers all the same.
        let (status, rollout) = wait_for("an answer of the worker that lives", async || {
            Some(post(&envoy, "/v1/rollouts/digits/abort").await).filter(|(status, _)| *status != 503)
        })
        .await;
        if status == 202 {
            named = Some((envoy, rollout));
            break;
        }
        assert_eq!(status, 200, "{rollout}");
    }
    let (envoy, rollout) = named.expect("a worker that does not follow, in one of five Envoys");
    assert_eq!(rollout["missing_workers"].as_array().map(Vec::len), Some(1), "{rollout}");
    wait_for("the VM to be given up", async || {
        (post(&envoy, "/v1/rollouts/digits/abort").await.0 == 200).then_some(())
    })
    .await;
}

/// A bypassed filter must not look healthy.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_filter_the_listener_answers_503() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, at_half()).control_without_filter().start().await;
    assert_eq!(get(&envoy, "/healthz").await.0, 503);
}

/// Two Envoys whose rollout waits at half of the requests, and their control listeners.
async fn two_at_half(blue: &Upstream, green: &Upstream) -> ([Envoy; 2], [SocketAddr; 2]) {
    let one = between(blue, green, at_half()).control().start().await;
    let two = between(blue, green, at_half()).control().start().await;
    let both = [&one, &two].map(|envoy| envoy.address_of("changeover-control"));
    for envoy in [&one, &two] {
        known(envoy).await;
    }
    ([one, two], both)
}

#[tokio::test(flavor = "multi_thread")]
async fn several_envoys_obey_one_command_and_one_that_is_silent_is_named() {
    let (blue, green) = blue_and_green().await;
    let (envoys, both) = two_at_half(&blue, &green).await;
    let (table, _, status) = changeover(&["status"], &both);
    assert_eq!((table.lines().count(), status), (3, Some(0)), "{table}");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
    for endpoint in both {
        assert!(rows.contains(&vec!["digits", &format!("http://{endpoint}"), "paused"]), "{table}");
    }
    // It takes the connection, and never answers.
    let silent = RawUpstream::start(Raw::Silent).await.address();
    let (table, problems, status) = changeover(&["abort", "digits"], &[both[0], silent, both[1]]);
    assert_eq!((table.lines().count(), status), (3, Some(1)), "{table}");
    assert!(problems.contains(&format!("http://{silent}: ")), "{problems}");
    for envoy in &envoys {
        assert_eq!(known(envoy).await["phase"], "aborted");
    }
    let (_, problems, status) = changeover(&["status"], &[silent]);
    assert_eq!(status, Some(2), "{problems}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_envoys_are_watched_at_once() {
    let (blue, green) = blue_and_green().await;
    let ([_one, two], both) = two_at_half(&blue, &green).await;
    let mut watching =
        command(&["status", "digits", "--watch"], &both).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(watching.stdout.take().expect("its output")).lines();
    let mut next = || lines.next().expect("a line").expect("a text");
    let first = [next(), next()];
    assert!(first.iter().all(|line| line.contains("  digits  paused  ")), "{first:?}");
    for endpoint in both {
        assert!(first.iter().any(|line| line.starts_with(&format!("http://{endpoint}  "))), "{first:?}");
    }
    obeyed(&two, "/v1/rollouts/digits/abort").await;
    let change = next();
    assert!(change.starts_with(&format!("http://{}  ", both[1])) && change.contains("aborted"), "{change}");
    signal(watching.id(), "-INT");
    assert_eq!(watching.wait().expect("its end").code(), Some(1), "one is aborted");
}
