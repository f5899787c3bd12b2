//! What a running Envoy prints at `/config_dump`, and egctl for it: the same configuration under other keys.

use serde_json::{Map, Value, json};

/// How deeply egctl nests a dump: under a namespace, a pod and a field.
const DEPTH: usize = 4;

/// The documents that make up the dumps in a document, as they would stand in files; `None` when it has none.
pub(crate) fn documents(document: &Value) -> Option<Vec<Value>> {
    let mut dumps = Vec::new();
    collect(document, DEPTH, &mut dumps);
    let documents = dumps.iter().flat_map(|parts| assemble(parts)).collect();
    (!dumps.is_empty()).then_some(documents)
}

/// Finds the dumps: lists of parts, each of which is `…ConfigDump`.
fn collect(value: &Value, depth: usize, dumps: &mut Vec<Vec<Value>>) {
    let Value::Object(fields) = value else { return };
    if is_part(value) {
        dumps.push(vec![snake_case(value)]);
    } else if let Some(Value::Array(parts)) = fields.get("configs")
        && parts.iter().any(is_part)
    {
        dumps.push(parts.iter().map(snake_case).collect());
    } else if let Some(depth) = depth.checked_sub(1) {
        fields.values().for_each(|value| collect(value, depth, dumps));
    }
}

fn is_part(value: &Value) -> bool {
    kind(value).is_some_and(|kind| kind.ends_with("ConfigDump"))
}

fn kind(value: &Value) -> Option<&str> {
    value.get("@type")?.as_str()?.rsplit('.').next()
}

/// A bootstrap with all that runs, and the routes and filters that were discovered.
fn assemble(parts: &[Value]) -> Vec<Value> {
    let mut bootstrap = None;
    let (mut listeners, mut clusters, mut discovered) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        let all = |list: &str, path: &str| {
            let list = part.get(list).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(|entry| entry.pointer(path)).cloned().collect::<Vec<_>>()
        };
        match kind(part).unwrap_or_default() {
            "BootstrapConfigDump" => bootstrap = part.get("bootstrap").cloned(),
            "ListenersConfigDump" => {
                listeners.extend(all("static_listeners", "/listener"));
                listeners.extend(all("dynamic_listeners", "/active_state/listener"));
            }
            "ClustersConfigDump" => {
                clusters.extend(all("static_clusters", "/cluster"));
                clusters.extend(all("dynamic_active_clusters", "/cluster"));
            }
            "RoutesConfigDump" => {
                discovered.extend(all("static_route_configs", "/route_config"));
                discovered.extend(all("dynamic_route_configs", "/route_config"));
            }
            "EcdsConfigDump" => discovered.extend(all("ecds_filters", "/ecds_filter")),
            _ => {}
        }
    }
    let discovered = json!({"resources": discovered});
    let Some(Value::Object(mut bootstrap)) = bootstrap else {
        return vec![json!({"listeners": listeners}), discovered];
    };
    // All of it is in the dump, wherever it came from.
    bootstrap.remove("dynamic_resources");
    bootstrap.insert("static_resources".into(), json!({"listeners": listeners, "clusters": clusters}));
    vec![Value::Object(bootstrap), discovered]
}

/// The same with protobuf's own names of fields, in place of JSON's, wherever names are those of fields.
fn snake_case(value: &Value) -> Value {
    match value {
        Value::Object(fields) if kind(value) == Some("Struct") => Value::Object(fields.clone()),
        Value::Object(fields) => {
            let renamed = fields.iter().map(|(name, value)| {
                let is_free = matches!(
                    name.as_str(),
                    "filter_metadata"
                        | "filterMetadata"
                        | "typedPerFilterConfig"
                        | "key_values"
                        | "keyValues"
                );
                (snake(name), if is_free { value.clone() } else { snake_case(value) })
            });
            Value::Object(renamed.collect::<Map<_, _>>())
        }
        Value::Array(list) => list.iter().map(snake_case).collect(),
        _ => value.clone(),
    }
}

fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_protobufs_own() {
        let part = json!({"@type": "a.RoutesConfigDump", "dynamicRouteConfigs": [{"routeConfig": {"virtualHosts": []}}]});
        // Names of users stay.
        let configuration =
            json!({"@type": "b.Struct", "value": {"aB": {"cD": 1}}, "key_values": {"A_KEY": "b"}});
        let listener = json!({
            "@type": "a.ListenersConfigDump",
            "staticListeners": [{"listener": {"theConfig": configuration}}],
            "dynamicListeners": [{"activeState": {"listener": {"name": "l"}}}, {"warmingState": {"listener": {}}}],
        });
        let buried = json!({"namespace": {"pod": {"configDump": {"configs": [part, listener]}}}});
        let expected = [
            json!({"listeners": [{"the_config": configuration}, {"name": "l"}]}),
            json!({"resources": [{"virtual_hosts": []}]}),
        ];
        assert_eq!(documents(&buried), Some(expected.into()));
        assert_eq!(documents(&json!({"configs": [{"a": 1}]})), None);
        assert_eq!(documents(&json!({"rollouts": []})), None);
    }
}
