use super::*;

#[test]
fn the_hash_is_that_of_the_text_that_serde_json_writes() {
    let rollout = |name: &str| json!({"name": name, "stable": "blue", "versions": {"blue": {"cluster": "b"}}, "match": {"path": format!("/{name}")}});
    for document in [
        json!({"rollouts": []}),
        json!({"rollouts": [rollout("a")]}),
        json!({"rollouts": [rollout("a"), rollout("b"), rollout("c")]}),
        json!({"control": {}}),
    ] {
        let config = check(&document).expect("a valid configuration");
        let text = serde_json::to_vec(&config).expect("it serializes");
        assert_eq!(hash(&config), SipHasher24::new().hash(&text) & ((1 << 48) - 1), "{document}");
    }
}

#[test]
fn the_hash_depends_on_the_meaning_not_on_the_form() {
    let hash_of = |document: &Value| hash(&check(document).expect("a valid configuration"));
    let one = json!({"rollouts": [good()]});
    let mut same = one.clone();
    same["rollouts"][0]["weights"] = json!({"red": 1.25, "green": "5.0"});
    same["rollouts"][0]["candidate"] = json!("green");
    assert_eq!(hash_of(&one), hash_of(&same));
    let mut other = one.clone();
    other["rollouts"][0]["weights"]["green"] = json!(6);
    assert_ne!(hash_of(&one), hash_of(&other));
    assert!(hash_of(&one) < 1 << 48);
    let bytes = protobuf::tests::encode_struct(&one);
    assert_eq!(hash(&load(&bytes).expect("a valid configuration")), hash_of(&one));
}
