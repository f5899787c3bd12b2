//! Members without Envoys: for tests, simulations and tools.

use std::collections::BTreeMap;

use super::call::{Answer, Call};
use super::known::Made;
use super::member::{Counts, Member, Settings};
use super::rules::{self, Rule};
use super::values::Life;
use crate::model::{Assignment, Draw, Share, Side, UserHash};
use crate::rollout::change::{Change, NotChanged};
use crate::rollout::clock::Clock;
use crate::rollout::event::Event;
use crate::rollout::program::Program;
use crate::signal::sample::Watch;
use crate::telemetry::ledger::{Ledger, Ticket};
use crate::telemetry::outcome::Outcome;

/// Nanoseconds of a tick.
pub const TICK: u64 = 1_000_000_000;

/// How requests of one rollout are routed and counted by an Envoy.
#[derive(Clone, Debug, Default)]
pub struct Routed {
    /// The attempt.
    pub attempt: u32,
    /// Whether the candidate has been taken back.
    pub is_taken_back: bool,
    /// The revision.
    pub revision: u64,
    /// The position of the step that waits.
    pub position: usize,
    /// The candidate's share; none before anything is known.
    pub share: Share,
    assignment: Assignment,
    ledger: Ledger,
    closed_through: u64,
    watch: Watch,
}

/// A request that has not been answered.
#[derive(Debug)]
pub struct Request {
    rollout: String,
    draw: Draw,
    /// `None`: it is counted when it is answered.
    ticket: Option<Ticket>,
}

/// An Envoy of a fleet.
pub struct Envoy {
    /// Its part in the fleet.
    pub member: Member,
    /// Nanoseconds by which its clock is ahead.
    pub ahead: i64,
    /// By rollout.
    pub routed: BTreeMap<String, Routed>,
    /// What happened, as it was told here.
    pub events: Vec<Event>,
    ticked: u64,
    started: u64,
}

impl Envoy {
    /// An Envoy that has just started.
    #[must_use]
    pub fn start((seed, started): (u64, u64), settings: &Settings, programs: &[(String, Program)]) -> Self {
        let life = Life(fastrand::Rng::with_seed(seed).u64(1..));
        let mut member = Member::new(life, settings.clone(), seed);
        member.configure(
            programs.iter().map(|(name, program)| (name.as_str(), program)),
            |_| None,
            Clock::default(),
        );
        let mut routed = BTreeMap::new();
        for (name, program) in programs {
            let mut ledger = Ledger::default();
            ledger.count_signals(program.rules().map(|rules| rules.signals()).unwrap_or_default());
            routed.insert(name.clone(), Routed { ledger, ..Routed::default() });
        }
        Self { member, ahead: 0, routed, events: Vec::new(), ticked: 0, started }
    }

    /// Its own time. What does not jump began at its own start.
    #[must_use]
    pub fn clock(&self, now: u64) -> Clock {
        let time = now.saturating_add_signed(self.ahead) / 1_000_000;
        Clock { length: TICK, uptime: now.saturating_sub(self.started), time, is_shared: true }
    }

    /// A request that is never answered.
    pub fn hang(&mut self, rollout: &str, side: Side, now: u64) {
        let tick = self.clock(now).tick();
        let Some(routed) = self.routed.get_mut(rollout) else { return };
        let draw = Draw { assignment: routed.assignment, side, user: None };
        routed.ledger.arrive(tick, draw);
    }

    /// A request arrives. `None`: the Envoy does not have the rollout.
    pub fn arrive(&mut self, rollout: &str, side: Side, user: Option<UserHash>, now: u64) -> Option<Request> {
        let tick = self.clock(now).tick();
        let routed = self.routed.get_mut(rollout)?;
        let draw = Draw { assignment: routed.assignment, side, user };
        let ticket = (!rules::is_out(Rule::Arrival)).then(|| routed.ledger.arrive(tick, draw));
        Some(Request { rollout: rollout.to_owned(), draw, ticket })
    }

    /// It is answered.
    pub fn end(&mut self, request: Request, failed: bool, now: u64) {
        let tick = self.clock(now).tick();
        let Some(routed) = self.routed.get_mut(&request.rollout) else { return };
        let ticket = request.ticket.unwrap_or_else(|| routed.ledger.arrive(tick, request.draw));
        routed.ledger.end(ticket, 1_000_000, Outcome::answered(failed));
    }

    /// A request that is answered at once.
    pub fn request(&mut self, rollout: &str, side: Side, user: Option<UserHash>, failed: bool, now: u64) {
        if let Some(request) = self.arrive(rollout, side, user, now) {
            self.end(request, failed, now);
        }
    }

    /// Time goes on. Returns the call that is due.
    pub fn poll(&mut self, now: u64) -> Option<Call> {
        let clock = self.clock(now);
        if self.ticked != clock.tick() {
            self.ticked = clock.tick();
            let mut told = Vec::new();
            for (name, routed) in &mut self.routed {
                routed.ledger.forget_through(routed.closed_through);
                routed.ledger.watch(&routed.watch);
                if !routed.ledger.is_empty() {
                    told.push((name.clone(), routed.ledger.entries(clock.tick())));
                }
            }
            self.member.tell(clock.tick(), told, self.clock(now));
        }
        let call = self.member.poll_call(self.clock(now));
        self.follow();
        call
    }

    /// Nanoseconds until there may be something to do, if nothing happens.
    #[must_use]
    pub fn wait(&self, now: u64) -> u64 {
        let clock = self.clock(now);
        TICK.saturating_sub(clock.into_tick()).min(self.member.next_call(clock))
    }

    /// Makes a change here. `id`: another one for each.
    ///
    /// # Errors
    /// It was not made.
    pub fn make(&mut self, id: u64, change: Change, now: u64) -> Result<bool, NotChanged> {
        let record = self.member.record(&change.rollout).ok_or(NotChanged::Unknown)?;
        let made = Made::new(id, record, change);
        let made = self.member.make(&made, self.clock(now));
        self.follow();
        made
    }

    /// An answer has come.
    pub fn answer(&mut self, answer: Answer, now: u64) {
        self.member.answer(answer, self.clock(now));
        self.follow();
    }

    /// Routes as the member says.
    pub fn follow(&mut self) {
        for news in self.member.poll_news() {
            let Some(routed) = self.routed.get_mut(&news.rollout) else { continue };
            self.events.extend(news.events);
            match news.counts {
                Counts::Record(record) => {
                    let head = record.head(&news.rollout);
                    routed.attempt = record.run.attempt;
                    routed.is_taken_back = record.is_taken_back();
                    routed.revision = record.run.revision;
                    routed.position = record.run.position;
                    routed.assignment = head.assignment;
                    routed.closed_through = record.closed_through;
                    routed.watch = record.watch();
                    let candidate = record.program.candidate.as_ref();
                    let share = candidate.and_then(|candidate| head.weights.get(candidate));
                    routed.share = share.copied().unwrap_or_default();
                }
                Counts::Standing(standing) => {
                    routed.attempt = standing.attempt;
                    routed.is_taken_back = standing.is_taken_back;
                    routed.share = standing.weights.values().next().copied().unwrap_or_default();
                    routed.assignment = Assignment::default();
                }
            }
        }
    }
}
