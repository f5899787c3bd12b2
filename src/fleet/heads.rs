//! What workers must know of rollouts: how to route, and what need not be reported any more.
//!
//! Each rollout's head stands under a key of its own, and a short log names those that have changed: a worker reads
//! nothing else.

use serde::{Deserialize, Serialize};

use super::shared::{self, Shared};
use crate::model::sorted;
use crate::rollout::record::Head;
use crate::signal::sample::Watch;

/// Changes that the log remembers.
const MOST: usize = 512;
/// Nanoseconds after which a rollout that no configuration names is forgotten: other VMs may still be loading.
const FORGET: u64 = 60_000_000_000;
/// Nanoseconds after which it is looked again whether rollouts are named.
const RENEW: u64 = 10_000_000_000;

/// Which heads have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Rises with every change. The first field, so that it can be read alone.
    pub version: u64,
    /// Changes up to this version are not in the log any more.
    pub forgotten: u64,
    /// The newest changes, the last one last: the version that each has led to, and the rollout.
    pub changes: Vec<(u64, String)>,
}

/// Prepares what is shared.
pub fn prepare(shared: &mut impl Shared) {
    shared::prepare(shared, &log_key());
    shared::prepare(shared, &names_key());
}

/// How a rollout's requests are to be routed.
pub fn read(shared: &impl Shared, rollout: &str) -> Option<Head> {
    shared::read(shared, &head_key(rollout))
}

/// Rises whenever workers must route differently.
pub fn version(shared: &impl Shared) -> u64 {
    let bytes = shared.read(&log_key()).map(|(bytes, _)| bytes).unwrap_or_default();
    postcard::take_from_bytes(&bytes).map_or(0, |(version, _)| version)
}

/// The log of changes.
pub fn log(shared: &impl Shared) -> Log {
    shared::read(shared, &log_key()).unwrap_or_default()
}

impl Log {
    /// The rollouts whose heads have changed after `version`, in the order of their names. `None`: any may have.
    #[must_use]
    pub fn since(&self, version: u64) -> Option<Vec<&str>> {
        // A version ahead of the log is from another log.
        if version < self.forgotten || version > self.version {
            return None;
        }
        let later = self.changes.iter().filter(|(change, _)| *change > version);
        Some(sorted(later.map(|(_, rollout)| rollout.as_str())))
    }

    fn note(&mut self, rollouts: &[String]) {
        self.version = self.version.saturating_add(1);
        // The oldest of many would be forgotten at once.
        let kept = rollouts.iter().skip(rollouts.len().saturating_sub(MOST));
        if kept.len() < rollouts.len() {
            self.forgotten = self.version;
        }
        self.changes.extend(kept.map(|rollout| (self.version, rollout.clone())));
        let surplus = self.changes.len().saturating_sub(MOST);
        for (version, _) in self.changes.drain(..surplus) {
            self.forgotten = self.forgotten.max(version);
        }
    }
}

/// Writes a head. Workers do not look at it before its change is [noted](note).
pub fn write(shared: &mut impl Shared, head: &Head) {
    shared::update::<Head>(shared, &head_key(&head.name), |known| match known {
        // Another VM may have written a later one meanwhile, also one of a later configuration.
        Some(known) if known.is_later_than(head) => None,
        _ => Some(head.clone()),
    });
}

/// Writes a head, whatever was there: the store of a fleet decides.
pub fn replace(shared: &mut impl Shared, head: &Head) {
    shared::write(shared, &head_key(&head.name), head);
}

/// Notes that the heads of these rollouts have changed. Returns the version that all must follow.
///
/// Also when they are as they were: the VM that has written them may have failed before it came to this.
pub fn note(shared: &mut impl Shared, changed: &[String]) -> u64 {
    let mut version = 0;
    shared::update::<Log>(shared, &log_key(), |log| {
        let mut log = log.unwrap_or_default();
        log.note(changed);
        version = log.version;
        Some(log)
    });
    version
}

/// Forgets a rollout's head.
pub fn erase(shared: &mut impl Shared, rollout: &str) {
    shared::erase(shared, &head_key(rollout));
}

/// Rollouts that configurations name or have named lately, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names(Vec<Name>);

/// The name of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Name {
    name: String,
    /// Since when no configuration names it.
    gone_since: Option<u64>,
}

impl Names {
    /// The names as they stand.
    pub fn read(shared: &impl Shared) -> Self {
        shared::read(shared, &names_key()).unwrap_or_default()
    }

    /// All names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| name.name.as_str())
    }

    /// Whether all rollouts that some configuration has named lately are among those `known`.
    pub fn are_among(&self, known: impl Fn(&str) -> bool, now: u64) -> bool {
        let is_recent = |since: u64| now.saturating_sub(since) < RENEW.saturating_mul(2);
        let mut recent = self.0.iter().filter(|name| name.gone_since.is_none_or(is_recent));
        recent.all(|name| known(&name.name))
    }

    /// Whether it is time to look again which rollouts are named.
    #[must_use]
    pub fn are_old(written: u64, now: u64) -> bool {
        now.saturating_sub(written) >= RENEW || written > now
    }
}

/// Writes that configurations name these rollouts, in any order. Returns those that are forgotten because none has
/// named them for long.
pub fn renew<'n>(shared: &mut impl Shared, named: impl Iterator<Item = &'n str>, now: u64) -> Vec<String> {
    let named = sorted(named);
    let mut forgotten = Vec::new();
    shared::update::<Names>(shared, &names_key(), |names| {
        let old = names.unwrap_or_default();
        forgotten.clear();
        let mut new = Vec::with_capacity(named.len());
        for known in old.0.iter().filter(|known| named.binary_search(&known.name.as_str()).is_err()) {
            let since = known.gone_since.unwrap_or(now);
            if now.saturating_sub(since) >= FORGET {
                forgotten.push(known.name.clone());
            } else {
                new.push(Name { name: known.name.clone(), gone_since: Some(since) });
            }
        }
        new.extend(named.iter().map(|name| Name { name: (*name).to_owned(), gone_since: None }));
        let new = Names(sorted(new));
        (new != old).then_some(new)
    });
    forgotten
}

/// What need not be reported any more, and what of users has to be, of one rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Its name.
    pub name: String,
    /// Ticks up to this one have been judged.
    pub through: u64,
    /// What has to be reported of users.
    pub watch: Watch,
}

/// What was judged of the rollouts of which workers have reported.
pub fn closed(shared: &impl Shared) -> Vec<Closed> {
    shared::read(shared, &closed_key()).unwrap_or_default()
}

/// Writes what was judged.
pub fn write_closed(shared: &mut impl Shared, closed: &[Closed]) {
    shared::write(shared, &closed_key(), &closed);
}

fn head_key(rollout: &str) -> String {
    shared::key(&format!("head.{rollout}"))
}

fn log_key() -> String {
    shared::key("heads")
}

fn names_key() -> String {
    shared::key("names")
}

fn closed_key() -> String {
    shared::key("closed")
}
