use super::*;
use crate::analysis::totals::tests::table;
use crate::analysis::users::tests::hash;
use crate::config::fixture;
use crate::model::{Draw, Pair, UserHash};
use crate::rollout::event::Action;
use crate::rollout::fixture::{compiled, program};
use crate::signal::catalog::{self, LATENCY};
use crate::signal::observed::Observed;
use crate::telemetry::ledger::{Ledger, Ticket};
use crate::telemetry::outcome::Outcome;
use serde_json::{Value, json};

mod alarms;
mod any_order;
mod bodies;
mod flips;
mod people;
mod shadow;
mod silence;
mod users;

const SECOND: u64 = 1_000_000_000;

fn stepping() -> Program {
    program(&json!({
        "steps": [{"set_weight": 5}, {"pause": {"duration": "1h"}}, {"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}]},
    }))
}

fn at(nanoseconds: u64) -> Clock {
    Clock { length: SECOND, uptime: nanoseconds, time: nanoseconds / 1_000_000, is_shared: false }
}

/// A worker between clients and versions.
struct Worker {
    ledger: Ledger,
}

impl Default for Worker {
    fn default() -> Self {
        let mut ledger = Ledger::default();
        ledger.count_signals(catalog::ids(catalog::DEFAULT));
        Self { ledger }
    }
}

impl Worker {
    /// Requests that arrive in a tick; of the candidate's so many fail, the rest is answered at once.
    fn tick(&mut self, tick: u64, assignment: Assignment, candidate: (u64, u64), stable: (u64, u64)) {
        for (side, (errors, requests)) in [(Side::Candidate, candidate), (Side::Stable, stable)] {
            for request in 0..requests {
                let ticket = self.arrive(tick, assignment, side);
                self.end(ticket, 1_000_000, request < errors);
            }
        }
    }

    /// A user's request that is answered at once.
    fn visit(
        &mut self,
        tick: u64,
        assignment: Assignment,
        side: Side,
        user: impl Into<UserHash>,
        fails: bool,
    ) {
        let ticket = self.arrive_from(tick, assignment, side, user);
        self.end(ticket, 1_000_000, fails);
    }

    fn arrive(&mut self, tick: u64, assignment: Assignment, side: Side) -> Ticket {
        self.ledger.arrive(tick, Draw { assignment, side, user: None })
    }

    fn arrive_from(
        &mut self,
        tick: u64,
        assignment: Assignment,
        side: Side,
        user: impl Into<UserHash>,
    ) -> Ticket {
        self.ledger.arrive(tick, Draw { assignment, side, user: Some(user.into()) })
    }

    fn end(&mut self, ticket: Ticket, nanoseconds: u64, failed: bool) {
        self.ledger.end(ticket, nanoseconds, Outcome::answered(failed));
    }
}

/// An assignment that no record has.
fn unknown(assignment: Assignment, nth: u64) -> Assignment {
    Assignment(assignment.0 ^ nth)
}

fn advance(record: &mut Record, workers: &[&Worker], known_before: u64, clock: Clock) -> Vec<Event> {
    let mut entries = Vec::new();
    workers.iter().for_each(|worker| Entry::merge(&mut entries, worker.ledger.entries(u64::MAX)));
    record.advance(&entries.iter().collect::<Vec<_>>(), known_before, clock)
}

fn begun() -> (Record, Assignment) {
    let (record, _) = Record::begin(stepping(), at(100 * SECOND));
    let assignment = record.head("r").assignment;
    (record, assignment)
}

/// A rollout whose users stay, with these fields besides.
fn with_users(fields: &Value) -> Value {
    fixture::with(fixture::with_red(&json!({"session_affinity": {"header": "x-user-id"}})), fields)
}

fn begun_with_users(fields: &Value) -> (Record, Assignment) {
    let (record, _) = Record::begin(compiled(with_users(fields)), at(100 * SECOND));
    let assignment = record.head("r").assignment;
    (record, assignment)
}

#[test]
fn the_counts_of_all_workers_are_judged_together_and_once() {
    let (mut record, assignment) = begun();
    let (mut one, mut two) = (Worker::default(), Worker::default());
    for tick in 100..104 {
        one.tick(tick, assignment, (1, 1), (0, 9));
        two.tick(tick, assignment, (0, 1), (0, 10));
    }
    assert_eq!(advance(&mut record, &[&one, &two], 101, at(104 * SECOND)), []);
    assert_eq!(record.closed_through, 100, "of 101 not everybody has told");
    let judged = record.run.judge.reading();
    assert!(judged.all > 1.0);
    // The same reports again change nothing.
    assert_eq!(advance(&mut record, &[&one, &two], 101, at(104 * SECOND)), []);
    assert_eq!(record.run.judge.reading(), judged);
    let events = advance(&mut record, &[&one, &two], 104, at(104 * SECOND));
    assert_eq!((events.len(), record.run.phase), (1, Phase::Failed), "{events:?}");
}

/// A step of three ticks, in each of which one of the candidate's requests is found to be served by another cluster,
/// or by the candidate.
#[test]
fn a_step_does_not_end_while_other_clusters_serve() {
    let program = program(&json!({
        "steps": [{"set_weight": 50}, {"pause": {"duration": "3s", "min_requests": 10}}],
        "analysis": {"metrics": [{"name": "error_rate"}]},
    }));
    let (mut record, _) = Record::begin(program, at(0));
    let assignment = record.assignments.last().unwrap().0;
    let mut worker = Worker::default();
    let mut tell = |tick: u64, looked_at: u64, elsewhere: bool| {
        worker.tick(tick, assignment, (0, 20), (0, 20));
        for _ in 0..looked_at {
            let ticket = worker.arrive(tick, assignment, Side::Candidate);
            worker.ledger.find_served(&ticket, elsewhere);
            worker.end(ticket, 1_000_000, false);
            let ticket = worker.arrive(tick, assignment, Side::Stable);
            worker.end(ticket, 1_000_000, false);
        }
        let events = advance(&mut record, &[&worker], tick + 1, at((tick + 1) * SECOND));
        let actions = events.iter().map(|event| event.action).collect::<Vec<_>>();
        (actions, record.run.reason.sentence().into_owned(), record.run.judge.step_requests())
    };
    let waits = "the step waits: another cluster serves a version's requests, or a route answers them; Envoy's routes ignore the filter's choice";
    let mut told = Vec::new();
    for tick in 1..8 {
        let (actions, reason, requests) = tell(tick, 1, true);
        told.extend(actions);
        assert_eq!((reason.as_str(), requests), (waits, 0), "tick {tick}");
    }
    assert_eq!(told, [Action::Alarm], "once");
    // A tick without a look at the clusters does not clear the finding.
    assert_eq!(tell(8, 0, false).1, waits);
    // Nor do a few looks, for it may be that a route disobeys for a part of the requests.
    let mut told = Vec::new();
    for tick in 9..13 {
        let (actions, reason, _) = tell(tick, 24, false);
        told.extend(actions);
        assert_eq!(reason, waits, "tick {tick}");
    }
    told.extend(tell(13, 24, true).0);
    assert_eq!(told, [], "it has been told");
    for tick in 14..20 {
        told.extend(tell(tick, 24, false).0);
    }
    assert_eq!(told, [Action::Succeed]);
}

#[test]
fn a_worker_that_is_silent_stalls_nothing() {
    let (mut record, assignment) = begun();
    let (mut well, mut silent) = (Worker::default(), Worker::default());
    well.tick(100, assignment, (0, 1), (0, 19));
    silent.tick(100, assignment, (1, 1), (0, 19));
    // 5 s of deadline and the grace go by without a word.
    for second in 101..=107 {
        advance(&mut record, &[&well], 100, at(second * SECOND));
        assert_eq!(record.closed_through, 99);
    }
    advance(&mut record, &[&well], 100, at(108 * SECOND));
    assert_eq!(record.closed_through, 100);
    let judged = record.run.judge.reading();
    // Its later report about that tick comes too late.
    advance(&mut record, &[&well, &silent], 108, at(108 * SECOND));
    assert_eq!(record.run.judge.reading(), judged);
}

#[test]
fn a_tick_stays_open_until_its_requests_end_or_the_deadline() {
    let (mut record, assignment) = begun();
    let mut worker = Worker::default();
    worker.tick(100, assignment, (0, 1), (0, 19));
    let slow = worker.arrive(100, assignment, Side::Stable);
    let hanging = worker.arrive(101, assignment, Side::Candidate);
    worker.tick(101, assignment, (0, 1), (0, 19));
    advance(&mut record, &[&worker], 103, at(103 * SECOND));
    assert_eq!(record.closed_through, 99);
    worker.end(slow, 3 * SECOND, false);
    advance(&mut record, &[&worker], 104, at(104 * SECOND));
    assert_eq!(record.closed_through, 100, "in order: 101 waits");
    advance(&mut record, &[&worker], 106, at(106 * SECOND + SECOND / 2));
    assert_eq!(record.closed_through, 100);
    let before = record.run.judge.reading().all;
    advance(&mut record, &[&worker], 107, at(107 * SECOND));
    assert_eq!(record.closed_through, 106, "the deadline has passed, and nothing came since");
    assert!(record.run.judge.reading().all > before, "who has not answered has failed");
    worker.ledger.forget_through(record.closed_through);
    worker.end(hanging, 20 * SECOND, true);
    assert!(worker.ledger.is_empty());
}

#[test]
fn an_answer_that_is_not_reported_yet_is_not_late() {
    let (mut record, assignment) = begun();
    let mut worker = Worker::default();
    worker.tick(100, assignment, (0, 0), (0, 95));
    let slow: Vec<_> = (0..5).map(|_| worker.arrive(100, assignment, Side::Candidate)).collect();
    // The report is from the tick before: it does not cover the last second of the deadline.
    advance(&mut record, &[&worker], 105, at(106 * SECOND + SECOND / 2));
    assert_eq!(record.closed_through, 99);
    for ticket in slow {
        worker.end(ticket, 4_900_000_000, false);
    }
    advance(&mut record, &[&worker], 107, at(107 * SECOND));
    assert_eq!(record.closed_through, 106);
    assert!(record.run.judge.reading().all <= 1.0, "all have answered in time");

    // When no newer report comes, it is not waited for.
    let mut worker = Worker::default();
    worker.arrive(107, assignment, Side::Stable);
    advance(&mut record, &[&worker], 108, at(114 * SECOND));
    assert_eq!(record.closed_through, 106);
    advance(&mut record, &[&worker], 108, at(115 * SECOND));
    assert_eq!(record.closed_through, 107);
}

#[test]
fn open_ticks_take_a_candidate_back_without_waiting_for_stable() {
    let (mut record, assignment) = begun();
    let mut worker = Worker::default();
    for tick in 100..103 {
        worker.tick(tick, assignment, (5, 5), (0, 94));
        worker.arrive(tick, assignment, Side::Stable); // will take its time
    }
    let events = advance(&mut record, &[&worker], 103, at(103 * SECOND));
    assert_eq!(record.run.phase, Phase::Failed);
    assert_eq!(record.closed_through, 99, "none of them is closed");
    let samples = table(events[0].evidence.as_ref().unwrap().samples);
    assert!(samples.candidate.events >= 5, "the finding has what was seen in them: {samples:?}");
}

#[test]
fn requests_of_another_assignment_are_no_evidence() {
    let (mut record, assignment) = begun();
    let mut worker = Worker::default();
    // Both assignments in one tick, then an unknown one.
    worker.tick(100, assignment, (5, 5), (0, 95));
    worker.tick(100, unknown(assignment, 1), (0, 1), (0, 1));
    worker.tick(101, unknown(assignment, 2), (5, 5), (0, 95));
    advance(&mut record, &[&worker], 102, at(102 * SECOND));
    assert_eq!((record.closed_through, record.run.judge.step_requests()), (101, 0));
    assert_eq!(record.run.judge.reading().all, 1.0);

    // After a promotion, requests that came before still count under what they were assigned by.
    worker.tick(102, assignment, (1, 5), (0, 95));
    record.command(Command::Promote { full: false }, at(103 * SECOND)).unwrap();
    assert_ne!(record.head("r").assignment, assignment);
    advance(&mut record, &[&worker], 103, at(103 * SECOND));
    assert_eq!(record.run.judge.step_requests(), 0, "but not for the step that has begun since");
    assert!(record.run.judge.reading().all != 1.0);
    // After an abort and a retry they do not.
    let mut worker = Worker::default();
    worker.tick(103, record.head("r").assignment, (5, 5), (0, 95));
    record.command(Command::Abort, at(104 * SECOND)).unwrap();
    record.command(Command::Retry, at(104 * SECOND)).unwrap();
    advance(&mut record, &[&worker], 104, at(104 * SECOND));
    assert_eq!(record.run.judge.reading().all, 1.0);
}

/// While the members of a fleet come to follow new weights, some requests of a tick are drawn by those before.
#[test]
fn of_a_fleet_each_assignment_of_a_tick_is_evidence_of_its_own() {
    let (begun, before) = begun();
    let evidence = |of_before: bool, of_after: bool| {
        let mut record = begun.clone();
        record.command(Command::Promote { full: false }, at(100 * SECOND)).unwrap();
        let after = record.head("r").assignment;
        assert_ne!(before, after);
        // Each is counted by a member of its own.
        let member = |assignment| {
            let mut member = Worker::default();
            member.tick(101, assignment, (2, 5), (0, 5));
            member.ledger.entries(u64::MAX)
        };
        let mut entries = Vec::new();
        let of = [(of_before, before), (of_after, after)].into_iter().filter(|(is_there, _)| *is_there);
        of.for_each(|(_, assignment)| Entry::merge(&mut entries, member(assignment)));
        record.advance_blocks(&entries.iter().collect::<Vec<_>>(), 102, SECOND, at(102 * SECOND));
        assert_eq!(record.closed_through, 101);
        record.run.judge.reading().all
    };
    let (one, other, both) = (evidence(true, false), evidence(false, true), evidence(true, true));
    assert!(one > 1.0 && other > 1.0, "{one} {other}");
    assert!(both > 1.5 * one.max(other), "{both} of {one} and {other}");
}

/// After a flip each side is known by what came while it answered, alone and under one assignment.
#[test]
fn a_tick_counts_for_a_side_only_if_it_had_one_assignment() {
    let program = program(&json!({
        "blue_green": {"auto_rollback_window": "1h"}, "analysis": {"metrics": [{"name": "error_rate"}]},
    }));
    let (mut record, _) = Record::begin(program, at(100 * SECOND));
    let mut worker = Worker::default();
    let at_blue = record.head("r").assignment;
    worker.tick(100, at_blue, (0, 0), (0, 600));
    worker.tick(101, at_blue, (0, 0), (0, 600));
    advance(&mut record, &[&worker], 102, at(102 * SECOND));
    let switch = || Command::Switch { active: "green".into() };
    record.command(switch(), at(102 * SECOND)).unwrap();
    assert_eq!(record.run.window(), Some(1.0), "1,200 requests were judged");
    // One worker has not followed yet, another reports an unknown assignment.
    let at_green = record.head("r").assignment;
    worker.tick(103, at_blue, (0, 0), (0, 50));
    worker.tick(103, at_green, (50, 50), (0, 0));
    worker.tick(104, unknown(at_green, 1), (50, 50), (0, 0));
    worker.tick(105, at_blue, (0, 0), (50, 50));
    advance(&mut record, &[&worker], 106, at(106 * SECOND));
    assert_eq!((record.closed_through, record.run.window()), (105, Some(1.0)));
    worker.tick(106, at_green, (50, 50), (0, 0));
    let events = advance(&mut record, &[&worker], 107, at(107 * SECOND));
    assert_eq!((events.len(), record.run.phase), (1, Phase::Failed));
}

/// Another candidate of the same release does not inherit what the one before has done.
#[test]
fn requests_of_another_candidate_are_not_evidence() {
    let (mut record, assignment) = begun();
    let mut worker = Worker::default();
    for tick in 100..103 {
        worker.tick(tick, assignment, (5, 5), (0, 95));
    }
    let red = Program { candidate: Some("red".into()), ..stepping() };
    record.push(&red, at(103 * SECOND));
    advance(&mut record, &[&worker], 103, at(103 * SECOND));
    assert_eq!((record.run.phase, record.run.judge.reading().all), (Phase::Progressing, 1.0));
}

/// A worker that stops reporting leaves requests open whose outcome is unknown.
#[test]
fn an_unreported_outcome_is_not_a_failure() {
    let (mut record, assignment) = begun();
    let mut worker = Worker::default();
    worker.tick(100, assignment, (0, 0), (0, 95));
    let open: Vec<_> = (0..5).map(|_| worker.arrive(100, assignment, Side::Candidate)).collect();
    assert_eq!(open.len(), 5);
    advance(&mut record, &[&worker], 101, at(109 * SECOND));
    assert_eq!((record.closed_through, record.run.judge.reading().all), (100, 1.0));
}

#[test]
fn a_record_survives_being_written() {
    let (mut record, assignment) = begun();
    let mut worker = Worker::default();
    worker.tick(100, assignment, (1, 5), (1, 95));
    advance(&mut record, &[&worker], 101, at(101 * SECOND));
    let bytes = postcard::to_allocvec(&record).unwrap();
    assert!(bytes.len() < 1_000, "{} bytes", bytes.len());
    assert_eq!(postcard::from_bytes(&bytes), Ok(record.clone()));
    let head = record.head("r");
    assert_eq!(postcard::from_bytes(&postcard::to_allocvec(&head).unwrap()), Ok(head));
}

#[test]
fn a_clock_that_goes_back_or_jumps_judges_nothing_twice() {
    let (mut record, assignment) = begun();
    let mut worker = Worker::default();
    worker.tick(100, assignment, (0, 5), (0, 95));
    advance(&mut record, &[&worker], 101, at(101 * SECOND));
    let judged = record.run.judge.clone();
    for clock in [at(0), at(99 * SECOND), at(1_000_000 * SECOND), at(u64::MAX), Clock::default()] {
        advance(&mut record, &[&worker], clock.tick(), clock);
        assert_eq!(record.run.judge.reading(), judged.reading());
    }
}

/// The candidate fails in the last seconds of a step, which close in the next one.
#[test]
fn events_have_the_observed_counts() {
    let (mut record, assignment) = begun();
    let mut worker = Worker::default();
    let mut slow = Vec::new();
    for tick in 101..104 {
        worker.tick(tick, assignment, (0, 5), (0, 95));
        (0..5).for_each(|_| slow.push(worker.arrive(tick, assignment, Side::Candidate)));
    }
    advance(&mut record, &[&worker], 104, at(104 * SECOND));
    record.command(Command::Promote { full: false }, at(104 * SECOND + 1)).unwrap();
    slow.into_iter().for_each(|ticket| worker.end(ticket, 2 * SECOND, true));
    advance(&mut record, &[&worker], 105, at(105 * SECOND));
    assert_eq!(record.run.phase, Phase::Failed);
    let reason = record.run.reason.sentence();
    assert!(reason.contains("15 of 30 requests (50.0 %) against 0 of 285 requests (0.0 %)"), "{reason}");
}
