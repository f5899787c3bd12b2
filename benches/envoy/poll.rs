//! A client of the API that reads all rollouts, page after page, as fast as it is answered; where it is told to wait it does.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep_until;

use super::harness::{Connection, Envoy, request};

/// The client and its connection.
pub(crate) struct Poller {
    connection: Connection,
    /// The page that comes next.
    path: String,
    /// Pages that it was shown.
    pages: usize,
}

const FIRST: &str = "/v1/rollouts";

impl Poller {
    /// Connects, and reads until it is told to wait: so what is measured is not what a quiet worker shows at once.
    pub(crate) async fn start(envoy: &Envoy) -> Self {
        let connection = Connection::open(envoy.address_of("changeover-control")).await;
        let mut poller =
            Self { connection: connection.expect("a connection"), path: FIRST.to_owned(), pages: 0 };
        while poller.read().await.is_none() {}
        poller.pages = 0;
        poller
    }

    /// Reads for so long.
    pub(crate) async fn read_for(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            if let Some(wait) = self.read().await {
                sleep_until((Instant::now() + wait).min(end).into()).await;
            }
        }
    }

    /// Pages that it was shown since the start.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// Reads a page. Returns how long it is told to wait, if it is.
    async fn read(&mut self) -> Option<Duration> {
        let page = request("GET", &self.path, &[(":authority", b"localhost")], "");
        let answer = self.connection.send(page).await.expect("an answer");
        if answer.status.as_u16() == 429 {
            let seconds = answer.header("retry-after").and_then(|seconds| seconds.parse().ok());
            return Some(Duration::from_secs(seconds.expect("seconds")));
        }
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
        let page: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let next = page["next"].as_str().map(|name| format!("{FIRST}?after={name}"));
        self.path = next.unwrap_or_else(|| FIRST.to_owned());
        self.pages += 1;
        None
    }
}
