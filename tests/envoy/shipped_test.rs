//! Every YAML file that ships: Envoy takes it, and so does `changeover check`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::{self, documents, resource, yaml_in};

fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            yaml_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml")
            && !path.ends_with("compose.yaml")
        {
            found.push(path);
        }
    }
}

fn shipped() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["envoy", "examples"] {
        yaml_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    assert!(found.len() >= 4, "{found:?}");
    found
}

fn run(command: &mut Command) -> (Output, String) {
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("it runs");
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output, String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn envoy_takes_every_bootstrap() {
    let mut bootstraps = 0;
    for file in shipped() {
        let text = std::fs::read_to_string(&file).expect("a file");
        let is_bootstrap = text.lines().any(|line| line.starts_with("static_resources:"));
        let is_fragment = text.lines().any(|line| line.starts_with("stats_config:"));
        if !is_bootstrap && !is_fragment {
            continue; // an ECDS file: the tests of pushes use it
        }
        bootstraps += 1;
        // The examples name files as their container has them.
        let directory = tempfile::tempdir().expect("a directory");
        let here = file.parent().expect("a folder").join("ecds");
        let text = text.replace("/etc/envoy/changeover.wasm", "target/changeover.wasm");
        let file = directory.path().join("envoy.yaml");
        std::fs::write(&file, text.replace("/etc/envoy/ecds", &here.display().to_string())).expect("written");
        let (output, log) =
            run(Command::new(harness::binary()).args(["--mode", "validate", "--config-path"]).arg(&file));
        assert!(output.status.success(), "{}:\n{log}", file.display());
    }
    assert!(bootstraps >= 3);
}

#[test]
fn check_takes_every_file() {
    for file in shipped() {
        let (output, text) = run(Command::new(env!("CARGO_BIN_EXE_changeover")).arg("check").arg(&file));
        let is_fragment = [
            "stats-tags.yaml",
            "routes.yaml",
            "decompressor.yaml",
            "store/cluster.yaml",
            "store/sds.yaml",
            "prometheus/rules.yaml",
            "stack/prometheus.yaml",
            "stack/grafana/datasource.yaml",
            "stack/grafana/dashboards.yaml",
        ]
        .iter()
        .any(|name| file.ends_with(name));
        assert_eq!(output.status.code(), Some(if is_fragment { 3 } else { 0 }), "{text}");
        assert!(!text.contains("warning"), "{text}");
    }
}

#[test]
fn check_refuses_what_envoy_would_refuse() {
    let directory = tempfile::tempdir().expect("a directory");
    let envoy = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("envoy/envoy.yaml"))
        .expect("a file");
    let broken = directory.path().join("envoy.yaml");
    std::fs::write(&broken, envoy.replace("weights: {svm: 20}", "weights: {svm: 120}")).expect("written");
    let (output, text) = run(Command::new(env!("CARGO_BIN_EXE_changeover")).arg("check").arg(&broken));
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("config: rollouts[0].weights.svm: 120 is over 100"), "{text}");
    let (output, _) = run(Command::new(env!("CARGO_BIN_EXE_changeover")).args(["check", "/nowhere.yaml"]));
    assert_eq!(output.status.code(), Some(2));
    let (output, _) = run(&mut Command::new(env!("CARGO_BIN_EXE_changeover")));
    assert_eq!(output.status.code(), Some(2), "usage");
}

/// What the README shows is what happens.
#[test]
fn the_readme_shows_what_check_prints() {
    let readme =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("a file");
    let (_, text) = run(Command::new(env!("CARGO_BIN_EXE_changeover")).args(["check", "envoy/envoy.yaml"]));
    assert!(readme.contains(&text), "README.md lacks:\n{text}");
}

/// The README's filter, put between the routes it says to copy, is one that `check` has nothing against.
#[test]
fn the_readmes_filter_fits_the_shipped_routes() {
    let readme = include_str!("../../README.md");
    let (_, snippet) = readme.split_once("```yaml\nhttp_filters:\n").expect("the filter");
    let (snippet, _) = snippet.split_once("```").expect("its end");
    let snippet: Value = serde_saphyr::from_str(snippet).expect("YAML");
    let plugin = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config/config";
    let mut bootstrap = documents("envoy/envoy.yaml").remove(0);
    *bootstrap.pointer_mut(plugin).expect("the filter") = snippet[0]["typed_config"]["config"].clone();
    let bootstrap = bootstrap
        .to_string()
        .replace("digits-logreg", "recommender-blue")
        .replace("digits-svm", "recommender-green")
        .replace("/etc/envoy/changeover.wasm", "target/changeover.wasm");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("envoy.yaml");
    std::fs::write(&file, bootstrap).expect("written");
    let (output, text) = run(Command::new(env!("CARGO_BIN_EXE_changeover")).arg("check").arg(&file));
    assert!(output.status.success() && !text.contains("warning"), "{text}");
}

#[test]
fn the_readmes_first_configuration_is_that_of_its_filter() {
    let readme = include_str!("../../README.md");
    let snippet = |begin: &str| -> Value {
        let (_, snippet) = readme.split_once(begin).expect("a snippet");
        serde_saphyr::from_str(snippet.split_once("```").expect("its end").0).expect("YAML")
    };
    let filter = &snippet("```yaml\nhttp_filters:\n")[0]["typed_config"]["config"]["configuration"]["value"];
    assert_eq!(snippet("```yaml\nrollouts:\n"), filter["rollouts"]);
}

/// The tags and buckets stand in a snippet to copy and wherever a bootstrap is: they must not drift apart.
#[test]
fn the_stats_tags_are_the_same_everywhere() {
    let tags = |file: &str| documents(file)[0]["stats_config"].clone();
    let snippet = tags("envoy/stats-tags.yaml");
    assert!(snippet.is_object());
    for file in [
        "envoy/envoy.yaml",
        "envoy/envoy-ecds.yaml",
        "examples/canary/envoy.yaml",
        "examples/blue-green/envoy.yaml",
        "examples/shadow/envoy.yaml",
        "examples/shadow-compare/envoy.yaml",
        "examples/payload-metrics/envoy.yaml",
        "examples/fleet/envoy.yaml",
        "examples/automation/envoy.yaml",
        "examples/stack/envoy.yaml",
    ] {
        assert_eq!(tags(file), snippet, "{file}");
    }
    let istio = resource("envoy/istio.yaml", "ConfigMap");
    assert_eq!(yaml_in(&istio["data"]["custom_bootstrap.json"])["stats_config"], snippet);
    let gateway = resource("envoy/envoy-gateway.yaml", "EnvoyProxy");
    assert_eq!(yaml_in(&gateway["spec"]["bootstrap"]["value"])["stats_config"], snippet);
}

/// The snippets are the bootstrap's parts.
#[test]
fn the_snippets_are_what_the_bootstrap_has() {
    let bootstrap = documents("envoy/envoy.yaml").remove(0);
    let listeners = &bootstrap["static_resources"]["listeners"];
    let manager = &listeners[0]["filter_chains"][0]["filters"][0]["typed_config"];
    let snippet = documents("envoy/filter.yaml").remove(0);
    assert_eq!(snippet, json!({"http_filters": [manager["http_filters"][0]]}));
    let snippet = documents("envoy/routes.yaml").remove(0);
    for (part, value) in snippet.as_object().expect("a map") {
        assert_eq!(*value, manager[part], "{part}");
    }
    assert_eq!(snippet.as_object().map(serde_json::Map::len), Some(5));
    let snippet = documents("envoy/control.yaml").remove(0);
    assert_eq!(snippet, json!({"listeners": [listeners[1]]}));
    let by_ecds = documents("envoy/envoy-ecds.yaml").remove(0);
    assert_eq!(by_ecds["static_resources"]["listeners"][1], listeners[1]);
}
