mod fleet;
mod many;
pub(super) mod server;
mod wait;
mod watch;

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

use changeover::config::schema::Control;
use changeover::control::request::Request;
use changeover::control::response::Response;
use changeover::rollout::command::VERBS;
use clap::{CommandFactory, Parser};
use serde_json::{Value, json};
use server::{Rollouts, listen, serve, serve_in, shop};

/// Runs a command as at a terminal.
fn changeover(endpoint: &str, arguments: &[&str]) -> Result<Shown, Failure> {
    let all = [&["changeover"], arguments, &["--endpoint", endpoint]].concat();
    match crate::Arguments::try_parse_from(all).expect("valid arguments").command {
        crate::Command::Control(command) => ask(&command, Reader::default()),
        _ => panic!("no command about rollouts"),
    }
}

fn text(endpoint: &str, arguments: &[&str]) -> String {
    changeover(endpoint, arguments).expect("an answer").text
}

/// What is said when there is no answer, and the exit status.
fn failure(endpoint: &str, arguments: &[&str]) -> (u8, String) {
    let failure = changeover(endpoint, arguments).expect_err("no answer");
    (failure.exit_status(), failure.to_string())
}

fn rollouts() -> Rollouts {
    let steps = json!({
        "mirror": {"to": "green", "percent": 12.5},
        "steps": [{"set_weight": 5}, {"pause": {"duration": "1h"}}, {"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}]},
    });
    Rollouts::default().with("steps", &steps).with("still", &json!({"weights": {"green": 0.25}}))
}

fn open() -> String {
    serve(rollouts(), &Control::default(), &[])
}

#[test]
fn each_command_of_the_table_is_a_subcommand_with_its_summary() {
    let arguments = crate::Arguments::command();
    for verb in &VERBS {
        let subcommand = arguments.find_subcommand(verb.name).expect(verb.name);
        let about = |text: Option<&clap::builder::StyledStr>| text.map(ToString::to_string);
        assert_eq!(about(subcommand.get_about()).as_deref(), Some(verb.summary));
        let long = verb.more.map(|more| format!("{}\n\n{more}", verb.summary));
        assert_eq!(about(subcommand.get_long_about()), long);
        let takes_all = subcommand.get_arguments().any(|argument| argument.get_id() == "all");
        assert_eq!(takes_all, verb.for_all, "{}", verb.name);
    }
}

#[test]
fn all_rollouts_are_shown_in_a_table() {
    let expected = "\
ROLLOUT  PHASE        STEP    WEIGHTS                 OBSERVED                EVIDENCE      RELEASE       REASON
steps    progressing  2 of 4  blue 95, green 5        blue 94.34, green 5.66  0.23 of 2.00  2026-11-24.1  the step waits for its duration to pass
still    steady               blue 99.75, green 0.25                                        2026-11-24.1
";
    assert_eq!(text(&open(), &["status"]), expected);
    let none = serve(Rollouts::default(), &Control::default(), &[]);
    assert_eq!(failure(&none, &["status"]), (3, NOT_YET.into()));
}

#[test]
fn one_rollout_is_shown_in_full() {
    let expected = "\
rollout   steps
release   2026-11-24.1, attempt 1
phase     progressing
reason    the step waits for its duration to pass
steps     ✓ 5 %  ▶ 1h  · 50 %  · promotion
step      2 of 4, 1s of 1h  █░░░░░░░░░░░░░░░░░░░
mirror    12.5 %
revision  2

WEIGHTS            WANTED                         OBSERVED
blue (stable)         95 %  ███████████████████░  94.34 %  ███████████████████░
green (candidate)      5 %  █░░░░░░░░░░░░░░░░░░░   5.66 %  █░░░░░░░░░░░░░░░░░░░

EVIDENCE    LOG10(E)  THRESHOLD 2.00
error_rate      0.23  █████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
all             0.23  █████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
";
    assert_eq!(text(&open(), &["status", "steps"]), expected);
}

#[test]
fn one_request_is_no_requests() {
    let pause = json!({"duration": "1h", "min_requests": 1});
    let fields = json!({"steps": [{"set_weight": 5}, {"pause": pause}], "analysis": {}});
    let endpoint = serve(Rollouts::default().with("steps", &fields), &Control::default(), &[]);
    let shown = text(&endpoint, &["status", "steps"]);
    assert!(shown.contains("▶ 1h, 1 request\n") && shown.contains("6 of 1 request  "), "{shown}");
}

#[test]
fn a_pause_without_a_duration_shows_none() {
    let pause = json!({"min_requests": 500});
    let fields = json!({"steps": [{"set_weight": 5}, {"pause": pause}], "analysis": {}});
    let endpoint = serve(Rollouts::default().with("steps", &fields), &Control::default(), &[]);
    let shown = text(&endpoint, &["status", "steps"]);
    assert!(shown.contains("\nstep      2 of 2, 6 of 500 requests  "), "{shown}");
}

#[test]
fn commands_are_obeyed_and_their_events_shown() {
    let endpoint = open();
    let phase = |arguments: &[&str]| {
        let text = text(&endpoint, arguments);
        text.lines().find_map(|line| line.strip_prefix("phase")).expect("a phase").trim().to_owned()
    };
    assert_eq!(phase(&["pause", "steps"]), "paused");
    assert_eq!(phase(&["resume", "steps"]), "progressing");
    assert_eq!(phase(&["promote", "steps"]), "paused");
    assert_eq!(phase(&["promote", "steps", "--full"]), "succeeded");
    assert_eq!(phase(&["abort", "steps"]), "aborted");
    let aborted = changeover(&endpoint, &["status", "steps"]).expect("an answer");
    assert!(aborted.status == 1 && aborted.text.contains("reason    aborted by command"), "{}", aborted.text);
    assert_eq!(changeover(&endpoint, &["status"]).expect("an answer").status, 1);
    assert_eq!(changeover(&endpoint, &["status", "still"]).expect("an answer").status, 0);
    assert_eq!(phase(&["retry", "steps"]), "progressing");
    let events = text(&endpoint, &["events", "steps"]);
    let lines: Vec<&str> = events.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "2025-11-24 22:15:01Z  user    step      2026-11-24.1, attempt 2",
            "    blue 100 → blue 95, green 5",
            "    step 2 of 4: green at 5 % for 60 min",
        ]
    );
    assert!(lines.iter().any(|line| line.contains("green 100 → blue 100")), "{events}");
}

#[test]
fn events_show_who_gave_a_command_and_why() {
    let endpoint = open();
    text(&endpoint, &["abort", "steps", "--reason", "p99 has doubled"]);
    let events = text(&endpoint, &["events", "steps"]);
    let told: Vec<&str> = events.lines().take(4).collect();
    assert_eq!(told.last(), Some(&"    reason: p99 has doubled"), "{events}");
    let long = failure(&endpoint, &["retry", "steps", "--reason", &"x".repeat(257)]);
    assert_eq!(long, (1, "reason: 257 characters are over the limit of 256".into()));
    let mut event: Value =
        serde_json::from_str(&text(&endpoint, &["events", "steps", "--json"])).expect("JSON");
    assert_eq!(event["events"][0]["reason"], "p99 has doubled");
    event["events"][0]["token"] = "deploy".into();
    let named = listen(move |_| answer(200, &event.to_string()));
    let events = text(&named, &["events", "steps"]);
    assert!(events.lines().next().is_some_and(|head| head.ends_with("attempt 1, by deploy")), "{events}");
}

#[test]
fn abort_all_where_nothing_is_known_yet_has_aborted_nothing() {
    let endpoint = serve(Rollouts::default(), &Control::default(), &[]);
    let failure = changeover(&endpoint, &["abort", "--all"]).expect_err("nothing was aborted");
    assert_eq!(failure.exit_status(), 3);
}

#[test]
fn abort_all_takes_back_what_moves_and_goes_on_after_a_refusal() {
    let endpoint = open();
    let aborted = changeover(&endpoint, &["abort", "--all"]).expect("an answer");
    assert!(aborted.text.starts_with("rollout   steps\n") && aborted.status == 0, "{}", aborted.text);
    assert!(aborted.text.contains("phase     aborted\n"), "{}", aborted.text);
    assert!(!aborted.text.contains("still"), "a steady rollout is left alone: {}", aborted.text);
    assert_eq!(text(&endpoint, &["abort", "--all"]), "no rollout is progressing or paused\n");
    assert_eq!(text(&endpoint, &["abort", "--all", "--json"]), "");

    let one = text(&open(), &["status", "steps", "--json"]);
    let rollout: Value = serde_json::from_str(&one).expect("JSON");
    let named = |name: &str| {
        let mut rollout = rollout.clone();
        rollout["name"] = name.into();
        rollout
    };
    let mut page: Value = serde_json::from_str(&text(&open(), &["status", "--json"])).expect("JSON");
    page["rollouts"] = json!([named("a"), named("b")]);
    let (page, b) = (page.to_string(), named("b").to_string());
    let endpoint = listen(move |request| match request.path.as_slice() {
        b"/v1/rollouts/a/abort" => answer(409, r#"{"title": "no", "status": 409, "detail": "not now"}"#),
        b"/v1/rollouts/b/abort" => answer(200, &b),
        _ => answer(200, &page),
    });
    let partly = changeover(&endpoint, &["abort", "--all"]).expect("an answer");
    assert!(partly.status == 1 && partly.text.starts_with("rollout   b\n"), "{}", partly.text);
}

#[test]
fn shares_and_sides_are_sent_as_the_api_wants_them() {
    let rollout = text(&open(), &["status", "steps", "--json"]);
    let (sender, sent) = std::sync::mpsc::channel();
    let endpoint = listen(move |request| {
        if request.path == b"/v1/fleet" {
            return answer(404, "{}");
        }
        sender.send((request.path.clone(), request.body.clone())).expect("a receiver");
        answer(200, &rollout)
    });
    for (arguments, verb, body) in [
        (&["weight", "steps", "green=10"][..], "weight", r#"{"green":10}"#),
        (&["weight", "steps", "green=0.25", "red=5"], "weight", r#"{"green":0.25,"red":5}"#),
        (&["switch", "steps", "green"], "switch", r#"{"active":"green"}"#),
        (&["degree", "steps", "assist"], "degree", r#"{"degree":"assist"}"#),
        (&["promote", "steps", "--full"], "promote", r#"{"full":true}"#),
        (&["abort", "steps", "--reason", "p99 doubled"], "abort", r#"{"reason":"p99 doubled"}"#),
        (&["pause", "steps", "--reason", "a \"b\""], "pause", r#"{"reason":"a \"b\""}"#),
        (&["weight", "steps", "green=1", "--reason", "x"], "weight", r#"{"green":1,"reason":"x"}"#),
    ] {
        assert!(text(&endpoint, arguments).starts_with("rollout   steps\n"));
        let (path, sent) = sent.recv().expect("it was sent");
        assert_eq!(path, format!("/v1/rollouts/steps/{verb}").into_bytes());
        assert_eq!(String::from_utf8(sent).expect("text"), body);
    }
    let twice = failure(&endpoint, &["weight", "steps", "green=10", "green=20"]);
    assert_eq!(twice, (2, "green is named twice".into()));
    let both = failure(&endpoint, &["weight", "steps", "reason=10", "--reason", "x"]);
    assert!(both.0 == 2 && both.1.contains("do not fit into one command"), "{both:?}");
    assert!(sent.try_recv().is_err(), "nothing was sent");
}

/// A rollout with people, whose decisions [`server`] makes up.
fn with_people() -> String {
    let fields = json!({
        "automation": {
            "answer": {"label": "/label", "confidence": "/confidence"},
            "partial": {"max_disagreement": 0.05, "min_coverage": 0.1},
        },
        "steps": [
            {"set_degree": "shadow"}, {"pause": {"duration": "24h", "min_decisions": 2_000}},
            {"set_degree": "assist"}, {"pause": {}}, {"set_degree": "partial"},
        ],
    });
    let unproven = json!({"automation": {"answer": {"label": "/label"}}});
    serve(rollouts().with("claims", &fields).with("photos", &unproven), &Control::default(), &[])
}

#[test]
fn status_shows_what_people_have_decided_and_what_is_proven() {
    let shown = text(&with_people(), &["status", "claims"]);
    let (shown, _) = shown.split_once("\nrevision").expect("all fields");
    let expected = "\
rollout   claims
release   2026-11-24.1, attempt 1
phase     progressing
reason    the step waits for its duration to pass
steps     ✓ shadow  ▶ 24h, 2000 decisions  · assist  · promotion  · partial
step      2 of 5, 1s of 24h, 1000 of 2000 decisions, agreement 90.0 % [86.2, 93.1]  █░░░░░░░░░░░░░░░░░░░
degree    shadow
blind     90.0 % [86.2, 93.1] agreement in 1000 tasks decided without seeing the model's answer
kappa     0.72
by label  water 90.0 % [85.7, 93.4] in 800 tasks; fraud 90.0 % [81.2, 95.7] in 200 tasks
proof     threshold 0.8 would leave 20.0 % to the model, 0.0 % disagreement, proven to be at most 3.4 %; 0.78 would be 22.0 %, about 2289 \
decisions short";
    assert_eq!(shown, expected);
}

#[test]
fn a_degree_is_set_as_far_as_the_configuration_allows() {
    let endpoint = with_people();
    let degree = || {
        let status = text(&endpoint, &["status", "claims"]);
        status.lines().find_map(|line| line.strip_prefix("degree")).expect("a degree").trim().to_owned()
    };
    assert_eq!(degree(), "shadow");
    let set = text(&endpoint, &["degree", "claims", "assist", "--reason", "the reviewers ask for it"]);
    assert!(set.starts_with("rollout   claims\n"), "{set}");
    assert_eq!(degree(), "assist");
    let events = text(&endpoint, &["events", "claims"]);
    let newest: Vec<&str> = events.lines().take(3).collect();
    let expected = [
        "2025-11-24 22:15:01Z  user    change    2026-11-24.1, attempt 1",
        "    the degree of automation is assist by command, it was shadow",
        "    reason: the reviewers ask for it",
    ];
    assert_eq!(newest, expected, "{events}");
    let unproven = failure(&endpoint, &["degree", "photos", "partial"]);
    let flaw = "partial: automation.partial: missing; where the model answers alone, expected `max_disagreement`, or a fixed `threshold`, \
                which is not proven";
    assert_eq!(unproven, (1, flaw.into()));
    let no_people = failure(&endpoint, &["degree", "steps", "assist"]);
    assert_eq!(no_people, (1, "the rollout has no `automation`, whose degree could be set".into()));
    let wrong = ["changeover", "degree", "claims", "alone"];
    let wrong = crate::Arguments::try_parse_from(wrong).err().expect("no degree").to_string();
    assert!(wrong.contains("expected human, shadow, assist, partial or full"), "{wrong}");
}

#[test]
fn a_refusal_by_the_api_exits_with_status_1() {
    let endpoint = open();
    let nobody = "there is no rollout \"nobody\"; known here: \"steps\", \"still\"";
    for arguments in [&["status", "nobody"][..], &["events", "nobody"], &["abort", "nobody"]] {
        assert_eq!(failure(&endpoint, arguments), (1, nobody.into()));
    }
    let none = serve(Rollouts::default(), &Control::default(), &[]);
    for arguments in [&["status", "nobody"][..], &["abort", "nobody"]] {
        assert_eq!(failure(&none, arguments), (3, format!("\"nobody\": {NOT_YET}")));
    }
    assert_eq!(text(&none, &["status", "--json"]), "{\"rollouts\":[],\"next\":null}\n");
    let many = (0..11).fold(Rollouts::default(), |all, n| all.with(&format!("r{n}"), &json!({})));
    let (_, message) = failure(&serve(many, &Control::default(), &[]), &["status", "nobody"]);
    assert!(message.ends_with("\"r8\", … (changeover status lists all)"), "{message}");
    assert_eq!(
        failure(&endpoint, &["retry", "steps"]),
        (1, "the rollout is progressing; only an aborted or failed rollout can be retried".into())
    );
}

#[test]
fn workers_that_have_not_confirmed_are_named() {
    let endpoint = serve(rollouts(), &Control::default(), &[1, 3]);
    let shown = changeover(&endpoint, &["abort", "steps"]).expect("an answer");
    assert!(
        shown.text.contains("missing   not yet confirmed by worker 1, 3; check the status again\n"),
        "{}",
        shown.text
    );
    assert_eq!(shown.status, 0, "it was obeyed");
}

#[test]
fn programs_get_the_answers_as_they_are() {
    let endpoint = open();
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&text(&endpoint, &[arguments, &["--json"]].concat())).expect("JSON")
    };
    assert_eq!(json(&["status"])["rollouts"][0]["name"], "steps");
    assert_eq!(json(&["status", "steps"])["weights"], json!({"blue": 95, "green": 5}));
    assert_eq!(json(&["pause", "steps"])["phase"], "paused");
    assert_eq!(json(&["events", "steps"])["events"][0]["action"], "pause");
}

#[test]
fn every_page_is_asked_for() {
    let many = (0..1_001).fold(Rollouts::default(), |all, n| all.with(&format!("r{n:04}"), &json!({})));
    let endpoint = serve(many, &Control::default(), &[]);
    assert_eq!(text(&endpoint, &["status"]).lines().count(), 1_002);
    assert_eq!(text(&endpoint, &["status", "--json"]).lines().count(), 11);
    // What the API has no time for is asked again.
    let asked = AtomicUsize::new(0);
    let busy = listen(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => Response { headers: vec![("retry-after", "0".into())], ..answer(429, "{}") },
        _ => answer(200, r#"{"rollouts": [], "next": null}"#),
    });
    assert_eq!(failure(&busy, &["status"]), (3, NOT_YET.into()));
    // A watch that never ends is left.
    let endless = listen(|_| answer(200, r#"{"rollouts": [], "next": "a"}"#));
    assert_eq!(failure(&endless, &["status"]), (3, NOT_YET.into()));
}

fn answer(status: u16, body: &str) -> Response {
    Response { status, headers: Vec::new(), body: body.into() }
}

#[test]
fn the_token_comes_from_a_file_or_the_environment() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let file = directory.path().join(name);
        std::fs::write(&file, text).expect("written");
        file.to_str().expect("a path").to_owned()
    };
    let control = json!({"token_sha256": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"});
    let endpoint = serve(rollouts(), &serde_json::from_value(control).expect("valid"), &[]);
    let with = |file: &str| changeover(&endpoint, &["abort", "steps", "--token-file", file]);
    assert!(with(&write("right", "secret\n")).is_ok());
    let refused = |message: &str| Err(Failure::Unreachable(format!("{endpoint}: {message}")));
    let wrong = "the token is none of those in the configuration, where `control.token_sha256` and `control.tokens` have their \
                 SHA-256 (tr -d '\\n' < FILE | sha256sum)";
    assert_eq!(with(&write("wrong", "guess")), refused(wrong));
    let wanted = "a token is required: --token-file FILE, or CHANGEOVER_TOKEN";
    assert_eq!(with(&write("empty", "\n")), refused(wanted));
    assert_eq!(with(&write("odd", "a\nb")).expect_err("no header's value").exit_status(), 2);
    let missing = directory.path().join("missing");
    let message = with(missing.to_str().expect("a path")).expect_err("no token").to_string();
    assert!(message.starts_with("cannot read the token in "), "{message}");

    let of = |file: Option<&str>, environment: &str| {
        token(file.map(Path::new), Some(environment.into())).expect("a token")
    };
    assert_eq!(of(None, " secret "), Some("secret".into()));
    assert_eq!(of(None, ""), None);
    assert_eq!(of(Some(&write("first", "from the file")), "secret"), Some("from the file".into()));
}

#[test]
fn an_unreachable_envoy_is_reported_with_a_remedy() {
    let (status, message) = failure(many::NOWHERE, &["status"]);
    assert_eq!(status, 2);
    let remedy = "Is Envoy running there, its bootstrap with the listener of envoy/control.yaml?
In Kubernetes it is in Envoy's pod: kubectl port-forward pod/NAME 9911
Another address: --endpoint URL, or CHANGEOVER_ENDPOINT";
    assert_eq!(message, format!("{}: Connection refused (os error 111)\n{remedy}", many::NOWHERE));
    let bypassed = listen(|_| answer(503, ""));
    assert_eq!(
        failure(&bypassed, &["status"]),
        (
            2,
            format!(
                "{bypassed}: Envoy itself answered 503: Changeover's filter has failed or its configuration was refused; see Envoy's log"
            )
        )
    );
    let other = listen(|_| answer(404, "<html>"));
    assert_eq!(
        failure(&other, &["abort", "steps"]),
        (
            2,
            format!("{other}: status 404: this is not Changeover's API; set its address with --endpoint URL")
        )
    );
    let model = listen(|_| Response {
        status: 200,
        headers: vec![("content-type", "text/html".into())],
        body: "<html>\n</html>".into(),
    });
    let told = format!(
        "{model} is not a control listener (it answered 200 text/html); set its address with --endpoint URL"
    );
    assert_eq!(failure(&model, &["status"]), (2, told.clone()));
    assert_eq!(failure(&model, &["abort", "steps"]), (2, told));
    let odd = listen(|_| answer(200, "{}"));
    let (status, message) = failure(&odd, &["status", "steps"]);
    assert!(
        status == 2 && message.starts_with("this version cannot read the answer: missing field"),
        "{message}"
    );
    let (status, message) = failure("https://127.0.0.1:9911", &["status"]);
    assert!(status == 2 && message.contains("expected a URL that starts with http://"), "{message}");
    let (status, message) = failure("http://", &["status"]);
    assert_eq!(status, 2, "{message}");
}

#[test]
fn the_token_goes_nowhere_else() {
    let elsewhere = listen(|_| panic!("asked"));
    let redirecting = listen(move |_: &Request| Response {
        status: 307,
        headers: vec![("location", format!("{elsewhere}/v1/rollouts"))],
        body: String::new(),
    });
    let (status, message) = failure(&redirecting, &["status"]);
    assert_eq!(status, 2);
    assert!(message.contains("status 307: this is not Changeover's API"), "{message}");
}

#[test]
fn terminal_control_characters_are_not_shown() {
    let mut rollout: Value =
        serde_json::from_str(&text(&open(), &["status", "steps", "--json"])).expect("JSON");
    rollout["reason"] = json!("\u{1b}[2J\nphase  succeeded");
    let endpoint = listen(move |_| answer(200, &rollout.to_string()));
    let shown = text(&endpoint, &["status", "steps"]);
    assert!(shown.contains("reason    \u{fffd}[2J\u{fffd}phase succeeded\n"), "{shown}");
}

#[test]
fn arguments_that_mean_something_else_are_refused() {
    let parse = |arguments: &[&str]| {
        crate::Arguments::try_parse_from(["changeover"].iter().chain(arguments))
            .err()
            .map(|error| error.exit_code())
    };
    for wrong in [
        &["status", "a/b"][..],
        &["abort"],
        &["abort", ".."],
        &["abort", "a", "--all"],
        &["abort", "a?x"],
        &["abort", ""],
        &["events"],
        &["abort", "a", "--full"],
        &["status", "--token", "secret"],
        &["abort", "a", "--watch"],
        &["weight", "a"],
        &["weight", "a", "green"],
        &["weight", "a", "green=ten"],
        &["weight", "a", "green=NaN"],
        &["weight", "a", "../b=10"],
        &["switch", "a"],
        &["switch", "a", ".."],
    ] {
        assert_eq!(parse(wrong), Some(2), "{wrong:?}");
    }
    assert_eq!(parse(&["promote", "a", "--full"]), None);
}

#[test]
fn every_command_says_what_its_exit_status_means() {
    use clap::CommandFactory;
    let mut program = crate::Arguments::command();
    for command in program.get_subcommands_mut() {
        let name = command.get_name().to_owned();
        // These two cannot fail.
        if !["schema", "completions"].contains(&name.as_str()) {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Exit status: 0 ") && help.contains(", 1 "), "{name}: {help}");
        }
    }
}

#[test]
fn an_empty_endpoint_is_none() {
    assert_eq!(endpoint(""), "http://127.0.0.1:9911");
    assert_eq!(endpoint(" "), "http://127.0.0.1:9911");
    assert_eq!(endpoint("http://127.0.0.1:1"), "http://127.0.0.1:1");
}
