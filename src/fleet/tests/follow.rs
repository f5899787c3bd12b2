//! Several configurations in one VM that have different programs of a rollout.

use std::cell::Cell;

use super::*;
use crate::fleet::callback::Callback;
use crate::fleet::member::Member;
use crate::model::Draw;
use crate::rollout::record::Record;
use crate::routing::plan::Plan;
use crate::signal::catalog;
use crate::signal::observed::Observed;

/// A VM with two configurations.
struct Both {
    member: Member,
    older: Plan,
    newer: Plan,
}

impl Both {
    fn new(seed: u64, older: &Config, newer: &Config) -> Self {
        let mut member = Member::new(seed);
        member.reconfigured();
        Self { member, older: Plan::new(older), newer: Plan::new(newer) }
    }

    /// Has the VM act with its configurations in use. Returns what it wants done.
    fn act(
        &mut self,
        shared: &mut Memory,
        clock: Clock,
        act: impl FnOnce(&mut Member, &mut Callback<'_, Memory>),
    ) -> Vec<Effect> {
        let in_use = [InUse { plan: &self.older, loaded_at: 1 }, InUse { plan: &self.newer, loaded_at: 2 }];
        let mut callback = Callback::new(shared, &in_use, clock, &|| true);
        act(&mut self.member, &mut callback);
        callback.effects
    }
}

#[test]
fn a_rollout_that_cannot_follow_delays_no_command_to_another() {
    let mut other = waiting();
    other["steps"][0]["set_weight"] = 40.into();
    let older = configuration(&[("r", waiting()), ("s", waiting())]);
    let newer = configuration(&[("r", other)]);
    let (mut shared, mut now) = (Memory::default(), 100 * TICK);
    let mut vms = [1, 2].map(|seed| Both::new(seed, &older, &newer));
    for _ in 0..100 {
        now += TICK / 20;
        for vm in &mut vms {
            vm.act(&mut shared, at(now), Member::tick);
        }
    }
    let [a, b] = &mut vms;
    // Returns the workers that are missing when the command is answered, and when that is.
    let mut missing = |rollout: &str| {
        let change = Change::new(rollout, Command::Abort);
        let clock = at(now);
        let effects = a.act(&mut shared, clock, |member, callback| {
            let changed = member.command(callback, &change).unwrap();
            member.await_followers(callback, (7, rollout), changed);
        });
        assert!(effects.iter().all(|effect| !matches!(effect, Effect::Answer(_))));
        for waited in 1..=30 {
            now += TICK / 20;
            b.act(&mut shared, at(now), |member, callback| member.look_again(callback, &[]));
            let effects = a.act(&mut shared, at(now), Member::tick);
            let answer = effects.into_iter().find_map(|effect| match effect {
                Effect::Answer(answer) => Some(answer),
                _ => None,
            });
            if let Some(answer) = answer {
                return (answer.missing, waited);
            }
        }
        panic!("it is never answered");
    };
    assert_eq!(missing("s"), (vec![], 1), "at once, for all workers follow it");
    let (missing, waited) = missing("r");
    assert_eq!(missing, [0, 1], "one of their plugins does not follow");
    assert!(waited >= 20, "only then is it given up");
}

/// Its requests may all come to other workers, and users click here.
#[test]
fn a_worker_without_requests_counts_what_happens_under_the_weights_in_force_alone() {
    let mut fleet = Fleet::new(1, &configuration(&[("r", waiting())]));
    let of = |fleet: &Fleet| fleet.vms[0].rollouts()[0].assignment();
    let rules = fleet.vms[0].rollouts()[0].program.rules().cloned().unwrap();
    let tracked = fleet.vms[0].member.tracked("r", &rules);
    let click = |tick, assignment| {
        let draw = Draw { assignment, side: Side::Candidate, user: None };
        tracked.happen(tick, draw, catalog::event("click"), Observed::Event(true));
    };
    let before = of(&fleet);
    click(1_000, before);
    // What was drawn before goes on under the configuration that it was drawn under.
    let mut other = waiting();
    other["steps"][0]["set_weight"] = 40.into();
    other["release"] = "2".into();
    fleet.load(0, &configuration(&[("r", other)]));
    for _ in 0..2 {
        fleet.second();
    }
    let after = of(&fleet);
    assert_ne!(before, after);
    [before, after].into_iter().for_each(|assignment| click(1_001, assignment));
    let entries = tracked.ledger.borrow().entries(1_002);
    let known: Vec<_> = entries.iter().map(|entry| (entry.tick, entry.assignment)).collect();
    assert_eq!(known, [(1_000, before), (1_001, after)]);
}

/// What VMs share, and how often heads were read.
#[derive(Default)]
struct Counting {
    memory: Memory,
    heads: Cell<usize>,
}

impl Shared for Counting {
    fn read(&self, key: &str) -> Option<(Vec<u8>, Version)> {
        self.heads.set(self.heads.get() + usize::from(key.contains(".head.")));
        self.memory.read(key)
    }

    fn swap(&mut self, key: &str, value: &[u8], version: Version) -> Result<(), NotWritten> {
        self.memory.swap(key, value, version)
    }
}

#[test]
fn a_worker_looks_at_each_head_a_few_times_while_a_push_of_many_is_taken_over() {
    const MANY: usize = 1_500;
    let many = |release: &str| {
        let rollouts: Vec<(String, Value)> = (0..MANY)
            .map(|nth| {
                let mut rollout = waiting();
                rollout["release"] = release.into();
                (format!("r{nth}"), rollout)
            })
            .collect();
        let named: Vec<(&str, Value)> =
            rollouts.iter().map(|(name, fields)| (name.as_str(), fields.clone())).collect();
        configuration(&named)
    };
    let (mut shared, mut now) = (Counting::default(), 100 * TICK);
    let mut vms = [1, 2].map(Vm::new);
    for release in ["1", "2"] {
        let config = many(release);
        vms.iter_mut().for_each(|vm| vm.load(&shared.memory, &config, at(now)));
        for _ in 0..5 {
            vms.iter_mut().for_each(|vm| drop(vm.report(&mut shared, at(now))));
            // The second configuration is taken over in pieces.
            if release == "2" {
                break;
            }
            vms[0].lead(&mut shared, at(now));
            now += TICK;
        }
    }
    let [leader, worker] = &mut vms;
    shared.heads.set(0);
    let (mut reads, mut wakes, begun) = (0, 0, now);
    let record = |shared: &Counting, nth: usize| {
        shared::read::<Record>(&shared.memory, &record_key(&format!("r{nth}"))).expect("a record")
    };
    while leader.member.is_busy() || record(&shared, MANY - 1).program.release == "1" {
        now += 3_000_000;
        let left = Cell::new(5_u32);
        let time = || left.replace(left.get().saturating_sub(1)) > 0;
        let effects = leader.tick_for(&mut shared, at(now), &time);
        if effects.iter().any(|effect| matches!(effect, Effect::Wake { .. })) {
            wakes += 1;
            let before = shared.heads.get();
            worker.look_again(&mut shared, at(now));
            reads += shared.heads.get() - before;
        }
    }
    let all = (0..MANY).map(|nth| record(&shared, nth));
    assert!(all.into_iter().all(|record| record.program.release == "2" && record.run.phase == Phase::Paused));
    let version = heads::version(&shared.memory);
    assert_eq!(confirm::lagging(&shared.memory, "r7", version, now), [] as [usize; 0]);
    let most = (now - begun) / 50_000_000 + 2;
    assert!(wakes > 1 && wakes <= most, "{wakes} times woken in {} ms", (now - begun) / 1_000_000);
    assert!(reads < 3 * MANY, "{reads} heads were read");
}
