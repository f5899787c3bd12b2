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
