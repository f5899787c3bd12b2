//! What `--watch` looks at, and what it has seen there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use changeover::control::view::{Event, Journal, Rollout, Step, Watch};

use super::about::About;
use super::client::{Client, Failure};
use super::{pages, read};

/// From one look to the next one.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// In which a change of the terminal's size is noticed.
pub(super) const SOON: Duration = Duration::from_millis(100);

/// What was seen at one look.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) rollouts: Vec<Rollout>,
    /// Of the one rollout that is watched, newest first.
    pub(super) events: Vec<Event>,
}

/// What came of one look, and at which endpoint; `None`: the watching is to end.
pub(super) type Look = Option<(usize, Result<Seen, Failure>)>;

/// What is watched.
pub(super) enum Subject {
    All,
    Rollout(String),
    Events(String),
}

impl Subject {
    /// The name of the one rollout that is watched.
    pub(super) fn rollout(&self) -> Option<String> {
        match self {
            Self::All => None,
            Self::Rollout(name) | Self::Events(name) => Some(name.clone()),
        }
    }
}

/// What is known of one endpoint.
#[derive(Default)]
pub(super) struct Last {
    /// What it is called beside others; `None`: it is the only one.
    pub(super) name: Option<String>,
    pub(super) seen: Seen,
    /// `None`: it has not answered yet.
    pub(super) seen_at: Option<Instant>,
    /// Why there is nothing newer.
    pub(super) failure: Option<Failure>,
}

impl Last {
    /// Nothing is known yet.
    pub(super) fn of_each(clients: &[Client]) -> Vec<Self> {
        let is_one_of_several = clients.len() > 1;
        let last =
            |client: &Client| Self { name: is_one_of_several.then(|| client.name()), ..Self::default() };
        clients.iter().map(last).collect()
    }

    pub(super) fn note(&mut self, look: Result<Seen, Failure>) {
        match look {
            Ok(seen) => (self.seen, self.seen_at, self.failure) = (seen, Some(Instant::now()), None),
            Err(failure) => self.failure = Some(failure),
        }
    }

    /// What to say of the next look, where not every look is shown: it fails as none before, or fails no more.
    pub(super) fn remark(&self, look: &Result<Seen, Failure>) -> Option<String> {
        let is_back = self.failure.is_some() && self.seen_at.is_some();
        match (look, &self.name) {
            (Ok(_), None) => is_back.then(|| "it answers again".into()),
            (Ok(_), Some(name)) => is_back.then(|| format!("{name}: answers again")),
            (Err(failure), _) if self.failure.as_ref() == Some(failure) => None,
            (Err(failure), None) => Some(format!("{failure}\nstill trying")),
            (Err(failure), Some(name)) => Some(format!("{name}: {}; still trying", failure.without(name))),
        }
    }
}

/// Looks at rollouts.
pub(super) struct Eyes {
    client: Client,
    /// `None`: all of them.
    rollout: Option<String>,
    last: Seen,
    /// At the last look.
    changed: bool,
}

impl Eyes {
    pub(super) fn new(client: Client, rollout: Option<String>) -> Self {
        Self { client, rollout, last: Seen::default(), changed: false }
    }

    pub(super) fn look(&mut self) -> Result<Seen, Failure> {
        let Some(name) = &self.rollout else {
            return Ok(Seen { rollouts: pages(&self.client)?.0, events: Vec::new() });
        };
        let about = About { client: &self.client, rollout: name };
        let rollouts = vec![read(&about.get("")?)?];
        // Whatever happens raises the revision; a restarted Envoy begins anew.
        let changed = steady_parts(&rollouts) != steady_parts(&self.last.rollouts);
        // What has changed is in force before it is in the journal: the next look asks again.
        if changed || self.changed {
            let journal: Journal = read(&about.ask("/events")?)?;
            self.last.events = journal.events;
        }
        self.changed = changed;
        self.last.rollouts = rollouts;
        Ok(self.last.clone())
    }
}

/// Rollouts without what moves with every second.
pub(super) fn steady_parts(rollouts: &[Rollout]) -> Vec<Rollout> {
    let steady = |rollout: &Rollout| Rollout {
        observed_share: BTreeMap::new(),
        evidence: Vec::new(),
        watch: rollout.watch.map(|watch| Watch { waited_ms: 0, ..watch }),
        step: Step { waited_ms: 0, requests: 0, ..rollout.step },
        ..rollout.clone()
    };
    rollouts.iter().map(steady).collect()
}
