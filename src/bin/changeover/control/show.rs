//! Rollouts and events as people read them.

use changeover::control::view::{Event, Evidence, Planned, Rollout, Shares};
use changeover::rollout::event::Action;
use changeover::rollout::run::Phase;

use super::table::Table;
use super::text::{Line, Tone, bar, wrap};

/// Columns of a field's name.
const NAME: usize = 10;
/// Columns beyond which bars grow no longer.
const WIDE: usize = 120;
/// What bars are drawn for where nobody says.
const USUAL: usize = 80;

/// One row for each rollout.
pub(super) fn rollouts(rollouts: &[Rollout], width: Option<usize>) -> Vec<Line> {
    if rollouts.is_empty() {
        return vec![Line::new(Tone::Plain, "no rollouts")];
    }
    let head = ["rollout", "phase", "step", "weights", "observed", "evidence", "release"];
    let mut table = Table::new(&head, "reason", &["observed", "release"]);
    for rollout in rollouts {
        let plain = |text: &str| Line::new(Tone::Plain, text);
        let cells = vec![
            Line::new(Tone::Strong, &rollout.name),
            phase(rollout),
            plain(&step(rollout).unwrap_or_default()),
            plain(&shares(&rollout.weights)),
            plain(&shares(&rollout.observed_share)),
            plain(&rollout.evidence.last().map(odds).unwrap_or_default()),
            plain(&rollout.release),
        ];
        table.row(cells, &rollout.reason);
    }
    table.lines(width)
}

/// All about one rollout.
pub(super) fn rollout(rollout: &Rollout, width: Option<usize>) -> Vec<Line> {
    let mut lines = Vec::new();
    field("rollout", &[Line::new(Tone::Strong, &rollout.name)], &mut lines);
    text("release", &format!("{}, attempt {}", rollout.release, rollout.attempt), width, &mut lines);
    field("phase", &[phase(rollout)], &mut lines);
    text("reason", &rollout.reason, width, &mut lines);
    field("steps", &steps(rollout, width), &mut lines);
    field("step", &present(rollout), &mut lines);
    let mirror = rollout.mirror.map(|share| percent(share.0)).unwrap_or_default();
    text("mirror", &mirror, width, &mut lines);
    text("revision", &rollout.revision.to_string(), width, &mut lines);
    let workers: Vec<String> = rollout.missing_workers.iter().map(ToString::to_string).collect();
    if !workers.is_empty() {
        let missing = format!("not confirmed yet by worker {}; ask for the status again", workers.join(", "));
        text("missing", &missing, width, &mut lines);
    }
    let columns = width.unwrap_or(USUAL).min(WIDE);
    lines.push(Line::default());
    lines.extend(weights(rollout, columns));
    if !rollout.evidence.is_empty() {
        lines.push(Line::default());
        lines.extend(evidence(rollout, columns));
    }
    match width {
        Some(width) => lines.into_iter().map(|line| line.cut(width)).collect(),
        None => lines,
    }
}

/// What happened, two lines and more for each event.
pub(super) fn events(events: &[Event], width: Option<usize>) -> Vec<Line> {
    if events.is_empty() {
        return vec![Line::new(Tone::Plain, "no events")];
    }
    let mut lines = Vec::new();
    for event in events {
        let head = Line::new(Tone::Faint, &moment(event))
            .and(Tone::Plain, &format!("  {:<6}  ", event.actor.label()))
            .and_line(action(event).padded(8))
            .and(Tone::Plain, &format!("  {}, attempt {}", event.release, event.attempt));
        lines.push(match width {
            Some(width) => head.cut(width),
            None => head,
        });
        let change = if event.from == event.to {
            String::new()
        } else {
            format!("{} → {}", shares(&event.from), shares(&event.to))
        };
        for said in [change, event.message.clone()] {
            let said = wrap(&said, width.map_or(usize::MAX, |width| width.saturating_sub(4)));
            lines.extend(said.iter().map(|said| Line::new(Tone::Plain, "    ").and(Tone::Plain, said)));
        }
    }
    lines
}

/// The last events, a line for each.
pub(super) fn last_events(events: &[Event], most: usize) -> Vec<Line> {
    let line = |event: &Event| {
        Line::new(Tone::Faint, &moment(event))
            .and(Tone::Plain, "  ")
            .and_line(action(event).padded(8))
            .and(Tone::Plain, &format!("  {}", event.message))
    };
    events.iter().take(most).map(line).collect()
}

/// Whether somebody should look at a rollout.
pub(super) fn is_bad(rollout: &Rollout) -> bool {
    matches!(rollout.phase, Phase::Failed | Phase::Aborted)
}

/// What a line for each change says.
pub(super) fn in_a_line(rollout: &Rollout) -> String {
    let mut line = format!("{}  {}", rollout.name, phase(rollout).write(false));
    let step = step(rollout).map(|step| format!("step {step}")).unwrap_or_default();
    for part in [step, shares(&rollout.weights), rollout.reason.clone()] {
        if !part.is_empty() {
            line.push_str("  ");
            line.push_str(&part);
        }
    }
    Line::new(Tone::Plain, &line).write(false)
}

fn field(name: &str, values: &[Line], lines: &mut Vec<Line>) {
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    for (name, value) in names.zip(values) {
        lines.push(Line::new(Tone::Faint, name).padded(NAME).and_line(value.clone()));
    }
}

/// A field in words, if there are any.
fn text(name: &str, value: &str, width: Option<usize>, lines: &mut Vec<Line>) {
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(NAME));
    let values: Vec<Line> = wrap(value, room).iter().map(|part| Line::new(Tone::Plain, part)).collect();
    field(name, &values, lines);
}

fn phase(rollout: &Rollout) -> Line {
    let tone = match rollout.phase {
        Phase::Failed | Phase::Aborted => Tone::Bad,
        Phase::Paused => Tone::Held,
        Phase::Succeeded => Tone::Good,
        Phase::Progressing => Tone::Strong,
        Phase::Steady => Tone::Plain,
    };
    let line = Line::new(tone, rollout.phase.label());
    if rollout.pinned { line.and(Tone::Held, ", pinned") } else { line }
}

fn action(event: &Event) -> Line {
    let tone = match event.action {
        Action::Rollback | Action::Abort => Tone::Bad,
        Action::Pause | Action::Alarm => Tone::Held,
        Action::Succeed => Tone::Good,
        _ => Tone::Plain,
    };
    Line::new(tone, event.action.label())
}

/// The date and time of an event to the second; UTC, as the `Z` says.
fn moment(event: &Event) -> String {
    match (event.time.get(..10), event.time.get(11..19)) {
        (Some(date), Some(time)) => format!("{date} {time}Z"),
        _ => event.time.clone(),
    }
}

/// The step that waits, counted from 1 as the events do.
fn step(rollout: &Rollout) -> Option<String> {
    let step = rollout.step;
    (step.count > 0).then(|| format!("{} of {}", step.index.saturating_add(1).min(step.count), step.count))
}

/// Each step with a mark: done, present, to come.
fn steps(rollout: &Rollout, width: Option<usize>) -> Vec<Line> {
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
        Planned::Pause { duration_ms: None, min_requests: None } => "promotion".into(),
        Planned::Pause { duration_ms, min_requests } => {
            let duration = duration_ms.filter(|milliseconds| *milliseconds > 0).map(duration);
            let requests = min_requests.map(|requests| format!("{requests} requests"));
            let parts: Vec<String> = [duration, requests].into_iter().flatten().collect();
            if parts.is_empty() { "0s".into() } else { parts.join(", ") }
        }
    }
}

/// How far the present step is.
fn present(rollout: &Rollout) -> Vec<Line> {
    let Some(mut said) = step(rollout) else { return Vec::new() };
    let mut line = Line::default();
    let waits = matches!(rollout.phase, Phase::Progressing | Phase::Paused);
    if let (true, Some(Planned::Pause { duration_ms, min_requests })) =
        (waits, rollout.steps.get(rollout.step.index))
    {
        let parts = [
            duration_ms.map(|of| (part(rollout.step.waited_ms, of), rollout.step.waited_ms.min(of), of)),
            min_requests.map(|of| (part(rollout.step.requests, of), rollout.step.requests, of)),
        ];
        let least = parts.iter().flatten().map(|(part, ..)| *part).reduce(f64::min);
        if let Some(least) = least {
            line = line.and(Tone::Plain, &format!("  {}", bar(least, 20)));
        }
        if let [Some((_, waited, of)), _] = parts {
            said = format!("{said}, {} of {}", duration(waited), duration(of));
        }
        if let [_, Some((_, requests, of))] = parts {
            said = format!("{said}, {requests} of {of} requests");
        }
    }
    vec![Line::new(Tone::Plain, &said).and_line(line)]
}

#[allow(clippy::cast_precision_loss)] // drawn in twenty blocks
fn part(done: u64, of: u64) -> f64 {
    if done >= of { 1.0 } else { done as f64 / of as f64 }
}

/// Every version's share as it is wanted and as it is observed.
fn weights(rollout: &Rollout, columns: usize) -> Vec<Line> {
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

/// Each metric's evidence on its way to the threshold.
fn evidence(rollout: &Rollout, columns: usize) -> Vec<Line> {
    let threshold = rollout.evidence.iter().find_map(|evidence| evidence.threshold);
    let names = rollout.evidence.iter().map(|evidence| Line::new(Tone::Plain, &evidence.metric).width());
    let widest = names.max().unwrap_or_default().clamp(NAME.saturating_sub(2), (columns / 2).max(NAME));
    // The number takes eight columns, gaps and mark six.
    let blocks = columns.saturating_sub(widest).saturating_sub(14).clamp(4, 40);
    let limit = threshold.map(|threshold| format!("ROLLED BACK AT {threshold:.2}")).unwrap_or_default();
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
        let name = if evidence.threshold.is_some() { Tone::Strong } else { Tone::Plain };
        let line = Line::new(name, &evidence.metric).cut(widest).padded(widest);
        let decides = if crossed { " ✗" } else { "" };
        lines.push(
            line.and(tone, &format!("  {number:>8}  {}", drawn.unwrap_or_default())).and(tone, decides),
        );
    }
    lines
}

/// How far the evidence is on its way to the threshold.
fn odds(all: &Evidence) -> String {
    match (all.log10_e, all.threshold) {
        (Some(value), Some(threshold)) => format!("{value:.2} of {threshold:.2}"),
        _ => String::new(),
    }
}

/// The versions that have a share.
fn shares(shares: &Shares) -> String {
    let shares = shares.iter().filter(|(_, share)| share.0 > 0.0);
    let shares: Vec<String> =
        shares.map(|(version, share)| format!("{version} {}", decimals(share.0))).collect();
    shares.join(", ")
}

fn percent(share: f64) -> String {
    format!("{} %", decimals(share))
}

/// At most two decimals.
fn decimals(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
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
            assert_eq!(super::duration(milliseconds), text);
        }
    }
}
