//! What a rollout is to do, compiled from its configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use crate::analysis::rules::Rules;
use crate::config::release::{OnFailure, SetWeight};
use crate::config::schema;
use crate::config::units::{Duration, Share};
use crate::model::Unit;

/// Shares of versions besides stable in hundredths of a percent; a version that is not in it has none, and
/// stable has what is left.
pub type Weights = BTreeMap<String, u16>;

/// Weights one by one. Collecting into a map sorts first, which costs the module kilobytes of code.
pub(super) fn weights(of: impl IntoIterator<Item = (String, u16)>) -> Weights {
    let mut weights = Weights::new();
    weights.extend(of);
    weights
}

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
    /// Weights that come from outside: `weights`, or a side of `blue_green`.
    pub weights: Weights,
    /// The steps, when it moves by itself; a bake is two.
    pub steps: Vec<Step>,
    /// Set where one of two sides has all the traffic.
    pub sides: Option<Sides>,
    /// All traffic to this version.
    pub pin: Option<String>,
    /// The mirror's share in hundredths of a percent, until a step sets another; `None` without a mirror.
    pub mirror: Option<u16>,
    /// How the candidate is judged, if it is.
    pub analysis: Option<Analysis>,
}

/// Blue/green.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sides {
    /// Milliseconds that a new side is watched after a flip.
    pub window: Option<u64>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Sets the weights of the versions named.
    Weights(Weights),
    /// Sets the mirror's share, in hundredths of a percent.
    Mirror(u16),
    /// Waits.
    Pause(Pause),
}

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pause {
    /// Somebody who promotes.
    Person,
    /// So many milliseconds, and so many of the candidate's judged requests.
    Until {
        /// Milliseconds.
        duration: u64,
        /// Requests.
        requests: u64,
    },
}

/// How the candidate is judged, and what follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// What the judge goes by.
    pub rules: Rules,
    /// What happens when the candidate is worse.
    pub on_failure: OnFailure,
    /// Only say what would happen.
    pub dry_run: bool,
    /// Milliseconds a step may take.
    pub progress_deadline: Option<u64>,
    /// The candidate's errors in a row that are enough for one worker.
    pub breaker: Option<u64>,
}

impl Program {
    /// Compiles a valid configuration.
    #[must_use]
    pub fn new(config: &schema::Rollout) -> Self {
        let candidate = config.candidate.clone().filter(|candidate| *candidate != config.stable);
        let others = |shares: &BTreeMap<String, Share>| -> Weights {
            let others = shares.iter().filter(|(version, _)| **version != config.stable);
            weights(others.map(|(version, share)| (version.clone(), share.basis_points())))
        };
        let active = config.blue_green.as_ref().and_then(|sides| sides.active.as_ref());
        let from_outside = match (&config.weights, active) {
            (Some(shares), _) => others(shares),
            (None, Some(active)) if *active != config.stable => weights([(active.clone(), Share::ALL)]),
            _ => Weights::new(),
        };
        let step = |step: &crate::config::release::Step| -> Option<Step> {
            if let Some(set) = &step.set_weight {
                return Some(Step::Weights(match set {
                    SetWeight::Candidate(share) => {
                        weights(candidate.iter().map(|name| (name.clone(), share.basis_points())))
                    }
                    SetWeight::Versions(shares) => others(shares),
                }));
            }
            if let Some(mirror) = &step.set_mirror {
                return mirror.percent.map(|share| Step::Mirror(share.basis_points()));
            }
            step.pause.as_ref().map(|pause| {
                Step::Pause(match (pause.duration, pause.min_requests) {
                    (None, None) => Pause::Person,
                    (duration, requests) => Pause::Until {
                        duration: duration.map_or(0, Duration::as_millis),
                        requests: requests.map_or(0, crate::config::units::Count::get),
                    },
                })
            })
        };
        let bake = |bake: &schema::Bake| {
            let (candidate, weight) = (candidate.clone()?, bake.weight?);
            let duration = bake.duration.map_or(0, Duration::as_millis);
            Some([
                Step::Weights(weights([(candidate, weight.basis_points())])),
                // Time alone bakes nothing.
                Step::Pause(Pause::Until { duration, requests: 1 }),
            ])
        };
        let mut steps: Vec<Step> = config.steps.iter().flatten().filter_map(step).collect();
        let sides = config.blue_green.as_ref();
        steps.extend(sides.and_then(|sides| sides.bake.as_ref()).and_then(bake).into_iter().flatten());
        let window = sides.and_then(|sides| sides.auto_rollback_window).map(Duration::as_millis);
        let analysis = config.analysis.as_ref().map(|analysis| {
            let unit = if config.session_affinity.is_some() { Unit::Users } else { Unit::Requests };
            // What is judged beside stable and what is judged after a flip have one chance together.
            let bounded = analysis.metrics.iter().any(|metric| metric.max.is_some());
            let processes = if window.is_some() && (!steps.is_empty() || bounded) { 2 } else { 1 };
            Analysis {
                rules: Rules::new(analysis, unit, processes),
                on_failure: analysis.on_failure,
                dry_run: analysis.dry_run,
                progress_deadline: analysis.progress_deadline.map(Duration::as_millis),
                breaker: analysis
                    .circuit_breaker
                    .and_then(|breaker| breaker.consecutive_errors)
                    .map(crate::config::units::Count::get),
            }
        });
        Self {
            release: config.release.clone().unwrap_or_else(|| config.name.clone()),
            stable: config.stable.clone(),
            versions: config.versions.keys().cloned().collect(),
            weights: from_outside,
            steps,
            sides: sides.map(|_| Sides { window }),
            pin: config.pin.clone(),
            mirror: config.mirror.as_ref().map(|mirror| mirror.percent.basis_points()),
            analysis,
            candidate,
        }
    }

    /// Whether another program is about the same run: the same release of the same candidate beside the same
    /// stable version.
    #[must_use]
    pub fn is_same_run(&self, other: &Self) -> bool {
        (&self.release, &self.stable, &self.candidate) == (&other.release, &other.stable, &other.candidate)
    }

    /// Whether the candidate is the side that is configured to answer.
    #[must_use]
    pub fn is_candidate_active(&self) -> bool {
        self.candidate.as_ref().is_some_and(|candidate| self.weights.contains_key(candidate))
    }

    /// Tells programs apart.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        // A struct of plain values always serializes; if it ever did not, all would look alike.
        SipHasher24::new().hash(&postcard::to_allocvec(self).unwrap_or_default())
    }

    /// The judge's rules.
    #[must_use]
    pub fn rules(&self) -> Option<&Rules> {
        self.analysis.as_ref().map(|analysis| &analysis.rules)
    }

    /// What is judged.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.rules().map_or(Unit::Requests, |rules| rules.unit)
    }

    /// The shares of all versions that have one, stable's included.
    #[must_use]
    pub fn shares(&self, others: &Weights) -> Weights {
        let left = others.values().fold(Share::ALL, |left, share| left.saturating_sub(*share));
        let mut shares = others.clone();
        if left > 0 {
            shares.insert(self.stable.clone(), left);
        }
        shares
    }

    /// The weights after the steps before `position`.
    #[must_use]
    pub fn weights_before(&self, position: usize) -> Weights {
        let mut weights = Weights::new();
        for step in self.steps.iter().take(position) {
            if let Step::Weights(set) = step {
                weights.extend(set.clone());
            }
        }
        weights
    }

    /// The weight that the candidate has after the steps before `position`.
    fn candidate_before(&self, position: usize) -> u16 {
        let Some(candidate) = &self.candidate else { return 0 };
        let set = self.steps.iter().take(position).rev().find_map(|step| match step {
            Step::Weights(weights) => weights.get(candidate),
            _ => None,
        });
        set.copied().unwrap_or(0)
    }

    /// Where a run whose candidate has `weight` goes on when its steps have changed: behind the last step
    /// that sets this weight or, when none does, the next lower one.
    #[must_use]
    pub fn position_of(&self, weight: u16) -> usize {
        let is_weight = |step: &Step| matches!(step, Step::Weights(_));
        let behind = self.steps.iter().enumerate().filter(|(_, step)| is_weight(step));
        behind
            .map(|(index, _)| index.saturating_add(1))
            .rfind(|position| self.candidate_before(*position) <= weight)
            .unwrap_or(0)
    }
}
