//! What happened to rollouts: kept for who asks, logged, counted.

use super::calls::{self, Metric};
use super::rollouts::count_dropped;
use super::shared;
use crate::control::view;
use crate::rollout::event::{Action, Event};
use crate::telemetry::series;

/// Events that are kept of each rollout.
const KEPT: usize = 256;

fn key(rollout: &str) -> String {
    shared::key(&format!("journal.{rollout}"))
}

/// Notes events of a rollout, in the order they happened.
pub(super) fn note(rollout: &str, labels: &[(String, String)], events: &[Event]) {
    if events.is_empty() {
        return;
    }
    let mut dropped = 0;
    shared::update::<Vec<Event>>(&key(rollout), |journal| {
        let mut journal = journal.unwrap_or_default();
        journal.extend_from_slice(events);
        dropped = journal.len().saturating_sub(KEPT);
        journal.drain(..dropped);
        Some(journal)
    });
    count_dropped("events", dropped as u64);
    for event in events {
        // The same that the API shows.
        if let Ok(line) = serde_json::to_string(&view::Event::new(rollout, event)) {
            log::log!(level(event.action), "{line}");
        }
        // Events are rare: the metric is looked up for each.
        let name = series::actions(rollout, event.action.label(), event.actor.label(), labels);
        calls::define_metric(Metric::Counter, &name).into_iter().for_each(calls::increment);
    }
}

/// What somebody should look at is a warning.
fn level(action: Action) -> log::Level {
    match action {
        Action::Rollback | Action::Alarm | Action::Pause => log::Level::Warn,
        _ => log::Level::Info,
    }
}

/// The events of a rollout that are kept, oldest first.
pub(super) fn of(rollout: &str) -> Vec<Event> {
    shared::read(&key(rollout)).unwrap_or_default()
}

/// Forgets a rollout's events.
pub(super) fn erase(rollout: &str) {
    shared::erase(&key(rollout));
}
