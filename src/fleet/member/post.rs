//! How a VM posts notifications.

use super::Member;
use crate::config::notify::Notify;
use crate::fleet;
use crate::fleet::callback::Callback;
use crate::fleet::effect::{Effect, Post};
use crate::fleet::outbox::{self, Delivery};
use crate::fleet::shared::Shared;

impl Member {
    /// Posts events that are due, where this Envoy posts them.
    pub(super) fn post<S: Shared>(&mut self, callback: &mut Callback<'_, S>) {
        let (plans, now) = (callback.plans, callback.clock.uptime);
        let receivers = outbox::receivers(plans);
        if receivers.is_empty() {
            return;
        }
        if let Some(joined) = &mut self.joined {
            let leads = joined.member.leads();
            outbox::follow(callback.shared, plans, joined.member.done(), (!leads).then_some(now));
            if leads {
                joined.member.write_done(outbox::done(callback.shared, plans), callback.clock);
            }
        }
        let count = receivers.len();
        for receiver in receivers {
            self.post_to(callback, receiver, count);
        }
    }

    /// Posts the next event to a receiver, of so many. In a fleet the Envoy that leads posts; while the store is away, each
    /// posts what it has done itself since then.
    fn post_to<S: Shared>(&self, callback: &mut Callback<'_, S>, receiver: &Notify, receivers: usize) {
        let (clock, mut since) = (callback.clock, 0);
        if let Some(joined) = &self.joined {
            let (member, is_away) = (&joined.member, joined.member.is_away(clock));
            if !is_away && outbox::is_full(callback.shared, receiver, receivers, member.done()) {
                return;
            }
            if !member.leads() {
                // What came with the last answer came to all.
                let heard = clock.uptime.saturating_sub(member.age(clock));
                since = if is_away { heard.saturating_add(1) } else { u64::MAX };
            }
        }
        let (now, effects) = (clock.uptime, &mut callback.effects);
        if let Some((rollout, event)) = outbox::take(callback.shared, receiver, (now, since), effects) {
            let fleet = self.fleet.as_ref().map(|settings| settings.fleet.clone());
            let is_side_watched = fleet::record(callback.shared, &rollout).is_some_and(|record| {
                record.program.blue_green && record.run.window_lasts(&record.program).is_some()
            });
            let receiver = receiver.clone();
            effects.push(Effect::Post(Box::new(Post { receiver, fleet, rollout, event, is_side_watched })));
        }
    }

    /// What became of a post; the next one to the same receiver follows.
    pub fn posted<S: Shared>(&mut self, callback: &mut Callback<'_, S>, post: &Post, outcome: Delivery) {
        let (plans, clock) = (callback.plans, callback.clock);
        outbox::settle(callback.shared, post, outcome, clock.uptime, &mut callback.effects);
        if let Some(joined) = &mut self.joined {
            joined.member.write_done(outbox::done(callback.shared, plans), clock);
        }
        let leads = self.leader.leads();
        let receivers = outbox::receivers(plans);
        let count = receivers.len();
        let receiver = receivers.into_iter().find(|receiver| leads && receiver.name == post.receiver.name);
        if let Some(receiver) = receiver {
            self.post_to(callback, receiver, count);
        }
    }
}
