//! Sentences for people who are woken at night.

use super::super::event::{Finding, Of, Percent, Unit};
use super::super::program::{Pause, Program, Step};
use crate::analysis::judge::{Judge, Seen};
use crate::analysis::latency;
use crate::analysis::rules::{Rules, Test};

fn candidate(program: &Program) -> &str {
    program.candidate.as_deref().unwrap_or("the candidate")
}

pub(super) fn begun(program: &Program, attempt: u32) -> String {
    let release = &program.release;
    match (&program.candidate, program.steps.len()) {
        (Some(candidate), steps @ 1..) => {
            format!("release {release}, attempt {attempt}: {candidate} begins, in {steps} steps")
        }
        (Some(candidate), 0) => {
            format!("release {release}, attempt {attempt}: {candidate} beside {}", program.stable)
        }
        (None, _) => format!("release {release}: all to {}", program.stable),
    }
}

pub(super) fn step(program: &Program, position: usize, weight: u16) -> String {
    let place = format!("step {} of {}", position.saturating_add(1), program.steps.len());
    let share = format!("{} at {}", candidate(program), Percent(weight));
    match program.steps.get(position) {
        Some(Step::Pause(Pause::Person)) => format!("{place}: {share}, until somebody promotes"),
        Some(Step::Pause(Pause::Until { duration, requests: 0 })) => {
            format!("{place}: {share} for {}", Seconds(*duration))
        }
        Some(Step::Pause(Pause::Until { duration, requests })) => {
            let unit = program.unit().label();
            format!("{place}: {share} for {} and {requests} of its {unit}", Seconds(*duration))
        }
        _ => format!("{place}: {share}"),
    }
}

pub(super) fn succeeded(program: &Program) -> String {
    format!("{} has all the traffic that was {}'s", candidate(program), program.stable)
}

pub(super) fn taken_back(program: &Program, what: &str) -> String {
    format!("{} is {what}, its traffic goes to {}", candidate(program), program.stable)
}

pub(super) fn split(program: &Program) -> String {
    format!(
        "{} does not get the share of requests that its weight says; something besides the weights decides who goes \
         where, and no step ends until that is gone",
        candidate(program)
    )
}

pub(super) fn overdue(program: &Program, position: usize, waited: u64, judge: &Judge) -> String {
    format!(
        "step {} of {} has not ended within {}: {} of {}'s {} were judged",
        position.saturating_add(1),
        program.steps.len(),
        Seconds(waited),
        judge.step_requests(),
        candidate(program),
        program.unit().label()
    )
}

/// What the judge goes by when it accuses. `tick`: the one under way.
pub(super) fn finding(judge: &Judge, rules: &Rules, tick: u64) -> Finding {
    let (metric, test, samples) = judge.strongest().unwrap_or_default();
    let rule = rules.metrics.get(metric);
    let name = rule.map(|rule| rule.name.as_str()).unwrap_or_default();
    let rule = match rule.and_then(|rule| rule.tests.get(test)) {
        Some(Test::Slower { quantile, .. }) => {
            let edges = judge.edges(metric, test, tick);
            let edge = edges.map_or(0.0, |edges| latency::milliseconds(edges.candidate));
            format!("{name}: slower than {edge:.0} ms, beyond stable's {quantile} quantile")
        }
        Some(Test::ErrorsBeyond { max }) => format!("{name}: more than {:.2} %", max * 100.0),
        _ => name.to_owned(),
    };
    let is_absolute = matches!(
        rules.metrics.get(metric).and_then(|rule| rule.tests.get(test)),
        Some(Test::ErrorsBeyond { .. })
    );
    Finding {
        rule,
        is_absolute,
        value: judge.reading().all.log10(),
        threshold: rules.threshold.log10(),
        samples,
        unit: if rules.by_user { Unit::Users } else { Unit::Requests },
    }
}

/// The sentence of a finding.
pub(super) fn accusation(program: &Program, finding: &Finding, weight: u16) -> String {
    let (name, stable) = (candidate(program), &program.stable);
    let seen = finding.samples;
    let mine = Of(seen.candidate_events, seen.candidate_requests, finding.unit);
    let what = if finding.is_absolute {
        format!("{name} has more than it may ({}): {mine}", finding.rule)
    } else {
        let theirs = Of(seen.stable_events, seen.stable_requests, finding.unit);
        format!("{name} is worse than {stable} ({}): {mine} against {theirs}", finding.rule)
    };
    format!(
        "at {} {what}; the odds that this is no chance are {}, {} is the limit",
        Percent(weight),
        Odds(finding.value),
        Odds(finding.threshold)
    )
}

/// The sentence of a circuit breaker.
pub(super) fn tripped(program: &Program, seen: &Seen, weight: u16) -> String {
    let (name, stable) = (candidate(program), &program.stable);
    let theirs = match seen.stable_requests {
        0 => format!("{stable} gets none"),
        requests => format!("{stable} is well: {}", Of(seen.stable_events, requests, Unit::Requests)),
    };
    format!(
        "at {} the circuit breaker has seen {} errors of {name} in a row on one worker, while {theirs}",
        Percent(weight),
        seen.candidate_events
    )
}

/// Odds to one, given as their decimal logarithm.
struct Odds(f64);

impl std::fmt::Display for Odds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 < 6.0 {
            write!(f, "{:.0} to 1", 10_f64.powf(self.0))
        } else {
            write!(f, "10^{:.0} to 1", self.0)
        }
    }
}

/// Milliseconds as people read them.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            ms if ms < 1_000 => write!(f, "{ms} ms"),
            ms if ms < 120_000 => write!(f, "{} s", ms / 1_000),
            ms if ms < 7_200_000 => write!(f, "{} min", ms / 60_000),
            ms => write!(f, "{} h", ms / 3_600_000),
        }
    }
}
