//! From which confidence on the model may answer alone: proven by decisions of people who did not see its answer.
//!
//! Decisions are counted by the model's confidence in [`BANDS`] bands. A *threshold* is the lower end of a band, and its *risk*
//! the share of disagreements among all tasks at or above it. Of each threshold the hypothesis is tested that its risk is more
//! than the target, by an e-process ([`evidence`]): as it is tested at every moment, its bound is Ville's.
//!
//! Many thresholds are tested, so the chance of a wrong one is shared (the fallback procedure of Wiens, 2003, as a graph of
//! Bretz, Maurer, Brannath & Posch, 2009): each of the bands has an equal part of it, and a threshold that is proven hands its
//! part, with what it was handed, to the next lower one. The chance that any threshold is ever proven whose risk is more than
//! the target is then at most 1 − `confidence`. Derivation: `docs/automation.md`.

use serde::{Deserialize, Serialize};

use super::band::{BANDS, Band, threshold};
use crate::model::real;

/// Risks that are suspected, as parts of the target; the evidence for each is averaged.
const SUSPECTED: [f64; 5] = [0.0, 0.1, 0.25, 0.5, 0.75];
/// A threshold in force stays until it leaves less than this part of the least coverage to the model.
const KEPT_FROM: f64 = 0.9;
/// How many times the decisions so far are looked ahead.
const MOST_TIMES: f64 = 1_024.0;
/// Steps of a bisection.
const STEPS: u32 = 50;

/// What has to be proven.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// The model may disagree with people in at most this part of what it answers alone, from 0 to 1, exclusive.
    pub max_disagreement: f64,
    /// The certainty that it does, of all thresholds and moments together.
    pub confidence: f64,
    /// The part of all tasks that a threshold must leave to the model, from 0 to 1, to be of use.
    pub min_coverage: f64,
}

/// The thresholds that are proven: once proven they stay so, whatever follows. What follows is up to the audit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven(u64);

/// What is known of a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Risk {
    /// Hundredths of a percent.
    pub threshold: u16,
    /// The part of all decisions at or above it.
    pub coverage: f64,
    /// The part of these that disagrees.
    pub disagreement: f64,
    /// What the risk is at most, with the certainty that this threshold has.
    pub at_most: f64,
    /// Whether the target is proven.
    pub is_proven: bool,
    /// How many more decisions would prove it, if they came as so far; `None` if none would.
    pub missing: Option<u64>,
}

impl Proven {
    /// Takes over what decisions by band prove. Returns whether a threshold was added.
    pub fn learn(&mut self, bands: &[Band], target: &Target) -> bool {
        let before = *self;
        let mut sum = Band::default();
        let mut handed = 0_u32;
        for at in (0..BANDS).rev() {
            if let Some(band) = bands.get(at) {
                sum.add(*band);
            }
            if !self.has(at) {
                let enough = -ln_part(target, handed);
                if evidence(&sum, target.max_disagreement) >= enough {
                    self.0 |= bit(at);
                }
            }
            handed = if self.has(at) { handed.saturating_add(1) } else { 0 };
        }
        *self != before
    }

    fn has(self, at: usize) -> bool {
        self.0 & bit(at) != 0
    }

    /// Proven thresholds directly above one.
    fn handed(self, at: usize) -> u32 {
        let above = (at.saturating_add(1)..BANDS).take_while(|above| self.has(*above));
        u32::try_from(above.count()).unwrap_or(u32::MAX)
    }

    /// The lowest threshold that is proven and leaves enough to the model, in hundredths of a percent. While one `is_in_force`,
    /// somewhat less is enough: coverage moves with the tasks that come.
    #[must_use]
    pub fn lowest(self, bands: &[Band], target: &Target, is_in_force: bool) -> Option<u16> {
        let at = (0..BANDS).find(|at| self.has(*at))?;
        let all = total(bands, 0);
        let above = total(bands, at);
        let coverage = real(above.tasks) / real(all.tasks.max(1));
        let least = if is_in_force { target.min_coverage * KEPT_FROM } else { target.min_coverage };
        (coverage >= least).then(|| threshold(at))
    }

    /// What is known of each threshold, from the highest to the lowest; those that no further task has come to are left out.
    #[must_use]
    pub fn risks(self, bands: &[Band], target: &Target) -> Vec<Risk> {
        let all = total(bands, 0);
        let mut risks: Vec<Risk> = Vec::new();
        for at in (0..BANDS).rev().filter(|at| bands.get(*at).is_some_and(|band| band.tasks > 0)) {
            let sum = total(bands, at);
            let (coverage, disagreement) =
                (real(sum.tasks) / real(all.tasks.max(1)), real(sum.disagreements) / real(sum.tasks.max(1)));
            let enough = -ln_part(target, self.handed(at));
            risks.push(Risk {
                threshold: threshold(at),
                coverage,
                disagreement,
                at_most: bound(&sum, enough),
                is_proven: self.has(at),
                missing: missing(&sum, target.max_disagreement, enough, coverage),
            });
        }
        risks
    }
}

fn bit(at: usize) -> u64 {
    u32::try_from(at).ok().and_then(|at| 1_u64.checked_shl(at)).unwrap_or(0)
}

/// Decisions in this band and those above.
fn total(bands: &[Band], from: usize) -> Band {
    let mut sum = Band::default();
    bands.iter().skip(from).for_each(|band| sum.add(*band));
    sum
}

/// ln of the chance of a wrong threshold that one has which was handed the parts of so many others.
fn ln_part(target: &Target, handed: u32) -> f64 {
    ((1.0 - target.confidence) * f64::from(handed.saturating_add(1)) / real(BANDS as u64)).ln()
}

/// ln E of "the risk is less than `bound`": the likelihood ratio of a lower risk to `bound`, averaged over [`SUSPECTED`].
///
/// Each ratio (p₁/p₀)^x ((1 − p₁)/(1 − p₀))^(n − x) with p₁ < p₀ has a factor whose mean falls in the true risk p and is 1 at
/// p = p₀. So for every p ≥ p₀ the mean of ratios is a supermartingale that begins at 1, and reaches 1/α with a chance of at
/// most α, ever.
#[must_use]
pub fn evidence(seen: &Band, bound: f64) -> f64 {
    let events = seen.disagreements.min(seen.tasks);
    ln_e(real(events), real(seen.tasks.saturating_sub(events)), bound)
}

/// The same of `events` disagreements and `others`.
fn ln_e(events: f64, others: f64, bound: f64) -> f64 {
    let terms = SUSPECTED.map(|part| {
        let suspected = bound * part;
        let of_events = if events == 0.0 { 0.0 } else { events * part.ln() };
        of_events + others * ((-suspected).ln_1p() - (-bound).ln_1p())
    });
    let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = terms.iter().map(|term| (term - most).exp()).sum();
    most + (sum / real(SUSPECTED.len() as u64)).ln()
}

/// The lowest bound of the risk for which there is enough evidence; 1 if there is for none.
fn bound(seen: &Band, enough: f64) -> f64 {
    let (mut low, mut high) = (real(seen.disagreements) / real(seen.tasks.max(1)), 1.0);
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        if evidence(seen, middle) >= enough { high = middle } else { low = middle }
    }
    high
}

/// How many more decisions, of which `coverage` come to the threshold, would prove it if they came as so far.
fn missing(seen: &Band, target: f64, enough: f64, coverage: f64) -> Option<u64> {
    if seen.tasks == 0 || coverage <= 0.0 {
        return None;
    }
    let (tasks, events) = (real(seen.tasks), real(seen.disagreements.min(seen.tasks)));
    // As if they had come `times` as often.
    let would_prove = |times: f64| ln_e(events * times, (tasks - events) * times, target) >= enough;
    let mut high = 1.0;
    while !would_prove(high) {
        high *= 2.0;
        if high > MOST_TIMES {
            return None;
        }
    }
    let mut low = if high > 1.0 { high / 2.0 } else { 1.0 };
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        if would_prove(middle) { high = middle } else { low = middle }
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // positive, and cut to what a number can hold
    Some(((high - 1.0) * tasks / coverage).ceil() as u64)
}

/// The largest part of all tasks that any threshold could leave to a model which disagrees with people in the part
/// `disagreement` of all: 1 − (μ − α)/(1 − α), if its confidence told right from wrong perfectly.
#[must_use]
pub fn reachable(disagreement: f64, target: f64) -> f64 {
    (1.0 - (disagreement - target).max(0.0) / (1.0 - target)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    const TARGET: Target = Target { max_disagreement: 0.02, confidence: 0.95, min_coverage: 0.0 };

    fn counted(tasks: u64, disagreements: u64) -> Band {
        Band { tasks, disagreements }
    }

    #[test]
    fn without_disagreement_the_evidence_is_that_of_the_best_bet() {
        // By hand: (1 − p₁)/(1 − p₀) to the n, averaged.
        let by_hand: f64 =
            SUSPECTED.iter().map(|part| ((1.0 - 0.02 * part) / 0.98_f64).powi(200)).sum::<f64>() / 5.0;
        assert!((evidence(&counted(200, 0), 0.02) - by_hand.ln()).abs() < 1e-9);
        assert!(evidence(&Band::default(), 0.02).abs() < 1e-12, "nothing seen is no evidence");
        assert!(evidence(&counted(100, 100), 0.02) < -25.0);
    }

    #[test]
    fn a_threshold_is_proven_when_its_bound_is_below_the_target() {
        let mut bands = vec![Band::default(); BANDS];
        let mut proven = Proven::default();
        assert!(!proven.learn(&bands, &TARGET));
        assert_eq!(proven.lowest(&bands, &TARGET, false), None);
        bands[49] = counted(2_000, 4);
        bands[40] = counted(1_000, 5);
        bands[10] = counted(1_000, 300);
        assert!(proven.learn(&bands, &TARGET));
        // The bands between two that have tasks stand for the same tasks.
        assert_eq!(proven.lowest(&bands, &TARGET, false), Some(threshold(11)));
        let risks = proven.risks(&bands, &TARGET);
        assert_eq!(risks.iter().map(|risk| risk.threshold).collect::<Vec<_>>(), [9_800, 8_000, 2_000]);
        for risk in &risks {
            assert_eq!(risk.is_proven, risk.at_most <= 0.02, "{risk:?}");
            assert!(risk.at_most > risk.disagreement, "{risk:?}");
        }
        assert!((risks[1].coverage - 0.75).abs() < 1e-9);
        assert_eq!(risks[2].missing, None, "more than the target disagree");
        // What was proven stays so.
        bands[40] = counted(2_000, 500);
        assert!(!proven.learn(&bands, &TARGET));
        assert_eq!(proven.lowest(&bands, &TARGET, false), Some(threshold(11)));
        let wants_most = Target { min_coverage: 0.9, ..TARGET };
        assert_eq!(proven.lowest(&bands, &wants_most, false), None, "of too little use");
    }

    #[test]
    fn the_missing_decisions_would_be_enough() {
        let (seen, enough) = (counted(400, 4), 5.0);
        let more = missing(&seen, 0.02, enough, 0.5).unwrap();
        // Half of them come to the threshold: as many times what was seen.
        let times = 1 + more / 2 / 400;
        let seen = |times: u64| evidence(&counted(400 * times, 4 * times), 0.02);
        assert!(seen(times) < enough && seen(times + 1) >= enough, "{more}");
        assert_eq!(missing(&counted(400, 8), 0.02, enough, 0.5), None);
    }

    #[test]
    fn a_bound_of_the_reachable_follows_from_all_disagreements() {
        assert!((reachable(0.10, 0.02) - (1.0 - 0.08 / 0.98)).abs() < 1e-12);
        assert_eq!((reachable(0.01, 0.02), reachable(1.0, 0.02)), (1.0, 0.0));
    }

    /// 300 runs at the worst case of all: every threshold has exactly the risk that is not allowed.
    #[test]
    fn a_threshold_over_its_target_is_rarely_proven_at_any_moment() {
        let mut rng = Rng::with_seed(17);
        let mut wrong = 0;
        for _ in 0..300 {
            let (mut bands, mut proven) = (vec![Band::default(); BANDS], Proven::default());
            for task in 0..2_000 {
                let band = &mut bands[rng.usize(..BANDS)];
                band.add(counted(1, u64::from(rng.f64() < TARGET.max_disagreement)));
                if task % 20 == 0 {
                    proven.learn(&bands, &TARGET);
                }
            }
            wrong += u32::from(proven != Proven::default());
        }
        // 15 at most in expectation; 4 standard deviations are 15.
        assert!(wrong <= 30, "{wrong} of 300");
    }
}
