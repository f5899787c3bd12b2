//! Which VM leads, and what becomes of one that is late.

use super::*;
use crate::telemetry::outcome::Outcome;

/// The VM that leads.
fn leader(fleet: &Fleet) -> VmId {
    shared::read::<crate::fleet::lead::Lead>(&fleet.shared, &shared::key("lead")).unwrap().vm
}

#[test]
fn the_vm_without_requests_leads() {
    let config = configuration(&[("r", waiting())]);
    let mut fleet = Fleet::new(3, &config);
    // At first none is known to serve. Then those that do give way.
    for _ in 0..2 {
        (1..3).for_each(|worker| fleet.request(worker, Side::Stable, false));
        fleet.second();
    }
    assert_eq!(leader(&fleet), fleet.vms[0].member.id());
}

#[test]
fn a_vm_that_is_gone_is_replaced_and_no_request_is_lost() {
    let config = configuration(&[("r", waiting())]);
    let mut fleet = Fleet::new(3, &config);
    (0..2).for_each(|worker| fleet.request(worker + 1, Side::Candidate, false));
    let first = leader(&fleet);
    let gone = fleet.vms.iter().position(|vm| vm.member.id() == first).unwrap();
    assert_eq!(gone, 0);
    fleet.vms.remove(gone);
    for _ in 0..6 {
        fleet.second();
    }
    assert_ne!(leader(&fleet), first);
    assert_eq!(fleet.judged(), 2);
}

#[test]
fn a_leader_that_sleeps_in_the_middle_goes_on_with_nothing() {
    let rollouts = [("r", waiting()), ("s", waiting()), ("t", waiting())];
    let mut fleet = Fleet::new(3, &configuration(&rollouts));
    (0..5).for_each(|_| fleet.request(1, Side::Candidate, false));
    fleet.now += TICK;
    (0..3).for_each(|vm| fleet.report(vm));
    let now = fleet.clock();
    // It judges the first rollout, then sleeps.
    fleet.vms[0].lead_for(&mut fleet.shared, now, &|| false);
    assert!(fleet.vms[0].member.is_busy());
    for _ in 0..4 {
        fleet.now += TICK;
        (1..3).for_each(|vm| fleet.report(vm));
        (1..3).for_each(|vm| drop(fleet.lead(vm)));
    }
    assert_ne!(leader(&fleet), fleet.vms[0].member.id());
    let before: Vec<_> = ["r", "s", "t"].map(|name| fleet.record(name)).into();
    let lead = fleet.shared.read(&shared::key("lead"));
    fleet.now += 1;
    fleet.lead(0);
    assert!(!fleet.vms[0].member.is_busy());
    assert_eq!(fleet.shared.read(&shared::key("lead")), lead, "another VM's lead is not renewed");
    assert_eq!(["r", "s", "t"].map(|name| fleet.record(name)).to_vec(), before);
    assert_eq!(fleet.judged(), 5);
}

#[test]
fn a_pass_in_pieces_does_what_one_pass_does() {
    let rollouts: Vec<(String, Value)> = (0..30).map(|nth| (format!("r{nth}"), waiting())).collect();
    let rollouts: Vec<(&str, Value)> =
        rollouts.iter().map(|(name, fields)| (name.as_str(), fields.clone())).collect();
    let config = configuration(&rollouts);
    let mut fleets = [Fleet::new(2, &config), Fleet::new(2, &config)];
    for (nth, fleet) in fleets.iter_mut().enumerate() {
        for second in 0..10 {
            for rollout in (0..30).step_by(3) {
                for side in Side::BOTH {
                    let clock = fleet.clock();
                    let request = fleet.vms[1].arrive(rollout, side, None, clock).unwrap();
                    request.end(1_000_000, Outcome::answered(second % 3 == 0 && side == Side::Candidate));
                }
            }
            fleet.now += TICK;
            (0..2).for_each(|vm| fleet.report(vm));
            let mut pieces = 0;
            loop {
                let clock = fleet.clock();
                let effects = fleet.vms[0].lead_for(&mut fleet.shared, clock, &|| nth == 0);
                fleet.perform(effects);
                pieces += 1;
                if !fleet.vms[0].member.is_busy() {
                    break;
                }
            }
            assert!(nth == 0 || pieces > 5);
        }
    }
    for nth in 0..30 {
        let [whole, pieces] = &fleets;
        let name = format!("r{nth}");
        assert_eq!(whole.record(&name), pieces.record(&name));
    }
    assert_eq!(fleets[0].gauges, fleets[1].gauges);
}

/// Every piece of a long pass renews the lead, so that no other VM takes it meanwhile.
#[test]
fn a_pass_that_takes_longer_than_a_lead_lasts_keeps_the_lead() {
    let rollouts: Vec<(String, Value)> = (0..30).map(|nth| (format!("r{nth}"), waiting())).collect();
    let rollouts: Vec<(&str, Value)> =
        rollouts.iter().map(|(name, fields)| (name.as_str(), fields.clone())).collect();
    let mut fleet = Fleet::new(2, &configuration(&rollouts));
    let first = leader(&fleet);
    assert_eq!(first, fleet.vms[0].member.id());
    for rollout in 0..30 {
        let clock = fleet.clock();
        let request = fleet.vms[1].arrive(rollout, Side::Candidate, None, clock).unwrap();
        request.end(1_000_000, Outcome::answered(false));
    }
    fleet.now += TICK;
    (0..2).for_each(|vm| fleet.report(vm));
    let begun = fleet.now;
    loop {
        let clock = fleet.clock();
        let effects = fleet.vms[0].lead_for(&mut fleet.shared, clock, &|| false);
        fleet.perform(effects);
        if !fleet.vms[0].member.is_busy() {
            break;
        }
        fleet.now += TICK / 5;
        fleet.lead(1);
        assert_eq!(leader(&fleet), first, "after {} ns", fleet.now - begun);
    }
    assert!(fleet.now - begun > 4 * TICK, "{} ns", fleet.now - begun);
    for nth in 0..30 {
        let judged = fleet.record(&format!("r{nth}")).run.judge.step_requests();
        assert_eq!(judged, 1, "r{nth}");
    }
}

#[test]
fn a_vm_that_lacks_a_rollout_leaves_the_lead() {
    let (all, some) =
        (configuration(&[("r", waiting()), ("s", waiting())]), configuration(&[("s", waiting())]));
    let mut fleet = Fleet::new(2, &all);
    fleet.request(1, Side::Stable, false);
    fleet.second();
    assert_eq!(leader(&fleet), fleet.vms[0].member.id());
    fleet.load(0, &some);
    (0..2).for_each(|_| drop(fleet.second()));
    assert_eq!(leader(&fleet), fleet.vms[1].member.id());
    assert_eq!(names(&fleet.shared), ["r", "s"]);
}

#[test]
fn a_failure_to_write_is_no_lead() {
    struct Refusing(Memory);
    impl Shared for Refusing {
        fn read(&self, key: &str) -> Option<(Vec<u8>, Version)> {
            self.0.read(key)
        }
        fn swap(&mut self, _: &str, _: &[u8], _: Version) -> Result<(), NotWritten> {
            Err(NotWritten::Failed)
        }
    }
    let mut fleet = Fleet::new(1, &configuration(&[("r", waiting())]));
    let before = fleet.record("r");
    fleet.now += TICK;
    let now = fleet.clock();
    let mut refusing = Refusing(fleet.shared.clone());
    let effects = fleet.vms[0].tick(&mut refusing, at(now.uptime + TICK / 2));
    assert_eq!(effects, [], "nothing has happened that is not written");
    assert!(matches!(
        fleet.vms[0].command(&mut refusing, &Change::new("r", Command::Abort), now),
        Err(NotChanged::Busy)
    ));
    assert_eq!(record(&refusing, "r"), Some(before));
}

#[test]
fn the_key_that_names_users_is_drawn_once_and_stays_with_another_leader() {
    let users = json!({
        "session_affinity": {"header": "x-user"}, "steps": [{"set_weight": 50}, {"pause": {}}], "analysis": {},
    });
    let config = configuration(&[("r", users), ("s", waiting())]);
    let mut fleet = Fleet::new(3, &config);
    let key = |fleet: &Fleet| fleet.record("r").head("r").user_key;
    let drawn = key(&fleet);
    assert_ne!(drawn, [0; 2]);
    assert_ne!(fleet.record("r").secret, fleet.record("s").secret);
    assert_eq!(fleet.record("s").head("s").user_key, [0; 2], "it has no users");
    fleet.vms.remove(0);
    for _ in 0..6 {
        fleet.second();
    }
    assert_eq!(key(&fleet), drawn);
    fleet.command(0, Command::Abort).unwrap();
    fleet.command(0, Command::Retry).unwrap();
    assert_ne!(key(&fleet), drawn);
}
