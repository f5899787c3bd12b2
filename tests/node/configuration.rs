//! Configurations as Envoy delivers them.

super::everywhere! {
    both_forms_are_read_alike
    every_mistake_is_told
    hostile_bytes_are_refused
    a_large_configuration_is_read
}

mod run {
    use changeover::config;
    use serde_json::{Value, json};

    /// `struct.json` as protobuf's own library serializes it.
    const STRUCT: &[u8] = include_bytes!("../fixtures/struct.bin");

    fn document() -> Value {
        serde_json::from_str(include_str!("../fixtures/struct.json")).expect("JSON")
    }

    pub(super) fn both_forms_are_read_alike() {
        let from_struct = config::load(STRUCT).expect("a valid Struct");
        let from_json = config::load(document().to_string().as_bytes()).expect("valid JSON");
        assert_eq!(from_struct, from_json);
        assert_eq!(config::hash(&from_struct), config::hash(&from_json));
        // The same number on every platform: operators compare it with `changeover check`.
        assert_eq!(config::hash(&from_json), 188_291_404_692_767);
    }

    pub(super) fn every_mistake_is_told() {
        let wrong = json!({"rollouts": [{
            "name": "a", "versions": {"b": {"cluster": "b"}}, "stable": "c", "weights": {"b": "120"}, "extra": true,
        }]});
        let problems = config::load(wrong.to_string().as_bytes()).expect_err("mistakes");
        let places: Vec<&str> = problems.as_slice().iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(places, ["rollouts[0].extra", "rollouts[0].weights.b", "rollouts[0].stable"]);
    }

    pub(super) fn hostile_bytes_are_refused() {
        for cut in 0..STRUCT.len() {
            assert!(config::load(&STRUCT[..cut]).is_err(), "cut at {cut}");
            let mut damaged = STRUCT.to_vec();
            damaged[cut] ^= 0x80;
            let _ = config::load(&damaged);
        }
        let deep = "[".repeat(100_000);
        assert!(config::load(deep.as_bytes()).is_err());
    }

    pub(super) fn a_large_configuration_is_read() {
        let rollout = |n: usize| json!({"name": format!("r{n}"), "versions": {"b": {"cluster": "b"}}, "stable": "b", "match": {"prefix": format!("/{n}")}});
        let rollouts: Vec<Value> = (0..4_096).map(rollout).collect();
        let config = config::load(json!({"rollouts": rollouts}).to_string().as_bytes()).expect("valid");
        assert_eq!(config.rollouts.len(), 4_096);
    }
}
