use super::*;
use crate::routing::fixture::Sample;
use proptest::prelude::*;
use serde_json::{Value, json};

fn affinity(settings: Value) -> Affinity {
    Affinity::new(&serde_json::from_value(settings).expect("settings")).expect("one source")
}

fn key(settings: Value, request: &Sample) -> Option<String> {
    let facts = Facts::new(request);
    let key = affinity(settings).key(&facts)?;
    Some(String::from_utf8_lossy(&key).into_owned())
}

#[test]
fn any_value_of_the_header_is_a_key() {
    let by_header = || json!({"header": "X-User-Id"});
    let with = |value: &str| Sample::new("GET", "h", "/").with(&[("x-user-id", value)]);
    assert_eq!(key(by_header(), &with("u1")).as_deref(), Some("u1"));
    assert_eq!(key(by_header(), &with("")), None, "an empty key is none");
    assert_eq!(key(by_header(), &Sample::new("GET", "h", "/")), None);
    let large = "x".repeat(60_000);
    assert_eq!(key(by_header(), &with(&large)), Some(large));
}

#[test]
fn cookies_are_found_among_others() {
    let rows = [
        ("uid=u1", Some("u1")),
        ("a=b; uid=u1; c=d", Some("u1")),
        ("a=b;uid=u1", Some("u1")),
        ("uid=\"u1\"", Some("u1")),
        ("uid=u1; uid=u2", Some("u1")),
        ("uid=; uid=u2", Some("u2")),
        ("uid=\"\"; uid=u2", Some("u2")),
        ("uid==u=1", Some("=u=1")),
        ("xuid=u1", None),
        ("uid", None),
        ("uid=", None),
        ("uid =u1", None),
        (";;; ;=;uid", None),
        ("", None),
    ];
    for (cookies, expected) in rows {
        let request = Sample::new("GET", "h", "/").with(&[("cookie", cookies)]);
        assert_eq!(key(json!({"cookie": {"name": "uid"}}), &request).as_deref(), expected, "{cookies}");
    }
}

#[test]
fn a_cookie_is_found_in_any_line() {
    let of = |lines: &[&str]| {
        let lines: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
        let request = Sample::new("GET", "h", "/").with(&lines);
        (key(json!({"cookie": {"name": "uid"}}), &request), request.reads())
    };
    let found = |lines: &[&str]| of(lines).0;
    assert_eq!(found(&["theme=dark", "uid=u1"]).as_deref(), Some("u1"));
    assert_eq!(found(&["theme=dark", "a=b", "uid=; uid=u1", "uid=u2"]).as_deref(), Some("u1"));
    assert_eq!(found(&["uid=", "uid=u1"]).as_deref(), Some("u1"));
    assert_eq!(found(&["", "uid=u1"]).as_deref(), Some("u1"));
    assert_eq!(found(&["uid=u1", "uid=u2"]).as_deref(), Some("u1"), "the first");
    assert_eq!(found(&["theme=dark", "uid="]), None);
    // All headers are dear: they are read only for a client whose first line lacks the cookie.
    assert_eq!(of(&["uid=u1", "a=b"]).1, ["cookie"]);
    assert_eq!(of(&[]).1, ["cookie"]);
    assert_eq!(of(&["a=b"]).1, ["cookie", "all of cookie"]);
}

#[test]
fn an_answer_is_shared_where_it_says_so() {
    let shared =
        |lines: &[&str]| is_shared(&lines.iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>());
    let yes: [&[&str]; 8] = [
        &["public"],
        &["max-age=60, Public"],
        &["s-maxage=60"],
        &["S-MaxAge = 60"],
        &["max-age=31536000,immutable"],
        &["no-cache", "public"],
        &["public, private=\"x-user\""],
        &["immutable,,"],
    ];
    for lines in yes {
        assert!(shared(lines), "{lines:?}");
    }
    let no: [&[&str]; 9] = [
        &[],
        &[""],
        &["max-age=60"],
        &["no-cache"],
        &["private, max-age=60, immutable"],
        &["immutable", "private"],
        &["public, No-Store"],
        &["publicity, x-public"],
        &["x=\"public\""],
    ];
    for lines in no {
        assert!(!shared(lines), "{lines:?}");
    }
}

#[test]
fn query_parameters_are_decoded() {
    let rows = [
        ("/?user=u1", Some("u1")),
        ("/p?a=b&user=u%201&c", Some("u 1")),
        ("/?user=u+1", Some("u 1")),
        ("/?us%65r=u1", Some("u1")),
        ("/?user=u1&user=u2", Some("u1")),
        ("/?user=100%", Some("100%")),
        ("/?user=%zz%4", Some("%zz%4")),
        ("/?user=a=b?c", Some("a=b?c")),
        ("/?user=u1#user=u2", Some("u1")),
        ("/?xuser=u1", None),
        ("/?user", None),
        ("/?user=", None),
        ("/user=u1", None),
        ("/", None),
    ];
    for (path, expected) in rows {
        assert_eq!(
            key(json!({"query": "user"}), &Sample::new("GET", "h", path)).as_deref(),
            expected,
            "{path}"
        );
    }
}

#[test]
fn the_source_address_comes_without_its_port() {
    let rows = [
        ("10.0.0.1:4711", "10.0.0.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "10.0.0.1"),
        ("/run/envoy.sock", "/run/envoy.sock"),
    ];
    for (address, expected) in rows {
        let request = Sample::new("GET", "h", "/").from(address);
        assert_eq!(key(json!({"source_ip": true}), &request).as_deref(), Some(expected));
    }
}

#[test]
fn only_a_cookie_with_a_ttl_is_issued() {
    assert_eq!(affinity(json!({"cookie": {"name": "uid"}})).issued(), None);
    assert_eq!(affinity(json!({"header": "x"})).issued(), None);
    let issued = |ttl: &str, secure| {
        let affinity = affinity(json!({"cookie": {"name": "uid", "ttl": ttl}}));
        affinity.issued().map(|cookie| cookie.set("abc", secure))
    };
    assert_eq!(
        issued("24h", true).unwrap(),
        "uid=abc; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax; Secure"
    );
    assert_eq!(issued("0s", false).unwrap(), "uid=abc; Path=/; HttpOnly; SameSite=Lax");
}

#[test]
fn a_cookie_has_the_attributes_that_are_configured() {
    let issued = |fields: Value| {
        let mut cookie = json!({"name": "uid", "ttl": "1h"});
        cookie.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
        affinity(json!({"cookie": cookie})).issued().map(|cookie| cookie.set("abc", false)).unwrap()
    };
    let rows = [
        (json!({"same_site": "strict"}), "uid=abc; Path=/; Max-Age=3600; HttpOnly; SameSite=Strict"),
        (json!({"same_site": "none"}), "uid=abc; Path=/; Max-Age=3600; HttpOnly; SameSite=None; Secure"),
        (
            json!({"domain": "example.com", "path": "/v2"}),
            "uid=abc; Path=/v2; Domain=example.com; Max-Age=3600; HttpOnly; SameSite=Lax",
        ),
        (
            json!({"partitioned": true}),
            "uid=abc; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Partitioned; Secure",
        ),
        (
            json!({"name": "__Host-uid"}),
            "__Host-uid=abc; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure",
        ),
        (
            json!({"name": "__Secure-uid"}),
            "__Secure-uid=abc; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure",
        ),
    ];
    for (fields, expected) in rows {
        assert_eq!(issued(fields), expected);
    }
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut request = Sample::default();
        request.set("cookie", &bytes);
        request.set("cookie", &bytes);
        request.set(":path", &bytes);
        let _ = is_shared(std::slice::from_ref(&bytes));
        let _ = affinity(json!({"cookie": {"name": "uid"}})).key(&Facts::new(&request));
        let _ = affinity(json!({"query": "u"})).key(&Facts::new(&request));
        let _ = host(&bytes);
    }
}
