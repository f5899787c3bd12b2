//! Weights, matches, overrides: where requests go.

use crate::harness::*;
use serde_json::json;

type Headers<'a> = &'a [(&'a str, &'a [u8])];

async fn goes_to(envoy: &Envoy, path: &str, headers: Headers<'_>) -> String {
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let answer = connection.send(request("GET", path, headers, "")).await.expect("an answer");
    assert_eq!(answer.status, 200);
    answer.upstream().to_owned()
}

async fn split_over(workers: u32) {
    let (blue, green) = blue_and_green().await;
    let envoy =
        between(&blue, &green, Config::rollout("weights: {green: 20}")).workers(workers).start().await;
    let tally = Load::to(envoy.address()).connections(16).send(20_000).await;
    tally.assert_all_ok();
    assert_share(tally.from("green"), 20_000, 0.20);
    assert_eq!((blue.count(), green.count()), (tally.from("blue"), tally.from("green")));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_follow_the_weights_on_one_worker() {
    split_over(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_follow_the_weights_on_four_workers() {
    split_over(4).await;
}

/// Workers that drew the same numbers would send the same requests of their sequences to green.
#[tokio::test(flavor = "multi_thread")]
async fn workers_draw_independently() {
    let (blue, green) = blue_and_green().await;
    let config = || Config::rollout("weights: {green: 50}");
    let mut sequences = Vec::new();
    for _ in 0..3 {
        let envoy = between(&blue, &green, config()).start().await;
        let tally = Load::to(envoy.address()).connections(1).send(64).await;
        sequences.push(tally.answers.into_values().collect::<Vec<_>>());
    }
    sequences.dedup();
    assert_eq!(sequences.len(), 3, "two generators were seeded alike");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_versions_and_fractions() {
    let (blue, green) = blue_and_green().await;
    let red = Upstream::start("red").await;
    let config = "{rollouts: [{name: r, versions: {a: {cluster: blue}, b: {cluster: green}, c: {cluster: red}}, \
                  stable: a, weights: {b: 10, c: 2.5}}]}";
    let clusters = [("blue", blue.address()), ("green", green.address()), ("red", red.address())];
    let envoy = Setup::shipped(Config::Struct(config.into())).clusters(&clusters).start().await;
    let tally = Load::to(envoy.address()).send(20_000).await;
    tally.assert_all_ok();
    assert_share(tally.from("green"), 20_000, 0.10);
    assert_share(tally.from("red"), 20_000, 0.025);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_match_wins_and_the_rest_goes_the_ordinary_way() {
    let (blue, green) = blue_and_green().await;
    let rollout = |name: &str, matches: &str, to: &str| {
        Config::blue_green(name, &format!("match: {matches}, pin: {to}"))
    };
    let rollouts = [
        rollout("tenant", "{prefix: /a, headers: [{name: x-tenant, exact: acme}]}", "green"),
        rollout("exact", "{path: /a/exact}", "green"),
        rollout("host", "{authority: [Other.Example.com], prefix: /a}", "green"),
        rollout("methods", "{prefix: /a, methods: [POST]}", "green"),
        rollout("rest", "{prefix: /a}", "blue"),
        rollout("shadowed", "{prefix: /a/b}", "green"),
    ];
    let config = Config::Struct(format!("{{rollouts: [{}]}}", rollouts.join(", ")));
    let envoy = between(&blue, &green, config).start().await;
    let rows: [(&str, Headers<'_>, &str); 9] = [
        ("/a/exact?q=1", &[], "green"),
        ("/a/exactly", &[], "blue"),
        ("/a/x", &[("x-tenant", b"acme")], "green"),
        ("/a/x", &[("x-tenant", b"other")], "blue"),
        ("/a/x", &[(":authority", b"other.example.com:8080")], "green"),
        ("/a/b", &[], "blue"),
        ("/b", &[], "blue"),
        ("/b", &[("x-changeover-cluster", b"green")], "blue"),
        ("/a/x", &[("x-changeover-cluster", b"green")], "blue"),
    ];
    for (path, headers, expected) in rows {
        assert_eq!(goes_to(&envoy, path, headers).await, expected, "{path} {headers:?}");
    }
    // What was not routed is not counted, what was is.
    let metrics = envoy.metrics().await;
    assert_eq!(metrics.sum("changeover_requests_total", &[]), 7.0);
    assert!(envoy.log().contains("rollouts[5].match: unreachable: rollouts[4] (\"rest\")"), "the warning");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_chooses_a_version_and_never_a_cluster() {
    let (blue, green) = blue_and_green().await;
    let secret = Upstream::start("secret").await;
    let clusters = [("blue", blue.address()), ("green", green.address()), ("secret", secret.address())];
    let setup = |fields| Setup::shipped(Config::rollout(fields)).clusters(&clusters);
    let envoy = setup("override: {header: x-changeover}").start().await;
    let rows: [(&[u8], &str); 7] = [
        (b"always", "green"),
        (b"never", "blue"),
        (b"green", "green"),
        (b"secret", "blue"),
        (b"\xff\xfe", "blue"),
        (b"", "blue"),
        (b"always, always", "blue"),
    ];
    for (value, expected) in rows {
        assert_eq!(goes_to(&envoy, "/", &[("x-changeover", value)]).await, expected, "{value:?}");
    }
    let pinned = setup("override: {header: x-changeover}, pin: blue").start().await;
    assert_eq!(goes_to(&pinned, "/", &[("x-changeover", b"always")]).await, "blue", "pin beats override");
    let unasked = setup("weights: {green: 0}").start().await;
    assert_eq!(
        goes_to(&unasked, "/", &[("x-changeover", b"always")]).await,
        "blue",
        "not configured, not obeyed"
    );
    assert_eq!(secret.count(), 0);
}

/// The ordinary route matters only without the filter.
#[tokio::test(flavor = "multi_thread")]
async fn stable_is_chosen_by_header_too() {
    let (blue, green) = blue_and_green().await;
    let ordinary = Upstream::start("ordinary").await;
    let clusters = [("ordinary", ordinary.address()), ("blue", blue.address()), ("green", green.address())];
    let envoy = Setup::shipped(Config::rollout("match: {prefix: /a}")).clusters(&clusters).start().await;
    assert_eq!(goes_to(&envoy, "/a", &[]).await, "blue");
    assert_eq!(goes_to(&envoy, "/b", &[]).await, "ordinary");
}

#[tokio::test(flavor = "multi_thread")]
async fn version_headers_are_set_as_configured_and_internal_headers_stay_inside() {
    let (blue, green) = blue_and_green().await;
    let config = Config::rollout("pin: green, version_header: {request: true, response: true}");
    let envoy = between(&blue, &green, config).start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let forged: [(&str, &[u8]); 4] = [
        ("x-changeover-version", b"blue"),
        ("x-changeover-cluster", b"blue"),
        ("x-changeover-mirror", b"blue"),
        ("x-changeover-shadow", b"blue"),
    ];
    let answer = connection.send(request("GET", "/", &forged, "")).await.expect("an answer");
    assert_eq!((answer.upstream(), answer.header("x-changeover-version")), ("green", Some("green")));
    let seen = green.take_seen().remove(0);
    assert_eq!(seen.headers.get_all("x-changeover-version").iter().collect::<Vec<_>>(), ["green"]);
    for header in ["x-changeover-cluster", "x-changeover-mirror", "x-changeover-shadow"] {
        assert_eq!(seen.headers.get(header), None, "{header}");
    }
}

/// The filter's own headers, forged by a client or an upstream.
const OWN_HEADERS: [(&str, &str); 4] = [
    ("x-changeover-version", "forged"),
    ("x-changeover-cluster", "green"),
    ("x-changeover-mirror", "green"),
    ("x-changeover-shadow", "green"),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_header_of_the_filters_own_passes_from_outside() {
    let (blue, green) = blue_and_green().await;
    blue.set(Behaviour::Body("".into(), OWN_HEADERS.to_vec()));
    let config = Config::rollout("match: {prefix: /in}");
    let envoy = between(&blue, &green, config)
        .edit_hcm(|hcm| drop(hcm.as_object_mut().expect("a map").remove("early_header_mutation_extensions")))
        .edit_routes(|routes| {
            routes.iter_mut().for_each(|route| {
                drop(route["route"].as_object_mut().expect("a map").remove("request_mirror_policies"))
            })
        })
        .start()
        .await;
    let forged = OWN_HEADERS.map(|(name, value)| (name, value.as_bytes()));
    for path in ["/in", "/out"] {
        let mut connection = Connection::open(envoy.address()).await.expect("a connection");
        let answer = connection.send(request("GET", path, &forged, "")).await.expect("an answer");
        assert_eq!(answer.upstream(), "blue", "{path}");
        let seen = blue.take_seen().remove(0);
        for (header, _) in OWN_HEADERS {
            let is_marker = header == "x-changeover-shadow" && path == "/out";
            assert!(is_marker || seen.headers.get(header).is_none(), "{header} on the request to {path}");
            assert_eq!(answer.headers.get(header), None, "{header} on the answer from {path}");
        }
    }
}

/// Envoy sends a redirected request through the filter again, with the headers of its first pass.
#[tokio::test(flavor = "multi_thread")]
async fn an_internal_redirect_begins_anew() {
    let (blue, green) = blue_and_green().await;
    let (first, shadow) = (Upstream::start("first").await, Upstream::start("shadow").await);
    let config = "{rollouts: [\
        {name: a, match: {prefix: /a}, versions: {first: {cluster: first}, shadow: {cluster: shadow}}, stable: first, \
         mirror: {to: shadow}, version_header: {request: true}}, \
        {name: b, match: {prefix: /b}, versions: {green: {cluster: green}}, stable: green}]}";
    let clusters = [
        ("blue", blue.address()),
        ("green", green.address()),
        ("first", first.address()),
        ("shadow", shadow.address()),
    ];
    let envoy = Setup::shipped(Config::Struct(config.into()))
        .clusters(&clusters)
        .edit_routes(|routes| {
            for route in routes {
                route["route"]["internal_redirect_policy"] = json!({"max_internal_redirects": 1});
            }
        })
        .start()
        .await;
    for (to, upstream) in [("http://models.example.com/b", &green), ("http://models.example.com/c", &blue)] {
        first.set(Behaviour::Redirect(vec![("location", to)]));
        let before = shadow.count();
        let answer = get(envoy.address(), "/a").await.expect("an answer");
        assert_eq!((answer.status.as_u16(), upstream.count()), (200, 1), "{to}");
        wait_for("the first pass' copy", async || (shadow.count() > before).then_some(())).await;
        let seen = upstream.take_seen().remove(0);
        for (header, _) in OWN_HEADERS {
            assert_eq!(seen.headers.get(header), None, "{header} at {to}");
        }
        assert_eq!(shadow.count(), before + 1, "{to}");
    }
}
