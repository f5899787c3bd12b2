//! How far stable's metrics have moved, as a person reads it, and the command that takes their reference anew.

use std::fmt::Write as _;

use super::turn::Turn;
use crate::drift::rule::WINDOWS;
use crate::drift::state::{Metric, Moved};
use crate::rollout::command::Refused;
use crate::rollout::event::{Action, Actor};

impl Turn<'_> {
    /// Takes what was seen so far as the reference from now on.
    pub(super) fn freeze(&mut self, window: usize) -> Result<(), Refused> {
        let Some(rules) = &self.program.drift else {
            return Err(Refused("the rollout has no `drift`, whose reference could be taken".to_owned()));
        };
        let frozen = self.run.drift.freeze(rules, window, self.now.time);
        if frozen.is_empty() {
            let why = "too few observations of stable in that window for a reference; wait, or take a longer window";
            return Err(Refused(why.to_owned()));
        }
        let mut message = format!("{} is the reference of drift from now on: ", self.program.stable);
        message.push_str(&frozen.join(", "));
        if frozen.len() < rules.metrics.len() {
            message.push_str("; the other metrics have too few observations");
        }
        self.happen(Actor::User, Action::Change, message);
        Ok(())
    }
}

/// How far a metric moves, in one sentence.
#[must_use]
pub fn sentence(name: &str, metric: Option<&Metric>) -> String {
    let Some(metric) = metric.filter(|metric| metric.reference.is_some()) else {
        return format!("{name} has no reference yet");
    };
    let mut sentence = format!("{name} moves");
    let known = WINDOWS.into_iter().zip(metric.windows_moved);
    let known = known.filter_map(|((window, _), moved)| Some((window, moved?)));
    let mut comma = "";
    for (window, Moved { movement, .. }) in known {
        // Writing to a string never fails.
        let _ = write!(sentence, "{comma} {:.1} times its noise over {window}", movement.times);
        comma = ",";
    }
    if comma.is_empty() {
        return format!("too few observations of {name} since its reference was frozen");
    }
    sentence
}
