//! Recorded ticks: one JSON object a line, what each version did with the requests that arrived in one tick.

use std::collections::BTreeMap;

use changeover::analysis::latency;
use changeover::analysis::rules::{Rules, Test};
use changeover::analysis::tick::{Counts, Tick};
use changeover::config::release::ERROR_RATE;
use changeover::config::units::Share;
use changeover::rollout::program::{Program, Weights};
use serde::Deserialize;

/// How far an edge may be off, for the digits that a person leaves out.
const ROUNDED: f64 = 0.01;

/// A closed tick as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    tick: u64,
    /// In percent; stable has what the others leave.
    weights: BTreeMap<String, Share>,
    versions: BTreeMap<String, Version>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    requests: u64,
    #[serde(default)]
    events: BTreeMap<String, Events>,
    /// Buckets by their upper edges in milliseconds, and how many answers took so long.
    latency_ms: Option<Vec<(Option<f64>, u64)>>,
}

/// How often something happened: among the version's requests, or among so many units.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a count, or [events, units]")]
enum Events {
    OfRequests(u64),
    OfUnits(u64, u64),
}

/// Reads a line.
pub(super) fn read(line: &str) -> Result<Line, String> {
    serde_json::from_str(line).map_err(|error| {
        let message = error.to_string();
        // Its line is always the first: which one of the file it is, only the caller knows.
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        format!("{message} at column {}", error.column())
    })
}

impl Line {
    /// The tick as the judge wants it, and the weights of the versions besides stable.
    pub(super) fn tick(mut self, program: &Program, rules: &Rules) -> Result<(Tick, Weights), String> {
        let weights = self.weights.keys().map(|name| ("weights", name));
        for (field, name) in weights.chain(self.versions.keys().map(|name| ("versions", name))) {
            if !program.versions.contains(name) {
                let known = program.versions.join(", ");
                return Err(format!("{field}.{name}: no version; known here: {known}"));
            }
        }
        let others = self.weights.iter().filter(|(name, _)| **name != program.stable);
        let weights: Weights = others.map(|(name, share)| (name.clone(), share.basis_points())).collect();
        let candidate = program.candidate.as_deref().unwrap_or_default();
        let share = share(&weights, candidate)?;
        let mut counts = |name: &str| {
            let version = self.versions.remove(name).unwrap_or_default();
            version.counts(rules).map_err(|problem| format!("versions.{name}.{problem}"))
        };
        let (candidate, candidate_units) = counts(candidate)?;
        let (stable, stable_units) = counts(&program.stable)?;
        let error_units = Some((candidate_units, stable_units));
        Ok((Tick { number: self.tick, share, candidate, stable, error_units, ..Tick::default() }, weights))
    }
}

/// The candidate's part of its own and stable's weights; `None` when one of the two has none.
fn share(weights: &Weights, candidate: &str) -> Result<Option<f64>, String> {
    let others: u32 = weights.values().map(|share| u32::from(*share)).sum();
    let stable = u32::from(Share::ALL).checked_sub(others).ok_or("weights: together over 100")?;
    let candidate = u32::from(weights.get(candidate).copied().unwrap_or_default());
    let both = candidate.saturating_add(stable);
    Ok((candidate > 0 && stable > 0).then(|| f64::from(candidate) / f64::from(both)))
}

impl Version {
    /// The counts, and what errors are counted among.
    fn counts(self, rules: &Rules) -> Result<(Counts, u64), String> {
        let (errors, units) = match self.events.get(ERROR_RATE) {
            Some(Events::OfRequests(events)) => (*events, self.requests),
            Some(Events::OfUnits(events, units)) => (*events, *units),
            // A misspelt name would otherwise look like a version that never fails.
            None if self.requests > 0 && judges(rules, |test| !matches!(test, Test::Slower { .. })) => {
                return Err(format!("events: {ERROR_RATE} is missing, which is judged"));
            }
            None => (0, self.requests),
        };
        if errors > units {
            return Err(format!("events.{ERROR_RATE}: {errors} is over the {units} it is counted among"));
        }
        let mut counts = Counts { requests: self.requests, errors, ..Counts::default() };
        match self.latency_ms {
            Some(buckets) => {
                for (index, (edge, answers)) in buckets.into_iter().enumerate() {
                    let bucket = bucket(edge).map_err(|problem| format!("latency_ms[{index}]: {problem}"))?;
                    counts.durations.add(bucket, answers);
                }
            }
            None if self.requests > 0 && judges(rules, |test| matches!(test, Test::Slower { .. })) => {
                return Err("latency_ms is missing, which is judged".into());
            }
            None => {}
        }
        let answers = counts.durations.total();
        if answers > self.requests {
            return Err(format!("latency_ms: {answers} answers are over the {} requests", self.requests));
        }
        Ok((counts, units))
    }
}

fn judges(rules: &Rules, which: impl Fn(&Test) -> bool) -> bool {
    rules.metrics.iter().flat_map(|metric| &metric.tests).any(which)
}

/// The bucket that ends with an edge; without one, the last.
fn bucket(edge: Option<f64>) -> Result<usize, String> {
    let Some(edge) = edge else { return Ok(latency::EDGES) };
    let distance = |bucket: &usize| (latency::milliseconds(*bucket) / edge).ln().abs();
    let nearest = (0..latency::EDGES).min_by(|one, other| distance(one).total_cmp(&distance(other)));
    match nearest {
        Some(bucket) if distance(&bucket) <= ROUNDED => Ok(bucket),
        nearest => {
            let nearest = latency::milliseconds(nearest.unwrap_or_default());
            Err(format!("{edge} is no bucket's edge; the nearest is {}", (nearest * 100.0).round() / 100.0))
        }
    }
}
