//! What holds a step that nothing strong enough for a rollback speaks against.

use super::*;
use crate::model::Arm;
use crate::signal::catalog::UNANSWERED;
use crate::signal::tally::tests::{durations, refusing};
use crate::signal::tally::{Counts, Tally};

/// A pause of a second at 5 % with this analysis, then another.
fn short_steps(analysis: &Value) -> Program {
    program(&json!({
        "steps": [{"set_weight": 5}, {"pause": {"duration": "1s"}}, {"set_weight": 50}, {"pause": {"duration": "1s"}}],
        "analysis": analysis,
    }))
}

fn errors_only() -> Value {
    json!({"metrics": [{"name": "error_rate"}]})
}

/// A second in which both versions have (wrong, requests).
fn second_of(
    run: &mut Run,
    program: &Program,
    now: u64,
    candidate: (u64, u64),
    stable: (u64, u64),
) -> Vec<Event> {
    second_with(run, program, now, Pair::new(ended(candidate), ended(stable)))
}

/// A second in which both versions count this.
fn second_with(run: &mut Run, program: &Program, now: u64, counts: Pair<Counts>) -> Vec<Event> {
    let tick = Tick { number: now - 1, share: run.candidate_share(program), counts, ..Tick::default() };
    run.close(program, &tick, at(now));
    run.tick(program, &[], at(now))
}

/// A second at 5 % in which both versions have so many requests, all good and of one duration.
fn timed_second(run: &mut Run, program: &Program, now: u64, (candidate, stable): (u64, u64)) {
    let mut counts = Pair::new(ended((0, candidate)), ended((0, stable)));
    durations(&mut counts.stable).add(20, stable);
    durations(&mut counts.candidate).add(20, candidate);
    run.close(program, &Tick { number: now - 1, share: Some(0.05), counts, ..Tick::default() }, at(now));
    run.tick(program, &[], at(now));
}

#[test]
fn a_step_without_an_answer_of_the_candidate_does_not_end() {
    let program = short_steps(&json!({}));
    let (mut run, _) = Run::begin(&program, at(0));
    for now in 1..=50_000 {
        assert_eq!(run.tick(&program, &[], at(now)), [], "a quiet night");
    }
    assert_eq!((run.phase, green(&run)), (Phase::Progressing, 500));
    assert_eq!(run.reason.sentence(), "the step waits for an answer of the candidate");
    let proceed = short_steps(&json!({"no_data": "proceed"}));
    let (mut run, _) = Run::begin(&proceed, at(0));
    (1..=10).for_each(|now| drop(run.tick(&proceed, &[], at(now))));
    assert_eq!(run.phase, Phase::Succeeded, "where that is configured");
}

#[test]
fn a_pause_before_the_candidate_gets_anything_lasts_its_time() {
    let mirrored = |percent: u64| json!({"set_mirror": {"percent": percent}});
    let (pause, five) = (json!({"pause": {"duration": "5s"}}), json!({"set_weight": 5}));
    let compared = json!({"to": "green", "mode": "compare", "percent": 0});
    for (mirror, steps) in [
        (json!({"to": "green"}), json!([mirrored(20), pause, five, {"pause": {}}])),
        (Value::Null, json!([pause, five, {"pause": {}}])),
        (compared.clone(), json!([pause, five, {"pause": {}}])),
    ] {
        let program = program(&json!({"mirror": mirror, "steps": steps, "analysis": errors_only()}));
        let (mut run, _) = Run::begin(&program, at(0));
        (1..=5).for_each(|now| drop(second_of(&mut run, &program, now, (0, 0), (0, 100))));
        assert_eq!((run.phase, green(&run)), (Phase::Paused, 500), "{steps}: {}", run.reason.sentence());
    }
    // A shadow whose answers are compared has something to show.
    let steps = json!([mirrored(20), pause, five, {"pause": {}}]);
    let program = program(&json!({"mirror": compared, "steps": steps, "analysis": errors_only()}));
    let (mut run, _) = Run::begin(&program, at(0));
    (1..=9).for_each(|now| drop(second_of(&mut run, &program, now, (0, 0), (0, 100))));
    assert_eq!(
        (green(&run), run.reason.sentence().as_ref()),
        (0, "the step waits for an answer of the candidate")
    );
}

/// A step at even shares in which each version gets so many requests in 700 seconds; all of the candidate's fail. Returns how
/// many alarms there were; each says what is known.
fn quiet_night(program: &Program, requests: u64) -> (Run, usize) {
    let (mut run, _) = Run::begin(program, at(0));
    run.command(program, Command::Promote { full: false }, at(0)).unwrap();
    assert_eq!(green(&run), 5_000);
    let mut alarms = 0;
    for now in 1..=700 {
        let some = if now == 2 { requests } else { 0 };
        let events = second_of(&mut run, program, now, (some, some), (0, some));
        for event in events.iter().filter(|event| event.action == Action::Alarm) {
            let known = event.evidence.as_ref().unwrap();
            assert_eq!(known.samples.units(), Pair::new(requests, requests), "{}", event.message);
            alarms += 1;
        }
    }
    (run, alarms)
}

/// Too few requests for a finding, or for more failures than chance allows.
#[test]
fn a_step_in_which_all_requests_of_the_candidate_failed_waits_for_a_good_answer() {
    let program = short_steps(&errors_only());
    let (mut run, alarms) = quiet_night(&program, 4);
    assert_eq!(alarms, 1, "it has waited for long");
    assert_eq!(
        (run.reason.sentence().as_ref(), run.phase),
        (
            "the step waits for a good answer of the candidate: all its requests failed or were refused",
            Phase::Progressing
        )
    );
    second_of(&mut run, &program, 701, (0, 1), (0, 1));
    assert_eq!(run.phase, Phase::Succeeded, "{}", run.reason.sentence());
}

/// What is missing may be missing because the candidate hangs.
#[test]
fn a_step_that_lacks_requests_is_held_by_failures_first() {
    let program = program(&json!({
        "steps": [{"set_weight": 50}, {"pause": {"duration": "1s", "min_requests": 20}}, {"set_weight": 100}],
        "analysis": errors_only(),
    }));
    let (mut run, _) = Run::begin(&program, at(0));
    let mut alarms = 0;
    for now in 1..=900 {
        // A request every ten seconds, by turns. The candidate answers none, and clients leave.
        let mut candidate = ended((0, u64::from(now % 20 == 0)));
        candidate.silent = candidate.requests;
        let given_up = Arm { events: candidate.requests, units: candidate.requests };
        *candidate.tally_mut(UNANSWERED.id).unwrap() = Tally::Event(given_up);
        let counts = Pair::new(candidate, ended((0, u64::from(now % 20 == 10))));
        let tick = Tick { number: now - 1, share: run.candidate_share(&program), counts, ..Tick::default() };
        run.close(&program, &tick, at(now));
        let events = run.tick(&program, &[], at(now));
        alarms += events.iter().filter(|event| event.action == Action::Alarm).count();
    }
    assert_eq!((alarms, run.phase), (1, Phase::Progressing));
    let sentence = "the step waits: more of the candidate's requests fail than of stable's";
    assert_eq!(run.reason.sentence(), sentence);
}

#[test]
fn a_step_says_that_the_candidate_warms_up_once_stable_is_known_well_enough() {
    let program = short_steps(&json!({"metrics": [{"name": "latency"}]}));
    let (mut run, _) = Run::begin(&program, at(0));
    for now in 1..=9 {
        timed_second(&mut run, &program, now, (5, 95));
    }
    let sentence = "the step waits until the candidate has warmed up: 45 of 50 requests";
    assert_eq!(run.reason.sentence(), sentence);
}

/// Stable's durations have an edge when the candidate has long been slow.
#[test]
fn a_slow_candidate_holds_its_step_before_there_is_evidence() {
    const FAST: usize = 20;
    const SLOW: usize = 50;
    let program = short_steps(&json!({"metrics": [{"name": "latency"}]}));
    let second = |run: &mut Run, now, (slow, of)| {
        let mut counts = Pair::new(ended((0, of)), ended((0, 4)));
        durations(&mut counts.stable).add(FAST, 4);
        durations(&mut counts.candidate).add(SLOW, slow);
        durations(&mut counts.candidate).add(FAST, of - slow);
        run.close(&program, &Tick { number: now - 1, share: Some(0.2), counts, ..Tick::default() }, at(now));
        drop(run.tick(&program, &[], at(now)));
    };
    let (mut run, _) = Run::begin(&program, at(0));
    let mut was_held = 0;
    for now in 1..=600 {
        second(&mut run, now, (1, 1));
        assert!(green(&run) <= 500, "after {now} s");
        was_held += u64::from(run.reason.sentence().contains("more of the candidate's answers are slow"));
    }
    assert_eq!(run.phase, Phase::Failed);
    assert!(was_held > 30, "{was_held}");

    // One that is slow when it starts is not held for long.
    let (mut run, _) = Run::begin(&program, at(0));
    for now in 1..=200 {
        second(&mut run, now, (u64::from(now <= 10), 1));
    }
    assert_eq!(run.phase, Phase::Succeeded, "{}", run.reason.sentence());
}

/// What the step saw before says nothing of what was changed meanwhile.
#[test]
fn a_step_begins_anew_when_a_pin_is_removed_or_errors_are_redefined() {
    let steps =
        json!([{"set_weight": 50}, {"pause": {"duration": "10s", "min_requests": 20}}, {"set_weight": 100}]);
    let free = program(&json!({"steps": steps, "analysis": errors_only()}));
    let pinned = program(&json!({"steps": steps, "analysis": errors_only(), "pin": "blue"}));
    let mut analysis = errors_only();
    analysis["error_when"] = json!({"status": ["4xx", "5xx"]});
    let other = program(&json!({"steps": steps, "analysis": analysis}));
    for between in [&pinned, &other] {
        let (mut run, _) = Run::begin(&free, at(0));
        for now in 1..=9 {
            second_of(&mut run, &free, now, (0, 30), (0, 30));
        }
        run.push(&free, between, at(9));
        let after = if between.pin.is_some() { &free } else { between };
        run.push(between, after, at(10));
        for now in 11..=60 {
            second_of(&mut run, after, now, (0, 0), (0, 0));
        }
        assert_eq!(green(&run), 5_000, "{}", run.reason.sentence());
        assert_eq!(run.reason.sentence(), "the step waits for more of the candidate's requests");
        for now in 61..=63 {
            second_of(&mut run, after, now, (0, 30), (0, 30));
        }
        assert_eq!(run.phase, Phase::Succeeded, "{}", run.reason.sentence());
    }
}

#[test]
fn a_step_that_began_without_analysis_is_proven_by_its_own_requests() {
    let steps = json!([
        {"set_weight": 5}, {"pause": {"duration": "1m"}}, {"set_weight": 50}, {"pause": {"duration": "10s"}},
    ]);
    let mut analysis = errors_only();
    analysis["promote_when"] = json!({});
    let judged = program(&json!({"steps": steps, "analysis": analysis}));
    let unjudged = program(&json!({"steps": steps}));
    let (mut run, _) = Run::begin(&judged, at(0));
    (1..=40).for_each(|now| drop(second_of(&mut run, &judged, now, (0, 50), (0, 950))));
    run.push(&judged, &unjudged, at(41));
    (42..=62).for_each(|now| drop(run.tick(&unjudged, &[], at(now))));
    assert_eq!((green(&run), run.phase), (5_000, Phase::Progressing));
    run.push(&unjudged, &judged, at(63));
    for now in 64..=100 {
        second_of(&mut run, &judged, now, (0, 0), (0, 0));
    }
    assert_eq!(run.phase, Phase::Progressing);
    assert_eq!(run.reason.sentence(), "the step waits for proof that the candidate is no worse than allowed");
    (101..=130).for_each(|now| drop(second_of(&mut run, &judged, now, (0, 500), (0, 500))));
    assert_eq!(run.phase, Phase::Succeeded, "{}", run.reason.sentence());
}

/// The cluster that serves is not looked at any more.
#[test]
fn a_step_without_analysis_does_not_wait_for_routes() {
    let judged = short_steps(&errors_only());
    let unjudged = short_steps(&Value::Null);
    let (mut run, _) = Run::begin(&judged, at(0));
    let mut counts = Pair::new(ended((0, 5)), ended((0, 95)));
    counts.candidate.elsewhere = Arm { events: 5, units: 5 };
    second_with(&mut run, &judged, 1, counts);
    assert!(run.reason.sentence().contains("ignore the filter's choice"), "{}", run.reason.sentence());
    run.push(&judged, &unjudged, at(1));
    (2..=10).for_each(|now| drop(run.tick(&unjudged, &[], at(now))));
    assert_eq!(run.phase, Phase::Succeeded, "{}", run.reason.sentence());
}

/// A model that is not loaded, on a quiet night: too few seconds in which both versions have requests.
#[test]
fn a_step_in_which_the_candidate_refused_all_requests_waits_for_a_good_answer() {
    let refusals = json!({"metrics": [{"name": "error_rate"}, {"name": "client_error_rate"}]});
    for (analysis, stable, waits) in
        [(&refusals, (0, 1), true), (&refusals, (1, 1), false), (&errors_only(), (0, 1), false)]
    {
        let program = short_steps(analysis);
        let (mut run, _) = Run::begin(&program, at(0));
        second_with(&mut run, &program, 1, Pair::new(refusing((1, 1)), refusing(stable)));
        (2..=9).for_each(|now| drop(run.tick(&program, &[], at(now))));
        assert_eq!(green(&run) == 500, waits, "{}", run.reason.sentence());
    }
}

#[test]
fn a_step_does_not_end_while_the_candidate_refuses_clearly_more() {
    let metrics = json!({"metrics": [{"name": "error_rate"}, {"name": "client_error_rate"}]});
    let program = short_steps(&metrics);
    let (mut run, _) = Run::begin(&program, at(0));
    second_with(&mut run, &program, 1, Pair::new(refusing((1, 2)), refusing((0, 38))));
    second_with(&mut run, &program, 2, Pair::new(refusing((4, 5)), refusing((0, 0))));
    second_with(&mut run, &program, 3, Pair::new(refusing((0, 0)), refusing((0, 95))));
    let alarms = (4..=700).flat_map(|now| run.tick(&program, &[], at(now))).count();
    assert_eq!(
        (run.reason.sentence().as_ref(), green(&run), alarms),
        (
            "the step waits: more of the candidate's requests are refused or redirected than of stable's",
            500,
            1
        )
    );
    assert!(!run.judge.is_suspicious());
    for now in 701..=760 {
        let counts = if green(&run) == 500 { (20, 380) } else { (200, 200) };
        second_with(&mut run, &program, now, Pair::new(refusing((0, counts.0)), refusing((0, counts.1))));
    }
    assert_eq!(run.phase, Phase::Succeeded, "{}", run.reason.sentence());
}

#[test]
fn a_step_waits_until_every_metric_could_be_judged_and_says_for_what() {
    let program = short_steps(&json!({"metrics": [{"name": "error_rate"}, {"name": "latency"}]}));
    let (mut run, _) = Run::begin(&program, at(0));
    second_of(&mut run, &program, 1, (0, 1), (0, 0));
    second_of(&mut run, &program, 2, (0, 0), (0, 0));
    assert_eq!(
        run.reason.sentence(),
        "the step waits until every metric can be judged: error_rate: no second yet with requests of both versions"
    );
    for now in 3..=5 {
        timed_second(&mut run, &program, now, (5, 66));
    }
    assert_eq!(
        run.reason.sentence(),
        "the step waits until every metric can be judged: latency: 198 of 200 stable requests"
    );
    for now in 6..=14 {
        timed_second(&mut run, &program, now, (5, 66));
    }
    assert_eq!(green(&run), 5_000);
}

#[test]
fn a_step_does_not_end_while_the_candidate_fails_clearly_more_often() {
    let program = short_steps(&errors_only());
    // At even shares, five of five against none of five say too little for a rollback.
    let (mut run, alarms) = quiet_night(&program, 5);
    assert_eq!((run.phase, run.judge.is_suspicious()), (Phase::Progressing, false));
    assert_eq!(
        run.reason.sentence(),
        "the step waits: more of the candidate's requests fail than of stable's"
    );
    assert_eq!(alarms, 1, "it has waited for long");
    // Good answers outweigh them.
    (701..=715).for_each(|now| drop(second_of(&mut run, &program, now, (0, 40), (0, 40))));
    assert_eq!(run.phase, Phase::Succeeded, "{}", run.reason.sentence());
}

/// Another attempt has its own cohort: what the step has waited was the one before.
#[test]
fn a_step_that_is_resumed_after_a_finding_lasts_its_whole_time_again() {
    let mut analysis = errors_only();
    analysis["on_failure"] = json!("pause");
    let program = program(&json!({
        "steps": [{"set_weight": 5}, {"pause": {"duration": "1m"}}, {"set_weight": 50}, {"pause": {}}],
        "analysis": analysis,
    }));
    let (mut run, _) = Run::begin(&program, at(0));
    for now in 1..=59 {
        let failed = if now > 50 { 5 } else { 0 };
        second_of(&mut run, &program, now, (failed, 5), (0, 95));
    }
    assert_eq!(run.phase, Phase::Paused);
    run.command(&program, Command::Resume, at(60)).unwrap();
    (61..=119).for_each(|now| drop(second_of(&mut run, &program, now, (0, 5), (0, 95))));
    assert_eq!((run.attempt, green(&run)), (2, 500), "{}", run.reason.sentence());
    second_of(&mut run, &program, 120, (0, 5), (0, 95));
    assert_eq!(green(&run), 5_000, "{}", run.reason.sentence());
}

#[test]
fn a_candidate_that_fails_as_often_as_stable_is_not_held_back() {
    let program = short_steps(&errors_only());
    let mut rng = fastrand::Rng::with_seed(1);
    let held = (0..200).filter(|_| {
        let (mut run, _) = Run::begin(&program, at(0));
        let mut wrong = |requests: u64| (0..requests).filter(|_| rng.u8(..100) < 2).count() as u64;
        for now in 1..=10 {
            let (candidate, stable) = ((wrong(50), 50), (wrong(950), 950));
            second_of(&mut run, &program, now, candidate, stable);
        }
        green(&run) == 500
    });
    let held = held.count();
    assert!(held <= 2, "{held} of 200 were still held back after 500 requests");
}

proptest! {
    #[test]
    fn no_order_of_events_promotes_a_candidate_without_an_answer(
        seconds in prop::collection::vec((0..40_u64, 0..40_u64, 0..3_u64, 1..20_u64), 1..60),
        promote_when in any::<bool>(),
        pause in prop::option::of(1..3_u64),
    ) {
        let mut analysis = errors_only();
        if promote_when {
            analysis["promote_when"] = json!({});
        }
        let mut wait = json!({"duration": "1s"});
        if let Some(requests) = pause {
            wait["min_requests"] = json!(requests);
        }
        let program = program(&json!({
            "steps": [{"set_weight": 5}, {"pause": wait}, {"set_weight": 50}, {"pause": wait}],
            "analysis": analysis,
        }));
        let (mut run, _) = Run::begin(&program, at(0));
        let mut now = 0;
        for (requests, of_stable, failed, elapsed) in seconds {
            now += elapsed;
            // All of the candidate's requests are given up, refused, or still open.
            let mut candidate = ended((0, requests));
            candidate.silent = requests;
            let counts = Pair::new(candidate, ended((failed.min(of_stable), of_stable)));
            let share = run.candidate_share(&program);
            run.close(&program, &Tick { number: now, share, counts, ..Tick::default() }, at(now));
            match failed {
                0 => drop(run.command(&program, Command::Pause, at(now))),
                1 => drop(run.command(&program, Command::Resume, at(now))),
                _ => drop(run.push(&program, &program, at(now))),
            }
            run.tick(&program, &[], at(now + 1));
            prop_assert!(green(&run) <= 500, "{}", run.reason.sentence());
        }
    }
}
