use super::*;
use serde_json::json;

/// A rollout with which nothing is wrong.
fn good() -> Value {
    json!({
        "name": "recommender",
        "release": "2026-11-24.1",
        "match": {
            "authority": ["models.example.com"], "prefix": "/v2/models/recommender", "methods": ["POST"],
            "headers": [{"name": "x-tenant", "exact": "acme"}, {"name": "x-debug", "present": false}],
        },
        "versions": {
            "blue": {"cluster": "outbound|80||blue.models.svc.cluster.local"}, "green": {"cluster": "green"},
            "red": {"cluster": "red"},
        },
        "stable": "blue",
        "candidate": "green",
        "pin": "blue",
        "session_affinity": {"cookie": {"name": "uid", "ttl": "24h"}, "when_missing": "random"},
        "override": {"header": "x-changeover"},
        "weights": {"green": 5, "red": "1.25"},
        "version_header": {"request": true, "response": false},
        "labels": {"pipeline": "shop", "stage": "ranking"},
    })
}

/// A rollout with one field set to something else; `null` takes it away.
fn set(mut rollout: Value, field: &str, value: Value) -> Value {
    let (parent, last) = field.rsplit_once('/').expect("a pointer");
    let parent = rollout.pointer_mut(parent).expect("a place in the rollout");
    match (parent, value) {
        (Value::Object(map), Value::Null) => drop(map.remove(last)),
        (Value::Object(map), value) => drop(map.insert(last.into(), value)),
        (Value::Array(list), value) => list[last.parse::<usize>().expect("an index")] = value,
        _ => panic!("no place for {field}"),
    }
    rollout
}

fn take_away(rollout: &mut Value, field: &str) {
    rollout.as_object_mut().expect("a rollout").remove(field);
}

/// The good rollout with one field set to something else.
fn with(field: &str, value: Value) -> Value {
    set(good(), field, value)
}

fn problems_of(rollouts: &[Value]) -> Vec<String> {
    check(&json!({"rollouts": rollouts})).err().map(|problems| problems.lines().collect()).unwrap_or_default()
}

/// Such as a field whose own fields are commented out: it is neither the default nor absent.
#[test]
fn a_field_without_a_value_is_a_mistake_wherever_it_stands() {
    for field in
        ["analysis", "session_affinity", "weights", "mirror", "override", "payload", "drain", "labels"]
    {
        let mut rollout = good();
        rollout[field] = Value::Null;
        let problems = problems_of(&[rollout]);
        let place = format!("rollouts[0].{field}: found nothing (null), expected ");
        assert!(problems.iter().any(|problem| problem.starts_with(&place)), "{problems:?}");
    }
    let steps = json!([{"set_weight": 5}, {"pause": {"duration": null}}]);
    let problems = problems_of(&[set(with("/weights", Value::Null), "/steps", steps)]);
    assert_eq!(problems[0], "rollouts[0].steps[1].pause.duration: found nothing (null), expected a string");
}

#[test]
fn a_configuration_without_mistakes_is_taken() {
    assert_eq!(problems_of(&[good()]), [""; 0]);
    assert_eq!(problems_of(&[]), [""; 0]);
    let small = json!({"name": "a", "versions": {"b": {"cluster": "c"}}, "stable": "b"});
    assert_eq!(problems_of(&[small]), [""; 0]);
}

/// One line per rule: the field, what is put there, the message.
#[test]
fn every_mistake_is_reported_with_its_place_and_remedy() {
    let long = "x".repeat(64);
    let many_versions: Value = (0..17).map(|n| (format!("v{n}"), json!({"cluster": "c"}))).collect();
    let blue_green = json!({"active": "red"});
    let rows: Vec<(&str, Value, &str)> = vec![
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
        ("/match/prefix", json!("v2"), "match.prefix: \"v2\" does not start with \"/\""),
        (
            "/match/prefix",
            json!("/a?b"),
            "match.prefix: \"/a?b\" has a query or fragment; the path is compared without them",
        ),
        (
            "/match/path",
            json!("/a"),
            "match.path: expected at most one of prefix, path_separated_prefix, path",
        ),
        (
            "/match/path_separated_prefix",
            json!("/a"),
            "match.path_separated_prefix: expected at most one of prefix, path_separated_prefix, path",
        ),
        (
            "/match",
            json!({"path_separated_prefix": "/a/"}),
            "match.path_separated_prefix: \"/a/\" ends with \"/\"; omit it, the separator is implied",
        ),
        (
            "/match",
            json!({"query": [{"name": "q"}]}),
            "match.query[0]: expected exactly one of exact, prefix, present",
        ),
        ("/match", json!({"query": [{"exact": "q"}]}), "match.query[0].name: missing or empty"),
        ("/override", json!({}), "override: empty; expected at least one of header, query, cookie"),
        ("/override", json!({"cookie": "a b"}), "override.cookie: \"a b\" is not a valid name of a cookie"),
        (
            "/match/authority/0",
            json!("*.example.com"),
            "match.authority[0]: \"*.example.com\" is not a host name; expected one such as \"models.example.com\"",
        ),
        (
            "/match/methods/0",
            json!("post"),
            "match.methods[0]: \"post\" is not a method; expected one in capitals, such as \"POST\"",
        ),
        (
            "/match/headers/0",
            json!({"name": "x", "exact": "a", "prefix": "b"}),
            "match.headers[0]: expected exactly one of exact, prefix, present",
        ),
        (
            "/match/headers/0",
            json!({"name": ":path", "exact": "a"}),
            "match.headers[0].name: a pseudo-header; expected a header (match has authority, path and methods)",
        ),
        (
            "/match/headers/0",
            json!({"name": "Host", "exact": "a"}),
            "match.headers[0].name: the request's host, which is no header here; expected match.authority",
        ),
        (
            "/match/headers/0",
            json!({"name": "a b", "exact": "a"}),
            "match.headers[0].name: \"a b\" is not a valid name of a header",
        ),
        (
            "/match/headers",
            Value::from(vec![json!({"name": "x", "present": true}); 17]),
            "match.headers: 17 entries are over the limit of 16",
        ),
        (
            "/session_affinity",
            json!({}),
            "session_affinity: expected exactly one of header, cookie, query, source_ip",
        ),
        (
            "/session_affinity/header",
            json!("x-user"),
            "session_affinity: expected exactly one of header, cookie, query, source_ip",
        ),
        (
            "/session_affinity",
            json!({"source_ip": false}),
            "session_affinity.source_ip: found false, expected true (or leave the field out)",
        ),
        (
            "/session_affinity",
            json!({"header": "X-Changeover-Cluster"}),
            "session_affinity.header: a header the filter uses itself; expected another",
        ),
        (
            "/override/header",
            json!("x-changeover-version"),
            "override.header: a header the filter uses itself; expected another",
        ),
        (
            "/mirror",
            json!({"to": "green", "max_body": 1024}),
            "mirror.max_body: found the string \"1024\", expected a size such as 512B, 256KiB or 1MiB",
        ),
        (
            "/mirror",
            json!({"to": "green", "max_body": "65MiB"}),
            "mirror.max_body: 65MiB is over the limit of 64MiB",
        ),
        (
            "/session_affinity/cookie",
            json!({"ttl": "1h"}),
            "session_affinity.cookie.name: missing or empty; expected the name of a cookie",
        ),
        (
            "/session_affinity/cookie/ttl",
            json!("1 day"),
            "session_affinity.cookie.ttl: found the string \"1 day\", expected a duration such as 500ms, 30s, 10m or 1h30m",
        ),
        (
            "/session_affinity/cookie/ttl",
            json!(30),
            "session_affinity.cookie.ttl: found the string \"30\", expected a duration such as 500ms, 30s, 10m or 1h30m",
        ),
        (
            "/session_affinity/cookie/ttl",
            json!("500ms"),
            "session_affinity.cookie.ttl: expected whole seconds, at most 400 days (9600h): browsers keep none longer",
        ),
        (
            "/session_affinity/when_missing",
            json!("sometimes"),
            "session_affinity.when_missing: found \"sometimes\", expected one of: stable, random",
        ),
        (
            "/session_affinity/cookie",
            json!("uid"),
            "session_affinity.cookie: found the string \"uid\", expected a map with the fields name, ttl, same_site, domain, path, partitioned",
        ),
        (
            "/session_affinity/cookie",
            json!({"name": "uid", "same_site": "none"}),
            "session_affinity.cookie.same_site: without ttl the cookie is only read; expected a ttl beside it",
        ),
        (
            "/session_affinity/cookie",
            json!({"name": "uid", "ttl": "1h", "same_site": "None"}),
            "session_affinity.cookie.same_site: found \"None\", expected one of: lax, strict, none",
        ),
        (
            "/session_affinity/cookie",
            json!({"name": "uid", "ttl": "1h", "domain": "example.com; Secure"}),
            "session_affinity.cookie.domain: \"example.com; Secure\" is not a domain; expected one such as \"example.com\"",
        ),
        (
            "/session_affinity/cookie",
            json!({"name": "uid", "ttl": "1h", "path": "/a;b"}),
            "session_affinity.cookie.path: \"/a;b\" is not a path of a cookie; expected one such as \"/\", without `;`",
        ),
        (
            "/session_affinity/cookie",
            json!({"name": "uid", "ttl": "1h", "path": "/a\r\nx: y"}),
            "session_affinity.cookie.path: \"/a\\u{d}\\u{a}x: y\" holds a control character",
        ),
        (
            "/session_affinity/cookie",
            json!({"name": "__Host-uid", "ttl": "1h", "domain": "example.com"}),
            "session_affinity.cookie.domain: a cookie named __Host-… has none",
        ),
        (
            "/session_affinity/cookie",
            json!({"name": "__host-uid", "ttl": "1h", "path": "/v2"}),
            "session_affinity.cookie.path: a cookie named __Host-… has the path \"/\"",
        ),
        ("/override/header", json!(""), "override.header: missing or empty; expected the name of a header"),
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
            "/mirror",
            json!({"to": "green", "max_in_flight": 5}),
            "mirror.max_in_flight: needs `mode: compare`; in fire_and_forget it is Envoy that copies",
        ),
        (
            "/mirror",
            json!({"to": "green", "compare": {}}),
            "mirror.compare: needs `mode: compare`; in fire_and_forget it is Envoy that copies",
        ),
        (
            "/mirror",
            json!({"to": "green", "mode": "compare", "max_in_flight": 0}),
            "mirror.max_in_flight: expected 1 to 1024",
        ),
        (
            "/mirror",
            json!({"to": "green", "mode": "compare", "max_bytes": "100KiB"}),
            "mirror.max_body: 256KiB is over max_bytes (100KiB)",
        ),
        (
            "/mirror",
            json!({"to": "green", "mode": "compare", "max_bytes": "1024MiB"}),
            "mirror.max_bytes: 1024MiB is out of range; expected 1B to 256MiB",
        ),
        (
            "/mirror",
            json!({"to": "green", "mode": "compare", "timeout": "1ms"}),
            "mirror.timeout: expected a duration from 10ms to 5m",
        ),
        (
            "/mirror",
            json!({"to": "green", "mode": "compare", "set_headers": {"Host": "a"}}),
            "mirror.set_headers.Host: Envoy's own to set; expected another header",
        ),
        (
            "/mirror",
            json!({"to": "green", "mode": "compare", "remove_headers": ["x-a", "Content-Length"]}),
            "mirror.remove_headers[1]: Envoy's own to set; expected another header",
        ),
        (
            "/mirror",
            json!({"to": "green", "mode": "compare", "set_headers": {"x-a": "1"}, "remove_headers": ["X-A"]}),
            "mirror.remove_headers[0]: \"X-A\" is in set_headers; expected it in one of the two",
        ),
        (
            "/mirror",
            json!({"to": "green", "remove_headers": ["x-a"]}),
            "mirror.remove_headers: needs `mode: compare`; in fire_and_forget it is Envoy that copies",
        ),
        (
            "/mirror",
            json!({"to": "green", "mode": "compare", "compare": {"ignore": ["id"]}}),
            "mirror.compare.ignore[0]: \"id\" is not a JSON pointer; expected it to begin with `/`",
        ),
        (
            "/mirror",
            json!({"to": "green", "mode": "compare", "compare": {"label": "/a/*"}}),
            "mirror.compare.label: \"/a/*\" matches several places; expected one without `*`",
        ),
        (
            "/mirror",
            json!({"to": "green", "mode": "compare", "compare": {"tolerance": {"relative": 2}}}),
            "mirror.compare.tolerance.relative: 2 is out of range; expected 0 to 1",
        ),
        (
            "/labels/rollout",
            json!("a"),
            "labels.rollout: a label that the metrics already have; expected another name",
        ),
        ("/labels/stage", json!("a;b"), "labels.stage: \"a;b\" is empty or holds `;` or a control character"),
        ("/steps", json!([{"pause": {}}]), "steps: expected at most one of weights, steps, blue_green"),
    ];
    for (field, value, expected) in rows {
        assert_eq!(problems_of(&[with(field, value)]), [format!("rollouts[0].{expected}")]);
    }
    let mut flip = with("/weights", Value::Null);
    flip["blue_green"] = blue_green;
    assert_eq!(
        problems_of(&[flip.clone()]),
        ["rollouts[0].blue_green.active: \"red\" is neither stable (\"blue\") nor the candidate (\"green\")"]
    );
    flip["blue_green"] = json!({"active": "green"});
    take_away(&mut flip, "release");
    assert_eq!(problems_of(&[flip]), ["rollouts[0].release: missing; blue_green needs the release's name"]);
}

#[test]
fn labels_of_the_shipped_metrics_are_reserved() {
    let tags = include_str!("../../envoy/stats-tags.yaml").lines();
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

#[test]
fn a_deadline_may_be_an_hour() {
    let mut slow = with("/weights", Value::Null);
    slow["blue_green"] = json!({"bake": {"weight": "1", "duration": "1s"}});
    slow["analysis"] = json!({"deadline": "1h"});
    assert_eq!(problems_of(&[slow]), [""; 0]);
}

#[test]
fn mistakes_in_blue_green_are_reported_with_their_places() {
    let mut right = with("/weights", Value::Null);
    take_away(&mut right, "session_affinity");
    right["blue_green"] =
        json!({"bake": {"weight": "99.99", "duration": "1s"}, "auto_rollback_window": "1s"});
    right["analysis"] = json!({"progress_deadline": "5m"});
    assert_eq!(problems_of(std::slice::from_ref(&right)), [""; 0]);
    let mut finished = right.clone();
    take_away(&mut finished, "candidate");
    assert_eq!(problems_of(&[finished]), [""; 0], "a finished release may keep its bake");
    let rows = [
        ("bake", json!({"duration": "5s"}), "bake.weight: missing; expected a share in percent"),
        (
            "bake",
            json!({"weight": 0, "duration": "5s"}),
            "bake.weight: expected a share over 0 and under 100",
        ),
        (
            "bake",
            json!({"weight": 100, "duration": "5s"}),
            "bake.weight: expected a share over 0 and under 100",
        ),
        ("bake", json!({"weight": 5}), "bake.duration: missing; expected a duration, such as 5m"),
        ("bake", json!({"weight": 5, "duration": "999ms"}), "bake.duration: expected at least 1s"),
        (
            "bake",
            json!({"weight": 5, "duration": "5m"}),
            "bake.duration: 5m is not shorter than the progress_deadline of 5m: the step could never end",
        ),
        ("bake", json!({"wait": "5m"}), "bake.wait: unknown field; known here: weight, duration"),
        ("auto_rollback_window", json!("0s"), "auto_rollback_window: expected at least 1s"),
    ];
    for (field, value, expected) in rows {
        let mut wrong = right.clone();
        wrong["blue_green"][field] = value;
        assert_eq!(problems_of(&[wrong])[0], format!("rollouts[0].blue_green.{expected}"));
    }
    take_away(&mut right, "analysis");
    let unjudged = "nothing is judged without `analysis`; expected `analysis` beside it";
    assert_eq!(
        problems_of(&[right]),
        [
            format!("rollouts[0].blue_green.bake: {unjudged}"),
            format!("rollouts[0].blue_green.auto_rollback_window: {unjudged}"),
        ]
    );
}

/// A release that moves by itself, with which nothing is wrong.
fn moving() -> Value {
    json!({
        "name": "recommender", "release": "1", "stable": "blue", "candidate": "green",
        "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}, "red": {"cluster": "r"}},
        "mirror": {"to": "green"},
        "steps": [
            {"set_mirror": {"percent": 100}},
            {"pause": {"duration": "10m"}},
            {"set_weight": "5"},
            {"pause": {"duration": "10m", "min_requests": "2000"}},
            {"set_weight": {"green": 10, "red": 5.5}},
            {"pause": {}},
            {"set_weight": 94.5},
        ],
        "analysis": {
            "false_alarm": "0.01", "deadline": "5s", "error_when": {"status": ["5xx", 429], "grpc_status": [2, "4"]},
            "metrics": [
                {"name": "error_rate", "max": "0.02", "tolerate": 1.5},
                {"name": "latency", "tolerate": "1.19", "quantiles": [0.5, "0.9", 0.99]},
            ],
            "on_failure": "pause", "dry_run": true,
            "promote_when": {"no_worse_than": {"times": 2, "or_points": 1}, "confidence": "0.95"},
            "progress_deadline": "2h", "circuit_breaker": {"consecutive_errors": "20"},
        },
    })
}

#[test]
fn a_watch_after_the_last_step_needs_steps_and_analysis() {
    let watched = |without: &str| {
        let mut rollout = moving();
        rollout["auto_rollback_window"] = json!("10m");
        rollout.as_object_mut().unwrap().remove(without);
        problems_of(&[rollout])
    };
    assert_eq!(watched("nothing"), [""; 0]);
    assert_eq!(
        watched("steps"),
        [
            "rollouts[0].auto_rollback_window: without `steps` there is no last step to watch after; expected it beside `steps`, or in `blue_green`"
        ]
    );
    let unjudged = "rollouts[0].auto_rollback_window: nothing is judged without `analysis`; expected `analysis` beside it";
    assert!(watched("analysis").contains(&unjudged.to_owned()));
}

#[test]
fn mistakes_in_steps_and_analysis_are_reported_with_their_places() {
    assert_eq!(problems_of(&[moving()]), [""; 0]);
    let rows: Vec<(&str, Value, &str)> = vec![
        ("/steps", json!([]), "steps: empty; expected at least one step, such as `set_weight: 5`"),
        ("/steps", Value::from(vec![json!({"pause": {}}); 65]), "steps: 65 entries are over the limit of 64"),
        (
            "/steps/1",
            json!({}),
            "steps[1]: expected exactly one of set_weight, set_mirror, set_degree, pause, ready",
        ),
        (
            "/steps/1",
            json!({"pause": {}, "set_weight": 1}),
            "steps[1]: expected exactly one of set_weight, set_mirror, set_degree, pause, ready",
        ),
        (
            "/steps/1",
            json!({"ready": {"path": "v2/ready"}}),
            "steps[1].ready.path: \"v2/ready\" is not a path; expected one such as \"/v2/health/ready\"",
        ),
        (
            "/steps/1",
            json!({"ready": {"path": "/a b"}}),
            "steps[1].ready.path: \"/a b\" is not a path; expected one such as \"/v2/health/ready\"",
        ),
        (
            "/steps/1",
            json!({"ready": {}}),
            "steps[1].ready.path: \"\" is not a path; expected one such as \"/v2/health/ready\"",
        ),
        (
            "/steps/1",
            json!({"ready": {"path": "/", "authority": "bücher.example"}}),
            "steps[1].ready.authority: \"bücher.example\" is not a host name in ASCII",
        ),
        (
            "/steps/1",
            json!({"ready": {"path": "/", "expect": 503}}),
            "steps[1].ready.expect: expected a status from 200 to 499: Envoy itself answers 503 for a version that is not there",
        ),
        (
            "/steps/1",
            json!({"ready": {"path": "/", "successes": 0}}),
            "steps[1].ready.successes: expected 1 to 100",
        ),
        (
            "/steps/1",
            json!({"ready": {"path": "/", "timeout": "2d"}}),
            "steps[1].ready.timeout: found the string \"2d\", expected a duration such as 500ms, 30s, 10m or 1h30m",
        ),
        (
            "/steps/1",
            json!({"ready": {"path": "/", "timeout": "25h"}}),
            "steps[1].ready.timeout: expected a duration from 1s to 24h",
        ),
        ("/auto_rollback_window", json!("10ms"), "auto_rollback_window: expected at least 1s"),
        ("/drain", json!("25h"), "drain: expected at most 24h; 0s for never"),
        ("/steps/2/set_weight", json!(120), "steps[2].set_weight: 120 is over 100"),
        (
            "/steps/2/set_weight",
            json!(true),
            "steps[2].set_weight: found the boolean true, expected a share in percent, or a map of versions to shares",
        ),
        (
            "/steps/2/set_weight",
            json!("much"),
            "steps[2].set_weight: found the string \"much\", expected a share in percent, or a map of versions to shares",
        ),
        ("/steps/4/set_weight/green", json!(-1), "steps[4].set_weight.green: -1 is below 0"),
        (
            "/steps/4/set_weight/purple",
            json!(1),
            "steps[4].set_weight.purple: unknown version \"purple\"; known here: \"blue\", \"green\", \"red\"",
        ),
        (
            "/steps/4/set_weight/blue",
            json!(1),
            "steps[4].set_weight.blue: stable gets the rest; expected other versions only",
        ),
        ("/steps/6/set_weight", json!(95), "steps[6].set_weight: the sum 100.5 is over 100"),
        (
            "/steps/6/set_weight",
            json!(9),
            "steps[6].set_weight: 9 is below the 10 of an earlier step; expected weights that never decrease",
        ),
        (
            "/steps/0/set_mirror",
            json!({}),
            "steps[0].set_mirror.percent: missing; expected a share in percent",
        ),
        ("/mirror", Value::Null, "steps[0].set_mirror: the rollout has no `mirror` whose share it could set"),
        (
            "/steps/1/pause",
            json!({"duration": 10}),
            "steps[1].pause.duration: found the string \"10\", expected a duration such as 500ms, 30s, 10m or 1h30m",
        ),
        (
            "/steps/3/pause/duration",
            json!("2h"),
            "steps[3].pause.duration: 2h is not shorter than the progress_deadline of 2h: the step could never end",
        ),
        (
            "/steps/3/pause/min_requests",
            json!(1.5),
            "steps[3].pause.min_requests: 1.5 is not a whole number of at least 0",
        ),
        (
            "/analysis",
            Value::Null,
            "steps[3].pause.min_requests: without `analysis` no requests are judged; expected `analysis`, or no min_requests",
        ),
        (
            "/steps/3/pause/min_compared",
            json!(10),
            "steps[3].pause.min_compared: the mirror compares nothing; expected `mode: compare`",
        ),
        (
            "/steps/3/pause/min_agreement",
            json!(0.9),
            "steps[3].pause.min_agreement: the mirror compares nothing; expected `mode: compare`",
        ),
        (
            "/analysis/metrics/0",
            json!({"name": "mirror.disagreement", "max": 0.1}),
            "analysis.metrics[0].name: the mirror compares nothing; expected `mode: compare`",
        ),
        ("/release", Value::Null, "release: missing; steps needs the release's name"),
        (
            "/analysis/false_alarm",
            json!(0),
            "analysis.false_alarm: 0 is out of range; expected 0.000000001 to 0.5",
        ),
        (
            "/analysis/false_alarm",
            json!(1),
            "analysis.false_alarm: 1 is out of range; expected 0.000000001 to 0.5",
        ),
        ("/analysis/deadline", json!("2h"), "analysis.deadline: expected a duration from 100ms to 1h"),
        (
            "/analysis/error_when/status/0",
            json!("axx"),
            "analysis.error_when.status[0]: \"axx\" is not a status; expected one such as 503, or a class such as 5xx",
        ),
        (
            "/analysis/error_when/grpc_status/0",
            json!(0),
            "analysis.error_when.grpc_status[0]: 0 is not a gRPC error; expected 1 to 16",
        ),
        (
            "/analysis/metrics",
            json!([]),
            "analysis.metrics: empty; expected at least one metric, such as `{name: error_rate}`",
        ),
        (
            "/analysis/metrics/0/name",
            json!("errors"),
            "analysis.metrics[0].name: unknown metric \"errors\"; known here: \"error_rate\", \"latency\", \"unanswered\", \"client_error_rate\", \"output.null\", \"output.error_object\", \"output.unreadable\", \"output.label:<label>\", \"output.truncated\", \"output.length\", \"output.tokens\", \"output.value\", \"output.confidence\", \"latency.first_token\", \"latency.per_token\", \"input.missing:<field>\", \"input.length\", \"input.unseen:<field>\", \"mirror.disagreement\", \"feedback.<name>\"",
        ),
        (
            "/analysis/metrics/1",
            json!({"name": "error_rate"}),
            "analysis.metrics[1].name: \"error_rate\" is already the name of metrics[0]; expected a unique name",
        ),
        (
            "/analysis/metrics/0/tolerate",
            json!(0.5),
            "analysis.metrics[0].tolerate: 0.5 is out of range; expected 1 to 100",
        ),
        (
            "/analysis/metrics/0/max",
            json!(2),
            "analysis.metrics[0].max: 2 is out of range; expected 0.000001 to 0.999",
        ),
        (
            "/analysis/metrics/1/max",
            json!(0.5),
            "analysis.metrics[1].max: a bound of a rate; latency is not a rate",
        ),
        (
            "/analysis/metrics/0/quantiles",
            json!([0.5]),
            "analysis.metrics[0].quantiles: only durations have quantiles: latency, latency.first_token, latency.per_token",
        ),
        (
            "/analysis/metrics/1/quantiles",
            json!([0.9, 0.5]),
            "analysis.metrics[1].quantiles[1]: 0.5 is not above the previous one",
        ),
        (
            "/analysis/metrics/1/quantiles",
            json!([1.5]),
            "analysis.metrics[1].quantiles[0]: 1.5 is out of range; expected 0.01 to 0.9999",
        ),
        (
            "/analysis/on_failure",
            json!("rollback"),
            "analysis.on_failure: found \"rollback\", expected one of: abort, pause, alarm",
        ),
        (
            "/analysis/promote_when/confidence",
            json!(1),
            "analysis.promote_when.confidence: 1 is out of range; expected 0.5 to 0.999999",
        ),
        (
            "/analysis/promote_when/no_worse_than",
            json!({"times": 1, "or_points": 0}),
            "analysis.promote_when.no_worse_than: allows no difference, which no number of requests can prove; expected times over 1, or or_points over 0",
        ),
        ("/analysis/progress_deadline", json!("10ms"), "analysis.progress_deadline: expected at least 1s"),
        (
            "/analysis/circuit_breaker",
            json!({}),
            "analysis.circuit_breaker.consecutive_errors: missing or out of range; expected 2 to 10000",
        ),
        (
            "/analysis/circuit_breaker",
            json!({"consecutive_errors": 1}),
            "analysis.circuit_breaker.consecutive_errors: missing or out of range; expected 2 to 10000",
        ),
        (
            "/analysis/circuit_breaker",
            json!({"consecutive_errors": 10_001}),
            "analysis.circuit_breaker.consecutive_errors: missing or out of range; expected 2 to 10000",
        ),
        (
            "/analysis/circuit_breaker",
            json!({"consecutive_errors": 20, "errors": 20}),
            "analysis.circuit_breaker.errors: unknown field; known here: consecutive_errors",
        ),
        (
            "/analysis/alpha",
            json!(0.01),
            "analysis.alpha: unknown field; known here: false_alarm, deadline, error_when, metrics, on_failure, dry_run, promote_when, warm_up, no_data, progress_deadline, circuit_breaker",
        ),
    ];
    for (field, value, expected) in rows {
        let rollout = set(moving(), field, value);
        assert_eq!(problems_of(&[rollout]), [format!("rollouts[0].{expected}")], "{field}");
    }
}

#[test]
fn mistakes_in_several_places_are_reported_together() {
    let mut broken = with("/weights/green", json!(120));
    broken["stabel"] = json!("blue");
    broken["match"]["headers"][0]["exakt"] = json!("acme");
    broken["version_header"] = json!([]);
    broken["session_affinity"] = json!({"header": true});
    let second = json!({"name": "recommender", "versions": {"b": {"cluster": ""}}, "stable": "c"});
    assert_eq!(
        problems_of(&[broken, second]),
        [
            "rollouts[0].match.headers[0].exakt: unknown field; known here: name, exact, prefix, present",
            "rollouts[0].session_affinity.header: found the boolean true, expected a string: put it in quotes (YAML reads yes, no, on, off, y, n as booleans)",
            "rollouts[0].stabel: unknown field; known here: name, release, match, versions, stable, candidate, pin, session_affinity, override, weights, steps, auto_rollback_window, drain, blue_green, analysis, alarms, drift, mirror, payload, automation, feedback, receipt, server_load, trust_shadow_header, version_header, log, labels",
            "rollouts[0].version_header: found a list, expected a map with the fields request, response",
            "rollouts[0].weights.green: 120 is over 100",
            "rollouts[1].versions.b.cluster: missing or empty",
            "rollouts[1].name: \"recommender\" is already the name of rollouts[0]; expected a unique name",
        ]
    );
}

#[test]
fn the_document_itself_may_be_wrong() {
    let first = |document: Value| check(&document).unwrap_err().lines().collect::<Vec<_>>();
    assert_eq!(first(json!([])), ["the configuration is not a map; expected at least `rollouts: []`"; 1]);
    assert_eq!(first(json!({})), ["rollouts: missing; expected a list of rollouts (it may be empty)"]);
    assert_eq!(first(json!({"rollouts": {}})), ["rollouts: expected a list of rollouts"]);
    assert_eq!(
        first(json!({"rollouts": [], "tick": "1s"})),
        ["tick: unknown field; known here: rollouts, control, store, notify"]
    );
    let crowd: Vec<Value> = (0..4_097).map(|_| good()).collect();
    assert_eq!(problems_of(&crowd), ["rollouts: 4097 rollouts are over the limit of 4096"]);
}

#[test]
fn the_control_listener_has_a_configuration_of_its_own() {
    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for control in [
        json!({}),
        json!({"tokens": [{"name": "deploy", "sha256": DIGEST, "rights": "write"}]}),
        json!({"token_sha256": DIGEST, "hosts": ["control.example.com", "10.0.0.1:9911", "[2001:db8::1]"]}),
    ] {
        assert!(check(&json!({"control": control})).is_ok());
        assert!(check(&json!({"control": control, "rollouts": []})).is_ok());
    }
    let rows = [
        (
            json!(null),
            "control: found nothing (null), expected a map with the fields token_sha256, tokens, hosts",
        ),
        (json!({"token": "x"}), "control.token: unknown field; known here: token_sha256, tokens, hosts"),
        (
            json!({"token_sha256": "hunter2"}),
            "control.token_sha256: not a SHA-256; expected 64 hexadecimal digits, as sha256sum prints them",
        ),
        (
            json!({"token_sha256": 1.5}),
            "control.token_sha256: found the number 1.5, expected a string: put it in quotes",
        ),
        (
            json!({"hosts": ["*"]}),
            "control.hosts[0]: \"*\" is not a host name; expected one such as \"models.example.com\"",
        ),
        (
            json!({"tokens": [{"name": "A b", "sha256": DIGEST, "rights": "read"}]}),
            "control.tokens[0].name: \"A b\" is not a valid name; expected lower-case letters, digits and -",
        ),
        (
            json!({"tokens": [{"name": "a", "rights": "read"}]}),
            "control.tokens[0].sha256: missing; expected the token's SHA-256",
        ),
        (
            json!({"tokens": [{"name": "a", "sha256": "hunter2", "rights": "read"}]}),
            "control.tokens[0].sha256: not a SHA-256; expected 64 hexadecimal digits, as sha256sum prints them",
        ),
        (
            json!({"tokens": [{"name": "a", "sha256": DIGEST}]}),
            "control.tokens[0].rights: missing; expected read or write",
        ),
        (
            json!({"token_sha256": DIGEST, "tokens": [{"name": "a", "sha256": DIGEST, "rights": "write"}]}),
            "control.tokens[0].sha256: duplicate digest: each token needs its own",
        ),
        (
            json!({"tokens": [
                {"name": "a", "sha256": DIGEST, "rights": "write"},
                {"name": "a", "sha256": DIGEST.replace('e', "f"), "rights": "read"},
            ]}),
            "control.tokens[1].name: \"a\" is already the name of tokens[0]; expected a unique name",
        ),
        (json!({"hosts": vec!["a"; 17]}), "control.hosts: 17 entries are over the limit of 16"),
    ];
    for (control, message) in rows {
        let problems = check(&json!({"control": control})).unwrap_err();
        assert_eq!(problems.lines().collect::<Vec<_>>(), [message]);
    }
    let both = check(&json!({"control": {}, "rollouts": [good()]})).unwrap_err();
    assert_eq!(
        both.lines().collect::<Vec<_>>(),
        ["control: beside rollouts; expected it alone, in the filter of a listener of its own"]
    );
}

#[test]
fn thousands_of_mistakes_are_cut_short() {
    let wrong: Vec<Value> =
        (0..4_000).map(|_| json!({"name": 1.5, "versions": [], "x": 1, "y": 2})).collect();
    let problems = problems_of(&wrong);
    assert_eq!(problems.len(), 101);
    assert_eq!(problems.last().map(String::as_str), Some("and more: only the first 100 are shown"));
}

#[test]
fn the_hash_is_that_of_the_text_that_serde_json_writes() {
    let rollout = |name: &str| json!({"name": name, "stable": "blue", "versions": {"blue": {"cluster": "b"}}, "match": {"path": format!("/{name}")}});
    for document in [
        json!({"rollouts": []}),
        json!({"rollouts": [rollout("a")]}),
        json!({"rollouts": [rollout("a"), rollout("b"), rollout("c")]}),
        json!({"control": {}}),
    ] {
        let config = check(&document).expect("a valid configuration");
        let text = serde_json::to_vec(&config).expect("it serializes");
        assert_eq!(hash(&config), SipHasher24::new().hash(&text) & ((1 << 48) - 1), "{document}");
    }
}

#[test]
fn the_hash_depends_on_the_meaning_not_on_the_form() {
    let hash_of = |document: &Value| hash(&check(document).expect("a valid configuration"));
    let one = json!({"rollouts": [good()]});
    let mut same = one.clone();
    same["rollouts"][0]["weights"] = json!({"red": 1.25, "green": "5.0"});
    same["rollouts"][0]["candidate"] = json!("green");
    assert_eq!(hash_of(&one), hash_of(&same));
    let mut other = one.clone();
    other["rollouts"][0]["weights"]["green"] = json!(6);
    assert_ne!(hash_of(&one), hash_of(&other));
    assert!(hash_of(&one) < 1 << 48);
    let bytes = protobuf::tests::encode_struct(&one);
    assert_eq!(hash(&load(&bytes).expect("a valid configuration")), hash_of(&one));
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    /// Values that fit nowhere in particular.
    fn junk() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
            Just(json!([])),
            Just(json!({})),
            Just(json!([1, "a", {"b": null}])),
            Just(json!({"name": {"x": []}, "a.b[0]": 1, "": 2})),
        ]
    }

    fn places(value: &Value, at: String, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| places(value, format!("{at}/{key}"), out))
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(n, value)| places(value, format!("{at}/{n}"), out))
            }
            _ => {}
        }
        out.push(at);
    }

    proptest! {
        /// Whatever stands wherever: no panic, and a refusal names at least one field.
        #[test]
        fn junk_anywhere_is_refused_or_taken(which: prop::sample::Index, junk in junk()) {
            let mut document = json!({"rollouts": [good(), good()]});
            let mut all = Vec::new();
            places(&document, String::new(), &mut all);
            *document.pointer_mut(&all[which.index(all.len())]).expect("a place") = junk;
            if let Err(problems) = check(&document) {
                prop_assert!(problems.lines().count() > 0);
            }
        }
    }
}

#[test]
fn a_store_says_what_is_wrong_with_it() {
    let document = |store: Value| json!({"rollouts": [], "store": store});
    let config = check(&document(json!({"etcd": {"cluster": "etcd"}, "fleet": "shop-eu"})));
    let store = config.map_err(|problems| problems.lines().collect::<Vec<_>>()).unwrap().store.unwrap();
    assert_eq!((store.period.as_millis(), store.stale_after), (1_000, None));
    let wrong = |store: Value| {
        let problems = check(&document(store)).unwrap_err();
        problems.lines().collect::<Vec<_>>().join("\n")
    };
    let all = wrong(json!({"etcd": {}, "fleet": "Shop", "period": "100ms", "stale_after": "1s", "tls": {}}));
    for part in [
        "store.etcd.cluster: missing",
        "store.fleet: \"Shop\" is not a valid name",
        "store.period: 100ms is not from 1s to 60s",
        "store.stale_after: 1s is too short",
        "store.tls: unknown field",
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }
    let both = check(&json!({"control": {}, "store": {"etcd": {"cluster": "e"}, "fleet": "f"}}));
    assert!(both.is_err(), "beside control it does nothing");
}

/// A rollout that hears of its users, with which nothing is wrong.
fn with_feedback() -> Value {
    json!({
        "name": "search", "release": "1", "stable": "blue", "candidate": "green",
        "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
        "session_affinity": {"header": "x-user"},
        "feedback": [
            {
                "name": "click", "join": "user", "better": "more", "within": "30m",
                "match": {"path": "/v1/events", "methods": ["POST"], "body": {"/action_name": "click", "/place": 1}},
            },
            {"name": "complaint", "join": "user", "match": {"path": "/complaints"}},
            {
                "name": "rating", "join": "receipt", "match": {"path": "/v1/feedback"}, "receipt": "/receipt",
                "value": "/score", "bad_below": "0.5", "within": "1h",
            },
            {"name": "redo", "after": "same", "not_before": "3s", "within": "1m"},
        ],
        "receipt": {"response_header": "x-receipt", "ttl": "24h"},
        "analysis": {"metrics": [
            {"name": "error_rate"}, {"name": "feedback.click", "tolerate": "1.05"}, {"name": "feedback.complaint"},
        ]},
        "steps": [{"set_weight": 50}, {"pause": {}}],
    })
}

#[test]
fn mistakes_in_feedback_are_reported_with_their_places() {
    assert_eq!(problems_of(&[with_feedback()]), [""; 0]);
    let rows = [
        (
            "/feedback/0/name",
            json!("Click"),
            "feedback[0].name: \"Click\" is not a valid name; expected lower-case letters, digits and -",
        ),
        (
            "/feedback/1/name",
            json!("click"),
            "feedback[1].name: \"click\" is already the name of feedback[0]; expected a unique name",
        ),
        (
            "/feedback/0/match",
            json!({}),
            "feedback[0].match: empty; every request would be an event; expected at least a path",
        ),
        (
            "/feedback/0/match/body",
            json!({"action": "click"}),
            "feedback[0].match.body.action: \"action\" is not a JSON pointer; expected it to begin with `/`",
        ),
        (
            "/feedback/0/match/body",
            json!({"/a/*": "click"}),
            "feedback[0].match.body[\"/a/*\"]: matches several places; expected one without `*`",
        ),
        (
            "/feedback/0/match/body",
            json!({"/a": true}),
            "feedback[0].match.body[\"/a\"]: found the boolean true, expected a string: put it in quotes (YAML reads yes, no, on, off, y, n as booleans)",
        ),
        (
            "/feedback/0/join",
            Value::Null,
            "feedback[0].join: missing; expected user or receipt, or `after` in place of `match`",
        ),
        (
            "/feedback/0/join",
            json!("cookie"),
            "feedback[0].join: found \"cookie\", expected one of: user, receipt",
        ),
        ("/feedback/0/better", json!("up"), "feedback[0].better: found \"up\", expected one of: less, more"),
        ("/feedback/0/within", json!("25h"), "feedback[0].within: expected at most 24h"),
        (
            "/session_affinity",
            Value::Null,
            "feedback[0].join: no key names a user; expected `session_affinity` beside `feedback`",
        ),
        (
            "/receipt",
            Value::Null,
            "feedback[2].join: no answer carries a receipt; expected `receipt` beside `feedback`",
        ),
        (
            "/receipt/response_header",
            json!(":status"),
            "receipt.response_header: a pseudo-header; expected a header (match has authority, path and methods)",
        ),
        ("/receipt/ttl", json!("30s"), "receipt.ttl: expected a duration from 1m to 2160h (90 days)"),
        (
            "/receipt/ttl",
            json!("30m"),
            "feedback[2].within: longer than `receipt.ttl`, after which receipts are late",
        ),
        (
            "/receipt/header",
            json!("x-receipt"),
            "receipt.header: unknown field; known here: response_header, ttl",
        ),
        (
            "/feedback/0/receipt",
            json!("/receipt"),
            "feedback[0].receipt: with `join: user` no receipt is read; expected `join: receipt`",
        ),
        (
            "/feedback/2/receipt",
            json!("receipt"),
            "feedback[2].receipt: \"receipt\" is not a JSON pointer; expected it to begin with `/`",
        ),
        (
            "/feedback/2/receipt",
            json!({"header": "a b"}),
            "feedback[2].receipt.header: \"a b\" is not a valid name of a header",
        ),
        (
            "/feedback/2/value",
            json!("/scores/*"),
            "feedback[2].value: \"/scores/*\" matches several places; expected one without `*`",
        ),
        (
            "/feedback/2/value",
            Value::Null,
            "feedback[2].value: missing; expected a JSON pointer to the number that `bad_below` is about",
        ),
        (
            "/feedback/2/bad_below",
            Value::Null,
            "feedback[2].bad_below: missing; expected the number below which `value` is bad",
        ),
        ("/feedback/2/bad_below", json!("low"), "feedback[2].bad_below: "),
        (
            "/feedback/3/after",
            json!("other"),
            "feedback[3].after: found the string \"other\", expected same, or {rollout: …}",
        ),
        (
            "/feedback/3/after",
            json!({"rollout": "text"}),
            "feedback[3].after.rollout: unknown rollout \"text\"",
        ),
        (
            "/feedback/3/after",
            json!({"rollout": "search"}),
            "feedback[3].after.rollout: this rollout itself; expected `after: same`",
        ),
        (
            "/feedback/3/after",
            json!({"rollouts": "text"}),
            "feedback[3].after.rollouts: unknown field; known here: rollout",
        ),
        (
            "/feedback/3/match",
            json!({"path": "/x"}),
            "feedback[3].match: beside `after`, where a user's next request is the event; expected one of both",
        ),
        (
            "/feedback/3/join",
            json!("user"),
            "feedback[3].join: beside `after`, where a user's next request is the event; expected one of both",
        ),
        (
            "/feedback/3/not_before",
            json!("500ms"),
            "feedback[3].not_before: expected at least 1s: users are counted by the second",
        ),
        (
            "/feedback/3/not_before",
            json!("2m"),
            "feedback[3].not_before: longer than `within`, after which nothing counts",
        ),
        ("/feedback/3/within", json!("11m"), "feedback[3].within: with `after` expected at most 10m"),
        ("/feedback/0/not_before", json!("2s"), "feedback[0].not_before: needs `after` beside it"),
        (
            "/session_affinity",
            Value::Null,
            "feedback[3].after: no key names a user; expected `session_affinity` beside `feedback`",
        ),
        (
            "/analysis",
            Value::Null,
            "feedback[3].after: users are followed for `analysis`; expected it beside `feedback`, if only with `dry_run: true`",
        ),
        (
            "/feedback/2/better",
            json!("more"),
            "feedback[2].better: with `value` bad events are counted, of which fewer are better; expected `less`",
        ),
        (
            "/match",
            json!({"body": {"/a": "b"}}),
            "match.body: bodies are read of events alone; expected it in `feedback`",
        ),
        (
            "/analysis/metrics/1/name",
            json!("feedback.clicks"),
            "analysis.metrics[1].name: unknown rule \"clicks\"; known in `feedback`: \"click\", \"complaint\", \"rating\", \"redo\"",
        ),
        (
            "/analysis/metrics/1/direction",
            json!("down"),
            "analysis.metrics[1].direction: not allowed here: `better` in `feedback` sets the direction",
        ),
        (
            "/analysis/metrics/1/max",
            json!("0.5"),
            "analysis.metrics[1].max: not allowed here: feedback counts only users who act, so it has no rate to bound",
        ),
    ];
    for (field, value, expected) in rows {
        let problems = problems_of(&[set(with_feedback(), field, value)]);
        let expected = format!("rollouts[0].{expected}");
        assert!(problems.iter().any(|problem| problem.starts_with(&expected)), "{field}: {problems:#?}");
    }
    let mut alarmed = with_feedback();
    alarmed["alarms"] = json!([{"name": "clicks", "signal": "feedback.click", "max": 0.5, "window": "5m"}]);
    let problems = problems_of(&[alarmed]);
    let message = "feedback counts only users who act, so it has no rate; expected it in `analysis`";
    assert_eq!(problems, [format!("rollouts[0].alarms[0].signal: {message}")]);
    let mut people = with_people();
    people["feedback"] = json!([{"name": "click", "join": "user", "match": {"path": "/v1/events"}}]);
    people["receipt"] = json!({});
    let problems = problems_of(&[people]);
    for expected in ["feedback: beside `automation`", "receipt: beside `automation`"] {
        let expected = format!("rollouts[0].{expected}");
        assert!(problems.iter().any(|problem| problem.starts_with(&expected)), "{problems:#?}");
    }
}

/// A rollout with people, with which nothing is wrong.
fn with_people() -> Value {
    json!({
        "name": "claims", "release": "1", "stable": "people", "candidate": "model",
        "versions": {"people": {"cluster": "queue"}, "model": {"cluster": "m"}},
        "automation": {
            "degree": "human", "ask": {"timeout": "2s", "max_body": "1MiB"},
            "answer": {"label": "/outputs/0/data/0", "confidence": "/outputs/1/data/0"},
            "suggest": {"header": "x-suggestion"}, "receipt": {"header": "x-receipt", "ttl": "720h"},
            "decision": {
                "match": {"path": "/v1/decisions", "methods": ["POST"]},
                "receipt": "/task/changeover", "label": "/annotation/label",
            },
            "blind": 20, "partial": {"max_disagreement": "0.02", "confidence": 0.95, "min_coverage": 0.2},
            "audit": 5, "double": 0.5, "step_down": true,
        },
        "steps": [
            {"set_degree": "shadow"}, {"pause": {"min_decisions": 500, "min_agreement": 0.9}},
            {"set_degree": "assist"}, {"pause": {"min_decisions": 500}},
            {"set_degree": "partial"}, {"pause": {"min_coverage": 0.5}},
            {"set_degree": "full"},
        ],
    })
}

#[test]
fn mistakes_in_automation_are_reported_with_their_places() {
    assert_eq!(problems_of(&[with_people()]), [""; 0]);
    let beside =
        "beside `automation`, where the degree decides who answers; expected it in a rollout of its own";
    let rows: Vec<(&str, Value, String)> = vec![
        (
            "/automation/degree",
            json!("manual"),
            "automation.degree: found \"manual\", expected one of: human, shadow, assist, partial, full".into(),
        ),
        (
            "/candidate",
            Value::Null,
            "candidate: missing; with `automation` stable is people, and the candidate the model".into(),
        ),
        ("/analysis", json!({}), format!("analysis: {beside}")),
        ("/mirror", json!({"to": "model"}), format!("mirror: {beside}")),
        ("/payload", json!({"protocol": "openai"}), format!("payload: {beside}")),
        (
            "/pin",
            json!("model"),
            "pin: with `automation` a pin means people only; expected the stable version".into(),
        ),
        (
            "/steps/0",
            json!({"set_weight": 5}),
            "steps[0].set_weight: with `automation` the degree decides who answers; expected `set_degree`".into(),
        ),
        (
            "/automation/ask/timeout",
            json!("2m"),
            "automation.ask.timeout: expected a duration from 10ms to 1m".into(),
        ),
        (
            "/automation/ask/max_body",
            json!("17MiB"),
            "automation.ask.max_body: 17MiB is out of range; expected 1B to 16MiB".into(),
        ),
        (
            "/automation/answer/label",
            json!(""),
            "automation.answer.label: missing; expected a JSON pointer such as \"/label\"".into(),
        ),
        (
            "/automation/answer/label",
            json!("/a/*"),
            "automation.answer.label: \"/a/*\" matches several places; expected one without `*`".into(),
        ),
        (
            "/automation/receipt/header",
            json!("X-Suggestion"),
            "automation.receipt.header: the header of suggestions; expected another one".into(),
        ),
        (
            "/automation/receipt/ttl",
            json!("2161h"),
            "automation.receipt.ttl: expected a duration from 1m to 2160h (90 days)".into(),
        ),
        (
            "/automation/decision/match",
            json!({}),
            "automation.decision.match: empty; every request would be a decision; expected at least a path".into(),
        ),
        (
            "/match",
            json!({"path": "/v1/decisions", "methods": ["POST"], "headers": [{"name": "x-task", "present": true}]}),
            "automation.decision.match: covers the rollout's own `match`; every task would be a decision; expected a narrower one".into(),
        ),
        (
            "/automation/decision/receipt",
            json!(7),
            "automation.decision.receipt: found the number 7, expected a JSON pointer, or {header: …}".into(),
        ),
        (
            "/automation/partial",
            json!({}),
            "automation.partial: expected `max_disagreement`, or a fixed `threshold`, which is not proven".into(),
        ),
        (
            "/automation/audit",
            json!(0),
            "automation.step_down: nothing can be stepped down without `audit` and `partial.max_disagreement`; expected both, or `step_down: false`".into(),
        ),
        (
            "/automation/blind",
            json!(0),
            "steps[3].pause.min_decisions: people follow suggestions that they see, so agreement with those proves nothing; expected `blind` above 0".into(),
        ),
        (
            "/steps/0/set_degree",
            json!("human"),
            "steps[1].pause.min_decisions: in degree human the model is not asked; expected `set_degree: shadow` before it".into(),
        ),
        (
            "/steps/4/set_degree",
            json!("shadow"),
            "steps[4].set_degree: shadow is below assist of an earlier step; expected degrees that never fall".into(),
        ),
        (
            "/steps/1/pause/min_requests",
            json!(5),
            "steps[1].pause.min_requests: with `automation` decisions are counted; expected `min_decisions`".into(),
        ),
    ];
    for (field, value, expected) in rows {
        let problems = problems_of(&[set(with_people(), field, value)]);
        assert!(problems.contains(&format!("rollouts[0].{expected}")), "{field}: {problems:#?}");
    }
    let mut without = moving();
    without["steps"][1] = json!({"set_degree": "shadow"});
    without["steps"][3]["pause"]["min_decisions"] = json!(5);
    let none = "the rollout has no `automation`; expected `automation` beside `steps`";
    assert_eq!(
        problems_of(&[without]),
        [
            format!("rollouts[0].steps[1].set_degree: {none}"),
            format!("rollouts[0].steps[3].pause.min_decisions: {none}"),
        ]
    );
}

#[test]
fn a_rollout_with_people_is_one_envoys() {
    let config =
        json!({"store": {"etcd": {"cluster": "etcd"}, "fleet": "shop"}, "rollouts": [with_people()]});
    let problems: Vec<String> = check(&config).unwrap_err().lines().collect();
    assert_eq!(
        problems,
        [
            "rollouts[0].automation: beside `store`: decisions are counted by one Envoy; expected a filter without `store`, with a `vm_id` of its own, for this rollout"
        ]
    );
}

#[test]
fn feedback_that_one_envoy_keeps_to_itself_is_refused_beside_a_store() {
    let fleet = |rollout: Value| {
        let config = json!({"store": {"etcd": {"cluster": "etcd"}, "fleet": "shop"}, "rollouts": [rollout]});
        check(&config).err().map(|problems| problems.lines().collect::<Vec<String>>())
    };
    let after = "rollouts[0].feedback[3].after: beside `store`: users are followed by one Envoy; expected a filter without `store`, with a `vm_id` of its \
                 own, for this rollout";
    assert_eq!(fleet(with_feedback()), Some(vec![after.to_owned()]));
    let mut by_users = with_feedback();
    by_users["feedback"].as_array_mut().unwrap().remove(3);
    by_users["analysis"]["metrics"][1] = json!({"name": "feedback.rating"});
    assert_eq!(fleet(by_users.clone()), None, "users count once in the fleet");
    let mut by_answers = by_users;
    by_answers.as_object_mut().unwrap().remove("session_affinity");
    let rating = by_answers["feedback"][2].take();
    by_answers["feedback"] = json!([rating]);
    by_answers["analysis"]["metrics"] = json!([{"name": "error_rate"}, {"name": "feedback.rating"}]);
    assert_eq!(problems_of(&[by_answers.clone()]), [""; 0]);
    let answers = "rollouts[0].analysis.metrics[1].name: beside `store`: each Envoy remembers the receipts that came to it, so an \
                   answer could count at several; expected `session_affinity`, whose users count once, or a filter without `store`, \
                   with a `vm_id` of its own, for this rollout";
    assert_eq!(fleet(by_answers.clone()), Some(vec![answers.to_owned()]));
    by_answers["analysis"]["metrics"] = json!([{"name": "error_rate"}]);
    assert_eq!(fleet(by_answers), None, "what is counted and not judged");
}

#[test]
fn receivers_of_notifications_say_what_is_wrong_with_them() {
    let document = |notify: Value| json!({"rollouts": [], "notify": notify});
    let checked = |notify: Value| check(&document(notify));
    let config = checked(json!([{"name": "hooks", "cluster": "hooks", "path": "/in?key=1"}]));
    let config = config.map_err(|problems| problems.lines().collect::<Vec<_>>()).unwrap();
    let [receiver] = config.notify.as_slice() else { panic!("{:?}", config.notify) };
    assert_eq!((receiver.host(), receiver.timeout.as_millis(), &receiver.events), ("hooks", 5_000, &None));
    assert_ne!(hash(&config), hash(&check(&document(json!([]))).map_err(|_| ()).unwrap()));
    let wrong = |notify: Value| checked(notify).unwrap_err().lines().collect::<Vec<_>>();
    let mut problems = wrong(json!([
        {"name": "a", "cluster": "c", "path": "/", "events": ["rollback", "explode"], "timeout": "10ms"},
        {"name": "a", "path": "in", "authority": "a b", "events": []},
        {"name": "Hooks", "cluster": "c", "path": "/a b", "url": "/"},
    ]));
    let expected = [
        "notify[0].events[1]: found \"explode\", expected one of: start, step, succeed, rollback, abort, pause, resume, retry, alarm, clear, flip, change",
        "notify[0].timeout: 10ms is not from 100ms to 60s",
        "notify[1].authority: \"a b\" is not a host name; expected one such as \"models.example.com\"",
        "notify[1].cluster: missing or empty",
        "notify[1].events: empty; expected at least one event, or the field left out",
        "notify[1].name: \"a\" is already the name of notify[0]; expected a unique name",
        "notify[1].path: \"in\" is not the path of a request; expected one such as \"/hooks/changeover\"",
        "notify[2].name: \"Hooks\" is not a valid name; expected lower-case letters, digits and -",
        "notify[2].path: \"/a b\" is not the path of a request; expected one such as \"/hooks/changeover\"",
        "notify[2].url: unknown field; known here: name, cluster, path, authority, events, timeout",
    ];
    problems.sort();
    assert_eq!(problems, expected);
    assert_eq!(wrong(json!({})), ["notify: expected a list of receivers"]);
    let many: Vec<Value> =
        (0..17).map(|nth| json!({"name": format!("r{nth}"), "cluster": "c", "path": "/"})).collect();
    assert_eq!(wrong(json!(many)), ["notify: 17 entries are over the limit of 16"]);
    let beside = json!({"control": {}, "notify": [{"name": "a", "cluster": "c", "path": "/"}]});
    let problems: Vec<String> = check(&beside).unwrap_err().lines().collect();
    assert_eq!(problems, ["notify: beside control, where it does nothing; expected it beside rollouts"]);
}

#[test]
fn alarms_are_checked() {
    let alarm = |fields: &Value| {
        let mut alarm = json!({"name": "a", "signal": "error_rate", "max": 0.05});
        for (field, value) in fields.as_object().unwrap() {
            match value {
                Value::Null => drop(alarm.as_object_mut().unwrap().remove(field)),
                value => alarm[field] = value.clone(),
            }
        }
        alarm
    };
    let with = |alarms: Value| {
        let rollout = set(set(good(), "/analysis", json!({})), "/alarms", alarms);
        match check(&json!({"rollouts": [rollout]})) {
            Ok(_) => String::new(),
            Err(problems) => problems.lines().collect::<Vec<_>>().join("\n"),
        }
    };
    let good_ones = [
        json!({}),
        json!({"max": null, "min": 0.5}),
        json!({"max": null, "relative": {"times": 3}}),
        json!({"max": null, "relative": {"times": 0.5, "to": "past"}, "slow_window": "1h", "of": "stable"}),
        json!({"signal": "latency", "max": 250, "quantile": 0.9, "window": "30s", "slow_window": "24h", "of": "rollout"}),
        json!({"min_samples": 500, "action": "rollback"}),
    ];
    for fields in good_ones {
        assert_eq!(with(json!([alarm(&fields)])), "", "{fields}");
    }
    let rows = [
        (json!({"name": "A"}), "name: \"A\" is not a valid name"),
        (json!({"signal": "errors"}), "signal: unknown signal \"errors\"; known here: "),
        (json!({"signal": "output.null"}), "signal: output.null needs `payload`"),
        (json!({"signal": "mirror.disagreement"}), "signal: no answers are compared"),
        (json!({"max": null}), ": expected exactly one of max, min, relative"),
        (json!({"min": 0.5}), ": expected exactly one of max, min, relative"),
        (json!({"max": 1.5}), "max: 1.5 is out of range"),
        (json!({"quantile": 0.9}), "quantile: of durations; error_rate is none"),
        (json!({"window": "10s"}), "window: 10s is not whole seconds from 30s to 1h"),
        (json!({"window": "1m", "slow_window": "2m"}), "slow_window: 2m is too short"),
        (json!({"slow_window": "48h"}), "slow_window: 48h is not whole seconds up to 24h"),
        (
            json!({"max": null, "relative": {"times": 1}}),
            "relative.times: 1 is neither 1.05 to 100 nor 0.01 to 0.95",
        ),
        (
            json!({"max": null, "relative": {"times": 2}, "of": "stable"}),
            "of: only the candidate is compared with stable",
        ),
        (json!({"max": null, "relative": {"times": 2, "to": "past"}}), "slow_window: missing"),
        (json!({"min_samples": 5}), "min_samples: expected 10 to 100000000"),
        (json!({"action": "page"}), "action: found \"page\", expected one of: notify, pause, rollback"),
    ];
    for (fields, expected) in rows {
        let found = with(json!([alarm(&fields)]));
        assert!(
            found.contains(&format!(
                "rollouts[0].alarms[0]{}{expected}",
                if expected.starts_with(':') { "" } else { "." }
            )),
            "{fields}: {found}"
        );
    }
    assert!(with(json!([alarm(&json!({})), alarm(&json!({}))])).contains("is already the name of alarms[0]"));
    let unjudged = set(good(), "/alarms", json!([alarm(&json!({}))]));
    let problems = check(&json!({"rollouts": [unjudged]})).unwrap_err();
    assert!(
        problems
            .lines()
            .any(|line| line.contains("alarms: nothing is counted for alarms without `analysis`"))
    );
}

#[test]
fn what_drift_watches_is_checked() {
    let with = |drift: Value| {
        let rollout = set(set(good(), "/analysis", json!({})), "/drift", drift);
        match check(&json!({"rollouts": [rollout]})) {
            Ok(_) => String::new(),
            Err(problems) => problems.lines().collect::<Vec<_>>().join("\n"),
        }
    };
    assert_eq!(with(json!({"metrics": ["latency", "error_rate"], "reference": "168h"})), "");
    let many: Vec<String> = (0..9).map(|label| format!("output.label:{label}")).collect();
    let rows = [
        (json!({}), "drift.metrics: empty; expected at least one metric"),
        (json!({"metrics": many}), "drift.metrics: 9 of at most 8"),
        (json!({"metrics": ["latency", "latency"]}), "drift.metrics[1]: the same as metrics[0]"),
        (json!({"metrics": ["errors"]}), "drift.metrics[0]: unknown metric \"errors\"; known here: "),
        (json!({"metrics": ["output.label"]}), "drift.metrics[0]: output.label needs `payload`"),
        (json!({"metrics": ["mirror.disagreement"]}), "drift.metrics[0]: stable has no pairs"),
        (json!({"metrics": ["feedback.click"]}), "drift.metrics[0]: feedback counts only users who act"),
        (
            json!({"metrics": ["latency"], "reference": "9s"}),
            "drift.reference: 9s is not whole seconds from 10s to 168h",
        ),
        (json!({"metrics": ["latency"], "reference": "169h"}), "drift.reference: 169h is not"),
        (json!({"metrics": ["latency"], "reference": "10500ms"}), "drift.reference: 10500ms is not"),
        (json!({"metric": ["latency"]}), "drift.metric: unknown field"),
    ];
    for (drift, expected) in rows {
        let found = with(drift.clone());
        assert!(found.contains(&format!("rollouts[0].{expected}")), "{drift}: {found}");
    }
    let unjudged = set(good(), "/drift", json!({"metrics": ["latency"]}));
    let problems = check(&json!({"rollouts": [unjudged]})).unwrap_err();
    assert!(problems.lines().any(|line| line.contains("drift: nothing is counted without `analysis`")));
}
