//! What is said of a fleet, beside an API that answers as one.

use std::cell::RefCell;
use std::collections::VecDeque;

use changeover::control::response::Response;
use changeover::control::view::Fleet;
use serde_json::{Value, json};

use super::super::client::Client;
use super::super::fleet::{await_followers, of, one_of_each, sentences};
use super::server::listen;

fn fleet(fields: &Value) -> Value {
    let member = |name: &str, revision: u64| {
        json!({"member": name, "counted": true, "revision": revision, "clock_ahead_ms": 0,
               "configuration": "", "version": "0.1.0"})
    };
    let mut fleet = json!({
        "name": "shop", "member": "aa", "leader": "aa", "store_age_ms": 40, "alone": false, "problems": [],
        "unstored": [], "revision": 7, "members": [member("aa", 9), member("bb", 7), member("cc", 6)],
    });
    for (field, value) in fields.as_object().unwrap() {
        fleet[field] = value.clone();
    }
    fleet
}

fn said(fields: &Value) -> Vec<String> {
    sentences(&serde_json::from_value::<Fleet>(fleet(fields)).unwrap())
}

/// A client of an Envoy whose fleet is each of these in turn, and then the last one.
fn client(fleets: Vec<Value>) -> Client {
    let left = RefCell::new(VecDeque::from(fleets));
    let endpoint = listen(move |request| {
        assert_eq!(request.path, b"/v1/fleet");
        let mut left = left.borrow_mut();
        let body = left[0].to_string();
        if left.len() > 1 {
            left.pop_front();
        }
        Response { status: 200, headers: Vec::new(), body }
    });
    Client::new(&endpoint, None).unwrap()
}

#[test]
fn members_that_have_not_reported_that_they_follow_are_named() {
    assert_eq!(said(&json!({})), ["shop: 2 of 3 Envoys follow; not reported yet by cc"]);
    assert_eq!(said(&json!({"revision": 6})), ["shop: 3 of 3 Envoys follow"]);
    let problem = "member dd is not counted";
    assert_eq!(said(&json!({"revision": 6, "problems": [problem]}))[1], problem);
}

#[test]
fn members_that_are_silent_are_named_although_they_are_not_waited_for() {
    let member = |name: &str, silent: bool| {
        json!({"member": name, "counted": !silent, "silent": silent, "revision": 7, "clock_ahead_ms": 0,
               "configuration": "", "version": "0.1.0"})
    };
    let members = [member("aa", false), member("bb", true), member("cc", true)];
    assert_eq!(
        said(&json!({"members": members})),
        ["shop: 1 of 1 Envoy follows; not heard of lately: bb, cc, which ended or act on their own"]
    );
    let many: Vec<Value> = (0..9).map(|number| member(&format!("m{number}"), number > 0)).collect();
    let named = "m1, m2, m3, m4, m5, …, which";
    assert!(said(&json!({"members": many}))[0].contains(named), "{:?}", said(&json!({"members": many})));
}

#[test]
fn an_envoy_that_acts_on_its_own_says_since_when() {
    let alone = json!({"alone": true, "store_age_ms": 12_345});
    assert_eq!(said(&alone), ["shop: the store has not answered for 12 s: this Envoy acts on its own"]);
    let never = json!({"alone": true, "store_age_ms": null});
    assert_eq!(said(&never), ["shop: the store has not answered yet: this Envoy acts on its own"]);
}

#[test]
fn a_command_is_waited_for_until_all_members_follow_it() {
    let unstored = fleet(&json!({"unstored": ["digits"], "revision": 3}));
    let stored = fleet(&json!({}));
    let followed = fleet(&json!({"revision": 99, "members": [
        {"member": "aa", "counted": true, "revision": 9, "clock_ahead_ms": 0, "configuration": "", "version": ""},
        {"member": "bb", "counted": false, "revision": 2, "clock_ahead_ms": 0, "configuration": "", "version": ""},
    ]}));
    let after = |fleets| await_followers(&client(fleets), "digits").unwrap();
    // Stored at revision 7; what the records are at later does not matter.
    assert_eq!(after(vec![unstored.clone(), stored.clone(), followed]), "shop: 1 of 1 Envoy follows");
    assert_eq!(after(vec![stored]), "shop: 2 of 3 Envoys follow; not reported yet by cc");
    assert_eq!(after(vec![unstored]), "shop: 0 of 3 Envoys follow; not reported yet by aa, bb, cc");
    let unheard = json!({"member": "dd", "revision": 6});
    assert_eq!(after(vec![fleet(&unheard)]), "shop: 3 of 3 Envoys follow", "after a while");
    assert_eq!(after(vec![fleet(&json!({"members": []}))]), "shop: no Envoy leads yet");
    let alone = fleet(&json!({"alone": true}));
    assert!(after(vec![alone]).ends_with("this Envoy acts on its own"));
}

#[test]
fn without_a_store_nothing_is_said() {
    let endpoint = listen(|_| Response { status: 404, headers: Vec::new(), body: "{}".to_owned() });
    assert!(of(&Client::new(&endpoint, None).unwrap()).is_none());
}

#[test]
fn of_each_fleet_one_envoy_gets_a_command_and_each_that_acts_on_its_own() {
    let in_fleet = |name: &str| client(vec![fleet(&json!({"name": name}))]);
    let cut_off = || client(vec![fleet(&json!({"name": "a", "alone": true}))]);
    let alone = || {
        Client::new(&listen(|_| Response { status: 404, headers: Vec::new(), body: "{}".to_owned() }), None)
    };
    let away = Client::new("http://127.0.0.1:1", None).unwrap();
    let clients = vec![
        in_fleet("a"),
        in_fleet("b"),
        in_fleet("a"),
        alone().unwrap(),
        alone().unwrap(),
        away,
        cut_off(),
        cut_off(),
    ];
    let asked: Vec<String> = clients.iter().map(|client| client.endpoint().to_owned()).collect();
    let left: Vec<String> = one_of_each(clients).iter().map(|client| client.endpoint().to_owned()).collect();
    assert_eq!(left, [0, 1, 3, 4, 5, 6, 7].map(|nth: usize| asked[nth].clone()));
}
