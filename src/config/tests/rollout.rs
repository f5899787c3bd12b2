//! The fields that every rollout has.

use super::*;

#[test]
fn mistakes_in_a_rollouts_own_fields_are_reported_with_place_and_remedy() {
    let long = "x".repeat(64);
    let many_versions: Value = (0..17).map(|n| (format!("v{n}"), json!({"cluster": "c"}))).collect();
    assert_rows(
        &good(),
        &[
            ("/name", json!(null), "name: missing or empty; expected a name"),
            (
                "/name",
                json!("Reco"),
                "name: \"Reco\" is not a valid name; expected lower-case letters, digits and -",
            ),
            ("/name", json!(long), "name: 64 characters are over the limit of 63"),
            (
                "/name",
                json!(false),
                "name: found the boolean false, expected a string: put it in quotes (YAML reads yes, no, on, off, y, n as booleans)",
            ),
            ("/release", json!(""), "release: missing or empty"),
            ("/release", json!(1.5), "release: found the number 1.5, expected a string: put it in quotes"),
            ("/stable", json!(null), "stable: missing; expected the name of a version"),
            (
                "/stable",
                json!("purple"),
                "stable: unknown version \"purple\"; known here: \"blue\", \"green\", \"red\"",
            ),
            (
                "/candidate",
                json!("x"),
                "candidate: unknown version \"x\"; known here: \"blue\", \"green\", \"red\"",
            ),
            ("/pin", json!("x"), "pin: unknown version \"x\"; known here: \"blue\", \"green\", \"red\""),
            (
                "/versions",
                json!({}),
                "versions: empty; expected at least the stable version, such as `blue: {cluster: …}`",
            ),
            ("/versions", many_versions, "versions: 17 versions are over the limit of 16"),
            (
                "/versions/always",
                json!({"cluster": "c"}),
                "versions.always: reserved by the override header; expected another name",
            ),
            ("/versions/green", json!({}), "versions.green.cluster: missing or empty"),
            (
                "/versions/green/cluster",
                json!("a\nb"),
                "versions.green.cluster: \"a\\u{a}b\" holds a control character",
            ),
            (
                "/versions/green/cluster",
                json!(" a"),
                "versions.green.cluster: \" a\" starts or ends with a space",
            ),
            (
                "/versions/green/cluster",
                json!("c".repeat(1025)),
                "versions.green.cluster: 1025 bytes are over the limit of 1024",
            ),
            ("/weights/green", json!(120), "weights.green: 120 is over 100"),
            ("/weights/green", json!(-1), "weights.green: -1 is below 0"),
            ("/weights/green", json!("0.125"), "weights.green: 0.125 has more than two decimals"),
            ("/weights/green", json!("much"), "weights.green: found the string \"much\", expected a number"),
            ("/weights/green", json!(99), "weights: the sum 100.25 is over 100"),
            (
                "/weights/purple",
                json!(1),
                "weights.purple: unknown version \"purple\"; known here: \"blue\", \"green\", \"red\"",
            ),
            (
                "/weights/blue",
                json!(50),
                "weights.blue: with stable's share the sum is 56.25, not 100; leave it out: stable gets the rest",
            ),
            ("/blue_green", json!({}), "blue_green: expected at most one of weights, steps, blue_green"),
            (
                "/version_header/request",
                json!("true"),
                "version_header.request: found the string \"true\", expected true or false, without quotes",
            ),
            (
                "/labels/Stage",
                json!("a"),
                "labels.Stage: not a label name; expected lower-case letters, digits and _, at most 63, no digit first",
            ),
            (
                "/labels/rollout",
                json!("a"),
                "labels.rollout: a label that the metrics already have; expected another name",
            ),
            (
                "/labels/stage",
                json!("a;b"),
                "labels.stage: \"a;b\" is empty or holds `;` or a control character",
            ),
            ("/steps", json!([{"pause": {}}]), "steps: expected at most one of weights, steps, blue_green"),
        ],
    );
}

#[test]
fn labels_of_the_shipped_metrics_are_reserved() {
    let tags = include_str!("../../../envoy/stats-tags.yaml").lines();
    let names = tags.filter_map(|line| line.split_once("tag_name: ")?.1.split_once(','));
    let own: Vec<&str> =
        names.map(|(name, _)| name).filter(|name| !["pipeline", "stage"].contains(name)).collect();
    assert!(own.len() > 20, "{own:?}");
    for name in own.into_iter().chain(["le"]) {
        let found = problems_of(&[with("/labels", json!({name: "a"}))]);
        let expected = format!("labels.{name}: a label that the metrics already have; expected another name");
        assert!(found.iter().any(|problem| problem.ends_with(&expected)), "{name}: {found:?}");
    }
}
