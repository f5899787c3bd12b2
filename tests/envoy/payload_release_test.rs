//! Releases that depend on what goes in and what comes out.

use serde_json::{Value, json};

use crate::harness::*;

/// A release at 50 % that judges these metrics.
fn judged(metrics: &str, payload: &str) -> Config {
    Config::rollout(&format!(
        "steps: [{{set_weight: 50}}, {{pause: {{}}}}], payload: {payload}, analysis: {{metrics: [{metrics}]}}"
    ))
}

fn answer(value: Value) -> Made {
    Made::json(json!({"predictions": [value]}).to_string())
}

/// How the versions answer the nth request.
type Answers = (fn(u64) -> Made, fn(u64) -> Made);

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_whose_answers_are_worse_is_rolled_back_for_it() {
    const PLAIN: &str = "{protocol: tf_serving}";
    let cases: [(&str, &str, &str, Answers, &str); 6] = [
        (
            "unreadable",
            "{name: error_rate}, {name: output.unreadable}",
            PLAIN,
            (
                |_| answer(json!(1.0)),
                |n| match n % 30 {
                    0 => Made::json(""),
                    10 => Made::json("{\"predictions\": [1"),
                    20 => Made {
                        headers: vec![("content-type", "text/html".to_owned())],
                        ..Made::json("<html>the model is loading</html>")
                    },
                    _ => answer(json!(1.0)),
                },
            ),
            "green is worse than blue (output.unreadable): ",
        ),
        (
            "nulls",
            "{name: error_rate}, {name: output.null}",
            PLAIN,
            (|_| answer(json!(1.0)), |n| answer(if n % 33 == 0 { Value::Null } else { json!(1.0) })),
            "green is worse than blue (output.null): ",
        ),
        (
            "labels",
            "{name: error_rate}, {name: \"output.label:spam\"}",
            PLAIN,
            (
                |n| answer(json!(if n % 2 == 0 { "spam" } else { "ham" })),
                |n| answer(json!(if n % 4 == 0 { "spam" } else { "ham" })),
            ),
            "green is worse than blue (output.label:spam): ",
        ),
        (
            "truncated",
            "{name: error_rate}, {name: output.truncated}",
            "{protocol: openai}",
            (|n| completion(20, n % 10 == 0), |n| completion(20, n % 5 == 0)),
            "green is worse than blue (output.truncated): ",
        ),
        (
            "refusals",
            "{name: error_rate}, {name: output.refused}",
            "{protocol: openai}",
            (|n| refusal(n % 20 == 0), |n| refusal(n % 5 == 0)),
            "green is worse than blue (output.refused): ",
        ),
        (
            "wordy",
            "{name: error_rate}, {name: output.tokens}",
            "{protocol: openai}",
            (|n| completion(20 + n % 30, false), |n| completion(40 + n % 60, false)),
            "green is worse than blue (output.tokens): a geometric mean of ",
        ),
    ];
    for (what, metrics, payload, (of_blue, of_green), sentence) in cases {
        let (blue, green) = blue_and_green().await;
        blue.set(Make::by(move |count, _| of_blue(count)));
        green.set(Make::by(move |count, _| of_green(count)));
        let envoy = between(&blue, &green, judged(metrics, payload)).workers(2).start().await;
        let asks = |_| request("POST", "/", &[("content-type", b"application/json")], "{}");
        let load = Load::to(envoy.address()).per_second(800.0).each(asks).start();
        let event = wait_for_event(&envoy, "rollback").await;
        load.stop().await.assert_all_ok();
        let message = event["message"].as_str().unwrap();
        assert!(message.contains(sentence), "{what}: {message}");
    }
}

/// Clients ask for answers without a body that is read, and get them from the candidate alone.
#[tokio::test(flavor = "multi_thread")]
async fn clients_make_no_answer_unreadable() {
    let (blue, green) = blue_and_green().await;
    for upstream in [&blue, &green] {
        upstream.set(Make::by(|_, seen| {
            let accepts = |of: &str| seen.headers.get("accept").is_some_and(|accept| accept == of);
            let status = seen.headers.get("x-status").map(|status| status.to_str().unwrap().parse().unwrap());
            match () {
                () if accepts("text/html") => Made {
                    headers: vec![("content-type", "text/html".to_owned())],
                    ..Made::json("<html></html>")
                },
                () if status.is_some() || seen.method == "OPTIONS" => Made { status, ..Made::default() },
                () => Made::json("{\"label\": 1}"),
            }
        }));
    }
    let config = Config::rollout(
        "override: {header: x-try}, steps: [{set_weight: 50}, {pause: {min_requests: 400}}], \
         payload: {protocol: json, output: {value: /label}}, analysis: {false_alarm: 0.0001, metrics: [{name: error_rate}, {name: output.unreadable}]}",
    );
    let envoy = between(&blue, &green, config).workers(2).start().await;
    let load = Load::to(envoy.address()).per_second(400.0).each(|number| {
        let (method, name, value): (_, _, &[u8]) = match number % 8 {
            0 => ("HEAD", "x-odd", b"1"),
            1 => ("OPTIONS", "x-odd", b"1"),
            2 => ("GET", "accept", b"text/html"),
            3 => ("POST", "x-status", b"204"),
            4 => ("GET", "x-status", b"206"),
            _ => return request("POST", "/", &[], "{}"),
        };
        request(method, "/", &[(name, value)], "")
    });
    let load = load.start();
    let event = wait_for("the end", async || {
        let is_end = |event: &Value| ["succeed", "rollback"].contains(&event["action"].as_str().unwrap());
        events(&envoy).into_iter().find(is_end)
    })
    .await;
    load.stop().await;
    assert_eq!(event["action"], "succeed", "{event}");
}

/// Of every 20 requests some have long texts, some no age, some get a null, an error or a rare label; from either version.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_whose_odd_inputs_and_answers_are_those_of_stable_goes_on() {
    let (blue, green) = blue_and_green().await;
    for upstream in [&blue, &green] {
        upstream.set(Make::by(|_, seen| {
            let asked: Value = serde_json::from_slice(&seen.body).expect("JSON");
            let answer = match asked["n"].as_u64().expect("a number") % 20 {
                0 => json!({"label": null, "score": null}),
                1 => json!({"error": "no such user"}),
                2..5 => json!({"label": "spam", "score": 1e6}),
                _ => json!({"label": "ham", "score": -0.25}),
            };
            Made::json(answer.to_string())
        }));
    }
    let config = Config::rollout(
        "steps: [{set_weight: 50}, {pause: {min_requests: 3000}}], \
         payload: {protocol: json, input: {fields: [/age], length: /text}, output: {value: /label}}, \
         analysis: {false_alarm: 0.0001, metrics: [{name: error_rate}, {name: output.null}, {name: output.error_object}, \
           {name: \"output.label:spam\"}, {name: input.length}, {name: \"input.missing:/age\"}]}",
    );
    let envoy = between(&blue, &green, config).workers(2).start().await;
    let load = Load::to(envoy.address()).per_second(1_000.0).each(|number| {
        let text = "x".repeat(if number.is_multiple_of(50) { 20_000 } else { 20 });
        let age = if number.is_multiple_of(7) { Value::Null } else { json!(40) };
        let body = json!({"n": number, "text": text, "age": age}).to_string();
        request("POST", "/", &[("content-type", b"application/json")], body)
    });
    let load = load.start();
    wait_for("the end", async || actions(&envoy).contains(&"succeed".to_owned()).then_some(())).await;
    load.stop().await.assert_all_ok();
    assert_eq!(
        actions(&envoy).iter().filter(|action| ["rollback", "alarm"].contains(&action.as_str())).count(),
        0
    );
}

/// A completion of so many tokens, cut at its end or not.
fn completion(tokens: u64, is_cut: bool) -> Made {
    let message = json!({"role": "assistant", "content": "word ".repeat(tokens as usize)});
    let choice =
        json!({"index": 0, "message": message, "finish_reason": if is_cut { "length" } else { "stop" }});
    let usage = json!({"prompt_tokens": 5, "completion_tokens": tokens});
    Made::json(json!({"choices": [choice], "usage": usage}).to_string())
}

/// A completion that is refused or not.
fn refusal(is_refused: bool) -> Made {
    let message = if is_refused {
        json!({"role": "assistant", "content": null, "refusal": "I cannot help with that."})
    } else {
        json!({"role": "assistant", "content": "Of course.", "refusal": null})
    };
    Made::json(json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).to_string())
}

/// A rule in front of the filter sends a tenant, with longer requests, to the candidate: here by the user that requests
/// name. Long requests fail more often, on either version.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_something_else_routes_voids_the_verdict() {
    let (blue, green) = blue_and_green().await;
    for upstream in [&blue, &green] {
        upstream.set(Make::by(|count, seen| {
            let fails = seen.body.len() > 1_000 && count.is_multiple_of(4);
            Made { status: fails.then_some(503), ..Made::json("{}") }
        }));
    }
    let config = Config::rollout(
        "session_affinity: {header: x-user}, steps: [{set_weight: 50}, {pause: {}}], \
         payload: {protocol: json, input: {length: /text}}, \
         analysis: {metrics: [{name: error_rate}, {name: input.length}]}",
    );
    let envoy = between(&blue, &green, config).start().await;
    // The candidate has the lower half of the buckets.
    let salt = changeover::routing::assign::Salt::new("1");
    let is_candidates = move |user: &str| salt.bucket(user.as_bytes()) < 5_000;
    let load = Load::to(envoy.address()).per_second(400.0).each(move |number| {
        let is_tenant = number.is_multiple_of(3);
        let mut user = number.to_string();
        while is_tenant && !is_candidates(&user) {
            user.push('t');
        }
        let text = "x".repeat(if is_tenant { 2_000 } else { 20 });
        request("POST", "/", &[("x-user", user.as_bytes())], json!({"text": text}).to_string())
    });
    let load = load.start();
    // Others may come as well: the split is not that of the weights either.
    wait_for("the alarm that versions receive different requests", async || {
        let differ = "green and blue receive different requests (input.length): a geometric mean of";
        let said = |event: &Value| event["message"].as_str().unwrap().contains(differ);
        events(&envoy).into_iter().find(said)
    })
    .await;
    let void = wait_for("the verdict that is not acted on", async || {
        let said =
            |event: &Value| event["message"].as_str().unwrap().starts_with("ignored, because the versions");
        events(&envoy).into_iter().find(said)
    })
    .await;
    assert_eq!(void["action"], "alarm");
    load.stop().await;
    assert_eq!(actions(&envoy).iter().filter(|action| *action == "rollback").count(), 0);
    assert!(green.count() > 0);
}
