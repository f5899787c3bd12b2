//! Releases that move by themselves: forward step by step, and back when the candidate is worse.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::*;
use serde_json::{Value, json};

/// At 5 %, until a person promotes, under this analysis.
fn at_five_percent(analysis: &str) -> Config {
    Config::rollout(&format!("steps: [{{set_weight: 5}}, {{pause: {{}}}}], analysis: {analysis}"))
}

/// The action of a route that sends clients to https.
fn to_https() -> Value {
    json!({"redirect": {"https_redirect": true}})
}

const ERRORS_ONLY: &str = "{metrics: [{name: error_rate}]}";

/// 200 requests a second, over enough connections that slow answers do not hold it up.
fn load(envoy: &Envoy) -> Load {
    Load::to(envoy.address()).connections(64).per_second(200.0)
}

/// A signal of the test build: a row of the catalogue and the line that observes it, nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_with_more_events_of_another_signal_is_rolled_back() {
    let (blue, green) = blue_and_green().await;
    let config = at_five_percent("{metrics: [{name: error_rate}, {name: test.event, max: 0.9}]}");
    let envoy = between(&blue, &green, config).module("target/changeover-test.wasm").start().await;
    let event = || Behaviour::Body("".into(), vec![("x-test-event", "yes")]);
    // On both sides it speaks against neither.
    blue.set(Behaviour::OneIn(2, Box::new(event())));
    green.set(Behaviour::OneIn(2, Box::new(event())));
    let running = load(&envoy).start();
    wait_for("healthy traffic", async || (green.count() >= 100).then_some(())).await;
    assert_eq!(actions(&envoy).iter().filter(|action| *action == "rollback").count(), 0);
    green.set(event());
    let event = wait_for_event(&envoy, "rollback").await;
    assert!(event["rule"].as_str().is_some_and(|rule| rule.starts_with("test.event")), "{event}");
    assert_eq!(running.stop().await.failed(), 0, "every answer was a 200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_always_fails_is_rolled_back_at_once() {
    let (blue, green) = blue_and_green().await;
    blue.set(Behaviour::OneIn(333, Box::new(Behaviour::Status(200).after(Duration::from_millis(3_500)))));
    let envoy = between(&blue, &green, at_five_percent(ERRORS_ONLY)).workers(4).start().await;
    let running = load(&envoy).start();
    // Some healthy traffic first, so that stable's slow answers are on their way.
    wait_for("healthy traffic", async || (green.count() >= 30).then_some(())).await;
    green.set(Behaviour::Status(503));
    let before = green.count();
    // It may have been found out before the ninth.
    wait_for("nine failures", async || {
        let is_over = actions(&envoy).iter().any(|action| action == "rollback");
        (is_over || green.count() >= before + 9).then_some(())
    })
    .await;
    let event = wait_for_event(&envoy, "rollback").await;
    let message = event["message"].as_str().expect("a sentence").to_owned();
    assert!(
        message.starts_with(
            "green is rolled back, its traffic goes to blue: at 5 % green is worse than blue (error_rate): "
        ),
        "{message}"
    );
    // Every worker has followed; from here on no request goes to green.
    let told = running.sent();
    wait_for("more load", async || (running.sent() > told + 100).then_some(())).await;
    running.settle().await;
    let after = green.count();
    wait_for("more load", async || (running.sent() > told + 600).then_some(())).await;
    assert_eq!(green.count(), after, "no request goes to green any more");
    let tally = running.stop().await;
    assert!(tally.failed() <= 200, "{} failed answers reached clients", tally.failed());
    assert_eq!(tally.failed(), after - before, "and all of them are green's");
    let metrics = envoy.metrics().await;
    assert_eq!(metrics.sum("changeover_phase", &[("phase", "failed")]), 1.0);
    assert_eq!(metrics.sum("changeover_actions_total", &[("action", "rollback"), ("actor", "auto")]), 1.0);
    assert_eq!(metrics.sum("changeover_weight", &[("version", "green")]), 0.0);
}

/// The ordinary route stands first and takes everything: what was decided is not what happens.
#[tokio::test(flavor = "multi_thread")]
async fn routes_that_ignore_the_filter_promote_no_candidate() {
    let (blue, green) = blue_and_green().await;
    let fields = "steps: [{set_weight: 50}, {pause: {duration: 2s}}], analysis: {promote_when: {}}, version_header: {response: true}";
    let envoy = between(&blue, &green, Config::rollout(fields))
        .control()
        .edit_routes(|routes| routes.reverse())
        .start()
        .await;
    let running = load(&envoy).start();
    let event = wait_for_event(&envoy, "alarm").await;
    let message = event["message"].as_str().expect("a sentence");
    assert!(
        message.starts_with("requests for green are served by another cluster than its own"),
        "{message}"
    );
    let elsewhere = [("version", "green"), ("outcome", "elsewhere")];
    wait_for("a step's time", async || {
        (envoy.metrics().await.sum("changeover_requests_total", &elsewhere) > 800.0).then_some(())
    })
    .await;
    let (_, shown) = control::get(&envoy, "/v1/rollouts/digits").await;
    assert_eq!(shown["phase"], "progressing");
    let reason = shown["reason"].as_str().expect("a sentence");
    assert!(reason.starts_with("the step waits: another cluster serves"), "{reason}");
    assert_eq!(shown["step"]["requests"], 0, "nothing that another cluster has served is the candidate's");
    for _ in 0..50 {
        let answer = get(envoy.address(), "/").await.expect("an answer");
        assert_eq!(answer.upstream(), "blue");
        assert!(matches!(answer.header("x-changeover-version"), None | Some("blue")), "{answer:?}");
    }
    running.stop().await.assert_all_ok();
    assert_eq!(green.count(), 0);
    assert!(!actions(&envoy).iter().any(|action| action == "succeed"));
}

/// The route of one tenant leads to stable, whatever was decided.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_ignores_the_filter_for_some_of_the_requests_promotes_no_candidate() {
    let (blue, green) = blue_and_green().await;
    let fields =
        "steps: [{set_weight: 50}, {pause: {duration: 10s}}], analysis: {metrics: [{name: error_rate}]}";
    let odd = json!({"prefix": "/", "headers": [{"name": "x-tenant", "string_match": {"exact": "odd"}}]});
    let envoy = between(&blue, &green, Config::rollout(fields))
        .control()
        .edit_routes(|routes| routes.insert(0, json!({"match": odd, "route": {"cluster": "blue"}})))
        .start()
        .await;
    let of_tenants = |number: u64| {
        let tenant: &[u8] = if number.is_multiple_of(5) { b"odd" } else { b"even" };
        request("GET", "/", &[("x-tenant", tenant)], "")
    };
    let running = load(&envoy).each(of_tenants).start();
    wait_for_event(&envoy, "alarm").await;
    let sent = running.sent();
    wait_for("a step's time", async || {
        let (_, shown) = control::get(&envoy, "/v1/rollouts/digits").await;
        let reason = shown["reason"].as_str().expect("a sentence");
        assert!(reason.starts_with("the step waits: another cluster serves"), "{reason}");
        (running.sent() >= sent + 2_000).then_some(())
    })
    .await;
    assert_eq!(actions(&envoy).iter().filter(|action| *action == "alarm").count(), 1, "it is told once");
    running.stop().await.assert_all_ok();
    // That tenant has gone.
    let running = load(&envoy).start();
    wait_for_event(&envoy, "succeed").await;
    running.stop().await.assert_all_ok();
}

/// The version is told of each answer, not only of the sample that the judge looks at.
#[tokio::test(flavor = "multi_thread")]
async fn each_answer_names_the_version_that_gave_it_or_none() {
    let (blue, green) = blue_and_green().await;
    let odd = json!({"prefix": "/", "headers": [{"name": "x-tenant", "string_match": {"exact": "odd"}}]});
    let cached = json!({"name": "envoy.filters.http.lua", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string":
            "function envoy_on_request(handle)\n\
               if handle:headers():get('x-tenant') == 'cached' then handle:respond({[':status'] = '200'}, 'kept') end\n\
             end"},
    }});
    let envoy =
        between(&blue, &green, Config::rollout("weights: {green: 50}, version_header: {response: true}"))
            .edit_routes(|routes| routes.insert(0, json!({"match": odd, "route": {"cluster": "blue"}})))
            .edit_hcm(|hcm| hcm["http_filters"].as_array_mut().expect("filters").insert(1, cached))
            .start()
            .await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let mut nameless = 0;
    for number in 0..300 {
        let tenant: &[u8] = [&b"odd"[..], b"even", b"cached"][number % 3];
        let answer =
            connection.send(request("GET", "/", &[("x-tenant", tenant)], "")).await.expect("an answer");
        let (by, told) = (answer.upstream().to_owned(), answer.header("x-changeover-version"));
        match tenant {
            b"even" => assert_eq!(told, Some(&*by)),
            b"cached" => assert_eq!((&*by, told), ("none", None), "another filter's answer"),
            _ => assert!(by == "blue" && matches!(told, None | Some("blue")), "{by}, {told:?}"),
        }
        nameless += u32::from(tenant == b"odd" && told.is_none());
    }
    assert!((10..90).contains(&nameless), "{nameless} of 100 were drawn for green and served by blue");
    // Envoy answers for a version whose upstream fails: that is the version's failure, which its client may know.
    let dead = RawUpstream::start(Raw::Garbage).await.address();
    let config = Config::rollout("pin: green, version_header: {response: true}");
    let envoy = Setup::shipped(config).clusters(&[("blue", blue.address()), ("green", dead)]).start().await;
    let answer = get(envoy.address(), "/").await.expect("an answer");
    assert_eq!((answer.status.as_u16(), answer.header("x-changeover-version")), (503, Some("green")));
}

/// A redirect of the whole host, and a version's route that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_requests_are_all_answered_by_routes_waits_and_says_so() {
    let (blue, green) = blue_and_green().await;
    let fields =
        "steps: [{set_weight: 50}, {pause: {duration: 1s}}], analysis: {metrics: [{name: error_rate}]}";
    for action in [to_https(), json!({"direct_response": {"status": 404}})] {
        let setup = between(&blue, &green, Config::rollout(fields)).control().with_own_answers(&action);
        let envoy = setup.start().await;
        let running = load(&envoy).start();
        let event = wait_for_event(&envoy, "alarm").await;
        let message = event["message"].as_str().expect("a sentence");
        assert!(message.contains("or by none (a redirect, a direct response, no route)"), "{message}");
        let elsewhere = [("version", "green"), ("outcome", "elsewhere")];
        wait_for("more than the step's time", async || {
            (envoy.metrics().await.sum("changeover_requests_total", &elsewhere) > 300.0).then_some(())
        })
        .await;
        let (_, shown) = control::get(&envoy, "/v1/rollouts/digits").await;
        let reason = shown["reason"].as_str().expect("a sentence");
        assert!(reason.contains("or a route answers them; Envoy's routes ignore"), "{reason}");
        assert_eq!(shown["step"]["requests"], 0);
        assert!(!actions(&envoy).iter().any(|action| action == "succeed"));
        running.stop().await;
    }
    assert_eq!((blue.count(), green.count()), (0, 0));
}

/// To https, for the clients that come without: their next request is an ordinary one.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_of_some_requests_holds_no_release() {
    let (blue, green) = blue_and_green().await;
    let fields =
        "steps: [{set_weight: 50}, {pause: {duration: 3s}}], analysis: {metrics: [{name: error_rate}]}";
    let plain = json!({"prefix": "/", "headers": [{"name": "x-plain", "present_match": true}]});
    let mut redirect = to_https();
    redirect["match"] = plain;
    let envoy = between(&blue, &green, Config::rollout(fields))
        .edit_routes(|routes| routes.insert(0, redirect))
        .start()
        .await;
    let every_other = |number: u64| {
        let plain: &[(&str, &[u8])] = if number.is_multiple_of(2) { &[("x-plain", b"yes")] } else { &[] };
        request("GET", "/", plain, "")
    };
    let running = load(&envoy).each(every_other).start();
    wait_for_event(&envoy, "succeed").await;
    running.stop().await;
    assert!(!actions(&envoy).iter().any(|action| action == "alarm"));
    assert_eq!(envoy.metrics().await.sum("changeover_requests_total", &[("outcome", "elsewhere")]), 0.0);
}

/// The answer of a route that answers itself belongs to no version, nor does another filter's refusal.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_cluster_counts_for_no_version() {
    let (blue, green) = blue_and_green().await;
    let config = || Config::rollout("pin: green, version_header: {response: true}");
    let direct = between(&blue, &green, config()).with_direct_responses();
    let refused = between(&blue, &green, config()).with_denials();
    let own = |action: Value| between(&blue, &green, config()).with_own_answers(&action);
    let (missing, moved) = (own(json!({"direct_response": {"status": 404}})), own(to_https()));
    let setups = [
        (direct, 200, "elsewhere"),
        (refused, 403, "aborted"),
        (missing, 404, "aborted"),
        (moved, 301, "aborted"),
    ];
    for (setup, status, outcome) in setups {
        let envoy = setup.start().await;
        let answer = get(envoy.address(), "/").await.expect("an answer");
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.header("x-changeover-version"), None, "{status}");
        wait_for("the request to be counted", async || {
            let metrics = envoy.metrics().await;
            (metrics.sum("changeover_requests_total", &[("outcome", outcome)]) == 1.0).then_some(())
        })
        .await;
    }
}

/// The deadline is the version's: it runs from the request's end.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_is_not_the_versions_failure() {
    let (blue, green) = blue_and_green().await;
    let config = "steps: [{set_weight: 100}, {pause: {min_requests: 30}}], \
                  analysis: {deadline: 5s, metrics: [{name: error_rate, max: 0.05}]}";
    let envoy = between(&blue, &green, Config::rollout(config)).start().await;
    wait_for_event(&envoy, "step").await;
    async fn upload(address: SocketAddr) {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nx").await.expect("sent");
        // Far longer than the deadline, and than the tick in which it began stays open.
        tokio::time::sleep(Duration::from_secs(12)).await;
        stream.write_all(b"x").await.expect("sent");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    let uploads: Vec<_> = (0..40).map(|_| tokio::spawn(upload(envoy.address()))).collect();
    for upload in uploads {
        upload.await.expect("no panic");
    }
    wait_for_event(&envoy, "succeed").await;
    assert_eq!(actions(&envoy).iter().filter(|action| *action == "rollback").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_with_five_points_more_errors_is_rolled_back() {
    let (blue, green) = blue_and_green().await;
    blue.set(Behaviour::OneIn(100, Box::new(Behaviour::Status(503))));
    green.set(Behaviour::OneIn(16, Box::new(Behaviour::Status(503))));
    let config = format!("steps: [{{set_weight: 50}}, {{pause: {{}}}}], analysis: {ERRORS_ONLY}");
    let envoy = between(&blue, &green, Config::rollout(&config)).workers(4).start().await;
    let running = load(&envoy).start();
    let event = wait_for_event(&envoy, "rollback").await;
    let message = event["message"].as_str().expect("a sentence");
    assert!(message.contains("at 50 % green is worse than blue (error_rate): "), "{message}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_candidate_finishes_without_a_rollback() {
    const USERS: u64 = 500;
    let (blue, green) = blue_and_green().await;
    let config = |at_25: &str| {
        let step = |weight| {
            let pause = if weight == 25 { at_25 } else { "2s" };
            format!("{{set_weight: {weight}}}, {{pause: {{duration: {pause}}}}}, ")
        };
        let steps: String = [1, 5, 25, 50].into_iter().map(step).collect();
        Config::rollout(&format!(
            "session_affinity: {{header: x-user-id}}, steps: [{steps}{{set_weight: 100}}]"
        ))
    };
    let envoy = between_ecds(&blue, &green, config("1h")).workers(4).start().await;
    let user = |number: u64| number % USERS;
    let running = Load::to(envoy.address())
        .connections(16)
        .each(move |number| request("GET", "/", &[("x-user-id", user(number).to_string().as_bytes())], ""))
        .start();
    // In the middle of it other steps are configured: it stays where it is, on every worker.
    wait_for("25 %", async || events(&envoy).iter().any(|event| event["to"]["green"] == 25.0).then_some(()))
        .await;
    envoy.push(&config("1s")).await;
    wait_for_event(&envoy, "succeed").await;
    let weights: Vec<u64> = events(&envoy)
        .iter()
        .filter(|event| matches!(event["action"].as_str(), Some("step" | "succeed")))
        .map(|event| event["to"]["green"].as_f64().expect("a weight") as u64)
        .collect();
    assert_eq!(weights, [1, 5, 25, 25, 50, 100]);
    // Everybody has had an answer since.
    let sent = running.sent();
    wait_for("everybody once more", async || (running.sent() > sent + 2 * USERS).then_some(())).await;
    // Finishing: green is stable now, by another release without a candidate.
    let finished = "{rollouts: [{name: digits, release: \"2\", versions: {blue: {cluster: blue}, green: {cluster: green}}, stable: green}]}";
    let hash = envoy.config_hashes().await.first().copied();
    envoy.push(&Config::Struct(finished.into())).await;
    envoy.wait_for_hash_other_than(hash).await;
    let sent = running.sent();
    wait_for("everybody once more", async || (running.sent() > sent + 2 * USERS).then_some(())).await;
    let tally = running.stop().await;
    tally.assert_all_ok();
    let mut last = std::collections::BTreeMap::<u64, (u64, &str)>::new();
    for (number, upstream) in &tally.answers {
        // Requests of one user may overtake each other only within the few that are on their way.
        if let Some((before, "green")) = last.insert(user(*number), (*number, upstream)) {
            assert_eq!(upstream, "green", "user {} went back between {before} and {number}", user(*number));
        }
    }
    assert_eq!((blue.count(), green.count()), (tally.from("blue"), tally.from("green")));
}

const LATENCY_TOO: &str =
    "{false_alarm: 0.000001, metrics: [{name: error_rate}, {name: latency, quantiles: [0.5, 0.9]}]}";

/// Both versions take 30 ms, until there are edges to compare with.
async fn both_take_30_ms(blue: &Upstream, green: &Upstream) -> (Envoy, Running) {
    for upstream in [blue, green] {
        upstream.set(Behaviour::Status(200).after(Duration::from_millis(30)));
    }
    let envoy = between(blue, green, at_five_percent(LATENCY_TOO)).workers(4).start().await;
    let running = load(&envoy).start();
    // The 90th percentile needs a thousand of stable's answers.
    wait_for("edges", async || (blue.count() >= 1_500).then_some(())).await;
    (envoy, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_candidate_is_rolled_back_by_its_latency() {
    let (blue, green) = blue_and_green().await;
    let (envoy, running) = both_take_30_ms(&blue, &green).await;
    green.set(Behaviour::Status(200).after(Duration::from_millis(75)));
    let event = wait_for_event(&envoy, "rollback").await;
    assert_eq!(event["rule"], "latency");
    let message = event["message"].as_str().expect("a sentence");
    assert!(message.contains("(latency: slower than "), "{message}");
    running.stop().await.assert_all_ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_common_slowdown_causes_no_finding() {
    let (blue, green) = blue_and_green().await;
    let (envoy, running) = both_take_30_ms(&blue, &green).await;
    for upstream in [&blue, &green] {
        upstream.set(Behaviour::Status(200).after(Duration::from_millis(75)));
    }
    let count = green.count();
    wait_for("enough of it", async || (green.count() > count + 100).then_some(())).await;
    assert_eq!(actions(&envoy), ["start", "step"]);
    running.stop().await.assert_all_ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_never_answers_is_rolled_back() {
    let blue = Upstream::start("blue").await;
    let green = Upstream::start_with("green", Behaviour::gate()).await;
    let config = at_five_percent("{deadline: 1s, metrics: [{name: error_rate}]}");
    let envoy = between(&blue, &green, config).workers(2).start().await;
    let running = load(&envoy).start();
    wait_for_event(&envoy, "rollback").await;
    green.open_gate();
    running.stop().await.assert_all_ok();
}

/// The failures of one side come two seconds later than the other's.
async fn a_common_outage(late: fn(Upstream, Upstream) -> [Upstream; 2]) {
    let (blue, green) = blue_and_green().await;
    let config = at_five_percent("{false_alarm: 0.000001, metrics: [{name: error_rate}]}");
    let envoy = between(&blue, &green, config).workers(4).start().await;
    // Two seconds of requests that wait.
    let running = load(&envoy).connections(500).start();
    wait_for("healthy traffic", async || (green.count() >= 20).then_some(())).await;
    let [first, second] = late(blue, green);
    first.set(Behaviour::Status(503));
    second.set(Behaviour::Status(503).after(Duration::from_secs(2)));
    let sent = running.sent();
    wait_for("ten seconds of it", async || (running.sent() > sent + 2_000).then_some(())).await;
    for upstream in [&first, &second] {
        upstream.set(Behaviour::Status(200));
    }
    let sent = running.sent();
    wait_for("its end", async || (running.sent() > sent + 1_400).then_some(())).await;
    assert_eq!(actions(&envoy), ["start", "step"]);
    let tally = running.stop().await;
    assert!(tally.failed() > 1_000, "it was an outage: {}", tally.failed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_common_outage_causes_no_rollback() {
    a_common_outage(|blue, green| [blue, green]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_common_outage_known_later_of_stable_causes_no_rollback() {
    a_common_outage(|blue, green| [green, blue]).await;
}

/// Healthy traffic, then one failure of the candidate among it: some evidence, not enough.
async fn some_evidence(envoy: &Envoy, green: &Upstream) -> f64 {
    // What came before the run is no evidence in it.
    wait_for_event(envoy, "start").await;
    wait_for("healthy traffic", async || (green.count() >= 5).then_some(())).await;
    green.set(Behaviour::Status(503));
    let count = green.count();
    wait_for("a failure", async || (green.count() > count).then_some(())).await;
    green.set(Behaviour::Status(200));
    wait_for("evidence", async || {
        let evidence = evidence(envoy).await;
        (evidence > 200.0).then_some(evidence)
    })
    .await
}

/// Thousandths of the decimal logarithm of the evidence.
async fn evidence(envoy: &Envoy) -> f64 {
    envoy.metrics().await.sum("changeover_evidence", &[("metric", "error_rate")])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_pushes_lose_neither_requests_nor_evidence() {
    let (blue, green) = blue_and_green().await;
    // Three failures could be enough for 1 %; nothing is enough for this.
    let at = |n: u32| {
        at_five_percent(&format!("{{false_alarm: 0.0000000{}, metrics: [{{name: error_rate}}]}}", n + 10))
    };
    let envoy = between_ecds(&blue, &green, at(0)).workers(4).start().await;
    let running = load(&envoy).start();
    some_evidence(&envoy, &green).await;
    let mut hash = envoy.config_hashes().await.first().copied();
    for n in 1..=200 {
        envoy.push(&at(n % 20)).await;
        hash = Some(envoy.wait_for_hash_other_than(hash).await);
    }
    let before = evidence(&envoy).await;
    assert!(before > 0.0, "the evidence has gone");
    assert_eq!(actions(&envoy), ["start", "step"], "the run goes on where it is");
    assert_eq!(envoy.metrics().await.sum("changeover_weight", &[("version", "green")]), 500.0);
    let tally = running.stop().await;
    assert!(tally.failed() <= 10 && tally.errors.is_empty(), "{:?}", tally.errors);
    assert_eq!((blue.count(), green.count()), (tally.from("blue"), tally.from("green")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metric_that_is_defined_anew_starts_anew() {
    let (blue, green) = blue_and_green().await;
    let at = |tolerate: f64| {
        at_five_percent(&format!(
            "{{false_alarm: 0.000000001, metrics: [{{name: error_rate, tolerate: {tolerate:.2}}}]}}"
        ))
    };
    let envoy = between_ecds(&blue, &green, at(1.0)).workers(2).start().await;
    let running = load(&envoy).start();
    some_evidence(&envoy, &green).await;
    for n in 1..=20 {
        let hash = envoy.config_hashes().await.first().copied();
        envoy.push(&at(1.0 + f64::from(n) / 100.0)).await;
        envoy.wait_for_hash_other_than(hash).await;
    }
    let event = wait_for_event(&envoy, "change").await;
    assert_eq!(event["message"], "error_rate is redefined and starts without evidence");
    // At the rest of the run's clock, which is below 1, never at 1.
    wait_for("no evidence", async || (evidence(&envoy).await == 0.0).then_some(())).await;
    let tally = running.stop().await;
    assert!(tally.errors.is_empty(), "{:?}", tally.errors);
}

/// A VM that has trapped reports nothing any more: the others go on without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_trapped_worker_stalls_nothing() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, at_five_percent(ERRORS_ONLY))
        .workers(4)
        .module("target/changeover-test.wasm")
        .start()
        .await;
    let running = load(&envoy).start();
    wait_for("healthy traffic", async || (green.count() >= 10).then_some(())).await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let _ = connection.send(request("GET", "/", &[("x-test-trap", b"1")], "")).await;
    green.set(Behaviour::Status(503));
    wait_for_event(&envoy, "rollback").await;
    running.settle().await;
    let count = green.count();
    let sent = running.sent();
    wait_for("more load", async || (running.sent() > sent + 300).then_some(())).await;
    assert!(green.count() <= count + 5, "no request goes to green any more");
    running.stop().await;
}

/// Several rollouts of one name, on two listeners, are one: configured alike under one root id, or under two.
#[tokio::test(flavor = "multi_thread")]
async fn two_listeners_count_for_one_rollout() {
    for root_id in ["changeover", "second"] {
        on_two_listeners(root_id).await;
    }
}

async fn on_two_listeners(root_id: &str) {
    let (blue, green) = blue_and_green().await;
    // A slow answer of stable keeps most ticks open.
    blue.set(Behaviour::OneIn(50, Box::new(Behaviour::Status(200).after(Duration::from_secs(3)))));
    let config = || at_five_percent(ERRORS_ONLY);
    let setup = between(&blue, &green, config()).second_listener("second", root_id, config());
    let envoy = setup.workers(2).start().await;
    green.set(Behaviour::Status(503));
    let one = load(&envoy).start();
    let two = Load::to(envoy.address_of("second")).connections(16).per_second(100.0).start();
    let event = wait_for_event(&envoy, "rollback").await;
    let samples = &event["samples"];
    assert!(samples["candidate"]["units"].as_u64() <= Some(green.count()), "{samples}: counted twice");
    assert_eq!(actions(&envoy).iter().filter(|action| *action == "rollback").count(), 1);
    let sent = two.sent();
    wait_for("more load", async || (two.sent() > sent + 100).then_some(())).await;
    let count = green.count();
    wait_for("more load", async || (two.sent() > sent + 300).then_some(())).await;
    assert_eq!(green.count(), count, "taken back on both");
    one.stop().await;
    two.stop().await;
}

/// Stable has no traffic any more: the candidate is compared with what stable did before.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_breaks_after_the_last_step_is_rolled_back() {
    let (blue, green) = blue_and_green().await;
    let config = Config::rollout(
        "steps: [{set_weight: 50}, {pause: {duration: 1s, min_requests: 1200}}], auto_rollback_window: 10m, \
         analysis: {metrics: [{name: error_rate}]}",
    );
    let envoy = between(&blue, &green, config).control().workers(2).start().await;
    let running = Load::to(envoy.address()).connections(32).per_second(500.0).start();
    wait_for("the watch", async || {
        let rollout = control::get(&envoy, "/v1/rollouts/digits").await.1;
        (!rollout["watch"].is_null()).then_some(rollout)
    })
    .await;
    let (before, healthy) = (blue.count(), green.count());
    wait_for("requests to the candidate", async || (green.count() > healthy + 300).then_some(())).await;
    assert!(actions(&envoy).iter().all(|action| action != "rollback"));
    assert!(blue.count() <= before + 50, "stable has no traffic any more");
    green.set(Behaviour::Status(500));
    let event = wait_for_event(&envoy, "rollback").await;
    assert_eq!(event["rule"], "error_rate.window", "{event}");
    let message = event["message"].as_str().expect("a sentence");
    assert!(message.contains("since the last step"), "{message}");
    let sent = running.sent();
    wait_for("more load", async || (running.sent() > sent + 300).then_some(())).await;
    running.stop().await;
    assert_eq!(control::get(&envoy, "/v1/rollouts/digits").await.1["phase"], "failed");
}

/// One connection to green, for which requests wait: as long as making one may take that is not green's, longer it is.
#[tokio::test(flavor = "multi_thread")]
async fn the_wait_for_a_connection_is_not_the_versions_latency() {
    let (blue, green) = blue_and_green().await;
    // No difference in milliseconds is tolerated, which would hide what is left out: only a factor of 1.41.
    let config = || {
        Config::rollout(
            "steps: [{set_weight: 50}, {pause: {}}], analysis: {warm_up: {requests: 0}, \
             metrics: [{name: latency, quantiles: [0.9], tolerate: 1.41, or_milliseconds: 0}]}",
        )
    };
    let one_connection = |bootstrap: &mut serde_json::Value| {
        bootstrap["static_resources"]["clusters"][1]["circuit_breakers"] =
            json!({"thresholds": [{"max_connections": 1}]});
    };
    // Four clients: where an answer takes 10 ms, a request waits for 30 ms at most.
    for upstream in [&blue, &green] {
        upstream.set(Behaviour::Status(200).after(Duration::from_millis(10)));
    }
    let envoy = between(&blue, &green, config()).edit(one_connection).workers(1).start().await;
    let running = Load::to(envoy.address()).connections(4).start();
    // The edge is known after 1,000 of stable's.
    wait_for("judged requests", async || (blue.count() >= 2_000).then_some(())).await;
    running.stop().await.assert_all_ok();
    let waited = envoy.stat("cluster.green.upstream_cx_overflow").await;
    assert!(waited > 50, "{waited} requests had to wait");
    assert!(actions(&envoy).iter().all(|action| action != "rollback"), "{:?}", events(&envoy));
    drop(envoy);

    for upstream in [&blue, &green] {
        upstream.set(Behaviour::Status(200).after(Duration::from_millis(20)));
    }
    let envoy = between(&blue, &green, config()).edit(one_connection).workers(1).start().await;
    let running = Load::to(envoy.address()).connections(24).start();
    let event = wait_for_event(&envoy, "rollback").await;
    assert_eq!(event["rule"], "latency", "{event}");
    running.stop().await;
}
