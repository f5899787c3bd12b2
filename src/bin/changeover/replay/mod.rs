//! `changeover replay`: recorded ticks in, the judge's evidence and verdict per tick out.
//!
//! It is the filter's judge. What a run does besides judging (pauses, commands) is not replayed: the weights
//! are the recording's, and a step begins where they change.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;

use changeover::alarm::rule::Rule;
use changeover::alarm::state::{Alarms, News};
use changeover::analysis::judge::Judge;
use changeover::analysis::rules::{ALL_METRICS, Rules};
use changeover::analysis::tick::Tick;
use changeover::analysis::warm_up::WarmUp;
use changeover::config::alarm::Action;
use changeover::config::schema::Rollout;
use changeover::model::Shares;
use changeover::rollout::program::Program;
use changeover::rollout::recording::{self, InRun};
use changeover::rollout::run::alarm::sentence;
use serde::Serialize;

use crate::envoy::Findings;
use crate::source;

/// Replays a recording. Exit status: 0 no rollback was due, 1 one was, 2 something is wrong with the input.
pub(crate) fn run(config: &Path, rollout: Option<&str>, file: &Path) -> ExitCode {
    let done = begin(config, rollout).and_then(|mut replay| {
        let name = file.display().to_string();
        replay.all(&name, open(file)?, &mut io::stdout().lock())?;
        Ok(replay.rollback_was_due)
    });
    match done {
        Ok(rollback_was_due) => ExitCode::from(u8::from(rollback_was_due)),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

pub(crate) fn open(file: &Path) -> Result<Box<dyn BufRead>, String> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// Finds the rollout that is meant in a configuration.
pub(crate) fn begin(config: &Path, rollout: Option<&str>) -> Result<Replay, String> {
    let file = config.display().to_string();
    let text = std::fs::read_to_string(config).map_err(|error| format!("{file}: {error}"))?;
    let mut findings = Findings::default();
    let configs = source::configurations(&file, &text, &mut findings);
    if findings.bad {
        return Err(findings.lines.join("\n"));
    }
    let rollouts: Vec<&Rollout> = configs.iter().flat_map(|config| &config.rollouts).collect();
    choose(&rollouts, rollout).map_err(|problem| format!("{file}: {problem}"))
}

/// The rollout of that name; without a name the only one that is judged.
fn choose(rollouts: &[&Rollout], name: Option<&str>) -> Result<Replay, String> {
    let wanted = |rollout: &&&Rollout| name.is_none_or(|name| name == rollout.name);
    let judged: Vec<(&str, Replay)> = rollouts
        .iter()
        .filter(wanted)
        .filter_map(|rollout| Some((rollout.name.as_str(), Replay::new(Program::new(rollout))?)))
        .collect();
    // One name may stand in several filters, which then share the rollout.
    let others: Vec<&str> = judged.iter().map(|(name, _)| *name).skip(1).collect();
    match (judged.into_iter().next(), name) {
        (Some((first, replay)), _) if others.iter().all(|other| *other == first) => Ok(replay),
        (Some((first, _)), _) => Err(format!(
            "several rollouts are judged; expected --rollout with {first} or {}",
            others.join(" or ")
        )),
        (None, Some(name)) if !rollouts.iter().any(|rollout| rollout.name == name) => {
            Err(format!("no rollout has the name {name}"))
        }
        (None, _) => Err("nothing to judge; expected a rollout with `analysis`, and with a candidate, or alarms or drift of stable".into()),
    }
}

/// What one metric has shown after a tick.
#[derive(Serialize)]
struct Answer<'a> {
    tick: u64,
    metric: &'a str,
    log10_e: f64,
    threshold: f64,
    verdict: Verdict,
}

/// An alarm that is raised from a tick on, or over.
#[derive(Serialize)]
struct Alarm<'a> {
    tick: u64,
    alarm: &'a str,
    raised: bool,
    action: Action,
    value: f64,
    threshold: f64,
    sentence: String,
}

/// What follows from a tick and those before it, from all metrics together.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Continue,
    Rollback,
    Promote,
}

/// The tick before.
struct Before {
    tick: u64,
    weights: Shares,
    /// Where it stood in its run, if a filter has recorded it.
    run: Option<InRun>,
}

/// A judge on its way through a recording.
pub(crate) struct Replay {
    program: Program,
    rules: Rules,
    judge: Judge,
    /// As it is configured.
    warm_up: WarmUp,
    watch: Alarms,
    before: Option<Before>,
    /// Whether it is known which metrics the recording has.
    knows_metrics: bool,
    rollback_was_due: bool,
}

impl Replay {
    /// `None` if nothing is judged.
    pub(crate) fn new(program: Program) -> Option<Self> {
        let mut rules = program.rules()?.clone();
        if program.candidate.is_none() && !program.watches_stable() {
            return None;
        }
        let (warm_up, judge) = (rules.warm_up, Judge::default());
        rules.warm_up = of_any_part(warm_up);
        let watch = Alarms::default();
        Some(Self {
            program,
            rules,
            judge,
            warm_up,
            watch,
            before: None,
            knows_metrics: false,
            rollback_was_due: false,
        })
    }

    /// Answers each line of a recording as it comes; ends early when the output is closed.
    fn all(&mut self, file: &str, recording: impl BufRead, answers: &mut impl Write) -> Result<(), String> {
        for (number, line) in (1_u64..).zip(recording.lines()) {
            let line = line.map_err(|error| format!("{file}:{number}: {error}"))?;
            if line.trim().is_empty() {
                continue;
            }
            let answer = self.line(&line).map_err(|problem| format!("{file}:{number}: {problem}"))?;
            if answers.write_all(answer.as_bytes()).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The judge's rules.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The alarms that are configured.
    pub(crate) fn configured_alarms(&self) -> &[Rule] {
        &self.program.alarms
    }

    /// The names of stable and of the candidate, if there is one.
    pub(crate) fn versions(&self) -> (&str, Option<&str>) {
        (&self.program.stable, self.program.candidate.as_deref())
    }

    /// Reads a tick without judging it. Returns whether a run, or another attempt, begins with it.
    pub(crate) fn tick(&mut self, line: &str) -> Result<(Tick, bool), String> {
        let line = recording::read(line)?;
        self.keep_recorded(&line);
        let run = line.run.clone();
        let (tick, _, weights) = line.tick(&self.program, &self.rules)?;
        let identity = |run: &InRun| (run.id.clone(), run.attempt);
        let before = self.before.as_ref().map(|before| before.run.as_ref().map(identity));
        let is_same = before.is_some_and(|before| before == run.as_ref().map(identity));
        check_order(tick.number, self.before.as_ref(), is_same)?;
        self.before = Some(Before { tick: tick.number, weights, run });
        Ok((tick, !is_same))
    }

    /// Takes out the metrics that the recording does not have, by its first line that has any.
    fn keep_recorded(&mut self, line: &recording::Line) {
        if !self.knows_metrics && line.has_observations() {
            self.knows_metrics = true;
            line.keep_recorded(&mut self.rules);
            self.judge.redefine(&self.rules);
        }
    }

    /// Judges a tick; answers a line for each metric and one for all.
    fn line(&mut self, line: &str) -> Result<String, String> {
        let line = recording::read(line)?;
        self.keep_recorded(&line);
        let run = line.run.clone();
        let (tick, firsts, weights) = line.tick(&self.program, &self.rules)?;
        match (&run, &self.before) {
            (Some(run), before) => {
                let before = before.as_ref().and_then(|before| before.run.clone());
                check_order(
                    tick.number,
                    self.before.as_ref(),
                    before.as_ref().is_none_or(|old| old.id == run.id),
                )?;
                self.go_on_in(run, before.as_ref(), tick.number);
                let next_tick = run.closed_in.saturating_add(1);
                self.judge.close_recorded((&tick, run.cold), firsts.as_ref(), &self.rules, next_tick);
            }
            (None, before) => {
                check_order(tick.number, before.as_ref(), true)?;
                match before {
                    Some(before) if before.weights == weights => {}
                    before => {
                        if before.is_none() {
                            self.begin(false);
                        }
                        self.judge.begin_step(&self.rules, tick.number);
                    }
                }
                let next_tick = tick.number.saturating_add(1);
                self.judge.close_with(&tick, firsts.as_ref(), &self.rules, next_tick);
            }
        }
        self.before = Some(Before { tick: tick.number, weights, run });
        // Milliseconds: a tick is a second.
        self.watch.close(&self.program.alarms, &tick, tick.number.saturating_mul(1_000));
        Ok(self.answer(tick.number) + &self.alarms(tick.number))
    }

    /// Begins without evidence. `is_live`: it is recorded whether the candidate was warming up.
    fn begin(&mut self, is_live: bool) {
        self.rules.warm_up = if is_live { self.warm_up } else { of_any_part(self.warm_up) };
        self.judge = Judge::default();
        self.judge.redefine(&self.rules);
        self.watch = Alarms::default();
    }

    /// Does what the filter did between the tick before and this one: another run, another attempt, another step.
    fn go_on_in(&mut self, run: &InRun, before: Option<&InRun>, tick: u64) {
        let before = before.filter(|before| before.id == run.id);
        let same = before.filter(|before| before.attempt == run.attempt);
        match (before, same) {
            (_, Some(before)) if before.step == run.step => return,
            (_, Some(_)) => return self.judge.begin_step(&self.rules, run.step),
            (Some(_), None) => {
                self.judge.retry(&self.rules, tick);
                self.watch = Alarms::default();
            }
            (None, None) => self.begin(true),
        }
        // The first step of an attempt has the tick that was under way.
        if run.step > 0 {
            self.judge.begin_step(&self.rules, run.step.saturating_add(1));
        }
    }

    /// A line for each alarm that the tick has raised, or ended.
    fn alarms(&mut self, tick: u64) -> String {
        let mut answers = String::new();
        for News { at, is_raised, reading } in self.watch.news() {
            let Some(rule) = self.program.alarms.get(at) else { continue };
            let sentence = sentence(&self.program, rule, &reading);
            let (value, threshold) = (rounded(reading.value), rounded(reading.threshold));
            let (alarm, raised) = (rule.name.as_str(), is_raised);
            let alarm = Alarm { tick, alarm, raised, action: rule.action, value, threshold, sentence };
            // A struct of plain values always serializes.
            answers.push_str(&serde_json::to_string(&alarm).unwrap_or_default());
            answers.push('\n');
        }
        answers
    }

    fn answer(&mut self, tick: u64) -> String {
        let reading = self.judge.reading();
        let verdict = if reading.all >= self.rules.threshold {
            self.rollback_was_due = true;
            Verdict::Rollback
        } else if self.rules.promotion.is_some() && self.judge.may_promote(&self.rules) {
            Verdict::Promote
        } else {
            Verdict::Continue
        };
        let names = self.rules.metrics.iter().map(|metric| metric.name.as_str());
        let mut answers = String::new();
        for (metric, value) in names.zip(reading.metrics).chain([(ALL_METRICS, reading.all)]) {
            let threshold = logarithm(self.rules.threshold);
            let answer = Answer { tick, metric, log10_e: logarithm(value), threshold, verdict };
            // A struct of plain values always serializes.
            answers.push_str(&serde_json::to_string(&answer).unwrap_or_default());
            answers.push('\n');
        }
        answers
    }
}

/// The warm-up in a recording that may begin anywhere.
fn of_any_part(warm_up: WarmUp) -> WarmUp {
    WarmUp { requests: if warm_up.is_of_all { warm_up.requests } else { 0 }, ..warm_up }
}

/// Ticks of one run come in order.
fn check_order(tick: u64, before: Option<&Before>, is_same_run: bool) -> Result<(), String> {
    match before {
        Some(before) if is_same_run && tick <= before.tick => {
            Err(format!("tick: {tick} does not come after {}", before.tick))
        }
        _ => Ok(()),
    }
}

/// A number to six decimals.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// The decimal logarithm, to four decimals; never a zero below zero.
fn logarithm(value: f64) -> f64 {
    (value.log10() * 1e4).round() / 1e4 + 0.0
}

#[cfg(test)]
mod tests;
