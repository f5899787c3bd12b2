use changeover::config::{self, schema::Config};
use changeover::rollout::program::Program;
use serde_json::json;

use super::*;

const CONFIG: &str = r#"{"rollouts": [{
    "name": "a", "release": "1", "stable": "blue", "candidate": "green",
    "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
    "steps": [{"set_weight": 50}, {"pause": {}}],
    "analysis": {"metrics": [{"name": "error_rate"}]}
}]}"#;

fn config(alarms: &str) -> Config {
    let mut document: serde_json::Value = serde_json::from_str(CONFIG).expect("JSON");
    if !alarms.is_empty() {
        document["rollouts"][0]["alarms"] = read_again(alarms);
    }
    checked(&document)
}

/// The alarms in what was printed.
fn read_again(alarms: &str) -> serde_json::Value {
    let alarms: serde_json::Value = serde_saphyr::from_str(alarms).expect("YAML");
    alarms["alarms"].clone()
}

fn checked(document: &serde_json::Value) -> Config {
    config::check(document).map_err(|problems| problems.lines().collect::<Vec<_>>()).expect("valid")
}

fn replay(config: &Config) -> Replay {
    Replay::new(Program::new(&config.rollouts[0])).expect("it is judged")
}

/// A second of 100 requests of each version, of which so many fail, and a half takes so many milliseconds.
fn line(tick: u64, (blue, green): (u64, u64), slow: f64) -> String {
    let version = |failed: u64| {
        format!(
            r#"{{"requests": 100, "events": {{"error_rate": {failed}}}, "latency_ms": [[26.91, 50], [{slow}, 50]]}}"#
        )
    };
    let (blue, green) = (version(blue), version(green));
    format!(
        r#"{{"tick": {tick}, "weights": {{"green": 50}}, "versions": {{"blue": {blue}, "green": {green}}}}}"#
    )
}

/// Half an hour in which stable fails now and then, and the candidate for two minutes.
fn recording() -> String {
    let failed = |tick: u64| (tick % 3, if (900..1_020).contains(&tick) { 30 } else { tick % 2 });
    (1..=1_800).map(|tick| line(tick, failed(tick), if tick % 7 == 0 { 64.0 } else { 32.0 }) + "\n").collect()
}

fn suggested(config: &Config, recording: &str) -> String {
    let mut replay = replay(config);
    let ticks = read(&mut replay, "f", recording.as_bytes()).expect("a good recording");
    let Suggested { text, is_raised } = suggest(&replay, &ticks);
    assert_eq!(is_raised, text.contains("#   raised by green"));
    text
}

/// A candidate at five percent, of which everything fails for half an hour.
#[test]
fn a_candidate_with_a_small_share_can_raise_what_is_proposed() {
    let line = |tick: u64, requests: u64| {
        let (blue, failed) = (100 - requests, u64::from(tick.is_multiple_of(3)));
        format!(
            r#"{{"tick": {tick}, "weights": {{"green": {requests}}}, "versions": {{
            "blue": {{"requests": {blue}, "events": {{"error_rate": {failed}}}}},
            "green": {{"requests": {requests}, "events": {{"error_rate": {requests}}}}}}}}}"#
        )
        .replace('\n', "")
            + "\n"
    };
    let recorded = |requests: u64| (1..=1_800).map(|tick| line(tick, requests)).collect::<String>();
    let found = suggested(&config(""), &recorded(5));
    assert!(found.contains("window: 1m, min_samples: 100}\n#   raised by green at tick "), "{found}");
    let found = suggested(&config(""), &recorded(0));
    let expected =
        "min_samples: 2000}\n#   green had at most 0 of 2000 observations in 1m: it could not raise it\n";
    assert!(found.contains(expected), "{found}");
}

#[test]
fn thresholds_lie_above_all_that_stable_did_and_find_what_the_candidate_did() {
    let found = suggested(&config(""), &recording());
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines[..2], ["# From 1800 recorded seconds with requests.", "alarms:"]);
    let errors =
        lines.iter().position(|line| line.starts_with("- {name: error-rate,")).expect("an alarm on errors");
    assert_eq!(lines[errors - 1], "# error_rate of blue in 1m: 0.01, from 0.0098 to 0.01");
    assert_eq!(
        lines[errors],
        "- {name: error-rate, signal: error_rate, max: 0.015, window: 1m, min_samples: 2000}"
    );
    assert!(lines[errors + 1].starts_with("#   raised by green at tick 90"), "{found}");
    assert!(lines[errors + 1].contains(", over at 10"), "{found}");
    assert_eq!(lines[errors + 2], "#   never raised by blue");
    let latency =
        lines.iter().find(|line| line.starts_with("- {name: latency,")).expect("an alarm on latency");
    assert!(latency.contains("signal: latency, max: 9") && !found.contains("unanswered: "), "{found}");
    assert!(lines.last().is_some_and(|line| line.starts_with("# Too little was observed of")), "{found}");
}

/// What is proposed is a valid part of the configuration, and does what was said of it.
#[test]
fn proposed_alarms_can_be_configured() {
    let found = suggested(&config(""), &recording());
    let with = config(&found);
    assert!(with.rollouts[0].alarms.len() >= 2, "{found}");
    let errors =
        with.rollouts[0].alarms.iter().find(|alarm| alarm.name == "error-rate").expect("it is there");
    assert_eq!((errors.max, errors.min_samples.get()), (Some(0.015), 2_000));
    // Beside those that are there already.
    let beside = suggested(&with, &recording());
    assert_eq!(
        beside,
        found.replace("name: error-rate", "name: error-rate-2").replace("name: latency", "name: latency-2")
    );
}

/// Labels are what a model says: each signal is read again as it was, and each alarm has a name of its own.
#[test]
fn suggested_alarms_can_be_configured_for_labels_of_any_name() {
    let labels =
        ["a: b", "a# b", "*x", "A\" \\ \u{e9}\u{2028}", "a, b}", "- x", "cat", "CAT", &"long".repeat(30)];
    let signals = labels.map(|label| format!("output.label:{label}"));
    let mut document: serde_json::Value = serde_json::from_str(CONFIG).expect("JSON");
    let rollout = &mut document["rollouts"][0];
    rollout["payload"] = json!({"protocol": "json", "output": {"value": "/label", "labels": labels}});
    let metric = |name: &String| json!({"name": name});
    rollout["analysis"]["metrics"] = json!(signals.iter().map(metric).collect::<Vec<_>>());
    rollout["alarms"] = json!([{"name": "output-label-cat", "signal": signals[6], "max": 0.9}]);
    let seen: serde_json::Map<_, _> = signals.iter().map(|name| (name.clone(), json!([20, 100]))).collect();
    let line = |tick: u64| {
        let version = json!({"requests": 100, "events": seen});
        let versions = json!({"blue": version, "green": version});
        json!({"tick": tick, "weights": {"green": 50}, "versions": versions}).to_string() + "\n"
    };
    let found = suggested(&checked(&document), &(1..=200).map(line).collect::<String>());
    let alarms = document["rollouts"][0]["alarms"].as_array_mut().expect("a list");
    alarms.extend(read_again(&found).as_array().expect("a list").clone());
    let with = checked(&document);
    let alarms = &with.rollouts[0].alarms;
    assert_eq!(alarms.len(), MOST_RULES, "{found}");
    assert!(found.ends_with("# 3 more are left out: a rollout has at most 16 alarms.\n"), "{found}");
    for signal in &signals[..7] {
        assert!(alarms.iter().any(|alarm| alarm.signal == *signal), "{signal} in {found}");
    }
}

/// Peaks of a minute that are usual: a threshold above them would find nothing.
#[test]
fn a_metric_that_moves_gets_a_slow_window_in_which_it_hardly_does() {
    let failed = |tick: u64| {
        let green = if (3_000..3_500).contains(&tick) { 10 } else { 1 };
        (if tick % 600 > 540 { 20 } else { 1 }, green)
    };
    let recording: String = (1..=3_600).map(|tick| line(tick, failed(tick), 32.0) + "\n").collect();
    let found = suggested(&config(""), &recording);
    let lines: Vec<&str> = found.lines().collect();
    let errors = lines.iter().position(|line| line.starts_with("- {name: error-rate,")).expect("an alarm");
    assert_eq!(
        lines[errors - 1],
        "# It moves by up to 20 times in 1m and 1.6 times in 15m: both must pass the threshold."
    );
    assert!(lines[errors].contains("max: 0.056, window: 1m, slow_window: 15m"), "{found}");
    assert!(lines[errors + 1].starts_with("#   raised by green at tick 3"), "{found}");
    assert_eq!(lines[errors + 2], "#   never raised by blue");
    let latency =
        lines.iter().find(|line| line.starts_with("- {name: latency,")).expect("an alarm on latency");
    assert!(!latency.contains("slow_window"), "it stands still: {found}");
    let short: String = recording.lines().take(800).map(|line| line.to_owned() + "\n").collect();
    assert!(suggested(&config(""), &short).contains("in 1m; a longer recording may show a slow window."));
}

#[test]
fn without_a_candidate_alarms_about_stable_are_proposed() {
    let mut document: serde_json::Value = serde_json::from_str(CONFIG).expect("JSON");
    let rollout = document["rollouts"][0].as_object_mut().expect("an object");
    for field in ["candidate", "steps"] {
        rollout.remove(field);
    }
    rollout.insert("drift".into(), json!({"metrics": ["error_rate"]}));
    let line = |tick: u64| {
        let version =
            json!({"requests": 100, "events": {"error_rate": if tick == 900 { 90 } else { tick % 3 }}});
        json!({"tick": tick, "weights": {}, "versions": {"blue": version}}).to_string() + "\n"
    };
    let found = suggested(&checked(&document), &(1..=1_800).map(line).collect::<String>());
    let expected = "- {name: error-rate, signal: error_rate, of: stable, max: 0.";
    assert!(found.contains(expected) && found.contains("#   never raised by blue\n"), "{found}");
    assert_eq!(found.matches("raised").count(), 1, "{found}");
    document["rollouts"][0]["alarms"] = read_again(&found);
    checked(&document);
}

#[test]
fn a_short_recording_proposes_nothing_and_says_so() {
    let recording: String = (1..=100).map(|tick| line(tick, (1, 1), 32.0) + "\n").collect();
    let found = suggested(&config(""), &recording);
    assert!(
        found.contains("alarms: []") && found.contains("# Too little was observed of error_rate, latency"),
        "{found}"
    );
}

#[test]
fn numbers_are_as_short_as_they_are_read() {
    assert_eq!([0.012_34, 0.0, 987.6, 1.0].map(significant), [0.012, 0.0, 990.0, 1.0]);
    assert_eq!([0, 7, 23, 999, 12_345].map(rounded_down), [0, 7, 20, 900, 10_000]);
}
