//! What people see of a fleet.

use serde::{Deserialize, Serialize};

use super::call::Failure;
use super::pool::MOST_MEMBERS;
use super::values::{Differs, LeftOut, Life, Seen};

/// Rollouts that are named in each list.
pub const MOST_NAMES: usize = 24;
/// Members whose configurations differ that are named.
const MOST_DIFFERING: usize = 16;

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
    /// How many Envoys report besides: more than are counted.
    pub surplus: u32,
}

impl View {
    /// What a person should look at, each in one sentence.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.sentences(true)
    }

    /// The same without the numbers that change while a problem lasts: it is new if it is not among those before.
    #[must_use]
    pub fn kinds_of_problems(&self) -> Vec<String> {
        self.sentences(false)
    }

    fn sentences(&self, has_numbers: bool) -> Vec<String> {
        let number = |number: i64| if has_numbers { number } else { 0 };
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
                Some(LeftOut::Clock) => {
                    format!("its clock is {} ms ahead of the others'", number(member.ahead))
                }
                Some(LeftOut::Unreadable) => "another version of this software, or garbage".to_owned(),
            };
            problems.push(format!("member {} is not counted: {why}", member.life.name()));
        }
        if self.surplus > 0 {
            let surplus = number(self.surplus.into());
            problems.push(format!(
                "more than {MOST_MEMBERS} Envoys report, and no more are counted: the counts of {surplus} are not used; give some of them a fleet of their own"
            ));
        }
        let mut differing = self.members.iter().filter_map(|member| Some((member, member.differs.as_ref()?)));
        problems.extend(differing.by_ref().take(MOST_DIFFERING).map(
            |(member, Differs { rollout, is_release })| {
                let what = match is_release {
                    true => {
                        format!("another release of {rollout} than most Envoys, or than the one that leads")
                    }
                    false => format!(
                        "another configuration of {rollout} than most Envoys, or than the one in force"
                    ),
                };
                format!("member {} has {what}: push the same configuration to all Envoys", member.life.name())
            },
        ));
        let more = differing.count();
        if more > 0 {
            let more = number(i64::try_from(more).unwrap_or(i64::MAX));
            problems.push(format!("{more} more members have another configuration"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_the_same_whatever_its_numbers_are() {
        let view = |ahead: i64, surplus: u32, differing: usize| {
            let differs = Some(Differs { rollout: "7".into(), is_release: true });
            let mut members = vec![Seen { differs, ..Seen::default() }; differing];
            members.push(Seen { ahead, left_out: Some(LeftOut::Clock), ..Seen::default() });
            View { members, surplus, ..View::default() }
        };
        let (one, other) = (view(2_500, 3, 20), view(-9_999, 4, 21));
        assert!(
            one.problems().iter().zip(other.problems()).filter(|(one, other)| *one != other).count() == 3
        );
        assert_eq!(one.kinds_of_problems(), other.kinds_of_problems());
        assert_eq!(one.kinds_of_problems().len(), one.problems().len());
        let mut another = one.clone();
        another.members[0].life = Life(1);
        assert_ne!(one.kinds_of_problems(), another.kinds_of_problems(), "of another member");
        let mut another = one.clone();
        another.members[0].differs = Some(Differs { rollout: "8".into(), is_release: true });
        assert_ne!(one.kinds_of_problems(), another.kinds_of_problems(), "of another rollout");
    }
}
