//! What a running Envoy prints at `/config_dump`, and egctl and istioctl for it: the same configuration under other keys.

use serde_json::{Value, json};

use super::form::snake_case;

/// How deeply egctl nests a dump: under a namespace, a pod and a field.
const DEPTH: usize = 4;

/// What one Envoy has dumped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dump {
    /// Where it stands in its file: under a namespace and a pod. Empty at the top.
    pub(crate) name: String,
    /// The documents that make it up, as they would stand in files.
    pub(crate) documents: Vec<Value>,
}

/// The dumps in a document; `None` when it has none.
pub(crate) fn documents(document: &Value) -> Option<Vec<Dump>> {
    let mut dumps = Vec::new();
    if let Value::Array(entries) = document {
        if let Some(resources) = listed(entries) {
            return Some(vec![Dump { name: String::new(), documents: vec![resources] }]);
        }
        for (index, entry) in entries.iter().enumerate() {
            collect(entry, DEPTH, &format!("[{index}]"), &mut dumps);
        }
    } else {
        collect(document, DEPTH, "", &mut dumps);
    }
    let dumps = dumps.into_iter().map(|(name, parts)| Dump { name, documents: assemble(&parts) });
    let dumps: Vec<Dump> = dumps.collect();
    (!dumps.is_empty()).then_some(dumps)
}

/// The resources in a list that istioctl prints (`proxy-config listeners --output json`).
fn listed(entries: &[Value]) -> Option<Value> {
    let mut resources: Vec<Value> = entries.iter().map(snake_case).collect();
    for routes in resources.iter_mut().filter(|resource| resource.get("virtual_hosts").is_some()) {
        if let Value::Object(fields) = routes {
            fields.entry("@type").or_insert_with(|| ROUTES.into());
        }
    }
    let is_envoys = |resource: &Value| {
        let kind = resource.get("@type").and_then(Value::as_str);
        kind.is_some_and(|kind| kind.contains("/envoy.")) || resource.get("filter_chains").is_some()
    };
    resources.iter().any(is_envoys).then(|| json!({"resources": resources}))
}

const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

/// Finds the dumps: lists of parts, each of which is a `…ConfigDump`, or an entry of one (`?resource=`).
fn collect(value: &Value, depth: usize, name: &str, dumps: &mut Vec<(String, Vec<Value>)>) {
    let Value::Object(fields) = value else { return };
    if is_part(value) {
        dumps.push((name.to_owned(), vec![snake_case(value)]));
    } else if let Some(Value::Array(parts)) = fields.get("configs")
        && parts.iter().any(is_part)
    {
        dumps.push((name.to_owned(), parts.iter().map(snake_case).collect()));
    } else if let Some(depth) = depth.checked_sub(1) {
        for (field, value) in fields {
            let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
            collect(value, depth, &name, dumps);
        }
    }
}

fn is_part(value: &Value) -> bool {
    let kind = value.get("@type").and_then(Value::as_str);
    kind.is_some_and(|kind| kind.split('.').any(|name| name.ends_with("ConfigDump")))
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
        let own = |path: &str| part.pointer(path).cloned();
        match kind(part).unwrap_or_default() {
            "BootstrapConfigDump" => bootstrap = part.get("bootstrap").cloned(),
            "ListenersConfigDump" => {
                listeners.extend(all("static_listeners", "/listener"));
                let dynamic = part.get("dynamic_listeners").and_then(Value::as_array);
                listeners.extend(dynamic.into_iter().flatten().filter_map(in_use).cloned());
            }
            "StaticListener" => listeners.extend(own("/listener")),
            "DynamicListener" => listeners.extend(in_use(part).cloned()),
            "ClustersConfigDump" => {
                clusters.extend(all("static_clusters", "/cluster"));
                clusters.extend(all("dynamic_active_clusters", "/cluster"));
                clusters.extend(all("dynamic_warming_clusters", "/cluster"));
            }
            "StaticCluster" | "DynamicCluster" => clusters.extend(own("/cluster")),
            "RoutesConfigDump" => {
                discovered.extend(all("static_route_configs", "/route_config"));
                discovered.extend(all("dynamic_route_configs", "/route_config"));
            }
            "StaticRouteConfig" | "DynamicRouteConfig" => discovered.extend(own("/route_config")),
            "EcdsConfigDump" => discovered.extend(all("ecds_filters", "/ecds_filter")),
            "EcdsFilterConfig" => discovered.extend(own("/ecds_filter")),
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

/// A listener that is in use, or one that is not yet.
fn in_use(listener: &Value) -> Option<&Value> {
    ["/active_state/listener", "/warming_state/listener"].into_iter().find_map(|path| listener.pointer(path))
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
            "dynamicListeners": [{"activeState": {"listener": {"name": "l"}}}, {"warmingState": {"listener": {"name": "w"}}}],
        });
        let buried = json!({"namespace": {"pod": {"configDump": {"configs": [part, listener]}}}});
        let expected = [
            json!({"listeners": [{"the_config": configuration}, {"name": "l"}, {"name": "w"}]}),
            json!({"resources": [{"virtual_hosts": []}]}),
        ];
        let name = "namespace.pod.configDump".into();
        assert_eq!(documents(&buried), Some(vec![Dump { name, documents: expected.into() }]));
        assert_eq!(documents(&json!({"configs": [{"a": 1}]})), None);
        assert_eq!(documents(&json!({"rollouts": []})), None);
        assert_eq!(documents(&json!([{"hosts": "all"}])), None);
    }
}
