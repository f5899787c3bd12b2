use super::*;

#[test]
fn receivers_of_notifications_say_what_is_wrong_with_them() {
    let document = |notify: Value| json!({"rollouts": [], "notify": notify});
    let checked = |notify: Value| check(&document(notify));
    let config = checked(json!([{"name": "hooks", "cluster": "hooks", "path": "/in?key=1"}]));
    let config = config.map_err(|problems| problems.lines().collect::<Vec<_>>()).unwrap();
    let [receiver] = config.notify.as_slice() else { panic!("{:?}", config.notify) };
    assert_eq!((receiver.host(), receiver.timeout.as_millis(), &receiver.events), ("hooks", 5_000, &None));
    assert_ne!(hash(&config), hash(&check(&document(json!([]))).map_err(|_| ()).unwrap()));
    let wrong = |notify: Value| problems_in(&document(notify));
    let mut problems = wrong(json!([
        {"name": "a", "cluster": "c", "path": "/", "events": ["rollback", "explode"], "timeout": "10ms"},
        {"name": "a", "path": "in", "authority": "a b", "events": []},
        {"name": "Hooks", "cluster": "c", "path": "/a b", "url": "/"},
    ]));
    let expected = [
        "notify[0].events[1]: found \"explode\", expected one of: start, step, succeed, rollback, abort, pause, resume, retry, alarm, clear, flip, change",
        "notify[0].timeout: 10ms is not from 100ms to 60s",
        "notify[1].authority: \"a b\" is not a host name; expected one such as \"models.example.com\"",
        "notify[1].cluster: missing or empty",
        "notify[1].events: empty; expected at least one event, or the field left out",
        "notify[1].name: \"a\" is already the name of notify[0]; expected a unique name",
        "notify[1].path: \"in\" is not the path of a request; expected one such as \"/hooks/changeover\"",
        "notify[2].name: \"Hooks\" is not a valid name; expected lower-case letters, digits and -",
        "notify[2].path: \"/a b\" is not the path of a request; expected one such as \"/hooks/changeover\"",
        "notify[2].url: unknown field; known here: name, cluster, path, authority, events, timeout",
    ];
    problems.sort();
    assert_eq!(problems, expected);
    assert_eq!(wrong(json!({})), ["notify: expected a list of receivers"]);
    let many: Vec<Value> =
        (0..17).map(|nth| json!({"name": format!("r{nth}"), "cluster": "c", "path": "/"})).collect();
    assert_eq!(wrong(json!(many)), ["notify: 17 entries are over the limit of 16"]);
    let beside = json!({"control": {}, "notify": [{"name": "a", "cluster": "c", "path": "/"}]});
    assert_eq!(
        problems_in(&beside),
        ["notify: beside control, where it does nothing; expected it beside rollouts"]
    );
}
