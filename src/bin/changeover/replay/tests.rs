use super::*;
use crate::envoy::Findings;

const CONFIG: &str = "\
rollouts:
- name: a
  release: '1'
  versions: {blue: {cluster: b}, green: {cluster: g}, red: {cluster: r}}
  stable: blue
  candidate: green
  steps: [{set_weight: 5}, {pause: {}}]
  analysis: {metrics: [{name: error_rate}]}
";
const BY_LATENCY: &str = "{name: latency, or_milliseconds: 0, quantiles: [0.5], tolerate: 1}";

fn replay(config: &str) -> Replay {
    let mut findings = Findings::default();
    let configs = source::configurations("f", config, &mut findings);
    assert_eq!(findings.lines, [""; 0]);
    let rollouts: Vec<&Rollout> = configs.iter().flat_map(|config| &config.rollouts).collect();
    choose(&rollouts, None).expect("a rollout that is judged")
}

/// A tick of 95 + 5 requests in which the candidate fails so often.
fn tick(number: u64, failed: u64) -> String {
    format!(
        r#"{{"tick": {number}, "weights": {{"green": 5}}, "versions": {{
        "blue": {{"requests": 95, "events": {{"error_rate": 1, "output.null": 3}}}},
        "green": {{"requests": 5, "events": {{"error_rate": {failed}}}}}}}}}"#
    )
    .replace('\n', " ")
}

/// All answers and whether a rollback was due.
fn answers(replay: &mut Replay, recording: &str) -> (String, bool) {
    let mut answers = Vec::new();
    replay.all("f", recording.as_bytes(), &mut answers).expect("a good recording");
    (String::from_utf8(answers).unwrap(), replay.rollback_was_due)
}

fn problem(config: &str, recording: &str) -> String {
    replay(config).all("f", recording.as_bytes(), &mut Vec::new()).expect_err("a bad recording")
}

#[test]
fn the_example_answers_what_its_readme_says() {
    let mut replay = replay(include_str!("../../../../examples/replay/changeover.yaml"));
    let (answers, due) = answers(&mut replay, include_str!("../../../../examples/replay/ticks.jsonl"));
    let readme = include_str!("../../../../examples/replay/README.md");
    assert!(readme.contains(&format!("\n{answers}$ echo $?\n1\n")), "expected in the README:\n{answers}");
    assert!(due);
}

#[test]
fn each_tick_answers_a_line_for_each_metric_and_one_for_all() {
    let (found, due) = answers(&mut replay(CONFIG), &format!("{}\n\n{}\n", tick(7, 0), tick(9, 5)));
    assert_eq!(
        found,
        "{\"tick\":7,\"metric\":\"error_rate\",\"log10_e\":-0.0753,\"threshold\":2.0,\"verdict\":\"continue\"}\n\
         {\"tick\":7,\"metric\":\"all\",\"log10_e\":-0.0753,\"threshold\":2.0,\"verdict\":\"continue\"}\n\
         {\"tick\":9,\"metric\":\"error_rate\",\"log10_e\":4.7078,\"threshold\":2.0,\"verdict\":\"rollback\"}\n\
         {\"tick\":9,\"metric\":\"all\",\"log10_e\":4.7078,\"threshold\":2.0,\"verdict\":\"rollback\"}\n"
    );
    assert!(due);
    let (_, due) = answers(&mut replay(CONFIG), &tick(7, 0));
    assert!(!due);
}

#[test]
fn a_rollback_that_was_due_stays_due() {
    let recording: String =
        (1..400).map(|number| format!("{}\n", tick(number, if number < 3 { 5 } else { 0 }))).collect();
    let (found, due) = answers(&mut replay(CONFIG), &recording);
    assert!(due && found.ends_with("\"continue\"}\n"), "the evidence fades: {found}");
}

/// As the filter does after `set_weight: 100`, or a flip.
#[test]
fn a_candidate_that_is_alone_is_judged_by_its_bound() {
    let alone = |number| {
        format!(
            r#"{{"tick": {number}, "weights": {{"green": 100}}, "versions": {{"green": {{"requests": 100, "events": {{"error_rate": 60}}}}}}}}"#
        ) + "\n"
    };
    let recording: String = (1..=5).map(alone).collect();
    let of_all = |found: &str| -> Vec<String> {
        found.lines().filter(|line| line.contains("\"all\"")).map(ToOwned::to_owned).collect()
    };
    for affinity in ["", "  session_affinity: {header: x-user-id}\n"] {
        let config = CONFIG.replace("  steps", &format!("{affinity}  steps"));
        let (found, due) = answers(&mut replay(&config), &recording);
        assert!(!due, "there is nobody to compare it with: {found}");
        assert!(of_all(&found).iter().all(|line| line.contains("\"log10_e\":0.0,")), "{found}");
    }
    let bound = CONFIG.replace("{name: error_rate}", "{name: error_rate, max: 0.02}");
    let (found, due) = answers(&mut replay(&bound), &recording);
    assert!(due, "{found}");
    // Without the candidate nothing is.
    let (found, due) = answers(&mut replay(&bound), &recording.replace("green", "blue"));
    assert!(!due, "{found}");
}

/// The candidate is a shadow and serves nothing.
#[test]
fn pairs_of_answers_are_judged_while_the_candidate_serves_nothing() {
    let pairs = |number: u64| {
        format!(
            r#"{{"tick": {number}, "weights": {{"green": 0}}, "versions": {{"blue": {{"requests": 100, "events": {{"error_rate": 1}}}}, "green": {{"requests": 0, "events": {{"mirror.disagreement": [5, 50]}}}}}}}}"#
        ) + "\n"
    };
    let recording: String = (1..=6).map(pairs).collect();
    let mirror = "  mirror: {to: green, mode: compare}\n";
    let metrics = "{name: error_rate}, {name: mirror.disagreement, max: 0.02}";
    let config = CONFIG.replace("{name: error_rate}", metrics);
    for affinity in ["", "  session_affinity: {header: x-user-id}\n"] {
        let config = config.replace("  steps", &format!("{affinity}{mirror}  steps"));
        let (found, due) = answers(&mut replay(&config), &recording);
        assert!(due && found.contains("\"metric\":\"mirror.disagreement.max\""), "{found}");
        let (found, due) = answers(&mut replay(&config), &recording.replace("[5, 50]", "[1, 50]"));
        assert!(!due, "{found}");
    }
}

#[test]
fn promotion_is_a_verdict_only_where_it_is_configured() {
    let recording: String = (1..600).map(|number| format!("{}\n", tick(number, 0))).collect();
    let (found, _) = answers(&mut replay(CONFIG), &recording);
    assert!(!found.contains("promote"));
    let config = CONFIG.replace("error_rate}]", "error_rate}], promote_when: {}");
    let (found, due) = answers(&mut replay(&config), &recording);
    assert!(
        !due && found.contains("\"promote\"") && found.starts_with("{\"tick\":1,\"metric\":\"error_rate\"")
    );
    // Another weight is another step, which has to show it itself.
    let next = tick(600, 0).replace("\"green\": 5}", "\"green\": 5, \"red\": 1}");
    let (found, _) = answers(&mut replay(&config), &format!("{recording}{next}"));
    assert!(found.ends_with("\"continue\"}\n"));
}

/// With session affinity events are users', each counted the first time: the fixture has what comes of them.
#[test]
fn first_events_of_users_are_judged_by_the_known_share() {
    let config = CONFIG.replace("  steps", "  session_affinity: {header: x-user-id}\n  steps");
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/fixtures/judge-vectors.json")).unwrap();
    let run = vectors["first_events"][0].as_array().unwrap();
    assert_eq!(run[0][0], 0.05, "the share of the configuration");
    let count = |tick: &serde_json::Value, at: usize| tick[at].as_u64().unwrap();
    let line = |(number, tick): (usize, &serde_json::Value)| {
        let (candidate, all) = (count(tick, 1), count(tick, 2));
        format!(
            r#"{{"tick": {number}, "weights": {{"green": 5}}, "versions": {{"blue": {{"requests": 95, "events": {{"error_rate": {}}}}}, "green": {{"requests": 5, "events": {{"error_rate": {candidate}}}}}}}}}"#,
            all - candidate
        )
    };
    let recording: Vec<String> = run.iter().enumerate().map(line).collect();
    let (found, _) = answers(&mut replay(&config), &recording.join("\n"));
    let found: Vec<f64> = found
        .lines()
        .filter(|line| line.contains("\"all\""))
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["log10_e"].as_f64().unwrap())
        .collect();
    let expected: Vec<f64> = run.iter().map(|tick| logarithm(tick[3].as_f64().unwrap())).collect();
    assert_eq!(found, expected);

    let line = r#"{"tick": 1, "weights": {"green": 5}, "versions": {"green": {"requests": 5, "events": {"error_rate": 0, "first_requests": 3}}}}"#;
    assert_eq!(problem(&config, line), "f:1: versions.green.events.first_requests: expected [failed, users]");
    let config = config.replace("error_rate}", "latency}");
    let line = |events: &str| {
        format!(
            r#"{{"tick": 1, "weights": {{"green": 5}}, "versions": {{"green": {{"requests": 5, "events": {{{events}}}}}}}}}"#
        )
    };
    assert_eq!(
        problem(&config, &line(r#""latency:0.9": 1, "latency:0.99": 0"#)),
        "f:1: versions.green.events: latency:0.999 is judged but missing"
    );
    let all = r#""latency:0.9": 1, "latency:0.99": 0, "latency:0.999": 0"#;
    assert!(answers(&mut replay(&config), &line(all)).0.contains("\"latency\""));
    assert_eq!(
        problem(&config, &line(&format!(r#"{all}, "latency:0.5": 1"#))),
        "f:1: versions.green.events.latency:0.5: this quantile is not judged"
    );
}

/// A step's proof comes from first requests of its users.
#[test]
fn first_requests_of_users_may_prove_a_step() {
    let config = CONFIG
        .replace("  steps", "  session_affinity: {header: x-user-id}\n  steps")
        .replace("error_rate}]", "error_rate}], promote_when: {}");
    let line = |number: u64| {
        format!(
            r#"{{"tick": {number}, "weights": {{"green": 5}}, "versions": {{"blue": {{"requests": 95, "events": {{"error_rate": 0, "first_requests": [1, 95]}}}}, "green": {{"requests": 5, "events": {{"error_rate": 0, "first_requests": [0, 5]}}}}}}}}"#
        ) + "\n"
    };
    let recording: String = (1..600).map(line).collect();
    assert!(answers(&mut replay(&config), &recording).0.ends_with("\"promote\"}\n"));
}

#[test]
fn events_may_be_counted_among_other_units() {
    let of_requests = answers(&mut replay(CONFIG), &tick(1, 2)).0;
    let of_units = tick(1, 2).replace("\"requests\": 5", "\"requests\": 50").replace(": 2}", ": [2, 5]}");
    assert_eq!(answers(&mut replay(CONFIG), &of_units).0, of_requests);
}

#[test]
fn latency_is_judged_by_buckets() {
    let config = CONFIG.replace("{name: error_rate}", BY_LATENCY);
    let tick = |number: u64, green: &str| {
        format!(
            r#"{{"tick": {number}, "weights": {{"green": 20}}, "versions": {{"blue": {{"requests": 200, "latency_ms": [[4, 100], [4.76, 90], [null, 10]]}}, "green": {{"requests": 50, "latency_ms": {green}}}}}}}"#
        )
    };
    let (found, due) =
        answers(&mut replay(&config), &format!("{}\n{}\n", tick(1, "[[4.76, 50]]"), tick(2, "[[4, 50]]")));
    assert!(!due, "its edge is placed by the first tick, and there nobody is slower: {found}");
    let (found, due) =
        answers(&mut replay(&config), &format!("{}\n{}\n", tick(1, "[[4, 50]]"), tick(2, "[[5.66, 50]]")));
    assert!(due, "{found}");
    // Who has no time has not answered.
    let (found, due) =
        answers(&mut replay(&config), &format!("{}\n{}\n", tick(1, "[[4, 50]]"), tick(2, "[]")));
    assert!(due, "{found}");
}

#[test]
fn errors_name_file_line_and_field() {
    let good = tick(7, 0);
    let rows = [
        ("{", "f:1: EOF while parsing an object at column 1"),
        (
            &good.replace("\"tick\": 7", "\"tick\": -7"),
            "f:1: invalid value: integer `-7`, expected u64 at column 11",
        ),
        (
            &good.replace("\"requests\": 5,", "\"requests\": 5, \"sums\": {},"),
            "f:1: unknown field `sums`, expected one of `requests`, `events`, `latency_ms` at column ",
        ),
        (
            &good.replace("\"green\": 5", "\"grey\": 5"),
            "f:1: weights.grey: unknown version; known here: blue, green, red",
        ),
        (
            &good.replace("\"green\": {\"req", "\"grey\": {\"req"),
            "f:1: versions.grey: unknown version; known here: blue, green, red",
        ),
        (&good.replace("\"green\": 5", "\"green\": 60, \"red\": 50"), "f:1: weights: the sum is over 100"),
        (&good.replace("\"green\": 5", "\"green\": 500"), "f:1: 500 is over 100 at column "),
        (&tick(7, 6), "f:1: versions.green.events.error_rate: 6 is over the 5 it is counted among"),
        (
            &good.replace("\"error_rate\": 0", "\"error_rat\": 0"),
            "f:1: versions.green.events: error_rate is judged but missing",
        ),
        (
            &good.replace("\"error_rate\": 0", "\"error_rate\": [0]"),
            "f:1: expected a count, or [events, units] at column ",
        ),
        (&format!("{good}\n\n{good}"), "f:3: tick: 7 does not come after 7"),
    ];
    for (recording, expected) in rows {
        let found = problem(CONFIG, recording);
        assert!(found.starts_with(expected), "{found}");
    }
    let by_latency = CONFIG.replace("{name: error_rate}", BY_LATENCY);
    let rows = [
        ("", "f:1: versions.green.latency_ms is judged but missing"),
        (
            ", \"latency_ms\": [[4, 1], [5, 3]]",
            "f:1: versions.green.latency_ms[1]: 5 is not a bucket edge; the nearest is 4.76",
        ),
        (
            ", \"latency_ms\": [[0, 3]]",
            "f:1: versions.green.latency_ms[0]: 0 is not a bucket edge; the nearest is 1",
        ),
        (
            ", \"latency_ms\": [[4, 3], [null, 3]]",
            "f:1: versions.green.latency_ms: 6 answers are over the 5 requests",
        ),
    ];
    for (field, expected) in rows {
        let recording = good.replace("\"requests\": 5", &format!("\"requests\": 5{field}"));
        assert_eq!(problem(&by_latency, &recording), expected);
    }
}

#[test]
fn the_rollout_is_chosen_by_name_or_because_it_is_the_only_one() {
    let choose = |config: &str, name: Option<&str>| {
        let configs = source::configurations("f", config, &mut Findings::default());
        let rollouts: Vec<&Rollout> = configs.iter().flat_map(|config| &config.rollouts).collect();
        super::choose(&rollouts, name).map(|replay| replay.program.release)
    };
    let second = CONFIG.replace("rollouts:\n", "").replace("name: a", "name: b").replace("'1'", "'2'");
    let second = second.replace("  versions", "  match: {prefix: /b}\n  versions");
    let both = CONFIG.replace("rollouts:\n", &format!("rollouts:\n{second}"));
    assert_eq!(choose(CONFIG, None), Ok("1".into()));
    assert_eq!(choose(&both, Some("b")), Ok("2".into()));
    assert_eq!(
        choose(&both, None),
        Err("several rollouts are judged; expected --rollout with b or a".into())
    );
    assert_eq!(choose(&both, Some("c")), Err("no rollout has the name c".into()));
    let unjudged = CONFIG.replace("  analysis: {metrics: [{name: error_rate}]}\n", "");
    let nothing = "nothing to judge; expected a rollout with a candidate and `analysis`";
    assert_eq!(choose(&unjudged, Some("a")), Err(nothing.into()));
}
