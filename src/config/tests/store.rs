use super::*;

#[test]
fn a_store_says_what_is_wrong_with_it() {
    let document = |store: Value| json!({"rollouts": [], "store": store});
    let config = check(&document(json!({"etcd": {"cluster": "etcd"}, "fleet": "shop-eu"})));
    let store = config.map_err(|problems| problems.lines().collect::<Vec<_>>()).unwrap().store.unwrap();
    assert_eq!((store.period.as_millis(), store.stale_after), (1_000, None));
    let wrong = json!({"etcd": {}, "fleet": "Shop", "period": "100ms", "stale_after": "1s", "tls": {}});
    let all = problems_in(&document(wrong)).join("\n");
    for part in [
        "store.etcd.cluster: missing",
        "store.fleet: \"Shop\" is not a valid name",
        "store.period: 100ms is not from 1s to 60s",
        "store.stale_after: 1s is too short",
        "store.tls: unknown field",
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }
    let both = json!({"control": {}, "store": {"etcd": {"cluster": "e"}, "fleet": "f"}});
    assert_eq!(
        problems_in(&both),
        ["store: beside control, where it does nothing; expected it beside rollouts"]
    );
}

#[test]
fn more_than_two_hundred_rollouts_beside_a_store_are_refused() {
    let document = |count: usize, store: bool| {
        let rollout = |nth: usize| {
            let mut rollout = good();
            rollout["name"] = json!(format!("r{nth}"));
            rollout
        };
        let mut document = json!({"rollouts": (0..count).map(rollout).collect::<Vec<_>>()});
        if store {
            document["store"] = json!({"etcd": {"cluster": "etcd"}, "fleet": "shop-eu"});
        }
        document
    };
    let limit = "rollouts: 201 rollouts beside `store` are over the limit of 200";
    let problems = |count: usize, store: bool| match check(&document(count, store)) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.lines().collect::<Vec<_>>(),
    };
    assert!(problems(201, true).iter().any(|line| line == limit), "{:?}", problems(201, true).first());
    assert!(problems(200, true).iter().all(|line| !line.contains("over the limit")));
    assert!(problems(201, false).iter().all(|line| !line.contains("over the limit")));
}
