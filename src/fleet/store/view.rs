//! What people see of a fleet.

use serde::{Deserialize, Serialize};

use super::call::Failure;
use super::values::{LeftOut, Life, Seen};

/// The fleet as one member sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// This member.
    pub life: Life,
    /// The fleet's name.
    pub fleet: String,
    /// When the store last answered, in milliseconds since the epoch; 0: never.
    pub heard: u64,
    /// Whether it has not answered for so long that this member acts on its own.
    pub is_away: bool,
    /// Whether it has not answered for so long that stable serves.
    pub is_stale: bool,
    /// What is wrong with the store.
    pub failure: Option<Failure>,
    /// Rollouts whose records in the store cannot be read.
    pub unreadable: Vec<String>,
    /// Rollouts whose records another version of this software writes.
    pub foreign: Vec<String>,
    /// Rollouts of which other members have a release that this member, which leads, has not been configured with for long.
    pub unjudged: Vec<String>,
    /// Rollouts with changes that the store does not have yet.
    pub unstored: Vec<String>,
    /// The revision of the store at which a record that this member follows last moved; 0: it has none yet.
    pub followed: u64,
    /// Who leads.
    pub leader: Option<Life>,
    /// The members as the leader sees them.
    pub members: Vec<Seen>,
}

impl View {
    /// What a person should look at, each in one sentence.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        problems.extend(self.failure.map(|failure| failure.sentence().to_owned()));
        if self.is_stale {
            problems.push("the store was silent for longer than `stale_after`: stable serves".to_owned());
        }
        let record = |name: &String, what: &str| format!("the record of {name} in the store {what}");
        problems.extend(self.unreadable.iter().map(|name| {
            record(
                name,
                "cannot be read, and no member has it: stable serves; delete its key to begin the release anew",
            )
        }));
        problems.extend(self.foreign.iter().map(|name| {
            record(
                name,
                "was written by another version of Changeover: its weights are followed, and nothing is judged here",
            )
        }));
        problems.extend(self.unjudged.iter().map(|name| {
            format!(
                "a release of {name} that other Envoys have is not judged: this Envoy leads, and is not configured with it"
            )
        }));
        for member in &self.members {
            let why = match member.left_out {
                None | Some(LeftOut::Silent) => continue,
                Some(LeftOut::Clock) => format!("its clock is {} ms ahead of the others'", member.ahead),
                Some(LeftOut::Unreadable) => "another version of this software, or garbage".to_owned(),
            };
            problems.push(format!("member {} is not counted: {why}", member.life.name()));
        }
        problems
    }
}
