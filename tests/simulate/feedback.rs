//! What users do afterwards, minutes later: a candidate that makes no difference keeps its traffic, and one whose users do
//! less of what is better loses it.

use std::collections::BTreeMap;

use changeover::model::{Draw, Side, UserHash};
use changeover::signal::catalog;
use changeover::signal::observed::Observed;
use fastrand::Rng;
use serde_json::json;

use crate::draw::normal;
use crate::hours::{Hour, LENGTH};
use crate::traps::RAMP;
use crate::{Effort, hours};

/// Searches of a second.
const SEARCHES: u64 = 20;

/// Who searches, and who clicks.
#[derive(Clone)]
struct World {
    users: usize,
    /// The candidate's weights in percent; each is in force for the same time.
    weights: &'static [f64],
    /// The part of searches after which a user clicks, on average.
    clicks: f64,
    /// How many times as often the candidate's users do.
    ratio: f64,
    /// How unlike users are: the deviation of the logarithm of how often they click.
    unlike: f64,
    /// Seconds to a click, on average.
    delay: f64,
    /// How many times as long it takes the candidate's users.
    slower: f64,
    /// Clicks of a second by users who do not search.
    others: u64,
    /// `within`, in seconds.
    within: u64,
}

const PLAIN: World = World {
    users: 20_000,
    weights: &[50.0],
    clicks: 0.4,
    ratio: 1.0,
    unlike: 1.0,
    delay: 60.0,
    slower: 1.0,
    others: 0,
    within: 300,
};

pub(crate) fn simulate(effort: &Effort) -> bool {
    // An hour of users who click costs as much as ten of errors.
    let healthy = healthy((effort.healthy_runs / 10).max(20));
    let found = found(effort.runs_by_request / 2);
    healthy && found
}

fn healthy(runs: u64) -> bool {
    println!(
        "\n{runs} hours of {SEARCHES} searches/s, {:.0} % of which end in a click: false rollbacks",
        40.0
    );
    let few = World { users: 2_000, unlike: 0.0, ..PLAIN };
    let situations = [
        ("20,000 users, 50 %, a click a minute later", PLAIN),
        ("the same, 5 %", World { weights: &[5.0], ..PLAIN }),
        (
            "ramp 1-5-25-50 %, clicks 10 minutes later",
            World { weights: RAMP, delay: 600.0, within: 600, ..PLAIN },
        ),
        ("2,000 users alike, 50 %: all click in the end", few.clone()),
        ("the same, the candidate's click twice as often", World { ratio: 2.0, clicks: 0.2, ..few.clone() }),
        ("the same, at 5 %", World { ratio: 2.0, clicks: 0.2, weights: &[5.0], ..few.clone() }),
        ("the same, in a ramp", World { ratio: 2.0, clicks: 0.2, weights: RAMP, ..few }),
        ("50 %, as many clicks of users who do not search", World { others: 8, ..PLAIN }),
        ("50 %, the candidate's click twice as late", World { slower: 2.0, within: 600, ..PLAIN }),
        ("the same, in a ramp", World { slower: 2.0, within: 600, weights: RAMP, ..PLAIN }),
    ];
    hours::healthy(runs, 2_300, situations, run)
}

fn found(runs: u64) -> bool {
    println!(
        "\nFewer clicks: users who come from `within` on until the rollback, median / 95th percentile, of {runs} hours"
    );
    let at = |weights, ratio| World { users: 200_000, weights, ratio, ..PLAIN };
    let cells = [
        ("a fifth fewer, 50 %", at(&[50.0], 0.8), 8_000.0),
        ("a fifth fewer, 25 %", at(&[25.0], 0.8), 12_000.0),
        ("a third fewer, 50 %", at(&[50.0], 0.667), 3_000.0),
        ("half as many, 50 %", at(&[50.0], 0.5), 1_500.0),
        ("half as many, 5 %", at(&[5.0], 0.5), 8_000.0),
        ("a fifth fewer, 50 %, 10 minutes later", World { delay: 600.0, ..at(&[50.0], 0.8) }, 12_000.0),
    ];
    hours::found(runs, 2_400, cells, run)
}

fn hour(within: u64, weights: &'static [f64]) -> Hour {
    let fields = json!({
        "session_affinity": {"header": "x-user-id"},
        "feedback": [{"name": "click", "match": {"path": "/v1/events"}, "join": "user", "better": "more",
            "within": format!("{within}s")}],
    });
    Hour::new("feedback.click", fields, weights)
}

/// A user: the version is the candidate's below the weight.
struct User {
    name: UserHash,
    bucket: f64,
    /// How many times as often as others' a search ends in a click.
    keen: f64,
}

/// Lives an hour. Returns how many users had come since events were judged when the candidate was taken back; `None`: it was
/// not.
fn run(world: &World, mut rng: Rng) -> Option<u64> {
    let mut hour = hour(world.within, world.weights);
    let (click, mut due) = (catalog::event("click"), BTreeMap::<u64, Vec<usize>>::new());
    let mut users: Vec<User> = Vec::new();
    let draw_user = |rng: &mut Rng| User {
        name: UserHash(rng.u64(..)),
        bucket: 100.0 * rng.f64(),
        keen: (world.unlike * normal(rng) - world.unlike * world.unlike / 2.0).exp(),
    };
    let mut searched = vec![false; world.users];
    users.extend((0..world.users).map(|_| draw_user(&mut rng)));
    let mut count = 0;
    for tick in 0..LENGTH {
        hour.begin(tick);
        let (assignment, weight) = (hour.assignment(), hour.weight());
        let draw = |user: &User| Draw {
            assignment,
            side: if user.bucket < weight { Side::Candidate } else { Side::Stable },
            user: Some(user.name),
        };
        for _ in 0..SEARCHES {
            let at = rng.usize(..world.users);
            let user = &users[at];
            let draw = draw(user);
            count += u64::from(!std::mem::replace(&mut searched[at], true) && tick >= world.within);
            hour.serve(tick, draw);
            let (times, slower) = match draw.side {
                Side::Candidate => (world.ratio, world.slower),
                Side::Stable => (1.0, 1.0),
            };
            if rng.f64() < world.clicks * user.keen * times {
                let delay = -world.delay * slower * (1.0 - rng.f64()).ln();
                due.entry(tick + delay as u64).or_default().push(at);
            }
        }
        for at in due.remove(&tick).into_iter().flatten() {
            hour.ledger.happen(tick, draw(&users[at]), click, Observed::Event(true));
        }
        for _ in 0..world.others {
            hour.ledger.happen(tick, draw(&draw_user(&mut rng)), click, Observed::Event(true));
        }
        if hour.end(tick, |_, _| ()) {
            return Some(count);
        }
    }
    None
}
