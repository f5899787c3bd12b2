//! Steps, shares and evidence as bars and marks.

use changeover::analysis::rules::ALL_METRICS;
use changeover::config::units::Duration;
use changeover::control::view::{Evidence, Planned, Rollout, Sample, Watch, WorseIf};
use changeover::model::{Unit, real};
use changeover::rollout::phase::Phase;

use super::show::{NAME, is_bad, percent, shares, step};
use super::text::{Line, Tone, bar};

/// Each step with a mark: done, present, to come.
pub(super) fn steps(rollout: &Rollout, width: Option<usize>) -> Vec<Line> {
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(NAME));
    let mut lines = Vec::new();
    let mut line = Line::default();
    for (index, step) in rollout.steps.iter().enumerate() {
        let (mark, tone) = match index.cmp(&rollout.step.index) {
            std::cmp::Ordering::Less => ("✓", Tone::Good),
            std::cmp::Ordering::Equal if is_bad(rollout) => ("✗", Tone::Bad),
            std::cmp::Ordering::Equal => ("▶", Tone::Strong),
            std::cmp::Ordering::Greater => ("·", Tone::Faint),
        };
        let label = planned(step, rollout);
        let tone_of_label = if tone == Tone::Good { Tone::Plain } else { tone };
        let shown = Line::new(tone, mark).and(tone_of_label, &format!(" {label}"));
        if line.width() > 0 && line.width().saturating_add(2).saturating_add(shown.width()) > room {
            lines.push(std::mem::take(&mut line));
        }
        let gap = if line.width() > 0 { "  " } else { "" };
        line = line.and(Tone::Plain, gap).and_line(shown);
    }
    if line.width() > 0 {
        lines.push(line);
    }
    lines
}

fn planned(step: &Planned, rollout: &Rollout) -> String {
    match step {
        Planned::SetWeight(shares) => {
            let of_candidate = rollout.candidate.as_ref().and_then(|candidate| shares.get(candidate));
            match of_candidate {
                Some(share) if shares.len() == 1 => percent(share.0),
                _ => self::shares(shares),
            }
        }
        Planned::SetMirror(share) => format!("mirror {}", percent(share.0)),
        Planned::Ready { .. } => "ready".into(),
        Planned::SetDegree(degree) => degree.label().into(),
        Planned::Pause {
            duration_ms,
            min_requests,
            min_compared,
            min_agreement,
            min_decisions,
            min_coverage,
        } => {
            let counts = [*duration_ms, *min_requests, *min_compared, *min_decisions];
            let is_given = counts.iter().any(Option::is_some);
            if !is_given && min_agreement.is_none() && min_coverage.is_none() {
                return "promotion".into();
            }
            let duration = duration_ms.filter(|milliseconds| *milliseconds > 0).map(duration);
            let requests = min_requests.map(|requests| format!("{requests} {}", units(rollout, requests)));
            let compared = min_compared.map(|compared| format!("{compared} compared"));
            let agreement = min_agreement.map(|share| format!("{} agreement", percent(share * 100.0)));
            let decisions = min_decisions.map(|decisions| format!("{decisions} decisions"));
            let coverage = min_coverage.map(|part| format!("{} coverage", percent(part * 100.0)));
            let parts = [duration, requests, compared, decisions, agreement, coverage];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            if parts.is_empty() { "0s".into() } else { parts.join(", ") }
        }
    }
}

/// What so many are counted of: `1 request`, `2 requests`.
fn units(rollout: &Rollout, count: u64) -> &'static str {
    match (rollout.unit, count) {
        (Unit::Requests, 1) => "request",
        (Unit::Users, 1) => "user",
        (unit, _) => unit.label(),
    }
}

/// How far the present step is.
pub(super) fn present(rollout: &Rollout) -> Vec<Line> {
    let Some(mut said) = step(rollout) else { return Vec::new() };
    let mut line = Line::default();
    let waits = matches!(rollout.phase, Phase::Progressing | Phase::Paused);
    if let (true, Some(Planned::Pause { duration_ms, min_requests, min_compared, min_decisions, .. })) =
        (waits, rollout.steps.get(rollout.step.index))
    {
        let step = &rollout.step;
        let decisions = step.decisions.unwrap_or_default();
        let parts = [
            duration_ms.filter(|of| *of > 0).map(|of| (part(step.waited_ms, of), step.waited_ms.min(of), of)),
            min_requests.map(|of| (part(step.requests, of), step.requests, of)),
            min_compared.map(|of| (part(step.compared, of), step.compared, of)),
            min_decisions.map(|of| (part(decisions, of), decisions, of)),
        ];
        let least = parts.iter().flatten().map(|(part, ..)| *part).reduce(f64::min);
        if let Some(least) = least {
            line = line.and(Tone::Plain, &format!("  {}", bar(least, 20)));
        }
        if let [Some((_, waited, of)), ..] = parts {
            said = format!("{said}, {} of {}", duration(waited), duration(of));
        }
        if let [_, Some((_, requests, of)), ..] = parts {
            said = format!("{said}, {requests} of {of} {}", units(rollout, of));
        }
        if let [.., Some((_, compared, of)), _] = parts {
            said = format!("{said}, {compared} of {of} compared");
        }
        if let [.., Some((_, decisions, of))] = parts {
            said = format!("{said}, {decisions} of {of} decisions");
        }
        if let Some(agreement) = step.agreement {
            said = format!("{said}, agreement {agreement}");
        }
    }
    if let (true, Some(Planned::Ready { timeout_ms, .. })) = (waits, rollout.steps.get(rollout.step.index)) {
        said = format!("{said}, {} of at most {}", duration(rollout.step.waited_ms), duration(*timeout_ms));
    }
    vec![Line::new(Tone::Plain, &said).and_line(line)]
}

/// How far the watch after a flip is.
pub(super) fn watch(rollout: &Rollout) -> Vec<Line> {
    let line = |watch: &Watch| {
        let waited = watch.waited_ms.min(watch.duration_ms);
        let drawn = bar(part(waited, watch.duration_ms), 20);
        let text = format!("{} of {}  {drawn}", duration(waited), duration(watch.duration_ms));
        Line::new(Tone::Plain, &text)
    };
    rollout.watch.iter().map(line).collect()
}

#[allow(clippy::cast_precision_loss)] // drawn in twenty blocks
fn part(done: u64, of: u64) -> f64 {
    if done >= of { 1.0 } else { done as f64 / of as f64 }
}

/// Every version's share as it is wanted and as it is observed.
pub(super) fn weights(rollout: &Rollout, columns: usize) -> Vec<Line> {
    let name = |version: &String| {
        let role = if *version == rollout.stable {
            " (stable)"
        } else if rollout.candidate.as_ref() == Some(version) {
            " (candidate)"
        } else {
            ""
        };
        Line::new(Tone::Strong, version).and(Tone::Plain, role).cut(columns / 3)
    };
    let names: Vec<Line> = rollout.weights.keys().map(name).collect();
    let widest = names.iter().map(Line::width).max().unwrap_or_default().max(NAME.saturating_sub(2));
    let observes = !rollout.observed_share.is_empty();
    // Two numbers of seven columns, two bars, and what is between them.
    let blocks = (columns.saturating_sub(widest).saturating_sub(22) / 2).clamp(4, 40);
    let gauge = |share: f64| format!("{:>7}  {}", percent(share), bar(share / 100.0, blocks));
    let row = |name: Line, wanted: &str, observed: &str, tone: Tone| {
        let line = name.padded(widest).and(tone, "  ").and(tone, wanted);
        if observed.is_empty() { line } else { line.and(tone, "  ").and(tone, observed) }
    };
    let wanted = format!("{:width$}", "WANTED", width = blocks.saturating_add(9));
    let head = Line::new(Tone::Faint, "WEIGHTS");
    let mut lines = vec![row(head, &wanted, if observes { "OBSERVED" } else { "" }, Tone::Faint)];
    for (name, (version, wanted)) in names.into_iter().zip(&rollout.weights) {
        let observed = rollout.observed_share.get(version).map(|share| gauge(share.0)).unwrap_or_default();
        lines.push(row(name, &gauge(wanted.0), &observed, Tone::Plain));
    }
    lines
}

/// The evidence of all metrics together, which decides.
pub(super) fn deciding(rollout: &Rollout) -> Option<&Evidence> {
    rollout.evidence.iter().find(|evidence| evidence.metric == ALL_METRICS)
}

/// Each metric's evidence on its way to the threshold.
pub(super) fn evidence(rollout: &Rollout, columns: usize) -> Vec<Line> {
    let threshold = deciding(rollout).and_then(|evidence| evidence.threshold);
    let names = rollout.evidence.iter().map(|evidence| Line::new(Tone::Plain, &evidence.metric).width());
    let widest = names.max().unwrap_or_default().clamp(NAME.saturating_sub(2), (columns / 2).max(NAME));
    // The number takes eight columns, gaps and mark six.
    let blocks = columns.saturating_sub(widest).saturating_sub(14).clamp(4, 40);
    let limit = threshold.map(|threshold| format!("THRESHOLD {threshold:.2}")).unwrap_or_default();
    let head = Line::new(Tone::Faint, "EVIDENCE").padded(widest);
    let mut lines = vec![head.and(Tone::Faint, "  ").and(Tone::Faint, &format!("LOG10(E)  {limit}"))];
    for evidence in &rollout.evidence {
        let number = evidence.log10_e.map(|value| format!("{value:.2}")).unwrap_or_default();
        let crossed = match (evidence.log10_e, evidence.threshold) {
            (Some(value), Some(threshold)) => value >= threshold,
            _ => false,
        };
        let tone = if crossed { Tone::Bad } else { Tone::Plain };
        let drawn = threshold.map(|threshold| bar(evidence.log10_e.unwrap_or(0.0) / threshold, blocks));
        let name = if evidence.metric == ALL_METRICS { Tone::Strong } else { Tone::Plain };
        let line = Line::new(name, &evidence.metric).cut(widest).padded(widest);
        let decides = if crossed { " ✗" } else { "" };
        let age = evidence.within_ms.filter(|within| *within > 0);
        let age = age.map(|within| format!("  up to {} old", Duration::from_millis(within)));
        let drawn = format!("  {number:>8}  {}", drawn.unwrap_or_default());
        lines.push(line.and(tone, &drawn).and(tone, decides).and(Tone::Faint, &age.unwrap_or_default()));
    }
    lines
}

/// What is known to differ, in words: `error_rate: 4.9 % against 1.0 %: at least 1.4 times as often`.
pub(super) fn differences(rollout: &Rollout) -> Vec<Line> {
    let mut lines = Vec::new();
    for evidence in &rollout.evidence {
        for test in &evidence.tests {
            let Some(times) = test.at_least else { continue };
            let part = |sample: Sample| {
                format!(
                    "{:.1} %",
                    100.0 * real(sample.events.unwrap_or_default()) / real(sample.units.max(1))
                )
            };
            let (mine, theirs) = (part(test.samples.candidate), part(test.samples.stable));
            let slower = |edge: f64| format!(" slower than {edge} ms");
            let edges = test.slower_than_ms.map(|edges| (slower(edges.candidate), slower(edges.stable)));
            let (mine_slower, theirs_slower) = edges.unwrap_or_default();
            let less = if test.worse_if == WorseIf::Less { "stable " } else { "" };
            let line = Line::new(Tone::Strong, &evidence.metric).and(
                Tone::Plain,
                &format!(
                    ": {mine}{mine_slower} against {theirs}{theirs_slower}: {less}at least {times} times as often"
                ),
            );
            lines.push(line);
        }
    }
    lines
}

/// Milliseconds as the configuration writes them, to the second: `1h30m`, `4m12s`.
fn duration(milliseconds: u64) -> String {
    if milliseconds < 1_000 && milliseconds > 0 {
        return format!("{milliseconds}ms");
    }
    let seconds = milliseconds / 1_000;
    let parts = [(seconds / 3_600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let shown: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if shown.is_empty() { "0s".into() } else { shown.concat() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What is certain of a metric with one test.
    fn certain(fields: &Value) -> Vec<String> {
        let mut test = json!({
            "log10_e": 1.0, "against": "stable", "worse_if": "more", "quantile": null, "slower_than_ms": null, "max": null,
            "samples": {"unit": "requests", "candidate": {"events": 49, "units": 1000, "mean": null},
                "stable": {"events": 10, "units": 1000, "mean": null}},
        });
        test.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        let evidence = json!({"metric": "error_rate", "log10_e": 1.0, "threshold": null, "tests": [test]});
        let mut rollout: Value = serde_json::from_str(include_str!("tests/rollback.json")).expect("JSON");
        rollout["rollout"]["evidence"] = json!([evidence]);
        let rollout: Rollout = serde_json::from_value(rollout["rollout"].take()).expect("a rollout");
        differences(&rollout).iter().map(|line| line.write(false)).collect()
    }

    #[test]
    fn a_difference_that_is_certain_is_shown_with_its_lower_bound() {
        assert_eq!(certain(&json!({"at_least": null})), [""; 0]);
        assert_eq!(
            certain(&json!({"at_least": 1.4})),
            ["error_rate: 4.9 % against 1.0 %: at least 1.4 times as often"]
        );
        assert_eq!(
            certain(&json!({"at_least": 2.0, "worse_if": "less"})),
            ["error_rate: 4.9 % against 1.0 %: stable at least 2 times as often"]
        );
        let edges = json!({"candidate": 50.0, "stable": 40.0});
        assert_eq!(
            certain(&json!({"at_least": 3.5, "quantile": 0.99, "slower_than_ms": edges})),
            [
                "error_rate: 4.9 % slower than 50 ms against 1.0 % slower than 40 ms: at least 3.5 times as often"
            ]
        );
    }

    #[test]
    fn durations_are_short() {
        for (milliseconds, text) in [
            (0, "0s"),
            (500, "500ms"),
            (1_999, "1s"),
            (252_000, "4m12s"),
            (600_000, "10m"),
            (5_400_000, "1h30m"),
            (90_000_000, "25h"),
        ] {
            assert_eq!(duration(milliseconds), text);
        }
    }
}
