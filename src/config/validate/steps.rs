//! What steps must obey beyond their types.

use std::collections::BTreeMap;

use super::condition::authority;
use super::mirror::compares_candidate;
use super::words::{at_most, exactly_one, text, within};
use super::{SHORTEST, automation, total};
use crate::config::one_of::StepAction;
use crate::config::release::{Pause, Ready, SetMirror, SetWeight, Step};
use crate::config::report::{Path, Problems, Shown};
use crate::config::schema::{Rollout, known};
use crate::config::units::{Duration, Percent};
use crate::model::Degree;

/// Steps of one rollout.
const MOST_STEPS: usize = 64;
/// What is wrong with what only a rollout with people can do.
const NOT_AUTOMATED: &str = "the rollout has no `automation`; expected `automation` beside `steps`";
/// Statuses of a candidate that is ready: those that Envoy does not give when it reaches no upstream.
const READY_STATUSES: std::ops::RangeInclusive<u64> = 200..=499;
/// Answers in a row of a candidate that is ready.
const SUCCESSES: std::ops::RangeInclusive<u64> = 1..=100;
/// Milliseconds in which a candidate must be ready.
const READY_TIMEOUTS: std::ops::RangeInclusive<u64> = 1_000..=86_400_000;

/// What the steps so far have set.
struct Set {
    weights: BTreeMap<String, Percent>,
    candidate: Percent,
    degree: Degree,
    /// Whether nothing is known of a step, because of another mistake.
    lacks_a_step: bool,
}

/// Checks all steps of a rollout, in their order.
pub(super) fn steps(rollout: &Rollout, steps: &[Step], path: &Path<'_>, problems: &mut Problems) {
    if steps.is_empty() {
        problems.add(path, "empty; expected at least one step, such as `set_weight: 5`");
    } else if steps.len() > MOST_STEPS {
        problems.add(path, format_args!("{} entries are over the limit of {MOST_STEPS}", steps.len()));
    }
    let degree = rollout.automation.as_ref().map_or(Degree::Human, |automation| automation.degree);
    let mut set =
        Set { weights: BTreeMap::new(), candidate: Percent::default(), degree, lacks_a_step: false };
    for (index, step) in steps.iter().enumerate() {
        let path = path.index(index);
        let action = step.action();
        exactly_one(Step::ONE_OF, action.is_some(), &path, problems);
        match action {
            Some(StepAction::SetWeight(to)) => {
                weight(rollout, to, &mut set, &path.field("set_weight"), problems);
            }
            Some(StepAction::SetMirror(to)) => mirror(rollout, to, &path.field("set_mirror"), problems),
            Some(StepAction::SetDegree(to)) => {
                degree_of(rollout, to, &mut set, &path.field("set_degree"), problems);
            }
            Some(StepAction::Ready(when)) => ready(when, &path.field("ready"), problems),
            Some(StepAction::Pause(wait)) => {
                let before = steps.get(..index).unwrap_or_default();
                let path = path.field("pause");
                pause(rollout, wait, before, &path, problems);
                requests(rollout, wait, &set, &path.field("min_requests"), problems);
            }
            None => set.lacks_a_step = true,
        }
    }
}

fn weight(rollout: &Rollout, to: &SetWeight, set: &mut Set, path: &Path<'_>, problems: &mut Problems) {
    set_weight(rollout, to, &mut set.weights, path, problems);
    let candidate = rollout.candidate.as_deref().and_then(|name| set.weights.get(name)).copied();
    let candidate = candidate.unwrap_or_default();
    let before = std::mem::replace(&mut set.candidate, candidate);
    if candidate < before {
        problems.add(
            path,
            format_args!(
                "{candidate} is below the {before} of an earlier step; expected weights that never decrease"
            ),
        );
    }
}

fn mirror(rollout: &Rollout, to: &SetMirror, path: &Path<'_>, problems: &mut Problems) {
    if to.percent.is_none() {
        problems.add(&path.field("percent"), "missing; expected a share in percent");
    } else if rollout.mirror.is_none() {
        problems.add(path, "the rollout has no `mirror` whose share it could set");
    }
}

fn degree_of(rollout: &Rollout, to: Degree, set: &mut Set, path: &Path<'_>, problems: &mut Problems) {
    if rollout.automation.is_none() {
        problems.add(path, NOT_AUTOMATED);
    } else if to < set.degree {
        problems.add(
            path,
            format_args!(
                "{} is below {} of an earlier step; expected degrees that never fall",
                to.label(),
                set.degree.label()
            ),
        );
    } else {
        set.degree = to;
    }
}

fn pause(rollout: &Rollout, wait: &Pause, before: &[Step], path: &Path<'_>, problems: &mut Problems) {
    if let Some(duration) = wait.duration {
        can_end(rollout, duration, path, problems);
    }
    if rollout.automation.is_some() {
        return automation::pause(rollout, wait, before, path, problems);
    }
    let given = |fields: [(&'static str, bool); 2]| {
        fields.into_iter().filter(|(_, is_given)| *is_given).map(|(field, _)| field)
    };
    for field in given([
        ("min_decisions", wait.min_decisions.is_some()),
        ("min_coverage", wait.min_coverage.is_some()),
    ]) {
        problems.add(&path.field(field), NOT_AUTOMATED);
    }
    for field in given([
        ("min_compared", wait.min_compared.is_some()),
        ("min_agreement", wait.min_agreement.is_some()),
    ]) {
        let path = path.field(field);
        if let Err(message) = compares_candidate(rollout) {
            problems.add(&path, message);
        } else if rollout.analysis.is_none() {
            problems
                .add(&path, "without `analysis` no answers are counted; expected `analysis` beside `steps`");
        }
    }
    if let Some(agreement) = wait.min_agreement {
        within(agreement, 0.01, 0.9999, &path.field("min_agreement"), problems);
    }
}

/// Checks that the requests which a pause waits for can come.
fn requests(rollout: &Rollout, wait: &Pause, set: &Set, path: &Path<'_>, problems: &mut Problems) {
    if wait.min_requests.is_none_or(|count| count.get() == 0) || rollout.automation.is_some() {
        return;
    }
    let has_candidate = rollout.candidate.as_ref().is_some_and(|candidate| *candidate != rollout.stable);
    if rollout.analysis.is_none() {
        problems
            .add(path, "without `analysis` no requests are judged; expected `analysis`, or no min_requests");
    } else if has_candidate && set.candidate.0.is_none() && !set.lacks_a_step {
        problems.add(path, "no step before it gives the candidate a weight: the step could never end");
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

/// Checks what a candidate is asked before it gets traffic.
pub(super) fn ready(ready: &Ready, path: &Path<'_>, problems: &mut Problems) {
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

/// A wait that is as long as the progress deadline cannot end.
pub(super) fn can_end(rollout: &Rollout, duration: Duration, path: &Path<'_>, problems: &mut Problems) {
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
