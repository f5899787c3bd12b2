//! People and a model: who gets a task, what it carries, and what decisions add up to. `blue` is the people's queue, `green`
//! the model.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::control::{JSON, call, get, known};
use crate::harness::tasks::*;
use crate::harness::*;
use bytes::Bytes;
use changeover::automation::receipt::Receipt;
use changeover::receipt::seal::{Keys, NONCE};
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};

async fn send(envoy: &Envoy, request: Request<Full<Bytes>>) -> Answer {
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    connection.send(request).await.expect("an answer")
}

async fn decisions(envoy: &Envoy) -> BTreeMap<String, u64> {
    counts(envoy, "changeover_decisions_total", &["result"]).await
}

/// Waits until so many decisions are counted, of whatever kind.
async fn decided(envoy: &Envoy, count: u64) -> BTreeMap<String, u64> {
    wait_for("decisions to be counted", async || {
        let decisions = decisions(envoy).await;
        (decisions.values().sum::<u64>() == count).then_some(decisions)
    })
    .await
}

/// The rollout's `automation`, once it has this many blind decisions.
async fn ladder(envoy: &Envoy, blind: u64) -> Value {
    wait_for("the ladder", async || {
        let (_, mut rollout) = get(envoy, "/v1/rollouts/digits").await;
        let ladder = rollout["automation"].take();
        (ladder["blind"]["tasks"] == blind).then_some(ladder)
    })
    .await
}

/// What people say of tasks: they are wrong in every 25th.
fn people_say(number: u64) -> String {
    right_label(if number % 25 == 3 { number + 2 } else { number })
}

/// What blind decisions of these people about these tasks add up to, as the model decides them.
struct Offline {
    numbers: Vec<u64>,
    /// The people's label, then the model's.
    confusion: BTreeMap<(String, String), u64>,
}

impl Offline {
    fn of(numbers: impl IntoIterator<Item = u64>) -> Self {
        let numbers: Vec<u64> = numbers.into_iter().collect();
        let mut confusion = BTreeMap::new();
        for number in &numbers {
            *confusion.entry((people_say(*number), model_label(*number))).or_default() += 1;
        }
        Self { numbers, confusion }
    }

    fn sum(&self, is_meant: impl Fn(&str, &str) -> bool) -> u64 {
        self.confusion
            .iter()
            .filter(|((human, model), _)| is_meant(human, model))
            .map(|(_, tasks)| tasks)
            .sum()
    }

    fn agree(&self) -> u64 {
        self.sum(|human, model| human == model)
    }

    fn agreement(&self) -> f64 {
        self.agree() as f64 / self.numbers.len() as f64
    }

    /// Cohen's kappa.
    fn kappa(&self) -> f64 {
        let tasks = self.numbers.len() as f64;
        let labels: BTreeSet<&str> =
            self.confusion.keys().flat_map(|(human, model)| [&**human, &**model]).collect();
        let chance = labels.into_iter().map(|label| {
            let (human, model) = (self.sum(|human, _| human == label), self.sum(|_, model| model == label));
            human as f64 * model as f64 / (tasks * tasks)
        });
        let chance: f64 = chance.sum();
        (self.agreement() - chance) / (1.0 - chance)
    }

    /// Compares the rollout's `automation`: all of it was drawn, and blind.
    fn assert_equals(&self, ladder: &Value) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let float = |value: &Value| value.as_f64().unwrap();
        // Figures have four decimals.
        let rounded = |value: f64| (value * 1e4).round() / 1e4;
        assert_eq!(ladder["blind"]["tasks"], self.numbers.len());
        assert!((float(&ladder["blind"]["agreement"]["value"]) - self.agreement()).abs() < 1e-12, "{ladder}");
        assert_eq!(float(&ladder["kappa"]), rounded(self.kappa()));
        let cells = ladder["labels"].as_array().unwrap().iter();
        let cells =
            cells.map(|cell| ((text(&cell["human"]), text(&cell["model"])), cell["tasks"].as_u64().unwrap()));
        assert_eq!(cells.collect::<BTreeMap<_, _>>(), self.confusion);
        let by_label = ladder["by_label"].as_array().unwrap();
        for of in by_label {
            let label = text(&of["label"]);
            let tasks = self.sum(|_, model| model == label);
            let agreed = self.sum(|human, model| model == label && human == label);
            assert_eq!(of["tasks"], tasks, "{label}");
            assert!((float(&of["agreement"]["value"]) - agreed as f64 / tasks as f64).abs() < 1e-12, "{of}");
        }
        assert_eq!(
            by_label.iter().map(|of| of["tasks"].as_u64().unwrap()).sum::<u64>(),
            ladder["blind"]["tasks"]
        );
        // The part of tasks at or above each threshold, and of these those in which people disagree.
        let thresholds = ladder["target"]["thresholds"].as_array().unwrap();
        assert!(thresholds.len() >= 10, "{ladder}");
        for threshold in thresholds {
            let from = float(&threshold["confidence"]);
            let above: Vec<u64> =
                self.numbers.iter().copied().filter(|number| confidence(*number) >= from - 1e-9).collect();
            let disagree =
                above.iter().filter(|number| people_say(**number) != model_label(**number)).count();
            let coverage = above.len() as f64 / self.numbers.len() as f64;
            assert_eq!(float(&threshold["coverage"]), rounded(coverage), "{threshold}");
            assert_eq!(
                float(&threshold["disagreement"]),
                rounded(disagree as f64 / above.len() as f64),
                "{threshold}"
            );
        }
    }
}

fn map<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_degree_decides_who_gets_a_task_and_what_it_carries() {
    let (queue, ai) = blue_and_green().await;
    ai.set(model());
    for (degree, asked, carries) in [
        ("human", 0, (false, false)),
        ("shadow", 4, (false, true)),
        ("assist", 4, (true, true)),
        ("partial, partial: {threshold: 0.5}, step_down: false, audit: 0", 4, (true, true)),
        ("full, partial: {threshold: 0.5}, step_down: false, audit: 0", 4, (false, false)),
    ] {
        queue.reset_count();
        ai.reset_count();
        queue.take_seen();
        let config = people(&format!("degree: {degree}, blind: 0, {DECISIONS}"), "");
        let envoy = between(&queue, &ai, config).with_people().start().await;
        let mut answers = Vec::new();
        for number in [1, 49, 50, 99] {
            let answer = send(&envoy, task(number)).await;
            assert_eq!(answer.status, 200, "{degree}");
            answers.push((answer.upstream().to_owned(), answer.text()));
        }
        let by_model: Vec<bool> = answers.iter().map(|(upstream, _)| upstream == "green").collect();
        let expected = match degree.split(',').next() {
            Some("partial") => [false, false, true, true],
            Some("full") => [true; 4],
            _ => [false; 4],
        };
        assert_eq!(by_model, expected, "{degree}");
        if by_model[3] {
            assert_eq!(answers[3].1, json!({"label": model_label(99), "confidence": 0.99}).to_string());
        }
        assert_eq!(ai.count(), asked, "{degree}");
        let seen = queue.take_seen();
        let people = by_model.iter().filter(|model| !**model).count();
        assert_eq!(seen.len(), people, "{degree}");
        for seen in &seen {
            let has = |name: &str| seen.headers.contains_key(name);
            assert_eq!((has(SUGGESTION), has(RECEIPT)), carries, "{degree}");
            if carries.0 {
                let (label, sure) = (model_label(number_of(&seen.body)), confidence(number_of(&seen.body)));
                assert_eq!(seen.headers[SUGGESTION], format!("{label}; confidence={sure}"));
            }
        }
        let counted = tasks(&envoy).await;
        assert_eq!(counted.values().sum::<u64>(), 4, "{degree}: {counted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tasks_own_headers_do_not_pass_from_a_client() {
    let (queue, ai) = blue_and_green().await;
    ai.set(model());
    for degree in ["human", "shadow"] {
        let config = people(&format!("degree: {degree}, {DECISIONS}"), "");
        let envoy = between(&queue, &ai, config).with_people().start().await;
        let forged: [(&str, &[u8]); 2] = [(SUGGESTION, b"mine"), (RECEIPT, b"mine")];
        queue.take_seen();
        send(&envoy, request("POST", "/tasks", &forged, json!({"n": 7}).to_string())).await;
        let [seen] = queue.take_seen().try_into().expect("one task");
        assert!(!seen.headers.contains_key(SUGGESTION));
        assert!(seen.headers.get(RECEIPT).is_none_or(|receipt| receipt != "mine"));
    }
}

/// Sends tasks, and returns what people got: the number, the receipt, and whether a suggestion could be read.
async fn hand_out(
    envoy: &Envoy,
    queue: &Upstream,
    numbers: std::ops::Range<u64>,
) -> Vec<(u64, String, bool)> {
    /// A queue remembers 1,000.
    const PORTION: usize = 500;
    let mut handed = Vec::new();
    for first in numbers.clone().step_by(PORTION) {
        queue.take_seen();
        let count = (numbers.end - first).min(PORTION as u64);
        let tally = Load::to(envoy.address()).each(move |number| task(first + number)).send(count).await;
        tally.assert_all_ok();
        handed.extend(queue.take_seen().into_iter().filter_map(|seen| {
            let receipt = seen.headers.get(RECEIPT)?.to_str().ok()?.to_owned();
            Some((number_of(&seen.body), receipt, seen.headers.contains_key(SUGGESTION)))
        }));
    }
    handed
}

#[tokio::test(flavor = "multi_thread")]
async fn agreement_is_what_the_same_decisions_give_offline_over_workers_and_a_restart() {
    const TASKS: u64 = 2_000;
    let (queue, ai) = blue_and_green().await;
    ai.set(model());
    let setup = || {
        let config = people(
            &format!(
                "degree: shadow, ask: {{timeout: 20s, max_in_flight: 1024}}, partial: {{max_disagreement: 0.2}}, {DECISIONS}"
            ),
            "",
        );
        between(&queue, &ai, config).with_people().workers(3).control()
    };
    let before = setup().start().await;
    let handed = hand_out(&before, &queue, 0..TASKS).await;
    assert_eq!(handed.len() as u64, TASKS);
    drop(before);
    let envoy = setup().start().await;
    let offline = Offline::of(handed.iter().map(|(number, _, _)| *number));
    let sent = handed.clone();
    let tally = Load::to(envoy.address())
        .each(move |at| {
            let (number, receipt, _) = &sent[at as usize % sent.len()];
            decision(receipt, &people_say(*number))
        })
        .send(TASKS)
        .await;
    tally.assert_all_ok();
    let counted = decided(&envoy, TASKS).await;
    assert_eq!(counted, map([("agree", offline.agree()), ("disagree", TASKS - offline.agree())]));
    offline.assert_equals(&ladder(&envoy, TASKS).await);
    let cells = counts(&envoy, "changeover_decisions_by_label_total", &["human", "model"]).await;
    let expected = offline.confusion.into_iter().map(|((human, model), n)| (format!("{human} {model}"), n));
    assert_eq!(cells, expected.collect());
    // Each has a time from task to decision.
    wait_for("the times of all decisions", async || {
        let seconds = envoy.metrics().await.sum("changeover_decision_seconds_count", &[]);
        assert!(seconds <= TASKS as f64, "{seconds}");
        (seconds == TASKS as f64).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_counts_once_for_its_own_rollout_and_attempt() {
    let (queue, ai) = blue_and_green().await;
    ai.set(model());
    let config = people(&format!("degree: shadow, {DECISIONS}"), "");
    let envoy = between(&queue, &ai, config).with_people().control().start().await;
    known(&envoy).await;
    let handed = hand_out(&envoy, &queue, 1..5).await;
    let receipt = handed[0].1.clone();
    let label = model_label(handed[0].0);
    let mut all = 0;
    // Changed in any one byte, to another of its alphabet, or to none of it.
    let changed = {
        let receipt = receipt.clone().into_bytes();
        move |at: u64| {
            let (at, is_known) = (at as usize / 2, at.is_multiple_of(2));
            let mut changed = receipt.clone();
            changed[at] = match changed[at] {
                _ if !is_known => b'*',
                b'A' => b'B',
                _ => b'A',
            };
            decision(&String::from_utf8(changed).unwrap(), &model_label(1))
        }
    };
    let changes = 2 * receipt.len() as u64;
    Load::to(envoy.address()).each(changed).send(changes).await.assert_all_ok();
    assert_eq!(decided(&envoy, changes).await, map([("forged", changes)]));
    all += changes;
    let mut expect = async |request, result: &str| {
        let before = decisions(&envoy).await.get(result).copied().unwrap_or(0);
        assert_eq!(send(&envoy, request).await.status, 200);
        all += 1;
        let counted = decided(&envoy, all).await;
        assert_eq!(counted.get(result).copied(), Some(before + 1), "{result}: {counted:?}");
    };
    // The key is Envoy's own, and the receipt opens with it: its configuration shows the key's name only.
    let keys = Keys::new(RECEIPT_KEY, None).expect("a key");
    let opened = Receipt::open(&keys, "digits", receipt.as_bytes()).expect("the filter's receipt").receipt;
    let dump = envoy.admin("/config_dump").await;
    assert!(dump.contains(RECEIPT_KEY_NAME) && !dump.contains(RECEIPT_KEY), "{dump}");
    expect(decision("", &label), "forged").await;
    let no_label = json!({"task": {"receipt": receipt}});
    expect(request("POST", "/v1/decisions", &[], no_label.to_string()), "unreadable").await;
    expect(request("POST", "/v1/decisions", &[], "no JSON"), "unreadable").await;
    expect(request("POST", "/v1/decisions", &[], ""), "unreadable").await;
    expect(request("POST", "/v1/decisions", &[], vec![b' '; 2 << 20]), "unreadable").await;
    expect(decision(&receipt, &label), "agree").await;
    expect(decision(&receipt, &label), "repeated").await;
    expect(decision(&receipt, "another"), "repeated").await;
    expect(decision(&handed[1].1, "another"), "disagree").await;
    // The same, handed out a receipt's time ago, and a little more.
    const TTL: u64 = 30 * 24 * 3_600 * 1_000;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let old = |milliseconds: u64, nonce: u8| {
        let time = u64::try_from(now.as_millis()).expect("this age") - milliseconds;
        Receipt { time, ..opened.clone() }.seal(&keys, "digits", &[nonce; NONCE]).expect("a receipt")
    };
    expect(decision(&old(TTL - 600_000, 1), &label), "agree").await;
    expect(decision(&old(TTL + 1_000, 2), &label), "late").await;
    // Another attempt: what was handed out before is late.
    let follows = async |command: &str, has_receipts: bool| {
        let (status, rollout) =
            call(&envoy, "POST", &format!("/v1/rollouts/digits/{command}"), &[JSON], "").await;
        assert!(matches!(status, 200 | 202), "{command}: {rollout}");
        wait_for("the worker to follow", async || {
            (hand_out(&envoy, &queue, 1..2).await.len() == usize::from(has_receipts)).then_some(())
        })
        .await;
    };
    follows("abort", false).await;
    follows("retry", true).await;
    expect(decision(&handed[2].1, &label), "late").await;
    // Decisions pass as they are, whatever they count as.
    let [seen] = queue.take_seen().try_into().expect("the last decision");
    assert_eq!((seen.target.as_str(), seen.method.as_str()), ("/v1/decisions", "POST"));
    assert_eq!(seen.body, json!({"task": {"receipt": handed[2].1}, "label": label}).to_string());
}

/// What docs/automation.md says of restarts and replicas, under Limits.
#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_starts_again_takes_receipts_of_attempt_1_only_and_begins_with_the_configured_degree() {
    let (queue, ai) = blue_and_green().await;
    ai.set(model());
    let setup = || {
        let config = people(&format!("degree: shadow, blind: 0, {DECISIONS}"), "");
        between(&queue, &ai, config).with_people().control()
    };
    let rollout = async |envoy: &Envoy| {
        let found = known(envoy).await;
        (found["attempt"].clone(), found["automation"]["degree"].clone(), found["phase"].clone())
    };
    let command = async |envoy: &Envoy, command: &str, body: &str| {
        let (status, rollout) =
            call(envoy, "POST", &format!("/v1/rollouts/digits/{command}"), &[JSON], body).await;
        assert!(matches!(status, 200 | 202), "{command}: {rollout}");
    };
    let envoy = setup().start().await;
    known(&envoy).await;
    let of_first = hand_out(&envoy, &queue, 1..4).await;
    command(&envoy, "abort", "").await;
    command(&envoy, "retry", "").await;
    command(&envoy, "degree", r#"{"degree": "assist"}"#).await;
    assert_eq!(rollout(&envoy).await, (json!(2), json!("assist"), json!("steady")));
    let of_second = wait_for("the workers to follow", async || {
        let handed = hand_out(&envoy, &queue, 1..4).await;
        handed.iter().all(|(_, _, suggested)| *suggested).then_some(handed)
    })
    .await;
    let say = async |envoy: &Envoy, (number, receipt, _): &(u64, String, bool)| {
        assert_eq!(send(envoy, decision(receipt, &model_label(*number))).await.status, 200);
    };
    say(&envoy, &of_second[0]).await;
    assert_eq!(decided(&envoy, 1).await, map([("agree", 1)]));
    command(&envoy, "abort", "").await;
    assert_eq!(rollout(&envoy).await, (json!(2), json!("human"), json!("aborted")));
    drop(envoy);
    // It knows the configuration, and nothing of what happened.
    let again = setup().start().await;
    assert_eq!(rollout(&again).await, (json!(1), json!("shadow"), json!("steady")));
    say(&again, &of_second[1]).await;
    assert_eq!(decided(&again, 1).await, map([("late", 1)]));
    say(&again, &of_first[1]).await;
    say(&again, &of_first[1]).await;
    let counted = map([("late", 1), ("agree", 1), ("repeated", 1)]);
    assert_eq!(decided(&again, 3).await, counted);
    // Each Envoy has a ladder of its own, and counts what passes it.
    let other = setup().start().await;
    known(&other).await;
    say(&other, &of_first[1]).await;
    assert_eq!(decided(&other, 1).await, map([("agree", 1)]));
    command(&other, "degree", r#"{"degree": "human"}"#).await;
    assert_eq!((rollout(&other).await.1, rollout(&again).await.1), (json!("human"), json!("shadow")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_opens_while_keys_change_and_for_no_other_rollout() {
    let (queue, ai) = blue_and_green().await;
    ai.set(model());
    let config = |name: &str| {
        let of = Config::blue_green(
            name,
            &format!(
                "match: {{prefix: /tasks}}, automation: {{degree: shadow, answer: {{label: /label, confidence: /confidence}}, {DECISIONS}}}"
            ),
        );
        Config::Struct(format!("{{rollouts: [{of}]}}"))
    };
    const OTHER: &str = "/////////////////////////////////////////w8=";
    let envoy = between(&queue, &ai, config("digits")).with_people().start().await;
    let receipt = hand_out(&envoy, &queue, 1..2).await[0].1.clone();
    drop(envoy);
    for (name, current, old, expected) in [
        ("digits", OTHER, Some(RECEIPT_KEY), "agree"),
        ("digits", OTHER, None, "forged"),
        ("letters", RECEIPT_KEY, None, "forged"),
    ] {
        let setup = between(&queue, &ai, config(name)).with_people().receipt_keys(Some(current), old);
        let envoy = setup.start().await;
        send(&envoy, decision(&receipt, &model_label(1))).await;
        assert_eq!(decided(&envoy, 1).await, map([(expected, 1)]), "{name}");
    }
}

/// One review tool sends the decisions of both queues.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_counts_for_the_rollout_whose_receipt_it_brings() {
    let (queue, ai) = blue_and_green().await;
    ai.set(model());
    let rollout = |name: &str, path: &str| {
        let automation =
            format!("degree: shadow, answer: {{label: /label, confidence: /confidence}}, {DECISIONS}");
        Config::blue_green(name, &format!("match: {{prefix: {path}}}, automation: {{{automation}}}"))
    };
    let rollouts = [rollout("letters", "/letters"), rollout("digits", "/tasks")].join(", ");
    let config = Config::Struct(format!("{{rollouts: [{rollouts}]}}"));
    let envoy = between(&queue, &ai, config).with_people().start().await;
    let receipt = hand_out(&envoy, &queue, 1..2).await[0].1.clone();
    for receipt in [&receipt, "none"] {
        send(&envoy, decision(receipt, &model_label(1))).await;
    }
    send(&envoy, request("POST", "/v1/decisions", &[], json!({"label": "0"}).to_string())).await;
    decided(&envoy, 3).await;
    let counted = counts(&envoy, "changeover_decisions_total", &["rollout", "result"]).await;
    let expected = map([("digits agree", 1), ("letters forged", 1), ("letters unreadable", 1)]);
    assert_eq!(counted, expected);
}

/// Anybody may send events.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_still_coming_leave_room_for_decisions() {
    const EVENTS: usize = 70;
    let (queue, ai) = blue_and_green().await;
    ai.set(model());
    let automation =
        format!("degree: shadow, answer: {{label: /label, confidence: /confidence}}, {DECISIONS}");
    let tasks =
        Config::blue_green("digits", &format!("match: {{prefix: /tasks}}, automation: {{{automation}}}"));
    let search = "match: {prefix: /search}, session_affinity: {header: x-user-id}, \
                  feedback: [{name: click, match: {path: /v1/events, body: {/action_name: click}}, join: user}]";
    let search = Config::blue_green("search", search);
    let config = Config::Struct(format!("{{rollouts: [{tasks}, {search}]}}"));
    let envoy = between(&queue, &ai, config).with_people().start().await;
    let receipt = hand_out(&envoy, &queue, 1..2).await[0].1.clone();
    let began = format!(
        "POST /v1/events HTTP/1.1\r\nhost: models.example.com\r\nx-user-id: 7\r\ncontent-length: 262144\r\n\r\n{{\"action_name\": \"{}",
        "x".repeat(255 << 10)
    );
    let mut events = Vec::new();
    for _ in 0..EVENTS {
        events.push(open_raw(&envoy, &began).await);
    }
    let bytes = (EVENTS * began.len()) as u64;
    wait_for("the events to come", async || {
        (envoy.stat("http.ingress.downstream_cx_rx_bytes_total").await > bytes).then_some(())
    })
    .await;
    send(&envoy, decision(&receipt, &model_label(1))).await;
    assert_eq!(decided(&envoy, 1).await, map([("agree", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_a_configuration_that_needs_one_is_refused_with_the_remedy() {
    let (queue, ai) = blue_and_green().await;
    let config = || people(&format!("degree: shadow, {DECISIONS}"), "");
    for (key, expected) in
        [(None, "no key for receipts"), (Some("c2hvcnQ="), "has 5 bytes; expected 32 in base64")]
    {
        let log = between(&queue, &ai, config()).with_people().receipt_keys(key, None).start_refused().await;
        assert!(log.contains(expected), "{log}");
        assert!(!log.contains("c2hvcnQ="), "the key is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_every_task_that_the_model_does_not_answer_once() {
    let (queue, ai) = blue_and_green().await;
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let rows: [(&str, Option<Behaviour>); 7] = [
        ("no_answer", None),
        ("no_answer", Some(Behaviour::Status(500))),
        ("late", Some(Behaviour::gate())),
        ("late", Some(Behaviour::Stall)),
        ("unreadable", Some(Behaviour::Body("garbage".into(), vec![]))),
        ("unreadable", Some(Behaviour::Body(r#"{"label": null, "confidence": 1}"#.into(), vec![]))),
        ("too_large", Some(Behaviour::Body(vec![b' '; 10 << 20].into(), vec![]))),
    ];
    for (reason, behaviour) in rows {
        let is_dead = behaviour.is_none();
        ai.set(behaviour.unwrap_or(Behaviour::Status(200)));
        queue.reset_count();
        // A busy machine is late as well, and its Envoy's timers are not exact.
        let timeout = if reason == "late" { "2s" } else { "10s" };
        let config = people(&format!("degree: assist, ask: {{timeout: {timeout}}}, {DECISIONS}"), "");
        let green = if is_dead { nowhere } else { ai.address() };
        let setup = Setup::shipped(config).clusters(&[("blue", queue.address()), ("green", green)]);
        let envoy = setup.with_people().start().await;
        let tally = Load::to(envoy.address()).connections(4).each(task).send(20).await;
        tally.assert_all_ok();
        assert_eq!((tally.from("blue"), queue.count()), (20, 20), "{reason}");
        assert_eq!(tasks(&envoy).await, map([(&format!("human {reason}"), 20)]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_cannot_be_held_go_to_people_unchanged() {
    let (queue, ai) = blue_and_green().await;
    ai.set(model());
    let config = people(&format!("degree: shadow, ask: {{max_body: 64KiB}}, {DECISIONS}"), "");
    let envoy = between(&queue, &ai, config).with_people().start().await;
    queue.set(Behaviour::Echo);
    let mut expected = BTreeMap::new();
    for (size, reason) in [(64 * 1_024 + 1, "too_large"), (700_000, "too_large"), (5 << 20, "too_large")] {
        let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let answer = send(&envoy, request("POST", "/tasks", &[], body.clone())).await;
        assert_eq!((answer.status.as_u16(), answer.body == body), (200, true), "{size} bytes");
        *expected.entry(format!("human {reason}")).or_default() += 1;
        // The same without a length: it grows past what is held.
        let mut bytes =
            b"POST /tasks HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
                .to_vec();
        for piece in body.chunks(16_000) {
            bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
            bytes.extend(piece);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        let answer = raw_exchange(envoy.address(), &bytes).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{size} bytes");
        *expected.entry(format!("human {reason}")).or_default() += 1;
    }
    assert_eq!(tasks(&envoy).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_who_answer_in_the_same_request_decide_by_it_as_the_same_decisions_do_offline() {
    const TASKS: u64 = 2_000;
    let (queue, ai) = blue_and_green().await;
    ai.set(model());
    // The second person is wrong in every 7th task as well. It is the filter that sends them theirs, and they have an hour.
    let second_says =
        |number: u64| if number.is_multiple_of(7) { right_label(number + 1) } else { people_say(number) };
    queue.set(Make::by(move |_, seen| {
        let number = number_of(&seen.body);
        let has_an_hour =
            seen.headers.get("x-envoy-expected-rq-timeout-ms").is_some_and(|time| time == "3600000");
        Made::json(
            json!({"label": if has_an_hour { second_says(number) } else { people_say(number) }}).to_string(),
        )
    }));
    let config = people(
        "degree: shadow, ask: {timeout: 20s, max_in_flight: 1024}, partial: {max_disagreement: 0.2}, double: 100",
        "",
    );
    let envoy = between(&queue, &ai, config)
        .with_people()
        .receipt_keys(None, None)
        .workers(3)
        .control()
        .start()
        .await;
    let tally = Load::to(envoy.address()).each(task).send(TASKS).await;
    tally.assert_all_ok();
    assert_eq!(tally.from("blue"), TASKS);
    let offline = Offline::of(0..TASKS);
    let expected =
        map([("agree", offline.agree()), ("disagree", TASKS - offline.agree()), ("second", TASKS)]);
    assert_eq!(decided(&envoy, 2 * TASKS).await, expected);
    assert_eq!(queue.count(), 2 * TASKS, "two people decide each task");
    let ladder = ladder(&envoy, TASKS).await;
    offline.assert_equals(&ladder);
    let same = (0..TASKS).filter(|number| people_say(*number) == second_says(*number)).count() as f64;
    assert_eq!(ladder["people"]["tasks"], TASKS);
    let agreement = ladder["people"]["agreement"]["value"].as_f64().unwrap();
    assert!((agreement - same / TASKS as f64).abs() < 1e-12, "{agreement}");
}

/// The queue that takes copies may be down, or full.
#[tokio::test(flavor = "multi_thread")]
async fn copies_that_the_peoples_queue_refuses_are_counted_as_dropped() {
    const TASKS: u64 = 50;
    let (queue, ai) = blue_and_green().await;
    ai.set(model());
    queue.set(Behaviour::Status(500));
    let config = people(
        &format!("degree: partial, audit: 100, partial: {{threshold: 0}}, step_down: false, {DECISIONS}"),
        "",
    );
    let envoy = between(&queue, &ai, config).with_people().start().await;
    let tally = Load::to(envoy.address()).connections(4).each(task).send(TASKS).await;
    tally.assert_all_ok();
    assert_eq!(tally.from("green"), TASKS, "callers have the model's answers");
    let dropped = async || counts(&envoy, "changeover_dropped_total", &["what"]).await;
    wait_for("the refusals", async || (dropped().await == map([("tasks_for_people", TASKS)])).then_some(()))
        .await;
    assert_eq!(queue.count(), TASKS, "each was sent once");
    assert_eq!(tasks(&envoy).await, map([("audit drawn", TASKS)]));
}

/// Audited tasks and doubles are handed to people by the filter itself, with receipts of their own, and decided by later requests.
#[tokio::test(flavor = "multi_thread")]
async fn audited_tasks_and_doubles_that_are_decided_later_count_as_the_same_decisions_do_offline() {
    const TASKS: u64 = 300;
    let (queue, ai) = blue_and_green().await;
    ai.set(model());
    let config = people(
        &format!(
            "degree: partial, ask: {{timeout: 20s, max_in_flight: 1024}}, audit: 100, double: 100, blind: 0, \
             partial: {{threshold: 0.5}}, step_down: false, {DECISIONS}"
        ),
        "",
    );
    let envoy = between(&queue, &ai, config).with_people().workers(3).control().start().await;
    let tally = Load::to(envoy.address()).each(task).send(TASKS).await;
    tally.assert_all_ok();
    let alone = (0..TASKS).filter(|number| confidence(*number) >= 0.5).count() as u64;
    assert_eq!((tally.from("green"), tally.from("blue")), (alone, TASKS - alone));
    wait_for("all tasks twice", async || (queue.count() == 2 * TASKS).then_some(())).await;
    let keys = Keys::new(RECEIPT_KEY, None).expect("a key");
    let handed: Vec<(u64, String, Receipt)> = queue
        .wait_for_seen(2 * TASKS as usize)
        .await
        .into_iter()
        .map(|seen| {
            assert!(!seen.headers.contains_key(SUGGESTION), "blind");
            let text = seen.headers[RECEIPT].to_str().expect("text").to_owned();
            let opened = Receipt::open(&keys, "digits", text.as_bytes()).expect("the filter's receipt");
            (number_of(&seen.body), text, opened.receipt)
        })
        .collect();
    // The second person is wrong in every 7th task.
    let says =
        |number: u64, second: bool| right_label(number + u64::from(second && number.is_multiple_of(7)));
    let (mut agree, mut audited, mut audited_agree, mut seconds) = (0, 0, 0, 0);
    for (number, _, receipt) in &handed {
        assert_eq!((&receipt.label, receipt.kind.double), (&model_label(*number), true));
        assert_eq!(receipt.kind.answered, confidence(*number) >= 0.5, "task {number}");
        if receipt.kind.second {
            seconds += 1;
            continue;
        }
        let agrees = u64::from(says(*number, false) == receipt.label);
        agree += agrees;
        if receipt.kind.answered {
            audited += 1;
            audited_agree += agrees;
        }
    }
    assert_eq!((seconds, audited), (TASKS, alone), "each task once for each of both");
    let sent = handed.clone();
    let decide = move |at: u64| {
        let (number, receipt, opened) = &sent[at as usize % sent.len()];
        decision(receipt, &says(*number, opened.kind.second))
    };
    Load::to(envoy.address()).each(decide.clone()).send(2 * TASKS).await.assert_all_ok();
    let expected = map([("agree", agree), ("disagree", TASKS - agree), ("second", TASKS)]);
    assert_eq!(decided(&envoy, 2 * TASKS).await, expected);
    let found = ladder(&envoy, TASKS).await;
    let both = (0..TASKS).filter(|number| says(*number, false) == says(*number, true)).count() as u64;
    for (what, tasks, agreed) in
        [("blind", TASKS, agree), ("audited", audited, audited_agree), ("people", TASKS, both)]
    {
        assert_eq!(found[what]["tasks"], tasks, "{what}");
        let agreement = found[what]["agreement"]["value"].as_f64().unwrap();
        assert!((agreement - agreed as f64 / tasks as f64).abs() < 1e-12, "{what}: {agreement}");
    }
    // All come again, and count nothing.
    Load::to(envoy.address()).each(decide).send(2 * TASKS).await.assert_all_ok();
    let mut expected = expected;
    expected.insert("repeated".to_owned(), 2 * TASKS);
    assert_eq!(decided(&envoy, 4 * TASKS).await, expected);
    assert_eq!(ladder(&envoy, TASKS).await, found);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_answers_alone_once_that_is_proven_and_is_stepped_down_when_it_decays() {
    let (queue, ai) = blue_and_green().await;
    // Right wherever it is sure, wrong in half of the rest.
    let decayed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_bad = std::sync::Arc::clone(&decayed);
    ai.set(Make::by(move |_, seen| {
        let number = number_of(&seen.body);
        let wrong = is_bad.load(std::sync::atomic::Ordering::SeqCst)
            || (confidence(number) < 0.5 && number.is_multiple_of(2));
        let label = right_label(if wrong { number + 1 } else { number });
        Made::json(json!({"label": label, "confidence": confidence(number)}).to_string())
    }));
    queue.set(Make::by(|_, seen| {
        Made::json(json!({"label": right_label(number_of(&seen.body))}).to_string())
    }));
    let config = people(
        "degree: shadow, ask: {timeout: 20s, max_in_flight: 1024}, audit: 50, \
         partial: {max_disagreement: 0.05, min_coverage: 0.2}",
        "steps: [{pause: {min_decisions: 100, min_coverage: 0.3}}, {set_degree: partial}, {pause: {}}, {set_degree: full}]",
    );
    let envoy = between(&queue, &ai, config)
        .with_people()
        .receipt_keys(None, None)
        .workers(2)
        .control()
        .start()
        .await;
    let send = async |count: u64| {
        Load::to(envoy.address()).each(|number| task(number * 37 % 100)).send(count).await.assert_all_ok();
    };
    let state = async || get(&envoy, "/v1/rollouts/digits").await.1;
    wait_for("a proven threshold", async || {
        send(100).await;
        (state().await["automation"]["degree"] == "partial").then_some(())
    })
    .await;
    let ladder = state().await["automation"].take();
    let threshold = ladder["threshold"].as_f64().expect("a threshold in force");
    // Below 0.5 half is wrong: with a twentieth allowed, the proof cannot reach far below it.
    assert!((0.44..=0.8).contains(&threshold), "{ladder}");
    let answered = wait_for("the model to answer alone", async || {
        queue.reset_count();
        send(100).await;
        let tasks = tasks(&envoy).await;
        tasks.get("model confident").copied().filter(|count| *count > 10)
    })
    .await;
    assert!(answered > 10 && tasks(&envoy).await["audit drawn"] > 0);
    decayed.store(true, std::sync::atomic::Ordering::SeqCst);
    wait_for("the audit", async || {
        send(100).await;
        let rollout = state().await;
        (rollout["automation"]["degree"] == "assist" && rollout["phase"] == "paused").then_some(())
    })
    .await;
    let event = wait_for_event(&envoy, "rollback").await;
    let message = event["message"].as_str().unwrap();
    assert!(
        message.starts_with("automation is rolled back from partial to assist: people disagree with"),
        "{message}"
    );
    assert_eq!(event["rule"], "automation.disagreement");
    // Nothing is answered alone any more.
    let before = tasks(&envoy).await.get("model confident").copied();
    send(50).await;
    assert_eq!(tasks(&envoy).await.get("model confident").copied(), before);
    // A person sets the degree: another attempt, of which nothing is proven yet. The first step waits for that once more.
    let (status, rollout) =
        call(&envoy, "POST", "/v1/rollouts/digits/degree", &[JSON], r#"{"degree": "shadow"}"#).await;
    assert_eq!((status, &rollout["attempt"], &rollout["phase"]), (200, &json!(2), &json!("progressing")));
    assert_eq!(rollout["step"]["index"], 0, "{rollout}");
    let (status, rollout) = call(&envoy, "POST", "/v1/rollouts/digits/abort", &[JSON], "").await;
    assert_eq!((status, &rollout["phase"]), (200, &json!("aborted")));
    ai.reset_count();
    send(20).await;
    assert_eq!(ai.count(), 0, "after an abort the model is not asked");
}
