//! What is said of a fleet, beside an API that answers as one.

use std::cell::RefCell;
use std::collections::VecDeque;

use changeover::fleet::store::values::Seen;
use changeover::fleet::store::view::{MOST_NAMES, View};

use super::super::fleet::{await_followers, lost_at_a_restart, of, one_of_each, sentences};
use super::server::listen;
use super::*;

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
fn an_abort_that_the_store_does_not_have_is_lost_with_its_envoy() {
    let lost = |fleets: &[Value]| {
        let fleets = fleets.iter().map(fleet).collect();
        lost_at_a_restart(&client(fleets), &["others", "digits"])
    };
    let unstored = json!({"unstored": ["digits"]});
    assert_eq!(lost(&[json!({})]), None);
    assert_eq!(lost(&[unstored.clone(), json!({})]), None, "the store has it after a moment");
    assert_eq!(lost(&[json!({"unstored": ["another"]})]), None);
    for fleets in [&[json!({"alone": true})], &[unstored]] {
        assert!(lost(fleets).unwrap().contains("before it answers loses it"), "{fleets:?}");
    }
    let without = listen(|_| Response { status: 404, headers: Vec::new(), body: "{}".to_owned() });
    let without = Client::new(&without, None).unwrap();
    let restarts = lost_at_a_restart(&without, &["digits"]);
    assert_eq!(restarts, Some("a restart of Envoy begins the release again"));
}

#[test]
fn a_command_is_waited_for_until_all_members_follow_it() {
    let unstored = fleet(&json!({"unstored": ["digits"], "revision": 3}));
    let stored = fleet(&json!({}));
    let followed = fleet(&json!({"revision": 99, "members": [
        {"member": "aa", "counted": true, "revision": 9, "clock_ahead_ms": 0, "configuration": "", "version": ""},
        {"member": "bb", "counted": false, "revision": 2, "clock_ahead_ms": 0, "configuration": "", "version": ""},
    ]}));
    let after = |fleets| await_followers(&client(fleets), &["others", "digits"]).unwrap();
    // Stored at revision 7; what the records are at later does not matter.
    assert_eq!(after(vec![unstored.clone(), stored.clone(), followed]), "shop: 1 of 1 Envoy follows");
    assert_eq!(after(vec![stored]), "shop: 2 of 3 Envoys follow; not reported yet by cc");
    assert_eq!(after(vec![unstored]), "shop: 0 of 3 Envoys follow; not reported yet by aa, bb, cc");
    let named: Vec<String> = (0..MOST_NAMES).map(|nth| format!("r{nth}")).collect();
    let too_many = fleet(&json!({"unstored": named}));
    assert_eq!(after(vec![too_many]), "shop: 0 of 3 Envoys follow; not reported yet by aa, bb, cc");
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
    let asked: Vec<String> = clients.iter().map(Client::name).collect();
    let left: Vec<String> = one_of_each(clients).iter().map(Client::name).collect();
    assert_eq!(left, [0, 1, 3, 4, 5, 6, 7].map(|nth: usize| asked[nth].clone()));
}

/// An Envoy with rollouts, in a fleet of this name. `followed`: the revision up to which the last member that is heard of
/// follows, where the others follow up to 117.
fn serve_fleet(name: &str, followed: u64) -> String {
    let mut view = shop(name);
    view.members[1].followed = followed;
    serve_in(Some(view), rollouts(), &Control::default(), &[])
}

#[test]
fn an_abort_of_all_that_moves_waits_for_the_fleet() {
    let endpoint = serve_fleet("shop", 116);
    let abort = || changeover(&endpoint, &["abort", "--all"]).unwrap();
    let silent = "not heard of lately: c31e0be74d6019aa, which ended or act on their own";
    let expected = format!("shop: 1 of 2 Envoys follow; not reported yet by 5f0c6a1be9e2d374; {silent}");
    assert_eq!(abort().remarks, [expected]);
    let again = abort();
    assert_eq!((again.text.as_str(), again.remarks.len()), (NONE_MOVES, 0), "nothing was commanded");
}

#[test]
fn a_command_at_several_endpoints_waits_for_each_fleet_although_one_is_silent() {
    let (one, two) = (serve_fleet("one", 117), serve_fleet("two", 3));
    let alone = open();
    for arguments in [&["pause", "steps"][..], &["abort", "--all"]] {
        let shown = super::many::at(&[&one, super::many::NOWHERE, &two, &alone], arguments);
        let remarks: Vec<&str> =
            shown.remarks.iter().map(|remark| remark.split(';').next().unwrap()).collect();
        let expected =
            [format!("{one}: one: 2 of 2 Envoys follow"), format!("{two}: two: 1 of 2 Envoys follow")];
        assert_eq!((remarks, shown.status), (expected.iter().map(String::as_str).collect(), 1));
    }
    let shown = super::many::at(&[&one, &two], &["retry", "still"]);
    assert_eq!((shown.remarks.len(), shown.status), (0, 1), "both have refused it");
}

#[test]
fn an_envoy_that_ends_while_a_command_is_waited_for_leaves_what_it_said_last() {
    let asked = std::cell::Cell::new(0);
    let endpoint = listen(move |_| {
        asked.set(asked.get() + 1);
        let status = if asked.get() == 1 { 200 } else { 503 };
        Response { status, headers: Vec::new(), body: fleet(&json!({})).to_string() }
    });
    let client = Client::new(&endpoint, None).unwrap();
    let said = await_followers(&client, &["digits"]).unwrap();
    assert_eq!(said, "shop: 2 of 3 Envoys follow; not reported yet by cc");
}

#[test]
fn a_fleet_is_shown_with_its_members() {
    let endpoint = serve_fleet("shop", 116);
    let shown = changeover(&endpoint, &["fleet"]).unwrap();
    let version = changeover::VERSION;
    let expected = format!(
        "\
fleet     shop: 1 of 2 Envoys follow; not reported yet by 5f0c6a1be9e2d374; not heard of lately: c31e0be74d6019aa, which ended or act on their own
store     answered 0.1 s ago

MEMBER            ROLE   STATE    REPORTED    CLOCK  CONFIGURATION     VERSION
1b9d52c488f0a6e1  asked  follows  1.4 s ago   -3 ms  5d0c77a10e934bf2  {version}
5f0c6a1be9e2d374  leads  behind   1.1 s ago   +0 ms  5d0c77a10e934bf2  {version}
c31e0be74d6019aa         silent   22.2 s ago  +2 ms  5d0c77a10e934bf2  {version}
"
    );
    assert_eq!((shown.text.as_str(), shown.status), (expected.as_str(), 0));
    let json = changeover(&endpoint, &["fleet", "--json"]).unwrap().text;
    let fleet: Fleet = serde_json::from_str(&json).unwrap();
    assert_eq!(fleet.members[0].report_age_ms, Some(1_403), "by the clock of the fleet");
}

#[test]
fn a_fleet_with_a_problem_is_status_1_and_so_is_an_envoy_without_a_store() {
    let fleet_of = |view| serve_in(Some(view), rollouts(), &Control::default(), &[]);
    let surplus = fleet_of(View { surplus: 3, ..shop("shop") });
    let shown = changeover(&surplus, &["fleet"]).unwrap();
    assert!(shown.text.contains("the counts of 3 are not used"), "{}", shown.text);
    assert_eq!(shown.status, 1);
    let alone = fleet_of(View { is_away: true, members: Vec::new(), heard: 0, ..shop("shop") });
    let shown = changeover(&alone, &["fleet"]).unwrap();
    assert!(
        shown.text.contains("store     has not answered yet\n\nno members are known yet\n"),
        "{}",
        shown.text
    );
    assert_eq!(shown.status, 1);
    let (status, why) = failure(&open(), &["fleet"]);
    assert_eq!(status, 1, "{why}");
    let both = super::many::at(&[&surplus, &alone], &["fleet"]);
    assert!(both.text.contains(&format!("\n\n{alone}\nfleet     shop: the store")), "{}", both.text);
}

#[test]
fn a_member_that_is_not_counted_and_not_silent_is_shown_so() {
    let mut view = shop("shop");
    view.members
        .push(Seen { left_out: Some(changeover::fleet::store::values::LeftOut::Clock), ..Seen::default() });
    let endpoint = serve_in(Some(view), rollouts(), &Control::default(), &[]);
    let shown = changeover(&endpoint, &["fleet"]).unwrap().text;
    let last = shown.lines().last().unwrap();
    assert!(last.starts_with("0000000000000000         not counted"), "{shown}");
}

#[test]
fn a_command_that_an_envoy_took_with_it_when_it_ended_is_not_followed() {
    let unstored = fleet(&json!({"unstored": ["digits"]}));
    let next = fleet(&json!({"member": "bb", "revision": 6}));
    let after = |fleets| await_followers(&client(fleets), &["digits"]).unwrap();
    let lost = "shop: 0 of 3 Envoys follow; not reported yet by aa, bb, cc";
    assert_eq!(after(vec![unstored.clone(), next.clone()]), lost);
    // Stored at revision 6 before it ended: the next one may say who follows.
    let stored = fleet(&json!({"revision": 6, "members": []}));
    assert_eq!(after(vec![unstored, stored, next]), "shop: 3 of 3 Envoys follow");
}

#[test]
fn an_envoy_that_acts_on_its_own_does_not_know_what_the_others_do() {
    let alone = View { is_away: true, ..shop("shop") };
    let endpoint = serve_in(Some(alone), rollouts(), &Control::default(), &[]);
    let shown = changeover(&endpoint, &["fleet"]).unwrap();
    let members: Vec<&str> =
        shown.text.lines().skip_while(|line| !line.starts_with("MEMBER")).skip(1).collect();
    assert_eq!(members.len(), 3);
    assert!(members.iter().all(|line| line.contains("  not known  ")), "{}", shown.text);
    assert_eq!(shown.status, 1);
}

#[test]
fn a_fleet_that_no_envoy_leads_is_status_1() {
    for view in [View { leader: None, ..shop("shop") }, View { members: Vec::new(), ..shop("shop") }] {
        let endpoint = serve_in(Some(view), rollouts(), &Control::default(), &[]);
        assert_eq!(changeover(&endpoint, &["fleet"]).unwrap().status, 1);
    }
}

#[test]
fn the_status_of_an_envoy_that_knows_no_rollout_has_the_problems_of_its_fleet() {
    let unreadable = View { unreadable: vec!["r".into()], ..shop("shop") };
    let endpoint = serve_in(Some(unreadable), Rollouts::default(), &Control::default(), &[]);
    for arguments in [&["status"][..], &["status", "r"]] {
        let shown = changeover(&endpoint, arguments).unwrap();
        assert!(shown.text.starts_with("fleet     shop: "), "{}", shown.text);
        assert!(shown.text.contains("the record of r in the store cannot be read"), "{}", shown.text);
        assert!(shown.remarks.concat().contains("not known yet"), "{:?}", shown.remarks);
        assert_eq!(shown.status, 3);
    }
    let without = serve_in(None, Rollouts::default(), &Control::default(), &[]);
    assert_eq!(failure(&without, &["status"]).0, 3);
}
