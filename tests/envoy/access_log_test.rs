//! What the shipped access log and spans say of requests.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::*;

/// The lines of an access log, once there are that many.
async fn lines(file: &Path, count: usize) -> Vec<Value> {
    wait_for("the access log", async || {
        let text = std::fs::read_to_string(file).ok()?;
        let lines: Vec<&str> = text.lines().collect();
        let parse = |line: &&str| serde_json::from_str(line).expect("JSON");
        (lines.len() >= count).then(|| lines.iter().map(parse).collect())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_says_what_was_decided_and_by_what() {
    let (blue, green) = blue_and_green().await;
    let of = |name: &str, fields: &str| {
        Config::blue_green(name, &format!("match: {{path: /{name}}}, weights: {{green: 100}}, {fields}"))
    };
    let rollouts = [
        of("drawn", "log: true"),
        of("silent", "log: false"),
        of("sticky", "log: true, session_affinity: {header: x-user-id}"),
        of("asked", "log: true, override: {header: x-changeover}"),
        of("pinned", "log: true, pin: blue"),
        of("spaced", "log: true").replace("release: \"1\"", "release: 'the \"first\" = 1'"),
    ];
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("access.log");
    let config = Config::Struct(format!("{{rollouts: [{}]}}", rollouts.join(", ")));
    let envoy = between(&blue, &green, config).access_log(&file).start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    for (path, headers) in [
        ("/drawn?user=secret", vec![]),
        ("/silent", vec![]),
        ("/sticky", vec![("x-user-id", &b"u1"[..])]),
        ("/sticky", vec![]),
        ("/asked", vec![("x-changeover", &b"never"[..])]),
        ("/asked", vec![]),
        ("/pinned", vec![]),
        ("/spaced", vec![]),
        ("/none", vec![]),
    ] {
        connection.send(request("GET", path, &headers, "")).await.expect("an answer");
    }
    let entry = |rollout: &str, version: &str, by: &str| {
        json!(format!("rollout={rollout} release=1 attempt=1 version={version} by={by}"))
    };
    let wanted = [
        ("/drawn", "green", entry("drawn", "green", "weight")),
        ("/silent", "green", Value::Null),
        ("/sticky", "green", entry("sticky", "green", "affinity")),
        ("/sticky", "blue", entry("sticky", "blue", "affinity")),
        ("/asked", "blue", entry("asked", "blue", "override")),
        ("/asked", "green", entry("asked", "green", "weight")),
        ("/pinned", "blue", entry("pinned", "blue", "pin")),
        (
            "/spaced",
            "green",
            json!(r#"rollout=spaced release="the \"first\" = 1" attempt=1 version=green by=weight"#),
        ),
        ("/none", "blue", Value::Null),
    ];
    let seen = lines(&file, wanted.len()).await;
    let seen: Vec<_> = seen
        .iter()
        .map(|line| (line["path"].clone(), line["cluster"].clone(), line["changeover"].clone()))
        .collect();
    assert_eq!(seen, wanted.map(|(path, cluster, entry)| (json!(path), json!(cluster), entry)));
}

/// Envoy has a line for each pass of a request that it redirects internally.
#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_follows_attempts_and_redirects() {
    let (blue, green) = blue_and_green().await;
    let of = |name: &str| {
        Config::blue_green(
            name,
            &format!("match: {{path: /{name}}}, log: true, steps: [{{set_weight: 100}}, {{pause: {{}}}}]"),
        )
    };
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("access.log");
    let config = Config::Struct(format!("{{rollouts: [{}, {}]}}", of("a"), of("b")));
    let setup = between(&blue, &green, config).access_log(&file).control();
    let redirects = setup.edit_routes(|routes| {
        for route in routes {
            route["route"]["internal_redirect_policy"] = json!({"max_internal_redirects": 1});
        }
    });
    let envoy = redirects.start().await;
    wait_for("the rollout", async || (control::get(&envoy, "/v1/rollouts/b").await.0 == 200).then_some(()))
        .await;
    assert_eq!(control::post(&envoy, "/v1/rollouts/b/abort").await.0, 200);
    assert_eq!(control::post(&envoy, "/v1/rollouts/b/retry").await.0, 200);
    get(envoy.address(), "/b").await.expect("an answer");
    green.set(Behaviour::Redirect(vec![("location", "http://models.example.com/b")]));
    get(envoy.address(), "/a").await.expect("an answer");
    let seen = lines(&file, 3).await;
    let entries: Vec<&Value> = seen.iter().map(|line| &line["changeover"]).collect();
    let of_a = "rollout=a release=1 attempt=1 version=green by=weight";
    let of_b = "rollout=b release=1 attempt=2 version=green by=weight";
    assert_eq!(entries, [of_b, of_a, of_b], "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_tag_says_the_same() {
    let (blue, green) = blue_and_green().await;
    let collector = Upstream::start("collector").await;
    let config = Config::rollout("weights: {green: 100}, log: true");
    let clusters = [("blue", blue.address()), ("green", green.address()), ("collector", collector.address())];
    let tracing = json!({
        "provider": {"name": "envoy.tracers.zipkin", "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
            "collector_cluster": "collector",
            "collector_endpoint": "/api/v2/spans",
            "collector_endpoint_version": "HTTP_JSON",
        }},
        "custom_tags": [{"tag": "changeover", "value": "%FILTER_STATE(wasm.changeover:PLAIN)%"}],
    });
    let setup = Setup::shipped(config).clusters(&clusters);
    let envoy = setup.edit_hcm(|hcm| hcm["tracing"] = tracing).start().await;
    get(envoy.address(), "/").await.expect("an answer");
    let spans = wait_for("a span", async || collector.take_seen().pop()).await;
    let spans: Value = serde_json::from_slice(&spans.body).expect("JSON");
    assert_eq!(
        spans[0]["tags"]["changeover"], "rollout=digits release=1 attempt=1 version=green by=weight",
        "{spans}"
    );
}
