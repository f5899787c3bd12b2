//! A rollout: where it is in its steps, and what it waits for.

use serde::{Deserialize, Serialize};

use super::alarm::{Alarm, Drift, alarms, drifts};
use super::evidence::{Evidence, evidence};
use super::percent::{Percent, Shares, shares, weights};
use crate::analysis::kernel::agreement::Agreement;
use crate::automation::decisions::Decisions;
use crate::control::automation::Automation;
use crate::model::{Degree, Unit};
use crate::rollout::clock::Now;
use crate::rollout::phase::Phase;
use crate::rollout::program::{self, Pause};
use crate::rollout::record::Record;

/// A page of rollouts, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Page {
    /// The rollouts.
    pub rollouts: Vec<Rollout>,
    /// Pass it as `after` to get the next page; `null` on the last one.
    pub next: Option<String>,
}

/// The state of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Rollout {
    /// Its name.
    pub name: String,
    /// Rises with every event; also its `ETag`.
    pub revision: u64,
    /// The release.
    pub release: String,
    /// From 1.
    pub attempt: u32,
    /// Its phase.
    pub phase: Phase,
    /// Why, in one sentence; empty if the phase says enough.
    pub reason: String,
    /// Whether a pin overrides the weights.
    pub pinned: bool,
    /// The version known to be good.
    #[serde(default)]
    pub stable: String,
    /// The version being released; `null` if there is none.
    #[serde(default)]
    pub candidate: Option<String>,
    /// With `blue_green`: the side that has most of the traffic; otherwise `null`.
    #[serde(default)]
    pub active: Option<String>,
    /// Its present step.
    pub step: Step,
    /// All steps as configured; a bake counts as two.
    #[serde(default)]
    pub steps: Vec<Planned>,
    /// The watch after a flip or the last step; `null` when there is none.
    #[serde(default)]
    pub watch: Option<Watch>,
    /// The shares in force, for every version.
    pub weights: Shares,
    /// What is judged: users with session affinity, otherwise requests.
    #[serde(default)]
    pub unit: Unit,
    /// Observed shares of candidate and stable in the requests (or users) of both since the step began; empty
    /// until the first is judged.
    pub observed_share: Shares,
    /// The mirror's share; `null` without a mirror.
    pub mirror: Option<Percent>,
    /// The evidence so far. `all` decides: a weighted average, in which `error_rate` has half and metrics that compare inputs
    /// have no part; after a flip or the last step, the larger of that average and the watch.
    pub evidence: Vec<Evidence>,
    /// Its alarms, as configured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<Alarm>,
    /// How far stable's metrics move, as configured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Drift>,
    /// How far a model has taken over people's work; absent where there are none, and in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automation: Option<Automation>,
    /// Workers that have not yet confirmed this state; only in the answer to a command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_workers: Vec<usize>,
}

/// Where a rollout is in its steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Step {
    /// The step that waits, counted from 0; equal to `count` when all are done.
    pub index: usize,
    /// The number of steps; 0 without steps.
    pub count: usize,
    /// How long this step has waited, in milliseconds.
    #[serde(default)]
    pub waited_ms: u64,
    /// The candidate's requests that were judged since this step began; where users are judged, distinct users.
    #[serde(default)]
    pub requests: u64,
    /// The pairs of stable's answers and the candidate's as its shadow that were compared since this step began.
    #[serde(default)]
    pub compared: u64,
    /// Tasks that people have decided since this step began, without seeing the model's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decisions: Option<u64>,
    /// The share of compared pairs, or of decided tasks, that agrees; `null` without any.
    #[serde(default)]
    pub agreement: Option<Agreement>,
}

/// Progress of the watch after a flip or the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Watch {
    /// How long it has lasted, in milliseconds.
    pub waited_ms: u64,
    /// How long it will last, in milliseconds.
    pub duration_ms: u64,
}

/// A step as configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Planned {
    /// Sets the shares of the versions named.
    SetWeight(Shares),
    /// Sets the mirror's share.
    SetMirror(Percent),
    /// Sets the degree of automation.
    SetDegree(Degree),
    /// Waits for all that is given; for a promotion if nothing is.
    Pause {
        /// Milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
        /// The candidate's requests; where users are judged, distinct users.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_requests: Option<u64>,
        /// Compared pairs of stable's answers and the candidate's as its shadow.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_compared: Option<u64>,
        /// The share of them that agrees: the lower end of its interval.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_agreement: Option<f64>,
        /// Tasks that people have decided without seeing the model's answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_decisions: Option<u64>,
        /// The part of all tasks that the proven threshold leaves to the model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_coverage: Option<f64>,
    },
    /// Waits until the candidate answers `successes` questions in a row with the status `expect`.
    Ready {
        /// The path that is asked.
        path: String,
        /// The status.
        expect: u64,
        /// So many answers.
        successes: u64,
        /// Milliseconds after which the release is paused.
        timeout_ms: u64,
    },
}

impl Rollout {
    /// Shows a rollout as it stands `now`.
    #[must_use]
    pub fn new(name: &str, record: &Record, now: Now) -> Self {
        let Record { program, run, .. } = record;
        let pairs = run.judge.step_pairs();
        let (decided, of_people) = run.ladder.agreement();
        let of_pairs =
            (pairs.units > 0).then(|| Agreement::of(pairs.units.saturating_sub(pairs.events), pairs.units));
        let has_people = program.automation.is_some();
        Self {
            name: name.to_owned(),
            revision: run.revision,
            release: program.release.clone(),
            attempt: run.attempt,
            phase: run.phase,
            reason: run.reason.sentence().into_owned(),
            pinned: run.is_pinned(program),
            stable: program.stable.clone(),
            candidate: program.candidate.clone(),
            active: active(record),
            step: Step {
                index: run.position.min(program.steps.len()),
                count: program.steps.len(),
                waited_ms: run.waited(now),
                requests: run.judge.step_requests(),
                compared: pairs.units,
                decisions: has_people.then_some(decided),
                agreement: if has_people { of_people } else { of_pairs },
            },
            steps: program.steps.iter().map(Planned::new).collect(),
            watch: run
                .window_lasts(program)
                .map(|duration_ms| Watch { waited_ms: run.waited(now), duration_ms }),
            weights: weights(program, run.in_force()),
            unit: program.unit(),
            observed_share: observed_share(record),
            mirror: run.mirror_share(program).map(Percent::of),
            evidence: evidence(record),
            alarms: alarms(record),
            drift: drifts(record),
            automation: None,
            missing_workers: Vec::new(),
        }
    }

    /// The same, with what people have decided.
    #[must_use]
    pub fn with_decisions(self, record: &Record, decisions: &Decisions) -> Self {
        Self { automation: Automation::new(record, decisions), ..self }
    }
}

impl Planned {
    fn new(step: &program::Step) -> Self {
        match step {
            program::Step::Weights(weights) => Self::SetWeight(shares(weights)),
            program::Step::Mirror(share) => Self::SetMirror(Percent::of(*share)),
            program::Step::Degree(degree) => Self::SetDegree(*degree),
            program::Step::Pause(Pause::Person) => Self::Pause {
                duration_ms: None,
                min_requests: None,
                min_compared: None,
                min_agreement: None,
                min_decisions: None,
                min_coverage: None,
            },
            program::Step::Pause(Pause::Until(until)) => {
                let some = |count: u64| (count > 0).then_some(count);
                Self::Pause {
                    duration_ms: Some(until.duration),
                    min_requests: some(until.requests),
                    min_compared: some(until.compared),
                    min_agreement: (until.agreement > 0.0).then_some(until.agreement),
                    min_decisions: some(until.decisions),
                    min_coverage: (until.coverage > 0.0).then_some(until.coverage),
                }
            }
            program::Step::Ready(ready) => Self::Ready {
                path: ready.path.clone(),
                expect: ready.expect,
                successes: ready.successes,
                timeout_ms: ready.timeout,
            },
        }
    }
}

fn observed_share(record: &Record) -> Shares {
    let Record { program, run, .. } = record;
    let mut shares = Shares::new();
    if let (Some(share), Some(candidate)) = (run.judge.observed_share(), &program.candidate) {
        let percent = share * 100.0;
        shares.insert(candidate.clone(), Percent(percent));
        shares.insert(program.stable.clone(), Percent(100.0 - percent));
    }
    shares
}

/// The side of a blue/green rollout that has most of the traffic.
fn active(record: &Record) -> Option<String> {
    let Record { program, run, .. } = record;
    let candidate = program.candidate.as_ref().filter(|_| program.blue_green)?;
    let share = run.in_force().get(candidate).copied().unwrap_or_default().percent();
    Some(if share > 50.0 { candidate.clone() } else { program.stable.clone() })
}
