//! A store that is added while a release is under way, and users that cannot be read again.

use super::*;
use crate::fleet::store::member::Settings;
use crate::fleet::store::memory::Memory as Store;
use crate::model::UserHash;
use crate::rollout::event::Action;

/// Milliseconds since the epoch when an Envoy starts.
const START: u64 = 1_700_000_000_000;

/// A rollout that is judged by users, with steps that end by themselves.
fn judged_by_users() -> Config {
    configuration(&[(
        "r",
        json!({
            "session_affinity": {"header": "x-user-id"},
            "steps": [{"set_weight": 50}, {"pause": {"duration": "60s"}}, {"set_weight": 80}, {"pause": {"duration": "1h"}}],
            "analysis": {"metrics": [{"name": "error_rate"}]},
        }),
    )])
}

/// An Envoy of two VMs, and the store of its fleet once it has one.
struct World {
    envoy: Fleet,
    store: Option<Store>,
    /// How many users have come.
    users: u64,
    /// VMs that are gone.
    gone: Vec<usize>,
}

impl World {
    /// More users have come to both versions than a record has room for.
    fn begin() -> Self {
        let mut envoy = Fleet::empty(2);
        for vm in 0..2 {
            envoy.load(vm, &judged_by_users());
        }
        let mut world = Self { envoy, store: None, users: 0, gone: Vec::new() };
        world.pass(15, (100, false));
        assert!(world.envoy.record("r").shelved().count() > 0);
        world
    }

    fn clock(&self) -> Clock {
        let uptime = self.envoy.now;
        Clock { length: TICK, uptime, time: START + uptime / 1_000_000, is_shared: self.store.is_some() }
    }

    fn add_store(&mut self) {
        self.store = Some(Store::default());
        let settings = Settings { fleet: "f".into(), period: TICK, stale_after: None };
        let clock = self.clock();
        for vm in 0..2 {
            self.envoy.vms[vm].join(&mut self.envoy.shared, settings.clone());
            self.envoy.vms[vm].load(&self.envoy.shared, &judged_by_users(), clock);
        }
    }

    /// Seconds pass, and so many users come to each version in each of them; the candidate's fail or do not.
    fn pass(&mut self, seconds: u64, (users, fails): (u64, bool)) {
        for _ in 0..seconds {
            let clock = self.clock();
            for nth in 0..2 * users {
                let side = if nth % 2 == 0 { Side::Candidate } else { Side::Stable };
                self.users += 1;
                let user = UserHash(self.users.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                if let Some(request) = self.envoy.vms[1].arrive(0, side, Some(user), clock) {
                    request.end(1_000_000, Outcome::answered(fails && side == Side::Candidate));
                }
            }
            for _ in 0..20 {
                self.envoy.now += TICK / 20;
                self.step();
            }
        }
    }

    fn step(&mut self) {
        let clock = self.clock();
        for vm in (0..2).filter(|vm| !self.gone.contains(vm)) {
            let shared = &mut self.envoy.shared;
            self.envoy.vms[vm].tick(shared, clock);
            if let (Some(store), (Some(call), _)) =
                (&mut self.store, self.envoy.vms[vm].poll_call(shared, clock))
            {
                let answer = store.call(&call);
                self.envoy.vms[vm].answered(shared, answer, clock);
            }
        }
    }
}

#[test]
fn a_candidate_that_fails_its_users_is_taken_back_although_a_store_was_added_meanwhile() {
    let mut world = World::begin();
    world.add_store();
    world.pass(5, (100, false));
    assert_eq!(world.envoy.phase(), Phase::Progressing);
    world.pass(20, (100, true));
    assert_eq!(world.envoy.phase(), Phase::Failed);
}

#[test]
fn no_step_ends_while_the_users_of_the_attempt_are_not_known_any_more() {
    let mut world = World::begin();
    let keys: Vec<String> = world.envoy.shared.values().map(|(key, _)| key.to_owned()).collect();
    for key in keys.iter().filter(|key| key.contains(".users.")) {
        shared::erase(&mut world.envoy.shared, key);
    }
    // The one that has them in its memory.
    world.gone.push(0);
    world.pass(90, (20, false));
    let run = world.envoy.record("r").run;
    assert_eq!((run.phase, run.position), (Phase::Progressing, 1));
    assert!(run.reason.sentence().contains("users"), "{}", run.reason.sentence());
    world.pass(900, (2, true));
    assert_eq!(world.envoy.record("r").run.position, 1);
    let alarms = journal::of(&world.envoy.shared, "r");
    let alarms = alarms.iter().filter(|event| event.action == Action::Alarm).count();
    assert_eq!(alarms, 1);
}
