//! Shadow mode that compares: what stable answers is sent to the shadow a second time, and no client notices.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::compare::*;
use crate::harness::*;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

#[tokio::test(flavor = "multi_thread")]
async fn agreement_and_confusion_are_what_the_same_requests_give_offline() {
    const REQUESTS: u64 = 2_000;
    for workers in [1, 4] {
        let (blue, green) = blue_and_green().await;
        blue.set(classifier(0));
        green.set(classifier(1));
        let config = COMPARES.replace("timeout: 2s", "timeout: 20s, max_in_flight: 1024");
        let setup = between(&blue, &green, Config::rollout(&config)).workers(workers).control();
        let envoy = setup.start().await;
        let tally = Load::to(envoy.address()).each(ask).send(REQUESTS).await;
        tally.assert_all_ok();
        assert_eq!((tally.from("blue"), blue.count()), (REQUESTS, REQUESTS), "no client has seen the shadow");
        let numbers: Vec<u64> = {
            let results = settled(&envoy, REQUESTS).await;
            assert_eq!((results["sent"], green.count()), (REQUESTS, REQUESTS));
            ["matched", "differed"].map(|result| results[result]).to_vec()
        };
        // Numbers of requests are 0 to REQUESTS − 1 or 1 to REQUESTS: what the shadow saw is what counts.
        let mut cells: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        for number in 0..REQUESTS {
            *cells.entry((digit(number, 0), digit(number, 1))).or_default() += 1;
        }
        let same: u64 = cells.iter().filter(|((one, other), _)| one == other).map(|(_, n)| n).sum();
        assert_eq!(numbers, [same, REQUESTS - same], "{workers} workers");
        wait_for("the confusion matrix", async || {
            let metrics = envoy.metrics().await;
            let shown: BTreeMap<(u64, u64), u64> = metrics
                .series("changeover_mirror_labels_total")
                .map(|series| {
                    let label = |name: &str| series.labels[name].parse().unwrap();
                    ((label("label"), label("shadow")), series.value as u64)
                })
                .collect();
            (shown == cells).then_some(())
        })
        .await;
        // The API adds up what all workers have compared.
        let found = wait_for("all pairs", async || {
            let (status, found) = control::get(&envoy, "/v1/rollouts/digits/differences").await;
            (status == 200 && found["compared"] == REQUESTS).then_some(found)
        })
        .await;
        assert_eq!(
            (&found["matched"], &found["failed"], &found["shadow"]),
            (&json!(same), &json!(0), &json!("green"))
        );
        let pairs = found["labels"]["pairs"].as_array().unwrap().iter().map(|cell| {
            let label = |name: &str| cell[name].as_str().unwrap().parse().unwrap();
            ((label("stable"), label("shadow")), cell["pairs"].as_u64().unwrap())
        });
        assert_eq!(pairs.collect::<BTreeMap<(u64, u64), u64>>(), cells);
        let (observed, chance) = offline(&cells);
        let real = |value: &Value| value.as_f64().unwrap();
        assert!(
            (real(&found["labels"]["kappa"]) - (observed - chance) / (1.0 - chance)).abs() < 1e-12,
            "{found}"
        );
        let agreement = &found["agreement"];
        assert_eq!(real(&agreement["value"]), observed);
        assert!(real(&agreement["low"]) < observed && observed < real(&agreement["high"]), "{found}");
        let field = json!({"field": "/outputs/*/data/*", "kind": "value", "pairs": REQUESTS - same, "elements": REQUESTS - same});
        assert_eq!(found["fields"], json!([field]));
        let differs = [("field", "/outputs/*/data/*"), ("kind", "value")];
        assert_eq!(
            envoy.metrics().await.sum("changeover_mirror_fields_total", &differs),
            (REQUESTS - same) as f64
        );
    }
}

/// The share of pairs that agree, and the share that would by chance.
fn offline(cells: &BTreeMap<(u64, u64), u64>) -> (f64, f64) {
    let all: u64 = cells.values().sum();
    let part = |fits: &dyn Fn(&(u64, u64)) -> bool| {
        let pairs: u64 = cells.iter().filter(|(cell, _)| fits(cell)).map(|(_, pairs)| pairs).sum();
        pairs as f64 / all as f64
    };
    let chance = (0..10).map(|label| part(&|cell| cell.0 == label) * part(&|cell| cell.1 == label)).sum();
    (part(&|cell| cell.0 == cell.1), chance)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shadow_gets_the_request_without_credentials() {
    let (blue, green) = blue_and_green().await;
    let mirror = |more: &str| format!("mirror: {{to: green, mode: compare, methods: [POST]{more}}}");
    let headers: [(&str, &[u8]); 10] = [
        ("x-session", b"secret"),
        ("cookie", b"uid=1"),
        ("authorization", b"Bearer secret"),
        ("x-api-key", b"secret"),
        ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-changeover-mirror", b"forged"),
        ("x-envoy-upstream-rq-timeout-ms", b"1"),
        ("accept-encoding", b"gzip"),
        ("x-other", b"kept"),
        ("x-team", b"client"),
    ];
    let headers_of_copies = mirror(", set_headers: {X-Team: ranking}, remove_headers: [X-Session]");
    let envoy = between_ecds(&blue, &green, Config::rollout(&headers_of_copies)).start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let body = vec![b'x'; 100_000];
    let sent = connection.send(request("POST", "/a/b?c=d", &headers, body)).await.expect("an answer");
    assert_eq!(sent.upstream(), "blue");
    settled(&envoy, 1).await;
    let (original, copy) = (blue.take_seen().remove(0), green.take_seen().remove(0));
    assert_eq!((copy.method.as_str(), copy.target.as_str()), ("POST", "/a/b?c=d"));
    assert!(copy.body == original.body && copy.body.len() == 100_000);
    for header in ["host", "x-request-id", "traceparent", "x-other", "content-length"] {
        assert_eq!(copy.headers.get(header), original.headers.get(header), "{header}");
    }
    assert_eq!(
        (&copy.headers["x-changeover-shadow"], &copy.headers["x-team"]),
        (&"green".parse().unwrap(), &"ranking".parse().unwrap())
    );
    for header in [
        "x-session",
        "cookie",
        "authorization",
        "x-api-key",
        "accept-encoding",
        "x-changeover-mirror",
        "x-changeover-cluster",
    ] {
        assert_eq!(copy.headers.get(header), None, "{header} on the copy");
    }
    assert_eq!(original.headers["x-session"], "secret");
    assert_eq!(original.headers["authorization"], "Bearer secret");
    assert_eq!(original.headers.get("x-changeover-mirror"), None, "Envoy copies nothing");
    envoy.push(&Config::rollout(&mirror(", forward_credentials: true"))).await;
    connection.send(request("POST", "/", &headers, "")).await.expect("an answer");
    settled(&envoy, 2).await;
    let copy = green.take_seen().pop().unwrap();
    assert_eq!(
        (&copy.headers["cookie"], &copy.headers["authorization"]),
        (&"uid=1".parse().unwrap(), &"Bearer secret".parse().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_fit_are_skipped_and_counted() {
    let (blue, green) = blue_and_green().await;
    let config = "mirror: {to: green, mode: compare, methods: [POST], max_body: 10KiB, max_in_flight: 2, timeout: 20s}";
    let envoy = between(&blue, &green, Config::rollout(config)).start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let mut send = async |method: &str, body: Vec<u8>| {
        connection.send(request(method, "/", &[], body)).await.expect("an answer")
    };
    send("GET", Vec::new()).await;
    send("POST", vec![b'x'; 10 * 1_024 + 1]).await;
    send("POST", vec![b'x'; 10 * 1_024]).await;
    let results = settled(&envoy, 3).await;
    assert_eq!((results["skipped_method"], results["skipped_too_large"], results["sent"]), (1, 1, 1));
    // The length of a chunked body is seen.
    let chunked = |size: usize| {
        let head = "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
        format!("{head}{size:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(size))
    };
    for size in [1, 10 * 1_024, 10 * 1_024 + 1] {
        let answer = raw_exchange(envoy.address(), chunked(size).as_bytes()).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    let results = settled(&envoy, 6).await;
    assert_eq!((results["skipped_too_large"], results["sent"]), (2, 3));
    // Stable's answers: too long, in an encoding that is not read, in one that is, none at all.
    blue.set(Behaviour::Body(vec![b'x'; 20_000].into(), Vec::new()));
    send("POST", Vec::new()).await;
    blue.set(Behaviour::Body("x".into(), vec![("content-encoding", "br")]));
    send("POST", Vec::new()).await;
    let results = settled(&envoy, 8).await;
    assert_eq!((results["skipped_too_large"], results["skipped_encoding"]), (3, 1));
    // Two wait for the shadow: no third one.
    blue.set(Behaviour::Status(200));
    green.set(Behaviour::gate());
    for _ in 0..5 {
        send("POST", Vec::new()).await;
    }
    wait_for("what finds no room", async || {
        (results_of(&envoy, "skipped_in_flight").await == 3).then_some(())
    })
    .await;
    green.open_gate();
    settled(&envoy, 13).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_tensors_are_compared_element_by_element() {
    let (blue, green) = blue_and_green().await;
    let answer = |elements: [f32; 4]| {
        let json = r#"{"outputs":[{"name":"p","datatype":"FP32","shape":[4],"parameters":{"binary_data_size":16}}]}"#;
        let data = elements.map(f32::to_le_bytes).concat();
        let length: &'static str = Box::leak(json.len().to_string().into_boxed_str());
        let headers =
            vec![("content-type", "application/octet-stream"), ("inference-header-content-length", length)];
        Behaviour::Body([json.as_bytes(), &data].concat().into(), headers)
    };
    let config = Config::rollout("mirror: {to: green, mode: compare, methods: [POST]}");
    let envoy = between(&blue, &green, config).control().start().await;
    blue.set(answer([0.1, 0.2, 0.3, f32::NAN]));
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let shadows = [[0.1, 0.2, 0.3, f32::NAN], [0.100_01, 0.2, 0.3, f32::NAN], [0.2, 0.2, 0.4, f32::NAN]];
    for (count, elements) in (1..).zip(shadows) {
        green.set(answer(elements));
        let sent = connection.send(request("POST", "/", &[], "")).await.expect("an answer");
        assert_eq!(sent.upstream(), "blue");
        // The shadow is asked after the client has its answer.
        settled(&envoy, count).await;
    }
    let differences = wait_for("the pairs", async || {
        let (_, found) = control::get(&envoy, "/v1/rollouts/digits/differences").await;
        (found["compared"] == 3).then_some(found)
    })
    .await;
    assert_eq!(differences["matched"], 2, "{differences}");
    let field = &differences["fields"][0];
    assert_eq!((&field["field"], &field["elements"]), (&json!("/outputs/*/data/*"), &json!(2)));
    // Three elements and a dimension of three pairs.
    assert_eq!(
        (&differences["numbers"]["compared"], &differences["numbers"]["beyond"]),
        (&json!(12), &json!(2))
    );
}

/// A gRPC message: a `ModelInferResponse` with one tensor.
fn inferred(elements: [f32; 2]) -> Bytes {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8][..], bytes].concat();
    let tensor = [field(1, b"p"), field(2, b"FP32"), field(3, &[2])].concat();
    let message = [field(5, &tensor), field(6, &elements.map(f32::to_le_bytes).concat())].concat();
    [&[0, 0, 0, 0, message.len() as u8][..], &message].concat().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_over_grpc_are_compared_element_by_element() {
    let (blue, green) = blue_and_green().await;
    let answer = |elements| Behaviour::GrpcMessage(inferred(elements));
    let config = Config::rollout(
        "match: {prefix: /}, mirror: {to: green, mode: compare, methods: [POST], compare: {label: /outputs/0/data/1}}",
    );
    let envoy = between(&blue, &green, config).http2_upstreams().control().start().await;
    blue.set(answer([1.0, 2.0]));
    green.set(answer([1.5, 2.0]));
    let mut connection = Connection::open_http2(envoy.address()).await.expect("a connection");
    let headers: [(&str, &[u8]); 2] = [("content-type", b"application/grpc"), ("te", b"trailers")];
    let ask = request("POST", "/inference.GRPCInferenceService/ModelInfer", &headers, inferred([0.0, 0.0]));
    assert_eq!(connection.send(ask).await.expect("an answer").upstream(), "blue");
    assert_eq!(settled(&envoy, 1).await["matched"], 1, "their labels are the same");
    let seen = green.take_seen().remove(0);
    assert_eq!((&seen.headers["te"], seen.body), (&"trailers".parse().unwrap(), inferred([0.0, 0.0])));
    let differences = wait_for("the pair", async || {
        let (_, found) = control::get(&envoy, "/v1/rollouts/digits/differences").await;
        (found["compared"] == 1).then_some(found)
    })
    .await;
    assert_eq!(differences["fields"][0]["field"], "/outputs/*/data/*");
    assert_eq!(
        (&differences["numbers"]["compared"], &differences["numbers"]["beyond"]),
        (&json!(3), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_grpc_is_compared_in_headers_and_in_trailers() {
    let (blue, green) = blue_and_green().await;
    let config = Config::rollout("match: {prefix: /}, mirror: {to: green, mode: compare, methods: [POST]}");
    let envoy = between(&blue, &green, config).http2_upstreams().start().await;
    let mut connection = Connection::open_http2(envoy.address()).await.expect("a connection");
    let mut expected = BTreeMap::new();
    for (count, (stable, shadow, result)) in (1..).zip([
        (("0", 1), ("0", 1), "matched"),
        (("0", 1), ("13", 1), "differed"),
        (("3", 0), ("13", 0), "differed"),
        (("0", 1), ("14", 0), "failed"),
        (("14", 0), ("14", 0), "matched"),
    ]) {
        let answer = |(status, messages)| Behaviour::Grpc { status, messages };
        blue.set(answer(stable));
        green.set(answer(shadow));
        let headers: [(&str, &[u8]); 2] = [("content-type", b"application/grpc"), ("te", b"trailers")];
        let ask = request("POST", "/digits.Model/Predict", &headers, "");
        assert_eq!(connection.send(ask).await.expect("an answer").upstream(), "blue");
        let results = settled(&envoy, count).await;
        *expected.entry(result).or_insert(0) += 1;
        for (result, count) in &expected {
            assert_eq!(results[*result], *count, "{stable:?} beside {shadow:?}: {results:?}");
        }
    }
}

/// Two servers refuse the same malformed requests, whatever their models are.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_stable_refuses_are_no_proof_of_agreement() {
    const DISAGREES: &str = "mirror: {to: green, mode: compare, methods: [POST]}, steps: [{set_weight: 0}, {pause: {min_compared: 300}}], \
         analysis: {metrics: [{name: error_rate}, {name: mirror.disagreement, max: 0.5}]}";
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, Config::rollout(DISAGREES)).control().start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let step = async || control::get(&envoy, "/v1/rollouts/digits").await.1["step"].clone();
    wait_for("the step", async || (step().await["index"] == 1).then_some(())).await;
    let answer = |status| Make::by(move |_, _| Made { status: Some(status), ..Made::json("{}") });
    let answers = [(400, 400), (400, 400), (400, 200), (200, 200), (200, 400)];
    for (count, (stable, shadow)) in (1..).zip(answers) {
        blue.set(answer(stable));
        green.set(answer(shadow));
        assert_eq!(connection.send(ask(count)).await.expect("an answer").upstream(), "blue");
        settled(&envoy, count).await;
    }
    let results = results(&envoy).await;
    assert_eq!((results["matched"], results["differed"]), (3, 2), "{results:?}");
    let differences = wait_for("the pairs", async || {
        let (_, found) = control::get(&envoy, "/v1/rollouts/digits/differences").await;
        (found["compared"].as_u64() > Some(1)).then_some(found)
    })
    .await;
    assert_eq!((&differences["compared"], &differences["matched"]), (&json!(2), &json!(1)), "{differences}");
    wait_for("the step's pairs", async || (step().await["compared"] == 2).then_some(())).await;
}

/// Envoy answers a call to a dead gRPC server with a 200.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_grpc_shadow_has_failed_and_does_not_differ() {
    let blue = Upstream::start("blue").await;
    blue.set(Behaviour::GrpcMessage(inferred([1.0, 2.0])));
    let dead = RawUpstream::start(Raw::CloseBeforeHeaders).await;
    let config = Config::rollout("mirror: {to: green, mode: compare, methods: [POST]}");
    let setup = Setup::shipped(config).clusters(&[("blue", blue.address()), ("green", dead.address())]);
    let envoy = setup.start().await;
    let mut connection = Connection::open_http2(envoy.address()).await.expect("a connection");
    let headers: [(&str, &[u8]); 2] = [("content-type", b"application/grpc"), ("te", b"trailers")];
    let ask = request("POST", "/inference.GRPCInferenceService/ModelInfer", &headers, inferred([0.0, 0.0]));
    assert_eq!(connection.send(ask).await.expect("an answer").upstream(), "blue");
    let results = settled(&envoy, 1).await;
    assert_eq!((results["sent"], results["failed"]), (1, 1), "{results:?}");
}

/// Neither another filter's refusal nor a route's own answer is stable's, and the shadow gets no such request.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_no_upstream_has_answered_are_not_compared() {
    let (blue, green) = blue_and_green().await;
    let config = || Config::rollout("mirror: {to: green, mode: compare, methods: [POST]}");
    let direct = between(&blue, &green, config()).with_direct_responses();
    let refused = between(&blue, &green, config()).with_denials();
    for (setup, status) in [(direct, 200), (refused, 403)] {
        let envoy = setup.start().await;
        let mut connection = Connection::open(envoy.address()).await.expect("a connection");
        let answer = connection.send(request("POST", "/", &[], "x")).await.expect("an answer");
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(settled(&envoy, 1).await["skipped_unanswered"], 1);
    }
    assert_eq!((blue.count(), green.count()), (0, 0));
}

async fn results_of(envoy: &Envoy, result: &str) -> u64 {
    results(envoy).await.get(result).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_held_are_bounded_and_given_back() {
    let (blue, green) = blue_and_green().await;
    let config = "mirror: {to: green, mode: compare, methods: [POST], max_body: 40KiB, max_bytes: 100KiB, timeout: 20s}";
    let envoy = between(&blue, &green, Config::rollout(config)).start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let large = || request("POST", "/", &[], vec![b'x'; 40 * 1_024]);
    green.set(Behaviour::gate());
    for _ in 0..4 {
        connection.send(large()).await.expect("an answer");
    }
    wait_for("two to be skipped", async || (results_of(&envoy, "skipped_memory").await == 2).then_some(()))
        .await;
    green.open_gate();
    assert_eq!(settled(&envoy, 4).await["sent"], 2);
    // There is room again, and again.
    for number in 1..=4 {
        connection.send(large()).await.expect("an answer");
        assert_eq!(settled(&envoy, 4 + number).await["sent"], 2 + number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_whose_shadow_hangs_leaves_others_their_places() {
    let (blue, green) = blue_and_green().await;
    let red = Upstream::start("red").await;
    green.set(Behaviour::gate());
    let rollout = |name: &str, to: &str| {
        json!({
            "name": name, "release": "1", "stable": "blue", "match": {"path": format!("/{name}")},
            "versions": {"blue": {"cluster": "blue"}, to: {"cluster": to}},
            "mirror": {"to": to, "mode": "compare", "methods": ["POST"], "max_in_flight": 2, "timeout": "20s"},
        })
    };
    let config =
        Config::Json(json!({"rollouts": [rollout("hangs", "green"), rollout("well", "red")]}).to_string());
    let clusters = [("blue", blue.address()), ("green", green.address()), ("red", red.address())];
    let envoy = Setup::shipped(config).clusters(&clusters).workers(1).start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let of = async |rollout: &str, result: &str| {
        let labels = [("rollout", rollout), ("result", result)];
        envoy.metrics().await.sum("changeover_mirror_requests_total", &labels)
    };
    for _ in 0..5 {
        connection.send(request("POST", "/hangs", &[], "")).await.expect("an answer");
    }
    wait_for("what finds no room", async || (of("hangs", "skipped_in_flight").await == 3.0).then_some(()))
        .await;
    for sent in 1..=5 {
        connection.send(request("POST", "/well", &[], "")).await.expect("an answer");
        let is_over = async || {
            (of("well", "matched").await + of("well", "differed").await == f64::from(sent)).then_some(())
        };
        wait_for("the pair", is_over).await;
    }
    // Places come back, one for each copy.
    green.open_gate();
    wait_for("the first two", async || {
        (of("hangs", "matched").await + of("hangs", "differed").await == 2.0).then_some(())
    })
    .await;
    for _ in 0..2 {
        connection.send(request("POST", "/hangs", &[], "")).await.expect("an answer");
    }
    wait_for("two more", async || (of("hangs", "sent").await == 4.0).then_some(())).await;
}

/// All places for compressed answers are taken by some that do not end.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_answer_that_finds_no_place_is_skipped_for_want_of_memory() {
    let (blue, green) = blue_and_green().await;
    [&blue, &green].into_iter().for_each(|upstream| upstream.set(Behaviour::Echo));
    let patient = COMPARES.replace("timeout: 2s", "timeout: 20s");
    let envoy = between(&blue, &green, Config::rollout(&patient)).workers(1).start().await;
    let body = gzip(b"{\"outputs\": [{\"data\": [1]}]}");
    let head =
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n14\r\n";
    let mut waiting = Vec::new();
    for _ in 0..64 {
        let mut stream = open_raw(&envoy, head).await;
        stream.write_all(&[&body[..20], b"\r\n"].concat()).await.unwrap();
        read_until(&mut stream, "\r\n\r\n14\r\n").await;
        waiting.push(stream);
    }
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let mut send = async || {
        let headers: &[(&str, &[u8])] = &[("content-encoding", b"gzip")];
        connection.send(request("POST", "/", headers, body.clone())).await.expect("an answer")
    };
    send().await;
    wait_for("the one that is skipped", async || {
        (results_of(&envoy, "skipped_memory").await == 1).then_some(())
    })
    .await;
    drop(waiting);
    settled(&envoy, 65).await;
    send().await;
    let results = settled(&envoy, 66).await;
    assert_eq!(
        (results["matched"], results["skipped_unanswered"], results.contains_key("differed")),
        (1, 64, false)
    );
}

/// Requests of half of a test with a shadow that fails. Both halves end with the same memory.
const HALF: u64 = 300;
/// Kilobytes that the second half may leave behind: its requests have more than twice as many.
const MOST_LEFT: u64 = 8 << 10;

/// A question of 64 KB, so that Envoy's memory shows copies that are kept.
fn long_ask(number: u64) -> hyper::Request<http_body_util::Full<Bytes>> {
    let body = json!({"n": number, "padding": "x".repeat(64 << 10)}).to_string();
    request("POST", "/v2/models/digits/infer", &[], body)
}

/// Sends requests twice to an Envoy whose shadow does nothing but fail, or whose every answer differs. `asked` is what the
/// shadow has counted.
async fn assert_told_apart(
    setup: Setup,
    result: &str,
    asked: impl Fn() -> u64,
    (half, connections): (u64, usize),
) {
    let envoy = setup.workers(2).start().await;
    let begun = asked();
    let mut memory = Vec::new();
    for round in 1..=2 {
        let tally = Load::to(envoy.address()).connections(connections).each(long_ask).send(half).await;
        tally.assert_all_ok();
        assert_eq!(tally.from("blue"), half);
        let results = settled(&envoy, round * half).await;
        let of = |result: &str| results.get(result).copied().unwrap_or(0);
        assert_eq!(of(result), of("sent"), "{results:?}");
        assert!(of("sent") > 0, "{results:?}");
        // The shadow may take a copy up after the filter has given it up.
        wait_for(&format!("{} copies at the shadow", of("sent")), async || {
            (asked() - begun >= of("sent")).then_some(())
        })
        .await;
        assert_eq!(asked() - begun, of("sent"), "{results:?}");
        memory.push(envoy.resident_kilobytes());
    }
    assert!(memory[1] < memory[0] + MOST_LEFT, "{result}: kilobytes {memory:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_fails_is_told_apart_and_hurts_nobody() {
    let blue = Upstream::start("blue").await;
    blue.set(classifier(0));
    let config = |timeout: &str| Config::rollout(&COMPARES.replace("timeout: 2s", timeout));
    // Where a copy must not be given up for a slow machine.
    let (hasty, patient) = ("timeout: 300ms", "timeout: 20s");
    let beside = |config: Config, address| {
        Setup::shipped(config).clusters(&[("blue", blue.address()), ("green", address)])
    };
    let load = (HALF, 16);
    for (behaviour, timeout) in [
        (Raw::Silent, hasty),
        (Raw::CloseBeforeHeaders, patient),
        (Raw::CloseInBody, patient),
        (Raw::Garbage, patient),
        (Raw::NeverReads, hasty),
    ] {
        let green = RawUpstream::start(behaviour).await;
        assert_told_apart(beside(config(timeout), green.address()), "failed", || green.asked(), load).await;
    }
    let envoy = beside(config(hasty), free_address()).workers(2).start().await;
    Load::to(envoy.address()).each(ask).send(HALF).await.assert_all_ok();
    let results = settled(&envoy, HALF).await;
    assert_eq!(results["failed"], results["sent"], "{results:?}");
    let green = Upstream::start("green").await;
    for (behaviour, timeout, result) in [
        (Behaviour::Status(503), patient, "failed"),
        (Behaviour::Status(200).after(Duration::from_secs(3)), hasty, "failed"),
        (Behaviour::Status(500), patient, "differed"),
        (Behaviour::Body(vec![b'x'; 300 << 10].into(), Vec::new()), patient, "differed"),
        (Behaviour::Body("{".into(), vec![("content-type", "application/json")]), patient, "differed"),
        // Slow, and in time.
        (Behaviour::Status(200).after(Duration::from_millis(300)), patient, "differed"),
    ] {
        green.set(behaviour);
        assert_told_apart(beside(config(timeout), green.address()), result, || green.count(), load).await;
    }
    // As long as hardly any answer, one at a time: Envoy holds each as a whole.
    green.set(Behaviour::Body(vec![b'x'; 10 << 20].into(), Vec::new()));
    let setup = beside(config("timeout: 20s, max_in_flight: 1"), green.address());
    assert_told_apart(setup, "differed", || green.count(), (40, 1)).await;
    // More than Envoy can hold of an answer: no answer.
    green.set(Behaviour::Body(vec![b'x'; 40 << 20].into(), Vec::new()));
    let envoy = beside(config(patient), green.address()).start().await;
    Load::to(envoy.address()).each(ask).send(3).await.assert_all_ok();
    assert_eq!(settled(&envoy, 3).await["failed"], 3);
    // A cluster that is not there is asked for nothing.
    let envoy = Setup::shipped(config(hasty)).clusters(&[("blue", blue.address())]).start().await;
    Load::to(envoy.address()).each(ask).send(50).await.assert_all_ok();
    assert_eq!(settled(&envoy, 50).await["skipped_refused"], 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_hold_across_pushes_and_a_killed_shadow() {
    let (blue, green) = blue_and_green().await;
    blue.set(classifier(0));
    let patient = COMPARES.replace("timeout: 2s", "timeout: 50s");
    let envoy = between_ecds(&blue, &green, Config::rollout(&patient)).workers(2).start().await;
    // What waits for the shadow ends with the root that has sent it.
    green.set(Behaviour::gate());
    Load::to(envoy.address()).each(ask).send(20).await.assert_all_ok();
    wait_for("copies", async || (green.count() == 20).then_some(())).await;
    envoy.push(&Config::rollout(&COMPARES.replace("timeout: 2s", "timeout: 9s"))).await;
    assert_eq!(settled(&envoy, 20).await["cancelled"], 20);
    green.set(classifier(1));
    let load = Load::to(envoy.address()).each(ask).per_second(1_000.0).start();
    for round in 0..5_u32 {
        let reached = 300 * u64::from(round + 1);
        wait_for("requests", async || (load.sent() >= reached).then_some(())).await;
        let timeout = format!("timeout: {}s", 3 + round);
        envoy.push(&Config::rollout(&COMPARES.replace("timeout: 2s", &timeout))).await;
    }
    let tally = load.stop().await;
    tally.assert_all_ok();
    assert_eq!(tally.from("blue"), tally.total());
    let drawn = 20 + tally.total();
    let results = settled(&envoy, drawn).await;
    // A push takes copies back, of which some have not reached the shadow yet.
    let taken_back = results["cancelled"] - 20;
    assert!((results["sent"] - taken_back..=results["sent"]).contains(&green.count()), "{results:?}");
    assert!(results["matched"] > 100, "{results:?}");
    // Its connections end with their next answer, and no new ones are accepted.
    green.set(Behaviour::Body("{}".into(), vec![("connection", "close")]));
    // Once the VMs have had as many large bodies at a time as there will be: their memory does not shrink.
    Load::to(envoy.address()).each(long_ask).per_second(200.0).send(HALF).await.assert_all_ok();
    let drawn = drawn + HALF;
    settled(&envoy, drawn).await;
    let before = envoy.resident_kilobytes();
    let load = Load::to(envoy.address()).each(long_ask).per_second(200.0).start();
    wait_for("the shadow to answer", async || (load.sent() >= 50).then_some(())).await;
    drop(green);
    wait_for("requests", async || (load.sent() >= 2 * HALF).then_some(())).await;
    let tally = load.stop().await;
    tally.assert_all_ok();
    assert_eq!(tally.from("blue"), tally.total());
    let results = settled(&envoy, drawn + tally.total()).await;
    assert!(results["failed"] >= 1, "{results:?}");
    let after = envoy.resident_kilobytes();
    assert!(after < before + MOST_LEFT, "kilobytes {before} became {after}");
}

/// The canary begins once the shadow is proven.
const PROVEN_FIRST: &str = "mirror: {to: green, mode: compare, methods: [POST], percent: 0, timeout: 20s, compare: {label: /outputs/0/data/0}}, \
     steps: [{set_mirror: {percent: 100}}, {pause: {min_compared: 300, min_agreement: 0.75}}, {set_weight: 50}, {pause: {}}], \
     analysis: {metrics: [{name: error_rate}, {name: mirror.disagreement, max: 0.2}]}";

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_answers_at_random_is_stopped_before_it_serves_anybody() {
    for workers in [1, 4] {
        let (blue, green) = blue_and_green().await;
        blue.set(classifier(0));
        green.set(Make::by(|number, _| {
            Made::json(json!({"outputs": [{"data": [number * 7 % 10]}]}).to_string())
        }));
        let envoy =
            between(&blue, &green, Config::rollout(PROVEN_FIRST)).workers(workers).control().start().await;
        let load = Load::to(envoy.address()).each(ask).per_second(200.0).start();
        let event = wait_for_event(&envoy, "rollback").await;
        assert_eq!(event["rule"], "mirror.disagreement.max", "{event}");
        let samples = &event["samples"];
        assert!(samples["candidate"]["events"].as_u64() <= Some(green.count()), "{event}");
        assert_eq!(samples["stable"]["units"], 0, "{event}");
        // It gets no copies any more, once all workers follow.
        let sent = load.sent();
        wait_for("more load", async || (load.sent() > sent + 100).then_some(())).await;
        load.settle().await;
        let copies = green.count();
        wait_for("more load", async || (load.sent() > sent + 400).then_some(())).await;
        assert_eq!(green.count(), copies, "copies after the rollback");
        let tally = load.stop().await;
        tally.assert_all_ok();
        assert_eq!((tally.from("blue"), tally.total()), (blue.count(), blue.count()), "all were stable's");
        let results = results(&envoy).await;
        assert_eq!((results["sent"], results.get("failed")), (copies, None), "{results:?}");
        let (_, rollout) = control::get(&envoy, "/v1/rollouts/digits").await;
        assert_eq!(
            (&rollout["phase"], &rollout["weights"]["green"], &rollout["mirror"]),
            (&json!("failed"), &json!(0), &json!(0))
        );
        // A repaired model, tried again: what was compared of the one before is not its own.
        let differences = async || control::get(&envoy, "/v1/rollouts/digits/differences").await.1;
        let before = differences().await;
        assert!(before["matched"].as_u64() < before["compared"].as_u64(), "{before}");
        green.set(classifier(0));
        control::obeyed(&envoy, "/v1/rollouts/digits/retry").await;
        let load = Load::to(envoy.address()).each(ask).per_second(200.0).start();
        let after = wait_for("pairs of the retry", async || {
            let found = differences().await;
            (found["compared"].as_u64() > Some(50)).then_some(found)
        })
        .await;
        assert_eq!(after["matched"], after["compared"], "{after}");
        load.stop().await.assert_all_ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_agrees_goes_on_to_the_canary_when_that_is_proven() {
    let (blue, green) = blue_and_green().await;
    blue.set(classifier(0));
    green.set(classifier(1));
    let envoy = between(&blue, &green, Config::rollout(PROVEN_FIRST)).workers(2).control().start().await;
    let rollout = async || control::get(&envoy, "/v1/rollouts/digits").await.1;
    let load = Load::to(envoy.address()).each(ask).per_second(100.0).start();
    let begun = "the step waits for compared answers of the shadow: ";
    let waits = wait_for("the step to count", async || {
        let rollout = rollout().await;
        let compared = rollout["step"]["compared"].as_u64()?; // not known yet
        let says = rollout["reason"] == format!("{begun}{compared} of 300");
        (says && compared > 0).then_some(rollout)
    })
    .await;
    assert_eq!(waits["weights"]["green"], 0, "{waits}");
    assert!(waits["step"]["agreement"]["low"].as_f64() > Some(0.0), "{waits}");
    wait_for("the canary", async || (rollout().await["weights"]["green"] == 50).then_some(())).await;
    let sent = load.sent();
    wait_for("more load", async || (load.sent() > sent + 200).then_some(())).await;
    let tally = load.stop().await;
    tally.assert_all_ok();
    assert!(tally.from("green") > 20, "{}", tally.from("green"));
    assert!(!actions(&envoy).iter().any(|action| action == "rollback"));
    // The gauges, from the same pairs.
    let (_, differences) = control::get(&envoy, "/v1/rollouts/digits/differences").await;
    for (gauge, field) in [("", "value"), ("_low", "low"), ("_high", "high")] {
        let expected = (differences["agreement"][field].as_f64().unwrap() * 10_000.0).round();
        wait_for("the gauge", async || {
            let metrics = envoy.metrics().await;
            let found = metrics.sum(&format!("changeover_mirror_agreement{gauge}"), &[("version", "green")]);
            (found == expected).then_some(())
        })
        .await;
    }
}

/// Answers at random are noise: stable differs from itself as often as a shadow of the same kind does.
fn at_random(classes: u64) -> Behaviour {
    Make::by(move |number, _| {
        let label = fastrand::Rng::with_seed(number).u64(..) >> 40;
        Made::json(json!({"outputs": [{"data": [label % classes]}]}).to_string())
    })
}

const WITH_BASELINE: &str = "mirror: {to: green, mode: compare, methods: [POST], max_in_flight: 1024, timeout: 20s, \
     compare: {label: /outputs/0/data/0, baseline: true, samples: 5}}, steps: [{set_weight: 0}, {pause: {}}], \
     analysis: {false_alarm: 0.000001, metrics: [{name: error_rate}, {name: mirror.disagreement}]}";

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_judged_by_how_often_stable_differs_from_itself() {
    let (blue, green) = blue_and_green().await;
    blue.set(at_random(2));
    green.set(at_random(2));
    let envoy = between(&blue, &green, Config::rollout(WITH_BASELINE)).workers(2).control().start().await;
    let tally = Load::to(envoy.address()).each(ask).per_second(300.0).send(900).await;
    tally.assert_all_ok();
    let found = wait_for("all answers", async || {
        let (_, found) = control::get(&envoy, "/v1/rollouts/digits/differences").await;
        (found["compared"] == 900 && found["baseline"]["beside"] == 900).then_some(found)
    })
    .await;
    assert_eq!((blue.count(), green.count()), (1_800, 900), "stable gets each request twice");
    let baseline = &found["baseline"];
    let of = |name: &str| baseline[name].as_u64().unwrap();
    assert_eq!(of("compared"), 900, "{found}");
    // Diffy's numbers, from the requests in which either differs.
    let raw = 900 - found["matched"].as_u64().unwrap();
    assert_eq!(of("only_shadow") + of("both"), raw, "{found}");
    let (noise, real) =
        (of("only_baseline") + of("both"), |count: u64| f64::from(u32::try_from(count).unwrap()));
    let absolute = real(raw.abs_diff(noise)) / 9.0;
    assert!((baseline["diffy"]["absolute"].as_f64().unwrap() - absolute).abs() < 1e-9, "{found}");
    // Both differ from stable about half of the time; a quarter each, only one does.
    for count in [of("only_shadow"), of("only_baseline")] {
        assert_share(count, 900, 0.25);
    }
    let samples = found["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 5, "{found}");
    for sample in samples {
        // The label, which decides.
        assert_eq!((&sample["field"], &sample["kind"]), (&json!("/outputs/0/data/0"), &json!("value")));
        assert_ne!(sample["stable"], sample["shadow"], "{sample}");
    }
    assert!(baseline["log10_e"].as_f64() < Some(6.0), "{found}");
    assert!(!actions(&envoy).iter().any(|action| action == "rollback"), "{found}");
    let copied = envoy.metrics().await;
    for version in ["blue", "green"] {
        let sent = [("version", version), ("result", "sent")];
        assert_eq!(copied.sum("changeover_mirror_requests_total", &sent), 900.0, "{version}");
    }
    blue.set(Behaviour::Status(200));
    Load::to(envoy.address()).each(ask).send(1).await.assert_all_ok();
    let mut seen = Vec::new();
    wait_for("the copy", async || {
        seen.append(&mut blue.take_seen());
        (seen.len() == 2).then_some(())
    })
    .await;
    blue.set(at_random(2));
    let copies: Vec<&Seen> =
        seen.iter().filter(|seen| seen.headers.contains_key("x-changeover-shadow")).collect();
    assert_eq!(copies.len(), 1);
    assert_eq!(copies[0].headers["x-changeover-shadow"], "blue");
    assert_eq!(copies[0].body, seen[0].body);
    // Another shadow: it never answers as stable does.
    green.set(Make::by(|_, _| Made::json(json!({"outputs": [{"data": [7]}]}).to_string())));
    let load = Load::to(envoy.address()).each(ask).per_second(300.0).start();
    let event = wait_for_event(&envoy, "rollback").await;
    assert_eq!(event["rule"], "mirror.disagreement", "{event}");
    let tally = load.stop().await;
    tally.assert_all_ok();
    assert_eq!(tally.from("blue"), tally.total());
}
