//! What people and models cost: tasks about which the model is asked, receipts that are handed out, and those that come back.
//!
//! Envoys with one rollout each stand beside each other and get their requests in turn ([`turns`](super::turns)).

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use changeover::automation::receipt as task;
use changeover::config;
use changeover::receipt::answer;
use changeover::receipt::seal::{Keys, NONCE};
use changeover::routing::plan::Plan;
use fastrand::Rng;
use serde_json::{Value, json};

use super::cpu::Cpus;
use super::harness::{
    Behaviour, Config, Connection, Envoy, Made, Make, RECEIPT_KEY, Setup, Upstream, request, wait_for,
};
use super::round::{self, Sample};
use super::turns::{self, Running};

/// Receipts of a round: more than come back.
const RECEIPTS: usize = 1 << 16;

/// What requests are: its name, and what it costs more than which one.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) beside: Option<usize>,
    /// Fields of the rollout.
    rollout: fn() -> Value,
    sends: Sends,
    /// The metric that counts each of its requests once, with this label.
    counted: Option<(&'static str, (&'static str, &'static str))>,
}

/// What clients send.
enum Sends {
    /// Tasks, to the rollout.
    Tasks,
    /// The same to no rollout, as long as what brings a receipt back.
    Plain,
    /// What people decided, with the task's receipt.
    Decisions,
    /// What users think of an answer, with its receipt.
    Events,
}

pub(crate) const KINDS: [Kind; 8] = [
    Kind {
        name: "of a rollout",
        beside: None,
        rollout: || json!({}),
        sends: Sends::Tasks,
        counted: Some(("changeover_requests_total", ("outcome", "ok"))),
    },
    Kind {
        name: "a task, degree human",
        beside: Some(0),
        rollout: || people("human", false),
        sends: Sends::Tasks,
        counted: Some(("changeover_tasks_total", ("reason", "degree"))),
    },
    Kind {
        name: "the model asked",
        beside: Some(0),
        rollout: || people("shadow", false),
        sends: Sends::Tasks,
        counted: Some(("changeover_decisions_total", ("result", "agree"))),
    },
    Kind {
        name: "the same, with a receipt",
        beside: Some(0),
        rollout: || people("shadow", true),
        sends: Sends::Tasks,
        counted: Some(("changeover_tasks_total", ("reason", "degree"))),
    },
    Kind {
        name: "an answer with a receipt",
        beside: Some(0),
        rollout: rated,
        sends: Sends::Tasks,
        counted: Some(("changeover_requests_total", ("outcome", "ok"))),
    },
    Kind { name: "of no rollout", beside: None, rollout: || json!({}), sends: Sends::Plain, counted: None },
    Kind {
        name: "a decision",
        beside: Some(5),
        rollout: || people("shadow", true),
        sends: Sends::Decisions,
        counted: Some(("changeover_decisions_total", ("result", "agree"))),
    },
    Kind {
        name: "an event with a receipt",
        beside: Some(5),
        rollout: rated,
        sends: Sends::Events,
        counted: Some(("changeover_feedback_total", ("result", "counted"))),
    },
];

/// A rollout with people.
fn people(degree: &str, later: bool) -> Value {
    let mut automation = json!({
        "degree": degree, "ask": {"timeout": "20s", "max_in_flight": 1024},
        "answer": {"label": "/label", "confidence": "/confidence"},
    });
    if later {
        automation["decision"] = json!({"match": {"path": "/back", "methods": ["POST"]}, "receipt": "/receipt", "label": "/label"});
    }
    json!({"automation": automation})
}

/// A rollout whose answers carry receipts.
fn rated() -> Value {
    let rule = json!({
        "name": "thumb", "join": "receipt", "receipt": "/receipt",
        "match": {"path": "/back", "methods": ["POST"], "body": {"/label": "cat"}},
    });
    json!({"receipt": {}, "feedback": [rule]})
}

impl Kind {
    fn config(&self) -> Value {
        let mut rollout = json!({
            "name": "digits", "release": "1", "match": {"prefix": "/tasks"}, "stable": "blue", "candidate": "green",
            "versions": {"blue": {"cluster": "blue"}, "green": {"cluster": "green"}},
        });
        let fields = (self.rollout)();
        rollout.as_object_mut().expect("a rollout").extend(fields.as_object().expect("fields").clone());
        json!({"rollouts": [rollout]})
    }

    /// A path and documents: of those with receipts each has its own.
    fn asked(&self, rng: &mut Rng) -> (&'static str, Vec<Bytes>) {
        if let Sends::Tasks = self.sends {
            let task =
                |number: u64| json!({"n": number, "text": "what is in this picture?"}).to_string().into();
            return ("/tasks", (0..64).map(task).collect());
        }
        let keys = Keys::new(RECEIPT_KEY, None).expect("a key");
        let plan = Plan::new(&config::check(&self.config()).expect("a valid configuration"));
        let rollout = &plan.rollouts()[0];
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
        let time = u64::try_from(time.as_millis()).expect("this age");
        let mut back = || {
            let mut nonce = [0; NONCE];
            rng.fill(&mut nonce);
            let receipt = match self.sends {
                Sends::Tasks | Sends::Plain => STANDARD.encode([7; 169]),
                Sends::Decisions => {
                    let (task, run) = (rng.u64(..), rollout.program.attempt(1));
                    let kind = task::Kind { drawn: true, ..task::Kind::default() };
                    let receipt =
                        task::Receipt { task, run, time, confidence: 9_300, kind, label: "cat".into() };
                    receipt.seal(&keys, "digits", &nonce).expect("a receipt")
                }
                Sends::Events => {
                    let receipt = rollout.receipt(0, None).expect("a receipt");
                    answer::Receipt { time, ..receipt }.seal(&keys, "digits", &nonce).expect("a receipt")
                }
            };
            json!({"receipt": receipt, "label": "cat"}).to_string().into()
        };
        ("/back", (0..RECEIPTS).map(|_| back()).collect())
    }
}

/// How long a model that never answers is waited for.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(500);
/// Tasks of a round about which it is asked.
const HUNG: usize = 8;

/// For each task about which a model is asked that never answers: what it takes, as a multiple of the timeout and what the same
/// request takes where no model is asked.
pub(crate) async fn hang(rounds: usize, cpus: &Cpus) -> Vec<f64> {
    let upstreams = [Upstream::start("blue").await, Upstream::start("green").await];
    upstreams[1].set(Behaviour::gate());
    let start = async |degree: &str| {
        let mut rollout = people(degree, false);
        rollout["automation"]["ask"]["timeout"] = json!(format!("{}ms", TIMEOUT.as_millis()));
        let setup = Setup::shipped(Config::rollout(&format!(
            "match: {{prefix: /tasks}}, automation: {}",
            rollout["automation"]
        )));
        let clusters = upstreams.each_ref().map(|of| (of.name(), of.address()));
        setup.with_people().clusters(&clusters).on_cpus(&cpus.envoy).start().await
    };
    let seconds = async |envoy: &Envoy| {
        let mut connection = Connection::open(envoy.address()).await.expect("a connection");
        let mut all = Vec::with_capacity(HUNG);
        // The first one opens connections.
        for number in 0..=HUNG {
            let begun = Instant::now();
            let answer =
                connection.send(request("POST", "/tasks", &[], json!({"n": number}).to_string())).await;
            let took = begun.elapsed().as_secs_f64();
            assert_eq!(answer.expect("an answer").upstream(), "blue", "people get every task");
            if number > 0 {
                all.push(took);
            }
        }
        all
    };
    let mut ratios = Vec::new();
    for number in 1..=rounds {
        let [plain, asks] = [start("human").await, start("shadow").await];
        let mut plain = seconds(&plain).await;
        plain.sort_unstable_by(f64::total_cmp);
        let least = TIMEOUT.as_secs_f64() + plain[HUNG / 2];
        ratios.extend(seconds(&asks).await.into_iter().map(|took| took / least));
        println!("a model that hangs: round {number} of {rounds}");
    }
    ratios
}

/// What was measured: by round and kind.
pub(crate) async fn measure(rounds: usize, cpus: &Cpus, rng: &mut Rng) -> Vec<Vec<Sample>> {
    let upstreams = [Upstream::start("blue").await, Upstream::start("green").await];
    for upstream in &upstreams {
        upstream.set(Make::by(|_, _| Made::json(r#"{"label":"cat","confidence":0.93}"#)));
    }
    let mut samples = Vec::new();
    for number in 1..=rounds {
        let mut running = Vec::new();
        for kind in &KINDS {
            let setup = Setup::shipped(Config::Struct(kind.config().to_string())).with_people();
            let setup = setup.clusters(&upstreams.each_ref().map(|of| (of.name(), of.address())));
            running.push(Running::start(setup, cpus, kind.asked(rng)).await);
        }
        turns::take(&mut running, rng).await;
        for (kind, running) in KINDS.iter().zip(&running) {
            let Some((metric, label)) = kind.counted else { continue };
            if !matches!(kind.sends, Sends::Tasks) {
                assert!(running.sent_each_once(), "{}: receipts have come twice", kind.name);
            }
            wait_for(&format!("each request to be counted once: {}", kind.name), async || {
                let counted = running.envoy.metrics().await.sum(metric, &[label]);
                assert!(counted <= round::float(running.answers), "{}: {counted}", kind.name);
                (counted >= round::float(running.answers)).then_some(())
            })
            .await;
        }
        samples.push(running.into_iter().map(Running::sample).collect());
        println!("people: round {number} of {rounds}");
    }
    samples
}
