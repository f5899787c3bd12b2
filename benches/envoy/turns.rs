//! Envoys that stand beside each other and get documents in turn, from clients that send the next request as soon as they have
//! the last answer: so Envoy, on a CPU of its own, is what limits them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;

use super::client::{Client, Took};
use super::cpu::{Cpus, Times};
use super::harness::{Envoy, Setup};
use super::round::Sample;

const CONNECTIONS: usize = 16;
/// Of one Envoy in one turn.
const SLICE: Duration = Duration::from_millis(150);
/// Of each Envoy, after one that warms up.
const TURNS: usize = 8;

/// An Envoy at work.
pub(crate) struct Running {
    pub(crate) envoy: Envoy,
    /// Requests that it has answered.
    pub(crate) answers: u64,
    clients: Vec<Client>,
    slices: Vec<Slice>,
    path: &'static str,
    asked: Vec<Bytes>,
}

/// What an Envoy did while it had the load.
struct Slice {
    took: Vec<Took>,
    elapsed: Duration,
    cpu: Times,
}

/// Has each Envoy answer in turn, in an order that changes.
pub(crate) async fn take(running: &mut [Running], rng: &mut Rng) {
    let mut order: Vec<usize> = (0..running.len()).collect();
    for turn in 0..=TURNS {
        rng.shuffle(&mut order);
        for at in &order {
            running[*at].slice().await;
            if turn == 0 {
                running[*at].slices.clear();
            }
        }
    }
}

impl Running {
    /// `asked`: a path and documents. Each client sends a part of them, again and again.
    pub(crate) async fn start(setup: Setup, cpus: &Cpus, (path, asked): (&'static str, Vec<Bytes>)) -> Self {
        let envoy = setup.on_cpus(&cpus.envoy).start().await;
        let mut clients = Vec::new();
        for client in 0..CONNECTIONS {
            clients.push(Client::connect(&envoy, client * asked.len() / CONNECTIONS).await);
        }
        Self { envoy, answers: 0, clients, slices: Vec::new(), path, asked }
    }

    async fn slice(&mut self) {
        let (begun, cpu) = (Instant::now(), Times::of_process(self.envoy.id()));
        let path = self.path;
        let sending = self.clients.drain(..).map(|mut client| {
            let asked = self.asked.clone();
            tokio::spawn(async move {
                let took = client.send_for(SLICE, path, &asked).await;
                (client, took)
            })
        });
        let sending: Vec<_> = sending.collect();
        let (mut clients, mut took) = (Vec::new(), Vec::new());
        for client in sending {
            let (client, its) = client.await.expect("good answers");
            clients.push(client);
            took.extend(its);
        }
        self.clients = clients;
        let (cpu, elapsed) = (Times::of_process(self.envoy.id()) - cpu, begun.elapsed());
        self.answers += took.len() as u64;
        self.slices.push(Slice { took, elapsed, cpu });
    }

    /// Whether no client has sent a document twice.
    pub(crate) fn sent_each_once(&self) -> bool {
        self.clients.iter().all(|client| client.sent() <= self.asked.len() / CONNECTIONS)
    }

    /// What the half of the slices says in which Envoy waited least for its CPU.
    pub(crate) fn sample(self) -> Sample {
        let mut slices = self.slices;
        slices.sort_unstable_by_key(|slice| slice.cpu.waited);
        slices.truncate(TURNS / 2);
        let elapsed = slices.iter().map(|slice| slice.elapsed).sum::<Duration>().as_secs_f64();
        let ran: Duration = slices.iter().map(|slice| slice.cpu.ran).sum();
        let waited: Duration = slices.iter().map(|slice| slice.cpu.waited).sum();
        let mut took: Vec<Duration> =
            slices.iter().flat_map(|slice| &slice.took).map(|took| took.whole).collect();
        took.sort_unstable();
        let quantile = |percent: usize| took[took.len() * percent / 100].as_secs_f64() * 1e3;
        let requests = float(took.len() as u64);
        Sample {
            requests_per_second: requests / elapsed,
            cpu_per_request: ran.as_secs_f64() * 1e6 / requests,
            p50: quantile(50),
            p99: quantile(99),
            waited: waited.as_secs_f64() / elapsed,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}
