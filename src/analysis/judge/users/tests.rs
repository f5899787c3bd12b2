use super::*;
use crate::analysis::rules::Pairs;
use crate::analysis::totals::Totals;
use crate::analysis::totals::tests::table;
use crate::analysis::users::tests::hash;
use crate::config::feedback::{Better, Feedback};
use crate::config::release::{Analysis, Metric, WarmUp};
use crate::config::schema::Match;
use crate::config::units::Duration;
use crate::model::{Arm, Unit};
use crate::signal::catalog::{
    self, CLIENT_ERROR_RATE, DEFAULT, ERROR_RATE, LATENCY, MIRROR_DISAGREEMENT, SignalId, TEST_MEAN,
    UNANSWERED, ids,
};
use crate::signal::histogram::bucket;
use crate::signal::tally::tests::{durations, ended, events, refusing};
use crate::signal::tally::{First as Outcome, Tally};
use proptest::prelude::*;

const MS: u64 = 1_000_000;

fn rules(metrics: &[&str]) -> Rules {
    let metric =
        |name: &&str| Metric { name: (*name).into(), or_milliseconds: Some(0.0), ..Metric::default() };
    let metrics = metrics.iter().map(metric).collect();
    let warm_up = Some(WarmUp { requests: Some(0.into()), duration: None });
    Rules::new(&Analysis { metrics, warm_up, ..Analysis::default() }, Unit::Users, 1, None)
}

fn judge(rules: &Rules) -> Judge {
    let mut judge = Judge::default();
    judge.redefine(rules);
    judge.begin_step(rules, 0);
    judge
}

/// A tick's users of one version: each with what came of the first request.
fn came(users: impl Iterator<Item = (u64, Outcome)>) -> Counts {
    let mut counts = Counts::of(&ids(DEFAULT));
    let all = counts.users.get_or_insert_default();
    for (user, outcome) in users {
        all.seen.note(hash(user), outcome as u8);
        let signal = match outcome {
            Outcome::Failed => Some(ERROR_RATE.id),
            Outcome::GivenUp => Some(UNANSWERED.id),
            _ => None,
        };
        if let Some(signal) = signal {
            all.sample_mut(signal).unwrap().note(hash(user), 0);
        }
        counts.requests += 1;
    }
    counts
}

fn tick(number: u64, share: f64, candidate: Counts, stable: Counts) -> Tick {
    Tick { number, share: Some(share), counts: Pair::new(candidate, stable), ..Tick::default() }
}

#[test]
fn the_split_is_of_users_and_not_of_requests() {
    let rules = rules(&["error_rate"]);
    let mut judge = judge(&rules);
    // One busy user of the candidate among twenty, who come again and again.
    for number in 0..200 {
        let mut candidate = came([(1, Outcome::Well)].into_iter());
        candidate.requests = 1_000;
        let stable = came((2..=20).map(|user| (user, Outcome::Well)));
        judge.close(&tick(number, 0.05, candidate, stable), &rules, number + 1);
    }
    assert!(judge.split() < 2.0, "{}", judge.split());
    assert_eq!((judge.step_requests(), judge.observed_share()), (1, Some(0.05)));
    // Half of all new users to the candidate is another matter.
    for number in 200..220 {
        let user = |nth: u64| (number * 100 + nth, Outcome::Well);
        let (candidate, stable) = (came((0..10).map(user)), came((10..20).map(user)));
        judge.close(&tick(number, 0.05, candidate, stable), &rules, number + 1);
    }
    assert!(judge.split() > evidence::SPLIT_THRESHOLD);
}

#[test]
fn proof_comes_from_each_users_first_request_in_the_step() {
    let analysis = Analysis { promote_when: Some(Default::default()), ..Analysis::default() };
    let rules = Rules::new(&analysis, Unit::Users, 1, None);
    let mut judge = judge(&rules);
    let visits = |judge: &mut Judge, ticks: std::ops::Range<u64>| {
        for number in ticks {
            let well = |user: u64| (user, Outcome::Well);
            let candidate = came((number * 10..number * 10 + 10).map(well));
            let stable = came((number * 90..number * 90 + 90).map(|user| well(user + 100_000)));
            judge.close(&tick(number, 0.1, candidate, stable), &rules, number + 1);
        }
    };
    visits(&mut judge, 0..20);
    let after_200 = judge.no_worse();
    assert_eq!(judge.step_requests(), 200);
    visits(&mut judge, 0..20);
    assert_eq!((judge.step_requests(), judge.no_worse()), (200, after_200), "no new users");
    judge.begin_step(&rules, 40);
    visits(&mut judge, 40..60);
    assert_eq!(judge.step_requests(), 200, "in another step everybody is new once");
    visits(&mut judge, 60..160);
    assert!(judge.may_promote(&rules));
}

/// Requests of which so many failed, by these users.
fn asked(requests: (u64, u64), users: impl Iterator<Item = (u64, Outcome)>) -> Counts {
    Counts { users: came(users).users, ..ended(requests) }
}

#[test]
fn a_busy_user_whose_requests_fail_holds_no_candidate_back_and_more_failing_users_do() {
    let rules = rules(&["latency", "error_rate"]);
    let held = |failing: u64| {
        let mut judge = judge(&rules);
        let user = |failing: std::ops::Range<u64>| {
            move |user| (user, if failing.contains(&user) { Outcome::Failed } else { Outcome::Well })
        };
        // Of stable's users one in ten fails, of the candidate's so many of fifty; one of them asks sixty times.
        let candidate = asked((failing + 60, 110), (0..50).map(user(0..failing)));
        let stable = asked((95, 950), (100..1_050).map(user(100..195)));
        judge.close(&tick(1, 0.05, candidate, stable), &rules, 2);
        judge.fails_more(&rules)
    };
    assert!(!held(5), "as many users as of stable's");
    assert!(held(40));
}

/// Requests of which so many were given up, by these users.
fn abandoned((given_up, requests): (u64, u64), users: impl Iterator<Item = (u64, Outcome)>) -> Counts {
    let mut counts = Counts { silent: given_up, ..asked((0, requests), users) };
    *events(&mut counts, UNANSWERED.id) = Arm { events: given_up, units: requests };
    counts
}

/// Their clients leave before the deadline: there is no error.
#[test]
fn a_few_users_whose_requests_hang_hold_a_candidate_back_and_one_busy_user_does_not() {
    let default = &["error_rate", "unanswered"][..];
    let errors_alone = &["error_rate"][..];
    for (metrics, leaving, users, is_held) in
        [(default, 2, 3, true), (default, 1, 150, false), (errors_alone, 1, 150, true)]
    {
        let rules = rules(metrics);
        let mut judge = judge(&rules);
        let became = |user| (user, if user < leaving { Outcome::GivenUp } else { Outcome::Well });
        let candidate = abandoned((60, 110), (0..users).map(became));
        let stable = abandoned((0, 950), (1_000..1_000 + 3 * users).map(became));
        judge.close(&tick(1, 0.25, candidate, stable), &rules, 2);
        assert_eq!(judge.fails_more(&rules), is_held, "{metrics:?} {leaving} of {users}");
    }
}

#[test]
fn a_few_users_who_are_refused_hold_a_candidate_back_and_one_busy_user_does_not() {
    let rules = rules(&["error_rate", "client_error_rate"]);
    // In the last rows each of stable's users is sent to a login once.
    for (requests, (refused, users), by_stable, is_held) in [
        (60, (2, 3), 0, true),
        (60, (1, 150), 0, false),
        (50, (1, 150), 450, false),
        (100, (1, 150), 450, true),
    ] {
        let mut judge = judge(&rules);
        let of = |requests: (u64, u64), refused: u64, users: std::ops::Range<u64>| {
            let mut seen = came(users.clone().map(|user| (user, Outcome::Well))).users.unwrap();
            let all = seen.sample_mut(CLIENT_ERROR_RATE.id).unwrap();
            users.take(refused as usize).for_each(|user| all.note(hash(user), 0));
            Counts { users: Some(seen), ..refusing(requests) }
        };
        let candidate = of((requests, 110), refused, 0..users);
        let stable = of((by_stable, 9_500), by_stable, 1_000..1_000 + 3 * users);
        judge.close(&tick(1, 0.25, candidate, stable), &rules, 2);
        assert_eq!(judge.refuses_more(), is_held, "{requests}, {refused} of {users}, {by_stable}");
    }
}

/// Those that failed before failed by another definition.
#[test]
fn a_metric_that_is_redefined_within_a_step_still_holds_a_candidate_back() {
    let rules = rules(&["error_rate"]);
    let mut judge = judge(&rules);
    let close = |judge: &mut Judge, rules: &Rules, number: u64, failing: u64| {
        let became = |user| (user, if user < failing { Outcome::Failed } else { Outcome::Well });
        let candidate = asked((failing, 50), (0..50).map(became));
        let stable = asked((0, 950), (100..1_050).map(became));
        judge.close(&tick(number, 0.05, candidate, stable), rules, number + 1);
    };
    close(&mut judge, &rules, 1, 45);
    judge.begin_step(&rules, 2);
    close(&mut judge, &rules, 2, 0);
    let metrics = vec![Metric { name: "error_rate".into(), tolerate: Some(1.5), ..Metric::default() }];
    let other = Rules::new(&Analysis { metrics, ..Analysis::default() }, Unit::Users, 1, None);
    judge.redefine(&other);
    (3..6).for_each(|number| close(&mut judge, &other, number, 40));
    assert!(judge.fails_more(&rules));
}

/// All users have failed once: later failures are no user's first.
#[test]
fn a_candidate_that_fails_after_a_common_outage_is_held_back() {
    let rules = rules(&["error_rate"]);
    for (down, another_step) in [(100, false), (100, true), (50, true)] {
        let mut judge = judge(&rules);
        let close = |judge: &mut Judge, number: u64, fails: &dyn Fn(u64) -> bool| {
            let of = |users: std::ops::Range<u64>| {
                let became = |user| if fails(user) { Outcome::Failed } else { Outcome::Well };
                let failed = users.clone().filter(|user| fails(*user)).count() as u64;
                asked((failed, users.end - users.start), users.map(|user| (user, became(user))))
            };
            judge.close(&tick(number, 0.1, of(0..10), of(10..100)), &rules, number + 1);
        };
        close(&mut judge, 1, &|user| user % 100 < down);
        if another_step {
            judge.begin_step(&rules, 2);
        }
        (2..20).for_each(|number| close(&mut judge, number, &|user| user < 10));
        assert!(judge.fails_more(&rules), "{down} {another_step}");
    }
}

/// Who fails anyway had failed before the step.
#[test]
fn a_busy_user_that_failed_before_the_step_holds_no_candidate_back() {
    let rules = rules(&["error_rate"]);
    let mut judge = judge(&rules);
    for number in 1..20 {
        if number == 10 {
            judge.begin_step(&rules, number);
        }
        let candidate = (0..50).map(|user| (user, if user == 0 { Outcome::Failed } else { Outcome::Well }));
        let stable = (100..1_050).map(|user| (user, Outcome::Well));
        judge.close(
            &tick(number, 0.05, asked((60, 110), candidate), asked((0, 950), stable)),
            &rules,
            number + 1,
        );
    }
    assert!(!judge.fails_more(&rules));
}

#[test]
fn with_many_users_a_part_speaks_for_all() {
    let rules = rules(&["error_rate"]);
    let mut judge = judge(&rules);
    for number in 0..200 {
        let user = |nth: u64| (number * 1_000 + nth, Outcome::Well);
        let (candidate, stable) = (came((0..50).map(user)), came((50..1_000).map(user)));
        judge.close(&tick(number, 0.05, candidate, stable), &rules, number + 1);
    }
    assert!(judge.watch().level >= 2, "200,000 users are over 65,536 × 2");
    assert!(judge.newcomers.of_run.len() <= Some(MOST_EXACT));
    let users = judge.step_requests();
    assert!((9_000..11_000).contains(&users), "{users} instead of 10,000");
    assert!(judge.split() < 10.0);
}

#[test]
fn a_sample_that_misses_users_does_not_miss_their_failures() {
    let rules = rules(&["error_rate"]);
    let mut judge = judge(&rules);
    let well = |number: u64, users: std::ops::Range<u64>| {
        came(users.map(move |nth| (number * 1_000 + nth, Outcome::Well)))
    };
    for number in 0..200 {
        judge.close(&tick(number, 0.05, well(number, 0..50), well(number, 50..1_000)), &rules, number + 1);
    }
    judge.begin_step(&rules, 200);
    let level = judge.watch().level;
    for number in 200..203 {
        let missed = (number * 1_000_000..).filter(|user| !is_in(hash(*user), level));
        let candidate = came(missed.take(2).map(|user| (user, Outcome::Failed)));
        judge.close(&tick(number, 0.05, candidate, well(number, 0..38)), &rules, number + 1);
    }
    assert_eq!(table(judge.strongest(203).unwrap().seen).candidate, Arm { events: 6, units: 6 });
}

/// Ever more users, in ticks of any size: the part that speaks for them is never lost.
#[test]
fn however_many_users_come_the_sample_goes_on() {
    for each in [550, 1_100, 2_000] {
        let rules = rules(&["error_rate"]);
        let mut judge = judge(&rules);
        let ticks = 150_000 / each;
        for number in 0..ticks {
            let user = |nth: u64| (number * each + nth, Outcome::Well);
            let (candidate, stable) = (came((0..each / 2).map(user)), came((each / 2..each).map(user)));
            judge.close(&tick(number, 0.5, candidate, stable), &rules, number + 1);
        }
        assert!((1..=3).contains(&judge.watch().level), "level {}", judge.watch().level);
        let (users, expected) = (judge.step_requests(), ticks * each / 2);
        assert!(users.abs_diff(expected) < expected / 10, "{users} instead of {expected}");
    }
}

/// The same users in step after step are no more evidence than once.
#[test]
fn a_fixed_bound_is_judged_by_each_users_first_request() {
    let errors = Metric { max: Some(0.02), ..Metric { name: "error_rate".into(), ..Metric::default() } };
    let rules = Rules::new(&Analysis { metrics: vec![errors], ..Analysis::default() }, Unit::Users, 1, None);
    let mut judge = judge(&rules);
    let outcome = |user: u64| (user, if user < 4 { Outcome::Failed } else { Outcome::Well });
    for number in 0..40 {
        judge.begin_step(&rules, number);
        let (candidate, stable) =
            (came((0..100).map(outcome)), came((1_000..2_900).map(|user| (user, Outcome::Well))));
        judge.close(&tick(number, 0.05, candidate, stable), &rules, number + 1);
        let max = judge.reading().metrics[1];
        assert!(max < 10.0, "{max} in step {number}");
    }
    // New ones are; also those who have not all been answered.
    let failed =
        |user: u64| (user, if user.is_multiple_of(4) { Outcome::Failed } else { Outcome::Unanswered });
    let open = tick(50, 0.05, came((5_000..5_100).map(failed)), came((6_000..7_900).map(outcome)));
    let ahead = judge.at_least(&[(open, 0)], &rules);
    assert!(ahead.reading().metrics[1] > 100.0);
    // And the finding shows the counts of the whole step.
    let seen = table(ahead.metrics[1].tests[0].seen);
    assert_eq!(seen.candidate, Arm { events: 4 + 25, units: 100 + 100 });
}

#[test]
fn slow_answers_count_beyond_the_edge_of_each_version() {
    let rules = rules(&["latency"]);
    let mut judge = judge(&rules);
    let mut stable = ended((0, 2_000));
    durations(&mut stable).add(bucket(100 * MS), 2_000);
    judge.close(&tick(0, 0.05, Counts::of(&ids(DEFAULT)), stable), &rules, 1);
    let edges = judge.metrics[0].tests[0].edges_of(1).expect("enough for the quantile 0.9");
    assert_eq!((edges.candidate, judge.watch().slow(LATENCY.id)), (edges.stable + 1, Some(edges.stable)));
    let slow = |user: u64, bucket: usize| {
        let mut counts = came([(user, Outcome::Well)].into_iter());
        let users = counts.users.get_or_insert_default();
        users.sample_mut(LATENCY.id).unwrap().note(hash(user), bucket as u8);
        counts
    };
    let mut beside = judge.clone();
    beside.close(&tick(1, 0.05, Counts::of(&ids(DEFAULT)), slow(1, edges.candidate)), &rules, 2);
    assert!(beside.reading().all < 1.0, "on stable that is slow: one that speaks for the candidate");
    let mut well = judge.clone();
    well.close(&tick(1, 0.05, slow(1, edges.candidate), Counts::of(&ids(DEFAULT))), &rules, 2);
    assert!(well.reading().all <= 1.0, "tolerated");
    let before = well.reading().all;
    well.close(&tick(2, 0.05, slow(1, edges.candidate + 1), Counts::of(&ids(DEFAULT))), &rules, 3);
    assert!(well.reading().all <= before, "on stable that would have been the second time as well");
    judge.close(&tick(1, 0.05, slow(1, edges.candidate + 1), Counts::of(&ids(DEFAULT))), &rules, 2);
    assert!(judge.reading().all > 1.0);
    // A user who has waited longer than that is slow already; on stable each user who waits may become slow.
    let waiting = |side: &mut Counts, user: u64, state: Outcome| {
        side.requests += 1;
        side.open += 1;
        side.users.get_or_insert_default().waiting.note(hash(user), state as u8);
    };
    let mut open = tick(2, 0.05, Counts::of(&ids(DEFAULT)), Counts::of(&ids(DEFAULT)));
    let now = judge.reading().all;
    let at_least = |open: &Tick, age: usize| judge.at_least(&[(open.clone(), age)], &rules).reading().all;
    (100..110).for_each(|user| waiting(&mut open.counts.candidate, user, Outcome::Failed));
    assert_eq!(at_least(&open, edges.candidate + 1), now, "their latency is known, and it is no long one");
    waiting(&mut open.counts.candidate, 2, Outcome::Unanswered);
    assert_eq!(at_least(&open, edges.candidate), now);
    assert!(at_least(&open, edges.candidate + 1) > now);
    (10..40).for_each(|user| waiting(&mut open.counts.stable, user, Outcome::Unanswered));
    assert_eq!(at_least(&open, edges.candidate + 1), now);
}

#[test]
fn users_of_open_ticks_are_among_the_counts() {
    let rules = rules(&["error_rate"]);
    let mut judge = judge(&rules);
    let of = |users: std::ops::Range<u64>, outcome: Outcome| came(users.map(move |user| (user, outcome)));
    judge.close(&tick(0, 0.5, of(0..2, Outcome::Failed), of(1_000..1_100, Outcome::Well)), &rules, 1);
    let open = tick(1, 0.5, of(10..30, Outcome::Failed), of(1_100..1_120, Outcome::Well));
    let ahead = judge.at_least(&[(open, 0)], &rules);
    assert!(ahead.reading().all > judge.reading().all);
    let seen = table(ahead.metrics[0].tests[0].seen);
    assert_eq!(seen, Pair::new(Arm { events: 22, units: 22 }, Arm { events: 0, units: 120 }));
}

/// A user who has had the event while the candidate was cold does not have it for the first time later.
#[test]
fn users_of_a_warm_up_are_used_up() {
    let warm_up = Some(WarmUp { requests: Some(5.into()), duration: None });
    let metrics = vec![Metric { name: "error_rate".into(), ..Metric::default() }];
    let rules = Rules::new(&Analysis { metrics, warm_up, ..Analysis::default() }, Unit::Users, 1, None);
    let mut judge = judge(&rules);
    let failed = |users: std::ops::Range<u64>| came(users.map(|user| (user, Outcome::Failed)));
    judge.close(&tick(0, 0.5, failed(0..4), failed(1_000..1_003)), &rules, 1);
    let state = &judge.metrics[0].tests[0];
    let mut expected = Crowd::default();
    expected.move_to(0.5);
    expected.add(Pair::new(4, 3));
    assert_eq!((&state.spent, table(state.seen)), (&expected, Pair::default()));
    assert!(judge.reading().all <= 1.0);
}

/// Its users are spared, so that those who fail for the first time are more and more often its own.
#[test]
fn a_better_candidate_is_not_rolled_back_for_its_last_users() {
    let rules = rules(&["error_rate"]);
    for seed in 1..=5 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut judge = judge(&rules);
        for number in 0..1_500 {
            let mut of = [Vec::new(), Vec::new()];
            for _ in 0..50 {
                let user = rng.u64(0..500);
                let (side, rate) = if user.is_multiple_of(5) { (0, 0.02) } else { (1, 0.04) };
                of[side].push((user, if rng.f64() < rate { Outcome::Failed } else { Outcome::Well }));
            }
            let [candidate, stable] = of.map(|visits| came(visits.into_iter()));
            judge.close(&tick(number, 0.2, candidate, stable), &rules, number + 1);
            let odds = judge.reading().all;
            assert!(odds < rules.threshold, "{odds} in tick {number} of run {seed}");
        }
    }
}

/// A request: its user, and what is known of it before and after the tick has closed.
type Visit = (u64, Outcome, bool);

fn ticks() -> impl Strategy<Value = Vec<Vec<Visit>>> {
    let visit = (
        0..60_u64,
        prop::sample::select(vec![Outcome::Well, Outcome::Failed, Outcome::Unanswered]),
        any::<bool>(),
    );
    prop::collection::vec(prop::collection::vec(visit, 0..25), 1..8)
}

/// A tick of visits; users below 6 of 60 have the candidate. `closed`: what was open has ended.
fn of_visits(number: u64, visits: &[Visit], closed: bool) -> Tick {
    let mut tick = tick(number, 0.1, Counts::of(&ids(DEFAULT)), Counts::of(&ids(DEFAULT)));
    for (user, outcome, fails) in visits {
        let counts = if *user < 6 { &mut tick.counts.candidate } else { &mut tick.counts.stable };
        let users = counts.users.get_or_insert_default();
        counts.requests += 1;
        users.seen.note(hash(*user), *outcome as u8);
        let is_open = *outcome == Outcome::Unanswered;
        if is_open && !closed {
            counts.open += 1;
            users.waiting.note(hash(*user), Outcome::Unanswered as u8);
        } else if *outcome == Outcome::Failed || (is_open && *fails) {
            users.sample_mut(ERROR_RATE.id).unwrap().note(hash(*user), 0);
        }
    }
    tick
}

proptest! {
    #[test]
    fn early_evidence_never_exceeds_the_final_evidence(closed in ticks(), open in ticks()) {
        let rules = rules(&["error_rate"]);
        let mut judge = judge(&rules);
        let mut number = 0;
        for visits in &closed {
            judge.close(&of_visits(number, visits, true), &rules, number + 1);
            number += 1;
        }
        let numbered: Vec<(u64, &Vec<Visit>)> = (number..).zip(&open).collect();
        let early: Vec<(Tick, usize)> =
            numbered.iter().map(|(number, visits)| (of_visits(*number, visits, false), 0)).collect();
        let ahead = judge.at_least(&early, &rules);
        let least = ahead.reading().all;
        let seen = table(ahead.strongest(number).unwrap().seen);
        prop_assert!(seen.iter().all(|(_, arm)| arm.events <= arm.units), "{seen:?}");
        let mut most = judge.reading().all;
        for (number, visits) in numbered {
            judge.close(&of_visits(number, visits, true), &rules, number + 1);
            most = most.max(judge.reading().all);
        }
        prop_assert!(least <= most * (1.0 + 1e-9), "{least} became {most}");
    }
}

/// A mirrored step compares pairs of answers, and nothing else.
#[test]
fn a_tick_of_pairs_alone_leaves_what_other_tests_have_seen() {
    let differ = Metric { name: "mirror.disagreement".into(), max: Some(0.1), ..Metric::default() };
    let named = |name: &str| Metric { name: name.into(), ..Metric::default() };
    let metrics = vec![named("error_rate"), named("test.mean"), differ];
    let warm_up = Some(WarmUp { requests: Some(0.into()), duration: None });
    let analysis = Analysis { metrics, warm_up, ..Analysis::default() };
    let rules = Rules::new(&analysis, Unit::Users, 1, Some(Pairs::Alone));
    let mut judge = judge(&rules);
    let mut requests = tick(
        0,
        0.5,
        came((0..10).map(|user| (user, Outcome::Failed))),
        came((100..120).map(|user| (user, Outcome::Well))),
    );
    for (counts, users) in [(&mut requests.counts.candidate, 0..10), (&mut requests.counts.stable, 100..120)]
    {
        let firsts = counts.users.as_mut().unwrap().firsts_mut(TEST_MEAN.id).unwrap();
        users.for_each(|user| firsts.note(hash(user), 51));
    }
    judge.close(&requests, &rules, 1);
    let seen =
        |judge: &Judge, signal: SignalId| judge.tests().find(|test| test.test.signal == signal).unwrap().seen;
    let failed = Totals::Events(Pair::new(Arm { events: 10, units: 10 }, Arm { events: 0, units: 20 }));
    assert_eq!(seen(&judge, ERROR_RATE.id), failed);
    let values = seen(&judge, TEST_MEAN.id);
    assert!(
        matches!(values, Totals::Means(sums) if sums.map(|sums| sums.count) == Pair::new(10, 20)),
        "{values:?}"
    );

    let pairs = |number: u64, differ: u64| {
        let mut counts = Counts::of(&[MIRROR_DISAGREEMENT.id]);
        *counts.tally_mut(MIRROR_DISAGREEMENT.id).unwrap() = Tally::Event(Arm { events: differ, units: 8 });
        let firsts = counts.users.get_or_insert_default().firsts_mut(MIRROR_DISAGREEMENT.id).unwrap();
        (0..8).for_each(|nth| firsts.note(hash(1_000 * number + nth), u8::from(nth < differ)));
        Tick { number, counts: Pair::new(counts, Counts::default()), ..Tick::default() }
    };
    let reading = judge.reading();
    judge.close(&pairs(1, 1), &rules, 2);
    assert!(judge.reading().metrics[..2].iter().zip(&reading.metrics).all(|(now, before)| now <= before));
    // Also where it is the first tick of another step.
    judge.begin_step(&rules, 2);
    judge.close(&pairs(2, 3), &rules, 3);
    assert_eq!((seen(&judge, ERROR_RATE.id), seen(&judge, TEST_MEAN.id)), (failed, values));
    assert_eq!(table(seen(&judge, MIRROR_DISAGREEMENT.id)).candidate, Arm { events: 3, units: 8 });
    let requests = tick(3, 0.5, came((10..12).map(|user| (user, Outcome::Failed))), came([].into_iter()));
    judge.close(&requests, &rules, 4);
    assert_eq!(table(seen(&judge, ERROR_RATE.id)).candidate, Arm { events: 2, units: 2 });
    assert_eq!(table(seen(&judge, MIRROR_DISAGREEMENT.id)).candidate, Arm { events: 3, units: 8 });
}

#[test]
fn a_set_of_users_that_is_lost_is_no_evidence() {
    use crate::analysis::user_set::tests::Memory;
    let rules = rules(&["error_rate"]);
    let mut known = judge(&rules);
    let failed = |users: std::ops::Range<u64>| came(users.map(|user| (user, Outcome::Failed)));
    known.close(&tick(0, 0.5, failed(0..600), failed(1_000..1_600)), &rules, 1);
    let mut shelf = Memory::default();
    known.put_users(&mut shelf);
    let passed_on = |shelf: &Memory| {
        let mut judge: Judge = postcard::from_bytes(&postcard::to_allocvec(&known).unwrap()).unwrap();
        judge.fetch_users(shelf);
        judge
    };
    // The candidate's users fail again, and some that had not come yet; stable's do not.
    let later = tick(1, 0.5, failed(0..700), came((1_000..1_100).map(|user| (user, Outcome::Well))));
    let mut whole = passed_on(&shelf);
    whole.close(&later, &rules, 2);
    assert!(whole.reading().all > known.reading().all, "a hundred users are new to it");
    let mut lost = passed_on(&Memory::default());
    let at_least = lost.at_least(&[(later.clone(), 0)], &rules);
    assert_eq!(at_least.reading().all, known.reading().all);
    lost.close(&later, &rules, 2);
    assert_eq!(lost.reading().all, known.reading().all);
    assert!(lost.split() <= known.split());
}

/// Rules for what users do within so many ticks: of clicks fewer are worse, of complaints more.
fn of_feedback(within: u64) -> Rules {
    let within = Duration::from_millis(within * 1_000);
    let rule = |name: &str, better| Feedback { name: name.into(), better, within, ..Feedback::default() };
    rules(&["feedback.click", "feedback.complaint"])
        .hearing(&[rule("click", Better::More), rule("complaint", Better::Less)])
}

/// A version's users of a tick, who come; and those who do something.
fn happened(name: &str, came: std::ops::Range<u64>, events: std::ops::Range<u64>) -> Counts {
    let mut counts = self::came(came.map(|user| (user, Outcome::Well)));
    let signal = catalog::event(name);
    counts.tallies.push((
        signal,
        Tally::Event(Arm { events: events.end - events.start, units: events.end - events.start }),
    ));
    let users = counts.users.get_or_insert_default();
    events.for_each(|user| users.sample_mut(signal).unwrap().note(hash(user), 0));
    counts
}

/// The evidence of clicks and of complaints after ticks in which 100 new users come to each version, and so many of them do
/// something.
fn after(name: &str, (candidate, stable): (u64, u64), ticks: u64) -> Vec<f64> {
    let rules = of_feedback(0);
    let mut judge = judge(&rules);
    for number in 0..ticks {
        let (mine, theirs) = (number * 1_000, number * 1_000 + 500);
        let candidate = happened(name, mine..mine + 100, mine..mine + candidate);
        let stable = happened(name, theirs..theirs + 100, theirs..theirs + stable);
        judge.close(&tick(number, 0.5, candidate, stable), &rules, number + 1);
    }
    judge.reading().metrics
}

#[test]
fn fewer_clicks_and_more_complaints_are_evidence_against_the_candidate() {
    assert!(after("click", (32, 40), 60)[0] > 1e3 && after("click", (40, 32), 60)[0] < 1.0);
    assert!(after("complaint", (40, 32), 60)[1] > 1e3 && after("complaint", (32, 40), 60)[1] < 1.0);
    assert!(after("click", (32, 40), 60)[1] <= 1.0, "no user complained");
    assert!(after("click", (36, 36), 60)[0] < 1.0);
}

/// A candidate with more clicks has soon no users left that have not clicked. What stable's still do says nothing.
#[test]
fn a_candidate_with_more_clicks_is_not_suspected_once_its_users_have_all_clicked() {
    let rules = of_feedback(0);
    let mut judge = judge(&rules);
    let first = tick(0, 0.5, happened("click", 0..1_000, 0..0), happened("click", 5_000..6_000, 0..0));
    judge.close(&first, &rules, 1);
    for number in 1..100 {
        let from = (number - 1) * 10;
        // 20 of the candidate's thousand click in each tick until none is left, and 10 of stable's.
        let candidate = happened("click", 0..0, (2 * from).min(1_000)..(2 * from + 20).min(1_000));
        let stable = happened("click", 0..0, 5_000 + from..5_010 + from);
        judge.close(&tick(number, 0.5, candidate, stable), &rules, number + 1);
    }
    assert!(judge.reading().metrics[0] < 2.0, "{:?}", judge.reading());
}

#[test]
fn events_between_requests_count_once_for_each_user() {
    let rules = of_feedback(0);
    let mut judge = judge(&rules);
    for _ in 0..3 {
        for number in 0..40 {
            let users = number * 20..number * 20 + 20;
            // They had come before this run.
            let none = happened("click", 0..0, 0..0);
            judge.close(&tick(number, 0.5, none, happened("click", 0..0, users)), &rules, number + 1);
        }
    }
    let seen = table(judge.strongest(40).unwrap().seen);
    assert_eq!((seen.stable.events, seen.candidate.events), (800, 0));
    assert!(judge.reading().metrics[0] > 1e3);
    assert_eq!(
        judge.unheard().map(|unheard| unheard.to_string()).as_deref(),
        Some("feedback.complaint: nothing yet")
    );
}

/// The candidate's users take so long to click. Whatever they do before says nothing, also after the next step.
#[test]
fn events_that_had_no_time_to_happen_are_not_missing() {
    let rules = of_feedback(30);
    let mut judge = judge(&rules);
    let close = |number: u64, judge: &mut Judge, candidate: u64| {
        let (mine, theirs) = (number * 1_000, number * 1_000 + 500);
        let candidate = happened("click", mine..mine + 100, mine..mine + candidate);
        let stable = happened("click", theirs..theirs + 100, theirs..theirs + 40);
        let share = if number < 200 { 0.5 } else { 0.6 };
        judge.close(&tick(number, share, candidate, stable), &rules, number + 1);
        judge.reading().metrics[0]
    };
    for number in (100..130).chain(200..230) {
        assert!(close(number, &mut judge, 0) < 1.01, "tick {number}");
        let is_heard = judge.unheard().is_some_and(|unheard| unheard.metric != "feedback.click");
        assert_eq!(is_heard, number >= 200, "tick {number}");
        if number == 129 {
            (130..140).for_each(|number| assert!(close(number, &mut judge, 40) < 10.0));
        }
    }
    let found = (230..240).map(|number| close(number, &mut judge, 0)).last();
    assert!(found > Some(1e3), "{found:?}");
}

#[test]
fn another_meaning_of_an_event_begins_its_evidence_anew() {
    let rules = of_feedback(0);
    let mut judge = judge(&rules);
    let path = |path: &str| {
        let matches = Match { path: Some(path.into()), ..Match::default() };
        Feedback { name: "click".into(), better: Better::More, matches, ..Feedback::default() }
    };
    let of = |rule: Feedback| self::rules(&["feedback.click"]).hearing(&[rule]);
    judge.redefine(&of(path("/a")));
    assert_eq!(judge.redefine(&of(path("/a"))), []);
    let changed = super::super::Redefined::Restarted("feedback.click".into());
    assert_eq!(judge.redefine(&of(path("/b"))), [changed]);
}
