//! What steps and analysis must obey beyond their types.

use std::collections::BTreeMap;

use super::{at_most, authority, exactly_one, text, total, within};
use crate::config::release::{Analysis, ErrorWhen, Metric, PromoteWhen, Ready, SetWeight, Step};
use crate::config::report::{Path, Problems, Shown};
use crate::config::schema::{BlueGreen, Mirror, MirrorMode, Rollout, known};
use crate::config::units::{Duration, Percent};
use crate::model::{Degree, Share};
use crate::signal::catalog::{self, Among, Differs, Kind, Role};

/// Steps of one rollout.
const MOST_STEPS: usize = 64;
/// Quantiles of one metric.
const MOST_QUANTILES: usize = 5;
/// Milliseconds that a deadline may have.
const DEADLINES: std::ops::RangeInclusive<u64> = 100..=3_600_000;

/// Milliseconds for which what goes on with a version that was taken back may.
const LONGEST_DRAIN: u64 = 86_400_000;
/// Milliseconds that a progress deadline, a bake or a window must have.
const SHORTEST: u64 = 1_000;
/// What is wrong with what only a judge can do, without one.
const NOT_JUDGED: &str = "nothing is judged without `analysis`; expected `analysis` beside it";
/// What is wrong with what only a rollout with people can do.
const NOT_AUTOMATED: &str = "the rollout has no `automation`; expected `automation` beside `steps`";
/// Statuses of a candidate that is ready: those that Envoy does not give when it reaches no upstream.
const READY_STATUSES: std::ops::RangeInclusive<u64> = 200..=499;
/// Answers in a row of a candidate that is ready.
const SUCCESSES: std::ops::RangeInclusive<u64> = 1..=100;
/// Milliseconds in which a candidate must be ready.
const READY_TIMEOUTS: std::ops::RangeInclusive<u64> = 1_000..=86_400_000;
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

fn ready(ready: &Ready, path: &Path<'_>, problems: &mut Problems) {
    let field = path.field("path");
    let is_printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !ready.path.starts_with('/') || ready.path.contains('#') || !is_printable(&ready.path) {
        let found = Shown(&ready.path);
        problems
            .add(&field, format_args!("{found} is not a path; expected one such as \"/v2/health/ready\""));
    } else {
        text(&ready.path, &field, problems);
    }
    if let Some(host) = &ready.authority {
        let path = path.field("authority");
        if is_printable(host) {
            authority(host, &path, problems);
        } else {
            problems.add(&path, format_args!("{} is not a host name in ASCII", Shown(host)));
        }
    }
    if !READY_STATUSES.contains(&ready.expect.get()) {
        problems.add(
            &path.field("expect"),
            "expected a status from 200 to 499: Envoy itself answers 503 for a version that is not there",
        );
    }
    if !SUCCESSES.contains(&ready.successes.get()) {
        problems.add(&path.field("successes"), "expected 1 to 100");
    }
    if !READY_TIMEOUTS.contains(&ready.timeout.as_millis()) {
        problems.add(&path.field("timeout"), "expected a duration from 1s to 24h");
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

/// A wait that is as long as the progress deadline cannot end.
fn can_end(rollout: &Rollout, duration: Duration, path: &Path<'_>, problems: &mut Problems) {
    let deadline = rollout.analysis.as_ref().and_then(|analysis| analysis.progress_deadline);
    if let Some(deadline) = deadline
        && duration >= deadline
        && deadline.as_millis() >= SHORTEST
    {
        problems.add(
            &path.field("duration"),
            format_args!(
                "{duration} is not shorter than the progress_deadline of {deadline}: the step could never end"
            ),
        );
    }
}

fn steps(rollout: &Rollout, steps: &[Step], path: &Path<'_>, problems: &mut Problems) {
    if steps.is_empty() {
        problems.add(path, "empty; expected at least one step, such as `set_weight: 5`");
    } else if steps.len() > MOST_STEPS {
        problems.add(path, format_args!("{} entries are over the limit of {MOST_STEPS}", steps.len()));
    }
    let mut weights: BTreeMap<String, Percent> = BTreeMap::new();
    let mut before = Percent::default();
    let mut degree_before = rollout.automation.as_ref().map_or(Degree::Human, |automation| automation.degree);
    for (index, step) in steps.iter().enumerate() {
        let path = path.index(index);
        exactly_one(Step::ONE_OF, step.action().is_some(), &path, problems);
        if let Some(set) = &step.set_weight {
            let path = path.field("set_weight");
            set_weight(rollout, set, &mut weights, &path, problems);
            let candidate = rollout.candidate.as_deref().and_then(|name| weights.get(name)).copied();
            let candidate = candidate.unwrap_or_default();
            if candidate < before {
                problems.add(
                    &path,
                    format_args!("{candidate} is below the {before} of an earlier step; expected weights that never decrease"),
                );
            }
            before = candidate;
        }
        if let Some(mirror) = &step.set_mirror {
            let path = path.field("set_mirror");
            if mirror.percent.is_none() {
                problems.add(&path.field("percent"), "missing; expected a share in percent");
            } else if rollout.mirror.is_none() {
                problems.add(&path, "the rollout has no `mirror` whose share it could set");
            }
        }
        if let Some(degree) = step.set_degree {
            let path = path.field("set_degree");
            match &rollout.automation {
                None => problems.add(&path, NOT_AUTOMATED),
                Some(_) if degree < degree_before => {
                    let (found, before) = (degree.label(), degree_before.label());
                    problems.add(
                        &path,
                        format_args!(
                            "{found} is below {before} of an earlier step; expected degrees that never fall"
                        ),
                    );
                }
                Some(_) => degree_before = degree,
            }
        }
        if let Some(when) = &step.ready {
            ready(when, &path.field("ready"), problems);
        }
        if let Some(duration) = step.pause.as_ref().and_then(|pause| pause.duration) {
            can_end(rollout, duration, &path.field("pause"), problems);
        }
        let Some(pause) = &step.pause else { continue };
        let path = path.field("pause");
        if rollout.automation.is_some() {
            super::automation::pause(rollout, pause, steps.get(..index).unwrap_or_default(), &path, problems);
            continue;
        }
        if pause.min_requests.is_some_and(|count| count.get() > 0) && rollout.analysis.is_none() {
            problems.add(
                &path.field("min_requests"),
                "without `analysis` no requests are judged; expected `analysis`, or no min_requests",
            );
        }
        for (field, _) in
            [("min_decisions", pause.min_decisions.is_some()), ("min_coverage", pause.min_coverage.is_some())]
                .into_iter()
                .filter(|(_, given)| *given)
        {
            problems.add(&path.field(field), NOT_AUTOMATED);
        }
        let gates = [
            ("min_compared", pause.min_compared.is_some()),
            ("min_agreement", pause.min_agreement.is_some()),
        ];
        for (field, _) in gates.into_iter().filter(|(_, given)| *given) {
            let path = path.field(field);
            if let Err(message) = compares_candidate(rollout) {
                problems.add(&path, message);
            } else if rollout.analysis.is_none() {
                problems.add(
                    &path,
                    "without `analysis` no answers are counted; expected `analysis` beside `steps`",
                );
            }
        }
        if let Some(agreement) = pause.min_agreement {
            within(agreement, 0.01, 0.9999, &path.field("min_agreement"), problems);
        }
    }
}

/// Takes a step's weights over into `weights`, and checks what then stands.
fn set_weight(
    rollout: &Rollout,
    set: &SetWeight,
    weights: &mut BTreeMap<String, Percent>,
    path: &Path<'_>,
    problems: &mut Problems,
) {
    match set {
        SetWeight::Candidate(share) => {
            // Without a candidate the release is finished, and its steps rest.
            weights.extend(rollout.candidate.clone().map(|candidate| (candidate, *share)));
        }
        SetWeight::Versions(shares) => {
            at_most(shares.len(), path, problems);
            for (version, share) in shares {
                let path = path.field(version);
                if *version == rollout.stable {
                    problems.add(&path, "stable gets the rest; expected other versions only");
                } else if rollout.versions.contains_key(version) {
                    weights.insert(version.clone(), *share);
                } else {
                    let names = known(rollout.versions.keys().map(String::as_str));
                    problems
                        .add(&path, format_args!("unknown version {}; known here: {names}", Shown(version)));
                }
            }
        }
    }
    total(weights, &rollout.stable, path, problems);
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
        if let Some(earlier) = earlier {
            problems
                .add(&path.field("name"), format_args!("the same as metrics[{earlier}]; expected another"));
        }
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

fn metric(metric: &Metric, rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    let named = catalog::named(&metric.name);
    let signal = named.map(|named| named.signal);
    if metric.name.is_empty() {
        let names = catalog::names().join(" or ");
        problems.add(&path.field("name"), format_args!("missing or empty; expected {names}"));
    } else if signal.is_none() {
        let names = catalog::names();
        let names = known(names.iter().map(String::as_str));
        problems.add(
            &path.field("name"),
            format_args!("unknown metric {}; known here: {names}", Shown(&metric.name)),
        );
    }
    let kind = signal.map_or(Kind::Event, |signal| signal.kind);
    if let Some(named) = named.filter(|named| named.signal.among.reads_bodies()) {
        super::payload::can_observe(&named, rollout.payload.as_ref(), &path.field("name"), problems);
    }
    if signal.is_some_and(|signal| signal.among == Among::Pairs) {
        if let Err(message) = compares_candidate(rollout) {
            problems.add(&path.field("name"), message);
        } else if !rollout.mirror.as_ref().is_some_and(Mirror::has_baseline) {
            if metric.max.is_none() {
                problems.add(
                    &path.field("max"),
                    "missing; expected the largest share of answers that may differ",
                );
            }
            if metric.tolerate.is_some() {
                problems.add(
                    &path.field("tolerate"),
                    "compares with how often stable disagrees with itself; needs `compare.baseline: true`",
                );
            }
        }
    }
    if signal.is_some_and(|signal| signal.among == Among::Events) {
        let rules = || rollout.feedback.iter().map(|rule| rule.name.as_str());
        let name = named.and_then(|named| named.parameter).unwrap_or_default();
        if !rules().any(|rule| rule == name) {
            problems.add(
                &path.field("name"),
                format_args!("unknown rule {}; known in `feedback`: {}", Shown(name), known(rules())),
            );
        }
        if metric.direction.is_some() {
            problems
                .add(&path.field("direction"), "not allowed here: `better` in `feedback` sets the direction");
        }
        if metric.max.is_some() {
            problems.add(
                &path.field("max"),
                "not allowed here: feedback counts only users who act, so it has no rate to bound",
            );
        }
    }
    if metric.direction.is_some() && signal.is_some_and(|signal| signal.differs == Differs::Up) {
        problems.add(&path.field("direction"), format_args!("more of {} is always worse", metric.name));
    }
    if let Some(tolerate) = metric.tolerate {
        within(tolerate, 1.0, 100.0, &path.field("tolerate"), problems);
    }
    if let Some(more) = metric.or_milliseconds {
        let path = path.field("or_milliseconds");
        within(more, 0.0, 3_600_000.0, &path, problems);
        if kind != Kind::Duration {
            problems
                .add(&path, format_args!("a tolerated difference of durations; {} has none", metric.name));
        }
    }
    if let Some(max) = metric.max {
        if signal.is_some_and(|signal| signal.differs == Differs::Inputs) {
            let message = "not allowed here: an input metric compares requests, which have no bound";
            problems.add(&path.field("max"), message);
        } else if kind == Kind::Event {
            within(max, 1e-6, 0.999, &path.field("max"), problems);
        } else {
            problems
                .add(&path.field("max"), format_args!("a bound of a rate; {} is not a rate", metric.name));
        }
    }
    if let Some(quantiles) = &metric.quantiles {
        let path = path.field("quantiles");
        if kind != Kind::Duration {
            let durations = catalog::ALL.iter().filter(|signal| signal.kind == Kind::Duration);
            let durations: Vec<&str> = durations.map(|signal| signal.name).collect();
            problems.add(&path, format_args!("only durations have quantiles: {}", durations.join(", ")));
        } else if quantiles.is_empty() || quantiles.len() > MOST_QUANTILES {
            problems.add(&path, format_args!("{} entries; expected 1 to {MOST_QUANTILES}", quantiles.len()));
        }
        for (index, quantile) in quantiles.iter().enumerate() {
            let path = path.index(index);
            within(*quantile, 0.01, 0.9999, &path, problems);
            if quantiles.iter().take(index).any(|earlier| earlier >= quantile) {
                problems.add(&path, format_args!("{quantile} is not above the previous one"));
            }
        }
    }
}

/// Whether answers of the candidate, as a shadow, are compared with stable's.
pub(super) fn compares_candidate(rollout: &Rollout) -> Result<(), &'static str> {
    match &rollout.mirror {
        Some(mirror) if mirror.mode != MirrorMode::Compare => {
            Err("the mirror compares nothing; expected `mode: compare`")
        }
        None => Err("no answers are compared; expected `mirror` with `mode: compare`"),
        // Without a candidate the release is finished, and its steps rest.
        Some(mirror) if rollout.candidate.as_ref().is_some_and(|candidate| *candidate != mirror.to) => {
            Err("another version than the candidate is the shadow; expected the candidate in `mirror.to`")
        }
        Some(_) => Ok(()),
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
