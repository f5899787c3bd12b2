//! What a rollout is to do, compiled from its configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use super::policy::Policy;
use super::ready::Ready;
use crate::alarm::rule::Rule;
use crate::analysis::rules::{Pairs, Rules, fingerprint};
use crate::analysis::trail::Followed;
use crate::automation::proof::Target;
use crate::config::alarm::Of;
use crate::config::automation::Guards;
use crate::config::compare::Compare;
use crate::config::feedback::Feedback;
use crate::config::one_of::StepAction;
use crate::config::release::{self, Metric, SetWeight};
use crate::config::schema::{self, MirrorMode};
use crate::config::units::{Count, Duration, Percent};
use crate::drift::rule as drift;
use crate::model::{Degree, Share, Shares, Unit, shares};
use crate::payload::protocol::Protocol;
use crate::signal::catalog::{self, Role};

/// What a rollout is to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// The release's name.
    pub release: String,
    /// The version that is known to be good.
    pub stable: String,
    /// The version that is being released; `None` when there is none besides stable.
    pub candidate: Option<String>,
    /// All versions.
    pub versions: Vec<String>,
    /// Shares of the versions besides stable that come from outside: `weights`, or a side of `blue_green`.
    pub weights: Shares,
    /// The steps, when it moves by itself; a bake is two.
    pub steps: Vec<Step>,
    /// Whether one of two sides has all the traffic.
    pub blue_green: bool,
    /// Milliseconds that the version which has got all traffic is watched: after a flip, or after the last step.
    pub window: Option<u64>,
    /// When the candidate is ready to get all traffic by a flip. Steps have steps of their own for that.
    pub ready: Option<Ready>,
    /// All traffic to this version.
    pub pin: Option<String>,
    /// The mirror's share, until a step sets another; `None` without a mirror.
    pub mirror: Option<Share>,
    /// How the candidate is judged, if it is.
    pub analysis: Option<Analysis>,
    /// How a model takes over, where the stable version is people.
    pub automation: Option<Automation>,
    /// Its alarms.
    pub alarms: Vec<Rule>,
    /// What is watched of stable, if anything is.
    pub drift: Option<drift::Rules>,
}

/// How a model takes over people's work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Automation {
    /// Where it begins.
    pub degree: Degree,
    /// What it must show before it answers alone, if that is to be proven.
    pub target: Option<Target>,
    /// The confidence from which on it answers alone whatever was proven, in hundredths of a percent.
    pub threshold: Option<u16>,
    /// Whether the degree goes down when audited tasks speak against the model.
    pub steps_down: bool,
    /// Whether people decide some of the tasks that the model answers alone.
    pub is_audited: bool,
    /// Identifies what decisions are about: where a label and a confidence are read, and the model's cluster; a hash.
    pub meaning: u64,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Sets the shares of the versions named, stable excepted.
    Weights(Shares),
    /// Sets the mirror's share.
    Mirror(Share),
    /// Sets the degree of automation.
    Degree(Degree),
    /// Waits.
    Pause(Pause),
    /// Waits until the candidate is ready.
    Ready(Ready),
}

impl Step {
    /// Whether the run stays there, until what it waits for has come.
    #[must_use]
    pub fn waits(&self) -> bool {
        matches!(self, Self::Pause(_) | Self::Ready(_))
    }
}

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Pause {
    /// A person who promotes.
    Person,
    /// All of these.
    Until(Until),
}

/// What a step waits for; 0: not for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Until {
    /// Milliseconds.
    pub duration: u64,
    /// The candidate's judged requests.
    pub requests: u64,
    /// Pairs of its answers and stable's.
    pub compared: u64,
    /// The share of them that agree: the lower end of its interval. With people: of what they have decided.
    pub agreement: f64,
    /// Tasks that people have decided without seeing the model's answer.
    pub decisions: u64,
    /// The part of all tasks that the proven threshold leaves to the model.
    pub coverage: f64,
}

/// How the candidate is judged, and what follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// What the judge goes by.
    pub rules: Rules,
    /// What is done about a candidate that is worse.
    pub policy: Policy,
    /// Milliseconds a step may take.
    pub progress_deadline: Option<u64>,
    /// The candidate's errors in a row that are enough for one worker.
    pub breaker: Option<u64>,
}

impl Program {
    /// Whether a release waits until the candidate is ready.
    #[must_use]
    pub fn awaits_ready(&self) -> bool {
        self.ready.is_some() || self.steps.iter().any(|step| matches!(step, Step::Ready(_)))
    }

    /// Compiles a valid configuration.
    #[must_use]
    pub fn new(config: &schema::Rollout) -> Self {
        let candidate = config.candidate.clone().filter(|candidate| *candidate != config.stable);
        let cluster = candidate.as_ref().and_then(|name| Some(config.versions.get(name)?.cluster.as_str()));
        let mut steps: Vec<Step> = Vec::new();
        let configured = config.steps.iter().flatten();
        steps.extend(configured.filter_map(|of| step(of, candidate.as_ref().zip(cluster), &config.stable)));
        let by_protocol =
            by_protocol(config).zip(cluster).map(|(ready, cluster)| Ready::new(&ready, cluster));
        if !steps.is_empty() && !steps.iter().any(|step| matches!(step, Step::Ready(_))) {
            steps.splice(..0, by_protocol.clone().map(Step::Ready));
        }
        let sides = config.blue_green.as_ref();
        let ready = sides.and_then(|sides| match &sides.ready {
            Some(ready) => Some(Ready::new(ready, cluster?)),
            None => by_protocol,
        });
        if let Some(bake) = sides.and_then(|sides| bake(sides.bake.as_ref()?, candidate.clone()?)) {
            steps.extend(ready.clone().map(Step::Ready));
            steps.extend(bake);
        }
        let window = config.auto_rollback_window.or_else(|| sides?.auto_rollback_window);
        let alarms: Vec<Rule> = config.alarms.iter().filter_map(Rule::new).collect();
        let mut watched: Vec<_> = alarms.iter().map(|alarm| alarm.signal.clone()).collect();
        let drift = config.drift.as_ref().map(|drift| drift::Rules::new(drift, of_stable(config)));
        let moving = drift.iter().flat_map(|rules| &rules.metrics);
        watched.extend(moving.map(|metric| (metric.signal, metric.name.clone())));
        let analysis = config.analysis.as_ref().map(|analysis| {
            let unit = if config.session_affinity.is_some() { Unit::Users } else { Unit::Requests };
            let mut analysis = Analysis::new(
                analysis,
                unit,
                (window.is_some(), !steps.is_empty()),
                (
                    pairs(config),
                    config.mirror.as_ref().and_then(|mirror| mirror.compare.as_ref()),
                    &config.feedback,
                ),
            );
            analysis.rules.watched = watched;
            analysis
        });
        Self {
            release: config.release.clone().unwrap_or_else(|| config.name.clone()),
            stable: config.stable.clone(),
            versions: config.versions.keys().cloned().collect(),
            weights: from_outside(config),
            steps,
            blue_green: sides.is_some(),
            window: window.map(Duration::as_millis),
            ready,
            pin: config.pin.clone(),
            mirror: config.mirror.as_ref().map(|mirror| mirror.percent.0),
            analysis,
            automation: config.automation.as_ref().map(|automation| Automation::new(automation, cluster)),
            alarms,
            drift,
            candidate,
        }
    }

    /// Whether another program is about the same run: the same release of the same candidate beside the same
    /// stable version.
    #[must_use]
    pub fn is_same_run(&self, other: &Self) -> bool {
        (&self.release, &self.stable, &self.candidate) == (&other.release, &other.stable, &other.candidate)
            && self.automation.is_some() == other.automation.is_some()
    }

    /// Whether the candidate is the side that is configured to answer.
    #[must_use]
    pub fn is_candidate_active(&self) -> bool {
        self.candidate.as_ref().is_some_and(|candidate| self.weights.contains_key(candidate))
    }

    /// Whether all traffic is pinned to stable.
    #[must_use]
    pub fn is_pinned_to_stable(&self) -> bool {
        self.pin.as_ref() == Some(&self.stable)
    }

    /// Identifies a program.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        identify(self)
    }

    /// Identifies an attempt of a run, for receipts: a hash.
    #[must_use]
    pub fn attempt(&self, attempt: u32) -> u64 {
        let meaning = self.automation.as_ref().map(|automation| automation.meaning);
        identify(&(&self.release, &self.stable, &self.candidate, attempt, meaning))
    }

    /// The judge's rules.
    #[must_use]
    pub fn rules(&self) -> Option<&Rules> {
        self.analysis.as_ref().map(|analysis| &analysis.rules)
    }

    /// What is counted of users who come again.
    #[must_use]
    pub fn followed(&self) -> &[Followed] {
        self.rules().map_or(&[], |rules| &rules.followed)
    }

    /// Whether what stable does is looked at on its own, with or without a candidate.
    #[must_use]
    pub fn watches_stable(&self) -> bool {
        self.drift.is_some() || self.alarms.iter().any(|alarm| alarm.of != Of::Candidate)
    }

    /// What is judged.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.rules().map_or(Unit::Requests, |rules| rules.unit)
    }

    /// The shares of all versions that have one, stable's included.
    #[must_use]
    pub fn shares(&self, others: &Shares) -> Shares {
        let left = Share::rest(others.values().copied());
        let mut shares = others.clone();
        if !left.is_none() {
            shares.insert(self.stable.clone(), left);
        }
        shares
    }

    /// The weights after the steps before `position`.
    #[must_use]
    pub fn weights_before(&self, position: usize) -> Shares {
        let mut weights = Shares::new();
        for step in self.steps.iter().take(position) {
            if let Step::Weights(set) = step {
                weights.extend(set.clone());
            }
        }
        weights
    }

    /// The mirror's share of a run at `position`, where a step before it sets one, or a step there: nothing waits in between.
    #[must_use]
    pub fn mirror_at(&self, position: usize) -> Option<Share> {
        let share = |step: &Step| match step {
            Step::Mirror(share) => Some(*share),
            _ => None,
        };
        let here = self.steps.iter().skip(position).map_while(share).last();
        here.or_else(|| self.steps.iter().take(position).rev().find_map(share))
    }

    /// Where a run with people goes on at `degree` when its steps have changed: behind the last step that sets this degree or,
    /// when none does, the next lower one.
    #[must_use]
    pub fn position_at(&self, degree: Degree) -> usize {
        let sets = |step: &Step| matches!(step, Step::Degree(set) if *set <= degree);
        self.steps.iter().rposition(sets).map_or(0, |index| index.saturating_add(1))
    }

    /// The weight that the candidate has after the steps before `position`.
    fn candidate_before(&self, position: usize) -> Share {
        let Some(candidate) = &self.candidate else { return Share::NONE };
        let set = self.steps.iter().take(position).rev().find_map(|step| match step {
            Step::Weights(weights) => weights.get(candidate),
            _ => None,
        });
        set.copied().unwrap_or_default()
    }

    /// Where a run whose candidate has `weight` goes on when its steps have changed: behind the last step
    /// that sets this weight or, when none does, the next lower one.
    #[must_use]
    pub fn position_of(&self, weight: Share) -> usize {
        let is_weight = |step: &Step| matches!(step, Step::Weights(_));
        let behind = self.steps.iter().enumerate().filter(|(_, step)| is_weight(step));
        behind
            .map(|(index, _)| index.saturating_add(1))
            .rfind(|position| self.candidate_before(*position) <= weight)
            .unwrap_or(0)
    }
}

impl Automation {
    /// Why there cannot be a degree, as the validation of a configuration that sets it has it.
    pub(super) fn flaw_of(&self, degree: Degree) -> Option<String> {
        let guards = Guards {
            has_partial: self.target.is_some() || self.threshold.is_some(),
            has_target: self.target.is_some(),
            is_audited: self.is_audited,
            steps_down: self.steps_down,
        };
        let (field, why) = guards.missing_for(degree).next()?;
        Some(format!("{}: automation.{field}: {why}", degree.label()))
    }

    /// `cluster`: the model's.
    fn new(config: &crate::config::automation::Automation, cluster: Option<&str>) -> Self {
        let partial = config.partial.as_ref();
        let decided = config.decision.as_ref().map(|decision| &decision.label);
        Self {
            degree: config.degree,
            target: partial.and_then(|partial| {
                Some(Target {
                    max_disagreement: partial.max_disagreement?,
                    confidence: partial.confidence,
                    min_coverage: partial.min_coverage,
                })
            }),
            threshold: partial.and_then(|partial| partial.threshold).map(hundredths),
            steps_down: config.step_down,
            is_audited: !config.audit.0.is_none(),
            meaning: identify(&(&config.answer.label, &config.answer.confidence, decided, cluster)),
        }
    }
}

/// A hash that identifies a value. It is the same natively and on wasm32; hashes by `std::hash::Hash` are not, because variants and
/// lengths are as wide as a word there.
pub(crate) fn identify(value: &impl Serialize) -> u64 {
    // Plain values always serialize; if they ever did not, all would look alike.
    SipHasher24::new().hash(&postcard::to_allocvec(value).unwrap_or_default())
}

/// A fraction in hundredths of a percent.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and is cut to what a share can be
fn hundredths(fraction: f64) -> u16 {
    Share::new((fraction * f64::from(Share::ALL.basis_points())).round() as u16).basis_points()
}

impl Analysis {
    /// `is_watched`, `has_steps`: the other tests of the candidate, with which it shares the probability of a false alarm.
    fn new(
        config: &release::Analysis,
        unit: Unit,
        (is_watched, has_steps): (bool, bool),
        (pairs, compare, feedback): (Option<Pairs>, Option<&Compare>, &[Feedback]),
    ) -> Self {
        // What is judged without steps: fixed bounds, and a shadow beside a copy of stable.
        let differs = catalog::with_role(Role::Differs).name;
        let is_beside_copy = |metric: &Metric| pairs == Some(Pairs::WithBaseline) && metric.name == differs;
        let is_judged = config.metrics.iter().any(|metric| metric.max.is_some() || is_beside_copy(metric));
        let processes = if is_watched && (has_steps || is_judged) { 2 } else { 1 };
        let breaker = config.circuit_breaker.and_then(|breaker| breaker.consecutive_errors);
        Self {
            rules: Rules::new(config, unit, processes, pairs).comparing(compare).hearing(feedback),
            policy: Policy {
                on_failure: config.on_failure,
                dry_run: config.dry_run,
                no_data: config.no_data,
            },
            progress_deadline: config.progress_deadline.map(Duration::as_millis),
            breaker: breaker.map(Count::get),
        }
    }
}

/// Identifies everything besides a metric's name that decides what is observed of stable.
fn of_stable(config: &schema::Rollout) -> u64 {
    let errors = config.analysis.as_ref().map(|analysis| (analysis.deadline, &analysis.error_when));
    fingerprint(&(&config.stable, errors, &config.payload))
}

/// How the candidate's answers are compared with stable's, if it is a shadow whose are.
fn pairs(config: &schema::Rollout) -> Option<Pairs> {
    let mirror = config.mirror.as_ref().filter(|mirror| mirror.mode == MirrorMode::Compare)?;
    let pairs = if mirror.has_baseline() { Pairs::WithBaseline } else { Pairs::Alone };
    (config.candidate.as_ref() == Some(&mirror.to)).then_some(pairs)
}

/// The shares of all but stable.
fn others(of: &BTreeMap<String, Percent>, stable: &str) -> Shares {
    let others = of.iter().filter(|(version, _)| *version != stable);
    shares(others.map(|(version, percent)| (version.clone(), percent.0)))
}

/// What `weights`, or the side that is configured as active, gives to versions besides stable.
fn from_outside(config: &schema::Rollout) -> Shares {
    let active = config.blue_green.as_ref().and_then(|sides| sides.active.as_ref());
    match (&config.weights, active) {
        (Some(weights), _) => others(weights, &config.stable),
        (None, Some(active)) if *active != config.stable => shares([(active.clone(), Share::ALL)]),
        _ => Shares::new(),
    }
}

/// When a version is ready whose protocol says how that is asked.
fn by_protocol(config: &schema::Rollout) -> Option<release::Ready> {
    let protocol = config.payload.as_ref()?.protocol?;
    let path = (protocol == Protocol::OpenInference).then(|| "/v2/health/ready".to_owned())?;
    Some(release::Ready { path, ..release::Ready::default() })
}

/// `candidate`: its name and its cluster.
fn step(config: &release::Step, candidate: Option<(&String, &str)>, stable: &str) -> Option<Step> {
    Some(match config.action()? {
        StepAction::SetWeight(SetWeight::Candidate(percent)) => {
            Step::Weights(shares(candidate.into_iter().map(|(name, _)| (name.clone(), percent.0))))
        }
        StepAction::SetWeight(SetWeight::Versions(weights)) => Step::Weights(others(weights, stable)),
        StepAction::SetMirror(mirror) => Step::Mirror(mirror.percent?.0),
        StepAction::SetDegree(degree) => Step::Degree(degree),
        StepAction::Pause(pause) if *pause == release::Pause::default() => Step::Pause(Pause::Person),
        StepAction::Pause(pause) => Step::Pause(Pause::Until(Until {
            duration: pause.duration.map_or(0, Duration::as_millis),
            requests: pause.min_requests.map_or(0, Count::get),
            compared: pause.min_compared.map_or(0, Count::get),
            agreement: pause.min_agreement.unwrap_or(0.0),
            decisions: pause.min_decisions.map_or(0, Count::get),
            coverage: pause.min_coverage.unwrap_or(0.0),
        })),
        StepAction::Ready(ready) => Step::Ready(Ready::new(ready, candidate?.1)),
    })
}

/// A bake as the two steps that it is.
fn bake(config: &schema::Bake, candidate: String) -> Option<[Step; 2]> {
    let duration = config.duration.map_or(0, Duration::as_millis);
    Some([
        Step::Weights(shares([(candidate, config.weight?.0)])),
        // Time alone bakes nothing.
        Step::Pause(Pause::Until(Until { duration, requests: 1, ..Until::default() })),
    ])
}
