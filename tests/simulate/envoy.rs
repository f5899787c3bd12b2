//! An Envoy: workers that count requests as they arrive and end, each with a ledger of its own that it
//! reports once a tick at a moment of its own, and one that takes the reports over and judges.

use changeover::analysis::evidence::SPLIT_THRESHOLD;
use changeover::analysis::kernel::ratio::Table;
use changeover::model::{Assignment, Draw, Side, UserHash};
use changeover::rollout::command::Command;
use changeover::rollout::event::Action;
use changeover::rollout::program::Program;
use changeover::rollout::record::{Clock, Record};
use changeover::signal::catalog::{self, ERROR_RATE, LATENCY};
use changeover::signal::observed::Observed;
use changeover::telemetry::ledger::{Entry, Ledger, Ticket};
use fastrand::Rng;

use crate::people::{People, Person};
use crate::world::{SECOND, Weather, World};

pub(crate) const WORKERS: usize = 3;
/// The tick in which a run begins: any but the first.
const FIRST: u64 = 1_000;
/// Ticks that an answer may take to come, and more.
const AHEAD: usize = 64;

/// What came of a run.
pub(crate) struct Outcome {
    /// How many ticks had been judged when the candidate was taken back.
    pub(crate) rolled_back: Option<usize>,
    /// The split was found to be wrong.
    pub(crate) mismatch: bool,
    /// What every tick would have counted if all were known at once; of users' failures only the first.
    pub(crate) ticks: Vec<Table>,
}

impl Outcome {
    /// The candidate's requests from a tick to the one that decides; infinite when none does, `None` when that came
    /// before.
    pub(crate) fn requests(&self, from: u64) -> Option<f64> {
        let from = usize::try_from(from).ok()?;
        match self.rolled_back {
            Some(judged) if judged <= from => None,
            Some(judged) => {
                Some(self.ticks[from..judged].iter().map(|tick| tick.candidate.units as f64).sum())
            }
            None => Some(f64::INFINITY),
        }
    }
}

/// Lives through a world until the candidate is taken back or the world ends.
pub(crate) fn run(world: &World, program: &Program, mut rng: Rng) -> Outcome {
    let (record, _) = Record::begin(program.clone(), clock(FIRST * SECOND));
    let workers = (0..WORKERS).map(|_| Worker::new(&record, rng.u64(0..SECOND))).collect();
    let people = (world.users > 0).then(|| People::new(world.users, world.alike, &mut rng));
    let mut envoy = Envoy { record, workers, people, mismatch: false, ticks: Vec::new() };
    let leader = rng.u64(0..SECOND);
    let mut weather = Weather::new(world);
    for tick in 0..world.length {
        weather.change(tick, &mut rng);
        if world.step_begins(tick) {
            let promoted =
                envoy.record.command(Command::Promote { full: false }, clock((FIRST + tick) * SECOND));
            promoted.expect("every step but the last can be promoted");
        }
        envoy.ticks.push(Table::default());
        let mut timers: Vec<(u64, Option<usize>)> = vec![(leader, None)];
        timers.extend(envoy.workers.iter().enumerate().map(|(index, worker)| (worker.phase, Some(index))));
        timers.sort_unstable();
        let mut arrived = 0;
        for (phase, timer) in timers {
            while arrived * SECOND < phase * world.requests {
                envoy.arrive(tick, arrived * SECOND / world.requests, &weather, &mut rng);
                arrived += 1;
            }
            match timer {
                Some(worker) => envoy.workers[worker].report(tick, &envoy.record),
                None => {
                    if let Some(judged) = envoy.judge(tick, phase) {
                        return envoy.outcome(Some(judged));
                    }
                }
            }
        }
        for arrived in arrived..world.requests {
            envoy.arrive(tick, arrived * SECOND / world.requests, &weather, &mut rng);
        }
    }
    envoy.outcome(None)
}

fn clock(uptime: u64) -> Clock {
    Clock { length: SECOND, uptime, time: uptime / 1_000_000 }
}

struct Envoy {
    record: Record,
    workers: Vec<Worker>,
    people: Option<People>,
    mismatch: bool,
    ticks: Vec<Table>,
}

impl Envoy {
    /// A request comes to one of the workers.
    fn arrive(&mut self, tick: u64, offset: u64, weather: &Weather<'_>, rng: &mut Rng) {
        let worker = &mut self.workers[rng.usize(0..WORKERS)];
        let mut anybody = Person::ANYBODY;
        let person = match &mut self.people {
            Some(people) => people.next(rng),
            None => {
                anybody.bucket = rng.u16(0..10_000);
                &mut anybody
            }
        };
        let side = if person.bucket < worker.weight { Side::Candidate } else { Side::Stable };
        let arrival = tick * SECOND + offset;
        let (duration, failed) = weather.answer(person, side, arrival, rng);
        worker.take(tick, arrival, (side, person.name), duration, failed);
        let table = self.ticks.last_mut().expect("a tick is under way");
        table[side].count(failed && !person.has_failed);
        person.has_failed |= failed;
    }

    /// Judges what has been reported; how many ticks that were when it takes the candidate back.
    fn judge(&mut self, tick: u64, phase: u64) -> Option<usize> {
        let mut entries: Vec<&Entry> = self.workers.iter().flat_map(|worker| &worker.report).collect();
        entries.sort_by_key(|entry| entry.tick);
        let known = self.workers.iter().map(|worker| worker.reported).min().unwrap_or_default();
        let events = self.record.advance(&entries, known, clock((FIRST + tick) * SECOND + phase));
        self.mismatch |= self.record.run.judge.split() >= SPLIT_THRESHOLD;
        if events.iter().all(|event| event.action != Action::Rollback) {
            return None;
        }
        // What was certain of open ticks was needed, or closed ones have sufficed.
        let closed = self.record.run.judge.reading().all;
        let threshold = self.record.program.rules().map_or(0.0, |rules| rules.threshold);
        let judged = if closed >= threshold { self.record.closed_through + 1 } else { known };
        Some((judged - FIRST) as usize)
    }

    fn outcome(self, rolled_back: Option<usize>) -> Outcome {
        Outcome { rolled_back, mismatch: self.mismatch, ticks: self.ticks }
    }
}

/// A request that has not ended when its worker reports next.
struct Pending {
    ticket: Ticket,
    duration: u64,
    failed: bool,
}

struct Worker {
    /// When in each tick it reports, in nanoseconds.
    phase: u64,
    ledger: Ledger,
    /// By the tick of the report before which they end, in a ring.
    pending: Vec<Vec<Pending>>,
    /// What it knows of the rollout since its last report.
    assignment: Assignment,
    weight: u16,
    report: Vec<Entry>,
    /// The tick that was under way at its last report.
    reported: u64,
}

impl Worker {
    fn new(record: &Record, phase: u64) -> Self {
        let mut ledger = Ledger::default();
        ledger.count_signals(catalog::DEFAULT.to_vec());
        let mut worker = Self {
            phase,
            ledger,
            pending: (0..AHEAD).map(|_| Vec::new()).collect(),
            assignment: Assignment::default(),
            weight: 0,
            report: Vec::new(),
            reported: FIRST,
        };
        worker.learn(record);
        worker
    }

    fn take(&mut self, tick: u64, arrival: u64, who: (Side, Option<UserHash>), duration: u64, failed: bool) {
        let (side, user) = who;
        let ticket = self.ledger.arrive(FIRST + tick, Draw { assignment: self.assignment, side, user });
        // Between two reports nobody looks: what ends before the next one may as well end at once.
        let next = tick + u64::from(arrival - tick * SECOND >= self.phase);
        let report = (arrival + duration).saturating_sub(self.phase).div_ceil(SECOND);
        if report <= next {
            self.end(ticket, duration, failed);
        } else {
            self.pending[report as usize % AHEAD].push(Pending { ticket, duration, failed });
        }
    }

    fn report(&mut self, tick: u64, record: &Record) {
        for Pending { ticket, duration, failed } in std::mem::take(&mut self.pending[tick as usize % AHEAD]) {
            self.end(ticket, duration, failed);
        }
        self.learn(record);
        self.reported = FIRST + tick;
        self.report = self.ledger.entries(self.reported);
    }

    /// Takes over what is in force by now.
    fn learn(&mut self, record: &Record) {
        let head = record.head("");
        self.assignment = head.assignment;
        self.weight = head.weights.values().sum();
        self.ledger.forget_through(head.closed_through);
        self.ledger.watch(&head.watch);
    }

    fn end(&mut self, ticket: Ticket, duration: u64, failed: bool) {
        self.ledger.observe(&ticket, &LATENCY, Observed::Duration(duration));
        self.ledger.observe(&ticket, &ERROR_RATE, Observed::Event(failed));
        self.ledger.end(ticket);
    }
}
