//! What happens to tasks that are held: each is answered once, by people or by the model, whatever happens meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::harness::control::{get, known, obeyed};
use crate::harness::tasks::*;
use crate::harness::*;

/// Tasks that wait at the same time: as many as clients.
const CLIENTS: u64 = 16;

/// What an upstream was sent, by the task's number: how often.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<BTreeMap<u64, u64>>>);

impl Sent {
    /// A behaviour that counts tasks, and answers with this label, and a confidence.
    fn counted(&self, label: fn(u64) -> String) -> Behaviour {
        let sent = self.clone();
        Make::by(move |_, seen| {
            let number = number_of(&seen.body);
            *sent.0.lock().expect("no panic").entry(number).or_default() += 1;
            Made::json(json!({"label": label(number), "confidence": confidence(number)}).to_string())
        })
    }

    fn all(&self) -> BTreeMap<u64, u64> {
        self.0.lock().expect("no panic").clone()
    }

    fn total(&self) -> u64 {
        self.all().values().sum()
    }
}

/// People and a model, who count the tasks that they answer.
struct Both {
    queue: Upstream,
    ai: Upstream,
    people: Sent,
    model: Sent,
}

impl Both {
    async fn start() -> Self {
        let (queue, ai) = blue_and_green().await;
        let (people, model) = (Sent::default(), Sent::default());
        queue.set(people.counted(right_label));
        ai.set(model.counted(model_label));
        Self { queue, ai, people, model }
    }

    /// What the model does.
    fn model(&self) -> Behaviour {
        self.model.counted(model_label)
    }

    /// From now on no task is answered by the model. Waits until each client waits for one.
    async fn hold(&self) {
        let answered = self.model.clone();
        self.ai.set(self.model().gated());
        wait_for("each client's task to be held", async || {
            (self.ai.count() - answered.total() == CLIENTS).then_some(())
        })
        .await;
    }
}

/// Every task was answered once: by people, who got it once, or by the model, and then people did not get it. Envoy has counted
/// the same.
async fn assert_each_once(envoy: &Envoy, tally: &Tally, people: &Sent) {
    tally.assert_all_ok();
    let got = people.all();
    for (number, upstream) in &tally.answers {
        let expected = match upstream.as_str() {
            "blue" => Some(&1),
            "green" => None,
            other => panic!("task {number} was answered by {other}"),
        };
        assert_eq!(got.get(number), expected, "task {number}, answered by {upstream}");
    }
    assert_eq!(got.len() as u64, tally.from("blue"), "people got what no client had sent");
    let counted = tasks(envoy).await;
    let of =
        |route: &str| counted.iter().filter(|(what, _)| what.starts_with(route)).map(|(_, n)| n).sum::<u64>();
    assert_eq!((of("human"), of("model")), (tally.from("blue"), tally.from("green")), "{counted:?}");
}

/// A rollout in which the model answers half of the tasks alone.
fn half(degree: &str, fields: &str) -> Config {
    let automation = format!(
        "degree: {degree}, ask: {{timeout: 60s, max_in_flight: 1024}}, partial: {{threshold: 0.5}}, step_down: false, audit: 0, \
         {DECISIONS}"
    );
    people(&automation, fields)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_dies_under_load_loses_no_task_and_doubles_none() {
    for holds in [true, false] {
        let both = Both::start().await;
        if !holds {
            both.ai.set(both.model().after(Duration::from_millis(20)));
        }
        let setup = between(&both.queue, &both.ai, half("partial", "")).with_people().workers(2);
        let envoy = setup.start().await;
        let load = Load::to(envoy.address()).connections(CLIENTS as usize).each(task).start();
        wait_for("the model's answers", async || (both.model.total() > 200).then_some(())).await;
        if holds {
            both.hold().await;
        }
        let Both { queue: _queue, ai, people, .. } = both;
        drop(ai);
        let sent = load.sent();
        wait_for("tasks without a model", async || (load.sent() > sent + 300).then_some(())).await;
        let tally = load.stop().await;
        assert_each_once(&envoy, &tally, &people).await;
        let unanswered = tasks(&envoy).await["human no_answer"];
        assert!(unanswered >= 250, "{unanswered} of those after its death, and before it {CLIENTS}");
        assert!(tally.from("green") > 50, "the model has answered as well");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_while_tasks_are_held_lose_no_task_and_double_none() {
    let both = Both::start().await;
    let stage = |number: u32| half("partial", &format!("labels: {{stage: s{number}}}"));
    let envoy = between_ecds(&both.queue, &both.ai, stage(0)).with_people().workers(2).start().await;
    let mut hash = envoy.wait_for_hash_other_than(None).await;
    let load = Load::to(envoy.address()).connections(CLIENTS as usize).each(task).start();
    wait_for("the model's answers", async || (both.model.total() > 200).then_some(())).await;
    both.hold().await;
    let plain = || Config::rollout("match: {prefix: /tasks}");
    for config in [stage(1), half("human", ""), plain(), half("assist", "")] {
        envoy.push(&config).await;
        hash = envoy.wait_for_hash_other_than(Some(hash)).await;
    }
    assert_eq!(both.ai.count() - both.model.total(), CLIENTS, "they are held as long as the model is silent");
    both.ai.open_gate();
    // Now the model takes a moment: at each push there are tasks that are held.
    both.ai.set(both.model().after(Duration::from_millis(15)));
    for number in 2..12 {
        let before = both.model.total();
        let degree = ["partial", "shadow", "full", "assist"][number as usize % 4];
        envoy.push(&half(degree, &format!("labels: {{stage: s{number}}}"))).await;
        hash = envoy.wait_for_hash_other_than(Some(hash)).await;
        wait_for("the model's answers", async || (both.model.total() > before + 50).then_some(())).await;
    }
    let tally = load.stop().await;
    assert_each_once(&envoy, &tally, &both.people).await;
    assert!(tally.from("green") > 100 && tally.from("blue") > 100, "{:?}", tally.by_upstream);
}

/// The model answers in the end, and is not obeyed any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_abort_reaches_tasks_that_were_held_before_a_push() {
    let both = Both::start().await;
    let stage = |number: u32| half("partial", &format!("labels: {{stage: s{number}}}"));
    let setup = between_ecds(&both.queue, &both.ai, stage(0)).with_people().control().workers(2);
    let envoy = setup.start().await;
    known(&envoy).await;
    let load = Load::to(envoy.address()).connections(CLIENTS as usize).each(task).start();
    wait_for("the model's answers", async || (both.model.total() > 200).then_some(())).await;
    both.hold().await;
    let before = both.model.all();
    let hash = envoy.config_hashes().await.first().copied();
    envoy.push(&stage(1)).await;
    envoy.wait_for_hash_other_than(hash).await;
    obeyed(&envoy, "/v1/rollouts/digits/abort").await;
    both.ai.open_gate();
    let sent = load.sent();
    wait_for("tasks after the abort", async || (load.sent() > sent + 100).then_some(())).await;
    let tally = load.stop().await;
    assert_each_once(&envoy, &tally, &both.people).await;
    assert!(both.model.total() >= before.values().sum::<u64>() + CLIENTS, "the model has answered them");
    let alone = tally.answers.iter().filter(|(_, upstream)| *upstream == "green");
    for (number, _) in alone {
        assert!(before.contains_key(number), "task {number}");
    }
}

/// Where the model answers everything its errors go to callers.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_dies_at_full_hands_its_tasks_back_to_people() {
    let both = Both::start().await;
    let automation = format!(
        "degree: full, partial: {{max_disagreement: 0.5}}, audit: 1, ask: {{timeout: 20s}}, {DECISIONS}"
    );
    let setup = between(&both.queue, &both.ai, people(&automation, "")).with_people().control().workers(2);
    let envoy = setup.start().await;
    known(&envoy).await;
    Load::to(envoy.address()).each(task).send(100).await.assert_all_ok();
    let Both { queue: _queue, ai, .. } = both;
    drop(ai);
    let load = Load::to(envoy.address()).connections(4).each(task).start();
    let event = wait_for_event(&envoy, "rollback").await;
    assert_eq!(event["rule"], "circuit_breaker", "{event}");
    wait_for("people to get tasks", async || {
        let tasks = tasks(&envoy).await;
        (tasks.get("human no_answer").is_some_and(|tasks| *tasks > 100)).then_some(())
    })
    .await;
    load.stop().await;
    Load::to(envoy.address()).connections(4).each(task).send(100).await.assert_all_ok();
    let (_, rollout) = get(&envoy, "/v1/rollouts/digits").await;
    assert_eq!((&rollout["automation"]["degree"], &rollout["phase"]), (&json!("partial"), &json!("paused")));
}

/// Clients decide how long an upload takes.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_are_still_coming_take_no_other_task_its_place() {
    const UPLOADS: usize = 8;
    let both = Both::start().await;
    let automation = format!(
        "degree: partial, ask: {{timeout: 20s, max_in_flight: 4}}, partial: {{threshold: 0}}, step_down: false, audit: 0, {DECISIONS}"
    );
    let envoy = between(&both.queue, &both.ai, people(&automation, "")).with_people().start().await;
    let head = "POST /tasks HTTP/1.1\r\nhost: models.example.com\r\ncontent-length: 100\r\n\r\n{";
    let mut uploads = Vec::new();
    for _ in 0..UPLOADS {
        uploads.push(open_raw(&envoy, head).await);
    }
    wait_for("the uploads to begin", async || {
        (envoy.stat("http.ingress.downstream_rq_active").await == UPLOADS as u64).then_some(())
    })
    .await;
    let tally = Load::to(envoy.address()).connections(4).each(task).send(40).await;
    assert_eq!(tally.from("green"), 40, "{:?}", tasks(&envoy).await);
    // More than the model is asked about at once.
    both.ai.set(both.model().gated());
    let load = Load::to(envoy.address()).connections(6).each(task).start();
    wait_for("tasks to wait for the model", async || {
        (both.ai.count() - both.model.total() == 4).then_some(())
    })
    .await;
    wait_for("tasks without a place", async || tasks(&envoy).await.get("human busy").copied()).await;
    assert_eq!(both.ai.count() - both.model.total(), 4);
    both.ai.open_gate();
    load.stop().await.assert_all_ok();
}

/// A held task goes to neither people nor the caller once its caller has left; and it is counted.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_whose_callers_leave_while_they_are_held_are_counted_as_left() {
    let both = Both::start().await;
    both.ai.set(both.model().gated());
    let envoy = between(&both.queue, &both.ai, half("partial", "")).with_people().start().await;
    for callers in 1..=3 {
        let mut connection = Connection::open(envoy.address()).await.expect("a connection");
        let caller = tokio::spawn(async move { connection.send(task(callers)).await.map(|_| ()) });
        wait_for("the task to be held", async || (both.ai.count() == callers).then_some(())).await;
        caller.abort();
        wait_for("the task to be counted", async || {
            (tasks(&envoy).await == [("none left".to_owned(), callers)].into()).then_some(())
        })
        .await;
    }
    both.ai.open_gate();
    both.ai.set(both.model());
    let tally = Load::to(envoy.address()).each(task).send(20).await;
    tally.assert_all_ok();
    assert_eq!(both.people.total(), tally.from("blue"), "people got a task whose caller had left");
}
