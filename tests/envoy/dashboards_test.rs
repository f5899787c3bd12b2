//! Every expression of the shipped dashboards, put to a real Prometheus that has scraped real Envoys under load.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::control::{known, post};
use crate::harness::*;

/// Where a dashboard's expressions stand, and what stands for its variables.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for annotation in dashboard["annotations"]["list"].as_array().expect("annotations") {
        found.push((format!("annotation {}", annotation["name"]), text(&annotation["expr"])));
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        let query = text(&variable["query"]);
        if let Some(inside) = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')) {
            let (series, label) = inside.rsplit_once(", ").expect("a series and a label");
            found.push((format!("variable {}", variable["name"]), format!("count by ({label}) ({series})")));
        }
    }
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((format!("panel {}", panel["title"]), text(&target["expr"])));
        }
    }
    let set = |expression: String| {
        let replaced = expression.replace("$rollout", ".+").replace("$__rate_interval", "1m");
        assert!(!replaced.contains('$'), "{replaced}: a variable that the test does not know");
        replaced
    };
    found.into_iter().map(|(place, expression)| (place, set(expression))).collect()
}

/// The filter's own series that the shipped rules name.
fn series_of_rules() -> BTreeSet<String> {
    let rules = include_str!("../../envoy/prometheus/rules.yaml");
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let is_text = |line: &str| ["#", "description:", "summary:"].iter().any(|begin| line.starts_with(begin));
    let lines = rules.lines().map(str::trim_start).filter(|line| !is_text(line));
    let words = lines.flat_map(|line| line.split(|c| !is_name(c)));
    words.filter(|word| word.starts_with("changeover_")).map(str::to_owned).collect()
}

/// A model that answers a label or null, and says how sure it is; green fails too often. It chats as well.
fn model(name: &'static str) -> Behaviour {
    Make::by(move |count, seen| {
        if seen.target == CHAT {
            return chat(count);
        }
        let label =
            if count.is_multiple_of(20) { Value::Null } else { json!(["cat", "dog"][count as usize % 2]) };
        if name == "green" && count.is_multiple_of(10) {
            return Made { status: Some(500), ..Made::default() };
        }
        let sure = if name == "green" { 0.7 } else { 0.8 };
        Made::json(json!({"predictions": [label], "confidence": sure}).to_string())
    })
}

const CHAT: &str = "/v1/chat/completions";

/// A stream of tokens that ends well, at a limit, with a refusal or with an error.
fn chat(count: u64) -> Made {
    let chunk = |delta: Value, finish: Option<&str>| {
        json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
            .to_string()
    };
    let usage = || json!({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}).to_string();
    let begin = [json!({"content": "one "}), json!({"content": "two "})].map(|delta| chunk(delta, None));
    let ends = match count % 4 {
        0 => vec![chunk(json!({}), Some("stop")), usage()],
        1 => vec![chunk(json!({}), Some("length")), usage()],
        2 => vec![chunk(json!({"refusal": "No."}), Some("stop")), usage()],
        _ => vec![json!({"error": {"message": "EngineCore", "code": 500}}).to_string()],
    };
    Made::events(begin.into_iter().chain(ends).chain(["[DONE]".into()]))
}

fn ask(number: u64) -> hyper::Request<http_body_util::Full<bytes::Bytes>> {
    if number.is_multiple_of(3) {
        let chat = json!({"messages": [{"role": "user", "content": "How are you?"}], "stream": true});
        return request("POST", CHAT, &[("content-type", b"application/json")], chat.to_string());
    }
    let path = ["/digits", "/shadowed"][number as usize % 2];
    let user =
        if number.is_multiple_of(5) { json!({"country": "x"}) } else { json!({"country": "de", "age": 30}) };
    request("POST", path, &[], json!({"text": "abc", "user": user}).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_expression_of_the_dashboards_returns_data() {
    let (blue, green) = blue_and_green().await;
    for (upstream, name) in [(&blue, "blue"), (&green, "green")] {
        upstream.set(model(name));
    }
    let hooks = Upstream::start("hooks").await;
    let etcd = Etcd::start().await;
    let waiting = "steps: [{set_weight: 50}, {pause: {}}]";
    let digits = format!(
        "match: {{prefix: /digits}}, {waiting}, analysis: {{metrics: [{{name: error_rate}}], dry_run: true}}, \
         alarms: [{{name: errors, signal: error_rate, max: 0.02, window: 30s}}], \
         drift: {{metrics: [input.length], reference: 10s}}, payload: {{protocol: json, \
         input: {{fields: [/user/age], length: /text, categories: {{/user/country: [de, fr]}}}}, \
         output: {{value: /predictions/0, labels: 2, confidence: /confidence}}}}"
    );
    let shadowed = "match: {prefix: /shadowed}, mirror: {to: green, mode: compare, methods: [POST], compare: {label: /predictions/0}}, \
                    payload: {protocol: json, output: {value: /confidence}}";
    let chat = format!("match: {{path: {CHAT}}}, weights: {{green: 50}}, payload: {{protocol: openai}}");
    let full = format!(
        "match: {{prefix: /full}}, {waiting}, session_affinity: {{header: x-user}}, \
         feedback: [{{name: click, match: {{path: /clicks}}, join: user}}]"
    );
    let rollouts = [("digits", digits.as_str()), ("shadowed", shadowed), ("full", &full), ("chat", &chat)]
        .map(|(name, fields)| Config::blue_green(name, fields))
        .join(", ");
    let config = Config::Struct(format!(
        "{{rollouts: [{rollouts}], notify: [{{name: ops, cluster: hooks, path: /}}]}}"
    ));
    let clusters = [("blue", blue.address()), ("green", green.address()), ("hooks", hooks.address())];
    let envoy = Setup::shipped(config).clusters(&clusters).control().workers(2).start().await;
    let member = Config::Struct(format!(
        "{{store: {{fleet: shop, etcd: {{cluster: etcd1}}}}, rollouts: [{}]}}",
        Config::blue_green("member", waiting)
    ));
    let member = between(&blue, &green, member).store(&[etcd.address()]).start().await;
    let people = Config::rollout(
        "match: {prefix: /tasks}, automation: {degree: partial, partial: {threshold: 0.5}, step_down: false, audit: 50, \
         answer: {label: /predictions/0, confidence: /confidence}}",
    );
    let people = between(&blue, &green, people).with_people().start().await;
    let envoys = [&envoy, &member, &people].map(|envoy| envoy.admin_address());
    let prometheus = Prometheus::start(&envoys).await;
    known(&envoy).await;
    let load = Load::to(envoy.address()).each(ask).per_second(100.0).start();
    let fleet = Load::to(member.address()).per_second(10.0).start();
    let tasks =
        Load::to(people.address()).each(|_| request("POST", "/tasks", &[], "{}")).per_second(20.0).start();
    let click = |_| request("GET", "/clicks", &[("x-user", b"u")], "");
    let clicks = Load::to(envoy.address()).each(click).per_second(10.0).start();
    // The journal keeps 256 events.
    for _ in 0..90 {
        for command in ["abort", "retry"] {
            assert_eq!(post(&envoy, &format!("/v1/rollouts/full/{command}")).await.0, 200);
        }
    }
    let text = include_str!("../../envoy/grafana/changeover.json");
    let expressions = expressions(&serde_json::from_str(text).expect("JSON"));
    let of_panels = expressions.iter().filter(|(place, _)| !place.starts_with("variable"));
    assert_eq!(of_panels.count(), text.matches("\"expr\": ").count(), "none is left out");
    for (place, expression) in expressions {
        wait_for(&format!("data of {place}: {expression}"), async || {
            let series = prometheus.query(&expression).await.unwrap_or_else(|error| {
                panic!("{place}: {expression}: {error}");
            });
            let has_value = |series: &Value| {
                series["value"][1]
                    .as_str()
                    .and_then(|value| value.parse::<f64>().ok())
                    .is_some_and(f64::is_finite)
            };
            series.iter().any(has_value).then_some(())
        })
        .await;
    }
    for series in series_of_rules() {
        wait_for(&format!("the series {series}, which a rule names"), async || {
            let found = prometheus.query(&series).await.expect("an answer");
            (!found.is_empty()).then_some(())
        })
        .await;
    }
    assert_eq!(load.stop().await.errors, [""; 0]);
    for running in [fleet, tasks, clicks] {
        assert_eq!(running.stop().await.errors, [""; 0]);
    }
    let releases = prometheus.query("changeover:release:info{rollout=\"full\"}").await.expect("an answer");
    let [release] = releases.as_slice() else { panic!("{releases:?}") };
    let shown = ["release", "attempt", "stable", "candidate"].map(|label| &release["metric"][label]);
    assert_eq!(shown, ["1", "91", "blue", "green"], "the last attempt alone");
}
