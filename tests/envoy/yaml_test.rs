//! YAML spellings in a real Envoy: its loader's types, and the number that `changeover check` prints for the same text.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::*;

/// Spellings, and what `changeover check` makes of them (`src/bin/changeover/yaml/envoy/tests.rs`).
const SPELLINGS: &str = include_str!("../fixtures/yaml-spellings.json");

fn rows() -> Vec<(String, Value)> {
    serde_json::from_str(SPELLINGS).expect("JSON")
}

/// Blocks, comments and commas need a line of their own.
fn fits_in_braces(spelling: &str) -> bool {
    !spelling.contains(['|', '>', '#', ','])
}

#[tokio::test(flavor = "multi_thread")]
async fn spellings_have_the_types_of_the_table() {
    let (blue, green) = blue_and_green().await;
    let rows: Vec<(String, Value)> =
        rows().into_iter().filter(|(spelling, _)| fits_in_braces(spelling)).collect();
    assert!(rows.len() >= 60, "{}", rows.len());
    let fields: Vec<String> =
        rows.iter().enumerate().map(|(n, (spelling, _))| format!("k{n}: {spelling} ")).collect();
    let text = format!("{{five: &five 5, {}}}", fields.join(", "));
    let envoy = between(&blue, &green, Config::rollout("")).text_in_metadata(&text).start().await;
    let dump: Value = serde_json::from_str(&envoy.admin("/config_dump").await).expect("JSON");
    let metadata = dump.pointer("/configs/0/bootstrap/node/metadata/text/value").expect("metadata");
    for (n, (spelling, expected)) in rows.iter().enumerate() {
        assert_eq!(metadata.get(format!("k{n}")), Some(expected), "{spelling}");
    }
}

/// Each spelling as a release, where the filter takes it.
#[tokio::test(flavor = "multi_thread")]
async fn check_prints_the_number_that_envoy_shows() {
    let (blue, green) = blue_and_green().await;
    let is_release =
        |value: &Value| value.as_str().is_some_and(|text| !text.is_empty()) || value.as_u64().is_some();
    let rollouts: Vec<String> = rows()
        .iter()
        .filter(|(spelling, value)| is_release(value) && fits_in_braces(spelling) && !spelling.contains('*'))
        .enumerate()
        .map(|(n, (spelling, _))| {
            format!(
                "{{name: r{n}, release: {spelling}, match: {{prefix: /r{n}/}}, versions: {{blue: {{cluster: blue}}, green: \
                 {{cluster: green}}}}, stable: blue, candidate: green, weights: {{green: 010, blue: 0x5C}}}}"
            )
        })
        .collect();
    assert!(rollouts.len() >= 40, "{}", rollouts.len());
    let text = format!("{{rollouts: [{}]}}", rollouts.join(", "));
    let envoy = between(&blue, &green, Config::Struct(text.clone())).start().await;
    let shown = envoy.wait_for_hash_other_than(None).await;
    let printed = check(&text, 0);
    assert!(
        printed.contains(&format!("valid: {} rollouts, configuration {shown}\n", rollouts.len())),
        "{printed}"
    );
}

/// What runs, rather than what was meant.
#[tokio::test(flavor = "multi_thread")]
async fn check_reads_the_dump_of_a_running_envoy() {
    let (blue, green) = blue_and_green().await;
    let config = Config::rollout("weights: {green: 10.5}");
    for setup in [between(&blue, &green, config.clone()), between_ecds(&blue, &green, config)] {
        let envoy = setup.start().await;
        let shown = envoy.wait_for_hash_other_than(None).await;
        let dump = envoy.admin("/config_dump").await;
        let printed = check(&dump, 0);
        assert!(printed.contains(&format!("valid: 1 rollout, configuration {shown}\n")), "{printed}");
        let broken = dump.replace("\"cluster_header\": \"x-changeover-cluster\"", "\"cluster\": \"blue\"");
        assert_ne!(broken, dump);
        check(&broken, 1);
    }
}

/// What `changeover check` prints for a text, and its exit status.
fn check(text: &str, status: i32) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_changeover"));
    let mut child = command
        .args(["check", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command line");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let printed = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(status), "{printed}");
    printed
}
