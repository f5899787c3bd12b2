//! The order of folders and files, held by reading their `use` declarations.

#![forbid(unsafe_code)]
// A test may stop.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod uses;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::process::Command;

use uses::{Module, modules};

/// Folders from the bottom to the top: each may use those before it.
const ORDER: [&str; 17] = [
    "model",
    "signal",
    "payload",
    "compare",
    "config",
    "analysis",
    "alarm",
    "drift",
    "receipt",
    "automation",
    "telemetry",
    "rollout",
    "routing",
    "fleet",
    "control",
    "abi",
    "host",
];

/// A file of the repository.
fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn folders_use_only_folders_below_them() {
    let place = |folder: &str| ORDER.iter().position(|known| *known == folder);
    for module in modules() {
        let Some(folder) = module.path.first() else { continue };
        let own = place(folder).unwrap_or_else(|| panic!("{folder}: a folder without a place in the order"));
        for used in module.uses.iter().filter_map(|path| path.first()) {
            let Some(other) = place(used) else { continue };
            assert!(other <= own, "{} uses {used}, which is above it", module.path.join("::"));
        }
    }
}

#[test]
fn the_library_describes_each_folder_in_their_order() {
    let text = read("src/lib.rs");
    let items = text.lines().filter(|line| line.starts_with("//! * "));
    let described = items.filter_map(|line| line.split('`').nth(1));
    assert_eq!(described.collect::<Vec<_>>(), ORDER);
}

/// The series of the rules for Prometheus are those that are documented, and each alert has a section that says what to do.
#[test]
fn rules_for_prometheus_name_documented_series_and_sections() {
    let (rules, metrics) = (read("envoy/prometheus/rules.yaml"), read("docs/metrics.md"));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let names: BTreeSet<&str> =
        rules.split(|c| !is_name(c)).filter(|word| word.starts_with("changeover_")).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let name = name.trim_end_matches("_bucket").trim_end_matches("_low").trim_end_matches("_high");
        assert!(metrics.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
    }
    // Recorded series, by their whole names.
    for recorded in rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")) {
        let (family, end) = recorded.rsplit_once(':').expect("a name of three parts");
        let short = format!("`…:{end}`");
        assert!(
            metrics.contains(&format!("`{recorded}`"))
                || metrics.contains(family) && metrics.contains(&short),
            "{recorded} is not in docs/metrics.md"
        );
    }
    let anchor = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        heading.replace(' ', "-").replace(|c: char| !c.is_alphanumeric() && c != '-', "")
    };
    let operations = read("docs/operations.md");
    let sections: BTreeSet<String> =
        operations.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
    let all = |field: &str| -> Vec<&str> {
        rules.lines().filter_map(|line| line.trim().strip_prefix(field)).collect()
    };
    let (alerts, runbooks) = (all("- alert: "), all("runbook_url: "));
    assert_eq!(alerts.len(), runbooks.len(), "each alert has a runbook");
    for (alert, runbook) in alerts.into_iter().zip(runbooks) {
        let section = anchor(alert);
        assert!(sections.contains(&section), "docs/operations.md has no section {alert}");
        assert_eq!(runbook, format!("docs/operations.md#{section}"), "{alert}");
        assert!(metrics.contains(&format!("`{alert}`")), "{alert} is not in docs/metrics.md");
    }
}

/// The gauges of two processes of an Envoy add up during a hot restart: promtool tests the panel that shows phases beside the rules.
#[test]
fn the_panel_of_phases_is_tested_with_the_rules() {
    let (dashboard, tests) =
        (read("envoy/grafana/changeover.json"), read("tests/prometheus/rules_test.yaml"));
    let expressions =
        dashboard.lines().filter_map(|line| line.trim().strip_prefix("\"expr\": \"")?.strip_suffix("\","));
    let phases: Vec<String> = expressions
        .filter(|expression| expression.contains("changeover_phase"))
        .map(|expression| expression.replace("\\\"", "\"").replace("$rollout", ".+"))
        .collect();
    assert!(!phases.is_empty());
    for phase in phases {
        assert!(tests.contains(&format!("'{phase}'")), "{phase} is not in tests/prometheus/rules_test.yaml");
    }
}

/// One image of Grafana: `make stack` asks whether it is there, and Compose starts it.
#[test]
fn the_stack_names_one_image_of_grafana() {
    let (makefile, compose) = (read("Makefile"), read("examples/stack/compose.yaml"));
    let asked = makefile
        .lines()
        .find_map(|line| line.strip_prefix("GRAFANA")?.split_once("= "))
        .expect("the image")
        .1;
    let started = compose
        .lines()
        .find_map(|line| line.trim().strip_prefix("image: ").filter(|image| image.contains("grafana")));
    assert_eq!(started, Some(asked));
}

/// The command that docs/metrics.md gives for it makes an absolute address of every runbook's.
#[test]
fn the_runbooks_of_alerts_get_a_site_in_front_by_the_documented_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let metrics = read("docs/metrics.md");
    let command = metrics.lines().find(|line| line.starts_with("sed ")).expect("the command");
    let ran = Command::new("sh").args(["-c", command]).current_dir(root).output().expect("a shell");
    assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
    let (before, after) = (read("envoy/prometheus/rules.yaml"), String::from_utf8(ran.stdout).expect("text"));
    assert_eq!(before.lines().count(), after.lines().count());
    let changed: Vec<_> = before.lines().zip(after.lines()).filter(|(old, new)| old != new).collect();
    assert_eq!(changed.len(), before.matches("- alert: ").count());
    for (old, new) in changed {
        let address = old.trim().strip_prefix("runbook_url: ").expect("a runbook");
        let site = "https://git.example.com/changeover/blob/main";
        assert_eq!(new.trim(), format!("runbook_url: {site}/{address}"));
    }
}

#[test]
fn files_do_not_use_each_other_in_circles() {
    let modules = modules();
    let paths: BTreeSet<&[String]> = modules.iter().map(|module| module.path.as_slice()).collect();
    let mut edges: BTreeMap<&[String], BTreeSet<&[String]>> = BTreeMap::new();
    for Module { path, uses } in &modules {
        for used in uses {
            // The longest beginning of the path that is a file of its own.
            let target = (1..=used.len()).rev().find_map(|length| paths.get(&used[..length]));
            let Some(target) = target else { continue };
            // A module and the files inside it are one: a parent declares its children.
            if !path.starts_with(target) && !target.starts_with(path) {
                edges.entry(path).or_default().insert(target);
            }
        }
    }
    for start in edges.keys() {
        // Breadth first, so that the circle found is the shortest.
        let mut from: BTreeMap<&[String], &[String]> = BTreeMap::new();
        let mut next: VecDeque<&[String]> = VecDeque::from([*start]);
        while let Some(path) = next.pop_front() {
            for used in edges.get(path).into_iter().flatten() {
                if used == start {
                    let way = std::iter::successors(Some(path), |path| from.get(path).copied());
                    let way: Vec<String> = way.map(|path| path.join("::")).collect();
                    panic!("{} is used by {}", start.join("::"), way.join(", which is used by "));
                }
                if !from.contains_key(used) {
                    from.insert(used, path);
                    next.push_back(used);
                }
            }
        }
    }
}

/// What may name a signal besides the catalogue: sources of observations, and what reads recorded ones.
const OBSERVE: [&str; 8] = [
    "src/fleet/simulated.rs",
    "src/host/shadow.rs",
    "src/host/stream.rs",
    "src/payload/exchange.rs",
    "src/rollout/recording/read.rs",
    "src/rollout/recording/write.rs",
    "src/telemetry/ledger.rs",
    "src/telemetry/outcome.rs",
];

/// Judge, rollouts, sentences and API learn what they need from a signal's columns.
#[test]
fn rows_of_the_catalogue_are_used_by_sources_of_observations_alone() {
    let sources = uses::sources("src");
    let (_, catalog) =
        sources.iter().find(|(file, _)| file.ends_with("signal/catalog.rs")).expect("the catalogue");
    let rows: Vec<&str> = catalog
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split_once(": Signal ="))
        .map(|(name, _)| name)
        .collect();
    let named: Vec<&str> = rows.iter().copied().filter(|row| !row.starts_with("TEST_")).collect();
    assert_eq!(named.len(), changeover::signal::catalog::ALL.len(), "{named:?}");
    for (file, text) in &sources {
        if file.ends_with("signal/catalog.rs") || OBSERVE.iter().any(|source| file.ends_with(source)) {
            continue;
        }
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            let row = words.find(|word| rows.contains(word));
            assert_eq!(row, None, "{} uses a signal's row: {line}", file.display());
        }
    }
}

/// The live page's words for signals whose names do not read well: the one place outside the catalogue.
const PAGE_WORDS: &str = "src/control/page/script/2-words.js";

/// A signal's name stands in its row of the catalogue, in the live page's words, and in documentation.
#[test]
fn names_of_signals_stand_in_the_catalogue_alone() {
    for (file, text) in uses::sources("src") {
        if file.ends_with("signal/catalog.rs") {
            continue;
        }
        for signal in changeover::signal::catalog::ALL {
            let name = format!("\"{}\"", signal.name);
            let line = text.lines().find(|line| line.contains(&name) && !line.trim_start().starts_with("//"));
            assert_eq!(line, None, "{} names a signal", file.display());
        }
    }
    for entry in std::fs::read_dir("src/control/page/script").expect("the page's scripts") {
        let path = entry.expect("a file").path();
        if path == Path::new(PAGE_WORDS) {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a script");
        // The page has a chart of errors and one of latency.
        let others = changeover::signal::catalog::ALL.iter();
        for signal in others.filter(|signal| !["error_rate", "latency"].contains(&signal.name)) {
            assert!(
                !text.contains(&format!("\"{}\"", signal.name)),
                "{} names {}",
                path.display(),
                signal.name
            );
        }
    }
}
