//! Some VMs that share data in memory: what one does between two calls of another, what comes late, what is lost.

use std::collections::HashMap;

use super::effect::Effect;
use super::member::{Changed, TICK};
use super::memory::Memory;
use super::presence::VmId;
use super::shared::{self, NotWritten, Shared, Version};
use super::simulated::Vm;
use super::*;
use crate::config;
use crate::config::schema::Config;
use crate::model::{Share, Side};
use crate::rollout::change::{Change, NotChanged};
use crate::rollout::clock::Clock;
use crate::rollout::command::Command;
use crate::rollout::phase::Phase;
use crate::telemetry::outcome::Outcome;
use crate::telemetry::series::Gauge;
use serde_json::{Value, json};

mod alarms;
mod any_order;
mod follow;
mod forms;
mod gauges;
mod joined;
mod lead;
mod notify;
mod races;
mod ready;
mod slow;
mod time;
mod trips;
mod users;
mod values;

fn configuration(rollouts: &[(&str, Value)]) -> Config {
    let rollout = |(name, fields): &(&str, Value)| {
        let mut rollout = json!({
            "name": name, "release": "1", "stable": "blue", "candidate": "green",
            "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
            "match": {"path": format!("/{name}")},
        });
        for (field, value) in fields.as_object().unwrap() {
            rollout[field] = value.clone();
        }
        rollout
    };
    let rollouts: Vec<Value> = rollouts.iter().map(rollout).collect();
    checked(&json!({"rollouts": rollouts}))
}

fn checked(document: &Value) -> Config {
    config::check(document).map_err(|problems| problems.lines().collect::<Vec<_>>()).unwrap()
}

/// A rollout that is judged and waits for a person at half of the requests.
fn waiting() -> Value {
    json!({"steps": [{"set_weight": 50}, {"pause": {}}], "analysis": {"metrics": [{"name": "error_rate"}]}})
}

fn at(uptime: u64) -> Clock {
    Clock { length: TICK, uptime, time: uptime / 1_000_000, is_shared: false }
}

/// An Envoy: the main thread's VM first, then the workers'.
struct Fleet {
    shared: Memory,
    vms: Vec<Vm>,
    now: u64,
    /// Wake-ups that have not come yet, by VM.
    notices: HashMap<VmId, u64>,
    /// All gauges as the effects have set them.
    gauges: HashMap<(String, Gauge), u64>,
    /// What was logged as a problem.
    problems: Vec<String>,
    /// How many there are in the Envoy's fleet.
    problems_of_fleet: u64,
}

impl Fleet {
    /// So many VMs with this configuration, at the beginning of a tick; the first one leads.
    fn new(vms: u64, config: &Config) -> Self {
        let mut fleet = Self::empty(vms);
        (0..fleet.vms.len()).for_each(|vm| fleet.load(vm, config));
        for _ in 0..2 {
            fleet.second();
        }
        fleet
    }

    fn empty(vms: u64) -> Self {
        Self {
            shared: Memory::default(),
            vms: (1..=vms).map(Vm::new).collect(),
            now: 100 * TICK,
            notices: HashMap::new(),
            gauges: HashMap::new(),
            problems: Vec::new(),
            problems_of_fleet: 0,
        }
    }

    fn clock(&self) -> Clock {
        at(self.now)
    }

    fn load(&mut self, vm: usize, config: &Config) {
        let clock = self.clock();
        self.vms[vm].load(&self.shared, config, clock);
    }

    /// A request that is answered at once.
    fn request(&mut self, vm: usize, side: Side, failed: bool) {
        let clock = self.clock();
        if let Some(request) = self.vms[vm].arrive(0, side, None, clock) {
            request.end(1_000_000, Outcome::answered(failed));
        }
    }

    fn report(&mut self, vm: usize) {
        let effects = self.vms[vm].report(&mut self.shared, at(self.now));
        self.perform(effects);
    }

    fn lead(&mut self, vm: usize) -> Vec<Effect> {
        let effects = self.vms[vm].lead(&mut self.shared, at(self.now));
        self.perform(effects.clone());
        effects
    }

    /// Leads while another VM does something before its write number `nth`. Returns whether it came to that.
    fn lead_against(&mut self, vm: usize, nth: usize, rival: impl FnOnce(&mut Memory)) -> bool {
        let mut racing = Racing { memory: &mut self.shared, left: nth, rival: Some(rival) };
        let effects = self.vms[vm].lead(&mut racing, at(self.now));
        let has_raced = racing.rival.is_none();
        self.perform(effects);
        has_raced
    }

    fn command(&mut self, vm: usize, command: Command) -> Result<Changed, NotChanged> {
        let change = Change::new("r", command);
        let (changed, effects) = self.vms[vm].command(&mut self.shared, &change, at(self.now))?;
        self.perform(effects);
        Ok(changed)
    }

    /// A tick in which all timers come when they should.
    fn second(&mut self) -> Vec<Effect> {
        self.second_without(usize::MAX)
    }

    /// The same while one VM is silent.
    fn second_without(&mut self, silent: usize) -> Vec<Effect> {
        let (begins, mut all) = ((self.now / TICK + 1) * TICK, Vec::new());
        for milliseconds in [10, 60, 100, 140, 200] {
            self.now = begins + milliseconds * 1_000_000;
            for vm in (0..self.vms.len()).filter(|vm| *vm != silent) {
                let effects = self.vms[vm].tick(&mut self.shared, at(self.now));
                self.perform(effects.clone());
                all.extend(effects);
            }
            (0..self.vms.len()).filter(|vm| *vm != silent).for_each(|vm| self.deliver(vm));
        }
        all
    }

    /// What was sent to a VM arrives.
    fn deliver(&mut self, vm: usize) {
        if self.notices.remove(&self.vms[vm].member.id()).is_some() {
            let effects = self.vms[vm].look_again(&mut self.shared, at(self.now));
            self.perform(effects);
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Wake { vm, .. } => *self.notices.entry(vm).or_default() += 1,
                Effect::Gauge { rollout, gauge, value } => {
                    self.gauges.insert((rollout.name.clone(), gauge), value);
                }
                Effect::Problem(problem) => self.problems.push(problem),
                Effect::Fleet { problems, .. } => self.problems_of_fleet = problems,
                _ => {}
            }
        }
    }

    fn record(&self, rollout: &str) -> Record {
        record(&self.shared, rollout).unwrap()
    }

    fn phase(&self) -> Phase {
        self.record("r").run.phase
    }

    /// The candidate's share on a VM.
    fn share(&self, vm: usize) -> Share {
        self.vms[vm].rollouts()[0].weights()[1]
    }

    /// The candidate's requests that were judged in the present step.
    fn judged(&self) -> u64 {
        self.record("r").run.judge.step_requests()
    }
}

/// Shared data in which another VM does something just before a write.
struct Racing<'a, F> {
    memory: &'a mut Memory,
    /// Writes that come first.
    left: usize,
    rival: Option<F>,
}

impl<F: FnOnce(&mut Memory)> Shared for Racing<'_, F> {
    fn read(&self, key: &str) -> Option<(Vec<u8>, Version)> {
        self.memory.read(key)
    }

    fn swap(&mut self, key: &str, value: &[u8], version: Version) -> Result<(), NotWritten> {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => {
                if let Some(rival) = self.rival.take() {
                    rival(self.memory);
                }
            }
        }
        self.memory.swap(key, value, version)
    }
}

#[test]
fn the_counts_of_all_workers_are_judged_once() {
    let mut fleet = Fleet::new(4, &configuration(&[("r", waiting())]));
    for second in 0..10 {
        for worker in 1..4 {
            fleet.request(worker, Side::Candidate, false);
            fleet.request(worker, Side::Stable, second == 5);
        }
        fleet.second();
    }
    assert_eq!(fleet.judged(), 30);
    fleet.second();
    assert_eq!(fleet.judged(), 30);
}

#[test]
fn a_command_is_followed_before_it_is_answered() {
    let mut fleet = Fleet::new(3, &configuration(&[("r", waiting())]));
    assert_eq!(fleet.share(2).percent(), 50.0);
    let changed = fleet.command(1, Command::Abort).unwrap();
    let clock = fleet.clock();
    // The VM that was asked follows at once; one of the others is slow.
    let effects = {
        let vm = &mut fleet.vms[1];
        vm.await_followers(&mut fleet.shared, (7, "r"), changed, clock)
    };
    assert_eq!(fleet.share(1), Share::NONE);
    let woken = effects.iter().filter(|effect| matches!(effect, Effect::Wake { reply_to: Some(_), .. }));
    assert_eq!(woken.count(), 2);
    let is_answered = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Answer(_)));
    assert!(!is_answered(&effects));
    fleet.perform(effects);
    fleet.deliver(0);
    let look = |fleet: &mut Fleet| fleet.vms[1].look_again(&mut fleet.shared, at(fleet.now));
    assert!(!is_answered(&look(&mut fleet)));
    fleet.deliver(2);
    let effects = look(&mut fleet);
    let Some(Effect::Answer(answer)) = effects.last() else { panic!("{effects:?}") };
    assert_eq!((answer.stream, answer.missing.as_slice()), (7, &[][..]));
    assert_eq!(fleet.share(2), Share::NONE);
}

#[test]
fn a_command_is_answered_in_time_although_a_worker_is_silent() {
    let mut fleet = Fleet::new(3, &configuration(&[("r", waiting())]));
    let changed = fleet.command(1, Command::Abort).unwrap();
    let clock = fleet.clock();
    fleet.vms[1].await_followers(&mut fleet.shared, (7, "r"), changed, clock);
    fleet.now += TICK;
    let effects = fleet.vms[1].tick(&mut fleet.shared, at(fleet.now));
    let Some(Effect::Answer(answer)) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(answer.missing, [0, 2]);
}

#[test]
fn a_rollout_that_no_configuration_names_is_forgotten_after_a_minute() {
    let mut fleet = Fleet::new(2, &configuration(&[("r", waiting()), ("s", json!({}))]));
    assert_eq!(names(&fleet.shared), ["r", "s"]);
    let rest = configuration(&[("s", json!({}))]);
    (0..2).for_each(|vm| fleet.load(vm, &rest));
    (0..50).for_each(|_| drop(fleet.second()));
    assert!(record(&fleet.shared, "r").is_some(), "another VM may still load it");
    (0..40).for_each(|_| drop(fleet.second()));
    assert_eq!(names(&fleet.shared), ["s"]);
    let left = |(key, value): (&str, &[u8])| key.ends_with(".r") && !value.is_empty();
    assert!(!fleet.shared.values().any(left), "nothing is left of it");
    let green = |((rollout, _), value): (&(String, Gauge), &u64)| rollout == "r" && *value > 0;
    assert!(!fleet.gauges.iter().any(green));
}

#[test]
fn idle_rollouts_are_not_written() {
    let rollouts: Vec<(String, Value)> = (0..20).map(|nth| (format!("r{nth}"), waiting())).collect();
    let rollouts: Vec<(&str, Value)> =
        rollouts.iter().map(|(name, fields)| (name.as_str(), fields.clone())).collect();
    let mut fleet = Fleet::new(2, &configuration(&rollouts));
    fleet.second();
    let records = |fleet: &Fleet| -> Vec<Version> {
        (0..20).map(|nth| fleet.shared.read(&record_key(&format!("r{nth}"))).unwrap().1).collect()
    };
    let before = records(&fleet);
    (0..30).for_each(|_| drop(fleet.second()));
    assert_eq!(records(&fleet), before);
}

#[test]
fn a_worker_that_follows_many_heads_in_pieces_confirms_them_when_it_has_followed_all() {
    let many = |weight: u64| {
        let rollouts: Vec<(String, Value)> = (0..700)
            .map(|nth| (format!("r{nth}"), json!({"steps": [{"set_weight": weight}, {"pause": {}}]})))
            .collect();
        let named: Vec<(&str, Value)> =
            rollouts.iter().map(|(name, fields)| (name.as_str(), fields.clone())).collect();
        configuration(&named)
    };
    let mut fleet = Fleet::new(2, &many(10));
    let change = Change::new("r699", Command::Promote { full: true });
    // The log of changes has forgotten what the worker followed last.
    let changed: Vec<String> = (0..700).map(|nth| format!("r{nth}")).collect();
    heads::note(&mut fleet.shared, &changed);
    let clock = fleet.clock();
    let (changed, _) = fleet.vms[0].command(&mut fleet.shared, &change, clock).unwrap();
    fleet.vms[0].await_followers(&mut fleet.shared, (7, "r699"), changed, clock);
    let version = heads::version(&fleet.shared);
    let mut pieces = 0;
    while confirm::lagging(&fleet.shared, "r699", version, fleet.now).contains(&1) {
        assert!(pieces < 30, "each call follows some");
        fleet.vms[1].look_again_for(&mut fleet.shared, clock, &|| false);
        pieces += 1;
        let last = &fleet.vms[1].rollouts()[699];
        assert_eq!(
            last.weights()[1] == Share::ALL,
            !confirm::lagging(&fleet.shared, "r699", version, fleet.now).contains(&1)
        );
    }
    assert!(pieces > 10, "{pieces} pieces");
}
