//! How a VM routes as the leader says, and has the others do so.

use std::collections::BTreeSet;

use super::Member;
use crate::fleet::callback::Callback;
use crate::fleet::effect::Effect;
use crate::fleet::shared::Shared;
use crate::fleet::{confirm, heads, leader, presence, record};
use crate::rollout::clock::Clock;
use crate::routing::plan::Rollout;

/// Rollouts that are followed between two looks at the clock.
const FOLLOWED_BETWEEN_LOOKS: usize = 32;
/// Rollouts that may be behind while the others are confirmed: with more, a configuration is about to come or go.
const MOST_BEHIND: usize = 32;

/// All heads looked at, in pieces.
#[derive(Default)]
pub(super) struct CatchUp {
    /// Changes up to this version of the heads are looked at by the end.
    version: u64,
    /// The rollout that comes next, of all in use.
    next: usize,
    /// Those of them so far that do not follow their head.
    behind: BTreeSet<String>,
}

impl Member {
    /// Puts a new rollout where it stands, before a request is routed by it.
    pub fn place(&self, shared: &impl Shared, rollout: &Rollout, loaded_at: u64, clock: Clock) {
        let Some(head) = heads::read(shared, &rollout.name) else { return };
        if rollout.follow(&head) {
            return;
        }
        // Another program: the leader will do the same with this configuration; until then every VM foresees it.
        if let Some(mut record) = record(shared, &rollout.name) {
            leader::configure(&mut record, &rollout.program, loaded_at, clock);
            rollout.follow(&record.head(&rollout.name));
        }
    }

    /// Places those of some rollouts again whose heads have changed since a version of all of them.
    pub fn place_changed(
        &self,
        shared: &impl Shared,
        rollouts: &[Rollout],
        (since, loaded_at): (u64, u64),
        clock: Clock,
    ) {
        if heads::version(shared) == since {
            return;
        }
        let log = heads::log(shared);
        let changed = log.since(since);
        let is_changed = |rollout: &&Rollout| {
            changed.as_ref().is_none_or(|changed| changed.binary_search(&rollout.name.as_str()).is_ok())
        };
        rollouts.iter().filter(is_changed).for_each(|rollout| self.place(shared, rollout, loaded_at, clock));
    }

    /// Routes as the leader says: at once where few rollouts have changed, else while there is `time`.
    fn follow<S: Shared>(&mut self, callback: &mut Callback<'_, S>) {
        let (plans, time, shared) = (callback.plans, callback.time, &*callback.shared);
        if self.catching_up.is_none() && heads::version(shared) == self.looked {
            return;
        }
        let log = heads::log(shared);
        let rollouts = || plans.iter().flat_map(|in_use| in_use.plan.rollouts());
        let tracked = &self.tracked;
        let mut follows = |rollout: &Rollout| {
            let Some(head) = heads::read(shared, &rollout.name) else { return true };
            let is_news = !rollout.is_at(&head);
            let follows = rollout.follow(&head);
            if follows && is_news && !matches!(callback.effects.last(), Some(Effect::Routes)) {
                callback.effects.push(Effect::Routes);
            }
            if let Some(tracked) = tracked.get(&rollout.name).filter(|_| follows) {
                tracked.follow(head.assignment);
            }
            follows
        };
        let looked_at = self.catching_up.as_ref().map_or(self.looked, |catching_up| catching_up.version);
        let changed = log.since(looked_at);
        if changed.is_none() {
            self.catching_up = Some(CatchUp::default());
        }
        let changed = changed.unwrap_or_default();
        let is_changed = |rollout: &str| changed.binary_search(&rollout).is_ok();
        let behind =
            self.catching_up.as_mut().map_or(&mut self.behind, |catching_up| &mut catching_up.behind);
        behind.retain(|rollout| !is_changed(rollout));
        for rollout in rollouts().filter(|rollout| is_changed(&rollout.name)) {
            if !follows(rollout) {
                behind.insert(rollout.name.clone());
            }
        }
        if let Some(catching_up) = &mut self.catching_up {
            catching_up.version = log.version;
            for rollout in rollouts().skip(catching_up.next) {
                if !follows(rollout) {
                    catching_up.behind.insert(rollout.name.clone());
                }
                catching_up.next = catching_up.next.saturating_add(1);
                if catching_up.next.is_multiple_of(FOLLOWED_BETWEEN_LOOKS) && !time() {
                    return;
                }
            }
        }
        if let Some(CatchUp { behind, .. }) = self.catching_up.take() {
            self.behind = behind;
        }
        self.looked = log.version;
        if self.behind.len() <= MOST_BEHIND {
            self.following = self.looked;
        }
    }

    pub(super) fn follow_and_confirm<S: Shared>(&mut self, callback: &mut Callback<'_, S>) {
        self.follow(callback);
        if let Some(number) = self.number {
            confirm::followed(callback.shared, number, self.id, self.following, &self.behind);
        }
    }

    pub(super) fn wake_others<S: Shared>(&self, callback: &mut Callback<'_, S>, reply: bool) {
        let others = presence::alive(callback.shared, callback.clock.uptime)
            .into_iter()
            .filter(|(_, vm)| *vm != self.id);
        let reply_to = reply.then_some(self.id);
        callback.effects.extend(others.map(|(_, vm)| Effect::Wake { vm, reply_to }));
    }
}
