//! What people have decided in an attempt, over all workers, and which receipts have come back.

use serde::{Deserialize, Serialize};

use super::shared::{self, Shared};
use crate::automation::decisions::Decisions;
use crate::automation::receipt::Opened;
use crate::automation::seen::{SHARDS, Seen, Taken, shard};

/// The decisions of a rollout's newest attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counted {
    /// Identifies the attempt.
    attempt: u64,
    decisions: Decisions,
}

/// Takes a receipt that has come back. It counts once, whichever worker gets it.
pub fn take(shared: &mut impl Shared, rollout: &str, opened: &Opened) -> Taken {
    let mut taken = Taken::Late;
    let written = shared::update::<Seen>(shared, &seen_key(rollout, opened.id), |seen| {
        let mut seen = seen.unwrap_or_default();
        taken = seen.take(opened.id, opened.receipt.time);
        (taken == Taken::New).then_some(seen)
    });
    // What is not written might come again.
    if written { taken } else { Taken::Late }
}

/// What a decision was counted as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Whether it agrees with the model.
    pub agrees: bool,
    /// The labels under which it is counted, the people's first.
    pub labels: (String, String),
}

/// Adds a decision of an attempt: `decided` is the people's label.
pub fn add(shared: &mut impl Shared, rollout: &str, opened: &Opened, decided: &str) -> Counts {
    let receipt = &opened.receipt;
    let other = if receipt.kind.double { meet(shared, rollout, opened, decided) } else { None };
    let mut counts = Counts::default();
    shared::update::<Counted>(shared, &key(rollout), |counted| {
        let counted = counted.filter(|counted| counted.attempt == receipt.run);
        let mut counted =
            counted.unwrap_or_else(|| Counted { attempt: receipt.run, decisions: Decisions::default() });
        counts.agrees = counted.decisions.count(receipt, decided);
        let (human, model) = counted.decisions.confusion.names(decided, &receipt.label);
        counts.labels = (human.to_owned(), model.to_owned());
        if let Some(same) = other {
            counted.decisions.count_people(same);
        }
        Some(counted)
    });
    counts
}

/// One of two decisions of a task. Returns whether both are the same, once both are there.
fn meet(shared: &mut impl Shared, rollout: &str, opened: &Opened, decided: &str) -> Option<bool> {
    let receipt = &opened.receipt;
    let label = label_hash(decided);
    let mut other = None;
    shared::update::<Seen>(shared, &seen_key(rollout, receipt.task), |seen| {
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
        (0..SHARDS).for_each(|shard| shared::erase(shared, &seen_key(rollout, shard)));
    }
}

fn key(rollout: &str) -> String {
    shared::key(&format!("decisions.{rollout}"))
}

fn seen_key(rollout: &str, id: u64) -> String {
    shared::key(&format!("receipts.{rollout}.{}", shard(id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automation::band::Band;
    use crate::automation::receipt::{Kind, Receipt};
    use crate::fleet::memory::Memory;

    fn opened(id: u64, task: u64, kind: Kind) -> Opened {
        let receipt = Receipt { task, run: 7, time: 10, kind, label: "cat".into(), ..Receipt::default() };
        Opened { receipt, id }
    }

    #[test]
    fn a_receipt_counts_once_whichever_worker_gets_it() {
        let mut shared = Memory::default();
        let receipt = opened(1, 1, Kind::default());
        assert_eq!(take(&mut shared, "claims", &receipt), Taken::New);
        assert_eq!(take(&mut shared, "claims", &receipt), Taken::Repeated);
        assert_eq!(take(&mut shared, "other", &receipt), Taken::New, "another rollout");
    }

    #[test]
    fn decisions_of_an_attempt_add_up_and_another_one_begins_anew() {
        let mut shared = Memory::default();
        assert!(add(&mut shared, "claims", &opened(1, 1, Kind::default()), "cat").agrees);
        let counts = add(&mut shared, "claims", &opened(2, 2, Kind::default()), "dog");
        assert_eq!(counts, Counts { agrees: false, labels: ("dog".into(), "cat".into()) });
        assert_eq!(of(&shared, "claims", 7).blind, Band { tasks: 2, disagreements: 1 });
        assert_eq!(of(&shared, "claims", 8), Decisions::default());
        erase(&mut shared, "claims");
        assert_eq!(of(&shared, "claims", 7), Decisions::default());
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
