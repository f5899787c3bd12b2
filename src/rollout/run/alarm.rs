//! What follows from alarms that are raised, and from those that are over.

use super::turn::Turn;
use super::{HeldBy, Phase};
use crate::alarm::rule::{Bound, Rule};
use crate::alarm::state::{News, Reading};
use crate::analysis::test::Measure;
use crate::analysis::totals::Totals;
use crate::config::alarm::{Action as Configured, Of};
use crate::model::Unit;
use crate::rollout::event::{Action, Finding};
use crate::rollout::policy::Act;
use crate::rollout::program::Program;
use crate::rollout::words::{Milliseconds, Rate};

impl Turn<'_> {
    /// Reports alarms that have been raised, and acts on them once, and those that are over.
    pub(super) fn look_at_alarms(&mut self) {
        for news in self.run.alarms.news() {
            let Some(rule) = self.program.alarms.get(news.at) else { continue };
            let (sentence, finding) = (change(self.program, rule, &news), finding(rule, &news.reading));
            if !news.is_raised {
                self.find(Action::Clear, sentence, finding);
                continue;
            }
            match self.act(rule.action) {
                Act::Pause => {
                    self.hold(HeldBy::Alarm, sentence.clone());
                    self.find(Action::Pause, sentence, finding);
                }
                act => self.act_on(act, finding, sentence),
            }
        }
    }

    /// What is done about an alarm now: a run that does not move cannot be paused, and a candidate without traffic cannot be
    /// taken back.
    fn act(&self, action: Configured) -> Act {
        let is_dry = self.program.analysis.as_ref().is_some_and(|analysis| analysis.policy.dry_run);
        let has_traffic = self.run.candidate_share(self.program).is_some();
        match action {
            Configured::Pause | Configured::Rollback if is_dry => Act::WouldAct,
            Configured::Pause if self.run.phase == Phase::Progressing => Act::Pause,
            Configured::Rollback if has_traffic && !self.run.phase.is_rolled_back() => Act::Rollback,
            Configured::Notify | Configured::Pause | Configured::Rollback => Act::Alarm,
        }
    }
}

fn finding(rule: &Rule, reading: &Reading) -> Finding {
    Finding {
        rule: rule.name.clone(),
        is_absolute: true,
        value: reading.value,
        threshold: reading.threshold,
        samples: Totals::Events(reading.samples),
        unit: Unit::Requests,
    }
}

fn change(program: &Program, rule: &Rule, news: &News) -> String {
    let name = &rule.name;
    let what = if news.is_raised { "" } else { " is over" };
    format!("alarm {name}{what}: {}", sentence(program, rule, &news.reading))
}

/// What an alarm sees, as a person reads it.
#[must_use]
pub fn sentence(program: &Program, rule: &Rule, reading: &Reading) -> String {
    let whose = match rule.of {
        Of::Candidate => program.candidate.as_deref().unwrap_or("the candidate"),
        Of::Stable => &program.stable,
        Of::Rollout => "all versions",
    };
    let (_, signal) = &rule.signal;
    let quantile = match rule.measure {
        Measure::Quantile(quantile) => format!(" (quantile {quantile})"),
        Measure::Rate | Measure::Mean { .. } => String::new(),
    };
    let figure = |value: f64| figure(rule.measure, value);
    let (value, window) = (figure(reading.value), Milliseconds(rule.window.milliseconds()));
    let slow = rule
        .slow_window
        .zip(reading.slow)
        .map(|(span, value)| format!(" and {} in {}", figure(value), Milliseconds(span.milliseconds())));
    let threshold = figure(reading.threshold);
    let threshold = match rule.bound {
        Bound::Max(_) | Bound::Min(_) => threshold,
        Bound::TimesStable(times) => format!("{threshold}, {times} times {}'s", program.stable),
        Bound::TimesPast(times) => {
            let past = Milliseconds(rule.slow_window.unwrap_or_default().milliseconds());
            format!("{threshold}, {times} times that of the {past} before")
        }
    };
    let beyond = if rule.is_of_more() { "above" } else { "below" };
    let slow = slow.unwrap_or_default();
    format!("{signal}{quantile} of {whose} is {value} in {window}{slow}; it is raised {beyond} {threshold}")
}

/// A value in its unit.
fn figure(measure: Measure, value: f64) -> String {
    match measure {
        Measure::Rate => Rate(value).to_string(),
        Measure::Quantile(_) => format!("{value:.0} ms"),
        Measure::Mean { logarithmic: true } => format!("{value:.1}"),
        Measure::Mean { logarithmic: false } => format!("{value:.3}"),
    }
}
