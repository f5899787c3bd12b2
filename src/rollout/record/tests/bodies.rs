//! Signals of bodies: null answers, lengths, labels, and requests that differ.

use super::*;
use crate::signal::catalog::{CLIENT_ERROR_RATE, OUTPUT_NULL, Scale, SignalId, named};

/// A rollout at 50 % that judges these metrics, of users or of requests.
fn begun(metrics: &serde_json::Value, of_users: bool) -> (Record, Assignment) {
    let mut fields = json!({
        "steps": [{"set_weight": 50}, {"pause": {"duration": "5s"}}, {"set_weight": 100}],
        "payload": {"protocol": "json", "input": {"length": "/text"}, "output": {"value": "/label"}},
        "analysis": {"metrics": metrics},
    });
    if of_users {
        fields["session_affinity"] = json!({"header": "x-user"});
    }
    let (record, _) = Record::begin(program(&fields), at(100 * SECOND));
    let assignment = record.head("r").assignment;
    (record, assignment)
}

fn event(has_event: bool) -> Observed {
    Observed::Event(has_event)
}

fn length(length: f64) -> Observed {
    Observed::Mean(Scale::Logarithmic.fraction(length).unwrap())
}

/// A request: its user, whether it fails, and what is observed of it.
type Seen = (Option<u64>, bool, Vec<(SignalId, Observed)>);

/// Seconds of 40 requests, half of them the candidate's, as long as the run goes on. `of`: what is observed of a side's
/// nth request, and its user.
fn live(
    record: &mut Record,
    assignment: Assignment,
    seconds: std::ops::Range<u64>,
    of: &dyn Fn(Side, u64) -> Seen,
) -> Vec<Event> {
    let signals = record.run.judge.watch();
    let mut events = Vec::new();
    for tick in seconds {
        let mut worker = Worker::default();
        worker.ledger.count_signals(record.program.rules().unwrap().signals());
        worker.ledger.watch(&signals);
        for nth in 0..20 {
            for side in Side::BOTH {
                let (user, fails, observed) = of(side, tick * 20 + nth);
                let user = user.map(hash);
                let ticket = worker.ledger.arrive(tick, Draw { assignment, side, user });
                worker.ledger.answer(&ticket);
                observed.iter().for_each(|(signal, of)| worker.ledger.observe(&ticket, *signal, *of));
                worker.end(ticket, 1_000_000, fails);
            }
        }
        events.extend(advance(record, &[&worker], tick + 1, at((tick + 1) * SECOND)));
    }
    events
}

/// The same user has the same version.
fn user_of(side: Side, user: u64) -> u64 {
    user * 2 + u64::from(side == Side::Stable)
}

#[test]
fn null_answers_are_found_among_those_that_were_read() {
    let metrics = json!([{"name": "error_rate"}, {"name": "output.null"}]);
    for of_users in [false, true] {
        let (mut record, assignment) = begun(&metrics, of_users);
        let mut rng = std::cell::RefCell::new(fastrand::Rng::with_seed(1));
        live(&mut record, assignment, 100..130, &|side, nth| {
            let is_null = side == Side::Candidate && rng.borrow_mut().f64() < 0.3;
            // Of every second one the body is not read.
            let observed = if nth % 2 == 0 { vec![(OUTPUT_NULL.id, event(is_null))] } else { vec![] };
            (of_users.then(|| user_of(side, nth)), false, observed)
        });
        let _ = rng.get_mut();
        assert_eq!(record.run.phase, Phase::Failed, "users {of_users}");
        assert!(record.run.reason.sentence().contains("(output.null)"), "{}", record.run.reason.sentence());
    }
}

#[test]
fn fewer_answers_with_a_label_count_as_well_as_more() {
    let label = named("output.label:spam").unwrap().id;
    for (mine, theirs) in [(0.05, 0.5), (0.5, 0.05)] {
        for of_users in [false, true] {
            let (mut record, assignment) = begun(&json!([{"name": "output.label:spam"}]), of_users);
            let rng = std::cell::RefCell::new(fastrand::Rng::with_seed(2));
            live(&mut record, assignment, 100..130, &|side, nth| {
                let rate = if side == Side::Candidate { mine } else { theirs };
                let has = rng.borrow_mut().f64() < rate;
                (of_users.then(|| user_of(side, nth)), false, vec![(label, event(has))])
            });
            assert_eq!(record.run.phase, Phase::Failed, "{mine} against {theirs}, users {of_users}");
        }
    }
    let (mut record, assignment) = begun(&json!([{"name": "output.label:spam", "direction": "up"}]), false);
    live(&mut record, assignment, 100..103, &|side, nth| {
        (None, false, vec![(label, event(side == Side::Stable && nth % 2 == 0))])
    });
    assert_ne!(record.run.phase, Phase::Failed, "less is not asked about");
}

#[test]
fn twice_as_long_answers_are_a_finding_within_what_is_tolerated_they_are_not() {
    let id = named("output.length").unwrap().id;
    for of_users in [false, true] {
        for (metric, is_found) in [
            (json!({"name": "output.length"}), true),
            (json!({"name": "output.length", "tolerate": 3}), false),
        ] {
            let (mut record, assignment) = begun(&json!([metric]), of_users);
            let rng = std::cell::RefCell::new(fastrand::Rng::with_seed(3));
            live(&mut record, assignment, 100..160, &|side, nth| {
                let twice = if side == Side::Candidate { 2.0 } else { 1.0 };
                let size = twice * (3.0 + 3.0 * rng.borrow_mut().f64()).exp();
                (of_users.then(|| user_of(side, nth)), false, vec![(id, length(size))])
            });
            assert_eq!(record.run.phase == Phase::Failed, is_found, "{metric}, users {of_users}");
            if is_found {
                let reason = record.run.reason.sentence();
                assert!(reason.contains("(output.length): a geometric mean of 1"), "{reason}");
            }
        }
    }
}

/// One user of the candidate who comes all the time, always with long answers.
#[test]
fn a_busy_user_is_one_value() {
    let id = named("output.length").unwrap().id;
    let (mut record, assignment) = begun(&json!([{"name": "output.length"}]), true);
    live(&mut record, assignment, 100..200, &|side, nth| match side {
        Side::Candidate => (Some(0), false, vec![(id, length(100_000.0))]),
        Side::Stable => (Some(user_of(side, nth % 200)), false, vec![(id, length(10.0))]),
    });
    assert_ne!(record.run.phase, Phase::Failed, "{}", record.run.reason.sentence());
}

/// The bound of a signal is about that signal, of users as well: here all requests fail, and few are answered wrong.
#[test]
fn a_bound_is_on_its_own_signal() {
    let metrics = json!([{"name": "client_error_rate", "max": 0.2}]);
    for (rate, is_found) in [(0.5, true), (0.1, false)] {
        let (mut record, assignment) = begun(&metrics, true);
        let rng = std::cell::RefCell::new(fastrand::Rng::with_seed(4));
        live(&mut record, assignment, 100..130, &|side, nth| {
            let is_wrong = rng.borrow_mut().f64() < rate;
            (Some(user_of(side, nth)), true, vec![(CLIENT_ERROR_RATE.id, event(is_wrong))])
        });
        let is_failed = record.run.phase == Phase::Failed;
        assert_eq!(is_failed, is_found, "{rate}: {}", record.run.reason.sentence());
        assert!(
            !is_found || record.run.reason.sentence().contains("client_error_rate.max"),
            "{}",
            record.run.reason.sentence()
        );
    }
}

#[test]
fn a_metric_of_requests_that_is_never_observed_delays_a_rollback_and_is_named() {
    let metrics = json!([{"name": "error_rate"}, {"name": "input.length"}]);
    for of_users in [false, true] {
        let (mut record, assignment) = begun(&metrics, of_users);
        let failing =
            |side: Side, nth: u64| (of_users.then(|| user_of(side, nth)), side == Side::Candidate, vec![]);
        let events = live(&mut record, assignment, 100..150, &failing);
        let messages: Vec<&str> = events.iter().map(|event| event.message.as_str()).collect();
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(
            messages[0]
                .ends_with("; not acted on for 60 s, because input.length has not compared any requests yet"),
            "{messages:?}"
        );
        assert_eq!((events[0].action, record.run.phase), (Action::Alarm, Phase::Progressing));
        let events = live(&mut record, assignment, 150..180, &failing);
        assert_eq!(events.iter().map(|event| event.action).collect::<Vec<_>>(), [Action::Rollback]);
        assert_eq!(record.run.phase, Phase::Failed);
    }
}

/// That proves nothing, and the candidate fails all the time.
#[test]
fn requests_that_only_look_different_delay_a_rollback_and_that_is_reported() {
    let id = named("input.length").unwrap().id;
    let (mut record, assignment) = begun(&json!([{"name": "error_rate"}, {"name": "input.length"}]), false);
    let mut second = |tick: u64, fails: bool| {
        let factor = if record.run.judge.inputs() > 100.0 { 1.0 } else { 2.0 };
        let events = live(&mut record, assignment, tick..tick + 1, &|side, nth| {
            let is_candidate = side == Side::Candidate;
            let size = if is_candidate { factor } else { 1.0 } * (40 + nth % 7) as f64;
            (None, fails && is_candidate, vec![(id, length(size))])
        });
        (events, record.run.judge.inputs_look_alike())
    };
    let from = (100..).find(|tick| !second(*tick, false).1).unwrap() + 1;
    let (mut reported, mut acted) = (None, None);
    for tick in from..from + 700 {
        let (events, look_alike) = second(tick, true);
        assert!(!look_alike);
        for event in events {
            match event.action {
                Action::Alarm => assert_eq!(reported.replace((tick, event.message)), None),
                action => assert_eq!((acted.replace(tick), action), (None, Action::Rollback)),
            }
        }
    }
    let (tick, message) = reported.unwrap();
    let because = "; not acted on for 10 min, because the versions may receive different requests";
    assert!(message.ends_with(because), "{message}");
    assert_eq!(acted, Some(tick + 600));
}

/// All of one tenant's long requests go to the candidate, which fails more of long ones, as stable would.
#[test]
fn requests_that_differ_void_the_verdict_until_a_retry() {
    let id = named("input.length").unwrap().id;
    let metrics = json!([{"name": "error_rate"}, {"name": "input.length"}]);
    for of_users in [false, true] {
        let (mut record, assignment) = begun(&metrics, of_users);
        let biased = |side: Side, nth: u64| {
            let is_long = side == Side::Candidate;
            let size = if is_long { 4_000.0 } else { 40.0 } + (nth % 7) as f64;
            // Nothing fails until the difference is known.
            let fails = nth > 2_100 && is_long && nth.is_multiple_of(3);
            (of_users.then(|| user_of(side, nth)), fails, vec![(id, length(size))])
        };
        let events = live(&mut record, assignment, 100..160, &biased);
        let alarms: Vec<&str> = events
            .iter()
            .filter(|event| event.action == Action::Alarm)
            .map(|event| event.message.as_str())
            .collect();
        assert_eq!(alarms.len(), 2, "{alarms:?}");
        assert!(
            alarms[0].starts_with(
                "green and blue receive different requests (input.length): a geometric mean of 4"
            ),
            "{alarms:?}"
        );
        assert!(
            alarms[1].starts_with("ignored, because the versions receive different requests"),
            "{alarms:?}"
        );
        assert_eq!(
            (record.run.phase, record.run.position),
            (Phase::Progressing, 1),
            "{}",
            record.run.reason.sentence()
        );
        assert!(
            record.run.reason.sentence().contains("the versions receive different requests"),
            "{}",
            record.run.reason.sentence()
        );
        // Another attempt begins without it.
        record.command(Command::Abort, at(160 * SECOND)).unwrap();
        record.command(Command::Retry, at(160 * SECOND)).unwrap();
        let assignment = record.head("r").assignment;
        let healthy = |side: Side, nth: u64| {
            (of_users.then(|| user_of(side, nth)), false, vec![(id, length((nth % 50) as f64))])
        };
        live(&mut record, assignment, 161..200, &healthy);
        assert_eq!(record.run.phase, Phase::Succeeded, "{}", record.run.reason.sentence());
    }
}
