//! Where a rollout stands, as gauges. Only of rollouts that move by themselves or are judged: for the others the weights
//! are enough. What the judge has found is shown from when it first had a request.
//!
//! Envoy keeps a gauge for ever and pays for each name once, dearly. So a gauge is set only when its value changes, and
//! never to 0 unless it was something else before.

use serde::{Deserialize, Serialize};

use crate::analysis::rules::ALL_METRICS;
use crate::analysis::window;
use crate::config::alarm::Of;
use crate::drift::rule::WINDOWS;
use crate::rollout::phase::Phase;
use crate::rollout::record::Record;
use crate::telemetry::series::{Alarm, Gauge, Release};

/// The gauges of one rollout, by position.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// The program that the positions follow from.
    program: Option<u64>,
    existing: Existing,
    kinds: Vec<Gauge>,
    /// As they were last set; `None`: another VM has set them, to what is unknown.
    values: Vec<Option<u64>>,
}

/// Which gauges of a rollout exist, for the VM that leads next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Existing {
    /// A bit for each position.
    bits: u128,
    /// What identifies the positions: the candidate, stable and the metrics; empty without a judge.
    names: Vec<String>,
    /// Its alarms.
    alarms: Vec<Alarm>,
    /// The metrics whose drift is watched.
    drift: Vec<String>,
    /// The release that is shown.
    release: Release,
}

#[cfg(test)]
impl Existing {
    /// All of a rollout's.
    pub(super) fn all(record: &Record) -> Self {
        Self {
            bits: u128::MAX,
            names: names(record),
            alarms: alarms(record),
            drift: drift(record),
            release: release(record),
        }
    }
}

/// In place of names: a rollout with people. No version has that name.
const PEOPLE: &str = "(people)";

impl Gauges {
    /// Gauges that another VM has set so far.
    #[must_use]
    pub fn taken_over(existing: Existing) -> Self {
        let kinds = kinds_of(&existing);
        let value = |position: u32| {
            let exists = existing.bits.checked_shr(position).is_some_and(|bits| bits & 1 == 1);
            if exists { None } else { Some(0) }
        };
        let values = (0..).zip(&kinds).map(|(position, _)| value(position)).collect();
        Self { program: None, existing, kinds, values }
    }

    /// Which gauges exist.
    #[must_use]
    pub fn existing(&self) -> &Existing {
        &self.existing
    }

    /// Takes a rollout's state over. Returns the gauges that have another value, with it.
    pub fn update(&mut self, record: &Record) -> Vec<(Gauge, u64)> {
        let mut changed = Vec::new();
        let (program, release) = (record.fingerprint, release(record));
        if self.program != Some(program) || self.existing.release != release {
            // Other positions: what is not at the same place any more is over.
            self.existing.names = names(record);
            (self.existing.alarms, self.existing.drift) = (alarms(record), drift(record));
            self.existing.release = release;
            let kinds = if is_shown(record) { kinds_of(&self.existing) } else { Vec::new() };
            let over = self.kinds.iter().zip(&self.values).enumerate();
            let over = over.filter(|(at, (kind, value))| **value != Some(0) && kinds.get(*at) != Some(kind));
            changed.extend(over.map(|(_, (kind, _))| (kind.clone(), 0)));
            let kept = |(at, kind): (usize, &Gauge)| match (self.kinds.get(at), self.values.get(at)) {
                (Some(known), Some(value)) if known == kind => *value,
                _ => Some(0),
            };
            self.values = kinds.iter().enumerate().map(kept).collect();
            (self.program, self.kinds) = (Some(program), kinds);
        }
        self.values.resize(self.kinds.len(), Some(0));
        let threshold = self.kinds.iter().position(|kind| *kind == Gauge::EvidenceThreshold);
        let is_shown = threshold.is_some_and(|at| self.values.get(at) != Some(&Some(0)));
        for ((kind, known), value) in self.kinds.iter().zip(&mut self.values).zip(values(record, is_shown)) {
            if *known != Some(value) {
                *known = Some(value);
                changed.push((kind.clone(), value));
            }
        }
        let exists = |(position, value): (u32, &Option<u64>)| match value {
            Some(0) => 0,
            _ => 1_u128.checked_shl(position).unwrap_or(0),
        };
        self.existing.bits = (0..).zip(&self.values).map(exists).fold(0, |bits, bit| bits | bit);
        changed
    }

    /// The rollout is gone. Returns the gauges that are not 0.
    #[must_use]
    pub fn end(self) -> Vec<Gauge> {
        let shown = self.kinds.into_iter().zip(self.values).filter(|(_, value)| *value != Some(0));
        shown.map(|(kind, _)| kind).collect()
    }
}

/// Whether a rollout has gauges: it moves by itself, or is judged.
fn is_shown(record: &Record) -> bool {
    let program = &record.program;
    program.rules().is_some() || !program.steps.is_empty() || program.automation.is_some()
}

fn alarms(record: &Record) -> Vec<Alarm> {
    let program = &record.program;
    let version = |of| match of {
        Of::Candidate => program.candidate.clone().unwrap_or_default(),
        Of::Stable => program.stable.clone(),
        Of::Rollout => String::new(),
    };
    program
        .alarms
        .iter()
        .map(|alarm| Alarm { name: alarm.name.clone(), version: version(alarm.of) })
        .collect()
}

fn drift(record: &Record) -> Vec<String> {
    record.program.drift.iter().flat_map(|rules| &rules.metrics).map(|metric| metric.name.clone()).collect()
}

fn release(record: &Record) -> Release {
    let program = &record.program;
    Release {
        release: program.release.clone(),
        attempt: record.run.attempt,
        stable: program.stable.clone(),
        candidate: program.candidate.clone().unwrap_or_default(),
    }
}

/// What distinguishes the gauges of one program from those of another.
fn names(record: &Record) -> Vec<String> {
    let program = &record.program;
    if program.automation.is_some() {
        return vec![PEOPLE.to_owned()];
    }
    let Some(rules) = program.rules() else { return Vec::new() };
    let versions = [program.candidate.clone().unwrap_or_default(), program.stable.clone()];
    versions.into_iter().chain(rules.metrics.iter().map(|metric| metric.name.clone())).collect()
}

/// The gauges of a rollout whose names these are: a fixed number of them first.
fn kinds_of(Existing { names, alarms, drift, release, .. }: &Existing) -> Vec<Gauge> {
    let mut kinds: Vec<Gauge> = Phase::ALL.map(|phase| Gauge::Phase(phase.label())).into();
    kinds.push(Gauge::Step);
    kinds.push(Gauge::ReleaseInfo(release.clone()));
    kinds.extend(alarms.iter().cloned().map(Gauge::Alarm));
    for metric in drift {
        kinds.extend(WINDOWS.map(|(window, _)| Gauge::Drift(metric.clone(), window)));
        kinds.extend(WINDOWS.map(|(window, _)| Gauge::DriftSize(metric.clone(), window)));
    }
    if *names == [PEOPLE] {
        kinds.extend([Gauge::Degree, Gauge::Threshold, Gauge::Coverage, Gauge::Agreement]);
    }
    let [candidate, stable, metrics @ ..] = names.as_slice() else { return kinds };
    kinds.push(Gauge::Evidence(ALL_METRICS.into()));
    kinds.push(Gauge::Evidence(window::metric()));
    kinds.push(Gauge::EvidenceThreshold);
    kinds.push(Gauge::ObservedShare(candidate.clone()));
    kinds.push(Gauge::ObservedShare(stable.clone()));
    kinds.extend(metrics.iter().cloned().map(Gauge::Evidence));
    kinds
}

/// Their values, in the same order. Without those of the judge as long as it has had no request, unless they are shown.
fn values(record: &Record, judge_is_shown: bool) -> Vec<u64> {
    let (program, run) = (&record.program, &record.run);
    let mut values: Vec<u64> = Phase::ALL.map(|phase| u64::from(phase == run.phase)).into();
    values.push(u64::try_from(run.position).unwrap_or(0));
    values.push(1); // the release
    values.extend((0..program.alarms.len()).map(|at| u64::from(run.alarms.is_raised(at))));
    for at in 0..program.drift.as_ref().map_or(0, |rules| rules.metrics.len()) {
        let moved = run.drift.metrics().get(at).map_or([None; WINDOWS.len()], |metric| metric.windows_moved);
        // What is known is never 0.
        values
            .extend(moved.map(|moved| moved.map_or(0, |moved| in_thousandths(moved.movement.times).max(1))));
        values.extend(moved.map(|moved| moved.map_or(0, |moved| in_thousandths(moved.movement.size))));
    }
    if program.automation.is_some() {
        values.extend(run.ladder.figures(run.degree(program), run.threshold(program)));
    }
    let Some(rules) = program.rules() else { return values };
    let observed_share = run.judge.observed_share();
    if !judge_is_shown && observed_share.is_none() {
        return values;
    }
    let reading = run.judge.reading();
    let window = run.window().unwrap_or(0.0);
    values.push(thousandths(reading.all.max(window)));
    values.push(thousandths(window));
    values.push(thousandths(rules.threshold));
    // Before anything is observed in a step: what should be.
    let share = observed_share.or_else(|| run.candidate_share(program));
    let share = share.filter(|_| program.candidate.is_some()).map(|share| (share * 10_000.0).round());
    values.push(whole(share.unwrap_or(0.0)));
    values.push(whole(share.map_or(0.0, |share| 10_000.0 - share)));
    values.extend(reading.metrics.into_iter().map(thousandths));
    values
}

fn in_thousandths(number: f64) -> u64 {
    whole((number * 1_000.0).round())
}

/// Thousandths of the decimal logarithm.
fn thousandths(e_value: f64) -> u64 {
    in_thousandths(e_value.log10())
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates; what is below 0 is 0
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}
