//! What users do afterwards: events that are posted later, to any worker, count for the version that the user had.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::harness::control::{get, known};
use crate::harness::*;
use bytes::Bytes;
use changeover::receipt::answer::Receipt;
use changeover::receipt::seal::{Keys, NONCE};
use http_body_util::Full;
use hyper::Request;
use serde_json::json;

/// Clicks, as OpenSearch's User Behavior Insights reports them.
const CLICKS: &str = "{name: click, match: {path: /v1/events, methods: [POST], body: {/action_name: click}}, join: user, within: 0s, \
                      better: more}";

/// A rollout of `/search` at 50 % whose users click, with these further fields.
fn search(fields: &str) -> Config {
    Config::rollout(&format!(
        "match: {{prefix: /search}}, session_affinity: {{header: x-user-id}}, feedback: [{CLICKS}], {fields}"
    ))
}

/// A rollout that judges clicks.
fn judged() -> Config {
    search(
        "steps: [{set_weight: 50}, {pause: {}}], analysis: {metrics: [{name: error_rate}, {name: feedback.click}]}",
    )
}

fn searched(user: u64) -> Request<Full<Bytes>> {
    request("POST", "/search", &[("x-user-id", user.to_string().as_bytes())], "{\"q\": \"shoes\"}")
}

fn event(user: u64, action: &str) -> Request<Full<Bytes>> {
    let body = json!({"action_name": action, "client_id": user, "query_id": "q"}).to_string();
    request("POST", "/v1/events", &[("x-user-id", user.to_string().as_bytes())], body)
}

/// Events by version and result.
async fn heard(envoy: &Envoy) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for series in envoy.metrics().await.series("changeover_feedback_total") {
        let label = |name: &str| series.labels.get(name).map_or("-", String::as_str);
        assert_eq!(label("rollout"), "digits");
        let what = format!("{} {}", label("version"), label("result"));
        *counts.entry(what).or_default() += series.value as u64;
    }
    counts
}

/// Waits until so many events are counted.
async fn heard_of(envoy: &Envoy, count: u64) -> BTreeMap<String, u64> {
    wait_for("events to be counted", async || {
        let heard = heard(envoy).await;
        (heard.values().sum::<u64>() >= count).then_some(heard)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_count_for_the_version_of_their_user_at_any_worker_and_after_a_restart() {
    const USERS: u64 = 600;
    let (blue, green) = blue_and_green().await;
    let setup = || between(&blue, &green, search("weights: {green: 50}")).workers(3);
    let before = setup().start().await;
    let found = Load::to(before.address()).each(searched).send(USERS).await;
    found.assert_all_ok();
    // Every third user clicks, every other one twice; some only look.
    let clicks: Vec<u64> = (0..USERS)
        .filter(|user| user % 3 == 0)
        .flat_map(|user| std::iter::repeat_n(user, 1 + (user % 2) as usize))
        .collect();
    let expected = |clicks: &[u64]| {
        let of = |version: &str| clicks.iter().filter(|user| found.answers[user] == version).count() as u64;
        BTreeMap::from([("blue counted".to_owned(), of("blue")), ("green counted".to_owned(), of("green"))])
    };
    let post = async |envoy: &Envoy, clicks: Vec<u64>| {
        let count = clicks.len() as u64;
        let (sent, expected) = (clicks.clone(), expected(&clicks));
        let looks = Load::to(envoy.address()).each(|user| event(user, "view")).send(100).await;
        looks.assert_all_ok();
        let tally =
            Load::to(envoy.address()).each(move |at| event(sent[at as usize], "click")).send(count).await;
        tally.assert_all_ok();
        assert_eq!(heard_of(envoy, count).await, expected);
    };
    post(&before, clicks[..100].to_vec()).await;
    drop(before);
    blue.take_seen();
    let envoy = setup().start().await;
    post(&envoy, clicks[100..].to_vec()).await;
    let events =
        blue.take_seen().into_iter().chain(green.take_seen()).filter(|seen| seen.target == "/v1/events");
    let bodies: Vec<Bytes> = events.map(|seen| seen.body).collect();
    assert!(bodies.len() >= clicks.len() - 100, "they go where they would go anyway");
    for body in bodies {
        let body: serde_json::Value = serde_json::from_slice(&body).expect("the body as it was sent");
        assert!(body["client_id"].is_number() && body["query_id"] == "q");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_without_a_user_or_that_cannot_be_read_count_for_no_version() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, search("weights: {green: 50}")).start().await;
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let user: (&str, &[u8]) = ("x-user-id", b"7");
    let large = format!("{{\"action_name\": \"click\", \"more\": \"{}\"}}", "x".repeat(300 * 1_024));
    for (headers, body) in [
        (&[user][..], "{\"action_name\": \"click\"".to_owned()),
        (&[user], String::new()),
        (&[user], large),
        (&[], "{\"action_name\": \"click\"}".to_owned()),
        (&[], "{\"action_name\": \"view\"}".to_owned()),
        (&[user], "[{\"action_name\": \"click\"}]".to_owned()),
        (&[user], "{\"action_name\": \"click\"}".to_owned()),
    ] {
        let answer = connection.send(request("POST", "/v1/events", headers, body)).await.expect("an answer");
        assert_eq!(answer.status, 200);
    }
    let counted = heard_of(&envoy, 5).await;
    let version = if counted.contains_key("green counted") { "green" } else { "blue" };
    let expected = [(format!("{version} counted"), 1), ("- no_user".into(), 1), ("- unreadable".into(), 3)];
    assert_eq!(counted, BTreeMap::from(expected));
    let other = connection.send(request("GET", "/v1/events", &[user], "")).await.expect("an answer");
    assert_eq!(other.status, 200);
    assert_eq!(heard(&envoy).await.values().sum::<u64>(), 5, "another method");
}

/// Clients, each over a connection of its own. `act` gets the numbers of the users who come next, so many together, until `stop`,
/// or there were so many. Returns how many there were.
async fn users(
    envoy: &Envoy,
    (most, together): (u64, u64),
    stop: &AtomicBool,
    act: impl AsyncFn(&mut Connection, Range<u64>),
) -> u64 {
    const CLIENTS: usize = 8;
    let next = AtomicU64::new(0);
    let client = async |_| {
        let mut connection = Connection::open(envoy.address()).await.expect("a connection");
        loop {
            let from = next.fetch_add(together, Ordering::Relaxed);
            if from >= most || stop.load(Ordering::Relaxed) {
                return;
            }
            act(&mut connection, from..from + together).await;
        }
    };
    futures_util::future::join_all((0..CLIENTS).map(client)).await;
    next.into_inner().min(most)
}

/// Whether a user does what these parts of `blue`'s and of `green`'s users do.
fn does(user: u64, answer: &Answer, (of_blue, of_green): (f64, f64)) -> bool {
    let part = if answer.upstream() == "green" { of_green } else { of_blue };
    fastrand::Rng::with_seed(user * 7_919 + 1).f64() < part
}

/// Users search and click, some of those who got `blue` and some of those who got `green`, until `stop`, or there were so
/// many. Returns how many there were.
async fn click(envoy: &Envoy, parts: (f64, f64), most: u64, stop: &AtomicBool) -> u64 {
    users(envoy, (most, 1), stop, async |connection, users| {
        for user in users {
            let answer = connection.send(searched(user)).await.expect("an answer");
            assert_eq!(answer.status, 200);
            let action = if does(user, &answer, parts) { "click" } else { "view" };
            connection.send(event(user, action)).await.expect("an answer");
        }
    })
    .await
}

/// The rollback that comes while users do something, until it has come, and what became of them.
async fn rollback_during<T>(
    envoy: &Envoy,
    stop: &AtomicBool,
    users: impl Future<Output = T>,
) -> (T, serde_json::Value) {
    let rollback = async {
        let event = wait_for_event(envoy, "rollback").await;
        stop.store(true, Ordering::Relaxed);
        event
    };
    tokio::join!(users, rollback)
}

/// Waits until more than so many events of a metric were judged, some seconds after they came. Nothing is done about them.
async fn assert_no_rollback(envoy: &Envoy, metric: &str, events: u64) {
    let rollout = wait_for("all events to be judged", async || {
        let (_, rollout) = get(envoy, "/v1/rollouts/digits").await;
        let metrics = rollout["evidence"].as_array()?;
        let found = metrics.iter().find(|found| found["metric"] == metric)?;
        let samples = &found["tests"][0]["samples"];
        let seen = |side: &str| samples[side]["events"].as_u64();
        (seen("candidate")? + seen("stable")? > events).then_some(rollout)
    })
    .await;
    assert_eq!(rollout["phase"], "paused", "{rollout}");
    assert_eq!(actions(envoy).iter().filter(|action| *action == "rollback").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_with_a_fifth_fewer_clicks_and_equal_errors_is_rolled_back() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, judged()).control().workers(2).start().await;
    known(&envoy).await;
    let stop = AtomicBool::new(false);
    let (users, event) = rollback_during(&envoy, &stop, click(&envoy, (0.5, 0.4), 40_000, &stop)).await;
    println!("rolled back after about {users} users: {event}");
    assert_eq!(event["rule"], "feedback.click", "{event}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_with_as_many_clicks_is_not_rolled_back() {
    const USERS: u64 = 6_000;
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, judged()).control().workers(2).start().await;
    known(&envoy).await;
    click(&envoy, (0.4, 0.4), USERS, &AtomicBool::default()).await;
    assert_no_rollback(&envoy, "feedback.click", USERS * 38 / 100).await;
}

/// Ratings, by the receipt of the answer.
const RATINGS: &str = "{name: rating, match: {path: /v1/feedback, methods: [POST]}, join: receipt, receipt: /receipt, value: /score, \
                       bad_below: 0, within: 0s}";

/// Thumbs, with the receipt in the header that the answer has it in.
const THUMBS: &str = "{name: thumb, match: {path: /v1/thumbs, body: {/thumb: down}}, join: receipt}";

/// Evaluations by OpenTelemetry's names, as docs/feedback.md has them.
const EVALUATIONS: &str = "{name: relevance, match: {path: /v1/evaluations, methods: [POST], \
                           body: {/attributes/gen_ai.evaluation.name: relevance}}, join: receipt, receipt: /attributes/changeover.receipt, \
                           value: /attributes/gen_ai.evaluation.score.value, bad_below: 0.5}";

/// A rollout whose answers carry receipts, with these further fields.
fn rated(fields: &str) -> Config {
    Config::rollout(&format!(
        "match: {{prefix: /search}}, receipt: {{response_header: X-Receipt}}, feedback: [{RATINGS}, {THUMBS}, {EVALUATIONS}], {fields}"
    ))
}

fn evaluation(receipt: &str, name: &str, score: f64) -> Request<Full<Bytes>> {
    let attributes = json!({
        "gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": score, "changeover.receipt": receipt,
    });
    let event = json!({"name": "gen_ai.evaluation.result", "attributes": attributes});
    request("POST", "/v1/evaluations", &[], event.to_string())
}

fn rating(receipt: &str, score: &serde_json::Value) -> Request<Full<Bytes>> {
    request("POST", "/v1/feedback", &[], json!({"score": score, "receipt": receipt}).to_string())
}

fn thumb(receipt: &str) -> Request<Full<Bytes>> {
    request("POST", "/v1/thumbs", &[("x-receipt", receipt.as_bytes())], "{\"thumb\": \"down\"}")
}

/// So many answers: their versions and receipts.
async fn answers(envoy: &Envoy, count: usize) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    for _ in 0..count {
        let answer = connection.send(request("GET", "/search", &[], "")).await.expect("an answer");
        let receipt = answer.header("x-receipt").expect("a receipt").to_owned();
        assert_eq!(receipt.len(), 124, "{receipt}");
        all.push((answer.upstream().to_owned(), receipt));
    }
    let different: std::collections::BTreeSet<&String> = all.iter().map(|(_, receipt)| receipt).collect();
    assert_eq!(different.len(), count);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn ratings_with_a_receipt_count_for_the_version_that_answered_at_any_worker_weight_and_after_a_restart()
{
    const ANSWERS: usize = 600;
    let (blue, green) = blue_and_green().await;
    let setup = |weight: u32| {
        between(&blue, &green, rated(&format!("weights: {{green: {weight}}}"))).with_people().workers(3)
    };
    let before = setup(50).start().await;
    let given = answers(&before, ANSWERS).await;
    drop(before);
    let envoy = setup(10).start().await;
    // Every third answer is rated badly, every third well, and the others not at all.
    let rated: Vec<(u64, String)> = (0..)
        .zip(&given)
        .filter(|(at, _)| at % 3 != 2)
        .map(|(at, (_, receipt))| (at, receipt.clone()))
        .collect();
    let of = |version: &str, rest: usize| {
        given.iter().enumerate().filter(|(at, (of, _))| at % 3 == rest && of == version).count() as u64
    };
    let expected = BTreeMap::from(
        [("blue", 0, "counted"), ("green", 0, "counted"), ("blue", 1, "good"), ("green", 1, "good")]
            .map(|(version, rest, result)| (format!("{version} {result}"), of(version, rest))),
    );
    let (count, sent) = (rated.len() as u64, rated.clone());
    let tally = Load::to(envoy.address())
        .each(move |at| {
            let (number, receipt) = &sent[at as usize % sent.len()];
            rating(receipt, &json!(if number % 3 == 0 { -0.5 } else { 0.0 }))
        })
        .send(count)
        .await;
    tally.assert_all_ok();
    assert_eq!(heard_of(&envoy, count).await, expected);
    // Another rule may count the same answers; a rating that comes again does not.
    let again: Vec<String> = rated.iter().take(30).map(|(_, receipt)| receipt.clone()).collect();
    let thumbs = Load::to(envoy.address()).each({
        let again = again.clone();
        move |at| thumb(&again[at as usize % again.len()])
    });
    thumbs.send(30).await.assert_all_ok();
    Load::to(envoy.address())
        .each(move |at| rating(&again[at as usize % again.len()], &json!(-1)))
        .send(30)
        .await
        .assert_all_ok();
    let heard = heard_of(&envoy, count + 60).await;
    assert_eq!(heard.get("- repeated"), Some(&30), "{heard:?}");
    let counted = |heard: &BTreeMap<String, u64>| {
        heard.iter().filter(|(what, _)| what.ends_with("counted")).map(|(_, n)| n).sum::<u64>()
    };
    assert_eq!(counted(&heard), counted(&expected) + 30, "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_a_receipt_of_the_rollout_that_is_valid_and_new_counts_for_no_version() {
    let (blue, green) = blue_and_green().await;
    // What an upstream says of receipts is not the filter's.
    for upstream in [&blue, &green] {
        upstream.set(Make::by(|_, _| Made {
            status: None,
            headers: vec![("x-receipt", "an upstream's".to_owned())],
            pieces: vec![],
        }));
    }
    let envoy = between(&blue, &green, rated("weights: {green: 50}")).with_people().control().start().await;
    let given = answers(&envoy, 3).await;
    let (version, receipt) = given[0].clone();
    let keys = Keys::new(RECEIPT_KEY, None).expect("a key");
    let (of_answer, _) = Receipt::open(&keys, "digits", receipt.as_bytes()).expect("the filter's receipt");
    let sealed = |receipt: Receipt, rollout: &str, keys: &Keys| {
        receipt.seal(keys, rollout, &[fastrand::u8(..); NONCE]).expect("a receipt")
    };
    let day = 24 * 3_600_000;
    let old = Receipt { time: of_answer.time - day - 1_000, ..of_answer };
    let other_key = Keys::new("/////////////////////////////////////////w8=", None).expect("a key");
    let mut all = 0;
    let mut expect = async |request: Request<Full<Bytes>>, result: &str| {
        let before = heard(&envoy).await.get(result).copied().unwrap_or(0);
        let mut connection = Connection::open(envoy.address()).await.expect("a connection");
        assert_eq!(connection.send(request).await.expect("an answer").status, 200);
        all += 1;
        let counted = heard_of(&envoy, all).await;
        assert_eq!(counted.get(result).copied(), Some(before + 1), "{result}: {counted:?}");
    };
    let bad = json!(-1);
    for at in 0..receipt.len() {
        let mut changed = receipt.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        expect(rating(&String::from_utf8(changed).expect("ASCII"), &bad), "- forged").await;
    }
    expect(rating("", &bad), "- forged").await;
    expect(rating(&sealed(of_answer, "letters", &keys), &bad), "- forged").await;
    expect(rating(&sealed(of_answer, "digits", &other_key), &bad), "- forged").await;
    expect(rating(&sealed(old, "digits", &keys), &bad), "- late").await;
    let of_other_release = Receipt { run: of_answer.run ^ 1, ..of_answer };
    expect(rating(&sealed(of_other_release, "digits", &keys), &bad), "- late").await;
    for (body, result) in [
        (json!({"score": -1}).to_string(), "- no_receipt"),
        (json!({"score": -1, "receipt": 7}).to_string(), "- no_receipt"),
        (json!({"receipt": receipt}).to_string(), "- unreadable"),
        (json!({"receipt": receipt, "score": "-1"}).to_string(), "- unreadable"),
        ("no JSON".into(), "- unreadable"),
        (String::new(), "- unreadable"),
    ] {
        expect(request("POST", "/v1/feedback", &[], body), result).await;
    }
    let no_header = request("POST", "/v1/thumbs", &[], "{\"thumb\": \"down\"}");
    expect(no_header, "- no_receipt").await;
    // Nothing of all that has used the receipt up.
    expect(rating(&receipt, &bad), &format!("{version} counted")).await;
    expect(rating(&receipt, &bad), "- repeated").await;
    expect(thumb(&receipt), &format!("{version} counted")).await;
    expect(thumb(&receipt), "- repeated").await;
    expect(rating(&given[1].1, &json!(3)), &format!("{} good", given[1].0)).await;
    expect(rating(&given[1].1, &bad), "- repeated").await;
    expect(evaluation(&receipt, "relevance", 0.31), &format!("{version} counted")).await;
    expect(evaluation(&given[1].1, "relevance", 0.5), &format!("{} good", given[1].0)).await;
    // The rule does not match another evaluation.
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let other = connection.send(evaluation(&given[2].1, "toxicity", 0.1)).await;
    assert_eq!(other.expect("an answer").status, 200);
    expect(evaluation(&given[2].1, "relevance", 0.49), &format!("{} counted", given[2].0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_answers_cannot_carry_receipts_and_the_configuration_is_refused_with_the_remedy() {
    let (blue, green) = blue_and_green().await;
    let log = between(&blue, &green, rated("weights: {green: 50}")).start_refused().await;
    let expected = "rollouts[0].receipt: no key for receipts; expected 32 bytes in base64 in the environment variable \
                    CHANGEOVER_RECEIPT_KEY";
    assert!(log.contains(expected), "{log}");
}

/// Users get answers and rate them badly, some of those by `blue` and some of those by `green`, until `stop`, or there were
/// so many.
async fn rate(envoy: &Envoy, parts: (f64, f64), most: u64, stop: &AtomicBool) {
    users(envoy, (most, 1), stop, async |connection, numbers| {
        for number in numbers {
            let answer = connection.send(request("GET", "/search", &[], "")).await.expect("an answer");
            let receipt = answer.header("x-receipt").expect("a receipt");
            let score = json!(if does(number, &answer, parts) { -1 } else { 1 });
            connection.send(rating(receipt, &score)).await.expect("an answer");
        }
    })
    .await;
}

/// A rollout that judges ratings, of answers.
fn rating_judged() -> Config {
    rated(
        "steps: [{set_weight: 20}, {pause: {}}], analysis: {false_alarm: 0.000001, metrics: [{name: error_rate}, {name: feedback.rating}]}",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_whose_answers_are_rated_badly_twice_as_often_is_rolled_back() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, rating_judged()).with_people().control().workers(2).start().await;
    known(&envoy).await;
    let stop = AtomicBool::new(false);
    let ((), event) = rollback_during(&envoy, &stop, rate(&envoy, (0.1, 0.2), 60_000, &stop)).await;
    assert_eq!(event["rule"], "feedback.rating", "{event}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_whose_answers_are_rated_alike_is_not_rolled_back() {
    const ANSWERS: u64 = 6_000;
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, rating_judged()).with_people().control().workers(2).start().await;
    known(&envoy).await;
    rate(&envoy, (0.3, 0.3), ANSWERS, &AtomicBool::default()).await;
    assert_no_rollback(&envoy, "feedback.rating", ANSWERS * 28 / 100).await;
}

/// Users who search again, and users who then type, however long a busy machine takes.
const AGAIN: &str = "{name: redo, after: same, not_before: 2s, within: 10m}, {name: switch, after: {rollout: text}, within: 10m}";

/// A rollout of `/search` that follows its users, and one of `/text` to which they may switch.
fn followed() -> Config {
    let search = Config::blue_green(
        "digits",
        &format!(
            "match: {{prefix: /search}}, session_affinity: {{header: x-user-id}}, steps: [{{set_weight: 50}}, {{pause: {{}}}}], \
             analysis: {{dry_run: true, metrics: [{{name: feedback.redo}}, {{name: feedback.switch}}]}}, feedback: [{AGAIN}]"
        ),
    );
    let text = Config::blue_green("text", "match: {prefix: /text}");
    Config::Struct(format!("{{rollouts: [{search}, {text}]}}"))
}

fn typed(user: u64) -> Request<Full<Bytes>> {
    request("GET", "/text", &[("x-user-id", user.to_string().as_bytes())], "")
}

/// Events of a rule by version.
async fn heard_by(envoy: &Envoy, rule: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for series in envoy.metrics().await.series("changeover_feedback_total") {
        let label = |name: &str| series.labels.get(name).map_or("-", String::as_str);
        if label("name") == rule {
            assert_eq!((label("rollout"), label("result")), ("digits", "counted"));
            *counts.entry(label("version").to_owned()).or_default() += series.value as u64;
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn users_who_search_again_or_switch_count_for_the_version_that_answered_them_over_workers() {
    const USERS: u64 = 600;
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, followed()).workers(3).control().start().await;
    known(&envoy).await;
    // Users have no names until a key was drawn for them.
    let probes = AtomicU64::new(1_000_000);
    wait_for("users to be counted", async || {
        let from = probes.fetch_add(24, Ordering::Relaxed);
        Load::to(envoy.address()).each(move |at| searched(from + at)).send(24).await.assert_all_ok();
        let (_, rollout) = get(&envoy, "/v1/rollouts/digits").await;
        (rollout["step"]["requests"].as_u64()? > 0).then_some(())
    })
    .await;
    let found = Load::to(envoy.address()).each(searched).send(USERS).await;
    found.assert_all_ok();
    let since = std::time::Instant::now();
    let is_later = || since.elapsed().as_secs_f64() >= 3.1;
    wait_for("a later search to be a repetition", async || is_later().then_some(())).await;
    // A third search again, twice in a moment; a third types; and some type who have not searched.
    Load::to(envoy.address()).each(|at| searched(at / 2 * 3)).send(USERS / 3 * 2).await.assert_all_ok();
    Load::to(envoy.address()).each(|at| typed(at * 3 + 1)).send(USERS / 3).await.assert_all_ok();
    Load::to(envoy.address()).each(|at| typed(2_000_000 + at)).send(100).await.assert_all_ok();
    let expected = |rest: u64| {
        let mut counts = BTreeMap::new();
        for user in (0..USERS).filter(|user| user % 3 == rest) {
            *counts.entry(found.answers[&user].clone()).or_insert(0_u64) += 1;
        }
        counts
    };
    for (rule, rest) in [("redo", 0), ("switch", 1)] {
        let counted = wait_for("all users to be counted", async || {
            let counted = heard_by(&envoy, rule).await;
            (counted.values().sum::<u64>() >= USERS / 3).then_some(counted)
        })
        .await;
        assert_eq!(counted, expected(rest), "{rule}");
    }
}

/// Users search, and some of them again a moment later, of `blue` and of `green`, until `stop`, or there were so many.
async fn insist(envoy: &Envoy, parts: (f64, f64), most: u64, stop: &AtomicBool) {
    users(envoy, (most, 200), stop, async |connection, users| {
        let mut again = Vec::new();
        for user in users {
            let answer = connection.send(searched(user)).await.expect("an answer");
            if does(user, &answer, parts) {
                again.push(user);
            }
        }
        // What users take to see that they have to search again.
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        for user in again {
            connection.send(searched(user)).await.expect("an answer");
        }
    })
    .await;
}

/// A rollout that judges how often users search again.
fn insisting() -> Config {
    Config::rollout(
        "match: {prefix: /search}, session_affinity: {header: x-user-id}, steps: [{set_weight: 50}, {pause: {}}], \
         feedback: [{name: redo, after: same, not_before: 1s, within: 10s}], \
         analysis: {metrics: [{name: error_rate}, {name: feedback.redo}]}",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_whose_users_search_again_half_as_often_again_is_rolled_back() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, insisting()).control().workers(2).start().await;
    known(&envoy).await;
    let stop = AtomicBool::new(false);
    let ((), event) = rollback_during(&envoy, &stop, insist(&envoy, (0.3, 0.45), 60_000, &stop)).await;
    assert_eq!(event["rule"], "feedback.redo", "{event}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_whose_users_search_again_as_often_is_not_rolled_back() {
    const USERS: u64 = 15_000;
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, insisting()).control().workers(2).start().await;
    known(&envoy).await;
    insist(&envoy, (0.3, 0.3), USERS, &AtomicBool::default()).await;
    assert_no_rollback(&envoy, "feedback.redo", 500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_its_server_refuses_does_not_count_and_one_whose_client_has_left_does() {
    let (blue, green) = blue_and_green().await;
    let envoy = between(&blue, &green, rated("weights: {green: 50}")).with_people().start().await;
    let (version, receipt) = answers(&envoy, 1).await.remove(0);
    let mut connection = Connection::open(envoy.address()).await.expect("a connection");
    let mut rate = async |status: u16| {
        [&blue, &green].into_iter().for_each(|upstream| upstream.set(Behaviour::Status(status)));
        let answer = connection.send(rating(&receipt, &json!(-1))).await.expect("an answer");
        assert_eq!(answer.status, status);
    };
    for (count, status) in (1..).zip([400, 401, 404, 503]) {
        rate(status).await;
        assert_eq!(heard_of(&envoy, count).await, BTreeMap::from([("- refused".to_owned(), count)]));
    }
    rate(204).await;
    let counted = heard_of(&envoy, 5).await;
    assert_eq!(
        counted.get(&format!("{version} counted")),
        Some(&1),
        "its receipt is still good: {counted:?}"
    );

    [&blue, &green].into_iter().for_each(|upstream| upstream.set(Behaviour::gate()));
    let before = blue.count() + green.count();
    let left = tokio::spawn(async move { connection.send(thumb(&receipt)).await.map(|_| ()) });
    wait_for("its arrival", async || (blue.count() + green.count() > before).then_some(())).await;
    left.abort();
    let counted = heard_of(&envoy, 6).await;
    assert_eq!(counted.get(&format!("{version} counted")), Some(&2), "{counted:?}");
}
