//! Receivers of notifications that are away or hang, and VMs and Envoys that go while they post.

use super::*;
use crate::analysis::kernel::ratio::Table;
use crate::fleet::effect::Post;
use crate::fleet::outbox::Delivery;
use crate::fleet::store::call::{Answer, Failure};
use crate::fleet::store::member::Settings;
use crate::fleet::store::memory::Memory as Store;
use crate::rollout::event::Action;
use crate::telemetry::breaker::Trip;

/// Rollouts that wait for a person at half of the requests, and receivers.
fn told(rollouts: &[&str], receivers: &Value) -> Config {
    let rollout = |name: &&str| {
        json!({
            "name": name, "release": "1", "stable": "blue", "candidate": "green", "match": {"path": format!("/{name}")},
            "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
            "steps": [{"set_weight": 50}, {"pause": {}}, {"set_weight": 75}, {"pause": {"duration": "1h"}}],
        })
    };
    let rollouts: Vec<Value> = rollouts.iter().map(rollout).collect();
    checked(&json!({"rollouts": rollouts, "notify": receivers}))
}

/// A receiver that is told what commands do as well.
fn hooks() -> Value {
    json!([{"name": "hooks", "cluster": "h", "path": "/", "events": ["step", "abort", "retry", "pause", "resume"]}])
}

/// What a receiver has got: the rollout, its attempt and revision, and what was done.
type Got = (String, u32, u64, Action);

/// Envoys of two VMs, of one fleet if there is a store, and a receiver.
struct World {
    envoys: Vec<Fleet>,
    store: Option<Store>,
    is_away: bool,
    /// What the receiver answers; `None`: nothing, and Envoy does not say that it did not.
    answers: Option<Option<u64>>,
    got: Vec<Got>,
    /// Whether with each of them a side was watched.
    watched: Vec<bool>,
    counted: HashMap<&'static str, u64>,
    /// Envoys and VMs that are gone.
    gone: Vec<(usize, usize)>,
}

impl World {
    fn new(envoys: usize, in_fleet: bool, config: &Config) -> Self {
        let mut world = Self {
            envoys: Vec::new(),
            store: in_fleet.then(Store::default),
            is_away: false,
            answers: Some(Some(204)),
            got: Vec::new(),
            watched: Vec::new(),
            counted: HashMap::new(),
            gone: Vec::new(),
        };
        for envoy in 0..envoys {
            let fleet = world.start(100 * TICK, envoy * 2, config);
            world.envoys.push(fleet);
        }
        world.pass(10);
        world
    }

    /// An Envoy that has just started. `seed`: another one for each.
    fn start(&self, now: u64, seed: usize, config: &Config) -> Fleet {
        let mut fleet = Fleet::empty(2);
        fleet.now = now;
        for vm in 0..2 {
            fleet.vms[vm] = Vm::new((seed + vm + 1) as u64);
            if self.store.is_some() {
                let settings = Settings { fleet: "f".into(), period: TICK, stale_after: None };
                fleet.vms[vm].join(&mut fleet.shared, settings);
            }
            fleet.load(vm, config);
        }
        fleet
    }

    /// Both Envoys restart, one after the other.
    fn restart_in_turn(&mut self, config: &Config) {
        for envoy in 0..2 {
            self.envoys[envoy] = self.start(self.envoys[envoy].now, 10 + envoy * 2, config);
            self.pass(100);
        }
    }

    fn pass(&mut self, seconds: u64) {
        (0..seconds * 20).for_each(|_| self.step());
    }

    /// A twentieth of a second passes.
    fn step(&mut self) {
        for envoy in 0..self.envoys.len() {
            self.envoys[envoy].now += TICK / 20;
            for vm in (0..2).filter(|vm| !self.gone.contains(&(envoy, *vm))).collect::<Vec<_>>() {
                let clock = at(self.envoys[envoy].now);
                let fleet = &mut self.envoys[envoy];
                let mut effects = fleet.vms[vm].tick(&mut fleet.shared, clock);
                let (call, mut more) = fleet.vms[vm].poll_call(&mut fleet.shared, clock);
                effects.append(&mut more);
                if let (Some(call), Some(store)) = (call, &mut self.store) {
                    let away = Answer::Failed(Failure::Unreachable);
                    let answer = if self.is_away { away } else { store.call(&call) };
                    effects.append(&mut fleet.vms[vm].answered(&mut fleet.shared, answer, clock));
                }
                self.perform((envoy, vm), effects);
                if !self.gone.contains(&(envoy, vm)) {
                    self.envoys[envoy].deliver(vm);
                }
            }
        }
    }

    fn perform(&mut self, (envoy, vm): (usize, usize), effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Notified { result, count, .. } => *self.counted.entry(result).or_default() += count,
                Effect::Post(post) => self.post((envoy, vm), &post),
                other => self.envoys[envoy].perform(vec![other]),
            }
        }
    }

    fn post(&mut self, (envoy, vm): (usize, usize), post: &Post) {
        let Some(status) = self.answers else { return };
        if status.is_some_and(|status| status < 300) {
            let Post { rollout, event, .. } = post;
            self.got.push((rollout.clone(), event.attempt, event.revision, event.action));
            self.watched.push(post.is_side_watched);
        }
        let fleet = &mut self.envoys[envoy];
        let outcome = Delivery::of(status);
        let effects = fleet.vms[vm].posted(&mut fleet.shared, post, outcome, at(fleet.now));
        self.perform((envoy, vm), effects);
    }

    fn command(&mut self, (envoy, vm): (usize, usize), rollout: &str, command: Command) {
        let change = Change::new(rollout, command);
        let fleet = &mut self.envoys[envoy];
        let (_, effects) = fleet.vms[vm].command(&mut fleet.shared, &change, at(fleet.now)).unwrap();
        self.perform((envoy, vm), effects);
    }

    fn counted(&self, result: &str) -> u64 {
        self.counted.get(result).copied().unwrap_or_default()
    }

    fn actions(&self) -> Vec<Action> {
        self.got.iter().map(|got| got.3).collect()
    }

    /// Nothing came twice, and what came of one rollout came in its order.
    fn assert_once_and_in_order(&self) {
        let mut last: HashMap<&str, (u32, u64)> = HashMap::new();
        for (rollout, attempt, revision, _) in &self.got {
            let last = last.entry(rollout).or_default();
            assert!(*last < (*attempt, *revision), "{:?}", self.got);
            *last = (*attempt, *revision);
        }
    }
}

#[test]
fn events_are_posted_once_and_in_order() {
    let mut world = World::new(1, false, &told(&["a", "b"], &hooks()));
    assert_eq!(world.actions(), [Action::Step; 2], "both wait for a person");
    world.command((0, 1), "a", Command::Abort);
    world.command((0, 0), "b", Command::Promote { full: false });
    world.command((0, 1), "a", Command::Retry);
    world.pass(3);
    world.assert_once_and_in_order();
    let of = |name: &str| -> Vec<Action> {
        world.got.iter().filter(|got| got.0 == name).map(|got| got.3).collect()
    };
    assert_eq!(of("a"), [Action::Step, Action::Abort, Action::Retry, Action::Step]);
    assert_eq!(of("b"), [Action::Step, Action::Step]);
    assert_eq!((world.counted("delivered"), world.counted.len()), (6, 1));
}

#[test]
fn without_a_list_what_people_do_is_not_posted() {
    let receiver = json!([{"name": "hooks", "cluster": "h", "path": "/"}]);
    let mut world = World::new(1, false, &told(&["a"], &receiver));
    let before = world.actions();
    assert!(before.contains(&Action::Step), "{before:?}");
    world.command((0, 1), "a", Command::Abort);
    world.pass(3);
    assert_eq!(world.actions(), before);
}

#[test]
fn a_step_that_waits_for_a_person_is_a_pause() {
    let receiver = json!([{"name": "hooks", "cluster": "h", "path": "/", "events": ["pause"]}]);
    let mut world = World::new(1, false, &told(&["a"], &receiver));
    assert_eq!(world.actions(), [Action::Step]);
    world.command((0, 1), "a", Command::Promote { full: false });
    world.pass(2);
    assert_eq!(world.got.len(), 1, "the next step waits for time alone");
}

#[test]
fn a_notification_says_whether_a_side_is_watched() {
    let config = checked(&json!({
        "rollouts": [{
            "name": "a", "release": "1", "stable": "blue", "candidate": "green", "match": {"path": "/a"},
            "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
            "blue_green": {"auto_rollback_window": "10s"}, "analysis": {"metrics": [{"name": "error_rate"}]},
        }],
        "notify": [{"name": "hooks", "cluster": "h", "path": "/", "events": ["start", "flip", "pause", "resume", "abort"]}],
    }));
    let mut world = World::new(1, false, &config);
    (0..2_000).for_each(|_| world.envoys[0].request(1, Side::Stable, false));
    world.pass(5);
    for command in
        [Command::Switch { active: "green".into() }, Command::Pause, Command::Resume, Command::Abort]
    {
        world.command((0, 1), "a", command);
        world.pass(2);
    }
    assert_eq!(world.actions(), [Action::Start, Action::Flip, Action::Pause, Action::Resume, Action::Abort]);
    assert_eq!(world.watched, [false, true, true, true, false]);
}

#[test]
fn a_receiver_that_is_down_for_a_minute_misses_nothing_and_gets_nothing_twice() {
    for down in [Some(503), Some(404), None] {
        let mut world = World::new(1, false, &told(&["a"], &hooks()));
        world.answers = Some(down);
        for _ in 0..10 {
            world.command((0, 1), "a", Command::Abort);
            world.pass(3);
            world.command((0, 1), "a", Command::Retry);
            world.pass(3);
        }
        assert_eq!(world.got.len(), 1, "{down:?}");
        let failed = world.counted("failed");
        assert!((4..20).contains(&failed), "{failed} attempts in a minute");
        world.answers = Some(Some(200));
        world.pass(35);
        world.assert_once_and_in_order();
        assert_eq!(world.got.len(), 31, "{down:?}");
        assert_eq!(world.counted("failed"), failed, "no attempt fails once it is up");
    }
}

#[test]
fn another_vm_posts_what_the_one_before_left() {
    for answers in [Some(Some(503)), None] {
        let mut world = World::new(1, false, &told(&["a"], &hooks()));
        world.answers = answers;
        world.command((0, 1), "a", Command::Abort);
        world.pass(3);
        // It was posting, or its callout was lost with it.
        world.gone.push((0, 0));
        world.answers = Some(Some(200));
        world.pass(15);
        world.assert_once_and_in_order();
        assert_eq!(world.actions(), [Action::Step, Action::Abort]);
    }
}

#[test]
fn a_post_that_another_vm_has_answered_for_is_not_settled_twice() {
    let mut world = World::new(1, false, &told(&["a"], &hooks()));
    world.answers = None;
    world.command((0, 1), "a", Command::Abort);
    let mut posted = Vec::new();
    world.envoys[0].now += TICK / 10;
    for _ in 0..30 {
        let fleet = &mut world.envoys[0];
        fleet.now += TICK;
        for vm in 0..2 {
            let effects = fleet.vms[vm].tick(&mut fleet.shared, at(fleet.now));
            posted.extend(effects.into_iter().filter_map(|effect| match effect {
                Effect::Post(post) => Some(post),
                _ => None,
            }));
        }
    }
    // Its timeout is 5 s, and two more are waited for an answer.
    assert!((3..=5).contains(&posted.len()), "{} posts in 30 s, all without an answer", posted.len());
    let fleet = &mut world.envoys[0];
    let now = at(fleet.now);
    for (nth, post) in posted.iter().enumerate() {
        let next = fleet.vms[1].posted(&mut fleet.shared, post, Delivery::Arrived, now);
        assert_eq!(next.len(), 1, "{nth}: nothing follows");
    }
    assert!(!fleet.second().iter().any(|effect| matches!(effect, Effect::Post(_))));
}

#[test]
fn a_refused_notification_stops_no_other() {
    let mut world = World::new(1, false, &told(&["a"], &hooks()));
    world.answers = Some(Some(400));
    world.command((0, 1), "a", Command::Abort);
    world.pass(2);
    world.answers = Some(Some(200));
    world.command((0, 1), "a", Command::Retry);
    world.pass(2);
    assert_eq!(world.actions(), [Action::Step, Action::Retry, Action::Step]);
    assert_eq!(world.counted("refused"), 1);
}

/// An expired token and a wrong path are the receiver's, and last until a person mends them. What only this event is denied for
/// does not stop the others for longer.
#[test]
fn a_notification_that_a_receiver_denies_is_given_up_after_ten_minutes() {
    for status in [401, 403, 404] {
        let mut world = World::new(1, false, &told(&["a"], &hooks()));
        world.answers = Some(Some(status));
        world.command((0, 1), "a", Command::Abort);
        world.pass(3);
        assert_eq!((world.counted("refused"), world.got.len()), (0, 1), "{status}: it is tried again");
        world.command((0, 1), "a", Command::Retry);
        world.envoys[0].now += 590 * TICK;
        world.pass(40);
        assert_eq!(world.counted("refused"), 3, "{status}: those behind it are as old");
        world.answers = Some(Some(200));
        world.command((0, 1), "a", Command::Abort);
        world.pass(3);
        assert_eq!(world.actions(), [Action::Step, Action::Abort], "{status}");
    }
    for status in [408, 425, 429, 503] {
        let mut world = World::new(1, false, &told(&["a"], &hooks()));
        world.answers = Some(Some(status));
        world.command((0, 1), "a", Command::Abort);
        world.pass(3);
        world.envoys[0].now += 590 * TICK;
        world.pass(40);
        world.answers = Some(Some(200));
        world.pass(35);
        assert_eq!(world.actions(), [Action::Step, Action::Abort], "{status}: it is busy, or down");
    }
}

#[test]
fn a_rollout_that_comes_back_with_the_same_release_is_told_anew() {
    let mut world = World::new(1, false, &told(&["a", "b"], &hooks()));
    let load = |world: &mut World, rollouts: &[&str]| {
        for vm in 0..2 {
            world.envoys[0].load(vm, &told(rollouts, &hooks()));
        }
        world.pass(70);
    };
    load(&mut world, &["b"]);
    load(&mut world, &["a", "b"]);
    let of_a = world.got.iter().filter(|got| got.0 == "a");
    let steps = [1, 1].map(|attempt| ("a".to_owned(), attempt, 2, Action::Step));
    assert_eq!(of_a.cloned().collect::<Vec<_>>(), steps);
}

/// Its record is another one, and begins with the first attempt.
#[test]
fn another_candidate_of_the_same_release_is_told_anew_in_a_fleet() {
    let of = |candidate: &str| {
        checked(&json!({
            "rollouts": [{
                "name": "a", "release": "1", "stable": "blue", "candidate": candidate, "match": {"path": "/a"},
                "versions": {"blue": {"cluster": "b"}, candidate: {"cluster": "c"}},
                "steps": [{"set_weight": 50}, {"pause": {}}],
            }],
            "notify": hooks(),
        }))
    };
    let mut world = World::new(2, true, &of("green"));
    world.command((0, 1), "a", Command::Abort);
    world.pass(5);
    for envoy in 0..2 {
        (0..2).for_each(|vm| world.envoys[envoy].load(vm, &of("red")));
    }
    world.pass(15);
    world.command((1, 1), "a", Command::Abort);
    world.pass(5);
    let expected = [Action::Step, Action::Abort, Action::Step, Action::Abort];
    assert_eq!(world.actions(), expected, "{:?}", world.got);
}

#[test]
fn a_queue_is_bounded_and_what_it_drops_is_counted() {
    let mut world = World::new(1, false, &told(&["a"], &hooks()));
    world.answers = Some(Some(503));
    for _ in 0..150 {
        world.command((0, 1), "a", Command::Abort);
        world.command((0, 1), "a", Command::Retry);
    }
    world.pass(1);
    assert_eq!(world.counted("dropped"), 150 * 3 - 256, "an abort, a retry and a step each");
    world.answers = Some(Some(200));
    world.pass(40);
    world.assert_once_and_in_order();
    assert_eq!(world.got.len(), 1 + 256);
    assert_eq!(world.actions().last(), Some(&Action::Step), "the newest are kept");
}

#[test]
fn a_notification_posted_in_vain_for_an_hour_is_given_up_and_counted() {
    let mut world = World::new(1, false, &told(&["a"], &hooks()));
    world.answers = Some(Some(503));
    world.command((0, 1), "a", Command::Abort);
    world.pass(1);
    world.envoys[0].now += 3_600 * TICK;
    world.pass(3);
    assert_eq!(world.counted("expired"), 1);
    world.answers = Some(Some(200));
    world.command((0, 1), "a", Command::Retry);
    world.pass(40);
    assert_eq!(world.actions(), [Action::Step, Action::Retry, Action::Step]);
}

#[test]
fn of_a_fleet_the_leading_envoy_posts() {
    let mut world = World::new(3, true, &told(&["a", "b"], &hooks()));
    world.command((1, 1), "a", Command::Abort);
    world.pass(3);
    world.command((2, 0), "a", Command::Retry);
    world.command((0, 1), "b", Command::Abort);
    world.pass(5);
    world.assert_once_and_in_order();
    assert_eq!(world.got.len(), 6, "{:?}", world.got);
    assert_eq!(world.counted("delivered"), 6);
}

#[test]
fn the_next_leader_of_a_fleet_posts_what_the_one_before_could_not_and_nothing_twice() {
    for leader in 0..3 {
        let mut world = World::new(3, true, &told(&["a"], &hooks()));
        world.command((1, 1), "a", Command::Abort);
        world.pass(3);
        assert_eq!(world.got.len(), 2);
        world.answers = Some(None);
        world.command((1, 1), "a", Command::Retry);
        world.pass(3);
        // One after the other goes, the leading one among them.
        for vm in 0..2 {
            world.gone.push((leader, vm));
        }
        world.pass(8);
        world.answers = Some(Some(200));
        world.pass(40);
        world.assert_once_and_in_order();
        assert_eq!(world.actions(), [Action::Step, Action::Abort, Action::Retry, Action::Step], "{leader}");
    }
}

#[test]
fn an_event_that_one_envoy_has_posted_is_not_posted_again_by_the_next_leader() {
    let config = checked(&json!({
        "rollouts": [{
            "name": "a", "release": "1", "stable": "blue", "candidate": "green", "match": {"path": "/a"},
            "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
            "steps": [{"set_weight": 50}, {"pause": {}}],
            "analysis": {"circuit_breaker": {"consecutive_errors": 5}, "metrics": [{"name": "error_rate"}]},
        }],
        "notify": [{"name": "hooks", "cluster": "h", "path": "/", "events": ["abort", "rollback"]}],
    }));
    let worlds = (0..3).flat_map(|origin| (0..3).map(move |gone| (origin, gone)));
    for ((origin, gone), trips) in worlds.flat_map(|world| [(world, false), (world, true)]) {
        let mut world = World::new(3, true, &config);
        let assignment = world.envoys[origin].vms[1].rollouts()[0].assignment();
        let trip = Command::Trip(Trip { assignment, seen: Table::of((5, 5), (0, 5)) });
        world.command((origin, 1), "a", if trips { trip } else { Command::Abort });
        world.pass(3);
        (0..2).for_each(|vm| world.gone.push((gone, vm)));
        world.pass(12);
        assert_eq!(world.got.len(), 1, "at {origin}, {gone} goes: {:?}", world.got);
    }
}

#[test]
fn the_next_leader_of_a_fleet_posts_nothing_twice_to_any_of_many_receivers() {
    let receiver = |nth| json!({"name": format!("hooks-{nth}"), "cluster": "h", "path": "/", "events": ["abort", "retry"]});
    let receivers = (0..5).map(receiver).collect();
    let mut world = World::new(2, true, &told(&["a"], &receivers));
    for _ in 0..40 {
        world.command((0, 1), "a", Command::Abort);
        world.pass(1);
        world.command((0, 1), "a", Command::Retry);
        world.pass(1);
    }
    world.pass(2);
    assert_eq!(world.got.len(), 5 * 80);
    (0..2).for_each(|vm| world.gone.push((0, vm)));
    world.pass(15);
    assert_eq!(world.got.len(), 5 * 80);
}

#[test]
fn an_event_is_not_lost_on_an_envoy_none_of_whose_vms_leads() {
    for silent in 0..2 {
        let mut world = World::new(2, true, &told(&["a"], &hooks()));
        world.answers = Some(Some(503));
        world.gone.push((silent, 0));
        world.command((1 - silent, 1), "a", Command::Abort);
        world.pass(10);
        let journal = journal::of(&world.envoys[silent].shared, "a");
        let actions: Vec<Action> = journal.iter().map(|event| event.action).collect();
        assert_eq!(actions, [Action::Start, Action::Step, Action::Abort]);
        (0..2).for_each(|vm| world.gone.push((1 - silent, vm)));
        world.answers = Some(Some(200));
        world.pass(40);
        assert_eq!(world.actions(), [Action::Step, Action::Abort]);
    }
}

#[test]
fn a_rolling_restart_loses_no_notification_and_posts_none_twice() {
    for down in [true, false] {
        let config = told(&["a", "b"], &hooks());
        let mut world = World::new(2, true, &config);
        let status = if down { 503 } else { 200 };
        world.answers = Some(Some(status));
        world.command((0, 1), "a", Command::Abort);
        world.pass(100);
        world.restart_in_turn(&config);
        world.answers = Some(Some(200));
        world.pass(40);
        world.assert_once_and_in_order();
        assert_eq!(world.actions(), [Action::Step, Action::Step, Action::Abort], "{down}");
    }
}

#[test]
fn an_outage_of_the_store_hides_nothing_that_an_envoy_does_meanwhile() {
    for envoy in 0..2 {
        let mut world = World::new(2, true, &told(&["a", "b"], &hooks()));
        world.answers = Some(Some(503));
        world.command((0, 1), "b", Command::Abort);
        world.pass(2);
        world.is_away = true;
        world.pass(8);
        world.answers = Some(Some(200));
        world.pass(40);
        world.command((envoy, 1), "a", Command::Abort);
        world.pass(3);
        let of = |world: &World, name: &str| world.got.iter().filter(|got| got.0 == name).count();
        assert_eq!((of(&world, "a"), world.actions().last()), (2, Some(&Action::Abort)), "{envoy}");
        assert_eq!(of(&world, "b"), 2, "what happened before is posted by the one that leads");
        world.is_away = false;
        world.pass(15);
        let aborts = world.got.iter().filter(|got| got.0 == "a" && got.3 == Action::Abort);
        let mut aborts: Vec<&Got> = aborts.collect();
        aborts.dedup();
        assert_eq!(aborts.len(), 1, "it has the same id, should it come twice");
    }
}

#[test]
fn an_event_in_the_last_answer_of_the_store_is_posted_by_one_envoy() {
    let mut world = World::new(2, true, &told(&["a"], &hooks()));
    world.answers = Some(Some(503));
    world.command((0, 1), "a", Command::Abort);
    let has_come = |world: &World| {
        let journal = journal::of(&world.envoys[1].shared, "a");
        journal.iter().any(|event| event.action == Action::Abort)
    };
    while !has_come(&world) {
        world.step();
    }
    world.is_away = true;
    world.pass(8);
    world.answers = Some(Some(200));
    world.pass(40);
    assert_eq!(world.actions(), [Action::Step, Action::Abort]);
}

#[test]
fn an_event_during_an_outage_of_the_store_is_posted_after_earlier_ones_of_its_rollout() {
    let mut world = World::new(2, true, &told(&["a"], &hooks()));
    world.answers = Some(Some(503));
    world.command((0, 1), "a", Command::Promote { full: false });
    world.pass(2);
    world.is_away = true;
    (0..2).for_each(|vm| world.gone.push((0, vm)));
    world.pass(8);
    world.command((1, 1), "a", Command::Abort);
    world.answers = Some(Some(200));
    world.pass(40);
    world.is_away = false;
    world.pass(15);
    world.assert_once_and_in_order();
    assert_eq!(world.actions(), [Action::Step, Action::Step, Action::Abort]);
}

#[test]
fn a_rolling_restart_loses_no_notification_although_the_fleet_has_had_hundreds() {
    let config = told(&["a", "b"], &hooks());
    for last in ["a", "b"] {
        let mut world = World::new(2, true, &config);
        for _ in 0..100 {
            world.command((0, 1), "a", Command::Abort);
            world.command((0, 1), "a", Command::Retry);
            world.pass(1);
        }
        world.pass(10);
        world.answers = Some(Some(503));
        world.command((0, 1), last, Command::Abort);
        world.pass(100);
        world.restart_in_turn(&config);
        world.answers = Some(Some(200));
        world.pass(40);
        world.assert_once_and_in_order();
        assert_eq!(world.got.len(), 2 + 3 * 100 + 1, "{last}");
    }
}

#[test]
fn the_next_leader_of_a_fleet_posts_nothing_twice_of_what_many_rollouts_did_at_once() {
    let receiver =
        |nth| json!({"name": format!("hooks-{nth}"), "cluster": "h", "path": "/", "events": ["abort"]});
    let receivers = (0..16).map(receiver).collect();
    let names: Vec<String> = (0..20).map(|nth| format!("r{nth}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(2, true, &told(&names, &receivers));
    names.iter().for_each(|name| world.command((0, 1), name, Command::Abort));
    world.pass(8);
    assert_eq!(world.got.len(), 16 * 20);
    (0..2).for_each(|vm| world.gone.push((0, vm)));
    world.pass(20);
    assert_eq!(world.got.len(), 16 * 20);
}

#[test]
fn a_notification_that_has_waited_for_an_hour_is_given_up_although_all_envoys_have_restarted() {
    let config = told(&["a"], &hooks());
    let mut world = World::new(1, true, &config);
    world.answers = Some(Some(503));
    world.command((0, 1), "a", Command::Abort);
    world.pass(3);
    let later = world.envoys[0].now + 3_000 * TICK;
    world.envoys[0] = world.start(later, 10, &config);
    world.pass(10);
    assert_eq!(world.counted("expired"), 0);
    world.envoys[0].now += 600 * TICK;
    world.pass(10);
    assert_eq!(world.counted("expired"), 1);
}

#[test]
fn a_damaged_outbox_heals() {
    for damage in [&[][..], &[0xff; 40], &[1, 2, 3]] {
        let mut world = World::new(1, false, &told(&["a"], &hooks()));
        let key = shared::key("outbox.hooks");
        world.envoys[0].shared.swap(&key, damage, Version::ANY).unwrap();
        world.command((0, 1), "a", Command::Abort);
        world.pass(3);
        assert_eq!(world.actions(), [Action::Step, Action::Abort]);
    }
}
