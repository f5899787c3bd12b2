use super::users::first_of;
use super::*;
use crate::analysis::users::tests::hash;
use crate::signal::catalog::{CLIENT_ERROR_RATE, ERROR_RATE, LATENCY, SignalId, TEST_MEAN};
use crate::signal::sample::{MOST, Sample, is_in};
use crate::signal::tally::{First as Outcome, tests::ended};

fn test(signal: SignalId, measure: Measure, tolerate: f64, direction: Direction) -> Test {
    Test { signal, measure, against: Against::Stable { tolerate, or_milliseconds: 0.0, direction } }
}

fn failures(tolerate: f64, direction: Direction) -> Test {
    test(ERROR_RATE.id, Measure::Rate, tolerate, direction)
}

fn of_users(test: &Test, events: Pair<u64>, odds: f64) -> [f64; RATIOS.len()] {
    let first = First { events, spent: events, ..First::default() };
    let look = Look::of_users(&Tick::default(), test, &first, &Firsts::default(), odds);
    look.ln_likelihoods(test, Pair::default())
}

fn of_requests(test: &Test, tick: &Tick, edges: Option<Edges>) -> Look {
    match Look::of_requests(tick, test, edges, View::Closed) {
        Certainty::Certain(look) => look,
        Certainty::Open => panic!("the tick is closed"),
    }
}

fn swapped(tick: &Tick) -> Tick {
    let Pair { candidate, stable } = tick.counts.clone();
    Tick { counts: Pair::new(stable, candidate), ..tick.clone() }
}

#[test]
fn less_of_one_version_is_more_of_the_other() {
    let (up, down) = (failures(1.5, Direction::Up), failures(1.5, Direction::Down));
    // Of the odds that the version has which has more then.
    let of_down = of_users(&down, Pair::new(3, 8), 0.8);
    for (down, up) in of_down.into_iter().zip(of_users(&up, Pair::new(8, 3), 0.8)) {
        assert!((down - up).abs() < 1e-12, "{down}, {up}");
    }
    let tick = Tick { counts: Pair::new(ended((3, 100)), ended((8, 60))), ..Tick::default() };
    let of_down = of_requests(&down, &tick, None).ln_likelihoods(&down, Pair::default());
    let of_up = of_requests(&up, &swapped(&tick), None).ln_likelihoods(&up, Pair::default());
    assert_eq!(of_down, of_up);
}

/// The edges of a quantile have the tolerance in them.
#[test]
fn tolerance_of_a_quantile_counts_once() {
    let of = |measure: Measure, tolerate: f64| {
        let test = test(LATENCY.id, measure, tolerate, Direction::Up);
        let mut tick = Tick { counts: Pair::new(ended((0, 40)), ended((0, 40))), ..Tick::default() };
        for (counts, bucket) in [(&mut tick.counts.candidate, 9), (&mut tick.counts.stable, 2)] {
            crate::signal::tally::tests::durations(counts).add(bucket, 40);
        }
        let requests = of_requests(&test, &tick, Some(Pair::new(5, 4)));
        (of_users(&test, Pair::new(8, 3), 0.2), requests.ln_likelihoods(&test, Pair::default()))
    };
    let (quantile, rate) = (Measure::Quantile(0.9), Measure::Rate);
    assert_eq!(of(quantile, 1.5), of(quantile, 1.0));
    let (tolerated, all) = (of(rate, 1.5), of(rate, 1.0));
    assert!(tolerated.0 != all.0 && tolerated.1 != all.1);
}

#[test]
fn a_comparison_needs_both_versions_and_a_bound_the_candidate() {
    let compared = failures(1.0, Direction::Up);
    let bound = Test { against: Against::Bound { max: 0.1 }, ..compared };
    for (candidate, stable, of_comparison, of_bound) in
        [(0, 0, false, false), (0, 5, false, false), (5, 0, false, true), (5, 5, true, true)]
    {
        let tick = Tick { counts: Pair::new(ended((0, candidate)), ended((0, stable))), ..Tick::default() };
        let look = |test: &Test| of_requests(test, &tick, None).is_comparable;
        assert_eq!((look(&compared), look(&bound)), (of_comparison, of_bound), "{candidate}, {stable}");
        // Of users, those of stable who have come in other ticks are there as well.
        let users = Look::of_users(&tick, &compared, &First::default(), &Firsts::default(), 0.5);
        assert_eq!(users.is_comparable, candidate > 0);
    }
}

/// A bound on errors is a bound on answers: a request that still waits, or was refused on its way, does not count
/// as a failure of the version.
#[test]
fn a_bound_on_failures_leaves_requests_without_an_answer_out() {
    let bound = |signal| Test {
        against: Against::Bound { max: 0.1 },
        ..test(signal, Measure::Rate, 1.0, Direction::Up)
    };
    let mut counts = ended((3, 10));
    counts.silent = 4;
    let tick = Tick { counts: Pair::new(counts.clone(), counts), ..Tick::default() };
    let candidate = |test: &Test| of_requests(test, &tick, None).table().unwrap().candidate;
    assert_eq!(candidate(&bound(ERROR_RATE.id)), Arm { events: 3, units: 6 });
    assert_eq!(candidate(&failures(1.0, Direction::Up)), Arm { events: 3, units: 10 });
    assert!(!bound(ERROR_RATE.id).is_of_first_observations());
    assert!(bound(CLIENT_ERROR_RATE.id).is_of_first_observations());
}

/// A sample that was halved once, and one of two users of whom the halving leaves one.
fn samples() -> (Sample, Sample) {
    let (mut halved, mut whole) = (Sample::default(), Sample::default());
    for user in 0..=MOST as u64 {
        halved.note(hash(user), 255);
    }
    assert_eq!(halved.level(), 1);
    let user = |stays: bool| (1_000_000..).map(hash).find(|user| is_in(*user, 1) == stays).unwrap();
    whole.note(user(true), 255);
    whole.note(user(false), 255);
    (halved, whole)
}

/// Otherwise one version's users would count in full beside a half of the other's.
#[test]
fn users_of_both_versions_are_halved_alike() {
    let (halved, whole) = samples();
    let (mean, failed) = (
        test(TEST_MEAN.id, Measure::Mean { logarithmic: false }, 1.0, Direction::Up),
        failures(1.0, Direction::Up),
    );
    let mut tick = Tick::default();
    *tick.counts.candidate.users.get_or_insert_default().firsts_mut(TEST_MEAN.id).unwrap() = halved.clone();
    *tick.counts.stable.users.get_or_insert_default().firsts_mut(TEST_MEAN.id).unwrap() = whole.clone();
    let first = first_of(&tick, &mean, None, View::Closed, |_| true);
    assert_eq!(first.observed.units().stable, 1);

    // Also where only those who wait are too many.
    let mut tick = Tick::default();
    let users = tick.counts.candidate.users.get_or_insert_default();
    (0..=MOST as u64).for_each(|user| users.waiting.note(hash(user), Outcome::Answered as u8));
    *tick.counts.stable.users.get_or_insert_default().sample_mut(ERROR_RATE.id).unwrap() = whole;
    let first = first_of(&tick, &failed, None, View::Closed, |_| true);
    assert_eq!(first.events, Pair::new(0, 1));
}

#[test]
fn a_users_first_observation_is_an_event_or_none() {
    let bound = Test {
        against: Against::Bound { max: 0.1 },
        ..test(CLIENT_ERROR_RATE.id, Measure::Rate, 1.0, Direction::Up)
    };
    let mut tick = Tick::default();
    let firsts =
        tick.counts.candidate.users.get_or_insert_default().firsts_mut(CLIENT_ERROR_RATE.id).unwrap();
    (0..5).for_each(|user| firsts.note(hash(user), u8::from(user < 2)));
    let first = first_of(&tick, &bound, None, View::Closed, |user| user != hash(0));
    assert_eq!(first.observed, Totals::Events(Pair::new(Arm { events: 1, units: 4 }, Arm::default())));
}
