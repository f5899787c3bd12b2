//! What only shows after some time: `make test-soak`, ten minutes, or `SECONDS=n`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::compare::{COMPARES, ask, classifier, digit, settled};
use crate::harness::*;

/// Seconds that a test has for its load, if not so many.
fn seconds(usual: u64) -> u64 {
    std::env::var("SOAK").map_or(usual, |seconds| seconds.parse().expect("a number"))
}

/// Rollouts that are judged all the time, and requests for all of them in a second.
const ROLLOUTS: u64 = 20;
const REQUESTS: f64 = 60.0;
/// Users, who all have come before the second quarter of ten minutes: who has come is kept.
const USERS: u64 = 2_000;
/// Kilobytes by which an Envoy may have more memory in the last quarter than in the second, in the median.
const MOST_GROWTH: i64 = 4_096;

fn config() -> Config {
    let judged =
        "session_affinity: {header: x-user-id}, steps: [{set_weight: 50}, {pause: {}}], analysis: {}";
    let rollout = |number: u64| {
        Config::blue_green(&format!("r{number}"), &format!("match: {{prefix: /m{number}/}}, {judged}"))
    };
    let rollouts: Vec<String> = (0..ROLLOUTS).map(rollout).collect();
    Config::Struct(format!(
        "{{store: {{etcd: {{cluster: etcd1}}, fleet: shop}}, rollouts: [{}]}}",
        rollouts.join(", ")
    ))
}

/// The middle of some numbers.
fn median(mut numbers: Vec<i64>) -> i64 {
    numbers.sort_unstable();
    numbers[numbers.len() / 2]
}

fn descriptors(envoy: &Envoy) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", envoy.id())).expect("a process").count()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes"]
async fn memory_stays_flat_while_the_store_comes_and_goes() {
    let seconds = seconds(600);
    let (blue, green) = blue_and_green().await;
    let mut etcd = Etcd::start().await;
    let mut envoys = Vec::new();
    for _ in 0..2 {
        let setup = between(&blue, &green, config()).store(&[etcd.address()]).control().workers(2);
        envoys.push(setup.start().await);
    }
    let loads: Vec<_> = envoys
        .iter()
        .map(|envoy| {
            let load = Load::to(envoy.address()).per_second(REQUESTS);
            load.each(|number| {
                let user = (number / 3 % USERS).to_string();
                let path = format!("/m{}/x", number % ROLLOUTS);
                request("GET", &path, &[("x-user-id", user.as_bytes())], "")
            })
            .start()
        })
        .collect();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut memory: Vec<Vec<i64>> = envoys.iter().map(|_| Vec::new()).collect();
    let (begun, mut away, mut cut) = (Instant::now(), 0, 0);
    let pass = async |memory: &mut Vec<Vec<i64>>, seconds: u64| {
        for _ in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            for (envoy, memory) in envoys.iter().zip(memory.iter_mut()) {
                memory.push(i64::try_from(envoy.resident_kilobytes()).expect("few"));
            }
        }
    };
    pass(&mut memory, 3).await;
    let opened: Vec<usize> = envoys.iter().map(descriptors).collect();
    while begun.elapsed() < Duration::from_secs(seconds) {
        pass(&mut memory, rng.u64(3..9)).await;
        // Killed it refuses connections at once; stopped it is silent.
        if rng.bool() {
            etcd.kill();
            pass(&mut memory, rng.u64(1..9)).await;
            etcd.run().await;
            away += 1;
        } else {
            signal(etcd.id(), "-STOP");
            pass(&mut memory, rng.u64(1..9)).await;
            signal(etcd.id(), "-CONT");
            cut += 1;
        }
    }
    for load in loads {
        load.stop().await.assert_all_ok();
    }
    println!("the store was killed {away} times and stopped {cut} times in {seconds} s");
    for ((envoy, memory), opened) in envoys.iter().zip(&memory).zip(opened) {
        let quarters: Vec<i64> =
            memory.chunks(memory.len().div_ceil(4)).map(|quarter| median(quarter.to_vec())).collect();
        println!("kilobytes by quarter {quarters:?}; descriptors {opened} → {}", descriptors(envoy));
        let growth = quarters[3] - quarters[1];
        assert!(growth <= MOST_GROWTH, "{growth} KB more in the last quarter than in the second");
        assert!(descriptors(envoy) <= opened + 16, "descriptors are left open");
    }
}

/// One copy in a hundred fails. A quarter of a minute of load comes before.
#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_flat_while_a_shadow_fails_now_and_then() {
    /// In a second: as many as a busy machine answers in time.
    const REQUESTS: u64 = 200;
    let (blue, green) = blue_and_green().await;
    blue.set(classifier(0));
    green.set(Make::by(|number, seen| {
        let asked: Value = serde_json::from_slice(&seen.body).unwrap();
        let label = digit(asked["n"].as_u64().unwrap(), 1);
        let status = number.is_multiple_of(100).then_some(503);
        Made { status, ..Made::json(json!({"outputs": [{"data": [label]}]}).to_string()) }
    }));
    // No copy is given up for a slow machine.
    let patient = COMPARES.replace("timeout: 2s", "timeout: 50s");
    let envoy = between(&blue, &green, Config::rollout(&patient)).workers(2).start().await;
    let seconds = seconds(60);
    let load = || Load::to(envoy.address()).each(ask).per_second(REQUESTS as f64);
    load().send(15 * REQUESTS).await.assert_all_ok();
    let before = envoy.resident_kilobytes();
    load().send(seconds * REQUESTS).await.assert_all_ok();
    let after = envoy.resident_kilobytes();
    let results = settled(&envoy, (15 + seconds) * REQUESTS).await;
    println!("{before} KB after 15 s, {after} KB {seconds} s later; {results:?}");
    assert!(after <= before + before / 20, "{before} KB became {after} KB");
    assert_eq!((green.count(), results["sent"] / 100), (results["sent"], results["failed"]));
}
