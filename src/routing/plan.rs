//! A valid configuration, compiled for the hot path.

use fastrand::Rng;

use super::automation::Decisions;
use super::feedback::{Events, Join, Origin, Switch};
use super::matcher::Matcher;
use super::request::{Facts, Request};
pub use super::rollout::{Decision, Rollout, Task};
pub use super::version::{STABLE, Version};
use crate::config::notify::Notify;
use crate::config::schema::Config;
use crate::model::Draw;
use crate::signal::catalog::SignalId;

/// All rollouts of a filter.
pub struct Plan {
    matcher: Matcher,
    rollouts: Vec<Rollout>,
    /// Whether a request may be asked for more than one header: then it is cheaper to read all of them at once.
    pub reads_several_headers: bool,
    /// Whether a rollout trusts the mark of copies. It stays on requests of the others then: they may come again, after an
    /// internal redirect, as that rollout's.
    pub trusts_shadow_header: bool,
    /// Which requests are decisions about tasks, if any are.
    decisions: Option<Decisions>,
    /// Which requests say what users did, if any do.
    events: Option<Events>,
    /// Which rollouts' requests are others' events.
    switches: Vec<Switch>,
    /// Receivers of notifications about its rollouts.
    pub receivers: Vec<Notify>,
}

impl Plan {
    /// Compiles a valid configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self::of(config, config.rollouts.iter().map(Rollout::new).collect())
    }

    /// The same, of rollouts that are compiled already: one for each of the configuration's, in its order.
    #[must_use]
    pub fn of(config: &Config, rollouts: Vec<Rollout>) -> Self {
        let matcher = Matcher::new(config);
        let decisions = Decisions::new(config);
        let events = Events::new(config);
        let reads_several_headers = {
            let of_decisions = decisions.iter().flat_map(Decisions::headers);
            let own = rollouts.iter().flat_map(Rollout::headers);
            let of_events = events.iter().flat_map(Events::headers);
            let mut names = matcher.headers().chain(own).chain(of_decisions).chain(of_events);
            let first = names.next();
            names.any(|name| Some(name) != first)
        };
        let trusts_shadow_header = rollouts.iter().any(|rollout| rollout.trusts_shadow_header);
        Self {
            matcher,
            rollouts,
            reads_several_headers,
            trusts_shadow_header,
            decisions,
            events,
            switches: Switch::all(config),
            receivers: config.notify.clone(),
        }
    }

    /// The rollouts, in the configuration's order.
    #[must_use]
    pub fn rollouts(&self) -> &[Rollout] {
        &self.rollouts
    }

    /// The rollout with that name.
    #[must_use]
    pub fn rollout(&self, name: &str) -> Option<&Rollout> {
        self.rollouts.iter().find(|rollout| rollout.name == name)
    }

    /// The position of the rollout a request belongs to, and where it goes. `is_decision`: whether it [decides](Self::decides) a
    /// task.
    pub fn route<R: Request>(
        &self,
        request: &R,
        is_decision: bool,
        rng: &mut Rng,
    ) -> Option<(usize, Decision<'_>)> {
        let facts = Facts::new(request);
        let index = self.matcher.find(&facts)?;
        let rollout = self.rollouts.get(index)?;
        match rollout.automation() {
            None => Some((index, rollout.assign(&facts, rng))),
            Some(automation) => Some((index, rollout.assign_task(automation, is_decision, &facts, rng))),
        }
    }

    /// The rollouts and their rules whose event a request may be, as far as its headers say, each with the version that its user
    /// has; `None`: no user is named, or the receipt of an answer says it.
    pub fn events<R: Request>(&self, request: &R) -> Vec<(usize, usize, Option<Origin>)> {
        let Some(events) = &self.events else { return Vec::new() };
        let facts = Facts::new(request);
        let with_origin = |(at, rule): (usize, usize)| {
            let rollout = self.rollouts.get(at).filter(|rollout| !rollout.is_copy(&facts))?;
            let joins_by_user = matches!(rollout.feedback.get(rule)?.join, Join::User);
            Some((at, rule, if joins_by_user { rollout.version_of_user(&facts) } else { None }))
        };
        events.find(&facts).into_iter().filter_map(with_origin).collect()
    }

    /// Of a request of this rollout, with a user: what it is counted as for other rollouts, by their position.
    pub fn switches<R: Request>(&self, rollout: usize, request: &R) -> Vec<(usize, SignalId, Draw)> {
        let mut found = Vec::new();
        for Switch { from, signal, .. } in self.switches.iter().filter(|switch| switch.to == rollout) {
            let of = self.rollouts.get(*from).and_then(|from| from.version_of_user(&Facts::new(request)));
            found.extend(of.and_then(|of| Some((*from, *signal, of.evidence?))));
        }
        found
    }

    /// The positions of the rollouts about one of whose tasks the request is a decision, if it is one.
    pub fn decides<R: Request>(&self, request: &R) -> Vec<usize> {
        self.decisions.as_ref().map(|decisions| decisions.find(request)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
