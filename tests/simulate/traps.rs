//! Healthy candidates in situations that make other judges accuse them.

use changeover::config;
use changeover::rollout::program::Program;
use serde_json::{Value, json};

use crate::table::{mark, whole};
use crate::world::{Late, Outages, Rate, SECOND, World};
use crate::{Effort, envoy, parallel};

const ALPHA: f64 = 0.01;

/// An hour at 5 % in which 1 % of the requests fail.
pub(crate) const PLAIN: World = World {
    length: 3_600,
    requests: 100,
    weights: &[5.0],
    rate: Rate::Constant(0.01),
    outages: Outages::None,
    late: Late::Nobody,
    worse: None,
};
const RAMP: &[f64] = &[1.0, 5.0, 25.0, 50.0];
const OUTAGES: World = World { outages: Outages::Every10Minutes(10 * SECOND), ..PLAIN };

/// A rollout that waits for a person at each weight.
pub(crate) fn program(weights: &[f64], metrics: &[&str]) -> Program {
    let steps = weights.iter().flat_map(|weight| [json!({"set_weight": weight}), json!({"pause": {}})]);
    let metrics: Vec<Value> = metrics.iter().map(|name| json!({"name": name})).collect();
    let rollout = json!({
        "name": "r", "release": "1", "stable": "blue", "candidate": "green",
        "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
        "steps": steps.collect::<Vec<_>>(),
        "analysis": {"false_alarm": ALPHA, "metrics": metrics},
    });
    let config = config::check(&json!({"rollouts": [rollout]})).expect("a valid configuration");
    Program::new(&config.rollouts[0])
}

/// Whether no situation has more false rollbacks than chance allows.
pub(crate) fn simulate(effort: &Effort) -> bool {
    let errors: &[&str] = &["error_rate"];
    let defaults: &[&str] = &["error_rate", "latency"];
    let situations = [
        ("5 %, 1 % of requests fail", PLAIN, errors),
        ("the same, judged by errors and latency", PLAIN, defaults),
        ("failures walk between 0.2 % and 5 %", World { rate: Rate::Walks(0.002, 0.05), ..PLAIN }, errors),
        ("both versions down for 10 s every 10 min", OUTAGES, errors),
        (
            "ramp 1-5-25-50 % while failures fall from 3 to 0.5 %",
            World { weights: RAMP, rate: Rate::Falls(0.03, 0.005), ..PLAIN },
            errors,
        ),
        (
            "ramp, 3 s outage exactly at each step",
            World { weights: RAMP, outages: Outages::WithSteps(3 * SECOND), ..PLAIN },
            errors,
        ),
        (
            "outages, candidate answers one tick later",
            World { late: Late::Candidate(1.0, SECOND), ..OUTAGES },
            errors,
        ),
        (
            "outages, 10 % of its answers one tick later",
            World { late: Late::Candidate(0.1, SECOND), ..OUTAGES },
            errors,
        ),
        ("outages, stable's failures 2 s later", World { late: Late::StablesFailures, ..OUTAGES }, errors),
        (
            "the candidate takes 1.18 times as long, as tolerated",
            World { late: Late::CandidateTimes(1.18), ..PLAIN },
            defaults,
        ),
        (
            "the candidate answers just before the deadline",
            World { late: Late::Candidate(1.0, 4_500_000_000), ..PLAIN },
            errors,
        ),
        ("0.3 % of stable's answers take 3 to 30 s", World { late: Late::StablesTail, ..PLAIN }, errors),
        (
            "0.3 % of all answers do, by errors and latency",
            World { late: Late::EverybodysTail, ..PLAIN },
            defaults,
        ),
    ];
    let runs = effort.healthy_runs;
    let expected = ALPHA * runs as f64;
    let most = (expected + 3.0 * expected.sqrt()).floor();
    println!(
        "False rollbacks among {} healthy runs of {} ticks of {} requests, request by request over {} workers",
        whole(runs as f64),
        whole(PLAIN.length as f64),
        PLAIN.requests,
        envoy::WORKERS
    );
    println!("false_alarm is {ALPHA}; with chance allowed for, at most {most}");
    let mut kept = true;
    for (seed, (situation, world, metrics)) in (1..).zip(situations) {
        let program = program(world.weights, metrics);
        let outcomes =
            parallel::runs(runs, seed, |rng| envoy::run(&world, &program, rng).rolled_back.is_some());
        let count = outcomes.into_iter().filter(|rolled_back| *rolled_back).count() as f64;
        let percent = 100.0 * count / runs as f64;
        println!("  {situation:<54} {:>4}  {percent:>6.2} %  {}", whole(count), mark(count <= most));
        kept &= count <= most;
    }
    println!();
    kept
}
