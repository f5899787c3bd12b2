//! Configuration pushes under load: nothing is lost, and no worker lags behind.

use serde_json::json;

use crate::harness::*;

fn active(side: &str) -> Config {
    Config::rollout(&format!("blue_green: {{active: {side}}}"))
}

const CONNECTIONS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_flips_under_load_lose_nothing() {
    let (blue, green) = blue_and_green().await;
    let envoy = between_ecds(&blue, &green, active("blue")).workers(4).start().await;
    let mut hash = envoy.wait_for_hash_other_than(None).await;
    let running = Load::to(envoy.address()).connections(CONNECTIONS).start();
    // From which number on requests were sent after all workers had flipped, and the number at the next flip.
    let mut settled = Vec::new();
    for flip in 0..100 {
        let side = if flip % 2 == 0 { "green" } else { "blue" };
        envoy.push(&active(side)).await;
        hash = envoy.wait_for_hash_other_than(Some(hash)).await;
        // A connection has at most one number that is not sent yet.
        let from = running.sent() + CONNECTIONS as u64;
        wait_for("requests on the new side", async || (running.sent() > from + 60).then_some(())).await;
        settled.push((from..running.sent(), side));
    }
    let tally = running.stop().await;
    tally.assert_all_ok();
    for (flip, (numbers, side)) in settled.into_iter().enumerate() {
        // What was still on its way at the next flip may belong to either side.
        let settled = numbers.clone().filter(|number| tally.answered_before[number] <= numbers.end);
        let old: Vec<u64> = settled.filter(|number| tally.answers[number] != side).collect();
        assert!(old.is_empty(), "flip {flip}: of {numbers:?} the old side still got {old:?}");
    }
    assert_eq!((blue.count(), green.count()), (tally.from("blue"), tally.from("green")));
    let metrics = envoy.metrics().await;
    for (version, upstream) in [("blue", &blue), ("green", &green)] {
        let counted = metrics.sum("changeover_requests_total", &[("version", version), ("outcome", "ok")]);
        assert_eq!(
            counted,
            upstream.count() as f64,
            "{version}: no push makes the filter forget or count twice"
        );
    }
    assert_eq!(envoy.stat("listener_manager.listener_modified").await, 0, "no listener was drained");
}

/// Envoy does not configure a root again that a stream has kept since the first push.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_back_to_what_an_open_stream_began_with_is_obeyed() {
    // The same text each time: Envoy writes a `Struct` in another order each time.
    let active = |side: &str| {
        let versions = json!({"blue": {"cluster": "blue"}, "green": {"cluster": "green"}});
        let rollout = json!({"name": "digits", "release": "1", "stable": "blue", "candidate": "green", "versions": versions,
                             "blue_green": {"active": side}});
        Config::Json(json!({"rollouts": [rollout]}).to_string())
    };
    let (blue, green) = blue_and_green().await;
    let envoy = between_ecds(&blue, &green, active("blue")).start().await;
    let first = envoy.wait_for_hash_other_than(None).await;
    blue.set(Behaviour::SilentStream("text/event-stream"));
    let stream = open_raw(&envoy, "GET / HTTP/1.1\r\nhost: models.example.com\r\n\r\n").await;
    wait_for("the stream", async || (blue.count() == 1).then_some(())).await;
    blue.set(Behaviour::Status(200));
    envoy.push(&active("green")).await;
    let second = envoy.wait_for_hash_other_than(Some(first)).await;
    Load::to(envoy.address()).send(20).await.assert_all_ok();
    assert_eq!((blue.count(), green.count()), (1, 20));
    envoy.push(&active("blue")).await;
    assert_eq!(envoy.wait_for_hash_other_than(Some(second)).await, first);
    Load::to(envoy.address()).send(20).await.assert_all_ok();
    assert_eq!((blue.count(), green.count()), (21, 20));
    drop(stream);
}

/// As one worker sees it: once a request has been answered by the new side, none that is sent afterwards
/// goes to the old one.
#[tokio::test(flavor = "multi_thread")]
async fn once_a_worker_has_flipped_it_never_goes_back() {
    let (blue, green) = blue_and_green().await;
    let envoy = between_ecds(&blue, &green, active("blue")).start().await;
    let mut hash = envoy.wait_for_hash_other_than(None).await;
    let running = Load::to(envoy.address()).connections(16).start();
    let mut flips = Vec::new();
    for flip in 0..100 {
        let side = if flip % 2 == 0 { "green" } else { "blue" };
        let from = running.sent();
        envoy.push(&active(side)).await;
        hash = envoy.wait_for_hash_other_than(Some(hash)).await;
        let sent = running.sent();
        wait_for("some requests", async || (running.sent() > sent + 50).then_some(())).await;
        flips.push((from..running.sent(), side));
    }
    let tally = running.stop().await;
    tally.assert_all_ok();
    for (numbers, side) in flips {
        let new = |number: &u64| tally.answers[number] == side;
        let first = numbers.clone().filter(new).map(|number| tally.answered_before[&number]).min();
        let first = first.expect("an answer of the new side");
        let settled = (first..numbers.end).filter(|number| tally.answered_before[number] <= numbers.end);
        let back: Vec<u64> = settled.filter(|number| !new(number)).collect();
        assert!(back.is_empty(), "{back:?} of {numbers:?} went back, from {first} on all should be {side}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_finish_where_they_started() {
    let blue = Upstream::start_with("blue", Behaviour::gate()).await;
    let green = Upstream::start("green").await;
    let envoy = between_ecds(&blue, &green, active("blue")).start().await;
    let hash = envoy.wait_for_hash_other_than(None).await;
    let address = envoy.address();
    let waiting: Vec<_> = (0..10).map(|_| tokio::spawn(async move { get(address, "/").await })).collect();
    wait_for("ten requests on blue", async || (blue.count() == 10).then_some(())).await;
    envoy.push(&active("green")).await;
    envoy.wait_for_hash_other_than(Some(hash)).await;
    assert_eq!(get(address, "/").await.expect("an answer").upstream(), "green");
    blue.open_gate();
    for answer in waiting {
        assert_eq!(answer.await.expect("no panic").expect("an answer").upstream(), "blue");
    }
    assert_eq!(
        envoy.metrics().await.sum("changeover_requests_total", &[("version", "blue"), ("outcome", "ok")]),
        10.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pushes_leave_no_vm_behind() {
    let (blue, green) = blue_and_green().await;
    let envoy = between_ecds(&blue, &green, active("blue")).workers(2).start().await;
    wait_for("all VMs", async || (envoy.config_hashes().await.len() == 3).then_some(())).await;
    let mut hash = envoy.wait_for_hash_other_than(None).await;
    // One that only tried the configuration may still be among them.
    let vms = envoy.vms().await;
    assert!(vms >= 3, "two workers, the main thread: {vms}");
    for n in 0..30 {
        envoy.push(&Config::rollout(&format!("blue_green: {{active: blue}}, labels: {{stage: s{n}}}"))).await;
        hash = envoy.wait_for_hash_other_than(Some(hash)).await;
    }
    wait_for("short-lived VMs to go", async || (envoy.vms().await <= vms).then_some(())).await;
    assert_eq!(envoy.config_hashes().await.len(), 3, "two workers and the main thread, and no other place");
}

/// Workers read it rollout by rollout; Envoy has tried it as a whole before.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_push_comes_into_use_as_a_whole_or_not_at_all() {
    let (blue, green) = blue_and_green().await;
    let document = |release: u32, pin: &str| {
        let rollout = |nth: u32| {
            json!({
                "name": format!("r{nth}"), "release": release.to_string(), "match": {"prefix": format!("/m{nth:03}/")},
                "versions": {"blue": {"cluster": "blue"}, "green": {"cluster": "green"}}, "stable": "blue", "candidate": "green",
                "pin": if nth == 150 { pin } else { "green" },
            })
        };
        json!({"rollouts": (0..300).map(rollout).collect::<Vec<_>>()}).to_string()
    };
    let envoy = between_ecds(&blue, &green, active("blue")).workers(2).start().await;
    let mut hash = envoy.wait_for_hash_other_than(None).await;
    let hash_of = |text: &str| {
        changeover::config::hash(&changeover::config::load(text.as_bytes()).expect("a valid configuration"))
    };
    let upstream =
        async |path: &str| get(envoy.address(), path).await.expect("an answer").upstream().to_owned();
    for (release, form) in [Config::Struct, Config::Json, Config::Bytes].into_iter().enumerate() {
        let text = document(release as u32, "green");
        envoy.push(&form(text.clone())).await;
        hash = envoy.wait_for_hash_other_than(Some(hash)).await;
        assert_eq!(hash, hash_of(&text));
        let log = envoy.push_refused(&form(document(7, "red"))).await;
        let message = r#"rollouts[150].pin: unknown version "red"; known here: "blue", "green""#;
        assert!(log.contains(message), "{log}");
        for path in ["/m000/x", "/m150/x", "/m299/x"] {
            assert_eq!(upstream(path).await, "green");
        }
        assert!(envoy.config_hashes().await.iter().all(|known| *known == hash), "the one before stays");
    }
    let known = envoy.log().matches("configuration refused").count();
    assert_eq!(known, 3, "each is refused where it is tried, and comes no further");
}
