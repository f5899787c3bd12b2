//! Rollouts and events as the API shows them: shares in percent, stable's included; times as text; logarithms of
//! e-values to the base of 10. The command line reads the same types.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::automation::Automation;
use super::time::rfc3339;
use crate::alarm::rule::Rule;
use crate::analysis::kernel::agreement::Agreement;
use crate::analysis::totals::Totals;
use crate::analysis::{judge, test, window};
use crate::automation::decisions::Decisions;
use crate::config::alarm::{self, Of};
use crate::drift::rule::{self, WINDOWS};
use crate::drift::state::Moved;
use crate::fleet::store::values::{Life, Seen};
use crate::fleet::store::view::View;
use crate::model::{self, Degree, Share, Side, Unit};
use crate::rollout::event::{self, Action, Actor};
use crate::rollout::phase::Phase;
use crate::rollout::program::{self, Pause, Program};
use crate::rollout::record::Record;
use crate::rollout::run::Now;
use crate::rollout::run::alarm::sentence;
use crate::rollout::run::drift;
use crate::signal::catalog::{self, Kind};
use crate::signal::histogram;

/// A share in percent. Whole numbers are written as such: `5`, `0.25`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percent(pub f64);

/// Shares of versions by name.
pub type Shares = BTreeMap<String, Percent>;

/// A page of rollouts, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Page {
    /// The rollouts.
    pub rollouts: Vec<Rollout>,
    /// Pass it as `after` to get the next page; `null` on the last one.
    pub next: Option<String>,
}

/// The Envoys that share their rollouts, as this one sees them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Fleet {
    /// The fleet's name.
    pub name: String,
    /// This Envoy among its members.
    pub member: String,
    /// The member that leads; `null` as long as none is known.
    pub leader: Option<String>,
    /// Milliseconds since the store last answered; `null` if it never has.
    pub store_age_ms: Option<u64>,
    /// Whether this Envoy acts on its own, because the store does not answer.
    pub alone: bool,
    /// What a person should look at, each in one sentence.
    pub problems: Vec<String>,
    /// Rollouts that were changed here and not in the store yet.
    pub unstored: Vec<String>,
    /// The store's revision at which a rollout last moved, as far as this Envoy has read; 0 as long as it has none.
    pub revision: u64,
    /// The members as the leader sees them.
    pub members: Vec<Member>,
}

/// An Envoy of a fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Member {
    /// Its name, another one after each start.
    pub member: String,
    /// Whether what it counts is used.
    pub counted: bool,
    /// The store's revision up to which it follows all records, as it last reported.
    pub revision: u64,
    /// Milliseconds by which its clock is ahead of the median.
    pub clock_ahead_ms: i64,
    /// Alike for members with the same rollouts; empty as long as it is not known.
    pub configuration: String,
    /// The version of Changeover.
    pub version: String,
}

impl Fleet {
    /// Shows a fleet as it is `now`.
    #[must_use]
    pub fn new(fleet: &View, now: Now) -> Self {
        let member = |member: &Seen| Member {
            member: member.life.name(),
            counted: member.left_out.is_none(),
            revision: member.followed,
            clock_ahead_ms: member.ahead,
            configuration: match member.configuration {
                0 => String::new(),
                hash => format!("{hash:016x}"),
            },
            version: member.version.clone(),
        };
        Self {
            name: fleet.fleet.clone(),
            member: fleet.life.name(),
            leader: fleet.leader.map(Life::name),
            store_age_ms: (fleet.heard > 0).then(|| now.time.saturating_sub(fleet.heard)),
            alone: fleet.is_away,
            problems: fleet.problems(),
            unstored: fleet.unstored.clone(),
            revision: fleet.followed,
            members: fleet.members.iter().map(member).collect(),
        }
    }
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
    /// The evidence so far. `all` decides: the average of the other metrics; after a flip or the last step, the larger of
    /// that average and the watch.
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

/// The evidence that the candidate is worse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Evidence {
    /// The metric; `all` for the average of all.
    pub metric: String,
    /// The logarithm of its e-value.
    pub log10_e: Option<f64>,
    /// The logarithm of the e-value at which the candidate is worse; `null` for all but the average.
    pub threshold: Option<f64>,
    /// Of what users do afterwards: for so long after a request it may come, so the evidence is as old; left out of other metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_ms: Option<u64>,
    /// What the metric is compared by; left out where there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<Tested>,
}

/// One comparison of a metric: of a duration there is one for each quantile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Tested {
    /// The logarithm of its e-value; the metric's e-value is the average of its tests'.
    pub log10_e: Option<f64>,
    /// What the candidate is compared with.
    pub against: Against,
    /// Whether more or less of the candidate's counts against it.
    pub worse_if: WorseIf,
    /// Of durations: the quantile of stable's at which they are compared; otherwise `null`.
    pub quantile: Option<f64>,
    /// Of durations: what takes longer than this is counted. Stable's is its quantile in an earlier time, the candidate's is
    /// what is tolerated; `null` until enough of stable's durations are known.
    pub slower_than_ms: Option<Milliseconds>,
    /// The candidate has the event at least so many times as often as stable, with `worse_if: less` stable as the candidate: the
    /// lower end of a confidence sequence over the step, above the true ratio in at most one step of twenty, however often one
    /// looks. `null` while it is not certain to be more often at all, against a limit or a copy, of means and of users.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// Of durations: where the quantile is since the step began, in milliseconds, of all answers of both versions; `null`
    /// before the first ones.
    #[serde(default)]
    pub measured_ms: Option<Milliseconds>,
    /// The limit, a rate; `null` unless the candidate is compared with one.
    pub max: Option<f64>,
    /// What was counted since the step began; while nothing is known of it, in the one before.
    pub samples: Samples,
}

/// What the candidate is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Against {
    /// With stable at the same time.
    Stable,
    /// With a configured limit.
    Limit,
    /// With a copy of stable that gets the same requests.
    Copy,
}

/// Which difference counts against the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum WorseIf {
    /// More than the other.
    More,
    /// Less than the other.
    Less,
}

/// Milliseconds of both versions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Milliseconds {
    /// Of the candidate.
    pub candidate: f64,
    /// Of stable.
    pub stable: f64,
}

/// An alarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Alarm {
    /// Its name.
    pub name: String,
    /// Whether it is raised.
    pub raised: bool,
    /// Since when, as RFC 3339 writes it; `null` while it is not raised.
    pub since: Option<String>,
    /// The signal that it looks at.
    pub signal: String,
    /// Whose.
    pub of: Of,
    /// What happens when it is raised.
    pub action: alarm::Action,
    /// What it has last seen in its window: a rate, milliseconds, or a mean; `null` before there were enough observations.
    pub value: Option<f64>,
    /// The same in its slow window, where it has one in which the threshold must be passed as well.
    pub slow_value: Option<f64>,
    /// The threshold.
    pub threshold: Option<f64>,
    /// Observations in the window.
    pub observations: u64,
    /// All of this in one sentence.
    pub sentence: String,
}

/// How far a metric of stable's has moved from its reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Drift {
    /// The metric.
    pub metric: String,
    /// When its reference was frozen, as RFC 3339 writes it; `null` while there is none.
    pub frozen: Option<String>,
    /// Observations of the reference.
    pub observations: u64,
    /// The last 5 minutes, hour and day.
    pub windows: Vec<DriftWindow>,
    /// All of this in one sentence.
    pub sentence: String,
}

/// How far a metric has moved in a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct DriftWindow {
    /// `5m`, `1h` or `1d`.
    pub window: String,
    /// How far, in units of its noise: above 1 chance alone moves it once in a hundred times. `null` of too few observations.
    pub times_noise: Option<f64>,
    /// How much that is: the population stability index, less what chance adds.
    pub size: Option<f64>,
    /// Observations in the window; 0 of too few.
    pub observations: u64,
}

/// The API is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Health {
    /// `ok`.
    pub status: &'static str,
}

/// What happened to a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Journal {
    /// Newest first.
    pub events: Vec<Event>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Event {
    /// When, as RFC 3339 writes it.
    pub time: String,
    /// The rollout.
    pub rollout: String,
    /// The release.
    pub release: String,
    /// From 1.
    pub attempt: u32,
    /// What caused it.
    pub actor: Actor,
    /// The name of the token that came with the command; `null` for a token without a name, and for other causes.
    #[serde(default)]
    pub token: Option<String>,
    /// The reason that came with the command.
    #[serde(default)]
    pub reason: Option<String>,
    /// What was done.
    pub action: Action,
    /// The metric with the most evidence against the candidate, if the judge caused the event; `circuit_breaker`; or the name of
    /// an alarm.
    pub rule: Option<String>,
    /// The logarithm of the e-value that decided; a circuit breaker's: errors in a row; an alarm's: what it saw.
    pub value: Option<f64>,
    /// The logarithm of its threshold; a circuit breaker's: the errors that are enough; an alarm's threshold.
    pub threshold: Option<f64>,
    /// The counts of that metric since the step began; after a flip, the old side's are those before it.
    pub samples: Option<Samples>,
    /// Shares before.
    pub from: Shares,
    /// Shares after.
    pub to: Shares,
    /// The event in one sentence.
    pub message: String,
}

/// The counts of both versions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Samples {
    /// What was counted.
    pub unit: Unit,
    /// The version being released.
    pub candidate: Sample,
    /// The version it is compared with.
    pub stable: Sample,
}

/// The counts of one version.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Sample {
    /// Requests, or users, with the metric's event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// The mean of their values, if the metric is a mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// All judged requests, or users.
    pub units: u64,
}

impl Sample {
    fn new(samples: Totals, side: Side) -> Self {
        match samples {
            Totals::Events(table) => {
                Self { events: Some(table[side].events), mean: None, units: table[side].units }
            }
            Totals::Means(sums) => Self { events: None, mean: sums[side].mean(), units: sums[side].count },
        }
    }
}

impl Tested {
    fn new(tested: &judge::Tested, unit: Unit) -> Self {
        let judge::Tested { test, seen, edges, value, at_least, measured } = tested;
        let (against, max) = match test.against {
            test::Against::Stable { .. } => (Against::Stable, None),
            test::Against::Bound { max } => (Against::Limit, Some(max)),
            test::Against::Copy { .. } => (Against::Copy, None),
        };
        let tenths = |milliseconds: f64| (milliseconds * 10.0).round() / 10.0;
        let milliseconds = |edge: usize| tenths(histogram::milliseconds(edge));
        Self {
            log10_e: shown(value.log10()),
            against,
            worse_if: if test.is_of_less() { WorseIf::Less } else { WorseIf::More },
            quantile: test.quantile(),
            slower_than_ms: edges.map(|edges| Milliseconds {
                candidate: milliseconds(edges.candidate),
                stable: milliseconds(edges.stable),
            }),
            at_least: at_least.filter(|_| unit == Unit::Requests).map(down),
            measured_ms: match (measured.candidate, measured.stable) {
                (Some(candidate), Some(stable)) => {
                    Some(Milliseconds { candidate: tenths(candidate), stable: tenths(stable) })
                }
                _ => None,
            },
            max,
            samples: Samples::new(*seen, unit).on_scale(test),
        }
    }
}

impl Samples {
    fn new(samples: Totals, unit: Unit) -> Self {
        let [candidate, stable] = [Side::Candidate, Side::Stable].map(|side| Sample::new(samples, side));
        Self { unit, candidate, stable }
    }

    /// Means as values: on a logarithmic scale, geometric means.
    fn on_scale(mut self, test: &test::Test) -> Self {
        if let Some(Kind::Mean(scale)) = catalog::by_id(test.signal).map(|signal| signal.kind) {
            for sample in [&mut self.candidate, &mut self.stable] {
                sample.mean = sample.mean.map(|mean| scale.value(mean));
            }
        }
        self
    }
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

impl Event {
    /// Shows an event of a rollout.
    #[must_use]
    pub fn new(rollout: &str, event: &event::Event) -> Self {
        let finding = event.evidence.as_ref();
        Self {
            time: rfc3339(event.time),
            rollout: rollout.to_owned(),
            release: event.release.clone(),
            attempt: event.attempt,
            actor: event.actor,
            token: event.origin.token.clone(),
            reason: event.origin.reason.clone(),
            action: event.action,
            rule: finding.map(|finding| finding.rule.clone()),
            value: finding.and_then(|finding| shown(finding.value)),
            threshold: finding.and_then(|finding| shown(finding.threshold)),
            samples: finding.map(|finding| Samples::new(finding.samples, finding.unit)),
            from: shares(&event.from),
            to: shares(&event.to),
            message: event.message.clone(),
        }
    }
}

impl Percent {
    fn of(share: Share) -> Self {
        Self(share.percent())
    }
}

impl Serialize for Percent {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // cut to what a number can hold
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hundredths = (self.0 * 100.0).round() as u32;
        if hundredths.is_multiple_of(100) {
            serializer.serialize_u32(hundredths / 100)
        } else {
            serializer.serialize_f64(f64::from(hundredths) / 100.0)
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Self)
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl schemars::JsonSchema for Percent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let description = "A share in percent, with at most two decimals.";
        schemars::json_schema!({"type": "number", "minimum": 0, "maximum": 100, "description": description})
    }
}

/// The shares of all versions, those that have none too.
fn weights(program: &Program, in_force: &model::Shares) -> Shares {
    let mut all = Shares::new();
    all.extend(program.versions.iter().map(|version| (version.clone(), Percent(0.0))));
    all.extend(shares(&program.shares(in_force)));
    all
}

fn shares(weights: &model::Shares) -> Shares {
    // Collecting into a map sorts first, which costs the module kilobytes of code.
    let mut shares = Shares::new();
    shares.extend(weights.iter().map(|(version, share)| (version.clone(), Percent::of(*share))));
    shares
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

fn alarms(record: &Record) -> Vec<Alarm> {
    let Record { program, run, .. } = record;
    let state = |at: usize| run.alarms.alarms().get(at);
    let alarm = |(at, rule): (usize, &Rule)| {
        let reading = state(at).and_then(|state| state.latest);
        let raised = state(at).and_then(|state| state.raised);
        let sentence = match &reading {
            Some(reading) => sentence(program, rule, reading),
            None => "not enough has been observed yet".to_owned(),
        };
        Alarm {
            name: rule.name.clone(),
            raised: raised.is_some(),
            since: raised.map(rfc3339),
            signal: rule.signal.1.clone(),
            of: rule.of,
            action: rule.action,
            value: reading.map(|reading| reading.value),
            slow_value: reading.and_then(|reading| reading.slow),
            threshold: reading.map(|reading| reading.threshold),
            observations: reading.map_or(0, |reading| rule.observations(&reading.samples)),
            sentence,
        }
    };
    program.alarms.iter().enumerate().map(alarm).collect()
}

fn drifts(record: &Record) -> Vec<Drift> {
    let Record { program, run, .. } = record;
    let shown_of = |(at, rule): (usize, &rule::Metric)| {
        let metric = run.drift.metrics().get(at);
        let reference = metric.and_then(|metric| metric.reference.as_ref());
        let moved = metric.map_or([None; WINDOWS.len()], |metric| metric.windows_moved);
        let window = |((window, _), moved): ((&str, u64), Option<Moved>)| DriftWindow {
            window: window.to_owned(),
            times_noise: moved.and_then(|moved| shown(moved.movement.times)),
            size: moved.and_then(|moved| shown(moved.movement.size)),
            observations: moved.map_or(0, |moved| moved.observations),
        };
        Drift {
            metric: rule.name.clone(),
            frozen: reference.map(|reference| rfc3339(reference.frozen)),
            observations: reference.map_or(0, |reference| reference.observations),
            windows: WINDOWS.into_iter().zip(moved).map(window).collect(),
            sentence: drift::sentence(&rule.name, metric),
        }
    };
    program.drift.iter().flat_map(|rules| &rules.metrics).enumerate().map(shown_of).collect()
}

fn evidence(record: &Record) -> Vec<Evidence> {
    let Some(rules) = record.program.rules() else { return Vec::new() };
    let reading = record.run.judge.reading();
    let mut evidence: Vec<Evidence> = Vec::new();
    let judged = reading.metrics.into_iter().zip(record.run.judge.tested());
    for (rule, (value, tested)) in rules.metrics.iter().zip(judged) {
        evidence.push(Evidence {
            metric: rule.name.clone(),
            log10_e: shown(value.log10()),
            threshold: None,
            within_ms: rule
                .tests
                .first()
                .filter(|test| test.is_of_events())
                .map(|test| rules.comes_within(test).saturating_mul(1_000)),
            tests: tested.iter().map(|tested| Tested::new(tested, rules.unit)).collect(),
        });
    }
    let window = record.run.window();
    evidence.extend(window.map(|value| Evidence {
        metric: window::metric(),
        log10_e: shown(value.log10()),
        threshold: None,
        within_ms: None,
        tests: Vec::new(),
    }));
    let threshold = shown(rules.threshold.log10());
    let all = reading.all.max(window.unwrap_or(0.0));
    evidence.push(Evidence {
        metric: "all".into(),
        log10_e: shown(all.log10()),
        threshold,
        within_ms: None,
        tests: Vec::new(),
    });
    evidence
}

/// A lower end to two decimals, never above it.
fn down(times: f64) -> f64 {
    (times * 100.0).floor() / 100.0
}

/// A number, such as a logarithm, to three decimals, which suffices for reading. JSON has no infinite numbers.
fn shown(logarithm: f64) -> Option<f64> {
    logarithm.is_finite().then(|| (logarithm * 1_000.0).round() / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_as_short_as_they_can_be() {
        for (share, text) in
            [(0.0, "0"), (5.0, "5"), (0.25, "0.25"), (33.333_333, "33.33"), (99.999, "100"), (100.0, "100")]
        {
            assert_eq!(serde_json::to_string(&Percent(share)).unwrap(), text);
        }
        assert_eq!(serde_json::to_string(&Percent(f64::NAN)).unwrap(), "0");
    }

    #[test]
    fn logarithms_are_numbers_or_nothing() {
        assert_eq!(shown(1.234_56), Some(1.235));
        assert_eq!(shown(0.0_f64.log10()), None);
    }
}
