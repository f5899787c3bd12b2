//! The rollout that most tests begin with: from blue to green.

use serde_json::{Value, json};

use super::schema::Config;

/// A rollout from blue to green, with these fields besides or instead.
pub(crate) fn rollout(fields: &Value) -> Value {
    let rollout = json!({
        "name": "r", "release": "1", "stable": "blue", "candidate": "green",
        "versions": {"blue": {"cluster": "b"}, "green": {"cluster": "g"}},
    });
    with(rollout, fields)
}

/// The same with a third version, red.
pub(crate) fn with_red(fields: &Value) -> Value {
    let mut rollout = rollout(&json!({}));
    rollout["versions"]["red"] = json!({"cluster": "r"});
    with(rollout, fields)
}

/// A rollout with these fields set to something else; `null` takes one away.
pub(crate) fn with(mut rollout: Value, fields: &Value) -> Value {
    let map = rollout.as_object_mut().expect("a rollout");
    map.extend(fields.as_object().expect("fields").clone());
    map.retain(|_, value| !value.is_null());
    rollout
}

/// The configuration of these rollouts, with which nothing is wrong.
pub(crate) fn config(rollouts: &[Value]) -> Config {
    let checked = super::check(&json!({"rollouts": rollouts}));
    checked.map_err(|problems| problems.lines().collect::<Vec<_>>()).expect("a valid configuration")
}
