//! The command line as people call it: the program itself, in a shell, against the API.

#![allow(missing_docs)]
// A test may fail.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

#[path = "../../src/bin/changeover/control/tests/server.rs"]
#[expect(dead_code, reason = "the documentation needs the API only, not answers made up for one test")]
mod server;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use changeover::config::schema::Control;
use serde_json::{Value, json};
use server::{Rollouts, serve, serve_in, shop};

/// What the documentation calls the control listener.
const DOCUMENTED: &str = "http://127.0.0.1:9911";

/// What it calls the one of an Envoy that belongs to a fleet.
const DOCUMENTED_FLEET: &str = "http://10.0.0.7:9911";

/// The rollouts of the documentation.
fn endpoint() -> String {
    let steps = json!({
        "steps": [
            {"set_weight": 5}, {"pause": {"duration": "10m", "min_requests": 500}},
            {"set_weight": 25}, {"pause": {}},
        ],
        "analysis": {},
    });
    let rollouts = Rollouts::default().with("recommender", &steps);
    let rollouts = rollouts.with("ranker", &json!({"release": "2026-11-20.2", "weights": {"green": 10}}));
    let claims = json!({
        "automation": {
            "answer": {"label": "/label", "confidence": "/confidence"},
            "partial": {"max_disagreement": 0.05, "min_coverage": 0.1},
        },
        "steps": [
            {"set_degree": "shadow"}, {"pause": {"min_decisions": 2_000, "min_agreement": 0.9}},
            {"set_degree": "assist"}, {"pause": {}}, {"set_degree": "partial"},
        ],
    });
    let rollouts = rollouts.with("claims", &claims);
    let rollouts = rollouts.with("embedder", &json!({"release": "2026-11-22.1", "blue_green": {}}));
    serve(rollouts, &Control::default(), &[])
}

/// A command in a shell, at the top of the repository.
fn shell(endpoint: &str, line: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_changeover")).parent().expect("a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("bash");
    command
        .args(["-c", line])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATH", format!("{}:{path}", program.display()))
        .env("CHANGEOVER_ENDPOINT", endpoint)
        .env_remove("CHANGEOVER_TOKEN")
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR")
        .env_remove("CLICOLOR_FORCE")
        .env_remove("CI")
        .stdin(Stdio::null());
    command
}

fn run(endpoint: &str, line: &str) -> Output {
    shell(endpoint, line).output().expect("bash")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A document with what really comes out of the commands in its console blocks, in their order. `run`: what one prints.
fn run_anew(document: &str, run: impl Fn(&str) -> String) -> String {
    let mut written = String::new();
    let mut in_console = false;
    for line in document.lines() {
        if line.starts_with("```") {
            in_console = line == "```console";
        } else if in_console && !line.starts_with("$ ") {
            continue;
        }
        written.push_str(line);
        written.push('\n');
        if let (true, Some(command)) = (in_console, line.strip_prefix("$ ")) {
            let printed = run(&format!("{{ {command}\n}} 2>&1"));
            assert!(!printed.is_empty(), "`{command}` prints nothing");
            written.push_str(&printed);
        }
    }
    written
}

/// Compares a document with what its commands print, or writes that into it.
fn assert_shows_what_comes_out(file: &str, run: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let document = std::fs::read_to_string(&path).expect("a document");
    let written = run_anew(&document, run);
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, &written).expect("written");
    } else {
        assert_eq!(document, written, "{file} shows something else");
    }
}

/// `make cli-docs` writes it.
#[test]
fn the_documentation_shows_what_comes_out() {
    let fleet = serve_in(Some(shop("shop-eu")), Rollouts::default(), &Control::default(), &[]);
    let endpoint = endpoint();
    assert_shows_what_comes_out("docs/cli.md", |command| {
        // A busy machine takes longer to print.
        let command = command.replace("--signal=INT 2 ", "--signal=INT 8 ");
        let output = run(&endpoint, &command.replace(DOCUMENTED_FLEET, &fleet));
        text(&output.stdout).replace(&fleet, DOCUMENTED_FLEET).replace(&endpoint, DOCUMENTED)
    });
}

/// The same of alarms, in a folder with recordings and the configuration of examples/replay with an alarm.
#[test]
fn the_documentation_of_alarms_shows_what_comes_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, content: &str| std::fs::write(folder.path().join(name), content).expect("written");
    let alarm = "  alarms: [{name: errors, signal: error_rate, max: 0.022, window: 1m}]\n";
    put("changeover.yaml", &format!("{}{alarm}", include_str!("../../examples/replay/changeover.yaml")));
    put(
        "ticks.jsonl",
        &recording(1_800, |tick| (tick % 3, if (900..1_020).contains(&tick) { 6 } else { tick % 2 })),
    );
    let peaks = |tick: u64| (if tick % 600 > 540 { 20 } else { 1 }, 1);
    put("peaks.jsonl", &recording(3_600, peaks));
    assert_shows_what_comes_out("docs/alarms.md", |command| {
        let output = shell("", command).current_dir(folder.path()).output().expect("bash");
        text(&output.stdout)
    });
}

/// So many seconds as `changeover record` prints them, in which so many of each version's 100 requests fail.
fn recording(seconds: u64, failed: impl Fn(u64) -> (u64, u64)) -> String {
    let version = |failed: u64| json!({"requests": 100, "events": {"error_rate": failed}, "latency_ms": [[26.91, 50], [32.0, 50]]});
    let tick = |second: u64| {
        let (blue, green) = failed(second);
        let versions = json!({"blue": version(blue), "green": version(green)});
        json!({"tick": 1_764_022_100 + second, "weights": {"green": 50}, "versions": versions}).to_string()
    };
    (1..=seconds).map(|second| tick(second) + "\n").collect()
}

#[test]
fn every_command_is_in_the_documentation() {
    let document = include_str!("../../docs/cli.md");
    let help = text(&run("", "changeover --help").stdout);
    let commands = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next());
    let commands = commands.expect("a list").lines().filter_map(|line| line.split_whitespace().next());
    let mut count = 0;
    for command in commands {
        assert!(document.contains(&format!("changeover {command}")), "{command}");
        count += 1;
    }
    assert!(count >= 13, "{help}");
}

#[test]
fn an_abort_says_what_a_restart_of_envoy_does() {
    let endpoint = endpoint();
    let said = |line: &str| text(&run(&endpoint, line).stderr);
    let hint = "recommender: a restart of Envoy begins the release again; `pin: blue` in its configuration prevents that\n";
    assert_eq!(said("changeover abort recommender --json"), hint);
    assert_eq!(said("changeover abort ranker"), "", "what does not move by itself begins nothing");
    assert_eq!(said("changeover retry recommender"), "");
    assert_eq!(said("changeover abort --all"), format!("{}{hint}", hint.replace("recommender", "claims")));
}

#[test]
fn a_program_that_watches_gets_a_line_for_each_change() {
    let endpoint = endpoint();
    let mut watch = shell(&endpoint, "exec changeover status recommender --watch --json");
    let mut watch = watch.stdout(Stdio::piped()).spawn().expect("bash");
    let mut lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("a line").expect("text");
        serde_json::from_str(&line).expect("JSON")
    };
    assert_eq!(next()["phase"], "progressing");
    assert!(run(&endpoint, "changeover abort recommender").status.success());
    assert_eq!(next()["phase"], "aborted");
    assert!(run("", &format!("kill -INT {}", watch.id())).status.success());
    assert_eq!(watch.wait().expect("an end").code(), Some(1), "as `status` would end");
}

/// What a terminal gets; `script` is one, of 80 columns.
fn on_a_terminal(endpoint: &str, line: &str) -> String {
    let line = format!("script --quiet --return --command 'stty cols 80 rows 30; {line}' /dev/null");
    text(&run(endpoint, &line).stdout)
}

#[test]
fn a_terminal_gets_a_picture_that_ends_by_itself_in_order() {
    let endpoint = endpoint();
    let watch = &|environment: &str| {
        let command = format!(
            "{environment} timeout --foreground --signal=INT 15 changeover status recommender --watch"
        );
        on_a_terminal(&endpoint, &command)
    };
    // At once: each takes as long as it is watched.
    let [shown, plain, dumb] = std::thread::scope(|scope| {
        ["", "NO_COLOR=1", "TERM=dumb"]
            .map(|environment| scope.spawn(move || watch(environment)))
            .map(|watching| watching.join().expect("a picture"))
    });
    assert!(shown.matches("\u{1b}[?25l").count() >= 2, "drawn more than once: {shown:?}");
    assert!(shown.ends_with("\u{1b}[?25h"), "the cursor is back: {shown:?}");
    assert!(shown.contains("\u{1b}[1mrecommender\u{1b}[0m"), "{shown:?}");
    assert!(plain.contains("\u{1b}[?25l") && !plain.contains("\u{1b}[1m"), "still in place: {plain:?}");
    assert!(!dumb.contains('\u{1b}') && dumb.lines().count() == 1, "{dumb:?}");
}

#[test]
fn tones_are_for_terminals() {
    let endpoint = endpoint();
    assert!(!text(&run(&endpoint, "changeover status").stdout).contains('\u{1b}'));
    assert!(text(&run(&endpoint, "CLICOLOR_FORCE=1 changeover status").stdout).contains('\u{1b}'));
    assert!(on_a_terminal(&endpoint, "changeover status").contains('\u{1b}'));
    assert!(!on_a_terminal(&endpoint, "NO_COLOR=1 changeover status").contains('\u{1b}'));
    assert!(!on_a_terminal(&endpoint, "CLICOLOR=0 changeover status").contains('\u{1b}'));
    assert!(!on_a_terminal(&endpoint, "TERM=dumb changeover status").contains('\u{1b}'));
    assert!(!on_a_terminal(&endpoint, "CI=true TERM=dumb changeover status").contains('\u{1b}'));
}

#[test]
fn a_shell_completes_commands() {
    let script = "source <(changeover completions bash)
        COMP_WORDS=(changeover sta) COMP_CWORD=1
        _changeover changeover sta changeover
        echo ${COMPREPLY[*]}";
    assert_eq!(text(&run("", script).stdout), "status\n");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(
            run("", &format!("changeover completions {shell} | grep -q retry")).status.success(),
            "{shell}"
        );
    }
}

#[test]
fn events_are_followed() {
    let endpoint = endpoint();
    let mut watch = shell(&endpoint, "exec changeover events recommender --watch");
    let mut watch = watch.stdout(Stdio::piped()).spawn().expect("bash");
    let mut lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
    let mut until = |wanted: &str| {
        lines
            .find(|line| line.as_ref().is_ok_and(|line| line.contains(wanted)))
            .expect("it comes")
            .expect("text")
    };
    until("step 2 of 4: green at 5 %");
    assert!(run(&endpoint, "changeover pause recommender").status.success());
    until("paused by command");
    assert!(run("", &format!("kill -TERM {}", watch.id())).status.success());
    assert_eq!(watch.wait().expect("an end").code(), Some(0));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let endpoint = endpoint();
    let mut watch = shell(&endpoint, "exec changeover status --watch --json");
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bash");
    let mut first = [0; 1];
    watch.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("a byte");
    drop(watch.stdout.take());
    assert!(run(&endpoint, "changeover pause recommender").status.success());
    let ended = watch.wait_with_output().expect("an end");
    assert_eq!((ended.status.code(), text(&ended.stderr).as_str()), (Some(0), ""));
}
