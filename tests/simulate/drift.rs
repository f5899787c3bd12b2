//! How often drift is found where nothing has changed, and how soon where something has.

use changeover::analysis::kernel::drift::{movement, psi};
use changeover::analysis::tick::Tick;
use changeover::config::drift::Drift as Config;
use changeover::drift::rule::{Bins, Rules};
use changeover::drift::state::Drift;
use changeover::model::{Arm, Pair};
use changeover::signal::catalog::{self, Kind, Moves, Scale};
use changeover::signal::histogram::Histogram;
use changeover::signal::observed::Observed;
use changeover::signal::tally::{Counts, Tally};
use fastrand::Rng;
use serde_json::json;

use crate::Effort;
use crate::draw::{binomial, normal};
use crate::parallel;
use crate::table::{mark, quantile, whole};

/// Observations of the reference.
const REFERENCE: u64 = 10_000;
/// The sizes of the population stability index from which credit scoring speaks of a change, and of a large one.
const FOLKLORE: [f64; 2] = [0.1, 0.25];
/// What the 99 % point promises.
const PROMISED: f64 = 0.01;
/// Standard deviations that chance is allowed.
const CAUTION: f64 = 4.0;

pub(crate) fn simulate(effort: &Effort) -> bool {
    let kept = [even_bins(effort), rates(effort), shapes(effort), looks(effort)];
    kept.iter().all(|kept| *kept)
}

/// By bins and observations in the window: how often `psi` is above 0.1 when nothing has changed, as the analysis has it.
const EVEN: [(u64, u64, Option<f64>); 9] = [
    (10, 100, Some(0.31)),
    (16, 100, Some(0.76)),
    (32, 100, Some(0.999)),
    (16, 160, None),
    (32, 320, None),
    (10, 1_000, Some(0.0)),
    (16, 1_000, Some(0.0)),
    (10, 10_000, Some(0.0)),
    (16, 10_000, Some(0.0)),
];

/// Equally likely bins.
fn even_bins(effort: &Effort) -> bool {
    let runs = effort.healthy_runs * 20;
    println!(
        "\nnothing has changed, {REFERENCE} observations of reference, {runs} windows: the index is above"
    );
    println!("bins  observations   0.1       0.25      its 99 % point");
    let mut kept = true;
    for (seed, (bins, m, expected)) in (2_600..).zip(EVEN) {
        let found = parallel::runs(runs, seed, |mut rng| {
            let shares = vec![1.0 / bins as f64; bins as usize];
            let (reference, window) = (spread(REFERENCE, &shares, &mut rng), spread(m, &shares, &mut rng));
            let index = psi(&reference, &window);
            let by_chance = 1.0 / REFERENCE as f64 + 1.0 / m as f64;
            let critical = changeover::analysis::kernel::drift::critical(reference.len()).expect("few bins");
            [index > FOLKLORE[0], index > FOLKLORE[1], index > by_chance * critical]
        });
        let part = |at: usize| part(&found, |found| found[at]);
        let is_calibrated = m < 10 * bins || (part(2) - PROMISED).abs() <= 0.001 + chance(PROMISED, runs);
        let is_expected =
            expected.is_none_or(|expected| (part(0) - expected).abs() <= 0.01 + chance(part(0), runs));
        kept &= is_calibrated && is_expected;
        println!(
            "{bins:>4}  {:>12}  {:>5.1} %  {:>8.1} %  {:>8.2} %  {}",
            whole(m as f64),
            part(0) * 100.0,
            part(1) * 100.0,
            part(2) * 100.0,
            mark(is_calibrated && is_expected)
        );
    }
    kept
}

/// Rates, rare ones too.
fn rates(effort: &Effort) -> bool {
    let runs = effort.healthy_runs * 20;
    println!("\nthe same of rates, beside 100,000 observations of reference: more than the noise");
    println!("rate     40       300      1,000    10,000 observations");
    let mut kept = true;
    for (row, rate) in (2_620..).zip([0.001, 0.003, 0.01, 0.05, 0.3]) {
        let mut line = format!("{:>5.1} %", rate * 100.0);
        for (seed, m) in (row * 10..).zip([40, 300, 1_000, 10_000]) {
            let found = parallel::runs(runs, seed, |mut rng| {
                let shares = [rate, 1.0 - rate];
                let (reference, window) = (spread(100_000, &shares, &mut rng), spread(m, &shares, &mut rng));
                movement(Moves::Rate, &reference, &window).expect("enough").times > 1.0
            });
            let found = part(&found, |found| *found);
            let holds = found <= PROMISED + 0.001 + chance(PROMISED, runs);
            kept &= holds;
            line += &format!("  {:>4.2} %{}", found * 100.0, mark(holds));
        }
        println!("{line}");
    }
    kept
}

/// Lengths and labels in the bins that the product chooses.
fn shapes(effort: &Effort) -> bool {
    let runs = effort.healthy_runs * 4;
    println!(
        "\nthe same in the bins that follow from {REFERENCE} observations of reference: more than the noise"
    );
    println!("of       observations");
    let mut kept = true;
    let mut seed = 2_700;
    for (what, moves) in [("lengths", Moves::Values), ("labels", Moves::Categories)] {
        for m in [240, 1_000, 10_000] {
            seed += 1;
            let found = parallel::runs(runs, seed, |mut rng| {
                let mut draw = |n: u64| {
                    let mut histogram = Histogram::default();
                    (0..n).for_each(|_| match moves {
                        Moves::Values => histogram.add(bucket(1.0, &mut rng), 1),
                        // The one most frequent half of the time, the next a quarter, and so on.
                        _ => histogram.add((rng.f64().log2().abs() as usize).min(20), 1),
                    });
                    Tally::Duration(Box::new(histogram))
                };
                let (reference, window) = (draw(REFERENCE), draw(m));
                let bins = Bins::of(moves, &reference);
                let moved = movement(moves, &bins.counts(&reference), &bins.counts(&window));
                moved.expect("enough").times > 1.0
            });
            let found = part(&found, |found| *found);
            let holds = found <= PROMISED + 0.003 + chance(PROMISED, runs);
            kept &= holds;
            println!("{what:<8} {:>12}  {:>4.2} %  {}", whole(m as f64), found * 100.0, mark(holds));
        }
    }
    kept
}

/// What changes: lengths so many times as long, or errors of one rate at another.
#[derive(Clone, Copy)]
enum Change {
    Lengths(f64),
    Errors(f64),
}

/// An hour of reference, an hour as before, then the change: how soon the shipped state finds it, looking every second.
fn looks(effort: &Effort) -> bool {
    let runs = (effort.runs_by_request / 2).max(10);
    println!(
        "\nan hour of reference and an hour as before, {runs} runs: any 5 minutes of it above the noise, and"
    );
    println!("after the change the median of seconds until 5 minutes, and until an hour, are above it");
    println!("requests/s  what                  hours with any  5m      1h");
    let changes = [
        ("nothing", Change::Lengths(1.0)),
        ("lengths x1.1", Change::Lengths(1.1)),
        ("lengths x1.25", Change::Lengths(1.25)),
        ("lengths x1.5", Change::Lengths(1.5)),
        ("errors 2 % to 2.4 %", Change::Errors(0.024)),
        ("errors 2 % to 3 %", Change::Errors(0.03)),
        ("errors 2 % to 6 %", Change::Errors(0.06)),
    ];
    let mut kept = true;
    let mut seed = 2_800;
    for rate in [10, 100] {
        let mut before = [f64::INFINITY; 2];
        for (what, change) in changes {
            seed += 1;
            let found = parallel::runs(runs, seed, |mut rng| run(rate, change, &mut rng));
            let calm = part(&found, |found| found.0);
            let medians = [0, 1].map(|at| {
                let seconds: Vec<f64> = found.iter().map(|found| found.1[at]).collect();
                quantile(&seconds, 0.5)
            });
            // What changes by more is found no later, and what changes by half in a minute or two.
            if matches!(change, Change::Errors(rate) if rate < 0.03) || matches!(change, Change::Lengths(1.0))
            {
                before = [f64::INFINITY; 2];
            }
            let is_large = matches!(change, Change::Lengths(1.5) | Change::Errors(0.06));
            let holds =
                medians[1] <= before[1] && (!is_large || (medians[0] <= 180.0 && medians[1] <= 900.0));
            before = medians;
            kept &= holds;
            println!(
                "{rate:>10}  {what:<20}  {:>12.0} %  {:>6}  {:>6}  {}",
                calm * 100.0,
                whole(medians[0]),
                whole(medians[1]),
                mark(holds)
            );
        }
    }
    kept
}

/// Whether any window of 5 minutes was above its noise before the change, and the seconds until both windows are after it.
fn run(rate: u64, change: Change, rng: &mut Rng) -> (bool, [f64; 2]) {
    const HOUR: u64 = 3_600;
    let metric = match change {
        Change::Lengths(_) => catalog::INPUT_LENGTH.name,
        Change::Errors(_) => catalog::ERROR_RATE.name,
    };
    let config: Config =
        serde_json::from_value(json!({"metrics": [metric], "reference": "1h"})).expect("valid");
    let (rules, mut drift) = (Rules::new(&config, 0), Drift::default());
    let id = rules.metrics[0].signal;
    let (mut early, mut found) = (false, [f64::INFINITY; 2]);
    for second in 0..3 * HOUR {
        let has_changed = second >= 2 * HOUR;
        let mut counts = Counts::of(&[id]);
        counts.requests = rate;
        match (counts.tally_mut(id).expect("it is observed"), change) {
            (Tally::Duration(histogram), Change::Lengths(times)) => {
                let times = if has_changed { times } else { 1.0 };
                (0..rate).for_each(|_| histogram.add(bucket(times, rng), 1));
            }
            (Tally::Event(arm), Change::Errors(after)) => {
                let events = binomial(rate, if has_changed { after } else { 0.02 }, rng);
                *arm = Arm { events, units: rate };
            }
            _ => panic!("of its kind"),
        }
        let counts = Pair::new(Counts::default(), counts);
        drift.close(&rules, &Tick { number: second, counts, ..Tick::default() }, 0);
        let moved = drift.metrics()[0].windows_moved;
        let is_above = |at: usize| moved[at].is_some_and(|moved| moved.movement.times > 1.0);
        early |= !has_changed && is_above(0);
        for at in [0, 1] {
            if has_changed && is_above(at) && found[at].is_infinite() {
                found[at] = (second - 2 * HOUR + 1) as f64;
            }
        }
        if found.iter().all(|found| found.is_finite()) {
            break;
        }
    }
    (early, found)
}

/// The bucket of a length: log-normal, σ 0.6, around 200 times so much.
fn bucket(times: f64, rng: &mut Rng) -> usize {
    let Kind::Mean(scale @ Scale::Logarithmic) = catalog::INPUT_LENGTH.kind else { panic!("a length") };
    let length = (200.0 * times * (0.6 * normal(rng)).exp()).round();
    match scale.fraction(length).map(|value| Observed::Mean(value).spread()) {
        Some(Observed::Bucket(bucket)) => bucket.into(),
        _ => panic!("a number"),
    }
}

/// So many observations in categories with these shares.
fn spread(n: u64, shares: &[f64], rng: &mut Rng) -> Vec<u64> {
    let (mut left, mut rest) = (n, 1.0);
    let mut counts = Vec::new();
    for share in shares {
        let chance = if rest > *share { share / rest } else { 1.0 };
        // In parts, for the chance that nothing happens among many is too small a number.
        let parts = std::iter::repeat_n(1_000, (left / 1_000) as usize).chain([left % 1_000]);
        let count = parts.map(|part| if chance >= 1.0 { part } else { binomial(part, chance, rng) }).sum();
        counts.push(count);
        left -= count;
        rest -= share;
    }
    counts
}

fn part<T>(found: &[T], is: impl Fn(&T) -> bool) -> f64 {
    found.iter().filter(|found| is(found)).count() as f64 / found.len() as f64
}

/// How far a share of so many runs may be off.
fn chance(share: f64, runs: u64) -> f64 {
    CAUTION * (share * (1.0 - share) / runs as f64).sqrt()
}
