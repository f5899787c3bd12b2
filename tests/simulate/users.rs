//! Users who keep their version: what each of them meets counts once, however many requests they send.
//!
//! As in the reference: their requests are Zipf-distributed over them, those of 1 % fail whichever version
//! they have, those of the others with the world's rate on average, of a log-normal distribution. Each run
//! draws everybody's luck and, under a salt of its own, everybody's version anew.

use crate::envoy;
use crate::speed::{is_near, judge};
use crate::table::{mark, quantile, whole};
use crate::traps::{self, OUTAGES, PLAIN, RAMP, Situation, configuration, rules};
use crate::world::{Late, Outages, Rate, SECOND, World, Worse};
use crate::{Effort, parallel};

const FEW: usize = 2_000;
const MANY: usize = 50_000;

/// Whether no situation has more false rollbacks than chance allows.
pub(crate) fn healthy(effort: &Effort) -> bool {
    traps::table("of users, request by request", 500, &situations(), effort.healthy_runs_of_users)
}

fn situations() -> [Situation; 20] {
    const ERRORS: &[&str] = &["error_rate"];
    const DEFAULTS: &[&str] = &["error_rate", "latency"];
    const FEW_USERS: World = World { users: FEW, ..PLAIN };
    const MANY_USERS: World = World { users: MANY, ..PLAIN };
    const STEPS: World = World { weights: RAMP, outages: Outages::WithSteps(3 * SECOND), ..FEW_USERS };
    [
        ("2,000 users, 5 %", FEW_USERS, ERRORS),
        ("50,000 users, 5 %", MANY_USERS, ERRORS),
        ("2,000 users, ramp 1-5-25-50 %", World { weights: RAMP, ..FEW_USERS }, ERRORS),
        ("50,000 users, ramp 1-5-25-50 %", World { weights: RAMP, ..MANY_USERS }, ERRORS),
        ("2,000 users, 50 %", World { weights: &[50.0], ..FEW_USERS }, ERRORS),
        ("50,000 users, 50 %", World { weights: &[50.0], ..MANY_USERS }, ERRORS),
        ("2,000 users, by errors and latency", FEW_USERS, DEFAULTS),
        ("50,000 users, by errors and latency", MANY_USERS, DEFAULTS),
        // A user who has been slow once is used up: of users who are alike that is soon every one.
        ("2,000 users alike, by errors and latency", World { alike: true, ..FEW_USERS }, DEFAULTS),
        ("the same, 50 %", World { alike: true, weights: &[50.0], ..FEW_USERS }, DEFAULTS),
        (
            "2,000 users, 0.3 % of all answers slow, by both",
            World { late: Late::EverybodysTail, ..FEW_USERS },
            DEFAULTS,
        ),
        (
            "2,000 users, the candidate fails half as often",
            World { worse: Some((0, Worse::Times(0.5))), weights: &[25.0], ..FEW_USERS },
            ERRORS,
        ),
        // A user who is spared is the candidate's: of users who are alike, no others are left in the end.
        (
            "2,000 users alike, the same, 50 %, three hours",
            World {
                worse: Some((0, Worse::Times(0.5))),
                alike: true,
                weights: &[50.0],
                length: 10_800,
                ..FEW_USERS
            },
            ERRORS,
        ),
        (
            "2,000 users alike, it fails in 5 %, stable in 10 %",
            World {
                worse: Some((0, Worse::Times(0.5))),
                alike: true,
                rate: Rate::Constant(0.1),
                weights: &[10.0],
                ..FEW_USERS
            },
            ERRORS,
        ),
        ("2,000 users, both down for 10 s every 10 min", World { users: FEW, ..OUTAGES }, ERRORS),
        (
            "2,000 users, the same, stable's failures 2 s later",
            World { users: FEW, late: Late::StablesFailures, ..OUTAGES },
            ERRORS,
        ),
        ("2,000 users, ramp, 3 s outage exactly at each step", STEPS, ERRORS),
        (
            "2,000 users, the same, stable's failures 2 s later",
            World { late: Late::StablesFailures, ..STEPS },
            ERRORS,
        ),
        (
            "2,000 users, the same, 0.3 % of stable's answers slow",
            World { late: Late::StablesTail, ..STEPS },
            ERRORS,
        ),
        (
            "2,000 users, 30 % of clients give up, by all",
            World { impatient: 0.3, ..FEW_USERS },
            &["error_rate", "latency", "unanswered", "client_error_rate"],
        ),
    ]
}

/// A candidate that is worse, from a tick on.
struct Cell {
    users: usize,
    from: u64,
    worse: Worse,
    /// The reference's median of the candidate's requests from there to the tick that decides, that one
    /// included, without runs that were decided before; or the part of the runs that are ever decided.
    expected: Expected,
}

enum Expected {
    Median(f64),
    Ever(f64),
}

/// Whether candidates that are worse go as fast as by the reference.
pub(crate) fn speed(effort: &Effort) -> bool {
    const HALF_AN_HOUR: u64 = 1_800;
    let cells = |users: usize, from: u64, expected: [f64; 4]| {
        [0.02, 0.05, 0.2, 1.0].into_iter().zip(expected).map(move |(more, median)| Cell {
            users,
            from,
            worse: Worse::Points(more),
            expected: Expected::Median(median),
        })
    };
    let some = |users, from, expected| Cell { users, from, worse: Worse::Users(0.1), expected };
    let cells = cells(MANY, 0, [952.0, 194.0, 28.0, 6.0])
        .chain(cells(MANY, HALF_AN_HOUR, [1_726.0, 460.0, 73.0, 14.0]))
        .chain(cells(FEW, HALF_AN_HOUR, [2_422.0, 635.0, 104.0, 20.0]))
        .chain([
            some(MANY, 0, Expected::Median(103.0)),
            some(MANY, HALF_AN_HOUR, Expected::Median(255.0)),
            some(FEW, 0, Expected::Ever(48.0)),
            some(FEW, HALF_AN_HOUR, Expected::Ever(19.0)),
        ]);
    println!("Candidate requests until rollback, of users at a weight of 5 %: median / 95th percentile");
    println!(
        "   users  from tick  the candidate fails                │ reference │ {:>3} runs request by request, at once",
        effort.runs_by_request
    );
    let mut all = true;
    let is_long =
        |cell: &Cell| matches!(cell.expected, Expected::Median(requests) if requests > effort.longest);
    for (seed, cell) in (600..).zip(cells).filter(|(_, cell)| !is_long(cell)) {
        let outcomes = parallel::runs(effort.runs_by_request, seed, |rng| by_request(&cell, rng));
        let (found, at_once): (Vec<f64>, Vec<f64>) = outcomes.into_iter().flatten().unzip();
        let ever = 100.0 * found.iter().filter(|requests| requests.is_finite()).count() as f64
            / found.len().max(1) as f64;
        let kept = match cell.expected {
            Expected::Median(median) => is_near(quantile(&found, 0.5), median, effort.tolerance_of_users),
            Expected::Ever(percent) => (ever - percent).abs() <= effort.tolerance_of_parts,
        };
        let candidate = match cell.worse {
            Worse::Points(more) => format!("{:.0} points more often", 100.0 * more),
            Worse::Users(part) => format!("always for {:.0} % of its users", 100.0 * part),
            other => format!("{other:?}"),
        };
        let expected = match cell.expected {
            Expected::Median(median) => whole(median),
            Expected::Ever(percent) => format!("{percent} % ever"),
        };
        println!(
            "  {:>6}  {:>9}  {candidate:<34} │ {expected:>9} │ {:>7} / {:>7} {:>8}   {ever:>5.1} % ever   {}",
            whole(cell.users as f64),
            whole(cell.from as f64),
            whole(quantile(&found, 0.5)),
            whole(quantile(&found, 0.95)),
            whole(quantile(&at_once, 0.5)),
            mark(kept),
        );
        all &= kept;
    }
    println!();
    all
}

/// The same requests twice: counted, reported and judged as in an Envoy, and all known at once.
fn by_request(cell: &Cell, rng: fastrand::Rng) -> Option<(f64, f64)> {
    /// What is not found in an hour is not found.
    const HOUR: u64 = 3_600;
    let worse = Some((cell.from, cell.worse));
    let world = World { users: cell.users, length: cell.from + HOUR, worse, ..PLAIN };
    let config = configuration(&world, &["error_rate"]);
    let outcome = envoy::run(&world, &config, rng);
    let found = outcome.requests(cell.from)?;
    Some((found, judge(outcome.ticks.into_iter(), cell.from, world.weights, &rules(&config))?))
}

/// A candidate that fails always, beside a stable version of which some answers take longer than the deadline.
pub(crate) fn beside_slow_answers(effort: &Effort) -> bool {
    /// The reference's median and 95th percentile, and its median when every tick waits until it is complete.
    const EARLY: [f64; 2] = [16.0, 42.0];
    const COMPLETE: f64 = 36.0;
    let world = World {
        users: 20_000,
        length: 60,
        requests: 200,
        late: Late::StablesTail,
        worse: Some((0, Worse::Rate(1.0))),
        ..PLAIN
    };
    let config = configuration(&world, &["error_rate"]);
    let outcomes = parallel::runs(effort.runs, 700, |rng| envoy::run(&world, &config, rng));
    let judged: Vec<f64> =
        outcomes.iter().map(|outcome| outcome.requests(0).unwrap_or(f64::INFINITY)).collect();
    // All that came until the rollback, not only until the tick that decides.
    let failed: Vec<f64> = outcomes
        .iter()
        .map(|outcome| outcome.ticks.iter().map(|tick| tick.candidate.units as f64).sum())
        .collect();
    let median = quantile(&failed, 0.5);
    let kept = median < COMPLETE && quantile(&judged, 0.5) <= quantile(&failed, 0.5);
    println!(
        "20,000 users, every request to the candidate fails, 0.3 % of stable's answers take 3 to 30 s, 200 requests a tick"
    );
    println!(
        "  failed until rollback: median {}, 95th percentile {} (reference {} / {}; to the tick that decides {} / {}) {}\n",
        whole(median),
        whole(quantile(&failed, 0.95)),
        whole(EARLY[0]),
        whole(EARLY[1]),
        whole(quantile(&judged, 0.5)),
        whole(quantile(&judged, 0.95)),
        mark(kept)
    );
    kept
}
