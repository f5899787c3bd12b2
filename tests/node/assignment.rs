//! The assignment is a promise: the vectors come from a second implementation (tools/assignment-vectors.py).

super::everywhere! {
    every_vector_is_kept
    segments_are_where_the_vectors_say
}

mod run {
    use changeover::config;
    use changeover::routing::plan::{Plan, Rollout};
    use serde_json::{Value, json};

    fn vectors(part: &str) -> Vec<Value> {
        let all: Value =
            serde_json::from_str(include_str!("../../docs/assignment-vectors.json")).expect("JSON");
        all[part].as_array().expect("a list").clone()
    }

    /// A plan whose only rollout splits as a vector's `weights` say, in hundredths of a percent.
    fn plan(vector: &Value) -> Plan {
        let weights = vector["weights"].as_object().expect("weights");
        let percent = |share: &Value| json!(share.as_f64().expect("a number") / 100.0);
        let release = vector.get("release").and_then(Value::as_str).filter(|release| !release.is_empty());
        let names = weights.keys().map(String::as_str).chain(["blue"]);
        let mut rollout = json!({
            "name": "r", "stable": "blue",
            "versions": names.map(|name| (name.to_owned(), json!({"cluster": name}))).collect::<Value>(),
            "weights": weights.iter().map(|(name, share)| (name.clone(), percent(share))).collect::<Value>(),
        });
        if let Some(release) = release {
            rollout["release"] = release.into();
        }
        Plan::new(&config::check(&json!({"rollouts": [rollout]})).expect("a valid configuration"))
    }

    fn version_at(rollout: &Rollout, bucket: u16) -> &str {
        &rollout.versions[rollout.version_of(bucket)].name
    }

    pub(super) fn every_vector_is_kept() {
        let mut kept = 0;
        for vector in vectors("assignments") {
            let hex = vector["key_hex"].as_str().expect("text");
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("a byte");
            let key: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            if vector["release"] == "" {
                // No configuration has an empty release; the hash itself takes any.
                assert_eq!(
                    changeover::routing::assign::Salt::new("").bucket(&key),
                    vector["bucket"],
                    "{vector}"
                );
                continue;
            }
            let plan = plan(&vector);
            let rollout = &plan.rollouts()[0];
            assert_eq!(rollout.bucket(&key), vector["bucket"], "{vector}");
            assert_eq!(version_at(rollout, rollout.bucket(&key)), vector["version"], "{vector}");
            kept += 1;
        }
        assert!(kept >= 64, "only {kept} vectors");
    }

    pub(super) fn segments_are_where_the_vectors_say() {
        for vector in vectors("splits") {
            let plan = plan(&vector);
            let rollout = &plan.rollouts()[0];
            let mut expected = vec!["blue".to_owned(); 10_000];
            for segment in vector["segments"].as_array().expect("a list") {
                let at =
                    |end: &str| usize::try_from(segment[end].as_u64().expect("a number")).expect("small");
                expected[at("start")..at("end")].fill(segment["version"].as_str().expect("text").to_owned());
            }
            let found: Vec<String> =
                (0..10_000).map(|bucket| version_at(rollout, bucket).to_owned()).collect();
            assert!(found == expected, "{vector}");
        }
    }
}
