//! What is known of one tick: the requests that *arrived* in it, and what came of them so far.

use serde::{Deserialize, Serialize};

use super::kernel::Table;
use super::latency::{Edges, Histogram};
use super::rules::Test;
use super::users::{Firsts, Users};
use crate::telemetry::ledger::Side;

/// What one version did with the requests that arrived in one tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that arrived.
    pub requests: u64,
    /// Of those: not ended yet.
    pub open: u64,
    /// Of those that are open: without response headers yet.
    pub unanswered: u64,
    /// Of those that ended: failed.
    pub errors: u64,
    /// How long they took, as far as that is known; one that the client left took as long as it stayed, and
    /// one whose answer streams as long as until that began.
    pub durations: Histogram,
    /// Their users, where users are judged.
    pub users: Option<Box<Users>>,
}

impl Counts {
    /// Requests whose duration is not known yet.
    #[must_use]
    pub fn untimed(&self) -> u64 {
        self.requests.saturating_sub(self.durations.total())
    }

    /// Whether no user with an event had to be left out.
    #[must_use]
    pub fn tells_of_all_users(&self) -> bool {
        let levels = |users: &Users| users.failed.level().max(users.slow.level()).max(users.waiting.level());
        self.users.as_ref().is_none_or(|users| levels(users) == 0)
    }

    /// Adds what another worker counted.
    pub fn merge(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.open = self.open.saturating_add(other.open);
        self.unanswered = self.unanswered.saturating_add(other.unanswered);
        self.errors = self.errors.saturating_add(other.errors);
        self.durations.merge(&other.durations);
        if let Some(others) = &other.users {
            self.users.get_or_insert_default().merge(others);
        }
    }
}

/// One tick of one rollout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tick {
    /// Its number: the time it began, in ticks since the epoch.
    pub number: u64,
    /// The candidate's share of both versions' weights, the same all along; `None` when it changed within the
    /// tick, which then says nothing.
    pub share: Option<f64>,
    /// Tells assignments apart.
    pub epoch: u64,
    /// The version that is being released.
    pub candidate: Counts,
    /// The version it is compared with.
    pub stable: Counts,
    /// Whether what it counted says nothing of either version alone: it came under several assignments, or under
    /// another attempt's.
    pub void: bool,
    /// What errors are counted among, of the candidate and of stable, where that is not every request: a
    /// recording may say so.
    pub error_units: Option<(u64, u64)>,
    /// What it tells of users, where that is known without asking who they are: a recording tells only that.
    pub firsts: Option<Firsts>,
}

/// How a tick's open requests count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The deadline is over, or nothing is open: what has not been answered has failed.
    Closed,
    /// The worst case for an accusation: all of stable's open requests will have the event, none of the
    /// candidate's that does not have it already. Evidence so found can only grow until the tick closes.
    Open {
        /// The bucket of the age that every open request has at least.
        age: usize,
    },
}

impl Tick {
    /// One version's counts.
    #[must_use]
    pub fn side(&self, side: Side) -> &Counts {
        match side {
            Side::Candidate => &self.candidate,
            Side::Stable => &self.stable,
        }
    }

    /// Whether nothing arrived.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.candidate.requests == 0 && self.stable.requests == 0
    }

    /// The tick as a test counts it; `edges` are those of a test of latencies.
    #[must_use]
    pub fn table(&self, test: Test, edges: Option<Edges>, view: View) -> Table {
        let (candidate, stable) = match (test, edges) {
            (Test::Errors { .. } | Test::ErrorsBeyond { .. }, _) => match view {
                View::Closed => (
                    self.candidate.errors.saturating_add(self.candidate.unanswered),
                    self.stable.errors.saturating_add(self.stable.unanswered),
                ),
                View::Open { .. } => {
                    (self.candidate.errors, self.stable.errors.saturating_add(self.stable.open))
                }
            },
            (Test::Slower { .. }, Some(edges)) => {
                // Whoever has no time yet is beyond every edge below its age; no edge is beyond the deadline.
                let late = match view {
                    View::Open { age } if age <= edges.candidate => 0,
                    _ => self.candidate.untimed(),
                };
                (
                    self.candidate.durations.beyond(edges.candidate).saturating_add(late),
                    self.stable.durations.beyond(edges.stable).saturating_add(self.stable.untimed()),
                )
            }
            (Test::Slower { .. }, None) => (0, 0),
        };
        let all = (self.candidate.requests, self.stable.requests);
        let units = match test {
            Test::Errors { .. } | Test::ErrorsBeyond { .. } => self.error_units.unwrap_or(all),
            Test::Slower { .. } => all,
        };
        Table::new((candidate, units.0), (stable, units.1))
    }
}
