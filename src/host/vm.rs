//! What all contexts of one worker's VM share.
//!
//! A configuration push gives each worker a new root context in the *same* VM, while streams may still begin
//! on the old one. So the plan does not belong to a root: it stands in a [`Slot`] that all roots of one plugin
//! share, and every stream reads the newest plan there.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};

use fastrand::Rng;

use super::calls::{self, Metric};
use super::leader::Leader;
use super::metrics::{Registry, Series};
use super::notices::Notices;
use super::pending::{Pending, respond};
use super::presence::Presence;
use super::rollouts::{self, Configured, Rollouts, TICK, Tracked};
use super::{leader, log, notices};
use crate::config::schema::Config;
use crate::model::Share;
use crate::rollout::change::{Change, NotChanged};
use crate::rollout::command::Command;
use crate::rollout::record::Record;
use crate::routing::plan::{Plan, Rollout};
use crate::routing::shadowing;
use crate::telemetry::breaker::Trip;
use crate::telemetry::series;

/// Nanoseconds after the beginning of a tick at which VMs report the one before, and somebody leads. Timers fire
/// late on a busy worker, rarely early.
const REPORT_AT: u64 = 10_000_000;
const LEAD_AT: u64 = 60_000_000;
/// Milliseconds after which it is looked again whether a change can be answered, should a notice be lost.
const PENDING_WAIT: u32 = 50;

/// A configuration in use.
pub(super) struct Loaded {
    pub(super) plan: Plan,
    pub(super) hash: u64,
    /// When it was loaded, by the clock that all VMs share.
    loaded_at: u64,
    /// By rollout: what is counted for the judge, where there is one.
    tracked: Vec<Option<Rc<Tracked>>>,
    /// By rollout and version.
    series: Vec<Vec<Rc<Series>>>,
    /// By rollout: whether a request has come, and its weights are shown.
    seen: Vec<Cell<bool>>,
    /// What its warnings are made of, until they have been told.
    untold: RefCell<Option<Config>>,
}

impl Loaded {
    /// The series of a version, for a request that it begins to serve.
    pub(super) fn series(&self, rollout: usize, version: usize) -> Option<Rc<Series>> {
        let series = self.series.get(rollout)?;
        if self.seen.get(rollout).is_some_and(|seen| !seen.replace(true)) {
            series.iter().for_each(|series| series.show_weight());
        }
        series.get(version).cloned()
    }

    /// What is counted of a rollout that is judged.
    pub(super) fn tracked(&self, rollout: usize) -> Option<Rc<Tracked>> {
        self.tracked.get(rollout)?.clone()
    }

    /// All versions' series with their weights in force.
    fn weights(&self) -> impl Iterator<Item = (&Rc<Series>, Share)> {
        let rollouts = self.plan.rollouts().iter().zip(&self.series);
        rollouts.flat_map(|(rollout, series)| series.iter().zip(rollout.weights()))
    }
}

/// Where a plugin's configuration stands. Shared by all its roots in this VM, old and new.
#[derive(Default)]
pub(super) struct Slot {
    loaded: RefCell<Option<Rc<Loaded>>>,
}

impl Slot {
    /// The newest configuration that was accepted.
    pub(super) fn loaded(&self) -> Option<Rc<Loaded>> {
        self.loaded.borrow().clone()
    }
}

/// Which plugin of this VM: its name and root id. Configurations of the same plugin replace each other.
pub(super) type PluginId = (Vec<u8>, Vec<u8>);

/// The state of this VM.
pub(super) struct Vm {
    /// Tells VMs apart; never 0.
    pub(super) id: u64,
    pub(super) notices: Notices,
    rollouts: Rollouts,
    leader: Leader,
    /// Changes that wait for the workers to take them.
    pending: RefCell<Vec<Pending>>,
    /// Whether a request has passed here: the main thread's VM has none.
    serves: Cell<bool>,
    rng: RefCell<Rng>,
    registry: Registry,
    /// A handful: one for each listener that is configured differently.
    slots: RefCell<Vec<(PluginId, Weak<Slot>)>>,
    /// Taken at the first tick: the VM that Envoy makes for a moment to try a push never has one.
    presence: OnceCell<Presence>,
    /// Whether configurations came or went since the last tick.
    changed: Cell<bool>,
    /// The last tick in which this VM has reported, and the last in which it has tried to lead.
    reported: Cell<u64>,
    led: Cell<u64>,
}

impl Vm {
    /// This worker's VM.
    pub(super) fn current() -> Rc<Self> {
        thread_local! {
            static VM: Rc<Vm> = Rc::new(Vm {
                id: calls::entropy().max(1),
                notices: Notices::default(),
                rollouts: Rollouts::default(),
                leader: Leader::default(),
                pending: RefCell::default(),
                serves: Cell::new(false),
                rng: RefCell::new(Rng::with_seed(calls::entropy())),
                registry: Registry::default(),
                slots: RefCell::default(),
                presence: OnceCell::new(),
                changed: Cell::new(false),
                reported: Cell::new(0),
                led: Cell::new(0),
            });
        }
        VM.with(Rc::clone)
    }

    /// Draws with this VM's generator.
    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.rng.borrow_mut())
    }

    /// The slot of a plugin; a plugin without roots has none any more.
    pub(super) fn slot(&self, plugin: PluginId) -> Rc<Slot> {
        let mut slots = self.slots.borrow_mut();
        let known = slots.iter().find(|(known, _)| *known == plugin);
        if let Some(slot) = known.and_then(|(_, slot)| slot.upgrade()) {
            return slot;
        }
        let slot = Rc::new(Slot::default());
        slots.retain(|(known, _)| *known != plugin);
        slots.push((plugin, Rc::downgrade(&slot)));
        slot
    }

    /// Puts a configuration into use.
    pub(super) fn load(&self, slot: &Slot, config: Config, hash: u64) {
        let plan = Plan::new(&config);
        let loaded_at = calls::uptime();
        self.rollouts.place(&plan, loaded_at);
        let judged = |rollout: &Rollout| {
            let rules = rollout.program.rules()?;
            Some(self.rollouts.tracked(&rollout.name, rules.signals()))
        };
        let tracked = plan.rollouts().iter().map(judged).collect();
        let series = self.registry.of(&plan);
        let seen = plan.rollouts().iter().map(|_| Cell::new(false)).collect();
        let untold = RefCell::new(Some(config));
        slot.loaded.replace(Some(Rc::new(Loaded { plan, hash, loaded_at, tracked, series, seen, untold })));
        self.changed.set(true);
    }

    /// Notes that a request passes here.
    pub(super) fn serve(&self) {
        self.serves.set(true);
    }

    /// Soon after the beginning of each tick, and after each change; several roots of this VM may call it.
    /// Returns the milliseconds to the next time.
    pub(super) fn tick(&self, root: u32) -> u32 {
        let began = calls::uptime();
        let loaded = self.loaded();
        let tick = began / TICK;
        if self.changed.replace(false) || self.reported.get() != tick {
            self.reported.set(tick);
            self.report(&loaded, tick);
        }
        // A moment later everybody has reported.
        if self.led.get() != tick && calls::uptime() % TICK >= LEAD_AT {
            self.led.set(tick);
            let configured: Vec<Configured<'_>> =
                loaded.iter().flat_map(|loaded| configured(loaded)).collect();
            if self.leader.lead(self.id, self.serves.get(), &configured).is_some() {
                self.follow(&loaded);
                notices::send_to_all(self.id, false);
            }
        }
        ::log::debug!("tick {tick} took {} us", calls::uptime().saturating_sub(began) / 1_000);
        self.answer_pending(root);
        let now = calls::uptime() % TICK;
        let next = if self.led.get() == tick { TICK.saturating_add(REPORT_AT) } else { LEAD_AT };
        let wait = u32::try_from(next.saturating_sub(now) / 1_000_000).unwrap_or(u32::MAX).max(1);
        if self.pending.borrow().is_empty() { wait } else { wait.min(PENDING_WAIT) }
    }

    /// Says that this VM is there, what it uses and what it has counted.
    fn report(&self, loaded: &[Rc<Loaded>], tick: u64) {
        log::follow_level();
        let first_tick = self.presence.get().is_none();
        let presence = self.presence.get_or_init(|| Presence::new(self.id));
        let number = presence.beat(combined_hash(loaded));
        let version = self.follow(loaded);
        if let Some(number) = number {
            rollouts::followed(number, self.id, version);
            self.rollouts.report(number, self.id, tick);
        }
        if first_tick && let Some(info) = calls::define_metric(Metric::Gauge, &series::info()) {
            calls::record(info, 1);
        }
        // One VM speaks for all.
        if number == Some(0) {
            if first_tick {
                ::log::info!("version {} ({}) started", crate::VERSION, crate::COMMIT);
            }
            loaded.iter().for_each(|loaded| tell(loaded));
        }
    }

    /// Routes as whoever leads says.
    fn follow(&self, loaded: &[Rc<Loaded>]) -> u64 {
        let version = self.rollouts.follow(loaded.iter().map(|loaded| &loaded.plan));
        self.registry.set_weights(loaded.iter().flat_map(|loaded| loaded.weights()));
        version
    }

    /// Somebody says that there is something new.
    pub(super) fn look_again(&self, root: u32, queue: u32) {
        let senders = self.notices.take(queue);
        self.follow_and_say_so();
        senders.into_iter().filter(|sender| *sender != 0).for_each(|sender| notices::send(sender, 0));
        self.answer_pending(root);
    }

    fn follow_and_say_so(&self) {
        let version = self.follow(&self.loaded());
        if let Some(number) = self.presence.get().and_then(Presence::number) {
            rollouts::followed(number, self.id, version);
        }
    }

    /// Has all VMs follow a change; it is answered when they do.
    pub(super) fn await_followers(&self, pending: Pending) {
        self.follow_and_say_so();
        notices::send_to_all(self.id, true);
        if rollouts::lagging(pending.version).is_empty() {
            respond(&pending.api.changed(&pending.rollout, Ok(&pending.record), &[]));
            return;
        }
        self.pending.borrow_mut().push(pending);
        calls::set_tick_period(PENDING_WAIT);
    }

    /// Answers the changes that everybody has taken, or that have waited long enough. `root` is the context in
    /// whose callback this happens.
    fn answer_pending(&self, root: u32) {
        let now = calls::uptime();
        let mut pending = std::mem::take(&mut *self.pending.borrow_mut());
        pending.retain(|pending| {
            let missing = rollouts::lagging(pending.version);
            let waits = !missing.is_empty() && now < pending.deadline;
            if !waits && calls::set_context(pending.stream) {
                respond(&pending.api.changed(&pending.rollout, Ok(&pending.record), &missing));
                calls::set_context(root);
            }
            waits
        });
        self.pending.borrow_mut().append(&mut pending);
    }

    /// A stream of the control listener is gone.
    pub(super) fn forget(&self, stream: u32) {
        self.pending.borrow_mut().retain(|pending| pending.stream != stream);
    }

    /// Makes a change that a person asks for.
    pub(super) fn command(&self, change: &Change) -> Result<(Record, u64), NotChanged> {
        let loaded = self.loaded();
        let rollouts = loaded.iter().flat_map(|loaded| configured(loaded));
        let newest =
            rollouts.filter(|known| known.name == change.rollout).max_by_key(|known| known.loaded_at);
        leader::command(change, newest)
    }

    /// A circuit breaker of this worker has tripped: nothing more goes to the candidate from here, and others are
    /// told. Returns whether that is settled. Nobody waits for an answer, so nothing waits for the others.
    pub(super) fn trip(&self, rollout: &str, trip: Trip) -> bool {
        let change = Change { rollout: rollout.to_owned(), command: Command::Trip(trip), if_match: None };
        let tripped = self.command(&change);
        if tripped.is_ok() {
            notices::send_to_all(self.id, false);
        }
        // Also when it was refused: another worker may have been first, whose notice is on its way.
        self.follow_and_say_so();
        !matches!(tripped, Err(NotChanged::Busy))
    }

    /// The configurations in use. Forgets plugins that are gone.
    fn loaded(&self) -> Vec<Rc<Loaded>> {
        let mut slots = self.slots.borrow_mut();
        let before = slots.len();
        slots.retain(|(_, slot)| slot.strong_count() > 0);
        if slots.len() != before {
            self.changed.set(true);
        }
        slots.iter().filter_map(|(_, slot)| slot.upgrade()?.loaded()).collect()
    }
}

/// The rollouts of a configuration, as whoever leads wants them.
fn configured(loaded: &Loaded) -> impl Iterator<Item = Configured<'_>> {
    loaded.plan.rollouts().iter().map(|rollout| Configured {
        name: &rollout.name,
        program: &rollout.program,
        loaded_at: loaded.loaded_at,
        labels: &rollout.labels,
    })
}

/// The hash of what this VM uses: that of its configuration, or one of all when it has different ones.
fn combined_hash(loaded: &[Rc<Loaded>]) -> u64 {
    let is_first = |at: usize, hash: u64| !loaded.iter().take(at).any(|earlier| earlier.hash == hash);
    let hashes = loaded.iter().map(|loaded| loaded.hash).enumerate();
    hashes.filter(|(at, hash)| is_first(*at, *hash)).fold(0, |all, (_, hash)| all ^ hash)
}

/// Logs that a configuration is in use, and its warnings; once.
fn tell(loaded: &Loaded) {
    let Some(config) = loaded.untold.take() else { return };
    let (hash, rollouts) = (loaded.hash, config.rollouts.len());
    ::log::info!(
        "configuration {hash} is in use: {rollouts} {}",
        if rollouts == 1 { "rollout" } else { "rollouts" }
    );
    for warning in shadowing::warnings(&config).lines() {
        ::log::warn!("{warning}");
    }
}
