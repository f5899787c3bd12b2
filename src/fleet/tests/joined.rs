//! The VMs of one Envoy that belongs to a fleet.

use super::*;
use crate::analysis::kernel::ratio::Table;
use crate::fleet::joined;
use crate::fleet::store::call::{Answer, Failure};
use crate::fleet::store::known::Made;
use crate::fleet::store::member::Settings;
use crate::fleet::store::memory::Memory as Store;
use crate::fleet::store::values::{self, Lead, Life, Read, Seen, Stored};
use crate::fleet::store::view::MOST_NAMES;
use crate::model::UserHash;
use crate::telemetry::breaker::Trip;

/// An Envoy of two VMs and the store of its fleet.
struct Shop {
    envoy: Fleet,
    store: Store,
    is_away: bool,
    /// The VM whose timers do not come.
    asleep: Option<usize>,
}

impl Shop {
    fn open() -> Self {
        Self::open_with(None)
    }

    fn open_with(stale_after: Option<u64>) -> Self {
        Self::open_as(waiting(), stale_after)
    }

    fn open_as(rollout: Value, stale_after: Option<u64>) -> Self {
        let mut envoy = Fleet::empty(2);
        let settings = Settings { fleet: "f".into(), period: TICK, stale_after };
        for vm in 0..2 {
            envoy.vms[vm].join(&mut envoy.shared, settings.clone());
            envoy.load(vm, &configuration(&[("r", rollout.clone())]));
        }
        let mut shop = Self { envoy, store: Store::default(), is_away: false, asleep: None };
        shop.pass(6);
        assert_eq!(shop.stored().record.run.phase, Phase::Paused);
        shop
    }

    /// Seconds pass.
    fn pass(&mut self, seconds: u64) {
        let end = self.envoy.now + seconds * TICK;
        while self.envoy.now < end {
            self.step();
        }
    }

    /// A twentieth of a second passes.
    fn step(&mut self) {
        self.envoy.now += TICK / 20;
        for vm in 0..2 {
            if self.asleep != Some(vm) {
                self.tick(vm);
            }
        }
    }

    /// A VM's timer comes, and its call is answered. Returns whether it had one.
    fn tick(&mut self, vm: usize) -> bool {
        let clock = at(self.envoy.now);
        let effects = self.envoy.vms[vm].tick(&mut self.envoy.shared, clock);
        self.envoy.perform(effects);
        let (call, effects) = self.envoy.vms[vm].poll_call(&mut self.envoy.shared, clock);
        self.envoy.perform(effects);
        let has_called = call.is_some();
        if let Some(call) = call {
            let away = Answer::Failed(Failure::Unreachable);
            let answer = if self.is_away { away } else { self.store.call(&call) };
            let effects = self.envoy.vms[vm].answered(&mut self.envoy.shared, answer, clock);
            self.envoy.perform(effects);
        }
        self.envoy.deliver(vm);
        has_called
    }

    /// Has the other VM take the lead of the Envoy, and goes on with both.
    fn change_leader(&mut self) {
        let lead = || joined::view(&self.envoy.shared).unwrap();
        assert!(lead().is_away, "the member of the new leader has not heard of the store");
        self.asleep = Some(0);
        self.pass(10);
        self.asleep = None;
    }

    fn stored(&self) -> Box<Stored> {
        let mut values = self.store.values.iter().filter(|(key, _)| key.starts_with("/changeover/f/r/"));
        match Stored::decode(&values.next().unwrap().1.0) {
            Read::Whole(stored) => stored,
            other => panic!("{other:?}"),
        }
    }

    fn unstored(&self) -> Vec<String> {
        joined::view(&self.envoy.shared).unwrap().unstored
    }
}

/// Stable serves until the store has answered, so the VM that is first does not wait for a tick to begin.
#[test]
fn an_envoy_that_starts_routes_as_the_store_says_after_the_first_ticks_of_its_vms() {
    for milliseconds in [0, 1, 30, 59, 61, 500, 940, 999] {
        let mut before = Shop::open();
        before.envoy.command(0, Command::Promote { full: true }).unwrap();
        before.pass(2);
        let began = before.envoy.now;
        let mut shop = Shop { envoy: Fleet::empty(2), ..before };
        shop.envoy.now = began / TICK * TICK + milliseconds * 1_000_000;
        shop.envoy.vms = vec![Vm::new(11), Vm::new(12)];
        for vm in 0..2 {
            let settings = Settings { fleet: "f".into(), period: TICK, stale_after: None };
            shop.envoy.vms[vm].join(&mut shop.envoy.shared, settings);
            shop.envoy.load(vm, &configuration(&[("r", waiting())]));
        }
        let calls: Vec<bool> = (0..2).map(|vm| shop.tick(vm)).collect();
        assert_eq!(calls, [true, false], "one VM speaks for its Envoy, at {milliseconds} ms");
        assert_eq!([shop.envoy.share(0), shop.envoy.share(1)], [Share::ALL; 2], "at {milliseconds} ms");
    }
}

#[test]
fn an_abort_reaches_the_store_although_the_lead_of_the_envoy_has_changed_while_it_was_away() {
    for is_before in [true, false] {
        let mut shop = Shop::open();
        shop.is_away = true;
        shop.pass(8);
        if is_before {
            shop.envoy.command(1, Command::Abort).unwrap();
            shop.pass(1);
        }
        shop.change_leader();
        if !is_before {
            shop.envoy.command(1, Command::Abort).unwrap();
            shop.pass(1);
        }
        assert_eq!(shop.unstored(), ["r"]);
        assert_eq!(shop.stored().record.run.phase, Phase::Paused);
        shop.is_away = false;
        shop.pass(4);
        assert_eq!(shop.stored().record.run.phase, Phase::Aborted);
        assert_eq!(shop.envoy.phase(), Phase::Aborted);
        assert_eq!(shop.unstored(), [""; 0]);
        assert_eq!(joined::pending(&shop.envoy.shared), []);
    }
}

#[test]
fn a_silent_store_hands_to_stable_although_the_lead_of_the_envoy_has_changed() {
    for is_before in [true, false] {
        let mut shop = Shop::open_with(Some(25 * TICK));
        let shares = |shop: &Shop| [shop.envoy.share(0), shop.envoy.share(1)];
        let half = Share::new(5_000);
        assert_eq!(shares(&shop), [half; 2]);
        shop.is_away = true;
        shop.pass(8);
        if is_before {
            shop.change_leader();
            shop.pass(4);
            assert_eq!(shares(&shop), [half; 2], "not silent for long enough");
        }
        // Since the store has answered, whichever VM has heard it.
        shop.pass(if is_before { 6 } else { 20 });
        assert_eq!(shares(&shop), [Share::NONE; 2]);
        if !is_before {
            shop.change_leader();
            assert_eq!(shares(&shop), [Share::NONE; 2]);
        }
        shop.is_away = false;
        shop.pass(6);
        assert_eq!(shares(&shop), [half; 2]);
        assert_eq!(shop.envoy.record("r").run.in_force().values().collect::<Vec<_>>(), [&half]);
    }
}

/// So many Envoys share the release, and the store is away.
fn alone_of(members: u64) -> Shop {
    let mut shop = Shop::open();
    let members = (1..=members).map(|life| Seen { life: Life(life), ..Seen::default() });
    let lead = Lead { life: Life(1), beat: 1, members: members.collect(), ..Lead::default() };
    shop.store.revision += 1;
    shop.store.values.insert("/changeover/f/lead".into(), (values::encode(&lead), shop.store.revision));
    shop.pass(1);
    shop.is_away = true;
    shop.pass(8);
    shop
}

/// A second passes again and again in which a candidate's request fails, `most` times at most. Returns after how many the
/// candidate was taken back.
fn fail(shop: &mut Shop, most: u64) -> Option<u64> {
    (1..=most).find(|_| {
        shop.envoy.request(1, Side::Candidate, true);
        shop.envoy.request(1, Side::Stable, false);
        shop.pass(1);
        shop.envoy.share(1) == Share::NONE
    })
}

#[test]
fn a_member_alone_takes_a_failing_candidate_back_although_the_lead_of_the_envoy_has_changed() {
    let needed = [1, 30].map(|members| {
        let needed = fail(&mut alone_of(members), 60).expect("it takes it back");
        let mut shop = alone_of(members);
        assert_eq!(fail(&mut shop, 3), None);
        let events = shop.stored().events.clone();
        shop.change_leader();
        let more = fail(&mut shop, 60).expect("it takes it back");
        assert_eq!(
            3 + more,
            needed,
            "what was found before counts, and of {members} members it needs as much"
        );
        assert_eq!(shop.envoy.phase(), Phase::Failed);
        assert_eq!(shop.unstored(), ["r"]);
        shop.is_away = false;
        shop.pass(8);
        assert_eq!((shop.stored().record.run.phase, shop.unstored()), (Phase::Failed, Vec::new()));
        let stored = shop.stored().events;
        assert!(!events.is_empty() && stored.starts_with(&events), "{stored:?} begins with {events:?}");
        assert_eq!(stored.len(), events.len() + 1, "and nothing but the rollback is new: {stored:?}");
        needed
    });
    assert!(needed[1] > needed[0], "{needed:?}");
}

#[test]
fn a_change_is_shown_as_unstored_from_the_command_until_the_revision_that_has_it_is_shown() {
    let mut shop = Shop::open();
    let revision = |shop: &Shop| joined::view(&shop.envoy.shared).unwrap().followed;
    let before = revision(&shop);
    shop.envoy.command(1, Command::Promote { full: false }).unwrap();
    assert_eq!(shop.unstored(), ["r"], "before the leading VM has looked");
    let end = shop.envoy.now + 4 * TICK;
    while shop.envoy.now < end {
        shop.step();
        let has_it = shop.unstored().is_empty();
        assert_eq!(has_it, revision(&shop) > before, "at {}", shop.envoy.now);
    }
    assert_eq!(shop.unstored(), [""; 0]);
    assert_eq!(shop.stored().record.run.phase, Phase::Succeeded);
}

#[test]
fn a_command_in_which_the_leading_vm_looks_at_any_moment_is_obeyed_once() {
    const MOST_WRITES: usize = 12;
    let by_hand = json!({"steps": [
        {"set_weight": 10}, {"pause": {}}, {"set_weight": 20}, {"pause": {}}, {"set_weight": 30}, {"pause": {}},
    ]});
    let mut raced = 0;
    for nth in 0..MOST_WRITES {
        let mut shop = Shop::open_as(by_hand.clone(), None);
        let clock = at(shop.envoy.now + TICK / 4);
        let mut leader = std::mem::replace(&mut shop.envoy.vms[0], Vm::new(9));
        let (store, change) = (&mut shop.store, Change::new("r", Command::Promote { full: false }));
        let look = |shared: &mut Memory| {
            if let (Some(call), _) = leader.poll_call(shared, clock) {
                leader.answered(shared, store.call(&call), clock);
            }
        };
        let mut racing = Racing { memory: &mut shop.envoy.shared, left: nth, rival: Some(look) };
        let (changed, _) = shop.envoy.vms[1].command(&mut racing, &change, clock).unwrap();
        raced += usize::from(racing.rival.is_none());
        assert_eq!(
            changed.record.run.in_force().values().next(),
            Some(&Share::new(2_000)),
            "before write {nth}"
        );
        shop.envoy.vms[0] = leader;
        shop.pass(4);
        assert_eq!([shop.envoy.share(0), shop.envoy.share(1)], [Share::new(2_000); 2], "before write {nth}");
        assert_eq!(shop.stored().record.run.in_force(), shop.envoy.record("r").run.in_force());
    }
    assert!((4..MOST_WRITES).contains(&raced), "{raced}");
}

/// Another VM leaves its change while the leading one settles what it had read.
#[test]
fn a_command_that_comes_while_others_are_settled_is_not_lost() {
    let mut memory = Memory::default();
    joined::prepare(&mut memory);
    let mut shop = Shop::open();
    let made = |id| Made::new(id, &shop.envoy.record("r"), Change::new("r", Command::Abort));
    joined::leave(&mut memory, &made(1));
    let seen = joined::pending(&memory);
    let late = made(2);
    let rival = |memory: &mut Memory| joined::leave(memory, &late);
    let mut racing = Racing { memory: &mut memory, left: 0, rival: Some(rival) };
    joined::settle(&mut racing, &seen);
    assert_eq!(joined::pending(&memory), [made(2)]);
    joined::settle(&mut memory, &[made(2)]);
    assert_eq!(joined::pending(&memory), []);
    // Two VMs at once, in the fleet: a breaker at each, or `abort --all`.
    shop.envoy.command(0, Command::Pause).unwrap();
    shop.envoy.command(1, Command::Abort).unwrap();
    shop.pass(3);
    assert_eq!(shop.stored().record.run.phase, Phase::Aborted);
}

/// It was pushed to one VM first, and people abort it at once.
#[test]
fn an_abort_of_a_release_that_the_leading_vm_has_not_loaded_yet_is_not_lost() {
    let mut shop = Shop::open();
    let next = |shop: &mut Shop, vm: usize| {
        let mut rollout = waiting();
        rollout["release"] = json!("2");
        shop.envoy.load(vm, &configuration(&[("r", rollout)]));
    };
    let leading = 0;
    next(&mut shop, 1 - leading);
    shop.envoy.command(1 - leading, Command::Abort).expect("it is new");
    shop.pass(3);
    assert_eq!(shop.unstored(), ["r"], "it waits");
    next(&mut shop, leading);
    shop.pass(5);
    let records = shop.store.values.iter().filter(|(key, _)| key.contains("/r/"));
    let aborted = records.filter(|(_, (value, _))| {
        matches!(Stored::decode(value), Read::Whole(stored) if stored.record.run.phase == Phase::Aborted)
    });
    assert_eq!(aborted.count(), 1);
    assert_eq!([shop.envoy.share(0), shop.envoy.share(1)], [Share::NONE; 2]);
    assert_eq!(shop.unstored(), [""; 0]);
}

/// The fleet's record cannot be written: what this Envoy is configured with counts here as far as it takes back.
#[test]
fn a_push_that_the_fleet_does_not_follow_gives_no_version_more() {
    let weights = |green: u16| json!({"weights": {"green": green}});
    let load = |shop: &mut Shop, rollout: Value| {
        (0..2).for_each(|vm| shop.envoy.load(vm, &configuration(&[("r", rollout.clone())])));
        shop.pass(3);
        (shop.envoy.share(0), shop.envoy.share(1))
    };
    let open = |rollout: Value| {
        let mut envoy = Fleet::empty(2);
        for vm in 0..2 {
            envoy.vms[vm]
                .join(&mut envoy.shared, Settings { fleet: "f".into(), period: TICK, stale_after: None });
            envoy.load(vm, &configuration(&[("r", rollout.clone())]));
        }
        let mut shop = Shop { envoy, store: Store::default(), is_away: false, asleep: None };
        shop.pass(6);
        shop
    };
    let mut shop = open(weights(20));
    assert_eq!(shop.envoy.share(0), Share::new(2_000));
    shop.is_away = true;
    shop.pass(8);
    assert_eq!(load(&mut shop, weights(50)), (Share::new(2_000), Share::new(2_000)));
    assert_eq!(load(&mut shop, weights(5)), (Share::new(500), Share::new(500)));
    assert_eq!(load(&mut shop, json!({"weights": {"green": 20}, "pin": "green"})).0, Share::new(2_000));
    assert_eq!(load(&mut shop, weights(50)), (Share::new(2_000), Share::new(2_000)));
    // What this Envoy commands and counts is about the shares that it routes by.
    let routed = shop.envoy.vms[1].rollouts()[0].assignment();
    let record = shop.envoy.record("r");
    assert_eq!(record.run.assignment(&record.program), routed);
    let green = |share| Command::Weight([("green".to_owned(), Share::new(share))].into_iter().collect());
    shop.envoy.command(1, green(3_000)).map(drop).unwrap_err();
    shop.envoy.command(1, green(1_000)).unwrap();
    shop.pass(2);
    assert_eq!((shop.envoy.share(0), shop.envoy.share(1)), (Share::new(1_000), Share::new(1_000)));
    shop.is_away = false;
    shop.pass(8);
    assert_eq!(load(&mut shop, weights(50)).0, Share::new(5_000), "now it is the fleet's");
}

#[test]
fn while_the_store_is_away_only_what_takes_back_is_obeyed() {
    let green = |basis_points| {
        Command::Weight([("green".to_owned(), Share::new(basis_points))].into_iter().collect())
    };
    let refused = [Command::Promote { full: true }, Command::Resume, Command::Retry, green(6_000)];
    let obeyed = [Command::Pause, green(3_000), Command::Abort];
    let mut shop = Shop::open();
    shop.is_away = true;
    shop.pass(8);
    for command in refused {
        let why = shop.envoy.command(1, command.clone()).map(drop);
        let is_refused =
            matches!(&why, Err(NotChanged::Refused(why)) if why.0.contains("the store has not answered"));
        assert!(is_refused, "{command:?}: {why:?}");
    }
    for command in obeyed {
        shop.envoy.command(1, command.clone()).unwrap_or_else(|why| panic!("{command:?}: {why:?}"));
        shop.pass(1);
    }
    assert_eq!(shop.envoy.share(0), Share::NONE);
    shop.is_away = false;
    shop.pass(4);
    assert_eq!(shop.stored().record.run.phase, Phase::Aborted);
    // A circuit breaker's trip as well.
    let breaking = json!({"metrics": [{"name": "error_rate"}], "circuit_breaker": {"consecutive_errors": 5}});
    let steps = json!([{"set_weight": 50}, {"pause": {}}]);
    let mut shop = Shop::open_as(json!({"steps": steps, "analysis": breaking}), None);
    shop.is_away = true;
    shop.pass(8);
    let assignment = shop.envoy.vms[1].rollouts()[0].assignment();
    let trip = Command::Trip(Trip { assignment, seen: Table::of((5, 5), (0, 5)) });
    shop.envoy.command(1, trip).expect("it takes back");
    shop.pass(1);
    assert_eq!([shop.envoy.share(0), shop.envoy.share(1)], [Share::NONE; 2]);
    assert_eq!((shop.unstored(), shop.stored().record.run.phase), (vec!["r".to_owned()], Phase::Paused));
    shop.is_away = false;
    shop.pass(4);
    assert_eq!((shop.unstored(), shop.stored().record.run.phase), (Vec::new(), Phase::Failed));
}

/// What an Envoy of a fleet shares between its VMs beside the others, and what it stores.
pub(super) fn values() -> Vec<(String, Vec<u8>)> {
    let judged = json!({
        "session_affinity": {"header": "x-user-id"}, "steps": [{"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}]},
    });
    let mut shop = Shop::open_as(judged, None);
    for vm in 0..2 {
        // So many that records leave them elsewhere.
        for user in 0..1_000_u64 {
            let side = if user % 2 == 0 { Side::Candidate } else { Side::Stable };
            let (clock, hash) = (shop.envoy.clock(), UserHash(user.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            let request = shop.envoy.vms[vm].arrive(0, side, Some(hash), clock).unwrap();
            request.end(1_000_000, Outcome::answered(user % 5 == 0));
        }
    }
    shop.pass(2);
    shop.is_away = true;
    shop.pass(8);
    shop.envoy.command(1, Command::Abort).unwrap();
    shop.pass(1);
    let kinds = ["life", "pending", "clock", "fleet"].map(shared::key);
    let shared = shop.envoy.shared.values().filter(|(key, _)| kinds.iter().any(|kind| kind == key));
    let mut values: Vec<_> = shared.map(|(key, value)| (key.to_owned(), value.to_vec())).collect();
    values.extend(shop.store.values.into_iter().map(|(key, (value, _))| (key, value)));
    values
}

/// Another Envoy leads, and has seen so many more than are counted.
fn lead_with(shop: &mut Shop, surplus: u32) -> Vec<String> {
    let lead = Lead { life: Life(1), beat: u64::from(surplus), surplus, ..Lead::default() };
    shop.store.revision += 1;
    let key = "/changeover/f/lead".to_owned();
    shop.store.values.insert(key, (values::encode(&lead), shop.store.revision));
    shop.envoy.problems.clear();
    shop.pass(2);
    shop.envoy.problems.clone()
}

#[test]
fn a_problem_is_logged_once_although_its_number_changes() {
    let mut shop = Shop::open();
    let logged = lead_with(&mut shop, 3);
    assert!(matches!(logged.as_slice(), [one] if one.contains("the counts of 3 are not used")), "{logged:?}");
    assert_eq!(lead_with(&mut shop, 4), [""; 0]);
    assert!(joined::view(&shop.envoy.shared).unwrap().problems()[0].contains("the counts of 4 are not used"));
    assert_eq!(shop.envoy.problems_of_fleet, 1);
    assert_eq!(lead_with(&mut shop, 0), [""; 0]);
    assert_eq!(shop.envoy.problems_of_fleet, 0);
    assert_eq!(lead_with(&mut shop, 5).len(), 1, "it had ended");
}

#[test]
fn of_many_rollouts_that_are_not_stored_the_first_are_named() {
    let mut shop = Shop::open();
    let record = shop.envoy.record("r");
    for id in 0..MOST_NAMES as u64 + 6 {
        let change = Change::new(&format!("r{id}"), Command::Abort);
        joined::leave(&mut shop.envoy.shared, &Made::new(id, &record, change));
    }
    let named: Vec<String> = (0..MOST_NAMES).map(|nth| format!("r{nth}")).collect();
    assert_eq!(shop.unstored(), named);
}
