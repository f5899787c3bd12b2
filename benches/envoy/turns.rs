//! Envoys that stand beside each other and get documents in turn, from clients that send the next request as soon as they have
//! the last answer: so Envoy, on a CPU of its own, is what limits them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;

use super::client::Client;
use super::cpu::{Cpus, Times};
use super::harness::{Envoy, Setup};
use super::round::{self, Sample, Slice};

const CONNECTIONS: usize = 16;
/// Of one Envoy in one turn.
const SLICE: Duration = Duration::from_millis(150);
/// Of each Envoy, after one that warms up.
const TURNS: usize = 8;

/// An Envoy at work.
pub(crate) struct Running {
    pub(crate) envoy: Envoy,
    /// Requests that it has answered.
    pub(crate) answers: usize,
    clients: Vec<Client>,
    slices: Vec<Slice>,
    path: &'static str,
    asked: Vec<Bytes>,
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
        let (mut clients, mut latencies) = (Vec::new(), Vec::new());
        for client in sending {
            let (client, its) = client.await.expect("good answers");
            clients.push(client);
            latencies.extend(its.into_iter().map(|took| took.whole));
        }
        self.clients = clients;
        let (cpu, elapsed) = (Times::of_process(self.envoy.id()) - cpu, begun.elapsed());
        self.answers += latencies.len();
        self.slices.push(Slice { latencies, elapsed, cpu });
    }

    /// Whether no client has sent a document twice.
    pub(crate) fn sent_each_once(&self) -> bool {
        self.clients.iter().all(|client| client.sent() <= self.asked.len() / CONNECTIONS)
    }

    /// What it did, in sum.
    pub(crate) fn sample(self) -> Sample {
        round::sample(self.slices)
    }
}
