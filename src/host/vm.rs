//! What all contexts of one worker's VM share.
//!
//! A configuration push gives each worker a new root context in the *same* VM, while streams may still begin
//! on the old one. So the plan does not belong to a root: it stands in a [`Slot`] that all roots of one plugin
//! share, and every stream reads the newest plan there.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use fastrand::Rng;

use super::calls::{self, Metric};
use super::log;
use super::metrics::{Registry, Series};
use super::presence::Presence;
use crate::config::schema::Config;
use crate::routing::plan::Plan;
use crate::routing::shadowing;
use crate::telemetry::series;

/// A configuration in use.
pub(super) struct Loaded {
    pub(super) plan: Plan,
    pub(super) hash: u64,
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

    /// All versions' series with their weights in force.
    fn weights(&self) -> impl Iterator<Item = (&Rc<Series>, u16)> {
        let rollouts = self.plan.rollouts().iter().zip(&self.series);
        rollouts.flat_map(|(rollout, series)| {
            series.iter().zip(rollout.versions.iter().map(|version| version.weight))
        })
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
    rng: RefCell<Rng>,
    registry: Registry,
    slots: RefCell<BTreeMap<PluginId, Weak<Slot>>>,
    /// Taken at the first tick: the VM that Envoy makes for a moment to try a push never has one.
    presence: OnceCell<Presence>,
    /// Whether configurations came or went since the last tick.
    changed: Cell<bool>,
    last_tick: Cell<u64>,
}

impl Vm {
    /// This worker's VM.
    pub(super) fn current() -> Rc<Self> {
        thread_local! {
            static VM: Rc<Vm> = Rc::new(Vm {
                rng: RefCell::new(Rng::with_seed(calls::entropy())),
                registry: Registry::default(),
                slots: RefCell::default(),
                presence: OnceCell::new(),
                changed: Cell::new(false),
                last_tick: Cell::new(0),
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
        if let Some(slot) = slots.get(&plugin).and_then(Weak::upgrade) {
            return slot;
        }
        let slot = Rc::new(Slot::default());
        slots.insert(plugin, Rc::downgrade(&slot));
        slot
    }

    /// Puts a configuration into use.
    pub(super) fn load(&self, slot: &Slot, config: Config, hash: u64) {
        let plan = Plan::new(&config);
        let series = self.registry.of(&plan);
        let seen = plan.rollouts().iter().map(|_| Cell::new(false)).collect();
        let untold = RefCell::new(Some(config));
        slot.loaded.replace(Some(Rc::new(Loaded { plan, hash, series, seen, untold })));
        self.changed.set(true);
    }

    /// Once a second, and soon after each change; several roots of this VM may call it.
    pub(super) fn tick(&self) {
        const HALF_A_SECOND: u64 = 500_000_000;
        let now = calls::now();
        let recently =
            now.saturating_sub(self.last_tick.get()) < HALF_A_SECOND && now >= self.last_tick.get();
        if recently && !self.changed.get() {
            return;
        }
        self.last_tick.set(now);
        log::follow_level();
        let loaded = self.loaded();
        if self.changed.replace(false) {
            self.registry.set_weights(loaded.iter().flat_map(|loaded| loaded.weights()));
        }
        let first_tick = self.presence.get().is_none();
        let presence = self.presence.get_or_init(|| Presence::new(self.draw(|rng| rng.u64(..))));
        let number = presence.beat(combined_hash(&loaded));
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

    /// The configurations in use. Forgets plugins that are gone.
    fn loaded(&self) -> Vec<Rc<Loaded>> {
        let mut slots = self.slots.borrow_mut();
        let before = slots.len();
        slots.retain(|_, slot| slot.strong_count() > 0);
        if slots.len() != before {
            self.changed.set(true);
        }
        slots.values().filter_map(|slot| slot.upgrade()?.loaded()).collect()
    }
}

/// The hash of what this VM uses: that of its configuration, or one of all when it has different ones.
fn combined_hash(loaded: &[Rc<Loaded>]) -> u64 {
    let mut hashes: Vec<u64> = loaded.iter().map(|loaded| loaded.hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes.into_iter().fold(0, |all, one| all ^ one)
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
