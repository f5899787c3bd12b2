//! What goes in and what comes out: figures are what clients and model servers counted.

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

/// Brotli without compression: a block of at most 64 KiB as it is, and an empty last one.
fn brotli(bytes: &[u8]) -> Vec<u8> {
    let header = 1 << 20 | (u32::try_from(bytes.len()).unwrap() - 1) << 4;
    [&header.to_le_bytes()[..3], bytes, &[3]].concat()
}

/// What the client accepts reaches the model server, which answers in `br` if that is among it.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_in_brotli_are_read_between_envoys_decompressors() {
    let (blue, green) = blue_and_green().await;
    let label = json!({"predictions": ["cat"], "text": "word ".repeat(100)}).to_string();
    let accepted = Arc::new(Mutex::new(Vec::new()));
    blue.set(Make::by({
        let (label, all) = (label.clone(), Arc::clone(&accepted));
        move |_, seen| {
            // A server that takes no `br`.
            assert_eq!(seen.headers.get("content-encoding"), None);
            serde_json::from_slice::<Value>(&seen.body).expect("JSON without compression");
            let accepted =
                seen.headers.get("accept-encoding").map(|accepted| accepted.to_str().unwrap().to_owned());
            all.lock().unwrap().push(accepted.clone());
            if accepted.as_deref() != Some("br") {
                return Made::json(label.clone());
            }
            let mut made = Made::json(brotli(label.as_bytes()));
            made.headers.push(("content-encoding", "br".into()));
            made
        }
    }));
    let config = || {
        Config::rollout(
            "payload: {protocol: json, input: {length: /text}, output: {value: /predictions/0, labels: [cat]}}",
        )
    };
    let filters = read_yaml("envoy/decompressor.yaml");
    let list = |part: &str| filters[part].as_array().unwrap().clone();
    let around = between(&blue, &green, config()).edit_hcm(|hcm| {
        let filters = hcm["http_filters"].as_array_mut().unwrap();
        filters.splice(1..1, list("behind"));
        filters.splice(0..0, list("in_front"));
    });
    let envoy = around.start().await;
    let asked = json!({"text": "wörter"}).to_string();
    let ask = async |accepted: &[u8]| {
        let mut connection = Connection::open(envoy.address()).await.unwrap();
        let headers: [(&str, &[u8]); 3] = [
            ("content-type", b"application/json"),
            ("content-encoding", b"br"),
            ("accept-encoding", accepted),
        ];
        let headers = if accepted.is_empty() { &headers[..2] } else { &headers[..] };
        connection.send(request("POST", "/", headers, brotli(asked.as_bytes()))).await.unwrap()
    };
    for _ in 0..3 {
        let plain = ask(b"").await;
        assert_eq!((plain.header("content-encoding"), &*plain.body), (None, label.as_bytes()));
        let compressed = ask(b"br").await;
        assert_eq!((compressed.status.as_u16(), compressed.header("content-encoding")), (200, Some("br")));
        assert!(compressed.body.len() < label.len() / 2, "compressed anew: {}", compressed.body.len());
    }
    let accepted = accepted.lock().unwrap().clone();
    let accepted: Vec<Option<&str>> = accepted.iter().map(Option::as_deref).collect();
    assert_eq!(accepted, [None, Some("br")].repeat(3), "the filters ask for nothing");
    let metrics = wait_for("all histograms", async || {
        let metrics = envoy.metrics().await;
        (metrics.sum("changeover_request_bytes_count", &[]) == 6.0).then_some(metrics)
    })
    .await;
    for kind in ["input", "output"] {
        let read = [("kind", kind), ("result", "read")];
        assert_eq!(metrics.sum("changeover_payload_total", &read), 6.0, "{kind}");
        assert_eq!(metrics.sum("changeover_payload_total", &read[..1]), 6.0, "{kind}: nothing else");
    }
    assert_eq!(metrics.sum("changeover_input_length_total", &[]), 6.0 * 6.0);
    assert_eq!(metrics.sum("changeover_output_labels_total", &[("label", "cat")]), 6.0);

    // Envoy alone, without them.
    let envoy = between(&blue, &green, config()).start().await;
    blue.set(Make::by(move |_, _| {
        let mut made = Made::json(brotli(label.as_bytes()));
        made.headers.push(("content-encoding", "br".into()));
        made
    }));
    get(envoy.address(), "/").await.unwrap();
    let skipped = [("kind", "output"), ("result", "skipped_encoding")];
    assert_eq!(envoy.metrics().await.sum("changeover_payload_total", &skipped), 1.0);
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
        ("changeover_input_messages_total", 400.0),
        ("changeover_output_answers_total", 400.0),
        ("changeover_output_refusals_total", 0.0),
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

/// Presets, and recorded messages that they read.
const RECORDED: [(&str, &[&str]); 4] = [
    (
        "open_inference",
        &[
            "mlserver-rest.request",
            "mlserver-rest.response",
            "mlserver-proba-gzip.response",
            "triton-binary.request",
            "triton-binary.response",
            "triton-json-deflate.response",
        ],
    ),
    ("tf_serving", &["kserve-v1.request", "kserve-v1.response", "kserve-v1-400-nan.request"]),
    (
        "openai",
        &[
            "vllm-chat.request",
            "vllm-chat.response",
            "vllm-chat-stream-usage.response",
            "vllm-stream-error-in-200.response",
            "vllm-tool-stream.response",
            "vllm-responses-api.response",
        ],
    ),
    ("json", &["kserve-v2.request", "kserve-v2.response", "mlserver-pandas-codec.request"]),
];

/// Changes a document: bytes, pieces that go, stand twice or come from elsewhere, an end that is missing.
fn mutate(rng: &mut fastrand::Rng, document: &[u8]) -> Vec<u8> {
    let mut mutated = document.to_vec();
    for _ in 0..rng.usize(1..5) {
        let (from, to) = (rng.usize(0..=mutated.len()), rng.usize(0..=mutated.len()));
        let piece = from.min(to)..from.max(to);
        match rng.u8(0..8) {
            0 => drop(mutated.drain(piece)),
            1 => {
                let twice = mutated[piece].to_vec();
                mutated.splice(from..from, twice);
            }
            2 => {
                const PIECES: [&[u8]; 6] = [b"[[[[", b"}", b"\"", b"NaN", b"1e999", b"\ndata: {\n\n"];
                mutated.splice(from..from, PIECES[rng.usize(0..PIECES.len())].iter().copied());
            }
            3 => mutated.truncate(from),
            _ => {
                if let Some(byte) = mutated.get_mut(from) {
                    *byte = rng.u8(..);
                }
            }
        }
        // Twice of twice is long soon.
        mutated.truncate(64 << 10);
    }
    if mutated.is_empty() { b"{".to_vec() } else { mutated }
}

/// Messages that model servers and their clients have exchanged, changed, read by the preset of each in both directions.
#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_any_mutated_message_changes() {
    const EACH: usize = 1_250;
    let (blue, green) = blue_and_green().await;
    blue.set(Make::by(|_, seen| {
        let sent = ["content-type", "content-encoding", "inference-header-content-length"];
        let header = |name| Some((name, seen.headers.get(name)?.to_str().unwrap().to_owned()));
        let headers = sent.into_iter().filter_map(header).collect();
        Made { headers, pieces: vec![seen.body.clone()], ..Made::default() }
    }));
    let rollout = |(protocol, _): (&str, _)| {
        let fields = match protocol {
            "json" => ", input: {fields: [\"/inputs/*/data/*\"]}, output: {value: /outputs/0/data/0}",
            _ => "",
        };
        Config::blue_green(
            &protocol.replace('_', "-"),
            &format!("match: {{prefix: /{protocol}/}}, payload: {{protocol: {protocol}{fields}}}"),
        )
    };
    let config = format!("{{rollouts: [{}]}}", RECORDED.map(rollout).join(", "));
    let envoy = between(&blue, &green, Config::Struct(config)).workers(2).start().await;
    let mut clients = tokio::task::JoinSet::new();
    for (number, (protocol, names)) in RECORDED.repeat(2).into_iter().enumerate() {
        let (http2, address) = (number < RECORDED.len(), envoy.address());
        clients.spawn(async move {
            let messages: Vec<_> = names.iter().map(|name| recorded(name)).collect();
            let mut rng = fastrand::Rng::with_seed(number as u64);
            let mut connection = if http2 {
                Connection::open_http2(address).await.unwrap()
            } else {
                Connection::open(address).await.unwrap()
            };
            for at in 0..EACH {
                let (known, document) = &messages[at % messages.len()];
                let body = Bytes::from(mutate(&mut rng, document));
                let sent = ["content-type", "content-encoding", "inference-header-content-length"];
                let known = known.iter().filter(|(name, _)| sent.contains(&name.as_str()));
                let headers: Vec<(&str, &[u8])> =
                    known.map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
                let asked = request("POST", &format!("/{protocol}/infer"), &headers, body.clone());
                let answer = connection.send(asked).await;
                let what = format!("{} {at}, HTTP/2 {http2}", names[at % names.len()]);
                let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!((answer.status.as_u16(), answer.body.len()), (200, body.len()), "{what}");
                assert!(answer.body == body, "{what}");
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let all = (EACH * 2) as f64;
    let metrics = wait_for("all figures", async || {
        let metrics = envoy.metrics().await;
        (metrics.sum("changeover_request_bytes_count", &[]) == 4.0 * all).then_some(metrics)
    })
    .await;
    for (protocol, _) in RECORDED {
        for kind in ["input", "output"] {
            let of = |more: &[(&str, &str)]| {
                let rollout = protocol.replace('_', "-");
                let labels = [&[("rollout", rollout.as_str()), ("kind", kind)], more].concat();
                metrics.sum("changeover_payload_total", &labels)
            };
            assert_eq!(of(&[]), all, "{protocol} {kind}");
            for result in ["read", "truncated", "malformed"] {
                assert!(of(&[("result", result)]) > 50.0, "{protocol} {kind} {result}");
            }
        }
    }
}

/// A recorded message: its headers by lower-case name, and its body.
fn recorded(name: &str) -> (Vec<(String, String)>, Bytes) {
    let path = format!("{}/tests/fixtures/payload/{name}.http", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("headers");
    let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let headers: Vec<(String, String)> =
        headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let is_chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = Bytes::from(bytes).slice(end + 4..);
    if is_chunked { (headers, dechunked(&body)) } else { (headers, body) }
}

fn dechunked(mut body: &[u8]) -> Bytes {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).expect("text");
        let size = usize::from_str_radix(size, 16).expect("a size");
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
    whole.into()
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
    let expected: [Expected; 13] = [
        ("changeover_input_length_total", &[], 128.0 + 64.0 + 2.0),
        ("changeover_input_values_total", &[("field", "/instances/*/*")], 128.0 + 64.0 + 2.0),
        ("changeover_input_missing_total", &[("field", "/instances/*/*")], 1.0),
        ("changeover_input_numbers_total", &[("field", "/instances/*/*")], 128.0 + 63.0 + 2.0),
        ("changeover_input_sum_thousandths_total", &[("field", "/instances/*/*")], 37_938.0 + 0.0 + 3_000.0),
        ("changeover_input_negative_sum_thousandths_total", &[], 0.0),
        ("changeover_input_batches_total", &[], 3.0),
        ("changeover_input_batch_size_total", &[], 2.0 + 1.0 + 1.0),
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

/// As gRPC servers report, always and in binary: CPU 0.5, memory 1, and `a` of 1.5.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_servers_report_their_load_in_trailers() {
    const REPORT: (&str, &str) =
        ("endpoint-load-metrics-bin", "CQAAAAAAAOA/EQAAAAAAAPA/QgwKAWERAAAAAAAA+D8=");
    let (blue, green) = blue_and_green().await;
    blue.set(Behaviour::GrpcWithTrailer(REPORT.0, REPORT.1));
    let setup = between(&blue, &green, Config::rollout("server_load: true")).http2_upstreams();
    let envoy = setup.start().await;
    let mut connection = Connection::open_http2(envoy.address()).await.unwrap();
    let call: [(&str, &[u8]); 2] = [("content-type", b"application/grpc"), ("te", b"trailers")];
    let asked: (&str, &[u8]) = ("endpoint-load-metrics-format", b"text");
    for (headers, expected) in [(&call[..], None), (&[call[0], call[1], asked][..], Some(REPORT.1))] {
        let answer = connection.send(request("POST", "/a.Service/Do", headers, "")).await.unwrap();
        assert_eq!(answer.trailers.get("grpc-status").unwrap(), "0");
        let report = answer.trailers.get(REPORT.0).map(|report| report.to_str().unwrap());
        assert_eq!(report, expected, "only a client that has asked gets it");
        assert_eq!(answer.header(REPORT.0), None);
    }
    let metrics = envoy.metrics().await;
    let load = |metric| metrics.sum("changeover_server_load", &[("version", "blue"), ("metric", metric)]);
    assert_eq!(
        (load("cpu_utilization"), load("mem_utilization"), load("named_metrics.a")),
        (500.0, 1_000.0, 1_500.0)
    );
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
