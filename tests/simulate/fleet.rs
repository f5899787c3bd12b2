//! Several Envoys with one store: what all of them count is judged as one Envoy would judge it.

use changeover::config::schema::Config;
use changeover::fleet::store::call::Call;
use changeover::fleet::store::member::Settings;
use changeover::fleet::store::memory::Memory;
use changeover::fleet::store::simulated::{Envoy, Request, TICK};
use changeover::fleet::store::values::Life;
use changeover::model::Side;
use changeover::rollout::change::Change;
use changeover::rollout::command::Command;
use changeover::rollout::program::Program;
use fastrand::Rng;

use crate::people::{People, Person};
use crate::speed::is_near;
use crate::table::{mark, quantile, whole};
use crate::traps::{ALPHA, PLAIN, configuration, most};
use crate::{Effort, parallel};

/// Ticks of a run, in which nothing that is worse stays unfound.
const LENGTH: u64 = 600;
/// How often in a tick each member reads and writes.
const LOOKS: u64 = 2;
/// When runs begin.
const BEGAN: u64 = 1_000_000 * TICK;
/// Ticks until a fleet has begun the rollout.
const BEGINNING: u64 = 4;

/// Requests that are spread over the members of a fleet at random.
struct Traffic {
    members: usize,
    users: usize,
    /// Rates of failures.
    stable: f64,
    candidate: f64,
}

/// Milliseconds of a call to the store and of its answer: what etcd takes on a quiet machine.
const WAY: u64 = 2;
/// Milliseconds, of simulated time, within which half of all members and all of 50 obey a command.
const OBEYED: [f64; 2] = [500.0, 1_000.0];
const MS: u64 = 1_000_000;

/// Nanoseconds by which the candidate answers later than stable where there are outages.
const LATER: u64 = TICK;
/// Ticks between the beginnings of two outages of both versions, and the longest one.
const OUTAGES: (u64, u64) = (20, 6);
/// What fails in an outage.
const FAILS_IN_OUTAGE: f64 = 0.5;
/// Milliseconds by which a member's clock may be off where clocks are: together with a report's way it is tolerated.
const CLOCKS: i64 = 1_500;

/// Whether fleets are as right and as fast as one Envoy.
pub(crate) fn simulate(effort: &Effort) -> bool {
    let (healthy, slow, speed) = (healthy(effort), slow(effort), speed(effort));
    commands(effort) && speed && slow && healthy
}

/// How long it takes until a command at one member is obeyed by all: by the times of the product, in simulated time.
fn commands(effort: &Effort) -> bool {
    let runs = effort.runs_by_request * 2;
    println!("Milliseconds until a command at one member is obeyed, each call to the store {} ms", 2 * WAY);
    println!("  members │ a member: median │   95 % │ all members: median │ the worst of {runs} runs");
    let mut all = true;
    for (seed, members) in (840..).zip([3, 20, 50]) {
        let obeyed = parallel::runs(runs, seed, |rng| obeyed(members, rng));
        let each: Vec<f64> = obeyed.iter().flatten().copied().collect();
        let last = |run: &Vec<f64>| run.iter().copied().fold(0.0, f64::max);
        let lasts: Vec<f64> = obeyed.iter().map(last).collect();
        let (median, worst) = (quantile(&each, 0.5), quantile(&lasts, 1.0));
        let kept = median <= OBEYED[0] && worst <= OBEYED[1];
        println!(
            "  {members:>7} │ {:>16} │ {:>6} │ {:>19} │ {:>6}   {}",
            whole(median),
            whole(quantile(&each, 0.95)),
            whole(quantile(&lasts, 0.5)),
            whole(worst),
            mark(kept)
        );
        all &= kept;
    }
    println!();
    all
}

/// By member other than the one that was told to abort: milliseconds until it gives the candidate nothing.
fn obeyed(members: usize, mut rng: Rng) -> Vec<f64> {
    let traffic = Traffic { members, users: 0, stable: 0.01, candidate: 0.01 };
    let config = config(&traffic);
    let mut envoys = envoys(members, &config, &mut rng);
    let mut store = Memory::default();
    // By member: when it looks again, and the call that is under way.
    let mut looks: Vec<u64> = (0..members).map(|_| BEGAN + rng.u64(..1_000) * MS).collect();
    let mut ways: Vec<Option<(u64, Call)>> = (0..members).map(|_| None).collect();
    let told_at = BEGAN + (8_000 + rng.u64(..2_000)) * MS;
    let told = rng.usize(..members);
    let mut obeyed = vec![f64::INFINITY; members];
    let mut now = BEGAN;
    while now < told_at + 5 * TICK && obeyed.iter().any(|obeyed| obeyed.is_infinite()) {
        now += MS;
        if (now - BEGAN).is_multiple_of(10 * MS) {
            request(&mut envoys, None, &traffic, now, &mut rng);
        }
        if now == told_at {
            let change = Change::new("r", Command::Abort);
            envoys[told].make(1, change, now).expect("it is under way");
            looks[told] = now;
        }
        for nth in 0..members {
            let envoy = &mut envoys[nth];
            if let Some((at, call)) = ways[nth].take() {
                if at > now {
                    ways[nth] = Some((at, call));
                } else {
                    envoy.answer(store.call(&call), now);
                    looks[nth] = now;
                }
            }
            if looks[nth] <= now {
                let call = envoy.poll(now);
                call.into_iter().for_each(|call| ways[nth] = Some((now + 2 * WAY * MS, call)));
                looks[nth] = now + envoy.wait(now).max(MS);
            }
            if now >= told_at && obeyed[nth].is_infinite() && envoy.routed["r"].is_taken_back {
                obeyed[nth] = ((now - told_at) / MS) as f64;
            }
        }
    }
    obeyed.swap_remove(told);
    obeyed
}

fn healthy(effort: &Effort) -> bool {
    let runs = effort.healthy_runs_of_users;
    let most = most(runs, ALPHA, 3.0);
    println!(
        "False rollbacks among {} healthy runs of {LENGTH} ticks of {} requests over the members of a fleet",
        whole(runs as f64),
        PLAIN.requests
    );
    println!("false_alarm is {ALPHA} for the fleet; with chance allowed for, at most {most}");
    let mut all = true;
    for (seed, (members, users)) in (800..).zip([(3, 0), (20, 0), (3, 2_000), (20, 2_000)]) {
        let traffic = Traffic { members, users, stable: 0.01, candidate: 0.01 };
        let config = config(&traffic);
        let rolled_back =
            parallel::runs(runs, seed, |rng| run(&traffic, &config, rng)).into_iter().flatten().count()
                as f64;
        let kept = rolled_back <= most;
        println!(
            "  {members:>2} members, {:<12} {:>4}  {:>6.2} %  {}",
            if users > 0 { format!("{} users", whole(users as f64)) } else { "requests".into() },
            whole(rolled_back),
            100.0 * rolled_back / runs as f64,
            mark(kept)
        );
        all &= kept;
    }
    println!();
    all
}

/// Where the candidate is slower, both versions have outages at the same time, and clocks differ.
fn slow(effort: &Effort) -> bool {
    let runs = effort.healthy_runs;
    let most = most(runs, ALPHA, 3.0);
    println!(
        "False rollbacks among {} healthy runs of 20 members, the candidate {} s slower, in outages {} % fail",
        whole(runs as f64),
        LATER / TICK,
        100.0 * FAILS_IN_OUTAGE
    );
    let traffic = Traffic { members: 20, users: 0, stable: 0.01, candidate: 0.01 };
    let config = config(&traffic);
    let found = parallel::runs(runs, 810, |rng| run_slow(&traffic, &config, rng));
    let rolled_back = found.into_iter().filter(|is_rolled_back| *is_rolled_back).count() as f64;
    let kept = rolled_back <= most;
    println!(
        "  counted by the tick of arrival {:>6.2} %  {}\n",
        100.0 * rolled_back / runs as f64,
        mark(kept)
    );
    kept
}

/// Whether a healthy candidate is rolled back that answers later than stable.
fn run_slow(traffic: &Traffic, config: &Config, mut rng: Rng) -> bool {
    let mut envoys = envoys(traffic.members, config, &mut rng);
    envoys.iter_mut().for_each(|envoy| envoy.ahead = rng.i64(-CLOCKS..=CLOCKS) * MS as i64);
    let mut store = Memory::default();
    // When they are answered, at which member, and whether they fail.
    let mut under_way: Vec<(u64, Life, bool, Option<Request>)> = Vec::new();
    let mut outage = 0..0;
    for tick in 0..LENGTH {
        if tick.is_multiple_of(OUTAGES.0) {
            outage = tick..tick + rng.u64(1..=OUTAGES.1);
        }
        for look in 0..LOOKS {
            let now = BEGAN + tick * TICK + look * (TICK / LOOKS) + TICK / 4;
            let some = if tick >= BEGINNING { PLAIN.requests / LOOKS } else { 0 };
            for _ in 0..some {
                let nth = rng.usize(..envoys.len());
                let envoy = &mut envoys[nth];
                let is_candidate = rng.u16(..10_000) < envoy.routed["r"].share.basis_points();
                let side = if is_candidate { Side::Candidate } else { Side::Stable };
                let fails = rng.f64() < if outage.contains(&tick) { FAILS_IN_OUTAGE } else { traffic.stable };
                let request = envoy.arrive("r", side, None, now);
                let at = if is_candidate { now + LATER } else { now };
                under_way.push((at, envoy.member.life(), fails, request));
            }
            for (_, life, fails, request) in under_way.extract_if(.., |(at, ..)| *at <= now) {
                let Some(envoy) = envoys.iter_mut().find(|envoy| envoy.member.life() == life) else {
                    continue;
                };
                if let Some(request) = request {
                    envoy.end(request, fails, now);
                }
            }
            rng.shuffle(&mut envoys);
            for envoy in &mut envoys {
                if let Some(call) = envoy.poll(now) {
                    let answer = store.call(&call);
                    envoy.answer(answer, now);
                }
            }
        }
        if envoys.iter().any(|envoy| envoy.routed["r"].is_taken_back) {
            return true;
        }
    }
    false
}

fn speed(effort: &Effort) -> bool {
    let runs = effort.runs_by_request * 2;
    println!(
        "Candidate requests of the fleet to the tick that decides, at 5 % of {} requests a tick, stable fails 1 %",
        PLAIN.requests
    );
    println!("  the candidate fails │ 1 member │ 3 members │ 20 members   ({runs} runs each, medians)");
    let mut all = true;
    for (seed, candidate) in (820..).step_by(3).zip([0.05, 0.1, 0.5]) {
        let medians: Vec<f64> = (seed..)
            .zip([1, 3, 20])
            .map(|(seed, members)| {
                let traffic = Traffic { members, users: 0, stable: 0.01, candidate };
                let config = config(&traffic);
                let found = parallel::runs(runs, seed, |rng| run(&traffic, &config, rng));
                let found: Vec<f64> =
                    found.into_iter().map(|requests| requests.unwrap_or(f64::INFINITY)).collect();
                quantile(&found, 0.5)
            })
            .collect();
        let kept = medians.iter().all(|median| is_near(*median, medians[0], effort.tolerance_of_users));
        println!(
            "  {:>17} % │ {:>8} │ {:>9} │ {:>10}   {}",
            (100.0 * candidate).round(),
            whole(medians[0]),
            whole(medians[1]),
            whole(medians[2]),
            mark(kept)
        );
        all &= kept;
    }
    println!();
    all
}

fn config(traffic: &Traffic) -> Config {
    configuration(&crate::world::World { users: traffic.users, ..PLAIN }, &["error_rate"])
}

/// Envoys that have run for some time when they join.
fn envoys(members: usize, config: &Config, rng: &mut Rng) -> Vec<Envoy> {
    let programs = [("r".to_owned(), Program::new(&config.rollouts[0]))];
    let settings = Settings { fleet: "f".into(), period: TICK, stale_after: None };
    let start = |_| Envoy::start((rng.u64(..), BEGAN - rng.u64(..1_000) * TICK), &settings, &programs);
    (0..members).map(start).collect()
}

/// The candidate's requests that were judged until it was rolled back; `None` if it was not.
fn run(traffic: &Traffic, config: &Config, mut rng: Rng) -> Option<f64> {
    let mut envoys = envoys(traffic.members, config, &mut rng);
    let mut people = (traffic.users > 0).then(|| People::new(traffic.users, false, &mut rng));
    let mut store = Memory::default();
    for tick in 0..LENGTH {
        for look in 0..LOOKS {
            let now = BEGAN + tick * TICK + look * (TICK / LOOKS) + TICK / 4;
            if tick >= BEGINNING {
                let some = PLAIN.requests / LOOKS;
                (0..some).for_each(|_| request(&mut envoys, people.as_mut(), traffic, now, &mut rng));
            }
            rng.shuffle(&mut envoys);
            for envoy in &mut envoys {
                if let Some(call) = envoy.poll(now) {
                    let answer = store.call(&call);
                    envoy.answer(answer, now);
                }
            }
        }
        let taken_back = envoys.iter().find(|envoy| envoy.routed["r"].is_taken_back);
        if let Some(record) = taken_back.and_then(|envoy| envoy.member.record("r")) {
            return Some(record.run.judge.step_requests() as f64);
        }
    }
    None
}

fn request(envoys: &mut [Envoy], people: Option<&mut People>, traffic: &Traffic, now: u64, rng: &mut Rng) {
    let envoy = rng.usize(..envoys.len());
    let envoy = &mut envoys[envoy];
    let share = envoy.routed["r"].share.basis_points();
    let anybody = &mut Person { ..Person::ANYBODY };
    let (person, bucket) = match people {
        Some(people) => {
            let person = people.next(rng);
            let bucket = person.bucket;
            (person, bucket)
        }
        None => (anybody, rng.u16(..10_000)),
    };
    let (side, rate) =
        if bucket < share { (Side::Candidate, traffic.candidate) } else { (Side::Stable, traffic.stable) };
    let fails = rng.f64() < rate * person.frailty;
    envoy.request("r", side, person.name, fails, now);
}
