//! `changeover suggest`: alarms that fit what was recorded.
//!
//! A threshold is proposed from what stable did, and tried on the whole recording by the filter's own alarms.

use std::fmt::Write as _;
use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;

use changeover::alarm::rule::Rule;
use changeover::alarm::state::{Alarms, News};
use changeover::analysis::tick::Tick;
use changeover::config::alarm::{Alarm, Of};
use changeover::config::units::Duration;
use changeover::model::real;
use changeover::signal::catalog::{self, Among, Differs, Kind, Scale, Signal};

use crate::replay::{self, Replay};

/// Seconds of the windows that are tried, the shortest first.
const WINDOWS: [u64; 4] = [60, 300, 900, 3_600];
/// A recording must be so many windows long.
const LEAST_WINDOWS: u64 = 3;
/// Observations of stable that most windows must have.
const LEAST_OBSERVATIONS: u64 = 200;
/// A threshold is so many times the most extreme value of stable.
const ROOM: f64 = 1.5;
/// A slow window is so many windows long.
const SLOW: u64 = 12;

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
    let seconds = ticks.len() as u64;
    let text = format!("# From {seconds} recorded seconds with requests.\nalarms:\n");
    let mut suggested = Suggested { text, is_raised: false };
    let mut lacking = Vec::new();
    for signal in replay.rules().signals() {
        let (Some(row), Some(name)) = (catalog::by_id(signal), replay.rules().name_of(signal)) else {
            continue;
        };
        if signal == catalog::BESIDE_BASELINE {
            continue; // a count of its own of the same row
        }
        match Proposal::new(ticks, row, &name) {
            Some(proposal) => proposal.write(replay, ticks, &mut suggested),
            None => lacking.push(name),
        }
    }
    if !lacking.is_empty() {
        let _ = writeln!(suggested.text, "# Too little was observed of {}.", lacking.join(", "));
    }
    suggested
}

/// What alarms on one signal may look at.
struct Proposal {
    row: &'static Signal,
    name: String,
    /// Seconds.
    window: u64,
    slow_window: Option<u64>,
    min_samples: u64,
    /// The smallest, the middle and the largest value in the windows, and observations of the middle window.
    values: (f64, f64, f64),
    observations: u64,
}

impl Proposal {
    /// The shortest window in which stable has mostly enough observations; `None`: there is none.
    fn new(ticks: &Ticks, row: &'static Signal, name: &str) -> Option<Self> {
        // Pairs of answers are the candidate's.
        let of = if row.among == Among::Pairs { Of::Candidate } else { Of::Stable };
        let seconds = ticks.len() as u64;
        WINDOWS.into_iter().take_while(|window| window.saturating_mul(LEAST_WINDOWS) <= seconds).find_map(
            |window| {
                let alarm = Alarm { of, min_samples: 1.into(), max: Some(f64::MAX), ..alarm(name, window) };
                let rule = Rule::new(&alarm)?;
                let mut seen: Vec<(f64, u64)> = Vec::new();
                each(&rule, ticks, |_, watch, since_begin| {
                    let latest = watch.alarms().first().and_then(|state| state.latest);
                    seen.extend(
                        latest
                            .filter(|_| since_begin >= window)
                            .map(|reading| (reading.value, rule.observations(&reading.samples))),
                    );
                });
                let mut counts: Vec<u64> = seen.iter().map(|(_, count)| *count).collect();
                counts.sort_unstable();
                let tenth = *counts.get(counts.len() / 10)?;
                if tenth < LEAST_OBSERVATIONS {
                    return None;
                }
                let mut values: Vec<f64> = seen.iter().map(|(value, _)| *value).collect();
                values.sort_by(f64::total_cmp);
                let slow = window.saturating_mul(SLOW);
                Some(Self {
                    row,
                    name: name.to_owned(),
                    window,
                    slow_window: (seconds >= slow.saturating_mul(LEAST_WINDOWS) && slow <= 86_400)
                        .then_some(slow),
                    min_samples: rounded_down(tenth / 2),
                    values: (*values.first()?, *values.get(values.len() / 2)?, *values.last()?),
                    observations: *counts.get(counts.len() / 2)?,
                })
            },
        )
    }

    /// The alarms that follow: above, and where less may be bad as well, below.
    fn alarms(&self) -> Vec<Alarm> {
        let (smallest, _, largest) = self.values;
        let alarm = Alarm {
            min_samples: u32::try_from(self.min_samples).unwrap_or(u32::MAX).into(),
            slow_window: self.slow_window.map(|seconds| Duration::from_millis(seconds.saturating_mul(1_000))),
            ..alarm(&self.name, self.window)
        };
        let is_part = matches!(self.row.kind, Kind::Event | Kind::Mean(Scale::Linear));
        // Where nothing was seen, what a window could have hidden (the rule of three).
        let hidden = if self.row.kind == Kind::Event { 3.0 / real(self.observations) } else { 0.0 };
        let max = significant(largest.max(hidden) * ROOM);
        let fits = |value: f64| value > 0.0 && (!is_part || value < 1.0);
        let above = fits(max).then(|| Alarm { max: Some(max), ..alarm.clone() });
        let min = significant(smallest / ROOM);
        let is_both = self.row.differs != Differs::Up && fits(min);
        let below = is_both.then(|| Alarm { name: format!("{}-low", alarm.name), min: Some(min), ..alarm });
        above.into_iter().chain(below).collect()
    }

    fn write(&self, replay: &Replay, ticks: &Ticks, suggested: &mut Suggested) {
        let Suggested { text, is_raised } = suggested;
        let (smallest, middle, largest) = self.values;
        let (stable, candidate) = replay.versions();
        let whose = if self.row.among == Among::Pairs { candidate } else { stable };
        let window = Duration::from_millis(self.window.saturating_mul(1_000));
        let [smallest, middle, largest] = [smallest, middle, largest].map(significant);
        let _ =
            writeln!(text, "# {} of {whose} in {window}: {middle}, from {smallest} to {largest}", self.name);
        for alarm in self.alarms() {
            let _ = writeln!(text, "- {}", flow(&alarm));
            for (of, version) in [(Of::Candidate, candidate), (Of::Stable, stable)] {
                if of == Of::Stable && self.row.among == Among::Pairs {
                    continue;
                }
                let Some(rule) = Rule::new(&Alarm { of, ..alarm.clone() }) else { continue };
                let changes = changes(&rule, ticks);
                *is_raised |= of == Of::Candidate && !changes.is_empty();
                let _ = writeln!(text, "#   {}", in_words(&changes, version));
            }
        }
    }
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

fn alarm(signal: &str, window: u64) -> Alarm {
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let name: String = signal.to_lowercase().chars().map(plain).take(58).collect();
    Alarm {
        name,
        signal: signal.to_owned(),
        window: Duration::from_millis(window.saturating_mul(1_000)),
        ..Alarm::default()
    }
}

/// An alarm in YAML's flow style.
fn flow(alarm: &Alarm) -> String {
    let quoted = |text: &str| {
        if text.contains(':') { format!("\"{}\"", text.escape_default()) } else { text.to_owned() }
    };
    let mut flow = format!("{{name: {}, signal: {}", alarm.name, quoted(&alarm.signal));
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

/// To one significant digit, and at least 10.
fn rounded_down(count: u64) -> u64 {
    let unit = 10_u64.saturating_pow(count.checked_ilog10().unwrap_or(0));
    count.saturating_sub(count.checked_rem(unit).unwrap_or(0)).max(10)
}

#[cfg(test)]
mod tests;
