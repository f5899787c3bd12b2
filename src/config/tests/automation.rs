use super::*;

#[test]
fn mistakes_in_automation_are_reported_with_their_places() {
    assert_eq!(problems_of(&[with_people()]), [""; 0]);
    let [analysis, mirror, payload] = ["analysis", "mirror", "payload"].map(|field| {
        format!(
            "{field}: beside `automation`, where the degree decides who answers; expected it in a rollout of its own"
        )
    });
    assert_rows_among(
        &with_people(),
        &[
            (
                "/automation/degree",
                json!("manual"),
                "automation.degree: found \"manual\", expected one of: human, shadow, assist, partial, full",
            ),
            (
                "/candidate",
                Value::Null,
                "candidate: missing; with `automation` stable is people, and the candidate the model",
            ),
            ("/analysis", json!({}), &analysis),
            ("/mirror", json!({"to": "model"}), &mirror),
            ("/payload", json!({"protocol": "openai"}), &payload),
            (
                "/pin",
                json!("model"),
                "pin: with `automation` a pin means people only; expected the stable version",
            ),
            (
                "/steps/0",
                json!({"set_weight": 5}),
                "steps[0].set_weight: with `automation` the degree decides who answers; expected `set_degree`",
            ),
            (
                "/automation/ask/timeout",
                json!("2m"),
                "automation.ask.timeout: expected a duration from 10ms to 1m",
            ),
            (
                "/automation/ask/max_body",
                json!("17MiB"),
                "automation.ask.max_body: 17MiB is out of range; expected 1B to 16MiB",
            ),
            (
                "/automation/answer/label",
                json!(""),
                "automation.answer.label: missing; expected a JSON pointer such as \"/label\"",
            ),
            (
                "/automation/answer/label",
                json!("/a/*"),
                "automation.answer.label: \"/a/*\" matches several places; expected one without `*`",
            ),
            (
                "/automation/receipt/header",
                json!("X-Suggestion"),
                "automation.receipt.header: the header of suggestions; expected another one",
            ),
            (
                "/automation/receipt/ttl",
                json!("2161h"),
                "automation.receipt.ttl: expected a duration from 1m to 2160h (90 days)",
            ),
            (
                "/automation/decision/match",
                json!({}),
                "automation.decision.match: empty; every request would be a decision; expected at least a path",
            ),
            (
                "/match",
                json!({"path": "/v1/decisions", "methods": ["POST"], "headers": [{"name": "x-task", "present": true}]}),
                "automation.decision.match: covers the rollout's own `match`; every task would be a decision; expected a narrower one",
            ),
            (
                "/automation/decision/receipt",
                json!(7),
                "automation.decision.receipt: found the number 7, expected a JSON pointer, or {header: …}",
            ),
            (
                "/automation/partial",
                json!({}),
                "automation.partial: expected `max_disagreement`, or a fixed `threshold`, which is not proven",
            ),
            (
                "/automation/audit",
                json!(0),
                "automation.step_down: nothing can be stepped down without `audit` and `partial.max_disagreement`; expected both, or `step_down: false`",
            ),
            (
                "/automation/blind",
                json!(0),
                "steps[3].pause.min_decisions: people follow suggestions that they see, so agreement with those proves nothing; expected `blind` above 0",
            ),
            (
                "/steps/0/set_degree",
                json!("human"),
                "steps[1].pause.min_decisions: in degree human the model is not asked; expected `set_degree: shadow` before it",
            ),
            (
                "/steps/4/set_degree",
                json!("shadow"),
                "steps[4].set_degree: shadow is below assist of an earlier step; expected degrees that never fall",
            ),
            (
                "/steps/1/pause/min_requests",
                json!(5),
                "steps[1].pause.min_requests: with `automation` decisions are counted; expected `min_decisions`",
            ),
        ],
    );
    let mut without = moving();
    without["steps"][1] = json!({"set_degree": "shadow"});
    without["steps"][3]["pause"]["min_decisions"] = json!(5);
    let none = "the rollout has no `automation`; expected `automation` beside `steps`";
    assert_eq!(
        problems_of(&[without]),
        [
            format!("rollouts[0].steps[1].set_degree: {none}"),
            format!("rollouts[0].steps[3].pause.min_decisions: {none}"),
        ]
    );
}

#[test]
fn a_rollout_with_people_is_one_envoys() {
    let config =
        json!({"store": {"etcd": {"cluster": "etcd"}, "fleet": "shop"}, "rollouts": [with_people()]});
    assert_eq!(
        problems_in(&config),
        [
            "rollouts[0].automation: beside `store`: decisions are counted by one Envoy; expected a filter without `store`, with a `vm_id` of its own, for this rollout"
        ]
    );
}

/// Each worked configuration of docs/automation.md, as it stands there.
#[test]
fn the_documented_configurations_are_accepted() {
    let document = include_str!("../../../docs/automation.md");
    let blocks = document.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
    let mut decided_later = Vec::new();
    for block in blocks.filter(|block| block.starts_with("rollouts:")) {
        let config: Value = serde_saphyr::from_str(block).unwrap();
        let checked = crate::config::check(&config);
        assert!(
            checked.is_ok(),
            "{block}{:?}",
            checked.err().map(|problems| problems.lines().collect::<Vec<_>>())
        );
        for rollout in config["rollouts"].as_array().unwrap() {
            let later = rollout["automation"].get("decision").is_some();
            decided_later.push((rollout["name"].as_str().unwrap().to_owned(), later));
        }
    }
    let expected = [("claims", true), ("photos", false), ("intents", false)];
    assert_eq!(decided_later, expected.map(|(name, later)| (name.to_owned(), later)));
}
