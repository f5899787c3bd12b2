//! Which records a member reads.

use super::super::call::Range;
use super::*;

/// What members ask for while time passes, by member.
fn asked(world: &mut World, nanoseconds: u64) -> Vec<Vec<Range>> {
    let mut all = vec![Vec::new(); world.envoys.len()];
    let end = world.now + nanoseconds;
    while world.now < end {
        world.pass(world.step);
        for (nth, way) in &world.ways {
            all[*nth].extend(way.call.read.iter().cloned());
        }
    }
    all
}

#[test]
fn only_the_leader_reads_the_records_of_earlier_releases_again_and_again() {
    let mut world = waiting_fleet(3);
    let record = world.store.values.keys().find(|key| key.contains("/r/")).unwrap().clone();
    let leader = world.leaders()[0];
    for (nth, asked) in asked(&mut world, 60 * SECOND).into_iter().enumerate() {
        let of_all = |range: &&Range| range.key == "/changeover/f/r/" && range.newer_than == 0;
        let of_own = |range: &&Range| range.key == record && range.newer_than == 0;
        let counts = (asked.iter().filter(of_all).count(), asked.iter().filter(of_own).count());
        if nth == leader {
            assert!(counts.0 >= 5 && counts.1 == 0, "{counts:?}");
        } else {
            assert!(counts.0 == 0 && counts.1 >= 5, "{counts:?}");
        }
    }
}

#[test]
fn a_release_that_is_configured_while_a_reading_is_under_way_is_read_before_it_begins() {
    let mut world = waiting_fleet(1);
    world.command(0, Command::Abort).unwrap();
    world.pass(3 * SECOND);
    assert!(world.stored().unwrap().record.is_taken_back());
    // An Envoy with another release has just asked for the record of that one, when this one is pushed.
    let next = program(&json!({"release": "2", "steps": [{"set_weight": 20}, {"pause": {}}]}));
    let mut other = World::new(7, 1, &next);
    other.store = world.store.clone();
    other.pass(other.step);
    let call = other.ways.remove(&0).unwrap().call;
    assert!(call.read.iter().all(|range| !range.is_prefix), "{call:?}");
    configure(&mut other, &program(&waiting()));
    let answer = other.store.call(&call);
    other.envoys[0].answer(answer, other.now);
    other.now += SECOND;
    let call = other.envoys[0].poll(other.now).unwrap();
    assert!(call.put.iter().all(|(key, _)| !key.contains("/r/")), "{call:?}");
    let answer = other.store.call(&call);
    other.envoys[0].answer(answer, other.now);
    assert!(other.envoys[0].member.record("r").unwrap().is_taken_back());
}

fn configure(world: &mut World, program: &Program) {
    let clock = world.envoys[0].clock(world.now);
    world.envoys[0].member.configure([("r", program)].into_iter(), |_| None, clock);
}
