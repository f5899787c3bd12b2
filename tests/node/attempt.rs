//! What identifies an attempt stands in receipts, which may be sealed and opened on different platforms.

super::everywhere! { attempts_are_identified_alike_on_every_platform }

mod run {
    use changeover::config;
    use changeover::rollout::program::Program;
    use serde_json::json;

    pub(super) fn attempts_are_identified_alike_on_every_platform() {
        let rollout = json!({
            "name": "r", "release": "1", "stable": "people", "candidate": "model",
            "versions": {"people": {"cluster": "p"}, "model": {"cluster": "m"}},
            "automation": {"answer": {"label": "/label", "confidence": "/confidence"}},
        });
        let config = config::check(&json!({"rollouts": [rollout]})).expect("a valid configuration");
        let program = Program::new(&config.rollouts[0]);
        assert_eq!(
            [1, 2].map(|attempt| program.attempt(attempt)),
            [11_979_952_508_745_452_327, 7_013_593_611_784_839_243]
        );
    }
}
