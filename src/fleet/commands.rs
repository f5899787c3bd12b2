//! Which rollouts commands change, so that the leader reads their records again.

use serde::{Deserialize, Serialize};

use super::shared::{self, Shared};

/// Commands that are remembered.
const MOST: usize = 64;
/// Nanoseconds within which a command that was noted is over: all that it writes is written in one callback.
const LONGEST: u64 = 3_000_000_000;

/// A command that is about to change a rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// When, by the clock that all VMs share.
    pub at: u64,
    /// The rollout's name.
    pub rollout: String,
}

/// Prepares what is shared.
pub fn prepare(shared: &mut impl Shared) {
    shared::prepare(shared, &key());
}

/// Notes a command before it writes anything: should its VM fail midway, what it has written is found all the same.
pub fn note(shared: &mut impl Shared, rollout: &str, now: u64) {
    shared::update::<Vec<Noted>>(shared, &key(), |commands| {
        let mut commands = commands.unwrap_or_default();
        commands.push(Noted { at: now, rollout: rollout.to_owned() });
        let surplus = commands.len().saturating_sub(MOST);
        commands.drain(..surplus);
        Some(commands)
    });
}

/// The rollouts that commands may have changed since `looked`, when the leader looked last. `None`: there may be more than
/// are remembered.
pub fn since(shared: &impl Shared, looked: u64) -> Option<Vec<String>> {
    let commands: Vec<Noted> = shared::read(shared, &key()).unwrap_or_default();
    // Those of a moment before may not have been over.
    let is_later = |noted: &Noted| noted.at >= looked.saturating_sub(LONGEST);
    if commands.len() == MOST && commands.first().is_some_and(is_later) {
        return None;
    }
    Some(commands.into_iter().filter(is_later).map(|noted| noted.rollout).collect())
}

fn key() -> String {
    shared::key("commands")
}
