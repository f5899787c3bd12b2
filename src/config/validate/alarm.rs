//! What alarms must obey beyond their types.

use super::MOST_RULES;
use super::mirror::compares_candidate;
use super::words::{at_most, exactly_one, name, unique_name, within};
use crate::config::alarm::{Alarm, Of, To, bounds};
use crate::config::report::{Path, Problems, Shown};
use crate::config::schema::{Rollout, known};
use crate::config::units::Duration;
use crate::signal::catalog::{self, Among, Kind};

/// Milliseconds of a window.
const WINDOWS: std::ops::RangeInclusive<u64> = 30_000..=3_600_000;
/// Milliseconds of a slow window.
const LONGEST: u64 = 86_400_000;
/// Observations that an alarm may wait for.
const SAMPLES: std::ops::RangeInclusive<u64> = 10..=100_000_000;

/// Checks a rollout's alarms.
pub(super) fn alarms(rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    if rollout.alarms.is_empty() {
        return;
    }
    if rollout.analysis.is_none() {
        problems
            .add(path, "nothing is counted for alarms without `analysis`; expected `analysis` beside them");
    }
    at_most(rollout.alarms.len(), path, problems);
    for (index, alarm) in rollout.alarms.iter().enumerate().take(MOST_RULES) {
        let earlier = rollout.alarms.get(..index).unwrap_or_default();
        let path = path.index(index);
        let first = earlier.iter().position(|other| other.name == alarm.name);
        unique_name(&alarm.name, first, "alarms", &path, problems);
        validate(alarm, rollout, &path, problems);
    }
}

fn validate(alarm: &Alarm, rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    name(&alarm.name, &path.field("name"), problems);
    let signal = path.field("signal");
    let Some(named) = catalog::named(&alarm.signal) else {
        let names = catalog::names();
        let names = known(names.iter().map(String::as_str));
        let found = Shown(&alarm.signal);
        return problems.add(&signal, format_args!("unknown signal {found}; known here: {names}"));
    };
    if named.signal.among.reads_bodies() {
        super::payload::can_observe(&named, rollout.payload.as_ref(), &signal, problems);
    }
    if named.signal.among == Among::Events {
        let message = "feedback counts only users who act, so it has no rate; expected it in `analysis`";
        return problems.add(&signal, message);
    }
    if named.signal.among == Among::Pairs {
        if let Err(message) = compares_candidate(rollout) {
            problems.add(&signal, message);
        } else if alarm.of != Of::Candidate {
            problems.add(&path.field("of"), "pairs of answers are the candidate's; expected candidate");
        }
    }
    exactly_one(
        Alarm::ONE_OF,
        [alarm.max.is_some(), alarm.min.is_some(), alarm.relative.is_some()]
            .iter()
            .filter(|given| **given)
            .count()
            == 1,
        path,
        problems,
    );
    for (field, bound) in [("max", alarm.max), ("min", alarm.min)] {
        let Some(bound) = bound else { continue };
        let (least, most) = bounds(named.signal.kind);
        within(bound, least, most, &path.field(field), problems);
    }
    if let Some(quantile) = alarm.quantile {
        let path = path.field("quantile");
        if named.signal.kind == Kind::Duration {
            within(quantile, 0.01, 0.999, &path, problems);
        } else {
            problems.add(&path, format_args!("of durations; {} is none", alarm.signal));
        }
    }
    windows(alarm, path, problems);
    relative(alarm, named.signal.among, path, problems);
    if !SAMPLES.contains(&alarm.min_samples.get()) {
        problems.add(&path.field("min_samples"), "expected 10 to 100000000");
    }
}

fn windows(alarm: &Alarm, path: &Path<'_>, problems: &mut Problems) {
    let window = alarm.window;
    let is_whole = |window: Duration| window.as_millis().is_multiple_of(1_000);
    if !WINDOWS.contains(&window.as_millis()) || !is_whole(window) {
        problems.add(&path.field("window"), format_args!("{window} is not whole seconds from 30s to 1h"));
    }
    let Some(slow) = alarm.slow_window else { return };
    let path = path.field("slow_window");
    if slow.as_millis() > LONGEST || !is_whole(slow) {
        problems.add(&path, format_args!("{slow} is not whole seconds up to 24h"));
    } else if slow.as_millis() < window.as_millis().saturating_mul(3) {
        problems.add(&path, format_args!("{slow} is too short; expected at least three times `window`"));
    }
}

fn relative(alarm: &Alarm, among: Among, path: &Path<'_>, problems: &mut Problems) {
    let Some(relative) = alarm.relative else { return };
    let path_of_slow = path.field("slow_window");
    let path_of = path.field("of");
    let path = path.field("relative");
    let times = relative.times;
    if !(0.01..=0.95).contains(&times) && !(1.05..=100.0).contains(&times) {
        problems.add(&path.field("times"), format_args!("{times} is neither 1.05 to 100 nor 0.01 to 0.95"));
    }
    match relative.to {
        To::Stable if alarm.of != Of::Candidate => {
            problems.add(
                &path_of,
                "only the candidate is compared with stable; expected candidate, or `to: past`",
            );
        }
        To::Stable if among == Among::Pairs => {
            problems.add(&path.field("to"), "stable has no pairs of answers of its own; expected past");
        }
        To::Past if alarm.slow_window.is_none() => {
            problems.add(&path_of_slow, "missing; expected how long the past is");
        }
        To::Stable | To::Past => {}
    }
}
