use super::*;

#[test]
fn the_control_listener_has_a_configuration_of_its_own() {
    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for control in [
        json!({}),
        json!({"tokens": [{"name": "deploy", "sha256": DIGEST, "rights": "write"}]}),
        json!({"token_sha256": DIGEST, "hosts": ["control.example.com", "10.0.0.1:9911", "[2001:db8::1]"]}),
    ] {
        assert!(check(&json!({"control": control})).is_ok());
        assert!(check(&json!({"control": control, "rollouts": []})).is_ok());
    }
    let rows = [
        (
            json!(null),
            "control: found nothing (null), expected a map with the fields token_sha256, tokens, hosts",
        ),
        (json!({"token": "x"}), "control.token: unknown field; known here: token_sha256, tokens, hosts"),
        (
            json!({"token_sha256": "hunter2"}),
            "control.token_sha256: not a SHA-256; expected 64 hexadecimal digits, as sha256sum prints them",
        ),
        (
            json!({"token_sha256": 1.5}),
            "control.token_sha256: found the number 1.5, expected a string: put it in quotes",
        ),
        (
            json!({"hosts": ["*"]}),
            "control.hosts[0]: \"*\" is not a host name; expected one such as \"models.example.com\"",
        ),
        (
            json!({"tokens": [{"name": "A b", "sha256": DIGEST, "rights": "read"}]}),
            "control.tokens[0].name: \"A b\" is not a valid name; expected lower-case letters, digits and -",
        ),
        (
            json!({"tokens": [{"name": "a", "rights": "read"}]}),
            "control.tokens[0].sha256: missing; expected the token's SHA-256",
        ),
        (
            json!({"tokens": [{"name": "a", "sha256": "hunter2", "rights": "read"}]}),
            "control.tokens[0].sha256: not a SHA-256; expected 64 hexadecimal digits, as sha256sum prints them",
        ),
        (
            json!({"tokens": [{"name": "a", "sha256": DIGEST}]}),
            "control.tokens[0].rights: missing; expected read or write",
        ),
        (
            json!({"token_sha256": DIGEST, "tokens": [{"name": "a", "sha256": DIGEST, "rights": "write"}]}),
            "control.tokens[0].sha256: duplicate digest: each token needs its own",
        ),
        (
            json!({"tokens": [
                {"name": "a", "sha256": DIGEST, "rights": "write"},
                {"name": "a", "sha256": DIGEST.replace('e', "f"), "rights": "read"},
            ]}),
            "control.tokens[1].name: \"a\" is already the name of tokens[0]; expected a unique name",
        ),
        (json!({"hosts": vec!["a"; 17]}), "control.hosts: 17 entries are over the limit of 16"),
    ];
    for (control, message) in rows {
        assert_eq!(problems_in(&json!({"control": control})), [message]);
    }
    assert_eq!(
        problems_in(&json!({"control": {}, "rollouts": [good()]})),
        ["control: beside rollouts; expected it alone, in the filter of a listener of its own"]
    );
}
