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
    /// What the pairs add up to.
    pub totals: Totals,
    /// The same of stable's answers and those of its copy.
    pub baseline: Totals,
}

/// Adds what one worker has counted. Of two releases the one that was loaded later counts.
pub fn add(shared: &mut impl Shared, rollout: &str, counted: &Differences) -> bool {
    shared::update::<Differences>(shared, &key(rollout), |known| {
        let same =
            |known: &Differences| (&known.release, &known.shadow) == (&counted.release, &counted.shadow);
        match known {
            Some(mut known) if same(&known) => {
                known.totals.add(&counted.totals);
                known.baseline.add(&counted.baseline);
                known.loaded_at = known.loaded_at.max(counted.loaded_at);
                Some(known)
            }
            Some(newer) if newer.loaded_at > counted.loaded_at => None,
            Some(_) | None => Some(counted.clone()),
        }
    })
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
        Differences { release, shadow, loaded_at, totals, baseline: Totals::default() }
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
}
