//! A hot restart: a new Envoy process takes over from an old one while both run.

use crate::harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn gauges_add_up_while_both_processes_run_and_no_request_is_lost() {
    let (blue, green) = blue_and_green().await;
    let free = free_address();
    let process = |epoch| {
        let restart = HotRestart { port: free.port(), epoch };
        between(&blue, &green, Config::rollout("weights: {green: 50}")).hot_restart(restart)
    };
    let weight =
        async |envoy: &Envoy| envoy.metrics().await.sum("changeover_weight", &[("version", "green")]);
    // Envoy leaves it behind.
    let shared = std::path::PathBuf::from(format!("/dev/shm/envoy_shared_memory_{}0", free.port()));
    let mut old = process(0).start().await;
    let running = Load::to(old.address()).start();
    wait_for("requests", async || (running.sent() > 100).then_some(())).await;
    assert_eq!(weight(&old).await, 5_000.0);
    let new = process(1).start().await;
    assert!(std::fs::remove_file(shared).is_ok(), "both have it open");
    wait_for("the sum of both", async || (weight(&new).await == 10_000.0).then_some(())).await;
    old.wait_until_gone().await;
    wait_for("its own weight", async || (weight(&new).await == 5_000.0).then_some(())).await;
    let before = running.sent();
    wait_for("requests of the new process", async || (running.sent() > before + 100).then_some(())).await;
    let tally = running.stop().await;
    tally.assert_all_ok();
    assert_eq!((blue.count(), green.count()), (tally.from("blue"), tally.from("green")));
    assert_share(tally.from("green"), tally.total(), 0.5);
}
