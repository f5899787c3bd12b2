//! Several endpoints at once.

use std::net::SocketAddr;
use std::sync::mpsc;

use super::super::client::distinct;
use super::super::lines::{New, lines};
use super::super::look::{Eyes, Last, Seen, Subject};
use super::super::picture::pictures;
use super::super::screen::Screen;
use super::super::watch::status;
use super::*;

/// An address at which nothing listens.
pub(super) const NOWHERE: &str = "http://127.0.0.1:1";

fn other() -> String {
    let weights = json!({"weights": {"green": 10}});
    serve(Rollouts::default().with("steps", &weights).with("alone", &weights), &Control::default(), &[])
}

/// Runs a command with these endpoints.
pub(super) fn at(endpoints: &[&str], arguments: &[&str]) -> Shown {
    let given = endpoints.iter().flat_map(|endpoint| ["--endpoint", endpoint]);
    let all: Vec<&str> = ["changeover"].into_iter().chain(arguments.iter().copied()).chain(given).collect();
    match crate::Arguments::try_parse_from(all).expect("valid arguments").command {
        crate::Command::Control(command) => ask(&command, Reader::default()).expect("answers"),
        _ => panic!("no command about rollouts"),
    }
}

/// The first, second and third column of a table's rows.
fn rows(text: &str) -> Vec<[String; 3]> {
    let row = |line: &str| {
        let mut words = line.split_whitespace().map(ToOwned::to_owned);
        [(); 3].map(|()| words.next().unwrap_or_default())
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
fn rollouts_of_one_name_are_shown_one_below_the_other() {
    let (one, two) = (open(), other());
    let shown = at(&[&one, &two], &["status"]);
    let row = |name: &str, endpoint: &str, phase: &str| [name, endpoint, phase].map(ToOwned::to_owned);
    let wanted = [
        row("alone", &two, "steady"),
        row("steps", &one, "progressing"),
        row("steps", &two, "steady"),
        row("still", &one, "steady"),
    ];
    assert_eq!((rows(&shown.text), shown.status), (wanted.to_vec(), 0), "{}", shown.text);
    let shown = at(&[&format!("{two},{one}")], &["status", "steps"]);
    assert_eq!(rows(&shown.text), [row("steps", &two, "steady"), row("steps", &one, "progressing")]);
}

#[test]
fn a_command_is_given_to_all_and_a_silent_one_is_status_1() {
    let (one, two) = (open(), open());
    let shown = at(&[&one, NOWHERE, &two], &["abort", "steps"]);
    let phases: Vec<String> = rows(&shown.text).into_iter().map(|[_, _, phase]| phase).collect();
    assert_eq!((phases, shown.status), (vec!["aborted".to_owned(); 2], 1), "{}", shown.text);
    assert_eq!(at(&[&one, &two], &["retry", "steps"]).status, 0);
    assert_eq!(at(&[&one, &two], &["retry", "steps"]).status, 1, "both refuse it");
    assert_eq!(at(&[&one, &other()], &["promote", "steps"]).status, 1, "one refuses it");
    assert_eq!(at(&[NOWHERE, NOWHERE], &["status"]).status, 2, "none answers");
    let none = serve(Rollouts::default(), &Control::default(), &[]);
    assert_eq!(at(&[&none, &none], &["status"]).status, 3, "none has any");
    assert_eq!(at(&[&none, &one], &["status"]).status, 1, "one has none");
}

#[test]
fn all_that_moves_is_aborted_at_each() {
    let (one, two) = (open(), open());
    let shown = at(&[&one, &two], &["abort", "--all"]);
    assert_eq!((rows(&shown.text).len(), shown.status), (2, 0), "{}", shown.text);
    let again = at(&[&one, &two], &["abort", "--all"]);
    assert_eq!((again.text.as_str(), again.status), (NONE_MOVES, 0));
}

#[test]
fn programs_get_a_line_for_each_endpoint() {
    let one = open();
    let shown = at(&[&one, NOWHERE], &["status", "still", "--json"]);
    let lines: Vec<Value> =
        shown.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((lines.len(), shown.status), (2, 1), "{}", shown.text);
    assert_eq!((&lines[0]["endpoint"], &lines[0]["answer"]["name"]), (&json!(one), &json!("still")));
    assert_eq!(lines[1]["endpoint"], NOWHERE);
    assert!(
        lines[1]["error"].as_str().is_some_and(|error| error.contains("Connection refused")),
        "{lines:?}"
    );
}

#[test]
fn events_stand_below_their_endpoint() {
    let (one, two) = (open(), open());
    let text = at(&[&one, &two], &["events", "steps"]).text;
    assert!(text.starts_with(&format!("{one}\n2025-11-24")), "{text}");
    assert!(text.contains(&format!("\n\n{two}\n2025-11-24")), "{text}");
}

#[test]
fn waiting_ends_when_all_are_there_or_one_cannot_be() {
    let (one, two) = (open(), open());
    let wait = |endpoints: &[&str], wanted: &str, timeout: &str| {
        at(endpoints, &["wait", "steps", "--for", wanted, "--timeout", timeout]).status
    };
    assert_eq!(at(&[&one], &["pause", "steps"]).status, 0);
    assert_eq!(wait(&[&one, &two], "paused", "0s"), 3, "one of them is not");
    assert_eq!(wait(&[&one, NOWHERE], "succeeded", "2h"), 2, "one is silent");
    assert_eq!(at(&[&two], &["pause", "steps"]).status, 0);
    assert_eq!(wait(&[&one, &two], "paused", "2h"), 0);
    assert_eq!(at(&[&two], &["abort", "steps"]).status, 0);
    assert_eq!(wait(&[&one, &two], "succeeded", "2h"), 1, "one has ended otherwise");
}

fn endpoints(names: &[&str]) -> Vec<Last> {
    names.iter().map(|name| Last { name: Some((*name).into()), ..Last::default() }).collect()
}

/// What is written while these looks come, on standard output and standard error, and the exit status.
fn watched(json: bool, events: bool, looks: Vec<(usize, Result<Seen, Failure>)>) -> (String, String, u8) {
    let mut all = endpoints(&["http://one", "http://two"]);
    let (sender, receiver) = mpsc::channel();
    looks.into_iter().for_each(|look| sender.send(Some(look)).expect("a receiver"));
    sender.send(None).expect("a receiver");
    let (mut out, mut problems) = (Vec::new(), Vec::new());
    let subject = if events { Subject::Events("steps".into()) } else { Subject::All };
    let new = || New::of(&subject, json, Reader::default());
    lines(&mut all, &receiver, &mut out, &mut problems, json, new);
    let status = status(all, &subject).unwrap_or_else(|failure| failure.exit_status());
    let text = |bytes| String::from_utf8(bytes).expect("a text");
    (text(out), text(problems), status)
}

/// What a look at a real API shows.
fn look(endpoint: &str, rollout: Option<&str>) -> Seen {
    let client = Client::new(endpoint, None).expect("a client");
    Eyes::new(client, rollout.map(ToOwned::to_owned)).look().expect("an answer")
}

#[test]
fn changes_are_written_behind_their_endpoint() {
    let (one, two) = (open(), other());
    let seen = |endpoint: &str| Ok(look(endpoint, Some("steps")));
    let gone = || Err(Failure::Unreachable("http://two: Connection refused\nIs it there?".into()));
    let looks = || vec![(0, seen(&one)), (1, gone()), (0, seen(&one)), (1, gone()), (1, seen(&two))];
    let (text, problems, status) = watched(false, false, looks());
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split("  ").collect()).collect();
    let heads: Vec<_> = lines.iter().map(|words| (words[0], words[2], words[3])).collect();
    assert_eq!(heads, [("http://one", "steps", "progressing"), ("http://two", "steps", "steady")], "{text}");
    assert_eq!(problems, "http://two: Connection refused; still trying\n", "once, until it changes");
    let (_, problems, _) = watched(false, false, vec![(1, seen(&two)), (1, gone()), (1, seen(&two))]);
    let back = "http://two: Connection refused; still trying\nhttp://two: answers again\n";
    assert_eq!(problems, back, "also where nothing has changed");
    assert_eq!(status, 0);
    let (text, _, _) = watched(true, false, looks());
    let endpoints = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        (line["endpoint"].clone(), line["answer"]["name"].clone())
    });
    let wanted = ["http://one", "http://two"].map(|endpoint| (json!(endpoint), json!("steps")));
    assert_eq!(endpoints.collect::<Vec<_>>(), wanted);
    let (text, _, _) = watched(false, true, vec![(1, seen(&one))]);
    assert!(!text.is_empty() && text.lines().all(|line| line.starts_with("http://two  ")), "{text}");
}

#[test]
fn the_last_looks_are_the_exit_status() {
    let (one, two) = (open(), open());
    let seen = |endpoint: &str| Ok(look(endpoint, None));
    let gone = || Err(Failure::Unreachable("http://two: gone".into()));
    let status = |looks| watched(false, false, looks).2;
    assert_eq!(status(vec![(0, seen(&one)), (1, seen(&one))]), 0);
    assert_eq!(
        status(vec![(0, seen(&one)), (1, seen(&one)), (1, gone())]),
        1,
        "one does not answer any more"
    );
    assert_eq!(status(vec![(0, gone()), (1, gone())]), 2, "none has answered");
    assert_eq!(status(vec![(0, seen(&one))]), 1, "one has said nothing yet");
    assert_eq!(status(vec![]), 2, "none has said anything yet");
    assert_eq!(at(&[&two], &["abort", "steps"]).status, 0);
    let looks = || vec![(0, seen(&one)), (1, seen(&two))];
    assert_eq!(watched(false, true, looks()).2, 0, "the events of an aborted one are shown");
    assert_eq!(status(looks()), 1, "one is aborted");
}

/// An address may come from a variable or a file.
#[test]
fn an_endpoint_moves_no_cursor() {
    let client = Client::new("http://\u{1b}[31m\u{202e}", None).expect("a client");
    let failure = client.get("/v1/rollouts").expect_err("not a URL");
    assert_eq!(client.name(), "http://\u{fffd}[31m\u{fffd}");
    let what = failure.without(&client.name());
    assert!(what.starts_with("not a URL: "), "{what}");
    let shown = at(&["http://\u{1b}[31m", &open()], &["status", "--json"]);
    assert!(shown.text.contains("http://\u{fffd}[31m") && !shown.text.contains("u001b"), "{}", shown.text);
}

#[test]
fn a_picture_has_all_endpoints_and_those_that_are_silent() {
    let (one, two) = (open(), other());
    let mut all = endpoints(&["http://one", "http://two", "http://six", "http://ten"]);
    let (sender, receiver) = mpsc::channel();
    let gone = Err(Failure::Unreachable("http://six: gone".into()));
    for look in [(0, Ok(look(&one, None))), (1, Ok(look(&two, None))), (2, gone)] {
        sender.send(Some(look)).expect("a receiver");
    }
    sender.send(None).expect("a receiver");
    let mut out = Vec::new();
    let size = || (100, 12);
    pictures(&mut all, &Subject::All, &receiver, Screen::new(&mut out, false), size);
    let mut terminal = vt100::Parser::new(12, 100, 0);
    terminal.process(&out);
    let screen = terminal.screen().contents();
    let silent = ["✗ no answer, retrying: http://six: gone", "no answer yet: http://ten"];
    for row in ["steps    http://one", "steps    http://two"].into_iter().chain(silent) {
        assert!(screen.contains(row), "{row}: {screen}");
    }
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

#[test]
fn the_addresses_of_a_name_are_several_envoys_unless_they_are_of_one_machine() {
    let loopback = distinct(addresses(&["[::1]:9911", "127.0.0.1:9911"]));
    assert_eq!(loopback.len(), 1, "localhost is one");
    assert_eq!(distinct(addresses(&["127.0.0.1:9911", "127.0.1.1:9911"])).len(), 1);
    let both = distinct(addresses(&["[2001:db8::1]:1", "10.0.0.2:1", "10.0.0.1:1", "10.0.0.1:1"]));
    assert_eq!(both, addresses(&["10.0.0.1:1", "10.0.0.2:1"]));
    let new = addresses(&["[2001:db8::1]:1", "[2001:db8::2]:1"]);
    assert_eq!(distinct(new.clone()), new);
}

#[test]
fn each_address_is_asked_under_the_name() {
    let servers = [(); 2].map(|()| {
        listen(|request| {
            let host = String::from_utf8_lossy(&request.authority).into_owned();
            let path = String::from_utf8_lossy(&request.path).into_owned();
            Response { status: 200, headers: Vec::new(), body: json!(host + &path).to_string() }
        })
    });
    let sockets = servers.map(|server| server.trim_start_matches("http://").parse().expect("an address"));
    let uri = "http://gateway.example.com:9911/proxied".parse().expect("a URL");
    let client = Client::new("http://gateway.example.com:9911/proxied/", None).expect("a client");
    let clients = client.at(&uri, sockets.to_vec());
    for (client, socket) in clients.iter().zip(sockets) {
        assert_eq!(client.name(), format!("http://{socket}/proxied"));
        assert_eq!(client.get("/x"), Ok("\"gateway.example.com:9911/proxied/x\"".into()));
    }
    assert_eq!(clients.len(), 2);
}
