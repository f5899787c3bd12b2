//! Rollouts and events as people read them.

use std::fmt::Write;

use changeover::control::view::{Event, Evidence, Rollout, Shares};

/// One line for each rollout.
pub(super) fn rollouts(rollouts: &[Rollout]) -> String {
    if rollouts.is_empty() {
        return "no rollouts\n".into();
    }
    let row = |rollout: &Rollout| {
        [
            rollout.name.clone(),
            phase(rollout),
            step(rollout).unwrap_or_default(),
            shares(&rollout.weights),
            shares(&rollout.observed_share),
            rollout.evidence.last().map(odds).unwrap_or_default(),
            rollout.release.clone(),
            rollout.reason.clone(),
        ]
    };
    let head = ["rollout", "phase", "step", "weights", "observed", "evidence", "release", "reason"];
    table(head, rollouts.iter().map(row))
}

/// All about one rollout.
pub(super) fn rollout(rollout: &Rollout) -> String {
    let mut lines = vec![
        ["rollout".into(), rollout.name.clone()],
        ["release".into(), format!("{}, attempt {}", rollout.release, rollout.attempt)],
        ["phase".into(), phase(rollout)],
    ];
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push([name.into(), value]);
        }
    };
    line("reason", rollout.reason.clone());
    line("step", step(rollout).unwrap_or_default());
    line("weights", shares(&rollout.weights));
    line("observed", shares(&rollout.observed_share));
    line("mirror", rollout.mirror.map(|share| format!("{} %", decimals(share.0))).unwrap_or_default());
    line("revision", rollout.revision.to_string());
    let workers: Vec<String> = rollout.missing_workers.iter().map(ToString::to_string).collect();
    if !workers.is_empty() {
        line(
            "missing",
            format!("not confirmed yet by worker {}; ask for the status again", workers.join(", ")),
        );
    }
    let mut text = columns(&lines);
    if !rollout.evidence.is_empty() {
        text.push('\n');
        text.push_str(&evidence(&rollout.evidence));
    }
    text
}

/// One line for each event.
pub(super) fn events(events: &[Event]) -> String {
    if events.is_empty() {
        return "no events\n".into();
    }
    let row = |event: &Event| {
        let change = if event.from == event.to {
            String::new()
        } else {
            format!("{} → {}", shares(&event.from), shares(&event.to))
        };
        let release = format!("{}, attempt {}", event.release, event.attempt);
        [
            event.time.clone(),
            event.actor.label().into(),
            event.action.label().into(),
            release,
            change,
            event.message.clone(),
        ]
    };
    table(["time", "actor", "action", "release", "weights", "message"], events.iter().map(row))
}

fn evidence(evidence: &[Evidence]) -> String {
    let number = |value: Option<f64>| value.map(|value| format!("{value:.2}")).unwrap_or_default();
    let row =
        |evidence: &Evidence| [evidence.metric.clone(), number(evidence.log10_e), number(evidence.threshold)];
    table(["evidence", "log10(e)", "rolled back at"], evidence.iter().map(row))
}

/// How far the evidence is on its way to the threshold.
fn odds(all: &Evidence) -> String {
    match (all.log10_e, all.threshold) {
        (Some(value), Some(threshold)) => format!("{value:.2} of {threshold:.2}"),
        _ => String::new(),
    }
}

fn phase(rollout: &Rollout) -> String {
    let pinned = if rollout.pinned { ", pinned" } else { "" };
    format!("{}{pinned}", rollout.phase.label())
}

/// The step that waits, counted from 1 as the events do.
fn step(rollout: &Rollout) -> Option<String> {
    let step = rollout.step;
    (step.count > 0).then(|| format!("{} of {}", step.index.saturating_add(1).min(step.count), step.count))
}

/// The versions that have a share.
fn shares(shares: &Shares) -> String {
    let shares = shares.iter().filter(|(_, share)| share.0 > 0.0);
    let shares: Vec<String> =
        shares.map(|(version, share)| format!("{version} {}", decimals(share.0))).collect();
    shares.join(", ")
}

/// At most two decimals.
fn decimals(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let head = head.map(|name| name.to_uppercase());
    columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

/// Rows in columns that are as wide as their widest cell; the last one is as wide as it likes.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    // What the terminal would obey does not come from an answer.
    let plain = |cell: &String| cell.replace(char::is_control, "\u{fffd}");
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(plain)).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
