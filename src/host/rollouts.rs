//! What this VM does for the rollouts of its Envoy: it counts, tells what it has counted, and follows.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::calls::{self, Metric};
use super::shared::Cached;
use super::{presence, shared};
use crate::rollout::program::Program;
use crate::rollout::record::{Clock, Head, Record, Report};
use crate::routing::plan::Plan;
use crate::signal::catalog::{self, Signal};
use crate::signal::observed::Observed;
use crate::telemetry::breaker::Breaker;
use crate::telemetry::ledger::{Ledger, Ticket};
use crate::telemetry::series;

/// Nanoseconds of a tick.
pub(super) const TICK: u64 = 1_000_000_000;

/// The key of a rollout's record.
pub(super) fn record_key(rollout: &str) -> String {
    shared::key(&format!("record.{rollout}"))
}

/// The key of a worker's report.
pub(super) fn report_key(worker: usize) -> String {
    shared::key(&format!("report.{worker}"))
}

/// The key of the heads of all rollouts, in the order of their names.
pub(super) fn heads_key() -> String {
    shared::key("heads")
}

/// The heads of all rollouts.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Heads {
    /// Rises whenever somebody must route differently.
    pub(super) version: u64,
    pub(super) list: Vec<Head>,
}

/// The time as rollouts want it.
pub(super) fn clock() -> Clock {
    Clock { length: TICK, uptime: calls::uptime(), time: calls::now() / 1_000_000 }
}

/// Records by rollout, as they were last written or read.
pub(super) type Records = HashMap<String, Cached<Record>>;

/// A rollout as a plan of this VM has it.
#[derive(Clone, Copy)]
pub(super) struct Configured<'a> {
    pub(super) name: &'a str,
    pub(super) program: &'a Program,
    pub(super) loaded_at: u64,
    pub(super) labels: &'a [(String, String)],
}

/// What this VM counts of one rollout.
#[derive(Default)]
pub(super) struct Tracked {
    pub(super) ledger: RefCell<Ledger>,
    /// Watches the same requests, and does not wait for the tick.
    pub(super) breaker: RefCell<Breaker>,
}

impl Tracked {
    /// A request has ended after so long, and has failed or not.
    pub(super) fn end(&self, ticket: Ticket, nanoseconds: u64, failed: bool) {
        let mut ledger = self.ledger.borrow_mut();
        ledger.observe(&ticket, &catalog::LATENCY, Observed::Duration(nanoseconds));
        ledger.observe(&ticket, &catalog::ERROR_RATE, Observed::Event(failed));
        ledger.end(ticket);
    }
}

/// This VM's part.
#[derive(Default)]
pub(super) struct Rollouts {
    /// By rollout. Those of several plugins that have the same name are one rollout.
    tracked: RefCell<HashMap<String, Rc<Tracked>>>,
    /// The version of the heads that are followed.
    following: Cell<u64>,
}

impl Rollouts {
    /// What is counted of a rollout, from now on with these signals.
    pub(super) fn tracked(&self, rollout: &str, signals: Vec<&'static Signal>) -> Rc<Tracked> {
        let mut all = self.tracked.borrow_mut();
        let tracked = match all.get(rollout) {
            Some(tracked) => Rc::clone(tracked),
            None => Rc::clone(all.entry(rollout.to_owned()).or_default()),
        };
        tracked.ledger.borrow_mut().count_signals(signals);
        tracked
    }

    /// Puts a new plan where its rollouts stand, before anybody is routed by it.
    pub(super) fn place(&self, plan: &Plan, loaded_at: u64) {
        for rollout in plan.rollouts() {
            let Some(mut record) = shared::read::<Record>(&record_key(&rollout.name)) else { continue };
            // Whoever leads will do the same with this configuration; until then everybody foresees it.
            if record.program != rollout.program && record.configured_at <= loaded_at {
                record.push(&rollout.program, clock());
            }
            rollout.follow(&record.head(&rollout.name));
        }
    }

    /// Tells what was counted, as of the tick under way.
    pub(super) fn report(&self, worker: usize, vm: u64, tick: u64) {
        let all = self.tracked.borrow();
        let dropped: u64 = all.values().map(|tracked| tracked.ledger.borrow_mut().take_dropped()).sum();
        count_dropped("ticks", dropped);
        let halved: u64 = all.values().map(|tracked| tracked.ledger.borrow_mut().take_halved()).sum();
        count_dropped("users_of_tick", halved);
        let counted = all.iter().filter_map(|(rollout, tracked)| {
            let ledger = tracked.ledger.borrow();
            (!ledger.is_empty()).then(|| (rollout.clone(), ledger.entries(tick)))
        });
        shared::write(&report_key(worker), &Report { vm, tick, rollouts: counted.collect() });
    }

    /// Routes as the heads say from now on. Returns the version that is followed.
    pub(super) fn follow<'a>(&self, plans: impl Iterator<Item = &'a Plan>) -> u64 {
        let Some(heads) = shared::read::<Heads>(&heads_key()) else { return 0 };
        let head_of = |name: &str| {
            let at = heads.list.binary_search_by(|head| head.name.as_str().cmp(name)).ok()?;
            heads.list.get(at)
        };
        // A ledger that no plan has any more, of a rollout that is gone, is of no use.
        self.tracked.borrow_mut().retain(|name, tracked| match head_of(name) {
            Some(head) => {
                let mut ledger = tracked.ledger.borrow_mut();
                ledger.forget_through(head.closed_through);
                ledger.watch(&head.watch);
                true
            }
            None => Rc::strong_count(tracked) > 1,
        });
        if heads.version != self.following.get() {
            // A plan that is older or newer than a head does not follow it: looked at again the next time.
            let mut all = true;
            for rollout in plans.flat_map(Plan::rollouts) {
                all &= head_of(&rollout.name).is_none_or(|head| rollout.follow(head));
            }
            if !all {
                return self.following.get();
            }
            self.following.set(heads.version);
        }
        heads.version
    }
}

/// Counts what a cap has cut off.
pub(super) fn count_dropped(what: &str, count: u64) {
    if count > 0 {
        let metric = calls::define_metric(Metric::Counter, &series::dropped(what));
        metric.into_iter().for_each(|metric| calls::add(metric, count));
    }
}

/// Notes which version of the heads a worker follows.
pub(super) fn followed(worker: usize, vm: u64, version: u64) {
    shared::write(&followed_key(worker), &(vm, version));
}

/// The living workers that do not follow this version of the heads yet.
pub(super) fn lagging(version: u64) -> Vec<usize> {
    let follows = |worker: usize, vm: u64| {
        let followed = shared::read::<(u64, u64)>(&followed_key(worker));
        followed.is_some_and(|(known, followed)| known == vm && followed >= version)
    };
    presence::alive()
        .into_iter()
        .filter(|(worker, vm)| !follows(*worker, *vm))
        .map(|(worker, _)| worker)
        .collect()
}

fn followed_key(worker: usize) -> String {
    shared::key(&format!("followed.{worker}"))
}
