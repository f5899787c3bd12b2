//! What people's decisions add up to beside the model's answers.

use serde::{Deserialize, Serialize};

use super::band::{BANDS, Band, band};
use super::receipt::Receipt;
use crate::compare::label::Confusion;
use crate::model::real;

/// What decisions add up to. All of it can be added to what others have counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    /// By people who had not seen the model's answer.
    pub blind: Band,
    /// By people who had.
    pub shown: Band,
    /// Of tasks that the model had answered alone.
    pub audited: Band,
    /// Blind ones of tasks that were drawn without regard to the model's confidence, by bands of it.
    pub bands: Vec<Band>,
    /// The people's labels, then the model's; blind.
    pub confusion: Confusion,
    /// Tasks that two people have decided, and those in which they disagree.
    pub people: Band,
}

impl Default for Decisions {
    fn default() -> Self {
        Self {
            blind: Band::default(),
            shown: Band::default(),
            audited: Band::default(),
            bands: vec![Band::default(); BANDS],
            confusion: Confusion::default(),
            people: Band::default(),
        }
    }
}

impl Decisions {
    /// Counts a decision. Returns whether it agrees with the model's answer. The second one of a task counts by
    /// [`Decisions::count_people`] only.
    pub fn count(&mut self, receipt: &Receipt, decided: &str) -> bool {
        let agrees = receipt.label == decided;
        if receipt.kind.second {
            return agrees;
        }
        let one = Band { tasks: 1, disagreements: u64::from(!agrees) };
        if receipt.kind.shown {
            self.shown.add(one);
            return agrees;
        }
        self.blind.add(one);
        self.confusion.count(decided, &receipt.label, agrees, 1);
        if receipt.kind.answered {
            self.audited.add(one);
        }
        if receipt.kind.drawn
            && let Some(band) = self.bands.get_mut(band(receipt.confidence))
        {
            band.add(one);
        }
        agrees
    }

    /// Counts a task that two people have decided.
    pub fn count_people(&mut self, agree: bool) {
        self.people.add(Band { tasks: 1, disagreements: u64::from(!agree) });
    }

    /// Adds what others have counted.
    pub fn add(&mut self, other: &Self) {
        self.blind.add(other.blind);
        self.shown.add(other.shown);
        self.audited.add(other.audited);
        for (band, others) in self.bands.iter_mut().zip(&other.bands) {
            band.add(*others);
        }
        self.confusion.add(&other.confusion);
        self.people.add(other.people);
    }

    /// The part of all tasks that a threshold, in hundredths of a percent, leaves to the model.
    #[must_use]
    pub fn coverage(&self, threshold: u16) -> f64 {
        let tasks = |from: usize| self.bands.iter().skip(from).map(|band| band.tasks).sum::<u64>();
        real(tasks(band(threshold))) / real(tasks(0).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automation::receipt::Kind;

    fn receipt(label: &str, confidence: u16, kind: Kind) -> Receipt {
        Receipt { label: label.into(), confidence, kind, ..Receipt::default() }
    }

    #[test]
    fn a_decision_counts_by_what_people_had_seen() {
        let mut all = Decisions::default();
        let blind = Kind { drawn: true, ..Kind::default() };
        assert!(all.count(&receipt("cat", 9_900, blind), "cat"));
        assert!(!all.count(&receipt("cat", 9_900, blind), "dog"));
        assert!(all.count(&receipt("cat", 9_900, Kind { shown: true, ..blind }), "cat"));
        assert!(
            !all.count(&receipt("cat", 5_000, Kind::default()), "dog"),
            "sealed for another reason than a draw"
        );
        assert!(all.count(&receipt("cat", 9_900, Kind { answered: true, ..blind }), "cat"));
        assert!(!all.count(&receipt("cat", 9_900, Kind { second: true, ..blind }), "dog"));
        assert_eq!(all.blind, Band { tasks: 4, disagreements: 2 });
        assert_eq!(all.shown, Band { tasks: 1, disagreements: 0 });
        assert_eq!(all.audited, Band { tasks: 1, disagreements: 0 });
        assert_eq!(all.bands[49], Band { tasks: 3, disagreements: 1 });
        assert_eq!(all.bands[25], Band::default());
        let cells: Vec<_> = all.confusion.cells().collect();
        assert_eq!(cells, [("cat", "cat", 2), ("dog", "cat", 2)]);
    }

    #[test]
    fn decisions_add_up_by_the_models_label_also_of_labels_without_a_name() {
        let (mut one, mut other) = (Decisions::default(), Decisions::default());
        for label in 0..20_u16 {
            // Of label N agree N, and one decision says something else.
            for _ in 0..label {
                one.count(&receipt(&format!("label-{label}"), 0, Kind::default()), &format!("label-{label}"));
            }
            other.count(&receipt(&format!("label-{label}"), 0, Kind::default()), "label-0");
        }
        one.add(&other);
        let found: Vec<_> = one.confusion.by_shadow().collect();
        // The first has names for labels 1 to 16, the second for 0 to 15.
        assert_eq!(found.len(), 17);
        assert!(found.contains(&("label-1", 2, 1)) && found.contains(&("label-15", 16, 15)), "{found:?}");
        let all = found.iter().fold((0, 0), |sum, of| (sum.0 + of.1, sum.1 + of.2));
        assert_eq!(all, (190 + 20, 190 + 1));
        assert_eq!(found.last(), Some(&("other", 54 + 1 + 4, 54 + 1)), "{found:?}");
    }

    #[test]
    fn workers_add_up_in_any_order() {
        let mut parts = [Decisions::default(), Decisions::default()];
        let mut whole = Decisions::default();
        for task in 0..100_u16 {
            let receipt = receipt(
                if task % 3 == 0 { "a" } else { "b" },
                task * 100,
                Kind { drawn: true, ..Kind::default() },
            );
            parts[usize::from(task % 2)].count(&receipt, "a");
            whole.count(&receipt, "a");
        }
        let [one, other] = parts;
        let (mut forwards, mut backwards) = (one.clone(), other.clone());
        forwards.add(&other);
        backwards.add(&one);
        for sum in [&forwards, &backwards] {
            assert_eq!((sum.blind, &sum.bands), (whole.blind, &whole.bands));
            assert_eq!(sum.confusion.agreement(), whole.confusion.agreement());
        }
    }
}
