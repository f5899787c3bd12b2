use super::*;
use crate::analysis::edges::Edges;
use crate::analysis::evidence::rest;
use crate::analysis::kernel::ratio::Table;
use crate::analysis::look::{Certainty, Look};
use crate::analysis::rules;
use crate::analysis::test::{Against, Direction};
use crate::config::feedback::{Better, Feedback};
use crate::config::release::{self, Analysis, Metric, WarmUp};
use crate::config::units::Duration;
use crate::model::{Pair, Side};
use crate::signal::catalog::Weight;
use crate::signal::catalog::{self, TEST_MEAN};
use crate::signal::histogram::bucket;
use crate::signal::observed::Observed;
use crate::signal::sums::Fraction;
use crate::signal::tally::Counts;
use crate::signal::tally::tests::{self as counts, durations, ended, open};
use proptest::prelude::*;
use serde_json::Value;

const MS: u64 = 1_000_000;

fn rules(metrics: &[Metric]) -> Rules {
    Rules::new(&Analysis { metrics: metrics.to_vec(), ..judged_at_once() }, Unit::Requests, 1, None)
}

/// Without a warm-up.
fn judged_at_once() -> Analysis {
    let warm_up = Some(WarmUp { requests: Some(0.into()), duration: None });
    Analysis { warm_up, ..Analysis::default() }
}

/// Without a tolerated difference.
fn metric(name: &str) -> Metric {
    Metric { name: name.into(), or_milliseconds: Some(0.0), ..Metric::default() }
}

fn judge(rules: &Rules) -> Judge {
    let mut judge = Judge::default();
    assert_eq!(judge.redefine(rules), []);
    judge
}

/// A tick at 5 % in which each version has (errors, requests), all of them ended.
fn tick(number: u64, candidate: (u64, u64), stable: (u64, u64)) -> Tick {
    let counts = Pair::new(ended(candidate), ended(stable));
    Tick { number, share: Some(0.05), counts, ..Tick::default() }
}

#[test]
fn open_ticks_are_judged_in_their_worst_case() {
    let vectors: Value =
        serde_json::from_str(include_str!("../../../tests/fixtures/judge-vectors.json")).unwrap();
    let vectors = &vectors["open_ticks"];
    let row = |row: &Value| -> Vec<u64> {
        row.as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).collect()
    };
    let rules = rules(&[metric("error_rate")]);
    let mut judge = judge(&rules);
    for (closed, number) in vectors["closed"].as_array().unwrap().iter().zip(1..) {
        let closed = row(closed);
        judge.close(&tick(number, (closed[0], closed[1]), (closed[2], closed[3])), &rules, number + 1);
    }
    let close = |found: f64, expected: &Value| {
        let expected = expected.as_f64().unwrap();
        assert!((found - expected).abs() < 1e-10 * expected, "{found} instead of {expected}");
    };
    close(judge.reading().all, &vectors["e_closed"]);
    let early: Vec<_> = vectors["open"]
        .as_array()
        .unwrap()
        .iter()
        .zip(4..)
        .map(|(row_of, number)| {
            let counts = row(row_of);
            let mut tick = tick(number, (counts[0], counts[1]), (counts[2], counts[3]));
            open(&mut tick.counts.stable, counts[4], 0);
            (tick, 0)
        })
        .collect();
    let mut ahead = judge.clone();
    for ((tick, age), expected) in early.iter().zip(vectors["e_low"].as_array().unwrap()) {
        let spared = ahead.spared(tick, &rules);
        ahead.add(tick, View::Open { age: *age }, &rules, spared);
        close(ahead.reading().all, expected);
    }
    assert_eq!(*judge.at_least(&early, &rules), ahead, "here the last tick has the most evidence");
}

#[test]
fn a_total_failure_takes_nine_requests() {
    // Stable fails in 1 %, the candidate always: docs/analysis.md, "How fast".
    let rules = rules(&[metric("error_rate")]);
    let mut judge = judge(&rules);
    let mut requests = 0;
    for number in 1.. {
        judge.close(&tick(number, (1, 1), (u64::from(number % 5 == 0), 19)), &rules, number + 1);
        requests += 1;
        if judge.reading().all >= rules.threshold {
            break;
        }
    }
    assert!(requests <= 9, "{requests}");
}

#[test]
fn metrics_share_the_false_alarms_by_their_average() {
    let both = rules(&[metric("error_rate"), metric("latency")]);
    let mut judge = judge(&both);
    for number in 1..=3 {
        judge.close(&tick(number, (5, 5), (1, 95)), &both, number + 1);
    }
    let reading = judge.reading();
    assert!((reading.all - f64::midpoint(reading.metrics[0], reading.metrics[1])).abs() < 1e-6);
    assert!((reading.metrics[1] - 1.0).abs() < 1e-12, "no durations, no evidence: {reading:?}");
}

#[test]
fn errors_have_half_however_many_other_metrics_there_are() {
    let all = [metric("error_rate"), metric("latency"), metric("unanswered")];
    let mut judge = judge(&rules(&all));
    for number in 1..=3 {
        judge.close(&tick(number, (5, 5), (1, 95)), &rules(&all), number + 1);
    }
    let reading = judge.reading();
    let [errors, others @ ..] = reading.metrics.as_slice() else { panic!("{reading:?}") };
    let expected = errors / 2.0 + others.iter().sum::<f64>() / 4.0;
    assert!((reading.all - expected).abs() < 1e-6, "{reading:?}");
}

/// A push would be another chance for a false alarm.
#[test]
fn a_bound_on_errors_is_one_of_the_other_metrics() {
    let rules = rules(&[Metric { max: Some(0.1), ..metric("error_rate") }, metric("latency")]);
    let weights: Vec<_> = rules.metrics.iter().map(|metric| (metric.name.as_str(), metric.weight)).collect();
    let expected =
        [("error_rate", Weight::Half), ("error_rate.max", Weight::Others), ("latency", Weight::Others)];
    assert_eq!(weights, expected);
}

#[test]
fn a_candidate_that_fails_more_is_not_proven_to_be_no_worse() {
    let mut analysis = Analysis { metrics: vec![metric("error_rate")], ..judged_at_once() };
    analysis.promote_when = Some(crate::config::release::PromoteWhen::default());
    let rules = Rules::new(&analysis, Unit::Requests, 1, None);
    let mut judge = judge(&rules);
    (1..=400).for_each(|number| drop(judge.close(&tick(number, (1, 5), (1, 95)), &rules, number + 1)));
    assert!(!judge.is_proven(&rules), "{}", judge.no_worse());
}

#[test]
fn no_change_of_metrics_raises_the_evidence() {
    let names = ["error_rate", "latency", "unanswered"];
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..300 {
        let mut some =
            || -> Vec<Metric> { names.iter().filter(|_| rng.bool()).map(|name| metric(name)).collect() };
        let (one, two, three) = (some(), some(), some());
        let mut judge = judge(&rules(&one));
        for number in 1..=5 {
            judge.close(&tick(number, (rng.u64(0..3), 5), (1, 95)), &rules(&one), number + 1);
        }
        for next in [two, three, one] {
            let before = judge.reading().all;
            judge.redefine(&rules(&next));
            assert!(judge.reading().all <= before + 1e-9, "{next:?}: {before} {:?}", judge.reading());
        }
    }
}

#[test]
fn a_definition_that_changes_starts_at_the_rest_and_others_go_on() {
    let mut judge = judge(&rules(&[metric("error_rate"), metric("latency")]));
    let before = rules(&[metric("error_rate"), metric("latency")]);
    for number in 1..=50 {
        judge.close(&tick(number, (0, 5), (1, 95)), &before, number + 1);
    }
    let errors = judge.reading().metrics[0];
    let other = Metric { tolerate: Some(2.0), ..metric("latency") };
    let after = rules(&[metric("error_rate"), other]);
    assert_eq!(judge.redefine(&after), [Redefined::Restarted("latency".into())]);
    assert_eq!(judge.reading().metrics, [errors, rest(50)]);
    // α, deadlines of steps and the like define nothing.
    let looser = Rules::new(
        &Analysis { false_alarm: 0.1, metrics: after_metrics(), ..Analysis::default() },
        Unit::Requests,
        1,
        None,
    );
    assert_eq!(judge.redefine(&looser), []);
    let one = rules(&[metric("error_rate")]);
    assert_eq!(judge.redefine(&one), [Redefined::Removed("latency".into())]);
    let reading = judge.reading();
    assert!((reading.all - f64::midpoint(errors, rest(50))).abs() < 1e-12, "it stays in the average");
}

fn after_metrics() -> Vec<Metric> {
    vec![metric("error_rate"), Metric { tolerate: Some(2.0), ..metric("latency") }]
}

fn edges_of(judge: &Judge, test: usize, tick: u64) -> Option<Edges> {
    judge.metrics[0].tests[test].edges_of(tick)
}

/// A tick whose requests took so many milliseconds.
fn timed(number: u64, candidate: (u64, u64), stable: (u64, u64)) -> Tick {
    let counts = |(requests, milliseconds): (u64, u64)| {
        let mut counts = ended((0, requests));
        durations(&mut counts).add(bucket(milliseconds * 1_000_000), requests);
        counts
    };
    Tick {
        number,
        share: Some(0.05),
        counts: Pair::new(counts(candidate), counts(stable)),
        ..Tick::default()
    }
}

#[test]
fn edges_come_from_before_and_apply_to_what_begins_afterwards() {
    let rules = rules(&[metric("latency")]);
    let mut judge = judge(&rules);
    // 200 of stable's requests place the median's edge; it applies from tick 8 on, for 7 has begun.
    judge.close(&timed(1, (10, 100), (200, 100)), &rules, 8);
    assert_eq!(edges_of(&judge, 0, 7), None);
    let edges = edges_of(&judge, 0, 8).unwrap();
    assert_eq!(edges.candidate, edges.stable + 1);
    assert_eq!(edges_of(&judge, 2, 8), None, "the 99th percentile needs 10,000");
    judge.close(&timed(7, (10, 900), (190, 100)), &rules, 9);
    assert!((judge.reading().all - 1.0).abs() < 1e-12, "tick 7 began before");
    judge.close(&timed(8, (10, 900), (190, 100)), &rules, 9);
    assert!(judge.reading().all > 100.0);
}

#[test]
fn a_common_slowdown_causes_no_finding() {
    let rules = rules(&[metric("latency")]);
    let mut judge = judge(&rules);
    for number in 1..=60 {
        judge.close(&timed(number, (10, 100), (190, 100)), &rules, number + 1);
    }
    for number in 61..=120 {
        judge.close(&timed(number, (10, 900), (190, 900)), &rules, number + 1);
    }
    assert!(judge.reading().all < 1.0);
}

/// Stable takes 4 ms.
#[test]
fn a_difference_in_milliseconds_is_tolerated_beside_the_ratio() {
    for (or_milliseconds, candidate, is_suspected) in
        [(None, 24, false), (Some(0.0), 24, true), (None, 60, true), (Some(100.0), 60, false)]
    {
        let rules = rules(&[Metric { or_milliseconds, ..metric("latency") }]);
        let mut judge = judge(&rules);
        for number in 1..=200 {
            judge.close(&timed(number, (10, candidate), (190, 4)), &rules, number + 1);
        }
        let found = judge.reading().all;
        assert_eq!(found > 100.0, is_suspected, "{or_milliseconds:?}, {candidate} ms: {found}");
    }
}

/// Its first answers take 200 ms instead of 4.
#[test]
fn a_cold_candidate_is_not_found_to_be_slow() {
    let latency = || vec![Metric { name: "latency".into(), ..Metric::default() }];
    for (warm_up, is_suspected) in [(None, false), (judged_at_once().warm_up, true)] {
        let rules = Rules::new(
            &Analysis { metrics: latency(), warm_up, ..Analysis::default() },
            Unit::Requests,
            1,
            None,
        );
        let mut judge = judge(&rules);
        let timed = |number: u64, slow: bool| {
            let mut tick = tick(number, (0, 10), (0, 190));
            durations(&mut tick.counts.stable).add(bucket(4 * MS), 190);
            durations(&mut tick.counts.candidate).add(bucket(if slow { 200 } else { 4 } * MS), 10);
            tick
        };
        // Stable alone at first.
        let mut alone = timed(1, false);
        alone.counts.candidate = ended((0, 0));
        alone.share = None;
        (1..=100).for_each(|number| {
            judge.close(&Tick { number, ..alone.clone() }, &rules, number + 1);
        });
        for number in 101..=105 {
            judge.close(&timed(number, true), &rules, number + 1);
        }
        let found = judge.reading().all;
        assert_eq!(found > 100.0, is_suspected, "{found}");
        // Slow for longer than that, it is found.
        for number in 106..=140 {
            judge.close(&timed(number, true), &rules, number + 1);
        }
        assert!(judge.reading().all > 100.0);
    }
}

#[test]
fn a_configured_warm_up_spares_the_candidate_everything() {
    let warm_up = Some(WarmUp { requests: Some(20.into()), duration: None });
    let analysis = Analysis { metrics: vec![metric("error_rate")], warm_up, ..Analysis::default() };
    let rules = Rules::new(&analysis, Unit::Requests, 1, None);
    let mut judge = judge(&rules);
    for number in 1..=4 {
        judge.close(&tick(number, (5, 5), (0, 95)), &rules, number + 1);
    }
    assert!(judge.reading().all < 2.0 && !judge.fails_more(&rules));
    assert_eq!(judge.step_requests(), 0);
    for number in 5..=6 {
        judge.close(&tick(number, (5, 5), (0, 95)), &rules, number + 1);
    }
    assert!(judge.reading().all > rules.threshold && judge.fails_more(&rules));
}

#[test]
fn ticks_that_saw_two_weights_and_idle_ones_do_not_count() {
    let rules = rules(&[metric("error_rate")]);
    let mut judge = judge(&rules);
    let before = judge.clone();
    judge.close(&Tick { share: None, ..tick(1, (5, 5), (0, 95)) }, &rules, 2);
    judge.close(&tick(2, (0, 0), (0, 0)), &rules, 3);
    judge.warmth.clone_from(&before.warmth);
    assert_eq!(judge, before);
    assert_eq!(judge.step_requests(), 0);
}

#[test]
fn a_request_without_an_answer_by_the_deadline_has_failed() {
    let rules = rules(&[metric("error_rate")]);
    let mut judge = judge(&rules);
    let mut silent = tick(1, (0, 20), (0, 180));
    open(&mut silent.counts.candidate, 20, 20);
    assert!(judge.at_least(&[(silent.clone(), 0)], &rules).reading().all <= 1.0, "they may answer yet");
    judge.close(&silent, &rules, 2);
    assert!(judge.reading().all > 100.0);
    // One that has begun to answer and goes on is no error.
    let mut judge = self::judge(&rules);
    open(&mut silent.counts.candidate, 20, 0);
    judge.close(&silent, &rules, 2);
    assert!(judge.reading().all <= 1.0);
}

#[test]
fn a_skewed_split_blocks_the_promotion_and_nothing_else() {
    let rules = rules(&[metric("error_rate")]);
    let mut judge = judge(&rules);
    for number in 1..=100 {
        judge.close(&tick(number, (0, 20), (0, 80)), &rules, number + 1);
    }
    assert!(judge.split() > evidence::SPLIT_THRESHOLD);
    assert!(!judge.may_promote(&rules));
    assert!(judge.reading().all <= 1.0);
}

#[test]
fn a_step_must_show_it_by_itself() {
    let mut analysis = Analysis { metrics: vec![metric("error_rate")], ..Analysis::default() };
    analysis.promote_when = Some(crate::config::release::PromoteWhen::default());
    let rules = Rules::new(&analysis, Unit::Requests, 1, None);
    let mut judge = judge(&rules);
    let mut ticks = 0;
    while !judge.may_promote(&rules) {
        ticks += 1;
        judge.close(&tick(ticks, (0, 5), (1, 95)), &rules, ticks + 1);
    }
    // docs/analysis.md: a median of 775 of the candidate's requests at a margin of 2 times or 1 point.
    assert!((20..400).contains(&ticks), "{ticks}");
    assert_eq!(judge.step_requests(), 5 * ticks);
    judge.begin_step(&rules, ticks + 1);
    assert!(!judge.may_promote(&rules));
    assert_eq!(judge.step_requests(), 0);
}

/// A tick at 50 % in which each side has a hundred values, half of them a little below the mean and half above.
fn valued(number: u64, candidate: f64, stable: f64) -> Tick {
    let counts = |mean: f64| {
        let mut counts = Counts { requests: 100, ..Counts::of(&[TEST_MEAN.id]) };
        for nth in 0..100 {
            let value = Fraction::new(mean + if nth % 2 == 0 { 0.05 } else { -0.05 }).unwrap();
            counts.tally_mut(TEST_MEAN.id).unwrap().add(Observed::Mean(value));
        }
        counts
    };
    Tick { number, share: Some(0.5), counts: Pair::new(counts(candidate), counts(stable)), ..Tick::default() }
}

#[test]
fn a_mean_that_moves_only_on_the_candidate_is_a_finding() {
    for (moved, direction) in [(0.5, Direction::Up), (0.1, Direction::Down)] {
        let rules = rules(&[metric("test.mean")]);
        let mut judge = judge(&rules);
        for number in 1..=200 {
            let mean = if number < 100 { 0.3 } else { 0.6 };
            judge.close(&valued(number, mean, mean), &rules, number + 1);
        }
        assert!(judge.reading().all < 2.0, "{:?}", judge.reading());
        for number in 201..=210 {
            judge.close(&valued(number, moved, 0.3), &rules, number + 1);
        }
        assert!(judge.reading().all > rules.threshold, "{:?}", judge.reading());
        let strongest = judge.strongest(211).unwrap();
        assert_eq!(
            strongest.test.against,
            Against::Stable { tolerate: 1.0, or_milliseconds: 0.0, direction }
        );
        let Totals::Means(seen) = strongest.seen else { panic!("{:?}", strongest.seen) };
        assert_eq!((seen.candidate.count, seen.stable.count), (21_000, 21_000));
    }
}

#[test]
fn values_of_all_ticks_lead_to_expect_those_of_the_next() {
    let rules = rules(&[metric("test.mean")]);
    let mut judge = judge(&rules);
    judge.close(&valued(1, 0.3, 0.6), &rules, 2);
    judge.begin_step(&rules, 2);
    judge.close(&valued(2, 0.3, 0.6), &rules, 3);
    for state in &judge.metrics[0].tests {
        assert_eq!(state.past.map(|sums| sums.count), Pair::new(200, 200));
        assert!(state.past.stable.mean().unwrap() > state.past.candidate.mean().unwrap());
    }
}

#[test]
fn a_mean_is_not_judged_while_values_are_pending() {
    let rules = rules(&[metric("test.mean")]);
    let mut judge = judge(&rules);
    (1..=3).for_each(|number| drop(judge.close(&valued(number, 0.4, 0.3), &rules, number + 1)));
    let mut open = valued(4, 0.9, 0.1);
    let certain = judge.at_least(&[(open.clone(), 0)], &rules).reading().all;
    assert!(certain > judge.reading().all, "all of its values are known");
    open.counts.stable.open = 1;
    assert_eq!(judge.at_least(&[(open, 0)], &rules).reading(), judge.reading());
}

/// The worst case is for the evidence alone.
#[test]
fn counts_that_are_shown_of_open_ticks_are_of_ended_requests_only() {
    let rules = rules(&[metric("error_rate")]);
    let judge = judge(&rules);
    let mut open = tick(1, (10, 12), (0, 190));
    counts::open(&mut open.counts.candidate, 2, 2);
    counts::open(&mut open.counts.stable, 20, 20);
    let found = judge.at_least(&[(open.clone(), 0)], &rules);
    assert!(found.reading().all > rules.threshold, "{:?}", found.reading());
    let seen = found.strongest(2).unwrap().seen;
    assert_eq!(seen, Totals::Events(Table::of((10, 10), (0, 170))));
    let mut closed = judge.clone();
    closed.close(&open, &rules, 2);
    assert_eq!(closed.strongest(2).unwrap().seen, Totals::Events(Table::of((12, 12), (20, 190))));
}

/// What was not observed shows nothing: neither for the candidate nor against it.
#[test]
fn a_signal_that_was_not_observed_is_not_judged() {
    let rules = rules(&[metric("error_rate")]);
    let mut judge = judge(&rules);
    for number in 1..=20 {
        let mut tick = tick(number, (5, 5), (0, 95));
        tick.counts.candidate.tallies.clear();
        judge.close(&tick, &rules, number + 1);
    }
    assert!((judge.reading().all - 1.0).abs() < 1e-12, "{:?}", judge.reading());
}

proptest! {
    /// Judging open ticks early never gives more evidence than waiting for their end, whatever it is.
    #[test]
    fn early_evidence_never_exceeds_the_final_evidence(
        closed in prop::collection::vec((0..3_u64, 0..10_u64, 0..5_u64), 0..10),
        open in prop::collection::vec((0..4_u64, 0..4_u64, 0..5_u64, 0..20_u64, prop::array::uniform3(0.0..1.0_f64)), 1..5),
    ) {
        let rules = rules(&[metric("error_rate")]);
        let mut judge = judge(&rules);
        let mut number = 0;
        for (errors, ok, stable_errors) in closed {
            number += 1;
            judge.close(&tick(number, (errors, errors + ok), (stable_errors, stable_errors + 95)), &rules, number + 1);
        }
        let mut early = Vec::new();
        let mut late = Vec::new();
        for (errors, pending, stable_errors, stable_pending, [candidate, stable, _]) in open {
            number += 1;
            let mut ended = tick(number, (errors, errors + pending + 1), (stable_errors, stable_errors + stable_pending + 80));
            let mut known = ended.clone();
            counts::open(&mut known.counts.candidate, pending, pending);
            counts::open(&mut known.counts.stable, stable_pending, stable_pending);
            let some = |of: u64, part: f64| (part * (of + 1) as f64) as u64;
            counts::errors(&mut ended.counts.candidate).events += some(pending, candidate);
            counts::errors(&mut ended.counts.stable).events += some(stable_pending, stable);
            early.push((known, 0));
            late.push(ended);
        }
        let certain = judge.at_least(&early, &rules).reading().all;
        let mut most = judge.reading().all;
        for tick in late {
            judge.close(&tick, &rules, tick.number + 1);
            most = most.max(judge.reading().all);
        }
        prop_assert!(certain <= most * (1.0 + 1e-9), "{} before, {} after", certain, most);
    }
}

/// Whether less of the candidate's has an event is open while its requests are.
#[test]
fn less_than_stable_is_not_judged_while_requests_are_pending() {
    let label = catalog::named("output.label:spam").unwrap().id;
    let less = Metric { direction: Some(release::Direction::Down), ..metric("output.label:spam") };
    let rules = rules(&[less]);
    let mut judge = judge(&rules);
    let spam = |number, mine: u64, theirs: u64| {
        let counts = |spam: u64| {
            let mut counts = Counts { requests: 50, ..Counts::of(&[label]) };
            (0..50).for_each(|nth| counts.tally_mut(label).unwrap().add(Observed::Event(nth < spam)));
            counts
        };
        Tick { number, share: Some(0.5), counts: Pair::new(counts(mine), counts(theirs)), ..Tick::default() }
    };
    judge.close(&spam(1, 20, 20), &rules, 2);
    let mut open = spam(2, 0, 20);
    open.counts.candidate.open = 30;
    open.counts.candidate.requests += 30;
    assert_eq!(judge.at_least(&[(open, 0)], &rules).reading(), judge.reading());
    judge.close(&spam(2, 0, 20), &rules, 3);
    assert!(judge.reading().all > rules.threshold, "{:?}", judge.reading());
}

#[test]
fn pairs_beside_a_baseline_are_judged_by_mcnemars_test() {
    let metrics = vec![Metric { name: "mirror.disagreement".into(), ..Metric::default() }];
    let analysis = Analysis { metrics, ..judged_at_once() };
    let rules = Rules::new(&analysis, Unit::Requests, 1, Some(rules::Pairs::WithBaseline));
    let test = rules.metrics[0].tests[0];
    for (shadow, baseline) in [(0, 0), (3, 0), (0, 9), (20, 15), (40, 12)] {
        let mut tick = Tick {
            counts: Pair::new(Counts::of(&rules.signals()), Counts::of(&rules.signals())),
            ..Tick::default()
        };
        *tick.counts.candidate.tally_mut(test.signal).unwrap() =
            Tally::Event(Arm { events: shadow, units: shadow + baseline });
        let Certainty::Certain(look) = Look::of_requests(&tick, &test, None, View::Closed) else { panic!() };
        let ln = look.ln_likelihoods(&test, Pair::default());
        let mean = ln.iter().map(|ln| ln.exp()).sum::<f64>() / 8.0;
        let expected = crate::analysis::kernel::paired::mcnemar(shadow, baseline).exp();
        assert!((mean - expected).abs() <= 1e-9 * expected, "{shadow}, {baseline}: {mean}, {expected}");
    }
    let alone = Rules::new(&analysis, Unit::Requests, 1, Some(rules::Pairs::Alone));
    assert!(alone.metrics.is_empty(), "without `max` and baseline there is nothing to test");
}

#[test]
fn how_many_times_as_often_is_told_of_one_step_by_the_largest_share_that_it_had() {
    let rules = rules(&[metric("error_rate"), Metric { max: Some(0.5), ..metric("error_rate") }]);
    let mut judge = judge(&rules);
    let told = |judge: &Judge| judge.tested().map(|tests| tests[0].at_least).collect::<Vec<_>>();
    assert_eq!(told(&judge)[0], None);
    for number in 1..=40 {
        judge.close(&tick(number, (1, 5), (5, 95)), &rules, number + 1);
    }
    assert_eq!(told(&judge)[0], evidence::at_least(40, 240, 0.05));
    assert!(told(&judge).last().unwrap().is_none(), "a limit does not compare versions");
    // A share that was larger for a moment may have brought more of the events.
    judge.close(&Tick { share: Some(0.5), ..tick(41, (0, 0), (1, 100)) }, &rules, 42);
    assert_eq!(told(&judge)[0], evidence::at_least(40, 241, 0.5));
    // What is seen of the step before says nothing about this one's share.
    judge.begin_step(&rules, 42);
    assert_eq!(told(&judge)[0], None);
}

/// Of answers with receipts, at 5 %, so many events of each version a tick, of clicks and of complaints.
fn events_of_answers(within: u64, ticks: std::ops::Range<u64>, events: (u64, u64)) -> Judge {
    events_of_changed(within, ticks, events, &|_| {})
}

/// The same in ticks that are changed.
fn events_of_changed(
    within: u64,
    ticks: std::ops::Range<u64>,
    (candidate, stable): (u64, u64),
    change: &dyn Fn(&mut Tick),
) -> Judge {
    let rule = |name: &str, better| Feedback {
        name: name.into(),
        better,
        within: Duration::from_millis(within * 1_000),
        ..Feedback::default()
    };
    let rules = rules(&[metric("feedback.click"), metric("feedback.complaint")])
        .hearing(&[rule("click", Better::More), rule("complaint", Better::Less)]);
    let mut judge = judge(&rules);
    for number in ticks {
        let mut tick = tick(number, (0, 5), (0, 95));
        for (side, events) in [(Side::Candidate, candidate), (Side::Stable, stable)] {
            for name in ["click", "complaint"] {
                let tally = Tally::Event(Arm { events, units: events });
                tick.counts[side].tallies.push((catalog::event(name), tally));
            }
        }
        change(&mut tick);
        judge.close(&tick, &rules, number + 1);
        // What is open may still get more events.
        let with_open = judge.at_least(&[(tick, 0)], &rules).reading().all;
        assert!(with_open <= judge.reading().all.max(1.0) + 1e-9, "{with_open}");
    }
    judge
}

#[test]
fn events_of_answers_are_evidence_by_the_share_of_the_version_that_answered() {
    let after = |events| events_of_answers(0, 0..60, events).reading().metrics;
    let equal = after((1, 19));
    assert!(equal.iter().all(|evidence| *evidence < 1.0), "{equal:?}");
    let (more, fewer) = (after((3, 17)), after((0, 20)));
    assert!(more[1] > 1e3 && more[0] < 1.0, "{more:?}");
    assert!(fewer[0] > 1e3 && fewer[1] < 1.0, "{fewer:?}");
    let seen = crate::analysis::totals::tests::table(
        events_of_answers(0, 0..60, (3, 17)).strongest(60).unwrap().seen,
    );
    assert_eq!(seen.candidate, Arm { events: 180, units: 300 });
}

#[test]
fn events_of_answers_that_have_not_had_time_to_come_are_not_missing() {
    let during = events_of_answers(30, 100..130, (0, 20)).reading().metrics;
    assert!(during[0] < 1.01, "{during:?}");
    let afterwards = events_of_answers(30, 100..190, (0, 20)).reading().metrics;
    assert!(afterwards[0] > 1e3, "{afterwards:?}");
}

#[test]
fn a_tick_that_shows_nothing_does_not_begin_the_time_of_events_anew() {
    let after =
        |change: &dyn Fn(&mut Tick)| events_of_changed(30, 100..190, (0, 20), change).reading().metrics[0];
    let at = |nth: u64, change: fn(&mut Tick)| {
        move |tick: &mut Tick| {
            if tick.number % 20 == nth {
                change(tick)
            }
        }
    };
    let void = |tick: &mut Tick| (tick.share, tick.void) = (None, true);
    assert!(after(&at(7, void)) > 1e3, "a void tick every 20");
    let without = |tick: &mut Tick| tick.share = None;
    assert!(after(&at(7, without)) < 1.01, "the candidate had no traffic");
    let other = |tick: &mut Tick| tick.share = Some(0.06);
    assert!(after(&at(7, other)) < 1.01, "another weight");
}
