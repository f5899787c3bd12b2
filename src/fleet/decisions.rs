//! What people have decided in an attempt, over all workers.

use serde::{Deserialize, Serialize};

use super::receipts;
use super::shared::{self, Shared};
use crate::automation::decisions::Decisions;
use crate::automation::receipt::Opened;
use crate::receipt::seen::Seen;

/// The decisions of a rollout's newest attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counted {
    /// Identifies the attempt.
    attempt: u64,
    decisions: Decisions,
}

/// What a decision was counted as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Whether it agrees with the model.
    pub agrees: bool,
    /// The labels under which it is counted, the people's first.
    pub labels: (String, String),
}

/// Adds a decision of an attempt: `decided` is the people's label. `None`: another attempt has [begun](begin), so it counts
/// no longer, or it could not be written. A worker may learn of the attempt late.
pub fn add(shared: &mut impl Shared, rollout: &str, opened: &Opened, decided: &str) -> Option<Counts> {
    let receipt = &opened.receipt;
    let other = if receipt.kind.double { meet(shared, rollout, opened, decided) } else { None };
    let mut counts = None;
    let is_written = shared::update::<Counted>(shared, &key(rollout), |counted| {
        let of_attempt = || Counted { attempt: receipt.run, decisions: Decisions::default() };
        let mut counted = counted.unwrap_or_else(of_attempt);
        counts = None;
        if counted.attempt != receipt.run {
            return None;
        }
        let agrees = counted.decisions.count(receipt, decided);
        let (human, model) = counted.decisions.confusion.names(decided, &receipt.label);
        counts = Some(Counts { agrees, labels: (human.to_owned(), model.to_owned()) });
        if let Some(same) = other {
            counted.decisions.count_people(same);
        }
        Some(counted)
    });
    counts.filter(|_| is_written)
}

/// An attempt begins: what was decided in others is forgotten, and counts no longer. To be called before the workers learn of
/// the attempt.
pub(super) fn begin(shared: &mut impl Shared, rollout: &str, attempt: u64) {
    shared::update::<Counted>(shared, &key(rollout), |counted| {
        let is_other = counted.is_none_or(|counted| counted.attempt != attempt);
        is_other.then(|| Counted { attempt, decisions: Decisions::default() })
    });
}

/// One of two decisions of a task. Returns whether both are the same, once both are there.
fn meet(shared: &mut impl Shared, rollout: &str, opened: &Opened, decided: &str) -> Option<bool> {
    let receipt = &opened.receipt;
    let label = label_hash(decided);
    let mut other = None;
    shared::update::<Seen>(shared, &receipts::key(rollout, receipt.task), |seen| {
        let mut seen = seen.unwrap_or_default();
        other = seen.decide(receipt.task, receipt.time, label);
        Some(seen)
    });
    other.map(|other| other == label)
}

fn label_hash(label: &str) -> u64 {
    siphasher::sip::SipHasher24::new().hash(label.as_bytes())
}

/// What people have decided in an attempt.
pub fn of(shared: &impl Shared, rollout: &str, attempt: u64) -> Decisions {
    let counted = shared::read::<Counted>(shared, &key(rollout));
    counted.filter(|counted| counted.attempt == attempt).map(|counted| counted.decisions).unwrap_or_default()
}

/// Forgets a rollout's decisions.
pub(super) fn erase(shared: &mut impl Shared, rollout: &str) {
    if shared.read(&key(rollout)).is_some() {
        shared::erase(shared, &key(rollout));
    }
}

fn key(rollout: &str) -> String {
    shared::key(&format!("decisions.{rollout}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automation::band::Band;
    use crate::automation::receipt::{Kind, Receipt};
    use crate::fleet::memory::Memory;
    use crate::fleet::shared::{NotWritten, Version};

    fn opened(id: u64, task: u64, kind: Kind) -> Opened {
        let receipt = Receipt { task, run: 7, time: 10, kind, label: "cat".into(), ..Receipt::default() };
        Opened { receipt, id }
    }

    #[test]
    fn decisions_of_an_attempt_add_up_and_another_one_begins_anew() {
        let mut shared = Memory::default();
        assert!(add(&mut shared, "claims", &opened(1, 1, Kind::default()), "cat").unwrap().agrees);
        let counts = add(&mut shared, "claims", &opened(2, 2, Kind::default()), "dog");
        assert_eq!(counts, Some(Counts { agrees: false, labels: ("dog".into(), "cat".into()) }));
        assert_eq!(of(&shared, "claims", 7).blind, Band { tasks: 2, disagreements: 1 });
        assert_eq!(of(&shared, "claims", 8), Decisions::default());
        erase(&mut shared, "claims");
        assert_eq!(of(&shared, "claims", 7), Decisions::default());
    }

    /// Other workers are always faster.
    #[derive(Default)]
    struct Slow(Memory);

    impl Shared for Slow {
        fn read(&self, key: &str) -> Option<(Vec<u8>, Version)> {
            self.0.read(key)
        }

        fn swap(&mut self, _: &str, _: &[u8], _: Version) -> Result<(), NotWritten> {
            Err(NotWritten::Lost)
        }
    }

    #[test]
    fn a_decision_that_cannot_be_written_is_not_said_to_count() {
        let mut shared = Slow::default();
        assert_eq!(add(&mut shared, "claims", &opened(1, 1, Kind::default()), "cat"), None);
        assert_eq!(of(&shared, "claims", 7), Decisions::default());
    }

    #[test]
    fn a_worker_that_learns_late_of_an_attempt_takes_nothing_from_it() {
        let mut shared = Memory::default();
        add(&mut shared, "claims", &opened(1, 1, Kind::default()), "cat");
        begin(&mut shared, "claims", 7);
        assert_eq!(of(&shared, "claims", 7).blind.tasks, 1, "it goes on");
        begin(&mut shared, "claims", 8);
        let newer = |id| {
            let Opened { receipt, id } = opened(id, id, Kind::default());
            Opened { receipt: Receipt { run: 8, ..receipt }, id }
        };
        assert!(add(&mut shared, "claims", &newer(2), "cat").is_some());
        assert_eq!(add(&mut shared, "claims", &opened(3, 3, Kind::default()), "cat"), None);
        assert!(add(&mut shared, "claims", &newer(4), "dog").is_some());
        assert_eq!(of(&shared, "claims", 8).blind, Band { tasks: 2, disagreements: 1 });
    }

    #[test]
    fn the_first_decision_of_all_counts_only_if_it_is_of_the_attempt_that_has_begun() {
        let mut shared = Memory::default();
        begin(&mut shared, "claims", 8);
        assert_eq!(add(&mut shared, "claims", &opened(1, 1, Kind::default()), "cat"), None);
        let Opened { receipt, id } = opened(2, 2, Kind::default());
        let newer = Opened { receipt: Receipt { run: 8, ..receipt }, id };
        assert!(add(&mut shared, "claims", &newer, "cat").is_some());
        assert_eq!(of(&shared, "claims", 8).blind.tasks, 1);
    }

    #[test]
    fn two_people_who_decide_one_task_are_compared_with_each_other() {
        let mut shared = Memory::default();
        let first = Kind { double: true, drawn: true, ..Kind::default() };
        let second = Kind { second: true, ..first };
        for (task, one, other) in [(1, "cat", "cat"), (2, "cat", "dog")] {
            add(&mut shared, "claims", &opened(task * 2, task, first), one);
            add(&mut shared, "claims", &opened(task * 2 + 1, task, second), other);
        }
        let decisions = of(&shared, "claims", 7);
        assert_eq!(decisions.people, Band { tasks: 2, disagreements: 1 });
        assert_eq!(
            decisions.blind,
            Band { tasks: 2, disagreements: 0 },
            "the second one counts for people alone"
        );
    }
}
