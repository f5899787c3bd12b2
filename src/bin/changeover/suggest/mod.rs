//! `changeover suggest`: alarms that fit what was recorded.
//!
//! A threshold is proposed from what stable did, and tried on the whole recording by the filter's own alarms.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;

use changeover::alarm::rule::Rule;
use changeover::alarm::state::{Alarms, News, Reading};
use changeover::analysis::tick::Tick;
use changeover::config::alarm::{Alarm, Of, bounds};
use changeover::config::units::Duration;
use changeover::config::validate::MOST_RULES;
use changeover::model::real;
use changeover::signal::catalog::{self, Among, Differs, Kind, Signal};

use crate::replay::{self, Replay};

/// Seconds of the windows that are tried, the shortest first.
const WINDOWS: [u64; 4] = [60, 300, 900, 3_600];
/// A recording, and a slow window, must be so many windows long.
const LEAST_WINDOWS: u64 = 3;
/// Observations of stable that most windows must have.
const LEAST_OBSERVATIONS: u64 = 200;
/// An alarm waits for so many observations at least: fewer are chance.
const LEAST_SAMPLES: u64 = 50;
/// A threshold is so many times the most extreme value of stable.
const ROOM: f64 = 1.5;
/// A metric moves where its most extreme value is so many times its middle one: a slow window is proposed beside the other.
const MOVES: f64 = 2.0;
/// Seconds of the slow windows that are tried, the shortest first.
const SLOW_WINDOWS: [u64; 7] = [300, 900, 1_800, 3_600, 10_800, 43_200, 86_400];
/// Bytes of an alarm's name, with room for `-low` and for a number.
const LONGEST_SLUG: usize = 54;

/// Proposes alarms. Exit status: 0 the candidate would have raised none of them, 1 it would, 2 something is wrong with the input.
pub(crate) fn run(config: &Path, rollout: Option<&str>, file: &Path) -> ExitCode {
    let name = file.display().to_string();
    let suggested = replay::begin(config, rollout)
        .and_then(|mut replay| Ok((read(&mut replay, &name, replay::open(file)?)?, replay)))
        .map(|(ticks, replay)| suggest(&replay, &ticks));
    match suggested {
        Ok(Suggested { text, is_raised }) => {
            print!("{text}");
            ExitCode::from(u8::from(is_raised))
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

/// What is proposed, and whether the candidate would have raised any of it.
#[derive(Default)]
struct Suggested {
    text: String,
    is_raised: bool,
}

/// A recording's ticks, and whether a run begins with each.
type Ticks = Vec<(Tick, bool)>;

fn read(replay: &mut Replay, file: &str, recording: impl BufRead) -> Result<Ticks, String> {
    let mut ticks = Vec::new();
    for (number, line) in (1_u64..).zip(recording.lines()) {
        let line = line.map_err(|error| format!("{file}:{number}: {error}"))?;
        if !line.trim().is_empty() {
            ticks.push(replay.tick(&line).map_err(|problem| format!("{file}:{number}: {problem}"))?);
        }
    }
    Ok(ticks)
}

/// The alarms as YAML, each with what it is from and when it would have been raised.
fn suggest(replay: &Replay, ticks: &Ticks) -> Suggested {
    let mut names: Vec<String> = replay.configured_alarms().iter().map(|alarm| alarm.name.clone()).collect();
    let (mut suggested, mut lacking, mut left_out) = (Suggested::default(), Vec::new(), 0_usize);
    for signal in replay.rules().signals() {
        let (Some(row), Some(name)) = (catalog::by_id(signal), replay.rules().name_of(signal)) else {
            continue;
        };
        // Another count of the same row, and what has no rate.
        if signal == catalog::BESIDE_BASELINE || row.among == Among::Events {
            continue;
        }
        let Some(proposal) = Proposal::new(ticks, row, &name) else {
            lacking.push(quoted(&name).into_owned());
            continue;
        };
        proposal.describe(replay, &mut suggested.text);
        for (mut alarm, why) in proposal.alarms(ticks) {
            if names.len() == MOST_RULES {
                left_out = left_out.saturating_add(1);
                continue;
            }
            if replay.versions().1.is_none() {
                alarm.of = Of::Stable;
            }
            alarm.name = unlike(&names, &alarm.name);
            names.push(alarm.name.clone());
            suggested.add(replay, ticks, row, &alarm, &why);
        }
    }
    let is_any = suggested.text.contains("\n- ");
    let head = format!("# From {} recorded seconds with requests.\n", ticks.len());
    suggested.text.insert_str(0, &(head + if is_any { "alarms:\n" } else { "alarms: []\n" }));
    if !lacking.is_empty() {
        let _ = writeln!(suggested.text, "# Too little was observed of {}.", lacking.join(", "));
    }
    if left_out > 0 {
        let _ = writeln!(
            suggested.text,
            "# {left_out} more are left out: a rollout has at most {MOST_RULES} alarms."
        );
    }
    suggested
}

impl Suggested {
    /// Adds an alarm, and who would have raised it.
    fn add(&mut self, replay: &Replay, ticks: &Ticks, row: &Signal, alarm: &Alarm, why: &str) {
        let (stable, candidate) = replay.versions();
        self.text.push_str(why);
        let _ = writeln!(self.text, "- {}", flow(alarm));
        for (of, version) in [(Of::Candidate, candidate), (Of::Stable, Some(stable))] {
            let Some(version) = version else { continue };
            if of == Of::Stable && row.among == Among::Pairs {
                continue;
            }
            let Some(rule) = Rule::new(&Alarm { of, ..alarm.clone() }) else { continue };
            let changes = changes(&rule, ticks);
            self.is_raised |= of == Of::Candidate && !changes.is_empty();
            let most = counts(&alarm.signal, of, alarm.window.as_millis() / 1_000, ticks).last().copied();
            let most = most.unwrap_or(0);
            if most < alarm.min_samples.get() {
                let (window, least) = (alarm.window, alarm.min_samples.get());
                let _ = writeln!(
                    self.text,
                    "#   {version} had at most {most} of {least} observations in {window}: it could not raise it"
                );
                continue;
            }
            let _ = writeln!(self.text, "#   {}", in_words(&changes, version));
        }
    }
}

/// What alarms on one signal may look at.
struct Proposal {
    row: &'static Signal,
    name: String,
    /// Whose values these are.
    of: Of,
    /// Seconds.
    window: u64,
    min_samples: u64,
    values: Values,
    /// Observations of the middle window.
    observations: u64,
}

/// The smallest, the middle and the largest value of a metric in windows of one length.
#[derive(Clone, Copy)]
struct Values {
    smallest: f64,
    middle: f64,
    largest: f64,
}

impl Values {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (smallest, largest) = (*values.first()?, *values.last()?);
        Some(Self { smallest, middle: *values.get(values.len() / 2)?, largest })
    }

    /// How many times the middle value the most extreme one is, or the other way round. `least`: what cannot be told from 0.
    fn movement(self, is_above: bool, least: f64) -> f64 {
        if is_above { self.largest / self.middle.max(least) } else { self.middle / self.smallest }
    }
}

/// A window in which the threshold must be passed as well.
struct Slow {
    seconds: u64,
    /// How far the metric moves in it.
    movement: f64,
    /// The most extreme value that both windows have had at once.
    extreme: f64,
}

impl Proposal {
    /// The shortest window in which stable has mostly enough observations; `None`: there is none.
    fn new(ticks: &Ticks, row: &'static Signal, name: &str) -> Option<Self> {
        // Pairs of answers are the candidate's.
        let of = if row.among == Among::Pairs { Of::Candidate } else { Of::Stable };
        WINDOWS.into_iter().take_while(|window| is_long_enough(ticks, *window)).find_map(|window| {
            let seen = readings(&watching(name, of, window), window, ticks)?;
            let counts = counts(name, of, window, ticks);
            let tenth = *counts.get(counts.len() / 10)?;
            if tenth < LEAST_OBSERVATIONS {
                return None;
            }
            // The candidate may have a small share.
            let candidates = self::counts(name, Of::Candidate, window, ticks);
            let least =
                candidates.get(candidates.len() / 10).map_or(tenth, |candidates| tenth.min(*candidates));
            Some(Self {
                row,
                name: name.to_owned(),
                of,
                window,
                min_samples: rounded_down(least / 2).max(LEAST_SAMPLES),
                values: Values::of(seen.iter().map(|(reading, _)| reading.value).collect())?,
                observations: *counts.get(counts.len() / 2)?,
            })
        })
    }

    /// The alarms that follow, each with a comment: above, and where less may be bad as well, below.
    fn alarms(&self, ticks: &Ticks) -> Vec<(Alarm, String)> {
        let above = self.alarm(ticks, true);
        let below = (self.row.differs != Differs::Up).then(|| self.alarm(ticks, false));
        above.into_iter().chain(below.flatten()).collect()
    }

    fn alarm(&self, ticks: &Ticks, is_above: bool) -> Option<(Alarm, String)> {
        // Where nothing was seen, what a window could have hidden (the rule of three).
        let hidden = if self.row.kind == Kind::Event { 3.0 / real(self.observations) } else { 0.0 };
        let movement = self.values.movement(is_above, hidden);
        let slow = (movement > MOVES).then(|| self.slow(ticks, is_above, hidden)).flatten();
        let extreme = if is_above { self.values.largest } else { self.values.smallest };
        let extreme = slow.as_ref().map_or(extreme, |slow| slow.extreme);
        let (least, most) = bounds(self.row.kind);
        let threshold =
            if is_above { significant(extreme.max(hidden) * ROOM) } else { significant(extreme / ROOM) };
        if !(least..=most).contains(&threshold) {
            return None;
        }
        let suffix = if is_above { "" } else { "-low" };
        let alarm = Alarm {
            name: slug(&self.name) + suffix,
            max: is_above.then_some(threshold),
            min: (!is_above).then_some(threshold),
            min_samples: u32::try_from(self.min_samples).unwrap_or(u32::MAX).into(),
            slow_window: slow.as_ref().map(|slow| seconds(slow.seconds)),
            ..alarm(&self.name, self.window)
        };
        let moves = |text: &str| {
            let (window, times) = (seconds(self.window), significant(movement));
            format!("# It moves by up to {times} times in {window}{text}\n")
        };
        let why = match &slow {
            Some(Slow { seconds: slow, movement, .. }) => {
                let (slow, times) = (seconds(*slow), significant(*movement));
                moves(&format!(" and {times} times in {slow}: both must pass the threshold."))
            }
            None if movement > MOVES => moves("; a longer recording may show a slow window."),
            None => String::new(),
        };
        Some((alarm, why))
    }

    /// The shortest slow window in which the metric hardly moves; where it moves in all of them, the longest.
    fn slow(&self, ticks: &Ticks, is_above: bool, hidden: f64) -> Option<Slow> {
        let least = self.window.saturating_mul(LEAST_WINDOWS);
        let mut found = None;
        for slow in SLOW_WINDOWS {
            if slow < least || !is_long_enough(ticks, slow) {
                continue;
            }
            let watching =
                Alarm { slow_window: Some(seconds(slow)), ..watching(&self.name, self.of, self.window) };
            // What is not full yet is judged, too.
            let both = readings(&watching, self.window, ticks)?;
            let reached = |reading: &Reading| {
                let slow = reading.slow.unwrap_or(reading.value);
                if is_above { slow.min(reading.value) } else { slow.max(reading.value) }
            };
            let both = Values::of(both.iter().map(|(reading, _)| reached(reading)).collect())?;
            let full = readings(&watching, slow, ticks)?;
            let full = Values::of(full.iter().filter_map(|(reading, _)| reading.slow).collect())?;
            let movement = full.movement(is_above, hidden);
            let extreme = if is_above { both.largest } else { both.smallest };
            found = Some(Slow { seconds: slow, movement, extreme });
            if movement <= MOVES {
                break;
            }
        }
        found
    }

    fn describe(&self, replay: &Replay, text: &mut String) {
        let (stable, candidate) = replay.versions();
        let whose = candidate.filter(|_| self.of == Of::Candidate).unwrap_or(stable);
        let Values { smallest, middle, largest } = self.values;
        let [smallest, middle, largest] = [smallest, middle, largest].map(significant);
        let (name, window) = (quoted(&self.name), seconds(self.window));
        let _ = writeln!(text, "# {name} of {whose} in {window}: {middle}, from {smallest} to {largest}");
    }
}

/// Whether a recording has some windows of so many seconds.
fn is_long_enough(ticks: &Ticks, window: u64) -> bool {
    window.saturating_mul(LEAST_WINDOWS) <= ticks.len() as u64
}

/// What an alarm has seen after each tick, once so many of its run were there, and from how many observations.
fn readings(alarm: &Alarm, from: u64, ticks: &Ticks) -> Option<Vec<(Reading, u64)>> {
    let rule = Rule::new(alarm)?;
    let mut seen = Vec::new();
    each(&rule, ticks, |_, watch, since_begin| {
        let latest = watch.alarms().first().and_then(|state| state.latest);
        let latest = latest.filter(|_| since_begin >= from);
        seen.extend(latest.map(|reading| (reading, rule.observations(&reading.samples))));
    });
    Some(seen)
}

/// How many observations a version had in windows of so many seconds in which it had any, the smallest first.
fn counts(signal: &str, of: Of, window: u64, ticks: &Ticks) -> Vec<u64> {
    let seen = readings(&watching(signal, of, window), window, ticks).unwrap_or_default();
    let mut counts: Vec<u64> = seen.iter().map(|(_, count)| *count).filter(|count| *count > 0).collect();
    counts.sort_unstable();
    counts
}

/// The ticks in which an alarm would have been raised, and over.
fn changes(rule: &Rule, ticks: &Ticks) -> Vec<(u64, bool)> {
    let mut changes = Vec::new();
    each(rule, ticks, |tick, alarms, _| {
        changes.extend(alarms.news().iter().map(|News { is_raised, .. }| (tick.number, *is_raised)));
    });
    changes
}

fn in_words(changes: &[(u64, bool)], version: &str) -> String {
    let change = |(tick, is_raised): &(u64, bool)| match is_raised {
        true => format!("raised by {version} at tick {tick}"),
        false => format!("over at {tick}"),
    };
    match changes {
        [] => format!("never raised by {version}"),
        changes => changes.iter().map(change).collect::<Vec<_>>().join(", "),
    }
}

/// Shows a recording to an alarm: each tick, and how many of its run there have been.
fn each(rule: &Rule, ticks: &Ticks, mut look: impl FnMut(&Tick, &mut Alarms, u64)) {
    let (mut watch, mut count) = (Alarms::default(), 0_u64);
    for (tick, begins) in ticks {
        if *begins {
            (watch, count) = (Alarms::default(), 0);
        }
        count = count.saturating_add(1);
        watch.close(std::slice::from_ref(rule), tick, tick.number.saturating_mul(1_000));
        look(tick, &mut watch, count);
    }
}

/// An alarm that is never raised, and sees everything.
fn watching(signal: &str, of: Of, window: u64) -> Alarm {
    Alarm { of, min_samples: 1.into(), max: Some(f64::MAX), ..alarm(signal, window) }
}

fn alarm(signal: &str, window: u64) -> Alarm {
    Alarm { signal: signal.to_owned(), window: seconds(window), ..Alarm::default() }
}

fn seconds(count: u64) -> Duration {
    Duration::from_millis(count.saturating_mul(1_000))
}

/// A signal's name as that of an alarm.
fn slug(signal: &str) -> String {
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    signal.to_lowercase().chars().map(plain).take(LONGEST_SLUG).collect()
}

/// A name that none of these have: with a number behind it where there is one.
fn unlike(names: &[String], name: &str) -> String {
    let numbered = (2_u32..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !names.contains(name)).unwrap_or_default()
}

/// A text as YAML reads it again, wherever it stands.
fn quoted(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_plain) {
        return text.into();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // What ends a line, or is not shown.
            c if c != ' ' && (c.is_control() || c.is_whitespace()) => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    (quoted + "\"").into()
}

/// An alarm in YAML's flow style.
fn flow(alarm: &Alarm) -> String {
    let mut flow = format!("{{name: {}, signal: {}", alarm.name, quoted(&alarm.signal));
    if alarm.of == Of::Stable {
        flow.push_str(", of: stable");
    }
    for (field, value) in [("max", alarm.max), ("min", alarm.min)] {
        if let Some(value) = value {
            let _ = write!(flow, ", {field}: {value}");
        }
    }
    let _ = write!(flow, ", window: {}", alarm.window);
    if let Some(window) = alarm.slow_window {
        let _ = write!(flow, ", slow_window: {window}");
    }
    let _ = write!(flow, ", min_samples: {}}}", alarm.min_samples.get());
    flow
}

/// To two significant digits.
fn significant(value: f64) -> f64 {
    // As it is written, so that it is read as the same number.
    format!("{value:.1e}").parse().unwrap_or(value)
}

/// To one significant digit.
fn rounded_down(count: u64) -> u64 {
    let unit = 10_u64.saturating_pow(count.checked_ilog10().unwrap_or(0));
    count.saturating_sub(count.checked_rem(unit).unwrap_or(0))
}

#[cfg(test)]
mod tests;
