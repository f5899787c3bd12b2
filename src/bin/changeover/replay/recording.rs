//! Recorded ticks: one JSON object a line, what each version did with the requests that arrived in one tick.

use std::collections::BTreeMap;

use changeover::analysis::rules::{MetricRule, Rules};
use changeover::analysis::test::{Measure, Test};
use changeover::analysis::tick::Tick;
use changeover::analysis::totals::Totals;
use changeover::analysis::users::{First, Firsts};
use changeover::config::units::Percent;
use changeover::model::{Arm, Pair, Share, Shares, Side, Unit};
use changeover::rollout::program::Program;
use changeover::signal::catalog::{self, Among, ERROR_RATE, Kind, LATENCY, Signal, SignalId};
use changeover::signal::histogram::{self, Histogram};
use changeover::signal::sums::Sums;
use changeover::signal::tally::{Counts, Tally};
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
    weights: BTreeMap<String, Percent>,
    versions: BTreeMap<String, Version>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    requests: u64,
    #[serde(default)]
    events: BTreeMap<String, Events>,
    /// Buckets by their upper edges in milliseconds, and how many answers took so long.
    latency_ms: Option<Buckets>,
    /// The same of other durations, by metric.
    #[serde(default)]
    durations_ms: BTreeMap<String, Buckets>,
    /// Of means: how many values, their sum in 65,536ths, and the sum of their squares in 65,536ths of 65,536ths.
    #[serde(default)]
    values: BTreeMap<String, (u64, u64, u64)>,
}

type Buckets = Vec<(Option<f64>, u64)>;

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
        // Its line is always the first: the caller knows its number in the file.
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        format!("{message} at column {}", error.column())
    })
}

impl Line {
    /// Takes metrics out that the recording does not have: it may be older than their signals.
    pub(super) fn keep_recorded(&self, rules: &mut Rules) {
        let has = |version: &Version, name: &str| {
            let Version { events, durations_ms, values, .. } = version;
            events.contains_key(name) || durations_ms.contains_key(name) || values.contains_key(name)
        };
        let is_event = |name: &str| self.versions.values().any(|version| has(version, name));
        let is_recorded = |metric: &MetricRule| {
            let is_request = |test: &Test| [ERROR_RATE.id, LATENCY.id].contains(&test.signal);
            metric.tests.iter().all(is_request) || is_event(signal_name(metric))
        };
        rules.metrics.retain(is_recorded);
    }

    /// The tick as the judge wants it, what it shows of users where they are judged, and the weights of the versions
    /// besides stable.
    pub(super) fn tick(
        mut self,
        program: &Program,
        rules: &Rules,
    ) -> Result<(Tick, Option<Firsts>, Shares), String> {
        let weights = self.weights.keys().map(|name| ("weights", name));
        for (field, name) in weights.chain(self.versions.keys().map(|name| ("versions", name))) {
            if !program.versions.contains(name) {
                let known = program.versions.join(", ");
                return Err(format!("{field}.{name}: unknown version; known here: {known}"));
            }
        }
        let others = self.weights.iter().filter(|(name, _)| **name != program.stable);
        let weights: Shares = others.map(|(name, percent)| (name.clone(), percent.0)).collect();
        let candidate = program.candidate.as_deref().unwrap_or_default();
        let share = share(&weights, candidate)?;
        let mut version = |name: &str| {
            let version = self.versions.remove(name).unwrap_or_default();
            let problem = |problem| format!("versions.{name}.{problem}");
            match rules.unit {
                Unit::Requests => version.counts(rules).map(|counts| (counts, None)).map_err(problem),
                Unit::Users => version.users(rules).map(|(counts, of)| (counts, Some(of))).map_err(problem),
            }
        };
        let (candidate, candidates_users) = version(candidate)?;
        let (stable, stables_users) = version(&program.stable)?;
        let firsts = candidates_users.zip(stables_users);
        let firsts = firsts.map(|(candidate, stable)| firsts_of(rules, &Pair::new(candidate, stable)));
        let tick = Tick { number: self.tick, share, counts: Pair::new(candidate, stable), ..Tick::default() };
        Ok((tick, firsts, weights))
    }
}

/// The candidate's part of its own and stable's weights; `None` when it has none. Where it has all of them nothing
/// is compared, but `max` is judged.
fn share(weights: &Shares, candidate: &str) -> Result<Option<f64>, String> {
    let hundredths = |share: Share| u32::from(share.basis_points());
    let others: u32 = weights.values().copied().map(hundredths).sum();
    let stable = hundredths(Share::ALL).checked_sub(others).ok_or("weights: the sum is over 100")?;
    let candidate = hundredths(weights.get(candidate).copied().unwrap_or_default());
    let both = candidate.saturating_add(stable);
    Ok((candidate > 0).then(|| f64::from(candidate) / f64::from(both)))
}

/// What a version's users did, each event of each user once.
#[derive(Default)]
struct UsersOf {
    /// By test: users with its event, each for the first time.
    events: Vec<(Test, u64)>,
    /// By test: the first observation of each user.
    observed: Vec<(Test, Observations)>,
    first_requests: Arm,
}

/// First observations of users.
#[derive(Clone, Copy)]
enum Observations {
    Events(Arm),
    Values(Sums),
}

fn firsts_of(rules: &Rules, users: &Pair<UsersOf>) -> Firsts {
    let of = |side: Side, test: &Test| {
        users[side].events.iter().find(|(known, _)| known == test).map_or(0, |(_, events)| *events)
    };
    let observations = |side: Side, test: &Test| {
        users[side].observed.iter().find(|(known, _)| known == test).map(|(_, observed)| *observed)
    };
    let observed = |test: &Test| match (observations(Side::Candidate, test), observations(Side::Stable, test))
    {
        (Some(Observations::Values(candidate)), Some(Observations::Values(stable))) => {
            Totals::Means(Pair::new(candidate, stable))
        }
        (Some(Observations::Events(candidate)), Some(Observations::Events(stable))) => {
            Totals::Events(Pair::new(candidate, stable))
        }
        _ => Totals::default(),
    };
    let first = |test: &Test| {
        let events = Pair::new(of(Side::Candidate, test), of(Side::Stable, test));
        First { events, spent: events, observed: observed(test) }
    };
    Firsts {
        events: rules.tests().map(|test| (*test, first(test))).collect(),
        newcomers: Pair::default(),
        requests: users.as_ref().map(|users| users.first_requests),
        given_up: Pair::default(),
        scale: 1,
    }
}

impl Version {
    /// The counts as they are recorded where users are judged.
    fn users(self, rules: &Rules) -> Result<(Counts, UsersOf), String> {
        let mut users = UsersOf::default();
        let mut known = vec![FIRST_REQUESTS.to_owned()];
        let mut tallies = Vec::new();
        for test in rules.tests() {
            let Some(signal) = name_of(rules, test.signal) else { continue };
            if test.is_of_pairs() {
                let pairs = self.pairs(signal)?;
                users.observed.push((*test, Observations::Events(pairs)));
                tallies.push((test.signal, Tally::Event(pairs)));
                continue;
            }
            if test.is_of_first_observations() {
                let observed = match test.is_bound() {
                    true => {
                        let name = format!("{signal}.max");
                        if self.requests > 0 && !self.events.contains_key(&name) {
                            return Err(format!("events: {name} is judged but missing"));
                        }
                        let arm = self.users_of(&name)?;
                        known.push(name);
                        Observations::Events(arm)
                    }
                    false => Observations::Values(self.values_of(signal, true)?.unwrap_or_default()),
                };
                users.observed.push((*test, observed));
                continue;
            }
            if test.is_bound() {
                continue; // by the first requests
            }
            let name = match test.measure {
                Measure::Quantile(quantile) => format!("{signal}:{quantile}"),
                Measure::Rate | Measure::Mean { .. } => signal.to_owned(),
            };
            match self.events.get(&name) {
                Some(Events::OfRequests(count) | Events::OfUnits(count, _)) => {
                    users.events.push((*test, *count));
                }
                None if self.requests > 0 => {
                    return Err(format!("events: {name} is judged but missing"));
                }
                None => {}
            }
            known.push(name);
        }
        let foreign = self.events.keys().find(|name| !known.contains(name) && is_quantile(name));
        if let Some(foreign) = foreign {
            return Err(format!("events.{foreign}: this quantile is not judged"));
        }
        users.first_requests = self.users_of(FIRST_REQUESTS)?;
        Ok((Counts { requests: self.requests, tallies, ..Counts::default() }, users))
    }

    /// The counts.
    fn counts(self, rules: &Rules) -> Result<Counts, String> {
        let mut counts = Counts { requests: self.requests, ..Counts::default() };
        for signal in rules.signals() {
            let is_judged = rules.tests().any(|test| test.signal == signal);
            let (Some(row), Some(name)) = (catalog::by_id(signal), name_of(rules, signal)) else { continue };
            let tally = match row.kind {
                Kind::Event if row.among == Among::Pairs => Some(Tally::Event(self.pairs(name)?)),
                Kind::Event => self.events_of(name, is_judged)?.map(Tally::Event),
                Kind::Duration => self.durations_of(row, is_judged)?.map(|of| Tally::Duration(of.into())),
                Kind::Mean(_) => self.values_of(name, is_judged)?.map(Tally::Mean),
            };
            counts.tallies.extend(tally.map(|tally| (signal, tally)));
        }
        Ok(counts)
    }

    /// Users, and those of them who had an event; none where it is not recorded.
    fn users_of(&self, name: &str) -> Result<Arm, String> {
        self.among(name, "[events, users]")
    }

    /// Pairs of answers that differ, and all that were compared: of the shadow alone, which may have no requests.
    fn pairs(&self, name: &str) -> Result<Arm, String> {
        self.among(name, "[different, compared]")
    }

    fn among(&self, name: &str, expected: &str) -> Result<Arm, String> {
        match self.events.get(name) {
            None => Ok(Arm::default()),
            Some(Events::OfUnits(events, units)) if events <= units => {
                Ok(Arm { events: *events, units: *units })
            }
            Some(_) => Err(format!("events.{name}: expected {expected}")),
        }
    }

    fn events_of(&self, name: &str, is_judged: bool) -> Result<Option<Arm>, String> {
        let arm = match self.events.get(name) {
            Some(Events::OfRequests(events)) => Arm { events: *events, units: self.requests },
            Some(Events::OfUnits(events, units)) => Arm { events: *events, units: *units },
            // A misspelt name would otherwise look like a version that never has the event.
            None if self.requests > 0 && is_judged => {
                return Err(format!("events: {name} is judged but missing"));
            }
            None => Arm { events: 0, units: self.requests },
        };
        if arm.events > arm.units {
            return Err(format!(
                "events.{name}: {} is over the {} it is counted among",
                arm.events, arm.units
            ));
        }
        Ok(Some(arm))
    }

    fn values_of(&self, name: &str, is_judged: bool) -> Result<Option<Sums>, String> {
        match self.values.get(name) {
            Some((count, sum, squares)) => {
                Sums::recorded(*count, *sum, *squares).map(Some).ok_or_else(|| {
                    format!("values.{name}: no values from 0 to 1 have this sum and sum of squares")
                })
            }
            None if self.requests > 0 && is_judged => Err(format!("values: {name} is judged but missing")),
            None => Ok(Some(Sums::default())),
        }
    }

    fn durations_of(&self, signal: &Signal, is_judged: bool) -> Result<Option<Histogram>, String> {
        let (field, buckets) = match signal.id == LATENCY.id {
            true => ("latency_ms".to_owned(), self.latency_ms.as_ref()),
            false => (format!("durations_ms.{}", signal.name), self.durations_ms.get(signal.name)),
        };
        let Some(buckets) = buckets else {
            let is_missing = self.requests > 0 && is_judged;
            return if is_missing {
                Err(format!("{field} is judged but missing"))
            } else {
                Ok(Some(Histogram::default()))
            };
        };
        let mut durations = Histogram::default();
        for (index, (edge, answers)) in buckets.iter().enumerate() {
            let bucket = bucket(*edge).map_err(|problem| format!("{field}[{index}]: {problem}"))?;
            durations.add(bucket, *answers);
        }
        let answers = durations.total();
        if answers > self.requests {
            return Err(format!("{field}: {answers} answers are over the {} requests", self.requests));
        }
        Ok(Some(durations))
    }
}

/// The name of a metric's signal: the metric's own, or in front of its `.max`.
fn signal_name(metric: &MetricRule) -> &str {
    metric.name.strip_suffix(".max").unwrap_or(&metric.name)
}

/// A signal's name, with its parameter.
fn name_of(rules: &Rules, signal: SignalId) -> Option<&str> {
    let is_of = |metric: &&MetricRule| metric.tests.iter().any(|test| test.signal == signal);
    let judged = rules.metrics.iter().find(is_of).map(signal_name);
    judged.or_else(|| Some(catalog::by_id(signal)?.name))
}

/// Whether events of a quantile are meant, such as `latency:0.9`.
fn is_quantile(name: &str) -> bool {
    let named = name.rsplit_once(':').and_then(|(signal, _)| catalog::named(signal));
    named.is_some_and(|named| named.signal.kind == Kind::Duration)
}

/// The bucket that ends with an edge; without one, the last.
fn bucket(edge: Option<f64>) -> Result<usize, String> {
    let Some(edge) = edge else { return Ok(histogram::EDGES) };
    let distance = |bucket: &usize| (histogram::milliseconds(*bucket) / edge).ln().abs();
    let nearest = (0..histogram::EDGES).min_by(|one, other| distance(one).total_cmp(&distance(other)));
    match nearest {
        Some(bucket) if distance(&bucket) <= ROUNDED => Ok(bucket),
        nearest => {
            let nearest = histogram::milliseconds(nearest.unwrap_or_default());
            Err(format!("{edge} is not a bucket edge; the nearest is {}", (nearest * 100.0).round() / 100.0))
        }
    }
}
