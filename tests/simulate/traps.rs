//! Healthy candidates in situations in which other judges suspect them.

use changeover::analysis::rules::Rules;
use changeover::config;
use changeover::config::schema::Config;
use changeover::rollout::program::Program;
use serde_json::{Value, json};

use crate::table::{mark, whole};
use crate::world::{Late, Outages, Rate, SECOND, World};
use crate::{Effort, envoy, parallel};

pub(crate) const ALPHA: f64 = 0.01;
/// The part of healthy runs in which the split may be found wrong; far fewer should be.
const SPLIT_ALPHA: f64 = 0.001;

/// An hour at 5 % in which 1 % of the requests fail.
pub(crate) const PLAIN: World = World {
    users: 0,
    alike: false,
    length: 3_600,
    requests: 100,
    weights: &[5.0],
    rate: Rate::Constant(0.01),
    outages: Outages::None,
    late: Late::Neither,
    impatient: 0.0,
    worse: None,
};
pub(crate) const RAMP: &[f64] = &[1.0, 5.0, 25.0, 50.0];
/// gunicorn closes connections after 2 s; TLS costs about 20 ms.
pub(crate) const COLD_CONNECTIONS: Late = Late::Connections { idle: 2 * SECOND, costs: SECOND / 50 };
pub(crate) const OUTAGES: World = World { outages: Outages::Every10Minutes(10 * SECOND), ..PLAIN };

/// What is judged of requests unless something else is configured, but for what clients may cause.
const ERRORS_AND_LATENCY: &[&str] = &["error_rate", "latency"];

/// A rollout that waits for a person at each weight.
pub(crate) fn configuration(world: &World, metrics: &[&str]) -> Config {
    configuration_of(world, metrics.iter().map(|name| json!({"name": name})).collect())
}

/// The same with what metrics are configured with.
pub(crate) fn configuration_of(world: &World, metrics: Vec<Value>) -> Config {
    let steps = world.weights.iter().flat_map(|weight| [json!({"set_weight": weight}), json!({"pause": {}})]);
    let mut rollout = json!({
        "name": "r", "release": "1", "stable": "blue", "candidate": "green",
        "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
        "steps": steps.collect::<Vec<_>>(),
        "analysis": {"false_alarm": ALPHA, "metrics": metrics},
    });
    if world.users > 0 {
        rollout["session_affinity"] = json!({"header": "x-user-id"});
    }
    config::check(&json!({"rollouts": [rollout]})).expect("a valid configuration")
}

/// What is judged of it.
pub(crate) fn rules(config: &Config) -> Rules {
    Program::new(&config.rollouts[0]).rules().expect("it has an analysis").clone()
}

/// What happens, to whom, and the metrics that are judged.
pub(crate) type Situation = (&'static str, World, &'static [&'static str]);

/// Whether no situation has more false rollbacks than chance allows.
pub(crate) fn simulate(effort: &Effort) -> bool {
    let errors: &[&str] = &["error_rate"];
    let defaults = ERRORS_AND_LATENCY;
    let all: &[&str] = &["error_rate", "latency", "unanswered", "client_error_rate"];
    let situations: [Situation; 15] = [
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
        ("30 % of clients give up, by all", World { impatient: 0.3, ..PLAIN }, all),
        (
            "the same, in a ramp, answers of one in 300 slow",
            World { impatient: 0.3, late: Late::EverybodysTail, weights: RAMP, ..PLAIN },
            all,
        ),
    ];
    table("request by request", 1, &situations, effort.healthy_runs)
}

/// Whether a healthy candidate is not taken back for what a small share alone costs: it has just started, or finds fewer open
/// connections.
pub(crate) fn cold(effort: &Effort) -> bool {
    let judged = ERRORS_AND_LATENCY;
    let situations: [Situation; 3] = [
        (
            "30 requests/s, its first 20 answers take 0.2 s longer",
            World { late: Late::CandidateStarts(20, SECOND / 5), requests: 30, ..PLAIN },
            judged,
        ),
        (
            "20 requests/s, connections idle for 2 s cost 20 ms",
            World { late: COLD_CONNECTIONS, requests: 20, ..PLAIN },
            judged,
        ),
        (
            "the same in a ramp",
            World { late: COLD_CONNECTIONS, requests: 20, weights: RAMP, ..PLAIN },
            judged,
        ),
    ];
    table("request by request", 16, &situations, effort.healthy_runs)
}

/// How many of so many runs may do what each does with the probability `alpha`, that many standard errors allowed for.
pub(crate) fn most(runs: u64, alpha: f64, errors: f64) -> f64 {
    let expected = alpha * runs as f64;
    (expected + errors * expected.sqrt()).floor()
}

/// Lives through situations in which the candidate is healthy.
pub(crate) fn table(how: &str, seed: u64, situations: &[Situation], runs: u64) -> bool {
    let (most_rollbacks, most_mismatches) = (most(runs, ALPHA, 3.0), most(runs, SPLIT_ALPHA, 1.0));
    println!(
        "False rollbacks among {} healthy runs of {} ticks of {} requests unless it says otherwise, {how} over {} workers",
        whole(runs as f64),
        whole(PLAIN.length as f64),
        PLAIN.requests,
        envoy::WORKERS
    );
    println!(
        "false_alarm is {ALPHA}; with chance allowed for, at most {most_rollbacks}, and the split wrong in {most_mismatches}"
    );
    let mut all = true;
    for (seed, (situation, world, metrics)) in (seed..).zip(situations) {
        let config = configuration(world, metrics);
        let outcomes = parallel::runs(runs, seed, |rng| {
            let outcome = envoy::run(world, &config, rng);
            (outcome.rolled_back.is_some(), outcome.mismatch)
        });
        let rollbacks = outcomes.iter().filter(|(rolled_back, _)| *rolled_back).count() as f64;
        let mismatches = outcomes.iter().filter(|(_, mismatch)| *mismatch).count() as f64;
        let kept = rollbacks <= most_rollbacks && mismatches <= most_mismatches;
        println!(
            "  {situation:<54} {:>4}  {:>6.2} %  split {:>2}  {}",
            whole(rollbacks),
            100.0 * rollbacks / runs as f64,
            whole(mismatches),
            mark(kept)
        );
        all &= kept;
    }
    println!();
    all
}
