//! What happened to rollouts, kept for those who ask.

use super::shared::{self, Shared};
use crate::rollout::event::Event;

/// Events that are kept of each rollout.
const KEPT: usize = 256;

/// Adds events of a rollout, in the order they happened. Returns how many old ones had to go.
pub fn add(shared: &mut impl Shared, rollout: &str, events: &[Event]) -> u64 {
    let mut dropped = 0;
    shared::update::<Vec<Event>>(shared, &key(rollout), |journal| {
        let mut journal = journal.unwrap_or_default();
        journal.extend_from_slice(events);
        dropped = journal.len().saturating_sub(KEPT);
        journal.drain(..dropped);
        Some(journal)
    });
    dropped as u64
}

/// Adds those events that the journal does not have, in the order of their time. Returns them, and whether it had any before.
/// An event of this Envoy and the fleet's may differ in their time.
pub fn fill(shared: &mut impl Shared, rollout: &str, events: &[Event]) -> (Vec<Event>, bool) {
    let id = |event: &Event| (event.attempt, event.revision, event.action);
    let (mut missing, mut had_any) = (Vec::new(), false);
    shared::update::<Vec<Event>>(shared, &key(rollout), |journal| {
        let mut journal = journal.unwrap_or_default();
        had_any = !journal.is_empty();
        let is_known =
            |event: &Event| journal.iter().any(|one| one.release == event.release && id(one) == id(event));
        missing = events.iter().filter(|event| !is_known(event)).cloned().collect();
        if missing.is_empty() {
            return None;
        }
        for event in &missing {
            let at = journal.partition_point(|known| known.time <= event.time);
            journal.insert(at, event.clone());
        }
        let surplus = journal.len().saturating_sub(KEPT);
        let gone: Vec<Event> = journal.drain(..surplus).collect();
        missing.retain(|event| !gone.contains(event));
        Some(journal)
    });
    (missing, had_any)
}

/// The events of a rollout that are kept, oldest first.
pub fn of(shared: &impl Shared, rollout: &str) -> Vec<Event> {
    shared::read(shared, &key(rollout)).unwrap_or_default()
}

/// Forgets a rollout's events.
pub fn erase(shared: &mut impl Shared, rollout: &str) {
    shared::erase(shared, &key(rollout));
}

fn key(rollout: &str) -> String {
    shared::key(&format!("journal.{rollout}"))
}
