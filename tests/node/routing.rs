//! From a request to its version.

super::everywhere! {
    the_first_match_decides
    a_user_keeps_his_version
    draws_follow_the_weights
}

mod run {
    use std::borrow::Cow;

    use changeover::config;
    use changeover::routing::plan::Plan;
    use changeover::routing::request::Request;
    use fastrand::Rng;
    use serde_json::json;

    /// Headers, pseudo-headers among them.
    struct Headers<'a>(&'a [(&'a str, &'a str)]);

    impl Request for Headers<'_> {
        fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
            self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_bytes().into())
        }

        fn headers(&self, name: &str) -> Vec<Vec<u8>> {
            self.0
                .iter()
                .filter(|(known, _)| *known == name)
                .map(|(_, value)| value.as_bytes().to_vec())
                .collect()
        }

        fn has_body(&self) -> bool {
            false
        }

        fn source_address(&self) -> Option<Cow<'_, [u8]>> {
            Some(b"10.0.0.1:80".into())
        }
    }

    fn plan() -> Plan {
        let versions = json!({"blue": {"cluster": "b"}, "green": {"cluster": "g"}});
        let document = json!({"rollouts": [
            {"name": "exact", "match": {"path": "/a/b", "methods": ["POST"]}, "versions": versions, "stable": "blue"},
            {"name": "host", "match": {"authority": ["h"], "prefix": "/a"}, "versions": versions, "stable": "blue",
             "session_affinity": {"header": "x-user"}, "weights": {"green": 50}},
            {"name": "rest", "versions": versions, "stable": "blue", "weights": {"green": 20}},
        ]});
        Plan::new(&config::check(&document).expect("a valid configuration"))
    }

    fn route(plan: &Plan, headers: &[(&str, &str)]) -> (usize, usize) {
        let (rollout, decision) =
            plan.route(&Headers(headers), false, &mut Rng::with_seed(3)).expect("a rollout");
        (rollout, decision.version)
    }

    pub(super) fn the_first_match_decides() {
        let at = |method, authority, path| {
            route(&plan(), &[(":method", method), (":authority", authority), (":path", path)]).0
        };
        assert_eq!(at("POST", "x", "/a/b?q"), 0);
        assert_eq!(at("GET", "H:8080", "/a/b"), 1);
        assert_eq!(at("GET", "x", "/a/b"), 2);
    }

    pub(super) fn a_user_keeps_his_version() {
        let plan = plan();
        let version = |user: &str| route(&plan, &[(":authority", "h"), (":path", "/a"), ("x-user", user)]).1;
        let users: Vec<String> = (0..1_000).map(|user| user.to_string()).collect();
        let first: Vec<usize> = users.iter().map(|user| version(user)).collect();
        let second: Vec<usize> = users.iter().map(|user| version(user)).collect();
        assert_eq!(first, second);
        let greens = first.iter().filter(|version| **version == 1).count();
        assert!((437..=563).contains(&greens), "{greens} of 1,000 at 50 %");
    }

    pub(super) fn draws_follow_the_weights() {
        let plan = plan();
        let mut rng = Rng::with_seed(4);
        let request = Headers(&[(":path", "/")]);
        let greens = (0..20_000)
            .filter(|_| plan.route(&request, false, &mut rng).expect("a rollout").1.version == 1)
            .count();
        assert!((3_774..=4_226).contains(&greens), "{greens} of 20,000 at 20 %");
    }
}
