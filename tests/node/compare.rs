//! The comparison of answers, against vectors that were computed by other software (scipy, sklearn).

super::everywhere! {
    labels_agree_more_than_by_chance
    pairs_against_pairs
    two_rates_by_diffys_rule
    numbers_within_a_tolerance
    ranked_lists
    texts
    a_pair_of_documents
}

mod run {
    use changeover::analysis::kernel::paired::{diffy, mcnemar};
    use changeover::compare::diff::Kind;
    use changeover::compare::label::{Confusion, Labels};
    use changeover::compare::number::Tolerance;
    use changeover::compare::settings::Settings;
    use changeover::compare::text::token_f1;
    use changeover::compare::{Answer, compare};
    use serde_json::Value;

    fn vectors(part: &str) -> Value {
        let all: Value =
            serde_json::from_str(include_str!("../fixtures/compare-vectors.json")).expect("JSON");
        all[part].clone()
    }

    fn cases(part: &str) -> Vec<Value> {
        vectors(part).as_array().expect("a list").clone()
    }

    fn real(case: &Value, field: &str) -> f64 {
        // JSON has no NaN.
        if case[field] == "NaN" { f64::NAN } else { case[field].as_f64().expect("a number") }
    }

    fn whole(case: &Value, field: &str) -> u64 {
        case[field].as_u64().expect("a count")
    }

    fn assert_close(found: f64, expected: f64, what: &Value) {
        let tolerance = 1e-11 * expected.abs().max(1.0);
        assert!((found - expected).abs() <= tolerance, "{found} instead of {expected}: {what}");
    }

    pub(super) fn labels_agree_more_than_by_chance() {
        for case in cases("cohen_kappa") {
            let mut confusion = Confusion::default();
            for (row, counts) in case["matrix"].as_array().expect("rows").iter().enumerate() {
                for (column, pairs) in counts.as_array().expect("columns").iter().enumerate() {
                    let pairs = pairs.as_f64().expect("a number") as u64;
                    confusion.count(&row.to_string(), &column.to_string(), row == column, pairs);
                }
            }
            let agreement = confusion.agreement().expect("pairs");
            assert_close(agreement.observed, real(&case, "agreement"), &case);
            assert_close(agreement.chance, real(&case, "chance"), &case);
            assert_close(agreement.kappa, real(&case, "kappa"), &case);
            assert_close(agreement.error, real(&case, "se_simple"), &case);
        }
    }

    pub(super) fn pairs_against_pairs() {
        for case in vectors("mcnemar_e")["cases"].as_array().expect("a list") {
            assert_close(mcnemar(whole(case, "b"), whole(case, "c")), real(case, "e").ln(), case);
        }
    }

    pub(super) fn two_rates_by_diffys_rule() {
        for case in cases("diffy") {
            let found = diffy(whole(&case, "raw"), whole(&case, "noise"), whole(&case, "total"));
            assert_close(found.relative, real(&case, "relative"), &case);
            assert_close(found.absolute, real(&case, "absolute"), &case);
            assert_eq!(found.is_reported, case["reported"] == true, "{case}");
        }
        let nothing = diffy(0, 0, 0);
        assert_eq!((nothing.relative, nothing.absolute, nothing.is_reported), (0.0, 0.0, false));
    }

    pub(super) fn numbers_within_a_tolerance() {
        for case in cases("numeric_tolerance") {
            let tolerance = Tolerance { relative: Some(real(&case, "rel")), absolute: real(&case, "abs") };
            let (a, b) = (real(&case, "a"), real(&case, "b"));
            assert_eq!(tolerance.allows(a, b), case["isclose"] == true, "{case}");
            assert_eq!(tolerance.allows(b, a), case["isclose"] == true, "{case}, the other way");
        }
    }

    pub(super) fn ranked_lists() {
        for case in cases("top_k") {
            let labels =
                Labels::new(Some(&case["a"]), Some(&case["b"]), &Tolerance::default()).expect("labels");
            assert_close(labels.overlap.expect("lists"), real(&case, "overlap_at_k"), &case);
            assert_eq!(labels.agree, case["top1"] == true, "{case}");
        }
    }

    pub(super) fn texts() {
        for case in cases("text") {
            let text = |field: &str| case[field].as_str().expect("a text").to_owned();
            assert_close(token_f1(&text("a"), &text("b")), real(&case, "token_f1"), &case);
        }
    }

    pub(super) fn a_pair_of_documents() {
        let answer = |body: &str| Answer {
            status: 200,
            content_type: b"application/json".to_vec(),
            body: body.as_bytes().to_vec(),
            ..Answer::default()
        };
        let (one, other) =
            (answer(r#"{"a": [1, 2.0, null], "b": 1}"#), answer(r#"{"a": [1.0, 3, 0], "c": 1}"#));
        let compared = compare(&Settings::default(), &one, &other);
        let places: Vec<_> = compared.found.places.iter().map(|place| (&*place.path, place.kind)).collect();
        let expected =
            [("/a/*", Kind::Value), ("/a/*", Kind::Null), ("/b", Kind::Missing), ("/c", Kind::Extra)];
        assert_eq!(places, expected);
    }
}
