use changeover::analysis::tick::Tick;
use changeover::model::{Arm, Pair};
use changeover::signal::catalog;
use changeover::signal::histogram::{self, Histogram};
use changeover::signal::sums::{Fraction, Sums};
use changeover::signal::tally::{Counts, Tally};

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
mod recorded;

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
        assert!(!due, "there is no stable request to compare it with: {found}");
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
    assert_eq!(problem(&config, line), "f:1: versions.green.events.first_requests: expected [events, users]");
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
    assert!(!due, "its edge is placed by the first tick, in which no request is slower: {found}");
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
            "f:1: unknown field `sums`, expected one of `requests`, `open`, ",
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
    let nothing = "nothing to judge; expected a rollout with `analysis`, and with a candidate, or alarms or drift of stable";
    assert_eq!(choose(&unjudged, Some("a")), Err(nothing.into()));
    let finished = CONFIG.replace("  candidate: green\n  steps: [{set_weight: 5}, {pause: {}}]\n", "");
    assert_eq!(choose(&finished, None), Err(nothing.into()));
}

#[test]
fn an_alarm_about_stable_is_replayed_without_a_candidate() {
    let alarm = "  alarms: [{name: errors, signal: error_rate, of: stable, max: 0.2, window: 30s}]\n";
    let config = CONFIG.replace("  candidate: green\n  steps: [{set_weight: 5}, {pause: {}}]\n", alarm);
    let line = |number: u64| {
        format!(
            r#"{{"tick": {number}, "weights": {{}}, "versions": {{"blue": {{"requests": 100, "events": {{"error_rate": 50}}}}}}}}"#
        ) + "\n"
    };
    for affinity in ["", "  session_affinity: {header: x-user-id}\n"] {
        let config = config.replace("  analysis", &format!("{affinity}  analysis"));
        let recording: String = (1..=60).map(line).collect();
        let recording = match affinity {
            "" => recording,
            _ => recording.replace(
                r#""requests": 100, "#,
                r#""requests": 100, "of_requests": {"requests": 100, "events": {"error_rate": 50}}, "#,
            ),
        };
        let (found, due) = answers(&mut replay(&config), &recording);
        assert!(!due && found.contains("\"alarm\":\"errors\",\"raised\":true"), "{found}");
    }
}

/// What is judged of answers besides events: means and times to the first token.
const BY_TOKENS: &str =
    "{name: error_rate}, {name: output.tokens}, {name: latency.first_token, quantiles: [0.5]}";

fn by_tokens() -> String {
    CONFIG
        .replace("{name: error_rate}", BY_TOKENS)
        .replace("  steps", "  payload: {protocol: openai}\n  steps")
}

/// Answers of so many tokens, as the filter adds them up.
fn tokens(counts: impl IntoIterator<Item = u32>) -> Sums {
    let mut sums = Sums::default();
    for count in counts {
        sums.add(catalog::Scale::Logarithmic.fraction(f64::from(count)).unwrap());
    }
    sums
}

/// Sums as a recording has them.
fn recorded(sums: Sums) -> String {
    let one = f64::from(Fraction::ONE);
    format!("[{}, {}, {}]", sums.count, sums.sum() * one, sums.squares() * one * one)
}

#[test]
fn means_and_durations_of_a_recording_are_what_the_judge_has_seen() {
    let mut replay = replay(&by_tokens());
    let of_version = |requests: u64, sums: Sums, slow: u64| {
        let mut durations = Histogram::default();
        durations.add(histogram::bucket(3_900_000), requests - slow);
        durations.add(histogram::bucket(7_900_000), slow);
        let error_rate = Tally::Event(Arm { events: 1, units: requests });
        let tallies = vec![
            (catalog::ERROR_RATE.id, error_rate),
            (catalog::OUTPUT_TOKENS.id, Tally::Mean(sums)),
            (catalog::FIRST_TOKEN.id, Tally::Duration(durations.into())),
        ];
        let line = format!(
            r#"{{"requests": {requests}, "events": {{"error_rate": 1}}, "values": {{"output.tokens": {}}},
                "durations_ms": {{"latency.first_token": [[4, {}], [8, {slow}]]}}}}"#,
            recorded(sums),
            requests - slow
        );
        (Counts { requests, tallies, ..Counts::default() }, line)
    };
    let mut recording = String::new();
    let mut judge = Judge::default();
    judge.redefine(&replay.rules);
    judge.begin_step(&replay.rules, 1);
    for number in 1..=40 {
        let (blue, blues) = of_version(95, tokens((0..95).map(|n| 20 + n % 30)), 9);
        let (green, greens) = of_version(5, tokens((0..5).map(|n| 60 + 7 * n)), 1);
        let versions = format!(r#"{{"blue": {blues}, "green": {greens}}}"#).replace('\n', " ");
        let line = format!(r#"{{"tick": {number}, "weights": {{"green": 5}}, "versions": {versions}}}"#);
        let seen = Tick { number, share: Some(0.05), counts: Pair::new(green, blue), ..Tick::default() };
        let (tick, firsts, _) =
            recording::read(&line).and_then(|line| line.tick(&replay.program, &replay.rules)).unwrap();
        assert_eq!((tick.number, tick.share, firsts), (seen.number, seen.share, None));
        for (side, counts) in seen.counts.iter() {
            let found = |signal| tick.counts[side].tally(signal);
            assert!(counts.tallies.iter().all(|(signal, tally)| found(*signal) == Some(tally)), "{tick:?}");
        }
        judge.close_with(&seen, None, &replay.rules, number + 1);
        recording.push_str(&(line + "\n"));
    }
    let (found, due) = answers(&mut replay, &recording);
    assert!(due, "twice as many tokens: {found}");
    let last: Vec<&str> = found.lines().rev().take(4).collect();
    let reading = judge.reading();
    for (value, line) in reading.metrics.into_iter().chain([reading.all]).zip(last.into_iter().rev()) {
        assert!(line.contains(&format!("\"log10_e\":{:?},", logarithm(value))), "{value}: {line}");
    }
}

#[test]
fn first_observations_of_users_are_judged_by_their_sums() {
    let config = by_tokens().replace("output.tokens}", "output.tokens}, {name: output.null, max: 0.05}");
    let config = config.replace(", {name: latency.first_token, quantiles: [0.5]}", "");
    let config = config.replace("  steps", "  session_affinity: {header: x-user-id}\n  steps");
    let line = |number: u64, candidate: Sums, null: u64| {
        format!(
            r#"{{"tick": {number}, "weights": {{"green": 5}}, "versions": {{
            "blue": {{"requests": 95, "events": {{"error_rate": 0, "output.null": 0, "output.null.max": [0, 95]}}, "values": {{"output.tokens": {}}}}},
            "green": {{"requests": 5, "events": {{"error_rate": 0, "output.null": {null}, "output.null.max": [{null}, 5]}}, "values": {{"output.tokens": {}}}}}}}}}"#,
            recorded(tokens([20; 95])),
            recorded(candidate)
        )
        .replace('\n', " ")
            + "\n"
    };
    let run = |tokens_of_green: u32, null: u64| {
        let lines: String = (1..=60).map(|n| line(n, tokens([tokens_of_green; 5]), null)).collect();
        answers(&mut replay(&config), &lines)
    };
    let (found, due) = run(20, 0);
    assert!(!due, "{found}");
    let (found, due) = run(60, 0);
    assert!(due, "{found}");
    let last = |found: &str, metric: &str| {
        let of_metric = |line: &&str| line.contains(&format!("\"{metric}\""));
        found.lines().rfind(of_metric).unwrap().to_owned()
    };
    assert!(
        last(&found, "output.null.max").contains("\"log10_e\":-"),
        "no null is within the bound: {found}"
    );
    let (found, due) = run(20, 2);
    assert!(due && !last(&found, "output.null.max").contains("\"log10_e\":-"), "{found}");
}

#[test]
fn sums_that_no_values_have_are_a_mistake() {
    let good = r#"{"tick": 1, "weights": {"green": 5}, "versions": {"green": {"requests": 5, "events": {"error_rate": 0}, "values": {"output.tokens": [5, 65536, 65536]}}}}"#;
    let config = CONFIG.replace("{name: error_rate}", "{name: error_rate}, {name: output.tokens}");
    let config = config.replace("  steps", "  payload: {protocol: openai}\n  steps");
    assert_eq!(
        problem(&config, good),
        "f:1: versions.green.values.output.tokens: no values from 0 to 1 have this sum and sum of squares"
    );
    let second = good.replace("65536, 65536", "65536, 4294967296");
    let missing = second.replace(r#", "values": {"output.tokens": [5, 65536, 4294967296]}"#, "");
    let missing = missing.replace("\"tick\": 1", "\"tick\": 2");
    assert_eq!(
        problem(&config, &format!("{second}\n{missing}")),
        "f:2: versions.green.values: output.tokens is judged but missing"
    );
}
