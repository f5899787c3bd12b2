//! What the compared pairs of an attempt add up to, over all workers.

use serde::{Deserialize, Serialize};

use super::shared::{self, Shared};
use crate::compare::totals::Totals;
#[cfg(doc)]
use crate::rollout::program::Program;

/// What was compared of a rollout in its newest attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Differences {
    /// Identifies the run: [`Program::run`].
    pub run: u64,
    /// The attempt, from 1: a retry may be of a repaired model.
    pub attempt: u32,
    /// The version whose answers were compared with stable's.
    pub shadow: String,
    /// When the configuration that has the run was loaded, by the clock that all VMs share.
    pub loaded_at: u64,
    /// Identifies how the answers were compared, and what of them is kept.
    pub definition: u64,
    /// What the pairs add up to.
    pub totals: Totals,
    /// The same of stable's answers and those of its copy.
    pub baseline: Totals,
}

impl Differences {
    /// Whether both are about the same attempt, compared in the same way.
    fn is_like(&self, other: &Self) -> bool {
        let about = |of: &Self| (of.run, of.attempt, of.definition);
        about(self) == about(other) && self.shadow == other.shadow
    }

    /// Whether it is about a later attempt of the run; of two runs, or two ways to compare, the one that was loaded later.
    fn is_later_than(&self, other: &Self) -> bool {
        if self.run == other.run && self.attempt != other.attempt {
            self.attempt > other.attempt
        } else {
            self.loaded_at > other.loaded_at
        }
    }
}

/// Adds what one worker has counted; what is about an earlier attempt counts no longer.
pub fn add(shared: &mut impl Shared, rollout: &str, counted: &Differences) -> bool {
    shared::update::<Differences>(shared, &key(rollout), |known| match known {
        Some(mut known) if known.is_like(counted) => {
            known.totals.add(&counted.totals);
            known.baseline.add(&counted.baseline);
            known.loaded_at = known.loaded_at.max(counted.loaded_at);
            Some(known)
        }
        Some(known) if known.is_later_than(counted) => None,
        Some(_) | None => Some(counted.clone()),
    })
}

/// Forgets what was compared of a rollout otherwise than it is from now on, with the values of answers that were kept.
/// `loaded_at`: when the configuration was loaded; `comparison`: what identifies how it compares, if it does.
pub fn configure(shared: &mut impl Shared, rollout: &str, loaded_at: u64, comparison: Option<u64>) {
    shared::update::<Differences>(shared, &key(rollout), |known| {
        let known =
            known.filter(|known| known.loaded_at <= loaded_at && Some(known.definition) != comparison)?;
        // A worker that goes on with the old configuration for a moment is late.
        let Differences { run, attempt, shadow, .. } = known;
        let definition = comparison.unwrap_or_default();
        Some(Differences { run, attempt, shadow, loaded_at, definition, ..Differences::default() })
    });
}

/// Forgets a rollout.
pub fn erase(shared: &mut impl Shared, rollout: &str) {
    shared::erase(shared, &key(rollout));
}

/// What was compared of a rollout in this attempt of this run.
pub fn of(shared: &impl Shared, rollout: &str, run: u64, attempt: u32) -> Option<Differences> {
    let known = shared::read::<Differences>(shared, &key(rollout));
    known.filter(|known| (known.run, known.attempt) == (run, attempt))
}

fn key(rollout: &str) -> String {
    shared::key(&format!("differences.{rollout}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::memory::Memory;

    fn counted(run: u64, loaded_at: u64, compared: u64) -> Differences {
        let totals = Totals { compared, ..Totals::default() };
        let shadow = "green".to_owned();
        Differences { run, attempt: 1, shadow, loaded_at, totals, ..Differences::default() }
    }

    fn compared(shared: &Memory, run: u64, attempt: u32) -> Option<u64> {
        of(shared, "r", run, attempt).map(|known| known.totals.compared)
    }

    #[test]
    fn workers_add_up_and_a_newer_run_begins_anew() {
        let mut shared = Memory::default();
        assert_eq!(compared(&shared, 1, 1), None);
        for (loaded_at, pairs) in [(5, 10), (4, 20)] {
            assert!(add(&mut shared, "r", &counted(1, loaded_at, pairs)));
        }
        assert_eq!(compared(&shared, 1, 1), Some(30));
        add(&mut shared, "r", &counted(2, 9, 1));
        // A worker that has not heard of it yet.
        add(&mut shared, "r", &counted(1, 5, 100));
        assert_eq!((compared(&shared, 1, 1), compared(&shared, 2, 1)), (None, Some(1)));
    }

    #[test]
    fn a_retry_begins_anew_and_what_comes_late_of_the_attempt_before_counts_no_longer() {
        let mut shared = Memory::default();
        let retried = |pairs| Differences { attempt: 2, ..counted(1, 5, pairs) };
        add(&mut shared, "r", &counted(1, 5, 10));
        assert_eq!(compared(&shared, 1, 2), None, "of the retry nothing was compared yet");
        add(&mut shared, "r", &retried(3));
        assert_eq!((compared(&shared, 1, 1), compared(&shared, 1, 2)), (None, Some(3)));
        // A pair whose request came before; a worker with a new configuration that does not know the attempt yet.
        for loaded_at in [5, 6] {
            add(&mut shared, "r", &counted(1, loaded_at, 100));
        }
        add(&mut shared, "r", &retried(4));
        assert_eq!(compared(&shared, 1, 2), Some(7));
        // Another run has a first attempt again.
        add(&mut shared, "r", &counted(2, 9, 1));
        assert_eq!(compared(&shared, 2, 1), Some(1));
    }

    #[test]
    fn another_way_to_compare_begins_anew_and_takes_kept_answers_away() {
        let mut shared = Memory::default();
        add(&mut shared, "r", &counted(1, 5, 10));
        let known = |shared: &Memory| compared(shared, 1, 1);
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
