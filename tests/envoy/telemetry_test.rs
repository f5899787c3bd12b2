//! What `/stats/prometheus` says is what clients and upstreams saw.

use std::collections::BTreeSet;

use crate::harness::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn sums_equal_what_was_sent_and_received() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::Status(503));
    let config = Config::rollout("weights: {green: 30}, labels: {pipeline: shop, stage: ranking}");
    let envoy = between(&blue, &green, config).workers(4).start().await;
    let load = Load::to(envoy.address())
        .each(|number| request("POST", "/", &[], vec![b'x'; (number % 10) as usize * 100]));
    let tally = load.send(5_000).await;
    assert_eq!((tally.total(), tally.errors.len()), (5_000, 0));
    assert_eq!(tally.by_status[&503], green.count());

    // Histograms come with the next flush.
    let metrics = wait_for("all histograms", async || {
        let metrics = envoy.metrics().await;
        (metrics.sum("changeover_request_bytes_count", &[]) == 5_000.0).then_some(metrics)
    })
    .await;
    let both = [("pipeline", "shop"), ("stage", "ranking"), ("rollout", "digits")];
    let of = |version, class, outcome| {
        let labels = [&both[..], &[("version", version), ("class", class), ("outcome", outcome)]].concat();
        metrics.sum("changeover_requests_total", &labels)
    };
    assert_eq!(of("blue", "2xx", "ok"), blue.count() as f64);
    assert_eq!(of("green", "5xx", "error"), green.count() as f64);
    assert_eq!(metrics.sum("changeover_requests_total", &[]), 5_000.0);

    // The bodies, as the upstreams received them and the clients did.
    let sent: f64 = (0..5_000).map(|number| f64::from(number % 10) * 100.0).sum();
    let sum = metrics.sum("changeover_request_bytes_sum", &[]);
    // Envoy's histograms keep a value within 10 % (they are log-linear).
    assert!((sum / sent - 1.0).abs() < 0.1, "{sum} of {sent} bytes");
    let received = blue.count() as f64 * 4.0 + green.count() as f64 * 5.0;
    let sum = metrics.sum("changeover_response_bytes_sum", &[]);
    assert!((sum / received - 1.0).abs() < 0.1, "{sum} of {received} bytes");
    for histogram in ["changeover_request_duration_milliseconds", "changeover_response_bytes"] {
        assert_eq!(metrics.sum(&format!("{histogram}_count"), &[]), 5_000.0, "{histogram}");
    }

    // Weights in hundredths of a percent, and who uses what.
    assert_eq!(metrics.sum("changeover_weight", &[("version", "blue")]), 7_000.0);
    assert_eq!(metrics.sum("changeover_weight", &[("version", "green")]), 3_000.0);
    assert_eq!(metrics.sum("changeover_info", &[("build_version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert_eq!(envoy.config_hashes().await.len(), 5, "four workers and the main thread");
    let log = envoy.log();
    assert_eq!(
        log.matches(&format!("changeover: version {} (", env!("CARGO_PKG_VERSION"))).count(),
        1,
        "{log}"
    );
    assert_eq!(log.matches("is in use: 1 rollout").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_promised_series_exist() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, Config::rollout("weights: {green: 50}")).start().await;
    Load::to(envoy.address()).send(200).await.assert_all_ok();
    let metrics = wait_for("histograms", async || {
        let metrics = envoy.metrics().await;
        (metrics.sum("changeover_request_bytes_count", &[]) == 200.0).then_some(metrics)
    })
    .await;
    let mut found = BTreeSet::new();
    for name in metrics.names("changeover") {
        let labels: BTreeSet<String> =
            metrics.series(name).flat_map(|series| series.labels.keys().cloned()).collect();
        found.insert(format!("{name}{{{}}}", labels.into_iter().collect::<Vec<_>>().join(",")));
    }
    let mut expected = BTreeSet::from(
        [
            "changeover_config_hash{worker}",
            "changeover_info{build_version,commit}",
            "changeover_requests_total{class,outcome,rollout,version}",
            "changeover_weight{rollout,version}",
        ]
        .map(str::to_owned),
    );
    for histogram in ["request_duration_milliseconds", "request_bytes", "response_bytes"] {
        expected.insert(format!("changeover_{histogram}_bucket{{le,rollout,version}}"));
        expected.insert(format!("changeover_{histogram}_sum{{rollout,version}}"));
        expected.insert(format!("changeover_{histogram}_count{{rollout,version}}"));
    }
    assert_eq!(found, expected);
    assert_eq!(metrics.names("envoy_changeover"), [""; 0]);
    assert_eq!(metrics.names("envoy_wasmcustom"), [""; 0]);
    let edges: Vec<f64> = metrics
        .series("changeover_request_duration_milliseconds_bucket")
        .filter(|series| series.labels["version"] == "blue" && series.labels["le"] != "+Inf")
        .map(|series| series.labels["le"].parse().expect("a number"))
        .collect();
    assert_eq!((edges.len(), edges[0], edges[edges.len() - 1]), (23, 1.0, 60_000.0), "the shipped buckets");
}

/// Envoy's fault filter.
fn fault(mut fault: serde_json::Value) -> serde_json::Value {
    fault["@type"] = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault".into();
    serde_json::json!({"name": "envoy.filters.http.fault", "typed_config": fault})
}

/// It answers every request itself.
fn abort(status: u16) -> serde_json::Value {
    serde_json::json!({"abort": {"http_status": status, "percentage": {"numerator": 100}}})
}

/// Class and outcome of the one request that was counted.
async fn counted(envoy: &Envoy) -> (String, String) {
    counted_of(envoy, "digits").await
}

/// The same of a rollout.
async fn counted_of(envoy: &Envoy, rollout: &str) -> (String, String) {
    let metrics = wait_for("a request to be counted", async || {
        let metrics = envoy.metrics().await;
        (metrics.sum("changeover_requests_total", &[("rollout", rollout)]) > 0.0).then_some(metrics)
    })
    .await;
    let all = metrics.series("changeover_requests_total").filter(|series| series.value > 0.0);
    let series: Vec<_> = all.filter(|series| series.labels["rollout"] == rollout).collect();
    assert_eq!((series.len(), series[0].value), (1, 1.0), "{series:?}");
    (series[0].labels["class"].clone(), series[0].labels["outcome"].clone())
}

fn expect(class: &str, outcome: &str) -> (String, String) {
    (class.to_owned(), outcome.to_owned())
}

/// Rollouts of one version each, by name, path and cluster.
fn rollouts<'a>(of: impl Iterator<Item = (&'a str, &'a str)>) -> Config {
    let rollout = |(name, cluster)| {
        format!(
            "{{name: {name}, match: {{path: /{name}}}, stable: one, versions: {{one: {{cluster: {cluster}}}}}}}"
        )
    };
    Config::Struct(format!("{{rollouts: [{}]}}", of.map(rollout).collect::<Vec<_>>().join(", ")))
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_the_upstream_are_errors_with_any_status() {
    let raw = [
        ("leaves", Raw::CloseBeforeHeaders, "5xx"),
        ("breaks-off", Raw::CloseInBody, "2xx"),
        ("garbage", Raw::Garbage, "5xx"),
        ("silent", Raw::Silent, "5xx"),
    ];
    let mut upstreams = Vec::new();
    for (name, behaviour, _) in raw {
        upstreams.push((name, RawUpstream::start(behaviour).await));
    }
    // Nothing listens there any more.
    let closed = free_address();
    let mut clusters: Vec<_> = upstreams.iter().map(|(name, upstream)| (*name, upstream.address())).collect();
    clusters.push(("closed", closed));
    let names = clusters.iter().map(|(name, _)| (*name, *name));
    // The configuration may name a cluster that is not there.
    let config = rollouts(names.chain([("missing", "nowhere")]));
    let setup = Setup::shipped(config).clusters(&clusters);
    let envoy = setup.edit_routes(|routes| routes[0]["route"]["timeout"] = "10s".into()).start().await;
    let classes = raw.map(|(name, _, class)| (name, class));
    for (name, class) in classes.into_iter().chain([("closed", "5xx"), ("missing", "5xx")]) {
        let _ = get(envoy.address(), &format!("/{name}")).await;
        assert_eq!(counted_of(&envoy, name).await, expect(class, "error"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_in_the_body_is_an_error() {
    let (blue, green) = blue_and_green().await;
    blue.set(Behaviour::Stall);
    let setup = between(&blue, &green, Config::rollout(""));
    let envoy = setup.edit_routes(|routes| routes[0]["route"]["timeout"] = "10s".into()).start().await;
    assert!(get(envoy.address(), "/").await.is_err());
    assert_eq!(counted(&envoy).await, expect("2xx", "error"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_the_upstream_are_distinguished_from_envoys_own() {
    let cases = [
        ("s404", 404, ("4xx", "ok")),
        ("s500", 500, ("5xx", "error")),
        ("s302", 302, ("3xx", "ok")),
        ("s429", 429, ("4xx", "ok")),
    ];
    let (blue, green) = blue_and_green().await;
    let config = rollouts(cases.iter().map(|(name, ..)| (*name, "blue")));
    let envoy = between(&blue, &green, config).start().await;
    for (name, status, (class, outcome)) in cases {
        blue.set(Behaviour::Status(status));
        assert_eq!(get(envoy.address(), &format!("/{name}")).await.expect("an answer").status, status);
        assert_eq!(counted_of(&envoy, name).await, expect(class, outcome));
    }
    // Envoy refuses by itself: the version has nothing to do with it.
    let (blue, green) = blue_and_green().await;
    let setup = between(&blue, &green, Config::rollout(""));
    let envoy = setup
        .edit_hcm(|hcm| hcm["http_filters"].as_array_mut().expect("filters").insert(1, fault(abort(503))))
        .start()
        .await;
    assert_eq!(get(envoy.address(), "/").await.expect("an answer").status, 503);
    assert_eq!(counted(&envoy).await, expect("5xx", "aborted"));
    // So does a route that answers without an upstream; no flag says so.
    let direct = serde_json::json!({"match": {"prefix": "/"}, "direct_response": {"status": 503}});
    let envoy = between(&blue, &green, Config::rollout(""))
        .edit_routes(|routes| routes.insert(0, direct))
        .start()
        .await;
    assert_eq!(get(envoy.address(), "/").await.expect("an answer").status, 503);
    assert_eq!(counted(&envoy).await, expect("5xx", "aborted"));
    assert_eq!(blue.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_nobodys_error() {
    for (behaviour, class, outcome) in
        [(Behaviour::gate(), "none", "unanswered"), (Behaviour::Stall, "2xx", "aborted")]
    {
        let (blue, green) = blue_and_green().await;
        blue.set(behaviour.clone());
        let envoy = between(&blue, &green, Config::rollout("")).start().await;
        let mut stream = TcpStream::connect(envoy.address()).await.expect("a connection");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("sent");
        wait_for("the request to arrive", async || (blue.count() == 1).then_some(())).await;
        if let Behaviour::Stall = behaviour {
            stream.readable().await.expect("the beginning of an answer");
        }
        drop(stream);
        assert_eq!(counted(&envoy).await, expect(class, outcome));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_only_held_back_is_judged_by_its_answer() {
    let (blue, green) = blue_and_green().await;
    blue.set(Behaviour::Status(404));
    let delay =
        fault(serde_json::json!({"delay": {"fixed_delay": "0.01s", "percentage": {"numerator": 100}}}));
    let setup = between(&blue, &green, Config::rollout(""));
    let envoy = setup
        .edit_hcm(|hcm| hcm["http_filters"].as_array_mut().expect("filters").insert(1, delay))
        .start()
        .await;
    assert_eq!(get(envoy.address(), "/").await.expect("an answer").status, 404);
    assert_eq!(counted(&envoy).await, expect("4xx", "ok"));
}

/// The filter has seen all of the answer by then, the client has not.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_its_answer_waits_for_it_is_nobodys_error() {
    let (blue, green) = blue_and_green().await;
    blue.set(Behaviour::Body(vec![b'x'; 300_000].into(), vec![]));
    let envoy = between(&blue, &green, Config::rollout("")).start().await;
    let stream = TcpStream::connect(envoy.address()).await.expect("a connection");
    // This client opens its window no further: 65,535 bytes and no more.
    let (mut client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = hyper::Request::get("http://models.example.com/").body(()).expect("a request");
    let (answer, _) = client.send_request(request, true).expect("sent");
    let body = answer.await.expect("the beginning of an answer").into_body();
    wait_for("the upstream to be through", async || {
        (envoy.stat("cluster.blue.upstream_rq_active").await == 0).then_some(())
    })
    .await;
    drop(body);
    assert_eq!(counted(&envoy).await, expect("2xx", "aborted"));
}

/// Envoy answers gRPC with 200 whatever it means: the status is in `grpc-status`.
#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_request_that_envoy_refuses_is_nobodys_error() {
    let (blue, green) = blue_and_green().await;
    let setup = between(&blue, &green, Config::rollout(""));
    let envoy = setup
        .edit_hcm(|hcm| hcm["http_filters"].as_array_mut().expect("filters").insert(1, fault(abort(429))))
        .start()
        .await;
    let request = request("POST", "/digits.Model/Predict", &[("content-type", b"application/grpc")], "");
    let mut connection = Connection::open_http2(envoy.address()).await.expect("a connection");
    let answer = connection.send(request).await.expect("an answer");
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, Some("14")));
    assert_eq!(counted(&envoy).await, expect("2xx", "aborted"));
    assert_eq!(blue.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_survive_pushes_and_gauges_of_removed_versions_are_zero() {
    let (blue, green) = blue_and_green().await;
    let config = |rollouts: &[String]| Config::Struct(format!("{{rollouts: [{}]}}", rollouts.join(", ")));
    let first = Config::blue_green("first", "match: {prefix: /first}, weights: {green: 25}");
    let second = Config::blue_green("second", "match: {prefix: /second}, pin: green");
    let envoy = between_ecds(&blue, &green, config(&[first.clone(), second])).workers(2).start().await;
    let hash = envoy.wait_for_hash_other_than(None).await;
    let load = |path: &'static str| Load::to(envoy.address()).each(move |_| request("GET", path, &[], ""));
    load("/first").send(100).await.assert_all_ok();
    load("/second").send(100).await.assert_all_ok();
    let sum = |metrics: &Metrics, name: &str, rollout: &str| metrics.sum(name, &[("rollout", rollout)]);
    let metrics = envoy.metrics().await;
    assert_eq!(sum(&metrics, "changeover_weight", "first"), 10_000.0);
    assert_eq!(sum(&metrics, "changeover_weight", "second"), 10_000.0);

    let changed = first.replace("green: 25", "green: 75");
    envoy.push(&config(&[changed])).await;
    envoy.wait_for_hash_other_than(Some(hash)).await;
    let metrics = wait_for("the gauges to follow", async || {
        let metrics = envoy.metrics().await;
        (sum(&metrics, "changeover_weight", "second") == 0.0).then_some(metrics)
    })
    .await;
    assert_eq!(metrics.sum("changeover_weight", &[("rollout", "first"), ("version", "green")]), 7_500.0);
    assert_eq!(sum(&metrics, "changeover_requests_total", "second"), 100.0);
    load("/first").send(50).await.assert_all_ok();
    load("/second").send(50).await.assert_all_ok();
    let metrics = envoy.metrics().await;
    assert_eq!(sum(&metrics, "changeover_requests_total", "first"), 150.0);
    assert_eq!(sum(&metrics, "changeover_requests_total", "second"), 100.0);
    assert_eq!(sum(&metrics, "changeover_weight", "second"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_no_server_reports_any_more_is_forgotten() {
    let (blue, green) = blue_and_green().await;
    blue.set(Make::by(|_, _| {
        let mut made = Made::json("{}");
        made.headers.push(("endpoint-load-metrics", "TEXT cpu_utilization=1.5".to_owned()));
        made
    }));
    let setup = between(&blue, &green, Config::rollout("server_load: true"));
    // It forgets after three seconds instead of a minute.
    let envoy = setup.module("target/changeover-test.wasm").workers(2).start().await;
    let load = async || {
        let labels = [("version", "blue"), ("metric", "cpu_utilization")];
        envoy.metrics().await.sum("changeover_server_load", &labels)
    };
    for _ in 0..2 {
        wait_for("a report", async || {
            Load::to(envoy.address()).send(1).await.assert_all_ok();
            (load().await == 1_500.0).then_some(())
        })
        .await;
        wait_for("the end of it", async || (load().await == 0.0).then_some(())).await;
    }
}
