//! The live page in a real Chromium: `make test-page`. What the browser does is in tests/page/page.py.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::harness::control::{JSON, call, get, known};
use crate::harness::*;
use serde_json::json;

/// Names that would do something if a page took them for markup.
const RELEASE: &str = r#"<img src=x onerror=\"window.harmed=1\">"#;
const LABEL: &str = "<script>window.harmed=2</script>";
const OTHER: &str = "<iframe onload=window.harmed=4>";

/// A release that waits at half of the requests while its answers are compared, and one with two sides.
fn rollouts() -> Config {
    let versions =
        "versions: {blue: {cluster: blue}, green: {cluster: green}}, stable: blue, candidate: green";
    Config::Struct(format!(
        "{{rollouts: [{{name: digits, release: \"{RELEASE}\", match: {{prefix: /digits/}}, {versions}, \
         mirror: {{to: green, mode: compare, methods: [POST], compare: {{label: /label, samples: 2}}}}, \
         payload: {{protocol: json, output: {{value: /label, labels: [\"7\", \"{LABEL}\"]}}}}, \
         steps: [{{set_weight: 50}}, {{pause: {{}}}}, {{set_weight: 75}}, {{pause: {{duration: 1h}}}}], \
         analysis: {{metrics: [{{name: error_rate}}, {{name: latency}}, {{name: \"output.label:{LABEL}\"}}]}}, \
         drift: {{metrics: [latency], reference: 10s}}, \
         alarms: [{{name: errors, signal: error_rate, max: 0.99, window: 1h}}]}}, \
         {{name: sides, release: \"2\", match: {{prefix: /sides/}}, {versions}, blue_green: {{active: blue}}}}]}}"
    ))
}

/// Lets a browser play a scene, and does meanwhile what it asks for.
async fn play(scene: &str, envoy: &Envoy, act: impl FnMut(&str) + Send + 'static) {
    play_at(scene, envoy.address_of("changeover-control"), act).await;
}

async fn play_at(scene: &str, control: SocketAddr, mut act: impl FnMut(&str) + Send + 'static) {
    let root = env!("CARGO_MANIFEST_DIR");
    let url = format!("http://{control}/");
    let mut command = Command::new(format!("{root}/target/page/bin/python"));
    command.args(["-B", "tests/page/page.py", scene, &url]).current_dir(root);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run `make test-page`, which installs it");
    let (mut input, output) =
        (child.stdin.take().expect("its input"), child.stdout.take().expect("its output"));
    let said = tokio::task::spawn_blocking(move || {
        let mut last = String::new();
        for line in BufReader::new(output).lines() {
            last = line.expect("text");
            if let Some(what) = last.strip_prefix("do: ") {
                act(what);
                writeln!(input, "done").expect("it listens");
            }
        }
        (last, child.wait().expect("its end"))
    });
    let (last, status) = said.await.expect("no panic");
    assert!(status.success() && last == "well", "{scene}: {last}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`make test-page` installs what it needs"]
async fn the_page_follows_a_rollback_and_shows_hostile_names_as_text() {
    let (blue, green) = blue_and_green().await;
    // Every second label of both is the same, so that labels say nothing against green.
    let answer = |other: &'static str| {
        Make::by(move |count, _| {
            let label = if count.is_multiple_of(2) { LABEL } else { other };
            Made::json(json!({"label": label}).to_string())
        })
    };
    blue.set(answer("7"));
    green.set(answer(OTHER));
    let envoy = between(&blue, &green, rollouts()).control().workers(2).start().await;
    known(&envoy).await;
    let ask = |_| request("POST", "/digits/infer", &[("content-type", b"application/json")], "{}");
    let running = Load::to(envoy.address()).per_second(200.0).each(ask).start();
    // Stable's quantiles are known, and pairs were compared.
    wait_for("something to see", async || {
        let (_, rollout) = get(&envoy, "/v1/rollouts/digits").await;
        let (_, differences) = get(&envoy, "/v1/rollouts/digits/differences").await;
        let measured = rollout["evidence"][1]["tests"][0]["measured_ms"].is_object();
        (measured && differences["labels"].is_object()).then_some(())
    })
    .await;
    let failing = green;
    play("follow", &envoy, move |what| {
        assert_eq!(what, "fail");
        failing.set(Behaviour::Status(500));
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`make test-page` installs what it needs"]
async fn the_page_gives_commands_with_reasons() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, rollouts()).control().workers(2).start().await;
    known(&envoy).await;
    play("buttons", &envoy, |what| panic!("{what}")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`make test-page` installs what it needs"]
async fn the_page_goes_on_when_envoy_has_started_again() {
    let (blue, green) = blue_and_green().await;
    let control = free_address();
    let start = async move || {
        let setup = between(&blue, &green, rollouts()).control().edit(|bootstrap| {
            let listener = &mut bootstrap["static_resources"]["listeners"][1];
            listener["address"]["socket_address"]["port_value"] = json!(control.port());
        });
        let envoy = setup.workers(2).start().await;
        known(&envoy).await;
        envoy
    };
    let mut running = Some(start().await);
    play_at("restart", control, move |what| match what {
        "stop Envoy" => drop(running.take()),
        "start Envoy" => drop(running.replace(tokio::runtime::Handle::current().block_on(start()))),
        other => panic!("{other}"),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`make test-page` installs what it needs"]
async fn the_page_turns_over_many_rollouts_and_says_what_an_answer_says() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, rollouts()).control().workers(2).start().await;
    known(&envoy).await;
    play("answers", &envoy, |what| panic!("{what}")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`make test-page` installs what it needs"]
async fn the_page_asks_once_for_a_token() {
    let (blue, green) = blue_and_green().await;
    let digest = |token: &str| {
        let digest = hmac_sha256::Hash::hash(token.as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let tokens = json!({"tokens": [
        {"name": "screen", "rights": "read", "sha256": digest("looks")},
        {"name": "person", "rights": "write", "sha256": digest("writes")},
    ]});
    let envoy = between(&blue, &green, rollouts()).control_with(tokens).workers(2).start().await;
    let token: (&str, &[u8]) = ("authorization", b"Bearer looks");
    wait_for("the rollouts", async || {
        (call(&envoy, "GET", "/v1/rollouts/digits", &[token], "").await.0 == 200).then_some(())
    })
    .await;
    play("token", &envoy, |what| panic!("{what}")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`make test-page` installs what it needs"]
async fn the_page_shows_how_far_a_model_has_taken_over() {
    let (blue, green) = blue_and_green().await;
    for model in [&blue, &green] {
        model.set(Make::by(|count, _| {
            let sure = if count.is_multiple_of(2) { 0.9 } else { 0.6 };
            Made::json(json!({"label": LABEL, "confidence": sure}).to_string())
        }));
    }
    let config = Config::rollout(
        "match: {prefix: /digits/}, automation: {answer: {label: /label, confidence: /confidence}, degree: shadow, ask: {timeout: 20s}, \
         partial: {max_disagreement: 0.02}}, steps: [{pause: {min_decisions: 500}}, {set_degree: partial}]",
    );
    let envoy = between(&blue, &green, config).with_people().control().workers(2).start().await;
    known(&envoy).await;
    let ask = |_| request("POST", "/digits/infer", &[("content-type", b"application/json")], "{}");
    Load::to(envoy.address()).each(ask).send(40).await.assert_all_ok();
    wait_for("decisions", async || {
        let (_, rollout) = get(&envoy, "/v1/rollouts/digits").await;
        (rollout["automation"]["blind"]["tasks"] == 40).then_some(())
    })
    .await;
    let address = envoy.address_of("changeover-control");
    play("people", &envoy, move |what| {
        assert_eq!(what, "set the degree");
        let headers: [(&str, &[u8]); 2] = [(":authority", b"localhost"), JSON];
        let command = request("POST", "/v1/rollouts/digits/degree", &headers, r#"{"degree": "full"}"#);
        let answer = tokio::runtime::Handle::current().block_on(async {
            Connection::open(address).await.expect("a connection").send(command).await.expect("an answer")
        });
        assert_eq!(answer.status, 200);
    })
    .await;
}
