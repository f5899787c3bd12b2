//! How far a model has taken over people's work, as people read it.

use changeover::control::automation::{Automation, ByLabel, Decided, Target, Threshold};

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
    all.extend(automation.target.as_ref().and_then(proof).map(|sentence| ("proof", sentence)));
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

/// What is proven, and what is next.
fn proof(target: &Target) -> Option<String> {
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
    Some(match lowest {
        Some(lowest) => format!(
            "threshold {}: {} answered alone, {} disagreement, proven to be at most {}{more}",
            lowest.confidence,
            percent(lowest.coverage),
            percent(lowest.disagreement),
            percent(lowest.at_most)
        ),
        None => format!("no threshold is proven{more}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use changeover::analysis::kernel::agreement::Agreement;

    fn threshold(confidence: f64, coverage: f64, proven: bool, missing: Option<u64>) -> Threshold {
        Threshold { confidence, coverage, disagreement: 0.011, at_most: 0.019, proven, missing }
    }

    fn target(thresholds: Vec<Threshold>) -> Target {
        Target { max_disagreement: 0.02, confidence: 0.95, reachable: 0.8, thresholds }
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
            (
                vec![threshold(0.8, 0.74, false, Some(12))],
                "no threshold is proven; 0.8 would be 74.0 %, about 12 decisions short",
            ),
        ];
        for (thresholds, expected) in rows {
            assert_eq!(proof(&target(thresholds)).as_deref(), Some(expected));
        }
        assert_eq!(proof(&target(vec![])), None, "nothing is decided yet");
    }
}
