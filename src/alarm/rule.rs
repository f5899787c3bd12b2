//! An alarm, compiled from the configuration.

use serde::{Deserialize, Serialize};

use crate::analysis::excess::divergence;
use crate::analysis::ring::Span;
use crate::analysis::rules::fingerprint;
use crate::analysis::test::Measure;
use crate::config::alarm::{self, Action, Alarm, Of, To};
use crate::model::{Arm, Pair, Side, real};
use crate::signal::catalog::{self, Kind, Scale, SignalId};
use crate::signal::histogram;
use crate::signal::tally::Tally;

/// The quantile of a duration, unless the configuration names one.
const QUANTILE: f64 = 0.99;
/// A raised alarm is over at this part of the threshold, or of the way to it from what is normal: between the two it stays as it
/// is.
const CLEARS_AT: f64 = 0.8;
/// ln 1000: in a window whose true rate is at the threshold, so many events come in one case of a thousand at most.
const LN_CHANCE: f64 = 6.907_755_278_982_137;
/// Parts of a window, and of a slow one.
const PARTS: u64 = 6;
const SLOW_PARTS: u64 = 12;

/// An alarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// The signal, and its name with the parameter.
    pub signal: (SignalId, String),
    /// Whose requests are looked at.
    pub of: Of,
    /// What of them.
    pub measure: Measure,
    /// The threshold.
    pub bound: Bound,
    /// The window.
    pub window: Span,
    /// The slow window: in which the threshold must be passed as well, or which is the past.
    pub slow_window: Option<Span>,
    /// From fewer observations nothing follows.
    pub min_samples: u64,
    /// What happens when it is raised.
    pub action: Action,
    /// Identifies all of this.
    pub definition: u64,
}

/// A threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Bound {
    /// Above this.
    Max(f64),
    /// Below this.
    Min(f64),
    /// So many times stable's value in the same time.
    TimesStable(f64),
    /// So many times the value in the past.
    TimesPast(f64),
}

impl Rule {
    /// Compiles a valid configuration; `None` for one that is not.
    #[must_use]
    pub fn new(config: &Alarm) -> Option<Self> {
        let named = catalog::named(&config.signal)?;
        let measure = match named.signal.kind {
            Kind::Event => Measure::Rate,
            Kind::Duration => Measure::Quantile(config.quantile.unwrap_or(QUANTILE)),
            Kind::Mean(scale) => Measure::Mean { logarithmic: scale == Scale::Logarithmic },
        };
        let relative = |relative: alarm::Relative| match relative.to {
            To::Stable => Bound::TimesStable(relative.times),
            To::Past => Bound::TimesPast(relative.times),
        };
        let bound = config.max.map(Bound::Max).or(config.min.map(Bound::Min));
        Some(Self {
            name: config.name.clone(),
            signal: (named.id, config.signal.clone()),
            of: config.of,
            measure,
            bound: bound.or(config.relative.map(relative))?,
            window: Span::new(config.window, PARTS),
            slow_window: config.slow_window.map(|window| Span::new(window, SLOW_PARTS)),
            min_samples: config.min_samples.get(),
            action: config.action,
            definition: fingerprint(config),
        })
    }

    /// Whether it is raised above its threshold, and not below.
    #[must_use]
    pub fn is_of_more(&self) -> bool {
        match self.bound {
            Bound::Max(_) => true,
            Bound::Min(_) => false,
            Bound::TimesStable(times) | Bound::TimesPast(times) => times > 1.0,
        }
    }

    /// What was seen of those that it is about.
    #[must_use]
    pub fn own(&self, seen: &Pair<Option<Tally>>) -> Option<Tally> {
        match self.of {
            Of::Candidate => seen[Side::Candidate].clone(),
            Of::Stable => seen[Side::Stable].clone(),
            Of::Rollout => {
                let [one, other] = [&seen.candidate, &seen.stable].map(Clone::clone);
                match (one, other) {
                    (Some(mut one), Some(other)) => {
                        one.merge(&other);
                        Some(one)
                    }
                    (one, other) => one.or(other),
                }
            }
        }
    }

    /// Observations of those that it is about.
    #[must_use]
    pub fn observations(&self, samples: &Pair<Arm>) -> u64 {
        match self.of {
            Of::Candidate => samples.candidate.units,
            Of::Stable => samples.stable.units,
            Of::Rollout => samples.candidate.units.saturating_add(samples.stable.units),
        }
    }

    /// The value of what was seen; `None` from too few observations.
    #[must_use]
    pub fn value(&self, tally: &Tally) -> Option<f64> {
        if tally.settled() < self.min_samples {
            return None;
        }
        match (tally, self.measure) {
            (Tally::Event(arm), _) => Some(real(arm.events) / real(arm.units)),
            (Tally::Duration(durations), Measure::Quantile(quantile)) => durations.quantile(quantile),
            (Tally::Duration(_), _) => None,
            (Tally::Mean(sums), Measure::Mean { logarithmic: true }) => {
                sums.mean().map(|mean| Scale::Logarithmic.value(mean))
            }
            (Tally::Mean(sums), _) => sums.mean(),
        }
    }

    /// The same of what it is compared with: a rate of nothing is not taken for nothing.
    fn reference(&self, tally: &Tally) -> Option<f64> {
        match (self.value(tally)?, tally) {
            (_, Tally::Event(Arm { events, units })) => Some((real(*events) + 0.5) / (real(*units) + 1.0)),
            (value, _) => Some(value),
        }
    }

    /// The threshold, where it is compared with what was seen as `reference`; `None`: that is not known.
    #[must_use]
    pub fn threshold(&self, reference: Option<&Tally>) -> Option<f64> {
        match self.bound {
            Bound::Max(bound) | Bound::Min(bound) => Some(bound),
            Bound::TimesStable(times) | Bound::TimesPast(times) => Some(times * self.reference(reference?)?),
        }
    }

    /// Whether a value is beyond the threshold. Of a rate: by more than chance explains.
    #[must_use]
    pub fn is_beyond(&self, value: f64, threshold: f64, tally: &Tally) -> bool {
        let is_beyond = if self.is_of_more() { value > threshold } else { value < threshold };
        is_beyond
            && match tally {
                // Chernoff's bound for binomials: Hoeffding (1963), theorem 1. A rate of 1 and more is never passed.
                Tally::Event(arm) => {
                    threshold < 1.0 && real(arm.units) * divergence(value, threshold.max(1e-12)) >= LN_CHANCE
                }
                Tally::Duration(_) | Tally::Mean(_) => true,
            }
    }

    /// Whether a value is far enough on the good side for a raised alarm to be over: by a fifth of the threshold, or of what lies
    /// between the threshold and what is normal. That is the reference, and above a `min` of what is at most 1 that.
    #[must_use]
    pub fn is_good(&self, value: f64, threshold: f64) -> bool {
        let is_low = |value: f64, threshold: f64| value <= threshold * CLEARS_AT;
        match self.bound {
            Bound::Max(_) => is_low(value, threshold),
            Bound::Min(_) => {
                is_low(threshold, value) || (self.is_part() && is_low(1.0 - value, 1.0 - threshold))
            }
            Bound::TimesStable(times) | Bound::TimesPast(times) => {
                let normal = threshold / times;
                let over = normal + (threshold - normal) * CLEARS_AT;
                if times > 1.0 { value <= over } else { value >= over || is_low(threshold, value) }
            }
        }
    }

    /// Whether its values are from 0 to 1.
    fn is_part(&self) -> bool {
        matches!(self.measure, Measure::Rate | Measure::Mean { logarithmic: false })
    }

    /// How many observations of each version there are, and how many of them are events, or longer than the threshold.
    #[must_use]
    pub fn counted(&self, seen: Pair<Option<Tally>>, threshold: f64) -> Pair<Arm> {
        seen.map(|tally| {
            let events = match &tally {
                Some(Tally::Event(arm)) => arm.events,
                Some(Tally::Duration(durations)) => {
                    durations.beyond(histogram::bucket(nanoseconds(threshold)))
                }
                Some(Tally::Mean(_)) | None => 0,
            };
            Arm { events, units: tally.map_or(0, |tally| tally.settled()) }
        })
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
fn nanoseconds(milliseconds: f64) -> u64 {
    (milliseconds * 1e6) as u64
}
