//! Several configurations in one VM that have different programs of a rollout.

use super::*;
use crate::fleet::callback::Callback;
use crate::fleet::member::Member;
use crate::model::Draw;
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
