//! What the members of a fleet, and their store, hold while the store comes and goes.

use changeover::config;
use changeover::fleet::store::call::{Answer, Failure};
use changeover::fleet::store::member::Settings;
use changeover::fleet::store::memory::Memory;
use changeover::fleet::store::simulated::{Envoy, TICK};
use changeover::model::{Side, UserHash};
use changeover::rollout::program::Program;
use fastrand::Rng;
use serde_json::{Value, json};

use super::HELD;

const BEGAN: u64 = 1_000_000 * TICK;
const ROLLOUTS: u64 = 3;
/// Of each rollout in a tick, at each of two members.
const REQUESTS: u64 = 2;
/// All have come, and one in ten has failed, in the first quarter: both is kept.
const USERS: u64 = 200;
/// Looks at the members in a tick.
const LOOKS: u64 = 5;

fn programs() -> Vec<(String, Program)> {
    let rollout = |number: u64| {
        json!({
            "name": format!("r{number}"), "release": "1", "stable": "blue", "candidate": "green",
            "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
            "session_affinity": {"header": "x-user-id"},
            "steps": [{"set_weight": 50}, {"pause": {}}],
            "analysis": {},
        })
    };
    let rollouts: Vec<Value> = (0..ROLLOUTS).map(rollout).collect();
    let config = config::check(&json!({"rollouts": rollouts})).expect("a valid configuration");
    config.rollouts.iter().map(|rollout| (rollout.name.clone(), Program::new(rollout))).collect()
}

/// The bytes that two members and their store hold in each tick, a store that answers for 3 to 9 seconds and is away for as long.
fn held(ticks: u64) -> Vec<usize> {
    let programs = programs();
    let settings = Settings { fleet: "f".into(), period: TICK, stale_after: None };
    let before = HELD.get();
    let mut envoys: Vec<Envoy> =
        (1..=2).map(|seed| Envoy::start((seed, BEGAN), &settings, &programs)).collect();
    let mut store = Memory::default();
    let mut rng = Rng::with_seed(1);
    let (mut is_away, mut changes_at) = (false, 5);
    let mut held = Vec::with_capacity(usize::try_from(ticks).expect("few"));
    for tick in 0..ticks {
        if tick >= changes_at {
            (is_away, changes_at) = (!is_away, tick + rng.u64(3..9));
        }
        for look in 0..LOOKS {
            let now = BEGAN + tick * TICK + look * (TICK / LOOKS) + TICK / 4;
            for envoy in &mut envoys {
                for (name, _) in programs.iter().filter(|_| look == 0) {
                    let share =
                        envoy.routed.get(name).map_or(0, |routed| u64::from(routed.share.basis_points()));
                    for _ in 0..REQUESTS {
                        let user = rng.u64(..USERS);
                        let is_candidate = user % 100 < share / 100;
                        let side = if is_candidate { Side::Candidate } else { Side::Stable };
                        let hash = UserHash((user + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                        envoy.request(name, side, Some(hash), user.is_multiple_of(10), now);
                    }
                }
                if let Some(call) = envoy.poll(now) {
                    let answer =
                        if is_away { Answer::Failed(Failure::Unreachable) } else { store.call(&call) };
                    envoy.answer(answer, now);
                }
                envoy.events.clear();
            }
        }
        held.push(HELD.get().wrapping_sub(before).wrapping_sub(held.capacity() * size_of::<usize>()));
    }
    held
}

#[test]
fn members_hold_no_more_after_many_outages_of_the_store_than_after_some() {
    let ticks = std::env::var("TICKS").map_or(800, |ticks| ticks.parse().expect("a number"));
    let held = held(ticks);
    let [early, late] = [1, 3].map(|quarter| {
        let mut quarter = held.chunks(held.len() / 4).nth(quarter).expect("a quarter").to_vec();
        quarter.sort_unstable();
        quarter[quarter.len() / 2]
    });
    println!("{early} bytes in the second quarter, {late} in the last one");
    assert!(late <= early + early / 8, "{late} bytes after {early}");
}
