//! The control listener among people who should not be there, and requests that should not be sent: the right
//! status, and nothing is changed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::control::{JSON, at_half, call, get, known, post};
use crate::harness::wait_for_event;
use crate::harness::*;

const TOKEN: &str = "the token of this test";
const DIGEST: &str = "8fa3240e2b35087c7af572fcba6867b1631d945676fdaab8072538a2e335df8c";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_the_token_reads_and_changes_nothing() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, at_half()).control_with_token(DIGEST).workers(2).start().await;
    let right = format!("Bearer {TOKEN}");
    let token: (&str, &[u8]) = ("authorization", right.as_bytes());
    let rollout = wait_for("the rollout", async || {
        let (status, rollout) = call(&envoy, "GET", "/v1/rollouts/digits", &[token], "").await;
        (status == 200).then_some(rollout)
    })
    .await;
    let long = [b"Bearer ", "x".repeat(50_000).as_bytes()].concat();
    let (longer, basic) = (format!("{right}2"), format!("Basic {TOKEN}"));
    let wrong: [&[u8]; 9] = [
        b"Bearer wrong",
        longer.as_bytes(),
        b"Bearer ",
        b"Bearer",
        basic.as_bytes(),
        TOKEN.as_bytes(),
        b"Bearer \xff\xfe",
        DIGEST.as_bytes(),
        &long,
    ];
    let headers = wrong.iter().map(|value| vec![JSON, ("authorization", *value)]).chain([vec![JSON]]);
    for headers in headers {
        for (method, path) in [
            ("GET", "/v1/rollouts"),
            ("GET", "/v1/rollouts/digits"),
            ("GET", "/v1/rollouts/digits/events"),
            // Whether there is one of that name is not revealed either.
            ("GET", "/v1/rollouts/none"),
            ("GET", "/none"),
            ("POST", "/v1/rollouts/digits/abort"),
            ("POST", "/v1/rollouts/digits/promote"),
            ("POST", "/v1/rollouts/digits/weight"),
            ("POST", "/v1/rollouts/digits/switch"),
            ("DELETE", "/v1/rollouts/digits"),
        ] {
            let (status, problem) = call(&envoy, method, path, &headers, "").await;
            assert_eq!((status, &problem["status"]), (401, &json!(401)), "{method} {path}: {problem}");
        }
        assert_eq!(call(&envoy, "GET", "/healthz", &headers, "").await.0, 200, "health is no secret");
    }
    let (_, now) = call(&envoy, "GET", "/v1/rollouts/digits", &[token], "").await;
    assert_eq!(now, rollout, "nothing was changed");
    let (status, aborted) = call(&envoy, "POST", "/v1/rollouts/digits/abort", &[JSON, token], "").await;
    assert_eq!((status, &aborted["phase"]), (200, &json!("aborted")));
    // The configuration that everybody may look at has the digest, and nowhere the token.
    let dump = envoy.admin("/config_dump").await;
    assert!(dump.contains(DIGEST) && !dump.contains(TOKEN), "{dump}");
}

/// The reason comes to one worker, and the events are shown by all of them and logged.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_logged_with_its_token_and_reason_and_a_token_to_read_commands_nothing() {
    let (blue, green) = blue_and_green().await;
    let tokens = json!({"tokens": [
        {"name": "deploy", "sha256": DIGEST, "rights": "write"},
        {"name": "dashboard", "sha256": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b", "rights": "read"},
    ]});
    let envoy = between(&blue, &green, at_half()).control_with(tokens).workers(2).start().await;
    let right = format!("Bearer {TOKEN}");
    let deploy: (&str, &[u8]) = ("authorization", right.as_bytes());
    let dashboard: (&str, &[u8]) = ("authorization", b"Bearer secret");
    let rollout = wait_for("the rollout", async || {
        let (status, rollout) = call(&envoy, "GET", "/v1/rollouts/digits", &[dashboard], "").await;
        (status == 200).then_some(rollout)
    })
    .await;
    let (abort, reason) = ("/v1/rollouts/digits/abort", r#"{"reason": "p99 has doubled \u00b7 #4711"}"#);
    let (status, problem) = call(&envoy, "POST", abort, &[JSON, dashboard], reason).await;
    assert_eq!(status, 403, "{problem}");
    let (_, now) = call(&envoy, "GET", "/v1/rollouts/digits", &[dashboard], "").await;
    assert_eq!(now["revision"], rollout["revision"], "nothing was changed");
    assert_eq!(call(&envoy, "POST", abort, &[JSON, deploy], reason).await.0, 200);
    let logged = wait_for_event(&envoy, "abort").await;
    let told = |event: &Value| [&event["actor"], &event["token"], &event["reason"]].map(Value::clone);
    let wanted = [json!("user"), json!("deploy"), json!("p99 has doubled \u{b7} #4711")];
    assert_eq!(told(&logged), wanted);
    for _ in 0..8 {
        let (_, journal) = call(&envoy, "GET", "/v1/rollouts/digits/events", &[dashboard], "").await;
        assert_eq!(told(&journal["events"][0]), wanted, "{journal}");
    }
}

/// A request as bytes, over a connection of its own: the status of the answer.
async fn raw(envoy: &Envoy, bytes: &[u8]) -> u16 {
    let answer = raw_exchange(envoy.address_of("changeover-control"), bytes).await;
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no answer to {:?}: {text}", String::from_utf8_lossy(bytes)))
}

/// The status that is right; method, path, headers and body.
type Row<'a> = (u16, &'a str, &'a str, Vec<(&'a str, &'a [u8])>, &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_request_is_explained_and_changes_nothing() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, at_half()).control().workers(2).start().await;
    let rollout = known(&envoy).await;
    let (promote, abort) = ("/v1/rollouts/digits/promote", "/v1/rollouts/digits/abort");
    let (weight, switch) = ("/v1/rollouts/digits/weight", "/v1/rollouts/digits/switch");
    let deep = "[".repeat(4_000);
    let long = "x".repeat(5_000);
    let evil = |origin: &'static [u8]| vec![JSON, ("origin", origin)];
    let typed = |content_type: &'static [u8]| vec![("content-type", content_type)];
    let plain = vec![JSON];
    let rows: Vec<Row<'_>> = vec![
        // Who asks.
        (403, "POST", abort, evil(b"http://evil.example.com"), ""),
        (403, "POST", abort, evil(b"null"), ""),
        (403, "POST", abort, evil(b""), ""),
        (403, "POST", abort, evil(b"http://localhost.evil.example.com"), ""),
        (403, "POST", abort, evil(b"http://localhost:3000"), ""),
        (403, "POST", abort, vec![JSON, (":authority", b"evil.example.com")], ""),
        (403, "GET", "/healthz", vec![(":authority", b"rebound.example.com:9911")], ""),
        (403, "GET", "/v1/rollouts", vec![(":authority", b"localhost.evil.example.com")], ""),
        // How.
        (405, "PUT", abort, plain.clone(), ""),
        (405, "PATCH", "/v1/rollouts/digits", plain.clone(), "{}"),
        (405, "DELETE", "/v1/rollouts/digits", plain.clone(), ""),
        (405, "POST", "/v1/rollouts", plain.clone(), "{}"),
        (405, "POST", "/v1/rollouts/digits/events", plain.clone(), "{}"),
        (405, "POST", "/healthz", plain.clone(), "{}"),
        (405, "GET", promote, plain.clone(), ""),
        (405, "OPTIONS", abort, evil(b"http://evil.example.com"), ""),
        // What it is in.
        (415, "POST", abort, vec![JSON, ("content-encoding", b"gzip")], ""),
        (415, "POST", abort, vec![], "{}"),
        (415, "POST", abort, typed(b"text/plain"), "{}"),
        (415, "POST", abort, typed(b"application/x-www-form-urlencoded"), "full=true"),
        (415, "POST", abort, typed(b"multipart/form-data; boundary=application/json"), "{}"),
        (415, "POST", abort, typed(b"text/plain; application/json"), "{}"),
        (415, "POST", abort, typed(b"application/jsonp"), "{}"),
        // What it says.
        (413, "POST", promote, plain.clone(), &long),
        (422, "POST", promote, plain.clone(), "{\"full\": 1}"),
        (422, "POST", promote, plain.clone(), "{\"full\": \"true\"}"),
        (422, "POST", promote, plain.clone(), "{\"full\": true, \"more\": 1}"),
        (422, "POST", promote, plain.clone(), "{\"FULL\": true}"),
        (422, "POST", promote, plain.clone(), "[]"),
        (422, "POST", promote, plain.clone(), "null"),
        (422, "POST", promote, plain.clone(), "true"),
        (422, "POST", promote, plain.clone(), "{"),
        (422, "POST", promote, plain.clone(), "{}{}"),
        (422, "POST", promote, plain.clone(), "\u{feff}{}"),
        (422, "POST", promote, plain.clone(), &deep),
        (422, "POST", abort, plain.clone(), "{\"full\": true}"),
        (422, "POST", abort, plain.clone(), "x"),
        (422, "POST", weight, plain.clone(), ""),
        (422, "POST", weight, plain.clone(), "{}"),
        (422, "POST", weight, plain.clone(), "{\"green\": \"10\"}"),
        (422, "POST", weight, plain.clone(), "{\"green\": -1}"),
        (422, "POST", weight, plain.clone(), "{\"green\": 1e400}"),
        (422, "POST", weight, plain.clone(), "{\"green\": 101}"),
        (422, "POST", weight, plain.clone(), "{\"purple\": 1}"),
        (422, "POST", switch, plain.clone(), "{}"),
        (422, "POST", switch, plain.clone(), "{\"active\": 1}"),
        (422, "POST", abort, plain.clone(), "{\"reason\": 1}"),
        (422, "POST", abort, plain.clone(), "{\"reason\": \"a\\nb\"}"),
        (422, "POST", abort, plain.clone(), "{\"reason\": \"a\", \"reason\": \"b\"}"),
        (422, "POST", "/v1/rollouts/digits/abort?force=1", plain.clone(), ""),
        (422, "GET", "/v1/rollouts/digits?x", plain.clone(), ""),
        (422, "GET", "/v1/rollouts?before=digits", plain.clone(), ""),
        (422, "GET", "/v1/rollouts?after=a&after=b", plain.clone(), ""),
        // About what.
        (404, "POST", "/v1/rollouts/other/abort", plain.clone(), ""),
        (404, "POST", "/v1/rollouts/digits/abort/", plain.clone(), ""),
        (405, "POST", "/v1/rollouts/digits%2Fabort", plain.clone(), ""),
        (404, "POST", "/v1/rollouts/%64igits/abort", plain.clone(), ""),
        (404, "POST", "/v1/rollouts//abort", plain.clone(), ""),
        (404, "POST", "//v1/rollouts/digits/abort", plain.clone(), ""),
        (404, "POST", "/V1/rollouts/digits/abort", plain.clone(), ""),
        (404, "POST", "/v1/rollouts/digits/abort;x=1", plain.clone(), ""),
        (404, "GET", "/v1/rollouts/", plain.clone(), ""),
        (404, "GET", "/v1/rollouts/../../healthz", plain.clone(), ""),
        (404, "GET", "/v1/rolloutsdigits", plain.clone(), ""),
        (404, "GET", "/index.html", plain.clone(), ""),
        (405, "POST", "/", plain.clone(), "{}"),
        // When.
        (412, "POST", abort, vec![JSON, ("if-match", b"\"0\"")], ""),
        (412, "POST", abort, vec![JSON, ("if-match", b"0")], ""),
        (412, "POST", abort, vec![JSON, ("if-match", b"\"99999999999999999999999\"")], ""),
        (412, "POST", abort, vec![JSON, ("if-match", b"W/\"1\"")], ""),
        (412, "POST", abort, vec![JSON, ("if-match", b"\xff")], ""),
        (409, "POST", "/v1/rollouts/digits/retry", plain.clone(), ""),
        (409, "POST", "/v1/rollouts/digits/resume", plain.clone(), ""),
        (409, "POST", switch, plain.clone(), "{\"active\": \"green\"}"),
    ];
    for (wanted, method, path, headers, body) in rows {
        let (status, problem) = call(&envoy, method, path, &headers, body).await;
        let body = body.get(..40).unwrap_or(body);
        assert_eq!(
            (status, &problem["status"], &problem["type"]),
            (wanted, &json!(wanted), &json!("about:blank")),
            "{method} {path} {headers:?} {body}: {problem}"
        );
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    }
    // What no library would send. Some of it Envoy turns away itself.
    let head =
        "POST /v1/rollouts/digits/abort HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(4_096));
    for (wanted, bytes) in [
        (vec![413], format!("{head}transfer-encoding: chunked\r\n\r\n{}", chunk.repeat(3)).into_bytes()),
        (vec![413], format!("{head}content-length: 10000000\r\n\r\n{}", " ".repeat(20_000)).into_bytes()),
        (vec![422], [head.as_bytes(), b"content-length: 4\r\n\r\n\xff\xfe\0{"].concat()),
        (vec![400, 422], format!("{head}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}").into_bytes()),
        (vec![400, 404], b"POST /v1/rollouts/\xff\xfe/abort HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()),
        (vec![400, 404], b"POST /v1/rollouts/digits\0/abort HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()),
        (
            vec![404],
            format!("GET /v1/rollouts/{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(50_000)).into(),
        ),
        (vec![400, 403], b"GET /v1/rollouts HTTP/1.1\r\nhost: localhost\xff\r\n\r\n".to_vec()),
        (
            vec![400, 403],
            b"GET /v1/rollouts HTTP/1.1\r\nhost: localhost\r\nhost: evil.example.com\r\n\r\n".to_vec(),
        ),
        (vec![403], b"GET http://evil.example.com/v1/rollouts HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()),
    ] {
        let status = raw(&envoy, &bytes).await;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        assert!(wanted.contains(&status), "{status} instead of {wanted:?}: {shown}");
    }
    assert_eq!(known(&envoy).await, rollout, "nothing was changed");
    // And it lives: what is right is done.
    let (status, body) = call(&envoy, "POST", promote, &[JSON], "{\"full\": false}").await;
    assert_eq!((status, &body["phase"]), (200, &json!("progressing")), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_and_fifty_rollouts_come_in_three_pages() {
    let (blue, green) = blue_and_green().await;
    let rollout = |n: usize| Config::blue_green(&format!("r{n}"), &format!("match: {{prefix: /m{n}/}}"));
    let all = (0..250).map(rollout).collect::<Vec<_>>().join(", ");
    let envoy =
        between(&blue, &green, Config::Struct(format!("{{rollouts: [{all}]}}"))).control().start().await;
    wait_for("the rollouts", async || {
        let (_, page) = get(&envoy, "/v1/rollouts?after=r98").await;
        page["rollouts"].as_array().is_some_and(|rollouts| !rollouts.is_empty()).then_some(())
    })
    .await;
    let (mut names, mut sizes, mut path) = (Vec::new(), Vec::new(), "/v1/rollouts".to_owned());
    loop {
        let (status, page) = get(&envoy, &path).await;
        assert_eq!(status, 200, "{path}");
        let rollouts = page["rollouts"].as_array().expect("rollouts");
        sizes.push(rollouts.len());
        names.extend(rollouts.iter().map(|rollout| rollout["name"].as_str().expect("a name").to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        assert_eq!(Some(next), names.last().map(String::as_str));
        path = format!("/v1/rollouts?after={next}");
    }
    assert_eq!(sizes, [100, 100, 50]);
    assert!(names.is_sorted());
    let expected: BTreeSet<String> = (0..250).map(|n| format!("r{n}")).collect();
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), expected, "each once");
    // Names that are not there are places in the order all the same.
    let (_, rest) = get(&envoy, "/v1/rollouts?after=r989").await;
    assert_eq!((&rest["rollouts"][0]["name"], &rest["next"]), (&json!("r99"), &Value::Null), "{rest}");
    let (_, none) = get(&envoy, "/v1/rollouts?after=zzz").await;
    assert_eq!(none, json!({"rollouts": [], "next": null}));
}

/// No request that is sent once an abort was answered reaches the candidate.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_aborts_under_load() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, at_half()).control().workers(4).start().await;
    known(&envoy).await;
    // When each was sent.
    let sent = Arc::new(Mutex::new(Vec::<(u64, Instant)>::new()));
    let noted = Arc::clone(&sent);
    let running = Load::to(envoy.address())
        .connections(16)
        .per_second(500.0)
        .each(move |number| {
            noted.lock().expect("no panic").push((number, Instant::now()));
            request("GET", "/", &[], "")
        })
        .start();
    let mut quiet = Vec::new();
    for round in 0..100 {
        let before = green.count();
        wait_for("the candidate", async || (green.count() > before + 3).then_some(())).await;
        let (status, rollout) = post(&envoy, "/v1/rollouts/digits/abort").await;
        let answered = Instant::now();
        assert_eq!((status, &rollout["phase"]), (200, &json!("aborted")), "round {round}: {rollout}");
        let from = running.sent();
        wait_for("some load", async || (running.sent() > from + 60).then_some(())).await;
        quiet.push((answered, running.sent()));
        assert_eq!(post(&envoy, "/v1/rollouts/digits/retry").await.0, 200);
    }
    let tally = running.stop().await;
    tally.assert_all_ok();
    assert_eq!((blue.count(), green.count()), (tally.from("blue"), tally.from("green")));
    let sent = sent.lock().expect("no panic");
    // Sent after the answer to an abort, and answered before the retry that came then.
    let is_in = |number: &u64, at: &Instant| {
        let mut quiet = quiet.iter();
        quiet.any(|(from, to)| at >= from && number < to && tally.answered_before[number] <= *to)
    };
    let in_quiet = sent.iter().filter(|(number, at)| tally.answers.contains_key(number) && is_in(number, at));
    let in_quiet: Vec<u64> = in_quiet.map(|(number, _)| *number).collect();
    assert!(in_quiet.len() >= 1_000, "{}", in_quiet.len());
    let late = in_quiet.iter().filter(|number| tally.answers[*number] == "green").count();
    assert_eq!(late, 0, "of {} requests after an answer went to the candidate", in_quiet.len());
}
