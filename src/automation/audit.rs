//! Whether the model still agrees with people in what it answers alone.
//!
//! An audit goes on for as long as the model answers alone, and a model may decay at any time. So what audited tasks say is
//! added tick by tick to evidence in which each tick begins a new suspicion ([`crate::analysis::evidence`]): the chance that a
//! model within its target is ever stepped down is at most [`FALSE_ALARM`] in one attempt.

use serde::{Deserialize, Serialize};

use super::band::Band;
use crate::analysis::evidence::{Evidence, RATIOS, over_bound};
use crate::model::Arm;

/// The chance that a model which keeps its target is ever stepped down in an attempt.
pub const FALSE_ALARM: f64 = 0.01;

/// The evidence that the model disagrees with people more often than its target allows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    evidence: Evidence<{ RATIOS.len() }>,
    /// Ticks with audited tasks.
    ticks: u64,
    /// What was taken over of what is counted.
    taken: Band,
}

impl Audit {
    /// Takes over what all audited tasks of an attempt add up to; `target`: the part of them that may disagree.
    pub fn learn(&mut self, audited: Band, target: f64) {
        let news = audited.since(self.taken);
        if news.tasks == 0 {
            return;
        }
        self.taken = audited;
        self.ticks = self.ticks.saturating_add(1);
        let arm = Arm { events: news.disagreements, units: news.tasks };
        self.evidence.add(self.ticks, over_bound(&arm, target));
    }

    /// Begins the evidence anew: what was taken over says nothing of tasks to come.
    pub fn begin_anew(&mut self) {
        *self = Self { taken: self.taken, ..Self::default() };
    }

    /// The e-value.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.evidence.value(self.ticks)
    }

    /// The e-value at which the model is stepped down.
    #[must_use]
    pub fn threshold() -> f64 {
        FALSE_ALARM.recip()
    }

    /// Whether it is to be stepped down.
    #[must_use]
    pub fn alarms(&self) -> bool {
        self.value() >= Self::threshold()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_decays_late_is_found() {
        let (mut audit, mut audited) = (Audit::default(), Band::default());
        for _ in 0..2_000 {
            audited.add(Band { tasks: 10, disagreements: 0 });
            audit.learn(audited, 0.02);
        }
        assert!(!audit.alarms());
        let mut ticks = 0;
        while !audit.alarms() {
            audited.add(Band { tasks: 10, disagreements: 1 });
            audit.learn(audited, 0.02);
            ticks += 1;
        }
        assert!((2..100).contains(&ticks), "{ticks}");
    }

    #[test]
    fn without_news_nothing_is_learned() {
        let mut audit = Audit::default();
        audit.learn(Band { tasks: 3, disagreements: 3 }, 0.02);
        let once = audit.clone();
        audit.learn(Band { tasks: 3, disagreements: 3 }, 0.02);
        assert_eq!(audit, once);
        assert_eq!(Audit::default().value(), 1.0, "no audit is no proof");
    }
}
