use fastrand::Rng;
use proptest::prelude::*;

use super::*;

const LIMIT: u64 = 20;
/// Minutes of traffic that each outage is tried in.
const MINUTES: usize = 8;
const MS: u64 = 1_000_000;

fn draw(assignment: u64, side: Side, user: Option<u64>) -> Draw {
    Draw { assignment: Assignment(assignment), side, user: user.map(UserHash) }
}

/// A breaker and the time, in a rollout under assignment 1 of which stable has a share.
struct World {
    breaker: Breaker,
    now: u64,
    in_force: InForce,
    trips: Vec<Trip>,
}

impl World {
    fn new() -> Self {
        let in_force = InForce { assignment: Assignment(1), stable_serves: true };
        Self { breaker: Breaker::default(), now: 1_000 * MS, in_force, trips: Vec::new() }
    }

    fn end(&mut self, request: Ended) {
        self.trips.extend(self.breaker.end(LIMIT, &request, || self.in_force));
    }

    /// A request comes and ends a millisecond later.
    fn answer(&mut self, side: Side, failed: bool, user: Option<u64>) {
        let begun = self.now;
        self.now += MS;
        self.end(Ended {
            draw: draw(self.in_force.assignment.0, side, user),
            failed,
            begun,
            ended: self.now,
        });
    }

    fn green(&mut self, failed: bool, times: u64) {
        (0..times).for_each(|_| self.answer(Side::Candidate, failed, None));
    }

    fn blue(&mut self, failed: bool, times: u64) {
        (0..times).for_each(|_| self.answer(Side::Stable, failed, None));
    }
}

#[test]
fn it_trips_at_the_limit_once_stable_is_known_to_be_well() {
    let mut world = World::new();
    world.green(true, LIMIT / 2);
    world.blue(false, 3);
    world.blue(true, 1);
    world.blue(false, 1);
    world.green(true, LIMIT / 2 - 1);
    assert_eq!(world.trips, []);
    world.green(true, 1);
    let seen = Table::of((20, 20), (1, 5));
    assert_eq!(world.trips, [Trip { assignment: Assignment(1), seen }]);
}

#[test]
fn a_settled_breaker_rests_until_another_assignment_or_configuration() {
    let mut world = World::new();
    let trips = |world: &mut World| {
        world.green(true, LIMIT);
        world.blue(false, 1);
        world.green(true, 2 * LIMIT);
        std::mem::take(&mut world.trips).len()
    };
    assert!(trips(&mut world) > 0);
    world.breaker.rest(world.in_force.assignment);
    assert_eq!(trips(&mut world), 0);
    world.breaker.wake();
    assert!(trips(&mut world) > 0, "another configuration");
    world.breaker.rest(world.in_force.assignment);
    world.in_force.assignment = Assignment(2);
    assert!(trips(&mut world) > 0, "another assignment");
    // What was refused for being out of date says nothing about this assignment, should it come back.
    world.breaker.rest(Assignment(3));
    assert!(trips(&mut world) > 0, "the worker followed another assignment meanwhile");
}

#[test]
fn a_good_answer_ends_the_row() {
    let mut world = World::new();
    for _ in 0..5 {
        world.green(true, LIMIT - 1);
        world.blue(false, 5);
        world.green(false, 1);
    }
    assert_eq!(world.trips, []);
}

#[test]
fn a_breaker_waits_for_a_good_answer_of_stable() {
    let mut world = World::new();
    world.green(true, 5 * LIMIT);
    assert_eq!(world.trips, [], "stable has not answered yet");
    world.blue(false, 1);
    assert_eq!(world.trips.len(), 1, "now it is known");
}

#[test]
fn a_breaker_trips_on_errors_alone_where_stable_gets_no_requests() {
    let mut world = World::new();
    world.in_force.stable_serves = false;
    world.green(true, LIMIT - 1);
    assert_eq!(world.trips, []);
    world.green(true, 1);
    assert_eq!(world.trips.len(), 1);
}

#[test]
fn an_answer_from_before_half_of_the_errors_is_no_word() {
    let mut world = World::new();
    world.green(true, 5);
    world.blue(false, 5);
    let before = world.now;
    world.green(true, LIMIT - 5);
    let ended = world.now;
    let late = Ended { draw: draw(1, Side::Stable, None), failed: false, begun: before, ended };
    world.end(late);
    assert_eq!(world.trips, [], "it was asked before the outage that may be under way");
}

#[test]
fn while_stable_fails_too_nothing_happens_and_then_it_begins_anew() {
    let mut world = World::new();
    for _ in 0..100 {
        world.green(true, 1);
        world.blue(true, 1);
    }
    let during = world.now;
    world.now += MS;
    // Stable is back first, and errors of before come in late.
    world.blue(false, 5);
    for _ in 0..2 * LIMIT {
        let ended = world.now;
        let late = Ended { draw: draw(1, Side::Candidate, None), failed: true, begun: during, ended };
        world.end(late);
        world.blue(false, 1);
    }
    assert_eq!(world.trips, []);
    world.green(true, LIMIT - 1);
    world.blue(false, 1);
    assert_eq!(world.trips, []);
    world.green(true, 1);
    assert_eq!(world.trips.len(), 1, "but the candidate does not come back");
}

#[test]
fn an_outage_after_stables_good_answer_is_seen_too() {
    let mut world = World::new();
    world.green(true, 1); // by chance
    world.blue(false, 1);
    for _ in 0..3 * LIMIT {
        world.blue(true, 1);
        world.green(true, 1);
    }
    world.blue(false, 1);
    assert_eq!(world.trips, []);
}

#[test]
fn errors_of_another_assignment_count_for_nothing() {
    let mut world = World::new();
    world.green(true, LIMIT - 1);
    world.blue(false, 1);
    world.in_force.assignment = Assignment(2);
    let begun = world.now;
    let late = Ended { draw: draw(1, Side::Candidate, None), failed: true, begun, ended: begun };
    world.end(late);
    assert_eq!(world.trips, [], "drawn under the one before");
    world.green(true, LIMIT - 1);
    world.end(Ended { draw: draw(1, Side::Stable, None), failed: false, ..late });
    assert_eq!(world.trips, [], "the count began anew");
    world.blue(false, 1);
    world.green(true, 1);
    assert_eq!(world.trips.len(), 1);
    assert_eq!(world.trips[0].assignment, Assignment(2));
}

#[test]
fn a_change_that_no_candidates_error_has_shown_yet_trips_nothing() {
    let mut world = World::new();
    world.green(true, 2 * LIMIT);
    world.in_force.assignment = Assignment(2);
    let begun = world.now;
    let last = Ended { draw: draw(1, Side::Stable, None), failed: false, begun, ended: begun };
    world.end(last);
    assert_eq!(world.trips, [], "what was counted is over");
}

#[test]
fn where_users_are_known_three_must_be_hit() {
    let mut world = World::new();
    for user in [7, 8].into_iter().cycle().take(100) {
        world.answer(Side::Candidate, true, Some(user));
    }
    world.blue(false, 1);
    assert_eq!(world.trips, [], "two users may be broken themselves");
    world.answer(Side::Candidate, true, Some(9));
    assert_eq!(world.trips.len(), 1);
    // Another row needs another three.
    world.green(false, 1);
    world.answer(Side::Candidate, true, Some(7));
    (0..LIMIT).for_each(|_| world.answer(Side::Candidate, true, Some(8)));
    world.blue(false, 1);
    assert_eq!(world.trips.len(), 1);
}

/// A worker with 200 requests a second for a minute; all that comes between `from` and `to` fails as `outage` says,
/// which is asked with the side and a random number; everything else fails at random, once in a hundred.
fn minute(weight: f64, rng: &mut Rng, outage: fn(Side, &mut Rng) -> Option<u64>) -> World {
    let mut world = World::new();
    let mut requests = Vec::new();
    for number in 0..12_000_u64 {
        let begun = world.now + number * 5 * MS;
        let side = if rng.f64() < weight { Side::Candidate } else { Side::Stable };
        let is_out = (2_000..10_000).contains(&number) && (number / 500).is_multiple_of(2);
        let fails_after = if is_out { outage(side, rng) } else { None };
        let failed = fails_after.is_some() || rng.u32(..100) == 0;
        let takes = fails_after.unwrap_or(rng.u64(1..200) * MS);
        requests.push(Ended { draw: draw(1, side, None), failed, begun, ended: begun + takes });
    }
    requests.sort_by_key(|request| request.ended);
    for request in requests {
        world.end(request);
        if !world.trips.is_empty() {
            break;
        }
    }
    world
}

fn trips(weight: f64, outage: fn(Side, &mut Rng) -> Option<u64>) -> usize {
    let mut rng = Rng::with_seed(7);
    (0..MINUTES).filter(|_| !minute(weight, &mut rng, outage).trips.is_empty()).count()
}

/// Eight outages of two and a half seconds in each minute.
#[test]
fn common_outages_do_not_trip_it_at_any_weight() {
    for weight in [0.05, 0.5, 0.95] {
        let refused = |_: Side, rng: &mut Rng| Some(rng.u64(1..5) * MS);
        assert_eq!(trips(weight, refused), 0, "both refuse, at {weight}");
        let stable_later =
            |side, rng: &mut Rng| Some(if side == Side::Stable { 2_000 } else { rng.u64(1..5) } * MS);
        assert_eq!(trips(weight, stable_later), 0, "stable reports later, at {weight}");
        let candidate_later =
            |side, rng: &mut Rng| Some(if side == Side::Candidate { 2_000 } else { rng.u64(1..5) } * MS);
        assert_eq!(trips(weight, candidate_later), 0, "the candidate reports later, at {weight}");
    }
}

#[test]
fn a_candidate_that_is_gone_trips_it_at_every_weight() {
    for weight in [0.05, 0.5, 0.95] {
        let refuses = |side, _: &mut Rng| (side == Side::Candidate).then_some(MS);
        assert_eq!(trips(weight, refuses), MINUTES, "{weight}");
    }
}

#[test]
fn a_sick_candidate_is_left_to_the_judge() {
    for weight in [0.05, 0.5, 0.95] {
        let half = |side, rng: &mut Rng| (side == Side::Candidate && rng.bool()).then_some(MS);
        assert_eq!(trips(weight, half), 0, "{weight}");
    }
}

proptest! {
    /// Whatever ends in whatever order: the row was there, under the assignment in force, and stable is well.
    #[test]
    fn it_never_trips_without_a_reason(
        requests in prop::collection::vec((any::<bool>(), 0..4_u8, 0..60_u64, 1..3_u64, 0..4_u64), 0..400),
        limit in 2..6_u64,
    ) {
        let mut breaker = Breaker::default();
        let mut row = Vec::new();
        let mut stables_last = None;
        for (number, (is_candidate, outcome, age, assignment, user)) in (100_u64..).zip(requests) {
            let in_force = InForce { assignment: Assignment(1 + number / 200 % 2), stable_serves: true };
            let (side, failed) = (if is_candidate { Side::Candidate } else { Side::Stable }, outcome > 0);
            let user = (user > 0).then_some(user);
            let request = Ended { draw: draw(assignment, side, user), failed, begun: number - age, ended: number };
            let assignment = Assignment(assignment);
            let trip = breaker.end(limit, &request, || in_force);
            match (side, failed) {
                (Side::Candidate, true) if assignment == in_force.assignment => row.push((assignment, user)),
                (Side::Candidate, true) => {}
                (Side::Candidate, false) => row.clear(),
                (Side::Stable, _) if assignment != in_force.assignment => {}
                (Side::Stable, _) => stables_last = Some(failed),
            }
            if trip.is_some() {
                prop_assert!(row.len() as u64 >= limit);
                let counted = &row[row.len() - limit as usize..];
                prop_assert!(counted.iter().all(|(drawn, _)| *drawn == in_force.assignment));
                let users: std::collections::BTreeSet<_> = row.iter().filter_map(|(_, user)| *user).collect();
                // The breaker ignores errors that fell into a common outage, those of known users among them.
                let strangers = row.iter().filter(|(_, user)| user.is_none()).count() as u64;
                prop_assert!(strangers >= limit || users.len() >= 3);
                prop_assert_eq!(stables_last, Some(false));
                breaker.rest(in_force.assignment);
                breaker.wake();
                row.clear();
            }
        }
    }
}
