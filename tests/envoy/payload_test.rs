//! What goes in and what comes out: figures are what clients and model servers counted, and releases depend on them.

use std::sync::{Arc, Mutex};

use crate::harness::*;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

/// A request of the nth user: some lack their age, some come from an unknown country.
fn asked(number: u64) -> Value {
    let country = ["de", "fr", "atlantis"][number as usize % 3];
    let mut user = json!({"country": country});
    if !number.is_multiple_of(5) {
        user["age"] = json!(number % 90);
    }
    json!({"text": "ä".repeat(number as usize % 40), "user": user})
}

/// What the nth request is answered: every 25th null.
fn answered(number: u64) -> Value {
    let label = match number % 25 {
        0 => Value::Null,
        n if n < 15 => json!("cat"),
        n if n < 20 => json!("dog"),
        _ => json!("a;b"),
    };
    json!({"predictions": [label], "confidence": (number % 100) as f64 / 100.0})
}

const FIGURES: &str = "payload: {protocol: json, \
     input: {fields: [/user/age], length: /text, categories: {/user/country: [de, fr]}}, \
     output: {value: /predictions/0, labels: 2, confidence: /confidence}}";

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_what_clients_sent_and_models_answered() {
    const REQUESTS: u64 = 2_000;
    let (blue, green) = blue_and_green().await;
    let answers = Arc::new(Mutex::new(Vec::new()));
    for upstream in [&blue, &green] {
        let answers = Arc::clone(&answers);
        upstream.set(Make::by(move |_, seen| {
            let number: u64 = seen.headers["x-number"].to_str().unwrap().parse().unwrap();
            let answer = answered(number);
            answers.lock().unwrap().push(answer.clone());
            // Half of all bodies are compressed, both ways.
            if number.is_multiple_of(2) {
                return Made::json(answer.to_string());
            }
            let mut made = Made::json(gzip(answer.to_string().as_bytes()));
            made.headers.push(("content-encoding", "gzip".into()));
            made
        }));
    }
    let config = Config::rollout(&format!("weights: {{green: 50}}, {FIGURES}"));
    let envoy = between(&blue, &green, config).workers(4).start().await;
    let load = Load::to(envoy.address()).each(|number| {
        let name = number.to_string();
        let body = asked(number).to_string().into_bytes();
        let headers: &[(&str, &[u8])] = &[("x-number", name.as_bytes()), ("content-encoding", b"gzip")];
        if number % 2 == 0 {
            request("POST", "/", headers, gzip(&body))
        } else {
            request("POST", "/", &headers[..1], body)
        }
    });
    load.send(REQUESTS).await.assert_all_ok();

    let metrics = wait_for("all histograms", async || {
        let metrics = envoy.metrics().await;
        (metrics.sum("changeover_request_bytes_count", &[]) == REQUESTS as f64).then_some(metrics)
    })
    .await;
    let asked: Vec<Value> = (0..REQUESTS).map(asked).collect();
    let answers = answers.lock().unwrap().clone();
    assert_eq!(answers.len() as u64, REQUESTS);
    let count =
        |of: &[Value], is: &dyn Fn(&Value) -> bool| of.iter().filter(|value| is(value)).count() as f64;
    let sum = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, labels);
    let (input, output) = (("kind", "input"), ("kind", "output"));
    for kind in [input, output] {
        assert_eq!(sum("changeover_payload_total", &[kind, ("result", "read")]), REQUESTS as f64);
        assert_eq!(sum("changeover_payload_total", &[kind]), REQUESTS as f64, "nothing else");
    }
    let bytes: usize = asked.iter().map(|asked| asked.to_string().len()).sum();
    assert_eq!(sum("changeover_payload_read_bytes_total", &[input]), bytes as f64);
    let characters: usize = asked.iter().map(|asked| asked["text"].as_str().unwrap().chars().count()).sum();
    assert_eq!(sum("changeover_input_length_total", &[]), characters as f64);
    assert_eq!(sum("changeover_input_length_count", &[]), REQUESTS as f64);
    let age = ("field", "/user/age");
    assert_eq!(sum("changeover_input_values_total", &[age]), REQUESTS as f64);
    assert_eq!(
        sum("changeover_input_missing_total", &[age]),
        count(&asked, &|asked| asked["user"].get("age").is_none())
    );
    assert_eq!(
        sum("changeover_input_unseen_total", &[("field", "/user/country")]),
        count(&asked, &|asked| asked["user"]["country"] == "atlantis")
    );

    assert_eq!(sum("changeover_output_answers_total", &[]), REQUESTS as f64);
    let is_null = |answer: &Value| answer["predictions"][0].is_null();
    assert_eq!(sum("changeover_output_null_total", &[]), count(&answers, &is_null));
    for upstream in [("blue", &blue), ("green", &green)] {
        let of = sum("changeover_output_answers_total", &[("version", upstream.0)]);
        assert_eq!(of, upstream.1.count() as f64, "{}", upstream.0);
    }
    // Two labels are counted, the first that each worker saw; which ones depends on the order.
    let labelled = sum("changeover_output_labels_total", &[]);
    assert_eq!(labelled, REQUESTS as f64 - count(&answers, &is_null));
    let of_label = |label: &str| sum("changeover_output_labels_total", &[("label", label)]);
    let cats = count(&answers, &|answer| answer["predictions"][0] == "cat");
    assert!(of_label("cat") <= cats && of_label("other") > 0.0, "{} of {cats}", of_label("cat"));
    assert_eq!(of_label("cat") + of_label("dog") + of_label("a_b") + of_label("other"), labelled);
    let thousandths: f64 =
        answers.iter().map(|answer| (answer["confidence"].as_f64().unwrap() * 1_000.0).round()).sum();
    assert_eq!(sum("changeover_output_confidence_thousandths_total", &[]), thousandths);
    assert_eq!(sum("changeover_output_confidence_thousandths_count", &[]), REQUESTS as f64);
}

/// Clients send half of their compressed requests, or their heads alone, and wait.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_requests_that_do_not_end_keep_no_answer_from_being_read() {
    let (blue, green) = blue_and_green().await;
    blue.set(Make::by(|_, _| {
        let mut made = Made::json(gzip(br#"{"predictions": ["cat"]}"#));
        made.headers.push(("content-encoding", "gzip".to_owned()));
        made
    }));
    let fields = "payload: {protocol: json, output: {value: /predictions/0}}";
    let envoy = between(&blue, &green, Config::rollout(fields)).workers(1).start().await;
    let head = "POST / HTTP/1.1\r\nhost: h\r\ncontent-encoding: gzip\r\ncontent-length: 999\r\n\r\n";
    let mut waiting = Vec::new();
    for number in 0..140 {
        let mut stream = open_raw(&envoy, head).await;
        if number % 2 == 0 {
            stream.write_all(&gzip(b"{}")[..11]).await.unwrap();
        }
        waiting.push(stream);
    }
    wait_for("all of them", async || {
        (envoy.stat("http.ingress.downstream_rq_active").await >= 140).then_some(())
    })
    .await;
    let mut connection = Connection::open(envoy.address()).await.unwrap();
    for _ in 0..5 {
        connection.send(request("GET", "/", &[], "")).await.unwrap();
    }
    let metrics = envoy.metrics().await;
    let output = ("kind", "output");
    assert_eq!(metrics.sum("changeover_payload_total", &[output, ("result", "read")]), 5.0);
    drop(waiting);
    let of_input = wait_for("the requests to end", async || {
        let metrics = envoy.metrics().await;
        let of = |result| metrics.sum("changeover_payload_total", &[("kind", "input"), ("result", result)]);
        (of("empty") + of("truncated") + of("skipped_memory") == 145.0)
            .then(|| (of("truncated"), of("skipped_memory")))
    })
    .await;
    assert_eq!(of_input, (32.0, 38.0), "half of the places are for requests");
}

/// An event of a chat's stream.
fn chunk(delta: Value, finish: Option<&str>) -> String {
    json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_tokens_are_read_to_their_end() {
    let (blue, green) = blue_and_green().await;
    blue.set(Make::by(|count, _| {
        let begin = [chunk(json!({"role": "assistant", "content": ""}), None)];
        let text = (0..10).map(|_| chunk(json!({"content": "word "}), None));
        let usage =
            json!({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 12}}).to_string();
        let ends: Vec<String> = match count % 4 {
            0 => vec![chunk(json!({}), Some("stop")), usage, "[DONE]".into()],
            1 => vec![chunk(json!({}), Some("length")), usage, "[DONE]".into()],
            // As vLLM fails in the middle of a stream, with status 200.
            2 => vec![json!({"error": {"message": "EngineCore", "code": 500}}).to_string(), "[DONE]".into()],
            // As Ollama ends: by nothing.
            _ => vec![],
        };
        Made::events(begin.into_iter().chain(text).chain(ends))
    }));
    // Less than a stream, and more than an event.
    let config = Config::rollout("payload: {protocol: openai, max_body: 512B}");
    let envoy = between(&blue, &green, config).start().await;
    let load = Load::to(envoy.address()).each(|_| {
        let body = json!({"messages": [{"role": "user", "content": "How are you?"}], "stream": true});
        request("POST", "/v1/chat/completions", &[("content-type", b"application/json")], body.to_string())
    });
    load.send(400).await.assert_all_ok();
    let metrics = wait_for("all histograms", async || {
        let metrics = envoy.metrics().await;
        (metrics.sum("changeover_request_bytes_count", &[]) == 400.0).then_some(metrics)
    })
    .await;
    let expected = [
        ("changeover_input_length_total", 400.0 * 12.0),
        ("changeover_output_answers_total", 400.0),
        ("changeover_output_error_objects_total", 200.0),
        ("changeover_output_truncated_total", 100.0),
        ("changeover_output_tokens_total", 200.0 * 12.0),
        ("changeover_input_tokens_total", 200.0 * 7.0),
        ("changeover_output_length_total", 200.0 * 50.0),
        ("changeover_output_first_token_milliseconds_count", 400.0),
        ("changeover_output_per_token_microseconds_count", 200.0),
    ];
    for (name, value) in expected {
        assert_eq!(metrics.sum(name, &[]), value, "{name}");
    }
    for (result, value) in [("stop", 100.0), ("length", 100.0), ("none", 200.0)] {
        assert_eq!(metrics.sum("changeover_output_choices_total", &[("result", result)]), value, "{result}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_any_body_changes() {
    let (blue, green) = blue_and_green().await;
    blue.set(Behaviour::Echo);
    let config = Config::rollout("payload: {protocol: open_inference, max_body: 64KiB}");
    let envoy = between(&blue, &green, config).start().await;
    let mut rng = fastrand::Rng::with_seed(1);
    let mut bodies: Vec<Vec<u8>> = vec![
        vec![],
        b"{".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        format!("{{\"inputs\": [{{\"data\": {}", "[".repeat(50_000)).into_bytes(),
        format!(
            "{{\"inputs\":[{{\"name\":\"x\",\"shape\":[200000],\"data\":[{}0]}}]}}",
            "0.25,".repeat(200_000)
        )
        .into_bytes(),
        (0..3_000_000).map(|_| rng.u8(..)).collect(),
        gzip(&vec![b' '; 20_000_000]),
        gzip(b"{}")[..12].to_vec(),
    ];
    let document = asked(39).to_string().into_bytes();
    for _ in 0..200 {
        let mut mutated = document.clone();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(0..mutated.len());
            mutated[at] = rng.u8(..);
        }
        mutated.truncate(rng.usize(1..=document.len()));
        bodies.push(mutated);
    }
    let types: [&[u8]; 4] = [b"application/json", b"text/event-stream", b"application/grpc", b"text/plain"];
    for http2 in [false, true] {
        for (number, body) in bodies.iter().enumerate() {
            let mut connection = if http2 {
                Connection::open_http2(envoy.address()).await.unwrap()
            } else {
                Connection::open(envoy.address()).await.unwrap()
            };
            let mut headers: Vec<(&str, &[u8])> =
                vec![("content-type", types[if number < 8 { 0 } else { number % 4 }])];
            if body.starts_with(&[0x1f, 0x8b]) {
                headers = vec![("content-encoding", b"gzip")];
            } else if number % 5 == 0 {
                headers.push(("inference-header-content-length", b"17"));
            }
            let answer = connection.send(request("POST", "/", &headers, Bytes::from(body.clone()))).await;
            let answer = answer.unwrap_or_else(|error| panic!("body {number}, HTTP/2 {http2}: {error}"));
            assert_eq!((answer.status.as_u16(), answer.body.len()), (200, body.len()), "body {number}");
            assert!(answer.body == *body, "body {number}");
        }
    }
    let metrics = envoy.metrics().await;
    let results = ["read", "truncated", "too_large", "malformed", "too_complex", "skipped_type"];
    for result in results {
        let count = metrics.sum("changeover_payload_total", &[("kind", "input"), ("result", result)]);
        assert!(count > 0.0, "{result}");
    }
    let all = metrics.sum("changeover_payload_total", &[("kind", "input")]);
    assert_eq!(all, 2.0 * (bodies.len() - 1) as f64, "a request without a body asks for no inference");
}

/// A recorded message: its headers by lower-case name, and its body.
fn recorded(name: &str) -> (Vec<(String, String)>, Bytes) {
    let path = format!("{}/tests/fixtures/payload/{name}.http", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("headers");
    let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    (headers, Bytes::from(bytes).slice(end + 4..))
}

/// A metric, its labels, and its value for each of the requests.
type Expected = (&'static str, &'static [(&'static str, &'static str)], f64);

/// TensorFlow Serving's form, as KServe and its clients exchanged it.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_requests_and_answers_count_as_what_they_hold() {
    const TIMES: f64 = 5.0;
    const NAMES: [&str; 4] = ["kserve-v1", "kserve-v1-400-nan", "kserve-v1-400-truncated", "kserve-v1-500"];
    let (blue, green) = blue_and_green().await;
    blue.set(Make::by(|_, seen| {
        let name = seen.headers["x-name"].to_str().unwrap();
        let (_, body) = recorded(&format!("{name}.response"));
        let status = name.split('-').find_map(|part| part.parse().ok());
        Made { status, ..Made::json(body) }
    }));
    let fields =
        "payload: {protocol: tf_serving, input: {fields: [/instances/*/*]}, output: {labels: [\"0\"]}}";
    let envoy = between(&blue, &green, Config::rollout(fields)).start().await;
    for name in NAMES.repeat(TIMES as usize) {
        let (headers, body) = recorded(&format!("{name}.request"));
        let kept =
            headers.iter().filter(|(name, _)| name.starts_with("content-t") || name == "accept-encoding");
        let mut headers: Vec<(&str, &[u8])> =
            kept.map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        headers.push(("x-name", name.as_bytes()));
        let mut connection = Connection::open(envoy.address()).await.unwrap();
        let answer = connection.send(request("POST", "/v1/models/digits:predict", &headers, body)).await;
        assert_eq!(answer.unwrap().body, recorded(&format!("{name}.response")).1);
    }
    let metrics = wait_for("all histograms", async || {
        let metrics = envoy.metrics().await;
        (metrics.sum("changeover_request_bytes_count", &[]) == 4.0 * TIMES).then_some(metrics)
    })
    .await;
    // Two images of 64 pixels; one with a NaN; half a document; two numbers.
    let expected: [Expected; 8] = [
        ("changeover_input_length_total", &[], 128.0 + 64.0 + 2.0),
        ("changeover_input_values_total", &[("field", "/instances/*/*")], 128.0 + 64.0 + 2.0),
        ("changeover_input_missing_total", &[("field", "/instances/*/*")], 1.0),
        ("changeover_payload_total", &[("kind", "input"), ("result", "truncated")], 1.0),
        ("changeover_payload_total", &[("kind", "input"), ("result", "read")], 3.0),
        // What failed is no answer.
        ("changeover_output_answers_total", &[], 1.0),
        ("changeover_output_length_total", &[], 2.0),
        ("changeover_output_labels_total", &[("label", "0")], 1.0),
    ];
    for (name, labels, each) in expected {
        assert_eq!(metrics.sum(name, labels), each * TIMES, "{name} {labels:?}");
    }
}

/// Calls of Open Inference over gRPC in the form that MLServer's client sent, with the figures that it saw.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_grpc_count_as_what_they_hold() {
    let framed = |name: &str| {
        let path = format!("{}/tests/fixtures/payload/{name}.pb", env!("CARGO_MANIFEST_DIR"));
        let message = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat()
    };
    let (blue, green) = blue_and_green().await;
    let answer = framed("mlserver-grpc-raw.response");
    blue.set(Make::by({
        let answer = answer.clone();
        move |_, _| {
            let headers = vec![("content-type", "application/grpc".into())];
            // In pieces that end anywhere.
            let pieces = answer.chunks(7).map(|piece| piece.to_vec().into()).collect();
            Made { headers, pieces, ..Made::default() }
        }
    }));
    let fields = "payload: {protocol: open_inference, input: {fields: [\"/inputs/0/data/*\"]}, \
                  output: {labels: [\"0\", \"1\"]}}";
    let envoy = between(&blue, &green, Config::rollout(fields)).http2_upstreams().start().await;
    let request_body = framed("mlserver-grpc-contents.request");
    for method in ["ModelInfer", "ModelInfer", "ServerReady"] {
        let mut connection = Connection::open_http2(envoy.address()).await.unwrap();
        let headers: [(&str, &[u8]); 2] = [("content-type", b"application/grpc"), ("te", b"trailers")];
        let path = format!("/inference.GRPCInferenceService/{method}");
        let call = request("POST", &path, &headers, Bytes::from(request_body.clone()));
        assert_eq!(connection.send(call).await.unwrap().body, answer);
    }
    let metrics = wait_for("all histograms", async || {
        let metrics = envoy.metrics().await;
        (metrics.sum("changeover_request_bytes_count", &[]) == 3.0).then_some(metrics)
    })
    .await;
    let (input, output) = (("kind", "input"), ("kind", "output"));
    type Labels<'a> = &'a [(&'a str, &'a str)];
    let expected: [(&str, Labels<'_>, f64); 12] = [
        ("changeover_payload_total", &[input, ("result", "read")], 2.0),
        ("changeover_payload_total", &[output, ("result", "read")], 2.0),
        ("changeover_payload_total", &[input, ("result", "skipped_type")], 1.0),
        ("changeover_payload_messages_total", &[input], 3.0),
        ("changeover_payload_message_bytes_total", &[input], 3.0 * (request_body.len() - 5) as f64),
        ("changeover_payload_message_bytes_total", &[output], 3.0 * (answer.len() - 5) as f64),
        ("changeover_input_length_total", &[], 2.0 * 128.0),
        ("changeover_input_values_total", &[("field", "/inputs/0/data/*")], 2.0 * 128.0),
        ("changeover_output_answers_total", &[], 2.0),
        ("changeover_output_null_total", &[], 0.0),
        ("changeover_output_length_total", &[], 4.0),
        ("changeover_output_labels_total", &[("label", "0")], 2.0),
    ];
    for (name, labels, value) in expected {
        assert_eq!(metrics.sum(name, labels), value, "{name} {labels:?}");
    }
}

/// Users keep their part of the sample, and what is not sampled is not read.
#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_of_users() {
    let (blue, green) = blue_and_green().await;
    let config = Config::rollout(
        "session_affinity: {header: x-user}, payload: {protocol: json, sample: 25, input: {length: /text}}",
    );
    let envoy = between(&blue, &green, config).start().await;
    let load = Load::to(envoy.address()).each(|number| {
        let user = (number % 500).to_string();
        request("POST", "/", &[("x-user", user.as_bytes())], "{\"text\": \"\"}")
    });
    load.send(2_000).await.assert_all_ok();
    let read = envoy.metrics().await.sum("changeover_payload_total", &[("kind", "input")]);
    assert_eq!(read % 4.0, 0.0, "each user came four times");
    assert_share(read as u64 / 4, 500, 0.25);
}

/// A release at 50 % that judges these metrics.
fn judged(metrics: &str, payload: &str) -> Config {
    Config::rollout(&format!(
        "steps: [{{set_weight: 50}}, {{pause: {{}}}}], payload: {payload}, analysis: {{metrics: [{metrics}]}}"
    ))
}

fn answer(value: Value) -> Made {
    Made::json(json!({"predictions": [value]}).to_string())
}

/// How the versions answer the nth request.
type Answers = (fn(u64) -> Made, fn(u64) -> Made);

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_whose_answers_are_worse_is_rolled_back_for_it() {
    const PLAIN: &str = "{protocol: tf_serving}";
    let cases: [(&str, &str, &str, Answers, &str); 5] = [
        (
            "unreadable",
            "{name: error_rate}, {name: output.unreadable}",
            PLAIN,
            (
                |_| answer(json!(1.0)),
                |n| match n % 30 {
                    0 => Made::json(""),
                    10 => Made::json("{\"predictions\": [1"),
                    20 => Made {
                        headers: vec![("content-type", "text/html".to_owned())],
                        ..Made::json("<html>the model is loading</html>")
                    },
                    _ => answer(json!(1.0)),
                },
            ),
            "green is worse than blue (output.unreadable): ",
        ),
        (
            "nulls",
            "{name: error_rate}, {name: output.null}",
            PLAIN,
            (|_| answer(json!(1.0)), |n| answer(if n % 33 == 0 { Value::Null } else { json!(1.0) })),
            "green is worse than blue (output.null): ",
        ),
        (
            "labels",
            "{name: error_rate}, {name: \"output.label:spam\"}",
            PLAIN,
            (
                |n| answer(json!(if n % 2 == 0 { "spam" } else { "ham" })),
                |n| answer(json!(if n % 4 == 0 { "spam" } else { "ham" })),
            ),
            "green is worse than blue (output.label:spam): ",
        ),
        (
            "truncated",
            "{name: error_rate}, {name: output.truncated}",
            "{protocol: openai}",
            (|n| completion(20, n % 10 == 0), |n| completion(20, n % 5 == 0)),
            "green is worse than blue (output.truncated): ",
        ),
        (
            "wordy",
            "{name: error_rate}, {name: output.tokens}",
            "{protocol: openai}",
            (|n| completion(20 + n % 30, false), |n| completion(40 + n % 60, false)),
            "green is worse than blue (output.tokens): a geometric mean of ",
        ),
    ];
    for (what, metrics, payload, (of_blue, of_green), sentence) in cases {
        let (blue, green) = blue_and_green().await;
        blue.set(Make::by(move |count, _| of_blue(count)));
        green.set(Make::by(move |count, _| of_green(count)));
        let envoy = between(&blue, &green, judged(metrics, payload)).workers(2).start().await;
        let asks = |_| request("POST", "/", &[("content-type", b"application/json")], "{}");
        let load = Load::to(envoy.address()).per_second(800.0).each(asks).start();
        let event = wait_for_event(&envoy, "rollback").await;
        load.stop().await.assert_all_ok();
        let message = event["message"].as_str().unwrap();
        assert!(message.contains(sentence), "{what}: {message}");
    }
}

/// Clients ask for answers without a body that is read, and get them from the candidate alone.
#[tokio::test(flavor = "multi_thread")]
async fn clients_make_no_answer_unreadable() {
    let (blue, green) = blue_and_green().await;
    for upstream in [&blue, &green] {
        upstream.set(Make::by(|_, seen| {
            let accepts = |of: &str| seen.headers.get("accept").is_some_and(|accept| accept == of);
            let status = seen.headers.get("x-status").map(|status| status.to_str().unwrap().parse().unwrap());
            match () {
                () if accepts("text/html") => Made {
                    headers: vec![("content-type", "text/html".to_owned())],
                    ..Made::json("<html></html>")
                },
                () if status.is_some() || seen.method == "OPTIONS" => Made { status, ..Made::default() },
                () => Made::json("{\"label\": 1}"),
            }
        }));
    }
    let config = Config::rollout(
        "override: {header: x-try}, steps: [{set_weight: 50}, {pause: {min_requests: 400}}], \
         payload: {protocol: json, output: {value: /label}}, analysis: {metrics: [{name: error_rate}, {name: output.unreadable}]}",
    );
    let envoy = between(&blue, &green, config).workers(2).start().await;
    let load = Load::to(envoy.address()).per_second(400.0).each(|number| {
        let (method, name, value): (_, _, &[u8]) = match number % 8 {
            0 => ("HEAD", "x-odd", b"1"),
            1 => ("OPTIONS", "x-odd", b"1"),
            2 => ("GET", "accept", b"text/html"),
            3 => ("POST", "x-status", b"204"),
            4 => ("GET", "x-status", b"206"),
            _ => return request("POST", "/", &[], "{}"),
        };
        request(method, "/", &[(name, value)], "")
    });
    let load = load.start();
    let event = wait_for("the end", async || {
        let is_end = |event: &Value| ["succeed", "rollback"].contains(&event["action"].as_str().unwrap());
        events(&envoy).into_iter().find(is_end)
    })
    .await;
    load.stop().await;
    assert_eq!(event["action"], "succeed", "{event}");
}

/// Of every 20 requests some have long texts, some no age, some get a null, an error or a rare label; from either version.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_whose_odd_inputs_and_answers_are_those_of_stable_goes_on() {
    let (blue, green) = blue_and_green().await;
    for upstream in [&blue, &green] {
        upstream.set(Make::by(|_, seen| {
            let asked: Value = serde_json::from_slice(&seen.body).expect("JSON");
            let answer = match asked["n"].as_u64().expect("a number") % 20 {
                0 => json!({"label": null, "score": null}),
                1 => json!({"error": "no such user"}),
                2..5 => json!({"label": "spam", "score": 1e6}),
                _ => json!({"label": "ham", "score": -0.25}),
            };
            Made::json(answer.to_string())
        }));
    }
    let config = Config::rollout(
        "steps: [{set_weight: 50}, {pause: {min_requests: 3000}}], \
         payload: {protocol: json, input: {fields: [/age], length: /text}, output: {value: /label}}, \
         analysis: {false_alarm: 0.0001, metrics: [{name: error_rate}, {name: output.null}, {name: output.error_object}, \
           {name: \"output.label:spam\"}, {name: input.length}, {name: \"input.missing:/age\"}]}",
    );
    let envoy = between(&blue, &green, config).workers(2).start().await;
    let load = Load::to(envoy.address()).per_second(1_000.0).each(|number| {
        let text = "x".repeat(if number.is_multiple_of(50) { 20_000 } else { 20 });
        let age = if number.is_multiple_of(7) { Value::Null } else { json!(40) };
        let body = json!({"n": number, "text": text, "age": age}).to_string();
        request("POST", "/", &[("content-type", b"application/json")], body)
    });
    let load = load.start();
    wait_for_event(&envoy, "succeed").await;
    load.stop().await.assert_all_ok();
    assert_eq!(
        actions(&envoy).iter().filter(|action| ["rollback", "alarm"].contains(&action.as_str())).count(),
        0
    );
}

/// A completion of so many tokens, cut at its end or not.
fn completion(tokens: u64, is_cut: bool) -> Made {
    let message = json!({"role": "assistant", "content": "word ".repeat(tokens as usize)});
    let choice =
        json!({"index": 0, "message": message, "finish_reason": if is_cut { "length" } else { "stop" }});
    let usage = json!({"prompt_tokens": 5, "completion_tokens": tokens});
    Made::json(json!({"choices": [choice], "usage": usage}).to_string())
}

/// The report of vLLM, which servers send only when they are asked.
#[tokio::test(flavor = "multi_thread")]
async fn servers_report_their_load_to_the_filter_alone() {
    let (blue, green) = blue_and_green().await;
    let report = "TEXT named_metrics.kv_cache_usage_perc=0.25,cpu_utilization=1.5";
    blue.set(Make::by(move |_, seen| {
        let mut made = Made::json("{}");
        if seen.headers.get("endpoint-load-metrics-format").is_some_and(|format| format == "text") {
            made.headers.push(("endpoint-load-metrics", report.to_owned()));
        }
        made
    }));
    let envoy = between(&blue, &green, Config::rollout("server_load: true")).start().await;
    let mut connection = Connection::open(envoy.address()).await.unwrap();
    let answer = connection.send(request("GET", "/", &[], "")).await.unwrap();
    assert_eq!(answer.header("endpoint-load-metrics"), None, "the client has not asked");
    let asked: &[(&str, &[u8])] = &[("endpoint-load-metrics-format", b"text")];
    let answer = connection.send(request("GET", "/", asked, "")).await.unwrap();
    assert_eq!(answer.header("endpoint-load-metrics"), Some(report));
    let metrics = envoy.metrics().await;
    let load = |metric| metrics.sum("changeover_server_load", &[("version", "blue"), ("metric", metric)]);
    assert_eq!((load("named_metrics.kv_cache_usage_perc"), load("cpu_utilization")), (250.0, 1_500.0));
}

/// A rule in front of the filter sends a tenant, with longer requests, to the candidate: here by the user that requests
/// name. Long requests fail more often, on either version.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_something_else_routes_voids_the_verdict() {
    let (blue, green) = blue_and_green().await;
    for upstream in [&blue, &green] {
        upstream.set(Make::by(|count, seen| {
            let fails = seen.body.len() > 1_000 && count.is_multiple_of(4);
            Made { status: fails.then_some(503), ..Made::json("{}") }
        }));
    }
    let config = Config::rollout(
        "session_affinity: {header: x-user}, steps: [{set_weight: 50}, {pause: {}}], \
         payload: {protocol: json, input: {length: /text}}, \
         analysis: {metrics: [{name: error_rate}, {name: input.length}]}",
    );
    let envoy = between(&blue, &green, config).start().await;
    // The candidate has the lower half of the buckets.
    let salt = changeover::routing::assign::Salt::new("1");
    let is_candidates = move |user: &str| salt.bucket(user.as_bytes()) < 5_000;
    let load = Load::to(envoy.address()).per_second(400.0).each(move |number| {
        let is_tenant = number.is_multiple_of(3);
        let mut user = number.to_string();
        while is_tenant && !is_candidates(&user) {
            user.push('t');
        }
        let text = "x".repeat(if is_tenant { 2_000 } else { 20 });
        request("POST", "/", &[("x-user", user.as_bytes())], json!({"text": text}).to_string())
    });
    let load = load.start();
    // Another one may come first: errors are found before lengths are compared.
    wait_for("the alarm that versions receive different requests", async || {
        let said = |event: &Value| {
            let message = event["message"].as_str().unwrap();
            message.contains("green and blue receive different requests (input.length): a geometric mean of")
                || message.contains("a different share of users than its weight")
        };
        events(&envoy).into_iter().find(said)
    })
    .await;
    let void = wait_for("the verdict that is not acted on", async || {
        let said =
            |event: &Value| event["message"].as_str().unwrap().starts_with("ignored, because the versions");
        events(&envoy).into_iter().find(said)
    })
    .await;
    assert_eq!(void["action"], "alarm");
    load.stop().await;
    assert_eq!(actions(&envoy).iter().filter(|action| *action == "rollback").count(), 0);
    assert!(green.count() > 0);
}

/// The most memory that a process has had, in megabytes.
fn peak_megabytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Bodies far larger than `max_body`, and than what Envoy buffers.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_100_megabytes_pass_unchanged_and_are_not_held() {
    const MEGABYTES: usize = 100;
    let (blue, green) = blue_and_green().await;
    blue.set(Behaviour::Echo);
    let number = |n: usize| format!("{}.{},", n % 17, n * 7_919 % 10_000);
    let mut tensor = b"{\"inputs\":[{\"name\":\"x\",\"shape\":[1,20000000],\"data\":[".to_vec();
    let piece: String = (0..150_000).map(number).collect();
    while tensor.len() < MEGABYTES << 20 {
        tensor.extend_from_slice(piece.as_bytes());
    }
    tensor.extend_from_slice(b"0]}],\"outputs\":[{\"name\":\"y\",\"shape\":[1],\"data\":[1]}]}");
    let text = format!("{{\"outputs\":[{{\"data\":[\"{}\"]}}]}}", "wörter ".repeat((MEGABYTES << 20) / 8));
    for http2 in [false, true] {
        let config = Config::rollout("payload: {protocol: open_inference, max_body: 64MiB}");
        let envoy = between(&blue, &green, config).start().await;
        let mut before = None;
        for body in [Bytes::from_static(b"{}"), tensor.clone().into(), text.clone().into()] {
            let mut connection = if http2 {
                Connection::open_http2(envoy.address()).await.unwrap()
            } else {
                Connection::open(envoy.address()).await.unwrap()
            };
            let headers: &[(&str, &[u8])] = &[("content-type", b"application/json")];
            let answer = connection.send(request("POST", "/", headers, body.clone())).await.unwrap();
            assert_eq!(answer.status, 200);
            assert!(answer.body == body, "HTTP/2 {http2}, {} bytes", body.len());
            before.get_or_insert(peak_megabytes(envoy.id()));
        }
        let grown = peak_megabytes(envoy.id()) - before.unwrap();
        assert!(grown < MEGABYTES as u64 / 2, "HTTP/2 {http2}: {grown} MB");
        let metrics = envoy.metrics().await;
        for kind in ["input", "output"] {
            let labels = [("kind", kind), ("result", "too_large")];
            assert_eq!(metrics.sum("changeover_payload_total", &labels), 2.0, "{kind}");
        }
        let read = metrics.sum("changeover_payload_read_bytes_total", &[("kind", "input")]);
        assert_eq!(read, f64::from(2 * (64 << 20) + 2));
    }
}
