//! Recorded ticks: one JSON object a line, what each version did with the requests that arrived in one tick.

use std::collections::BTreeMap;

use changeover::analysis::kernel::Arm;
use changeover::analysis::latency;
use changeover::analysis::rules::{Rules, Test};
use changeover::analysis::tick::{Counts, Tick};
use changeover::analysis::users::{First, Firsts, Pair};
use changeover::config::release::{ERROR_RATE, LATENCY};
use changeover::config::units::Share;
use changeover::rollout::program::{Program, Weights};
use serde::Deserialize;

/// How far an edge may be off, for the digits that a person leaves out.
const ROUNDED: f64 = 0.01;
/// Users who came for the first time in the step, and whether their first request failed.
const FIRST_REQUESTS: &str = "first_requests";

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
        let candidate = counts(candidate)?;
        let stable = counts(&program.stable)?;
        let tick = Tick {
            number: self.tick,
            share,
            error_units: Some((candidate.units, stable.units)),
            firsts: rules.by_user.then(|| firsts(rules, &candidate, &stable)),
            candidate: candidate.counts,
            stable: stable.counts,
            ..Tick::default()
        };
        Ok((tick, weights))
    }
}

/// The candidate's part of its own and stable's weights; `None` when it has none. Where it has all of them nothing
/// is compared, but `max` is judged.
fn share(weights: &Weights, candidate: &str) -> Result<Option<f64>, String> {
    let others: u32 = weights.values().map(|share| u32::from(*share)).sum();
    let stable = u32::from(Share::ALL).checked_sub(others).ok_or("weights: together over 100")?;
    let candidate = u32::from(weights.get(candidate).copied().unwrap_or_default());
    let both = candidate.saturating_add(stable);
    Ok((candidate > 0).then(|| f64::from(candidate) / f64::from(both)))
}

/// What a version did.
struct Counted {
    counts: Counts,
    /// What errors are counted among.
    units: u64,
    /// With session affinity, by test: users with its event, each for the first time.
    events: Vec<(Test, u64)>,
    /// With session affinity: first requests of users.
    first_requests: Arm,
}

/// What a tick tells of users.
fn firsts(rules: &Rules, candidate: &Counted, stable: &Counted) -> Firsts {
    let tests = rules.metrics.iter().flat_map(|metric| &metric.tests);
    let of = |counted: &Counted, test: &Test| {
        counted.events.iter().find(|(known, _)| known == test).map_or(0, |(_, events)| *events)
    };
    let first = |test| {
        let events = Pair { candidate: of(candidate, test), stable: of(stable, test) };
        First { events, spent: events }
    };
    Firsts {
        events: tests.map(|test| (*test, first(test))).collect(),
        newcomers: Pair::default(),
        candidate: candidate.first_requests,
        stable: stable.first_requests,
        scale: 1,
    }
}

impl Version {
    /// The counts as they are recorded where users are judged: each event of each user once.
    fn users(self, rules: &Rules) -> Result<Counted, String> {
        let mut events = Vec::new();
        let mut known = vec![FIRST_REQUESTS.to_owned()];
        for test in rules.metrics.iter().flat_map(|metric| &metric.tests) {
            let name = match test {
                Test::Errors { .. } => ERROR_RATE.to_owned(),
                Test::Slower { quantile, .. } => format!("{LATENCY}:{quantile}"),
                Test::ErrorsBeyond { .. } => continue,
            };
            match self.events.get(&name) {
                Some(Events::OfRequests(count) | Events::OfUnits(count, _)) => events.push((*test, *count)),
                None if self.requests > 0 => {
                    return Err(format!("events: {name} is missing, which is judged"));
                }
                None => {}
            }
            known.push(name);
        }
        let foreign = self.events.keys().find(|name| !known.contains(name) && is_latency(name));
        if let Some(foreign) = foreign {
            return Err(format!("events.{foreign}: no such quantile is judged"));
        }
        let first_requests = match self.events.get(FIRST_REQUESTS) {
            Some(Events::OfUnits(events, requests)) if events <= requests => {
                Arm { events: *events, requests: *requests }
            }
            Some(_) => return Err(format!("events.{FIRST_REQUESTS}: expected [failed, users]")),
            None => Arm::default(),
        };
        let counts = Counts { requests: self.requests, ..Counts::default() };
        Ok(Counted { counts, units: self.requests, events, first_requests })
    }

    /// The counts.
    fn counts(self, rules: &Rules) -> Result<Counted, String> {
        if rules.by_user {
            return self.users(rules);
        }
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
        Ok(Counted { counts, units, events: Vec::new(), first_requests: Arm::default() })
    }
}

fn is_latency(name: &str) -> bool {
    name.strip_prefix(LATENCY).is_some_and(|rest| rest.starts_with(':'))
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
