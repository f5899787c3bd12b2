//! Many requests, counted where they are sent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;

use super::{Answer, Connection, request, wait_for};

type Make = dyn Fn(u64) -> Request<Full<Bytes>> + Send + Sync;
/// The numbers of the requests that have been sent and not answered.
type Open = Mutex<BTreeSet<u64>>;

/// A number of requests over a number of connections.
pub(crate) struct Load {
    address: SocketAddr,
    connections: usize,
    /// Seconds between requests; 0: as fast as answers come.
    pause: f64,
    make: Arc<Make>,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Answers by the upstream they name; Envoy's own name none.
    pub(crate) by_upstream: BTreeMap<String, u64>,
    /// Answers by status.
    pub(crate) by_status: BTreeMap<u16, u64>,
    /// Requests without an answer, and why.
    pub(crate) errors: Vec<String>,
    /// The upstream that answered each request, by the request's number.
    pub(crate) answers: BTreeMap<u64, String>,
    /// The number from which on requests were sent after this one's answer had come.
    pub(crate) answered_before: BTreeMap<u64, u64>,
}

impl Tally {
    /// Answers from an upstream.
    pub(crate) fn from(&self, upstream: &str) -> u64 {
        self.by_upstream.get(upstream).copied().unwrap_or(0)
    }

    /// Requests that got no good answer: another status than 200, or none.
    pub(crate) fn failed(&self) -> u64 {
        self.total() - self.by_status.get(&200).copied().unwrap_or(0)
    }

    /// All requests.
    pub(crate) fn total(&self) -> u64 {
        self.by_status.values().sum::<u64>() + self.errors.len() as u64
    }

    /// Fails unless every request was answered with 200.
    pub(crate) fn assert_all_ok(&self) {
        assert!(self.errors.is_empty(), "{} requests lost, such as: {}", self.errors.len(), self.errors[0]);
        assert!(self.by_status.keys().all(|status| *status == 200), "{:?}", self.by_status);
    }

    fn add(&mut self, number: u64, answer: std::io::Result<Answer>) {
        match answer {
            Ok(answer) => {
                *self.by_status.entry(answer.status.as_u16()).or_default() += 1;
                *self.by_upstream.entry(answer.upstream().to_owned()).or_default() += 1;
                self.answers.insert(number, answer.upstream().to_owned());
            }
            Err(error) => self.errors.push(error.to_string()),
        }
    }

    fn merge(&mut self, other: Self) {
        other.by_status.into_iter().for_each(|(key, n)| *self.by_status.entry(key).or_default() += n);
        other.by_upstream.into_iter().for_each(|(key, n)| *self.by_upstream.entry(key).or_default() += n);
        self.errors.extend(other.errors);
        self.answers.extend(other.answers);
        self.answered_before.extend(other.answered_before);
    }
}

impl Load {
    /// GETs for `/`.
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self { address, connections: 8, pause: 0.0, make: Arc::new(|_| request("GET", "/", &[], "")) }
    }

    /// How many connections.
    pub(crate) fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// So many requests a second, as long as there are connections free.
    pub(crate) fn per_second(mut self, requests: f64) -> Self {
        self.pause = 1.0 / requests;
        self
    }

    /// What the nth request is.
    pub(crate) fn each(mut self, make: impl Fn(u64) -> Request<Full<Bytes>> + Send + Sync + 'static) -> Self {
        self.make = Arc::new(make);
        self
    }

    /// Sends so many requests.
    pub(crate) async fn send(self, requests: u64) -> Tally {
        self.run(requests, Arc::default(), Arc::default()).await
    }

    /// Sends requests until the returned handle is stopped.
    pub(crate) fn start(self) -> Running {
        let (stop, sent, open) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<Open>::default());
        let task = tokio::spawn({
            let (stop, sent, open) = (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&open));
            let make = Arc::clone(&self.make);
            let counting = self.each(move |number| {
                sent.fetch_add(1, Ordering::Relaxed);
                make(number)
            });
            async move { counting.run(u64::MAX, stop, open).await }
        });
        Running { stop, sent, open, task }
    }

    async fn run(self, requests: u64, stop: Arc<AtomicBool>, open: Arc<Open>) -> Tally {
        let next = Arc::new(AtomicU64::new(0));
        let begun = Instant::now();
        let tasks: Vec<_> = (0..self.connections)
            .map(|_| {
                let (next, stop, make) = (Arc::clone(&next), Arc::clone(&stop), Arc::clone(&self.make));
                let open = Arc::clone(&open);
                let due = move |number: u64| begun + Duration::from_secs_f64(number as f64 * self.pause);
                tokio::spawn(one_connection(self.address, next, requests, (stop, open), make, due))
            })
            .collect();
        let mut all = Tally::default();
        for task in tasks {
            all.merge(task.await.expect("no panic"));
        }
        all
    }
}

async fn one_connection(
    address: SocketAddr,
    next: Arc<AtomicU64>,
    requests: u64,
    (stop, unanswered): (Arc<AtomicBool>, Arc<Open>),
    make: Arc<Make>,
    due: impl Fn(u64) -> Instant,
) -> Tally {
    let mut tally = Tally::default();
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        let opened = match connection.take() {
            Some(open) => Ok(open),
            None => Connection::open(address).await,
        };
        // Numbered when there is a connection to send it on, so that numbers tell the order of sending.
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= requests {
            break;
        }
        tokio::time::sleep_until(due(number).into()).await;
        let mut open = match opened {
            Ok(open) => open,
            Err(error) => {
                tally.add(number, Err(error));
                continue;
            }
        };
        unanswered.lock().expect("no panic").insert(number);
        let answer = open.send(make(number)).await;
        unanswered.lock().expect("no panic").remove(&number);
        // After an error, or when Envoy asks for it, the next request takes a new connection.
        let closes = |answer: &Answer| answer.header("connection") == Some("close");
        if !answer.as_ref().map_or(true, closes) {
            connection = Some(open);
        }
        tally.add(number, answer);
        tally.answered_before.insert(number, next.load(Ordering::Relaxed));
    }
    tally
}

/// A load that goes on.
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    open: Arc<Open>,
    task: tokio::task::JoinHandle<Tally>,
}

impl Running {
    /// Requests sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until every request that is on its way has its answer.
    pub(crate) async fn settle(&self) {
        let now = self.open.lock().expect("no panic").clone();
        wait_for("what is on its way", async || {
            self.open.lock().expect("no panic").is_disjoint(&now).then_some(())
        })
        .await;
    }

    /// Ends it, with all requests answered.
    pub(crate) async fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("no panic")
    }
}

/// Fails unless `count` of `total` fits the probability `p`, within six standard deviations.
pub(crate) fn assert_share(count: u64, total: u64, p: f64) {
    #[allow(clippy::cast_precision_loss)] // small counts
    let (count, total) = (count as f64, total as f64);
    let (mean, sd) = (total * p, (total * p * (1.0 - p)).sqrt());
    assert!(
        (count - mean).abs() <= 6.0 * sd,
        "{count} of {total}, expected {mean:.0} ± {:.0} (6 sd)",
        6.0 * sd
    );
}
