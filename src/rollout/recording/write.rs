//! Writes closed ticks.

use super::{Buckets, Events, FIRST_REQUESTS, InRun, Line, Version, weights};
use crate::analysis::rules::{Rules, limit_of};
use crate::analysis::test::Test;
use crate::analysis::tick::Tick;
use crate::analysis::totals::Totals;
use crate::analysis::users::Firsts;
use crate::model::{Arm, Shares, Side};
use crate::rollout::program::Program;
use crate::signal::catalog::{self, Among, LATENCY, SignalId};
use crate::signal::histogram::{self, Histogram};
use crate::signal::sums::Sums;
use crate::signal::tally::Tally;

/// A tick that the judge has just taken over.
pub struct Closed<'a> {
    /// The tick.
    pub tick: &'a Tick,
    /// What it shows of users, where they are judged.
    pub firsts: Option<&'a Firsts>,
    /// Where it stood.
    pub run: InRun,
    /// The shares under which its requests were drawn, stable's left out.
    pub weights: &'a Shares,
}

/// A tick as one line, without its end.
#[must_use]
pub fn write(closed: &Closed<'_>, program: &Program, rules: &Rules) -> String {
    let version = |side: Side| {
        let counts = &closed.tick.counts[side];
        let mut version = Version {
            requests: counts.requests,
            open: counts.open,
            unanswered: counts.unanswered,
            silent: counts.silent,
            left: counts.left,
            ..Version::default()
        };
        match closed.firsts {
            Some(firsts) => {
                let mut of_requests = version.clone();
                let tallies = counts.tallies.iter();
                tallies.for_each(|(signal, tally)| of_requests.write(rules, *signal, tally));
                version.of_requests = Some(Box::new(of_requests));
                version.write_users(firsts, rules, side);
            }
            None => counts.tallies.iter().for_each(|(signal, tally)| version.write(rules, *signal, tally)),
        }
        version
    };
    let mut line = Line {
        tick: closed.tick.number,
        run: Some(closed.run.clone()),
        weights: weights(closed.weights),
        ..Line::default()
    };
    line.versions.insert(program.stable.clone(), version(Side::Stable));
    let candidate = program.candidate.iter().map(|name| (name.clone(), version(Side::Candidate)));
    line.versions.extend(candidate);
    // A struct of plain values always serializes.
    serde_json::to_string(&line).unwrap_or_default()
}

impl Version {
    fn write(&mut self, rules: &Rules, signal: SignalId, tally: &Tally) {
        let Some(name) = rules.name_of(signal) else { return };
        match tally {
            Tally::Event(Arm { events, units }) if *units == self.requests && !is_of_pairs(signal) => {
                self.events.insert(name, Events::OfRequests(*events));
            }
            Tally::Event(arm) => self.write_arm(name, *arm),
            Tally::Duration(durations) if signal == LATENCY.id => self.latency_ms = Some(buckets(durations)),
            Tally::Duration(durations) => {
                self.durations_ms.insert(name, buckets(durations));
            }
            Tally::Mean(sums) => self.write_values(name, *sums),
        }
    }

    /// First events of users.
    fn write_users(&mut self, firsts: &Firsts, rules: &Rules, side: Side) {
        for test in rules.tests() {
            let Some(name) = rules.name_of(test.signal) else { continue };
            let first = firsts.of(test);
            if test.is_of_first_observations() {
                match first.observed {
                    Totals::Means(sums) => self.write_values(name, sums[side]),
                    Totals::Events(table) if test.is_of_pairs() => self.write_arm(name, table[side]),
                    Totals::Events(table) => self.write_arm(limit_of(&name), table[side]),
                }
                continue;
            }
            if test.is_bound() {
                continue; // by the first requests
            }
            let name = of_quantile(name, test);
            if first.spent[side] != first.events[side] {
                self.spent.insert(name.clone(), first.spent[side]);
            }
            self.events.insert(name, Events::OfRequests(first.events[side]));
        }
        self.write_arm(FIRST_REQUESTS.to_owned(), firsts.requests[side]);
        (self.newcomers, self.given_up) = (firsts.newcomers[side], firsts.given_up[side]);
    }

    fn write_arm(&mut self, name: String, Arm { events, units }: Arm) {
        self.events.insert(name, Events::OfUnits(events, units));
    }

    fn write_values(&mut self, name: String, sums: Sums) {
        self.values.insert(name, sums.as_recorded());
    }
}

/// The name of a test's first events of users.
pub(super) fn of_quantile(signal: String, test: &Test) -> String {
    match test.quantile() {
        Some(quantile) => format!("{signal}:{quantile}"),
        None => signal,
    }
}

/// Whether pairs of answers are counted, which have requests of their own.
fn is_of_pairs(signal: SignalId) -> bool {
    catalog::by_id(signal).is_some_and(|signal| signal.among == Among::Pairs)
}

fn buckets(durations: &Histogram) -> Buckets {
    let rounded = |edge: f64| (edge * 100.0).round() / 100.0;
    let edge = |bucket: usize| (bucket < histogram::EDGES).then(|| rounded(histogram::milliseconds(bucket)));
    durations.counted().map(|(bucket, count)| (edge(bucket), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pair;
    use crate::rollout::fixture::program;
    use crate::signal::tally::Counts;
    use serde_json::json;

    /// What users did for the first time is beside them.
    #[test]
    fn pairs_of_answers_are_read_again_as_alarms_see_them_where_users_are_judged() {
        for metric in ["error_rate", "mirror.disagreement"] {
            let program = program(&json!({
                "steps": [{"set_weight": 5}, {"pause": {}}], "session_affinity": {"header": "x-user"},
                "mirror": {"to": "green", "mode": "compare"},
                "analysis": {"metrics": [{"name": metric, "max": 0.5}]},
                "alarms": [{"name": "a", "signal": "mirror.disagreement", "max": 0.1}],
            }));
            let (rules, pairs) =
                (program.rules().unwrap(), catalog::named("mirror.disagreement").unwrap().id);
            let seen = Tally::Event(Arm { events: 30, units: 60 });
            let counts = Counts { tallies: vec![(pairs, seen.clone())], ..Counts::default() };
            let tick = Tick { number: 1, counts: Pair::new(counts, Counts::default()), ..Tick::default() };
            let (firsts, none) = (Firsts::default(), Shares::new());
            let closed = Closed { tick: &tick, firsts: Some(&firsts), run: InRun::default(), weights: &none };
            let line = super::super::read(&write(&closed, &program, rules)).unwrap();
            let (read, ..) = line.tick(&program, rules).unwrap();
            assert_eq!(read.counts.candidate.tally(pairs), Some(&seen), "{metric}");
        }
    }
}
