//! What is judged, compiled from the configuration.

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use super::promotion::Margin;
use super::test::{Against, Direction, Measure, Test};
use super::trail::Followed;
use super::warm_up::WarmUp;
use crate::config::compare::Compare;
use crate::config::feedback::{After, Better, Feedback};
use crate::config::release::{self, Analysis, Metric};
use crate::config::units::Duration;
use crate::model::Unit;
use crate::signal::catalog::{self, Among, Differs, Kind, Named, Role, Scale, SignalId, Weight};

/// Quantiles of a duration that are compared unless the configuration names some.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
/// The same for users: an event that happens to every user soon happens to none of them for the first time.
const QUANTILES_OF_USERS: [f64; 3] = [0.9, 0.99, 0.999];
/// The tolerated ratio of durations unless the configuration names one: one bucket.
const DURATION_TOLERATED: f64 = 1.19;

/// The tolerated difference of durations in milliseconds unless the configuration names one: about what a connection
/// costs. A version with a small share finds fewer of them open.
pub const OR_MILLISECONDS: f64 = 25.0;
/// What evidence of all metrics together is called.
pub const ALL_METRICS: &str = "all";
/// The end of the name of a metric that is compared with its limit.
const OF_LIMIT: &str = ".max";

/// How a release is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// The e-value at which the candidate counts as worse: 1/α, times the number of e-processes that share α.
    pub threshold: f64,
    /// Nanoseconds after which a request without an answer has failed.
    pub deadline: u64,
    /// What is judged.
    pub unit: Unit,
    /// How the candidate's answers are compared with stable's, if they are.
    pub pairs: Option<Pairs>,
    /// Identifies how their answers are compared.
    pub comparison: u64,
    /// What is compared; their e-values are averaged.
    pub metrics: Vec<MetricRule>,
    /// What a step must show before it ends.
    pub promotion: Option<Promotion>,
    /// How long the candidate is not judged.
    pub warm_up: WarmUp,
    /// Identifies what counts as an error.
    pub errors: u64,
    /// Of what users do afterwards: ticks for which it may come, by signal.
    pub comes_within: Vec<(SignalId, u64)>,
    /// What is counted of users who come again.
    pub followed: Vec<Followed>,
    /// Signals that are observed for alarms and drift, and their names with parameters.
    pub watched: Vec<(SignalId, String)>,
}

/// How the answers of a shadow are compared with stable's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pairs {
    /// With them alone.
    Alone,
    /// And those of a copy of stable.
    WithBaseline,
}

/// What a step must show before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promotion {
    /// The candidate is within this margin.
    pub margin: Margin,
    /// The e-value at which it counts as such: 1/β.
    pub threshold: f64,
    /// Identifies what is proven: the margin, and what counts as an error.
    pub basis: u64,
}

/// One metric: its e-value is the average of its tests'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricRule {
    /// Its name in evidence and events.
    pub name: String,
    /// Identifies the definition: evidence of another definition is not evidence of this one.
    pub definition: u64,
    /// What is tested.
    pub tests: Vec<Test>,
    /// Whether it compares the versions' requests: a difference says nothing about the candidate, and voids what else is
    /// found.
    pub is_of_inputs: bool,
    /// Its part in the average that decides.
    pub weight: Weight,
}

impl Rules {
    /// Compiles a valid configuration. `processes`: how many e-processes share the chance of a false alarm. `pairs`: how the
    /// candidate's answers are compared with stable's, if they are.
    #[must_use]
    pub fn new(analysis: &Analysis, unit: Unit, processes: u32, pairs: Option<Pairs>) -> Self {
        let errors = (unit, analysis.deadline, &analysis.error_when);
        let metrics = analysis.metrics.iter().flat_map(|metric| metric_rules(metric, analysis, unit, pairs));
        Self {
            unit,
            pairs,
            comparison: 0,
            errors: fingerprint(&errors),
            comes_within: Vec::new(),
            followed: Vec::new(),
            watched: Vec::new(),
            threshold: analysis.false_alarm.recip() * f64::from(processes),
            deadline: analysis.deadline.as_nanos(),
            metrics: metrics.collect(),
            warm_up: WarmUp::new(analysis.warm_up.as_ref()),
            promotion: analysis.promote_when.as_ref().map(|promote| Promotion {
                margin: Margin {
                    times: promote.no_worse_than.times,
                    points: promote.no_worse_than.or_points / 100.0,
                },
                threshold: (1.0 - promote.confidence).recip(),
                basis: fingerprint(&(&promote.no_worse_than, errors)),
            }),
        }
    }

    /// The same where answers are compared so: pairs that were compared otherwise are no evidence.
    #[must_use]
    pub fn comparing(mut self, compare: Option<&Compare>) -> Self {
        let Some(Compare { ignore, unordered, tolerance, label, .. }) = compare else { return self };
        self.comparison = fingerprint(&(ignore, unordered, tolerance, label));
        for metric in self.metrics.iter_mut().filter(|metric| metric.tests.iter().any(Test::is_of_pairs)) {
            metric.definition = fingerprint(&(metric.definition, self.comparison));
        }
        self
    }

    /// The same with what is said of what users do afterwards: whether more or less of it is worse, and how late it comes.
    #[must_use]
    pub fn hearing(mut self, feedback: &[Feedback]) -> Self {
        for metric in &mut self.metrics {
            let name = catalog::rule_of(&metric.name);
            let Some(rule) = feedback.iter().find(|rule| Some(rule.name.as_str()) == name) else { continue };
            let is_worse = |test: &Test| test.is_of_less() == (rule.better == Better::More);
            metric.tests.retain(is_worse);
            metric.definition = fingerprint(&(metric.definition, rule));
            self.comes_within.push((catalog::event(&rule.name), seconds(rule.within)));
        }
        self.followed.extend(feedback.iter().filter_map(followed));
        self
    }

    /// Ticks for which what a test is about may come after a request; 0 for what belongs to the request.
    #[must_use]
    pub fn comes_within(&self, test: &Test) -> u64 {
        let known = self.comes_within.iter().find(|(signal, _)| *signal == test.signal);
        known.map_or(0, |(_, ticks)| *ticks)
    }

    /// The most ticks for which something that is judged may come after a request.
    #[must_use]
    pub fn last_comes_within(&self) -> u64 {
        self.comes_within.iter().map(|(_, ticks)| *ticks).max().unwrap_or(0)
    }

    /// All tests, in the metrics' order.
    pub fn tests(&self) -> impl Iterator<Item = &Test> {
        self.metrics.iter().flat_map(|metric| &metric.tests)
    }

    /// A signal's name, with its parameter.
    #[must_use]
    pub fn name_of(&self, signal: SignalId) -> Option<String> {
        if signal.is_spread() {
            return None; // its values have the name
        }
        let is_of = |metric: &&MetricRule| metric.tests.iter().any(|test| test.signal == signal);
        let judged = self.metrics.iter().find(is_of).map(MetricRule::signal_name);
        let watched = self.watched.iter().find(|(known, _)| *known == signal).map(|(_, name)| name.as_str());
        let name = judged.or(watched).or_else(|| Some(catalog::by_id(signal)?.name))?;
        // One row, and another count of its pairs.
        Some(if signal == catalog::BESIDE_BASELINE { format!("{name}.baseline") } else { name.to_owned() })
    }

    /// The signals that have to be observed. Those of the default metrics always are: a metric that is configured
    /// later then has stable's past already.
    #[must_use]
    pub fn signals(&self) -> Vec<SignalId> {
        let mut signals = catalog::ids(catalog::DEFAULT);
        signals.extend(self.followed.iter().filter_map(|followed| followed.elsewhere));
        signals.extend(self.pairs.map(|_| catalog::with_role(Role::Differs).id));
        let others =
            self.tests().map(|test| test.signal).chain(self.watched.iter().map(|(signal, _)| *signal));
        for signal in others {
            if !signals.contains(&signal) {
                signals.push(signal);
            }
        }
        signals
    }
}

impl MetricRule {
    /// The name of its signal: its own, or what stands in front of `.max`.
    #[must_use]
    pub fn signal_name(&self) -> &str {
        self.name.strip_suffix(OF_LIMIT).unwrap_or(&self.name)
    }
}

/// Compares how often requests fail.
pub const FAILURES: Test = Test {
    signal: catalog::with_role(Role::Failed).id,
    measure: Measure::Rate,
    against: Against::Stable { tolerate: 1.0, or_milliseconds: 0.0, direction: Direction::Up },
};

/// What a rule of `feedback` counts of users who come again; `None`: its events are requests that say so.
fn followed(rule: &Feedback) -> Option<Followed> {
    let elsewhere = match rule.after.as_ref()? {
        After::Word(_) => None,
        After::Rollout(_) => Some(catalog::elsewhere(&rule.name)),
    };
    Some(Followed {
        name: rule.name.clone(),
        signal: catalog::event(&rule.name),
        elsewhere,
        not_before: seconds(rule.not_before()),
        within: seconds(rule.within),
    })
}

/// As many whole ticks as a duration has, begun ones included.
fn seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1_000)
}

/// Identifies a definition by its JSON, which the configuration's hash is made of as well: one text for all, and no code for
/// another. A field that is left out while it has its default changes no definition when it is added.
pub fn fingerprint(definition: &impl Serialize) -> u64 {
    // Plain values always serialize; if they ever did not, all would look alike.
    SipHasher24::new().hash(&serde_json::to_vec(definition).unwrap_or_default())
}

/// The name of a signal's comparison with its limit.
#[must_use]
pub fn limit_of(signal: &str) -> String {
    format!("{signal}{OF_LIMIT}")
}

/// A metric's rules: those against stable, and with `max` one against the bound, which counts as another metric.
fn metric_rules(metric: &Metric, analysis: &Analysis, unit: Unit, pairs: Option<Pairs>) -> Vec<MetricRule> {
    let Some(named) = catalog::named(&metric.name) else { return Vec::new() }; // the validation has refused it
    let rule = |name: String, tests: Vec<Test>, weight: Weight| {
        // Everything that decides what an event is.
        let definition = fingerprint(&(unit, &tests, analysis.deadline, &analysis.error_when));
        let is_of_inputs = named.signal.differs == Differs::Inputs;
        MetricRule { name, definition, tests, is_of_inputs, weight }
    };
    let compared = match (named.signal.among, pairs) {
        (Among::Pairs, Some(Pairs::WithBaseline)) => Some(compared_with_copy(metric)),
        (Among::Pairs, _) => None,
        _ => Some(compared_with_stable(&named, metric, unit)),
    };
    let compared = compared.map(|tests| rule(metric.name.clone(), tests, named.signal.weight));
    // Of pairs that do not come nothing can be said, and nothing waits for them.
    let is_observed = named.signal.among != Among::Pairs || pairs.is_some();
    let bounded = metric.max.filter(|_| is_observed).map(|max| {
        let test = Test { signal: named.id, measure: Measure::Rate, against: Against::Bound { max } };
        rule(limit_of(&metric.name), vec![test], Weight::Others)
    });
    compared.into_iter().chain(bounded).collect()
}

/// Compares a candidate's differences from stable with those of a copy of stable.
fn compared_with_copy(metric: &Metric) -> Vec<Test> {
    let against = Against::Copy { tolerate: metric.tolerate.unwrap_or(1.0) };
    vec![Test { signal: catalog::BESIDE_BASELINE, measure: Measure::Rate, against }]
}

fn compared_with_stable(named: &Named<'_>, metric: &Metric, unit: Unit) -> Vec<Test> {
    let signal = named.signal;
    let or_milliseconds = match signal.kind {
        Kind::Duration => metric.or_milliseconds.unwrap_or(OR_MILLISECONDS),
        Kind::Event | Kind::Mean(_) => 0.0,
    };
    let test = |measure, tolerate, direction| Test {
        signal: named.id,
        measure,
        against: Against::Stable { tolerate, or_milliseconds, direction },
    };
    let tolerate = metric.tolerate;
    let of_each = |measure| {
        let of = |direction: &Direction| test(measure, tolerate.unwrap_or(1.0), *direction);
        directions(signal.differs, metric.direction).iter().map(of).collect()
    };
    match signal.kind {
        Kind::Event => of_each(Measure::Rate),
        Kind::Duration => {
            let usual = if unit == Unit::Users { &QUANTILES_OF_USERS } else { &QUANTILES };
            let quantiles = metric.quantiles.as_deref().unwrap_or(usual);
            let tolerate = tolerate.unwrap_or(DURATION_TOLERATED);
            let of = |quantile: &f64| test(Measure::Quantile(*quantile), tolerate, Direction::Up);
            quantiles.iter().map(of).collect()
        }
        Kind::Mean(scale) => of_each(Measure::Mean { logarithmic: scale == Scale::Logarithmic }),
    }
}

/// The directions in which a difference counts.
fn directions(differs: Differs, configured: Option<release::Direction>) -> &'static [Direction] {
    match (differs, configured) {
        (Differs::Up, _) | (_, Some(release::Direction::Up)) => &[Direction::Up],
        (_, Some(release::Direction::Down)) => &[Direction::Down],
        (Differs::Both | Differs::Inputs, _) => &[Direction::Up, Direction::Down],
    }
}
