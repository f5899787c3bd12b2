//! A configuration that is put into use piece by piece.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::loaded::{Loaded, Slot};
use super::log;
use super::metrics::{Registry, Series};
use super::shared::{Kv, clock};
use crate::config::pieces::Unread;
use crate::config::{self, schema::Config};
use crate::fleet::heads;
use crate::fleet::member::Member;
use crate::routing::plan::{Plan, Rollout};
use crate::telemetry::tracked::Tracked;

/// A configuration that is being compiled. With thousands of rollouts that takes longer than requests should wait.
pub(super) struct Loading {
    pub(super) slot: Weak<Slot>,
    config: Config,
    /// Its rollouts that have not been read yet.
    unread: Unread,
    /// Whether one of them is wrong.
    pub(super) is_refused: bool,
    loaded_at: u64,
    /// The version of the rollouts' heads by then.
    heads: u64,
    hashing: config::Hashing,
    rollouts: Vec<Rollout>,
    tracked: Vec<Option<Rc<Tracked>>>,
    series: Vec<Vec<Rc<Series>>>,
}

impl Loading {
    pub(super) fn new(slot: &Rc<Slot>, (config, unread): (Config, Unread), loaded_at: u64) -> Self {
        Self {
            slot: Rc::downgrade(slot),
            config,
            unread,
            is_refused: false,
            loaded_at,
            heads: heads::version(&Kv),
            hashing: config::Hashing::default(),
            rollouts: Vec::new(),
            tracked: Vec::new(),
            series: Vec::new(),
        }
    }

    /// Compiles one more rollout. Returns whether there was one.
    pub(super) fn compile_one(&mut self, member: &mut Member, registry: &Registry) -> bool {
        if self.rollouts.len() == self.config.rollouts.len() {
            self.read_one();
        }
        let Some(configured) = self.config.rollouts.get(self.rollouts.len()) else { return false };
        self.hashing.add(configured);
        let rollout = Rollout::new(configured);
        if self.config.store.is_some() {
            rollout.serve_stable_until_followed();
        }
        member.place(&Kv, &rollout, self.loaded_at, clock());
        let rules = rollout.program.rules();
        self.tracked.push(rules.map(|rules| member.tracked(&rollout.name, rules)));
        self.series.push(registry.of(&rollout));
        self.rollouts.push(rollout);
        true
    }

    /// Places again what has moved since the configuration came: it would begin where it was when its turn came.
    pub(super) fn place_changed(&self, member: &Member) {
        member.place_changed(&Kv, &self.rollouts, (self.heads, self.loaded_at), clock());
    }

    fn read_one(&mut self) {
        match self.unread.next() {
            Some(Ok(rollout)) => self.config.rollouts.push(rollout),
            Some(Err(problems)) => {
                self.is_refused = true;
                log::refused(&problems);
            }
            None => {}
        }
    }

    /// All rollouts are compiled.
    pub(super) fn finish(self) -> Loaded {
        let Self { config, loaded_at, hashing, rollouts, tracked, series, .. } = self;
        let is_seen = |series: &Vec<Rc<Series>>| Cell::new(series.iter().any(|series| series.is_shown()));
        Loaded {
            plan: Plan::of(&config, rollouts),
            hash: hashing.finish(&config),
            loaded_at,
            tracked,
            seen: series.iter().map(is_seen).collect(),
            series,
            unlogged: RefCell::new(Some(config)),
        }
    }
}
