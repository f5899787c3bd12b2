//! What must not be promoted: a candidate that hangs, is silent, or answers something else than stable.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::harness::control::{get, known, post};
use crate::harness::*;

const SILENT_EVENTS: Behaviour = Behaviour::SilentStream("text/event-stream");

/// The rollout, once its reason begins so.
async fn wait_for_reason(envoy: &Envoy, reason: &str) -> serde_json::Value {
    wait_for(reason, async || {
        let rollout = get(envoy, "/v1/rollouts/digits").await.1;
        rollout["reason"].as_str().is_some_and(|found| found.starts_with(reason)).then_some(rollout)
    })
    .await
}

/// A client that leaves once its request has come to an upstream that does not answer, or is answered.
async fn impatient(address: std::net::SocketAddr) {
    ask(address, Duration::from_secs(5)).await;
}

/// A client that leaves when it is answered, or after so long.
async fn ask(address: std::net::SocketAddr, patience: Duration) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    let request = b"GET / HTTP/1.1\r\nhost: models.example.com\r\nconnection: close\r\n\r\n";
    if stream.write_all(request).await.is_ok() {
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        drop(tokio::time::timeout(patience, read).await);
    }
}

/// Sends thirty-two such clients again and again, until that is aborted.
fn again_and_again<C: Future<Output = ()> + Send + 'static>(
    envoy: &Envoy,
    client: impl Fn(std::net::SocketAddr) -> C + Send + 'static,
) -> JoinHandle<()> {
    let address = envoy.address();
    tokio::spawn(async move {
        loop {
            let clients: Vec<_> = (0..32).map(|_| tokio::spawn(client(address))).collect();
            for client in clients {
                client.await.expect("a client");
            }
        }
    })
}

/// Sends thirty-two such clients again and again until green, which leaves them unanswered, is rolled back.
async fn is_rolled_back_as_unanswered<C: Future<Output = ()> + Send + 'static>(
    envoy: &Envoy,
    client: impl Fn(std::net::SocketAddr) -> C + Send + 'static,
) {
    is_rolled_back(envoy, client, ("unanswered", "unanswered")).await;
}

/// Sends thirty-two such clients again and again until green, whose requests end with this outcome, is rolled back by this metric.
async fn is_rolled_back<C: Future<Output = ()> + Send + 'static>(
    envoy: &Envoy,
    client: impl Fn(std::net::SocketAddr) -> C + Send + 'static,
    (metric, outcome): (&str, &str),
) {
    let clients = again_and_again(envoy, client);
    let event = wait_for_event(envoy, "rollback").await;
    clients.abort();
    assert_eq!(event["rule"], metric, "{event}");
    let metrics = envoy.metrics().await;
    let of =
        |version| metrics.sum("changeover_requests_total", &[("version", version), ("outcome", outcome)]);
    // Blue's only where the machine stood still for as long as a client waits.
    let is_of_green = outcome == "ok" || of("blue") * 10.0 < of("green");
    assert!(of("green") > 0.0 && is_of_green, "{} and {}", of("green"), of("blue"));
}

/// Clients leave long before the deadline. A server of streams sends headers before it has anything to say.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_hangs_is_rolled_back_although_its_clients_leave() {
    for hangs in [Behaviour::gate(), SILENT_EVENTS] {
        hanging(hangs).await;
    }
}

async fn hanging(hangs: Behaviour) {
    let (blue, green) = blue_and_green().await;
    green.set(hangs);
    let config = Config::rollout(
        "steps: [{set_weight: 50}, {pause: {duration: 1s, min_requests: 5}}, {set_weight: 75}, {pause: {}}], analysis: {deadline: 30s}",
    );
    let envoy = between(&blue, &green, config).control().workers(2).start().await;
    is_rolled_back_as_unanswered(&envoy, impatient).await;
}

/// The headers of a stream are no answer. Each client waits at green for longer than the test lasts.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_whose_streams_stay_empty_is_rolled_back_although_its_clients_wait() {
    let (blue, green) = blue_and_green().await;
    green.set(SILENT_EVENTS);
    let config = Config::rollout(
        "steps: [{set_weight: 50}, {pause: {duration: 1s, min_requests: 5}}, {set_weight: 75}, {pause: {}}], analysis: {deadline: 1s}",
    );
    let envoy = between(&blue, &green, config).workers(2).start().await;
    let address = envoy.address();
    let client = || {
        tokio::spawn(async move {
            loop {
                ask(address, Duration::from_secs(600)).await;
            }
        })
    };
    let clients: Vec<_> = (0..60).map(|_| client()).collect();
    let event = wait_for_event(&envoy, "rollback").await;
    clients.into_iter().for_each(|client| client.abort());
    assert_eq!(event["rule"], "error_rate", "{event}");
}

/// A call of gRPC on a connection of its own, which stays open. `sending`: the client has more to send.
async fn call(
    address: std::net::SocketAddr,
    sending: bool,
) -> http2::SendRequest<BoxBody<Bytes, Infallible>> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let first = stream::once(async { Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\x02hi"))) });
    let body = match sending {
        true => BodyExt::boxed(StreamBody::new(first.chain(stream::pending()))),
        false => BodyExt::boxed(StreamBody::new(first)),
    };
    let request = hyper::Request::post("http://models.example.com/inference.Chat/Talk")
        .header("content-type", "application/grpc")
        .body(body)
        .expect("a request");
    let answer = sender.send_request(request);
    tokio::spawn(async move {
        let Ok(answer) = answer.await else { return };
        drop(answer.into_body().collect().await);
    });
    sender
}

/// In a call of both directions it may be the client's turn. In one that has its request, it is the server's.
#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_stream_is_answered_by_its_headers_only_while_its_client_sends() {
    const CALLS: u64 = 20;
    for (sending, errors) in [(true, 0), (false, CALLS)] {
        let (blue, green) = blue_and_green().await;
        for upstream in [&blue, &green] {
            upstream.set(Behaviour::SilentStream("application/grpc"));
        }
        let config = Config::rollout(
            "match: {prefix: /}, steps: [{set_weight: 50}, {pause: {}}], analysis: {deadline: 10s, metrics: [{name: error_rate}]}",
        );
        let envoy = between(&blue, &green, config).http2_upstreams().control().workers(2).start().await;
        known(&envoy).await;
        let mut calls = Vec::new();
        while green.count() < CALLS {
            let before = blue.count() + green.count();
            calls.push(call(envoy.address(), sending).await);
            wait_for("the call", async || (blue.count() + green.count() > before).then_some(())).await;
        }
        let seen = wait_for("all calls to be judged", async || {
            let (_, rollout) = get(&envoy, "/v1/rollouts/digits").await;
            let seen = rollout["evidence"][0]["tests"][0]["samples"]["candidate"].clone();
            (seen["units"] == CALLS).then_some(seen)
        })
        .await;
        assert_eq!(seen["events"], errors, "the client sends: {sending}");
        drop(calls);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_waits_for_data_and_says_which() {
    let (blue, green) = blue_and_green().await;
    let config = Config::rollout(
        "steps: [{set_weight: 50}, {pause: {duration: 1s}}, {set_weight: 75}, {pause: {}}], analysis: {}",
    );
    let envoy = between(&blue, &green, config).control().start().await;
    known(&envoy).await;
    let rollout = wait_for_reason(&envoy, "the step waits for an answer of the candidate").await;
    assert_eq!(rollout["weights"]["green"], 50, "{rollout}");
    Load::to(envoy.address()).send(60).await.assert_all_ok();
    let rollout = wait_for_reason(&envoy, "the step waits until every metric can be judged: latency: ").await;
    assert!(
        rollout["reason"].as_str().is_some_and(|reason| reason.ends_with(" of 200 stable requests")),
        "{rollout}"
    );
    let running = Load::to(envoy.address()).connections(16).per_second(300.0).start();
    wait_for("the next step", async || {
        (get(&envoy, "/v1/rollouts/digits").await.1["weights"]["green"] == 75).then_some(())
    })
    .await;
    running.stop().await.assert_all_ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_answers_404_or_redirects_everything_is_rolled_back() {
    refusing(Behaviour::Status(404)).await;
    refusing(Behaviour::Redirect(vec![("location", "/login")])).await;
}

async fn refusing(answer: Behaviour) {
    let (blue, green) = blue_and_green().await;
    green.set(answer);
    blue.set(Behaviour::OneIn(5, Box::new(Behaviour::Status(404))));
    let config = Config::rollout("steps: [{set_weight: 20}, {pause: {}}], analysis: {promote_when: {}}");
    let envoy = between(&blue, &green, config).start().await;
    let running = Load::to(envoy.address()).connections(16).per_second(200.0).start();
    let event = wait_for_event(&envoy, "rollback").await;
    assert_eq!(event["rule"], "client_error_rate", "{event}");
    running.stop().await;
}

/// Answers of a filter behind ours: they are not the version's.
#[tokio::test(flavor = "multi_thread")]
async fn denials_of_filters_behind_are_no_answers() {
    let (blue, green) = blue_and_green().await;
    let setup = between(&blue, &green, Config::rollout("weights: {green: 50}")).with_denials();
    let envoy = setup.start().await;
    let tally = Load::to(envoy.address()).send(20).await;
    assert_eq!(tally.by_status.get(&403), Some(&20), "{:?}", tally.by_status);
    let aborted = wait_for("twenty requests", async || {
        let metrics = envoy.metrics().await;
        (metrics.sum("changeover_requests_total", &[]) >= 20.0)
            .then(|| metrics.sum("changeover_requests_total", &[("outcome", "aborted")]))
    });
    assert_eq!(aborted.await, 20.0);
}

/// Sends thirty-two such clients again and again until the step waits because of what becomes of green's requests.
async fn is_held<C: Future<Output = ()> + Send + 'static>(
    envoy: &Envoy,
    client: impl Fn(std::net::SocketAddr) -> C + Send + 'static,
) {
    let clients = again_and_again(envoy, client);
    let reason = "the step waits: more of the candidate's requests fail than of stable's";
    let rollout = wait_for_reason(envoy, reason).await;
    assert_eq!(rollout["phase"], "progressing", "{rollout}");
    clients.abort();
}

/// Its clients have the first bytes, and leave. They could do so on purpose: that is too little to roll back.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_hangs_in_the_middle_of_its_answers_is_not_promoted() {
    let config = || {
        Config::rollout(
            "steps: [{set_weight: 50}, {pause: {duration: 1s}}], analysis: {metrics: [{name: error_rate}, {name: unanswered}]}",
        )
    };
    let (blue, green) = blue_and_green().await;
    let patience = Duration::from_millis(500);
    green.set(Behaviour::Stall);
    let envoy = between(&blue, &green, config()).control().workers(2).start().await;
    is_held(&envoy, move |address| ask(address, patience)).await;

    blue.set(Behaviour::Upgrade);
    green.set(Behaviour::UpgradeInSilence);
    let envoy = between(&blue, &green, config()).control().workers(2).start().await;
    is_held(&envoy, move |address| listen(address, patience)).await;
}

/// What is no answer to what was asked for is a client error, of which equal versions have equally many.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_answers_no_upgrade_or_says_that_nothing_is_new_is_rolled_back() {
    let config = || Config::rollout("steps: [{set_weight: 50}, {pause: {}}], analysis: {deadline: 30s}");
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::Status(304));
    let envoy = between(&blue, &green, config()).workers(2).start().await;
    is_rolled_back(&envoy, impatient, ("client_error_rate", "ok")).await;

    blue.set(Behaviour::Upgrade);
    green.set(Behaviour::Status(200));
    let envoy = between(&blue, &green, config()).workers(2).start().await;
    is_rolled_back(
        &envoy,
        |address| listen(address, Duration::from_millis(500)),
        ("client_error_rate", "ok"),
    )
    .await;
}

/// A redirect that Envoy follows has answered no client.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_redirects_everything_is_rolled_back_where_envoy_follows() {
    let (blue, green) = blue_and_green().await;
    green.set(Behaviour::Redirect(vec![("location", "http://models.example.com/elsewhere")]));
    let config = Config::rollout("steps: [{set_weight: 20}, {pause: {duration: 1s}}], analysis: {}");
    let setup = between(&blue, &green, config).control().edit_routes(|routes| {
        for route in routes.iter_mut().filter(|route| route["route"].is_object()) {
            route["route"]["internal_redirect_policy"] = json!({"max_internal_redirects": 5});
        }
    });
    let envoy = setup.start().await;
    let load = Load::to(envoy.address()).per_second(50.0).start();
    let event = wait_for_event(&envoy, "rollback").await;
    load.stop().await.assert_all_ok();
    assert_eq!(event["rule"], "client_error_rate", "{event}");
}

/// A client that opens a tunnel, says something, and leaves after so long, or at the first word.
async fn listen(address: std::net::SocketAddr, patience: Duration) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    let head =
        b"GET /ws HTTP/1.1\r\nhost: models.example.com\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let frame = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
    if stream.write_all(head).await.is_ok() && stream.write_all(&frame).await.is_ok() {
        let mut answer = Vec::new();
        let read = async {
            while stream.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {
                let head = answer.windows(4).position(|end| end == b"\r\n\r\n");
                if head.is_some_and(|head| answer.len() > head + 4) {
                    break;
                }
            }
        };
        drop(tokio::time::timeout(patience, read).await);
    }
}

/// Every handshake succeeds, and no tunnel is of any use.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_drops_its_tunnels_at_once_is_rolled_back() {
    dropping(Behaviour::UpgradeAndClose).await;
    dropping(Behaviour::UpgradeAndFail).await;
}

async fn dropping(drops: Behaviour) {
    let (blue, green) = blue_and_green().await;
    blue.set(Behaviour::Upgrade);
    green.set(drops);
    let config = Config::rollout("steps: [{set_weight: 50}, {pause: {}}], analysis: {deadline: 30s}");
    let envoy = between(&blue, &green, config).workers(2).start().await;
    is_rolled_back_as_unanswered(&envoy, |address| listen(address, Duration::from_secs(5))).await;
}

/// A client begins uploads before the weights change, and afterwards ends four in each second.
#[tokio::test(flavor = "multi_thread")]
async fn uploads_from_before_a_change_of_the_weights_hide_no_failure() {
    let (blue, green) = blue_and_green().await;
    let config = Config::rollout(
        "steps: [{set_weight: 50}, {pause: {}}, {set_weight: 75}, {pause: {}}], analysis: {}",
    );
    let envoy = between(&blue, &green, config).control().start().await;
    known(&envoy).await;
    let mut uploads = Vec::new();
    for _ in 0..200 {
        let mut upload = TcpStream::connect(envoy.address()).await.expect("a connection");
        let head = b"POST / HTTP/1.1\r\nhost: models.example.com\r\ncontent-length: 1\r\n\r\n";
        upload.write_all(head).await.expect("the head");
        uploads.push(upload);
    }
    wait_for("the uploads", async || (blue.count() + green.count() == 200).then_some(())).await;
    assert_eq!(post(&envoy, "/v1/rollouts/digits/promote").await.0, 200);
    green.set(Behaviour::Status(503));
    let running = Load::to(envoy.address()).connections(8).per_second(100.0).start();
    let ending = tokio::spawn(async move {
        for mut upload in uploads {
            upload.write_all(b"1").await.expect("the body");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    });
    let event = wait_for_event(&envoy, "rollback").await;
    assert!(!ending.is_finished(), "{event}");
    ending.abort();
    running.stop().await;
}
