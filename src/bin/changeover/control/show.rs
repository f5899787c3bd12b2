//! Rollouts and events as people read them.

use changeover::control::view::{Alarm, Drift, Event, Evidence, Fleet, Rollout, Shares};
use changeover::rollout::event::Action;
use changeover::rollout::phase::Phase;

use super::draw;
use super::fleet;
use super::ladder;
use super::table::Table;
use super::text::{Line, Tone, wrap};

/// Columns of a field's name.
pub(super) const NAME: usize = 10;
/// Columns beyond which bars grow no longer.
const WIDE: usize = 120;
/// The default width for bars.
const USUAL: usize = 80;

/// One row for each rollout.
pub(super) fn rollouts(rollouts: &[Rollout], width: Option<usize>) -> Vec<Line> {
    if rollouts.is_empty() {
        return vec![Line::new(Tone::Plain, "no rollouts")];
    }
    let mut table = Table::new(&HEAD, "reason", &["observed", "release"]);
    for rollout in rollouts {
        table.row(cells(rollout), &rollout.reason);
    }
    table.lines(width)
}

/// One row for each rollout of each Envoy: those of one name one below the other.
pub(super) fn side_by_side(found: &[(&str, &Rollout)], width: Option<usize>) -> Vec<Line> {
    let mut head = HEAD.to_vec();
    head.insert(1, "endpoint");
    let mut table = Table::new(&head, "reason", &["observed", "release"]);
    let mut found = found.to_vec();
    found.sort_by_key(|(_, rollout)| &rollout.name); // stable: by endpoint as they were given
    for (endpoint, rollout) in found {
        let mut cells = cells(rollout);
        cells.insert(1, Line::new(Tone::Plain, endpoint));
        table.row(cells, &rollout.reason);
    }
    table.lines(width)
}

/// The columns of rollouts.
const HEAD: [&str; 7] = ["rollout", "phase", "step", "weights", "observed", "evidence", "release"];

fn cells(rollout: &Rollout) -> Vec<Line> {
    let plain = |text: &str| Line::new(Tone::Plain, text);
    vec![
        Line::new(Tone::Strong, &rollout.name),
        phase(rollout),
        plain(&step(rollout).unwrap_or_default()),
        plain(&shares(&rollout.weights)),
        plain(&shares(&rollout.observed_share)),
        plain(&draw::deciding(rollout).map(evidence).unwrap_or_default()),
        plain(&rollout.release),
    ]
}

/// All about one rollout.
pub(super) fn rollout(rollout: &Rollout, width: Option<usize>) -> Vec<Line> {
    let mut lines = Vec::new();
    field("rollout", &[Line::new(Tone::Strong, &rollout.name)], &mut lines);
    text("release", &format!("{}, attempt {}", rollout.release, rollout.attempt), width, &mut lines);
    field("phase", &[phase(rollout)], &mut lines);
    text("reason", &rollout.reason, width, &mut lines);
    field("steps", &draw::steps(rollout, width), &mut lines);
    field("step", &draw::present(rollout), &mut lines);
    field("watch", &draw::watch(rollout), &mut lines);
    let mirror = rollout.mirror.map(|share| percent(share.0)).unwrap_or_default();
    text("mirror", &mirror, width, &mut lines);
    for (name, sentence) in rollout.automation.iter().flat_map(ladder::sentences) {
        text(name, &sentence, width, &mut lines);
    }
    text("revision", &rollout.revision.to_string(), width, &mut lines);
    let workers: Vec<String> = rollout.missing_workers.iter().map(ToString::to_string).collect();
    if !workers.is_empty() {
        let missing = format!("not yet confirmed by worker {}; check the status again", workers.join(", "));
        text("missing", &missing, width, &mut lines);
    }
    field("alarms", &rollout.alarms.iter().map(alarm).collect::<Vec<_>>(), &mut lines);
    field("drift", &rollout.drift.iter().map(drift).collect::<Vec<_>>(), &mut lines);
    let columns = width.unwrap_or(USUAL).min(WIDE);
    lines.push(Line::default());
    lines.extend(draw::weights(rollout, columns));
    if !rollout.evidence.is_empty() {
        lines.push(Line::default());
        lines.extend(draw::evidence(rollout, columns));
        lines.extend(draw::differences(rollout));
    }
    match width {
        Some(width) => lines.into_iter().map(|line| line.cut(width)).collect(),
        None => lines,
    }
}

fn alarm(alarm: &Alarm) -> Line {
    let (tone, mark) = if alarm.raised { (Tone::Bad, "raised") } else { (Tone::Plain, "quiet") };
    Line::new(tone, mark).padded(8).and(Tone::Plain, &format!("{}: {}", alarm.name, alarm.sentence))
}

fn drift(drift: &Drift) -> Line {
    let has_moved = drift.windows.iter().any(|window| window.times_noise.is_some_and(|times| times > 1.0));
    Line::new(if has_moved { Tone::Held } else { Tone::Plain }, &drift.sentence)
}

/// The fleet that an Envoy belongs to.
pub(super) fn fleet(fleet: &Fleet, width: Option<usize>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut name = "fleet";
    for sentence in fleet::sentences(fleet) {
        text(std::mem::take(&mut name), &sentence, width, &mut lines);
    }
    lines
}

/// A fleet and its members, one row for each.
pub(super) fn members(fleet: &Fleet, width: Option<usize>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut name = "fleet";
    for sentence in fleet::sentences(fleet) {
        text(std::mem::take(&mut name), &sentence, width, &mut lines);
    }
    let store = match fleet.store_age_ms {
        None => "has not answered yet".to_owned(),
        Some(age) => format!("answered {} ago", seconds(age)),
    };
    text("store", &store, width, &mut lines);
    lines.push(Line::default());
    if fleet.members.is_empty() {
        lines.push(Line::new(Tone::Plain, "no members are known yet"));
        return lines;
    }
    let head = ["member", "role", "state", "reported", "clock", "configuration", "version"];
    let mut table = Table::new(&head, "", &["version", "role"]);
    for member in &fleet.members {
        let roles = [(fleet.leader.as_ref(), "leads"), (Some(&fleet.member), "asked")];
        let roles = roles.iter().filter(|(who, _)| *who == Some(&member.member)).map(|(_, role)| *role);
        let state = fleet::state(fleet, member);
        let tone = match state {
            "follows" => Tone::Good,
            "behind" | "not known" => Tone::Held,
            _ => Tone::Bad,
        };
        let reported = member.report_age_ms.map(|age| format!("{} ago", seconds(age))).unwrap_or_default();
        let plain = |text: &str| Line::new(Tone::Plain, text);
        table.row(
            vec![
                Line::new(Tone::Strong, &member.member),
                plain(&roles.collect::<Vec<_>>().join(", ")),
                Line::new(tone, state),
                plain(&reported),
                plain(&format!("{:+} ms", member.clock_ahead_ms)),
                plain(&member.configuration),
                plain(&member.version),
            ],
            "",
        );
    }
    lines.extend(table.lines(width));
    lines
}

/// Milliseconds as seconds.
fn seconds(milliseconds: u64) -> String {
    format!("{}.{} s", milliseconds / 1_000, milliseconds % 1_000 / 100)
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
        let head = match &event.token {
            Some(token) => head.and(Tone::Plain, &format!(", by {token}")),
            None => head,
        };
        lines.push(match width {
            Some(width) => head.cut(width),
            None => head,
        });
        let change = if event.from == event.to {
            String::new()
        } else {
            format!("{} → {}", shares(&event.from), shares(&event.to))
        };
        let reason = event.reason.as_ref().map(|reason| format!("reason: {reason}")).unwrap_or_default();
        for said in [change, event.message.clone(), reason] {
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

/// Whether a rollout needs attention.
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
        Action::Succeed | Action::Clear => Tone::Good,
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
pub(super) fn step(rollout: &Rollout) -> Option<String> {
    let step = rollout.step;
    (step.count > 0).then(|| format!("{} of {}", step.index.saturating_add(1).min(step.count), step.count))
}

/// The evidence and its threshold.
fn evidence(all: &Evidence) -> String {
    match (all.log10_e, all.threshold) {
        (Some(value), Some(threshold)) => format!("{value:.2} of {threshold:.2}"),
        _ => String::new(),
    }
}

/// The versions that have a share.
pub(super) fn shares(shares: &Shares) -> String {
    let shares = shares.iter().filter(|(_, share)| share.0 > 0.0);
    let shares: Vec<String> =
        shares.map(|(version, share)| format!("{version} {}", decimals(share.0))).collect();
    shares.join(", ")
}

pub(super) fn percent(share: f64) -> String {
    format!("{} %", decimals(share))
}

/// At most two decimals.
fn decimals(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
