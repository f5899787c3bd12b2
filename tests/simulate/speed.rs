//! How many requests a candidate that is worse gets until it is taken back.

use changeover::analysis::judge::Judge;
use changeover::analysis::kernel::ratio::Table;
use changeover::analysis::rules::Rules;
use changeover::analysis::tick::Tick;
use changeover::analysis::users::{First, Firsts};
use changeover::model::{Arm, Unit};
use changeover::signal::catalog::ERROR_RATE;
use changeover::signal::tally::{Counts, Tally};
use fastrand::Rng;

use crate::draw::binomial;
use crate::envoy;
use crate::table::{mark, quantile, whole};
use crate::traps::{PLAIN, configuration, rules};
use crate::world::{Late, Rate, World, Worse};
use crate::{Effort, parallel};

/// A candidate that fails more often than stable, from a tick on.
struct Cell {
    /// Percent of the requests.
    share: &'static [f64],
    /// Rates of failures.
    stable: f64,
    candidate: f64,
    from: u64,
    /// The reference's median of the candidate's requests from there to the tick that decides.
    expected: f64,
}

/// Requests of the candidate from the onset to the deciding tick; infinite when none decides, `None` when
/// one did before the onset.
type Requests = Option<f64>;

/// Whether all medians are near the reference's.
pub(crate) fn simulate(effort: &Effort) -> bool {
    let at_five = |from: u64, cells: &[(f64, f64)]| -> Vec<Cell> {
        let cell = |&(candidate, expected): &(f64, f64)| Cell {
            share: &[5.0],
            stable: 0.01,
            candidate,
            from,
            expected,
        };
        cells.iter().map(cell).collect()
    };
    let at_once = [
        (0.015, 5_497.0),
        (0.02, 1_542.0),
        (0.03, 470.0),
        (0.05, 160.0),
        (0.1, 52.0),
        (0.5, 9.0),
        (1.0, 5.0),
    ];
    let later = [(0.02, 3_687.0), (0.03, 1_230.0), (0.05, 436.0), (0.1, 145.0), (0.5, 20.0), (1.0, 10.0)];
    [
        table("worse from the start", 10_000, 100, at_five(0, &at_once), effort),
        table("worse after a healthy hour", 50_000, 200, at_five(3_600, &later), effort),
        table("other shares and rates", 40_000, 300, elsewhere(), effort),
        beside_slow_answers(effort),
    ]
    .into_iter()
    .all(|kept| kept)
}

fn elsewhere() -> Vec<Cell> {
    const RATES: [(f64, f64); 8] = [
        (0.0001, 0.01),
        (0.001, 0.002),
        (0.001, 0.01),
        (0.01, 0.02),
        (0.01, 0.05),
        (0.1, 0.15),
        (0.1, 0.3),
        (0.5, 0.6),
    ];
    const MEDIANS: [(&[f64], [f64; 8]); 4] = [
        (&[1.0], [209.0, 14_578.0, 431.0, 1_500.0, 143.0, 476.0, 39.0, 287.0]),
        (&[5.0], [265.0, 15_215.0, 467.0, 1_533.0, 163.0, 540.0, 49.0, 327.0]),
        (&[25.0], [499.0, 20_629.0, 722.0, 2_073.0, 249.0, 800.0, 90.0, 603.0]),
        (&[50.0], [924.0, 31_242.0, 1_209.0, 3_252.0, 409.0, 1_242.0, 151.0, 1_197.0]),
    ];
    let cells = MEDIANS.iter().flat_map(|(share, medians)| {
        RATES.iter().zip(medians).map(|(&(stable, candidate), &expected)| Cell {
            share,
            stable,
            candidate,
            from: 0,
            expected,
        })
    });
    cells.collect()
}

fn table(title: &str, length: u64, seed: u64, cells: Vec<Cell>, effort: &Effort) -> bool {
    println!("Candidate requests until rollback, {title}: median / 95th percentile");
    println!(
        "  weight  stable  candidate │ reference │ {:>5} runs from counts │ {:>3} runs request by request, at once",
        effort.runs, effort.runs_by_request
    );
    let mut all = true;
    for (seed, cell) in (seed..).zip(cells).filter(|(_, cell)| cell.expected <= effort.longest) {
        let world = World { weights: cell.share, ..PLAIN };
        let rules = rules(&configuration(&world, &["error_rate"]));
        let counted = parallel::runs(effort.runs, seed, |rng| from_counts(&cell, length, &rules, rng));
        let counted: Vec<f64> = counted.into_iter().flatten().collect();
        let pairs =
            parallel::runs(effort.runs_by_request, seed + 1_000, |rng| by_request(&cell, length, rng));
        let (by_request, at_once): (Vec<f64>, Vec<f64>) = pairs.into_iter().flatten().unzip();
        let median = |numbers: &[f64]| quantile(numbers, 0.5);
        let kept = [
            is_near(median(&counted), cell.expected, effort.tolerance),
            // The same requests, once as an Envoy gets to know of them, and once all known when a tick ends.
            is_near(median(&by_request), median(&at_once), effort.tolerance),
        ];
        println!(
            "  {:>4} %  {:>5} %     {:>4} % │ {:>9} │ {:>8} / {:>8}   {} │ {:>8} / {:>8} {:>10}   {}",
            cell.share[0],
            percent(cell.stable),
            percent(cell.candidate),
            whole(cell.expected),
            whole(median(&counted)),
            whole(quantile(&counted, 0.95)),
            mark(kept[0]),
            whole(median(&by_request)),
            whole(quantile(&by_request, 0.95)),
            whole(median(&at_once)),
            mark(kept[1]),
        );
        all &= kept == [true, true];
    }
    println!();
    all
}

fn percent(rate: f64) -> f64 {
    (rate * 1e4).round() / 100.0
}

pub(crate) fn is_near(found: f64, expected: f64, tolerance: f64) -> bool {
    (found - expected).abs() <= f64::max(tolerance * expected, 3.0)
}

/// The judge on counts of ticks, as the reference was computed.
fn from_counts(cell: &Cell, length: u64, rules: &Rules, mut rng: Rng) -> Requests {
    let ticks = (0..length).map(|tick| {
        let rate = if tick >= cell.from { cell.candidate } else { cell.stable };
        let requests = binomial(PLAIN.requests, cell.share[0] / 100.0, &mut rng);
        let arm = |units, events| Arm { events, units };
        Table {
            candidate: arm(requests, binomial(requests, rate, &mut rng)),
            stable: arm(
                PLAIN.requests - requests,
                binomial(PLAIN.requests - requests, cell.stable, &mut rng),
            ),
        }
    });
    judge(ticks, cell.from, cell.share, rules)
}

/// The judge on what each tick would have counted; `from`: where requests begin to count.
pub(crate) fn judge(
    ticks: impl Iterator<Item = Table>,
    from: u64,
    weights: &[f64],
    rules: &Rules,
) -> Requests {
    let mut judge = Judge::default();
    judge.redefine(rules);
    let mut requests = 0.0;
    for (number, table) in (0..).zip(ticks) {
        let counts = table.map(|arm| Counts {
            requests: arm.units,
            tallies: vec![(ERROR_RATE.id, Tally::Event(arm))],
            ..Counts::default()
        });
        let events = table.map(|arm| arm.events);
        // Of users the events are first ones.
        let first = First { events, spent: events, ..First::default() };
        let firsts = Firsts { events: vec![(rules.metrics[0].tests[0], first)], ..Firsts::default() };
        let firsts = (rules.unit == Unit::Users).then_some(firsts);
        let tick = Tick { number, share: Some(weights[0] / 100.0), counts, ..Tick::default() };
        judge.close_with(&tick, firsts.as_ref(), rules, number + 1);
        if number >= from {
            requests += table.candidate.units as f64;
        }
        if judge.reading().all >= rules.threshold {
            return (number >= from).then_some(requests);
        }
    }
    Some(f64::INFINITY)
}

/// The same requests twice: counted, reported and judged as in an Envoy, and all known at once.
fn by_request(cell: &Cell, length: u64, rng: Rng) -> Option<(f64, f64)> {
    let worse = Some((cell.from, Worse::Rate(cell.candidate)));
    let world = World { length, weights: cell.share, rate: Rate::Constant(cell.stable), worse, ..PLAIN };
    let config = configuration(&world, &["error_rate"]);
    let outcome = envoy::run(&world, &config, rng);
    let requests = outcome.requests(cell.from)?;
    let at_once = judge(outcome.ticks.into_iter(), cell.from, cell.share, &rules(&config))?;
    Some((requests, at_once))
}

/// A candidate that fails always, beside a stable version of which some answers take longer than the deadline:
/// waiting for them would cost most of what is lost.
fn beside_slow_answers(effort: &Effort) -> bool {
    /// The reference's median when every tick waits for its deadline, 5 s.
    const WAITING: f64 = 58.0;
    let world = World {
        length: 60,
        requests: 200,
        late: Late::StablesTail,
        worse: Some((0, Worse::Rate(1.0))),
        ..PLAIN
    };
    let config = configuration(&world, &["error_rate"]);
    let outcomes = parallel::runs(effort.runs, 400, |rng| envoy::run(&world, &config, rng));
    let failed: Vec<f64> = outcomes
        .into_iter()
        .map(|outcome| match outcome.rolled_back {
            Some(_) => outcome.ticks.iter().map(|tick| tick.candidate.units as f64).sum(),
            None => f64::INFINITY,
        })
        .collect();
    let worst = quantile(&failed, 0.95);
    println!(
        "Every request to the candidate fails, 0.3 % of stable's answers take 3 to 30 s, 200 requests a tick"
    );
    println!(
        "  failed until rollback: median {}, 95th percentile {}; waiting for deadlines the median would be {} {}\n",
        whole(quantile(&failed, 0.5)),
        whole(worst),
        whole(WAITING),
        mark(worst < WAITING)
    );
    worst < WAITING
}
