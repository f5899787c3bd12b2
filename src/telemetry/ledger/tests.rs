use super::*;
use crate::model::{Side, UserHash};
use crate::signal::catalog;
use crate::signal::sums::Fraction;
use crate::signal::tally::{Tally, Users};

const MS: u64 = 1_000_000;
const ONE: Assignment = Assignment(1);

fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.count_signals(catalog::ids(catalog::DEFAULT));
    ledger
}

fn draw(side: Side, user: Option<u64>) -> Draw {
    Draw { assignment: ONE, side, user: user.map(UserHash) }
}

fn end(ledger: &mut Ledger, ticket: Ticket, nanoseconds: u64, failed: bool) {
    ledger.end(ticket, nanoseconds, Outcome::answered(failed));
}

fn errors(counts: &Counts) -> u64 {
    match counts.tally(ERROR_RATE.id) {
        Some(Tally::Event(arm)) => arm.events,
        other => panic!("{other:?}"),
    }
}

fn durations(counts: &Counts) -> histogram::Histogram {
    match counts.tally(LATENCY.id) {
        Some(Tally::Duration(durations)) => (**durations).clone(),
        other => panic!("{other:?}"),
    }
}

fn users(counts: &Counts) -> &Users {
    counts.users.as_ref().expect("users are judged")
}

fn pairs(sample: &crate::signal::sample::Sample) -> Vec<(u64, u8)> {
    sample.after(0).map(|(user, number)| (user.0, number)).collect()
}

#[test]
fn a_user_that_returns_keeps_the_outcome_of_the_first_request() {
    let mut ledger = ledger();
    for failed in [false, true, false] {
        let ticket = ledger.arrive(1, draw(Side::Candidate, Some(7)));
        end(&mut ledger, ticket, MS, failed);
    }
    let entries = ledger.entries(2);
    let users = users(&entries[0].counts.candidate);
    assert_eq!(pairs(&users.seen), [(7, First::Well as u8)]);
    assert_eq!(users.sample(ERROR_RATE.id).unwrap().after(0).count(), 1);
}

#[test]
fn a_request_counts_in_the_tick_of_its_arrival() {
    let mut ledger = ledger();
    let first = ledger.arrive(7, draw(Side::Candidate, None));
    let second = ledger.arrive(7, draw(Side::Stable, None));
    let third = ledger.arrive(8, draw(Side::Stable, None));
    ledger.answer(&first);
    end(&mut ledger, second, 3 * MS, true);
    let entries = ledger.entries(u64::MAX);
    let candidate = &entries[0].counts.candidate;
    assert_eq!((candidate.requests, candidate.open, candidate.unanswered), (1, 1, 0));
    let stable = &entries[0].counts.stable;
    assert_eq!((stable.requests, stable.open, stable.unanswered, errors(stable)), (1, 0, 0, 1));
    assert_eq!(durations(stable).total(), 1);
    assert_eq!(entries[1].counts.stable.requests, 1);
    // Judged ticks are forgotten, and requests that end afterwards are not evidence.
    ledger.forget_through(7);
    end(&mut ledger, first, 9_000 * MS, true);
    end(&mut ledger, third, MS, false);
    let entries = ledger.entries(u64::MAX);
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].counts.stable.open, entries[0].counts.candidate.requests), (0, 0));
    assert!(ledger.open.is_empty());
}

#[test]
fn a_streamed_answer_is_timed_once_at_its_beginning() {
    let mut ledger = ledger();
    let ticket = ledger.arrive(1, draw(Side::Candidate, None));
    ledger.answer(&ticket);
    ledger.observe(&ticket, LATENCY.id, Observed::Duration(5 * MS));
    end(&mut ledger, ticket, 60_000 * MS, false);
    let durations = durations(&ledger.entries(u64::MAX)[0].counts.candidate);
    assert_eq!((durations.total(), durations.beyond(histogram::bucket(5 * MS))), (1, 0));
}

#[test]
fn a_signal_counts_from_the_next_tick_on_and_only_while_it_is_wanted() {
    let mut ledger = ledger();
    let observe = |ledger: &mut Ledger, tick: u64| {
        let ticket = ledger.arrive(tick, draw(Side::Candidate, None));
        ledger.observe(&ticket, catalog::TEST_EVENT.id, Observed::Event(true));
        end(ledger, ticket, MS, false);
        let entries = ledger.entries(u64::MAX);
        entries.last().unwrap().counts.candidate.tally(catalog::TEST_EVENT.id).cloned()
    };
    assert_eq!(observe(&mut ledger, 1), None);
    ledger.count_signals(vec![ERROR_RATE.id, catalog::TEST_EVENT.id]);
    assert_eq!(observe(&mut ledger, 1), None, "the tick has begun without it");
    let counted = observe(&mut ledger, 2).expect("counted");
    assert_eq!(counted.settled(), 1);
    ledger.count_signals(vec![ERROR_RATE.id]);
    assert_eq!(observe(&mut ledger, 3), None);
}

#[test]
fn two_assignments_within_a_tick_are_counted_apart() {
    let mut ledger = ledger();
    for assignment in [1, 2, 1].map(Assignment) {
        ledger.arrive(1, Draw { assignment, ..draw(Side::Stable, None) });
    }
    let entries = ledger.entries(u64::MAX);
    assert_eq!(entries.iter().map(|entry| entry.counts.stable.requests).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn of_each_user_the_first_observation_stays_on_a_worker_and_between_workers() {
    let observed = |signal: SignalId, sides: &[(u64, Observed)]| {
        let mut ledger = ledger();
        ledger.count_signals(vec![catalog::TEST_EVENT.id, catalog::TEST_MEAN.id]);
        ledger.watch(&Watch {
            firsts: vec![catalog::TEST_EVENT.id, catalog::TEST_MEAN.id],
            ..Watch::default()
        });
        for (user, observed) in sides {
            let ticket = ledger.arrive(1, draw(Side::Candidate, Some(*user)));
            ledger.observe(&ticket, signal, *observed);
        }
        ledger.entries(u64::MAX).remove(0).counts.candidate
    };
    let numbers = |counts: &Counts, signal| -> Vec<(u64, u8)> {
        let users = counts.users.as_ref().unwrap();
        users.firsts_of(signal).unwrap().after(0).map(|(user, number)| (user.0, number)).collect()
    };
    let event = |has| Observed::Event(has);
    let mean = |value| Observed::Mean(Fraction::new(value).unwrap());
    let signal = catalog::TEST_EVENT.id;
    let one = observed(signal, &[(1, event(false)), (1, event(true)), (2, event(true)), (2, event(false))]);
    assert_eq!(numbers(&one, signal), [(1, 0), (2, 1)]);
    let mut merged = one.clone();
    merged.merge(&observed(signal, &[(1, event(true)), (3, event(true))]));
    assert_eq!(numbers(&merged, signal), [(1, 0), (2, 1), (3, 1)]);
    let signal = catalog::TEST_MEAN.id;
    let values = observed(signal, &[(1, mean(0.0)), (1, mean(1.0)), (2, mean(1.0)), (2, mean(0.5))]);
    assert_eq!(numbers(&values, signal), [(1, 0), (2, 255)]);
}

#[test]
fn too_many_users_are_sampled_and_that_is_counted() {
    let mut ledger = ledger();
    let user = |number: u64| Some(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for number in 0..5_000 {
        let ticket = ledger.arrive(1, draw(Side::Stable, user(number)));
        end(&mut ledger, ticket, MS, number % 100 == 0);
    }
    let entries = ledger.entries(2);
    let users = users(&entries[0].counts.stable);
    let failed = users.sample(ERROR_RATE.id).unwrap();
    assert_eq!((users.seen.level(), failed.level(), entries[0].counts.stable.requests), (2, 0, 5_000));
    assert!((1_000..1_500).contains(&users.seen.after(0).count()));
    assert_eq!(failed.after(0).count(), 50);
    ledger.forget_through(1);
    assert_eq!((ledger.take_halved(), ledger.take_halved()), (1, 0));
    assert_eq!(ledger.open.vacant_key(), 0, "one place is enough for one request after the other");
}

#[test]
fn slow_answers_are_reported_beyond_the_edge_that_is_watched() {
    let mut ledger = ledger();
    let slow = |ledger: &mut Ledger, user: u64, milliseconds: u64| {
        let ticket = ledger.arrive(1, draw(Side::Candidate, Some(user)));
        end(ledger, ticket, milliseconds * MS, false);
    };
    slow(&mut ledger, 10, 60_000);
    let edge = histogram::bucket(100 * MS) as u8;
    ledger.watch(&Watch { slow: vec![(LATENCY.id, edge)], ..Watch::default() });
    (11..14).zip([100, 101 + 19, 800]).for_each(|(user, ms)| slow(&mut ledger, user, ms));
    slow(&mut ledger, 13, 200);
    let entries = ledger.entries(2);
    let users = users(&entries[0].counts.candidate);
    let expected = [(12, histogram::bucket(120 * MS) as u8), (13, histogram::bucket(800 * MS) as u8)];
    assert_eq!(pairs(users.sample(LATENCY.id).unwrap()), expected);
    assert_eq!(users.seen.after(0).count(), 4);
}

#[test]
fn waiting_users_are_reported_when_the_tick_is_over() {
    let mut ledger = ledger();
    let answered = ledger.arrive(1, draw(Side::Candidate, Some(10)));
    ledger.answer(&answered);
    let waiting = ledger.arrive(1, draw(Side::Candidate, Some(11)));
    let streaming = ledger.arrive(1, draw(Side::Candidate, Some(12)));
    ledger.answer(&streaming);
    ledger.observe(&streaming, LATENCY.id, Observed::Duration(MS));
    let reported = |ledger: &Ledger, under_way: u64| {
        pairs(&users(&ledger.entries(under_way)[0].counts.candidate).waiting)
    };
    assert_eq!(reported(&ledger, 1), []);
    assert_eq!(reported(&ledger, 2), [(10, First::Answered as u8), (11, First::Unanswered as u8)]);
    end(&mut ledger, waiting, 9 * MS, true);
    assert_eq!(reported(&ledger, 2), [(10, First::Answered as u8)]);
}

#[test]
fn ticks_that_are_never_judged_are_bounded() {
    let mut ledger = ledger();
    for tick in 0..1_000 {
        ledger.arrive(tick, draw(Side::Stable, None));
    }
    assert_eq!((ledger.entries(u64::MAX).len(), ledger.take_dropped()), (MOST_ENTRIES, 744));
}

/// Of every tick a sample of the users stays.
#[test]
fn users_of_ticks_that_are_never_judged_are_bounded() {
    let mut ledger = ledger();
    for tick in 0..180_u64 {
        for number in 0..1_800 {
            let user = (tick << 32 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let ticket = ledger
                .arrive(tick, draw(if number % 3 == 0 { Side::Candidate } else { Side::Stable }, Some(user)));
            end(&mut ledger, ticket, MS, false);
        }
    }
    let entries = ledger.entries(u64::MAX);
    let kept: usize = entries.iter().map(Entry::users).sum();
    assert!((MOST_USERS / 2..=MOST_USERS + 2_000).contains(&kept), "{kept}");
    for entry in &entries {
        let levels = [&entry.counts.stable, &entry.counts.candidate].map(|counts| users(counts).seen.level());
        assert!(levels[0] == levels[1] && entry.users() > 600, "{levels:?}: {}", entry.users());
    }
    ledger.forget_through(u64::MAX - 1);
    assert_eq!((ledger.take_dropped(), ledger.take_halved() > 0), (0, true));
}

/// What became of it decides what it is a proof of.
#[test]
fn only_answers_and_errors_say_something_for_the_version() {
    let mut ledger = ledger();
    let outcomes = [Outcome::Ok, Outcome::Error, Outcome::Unanswered, Outcome::Aborted];
    for (user, outcome) in (0..).zip(outcomes) {
        let ticket = ledger.arrive(1, draw(Side::Candidate, Some(user)));
        ledger.end(ticket, MS, outcome);
    }
    let stream = ledger.arrive(1, draw(Side::Candidate, Some(4)));
    ledger.begin_stream(&stream, MS);
    ledger.end(stream, 60_000 * MS, Outcome::Aborted);
    let entry = ledger.entries(u64::MAX).remove(0);
    let counts = &entry.counts.candidate;
    assert_eq!((counts.requests, counts.open, counts.silent), (5, 0, 2));
    assert_eq!((errors(counts), counts.events(&UNANSWERED)), (1, 1));
    let mut firsts: Vec<First> =
        counts.users.as_ref().unwrap().seen.after(0).map(|(_, first)| First::of(first)).collect();
    firsts.sort_unstable();
    let expected = [First::Well, First::Well, First::Failed, First::GivenUp, First::Void];
    assert_eq!(firsts, expected, "a stream that its client leaves was answered");
}

/// A version that hangs in the middle of its answers is left more often than one that does not.
#[test]
fn answers_that_clients_leave_in_the_middle_are_counted_and_streams_are_answers_all_the_same() {
    for streams in [false, true] {
        let mut ledger = ledger();
        for broken_off in [true, false] {
            let ticket = ledger.arrive(1, draw(Side::Candidate, None));
            if streams {
                ledger.begin_stream(&ticket, MS);
            } else {
                ledger.answer(&ticket);
            }
            ledger.end(ticket, 9 * MS, Shown { broken_off, ..Outcome::Aborted.into() });
        }
        let counts = &ledger.entries(u64::MAX)[0].counts.candidate;
        // One that was refused says nothing, unless it had begun to stream.
        assert_eq!((counts.left, counts.silent), (1, if streams { 0 } else { 2 }), "{streams}");
        assert_eq!(counts.events(&UNANSWERED), 0, "a client that sees the version may leave it on purpose");
    }
}

/// While its client sends, the headers of a call are an answer. Afterwards they are not.
#[test]
fn a_stream_of_which_only_headers_have_come_is_answered_until_it_is_the_versions_turn() {
    let mut ledger = ledger();
    let mut arrive = |user| {
        let ticket = ledger.arrive(1, draw(Side::Candidate, Some(user)));
        ledger.begin_stream(&ticket, 0);
        ticket
    };
    let (talks, waits, begins) = (arrive(0), arrive(1), arrive(2));
    let counts = |ledger: &Ledger| ledger.entries(u64::MAX).remove(0).counts.candidate;
    let states = |ledger: &Ledger| -> Vec<First> {
        counts(ledger).users.unwrap().seen.after(0).map(|(_, first)| First::of(first)).collect()
    };
    assert_eq!(counts(&ledger).unanswered, 0);
    assert_eq!(states(&ledger), [First::Answered; 3]);
    assert!(!ledger.await_stream(&talks, 2), "its tick is over");
    assert!(ledger.await_stream(&waits, 1) && ledger.await_stream(&begins, 1));
    assert_eq!(counts(&ledger).unanswered, 2);
    ledger.begin_stream(&begins, MS);
    assert_eq!(counts(&ledger).unanswered, 1);
    ledger.end(talks, 60_000 * MS, Outcome::Aborted);
    ledger.end(waits, 60_000 * MS, Outcome::Unanswered);
    ledger.end(begins, 60_000 * MS, Outcome::Ok);
    let counts = counts(&ledger);
    assert_eq!((counts.unanswered, counts.open, counts.silent), (0, 0, 1));
    assert_eq!((errors(&counts), counts.events(&UNANSWERED)), (0, 1));
    let latencies = counts.tally(LATENCY.id).unwrap();
    assert_eq!(latencies.settled(), 3, "each once");
}

#[test]
fn ticks_that_are_counted_together_have_the_number_of_their_last_one() {
    let mut ledger = ledger();
    ledger.count_together(10);
    for tick in [99, 100, 104, 109, 110] {
        let ticket = ledger.arrive(tick, draw(Side::Stable, None));
        ledger.end(ticket, MS, Outcome::Ok);
    }
    let counted = |ledger: &Ledger| {
        let entries = ledger.entries(u64::MAX).into_iter();
        entries.map(|entry| (entry.tick, entry.counts.stable.requests)).collect::<Vec<_>>()
    };
    assert_eq!(counted(&ledger), [(99, 1), (109, 3), (119, 1)]);
    ledger.forget_through(109);
    ledger.count_together(1);
    ledger.arrive(111, draw(Side::Stable, None));
    assert_eq!(counted(&ledger), [(119, 1), (111, 1)]);
}

#[test]
fn a_call_that_is_the_versions_turn_again_is_waited_for() {
    let mut ledger = ledger();
    let ticket = ledger.arrive(1, draw(Side::Candidate, Some(7)));
    ledger.begin_stream(&ticket, 0);
    let waiting = |ledger: &Ledger| pairs(&users(&ledger.entries(2)[0].counts.candidate).waiting);
    assert_eq!(waiting(&ledger), []);
    assert!(ledger.await_stream(&ticket, 1));
    assert_eq!(waiting(&ledger), [(7, First::Failed as u8)], "for an answer, and not for its latency");
    ledger.answer(&ticket);
    assert_eq!(waiting(&ledger), []);
}
