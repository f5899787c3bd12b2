//! What became of a version's requests: which of them it answered well, and what speaks against going on.

use serde::{Deserialize, Serialize};

use super::excess::{has_clearly_more, is_clearly_more, rate};
use super::tick::View;
use crate::model::Arm;
use crate::signal::catalog::{self, Role};
use crate::signal::tally::{Counts, Tally};

/// What became of a version's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// All of them, whatever became of them.
    requests: u64,
    /// Those that ended with an answer or an error, and the errors among them.
    failed: Arm,
    /// Those that were given up before an answer began.
    given_up: u64,
    /// Those that their clients left in the middle of the answer.
    left: u64,
    /// Those that ended with an answer or an error, and those of them that the version refused.
    refused: Arm,
}

impl Answers {
    /// What has become of the requests of one tick. Pending ones of an open tick have not failed.
    #[must_use]
    pub fn of(counts: &Counts, view: View) -> Self {
        let late = if view == View::Closed { counts.unanswered } else { 0 };
        let failed = counts.events(catalog::with_role(Role::Failed)).saturating_add(late);
        let refused = match counts.tally(catalog::with_role(Role::Refused).id) {
            Some(Tally::Event(arm)) => *arm,
            _ => Arm::default(),
        };
        Self {
            failed: counts.without_silent(Arm { events: failed, units: counts.requests }),
            requests: counts.requests,
            given_up: counts.events(catalog::with_role(Role::GivenUp)),
            left: counts.left,
            refused,
        }
    }

    /// Those of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            failed: self.failed.plus(other.failed),
            requests: self.requests.saturating_add(other.requests),
            given_up: self.given_up.saturating_add(other.given_up),
            left: self.left.saturating_add(other.left),
            refused: self.refused.plus(other.refused),
        }
    }

    /// Whether one of them ended with an answer or an error.
    #[must_use]
    pub fn are_any(&self) -> bool {
        self.failed.units > 0
    }

    /// Those that failed, were given up, or were left in the middle of the answer.
    #[must_use]
    pub fn wrong(&self) -> Arm {
        self.of_all(self.failed.events.saturating_add(self.given_up).saturating_add(self.left))
    }

    fn of_all(&self, events: u64) -> Arm {
        Arm { events: events.min(self.requests), units: self.requests }
    }

    /// Whether at least half of them were left in the middle of the answer.
    #[must_use]
    pub fn are_mostly_left(&self) -> bool {
        rate(self.of_all(self.left)) >= 0.5
    }

    /// How many the version refused.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refused.events
    }

    /// Whether one was answered well. A refusal is no good answer, unless the `other` version refuses about as many or has
    /// answered nothing. Without another version it is one.
    #[must_use]
    pub fn has_a_good_one(&self, other: Option<&Self>) -> bool {
        let refuses_less = |other: &&Self| {
            other.refused.units > 0 && is_clearly_more(rate(self.refused), rate(other.refused))
        };
        let refused = other.filter(refuses_less).map_or(0, |_| self.refused.events);
        self.failed.events.saturating_add(refused) < self.failed.units
    }

    /// Whether clearly more of them failed, were given up or left than of the `other` version's.
    #[must_use]
    pub fn fail_more_than(&self, other: &Self) -> bool {
        has_clearly_more(self.wrong(), other.wrong())
    }

    /// Whether clearly more of them were refused than of the `other` version's.
    #[must_use]
    pub fn are_refused_more_than(&self, other: &Self) -> bool {
        has_clearly_more(self.refused, other.refused)
    }

    /// Whether at least half of them were refused.
    #[must_use]
    pub fn are_mostly_refused(&self) -> bool {
        rate(self.refused) >= 0.5
    }

    /// Of requests that fail more than the `other` version's: whether that is because they failed, were given up, or were left in
    /// the middle of the answer (`None`).
    pub fn fail_more_by(&self, other: &Self) -> impl Iterator<Item = Option<Role>> + use<> {
        let kinds = |of: &Self| {
            [(Some(Role::Failed), of.failed.events), (Some(Role::GivenUp), of.given_up), (None, of.left)]
                .map(|(role, events)| (role, of.of_all(events)))
        };
        let more = std::iter::zip(kinds(self), kinds(other))
            .map(|((role, mine), (_, theirs))| (role, is_clearly_more(rate(mine), rate(theirs))));
        let only_together = !more.clone().any(|(_, is_more)| is_more);
        more.filter_map(move |(role, is_more)| (is_more || only_together).then_some(role))
    }
}
