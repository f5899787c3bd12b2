//! Hours of a candidate, one after the other: how often it was taken back, and how soon.

use changeover::analysis::judge::Judge;
use changeover::analysis::rules::Rules;
use changeover::analysis::tick::Tick;
use changeover::config;
use changeover::model::{Assignment, Draw};
use changeover::rollout::program::Program;
use changeover::telemetry::ledger::Ledger;
use changeover::telemetry::outcome::Outcome;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::parallel;
use crate::table::{mark, quantile, whole};
use crate::traps::{ALPHA, most};

/// Seconds of an hour.
pub(crate) const LENGTH: u64 = 3_600;

/// An hour in which one metric is judged, with one worker, second by second.
pub(crate) struct Hour {
    pub(crate) rules: Rules,
    judge: Judge,
    pub(crate) ledger: Ledger,
    /// The candidate's weights in percent; each is in force for the same time.
    weights: &'static [f64],
    /// The position of the one in force.
    step: usize,
}

impl Hour {
    /// A rollout with these fields that judges this metric.
    pub(crate) fn new(metric: &str, fields: Value, weights: &'static [f64]) -> Self {
        let mut rollout = json!({
            "name": "r", "release": "1", "stable": "blue", "candidate": "green",
            "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
            "steps": [{"set_weight": 50}, {"pause": {}}],
            "analysis": {"false_alarm": ALPHA, "metrics": [{"name": metric}], "warm_up": {"requests": 0}},
        });
        let Value::Object(fields) = fields else { panic!("fields of a rollout: {fields}") };
        for (name, value) in fields {
            rollout[name] = value;
        }
        let config = config::check(&json!({"rollouts": [rollout]})).expect("a valid configuration");
        let program = Program::new(&config.rollouts[0]);
        let rules = program.rules().expect("it has an analysis").clone();
        let (mut judge, mut ledger) = (Judge::default(), Ledger::default());
        judge.redefine(&rules);
        judge.begin_step(&rules, 0);
        ledger.count_signals(rules.signals());
        Self { rules, judge, ledger, weights, step: 0 }
    }

    /// Begins a second.
    pub(crate) fn begin(&mut self, tick: u64) {
        let steps = self.weights.len() as u64;
        self.step = (tick * steps / LENGTH) as usize;
        if self.step > 0 && tick == self.step as u64 * LENGTH / steps {
            self.judge.begin_step(&self.rules, tick);
        }
    }

    /// The weight in force, in percent.
    pub(crate) fn weight(&self) -> f64 {
        self.weights[self.step]
    }

    /// Which weights are in force.
    pub(crate) fn assignment(&self) -> Assignment {
        Assignment(1 + self.step as u64)
    }

    /// A request that is answered well.
    pub(crate) fn serve(&mut self, tick: u64, draw: Draw) {
        let ticket = self.ledger.arrive(tick, draw);
        self.ledger.end(ticket, 1_000_000, Outcome::Ok);
    }

    /// Ends a second. `complete`: what is known of it besides what was counted. Returns whether the candidate is taken back.
    pub(crate) fn end(&mut self, tick: u64, mut complete: impl FnMut(&mut Tick, &Rules)) -> bool {
        for entry in self.ledger.entries(tick + 1) {
            let mut counted = Tick {
                number: tick,
                assignment: entry.assignment,
                share: Some(self.weight() / 100.0),
                counts: entry.counts,
                void: false,
            };
            complete(&mut counted, &self.rules);
            self.judge.close(&counted, &self.rules, tick + 1);
        }
        self.ledger.forget_through(tick);
        self.judge.reading().all >= self.rules.threshold
    }
}

/// Lives an hour in a world. Returns how many had come when the candidate was taken back; `None`: it was not.
pub(crate) type Live<W> = fn(&W, Rng) -> Option<u64>;

/// Prints how often healthy candidates were taken back, by situation. Returns whether that is no more often than it may be. The
/// seeds of the first situation begin with `seed`.
pub(crate) fn healthy<W: Sync>(
    runs: u64,
    seed: u64,
    situations: impl IntoIterator<Item = (&'static str, W)>,
    live: Live<W>,
) -> bool {
    let most = most(runs, ALPHA, 3.0);
    println!("false_alarm is {ALPHA}; with chance allowed for, at most {most}");
    let mut all = true;
    for (seed, (name, world)) in (seed..).zip(situations) {
        let ends = parallel::runs(runs, seed, |rng| live(&world, rng).is_some());
        let rolled_back = ends.into_iter().filter(|end| *end).count() as f64;
        let kept = rolled_back <= most;
        println!(
            "  {name:<52} {:>4}  {:>6.2} %  {}",
            whole(rolled_back),
            100.0 * rolled_back / runs as f64,
            mark(kept)
        );
        all &= kept;
    }
    all
}

/// Prints how many had come when bad candidates were taken back, by cell. Returns whether each median is within its limit.
pub(crate) fn found<W: Sync>(
    runs: u64,
    seed: u64,
    cells: impl IntoIterator<Item = (&'static str, W, f64)>,
    live: Live<W>,
) -> bool {
    let mut all = true;
    for (seed, (name, world, limit)) in (seed..).zip(cells) {
        let ends = parallel::runs(runs, seed, |rng| live(&world, rng));
        let counts: Vec<f64> =
            ends.iter().map(|end| end.map_or(f64::INFINITY, |count| count as f64)).collect();
        let ever = ends.iter().flatten().count() as f64 / ends.len() as f64;
        let kept = quantile(&counts, 0.5) <= limit;
        println!(
            "  {name:<40} {:>8} / {:>8}   {:>5.1} % in the hour   {}",
            whole(quantile(&counts, 0.5)),
            whole(quantile(&counts, 0.95)),
            ever * 100.0,
            mark(kept)
        );
        all &= kept;
    }
    all
}
