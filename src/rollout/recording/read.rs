//! Reads recorded ticks.

use super::write::of_quantile;
use super::{Events, FIRST_REQUESTS, InRun, Line, Version};
use crate::analysis::rules::{MetricRule, Rules, limit_of};
use crate::analysis::test::Test;
use crate::analysis::tick::Tick;
use crate::analysis::totals::Totals;
use crate::analysis::users::{First, Firsts};
use crate::model::{Arm, Pair, Share, Shares, Side, Unit};
use crate::rollout::program::Program;
use crate::signal::catalog::{self, Among, ERROR_RATE, Kind, LATENCY, Signal};
use crate::signal::histogram::{self, Histogram};
use crate::signal::sums::Sums;
use crate::signal::tally::{Counts, Tally};

/// How far an edge may be off, for the digits that a person leaves out.
const ROUNDED: f64 = 0.01;

/// Reads a line.
///
/// # Errors
/// It is none, in words and with the column.
pub fn read(line: &str) -> Result<Line, String> {
    serde_json::from_str(line).map_err(|error| {
        let message = error.to_string();
        // Its line is always the first: the caller knows its number in the file.
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        format!("{message} at column {}", error.column())
    })
}

impl Line {
    /// Whether something was observed in it. A tick in which another attempt or release began has nothing.
    #[must_use]
    pub fn has_observations(&self) -> bool {
        let is_empty =
            |of: &Version| of.events.is_empty() && of.durations_ms.is_empty() && of.values.is_empty();
        let is_void = self.run.as_ref().is_some_and(|run| run.void);
        !is_void || self.versions.values().any(|version| !is_empty(version))
    }

    /// Takes metrics out that the recording does not have: it may be older than their signals.
    pub fn keep_recorded(&self, rules: &mut Rules) {
        let has = |version: &Version, name: &str| {
            let Version { events, durations_ms, values, .. } = version;
            events.contains_key(name) || durations_ms.contains_key(name) || values.contains_key(name)
        };
        let is_event = |name: &str| self.versions.values().any(|version| has(version, name));
        let is_recorded = |metric: &MetricRule| {
            let is_request = |test: &Test| [ERROR_RATE.id, LATENCY.id].contains(&test.signal);
            metric.tests.iter().all(is_request) || is_event(metric.signal_name())
        };
        rules.metrics.retain(is_recorded);
    }

    /// The tick as the judge wants it, what it shows of users where they are judged, and the weights of the versions
    /// besides stable.
    ///
    /// # Errors
    /// It is not of this program, or contradicts itself; in words and with the field.
    pub fn tick(
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
        let InRun { void, sample, .. } = self.run.clone().unwrap_or_default();
        let share = share(&weights, candidate)?.filter(|_| !void);
        // What a filter has not written it has not observed: nothing follows from that.
        let is_live = self.run.is_some();
        let mut version = |name: &str| {
            let version = self.versions.remove(name).unwrap_or_default();
            let problem = |problem| format!("versions.{name}.{problem}");
            match rules.unit {
                Unit::Requests => {
                    version.counts(rules, is_live).map(|counts| (counts, None)).map_err(problem)
                }
                Unit::Users => {
                    version.users(rules, is_live).map(|(counts, of)| (counts, Some(of))).map_err(problem)
                }
            }
        };
        let (candidate, candidates_users) = version(candidate)?;
        let (stable, stables_users) = version(&program.stable)?;
        let firsts = candidates_users.zip(stables_users);
        let firsts = firsts
            .map(|(candidate, stable)| firsts_of(rules, &Pair::new(candidate, stable), sample.unwrap_or(1)));
        let counts = Pair::new(candidate, stable);
        let tick = Tick { number: self.tick, share, counts, void, ..Tick::default() };
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
    /// The same and those whose event did not count.
    spent: Vec<(Test, u64)>,
    /// By test: the first observation of each user.
    observed: Vec<(Test, Observations)>,
    first_requests: Arm,
    newcomers: u64,
    given_up: u64,
}

/// First observations of users.
#[derive(Clone, Copy)]
enum Observations {
    Events(Arm),
    Values(Sums),
}

fn firsts_of(rules: &Rules, users: &Pair<UsersOf>, scale: u64) -> Firsts {
    let of = |counts: &[(Test, u64)], test: &Test| {
        counts.iter().find(|(known, _)| known == test).map_or(0, |(_, count)| *count)
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
    let first = |test: &Test| First {
        events: users.as_ref().map(|users| of(&users.events, test)),
        spent: users.as_ref().map(|users| of(&users.spent, test)),
        observed: observed(test),
    };
    Firsts {
        events: rules.tests().map(|test| (*test, first(test))).collect(),
        newcomers: users.as_ref().map(|users| users.newcomers),
        requests: users.as_ref().map(|users| users.first_requests),
        given_up: users.as_ref().map(|users| users.given_up),
        scale,
    }
}

impl Version {
    /// The counts as they are recorded where users are judged.
    fn users(self, rules: &Rules, is_live: bool) -> Result<(Counts, UsersOf), String> {
        let mut users = UsersOf::default();
        let mut known = vec![FIRST_REQUESTS.to_owned()];
        let mut tallies = Vec::new();
        for test in rules.tests() {
            let Some(signal) = rules.name_of(test.signal) else { continue };
            let signal = signal.as_str();
            if test.is_of_pairs() {
                let pairs = self.pairs(signal)?;
                users.observed.push((*test, Observations::Events(pairs)));
                tallies.push((test.signal, Tally::Event(pairs)));
                continue;
            }
            if test.is_of_first_observations() {
                let observed = match test.is_bound() {
                    true => {
                        let name = limit_of(signal);
                        if self.requests > 0 && !is_live && !self.events.contains_key(&name) {
                            return Err(format!("events: {name} is judged but missing"));
                        }
                        let arm = self.users_of(&name)?;
                        known.push(name);
                        Observations::Events(arm)
                    }
                    false => Observations::Values(self.values_of(signal, !is_live)?.unwrap_or_default()),
                };
                users.observed.push((*test, observed));
                continue;
            }
            if test.is_bound() {
                continue; // by the first requests
            }
            let name = of_quantile(signal.to_owned(), test);
            match self.events.get(&name) {
                Some(Events::OfRequests(count) | Events::OfUnits(count, _)) => {
                    users.events.push((*test, *count));
                    let spent = self.spent.get(&name).copied().unwrap_or_default();
                    users.spent.push((*test, spent.max(*count)));
                }
                None if self.requests > 0 && !is_live => {
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
        (users.newcomers, users.given_up) = (self.newcomers, self.given_up);
        let of_requests = self.of_requests.map(|of_requests| of_requests.counts(rules, true)).transpose()?;
        let mut counts = of_requests.unwrap_or_default();
        counts.requests = self.requests;
        // An older recording has no other pairs.
        for (signal, tally) in tallies {
            if counts.tally(signal).is_none() {
                counts.tallies.push((signal, tally));
            }
        }
        Ok((counts, users))
    }

    /// The counts.
    fn counts(self, rules: &Rules, is_live: bool) -> Result<Counts, String> {
        let mut counts = Counts {
            requests: self.requests,
            open: self.open,
            unanswered: self.unanswered,
            silent: self.silent,
            left: self.left,
            ..Counts::default()
        };
        for signal in rules.signals() {
            let is_judged = !is_live && rules.tests().any(|test| test.signal == signal);
            let (Some(row), Some(name)) = (catalog::by_id(signal), rules.name_of(signal)) else { continue };
            let name = name.as_str();
            // What is not there was not observed, and a judged metric must be there.
            if !is_judged && !self.has(row, name) {
                continue;
            }
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

    /// Whether a signal is recorded.
    fn has(&self, signal: &Signal, name: &str) -> bool {
        match signal.kind {
            Kind::Event => self.events.contains_key(name),
            Kind::Duration if signal.id == LATENCY.id => self.latency_ms.is_some(),
            Kind::Duration => self.durations_ms.contains_key(name),
            Kind::Mean(_) => self.values.contains_key(name),
        }
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
