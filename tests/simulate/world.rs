//! What happens to requests: how often both versions fail, when they are down, and how late they answer.

use changeover::model::{Pair, Side};
use changeover::telemetry::outcome::Outcome;
use fastrand::Rng;

use crate::draw::{DURATION_BITS, durations};
use crate::envoy::WORKERS;
use crate::people::Person;

pub(crate) const SECOND: u64 = 1_000_000_000;

/// How often requests fail, whichever version they come to.
#[derive(Clone, Copy)]
pub(crate) enum Rate {
    Constant(f64),
    /// Up and down between two rates, by up to a tenth each tick.
    Walks(f64, f64),
    /// From one rate to another over the run.
    Falls(f64, f64),
}

/// When everything fails, whichever version it comes to, for how long.
#[derive(Clone, Copy)]
pub(crate) enum Outages {
    None,
    /// Every ten minutes, at any moment of a tick.
    Every10Minutes(u64),
    /// From the moment a step begins.
    WithSteps(u64),
}

/// What is wrong with a candidate.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Worse {
    /// It fails at this rate instead.
    Rate(f64),
    /// It fails this part of all requests more.
    Points(f64),
    /// It always fails for this part of its users.
    Users(f64),
    /// It fails so many times as often; below 1 it is better.
    Times(f64),
}

/// Whose answers come late; that alone makes no version worse.
#[derive(Clone, Copy)]
pub(crate) enum Late {
    Neither,
    /// This part of the candidate's, by so many nanoseconds.
    Candidate(f64, u64),
    /// All of the candidate's, which take so many times as long.
    CandidateTimes(f64),
    /// Stable's failures, by two seconds.
    StablesFailures,
    /// 0.3 % of stable's answers take 3 to 30 seconds.
    StablesTail,
    /// 0.3 % of everybody's answers take 3 to 30 seconds.
    EverybodysTail,
    /// So many of the candidate's first answers, by so many nanoseconds.
    CandidateStarts(u64, u64),
    /// Answers on a new connection, whichever version gives them. Connections that were idle for longer are closed.
    Connections {
        idle: u64,
        costs: u64,
    },
}

#[derive(Clone)]
pub(crate) struct World {
    /// How many keep their version and are judged; none: requests are.
    pub(crate) users: usize,
    /// They come equally often, fare alike, and none always fails.
    pub(crate) alike: bool,
    /// Ticks.
    pub(crate) length: u64,
    /// Requests of a tick.
    pub(crate) requests: u64,
    /// The candidate's weights in percent; each is in force for the same time.
    pub(crate) weights: &'static [f64],
    pub(crate) rate: Rate,
    pub(crate) outages: Outages,
    pub(crate) late: Late,
    /// The part of requests whose clients give up before an answer, whichever version they come to.
    pub(crate) impatient: f64,
    /// From which tick on the candidate is worse.
    pub(crate) worse: Option<(u64, Worse)>,
}

impl World {
    /// The ticks in which a step after the first begins.
    pub(crate) fn step_begins(&self, tick: u64) -> bool {
        tick > 0 && tick.is_multiple_of(self.length / self.weights.len() as u64)
    }
}

/// The world as it is in one tick of one run.
pub(crate) struct Weather<'a> {
    world: &'a World,
    durations: Vec<u64>,
    rate: f64,
    /// What is wrong with the candidate at this time.
    worse: Option<Worse>,
    /// When the last outage began and will have ended, in nanoseconds of the run.
    outage: (u64, u64),
    /// How many answers of the candidate have begun.
    candidates: u64,
    /// When each worker's newest request went to each version. One connection serves all of them.
    newest: [Pair<Option<u64>>; WORKERS],
}

/// A request that has come.
pub(crate) struct Arrived {
    /// The worker that it has come to.
    pub(crate) worker: usize,
    pub(crate) side: Side,
    /// Nanoseconds of the run.
    pub(crate) at: u64,
}

impl<'a> Weather<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let rate = match world.rate {
            Rate::Constant(rate) | Rate::Falls(rate, _) => rate,
            Rate::Walks(low, high) => (low * high).sqrt(),
        };
        let newest = [Pair::default(); WORKERS];
        Self { world, durations: durations(), rate, worse: None, outage: (0, 0), candidates: 0, newest }
    }

    /// Goes on to a tick.
    pub(crate) fn change(&mut self, tick: u64, rng: &mut Rng) {
        match self.world.rate {
            Rate::Constant(_) => {}
            Rate::Walks(low, high) => {
                self.rate = (self.rate * (0.2 * rng.f64() - 0.1).exp()).clamp(low, high);
            }
            Rate::Falls(from, to) => self.rate = from + (to - from) * tick as f64 / self.world.length as f64,
        }
        self.worse = self.world.worse.filter(|(from, _)| tick >= *from).map(|(_, worse)| worse);
        let begins = tick * SECOND;
        match self.world.outages {
            Outages::Every10Minutes(length) if tick % 600 == 300 => {
                let begins = begins + rng.u64(0..SECOND);
                self.outage = (begins, begins + length);
            }
            Outages::WithSteps(length) if self.world.step_begins(tick) => {
                self.outage = (begins, begins + length);
            }
            _ => {}
        }
    }

    /// What comes of a request: how many nanoseconds later it ends, and how.
    pub(crate) fn answer(&mut self, person: &Person, arrived: &Arrived, rng: &mut Rng) -> (u64, Outcome) {
        let side = arrived.side;
        let bits = rng.u64(..);
        let mut duration = self.durations[(bits >> (64 - DURATION_BITS)) as usize];
        duration = (duration as f64 * person.pace) as u64;
        let chance = (bits & 0xffff_ffff) as f64 / 4_294_967_296.0;
        let is_down = (self.outage.0..self.outage.1).contains(&arrived.at);
        let failed = is_down || chance < self.rate_of(person, side);
        self.candidates += u64::from(side == Side::Candidate);
        match (self.world.late, side) {
            (Late::CandidateStarts(first, by), Side::Candidate) if self.candidates <= first => duration += by,
            (Late::Connections { idle, costs }, _) => {
                let newest = self.newest[arrived.worker][side].replace(arrived.at);
                let is_open = newest.is_some_and(|newest| arrived.at - newest <= idle);
                duration += if is_open { 0 } else { costs };
            }
            (Late::Candidate(part, by), Side::Candidate) if part >= 1.0 || rng.f64() < part => duration += by,
            (Late::CandidateTimes(times), Side::Candidate) => duration = (duration as f64 * times) as u64,
            (Late::StablesFailures, Side::Stable) if failed => duration += 2 * SECOND,
            (Late::StablesTail, Side::Stable) | (Late::EverybodysTail, _) if rng.f64() < 0.003 => {
                duration = rng.u64(3 * SECOND..30 * SECOND);
            }
            _ => {}
        }
        if self.world.impatient > 0.0 && rng.f64() < self.world.impatient {
            return (rng.u64(0..duration.max(1)), Outcome::Unanswered);
        }
        (duration, Outcome::answered(failed))
    }

    /// How often a user's requests fail.
    fn rate_of(&self, person: &Person, side: Side) -> f64 {
        let rate = self.rate * person.frailty;
        match self.worse.filter(|_| side == Side::Candidate) {
            None => rate,
            Some(Worse::Rate(rate)) => rate,
            Some(Worse::Points(more)) => rate + more,
            Some(Worse::Users(part)) if person.rank < part => 1.0,
            Some(Worse::Users(_)) => rate,
            Some(Worse::Times(times)) => rate * times,
        }
    }
}
