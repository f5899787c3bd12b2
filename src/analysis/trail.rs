//! Who has come lately: what users do after a request where that is a request itself.
//!
//! Workers report users by the tick. A user who comes again after a while has repeated a request, and one who then sends a
//! request of another rollout has switched. Both versions' users are followed alike: by the part of them that all workers
//! report of a tick.

use serde::{Deserialize, Serialize};

use super::tick::Tick;
use crate::model::{Side, UserHash};
use crate::signal::catalog::SignalId;
use crate::signal::observed::Observed;
use crate::signal::tally::Users;

/// Users that are followed.
pub const MOST: usize = 32_768;

/// What is counted of users who come again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The name of the rule.
    pub name: String,
    /// What it is counted as.
    pub signal: SignalId,
    /// What workers count requests of another rollout as; `None`: it is about requests of the same one.
    pub elsewhere: Option<SignalId>,
    /// Ticks from one request to the next: at least.
    pub not_before: u64,
    /// At most.
    pub within: u64,
}

/// Users who have come lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// By user: the tick of the last request, and the version that got it.
    users: Vec<(UserHash, u64, Side)>,
    /// What was counted and not shown yet, by rule and version.
    counted: Vec<(String, Side, u64)>,
    forgotten: u64,
}

impl Trail {
    /// Follows the users of a tick. What they do again is added to it, for the version that got the request before. Ticks come in
    /// order.
    pub fn follow(&mut self, tick: &mut Tick, rules: &[Followed]) {
        if rules.is_empty() {
            return;
        }
        let level = level(tick, rules);
        let came = listed(tick, None, level);
        for rule in rules {
            let elsewhere = rule.elsewhere.map(|_| listed(tick, rule.elsewhere, level));
            for (user, _) in elsewhere.as_ref().unwrap_or(&came) {
                let Ok(at) = self.users.binary_search_by(|(known, ..)| known.cmp(user)) else { continue };
                let Some((_, last, side)) = self.users.get(at).copied() else { continue };
                let gap = tick.number.saturating_sub(last);
                if gap < rule.not_before || gap > rule.within {
                    continue;
                }
                let counts = &mut tick.counts[side];
                if let Some(tally) = counts.tally_mut(rule.signal) {
                    tally.add(Observed::Event(true));
                    if let Some(sample) = counts.users.get_or_insert_default().sample_mut(rule.signal) {
                        sample.note(*user, 0);
                    }
                }
                self.count(&rule.name, side);
            }
        }
        leave_own(tick, rules);
        self.come(&came, tick.number);
        self.forget(tick.number, rules.iter().map(|rule| rule.within).max().unwrap_or_default());
    }

    fn count(&mut self, rule: &str, side: Side) {
        let known = self.counted.iter_mut().find(|(name, of, _)| (name.as_str(), *of) == (rule, side));
        match known {
            Some((_, _, count)) => *count = count.saturating_add(1),
            None => self.counted.push((rule.to_owned(), side, 1)),
        }
    }

    /// Notes that these users, in ascending order, have come in a tick.
    fn come(&mut self, came: &[(UserHash, Side)], number: u64) {
        let mut all = Vec::with_capacity(self.users.len().saturating_add(came.len()));
        let mut known = self.users.iter().copied().peekable();
        for (user, side) in came {
            while let Some(earlier) = known.next_if(|(known, ..)| known < user) {
                all.push(earlier);
            }
            known.next_if(|(known, ..)| known == user);
            all.push((*user, number, *side));
        }
        all.extend(known);
        self.users = all;
    }

    /// Forgets the users who came too long ago, and of too many those who came first.
    fn forget(&mut self, number: u64, longest: u64) {
        self.users.retain(|(_, last, _)| last.saturating_add(longest) > number);
        let surplus = self.users.len().saturating_sub(MOST);
        if surplus == 0 {
            return;
        }
        // How many came how long ago: `longest` is some minutes.
        let mut ages = vec![0_usize; usize::try_from(longest).unwrap_or_default().saturating_add(1)];
        for (_, last, _) in &self.users {
            let age = usize::try_from(number.saturating_sub(*last)).unwrap_or(usize::MAX);
            if let Some(count) = ages.get_mut(age) {
                *count = count.saturating_add(1);
            }
        }
        let mut left = surplus;
        let oldest = ages.iter().rposition(|count| {
            left = left.saturating_sub(*count);
            left == 0
        });
        let (oldest, before) = (oldest.unwrap_or_default() as u64, self.users.len());
        self.users.retain(|(_, last, _)| number.saturating_sub(*last) < oldest);
        self.forgotten = self.forgotten.saturating_add(before.saturating_sub(self.users.len()) as u64);
    }

    /// What was counted since the last call: by rule and version how often.
    pub fn take_counted(&mut self) -> Vec<(String, Side, u64)> {
        std::mem::take(&mut self.counted)
    }

    /// How many users were forgotten too early since the last call.
    pub fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }
}

/// Removes from a tick what happened in other rollouts: it is no event of this one.
pub fn leave_own(tick: &mut Tick, rules: &[Followed]) {
    for elsewhere in rules.iter().filter_map(|rule| rule.elsewhere) {
        for side in Side::BOTH {
            let counts = &mut tick.counts[side];
            counts.tallies.retain(|(signal, _)| *signal != elsewhere);
            if let Some(users) = &mut counts.users {
                users.signals.retain(|(signal, _)| *signal != elsewhere);
            }
        }
    }
}

/// The users that are left of a tick's after `level` halvings, in ascending order: those who came, or with this signal. While weights
/// change a user may have come to both versions: that counts once.
fn listed(tick: &Tick, signal: Option<SignalId>, level: u8) -> Vec<(UserHash, Side)> {
    let mut all: Vec<(UserHash, Side)> = Vec::new();
    for (side, counts) in tick.counts.iter() {
        let Some(users) = &counts.users else { continue };
        let sample = match signal {
            None => Some(&users.seen),
            Some(signal) => users.sample(signal),
        };
        let before = std::mem::take(&mut all);
        let mut before = before.into_iter().peekable();
        for (user, _) in sample.iter().flat_map(|sample| sample.after(level)) {
            while let Some(earlier) = before.next_if(|(known, _)| *known < user) {
                all.push(earlier);
            }
            before.next_if(|(known, _)| *known == user);
            all.push((user, side));
        }
        all.extend(before);
    }
    all
}

/// How often the users were halved that both versions' workers report of a tick.
fn level(tick: &Tick, rules: &[Followed]) -> u8 {
    let of = |users: &Users| {
        let others = rules.iter().filter_map(|rule| Some(users.sample(rule.elsewhere?)?.level()));
        others.fold(users.seen.level(), u8::max)
    };
    tick.counts.iter().filter_map(|(_, counts)| counts.users.as_deref()).map(of).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::users::tests::hash;
    use crate::signal::catalog;
    use crate::signal::tally::{Counts, Tally};

    fn redo() -> Followed {
        let signal = catalog::event("redo");
        Followed { name: "redo".into(), signal, elsewhere: None, not_before: 2, within: 60 }
    }

    fn switch() -> Followed {
        let (signal, elsewhere) = (catalog::event("switch"), Some(catalog::elsewhere("switch")));
        Followed { name: "switch".into(), signal, elsewhere, not_before: 1, within: 10 }
    }

    /// A tick in which these users come, by side, and these send a request of another rollout.
    fn tick(number: u64, came: &[(u64, Side)], elsewhere: &[u64]) -> Tick {
        let mut tick = Tick { number, ..Tick::default() };
        for side in Side::BOTH {
            let rules = [redo(), switch()];
            let signals: Vec<_> =
                rules.iter().flat_map(|rule| [Some(rule.signal), rule.elsewhere]).flatten().collect();
            tick.counts[side] = Counts { users: Some(Box::default()), ..Counts::of(&signals) };
        }
        for (user, side) in came {
            tick.counts[*side].users.as_mut().unwrap().seen.join(hash(*user), 0);
        }
        for user in elsewhere {
            let users = tick.counts[Side::Stable].users.as_mut().unwrap();
            users.sample_mut(catalog::elsewhere("switch")).unwrap().note(hash(*user), 0);
        }
        tick
    }

    fn counted(trail: &mut Trail) -> Vec<(String, Side, u64)> {
        let mut counted = trail.take_counted();
        counted.sort_by_key(|(name, side, _)| (name.clone(), *side == Side::Candidate));
        counted
    }

    #[test]
    fn a_user_who_comes_again_within_the_time_counts_for_the_version_of_the_request_before() {
        use Side::{Candidate, Stable};
        let (mut trail, rules) = (Trail::default(), [redo()]);
        let mut come = |number, came: &[(u64, Side)]| {
            let mut tick = tick(number, came, &[]);
            trail.follow(&mut tick, &rules);
            let events = tick.counts.as_ref().map(|counts| match counts.tally(redo().signal) {
                Some(Tally::Event(arm)) => arm.events,
                _ => 0,
            });
            let listed = tick.counts.as_ref().map(|counts| {
                counts
                    .users
                    .as_ref()
                    .and_then(|users| users.sample(redo().signal))
                    .map_or(0, |sample| sample.after(0).count())
            });
            assert_eq!((events.candidate, events.stable), (listed.candidate as u64, listed.stable as u64));
            (events.candidate, events.stable)
        };
        assert_eq!(come(10, &[(1, Candidate), (2, Stable), (3, Stable)]), (0, 0));
        assert_eq!(come(11, &[(1, Candidate)]), (0, 0), "a second later is no repetition");
        assert_eq!(come(13, &[(1, Candidate), (4, Stable)]), (1, 0));
        assert_eq!(come(70, &[(2, Candidate), (4, Stable)]), (0, 2), "of the version that it had");
        assert_eq!(come(71, &[(3, Stable)]), (0, 0), "too late");
        assert_eq!(come(131, &[(2, Candidate)]), (0, 0), "too late after the second one");
        assert_eq!(counted(&mut trail), [("redo".into(), Stable, 2), ("redo".into(), Candidate, 1)]);
        assert_eq!(counted(&mut trail), []);
    }

    #[test]
    fn a_request_of_another_rollout_counts_only_after_one_of_this() {
        use Side::{Candidate, Stable};
        let (mut trail, rules) = (Trail::default(), [switch(), redo()]);
        for mut tick in [
            tick(1, &[(1, Candidate), (2, Stable)], &[3]),
            tick(2, &[(3, Stable)], &[3]),
            tick(11, &[], &[1, 2, 4]),
            tick(12, &[], &[1, 3]),
        ] {
            trail.follow(&mut tick, &rules);
        }
        let expected = [("switch".into(), Stable, 2), ("switch".into(), Candidate, 1)];
        assert_eq!(counted(&mut trail), expected);
    }

    /// Otherwise its users would count as users of this one, though they have sent it nothing.
    #[test]
    fn requests_of_another_rollout_are_nothing_that_has_happened_in_this_one() {
        let others: Vec<u64> = (0..1_000).collect();
        let mut tick = Tick { share: Some(0.5), ..tick(1, &[], &others) };
        tick.counts.stable.tally_mut(catalog::elsewhere("switch")).unwrap().add(Observed::Event(true));
        assert!(tick.compared_at().is_some());
        Trail::default().follow(&mut tick, &[switch()]);
        assert_eq!(tick.compared_at(), None);
        let listed = tick.counts.stable.users.as_ref().unwrap().with_events();
        assert_eq!(listed.map(|sample| sample.after(0).count()).sum::<usize>(), 0);
    }

    /// Otherwise more of the version's users would be found whose workers report all of them.
    #[test]
    fn of_both_versions_the_same_part_of_users_is_followed() {
        let (mut trail, rules) = (Trail::default(), [redo()]);
        let many: Vec<(u64, Side)> = (0..6_000)
            .map(|user| (user, if user % 6 == 0 { Side::Candidate } else { Side::Stable }))
            .collect();
        trail.follow(&mut tick(1, &many, &[]), &rules);
        trail.follow(&mut tick(9, &many, &[]), &rules);
        let counted: std::collections::BTreeMap<bool, u64> = counted(&mut trail)
            .into_iter()
            .map(|(_, side, count)| (side == Side::Candidate, count))
            .collect();
        let part = counted[&true] as f64 / (counted[&true] + counted[&false]) as f64;
        assert!((part - 1.0 / 6.0).abs() < 0.04, "{counted:?}");
    }

    #[test]
    fn of_too_many_users_those_who_came_first_are_forgotten_and_counted() {
        let (mut trail, rules) = (Trail::default(), [redo()]);
        for number in 0..20 {
            let came: Vec<(u64, Side)> =
                (0..2_000).map(|user| (number * 2_000 + user, Side::Stable)).collect();
            trail.follow(&mut tick(number, &came, &[]), &rules);
            assert!(trail.users.len() <= MOST);
        }
        assert_eq!(trail.take_forgotten(), 40_000 - trail.users.len() as u64);
        trail.follow(&mut tick(21, &[(0, Side::Stable), (39_999, Side::Stable)], &[]), &rules);
        assert_eq!(counted(&mut trail), [("redo".into(), Side::Stable, 1)], "the second one's");
    }
}
