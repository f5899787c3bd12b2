//! Ratings of answers, by their receipts, minutes later: a candidate whose answers are no worse keeps its traffic, and one whose
//! answers are rated badly more often loses it.

use std::collections::BTreeMap;

use changeover::model::{Draw, Side};
use changeover::signal::catalog;
use changeover::signal::observed::Observed;
use fastrand::Rng;
use serde_json::json;

use crate::hours::{Hour, LENGTH};
use crate::traps::RAMP;
use crate::{Effort, hours};

/// Answers of a second.
const ANSWERS: u64 = 20;

/// What is answered, and how it is rated.
#[derive(Clone)]
struct World {
    /// The candidate's weights in percent; each is in force for the same time.
    weights: &'static [f64],
    /// The part of answers that are rated badly.
    bad: f64,
    /// How many times as often the candidate's are.
    ratio: f64,
    /// Users who rate every answer badly; one of them gets every tenth answer.
    grumblers: bool,
    /// Seconds to a rating, on average.
    delay: f64,
    /// How many times as long it takes for the candidate's answers.
    slower: f64,
    /// `within`, in seconds.
    within: u64,
    /// Whether nothing is answered in every other ten minutes.
    bursts: bool,
}

const PLAIN: World = World {
    weights: &[50.0],
    bad: 0.1,
    ratio: 1.0,
    grumblers: false,
    delay: 60.0,
    slower: 1.0,
    within: 300,
    bursts: false,
};

pub(crate) fn simulate(effort: &Effort) -> bool {
    let healthy = healthy((effort.healthy_runs / 10).max(20));
    let found = found(effort.runs_by_request / 2);
    healthy && found
}

fn healthy(runs: u64) -> bool {
    println!(
        "\n{runs} hours of {ANSWERS} answers/s, {:.0} % of which are rated badly, by receipt: false rollbacks",
        100.0 * PLAIN.bad
    );
    let situations = [
        ("50 %, a rating a minute later", PLAIN),
        ("the same, 5 %", World { weights: &[5.0], ..PLAIN }),
        (
            "ramp 1-5-25-50 %, ratings 10 minutes later",
            World { weights: RAMP, delay: 600.0, within: 600, ..PLAIN },
        ),
        ("every tenth answer to users who rate all badly", World { grumblers: true, ..PLAIN }),
        ("the candidate's half as often, 5 %", World { ratio: 0.5, weights: &[5.0], ..PLAIN }),
        ("50 %, the candidate's twice as late", World { slower: 2.0, ..PLAIN }),
        ("ramp, nothing in every other ten minutes", World { weights: RAMP, bursts: true, ..PLAIN }),
    ];
    hours::healthy(runs, 2_500, situations, run)
}

fn found(runs: u64) -> bool {
    println!(
        "\nMore bad ratings: the candidate's answers from `within` on until the rollback, median / 95th percentile, of {runs} hours"
    );
    let at = |weights, ratio| World { weights, ratio, ..PLAIN };
    let cells = [
        ("half as many again, 50 %", at(&[50.0], 1.5), 1_600.0),
        ("twice as many, 50 %", at(&[50.0], 2.0), 600.0),
        ("twice as many, 20 %", at(&[20.0], 2.0), 350.0),
        ("twice as many, 5 %", at(&[5.0], 2.0), 300.0),
        ("three times as many, 5 %", at(&[5.0], 3.0), 120.0),
    ];
    hours::found(runs, 2_600, cells, run)
}

fn hour(within: u64, weights: &'static [f64]) -> Hour {
    let fields = json!({
        "receipt": {},
        "feedback": [{"name": "rating", "match": {"path": "/v1/feedback"}, "join": "receipt", "value": "/score",
            "bad_below": 0, "within": format!("{within}s")}],
    });
    Hour::new("feedback.rating", fields, weights)
}

/// Lives an hour. Returns how many answers the candidate had given since ratings were judged when it was taken back; `None`: it
/// was not.
fn run(world: &World, mut rng: Rng) -> Option<u64> {
    let mut hour = hour(world.within, world.weights);
    let rating = catalog::event("rating");
    // What its receipt says of each answer that is going to be rated.
    let mut due: BTreeMap<u64, Vec<Draw>> = BTreeMap::new();
    let mut count = 0;
    for tick in 0..LENGTH {
        hour.begin(tick);
        let assignment = hour.assignment();
        let answers = if world.bursts && tick / 600 % 2 == 1 { 0 } else { ANSWERS };
        for number in 0..answers {
            let side = if 100.0 * rng.f64() < hour.weight() { Side::Candidate } else { Side::Stable };
            let draw = Draw { assignment, side, user: None };
            count += u64::from(side == Side::Candidate && tick >= world.within);
            hour.serve(tick, draw);
            let (times, slower) = match side {
                Side::Candidate => (world.ratio, world.slower),
                Side::Stable => (1.0, 1.0),
            };
            let is_grumblers = world.grumblers && number % 10 == 0;
            if is_grumblers || rng.f64() < world.bad * times {
                let delay = -world.delay * slower * (1.0 - rng.f64()).ln();
                due.entry(tick + delay as u64).or_default().push(draw);
            }
        }
        // Of answers under other weights nothing is evidence.
        for draw in due.remove(&tick).into_iter().flatten().filter(|draw| draw.assignment == assignment) {
            hour.ledger.happen(tick, draw, rating, Observed::Event(true));
        }
        if hour.end(tick, |_, _| ()) {
            return Some(count);
        }
    }
    None
}
