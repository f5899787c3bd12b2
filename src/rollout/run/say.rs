//! The sentences of reasons and events: what a person reads first when a rollout has changed.

use super::super::event::{Finding, Of};
use super::super::policy::Act;
use super::super::program::{Pause, Program, Step, Until};
use super::super::ready::Ready;
use super::super::words::{EValue, Milliseconds, Rate, percent};
use super::Run;
use crate::analysis::judge::Judge;
use crate::analysis::kernel::ratio::Table;
use crate::analysis::rules::Rules;
use crate::analysis::test::{Against, Measure};
use crate::analysis::totals::Totals;
use crate::analysis::window::{self, NotJudged, Window};
use crate::automation::band::Band;
use crate::automation::decisions::Decisions;
use crate::automation::proof::Target;
use crate::config::report::Shown;
use crate::model::{Arm, Degree, Pair, Share, Side, Unit};
use crate::signal::catalog::{self, Kind, Scale};
use crate::signal::histogram;
use crate::signal::sums::Sums;

fn candidate(program: &Program) -> &str {
    program.candidate.as_deref().unwrap_or("the candidate")
}

/// The names of a side and of the other one.
fn sides(program: &Program, is_candidate: bool) -> (&str, &str) {
    let (candidate, stable) = (candidate(program), program.stable.as_str());
    if is_candidate { (candidate, stable) } else { (stable, candidate) }
}

/// Blue/green begins with a side, or with the bake.
pub(super) fn begun_with_side(
    program: &Program,
    attempt: u32,
    (is_candidate, bakes): (bool, bool),
) -> String {
    if program.candidate.is_none() {
        return begun(program, attempt);
    }
    let (active, other) = sides(program, is_candidate);
    let begins = if bakes {
        format!("{other} bakes beside {active}")
    } else {
        format!("all traffic to {active}, {other} on standby")
    };
    format!("release {}, attempt {attempt}: {begins}", program.release)
}

pub(super) fn begun(program: &Program, attempt: u32) -> String {
    let release = &program.release;
    if let Some(automation) = &program.automation {
        let (people, degree) = (&program.stable, automation.degree.label());
        let candidate = candidate(program);
        return format!(
            "release {release}, attempt {attempt}: {candidate} takes over from {people}, beginning at degree {degree}"
        );
    }
    match (&program.candidate, program.steps.len()) {
        (Some(candidate), steps @ 1..) => {
            format!("release {release}, attempt {attempt}: rolling out {candidate} in {steps} steps")
        }
        (Some(candidate), 0) => {
            format!("release {release}, attempt {attempt}: {candidate} runs beside {}", program.stable)
        }
        (None, _) => format!("release {release}: all traffic to {}", program.stable),
    }
}

pub(super) fn step(program: &Program, run: &Run) -> String {
    let position = run.position;
    let place = format!("step {} of {}", position.saturating_add(1), program.steps.len());
    let share = match program.automation {
        Some(_) => format!("degree {}", run.degree(program).label()),
        None => format!("{} at {}", candidate(program), run.candidate_weight(program)),
    };
    let place = if program.blue_green { "bake".to_owned() } else { place };
    match program.steps.get(position) {
        Some(Step::Pause(Pause::Person)) => format!("{place}: {share}, until it is promoted"),
        Some(Step::Pause(Pause::Until(until))) => {
            let Until { duration, requests, compared, agreement, decisions, coverage } = *until;
            let is_of_others = compared > 0 || agreement > 0.0 || decisions > 0 || coverage > 0.0;
            let parts = [
                (duration > 0 || requests == 0 && !is_of_others).then(|| Milliseconds(duration).to_string()),
                (requests > 0).then(|| format!("{requests} {}", program.unit().label())),
                (compared > 0).then(|| format!("{compared} compared answers")),
                (decisions > 0).then(|| format!("{decisions} decisions")),
                (agreement > 0.0).then(|| format!("{} % agreement", percent(agreement))),
                (coverage > 0.0).then(|| format!("{} % proven coverage", percent(coverage))),
            ];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            format!("{place}: {share} for {}", parts.join(" and "))
        }
        Some(Step::Ready(Ready { path, expect, .. })) => {
            format!("{place}: {share}, until it is ready ({path} answers {expect})")
        }
        _ => format!("{place}: {share}"),
    }
}

pub(super) fn elsewhere(program: &Program, side: Side) -> String {
    let (candidate, stable) = sides(program, true);
    let version = if side == Side::Candidate { candidate } else { stable };
    format!(
        "requests for {version} are served by another cluster than its own, or by none (a redirect, a direct response, no route): Envoy's routes \
         ignore the filter's choice, so nothing follows from these requests"
    )
}

/// All steps of a rollout with people are done.
pub(super) fn degree_reached(program: &Program, run: &Run) -> String {
    format!("{} stays at degree {}", candidate(program), run.degree(program).label())
}

/// Where the model answers alone, as a person reads it.
pub(super) fn threshold(program: &Program, run: &Run, decisions: &Decisions) -> String {
    let candidate = candidate(program);
    let Some(threshold) = run.threshold(program) else {
        return format!("{candidate} answers nothing alone: too few tasks are above a proven threshold");
    };
    let shown = f64::from(threshold) / 1e4;
    let risks = program.automation.as_ref().and_then(|of| of.target).map(|target| {
        let risks = run.ladder.risks(decisions, &target);
        risks.into_iter().rfind(|risk| risk.threshold >= threshold).unwrap_or_default()
    });
    let coverage = decisions.coverage(threshold) * 100.0;
    let Some(risk) = risks.filter(|risk| risk.is_proven) else {
        return format!("{candidate} answers alone from confidence {shown} on: {coverage:.1} % of the tasks");
    };
    format!(
        "{candidate} answers alone from confidence {shown} on: {coverage:.1} % of the tasks, {:.1} % disagreement, proven to be at \
         most {:.1} %",
        risk.disagreement * 100.0,
        risk.at_most * 100.0
    )
}

/// Audited tasks speak against the model.
pub(super) fn stepped_down(
    program: &Program,
    from: Degree,
    to: Degree,
    decisions: &Decisions,
    target: &Target,
) -> String {
    let Band { tasks: units, disagreements: events } = decisions.audited;
    let (from, to) = (from.label(), to.label());
    format!(
        "automation is rolled back from {from} to {to}: people disagree with {} in {} that it had answered alone, more than the \
         {} % allowed",
        candidate(program),
        Of(Arm { events, units }, Unit::Requests),
        percent(target.max_disagreement)
    )
}

/// The model has answered none of so many tasks in a row.
pub(super) fn unanswered(program: &Program, tasks: u64) -> String {
    let (from, to) = (Degree::Full.label(), Degree::Partial.label());
    format!(
        "automation is rolled back from {from} to {to}: {} left {tasks} tasks in a row unanswered on one worker",
        candidate(program)
    )
}

/// A version is no longer configured, and had a share.
pub(super) fn gone(program: &Program, version: &str, share: Share, has_everything: bool) -> String {
    let (heir, _) = sides(program, has_everything);
    format!("{version} is no longer a version; its share of {share} goes to {heir}")
}

pub(super) fn succeeded(program: &Program) -> String {
    format!("{} has taken over all of {}'s traffic", candidate(program), program.stable)
}

pub(super) fn taken_back(program: &Program, what: &str) -> String {
    format!("{} is {what}, its traffic goes to {}", candidate(program), program.stable)
}

pub(super) fn flipped(program: &Program, to_candidate: bool) -> String {
    let (new, old) = sides(program, to_candidate);
    format!("all traffic moved from {old} to {new}")
}

/// `is_candidate`: that side was found worse.
pub(super) fn went_back(program: &Program, is_candidate: bool) -> String {
    let (new, old) = sides(program, is_candidate);
    format!("{new} is rolled back, all traffic goes to {old}")
}

/// Of a flip back to stable that was found worse: the candidate answers.
pub(super) fn what_abort_would_do(program: &Program) -> String {
    format!("{} keeps all traffic; abort would send it to {}", candidate(program), program.stable)
}

pub(super) fn watching(program: &Program, is_candidate: bool, bound: f64, duration: u64) -> String {
    let (new, old) = sides(program, is_candidate);
    format!(
        "{new} is watched for {}: it is rolled back to {old} if clearly more than {} of its {} fail",
        Milliseconds(duration),
        Rate(bound),
        program.unit().label()
    )
}

/// The time of the watch has passed, and nothing was seen.
pub(super) fn unseen(program: &Program, is_candidate: bool) -> String {
    let (new, _) = sides(program, is_candidate);
    format!("{new} is watched until it answers a request well: it has not since {}", since(program))
}

/// The time of the watch has passed, and the new side refuses more.
pub(super) fn refuses_more(program: &Program, is_candidate: bool) -> String {
    let (new, old) = sides(program, is_candidate);
    let since = since(program);
    format!(
        "{new} is watched until it refuses or redirects fewer than half of its requests, as {old} did before {since}"
    )
}

/// What gave a side all traffic.
pub(super) fn since(program: &Program) -> &'static str {
    if program.blue_green { "the flip" } else { "the last step" }
}

pub(super) fn not_watched(program: &Program, is_candidate: bool, why: NotJudged, before: Arm) -> String {
    let (new, old) = sides(program, is_candidate);
    let since = since(program);
    let why = match why {
        NotJudged::TooFew => {
            let unit = program.unit().label();
            format!("only {} of {old}'s {unit} were judged before {since}, and 1000 are needed", before.units)
        }
        NotJudged::TooMany => {
            format!("{} failed before {since}", Of(before, program.unit()))
        }
    };
    format!("{new} is not watched after {since}, so there is no automatic rollback: {why}")
}

/// `awaited`: a flip to the candidate waited for it to be ready; otherwise it was baking.
pub(super) fn stays_with_stable(program: &Program, awaited: bool) -> String {
    let over = if awaited { "the flip is called off" } else { "the bake is over" };
    format!("{over}; {} keeps all traffic", program.stable)
}

pub(super) fn flips_when_ready(program: &Program) -> String {
    let candidate = candidate(program);
    format!("all traffic moves from {} to {candidate} once {candidate} is ready", program.stable)
}

pub(super) fn not_ready(program: &Program, run: &Run, ready: &Ready) -> String {
    let candidate = candidate(program);
    format!(
        "{candidate} did not become ready within {}: {}; resume asks again, promote continues without waiting",
        Milliseconds(ready.timeout),
        run.readiness.missing(ready)
    )
}

/// Of what is done while a pin decides.
pub(super) fn once_unpinned(message: String, is_pinned: bool) -> String {
    if is_pinned { format!("once the pin is removed: {message}") } else { message }
}

/// The candidate was found worse by what it answered before it lost its traffic.
pub(super) fn gone_already(program: &Program, sentence: &str) -> String {
    format!("{} no longer has traffic; before that, {sentence}", candidate(program))
}

pub(super) fn stays(program: &Program, is_candidate: bool) -> String {
    if is_candidate { succeeded(program) } else { format!("{} keeps all traffic", program.stable) }
}

/// What was seen of a side that is watched.
pub(super) fn watched(program: &Program, window: &Window, is_candidate: bool, threshold: f64) -> Finding {
    let (candidate, stable) =
        if is_candidate { (window.since, window.before) } else { (window.before, window.since) };
    Finding {
        rule: window::metric(),
        is_absolute: true,
        value: window.value().log10(),
        threshold: threshold.log10(),
        samples: Totals::Events(Pair::new(candidate, stable)),
        unit: program.unit(),
    }
}

/// The sentence of such a finding.
pub(super) fn since_the_flip(
    program: &Program,
    window: &Window,
    is_candidate: bool,
    (finding, act): (&Finding, Act),
) -> String {
    let (new, old) = sides(program, is_candidate);
    let of = |arm: Arm| Of(arm, program.unit());
    let since = since(program);
    format!(
        "since {since}, {} failed on {new}; before it, {} on {old}; at most {} may fail; {}",
        of(window.since),
        of(window.before),
        Rate(window.bound),
        EvidenceAgainst { name: new, finding, act }
    )
}

pub(super) fn no_side(program: &Program, active: &str) -> String {
    let (candidate, stable) = (Shown(candidate(program)), Shown(&program.stable));
    format!("active: {} is neither stable ({stable}) nor the candidate ({candidate})", Shown(active))
}

pub(super) fn split(program: &Program) -> String {
    format!(
        "{} is getting a different share of {} than its weight; something other than the weights decides which \
         version answers, and no step ends until that is fixed",
        candidate(program),
        program.unit().label()
    )
}

/// The versions get different requests.
pub(super) fn inputs(program: &Program, judge: &Judge, tick: u64) -> String {
    let (candidate, stable) = sides(program, true);
    let strongest = judge.strongest_of_inputs(tick);
    let metric = strongest.map_or("", |strongest| strongest.metric);
    let samples = strongest.map(|strongest| strongest.seen).unwrap_or_default();
    let seen = |side: Side| Seen { samples, side, metric, unit: program.unit() };
    format!(
        "{candidate} and {stable} receive different requests ({metric}): {} against {}; something other than the weights decides \
         which requests {candidate} gets, so findings of this attempt are ignored, and no step ends",
        seen(Side::Candidate),
        seen(Side::Stable)
    )
}

/// Something was found (`worse`), and the metric has compared no requests: they may differ. So many milliseconds go by first.
pub(super) fn withheld(worse: &str, patience: u64, because: &str) -> String {
    format!("{worse}; not acted on for {}, because {because}", Milliseconds(patience))
}

pub(super) fn overdue(program: &Program, run: &Run) -> String {
    // It was measured: parts of a second say nothing.
    let waited = Milliseconds(run.waited.saturating_sub(run.waited % 1_000));
    format!(
        "step {} of {} did not finish within {waited}: {} of {}'s {} were judged",
        run.position.saturating_add(1),
        program.steps.len(),
        run.judge.step_requests(),
        candidate(program),
        program.unit().label()
    )
}

pub(super) fn clock_went_back(seconds: u64) -> String {
    format!(
        "the clock went back by {seconds} s: requests of the last seconds are not judged, and alarms and drift begin anew"
    )
}

pub(super) fn held_back(program: &Program, run: &Run) -> String {
    if run.window_lasts(program).is_some() {
        return run.reason.sentence().into_owned();
    }
    let place = format!("step {} of {}", run.position.saturating_add(1), program.steps.len());
    format!("{place} of {} is held back: {}", candidate(program), run.reason.sentence())
}

/// The evidence of a finding: `evidence against green: 130 to 1 (it is rolled back at 100 to 1)`. `act`: what the
/// finding leads to.
struct EvidenceAgainst<'a> {
    name: &'a str,
    finding: &'a Finding,
    act: Act,
}

impl std::fmt::Display for EvidenceAgainst<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, finding, act } = self;
        let at = if *act == Act::Rollback { "it is rolled back at" } else { "threshold" };
        let (value, threshold) = (EValue(finding.value), EValue(finding.threshold));
        write!(f, "evidence against {name}: {value} ({at} {threshold})")
    }
}

/// The judge's finding, and its description in words. `tick`: the current one.
pub(super) fn finding(judge: &Judge, rules: &Rules, tick: u64) -> (Finding, String) {
    let strongest = judge.strongest(tick);
    let name = strongest.map_or("", |strongest| strongest.metric);
    let what = match strongest.map(|strongest| (strongest.test.measure, strongest.test.against)) {
        Some((Measure::Quantile(quantile), _)) => {
            let edges = strongest.and_then(|strongest| strongest.edges);
            let edge = edges.map_or(0.0, |edges| histogram::milliseconds(edges.candidate));
            format!("{name}: slower than {edge:.0} ms, stable's {quantile} quantile")
        }
        Some((_, Against::Bound { max })) => format!("{name}: over {}", Rate(max)),
        Some((_, Against::Copy { .. })) => {
            format!(
                "{name}: among the requests where it or the copy of stable, but not both, differs from stable"
            )
        }
        _ => name.to_owned(),
    };
    let finding = Finding {
        rule: name.to_owned(),
        is_absolute: strongest.is_some_and(|strongest| strongest.test.is_bound()),
        value: judge.reading().all.log10(),
        threshold: rules.threshold.log10(),
        samples: strongest.map(|strongest| strongest.seen).unwrap_or_default(),
        unit: rules.unit,
    };
    (finding, what)
}

/// The sentence of a finding, which is about `what`.
pub(super) fn worse(program: &Program, finding: &Finding, what: &str, act: Act) -> String {
    let (name, stable) = (candidate(program), &program.stable);
    let seen = |side: Side| {
        let Finding { rule, samples, unit, .. } = finding;
        Seen { samples: *samples, side, metric: rule, unit: *unit }
    };
    let mine = seen(Side::Candidate);
    let what = if finding.is_absolute {
        format!("{name} exceeds its limit ({what}): {mine}")
    } else {
        format!("{name} is worse than {stable} ({what}): {mine} against {}", seen(Side::Stable))
    };
    format!("{what}; {}", EvidenceAgainst { name, finding, act })
}

/// What was seen of a side: `9 of 12 requests (75 %)`, or `a mean of 0.42 over 12 requests`.
struct Seen<'a> {
    samples: Totals,
    side: Side,
    metric: &'a str,
    unit: Unit,
}

impl std::fmt::Display for Seen<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { samples, side, metric, unit } = self;
        match samples {
            Totals::Events(table) => Of(table[*side], *unit).fmt(f),
            Totals::Means(sums) => {
                let Sums { count, .. } = sums[*side];
                let (mean, unit) = (sums[*side].mean().unwrap_or_default(), unit.label());
                match catalog::named(metric).map(|named| named.signal.kind) {
                    Some(Kind::Mean(Scale::Logarithmic)) => {
                        let mean = Scale::Logarithmic.value(mean);
                        write!(f, "a geometric mean of {mean:.1} over {count} {unit}")
                    }
                    _ => write!(f, "a mean of {mean:.3} over {count} {unit}"),
                }
            }
        }
    }
}

/// The sentence of a circuit breaker.
pub(super) fn tripped(program: &Program, seen: &Table, weight: Share) -> String {
    let (name, stable) = (candidate(program), &program.stable);
    let theirs = match seen.stable.units {
        0 => format!("{stable} gets no requests"),
        _ => format!("{stable} is healthy: {} failed", Of(seen.stable, Unit::Requests)),
    };
    format!(
        "at {weight} the circuit breaker saw {} consecutive errors from {name} on one worker, while {theirs}",
        seen.candidate.events
    )
}
