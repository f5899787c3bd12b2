//! Users who search again: a candidate that makes no difference keeps its traffic, and one whose users repeat their searches more
//! often loses it.

use std::collections::BTreeMap;

use changeover::analysis::trail::Trail;
use changeover::model::{Draw, Side, UserHash};
use fastrand::Rng;
use serde_json::json;

use crate::draw::normal;
use crate::hours::{Hour, LENGTH};
use crate::traps::RAMP;
use crate::{Effort, hours};

/// Searches of a second that repeat none.
const SEARCHES: u64 = 20;
/// Seconds within which a search is a repetition.
const WITHIN: u64 = 60;

/// Who searches, and who searches again.
#[derive(Clone)]
struct World {
    users: usize,
    /// The candidate's weights in percent; each is in force for the same time.
    weights: &'static [f64],
    /// The part of searches that are repeated, some seconds later.
    repeated: f64,
    /// How many times as often the candidate's are.
    ratio: f64,
    /// How unlike users are: the deviation of the logarithm of how often they repeat one.
    unlike: f64,
}

const PLAIN: World = World { users: 20_000, weights: &[50.0], repeated: 0.2, ratio: 1.0, unlike: 1.0 };

pub(crate) fn simulate(effort: &Effort) -> bool {
    let healthy = healthy((effort.healthy_runs / 10).max(20));
    let found = found(effort.runs_by_request / 2);
    healthy && found
}

fn healthy(runs: u64) -> bool {
    println!(
        "\n{runs} hours of {SEARCHES} searches/s, {:.0} % of which are repeated: false rollbacks",
        100.0 * PLAIN.repeated
    );
    let few = World { users: 2_000, unlike: 0.0, ..PLAIN };
    let situations = [
        ("20,000 users, 50 %", PLAIN),
        ("the same, 5 %", World { weights: &[5.0], ..PLAIN }),
        ("the same, ramp 1-5-25-50 %", World { weights: RAMP, ..PLAIN }),
        ("2,000 users alike, 50 %: all repeat one in the end", few.clone()),
        ("the same, the candidate's half as often, 5 %", World { ratio: 0.5, weights: &[5.0], ..few }),
    ];
    hours::healthy(runs, 2_700, situations, run)
}

fn found(runs: u64) -> bool {
    println!(
        "\nMore repetitions: users who come from `within` on until the rollback, median / 95th percentile, of {runs} hours"
    );
    let at = |weights, ratio| World { users: 200_000, weights, ratio, ..PLAIN };
    let cells = [
        ("half as many again, 50 %", at(&[50.0], 1.5), 4_000.0),
        ("half as many again, 25 %", at(&[25.0], 1.5), 6_000.0),
        ("twice as many, 50 %", at(&[50.0], 2.0), 1_700.0),
        ("twice as many, 5 %", at(&[5.0], 2.0), 8_000.0),
    ];
    hours::found(runs, 2_800, cells, run)
}

fn hour(weights: &'static [f64]) -> Hour {
    let fields = json!({
        "session_affinity": {"header": "x-user-id"},
        "feedback": [{"name": "redo", "after": "same", "not_before": "2s", "within": format!("{WITHIN}s")}],
    });
    Hour::new("feedback.redo", fields, weights)
}

/// A user: the version is the candidate's below the weight.
struct User {
    name: UserHash,
    bucket: f64,
    /// How many times as often as others' a search is repeated.
    insists: f64,
}

/// Lives an hour. Returns how many users had come since repetitions were judged when the candidate was taken back; `None`: it was
/// not.
fn run(world: &World, mut rng: Rng) -> Option<u64> {
    let (mut hour, mut trail) = (hour(world.weights), Trail::default());
    let mut due = BTreeMap::<u64, Vec<usize>>::new();
    let users: Vec<User> = (0..world.users)
        .map(|_| User {
            name: UserHash(rng.u64(..)),
            bucket: 100.0 * rng.f64(),
            insists: (world.unlike * normal(&mut rng) - world.unlike * world.unlike / 2.0).exp(),
        })
        .collect();
    let mut searched = vec![false; world.users];
    let mut count = 0;
    for tick in 0..LENGTH {
        hour.begin(tick);
        let again = due.remove(&tick).unwrap_or_default();
        let new: Vec<usize> = (0..SEARCHES).map(|_| rng.usize(..world.users)).collect();
        for at in again.into_iter().chain(new) {
            let user = &users[at];
            let side = if user.bucket < hour.weight() { Side::Candidate } else { Side::Stable };
            let draw = Draw { assignment: hour.assignment(), side, user: Some(user.name) };
            count += u64::from(!std::mem::replace(&mut searched[at], true) && tick >= WITHIN);
            hour.serve(tick, draw);
            let times = if side == Side::Candidate { world.ratio } else { 1.0 };
            // At most every second one, or some users would never stop.
            if rng.f64() < (world.repeated * user.insists * times).min(0.5) {
                due.entry(tick + 3 + rng.u64(..30)).or_default().push(at);
            }
        }
        if hour.end(tick, |tick, rules| trail.follow(tick, &rules.followed)) {
            return Some(count);
        }
    }
    None
}
