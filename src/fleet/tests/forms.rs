//! The bytes of everything that is shared. Two versions of this software that write differently must have different
//! numbers of form, or each would misread what the other has written.

use super::*;
use crate::automation::receipt::{Kind, Opened, Receipt};
use crate::compare::totals::{Beside, Sample, Totals};
use crate::config::notify::Notify;
use crate::fleet::outbox::{self, Delivery};
use crate::fleet::shared::FORM;
use crate::fleet::store::values::{Read, Stored};
use crate::model::UserHash;
use crate::rollout::event::Event;
use crate::rollout::reason::Reason;
use crate::telemetry::outcome::Outcome;
use siphasher::sip::SipHasher24;

/// What is watched and compared besides, of a candidate that is asked whether it is ready.
fn watched() -> Value {
    json!({
        "session_affinity": {"header": "x-user-id"},
        "payload": {"protocol": "json", "output": {"confidence": "/p"}},
        "mirror": {"to": "green", "mode": "compare", "methods": ["POST"], "compare": {}},
        "steps": [{"ready": {"path": "/ready"}}, {"set_weight": 50}, {"pause": {}}],
        "analysis": {"metrics": [{"name": "error_rate"}, {"name": "output.confidence"}, {"name": "feedback.click"}]},
        "alarms": [{"name": "slow", "signal": "latency", "of": "rollout", "max": 1, "quantile": 0.5, "window": "1m"}],
        "drift": {"metrics": ["latency"], "reference": "10s"},
        "feedback": [{"name": "click", "match": {"path": "/e"}, "join": "user", "better": "more", "within": "10m"}],
    })
}

/// People and a model.
fn claims() -> Value {
    json!({
        "automation": {
            "answer": {"label": "/label", "confidence": "/p"}, "receipt": {"header": "x-receipt"},
            "decision": {"match": {"path": "/d"}, "receipt": "/r", "label": "/l"},
            "blind": 20, "partial": {"max_disagreement": "0.02", "confidence": 0.95}, "audit": 5, "double": 0.5,
        },
        "steps": [{"set_degree": "assist"}, {"pause": {"min_decisions": 2}}, {"set_degree": "partial"}, {"pause": {}}],
    })
}

/// An Envoy in which everything has happened that is written down in a way of its own.
fn eventful() -> Memory {
    let analysis =
        json!({"metrics": [{"name": "error_rate", "max": 0.5}, {"name": "latency", "tolerate": 2}]});
    let users = json!({
        "session_affinity": {"header": "x-user-id"},
        "steps": [{"set_weight": 20}, {"set_mirror": {"percent": 10}}, {"pause": {"duration": "30s", "min_requests": 5}}],
        "mirror": {"to": "green", "percent": 1},
        "analysis": analysis,
    });
    let mut config = configuration(&[
        ("r", json!({"steps": [{"set_weight": 50}, {"pause": {}}], "analysis": {"promote_when": {}}})),
        ("users", users),
        (
            "sides",
            json!({"blue_green": {"bake": {"weight": 10, "duration": "2s"}, "auto_rollback_window": "30s"}, "analysis": {"metrics": [{"name": "error_rate"}]}}),
        ),
        ("still", json!({"weights": {"green": 5}})),
        ("watched", watched()),
        ("claims", claims()),
    ]);
    // What it is told first is done, and the rest waits.
    config.notify = vec![Notify { name: "hooks".into(), ..Notify::default() }];
    let mut fleet = Fleet::new(2, &config);
    let posted = |effect| if let Effect::Post(post) = effect { Some(post) } else { None };
    // Nothing has answered when it was posted for the first time.
    let post = (0..10).find_map(|_| fleet.second().into_iter().find_map(posted)).unwrap();
    let clock = fleet.clock();
    fleet.vms[0].posted(&mut fleet.shared, &post, Delivery::Arrived, clock);
    for second in 0..6_u64 {
        for (rollout, requests) in [(0, 40), (1, 3_000), (2, 20)] {
            for nth in 0_u64..requests {
                let side = if nth % 2 == 0 { Side::Candidate } else { Side::Stable };
                let user = (rollout == 1).then(|| UserHash(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
                let clock = fleet.clock();
                let request = fleet.vms[1].arrive(rollout, side, user, clock).unwrap();
                let fails = side == Side::Candidate && (rollout == 0 || nth % (4 + second) == 0);
                request.end(1_000_000 << (nth % 12), Outcome::answered(fails));
            }
        }
        compare_and_decide(&mut fleet, second);
        fleet.second();
    }
    // Something that is not judged yet, and a request that has not ended.
    fleet.request(1, Side::Stable, true);
    let clock = fleet.clock();
    let open = fleet.vms[1].arrive(1, Side::Stable, Some(UserHash(7)), clock);
    fleet.now += TICK;
    fleet.report(1);
    let change = Change::new("sides", Command::Abort);
    fleet.vms[1].command(&mut fleet.shared, &change, at(fleet.now)).unwrap();
    drop(open);
    fleet.shared
}

/// A pair that differs, an event with a receipt, and a decision of people.
fn compare_and_decide(fleet: &mut Fleet, second: u64) {
    let clock = fleet.clock();
    recordings::want(&mut fleet.shared, "r", clock.uptime);
    let beside = Beside { all: 5, only_shadow: 1, only_baseline: 2, both: 3 };
    let totals = Totals { compared: 3, matched: 2, bytes: (7, 8), beside, ..Totals::default() };
    let baseline =
        Totals { compared: 5, matched: 4, samples: vec![Sample::default()].into(), ..Totals::default() };
    let (attempt, shadow) = (fleet.record("watched").attempt(), "green".to_owned());
    let counted =
        differences::Differences { attempt, shadow, loaded_at: 9, definition: 10, totals, baseline };
    differences::add(&mut fleet.shared, "watched", &counted);
    receipts::take(&mut fleet.shared, "watched", second, clock.time);
    let receipt = Receipt {
        task: second,
        run: fleet.record("claims").attempt(),
        time: clock.time,
        confidence: 9_000,
        kind: Kind { drawn: true, double: true, ..Kind::default() },
        label: "cat".into(),
    };
    for (id, decided) in [(2 * second, "cat"), (2 * second + 1, "dog")] {
        decisions::add(&mut fleet.shared, "claims", &Opened { receipt: receipt.clone(), id }, decided);
    }
}

fn clear(reason: &mut Reason) {
    if let Reason::Happened(sentence) = reason {
        sentence.clear();
    }
}

/// Sentences may change.
fn without_sentences(key: &str, value: &[u8]) -> Vec<u8> {
    if key.starts_with(&shared::key("record.")) {
        let mut record: Record = postcard::from_bytes(value).unwrap();
        clear(&mut record.run.reason);
        return postcard::to_allocvec(&record).unwrap();
    }
    if key.starts_with(&shared::key("journal.")) {
        let mut journal: Vec<Event> = postcard::from_bytes(value).unwrap();
        journal.iter_mut().for_each(|event| event.message.clear());
        return postcard::to_allocvec(&journal).unwrap();
    }
    if key.starts_with(&shared::key("outbox.")) {
        return outbox::without_sentences(value);
    }
    if key.starts_with("/changeover/f/r/") {
        let Read::Whole(mut stored) = Stored::decode(value) else { panic!("{key} is a record") };
        clear(&mut stored.record.run.reason);
        stored.events.iter_mut().for_each(|(_, event)| event.message.clear());
        return stored.encode();
    }
    value.to_vec()
}

fn line(key: &str, value: &[u8]) -> String {
    let hash = SipHasher24::new().hash(value);
    let hex: String = value.iter().take(100).map(|byte| format!("{byte:02x}")).collect();
    format!("{key} {} bytes {hash:016x}: {hex}\n", value.len())
}

#[test]
fn the_bytes_of_a_form_do_not_change() {
    let memory = eventful();
    let happened = journal::of(&memory, "r");
    assert!(happened.iter().any(|event| event.evidence.is_some()), "{happened:?}");
    let written = memory.values().filter(|(_, value)| !value.is_empty());
    let mut lines: Vec<String> =
        written.map(|(key, value)| line(key, &without_sentences(key, value))).collect();
    lines.extend(
        joined::values().into_iter().map(|(key, value)| line(&key, &without_sentences(&key, &value))),
    );
    lines.sort();
    for kind in [
        "lead",
        "presence",
        "heads",
        "names",
        "closed",
        "commands",
        "report.",
        "followed.",
        "record.",
        "head.",
        "journal.",
        "outbox.",
        "gauges.",
        "users.",
        "differences.",
        "decisions.",
        "receipts.",
        "recorded",
        "ticks.",
    ] {
        let prefix = shared::key(kind);
        assert!(lines.iter().any(|line| line.starts_with(&prefix)), "nothing is written under {prefix}");
    }
    for kind in ["life", "pending", "clock", "fleet"].map(shared::key) {
        assert!(lines.iter().any(|line| line.starts_with(&kind)), "nothing is written under {kind}");
    }
    for kind in ["r/", "m/", "c/", "u/", "lead"].map(|kind| format!("/changeover/f/{kind}")) {
        assert!(lines.iter().any(|line| line.starts_with(&kind)), "nothing is stored under {kind}");
    }
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/fleet/tests/form-{FORM}.txt"));
    let written = lines.concat();
    if !file.exists() {
        std::fs::write(&file, &written).unwrap();
        panic!("{} is new: look at it, and commit it", file.display());
    }
    let known = std::fs::read_to_string(&file).unwrap();
    let advice = "if the form has changed, raise FORM in src/fleet/shared.rs, and CHANGELOG.md says that fleets do not share records with the version before; if only this test's events have, delete the file";
    for (known, now) in known.lines().zip(written.lines()) {
        assert_eq!(known, now, "{advice}");
    }
    assert_eq!(known.lines().count(), written.lines().count(), "{advice}");
}
