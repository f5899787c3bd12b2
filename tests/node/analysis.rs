//! The judge's formulas, against vectors that were computed by other software (scipy, exact enumeration).

super::everywhere! {
    one_tick
    the_evidence_of_runs
    weights_of_the_onset
    points_above_stable
}

mod run {
    use changeover::analysis::evidence::{Evidence, comparison, onset, rest};
    use changeover::analysis::kernel::{Arm, Table, beyond_bound, beyond_margin, more_often, split};
    use changeover::analysis::promotion;
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

    fn table(case: &Value) -> Table {
        let [xc, nc, xs, ns] = ["xc", "nc", "xs", "ns"].map(|field| whole(case, field));
        Table::new((xc, nc), (xs, ns))
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
            let arm = Arm { events: whole(&case, "x"), requests: whole(&case, "n") };
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
                evidence.add(t, comparison(&Table::new((count(0), count(1)), (count(2), count(3))), 1.0));
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
}
