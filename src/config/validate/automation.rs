//! What a rollout with people must obey beyond its types.

use super::condition::matches;
use super::receipt::{place, receipt_place, ttl};
use super::words::{header_name, within};
use crate::config::automation::{Automation, Decision, Partial};
use crate::config::release::{Pause, Step};
use crate::config::report::{Path, Problems};
use crate::config::schema::{Match, Rollout};
use crate::config::units::Size;
use crate::model::{Degree, Share};

/// Milliseconds that the model is waited for.
const TIMEOUTS: std::ops::RangeInclusive<u64> = 10..=60_000;
/// Tasks about which a worker may ask at once.
const MOST_IN_FLIGHT: u64 = 1_024;
/// The largest task that is held.
const LARGEST_TASK: Size = Size::kib(16 * 1_024);

pub(super) fn automation(
    automation: &Automation,
    rollout: &Rollout,
    rollout_path: &Path<'_>,
    problems: &mut Problems,
) {
    let path = rollout_path.field("automation");
    let candidate = rollout.candidate.as_ref().filter(|candidate| **candidate != rollout.stable);
    if candidate.is_none() {
        problems.add(
            &rollout_path.field("candidate"),
            "missing; with `automation` stable is people, and the candidate the model",
        );
    }
    beside(rollout, rollout_path, problems);
    ask(automation, &path.field("ask"), problems);
    let answer = path.field("answer");
    place(&automation.answer.label, &answer.field("label"), problems);
    if let Some(confidence) = &automation.answer.confidence {
        place(confidence, &answer.field("confidence"), problems);
    }
    let (suggest, receipt) = (path.field("suggest"), path.field("receipt"));
    header_name(&automation.suggest.header, &suggest.field("header"), problems);
    header_name(&automation.receipt.header, &receipt.field("header"), problems);
    if automation.receipt.header.eq_ignore_ascii_case(&automation.suggest.header) {
        problems.add(&receipt.field("header"), "the header of suggestions; expected another one");
    }
    ttl(automation.receipt.ttl, &receipt.field("ttl"), problems);
    if let Some(decision) = &automation.decision {
        self::decision(decision, &rollout.matches, &path.field("decision"), problems);
    }
    let partial = automation.partial.as_ref();
    if let Some(partial) = partial {
        self::partial(partial, automation, &path.field("partial"), problems);
    }
    let configured = rollout.steps.iter().flatten();
    let highest = configured.filter_map(|step| step.set_degree).fold(automation.degree, Degree::max);
    for (field, why) in automation.guards().missing_for(highest) {
        if !problems.concern(&path.field(field)) {
            problems.add(&path.field(field), why);
        }
    }
}

/// What does not go together with people.
fn beside(rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    let others = [
        ("weights", rollout.weights.is_some()),
        ("blue_green", rollout.blue_green.is_some()),
        ("analysis", rollout.analysis.is_some()),
        ("mirror", rollout.mirror.is_some()),
        ("payload", rollout.payload.is_some()),
        ("override", rollout.overrides.is_some()),
        ("session_affinity", rollout.session_affinity.is_some()),
    ];
    for (field, _) in others.into_iter().filter(|(_, given)| *given) {
        problems.add(
            &path.field(field),
            "beside `automation`, where the degree decides who answers; expected it in a rollout of its own",
        );
    }
    if rollout.pin.as_ref().is_some_and(|pin| *pin != rollout.stable) {
        problems.add(
            &path.field("pin"),
            "with `automation` a pin means people only; expected the stable version",
        );
    }
    let steps = path.field("steps");
    for (index, step) in rollout.steps.iter().flatten().enumerate() {
        if step.set_weight.is_some() {
            problems.add(
                &steps.index(index).field("set_weight"),
                "with `automation` the degree decides who answers; expected `set_degree`",
            );
        }
    }
}

fn ask(automation: &Automation, path: &Path<'_>, problems: &mut Problems) {
    let ask = &automation.ask;
    if !TIMEOUTS.contains(&ask.timeout.as_millis()) {
        problems.add(&path.field("timeout"), "expected a duration from 10ms to 1m");
    }
    if ask.max_body == Size::kib(0) || ask.max_body > LARGEST_TASK {
        problems.add(
            &path.field("max_body"),
            format_args!("{} is out of range; expected 1B to {LARGEST_TASK}", ask.max_body),
        );
    }
    if !(1..=MOST_IN_FLIGHT).contains(&ask.max_in_flight.get()) {
        problems.add(&path.field("max_in_flight"), format_args!("expected 1 to {MOST_IN_FLIGHT}"));
    }
}

/// `tasks`: which requests are tasks.
fn decision(decision: &Decision, tasks: &Match, path: &Path<'_>, problems: &mut Problems) {
    let own = path.field("match");
    matches(&decision.matches, &own, problems);
    let flaw = if decision.matches == Match::default() {
        Some("empty; every request would be a decision; expected at least a path")
    } else {
        let covers =
            "covers the rollout's own `match`; every task would be a decision; expected a narrower one";
        decision.matches.contains(tasks).then_some(covers)
    };
    if let Some(flaw) = flaw.filter(|_| !problems.concern(&own)) {
        problems.add(&own, flaw);
    }
    place(&decision.label, &path.field("label"), problems);
    let receipt = path.field("receipt");
    match &decision.receipt {
        None if problems.concern(&receipt) => {}
        None => problems.add(&receipt, "missing; expected a JSON pointer, or {header: …}"),
        Some(place) => receipt_place(place, &receipt, problems),
    }
}

fn partial(partial: &Partial, automation: &Automation, path: &Path<'_>, problems: &mut Problems) {
    if partial.max_disagreement.is_none() && partial.threshold.is_none() && !problems.concern(path) {
        problems.add(path, "expected `max_disagreement`, or a fixed `threshold`, which is not proven");
    }
    if let Some(target) = partial.max_disagreement {
        within(target, 0.000_1, 0.5, &path.field("max_disagreement"), problems);
    }
    if let Some(threshold) = partial.threshold {
        within(threshold, 0.0, 1.0, &path.field("threshold"), problems);
    }
    within(partial.confidence, 0.5, 0.999_9, &path.field("confidence"), problems);
    within(partial.min_coverage, 0.0, 1.0, &path.field("min_coverage"), problems);
    if automation.answer.confidence.is_none() {
        problems.add(
            path,
            "the model's answer has no confidence; expected `answer.confidence` beside `answer.label`",
        );
    }
}

/// What a step of a rollout with people waits for, after `before`.
pub(super) fn pause(
    rollout: &Rollout,
    pause: &Pause,
    before: &[Step],
    path: &Path<'_>,
    problems: &mut Problems,
) {
    let Some(automation) = &rollout.automation else { return };
    for (field, _) in
        [("min_requests", pause.min_requests.is_some()), ("min_compared", pause.min_compared.is_some())]
            .into_iter()
            .filter(|(_, given)| *given)
    {
        problems.add(&path.field(field), "with `automation` decisions are counted; expected `min_decisions`");
    }
    if let Some(agreement) = pause.min_agreement {
        within(agreement, 0.01, 0.9999, &path.field("min_agreement"), problems);
    }
    if let Some(coverage) = pause.min_coverage {
        within(coverage, 0.0, 1.0, &path.field("min_coverage"), problems);
        let has_target =
            automation.partial.as_ref().is_some_and(|partial| partial.max_disagreement.is_some());
        if !has_target {
            problems.add(
                &path.field("min_coverage"),
                "nothing is proven without `partial.max_disagreement`; expected it in `automation`",
            );
        }
    }
    let degree = before.iter().rev().find_map(|step| step.set_degree).unwrap_or(automation.degree);
    let sealed = match degree {
        Degree::Human => Share::NONE,
        Degree::Shadow => Share::ALL,
        Degree::Assist => automation.blind.0,
        Degree::Partial => automation.blind.0.plus(automation.audit.0),
        Degree::Full => automation.audit.0,
    };
    let gates = [
        ("min_decisions", pause.min_decisions.is_some()),
        ("min_agreement", pause.min_agreement.is_some()),
        ("min_coverage", pause.min_coverage.is_some()),
    ];
    for (field, _) in gates.into_iter().filter(|(_, given)| *given && sealed.is_none()) {
        let what = match degree {
            Degree::Human => {
                "in degree human the model is not asked; expected `set_degree: shadow` before it"
            }
            Degree::Full => "in degree full people decide nothing; expected `audit` above 0",
            _ => {
                "people follow suggestions that they see, so agreement with those proves nothing; expected `blind` above 0"
            }
        };
        problems.add(&path.field(field), what);
    }
}
