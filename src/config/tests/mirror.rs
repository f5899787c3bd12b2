use super::*;

#[test]
fn mistakes_in_mirror_are_reported_with_place_and_remedy() {
    assert_rows(
        &good(),
        &[
            (
                "/mirror",
                json!({"to": "green", "max_body": 1024}),
                "mirror.max_body: found the string \"1024\", expected a size such as 512B, 256KiB or 1MiB",
            ),
            (
                "/mirror",
                json!({"to": "green", "max_body": "65MiB"}),
                "mirror.max_body: 65MiB is over the limit of 64MiB",
            ),
            (
                "/mirror",
                json!({"to": "green", "max_in_flight": 5}),
                "mirror.max_in_flight: needs `mode: compare`; in fire_and_forget it is Envoy that copies",
            ),
            (
                "/mirror",
                json!({"to": "green", "compare": {}}),
                "mirror.compare: needs `mode: compare`; in fire_and_forget it is Envoy that copies",
            ),
            (
                "/mirror",
                json!({"to": "green", "mode": "compare", "max_in_flight": 0}),
                "mirror.max_in_flight: expected 1 to 1024",
            ),
            (
                "/mirror",
                json!({"to": "green", "mode": "compare", "max_bytes": "100KiB"}),
                "mirror.max_body: 256KiB is over max_bytes (100KiB)",
            ),
            (
                "/mirror",
                json!({"to": "green", "mode": "compare", "max_bytes": "1024MiB"}),
                "mirror.max_bytes: 1024MiB is out of range; expected 1B to 256MiB",
            ),
            (
                "/mirror",
                json!({"to": "green", "mode": "compare", "timeout": "1ms"}),
                "mirror.timeout: expected a duration from 10ms to 5m",
            ),
            (
                "/mirror",
                json!({"to": "green", "mode": "compare", "set_headers": {"Host": "a"}}),
                "mirror.set_headers.Host: Envoy's own to set; expected another header",
            ),
            (
                "/mirror",
                json!({"to": "green", "mode": "compare", "remove_headers": ["x-a", "Content-Length"]}),
                "mirror.remove_headers[1]: Envoy's own to set; expected another header",
            ),
            (
                "/mirror",
                json!({"to": "green", "mode": "compare", "set_headers": {"x-a": "1"}, "remove_headers": ["X-A"]}),
                "mirror.remove_headers[0]: \"X-A\" is in set_headers; expected it in one of the two",
            ),
            (
                "/mirror",
                json!({"to": "green", "remove_headers": ["x-a"]}),
                "mirror.remove_headers: needs `mode: compare`; in fire_and_forget it is Envoy that copies",
            ),
            (
                "/mirror",
                json!({"to": "green", "mode": "compare", "compare": {"ignore": ["id"]}}),
                "mirror.compare.ignore[0]: \"id\" is not a JSON pointer; expected it to begin with `/`",
            ),
            (
                "/mirror",
                json!({"to": "green", "mode": "compare", "compare": {"label": "/a/*"}}),
                "mirror.compare.label: \"/a/*\" matches several places; expected one without `*`",
            ),
            (
                "/mirror",
                json!({"to": "green", "mode": "compare", "compare": {"tolerance": {"relative": 2}}}),
                "mirror.compare.tolerance.relative: 2 is out of range; expected 0 to 1",
            ),
        ],
    );
}
