//! What Changeover costs, in a real Envoy: `make bench`.
//!
//! Envoys that do the same sticky split by different means ([`variants`]) get the same load ([`load`]) before equal
//! upstreams ([`upstream`]), round after round, in new processes each time ([`round`]). What the rounds say
//! together is computed in [`stats`] and printed in [`report`]. Measured apart: what reading payloads costs ([`bodies`]), what
//! comparing a shadow's answers ([`compare`]), a shadow that never answers ([`silent`]), people and models ([`people`]), a
//! configuration push ([`push`]), a client of the API ([`poll`]) and a store ([`fleet`]) cost, starting ([`startup`]), and the
//! ticks of many rollouts ([`ticks`]). It ends well if every answer was good and all counted the same, whatever the figures are.
//!
//! `ROUNDS=n` sets how many rounds (0: only starting and the ticks), `ONLY=bodies`, `compare`, `people`, `fleet`, `push` or
//! `poll` measures nothing else, `BASELINE=file` names another build of the module to compare with.

// A benchmark may fail, and counts with small numbers.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod bodies;
mod client;
mod compare;
mod cpu;
mod fleet;
#[path = "../../tests/envoy/harness/mod.rs"]
mod harness;
mod http;
mod load;
mod people;
mod poll;
mod push;
mod report;
mod round;
mod silent;
mod startup;
mod stats;
mod ticks;
mod turns;
mod upstream;
mod variants;

use cpu::Cpus;
use variants::Variant;

const ROUNDS: usize = 12;

// One thread: load and upstreams never wake each other across CPUs.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let cpus = Cpus::claim();
    let rounds = setting("ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("ROUNDS is a number"));
    let mut rng = fastrand::Rng::with_seed(1);
    let only = setting("ONLY");
    let is_wanted = |part: &str| only.as_ref().is_none_or(|only| only == part);
    if rounds > 0 && is_wanted("bodies") {
        report::bodies(&bodies::measure(rounds, &cpus, &mut rng).await);
        report::clock(&bodies::clock(&cpus).await);
    }
    if rounds > 0 && is_wanted("compare") {
        report::compared(&compare::measure(rounds, &cpus, &mut rng).await);
        report::silent(&silent::measure(rounds, &cpus, &mut rng).await);
    }
    if rounds > 0 && is_wanted("people") {
        report::people(&people::measure(rounds, &cpus, &mut rng).await);
        report::hung(&people::hang(rounds, &cpus).await);
    }
    if is_wanted("fleet") {
        report::fleet(&fleet::measure(&cpus).await, &fleet::commands(&cpus, &[3, 5]).await);
        let variants = [Variant::Changeover, Variant::Fleet];
        let samples = measure_rounds(rounds, &variants, &cpus, &mut rng).await;
        if rounds > 0 {
            report::path_of_fleet(&variants, &samples);
        }
    }
    if rounds > 0 && is_wanted("push") {
        report::pushed(&push::measure(&cpus).await);
        report::pushed_judged(&push::judged(rounds, &cpus, &[1_000, 4_096]).await);
    }
    if rounds > 0 && is_wanted("poll") {
        let variants = [Variant::Changeover, Variant::Polled, Variant::Thousand, Variant::ThousandPolled];
        report::polled(&variants, &measure_rounds(rounds, &variants, &cpus, &mut rng).await);
    }
    if only.is_some() {
        return;
    }
    let baseline = setting("BASELINE");
    let mut variants = vec![
        Variant::Native,
        Variant::Idle,
        Variant::Lua,
        Variant::Changeover,
        Variant::Thousand,
        Variant::Judged,
        Variant::Logged,
    ];
    variants.extend(baseline.clone().map(Variant::Baseline));

    let samples = measure_rounds(rounds, &variants, &cpus, &mut rng).await;
    if rounds > 0 {
        report::table(&variants, &samples);
        report::targets(&variants, &samples);
    }
    report::startup(&startup::measure(&cpus).await);
    report::ticks("this build", &ticks::measure(&cpus, None, &[1_000, 4_096]).await);
    if let Some(baseline) = &baseline {
        report::ticks("the baseline", &ticks::measure(&cpus, Some(baseline), &[1_000]).await);
    }
}

/// So many rounds of these variants.
async fn measure_rounds(
    rounds: usize,
    variants: &[Variant],
    cpus: &Cpus,
    rng: &mut fastrand::Rng,
) -> Vec<Vec<round::Sample>> {
    let mut samples = Vec::with_capacity(rounds);
    for number in 1..=rounds {
        let round = round::measure(variants, cpus, rng).await;
        let cpu: Vec<String> = round.iter().map(|sample| format!("{:.1}", sample.cpu_per_request)).collect();
        println!("round {number} of {rounds}: CPU per request, µs: {}", cpu.join("  "));
        samples.push(round);
    }
    samples
}

/// A variable of the environment; empty is as good as none.
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
