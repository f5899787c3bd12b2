//! Shadow mode: what stable answers is copied, and the shadow changes nothing for anybody.

use crate::harness::*;
use changeover::routing::mirror::CREDENTIALS;
use serde_json::json;
use tokio::io::AsyncWriteExt;

/// Requests that were drawn for the shadow, by what became of them.
async fn mirrored(envoy: &Envoy, result: &str) -> f64 {
    envoy.metrics().await.sum("changeover_mirror_requests_total", &[("version", "green"), ("result", result)])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shadow_gets_the_request() {
    let (blue, green) = blue_and_green().await;
    let config = "weights: {green: 10}, mirror: {to: green, percent: 25, methods: [POST]}";
    let envoy = between(&blue, &green, Config::rollout(config)).workers(2).start().await;
    let load = Load::to(envoy.address()).each(|number| {
        let method = if number % 4 == 0 { "GET" } else { "POST" };
        request(method, "/v2/models/digits/infer?a=1", &[], "")
    });
    let tally = load.send(8_000).await;
    tally.assert_all_ok();
    let asked = mirrored(&envoy, "asked").await;
    // The copies of the last requests may still be on their way.
    wait_for("all copies", async || (green.count() == tally.from("green") + asked as u64).then_some(()))
        .await;
    assert_eq!(blue.count(), tally.from("blue"), "nothing is copied to stable");
    let at_the_cluster = envoy.stat("cluster.green.upstream_rq_total").await;
    assert_eq!(at_the_cluster, green.count(), "what docs/shadow.md compares with");
    let skipped = mirrored(&envoy, "skipped_method").await;
    assert_share((asked + skipped) as u64, tally.from("blue"), 0.25);
    assert_share(skipped as u64, (asked + skipped) as u64, 0.25);
    // Copies count as no version's requests.
    assert_eq!(envoy.metrics().await.sum("changeover_requests_total", &[]), 8_000.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_marked_and_carries_no_credentials() {
    let (blue, green) = blue_and_green().await;
    let config = Config::rollout("mirror: {to: green, methods: [POST]}, version_header: {request: true}");
    let envoy = between(&blue, &green, config).start().await;
    let others: [(&str, &[u8]); 5] = [
        ("x-request-id", b"00000000-0000-4000-8000-000000000000"),
        ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-changeover-mirror", b"forged"),
        ("x-changeover-shadow", b"forged"),
        ("x-other", b"kept"),
    ];
    let secrets = CREDENTIALS.map(|header| (header, b"secret".as_slice()));
    let headers = [others.as_slice(), &secrets].concat();
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let body = vec![b'x'; 100_000];
    let sent = connection.send(request("POST", "/a/b?c=d", &headers, body)).await.expect("an answer");
    assert_eq!(sent.upstream(), "blue");
    let copy = green.wait_for_seen(1).await.remove(0);
    let original = blue.take_seen().remove(0);
    assert_eq!((copy.method.as_str(), copy.target.as_str()), ("POST", "/a/b?c=d"));
    assert!(copy.body == original.body && copy.body.len() == 100_000);
    for header in ["host", "x-request-id", "traceparent", "x-other", "content-length"] {
        assert_eq!(copy.headers.get(header), original.headers.get(header), "{header}");
    }
    assert_eq!(copy.headers["x-changeover-shadow"], "green");
    for header in CREDENTIALS.into_iter().chain(["x-changeover-mirror", "x-changeover-cluster"]) {
        assert_eq!(copy.headers.get(header), None, "{header} on the copy");
    }
    assert_eq!(original.headers["authorization"], "secret");
    assert_eq!(original.headers.get("x-changeover-shadow"), None);
}

/// No filter can see whether Envoy copies: it counts what it asks for, and Envoy what it does.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_copies_are_asked_for_and_not_sent() {
    let (blue, green) = blue_and_green().await;
    let setup = between(&blue, &green, Config::rollout("mirror: {to: green}")).edit_routes(|routes| {
        for route in routes {
            route["route"].as_object_mut().expect("a route").remove("request_mirror_policies");
        }
    });
    let envoy = setup.start().await;
    Load::to(envoy.address()).send(50).await.assert_all_ok();
    assert_eq!((mirrored(&envoy, "asked").await, mirrored(&envoy, "sent").await), (50.0, 0.0));
    assert_eq!((envoy.stat("cluster.green.upstream_rq_total").await, green.count()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_stay_mirrored_and_tunnels_are_not() {
    let (blue, green) = blue_and_green().await;
    let config = "mirror: {to: green, percent: 50, methods: [GET]}, session_affinity: {header: x-user-id}";
    let envoy = between(&blue, &green, Config::rollout(config)).workers(4).start().await;
    let user =
        |number: u64| request("GET", "/", &[("x-user-id", format!("u{}", number % 100).as_bytes())], "");
    let load = Load::to(envoy.address()).each(user);
    load.send(500).await.assert_all_ok();
    let asked = mirrored(&envoy, "asked").await as u64;
    wait_for("all copies", async || (green.count() == asked).then_some(())).await;
    assert_eq!(asked % 5, 0, "each of a hundred users came five times");
    let mut by_user = std::collections::BTreeMap::<String, u32>::new();
    for copy in green.take_seen() {
        *by_user.entry(copy.headers["x-user-id"].to_str().expect("text").to_owned()).or_default() += 1;
    }
    assert!(by_user.values().all(|copies| *copies == 5), "{by_user:?}");
    assert_share(by_user.len() as u64, 100, 0.5);

    blue.set(Behaviour::Upgrade);
    let head = "GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-user-id: u";
    let before = green.count();
    for user in 0..20 {
        let answer = raw_exchange(envoy.address(), format!("{head}{user}\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    }
    assert!(mirrored(&envoy, "skipped_upgrade").await > 0.0);
    assert_eq!(green.count(), before);
}

/// Envoy's mirror hands a shadow's back-pressure on to the client: only what its buffers hold is copied.
#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_never_reads_blocks_no_request() {
    let blue = Upstream::start("blue").await;
    let shadow = RawUpstream::start(Raw::NeverReads).await;
    let setup = Setup::shipped(Config::rollout("mirror: {to: green, methods: [POST]}"))
        .clusters(&[("blue", blue.address()), ("green", shadow.address())]);
    let envoy = setup.start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    for kib in [8 * 1_024, 257] {
        for _ in 0..3 {
            let large = request("POST", "/", &[], vec![b'x'; kib * 1_024]);
            assert_eq!(connection.send(large).await.expect("an answer").status.as_u16(), 200, "{kib} KiB");
        }
    }
    for _ in 0..50 {
        let small = request("POST", "/", &[], vec![b'x'; 256 * 1_024]);
        assert_eq!(connection.send(small).await.expect("an answer").status.as_u16(), 200);
    }
    let chunked = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    assert!(raw_exchange(envoy.address(), chunked).await.starts_with(b"HTTP/1.1 200"));
    let counted = ["skipped_too_large", "skipped_unknown_length", "asked"];
    let mut numbers = Vec::new();
    for result in counted {
        numbers.push(mirrored(&envoy, result).await);
    }
    assert_eq!(numbers, [6.0, 1.0, 50.0]);
}

/// Over HTTP/2 copies share a connection, and the back-pressure of all would reach each client: `max_concurrent_streams: 1` gives
/// each a connection of its own, as `changeover check` demands.
#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_over_http2_that_never_reads_blocks_no_request() {
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let blue = Upstream::start("blue").await;
    let shadow = RawUpstream::start(Raw::NeverReadsHttp2).await;
    let one_copy_each = |bootstrap: &mut serde_json::Value| {
        bootstrap["static_resources"]["clusters"][1]["typed_extension_protocol_options"] = json!({OPTIONS: {
            "@type": format!("type.googleapis.com/{OPTIONS}"),
            "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 1}},
        }});
    };
    let envoy = Setup::shipped(Config::rollout("mirror: {to: green, methods: [POST]}"))
        .clusters(&[("blue", blue.address()), ("green", shadow.address())])
        .edit(one_copy_each)
        .workers(1)
        .start()
        .await;
    // Far more than what Envoy and the kernel hold of one connection.
    let whole = Load::to(envoy.address()).connections(10);
    whole.each(|_| request("POST", "/", &[], vec![b'x'; 256 * 1_024])).send(50).await.assert_all_ok();
    // A body that comes in pieces is read only as fast as its copy is taken.
    let length = 256 * 1_024;
    let mut slow =
        open_raw(&envoy, &format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n")).await;
    wait_for("its copy", async || (mirrored(&envoy, "asked").await == 51.0).then_some(())).await;
    for _ in 0..4 {
        slow.write_all(&vec![b'x'; length / 4]).await.expect("sent");
    }
    assert!(read_until(&mut slow, "\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    wait_for("a connection for each copy", async || (shadow.asked() > 40).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_envoy_that_trusts_the_mark_does_not_take_copies_for_requests() {
    let (blue, green) = blue_and_green().await;
    let fields = "pin: green, trust_shadow_header: true, version_header: {request: true}";
    let inner = between(&blue, &green, Config::rollout(fields))
        .edit_hcm(|hcm| {
            let removals = hcm.pointer_mut("/early_header_mutation_extensions/0/typed_config/mutations");
            let removals = removals.and_then(|removals| removals.as_array_mut()).expect("removals");
            removals.retain(|removal| removal["remove"] != "x-changeover-shadow");
        })
        .start()
        .await;
    let outer = Setup::shipped(Config::rollout("mirror: {to: green}"))
        .clusters(&[("blue", blue.address()), ("green", inner.address())])
        .start()
        .await;
    Load::to(outer.address()).send(20).await.assert_all_ok();
    wait_for("all copies", async || (green.count() == 20).then_some(())).await;
    let copy = green.take_seen().remove(0);
    assert_eq!(
        (&copy.headers["x-changeover-shadow"], &copy.headers["x-changeover-version"]),
        (&"green".parse().unwrap(), &"green".parse().unwrap())
    );
    // A request of its own comes behind them, and is the only one that counts.
    get(inner.address(), "/").await.expect("an answer");
    wait_for("the request to be counted", async || {
        (inner.metrics().await.sum("changeover_requests_total", &[]) > 0.0).then_some(())
    })
    .await;
    assert_eq!(inner.metrics().await.sum("changeover_requests_total", &[]), 1.0);
}

/// A copy that comes to a rollout which does not trust the mark is redirected to one that does.
#[tokio::test(flavor = "multi_thread")]
async fn the_mark_of_a_copy_stays_where_another_rollout_trusts_it() {
    let (blue, green) = blue_and_green().await;
    let send = async |trusts: bool| {
        let versions = "versions: {blue: {cluster: blue}, green: {cluster: green}}, stable: blue";
        let config = Config::Struct(format!(
            "{{rollouts: [{{name: first, match: {{path: /first}}, {versions}}}, \
             {{name: second, match: {{path: /second}}, {versions}, trust_shadow_header: {trusts}}}]}}"
        ));
        let envoy = between(&blue, &green, config)
            .edit_hcm(|hcm| {
                let removals = hcm.pointer_mut("/early_header_mutation_extensions/0/typed_config/mutations");
                let removals = removals.and_then(|removals| removals.as_array_mut()).expect("removals");
                removals.retain(|removal| removal["remove"] != "x-changeover-shadow");
            })
            .start()
            .await;
        let mut connection = Connection::open(envoy.address()).await.expect("a connection");
        let mark: (&str, &[u8]) = ("x-changeover-shadow", b"green");
        connection.send(request("GET", "/first", &[mark], "")).await.expect("an answer");
        blue.take_seen().remove(0).headers.contains_key("x-changeover-shadow")
    };
    assert!(send(true).await);
    assert!(!send(false).await, "it is not trusted: a client may have written it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_fails_changes_nothing() {
    let blue = Upstream::start("blue").await;
    let config = || Config::rollout("mirror: {to: green}");
    for behaviour in [Raw::Silent, Raw::CloseBeforeHeaders, Raw::CloseInBody, Raw::Garbage] {
        let shadow = RawUpstream::start(behaviour).await;
        let setup =
            Setup::shipped(config()).clusters(&[("blue", blue.address()), ("green", shadow.address())]);
        let envoy = setup.start().await;
        // The silent one never answers: a request that waited for it would have no answer either.
        Load::to(envoy.address()).send(200).await.assert_all_ok();
        assert_eq!(mirrored(&envoy, "asked").await, 200.0);
    }
    // A port without a listener, and a cluster that does not exist.
    let closed = free_address();
    for clusters in [&[("blue", blue.address()), ("green", closed)][..], &[("blue", blue.address())]] {
        let envoy = Setup::shipped(config()).clusters(clusters).start().await;
        Load::to(envoy.address()).send(200).await.assert_all_ok();
        let metrics = envoy.metrics().await;
        assert_eq!(metrics.sum("changeover_requests_total", &[("outcome", "ok")]), 200.0);
    }
}
