//! A proven threshold keeps its target at every moment, and an audit finds a model that decays.

use changeover::automation::audit::{Audit, FALSE_ALARM};
use changeover::automation::band::{BANDS, Band};
use changeover::automation::proof::{Proven, Target};
use fastrand::Rng;

use crate::Effort;
use crate::parallel;
use crate::table::{mark, quantile};

/// Runs of a model.
const RUNS: u64 = 2_000;
/// Tasks of a run that people decide; what is proven is looked at after every tenth.
const TASKS: u64 = 10_000;
/// What is to be proven.
const TARGET: Target = Target { max_disagreement: 0.02, confidence: 0.95, min_coverage: 0.0 };
/// Audited tasks of a tick.
const AUDITED: u64 = 5;
/// Standard deviations by which the runs may be off.
const CAUTION: f64 = 4.0;

/// How often a model disagrees with people at a confidence in a band, from 0 to 1.
type Model = fn(f64) -> f64;

/// The confidences are spread evenly. Informative ones separate right from wrong, useless ones do not.
const MODELS: [(&str, Model); 4] = [
    ("informative", |confidence| 0.3 * (1.0 - confidence).powi(2)),
    ("weak", |confidence| 0.01 + 0.05 * (1.0 - confidence)),
    ("useless, 1.9 %", |_| 0.019),
    ("useless, 2.1 %", |_| 0.021),
];

pub(crate) fn simulate(effort: &Effort) -> bool {
    let runs = if effort.healthy_runs < RUNS { RUNS / 10 } else { RUNS };
    let proofs = proofs(runs);
    let healthy = healthy(runs);
    let decay = decay(runs);
    proofs && healthy && decay
}

/// The most of `runs` that may be off where the chance is `stated`.
fn limit(stated: f64, runs: u64) -> f64 {
    stated + CAUTION * (stated * (1.0 - stated) / runs as f64).sqrt()
}

fn proofs(runs: u64) -> bool {
    println!(
        "\n{runs} runs, {TASKS} decisions each: runs in which a threshold over its target is ever proven, and what is answered alone"
    );
    println!("model           ever wrong  proven  median of the first  median coverage at the end");
    let limit = limit(1.0 - TARGET.confidence, runs);
    let mut kept = true;
    for (seed, (name, model)) in (1_700..).zip(MODELS) {
        let ends = parallel::runs(runs, seed, |mut rng| run(model, &mut rng));
        let part =
            |of: fn(&End) -> bool| ends.iter().filter(|end| of(end)).count() as f64 / ends.len() as f64;
        let wrong = part(|end| end.is_wrong);
        let first: Vec<f64> = ends.iter().filter_map(|end| end.first).map(|first| first as f64).collect();
        let coverage: Vec<f64> = ends.iter().map(|end| end.coverage).collect();
        let holds = wrong <= limit;
        kept &= holds;
        let first =
            if first.is_empty() { "none".to_owned() } else { format!("{:.0}", quantile(&first, 0.5)) };
        println!(
            "{name:<14}  {:>8.1} %  {:>4.0} %  {first:>19}  {:>23.1} %  {}",
            wrong * 100.0,
            part(|end| end.first.is_some()) * 100.0,
            quantile(&coverage, 0.5) * 100.0,
            mark(holds)
        );
    }
    kept
}

/// How a run has ended.
struct End {
    /// A threshold was ever in force whose tasks disagree more often than the target.
    is_wrong: bool,
    /// The decision with which the first threshold was proven.
    first: Option<u64>,
    /// The part of the tasks that is answered alone at the end.
    coverage: f64,
}

fn run(model: Model, rng: &mut Rng) -> End {
    let rate = |band: usize| model((band as f64 + 0.5) / BANDS as f64);
    let mut bands = vec![Band::default(); BANDS];
    let mut proven = Proven::default();
    let mut end = End { is_wrong: false, first: None, coverage: 0.0 };
    for task in 1..=TASKS {
        let at = rng.usize(..BANDS);
        bands[at].add(Band { tasks: 1, disagreements: u64::from(rng.f64() < rate(at)) });
        if task % 10 == 0
            && proven.learn(&bands, &TARGET)
            && let Some(threshold) = proven.lowest(&bands, &TARGET, false)
        {
            let from = usize::from(threshold) / 200;
            let risk = (from..BANDS).map(rate).sum::<f64>() / (BANDS - from) as f64;
            end.is_wrong |= risk > TARGET.max_disagreement;
            end.first.get_or_insert(task);
            end.coverage = (BANDS - from) as f64 / BANDS as f64;
        }
    }
    end
}

fn healthy(runs: u64) -> bool {
    let ends = parallel::runs(runs, 1_710, |mut rng| {
        stepped_down(&mut rng, 4_000, |_| TARGET.max_disagreement).is_some()
    });
    let part = ends.iter().filter(|end| **end).count() as f64 / ends.len() as f64;
    let holds = part <= limit(FALSE_ALARM, runs);
    println!(
        "\n{runs} models exactly at their target, {} audited tasks each: {:.1} % stepped down, {:.0} % stated  {}",
        4_000 * AUDITED,
        part * 100.0,
        FALSE_ALARM * 100.0,
        mark(holds)
    );
    holds
}

fn decay(runs: u64) -> bool {
    println!("\n{runs} models with half of the allowed disagreement that decay after 5,000 audited tasks");
    println!("disagreement  median of audited tasks until the step down  found");
    let mut kept = true;
    for (seed, rate) in (1_720..).zip([0.04, 0.06, 0.1, 0.5]) {
        let ends = parallel::runs(runs, seed, |mut rng| {
            let good = 1_000;
            let rate = |tick| if tick <= good { TARGET.max_disagreement / 2.0 } else { rate };
            let tick = stepped_down(&mut rng, good + 2_000, rate)?;
            tick.checked_sub(good)
        });
        let found: Vec<f64> = ends.iter().flatten().map(|ticks| (ticks * AUDITED) as f64).collect();
        let part = found.len() as f64 / ends.len() as f64;
        let holds = part >= 0.95;
        kept &= holds;
        println!(
            "{:>10.0} %  {:>43.0}  {:>4.1} %  {}",
            rate * 100.0,
            quantile(&found, 0.5),
            part * 100.0,
            mark(holds)
        );
    }
    kept
}

/// The tick in which a model is stepped down, if it is. `rate`: how often it disagrees in a tick.
fn stepped_down(rng: &mut Rng, ticks: u64, rate: impl Fn(u64) -> f64) -> Option<u64> {
    let (mut audit, mut audited) = (Audit::default(), Band::default());
    (1..=ticks).find(|tick| {
        let disagreements = (0..AUDITED).filter(|_| rng.f64() < rate(*tick)).count() as u64;
        audited.add(Band { tasks: AUDITED, disagreements });
        audit.learn(audited, TARGET.max_disagreement);
        audit.alarms()
    })
}
