//! What the leading VM of an Envoy does for its fleet, and what the Envoy's other VMs need to know of it.

use super::shared::{self, Shared};
use super::store::known::Made;
use super::store::member::{Member, Settings};
use super::store::values::Life;
use super::store::view::{MOST_NAMES, View};
use crate::model::Unit;
use crate::rollout::change::{Change, NotChanged};
use crate::rollout::clock::Clock;
use crate::rollout::command::{Command, Refused};
use crate::rollout::record::Record;

/// Changes that wait for the store; of more the oldest are forgotten when another VM takes the lead of the Envoy.
const MOST_PENDING: usize = 64;

/// Nanoseconds after which a change is dropped whose run the leading VM does not load.
const LOADED_WITHIN: u64 = 10_000_000_000;

/// The leading VM's part in its Envoy's fleet.
pub struct Joined {
    /// The member of the fleet that the Envoy is.
    pub member: Member,
    /// When each configuration was loaded that the member has taken over.
    pub(super) configured: Option<Vec<u64>>,
    /// Whether stable serves because the store was silent for too long.
    pub(super) is_stale: bool,
    /// The problems that were there last, without their numbers.
    pub(super) told: Vec<String>,
    /// Changes of runs that this VM has not loaded yet, and when they were first seen.
    unloaded: Vec<(Made, u64)>,
}

impl Joined {
    /// The member that this Envoy is: another VM may have led it before. `seed`: random.
    pub fn new(shared: &mut impl Shared, settings: &Settings, seed: u64, clock: Clock) -> Self {
        let life = life(shared, seed);
        let mut member = Member::new(life, settings.clone(), seed);
        if let Some(before) = view(shared).filter(|view| view.life == life && view.heard > 0) {
            member.heard_before(before.heard, before.members, clock);
        }
        Self { member, configured: None, is_stale: false, told: Vec::new(), unloaded: Vec::new() }
    }

    /// The changes that VMs have left and that can be made here, or never will be. One of a run that another VM has loaded
    /// first waits for that run.
    pub(super) fn pending(&mut self, shared: &impl Shared, clock: Clock) -> Vec<Made> {
        let (mut pending, unloaded): (Vec<Made>, Vec<Made>) =
            pending(shared).into_iter().partition(|made| self.member.has_run(made));
        let before = std::mem::take(&mut self.unloaded);
        for made in unloaded {
            let since =
                before.iter().find(|(known, _)| known.id == made.id).map_or(clock.uptime, |(_, at)| *at);
            if clock.uptime.saturating_sub(since) >= LOADED_WITHIN {
                pending.push(made);
            } else {
                self.unloaded.push((made, since));
            }
        }
        pending
    }
}

/// This Envoy's process. `seed`: random, its name unless it has one.
pub fn life(shared: &mut impl Shared, seed: u64) -> Life {
    let mut life = Life(seed);
    shared::update::<Life>(shared, &life_key(), |known| {
        life = known.unwrap_or(Life(seed));
        Some(life)
    });
    life
}

/// Prepares what is shared.
pub fn prepare(shared: &mut impl Shared) {
    shared::prepare(shared, &life_key());
    shared::prepare(shared, &pending_key());
}

/// Leaves a change to the leading VM. It stays until the store has it: another VM may take the lead before that.
pub fn leave(shared: &mut impl Shared, made: &Made) {
    shared::update::<Vec<Made>>(shared, &pending_key(), |pending| {
        let mut pending = pending.unwrap_or_default();
        pending.push(made.clone());
        let surplus = pending.len().saturating_sub(MOST_PENDING);
        pending.drain(..surplus);
        Some(pending)
    });
}

/// The changes that VMs have left.
pub(super) fn pending(shared: &impl Shared) -> Vec<Made> {
    shared::read(shared, &pending_key()).unwrap_or_default()
}

/// Removes changes that the store has, or that could not be made. What was left since then stays.
pub(super) fn settle(shared: &mut impl Shared, settled: &[Made]) {
    shared::update::<Vec<Made>>(shared, &pending_key(), |pending| {
        let mut pending = pending.unwrap_or_default();
        let before = pending.len();
        pending.retain(|made| !settled.contains(made));
        (pending.len() < before).then_some(pending)
    });
}

/// Keeps how a rollout is judged here while the store is away: another VM may take the lead before it answers.
pub(super) fn keep_judged_alone(shared: &mut impl Shared, rollout: &str, fork: &Record) {
    // The sets of users are not in it.
    if fork.program.unit() == Unit::Requests {
        shared::write(shared, &alone_key(rollout), fork);
    }
}

/// How a rollout was judged here when the store was last away.
pub(super) fn judged_alone(shared: &impl Shared, rollout: &str) -> Option<Record> {
    shared::read(shared, &alone_key(rollout))
}

/// The rollout is forgotten.
pub(super) fn forget_judged_alone(shared: &mut impl Shared, rollout: &str) {
    shared::erase(shared, &alone_key(rollout));
}

/// Counts ticks by wall-clock time, in all VMs of this Envoy and as long as its process lives.
pub fn use_shared_clock(shared: &mut impl Shared) {
    shared::write(shared, &clock_key(), &true);
}

/// Whether ticks are counted by wall-clock time.
pub fn uses_shared_clock(shared: &impl Shared) -> bool {
    shared::read(shared, &clock_key()).unwrap_or(false)
}

/// Refuses what cannot be stored: while the store is away nothing moves up, and where another version of this software
/// writes the record, a candidate can only be taken back.
///
/// # Errors
/// It cannot be stored, and the command does not take back.
pub fn refuse_unstorable(
    shared: &impl Shared,
    record: &Record,
    change: &Change,
    clock: Clock,
) -> Result<(), NotChanged> {
    let Some(view) = view(shared) else { return Ok(()) };
    let why = if view.is_away {
        if change.command.gives_no_more(record.run.given(&record.program)) {
            return Ok(());
        }
        let seconds = clock.time.saturating_sub(view.heard) / 1_000;
        let since = if view.heard == 0 { "yet".to_owned() } else { format!("for {seconds} s") };
        format!(
            "the store has not answered {since}; until it does, only commands that take traffic from the candidate are accepted: abort, pause, lower weights"
        )
    } else if view.foreign.contains(&change.rollout)
        && !matches!(change.command, Command::Abort | Command::Trip(_))
    {
        "another version of this software writes the record in the store: only abort is obeyed here; \
         send the command to an Envoy of that version"
            .to_owned()
    } else {
        return Ok(());
    };
    Err(NotChanged::Refused(Refused(why)))
}

/// The fleet as the leading VM sees it; `None` without one. Changes that were left to that VM are not stored yet, whether it
/// has seen them or not.
pub fn view(shared: &impl Shared) -> Option<View> {
    let pending = pending(shared); // first: what is settled until the view is read is in the view
    let mut view: View = shared::read(shared, &view_key())?;
    for made in pending {
        if view.unstored.len() < MOST_NAMES && !view.unstored.contains(&made.change.rollout) {
            view.unstored.push(made.change.rollout);
        }
    }
    Some(view)
}

/// Shows the fleet to the other VMs.
pub fn show(shared: &mut impl Shared, view: &View) {
    shared::write(shared, &view_key(), view);
}

/// The fleet is left.
pub(super) fn forget(shared: &mut impl Shared) {
    if shared.read(&view_key()).is_some_and(|(bytes, _)| !bytes.is_empty()) {
        shared::erase(shared, &view_key());
    }
}

fn life_key() -> String {
    shared::key("life")
}

fn pending_key() -> String {
    shared::key("pending")
}

fn alone_key(rollout: &str) -> String {
    shared::key(&format!("alone.{rollout}"))
}

fn clock_key() -> String {
    shared::key("clock")
}

fn view_key() -> String {
    shared::key("fleet")
}
