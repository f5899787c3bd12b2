//! Large configurations, read in pieces.

use super::*;
use crate::config::fixture::rollout;
use crate::config::pieces;
use crate::config::protobuf::tests::encode_struct;
use crate::config::report::Problems;
use crate::config::schema::Config;

/// So many rollouts, and a receiver of notifications.
fn large(count: usize) -> Value {
    let steps = json!([{"set_weight": 50}, {"pause": {}}]);
    let rollout = |number: usize| {
        rollout(
            &json!({"name": format!("r{number}"), "match": {"prefix": format!("/{number}/")}, "steps": steps}),
        )
    };
    let rollouts: Vec<Value> = (0..count).map(rollout).collect();
    json!({"rollouts": rollouts, "notify": [{"name": "chat", "cluster": "chat", "path": "/hook"}]})
}

/// The forms in which Envoy hands a document over.
fn forms(document: &Value) -> [Vec<u8>; 2] {
    [encode_struct(document), document.to_string().into_bytes()]
}

fn read_in_pieces(bytes: &[u8]) -> Option<Result<Config, Problems>> {
    let (mut config, unread) = pieces::begin(bytes)?;
    for rollout in unread {
        match rollout {
            Ok(rollout) => config.rollouts.push(rollout),
            Err(problems) => return Some(Err(problems)),
        }
    }
    Some(Ok(config))
}

#[test]
fn a_large_configuration_is_the_same_when_it_is_read_in_pieces() {
    for bytes in forms(&large(100)) {
        let config = load(&bytes).expect("a valid configuration");
        assert_eq!(config.rollouts.len(), 100);
        assert_eq!(read_in_pieces(&bytes), Some(Ok(config)));
    }
}

#[test]
fn what_is_wrong_with_a_rollout_is_found_in_its_piece() {
    let mut document = large(100);
    document["rollouts"][70]["stable"] = json!("red");
    document["rollouts"][70]["drain"] = json!("soon");
    for bytes in forms(&document) {
        let problems = load(&bytes).expect_err("mistakes");
        assert_eq!(problems.as_slice().len(), 2, "{problems:?}");
        assert_eq!(read_in_pieces(&bytes), Some(Err(problems)));
    }
}

#[test]
fn what_is_small_or_wrong_as_a_whole_is_not_read_in_pieces() {
    let mut documents = vec![large(3), large(4_097), json!({"control": {}}), json!({"rollouts": null})];
    for (field, value) in [("notify", json!({})), ("control", json!({})), ("rolouts", json!([]))] {
        let mut document = large(100);
        document[field] = value;
        documents.push(document);
    }
    for bytes in documents.iter().flat_map(forms).chain([Vec::new(), b"{".to_vec()]) {
        assert_eq!(read_in_pieces(&bytes), None);
    }
}
