use super::*;

/// A rollout that hears of its users, with which nothing is wrong.
fn with_feedback() -> Value {
    fixture::rollout(&json!({
        "name": "search",
        "session_affinity": {"header": "x-user"},
        "feedback": [
            {
                "name": "click", "join": "user", "better": "more", "within": "30m",
                "match": {"path": "/v1/events", "methods": ["POST"], "body": {"/action_name": "click", "/place": 1}},
            },
            {"name": "complaint", "join": "user", "match": {"path": "/complaints"}},
            {
                "name": "rating", "join": "receipt", "match": {"path": "/v1/feedback"}, "receipt": "/receipt",
                "value": "/score", "bad_below": "0.5", "within": "1h",
            },
            {"name": "redo", "after": "same", "not_before": "3s", "within": "1m"},
        ],
        "receipt": {"response_header": "x-receipt", "ttl": "24h"},
        "analysis": {"metrics": [
            {"name": "error_rate"}, {"name": "feedback.click", "tolerate": "1.05"}, {"name": "feedback.complaint"},
        ]},
        "steps": [{"set_weight": 50}, {"pause": {}}],
    }))
}

#[test]
fn mistakes_in_feedback_are_reported_with_their_places() {
    assert_eq!(problems_of(&[with_feedback()]), [""; 0]);
    assert_rows_among(
        &with_feedback(),
        &[
            (
                "/feedback/0/name",
                json!("Click"),
                "feedback[0].name: \"Click\" is not a valid name; expected lower-case letters, digits and -",
            ),
            (
                "/feedback/1/name",
                json!("click"),
                "feedback[1].name: \"click\" is already the name of feedback[0]; expected a unique name",
            ),
            (
                "/feedback/0/match",
                json!({}),
                "feedback[0].match: empty; every request would be an event; expected at least a path",
            ),
            (
                "/feedback/0/match/body",
                json!({"action": "click"}),
                "feedback[0].match.body.action: \"action\" is not a JSON pointer; expected it to begin with `/`",
            ),
            (
                "/feedback/0/match/body",
                json!({"/a/*": "click"}),
                "feedback[0].match.body[\"/a/*\"]: matches several places; expected one without `*`",
            ),
            (
                "/feedback/0/match/body",
                json!({"/a": true}),
                "feedback[0].match.body[\"/a\"]: found the boolean true, expected a string: put it in quotes (YAML reads yes, no, on, off, y, n as booleans)",
            ),
            (
                "/feedback/0/join",
                Value::Null,
                "feedback[0].join: missing; expected user or receipt, or `after` in place of `match`",
            ),
            (
                "/feedback/0/join",
                json!("cookie"),
                "feedback[0].join: found \"cookie\", expected one of: user, receipt",
            ),
            (
                "/feedback/0/better",
                json!("up"),
                "feedback[0].better: found \"up\", expected one of: less, more",
            ),
            ("/feedback/0/within", json!("25h"), "feedback[0].within: expected at most 24h"),
            (
                "/session_affinity",
                Value::Null,
                "feedback[0].join: no key names a user; expected `session_affinity` beside `feedback`",
            ),
            (
                "/receipt",
                Value::Null,
                "feedback[2].join: no answer carries a receipt; expected `receipt` beside `feedback`",
            ),
            (
                "/receipt/response_header",
                json!(":status"),
                "receipt.response_header: a pseudo-header; expected a header (match has authority, path and methods)",
            ),
            ("/receipt/ttl", json!("30s"), "receipt.ttl: expected a duration from 1m to 2160h (90 days)"),
            (
                "/receipt/ttl",
                json!("30m"),
                "feedback[2].within: longer than `receipt.ttl`, after which receipts are late",
            ),
            (
                "/receipt/header",
                json!("x-receipt"),
                "receipt.header: unknown field; known here: response_header, ttl",
            ),
            (
                "/feedback/0/receipt",
                json!("/receipt"),
                "feedback[0].receipt: with `join: user` no receipt is read; expected `join: receipt`",
            ),
            (
                "/feedback/2/receipt",
                json!("receipt"),
                "feedback[2].receipt: \"receipt\" is not a JSON pointer; expected it to begin with `/`",
            ),
            (
                "/feedback/2/receipt",
                json!({"header": "a b"}),
                "feedback[2].receipt.header: \"a b\" is not a valid name of a header",
            ),
            (
                "/feedback/2/value",
                json!("/scores/*"),
                "feedback[2].value: \"/scores/*\" matches several places; expected one without `*`",
            ),
            (
                "/feedback/2/value",
                Value::Null,
                "feedback[2].value: missing; expected a JSON pointer to the number that `bad_below` is about",
            ),
            (
                "/feedback/2/bad_below",
                Value::Null,
                "feedback[2].bad_below: missing; expected the number below which `value` is bad",
            ),
            ("/feedback/2/bad_below", json!("low"), "feedback[2].bad_below: "),
            (
                "/feedback/3/after",
                json!("other"),
                "feedback[3].after: found the string \"other\", expected same, or {rollout: …}",
            ),
            (
                "/feedback/3/after",
                json!({"rollout": "text"}),
                "feedback[3].after.rollout: unknown rollout \"text\"",
            ),
            (
                "/feedback/3/after",
                json!({"rollout": "search"}),
                "feedback[3].after.rollout: this rollout itself; expected `after: same`",
            ),
            (
                "/feedback/3/after",
                json!({"rollouts": "text"}),
                "feedback[3].after.rollouts: unknown field; known here: rollout",
            ),
            (
                "/feedback/3/match",
                json!({"path": "/x"}),
                "feedback[3].match: beside `after`, where a user's next request is the event; expected one of both",
            ),
            (
                "/feedback/3/join",
                json!("user"),
                "feedback[3].join: beside `after`, where a user's next request is the event; expected one of both",
            ),
            (
                "/feedback/3/not_before",
                json!("500ms"),
                "feedback[3].not_before: expected at least 1s: users are counted by the second",
            ),
            (
                "/feedback/3/not_before",
                json!("2m"),
                "feedback[3].not_before: longer than `within`, after which nothing counts",
            ),
            ("/feedback/3/within", json!("11m"), "feedback[3].within: with `after` expected at most 10m"),
            ("/feedback/0/not_before", json!("2s"), "feedback[0].not_before: needs `after` beside it"),
            (
                "/session_affinity",
                Value::Null,
                "feedback[3].after: no key names a user; expected `session_affinity` beside `feedback`",
            ),
            (
                "/analysis",
                Value::Null,
                "feedback[3].after: users are followed for `analysis`; expected it beside `feedback`, if only with `dry_run: true`",
            ),
            (
                "/feedback/2/better",
                json!("more"),
                "feedback[2].better: with `value` bad events are counted, of which fewer are better; expected `less`",
            ),
            (
                "/match",
                json!({"body": {"/a": "b"}}),
                "match.body: bodies are read of events alone; expected it in `feedback`",
            ),
            (
                "/analysis/metrics/1/name",
                json!("feedback.clicks"),
                "analysis.metrics[1].name: unknown rule \"clicks\"; known in `feedback`: \"click\", \"complaint\", \"rating\", \"redo\"",
            ),
            (
                "/analysis/metrics/1/direction",
                json!("down"),
                "analysis.metrics[1].direction: not allowed here: `better` in `feedback` sets the direction",
            ),
            (
                "/analysis/metrics/1/max",
                json!("0.5"),
                "analysis.metrics[1].max: not allowed here: feedback counts only users who act, so it has no rate to bound",
            ),
        ],
    );
    let mut alarmed = with_feedback();
    alarmed["alarms"] = json!([{"name": "clicks", "signal": "feedback.click", "max": 0.5, "window": "5m"}]);
    let problems = problems_of(&[alarmed]);
    let message = "feedback counts only users who act, so it has no rate; expected it in `analysis`";
    assert_eq!(problems, [format!("rollouts[0].alarms[0].signal: {message}")]);
    let mut people = with_people();
    people["feedback"] = json!([{"name": "click", "join": "user", "match": {"path": "/v1/events"}}]);
    people["receipt"] = json!({});
    let problems = problems_of(&[people]);
    for expected in ["feedback: beside `automation`", "receipt: beside `automation`"] {
        let expected = format!("rollouts[0].{expected}");
        assert!(problems.iter().any(|problem| problem.starts_with(&expected)), "{problems:#?}");
    }
}

#[test]
fn feedback_that_one_envoy_keeps_to_itself_is_refused_beside_a_store() {
    let fleet = |rollout: Value| {
        let config = json!({"store": {"etcd": {"cluster": "etcd"}, "fleet": "shop"}, "rollouts": [rollout]});
        check(&config).err().map(|problems| problems.lines().collect::<Vec<String>>())
    };
    let after = "rollouts[0].feedback[3].after: beside `store`: users are followed by one Envoy; expected a filter without `store`, with a `vm_id` of its \
                 own, for this rollout";
    assert_eq!(fleet(with_feedback()), Some(vec![after.to_owned()]));
    let mut by_users = with_feedback();
    by_users["feedback"].as_array_mut().unwrap().remove(3);
    by_users["analysis"]["metrics"][1] = json!({"name": "feedback.rating"});
    assert_eq!(fleet(by_users.clone()), None, "users count once in the fleet");
    let mut by_answers = by_users;
    by_answers.as_object_mut().unwrap().remove("session_affinity");
    let rating = by_answers["feedback"][2].take();
    by_answers["feedback"] = json!([rating]);
    by_answers["analysis"]["metrics"] = json!([{"name": "error_rate"}, {"name": "feedback.rating"}]);
    assert_eq!(problems_of(&[by_answers.clone()]), [""; 0]);
    let answers = "rollouts[0].analysis.metrics[1].name: beside `store`: each Envoy remembers the receipts that came to it, so an \
                   answer could count at several; expected `session_affinity`, whose users count once, or a filter without `store`, \
                   with a `vm_id` of its own, for this rollout";
    assert_eq!(fleet(by_answers.clone()), Some(vec![answers.to_owned()]));
    by_answers["analysis"]["metrics"] = json!([{"name": "error_rate"}]);
    assert_eq!(fleet(by_answers), None, "what is counted and not judged");
}
