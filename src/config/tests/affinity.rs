use super::*;

#[test]
fn mistakes_in_session_affinity_and_override_are_reported_with_place_and_remedy() {
    assert_rows(
        &good(),
        &[
            ("/override", json!({}), "override: empty; expected at least one of header, query, cookie"),
            (
                "/override",
                json!({"cookie": "a b"}),
                "override.cookie: \"a b\" is not a valid name of a cookie",
            ),
            (
                "/session_affinity",
                json!({}),
                "session_affinity: expected exactly one of header, cookie, query, source_ip",
            ),
            (
                "/session_affinity/header",
                json!("x-user"),
                "session_affinity: expected exactly one of header, cookie, query, source_ip",
            ),
            (
                "/session_affinity",
                json!({"source_ip": false}),
                "session_affinity.source_ip: found false, expected true (or leave the field out)",
            ),
            (
                "/session_affinity",
                json!({"header": "X-Changeover-Cluster"}),
                "session_affinity.header: a header the filter uses itself; expected another",
            ),
            (
                "/override/header",
                json!("x-changeover-version"),
                "override.header: a header the filter uses itself; expected another",
            ),
            (
                "/session_affinity/cookie",
                json!({"ttl": "1h"}),
                "session_affinity.cookie.name: missing or empty; expected the name of a cookie",
            ),
            (
                "/session_affinity/cookie/ttl",
                json!("1 day"),
                "session_affinity.cookie.ttl: found the string \"1 day\", expected a duration such as 500ms, 30s, 10m or 1h30m",
            ),
            (
                "/session_affinity/cookie/ttl",
                json!(30),
                "session_affinity.cookie.ttl: found the string \"30\", expected a duration such as 500ms, 30s, 10m or 1h30m",
            ),
            (
                "/session_affinity/cookie/ttl",
                json!("500ms"),
                "session_affinity.cookie.ttl: expected whole seconds, at most 400 days (9600h): browsers keep none longer",
            ),
            (
                "/session_affinity/when_missing",
                json!("sometimes"),
                "session_affinity.when_missing: found \"sometimes\", expected one of: stable, random",
            ),
            (
                "/session_affinity/cookie",
                json!("uid"),
                "session_affinity.cookie: found the string \"uid\", expected a map with the fields name, ttl, same_site, domain, path, partitioned",
            ),
            (
                "/session_affinity/cookie",
                json!({"name": "uid", "same_site": "none"}),
                "session_affinity.cookie.same_site: without ttl the cookie is only read; expected a ttl beside it",
            ),
            (
                "/session_affinity/cookie",
                json!({"name": "uid", "ttl": "1h", "same_site": "None"}),
                "session_affinity.cookie.same_site: found \"None\", expected one of: lax, strict, none",
            ),
            (
                "/session_affinity/cookie",
                json!({"name": "uid", "ttl": "1h", "domain": "example.com; Secure"}),
                "session_affinity.cookie.domain: \"example.com; Secure\" is not a domain; expected one such as \"example.com\"",
            ),
            (
                "/session_affinity/cookie",
                json!({"name": "uid", "ttl": "1h", "path": "/a;b"}),
                "session_affinity.cookie.path: \"/a;b\" is not a path of a cookie; expected one such as \"/\", without `;`",
            ),
            (
                "/session_affinity/cookie",
                json!({"name": "uid", "ttl": "1h", "path": "/a\r\nx: y"}),
                "session_affinity.cookie.path: \"/a\\u{d}\\u{a}x: y\" holds a control character",
            ),
            (
                "/session_affinity/cookie",
                json!({"name": "__Host-uid", "ttl": "1h", "domain": "example.com"}),
                "session_affinity.cookie.domain: a cookie named __Host-… has none",
            ),
            (
                "/session_affinity/cookie",
                json!({"name": "__host-uid", "ttl": "1h", "path": "/v2"}),
                "session_affinity.cookie.path: a cookie named __Host-… has the path \"/\"",
            ),
            (
                "/override/header",
                json!(""),
                "override.header: missing or empty; expected the name of a header",
            ),
        ],
    );
}
