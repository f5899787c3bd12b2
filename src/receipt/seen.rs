//! Which receipts have come back: each counts once.
//!
//! All receipts of a rollout are spread over [`SHARDS`] by their number, so that a decision reads and writes a small part. A
//! shard that is full forgets those that were sealed first, and takes none any more that is as old: what is forgotten is
//! not counted again.

use serde::{Deserialize, Serialize};

/// Shards of one rollout.
pub const SHARDS: u64 = 64;
/// Receipts that a shard remembers.
pub const MOST: usize = 4_096;

/// The receipts of one shard that have come back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Receipts sealed by then, in milliseconds since the epoch, are taken no more.
    until: u64,
    /// By time.
    receipts: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    time: u64,
    id: u64,
    /// What was decided, of a task that two people decide.
    decided: Option<u64>,
}

/// Whether a receipt counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is the first time that it comes.
    New,
    /// It has counted.
    Repeated,
    /// It is too old to be sure.
    Late,
}

/// The shard of a receipt or task.
#[must_use]
pub fn shard(id: u64) -> u64 {
    id.checked_rem(SHARDS).unwrap_or(0)
}

impl Seen {
    /// Takes a receipt that was sealed at `time`.
    pub fn take(&mut self, id: u64, time: u64) -> Taken {
        if time <= self.until {
            return Taken::Late;
        }
        if self.find(id, time).is_some() {
            return Taken::Repeated;
        }
        self.insert(Entry { time, id, decided: None });
        Taken::New
    }

    /// Takes one of two decisions of a task, as a hash. Returns the other one, if that has come before.
    pub fn decide(&mut self, task: u64, time: u64, decided: u64) -> Option<u64> {
        if time <= self.until {
            return None;
        }
        match self.find(task, time) {
            Some(at) => self.receipts.get_mut(at)?.decided.take(),
            None => {
                self.insert(Entry { time, id: task, decided: Some(decided) });
                None
            }
        }
    }

    fn find(&self, id: u64, time: u64) -> Option<usize> {
        let from = self.receipts.partition_point(|known| known.time < time);
        let same = self.receipts.iter().enumerate().skip(from).take_while(|(_, known)| known.time == time);
        same.into_iter().find(|(_, known)| known.id == id).map(|(at, _)| at)
    }

    fn insert(&mut self, entry: Entry) {
        let at = self.receipts.partition_point(|known| known.time <= entry.time);
        self.receipts.insert(at, entry);
        if self.receipts.len() > MOST {
            self.until = self.receipts.first().map_or(0, |oldest| oldest.time);
            self.receipts.retain(|known| known.time > self.until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_counts_once() {
        let mut seen = Seen::default();
        assert_eq!(seen.take(1, 10), Taken::New);
        assert_eq!(seen.take(1, 10), Taken::Repeated);
        assert_eq!(seen.take(2, 10), Taken::New);
        assert_eq!(seen.take(1, 10), Taken::Repeated);
    }

    #[test]
    fn a_receipt_that_a_full_shard_forgets_never_counts_again() {
        let mut seen = Seen::default();
        let mut rng = fastrand::Rng::with_seed(17);
        let mut counted = std::collections::BTreeSet::new();
        for _ in 0..40_000 {
            let (id, time) = (rng.u64(..30_000), 0);
            let time = time + id / 3;
            if seen.take(id, time) == Taken::New {
                assert!(counted.insert(id), "{id} has counted twice");
            }
            assert!(seen.receipts.len() <= MOST);
        }
        assert!(counted.len() > MOST);
        assert!(postcard::to_allocvec(&seen).unwrap().len() < 128 * 1_024);
    }

    #[test]
    fn two_decisions_of_a_task_meet_once() {
        let mut seen = Seen::default();
        assert_eq!(seen.decide(5, 10, 77), None);
        assert_eq!(seen.decide(5, 10, 88), Some(77));
        assert_eq!(seen.decide(5, 10, 99), None, "a third one");
    }
}
