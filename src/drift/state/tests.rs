use super::*;
use crate::config::drift::Drift as Config;
use crate::model::Assignment;
use crate::signal::catalog::{self, Role};
use crate::signal::histogram;
use crate::signal::observed::Observed;
use crate::signal::sums::Fraction;
use crate::signal::tally::Counts;
use crate::signal::tally::tests::{durations, ended};
use proptest::prelude::*;
use serde_json::json;

const LABELS: &str = catalog::OUTPUT_LABEL.name;
const LENGTH: &str = catalog::INPUT_LENGTH.name;

/// Rules that watch these metrics; so many seconds become the reference.
fn rules(metrics: &[&str], seconds: u64) -> Rules {
    let config = json!({"metrics": metrics, "reference": format!("{seconds}s")});
    Rules::new(&serde_json::from_value::<Config>(config).unwrap(), 1)
}

fn errors() -> &'static str {
    catalog::with_role(Role::Failed).name
}

/// A second in which so many of stable's requests fail.
fn second(number: u64, failed: u64, requests: u64) -> Tick {
    Tick { number, counts: Pair::new(ended((0, 0)), ended((failed, requests))), ..Tick::default() }
}

/// A second with requests of these lengths, or these categories.
fn of_bodies(number: u64, signal: &str, values: impl Iterator<Item = Observed>) -> Tick {
    let id = catalog::moving(signal).unwrap().id;
    let mut counts = Counts::of(&[id]);
    for value in values {
        counts.requests += 1;
        counts.tally_mut(id).unwrap().add(value.spread());
    }
    Tick { number, counts: Pair::new(Counts::default(), counts), ..Tick::default() }
}

/// So many lengths, from 20 to 200 times as long.
fn lengths(times: f64) -> impl Iterator<Item = Observed> {
    let scale = |length: f64| match catalog::INPUT_LENGTH.kind {
        catalog::Kind::Mean(scale) => scale.fraction(length),
        _ => None,
    };
    (0..100_u32).map(move |at| Observed::Mean(scale(times * (20.0 + 1.8 * f64::from(at))).unwrap()))
}

/// How far each window has moved.
fn times(drift: &Drift, at: usize) -> [Option<f64>; 3] {
    drift.metrics()[at].windows_moved.map(|moved| Some(moved?.movement.times))
}

#[test]
fn the_reference_is_what_came_in_its_time_and_nothing_is_known_before() {
    let (rules, mut drift) = (rules(&[errors()], 10), Drift::default());
    for number in 100..110 {
        drift.close(&rules, &second(number, 1, 20), 7);
        assert!(drift.metrics()[0].reference.is_none());
    }
    drift.close(&rules, &second(110, 1, 20), 8);
    let reference = drift.metrics()[0].reference.clone().unwrap();
    assert_eq!((reference.observations, reference.frozen), (200, 8));
    assert_eq!(times(&drift, 0), [None; 3], "20 requests");
    drift.close(&rules, &second(111, 1, 20), 9);
    assert!(times(&drift, 0).iter().all(|times| times.is_some_and(|times| times < 1.0)));
}

#[test]
fn a_reference_waits_until_there_is_enough_of_it() {
    let (rules, mut drift) = (rules(&[errors()], 10), Drift::default());
    for number in 0..39 {
        drift.close(&rules, &second(number, 0, 1), 0);
    }
    assert!(drift.metrics()[0].reference.is_none(), "39 requests in 39 seconds");
    (39..=40).for_each(|number| drift.close(&rules, &second(number, 0, 1), 0));
    assert_eq!(drift.metrics()[0].reference.as_ref().unwrap().observations, 40);
}

#[test]
fn a_change_shows_in_short_windows_first_and_leaves_them_first() {
    let (rules, mut drift) = (rules(&[errors()], 600), Drift::default());
    let mut close = |numbers: std::ops::Range<u64>, failed: u64| {
        numbers.for_each(|number| drift.close(&rules, &second(number, failed, 100), 0));
        times(&drift, 0).map(|times| times.unwrap())
    };
    close(0..7_200, 2);
    let [short, hour, day] = close(7_200..7_260, 4);
    assert!(short > 1.0 && hour < short && day < hour, "{short} {hour} {day}");
    let [short, hour, day] = close(7_260..10_800, 4);
    assert!(short > 5.0 && hour > short && day > 4.0, "{short} {hour} {day}");
    let [short, hour, _] = close(10_800..11_160, 2);
    assert!(short < 1.0 && hour > 5.0, "{short} {hour}");
}

#[test]
fn lengths_durations_and_labels_move_when_they_change_and_not_otherwise() {
    let latency = catalog::named("latency").unwrap().signal.name;
    let label = |number: u64| Observed::category(number);
    let length = |number, times| of_bodies(number, LENGTH, lengths(times));
    let labels = |number, cats: u64| {
        of_bodies(number, LABELS, (0..100).map(|at| label(if at < cats { 5 } else { 77 })))
    };
    let lasting = |number, bucket: usize| {
        let mut tick = second(number, 0, 0);
        let counts = &mut tick.counts[Side::Stable];
        counts.requests = 100;
        (0..100).for_each(|at| durations(counts).add(histogram::bucket((50 + at) * 1_000_000) + bucket, 1));
        tick
    };
    type Second<'a> = &'a dyn Fn(u64, bool) -> Tick;
    let cases: [(&str, Second<'_>); 3] = [
        (LENGTH, &|number, has_changed| length(number, if has_changed { 1.5 } else { 1.0 })),
        (LABELS, &|number, has_changed| labels(number, if has_changed { 50 } else { 70 })),
        (latency, &|number, has_changed| lasting(number, usize::from(has_changed))),
    ];
    for (metric, second) in cases {
        let (rules, mut drift) = (rules(&[metric], 10), Drift::default());
        (0..60).for_each(|number| drift.close(&rules, &second(number, false), 0));
        assert!(times(&drift, 0).iter().all(|times| times.unwrap() < 1.0), "{metric}: {drift:?}");
        (60..120).for_each(|number| drift.close(&rules, &second(number, true), 0));
        assert!(times(&drift, 0).iter().all(|times| times.unwrap() > 2.0), "{metric}: {drift:?}");
    }
}

#[test]
fn a_command_takes_what_was_seen_as_the_reference() {
    let (rules, mut drift) = (rules(&[errors(), LENGTH], 3_600), Drift::default());
    assert_eq!(drift.freeze(&rules, 2, 0), [""; 0]);
    (0..10).for_each(|number| drift.close(&rules, &second(number, 1, 20), 0));
    assert_eq!(drift.freeze(&rules, 2, 5), [errors()], "of lengths nothing is known");
    assert_eq!(drift.freeze(&rules, 2, 6), [""; 0], "its windows are empty");
    (10..700)
        .for_each(|number| drift.close(&rules, &second(number, if number < 300 { 1 } else { 9 }, 20), 0));
    assert!(times(&drift, 0)[0].unwrap() > 3.0);
    // The last five minutes are as they are now, the day is not.
    assert_eq!(drift.freeze(&rules, 0, 7), [errors()]);
    (700..760).for_each(|number| drift.close(&rules, &second(number, 9, 20), 0));
    assert!(times(&drift, 0).iter().all(|times| times.unwrap() < 1.0), "{:?}", times(&drift, 0));
    assert_eq!(drift.metrics()[0].reference.as_ref().unwrap().frozen, 7);
}

#[test]
fn seconds_of_several_assignments_and_the_candidates_requests_count_nowhere() {
    let (rules, mut drift) = (rules(&[errors()], 10), Drift::default());
    (0..60).for_each(|number| drift.close(&rules, &second(number, 1, 20), 0));
    let before = drift.clone();
    let void = Tick { void: true, assignment: Assignment(1), ..second(60, 20, 20) };
    drift.close(&rules, &void, 0);
    let candidate = Tick { number: 61, counts: Pair::new(ended((20, 20)), ended((0, 0))), ..Tick::default() };
    drift.close(&rules, &candidate, 0);
    assert_eq!(drift, before);
}

#[test]
fn other_rules_begin_anew_and_another_clock_keeps_the_reference() {
    let (old, mut drift) = (rules(&[errors()], 10), Drift::default());
    (0..60).for_each(|number| drift.close(&old, &second(number, 1, 20), 0));
    drift.follow(Some(&old));
    let reference = drift.metrics()[0].reference.clone();
    assert!(reference.is_some());
    drift.renumber(59, 4);
    assert_eq!((times(&drift, 0), &drift.metrics()[0].reference), ([None; 3], &reference));
    (5..15).for_each(|number| drift.close(&old, &second(number, 1, 20), 0));
    assert!(times(&drift, 0)[0].is_some());
    drift.follow(Some(&rules(&[errors()], 11)));
    assert!(drift.metrics()[0].reference.is_none());
    drift.follow(None);
    assert_eq!(drift, Drift::default());
}

proptest! {
    /// Whatever comes: memory stays bounded, and movements are numbers.
    #[test]
    fn any_ticks_keep_it_in_bounds(
        ticks in proptest::collection::vec(
            (any::<u64>(), any::<u64>(), 0_u64..20_000, proptest::collection::vec(0.0..1.0_f64, 0..40)), 1..150,
        ),
    ) {
        let (rules, mut drift, mut number) = (rules(&[errors(), LENGTH, LABELS], 10), Drift::default(), 0_u64);
        for (jump, many, step, values) in ticks {
            number = if step == 0 { jump } else { number.saturating_add(step) };
            let values = values.into_iter().filter_map(|value| Fraction::new(value).map(Observed::Mean));
            let mut tick = of_bodies(number, LENGTH, values);
            tick.counts.stable.tallies.extend(second(0, many / 2, many).counts.stable.tallies);
            drift.close(&rules, &tick, number);
            if step % 7 == 0 {
                drift.freeze(&rules, 1, 0);
            }
            for moved in drift.metrics().iter().flat_map(|metric| metric.windows_moved).flatten() {
                prop_assert!(moved.movement.times.is_finite() && moved.movement.size.is_finite());
            }
        }
        prop_assert!(postcard::to_allocvec(&drift).unwrap().len() < 8_000);
    }
}
