//! Every form in which Envoy delivers a configuration, static and by ECDS, gives the same one.

use crate::harness::*;

/// A split of 12.5 %, as Envoy's YAML loader types it in many ways: fractions become texts, whole numbers doubles,
/// `no` would be a boolean unless quoted, and a release of digits is a number.
const STRUCT: &str = "{rollouts: [{name: digits, release: 20261124, match: {headers: [{name: x-flag, present: true}, \
    {name: x-answer, exact: \"no\"}, {name: x-code, exact: 10}]}, \
    versions: {blue: {cluster: blue}, green: {cluster: green}, \"on\": {cluster: green}}, \
    stable: blue, candidate: \"on\", weights: {green: 12.5, \"on\": \"0\"}, version_header: {response: true}}]}";
const JSON: &str = r#"{"rollouts": [{"name": "digits", "release": "20261124", "match": {"headers":
    [{"name": "x-flag", "present": true}, {"name": "x-answer", "exact": "no"}, {"name": "x-code", "exact": "10"}]},
    "versions": {"blue": {"cluster": "blue"}, "green": {"cluster": "green"}, "on": {"cluster": "green"}},
    "stable": "blue", "candidate": "on", "weights": {"green": 12.5, "on": 0}, "version_header": {"response": true}}]}"#;

/// The number that `changeover check` prints.
fn hash(config: &str) -> u64 {
    changeover::config::hash(&changeover::config::load(config.as_bytes()).expect("valid"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_is_the_same_configuration() {
    let (blue, green) = blue_and_green().await;
    let expected = hash(JSON);
    let forms =
        [Config::Struct(STRUCT.into()), Config::Json(format!("\n{JSON}")), Config::Bytes(JSON.into())];
    for config in forms {
        for setup in [between(&blue, &green, config.clone()), between_ecds(&blue, &green, config.clone())] {
            let envoy = setup.control().start().await; // whose configuration is no part of the hash
            assert_eq!(envoy.wait_for_hash_other_than(None).await, expected, "{config:?}");
            let headers: [(&str, &[u8]); 3] = [("x-flag", b""), ("x-answer", b"no"), ("x-code", b"10")];
            let mut connection = Connection::open(envoy.address()).await.expect("a connection");
            let answer = connection.send(request("GET", "/", &headers, "")).await.expect("an answer");
            assert!(
                answer.header("x-changeover-version").is_some(),
                "{config:?}: the rollout does not match"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_yaml_reads_as_booleans_are_refused_with_the_remedy() {
    let (blue, green) = blue_and_green().await;
    let config = "{rollouts: [{name: digits, versions: {\"no\": {cluster: blue}}, stable: no, weights: {\"no\": ten}}]}";
    let log = between(&blue, &green, Config::Struct(config.into())).start_refused().await;
    assert!(
        log.contains("rollouts[0].stable: found the boolean false, expected a string: put it in quotes"),
        "{log}"
    );
    assert!(log.contains("rollouts[0].weights.no: found the string \"ten\", expected a number"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_not_configurations_are_refused() {
    let (blue, green) = blue_and_green().await;
    for (config, reason) in [
        (Config::Json("rollouts: []".into()), "neither JSON nor a google.protobuf.Struct"),
        (Config::Json("{\"rollouts\": [}".into()), "not valid JSON"),
        (Config::Struct("{}".into()), "the configuration is empty; expected at least `rollouts: []`"),
        (Config::Struct("{rolouts: []}".into()), "rolouts: unknown field; known here: rollouts"),
    ] {
        let log = between(&blue, &green, config).start_refused().await;
        assert!(log.contains(reason), "{reason} is not in:\n{log}");
    }
}

/// Two listeners, two configurations, one VM per worker: one gauge.
#[tokio::test(flavor = "multi_thread")]
async fn two_listeners_have_a_configuration_each() {
    let (blue, green) = blue_and_green().await;
    let [first, second] = ["green", "blue"].map(|version| {
        format!(
            r#"{{"rollouts": [{{"name": "digits", "versions": {{"{version}": {{"cluster": "{version}"}}}}, "stable": "{version}"}}]}}"#
        )
    });
    let both = hash(&first) ^ hash(&second);
    let envoy = between(&blue, &green, Config::Json(first))
        .second_listener("second", "second", Config::Json(second))
        .start()
        .await;
    wait_for("both numbers in one", async || {
        let hashes = envoy.config_hashes().await;
        (!hashes.is_empty() && hashes.iter().all(|hash| *hash == both)).then_some(())
    })
    .await;
    for _ in 0..20 {
        assert_eq!(get(envoy.address(), "/").await.expect("an answer").upstream(), "green");
        assert_eq!(get(envoy.address_of("second"), "/").await.expect("an answer").upstream(), "blue");
    }
}
