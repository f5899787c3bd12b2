//! The Envoys that share their rollouts.

use serde::{Deserialize, Serialize};

use crate::fleet::store::values::{LeftOut, Life, Seen};
use crate::fleet::store::view::View;
use crate::rollout::clock::Now;

/// The Envoys that share their rollouts, as this one sees them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Fleet {
    /// The fleet's name.
    pub name: String,
    /// This Envoy among its members.
    pub member: String,
    /// The member that leads; `null` as long as none is known.
    pub leader: Option<String>,
    /// Milliseconds since the store last answered; `null` if it never has.
    pub store_age_ms: Option<u64>,
    /// Whether this Envoy acts on its own, because the store does not answer.
    pub alone: bool,
    /// What a person should look at, each in one sentence.
    pub problems: Vec<String>,
    /// Rollouts that were changed here and not in the store yet: of many the first 24.
    pub unstored: Vec<String>,
    /// The store's revision at which a rollout last moved, as far as this Envoy has read; 0 as long as it has none.
    pub revision: u64,
    /// The members as the leader sees them.
    pub members: Vec<Member>,
}

/// An Envoy of a fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Member {
    /// Its name, another one after each start.
    pub member: String,
    /// Whether what it counts is used.
    pub counted: bool,
    /// Whether nothing was heard of it lately: it has ended, or it acts on its own.
    #[serde(default)]
    pub silent: bool,
    /// Milliseconds since the leader last read a report of it; `null` as long as that is not known.
    #[serde(default)]
    pub report_age_ms: Option<u64>,
    /// The store's revision up to which it follows all records, as it last reported.
    pub revision: u64,
    /// Milliseconds by which its clock is ahead of the median.
    pub clock_ahead_ms: i64,
    /// Alike for members with the same rollouts; empty as long as it is not known.
    pub configuration: String,
    /// The version of Changeover.
    pub version: String,
}

impl Fleet {
    /// Shows a fleet as it is `now`.
    #[must_use]
    pub fn new(fleet: &View, now: Now) -> Self {
        let own = fleet.members.iter().find(|member| member.life == fleet.life);
        // By the clock of the fleet.
        let time = now.time.saturating_add_signed(own.map_or(0, |own| own.ahead.saturating_neg()));
        let member = |member: &Seen| Member {
            member: member.life.name(),
            counted: member.left_out.is_none(),
            silent: member.left_out == Some(LeftOut::Silent),
            report_age_ms: (member.heard > 0).then(|| time.saturating_sub(member.heard)),
            revision: member.followed,
            clock_ahead_ms: member.ahead,
            configuration: match member.configuration {
                0 => String::new(),
                hash => format!("{hash:016x}"),
            },
            version: member.version.clone(),
        };
        Self {
            name: fleet.fleet.clone(),
            member: fleet.life.name(),
            leader: fleet.leader.map(Life::name),
            store_age_ms: (fleet.heard > 0).then(|| now.time.saturating_sub(fleet.heard)),
            alone: fleet.is_away,
            problems: fleet.problems(),
            unstored: fleet.unstored.clone(),
            revision: fleet.followed,
            members: fleet.members.iter().map(member).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_are_not_counted_are_silent_or_have_another_reason() {
        let left_out = [None, Some(LeftOut::Silent), Some(LeftOut::Clock), Some(LeftOut::Unreadable)];
        let members = left_out.map(|left_out| Seen { left_out, ..Seen::default() }).to_vec();
        let fleet = Fleet::new(&View { members, ..View::default() }, Now::default());
        let shown: Vec<_> = fleet.members.iter().map(|member| (member.counted, member.silent)).collect();
        assert_eq!(shown, [(true, false), (false, true), (false, false), (false, false)]);
    }
}
