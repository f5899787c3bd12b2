//! Some members and a store in simulated time.

use std::collections::BTreeMap;

use super::call::{Answer, Call, Failure};
use super::member::Settings;
use super::memory::Memory;
use super::simulated::{Envoy, TICK};
use super::values::{Read, Stored};
use crate::config;
use crate::model::{Share, Side, UserHash};
use crate::rollout::change::{Change, NotChanged};
use crate::rollout::clock::Clock;
use crate::rollout::command::Command;
use crate::rollout::phase::Phase;
use crate::rollout::program::Program;
use serde_json::{Value, json};

mod beginning;
mod clocks;
mod commands;
mod counts;
mod differing;
mod foreign;
mod hostile;
mod lead;
mod leftovers;
mod outage;
mod reads;
mod rules;
mod sizes;
mod slow;
mod stored;
mod versions;

const MS: u64 = 1_000_000;
const SECOND: u64 = TICK;

/// The program of a rollout `r`.
fn program(fields: &Value) -> Program {
    let mut rollout = json!({
        "name": "r", "release": "1", "stable": "blue", "candidate": "green",
        "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
    });
    for (field, value) in fields.as_object().unwrap() {
        rollout[field] = value.clone();
    }
    let config = config::check(&json!({"rollouts": [rollout]}));
    Program::new(&config.map_err(|problems| problems.lines().collect::<Vec<_>>()).unwrap().rollouts[0])
}

/// A rollout that is judged and waits for a person at half of the requests.
fn waiting() -> Value {
    json!({"steps": [{"set_weight": 50}, {"pause": {}}], "analysis": {"metrics": [{"name": "error_rate"}]}})
}

/// A rollout that is judged by users and waits for a person at half of them.
fn judged_by_users() -> Value {
    json!({
        "steps": [{"set_weight": 50}, {"pause": {}}],
        "session_affinity": {"header": "x-user-id"},
        "analysis": {"metrics": [{"name": "error_rate"}]},
    })
}

/// A call on its way: to the store, and back.
struct OnItsWay {
    at: u64,
    call: Call,
    answer: Option<Answer>,
    /// Whether it gets lost before it is carried out, or after.
    lost: Option<bool>,
}

/// A fleet and its store.
struct World {
    store: Memory,
    envoys: Vec<Envoy>,
    ways: BTreeMap<usize, OnItsWay>,
    programs: Vec<(String, Program)>,
    now: u64,
    /// Until when a member sleeps, or is cut off.
    asleep: Vec<u64>,
    cut: Vec<u64>,
    away: u64,
    seed: u64,
    delay: u64,
    /// Between two reports of a member that starts.
    period: u64,
    /// Between two looks at the members.
    step: u64,
    /// Every how manyth answer is lost.
    loses: Option<u64>,
    /// Every how manyth call of a member goes to an endpoint that hangs.
    hangs: Option<u64>,
    calls: u64,
    calls_of: Vec<u64>,
    changes: u64,
}

impl World {
    fn new(seed: u64, members: usize, program: &Program) -> Self {
        Self::reporting(TICK, seed, members, program)
    }

    /// With so much time between two reports.
    fn reporting(period: u64, seed: u64, members: usize, program: &Program) -> Self {
        let mut world = Self {
            store: Memory::default(),
            envoys: Vec::new(),
            ways: BTreeMap::new(),
            programs: vec![("r".to_owned(), program.clone())],
            now: 1_000_000 * TICK,
            asleep: vec![0; members],
            cut: vec![0; members],
            away: 0,
            seed: seed.wrapping_mul(1_000),
            delay: 3 * MS,
            period,
            step: 50 * MS,
            loses: None,
            hangs: None,
            calls: 0,
            calls_of: vec![0; members],
            changes: 0,
        };
        for _ in 0..members {
            let envoy = world.start();
            world.envoys.push(envoy);
        }
        world
    }

    fn start(&mut self) -> Envoy {
        self.seed += 1;
        let settings = Settings { fleet: "f".into(), period: self.period, stale_after: None };
        Envoy::start((self.seed, self.now.saturating_sub(self.seed * TICK / 7)), &settings, &self.programs)
    }

    /// A process is killed, and another one started.
    fn restart(&mut self, nth: usize) {
        let ahead = self.envoys[nth].ahead;
        self.envoys[nth] = self.start();
        self.envoys[nth].ahead = ahead;
        self.ways.remove(&nth);
    }

    /// So much time passes.
    fn pass(&mut self, nanoseconds: u64) {
        let end = self.now + nanoseconds;
        while self.now < end {
            self.now += self.step;
            for nth in 0..self.envoys.len() {
                self.act(nth);
            }
        }
    }

    fn act(&mut self, nth: usize) {
        let now = self.now;
        if self.asleep[nth] > now {
            // The store goes on with what it was asked.
            if let Some(way) = self.ways.get_mut(&nth)
                && way.answer.is_none()
                && way.at <= now
            {
                way.answer = Some(carry_out(&mut self.store, &way.call, way.lost, self.away > now));
            }
            return;
        }
        if let Some(mut way) = self.ways.remove(&nth) {
            if way.at > now {
                self.ways.insert(nth, way);
                return;
            }
            let is_away = self.away > now || self.cut[nth] > now;
            let answer =
                way.answer.take().unwrap_or_else(|| carry_out(&mut self.store, &way.call, way.lost, is_away));
            self.envoys[nth].answer(answer, now);
        }
        if let Some(call) = self.envoys[nth].poll(now) {
            assert!(!self.ways.contains_key(&nth), "one call at a time");
            self.calls += 1;
            let lost = self.loses.filter(|loses| self.calls.is_multiple_of(*loses));
            let lost = lost.map(|loses| (self.calls / loses).is_multiple_of(2));
            self.calls_of[nth] += 1;
            let hangs = self.hangs.is_some_and(|hangs| self.calls_of[nth].is_multiple_of(hangs));
            let (delay, lost) = if hangs { (3 * SECOND, Some(true)) } else { (self.delay, lost) };
            self.ways.insert(nth, OnItsWay { at: now + delay, call, answer: None, lost });
        }
    }

    fn command(&mut self, nth: usize, command: Command) -> Result<(), NotChanged> {
        let change = Change {
            rollout: "r".into(),
            command,
            if_match: None,
            origin: crate::rollout::event::Origin::default(),
        };
        self.changes += 1;
        self.envoys[nth].make(self.changes, change, self.now).map(drop)
    }

    fn share(&self, nth: usize) -> Share {
        self.envoys[nth].routed["r"].share
    }

    fn shares(&self) -> Vec<u16> {
        (0..self.envoys.len()).map(|nth| self.share(nth).basis_points()).collect()
    }

    /// The record of the rollout in the store.
    fn stored(&self) -> Option<Box<Stored>> {
        let mut values = self.store.values.iter().filter(|(key, _)| key.starts_with("/changeover/f/r/"));
        match Stored::decode(&values.next()?.1.0) {
            Read::Whole(stored) => Some(stored),
            _ => None,
        }
    }

    fn phase(&self) -> Phase {
        self.stored().unwrap().record.run.phase
    }

    fn leaders(&self) -> Vec<usize> {
        (0..self.envoys.len()).filter(|nth| self.envoys[*nth].member.leads()).collect()
    }

    /// A request to each side of a member.
    fn pair(&mut self, nth: usize, fails: bool) {
        let now = self.now;
        self.envoys[nth].request("r", Side::Candidate, None, fails, now);
        self.envoys[nth].request("r", Side::Stable, None, false, now);
    }
}

fn carry_out(store: &mut Memory, call: &Call, lost: Option<bool>, is_away: bool) -> Answer {
    match lost {
        _ if is_away => Answer::Failed(Failure::Unreachable),
        Some(true) => Answer::Failed(Failure::Timeout),
        Some(false) => {
            store.call(call);
            Answer::Failed(Failure::Timeout)
        }
        None => store.call(call),
    }
}

fn waiting_fleet(members: usize) -> World {
    let mut world = World::new(1, members, &program(&waiting()));
    world.pass(3 * SECOND);
    world
}

/// A rollout whose requests have so long to be answered.
fn patient(deadline: &str) -> Program {
    program(&json!({
        "steps": [{"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}], "deadline": deadline},
    }))
}

/// A rollout whose every step waits for a person.
fn promoted_by_hand() -> Value {
    json!({"steps": [
        {"set_weight": 10}, {"pause": {}}, {"set_weight": 20}, {"pause": {}}, {"set_weight": 30}, {"pause": {}},
        {"set_weight": 40}, {"pause": {}},
    ]})
}
