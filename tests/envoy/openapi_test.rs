//! `docs/openapi.yaml`, put to a real control listener by schemathesis: `make test-openapi`.

use std::process::Command;

use crate::harness::control::{call, known};
use crate::harness::*;

const DOCUMENT: &str = include_str!("../../docs/openapi.yaml");

/// Its token is `secret`.
const DIGEST: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

/// Rollouts in several phases: the commands that schemathesis gives move them.
fn rollouts() -> Config {
    let steps = "steps: [{set_weight: 5}, {pause: {}}, {set_weight: 50}, {pause: {duration: 1h}}]";
    let of = |name: &str, fields: &str| {
        Config::blue_green(name, &format!("match: {{prefix: /{name}/}}, {fields}"))
    };
    Config::Struct(format!(
        "{{rollouts: [{}, {}, {}, {}]}}",
        of("digits", &format!("{steps}, analysis: {{}}")),
        of("pinned", &format!("{steps}, pin: blue, mirror: {{to: green}}")),
        of("split", "weights: {green: 5}"),
        of("sides", "blue_green: {active: blue}"),
    ))
}

/// Puts the document to the API; what schemathesis prints is what is wrong.
async fn check(envoy: &Envoy, document: &str) {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = Command::new(format!("{root}/target/openapi/bin/schemathesis"));
    command.current_dir(format!("{root}/target/openapi"));
    command.args([
        "--config-file",
        &format!("{root}/tests/openapi/schemathesis.toml"),
        "run",
        "--no-color",
        "--generation-deterministic",
    ]);
    command.args(["--url", &format!("http://{}", envoy.address_of("changeover-control"))]);
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
    // So that most names are those of rollouts that there are.
    let name = "^[a-z0-9-]{1,63}$";
    assert!(document.contains(name));
    let document = document.replace(name, "^(digits|pinned|split|sides|[a-z0-9-]{1,63})$");
    std::fs::write(file.path(), document).expect("the document is written");
    command.arg(file.path());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    let output = output.expect("schemathesis: run `make test-openapi`, which installs it");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`make test-openapi` installs what it needs"]
async fn the_api_is_as_its_document_says() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, rollouts()).control().workers(2).start().await;
    known(&envoy).await;
    // No token is needed here.
    let wants_token = "security:\n- token: []\n";
    assert!(DOCUMENT.contains(wants_token));
    check(&envoy, &DOCUMENT.replace(wants_token, "")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`make test-openapi` installs what it needs"]
async fn the_api_is_as_its_document_says_where_it_wants_a_token() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, rollouts()).control_with_token(DIGEST).workers(2).start().await;
    let token: (&str, &[u8]) = ("authorization", b"Bearer secret");
    wait_for("the rollouts", async || {
        (call(&envoy, "GET", "/v1/rollouts/digits", &[token], "").await.0 == 200).then_some(())
    })
    .await;
    check(&envoy, DOCUMENT).await;
}
