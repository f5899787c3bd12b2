//! What users do afterwards: events that are posted later, to any worker, count for the version that the user had.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::harness::control::{get, known};
use crate::harness::*;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::json;

/// Clicks, as OpenSearch's User Behavior Insights reports them.
const CLICKS: &str = "{name: click, match: {path: /v1/events, methods: [POST], body: {/action_name: click}}, join: user, within: 0s, \
                      better: more}";

/// A rollout of `/search` at 50 % whose users click, with these further fields.
fn search(fields: &str) -> Config {
    Config::rollout(&format!(
        "match: {{prefix: /search}}, session_affinity: {{header: x-user-id}}, feedback: [{CLICKS}], {fields}"
    ))
}

/// A rollout that judges clicks.
fn judged() -> Config {
    search(
        "steps: [{set_weight: 50}, {pause: {}}], analysis: {metrics: [{name: error_rate}, {name: feedback.click}]}",
    )
}

fn searched(user: u64) -> Request<Full<Bytes>> {
    request("POST", "/search", &[("x-user-id", user.to_string().as_bytes())], "{\"q\": \"shoes\"}")
}

fn event(user: u64, action: &str) -> Request<Full<Bytes>> {
    let body = json!({"action_name": action, "client_id": user, "query_id": "q"}).to_string();
    request("POST", "/v1/events", &[("x-user-id", user.to_string().as_bytes())], body)
}

/// Events by version and result.
async fn heard(envoy: &Envoy) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for series in envoy.metrics().await.series("changeover_feedback_total") {
        let label = |name: &str| series.labels.get(name).map_or("-", String::as_str);
        assert_eq!((label("rollout"), label("name")), ("digits", "click"));
        counts.insert(format!("{} {}", label("version"), label("result")), series.value as u64);
    }
    counts
}

/// Waits until so many events are counted.
async fn heard_of(envoy: &Envoy, count: u64) -> BTreeMap<String, u64> {
    wait_for("events to be counted", async || {
        let heard = heard(envoy).await;
        (heard.values().sum::<u64>() >= count).then_some(heard)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_count_for_the_version_of_their_user_at_any_worker_and_after_a_restart() {
    const USERS: u64 = 600;
    let (blue, green) = blue_and_green().await;
    let setup = || between(&blue, &green, search("weights: {green: 50}")).workers(3);
    let before = setup().start().await;
    let found = Load::to(before.address()).each(searched).send(USERS).await;
    found.assert_all_ok();
    // Every third user clicks, every other one twice; some only look.
    let clicks: Vec<u64> = (0..USERS)
        .filter(|user| user % 3 == 0)
        .flat_map(|user| std::iter::repeat_n(user, 1 + (user % 2) as usize))
        .collect();
    let expected = |clicks: &[u64]| {
        let of = |version: &str| clicks.iter().filter(|user| found.answers[user] == version).count() as u64;
        BTreeMap::from([("blue counted".to_owned(), of("blue")), ("green counted".to_owned(), of("green"))])
    };
    let post = async |envoy: &Envoy, clicks: Vec<u64>| {
        let count = clicks.len() as u64;
        let (sent, expected) = (clicks.clone(), expected(&clicks));
        let looks = Load::to(envoy.address()).each(|user| event(user, "view")).send(100).await;
        looks.assert_all_ok();
        let tally =
            Load::to(envoy.address()).each(move |at| event(sent[at as usize], "click")).send(count).await;
        tally.assert_all_ok();
        assert_eq!(heard_of(envoy, count).await, expected);
    };
    post(&before, clicks[..100].to_vec()).await;
    drop(before);
    blue.take_seen();
    let envoy = setup().start().await;
    post(&envoy, clicks[100..].to_vec()).await;
    let events =
        blue.take_seen().into_iter().chain(green.take_seen()).filter(|seen| seen.target == "/v1/events");
    let bodies: Vec<Bytes> = events.map(|seen| seen.body).collect();
    assert!(bodies.len() >= clicks.len() - 100, "they go where they would go anyway");
    for body in bodies {
        let body: serde_json::Value = serde_json::from_slice(&body).expect("the body as it was sent");
        assert!(body["client_id"].is_number() && body["query_id"] == "q");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_without_a_user_or_that_cannot_be_read_count_for_no_version() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, search("weights: {green: 50}")).start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let user: (&str, &[u8]) = ("x-user-id", b"7");
    let large = format!("{{\"action_name\": \"click\", \"more\": \"{}\"}}", "x".repeat(300 * 1_024));
    for (headers, body) in [
        (&[user][..], "{\"action_name\": \"click\"".to_owned()),
        (&[user], String::new()),
        (&[user], large),
        (&[], "{\"action_name\": \"click\"}".to_owned()),
        (&[], "{\"action_name\": \"view\"}".to_owned()),
        (&[user], "[{\"action_name\": \"click\"}]".to_owned()),
        (&[user], "{\"action_name\": \"click\"}".to_owned()),
    ] {
        let answer = connection.send(request("POST", "/v1/events", headers, body)).await.expect("an answer");
        assert_eq!(answer.status, 200);
    }
    let counted = heard_of(&envoy, 5).await;
    let version = if counted.contains_key("green counted") { "green" } else { "blue" };
    let expected = [(format!("{version} counted"), 1), ("- no_user".into(), 1), ("- unreadable".into(), 3)];
    assert_eq!(counted, BTreeMap::from(expected));
    let other = connection.send(request("GET", "/v1/events", &[user], "")).await.expect("an answer");
    assert_eq!(other.status, 200);
    assert_eq!(heard(&envoy).await.values().sum::<u64>(), 5, "another method");
}

/// Users search and click, some of those who got `blue` and some of those who got `green`, until `stop`, or there were so
/// many. Returns how many there were.
async fn click(envoy: &Envoy, (of_blue, of_green): (f64, f64), users: u64, stop: &Arc<AtomicBool>) -> u64 {
    let next = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (address, next, stop) = (envoy.address(), Arc::clone(&next), Arc::clone(stop));
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await.expect("a connection");
                loop {
                    let user = next.fetch_add(1, Ordering::Relaxed);
                    if user >= users || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let answer = connection.send(searched(user)).await.expect("an answer");
                    assert_eq!(answer.status, 200);
                    let part = if answer.upstream() == "green" { of_green } else { of_blue };
                    let clicks = fastrand::Rng::with_seed(user * 7_919 + 1).f64() < part;
                    let action = if clicks { "click" } else { "view" };
                    connection.send(event(user, action)).await.expect("an answer");
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("no panic");
    }
    next.load(Ordering::Relaxed).min(users)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_with_a_fifth_fewer_clicks_and_equal_errors_is_rolled_back() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, judged()).control().workers(2).start().await;
    known(&envoy).await;
    let stop = Arc::new(AtomicBool::new(false));
    let event = {
        let users = click(&envoy, (0.5, 0.4), 40_000, &stop);
        let rollback = async {
            let event = wait_for_event(&envoy, "rollback").await;
            stop.store(true, Ordering::Relaxed);
            event
        };
        let (users, event) = tokio::join!(users, rollback);
        println!("rolled back after about {users} users: {event}");
        event
    };
    assert_eq!(event["rule"], "feedback.click", "{event}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_with_as_many_clicks_is_not_rolled_back() {
    const USERS: u64 = 6_000;
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, judged()).control().workers(2).start().await;
    known(&envoy).await;
    click(&envoy, (0.4, 0.4), USERS, &Arc::default()).await;
    // Ticks are closed, and judged, some seconds later.
    let rollout = wait_for("all clicks to be judged", async || {
        let (_, rollout) = get(&envoy, "/v1/rollouts/digits").await;
        let metrics = rollout["evidence"].as_array()?;
        let clicks = metrics.iter().find(|metric| metric["metric"] == "feedback.click")?;
        let samples = &clicks["tests"][0]["samples"];
        let seen = |side: &str| samples[side]["events"].as_u64();
        (seen("candidate")? + seen("stable")? > USERS * 38 / 100).then_some(rollout)
    })
    .await;
    assert_eq!(rollout["phase"], "paused", "{rollout}");
    assert_eq!(actions(&envoy).iter().filter(|action| *action == "rollback").count(), 0);
}
