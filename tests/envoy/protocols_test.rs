//! What is more than a request and an answer passes as through plain Envoy, and is counted once.

use std::time::Duration;

use crate::harness::*;
use serde_json::json;
use tokio::io::AsyncWriteExt;

fn all_to_green() -> Config {
    Config::rollout("pin: green")
}

/// Waits until so many requests are counted with this class and outcome, and none otherwise.
async fn assert_counted(envoy: &Envoy, version: &str, class: &str, outcome: &str, count: f64) {
    wait_for("the requests to be counted", async || {
        (envoy.metrics().await.sum("changeover_requests_total", &[]) >= count).then_some(())
    })
    .await;
    let metrics = envoy.metrics().await;
    let labels = [("version", version), ("class", class), ("outcome", outcome)];
    let all: Vec<_> = metrics.series("changeover_requests_total").collect();
    assert_eq!(metrics.sum("changeover_requests_total", &labels), count, "{all:?}");
    assert_eq!(metrics.sum("changeover_requests_total", &[]), count, "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_requests_are_routed_and_counted() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, all_to_green()).start().await;
    let mut connection = Connection::open_http2(envoy.address()).await.expect("a connection");
    for n in 0..50_usize {
        let answer =
            connection.send(request("POST", "/", &[], vec![b'x'; n * 1_000])).await.expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.upstream()), (200, "green"));
    }
    assert_eq!(green.take_seen().iter().map(|seen| seen.body.len()).sum::<usize>(), 49 * 50 / 2 * 1_000);
    assert_counted(&envoy, "green", "2xx", "ok", 50.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_calls_count_by_their_status() {
    let (blue, green) = blue_and_green().await;
    let calls = [
        ("0", 1, "ok"),
        ("0", 20, "ok"),
        ("0", 0, "ok"),
        ("5", 0, "ok"),
        ("13", 1, "error"),
        ("14", 0, "error"),
    ];
    let envoy = between(&blue, &green, all_to_green()).http2_upstreams().start().await;
    let (mut ok, mut errors) = (0.0, 0.0);
    for (status, messages, outcome) in calls {
        green.set(Behaviour::Grpc { status, messages });
        let mut connection = Connection::open_http2(envoy.address()).await.expect("a connection");
        let headers: [(&str, &[u8]); 2] = [("content-type", b"application/grpc"), ("te", b"trailers")];
        let call = request(
            "POST",
            "/inference.GRPCInferenceService/ModelInfer",
            &headers,
            b"\0\0\0\0\x02hi".to_vec(),
        );
        let answer = connection.send(call).await.expect("an answer");
        let told = if messages == 0 { &answer.headers } else { &answer.trailers };
        assert_eq!(told.get("grpc-status").map(|told| told.as_bytes()), Some(status.as_bytes()));
        assert_eq!((answer.upstream(), answer.body.len()), ("green", messages * 10));
        *if outcome == "ok" { &mut ok } else { &mut errors } += 1.0;
        wait_for("the call to be counted", async || {
            let metrics = envoy.metrics().await;
            let of = |outcome| {
                let labels = [("version", "green"), ("class", "2xx"), ("outcome", outcome)];
                metrics.sum("changeover_requests_total", &labels)
            };
            let all = metrics.sum("changeover_requests_total", &[]);
            ((of("ok"), of("error"), all) == (ok, errors, ok + errors)).then_some(())
        })
        .await;
    }
}

/// `1m` is a millisecond: a good server gives such a call up with status 4.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_its_clients_own_deadline_has_ended_is_unanswered() {
    let (blue, green) = blue_and_green().await;
    let exceeded = |messages| Behaviour::Grpc { status: "4", messages };
    let hangs = exceeded(0).gated();
    let by_route = json!({"max_stream_duration": {"grpc_timeout_header_max": "0s"}, "cluster": "green"});
    let by_path = json!({"match": {"prefix": "/by-envoy"}, "route": by_route});
    let envoy = between(&blue, &green, all_to_green())
        .http2_upstreams()
        .edit_routes(|routes| routes.insert(0, by_path))
        .start()
        .await;
    let calls = [
        ("/by-server", exceeded(0), Some("1m"), "unanswered"),
        ("/by-server", exceeded(1), Some("1m"), "unanswered"),
        ("/by-server", exceeded(0), None, "error"),
        ("/by-server", exceeded(0), Some("1H"), "error"),
        ("/by-server", Behaviour::Grpc { status: "13", messages: 0 }, Some("1m"), "error"),
        ("/by-server", Behaviour::Grpc { status: "0", messages: 1 }, Some("1m"), "ok"),
        ("/by-envoy", hangs, Some("50m"), "unanswered"),
    ];
    let mut expected = std::collections::BTreeMap::from([("unanswered", 0.0), ("error", 0.0), ("ok", 0.0)]);
    for (path, behaviour, timeout, outcome) in calls {
        green.set(behaviour);
        let mut connection = Connection::open_http2(envoy.address()).await.expect("a connection");
        let mut headers: Vec<(&str, &[u8])> =
            vec![("content-type", b"application/grpc"), ("te", b"trailers")];
        headers.extend(timeout.map(|timeout| ("grpc-timeout", timeout.as_bytes())));
        let call = request("POST", path, &headers, b"\0\0\0\0\x02hi".to_vec());
        connection.send(call).await.expect("an answer");
        *expected.get_mut(outcome).expect("known") += 1.0;
        wait_for(&format!("{path} to be {outcome} with the timeout {timeout:?}"), async || {
            let metrics = envoy.metrics().await;
            let of = |outcome| metrics.sum("changeover_requests_total", &[("outcome", outcome)]);
            expected.iter().all(|(outcome, count)| of(outcome) == *count).then_some(())
        })
        .await;
    }
}

/// `docs/assignment.md` says who can do that.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_client_with_an_internal_address_chooses_a_timeout() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::Status(200).after(Duration::from_millis(300)));
    let loopback = json!({"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]});
    for (internal, status, outcome) in [(None, 200, "ok"), (Some(loopback), 504, "error")] {
        let setup = between(&blue, &green, all_to_green()).edit_hcm(|hcm| {
            hcm["use_remote_address"] = json!(true);
            if let Some(internal) = internal {
                hcm["internal_address_config"] = internal;
            }
        });
        let envoy = setup.start().await;
        let mut connection = Connection::open(envoy.address()).await.expect("a connection");
        let ask = request("GET", "/", &[("x-envoy-upstream-rq-timeout-ms", b"10")], "");
        assert_eq!(connection.send(ask).await.expect("an answer").status.as_u16(), status);
        let class = if status == 200 { "2xx" } else { "5xx" };
        assert_counted(&envoy, "green", class, outcome, 1.0).await;
    }
}

/// A client's `content-type` says what it sends. What it gets is the version's to say.
#[tokio::test(flavor = "multi_thread")]
async fn the_request_does_not_make_an_answer_a_grpc_answer() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, all_to_green()).start().await;
    let asks: [(&str, Behaviour); 5] = [
        ("HEAD", Behaviour::Status(200)),
        ("GET", Behaviour::Body("".into(), Vec::new())),
        ("GET", Behaviour::Status(204)),
        ("GET", Behaviour::Status(304)),
        ("POST", Behaviour::Body("{}".into(), vec![("content-type", "application/grpc-web")])),
    ];
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let count = asks.len() as f64;
    for (method, behaviour) in asks {
        green.set(behaviour);
        let ask = request(method, "/", &[("content-type", b"application/grpc")], "");
        connection.send(ask).await.expect("an answer");
    }
    wait_for("the requests to be counted", async || {
        (envoy.metrics().await.sum("changeover_requests_total", &[]) >= count).then_some(())
    })
    .await;
    let metrics = envoy.metrics().await;
    assert_eq!(metrics.sum("changeover_requests_total", &[("outcome", "ok")]), count);
    // And an answer that has a status of gRPC has it whatever was asked for.
    green.set(Behaviour::Body("".into(), vec![("grpc-status", "13")]));
    connection.send(request("GET", "/", &[], "")).await.expect("an answer");
    wait_for("the error", async || {
        let metrics = envoy.metrics().await;
        (metrics.sum("changeover_requests_total", &[("outcome", "error")]) == 1.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_that_http_does_not_have_are_errors() {
    let (blue, green) = blue_and_green().await;
    for status in [600, 999] {
        green.set(Behaviour::Status(status));
        let envoy = between(&blue, &green, all_to_green()).start().await;
        get(envoy.address(), "/").await.expect("an answer");
        assert_counted(&envoy, "green", "other", "error", 1.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_pass_and_count() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::Upgrade);
    let envoy = between(&blue, &green, all_to_green()).start().await;
    let head = "GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut stream = open_raw(&envoy, head).await;
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    for message in ["ping one", "ping two"] {
        stream.write_all(message.as_bytes()).await.expect("sent");
        assert_eq!(read_until(&mut stream, message).await, message);
    }
    drop(stream);
    assert_counted(&envoy, "green", "1xx", "ok", 1.0).await;
    // The other side may hang up first.
    green.set(Behaviour::UpgradeAndGreet);
    let mut stream = open_raw(&envoy, head).await;
    read_until(&mut stream, "hello").await;
    assert_counted(&envoy, "green", "1xx", "ok", 2.0).await;
    // A client that leaves before anything was said proves nothing against the version.
    green.set(Behaviour::Upgrade);
    let mut stream = open_raw(&envoy, head).await;
    read_until(&mut stream, "\r\n\r\n").await;
    drop(stream);
    assert_counted(&envoy, "green", "1xx", "ok", 3.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_tunnels_pass_and_count() {
    let blue = Upstream::start("blue").await;
    let far_end = RawUpstream::start(Raw::Echo).await;
    let setup =
        Setup::shipped(all_to_green()).clusters(&[("blue", blue.address()), ("green", far_end.address())]);
    let envoy = setup
        .edit_hcm(|hcm| hcm["upgrade_configs"].as_array_mut().expect("upgrades").push(json!({"upgrade_type": "CONNECT"})))
        .edit_routes(|routes| {
            let tunnel = json!({"upgrade_type": "CONNECT", "connect_config": {}});
            let chosen = json!({"connect_matcher": {}, "headers": [{"name": "x-changeover-cluster", "present_match": true}]});
            routes.insert(0, json!({"match": chosen, "route": {"cluster_header": "x-changeover-cluster", "upgrade_configs": [tunnel]}}));
        })
        .start()
        .await;
    let mut stream =
        open_raw(&envoy, "CONNECT far.example.com:443 HTTP/1.1\r\nhost: far.example.com:443\r\n\r\n").await;
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stream.write_all(b"through the tunnel").await.expect("sent");
    assert_eq!(read_until(&mut stream, "tunnel").await, "through the tunnel");
    drop(stream);
    assert_counted(&envoy, "green", "2xx", "ok", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_both_ways() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::Echo);
    let envoy = between(&blue, &green, all_to_green()).start().await;
    let mut stream =
        open_raw(&envoy, "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n").await;
    read_until(&mut stream, "\r\n\r\n").await;
    // Each piece comes back before the next one is sent: nothing is held.
    for piece in ["first", "second", "third"] {
        stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await.expect("sent");
        read_until(&mut stream, piece).await;
    }
    stream.write_all(b"0\r\n\r\n").await.expect("sent");
    read_until(&mut stream, "0\r\n\r\n").await;
    let large = vec![b'x'; 5_000_000];
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let answer = connection.send(request("POST", "/", &[], large.clone())).await.expect("an answer");
    assert!(answer.body == large);
    assert_counted(&envoy, "green", "2xx", "ok", 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_and_answers_without_a_body_count_as_answered() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, all_to_green()).start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let head = connection.send(request("HEAD", "/", &[], "")).await.expect("an answer");
    assert_eq!(
        (head.status.as_u16(), head.upstream(), head.header("content-length")),
        (200, "green", Some("5"))
    );
    green.set(Behaviour::Status(204));
    let empty = connection.send(request("DELETE", "/", &[], "")).await.expect("an answer");
    assert_eq!((empty.status.as_u16(), empty.upstream()), (204, "green"));
    assert_counted(&envoy, "green", "2xx", "ok", 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expect_100_continue_is_answered() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::Echo);
    let envoy = between(&blue, &green, all_to_green()).start().await;
    let head = "POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    let mut stream = open_raw(&envoy, head).await;
    let first = read_until(&mut stream, "\r\n\r\n").await;
    assert!(first.starts_with("HTTP/1.1 100"), "{first}");
    stream.write_all(b"body").await.expect("sent");
    // The upstream's headers may have come with the 100 already.
    let answer = first + &read_until(&mut stream, "body").await;
    assert!(answer.contains("200 OK") && answer.contains("x-upstream: green"), "{answer}");
    assert_counted(&envoy, "green", "2xx", "ok", 1.0).await;
}

/// Envoy begins anew with a redirected request: each version it comes to has one record of it.
#[tokio::test(flavor = "multi_thread")]
async fn each_pass_of_an_internal_redirect_counts_for_its_version() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::Redirect(vec![("location", "http://models.example.com/there")]));
    let here = Config::blue_green("here", "match: {prefix: /here}, pin: green");
    let there = Config::blue_green("there", "match: {prefix: /there}, pin: blue");
    let envoy = between(&blue, &green, Config::Struct(format!("{{rollouts: [{here}, {there}]}}")))
        .edit_routes(|routes| {
            routes[0]["route"]["internal_redirect_policy"] = json!({"redirect_response_codes": [302]});
        })
        .start()
        .await;
    for _ in 0..10 {
        let answer = get(envoy.address(), "/here").await.expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.upstream()), (200, "blue"));
    }
    assert_eq!((blue.count(), green.count()), (10, 10));
    wait_for("the requests to be counted", async || {
        let metrics = envoy.metrics().await;
        let of = |rollout, class| {
            let labels = [("rollout", rollout), ("class", class), ("outcome", "ok")];
            metrics.sum("changeover_requests_total", &labels)
        };
        let all = metrics.sum("changeover_requests_total", &[]);
        (of("here", "3xx") == 10.0 && of("there", "2xx") == 10.0 && all == 20.0).then_some(())
    })
    .await;
}

/// What a stream holds goes with it, however it ends.
#[tokio::test(flavor = "multi_thread")]
async fn no_stream_stays_behind() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, Config::rollout("weights: {green: 50}")).start().await;
    green.set(Behaviour::Status(503));
    let round = async || {
        Load::to(envoy.address()).connections(8).send(3_000).await;
        for _ in 0..100 {
            // A client that leaves while Envoy waits for the answer.
            drop(open_raw(&envoy, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n").await);
        }
        wait_for("all requests to end", async || {
            (envoy.stat("http.ingress.downstream_rq_active").await == 0).then_some(())
        })
        .await;
        envoy.resident_kilobytes()
    };
    let (_, before) = (round().await, round().await);
    let mut after = 0;
    for _ in 0..4 {
        after = round().await;
    }
    // 12,000 streams that stayed would hold several megabytes.
    assert!(after < before + 2_048, "{before} KB, then {after} KB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_is_waited_for() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::Status(200).after(Duration::from_millis(300)));
    let envoy = between(&blue, &green, all_to_green()).start().await;
    assert_eq!(get(envoy.address(), "/").await.expect("an answer").upstream(), "green");
    let taken = wait_for("the histogram", async || {
        let sum = envoy
            .metrics()
            .await
            .sum("changeover_request_duration_milliseconds_sum", &[("version", "green")]);
        (sum > 0.0).then_some(sum)
    })
    .await;
    // At least what the upstream waits, and in milliseconds: microseconds would be 300,000.
    assert!((295.0..60_000.0).contains(&taken), "{taken} ms");
}
