//! How a VM makes changes, and answers them when all have followed.

use std::rc::Rc;

use super::Member;
use crate::fleet::callback::Callback;
use crate::fleet::effect::{self, Effect};
use crate::fleet::joined;
use crate::fleet::shared::{Cached, Shared};
use crate::fleet::store::known::Made;
use crate::fleet::store::values::run_of;
use crate::fleet::{InUse, commands, confirm, heads, leader, record_key, shelf};
use crate::rollout::change::{Change, NotChanged};
use crate::rollout::command::Command;
use crate::rollout::record::Record;
use crate::telemetry::breaker::Trip;
use crate::telemetry::series;

/// Nanoseconds after which a change is answered although a worker has not confirmed it.
const PATIENCE: u64 = 1_000_000_000;
/// How often a command that another change overtakes is tried again.
const TRIES: usize = 16;

/// A change that has been made and waits for the workers to follow.
pub(super) struct Waiting {
    stream: u32,
    /// The version of the heads that all must follow.
    version: u64,
    /// By the clock that all VMs share: then it is answered all the same.
    deadline: u64,
    rollout: String,
    record: Box<Record>,
}

/// What became of a rollout by a command.
#[derive(Debug)]
pub struct Changed {
    /// The rollout.
    pub record: Record,
    /// The version of the heads that all must follow.
    version: u64,
}

impl Member {
    /// Makes a change at once, on whichever VM it has come to. A push that the leader has not taken over yet comes first:
    /// the command is about what workers do already.
    ///
    /// # Errors
    /// It was not made.
    pub fn command<S: Shared>(
        &mut self,
        callback: &mut Callback<'_, S>,
        change: &Change,
    ) -> Result<Changed, NotChanged> {
        let (plans, clock, shared) = (callback.plans, callback.clock, &mut *callback.shared);
        let key = record_key(&change.rollout);
        let configured = newest(plans, &change.rollout);
        let labels = configured.and_then(|in_use| Some(in_use.plan.rollout(&change.rollout)?.labels.clone()));
        let (name, labels) = (change.rollout.clone(), labels.unwrap_or_default());
        let rollout = Rc::new(series::Rollout { name, labels });
        let mut cached = Cached::<Record>::read(shared, &key).map_err(|_| NotChanged::Unknown)?;
        if self.fleet.is_some() {
            joined::refuse_unstorable(shared, &cached.value, change, clock)?;
        }
        let mut is_noted = false;
        for _ in 0..TRIES {
            let shelved = shelf::named_by(&cached.value);
            let record = &mut cached.value;
            // As the store has it; the revision of the record says what is not asked for there any more.
            let change_there = Change { if_match: None, ..change.clone() };
            let made = Made::new(self.rng.u64(1..), record, change_there);
            let mut events =
                configured.map_or(Vec::new(), |in_use| match in_use.plan.rollout(&change.rollout) {
                    Some(rollout) => leader::configure(record, &rollout.program, in_use.loaded_at, clock),
                    None => Vec::new(),
                });
            let is_pushed = made.run != run_of(&record.program);
            let made = if is_pushed { Made::new(made.id, record, made.change) } else { made };
            events.extend(change.apply(record, clock)?);
            // Only what is stored: what is noted has the leader read the record again.
            if !std::mem::replace(&mut is_noted, true) {
                commands::note(shared, &change.rollout, clock.uptime);
            }
            if cached.store(shared, &key).is_ok() {
                let record = cached.value;
                if self.fleet.is_some() {
                    // Not before: the leading VM would make it in the record that this VM then makes it in once more.
                    joined::leave(shared, &made);
                }
                shelf::sweep(shared, &shelved, &record);
                let receivers = configured.map_or(&[][..], |in_use| &in_use.plan.receivers);
                leader::happened(shared, (&rollout, receivers), events, clock, &mut callback.effects);
                leader::publish(shared, &record, &record.head(&change.rollout));
                let version = heads::note(shared, std::slice::from_ref(&change.rollout));
                return Ok(Changed { record, version });
            }
        }
        Err(NotChanged::Busy)
    }

    /// A circuit breaker of this worker has tripped: nothing more goes to the candidate from here, and the others are
    /// woken. Returns whether that is settled; nothing waits for the others.
    pub fn trip<S: Shared>(&mut self, callback: &mut Callback<'_, S>, rollout: &str, trip: Trip) -> bool {
        let tripped = self.command(callback, &Change::new(rollout, Command::Trip(trip)));
        if tripped.is_ok() {
            self.wake_others(callback, false);
        }
        // Also when it was refused: another worker may have been first, whose notice is on its way.
        self.follow_and_confirm(callback);
        matches!(tripped, Ok(_) | Err(NotChanged::Refused(_)))
    }

    /// Has all VMs follow a change, and answers the stream when they do.
    pub fn await_followers<S: Shared>(
        &mut self,
        callback: &mut Callback<'_, S>,
        (stream, rollout): (u32, &str),
        changed: Changed,
    ) {
        self.follow_and_confirm(callback);
        self.wake_others(callback, true);
        self.waiting.push(Waiting {
            stream,
            version: changed.version,
            deadline: callback.clock.uptime.saturating_add(PATIENCE),
            rollout: rollout.to_owned(),
            record: Box::new(changed.record),
        });
        self.answer(callback);
    }

    /// A stream is gone.
    pub fn forget(&mut self, stream: u32) {
        self.waiting.retain(|waiting| waiting.stream != stream);
    }

    /// Answers the changes that all have taken, or that have waited long enough.
    pub(super) fn answer<S: Shared>(&mut self, callback: &mut Callback<'_, S>) {
        let (clock, shared) = (callback.clock, &*callback.shared);
        let waiting = std::mem::take(&mut self.waiting);
        for change in waiting {
            let missing = confirm::lagging(shared, &change.rollout, change.version, clock.uptime);
            if !missing.is_empty() && clock.uptime < change.deadline {
                self.waiting.push(change);
                continue;
            }
            let Waiting { stream, rollout, record, .. } = change;
            callback.effects.push(Effect::Answer(effect::Answer { stream, rollout, record, missing }));
        }
    }
}

/// The newest of the configurations that name a rollout.
fn newest<'a>(plans: &[InUse<'a>], rollout: &str) -> Option<InUse<'a>> {
    let named = plans.iter().filter(|in_use| in_use.plan.rollout(rollout).is_some());
    named.max_by_key(|in_use| in_use.loaded_at).copied()
}
