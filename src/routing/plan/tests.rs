use super::*;
use crate::compare::Answer;
use crate::config::fixture;
use crate::model::{Assignment, Share, Side, UserHash};
use crate::payload::head::Encoding;
use crate::receipt::answer;
use crate::rollout::clock::Clock;
use crate::rollout::command::Command;
use crate::rollout::record::{Head, Record};
use crate::routing::fixture::Sample;
use crate::routing::mirror::Mirrored;
use crate::telemetry::mirror_result::MirrorResult;
use serde_json::{Value, json};

fn plan(changes: Value) -> Plan {
    let versions = json!({"blue": {"cluster": "b"}, "green": {"cluster": "g"}, "amber": {"cluster": "a"}});
    let rollout = fixture::rollout(&json!({"versions": versions}));
    Plan::new(&fixture::config(&[fixture::with(rollout, &changes)]))
}

fn request() -> Sample {
    Sample::new("GET", "h", "/")
}

/// The version's name, and whether a cookie is issued.
fn route(plan: &Plan, request: &Sample) -> (String, bool) {
    let (rollout, decision) = plan.route(request, false, &mut Rng::with_seed(7)).expect("a rollout");
    (plan.rollouts()[rollout].versions[decision.version].name.clone(), decision.cookie.is_some())
}

fn to(version: &str) -> (String, bool) {
    (version.to_owned(), false)
}

fn weights(plan: &Plan) -> Vec<(&str, u16)> {
    let rollout = &plan.rollouts()[0];
    rollout
        .versions
        .iter()
        .map(|version| version.name.as_str())
        .zip(rollout.weights().into_iter().map(Share::basis_points))
        .collect()
}

#[test]
fn versions_come_stable_first_then_by_name() {
    let plan = plan(json!({"weights": {"green": 5, "amber": "0.25"}}));
    assert_eq!(weights(&plan), [("blue", 9_475), ("amber", 25), ("green", 500)]);
}

#[test]
fn without_a_split_all_goes_to_stable() {
    assert_eq!(weights(&plan(json!({}))), [("blue", 10_000), ("amber", 0), ("green", 0)]);
}

#[test]
fn a_plan_reads_all_headers_at_once_when_it_may_read_two() {
    for (rollout, several) in [
        (json!({}), false),
        (json!({"weights": {"green": 50}}), false),
        (json!({"match": {"prefix": "/a"}}), false),
        (json!({"match": {"methods": ["POST"]}}), false),
        (json!({"session_affinity": {"header": "x-user"}}), false),
        (json!({"match": {"prefix": "/a"}, "session_affinity": {"query": "user"}}), false),
        (json!({"match": {"prefix": "/a"}, "session_affinity": {"header": "x-user"}}), true),
        (json!({"match": {"prefix": "/a"}, "session_affinity": {"cookie": {"name": "c"}}}), true),
        (json!({"match": {"prefix": "/a"}, "override": {"header": "x-version"}}), true),
        (json!({"match": {"authority": ["h"], "prefix": "/a"}}), true),
        (json!({"match": {"prefix": "/a", "headers": [{"name": "x", "exact": "y"}]}}), true),
        (json!({"mirror": {"to": "green", "percent": 1}}), true),
    ] {
        let shown = rollout.to_string();
        assert_eq!(plan(rollout).reads_several_headers, several, "{shown}");
    }
}

#[test]
fn blue_green_sends_all_to_the_active_side() {
    assert_eq!(weights(&plan(json!({"blue_green": {}})))[0], ("blue", 10_000));
    let flipped = plan(json!({"blue_green": {"active": "green"}}));
    assert_eq!(weights(&flipped), [("blue", 0), ("amber", 0), ("green", 10_000)]);
    assert_eq!(route(&flipped, &request()), to("green"));
}

#[test]
fn pin_beats_override_beats_affinity_beats_weights() {
    let all = json!({
        "weights": {"amber": 100}, "override": {"header": "X-Changeover"}, "session_affinity": {"header": "x-user"},
    });
    let overridden = request().with(&[("x-changeover", "always"), ("x-user", "u")]);
    assert_eq!(route(&plan(all.clone()), &overridden), to("green"));
    assert_eq!(route(&plan(all.clone()), &request().with(&[("x-user", "u")])), to("amber"));
    assert_eq!(route(&plan(all.clone()), &request()), to("blue"), "no key: stable");
    let mut pinned = all;
    pinned["pin"] = json!("blue");
    assert_eq!(route(&plan(pinned.clone()), &overridden), to("blue"));
    assert_eq!(weights(&plan(pinned)), [("blue", 10_000), ("amber", 0), ("green", 0)]);
}

#[test]
fn an_override_names_versions_and_nothing_else() {
    let with = |value: &str| {
        let plan = plan(json!({"override": {"header": "x-changeover"}}));
        route(&plan, &request().with(&[("x-changeover", value)])).0
    };
    assert_eq!(with("always"), "green");
    assert_eq!(with("never"), "blue");
    assert_eq!(with("amber"), "amber");
    assert_eq!(with(" amber "), "amber");
    // A cluster's name, another case, anything else: as if it were not there.
    for value in ["g", "a", "Amber", "ALWAYS", "", "amber,green"] {
        assert_eq!(with(value), "blue", "{value}");
    }
    let unasked = plan(json!({}));
    assert_eq!(route(&unasked, &request().with(&[("x-changeover", "always")])), to("blue"));
    let anywhere =
        plan(json!({"override": {"header": "x-changeover", "query": "version", "cookie": "version"}}));
    let asked = |path: &str, headers: &[(&str, &str)]| {
        route(&anywhere, &Sample::new("GET", "h", path).with(headers)).0
    };
    assert_eq!(asked("/?version=always", &[]), "green");
    assert_eq!(asked("/", &[("cookie", "a=b"), ("cookie", "version=amber")]), "amber");
    assert_eq!(
        asked("/?version=amber", &[("cookie", "version=always")]),
        "amber",
        "the query before the cookie"
    );
    assert_eq!(asked("/?version=amber", &[("x-changeover", "always")]), "green", "the header before both");
    assert_eq!(asked("/?version=amber", &[("x-changeover", "x")]), "amber", "of those that name a version");
    assert_eq!(asked("/?version=g", &[("cookie", "version=")]), "blue");
    let no_candidate = plan(json!({"candidate": null, "override": {"header": "x-changeover"}}));
    assert_eq!(route(&no_candidate, &request().with(&[("x-changeover", "always")])), to("blue"));
}

#[test]
fn an_issued_cookie_decides_at_once_what_it_decides_later() {
    let plan =
        plan(json!({"weights": {"green": 50}, "session_affinity": {"cookie": {"name": "uid", "ttl": "1h"}}}));
    let mut rng = Rng::with_seed(1);
    for _ in 0..100 {
        let (_, first) = plan.route(&request(), false, &mut rng).expect("a rollout");
        let (cookie, id) = first.cookie.expect("a cookie");
        assert_eq!(id.len(), 32);
        assert!(cookie.set(&id, false).starts_with(&format!("uid={id};")));
        let again = request().with(&[("cookie", &format!("uid={id}"))]);
        let (_, second) = plan.route(&again, false, &mut rng).expect("a rollout");
        assert_eq!((second.version, second.cookie), (first.version, None));
    }
}

#[test]
fn without_affinity_each_request_is_drawn() {
    let plan = plan(json!({"weights": {"green": 20, "amber": "0.5"}}));
    let mut rng = Rng::with_seed(2);
    let mut counts = [0_i32; 3];
    for _ in 0..100_000 {
        counts[plan.route(&request(), false, &mut rng).expect("a rollout").1.version] += 1;
    }
    // Stable, amber, green: 79.5, 0.5, 20 %, within four standard deviations.
    let expected = [(79_500, 511), (500, 90), (20_000, 506)];
    for (count, (mean, four_sd)) in counts.into_iter().zip(expected) {
        assert!((count - mean).abs() <= four_sd, "{counts:?}");
    }
    let missing =
        json!({"weights": {"green": 50}, "session_affinity": {"header": "x", "when_missing": "random"}});
    let plan = self::plan(missing);
    let greens = (0..1_000)
        .filter(|_| plan.route(&request(), false, &mut rng).expect("a rollout").1.version == 2)
        .count();
    assert!((437..=563).contains(&greens), "{greens} of 1,000");
}

#[test]
fn another_release_draws_other_users_and_finishing_moves_none() {
    let of = |changes: Value| {
        let mut all = json!({"weights": {"green": 20}, "session_affinity": {"header": "x-user"}});
        all.as_object_mut().unwrap().extend(changes.as_object().cloned().unwrap());
        let plan = plan(all);
        (0..2_000)
            .map(|user| route(&plan, &request().with(&[("x-user", &user.to_string())])).0)
            .collect::<Vec<_>>()
    };
    let first = of(json!({}));
    assert_eq!(first, of(json!({})));
    let second = of(json!({"release": "2"}));
    let both = first.iter().zip(&second).filter(|(a, b)| *a == "green" && *b == "green").count();
    assert!((45..=115).contains(&both), "{both} of 2,000 in both cohorts, expected 80");
    // At the end of a release: the candidate has all, then becomes stable.
    let finished = of(json!({"weights": {"green": 100}}));
    assert_eq!(finished, of(json!({"release": "2", "stable": "green", "candidate": null, "weights": null})));
}

#[test]
fn requests_of_stable_are_mirrored_and_users_stay_mirrored() {
    let plan = plan(json!({
        "weights": {"green": 50}, "session_affinity": {"header": "x-user"},
        "mirror": {"to": "amber", "percent": 30, "methods": ["POST"]},
    }));
    let mirrored = |method: &str, user: &str, extra: &[(&str, &str)]| {
        let request = Sample::new(method, "h", "/").with(&[("x-user", user)]).with(extra);
        let (_, decision) = plan.route(&request, false, &mut Rng::with_seed(1)).expect("a rollout");
        (decision.version, decision.mirror)
    };
    let (mut stable, mut both) = (0_u32, 0_u32);
    for user in 0..4_000 {
        let user = user.to_string();
        let (version, mirror) = mirrored("POST", &user, &[]);
        assert_eq!((version, mirror), mirrored("POST", &user, &[]), "the same user, the same decision");
        stable += u32::from(version == STABLE);
        both += u32::from(mirror.is_some());
        let Some(mirror) = mirror else { continue };
        assert_eq!((version, mirror), (STABLE, Mirrored { to: 1, result: MirrorResult::Asked }));
        let skipped =
            |method, extra: &[(&str, &str)]| mirrored(method, &user, extra).1.map(|mirror| mirror.result);
        assert_eq!(skipped("GET", &[]), Some(MirrorResult::SkippedMethod));
        assert_eq!(skipped("POST", &[("upgrade", "websocket")]), Some(MirrorResult::SkippedUpgrade));
        assert_eq!(skipped("CONNECT", &[]), Some(MirrorResult::SkippedUpgrade));
    }
    // Which users are mirrored is independent of which are stable's.
    let share = f64::from(both) / f64::from(stable);
    assert!((0.26..0.34).contains(&share), "{both} of {stable}, expected 30 % ± 4 sd");
}

#[test]
fn only_bodies_that_envoy_can_hold_are_mirrored() {
    let mirrored = |fields: Value, request: Sample| {
        let plan = plan(json!({"mirror": fields}));
        let (_, decision) = plan.route(&request, false, &mut Rng::with_seed(1)).expect("a rollout");
        decision.mirror.map(|mirror| mirror.result)
    };
    let all = || json!({"to": "amber", "methods": ["GET", "POST"]});
    let post = |length: &str| Sample::new("POST", "h", "/").with(&[("content-length", length)]).with_body();
    for (length, result) in [
        ("0", MirrorResult::Asked),
        ("262144", MirrorResult::Asked),
        ("262145", MirrorResult::SkippedTooLarge),
        ("99999999999999999999", MirrorResult::SkippedUnknownLength),
        ("-1", MirrorResult::SkippedUnknownLength),
        ("", MirrorResult::SkippedUnknownLength),
    ] {
        assert_eq!(mirrored(all(), post(length)), Some(result), "{length}");
    }
    let chunked = Sample::new("POST", "h", "/").with_body();
    assert_eq!(mirrored(all(), chunked), Some(MirrorResult::SkippedUnknownLength));
    assert_eq!(mirrored(all(), Sample::new("GET", "h", "/")), Some(MirrorResult::Asked), "without a body");
    let small = json!({"to": "amber", "methods": ["POST"], "max_body": "1KiB"});
    assert_eq!(mirrored(small.clone(), post("1024")), Some(MirrorResult::Asked));
    assert_eq!(mirrored(small, post("1025")), Some(MirrorResult::SkippedTooLarge));
}

#[test]
fn a_filter_that_copies_itself_sees_how_long_a_body_is_and_keeps_secrets() {
    let plan = plan(json!({"mirror": {
        "to": "green", "mode": "compare", "methods": ["POST"], "max_body": "1KiB",
        "set_headers": {"X-Team": "a"}, "remove_headers": ["X-Session"],
    }}));
    let decide = |request: Sample| {
        let (_, decision) = plan.route(&request, false, &mut Rng::with_seed(1)).unwrap();
        decision.mirror.map(|mirrored| mirrored.result)
    };
    let with_length =
        |length: &str| Sample::new("POST", "h", "/").with(&[("content-length", length)]).with_body();
    assert_eq!(decide(Sample::new("POST", "h", "/").with_body()), Some(MirrorResult::Sent), "chunked");
    assert_eq!(decide(with_length("1025")), Some(MirrorResult::SkippedTooLarge));
    let comparison = plan.rollouts()[0].comparison().unwrap();
    for kept in [&b"x-request-id"[..], b"traceparent", b":path", b"x-other", b"x-changeover-other"] {
        assert!(comparison.keeps(kept, b"x"), "{}", String::from_utf8_lossy(kept));
    }
    assert!(comparison.keeps(b"te", b"trailers"), "servers of gRPC insist on it");
    assert!(!comparison.keeps(b"te", b"gzip"));
    let left_out: [&[u8]; 12] = [
        b"x-session",
        b"cookie",
        b"authorization",
        b"x-api-key",
        b"x-goog-api-key",
        b"ocp-apim-subscription-key",
        b"x-functions-key",
        b"content-length",
        b"accept-encoding",
        b"x-envoy-retry-on",
        b"x-changeover-cluster",
        b"x-team",
    ];
    for left_out in left_out {
        assert!(!comparison.keeps(left_out, b"x"), "{}", String::from_utf8_lossy(left_out));
    }
}

#[test]
fn answers_of_grpc_are_bounded_by_what_they_are_without_compression() {
    let plan = plan(json!({"mirror": {"to": "amber", "mode": "compare", "max_body": "1KiB"}}));
    let comparison = plan.rollouts()[0].comparison().unwrap();
    let inflated = |length: usize, end: usize| {
        let data = miniz_oxide::deflate::compress_to_vec_zlib(&vec![7; length], 1);
        let frame = [&[1][..], &u32::try_from(data.len()).unwrap().to_be_bytes(), &data].concat();
        let mut answer = Answer {
            content_type: b"application/grpc".to_vec(),
            message_encoding: Encoding::Deflate,
            body: frame[..frame.len() - end].to_vec(),
            ..Answer::default()
        };
        (comparison.inflate(&mut answer), answer.body.len())
    };
    assert_eq!(inflated(1_019, 0), (Ok(()), 1_024));
    let (longer, held) = inflated(1_020, 0);
    assert_eq!((longer, held < 100), (Err(MirrorResult::SkippedTooLarge), true));
    assert_eq!(inflated(1_019, 3).0, Err(MirrorResult::SkippedEncoding));
}

#[test]
fn copies_of_another_envoy_are_nobodys_where_they_are_trusted() {
    let decided = |trusts: bool, headers: &[(&str, &str)]| {
        let plan = plan(json!({
            "trust_shadow_header": trusts, "candidate": "green", "weights": {"green": 50}, "analysis": {},
            "mirror": {"to": "amber"}, "override": {"header": "x-changeover"},
            "session_affinity": {"cookie": {"name": "uid", "ttl": "1h"}},
        }));
        let (rollout, request) = (&plan.rollouts()[0], Sample::new("GET", "h", "/").with(headers));
        rollout.follow(&known(rollout, [1, 2]).head("r"));
        let (_, decision) = plan.route(&request, false, &mut Rng::with_seed(1)).expect("a rollout");
        (decision.is_copy, decision.evidence.is_some(), decision.mirror.is_some(), decision.cookie.is_some())
    };
    let copy = [("x-changeover-shadow", "amber"), ("x-changeover", "never")];
    let own = [("x-changeover", "never")];
    assert_eq!(decided(true, &copy), (true, false, false, false));
    assert_eq!(decided(true, &own), (false, false, true, true));
    assert_eq!(decided(false, &copy), (false, false, true, true), "a client may have written it");
    assert_eq!(decided(true, &[("x-changeover-shadow", "")]), (true, false, false, false), "by weight");
    assert!(decided(true, &[]).1);
}

#[test]
fn a_pin_stops_the_mirror_and_an_override_to_stable_does_not() {
    let mirror = |changes: Value, headers: &[(&str, &str)]| {
        let mut all = json!({"mirror": {"to": "green"}, "override": {"header": "x-changeover"}});
        all.as_object_mut().unwrap().extend(changes.as_object().cloned().unwrap());
        let plan = plan(all);
        let (_, decision) =
            plan.route(&request().with(headers), false, &mut Rng::with_seed(1)).expect("a rollout");
        decision.mirror.is_some()
    };
    assert!(mirror(json!({}), &[]), "everything by default, for methods that change nothing");
    assert!(!mirror(json!({"pin": "blue"}), &[]));
    assert!(mirror(json!({}), &[("x-changeover", "never")]));
    assert!(!mirror(json!({}), &[("x-changeover", "always")]));
    assert!(!mirror(json!({"blue_green": {"active": "green"}}), &[]));
}

#[test]
fn a_rollout_follows_its_head() {
    let plan = plan(json!({
        "steps": [{"set_weight": 5}, {"pause": {}}], "override": {"header": "x-changeover"},
        "mirror": {"to": "amber"}, "analysis": {},
    }));
    assert_eq!(
        weights(&plan),
        [("blue", 9_500), ("amber", 0), ("green", 500)],
        "the first step, until it is told"
    );
    let rollout = &plan.rollouts()[0];
    let route = |headers: &[(&str, &str)]| {
        let (_, decision) =
            plan.route(&request().with(headers), false, &mut Rng::with_seed(3)).expect("a rollout");
        decision
    };
    let (mut record, _) = Record::begin(rollout.program.clone(), Clock::default());
    assert_eq!(rollout.assignment(), record.head("r").assignment);
    record.command(crate::rollout::command::Command::Promote { full: true }, Clock::default()).unwrap();
    rollout.follow(&record.head("r"));
    assert_eq!(weights(&plan), [("blue", 0), ("amber", 0), ("green", 10_000)]);
    assert_eq!(
        route(&[]).evidence,
        Some(Draw { assignment: rollout.assignment(), side: Side::Candidate, user: None })
    );
    assert_eq!(
        route(&[("x-changeover", "never")]).evidence,
        None,
        "a request with an override is no evidence"
    );
    // After a rollback no request gets the candidate, not even by override; nothing is mirrored.
    record.command(crate::rollout::command::Command::Abort, Clock::default()).unwrap();
    rollout.follow(&record.head("r"));
    for asked in ["always", "green"] {
        let decision = route(&[("x-changeover", asked)]);
        assert_eq!((decision.version, decision.mirror), (STABLE, None), "{asked}");
    }
    assert_eq!(route(&[("x-changeover", "amber")]).version, 1);
}

#[test]
fn a_version_that_was_taken_back_is_drained_and_no_other() {
    let drained = |changes: Value, commands: &[Command]| {
        let plan = plan(changes);
        let rollout = &plan.rollouts()[0];
        let (mut record, _) = Record::begin(rollout.program.clone(), Clock::default());
        for command in commands {
            record.command(command.clone(), Clock::default()).unwrap();
        }
        rollout.follow(&record.head("r"));
        rollout.drained().map(|(version, after)| (rollout.versions[version].name.clone(), after / 1_000_000))
    };
    let green = |after| Some(("green".to_owned(), after));
    let steps = || json!({"steps": [{"set_weight": 5}, {"pause": {}}]});
    let with = |field: &str, value: &str| {
        let mut changes = steps();
        changes[field] = value.into();
        changes
    };
    assert_eq!(drained(steps(), &[]), None);
    assert_eq!(drained(steps(), &[Command::Promote { full: true }]), None, "stable was left, not taken back");
    assert_eq!(drained(steps(), &[Command::Abort]), green(30_000));
    assert_eq!(drained(steps(), &[Command::Promote { full: true }, Command::Abort]), green(30_000));
    assert_eq!(drained(steps(), &[Command::Abort, Command::Retry]), None);
    assert_eq!(drained(with("drain", "1h"), &[Command::Abort]), green(3_600_000));
    assert_eq!(drained(with("drain", "0s"), &[Command::Abort]), None);
    assert_eq!(drained(with("pin", "blue"), &[]), green(30_000), "a rollback by configuration");
    assert_eq!(drained(with("pin", "green"), &[]), None, "a promotion by configuration");
    assert_eq!(drained(with("pin", "amber"), &[]), None);
}

/// A flip back to stable that fails in its window leaves all traffic with the candidate.
#[test]
fn the_version_that_has_the_traffic_is_not_drained() {
    let plan = plan(json!({"steps": [{"set_weight": 5}, {"pause": {}}]}));
    let rollout = &plan.rollouts()[0];
    let (mut record, _) = Record::begin(rollout.program.clone(), Clock::default());
    record.command(Command::Promote { full: true }, Clock::default()).unwrap();
    rollout.follow(&Head { is_taken_back: true, ..record.head("r") });
    assert_eq!(rollout.drained().map(|(version, _)| version), Some(STABLE));
}

#[test]
fn a_rollout_that_waits_for_other_envoys_drains_no_version() {
    let plan = plan(json!({"weights": {"green": 50}}));
    plan.rollouts()[0].serve_stable_until_followed();
    assert_eq!((weights(&plan)[2].1, plan.rollouts()[0].drained()), (0, None));
}

/// A rollout as the leader has begun it, with this secret.
fn known(rollout: &Rollout, secret: [u64; 2]) -> Record {
    let (mut record, _) = Record::begin(rollout.program.clone(), Clock::default());
    record.secret = secret;
    record
}

/// The configuration alone does not reveal which users remain in a sample.
#[test]
fn the_names_of_users_are_the_attempts_own_and_known_to_no_client() {
    let fields = json!({
        "steps": [{"set_weight": 50}, {"pause": {}}], "analysis": {}, "session_affinity": {"header": "x-user"},
    });
    let (plan, other) = (plan(fields.clone()), self::plan(fields));
    let name = |plan: &Plan, user: u32| {
        let request = request().with(&[("x-user", &user.to_string())]);
        let (_, decision) = plan.route(&request, false, &mut Rng::with_seed(3)).expect("a rollout");
        (decision.version, decision.evidence.map(|draw| draw.user.expect("a user")))
    };
    let all = |plan: &Plan| (0..100).map(|user| name(plan, user)).collect::<Vec<_>>();
    let before = all(&plan);
    assert!(
        before.iter().all(|(_, name)| name.is_none()),
        "nothing is judged until the leader has drawn the key"
    );
    let rollout = |plan: &'_ Plan, record: &Record| assert!(plan.rollouts()[0].follow(&record.head("r")));
    let mut record = known(&plan.rollouts()[0], [1, 2]);
    rollout(&plan, &record);
    let first = all(&plan);
    rollout(&other, &record);
    assert_eq!(all(&other), first, "on every worker the same");
    rollout(&other, &known(&plan.rollouts()[0], [1, 3]));
    let (others, versions) = (all(&other), |all: &[(usize, Option<UserHash>)]| {
        all.iter().map(|(version, _)| *version).collect::<Vec<_>>()
    });
    assert_eq!(
        (versions(&others), versions(&before)),
        (versions(&first), versions(&first)),
        "the cohort is a promise"
    );
    assert!(first.iter().zip(&others).all(|(one, two)| one.1 != two.1));
    record.command(crate::rollout::command::Command::Abort, Clock::default()).unwrap();
    record.command(crate::rollout::command::Command::Retry, Clock::default()).unwrap();
    rollout(&plan, &record);
    assert!(
        all(&plan).iter().zip(&first).all(|(one, two)| one.1.is_some() && one.1 != two.1),
        "another attempt"
    );
}

/// Where users are judged, requests without one are not evidence, however they are drawn.
#[test]
fn evidence_of_users_names_them() {
    let plan = plan(json!({
        "steps": [{"set_weight": 50}, {"pause": {}}], "override": {"header": "x-changeover"}, "analysis": {},
        "session_affinity": {"header": "x-user", "when_missing": "random"},
    }));
    let rollout = &plan.rollouts()[0];
    rollout.follow(&known(rollout, [1, 2]).head("r"));
    let evidence = |headers: &[(&str, &str)]| {
        let (_, decision) =
            plan.route(&request().with(headers), false, &mut Rng::with_seed(3)).expect("a rollout");
        decision.evidence
    };
    let names: Vec<UserHash> = (0..1_000)
        .map(|user: u32| evidence(&[("x-user", &user.to_string())]).expect("evidence").user.expect("a user"))
        .collect();
    let distinct: std::collections::BTreeSet<UserHash> = names.iter().copied().collect();
    assert_eq!(distinct.len(), 1_000);
    // A user in a sample of names may have either version.
    let of_candidate = (0..1_000)
        .map(|user: u32| evidence(&[("x-user", &user.to_string())]).expect("evidence"))
        .filter(|evidence| evidence.user < Some(UserHash(1 << 62)))
        .map(|evidence| evidence.side == Side::Candidate);
    let (candidate, all) = of_candidate.fold((0, 0), |(yes, all), is| (yes + i32::from(is), all + 1));
    assert!((200..300).contains(&all) && (all / 2 - candidate).abs() < 32, "{candidate} of {all}");
    for headers in [&[][..], &[("x-user", "")], &[("x-user", "7"), ("x-changeover", "green")]] {
        assert_eq!(evidence(headers), None, "{headers:?}");
    }
}

/// No user is recorded then, for users are not compared.
#[test]
fn alarms_and_drift_see_requests_of_stable_without_a_candidate() {
    let evidence = |fields: Value| {
        let mut all = json!({"candidate": null, "analysis": {}, "session_affinity": {"header": "x-user"}});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let plan = plan(all);
        plan.rollouts()[0].follow(&known(&plan.rollouts()[0], [1, 2]).head("r"));
        let (_, decision) = plan
            .route(&request().with(&[("x-user", "7")]), false, &mut Rng::with_seed(3))
            .expect("a rollout");
        decision.evidence.map(|draw| (draw.side, draw.user))
    };
    let alarms = json!([{"name": "errors", "signal": "error_rate", "of": "stable", "max": 0.05}]);
    let seen = Some((Side::Stable, None));
    assert_eq!(evidence(json!({"alarms": alarms.clone()})), seen);
    assert_eq!(evidence(json!({"alarms": alarms, "candidate": "blue"})), seen, "a finished release");
    assert_eq!(evidence(json!({"drift": {"metrics": ["latency"]}})), seen);
    assert_eq!(evidence(json!({})), None, "nothing looks at them");
}

#[test]
fn another_attempt_draws_another_cohort() {
    let plan =
        plan(json!({"steps": [{"set_weight": 20}, {"pause": {}}], "session_affinity": {"header": "x-user"}}));
    let cohort = || -> Vec<bool> {
        let user = |user: u32| route(&plan, &request().with(&[("x-user", &user.to_string())])).0 == "green";
        (0..2_000).map(user).collect()
    };
    let first = cohort();
    let rollout = &plan.rollouts()[0];
    let (mut record, _) = Record::begin(rollout.program.clone(), Clock::default());
    for command in [crate::rollout::command::Command::Abort, crate::rollout::command::Command::Retry] {
        record.command(command, Clock::default()).unwrap();
    }
    rollout.follow(&record.head("r"));
    let both = first.iter().zip(cohort()).filter(|(first, second)| **first && *second).count();
    assert!((45..=115).contains(&both), "{both} of 2,000 in both cohorts, expected 80");
}

#[test]
fn a_log_entry_says_what_decided_and_follows_the_attempt() {
    let fields = json!({
        "log": true, "override": {"header": "x-changeover"}, "session_affinity": {"header": "x-user", "when_missing": "random"},
        "steps": [{"set_weight": 50}, {"pause": {}}], "analysis": {},
    });
    let plan = plan(fields.clone());
    let entry = |plan: &Plan, headers: &[(&str, &str)]| {
        let request = request().with(headers);
        let (rollout, decision) = plan.route(&request, false, &mut Rng::with_seed(7)).expect("a rollout");
        plan.rollouts()[rollout].log_entry(decision.version, decision.by)
    };
    let by = |headers: &[(&str, &str)]| {
        let entry = entry(&plan, headers).expect("an entry");
        entry.rsplit_once("by=").expect("what decided").1.to_owned()
    };
    assert_eq!(by(&[]), "weight");
    assert_eq!(by(&[("x-user", "u1")]), "affinity");
    assert_eq!(by(&[("x-user", "u1"), ("x-changeover", "always")]), "override");
    assert_eq!(by(&[("x-changeover", "purple")]), "weight", "no version of that name");
    let always = [("x-changeover", "always")];
    assert_eq!(
        entry(&plan, &always).as_deref(),
        Some("rollout=r release=1 attempt=1 version=green by=override")
    );
    let rollout = &plan.rollouts()[0];
    let (mut record, _) = Record::begin(rollout.program.clone(), Clock::default());
    for command in [Command::Abort, Command::Retry] {
        record.command(command, Clock::default()).expect("it fits");
    }
    assert!(rollout.follow(&record.head("r")));
    assert_eq!(
        entry(&plan, &always).as_deref(),
        Some("rollout=r release=1 attempt=2 version=green by=override")
    );

    let mut silent = fields;
    silent["log"] = false.into();
    assert_eq!(entry(&self::plan(silent), &always), None);
}

/// The version that a user's key decides is the one that the user's requests get, on every worker and after a restart.
#[test]
fn an_event_finds_the_version_that_its_users_requests_get() {
    let fields = json!({
        "match": {"prefix": "/search"}, "steps": [{"set_weight": 30}, {"pause": {}}], "analysis": {},
        "override": {"header": "x-version"}, "trust_shadow_header": true,
        "session_affinity": {"cookie": {"name": "uid", "ttl": "1h"}},
        "feedback": [
            {"name": "click", "match": {"path": "/events", "methods": ["POST"]}, "join": "user"},
            {"name": "any", "match": {"prefix": "/events"}, "join": "user"},
        ],
    });
    let (plan, other) = (plan(fields.clone()), self::plan(fields));
    for plan in [&plan, &other] {
        plan.rollouts()[0].follow(&known(&plan.rollouts()[0], [1, 2]).head("r"));
    }
    let event = |headers: &[(&str, &str)]| Sample::new("POST", "h", "/events?x=1").with(headers);
    let mut of_green = 0;
    for user in 0..1_000 {
        let cookie = [("cookie", format!("uid={user}"))];
        let cookie: Vec<(&str, &str)> = cookie.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let search = Sample::new("GET", "h", "/search").with(&cookie);
        let (_, decision) = plan.route(&search, false, &mut Rng::with_seed(user)).expect("a rollout");
        let sender = Some(Origin { version: decision.version, evidence: decision.evidence });
        assert_eq!(other.events(&event(&cookie)), [(0, 0, sender), (0, 1, sender)]);
        of_green += u32::from(decision.version != STABLE);
    }
    assert!((240..360).contains(&of_green), "{of_green}");
    assert_eq!(plan.events(&event(&[])), [(0, 0, None), (0, 1, None)], "no user is named");
    assert_eq!(plan.events(&Sample::new("GET", "h", "/events").with(&[("cookie", "uid=1")])).len(), 1);
    assert_eq!(plan.events(&Sample::new("POST", "h", "/search")), []);
    assert_eq!(plan.events(&event(&[("x-changeover-shadow", "green")])), [], "another Envoy's copy");
    let chosen = event(&[("cookie", "uid=1"), ("x-version", "amber")]);
    assert_eq!(plan.events(&chosen)[0].2, Some(Origin { version: 1, evidence: None }));
}

/// What an answer's receipt says is what was drawn for its request, at any worker; evidence is only what was drawn under the
/// weights in force.
#[test]
fn a_receipt_finds_the_version_of_its_answer_and_is_evidence_under_its_own_weights() {
    let fields = |more: Value| {
        let mut fields = json!({
            "steps": [{"set_weight": 30}, {"pause": {}}], "analysis": {}, "receipt": {},
            "feedback": [{"name": "rating", "match": {"path": "/events"}, "join": "receipt"}],
        });
        for (name, value) in more.as_object().expect("a map") {
            fields[name] = value.clone();
        }
        fields
    };
    for (more, has_user) in [(json!({}), false), (json!({"session_affinity": {"header": "x-user"}}), true)] {
        let (plan, other) = (plan(fields(more.clone())), self::plan(fields(more)));
        let record = known(&plan.rollouts()[0], [1, 2]);
        for plan in [&plan, &other] {
            plan.rollouts()[0].follow(&record.head("r"));
        }
        let other = &other.rollouts()[0];
        let mut of_green = 0;
        for user in 0..300 {
            let name = user.to_string();
            let request = Sample::new("GET", "h", "/").with(&[("x-user", &name)]);
            let (_, decision) = plan.route(&request, false, &mut Rng::with_seed(user)).expect("a rollout");
            let receipt = plan.rollouts()[0].receipt(decision.version, decision.evidence).expect("a receipt");
            let origin = other.version_of_answer(&receipt).expect("an answer of this attempt");
            assert_eq!(origin, Origin { version: decision.version, evidence: decision.evidence });
            assert_eq!(origin.evidence.is_some_and(|draw| draw.user.is_some()), has_user);
            of_green += u32::from(origin.version != STABLE);
            // What says nothing about the weights counts, and is no evidence.
            let foreign = answer::Receipt { drawn: None, ..receipt };
            let origin = other.version_of_answer(&foreign);
            assert_eq!(origin, Some(Origin { version: decision.version, evidence: None }));
            assert_eq!(other.version_of_answer(&answer::Receipt { run: receipt.run ^ 1, ..receipt }), None);
            assert_eq!(other.version_of_answer(&answer::Receipt { version: 7, ..receipt }), None);
        }
        assert!((50..130).contains(&of_green), "{of_green}");
        let (_, decision) = plan
            .route(&Sample::new("GET", "h", "/").with(&[("x-user", "1")]), false, &mut Rng::with_seed(1))
            .expect("a rollout");
        let before = plan.rollouts()[0].receipt(decision.version, decision.evidence).expect("a receipt");
        let head = record.head("r");
        for head in [
            Head { assignment: Assignment(head.assignment.0 ^ 1), revision: 9, ..head.clone() },
            Head { user_key: [5, 6], revision: 9, ..head.clone() },
        ] {
            other.follow(&head);
            let origin = other.version_of_answer(&before).expect("of the same attempt");
            assert_eq!(origin, Origin { version: decision.version, evidence: None }, "{head:?}");
        }
    }
}

#[test]
fn a_decision_goes_to_people_and_is_no_task_though_the_model_answers_everything() {
    let plan = plan(json!({
        "versions": {"blue": {"cluster": "people"}, "green": {"cluster": "model"}},
        "automation": {
            "degree": "full", "step_down": false, "audit": 0, "partial": {"threshold": 0.5},
            "answer": {"label": "/label", "confidence": "/confidence"},
            "decision": {"match": {"path": "/decisions", "methods": ["POST"]}, "receipt": "/receipt", "label": "/label"},
        },
    }));
    for (method, path, decides, version) in [
        ("POST", "/tasks", false, "green"),
        ("GET", "/decisions", false, "green"),
        ("POST", "/decisions", true, "blue"),
    ] {
        let request = Sample::new(method, "h", path);
        assert_eq!(!plan.decides(&request).is_empty(), decides, "{method} {path}");
        let (at, decision) = plan.route(&request, decides, &mut Rng::with_seed(1)).expect("a rollout");
        assert_eq!(plan.rollouts()[at].versions[decision.version].name, version, "{method} {path}");
        assert_eq!(decision.task.is_some(), !decides, "{method} {path}");
    }
}

/// One review tool sends the decisions of several queues.
#[test]
fn a_decision_may_be_one_of_each_rollout_that_it_matches() {
    let rollout = |name: &str, path: &str, decisions: Value| {
        fixture::rollout(&json!({
            "name": name, "match": {"path": path},
            "versions": {"blue": {"cluster": "people"}, "green": {"cluster": "model"}},
            "automation": {
                "answer": {"label": "/label"},
                "decision": {"match": decisions, "receipt": "/receipt", "label": "/label"},
            },
        }))
    };
    let plan = Plan::new(&fixture::config(&[
        rollout("claims", "/claims", json!({"path": "/decisions"})),
        rollout("invoices", "/invoices", json!({"prefix": "/decisions/of"})),
        rollout("letters", "/letters", json!({"prefix": "/decisions"})),
    ]));
    let decides = |path| plan.decides(&Sample::new("POST", "h", path));
    assert_eq!(decides("/decisions"), [0, 2]);
    assert_eq!(decides("/decisions/of/letters"), [1, 2]);
    assert_eq!(decides("/claims"), [0; 0]);
}
