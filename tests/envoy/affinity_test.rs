//! Users keep their version: over requests, workers and restarts.

use std::collections::BTreeMap;

use crate::harness::*;
use changeover::config;
use changeover::routing::plan::Plan;

const USERS: u64 = 2_000;

/// Which upstream answers each user, by header; every user comes several times, over many connections.
async fn versions_of_users(envoy: &Envoy) -> BTreeMap<u64, String> {
    const TIMES: u64 = 4;
    let user = |number: u64| format!("user-{}", number % USERS);
    let load = Load::to(envoy.address())
        .connections(16)
        .each(move |number| request("GET", "/", &[("x-user-id", user(number).as_bytes())], ""));
    let tally = load.send(TIMES * USERS).await;
    tally.assert_all_ok();
    let mut versions = BTreeMap::new();
    for (number, upstream) in tally.answers {
        let known = versions.entry(number % USERS).or_insert_with(|| upstream.clone());
        assert_eq!(*known, upstream, "user {} changed versions", number % USERS);
    }
    versions
}

#[tokio::test(flavor = "multi_thread")]
async fn users_keep_their_version_over_workers_and_restarts() {
    let (blue, green) = blue_and_green().await;
    let config = || Config::rollout("weights: {green: 20}, session_affinity: {header: x-user-id}");
    let one = versions_of_users(&between(&blue, &green, config()).workers(1).start().await).await;
    let four = versions_of_users(&between(&blue, &green, config()).workers(4).start().await).await;
    assert_eq!(one, four);
    assert_share(one.values().filter(|version| *version == "green").count() as u64, USERS, 0.20);

    // And it is what the documented function says.
    let document = "rollouts: [{name: digits, release: \"1\", versions: {blue: {cluster: blue}, green: {cluster: green}}, \
                    stable: blue, weights: {green: 20}}]";
    let document = serde_saphyr::from_str(document).expect("YAML");
    let plan = Plan::new(&config::check(&document).expect("valid"));
    let rollout = &plan.rollouts()[0];
    for (user, version) in one {
        let expected = rollout.version_of(rollout.bucket(format!("user-{user}").as_bytes()));
        assert_eq!(rollout.versions[expected].name, version, "user {user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn growth_moves_users_from_stable_only_and_another_release_draws_anew() {
    let (blue, green) = blue_and_green().await;
    let config =
        |fields: &str| Config::rollout(&format!("{fields}, session_affinity: {{header: x-user-id}}"));
    let at =
        async |fields: &str| versions_of_users(&between(&blue, &green, config(fields)).start().await).await;
    let small = at("weights: {green: 10}").await;
    let large = at("weights: {green: 30}").await;
    assert!(
        small.iter().all(|(user, version)| version == "blue" || large[user] == "green"),
        "a user went back"
    );
    assert_share(large.values().filter(|version| *version == "green").count() as u64, USERS, 0.30);

    let other = Config::Struct(
        "{rollouts: [{name: digits, release: \"2\", versions: {blue: {cluster: blue}, green: {cluster: green}}, stable: blue, \
         weights: {green: 30}, session_affinity: {header: x-user-id}}]}"
            .into(),
    );
    let other = versions_of_users(&between(&blue, &green, other).start().await).await;
    let both = large.iter().filter(|(user, version)| *version == "green" && other[user] == "green").count();
    assert_share(both as u64, USERS, 0.09);
}

/// An answer's `set-cookie`, if any.
fn cookie(answer: &Answer) -> Option<String> {
    let mut cookies = answer.headers.get_all("set-cookie").iter();
    let cookie = cookies.next().map(|cookie| cookie.to_str().expect("text").to_owned());
    assert_eq!(cookies.next(), None, "one cookie at most");
    cookie
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_in_any_line_is_the_users() {
    let (blue, green) = blue_and_green().await;
    let config = Config::rollout("weights: {green: 50}, session_affinity: {cookie: {name: uid, ttl: 24h}}");
    let envoy = between(&blue, &green, config).start().await;
    let send = async |lines: &[&str], http2: bool| {
        let lines: Vec<(&str, &[u8])> = lines.iter().map(|line| ("cookie", line.as_bytes())).collect();
        let mut connection = match http2 {
            true => Connection::open_http2(envoy.address()).await,
            false => Connection::open(envoy.address()).await,
        }
        .expect("a connection");
        let answer = connection.send(request("GET", "/", &lines, "")).await.expect("an answer");
        assert_eq!(cookie(&answer), None, "{lines:?}");
        answer.upstream().to_owned()
    };
    for user in 0..16 {
        let own = format!("uid=u{user}");
        let alone = send(&[&own], false).await;
        for http2 in [false, true] {
            assert_eq!(send(&["theme=dark", &own], http2).await, alone, "user {user}");
            assert_eq!(send(&["a=1,2", "uid=", &own, "uid=other"], http2).await, alone, "user {user}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_caches_share_carry_no_cookie() {
    let (blue, green) = blue_and_green().await;
    let fields =
        "session_affinity: {cookie: {name: uid, ttl: 1h, same_site: none, domain: example.com, path: /v2}}";
    let envoy = between(&blue, &green, Config::rollout(fields)).start().await;
    let issued = async |headers: &[(&'static str, &'static str)]| {
        blue.set(Behaviour::Body("x".into(), headers.to_vec()));
        cookie(&get(envoy.address(), "/").await.expect("an answer"))
    };
    let own = issued(&[("cache-control", "private, max-age=60")]).await.expect("a cookie");
    let (_, attributes) = own.split_once("; ").expect("attributes");
    assert_eq!(attributes, "Path=/v2; Domain=example.com; Max-Age=3600; HttpOnly; SameSite=None; Secure");
    for shared in ["public, max-age=60", "s-maxage=60", "max-age=60, immutable"] {
        assert_eq!(issued(&[("cache-control", shared)]).await, None, "{shared}");
    }
    assert_eq!(issued(&[("cache-control", "max-age=60"), ("cache-control", "public")]).await, None);
    assert!(issued(&[]).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_issued_once_and_obeyed() {
    let (blue, green) = blue_and_green().await;
    let config = Config::rollout("weights: {green: 50}, session_affinity: {cookie: {name: uid, ttl: 24h}}");
    let envoy = between(&blue, &green, config).workers(4).start().await;
    let mut greens = 0;
    for _ in 0..60 {
        let first = get(envoy.address(), "/").await.expect("an answer");
        let issued = cookie(&first).expect("a cookie");
        let (pair, attributes) = issued.split_once("; ").expect("attributes");
        assert_eq!(attributes, "Path=/; Max-Age=86400; HttpOnly; SameSite=Lax");
        assert_eq!(pair.len(), "uid=".len() + 32);
        let mut connection = Connection::open(envoy.address()).await.expect("a connection");
        let again = request("GET", "/", &[("cookie", format!("a=b; {pair}").as_bytes())], "");
        let second = connection.send(again).await.expect("an answer");
        assert_eq!((second.upstream(), cookie(&second)), (first.upstream(), None));
        greens += u64::from(first.upstream() == "green");
    }
    assert_share(greens, 60, 0.5);
    // HTTP/2 may send each cookie in a header of its own.
    let mut connection = Connection::open_http2(envoy.address()).await.expect("a connection");
    for user in 0..20 {
        let uid = format!("uid=user-{user}");
        let apart: [(&str, &[u8]); 2] = [("cookie", b"a=b"), ("cookie", uid.as_bytes())];
        let apart = connection.send(request("GET", "/", &apart, "")).await.expect("an answer");
        let alone =
            connection.send(request("GET", "/", &[("cookie", uid.as_bytes())], "")).await.expect("an answer");
        assert_eq!((apart.upstream(), cookie(&apart)), (alone.upstream(), None));
    }
    // A forged or oversized value is only another key: it is answered, and gets no cookie.
    for forged in [&b"uid=forged"[..], &[b"uid=".as_slice(), &[b'x'; 20_000]].concat(), b"uid=\xff\xfe"] {
        let mut connection = Connection::open(envoy.address()).await.expect("a connection");
        let answer =
            connection.send(request("GET", "/", &[("cookie", forged)], "")).await.expect("an answer");
        assert_eq!((answer.status.as_u16(), cookie(&answer)), (200, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_cookie_is_secure() {
    let (blue, green) = blue_and_green().await;
    let config = Config::rollout("session_affinity: {cookie: {name: uid, ttl: 1h}}");
    let envoy = between(&blue, &green, config).tls().start().await;
    let answer = https_get(envoy.address(), "/").await;
    assert!(answer.starts_with("200 ") && answer.contains("; HttpOnly; SameSite=Lax; Secure"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_parameter_or_the_address_identifies_as_well() {
    let (blue, green) = blue_and_green().await;
    let by_query = Config::rollout("weights: {green: 50}, session_affinity: {query: user}");
    let envoy = between(&blue, &green, by_query).start().await;
    let load = Load::to(envoy.address()).each(|number| {
        let user = number % 100;
        // The same user, written in two ways.
        let path =
            if number % 2 == 0 { format!("/?a=1&user=u%2{user}") } else { format!("/p?user=u%2{user}&b") };
        request("GET", &path, &[], "")
    });
    let tally = load.send(800).await;
    tally.assert_all_ok();
    for (number, upstream) in &tally.answers {
        assert_eq!(*upstream, tally.answers[&(number % 100)], "user {}", number % 100);
    }
    assert!(tally.from("green") > 0 && tally.from("blue") > 0);

    // Every connection has another port, and they all are one user.
    let by_address = Config::rollout("weights: {green: 50}, session_affinity: {source_ip: true}");
    let envoy = between(&blue, &green, by_address).workers(4).start().await;
    let tally = Load::to(envoy.address()).connections(20).send(200).await;
    tally.assert_all_ok();
    assert_eq!(tally.by_upstream.len(), 1, "{:?}", tally.by_upstream);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_requests_go_where_when_missing_says() {
    let (blue, green) = blue_and_green().await;
    let to_stable = Config::rollout("weights: {green: 50}, session_affinity: {header: x-user-id}");
    let envoy = between(&blue, &green, to_stable).start().await;
    let tally = Load::to(envoy.address()).send(300).await;
    assert_eq!(tally.from("blue"), 300);
    let random =
        Config::rollout("weights: {green: 50}, session_affinity: {header: x-user-id, when_missing: random}");
    let envoy = between(&blue, &green, random).start().await;
    assert_share(Load::to(envoy.address()).send(2_000).await.from("green"), 2_000, 0.5);
}
