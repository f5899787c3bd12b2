//! What still goes on with a version that was taken back is closed, and nothing else is.

use crate::harness::control::{self, obeyed, obeyed_with};
use crate::harness::*;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More than are closed in one callback of Envoy's timer.
const STREAMS: usize = 100;

/// A WebSocket that is open.
async fn open_socket(envoy: &Envoy, path: &str, headers: &str) -> TcpStream {
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    let mut socket = open_raw(envoy, &head).await;
    let answer = read_until(&mut socket, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    say(&mut socket).await;
    socket
}

/// A stream whose answer has begun and does not end.
async fn open_stream(envoy: &Envoy, path: &str) -> TcpStream {
    let mut stream = open_raw(envoy, &format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
    read_until(&mut stream, "the first bytes").await;
    stream
}

/// Says something through a WebSocket, and hears it.
async fn say(socket: &mut TcpStream) {
    socket.write_all(b"still there").await.expect("sent");
    assert_eq!(read_until(socket, "still there").await, "still there");
}

/// Waits until Envoy has closed a connection.
async fn is_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is as good as an end.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("closed in time");
}

async fn command(envoy: &Envoy, rollout: &str, command: &str, body: &str) {
    let path = format!("/v1/rollouts/{rollout}/{command}");
    obeyed_with(envoy, &path, body).await;
}

async fn known(envoy: &Envoy, rollout: &str) {
    wait_for("the rollout", async || {
        (control::get(envoy, &format!("/v1/rollouts/{rollout}")).await.0 == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_version_lets_go_of_its_streams_and_no_other_does() {
    let (blue, green) = blue_and_green().await;
    let steps = "steps: [{set_weight: 100}, {pause: {}}], override: {header: x-version}";
    let rollouts =
        [("aborted", "1s"), ("promoted", "1s"), ("loose", "0s"), ("back", "30s")].map(|(name, drain)| {
            Config::blue_green(name, &format!("match: {{prefix: /{name}}}, drain: {drain}, {steps}"))
        });
    let config = Config::Struct(format!("{{rollouts: [{}]}}", rollouts.join(", ")));
    let envoy = between(&blue, &green, config).control().workers(2).start().await;
    for rollout in ["aborted", "promoted", "loose", "back"] {
        known(&envoy, rollout).await;
    }
    blue.set(Behaviour::Upgrade);
    green.set(Behaviour::Upgrade);
    let mut closed = vec![open_socket(&envoy, "/aborted", "").await];
    let mut kept = vec![
        open_socket(&envoy, "/aborted", "x-version: never\r\n").await,
        open_socket(&envoy, "/promoted", "").await,
        open_socket(&envoy, "/loose", "").await,
        open_socket(&envoy, "/back", "").await,
    ];
    green.set(Behaviour::Stall);
    for _ in 0..STREAMS {
        closed.push(open_stream(&envoy, "/aborted").await);
    }
    command(&envoy, "promoted", "promote", "{\"full\": true}").await;
    command(&envoy, "loose", "abort", "").await;
    // What goes on again before its time is over does so with its streams.
    command(&envoy, "back", "abort", "").await;
    command(&envoy, "back", "retry", "").await;
    command(&envoy, "aborted", "abort", "").await;
    for stream in &mut closed {
        is_closed(stream).await;
    }
    for socket in &mut kept {
        say(socket).await;
    }
    // That the filter has ended them is not the version's doing.
    let labels = [("rollout", "aborted"), ("version", "green")];
    let ended = (STREAMS + 1) as f64;
    wait_for("the streams to be counted", async || {
        (envoy.metrics().await.sum("changeover_requests_total", &labels) == ended).then_some(())
    })
    .await;
    let metrics = envoy.metrics().await;
    let aborted = [&labels[..], &[("outcome", "aborted")]].concat();
    let all: Vec<_> = metrics.series("changeover_requests_total").collect();
    assert_eq!(metrics.sum("changeover_requests_total", &aborted), ended, "{all:?}");
}

/// Streams began under another configuration, with other labels, than the one that takes their version back.
#[tokio::test(flavor = "multi_thread")]
async fn a_pin_to_stable_closes_the_candidates_streams() {
    let (blue, green) = blue_and_green().await;
    let envoy =
        between_ecds(&blue, &green, Config::rollout("drain: 1s, weights: {green: 100}")).start().await;
    green.set(Behaviour::Upgrade);
    let mut socket = open_socket(&envoy, "/", "").await;
    envoy.push(&Config::rollout("drain: 1s, weights: {green: 100}, pin: blue, labels: {stage: late}")).await;
    is_closed(&mut socket).await;
}

/// A connection of HTTP/2 outlives its streams.
#[tokio::test(flavor = "multi_thread")]
async fn other_streams_of_the_connection_go_on() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, drained()).control().start().await;
    green.set(Behaviour::Stall);
    take_back_a_stream(&envoy, &green, request("GET", "/", &[], "")).await;
}

/// Its status, which would come in the trailers, never does.
#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_stream_is_closed_and_is_not_the_versions_failure() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, drained()).http2_upstreams().control().start().await;
    green.set(Behaviour::GrpcStall);
    let headers: [(&str, &[u8]); 2] = [("content-type", b"application/grpc"), ("te", b"trailers")];
    let message = b"\0\0\0\0\x02hi".to_vec();
    let call = request("POST", "/inference.GRPCInferenceService/ModelStreamInfer", &headers, message);
    take_back_a_stream(&envoy, &green, call).await;
    let labels = [("version", "green"), ("outcome", "aborted")];
    wait_for("the stream to be counted", async || {
        (envoy.metrics().await.sum("changeover_requests_total", &labels) == 1.0).then_some(())
    })
    .await;
    assert_eq!(envoy.metrics().await.sum("changeover_requests_total", &labels[..1]), 1.0);
}

fn drained() -> Config {
    Config::rollout("drain: 1s, steps: [{set_weight: 100}, {pause: {}}]")
}

/// Aborts while this call's answer goes on. It ends, and another of the same connection gets its answer.
async fn take_back_a_stream(envoy: &Envoy, green: &Upstream, call: Request<Full<Bytes>>) {
    control::known(envoy).await;
    let mut connection = Connection::open_http2(envoy.address()).await.expect("a connection");
    let stalled = connection.send(call);
    let abort = async {
        wait_for("the stream to begin", async || (green.count() == 1).then_some(())).await;
        wait_for("its answer to begin", async || {
            (envoy.stat("cluster.green.upstream_rq_2xx").await == 1).then_some(())
        })
        .await;
        obeyed(envoy, "/v1/rollouts/digits/abort").await;
    };
    let (answer, ()) = tokio::join!(tokio::time::timeout(DEADLINE, stalled), abort);
    // Envoy 1.36 resets a stream without an error, which this client takes for its end.
    if let Ok(answer) = answer.expect("closed in time") {
        assert_eq!(answer.headers.get("grpc-status"), None);
        assert!(answer.text() == "the first bytes" || answer.body.len() == 10, "{answer:?}");
    }
    let answer = connection.send(request("GET", "/", &[], "")).await.expect("an answer");
    assert_eq!(answer.upstream(), "blue");
}
