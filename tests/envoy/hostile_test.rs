//! Bytes a client may send: the filter changes nothing about what plain Envoy does with them, and lives on.

use crate::harness::*;
use hyper::header::HeaderMap;

/// A request and what is hostile about it.
struct Case {
    name: String,
    bytes: Vec<u8>,
}

/// Unexpected values.
fn values() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("bytes from 0x80 on", (0x80..=0xff).collect()),
        ("broken UTF-8", b"\xf0\x28\x8c\x28\xc3".to_vec()),
        ("overlong UTF-8", b"\xc0\xae\xc0\xae".to_vec()),
        ("nothing", Vec::new()),
        ("60 KB", vec![b'x'; 60_000]),
        ("a NUL", b"a\0b".to_vec()),
        ("a control character", b"a\x01\x1f\x7fb".to_vec()),
        ("a tab and spaces", b" \t ".to_vec()),
        ("half an escape", b"%4".to_vec()),
        ("escapes of nothing good", b"%00%ff%80%zz%".to_vec()),
        ("separators", b";;=;,,\"';=&?#".to_vec()),
        ("quotes that do not end", b"\"\"\"a".to_vec()),
        ("a list", b"always, never".to_vec()),
        ("another header", b"a\rx-changeover-cluster: green".to_vec()),
    ]
}

/// Where the filter reads something, and a request with a value there.
type Place = (&'static str, fn(&[u8]) -> Vec<u8>);

fn places() -> Vec<Place> {
    fn head(line: &[u8], headers: &[u8]) -> Vec<u8> {
        [line, b" HTTP/1.1\r\nhost: models.example.com\r\nconnection: close\r\n", headers, b"\r\n"].concat()
    }
    fn header(path: &[u8], name: &[u8], value: &[u8], times: usize) -> Vec<u8> {
        let line = [name, b": ", value, b"\r\n"].concat();
        head(&[b"GET ", path].concat(), &line.repeat(times))
    }
    vec![
        ("the affinity header", |v| header(b"/header/", b"x-user-id", v, 1)),
        ("the affinity header, twice", |v| header(b"/header/", b"x-user-id", v, 2)),
        ("all cookies", |v| header(b"/cookie/", b"cookie", v, 1)),
        ("all cookies, twice", |v| header(b"/cookie/", b"cookie", v, 2)),
        ("the cookie's value", |v| header(b"/cookie/", b"cookie", &[b"a=b; uid=", v, b"; c"].concat(), 1)),
        ("a cookie's name", |v| header(b"/cookie/", b"cookie", &[b"uid", v, b"=1"].concat(), 1)),
        ("the query's value", |v| head(&[b"GET /query/?a&user=", v, b"&user"].concat(), b"")),
        ("the query's name", |v| head(&[b"GET /query/?us", v, b"er=1"].concat(), b"")),
        ("the whole query", |v| head(&[b"GET /query/?", v].concat(), b"")),
        ("the path", |v| head(&[b"GET /header/", v].concat(), b"")),
        ("the path's beginning", |v| head(&[b"GET /", v, b"/header/"].concat(), b"")),
        ("the method", |v| head(&[b"GE", v, b" /header/"].concat(), b"")),
        ("the override", |v| header(b"/header/", b"x-changeover", v, 1)),
        ("the override, twice", |v| header(b"/cookie/", b"x-changeover", v, 2)),
        ("a matched header", |v| header(b"/header/", b"x-tenant", v, 1)),
        ("a matched header, twice", |v| header(b"/header/", b"x-tenant", v, 2)),
        ("the internal header", |v| header(b"/header/", b"x-changeover-cluster", v, 1)),
        ("the mirror's header", |v| header(b"/header/", b"x-changeover-mirror", v, 1)),
        ("the client's address", |v| header(b"/address/", b"x-forwarded-for", v, 1)),
        ("the upgrade", |v| header(b"/header/", b"upgrade", v, 1)),
        ("the content type", |v| header(b"/header/", b"content-type", v, 1)),
        ("the host", |v| [b"GET /header/ HTTP/1.1\r\nconnection: close\r\nhost: ", v, b"\r\n\r\n"].concat()),
    ]
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (place, make) in places() {
        for (value, bytes) in values() {
            cases.push(Case { name: format!("{place}: {value}"), bytes: make(&bytes) });
        }
    }
    let head = |line: &str, headers: &str| {
        format!("{line} HTTP/1.1\r\nhost: models.example.com\r\nconnection: close\r\n{headers}\r\n")
            .into_bytes()
    };
    let cookies = format!("cookie: {}\r\n", "a=b; ".repeat(500));
    let mut more = |name: &str, bytes: Vec<u8>| cases.push(Case { name: name.into(), bytes });
    more("no host", b"GET /header/ HTTP/1.1\r\nconnection: close\r\n\r\n".to_vec());
    more("an asterisk", head("OPTIONS *", ""));
    more("a whole URL", head("GET http://other.example.com/header/", ""));
    more("an unknown method", head("BREW /header/", ""));
    more("absurd content-length", head("POST /header/", "content-length: 99999999999999999999\r\n"));
    more("two content-lengths", head("POST /header/", "content-length: 1\r\ncontent-length: 2\r\n"));
    more("500 cookies in one header", head("GET /cookie/", &cookies));
    more("100 cookie headers", head("GET /cookie/", &"cookie: uid=1\r\n".repeat(90)));
    more("HTTP/1.0", b"GET /header/ HTTP/1.0\r\n\r\n".to_vec());
    cases
}

/// What came of a request: the status line, and what the upstream saw but for what differs anyway.
type Seen = (String, Option<(String, String, HeaderMap, usize)>);

async fn through(envoy: &Envoy, upstream: &Upstream, bytes: &[u8]) -> Seen {
    let answer = raw_exchange(envoy.address(), bytes).await;
    let status = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
    let seen = upstream.take_seen().pop().map(|mut seen| {
        seen.headers.remove("x-request-id");
        (seen.method, seen.target, seen.headers, seen.body.len())
    });
    (status, seen)
}

/// One rollout for each way to know a user, all of them reading the override and a matched header as well.
fn reads_everything() -> Config {
    let rollout = |name: &str, affinity: &str| {
        let fields = format!(
            "match: {{prefix: /{name}/, headers: [{{name: x-tenant, present: false}}]}}, session_affinity: {affinity}, \
             override: {{header: x-changeover}}, weights: {{green: 0}}, mirror: {{to: green, percent: 0}}"
        );
        Config::blue_green(name, &fields)
    };
    let rollouts = [
        rollout("header", "{header: x-user-id}"),
        rollout("cookie", "{cookie: {name: uid, ttl: 1h}}"),
        rollout("query", "{query: user}"),
        rollout("address", "{source_ip: true}"),
        Config::blue_green("host", "match: {authority: [other.example.com, \"[::1]\"]}"),
    ];
    Config::Struct(format!("{{rollouts: [{}]}}", rollouts.join(", ")))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_happens_as_without_the_filter() {
    let (blue, green) = blue_and_green().await;
    let plain_upstream = Upstream::start("blue").await;
    // In both: room for 60 KB of headers, and no waiting before a connection is closed.
    let widen = |hcm: &mut serde_json::Value| {
        hcm["max_request_headers_kb"] = 256.into();
        hcm["delayed_close_timeout"] = "0s".into();
    };
    let plain = Setup::plain().clusters(&[("blue", plain_upstream.address())]).edit_hcm(widen).start().await;
    let envoy = between(&blue, &green, reads_everything()).edit_hcm(widen).start().await;
    let vms = envoy.vms().await;
    let cases = cases();
    assert!(cases.len() >= 300, "{} cases", cases.len());
    let mut different = Vec::new();
    for case in &cases {
        let expected = through(&plain, &plain_upstream, &case.bytes).await;
        let found = through(&envoy, &blue, &case.bytes).await;
        if found != expected {
            different.push(format!("{}: {found:?} instead of {expected:?}", case.name));
        }
    }
    assert!(different.is_empty(), "{} of {}:\n{}", different.len(), cases.len(), different.join("\n"));
    assert_eq!(green.count(), 0);

    // Nothing of it stays: the first rounds find the memory's size, later ones need no more.
    let again = async |rounds: u32| {
        for _ in 0..rounds {
            for case in &cases {
                raw_exchange(envoy.address(), &case.bytes).await;
            }
        }
        envoy.resident_kilobytes()
    };
    let before = again(2).await;
    let after = again(4).await;
    assert!(after < before + 4_096, "{before} KB, then {after} KB");
    assert_eq!(envoy.vms().await, vms, "no VM was lost");

    // The filter still works: it has not failed open on the way.
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let always: [(&str, &[u8]); 1] = [("x-changeover", b"always")];
    let answer = connection.send(request("GET", "/header/", &always, "")).await.expect("an answer");
    assert_eq!(answer.upstream(), "green");
}
