//! Does the judge keep its promises? `make simulate`, and in short `make test`.
//!
//! Healthy candidates live through what makes other judges suspect them, request by request, through the
//! shipped ledger, closing, merge and judge; and candidates that are worse are found as fast as
//! `docs/analysis.md` says. All seeds are fixed.

#![forbid(unsafe_code)]
// A simulation may stop, and computes with numbers of its own.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod again;
mod agreement;
mod at_least;
mod automation;
mod draw;
mod drift;
mod envoy;
mod feedback;
mod fleet;
mod hours;
mod parallel;
mod people;
mod ratings;
mod speed;
mod table;
mod tolerated;
mod traps;
mod users;
mod world;

use std::process::ExitCode;
use std::time::Instant;

/// Whether a part of the promises is kept.
type Part = fn(&Effort) -> bool;

/// All of them; with names as arguments only those.
const PARTS: [(&str, Part); 15] = [
    ("agreement", agreement::simulate),
    ("at-least", at_least::simulate),
    ("automation", automation::simulate),
    ("drift", drift::simulate),
    ("feedback", feedback::simulate),
    ("ratings", ratings::simulate),
    ("again", again::simulate),
    ("traps", traps::simulate),
    ("cold", traps::cold),
    ("tolerated", tolerated::simulate),
    ("users", users::healthy),
    ("speed", speed::simulate),
    ("speed-users", users::speed),
    ("slow-users", users::beside_slow_answers),
    ("fleet", fleet::simulate),
];

/// How much is simulated, and how much chance is allowed for.
pub(crate) struct Effort {
    /// Healthy runs of each situation.
    pub(crate) healthy_runs: u64,
    /// The same where users are judged.
    pub(crate) healthy_runs_of_users: u64,
    /// Runs for each median, from tick counts.
    pub(crate) runs: u64,
    /// Runs for each median, request by request.
    pub(crate) runs_by_request: u64,
    /// Cells that take more of the candidate's requests than this are left out.
    pub(crate) longest: f64,
    /// How far a median may be off.
    pub(crate) tolerance: f64,
    /// The same of users, whose medians depend on who got the candidate.
    pub(crate) tolerance_of_users: f64,
    /// How many points a part of all runs may be off.
    pub(crate) tolerance_of_parts: f64,
}

const FULL: Effort = Effort {
    healthy_runs: 2_000,
    healthy_runs_of_users: 2_000,
    runs: 4_000,
    runs_by_request: 200,
    longest: f64::INFINITY,
    tolerance: 0.1,
    tolerance_of_users: 0.25,
    tolerance_of_parts: 10.0,
};
const SHORT: Effort = Effort {
    healthy_runs: 10,
    healthy_runs_of_users: 4,
    runs: 200,
    runs_by_request: 20,
    longest: 800.0,
    tolerance: 0.3,
    tolerance_of_users: 0.8,
    tolerance_of_parts: 30.0,
};

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let named = arguments.len();
    arguments.retain(|argument| argument != "--full");
    let effort = if arguments.len() < named { FULL } else { SHORT };
    let begun = Instant::now();
    let mut kept = true;
    for (name, simulate) in PARTS {
        if arguments.is_empty() || arguments.iter().any(|argument| argument == name) {
            let begun = Instant::now();
            kept &= simulate(&effort);
            println!("{name}: {} s\n", begun.elapsed().as_secs());
        }
    }
    println!("{} s on {} cores", begun.elapsed().as_secs(), parallel::cores());
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
