//! Several configurations in one VM that have different programs of a rollout.

use super::*;
use crate::fleet::member::Member;
use crate::routing::plan::Plan;

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

    /// Calls the VM with its configurations in use.
    fn with<T>(&mut self, call: impl FnOnce(&mut Member, &[InUse<'_>]) -> T) -> T {
        let in_use = [InUse { plan: &self.older, loaded_at: 1 }, InUse { plan: &self.newer, loaded_at: 2 }];
        call(&mut self.member, &in_use)
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
            vm.with(|member, in_use| member.tick(&mut shared, in_use, at(now), &|| true));
        }
    }
    let [a, b] = &mut vms;
    // Returns the workers that are missing when the command is answered, and when that is.
    let mut missing = |rollout: &str| {
        let change = Change::new(rollout, Command::Abort);
        let clock = at(now);
        let effects = a.with(|member, in_use| {
            let changed = member.command(&mut shared, in_use, &change, clock, &mut Vec::new());
            let change = (7, rollout);
            member.await_followers(&mut shared, in_use, change, changed.unwrap(), clock, &|| true)
        });
        assert!(effects.iter().all(|effect| !matches!(effect, Effect::Answer(_))));
        for waited in 1..=30 {
            now += TICK / 20;
            b.with(|member, in_use| member.look_again(&mut shared, in_use, at(now), &[], &|| true));
            let effects = a.with(|member, in_use| member.tick(&mut shared, in_use, at(now), &|| true));
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
