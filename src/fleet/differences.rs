//! What the compared pairs of a release add up to, over all workers.

use serde::{Deserialize, Serialize};

use super::shared::{self, Shared};
use crate::compare::totals::Totals;

/// What was compared of a rollout's newest release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Differences {
    /// The release.
    pub release: String,
    /// The version whose answers were compared with stable's.
    pub shadow: String,
    /// When the configuration that has the release was loaded, by the clock that all VMs share.
    pub loaded_at: u64,
    /// Identifies how the answers were compared, and what of them is kept.
    pub definition: u64,
    /// What the pairs add up to.
    pub totals: Totals,
    /// The same of stable's answers and those of its copy.
    pub baseline: Totals,
}

impl Differences {
    /// Whether both are about the same release, compared in the same way.
    fn is_like(&self, other: &Self) -> bool {
        (&self.release, &self.shadow, self.definition) == (&other.release, &other.shadow, other.definition)
    }
}

/// Adds what one worker has counted. Of two releases, or two ways to compare, the one that was loaded later counts.
pub fn add(shared: &mut impl Shared, rollout: &str, counted: &Differences) -> bool {
    shared::update::<Differences>(shared, &key(rollout), |known| match known {
        Some(mut known) if known.is_like(counted) => {
            known.totals.add(&counted.totals);
            known.baseline.add(&counted.baseline);
            known.loaded_at = known.loaded_at.max(counted.loaded_at);
            Some(known)
        }
        Some(newer) if newer.loaded_at > counted.loaded_at => None,
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
        let Differences { release, shadow, .. } = known;
        let definition = comparison.unwrap_or_default();
        Some(Differences { release, shadow, loaded_at, definition, ..Differences::default() })
    });
}

/// Forgets a rollout.
pub fn erase(shared: &mut impl Shared, rollout: &str) {
    shared::erase(shared, &key(rollout));
}

/// What was compared of a rollout; of `release` only.
pub fn of(shared: &impl Shared, rollout: &str, release: &str) -> Option<Differences> {
    shared::read::<Differences>(shared, &key(rollout)).filter(|known| known.release == release)
}

fn key(rollout: &str) -> String {
    shared::key(&format!("differences.{rollout}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::memory::Memory;

    fn counted(release: &str, loaded_at: u64, compared: u64) -> Differences {
        let totals = Totals { compared, ..Totals::default() };
        let (release, shadow) = (release.to_owned(), "green".to_owned());
        Differences { release, shadow, loaded_at, totals, ..Differences::default() }
    }

    #[test]
    fn workers_add_up_and_a_newer_release_begins_anew() {
        let mut shared = Memory::default();
        let known = |shared: &Memory, release| of(shared, "r", release).map(|known| known.totals.compared);
        assert_eq!(known(&shared, "1"), None);
        for (release, loaded_at, compared) in [("1", 5, 10), ("1", 4, 20)] {
            assert!(add(&mut shared, "r", &counted(release, loaded_at, compared)));
        }
        assert_eq!(known(&shared, "1"), Some(30));
        add(&mut shared, "r", &counted("2", 9, 1));
        // A worker that has not heard of it yet.
        add(&mut shared, "r", &counted("1", 5, 100));
        assert_eq!((known(&shared, "1"), known(&shared, "2")), (None, Some(1)));
    }

    #[test]
    fn another_way_to_compare_begins_anew_and_takes_kept_answers_away() {
        let mut shared = Memory::default();
        add(&mut shared, "r", &counted("1", 5, 10));
        let known = |shared: &Memory| of(shared, "r", "1").map(|known| known.totals.compared);
        configure(&mut shared, "r", 5, Some(0));
        assert_eq!(known(&shared), Some(10), "the same way");
        configure(&mut shared, "r", 4, Some(7));
        assert_eq!(known(&shared), Some(10), "an older configuration");
        configure(&mut shared, "r", 6, Some(7));
        assert_eq!(known(&shared), Some(0));
        // A worker that still has the configuration before.
        add(&mut shared, "r", &counted("1", 5, 100));
        assert_eq!(known(&shared), Some(0));
        add(&mut shared, "r", &Differences { definition: 7, ..counted("1", 6, 3) });
        assert_eq!(known(&shared), Some(3));
        configure(&mut shared, "r", 7, None);
        assert_eq!(known(&shared), Some(0), "nothing is compared any more");
        erase(&mut shared, "r");
        configure(&mut shared, "r", 8, Some(7));
        assert_eq!(known(&shared), None);
    }
}
