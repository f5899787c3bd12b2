//! The values of a fleet in the store, and how records are ordered.

use std::cmp::Ordering;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use super::rules::{self, Rule};
use crate::fleet::shared::FORM;
use crate::model::{Assignment, Degree, Shares};
use crate::rollout::event::Event;
use crate::rollout::program::{self, Program};
use crate::rollout::record::{Head, Record};
use crate::telemetry::ledger::Entry;

/// The form of what every version of this software reads, its first byte: it never changes.
const OUTER: u8 = 1;
/// Events that a record carries.
pub const KEPT_EVENTS: usize = 24;
/// How often the ticks of a report that is too long are halved, before rollouts are left out.
const MOST_HALVED: u32 = 6;

/// A member of a fleet: an Envoy process, random for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Life(pub u64);

impl Life {
    /// As keys and people see it.
    #[must_use]
    pub fn name(self) -> String {
        format!("{:016x}", self.0)
    }

    /// Reads a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        u64::from_str_radix(name, 16).ok().map(Self)
    }
}

/// What a member has counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Milliseconds since the epoch by the member's clock, when it was written.
    pub time: u64,
    /// Of ticks before this one all arrivals are in it.
    pub known_before: u64,
    /// The revision of the store up to which the member follows it.
    pub followed: u64,
    /// By rollout, what has not been judged.
    pub rollouts: Vec<(String, Vec<Entry>)>,
}

/// What a member has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configured {
    /// The software's version.
    pub version: String,
    /// By rollout: the run and the fingerprint of its program.
    pub programs: Vec<(String, u64, u64)>,
}

impl Told {
    /// As it is stored, cut to so many bytes at most: every second tick goes, then every second one of the rest, and of too
    /// many rollouts the first stay. What goes must not depend on whether requests are open: the ticks that are open for
    /// longest are those of a version that hangs.
    pub fn encode(&mut self, most: usize) -> Vec<u8> {
        let mut halved = 0_u32;
        loop {
            let bytes = encode(self);
            if bytes.len() <= most {
                return bytes;
            }
            halved = halved.saturating_add(1);
            if halved > MOST_HALVED {
                self.rollouts.truncate(self.rollouts.len() / 2);
            } else {
                let stays = |entry: &Entry| spread(entry.tick).leading_zeros() >= halved;
                self.rollouts.iter_mut().for_each(|(_, entries)| entries.retain(stays));
            }
        }
    }

    /// How many entries it has.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.rollouts.iter().map(|(_, entries)| entries.len()).sum()
    }
}

/// Spreads the numbers of ticks, whose last digits are alike where several ticks are counted together.
fn spread(tick: u64) -> u64 {
    tick.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Configured {
    /// Identifies a configuration.
    #[must_use]
    pub fn hash(&self) -> u64 {
        program::identify(&self.programs)
    }
}

/// Who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// The member.
    pub life: Life,
    /// Rises with every renewal.
    pub beat: u64,
    /// Of ticks before this one all counted members have told: what others tell of them is not used any more.
    pub floor: u64,
    /// The members, as the leader sees them.
    pub members: Vec<Seen>,
    /// The marks of events that receivers of notifications have, or that were given up: no member posts them again.
    pub done: Vec<u64>,
    /// How many Envoys report besides: more than are counted.
    pub surplus: u32,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The member.
    pub life: Life,
    /// What it reports of ticks before this one is not used: it had not reported when they were judged.
    pub from: u64,
    /// Milliseconds by which its clock is ahead of the median.
    pub ahead: i64,
    /// The revision of the store up to which it followed it when it last reported.
    pub followed: u64,
    /// Identifies its configuration; 0: not known.
    pub configuration: u64,
    /// Its version.
    pub version: String,
    /// Why it is not counted.
    pub left_out: Option<LeftOut>,
    /// When its last report was first read, in milliseconds since the epoch by the clock of the fleet.
    pub heard: u64,
    /// In what its configuration has differed from the others' for long.
    pub differs: Option<Differs>,
}

/// In what the configuration of a member differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differs {
    /// A rollout in which it does.
    pub rollout: String,
    /// Whether it has another release of it, or other versions, and not only other settings.
    pub is_release: bool,
}

/// Why a member is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeftOut {
    /// Nothing was heard of it lately.
    Silent,
    /// Its clock is off.
    Clock,
    /// What it writes cannot be read: another version of this software, or garbage.
    Unreadable,
}

/// How far a record has got: of two the greater one counts. The bytes decide last.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Standing {
    /// The attempt.
    pub attempt: u32,
    /// Whether the candidate has been taken back.
    pub is_taken_back: bool,
    /// Rises with everything that happens.
    pub revision: u64,
    /// Rises with every write.
    pub generation: u64,
    /// Shares of the versions besides stable.
    pub weights: Shares,
    /// Whether requests are mirrored.
    pub mirrors: bool,
}

/// Attempt, whether the candidate has been taken back, revision, generation.
pub type Place = (u32, bool, u64, u64);

/// A record as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// Rises with every write.
    pub generation: u64,
    /// The record.
    pub record: Record,
    /// The last events, each with the revision that it has led to.
    pub events: Vec<(u64, Event)>,
    /// The last changes that were made in it, by their numbers: one whose answer was lost is not made again.
    pub made: Vec<u64>,
}

/// What is read of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// All of it.
    Whole(Box<Stored>),
    /// How far it has got: it is in the form of another version of this software.
    Foreign(Standing),
    /// Nothing.
    Unreadable,
}

impl Stored {
    /// How far it has got.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let run = &self.record.run;
        Standing {
            attempt: run.attempt,
            is_taken_back: self.record.is_taken_back(),
            revision: run.revision,
            generation: self.generation,
            weights: run.in_force().clone(),
            mirrors: run.may_mirror(&self.record.program),
        }
    }

    /// Which of two counts.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place()).then_with(|| self.body().cmp(&other.body()))
    }

    /// The order but for the bytes.
    #[must_use]
    pub fn place(&self) -> Place {
        let run = &self.record.run;
        let attempt = if rules::is_out(Rule::Order) { 0 } else { run.attempt };
        (attempt, self.stays_taken_back(), run.revision, self.generation)
    }

    /// Whether the candidate has been taken back, which then holds against every other record of the attempt.
    #[must_use]
    pub fn stays_taken_back(&self) -> bool {
        let is_out = rules::is_out(Rule::Order) || rules::is_out(Rule::TakenBackStays);
        self.record.is_taken_back() && !is_out
    }

    /// Adds events; the last of them has led to the record's revision.
    pub fn add(&mut self, events: Vec<Event>) {
        let revision = self.record.run.revision;
        let first = revision.saturating_sub(events.len().saturating_sub(1) as u64);
        self.events.extend((first..).zip(events));
        self.forget_surplus();
    }

    /// Puts the events of a lesser record before those that are known here: a VM that takes the lead of its Envoy over while the
    /// store is away does not have them.
    pub fn learn_history(&mut self, lesser: &Self) {
        let first = self.events.first().map_or(u64::MAX, |(revision, _)| *revision);
        let mut events = lesser.events.clone();
        events.retain(|(revision, _)| *revision < first);
        events.append(&mut self.events);
        self.events = events;
        self.forget_surplus();
    }

    fn forget_surplus(&mut self) {
        let surplus = self.events.len().saturating_sub(KEPT_EVENTS);
        self.events.drain(..surplus);
    }

    fn body(&self) -> Vec<u8> {
        let at_rest = (self.generation, self.record.at_rest(), &self.events, &self.made);
        postcard::to_allocvec(&at_rest).unwrap_or_default()
    }

    /// As it stands in the store: first what every version of this software reads.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = postcard::to_allocvec(&(OUTER, self.standing(), FORM)).unwrap_or_default();
        bytes.extend(self.body());
        bytes
    }

    /// Reads a record.
    #[must_use]
    #[inline(never)] // one copy in the module
    pub fn decode(bytes: &[u8]) -> Read {
        match postcard::take_from_bytes::<(u8, Standing, u32)>(bytes) {
            Ok(((OUTER, standing, FORM), body)) => match postcard::from_bytes::<Self>(body) {
                Ok(stored) if stored.standing() == standing => Read::Whole(Box::new(stored)),
                // Its writer derives another standing from it: two such builds would rewrite each other's record for ever.
                Ok(_) => Read::Foreign(standing),
                Err(_) => Read::Unreadable,
            },
            Ok(((OUTER, standing, _), _)) => Read::Foreign(standing),
            _ => Read::Unreadable,
        }
    }
}

impl Standing {
    /// How requests are routed by it, where the rest of its record cannot be read: as it says, without evidence.
    #[must_use]
    pub fn head(&self, name: &str, program: &Program) -> Head {
        let mut bytes = postcard::to_allocvec(self).unwrap_or_default();
        bytes.extend(program.release.as_bytes());
        Head {
            name: name.to_owned(),
            revision: self.revision,
            program: program.fingerprint(),
            assignment: Assignment(SipHasher24::new().hash(&bytes)),
            weights: self.weights.clone(),
            attempt: self.attempt,
            pinned: program.is_pinned_to_stable() || (program.pin.is_some() && !self.is_taken_back),
            candidate_on_request: !self.is_taken_back,
            is_taken_back: self.is_taken_back,
            mirrors: self.mirrors,
            mirror: None,
            user_key: [0; 2],
            configured_at: 0,
            degree: Degree::Human,
            threshold: None,
        }
    }
}

/// Writes one of the other values.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(&(OUTER, FORM, value)).unwrap_or_default()
}

/// Reads one of the other values; `None` when it is in another form.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let ((outer, form), rest) = postcard::take_from_bytes::<(u8, u32)>(bytes).ok()?;
    if (outer, form) == (OUTER, FORM) { postcard::from_bytes(rest).ok() } else { None }
}

/// Whether another version of this software has written one of the other values.
#[must_use]
pub fn is_foreign(bytes: &[u8]) -> bool {
    postcard::take_from_bytes::<(u8, u32)>(bytes)
        .is_ok_and(|((outer, form), _)| outer == OUTER && form != FORM)
}

/// Identifies the run of a program: a release, its stable version and its candidate.
#[must_use]
pub fn run_of(program: &Program) -> u64 {
    program::identify(&(&program.release, &program.stable, &program.candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_cannot_be_read_leaves_stables_pin_in_force() {
        let pinned = |pin: &str, is_taken_back: bool| {
            let program = Program { stable: "blue".into(), pin: Some(pin.to_owned()), ..Program::default() };
            Standing { is_taken_back, ..Standing::default() }.head("r", &program).pinned
        };
        assert_eq!([pinned("blue", false), pinned("blue", true)], [true, true]);
        assert_eq!([pinned("green", false), pinned("green", true)], [true, false]);
    }
}
