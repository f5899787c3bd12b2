//! VMs that report, lead, sleep, fail and are commanded in any order.

use super::*;
use crate::model::Degree;
use crate::rollout::command::tests::any as any_command;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Deed {
    /// Requests of one side that a worker answers.
    Requests(usize, Side, u8),
    Report(usize),
    /// A VM leads, as many pieces of a pass as it has time for.
    Lead(usize, u8),
    /// Time goes on, in tenths of a second.
    Sleep(u8),
    /// A VM is commanded; the command by its seed.
    Command(usize, u64),
    /// What was sent to a VM arrives, or is lost.
    Deliver(usize, bool),
    /// A VM fails and begins anew.
    Restart(usize),
    /// A VM leads, and before a write another one leads, or is commanded.
    Race(usize, u8, Option<u64>),
}

fn deed() -> impl Strategy<Value = Deed> {
    let vm = || 0..VMS;
    let side = prop_oneof![Just(Side::Candidate), Just(Side::Stable)];
    prop_oneof![
        4 => (vm(), side, 1..20_u8).prop_map(|(vm, side, requests)| Deed::Requests(vm, side, requests)),
        6 => vm().prop_map(Deed::Report),
        6 => (vm(), 1..4_u8).prop_map(|(vm, pieces)| Deed::Lead(vm, pieces)),
        6 => (1..40_u8).prop_map(Deed::Sleep),
        2 => (vm(), any::<u64>()).prop_map(|(vm, seed)| Deed::Command(vm, seed)),
        3 => (vm(), any::<bool>()).prop_map(|(vm, arrives)| Deed::Deliver(vm, arrives)),
        1 => vm().prop_map(Deed::Restart),
        2 => (vm(), 0..12_u8, prop::option::weighted(0.8, any::<u64>()))
            .prop_map(|(vm, write, seed)| Deed::Race(vm, write, seed)),
    ]
}

const VMS: usize = 3;

fn command(seed: u64) -> Command {
    any_command(&mut fastrand::Rng::with_seed(seed))
}

struct World {
    fleet: Fleet,
    config: Config,
    /// Requests of the candidate, all in all.
    requests: u64,
    /// The attempt and whether it has been aborted.
    aborted: Option<u32>,
}

/// Rollouts that obey different commands: by shares, by sides, by degrees of automation.
fn kinds() -> [Value; 3] {
    let versions = json!({"blue": {"cluster": "b"}, "green": {"cluster": "g"}, "red": {"cluster": "r"}});
    let analysis = json!({"metrics": [{"name": "error_rate"}]});
    [
        json!({
            "versions": versions, "analysis": analysis, "drift": {"metrics": ["error_rate"], "reference": "10s"},
            "steps": [{"set_weight": 5}, {"pause": {"duration": "3s"}}, {"set_weight": 50}, {"pause": {}}],
        }),
        json!({
            "analysis": analysis,
            "blue_green": {"bake": {"weight": 10, "duration": "3s"}, "auto_rollback_window": "5s"},
        }),
        json!({
            "automation": {
                "answer": {"label": "/label", "confidence": "/confidence"}, "partial": {"max_disagreement": 0.02},
            },
            "steps": [
                {"set_degree": "shadow"}, {"pause": {"duration": "3s"}}, {"set_degree": "partial"}, {"pause": {}},
            ],
        }),
    ]
}

impl World {
    fn new(kind: &Value) -> Self {
        let config = configuration(&[("r", kind.clone()), ("s", json!({"weights": {"green": 5}}))]);
        Self { fleet: Fleet::new(VMS as u64, &config), config, requests: 0, aborted: None }
    }

    fn command(&mut self, vm: usize, command: Command) {
        let Ok(changed) = self.fleet.command(vm, command.clone()) else { return };
        self.obeyed(&command, &changed.record);
    }

    fn obeyed(&mut self, command: &Command, record: &Record) {
        match command {
            Command::Abort => self.aborted = Some(record.run.attempt),
            _ if self.aborted.is_some_and(|attempt| record.run.attempt > attempt) => self.aborted = None,
            _ => {}
        }
    }

    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Requests(vm, side, requests) => {
                (0..requests).for_each(|_| self.fleet.request(vm, side, false));
                self.requests += if side == Side::Candidate { u64::from(requests) } else { 0 };
            }
            Deed::Report(vm) => self.fleet.report(vm),
            Deed::Lead(vm, pieces) => {
                let clock = self.fleet.clock();
                for _ in 0..pieces {
                    let effects = self.fleet.vms[vm].lead_for(&mut self.fleet.shared, clock, &|| false);
                    self.fleet.perform(effects);
                }
            }
            Deed::Sleep(tenths) => self.fleet.now += u64::from(tenths) * TICK / 10,
            Deed::Command(vm, seed) => self.command(vm, command(seed)),
            Deed::Deliver(vm, true) => self.fleet.deliver(vm),
            Deed::Deliver(vm, false) => drop(self.fleet.notices.remove(&self.fleet.vms[vm].member.id())),
            Deed::Restart(vm) => {
                self.fleet.vms[vm] = Vm::new(self.fleet.now ^ vm as u64);
                self.fleet.load(vm, &self.config);
            }
            Deed::Race(vm, write, seed) => self.race(vm, usize::from(write), seed.map(command).as_ref()),
        }
    }

    fn race(&mut self, vm: usize, write: usize, command: Option<&Command>) {
        let other = (vm + 1) % VMS;
        let mut rival = std::mem::replace(&mut self.fleet.vms[other], Vm::new(1));
        let (clock, mut changed, mut effects) = (self.fleet.clock(), None, Vec::new());
        self.fleet.lead_against(vm, write, |shared| {
            let Some(command) = command else {
                effects = rival.lead(shared, clock);
                return;
            };
            let change = Change::new("r", command.clone());
            changed = rival.command(shared, &change, clock).ok();
        });
        self.fleet.vms[other] = rival;
        self.fleet.perform(effects);
        if let (Some(command), Some((changed, _))) = (command, changed) {
            self.obeyed(command, &changed.record);
        }
    }

    /// What is true at any moment.
    fn check(&self) -> Result<(), TestCaseError> {
        let record = self.fleet.record("r");
        prop_assert!(record.run.judge.step_requests() <= self.requests, "a request is judged once");
        if let Some(attempt) = self.aborted {
            prop_assert_eq!(record.run.attempt, attempt);
            prop_assert_eq!(record.run.phase, Phase::Aborted, "an abort is never lost");
            prop_assert!(!record.run.in_force().contains_key("green"), "it takes all traffic back");
            prop_assert_eq!(record.run.degree(&record.program), Degree::Human);
        }
        Ok(())
    }

    /// What is true once all VMs have been left in peace for some seconds.
    fn check_in_peace(&mut self) -> Result<(), TestCaseError> {
        self.fleet.notices.clear();
        (0..6).for_each(|_| drop(self.fleet.second()));
        self.check()?;
        let record = self.fleet.record("r");
        let assignment = record.head("r").assignment;
        for vm in &self.fleet.vms {
            prop_assert_eq!(vm.rollouts()[0].assignment(), assignment, "no weight without its record");
        }
        let (shown, expected) = (gauges::shown(&self.fleet, "r"), gauges::expected(&self.fleet, "r"));
        prop_assert_eq!(shown, expected, "gauges show what the record says");
        Ok(())
    }
}

#[test]
fn a_fleet_in_which_nothing_happens_keeps_its_laws() {
    for kind in kinds() {
        World::new(&kind).check_in_peace().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_is_lost_or_counted_twice_in_any_order(
        kind in prop::sample::select(kinds().to_vec()),
        deeds in prop::collection::vec(deed(), 1..60),
    ) {
        let mut world = World::new(&kind);
        for deed in deeds {
            world.act(deed);
            world.check()?;
        }
        world.check_in_peace()?;
    }
}
