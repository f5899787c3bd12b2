//! An Envoy: workers that count requests as they arrive and end, each with a ledger of its own that it
//! reports once a tick at a moment of its own, and one that takes the reports over and judges.

use changeover::analysis::kernel::ratio::Table;
use changeover::config::schema::Config;
use changeover::fleet;
use changeover::fleet::effect::Effect;
use changeover::fleet::memory::Memory;
use changeover::fleet::simulated::{Request, Vm};
use changeover::model::{Side, UserHash};
use changeover::rollout::change::Change;
use changeover::rollout::clock::Clock;
use changeover::rollout::command::Command;
use changeover::rollout::event::Action;
use changeover::telemetry::outcome::Outcome as Ended;
use fastrand::Rng;

use crate::people::{People, Person};
use crate::world::{Arrived, SECOND, Weather, World};

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
pub(crate) fn run(world: &World, config: &Config, mut rng: Rng) -> Outcome {
    let phases: Vec<u64> = (0..WORKERS).map(|_| rng.u64(0..SECOND)).collect();
    let people = (world.users > 0).then(|| People::new(world.users, world.alike, &mut rng));
    let leader = rng.u64(0..SECOND);
    let mut envoy = Envoy::begin(config, &phases, people);
    let mut weather = Weather::new(world);
    for tick in 0..world.length {
        weather.change(tick, &mut rng);
        if world.step_begins(tick) {
            envoy.promote(tick);
        }
        envoy.ticks.push(Table::default());
        let mut timers: Vec<(u64, Option<usize>)> = vec![(leader, None)];
        timers.extend(phases.iter().enumerate().map(|(index, phase)| (*phase, Some(index))));
        timers.sort_unstable();
        let mut arrived = 0;
        for (phase, timer) in timers {
            while arrived * SECOND < phase * world.requests {
                envoy.arrive(tick, arrived * SECOND / world.requests, &mut weather, &mut rng);
                arrived += 1;
            }
            let now = clock((FIRST + tick) * SECOND + phase);
            match timer {
                Some(worker) => envoy.workers[worker].report(&mut envoy.shared, tick, now),
                None => {
                    if let Some(judged) = envoy.judge(now) {
                        return envoy.outcome(Some(judged));
                    }
                }
            }
        }
        for arrived in arrived..world.requests {
            envoy.arrive(tick, arrived * SECOND / world.requests, &mut weather, &mut rng);
        }
    }
    envoy.outcome(None)
}

fn clock(uptime: u64) -> Clock {
    Clock { length: SECOND, uptime, time: uptime / 1_000_000, is_shared: false }
}

struct Envoy {
    shared: Memory,
    /// The main thread's VM: it leads, and serves no request.
    main: Vm,
    threshold: f64,
    workers: Vec<Worker>,
    people: Option<People>,
    mismatch: bool,
    ticks: Vec<Table>,
}

impl Envoy {
    fn begin(config: &Config, phases: &[u64], people: Option<People>) -> Self {
        let (mut shared, mut main, now) = (Memory::default(), Vm::new(1), clock(FIRST * SECOND));
        main.load(&shared, config, now);
        main.report(&mut shared, now);
        // It takes the lead, and leads.
        main.lead(&mut shared, now);
        main.lead(&mut shared, now);
        let worker = |(seed, phase): (u64, &u64)| {
            let mut vm = Vm::new(seed);
            vm.load(&shared, config, now);
            Worker::new(vm, *phase)
        };
        let workers = (2..).zip(phases).map(worker).collect();
        let threshold = main.rollouts()[0].program.rules().map_or(0.0, |rules| rules.threshold);
        Self { shared, main, threshold, workers, people, mismatch: false, ticks: Vec::new() }
    }

    fn promote(&mut self, tick: u64) {
        let command = Command::Promote { full: false };
        let change = Change::new("r", command);
        let promoted = self.main.command(&mut self.shared, &change, clock((FIRST + tick) * SECOND));
        promoted.expect("every step but the last can be promoted");
    }

    /// A request comes to one of the workers.
    fn arrive(&mut self, tick: u64, offset: u64, weather: &mut Weather<'_>, rng: &mut Rng) {
        let index = rng.usize(0..WORKERS);
        let worker = &mut self.workers[index];
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
        let (duration, outcome) = weather.answer(person, &Arrived { worker: index, side, at: arrival }, rng);
        worker.take(arrival, (side, person.name), duration, outcome);
        let failed = outcome == Ended::Error;
        let table = self.ticks.last_mut().expect("a tick is under way");
        table[side].count(failed && !person.has_failed);
        person.has_failed |= failed;
    }

    /// Judges what has been reported; how many ticks that were when it takes the candidate back.
    fn judge(&mut self, now: Clock) -> Option<usize> {
        self.main.report(&mut self.shared, now);
        let effects = self.main.lead(&mut self.shared, now);
        let happened = |wanted: Action| {
            let is_it =
                |effect: &Effect| matches!(effect, Effect::Happened { event, .. } if event.action == wanted);
            effects.iter().any(is_it)
        };
        // No other alarm is raised where a candidate that is worse is rolled back.
        self.mismatch |= happened(Action::Alarm);
        if !happened(Action::Rollback) {
            return None;
        }
        let record = fleet::record(&self.shared, "r").expect("it has begun");
        // What was certain of open ticks was needed, or closed ones have sufficed.
        let known = self.workers.iter().map(|worker| worker.reported).min().unwrap_or_default();
        let closed = record.run.judge.reading().all;
        let judged = if closed >= self.threshold { record.closed_through + 1 } else { known };
        Some((judged - FIRST) as usize)
    }

    fn outcome(self, rolled_back: Option<usize>) -> Outcome {
        Outcome { rolled_back, mismatch: self.mismatch, ticks: self.ticks }
    }
}

/// A request that has not ended when its worker reports next.
struct Pending {
    request: Request,
    duration: u64,
    outcome: Ended,
}

struct Worker {
    vm: Vm,
    /// When in each tick it reports, in nanoseconds.
    phase: u64,
    /// By the tick of the report before which they end, in a ring.
    pending: Vec<Vec<Pending>>,
    /// The candidate's weight as of its last report.
    weight: u16,
    /// The tick that was under way at its last report.
    reported: u64,
}

impl Worker {
    fn new(vm: Vm, phase: u64) -> Self {
        let pending = (0..AHEAD).map(|_| Vec::new()).collect();
        let mut worker = Self { vm, phase, pending, weight: 0, reported: FIRST };
        worker.look();
        worker
    }

    fn take(&mut self, arrival: u64, who: (Side, Option<UserHash>), duration: u64, outcome: Ended) {
        let ((side, user), tick) = (who, arrival / SECOND);
        let request = self.vm.arrive(0, side, user, clock(FIRST * SECOND + arrival)).expect("it is judged");
        // Between two reports nothing is looked at: what ends before the next one may as well end at once.
        let next = tick + u64::from(arrival - tick * SECOND >= self.phase);
        let report = (arrival + duration).saturating_sub(self.phase).div_ceil(SECOND);
        if report <= next {
            request.end(duration, outcome);
        } else {
            self.pending[report as usize % AHEAD].push(Pending { request, duration, outcome });
        }
    }

    fn report(&mut self, shared: &mut Memory, tick: u64, now: Clock) {
        for Pending { request, duration, outcome } in std::mem::take(&mut self.pending[tick as usize % AHEAD])
        {
            request.end(duration, outcome);
        }
        self.vm.report(shared, now);
        self.reported = FIRST + tick;
        self.look();
    }

    /// Takes over what is in force.
    fn look(&mut self) {
        let weights = self.vm.rollouts()[0].weights();
        self.weight = weights[1..].iter().map(|weight| weight.basis_points()).sum();
    }
}
