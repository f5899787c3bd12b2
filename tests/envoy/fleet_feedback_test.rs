//! What users do afterwards, in a fleet: an event counts for the right version at whatever Envoy it comes to, and as evidence
//! once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};

use crate::harness::control::{get, known};
use crate::harness::*;

/// Users who search. A third of them clicks.
const USERS: u64 = 600;
const CLICKS: &str =
    "{name: click, match: {path: /v1/events, body: {/action_name: click}}, join: user, within: 0s}";
/// What shows that users are counted.
const PROBES: &str =
    "{name: probe, match: {path: /v1/events, body: {/action_name: probe}}, join: user, within: 0s}";
const RATINGS: &str = "{name: rating, match: {path: /v1/feedback}, join: receipt, receipt: /receipt, value: /score, bad_below: 0, within: 0s}";

/// Two Envoys of a fleet, half of whose users get the candidate, judged by what they do.
struct Fleet {
    envoys: [Envoy; 2],
    _upstreams: (Upstream, Upstream),
    _etcd: Etcd,
}

impl Fleet {
    /// Starts it, and waits until both Envoys count users.
    async fn start() -> Self {
        let (blue, green) = blue_and_green().await;
        let etcd = Etcd::start().await;
        let config = || {
            let rollout = Config::blue_green(
                "digits",
                &format!(
                    "match: {{prefix: /search}}, session_affinity: {{header: x-user-id}}, receipt: {{}}, \
                     feedback: [{CLICKS}, {PROBES}, {RATINGS}], steps: [{{set_weight: 50}}, {{pause: {{}}}}], \
                     analysis: {{dry_run: true, metrics: [{{name: feedback.click}}, {{name: feedback.probe}}, {{name: feedback.rating}}]}}"
                ),
            );
            Config::Struct(format!(
                "{{store: {{fleet: shop, etcd: {{cluster: etcd1}}}}, rollouts: [{rollout}]}}"
            ))
        };
        let setup =
            || between(&blue, &green, config()).store(&[etcd.address()]).with_people().control().workers(2);
        let envoys = [setup().start().await, setup().start().await];
        let probes = AtomicU64::new(1_000_000);
        for envoy in &envoys {
            known(envoy).await;
            // Users have no names until a key was drawn for them: what a user does is no evidence before.
            let judged = async || evidence(&envoys[0], "feedback.probe").await.values().sum::<u64>();
            let before = judged().await;
            wait_for("an Envoy that counts users", async || {
                let from = probes.fetch_add(20, Ordering::Relaxed);
                let probe = move |at| event(from + at, "probe");
                Load::to(envoy.address()).each(probe).send(20).await.assert_all_ok();
                (judged().await > before).then_some(())
            })
            .await;
        }
        Self { envoys, _upstreams: (blue, green), _etcd: etcd }
    }

    /// Users search at the first Envoy: the version and the receipt that each got.
    async fn search(&self) -> Vec<(String, String)> {
        let mut connection = Connection::open(self.envoys[0].address()).await.expect("a connection");
        let mut found = Vec::new();
        for user in 0..USERS {
            let answer = connection.send(searched(user)).await.expect("an answer");
            let receipt = answer.header("x-changeover-receipt").expect("a receipt");
            found.push((answer.upstream().to_owned(), receipt.to_owned()));
        }
        found
    }

    /// Waits until so many users are evidence, at both Envoys, and returns how many of each version.
    async fn evidence(&self, metric: &str, users: u64) -> BTreeMap<String, u64> {
        wait_for("all to be judged", async || {
            let [one, other] = [&self.envoys[0], &self.envoys[1]];
            let (one, other) = (evidence(one, metric).await, evidence(other, metric).await);
            (one == other && one.values().sum::<u64>() >= users).then_some(one)
        })
        .await
    }
}

fn searched(user: u64) -> Request<Full<Bytes>> {
    request("GET", "/search", &[("x-user-id", user.to_string().as_bytes())], "")
}

fn event(user: u64, action: &str) -> Request<Full<Bytes>> {
    let user = user.to_string();
    request(
        "POST",
        "/v1/events",
        &[("x-user-id", user.as_bytes())],
        json!({"action_name": action}).to_string(),
    )
}

fn rating(receipt: &str) -> Request<Full<Bytes>> {
    request("POST", "/v1/feedback", &[], json!({"receipt": receipt, "score": -1}).to_string())
}

/// How many users are evidence, by version.
async fn evidence(envoy: &Envoy, metric: &str) -> BTreeMap<String, u64> {
    let (_, rollout) = get(envoy, "/v1/rollouts/digits").await;
    let all = rollout["evidence"].as_array().cloned().unwrap_or_default();
    let samples = all.iter().find(|of| of["metric"] == metric).map(|of| of["tests"][0]["samples"].clone());
    let events =
        |side: &str| samples.as_ref().and_then(|of: &Value| of[side]["events"].as_u64()).unwrap_or(0);
    BTreeMap::from([("blue".to_owned(), events("stable")), ("green".to_owned(), events("candidate"))])
}

/// Events of a rule by version, or by what became of those without one.
async fn heard(envoy: &Envoy, rule: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for series in envoy.metrics().await.series("changeover_feedback_total") {
        let label = |name: &str| series.labels.get(name).map(String::as_str);
        if label("name") == Some(rule) {
            let what = label("version").or(label("result")).unwrap_or_default().to_owned();
            *counts.entry(what).or_default() += series.value as u64;
        }
    }
    counts
}

/// How many more there are than before, of each.
fn more(now: BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let more = now.into_iter().map(|(what, count)| {
        let more = count - before.get(&what).copied().unwrap_or(0);
        (what, more)
    });
    more.filter(|(_, more)| *more > 0).collect()
}

/// Of each version, how many of every third user's answers.
fn thirds(found: &[(String, String)]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (version, _) in found.iter().step_by(3) {
        *counts.entry(version.clone()).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_at_any_envoy_of_a_fleet_count_for_their_users_version_and_each_user_is_evidence_once() {
    let fleet = Fleet::start().await;
    let found = fleet.search().await;
    let mut expected = thirds(&found);
    for envoy in [&fleet.envoys[1], &fleet.envoys[0], &fleet.envoys[1]] {
        let known = heard(envoy, "click").await;
        Load::to(envoy.address()).each(|at| event(at * 3, "click")).send(USERS / 3).await.assert_all_ok();
        let counted = wait_for("all clicks", async || {
            let counted = more(heard(envoy, "click").await, &known);
            (counted.values().sum::<u64>() >= USERS / 3).then_some(counted)
        })
        .await;
        assert_eq!(counted, expected, "the metric counts every click");
    }
    // A last click, of a user who has not clicked yet: when that is judged all others are.
    Load::to(fleet.envoys[0].address()).each(|_| event(1, "click")).send(1).await.assert_all_ok();
    *expected.entry(found[1].0.clone()).or_default() += 1;
    assert_eq!(fleet.evidence("feedback.click", USERS / 3 + 1).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_counts_at_each_envoy_of_a_fleet_once_and_its_user_is_evidence_once() {
    let fleet = Fleet::start().await;
    let found = fleet.search().await;
    let mut expected = thirds(&found);
    let receipts: Vec<String> = found.iter().step_by(3).map(|(_, receipt)| receipt.clone()).collect();
    let count = receipts.len() as u64;
    for (nth, envoy) in [&fleet.envoys[1], &fleet.envoys[0], &fleet.envoys[1]].into_iter().enumerate() {
        let (known, sent) = (heard(envoy, "rating").await, receipts.clone());
        Load::to(envoy.address())
            .each(move |at| rating(&sent[at as usize]))
            .send(count)
            .await
            .assert_all_ok();
        let counted = wait_for("all ratings", async || {
            let counted = more(heard(envoy, "rating").await, &known);
            (counted.values().sum::<u64>() >= count).then_some(counted)
        })
        .await;
        let again = BTreeMap::from([("repeated".to_owned(), count)]);
        assert_eq!(counted, if nth == 2 { again } else { expected.clone() }, "at the {nth}th time");
    }
    // A last rating, of an answer that was not rated yet.
    let last = found[1].clone();
    Load::to(fleet.envoys[1].address()).each(move |_| rating(&last.1)).send(1).await.assert_all_ok();
    *expected.entry(found[1].0.clone()).or_default() += 1;
    assert_eq!(fleet.evidence("feedback.rating", count + 1).await, expected);
}
