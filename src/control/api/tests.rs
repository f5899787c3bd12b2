use super::*;

use crate::analysis::kernel::ratio::Table;
use crate::analysis::totals;
use crate::compare::totals::{Sample, Totals};
use crate::config::fixture;
use crate::control::response::Problem;
use crate::fleet::simulated::Envoy;
use crate::fleet::store::values::Seen;
use crate::fleet::store::view::View;
use crate::model::{Side, Unit};
use crate::rollout::clock::Clock;
use crate::rollout::command::VERBS;
use crate::rollout::event;
use proptest::prelude::*;
use serde_json::{Value, json};

const SECOND: u64 = 1_000_000_000;

/// When rollouts begin: at 2025-11-24T22:15:00.250Z.
fn beginning() -> Clock {
    Clock { length: SECOND, uptime: 100 * SECOND, time: 1_764_022_500_250, is_shared: false }
}

fn rollout(name: &str, fields: &Value) -> Value {
    fixture::with(fixture::with_red(&json!({"name": name})), fields)
}

fn steps() -> Value {
    json!({
        "mirror": {"to": "red", "percent": 12.5},
        "steps": [{"set_weight": 5}, {"pause": {"duration": "1h"}}, {"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate", "max": 0.1}]},
    })
}

/// An Envoy whose API is asked.
struct Asked(Envoy);

impl Asked {
    /// Rollouts that have just begun.
    fn with(rollouts: &[Value]) -> Self {
        Self(Envoy::begin(&fixture::config(rollouts), beginning()))
    }

    fn new() -> Self {
        let mut envoy = Self::with(&[
            rollout("steps", &steps()),
            rollout("still", &json!({"weights": {"green": 0.25}})),
            rollout("sides", &json!({"blue_green": {}})),
        ]);
        envoy.0.requests(0, Side::Candidate, 1, 6);
        envoy.0.requests(0, Side::Stable, 1, 100);
        envoy.0.tick();
        envoy
    }

    fn record(&self, rollout: &str) -> Record {
        fleet::record(&self.0.shared, rollout).unwrap()
    }

    fn journal(&self, rollout: &str) -> Vec<event::Event> {
        journal::of(&self.0.shared, rollout)
    }

    fn serve(&mut self, api: &Api, request: &Request) -> Response {
        let clock = self.0.now;
        match api.handle(request, &self.0.shared, clock) {
            Handled::Answer(response) => response,
            Handled::Record { rollout, answer } => {
                recordings::want(&mut self.0.shared, &rollout, clock.uptime);
                answer
            }
            Handled::Page(page) => Response {
                status: 200,
                headers: page.headers,
                body: String::from_utf8_lossy(&page.body).into_owned(),
            },
            Handled::Change(change) => {
                let outcome = self.0.command(&change);
                changed(&change.rollout, outcome.as_ref().map(|changed| &changed.record), &[], clock)
            }
        }
    }
}

fn get(path: &str) -> Request {
    Request {
        method: b"GET".into(),
        path: path.into(),
        authority: b"127.0.0.1:9911".into(),
        ..Request::default()
    }
}

fn post(path: &str, body: &str) -> Request {
    Request {
        method: b"POST".into(),
        content_type: Some(b"application/json".into()),
        body: body.into(),
        ..get(path)
    }
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(header, _)| *header == name).map(|(_, value)| value.as_str())
}

/// The status and the detail of a problem, which is well-formed.
fn problem(response: &Response) -> (u16, String) {
    assert_eq!(header(response, "content-type"), Some("application/problem+json"));
    let problem: Problem = serde_json::from_str(&response.body).unwrap();
    assert_eq!((problem.status, problem.kind.as_str()), (response.status, "about:blank"));
    assert!(!problem.title.is_empty());
    (problem.status, problem.detail)
}

#[test]
fn a_rollout_is_shown_as_documented() {
    let (api, mut envoy) = (Api::default(), Asked::new());
    let response = envoy.serve(&api, &get("/v1/rollouts/steps"));
    assert_eq!(response.status, 200);
    assert_eq!(header(&response, "content-type"), Some("application/json"));
    assert_eq!(header(&response, "etag"), Some("\"2\""));
    assert_eq!(
        response.body,
        concat!(
            r#"{"name":"steps","revision":2,"release":"1","attempt":1,"phase":"progressing","reason":"the step waits for its duration to pass","#,
            r#""pinned":false,"stable":"blue","candidate":"green","active":null,"#,
            r#""step":{"index":1,"count":4,"waited_ms":1000,"requests":6,"compared":0,"agreement":null},"steps":[{"set_weight":{"green":5}},"#,
            r#"{"pause":{"duration_ms":3600000}},{"set_weight":{"green":50}},{"pause":{}}],"watch":null,"weights":{"blue":95,"green":5,"red":0},"#,
            r#""unit":"requests","observed_share":{"blue":94.34,"green":5.66},"mirror":12.5,"evidence":["#,
            r#"{"metric":"error_rate","log10_e":0.229,"threshold":null,"tests":[{"log10_e":0.229,"against":"stable","worse_if":"more","#,
            r#""quantile":null,"slower_than_ms":null,"at_least":null,"measured_ms":null,"max":null,"samples":{"unit":"requests","candidate":{"events":1,"units":6},"#,
            r#""stable":{"events":1,"units":100}}}]},"#,
            r#"{"metric":"error_rate.max","log10_e":-0.122,"threshold":null,"tests":[{"log10_e":-0.122,"against":"limit","worse_if":"more","#,
            r#""quantile":null,"slower_than_ms":null,"at_least":null,"measured_ms":null,"max":0.1,"samples":{"unit":"requests","candidate":{"events":1,"units":6},"#,
            r#""stable":{"events":1,"units":100}}}]},"#,
            r#"{"metric":"all","log10_e":0.088,"threshold":2.0}]}"#,
        )
    );
    let response = envoy.serve(&api, &get("/v1/rollouts/still"));
    assert_eq!(
        response.body,
        concat!(
            r#"{"name":"still","revision":1,"release":"1","attempt":1,"phase":"steady","reason":"","pinned":false,"#,
            r#""stable":"blue","candidate":"green","active":null,"step":{"index":0,"count":0,"waited_ms":0,"requests":0,"compared":0,"agreement":null},"#,
            r#""steps":[],"watch":null,"weights":{"blue":99.75,"green":0.25,"red":0},"unit":"requests","observed_share":{},"#,
            r#""mirror":null,"evidence":[]}"#,
        )
    );
}

#[test]
fn events_are_shown_newest_first() {
    let (api, mut envoy) = (Api::default(), Asked::new());
    let mut events = envoy.journal("steps");
    events.last_mut().unwrap().evidence = Some(event::Finding {
        is_absolute: false,
        unit: Unit::Requests,
        rule: "error_rate".into(),
        value: 2.345_67,
        threshold: 2.0,
        samples: totals::Totals::Events(Table::of((9, 10), (1, 200))),
    });
    journal::erase(&mut envoy.0.shared, "steps");
    journal::add(&mut envoy.0.shared, "steps", &events);
    let response = envoy.serve(&api, &get("/v1/rollouts/steps/events"));
    assert_eq!(
        response.body,
        concat!(
            r#"{"events":[{"time":"2025-11-24T22:15:00.250Z","rollout":"steps","release":"1","attempt":1,"#,
            r#""actor":"config","token":null,"reason":null,"action":"step","rule":"error_rate","value":2.346,"threshold":2.0,"#,
            r#""samples":{"unit":"requests","candidate":{"events":9,"units":10},"stable":{"events":1,"units":200}},"#,
            r#""from":{"blue":100},"to":{"blue":95,"green":5},"message":"step 2 of 4: green at 5 % for 60 min"},"#,
            r#"{"time":"2025-11-24T22:15:00.250Z","rollout":"steps","release":"1","attempt":1,"actor":"config","#,
            r#""token":null,"reason":null,"action":"start","rule":null,"value":null,"threshold":null,"samples":null,"from":{"blue":100},"#,
            r#""to":{"blue":100},"message":"release 1, attempt 1: rolling out green in 4 steps"}]}"#,
        )
    );
}

#[test]
fn rollouts_come_by_name_in_pages() {
    let names: Vec<String> = (0..250).map(|number| format!("r{number:03}")).collect();
    let rollouts: Vec<Value> =
        names.iter().map(|name| rollout(name, &json!({"match": {"path": format!("/{name}")}}))).collect();
    let (api, mut envoy) = (Api::default(), Asked::with(&rollouts));
    let (mut seen, mut path) = (Vec::new(), "/v1/rollouts".to_owned());
    loop {
        let page: Page = serde_json::from_str(&envoy.serve(&api, &get(&path)).body).unwrap();
        assert!(page.rollouts.len() <= MOST_ON_A_PAGE);
        seen.extend(page.rollouts.into_iter().map(|rollout| rollout.name));
        let Some(next) = page.next else { break };
        path = format!("/v1/rollouts?after={next}");
    }
    assert_eq!(seen, names);
    let none = envoy.serve(&api, &get("/v1/rollouts?after=zzz"));
    assert_eq!(none.body, r#"{"rollouts":[],"next":null}"#);
}

#[test]
fn frequent_reads_are_limited_and_commands_are_not() {
    let (api, mut envoy) = (Api::default(), Asked::with(&[rollout("steps", &steps())]));
    let asked = (0..100_000).find(|_| {
        let response = envoy.serve(&api, &get("/v1/rollouts/steps"));
        if response.status == 429 {
            assert!(response.headers.contains(&("retry-after", "1".into())), "{response:?}");
        }
        response.status != 200
    });
    assert!(asked.is_some_and(|asked| asked > 400), "{asked:?}");
    for path in ["/v1/rollouts", "/v1/rollouts/steps/events"] {
        assert_eq!(envoy.serve(&api, &get(path)).status, 429, "{path}");
    }
    assert_eq!(envoy.serve(&api, &get("/healthz")).status, 200);
    assert_eq!(envoy.serve(&api, &post("/v1/rollouts/steps/abort", "")).status, 200);
}

#[test]
fn long_answers_take_more_of_what_a_worker_shows_than_short_ones() {
    let mut envoy = Asked::new();
    let attempt = envoy.record("steps").attempt();
    let samples = vec![Sample::default(); 50].into();
    let pairs = Totals { compared: 50, samples, most_samples: 50, ..Totals::default() };
    let counted = differences::Differences { attempt, totals: pairs, ..differences::Differences::default() };
    differences::add(&mut envoy.0.shared, "steps", &counted);
    joined::show(&mut envoy.0.shared, &View { members: vec![Seen::default(); 500], ..View::default() });
    // How often a worker that was quiet answers.
    let mut answers = |path: &str| {
        let api = Api::default();
        (0..10_000).find(|_| envoy.serve(&api, &get(path)).status != 200)
    };
    let rows = [("/v1/rollouts/steps", 501), ("/v1/rollouts/steps/differences", 99), ("/v1/fleet", 10)];
    for (path, most) in rows {
        assert_eq!(answers(path), Some(most), "{path}");
    }
}

#[test]
fn commands_change_a_rollout_and_show_it() {
    let (api, mut envoy) = (Api::default(), Asked::new());
    let rows = [
        ("pause", "", "paused", 5.0),
        ("resume", "{}", "progressing", 5.0),
        ("promote", "", "paused", 50.0),
        ("abort", " \r\n", "aborted", 0.0),
        ("retry", "", "progressing", 5.0),
        ("promote", r#"{"full": false}"#, "paused", 50.0),
        ("promote", r#"{"full": true}"#, "succeeded", 100.0),
    ];
    let mut last = 2;
    for (verb, body, phase, green) in rows {
        let response = envoy.serve(&api, &post(&format!("/v1/rollouts/steps/{verb}"), body));
        let rollout: Rollout = serde_json::from_str(&response.body).unwrap();
        assert_eq!(
            (response.status, rollout.phase.label(), rollout.weights["green"].0),
            (200, phase, green),
            "{verb}"
        );
        assert!(rollout.revision > last);
        last = rollout.revision;
        assert_eq!(header(&response, "etag"), Some(format!("\"{last}\"").as_str()));
    }
    let (status, detail) = problem(&envoy.serve(&api, &post("/v1/rollouts/steps/retry", "")));
    assert_eq!(
        (status, detail.as_str()),
        (409, "the rollout is succeeded; only an aborted or failed rollout can be retried")
    );
    assert_eq!(envoy.record("steps").run.revision, last, "what is refused changes nothing");
    assert!(envoy.journal("steps").len() >= rows.len());
}

#[test]
fn weights_and_sides_are_set_by_hand() {
    let (api, mut envoy) = (Api::default(), Asked::new());
    let mut change = |path: &str, body: &str| {
        let response = envoy.serve(&api, &post(path, body));
        assert_eq!(response.status, 200, "{}", response.body);
        serde_json::from_str::<Rollout>(&response.body).unwrap()
    };
    let rollout = change("/v1/rollouts/steps/weight", r#"{"green": 60, "red": 0.25}"#);
    assert_eq!((rollout.phase.label(), rollout.step.index), ("paused", 3));
    assert_eq!(rollout.reason, "paused at weights set by command");
    assert_eq!((rollout.weights["blue"].0, rollout.weights["red"].0), (39.75, 0.25));
    let rollout = change("/v1/rollouts/still/weight", r#"{"green": 1e1}"#);
    assert_eq!((rollout.phase.label(), rollout.weights["green"].0), ("steady", 10.0));
    let rollout = change("/v1/rollouts/sides/switch", r#"{"active": "green"}"#);
    assert_eq!((rollout.phase.label(), rollout.weights["green"].0), ("succeeded", 100.0));
    let again = change("/v1/rollouts/sides/switch", r#"{"active": "green"}"#);
    assert_eq!(again.revision, rollout.revision, "nothing happens twice");
}

#[test]
fn workers_that_are_missing_are_named() {
    let response = changed("steps", Ok(&Asked::new().record("steps")), &[1, 3], beginning());
    assert_eq!(response.status, 202);
    assert!(response.body.ends_with(r#","missing_workers":[1,3]}"#), "{}", response.body);
}

#[test]
fn a_change_may_depend_on_the_revision() {
    let (api, mut envoy) = (Api::default(), Asked::new());
    let mut pause = post("/v1/rollouts/steps/pause", "");
    for stale in [
        "\"1\"",
        "\"3\"",
        "1",
        "2",
        "W/\"2\"",
        "\"1\", \"3\"",
        "W/\"2\", 2",
        ",",
        "\"\"",
        "\"+2\"",
        "\"-1\"",
        "\"",
        "",
        "\"18446744073709551616\"",
    ] {
        pause.if_match = Some(stale.into());
        assert_eq!(problem(&envoy.serve(&api, &pause)).0, 412, "{stale}");
        assert_eq!(envoy.record("steps").run.revision, 2);
    }
    pause.if_match = Some(b"\"1\"".into());
    let response = envoy.serve(&api, &pause);
    assert_eq!(problem(&response).1, "steps is now at revision 2; read it again before changing it");
    assert_eq!(header(&response, "etag"), Some("\"2\""));
    pause.if_match = Some(b"\"2\"".into());
    assert_eq!(envoy.serve(&api, &pause).status, 200);
    pause.if_match = Some(b"*".into());
    assert_eq!(envoy.serve(&api, &pause).status, 200);
    // Of a list one suffices.
    for (list, revision) in [("\"1\", \"3\"", 3), ("\"4\",\"x\"", 4), ("W/\"5\",\t\"5\" ,", 5)] {
        let verb = if revision % 2 == 1 { "resume" } else { "pause" };
        let mut change = post(&format!("/v1/rollouts/steps/{verb}"), "");
        change.if_match = Some(list.into());
        assert_eq!(envoy.record("steps").run.revision, revision);
        assert_eq!(envoy.serve(&api, &change).status, 200, "{list}");
    }
    // Another command was faster, or a push removed the rollout.
    assert_eq!(problem(&changed("steps", Err(&NotChanged::OtherRevision(9)), &[], beginning())).0, 412);
    assert_eq!(problem(&changed("steps", Err(&NotChanged::Unknown), &[], beginning())).0, 404);
    assert_eq!(problem(&changed("steps", Err(&NotChanged::Busy), &[], beginning())).0, 409);
}

/// One line per rule: what is wrong, the status, what is said.
#[test]
fn every_refusal_says_what_would_be_right() {
    let (api, mut envoy) = (Api::default(), Asked::new());
    let abort = || post("/v1/rollouts/steps/abort", "");
    let of = |change: &dyn Fn(&mut Request)| {
        let mut request = abort();
        change(&mut request);
        request
    };
    let long = format!("{{{}}}", " ".repeat(MOST_BODY));
    let rows = [
        (of(&|r| r.authority = b"evil.example.com".into()), 403, "the host is neither"),
        (of(&|r| r.authority.clear()), 403, "the host is neither"),
        (of(&|r| r.origin = Some(b"http://evil.example.com".into())), 403, "pages of another origin"),
        (of(&|r| r.origin = Some(b"null".into())), 403, "pages of another origin"),
        (of(&|r| r.content_type = None), 415, "expected `content-type: application/json`"),
        (
            of(&|r| r.content_type = Some(b"text/plain".into())),
            415,
            "expected `content-type: application/json`",
        ),
        (of(&|r| r.content_type = Some(b"application/json+x".into())), 415, "expected `content-type"),
        (of(&|r| r.content_encoding = Some(b"gzip".into())), 415, "expected no `content-encoding`"),
        (of(&|r| r.content_encoding = Some(b"identity, br".into())), 415, "expected no `content-encoding`"),
        (of(&|r| r.body = b"{\"full\": true}".into()), 422, "expected no body, or {}"),
        (of(&|r| r.body = b"[]".into()), 422, "expected no body, or {}"),
        (of(&|r| r.body = b"{".into()), 422, "expected no body, or {}"),
        (of(&|r| r.body = vec![0xff; 3]), 422, "expected no body, or {}"),
        (of(&|r| r.body = long.clone().into()), 413, "the body is over 4096 bytes"),
        (of(&|r| r.path = b"/v1/rollouts/steps/abort?force=1".into()), 422, "expected no query parameters"),
        (of(&|r| r.path = b"/v1/rollouts/nobody/abort".into()), 404, "there is no rollout \"nobody\""),
        (of(&|r| r.method = b"GET".into()), 405, "expected POST"),
        (of(&|r| r.method = b"OPTIONS".into()), 405, "expected POST"),
        (of(&|r| r.method = b"post".into()), 405, "expected POST"),
        (
            post("/v1/rollouts/steps/promote", "{\"full\": 1}"),
            422,
            "expected no body, {} or {\"full\": true}",
        ),
        (
            post("/v1/rollouts/steps/promote", "{\"fall\": true}"),
            422,
            "expected no body, {} or {\"full\": true}",
        ),
        (post("/v1/rollouts/steps/promote", "null"), 422, "expected no body, {} or {\"full\": true}"),
        (
            post("/v1/rollouts/steps/freeze", "{\"window\": \"2h\"}"),
            422,
            "expected no body, {} or {\"window\": \"…\"} with 5m, 1h or 1d",
        ),
        (post("/v1/rollouts/steps/freeze", "{\"window\": \"1h\"}"), 409, "the rollout has no `drift`"),
        (post("/v1/rollouts/steps/weight", ""), 422, "expected a share in percent for at least one version"),
        (post("/v1/rollouts/steps/weight", "[]"), 422, "expected shares of versions in percent"),
        (
            post("/v1/rollouts/steps/weight", r#"{"green": "10"}"#),
            422,
            "\"green\": expected a share in percent",
        ),
        (post("/v1/rollouts/steps/weight", r#"{"green": 120}"#), 422, "\"green\": 120 is over 100"),
        (post("/v1/rollouts/steps/weight", r#"{"green": -1}"#), 422, "\"green\": -1 is below 0"),
        (
            post("/v1/rollouts/steps/weight", r#"{"green": 0.125}"#),
            422,
            "\"green\": 0.125 has more than two decimals",
        ),
        (
            post("/v1/rollouts/steps/weight", r#"{"purple": 1}"#),
            422,
            "unknown version \"purple\"; known here: blue, green, red",
        ),
        (post("/v1/rollouts/steps/weight", r#"{"blue": 1}"#), 422, "\"blue\": stable gets the rest"),
        (
            post("/v1/rollouts/steps/weight", r#"{"green": 60, "red": 40.01}"#),
            422,
            "together with the other versions the sum 100.01 is over 100",
        ),
        (
            post("/v1/rollouts/steps/weight", r#"{"red": 95.01}"#),
            422,
            "together with the other versions the sum 100.01 is over 100",
        ),
        (
            post("/v1/rollouts/steps/weight", r#"{"green": 10, "red": 1, "green": 10}"#),
            422,
            "duplicate field",
        ),
        (post("/v1/rollouts/steps/promote", r#"{"full": false, "full": true}"#), 422, "duplicate field"),
        (
            post("/v1/rollouts/sides/switch", r#"{"active": "blue", "active": "green"}"#),
            422,
            "duplicate field",
        ),
        (post("/v1/rollouts/steps/switch", ""), 422, "expected {\"active\": \"…\"}"),
        (post("/v1/rollouts/steps/switch", r#"{"active": true}"#), 422, "expected {\"active\": \"…\"}"),
        (
            post("/v1/rollouts/steps/switch", r#"{"active": "green", "now": true}"#),
            422,
            "expected {\"active\": \"…\"}",
        ),
        (
            post("/v1/rollouts/steps/switch", r#"{"active": "green"}"#),
            409,
            "the rollout has no blue_green, so there is nothing to switch",
        ),
        (
            post("/v1/rollouts/sides/switch", r#"{"active": "red"}"#),
            422,
            "active: \"red\" is neither stable (\"blue\") nor the candidate (\"green\")",
        ),
        (
            post("/v1/rollouts/sides/weight", r#"{"green": 5}"#),
            409,
            "a blue_green rollout has no weights to set; switch sends all traffic to a side",
        ),
        (post("/v1/rollouts/steps", ""), 405, "expected GET, HEAD"),
        (post("/v1/rollouts", ""), 405, "expected GET, HEAD"),
        (post("/healthz", ""), 405, "expected GET, HEAD"),
        (get("/v1/rollouts/nobody"), 404, "there is no rollout \"nobody\""),
        (get("/v1/rollouts/nobody/events"), 404, "there is no rollout \"nobody\""),
        (get("/v1/rollouts/a\u{1b}[31m"), 404, "there is no rollout \"a\\u{1b}[31m\""),
        (get("/v1/rollouts?before=x"), 422, "expected at most one query parameter, `after`"),
        (get("/v1/rollouts?after=x&after=y"), 422, "expected at most one query parameter, `after`"),
        (get("/v1/rollouts?after"), 422, "expected at most one query parameter, `after`"),
        (get("/v1/rollouts/steps?x"), 422, "expected no query parameters"),
    ];
    for (request, status, detail) in rows {
        let response = envoy.serve(&api, &request);
        let found = problem(&response);
        assert_eq!(found.0, status, "{request:?}: {found:?}");
        assert!(found.1.starts_with(detail), "{found:?}");
        assert_eq!(header(&response, "allow").is_some(), status == 405);
    }
    assert_eq!(envoy.record("steps").run.revision, 2, "nothing has changed");
    let paths = [
        "",
        "*",
        "v1/rollouts",
        "//v1/rollouts",
        "/v1",
        "/v1/",
        "/v2/rollouts",
        "/v1/rolloutss",
        "/V1/rollouts",
        "/v1/rollouts/steps/",
        "/v1/rollouts/steps/weights",
        "/v1/rollouts/steps/switch/",
        "/v1/rollouts/steps/abort/",
        "/v1/rollouts/steps/events/x",
        "/v1/rollouts/../healthz",
        "/healthz/",
        "/healthz%00",
        "http://localhost/healthz",
        "/v1%2Frollouts",
        "/v1/rollouts/steps/%61bort",
        "/v1/rollouts#",
    ];
    for path in paths {
        for request in [get(path), post(path, "")] {
            assert_eq!(problem(&envoy.serve(&api, &request)).0, 404, "{path}");
        }
    }
    for name in ["", "%73teps", "..", "steps%2fabort", "STEPS"] {
        assert_eq!(problem(&envoy.serve(&api, &get(&format!("/v1/rollouts/{name}")))).0, 404, "{name}");
    }
}

#[test]
fn the_page_is_served_to_pages_of_this_host_without_a_token() {
    let control = json!({"token_sha256": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"});
    let (api, mut envoy) = (Api::new(&serde_json::from_value(control).unwrap()), Asked::new());
    for path in ["/", "/?", "/?a=b"] {
        let page = envoy.serve(&api, &get(path));
        assert_eq!(
            (page.status, header(&page, "content-type")),
            (200, Some("text/html; charset=utf-8")),
            "{path}"
        );
        assert!(page.body.starts_with("<!doctype html>") && !page.body.contains("steps\":"), "{path}");
    }
    let mut rebound = get("/");
    rebound.authority = b"evil.example.com".into();
    assert_eq!(problem(&envoy.serve(&api, &rebound)).0, 403);
    let refused = envoy.serve(&api, &post("/", ""));
    assert_eq!((problem(&refused).0, header(&refused, "allow")), (405, Some("GET, HEAD")));
    let mut large = get("/");
    large.body = vec![b'x'; 5_000];
    assert_eq!(problem(&envoy.serve(&api, &large)).0, 413);
}

#[test]
fn allowed_commands_are_not_refused() {
    let (api, mut envoy) = (Api::default(), Asked::new());
    let mut abort = post("/v1/rollouts/steps/abort", "");
    abort.content_type = Some(b"Application/JSON ; charset=utf-8".into());
    abort.content_encoding = Some(b"Identity".into());
    abort.origin = Some(b"http://127.0.0.1:9911".into());
    assert_eq!(envoy.serve(&api, &abort).status, 200);
    assert_eq!(envoy.serve(&api, &abort).status, 200, "an abort is always accepted");
    let mut look = get("/v1/rollouts?");
    look.method = b"HEAD".into();
    look.origin = Some(b"http://evil.example.com".into()); // it sees nothing of the answer, which allows no origin
    assert_eq!(envoy.serve(&api, &look).status, 200);
}

#[test]
fn everything_but_health_wants_the_token() {
    let control = json!({
        "token_sha256": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b", // of "secret"
        "hosts": ["control.example.com"],
    });
    let (api, mut envoy) = (Api::new(&serde_json::from_value(control).unwrap()), Asked::new());
    let ok = envoy.serve(&api, &get("/healthz"));
    assert_eq!((ok.status, ok.body.as_str()), (200, r#"{"status":"ok"}"#));
    let rows = [
        get("/v1/rollouts"),
        get("/v1/rollouts/nobody"),
        get("/nothing"),
        post("/v1/rollouts/steps/abort", ""),
    ];
    for request in rows {
        for authorization in [None, Some(b"Bearer wrong".to_vec())] {
            let response = envoy.serve(&api, &Request { authorization, ..request.clone() });
            assert_eq!(problem(&response).0, 401);
            assert_eq!(header(&response, "www-authenticate"), Some("Bearer"));
        }
        let right = Request { authorization: Some(b"Bearer secret".into()), ..request };
        assert_ne!(envoy.serve(&api, &right).status, 401);
    }
    // A page that reached the listener under its own name is turned away before anything else.
    for request in [get("/healthz"), get("/v1/rollouts"), post("/v1/rollouts/steps/abort", "")] {
        let rebound = Request { authority: b"evil.example.com".into(), ..request.clone() };
        assert_eq!(problem(&envoy.serve(&api, &rebound)).0, 403);
        let configured = Request { authority: b"control.example.com".into(), ..request };
        assert_ne!(envoy.serve(&api, &configured).status, 403);
    }
}

#[test]
fn commands_leave_their_token_and_reason_in_their_events_alone() {
    let control = json!({"tokens": [
        {"name": "deploy", "sha256": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b", "rights": "write"},
    ]});
    let (api, mut envoy) = (Api::new(&serde_json::from_value(control).unwrap()), Asked::new());
    let with = |token: &str, request: Request| Request { authorization: Some(token.into()), ..request };
    let abort = post("/v1/rollouts/steps/abort", r#"{"reason": "p99 doubled"}"#);
    assert_eq!(envoy.serve(&api, &with("Bearer secret", abort)).status, 200);
    let retry = post("/v1/rollouts/steps/retry", "");
    assert_eq!(envoy.serve(&api, &with("Bearer secret", retry)).status, 200);
    envoy.0.tick();
    let answer = envoy.serve(&api, &with("Bearer secret", get("/v1/rollouts/steps/events")));
    let events: Journal = serde_json::from_str(&answer.body).unwrap();
    let told: Vec<_> = events
        .events
        .iter()
        .rev()
        .map(|event| {
            (event.actor.label(), event.action.label(), event.token.as_deref(), event.reason.as_deref())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("config", "start", None, None),
            ("config", "step", None, None),
            ("user", "abort", Some("deploy"), Some("p99 doubled")),
            ("user", "retry", Some("deploy"), None),
            ("user", "step", Some("deploy"), None),
        ]
    );
}

#[test]
fn a_token_to_read_changes_nothing() {
    let control = json!({"tokens": [
        {"name": "dashboard", "sha256": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b", "rights": "read"},
    ]});
    let (api, mut envoy) = (Api::new(&serde_json::from_value(control).unwrap()), Asked::new());
    let mut serve = |request: Request| {
        envoy.serve(&api, &Request { authorization: Some(b"Bearer secret".into()), ..request })
    };
    for path in ["/v1/rollouts", "/v1/rollouts/steps", "/v1/rollouts/steps/events"] {
        assert_eq!(serve(get(path)).status, 200, "{path}");
    }
    for verb in &VERBS {
        let refused = serve(post(&format!("/v1/rollouts/steps/{}", verb.name), ""));
        let (status, detail) = problem(&refused);
        assert!(
            status == 403 && detail.contains("its rights are `read`"),
            "{}: {status} {detail}",
            verb.name
        );
    }
    assert_eq!(envoy.record("steps").run.revision, 2, "nothing has changed");
}

fn bytes(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn some(words: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(bytes(words))
}

/// What may stand behind a rollout's name, and what may not.
fn verb() -> impl Strategy<Value = Vec<u8>> {
    let known = VERBS.iter().map(|verb| verb.name).chain(["events"]);
    let known: Vec<Vec<u8>> = known.map(|name| name.as_bytes().to_vec()).collect();
    prop_oneof![9 => prop::sample::select(known), 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

prop_compose! {
    /// Requests that are nearly right, and some that are not.
    fn request()(
        method in bytes(&["GET", "POST", "POST", "HEAD", "DELETE", ""]),
        path in prop_oneof![
            bytes(&["/healthz", "/v1/rollouts", "/v1/rollouts/steps", "/v1/rollouts?after=a"]),
            (bytes(&["steps", "still", "sides", "nobody", "", "..", "é"]), verb())
                .prop_map(|(name, verb)| [b"/v1/rollouts/", &name[..], b"/", &verb[..]].concat()),
        ],
        authority in bytes(&["localhost:9911", "127.0.0.1", "[::1]:9911", "evil.example.com"]),
        origin in some(&["http://localhost:9911", "null"]),
        content_type in some(&["application/json", "application/json", "text/plain"]),
        content_encoding in some(&["identity", "identity", "gzip"]),
        authorization in some(&["Bearer secret", "Bearer ", "Basic eA=="]),
        if_match in some(&["\"2\"", "\"1\"", "*", "W/\"2\""]),
        body in prop_oneof![
            bytes(&[
                "", "{}", "{\"full\": true}", "{\"full\": 1}", "{\"green\": 5}", "{\"active\": \"green\"}", "{\"degree\": \"assist\"}",
                "[[[[[[", "\"\\ud800\"",
            ]),
            (4_090_usize..4_100).prop_map(|length| vec![b'['; length]),
        ],
    ) -> Request {
        Request {
            method, path, authority, origin, content_type, content_encoding, authorization, if_match, body,
            accept_encoding: None,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever is asked: no panic, an answer of valid JSON, and what is refused changes nothing.
    #[test]
    fn any_request_is_answered(request in request()) {
        let (api, mut envoy) = (Api::default(), Asked::new());
        let known = |envoy: &Asked| {
            let of = |name| (envoy.record(name), envoy.journal(name));
            ["steps", "still", "sides"].map(of)
        };
        let before = known(&envoy);
        let response = envoy.serve(&api, &request);
        prop_assert!(serde_json::from_str::<Value>(&response.body).is_ok(), "{}", response.body);
        prop_assert!(matches!(response.status, 200 | 403..=422), "{}", response.status);
        if response.status != 200 {
            problem(&response);
        }
        if response.status != 200 || request.method != b"POST" {
            prop_assert!(before == known(&envoy));
        } else {
            prop_assert!(request.is_json() && !is_foreign(request.origin.as_deref(), &request.authority));
            prop_assert!(!request.authority.starts_with(b"evil"));
        }
    }
}

#[test]
fn ticks_are_recorded_from_the_first_question_on() {
    let (api, mut asked) = (Api::default(), Asked::new());
    let ticks = |asked: &mut Asked, path: &str| {
        let answer = asked.serve(&api, &get(path));
        let expected = if answer.body.is_empty() { (204, None) } else { (200, Some("application/x-ndjson")) };
        assert_eq!((answer.status, header(&answer, "content-type")), expected);
        answer.body
    };
    assert_eq!(ticks(&mut asked, "/v1/rollouts/steps/ticks"), "", "no one had asked before");
    for failed in 0..3 {
        asked.0.requests(0, Side::Candidate, failed, 6);
        asked.0.requests(0, Side::Stable, 1, 100);
        asked.0.tick();
    }
    asked.0.tick();
    let known = ticks(&mut asked, "/v1/rollouts/steps/ticks");
    let lines: Vec<Value> = known.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{known}");
    let last = &lines[2];
    let wanted = json!({
        "requests": 6, "latency_ms": [[1.0, 6]],
        "events": {"error_rate": 2, "unanswered": 0, "client_error_rate": 0},
    });
    assert_eq!((&last["versions"]["green"], &last["weights"]), (&wanted, &json!({"green": 5})));
    assert_eq!((&last["run"]["attempt"], &last["run"]["cold"]), (&json!(1), &json!(true)));
    let after = format!("/v1/rollouts/steps/ticks?after={}", lines[1]["tick"]);
    assert_eq!(ticks(&mut asked, &after), format!("{}\n", known.lines().last().unwrap()));
    assert_eq!(ticks(&mut asked, "/v1/rollouts/steps/ticks?after=1000000"), known, "counted anew");
}

#[test]
fn ticks_are_refused_where_there_are_none() {
    let (api, mut asked) = (Api::default(), Asked::new());
    let nothing = "nothing is judged of this rollout, so there are no ticks to record; expected `analysis`";
    let rows = [
        ("/v1/rollouts/still/ticks", 409, nothing),
        ("/v1/rollouts/gone/ticks", 404, "there is no rollout \"gone\""),
        ("/v1/rollouts/steps/ticks?after=x", 422, "expected the number of a tick in the parameter `after`"),
    ];
    for (path, status, detail) in rows {
        assert_eq!(problem(&asked.serve(&api, &get(path))), (status, detail.to_owned()));
    }
    for nth in 0..16 {
        recordings::want(&mut asked.0.shared, &format!("r{nth}"), asked.0.now.uptime);
    }
    let (status, detail) = problem(&asked.serve(&api, &get("/v1/rollouts/steps/ticks")));
    assert_eq!((status, detail.contains("too many rollouts")), (409, true), "{detail}");
}
