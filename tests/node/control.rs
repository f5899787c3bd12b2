//! The HTTP API: what depends on the platform is in its numbers.

super::everywhere! {
    a_rollout_is_shown_alike
    a_command_is_read_and_obeyed
    a_token_is_compared_by_its_digest
    hostile_requests_are_refused
}

mod run {
    use changeover::config;
    use changeover::control::api::{Api, Handled, changed};
    use changeover::control::request::Request;
    use changeover::control::response::Response;
    use changeover::control::time::rfc3339;
    use changeover::fleet::simulated::Envoy;
    use changeover::model::Side;
    use changeover::rollout::clock::Clock;
    use serde_json::json;

    fn beginning() -> Clock {
        Clock { length: 1_000_000_000, uptime: u64::MAX / 2, time: 1_764_022_500_250, is_shared: false }
    }

    fn envoy() -> Envoy {
        let config = config::check(&json!({"rollouts": [{
            "name": "r", "release": "1", "versions": {"b": {"cluster": "b"}, "g": {"cluster": "g"}}, "stable": "b",
            "candidate": "g", "steps": [{"set_weight": 0.25}, {"pause": {}}], "analysis": {"false_alarm": 0.05},
        }]}));
        let mut envoy = Envoy::begin(&config.expect("valid"), beginning());
        envoy.requests(0, Side::Candidate, 1, 3);
        envoy.requests(0, Side::Stable, 0, 600);
        envoy.tick();
        envoy
    }

    fn request(method: &str, path: &str) -> Request {
        Request {
            method: method.into(),
            path: path.into(),
            authority: "[::1]:9911".into(),
            content_type: Some("application/json".into()),
            ..Request::default()
        }
    }

    fn answer(api: &Api, request: &Request) -> Response {
        match api.handle(request, &envoy().shared, beginning()) {
            Handled::Answer(response) => response,
            Handled::Record { .. } | Handled::Page(_) | Handled::Change(_) => panic!("no answer of the API"),
        }
    }

    pub(super) fn a_rollout_is_shown_alike() {
        let shown = answer(&Api::default(), &request("GET", "/v1/rollouts/r")).body;
        assert!(
            shown.contains(
                r#""weights":{"b":99.75,"g":0.25},"unit":"requests","observed_share":{"b":99.5,"g":0.5}"#
            ),
            "{shown}"
        );
        assert!(shown.ends_with(r#"{"metric":"all","log10_e":0.92,"threshold":1.301}]}"#), "{shown}");
        let events = answer(&Api::default(), &request("GET", "/v1/rollouts/r/events")).body;
        assert!(events.contains(r#""time":"2025-11-24T22:15:00.250Z""#), "{events}");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    pub(super) fn a_command_is_read_and_obeyed() {
        let mut promote = request("POST", "/v1/rollouts/r/promote");
        promote.body = br#"{"full": true}"#.into();
        promote.if_match = Some(br#""2""#.into());
        let (api, mut envoy, now) = (Api::default(), envoy(), beginning());
        let Handled::Change(change) = api.handle(&promote, &envoy.shared, now) else { panic!("no change") };
        let promoted = envoy.command(&change).expect("it fits");
        let response = changed("r", Ok(&promoted.record), &[7], now);
        assert_eq!(response.status, 202);
        assert!(response.body.ends_with(r#""missing_workers":[7]}"#), "{}", response.body);
        // Larger than a usize of 32 bits, and than any revision.
        for (revision, status) in [("\"4294967298\"", 412), ("\"18446744073709551617\"", 412)] {
            promote.if_match = Some(revision.into());
            let response = match api.handle(&promote, &envoy.shared, now) {
                Handled::Answer(response) => response,
                Handled::Record { .. } | Handled::Page(_) => panic!("no page or recording was asked for"),
                Handled::Change(change) => {
                    let refused = envoy.command(&change).expect_err("another revision");
                    changed("r", Err(&refused), &[], now)
                }
            };
            assert_eq!(response.status, status);
        }
    }

    pub(super) fn a_token_is_compared_by_its_digest() {
        let control =
            json!({"token_sha256": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"});
        let config = config::check(&json!({"control": control})).expect("valid");
        let api = Api::new(&config.control.expect("it is there"));
        let mut look = request("GET", "/v1/rollouts");
        for (authorization, status) in [("Bearer secret", 200), ("Bearer Secret", 401)] {
            look.authorization = Some(authorization.into());
            assert_eq!(answer(&api, &look).status, status);
        }
    }

    pub(super) fn hostile_requests_are_refused() {
        let mut abort = request("POST", "/v1/rollouts/r/abort");
        for body in ["[".repeat(4_096), "[".repeat(4_097), "\"\\ud800\"".into(), "1e999".into()] {
            abort.body = body.into();
            assert!(matches!(answer(&Api::default(), &abort).status, 413 | 422));
        }
        abort.authority = "localhost\u{0}.example.com".into();
        assert_eq!(answer(&Api::default(), &abort).status, 403);
    }
}
