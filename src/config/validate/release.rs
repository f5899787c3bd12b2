//! What a release and its analysis must obey beyond their types.

use super::SHORTEST;
use super::metric::metric;
use super::steps::{can_end, ready, steps};
use super::words::{at_most, unique_name, within};
use crate::config::release::{Analysis, ErrorWhen, PromoteWhen};
use crate::config::report::{Path, Problems, Shown};
use crate::config::schema::{BlueGreen, Rollout};
use crate::config::units::Duration;
use crate::model::Share;
use crate::signal::catalog::{self, Role};

/// Milliseconds that a deadline may have.
const DEADLINES: std::ops::RangeInclusive<u64> = 100..=3_600_000;
/// Milliseconds for which what goes on with a version that was taken back may.
const LONGEST_DRAIN: u64 = 86_400_000;
/// What is wrong with what only a judge can do, without one.
const NOT_JUDGED: &str = "nothing is judged without `analysis`; expected `analysis` beside it";
/// Errors in a row that trip a circuit breaker: a single one says nothing.
const CONSECUTIVE_ERRORS: std::ops::RangeInclusive<u64> = 2..=10_000;

/// Checks a rollout's steps, analysis and what both need.
pub(super) fn release(rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    let needs = [
        ("steps", rollout.steps.is_some()),
        ("blue_green", rollout.blue_green.is_some()),
        ("analysis", rollout.analysis.is_some()),
    ];
    if let (Some((what, _)), None) = (needs.into_iter().find(|(_, given)| *given), &rollout.release) {
        problems.add(&path.field("release"), format_args!("missing; {what} needs the release's name"));
    }
    if let Some(list) = &rollout.steps {
        steps(rollout, list, &path.field("steps"), problems);
    }
    if let Some(sides) = &rollout.blue_green {
        blue_green(rollout, sides, &path.field("blue_green"), problems);
    }
    if rollout.auto_rollback_window.is_some() && rollout.steps.is_none() {
        problems.add(
            &path.field("auto_rollback_window"),
            "without `steps` there is no last step to watch after; expected it beside `steps`, or in `blue_green`",
        );
    }
    window(rollout, rollout.auto_rollback_window, path, problems);
    if rollout.drain.is_some_and(|drain| drain.as_millis() > LONGEST_DRAIN) {
        problems.add(&path.field("drain"), "expected at most 24h; 0s for never");
    }
    if let Some(rules) = &rollout.analysis {
        let path = path.field("analysis");
        analysis(rules, rollout, &path, problems);
    }
}

/// A candidate that is watched is judged, and for some time.
fn window(rollout: &Rollout, window: Option<Duration>, path: &Path<'_>, problems: &mut Problems) {
    let path = path.field("auto_rollback_window");
    if window.is_some() && rollout.analysis.is_none() {
        problems.add(&path, NOT_JUDGED);
    }
    if window.is_some_and(|window| window.as_millis() < SHORTEST) {
        problems.add(&path, "expected at least 1s");
    }
}

fn blue_green(rollout: &Rollout, sides: &BlueGreen, path: &Path<'_>, problems: &mut Problems) {
    if sides.bake.is_some() && rollout.analysis.is_none() {
        problems.add(&path.field("bake"), NOT_JUDGED);
    }
    window(rollout, sides.auto_rollback_window, path, problems);
    if let Some(when) = &sides.ready {
        ready(when, &path.field("ready"), problems);
    }
    let too_short = |duration: Duration| duration.as_millis() < SHORTEST;
    let Some(bake) = &sides.bake else { return };
    let path = path.field("bake");
    match bake.weight.map(|weight| weight.0) {
        None => problems.add(&path.field("weight"), "missing; expected a share in percent"),
        Some(weight) if weight > Share::NONE && weight < Share::ALL => {}
        Some(_) => problems.add(&path.field("weight"), "expected a share over 0 and under 100"),
    }
    match bake.duration {
        None => problems.add(&path.field("duration"), "missing; expected a duration, such as 5m"),
        Some(duration) if too_short(duration) => {
            problems.add(&path.field("duration"), "expected at least 1s");
        }
        Some(duration) => can_end(rollout, duration, &path, problems),
    }
}

/// Requests that are not judged at most.
const MOST_WARM_UP_REQUESTS: u64 = 1_000_000;
/// Milliseconds that are not judged at most.
const MOST_WARM_UP: u64 = 3_600_000;

fn analysis(analysis: &Analysis, rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    within(analysis.false_alarm, 1e-9, 0.5, &path.field("false_alarm"), problems);
    let deadline = analysis.deadline.as_millis();
    if !DEADLINES.contains(&deadline) {
        problems.add(&path.field("deadline"), "expected a duration from 100ms to 1h");
    }
    error_when(&analysis.error_when, &path.field("error_when"), problems);
    let metrics = path.field("metrics");
    if analysis.metrics.is_empty() {
        let example = catalog::with_role(Role::Failed).name;
        problems.add(
            &metrics,
            format_args!("empty; expected at least one metric, such as `{{name: {example}}}`"),
        );
    }
    at_most(analysis.metrics.len(), &metrics, problems);
    for (index, rule) in analysis.metrics.iter().enumerate() {
        let path = metrics.index(index);
        metric(rule, rollout, &path, problems);
        let earlier = analysis.metrics.iter().take(index).position(|earlier| earlier.name == rule.name);
        unique_name(&rule.name, earlier, "metrics", &path, problems);
    }
    if let Some(promote) = &analysis.promote_when {
        promote_when(promote, &path.field("promote_when"), problems);
    }
    if analysis.progress_deadline.is_some_and(|deadline| deadline.as_millis() < SHORTEST) {
        problems.add(&path.field("progress_deadline"), "expected at least 1s");
    }
    if let Some(warm_up) = &analysis.warm_up {
        let path = path.field("warm_up");
        if warm_up.requests.is_none() && warm_up.duration.is_none() {
            problems.add(&path, "says nothing; expected requests, duration or both");
        }
        if warm_up.requests.is_some_and(|requests| requests.get() > MOST_WARM_UP_REQUESTS) {
            problems.add(&path.field("requests"), format_args!("expected at most {MOST_WARM_UP_REQUESTS}"));
        }
        if warm_up.duration.is_some_and(|duration| duration.as_millis() > MOST_WARM_UP) {
            problems.add(&path.field("duration"), "expected at most 1h");
        }
    }
    if let Some(breaker) = &analysis.circuit_breaker
        && !breaker.consecutive_errors.is_some_and(|errors| CONSECUTIVE_ERRORS.contains(&errors.get()))
    {
        let path = path.field("circuit_breaker");
        problems.add(&path.field("consecutive_errors"), "missing or out of range; expected 2 to 10000");
    }
}

fn error_when(when: &ErrorWhen, path: &Path<'_>, problems: &mut Problems) {
    let statuses = path.field("status");
    at_most(when.status.len(), &statuses, problems);
    for (index, status) in when.status.iter().enumerate() {
        let class = matches!(status.as_bytes(), [b'0'..=b'9', b'x', b'x']);
        let exact = status.len() == 3 && status.bytes().all(|digit| digit.is_ascii_digit());
        if !class && !exact {
            problems.add(
                &statuses.index(index),
                format_args!(
                    "{} is not a status; expected one such as 503, or a class such as 5xx",
                    Shown(status)
                ),
            );
        }
    }
    let grpc = path.field("grpc_status");
    at_most(when.grpc_status.len(), &grpc, problems);
    for (index, status) in when.grpc_status.iter().enumerate() {
        if !(1..=16).contains(&status.get()) {
            problems.add(
                &grpc.index(index),
                format_args!("{} is not a gRPC error; expected 1 to 16", status.get()),
            );
        }
    }
}

fn promote_when(promote: &PromoteWhen, path: &Path<'_>, problems: &mut Problems) {
    within(promote.confidence, 0.5, 0.999_999, &path.field("confidence"), problems);
    let path = path.field("no_worse_than");
    let margin = &promote.no_worse_than;
    within(margin.times, 1.0, 100.0, &path.field("times"), problems);
    within(margin.or_points, 0.0, 50.0, &path.field("or_points"), problems);
    if margin.times <= 1.0 && margin.or_points <= 0.0 {
        problems.add(
            &path,
            "allows no difference, which no number of requests can prove; expected times over 1, or or_points over 0",
        );
    }
}
