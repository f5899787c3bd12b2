//! Members whose configurations differ from those of the others.

use siphasher::sip::SipHasher24;

use super::Member;
use crate::fleet::store::pool::GONE;
use crate::fleet::store::values::{Differs, Seen};
use crate::model::SortedMap;
use crate::rollout::clock::Clock;

/// Rollouts of a member whose configurations are followed while they differ.
const MOST_DIFFERENCES: usize = 8;

impl Member {
    /// Notes in each counted member in what its configuration has differed for long: it has another run of a rollout than most
    /// members have, or another program than most that have this run.
    #[inline(never)] // one copy in the module
    pub(super) fn note_differing(&mut self, members: &mut [Seen], clock: Clock) {
        let before = std::mem::take(&mut self.differing);
        // By configuration: how many votes the members that have it have together.
        let mut alike: SortedMap<u64, u64> = SortedMap::default();
        for member in members.iter().filter(|member| member.left_out.is_none()) {
            let votes = alike.get_or_insert_with(member.configuration, u64::default);
            // Of as many on either side that of the leader is judged.
            *votes = votes.saturating_add(if member.life == self.life { 3 } else { 2 });
        }
        let with = |configuration: u64, members: &[Seen]| {
            let mut all = members.iter().filter(|member| member.left_out.is_none());
            let life = all.find(|member| member.configuration == configuration)?.life;
            self.configurations.get(&life)
        };
        let hash = |name: &str| SipHasher24::new().hash(name.as_bytes());
        let mut votes_of: SortedMap<u64, u64> = SortedMap::default();
        let mut most_of: SortedMap<u64, u64> = SortedMap::default();
        for (configuration, votes) in alike.iter().filter(|_| alike.len() > 1) {
            for (name, run, fingerprint) in with(*configuration, members).iter().flat_map(|has| &has.programs)
            {
                // The votes for a run of the rollout, and for a program of that run.
                for (of, what, votes) in
                    [(hash(name), run, *votes), (hash(name) ^ run, fingerprint, *votes & !1)]
                {
                    let sum = votes_of.get_or_insert_with(of ^ what, u64::default);
                    *sum = sum.saturating_add(votes);
                    let most = most_of.get_or_insert_with(of, u64::default);
                    *most = (*most).max(*sum);
                }
            }
        }
        for (name, known) in &self.known {
            // Of as many on either side the program in force stays.
            let Some(in_force) = known.current.as_ref().map(|mine| mine.record.fingerprint) else { continue };
            let of = hash(name) ^ known.run;
            if let (Some(sum), Some(most)) = (votes_of.get_mut(&(of ^ in_force)), most_of.get_mut(&of)) {
                *sum = sum.saturating_add(1);
                *most = (*most).max(*sum);
            }
        }
        for (configuration, _) in alike.iter() {
            let mut differences = Vec::new();
            let has = with(*configuration, members).filter(|_| alike.len() > 1);
            for (name, run, fingerprint) in has.iter().flat_map(|has| &has.programs) {
                let has_less = |of: u64, what: u64| votes_of.get(&(of ^ what)) < most_of.get(&of);
                let is_release = has_less(hash(name), *run);
                let differs = is_release || has_less(hash(name) ^ run, *fingerprint);
                if differs && differences.len() < MOST_DIFFERENCES {
                    differences.push(Differs { rollout: name.clone(), is_release });
                }
            }
            let is_alike =
                |member: &&mut Seen| member.configuration == *configuration && member.left_out.is_none();
            for member in members.iter_mut().filter(is_alike) {
                let found = member.differs.take();
                for differs in &differences {
                    let id = hash(&differs.rollout) ^ u64::from(differs.is_release) ^ member.life.0;
                    // Who led before may have found it already.
                    let is_known = found.as_ref() == Some(differs);
                    let at = if is_known { clock.uptime.saturating_sub(GONE) } else { clock.uptime };
                    let since = before.get(&id).copied().unwrap_or(at);
                    self.differing.insert(id, since);
                    if member.differs.is_none() && clock.uptime.saturating_sub(since) >= GONE {
                        member.differs = Some(differs.clone());
                    }
                }
            }
        }
    }
}
