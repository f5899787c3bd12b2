//! The judge's formulas, against vectors that were computed by other software (scipy, exact enumeration).

super::everywhere! {
    one_tick
    the_evidence_of_runs
    weights_of_the_onset
    points_above_stable
    first_events_of_users
    means_of_bounded_values
    open_ticks_of_users
    drift_of_distributions
}

mod run {
    use changeover::analysis::evidence::{Evidence, comparison, first_events, onset, rest};
    use changeover::analysis::judge::Judge;
    use changeover::analysis::kernel::drift;
    use changeover::analysis::kernel::mean::{Direction, Moments, Tolerated, differs};
    use changeover::analysis::kernel::ratio::{Table, beyond_bound, beyond_margin, more_often};
    use changeover::analysis::kernel::split::split;
    use changeover::analysis::promotion;
    use changeover::analysis::rules::{FAILURES, Rules};
    use changeover::analysis::tick::Tick;
    use changeover::analysis::users::{First, Firsts};
    use changeover::config::release::{Analysis, Metric};
    use changeover::model::{Arm, Pair, Unit, UserHash};
    use changeover::signal::catalog::{ERROR_RATE, Moves};
    use changeover::signal::tally::{Counts, Tally, Users};
    use serde_json::Value;

    fn vectors(part: &str) -> Value {
        let all: Value = serde_json::from_str(include_str!("../fixtures/judge-vectors.json")).expect("JSON");
        all[part].clone()
    }

    fn cases(part: &str) -> Vec<Value> {
        vectors(part).as_array().expect("a list").clone()
    }

    fn real(case: &Value, field: &str) -> f64 {
        case[field].as_f64().expect("a number")
    }

    fn whole(case: &Value, field: &str) -> u64 {
        case[field].as_u64().expect("a count")
    }

    /// Equal to the digits that doubles carry through a handful of operations.
    fn assert_close(found: f64, expected: f64, what: &Value) {
        let tolerance = 1e-11 * expected.abs().max(1.0);
        assert!((found - expected).abs() <= tolerance, "{found} instead of {expected}: {what}");
    }

    pub(super) fn drift_of_distributions() {
        for case in cases("drift") {
            let counts = |field: &str| -> Vec<u64> {
                case[field]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .map(|count| count.as_u64().expect("a count"))
                    .collect()
            };
            let (reference, window) = (counts("ref"), counts("cur"));
            let chance = 1.0 / reference.iter().sum::<u64>() as f64 + 1.0 / window.iter().sum::<u64>() as f64;
            let critical = drift::critical(reference.len()).expect("few categories");
            assert_close(drift::psi(&reference, &window), real(&case, "psi_add_half"), &case);
            assert_close(chance * critical, real(&case, "psi_critical_99"), &case);
            assert_close(drift::g(&reference, &window), real(&case, "G"), &case);
            let of_values = drift::movement(Moves::Values, &reference, &window).expect("enough");
            let times = real(&case, "psi_add_half") / real(&case, "psi_critical_99");
            assert_close(of_values.times.powi(2), times, &case);
            assert_close(of_values.size, real(&case, "psi_add_half") - real(&case, "psi_bias"), &case);
            let of_categories = drift::movement(Moves::Categories, &reference, &window).expect("enough");
            assert_close(of_categories.times.powi(2), real(&case, "G") / critical, &case);
        }
    }

    fn table(case: &Value) -> Table {
        let [xc, nc, xs, ns] = ["xc", "nc", "xs", "ns"].map(|field| whole(case, field));
        Table::of((xc, nc), (xs, ns))
    }

    pub(super) fn one_tick() {
        for case in cases("more_often") {
            assert_close(more_often(&table(&case), real(&case, "r")), real(&case, "ln_increment"), &case);
        }
        for case in cases("beyond_margin") {
            let found = beyond_margin(&table(&case), real(&case, "r"), real(&case, "m"));
            assert_close(found, real(&case, "ln_increment"), &case);
        }
        for case in cases("beyond_bound") {
            let arm = Arm { events: whole(&case, "x"), units: whole(&case, "n") };
            let found = beyond_bound(&arm, real(&case, "q"), real(&case, "p0"));
            assert_close(found, real(&case, "ln_e"), &case);
        }
        for case in cases("split") {
            let (nc, n) = (whole(&case, "nc"), whole(&case, "N"));
            let found = split(nc, n, real(&case, "rho"), real(&case, "r"), real(&case, "m"));
            assert_close(found, real(&case, "ln_increment"), &case);
        }
    }

    pub(super) fn the_evidence_of_runs() {
        let runs = vectors("evidence")["runs"].as_array().expect("runs").clone();
        assert_eq!(runs.len(), 3);
        for run in runs {
            let mut evidence = Evidence::default();
            let expected = run["E"].as_array().expect("values");
            for ((tick, expected), t) in run["ticks"].as_array().expect("ticks").iter().zip(expected).zip(1..)
            {
                let count = |at: usize| tick[at].as_u64().expect("a count");
                evidence.add(t, comparison(&Table::of((count(0), count(1)), (count(2), count(3))), 1.0));
                assert_close(evidence.value(t), expected.as_f64().expect("a number"), tick);
            }
        }
    }

    pub(super) fn weights_of_the_onset() {
        for (part, weight) in [("onset", onset as fn(u64) -> f64), ("rest", rest)] {
            for (t, expected) in vectors("evidence")[part].as_object().expect("a map") {
                let found = weight(t.parse().expect("a tick"));
                assert!(
                    (found - expected.as_f64().expect("a number")).abs() < 1e-15,
                    "{part} of {t}: {found}"
                );
            }
        }
    }

    pub(super) fn points_above_stable() {
        for case in cases("within_points") {
            let [a, b, delta] = ["a", "b", "delta"].map(|field| real(&case, field));
            let null = promotion::nearest(&table(&case), a, b, delta);
            assert_close(null.0, real(&case, "a0"), &case);
            assert_close(null.1, real(&case, "b0"), &case);
            let found = promotion::within_points(&table(&case), a, b, delta);
            assert_close(found, real(&case, "ln_increment"), &case);
        }
    }

    pub(super) fn first_events_of_users() {
        for run in cases("first_events") {
            let mut evidence = Evidence::default();
            for (tick, t) in run.as_array().expect("ticks").iter().zip(1..) {
                let (share, expected) =
                    (tick[0].as_f64().expect("a share"), tick[3].as_f64().expect("a number"));
                let count = |at: usize| tick[at].as_u64().expect("a count");
                evidence.add(t, first_events(count(1), count(2), share, 1.0));
                assert_close(evidence.value(t), expected, tick);
            }
        }
    }

    pub(super) fn means_of_bounded_values() {
        for case in cases("mean") {
            let moments = |side: char| Moments {
                count: real(&case, &format!("n{side}")),
                sum: real(&case, &format!("S{side}")),
                squares: real(&case, &format!("Q{side}")),
            };
            let tick = Pair::new(moments('c'), moments('s'));
            let expected = Pair::new(real(&case, "mu_c"), real(&case, "mu_s"));
            let found = differs(tick, expected, real(&case, "lam"), Tolerated::Times(1.0), Direction::Up);
            assert_close(found, real(&case, "ln_increment"), &case);
        }
    }

    /// Users with one failure each: so many of them, none of whom has been there before.
    fn strangers(next: &mut u64, count: u64) -> Counts {
        let mut users = Users::default();
        for _ in 0..count {
            *next += 1 << 40;
            users.sample_mut(ERROR_RATE.id).expect("begun").note(UserHash(*next), 0);
        }
        let tallies = vec![(ERROR_RATE.id, Tally::Event(Arm::default()))];
        Counts { requests: count + 1, tallies, users: Some(Box::new(users)), ..Counts::default() }
    }

    pub(super) fn open_ticks_of_users() {
        let metrics = vec![Metric { name: ERROR_RATE.name.into(), ..Metric::default() }];
        let rules = Rules::new(&Analysis { metrics, ..Analysis::default() }, Unit::Users, 1, None);
        let mut judge = Judge::default();
        judge.redefine(&rules);
        let vectors = vectors("open_ticks_of_users");
        let rows = |part: &str| vectors[part].as_array().expect("rows").clone();
        let tick = |number: u64, row: &Value| {
            let count = |at: usize| row[at].as_u64().expect("a count");
            let pair = Pair { candidate: count(1), stable: count(2) };
            let tick = Tick { number, share: row[0].as_f64(), ..Tick::default() };
            (tick, pair, row[3].as_u64().unwrap_or_default())
        };
        for (row, number) in rows("closed").iter().zip(1..) {
            let (mut tick, Pair { candidate, stable: all }, _) = tick(number, row);
            let events = Pair::new(candidate, all - candidate);
            let events = vec![(FAILURES, First { events, spent: events, ..First::default() })];
            tick.counts.stable.requests = 1;
            let firsts = Firsts { events, ..Firsts::default() };
            judge.close_with(&tick, Some(&firsts), &rules, number + 1);
        }
        assert_close(judge.reading().all, real(&vectors, "e_closed"), &vectors);
        let mut next = 0;
        let mut open = Vec::new();
        let mut most = judge.reading().all;
        for ((row, expected), number) in rows("open").iter().zip(rows("e_low")).zip(4..) {
            let (mut tick, pair, pending) = tick(number, row);
            tick.counts = pair.map(|count| strangers(&mut next, count));
            tick.counts.stable.open = pending;
            open.push((tick, 0));
            // What is certain once stays certain.
            most = most.max(expected.as_f64().expect("a number"));
            assert_close(judge.at_least(&open, &rules).reading().all, most, row);
        }
    }
}
