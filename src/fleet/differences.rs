//! What the compared pairs of an attempt add up to, over all workers.

use serde::{Deserialize, Serialize};

use super::shared::{self, Shared};
use crate::compare::totals::Totals;

/// What was compared of a rollout in its newest attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Differences {
    /// Identifies the attempt: a retry may be of a repaired model.
    pub attempt: u64,
    /// The version whose answers were compared with stable's.
    pub shadow: String,
    /// When the configuration that was compared by was loaded, by the clock that all VMs share.
    pub loaded_at: u64,
    /// Identifies how the answers were compared, and what of them is kept.
    pub definition: u64,
    /// What the pairs add up to.
    pub totals: Totals,
    /// The same of stable's answers and those of its copy.
    pub baseline: Totals,
}

/// Adds what one worker has counted. What is about another attempt than the one that has [begun](begin) counts no longer; of two
/// ways to compare, the one that was loaded later counts.
pub fn add(shared: &mut impl Shared, rollout: &str, counted: &Differences) -> bool {
    shared::update::<Differences>(shared, &key(rollout), |known| {
        let Some(mut known) = known else { return Some(counted.clone()) };
        if known.attempt != counted.attempt {
            None
        } else if (&known.shadow, known.definition) == (&counted.shadow, counted.definition) {
            known.totals.add(&counted.totals);
            known.baseline.add(&counted.baseline);
            known.loaded_at = known.loaded_at.max(counted.loaded_at);
            Some(known)
        } else {
            (known.loaded_at <= counted.loaded_at).then(|| counted.clone())
        }
    })
}

/// An attempt begins: what was compared in others is forgotten, and counts no longer. To be called before the workers learn of
/// the attempt.
pub(super) fn begin(shared: &mut impl Shared, rollout: &str, attempt: u64) {
    shared::update::<Differences>(shared, &key(rollout), |known| {
        let known = known.unwrap_or_default();
        (known.attempt != attempt).then(|| Differences { attempt, ..known.emptied() })
    });
}

/// Forgets what was compared of a rollout otherwise than it is from now on, with the values of answers that were kept.
/// `loaded_at`: when the configuration was loaded; `comparison`: what identifies how it compares, if it does.
pub fn configure(shared: &mut impl Shared, rollout: &str, loaded_at: u64, comparison: Option<u64>) {
    shared::update::<Differences>(shared, &key(rollout), |known| {
        let known =
            known.filter(|known| known.loaded_at <= loaded_at && Some(known.definition) != comparison)?;
        // A worker that goes on with the old configuration for a moment is late.
        Some(Differences { loaded_at, definition: comparison.unwrap_or_default(), ..known.emptied() })
    });
}

impl Differences {
    /// The same without pairs.
    fn emptied(self) -> Self {
        Self { totals: Totals::default(), baseline: Totals::default(), ..self }
    }
}

/// Forgets a rollout.
pub fn erase(shared: &mut impl Shared, rollout: &str) {
    shared::erase(shared, &key(rollout));
}

/// What was compared of a rollout in an attempt.
pub fn of(shared: &impl Shared, rollout: &str, attempt: u64) -> Option<Differences> {
    shared::read::<Differences>(shared, &key(rollout)).filter(|known| known.attempt == attempt)
}

fn key(rollout: &str) -> String {
    shared::key(&format!("differences.{rollout}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::memory::Memory;

    fn counted(attempt: u64, loaded_at: u64, compared: u64) -> Differences {
        let totals = Totals { compared, ..Totals::default() };
        let shadow = "green".to_owned();
        Differences { attempt, shadow, loaded_at, totals, ..Differences::default() }
    }

    fn compared(shared: &Memory, attempt: u64) -> Option<u64> {
        of(shared, "r", attempt).map(|known| known.totals.compared)
    }

    #[test]
    fn workers_add_up() {
        let mut shared = Memory::default();
        assert_eq!(compared(&shared, 1), None);
        for (loaded_at, pairs) in [(5, 10), (4, 20)] {
            assert!(add(&mut shared, "r", &counted(1, loaded_at, pairs)));
        }
        assert_eq!((compared(&shared, 1), compared(&shared, 2)), (Some(30), None));
    }

    #[test]
    fn an_attempt_begins_anew_and_what_comes_late_of_others_counts_no_longer() {
        let mut shared = Memory::default();
        add(&mut shared, "r", &counted(1, 5, 10));
        begin(&mut shared, "r", 1);
        assert_eq!(compared(&shared, 1), Some(10), "the same attempt");
        // A retry, another release, and the release before once more.
        for attempt in [2, 7, 1] {
            begin(&mut shared, "r", attempt);
            assert_eq!(compared(&shared, attempt), Some(0), "nothing was compared yet");
            // A pair whose request came before; a worker with a new configuration that does not know the attempt yet.
            for (late, loaded_at) in [(1, 5), (2, 5), (2, 6), (7, 9)] {
                if late != attempt {
                    add(&mut shared, "r", &counted(late, loaded_at, 100));
                }
            }
            for pairs in [3, 4] {
                add(&mut shared, "r", &counted(attempt, 5, pairs));
            }
            assert_eq!(compared(&shared, attempt), Some(7));
        }
    }

    #[test]
    fn another_way_to_compare_begins_anew_and_takes_kept_answers_away() {
        let mut shared = Memory::default();
        add(&mut shared, "r", &counted(1, 5, 10));
        let known = |shared: &Memory| compared(shared, 1);
        configure(&mut shared, "r", 5, Some(0));
        assert_eq!(known(&shared), Some(10), "the same way");
        configure(&mut shared, "r", 4, Some(7));
        assert_eq!(known(&shared), Some(10), "an older configuration");
        configure(&mut shared, "r", 6, Some(7));
        assert_eq!(known(&shared), Some(0));
        // A worker that still has the configuration before.
        add(&mut shared, "r", &counted(1, 5, 100));
        assert_eq!(known(&shared), Some(0));
        add(&mut shared, "r", &Differences { definition: 7, ..counted(1, 6, 3) });
        assert_eq!(known(&shared), Some(3));
        configure(&mut shared, "r", 7, None);
        assert_eq!(known(&shared), Some(0), "nothing is compared any more");
        erase(&mut shared, "r");
        configure(&mut shared, "r", 8, Some(7));
        assert_eq!(known(&shared), None);
    }
}
