//! Several Envoys that share their rollouts through a real etcd.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::cli::changeover;
use crate::harness::control::{get, obeyed, post};
use crate::harness::*;

/// A rollout of a fleet.
fn config(fields: &str) -> Config {
    config_with("etcd: {cluster: etcd1}", fields)
}

/// The same with a store that has these fields.
fn config_with(store: &str, fields: &str) -> Config {
    let rollout = Config::blue_green("digits", fields);
    Config::Struct(format!("{{store: {{fleet: shop, {store}}}, rollouts: [{rollout}]}}"))
}

/// A rollout that waits for a person at half of the requests.
const WAITING: &str = "steps: [{set_weight: 50}, {pause: {}}, {set_weight: 75}, {pause: {duration: 1h}}]";

async fn start(blue: &Upstream, green: &Upstream, endpoints: &[SocketAddr], config: Config) -> Envoy {
    between(blue, green, config).store(endpoints).control().workers(2).start().await
}

async fn fleet(members: usize, blue: &Upstream, green: &Upstream, etcd: &Etcd, fields: &str) -> Vec<Envoy> {
    let mut envoys = Vec::new();
    for _ in 0..members {
        envoys.push(start(blue, green, &[etcd.address()], config(fields)).await);
    }
    for envoy in &envoys {
        control::known(envoy).await;
    }
    envoys
}

async fn rollout(envoy: &Envoy) -> Value {
    get(envoy, "/v1/rollouts/digits").await.1
}

/// Waits until an Envoy gives the candidate this share.
async fn wait_for_share(envoy: &Envoy, percent: f64) {
    wait_for(&format!("{percent} % for the candidate"), async || {
        (rollout(envoy).await["weights"]["green"].as_f64()? == percent).then_some(())
    })
    .await;
}

/// How many of the candidate's requests of the step an Envoy says were judged.
async fn judged_requests(envoy: &Envoy) -> u64 {
    rollout(envoy).await["step"]["requests"].as_u64().expect("a number")
}

/// Waits until half of the candidate's requests that clients have sent were judged, and asserts that none was twice. What
/// an Envoy counts while it is silent, as on a machine that stalls for seconds, is left out; that nothing else is lost is shown in
/// simulated time.
async fn assert_judged(envoy: &Envoy, sent: u64, green: &Upstream) {
    let counted = wait_for("what was counted to be judged", async || {
        Some(judged_requests(envoy).await).filter(|counted| *counted >= sent / 2)
    })
    .await;
    assert!(counted <= green.count(), "{counted} of {} were judged", green.count());
}

/// Clients of an Envoy that has counted nothing yet, or nothing for long, and how many of the candidate's answers need not be
/// judged: such an Envoy is not waited for, and what it counts before it first reports may come too late.
async fn clients(envoy: &Envoy) -> (Running, u64) {
    let first = Load::to(envoy.address()).per_second(30.0).send(60).await;
    first.assert_all_ok();
    (Load::to(envoy.address()).per_second(30.0).start(), first.from("green"))
}

/// Has an Envoy stop whose clients have left, when all that it has counted is judged. `others`: one that goes on.
async fn kill_when_judged(envoy: Envoy, others: &Envoy, green: &Upstream) {
    // Seconds are judged in their order, so what came later shows it. Sixteen may have been under way.
    let served = green.count() + 16;
    wait_for("what it has counted to be judged", async || {
        (judged_requests(others).await > served).then_some(())
    })
    .await;
    drop(envoy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_one_for_all_envoys_and_outlives_the_restart_of_each_under_load() {
    let (blue, green) = blue_and_green().await;
    let etcd = Etcd::start().await;
    let fields = format!("{WAITING}, analysis: {{metrics: [{{name: error_rate}}]}}");
    let mut envoys = fleet(3, &blue, &green, &etcd, &fields).await;
    assert_eq!(etcd.keys("/changeover/shop/r/").len(), 1, "one record");
    let revision = rollout(&envoys[0]).await["revision"].clone();
    // All are restarted in turn, while clients send to the other two. A client of one that is killed would see that.
    let (mut loads, mut missed, mut sent) = (Vec::new(), 0, 0);
    for envoy in &envoys {
        let (load, unsure) = clients(envoy).await;
        loads.push(load);
        missed += unsure;
    }
    for nth in 0..3 {
        let tally = loads.remove(nth).stop().await;
        tally.assert_all_ok();
        sent += tally.from("green");
        let envoy = envoys.remove(nth);
        kill_when_judged(envoy, &envoys[0], &green).await;
        envoys.insert(nth, start(&blue, &green, &[etcd.address()], config(&fields)).await);
        wait_for_share(&envoys[nth], 50.0).await;
        let (load, unsure) = clients(&envoys[nth]).await;
        loads.insert(nth, load);
        missed += unsure;
    }
    for load in loads {
        let tally = load.stop().await;
        tally.assert_all_ok();
        sent += tally.from("green");
    }
    for envoy in &envoys {
        assert_judged(envoy, sent, &green).await;
        assert_eq!(rollout(envoy).await["revision"], revision, "no step is repeated");
    }
    assert_eq!(green.count(), sent + missed, "as the clients say");
    // A command at one is obeyed by all.
    let load = Load::to(envoys[0].address()).per_second(50.0).start();
    wait_for("all three in the fleet", async || {
        let fleet = fleet_of(&envoys[1]).await;
        let members = fleet["members"].as_array()?;
        (members.iter().filter(|member| member["counted"] == true).count() == 3).then_some(())
    })
    .await;
    let (_, said) = say(&envoys[1], &["promote", "digits"]);
    // One that has been silent for a moment, as on a machine that stalls, is not waited for.
    let all = ["3 of 3", "2 of 2", "1 of 1"].map(|all| format!("shop: {all} Envoys follow"));
    assert!(all.iter().any(|all| said.starts_with(all)), "{said}");
    for envoy in &envoys {
        wait_for_share(envoy, 75.0).await;
    }
    wait_for("the same of another one", async || {
        let (shown, _) = say(&envoys[2], &["status", "digits"]);
        shown.contains("fleet     shop: 3 of 3 Envoys follow").then_some(())
    })
    .await;
    obeyed(&envoys[2], "/v1/rollouts/digits/abort").await;
    for envoy in &envoys {
        wait_for_share(envoy, 0.0).await;
    }
    load.stop().await.assert_all_ok();
}

/// What the command line prints about an Envoy, and what it says besides.
fn say(envoy: &Envoy, arguments: &[&str]) -> (String, String) {
    let (printed, said, _) = changeover(arguments, &[envoy.address_of("changeover-control")]);
    (printed, said)
}

async fn fleet_of(envoy: &Envoy) -> Value {
    get(envoy, "/v1/fleet").await.1
}

/// Waits until one of these Envoys says that it leads, and returns which.
async fn wait_for_leader(envoys: &[&Envoy]) -> usize {
    wait_for("an Envoy that leads", async || {
        for (nth, envoy) in envoys.iter().enumerate() {
            let fleet = fleet_of(envoy).await;
            if fleet["leader"].is_string() && fleet["leader"] == fleet["member"] {
                return Some(nth);
            }
        }
        None
    })
    .await
}

/// That it takes five seconds at most is asserted in simulated time, where a busy machine does not count:
/// `another_member_leads_within_five_seconds_and_judges_what_was_told`.
#[tokio::test(flavor = "multi_thread")]
async fn another_envoy_leads_when_one_is_gone_and_judges_what_all_count() {
    let (blue, green) = blue_and_green().await;
    let etcd = Etcd::start().await;
    let judged = "steps: [{set_weight: 50}, {pause: {}}], \
                  analysis: {metrics: [{name: error_rate}]}";
    let mut envoys = fleet(3, &blue, &green, &etcd, judged).await;
    let leader = wait_for_leader(&envoys.iter().collect::<Vec<_>>()).await;
    let loads: Vec<_> = (0..3)
        .filter(|nth| *nth != leader)
        .map(|nth| Load::to(envoys[nth].address()).per_second(15.0).start())
        .collect();
    wait_for("requests to be judged", async || (judged_requests(&envoys[0]).await > 0).then_some(())).await;
    drop(envoys.remove(leader));
    let left: Vec<&Envoy> = envoys.iter().collect();
    wait_for_leader(&left).await;
    // The run goes on.
    let before = judged_requests(left[0]).await;
    wait_for("further requests to be judged", async || {
        (judged_requests(left[0]).await > before).then_some(())
    })
    .await;
    for load in loads {
        load.stop().await.assert_all_ok();
    }
    green.set(Behaviour::Status(503));
    let loads: Vec<_> = left.iter().map(|envoy| Load::to(envoy.address()).per_second(15.0).start()).collect();
    for envoy in &envoys {
        wait_for_event(envoy, "rollback").await;
        wait_for_share(envoy, 0.0).await;
    }
    for load in loads {
        assert_eq!(load.stop().await.errors, [""; 0]);
    }
    let rollbacks = events(&envoys[0]).iter().filter(|event| event["action"] == "rollback").count();
    assert_eq!(rollbacks, 1);
}

/// The VM would belong to both, and the filter that is loaded last would decide for all. Workers refuse it: Envoy tries a
/// configuration in a VM that has no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_whose_store_differs_from_that_of_another_in_its_vm_is_refused_and_stable_serves() {
    let (blue, green) = blue_and_green().await;
    let weights = "weights: {green: 100}";
    let stored = config_with("etcd: {cluster: etcd1}", weights);
    let nowhere = ["127.0.0.1:1".parse().expect("an address")];
    let setup = between(&blue, &green, stored).store(&nowhere);
    let envoy = setup.second_listener("second", "second", Config::rollout(weights)).start().await;
    let refused = "store: another filter of this VM belongs to another fleet, or to none";
    wait_for("the refusal", async || envoy.log().contains(refused).then_some(())).await;
    for _ in 0..20 {
        let answer = crate::harness::get(envoy.address_of("second"), "/").await.expect("an answer");
        assert_eq!(answer.upstream(), "blue");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_leaves_the_weights_and_an_abort_is_written_later() {
    let (blue, green) = blue_and_green().await;
    let mut etcd = Etcd::start().await;
    let envoys = fleet(2, &blue, &green, &etcd, WAITING).await;
    let load = Load::to(envoys[0].address()).per_second(50.0).start();
    etcd.kill();
    wait_for("the Envoys to act on their own", async || {
        (fleet_of(&envoys[0]).await["alone"] == true && fleet_of(&envoys[1]).await["alone"] == true)
            .then_some(())
    })
    .await;
    assert_eq!(rollout(&envoys[0]).await["weights"]["green"], 50);
    let (status, problem) = post(&envoys[0], "/v1/rollouts/digits/promote").await;
    assert_eq!(status, 409);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap_or_default()
            .contains("only commands that take traffic from the candidate"),
        "{problem}"
    );
    obeyed(&envoys[0], "/v1/rollouts/digits/abort").await;
    wait_for_share(&envoys[0], 0.0).await;
    assert_eq!(rollout(&envoys[1]).await["weights"]["green"], 50);
    wait_for("the abort to be named", async || {
        (fleet_of(&envoys[0]).await["unstored"] == serde_json::json!(["digits"])).then_some(())
    })
    .await;
    let metrics = envoys[0].metrics().await;
    assert!(metrics.sum("changeover_store_age_seconds", &[]) >= 4.0);
    assert!(metrics.sum("changeover_store_errors_total", &[("result", "unreachable")]) > 0.0);
    assert!(envoys[0].log().contains("the store cannot be reached"));
    etcd.run().await;
    wait_for_share(&envoys[1], 0.0).await;
    assert_eq!(rollout(&envoys[1]).await["phase"], "aborted");
    load.stop().await.assert_all_ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_restored_from_a_backup_gets_the_abort_back_and_the_candidate_nothing() {
    let (blue, green) = blue_and_green().await;
    let mut etcd = Etcd::start().await;
    let envoys = fleet(2, &blue, &green, &etcd, WAITING).await;
    etcd.save("before");
    obeyed(&envoys[0], "/v1/rollouts/digits/abort").await;
    for envoy in &envoys {
        wait_for_share(envoy, 0.0).await;
    }
    let served = green.count();
    let load = Load::to(envoys[0].address()).per_second(100.0).start();
    etcd.restore("before").await;
    // An Envoy without a record follows what was written back.
    let fresh = wait_for("the abort in the store", async || {
        let fresh = start(&blue, &green, &[etcd.address()], config(WAITING)).await;
        control::known(&fresh).await;
        (rollout(&fresh).await["phase"] == "aborted").then_some(fresh)
    })
    .await;
    assert_eq!(rollout(&fresh).await["weights"]["green"], 0);
    load.stop().await.assert_all_ok();
    assert_eq!(green.count(), served);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_garbage_is_replaced_by_an_envoy_that_has_it_and_is_else_named_while_stable_serves()
{
    let (blue, green) = blue_and_green().await;
    let etcd = Etcd::start().await;
    let envoy = start(&blue, &green, &[etcd.address()], config(WAITING)).await;
    wait_for_share(&envoy, 50.0).await;
    let load = Load::to(envoy.address()).per_second(50.0).start();
    let [key] = etcd.keys("/changeover/shop/r/").try_into().expect("one record");
    let is_garbage = || etcd.ctl(&["get", "--print-value-only", &key]).starts_with("garbage");
    etcd.ctl(&["put", &key, "garbage"]);
    wait_for("the record to be replaced", async || (!is_garbage()).then_some(())).await;
    assert_eq!(rollout(&envoy).await["weights"]["green"], 50.0);
    load.stop().await.assert_all_ok();
    // No Envoy has it any more.
    drop(envoy);
    etcd.ctl(&["put", &key, "garbage"]);
    let served = green.count();
    let envoy = start(&blue, &green, &[etcd.address()], config(WAITING)).await;
    let load = Load::to(envoy.address()).per_second(50.0).start();
    let problem = "the record of digits in the store cannot be read, and no member has it: stable serves; \
                   delete its key to begin the release anew";
    assert_eq!(first_problem(&envoy).await, problem);
    assert_told(&envoy, problem, None).await;
    load.stop().await.assert_all_ok();
    assert_eq!(green.count(), served, "stable serves");
    assert!(is_garbage(), "the release does not begin again by itself");
    etcd.ctl(&["del", &key]);
    wait_for_share(&envoy, 50.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_endpoints_one_may_be_dead() {
    let (blue, green) = blue_and_green().await;
    let etcd = Etcd::start().await;
    let dead = Upstream::start("dead").await.address();
    let endpoints = [etcd.address(), SocketAddr::new(dead.ip(), 1)];
    let envoy = start(&blue, &green, &endpoints, config(WAITING)).await;
    control::known(&envoy).await;
    obeyed(&envoy, "/v1/rollouts/digits/promote").await;
    wait_for_leader(&[&envoy]).await;
    wait_for("some calls", async || {
        (envoy.stat("cluster.etcd1.upstream_rq_completed").await > 30).then_some(())
    })
    .await;
    // Every second one would fail if the dead endpoint were asked in turn. It is tried again every half a minute.
    let failed = envoy.metrics().await.sum("changeover_store_errors_total", &[]);
    let completed = envoy.stat("cluster.etcd1.upstream_rq_completed").await;
    assert!(failed * 5.0 < completed as f64, "{failed} of {completed} calls failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_envoy_leads_although_an_endpoint_of_the_store_hangs() {
    let (blue, green) = blue_and_green().await;
    let etcd = Etcd::start().await;
    // It takes connections, and never says anything.
    let hangs = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoints = [etcd.address(), hangs.local_addr().expect("an address")];
    let mut envoys = Vec::new();
    for _ in 0..2 {
        envoys.push(start(&blue, &green, &endpoints, config(WAITING)).await);
    }
    for envoy in &envoys {
        wait_for_share(envoy, 50.0).await;
    }
    let leader = wait_for_leader(&envoys.iter().collect::<Vec<_>>()).await;
    drop(envoys.remove(leader));
    wait_for_leader(&[&envoys[0]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_is_named_and_harms_no_request() {
    let (blue, green) = blue_and_green().await;
    let etcd = Etcd::start_with(&["--quota-backend-bytes", "200000"]).await;
    let envoy = start(&blue, &green, &[etcd.address()], config(WAITING)).await;
    control::known(&envoy).await;
    let load = Load::to(envoy.address()).per_second(50.0).start();
    etcd.fill();
    wait_for("a sentence about the full store", async || {
        let fleet = fleet_of(&envoy).await;
        fleet["problems"][0].as_str().is_some_and(|problem| problem.contains("is full")).then_some(())
    })
    .await;
    assert_told(&envoy, "the store is full and takes no writes", Some("full")).await;
    assert_eq!(rollout(&envoy).await["weights"]["green"], 50);
    load.stop().await.assert_all_ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_silent_for_longer_than_stale_after_hands_all_requests_to_stable() {
    let (blue, green) = blue_and_green().await;
    let mut etcd = Etcd::start().await;
    let config = config_with("etcd: {cluster: etcd1}, stale_after: 6s", WAITING);
    let envoy = start(&blue, &green, &[etcd.address()], config).await;
    wait_for_share(&envoy, 50.0).await;
    let candidates = async || {
        let before = green.count();
        Load::to(envoy.address()).send(40).await.assert_all_ok();
        green.count() - before
    };
    assert!(candidates().await > 0);
    etcd.kill();
    wait_for("stable to serve", async || (candidates().await == 0).then_some(())).await;
    wait_for("a sentence about it", async || {
        fleet_of(&envoy).await["problems"].to_string().contains("stable serves").then_some(())
    })
    .await;
    etcd.run().await;
    wait_for("the candidate to serve again", async || (candidates().await > 0).then_some(())).await;
    assert_eq!(rollout(&envoy).await["weights"]["green"], 50);
}

/// Takes minutes: `make test-restarts`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn fifty_restarts_of_envoys_and_ten_of_etcd_fail_no_request_and_repeat_no_step() {
    let (blue, green) = blue_and_green().await;
    let mut etcd = Etcd::start().await;
    let judged_at_half = "steps: [{set_weight: 50}, {pause: {}}], analysis: {metrics: [{name: error_rate}]}";
    let mut envoys = fleet(3, &blue, &green, &etcd, judged_at_half).await;
    let revision = rollout(&envoys[0]).await["revision"].clone();
    let (mut loads, mut missed, mut sent, mut total) = (Vec::new(), 0, 0, 0);
    for envoy in &envoys {
        let (load, unsure) = clients(envoy).await;
        loads.push(load);
        (missed, total) = (missed + unsure, total + 60);
    }
    for nth in 0..50 {
        if nth % 5 == 0 {
            etcd.kill();
            etcd.run().await;
        }
        let place = nth % 3;
        let tally = loads.remove(place).stop().await;
        tally.assert_all_ok();
        (sent, total) = (sent + tally.from("green"), total + tally.total());
        let envoy = envoys.remove(place);
        kill_when_judged(envoy, &envoys[0], &green).await;
        // Clients send as soon as it listens.
        envoys.insert(place, start(&blue, &green, &[etcd.address()], config(judged_at_half)).await);
        let (load, unsure) = clients(&envoys[place]).await;
        loads.insert(place, load);
        (missed, total) = (missed + unsure, total + 60);
    }
    for load in loads {
        let tally = load.stop().await;
        tally.assert_all_ok();
        (sent, total) = (sent + tally.from("green"), total + tally.total());
    }
    for envoy in &envoys {
        assert_judged(envoy, sent, &green).await;
        let rollout = rollout(envoy).await;
        assert_eq!((&rollout["revision"], &rollout["phase"]), (&revision, &"paused".into()));
    }
    assert_eq!(green.count(), sent + missed, "as the clients say");
    let counted = judged_requests(&envoys[0]).await;
    println!("{total} requests, none failed; {counted} of the candidate's {} judged", green.count());
}

/// Shows how soon all three Envoys have obeyed a command at one of them. Takes a minute: `make test-restarts`. That it is half a second
/// is asserted in simulated time: `a_command_at_one_member_is_obeyed_by_all_within_half_a_second`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn commands_at_one_envoy_are_obeyed_by_all() {
    let (blue, green) = blue_and_green().await;
    let etcd = Etcd::start().await;
    let envoys = fleet(3, &blue, &green, &etcd, WAITING).await;
    wait_for_leader(&envoys.iter().collect::<Vec<_>>()).await;
    let loads: Vec<_> =
        envoys.iter().map(|envoy| Load::to(envoy.address()).per_second(20.0).start()).collect();
    let mut took = Vec::new();
    for nth in 0..50_u32 {
        let percent = 1 + nth % 40;
        let begun = Instant::now();
        let body = format!("{{\"green\": {percent}}}");
        let one = &envoys[nth as usize % 3];
        let (status, answer) =
            control::call(one, "POST", "/v1/rollouts/digits/weight", &[control::JSON], &body).await;
        assert_eq!(status, 200, "{answer}");
        for envoy in &envoys {
            wait_for_share(envoy, f64::from(percent)).await;
        }
        took.push(begun.elapsed());
        // At another moment of the second each time.
        tokio::time::sleep(Duration::from_millis(300 + u64::from(nth) * 37 % 500)).await;
    }
    for load in loads {
        load.stop().await.assert_all_ok();
    }
    took.sort_unstable();
    println!("50 commands at 3 Envoys: median {:?}, most {:?}", took[25], took[49]);
}

/// Three Envoys with a third of the requests each take a candidate back after as many failed answers as one with all of them, and not
/// after as many as three Envoys that decide alone. Takes three minutes: `make test-restarts`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes three minutes"]
async fn a_fleet_takes_a_candidate_that_always_fails_back_after_as_many_answers_as_one_envoy() {
    /// Failed answers in the median of five releases in `fleets` fleets of `members` each, who share 90 requests a second.
    async fn failed(fleets: usize, members: usize) -> u64 {
        let judged = "steps: [{set_weight: 5}, {pause: {}}], analysis: {metrics: [{name: error_rate}]}";
        let each = 90.0 / f64::from(u32::try_from(fleets * members).expect("few"));
        let mut failed = Vec::new();
        for _ in 0..5 {
            let (blue, green) = blue_and_green().await;
            let mut stores = Vec::new();
            let mut envoys = Vec::new();
            for _ in 0..fleets {
                let etcd = Etcd::start().await;
                envoys.extend(fleet(members, &blue, &green, &etcd, judged).await);
                stores.push(etcd);
            }
            let load = |envoy: &Envoy| Load::to(envoy.address()).per_second(each).start();
            let loads: Vec<_> = envoys.iter().map(load).collect();
            // A fleet that has just begun waits for what its members count.
            for envoy in &envoys {
                let judged = async || (judged_requests(envoy).await >= 5).then_some(());
                wait_for("good requests to be judged", judged).await;
            }
            green.reset_count();
            green.set(Behaviour::Status(503));
            for envoy in &envoys {
                wait_for_share(envoy, 0.0).await;
            }
            for load in loads {
                load.stop().await;
            }
            failed.push(green.count());
        }
        failed.sort_unstable();
        println!("{fleets} fleets of {members}: failed answers {failed:?}");
        failed[2]
    }
    let (one, pooled, apart) = (failed(1, 1).await, failed(1, 3).await, failed(3, 1).await);
    // A fleet decides one or two periods later: 5 answers a second.
    assert!(pooled <= one + 10, "{pooled} beside {one}");
    assert!(2 * pooled < one + apart, "{pooled} between {one} and {apart}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_sleeps_and_a_store_that_restarts_repeat_no_step_and_count_nothing_twice() {
    let (blue, green) = blue_and_green().await;
    let mut etcd = Etcd::start().await;
    let judged = "steps: [{set_weight: 50}, {pause: {}}], analysis: {metrics: [{name: error_rate}]}";
    let envoys = fleet(3, &blue, &green, &etcd, judged).await;
    let all: Vec<&Envoy> = envoys.iter().collect();
    let leader = wait_for_leader(&all).await;
    let one = (leader + 1) % 3;
    let others = [&envoys[one], &envoys[(leader + 2) % 3]];
    let revision = rollout(&envoys[one]).await["revision"].clone();
    let load = Load::to(envoys[one].address()).per_second(30.0).start();
    let judged_after = async |before: u64| {
        wait_for("further requests to be judged", async || {
            rollout(&envoys[one]).await["step"]["requests"].as_u64().filter(|requests| *requests > before)
        })
        .await
    };
    let mut judged = judged_after(0).await;
    signal(envoys[leader].id(), "-STOP");
    wait_for_leader(&others).await;
    judged = judged_after(judged).await;
    signal(envoys[leader].id(), "-CONT");
    // The store is stopped for as long as it takes for the Envoys to act on their own, and then killed.
    signal(etcd.id(), "-STOP");
    wait_for("an Envoy that acts on its own", async || {
        (fleet_of(&envoys[one]).await["alone"] == true).then_some(())
    })
    .await;
    signal(etcd.id(), "-CONT");
    judged = judged_after(judged).await;
    etcd.kill();
    etcd.run().await;
    judged_after(judged).await;
    load.stop().await.assert_all_ok();
    let sent = green.count();
    // What has ended is judged within a few seconds, and nothing is beyond it.
    let judged = wait_for("all to be judged", async || {
        rollout(&envoys[one]).await["step"]["requests"].as_u64().filter(|requests| *requests >= sent)
    })
    .await;
    assert_eq!(judged, sent);
    assert_eq!(rollout(&envoys[leader]).await["revision"], revision, "no step is repeated");
    wait_for_leader(&all).await;
}

/// An Envoy whose store wants certificates, and how it says what is wrong with the store.
async fn with_certificate(
    etcd: &Etcd,
    client: &str,
    sds: &tempfile::TempDir,
) -> (Envoy, (Upstream, Upstream)) {
    let (blue, green) = blue_and_green().await;
    let config = config_with("etcd: {cluster: etcd}", WAITING);
    let file = sds.path().join("sds.yaml");
    let setup = between(&blue, &green, config).store_with_mtls(etcd.address(), client, &file).control();
    (setup.workers(2).start().await, (blue, green))
}

async fn first_problem(envoy: &Envoy) -> String {
    wait_for("a sentence about the store", async || {
        Some(fleet_of(envoy).await["problems"][0].as_str()?.to_owned())
    })
    .await
}

/// A problem is told by the log, by `changeover status` and by metrics. `result`: how calls to the store fail, if they do.
async fn assert_told(envoy: &Envoy, problem: &str, result: Option<&str>) {
    wait_for("the same in the log", async || envoy.log().contains(problem).then_some(())).await;
    wait_for("the same in `changeover status`", async || {
        let (printed, said) = say(envoy, &["status"]);
        (printed.contains(problem) || said.contains(problem)).then_some(())
    })
    .await;
    wait_for("a problem in the metrics", async || {
        (envoy.metrics().await.sum("changeover_fleet_problems", &[]) >= 1.0).then_some(())
    })
    .await;
    if let Some(result) = result {
        assert!(envoy.metrics().await.sum("changeover_store_errors_total", &[("result", result)]) > 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_and_a_role_for_the_fleets_keys_are_all_that_the_store_has_to_give() {
    let etcd = Etcd::start_with_mtls("/changeover/shop/").await;
    let sds = tempfile::tempdir().expect("a directory");
    let (envoy, _upstreams) = with_certificate(&etcd, "client", &sds).await;
    wait_for_share(&envoy, 50.0).await;
    obeyed(&envoy, "/v1/rollouts/digits/promote").await;
    wait_for_leader(&[&envoy]).await;
    assert_eq!(fleet_of(&envoy).await["problems"], serde_json::json!([]));
    assert_eq!(envoy.metrics().await.sum("changeover_fleet_problems", &[]), 0.0);
    assert_eq!(etcd.keys("/changeover/shop/r/").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_too_small_is_named_and_harms_no_request() {
    let etcd = Etcd::start_with_mtls("/changeover/other/").await;
    let sds = tempfile::tempdir().expect("a directory");
    let (envoy, (_blue, green)) = with_certificate(&etcd, "client", &sds).await;
    let problem = "the store refuses this client: its role needs to read and write the fleet's prefix";
    assert_eq!(first_problem(&envoy).await, problem);
    assert_told(&envoy, problem, Some("denied")).await;
    Load::to(envoy.address()).send(20).await.assert_all_ok();
    assert_eq!(green.count(), 0, "stable serves");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_named_and_harms_no_request() {
    let etcd = Etcd::start_with_mtls("/changeover/shop/").await;
    let sds = tempfile::tempdir().expect("a directory");
    let (envoy, (_blue, green)) = with_certificate(&etcd, "other-client", &sds).await;
    let problem = first_problem(&envoy).await;
    assert!(problem.contains("certificate"), "{problem}");
    assert_told(&envoy, &problem, Some("unreachable")).await;
    Load::to(envoy.address()).send(20).await.assert_all_ok();
    assert_eq!(green.count(), 0, "stable serves");
}
