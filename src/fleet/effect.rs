//! What a member of the protocol wants done outside of it, as values.

use std::rc::Rc;

use super::presence::VmId;
use crate::analysis::users::Losses;
use crate::config::notify::Notify;
use crate::rollout::event::Event;
use crate::rollout::ready::Ready;
use crate::rollout::record::Record;
use crate::telemetry::feedback;
use crate::telemetry::series::{Gauge, Rollout};

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Wake a VM: there is something new. `reply_to`: a VM that wants to be woken when it has looked.
    Wake {
        /// The VM.
        vm: VmId,
        /// The VM that waits.
        reply_to: Option<VmId>,
    },
    /// Requests are routed differently from now on: the weights in force may have changed.
    Routes,
    /// Something happened to a rollout: it is logged and counted.
    Happened {
        /// The rollout.
        rollout: Rc<Rollout>,
        /// What happened.
        event: Box<Event>,
    },
    /// A gauge of a rollout has another value.
    Gauge {
        /// The rollout.
        rollout: Rc<Rollout>,
        /// Which one.
        gauge: Gauge,
        /// Its value.
        value: u64,
    },
    /// So many users have come again, of a rollout.
    Heard {
        /// The rollout.
        rollout: Rc<Rollout>,
        /// By which rule, and of which version.
        about: feedback::About,
        /// How many.
        count: u64,
    },
    /// A cap has cut something off.
    Dropped {
        /// What.
        what: &'static str,
        /// How many.
        count: u64,
    },
    /// A worker no longer answers: its VM has failed, Envoy is stopping it, or it gets no CPU.
    Gone(usize),
    /// How the Envoy's fleet is.
    Fleet {
        /// Seconds since the store last answered.
        age: u64,
        /// Members that are counted.
        members: u64,
        /// What a person should look at.
        problems: u64,
    },
    /// The store did not do what it was asked, for this reason.
    StoreFailed(&'static str),
    /// Something about the fleet that a person should look at, in one sentence.
    Problem(String),
    /// Nothing of that kind is left.
    Solved,
    /// Answer a stream that waits for a change.
    Answer(Answer),
    /// Ask a candidate whether it is ready.
    Ask(Question),
    /// Post an event to a receiver of notifications.
    Post(Box<Post>),
    /// Notifications to a receiver are counted.
    Notified {
        /// The receiver's name.
        receiver: String,
        /// What became of them.
        result: &'static str,
        /// How many.
        count: u64,
    },
}

/// A question to a candidate. Its answer goes to [`Member::hear`](super::member::Member::hear).
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The rollout's name.
    pub rollout: String,
    /// What is asked, and where.
    pub ready: Ready,
    /// When it was asked: goes with the answer.
    pub asked: u64,
}

/// An event to be posted. What becomes of it goes to [`Member::posted`](super::member::Member::posted).
#[derive(Clone, Debug, PartialEq)]
pub struct Post {
    /// Where it goes.
    pub receiver: Notify,
    /// The fleet, if the Envoy belongs to one.
    pub fleet: Option<String>,
    /// The rollout.
    pub rollout: String,
    /// What happened.
    pub event: Event,
    /// Whether a side of blue/green is being watched after a flip when this is posted.
    pub is_side_watched: bool,
}

/// The answer to a change: what became of the rollout, and whether all workers follow.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The stream that waits.
    pub stream: u32,
    /// The rollout's name.
    pub rollout: String,
    /// What became of it.
    pub record: Box<Record>,
    /// Workers that have not confirmed it in time.
    pub missing: Vec<usize>,
}

impl Effect {
    /// What the bounds of judges' memory of users have cost.
    pub(super) fn dropped_of_users(losses: Losses) -> impl Iterator<Item = Self> {
        let dropped = [("users_of_run", losses.halvings), ("users_with_event", losses.inexact)];
        dropped.into_iter().filter(|(_, count)| *count > 0).map(|(what, count)| Self::Dropped { what, count })
    }
}
