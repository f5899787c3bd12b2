//! Figures of payloads beside what real clients of real protocols have sent and got: `make test-clients`.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use crate::harness::*;
use serde_json::{Value, json};

/// Python with MLServer and the clients.
fn python() -> Command {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = Command::new(format!("{root}/target/clients/bin/python"));
    command.current_dir(root).arg("-B");
    command
}

/// What a client prints, a JSON document on each line.
async fn printed(mut client: Command) -> Vec<Value> {
    let output = tokio::task::spawn_blocking(move || client.output()).await.expect("no panic");
    let output = output.expect("Python: run `make test-clients`, which installs it");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// MLServer with a version of the example's model.
struct MlServer {
    process: Child,
    address: SocketAddr,
    grpc: SocketAddr,
}

impl MlServer {
    fn start(version: &str) -> Self {
        // It cannot take a free port and say which: so one that was free a moment ago.
        let free = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let ports = [free(), free()];
        let [address, grpc] = ports.each_ref().map(|free| free.local_addr().expect("an address"));
        drop(ports);
        let process = python()
            .args(["examples/payload-metrics/serve.py", version])
            .env("MLSERVER_HTTP_PORT", address.port().to_string())
            .env("MLSERVER_GRPC_PORT", grpc.port().to_string())
            .env("MLSERVER_HOST", "127.0.0.1")
            .stdout(Stdio::null())
            .spawn()
            .expect("Python: run `make test-clients`, which installs it");
        Self { process, address, grpc }
    }

    /// Servers of both models that are ready.
    async fn of_both_models() -> [Self; 2] {
        let servers = [Self::start("logreg"), Self::start("svm")];
        for server in &servers {
            server.ready().await;
        }
        servers
    }

    async fn ready(&self) {
        wait_for("MLServer", async || {
            let answer = get(self.address, "/v2/models/digits/ready").await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }
}

impl Drop for MlServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until so many requests are over for Envoy, then reads the metrics.
async fn metrics_of(envoy: &Envoy, requests: f64) -> Metrics {
    wait_for("all histograms", async || {
        let metrics = envoy.metrics().await;
        (metrics.sum("changeover_request_bytes_count", &[]) == requests).then_some(metrics)
    })
    .await
}

/// A release of two servers' models, whose figures this reads.
fn digits() -> Config {
    Config::Struct(
        "{rollouts: [{name: digits, release: \"1\", stable: logreg, candidate: svm, weights: {svm: 50}, \
         versions: {logreg: {cluster: logreg}, svm: {cluster: svm}}, session_affinity: {header: x-user-id}, \
         payload: {protocol: open_inference, input: {fields: [\"/inputs/0/data/*\"]}, \
         output: {labels: [\"0\", \"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\"]}}}]}"
            .into(),
    )
}

/// That Envoy shows of each version what its client has counted.
fn assert_counted(metrics: &Metrics, versions: &[Value]) {
    const FIELD: (&str, &str) = ("field", "/inputs/0/data/*");
    assert_eq!(versions.len(), 2, "{versions:?}");
    for counted in versions {
        let version = ("version", counted["version"].as_str().unwrap());
        let of = |name: &str| counted[name].as_f64().unwrap();
        let sum = |name: &str, label: (&str, &str)| metrics.sum(name, &[version, label]);
        let all = |name: &str| metrics.sum(name, &[version]);
        assert!(of("requests") > 50.0 && of("missing") > 0.0, "{counted}");
        assert_eq!(all("changeover_requests_total"), of("requests"));
        assert_eq!(all("changeover_input_length_total"), of("pixels"));
        assert_eq!(sum("changeover_input_values_total", FIELD), of("pixels"));
        assert_eq!(sum("changeover_input_missing_total", FIELD), of("missing"));
        assert_eq!(all("changeover_output_answers_total"), of("requests"));
        assert_eq!(all("changeover_output_length_total"), of("requests"), "one label each");
        assert_eq!(all("changeover_output_null_total"), 0.0);
        for (label, count) in counted["labels"].as_object().unwrap() {
            let label = if label == "9" { "other" } else { label };
            let found = sum("changeover_output_labels_total", ("label", label));
            assert_eq!(found, count.as_f64().unwrap(), "{label} of {counted}");
        }
        for kind in ["input", "output"] {
            let read =
                metrics.sum("changeover_payload_total", &[version, ("kind", kind), ("result", "read")]);
            assert_eq!(read, of("requests"), "{kind}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`make test-clients` installs what it needs"]
async fn mlserver_and_its_client_count_what_the_filter_counts_of_their_calls() {
    const USERS: f64 = 200.0;
    let servers = MlServer::of_both_models().await;
    let clusters = [("logreg", servers[0].grpc), ("svm", servers[1].grpc)];
    let setup = Setup::shipped(digits()).clusters(&clusters).http2_upstreams();
    let envoy = setup.workers(2).start().await;
    let mut client = python();
    client.args(["tests/clients/calls.py", &envoy.address().to_string(), &USERS.to_string()]);
    let versions = printed(client).await;
    let metrics = metrics_of(&envoy, USERS).await;
    assert_counted(&metrics, &versions);
    for counted in &versions {
        let version = ("version", counted["version"].as_str().unwrap());
        for (kind, bytes) in [("input", "bytes_in"), ("output", "bytes_out")] {
            let labels = [version, ("kind", kind)];
            assert_eq!(metrics.sum("changeover_payload_messages_total", &labels), counted["requests"]);
            assert_eq!(metrics.sum("changeover_payload_message_bytes_total", &labels), counted[bytes]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`make test-clients` installs what it needs"]
async fn an_open_inference_client_and_mlserver_count_what_the_filter_counts() {
    const USERS: f64 = 200.0;
    let servers = MlServer::of_both_models().await;
    let clusters = [("logreg", servers[0].address), ("svm", servers[1].address)];
    let envoy = Setup::shipped(digits()).clusters(&clusters).workers(2).start().await;
    let mut client = python();
    client.args(["examples/payload-metrics/ask.py", &format!("http://{}", envoy.address())]);
    client.args(["--users", &USERS.to_string()]);
    let versions = printed(client).await;
    let metrics = metrics_of(&envoy, USERS).await;
    assert_counted(&metrics, &versions);
}

/// What the server counts, as the client's answer has it.
fn usage(number: u64) -> Value {
    json!({
        "prompt_tokens": 20 + number % 5, "completion_tokens": 7 + number % 11, "total_tokens": 27,
        "prompt_tokens_details": {"cached_tokens": number % 3},
        "completion_tokens_details": {"reasoning_tokens": number % 4},
    })
}

fn call(index: u64, arguments: &str) -> Value {
    json!({"index": index, "id": format!("call-{index}"), "type": "function",
           "function": {"name": "weather", "arguments": arguments}})
}

/// An answer as a whole.
fn completion(version: &str, number: u64, message: Value, finish: &str) -> Made {
    let mut whole = json!({"role": "assistant", "content": null, "refusal": null});
    message.as_object().unwrap().iter().for_each(|(name, value)| whole[name] = value.clone());
    let choice = json!({"index": 0, "message": whole, "finish_reason": finish, "logprobs": null});
    let document = json!({
        "id": "1", "object": "chat.completion", "created": 1, "model": "test", "system_fingerprint": version,
        "choices": [choice], "usage": usage(number),
    });
    Made::json(document.to_string())
}

/// An answer in events: as vLLM streams, the first of which carries no text.
fn streamed(version: &str, request: &Value, number: u64, deltas: Vec<Value>, finish: &str) -> Made {
    let event = |choices: Value, usage: Option<Value>| {
        json!({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "test",
               "system_fingerprint": version, "choices": choices, "usage": usage})
        .to_string()
    };
    let choice = |delta: Value, finish: Option<&str>| {
        event(json!([{"index": 0, "delta": delta, "finish_reason": finish}]), None)
    };
    let mut events = vec![choice(json!({"role": "assistant", "content": ""}), None)];
    events.extend(deltas.into_iter().map(|delta| choice(delta, None)));
    if finish == "error" {
        events.push(
            json!({"error": {"message": "EngineCore", "type": "InternalServerError", "code": 500}})
                .to_string(),
        );
    } else {
        events.push(choice(json!({}), Some(finish)));
        if request["stream_options"]["include_usage"] == true {
            events.push(event(json!([]), Some(usage(number))));
        }
    }
    events.push("[DONE]".into());
    Made::events(events)
}

/// A server of the OpenAI protocol. The model's name says what it is to answer.
fn openai_server(version: &'static str) -> Behaviour {
    Make::by(move |number, seen| {
        let request: Value = serde_json::from_slice(&seen.body).expect("the client sends JSON");
        let words = |count: u64| (0..count).map(|_| json!({"content": "Grüße "})).collect();
        let whole = |message, finish| completion(version, number, message, finish);
        let stream = |deltas, finish| streamed(version, &request, number, deltas, finish);
        match request["model"].as_str().unwrap() {
            "plain" => whole(json!({"content": "Grüß Gott! ".repeat(number as usize % 9 + 1)}), "stop"),
            "tools" => whole(json!({"tool_calls": [call(0, "{}"), call(1, "{}")]}), "tool_calls"),
            "refusal" => whole(json!({"refusal": "I cannot help with that."}), "stop"),
            "cut" => whole(json!({"content": "{\"half\": "}), "length"),
            "empty" => whole(json!({}), "stop"),
            "streamed" | "streamed-without-usage" => stream(words(number % 9 + 1), "stop"),
            "streamed-tools" => {
                let piece = |index, text| json!({"tool_calls": [call(index, text)]});
                stream(vec![piece(0, "{\"in\""), piece(0, ": 1}"), piece(1, "{}")], "tool_calls")
            }
            "streamed-refusal" => {
                stream(vec![json!({"refusal": "I "}), json!({"refusal": "cannot."})], "stop")
            }
            "streamed-error" => stream(words(10), "error"),
            other => panic!("no such model: {other}"),
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`make test-clients` installs what it needs"]
async fn the_openai_client_counts_what_the_filter_counts() {
    const ROUNDS: u64 = 30;
    let (blue, green) = blue_and_green().await;
    blue.set(openai_server("blue"));
    green.set(openai_server("green"));
    let config = Config::rollout("weights: {green: 50}, payload: {protocol: openai}");
    let envoy = between(&blue, &green, config).workers(2).start().await;
    let mut client = python();
    client.args(["tests/clients/chat.py", &format!("http://{}", envoy.address()), &ROUNDS.to_string()]);
    let versions = printed(client).await.remove(0);
    let metrics = metrics_of(&envoy, 10.0 * ROUNDS as f64).await;
    let mut refusals = 0.0;
    for (version, counted) in versions.as_object().unwrap() {
        let version = ("version", version.as_str());
        let of = |name: &str| counted[name].as_f64().unwrap_or_default();
        assert!(of("answers") > 50.0 && of("tool_calls") > 0.0 && of("error_objects") > 0.0, "{counted}");
        refusals += of("refusals");
        let figures = [
            ("changeover_requests_total", "answers"),
            ("changeover_output_answers_total", "answers"),
            ("changeover_input_length_total", "input_length"),
            ("changeover_input_messages_total", "input_messages"),
            ("changeover_input_tokens_total", "input_tokens"),
            ("changeover_input_cached_tokens_total", "cached_tokens"),
            ("changeover_output_length_total", "output_length"),
            ("changeover_output_tokens_total", "output_tokens"),
            ("changeover_output_reasoning_tokens_total", "reasoning_tokens"),
            ("changeover_output_null_total", "null"),
            ("changeover_output_truncated_total", "truncated"),
            ("changeover_output_refusals_total", "refusals"),
            ("changeover_output_tool_calls_total", "tool_calls"),
            ("changeover_output_error_objects_total", "error_objects"),
            ("changeover_output_first_token_milliseconds_count", "streams"),
        ];
        for (metric, name) in figures {
            assert!(of(name) > 0.0, "{name} of {counted}");
            assert_eq!(metrics.sum(metric, &[version]), of(name), "{metric} of {counted}");
        }
        for finish in ["stop", "length", "tool_calls", "none"] {
            let count = metrics.sum("changeover_output_choices_total", &[version, ("result", finish)]);
            assert_eq!(count, of(&format!("finish_{finish}")), "{finish} of {counted}");
        }
    }
    assert_eq!(refusals, 2.0 * ROUNDS as f64, "and none of them is null");
}

/// The demo's server of a model.
struct Classifier {
    process: Child,
    address: SocketAddr,
}

impl Classifier {
    /// Starts, and returns once it listens.
    fn start(model: &str) -> Self {
        let process = python()
            .args(["-u", "examples/models/server.py", "--port", "0", "--model", model])
            .stdout(Stdio::piped())
            .spawn();
        let mut process = process.expect("Python: run `make test-clients`, which installs it");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.split('/').nth(2).expect("model on http://address/path");
        Self { address: address.parse().expect("an address"), process }
    }
}

impl Drop for Classifier {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`make test-clients` installs what it needs"]
async fn agreement_of_two_classifiers_is_what_scikit_learn_computes_offline() {
    const IMAGES: u64 = 800;
    let [stable, shadow] = ["logreg", "svm"].map(Classifier::start);
    let config = "{rollouts: [{name: digits, release: \"1\", stable: logreg, candidate: svm, \
         versions: {logreg: {cluster: logreg}, svm: {cluster: svm}}, \
         mirror: {to: svm, mode: compare, methods: [POST], timeout: 60s, max_in_flight: 1024, \
         compare: {label: /outputs/0/data/0, ignore: [/model_version]}}}]}";
    let clusters = [("logreg", stable.address), ("svm", shadow.address)];
    for workers in [1, 4] {
        let setup = Setup::shipped(Config::Struct(config.into())).clusters(&clusters).control();
        let envoy = setup.workers(workers).start().await;
        let mut client = python();
        client.args(["tests/clients/agreement.py", &envoy.address().to_string(), &IMAGES.to_string()]);
        let offline = printed(client).await.remove(0);
        assert_eq!(offline["compared"], IMAGES);
        let found = wait_for("all pairs", async || {
            let (_, found) = control::get(&envoy, "/v1/rollouts/digits/differences").await;
            (found["compared"] == IMAGES).then_some(found)
        })
        .await;
        let labels = &found["labels"];
        let number = |label: &Value| label.as_str().unwrap().parse::<u64>().unwrap();
        let mut pairs: Vec<Value> = labels["pairs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|cell| json!([number(&cell["stable"]), number(&cell["shadow"]), cell["pairs"]]))
            .collect();
        pairs.sort_by_key(|cell| (cell[0].as_u64(), cell[1].as_u64()));
        assert_eq!(json!(pairs), offline["pairs"], "{workers} workers");
        let same: u64 =
            pairs.iter().filter(|cell| cell[0] == cell[1]).filter_map(|cell| cell[2].as_u64()).sum();
        assert_eq!(offline["matched"], same);
        let kappa = |value: &Value| value.as_f64().unwrap();
        assert!((kappa(&labels["kappa"]) - kappa(&offline["kappa"])).abs() < 1e-12, "{found}");
        assert_eq!(kappa(&found["agreement"]["value"]), same as f64 / IMAGES as f64, "{found}");
    }
}
