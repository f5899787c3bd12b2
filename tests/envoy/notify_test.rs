//! Receivers of notifications that are down or slow, and get each one once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::harness::control::{known, obeyed, obeyed_with};
use crate::harness::*;

/// A receiver, and what it has taken.
struct Receiver {
    upstream: Upstream,
    status: Arc<AtomicU16>,
    taken: Arc<Mutex<Vec<Seen>>>,
}

impl Receiver {
    async fn start(status: u16) -> Self {
        let (status, taken) = (Arc::new(AtomicU16::new(status)), Arc::new(Mutex::default()));
        let receiver = Self { upstream: Upstream::start("hooks").await, status, taken };
        let (status, taken) = (Arc::clone(&receiver.status), Arc::clone(&receiver.taken));
        receiver.upstream.set(Make::by(move |_, seen| {
            let status = status.load(Ordering::SeqCst);
            if status < 300 {
                taken.lock().expect("no panic").push(seen.clone());
            }
            Made { status: Some(status), ..Made::default() }
        }));
        receiver
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn taken(&self) -> Vec<Seen> {
        self.taken.lock().expect("no panic").clone()
    }

    /// The notifications that it has taken.
    fn told(&self) -> Vec<Value> {
        let read = |seen: &Seen| serde_json::from_slice(&seen.body).expect("JSON");
        self.taken().iter().map(read).collect()
    }

    async fn wait_for(&self, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} notifications"), async || {
            let told = self.told();
            (told.len() >= count).then_some(told)
        })
        .await
    }
}

const ALL: &str = "[start, step, succeed, rollback, abort, pause, resume, retry, alarm, flip, change]";

/// Rollouts with these names and fields, whose events go to a receiver.
fn config(names: &[&str], fields: &str, receiver: &str) -> Config {
    let rollouts: Vec<String> = names
        .iter()
        .map(|name| Config::blue_green(name, &format!("match: {{prefix: /{name}}}, {fields}")))
        .collect();
    Config::Struct(format!(
        "{{rollouts: [{}], notify: [{{name: ops, cluster: hooks, path: \"/in?key=1\", {receiver}}}]}}",
        rollouts.join(", ")
    ))
}

const WAITING: &str = "steps: [{set_weight: 50}, {pause: {}}, {set_weight: 75}, {pause: {duration: 1h}}]";

fn setup(blue: &Upstream, green: &Upstream, receiver: &Receiver, config: Config) -> Setup {
    let hooks = receiver.upstream.address();
    Setup::shipped(config).clusters(&[("blue", blue.address()), ("green", green.address()), ("hooks", hooks)])
}

async fn count(envoy: &Envoy, result: &str) -> f64 {
    envoy.metrics().await.sum("changeover_notifications_total", &[("name", "ops"), ("result", result)])
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The actions in a rollout's notifications, in order.
fn actions_of(told: &[Value], rollout: &str) -> Vec<String> {
    let of_it = told.iter().filter(|event| event["subject"] == rollout);
    of_it.map(|event| text(event, "/data/action").to_owned()).collect()
}

fn assert_unique(told: &[Value]) {
    let ids: BTreeSet<&str> = told.iter().map(|event| text(event, "/id")).collect();
    assert_eq!(ids.len(), told.len(), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_down_gets_the_events_of_all_rollouts_once_and_in_order() {
    let (blue, green) = blue_and_green().await;
    let receiver = Receiver::start(503).await;
    let config = config(&["digits", "search"], WAITING, &format!("authority: hooks.internal, events: {ALL}"));
    let envoy = setup(&blue, &green, &receiver, config).control().workers(2).start().await;
    known(&envoy).await;
    obeyed(&envoy, "/v1/rollouts/digits/promote").await;
    obeyed(&envoy, "/v1/rollouts/search/abort").await;
    wait_for("attempts in vain", async || (count(&envoy, "failed").await >= 2.0).then_some(())).await;
    assert_eq!(receiver.taken().len(), 0);
    receiver.answer(204);
    receiver.wait_for(6).await;
    let reason = r#"{"reason": "a \"second\" try"}"#;
    obeyed_with(&envoy, "/v1/rollouts/search/retry", reason).await;
    let told = receiver.wait_for(8).await;
    assert_eq!(actions_of(&told, "digits"), ["start", "step", "step"]);
    assert_eq!(actions_of(&told, "search"), ["start", "step", "abort", "retry", "step"]);
    assert_unique(&told);
    let seen = receiver.taken().pop().expect("one");
    let header =
        |name: &str| seen.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/in?key=1"));
    assert_eq!(header("host"), "hooks.internal");
    assert_eq!(header("content-type"), "application/cloudevents+json");
    assert_eq!(header("content-length"), seen.body.len().to_string());
    let retry = told.iter().find(|event| event["type"] == "changeover.rollout.retry").expect("a retry");
    assert_eq!(retry["specversion"], "1.0");
    assert!(text(retry, "/id").contains("/search/1/2/4/"), "{retry}");
    assert_eq!(retry["data"]["reason"], "a \"second\" try");
    let waits = told.iter().find(|event| event["data"]["action"] == "step").expect("a step");
    assert_eq!(waits["data"]["phase"], "paused", "{waits}");
    assert_eq!(text(waits, "/data/go_on/0"), format!("changeover promote {}", text(waits, "/subject")));
    wait_for("the count", async || (count(&envoy, "delivered").await == 8.0).then_some(())).await;
    assert_eq!(count(&envoy, "dropped").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_of_a_step_and_of_a_rollback_have_their_evidence_and_the_commands_that_go_on() {
    let (blue, green) = blue_and_green().await;
    let receiver = Receiver::start(200).await;
    let judged = "steps: [{set_weight: 50}, {pause: {duration: 1s, min_requests: 20}}, {pause: {}}], \
                  analysis: {metrics: [{name: error_rate}]}";
    let envoy = setup(&blue, &green, &receiver, config(&["digits"], judged, "timeout: 2s")).start().await;
    let load =
        Load::to(envoy.address()).each(|_| request("GET", "/digits", &[], String::new())).per_second(100.0);
    let load = load.start();
    let waits = receiver.wait_for(1).await.remove(0);
    assert_eq!(
        (&waits["type"], &waits["data"]["phase"]),
        (&"changeover.rollout.step".into(), &"paused".into())
    );
    assert_eq!((&waits["data"]["rule"], &waits["data"]["threshold"]), (&"error_rate".into(), &2.0.into()));
    assert!(
        waits["data"]["samples"]["candidate"]["units"].as_u64() >= Some(20),
        "of the step that has ended: {waits}"
    );
    green.set(Behaviour::Status(503));
    let logged = wait_for_event(&envoy, "rollback").await;
    load.stop().await;
    let told = receiver.wait_for(2).await;
    let [_, event] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(event["type"], "changeover.rollout.rollback");
    for (name, value) in logged.as_object().expect("an object") {
        assert_eq!(event["data"][name], *value, "{name}");
    }
    // docs/notifications.md shows what the relay's test reads, and both have what is posted.
    let example = include_str!("../../examples/notify/rollback.json");
    assert!(include_str!("../../docs/notifications.md").contains(example));
    let example: Value = serde_json::from_str(example).expect("JSON");
    for pointer in ["", "/data", "/data/samples", "/data/samples/candidate"] {
        let keys = |value: &Value| -> BTreeSet<String> {
            value.pointer(pointer).and_then(Value::as_object).expect("an object").keys().cloned().collect()
        };
        assert_eq!(keys(event), keys(&example), "{pointer}");
    }
    assert!(event["data"]["samples"]["candidate"]["events"].as_u64() > Some(0), "{event}");
    assert_eq!((&event["data"]["from"]["green"], &event["data"]["phase"]), (&50.into(), &"failed".into()));
    assert_eq!(event["data"]["go_on"], serde_json::json!(["changeover retry digits"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_harms_no_traffic_and_no_other_receiver() {
    let (blue, green) = blue_and_green().await;
    let receiver = Receiver::start(200).await;
    let hung = Upstream::start_with("hung", Behaviour::gate()).await;
    let rollout = Config::blue_green("digits", WAITING);
    let config = Config::Struct(format!(
        "{{rollouts: [{rollout}], notify: [{{name: hung, cluster: hung, path: /, events: {ALL}, timeout: 500ms}}, \
         {{name: ops, cluster: hooks, path: /, events: {ALL}}}, {{name: nowhere, cluster: nowhere, path: /, events: {ALL}}}]}}"
    ));
    let clusters = [
        ("blue", blue.address()),
        ("green", green.address()),
        ("hooks", receiver.upstream.address()),
        ("hung", hung.address()),
    ];
    let envoy = Setup::shipped(config).clusters(&clusters).control().workers(2).start().await;
    known(&envoy).await;
    let load = Load::to(envoy.address()).per_second(200.0).start();
    for command in ["abort", "retry", "promote"] {
        obeyed(&envoy, &format!("/v1/rollouts/digits/{command}")).await;
    }
    let told = receiver.wait_for(6).await;
    assert_eq!(actions_of(&told, "digits"), ["start", "step", "abort", "retry", "step", "step"]);
    let failed = async |name: &str| {
        let metrics = envoy.metrics().await;
        metrics.sum("changeover_notifications_total", &[("name", name), ("result", "failed")])
    };
    for name in ["hung", "nowhere"] {
        wait_for("attempts in vain", async || (failed(name).await >= 2.0).then_some(())).await;
    }
    load.stop().await.assert_all_ok();
    assert_eq!(receiver.told().len(), 6);
    hung.open_gate();
    wait_for("the rest", async || {
        let metrics = envoy.metrics().await;
        let labels = [("name", "hung"), ("result", "delivered")];
        (metrics.sum("changeover_notifications_total", &labels) == 6.0).then_some(())
    })
    .await;
    let ids = hung.take_seen().into_iter().map(|seen| {
        let event: Value = serde_json::from_slice(&seen.body).expect("JSON");
        text(&event, "/id").to_owned()
    });
    let mut ids: Vec<String> = ids.collect();
    ids.dedup();
    let unique: BTreeSet<&String> = ids.iter().collect();
    assert_eq!((ids.len(), unique.len()), (6, 6), "the same again and again until it is answered, in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_while_a_receiver_is_down_lose_nothing() {
    let (blue, green) = blue_and_green().await;
    let receiver = Receiver::start(503).await;
    let config = |label: &str| {
        let fields = format!("{WAITING}, labels: {{team: {label}}}");
        config(&["digits"], &fields, &format!("events: {ALL}"))
    };
    let hooks = receiver.upstream.address();
    let clusters = [("blue", blue.address()), ("green", green.address()), ("hooks", hooks)];
    let envoy = Setup::shipped_ecds(config("a")).clusters(&clusters).control().workers(2).start().await;
    known(&envoy).await;
    for (label, command) in [("b", "abort"), ("c", "retry"), ("d", "promote")] {
        obeyed(&envoy, &format!("/v1/rollouts/digits/{command}")).await;
        envoy.push(&config(label)).await;
    }
    receiver.answer(200);
    let told = receiver.wait_for(6).await;
    assert_eq!(actions_of(&told, "digits"), ["start", "step", "abort", "retry", "step", "step"]);
    assert_unique(&told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_drops_the_oldest_and_counts_them() {
    let (blue, green) = blue_and_green().await;
    let receiver = Receiver::start(503).await;
    let config = config(&["digits"], WAITING, "events: [abort, retry]");
    let envoy = setup(&blue, &green, &receiver, config).control().workers(2).start().await;
    known(&envoy).await;
    for _ in 0..135 {
        for command in ["abort", "retry"] {
            obeyed(&envoy, &format!("/v1/rollouts/digits/{command}")).await;
        }
    }
    wait_for("the count of 14", async || (count(&envoy, "dropped").await == 14.0).then_some(())).await;
    receiver.answer(200);
    wait_for("the rest", async || (count(&envoy, "delivered").await == 256.0).then_some(())).await;
    let told = receiver.told();
    assert_unique(&told);
    let last = told.last().expect("one");
    assert_eq!((&last["data"]["action"], &last["data"]["attempt"]), (&"retry".into(), &136.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_envoy_of_a_fleet_posts_and_another_one_when_it_is_gone() {
    let (blue, green) = blue_and_green().await;
    let receiver = Receiver::start(200).await;
    let etcd = Etcd::start().await;
    let rollout = Config::blue_green("digits", WAITING);
    let config = || {
        Config::Struct(format!(
            "{{store: {{fleet: shop, etcd: {{cluster: etcd1}}}}, rollouts: [{rollout}], \
             notify: [{{name: ops, cluster: hooks, path: /, events: {ALL}}}]}}"
        ))
    };
    let mut envoys = Vec::new();
    for _ in 0..3 {
        let setup = setup(&blue, &green, &receiver, config()).store(&[etcd.address()]);
        envoys.push(setup.control().workers(2).start().await);
    }
    for envoy in &envoys {
        known(envoy).await;
    }
    let told = receiver.wait_for(2).await;
    assert_eq!(actions_of(&told, "digits"), ["start", "step"]);
    obeyed(&envoys[1], "/v1/rollouts/digits/abort").await;
    receiver.wait_for(3).await;
    // The Envoy that leads goes while its receiver is down.
    receiver.answer(503);
    let leader = wait_for("an Envoy that leads", async || {
        for (nth, envoy) in envoys.iter().enumerate() {
            let fleet = control::get(envoy, "/v1/fleet").await.1;
            if fleet["leader"].is_string() && fleet["leader"] == fleet["member"] {
                return Some(nth);
            }
        }
        None
    })
    .await;
    obeyed(&envoys[(leader + 1) % 3], "/v1/rollouts/digits/retry").await;
    wait_for("an attempt in vain", async || (count(&envoys[leader], "failed").await >= 1.0).then_some(()))
        .await;
    drop(envoys.remove(leader));
    receiver.answer(200);
    let told = receiver.wait_for(5).await;
    assert_eq!(actions_of(&told, "digits"), ["start", "step", "abort", "retry", "step"]);
    obeyed(&envoys[0], "/v1/rollouts/digits/promote").await;
    let told = receiver.wait_for(6).await;
    assert_unique(&told);
    assert!(text(&told[5], "/id").starts_with("shop/digits/1/2/"), "{}", told[5]);
}
