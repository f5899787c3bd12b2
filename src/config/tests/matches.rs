use super::*;

#[test]
fn mistakes_in_match_are_reported_with_place_and_remedy() {
    assert_rows(
        &good(),
        &[
            ("/match/prefix", json!("v2"), "match.prefix: \"v2\" does not start with \"/\""),
            (
                "/match/prefix",
                json!("/a?b"),
                "match.prefix: \"/a?b\" has a query or fragment; the path is compared without them",
            ),
            (
                "/match/path",
                json!("/a"),
                "match.path: expected at most one of prefix, path_separated_prefix, path",
            ),
            (
                "/match/path_separated_prefix",
                json!("/a"),
                "match.path_separated_prefix: expected at most one of prefix, path_separated_prefix, path",
            ),
            (
                "/match",
                json!({"path_separated_prefix": "/a/"}),
                "match.path_separated_prefix: \"/a/\" ends with \"/\"; omit it, the separator is implied",
            ),
            (
                "/match",
                json!({"query": [{"name": "q"}]}),
                "match.query[0]: expected exactly one of exact, prefix, present",
            ),
            ("/match", json!({"query": [{"exact": "q"}]}), "match.query[0].name: missing or empty"),
            (
                "/match/authority/0",
                json!("*.example.com"),
                "match.authority[0]: \"*.example.com\" is not a host name; expected one such as \"models.example.com\"",
            ),
            (
                "/match/methods/0",
                json!("post"),
                "match.methods[0]: \"post\" is not a method; expected one in capitals, such as \"POST\"",
            ),
            (
                "/match/headers/0",
                json!({"name": "x", "exact": "a", "prefix": "b"}),
                "match.headers[0]: expected exactly one of exact, prefix, present",
            ),
            (
                "/match/headers/0",
                json!({"name": ":path", "exact": "a"}),
                "match.headers[0].name: a pseudo-header; expected a header (match has authority, path and methods)",
            ),
            (
                "/match/headers/0",
                json!({"name": "Host", "exact": "a"}),
                "match.headers[0].name: the request's host, which Envoy keeps as :authority; expected match.authority",
            ),
            (
                "/match/headers/0",
                json!({"name": "a b", "exact": "a"}),
                "match.headers[0].name: \"a b\" is not a valid name of a header",
            ),
            (
                "/match/headers",
                Value::from(vec![json!({"name": "x", "present": true}); 17]),
                "match.headers: 17 entries are over the limit of 16",
            ),
        ],
    );
}
