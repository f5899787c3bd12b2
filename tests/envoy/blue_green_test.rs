//! Blue/green: a side is baked, flipped to, watched, and goes back by itself.

use crate::harness::control::{known, obeyed_with};
use crate::harness::*;
use serde_json::Value;

fn blue_green(fields: &str) -> Config {
    Config::rollout(&format!("blue_green: {{{fields}}}, analysis: {{metrics: [{{name: error_rate}}]}}"))
}

const BAKED: &str = "bake: {weight: 20, duration: 5s}, auto_rollback_window: 15s";

fn load(envoy: &Envoy) -> Load {
    Load::to(envoy.address()).connections(16).per_second(400.0)
}

async fn command(envoy: &Envoy, verb: &str, body: &str) -> Value {
    obeyed_with(envoy, &format!("/v1/rollouts/digits/{verb}"), body).await
}

async fn switch(envoy: &Envoy, active: &str) -> Value {
    command(envoy, "switch", &format!("{{\"active\": \"{active}\"}}")).await
}

/// Waits until so many more requests have been sent, and returns how many those of `upstream` rose by meanwhile.
async fn meanwhile(running: &Running, requests: u64, upstream: &Upstream) -> u64 {
    // Those on their way do not count.
    running.settle().await;
    let (sent, before) = (running.sent(), upstream.count());
    wait_for("more load", async || (running.sent() > sent + requests).then_some(())).await;
    upstream.count() - before
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_side_is_baked_and_flipped_and_stays() {
    let (blue, green) = blue_and_green().await;
    // The watch compares with a thousand of stable's answers, more than five seconds may have.
    let baked = blue_green(&BAKED.replace("duration: 5s", "duration: 20s"));
    let envoy = between(&blue, &green, baked).control().workers(4).start().await;
    let running = load(&envoy).start();
    let event = wait_for_event(&envoy, "flip").await;
    assert_eq!((&event["from"]["green"], &event["to"]["green"]), (&20.into(), &100.into()), "{event}");
    assert!(green.count() >= 100, "it was baked before: {}", green.count());
    let rollout = wait_for("the watch", async || {
        let rollout = known(&envoy).await;
        rollout["evidence"]
            .as_array()?
            .iter()
            .any(|one| one["metric"] == "error_rate.window")
            .then_some(rollout)
    })
    .await;
    let reason = rollout["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("green is watched for 15 s: it is rolled back to blue if clearly more than 1."),
        "{reason}"
    );
    wait_for_event(&envoy, "succeed").await;
    assert_eq!(meanwhile(&running, 400, &blue).await, 0, "all is green's");
    let tally = running.stop().await;
    tally.assert_all_ok();
    assert_eq!((blue.count(), green.count()), (tally.from("blue"), tally.from("green")));
    assert_eq!(actions(&envoy), ["start", "step", "flip", "succeed"]);
    let metrics = envoy.metrics().await;
    assert_eq!(metrics.sum("changeover_actions_total", &[("action", "flip"), ("actor", "auto")]), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_side_is_stopped_in_the_bake() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::OneIn(3, Box::new(Behaviour::Status(503))));
    let envoy = between(&blue, &green, blue_green(BAKED)).workers(4).start().await;
    let running = load(&envoy).start();
    let event = wait_for_event(&envoy, "rollback").await;
    assert!(event["message"].as_str().expect("a sentence").contains("at 20 % green is worse"), "{event}");
    assert_eq!(meanwhile(&running, 2_800, &green).await, 0, "and nothing flips afterwards");
    assert_eq!(actions(&envoy), ["start", "step", "rollback"]);
    running.stop().await;
}

/// Green has been good for so many times 1,200 requests after the flip.
async fn turns_bad_after(rounds: u64, per_second: f64) {
    let (blue, green) = blue_and_green().await;
    blue.set(Behaviour::OneIn(200, Box::new(Behaviour::Status(503))));
    green.set(Behaviour::OneIn(200, Box::new(Behaviour::Status(503))));
    let envoy = between(&blue, &green, blue_green("auto_rollback_window: 10m")).control().workers(4);
    let envoy = envoy.start().await;
    known(&envoy).await;
    let running = Load::to(envoy.address()).connections(16).per_second(per_second).start();
    // What of it was judged shows in the bound, which is in the reason.
    meanwhile(&running, 1_500, &green).await;
    let rollout = wait_for("a flip that is watched", async || {
        let rollout = switch(&envoy, "green").await;
        if rollout["phase"] == "progressing" {
            return Some(rollout);
        }
        switch(&envoy, "blue").await;
        meanwhile(&running, 1_500, &green).await;
        None
    })
    .await;
    assert_eq!(rollout["weights"]["green"], 100, "{rollout}");
    for _ in 0..rounds {
        assert_eq!(meanwhile(&running, 1_200, &blue).await, 0);
    }
    assert!(!actions(&envoy).contains(&"rollback".into()), "it is as good as blue was");
    green.set(Behaviour::OneIn(5, Box::new(Behaviour::Status(503))));
    let before = green.count();
    let event = wait_for_event(&envoy, "rollback").await;
    let message = event["message"].as_str().expect("a sentence");
    assert!(
        message.starts_with("green is rolled back, all traffic goes to blue: since the flip, "),
        "{message}"
    );
    let took = green.count() - before;
    assert!(took <= per_second as u64 * 20, "{took} of its requests until then");
    assert_eq!(meanwhile(&running, 400, &green).await, 0, "no request goes to green any more");
    assert_eq!(known(&envoy).await["phase"], "failed");
    let tally = running.stop().await;
    assert!(tally.errors.is_empty(), "{:?}", tally.errors);
    assert_eq!((blue.count(), green.count()), (tally.from("blue"), tally.from("green")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_turns_bad_goes_back_by_itself() {
    turns_bad_after(1, 400.0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute of waiting: make test-long"]
async fn a_side_that_turns_bad_a_minute_after_the_flip_goes_back_by_itself() {
    // 64 s at this rate, in parts: a wait has its deadline.
    turns_bad_after(8, 150.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_flips_lose_nothing() {
    const CONNECTIONS: u64 = 16;
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, blue_green("auto_rollback_window: 10m"));
    let envoy = envoy.control().workers(4).start().await;
    known(&envoy).await;
    let running = Load::to(envoy.address()).connections(16).per_second(400.0).start();
    let mut after = Vec::new();
    for flip in 0..100 {
        let (active, other) = if flip % 2 == 0 { ("green", "blue") } else { ("blue", "green") };
        let rollout = switch(&envoy, active).await;
        assert_eq!((&rollout["weights"][active], &rollout["weights"][other]), (&100.into(), &0.into()));
        let from = running.sent() + CONNECTIONS;
        wait_for("some load", async || (running.sent() > from + 40).then_some(())).await;
        after.push((from..running.sent(), active));
    }
    let tally = running.stop().await;
    tally.assert_all_ok();
    let mut sure = 0;
    for (numbers, active) in after {
        // Answered before the next command was given.
        for number in numbers.clone().filter(|number| tally.answered_before[number] <= numbers.end) {
            assert_eq!(tally.answers[&number], active, "request {number}, sent after that side was answered");
            sure += 1;
        }
    }
    assert!(sure >= 2_000, "only {sure} requests are known to lie between two flips");
    assert_eq!((blue.count(), green.count()), (tally.from("blue"), tally.from("green")));
    let counted = wait_for("the filter's counts", async || {
        let metrics = envoy.metrics().await;
        let of = |version| metrics.sum("changeover_requests_total", &[("version", version)]) as u64;
        let counted = (of("blue"), of("green"));
        (counted.0 + counted.1 == tally.total()).then_some(counted)
    })
    .await;
    assert_eq!(counted, (blue.count(), green.count()));
    let flips = events(&envoy).iter().filter(|event| event["action"] == "flip").count();
    assert_eq!(flips, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_that_a_person_sets_hold_on_every_worker() {
    let (blue, green) = blue_and_green().await;
    let steps = "steps: [{set_weight: 50}, {pause: {duration: 8s}}, {set_weight: 75}, {pause: {}}]";
    let envoy = between(&blue, &green, Config::rollout(steps)).control().workers(4).start().await;
    known(&envoy).await;
    let rollout = command(&envoy, "weight", "{\"green\": 60.5}").await;
    assert_eq!((&rollout["phase"], &rollout["weights"]["green"]), (&"paused".into(), &60.5.into()));
    blue.reset_count();
    green.reset_count();
    let tally = Load::to(envoy.address()).send(4_000).await;
    assert_share(tally.from("green"), 4_000, 0.605);
    assert_eq!(green.count(), tally.from("green"));
    // The time that the step would have taken goes by.
    tokio::time::sleep(std::time::Duration::from_secs(9)).await;
    let rollout = command(&envoy, "resume", "").await;
    assert_eq!((&rollout["weights"]["green"], &rollout["step"]["index"]), (&60.5.into(), &1.into()));
}
