//! The store, by one call of gRPC at a time from whichever root ticks.

use std::cell::RefCell;

use super::calls::{self, Body};
use crate::fleet::store::call::{Answer, Call, Engine, Failure};
use crate::fleet::store::etcd::{self, Etcd};

/// Which store it is.
type Used = Etcd;

/// Milliseconds that an answer may take.
const TIMEOUT: u32 = 3_000;
/// Refused connections only: nothing is done twice. Of two endpoints one may be dead.
const RETRIES: [(&str, &str); 2] =
    [("x-envoy-retry-on", "connect-failure,refused-stream"), ("x-envoy-max-retries", "2")];

/// This VM's way to the store.
#[derive(Default)]
pub(super) struct Store {
    /// The cluster, as the newest configuration has it.
    cluster: RefCell<String>,
    flight: RefCell<Option<Flight>>,
}

/// A call that has not been answered.
struct Flight {
    root: u32,
    token: u32,
    since: u64,
    call: Call,
}

impl Store {
    /// Uses this cluster from now on.
    pub(super) fn use_cluster(&self, cluster: &str) {
        if *self.cluster.borrow() != cluster {
            cluster.clone_into(&mut self.cluster.borrow_mut());
        }
    }

    /// Sends a call from a root's callback. Returns the answer when Envoy does not send it.
    pub(super) fn send(&self, root: u32, call: Call) -> Option<Answer> {
        let service = etcd::service(&self.cluster.borrow());
        let message = Used::encode(&call);
        let names = (Used::SERVICE, Used::METHOD);
        match calls::call_grpc(&service, names, &RETRIES, &message, TIMEOUT) {
            Some(token) => {
                let since = calls::uptime();
                self.flight.replace(Some(Flight { root, token, since, call }));
                None
            }
            None => Some(Answer::Failed(Failure::NotSent)),
        }
    }

    /// A message has come. `None`: not to the call that is waited for.
    pub(super) fn receive(&self, token: u32, size: usize) -> Option<Answer> {
        let flight = self.take(token)?;
        let message = calls::body(Body::Grpc, 0, size);
        Some(Used::decode(&flight.call, message.as_deref().unwrap_or_default()))
    }

    /// It has ended with this status.
    pub(super) fn close(&self, token: u32, status: u32) -> Option<Answer> {
        let flight = self.take(token)?;
        let elapsed = calls::uptime().saturating_sub(flight.since) / 1_000_000;
        let has_timed_out = elapsed >= u64::from(TIMEOUT - TIMEOUT / 10);
        Some(Answer::Failed(Used::failure(status, has_timed_out)))
    }

    /// A root goes, and the answers to its calls with it.
    pub(super) fn leave(&self, root: u32) -> Option<Answer> {
        let token = self.flight.borrow().as_ref().filter(|flight| flight.root == root)?.token;
        self.take(token).map(|_| Answer::Failed(Failure::Timeout))
    }

    fn take(&self, token: u32) -> Option<Flight> {
        let mut flight = self.flight.borrow_mut();
        if flight.as_ref().is_some_and(|flight| flight.token == token) { flight.take() } else { None }
    }
}
