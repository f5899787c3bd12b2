//! Notifications: what happened to a rollout as a `CloudEvent`, in JSON of structured mode.

use serde::Serialize;

use super::time::rfc3339;
use super::view;
use crate::fleet::effect::Post;
use crate::rollout::event::Action;
use crate::rollout::phase::Phase;

/// The content type.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// The document but for its data.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    r#type: String,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
}

/// What the data have besides the event as the API shows it.
#[derive(Serialize)]
struct More {
    revision: u64,
    phase: Phase,
    /// Commands that go on, and that go back.
    go_on: Vec<String>,
    go_back: Vec<String>,
}

/// Writes the notification of a post. `node`: the Envoy that posts, if it belongs to no fleet.
#[must_use]
pub fn document(post: &Post, node: &str) -> String {
    let Post { rollout, event, .. } = post;
    let run = format!("{rollout}/{}/{}/{}", event.release, event.attempt, event.revision);
    let (source, id) = match &post.fleet {
        Some(fleet) => (format!("/changeover/fleets/{fleet}"), format!("{fleet}/{run}")),
        // An Envoy that starts again counts from 1: the time distinguishes its events from those before.
        None => (format!("/changeover/nodes/{}", encoded(node)), format!("{node}/{run}/{}", event.time)),
    };
    let (go_on, go_back) = commands(rollout, event.action, event.phase, post.is_side_watched);
    let document = CloudEvent {
        specversion: "1.0",
        id,
        source,
        r#type: format!("changeover.rollout.{}", event.action.label()),
        subject: rollout,
        time: rfc3339(event.time),
        datacontenttype: "application/json",
    };
    let more = More { revision: event.revision, phase: event.phase, go_on, go_back };
    let data = with(object(&view::Event::new(rollout, event)), object(&more).get(1..).unwrap_or_default());
    with(object(&document), &format!("\"data\":{data}}}"))
}

/// An object as it is written. Flattened structs would cost the module many kilobytes.
fn object(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The same with further fields, and what ends it.
fn with(mut object: String, rest: &str) -> String {
    object.pop();
    object.push(',');
    object.push_str(rest);
    object
}

/// The commands that go on and that go back, of a rollout in this phase after this action. While a side of blue/green is
/// watched there is nothing to promote: it has all traffic.
fn commands(
    rollout: &str,
    action: Action,
    phase: Phase,
    is_side_watched: bool,
) -> (Vec<String>, Vec<String>) {
    let (on, back): (&[&str], &[&str]) = match (phase, action) {
        // Its step waits for it; what was paused may also go on with the same step.
        (Phase::Paused, Action::Step | Action::Start | Action::Retry) => (&["promote"], &["abort"]),
        (Phase::Paused, _) if is_side_watched => (&["resume"], &["abort"]),
        (Phase::Paused, _) => (&["resume", "promote"], &["abort"]),
        (Phase::Progressing, _) if is_side_watched => (&[], &["abort"]),
        (Phase::Progressing, Action::Flip) | (Phase::Steady | Phase::Succeeded, _) => (&[], &["abort"]),
        (Phase::Progressing, _) => (&["promote"], &["abort"]),
        (Phase::Aborted | Phase::Failed, _) => (&["retry"], &[]),
    };
    let line = |command: &&str| format!("changeover {command} {rollout}");
    (on.iter().map(line).collect(), back.iter().map(line).collect())
}

/// A text as a segment of a URI.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 0x0f] {
                encoded.extend(char::from_digit(digit.into(), 16).map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::notify::Notify;
    use crate::rollout::event::{Actor, Event, Origin};
    use serde_json::{Value, json};

    fn post(fleet: Option<&str>, message: &str) -> Post {
        let event = Event {
            time: 1_764_000_000_000,
            release: "2026/11".into(),
            attempt: 2,
            revision: 7,
            phase: Phase::Failed,
            actor: Actor::Auto,
            origin: Origin::default(),
            action: Action::Rollback,
            evidence: None,
            from: crate::model::Shares::new(),
            to: crate::model::Shares::new(),
            message: message.into(),
        };
        Post {
            receiver: Notify::default(),
            fleet: fleet.map(str::to_owned),
            rollout: "digits".into(),
            event,
            is_side_watched: false,
        }
    }

    fn read(post: &Post, node: &str) -> Value {
        serde_json::from_str(&document(post, node)).unwrap()
    }

    #[test]
    fn a_document_has_the_attributes_of_a_cloud_event_and_what_happened() {
        let event = read(&post(Some("shop"), "green is worse"), "a");
        let attributes = json!({
            "specversion": "1.0", "id": "shop/digits/2026/11/2/7", "source": "/changeover/fleets/shop",
            "type": "changeover.rollout.rollback", "subject": "digits", "time": "2025-11-24T16:00:00.000Z",
            "datacontenttype": "application/json",
        });
        for (name, value) in attributes.as_object().unwrap() {
            assert_eq!(&event[name], value, "{name}");
        }
        let data = &event["data"];
        for (name, value) in [
            ("message", json!("green is worse")),
            ("revision", json!(7)),
            ("attempt", json!(2)),
            ("phase", json!("failed")),
            ("action", json!("rollback")),
            ("samples", Value::Null),
            ("go_on", json!(["changeover retry digits"])),
            ("go_back", json!([])),
        ] {
            assert_eq!(data[name], value, "{name}");
        }
        assert!(data["from"].is_object() && data["to"].is_object(), "{data}");
    }

    #[test]
    fn an_envoy_without_a_fleet_is_named_by_its_node_and_its_events_by_their_time_too() {
        let event = read(&post(None, ""), "edge 1/ä");
        assert_eq!(event["source"], "/changeover/nodes/edge%201%2F%C3%A4");
        assert_eq!(event["id"], "edge 1/ä/digits/2026/11/2/7/1764000000000");
    }

    #[test]
    fn nothing_in_a_text_leaves_its_string() {
        let message = "\"}], \\ \n\u{0} <script> ä";
        assert_eq!(read(&post(None, message), "\"")["data"]["message"], message);
    }

    #[test]
    fn the_commands_fit_the_phase() {
        let rows = [
            (Phase::Progressing, Action::Step, "promote", "abort"),
            (Phase::Progressing, Action::Flip, "", "abort"),
            (Phase::Paused, Action::Step, "promote", "abort"),
            (Phase::Paused, Action::Pause, "resume promote", "abort"),
            (Phase::Paused, Action::Alarm, "resume promote", "abort"),
            (Phase::Succeeded, Action::Succeed, "", "abort"),
            (Phase::Steady, Action::Alarm, "", "abort"),
            (Phase::Failed, Action::Rollback, "retry", ""),
            (Phase::Aborted, Action::Abort, "retry", ""),
        ];
        for (phase, action, on, back) in rows {
            let lines = |words: &str| -> Vec<String> {
                words.split_whitespace().map(|word| format!("changeover {word} r")).collect()
            };
            assert_eq!(commands("r", action, phase, false), (lines(on), lines(back)), "{phase:?} {action:?}");
        }
        // While a side is watched.
        for (phase, action, on) in [
            (Phase::Progressing, Action::Resume, vec![]),
            (Phase::Progressing, Action::Alarm, vec![]),
            (Phase::Paused, Action::Alarm, vec!["changeover resume r".to_owned()]),
        ] {
            let back = vec!["changeover abort r".to_owned()];
            assert_eq!(commands("r", action, phase, true), (on, back), "{phase:?} {action:?}");
        }
    }
}
