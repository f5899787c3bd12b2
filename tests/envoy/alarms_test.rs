//! Alarms: an upstream turns bad, and what follows arrives once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::control::{get, known, obeyed};
use crate::harness::*;

/// An inbox for notifications.
struct Inbox {
    upstream: Upstream,
    taken: Arc<Mutex<Vec<Value>>>,
}

impl Inbox {
    async fn start() -> Self {
        let inbox = Self { upstream: Upstream::start("hooks").await, taken: Arc::default() };
        let taken = Arc::clone(&inbox.taken);
        inbox.upstream.set(Make::by(move |_, seen| {
            taken.lock().expect("no panic").push(serde_json::from_slice(&seen.body).expect("JSON"));
            Made { status: Some(204), ..Made::default() }
        }));
        inbox
    }

    /// The actions of what it was told, in order.
    fn told(&self) -> Vec<String> {
        let taken = self.taken.lock().expect("no panic");
        taken.iter().map(|event| event["data"]["action"].as_str().unwrap_or_default().to_owned()).collect()
    }

    async fn wait_for(&self, actions: &[&str]) {
        wait_for(&format!("{actions:?} in the inbox, which has {:?}", self.told()), async || {
            (self.told() == actions).then_some(())
        })
        .await;
    }
}

/// Half of the traffic to green, judged by a metric that finds nothing, with an alarm.
fn config(alarm: &str, more: &str) -> Config {
    let rollout = Config::blue_green(
        "digits",
        &format!(
            "steps: [{{set_weight: 50}}, {{pause: {{duration: 1h}}}}], \
             analysis: {{deadline: 10s, metrics: [{{name: client_error_rate}}]}}, alarms: [{alarm}]{more}"
        ),
    );
    Config::Struct(format!(
        "{{rollouts: [{rollout}], notify: [{{name: ops, cluster: hooks, path: /in, events: [alarm, clear, pause, rollback]}}]}}"
    ))
}

fn setup(blue: &Upstream, green: &Upstream, inbox: &Inbox, config: Config) -> Setup {
    let clusters =
        [("blue", blue.address()), ("green", green.address()), ("hooks", inbox.upstream.address())];
    Setup::shipped(config).clusters(&clusters).control()
}

async fn alarm(envoy: &Envoy) -> Value {
    get(envoy, "/v1/rollouts/digits").await.1["alarms"][0].clone()
}

async fn gauge(envoy: &Envoy) -> f64 {
    envoy.metrics().await.sum("changeover_alarm", &[("rollout", "digits"), ("name", "bad")])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_is_raised_told_once_and_over_when_the_upstream_is_well_again() {
    let (blue, green) = blue_and_green().await;
    let inbox = Inbox::start().await;
    let alarm_of = "{name: bad, signal: error_rate, max: 0.1, window: 30s, min_samples: 50}";
    let envoy = setup(&blue, &green, &inbox, config(alarm_of, "")).workers(2).start().await;
    known(&envoy).await;
    let load = Load::to(envoy.address()).per_second(300.0).start();
    wait_for("observations of good answers", async || alarm(&envoy).await["value"].is_number().then_some(()))
        .await;
    let quiet = alarm(&envoy).await;
    assert_eq!(
        (&quiet["raised"], &quiet["since"], &quiet["value"]),
        (&json!(false), &Value::Null, &json!(0.0))
    );
    green.set(Behaviour::Status(500));
    inbox.wait_for(&["alarm"]).await;
    let raised = alarm(&envoy).await;
    assert_eq!((&raised["name"], &raised["raised"]), (&json!("bad"), &json!(true)), "{raised}");
    assert!(raised["value"].as_f64() > Some(0.1), "{raised}");
    wait_for("the gauge", async || (gauge(&envoy).await == 1.0).then_some(())).await;
    let event = inbox.taken.lock().expect("no panic")[0].clone();
    assert_eq!(event["data"]["rule"], "bad", "{event}");
    let (text, _, _) = cli::changeover(&["status", "digits"], &[envoy.address_of("changeover-control")]);
    assert!(text.contains("raised  bad: error_rate of green is "), "{text}");
    // Good answers push the bad ones down to 8 % of the window, or out of it.
    green.set(Behaviour::Status(200));
    let load = [load, Load::to(envoy.address()).start()];
    wait_within(Duration::from_secs(240), "the end of the alarm", async || {
        (inbox.told() == ["alarm", "clear"]).then_some(())
    })
    .await;
    for load in load {
        load.stop().await;
    }
    assert_eq!((alarm(&envoy).await["raised"].clone(), gauge(&envoy).await), (json!(false), 0.0));
    let actions = actions(&envoy);
    assert_eq!(actions, ["start", "step", "alarm", "clear"], "each in the log once, and the release goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_pauses_a_release_and_lets_it_go_on_after_resume() {
    let (blue, green) = blue_and_green().await;
    let inbox = Inbox::start().await;
    let alarm_of =
        "{name: bad, signal: error_rate, relative: {times: 3}, window: 30s, min_samples: 50, action: pause}";
    let envoy = setup(&blue, &green, &inbox, config(alarm_of, "")).start().await;
    known(&envoy).await;
    green.set(Behaviour::OneIn(3, Box::new(Behaviour::Status(500))));
    let load = Load::to(envoy.address()).per_second(300.0).start();
    inbox.wait_for(&["pause"]).await;
    assert_eq!(known(&envoy).await["phase"], "paused");
    obeyed(&envoy, "/v1/rollouts/digits/resume").await;
    let sent = load.sent();
    wait_for("seconds in which it is still raised", async || (load.sent() > sent + 900).then_some(())).await;
    load.stop().await;
    let rollout = known(&envoy).await;
    assert_eq!((&rollout["phase"], &rollout["attempt"]), (&json!("progressing"), &json!(1)));
    assert_eq!(inbox.told(), ["pause"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_on_null_answers_rolls_back() {
    let answer = |value: &str| {
        Make::by({
            let body = format!("{{\"predictions\": [{value}]}}");
            move |_, _| Made { status: Some(200), ..Made::json(body.clone()) }
        })
    };
    let (blue, green) = blue_and_green().await;
    let inbox = Inbox::start().await;
    blue.set(answer("0.5"));
    green.set(answer("null"));
    let alarm_of =
        "{name: bad, signal: output.null, max: 0.2, window: 30s, min_samples: 50, action: rollback}";
    let config = config(alarm_of, ", payload: {protocol: tf_serving}");
    let envoy = setup(&blue, &green, &inbox, config).start().await;
    known(&envoy).await;
    let load = Load::to(envoy.address()).per_second(200.0).each(|_| {
        request(
            "POST",
            "/v1/models/digits:predict",
            &[("content-type", b"application/json")],
            r#"{"instances": [[1]]}"#,
        )
    });
    let load = load.start();
    inbox.wait_for(&["rollback"]).await;
    load.stop().await;
    let rollout = known(&envoy).await;
    assert_eq!(
        (&rollout["phase"], &rollout["weights"]),
        (&json!("failed"), &json!({"blue": 100, "green": 0}))
    );
    let event = wait_for_event(&envoy, "rollback").await;
    assert_eq!((&event["rule"], &event["actor"]), (&json!("bad"), &json!("auto")), "{event}");
    assert!(
        event["message"].as_str().is_some_and(|message| message.contains("alarm bad: output.null of green")),
        "{event}"
    );
    green.reset_count();
    Load::to(envoy.address()).send(50).await.assert_all_ok();
    assert_eq!(green.count(), 0);
}
