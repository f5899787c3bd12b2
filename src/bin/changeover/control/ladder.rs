//! How far a model has taken over people's work, as people read it.

use changeover::control::automation::{Automation, ByLabel, Decided, Threshold};
use changeover::model::Degree;

/// Sentences by the name of the field that they stand in.
pub(super) fn sentences(automation: &Automation) -> Vec<(&'static str, String)> {
    let mut all = vec![("degree", automation.degree.label().to_owned())];
    let decided = [
        ("blind", &automation.blind, "decided without seeing the model's answer"),
        ("shown", &automation.shown, "decided with it, which proves nothing"),
        ("audited", &automation.audited, "that the model had answered alone"),
        ("people", &automation.people, "decided by two people: with each other"),
    ];
    for (name, decided, what) in decided {
        all.extend(self::decided(decided, what).map(|sentence| (name, sentence)));
    }
    if let Some(kappa) = automation.kappa {
        all.push(("kappa", format!("{kappa:.2}")));
    }
    all.extend(lowest(&automation.by_label).map(|sentence| ("by label", sentence)));
    all.extend(proof(automation).map(|sentence| ("proof", sentence)));
    all
}

/// The model's labels with which people agree the least, as far as is certain.
fn lowest(labels: &[ByLabel]) -> Option<String> {
    const MOST: usize = 3;
    let mut labels: Vec<&ByLabel> = labels.iter().collect();
    labels.sort_by(|one, other| one.agreement.high.total_cmp(&other.agreement.high));
    let one = |of: &&ByLabel| format!("{} {} in {} tasks", of.label, of.agreement, of.tasks);
    let shown: Vec<String> = labels.iter().take(MOST).map(one).collect();
    let more = labels.len().saturating_sub(MOST);
    let more = if more > 0 { format!("; {more} more with better agreement") } else { String::new() };
    (labels.len() > 1).then(|| format!("{}{more}", shown.join("; ")))
}

fn decided(decided: &Decided, what: &str) -> Option<String> {
    let agreement = decided.agreement?;
    Some(format!("{agreement} agreement in {} tasks {what}", decided.tasks))
}

/// From where on the model answers alone, what is proven, and what is next.
fn proof(automation: &Automation) -> Option<String> {
    let target = automation.target.as_ref()?;
    let percent = |part: f64| format!("{:.1} %", part * 100.0);
    let lowest = target.thresholds.iter().rfind(|threshold| threshold.proven);
    let all = target.thresholds.last()?;
    let next = |from: Option<&Threshold>| {
        let is_below =
            |threshold: &&Threshold| from.is_none_or(|from| threshold.confidence < from.confidence);
        let mut below = target.thresholds.iter().filter(is_below);
        below.find_map(|threshold| Some((threshold, threshold.missing?)))
    };
    let more = match next(lowest) {
        Some((threshold, missing)) => format!(
            "; {} would be {}, about {missing} decisions short",
            threshold.confidence,
            percent(threshold.coverage)
        ),
        None if lowest.is_some_and(|lowest| lowest.confidence <= all.confidence) => String::new(),
        None => format!(
            "; no lower threshold is within {}, and none could leave more than {} to the model",
            percent(target.max_disagreement),
            percent(target.reachable)
        ),
    };
    let in_force = automation.threshold;
    let of_force = in_force.and_then(|from| target.thresholds.iter().rfind(|of| of.confidence >= from));
    let evidence = |of: &Threshold| {
        format!("{} disagreement, proven to be at most {}", percent(of.disagreement), percent(of.at_most))
    };
    let proven = match lowest {
        Some(lowest) if of_force == Some(lowest) => format!(
            "threshold {}: {} answered alone, {}{more}",
            in_force.unwrap_or(lowest.confidence),
            percent(lowest.coverage),
            evidence(lowest)
        ),
        Some(lowest) => {
            let is_too_little = automation.degree == Degree::Partial && in_force.is_none();
            format!(
                "threshold {} would leave {} to the model{}, {}{more}",
                lowest.confidence,
                percent(lowest.coverage),
                if is_too_little { ", less than min_coverage" } else { "" },
                evidence(lowest)
            )
        }
        None => format!("no threshold is proven{more}"),
    };
    let unproven = if of_force.is_some_and(|of| of.proven) { "" } else { ", which is not proven" };
    Some(match in_force {
        Some(from) if lowest.is_none() || of_force != lowest => {
            format!("the model answers alone from {from}{unproven}; {proven}")
        }
        _ => proven,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use changeover::analysis::kernel::agreement::Agreement;
    use changeover::control::automation::Target;

    fn threshold(confidence: f64, coverage: f64, proven: bool, missing: Option<u64>) -> Threshold {
        Threshold { confidence, coverage, disagreement: 0.011, at_most: 0.019, proven, missing }
    }

    /// What is said of the proof of these thresholds, where the model answers alone from a confidence on.
    fn said(degree: Degree, threshold: Option<f64>, thresholds: Vec<Threshold>) -> Option<String> {
        let target = Target { max_disagreement: 0.02, confidence: 0.95, reachable: 0.8, thresholds };
        let automation = Automation { degree, threshold, target: Some(target), ..Automation::default() };
        let mut all = sentences(&automation).into_iter();
        all.find(|(name, _)| *name == "proof").map(|(_, sentence)| sentence)
    }

    #[test]
    fn labels_with_the_least_agreement_come_first() {
        let of = |label: &str, tasks: u64, agreed: u64| ByLabel {
            label: label.into(),
            tasks,
            agreement: Agreement::of(agreed, tasks),
        };
        assert_eq!(lowest(&[]), None);
        assert_eq!(lowest(&[of("cat", 10, 9)]), None, "what is said of all is said of it");
        let all = [of("cat", 400, 396), of("few", 2, 0), of("dog", 400, 100), of("cow", 400, 398)];
        assert_eq!(
            lowest(&all).as_deref(),
            Some(
                "dog 25.0 % [18.1, 32.9] in 400 tasks; few 0.0 % [0.0, 87.1] in 2 tasks; cat 99.0 % [95.8, 99.9] in 400 tasks; 1 more \
                 with better agreement"
            )
        );
    }

    #[test]
    fn proven_and_next_threshold_are_one_sentence() {
        let proven = threshold(0.88, 0.63, true, None);
        let rows = [
            (
                vec![proven, threshold(0.8, 0.74, false, Some(900))],
                "threshold 0.88: 63.0 % answered alone, 1.1 % disagreement, proven to be at most 1.9 %; 0.8 would be 74.0 %, about \
                 900 decisions short",
            ),
            (
                vec![proven, threshold(0.8, 0.74, false, None)],
                "threshold 0.88: 63.0 % answered alone, 1.1 % disagreement, proven to be at most 1.9 %; no lower threshold is within \
                 2.0 %, and none could leave more than 80.0 % to the model",
            ),
            (
                vec![proven],
                "threshold 0.88: 63.0 % answered alone, 1.1 % disagreement, proven to be at most 1.9 %",
            ),
        ];
        for (thresholds, expected) in rows {
            assert_eq!(said(Degree::Partial, Some(0.88), thresholds).as_deref(), Some(expected));
        }
        assert_eq!(said(Degree::Shadow, None, vec![]), None, "nothing is decided yet");
    }

    #[test]
    fn a_proven_threshold_and_the_one_in_force_are_told_apart() {
        let proven = || vec![threshold(0.88, 0.63, true, None)];
        let unproven = || vec![threshold(0.8, 0.74, false, Some(12))];
        let would =
            "threshold 0.88 would leave 63.0 % to the model, 1.1 % disagreement, proven to be at most 1.9 %";
        let little = "threshold 0.88 would leave 63.0 % to the model, less than min_coverage, 1.1 % disagreement, proven to be at most \
                      1.9 %";
        let rows = [
            (Degree::Shadow, None, proven(), would.to_owned()),
            (Degree::Partial, None, proven(), little.to_owned()),
            (
                Degree::Partial,
                Some(0.5),
                proven(),
                "threshold 0.5: 63.0 % answered alone, 1.1 % disagreement, proven to be at most 1.9 %".to_owned(),
            ),
            (
                Degree::Partial,
                Some(0.95),
                [vec![threshold(0.95, 0.4, true, None)], proven()].concat(),
                format!("the model answers alone from 0.95; {would}"),
            ),
            (Degree::Partial, Some(0.9), proven(), format!("the model answers alone from 0.9, which is not proven; {would}")),
            (
                Degree::Partial,
                Some(0.5),
                unproven(),
                "the model answers alone from 0.5, which is not proven; no threshold is proven; 0.8 would be 74.0 %, about 12 decisions short"
                    .to_owned(),
            ),
            (
                Degree::Shadow,
                None,
                unproven(),
                "no threshold is proven; 0.8 would be 74.0 %, about 12 decisions short".to_owned(),
            ),
        ];
        for (degree, from, thresholds, expected) in rows {
            assert_eq!(said(degree, from, thresholds), Some(expected), "{degree:?} {from:?}");
        }
    }
}
