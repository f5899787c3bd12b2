//! What happens to rollouts, from Envoy's log.

use serde_json::Value;

use super::{Envoy, wait_for};

/// The events in Envoy's log, in order, as JSON.
pub(crate) fn events(envoy: &Envoy) -> Vec<Value> {
    let log = envoy.log();
    let lines = log.lines().filter_map(|line| line.split_once("changeover: {")).map(|(_, rest)| rest);
    lines.filter_map(|rest| serde_json::from_str(&format!("{{{rest}")).ok()).collect()
}

/// The actions of all events so far, in order.
pub(crate) fn actions(envoy: &Envoy) -> Vec<String> {
    events(envoy).iter().filter_map(|event| Some(event["action"].as_str()?.to_owned())).collect()
}

/// Waits for the first event with this action.
pub(crate) async fn wait_for_event(envoy: &Envoy, action: &str) -> Value {
    wait_for(&format!("the event {action}"), async || {
        events(envoy).into_iter().find(|event| event["action"] == action)
    })
    .await
}
