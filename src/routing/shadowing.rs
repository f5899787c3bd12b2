//! Rollouts that no request can reach, because an earlier one takes whatever they match.

use std::ops::ControlFlow;

use super::matcher::Matcher;
use crate::config::one_of::PathRule;
use crate::config::report::{Path, Problems, Shown};
use crate::config::schema::{Config, Rollout};

/// Warns of each rollout of a valid configuration that one earlier rollout shadows completely. (A rollout
/// that only several earlier ones shadow together is not found.)
#[must_use]
pub fn warnings(config: &Config) -> Problems {
    let matcher = Matcher::new(config);
    let mut problems = Problems::default();
    for (index, rollout) in config.rollouts.iter().enumerate() {
        if let Some((earlier, name)) = shadowed_by(&matcher, config, index, rollout) {
            let path = Path::Root.field("rollouts");
            let path = path.index(index);
            let message = format!(
                "unreachable: rollouts[{earlier}] ({}) takes every request that it matches",
                Shown(name)
            );
            problems.add(&path.field("match"), message);
        }
    }
    decisions(config, &mut problems);
    problems
}

/// Warns of decisions that are all tasks of another rollout: about those the model is not asked.
fn decisions(config: &Config, problems: &mut Problems) {
    let tasks = |rollout: &&Rollout| rollout.automation.is_some();
    for (index, rollout) in config.rollouts.iter().enumerate() {
        let decision = rollout.automation.as_ref().and_then(|automation| automation.decision.as_ref());
        let Some(decision) = decision else { continue };
        let mut others = config.rollouts.iter().filter(tasks).filter(|other| other.name != rollout.name);
        if let Some(other) = others.find(|other| decision.matches.contains(&other.matches)) {
            let path = Path::Root.field("rollouts");
            let path = path.index(index);
            let path = path.field("automation");
            let path = path.field("decision");
            let message = format!(
                "takes every task of rollout {} for a decision: the model would not be asked about them",
                Shown(&other.name)
            );
            problems.add(&path.field("match"), message);
        }
    }
}

fn shadowed_by<'a>(
    matcher: &Matcher,
    config: &'a Config,
    index: usize,
    rollout: &Rollout,
) -> Option<(usize, &'a str)> {
    // Whatever takes all of a rollout's requests takes one with its first authority and its path as it
    // stands, so the look-ups for that request lead to it: no need to compare all with all.
    let authority = rollout.matches.authority.first().map(|authority| authority.to_ascii_lowercase());
    let path = match rollout.matches.path_rule() {
        PathRule::Any => "",
        PathRule::Exact(path) | PathRule::Prefix(path) | PathRule::SeparatedPrefix(path) => path,
    };
    let mut first: Option<(usize, &str)> = None;
    let mut look_at = |earlier: &[u32]| {
        for &earlier in earlier {
            let Some(earlier) = usize::try_from(earlier).ok().filter(|&earlier| earlier < index) else {
                break;
            };
            if first.is_some_and(|(first, _)| first <= earlier) {
                break;
            }
            let Some(other) = config.rollouts.get(earlier) else { break };
            if other.matches.contains(&rollout.matches) {
                first = Some((earlier, &other.name));
                break;
            }
        }
        ControlFlow::Continue(())
    };
    let _ = matcher.visit(
        || authority.as_deref().unwrap_or_default().as_bytes(),
        || path.as_bytes(),
        &mut look_at,
    );
    first
}

#[cfg(test)]
mod tests;
